"""What goes over a WebSocket once it is open, and how it ends.

How one connection ended is one finding. The server closing, or dropping, a session of the Responses or the
Realtime API is websocket-closed-before-first-event or websocket-closed-before-completion, if a response is
lost by it; otherwise a close with an error code is websocket-closed-with-error and none at all is
websocket-closed-without-close-frame. What the recorder does not say (a HAR, a proxy killed in between) is
nobody's fault: without a recorded close none of them speaks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from conformance import websocket
from conformance.message import Exchange, Frame, Octets
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted

IN_HANDSHAKE = ("upgrade", "sec-websocket-accept", "sec-websocket-version")
"""An exchange with frames has one of these."""

MAX_MESSAGE = 2**20
"""Octets of one message that Python's websockets takes by default (``max_size``). aiohttp takes 4 MiB, uvicorn
16 MiB, tungstenite (Codex) 64 MiB in frames of 16 MiB, node's ws 100 MiB."""

MAX_REASON = 123
"""Octets of a close reason: a control frame has 125, the code takes two (RFC 6455 §5.5)."""

IDLE = 60
"""Seconds of silence after which nginx and AWS's load balancers close what they tunnel, by default."""

NORMAL = frozenset({None, 1000, 1001, 1005, 1012})
"""Closes that say nothing is wrong: done, going away, no code given, restarting (IANA's registry: 1012)."""

REMEDIES: Mapping[int, str] = {
    1002: "a frame broke the protocol: find who wrote it",
    1003: "it takes no data of this type: send text",
    1007: "a message was not what its type says, such as text that is not UTF-8",
    1008: "its policy forbids this: check credential, headers and limits before connecting again",
    1009: "a message was too big: send less at once or raise the recipient's limit",
    1010: "the server did not accept an extension the client needs",
    1011: "it failed: connecting again may reach another worker, which does not know the session",
    1013: "it is overloaded: wait before connecting again",
    1014: "the gateway got no valid answer from its upstream",
    3000: "it wants credentials",
    3003: "these credentials may not do this",
    3008: "it waited too long",
}
"""What to do after a close code, which is not to connect again blindly. RFC 6455 §7.4.1 and IANA's registry."""

_NEVER_SENT = frozenset({1005, 1006, 1015})
"""Codes that recorders write for what happened without a code on the wire."""


def _may_be_sent(code: int) -> bool:
    # 1004 is reserved, 1016 to 2999 are not assigned (RFC 6455 §7.4; IANA's registry); 3000 to 4999 are free.
    return (1000 <= code <= 1014 and code != 1004) or 3000 <= code <= 4999


_OWN_RULE = (*websocket.BAD_CLOSE_CODE, websocket.BAD_TEXT, websocket.BAD_REASON)
"""Words of mitmproxy's parser that a rule of their own reports."""


class _End(NamedTuple):
    """How a connection ended, if that is a defect."""

    kind: Literal["first-event", "completion", "no-frame", "error"]
    frame: Frame
    why: str


def _end(exchange: Exchange) -> _End | None:
    frame = websocket.close(exchange)
    if frame is None:
        return None
    session = websocket.session(exchange)
    how = _how(exchange, frame)
    if frame.sender == "server" and session is not None:
        # A server may end an idle session; one that greets owes its greeting.
        awaited = session.pending or frame.code not in NORMAL or session.dialogue.greets
        if not session.heard and awaited:
            return _End("first-event", frame, f"{how} before it sent any event")
        if session.pending and session.heard:
            last = next(iter(session.open.values()), None)
            state = f"the last event was {quoted(last.encode())}" if last else "the response had not begun"
            return _End("completion", frame, f"{how} in the middle of a response: {state}")
    if frame.code == websocket.NO_CLOSE_FRAME:
        # A client that is done and drops the connection takes nothing from anybody: Codex always does.
        if frame.sender == "server":
            return _End("no-frame", frame, how)
        if session is not None and session.pending:
            return _End("no-frame", frame, f"{how} in the middle of a response")
        return None
    if websocket.refused_by_recorder(exchange, frame) and frame.content.startswith(_OWN_RULE):
        return None
    private = frame.code is not None and 4000 <= frame.code <= 4999 and session is not None
    if frame.code in REMEDIES or private:
        return _End("error", frame, how)
    return None


