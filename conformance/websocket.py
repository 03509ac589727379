"""WebSockets: which request opens one, what went over it, how it ended and whose doing that was.

Facts that shape this file:

* mitmproxy records no close frame but how the connection ended. Its 1006 is no close frame at all, its 1005
  a close frame without a code: neither number is ever on the wire (RFC 6455 §7.4.1).
* What mitmproxy's parser (wsproto) refuses is recorded as a close with 1002 or 1007 by the side that sent the
  frame, the parser's words being the reason. The frame itself is not recorded.
* A HAR holds messages and no close. An addon may have thrown away the first messages of a long session.
* Recorded octets hold every frame, pings and both closes (``frames.py``), but not who ended the connection.
* No close in the recording means that it does not say how the connection ended.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from conformance.llm import endpoint
from conformance.message import Exchange, Frame, Refusal, Request


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The messages of one API's WebSocket sessions, by their ``type``."""

    endpoint: str
    certain: re.Pattern[bytes]
    """Paths that can be no other application's."""
    asks: frozenset[str]
    """From the client: begins a response."""
    opens: str
    """From the server: the first event of a response."""
    within: tuple[str, ...]
    """How the types of the events begin that belong to a response that has been opened."""
    ends: frozenset[str]
    may_stand_alone: frozenset[str]
    """Of those that end a response: what may come instead of it."""
    errors: frozenset[str]
    error_ends: bool
    """An error is the end of the response it is about."""
    greets: str | None
    """The event that the server sends first, unasked."""
    lane: tuple[tuple[str, ...], ...]
    """Where an event says which of several concurrent responses it belongs to."""
    ask_lane: tuple[tuple[str, ...], ...]
    named: bool
    """The lane is the id of a response, which names one response for ever."""


DIALOGUES: tuple[Dialogue, ...] = (
    # OpenAI: Responses API reference, WebSocket events; openai/codex responses_websocket.rs; docs.x.ai too.
    Dialogue(
        endpoint="responses",
        certain=re.compile(rb"/(?:v1|codex)/responses/?\Z"),
        asks=frozenset({"response.create"}),
        opens="response.created",
        within=(
            "response.in_progress", "response.output_item.", "response.content_part.", "response.output_text.",
            "response.refusal.", "response.function_call_arguments.", "response.custom_tool_call_input.",
            "response.reasoning", "response.file_search_call.", "response.web_search_call.",
            "response.image_generation_call.", "response.code_interpreter_call", "response.mcp_",
        ),
        ends=frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"}),
        may_stand_alone=frozenset({"response.failed", "response.cancelled"}),
        errors=frozenset({"error"}),
        error_ends=True,
        greets=None,
        lane=(("stream_id",),),
        ask_lane=(("stream_id",),),
        named=False,
    ),
    # OpenAI: Realtime API reference, server events. Most errors leave the session and its response alone.
    Dialogue(
        endpoint="realtime",
        certain=re.compile(rb"/(?:v1|openai)/realtime/?\Z"),
        asks=frozenset({"response.create"}),
        opens="response.created",
        within=(
            "response.output_item.", "response.content_part.", "response.output_text.", "response.text.",
            "response.output_audio", "response.audio", "response.function_call_arguments.", "response.mcp_call",
        ),
        ends=frozenset({"response.done"}),
        may_stand_alone=frozenset(),
        errors=frozenset({"error"}),
        error_ends=False,
        greets="session.created",
        lane=(("response_id",), ("response", "id")),
        ask_lane=(),
        named=True,
    ),
)  # fmt: skip
"""The APIs whose WebSocket sessions are known."""

_BY_ENDPOINT = {known.endpoint: known for known in DIALOGUES}


def dialogue(request: Request) -> Dialogue | None:
    """What the messages of the session are that this request opens; None: not known."""
    found = endpoint(request)
    return None if found is None else _BY_ENDPOINT.get(found.name)


_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3

NO_CLOSE_FRAME = 1006

