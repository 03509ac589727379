"""The loop: recordings x rules -> findings.

What rules say of one exchange by itself is found by ``examine``; here it is put beside what came before.

Parsers are judges too: what the recorder refused, and what h11 refuses when the exchange is replayed, becomes a
finding of the rule those words stand for, unless that rule has seen it already; words no rule stands for are
`unparsable-message`, unless some other error explains the message.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from conformance import locate, scoping
from conformance.examine import MOST, Examined, ExaminedStream, Examiner
from conformance.finding import Entry, Finding, Location, Quote, Run, Summary, Suppressed
from conformance.legs import Marked, read
from conformance.message import Evidence, Exchange, Legs, Refusal, Side, Stream
from conformance.recording import Recording
from conformance.rule import ERROR, NOTE, RULES, UNUSED_IGNORE, Rule

if TYPE_CHECKING:
    from conformance.history import History
    from conformance.parsers import Judges
    from conformance.policy import Policy
    from conformance.rule import Severity


KEPT = 10_000
"""Findings of one rule in one recording; the others are counted in a note."""
LISTED = 8192
"""Exchanges that a listing holds, of all recordings together."""
LISTED_HEADS = 1024
"""Of those in which something was found, how many are listed with their heads."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to lint, apart from which rules: plain data, so that worker processes can be given it."""

    severities: Mapping[str, Severity] = field(default_factory=dict)
    per_recording: tuple[tuple[str, frozenset[str]], ...] = ()
    """(glob, names of rules): what to ignore in the recordings the glob matches."""
    scopes: tuple[scoping.Scope, ...] = ()
    today: date = field(default_factory=date.today)
    """The day on which scopes may have expired."""
    inline_ignores: bool = True
    profiled: bool = True
    """A transcript may name the profile it is to be linted with; False: the user named one."""
    listing: bool = False
    """List the exchanges, for the reports that show them."""
    parsers: bool = False
    """Ask the real parsers, too; they have to be installed."""


type Feed = Callable[[Linter, Recording, Callable[[int], None] | None], None]
"""Has a linter take what is in a recording, and says how many exchanges that were so far."""


def check(
    recordings: Iterable[Recording],
    rules: Mapping[str, Rule],
    *,
    policy: Policy | None = None,
    settings: Settings | None = None,
    progress: Callable[[int], None] | None = None,
    feed: Feed | None = None,
) -> Run:
    """Lint recordings with these rules; findings come in the order recording, exchange, line, rule.

    ``progress`` is called with the number of exchanges done so far; ``feed`` has a linter take what is in a
    recording, if somebody else is to read it. Without a policy, rules that read one
    get the built-in defaults. Raises nothing for a bad recording: it is in ``Run.failures``.
    """
    settings = settings or Settings()
    run = Run(rules)
    with _judging(settings) as judges:
        for recording in recordings:
            _check(run, recording, policy, settings, progress, judges, feed or _feed)
    scoping.apply(run, settings.scopes, settings.today)
    return run


def _check(
    run: Run,
    recording: Recording,
    policy: Policy | None,
    settings: Settings,
    progress: Callable[[int], None] | None,
    judges: Judges | None,
    feed: Feed,
) -> None:
    """Lint one recording into the run."""
    ignored = {
        name for glob, names in settings.per_recording if matches(recording.path, glob) for name in names
    }
    wanted, severities = policy, settings.severities
    if recording.profile is not None and settings.profiled:
        try:
            wanted, severities = _profiled(recording.profile, severities)
        except ValueError as problem:
            run.failures.append(f"{recording.path}: {problem}")
    linter = Linter(
        run.rules, wanted, replace(settings, severities=severities), recording.path, judges=judges
    )
    if settings.listing:
        linter.room -= sum(len(summary.entries) for summary in run.recordings)
        linter.room_for_heads -= sum(bool(e.heads) for summary in run.recordings for e in summary.entries)
    feed(linter, recording, progress)
    linter.finish()
    for finding in sorted(linter.findings, key=_order):
        if finding.rule in ignored:
            run.suppressed.append(Suppressed(finding, "settings", "[lint.per-recording]"))
        else:
            run.findings.append(finding)
    run.suppressed += linter.suppressed
    run.edits += linter.edits
    run.failures += linter.failures
    if recording.error:
        run.failures.append(f"{recording.path}: {recording.error}")
    notes = linter.notes()
    if judges is not None:
        notes += judges.failures
        judges.failures = []
    summary = _summary(recording, linter.exercised, notes, linter.entries)
    summary.parsers, summary.heard = linter.parsers, tuple(linter.heard)
    run.recordings.append(summary)


