"""Open a recording, whatever its kind, and yield what is in it.

Behind this module nobody knows files any more: exchanges and streams come numbered, the recorder's error
texts as refusals, and the octets of streams as messages.
"""

from __future__ import annotations

import glob
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from conformance import flowfile, har, remote, transcript
from conformance.http2 import is_http2
from conformance.message import Exchange, Stream
from conformance.octets import split
from conformance.refusals import classify

type Kind = Literal["mitmproxy", "har", "transcript", "unknown"]
type Item = Exchange | Stream

SUFFIXES = (".flow", ".flows", ".har", ".http", ".mitm")
"""What is taken for a recording in a folder; a file that is named itself may be called anything."""


class RecordingError(ValueError):
    """There is no such path, or no recording there; names it."""


class Recording:
    """One recording. Iterating reads it, lazily; it can be iterated again.

    Nothing is raised on the way: when all that can be read has been yielded, ``error`` says what went wrong.
    """

    def __init__(self, path: str, data: bytes | None = None, where: Path | None = None) -> None:
        self._url = path if where is None and data is None and remote.is_url(path) else None
        self.path = path if self._url is None else remote.shown(path)
        """As the user gave it, without credentials; ``-`` for standard input."""
        self.kind: Kind = "unknown"
        """``unknown``: it is none that is read here, and ``error`` says so."""
        self.exchanges = 0
        """How many have been yielded, those in streams too."""
        self.streams = 0
        self.error: str | None = None
        """What could not be read, and where: byte, line or entry."""
        self.notes: list[str] = []
        """What is no error but should be known: what was skipped, what such a recording cannot show."""
        self.expected: frozenset[str] | None = None
        """The rules that a transcript says it breaks (``# expect:``); None: it does not say."""
        self.profile: str | None = None
        """The profile that a transcript wants to be linted with (``# profile:``)."""
        self.errors: list[str] = []
        """What could not be read, one by one, but for the path itself."""
        self._data = data
        self._span: tuple[int, int | None] = (0, None)
        self._where = where or Path(path)
        try:
            if (
                data is None and self._url is None and self._where.is_fifo()
            ):  # <(zcat a.flow.gz) can be read once
                self._data = self._where.read_bytes()
            with self._open() as file:
                head = file.read(_HEAD)
        except OSError as error:
            self.error = _said(error)
            return
        self.kind = _kind(head)
        if self.kind == "unknown":
            self.error = _looks(head)
        elif self.kind == "transcript":
            text = head.decode("utf-8-sig", "replace")
            self.expected, self.profile = transcript.expected(text), transcript.profile(text)

    def _open(self) -> BinaryIO:
        if self._url is not None:
            return remote.opened(self._url)
        return self._where.open("rb") if self._data is None else io.BytesIO(self._data)

    def __iter__(self) -> Iterator[Item]:
        if self.kind == "unknown":
            return
        self.exchanges = self.streams = 0
        self.notes.clear()
        self.errors = errors = []
        start, stop = self._span
        reader = _READERS[self.kind] if stop is None else partial(flowfile.read, stop=stop)
        try:
            with self._open() as file:
                file.seek(start)
                for item in _finished(reader(file, self.notes), self.notes):
                    if isinstance(item, ValueError):
                        errors.append(str(item))
                        continue
                    if isinstance(item, Stream):
                        self.streams += 1
                        self.exchanges += len(item.exchanges)
                    else:
                        self.exchanges += 1
                    yield item
        except (flowfile.FlowFileError, har.HarError, transcript.TranscriptError) as error:
            errors.append(str(error))
        except OSError as error:
            errors.append(_said(error))
        self.error = self.summed(errors)

    def summed(self, errors: Sequence[str]) -> str | None:
        """What to say when the recording has been read, with these errors."""
        if not errors and not self.exchanges and not self.streams:
            # Nothing was looked at, and that must not pass for nothing found.
            errors = ["there are no exchanges in it"]
        more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
        return errors[0] + more if errors else None

    def part(self, start: int, stop: int | None = None) -> Recording:
        """What stands from here to there in a flow file, offsets at which flows begin; numbered from 1."""
        made = copy(self)
        made.notes, made.errors, made._span = [], [], (start, stop)
        return made

    def starts(self, apart: int) -> list[int]:
        """Offsets at which flows of a flow file begin, so many octets apart at least. Empty where it cannot be read."""
        try:
            with self._open() as file:
                return list(flowfile.starts(file, apart))
        except OSError:
            return []


def read(path: str | Path, *, stdin: bytes | None = None, where: Path | None = None) -> Recording:
    """The recording at a path or URL; ``-`` is standard input, or what is given as ``stdin``.

    ``where`` is the file to read for it, if that is another one.
    Its kind is told from its content. Raises nothing: what cannot be read is a recording with an ``error``.
    """
    if str(path) == "-":
        return Recording("-", sys.stdin.buffer.read() if stdin is None else stdin)
    return Recording(str(path), where=where)


def parse(text: str) -> Iterator[Item]:
    """What a transcript holds, as ``read`` would yield it. Raises TranscriptError."""
    for item in _finished(transcript.parse(text), []):
        if isinstance(item, ValueError):  # pragma: no cover - transcripts raise their errors
            raise item
        yield item


