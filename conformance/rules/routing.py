"""Where a request says it goes, and who may say so: Host, :authority, Via, internal routing headers.

mitmproxy in reverse mode writes Host itself unless ``keep_host_header`` is set: it adds a missing one,
collapses two, and replaces what the client said. What is recorded then is what the upstream saw.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from conformance.grammar import HOST, PARAMETER, TOKEN, parameters
from conformance.known import INTERNAL_ROUTING, JOINED, PROVIDERS
from conformance.message import Exchange, FieldLine, Message, Request, split_members
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown

if TYPE_CHECKING:
    from conformance.policy import Policy

SHARED_PSEUDONYMS = frozenset(
    {"caddy", "cloudflare", "envoy", "google", "kong", "squid", "varnish", "vegur"},
)
"""Names that products give themselves in Via wherever they run: two are two installations, not a loop."""
SHARED_LIMIT = 4
"""So many lines of one product are no topology any more; Fastly's shielding makes two."""

_AUTHORITY = re.compile(rb"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]*))?")
_INTERNAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def _host_and_port(authority: bytes) -> tuple[str, str]:
    """To compare by: no userinfo, case or brackets; 80 and 443 are no port, being some scheme's default."""
    host = authority.rpartition(b"@")[2].strip(b" \t").lower()
    found = _AUTHORITY.fullmatch(host)
    name = (found["host"] if found else host).strip(b"[]").rstrip(b".").decode("latin-1")
    port = (found["port"] or b"").decode("ascii") if found else ""
    return name, "" if port in ("80", "443") else port


def _bad_host(request: Request) -> str | None:
    """What is wrong with the Host of an HTTP/1 request, so that a server must answer 400; None if nothing."""
    lines = request.fields.lines("host")
    if not lines:
        # HTTP/1.0 had no Host.
        return "no Host" if request.version.upper() != b"HTTP/1.0" else None
    if len(lines) > 1:
        return f"{len(lines)} Host lines"
    if HOST.fullmatch(lines[0].value) is None:
        return f"Host {shown(b'host', lines[0].value)}"
    return None


@rule(
    "RFC 9112 §3.2",
    "RFC 9110 §7.2",
    "RFC 7230 §5.4",
    severity=ERROR,
    evidence="headers | octets",
    verbatim=True,
)
def host_missing(request: Request) -> Hits:
    """An HTTP/1.1 request has no Host header.

    Servers must answer 400: uvicorn with h11, hypercorn, aiohttp 3.14.5, node, Go, nginx, Apache, Caddy,
    Envoy and lighttpd do. Through haproxy, squid, Varnish, sglang-router and smg it reaches the application,
    which then serves whatever its default is. A gateway that strips the client's headers before it writes its
    own is the usual source.

    > A client MUST send a Host header field (Section 7.2 of [HTTP]) in all HTTP/1.1 request messages.

    Bad::

        > GET /v1/models HTTP/1.1
        > Accept: application/json

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example

        > GET /v1/models HTTP/1.0
    """
    if request.is_http1 and not request.fields.lines("host") and request.version.upper() != b"HTTP/1.0":
        yield request, f"{quoted(mask_text(request.method))} request without Host"


@rule(
    "RFC 9112 §3.2",
    "RFC 9110 §7.2",
    "RFC 7230 §5.4",
    severity=ERROR,
    evidence="headers | octets",
    fields=("host",),
)
def host_malformed(request: Request) -> Hits:
    """The Host header is not a host and an optional port.

    Servers must answer 400; lenient hops route by part of the value. A base URL put where a host belongs
    ("https://api.example/v1") and an IPv6 address without brackets are the usual forms. An empty Host is not
    malformed; two hosts joined by a comma are reported by joined-singleton-value.

    > Host = uri-host [ ":" port ]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: https://api.example/v1

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example:8443

        > GET /v1/models HTTP/1.1
        > Host: [::1]:4000
    """
    for line in request.fields.lines("host"):
        if HOST.fullmatch(line.value) is None and not JOINED["host"].search(line.value):
            yield line, f"Host {shown(line.name, line.value)} is not a host and an optional port"


