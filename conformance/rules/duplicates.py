"""Headers that appear more often than they may.

RFC 9110 §5.3: "a sender MUST NOT generate multiple field lines with the same name in a message ... unless
that field's definition allows multiple field line values to be recombined as a comma-separated list".

One defect is one finding. A field with a rule of its own is left to it; ``duplicate_singleton_header`` takes
the other fields that hold one value; fields that nothing is known about are ``conflicting_unknown_header``,
or, where the spelling of the name gives the cause away, ``case_variant_duplicate_header``.

A rebuilt message (HAR) may have lost repeats but does not invent them: recorders merge lines, none is known
to split one. So repeats count there too, while a joined value, or a second spelling of a name, may be the
recorder's.
"""

from __future__ import annotations

from collections.abc import Iterator

from conformance.known import (
    API_KEYS,
    API_VERSIONS,
    HOP_BY_HOP,
    JOINED,
    REPEATABLE,
    REQUEST_IDS,
    SESSION_HEADERS,
    SINGLETONS,
    TRAILERS_FORBIDDEN,
)
from conformance.message import FieldLine, Message, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import cookie_name, is_secret_field, mask_text, quoted, shown

OWN_RULE_ON_BOTH = frozenset(
    {"content-type", "content-length", "sec-websocket-key", "sec-websocket-accept"},
)
OWN_RULE_ON_REQUESTS = frozenset({"host", "authorization", "user-agent", "traceparent"})
OWN_RULE_ON_RESPONSES = frozenset(
    {
        "server", "date", "location", "retry-after", "access-control-allow-origin",
        "access-control-allow-credentials", "access-control-max-age", "etag", "content-range", "content-location",
        "strict-transport-security", "x-frame-options",
    }
)  # fmt: skip
"""Singletons that a rule here, in framing or in handshake is about; a test holds these against the rules."""

_OTHER_ON_REQUESTS = SINGLETONS - OWN_RULE_ON_BOTH - OWN_RULE_ON_REQUESTS
_OTHER_ON_RESPONSES = SINGLETONS - OWN_RULE_ON_BOTH - OWN_RULE_ON_RESPONSES
_CORS_SINGLE = ("access-control-allow-credentials", "access-control-max-age")
# Not Content-Security-Policy: browsers enforce each of several policies.
_SECURITY_SINGLE = frozenset(
    {
        "x-frame-options", "x-content-type-options", "x-xss-protection", "cross-origin-opener-policy",
        "cross-origin-embedder-policy", "cross-origin-resource-policy",
    }
)  # fmt: skip
_SINGLE_IN_TRAILERS = SINGLETONS - TRAILERS_FORBIDDEN
_JOINED_NAMES = frozenset(JOINED)
# API_VERSIONS have a rule in topic api.
_KNOWN = SINGLETONS | REPEATABLE | API_KEYS | API_VERSIONS | HOP_BY_HOP


def _repeats(message: Message, name: str) -> Hits:
    """Every line of that name but the first."""
    for line in message.fields.lines(name)[1:]:
        yield line, _repeat(line, message.fields.lines(name)[0])


def _repeat(line: FieldLine, first: FieldLine) -> str:
    name = quoted(mask_text(line.name)).strip("'")
    again = f"{name} {shown(line.name, line.value)} repeats {shown(first.name, first.value)}"
    if is_secret_field(line.name):
        again += ", the same credential" if line.value == first.value else ", another credential"
    return again


def _repeated(message: Message) -> Iterator[tuple[str, tuple[FieldLine, ...]]]:
    """The names that occur on several lines, with these lines."""
    fields = message.fields
    # Nearly every message passes here; two lengths tell that nothing is repeated.
    if len(fields) != len(fields.names):
        yield from ((name, lines) for name, lines in fields.by_name.items() if len(lines) > 1)


