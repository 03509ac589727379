"""From what a rule points at to where that is: which part, which line, and the lines a report shows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from conformance import secret
from conformance.content import once
from conformance.finding import Entry, Head, Location, Part, Quote
from conformance.message import (
    Chunk,
    Connection,
    Exchange,
    FieldLine,
    Frame,
    Legs,
    Line,
    Message,
    Octets,
    Origin,
    Refusal,
    Request,
    Span,
    Stream,
)
from conformance.rule import Place
from conformance.transcript import escape

SHOWN = 200
"""Characters of one line that a report shows."""
SHOWN_LINES = 100
"""Lines of one head that a report shows."""
SHOWN_ALIKE = 12
"""Lines of one name that a finding quotes: the first, and those around the one that it is about."""


class Found(NamedTuple):
    """Where a place is, whose doing, and the lines to show."""

    at: Location
    origin: Origin
    quotes: tuple[Quote, ...]
    message: Message | None


def in_exchange(recording: str, exchange: Exchange, place: Place, subject: object = None) -> Found:
    """Find a place that a rule yielded for this exchange, or for something inside it."""
    if isinstance(place, Refusal):
        return _refused(recording, exchange, place)
    if isinstance(place, Frame):
        return _frame(recording, exchange, place)
    if isinstance(place, Connection):
        place = place.after
    if isinstance(place, Exchange | Legs):
        place = exchange.request
    if isinstance(place, Message):
        *before, start = _starts(exchange, place)
        at = Location(recording, exchange.number, _part(place), None, None, start.number, exchange.flow)
        return Found(at, _origin(place), (*before, replace(start, marked=True)), place)
    if isinstance(place, FieldLine):
        messages = [subject] if isinstance(subject, Message) else list(exchange.messages)
        for message in messages:
            index = _indexes(message).get(id(place))
            if index is not None:
                return _field(recording, exchange, message, index, place)
    if isinstance(place, Span | Line | Chunk) and isinstance(subject, Message):
        at = Location(recording, exchange.number, _part(subject), None, None, None, exchange.flow)
        quotes = _starts(exchange, subject)
        if isinstance(place, Line | Chunk):
            physical = place if isinstance(place, Line) else place.header
            text = f"{_arrow(subject)} {_physical(physical.text + physical.ending)}"
            quotes.append(Quote(_cut(text), None, marked=True))
        return Found(at, _origin(subject), tuple(quotes), subject)
    # A rule that points outside of what it was given is a mistake in the rule, and shall show in its tests.
    raise LookupError(f"{place!r} is not part of exchange {exchange.number}")


def leg(legs: Legs, place: Place) -> Exchange:
    """The one of a hop's exchanges that a place is in."""
    if isinstance(place, Legs):
        return legs.client
    for exchange in legs.exchanges:
        if isinstance(place, Exchange | Message | FieldLine) and _belongs(place, exchange):
            return exchange
        if any(place is known for known in (*exchange.frames, *exchange.refusals)):
            return exchange
    raise LookupError(f"{place!r} is not part of exchange {legs.client.number} or what became of it")


def in_stream(recording: str, stream: Stream, octets: Octets, place: Place) -> Found:
    """Find a place that a rule yielded for one side of a connection recorded as octets."""
    if isinstance(place, Octets):
        place = Span(0, 0)
    if isinstance(place, Refusal):
        place = Span(octets.rest, octets.rest)
    if isinstance(place, Chunk):
        place = place.header
    span = place.span if isinstance(place, Line) else place
    exchange: Exchange | None = None
    number: int | None = None
    if not isinstance(span, Span):
        for candidate in stream.exchanges:
            if isinstance(place, Exchange | Message | FieldLine) and _belongs(place, candidate):
                return in_exchange(recording, candidate, place)
        raise LookupError(f"{place!r} is not part of stream {stream.number}")
    owner = next(
        (m for m in octets.messages if m.wire and m.wire.span.start <= span.start < m.wire.span.stop), None
    )
    for candidate in stream.exchanges:
        if owner is not None and any(message is owner for message in candidate.messages):
            exchange = candidate
    if octets.numbers:
        starts = [start for start, _ in octets.numbers]
        number = octets.numbers[max(0, bisect_right(starts, span.start) - 1)][1]
    at = Location(
        recording,
        exchange.number if exchange is not None else None,
        "stream",
        span.start,
        None,
        number,
        stream.flow,
        stream.number,
    )
    arrow = ">>" if octets.side == "client" else "<<"
    quotes = tuple(
        Quote(_cut(f"{arrow} {_physical(text)}"), number if marked else None, marked)
        for text, marked in _lines_around(octets, span, owner)
    )
    return Found(at, octets.side, quotes, owner)


