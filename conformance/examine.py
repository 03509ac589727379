"""What rules say of one exchange or stream by itself, and what is kept of it for those that look at several.

Most rules name the fields they are about, so the rules that can matter for a message are found by its set of
field names; agents send the same few sets over and over, and the answer is remembered per set.

Nothing here knows which exchanges came before, but for the neighbours on a connection. So a recording can be
examined in pieces, by several processes; ``lint`` puts together what comes of them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from conformance import llm, locate, secret
from conformance.content import is_ordinary_json, limits
from conformance.finding import Entry, Finding, Heard
from conformance.frames import unread
from conformance.legs import of_journal
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
from conformance.replay import replay, replay_connection
from conformance.rule import Place, Rule, Severity
from conformance.turn import Turn
from conformance.watch import Likeness, Watch, is_odd

if TYPE_CHECKING:
    from conformance.history import Digester, Remembered
    from conformance.parsers import Judges
    from conformance.policy import Policy

KEPT_CONNECTIONS = 4096
"""Connections whose last exchange is remembered, so that memory is bounded; the least used is dropped."""
KEPT_SETS = 4096
"""Sets of field names whose rules are remembered. Agents send a few dozen; a stranger may send any number."""
MOST = 100
"""Findings of one rule in one message, exchange or stream: a stranger's may hold a million of the same."""
HEARD = 8192
"""Of the first messages that some real parser refuses, so many of the parsers' words are kept."""


@dataclass(slots=True, eq=False)
class Examined:
    """What was found in one exchange by itself, and what is needed to judge it beside others."""

    number: int
    offset: int | None = None
    """Where its flow begins in the file; None: not in a flow file."""
    place: int = 0
    """Which exchange of its stream it is, from 0."""
    found: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What rules raised."""
    refusals: tuple[Refusal, ...] = ()
    """What parsers said of it."""
    evidence: Evidence = Evidence.HEADERS
    connections: tuple[tuple[Side, str], ...] = ()
    unjudged: tuple[Side, ...] = ()
    """The sides on which it is still to be judged beside the exchange before it on its connection, if there is one."""
    remembered: Remembered | None = None
    """None: it is not to be judged beside what came before."""
    names: frozenset[str] = frozenset()
    """Those of its fields that rules about what came before are about."""
    has_ignores: bool = False
    entry: Entry | None = None


@dataclass(slots=True, eq=False)
class ExaminedStream:
    """The same of a TCP connection recorded as octets."""

    number: int
    offset: int | None
    exchanges: list[Examined]
    found: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    has_ignores: bool = False


class Plan:
    """Which rules of one scope can matter where certain fields occur."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.always: list[Rule] = []
        self.by_field: dict[str, list[Rule]] = {}
        for rule in rules:
            if not rule.fields:
                self.always.append(rule)
            for name in rule.fields:
                self.by_field.setdefault(name, []).append(rule)
        self.fields = frozenset(self.by_field)  # a set: a dictionary would be gone through for each message
        """What rules are about."""
        self._known: dict[frozenset[str], tuple[Rule, ...]] = {}

    def rules(self, names: frozenset[str]) -> tuple[Rule, ...]:
        """Those that can matter where fields of these names occur."""
        relevant = names & self.fields
        known = self._known.get(relevant)
        if known is None:
            chosen = {rule.name: rule for name in sorted(relevant) for rule in self.by_field[name]}
            if len(self._known) >= KEPT_SETS:
                self._known.clear()
            known = self._known[relevant] = (*self.always, *chosen.values())
        return known

    def rules_for(self, *messages: Message) -> Sequence[Rule]:
        """Those that can matter for these messages together."""
        rules = self.rules(names_of(*messages))
        if all(message.verbatim for message in messages):
            return rules
        return [rule for rule in rules if not rule.verbatim]


_NO_NAMES: frozenset[str] = frozenset()


def names_of(*messages: Message) -> frozenset[str]:
    """The names of all fields of these messages."""
    sections = [section for message in messages for section in (message.fields, message.trailers)]
    return _NO_NAMES.union(*[section.names for section in sections])