@rule(
    "RFC 9112 §3.2.2",
    "RFC 7230 §5.3.2",
    "RFC 7230 §5.4",
    severity=WARNING,
    evidence="headers | octets",
    fields=("host",),
)
def host_differs_from_target(exchange: Exchange) -> Hits:
    """An absolute request-target names another host than the Host header.

    Proxies route by one and servers authorise by the other: a request for an allowed host reaches a forbidden
    one. A client that is told to use a gateway as its HTTP proxy and overrides Host sends this.

    mitmproxy in reverse mode rewrites Host and leaves the target: where Host names the upstream that it
    recorded, nothing is known about the client.

    > When a proxy receives a request with an absolute-form of request-target, the proxy MUST ignore the
    > received Host header field (if any) and instead replace it with the host information of the
    > request-target.

    Bad::

        > GET http://api.example/v1/models HTTP/1.1
        > Host: admin.example

    Good::

        > GET http://api.example:80/v1/models HTTP/1.1
        > Host: API.example

        @ recorder: mitmproxy
        @ upstream: 127.0.0.1:4000
        > GET http://api.example/v1/models HTTP/1.1
        > Host: 127.0.0.1:4000
    """
    request = exchange.request
    scheme, separator, rest = request.target.partition(b"://")
    host = request.fields.one("host")
    if not separator or not scheme.isalpha() or host is None:
        return
    target = re.split(rb"[/?#]", rest, maxsplit=1)[0]
    if _host_and_port(target) == _host_and_port(host):
        return
    upstream = exchange.upstream if exchange.recorder == "mitmproxy" else None
    if upstream is not None and _host_and_port(host) == _host_and_port(upstream.encode()):
        return
    yield (
        request.fields.lines("host")[0],
        f"the target names {shown(b'host', target)}, Host names {shown(b'host', host)}",
    )


@rule("RFC 9113 §8.3.1", "RFC 7540 §8.1.2.3", severity=ERROR, fields=("host",))
def authority_differs_from_host(request: Request) -> Hits:
    """The HTTP/2 :authority differs from the Host header.

    A hop that downgrades to HTTP/1 keeps one of the two and the request changes its destination. A program
    that sets Host by hand, to reach a gateway under another name, and whose library speaks HTTP/2, sends
    this; mitmproxy answers it with GOAWAY and records nothing.

    > Clients MUST NOT generate a request with a Host header field that differs from the ":authority"
    > pseudo-header field.

    Bad::

        @ authority: api.example
        > GET /v1/models HTTP/2.0
        > host: admin.example

    Good::

        @ authority: api.example:443
        > GET /v1/models HTTP/2.0
        > host: api.example
    """
    if request.is_http1 or not request.authority:
        return
    for line in request.fields.lines("host"):
        if _host_and_port(line.value) != _host_and_port(request.authority):
            yield (
                line,
                f":authority is {shown(b'host', request.authority)}, Host {shown(line.name, line.value)}",
            )


@rule("RFC 9112 §3.2", "RFC 7230 §5.4", severity=ERROR)
def bad_host_accepted(exchange: Exchange) -> Hits:
    """A missing, repeated or malformed Host was not answered with 400.

    The server guesses a destination, which lets an attacker choose it. uvicorn with httptools and granian
    serve requests without Host and with two; node serves the one with two, haproxy, squid, Varnish, h2o,
    sglang-router and smg pass on the one without. Any status of 400 and above counts as a refusal: a 401 or
    404 says too little about which host was meant.

    > A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a
    > Host header field and to any request message that contains more than one Host header field line or a
    > Host header field with an invalid field value.

    Bad, also host-missing::

        > GET /v1/models HTTP/1.1
        > Accept: application/json
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    request, response = exchange.request, exchange.response
    if response is None or not 100 <= response.status < 400 or not request.is_http1 or not request.verbatim:
        return
    if (how := _bad_host(request)) is not None:
        yield response, f"{response.status} for a request with {how}"


@rule("RFC 9110 §7.2", "RFC 9110 §7.4", "RFC 7230 §5.4", severity=WARNING)
def loopback_host_sent_to_provider(exchange: Exchange) -> Hits:
    """The Host header names a loopback or private address although the upstream is a public provider.

    A proxy kept the client's Host: providers answer 403 or 404 and internal names leak. In mitmproxy it is
    ``keep_host_header``, or ``reverse:tcp`` and ``reverse:tls``, which pass it through; in nginx a
    ``proxy_set_header Host $host`` that was meant for a server of one's own.

    > The "Host" header field in a request provides the host and port information from the target URI,
    > enabling the origin server to distinguish among resources while servicing requests for multiple host
    > names.

    Bad::

        @ upstream: api.openai.com:443
        > GET /v1/models HTTP/1.1
        > Host: 127.0.0.1:8080

    Good::

        @ upstream: api.openai.com:443
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com

        @ upstream: 127.0.0.1:4000
        > GET /v1/models HTTP/1.1
        > Host: localhost:4000
    """
    upstream = _host_and_port((exchange.upstream or "").encode())[0]
    if not _is_provider(upstream):
        return
    request = exchange.request
    said = request.authority or request.fields.one("host") or b""
    name = _host_and_port(said)[0]
    if name and _is_internal(name):
        where = request if request.authority else request.fields.lines("host")[0]
        yield where, f"Host {shown(b'host', said)} was sent to {quoted(upstream.encode('latin-1'))}"


def _is_provider(host: str) -> bool:
    # No name in the DNS is longer than 253 characters; what is longer is not remembered either.
    return len(host) <= 253 and _matches_provider(host)


@lru_cache(maxsize=1024)  # a recording asks a few hosts, over and over
def _matches_provider(host: str) -> bool:
    return any(fnmatchcase(host, provider) for provider in PROVIDERS)


def _is_internal(name: str) -> bool:
    """Whether a host's name means something only on this machine or in this network."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # A name of one label is a container's or comes from a search list.
        return "." not in name or name.endswith(_INTERNAL_NAMES)
    return address.is_private or address.is_loopback or address.is_link_local