def _feed(linter: Linter, recording: Recording, progress: Callable[[int], None] | None) -> None:
    for item in recording:
        linter.take(item)
        if progress is not None:
            progress(recording.exchanges)


@contextmanager
def _judging(settings: Settings) -> Iterator[Judges | None]:
    if not settings.parsers:
        yield None
        return
    from conformance.parsers import Judges  # starts processes

    with Judges() as judges:
        yield judges


def compare(
    client: Recording,
    server: Recording,
    rules: Mapping[str, Rule],
    *,
    policy: Policy | None = None,
    settings: Settings | None = None,
    progress: Callable[[int], None] | None = None,
    each: bool = False,
) -> Run:
    """Lint what a hop did, from the recordings of both its sides, with the rules of scope ``Legs`` in ``rules``.

    Findings come in the order of the client's exchanges. With ``each`` both recordings are linted by themselves
    too, with all ``rules``. As in ``check``, bad recordings are in ``Run.failures``.
    """
    settings = settings or Settings()
    if each:
        alone = check((client, server), rules, policy=policy, settings=settings, progress=progress)
    else:
        rules = {name: rule for name, rule in rules.items() if rule.scope == "Legs"}
        alone = Run(rules)
    run = Run(rules, findings=alone.findings, suppressed=alone.suppressed, edits=alone.edits)
    linter = Linter(rules, policy, settings, client.path, server.path)
    pairing, pairs = read(client, server, progress)
    for legs in pairs:
        linter.take_legs(legs)
    for finding in linter.findings:
        globs = [names for glob, names in settings.per_recording if matches(finding.at.recording, glob)]
        if any(finding.rule in names for names in globs):
            run.suppressed.append(Suppressed(finding, "settings", "[lint.per-recording]"))
        else:
            run.findings.append(finding)
    run.suppressed += linter.suppressed
    run.failures += linter.failures
    exercised = alone.exercised | linter.exercised
    sides: tuple[tuple[Side, Recording], ...] = (("client", client), ("server", server))
    for side, recording in sides:
        if recording.error:
            run.failures.append(f"{recording.path}: {recording.error}")
        listed = next((one.entries for one in alone.recordings if one.path == recording.path), ())
        notes = (*pairing.notes(side), *(linter.notes() if side == "client" else ()))
        run.recordings.append(_summary(recording, exercised, notes, listed))
    scoping.apply(run, settings.scopes, settings.today)
    return run


def _summary(
    recording: Recording, exercised: Iterable[str], notes: Iterable[str], entries: Iterable[Entry]
) -> Summary:
    return Summary(
        recording.path,
        recording.kind,
        recording.exchanges,
        recording.streams,
        recording.error,
        (*recording.notes, *notes),
        recording.expected,
        frozenset(exercised),
        tuple(entries),
    )


def _profiled(name: str, severities: Mapping[str, Severity]) -> tuple[Policy, Mapping[str, Severity]]:
    """The policy and severities of a profile that a transcript names. Raises PolicyError."""
    from conformance.settings import load  # pydantic costs 140 ms, and most runs name no profile

    settings = load(isolated=True, profile=name).settings
    return settings.policy, {**settings.lint.severity, **severities}


def matches(path: str, glob: str) -> bool:
    """Whether a glob of the settings means this recording: by its whole path or from the right."""
    return fnmatch.fnmatch(path, glob) or PurePath(path).match(glob)


_PARTS = ("request", "response", "frame", "connection", "stream")


def _order(finding: Finding) -> tuple[int, int, int, int, str]:
    at = finding.at
    index = -1 if at.index is None else at.index
    return (at.exchange or 0, at.stream or 0, _PARTS.index(at.part), index, finding.rule)