def _differ(lines: tuple[FieldLine, ...]) -> bool:
    return len({line.value for line in lines}) > 1


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §10.2.4",
    "RFC 7230 §3.2.2",
    "RFC 7231 §7.4.2",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("server",),
)
def duplicate_server(response: Response) -> Hits:
    """The response has more than one Server header.

    aiohttp 3.13.4, aiohttp under ``-X dev`` and its pure-Python parser up to 3.13.4 refuse the response with
    "Duplicate 'Server' header found."; litellm then reports "OpenAIException - Connection error." and every
    agent trial fails, after nine POSTs for one call in harbor 0.24.0. uvicorn adds its own Server beside the
    one that a gateway copied from its upstream, so the two values may well be the same.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...] unless that
    > field's definition allows multiple field line values to be recombined as a comma-separated list.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Server: uvicorn
        < Server: smg

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Server: uvicorn
    """
    yield from _repeats(response, "server")


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §6.6.1",
    "RFC 7230 §3.2.2",
    "RFC 7231 §7.1.1.2",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("date",),
)
def duplicate_date(response: Response) -> Hits:
    """The response has more than one Date header.

    uvicorn always adds its own Date next to one that the application copied from its upstream. No client
    measured refuses it, but nginx logs a warning for each response, Envoy 1.40 and httpx join the two into
    something that is no date, and caches and clock-skew checks read either value.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Content-Length: 2
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Date: Fri, 20 Nov 2026 03:14:16 GMT

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Content-Length: 2
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    yield from _repeats(response, "date")


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §8.3",
    "RFC 7230 §3.2.2",
    "RFC 7231 §3.1.1.5",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("content-type",),
)
def duplicate_content_type(message: Message) -> Hits:
    """The message has more than one Content-Type header.

    aiohttp's server answers such requests with 400, its client refuses such responses in 3.13.4 and in strict
    mode; lighttpd 1.4.69 refuses two that differ. The others pick the first (node), the last, or show the
    caller "application/json, text/plain" (fetch, httpx), so a stream may be parsed as JSON. A handler that
    sets its own type after copying every header of the upstream's answer is the usual source.

    > Although Content-Type is defined as a singleton field, it is sometimes incorrectly generated multiple
    > times, resulting in a combined field value that appears to be a list.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Content-Type: text/event-stream
        < Content-Type: application/json

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Content-Type: application/json
    """
    yield from _repeats(message, "content-type")


@rule(
    "RFC 9112 §3.2",
    "RFC 9110 §7.2",
    "RFC 7230 §5.4",
    severity=ERROR,
    evidence="headers | octets",
    fields=("host",),
)
def duplicate_host(request: Request) -> Hits:
    """The request has more than one Host header.

    Servers must answer 400, and uvicorn with h11, hypercorn, aiohttp, nginx, Apache, Caddy, Varnish and Go
    do. The rest may route to one host and authorise for the other: node, granian and uvicorn with httptools
    hand both to the application, squid and h2o keep one, Envoy joins them.

    > A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a
    > Host header field and to any request message that contains more than one Host header field line or a
    > Host header field with an invalid field value.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Host: admin.example

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    yield from _repeats(request, "host")


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §11.6.2",
    "RFC 7230 §3.2.2",
    "RFC 7235 §4.2",
    severity=ERROR,
    fix="inject-auth",
    fields=("authorization",),
)
def duplicate_authorization(request: Request) -> Hits:
    """The request has more than one Authorization header.

    A router that appends its worker key to a forwarded client key sends both, and the upstream checks
    whichever it reads first: sglang-router 0.3.2, smg 1.13.0 and LiteLLM 1.106.2 take the first, and
    sglang-router and vllm-router 0.1.17 hand both on to the worker. nginx answers 400; Apache, Envoy and
    lighttpd join the lines into one credential that nobody issued.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: worker.example
        > Authorization: Bearer sk-client-000000000000
        > Authorization: Bearer sk-client-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: worker.example
        > Authorization: Bearer sk-worker-000000000000
    """
    yield from _repeats(request, "authorization")


