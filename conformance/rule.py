"""What a rule is, how it is registered, and how a selection of rules is made.

A rule is a generator function. Everything about it is said once, where it stands:

* its name is the function's name in kebab case, its topic the module it stands in;
* its scope is the annotation of its first parameter (``Request``, ``Octets``...); a second parameter
  ``policy: Policy`` is filled if asked for;
* its docstring is its manual and its test: the first line states the defect, the prose who breaks and why,
  ``>`` quotes the norm, ``Bad::`` and ``Good::`` are transcripts.

It yields ``(where, why)``: ``where`` is something inside the thing it was given (a field line, the message
itself, a span of octets, a frame), ``why`` is one sentence that names the field and the values.
"""

from __future__ import annotations

import difflib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import NamedTuple

from conformance import message as m
from conformance.turn import Turn
from conformance.verdict import Judged

Place = (
    m.FieldLine
    | m.Message
    | m.Span
    | m.Line
    | m.Chunk
    | m.Frame
    | m.Exchange
    | m.Connection
    | m.Legs
    | m.Octets
    | m.Refusal
)
"""What a finding can point at."""


type Hits = Iterator[tuple[Place, str]]
"""What a rule yields: where, and why in one sentence."""


class Severity(StrEnum):
    """SARIF's three levels."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 is the gravest."""
        return list(Severity).index(self)


ERROR, WARNING, NOTE = Severity

SCOPES: Mapping[str, type] = {
    "Message": m.Message,
    "Request": m.Request,
    "Response": m.Response,
    "Exchange": m.Exchange,
    "Connection": m.Connection,
    "Turn": Turn,
    "Legs": m.Legs,
    "Frame": m.Frame,
    "Octets": m.Octets,
    "Refusal": m.Refusal,
    "Judged": Judged,
}
"""The annotations a rule's first parameter may have, by the name they are written with."""


class Example(NamedTuple):
    """A transcript out of a rule's docstring."""

    bad: bool
    text: str
    """As it is written; may hold repetitions."""
    also: frozenset[str]
    """Other rules that fire on it, and rightly: ``Bad, also other-rule::``."""

    @property
    def transcript(self) -> str:
        """The text with ``{a * 8200}`` (of octets) and ``{> Baggage: a=1 * 101}`` (of lines) written out."""
        return _REPEATED.sub(lambda m: ("\n" if m[1][:1] in "<>" else "").join([m[1]] * int(m[2])), self.text)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as the decorator found it."""

    name: str
    topic: str
    severity: Severity
    source: tuple[str, ...]
    """Sections of current RFCs first, then of those they replaced; or an issue, where no standard speaks."""
    fix: str | None
    """The addon that repairs the defect in transit; None: the sender has to change."""
    scope: str
    """``Message``, ``Request``, ...: a key of SCOPES."""
    evidence: tuple[m.Evidence, ...]
    """Alternatives: the rule can be decided where a recording holds all of any one of them."""
    fields: frozenset[str]
    """If not empty: the rule can only matter where one of these fields occurs."""
    breaks: tuple[str, ...]
    """Clients and servers that are known to fail on it, beside those that were measured (``breaks.of_rule``)."""
    wants_policy: bool
    verbatim: bool
    """It judges how a message was transferred, which a recorder that rebuilds messages (HAR) cannot show."""
    doc: str = field(repr=False)
    check: Callable[..., Hits] = field(repr=False)
    odd: bool = False
    """It finds something only in a message whose head is odd; see ``watch.is_odd``."""
    odd_json: bool = False
    """It finds something only in a message whose content is not an ordinary JSON document; see
    ``content.is_ordinary_json``."""

    @property
    def by_default(self) -> bool:
        """Whether it runs without being selected; notes are advice and do not."""
        return self.severity is not NOTE

    @property
    def summary(self) -> str:
        """The defect in one sentence."""
        return self.doc.partition("\n")[0]

    @property
    def prose(self) -> str:
        """The docstring between its first line and its examples: why it matters, and the norm."""
        body = self.doc.partition("\n")[2]
        return _EXAMPLE.split(body, maxsplit=1)[0].strip()

    @property
    def examples(self) -> list[Example]:
        """The Bad and Good transcripts of the docstring, in order."""
        found = []
        heads = list(_EXAMPLE.finditer(self.doc))
        for head, stop in zip(heads, [*(h.start() for h in heads[1:]), len(self.doc)], strict=False):
            text = self.doc[head.end() : stop]
            also = frozenset((head["also"] or "").replace(",", " ").split())
            found.append(Example(head["kind"] == "Bad", textwrap.dedent(text).strip("\n"), also))
        return found


_REPEATED = re.compile(r"\{([^{}\"\n]+) \* ([0-9]+)\}")
_EXAMPLE = re.compile(r"^(?P<kind>Bad|Good)(?:, also (?P<also>[a-z0-9, -]+))?::\n", re.MULTILINE)

RULES: dict[str, Rule] = {}
"""Every registered rule by name. Filled by ``load()``."""


UNUSED_IGNORE = Rule(
    name="unused-ignore",
    topic="lint",
    severity=NOTE,
    source=("hoplint",),
    fix=None,
    scope="Exchange",
    evidence=(m.Evidence.HEADERS,),
    fields=frozenset(),
    breaks=(),
    wants_policy=False,
    verbatim=False,
    doc="An inline ignore suppresses nothing.\n\nThe defect is gone or the rule's name is wrong: remove the comment.",
    check=lambda exchange: iter(()),
)
"""Not in the catalogue: it is about hoplint's own comments, not about traffic."""