def _how(exchange: Exchange, frame: Frame) -> str:
    if frame.code == websocket.NO_CLOSE_FRAME:
        return f"the {frame.sender} dropped the connection without a close frame"
    reason = f" {quoted(mask_text(frame.content))}" if frame.content else ""
    if websocket.refused_by_recorder(exchange, frame):
        return f"mitmproxy closed with {frame.code}{reason}: it could not read what the {frame.sender} sent"
    code = "without a code" if frame.code in (None, 1005) else f"with {frame.code}{reason}"
    remedy = REMEDIES.get(frame.code or 0)
    if b"ping timeout" in frame.content:  # Python's websockets, of itself
        remedy = "its pings were not answered in time"
    return f"the {frame.sender} closed {code}" + (f" ({remedy})" if remedy else "")


def _ended(exchange: Exchange, kind: str) -> Hits:
    if exchange.frames and (end := _end(exchange)) is not None and end.kind == kind:
        yield websocket.place(exchange, end.frame), end.why


@rule(
    "RFC 6455 §7.4.1",
    "RFC 6455 §7.4.2",
    severity=ERROR,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("websockets", "mitmproxy", "node ws", "browsers"),
)
def websocket_close_code_invalid(exchange: Exchange) -> Hits:
    """The close code may not be sent on the wire.

    Clients fail the connection with 1002 and the real reason is lost. Proxies that forward the code they were
    told instead of the one they received send 1005 and 1006, which only stand for a close without a code and
    for none; mitmproxy then records a close with 1002 and the words "remote CLOSE with local-only reason".
    A 1005 or 1006 in a recording is the recorder's own note and no finding.

    > Status codes in the range 0-999 are not used.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > CLOSE 1004

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > CLOSE 1000
    """
    for frame in exchange.frames:
        if frame.opcode != "CLOSE" or frame.code is None:
            continue
        if frame.code not in _NEVER_SENT and not _may_be_sent(frame.code):
            yield frame, f"the {frame.sender} closed with {frame.code}, which may not be sent"
        elif websocket.refused_by_recorder(exchange, frame) and frame.content in websocket.BAD_CLOSE_CODE:
            yield frame, f"mitmproxy refused the {frame.sender}'s close frame: {quoted(frame.content)}"


@rule(
    "RFC 6455 §7.1.5",
    "RFC 6455 §7.4.1",
    severity=WARNING,
    evidence="websocket",
    fields=IN_HANDSHAKE,
)
def websocket_closed_without_close_frame(exchange: Exchange) -> Hits:
    """The connection ended without a close frame.

    Clients see 1006 and cannot tell a crash from an end; behind mitmproxy they do not even see that, but a
    clean 1000. A worker that was killed, a load balancer's idle timeout and a gateway that relays no close
    all look like this.

    A client that leaves when its responses are complete does no harm by it: Codex 0.169.0 ends every session
    so, and is not reported. One that leaves in the middle of a response is: the server cannot tell whether
    to go on.

    > If _The WebSocket Connection is Closed_ and no Close control frame was received by the endpoint (such as
    > could occur if the underlying transport connection is lost), _The WebSocket Connection Close Code_ is
    > considered to be 1006.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
        < CLOSE 1006

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
        > CLOSE 1006
    """
    yield from _ended(exchange, "no-frame")