@rule(
    "RFC 9110 §7.6",
    "RFC 9110 §7.6.3",
    "RFC 7230 §5.7",
    severity=ERROR,
    fix="strip-hop-headers",
    fields=("via",),
)
def via_loop(request: Request) -> Hits:
    """The same pseudonym appears twice in Via.

    A gateway is configured as its own upstream: requests circle until a timeout, or until the header section
    is too large. Names that a product gives itself everywhere (Caddy, varnish, google) stand for any number
    of installations, so of these it takes more than four.

    > An intermediary MUST NOT forward a message to itself unless it is protected from an infinite request
    > loop.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Via: 1.1 gateway.example, 1.1 router.example
        > Via: 1.1 gateway.example

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Via: 1.1 Caddy, 1.1 Caddy, 1.1 gateway.example (one, two), 2.0 router.example
    """
    for pseudonym, times in rounds(request):
        yield (
            request.fields.lines("via")[-1],
            f"Via names {quoted(mask_text(pseudonym))} {times} times: the request went round",
        )


def rounds(request: Request) -> Iterator[tuple[bytes, int]]:
    """The pseudonyms in Via that say that the request came by the same place before, with how often."""
    seen = Counter(
        parts[1].lower() for value in request.fields.values("via") if len(parts := value.split()) > 1
    )
    for pseudonym, times in seen.items():
        product = pseudonym.partition(b"/")[0].decode("latin-1")
        if times > (SHARED_LIMIT if product in SHARED_PSEUDONYMS else 1):
            yield pseudonym, times


@rule(
    "sgl-project/sglang#19832", "vllm-project/vllm#42330", "PrimeIntellect-ai/prime-rl#2708", severity=WARNING
)
def internal_routing_header_from_client(request: Request, policy: Policy) -> Hits:
    """A client request carries a header that only a trusted gateway may set.

    Routers obey it: x-smg-target-worker, x-data-parallel-rank, x-gateway-destination-endpoint or
    x-prefiller-host-port let a client choose the worker, past load balancing, quotas and tenancy. vLLM and
    SGLang honour x-data-parallel-rank from anybody; prime-rl's client went on sending it to servers of one
    rank, and vLLM answered "data_parallel_rank N is out of range".

    Behind the gateway these headers are expected: ``behind-gateway = true`` in ``[policy.routing]`` says that
    the traffic was recorded there, and ``internal`` which headers they are.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: router.example
        > Content-Length: 0
        > X-SMG-Target-Worker: 3

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: router.example
        > Content-Length: 0
        > X-SMG-Routing-Key: conversation-1
    """
    internal = INTERNAL_ROUTING if policy is None else frozenset(policy.routing.internal)
    if policy is not None and policy.routing.behind_gateway:
        return
    for name in sorted(request.fields.names & internal):
        for line in request.fields.lines(name):
            yield line, f"{line.shown_name} {shown(line.name, line.value)} chooses the worker"


