"""Run all addons in their order, or none.

The order, which is also the order of their hooks:

1. dedupe-headers, so that whatever comes after sees one line for each header that may appear once;
2. strip-hop-headers, so that nothing of one connection is taken for the other's;
3. filter-handshake, for what is left in a WebSocket handshake;
4. inject-session, while credentials are the caller's own: conversations of two callers are never one;
5. pin-affinity, which goes by the session's id, and sees tokens before they are dropped from responses;
6. inject-auth, when nothing is dropped any more and the callers are known by what they sent;
7. normalize-betas, which goes by the credential that is sent, and by the content as inject-session leaves it;
8. allow-response-headers, before those that add headers to responses, so that it judges only the upstream's;
9. map-status, which adds X-Upstream-Status and may make a 503 of something else;
10. tame-retries, so that it sees the status that the client gets;
11. stream-events, last, so that it goes by the Content-Type that is really sent.

The suite tests itself and ends mitmproxy with exit code 1 where it cannot keep what it promises: an addon
that does not load, a setting that cannot be used, an option nobody knows, or an option of mitmproxy that
works against the addons:

- `modify_headers` and `upstream_auth` run after the addons and undo what they did;
- `stickyauth` copies one client's credentials into the requests of others to the same host;
- `stream_large_bodies` sends a request's head before its content was seen, and headers that are derived from
  the content would be in the recording and not on the wire.

While mitmproxy runs, such an option is refused and the old value stays.

An addon that fails on a message fails alone: that is logged as an error, and the others do their part.

To mitmproxy the suite is one addon: it would look at each of a dozen for each of the dozen events of a request.

What the addons have made of a request's head is remembered, for the next request with the same head, of which only
what is new each time (Content-Length, request ids) may differ: an agent sends the same one over and over. It is
remembered in memory only, with its credentials, up to 256 heads. A head with which anything is wrong that may not be so
the next time (an addon failed, the message was refused) is not remembered.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence, Set
from typing import Any, NamedTuple

from mitmproxy import ctx, exceptions, hooks, http
from mitmproxy.addonmanager import Loader, traverse

from conformance import mitm
from conformance.addon import addons as scripts
from conformance.policy import Suite as Policy

logger = logging.getLogger(__name__)

ORDER = (
    "dedupe-headers",
    "strip-hop-headers",
    "filter-handshake",
    "inject-session",
    "pin-affinity",
    "inject-auth",
    "normalize-betas",
    "allow-response-headers",
    "map-status",
    "tame-retries",
    "stream-events",
)
CONFLICTS = ("modify_headers", "stickyauth", "stream_large_bodies", "upstream_auth")
LIFE = ("load", "configure", "running", "done")
"""Hooks that are no messages': their errors end mitmproxy or refuse an option."""


def in_turn(addons: Sequence[Any], event: str) -> Callable[..., Awaitable[None]] | None:
    """One hook that calls those of the addons, if any has it, and logs what they raise.

    mitmproxy leaves out what comes behind an error: one addon's failure would let secrets pass that another
    one strips.
    """
    calls = [(addon.name, hook) for addon in addons if callable(hook := getattr(addon, event, None))]

    async def call(*arguments: object) -> None:
        for name, hook in calls:
            try:
                if (waits := hook(*arguments)) is not None:
                    await waits
            except Exception:
                mitm.failed[name] += 1
                logger.exception("%s: failed in %s", name, event)

    return call if calls else None


class Made(NamedTuple):
    """What the addons have made of a head."""

    lines: list[Any]
    """The field lines; the number of a line that is as it came, and new each time."""
    received: list[Any]
    """The journal's lines as they came in, written in the same way."""
    edits: list[dict[str, Any]]
    """The journal's entries."""
    caller: mitm.Caller | None