@rule(
    "RFC 6455 §7.4.1",
    severity=WARNING,
    evidence="websocket",
    fields=IN_HANDSHAKE,
)
def websocket_closed_with_error(exchange: Exchange) -> Hits:
    """The connection was closed with an error code.

    1002, 1003, 1007, 1008, 1009 or 1011 each need another remedy than a blind reconnect. Who closes is not
    always who failed: a client that closes with 1009 was sent too much, and Python's websockets closes with
    1011 of its own accord when its pings are not answered. A 1002 or 1007 with words of wsproto's is
    mitmproxy's own, and the finding is about the side whose frame it could not read.

    > 1011 indicates that a server is terminating the connection because it encountered an unexpected
    > condition that prevented it from fulfilling the request.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
        < CLOSE 1008 session expired

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
        < CLOSE 1001 going away
    """
    yield from _ended(exchange, "error")


@rule(
    "RFC 6455 §7.4.1",
    severity=ERROR,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("Codex", "codex-lb 1.20.1"),
)
def websocket_closed_before_first_event(exchange: Exchange) -> Hits:
    """The server closed the WebSocket before it sent any event.

    It is how an upstream refuses headers or a beta token after a successful handshake: Codex reported closed
    before response.created (Soju06/codex-lb#1016), the Realtime API closes with 4000 on ``realtime=v1``. Look
    at the handshake: http-header-in-websocket-handshake, http-beta-in-websocket-handshake,
    websocket-beta-missing, retired-beta-token. codex-lb 1.20.1 went on with another account instead, which
    does not know the conversation.

    > 1011 indicates that a server is terminating the connection because it encountered an unexpected
    > condition that prevented it from fulfilling the request.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < CLOSE 1011

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < CLOSE 1001 idle
    """
    yield from _ended(exchange, "first-event")


@rule(
    "RFC 6455 §7.1.5",
    severity=ERROR,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("Codex", "openai SDKs"),
)
def websocket_closed_before_completion(exchange: Exchange) -> Hits:
    """The WebSocket closed between the start and the end of a response.

    Codex treats a close before response.completed as an error and the turn is lost, or asked for and paid
    again; tools that ran in it run twice. It counts too if the client asked for a further response and that
    had not begun. A client that leaves of itself has cancelled; an ``error`` event ends a response in order.

    > If _The WebSocket Connection is Closed_ and no Close control frame was received by the endpoint (such as
    > could occur if the underlying transport connection is lost), _The WebSocket Connection Close Code_ is
    > considered to be 1006.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.output_text.delta","item_id":"msg_1","delta":"Hel"}
        < CLOSE 1006

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.output_text.delta","item_id":"msg_1","delta":"Hello."}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
        < CLOSE 1000
    """
    yield from _ended(exchange, "completion")


@rule(
    "RFC 6455 §5.6",
    "RFC 6455 §8.1",
    severity=ERROR,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("websockets", "aiohttp", "tungstenite", "node ws", "mitmproxy"),
)
def websocket_text_not_utf8(exchange: Exchange) -> Hits:
    """A text message is not UTF-8.

    Clients must close with 1007. A bridge that cuts an event stream into messages at any octet, in the middle
    of a character, sends this. mitmproxy records no such message but its own close with 1007 and the words of
    Python's codec.

    > When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact,
    > a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_.

    Bad, also websocket-message-not-json::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < TEXT {"type":"response.output_text.delta","item_id":"msg_1","delta":"caf\\xc3"}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < TEXT {"type":"response.output_text.delta","item_id":"msg_1","delta":"caf\\xc3\\xa9"}
    """
    for frame in exchange.frames:
        if frame.opcode == "TEXT" and not frame.content.isascii():
            try:
                frame.content.decode()
            except UnicodeDecodeError as problem:
                around = quoted(mask_text(frame.content[max(0, problem.start - 20) : problem.start + 4]))
                yield frame, f"the {frame.sender}'s text is not UTF-8 at octet {problem.start}: {around}"
        elif frame.content.startswith(websocket.BAD_TEXT) and websocket.refused_by_recorder(exchange, frame):
            yield frame, f"mitmproxy could not decode the {frame.sender}'s text: {quoted(frame.content)}"