@rule("RFC 9110 §5.3", "RFC 7230 §3.2.2", severity=ERROR, fix="inject-auth", fields=API_KEYS)
def duplicate_api_key(request: Request) -> Hits:
    """The request has more than one API key header of the same name.

    Upstreams read the first or the last key, so a client's placeholder may win over the gateway's key. Every
    server and proxy measured but Apache and lighttpd hands both lines on; those two join them into one
    useless key.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-api-key: dummy
        > X-Api-Key: sk-ant-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-api-key: sk-ant-000000000000
    """
    for name in request.fields.names & API_KEYS:
        yield from _repeats(request, name)


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §10.1.5",
    "RFC 7230 §3.2.2",
    "RFC 7231 §5.5.3",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("user-agent",),
)
def duplicate_user_agent(request: Request) -> Hits:
    """The request has more than one User-Agent header.

    aiohttp 3.14.5 servers answer 400 "Duplicate 'User-Agent' header found." A dict that holds User-Agent and
    user-agent is enough to cause it, as in google-genai: one from the SDK, one from the user's extra headers.
    Caddy and Go's ReverseProxy keep the first, Apache, Envoy and lighttpd join them.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > User-Agent: google-genai-sdk/1.0
        > user-agent: my-agent/2.1

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > User-Agent: my-agent/2.1 google-genai-sdk/1.0
    """
    yield from _repeats(request, "user-agent")


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §10.2.2",
    "RFC 7230 §3.2.2",
    "RFC 7231 §7.1.2",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("location",),
    breaks=("httpx 0.28.1", "Chromium 156"),
)
def duplicate_location(response: Response) -> Hits:
    """The response has more than one Location header.

    Clients follow the first or the last, so a redirect can be hijacked by an inner hop. httpx 0.28.1 follows
    the two joined, "/a, /b", into a 404; Chromium 156 stops with ERR_RESPONSE_HEADERS_MULTIPLE_LOCATION where
    they differ; aiohttp 3.8.6 refuses even two that are equal.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/files/1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < Location: /a
        < Location: /b

    Good::

        > GET /v1/files/1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < Location: /a
    """
    yield from _repeats(response, "location")


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §10.2.3",
    "RFC 7230 §3.2.2",
    "RFC 7231 §7.1.3",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("retry-after",),
)
def duplicate_retry_after(response: Response) -> Hits:
    """The response has more than one Retry-After header.

    Clients that join the values, as httpx and so the OpenAI and Anthropic SDKs do, cannot parse "1, 30" and
    fall back to their own backoff; node's http takes the first. A gateway that adds its own
    limit to the provider's answer is the usual source.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < Retry-After: 1
        < Retry-After: 30

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < Retry-After: 30
    """
    yield from _repeats(response, "retry-after")


@rule(
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=ERROR,
    fix="dedupe-headers",
    fields=_OTHER_ON_REQUESTS | _OTHER_ON_RESPONSES,
)
def duplicate_singleton_header(message: Message) -> Hits:
    """Another header that may appear only once appears more than once.

    Recipients take the first, the last or a comma-joined value, so hops act on different values. aiohttp
    refuses Host, Max-Forwards and User-Agent lines that repeat (3.13.4, and any version in strict mode),
    uvicorn 0.54 and websockets 17 a WebSocket handshake with two Origin lines.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Last-Modified: Fri, 20 Nov 2026 03:14:15 GMT
        < Last-Modified: Thu, 19 Nov 2026 03:14:15 GMT

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Last-Modified: Fri, 20 Nov 2026 03:14:15 GMT
        < Vary: Origin
        < Vary: Accept-Encoding
    """
    others = _OTHER_ON_REQUESTS if isinstance(message, Request) else _OTHER_ON_RESPONSES
    for name, _ in _repeated(message):
        if name in others:
            yield from _repeats(message, name)


@rule(
    "Fetch §3.3",
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("access-control-allow-origin",),
    breaks=("Chromium 156", "litellm"),
)
def duplicate_access_control_allow_origin(response: Response) -> Hits:
    """The response has more than one Access-Control-Allow-Origin header.

    Browsers refuse the response: Chromium 156 says "contains multiple values 'https://a.example, *', but only
    one is allowed", and blocks ``*, *`` as well. litellm stops with "Illegal header value b'*, '" when two
    hops each add one. A gateway with a CORS layer in front of a server with another is the usual source.

    > Access-Control-Allow-Origin = origin-or-null / wildcard

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Access-Control-Allow-Origin: *
        < Access-Control-Allow-Origin: *

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Access-Control-Allow-Origin: *
    """
    yield from _repeats(response, "access-control-allow-origin")


