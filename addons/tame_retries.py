"""Tell clients whether to try again, and when.

The OpenAI and Anthropic SDKs retry 408, 409, 429 and every 5xx within a second unless the response says
otherwise, harnesses retry on top of them, and an overload or a permanent defect becomes a storm: nine POSTs for
one duplicate header, 238 handshakes of which five succeeded. This addon makes error responses say it.

- Statuses in `overloaded` get Retry-After where there is none; its value is the upstream's own word
  (retry-after-ms), else `retry-after`.
- A Retry-After that is neither whole seconds nor a date (`2s`, `1.5`, `1500ms`) is written as whole seconds,
  rounded up; where it says nothing at all it is dropped, or replaced where there must be one.
- Where Retry-After, retry-after-ms and RateLimit-Reset disagree all say the longest time: clients read one
  or the other.
- Statuses in `permanent` get `x-should-retry: false`, which those SDKs obey, unless the upstream says something
  itself. 401 and 403 are not among them: the first may be answered with a new token. The second for the same
  credential gets it.
- A storm is the same request failing `storm` times in a row, each try begun after the last had failed; so
  parallel requests are none. From then on it gets `x-should-retry: false`, or, where the upstream is merely
  overloaded, a Retry-After of at least `storm-retry-after`. The same means: method, target, credential and
  content; of requests that are streamed the content is not known, and they are not counted.

Successes are not touched. What clients do with all this is up to them.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Set

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.grammar import DIGITS, date
from conformance.history import waits
from conformance.known import CREDENTIALS
from conformance.message import FieldLine, Fields, Response
from conformance.policy import TameRetries as Policy
from conformance.secret import shown

REMEMBERED = 4096
"""Failing requests that are remembered; the one that has not failed for longest is forgotten."""

REFUSED = (401, 403)
"""With the same credential the second answer is no other: only the first may be met with a new token."""

_DURATION = re.compile(
    rb"([0-9]{1,9}(?:\.[0-9]{1,9})?)[ \t]*(ms|msecs?|s|secs?|seconds?|m|mins?|minutes?)?", re.IGNORECASE
)
_UNITS = {b"": 1, b"s": 1, b"m": 60, b"mi": 60, b"ms": 0.001}
"""Seconds in a unit, by its first letters."""
_PARTS = {"retry-after": 1, "ratelimit-reset": 1, "retry-after-ms": 1000, "x-ms-retry-after-ms": 1000}
"""Headers that name a time to wait, and in what parts of a second."""


def tamed(
    response: Response, policy: Policy, failures: int = 1, now: float | None = None
) -> Iterator[mitm.Change]:
    """The changes to an error response.

    ``failures``: how often the request has failed by now; ``now``: seconds since 1970, to read dates by.
    """
    if response.status < 400:
        return
    enough = 2 if response.status in REFUSED else policy.storm
    is_storm = policy.storm > 0 and failures >= enough
    overloaded = response.status in policy.overloaded
    times = list(_times(response, now))
    wait = math.ceil(max(times)) if times else None
    if overloaded:
        wait = policy.retry_after if wait is None else wait
        wait = max(wait, policy.storm_retry_after) if is_storm else wait
    differ = (is_storm and overloaded) or (len(times) > 1 and max(times) - min(times) > 1)
    yield from _said(response.fields, wait, differ=differ)
    if overloaded or (not is_storm and response.status not in policy.permanent):
        return
    if is_storm:
        yield from _not_again(response.fields, f"the same request has failed {failures} times")
    elif wait is None and "x-should-retry" not in response.fields:
        yield from _not_again(response.fields, f"waiting does not change a {response.status}")


def _times(response: Response, now: float | None) -> Iterator[float]:
    """Every time to wait that the response names, in seconds, also where it does not name it well."""
    yield from (seconds for _, seconds in waits(response.fields, now))
    for line in response.fields.lines("retry-after"):
        if (seconds := _duration(line.value)) is not None:
            yield seconds
    reset = response.fields.one("ratelimit-reset")
    if response.status in (429, 503) and reset is not None and _is_wait(reset):
        yield float(reset)


def _is_wait(reset: bytes) -> bool:
    """Whether RateLimit-Reset is a time to wait, as in its early drafts; a large number is a point in time."""
    return DIGITS.fullmatch(reset) is not None and len(reset) < 7


def _duration(value: bytes) -> float | None:
    found = _DURATION.fullmatch(value.strip(b" \t"))
    if found is None:
        return None
    unit = (found[2] or b"").lower()
    return float(found[1]) * (_UNITS.get(unit[:2]) or _UNITS[unit[:1]])


def _said(fields: Fields, wait: int | None, *, differ: bool) -> Iterator[mitm.Change]:
    """Make every line that names a time to wait say this one, if they differ or cannot be read.

    None: there is no such time.
    """
    for at, line in enumerate(fields):
        name = line.key
        if name not in _PARTS or (name == "ratelimit-reset" and not _is_wait(line.value)):
            continue
        readable = name != "retry-after" or DIGITS.fullmatch(line.value) or date(line.value) is not None
        if wait is None and not readable:
            why = (
                f"{line.shown_name} {shown(line.name, line.value)} dropped: neither whole seconds nor a date"
            )
            yield mitm.Change("drop", at, None, why)
        elif wait is not None and (differ or not readable):
            yield from _set(at, line, b"%d" % (wait * _PARTS[name]))
    if wait is not None and "retry-after" not in fields:
        line = FieldLine(b"Retry-After", b"%d" % wait)
        yield mitm.Change("add", -1, line, "clients are told when to retry")


def _set(at: int, line: FieldLine, value: bytes) -> Iterator[mitm.Change]:
    if line.value != value:
        why = f"{line.shown_name} {shown(line.name, line.value)} is {value.decode()}: whole seconds, the longest named"
        yield mitm.Change("set", at, FieldLine(line.name, value), why)


def _not_again(fields: Fields, why: str) -> Iterator[mitm.Change]:
    no = FieldLine(b"x-should-retry", b"false")
    said = False
    for at, line in enumerate(fields):
        if line.key == "x-should-retry":
            said = True
            if line.value.lower() != b"false":
                yield mitm.Change("set", at, FieldLine(line.name, b"false"), why)
    if not said:
        yield mitm.Change("add", -1, no, why)


class Failures:
    """How often the same request has failed in a row; remembers ``REMEMBERED`` of them."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def failed(self, request: bytes, began: float, ended: float, window: float) -> int:
        """Count a failure; how many there are now. Times are in seconds of one clock."""
        count, last = self._seen.pop(request, (0, 0.0))
        if ended - last > window:
            count = 0
        # One that began before the last had failed is no reaction to it, but its sibling.
        if count == 0 or began >= last:
            count += 1
        self._seen[request] = (count, max(ended, last))
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return count

    def succeeded(self, request: bytes) -> None:
        """Forget its failures."""
        self._seen.pop(request, None)

    def __bool__(self) -> bool:
        return bool(self._seen)


