"""Opening a WebSocket: what the handshake must hold, what it must not, and what the 101 says to it.

A handshake that lost Upgrade and Connection on its way is one all the same, as long as it is a GET with a
Sec-WebSocket-Key and no content: nginx removes both unless it is told to write them anew. With content, or
with another method, a gateway has made an HTTP call of it: websocket-header-in-plain-request.

mitmproxy passes key and accept from end to end and checks neither, so what is recorded is what the peers said.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from conformance import grammar
from conformance.known import CREDENTIALS
from conformance.message import Exchange, FieldLine, Legs, Message, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, mask_value, quoted, shown
from conformance.turn import Turn
from conformance.websocket import accept, is_handshake

OPENS = ("upgrade", "sec-websocket-key")
"""Every handshake has one of these fields."""
WEBSOCKET_FIELDS = (
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
)

ONCE_IN_REQUEST: Mapping[str, str] = {
    "sec-websocket-key": "RFC 6455 §11.3.1",
    "sec-websocket-accept": "RFC 6455 §11.3.3",
    "sec-websocket-version": "RFC 6455 §11.3.5",
}
ONCE_IN_RESPONSE: Mapping[str, str] = {
    "sec-websocket-key": "RFC 6455 §11.3.1",
    "sec-websocket-accept": "RFC 6455 §11.3.3",
    "sec-websocket-extensions": "RFC 6455 §11.3.2",
    "sec-websocket-protocol": "RFC 6455 §11.3.4",
}
"""Where each field may appear once. Extensions and Protocol may be repeated in requests, Version in responses."""

CONTENT_FIELDS: Mapping[str, str] = {
    "content-type": "it describes content",
    "content-length": "it announces content",
    "content-encoding": "it describes content",
    "content-language": "it describes content",
    "content-location": "it describes content",
    "content-range": "it describes content",
    "content-disposition": "it describes content",
    "transfer-encoding": "it frames content",
    "trailer": "it announces what follows content",
    "te": "it is about how a response's content is framed",
    "expect": "it asks whether content may be sent",
    "idempotency-key": "it guards the repetition of a POST",
}
"""Fields of an HTTP request with content. What real clients legitimately send in handshakes is not here:
Host, Upgrade, Connection and the Sec-WebSocket fields; Authorization, User-Agent and whatever an API defines
(OpenAI-Beta, session-id, x-codex-*, chatgpt-account-id); from browsers Origin, Cookie, Pragma, Cache-Control,
Accept-Language, Sec-Fetch-*; Accept-Encoding from browsers and aiohttp; ``Accept: */*`` from aiohttp and
Firefox; Cookie also from clients with a cookie jar (aiohttp)."""

_101_CONTENT_FIELDS = (
    "content-encoding",
    "content-length",
    "content-type",
    "content-language",
    "content-location",
    "content-range",
    "content-disposition",
)

# extension-list = 1#extension
# extension = extension-token *( ";" extension-param )
# extension-param = token [ "=" (token | quoted-string) ]; the value, unquoted, is a token     (RFC 6455 §9.1)
_T = grammar.TOKEN.pattern
_EXTENSION = re.compile(
    _T + rb"(?:[ \t]*;[ \t]*" + _T + rb"(?:[ \t]*=[ \t]*(?:" + _T + rb'|"' + _T + rb'"))?)*'
)  # fmt: skip


def _has(message: Message, name: str, token: bytes) -> bool:
    return any(value.lower() == token for value in message.fields.values(name))


def _key(request: Request) -> bytes | None:
    """The handshake's key, if there is exactly one."""
    return request.fields.one("sec-websocket-key")


def _opened(exchange: Exchange) -> Response | None:
    """The 101 that answers a handshake by saying that the connection is a WebSocket now."""
    response = exchange.response
    if response is None or response.status != 101 or not is_handshake(exchange.request):
        return None
    return response if _has(response, "upgrade", b"websocket") else None


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.1",
    severity=ERROR,
    fields=("upgrade",),
    breaks=("websockets", "aiohttp server", "uvicorn", "node ws"),
)
def websocket_handshake_not_get(request: Request) -> Hits:
    """A WebSocket handshake uses a method other than GET.

    Servers refuse it with 405 or 400, or serve it as the plain request it looks like. A gateway that bridges
    a POST of the Responses API to the upstream's WebSocket and keeps the method sends this.

    > The method of the request MUST be GET, and the HTTP version MUST be at least 1.1.

    Bad::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if is_handshake(request) and request.method != b"GET":
        yield request, f"a WebSocket handshake with the method {quoted(mask_text(request.method))}"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.1",
    severity=ERROR,
    fields=("sec-websocket-key",),
    breaks=("websockets", "aiohttp server", "uvicorn", "node ws"),
)
def websocket_upgrade_missing(request: Request) -> Hits:
    """A WebSocket handshake has no Upgrade: websocket.

    A proxy removed the hop-by-hop header without restoring it: websockets answers 426, others 400, and a
    server that has an HTTP route of that name serves it as a plain GET. nginx does so unless it has
    ``proxy_set_header Upgrade $http_upgrade``; it then removes ``Connection: upgrade`` too, which is not
    reported again.

    > The request MUST contain an |Upgrade| header field whose value MUST include the "websocket" keyword.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Connection: close
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if is_handshake(request) and not _has(request, "upgrade", b"websocket"):
        also = "" if _has(request, "connection", b"upgrade") else ", nor Connection: upgrade"
        yield request, f"a request with Sec-WebSocket-Key has no Upgrade: websocket{also}"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.1",
    "RFC 9110 §7.8",
    "RFC 7230 §6.7",
    severity=ERROR,
    fields=("upgrade",),
    breaks=("uvicorn", "hypercorn", "granian", "node", "caddy", "envoy"),
)
def websocket_connection_upgrade_missing(request: Request) -> Hits:
    """A WebSocket handshake has no Connection: upgrade.

    With ``Connection: keep-alive`` alone websockets 17 answers 426, the aiohttp server 400, haproxy 2.6 502,
    and uvicorn, hypercorn, granian, node, caddy and envoy serve a plain GET. nginx, apache, varnish and
    mitmproxy upgrade all the same, so that it works in the lab.

    > The request MUST contain a |Connection| header field whose value MUST include the "Upgrade" token.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: keep-alive
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: keep-alive, Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if (
        is_handshake(request)
        and _has(request, "upgrade", b"websocket")
        and not _has(request, "connection", b"upgrade")
    ):
        lines = request.fields.lines("connection")
        said = f"Connection is {shown(lines[0].name, lines[0].value)}" if lines else "there is no Connection"
        yield (lines[0] if lines else request), f"Upgrade: websocket without Connection: upgrade: {said}"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.1",
    "RFC 6455 §11.3.5",
    severity=ERROR,
    fields=OPENS,
    breaks=("websockets", "mitmproxy"),
)
def websocket_version_missing(request: Request) -> Hits:
    """A WebSocket handshake has no Sec-WebSocket-Version.

    websockets answers 400, and mitmproxy does not see a WebSocket at all: it passes the octets on as raw TCP,
    and no addon sees a message.

    > The request MUST include a header field with the name |Sec-WebSocket-Version|.  The value of this header
    > field MUST be 13.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if is_handshake(request) and "sec-websocket-version" not in request.fields:
        yield request, "a WebSocket handshake has no Sec-WebSocket-Version"


@rule(
    "RFC 6455 §4.4",
    severity=WARNING,
    fields=("sec-websocket-version",),
    breaks=("websockets", "aiohttp server"),
)
def websocket_version_unsupported(request: Request) -> Hits:
    """A WebSocket handshake uses a version other than 13.

    Servers answer 426 or 400: 7 and 8 were drafts, and there has been nothing above 13. A list of versions is
    for the server's refusal, not for the handshake.

    > If the server doesn't support the requested version, it MUST respond with a |Sec-WebSocket-Version|
    > header field (or multiple |Sec-WebSocket-Version| header fields) containing all versions it is willing
    > to use.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 8
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    lines = request.fields.lines("sec-websocket-version")
    if len(lines) == 1 and lines[0].value != b"13" and is_handshake(request):
        yield lines[0], f"Sec-WebSocket-Version is {shown(lines[0].name, lines[0].value)}; servers speak 13"


@rule(
    "RFC 6455 §4.2.2",
    "RFC 6455 §4.4",
    "RFC 9110 §15.5.22",
    severity=WARNING,
    fields=("sec-websocket-version",),
)
def websocket_version_not_advertised(exchange: Exchange) -> Hits:
    """A refusal of the WebSocket version does not say which versions are supported.

    The client cannot choose another version. A 426 to version 13 is no refusal of the version: it says that
    the server speaks no WebSocket there, as LLM gateways do to make Codex fall back to HTTP.

    > If the server doesn't support the requested version, it MUST respond with a |Sec-WebSocket-Version|
    > header field (or multiple |Sec-WebSocket-Version| header fields) containing all versions it is willing
    > to use.

    Bad, also websocket-version-unsupported::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 14
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 426 Upgrade Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Content-Length: 0

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
    """
    version = exchange.request.fields.one("sec-websocket-version")
    response = exchange.response
    if response is None or response.status not in (400, 426) or version in (None, b"13"):
        return
    if is_handshake(exchange.request) and "sec-websocket-version" not in response.fields:
        asked = shown(b"sec-websocket-version", version or b"")
        yield response, f"{response.status} to Sec-WebSocket-Version {asked} names no version that is spoken"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.1",
    severity=ERROR,
    fields=("upgrade",),
    breaks=("websockets", "aiohttp server", "uvicorn", "node ws"),
)
def websocket_key_missing(request: Request) -> Hits:
    """A WebSocket handshake has no Sec-WebSocket-Key.

    Servers answer 400: without it a client cannot tell that the 101 is an answer to its own handshake. A
    gateway that filters the client's Sec-WebSocket fields and lets an HTTP library write the handshake sends
    this.

    > The request MUST include a header field with the name |Sec-WebSocket-Key|.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if is_handshake(request) and "sec-websocket-key" not in request.fields:
        yield request, "a WebSocket handshake has no Sec-WebSocket-Key"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.1",
    severity=ERROR,
    fields=("sec-websocket-key",),
    breaks=("websockets", "aiohttp server", "node ws"),
)
def websocket_key_malformed(request: Request) -> Hits:
    """Sec-WebSocket-Key is not the base64 form of 16 octets.

    Servers answer 400. Hand-written clients put a word or a UUID there; a gateway that joins its own key and
    the client's with a comma makes one of two good ones.

    > The value of this header field MUST be a nonce consisting of a randomly selected 16-byte value that has
    > been base64-encoded (see Section 4 of [RFC4648]).

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: 0199a3c1-7c2e-7d31-9f0b-3b5c1d2e4f60

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if not is_handshake(request):
        return
    lines = request.fields.lines("sec-websocket-key")
    if len(lines) == 1 and not _is_nonce(lines[0].value):
        yield lines[0], f"Sec-WebSocket-Key {shown(lines[0].name, lines[0].value)} is not 16 octets in base64"


def _is_nonce(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


@rule(
    "RFC 6455 §11.3.1",
    "RFC 6455 §11.3.3",
    "RFC 6455 §11.3.5",
    severity=ERROR,
    fix="filter-handshake",
    fields=("sec-websocket-key", "sec-websocket-accept", "sec-websocket-version", "sec-websocket-extensions",
            "sec-websocket-protocol"), breaks=("autobahn",),
)  # fmt: skip
def duplicate_websocket_header(message: Message) -> Hits:
    """A Sec-WebSocket header that may appear once appears twice.

    A gateway copied the client's line beside its own: websockets 17, uvicorn and autobahn refuse the handshake
    with 400, the others read one of the keys, and the accept may fit the other. Extensions and Protocol may be
    repeated in a request but not in a response (§11.3.2, §11.3.4), Version the other way round.

    > The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Key: 3eJUdT5tPfuw8CUkeYe77g==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate
        > Sec-WebSocket-Extensions: x-webkit-deflate-frame
    """
    once = ONCE_IN_REQUEST if isinstance(message, Request) else ONCE_IN_RESPONSE
    for name, section in once.items():
        lines = message.fields.lines(name)
        for line in lines[1:]:
            again = "again" if line.value == lines[0].value else f"beside {shown(line.name, lines[0].value)}"
            yield line, f"{_name(line)} {shown(line.name, line.value)} {again}: {section} allows one"


def _name(line: FieldLine) -> str:
    return quoted(mask_text(line.name)).strip("'")


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.2",
    severity=ERROR,
    fields=("sec-websocket-key",),
    breaks=("websockets", "aiohttp", "tungstenite", "node ws"),
)
def websocket_accept_wrong(exchange: Exchange) -> Hits:
    """Sec-WebSocket-Accept is missing or not derived from the key.

    aiohttp and websockets clients close the connection. The 101 belongs to another handshake: a gateway with
    a key of its own passed on the upstream's accept, or answered from a cache. mitmproxy does not check it.

    > If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept| contains a
    > value other than the base64-encoded SHA-1 of the concatenation of the |Sec-WebSocket-Key| (as a string,
    > not base64-decoded) with the string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" but ignoring any leading and
    > trailing whitespace, the client MUST _Fail the WebSocket Connection_.

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
        < Sec-WebSocket-Accept: vhoq6girfWZbea429aBvwY969qg=

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
    """
    response, key = _opened(exchange), _key(exchange.request)
    # Two of either are duplicate-websocket-header: nobody knows which two belong together.
    if response is None or key is None:
        return
    lines = response.fields.lines("sec-websocket-accept")
    right = accept(key)
    if not lines:
        yield response, f"the 101 has no Sec-WebSocket-Accept; the key asks for {quoted(right)}"
    elif len(lines) == 1 and lines[0].value != right:
        said = shown(lines[0].name, lines[0].value)
        yield lines[0], f"Sec-WebSocket-Accept is {said}; the key asks for {quoted(right)}"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.2",
    severity=ERROR,
    name="101-upgrade-not-websocket",
    fields=OPENS,
    breaks=("websockets", "aiohttp", "tungstenite", "mitmproxy"),
)
def status_101_upgrade_not_websocket(exchange: Exchange) -> Hits:
    """A 101 answer to a WebSocket handshake does not upgrade to websocket.

    Clients fail the connection, and mitmproxy passes on raw octets in which no addon sees a message. A server
    that offers h2c on every response writes its own Upgrade over the one that answers the handshake. A 101
    with no Upgrade at all is 101-without-upgrade.

    > If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a value that is
    > not an ASCII case-insensitive match for the value "websocket", the client MUST _Fail the WebSocket
    > Connection_.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: h2c
        < Connection: Upgrade

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: WebSocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
    """
    response = exchange.response
    if response is None or response.status != 101 or not is_handshake(exchange.request):
        return
    # None at all is 101-without-upgrade.
    lines = response.fields.lines("upgrade")
    if lines and not _has(response, "upgrade", b"websocket"):
        yield (
            lines[0],
            f"the 101 does not upgrade to websocket: Upgrade is {shown(lines[0].name, lines[0].value)}",
        )


@rule(
    "RFC 6455 §4.1",
    "RFC 9110 §7.8",
    "RFC 7230 §6.7",
    severity=ERROR,
    name="101-without-connection-upgrade",
    breaks=("websockets", "aiohttp", "tungstenite", "node ws"),
)
def status_101_without_connection_upgrade(response: Response) -> Hits:
    """A 101 response has no Connection: upgrade.

    A proxy stripped the hop-by-hop headers from the 101 and WebSocket clients fail. mitmproxy passes such a
    101 on, so the proxy looks fine and the agent does not.

    > If the response lacks a |Connection| header field or the |Connection| header field doesn't contain a
    > token that is an ASCII case-insensitive match for the value "Upgrade", the client MUST _Fail the
    > WebSocket Connection_.

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
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

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
        < Connection: upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
    """
    if response.status == 101 and response.is_http1 and not _has(response, "connection", b"upgrade"):
        lines = response.fields.lines("connection")
        said = f"Connection is {shown(lines[0].name, lines[0].value)}" if lines else "there is no Connection"
        yield (lines[0] if lines else response), f"a 101 without Connection: upgrade: {said}"


@rule(
    "RFC 9110 §15.2",
    "RFC 9110 §8.6",
    "RFC 7231 §6.2",
    "RFC 7230 §3.3.2",
    severity=ERROR,
    fix="filter-handshake",
    name="101-with-content-headers",
    fields=_101_CONTENT_FIELDS,
    breaks=("Cloudflare",),
    verbatim=True,
)
def status_101_with_content_headers(response: Response) -> Hits:
    """A 101 response carries content headers.

    Cloudflare refuses a WebSocket whose 101 carries Content-Encoding or Content-Length: compression and
    length middleware of the origin is applied to every response, this one too. Clients that count the length
    take the first frames for content.

    > A 1xx response is terminated by the end of the header section; it cannot contain content or trailers.

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
        < Content-Encoding: gzip
        < Content-Length: 0

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
    """
    if response.status == 101:
        for name in _101_CONTENT_FIELDS:
            for line in response.fields.lines(name):
                yield line, f"a 101 has no content, and says {_name(line)} {shown(line.name, line.value)}"


def _members(message: Message, name: str) -> list[tuple[FieldLine, bytes]]:
    """Each extension or subprotocol with the line it stands on; what follows a semicolon left out."""
    found = []
    for line in message.fields.lines(name):
        for member in line.value.split(b","):
            token = member.partition(b";")[0].strip(grammar.OWS)
            if token:
                found.append((line, token))
    return found


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §9.1",
    "RFC 7692 §5.1",
    severity=ERROR,
    fields=("sec-websocket-extensions",),
    breaks=("websockets", "aiohttp", "tungstenite", "node ws"),
)
def unoffered_websocket_extension(exchange: Exchange) -> Hits:
    """The server accepted an extension the client did not offer.

    Clients must fail the connection; a gateway answered for another client: it passed on the upstream's
    acceptance of an offer that it had made itself. The client would take compressed frames for garbage.

    > If the response includes a |Sec-WebSocket-Extensions| header field and this header field indicates the
    > use of an extension that was not present in the client's handshake (the server has indicated an
    > extension not requested by the client), the client MUST _Fail the WebSocket Connection_.

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
        < Sec-WebSocket-Extensions: permessage-deflate

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12
    """
    response = _opened(exchange)
    if response is None or "sec-websocket-extensions" not in response.fields:
        return
    offered = {token.lower() for _, token in _members(exchange.request, "sec-websocket-extensions")}
    for line, token in _members(response, "sec-websocket-extensions"):
        if token.lower() not in offered:
            said = ", ".join(sorted(quoted(each, 40) for each in list(offered)[:9])) or "none"
            yield (
                line,
                f"the server accepts the extension {quoted(mask_text(token))}; the client offered {said}",
            )
            return  # one is enough to fail


@rule(
    "RFC 6455 §9.1", severity=ERROR, fields=("sec-websocket-extensions",), breaks=("websockets", "autobahn")
)
def websocket_extensions_malformed(message: Message) -> Hits:
    """Sec-WebSocket-Extensions is malformed.

    Either side must fail the handshake, and websockets does. An empty value is the usual case: a gateway that
    filters extensions left the header standing when nothing remained.

    > If a value is received by either the client or the server during negotiation that does not conform to
    > the ABNF below, the recipient of such malformed data MUST immediately _Fail the WebSocket Connection_.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="10", x-other
    """
    for line in message.fields.lines("sec-websocket-extensions"):
        members = [member for part in line.value.split(b",") if (member := part.strip(grammar.OWS))]
        # Recipients must skip empty members of a list, so one of them is no reason to fail.
        if not members:
            yield line, f"{_name(line)} {shown(line.name, line.value)} names no extension"
        wrong = next((member for member in members if not _EXTENSION.fullmatch(member)), None)
        if wrong is not None:
            yield line, f"{_name(line)}: {quoted(mask_text(wrong))} is not an extension with parameters"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.2",
    severity=ERROR,
    fields=("sec-websocket-protocol",),
    breaks=("websockets", "node ws", "browsers"),
)
def unoffered_websocket_subprotocol(exchange: Exchange) -> Hits:
    """The server selected a subprotocol the client did not offer.

    Clients must fail the connection. A gateway that speaks ``realtime`` to its upstream passes the upstream's
    choice on to a client that asked for something else, or for nothing. Names are compared with their case.

    > If the response includes a |Sec-WebSocket-Protocol| header field and this header field indicates the use
    > of a subprotocol that was not present in the client's handshake (the server has indicated a subprotocol
    > not requested by the client), the client MUST _Fail the WebSocket Connection_.

    Bad::

        > GET /v1/realtime HTTP/1.1
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
        < Sec-WebSocket-Protocol: realtime

    Good::

        > GET /v1/realtime HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Protocol: realtime, chat
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < Sec-WebSocket-Protocol: realtime
    """
    response = _opened(exchange)
    if response is None:
        return
    offered = exchange.request.fields.values("sec-websocket-protocol")
    for line in response.fields.lines("sec-websocket-protocol"):
        chosen = line.value
        if chosen and chosen not in offered:
            said = shown(line.name, b", ".join(offered)) if offered else "none"
            yield line, f"the server selected {shown(line.name, chosen)}; the client offered {said}"


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §11.3.4",
    severity=WARNING,
    fields=("sec-websocket-protocol",),
    breaks=("autobahn", "browsers"),
)
def duplicate_websocket_subprotocol(request: Request) -> Hits:
    """The subprotocol list has duplicate or empty members.

    autobahn refuses the handshake, and browsers do not even send one. A gateway that adds ``realtime`` to
    what the client offered, without looking whether it is there, makes a duplicate; an empty member is left
    when a credential that travelled in the list was cut out.

    > The elements that comprise this value MUST be non-empty strings with characters in the range U+0021 to
    > U+007E not including separator characters as defined in [RFC2616] and MUST all be unique strings.

    Bad::

        > GET /v1/realtime HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Protocol: realtime, chat, realtime

    Good::

        > GET /v1/realtime HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Protocol: realtime, chat
    """
    seen: set[bytes] = set()
    for line in request.fields.lines("sec-websocket-protocol"):
        problem: str | None = None
        for part in line.value.split(b","):
            member = part.strip(grammar.OWS)
            if problem is None and (not member or member in seen):
                problem = f"offers {shown(line.name, member)} twice" if member else "has an empty member"
            seen.add(member)
        if problem is not None:
            yield line, f"{_name(line)} {shown(line.name, line.value)} {problem}"


@rule(
    "RFC 6455 §4.1",
    severity=ERROR,
    fix="filter-handshake",
    fields=(*CONTENT_FIELDS, "accept"),
    breaks=("ChatGPT's Codex backend", "uvicorn"),
)
def http_header_in_websocket_handshake(request: Request) -> Hits:
    """A WebSocket handshake carries headers that belong to an HTTP request with content.

    The Codex upstream closes the socket before response.created when accept, content-type, cookie or
    content-length are forwarded (Soju06/codex-lb#1016). codex-lb 1.20.1 bridged ``POST /v1/responses`` to the
    upstream's WebSocket and carried the POST's headers over: Content-Type, ``Accept: text/event-stream``,
    Accept-Encoding and a second ``Connection: keep-alive``, which makes uvicorn and hypercorn serve a plain
    GET. With content uvicorn, websockets and envoy hang up, hypercorn and lighttpd answer 400.

    Accept-Encoding, ``Accept: */*`` and Cookie are ordinary: aiohttp and browsers send them themselves.

    > The request MAY include any other header fields, for example, cookies [RFC6265] and/or
    > authentication-related header fields such as the |Authorization| header field [RFC2616], which are
    > processed according to documents that define them.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Content-Type: application/json
        > Accept: text/event-stream
        > OpenAI-Beta: responses_websockets=2026-02-06

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Accept: */*
        > Accept-Encoding: gzip, deflate
        > User-Agent: agent/1.0
        > OpenAI-Beta: responses_websockets=2026-02-06
    """
    if not is_handshake(request):
        return
    for line in request.fields:
        reason = CONTENT_FIELDS.get(line.key)
        if line.key == "accept" and any(
            part.partition(b";")[0].strip(grammar.OWS) != b"*/*" for part in line.value.split(b",")
        ):
            reason = "it asks for a media type, which a WebSocket has not"
        if reason is not None:
            yield line, f"{_name(line)} {shown(line.name, line.value)} in a WebSocket handshake: {reason}"


