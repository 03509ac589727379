"""HTTP/2 and HTTP/3 messages: what only HTTP/1 has and must not come along, what is lost on the way to HTTP/1, and
streams that were reset.

mitmproxy checks what comes in over HTTP/2 and refuses most of this, unless ``validate_inbound_headers`` is off;
then a flow holds it. Of what it refuses from a server its words remain, of what it refuses from a client nothing.
What tools write into a HAR under ``HTTP/2`` may be what their own HTTP/1 leg said: such messages are not judged.
HTTP/2 in recorded octets is not read; the last two rules need no more than to recognise it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from conformance import http2
from conformance.grammar import STATUS_CODE
from conformance.message import (
    Exchange,
    FieldLine,
    Legs,
    Message,
    Octets,
    Refusal,
    Request,
    Response,
    Side,
    Span,
)
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


_WORDS = (
    # h2/utilities.py, h2/stream.py; mitmproxy/proxy/layers/http/_http2.py
    (r"Received uppercase header name", "uppercase-http2-header-name"),
    (
        r"Illegal character .* in header name|Received header name with zero length",
        "http2-header-name-malformed",
    ),
    (r"Received header value surrounded by whitespace", "http2-header-value-edge-space"),
    (r".*(?:mandatory|is missing:) b':status'|.*invalid literal for int\(\)", "http2-status-malformed"),
    (
        r"Received (?:duplicate |custom )?pseudo-header|Header block missing mandatory|Encountered \S+-only headers"
        r"|Duplicate HTTP/2 pseudo header|Required pseudo header is missing|Unknown pseudo headers",
        "http2-pseudo-header-malformed",
    ),
)
"""What h2 and mitmproxy say when they refuse an HTTP/2 header section (search), and the rule it stands for."""
_REFUSED = re.compile(
    r"(?:HTTP/2 protocol error|Invalid HTTP/2 (?P<part>request|response) headers): (?P<words>.*)", re.DOTALL
)


def _refused(exchange: Exchange, name: str) -> Hits:
    """The finding that the recorder's words on this exchange stand for, if it is this rule's.

    mitmproxy records what a server sends; a client's malformed request leaves no flow.
    """
    error = exchange.error
    if error is None or (found := _REFUSED.match(error)) is None:
        return
    if next((rule for pattern, rule in _WORDS if re.match(pattern, found["words"], re.DOTALL)), None) == name:
        part: Literal["request", "response"] = "request" if found["part"] == "request" else "response"
        side: Side = "client" if part == "request" else "server"
        words = quoted(mask_text(found["words"].encode()[:200]))
        yield (
            Refusal(error, name, part, side, exchange.recorder),
            f"{exchange.recorder} refused what the {side} sent: {words}",
        )


def _http2_lines(message: Message) -> Iterator[FieldLine]:
    """The field lines of a message that is as it was sent over HTTP/2 or HTTP/3; else none."""
    if not message.is_http1 and message.verbatim:
        yield from message.fields
        yield from message.trailers


def _named(line: FieldLine) -> str:
    return quoted(mask_text(line.name))


_UPPER = re.compile(rb"[A-Z]")


@rule("RFC 9113 §8.2.1", "RFC 7540 §8.1.2", severity=ERROR, breaks=("nghttp2", "h2", "hyper", "mitmproxy"))
def uppercase_http2_header_name(exchange: Exchange) -> Hits:
    """An HTTP/2 header name has upper-case letters.

    The message is malformed and the stream is reset: a gateway copied an HTTP/1 upstream's ``Content-Type`` as it was
    written. In what mitmproxy records such a name is an addon's, which mitmproxy writes in lower case on the wire; a
    peer's it refuses, and that is what is found there.

    > Field names MUST be converted to lowercase when constructing an HTTP/2 message.

    Bad::

        > GET /v1/models HTTP/2.0
        > X-Title: lab

    Good::

        > GET /v1/models HTTP/2.0
        > x-title: lab
    """
    yield from _refused(exchange, "uppercase-http2-header-name")
    if exchange.recorder == "mitmproxy":
        return
    for message in exchange.messages:
        for line in _http2_lines(message):
            if _UPPER.search(line.name):
                yield line, f"{_named(line)} in an {_version(message)} message"


# "A field name MUST NOT contain characters in the ranges 0x00-0x20, 0x41-0x5a, or 0x7f-0xff", and no colon but at
# the start of a pseudo-header (RFC 9113 §8.2.1; search). 0x41-0x5a, A to Z, has a rule of its own.
_NOT_IN_NAME = re.compile(rb"[\x00-\x20\x7f-\xff]|(?<!^):")


@rule(
    *("RFC 9113 §8.2.1", "RFC 9113 §10.3", "RFC 7540 §8.1.2", "RFC 7540 §10.3"),
    severity=ERROR,
    breaks=("nghttp2", "h2", "hyper", "mitmproxy"),
)
def http2_header_name_malformed(exchange: Exchange) -> Hits:
    r"""An HTTP/2 header name is empty or contains a forbidden octet.

    After a downgrade to HTTP/1 a name with a line break or a colon becomes another header line, which is how requests
    are smuggled through gateways; strict peers reset the stream.

    > A field name MUST NOT contain characters in the ranges 0x00-0x20, 0x41-0x5a, or 0x7f-0xff (all ranges
    > inclusive).

    Bad, also header-name-malformed::

        > GET /v1/models HTTP/2.0
        > x-title\x3a x-smg-target-worker: 3

    Good::

        > GET /v1/models HTTP/2.0
        > x-title: lab
    """
    yield from _refused(exchange, "http2-header-name-malformed")
    for message in exchange.messages:
        for line in _http2_lines(message):
            if not line.name:
                yield line, f"a field {shown(line.name, line.value)} without a name"
            elif _NOT_IN_NAME.search(line.name):
                yield line, f"{_named(line)} is no name in HTTP/2"


@rule("RFC 9113 §8.2.1", "RFC 7540 §10.3", severity=ERROR, breaks=("nghttp2", "h2", "mitmproxy"))
def http2_header_value_edge_space(exchange: Exchange) -> Hits:
    r"""An HTTP/2 header value begins or ends with whitespace.

    HTTP/1 strips it, HTTP/2 carries it: the message is malformed, and strict peers reset the stream. It comes from a
    gateway that splits HTTP/1 lines at the colon, or joins lists, without stripping.

    > A field value MUST NOT start or end with an ASCII whitespace character (ASCII SP or HTAB, 0x20 or 0x09).

    Bad, also header-value-edge-space::

        > GET /v1/models HTTP/2.0
        > x-title: \x20lab

    Good::

        > GET /v1/models HTTP/2.0
        > x-title: lab
    """
    yield from _refused(exchange, "http2-header-value-edge-space")
    for message in exchange.messages:
        for line in _http2_lines(message):
            if line.value != line.value.strip(b" \t"):
                yield line, f"{_named(line)} has space around its value {shown(line.name, line.value)}"


@rule(
    *("RFC 9113 §8.3", "RFC 9113 §8.3.1", "RFC 7540 §8.1.2.1", "RFC 7540 §8.1.2.3"),
    severity=ERROR,
    evidence="headers | error | octets",
    breaks=("nghttp2", "h2", "hyper", "mitmproxy"),
)
def http2_pseudo_header_malformed(exchange: Exchange) -> Hits:
    r"""A pseudo-header is missing, repeated, unknown or in the wrong place.

    The message is malformed and the stream is reset. Where a lenient hop takes the second ``:path`` behind the fields,
    and a strict one the first, a request passes filters that were written for another.

    > All pseudo-header fields MUST appear in a field block before all regular field lines.

    Bad::

        > GET /v1/models HTTP/2.0
        > x-title: lab
        > \x3apath: /v1/files

    Good::

        > GET /v1/models HTTP/2.0
        > x-title: lab
    """
    yield from _refused(exchange, "http2-pseudo-header-malformed")
    for message in exchange.messages:
        for line in _http2_lines(message):
            if line.name.startswith(b":"):
                yield line, f"{_named(line)} stands among the fields"
    request = exchange.request
    if request.is_http1 or not request.verbatim:
        return
    missing = ":method" if not request.method else ":path" if not request.target else None
    if missing and request.method != b"CONNECT":
        yield request, f"the request has no {missing}"


_NOT_IN_PSEUDO = re.compile(rb"[\x00-\x20\x7f]")


@rule("RFC 9113 §8.3.1", "RFC 9113 §10.3", "RFC 7540 §10.3", severity=ERROR, verbatim=True)
def http2_pseudo_header_injection(request: Request) -> Hits:
    r"""A pseudo-header contains a line break, space or control character.

    After a downgrade to HTTP/1 it forges the request line, or a whole second request: what the filters of a gateway saw
    as one request reaches the worker as two.

    > Any request or response that contains a character not permitted in a field value MUST be treated as malformed
    > (Section 8.1.1).

    Bad, also illegal-character-in-request-target::

        > GET /v1/models\x20HTTP/1.1\r\nx-smg-target-worker:\x203 HTTP/2.0

    Good::

        > GET /v1/models%20HTTP HTTP/2.0
    """
    if request.is_http1:
        return
    parts = {":method": request.method, ":path": request.target, ":authority": request.authority}
    for name, value in parts.items():
        if found := _NOT_IN_PSEUDO.search(value):
            yield request, f"{name} {quoted(mask_text(value), 80)} contains {_called(found[0])}"


def _called(octet: bytes) -> str:
    return "a space" if octet == b" " else _NAMES.get(octet, f"0x{octet[0]:02x}")


@rule(
    "RFC 9113 §8.2.2",
    "RFC 7540 §8.1.2.2",
    severity=ERROR,
    fix="strip-hop-headers",
    fields=("te",),
    verbatim=True,
)
def te_header_in_http2(request: Request) -> Hits:
    """An HTTP/2 request carries TE other than trailers.

    The message is malformed: HTTP/2 has no transfer codings, and nghttp2, hyper and Python's h2 reset the stream. A
    gateway that copies its client's HTTP/1 headers sends it.

    > The only exception to this is the TE header field, which MAY be present in an HTTP/2 request; when it is, it MUST
    > NOT contain any value other than "trailers".

    Bad::

        > GET /v1/models HTTP/2.0
        > te: gzip

    Good::

        > GET /v1/models HTTP/2.0
        > te: trailers
    """
    if request.is_http1:
        return
    for line in request.fields.lines("te"):
        if line.value.lower() != b"trailers":
            yield line, f"{line.shown_name} {shown(line.name, line.value)} in an {_version(request)} request"


@rule(
    "RFC 9113 §8.3.2",
    "RFC 7540 §8.1.2.4",
    severity=ERROR,
    evidence="headers | error",
    breaks=("h2", "mitmproxy"),
)
def http2_status_malformed(exchange: Exchange) -> Hits:
    """The :status pseudo-header is missing or not three digits.

    The response is malformed and the stream is reset: the client sees a protocol error and not the answer. A bridge
    that writes ``200 OK`` where HTTP/2 has only ``200`` sends it.

    > This pseudo-header field MUST be included in all responses, including interim responses; otherwise, the response
    > is malformed.

    Bad, also status-code-malformed::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 20
        < date: Fri, 20 Nov 2026 03:14:15 GMT

    Good::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 204
        < date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    yield from _refused(exchange, "http2-status-malformed")
    for message in exchange.messages:
        if not isinstance(message, Response) or message.is_http1 or not message.verbatim:
            continue
        if STATUS_CODE.fullmatch(message.code) is None:
            yield message, f":status is {quoted(mask_text(message.code))}"