def identity(request: http.Request) -> bytes | None:
    """A digest of what makes a request the same as another; None where its content is not known."""
    if request.raw_content is None:
        return None
    credentials = [
        value for name, value in request.headers.fields if name.lower().decode("latin-1") in CREDENTIALS
    ]
    parts = (
        request.data.method,
        request.host.encode(),
        b"%d" % request.port,
        request.data.path,
        *credentials,
    )
    digest = hashlib.sha256()
    for part in (*parts, request.raw_content):
        digest.update(b"%d:" % len(part) + part)
    return digest.digest()


class TameRetries:
    """The wiring."""

    name = "tame-retries"

    def __init__(self) -> None:
        self.policy = Policy()
        self.failures = Failures()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "tame_retries")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "tame_retries")

    def running(self) -> None:
        mitm.refuse_unknown_options("tame_retries")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return tamed(mitm.response_head(flow, fields), self.policy, self.count(flow), time.time())

        if flow.response is not None and (flow.response.status_code >= 400 or self.failures):
            mitm.rewrite(flow, "response", self.name, compute)

    def count(self, flow: http.HTTPFlow) -> int:
        """How often the flow's request has failed by now; 0: it has succeeded, or nobody knows."""
        request, response = flow.request, flow.response
        key = identity(request) if self.policy.storm else None
        if key is None or response is None:
            return 0
        if response.status_code < 400:
            self.failures.succeeded(key)
            return 0
        ended = response.timestamp_start or time.time()
        return self.failures.failed(key, request.timestamp_start, ended, self.policy.storm_window)


addons = [TameRetries()]
