"""Keep on one hop what is meant for one hop.

A gateway that copies Connection, Keep-Alive or a CDN's headers from one side to the other misdescribes the
other connection: clients close or hang, Cloudflare answers 403, providers learn who the user is. This addon
stands for the hop that should have kept them.

- Connection and every header it names, Keep-Alive, Proxy-Connection, Proxy-Authenticate,
  Proxy-Authorization, TE, Trailer and Upgrade are dropped, in requests and in responses. mitmproxy's own two
  connections go on by what each peer said: a client that asks for close gets it.
- A WebSocket handshake keeps Upgrade and `Connection: Upgrade`; so do 101 and 426 responses. A response that
  only the close ends keeps `Connection: close`, since then it ends this hop's connection as well. A 407
  keeps Proxy-Authenticate.
- Transfer-Encoding stays: mitmproxy frames what it sends by it. In HTTP/2, where it is malformed, it is
  dropped, and `TE: trailers`, which gRPC needs, stays.
- Headers that must reach the other end (Authorization, Content-Type, Cookie...) stay although Connection names
  them: otherwise a client could take away what an inner hop relies on.
- A request with content that came over HTTP/2 without Content-Length gets one where the upstream speaks HTTP/1.1:
  mitmproxy would send the content without any framing, and the upstream take it for the next request. Requests
  that mitmproxy streams are left as they are.
- Sec-WebSocket headers are dropped from requests that open no WebSocket.
- `from-requests` is dropped from every request: what only a trusted gateway may set, by profile. Behind that
  gateway (`behind-gateway` in `[policy.routing]`) the headers it sets stay.
- `from-requests-to-providers` is dropped where the upstream is one of `[policy.routing]`'s `providers`: what
  CDNs add, the client's address, headers addressed to a gateway, cookies. The real upstream decides, not Host.
- A request that has been through the same gateway twice (Via) goes round in circles; it is answered with 508.

Proxy-Authorization and cookies are secrets: where this addon fails, the message is answered with 502.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import lru_cache

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.known import END_TO_END, HOP_BY_HOP, named
from conformance.message import FieldLine, Fields, Message, Request, Response
from conformance.policy import Routing
from conformance.policy import StripHopHeaders as Policy
from conformance.rules.handshake import WEBSOCKET_FIELDS
from conformance.rules.leaks import is_provider
from conformance.rules.routing import rounds
from conformance.secret import mask_text, quoted
from conformance.websocket import is_handshake

WEBSOCKET = frozenset(WEBSOCKET_FIELDS)
STAY = END_TO_END | WEBSOCKET
"""What is not dropped because Connection names it."""

# RFC 9110 §15.2.2, 15.5.22, 15.5.8: these responses are about the connection they come on.
KEEPS = {101: {"upgrade"}, 426: {"upgrade"}, 407: {"proxy-authenticate"}}


def strip(
    message: Message, policy: Policy, routing: Routing, host: str | None = None
) -> Iterator[mitm.Change]:
    """The lines to drop, and Connection as it may stay; ``host``: the upstream of a request.

    Raises Refused for a request that goes round.
    """
    if isinstance(message, Request):
        for pseudonym, times in rounds(message) if "via" in message.fields else ():
            raise mitm.Refused(
                f"Via names {quoted(mask_text(pseudonym))} {times} times: the request goes round", 508
            )
    reasons = _reasons(message, policy, routing, host)
    if not reasons or reasons.keys() <= (stays := _stays(message)):
        return
    place, option = _option(message, stays)
    for at, name in enumerate(message.fields.line_keys):
        line = message.fields[at]
        if at == place:
            if line.value != option:
                why = f"of {quoted(mask_text(line.value))} only {quoted(option)} holds for the next hop too"
                yield mitm.Change("set", at, FieldLine(line.name, option), f"{line.shown_name}: {why}")
        elif name in reasons and name not in stays:
            yield mitm.Change("drop", at, None, f"{line.shown_name} dropped: {reasons[name]}")


def _reasons(message: Message, policy: Policy, routing: Routing, host: str | None) -> dict[str, str]:
    """Why headers of these names do not pass; the names that may occur, the gravest reason."""
    names = message.fields.names
    found: dict[str, str] = {}
    if isinstance(message, Request):
        to_provider = host is not None and is_provider(host.lower(), routing.providers)
        found |= _unwanted(
            names,
            policy.leave,
            policy.from_requests,
            routing.internal if routing.behind_gateway else (),
            policy.from_requests_to_providers if to_provider else (),
        )
        # Over HTTP/2 CONNECT opens a WebSocket (RFC 8441 §5).
        if not names.isdisjoint(WEBSOCKET) and not is_handshake(message) and message.method != b"CONNECT":
            found |= dict.fromkeys(names & WEBSOCKET, "the request opens no WebSocket")
    if "connection" in names:
        options = {value.lower().decode("latin-1") for value in message.fields.values("connection")}
        found |= dict.fromkeys((names & options) - STAY, "Connection names it (RFC 9110 §7.6.1)")
    if not names.isdisjoint(HOP_BY_HOP):
        found |= dict.fromkeys(names & HOP_BY_HOP, "it belongs to one connection (RFC 9110 §7.6.1)")
    return found


def _stays(message: Message) -> Set[str]:
    """Which of the headers of one connection this message keeps; Connection itself not among them."""
    if not message.is_http1:
        values = message.fields.values("te")
        return {"te"} if values and all(value.lower() == b"trailers" for value in values) else frozenset()
    if isinstance(message, Response):
        return {"transfer-encoding"} | KEEPS.get(message.status, set())
    if isinstance(message, Request) and is_handshake(message):
        return {"transfer-encoding", "upgrade"}
    return {"transfer-encoding"}


def _option(message: Message, stays: Set[str]) -> tuple[int, bytes]:
    """The connection option that holds for the next hop too, and the first line that has it; (-1, b"")."""
    kept = b"upgrade" if "upgrade" in stays else b"close" if _only_close_ends(message) else b""
    if kept and "connection" in message.fields:
        for at, line in enumerate(message.fields):
            for option in line.value.split(b",") if line.key == "connection" else ():
                if option.strip(b" \t").lower() == kept:
                    return at, option.strip(b" \t")
    return -1, b""


def _only_close_ends(message: Message) -> bool:
    """Whether it is a response with content of no announced length (RFC 9112 §6.3)."""
    if not isinstance(message, Response) or message.status < 200 or message.status in (204, 304):
        return False
    announced = "content-length" in message.fields or "transfer-encoding" in message.fields
    return message.is_http1 and not announced


@lru_cache(maxsize=256)  # agents send the same few sets of names, over and over
def _unwanted(
    names: frozenset[str],
    leave: tuple[str, ...],
    always: tuple[str, ...],
    expected: tuple[str, ...],
    to_providers: tuple[str, ...],
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        if named(leave).fullmatch(name):
            continue
        if named(always).fullmatch(name) and name not in expected:
            found[name] = "only a trusted hop may set it (from-requests)"
        elif named(to_providers).fullmatch(name):
            found[name] = "it is not meant for a provider (from-requests-to-providers)"
    return found


def framed(request: Request, length: int) -> Iterator[mitm.Change]:
    """Content-Length for an HTTP/2 request that HTTP/1.1 would have no framing for; ``length`` in octets."""
    if length and not request.is_http1 and "content-length" not in request.fields:
        why = f"HTTP/2 needs none, HTTP/1.1 does: the content has {length} octets (RFC 9112 §6.3)"
        yield mitm.Change("add", -1, FieldLine(b"content-length", b"%d" % length), why)


def speaks_http1(flow: http.HTTPFlow) -> bool:
    """Whether the upstream is known to speak HTTP/1.1; a connection that is not open yet says nothing."""
    return flow.request.scheme == "http" or flow.server_conn.alpn in (b"", b"http/1.1")


class StripHopHeaders:
    """The wiring."""

    name = "strip-hop-headers"

    def __init__(self) -> None:
        self.policy = Policy()
        self.routing = Routing()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "strip_hop_headers")
        mitm.add_options(loader, Routing, "routing")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "strip_hop_headers")
        self.routing = mitm.read_options(ctx.options, Routing, "routing")

    def running(self) -> None:
        mitm.refuse_unknown_options("strip_hop_headers")
        mitm.refuse_unknown_options("routing")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return strip(mitm.request_head(flow, fields), self.policy, self.routing, flow.request.host)

        mitm.rewrite(flow, "request", self.name, compute, fail_closed=True)

    def request(self, flow: http.HTTPFlow) -> None:
        # A streamed request's head is on the wire by now: a line would be recorded and never sent.
        if not flow.request.is_http11 and speaks_http1(flow) and not flow.request.stream:
            content = flow.request.raw_content or b""
            mitm.rewrite(
                flow,
                "request",
                self.name,
                lambda fields: framed(mitm.request_head(flow, fields), len(content)),
                fail_closed=True,
            )

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return strip(mitm.response_head(flow, fields), self.policy, self.routing)

        mitm.rewrite(flow, "response", self.name, compute, fail_closed=True)


addons = [StripHopHeaders()]