def _finished(items: Iterable[Item | ValueError], notes: list[str]) -> Iterator[Item | ValueError]:
    """Number the items, find the messages in streams and the refusals in error texts."""
    exchanges = streams = unread = prefaces = 0
    try:
        for item in items:
            if isinstance(item, Stream):
                streams += 1
                found = split(item)
                numbered = tuple(_exchange(one, exchanges + at) for at, one in enumerate(found.exchanges, 1))
                exchanges += len(numbered)
                unread += is_http2(item.client.data, item.server.data)
                yield replace(found, exchanges=numbered, number=streams)
            elif isinstance(item, Exchange):
                exchanges += 1
                # sglang-router asks each worker whether it speaks HTTP/2; mitmproxy reads that as HTTP/1.
                prefaces += item.request.method == b"PRI" and item.request.target == b"*"
                yield _exchange(item, exchanges)
            else:
                yield item
    finally:
        if unread:
            notes.append(f"streams that carry HTTP/2, not judged: {unread}")
        if prefaces:
            notes.append(f"HTTP/2 prefaces that the recorder took for requests: {prefaces}")


def _exchange(exchange: Exchange, number: int) -> Exchange:
    refusals = classify(exchange.error, exchange) if exchange.error else ()
    if not refusals and exchange.number == number:
        return exchange
    received = exchange.received and replace(exchange.received, number=number)
    return replace(exchange, number=number, received=received, refusals=(*exchange.refusals, *refusals))


def _transcript(file: BinaryIO, notes: list[str]) -> Iterator[Item]:
    octets = file.read()
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise transcript.TranscriptError(line, "a transcript is UTF-8; write other octets as \\xHH") from None
    yield from transcript.parse(text)


type _Reader = Callable[[BinaryIO, list[str]], Iterable[Item | ValueError]]

_READERS: dict[Kind, _Reader] = {"mitmproxy": flowfile.read, "har": har.read, "transcript": _transcript}


# --- what a file is
_HEAD = 65_536
_ACCEPTED = "hoplint reads mitmproxy flow files, HAR and transcripts"

_FLOW = re.compile(rb"[0-9]{1,12}(?::|\Z)")
_TRANSCRIPT = re.compile(rb"[<>](?:[ \r\n<>+]|\Z)|#(?!!)|@ ")

_LOOKS: tuple[tuple[bytes, str], ...] = (
    (rb"\x1f\x8b", "gzip data: gunzip it first"),
    (rb"\x28\xb5\x2f\xfd", "zstd data: unpack it first"),
    (rb"\xfd7zXZ\x00", "xz data: unpack it first"),
    (rb"BZh[0-9]", "bzip2 data: unpack it first"),
    (rb"PK\x03\x04", "a zip archive: unpack it first"),
    (rb"\xd4\xc3\xb2\xa1|\xa1\xb2\xc3\xd4|\x4d\x3c\xb2\xa1|\xa1\xb2\x3c\x4d", "a packet capture (pcap)"),
    (rb"\x0a\x0d\x0d\x0a", "a packet capture (pcapng)"),
    (rb"\x89PNG", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"%PDF-", "a PDF document"),
    (rb"SQLite format 3\x00", "an SQLite database"),
    (rb"\x7fELF", "a program"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text: convert it to UTF-8 first"),
    (rb"\s*\Z", "an empty file"),
    (rb"\s*(?i:<!doctype|<html|<\?xml|<[a-z])", "HTML or XML"),
    (rb"\s*\[", "JSON, but no HAR"),
    (
        rb"[A-Z]+ \S+ HTTP/|HTTP/[0-9.]+ [0-9]",
        "an HTTP message: with '> ' (client) or '< ' (server) before each line it is a transcript",
    ),
    (rb"[^\x00-\x08\x0e-\x1a\x1c-\x1f]*\Z", "text of some other kind"),
)
"""How files begin, and what to say of them; the first that matches counts."""


def _kind(head: bytes) -> Kind:
    if _FLOW.match(head):
        return "mitmproxy"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return "har"
    return "transcript" if _TRANSCRIPT.match(text) else "unknown"


def _looks(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf")
    what = next(
        (what for pattern, what in _LOOKS if re.match(pattern, text)), "binary data of some other kind"
    )
    return f"this looks like {what}; {_ACCEPTED}"


def _said(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


# --- where recordings are
def find(paths: Iterable[str | Path]) -> list[str]:
    """The recordings that these files, folders (recursively), globs and URLs stand for; ``-`` stays.

    Folders come sorted, without what is in hidden folders; nothing comes twice.
    Raises RecordingError for a path that is not there, a folder without recordings, a glob without match.
    """
    found: dict[str, None] = {}
    for path in map(str, paths):
        if remote.is_url(path):
            found.update(dict.fromkeys(_remote(path)))
        elif path == "-" or (Path(path).exists() and not Path(path).is_dir()):
            found[path] = None
        elif Path(path).is_dir():
            inside = _inside(Path(path))
            if not inside:
                raise RecordingError(f"{path}: no recordings in this folder (*{' *'.join(SUFFIXES)})")
            found.update(dict.fromkeys(inside))
        elif glob.has_magic(path):
            matching = _matching(path)
            if not matching:
                raise RecordingError(f"{path}: nothing matches")
            found.update(dict.fromkeys(matching))
        else:
            raise RecordingError(f"{path}: no such file or folder")
    return list(found)


def _remote(url: str) -> list[str]:
    try:
        found = remote.find(url, SUFFIXES)
    except remote.RemoteError as problem:
        raise RecordingError(f"{remote.shown(url)}: {problem}") from None
    if not found:
        raise RecordingError(f"{remote.shown(url)}: no recordings there (*{' *'.join(SUFFIXES)})")
    return found


def _inside(folder: Path) -> list[str]:
    found = []
    for where, folders, files in folder.walk(on_error=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [str(where / name) for name in files if name.lower().endswith(SUFFIXES)]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise RecordingError(f"{error.filename}: {_said(error)}") from error


def _matching(pattern: str) -> list[str]:
    found: list[str] = []
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob refuses absolute ones
        found += _inside(Path(match)) if Path(match).is_dir() else [match]
    return found
