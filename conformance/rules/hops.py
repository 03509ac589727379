"""What a hop did to the messages it passed on: both of its sides are known.

A hop is judged by what it received and what it sent. Model gateways terminate APIs: they replace credentials
and hosts, map paths and models, add defaults, and translate one API into another, and all that is their job.
Findings here are about what no configuration asks for: octets that no longer match their description, fields
of one connection on another, answers that say something else than the upstream did.

What the recorder does between the legs is nobody's defect: mitmproxy rewrites Host and Alt-Svc, answers Expect,
re-frames content, and (unless an addon streams) holds a stream back until its end; none of this is compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from conformance import known
from conformance.content import codings, decoded, decoding, document, is_whole, kind, media_type
from conformance.grammar import date
from conformance.llm import endpoint
from conformance.message import Exchange, FieldLine, Legs, Message, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import digested, is_secret_field, mask_text, quoted, shown
from conformance.sse import events


def _same(name: bytes, one: bytes, other: bytes) -> bool:
    """Whether two values are equal; a journal holds credentials as digests."""
    if one == other:
        return True
    return is_secret_field(name) and (digested(name, one) == other or one == digested(name, other))


def _forwarded(came: Message, went: Message, name: str) -> Iterator[FieldLine]:
    """The lines of that name that the hop sent as it had received them."""
    values = [line.value for line in came.fields.lines(name)]
    for line in went.fields.lines(name):
        if any(_same(line.name, line.value, value) for value in values):
            yield line


def _options(message: Message) -> frozenset[str]:
    """What the message's Connection names, in lower case."""
    return frozenset(value.lower().decode("latin-1") for value in message.fields.values("connection"))


def _is_handshake(legs: Legs) -> bool:
    """A protocol is switched to: Connection and Upgrade belong on both sides."""
    return any("sec-websocket-key" in request.fields for request in legs.requests) or any(
        response.status == 101 for response in legs.responses or ()
    )


def _answers_alike(legs: Legs) -> tuple[Response, Response] | None:
    """The responses, if both have content and the same status, so that one is the other passed on."""
    if legs.responses is None or legs.client.request.method.upper() == b"HEAD":
        return None
    came, went = legs.responses
    return legs.responses if came.status == went.status and came.status not in (101, 204, 304) else None


def _contents(legs: Legs) -> Iterator[tuple[Message, Message]]:
    """The messages whose content the hop received as a whole and is known to have sent."""
    pairs: list[tuple[Message, Message]] = [legs.requests]
    if (answers := _answers_alike(legs)) is not None:
        pairs.append(answers)
    for came, went in pairs:
        if came is not went and is_whole(came) and went.content is not None and not went.partial:
            yield came, went


def _credentials(request: Request) -> dict[str, list[bytes]]:
    """The credentials on a request, by field."""
    names = request.fields.names & _CREDENTIAL_FIELDS
    return {name: [line.value for line in request.fields.lines(name)] for name in names}


_CREDENTIAL_FIELDS = known.API_KEYS | {"authorization"}
_SCHEME = re.compile(rb"(?i)(?:bearer|basic|token|apikey)[ \t]+")


def _bare(value: bytes) -> bytes:
    return _SCHEME.sub(b"", value, count=1).strip()


def _has_own_credential(legs: Legs) -> bool:
    """Whether the hop sent a credential that it did not get from the client."""
    came, went = map(_credentials, legs.requests)
    given = {_bare(value) for values in came.values() for value in values}
    for name, values in went.items():
        for value in values:
            field = name.encode()
            if _bare(value) not in given and not any(_same(field, value, old) for old in came.get(name, ())):
                return True
    return False


# --- header lines


@rule(
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=ERROR,
    fix="dedupe-headers",
    evidence="legs",
    breaks=("aiohttp 3.13.4",),
)
def duplicate_header_added_by_hop(legs: Legs) -> Hits:
    """A hop turned one header line into two.

    uvicorn writes its own Server and Date before those that the application copied from its upstream, so the
    upstream's response was sound and the hop's is not: aiohttp 3.13.4 refuses it. Two hops that each set CORS
    headers or an id of the request do the same. That a list (Via, Vary, Set-Cookie) got longer is no defect.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...] unless that
    > field's definition allows multiple field line values to be recombined as a comma-separated list.

    Bad, also duplicate-server::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Server: uvicorn
        < Server: smg
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Server: smg
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Via: 1.1 router.example
        < Via: 1.1 gateway.example
        < Server: uvicorn
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Via: 1.1 router.example
        < Server: smg
        < Content-Length: 2
    """
    for came, went in legs.passed:
        if len(went.fields) == len(went.fields.names):
            continue
        for name, lines in went.fields.by_name.items():
            received = len(came.fields.lines(name))
            if 1 <= received < len(lines) and name not in known.REPEATABLE:
                yield (
                    lines[-1],
                    f"{lines[-1].shown_name} came {_times(received)} and left {legs.hop} {_times(len(lines))}",
                )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


_GENERATED = frozenset(
    {
        ("transfer-encoding", b"chunked"),  # each side frames for itself
        ("te", b"trailers"),  # a hop that can read trailers says so itself
        ("keep-alive", b"timeout=5"),  # node's default on both sides
        ("keep-alive", b"timeout=5, max=100"),  # Apache's
    }
)
"""Lines that a hop may have written itself, although it received the same."""

