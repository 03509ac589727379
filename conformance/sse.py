"""Event streams: the parser of HTML §9.2.6 over what was recorded, also where the recording breaks off.

It is the browser's parser and keeps what a browser throws away: the event that no blank line ends, the lines
with a field it does not know. Values stay octets; the format's UTF-8 is looked at by ``undecodable``.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import NamedTuple

from conformance.content import decoded, media_type
from conformance.message import Message

MEDIA_TYPE = b"text/event-stream"
STRAYS = 16
"""Lines with an unknown field that are kept; what is no event stream at all has nothing else."""

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event as it is dispatched."""

    type: bytes
    """The value of its ``event`` field; empty: it has none, and is dispatched as ``message``."""
    data: bytes
    """The values of its ``data`` fields, joined by line feeds."""
    id: bytes
    """The last event id in force."""
    start: int
    """Offset of its first line in the content."""
    stop: int
    """Offset behind the blank line that ends it."""
    line: int
    """Number of its first line, from 1."""


class Line(NamedTuple):
    """One line of the content, without its end."""

    number: int
    start: int
    text: bytes


@dataclass(frozen=True, slots=True)
class EventStream:
    """What the parser made of the content."""

    events: tuple[Event, ...]
    pending: Event | None
    """An event with data that no blank line ends: a parser discards it at the end of the stream."""
    known: int
    """Lines with a field the format knows."""
    comments: int
    strays: tuple[Line, ...]
    """The first few lines whose field the format does not know."""
    strayed: int
    """How many of those there are."""
    retry: int | None
    """Milliseconds: the last ``retry`` that is one."""
    bad_retry: Line | None = None
    """The first ``retry`` that is no number."""


def parse(octets: bytes) -> EventStream:
    r"""The events in the content of an event stream.

    >>> found = parse(b": hello\n\nevent: a\ndata: 1\ndata: 2\n\ndata: lost")
    >>> found.events[0].type, found.events[0].data, found.pending.data
    (b'a', b'1\n2', b'lost')
    """
    return _parse_ordinary(octets) or _parse(octets)


_ORDINARY = re.compile(rb"(?m)^(?:event: (.+)\n)?data: (.*)\n\n")


def _parse_ordinary(octets: bytes) -> EventStream | None:
    """The same in less time, where each event is a line of data, perhaps with its type before it; else None.

    So the servers of LLM APIs write them, with LF.
    """
    if not octets.startswith((b"data: ", b"event: ")) or b"\r" in octets:
        return None
    found = _ORDINARY.findall(octets)
    sizes = [len(kind) + len(data) + (16 if kind else 8) for kind, data in found]
    stops = list(accumulate(sizes, initial=0))
    if stops[-1] != len(octets):
        return None  # there is something between them
    kinds, data = zip(*found, strict=True)
    lines = accumulate([3 if kind else 2 for kind in kinds], initial=1)
    columns = zip(kinds, data, repeat(b""), stops, stops[1:], lines, strict=False)
    # What Event._make does, without a call of Python's for each.
    events = tuple(map(tuple.__new__, repeat(Event), columns))
    return EventStream(events, None, 2 * len(kinds) - kinds.count(b""), 0, (), 0, None)


def _parse(octets: bytes) -> EventStream:
    events: list[Event] = []
    strays: list[Line] = []
    data: list[bytes] = []
    kind = last_id = b""
    known = comments = strayed = 0
    retry: int | None = None
    bad_retry: Line | None = None
    start, first = -1, 0
    at, octets = (3, octets[3:]) if octets.startswith(_BOM) else (0, octets)
    # bytes.splitlines ends lines where the format does: at CRLF, LF and CR, and nowhere else.
    for number, whole in enumerate(octets.splitlines(keepends=True), 1):
        begin = at
        at += len(whole)
        text = whole.rstrip(b"\r\n")
        if not text:
            if data:
                joined = data[0] if len(data) == 1 else b"\n".join(data)
                events.append(Event(kind, joined, last_id, start, at, first))
                data = []
            kind = b""
            start = -1
            continue
        if start < 0:
            start, first = begin, number
        if text.startswith(b"data: "):
            known += 1
            data.append(text[6:])
            continue
        name, _, value = text.partition(b":")
        if not name:
            comments += 1
            continue
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"id":
            if b"\0" not in value:
                last_id = value
        elif name == b"retry":
            # isdigit of bytes knows ASCII only; a number of a million digits is not worth reading.
            if value.isdigit() and len(value) < 19:
                retry = int(value)
            elif not value.isdigit() and bad_retry is None:
                bad_retry = Line(number, begin, text)
        else:
            strayed += 1
            if len(strays) < STRAYS:
                strays.append(Line(number, begin, text))
            continue
        known += 1
    pending = Event(kind, b"\n".join(data), last_id, start, at, first) if data else None
    return EventStream(tuple(events), pending, known, comments, tuple(strays), strayed, retry, bad_retry)


def declared(message: Message) -> bool:
    """Whether Content-Type says that the content is an event stream; False where it says two things."""
    kept = message.__dict__
    if "_declares_events" not in kept:
        kept["_declares_events"] = media_type(message) == MEDIA_TYPE
    is_one: bool = kept["_declares_events"]
    return is_one


def events(message: Message) -> EventStream | None:
    """The content read as an event stream, whatever its type says; None where the content is not known."""
    kept = message.__dict__
    if "_events" not in kept:
        octets = None if message.body is None else decoded(message)
        kept["_events"] = None if octets is None else parse(octets)
    found: EventStream | None = kept["_events"]
    return found


def undecodable(octets: bytes, *, partial: bool = False) -> int | None:
    """Offset of the first octet that is not UTF-8; None: all is. ``partial``: the end may cut a character.

    >>> undecodable(b"caf\\xe9!"), undecodable(b"caf\\xc3"), undecodable(b"caf\\xc3", partial=True)
    (3, 3, None)
    """
    if octets.isascii():
        return None
    try:
        codecs.utf_8_decode(octets, "strict", not partial)
    except UnicodeDecodeError as problem:
        return problem.start
    return None
