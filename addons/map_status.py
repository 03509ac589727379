"""Give an upstream's errors as what they are for this hop's clients: off unless `enabled` is set.

A provider's 500 that a gateway passes on looks like the gateway's own, and a 401 that refuses the gateway's key
sends users looking for a fault in theirs. This addon answers with 502 and 504 in their place, as gateways
should (RFC 9110 §15.6), and always says in X-Upstream-Status what the upstream said.

- `statuses` says what becomes of which status. What it does not name stays.
- 401 and 403 become `refused-credential` where inject-auth has put the credential in.
- 429 and 503 that come of a mapping always have Retry-After: the upstream's, else `retry-after`.
- Only errors are mapped: never 1xx, 2xx or 3xx, so never a stream that has begun. The content stays as it is.
- An error that has X-Upstream-Status was mapped by a hop before: its status stays, or mappings would add up,
  429 to 503 to 502.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.message import FieldLine, Fields, Response
from conformance.policy import MapStatus as Policy

NAMES_IT = "x-upstream-status"


def status_for_client(response: Response, policy: Policy, *, injected: bool) -> int:
    """The status to answer with; ``injected``: the credential was put in by this hop."""
    status = response.status
    if not policy.enabled or status < 400 or NAMES_IT in response.fields:
        return status
    if injected and status in (401, 403):
        return policy.refused_credential
    return policy.statuses.get(str(status), policy.statuses.get(f"{status // 100}xx", status))


def explained(response: Response, status: int, policy: Policy) -> Iterator[mitm.Change]:
    """The lines that an error needs which is answered with ``status``."""
    if not policy.enabled or response.status < 400 or NAMES_IT in response.fields:
        return
    line = FieldLine(b"X-Upstream-Status", response.code)
    yield mitm.Change("add", -1, line, f"the upstream answered {response.status}")
    if status != response.status and status in (429, 503) and "retry-after" not in response.fields:
        wait = FieldLine(b"Retry-After", b"%d" % policy.retry_after)
        yield mitm.Change("add", -1, wait, f"{status} says that there is a time to wait for")


class MapStatus:
    """The wiring."""

    name = "map-status"

    def __init__(self) -> None:
        self.policy = Policy()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "map_status")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "map_status")

    def running(self) -> None:
        mitm.refuse_unknown_options("map_status")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if not self.policy.enabled:
            return
        mapped: list[int] = []

        def compute(fields: Fields) -> Iterator[mitm.Change]:
            head = mitm.response_head(flow, fields)
            status = status_for_client(head, self.policy, injected=is_injected(flow))
            yield from explained(head, status, self.policy)
            if status != head.status:
                mapped.append(status)

        mitm.rewrite(flow, "response", self.name, compute)
        for status in mapped:
            why = f"the upstream's {flow.response.status_code} is {status} for this hop's clients"  # type: ignore[union-attr]
            mitm.set_status(flow, self.name, status, why)


def is_injected(flow: http.HTTPFlow) -> bool:
    """Whether the request carries a key that inject-auth has added; what it has set is the client's own."""
    return any(
        entry["addon"] == "inject-auth" and entry["part"] == "request" and entry["op"] == "add"
        for entry in flow.metadata.get(mitm.JOURNAL, ())
    )


addons = [MapStatus()]