OWN_RULES: Mapping[str, Rule] = {UNUSED_IGNORE.name: UNUSED_IGNORE}


class RuleError(TypeError):
    """A rule is not written as rules are; says file and line."""


def rule(
    *source: str,
    severity: Severity,
    fix: str | None = None,
    name: str | None = None,
    evidence: str = "headers",
    fields: Iterable[str] = (),
    breaks: Iterable[str] = (),
    verbatim: bool = False,
    odd: bool = False,
    odd_json: bool = False,
) -> Callable[[Callable[..., Hits]], Callable[..., Hits]]:
    """Register a generator function as a rule.

    ``evidence`` is written as in the catalogue: ``"headers + body"`` needs both, ``"error | octets"`` any one.
    ``verbatim`` keeps the rule away from messages that a recorder rebuilt: framing, repeats, line ends.
    ``odd`` keeps it away from messages with an everyday head (``watch.is_odd``), in which it never finds anything;
    ``odd_json`` from messages with ordinary JSON (``content.is_ordinary_json``).
    ``name`` is only for names that are not Python's, such as ``401-without-www-authenticate``.
    Raises RuleError for a function that does not look like a rule, naming its file and line.
    """

    def register(check: Callable[..., Hits]) -> Callable[..., Hits]:
        parameters = list(inspect.signature(check).parameters.values())
        made = Rule(
            name=name or check.__name__.replace("_", "-"),
            topic=check.__module__.rpartition(".")[2],
            severity=severity,
            source=source,
            fix=fix,
            scope=_scope(check, parameters, source),
            evidence=_alternatives(check, evidence),
            fields=frozenset(fields),
            breaks=tuple(breaks),
            wants_policy=len(parameters) == 2,
            verbatim=verbatim,
            odd=odd,
            odd_json=odd_json,
            # `python -OO` removes docstrings; the rules work without, only their manual is gone.
            doc=inspect.getdoc(check) or "(no manual: Python runs without docstrings)",
            check=check,
        )
        if made.name in RULES:
            raise RuleError(f"{_where(check)}: there is a rule {made.name} already")
        RULES[made.name] = made
        return check

    return register


def _where(check: Callable[..., Hits]) -> str:
    return f"{check.__code__.co_filename}:{check.__code__.co_firstlineno}"


