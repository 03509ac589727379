"""What a recording holds, in the words of the RFCs: field lines, messages, frames, exchanges.

Facts that shape these types:

* A recording is not the wire. ``None`` means "the recording does not say", and no rule may fire on it.
* Field lines keep their order, case and repeats: they are what most rules are about.
* Everything taken from the wire is ``bytes``; names to look fields up by are lower-case ``str``.
* Objects are compared by identity: two equal field lines on one message are two lines.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from functools import cached_property
from typing import Literal, NamedTuple, Self

type Origin = Literal["client", "server", "recorder"]
"""Whose doing something is: the side that sent it, or the recorder that wrote it down."""

type Side = Literal["client", "server"]


class Evidence(Flag):
    """What a recording holds of an exchange, and so which rules can be decided on it (catalogue words)."""

    HEADERS = auto()
    """Start line and field lines of the messages."""
    BODY = auto()
    """The content of the message."""
    ERROR = auto()
    """The recorder says what it refused or lost (mitmproxy's ``flow.error``)."""
    CONNECTION = auto()
    """Which exchanges shared a connection."""
    FLOWS = auto()
    """Several exchanges, in the order they happened."""
    LEGS = auto()
    """Both sides of a hop: what came in and what went out."""
    WEBSOCKET = auto()
    """WebSocket messages and the close."""
    OCTETS = auto()
    """The raw octets of the connection."""
    PARSERS = auto()
    """What several real parsers say of the message (``--parsers``)."""


class FieldLine(NamedTuple):
    """One line of a header or trailer section; the value without the whitespace around it."""

    name: bytes
    value: bytes

    @property
    def key(self) -> str:
        """The name to compare by: names are case-insensitive (RFC 9110 §5.1)."""
        return self.name.lower().decode("latin-1")

    @property
    def shown_name(self) -> str:
        """The name as it is written, for messages."""
        return self.name.decode("latin-1")


_NONE: tuple[FieldLine, ...] = ()
# Not FieldLine._make, which is Python and would run for every line of a recording.
_new = tuple.__new__


class _Names:
    """What a sequence of names says by itself: shared by all sections that have it, agents send a few dozen."""

    __slots__ = ("are_tokens", "block", "keys", "occurring", "places")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.block = b"\n".join(names)
        self.keys = tuple([name.lower().decode("latin-1") for name in names])
        places: dict[str, list[int]] = {}
        for at, key in enumerate(self.keys):
            places.setdefault(key, []).append(at)
        self.places = {key: tuple(found) for key, found in places.items()}
        self.occurring = frozenset(places)
        self.are_tokens = all(map(_TOKEN.fullmatch, names))

    @classmethod
    def of(cls, names: tuple[bytes, ...]) -> _Names:
        known = _known_names.get(names)
        if known is None:
            known = cls(names)
            if len(names) <= _MOST_NAMES and len(known.block) <= _LONGEST_NAMES:
                if len(_known_names) >= _KEPT_NAMES:
                    _known_names.clear()
                _known_names[names] = known
        return known


_known_names: dict[tuple[bytes, ...], _Names] = {}
_KEPT_NAMES, _MOST_NAMES, _LONGEST_NAMES = 256, 64, 2048

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = b"\t" + bytes(range(0x20, 0x7F))


class Fields:
    """The field lines of one section, in order; looked up by lower-case name.

    >>> fields = Fields([(b"Via", b"1.1 a"), (b"via", b"1.1 b")])
    >>> [line.value for line in fields.lines("via")], "via" in fields, fields.one("via")
    ([b'1.1 a', b'1.1 b'], True, None)
    """

    __slots__ = ("_block", "_lines", "_named", "_plain")

    def __init__(self, lines: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._lines = tuple([_new(FieldLine, line) for line in lines])
        self._named: _Names | None = None
        self._block: bytes | None = None
        self._plain: bool | None = None

    def _names(self) -> _Names:
        if self._named is None:
            self._named = _Names.of(tuple([line[0] for line in self._lines]))
        return self._named

    def __iter__(self) -> Iterator[FieldLine]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> FieldLine:
        return self._lines[index]

    def __contains__(self, name: str) -> bool:
        return name in (self._named or self._names()).occurring

    def __repr__(self) -> str:
        return f"Fields({list(map(tuple, self._lines))!r})"

    @property
    def names(self) -> frozenset[str]:
        """The lower-case names that occur."""
        return (self._named or self._names()).occurring

    @property
    def line_keys(self) -> tuple[str, ...]:
        """The lower-case name of each line. Not ``keys``: what has that is a mapping to ``dict()``."""
        return (self._named or self._names()).keys

    @property
    def by_name(self) -> Mapping[str, tuple[FieldLine, ...]]:
        """All lines, grouped by lower-case name, in the order of their first line."""
        return {key: self.lines(key) for key in self._names().places}

    @property
    def block(self) -> bytes:
        """Every value, joined by line feeds: one search tells whether any value can matter to a rule."""
        if self._block is None:
            self._block = b"\n".join([line[1] for line in self._lines])
        return self._block

    @property
    def names_block(self) -> bytes:
        """Every name as it is written, joined by line feeds; for the same purpose."""
        return (self._named or self._names()).block

    @property
    def is_plain(self) -> bool:
        """Whether all names are tokens, and all values visible ASCII, spaces and tabs."""
        if self._plain is None:
            # Of the block, the line feeds that join it must be left, and no other.
            left = self.block.translate(None, _VISIBLE)
            self._plain = self._names().are_tokens and left == b"\n" * (len(self._lines) - 1)
        return self._plain

    def lines(self, name: str) -> tuple[FieldLine, ...]:
        """The lines of that (lower-case) name, in order; empty if there is none."""
        places = (self._named or self._names()).places.get(name)
        if places is None:
            return _NONE
        lines = self._lines
        return (lines[places[0]],) if len(places) == 1 else tuple([lines[at] for at in places])

    def values(self, name: str) -> list[bytes]:
        """The members of a list field over all its lines (RFC 9110 §5.6.1); empty members are left out.

        Commas inside quoted strings and comments do not split.
        """
        members: list[bytes] = []
        for line in self.lines(name):
            value = line.value
            # Almost no value holds a quote; the plain split is five times faster.
            parts = split_members(value) if b'"' in value or b"(" in value else value.split(b",")
            members.extend(part for part in (part.strip(b" \t") for part in parts) if part)
        return members

    def one(self, name: str) -> bytes | None:
        """The value, if there is exactly one line of that name; else None."""
        places = (self._named or self._names()).places.get(name)
        return self._lines[places[0]][1] if places is not None and len(places) == 1 else None


NO_FIELDS = Fields()
"""No lines."""


def split_members(value: bytes) -> list[bytes]:
    """One line of a list field at its commas, empty members and whitespace kept; see ``Fields.values``."""
    parts: list[bytes] = []
    start = depth = 0
    quoted = escaped = False
    for at, octet in enumerate(value):
        if escaped:
            escaped = False
        elif (quoted or depth) and octet == 0x5C:  # backslash
            escaped = True
        elif octet == 0x22 and not depth:
            quoted = not quoted
        elif quoted:
            continue
        elif octet == 0x28:
            depth += 1
        elif octet == 0x29:
            depth = max(0, depth - 1)
        elif octet == 0x2C and not depth:
            parts.append(value[start:at])
            start = at + 1
    parts.append(value[start:])
    return parts


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the octets that one side of a connection sent: ``data[start:stop]``."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line of a head, a chunk header or a trailer section, as it lay on the wire."""

    start: int
    """Offset of its first octet in the data of its side."""
    text: bytes
    ending: bytes
    """``CRLF``, ``LF``, or nothing where the octets end before the line does."""

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + len(self.text) + len(self.ending))


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a chunked body (RFC 9112 §7.1); the last one has size 0."""

    header: Line
    """The line with the size and any extensions."""
    size: int | None
    """The size, or None where it cannot be read as one."""
    received: int
    """How many octets of the chunk's data were there."""
    terminator: bytes
    """What stands where CRLF must follow the data: at most two octets."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a message lay on the wire: known only where the recording has the octets."""

    span: Span
    lines: tuple[Line, ...]
    """The physical lines of the head: start line, field lines, and the empty line that ends it, if it came."""
    chunks: tuple[Chunk, ...] = ()
    trailer_lines: tuple[Line, ...] = ()
    state: Literal["complete", "cut", "left", "until-close", "unframed"] = "complete"
    """``cut``: the octets end before the message; ``left``: so they do, but between two chunks of an event
    stream, which a client may have closed that had read enough; ``until-close``: only the close ends it
    (RFC 9112 §6.3); ``unframed``: nobody can say where it ends, and nothing behind its head was read."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a parser (the recorder's, or h11 in our replay) said when it refused a message or lost it."""

    text: str
    """The parser's own words."""
    rule: str | None
    """The rule those words stand for; None where no rule names the reason."""
    part: Literal["request", "response"]
    origin: Origin
    source: str
    """Who said it: ``mitmproxy`` or ``h11``."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Message:
    """A request or a response."""

    fields: Fields
    body: bytes | memoryview | None = field(default=None, repr=False)
    """The content as the reader holds it; rules ask for ``content``."""
    trailers: Fields = NO_FIELDS
    version: bytes = b"HTTP/1.1"
    verbatim: bool = True
    """Lines and content are as they were transferred. False where the recorder rebuilt them (HAR: content
    decoded, fields possibly merged): what a rebuilt message shows about framing or repeats proves nothing."""
    partial: bool = False
    """The recording says that it holds only a part of the content."""
    wire: Wire | None = None
    numbers: tuple[int, ...] = ()
    """Line numbers in the transcript: of the start line, then of each field and trailer line."""

    def bare(self) -> Self:
        """The same message without its content, for keeping: the content may be megabytes."""
        kept = object.__new__(type(self))
        facts = self.__dict__
        if len(facts) > len(self.__dataclass_fields__):
            # Not what else is kept with a message: it is made of its content.
            facts = {name: facts[name] for name in self.__dataclass_fields__}
        kept.__dict__.update(facts, body=None)
        return kept

    @cached_property
    def content(self) -> bytes | None:
        """The content after transfer decoding and before content decoding; None: not recorded."""
        return None if self.body is None else bytes(self.body)

    @property
    def size(self) -> int | None:
        """Octets of content, without copying it; None: not recorded."""
        return None if self.body is None else len(self.body)

    @cached_property
    def is_http1(self) -> bool:
        """Whether the framing rules of RFC 9112 apply."""
        return self.version.upper().startswith((b"HTTP/1", b"HTTP/0"))

    @property
    def start_line(self) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class Request(Message):
    """A request as it was sent."""

    method: bytes
    target: bytes
    """The request-target as written: origin, absolute, authority or asterisk form (RFC 9112 §3.2)."""
    authority: bytes = b""
    """HTTP/2's ``:authority``; empty in HTTP/1."""

    @property
    def start_line(self) -> bytes:
        return b"%s %s %s" % (self.method, self.target, self.version)

    @cached_property
    def path(self) -> bytes:
        """The target's path, without query, scheme and authority; ``*`` and authority form as they are."""
        path = self.target
        if not path.startswith(b"/") and b"://" in path:
            slash = path.find(b"/", path.find(b"://") + 3)
            path = path[slash:] if slash >= 0 else b"/"
        return path.partition(b"#")[0].partition(b"?")[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Response(Message):
    """A response, final or interim."""

    code: bytes
    """The status code as written."""
    reason: bytes = b""

    @cached_property
    def status(self) -> int:
        """The status code; 0 where it is not three digits."""
        return int(self.code) if len(self.code) == 3 and self.code.isdigit() else 0

    @property
    def start_line(self) -> bytes:
        return b"%s %s %s" % (self.version, self.code, self.reason)


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One WebSocket message, control frame or the close."""

    sender: Side
    opcode: Literal["TEXT", "BINARY", "PING", "PONG", "CLOSE"]
    content: bytes
    """The payload; for a close, the reason."""
    time: float | None = None
    code: int | None = None
    """The close code (RFC 6455 §7.4); None on other frames. 1005 and 1006 are never on the wire."""
    number: int = 0
    """Its line in the transcript; 0: not from one."""
    injected: bool = False
    """The recorder sent it of its own accord (somebody typed it, an addon made it): no peer did."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change that an addon made in flight, as its journal tells it."""

    addon: str
    part: str
    op: str
    field: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    why: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Exchange:
    """A request and what came back for it."""

    request: Request
    response: Response | None = None
    """The final response; None: none came, or the recorder refused it (then ``refusals`` says why)."""
    interim: tuple[Response, ...] = ()
    frames: tuple[Frame, ...] = ()
    dropped: int = 0
    """How many WebSocket messages the recorder kept from the other side; they are not among the frames."""
    refusals: tuple[Refusal, ...] = ()
    error: str | None = None
    """The recorder's own words about what went wrong, if it wrote any."""
    received: Exchange | None = None
    """The two messages as they came in, where a journal holds them."""
    edits: tuple[Edit, ...] = ()
    evidence: Evidence = Evidence.HEADERS
    recorder: str = "transcript"
    """``transcript``, ``mitmproxy``, ``har`` or ``octets``."""
    number: int = 1
    """Counts from 1 within its recording."""
    flow: str | None = None
    """mitmproxy's id of the flow, which begins at this octet of the file:"""
    offset: int | None = None
    note: str = ""
    """The comment somebody wrote on it; holds inline ignores."""
    note_line: int | None = None
    """The note's line in the transcript."""
    scheme: bytes = b"http"
    server_name: str | None = None
    """The name the client asked TLS for, where the recorder leaves the Host field as the client sent it."""
    upstream: str | None = None
    """``host:port`` that the request was really sent to; None: not recorded."""
    client_connection: str | None = None
    server_connection: str | None = None
    started: float | None = None
    """Seconds since 1970, when the request began."""
    answered: float | None = None
    """When the head of the final response came."""
    ended: float | None = None
    is_replay: bool = False
    leg: Side | None = None
    """In a transcript: which side of a hop this is; ``server``: of the exchange above that is the client's. In octets
    that mitmproxy recorded on both of its sides, ``server`` is the one to the upstream."""

    def bare(self) -> Exchange:
        """The same exchange without contents and frames, for keeping."""
        kept = object.__new__(Exchange)
        kept.__dict__.update(
            self.__dict__,
            request=self.request.bare(),
            response=self.response and self.response.bare(),
            frames=(),
            received=None,
        )
        return kept

    @property
    def messages(self) -> Iterator[Message]:
        """The request, the interim responses, the final response."""
        yield self.request
        yield from self.interim
        if self.response is not None:
            yield self.response


class Connection(NamedTuple):
    """Two exchanges that follow each other on one connection.

    Pairs, not whole connections: what persistence rules judge is between neighbours, and a recording of
    one connection with a million exchanges must not be held in memory. The messages have no content.
    """

    side: Side
    """Whether it is the client's connection to the recorder or the recorder's to the server."""
    id: str
    before: Exchange
    after: Exchange


_REQUEST = re.compile(rb"[A-Z]{3,20}(?: |\Z)")


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Legs:
    """One exchange as it was on both sides of a hop: what the hop received, and what it made of it.

    The hop received ``client.request`` and ``server.response``, and sent ``server.request`` and
    ``client.response``.
    """

    client: Exchange
    """Between the client and the hop."""
    server: Exchange
    """Between the hop and its upstream; of several attempts the last, whose answer the client got."""
    attempts: tuple[Exchange, ...] = ()
    """Every exchange with an upstream that the client's request became, in order."""
    hop: str = "the gateway"
    """What to call the hop in a sentence."""
    edits: tuple[Edit, ...] = ()
    """What the hop itself says it changed: only our own addons do."""
    repeats: int = 0
    """How often the client had sent the same request before without success, as far as is recorded."""

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The client's exchange and all attempts."""
        return (self.client, *(self.attempts or (self.server,)))

    @property
    def requests(self) -> tuple[Request, Request]:
        """The request as the hop received it, and as it sent it."""
        return self.client.request, self.server.request

    @property
    def responses(self) -> tuple[Response, Response] | None:
        """The response as the hop received it, and as it sent it; None where one of them is not known."""
        came, went = self.server.response, self.client.response
        return None if came is None or went is None else (came, went)

    @property
    def passed(self) -> Iterator[tuple[Message, Message]]:
        """Each message as the hop received it, and as it sent it."""
        yield self.requests
        if self.responses is not None:
            yield self.responses

    def declared(self, part: Literal["request", "response"], name: str) -> bool:
        """Whether the hop says that it changed this field (lower-case name) on purpose."""
        return any(edit.part == part and edit.field.lower() == name for edit in self.edits)


class Breach(NamedTuple):
    """Where the frames that one side of a WebSocket sent first break RFC 6455 in one way."""

    kind: str
    """``masking``, ``reserved-bit``...: as ``frames.py`` calls it."""
    span: Span
    why: str


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Octets:
    """Everything one side sent on a connection, octet by octet, with the messages found in it."""

    side: Side
    data: bytes = field(repr=False)
    messages: tuple[Message, ...] = ()
    """In order, each with its ``wire``. For the server the interim responses too."""
    refusals: tuple[Refusal, ...] = ()
    """What a parser said about octets that belong to no message."""
    rest: int = 0
    """Offset behind the last message: octets from here on belong to none (or to a protocol switched to)."""
    numbers: tuple[tuple[int, int], ...] = ()
    """In a transcript: (offset, line number) of each of its lines."""
    times: tuple[tuple[int, float], ...] = ()
    """(offset, seconds since 1970) of each piece as the recorder got it; empty where it does not say."""
    switched: bool = False
    """The connection became something else after the last message (101, CONNECT): the rest is not HTTP/1."""
    breaches: tuple[Breach, ...] = ()
    """What is wrong with the frames, if it became a WebSocket: of each kind the first."""
    peer: bytes = field(default=b"", repr=False)
    """What the other side sent."""

    def time_at(self, offset: int) -> float | None:
        """When the octet at this offset came."""
        at = bisect_right(self.times, (offset, math.inf)) - 1
        return self.times[at][1] if at >= 0 else None

    @property
    def stray_content(self) -> bytes:
        """What a client sent behind a complete request that announced no content; empty if nothing.

        A rest that begins as a request does is none: it is a request that is cut or lacks its version.
        """
        last = self.messages[-1] if self.messages else None
        if self.side == "server" or self.switched or last is None or last.wire is None:
            return b""
        announced = "content-length" in last.fields or "transfer-encoding" in last.fields
        if announced or last.wire.state != "complete" or _REQUEST.match(self.data, self.rest):
            return b""
        return self.data[self.rest :]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Stream:
    """One TCP connection recorded as octets."""

    client: Octets
    server: Octets
    exchanges: tuple[Exchange, ...] = ()
    """What the octets say, each message with its ``wire``."""
    number: int = 1
    flow: str | None = None
    offset: int | None = None
    note: str = ""
    note_line: int | None = None
    leg: Side | None = None
    """``server``: of what record-octets recorded, the side to the upstream, where the client's is recorded, too."""
