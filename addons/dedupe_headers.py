"""Leave one line of each header that may appear once.

Two servers behind each other that both write Server and Date, or a client that holds `User-Agent` and
`user-agent` in one dictionary, are enough to make aiohttp, node and browsers refuse a message. This addon
keeps one line and drops the others, in requests and in responses, before the content moves: event streams
are not held up.

- A header that may appear once (RFC 9110 and its kin, request ids, what `once` adds): the first line is
  kept, or the last where `keep-last` says so: a hop writes its own Date and Content-Type and copies its
  upstream's behind them. Names that differ in case are the same header.
- Any other header whose name is spelled in two ways: the lines with the first spelling are kept. Two
  writers with a case-sensitive map are the known cause, and routers read the first.
- Content-Length beside a Transfer-Encoding that ends in chunked is dropped (RFC 9112 §6.3). Equal
  Content-Length lines become one.
- Content-Length lines that differ are never chosen from: the message is refused, with 400 to a request and
  502 in place of a response (RFC 9112 §6.3). Whichever line is taken, somebody else takes the other one.
- Host, Authorization, Proxy-Authorization and API keys that differ are left as they are: which one is right
  is not this addon's to know. Equal lines become one.
- List headers, Cookie and Set-Cookie, trailers and all other headers are left alone; nothing is ever joined.

mitmproxy itself refuses repeated Content-Length, and Content-Length beside Transfer-Encoding unless
`validate_inbound_headers` is off.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.known import API_KEYS, CREDENTIALS, REPEATABLE, REQUEST_IDS, SESSION_HEADERS, SINGLETONS
from conformance.message import FieldLine, Fields
from conformance.policy import DedupeHeaders as Policy
from conformance.secret import shown

ONCE = (
    SINGLETONS
    | REQUEST_IDS
    | API_KEYS
    | SESSION_HEADERS  # routers read the first line, other hops the last, and a joined value is none at all
    | {
        # One value each; browsers join the lines and then know none of the values (Fetch §3.6, HTML §7.1).
        "x-content-type-options",
        "cross-origin-opener-policy",
        "cross-origin-embedder-policy",
        "cross-origin-resource-policy",
        "x-xss-protection",
    }
)
FRAMING = frozenset({"transfer-encoding", "content-length"})
NOT_CHOSEN = CREDENTIALS | {"proxy-authorization"}
"""Whoever chooses one of two credentials decides who the client is."""


def dedupe(fields: Fields, policy: Policy) -> Iterator[mitm.Change]:
    """The lines to drop. Raises Refused for Content-Length lines that differ."""
    if len(fields) == len(fields.names) and not fields.names >= FRAMING:
        return
    places = {id(line): at for at, line in enumerate(fields)}
    for line, why in _dropped(fields, policy):
        yield mitm.Change("drop", places[id(line)], None, why)


def _dropped(fields: Fields, policy: Policy) -> Iterator[tuple[FieldLine, str]]:
    once, keep_last, leave = ONCE | set(policy.once), set(policy.keep_last), set(policy.leave)
    for name, lines in fields.by_name.items():
        if name in leave or name in REPEATABLE:
            continue
        if name == "content-length":
            yield from _content_lengths(fields, lines)
        elif len(lines) > 1:
            yield from _repeats(name, lines, once, keep_last)


def _repeats(
    name: str, lines: tuple[FieldLine, ...], once: Set[str], keep_last: Set[str]
) -> Iterator[tuple[FieldLine, str]]:
    kept = lines[-1] if name in keep_last else lines[0]
    if (name == "host" or name in NOT_CHOSEN) and any(line.value != kept.value for line in lines):
        return
    for line in lines:
        if line is not kept and (name in once or line.name != kept.name):
            reason = "may appear once" if name in once else "is spelled in two ways"
            yield line, f"{_quoted(line)} dropped for {_quoted(kept)}: the header {reason}"


def _content_lengths(fields: Fields, lines: tuple[FieldLine, ...]) -> Iterator[tuple[FieldLine, str]]:
    codings = fields.values("transfer-encoding")
    if codings and codings[-1].lower() == b"chunked":
        for line in lines:
            yield line, f"{_quoted(line)} dropped: Transfer-Encoding overrides it (RFC 9112 §6.3)"
    elif any(line.value != lines[0].value for line in lines):
        values = " and ".join(shown(line.name, line.value) for line in lines)
        raise mitm.Refused(
            f"Content-Length is given as {values}: nobody can tell where the message ends", 400
        )
    else:
        for line in lines[1:]:
            yield line, f"{_quoted(line)} dropped: it repeats the same length"


def _quoted(line: FieldLine) -> str:
    return f"{line.shown_name} {shown(line.name, line.value)}"


class DedupeHeaders:
    """The wiring."""

    name = "dedupe-headers"

    def __init__(self) -> None:
        self.policy = Policy()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "dedupe_headers")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "dedupe_headers")

    def running(self) -> None:
        mitm.refuse_unknown_options("dedupe_headers")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        mitm.rewrite(flow, "request", self.name, lambda fields: dedupe(fields, self.policy))

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        mitm.rewrite(flow, "response", self.name, lambda fields: dedupe(fields, self.policy))


addons = [DedupeHeaders()]
