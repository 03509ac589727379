"""Status codes that lack what makes them usable: a challenge, a list of methods, a place to go, an answer.

A recorder's own doing is nobody's defect: mitmproxy and some exporters of HARs take an interim response for the
final one. A HAR whose messages have no fields at all says nothing about fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

from conformance.content import is_json, is_whole, media_type
from conformance.llm import endpoint
from conformance.message import Exchange, FieldLine, Message, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.turn import Turn

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses that send the client to Location; 300 and 304 do not have to, 305 and 306 are gone."""
EMPTY_BY_DESIGN = frozenset({202, 204, 205, 206})
"""Successes without content: 202 is the receipt of a notification in MCP, 206 has a rule of its own."""

_BYTERANGES = b"multipart/byteranges"

# A final response announces how long it is or that the connection ends with it; an interim one has no reason to.
_MARKS_OF_A_FINAL = ("content-length", "transfer-encoding", "content-type")


def _says_nothing(message: Message) -> bool:
    """Whether its fields prove nothing by not being there: exporters of HARs may leave them all out."""
    return not message.verbatim and not message.fields


def _lacks(response: Response, field: str, status: int) -> bool:
    return response.status == status and field not in response.fields and not _says_nothing(response)


def _protocols(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    """Upgrade's members: name in lower case -> version."""
    return {name.lower(): version for name, _, version in (member.partition(b"/") for member in lines)}


@rule("RFC 9110 §15.2", "RFC 7231 §6.2", severity=ERROR, breaks=("requests 2.34.2", "urllib3"))
def interim_response_as_final(exchange: Exchange) -> Hits:
    """A 1xx response other than 101 was taken as the final response.

    The real answer is lost: a hop takes 100, 102 or 103 for the answer, relays it as one, with a length or a
    Connection: close of its own, and drops the 200 behind it. Python's http.client, and so requests and
    urllib3, skips 100 and takes every other interim response as final; a CDN that sends 103 Early Hints is
    enough. What mitmproxy itself does to interim responses over HTTP/1 (its issue 2229) is not reported: the
    recording cannot show what the server sent next.

    > A client MUST be able to parse one or more 1xx responses received prior to a final response, even if the
    > client does not expect one.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 103 Early Hints
        < Server: uvicorn
        < Content-Type: text/plain
        < Connection: close

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 103 Early Hints
        < Link: </v1/models>; rel=preload
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}
    """
    if exchange.response is not None or not exchange.interim or exchange.error:
        return
    if any(refusal.origin == "recorder" for refusal in exchange.refusals):
        return
    last = exchange.interim[-1]
    marks = [name for name in _MARKS_OF_A_FINAL if name in last.fields]
    marks += ["connection: close"] if b"close" in map(bytes.lower, last.fields.values("connection")) else []
    if marks:
        yield (
            last,
            f"nothing follows the {last.status} response, which carries {' and '.join(marks)} like a final one",
        )


@rule(
    *("RFC 9110 §7.8", "RFC 9110 §15.2.2", "RFC 7230 §6.7"),
    severity=ERROR,
    name="101-without-upgrade",
    breaks=("websockets 17", "node ws"),
)
def status_101_without_upgrade(response: Response) -> Hits:
    """A 101 response has no Upgrade header.

    A proxy stripped it as hop-by-hop, which it is, but not on the message that switches protocols. WebSocket
    clients fail the handshake, with "'Upgrade' header is missing" (dsh-auth-gate#50), and the agent falls back
    to HTTP or gives up.

    > A server that sends a 101 (Switching Protocols) response MUST send an Upgrade header field to indicate
    > the new protocol(s) to which the connection is being switched

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: websocket
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: websocket
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Connection: Upgrade
        < Upgrade: websocket
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
    """
    if _lacks(response, "upgrade", 101) and response.is_http1:
        yield response, "101 without Upgrade"


@rule("RFC 9110 §7.8", "RFC 7230 §6.7", severity=ERROR, name="unrequested-101")
def unrequested_101(exchange: Exchange) -> Hits:
    """A 101 response switches to a protocol the request did not offer.

    From then on both sides speak different protocols on one connection; h11 refuses the response. A proxy
    that drops Upgrade from the request and relays the 101 of an upstream it spoke WebSocket to is one source,
    a server that answers another connection's request is the other. A 101 to a WebSocket handshake that
    names another protocol is 101-upgrade-not-websocket.

    > A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding
    > request's Upgrade header field.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 101 Switching Protocols
        < Connection: Upgrade
        < Upgrade: h2c

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: TLS/1.3
        < HTTP/1.1 101 Switching Protocols
        < Connection: Upgrade
        < Upgrade: TLS/1.3
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status != 101 or not request.verbatim or not response.is_http1:
        return
    offered = _protocols(request.fields.values("upgrade"))
    if b"websocket" in offered:
        return
    for line in response.fields.lines("upgrade"):
        for name, version in _protocols(response.fields.values("upgrade")).items():
            # A version is compared where both sides name one.
            if name not in offered or (version and offered[name] and version != offered[name]):
                asked = quoted(mask_text(b", ".join(offered))) if offered else "nothing"
                yield line, f"101 switches to {shown(line.name, line.value)}, the request offers {asked}"
                return


@rule("RFC 9110 §15.3.1", "RFC 7231 §6.3.1", severity=WARNING, evidence="body", name="200-without-content")
def status_200_without_content(exchange: Exchange) -> Hits:
    """A 2xx response other than 204 or 205 is empty where content was expected.

    SDKs raise a JSON error, or hand the agent an empty turn that it takes for the model's. Pass-through
    routes of LiteLLM caused it with lengths that were no longer true (BerriAI/litellm#25624, #40131).
    Content is expected of the LLM APIs' endpoints and where Content-Type says JSON; health checks, 202 and
    what answers PUT, DELETE or OPTIONS may well be empty.

    > Aside from responses to CONNECT, a 200 response is expected to contain message content unless the
    > message framing explicitly indicates that the content has zero length.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 27
        >
        > {"model":"m","messages":[]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 0
        <

    Good::

        > GET /health HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        <
    """
    request, response = exchange.request, exchange.response
    if (
        response is None
        or response.size != 0
        or not 200 <= response.status <= 299
        or response.status in EMPTY_BY_DESIGN
        or request.method not in (b"GET", b"POST")
        or exchange.error
        or not is_whole(response)
    ):
        return
    operation = endpoint(request)
    media = media_type(response)
    if operation is not None and request.method in operation.methods:
        yield response, f"{response.status} without content answers {operation.name}"
    elif media is not None and is_json(media):
        yield response, f"{response.status} without content says that it is {quoted(media)}"


@rule(
    *("RFC 9110 §15.4.2", "RFC 9110 §15.4.3", "RFC 9110 §15.4.4", "RFC 9110 §15.4.8", "RFC 9110 §15.4.9"),
    "RFC 7231 §6.4",
    severity=WARNING,
)
def redirect_without_location(response: Response) -> Hits:
    """A redirect has no Location.

    httpx and requests return it to the caller as it is, aiohttp too, and fetch hands the caller a response
    that is not ok: the SDK reports a status nobody documented, or takes it for success without content.

    > The server SHOULD generate a Location header field in the response containing a preferred URI reference
    > for the new permanent URI.

    Bad::

        > GET /v1/models/ HTTP/1.1
        > Host: api.example
        < HTTP/1.1 308 Permanent Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > GET /v1/models/ HTTP/1.1
        > Host: api.example
        < HTTP/1.1 308 Permanent Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: /v1/models
        < Content-Length: 0
    """
    if response.status in REDIRECTS and "location" not in response.fields and not _says_nothing(response):
        yield response, f"{response.status} without Location"


@rule("RFC 9110 §15.4", "RFC 7231 §6.4", severity=WARNING, fields=("location",))
def redirect_to_self(exchange: Exchange) -> Hits:
    """A redirect points to the URI that was requested.

    The client goes round until its limit (20 in httpx and fetch, 30 in requests, 10 in aiohttp and Go), and
    the agent reports too many redirects. A gateway that adds a slash which the next hop removes, or one that
    sees http behind a TLS terminator and sends everybody to https, causes it. Not judged: an answer that
    sets a cookie (the next request differs), and one that turns POST into GET.

    > A client SHOULD detect and intervene in cyclical redirections (i.e., "infinite" redirection loops).

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 308 Permanent Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: /v1/models
        < Content-Length: 0

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 308 Permanent Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://api.example/v1/models
        < Content-Length: 0
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status not in REDIRECTS or "set-cookie" in response.fields:
        return
    lines = response.fields.lines("location")
    keeps_method = response.status in (307, 308) or request.method in (b"GET", b"HEAD")
    if len(lines) == 1 and keeps_method and _is_same(exchange, lines[0].value):
        yield (
            lines[0],
            f"{response.status} to {shown(lines[0].name, lines[0].value)}, which is what was requested",
        )


def _is_same(exchange: Exchange, location: bytes) -> bool:
    request = exchange.request
    host = request.authority or request.fields.one("host")
    if not request.target.startswith(b"/") or not host or not location:
        return False
    forwarded = request.fields.one("x-forwarded-proto")
    scheme = (forwarded or exchange.scheme).decode("latin-1").lower()
    own = f"{scheme}://{host.decode('latin-1')}{request.target.decode('latin-1')}"
    try:
        return _normal(urljoin(own, location.decode("latin-1"))) == _normal(own)
    except ValueError:  # no URI: a matter of another rule
        return False


def _normal(uri: str) -> tuple[str, str, int | None, str, str]:
    parts = urlsplit(uri)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or ""), port, parts.path or "/", parts.query


@rule(
    *("RFC 9110 §15.4.2", "RFC 9110 §15.4.3", "RFC 9110 §15.4.4"),
    *("RFC 7231 §6.4.2", "RFC 7231 §6.4.3", "RFC 7231 §6.4.4"),
    severity=WARNING,
    fields=("location",),
    breaks=("httpx 0.28.1", "requests 2.34.2", "aiohttp", "node fetch", "curl 7.88.1"),
)
def redirect_turns_post_into_get(exchange: Exchange) -> Hits:
    """A POST was answered with 301, 302 or 303.

    httpx, requests, aiohttp, fetch and curl -L repeat it as GET without a body: the prompt is lost, and the
    answer is 405 or 404 and looks like a wrong path. 307 and 308 keep method and body. A trailing slash, http
    for https and a login page in front of an API cause it. A form is left alone, which is how browsers log
    in, and so is 303 apart from the LLM APIs, where no answer is ever somewhere else.

    > Note: For historical reasons, a user agent MAY change the request method from POST to GET for the
    > subsequent request. If this behavior is undesired, the 308 (Permanent Redirect) status code can be used
    > instead.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 301 Moved Permanently
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://api.example/v1/messages
        < Content-Length: 0

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 308 Permanent Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://api.example/v1/messages
        < Content-Length: 0
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status not in (301, 302, 303) or request.method != b"POST":
        return
    operation = endpoint(request)
    is_api = operation is not None and request.method in operation.methods
    if not is_api and (response.status == 303 or not _sends_json(request)):
        return
    for line in response.fields.lines("location")[:1]:
        yield line, f"POST answered with {response.status} to {shown(line.name, line.value)}"


def _sends_json(request: Request) -> bool:
    media = media_type(request)
    return media is not None and is_json(media)


@rule(
    *("RFC 9110 §15.5.2", "RFC 9110 §11.6.1", "RFC 7235 §3.1"),
    severity=ERROR,
    name="401-without-www-authenticate",
)
def status_401_without_www_authenticate(response: Response) -> Hits:
    """A 401 response has no WWW-Authenticate header.

    The client cannot tell which credential is wanted, nor which of several hops refused: the 401 of
    sglang-router 0.3.2, empty and without any header of its own, looks the same whether the router or the
    worker sent it. smg 1.13.0 says ``Bearer realm="data-plane"``. The model providers leave it out as well,
    and no agent misses it, so that the profiles for LLM APIs make this a warning.

    > A server generating a 401 (Unauthorized) response MUST send a WWW-Authenticate header field containing
    > at least one challenge.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-wrong-000000000000
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-wrong-000000000000
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="data-plane", error="invalid_token"
        < Content-Length: 0
    """
    if _lacks(response, "www-authenticate", 401):
        yield response, "401 without WWW-Authenticate"


@rule(
    *("RFC 9110 §15.5.8", "RFC 9110 §11.7.1", "RFC 7235 §3.2"),
    severity=ERROR,
    name="407-without-proxy-authenticate",
)
def status_407_without_proxy_authenticate(response: Response) -> Hits:
    """A 407 response has no Proxy-Authenticate header.

    An HTTP client behind a company proxy cannot answer: .NET and ``curl --proxy-anyauth`` wait for a challenge
    before they send the credential they were given. A gateway that passes a 407 on and strips hop-by-hop
    headers causes it.

    > The proxy MUST send a Proxy-Authenticate header field (Section 11.7.1) containing a challenge applicable
    > to that proxy for the request.

    Bad::

        > GET http://api.example/v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 407 Proxy Authentication Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > GET http://api.example/v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 407 Proxy Authentication Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Proxy-Authenticate: Basic realm="proxy"
        < Content-Length: 0
    """
    if _lacks(response, "proxy-authenticate", 407):
        yield response, "407 without Proxy-Authenticate"


@rule(
    *("RFC 9110 §15.5.6", "RFC 9110 §10.2.1", "RFC 7231 §6.5.5"),
    severity=ERROR,
    name="405-without-allow",
)
def status_405_without_allow(response: Response) -> Hits:
    """A 405 response has no Allow header.

    The client cannot learn that, for example, only POST is served here, and whoever debugs it cannot tell a
    wrong method from a prompt that a redirect turned into GET. Starlette and FastAPI send it; gateways that
    make up their own 405 forget it. The profiles for LLM APIs make this a warning.

    > The origin server MUST generate an Allow header field in a 405 response containing a list of the target
    > resource's currently supported methods.

    Bad::

        > DELETE /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 405 Method Not Allowed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > DELETE /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 405 Method Not Allowed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Allow: GET, HEAD
        < Content-Length: 0
    """
    if _lacks(response, "allow", 405):
        yield response, "405 without Allow"


@rule(
    *("RFC 9110 §15.5.6", "RFC 7231 §6.5.5"),
    severity=ERROR,
    name="405-allow-lists-refused-method",
    fields=("allow",),
)
def status_405_allow_lists_refused_method(exchange: Exchange) -> Hits:
    """A 405 response lists the refused method in Allow.

    The client does what it is told and repeats the same method. Two hops disagree: one routes by method and
    refuses, the other writes Allow from a table of its own.

    > The 405 (Method Not Allowed) status code indicates that the method received in the request-line is known
    > by the origin server but not supported by the target resource.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 405 Method Not Allowed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Allow: GET, HEAD
        < Content-Length: 0

    Good::

        > PUT /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 405 Method Not Allowed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Allow: GET, HEAD
        < Content-Length: 0
    """
    response, method = exchange.response, exchange.request.method
    if response is not None and response.status == 405 and method in response.fields.values("allow"):
        line: FieldLine = next(line for line in response.fields.lines("allow") if method in line.value)
        yield line, f"405 to {quoted(mask_text(method))}, and Allow {shown(line.name, line.value)} lists it"


@rule(
    *("RFC 9110 §15.5.22", "RFC 9110 §7.8", "RFC 7231 §6.5.15", "RFC 7230 §6.7"),
    severity=ERROR,
    name="426-without-upgrade",
)
def status_426_without_upgrade(response: Response) -> Hits:
    """A 426 response has no Upgrade header.

    The client cannot tell what it should upgrade to. Codex 0.169 takes any 426 to its WebSocket handshake as
    the word to fall back to HTTP; others repeat the request. HTTP/2 has no Upgrade and is not judged.

    > The server MUST send an Upgrade header field in a 426 response to indicate the required protocol(s)

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        < HTTP/1.1 426 Upgrade Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        < HTTP/1.1 426 Upgrade Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: Upgrade
        < Upgrade: websocket
        < Content-Length: 0
    """
    if _lacks(response, "upgrade", 426) and response.is_http1:
        yield response, "426 without Upgrade"


@rule("RFC 9110 §15.2", "RFC 7231 §6.2", severity=ERROR)
def interim_response_to_http10_client(exchange: Exchange) -> Hits:
    """A 1xx response was sent to an HTTP/1.0 client.

    HTTP/1.0 has no interim responses: the client takes 100 or 103 for the answer and the answer for its content.
    A proxy that passes its upstream's Early Hints on to whoever asks is the usual source.

    > Since HTTP/1.0 did not define any 1xx status codes, a server MUST NOT send a 1xx response to an HTTP/1.0
    > client.

    Bad::

        > GET /v1/models HTTP/1.0
        > Host: api.example
        < HTTP/1.1 103 Early Hints
        < Link: </style.css>; rel=preload
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 103 Early Hints
        < Link: </style.css>; rel=preload
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if exchange.request.version == b"HTTP/1.0" and exchange.interim:
        yield exchange.interim[0], f"an HTTP/1.0 request was sent a {exchange.interim[0].status}"


@rule("RFC 9110 §10.1.1", "RFC 7231 §5.1.1", severity=WARNING, evidence="octets")
def unexpected_100_continue(exchange: Exchange) -> Hits:
    """A 100 response was sent although the request did not expect it.

    Clients must skip it, and simple ones take it as the answer; mitmproxy 12 does (its issue 2229), so that
    behind it the real answer is lost. A hop that asks for Expect itself and passes on what it gets is the usual
    source.

    > If the request did not contain an Expect header field containing the 100-continue expectation, the client
    > can simply discard this interim response.

    Bad::

        >> POST /v1/messages HTTP/1.1\\r\\nHost: api.example\\r\\nContent-Type: application/json\\r\\n
        >> Content-Length: 13\\r\\n\\r\\n{"model":"m"}
        << HTTP/1.1 100 Continue\\r\\n\\r\\n
        << HTTP/1.1 204 No Content\\r\\nDate: Fri, 20 Nov 2026 03:14:15 GMT\\r\\n\\r\\n

    Good::

        >> POST /v1/messages HTTP/1.1\\r\\nHost: api.example\\r\\nContent-Type: application/json\\r\\n
        >> Expect: 100-continue\\r\\nContent-Length: 13\\r\\n\\r\\n{"model":"m"}
        << HTTP/1.1 100 Continue\\r\\n\\r\\n
        << HTTP/1.1 204 No Content\\r\\nDate: Fri, 20 Nov 2026 03:14:15 GMT\\r\\n\\r\\n
    """
    request = exchange.request
    if request.version == b"HTTP/1.0" or _says_nothing(request):
        return
    expected = any(member.lower() == b"100-continue" for member in request.fields.values("expect"))
    for interim in exchange.interim:
        if interim.status == 100 and not expected:
            yield interim, "100 Continue, and the request has no Expect: 100-continue"


@rule("RFC 9110 §7.8", "RFC 7230 §6.7", severity=ERROR, name="101-to-http10-client")
def status_101_to_http10_client(exchange: Exchange) -> Hits:
    """A 101 response answers an HTTP/1.0 request.

    Upgrade means nothing in HTTP/1.0. What says 1.0 is a hop between the two: it does not know that the
    connection becomes something else, and waits for a response that ends. An old ``proxy_pass`` without
    ``proxy_http_version 1.1`` in nginx is the usual one.

    > A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request.

    Bad::

        > GET /tunnel HTTP/1.0
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: TLS/1.3
        < HTTP/1.1 101 Switching Protocols
        < Connection: Upgrade
        < Upgrade: TLS/1.3

    Good::

        > GET /tunnel HTTP/1.1
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: TLS/1.3
        < HTTP/1.1 101 Switching Protocols
        < Connection: Upgrade
        < Upgrade: TLS/1.3
    """
    response = exchange.response
    if response is not None and response.status == 101 and exchange.request.version == b"HTTP/1.0":
        yield response, "101 to an HTTP/1.0 request, whose Upgrade has to be ignored"


@rule("RFC 9110 §15.3.2", "RFC 7231 §6.3.2", severity=NOTE, name="201-without-location")
def status_201_without_location(exchange: Exchange) -> Hits:
    """A 201 response has no Location.

    Without it what was created is at the URI that was asked, which is so for PUT and hardly ever for POST: the
    client has to put the URI together from an id in the content.

    > The primary resource created by the request is identified by either a Location header field in the
    > response or, if no Location header field is received, by the target URI.

    Bad::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 201 Created
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 201 Created
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: /v1/files/file-1
        < Content-Length: 0

        > PUT /v1/files/file-1 HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 201 Created
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
    """
    response = exchange.response
    if response is not None and _lacks(response, "location", 201) and exchange.request.method != b"PUT":
        yield response, "201 without Location"


@rule(
    *("RFC 9110 §15.3.2", "RFC 9110 §9.2.1", "RFC 7231 §6.3.2"),
    severity=WARNING,
    name="201-for-safe-method",
)
def status_201_for_safe_method(exchange: Exchange) -> Hits:
    """A 201 response answers GET or HEAD.

    What is safe is repeated without asking, by clients, prefetching browsers and crawlers, and each time
    something is created. Either the method is wrong or the status.

    > Request methods are considered safe if their defined semantics are essentially read-only; i.e., the client
    > does not request, and does not expect, any state change on the origin server as a result of applying a
    > safe method to a target resource.

    Bad::

        > GET /v1/threads/new HTTP/1.1
        > Host: api.example
        < HTTP/1.1 201 Created
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: /v1/threads/1
        < Content-Length: 0

    Good::

        > POST /v1/threads HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 201 Created
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: /v1/threads/1
        < Content-Length: 0
    """
    response = exchange.response
    if response is not None and response.status == 201 and exchange.request.method in (b"GET", b"HEAD"):
        yield response, f"201 answers {exchange.request.method.decode()}, which creates nothing"


# Not in a HAR: of what came out of its cache a browser may show few of the request's fields.
@rule("RFC 9110 §15.3.7", "RFC 7233 §4.1", severity=ERROR, name="unrequested-206", verbatim=True)
def unrequested_206(exchange: Exchange) -> Hits:
    """A 206 response answers a request without Range.

    The client takes a part for the whole: a file that is cut off, JSON that does not parse. A cache that kept a
    part, or a hop that took Range away from the request and relays what it had asked for itself, is the usual
    source.

    > The 206 (Partial Content) status code indicates that the server is successfully fulfilling a range request
    > for the target resource by transferring one or more parts of the selected representation.

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Range: bytes 0-1/10
        < Content-Length: 2

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Range: bytes 0-1/10
        < Content-Length: 2
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status != 206 or request.method != b"GET":
        return
    if "range" not in request.fields:
        yield response, "206 to a request without Range"


@rule(
    *("RFC 9110 §15.3.7.1", "RFC 9110 §15.3.7.2", "RFC 7233 §4.1"),
    severity=ERROR,
    name="206-without-content-range",
)
def status_206_without_content_range(response: Response) -> Hits:
    """A 206 response has neither Content-Range nor multipart/byteranges.

    Nobody can tell which part it is: clients that resume a download append it where they asked for, whatever
    was sent.

    > If a single part is being transferred, the server generating the 206 response MUST generate a
    > Content-Range header field, describing what range of the selected representation is enclosed, and a
    > content consisting of the range.

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Range: bytes 0-1/10
        < Content-Length: 2
    """
    if _lacks(response, "content-range", 206) and media_type(response) != _BYTERANGES:
        yield response, "206 without Content-Range"


@rule(
    *("RFC 9110 §15.3.7.2", "RFC 7233 §4.1"),
    severity=ERROR,
    fields=("content-range",),
    name="multipart-206-with-content-range",
)
def multipart_206_with_content_range(response: Response) -> Hits:
    """A multipart/byteranges response also carries Content-Range.

    Each part says which range it is. A client that finds one for the whole writes the parts, with their headers
    and boundaries, into the file.

    > To avoid confusion with single-part responses, a server MUST NOT generate a Content-Range header field in
    > the HTTP header section of a multiple part response (this field will be sent in each part instead).

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1,4-5
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: multipart/byteranges; boundary=b
        < Content-Range: bytes 0-5/10
        < Content-Length: 120

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1,4-5
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: multipart/byteranges; boundary=b
        < Content-Length: 120
    """
    if response.status == 206 and media_type(response) == _BYTERANGES:
        for line in response.fields.lines("content-range")[:1]:
            yield line, f"Content-Range {shown(line.name, line.value)} for all parts of multipart/byteranges"


@rule(
    *("RFC 9110 §14.2", "RFC 9110 §9.3.3", "RFC 7233 §3.1"),
    severity=ERROR,
    name="206-for-non-get-request",
)
def status_206_for_non_get_request(exchange: Exchange) -> Hits:
    """A 206 or 416 response answers a method other than GET.

    Range is defined for GET only and must be ignored otherwise: of the answer to a POST nobody knows what it is
    a part of. An upload that says with Content-Range which part it is may well be answered 416.

    > A server MUST ignore a Range header field received with a request method that is unrecognized or for which
    > range handling is not defined. For this specification, GET is the only method for which range handling is
    > defined.

    Bad::

        > POST /v1/search HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        > Content-Length: 0
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Range: bytes 0-1/10
        < Content-Length: 2

    Good::

        > POST /v1/search HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        > Content-Length: 0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 10
    """
    request, response = exchange.request, exchange.response
    # HEAD is answered with the head that GET would get, ranges and all (RFC 9110 §9.3.2).
    if response is None or request.method in (b"GET", b"HEAD", b""):
        return
    if response.status == 206 or (response.status == 416 and "content-range" not in request.fields):
        method = quoted(mask_text(request.method))[1:-1]
        yield response, f"{response.status} answers {method}, for which there are no ranges"


@rule("RFC 9110 §15.4.5", "RFC 7232 §4.1", severity=WARNING, name="unconditional-304")
def unconditional_304(exchange: Exchange) -> Hits:
    """A 304 response answers a request without a precondition.

    The client has nothing stored that it could use: it shows an empty answer, or fails to parse one. A cache
    that asks its upstream whether its copy is fresh and relays the 304 in place of the copy is the usual source.

    > The 304 (Not Modified) status code indicates that a conditional GET or HEAD request has been received and
    > would have resulted in a 200 (OK) response if it were not for the fact that the condition evaluated to
    > false.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 304 Not Modified
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "a1"

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-None-Match: "a1"
        < HTTP/1.1 304 Not Modified
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "a1"
    """
    response = exchange.response
    if response is not None and response.status == 304 and not _has_condition(exchange.request):
        yield response, "304 to a request without If-None-Match or If-Modified-Since"


def _has_condition(request: Request) -> bool:
    """Whether it has a precondition, or may have one: vendors add their own, as x-ms-source-if-match."""
    # Recorded by a browser, a request that its cache made conditional may be shown as the page asked it.
    return not request.verbatim or any(
        name.startswith("if-") or "-if-" in name or name == "if" for name in request.fields.names
    )


@rule(
    *("RFC 9110 §15.4.5", "RFC 7232 §4.1"),
    severity=WARNING,
    evidence="flows",
    name="304-without-validators",
)
def status_304_without_validators(turn: Turn) -> Hits:
    """A 304 response lacks headers that the 200 response had.

    What is in the 304 replaces what a cache has stored, and what is missing stays as it was: a lifetime that is
    over stays over, and a client whose answer came without ETag asks without one the next time. A hop that
    strips the headers of answers without content is the usual source. Date has a rule of its own; Vary, which
    may come and go with what the request says, is not judged.

    > The server generating a 304 response MUST generate any of the following header fields that would have been
    > sent in a 200 (OK) response to the same request

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "a1"
        < Cache-Control: private, max-age=60
        < Content-Length: 2

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-None-Match: "a1"
        < HTTP/1.1 304 Not Modified
        < Date: Fri, 20 Nov 2026 03:16:15 GMT
        < ETag: "a1"

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "a1"
        < Cache-Control: private, max-age=60
        < Content-Length: 2

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-None-Match: "a1"
        < HTTP/1.1 304 Not Modified
        < Date: Fri, 20 Nov 2026 03:16:15 GMT
        < ETag: "a1"
        < Cache-Control: private, max-age=60
    """
    if turn.digest.status != 304 or not turn.same_request:
        return
    request, response = turn.exchange.request, turn.exchange.response
    if response is None or not response.verbatim:
        return
    asked = {member.removeprefix(b"W/") for member in request.fields.values("if-none-match")}
    for digest in reversed(turn.same_request):
        if digest.stored is not None and (not asked or digest.stored[0].removeprefix(b"W/") in asked):
            missing = ", ".join(sorted(digest.stored[2] - response.fields.names))
            if missing:
                yield response, f"304 without {missing}, which the 200 had in exchange {digest.number}"
            return


@rule("RFC 9110 §15.5.9", "RFC 7231 §6.5.7", severity=NOTE, name="408-without-close")
def status_408_without_close(response: Response) -> Hits:
    """A 408 response does not close the connection.

    The server has given up on a request of which it has a part; when the rest comes after all, it is read as
    the next request.

    > If the client has an outstanding request in transit, it MAY repeat that request. If the current connection
    > is not usable (e.g., as it would be in HTTP/1.1 because request delimitation is lost), a new connection
    > will be used.

    Bad::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 408 Request Timeout
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 408 Request Timeout
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: close
        < Content-Length: 0
    """
    # In HTTP/1.0 connections are closed unless something is said.
    if response.status != 408 or response.version != b"HTTP/1.1" or not response.verbatim:
        return
    if not any(option.lower() == b"close" for option in response.fields.values("connection")):
        yield response, "408 without Connection: close"


@rule(
    *("RFC 9110 §15.5.12", "RFC 7231 §6.5.10"),
    severity=WARNING,
    fields=("content-length",),
    name="411-despite-content-length",
)
def status_411_despite_content_length(exchange: Exchange) -> Hits:
    """A 411 response answers a request that had Content-Length.

    The client did what it is asked for: a hop removed the length, or sent the content on in chunks, before the
    server saw it. squid 5.7 answers 411 to a WebSocket handshake that has content.

    > The 411 (Length Required) status code indicates that the server refuses to accept the request without a
    > defined Content-Length

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 411 Length Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Transfer-Encoding: chunked
        >
        > {"model":"m"}
        < HTTP/1.1 411 Length Required
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
    """
    response, length = exchange.response, exchange.request.fields.one("content-length")
    if response is not None and response.status == 411 and length is not None and length.isdigit():
        yield response, f"411 to a request with Content-Length {quoted(length)}"


@rule("RFC 9110 §15.5.13", "RFC 7232 §4.2", severity=WARNING, name="412-without-precondition")
def status_412_without_precondition(exchange: Exchange) -> Hits:
    """A 412 response answers a request without a precondition.

    The client cannot mend anything in its request, and retry logic that fetches the current version first goes
    round in circles. Where the state of something is in the way the status is 409, where a precondition is
    demanded 428.

    > The 412 (Precondition Failed) status code indicates that one or more conditions given in the request
    > header fields evaluated to false when tested on the server

    Bad::

        > DELETE /v1/files/1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 412 Precondition Failed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > DELETE /v1/files/1 HTTP/1.1
        > Host: api.example
        > If-Match: "a1"
        < HTTP/1.1 412 Precondition Failed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
    """
    response = exchange.response
    if response is not None and response.status == 412 and not _has_condition(exchange.request):
        yield response, "412 to a request without a precondition"


@rule("RFC 9110 §15.5.16", "RFC 7231 §6.5.13", severity=NOTE, name="415-without-accept")
def status_415_without_accept(exchange: Exchange) -> Hits:
    """A 415 response does not say what is accepted.

    Accept in the response names the types the server takes, Accept-Encoding the codings, Accept-Post and
    Accept-Patch the types for these methods: without any of them a client that compresses its requests cannot
    tell whether the type or the coding is refused.

    > If the problem was caused by an unsupported content coding, the Accept-Encoding response header field
    > (Section 12.5.3) ought to be used to indicate which (if any) content codings would have been accepted in
    > the request.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: text/plain
        > Content-Length: 2
        < HTTP/1.1 415 Unsupported Media Type
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: text/plain
        > Content-Length: 2
        < HTTP/1.1 415 Unsupported Media Type
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Accept: application/json
        < Content-Length: 0
    """
    response = exchange.response
    if response is None or response.status != 415 or _says_nothing(response):
        return
    if response.fields.names.isdisjoint(("accept", "accept-encoding", "accept-post", "accept-patch")):
        yield response, "415 without Accept, Accept-Encoding or Accept-Post"


@rule(
    *("RFC 9110 §15.5.17", "RFC 9110 §14.4", "RFC 7233 §4.4"),
    severity=WARNING,
    name="416-without-content-range",
)
def status_416_without_content_range(response: Response) -> Hits:
    """A 416 response does not say how long the content is.

    A client that resumes a download cannot tell whether it has all of it or the file became shorter, and asks
    for the same range again.

    > A server that generates a 416 response to a byte-range request SHOULD generate a Content-Range header
    > field specifying the current length of the selected representation

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=100-
        < HTTP/1.1 416 Range Not Satisfiable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=100-
        < HTTP/1.1 416 Range Not Satisfiable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Range: bytes */10
        < Content-Length: 0
    """
    if _lacks(response, "content-range", 416):
        yield response, "416 without Content-Range"


@rule(
    *("RFC 9110 §15.5", "RFC 9110 §15.6", "RFC 7231 §6.5", "RFC 7231 §6.6"),
    severity=NOTE,
    evidence="body",
)
def error_without_content(exchange: Exchange) -> Hits:
    """A 4xx or 5xx response has no explanation in its content.

    SDKs raise an error without a message, and nobody knows which hop it was, or whether trying again helps.

    > Except when responding to a HEAD request, the server SHOULD send a representation containing an
    > explanation of the error situation, and whether it is a temporary or permanent condition.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        <

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain
        < Content-Length: 15
        <
        < no such gateway
    """
    response = exchange.response
    if response is None or not 400 <= response.status <= 599 or response.size != 0:
        return
    if exchange.request.method != b"HEAD" and not exchange.error and is_whole(response):
        yield response, f"{response.status} without content"
