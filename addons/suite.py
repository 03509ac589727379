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
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Any

from mitmproxy import ctx, exceptions, hooks
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
                logger.exception("%s: failed in %s", name, event)

    return call if calls else None


class Suite:
    """Holds the addons, and has the hooks that they have."""

    name = "suite"

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.policy = Policy()

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
                setattr(self, event, hook)

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