@rule(
    "RFC 9113 §8.2.3",
    "RFC 7540 §8.1.2.5",
    severity=WARNING,
    evidence="legs",
    fields=("cookie",),
    verbatim=True,
)
def http2_cookie_not_rejoined(legs: Legs) -> Hits:
    """Split HTTP/2 cookies were not joined for HTTP/1.

    HTTP/2 clients send each cookie in a line of its own, because it compresses better. HTTP/1 has one Cookie line, and
    servers read only the first, or join them with a comma: the session, or the affinity to a worker, is gone.

    > If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single octet
    > string using the two-octet delimiter of 0x3b, 0x20 (the ASCII string "; ") before being passed into a non-HTTP/2
    > context

    Bad, also duplicate-cookie-header::

        @ leg: client
        > GET /v1/models HTTP/2.0
        > cookie: a=1
        > cookie: b=2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: a=1
        > Cookie: b=2

    Good::

        @ leg: client
        > GET /v1/models HTTP/2.0
        > cookie: a=1
        > cookie: b=2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: a=1; b=2
    """
    came, went = legs.requests
    lines = went.fields.lines("cookie")
    if not came.is_http1 and went.is_http1 and len(came.fields.lines("cookie")) > 1 and len(lines) > 1:
        yield lines[1], f"{legs.hop} sent {len(lines)} Cookie lines over {_version(went)}"