# ParseFailed of wsproto 1.3.2, which mitmproxy 12 uses (search from the beginning of the reason).
_PARSER_WORDS = (
    "unexpected CONTINUATION", "expected CONTINUATION, got ", "error in extension", "Invalid opcode 0x",
    "Invalid attempt to fragment control frame", "client received unexpected masked frame",
    "server received unexpected unmasked frame", "Control frame with payload len > 125",
    "Payload length used 2 bytes when 1 would have sufficed",
    "Payload length used 8 bytes when 2 would have sufficed", "8-byte payload length with non-zero MSB",
    "Reserved bit set unexpectedly", "CLOSE with 1 byte payload", "CLOSE with invalid code",
    "remote CLOSE with local-only reason", "CLOSE with unknown reserved code", "Error decoding CLOSE reason: ",
    "'utf-8' codec can't decode ",
)  # fmt: skip
BAD_CLOSE_CODE = (
    b"CLOSE with invalid code",
    b"remote CLOSE with local-only reason",
    b"CLOSE with unknown reserved code",
)
"""What wsproto says of a close frame with a code that may not be sent."""
BAD_TEXT = b"'utf-8' codec can't decode "
"""How what wsproto says of a text message that is not UTF-8 begins."""
BAD_REASON = b"Error decoding CLOSE reason: "
"""How what wsproto says of a reason that is not UTF-8 begins."""
_RESERVED_BIT = b"Reserved bit set unexpectedly"
_WORDS = tuple(words.encode() for words in _PARSER_WORDS)


def is_handshake(request: Request) -> bool:
    """Whether an HTTP/1 request opens a WebSocket, or did before a hop took something from it.

    ``Upgrade: websocket`` says so. Without it, which a hop may have removed with Connection, a GET without
    content that has a Sec-WebSocket-Key is one. HTTP/2 has its own way (RFC 8441), which is not meant here.
    """
    kept = request.__dict__
    if "_handshake" not in kept:
        kept["_handshake"] = _is_handshake(request)
    found: bool = kept["_handshake"]
    return found


def _is_handshake(request: Request) -> bool:
    fields = request.fields
    if "upgrade" not in fields and "sec-websocket-key" not in fields:
        return False  # nearly every request
    if not request.is_http1:
        return False
    if any(value.lower() == b"websocket" for value in fields.values("upgrade")):
        return True
    has_content = (
        request.size or "transfer-encoding" in fields or fields.one("content-length") not in (None, b"0")
    )
    return "sec-websocket-key" in fields and request.method == b"GET" and not has_content


def accept(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that proves a server has read this key (RFC 6455 §4.2.2).

    >>> accept(b"dGhlIHNhbXBsZSBub25jZQ==")
    b's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def close(exchange: Exchange) -> Frame | None:
    """How the connection ended: its first close, or the 1006 that stands for none; None: not recorded."""
    return next((frame for frame in exchange.frames if frame.opcode == "CLOSE"), None)


def refused_by_recorder(exchange: Exchange, frame: Frame) -> bool:
    """Whether a recorded close is mitmproxy's own, after a frame that it could not read.

    ``frame.sender`` is then the side that sent the frame which mitmproxy refused.
    """
    return (
        exchange.recorder == "mitmproxy" and frame.code in (1002, 1007) and frame.content.startswith(_WORDS)
    )


def place(exchange: Exchange, frame: Frame) -> Frame | Refusal:
    """What a finding about a close points at: not at a peer, where it may be mitmproxy's own doing.

    An addon that removes permessage-deflate from the 101 only makes mitmproxy refuse the compressed frames
    that both peers rightly send.
    """
    if refused_by_recorder(exchange, frame) and frame.content.startswith(_RESERVED_BIT):
        return Refusal(frame.content.decode("latin-1"), None, "response", "recorder", "mitmproxy")
    return frame


@dataclass(frozen=True, slots=True)
class Event:
    """One JSON message of a session, or one of the several that a message holds."""

    frame: Frame
    type: str | None
    """None: it has none, or is not JSON."""
    document: Any = field(repr=False)
    """None: the message is not JSON."""


def events(exchange: Exchange) -> tuple[Event, ...]:
    """The text messages of a session as JSON, in order; parsed once."""
    # With the request, because `bare()` throws away what is kept there, as it does the frames.
    kept = exchange.request.__dict__
    if "_events" not in kept:
        kept["_events"] = tuple(
            event for frame in exchange.frames if frame.opcode == "TEXT" for event in _events(frame)
        )
    found: tuple[Event, ...] = kept["_events"]
    return found


def _events(frame: Frame) -> list[Event]:
    try:
        document = json.loads(frame.content)
    except (ValueError, RecursionError):
        return [Event(frame, None, None)]
    kind = _type(document)
    # Codex's upstream packs several events into one message: {"chunks": [{"type": ...}, ...]}.
    packed = document.get("chunks") if isinstance(document, dict) else None
    found = [Event(frame, kind, document)] if kind is not None else []
    if isinstance(packed, list):
        found += [Event(frame, inner, each) for each in packed if (inner := _type(each)) is not None]
    # JSON null is a document too.
    return found or [Event(frame, None, document if document is not None else {})]


def _type(document: Any) -> str | None:
    kind = document.get("type") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) and kind else None