@rule(
    "RFC 6455 §10.4",
    "RFC 6455 §7.4.1",
    severity=WARNING,
    evidence="websocket",
    breaks=("websockets",),
)
def websocket_message_too_large(frame: Frame) -> Hits:
    """A message is larger than common limits.

    websockets closes with 1009 above 1 MiB by default, whichever side it is on; aiohttp above 4 MiB, uvicorn
    above 16 MiB. A whole conversation in one response.create gets there by its images or tool
    outputs: continue with previous_response_id, which the API offers for that, or raise the limit.

    > Implementations that have implementation- and/or platform-specific limitations regarding the frame size
    > or total message size after reassembly from multiple frames MUST protect themselves against exceeding
    > those limits.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"{a * 1048577}"}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"{a * 1048000}"}
    """
    if len(frame.content) > MAX_MESSAGE:
        yield (
            frame,
            f"the {frame.sender}'s message has {len(frame.content)} octets; websockets takes {MAX_MESSAGE}",
        )


@rule(
    "RFC 8259 §2",
    severity=WARNING,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("Codex", "openai SDKs"),
)
def websocket_message_not_json(exchange: Exchange) -> Hits:
    """A text message is not JSON on a JSON API.

    Clients raise or drop the event: a bridge passed on the ``data:`` of an event stream with its prefix, or
    ``[DONE]``, or the HTML page of an upstream's error. This is about sessions of the Responses and the
    Realtime API, where each message is one event.

    > A JSON text is a sequence of tokens.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < TEXT data: {"type":"response.created","response":{"id":"resp_1"}}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < TEXT {"type":"response.created","response":{"id":"resp_1"}}
    """
    if websocket.session(exchange) is None:
        return
    for event in websocket.events(exchange):
        if event.document is None:
            text = quoted(mask_text(event.frame.content[:200]), 60)
            yield event.frame, f"the {event.frame.sender}'s message is not JSON: {text}"


@rule(
    "OpenAI API reference: Responses WebSocket events",
    severity=WARNING,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("Codex", "openai SDKs"),
)
def websocket_message_without_type(exchange: Exchange) -> Hits:
    """A JSON message on an event API has no type.

    Clients dispatch on type and drop the event, and the server answers a question without one with an error
    or not at all. A bridge that sends the content of a ``POST /v1/responses`` as it is forgot to make
    ``response.create`` of it. Codex's upstream packs several events into ``{"chunks": [...]}``; those inside
    have types, which is enough.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"model":"m-1","input":"Hello."}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"chunks":[{"type":"response.created","response":{"id":"resp_1"}}]}
    """
    if websocket.session(exchange) is None:
        return
    for event in websocket.events(exchange):
        if event.document is not None and event.type is None:
            text = quoted(mask_text(event.frame.content[:200]), 60)
            yield event.frame, f"the {event.frame.sender}'s message has no type: {text}"


@rule(
    "OpenAI API reference: Responses WebSocket events",
    severity=NOTE,
    evidence="websocket",
    fields=IN_HANDSHAKE,
)
def websocket_error_event(exchange: Exchange) -> Hits:
    """The server sent an error event.

    Statuses such as 429 arrive inside the socket, where HTTP-level retry logic never sees them: LiteLLM's and
    the SDKs' retries count HTTP answers, and the handshake was a success. ``response.failed`` is the same
    with a response around it. ``websocket_connection_limit_reached`` asks for a new connection after 60
    minutes, ``previous_response_not_found`` for the whole conversation.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"error","status":429,"error":{"type":"rate_limit_error","message":"Try again in 20 s."}}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
    """
    session = websocket.session(exchange)
    if session is None:
        return
    errors = session.dialogue.errors | {"response.failed"}
    for event in websocket.events(exchange):
        if event.type in errors and event.frame.sender == "server":
            yield event.frame, f"the server sent {quoted(event.type.encode())}: {_error(event.document)}"


