"""Lint flows as they end, one after another, in memory that does not grow with their number.

Takes flows as they stand in a flow file, so that a flow is read here as it is from a recording. Kept are the
latest findings, up to a number, and what the rules about connections and conversations need, which is bounded
by itself. May be called from several threads.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from conformance import recording, scoping
from conformance.finding import Entry, Finding, Run, Summary, Suppressed
from conformance.lint import LISTED, LISTED_HEADS, Linter, Settings
from conformance.message import Exchange, Stream
from conformance.policy import Policy
from conformance.rule import Rule, Severity

NAME = "live"
"""What findings and reports call the recording that there is none of."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in one flow."""

    findings: tuple[Finding, ...]
    """The worst first."""
    suppressed: tuple[Suppressed, ...] = ()
    conversation: int | None = None
    """Its number; None: not known. Counted from 1 since the linting began."""
    entries: tuple[Entry, ...] = ()
    failures: tuple[str, ...] = ()
    """What could not be done: the flow cannot be read, a rule raised."""


class Live:
    """The linter of what passes, and what it found lately."""

    def __init__(self, rules: Mapping[str, Rule], policy: Policy, settings: Settings, keep: int) -> None:
        """``keep``: so many findings are held for reports; older ones are only counted."""
        self.rules = rules
        self.severities: Counter[Severity] = Counter()
        """Of everything found, also of what is not held any more."""
        self.names: Counter[str] = Counter()
        """The same by rule."""
        self.exchanges = self.streams = 0
        self._policy = policy
        self._settings = replace(settings, listing=True)  # an exchange's entry names its conversation
        self._keep = keep
        self._lock = threading.Lock()
        self._linter = self._new_linter()
        self._kept: OrderedDict[str, Checked] = OrderedDict()
        self._held = self._forgotten = 0
        self._numbers: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """By flow: how many exchanges and streams there were before it."""
        self._entries: deque[Entry] = deque(maxlen=LISTED_HEADS)

    def _new_linter(self) -> Linter:
        return Linter(self.rules, self._policy, self._settings, NAME)

    def take(self, flow: str, octets: bytes) -> Checked:
        """Lint a flow that has ended: its id, and how it stands in a flow file."""
        with self._lock:
            known = flow in self._numbers  # a flow that is replayed, or loaded once more
            checked = self._check(self._linter, flow, octets)
            if not known:
                self.severities.update(finding.severity for finding in checked.findings)
                self.names.update(finding.rule for finding in checked.findings)
                self._entries.extend(checked.entries)
            self._hold(flow, checked)
            return checked

    def again(self, flows: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Checked]]:
        """Lint flows as a recording of their own: nothing that passed before counts."""
        linter = self._new_linter()
        for flow, octets in flows:
            with self._lock:
                checked = self._check(linter, flow, octets)
                self._hold(flow, checked)
            yield flow, checked

    def run(self) -> Run:
        """What was found, for a report."""
        with self._lock:
            kept = sorted(self._kept.values(), key=_place)
            notes: tuple[str, ...] = ()
            if self._forgotten:
                notes = (f"{self._forgotten} older findings are not listed, only counted",)
            return Run(
                self.rules,
                recordings=[
                    Summary(
                        NAME, "mitmproxy", self.exchanges, self.streams, None, notes, None,
                        frozenset(self._linter.exercised), tuple(self._entries),
                    )
                ],
                findings=[finding for checked in kept for finding in checked.findings],
                suppressed=[one for checked in kept for one in checked.suppressed],
                edits=Counter(self._linter.edits),
            )  # fmt: skip

    def _check(self, linter: Linter, flow: str, octets: bytes) -> Checked:
        # The linter gathers a whole recording; emptied each time it holds one flow.
        linter.room, linter.room_for_heads = LISTED, 1
        found = recording.read("-", stdin=octets)
        exchanges, streams = self._numbers.get(flow, (self.exchanges, self.streams))
        for item in found:
            linter.take(_numbered(item, exchanges, streams))
        if flow not in self._numbers:
            self._numbers[flow] = (exchanges, streams)
            self.exchanges += found.exchanges
            self.streams += found.streams
            if len(self._numbers) > max(self._keep, LISTED):
                self._numbers.popitem(last=False)
        run = Run(self.rules, findings=list(linter.findings), suppressed=list(linter.suppressed))
        scoping.apply(run, self._settings.scopes, self._settings.today)
        failures = [*linter.failures, *([found.error] if found.error else [])]
        entries = tuple(linter.entries)
        linter.clear()
        return Checked(
            findings=tuple(sorted(run.findings, key=lambda finding: finding.severity.rank)),
            suppressed=tuple(run.suppressed),
            conversation=next((entry.conversation for entry in entries if entry.conversation), None),
            entries=entries,
            failures=tuple(failures),
        )

    def _hold(self, flow: str, checked: Checked) -> None:
        before = self._kept.pop(flow, None)
        self._held -= _weight(before)
        if _weight(checked):
            self._kept[flow] = replace(checked, entries=())
            self._held += _weight(checked)
        while self._held > self._keep and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._held -= _weight(oldest)
            self._forgotten += len(oldest.findings)


def _weight(checked: Checked | None) -> int:
    return 0 if checked is None else len(checked.findings) + len(checked.suppressed)


def _place(checked: Checked) -> tuple[int, int]:
    at = checked.findings[0].at if checked.findings else checked.suppressed[0].finding.at
    return at.exchange or 0, at.stream or 0


def _numbered(item: Exchange | Stream, exchanges: int, streams: int) -> Exchange | Stream:
    """The item, numbered on from so many before it."""
    if isinstance(item, Stream):
        own = tuple(replace(one, number=one.number + exchanges) for one in item.exchanges)
        return replace(item, number=item.number + streams, exchanges=own)
    number = item.number + exchanges
    return replace(item, number=number, received=item.received and replace(item.received, number=number))