@rule(
    "RFC 9113 §8.3.1", "RFC 9112 §3.2", "RFC 7540 §8.1.2.3", severity=WARNING, evidence="legs", verbatim=True
)
def host_lost_on_http2_downgrade(legs: Legs) -> Hits:
    """The HTTP/1 request has no Host or another one than :authority.

    The server answers 400, or takes the request for one to its default site. A gateway that sends the name of the
    upstream it connects to has chosen it, and is not reported.

    > An intermediary that converts a request to HTTP/1.1 [...] MUST create a Host header field if one is not present
    > in the request by copying the value of the control data

    Bad, also host-missing::

        @ leg: client
        @ authority: api.example
        > GET /v1/models HTTP/2.0

        @ leg: server
        > GET /v1/models HTTP/1.1

    Good::

        @ leg: client
        @ authority: api.example
        > GET /v1/models HTTP/2.0

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    came, went = legs.requests
    if came.is_http1 or not went.is_http1 or not came.authority or went.target.find(b"://") > 0:
        return
    host, upstream = went.fields.one("host"), legs.server.upstream
    if not went.fields.lines("host"):
        yield went, f":authority {quoted(mask_text(came.authority))} became no Host"
    elif host is not None and upstream is not None:
        name, _, port = upstream.rpartition(":")
        known = {came.authority.lower(), upstream.encode().lower(), name.encode().lower()}
        if host.lower() not in known and host.lower().removesuffix(b":" + port.encode()) not in known:
            why = f":authority {quoted(mask_text(came.authority))} became Host {shown(b'host', host)}"
            yield went.fields.lines("host")[0], why


@rule("RFC 9113 §3.1", "RFC 7540 §3.2", severity=WARNING, fields=("upgrade",))
def h2c_upgrade_requested(request: Request) -> Hits:
    """The request asks to upgrade to h2c.

    The mechanism was removed. A proxy that passes Upgrade on opens a tunnel through which a client sends what the
    proxy's filters never see; one that does not makes the client wait for HTTP/2 in vain. Java's HttpClient asks for
    it unless told ``version(HTTP_1_1)``, curl with ``--http2``.

    > The "h2c" string was previously used as a token for use in the HTTP Upgrade mechanism's Upgrade header field
    > (Section 7.8 of [HTTP]). This usage was never widely deployed and is deprecated by this document.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: Upgrade, HTTP2-Settings
        > Upgrade: h2c
        > HTTP2-Settings: AAMAAABkAAQAAP__

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    for line in request.fields.lines("upgrade"):
        if any(part.strip(b" \t").lower() == b"h2c" for part in line.value.split(b",")) and request.is_http1:
            yield line, f"{line.shown_name} {shown(line.name, line.value)} asks for h2c"


