"""Mend a recording: lint it, run over it the very addons that its findings name, lint it again.

* The addons run in the suite's order, over all exchanges in turn, as they would have in flight: some of them
  remember what passed. What they change is in the journal of each flow, as it is in flight.
* A flow that no addon changes is copied octet for octet, and so is what no addon ever sees: TCP streams, DNS. In
  a transcript only the lines of changed messages are rewritten.
* A message that an addon would have refused in flight stays as it was recorded, with the rest of its exchange:
  a recording without the defect would tell of a message that nobody sent.
* A credential that an addon would add is written as its digest: no secret comes into a recording that way.
* mitmproxy is loaded only where an addon is to run.
"""

from __future__ import annotations

import difflib
import shutil
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance import flowfile, recording, secret, transcript
from conformance.atomic import replacing
from conformance.finding import Run
from conformance.message import Exchange, Message, Stream
from conformance.recording import Recording

if TYPE_CHECKING:
    from conformance.offline import Offline

SHOWN = 300
"""Characters of a line in a diff; content may be one line of megabytes."""


class CannotFix(ValueError):
    """The recording cannot be fixed, or not in this way; one line that names it and the way out."""


@dataclass(slots=True)
class Fixed:
    """What was found, done and left."""

    before: Run
    after: Run
    ran: tuple[str, ...] = ()
    """The addons that the findings name, and so were run."""
    changes: Counter[str] = field(default_factory=Counter)
    """How many changes each addon made."""
    touched: Counter[str] = field(default_factory=Counter)
    """In how many exchanges it made them."""
    refused: list[str] = field(default_factory=list)
    """What an addon would have refused in flight, and why."""
    errors: list[str] = field(default_factory=list)
    """What addons could not do."""
    diff: str = ""


def fix(
    path: str,
    judge: Callable[[Recording], Run],
    addons: Collection[str],
    *,
    into: Path | None = None,
    in_place: bool = False,
    diff: bool = False,
    profiled: bool = True,
    profile: str | None = None,
    config: str | Path | None = None,
    isolated: bool = False,
) -> Fixed:
    """Mend the recording at ``path``; ``judge`` lints one, ``addons`` are the ones that may run.

    The result is written ``into`` another file, or takes the recording's place, or is written nowhere; a file
    is replaced as a whole or not at all. ``profile``, ``config`` and ``isolated`` say where the addons' policy
    comes from; with ``profiled`` a transcript may name its profile itself.
    Raises CannotFix; what could not be read is in ``Fixed.before.failures``.
    """
    if path == "-":
        raise CannotFix("fix takes one recording in a file, not standard input")
    source = recording.read(path)
    _refuse_what_is_not_rewritten(source, into)
    before = judge(source)
    if in_place and source.error:
        raise CannotFix(
            f"{path}: {source.error}; -o OUT writes what could be read, --in-place would lose the rest"
        )
    fixed = Fixed(before, before, tuple(sorted(named(before) & set(addons))))
    if not fixed.ran and into is None:
        return fixed
    if source.profile is not None and profiled:  # as the linter does
        profile, isolated, config = source.profile, True, None
    target = Path(path) if in_place else into
    with _written(target, Path(path)) as (place, keep):
        if fixed.ran:
            _mend(source, place, fixed, profile=profile, config=config, isolated=isolated)
        else:
            shutil.copyfile(path, place)
        if diff:
            fixed.diff = "".join(_differences(recording.read(path), recording.read(path, where=place)))
        fixed.after = judge(recording.read(into or path, where=place))
        if fixed.changes or not in_place:
            keep()
    return fixed


def named(run: Run) -> set[str]:
    """The addons that findings name. Octets of a stream are what was sent: nothing is mended there."""
    return {fix for f in run.findings if f.at.stream is None and (fix := run.rule(f.rule).fix) is not None}


