"""Let clients see the response headers that are meant for them, and no others.

A gateway that copies its provider's response copies its cookies, CORS headers and security policy too: two
lines of Access-Control-Allow-Origin stop browsers and litellm, cookies end in jars that users share, internal
hosts and costs become visible. A list of what to take out misses what nobody thought of, so with `allow` this
addon passes what is named and drops the rest. The table is `[policy.response-headers]`, which the linter reads
too; profiles fill it.

- Where `allow` names nothing, `from-providers` is dropped from responses of `[policy.routing]`'s `providers`
  and from those that bear a provider's mark (OpenAI-Organization).
- `internal` is dropped from all responses, and so is what names an address inside the network to a client
  outside. Behind a gateway (`behind-gateway` in `[policy.routing]`) internal headers are for the client.
- Both go although a name with a * in `allow` covers them, unless `allow` names them in full.
- What frames and describes the content always passes, so an event stream keeps its Content-Type; and what a
  status code cannot do without: Retry-After, WWW-Authenticate, Allow, Location, Upgrade, the caching headers.
- Credentials (Authorization, API keys) that come back in a response are always dropped.

It withholds secrets, so where it fails the response is answered with 502. mitmproxy's own error pages pass by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from functools import lru_cache

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.known import ALWAYS_ALLOWED, CREDENTIALS, named
from conformance.message import Fields, Request, Response
from conformance.policy import ResponseHeaders as Policy
from conformance.policy import Routing
from conformance.rules.leaks import PROVIDERS_OWN, addresses_inside, is_provider

CREDENTIAL = "a credential has no business in a response"


def withheld(
    request: Request, response: Response, policy: Policy, routing: Routing, host: str | None = None
) -> Iterator[mitm.Change]:
    """The lines to drop; ``host``: the upstream."""
    reasons = _reasons(
        response.fields.names,
        policy.allow,
        () if routing.behind_gateway else policy.internal,
        policy.from_providers if _is_providers(response, routing, host) else (),
    )
    addresses = {id(line): why for line, why in addresses_inside(request, response, policy)}
    for at, name in enumerate(response.fields.line_keys) if reasons or addresses else ():
        line, why = response.fields[at], reasons.get(name)
        if id(line) in addresses and why != CREDENTIAL and name not in ALWAYS_ALLOWED | set(policy.allow):
            why = addresses[id(line)]
        if why is not None:
            yield mitm.Change("drop", at, None, f"{line.shown_name} dropped: {why}")


@lru_cache(maxsize=256)  # servers send the same few sets of names, over and over
def _reasons(
    names: frozenset[str], allow: tuple[str, ...], internal: tuple[str, ...], of_provider: tuple[str, ...]
) -> Mapping[str, str]:
    """Why headers of these names do not pass, whatever their values."""
    found: dict[str, str] = {}
    for name in names:
        if name in CREDENTIALS:
            found[name] = CREDENTIAL
        elif name in ALWAYS_ALLOWED or name in allow:
            continue
        elif named(internal).fullmatch(name):
            found[name] = "it shows what is behind the gateway (internal)"
        elif named(allow).fullmatch(name):
            continue
        elif allow:
            found[name] = "it is not on the list (allow)"
        elif named(of_provider).fullmatch(name):
            found[name] = "it is the provider's and would count for this host (from-providers)"
    return found


def _is_providers(response: Response, routing: Routing, host: str | None) -> bool:
    """Whether the response is a provider's: by its upstream, or because another host passes its headers on."""
    asked = host is not None and is_provider(host.lower(), routing.providers)
    return asked or not response.fields.names.isdisjoint(PROVIDERS_OWN)


class AllowResponseHeaders:
    """The wiring."""

    name = "allow-response-headers"

    def __init__(self) -> None:
        self.policy = Policy()
        self.routing = Routing()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "response_headers")
        mitm.add_options(loader, Routing, "routing")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "response_headers")
        self.routing = mitm.read_options(ctx.options, Routing, "routing")

    def running(self) -> None:
        mitm.refuse_unknown_options("response_headers")
        mitm.refuse_unknown_options("routing")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            request = mitm.request_head(flow, mitm.fields_of(flow.request))
            response = mitm.response_head(flow, fields)
            return withheld(request, response, self.policy, self.routing, flow.request.host)

        mitm.rewrite(flow, "response", self.name, compute, fail_closed=True)


addons = [AllowResponseHeaders()]
