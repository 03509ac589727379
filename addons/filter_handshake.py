"""Leave in a WebSocket handshake what a WebSocket handshake may carry.

A bridge that opens a WebSocket for an HTTP request and copies the request's headers is refused, or closed
before the first event: Codex's upstream closes it, and uvicorn, which goes by the last Connection line, serves
a handshake with a copied `Connection: keep-alive` behind its own as a plain GET. This addon takes out of
handshakes what `drop` names, which is what belongs to a request with content.

- `keep` is stronger than `drop`; with `drop = ["*"]` it is the list of all that may pass.
- Host, Upgrade, Connection, Sec-WebSocket-Key and Sec-WebSocket-Version always stay. So do extensions and
  subprotocols unless `drop-extensions` or `drop-subprotocols` is set: only the offer is ever taken back, since
  an answer that is taken back leaves a server that compresses and a client that does not know it.
- One Connection line is left, and it says Upgrade; other headers that Connection names are dropped.
- Sec-WebSocket headers that may appear once do: the first line is the bridge's own, those behind are copies.
- Accept is dropped where it asks for a media type, which a WebSocket has not; `*/*` is what aiohttp sends.
- A 101 response loses Content-Length, Content-Type and other headers of content, for which Cloudflare refuses
  it. All other responses are left alone.

A handshake that announces content keeps Content-Length and Transfer-Encoding, or its content would be taken
for frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.known import END_TO_END, named
from conformance.message import FieldLine, Fields, Message, Request, Response
from conformance.policy import FilterHandshake as Policy
from conformance.rules.handshake import ONCE_IN_REQUEST, ONCE_IN_RESPONSE
from conformance.secret import quoted, shown
from conformance.websocket import is_handshake

OWN = frozenset({"host", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-accept"})
"""What makes a handshake one (RFC 6455 §4.1, 4.2.2)."""
OFFERS = {"sec-websocket-extensions": "drop_extensions", "sec-websocket-protocol": "drop_subprotocols"}
FRAMING = frozenset({"content-length", "transfer-encoding"})
CONTENT = frozenset(
    {
        "content-type", "content-length", "content-encoding", "content-language", "content-location",
        "content-range", "content-disposition", "content-digest", "transfer-encoding", "trailer",
    }
)  # fmt: skip
"""What a response without content has no use for (RFC 9110 §15.2, RFC 9112 §6.1)."""


def filtered(message: Message, policy: Policy) -> Iterator[mitm.Change]:
    """The changes to a handshake's request, or to the 101 that answers it; none to other messages."""
    if isinstance(message, Request) and is_handshake(message):
        once, why_not = ONCE_IN_REQUEST, _in_request(message, policy)
    elif isinstance(message, Response) and message.status == 101:
        once, why_not = ONCE_IN_RESPONSE, _in_response
    else:
        return
    place, option = _upgrade(message)
    options = {value.lower().decode("latin-1") for value in message.fields.values("connection")}
    seen: set[str] = set()
    for at, line in enumerate(message.fields):
        name = line.key
        if name == "connection":
            if place >= 0 and at != place:
                yield _drop(at, line, f"another line says {quoted(option)}, and some servers read only one")
            elif at == place and line.value != option:
                why = f"{_quoted(line)} is {quoted(option)} in a handshake"
                yield mitm.Change("set", at, FieldLine(line.name, option), why)
        elif name in seen and name in once:
            yield _drop(at, line, f"{once[name]} allows one, and the first is the sender's own")
        elif name not in OWN and (reason := why_not(line)) is not None:
            yield _drop(at, line, reason)
        elif name in options and name not in OWN | END_TO_END | OFFERS.keys():
            yield _drop(at, line, "Connection names it (RFC 9110 §7.6.1)")
        seen.add(name)


def _quoted(line: FieldLine) -> str:
    return f"{line.shown_name} {shown(line.name, line.value)}"


def _drop(at: int, line: FieldLine, why: str) -> mitm.Change:
    return mitm.Change("drop", at, None, f"{_quoted(line)} dropped: {why}")


def _in_request(request: Request, policy: Policy) -> Callable[[FieldLine], str | None]:
    """Tells why a handshake may not carry a line; None if it may."""
    drop, keep = named(policy.drop), named(policy.keep)
    length = request.fields.one("content-length")
    has_content = "transfer-encoding" in request.fields or length not in (None, b"0")

    def why_not(line: FieldLine) -> str | None:
        name = line.key
        if name in OFFERS:
            return f"{OFFERS[name]} is set" if getattr(policy, OFFERS[name]) else None
        if keep.fullmatch(name) or (name in FRAMING and has_content):
            return None
        if name == "accept" and line.value != b"*/*":
            return "a WebSocket has no media type"
        return "it does not belong in a WebSocket handshake" if drop.fullmatch(name) else None

    return why_not


def _in_response(line: FieldLine) -> str | None:
    return "a 101 has no content (RFC 9110 §15.2)" if line.key in CONTENT else None


def _upgrade(message: Message) -> tuple[int, bytes]:
    """The first Connection line that says upgrade, and how it spells it; (-1, b"") if none does."""
    for at, line in enumerate(message.fields):
        for option in line.value.split(b",") if line.key == "connection" else ():
            if option.strip(b" \t").lower() == b"upgrade":
                return at, option.strip(b" \t")
    return -1, b""


class FilterHandshake:
    """The wiring."""

    name = "filter-handshake"

    def __init__(self) -> None:
        self.policy = Policy()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "filter_handshake")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "filter_handshake")

    def running(self) -> None:
        mitm.refuse_unknown_options("filter_handshake")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return filtered(mitm.request_head(flow, fields), self.policy)

        mitm.rewrite(flow, "request", self.name, compute)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return filtered(mitm.response_head(flow, fields), self.policy)

        mitm.rewrite(flow, "response", self.name, compute)


addons = [FilterHandshake()]