@rule(
    "RFC 6455 §11.3",
    "RFC 9110 §7.6.1",
    "RFC 7230 §6.1",
    severity=WARNING,
    fix="strip-hop-headers",
    fields=WEBSOCKET_FIELDS,
)
def websocket_header_in_plain_request(request: Request) -> Hits:
    """A request that is not a WebSocket handshake carries Sec-WebSocket headers.

    A gateway turned a handshake into an HTTP call and copied its headers; upstreams answer 400 or 426
    (pleaseai/shunt#519). Once the connection is not a WebSocket, they say nothing.

    > Furthermore, intermediaries SHOULD remove or replace fields that are known to require removal before
    > forwarding, whether or not they appear as a connection-option, after applying those fields' semantics.

    Bad::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 15
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        >
        > {"model":"m-1"}

    Good::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 15
        >
        > {"model":"m-1"}
    """
    # Over HTTP/2 a WebSocket is opened by CONNECT, with these fields (RFC 8441 §5).
    if is_handshake(request) or request.method == b"CONNECT":
        return
    lines = [line for name in WEBSOCKET_FIELDS for line in request.fields.lines(name)]
    for line in lines[:1]:
        names = ", ".join(dict.fromkeys(_name(each) for each in lines))
        yield line, f"{names} in a {quoted(mask_text(request.method)).strip("'")} that opens no WebSocket"


