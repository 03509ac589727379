"""The loop: recordings x rules -> findings.

Most rules name the fields they are about, so the rules that can matter for a message are found by its set of
field names; agents send the same few sets over and over, and the answer is remembered per set.

Parsers are judges too: what the recorder refused, and what h11 refuses when the exchange is replayed, becomes a
finding of the rule those words stand for, unless that rule has seen it already; words no rule stands for are
`unparsable-message`, unless some other error explains the message.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from conformance import locate, scoping, secret
from conformance.finding import Entry, Finding, Heard, Location, Quote, Run, Summary, Suppressed
from conformance.legs import Marked, of_journal, read
from conformance.message import (
    Connection,
    Evidence,
    Exchange,
    Legs,
    Message,
    Octets,
    Refusal,
    Request,
    Side,
    Stream,
)
from conformance.recording import Recording
from conformance.replay import replay, replay_connection
from conformance.rule import ERROR, NOTE, RULES, UNUSED_IGNORE, Place, Rule, Severity
from conformance.watch import Likeness, Watch

if TYPE_CHECKING:
    from conformance.history import History
    from conformance.parsers import Judges
    from conformance.policy import Policy

KEPT_CONNECTIONS = 4096
"""Connections whose last exchange is remembered, so that memory is bounded; the least used is dropped."""
KEPT_SETS = 4096
"""Sets of field names whose rules are remembered. Agents send a few dozen; a stranger may send any number."""
MOST = 100
"""Findings of one rule in one message, exchange or stream: a stranger's may hold a million of the same."""
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


