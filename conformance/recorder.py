"""A folder that recordings are written into, flow by flow, while traffic goes on.

Each flow is in its file, whole, when ``write`` returns: a process that is killed loses none that was written.
A file is opened, appended to and closed each time, which takes 30 microseconds: what is renamed, moved or deleted
under way harms nothing, and however many conversations there are, no file stays open.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from conformance.policy import PolicyError, RecordFlows, reveal
from conformance.redact import Flows

_MODE = 0o600


def recorder(policy: RecordFlows, kind: str) -> Recorder:
    """What writes where the policy says. Raises PolicyError: there is no key, or no writing there."""
    key = reveal(policy.key) if policy.key else None
    redact = Flows(texts=policy.texts, emails=policy.emails, key=key) if policy.redact else None
    folder = Path(policy.folder).expanduser()
    try:
        return Recorder(folder, size=policy.size, age=policy.age, kind=kind, redact=redact)
    except OSError as problem:
        raise PolicyError(f"{policy.folder} cannot be written to: {problem.strerror}") from None


class Recorder:
    """Writes flows into files of a folder: one after the other, or one for each conversation.

    Files are named for when they began, the process and what is in them, so that no two runs share one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        age: float,
        kind: str = "flows",
        redact: Callable[[bytes], bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``redact`` is given each flow before it is written. Raises OSError: the folder cannot be written to."""
        self.folder = folder
        self._size = size
        self._age = age
        self._kind = kind
        self._redact = redact
        self._clock = clock
        self._run = self._stamp()
        self._current: Path | None = None
        self._until = 0.0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(folder))

    def write(self, flow: bytes, conversation: str | None = None) -> None:
        """Append a flow as it stands in a flow file. Raises OSError and what redacting raises: none of it is there."""
        if self._redact is not None:
            flow = self._redact(flow)
        if conversation is not None:
            _append(self.folder / f"{self._run}-{_in_a_name(conversation)}.flow", flow)
            return
        if self._current is None or self._clock() >= self._until or self._is_full(self._current):
            self._current = self._new()
            self._until = self._clock() + self._age
        _append(self._current, flow)

    def _stamp(self) -> str:
        return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(self._clock()))}-{os.getpid()}"

    def _is_full(self, path: Path) -> bool:
        try:
            return path.stat().st_size >= self._size
        except FileNotFoundError:
            return True

    def _new(self) -> Path:
        number = 1
        while True:
            path = self.folder / f"{self._stamp()}-{self._kind}{'' if number == 1 else f'-{number}'}.flow"
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE))
            except FileExistsError:
                number += 1
            else:
                return path


def _append(path: Path, octets: bytes) -> None:
    # Who else may write into the folder shall not say by a link where it goes.
    follow = getattr(os, "O_NOFOLLOW", 0)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | follow, _MODE)
    try:
        before = os.fstat(file).st_size
        rest = memoryview(octets)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            os.ftruncate(file, before)  # behind half a flow nothing can be read
            raise
    finally:
        os.close(file)


def _in_a_name(conversation: str) -> str:
    """The id as part of a file's name; ids that differ stay different."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", conversation)[:80]
    if plain == conversation:
        return plain
    return f"{plain}-{hashlib.sha256(conversation.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
