"""HTTP/2 and HTTP/3 messages: what only HTTP/1 has and must not come along, and streams that were reset.

mitmproxy checks what comes in over HTTP/2 and refuses most of this, unless ``validate_inbound_headers`` is off;
then a flow holds it. What tools write into a HAR under ``HTTP/2`` may be what their own HTTP/1 leg said: such
messages are not judged.
"""

from __future__ import annotations

import re

from conformance.message import Exchange, Message, Refusal, Side
from conformance.rule import ERROR, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown

_CONNECTION_SPECIFIC = ("connection", "proxy-connection", "keep-alive", "upgrade")
"""RFC 9113 §8.2.2; Transfer-Encoding has a rule of its own, TE may say trailers."""

_BREAK = re.compile(rb"[\r\n\x00]")
_NAMES = {b"\r": "CR", b"\n": "LF", b"\0": "NUL"}

# mitmproxy/proxy/layers/http/_http2.py and _http3.py: the text says "client" whoever did it.
_RESET = re.compile(r"stream (?:reset|closed) by (?:client|server|peer) \((?P<code>[A-Z0-9_]+|0x[0-9a-f]+)\)")
_ORDINARY = frozenset(
    {
        # who does not want the rest says so: an agent that was interrupted, a server that has answered already
        "CANCEL", "NO_ERROR", "8", "0",
        "H3_REQUEST_CANCELLED", "H3_NO_ERROR",
    }
)  # fmt: skip
_MEANINGS = {
    "PROTOCOL_ERROR": "the other side broke the protocol: most often a malformed message",
    "INTERNAL_ERROR": "whoever reset it failed",
    "FLOW_CONTROL_ERROR": "more was sent than the window allowed",
    "STREAM_CLOSED": "something was sent on a stream that was closed",
    "FRAME_SIZE_ERROR": "a frame had an impossible size",
    "REFUSED_STREAM": "nothing was processed: the request can be sent again",
    "ENHANCE_YOUR_CALM": "the other side asks too much",
    "INADEQUATE_SECURITY": "TLS is not good enough",
    "HTTP_1_1_REQUIRED": "the request has to be sent over HTTP/1.1",
}
"""RFC 9113 §7."""


@rule(
    "RFC 9113 §8.2.1",
    "RFC 9113 §10.3",
    "RFC 7540 §10.3",
    severity=ERROR,
    breaks=("h11", "llhttp", "aiohttp"),
    verbatim=True,
)
def newline_in_http2_header(message: Message) -> Hits:
    """An HTTP/2 header value contains NUL, CR or LF.

    HTTP/2 counts octets and can carry them; HTTP/1 cannot. After a downgrade to HTTP/1, which nearly every
    gateway makes in front of its workers, the line break ends the field and what follows is another header, or
    another request. h11, llhttp and aiohttp refuse what is left of the message.

    > A field value MUST NOT contain the zero value (ASCII NUL, 0x00), line feed (ASCII LF, 0x0a), or carriage
    > return (ASCII CR, 0x0d) at any position.

    Bad::

        > GET /v1/models HTTP/2.0
        > x-title: lab\\r\\nx-smg-target-worker: 3

    Good::

        > GET /v1/models HTTP/2.0
        > x-title: lab
    """
    if message.is_http1:
        return
    for fields in (message.fields, message.trailers):
        # One search over all values; they are joined by line feeds, of which there is one less than lines.
        block = fields.block
        if b"\r" not in block and b"\0" not in block and block.count(b"\n") < max(1, len(fields)):
            continue
        for line in fields:
            if found := _BREAK.search(line.value):
                name = quoted(mask_text(line.name))[1:-1]
                yield line, f"{name} {shown(line.name, line.value)} contains {_NAMES[found[0]]}"