_ONE_CONNECTION = ("keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "trailer")


@rule(
    "RFC 9110 §7.6.1",
    "RFC 7230 §6.1",
    severity=ERROR,
    fix="strip-hop-headers",
    evidence="legs",
    fields=_ONE_CONNECTION,
    verbatim=True,
)
def hop_by_hop_header_forwarded(legs: Legs) -> Hits:
    """A hop forwarded a header that is meant for one connection.

    Keep-Alive, TE, Trailer, Transfer-Encoding or Upgrade of one leg misdescribe the other: clients keep a
    connection that the gateway closes, wait for trailers that were dropped, or try a protocol that it does not
    speak. haproxy forwards all of them, nginx all but Keep-Alive, Python gateways that copy a dictionary of
    headers what they copy; Portkey 1.15.2 dies of a forwarded Trailer (ERR_HTTP_TRAILER_INVALID).

    Lines that the hop writes itself by custom (``Transfer-Encoding: chunked``, node's ``Keep-Alive: timeout=5``)
    prove nothing. Headers that Connection names are connection-named-header-forwarded's business.

    > Furthermore, intermediaries SHOULD remove or replace fields that are known to require removal before
    > forwarding, whether or not they appear as a connection-option, after applying those fields' semantics.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Keep-Alive: timeout=75
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Keep-Alive: timeout=75
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Keep-Alive: timeout=5
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Keep-Alive: timeout=75
        < Content-Length: 2
    """
    if _is_handshake(legs):
        return
    for came, went in legs.passed:
        if not came.is_http1:
            continue
        # What must be upgraded to is told end to end (RFC 9110 §15.5.22).
        is_426 = isinstance(went, Response) and went.status == 426
        for name in _ONE_CONNECTION:
            for line in _forwarded(came, went, name):
                value = line.value.lower()
                if (name, value) in _GENERATED or (name == "upgrade" and is_426):
                    continue
                if name == "trailer" and (not went.is_http1 or "transfer-encoding" in went.fields):
                    continue  # there may well be trailers
                yield line, f"{legs.hop} forwarded {line.shown_name} {shown(line.name, line.value)}"


@rule(
    "RFC 9110 §7.6.1",
    "RFC 7230 §6.1",
    severity=ERROR,
    fix="strip-hop-headers",
    evidence="legs",
    fields=("connection",),
    verbatim=True,
)
def connection_named_header_forwarded(legs: Legs) -> Hits:
    """A hop forwarded a header that Connection named.

    The sender asked for its removal: what it says is for the next hop only. smg and Cody Gateway drop a fixed
    list of names and pass on the rest; haproxy, Envoy and nginx do the same. Where Connection names a field
    that must reach the other end (Authorization), keeping it is the lesser evil and no finding.

    > Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each
    > connection-option in this field, remove any header or trailer field(s) from the message with the same
    > name as the connection-option, and then remove the Connection header field itself [...]

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Edge: edge-7
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: keep-alive, X-Edge
        < X-Edge: edge-7
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: keep-alive, X-Edge
        < X-Edge: edge-7
        < Content-Length: 2
    """
    for came, went in legs.passed:
        for name in sorted(_options(came) - known.HOP_BY_HOP - known.END_TO_END):
            for line in _forwarded(came, went, name):
                yield line, f"{legs.hop} forwarded {line.shown_name}, which Connection told it to remove"


@rule(
    "RFC 9110 §7.6.1",
    "RFC 9112 §9.6",
    "RFC 7230 §6.1",
    "RFC 7230 §6.6",
    severity=ERROR,
    fix="strip-hop-headers",
    evidence="legs",
    fields=("connection",),
    verbatim=True,
)
def connection_close_forwarded(legs: Legs) -> Hits:
    """A hop forwarded Connection: close from its other side.

    It ends all requests that share the client's connection, because the upstream wanted to end another one.
    Gateways that copy a dictionary of headers do it (miles' session server: clients connect anew for every
    call), and reviewers of Sourcegraph's change warned of it.

    A hop may close for reasons of its own: it is forwarded only where the client did not ask for it, the
    response is no error, and its length is known without the close. In requests it proves nothing: nginx, and
    whoever keeps no connections to the upstream, writes it by itself.

    > The "close" connection option is defined as a signal that the sender will close this connection after
    > completion of the response.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: close
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: close
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Connection: close
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: close
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: close
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    request, (came, went) = legs.client.request, legs.responses
    if request.version.upper() != b"HTTP/1.1" or "close" in _options(request) or went.status >= 400:
        return
    framed = "content-length" in went.fields or "transfer-encoding" in went.fields
    if framed and "close" in _options(came):
        for line in went.fields.lines("connection"):
            if "close" in line.value.lower().decode("latin-1").replace(" ", "").split(","):
                yield line, f"{legs.hop} closes the client's connection because the upstream closes its own"
                return


_PROXY_FIELDS = ("proxy-authorization", "proxy-authenticate", "proxy-authentication-info")


@rule(
    "RFC 9110 §11.7",
    "RFC 9110 §11.7.2",
    "RFC 7235 §4.3",
    "RFC 7235 §4.4",
    severity=ERROR,
    fix="strip-hop-headers",
    evidence="legs",
    fields=_PROXY_FIELDS,
)
def proxy_authentication_forwarded(legs: Legs) -> Hits:
    """A hop forwarded proxy credentials or challenges.

    The proxy's password reaches the provider, or the client answers a challenge of a proxy it does not use.
    haproxy, nginx and Envoy pass Proxy-Authenticate on, LiteLLM's and miles' copies of all headers do both.

    > Unlike Authorization, the Proxy-Authorization header field applies only to the next inbound proxy that
    > demanded authentication using the Proxy-Authenticate header field.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Proxy-Authorization: Basic ZXhhbXBsZTpleGFtcGxl
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Proxy-Authorization: Basic ZXhhbXBsZTpleGFtcGxl
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Proxy-Authorization: Basic ZXhhbXBsZTpleGFtcGxl
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    for came, went in legs.passed:
        for name in _PROXY_FIELDS:
            for line in _forwarded(came, went, name):
                yield line, f"{legs.hop} forwarded {line.shown_name}, which was meant for itself"


@rule(
    "RFC 9110 §5.3",
    "RFC 6265 §3",
    "RFC 7230 §3.2.2",
    severity=ERROR,
    evidence="legs",
    fields=("set-cookie",),
    verbatim=True,
)
def set_cookie_lines_joined(legs: Legs) -> Hits:
    """A hop joined several Set-Cookie lines into one.

    Set-Cookie cannot be joined, because dates and values hold commas: cookies are lost, and attributes of one
    end on another. A plain dictionary of headers is enough to cause it; miles' session server and whoever
    passes on ``dict(response.headers)`` of httpx do it.

    > Origin servers SHOULD NOT fold multiple Set-Cookie header fields into a single header field.

    Bad, also set-cookie-malformed::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=example-1; Path=/, lang=en
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=example-1; Path=/
        < Set-Cookie: lang=en
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=example-1; Path=/
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=example-1; Path=/
        < Set-Cookie: lang=en
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    came, went = legs.responses
    cookies = [line.value for line in came.fields.lines("set-cookie")]
    if len(cookies) < 2:
        return
    starts = [cookie.partition(b"=")[0] + b"=" for cookie in cookies[1:]]
    for line in went.fields.lines("set-cookie"):
        if line.value in cookies:
            continue
        joined = sum(re.search(rb",[ \t]*" + re.escape(start), line.value) is not None for start in starts)
        if joined:
            yield line, f"{legs.hop} joined {joined + 1} of {len(cookies)} Set-Cookie lines into one"


@rule("RFC 9110 §5.3", "RFC 7230 §3.2.2", severity=ERROR, evidence="legs", verbatim=True)
def repeated_header_order_changed(legs: Legs) -> Hits:
    """A hop changed the order of header lines with one name.

    The order is part of the value and must be kept: of several credentials, ids or cookies recipients take the
    first or the last, and Via and X-Forwarded-For are read from one end. Hash maps of headers and code that
    moves its own line to the front cause it.

    > The order in which field lines with the same name are received is therefore significant to the
    > interpretation of the field value; a proxy MUST NOT change the order of these field line values when
    > forwarding a message.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Via: 1.1 edge.example
        > Via: 1.1 inner.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Via: 1.1 inner.example
        > Via: 1.1 edge.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Via: 1.1 edge.example
        > Via: 1.1 inner.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Via: 1.1 edge.example, 1.1 inner.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    for came, went in legs.passed:
        if len(came.fields) == len(came.fields.names):
            continue
        for name, lines in came.fields.by_name.items():
            # The crumbs of an HTTP/2 Cookie have no order (RFC 9113 §8.2.3).
            if len(lines) < 2 or name == "cookie" or name not in went.fields:
                continue
            before, after = _members(came, name), _members(went, name)
            if before != after and len(set(before)) > 1 and sorted(before) == sorted(after):
                line = went.fields.lines(name)[0]
                yield line, f"{legs.hop} sent the {len(before)} values of {line.shown_name} in another order"


def _members(message: Message, name: str) -> list[bytes]:
    if name in known.LISTS:
        return message.fields.values(name)
    return [line.value for line in message.fields.lines(name)]


_MUST_PASS: dict[str, str] = {
    "traceparent": "the trace ends here",
    "tracestate": "the trace loses its vendor's data",
    "x-request-id": "the request cannot be found in the upstream's log",
    "x-correlation-id": "the request cannot be found in the upstream's log",
    "idempotency-key": "a retry runs twice",
    "anthropic-version": "the API answers 400, or in another version's form",
}
"""Request headers that a gateway has to pass on, with what is lost without."""

_MUST_RETURN: dict[str, str] = {
    "www-authenticate": "the client cannot know how to authenticate",
    "request-id": "nobody can name the request to the provider",
    "x-request-id": "nobody can name the request to the provider",
    "x-amzn-requestid": "nobody can name the request to the provider",
}
"""Response headers likewise."""


@rule(
    "RFC 9110 §5.1", "RFC 7230 §3.2.1", severity=WARNING, evidence="legs", fields=(*_MUST_PASS, *_MUST_RETURN)
)
def header_dropped_by_hop(legs: Legs) -> Hits:
    """A hop removed a header that must be forwarded.

    Traces, request ids and idempotency keys are lost: sglang-router 0.3.2 forwards Authorization, Content-Type
    and Accept only, and drops session_id because of its underscore. A gateway may replace an id by its own, or
    give it a prefix (LiteLLM's llm_provider-x-request-id): only what leaves no trace is reported. Beta tokens,
    session ids and Retry-After have rules of their own.

    > A proxy MUST forward unrecognized header fields unless the field name is listed in the Connection header
    > field (Section 7.6.1) or the proxy is specifically configured to block, or otherwise transform, such
    > fields.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < llm_provider-x-request-id: req_0123456789abcdef
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0123456789abcdef
        < Content-Length: 2
    """
    came, went = legs.requests
    for name, loss in _MUST_PASS.items():
        if name == "anthropic-version" and _operation(came) != _operation(went):
            continue  # translated into another API
        if _is_lost(legs, "request", name, came, went):
            yield went, f"{legs.hop} did not forward {came.fields.lines(name)[0].shown_name}: {loss}"
    if legs.responses is None or (answers := _answers_alike(legs)) is None:
        return
    for name, loss in _MUST_RETURN.items():
        if _is_lost(legs, "response", name, *answers):
            yield (
                answers[1],
                f"{legs.hop} did not pass on {answers[0].fields.lines(name)[0].shown_name}: {loss}",
            )


def _is_lost(legs: Legs, part: Any, name: str, came: Message, went: Message) -> bool:
    if name not in came.fields or name in went.fields or name in _options(came) or legs.declared(part, name):
        return False
    if name in known.REQUEST_IDS and went.fields.names & (
        known.REQUEST_IDS | {"x-litellm-call-id", "traceparent"}
    ):
        return False
    return not any(other.endswith(name) for other in went.fields.names)


def _operation(request: Message) -> str | None:
    known_as = endpoint(request) if isinstance(request, Request) else None
    return known_as.name if known_as else None


# --- start lines


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=WARNING, evidence="legs")
def request_target_changed_by_hop(legs: Legs) -> Hits:
    """A hop rewrote path or query.

    A proxy must not; a gateway may map one path to another, and that is no finding. But where the path is still
    the same one, spelt in another way (an escape undone, a slash merged), or parameters of the query were lost,
    signatures no longer fit, limits and routes by path differ, and ``?alt=sse`` or ``?api-version=`` is gone.
    A key in the query (``?key=``) may be replaced.

    > A proxy MUST NOT modify the "absolute-path" and "query" parts of the received target URI when forwarding
    > it to the next inbound server except as required by that forwarding protocol.

    Bad::

        @ leg: client
        > GET /v1/models?api-version=2025-04-01&limit=5 HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models?limit=5 HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /sessions/0123/v1/models?limit=5 HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models?limit=5 HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    if came.target == went.target or came.method != went.method:
        return
    mounted = came.path.endswith(went.path) or went.path.endswith(came.path)
    if not mounted:
        if _spelling(came.path) == _spelling(went.path):
            yield went, f"{legs.hop} wrote the path {_path(came)} as {_path(went)}"
        return
    kept = _parameters(went)
    if (lost := sorted(_parameters(came) - kept)) and not _is_translated(legs):
        names = ", ".join(dict.fromkeys(quoted(mask_text(part.partition(b"=")[0]), 40) for part in lost[:4]))
        yield went, f"{legs.hop} dropped or changed {names} in the query"


def _path(request: Request) -> str:
    return quoted(mask_text(request.path))


_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def _spelling(path: bytes) -> bytes:
    """The path, whatever is escaped in it and however many slashes separate."""
    plain = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), path)
    return re.sub(rb"/+", b"/", plain).rstrip(b"/")


_REPLACED = re.compile(rb"(?i)(?:api[-_]?key|key|token|access_token|sig|signature|auth)=|beta=true\Z")
"""Parameters that a gateway rightly replaces or consumes. Claude Code's ``beta=true`` has no effect."""