@rule("RFC 9110 §7.4", "RFC 9110 §4.3.4", severity=WARNING, fields=("host",))
def server_name_differs_from_host(exchange: Exchange) -> Hits:
    """The TLS server name differs from the Host header.

    Front ends that serve many names choose certificate and tenant by the one and the route by the other: the
    answer is 421, or comes from somebody else's routes. A client whose base URL has an address for a host and that
    sets Host by hand does this, and so does a gateway that forwards its client's Host to an upstream of another
    name.

    HTTP/2 is left out: there one connection may be for all names in its certificate (RFC 9113 §9.1.1). So is what
    went through mitmproxy in reverse mode, which writes Host itself.

    > Unless the connection is from a trusted gateway, an origin server MUST reject a request if any scheme-specific
    > requirements for the target URI are not met.

    Bad::

        @ scheme: https
        @ server-name: gateway.example
        > GET /v1/models HTTP/1.1
        > Host: api.example

    Good::

        @ scheme: https
        @ server-name: api.example
        > GET /v1/models HTTP/1.1
        > Host: API.example:443
    """
    request = (exchange.received or exchange).request
    name, host = exchange.server_name, request.fields.one("host")
    if (
        not name or not host or not request.target.startswith((b"/", b"*"))
    ):  # an absolute target is for a proxy
        return
    if request.is_http1 and _host_and_port(host)[0] != _host_and_port(name.encode())[0]:
        line = exchange.request.fields.lines("host")
        asked = f"TLS asked for {quoted(mask_text(name.encode()))}"
        yield (line[0] if line else exchange.request), f"Host {shown(b'host', host)}, {asked}"


@rule("RFC 9113 §8.3.1", "RFC 9110 §4.3", "RFC 7540 §8.1.2.3", severity=WARNING)
def scheme_mismatch(exchange: Exchange) -> Hits:
    """The request names the http scheme on a TLS connection.

    Redirects and absolute links are built with the wrong scheme, cookies lose Secure, and strict servers (Envoy)
    refuse the request. A gateway that ends TLS and copies ``:scheme`` from the connection behind it sends this.

    > The ":scheme" pseudo-header field includes the scheme portion of the request target.

    Bad::

        @ scheme: http
        @ server-name: api.example
        @ authority: api.example
        > GET /v1/models HTTP/2.0

    Good::

        @ scheme: https
        @ server-name: api.example
        @ authority: api.example
        > GET /v1/models HTTP/2.0
    """
    request, name = exchange.request, exchange.server_name
    host = request.authority or request.fields.one("host")
    # A proxy is asked over TLS of its own for http targets: then the name is the proxy's.
    if not name or not host or _host_and_port(host)[0] != _host_and_port(name.encode())[0]:
        return
    if exchange.scheme.lower() == b"http":
        yield request, f"scheme http on a TLS connection to {quoted(mask_text(name.encode()))}"


# received-protocol = [ protocol-name "/" ] protocol-version; received-by = pseudonym [ ":" port ]
# (RFC 9110 §7.6.3). Kong writes "1.1 kong/3.8.0", which is no token, and Akamai "1.1 akamai.net(ghost) (AkamaiGHost)":
# neither hides version or name.
_VIA = re.compile(
    rb"(?:%(token)s/)?%(token)s[ \t]+(?:%(token)s(?:/%(token)s)?|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?"
    % {b"token": TOKEN.pattern},
)


@rule("RFC 9110 §7.6.3", "RFC 7230 §5.7.1", severity=WARNING, fields=("via",))
def via_malformed(message: Message) -> Hits:
    """The Via header is malformed.

    Loop detection and protocol diagnosis stop working: a hop looks for its own name in the second word, and what
    is not in its place is not found. ``Via: gateway`` lacks the version, as does what Kong wrote before 3.8
    (``Via: kong/3.4.2``); a name with a space is two words.

    > Via = #( received-protocol RWS received-by [ RWS comment ] )

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Via: gateway

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Via: 1.1 gateway:4000 (LiteLLM, 1.106), HTTP/2 edge.example
    """
    for line in message.fields.lines("via"):
        for member in split_members(line.value):
            found = _VIA.match(hop := member.strip(b" \t"))
            if hop and (found is None or not _is_comments(hop[found.end() :])):
                yield line, f"Via {quoted(mask_text(hop))} is not a version, a name and maybe a comment"
                break


def _is_comments(text: bytes) -> bool:
    """Whether a text is nothing but comments with space around them (RFC 9110 §5.6.5)."""
    depth, at = 0, 0
    while at < len(text):
        octet = text[at : at + 1]
        at += 2 if octet == b"\\" else 1
        depth += (octet == b"(") - (octet == b")")
        if depth < 0 or (depth == 0 and octet not in b" \t)"):
            return False
    return depth == 0


# node = nodename [ ":" node-port ]; nodename = IPv4address / "[" IPv6address "]" / "unknown" / obfnode
# (RFC 7239 §6)
_NODE = re.compile(
    rb"(?P<name>[0-9.]+|\[[0-9A-Fa-f:.]+\]|[uU]nknown|_[A-Za-z0-9._-]+)(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
)
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")