@dataclass(slots=True)
class Session:
    """A session of an API whose events are known, as far as it got."""

    dialogue: Dialogue
    heard: bool = False
    """The server sent something."""
    asked: Counter[str] = field(default_factory=Counter)
    """By lane: responses the client asked for that have not begun."""
    open: dict[str, str] = field(default_factory=dict)
    """By lane: responses that have begun and not ended, with the type of their last event."""
    early: list[Event] = field(default_factory=list)
    """The first event of each response that came before the event that opens it."""

    @property
    def pending(self) -> bool:
        """Whether a response was asked for and has not ended."""
        return bool(self.open) or any(count > 0 for count in self.asked.values())


def session(exchange: Exchange) -> Session | None:
    """The session up to the close; None: not one of an API whose events are known. Followed once."""
    kept = exchange.request.__dict__
    if "_session" not in kept:
        kept["_session"] = _session(exchange)
    found: Session | None = kept["_session"]
    return found


def _session(exchange: Exchange) -> Session | None:
    if not exchange.frames or (known := dialogue(exchange.request)) is None:
        return None
    request = exchange.request
    if not (known.certain.search(request.path) or "openai-beta" in request.fields):
        # Other applications have a path that ends like that: their messages do not.
        types = {event.type for event in events(exchange)}
        if types.isdisjoint(known.asks | known.ends | {known.opens}):
            return None
    found = Session(known)
    begun: set[str] = set()
    greeted = False
    blamed: set[str] = set()
    for event in events(exchange):
        kind = event.type or ""
        if event.frame.sender == "client":
            if kind in known.asks:
                found.asked[_named(event, known.ask_lane)] += 1
            continue
        lane = _named(event, known.lane)
        # A response that names itself is asked for without a name: any question may be meant.
        question = lane if lane in found.asked else ""
        if kind == known.opens:
            found.asked[question] -= found.asked[question] > 0
            found.open[lane] = kind
            begun.add(lane)
        elif kind in known.errors:
            if not lane and len(found.open) + len(+found.asked) > 1:
                # It does not say which: better none is taken for unfinished than the wrong one.
                found.open.clear()
                found.asked.clear()
            elif known.error_ends or lane not in found.open:
                found.asked[question] -= found.asked[question] > 0 and lane not in found.open
                found.open.pop(lane, None)
        else:
            ended = kind in known.ends
            belongs = ended or kind.startswith(known.within)
            is_begun = lane in (begun if known.named else found.open)
            # Without a question or a greeting the first messages may just not be in the recording.
            expected = found.asked[question] > 0 or (known.named and lane and greeted)
            early = belongs and not is_begun and kind not in known.may_stand_alone
            if early and expected and lane not in blamed:
                found.early.append(event)
                blamed.add(lane)
            if ended:
                if lane not in found.open:
                    found.asked[question] -= found.asked[question] > 0
                found.open.pop(lane, None)
                blamed.discard(lane)
            elif lane in found.open:
                found.open[lane] = kind
        if kind == known.greets:
            greeted = True
    found.heard = any(f.sender == "server" and f.opcode in ("TEXT", "BINARY") for f in exchange.frames)
    return found


def _named(event: Event, paths: tuple[tuple[str, ...], ...]) -> str:
    for path in paths:
        value = event.document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str):
            return value
    return ""