class Linter:
    """Lints the exchanges and streams of one recording, one after the other."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        policy: Policy | None,
        settings: Settings,
        path: str,
        upstream_path: str | None = None,
        *,
        judges: Judges | None = None,
    ) -> None:
        self.examiner = Examiner(
            rules, policy, settings.severities, path, upstream_path, judges=judges, listing=settings.listing
        )
        self.findings: list[Finding] = []
        self.suppressed: list[Suppressed] = []
        self.exercised = self.examiner.exercised
        self.edits = self.examiner.edits
        self.failures: list[str] = []
        self.entries: list[Entry] = []
        self.room, self.room_for_heads = (LISTED, LISTED_HEADS) if settings.listing else (0, 0)
        self.parsers, self.heard = self.examiner.parsers, self.examiner.heard
        self._rules = rules
        self._settings = settings
        self._path = path
        self._history: History | None = None
        if self.examiner.policy is not None and any(rule.scope == "Turn" for rule in rules.values()):
            from conformance.history import History  # costs what only rules about the past need

            self._history = History(self.examiner.policy.session)
        self._kept: Counter[str] = Counter()
        """By rule: its findings, those above KEPT too."""
        self._marked = Marked()
        self._held: Evidence | None = None
        """What the exchanges so far held; None before the first."""
        self._added: Evidence | None = None
        """What the last one held that was added to it."""

    def take(self, item: Exchange | Stream) -> None:
        """Lint one more item of the recording."""
        self.examiner.listing = len(self.entries) < self.room
        if isinstance(item, Stream):
            self.place_stream(self.examiner.stream(item), item.exchanges.__getitem__, lambda: item)
        else:
            self.place(self.examiner.exchange(item), lambda: item)
            if (legs := self._marked.take(item)) is not None:
                self.take_legs(legs)

    def finish(self) -> None:
        """Lint what is certain only at the end of the recording."""
        if (legs := self._marked.rest()) is not None:
            self.take_legs(legs)

    def clear(self) -> None:
        """Forget what was found, for who has taken it; what came before is still known."""
        for gathered in (self.findings, self.suppressed, self.failures, self.entries):
            gathered.clear()
        self._kept.clear()

    def notes(self) -> list[str]:
        """Which findings there are no more of because there are too many."""
        left = [(rule, count - KEPT) for rule, count in sorted(self._kept.items()) if count > KEPT]
        return [
            *(f"{rule}: the first {MOST} findings of a message are reported, and {count} had more"
              for rule, count in sorted(self.examiner.cut.items())),
            *(f"{rule}: the first {KEPT} findings are reported, and {count} are not" for rule, count in left),
            *(f"not looked into: {what} (in {count} messages)"
              for what, count in sorted(self.examiner.unread.items())),
        ]  # fmt: skip

    def take_legs(self, legs: Legs) -> None:
        """Lint what a hop made of one exchange."""
        made = Examined(legs.client.number)
        self.examiner.legs(legs, made)
        self._fail(f"{self._path}#{made.number}", made.failures)
        self._settle(made.found, legs.exchanges, of_legs=True)

    def place(self, made: Examined, exchange: Callable[[], Exchange]) -> None:
        """Judge an exchange that has been examined beside those before it; in the order of the recording.

        ``exchange`` gives the exchange itself, the same one each time; it is asked for only if need be.
        """
        conversation = self._turns(made, exchange)
        for refusal in made.refusals:
            if refusal.origin != "recorder":
                self._refused(exchange(), refusal, made)
        if made.entry is not None and len(self.entries) < self.room:
            entry = replace(made.entry, conversation=conversation)
            if made.found and self.room_for_heads > 0:
                self.room_for_heads -= 1
                entry = replace(entry, heads=locate.heads(exchange()))
            self.entries.append(entry)
        if made.failures:
            self._fail(f"{self._path}#{made.number}", made.failures)
        if made.found or made.has_ignores:
            self._settle(made.found, (exchange(),) if made.has_ignores else ())

    def place_stream(
        self, made: ExaminedStream, exchange: Callable[[int], Exchange], stream: Callable[[], Stream]
    ) -> None:
        """The same for a stream; ``exchange`` gives its exchanges by their place in it."""
        for one in made.exchanges:
            self.place(one, partial(exchange, one.place))
        self._fail(f"{self._path}: stream {made.number}", made.failures)
        self._settle(made.found, (stream(),) if made.has_ignores else ())

    def _fail(self, where: str, failures: Iterable[str]) -> None:
        self.failures += [f"{where}: {words}" for words in failures]

    def _turns(self, made: Examined, exchange: Callable[[], Exchange]) -> int | None:
        """Lint it beside what came before; gives the number of its conversation."""
        if self._history is None or made.remembered is None:
            return None
        turn = self._history.place(made.remembered, made.number, exchange)
        self.examiner.run(self.examiner.turn.rules(made.names), None, turn, made)
        if self._held is None:
            self._held = made.evidence
        elif self._added is not made.evidence:  # adding it up takes longer than most rules
            self._added = made.evidence
            self._held |= made.evidence
            self.examiner.mark(self._held, "Turn")
        return turn.digest.conversation

    def _refused(self, exchange: Exchange, refusal: Refusal, made: Examined) -> None:
        """A parser's refusal is a finding of the rule it stands for, once."""
        errors = {f.rule for f in made.found if f.at.part == refusal.part and f.severity is not NOTE}
        if refusal.rule is not None:
            rule = self._rules.get(refusal.rule)
            message = exchange.request if refusal.part == "request" else exchange.response
            # Where the head is at hand and the rule reads heads, the rule itself has looked at it.
            looked = rule is not None and message is not None and Evidence.HEADERS in rule.evidence
            if rule is not None and refusal.rule not in errors and not (looked and errors):
                said = f"{refusal.source} refused it: {locate.said(refusal)}"
                self.examiner.add(rule, exchange, refusal, said, refusal, made)
        elif not errors and not self._explained(exchange, refusal):
            self.examiner.run(self.examiner.refusal, exchange, refusal, made)

    def _explained(self, exchange: Exchange, refusal: Refusal) -> bool:
        """Whether a rule that was not selected knows better why the message was refused."""
        message = exchange.request if refusal.part == "request" else exchange.response
        if message is None:
            return False
        scopes = ("Message", type(message).__name__)
        return any(
            next(iter(rule.check(message)), None) is not None
            for name, rule in RULES.items()
            if rule.scope in scopes
            and rule.severity is ERROR
            and name not in self._rules
            and not rule.wants_policy
        )

    def _settle(
        self, found: Iterable[Finding], items: Iterable[Exchange | Stream], *, of_legs: bool = False
    ) -> None:
        """Apply the items' inline ignores to what was found in them."""
        ignores: dict[str, tuple[str, Exchange | Stream]] = {}
        for item in items:
            if self._settings.inline_ignores and "hoplint:" in item.note:
                ignores |= {name: (reason, item) for name, reason in _ignores(item.note)}
        used: set[str] = set()
        for finding in found:
            if finding.rule in ignores:
                used.add(finding.rule)
                self.suppressed.append(Suppressed(finding, "inline", ignores[finding.rule][0]))
            else:
                self._keep(finding)
        for name in sorted(ignores.keys() - used):
            item = ignores[name][1]
            # What a hop did is judged when both of its sides are known, all else before that.
            about_legs = name in RULES and RULES[name].scope == "Legs"
            later = isinstance(item, Exchange) and item.leg is not None and about_legs
            if (about_legs if of_legs else not later) and (name in self._rules or name not in RULES):
                self._keep(_unused(self._path, item, name))

    def _keep(self, finding: Finding) -> None:
        self._kept[finding.rule] += 1
        if self._kept[finding.rule] <= KEPT:
            self.findings.append(finding)


_IGNORE = re.compile(r"hoplint:\s*ignore\[([^\[\]]*)\]([^#]*)")


def _ignores(note: str) -> Iterator[tuple[str, str]]:
    """(rule, reason) of each ``hoplint: ignore[rule-a, rule-b] reason`` in a note."""
    for found in _IGNORE.finditer(note):
        for name in found[1].split(","):
            if name.strip():
                yield name.strip(), locate.shown_text(found[2].strip())


def _unused(path: str, item: Exchange | Stream, name: str) -> Finding:
    at = Location(
        path,
        item.number if isinstance(item, Exchange) else None,
        "request" if isinstance(item, Exchange) else "stream",
        None,
        None,
        item.note_line,
        item.flow,
        item.number if isinstance(item, Stream) else None,
    )
    why = (
        f"nothing here is found by {name!r}: the ignore can go"
        if name in RULES
        else f"there is no rule {name!r}"
    )
    quote = Quote(locate.shown_note(item.note), item.note_line, marked=True)
    return Finding(UNUSED_IGNORE.name, NOTE, at, why, "recorder", "flow", (quote,))