@rule(
    "Fetch §3.3",
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=WARNING,
    fix="dedupe-headers",
    fields=_CORS_SINGLE,
)
def duplicate_access_control_header(response: Response) -> Hits:
    """Another single-valued CORS header appears more than once.

    Browsers join the lines, and "true, true" is not "true": the CORS check fails, or the preflight is not
    cached. The fields are Access-Control-Allow-Credentials and Access-Control-Max-Age; the allowed methods
    and headers are lists and may be repeated.

    > Access-Control-Allow-Credentials = %s"true" ; case-sensitive

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Access-Control-Allow-Origin: https://app.example
        < Access-Control-Allow-Credentials: true
        < Access-Control-Allow-Credentials: true
        < Vary: Origin

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Access-Control-Allow-Origin: https://app.example
        < Access-Control-Allow-Credentials: true
        < Access-Control-Expose-Headers: X-Request-Id
        < Access-Control-Expose-Headers: Retry-After
        < Vary: Origin
    """
    for name in _CORS_SINGLE:
        yield from _repeats(response, name)


@rule(
    "Trace Context §3.2",
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=WARNING,
    fix="dedupe-headers",
    fields=("traceparent",),
)
def duplicate_traceparent(request: Request) -> Hits:
    """The request has more than one traceparent header.

    The trace is broken: recipients must treat the header as invalid and begin a new trace. An instrumented
    HTTP client inside a gateway that also copies the client's headers sends both; sglang-router and smg are
    among the routers that forward it.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
        > traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01
        > tracestate: a=1
        > tracestate: b=2
    """
    yield from _repeats(request, "traceparent")


@rule("RFC 9110 §5.3", "RFC 7230 §3.2.2", severity=WARNING, fix="dedupe-headers", fields=REQUEST_IDS)
def duplicate_request_id(message: Message) -> Hits:
    """A request id header is repeated with different values.

    Logs of the hops cannot be joined: each hop writes down another line, or the two joined. No parser
    measured refuses it and no other linter notices it. A gateway that issues an id of its own beside the
    provider's is the usual source; one that has another name for its own, as LiteLLM's x-litellm-call-id,
    keeps both readable.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-Request-Id: req_0001
        < X-Request-Id: chatcmpl-0002

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-Request-Id: req_0001
    """
    for name, lines in _repeated(message):
        if name in REQUEST_IDS and _differ(lines):
            yield from _repeats(message, name)