def entry(exchange: Exchange, connection: str | None) -> Entry:
    """The exchange as a report may list it, without its conversation and its heads."""
    request, response = exchange.request, exchange.response
    host = request.authority or request.fields.one("host") or (exchange.upstream or "").encode()
    return Entry(
        number=exchange.number,
        method=_cut(escape(request.method)),
        host=_cut(escape(secret.mask_value(b"host", host))),
        path=shown_path(request),
        status=response.status if response is not None else None,
        is_lost=exchange.error is not None,
        started=exchange.started,
        ended=exchange.ended,
        connection=None if connection is None else _cut(escape(connection.encode("utf-8", "replace"))),
        conversation=None,
    )


def heads(exchange: Exchange) -> tuple[Head, ...]:
    """What its messages begin with, as a report may show it."""
    return tuple(map(_head, exchange.messages))


def shown_path(request: Request) -> str:
    """The path of a request as a report may print it."""
    return once(request, "_shown_path", lambda it: _cut(escape(secret.mask_text(request.path))))


def shown_note(note: str) -> str:
    """Somebody's comment as a report may print it: in a flow or a HAR file it can hold anything."""
    return _cut(f"# {escape(_masked(note))}")


def shown_text(text: str) -> str:
    """Words that may quote a recording (a comment, an exception's) as a report may print them."""
    return _cut(secret.printable(_masked(text).decode("utf-8", "backslashreplace")))


def _masked(text: str) -> bytes:
    return secret.mask_text(text.encode("utf-8", "surrogateescape"))


def said(refusal: Refusal) -> str:
    """A parser's words as a report may print them."""
    return _cut(escape(secret.mask_text(refusal.text.encode("utf-8", "surrogateescape"))))


def _belongs(place: Exchange | Message | FieldLine, exchange: Exchange) -> bool:
    if isinstance(place, FieldLine):
        return any(id(place) in _indexes(message) for message in exchange.messages)
    return place is exchange or any(message is place for message in exchange.messages)


def _lines_around(octets: Octets, span: Span, owner: Message | None) -> Iterator[tuple[bytes, bool]]:
    """The start line of the message, then the physical line the span begins in."""
    data = octets.data
    start = data.rfind(b"\n", 0, span.start) + 1
    stop = data.find(b"\n", max(span.start, span.stop - 1))
    stop = min(len(data) if stop < 0 else stop + 1, start + 2 * SHOWN)
    if owner is not None and owner.wire is not None and owner.wire.lines:
        head = owner.wire.lines[0]
        if head.start != start:
            yield head.text + head.ending, False
    yield data[start:stop], True


def _field(recording: str, exchange: Exchange, message: Message, index: int, place: FieldLine) -> Found:
    numbers = message.numbers[1:]
    number = numbers[index] if index < len(numbers) else None
    at = Location(
        recording, exchange.number, _part(message), index, escape(place.name), number, exchange.flow
    )
    arrow = _arrow(message)
    quotes = _starts(exchange, message)
    for line in _alike(message, place, index):
        position = _indexes(message)[id(line)]
        number = numbers[position] if position < len(numbers) else None
        quotes.append(Quote(_field_line(arrow, line), number, line is place))
    return Found(at, _origin(message), tuple(quotes), message)