@rule(
    "RFC 6455 §4.2.2",
    "RFC 6455 §4.4",
    "RFC 9110 §15.5.22",
    severity=NOTE,
    fields=OPENS,
)
def websocket_handshake_refused(exchange: Exchange) -> Hits:
    """A WebSocket handshake was refused.

    The client falls back to HTTP or gives up: the status says which hop objected. Codex goes on over HTTP at
    once after a 426 and retries after others; a 200 or 404 comes from a server that saw a plain GET, a 403
    often from a CDN that dislikes a forwarded header.

    > The 426 (Upgrade Required) status code indicates that the server refuses to perform the request using
    > the current protocol but might be willing to do so after the client upgrades to a different protocol.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 426 Upgrade Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: HTTP/2.0
        < Connection: Upgrade
        < Content-Length: 0

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
    """
    response = exchange.response
    if response is not None and response.status not in (0, 101) and is_handshake(exchange.request):
        server = response.fields.lines("server")
        by = f" by {shown(server[0].name, server[0].value)}" if server else ""
        yield response, f"the handshake was answered {response.status}{by}"


@rule(
    "RFC 6455 §10.5",
    "RFC 9110 §17.9",
    "RFC 7231 §9.4",
    severity=NOTE,
    fields=OPENS,
)
def credential_in_websocket_subprotocol(request: Request) -> Hits:
    """A credential travels in Sec-WebSocket-Protocol or in the handshake's query.

    Hops log both, and the server echoes the subprotocol. A browser has no other way: it cannot set
    Authorization on a WebSocket, which is why the Realtime API takes ``openai-insecure-api-key.KEY``. Give it
    a key that is short-lived, or open the socket from a server.

    > URIs are intended to be shared, not secured, even when they identify secure resources.

    Bad::

        > GET /v1/realtime?model=m-1 HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-0123456789abcdef

    Good::

        > GET /v1/realtime?model=m-1 HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Protocol: realtime
        > Authorization: Bearer sk-0123456789abcdef
    """
    if not is_handshake(request):
        return
    # Whatever has to be hidden when it is shown is one.
    for line in request.fields.lines("sec-websocket-protocol"):
        if mask_value(line.name, line.value) != line.value:
            yield line, f"{_name(line)} {shown(line.name, line.value)} holds a credential"
    if b"?" in request.target and (masked := mask_text(request.target)) != request.target:
        yield request, f"the handshake's query holds a credential: {quoted(masked)}"