@rule("RFC 9110 §5.3", "RFC 7230 §3.2.2", severity=WARNING)
def conflicting_unknown_header(message: Message) -> Hits:
    """An unregistered header is repeated with different values.

    Servers collapse repeated headers to the first, the last or a joined value: node takes the first of some
    and joins others, Starlette shows the first to ``headers[name]``, http.Header.Get in Go the first, a dict
    made of pairs the last. Of two x-litellm-session-id lines LiteLLM 1.106.2 follows the last.

    Fields that are lists, and fields to which each layer customarily adds a line (X-Cache, X-Powered-By), are
    known and stay silent; so does a field where a line holds a comma, because it is then a list to whoever
    wrote it.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-RateLimit-Remaining-Requests: 41
        < X-RateLimit-Remaining-Requests: 7

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-RateLimit-Remaining-Requests: 7
        < X-Cache: MISS
        < X-Cache: HIT
    """
    for name, lines in _repeated(message):
        if name in _KNOWN or name in REQUEST_IDS or _in_two_cases(lines) or _is_sessions(name, message):
            continue
        if _is_security(name, message):
            continue
        if _differ(lines) and not any(b"," in line.value for line in lines):
            yield from ((line, _repeat(line, lines[0])) for line in lines[1:] if line.value != lines[0].value)


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §5.5",
    "RFC 7230 §3.2.2",
    severity=ERROR,
    fields=JOINED,
    breaks=("litellm",),
    verbatim=True,
)
def joined_singleton_value(message: Message) -> Hits:
    """A header that holds one value shows two values joined by a comma.

    A hop collapsed duplicates: "application/json, application/json" is no media type, and litellm refuses "*,
    " as Access-Control-Allow-Origin. A gateway that rebuilds an answer from ``dict(response.headers)`` does
    it with httpx and requests, fetch and httpx show it to their callers, and so do proxies: Envoy 1.40 joins
    Date and User-Agent, Apache 2.4.71 and lighttpd 1.4.69 nearly every field.

    > Fields that only anticipate a single member as the field value are referred to as singleton fields.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Server: uvicorn, smg

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > User-Agent: claude-cli/2.1.197 (external, sdk-cli)
        < HTTP/1.1 200 OK
        < Content-Length: 2
        < Server: Apache/2.4 (Debian, mod_ssl)
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Location: /v1/models;fields=id,object
    """
    for name in message.fields.names & _JOINED_NAMES:
        for line in message.fields.lines(name):
            if b"," in line.value and JOINED[name].search(line.value):
                yield (
                    line,
                    f"{line.shown_name} holds one value, and {shown(line.name, line.value)} joins several",
                )


@rule("RFC 9110 §5.1", "RFC 7230 §3.2", severity=WARNING, fix="dedupe-headers", verbatim=True)
def case_variant_duplicate_header(message: Message) -> Hits:
    """A header appears twice with names that differ only in case.

    Two writers used a case-sensitive map: a client's x-smg-routing-key stands beside the gateway's
    X-SMG-Routing-Key, and the router reads the first, so the client steers the routing. The spelling tells
    that it is no intended repeat, even where the values agree.

    This is for fields that no other rule about repeats covers: a second User-Agent, X-Api-Key or Server is
    reported as such however it is spelled. Fields that may be repeated, such as Set-Cookie or Via, come in
    mixed case from any two hops and are fine.

    > Field names are case-insensitive.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-tenant-id: acme
        > X-Tenant-Id: default

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Tenant-Id: acme
        > Via: 1.1 a.example
        > via: 1.1 b.example
    """
    for name, lines in _repeated(message):
        if name in _KNOWN or not _in_two_cases(lines) or _is_sessions(name, message):
            continue
        if (name in REQUEST_IDS or _is_security(name, message)) and _differ(lines):
            continue
        first = lines[0]
        for line in lines[1:]:
            if line.name != first.name:
                yield line, f"{_repeat(line, first)} of {quoted(mask_text(first.name)).strip("'")}"


@rule(
    *("RFC 9110 §5.3", "RFC 9110 §8.8.3", "RFC 7230 §3.2.2", "RFC 7232 §2.3"),
    severity=ERROR,
    fix="dedupe-headers",
    fields=("etag",),
)
def duplicate_etag(response: Response) -> Hits:
    """The response has more than one ETag header.

    aiohttp 3.13.4 and its strict mode refuse the response; caches and clients validate against either tag, and
    httpx, which joins the two, against one that nobody issued. A gateway that computes a tag of its own over
    what it copied from its upstream, with its headers, is the usual source.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < ETag: "a1"
        < ETag: W/"b2"

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < ETag: "a1"
    """
    yield from _repeats(response, "etag")


@rule(
    *("RFC 9110 §5.3", "RFC 9110 §14.4", "RFC 7230 §3.2.2", "RFC 7233 §4.2"),
    severity=ERROR,
    fix="dedupe-headers",
    fields=("content-range",),
)
def duplicate_content_range(response: Response) -> Hits:
    """The response has more than one Content-Range header.

    aiohttp 3.13.4 and its strict mode refuse the response, Varnish 7.1.1 answers 503 in its place; any other
    client puts the octets where one of the two says, and the file that is put together is wrong.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Content-Range: bytes 0-1/10
        < Content-Range: bytes 2-3/10

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=0-1
        < HTTP/1.1 206 Partial Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Content-Range: bytes 0-1/10
    """
    yield from _repeats(response, "content-range")