def _alike(message: Message, place: FieldLine, index: int) -> Sequence[FieldLine]:
    """The lines with the name of this one, or so many of them as a finding quotes."""
    alike = (*message.fields.lines(place.key), *message.trailers.lines(place.key))
    if len(alike) <= SHOWN_ALIKE:
        return alike
    indexes = _indexes(message)
    at = bisect_left(alike, index, key=lambda line: indexes[id(line)])
    first = min(max(1, at - SHOWN_ALIKE // 2), len(alike) - SHOWN_ALIKE + 1)
    return (alike[0], *alike[first : first + SHOWN_ALIKE - 1])


def _indexes(message: Message) -> dict[int, int]:
    """The id of each field and trailer line, and which one it is."""
    return once(message, "_indexes", lambda it: {id(line): at for at, line in enumerate(_all_lines(it))})


@lru_cache(maxsize=64)  # of one message, again and again
def _field_line(arrow: str, line: FieldLine) -> str:
    return _cut(f"{arrow} {escape(line.name)}: {escape(secret.mask_value(line.name, line.value))}")


def _start_line(message: Message) -> str:
    return once(
        message,
        "_shown_start",
        lambda it: _cut(f"{_arrow(it)} {escape(secret.mask_text(it.start_line))}"),
    )


def _head(message: Message) -> Head:
    arrow = _arrow(message)
    lines = list(_all_lines(message))
    shown = (_field_line(arrow, line) for line in lines[: SHOWN_LINES - 1])
    return Head(_part(message), (_start_line(message), *shown), max(0, len(lines) + 1 - SHOWN_LINES))


def _frame(recording: str, exchange: Exchange, frame: Frame) -> Found:
    index = next(i for i, known in enumerate(exchange.frames) if known is frame)
    line = frame.number or None
    at = Location(recording, exchange.number, "frame", index, None, line, exchange.flow)
    arrow = ">" if frame.sender == "client" else "<"
    code = "" if frame.code is None else f" {frame.code}"
    content = _shown_content(frame.content)
    quote = Quote(_cut(f"{arrow} {frame.opcode}{code} {content}".rstrip()), line, marked=True)
    return Found(at, frame.sender, (quote,), None)


@lru_cache(maxsize=16)
def _shown_content(octets: bytes) -> str:
    # Masked as a whole: what is cut off may be what tells a credential.
    return escape(secret.mask_text(octets)[: 2 * SHOWN])


def _refused(recording: str, exchange: Exchange, refusal: Refusal) -> Found:
    message = exchange.request if refusal.part == "request" else exchange.response
    quotes = _starts(exchange, message or exchange.request)
    at = Location(recording, exchange.number, refusal.part, None, None, quotes[-1].number, exchange.flow)
    quotes.append(Quote(_cut(f"@ {refusal.source}: {said(refusal)}"), None, marked=True))
    return Found(at, refusal.origin, tuple(quotes), message)


def _starts(exchange: Exchange, message: Message) -> list[Quote]:
    """The start line of the message, and above a response's that of its request."""
    shown = [exchange.request, message] if message is not exchange.request else [message]
    return [Quote(_start_line(one), one.numbers[0] if one.numbers else None) for one in shown]


def _all_lines(message: Message) -> Iterator[FieldLine]:
    yield from message.fields
    yield from message.trailers


def _part(message: Message) -> Part:
    return "request" if isinstance(message, Request) else "response"


def _origin(message: Message) -> Origin:
    return "client" if isinstance(message, Request) else "server"


def _arrow(message: Message) -> str:
    return ">" if isinstance(message, Request) else "<"


def _physical(octets: bytes) -> str:
    name, colon, value = octets.partition(b":")
    masked = name + colon + secret.mask_value(name, value) if colon else octets
    return escape(secret.mask_text(masked))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