def _error(document: dict[str, Any]) -> str:
    """Status, type, code and message of an error, as far as they are there."""
    inner = document.get("response")
    error = (inner if isinstance(inner, dict) else document).get("error")
    found = {"status": document.get("status", document.get("status_code"))}
    if isinstance(error, dict):
        found |= {name: error.get(name) for name in ("type", "code", "message")}
    said = [f"{name} {_value(value)}" for name, value in found.items() if isinstance(value, (str, int))]
    return ", ".join(said) or "it does not say why"


def _value(value: str | int) -> str:
    return quoted(mask_text(value.encode(errors="replace"))) if isinstance(value, str) else json.dumps(value)


@rule(
    "OpenAI API reference: Responses WebSocket events",
    severity=WARNING,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("Codex", "openai SDKs"),
)
def websocket_event_out_of_order(exchange: Exchange) -> Hits:
    """An event arrived before the event that opens its response.

    Clients that build state from the opening event raise or drop deltas: the openai SDKs' accumulators need
    ``response.created`` first. A bridge with two readers, or one that waits for something before it passes on
    the first event, swaps them. Events that belong to no response (``codex.rate_limits``, ``keepalive``) may
    come at any time, and where the question is not in the recording the opening event may be missing too.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.output_text.delta","item_id":"msg_1","delta":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"codex.rate_limits","plan_type":"pro"}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
        < TEXT {"type":"response.output_text.delta","item_id":"msg_1","delta":"Hello."}
        < TEXT {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}
    """
    session = websocket.session(exchange)
    if session is None:
        return
    for event in session.early:
        kind = quoted((event.type or "").encode())
        yield event.frame, f"{kind} came before the {session.dialogue.opens} of its response"


@rule(
    "RFC 6455 §5.5",
    "RFC 6455 §5.5.1",
    severity=ERROR,
    evidence="websocket",
    fields=IN_HANDSHAKE,
    breaks=("websockets", "wsproto", "mitmproxy", "browsers"),
)
def websocket_close_reason_invalid(exchange: Exchange) -> Hits:
    """The close reason is longer than 123 bytes or not UTF-8.

    The recipient fails the connection with a code of its own, and what the sender had to say is lost: it is
    most often the text of an exception, which is long and holds whatever was being worked on. Cut it, at a
    character and not in one. mitmproxy records its own close with 1002 or 1007 and the parser's words in place
    of what it could not read.

    > All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.

    > Following the 2-byte integer, the body MAY contain UTF-8-encoded data with value /reason/

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < CLOSE 1000 {a * 124}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < CLOSE 1000 {a * 123}
    """
    for frame in exchange.frames:
        if frame.opcode != "CLOSE":
            continue
        if websocket.refused_by_recorder(exchange, frame):
            if frame.content.startswith(websocket.BAD_REASON):
                yield (
                    frame,
                    f"mitmproxy could not decode the {frame.sender}'s reason: {quoted(frame.content)}",
                )
        elif len(frame.content) > MAX_REASON:
            size = len(frame.content)
            yield (
                frame,
                f"the {frame.sender}'s reason has {size} octets, a close frame has room for {MAX_REASON}",
            )
        elif not _is_utf8(frame.content):
            yield frame, f"the {frame.sender}'s reason is not UTF-8: {quoted(mask_text(frame.content), 60)}"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@rule("RFC 6455 §5.5.2", severity=NOTE, evidence="websocket", fields=IN_HANDSHAKE)
