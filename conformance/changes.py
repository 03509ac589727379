"""What changed between two recordings of the same run: after an upgrade of the gateway, or of the client.

Findings are the same where their fingerprints are. Agents are told apart by the product in User-Agent; of each
one counts in how many requests it sent a field, so that a field that came with the new version is seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance import lint, secret
from conformance.finding import Finding, Run
from conformance.message import Exchange, Request, Stream
from conformance.recording import Recording
from conformance.rule import Rule
from conformance.transcript import escape

if TYPE_CHECKING:
    from conformance.policy import Policy

AGENTS = 256
"""Agents that are told apart in one recording; a recording from a stranger may name any number."""
FIELDS = 1024
"""Different fields that are counted for one agent."""
SHOWN = 80
NO_NAME = "(no User-Agent)"
OTHERS = "(others)"


@dataclass(slots=True)
class Seen:
    """What one agent sent in one recording."""

    requests: int = 0
    versions: dict[str, None] = field(default_factory=dict)
    fields: Counter[str] = field(default_factory=Counter)
    """Lower-case name -> in how many requests."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What one agent sent before and now."""

    name: str
    old: Seen
    new: Seen

    @property
    def sends(self) -> dict[str, int]:
        """Fields that are new -> in how many requests; empty where there is nothing to compare with."""
        return self._more(self.new, self.old)

    @property
    def stopped(self) -> dict[str, int]:
        """Fields that it sent before only -> in how many requests."""
        return self._more(self.old, self.new)

    def _more(self, of: Seen, than: Seen) -> dict[str, int]:
        if not self.old.requests or not self.new.requests:
            return {}
        return {name: count for name, count in sorted(of.fields.items()) if name not in than.fields}


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different in the newer recording."""

    old: Run
    run: Run
    """The newer recording, with only those findings that are new."""
    vanished: list[Finding]
    same: int
    """How many findings are in both."""
    agents: list[Agent]


def compare(
    old: Recording,
    new: Recording,
    rules: Mapping[str, Rule],
    *,
    policy: Policy | None = None,
    settings: lint.Settings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Changes:
    """Lint both recordings and tell them apart. As in ``lint.check``, bad ones are in ``Run.failures``."""
    before, now = (
        lint.check([recording], rules, policy=policy, settings=settings, progress=progress)
        for recording in (old, new)
    )
    appeared = _beyond(now.findings, before.findings)
    sent = [_agents(recording) for recording in (old, new)]
    names = sorted(sent[0].keys() | sent[1].keys())
    return Changes(
        before,
        replace(now, findings=appeared, failures=[*before.failures, *now.failures]),
        _beyond(before.findings, now.findings),
        len(now.findings) - len(appeared),
        [Agent(name, sent[0].get(name, Seen()), sent[1].get(name, Seen())) for name in names],
    )


def _beyond(findings: list[Finding], known: list[Finding]) -> list[Finding]:
    """The findings that are not among the known ones, or are more than those."""
    left = Counter((finding.rule, finding.fingerprint) for finding in known)
    more = []
    for finding in findings:
        key = (finding.rule, finding.fingerprint)
        if left[key] > 0:
            left[key] -= 1
        else:
            more.append(finding)
    return more


def _agents(recording: Recording) -> dict[str, Seen]:
    found: dict[str, Seen] = {}
    for request in _requests(recording):
        name, version = _product(request)
        if name not in found and len(found) >= AGENTS:
            name = OTHERS
        seen = found.setdefault(name, Seen())
        seen.requests += 1
        if version and len(seen.versions) < AGENTS:
            seen.versions[version] = None
        for each in request.fields.names:
            if each in seen.fields or len(seen.fields) < FIELDS:
                seen.fields[_shown(each.encode("latin-1"))] += 1
    return found


def _requests(recording: Recording) -> Iterator[Request]:
    """The requests as agents sent them: before an addon changed them, and before a hop did."""
    for item in recording:
        exchanges: tuple[Exchange, ...] = item.exchanges if isinstance(item, Stream) else (item,)
        for exchange in exchanges:
            if exchange.leg != "server":
                yield (exchange.received or exchange).request


# product = token [ "/" product-version ]                                            (RFC 9110 §10.1.5)
# OpenAI/Python 1.2.3 has the version behind a space.
_PRODUCT = re.compile(rb"([^\s/(]+(?:/(?![vV]?[0-9])[^\s/(]+)?)(?:[/ ]([vV]?[0-9][^\s;,(]*))?")


def _product(request: Request) -> tuple[str, str]:
    """Name and version of the agent."""
    lines = request.fields.lines("user-agent")
    match = _PRODUCT.match(lines[0].value) if lines else None
    return (_shown(match[1]), _shown(match[2] or b"")) if match else (NO_NAME, "")


def _shown(octets: bytes) -> str:
    return escape(secret.mask_text(octets))[:SHOWN]