def _parameters(request: Request) -> set[bytes]:
    query = request.target.partition(b"#")[0].partition(b"?")[2]
    return {part for part in query.split(b"&") if part and not _REPLACED.match(part)}


def _is_translated(legs: Legs) -> bool:
    """Whether the hop made a request of one API's out of one of another's."""
    came, went = map(endpoint, legs.requests)
    return came is not None and went is not None and (came.api, came.name) != (went.api, went.name)


@rule("RFC 9110 §7.6", "RFC 9110 §7.7", "RFC 7230 §5.7", severity=ERROR, evidence="legs")
def method_changed_by_hop(legs: Legs) -> Hits:
    """A hop changed the method.

    The request means something else upstream: a HEAD that was sent on as GET costs a completion, a POST that
    became GET (a followed redirect) loses its content. A WebSocket that carries what was POSTed is another
    protocol, not another method.

    > The request method token is the primary source of request semantics; it indicates the purpose for which
    > the client has made this request and what is expected by the client as a successful result.

    Bad::

        @ leg: client
        > POST /v1/tokenize HTTP/1.1
        > Host: gateway.example
        > Content-Length: 0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/tokenize HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > POST /v1/tokenize HTTP/1.1
        > Host: gateway.example
        > Content-Length: 0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > POST /v1/tokenize HTTP/1.1
        > Host: router.example
        > Content-Length: 0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    # HTTP/2 opens a WebSocket with CONNECT (RFC 8441 §4).
    if (
        came.method != went.method
        and not _is_handshake(legs)
        and b"CONNECT" not in (came.method, went.method)
    ):
        yield (
            went,
            f"{quoted(mask_text(came.method), 20)} left {legs.hop} as {quoted(mask_text(went.method), 20)}",
        )


# --- content


@rule(
    "RFC 9110 §8.6",
    "RFC 9112 §6.3",
    "RFC 7230 §3.3.2",
    severity=ERROR,
    evidence="legs + body",
    fields=("content-length",),
    verbatim=True,
    breaks=("uvicorn", "h11", "mitmproxy"),
)
def stale_content_length(legs: Legs) -> Hits:
    """A hop changed the content but kept Content-Length.

    uvicorn stops with "Too much data for declared Content-Length" (miles' session server lost about 60 percent
    of its answers), or the client waits for octets that never come; where the content got longer, as by
    undoing gzip in LiteLLM's pass-through, clients read a part of it. mitmproxy answers 502 for one that is too
    short, and keeps only the number of octets that came: that number tells which JSON was sent.

    > As a result, a sender MUST NOT forward a message with a Content-Length header field value that is known
    > to be incorrect.

    Bad, also body-shorter-than-content-length::

        @ leg: client
        @ recorder: mitmproxy
        @ error: HTTP/1 protocol error: peer closed connection without sending complete message body (received 22 bytes, expected 23)
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 23

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 23
        <
        < {"data": ["one-model"]}

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 22
        <
        < {"data":["one-model"]}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 23
        <
        < {"data": ["one-model"]}
    """  # noqa: E501 - mitmproxy's words, in full
    pairs: list[tuple[Exchange, Message, Message]] = [(legs.server, *legs.requests)]
    if (answers := _answers_alike(legs)) is not None:
        pairs.append((legs.client, *answers))
    for exchange, came, went in pairs:
        length = went.fields.one("content-length")
        if (
            length is None
            or came.fields.one("content-length") != length
            or not length.isdigit()
            or not is_whole(came)
        ):
            continue
        line = went.fields.lines("content-length")[0]
        changed = _changed_to(exchange, came, went)
        if changed is not None and changed != int(length):
            yield (
                line,
                f"{legs.hop} kept Content-Length {length.decode()} of content that it made {changed} octets",
            )


def _changed_to(exchange: Exchange, came: Message, went: Message) -> int | None:
    """How long the content is that the hop made of what it received; None: the same, or not known."""
    content, received = went.content, came.content or b""
    if content is None:
        # The recorder refused the message and kept its words only.
        part = "request" if isinstance(went, Request) else "response"
        sizes = [
            int(found[1])
            for refusal in exchange.refusals
            if refusal.part == part and (found := _BROKEN_OFF.search(refusal.text))
        ]
        return next((size for size in sizes if size in _rewritten_sizes(came)), None)
    plain = decoded(came)
    if (
        plain is not None
        and plain != received
        and len(content) < len(plain)
        and plain.startswith(content)
        and content
    ):
        return len(plain)
    return None if went.partial or received.startswith(content) else len(content)


_BROKEN_OFF = re.compile(r"received ([0-9]{1,15}) bytes, expected [0-9]")


def _rewritten_sizes(message: Message) -> set[int]:
    """How long the message's JSON is in the forms that libraries write it in."""
    read = document(message)
    if read is None:
        return set()
    forms = [(separators, plain) for separators in ((",", ":"), (", ", ": ")) for plain in (True, False)]
    try:
        return {len(json.dumps(read, separators=s, ensure_ascii=a).encode()) for s, a in forms}
    except ValueError:
        return set()