def websocket_idle_gap(exchange: Exchange) -> Hits:
    """Nothing was sent for longer than common idle timeouts.

    nginx closes a tunnel after 60 seconds in which nothing passed (``proxy_read_timeout``), AWS's load balancers
    too, Cloudflare after 100: a model that thinks for two minutes is cut off unless pings flow. Let one side send
    a ping every 20 seconds, which Python's websockets does of itself, or raise the timeout.

    mitmproxy and browsers record no pings: in what they record silence means something only where the connection
    was then dropped.

    > A Ping frame may serve either as a keepalive or as a means to verify that the remote endpoint is still
    > responsive.

    Bad::

        @ answered: 1795144450
        @ frame-times: 1795144455 1795144545
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}

    Good::

        @ answered: 1795144450
        @ frame-times: 1795144455 1795144490 1795144490 1795144520
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        > TEXT {"type":"response.create","model":"m-1","input":"Hello."}
        < PING
        > PONG
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
    """
    before = exchange.answered
    keeps_pings = exchange.recorder in ("transcript", "octets")
    for frame in exchange.frames:
        if frame.time is None:
            continue
        dropped = frame.code == websocket.NO_CLOSE_FRAME
        if before is not None and frame.time - before > IDLE and (keeps_pings or dropped):
            then = f", then {_how(exchange, frame)}" if dropped else ""
            yield frame, f"nothing was sent for {frame.time - before:.0f} s{then}"
        before = frame.time


@rule(
    "mitmproxy documentation: WebSocket messages can be injected and dropped",
    severity=NOTE,
    evidence="websocket",
    fields=IN_HANDSHAKE,
)
def websocket_message_altered_in_transit(exchange: Exchange) -> Hits:
    """A message was injected or dropped while recording.

    The recording is not what the peers alone said: an addon, or somebody in mitmweb, sent a message of their own
    or kept one back. What other rules find in such a session may be the recorder's doing. Record it again
    without, before anybody is blamed.

    Bad::

        @ injected: 1
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < TEXT {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}
    """
    for frame in exchange.frames:
        if frame.injected:
            yield frame, f"the recorder sent this message, not the {frame.sender}"
    if exchange.dropped:
        yield exchange, f"the recorder kept {exchange.dropped} messages from the other side"


def _breach(octets: Octets, kind: str) -> Hits:
    for breach in octets.breaches:
        if breach.kind == kind:
            yield breach.span, breach.why


@rule(
    "RFC 6455 §5.1",
    "RFC 6455 §5.3",
    severity=ERROR,
    evidence="octets",
    breaks=("websockets", "wsproto", "aiohttp", "tungstenite", "node ws", "browsers"),
)
def websocket_masking_wrong(octets: Octets) -> Hits:
    r"""A client frame is unmasked or a server frame is masked.

    The recipient must close the connection, and all libraries do, with 1002. A bridge that copies the octets of
    one connection to another, or that speaks as the server with a client's code, sends such frames.

    > a client MUST mask all frames that it sends to the server [...] A server MUST NOT mask any frames that it
    > sends to the client. A client MUST close a connection if it detects a masked frame.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        >> \x81\x02{}

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        >> \x81\x82\x00\x00\x00\x00{}
        << \x81\x02{}
    """
    yield from _breach(octets, "masking")


@rule(
    "RFC 6455 §5.2",
    severity=ERROR,
    evidence="octets",
    breaks=("websockets", "wsproto", "aiohttp", "tungstenite", "node ws", "browsers"),
)
def websocket_reserved_bit_set(octets: Octets) -> Hits:
    r"""A reserved bit is set without a negotiated extension.

    A gateway removed permessage-deflate from the handshake but passes compressed frames on: the recipient must
    fail the connection, for it would read compressed octets as text. Let the gateway remove the offer from the
    request, too, so that neither side compresses. With permessage-deflate RSV1 stands on the first frame of a
    compressed message, never on a continuation or a control frame (RFC 7692 §6). Where an extension that is not
    known here was agreed on, nothing is said.

    > If a nonzero value is received and none of the negotiated extensions defines the meaning of such a nonzero
    > value, the receiving endpoint MUST _Fail the WebSocket Connection_.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \xc1\x04\xaa\xae\x05\x00

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n
        >> Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n
        << Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n
        << \xc1\x04\xaa\xae\x05\x00
    """
    yield from _breach(octets, "reserved-bit")