@rule("RFC 6455 §4.1", severity=ERROR, evidence="flows", fields=("sec-websocket-key",))
def websocket_key_reused(turn: Turn) -> Hits:
    """Two handshakes use the same Sec-WebSocket-Key.

    The key proves to the client that the answer is to its own handshake. A gateway that copies its client's
    key, or a client with a key in its source, accepts a cached or crossed answer as well.

    > The nonce MUST be selected randomly for each connection.

    Bad::

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > OpenAI-Beta: responses_websockets=2026-02-06
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > OpenAI-Beta: responses_websockets=2026-02-06
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

    Good::

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > OpenAI-Beta: responses_websockets=2026-02-06
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > OpenAI-Beta: responses_websockets=2026-02-06
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: 3Fq2ZxTkQ0m1bB6y8n5c9w==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: u9iPPUTozt3Afem8nMG1Q/RXvCo=
    """
    before = turn.same_websocket_key
    if len(before) == 1:
        line = turn.exchange.request.fields.lines("sec-websocket-key")[0]
        yield (
            line,
            f"Sec-WebSocket-Key {shown(line.name, line.value)} was used in exchange {before[0].number} already",
        )


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §9.1",
    "RFC 9110 §7.6.1",
    "RFC 7230 §6.1",
    severity=WARNING,
    fix="filter-handshake",
    evidence="legs",
    fields=("sec-websocket-key",),
)
def websocket_key_forwarded(legs: Legs) -> Hits:
    """A terminating gateway forwarded the client's Sec-WebSocket key, accept or extensions.

    Each leg needs its own: the peer sees an accept or compression it never agreed to. bifrost's review asked to
    deny sec-websocket-* in forwarded headers for this (bifrost#3204); a gateway that copies the headers of the
    handshake into one of its own negotiates twice and relays frames that one side cannot read.

    A tunnel (nginx, mitmproxy) rightly passes the whole handshake through. A gateway is told from it by what it
    answers: other extensions than the upstream agreed to, under the same key; or the upstream's accept under
    another key.

    > The request MUST include a header field with the name |Sec-WebSocket-Key|. The value of this header field
    > MUST be a nonce consisting of a randomly selected 16-byte value that has been base64-encoded [...] The
    > nonce MUST be selected randomly for each connection.

    Bad::

        @ leg: client
        > GET /v1/live HTTP/1.1
        > Host: gateway.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

        @ leg: server
        > GET /v1/live HTTP/1.1
        > Host: router.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < Sec-WebSocket-Extensions: permessage-deflate

    Good::

        @ leg: client
        > GET /v1/live HTTP/1.1
        > Host: gateway.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Extensions: permessage-deflate
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

        @ leg: server
        > GET /v1/live HTTP/1.1
        > Host: router.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==
        > Sec-WebSocket-Extensions: permessage-deflate
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=
        < Sec-WebSocket-Extensions: permessage-deflate
    """
    if legs.responses is None or legs.edits:
        return
    requests, (came, went) = legs.requests, legs.responses
    keys = [request.fields.one("sec-websocket-key") for request in requests]
    if came.status != 101 or went.status != 101 or None in keys:
        return
    if keys[0] == keys[1]:
        agreed = [sorted(answer.fields.values("sec-websocket-extensions")) for answer in (came, went)]
        if agreed[0] != agreed[1]:
            yield (
                requests[1].fields.lines("sec-websocket-key")[0],
                f"{legs.hop} sent on its client's key and answered it with other extensions",
            )
    elif came.fields.values("sec-websocket-accept") == went.fields.values("sec-websocket-accept") != []:
        yield (
            went.fields.lines("sec-websocket-accept")[0],
            f"{legs.hop} sent on the upstream's accept, which answers another key",
        )