@rule(
    "RFC 9110 §8.4",
    "RFC 9110 §7.7",
    "RFC 7231 §3.1.2.2",
    severity=ERROR,
    evidence="legs + body",
    fields=("content-encoding",),
    verbatim=True,
)
def stale_content_encoding(legs: Legs) -> Hits:
    """A hop decoded the content but kept Content-Encoding.

    Clients fail to decode what is not encoded: aiohttp, httpx and undici decompress by themselves, and a
    gateway that copies the upstream's headers describes octets that it no longer has (production-stack under
    Istio, freelens: ERR_CONTENT_DECODING_FAILED).

    > The "Content-Encoding" header field indicates what content codings have been applied to the
    > representation, beyond those inherent in the media type, and thus what decoding mechanisms have to be
    > applied in order to obtain data in the media type referenced by the Content-Type header field.

    Bad, also content-encoding-undecodable::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Content-Length: 2
        <
        < {}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Content-Length: 22
        <
        < \\x1f\\x8b\\x08\\x00\\x00\\x00\\x00\\x00\\x02\\x03\\xab\\xae\\x05\\x00C\\xbf\\xa6\\xa3\\x02\\x00\\x00\\x00

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Vary: Accept-Encoding
        < Content-Length: 2
        <
        < {}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Content-Length: 22
        <
        < \\x1f\\x8b\\x08\\x00\\x00\\x00\\x00\\x00\\x02\\x03\\xab\\xae\\x05\\x00C\\xbf\\xa6\\xa3\\x02\\x00\\x00\\x00
    """
    for came, went in _contents(legs):
        coded = codings(went)
        if not coded or codings(came) != coded or went.content == came.content:
            continue
        plain = decoded(came)
        if plain is not None and plain != came.content and (went.content == plain or decoding(went).problem):
            yield (
                went.fields.lines("content-encoding")[0],
                f"{legs.hop} undid {quoted(mask_text(b', '.join(coded)), 40)} and still announces it",
            )


@rule(
    "RFC 9110 §8.4",
    "RFC 9110 §7.7",
    "RFC 7231 §3.1.2.2",
    severity=ERROR,
    evidence="legs + body",
    fields=("content-encoding",),
    verbatim=True,
)
def content_encoding_dropped_by_hop(legs: Legs) -> Hits:
    """A hop removed Content-Encoding from content that is still encoded.

    Clients parse compressed octets as JSON. Gateways that strip all content headers because they "re-encode
    anyway", and then pass the octets through, do it; so does one that forwards the client's ``br`` and cannot
    undo it (LiteLLM before it took Accept-Encoding away).

    > If one or more encodings have been applied to a representation, the sender that applied the encodings
    > MUST generate a Content-Encoding header field that lists the content codings in the order in which they
    > were applied.

    Bad, also compressed-content-without-content-encoding::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Vary: Accept-Encoding
        < Content-Length: 22
        <
        < \\x1f\\x8b\\x08\\x00\\x00\\x00\\x00\\x00\\x02\\x03\\xab\\xae\\x05\\x00C\\xbf\\xa6\\xa3\\x02\\x00\\x00\\x00

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Content-Length: 22
        <
        < \\x1f\\x8b\\x08\\x00\\x00\\x00\\x00\\x00\\x02\\x03\\xab\\xae\\x05\\x00C\\xbf\\xa6\\xa3\\x02\\x00\\x00\\x00

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Content-Length: 22
        <
        < \\x1f\\x8b\\x08\\x00\\x00\\x00\\x00\\x00\\x02\\x03\\xab\\xae\\x05\\x00C\\xbf\\xa6\\xa3\\x02\\x00\\x00\\x00

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Content-Length: 22
        <
        < \\x1f\\x8b\\x08\\x00\\x00\\x00\\x00\\x00\\x02\\x03\\xab\\xae\\x05\\x00C\\xbf\\xa6\\xa3\\x02\\x00\\x00\\x00
    """
    for came, went in _contents(legs):
        coded = codings(came)
        if not coded or codings(went) or went.content != came.content:
            continue
        plain = decoded(came)
        if plain is not None and plain != came.content:
            named = quoted(mask_text(b", ".join(coded)), 40)
            yield went, f"{legs.hop} removed Content-Encoding {named} and left the content encoded"


_CUT = frozenset({"body-shorter-than-content-length", "chunked-body-truncated"})


@rule("RFC 9112 §8", "RFC 9110 §7.7", "RFC 7230 §3.4", severity=ERROR, evidence="legs + body", verbatim=True)
def body_truncated_by_hop(legs: Legs) -> Hits:
    """A hop delivered less content than it received.

    The upstream's answer was complete: the hop's timeout, its limit on a buffer, or a length that it computed
    before (LiteLLM's pass-through) cut it. To the client it looks like a network error, and it asks, and pays,
    again. A client that went away itself has nobody else to blame.

    > A client that receives an incomplete response message, which can occur when a connection is closed
    > prematurely or when decoding a supposedly chunked transfer coding fails, MUST record the message as
    > incomplete.

    Bad, also chunked-body-truncated::

        @ leg: client
        @ recorder: mitmproxy
        @ error: HTTP/1 protocol error: peer closed connection without sending complete message body (incomplete chunked read)
        > GET /v1/files/file-1/content HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain
        < Transfer-Encoding: chunked

        @ leg: server
        > GET /v1/files/file-1/content HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain
        < Content-Length: 13
        <
        < one two three

    Good::

        @ leg: client
        > GET /v1/files/file-1/content HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain
        < Transfer-Encoding: chunked
        <
        < one two three

        @ leg: server
        > GET /v1/files/file-1/content HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain
        < Content-Length: 13
        <
        < one two three
    """  # noqa: E501 - mitmproxy's words, in full
    if (answers := _answers_alike(legs)) is not None:
        sound, broken = answers
        cut = any(refusal.rule in _CUT and refusal.part == "response" for refusal in legs.client.refusals)
        if cut and sound.size and is_whole(sound) and not any(stale_content_length(legs)):
            yield broken, f"the upstream's answer of {sound.size} octets was complete; {legs.hop}'s broke off"
            return
    for came, went in _contents(legs):
        whole, part = came.content or b"", went.content or b""
        if not _is_cut(whole, part) or codings(came) != codings(went):
            continue
        # An answer without any content may be the hop's own; a stream that ends early between two events is
        # events-lost-by-hop's business.
        if isinstance(went, Response) and (not part or _between_events(came, part)):
            continue
        yield went, f"{legs.hop} sent {len(part)} of {len(whole)} octets"