@rule(
    "RFC 6455 §5.2",
    severity=ERROR,
    evidence="octets",
    breaks=("websockets", "wsproto", "aiohttp", "tungstenite", "node ws", "browsers"),
)
def websocket_opcode_reserved(octets: Octets) -> Hits:
    r"""A frame uses a reserved opcode.

    The recipient must fail the connection. No library sends one: it is what a parser sees that has lost its
    place, because a hop cut, repeated or inserted octets, or because the sender speaks something else than
    WebSocket behind its 101.

    > If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x83\x02{}

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x82\x02{}
    """
    yield from _breach(octets, "opcode")


@rule(
    "RFC 6455 §5.5",
    severity=ERROR,
    evidence="octets",
    breaks=("websockets", "wsproto", "aiohttp", "tungstenite", "node ws", "browsers"),
)
def websocket_control_frame_malformed(octets: Octets) -> Hits:
    r"""A control frame is fragmented or longer than 125 bytes.

    The recipient must fail the connection: of a close with the text of an exception for its reason nothing is
    left but 1002, and a ping that carries a document ends the session it was to keep open.

    > All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x09\x02hi

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x89\x02hi
    """
    yield from _breach(octets, "control")


@rule(
    "RFC 6455 §5.4",
    severity=ERROR,
    evidence="octets",
    breaks=("websockets", "wsproto", "aiohttp", "tungstenite", "node ws", "browsers"),
)
def websocket_fragment_out_of_order(octets: Octets) -> Hits:
    r"""A fragmented message is interrupted or continued without a start.

    Messages of one side cannot be interleaved; only control frames may stand between the fragments of one. Two
    tasks that write to one connection without a lock do this, and so does a hop that dropped a frame. The
    recipient must fail the connection.

    > The fragments of one message MUST NOT be interleaved between the fragments of another message unless an
    > extension has been negotiated that can interpret the interleaving.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x01\x01{\x81\x02{}\x80\x01}

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x01\x01{\x89\x00\x80\x01}
    """
    yield from _breach(octets, "fragment")


@rule(
    "RFC 6455 §5.2",
    severity=ERROR,
    evidence="octets",
    breaks=("wsproto", "mitmproxy"),
)
def websocket_length_not_minimal(octets: Octets) -> Hits:
    r"""A payload length is not minimally encoded.

    wsproto, and with it mitmproxy and hypercorn, fails the connection; websockets reads on: what works without the
    proxy breaks with it. An encoder that always writes eight octets of length, because that is simpler, does this.

    > Note that in all cases, the minimal number of bytes MUST be used to encode the length, for example, the
    > length of a 124-byte-long string can't be encoded as the sequence 126, 0, 124.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x81\x7e\x00\x02{}

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x81\x02{}
    """
    yield from _breach(octets, "length")


@rule("RFC 6455 §5.5.1", "RFC 6455 §1.4", severity=ERROR, evidence="octets", breaks=("any client or server",))
def websocket_data_after_close(octets: Octets) -> Hits:
    r"""A data frame follows a close frame.

    The data is lost: who has received a close reads nothing more. A server that closes when its time is up while
    another task still sends deltas does it, and the client never gets the end of the response, though the sender
    counts it as delivered. Send first, close then.

    > The application MUST NOT send any more data frames after sending a Close frame.

    Bad::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x88\x02\x03\xe8\x81\x02{}

    Good::

        >> GET /v1/responses HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n
        >> Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        << HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nUpgrade: websocket\r\n
        << Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n
        << \x81\x02{}\x88\x02\x03\xe8
    """
    yield from _breach(octets, "after-close")