@rule(
    *("RFC 9110 §5.3", "RFC 9110 §8.7", "RFC 7230 §3.2.2", "RFC 7231 §3.1.4.2"),
    severity=ERROR,
    fix="dedupe-headers",
    fields=("content-location",),
)
def duplicate_content_location(response: Response) -> Hits:
    """The response has more than one Content-Location header.

    aiohttp 3.13.4 and its strict mode refuse the response; a cache may update or drop the entry of the wrong
    one of the two.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/files/latest HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Content-Location: /v1/files/1
        < Content-Location: /v1/files/2

    Good::

        > GET /v1/files/latest HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Content-Location: /v1/files/1
    """
    yield from _repeats(response, "content-location")


@rule("RFC 6797 §7.1", severity=ERROR, fix="dedupe-headers", fields=("strict-transport-security",))
def duplicate_strict_transport_security(response: Response) -> Hits:
    """The response has more than one Strict-Transport-Security header.

    Browsers process the first and ignore the others. Where a gateway writes ``max-age=0`` to be rid of a policy
    and copies the provider's behind it, or the other way round, the order of two lines decides for a year
    whether its host can be reached without TLS.

    > If a UA receives more than one STS header field in an HTTP response message over secure transport, then
    > the UA MUST process only the first such header field.

    Bad::

        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Strict-Transport-Security: max-age=0
        < Strict-Transport-Security: max-age=31536000; includeSubDomains

    Good::

        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Strict-Transport-Security: max-age=31536000; includeSubDomains
    """
    yield from _repeats(response, "strict-transport-security")


@rule(
    *("RFC 9110 §5.3", "Fetch §3.6", "CSP §3.1", "RFC 7230 §3.2.2"),
    severity=WARNING,
    fix="dedupe-headers",
    fields=_SECURITY_SINGLE,
)
def duplicate_security_header(response: Response) -> Hits:
    """A browser security header is repeated with different values.

    Browsers join the lines. Of ``DENY, SAMEORIGIN`` in X-Frame-Options they make DENY or nothing, of
    X-Content-Type-Options the first value counts, a Cross-Origin policy of two values is none: the policy in
    force is not the written one. A gateway that copies a provider's headers beside its own is the usual source.
    Lines that are equal mean what one of them means. Content-Security-Policy, of which browsers enforce each,
    has a rule in topic browser; lists such as Referrer-Policy may be repeated.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-Frame-Options: DENY
        < X-Frame-Options: SAMEORIGIN

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-Frame-Options: DENY
        < X-Frame-Options: DENY
        < Referrer-Policy: no-referrer
        < Referrer-Policy: strict-origin-when-cross-origin
    """
    for name, lines in _repeated(response):
        if name in _SECURITY_SINGLE and len({line.value.lower() for line in lines}) > 1:
            yield from _repeats(response, name)


@rule("RFC 6265 §4.1.1", severity=WARNING, fields=("set-cookie",))
def duplicate_set_cookie_name(response: Response) -> Hits:
    """Two Set-Cookie headers of one response set the same cookie.

    The last one that is processed stays, and nobody says in which order a client processes them: two layers of
    a gateway that each set a session cookie throw the client's session away. Cookies are the same where name,
    Domain and Path are; one that is deleted at one path and set at another is two.

    > Servers SHOULD NOT include more than one Set-Cookie header field in the same response with the same
    > cookie-name.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Set-Cookie: sid=a; Path=/
        < Set-Cookie: sid=b; Path=/; HttpOnly

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Set-Cookie: sid=; Path=/ui; Max-Age=0
        < Set-Cookie: sid=b; Path=/
    """
    seen: set[tuple[bytes, bytes, bytes]] = set()
    for line in response.fields.lines("set-cookie"):
        cookie = _cookie(line.value)
        if cookie in seen:
            yield line, f"Set-Cookie sets the cookie {quoted(cookie[0])} again"
        seen.add(cookie)