@rule(
    "RFC 6455 §4.1",
    "RFC 6455 §4.2.2",
    severity=WARNING,
    evidence="legs",
    fields=("sec-websocket-key",),
)
def websocket_handshake_header_changed(legs: Legs) -> Hits:
    """A gateway dropped or invented handshake headers.

    Lost subprotocols, extensions or credentials make the upstream refuse or speak another dialect. Traefik lost
    Sec-WebSocket-Protocol and -Extensions (traefik#1945): clients that insist on the subprotocol they offered
    close at once. A gateway may offer no compression, take a key out of the subprotocols (Realtime API) and put
    in a credential of its own; it may not send none.

    > If the response includes a |Sec-WebSocket-Protocol| header field and this header field indicates the use
    > of a subprotocol that was not present in the client's handshake (the server has indicated a subprotocol
    > not requested by the client), the client MUST _Fail the WebSocket Connection_.

    Bad::

        @ leg: client
        > GET /v1/live HTTP/1.1
        > Host: gateway.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Sec-WebSocket-Protocol: realtime
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

        @ leg: server
        > GET /v1/live HTTP/1.1
        > Host: router.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=

    Good::

        @ leg: client
        > GET /v1/live HTTP/1.1
        > Host: gateway.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Authorization: Bearer example-1
        > Sec-WebSocket-Protocol: realtime
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < Sec-WebSocket-Protocol: realtime

        @ leg: server
        > GET /v1/live HTTP/1.1
        > Host: router.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==
        > Authorization: Bearer example-2
        > Sec-WebSocket-Protocol: realtime
        < HTTP/1.1 101 Switching Protocols
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=
        < Sec-WebSocket-Protocol: realtime
    """
    came, went = legs.requests
    if not (is_handshake(came) and is_handshake(went)):
        return
    offered, sent = _protocols(came), _protocols(went)
    lost = [
        name for name in offered if name not in sent and mask_value(b"Sec-WebSocket-Protocol", name) == name
    ]
    if lost and not legs.declared("request", "sec-websocket-protocol"):
        yield went, f"{legs.hop} did not offer the subprotocol {quoted(mask_text(b', '.join(lost)), 80)}"
    if came.fields.names & CREDENTIALS and not went.fields.names & CREDENTIALS and not _holds_key(sent):
        yield went, f"{legs.hop} sent the handshake without any credential; the client had given one"
    if legs.responses is not None and legs.responses[0].status == legs.responses[1].status == 101:
        chosen, told = map(_protocols, legs.responses)
        # What the upstream has chosen and the client never offered cannot be told to it.
        if (
            chosen != told
            and set(chosen) <= set(offered)
            and not legs.declared("response", "sec-websocket-protocol")
        ):
            names = [
                quoted(mask_text(b", ".join(some)), 60) if some else "no subprotocol"
                for some in (chosen, told)
            ]
            yield legs.responses[1], f"the upstream chose {names[0]}, {legs.hop} told the client {names[1]}"