class Examiner:
    """Runs the rules that look at one exchange, or at two neighbours on a connection."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        policy: Policy | None,
        severities: Mapping[str, Severity],
        path: str,
        upstream_path: str | None = None,
        *,
        judges: Judges | None = None,
        listing: bool = False,
        watch: Watch | None = None,
        numbered: bool = True,
    ) -> None:
        """``listing``: give each exchange its ``entry``. ``watch``: what was learned with the same rules.

        ``numbered``: exchanges have the numbers that findings may name.
        """
        self.listing = listing
        self.exercised: set[str] = set()
        self.edits: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        """By rule: how often it was stopped at MOST findings."""
        self.unread: Counter[str] = Counter()
        """What rules asked for in vain, because it is beyond what is read here."""
        self.parsers: dict[str, tuple[int, int]] = {}
        self.heard: list[Heard] = []
        self.policy = policy
        if policy is None and any(rule.wants_policy or rule.scope == "Turn" for rule in rules.values()):
            self.policy = _generic()
        self._rules = rules
        self._severities = severities
        self._path = path
        self._upstream_path = path if upstream_path is None else upstream_path
        by_scope: dict[str, list[Rule]] = {}
        for rule in rules.values():
            by_scope.setdefault(rule.scope, []).append(rule)
        scope = by_scope.get
        self._request = Plan([*scope("Message", []), *scope("Request", [])])
        self._response = Plan([*scope("Message", []), *scope("Response", [])])
        self._exchange = Plan(scope("Exchange", []))
        self.watch = watch or Watch(self.policy)
        self._judges_json = any(rule.odd_json for rule in rules.values())
        self._connection = scope("Connection", [])
        self._beside: Evidence | None = None
        """What the last exchange held that was judged beside the one before it."""
        self._numbered = numbered
        self.turn = Plan(scope("Turn", []))
        self._digester: Digester | None = None
        if self.policy is not None and scope("Turn"):
            from conformance.history import Digester  # costs what only rules about the past need

            self._digester = Digester(self.policy.session)
        self._legs = Plan(scope("Legs", []))
        self._frame = scope("Frame", [])
        self._octets = scope("Octets", [])
        self.refusal = scope("Refusal", [])
        self._judges = judges
        self._judged = scope("Judged", [])
        self._last: OrderedDict[tuple[Side, str], Exchange] = OrderedDict()
        self._seen: set[tuple[object, ...]] = set()
        self._exercised: set[tuple[object, ...]] = set()

    def exchange(
        self, exchange: Exchange, judged: tuple[Refusal, ...] | None = None, stream: Stream | None = None
    ) -> Examined:
        """What is found in an exchange. ``judged``: what h11 refuses of it, where it was asked already."""
        made = Examined(exchange.number, exchange.offset)
        if self._connection:  # first: what rules keep with a message is not to be kept for longer
            self._connections(exchange, made)
        watch, messages = self.watch, tuple(exchange.messages)
        alike: list[Likeness | None] = []
        unsure = False
        for message in messages:
            plan = self._request if isinstance(message, Request) else self._response
            alike.append(like := watch.message(message))
            odd_json = not self._judges_json or not is_ordinary_json(message)
            unsure = unsure or odd_json
            rules = partial(plan.rules_for, message)
            due = watch.due(rules, message, like, odd=is_odd(message), odd_json=odd_json)
            self.run(due, exchange, message, made)
        rules = partial(self._exchange.rules_for, *messages)
        self.run(watch.due(rules, exchange, watch.exchange(exchange, alike)), exchange, exchange, made)
        for frame in exchange.frames:
            self.run(self._frame, exchange, frame, made)
        # What a hop made of a request is no further request of the client's.
        if self._digester is not None and exchange.leg != "server":
            made.remembered = self._digester.digest(exchange)
            made.names = names_of(*messages) & self.turn.fields
        if (legs := of_journal(exchange)) is not None:
            self.legs(legs, made)
        made.refusals = (*exchange.refusals, *(replay(exchange) if judged is None else judged))
        if self._judges is not None:
            self._ask(self._judges, exchange, made)
        made.evidence = exchange.evidence
        self._exercise(exchange)
        for message in messages if unsure else ():
            self.unread.update((*limits(message), *llm.limits(message)))
        for edit in exchange.edits:
            self.edits[edit.addon] += 1
        made.has_ignores = "hoplint:" in exchange.note
        if self.listing:
            name = f"stream {stream.number}" if stream is not None else exchange.client_connection
            made.entry = locate.entry(exchange, name)
        return made

    def stream(self, stream: Stream) -> ExaminedStream:
        """What is found in a connection recorded as octets, and in its exchanges."""
        judged, client, server = replay_connection(stream)
        exchanges = []
        for place, (exchange, refusals) in enumerate(zip(stream.exchanges, judged, strict=True)):
            exchanges.append(self.exchange(exchange, refusals, stream))
            exchanges[-1].offset, exchanges[-1].place = stream.offset, place
        made = ExaminedStream(stream.number, stream.offset, exchanges)
        made.has_ignores = "hoplint:" in stream.note
        found = made.found
        for octets in (client, server):
            for rule in self._octets:
                self._run_octets(rule, stream, octets, octets, made)
            for refusal in octets.refusals:
                named = self._rules.get(refusal.rule) if refusal.rule else None
                if named is not None and not any(f.rule == named.name for f in found):
                    where = locate.in_stream(self._path, stream, octets, refusal)
                    why = f"{refusal.source} refused it: {locate.said(refusal)}"
                    found.append(self._finding(named, None, where, why, "octets"))
                elif refusal.rule is None and not any(f.origin == octets.side for f in found):
                    for rule in self.refusal:
                        self._run_octets(rule, stream, octets, refusal, made)
        if not (client.switched and not client.messages):
            self.mark(Evidence.OCTETS, "Octets")
        if stream.exchanges and stream.exchanges[-1].frames:
            self.unread.update(what for side in (client, server) if (what := unread(side.data, side.rest)))
        return made

    def legs(self, legs: Legs, made: Examined) -> None:
        """What a hop made of one exchange."""
        messages = [message for exchange in legs.exchanges for message in exchange.messages]
        self.run(self._legs.rules_for(*messages), legs.client, legs, made)
        held = legs.client.evidence | Evidence.LEGS
        if any(came.body is not None and went.body is not None for came, went in legs.passed):
            held |= Evidence.BODY
        self.mark(held, "Legs", verbatim=all(message.verbatim for message in messages))

    def neighbours(self, before: Exchange, after: Exchange, side: Side, name: str, made: Examined) -> None:
        """What two exchanges in a row do to each other; neither with its content."""
        self.run(self._connection, after, Connection(side=side, id=name, before=before, after=after), made)
        if self._beside is not after.evidence:  # adding it up takes longer than the rules
            self._beside = after.evidence
            self.mark(Evidence.CONNECTION | after.evidence, "Connection")

    def run(self, rules: Sequence[Rule], exchange: Exchange | None, subject: object, made: Examined) -> None:
        """Run rules of one scope over a subject. This is the hot loop: some hundred calls an exchange.

        ``exchange``: the one it belongs to; None: a ``Turn`` knows its own.
        """
        policy, waiting = self.policy, iter(rules)
        rule: Rule | None = None
        finding, most = rule, MOST
        while True:  # once, and once more behind each rule that raises
            try:
                for rule in waiting:
                    for place, why in (
                        rule.check(subject, policy) if rule.wants_policy else rule.check(subject)
                    ):
                        if finding is not rule:  # few ever do
                            finding, most = rule, len(made.found) + MOST
                        if len(made.found) == most:
                            self.cut[rule.name] += 1
                            break
                        self.add(rule, exchange, place, why, subject, made)
                return
            except Exception as error:  # noqa: BLE001 - a broken rule must not hide what the others find
                made.failures.append(f"internal error in rule {rule and rule.name}: {_said(error)}")

    def add(
        self, rule: Rule, exchange: Exchange | None, place: Place, why: str, subject: object, made: Examined
    ) -> None:
        """Make a finding of what a rule yielded."""
        path = self._path
        if exchange is None:
            assert isinstance(subject, Turn)
            exchange = subject.exchange
        if isinstance(subject, Legs):
            exchange = locate.leg(subject, place)
            path = path if exchange is subject.client else self._upstream_path
        found = locate.in_exchange(path, exchange, place, subject)
        evidence: Literal["octets", "flow", "error", "har"] = "har" if exchange.recorder == "har" else "flow"
        if isinstance(place, Refusal) and place.source != "h11":
            evidence = "error"
        elif found.message is not None and found.message.wire is not None:
            evidence = "octets"
        made.found.append(self._finding(rule, exchange, found, why, evidence))

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
            severity=self._severities.get(rule.name, rule.severity),
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

    def _connections(self, exchange: Exchange, made: Examined) -> None:
        sides: tuple[tuple[Side, str | None], ...] = (
            ("client", exchange.client_connection),
            ("server", exchange.server_connection),
        )
        made.connections = tuple([(side, name) for side, name in sides if name is not None])
        bare = exchange.bare() if made.connections else None
        for key in made.connections:
            before = self._last.pop(key, None)
            if bare is not None:
                self._last[key] = bare
                found = len(made.found)
                if before is not None:
                    self.neighbours(before, bare, *key, made)
                if before is None or (len(made.found) > found and not self._numbered):
                    del made.found[found:]
                    made.unjudged += key[:1]
            if len(self._last) > KEPT_CONNECTIONS:
                self._last.popitem(last=False)

    def _ask(self, judges: Judges, exchange: Exchange, made: Examined) -> None:
        """What real parsers make of its messages."""
        for part, judged in judges.judge(exchange):
            self.run(self._judged, exchange, judged, made)
            self.mark(exchange.evidence | Evidence.PARSERS, "Judged")
            told = [
                Heard(exchange.number, part, name, None if words is None else locate.shown_text(words))
                for name, words, _ in judged.verdicts
            ]
            for one in told:
                asked, refused = self.parsers.get(one.parser, (0, 0))
                self.parsers[one.parser] = asked + 1, refused + (one.refusal is not None)
            if any(one.refusal is not None for one in told) and len(self.heard) < HEARD:
                self.heard += told

    def _run_octets(
        self, rule: Rule, stream: Stream, octets: Octets, subject: object, made: ExaminedStream
    ) -> None:
        try:
            for number, (place, why) in enumerate(rule.check(subject)):
                if number == MOST:
                    self.cut[rule.name] += 1
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
                made.found.append(self._finding(rule, owner, found, why, "octets"))
        except Exception as error:  # noqa: BLE001 - as in run
            made.failures.append(f"internal error in rule {rule.name}: {_said(error)}")

    def _exercise(self, exchange: Exchange) -> None:
        shared, response = exchange.evidence, exchange.response
        # Adding up evidence takes longer than to see that it was added up for others alike.
        alike = (
            shared, response is None, bool(exchange.frames),
            *[(type(one), one.body is None, one.wire is None, one.verbatim) for one in exchange.messages],
        )  # fmt: skip
        if alike in self._exercised:
            return
        self._exercised.add(alike)
        for message in exchange.messages:
            held = shared
            if message.body is not None:
                held |= Evidence.BODY
            if message.wire is not None:
                held |= Evidence.OCTETS
            self.mark(held, "Message", type(message).__name__, verbatim=message.verbatim)
        held = shared
        if exchange.response is not None and exchange.response.body is not None:
            held |= Evidence.BODY
        if exchange.response is not None or Evidence.ERROR in shared:
            verbatim = all(message.verbatim for message in exchange.messages)
            scopes = ("Exchange", "Refusal", "Response" if exchange.response is None else "Exchange")
            self.mark(held, *scopes, verbatim=verbatim)
        if exchange.frames:
            self.mark(held, "Frame")

    def mark(self, held: Evidence, *scopes: str, verbatim: bool = True) -> None:
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


def _generic() -> Policy:
    from conformance.policy import Policy  # pydantic costs 140 ms, and few selections of rules want none

    return Policy()


def _said(error: Exception) -> str:
    # A rule's mistake often quotes the value it tripped over.
    return f"{type(error).__name__}: {locate.shown_text(str(error))}"


def _host(request: Request) -> str:
    host = request.authority or request.fields.one("host") or b""
    return host.decode("latin-1").rpartition("@")[2].split(":")[0].lower()