def _cookie(value: bytes) -> tuple[bytes, bytes, bytes]:
    """Name, domain and path of a cookie; the last attribute of a name counts (RFC 6265 §5.3)."""
    attributes = [part.partition(b"=") for part in value.split(b";")[1:]]
    given = {name.strip().lower(): value.strip() for name, _, value in attributes}
    return cookie_name(value), given.get(b"domain", b"").lower().lstrip(b"."), given.get(b"path", b"")


@rule("RFC 6265 §5.4", "RFC 9113 §8.2.3", severity=ERROR, fields=("cookie",), verbatim=True)
def duplicate_cookie_header(request: Request) -> Hits:
    """An HTTP/1 request has more than one Cookie header.

    HTTP/2 splits Cookie into lines, and who translates to HTTP/1 must join them with ``; `` again. uvicorn,
    nginx and Envoy hand both lines on, and an application that reads the first loses the rest, and with it the
    session or the affinity; Apache 2.4.71, varnish 7.1.1 and lighttpd 1.4.69 join them.

    > When the user agent generates an HTTP request, the user agent MUST NOT attach more than one Cookie header
    > field.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: a=1
        > Cookie: b=2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: a=1; b=2

        > GET /v1/models HTTP/2.0
        > cookie: a=1
        > cookie: b=2
    """
    if request.is_http1 and (lines := request.fields.lines("cookie")[1:]):
        yield lines[0], f"{len(lines) + 1} Cookie lines: HTTP/1 has one, joined with '; '"


@rule("RFC 9110 §5.3", "RFC 7230 §3.2.2", severity=NOTE)
def duplicate_unknown_header(message: Message) -> Hits:
    """An unregistered header is repeated with the same value.

    Two layers of one program add it, which is usually the first sign of copied headers: today the values agree,
    and who joins lines makes ``a, a`` of them. Where they differ it is conflicting-unknown-header, where their
    names do, case-variant-duplicate-header.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-Gateway: lab
        < X-Gateway: lab

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < X-Gateway: lab
        < X-Cache: MISS
        < X-Cache: MISS
    """
    for name, lines in _repeated(message):
        if name in _KNOWN or _is_security(name, message):
            continue
        if _in_two_cases(lines) or _is_sessions(name, message):
            continue
        if not _differ(lines):
            yield from ((line, _repeat(line, lines[0])) for line in lines[1:])


@rule("RFC 9110 §5.3", "RFC 9110 §6.5", "RFC 7230 §4.1.2", severity=WARNING, verbatim=True)
def singleton_in_header_and_trailer(message: Message) -> Hits:
    """A single-valued header appears in both the header section and the trailers.

    Recipients that merge trailers into the headers (Go keeps them apart, node and Python's parsers may not)
    get two values for what holds one. Fields that must not be in trailers at all are forbidden-trailer-field.

    > Trailer fields ought to be processed and stored separately from the fields in the header section to avoid
    > contradicting message semantics known at the time the header section was complete.

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        < Content-Type: text/plain
        < ETag: "a1"
        <
        < hi
        <+ ETag: "b2"

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        < Trailer: ETag
        < Content-Type: text/plain
        <
        < hi
        <+ ETag: "b2"
    """
    if not len(message.trailers):
        return
    for name in sorted(message.trailers.names & message.fields.names & _SINGLE_IN_TRAILERS):
        line, first = message.trailers.lines(name)[0], message.fields.lines(name)[0]
        yield line, f"the trailer {_repeat(line, first)} in the header section"


def _is_security(name: str, message: Message) -> bool:
    """Whether duplicate-security-header is the rule for it."""
    return name in _SECURITY_SINGLE and isinstance(message, Response)


def _is_sessions(name: str, message: Message) -> bool:
    """Whether duplicate-session-header is the rule for it."""
    return name in SESSION_HEADERS and isinstance(message, Request)


def _in_two_cases(lines: tuple[FieldLine, ...]) -> bool:
    return any(line.name != lines[0].name for line in lines)