def _protocols(message: Message) -> list[bytes]:
    return message.fields.values("sec-websocket-protocol")


def _holds_key(protocols: list[bytes]) -> bool:
    return any(mask_value(b"Sec-WebSocket-Protocol", name) != name for name in protocols)


@rule(
    *("RFC 6455 §4.1", "RFC 6455 §4.2.1", "RFC 9110 §7.8", "RFC 7230 §6.7"),
    severity=ERROR,
    fields=("upgrade", "sec-websocket-key"),
    breaks=("uvicorn", "websockets", "aiohttp", "node ws"),
)
def websocket_handshake_over_http10(request: Request) -> Hits:
    """A WebSocket handshake uses a version below HTTP/1.1.

    Upgrade means nothing in HTTP/1.0, so the server ignores it and answers the GET: 404, 426, or a page. nginx speaks
    HTTP/1.0 to its upstreams unless told ``proxy_http_version 1.1``, which is the whole cure.

    > The method of the request MUST be GET, and the HTTP version MUST be at least 1.1.

    Bad::

        > GET /v1/responses HTTP/1.0
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    """
    if is_handshake(request) and request.version.upper() in (b"HTTP/1.0", b"HTTP/0.9"):
        yield request, f"a WebSocket handshake in {quoted(request.version)[1:-1]}"