def _is_node(value: bytes) -> bool:
    found = _NODE.fullmatch(value)
    return found is not None and (found["name"][:1] in b"_uU" or _is_address(found["name"].strip(b"[]")))


def _is_address(text: bytes) -> bool:
    try:
        ipaddress.ip_address(text.decode("latin-1"))
    except ValueError:
        return False
    return True


_FORWARDED: Mapping[bytes, Callable[[bytes], object]] = {
    b"for": _is_node, b"by": _is_node, b"host": HOST.fullmatch, b"proto": _SCHEME.fullmatch,
}  # fmt: skip


@rule("RFC 7239 §4", severity=WARNING, fields=("forwarded",))
def forwarded_malformed(request: Request) -> Hits:
    """The Forwarded header is malformed.

    Limits by address and logs use the wrong client, or the address of the proxy for everybody. An IPv6 address, or
    any address with a port, has to be quoted, with the IPv6 address in brackets: that is what most get wrong.

    > Note that as ":" and "[]" are not valid characters in "token", IPv6 addresses are written as "quoted-string".

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Forwarded: for=192.0.2.43:4711;proto=https

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Forwarded: for="192.0.2.43:4711";proto=https, for="[2001:db8::1]"
    """
    for line in request.fields.lines("forwarded"):
        for element in split_members(line.value):
            if (why := _wrong_element(element.strip(b" \t"))) is not None:
                yield line, f"Forwarded {shown(line.name, line.value)}: {why}"
                break


def _wrong_element(element: bytes) -> str | None:
    seen = set()
    for pair in filter(None, parameters(element)):  # empty ones are allowed
        found = PARAMETER.fullmatch(pair)
        if found is None:
            return f"{quoted(mask_text(pair))} is no pair of a name and a token or quoted string"
        name, value = found["name"].lower(), found["value"]
        if value.startswith(b'"'):
            value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
        if name in seen:
            return f"{quoted(name)} stands twice in one element"
        seen.add(name)
        if name in _FORWARDED and not _FORWARDED[name](value):
            return f"{quoted(mask_text(pair))} names no {'host' if name == b'host' else _KINDS[name]}"
    return None


_KINDS = {b"for": "node", b"by": "node", b"proto": "scheme"}

_X_FORWARDED: Mapping[str, tuple[Callable[[bytes], object], str]] = {
    "x-forwarded-for": (lambda value: _is_address(value) or _is_node(value), "an address"),
    "x-forwarded-host": (HOST.fullmatch, "a host"),
    "x-forwarded-proto": (re.compile(rb"(?i)https?|wss?").fullmatch, "http or https"),
    "x-forwarded-port": (re.compile(rb"[0-9]{1,5}").fullmatch, "a port"),
}
_PORT_OF_THE_OTHER = {b"http": b"443", b"https": b"80"}


@rule("RFC 7239 §7.4", severity=NOTE, fields=_X_FORWARDED)
def x_forwarded_header_malformed(request: Request) -> Hits:
    """An X-Forwarded header is malformed or the set contradicts itself.

    Servers build links and limits from a wrong client address, host or scheme: uvicorn takes what
    ``X-Forwarded-For`` says of a trusted proxy as it is, and Host checks fail on an ``X-Forwarded-Host`` with a
    scheme in it. Nobody has standardised these fields; what is reported is what nobody could mean.

    > If a proxy gets incoming requests with X-Forwarded-* header fields present, it is encouraged to convert these
    > into the header field described in this document, if it can be done in a sensible way.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Forwarded-Proto: http
        > X-Forwarded-Port: 443

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Forwarded-For: 192.0.2.43, 2001:db8::1, unknown
        > X-Forwarded-Proto: https
        > X-Forwarded-Port: 443
    """
    for name, (fits, what) in _X_FORWARDED.items():
        for line in request.fields.lines(name):
            wrong = next((value for value in _members(line) if not fits(value)), None)
            if wrong is not None:
                yield line, f"{line.shown_name} {quoted(mask_text(wrong))} is not {what}"
    scheme, port = (request.fields.one(f"x-forwarded-{name}") for name in ("proto", "port"))
    if scheme is None or port is None:
        return
    if port == _PORT_OF_THE_OTHER.get(scheme.lower()):
        line = request.fields.lines("x-forwarded-port")[0]
        yield line, f"X-Forwarded-Port {shown(line.name, port)} with X-Forwarded-Proto {quoted(scheme)}"


def _members(line: FieldLine) -> list[bytes]:
    return [value for part in line.value.split(b",") if (value := part.strip(b" \t"))]