class Heads:
    """What the addons made of the heads of requests that came more than once: the latest SIZE that are not long."""

    SIZE, LONGEST = 256, 16_384
    # The framing, and the beginning of a connection: what is decided there may be new each time.
    ODD = frozenset({b"transfer-encoding", b"upgrade", b"sec-websocket-key"})
    UNREAD = frozenset(name.encode() for name in mitm.UNREAD)

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = [part for part in parts if hasattr(part, "requestheaders")]
        self._made: dict[Hashable, Made] = {}
        self._seen: dict[int, None] = {}
        """Digests of heads that came once: most of those that are new each time never come again."""

    def clear(self) -> None:
        """Forget all: the settings have changed."""
        self._made.clear()
        self._seen.clear()

    def key(self, flow: http.HTTPFlow) -> Hashable | None:
        """All that decides what the addons make of the head; None: that is not known."""
        if not mitm.is_on_the_wire(flow) or flow.is_replay or flow.response or mitm.JOURNAL in flow.metadata:
            return None
        besides = [part.besides(flow) for part in self._parts]
        if None in besides:
            return None
        data, unread = flow.request.data, self.UNREAD
        lines = [line[0] if line[0].lower() in unread else line for line in data.headers.fields]
        target = (
            data.method,
            data.scheme,
            data.host,
            data.port,
            data.authority,
            data.path,
            data.http_version,
        )
        return (*lines, target, *besides)

    def recall(self, key: Hashable, flow: http.HTTPFlow) -> bool:
        """Make the same of this head as the last time; False: it is new."""
        made = self._made.get(key)
        if made is None:
            return False
        if made.edits:
            came = flow.request.headers.fields
            flow.metadata[mitm.JOURNAL] = _copied(made.edits)
            received = [list(came[each] if type(each) is int else each) for each in made.received]
            flow.metadata[mitm.RECEIVED] = {"request": received}
            flow.request.headers.fields = tuple(
                [came[each] if type(each) is int else each for each in made.lines]
            )
        if made.caller is not None:
            mitm.callers[flow] = made.caller
        return True

    def remember(self, key: Hashable, flow: http.HTTPFlow, came: tuple[tuple[bytes, bytes], ...]) -> None:
        """Keep what the addons have made of the lines that came, if it is not the first time."""
        seen = hash(key)
        if seen not in self._seen:
            _bound(self._seen, self.SIZE)
            self._seen[seen] = None
            return
        names = [name.lower() for name, _ in came]
        edits = flow.metadata.get(mitm.JOURNAL, [])
        is_odd = len(set(names)) < len(names) or not self.ODD.isdisjoint(names)
        is_new = any(edit["field"].lower() in mitm.UNREAD or edit["op"] == "refuse" for edit in edits)
        size = len(flow.request.data.path) + sum(len(name) + len(value) for name, value in came)
        is_long = size > self.LONGEST
        if is_odd or is_new or is_long or flow.response is not None or flow.error is not None:
            return
        _bound(self._made, self.SIZE)
        places = {came[at]: at for at, name in enumerate(names) if name in self.UNREAD}
        received = flow.metadata.get(mitm.RECEIVED, {}).get("request", [])
        self._made[key] = Made(
            [places.get(line, line) for line in flow.request.headers.fields],
            [
                at if name in self.UNREAD else line
                for at, (name, line) in enumerate(zip(names, received, strict=False))
            ],
            _copied(edits),
            mitm.callers.get(flow),
        )


def _copied(edits: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**edit, "before": [*edit["before"]], "after": [*edit["after"]]} for edit in edits]


def _bound(kept: dict[Any, Any], size: int) -> None:
    if len(kept) >= size:
        del kept[next(iter(kept))]


class Suite:
    """Holds the addons, and has the hooks that they have."""

    name = "suite"

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.policy = Policy()
        self.heads = Heads(())

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "suite")
        self.policy = mitm.early_options(Policy, "suite")  # which addons there are is decided now
        known = scripts()
        self.parts = [
            addon
            for name in ORDER
            if name not in self.policy.without
            for addon in mitm.script_addons(known[name].path)
        ]
        for addon in self.parts:
            addon.load(loader)
        for event in hooks.all_hooks.keys() - LIFE:
            if (hook := in_turn(self.parts, event)) is not None:
                setattr(self, event, self.once(hook) if event == "requestheaders" else hook)

    def once(self, hook: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """The hook for heads of requests, called for those that are new."""
        heads = self.heads = Heads(self.parts)

        async def call(flow: http.HTTPFlow) -> None:
            try:
                key = heads.key(flow)
            except Exception:  # noqa: BLE001  (the addon's hook will fail, too, and say so)
                key = None
            if key is not None and heads.recall(key, flow):
                return
            request, came, failed = flow.request, flow.request.headers.fields, mitm.failed.total()
            await hook(flow)
            if key is not None and flow.request is request and failed == mitm.failed.total():
                heads.remember(key, flow, came)

        return call

    def configure(self, updated: Set[str]) -> None:
        policy = mitm.read_options(ctx.options, Policy, "suite")
        if strangers := set(policy.without) - set(ORDER):
            raise exceptions.OptionsError(f"suite: there is no addon {', '.join(sorted(strangers))}")
        if set(policy.without) != set(self.policy.without):
            raise exceptions.OptionsError("suite: which addons run is decided at the start")
        for option in CONFLICTS:
            if getattr(ctx.options, option) and option not in policy.tolerate:
                raise exceptions.OptionsError(
                    f"suite: {option} works against the addons; unset it, or name it in suite.tolerate"
                )
        self.policy = policy
        self.heads.clear()
        for addon in self.parts:
            addon.configure(updated)

    def running(self) -> None:
        mitm.refuse_unknown_options("suite")
        names = Counter(getattr(addon, "name", "") for addon in traverse(ctx.master.addons.chain))
        for addon in self.parts:
            addon.running()
            if names[addon.name]:
                logger.error("suite: the addon %s is loaded %d times", addon.name, 1 + names[addon.name])

    def done(self) -> None:
        for addon in self.parts:
            if hasattr(addon, "done"):
                try:
                    addon.done()
                except Exception:
                    logger.exception("%s: failed in done", addon.name)


addons = [Suite()]