def _is_cut(whole: bytes, part: bytes) -> bool:
    return len(part) < len(whole) and whole.startswith(part) and bool(whole[len(part) :].strip())


def _between_events(came: Message, part: bytes) -> bool:
    return media_type(came) == b"text/event-stream" and part.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=ERROR, evidence="legs + body")
def events_lost_by_hop(legs: Legs) -> Hits:
    """A hop delivered fewer stream events than it received.

    Deltas or the closing event vanish, so tool arguments are broken JSON and clients wait for the end. Parsers
    that split at every chunk, filters for events they do not know, and a ``[DONE]`` that is swallowed do it.

    Only where the others were passed on as they are: a hop that translates events is not judged. Pings,
    comments, and a chunk with the usage that the client did not ask for may go.

    > An HTTP-to-HTTP proxy is called a "transforming proxy" if it is designed or configured to modify messages
    > in a semantically meaningful way (i.e., modifications, beyond those required by normal HTTP processing,
    > that change the message in a way that would be significant to the original sender or potentially
    > significant to downstream recipients).

    Bad::

        @ leg: client
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: gateway.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"step":1}
        <
        < data: {"step":3}
        <
        <

        @ leg: server
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: router.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"step":1}
        <
        < data: {"step":2}
        <
        < data: {"step":3}
        <
        <

    Good::

        @ leg: client
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: gateway.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"step": 1}
        <
        < data: {"step": 2}
        <
        <

        @ leg: server
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: router.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"step":1}
        <
        < : ping
        <
        < data: {"step":2}
        <
        <
    """
    answers = _answers_alike(legs)
    if (
        answers is None
        or legs.client.error
        or any(answer.partial or answer.body is None for answer in answers)
    ):
        return
    streams = [events(answer) for answer in answers]
    if streams[0] is None or streams[1] is None:
        return
    wants_usage = _wants_usage(legs.client.request)
    came, went = ([_said(event.data, wants_usage) for event in stream.events] for stream in streams if stream)
    before, after = [said for said in came if said is not None], [said for said in went if said is not None]
    if not after or len(after) >= len(before):
        return
    # In order, and nothing new among them: then what is missing was lost.
    rest = iter(before)
    if all(said in rest for said in after):
        missing = next(
            (i for i, said in enumerate(before) if i >= len(after) or after[i] != said), len(after)
        )
        yield (
            answers[1],
            f"{legs.hop} sent {len(after)} of {len(before)} events; the first that is missing is number {missing + 1}",
        )


def _said(data: bytes, wants_usage: bool) -> str | None:
    """An event's data to compare by; None for what a hop may drop."""
    if not data:
        return None
    try:
        read = json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace").strip()
    if isinstance(read, dict):
        if read.get("type") in ("ping", "keepalive"):
            return None
        if not wants_usage and read.get("choices") == [] and read.get("usage"):
            return None
    return json.dumps(read, sort_keys=True)


def _wants_usage(request: Request) -> bool:
    asked = document(request)
    options = asked.get("stream_options") if isinstance(asked, dict) else None
    return isinstance(options, dict) and bool(options.get("include_usage"))


@rule(
    "RFC 9110 §7.7",
    "RFC 9111 §5.2.2.6",
    "RFC 7230 §5.7.2",
    severity=ERROR,
    evidence="legs + body",
    fields=("cache-control",),
    verbatim=True,
)
def no_transform_ignored(legs: Legs) -> Hits:
    """A hop changed content marked no-transform.

    The sender forbade it, often because of a signature or a digest over the octets, or because a transformation
    (compression that buffers, a script that is injected) breaks its stream. A hop that only cut it off is
    body-truncated-by-hop's.

    > A proxy MUST NOT transform the content (Section 6.4) of a response message that contains a no-transform
    > cache directive (Section 5.2.2.6 of [CACHING]).

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: no-transform
        < Content-Type: application/json
        < Content-Length: 12
        <
        < {"data": []}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: no-transform
        < Content-Type: application/json
        < Content-Length: 11
        <
        < {"data":[]}

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 12
        <
        < {"data": []}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 11
        <
        < {"data":[]}
    """
    for came, went in _contents(legs):
        directives = {value.lower() for value in came.fields.values("cache-control")}
        if b"no-transform" not in directives or came.content == went.content:
            continue
        if went.content and not _is_cut(came.content or b"", went.content):
            yield (
                went,
                f"no-transform came with {came.size} octets, and {legs.hop} made {went.size} others of them",
            )


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=WARNING, evidence="legs + body", fields=("content-type",))
def content_type_changed_by_hop(legs: Legs) -> Hits:
    """A hop changed Content-Type without changing the content, or the reverse.

    Streams become JSON for the client, or JSON becomes a stream: sglang-router 0.3.2 and vllm-router pass a
    worker's 401, a JSON document, on as text/event-stream because the request asked for a stream, and SDKs wait
    for events in it. A gateway that collects a stream and keeps its type does the reverse.

    > A proxy SHOULD NOT modify header fields that provide information about the endpoints of the communication
    > chain, the resource state, or the selected representation (other than the content) unless the field's
    > definition specifically allows such modification or the modification is deemed necessary for privacy or
    > security.

    Bad, also content-type-claims-event-stream::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < Content-Length: 76
        <
        < {"error":{"message":"not found","type":"invalid_request_error","code":null}}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 76
        <
        < {"error":{"message":"not found","type":"invalid_request_error","code":null}}

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json; charset=utf-8
        < Content-Length: 76
        <
        < {"error":{"message":"not found","type":"invalid_request_error","code":null}}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 76
        <
        < {"error":{"message":"not found","type":"invalid_request_error","code":null}}
    """
    for came, went in _contents(legs):
        before, after = decoded(came), decoded(went)
        if not before or not after:
            continue
        types = media_type(came), media_type(went)
        if types[0] is None or types[1] is None:
            continue
        line = went.fields.lines("content-type")[0]
        if before == after and types[0] != types[1]:
            yield (
                line,
                f"{legs.hop} made {shown(b'', types[0])} {shown(b'', types[1])} and left the content as it was",
            )
        elif (
            types[0] == types[1]
            and (forms := (_form(before), _form(after)))[0] != forms[1]
            and None not in forms
        ):
            yield line, f"{legs.hop} made {forms[0]} into {forms[1]} and left the type {shown(b'', types[0])}"