@rule("RFC 9113 §8.6", "RFC 7540 §8.1.1", severity=ERROR, name="101-over-http2", verbatim=True)
def status_101_over_http2(response: Response) -> Hits:
    """A 101 response was sent in HTTP/2.

    HTTP/2 has no Upgrade, and clients reset the stream. A gateway that passes on what its HTTP/1 upstream said to a
    WebSocket handshake sends it; over HTTP/2 a WebSocket begins with extended CONNECT and a 200 (RFC 8441).

    > HTTP/2 removes support for the 101 (Switching Protocols) informational status code

    Bad::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 101
        < date: Fri, 20 Nov 2026 03:14:15 GMT

    Good::

        > GET /v1/models HTTP/2.0
        < HTTP/2.0 204
        < date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    if response.status == 101 and not response.is_http1:
        yield response, f"101 in {_version(response)}"


@rule(
    *("RFC 8441 §4", "RFC 8441 §5", "RFC 9113 §8.5"),
    severity=ERROR,
    fields=("upgrade", "sec-websocket-version", "sec-websocket-key"),
    verbatim=True,
)
def websocket_over_http2_malformed(exchange: Exchange) -> Hits:
    """A WebSocket over HTTP/2 is not opened by extended CONNECT.

    The handshake of HTTP/1 means nothing in HTTP/2: the server answers the GET as any other, most often with 404 or 426,
    or resets the stream. A proxy that speaks HTTP/2 on one side and passes the handshake on does this; so does a client
    that lets ALPN choose h2 for ``wss:``. Offer http/1.1 alone for WebSockets.

    > Implementations using this extended CONNECT to bootstrap WebSockets do not do the processing of the
    > Sec-WebSocket-Key and Sec-WebSocket-Accept header fields of [RFC6455] as that functionality has been superseded
    > by the :protocol pseudo-header field.

    Bad, also websocket-header-in-plain-request::

        > GET /v1/responses HTTP/2.0
        > sec-websocket-version: 13

    Good::

        > CONNECT /v1/responses HTTP/2.0
        > sec-websocket-version: 13
    """
    request = exchange.request
    if request.is_http1 or request.method == b"CONNECT":
        return
    upgrades = any(value.lower() == b"websocket" for value in request.fields.values("upgrade"))
    if upgrades or "sec-websocket-version" in request.fields or "sec-websocket-key" in request.fields:
        yield request, f"a WebSocket handshake by {quoted(mask_text(request.method))} in {_version(request)}"


@rule("RFC 8441 §3", severity=ERROR, evidence="octets")
def extended_connect_not_enabled(octets: Octets) -> Hits:
    r"""Extended CONNECT was used before the server enabled it.

    A server that does not know ``:protocol`` resets the stream as malformed, and may close the connection with all its
    other streams. Wait for the server's SETTINGS, and open the WebSocket over HTTP/1.1 if they do not allow it.

    > Upon receipt of SETTINGS_ENABLE_CONNECT_PROTOCOL with a value of 1, a client MAY use the Extended CONNECT as
    > defined in this document when creating new streams.

    Bad::

        >> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00
        >> \x00\x00\x15\x01\x04\x00\x00\x00\x01\x40\x09:protocol\x09websocket
        << \x00\x00\x00\x04\x00\x00\x00\x00\x00

    Good::

        >> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00
        >> \x00\x00\x15\x01\x04\x00\x00\x00\x01\x40\x09:protocol\x09websocket
        << \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x01
    """
    if octets.side != "client" or (span := http2.extended_connect(octets.data)) is None:
        return
    settings = http2.server_settings(octets.peer)
    if settings is not None and not settings.get(http2.ENABLE_CONNECT_PROTOCOL):
        yield span, "extended CONNECT, which the server's SETTINGS do not enable"


@rule(
    *("RFC 9113 §3.4", "RFC 7540 §3.5"),
    severity=ERROR,
    evidence="octets",
    breaks=("llhttp", "mitmproxy"),
)
def http2_preface_on_http1_connection(octets: Octets) -> Hits:
    r"""The HTTP/2 preface was sent to an HTTP/1 server.

    The server answers 400 or 505 and closes: each try costs a connection. A client that was told of HTTP/2 (``http2``
    in a load balancer's settings, prior knowledge in a router) talks to a server without it: uvicorn and gunicorn speak
    HTTP/1.1 only. A router that probes its workers for both does so on purpose; it falls back, and keeps its pace.

    > The client connection preface is selected so that a large proportion of HTTP/1.1 or HTTP/1.0 servers and
    > intermediaries do not attempt to process further frames.

    Bad::

        >> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00
        << HTTP/1.1 400 Bad Request\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Length: 0\r\n\r\n

    Good::

        >> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00
        << \x00\x00\x00\x04\x00\x00\x00\x00\x00
    """
    if (
        octets.side == "client"
        and octets.data.startswith(http2.PREFACE[:16])
        and octets.peer.startswith(b"HTTP/1.")
    ):
        answer = octets.peer.partition(b"\n")[0].strip()[:80]
        yield Span(0, 16), f"the server answered {quoted(mask_text(answer))}"


def _version(message: Message) -> str:
    return quoted(message.version)[1:-1]