def _scope(
    check: Callable[..., Hits], parameters: Sequence[inspect.Parameter], source: tuple[str, ...]
) -> str:
    annotations = [
        getattr(p.annotation, "__name__", str(p.annotation)).rpartition(".")[2] for p in parameters
    ]
    if not parameters or annotations[0] not in SCOPES:
        raise RuleError(f"{_where(check)}: the first parameter is annotated with one of {', '.join(SCOPES)}")
    if [(p.name, a) for p, a in zip(parameters[1:], annotations[1:], strict=True)] not in (
        [],
        [("policy", "Policy")],
    ):
        raise RuleError(f"{_where(check)}: the only other parameter a rule may have is policy: Policy")
    if not inspect.isgeneratorfunction(check):
        raise RuleError(f"{_where(check)}: a rule is a generator function: it yields (where, why)")
    if not source:
        raise RuleError(f"{_where(check)}: a rule cites at least one source")
    return annotations[0]


def _alternatives(check: Callable[..., Hits], evidence: str) -> tuple[m.Evidence, ...]:
    alternatives = []
    for alternative in evidence.split("|"):
        bits = m.Evidence(0)
        for word in alternative.split("+"):
            if word.strip().upper() not in m.Evidence.__members__:
                raise RuleError(f"{_where(check)}: evidence is not known: {word.strip()!r}")
            bits |= m.Evidence[word.strip().upper()]
        alternatives.append(bits)
    return tuple(alternatives)


def load() -> Mapping[str, Rule]:
    """Import every module of ``conformance.rules`` and return RULES."""
    package = import_module("conformance.rules")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
        import_module(f"conformance.rules.{module.name}")
    return RULES


class UnknownName(LookupError):
    """A rule, topic or addon that does not exist; the text names the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"there is no {kind} {name!r}{hint}")


def _matches(selector: str, candidate: Rule) -> int:
    """How specifically a selector names a rule: 0 not at all, 1 ALL, 2 an RFC, 3 a topic, 4 the rule."""
    if selector == candidate.name:
        return 4
    if selector.replace("-", "_") == candidate.topic:
        return 3
    if selector.lower().startswith("rfc"):
        number = f"RFC {selector[3:]} "
        return 2 if any(f"{source} ".startswith(number) for source in candidate.source) else 0
    return 1 if selector == "ALL" else 0


def select(
    rules: Mapping[str, Rule],
    layers: Iterable[tuple[Iterable[str] | None, Iterable[str], Iterable[str]]],
) -> dict[str, Rule]:
    """The rules that run.

    ``layers`` are (select, extend-select, ignore), the weakest first: settings, then command line. Within
    them the most specific selector wins (rule over topic over RFC over ALL), a later layer over an earlier
    one, and ignore over select where both are as specific. Without any select, everything but notes runs.
    Raises UnknownName for a selector that names nothing.
    """
    known = {*rules, *(r.topic for r in rules.values()), "ALL"}
    verdicts: dict[str, tuple[tuple[int, int, int], bool]] = {
        name: ((0, 0, 0), candidate.by_default) for name, candidate in rules.items()
    }
    for depth, (chosen, extended, ignored) in enumerate(layers, 1):
        if chosen is not None:  # an explicit selection starts from nothing
            verdicts = dict.fromkeys(rules, ((0, depth, 0), False))
        for wanted, selectors in ((True, (*(chosen or ()), *extended)), (False, tuple(ignored))):
            for selector in selectors:
                hits = 0
                for name, candidate in rules.items():
                    if how := _matches(selector, candidate):
                        hits += 1
                        rank = (how, depth, 0 if wanted else 1)
                        if rank >= verdicts[name][0]:
                            verdicts[name] = (rank, wanted)
                if not hits:
                    raise UnknownName("rule or topic", selector, known)
    return {name: rules[name] for name, (_, wanted) in verdicts.items() if wanted}