def _form(octets: bytes) -> str | None:
    looks = kind(octets)
    if looks == "event-stream":
        return "an event stream"
    return "JSON" if octets.lstrip()[:1] in (b"{", b"[") else None


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=WARNING, evidence="legs + body")
def request_body_changed_by_hop(legs: Legs) -> Hits:
    """A hop changed the request's content beyond the declared rewrite.

    Fields are lost, numbers or text are recoded, and prompt caches miss: a gateway that parses into a typed
    model drops the parameters it does not know, one that reads numbers as floats rounds a seed or an id, one
    that normalises text changes what was said.

    What gateways are there for is no finding: another model, credentials and metadata of their own, defaults
    that are added (sglang-router and smg fill in nulls), streaming turned on or off, and translation into
    another API's request.

    > An HTTP-to-HTTP proxy is called a "transforming proxy" if it is designed or configured to modify messages
    > in a semantically meaningful way (i.e., modifications, beyond those required by normal HTTP processing,
    > that change the message in a way that would be significant to the original sender or potentially
    > significant to downstream recipients).

    Bad::

        @ leg: client
        > POST /v1/embeddings HTTP/1.1
        > Host: gateway.example
        > Content-Type: application/json
        > Content-Length: 43
        >
        > {"model":"m","input":"hi","dimensions":256}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 90

        @ leg: server
        > POST /v1/embeddings HTTP/1.1
        > Host: router.example
        > Content-Type: application/json
        > Content-Length: 31
        >
        > {"model":"m-2026","input":"hi"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 90

    Good::

        @ leg: client
        > POST /v1/embeddings HTTP/1.1
        > Host: gateway.example
        > Content-Type: application/json
        > Content-Length: 55
        >
        > {"model":"m","input":"hi","dimensions":256,"user":null}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 90

        @ leg: server
        > POST /v1/embeddings HTTP/1.1
        > Host: router.example
        > Content-Type: application/json
        > Content-Length: 74
        >
        > {"input":"hi","model":"m-2026","dimensions":256,"encoding_format":"float"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 90
    """
    came, went = legs.requests
    if came is went or _operation(came) is None or _operation(came) != _operation(went):
        return
    before, after = document(came), document(went)
    if not isinstance(before, dict) or not isinstance(after, dict):
        return
    for name in before.keys() - _GATEWAYS_OWN:
        if before[name] is None or (not before[name] and name not in after):
            continue
        lost = [name] if name not in after else _first_change(before[name], after[name], [name])
        if lost:
            where = quoted(mask_text(".".join(lost).encode()), 80)
            yield went, f"{legs.hop} {'dropped' if name not in after else 'changed'} {where} of the request"
            return


_GATEWAYS_OWN = frozenset(
    {
        "model", "metadata", "litellm_metadata", "user", "session_id", "sessionId", "conversation_id",
        "stream", "stream_options",  # some ask for a whole answer and stream it themselves, or for the usage
        "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "store",
        "client_metadata", "provider", "providers", "models", "route", "routes", "transforms", "plugins",
        "guardrails", "policies", "tags", "fallbacks", "context_window_fallback_dict", "num_retries",
        "max_retries", "timeout", "stream_timeout", "request_timeout", "drop_params", "additional_drop_params",
        "allowed_openai_params", "extra_headers", "extra_body", "extra_query", "mock_response", "cache", "ttl",
        "no-log", "api_key", "api_base", "base_url", "api_version", "organization", "custom_llm_provider",
        "litellm_session_id", "litellm_trace_id", "litellm_call_id", "trace_id", "request_id", "rid",
        "anthropic_version", "anthropic_beta", "previous_response_id", "priority", "routing_key",
    }
)  # fmt: skip
"""Members of a request that are for the gateway, or that it sets for its upstream."""


def _first_change(before: Any, after: Any, path: list[str]) -> list[str] | None:
    """Where what was said is no longer said; additions are none."""
    todo = [(before, after, path)]
    while todo:
        before, after, path = todo.pop()
        if isinstance(before, dict) and isinstance(after, dict):
            for name, value in before.items():
                if value is None and after.get(name) is None:
                    continue
                if name not in after:
                    return [*path, str(name)]
                todo.append((value, after[name], [*path, str(name)]))
        elif isinstance(before, list) and isinstance(after, list):
            if len(before) > len(after):
                return path
            todo += [
                (one, other, [*path, str(i)])
                for i, (one, other) in enumerate(zip(before, after, strict=False))
            ]
        elif isinstance(before, str) and isinstance(after, list):
            # A text may be written as a list of parts that hold it.
            if not (len(after) == 1 and isinstance(after[0], dict) and before in after[0].values()):
                return path
        elif before != after or isinstance(before, bool) != isinstance(after, bool):
            return path
    return None


@rule(
    "Signing AWS API requests: SignedHeaders",
    severity=ERROR,
    evidence="legs",
    fields=("authorization",),
    breaks=("AWS Bedrock",),
)
def signed_header_changed_after_signing(legs: Legs) -> Hits:
    """A hop changed a header that the request's signature covers.

    AWS answers 403, "The request signature we calculated does not match the signature you provided", to a
    request whose anthropic-beta, content or host was rewritten after it had been signed (SigV4). Rewrite before
    signing, or sign again. Host is compared only where no mitmproxy recorded it: that rewrites Host itself.

    Bad::

        @ leg: client
        > GET /foundation-models HTTP/1.1
        > Host: bedrock.us-east-1.amazonaws.com
        > X-Amz-Date: 20261120T031415Z
        > Authorization: AWS4-HMAC-SHA256 Credential=EXAMPLE/scope, SignedHeaders=host;x-amz-date;x-tenant, Signature=0123
        > X-Tenant: acme
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /foundation-models HTTP/1.1
        > Host: bedrock.us-east-1.amazonaws.com
        > X-Amz-Date: 20261120T031415Z
        > Authorization: AWS4-HMAC-SHA256 Credential=EXAMPLE/scope, SignedHeaders=host;x-amz-date;x-tenant, Signature=0123
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /foundation-models HTTP/1.1
        > Host: bedrock.us-east-1.amazonaws.com
        > X-Amz-Date: 20261120T031415Z
        > Authorization: AWS4-HMAC-SHA256 Credential=EXAMPLE/scope, SignedHeaders=host;x-amz-date, Signature=0123
        > X-Tenant: acme
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /foundation-models HTTP/1.1
        > Host: bedrock.us-east-1.amazonaws.com
        > X-Amz-Date: 20261120T031415Z
        > Authorization: AWS4-HMAC-SHA256 Credential=EXAMPLE/scope, SignedHeaders=host;x-amz-date, Signature=0123
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    line = next(iter(went.fields.lines("authorization")), None)
    found = _SIGNED.search(line.value) if line is not None else None
    if line is None or found is None or not any(_forwarded(came, went, "authorization")):
        return
    for name in found[1].decode("latin-1").lower().split(";"):
        if name == "host" and "mitmproxy" in (legs.client.recorder, legs.server.recorder):
            continue
        before, after = ([_folded(kept.value) for kept in side.fields.lines(name)] for side in (came, went))
        if len(before) != len(after) or not all(
            _same(name.encode(), a, b) for a, b in zip(before, after, strict=True)
        ):
            what = "removed" if not after else "added" if not before else "changed"
            yield (
                line,
                f"the signature covers {quoted(mask_text(name.encode()), 60)}, which {legs.hop} {what}",
            )


_SIGNED = re.compile(rb"\AAWS4-[A-Z0-9\-]+ .*?\bSignedHeaders=([A-Za-z0-9;_.\-]+)")


def _folded(value: bytes) -> bytes:
    return b" ".join(value.split())


# --- answers


@rule(
    "RFC 9110 §6.6.1", "RFC 7231 §7.1.1.2", severity=WARNING, evidence="legs", fields=("date",), verbatim=True
)
def date_rewritten_by_hop(legs: Legs) -> Hits:
    """A hop replaced Date.

    Date belongs to the origin: age and dates in Retry-After are computed from a wrong start. nginx and h2o
    always write their own, which is the same within a second or two and does no harm; a difference of more than
    five seconds does.

    > The "Date" header field represents the date and time at which the message was originated

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:16:40 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if (answers := _answers_alike(legs)) is None:
        return
    values = [answer.fields.one("date") for answer in answers]
    moments = [date(value) if value is not None else None for value in values]
    if moments[0] is None or moments[1] is None:
        return
    apart = (moments[1] - moments[0]).total_seconds()
    if abs(apart) > _CLOCKS:
        yield (
            answers[1].fields.lines("date")[0],
            f"{legs.hop} replaced Date by one that is {apart:+.0f} seconds away",
        )