@rule(
    "RFC 9113 §8.2.2",
    "RFC 9114 §4.2",
    "RFC 9112 §6.1",
    "RFC 7540 §8.1.2.2",
    severity=ERROR,
    fix="strip-hop-headers",
    fields=("transfer-encoding",),
    verbatim=True,
)
def transfer_encoding_in_http2(message: Message) -> Hits:
    """An HTTP/2 message carries Transfer-Encoding.

    HTTP/2 and HTTP/3 frame the content themselves, so the message is malformed: nghttp2 (curl), hyper's h2 and
    Python's h2 (httpx, mitmproxy) reset the stream. A gateway that copies an HTTP/1 upstream's headers sends it,
    and a hop that copies it on to HTTP/1 without chunking the content is open to smuggling.

    > An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields. This includes
    > the Connection header field and those listed as having connection-specific semantics in Section 7.6.1 of
    > [HTTP] (that is, Proxy-Connection, Keep-Alive, Transfer-Encoding, and Upgrade).

    Bad::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 200
        < date: Fri, 20 Nov 2026 03:14:15 GMT
        < content-type: application/json
        < transfer-encoding: chunked
        <
        < {"object":"list","data":[]}

    Good::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 200
        < date: Fri, 20 Nov 2026 03:14:15 GMT
        < content-type: application/json
        <
        < {"object":"list","data":[]}
    """
    if not message.is_http1:
        for line in message.fields.lines("transfer-encoding"):
            yield line, f"{line.shown_name} {shown(line.name, line.value)} in an {_version(message)} message"


@rule(
    "RFC 9113 §8.2.2",
    "RFC 7540 §8.1.2.2",
    severity=ERROR,
    fix="strip-hop-headers",
    fields=_CONNECTION_SPECIFIC,
    verbatim=True,
)
def connection_header_in_http2(message: Message) -> Hits:
    """An HTTP/2 message carries a connection-specific header.

    The message is malformed: nghttp2 (curl), hyper's h2 (reqwest, and so Codex) and Python's h2 (httpx, mitmproxy)
    reset the stream when a gateway copies ``Connection: keep-alive`` or ``Keep-Alive`` from its HTTP/1 upstream.
    Others ignore the field, so that it works in one agent and not in the next.

    > Any message containing connection-specific header fields MUST be treated as malformed (Section 8.1.1).

    Bad::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 204
        < date: Fri, 20 Nov 2026 03:14:15 GMT
        < connection: keep-alive

    Good::

        > GET /v1/models HTTP/2.0
        > te: trailers
        < HTTP/2.0 204
        < date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    if message.is_http1:
        return
    for name in _CONNECTION_SPECIFIC:
        for line in message.fields.lines(name):
            yield line, f"{line.shown_name} {shown(line.name, line.value)} in an {_version(message)} message"


@rule("RFC 9113 §5.4.2", "RFC 9113 §7", "RFC 7540 §5.4.2", severity=WARNING, evidence="error")
def http2_stream_reset(exchange: Exchange) -> Hits:
    """The peer reset the stream.

    The answer is cut and the error code names the cause: REFUSED_STREAM may be sent again at once,
    ENHANCE_YOUR_CALM is a rate limit, PROTOCOL_ERROR mostly a malformed message, INTERNAL_ERROR a server that
    died in the middle of a stream of tokens. Agents see "stream closed" or "http2 error" and retry them all
    alike. CANCEL is no error: an agent that was interrupted sends it.

    mitmproxy writes "stream reset by client" whichever side did it; where only one side spoke HTTP/2 it was that
    one, otherwise the server is taken for it: clients cancel.

    > An endpoint that detects a stream error sends a RST_STREAM frame (Section 6.4) that contains the stream
    > identifier of the stream where the error occurred.

    Bad::

        @ error: stream reset by client (INTERNAL_ERROR)
        > GET /v1/models HTTP/2.0

    Good::

        @ error: stream reset by client (CANCEL)
        > GET /v1/models HTTP/2.0
    """
    if exchange.error is None or not (found := _RESET.search(exchange.error)):
        return
    code = found["code"]
    if code in _ORDINARY:
        return
    response = exchange.response
    by_client = not exchange.request.is_http1 and response is not None and response.is_http1
    side: Side = "client" if by_client else "server"
    meaning = f": {_MEANINGS[code]}" if code in _MEANINGS else ""
    refusal = Refusal(
        exchange.error, "http2-stream-reset", "request" if by_client else "response", side, exchange.recorder
    )
    yield refusal, f"the {side} reset the stream with {code}{meaning}"


def _version(message: Message) -> str:
    return quoted(message.version)[1:-1]