def told(fixed: Fixed) -> str:
    """What was found and which addon did what."""
    before = fixed.before
    lines = [f"{_counted(len(before.findings), 'finding')} before, {len(fixed.after.findings)} after"]
    if before.findings and not fixed.ran:
        lines.append("  none of them is for an addon that may run here")
    for name in fixed.ran:
        done = "nothing it can change"
        if fixed.changes[name]:
            done = f"{_counted(fixed.changes[name], 'change')} in {_counted(fixed.touched[name], 'exchange')}"
        rules = sorted({f.rule for f in before.findings if before.rule(f.rule).fix == name})
        text = f"{name}: {done}, for {', '.join(rules)}"
        lines += textwrap.wrap(
            text, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    lines += [f"  left as it was recorded: {secret.printable(refusal)}" for refusal in fixed.refused]
    return "\n".join(lines) + "\n"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _refuse_what_is_not_rewritten(source: Recording, into: Path | None) -> None:
    path = source.path
    if not Path(path).is_file():
        raise CannotFix(f"{path}: {source.error or 'not a file'}; fix takes one recording in a file")
    if source.kind == "unknown":
        raise CannotFix(f"{path}: {source.error}")
    if source.kind == "har":
        raise CannotFix(
            f"{path}: a HAR is not rewritten; make a transcript of it with "
            f"'hoplint show {path} > {Path(path).with_suffix('.http').name}' and fix that"
        )
    if into is not None and into.is_dir():
        raise CannotFix(f"{into}: is a folder; -o takes a file")
    if into is not None and into.exists() and into.samefile(path):
        raise CannotFix(f"{into}: is the recording itself; --in-place replaces it")


# -- mending ------------------------------------------------------------------------------------------------


def _mend(source: Recording, place: Path, fixed: Fixed, **policy: Any) -> None:
    from conformance import offline

    try:
        with offline.loaded(fixed.ran, **policy) as addons:
            (_mend_flows if source.kind == "mitmproxy" else _mend_transcript)(source, place, fixed, addons)
    except offline.CannotRun as problem:
        raise CannotFix(f"the addons do not start: {problem}") from None


def _mend_flows(source: Recording, place: Path, fixed: Fixed, offline: Offline) -> None:
    from conformance import mitm

    with Path(source.path).open("rb") as file, place.open("wb") as to:
        try:
            for offset, record in flowfile.records(file):
                octets = b"%d:%s" % (len(record) - 1, record)
                try:
                    # What the linter cannot read, its metadata among it, it has said, and no addon gets.
                    readable = isinstance(next(flowfile.read(BytesIO(octets)), None), Exchange)
                    flow = mitm.read_flow(record)
                    if readable and _run(offline, flow, fixed):
                        octets = mitm.flow_octets(flow)
                except ValueError as problem:
                    fixed.errors.append(f"{source.path}: byte {offset}: {problem}")
                to.write(octets)
        except flowfile.FlowFileError:
            return  # it breaks off here: the linter has said so


def _mend_transcript(source: Recording, place: Path, fixed: Fixed, offline: Offline) -> None:
    from conformance import mitm

    changes: list[tuple[Message, Message]] = []
    for item in source:
        if isinstance(item, Stream):
            continue
        flow = mitm.flow_of(item)
        if _run(offline, flow, fixed):
            after = mitm.exchange_after(item, flow)
            changes.append((item.request, after.request))
            if item.response is not None and after.response is not None:
                changes.append((item.response, after.response))
    text = Path(source.path).read_bytes().decode("utf-8", "surrogateescape")
    place.write_bytes(transcript.rewritten(text, changes).encode("utf-8", "surrogateescape"))


def _run(offline: Offline, flow: Any, fixed: Fixed) -> bool:
    """Run the addons over a flow; whether it is to be written as they left it."""
    entries = offline.run(flow)
    fixed.errors += [error for error in offline.errors if error not in fixed.errors]
    offline.errors.clear()
    refusals = [entry for entry in entries if entry["op"] == "refuse"]
    if refusals:
        fixed.refused += [f"{each['addon']} refuses the {each['part']}: {each['why']}" for each in refusals]
        return False
    by_addon = Counter(entry["addon"] for entry in entries)
    fixed.changes.update(by_addon)
    fixed.touched.update(by_addon.keys())
    return bool(entries)


# -- files --------------------------------------------------------------------------------------------------


@contextmanager
def _written(into: Path | None, like: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """``atomic.replacing``, or a file that is gone afterwards where there is nothing to write. Raises CannotFix."""
    target = into or Path(tempfile.gettempdir()) / like.name
    try:
        # A copy with the same credentials in it is nobody else's to read: it has the permissions of `like`.
        with replacing(target, like) as (place, keep):
            yield place, keep if into is not None else lambda: None
    except OSError as problem:
        raise CannotFix(f"{into or target.parent}: cannot be written: {problem.strerror}") from None


def _differences(before: Recording, after: Recording) -> Iterator[str]:
    for old, new in zip(before, after, strict=False):
        old_lines, new_lines = _lines(old), _lines(new)
        if old_lines != new_lines:
            name = f"{secret.printable(before.path)}#{old.number}"
            for line in difflib.unified_diff(old_lines, new_lines, name, f"{name} fixed", lineterm=""):
                yield f"{line}\n"


def _lines(item: Exchange | Stream) -> Sequence[str]:
    # Digests, not asterisks: that one credential has become another must be seen.
    text = transcript.write(item, secret.digested, secret.mask_content)
    return [line if len(line) <= SHOWN else f"{line[:SHOWN]}…" for line in text.splitlines()]