_CLOCKS = 5.0
"""Seconds that two clocks, and the time a hop takes, may be apart."""

_MEANS: dict[int, str] = {
    400: "mend the request", 404: "mend the request", 405: "mend the request", 413: "mend the request",
    414: "mend the request", 415: "mend the request", 422: "mend the request", 431: "mend the request",
    401: "get another credential", 403: "give up", 402: "give up",
    408: "try again", 425: "try again", 500: "try again", 502: "try again", 504: "try again",
    429: "wait, then try again", 503: "wait, then try again", 529: "wait, then try again",
}  # fmt: skip
"""What SDKs and agents take a status to ask of them. Others are not compared."""


@rule("RFC 9110 §15", "RFC 7231 §6", severity=WARNING, fix="map-status", evidence="legs")
def misleading_status_mapping(legs: Legs) -> Hits:
    """A hop changed an error status into one that clients treat differently.

    429 as 500, 401 as 403, or an error as 200 make clients retry what they should not, or the reverse: an SDK
    sends a bad request three times because it came back as 500, or hammers an upstream that asked for a pause.

    502 for an upstream's 401 or 403 is right where the refused credential was the hop's own, and 502 or 503 may
    stand for any 5xx. A success after another attempt is no mapping.

    > The status code of a response is a three-digit integer code that describes the result of the request and
    > the semantics of the response, including whether the request was successful and what content is enclosed
    > (if any).

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Upstream-Status: 404
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 2
        < X-Upstream-Status: 429
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 2
        < Content-Length: 2
    """
    if (mapped := _mapped(legs)) is None:
        return
    came, went = mapped
    if went.status < 400:
        yield (
            went,
            f"the upstream answered {came.status}, {legs.hop} {went.status}: the client takes the error for a result",
        )
        return
    means = _MEANS.get(came.status), _MEANS.get(went.status)
    if None in means or means[0] == means[1]:
        return
    if came.status >= 500 and went.status >= 500:
        return
    if came.status in (401, 403) and went.status == 502 and _has_own_credential(legs):
        return
    yield (
        went,
        f"the upstream's {came.status} ({means[0]}) left {legs.hop} as {went.status} ({means[1]})",
    )


def _mapped(legs: Legs) -> tuple[Response, Response] | None:
    """The responses, where an error of the upstream's has another status on the client's side."""
    if legs.responses is None:
        return None
    came, went = legs.responses
    return (
        legs.responses if came.status >= 400 and came.status != went.status and went.status >= 200 else None
    )


@rule(
    "RFC 9110 §7.7", "RFC 9110 §15.6.3", "RFC 7230 §5.7", severity=WARNING, fix="map-status", evidence="legs"
)
def status_changed_without_upstream_status(legs: Legs) -> Hits:
    """A hop changed the status without naming the upstream's.

    Mappings add up over hops, 429 to 503 to 503 (Cody Gateway and its frontend), and nobody can tell whose
    error it is. A header such as X-Upstream-Status or Proxy-Status, or the number in the error's text, is
    enough.

    > The 502 (Bad Gateway) status code indicates that the server, while acting as a gateway or proxy, received
    > an invalid response from an inbound server it accessed while attempting to fulfill the request.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 77
        <
        < {"error":{"message":"the upstream failed","type":"server_error","code":null}}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Upstream-Status: 500
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if (mapped := _mapped(legs)) is None:
        return
    came, went = mapped
    number = b"%d" % came.status
    if any(
        re.search(rb"(?<!\d)" + number + rb"(?!\d)", line.value)
        for line in went.fields
        if b"status" in line.name.lower()
    ):
        return
    content = decoded(went)
    if content is None or re.search(rb"(?<!\d)" + number + rb"(?!\d)", content[:65_536]):
        return  # not known, or named
    yield went, f"{legs.hop} answers {went.status} and says nowhere that the upstream answered {came.status}"


@rule(
    "RFC 9110 §15.5.2",
    "RFC 9110 §15.6.3",
    "RFC 7235 §3.1",
    "RFC 7231 §6.6.3",
    severity=WARNING,
    fix="map-status",
    evidence="legs",
)
def upstream_auth_error_passed_through(legs: Legs) -> Hits:
    """A hop passed on a 401 or 403 that refuses its own credential.

    The client looks for a fault in its own key, asks its user to log in again, or throws the key away, although
    the gateway's is wrong. Portkey 1.15.2 does it. Where the client's own credential was sent on, the answer is
    for the client.

    > The 401 (Unauthorized) status code indicates that the request has not been applied because it lacks valid
    > authentication credentials for the target resource.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer example-of-the-client
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="api"
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Authorization: Bearer example-of-the-gateway
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="api"
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer example-of-the-client
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="api"
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-api-key: example-of-the-client
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="api"
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    came, went = legs.responses
    if came.status in (401, 403) and went.status == came.status and _has_own_credential(legs):
        yield (
            went,
            f"the upstream refused the credential of {legs.hop} with {came.status}, and the client was told so",
        )


@rule("RFC 9110 §15.6.3", "RFC 7231 §6.6.3", severity=WARNING, fix="map-status", evidence="legs")
def upstream_server_error_passed_through(legs: Legs) -> Hits:
    """A hop passed on a provider's 500 as its own.

    Clients and monitoring blame the gateway; 502 says that the upstream failed. Only for a hop that speaks to
    its upstream in its own name, with a credential of its own: a plain proxy passes 500 on as it should.

    > The 502 (Bad Gateway) status code indicates that the server, while acting as a gateway or proxy, received
    > an invalid response from an inbound server it accessed while attempting to fulfill the request.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Authorization: Bearer example-of-the-gateway
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Upstream-Status: 500
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Authorization: Bearer example-of-the-gateway
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    came, went = legs.responses
    named = any(b"upstream" in line.name.lower() for line in went.fields)
    if came.status == went.status == 500 and not named and _has_own_credential(legs):
        yield went, f"the upstream answered 500, and {legs.hop} says 500 as if it had failed itself"


@rule(
    "RFC 9110 §15.6.3",
    "RFC 9110 §15.6.5",
    "RFC 7231 §6.6.3",
    "RFC 7231 §6.6.5",
    severity=WARNING,
    evidence="legs",
)
def timeout_before_upstream_answered(legs: Legs) -> Hits:
    """A hop timed out although the upstream answered later.

    The hop's timeout is shorter than the model's: the answer is paid for and thrown away, and the client asks
    again. Give every hop towards the client a longer timeout than the one behind it.

    > The 504 (Gateway Timeout) status code indicates that the server, while acting as a gateway or proxy, did
    > not receive a timely response from an upstream server it needed to access in order to complete the
    > request.

    Bad::

        @ leg: client
        @ started: 100.0
        @ ended: 160.0
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 504 Gateway Timeout
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        @ started: 100.1
        @ ended: 171.3
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        @ started: 100.0
        @ ended: 171.4
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        @ started: 100.1
        @ ended: 171.3
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    came, went = legs.responses
    if came.status >= 400 or went.status not in (500, 502, 503, 504, 524):
        return
    took, upstream_took = _duration(legs.client), _duration(legs.server)
    if took is not None and upstream_took is not None:
        if upstream_took > took:
            later = f"the upstream answered {came.status} after {upstream_took:.1f} s"
            yield went, f"{legs.hop} answered {went.status} after {took:.1f} s; {later}"
    elif went.status == 504:
        yield went, f"{legs.hop} answered 504; the upstream answered {came.status}"


