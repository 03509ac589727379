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

from collections.abc import Iterator, Set

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.known import ALWAYS_ALLOWED, CREDENTIALS, named
from conformance.message import Fields, Request, Response
from conformance.policy import ResponseHeaders as Policy
from conformance.policy import Routing
from conformance.rules.leaks import PROVIDERS_OWN, addresses_inside, is_provider


def withheld(
    request: Request, response: Response, policy: Policy, routing: Routing, host: str | None = None
) -> Iterator[mitm.Change]:
    """The lines to drop; ``host``: the upstream."""
    allow = named(policy.allow)
    internal = named(() if routing.behind_gateway else policy.internal)
    of_provider = named(policy.from_providers if _is_providers(response, routing, host) else ())
    addresses = {id(line): why for line, why in addresses_inside(request, response, policy)}
    for at, line in enumerate(response.fields):
        name = line.key
        if name in CREDENTIALS:
            why = "a credential has no business in a response"
        elif name in ALWAYS_ALLOWED or name in policy.allow:
            continue
        elif internal.fullmatch(name):
            why = "it shows what is behind the gateway (internal)"
        elif id(line) in addresses:
            why = addresses[id(line)]
        elif allow.fullmatch(name):
            continue
        elif policy.allow:
            why = "it is not on the list (allow)"
        elif of_provider.fullmatch(name):
            why = "it is the provider's and would count for this host (from-providers)"
        else:
            continue
        yield mitm.Change("drop", at, None, f"{line.shown_name} dropped: {why}")


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