def check(
    recordings: Iterable[Recording],
    rules: Mapping[str, Rule],
    *,
    policy: Policy | None = None,
    settings: Settings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Lint recordings with these rules; findings come in the order recording, exchange, line, rule.

    ``progress`` is called with the number of exchanges done so far. Without a policy, rules that read one
    get the built-in defaults. Raises nothing for a bad recording: it is in ``Run.failures``.
    """
    settings = settings or Settings()
    run = Run(rules)
    with _judging(settings) as judges:
        for recording in recordings:
            _check(run, recording, policy, settings, progress, judges)
    scoping.apply(run, settings.scopes, settings.today)
    return run


def _check(
    run: Run,
    recording: Recording,
    policy: Policy | None,
    settings: Settings,
    progress: Callable[[int], None] | None,
    judges: Judges | None,
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
    for item in recording:
        linter.take(item)
        if progress is not None:
            progress(recording.exchanges)
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


def _generic() -> Policy:
    from conformance.policy import Policy  # as in _profiled

    return Policy()


def matches(path: str, glob: str) -> bool:
    """Whether a glob of the settings means this recording: by its whole path or from the right."""
    return fnmatch.fnmatch(path, glob) or PurePath(path).match(glob)


_PARTS = ("request", "response", "frame", "connection", "stream")


def _order(finding: Finding) -> tuple[int, int, int, int, str]:
    at = finding.at
    index = -1 if at.index is None else at.index
    return (at.exchange or 0, at.stream or 0, _PARTS.index(at.part), index, finding.rule)


class _Plan:
    """Which rules of one scope can matter where certain fields occur."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.always: list[Rule] = []
        self.by_field: dict[str, list[Rule]] = {}
        for rule in rules:
            if not rule.fields:
                self.always.append(rule)
            for name in rule.fields:
                self.by_field.setdefault(name, []).append(rule)
        self._known: dict[frozenset[str], tuple[Rule, ...]] = {}

    def rules(self, names: frozenset[str]) -> tuple[Rule, ...]:
        """Those that can matter where fields of these names occur."""
        relevant = names.intersection(self.by_field)
        known = self._known.get(relevant)
        if known is None:
            chosen = {rule.name: rule for name in sorted(relevant) for rule in self.by_field[name]}
            if len(self._known) >= KEPT_SETS:
                self._known.clear()
            known = self._known[relevant] = (*self.always, *chosen.values())
        return known


def _names(message: Message) -> frozenset[str]:
    return message.fields.names | message.trailers.names if len(message.trailers) else message.fields.names


def _without_verbatim(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.verbatim]


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
        self.findings: list[Finding] = []
        self.suppressed: list[Suppressed] = []
        self.exercised: set[str] = set()
        self.edits: Counter[str] = Counter()
        self.failures: list[str] = []
        self.entries: list[Entry] = []
        self.room, self.room_for_heads = (LISTED, LISTED_HEADS) if settings.listing else (0, 0)
        self._rules = rules
        self._policy = policy
        if policy is None and any(rule.wants_policy or rule.scope == "Turn" for rule in rules.values()):
            self._policy = _generic()
        self._settings = settings
        self._path = path
        self._upstream_path = path if upstream_path is None else upstream_path
        by_scope: dict[str, list[Rule]] = {}
        for rule in rules.values():
            by_scope.setdefault(rule.scope, []).append(rule)
        scope = by_scope.get
        self._request = _Plan([*scope("Message", []), *scope("Request", [])])
        self._response = _Plan([*scope("Message", []), *scope("Response", [])])
        self._exchange = _Plan(scope("Exchange", []))
        self._watch = Watch(self._policy)
        self._connection = scope("Connection", [])
        self._turn = _Plan(scope("Turn", []))
        self._history: History | None = None
        if self._policy is not None and scope("Turn"):
            from conformance.history import History  # costs what only rules about the past need

            self._history = History(self._policy.session)
        self._legs = _Plan(scope("Legs", []))
        self._marked = Marked()
        self._frame = scope("Frame", [])
        self._octets = scope("Octets", [])
        self._refusal = scope("Refusal", [])
        self._judges = judges
        self._judged = scope("Judged", [])
        self.parsers: dict[str, tuple[int, int]] = {}
        self.heard: list[Heard] = []
        self._last: OrderedDict[tuple[Side, str], Exchange] = OrderedDict()
        self._seen: set[tuple[object, ...]] = set()
        self._held: Evidence | None = None
        """What the exchanges so far held; None before the first."""
        self._found: list[Finding] = []
        self._cut, self._kept = Counter[str](), Counter[str]()
        """By rule: how often it was stopped at MOST findings; its findings, those above KEPT too."""

    def take(self, item: Exchange | Stream) -> None:
        """Lint one more item of the recording."""
        if isinstance(item, Stream):
            self._take_stream(item)
        else:
            self._take_exchange(item, replay(item))
            if (legs := self._marked.take(item)) is not None:
                self.take_legs(legs)

    def finish(self) -> None:
        """Lint what is certain only at the end of the recording."""
        if (legs := self._marked.rest()) is not None:
            self.take_legs(legs)

    def notes(self) -> list[str]:
        """Which findings there are no more of because there are too many."""
        left = [(rule, count - KEPT) for rule, count in sorted(self._kept.items()) if count > KEPT]
        return [
            *(f"{rule}: the first {MOST} findings of a message are reported, and {count} had more"
              for rule, count in sorted(self._cut.items())),
            *(f"{rule}: the first {KEPT} findings are reported, and {count} are not" for rule, count in left),
        ]  # fmt: skip

    def take_legs(self, legs: Legs) -> None:
        """Lint what a hop made of one exchange."""
        self._found = []
        self._check_legs(legs)
        self._settle(*legs.exchanges, of_legs=True)

    def _check_legs(self, legs: Legs) -> None:
        messages = [message for exchange in legs.exchanges for message in exchange.messages]
        names = frozenset[str]().union(*map(_names, messages))
        verbatim = all(message.verbatim for message in messages)
        rules = self._legs.rules(names)
        self._run(rules if verbatim else _without_verbatim(rules), legs.client, legs)
        held = legs.client.evidence | Evidence.LEGS
        if any(came.body is not None and went.body is not None for came, went in legs.passed):
            held |= Evidence.BODY
        self._mark(held, "Legs", verbatim=verbatim)

    def _take_exchange(
        self, exchange: Exchange, judged: tuple[Refusal, ...], stream: Stream | None = None
    ) -> None:
        self._found = []
        names = frozenset[str]()
        watch = self._watch
        alike: list[Likeness | None] = []
        for message in exchange.messages:
            occurring = _names(message)
            names |= occurring
            plan = self._request if isinstance(message, Request) else self._response
            rules = plan.rules(occurring)
            alike.append(like := watch.message(message))
            due = watch.due(rules if message.verbatim else _without_verbatim(rules), message, like)
            self._run(due, exchange, message)
        rules = self._exchange.rules(names)
        self._run(watch.due(rules, exchange, watch.exchange(exchange, alike)), exchange, exchange)
        for frame in exchange.frames:
            self._run(self._frame, exchange, frame)
        if self._connection:
            self._connections(exchange)
        # What a hop made of a request is no further request of the client's.
        conversation: int | None = None
        if self._history is not None and exchange.leg != "server":
            conversation = self._turns(exchange, names, self._history)
        if (legs := of_journal(exchange)) is not None:
            self._check_legs(legs)
        for refusal in (*exchange.refusals, *judged):
            self._refused(exchange, refusal)
        if self._judges is not None:
            self._ask(self._judges, exchange)
        self._exercise(exchange)
        for edit in exchange.edits:
            self.edits[edit.addon] += 1
        if len(self.entries) < self.room:
            name = f"stream {stream.number}" if stream is not None else exchange.client_connection
            heads = bool(self._found) and self.room_for_heads > 0
            self.room_for_heads -= heads
            self.entries.append(locate.entry(exchange, name, conversation, heads=heads))
        self._settle(exchange)

    def _run(self, rules: Sequence[Rule], exchange: Exchange, subject: object) -> None:
        """Run rules of one scope over a subject. This is the hot loop: a quarter of a thousand calls an exchange."""
        policy, waiting = self._policy, iter(rules)
        rule: Rule | None = None
        while True:  # once, and once more behind each rule that raises
            try:
                for rule in waiting:
                    most = len(self._found) + MOST
                    for place, why in (
                        rule.check(subject, policy) if rule.wants_policy else rule.check(subject)
                    ):
                        if len(self._found) == most:
                            self._cut[rule.name] += 1
                            break
                        self._add(rule, exchange, place, why, subject)
                return
            except Exception as error:  # noqa: BLE001 - a broken rule must not hide what the others find
                self.failures.append(
                    f"{self._path}#{exchange.number}: internal error in rule {rule and rule.name}: "
                    f"{_said(error)}"
                )

    def _add(self, rule: Rule, exchange: Exchange, place: Place, why: str, subject: object) -> None:
        path = self._path
        if isinstance(subject, Legs):
            exchange = locate.leg(subject, place)
            path = path if exchange is subject.client else self._upstream_path
        found = locate.in_exchange(path, exchange, place, subject)
        evidence: Literal["octets", "flow", "error", "har"] = "har" if exchange.recorder == "har" else "flow"
        if isinstance(place, Refusal) and place.source != "h11":
            evidence = "error"
        elif found.message is not None and found.message.wire is not None:
            evidence = "octets"
        self._found.append(self._finding(rule, exchange, found, why, evidence))

    def _finding(
        self,
        rule: Rule,
        exchange: Exchange | None,
        found: locate.Found,
        why: str,
        evidence: Literal["octets", "flow", "error", "har"],
    ) -> Finding:
        request = exchange.request if exchange is not None else None
        return Finding(
            rule=rule.name,
            severity=self._settings.severities.get(rule.name, rule.severity),
            at=found.at,
            why=secret.printable(why),
            origin=found.origin,
            evidence=evidence,
            quotes=found.quotes,
            host=_host(request) if request is not None else "",
            method=request.method.decode("latin-1") if request is not None else "",
            path=locate.shown_path(request) if request is not None else "",
            status=exchange.response.status if exchange is not None and exchange.response else None,
        )

    def _connections(self, exchange: Exchange) -> None:
        sides: tuple[tuple[Side, str | None], ...] = (
            ("client", exchange.client_connection),
            ("server", exchange.server_connection),
        )
        bare: Exchange | None = None
        for side, name in sides:
            if name is None:
                continue
            bare = bare or exchange.bare()
            key = (side, name)
            before = self._last.pop(key, None)
            self._last[key] = bare
            if len(self._last) > KEPT_CONNECTIONS:
                self._last.popitem(last=False)
            if before is not None:
                pair = Connection(side=side, id=name, before=before, after=bare)
                self._run(self._connection, bare, pair)
                self._mark(Evidence.CONNECTION | exchange.evidence, "Connection")

    def _turns(self, exchange: Exchange, names: frozenset[str], history: History) -> int | None:
        """Lint it beside what came before; gives the number of its conversation."""
        turn = history.turn(exchange)
        if turn is None:
            return None
        self._run(self._turn.rules(names), exchange, turn)
        if self._held is not None:
            self._mark(self._held | exchange.evidence, "Turn")
        self._held = (self._held or exchange.evidence) | exchange.evidence
        return turn.digest.conversation

    def _refused(self, exchange: Exchange, refusal: Refusal) -> None:
        """A parser's refusal is a finding of the rule it stands for, once."""
        if refusal.origin == "recorder":
            return
        errors = {f.rule for f in self._found if f.at.part == refusal.part and f.severity is not NOTE}
        if refusal.rule is not None:
            rule = self._rules.get(refusal.rule)
            message = exchange.request if refusal.part == "request" else exchange.response
            # Where the head is at hand and the rule reads heads, the rule itself has looked at it.
            looked = rule is not None and message is not None and Evidence.HEADERS in rule.evidence
            if rule is not None and refusal.rule not in errors and not (looked and errors):
                said = f"{refusal.source} refused it: {locate.said(refusal)}"
                self._add(rule, exchange, refusal, said, refusal)
        elif not errors and not self._explained(exchange, refusal):
            self._run(self._refusal, exchange, refusal)

    def _ask(self, judges: Judges, exchange: Exchange) -> None:
        """What real parsers make of its messages."""
        for part, judged in judges.judge(exchange):
            self._run(self._judged, exchange, judged)
            self._mark(exchange.evidence | Evidence.PARSERS, "Judged")
            told = [
                Heard(exchange.number, part, name, None if words is None else locate.shown_text(words))
                for name, words, _ in judged.verdicts
            ]
            for one in told:
                asked, refused = self.parsers.get(one.parser, (0, 0))
                self.parsers[one.parser] = asked + 1, refused + (one.refusal is not None)
            if any(one.refusal is not None for one in told) and len(self.heard) < LISTED:
                self.heard += told

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

    def _take_stream(self, stream: Stream) -> None:
        judged, client, server = replay_connection(stream)
        for exchange, refusals in zip(stream.exchanges, judged, strict=True):
            self._take_exchange(exchange, refusals, stream)
        self._found = []
        for octets in (client, server):
            for rule in self._octets:
                self._run_octets(rule, stream, octets, octets)
            for refusal in octets.refusals:
                named = self._rules.get(refusal.rule) if refusal.rule else None
                if named is not None and not any(f.rule == named.name for f in self._found):
                    found = locate.in_stream(self._path, stream, octets, refusal)
                    why = f"{refusal.source} refused it: {locate.said(refusal)}"
                    self._found.append(self._finding(named, None, found, why, "octets"))
                elif refusal.rule is None and not any(f.origin == octets.side for f in self._found):
                    for rule in self._refusal:
                        self._run_octets(rule, stream, octets, refusal)
        if not (client.switched and not client.messages):
            self._mark(Evidence.OCTETS, "Octets")
        self._settle(stream)

    def _run_octets(self, rule: Rule, stream: Stream, octets: Octets, subject: object) -> None:
        try:
            for number, (place, why) in enumerate(rule.check(subject)):
                if number == MOST:
                    self._cut[rule.name] += 1
                    break
                found = locate.in_stream(self._path, stream, octets, place)
                owner = next(
                    (
                        e
                        for e in stream.exchanges
                        if found.message and any(m is found.message for m in e.messages)
                    ),
                    None,
                )
                self._found.append(self._finding(rule, owner, found, why, "octets"))
        except Exception as error:  # noqa: BLE001 - as in _run
            self.failures.append(
                f"{self._path}: stream {stream.number}: internal error in rule {rule.name}: {_said(error)}"
            )

    def _exercise(self, exchange: Exchange) -> None:
        shared = exchange.evidence
        for message in exchange.messages:
            held = shared
            if message.body is not None:
                held |= Evidence.BODY
            if message.wire is not None:
                held |= Evidence.OCTETS
            self._mark(held, "Message", type(message).__name__, verbatim=message.verbatim)
        held = shared
        if exchange.response is not None and exchange.response.body is not None:
            held |= Evidence.BODY
        if exchange.response is not None or Evidence.ERROR in shared:
            self._mark(held, "Exchange", "Refusal", "Response" if exchange.response is None else "Exchange")
        if exchange.frames:
            self._mark(held, "Frame")

    def _mark(self, held: Evidence, *scopes: str, verbatim: bool = True) -> None:
        """Note which rules of these scopes can be decided with this evidence."""
        key = (held, scopes, verbatim)
        if key in self._seen:
            return
        self._seen.add(key)
        for name, rule in self._rules.items():
            if (
                rule.scope in scopes
                and (verbatim or not rule.verbatim)
                and any((held & needs) == needs for needs in rule.evidence)
            ):
                self.exercised.add(name)

    def _settle(self, *items: Exchange | Stream, of_legs: bool = False) -> None:
        """Apply the items' inline ignores to what was found in them."""
        found, self._found = self._found, []
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


def _said(error: Exception) -> str:
    # A rule's mistake often quotes the value it tripped over.
    return f"{type(error).__name__}: {locate.shown_text(str(error))}"


def _host(request: Request) -> str:
    host = request.authority or request.fields.one("host") or b""
    return host.decode("latin-1").rpartition("@")[2].split(":")[0].lower()


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