def _duration(exchange: Exchange) -> float | None:
    if exchange.started is None or exchange.ended is None:
        return None
    return exchange.ended - exchange.started


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=WARNING, evidence="legs")
def stream_buffered_by_hop(legs: Legs) -> Hits:
    """A hop delivered the first octet much later than it received it.

    The stream is buffered, so users wait and idle timeouts fire: nginx without ``proxy_buffering off``, a
    compressing middleware, a function that reads the whole answer first. Reported where the client's response
    began only when the upstream's was over, and that took more than two seconds.

    mitmproxy on the upstream side holds streams back itself unless an addon streams them, and a recording does
    not tell: there nothing is reported.

    > An HTTP-to-HTTP proxy is called a "transforming proxy" if it is designed or configured to modify messages
    > in a semantically meaningful way (i.e., modifications, beyond those required by normal HTTP processing,
    > that change the message in a way that would be significant to the original sender or potentially
    > significant to downstream recipients).

    Bad::

        @ leg: client
        @ started: 100.0
        @ answered: 130.2
        @ ended: 130.4
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: gateway.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked

        @ leg: server
        @ started: 100.1
        @ answered: 100.5
        @ ended: 130.1
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: router.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked

    Good::

        @ leg: client
        @ started: 100.0
        @ answered: 100.6
        @ ended: 130.2
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: gateway.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked

        @ leg: server
        @ started: 100.1
        @ answered: 100.5
        @ ended: 130.1
        > GET /v1/jobs/1/events HTTP/1.1
        > Host: router.example
        > Accept: text/event-stream
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-cache
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
    """
    client, server = legs.client, legs.server
    if legs.responses is None or server.recorder == "mitmproxy":
        return
    if any(media_type(response) != b"text/event-stream" for response in legs.responses):
        return
    times = (client.started, client.answered, server.started, server.answered, server.ended)
    if None in times:
        return
    # Measured from each side's own start: the two clocks need not agree.
    delay = (client.answered or 0.0) - (client.started or 0.0)
    began = (server.answered or 0.0) - (server.started or 0.0)
    over = (server.ended or 0.0) - (server.started or 0.0)
    if delay >= over and over - began > _HELD_BACK:
        late = f"{legs.hop}'s after {delay:.1f} s, when that was over"
        yield legs.responses[1], f"the upstream's stream began after {began:.1f} s, {late}"


_HELD_BACK = 2.0
"""Seconds of a stream that somebody who looks at it notices."""


# --- rarer still: what it contributes, trailers, Via, validators


_OF_ITS_LEG = known.HOP_BY_HOP | {"host", "content-length", "date", "via", "proxy-authorization"}
"""What each side has of its own, whoever forwards it."""


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=NOTE, evidence="legs")
def header_added_by_hop(legs: Legs) -> Hits:
    """A hop added a header the peer did not send.

    The list shows what the gateway contributes: ids, costs, timings, its name. Read it when an agent behaves otherwise
    behind the gateway than in front of the provider. Fields that belong to one connection are left out, and so is what
    our own addons say that they added.

    > Some intermediaries include features for transforming messages and their content.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-gateway-cost: 0.01
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-gateway-cost: 0.01
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-gateway-cost: 0.01
        < Content-Length: 2
    """
    pairs: list[tuple[Literal["request", "response"], Message, Message]] = [("request", *legs.requests)]
    if (answers := _answers_alike(legs)) is not None:
        pairs.append(("response", *answers))
    for part, came, went in pairs:
        added = [
            line
            for name, lines in went.fields.by_name.items()
            for line in lines[:1]
            if name not in came.fields and name not in _OF_ITS_LEG and not legs.declared(part, name)
        ]
        if added:
            names = ", ".join(quoted(mask_text(line.name), 60)[1:-1] for line in added)
            yield added[0], f"{legs.hop} added to the {part}: {names}"


@rule(
    "RFC 9110 §6.5.1", "RFC 9110 §6.5.2", "RFC 7230 §4.1.2", severity=WARNING, evidence="legs", verbatim=True
)
def trailers_dropped_by_hop(legs: Legs) -> Hits:
    """A hop lost the trailers.

    Digests, signatures and usage that were sent as trailers are missing. Gateways that read the content and send it on
    with a length have no place for them. A client that does not say ``TE: trailers`` has not asked for any, and nothing
    is said about its responses; put what must arrive into header or content.

    > Trailer fields ought to be processed and stored separately from the fields in the header section

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Connection: TE
        > TE: trailers
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 2
        <
        < {}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Transfer-Encoding: chunked
        < Trailer: x-usage
        <
        < {}
        <+ x-usage: 12

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Connection: TE
        > TE: trailers
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Transfer-Encoding: chunked
        < Trailer: x-usage
        <
        < {}
        <+ x-usage: 12

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Transfer-Encoding: chunked
        < Trailer: x-usage
        <
        < {}
        <+ x-usage: 12
    """
    pairs: list[tuple[Message, Message]] = [legs.requests]
    asked = {value.lower() for value in legs.client.request.fields.values("te")}
    if b"trailers" in asked and (answers := _answers_alike(legs)) is not None:
        pairs.append(answers)
    for came, went in pairs:
        if len(went.trailers) or went.partial or went.content is None:
            continue
        # They may be merged into the header section (RFC 9110 §6.5.1).
        lost = [line for line in came.trailers if line.key not in went.fields]
        if lost:
            names = ", ".join(quoted(mask_text(line.name), 60)[1:-1] for line in lost)
            yield went, f"{legs.hop} dropped the trailers {names}"


@rule("RFC 9110 §7.6.3", "RFC 7230 §5.7.1", severity=NOTE, evidence="legs")
def via_missing(legs: Legs) -> Hits:
    """A hop did not add itself to Via.

    Loops are not found before they have gone round a hundred times, and nobody can tell which hop spoke which version.
    Model gateways hardly ever send it.

    > An HTTP-to-HTTP gateway MUST send an appropriate Via header field in each inbound request message

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Via: 1.1 edge.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > Via: 1.1 edge.example, 1.1 gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    # Who journals its edits is mitmproxy with our addons, a proxy that hides.
    if legs.edits or (legs.client.flow is not None and legs.client.flow == legs.server.flow):
        return
    if len(went.fields.values("via")) <= len(came.fields.values("via")):
        yield went, f"{legs.hop} is not in the Via of the request that it sent"


@rule(
    "RFC 9110 §7.7",
    "RFC 9110 §8.8.3",
    "RFC 7230 §5.7.2",
    severity=WARNING,
    evidence="legs + body",
    fields=("etag",),
)
def strong_etag_kept_after_change(legs: Legs) -> Hits:
    """A hop changed the content but kept a strong ETag.

    A strong validator says that the octets are the same. Caches and range requests put pieces of both versions
    together, and a client that asks with If-None-Match is told that what it has is current. A hop that compresses or
    re-encodes has to remove the ETag or to make it weak, as nginx does.

    > A proxy that transforms the content of a 200 (OK) response can inform downstream recipients that a transformation
    > has been applied

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "1"
        < Content-Type: application/json
        < Content-Length: 12
        <
        < {"data": []}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "1"
        < Content-Type: application/json
        < Content-Length: 11
        <
        < {"data":[]}

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: W/"1"
        < Content-Type: application/json
        < Content-Length: 12
        <
        < {"data": []}

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "1"
        < Content-Type: application/json
        < Content-Length: 11
        <
        < {"data":[]}
    """
    for came, went in _contents(legs):
        tag = went.fields.one("etag")
        if (
            not isinstance(went, Response)
            or tag is None
            or tag != came.fields.one("etag")
            or tag.startswith(b"W/")
        ):
            continue
        received = came.content or b""
        if went.content and went.content != received and not _is_cut(received, went.content):
            yield (
                went.fields.lines("etag")[0],
                f"{legs.hop} changed the content and kept ETag {shown(b'etag', tag)}",
            )
