"""Who chokes on what: what real clients, servers and proxies made of messages with one defect each.

The table was measured, not read up: each case was sent raw over loopback to every program, and what its caller saw
was written down (``tests/benchmarks/remeasure.py`` does it again). The octets are in ``recordings/defects``, the
outcomes in ``breaks.json``: a letter for each program, in the order of ``parties``. It is read when somebody asks.

A program is known by name, version, variant (builds of one version: its C and its pure-Python parser) and option
(a switch that somebody has to set, such as ``-X dev``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from conformance.finding import Finding
from conformance.rule import Rule

DATA = Path(__file__).with_suffix(".json")
REFUSED, TAKEN, UNKNOWN = "R", ".", "-"
"""Letters of outcomes: refused; taken, and nothing more is to be said; not measured with this program."""
NAMED = 6
"""Programs that are named for one outcome; of more than these, how many more."""

type Side = Literal["requests", "responses"]


class Party(NamedTuple):
    """One program that was measured."""

    name: str
    version: str
    variant: str
    option: str


class Case(NamedTuple):
    """One message that was sent, and what became of it."""

    name: str
    side: Side
    sent: str
    """What is the matter with it."""
    rules: tuple[str, ...]
    """The rules that find it; none: nothing is wrong with it, and still not everybody takes it."""
    field: str
    """The field it is about (lower case), where its rules are about several; else empty."""
    when: str
    """What tells it from other cases of the same rule and field; empty: there are none."""
    outcomes: Mapping[Party, str]


class Table(NamedTuple):
    """Everything that was measured."""

    measured: str
    """The day."""
    wording: Mapping[str, str]
    """Letter -> what to say before the names of programs. In the order in which it is said."""
    cases: tuple[Case, ...]


class Row(NamedTuple):
    """What was measured of one defect."""

    refused: tuple[str, ...]
    """Who refuses it: ``aiohttp 3.8.6-3.13.3 (Python parser)``."""
    others: str
    """What becomes of it with all others, in one phrase; empty: nothing is known."""


@lru_cache(maxsize=1)
def table() -> Table:
    """The table as it is stored."""
    return read(DATA.read_text(encoding="utf-8"))


def read(text: str) -> Table:
    """A table from its JSON."""
    document = json.loads(text)
    sides: tuple[Side, ...] = ("responses", "requests")
    return Table(
        document["measured"],
        document["outcomes"],
        tuple(
            Case(
                name, side, case["sent"], tuple(case["rules"]), case.get("field", ""), case.get("when", ""),
                dict(zip((Party(*party) for party in document[side]["parties"]), case["outcomes"], strict=True)),
            )
            for side in sides
            for name, case in document[side]["cases"].items()
        ),
    )  # fmt: skip


def of_finding(rule: Rule, finding: Finding) -> Row:
    """Who chokes on exactly this: as measured for its side and field, and what the rule itself says."""
    wanted = finding.at.part if finding.at.part in ("request", "response") else _SENT.get(finding.origin, "")
    return _with_own(rule, _measured(rule.name, wanted, (finding.at.field or "").strip().lower()))


def of_rule(rule: Rule) -> list[tuple[str, Row]]:
    """What is known of a rule, each with what was sent; if anybody refuses anything, without what nobody does."""
    rows: dict[tuple[str, Row], list[str]] = {}
    for side, said in _SIDES.items():
        by_field: dict[str, list[Case]] = {}
        for case in _cases(rule.name):
            if case.side == side:
                by_field.setdefault(case.field or case.name, []).append(case)
        for cases in by_field.values():
            rows.setdefault((said, row(cases)), []).append(cases[0].sent)
    refused = any(found.refused for _, found in rows)
    known = [
        (f"{joined(sent)} {said}", found)
        for (said, found), sent in rows.items()
        if found.refused or not refused
    ]
    return known + ([("", Row(rule.breaks, ""))] if rule.breaks else [])


def names(rule: Rule) -> tuple[str, ...]:
    """Everybody who is known to choke on what the rule finds, in whatever field and direction."""
    return _with_own(rule, row(_cases(rule.name))).refused


def row(cases: Sequence[Case]) -> Row:
    """What is to be said of cases that are one defect; nothing if everybody takes them as they are."""
    letters: dict[Party, dict[str, list[Case]]] = {}
    for case in cases:
        for party, letter in case.outcomes.items():
            if letter != UNKNOWN:
                letters.setdefault(party, {}).setdefault(letter, []).append(case)
    always = {party for party, found in letters.items() if found.keys() == {REFUSED}}
    refused = collapsed(always, letters)
    conditions: dict[str, set[Party]] = {}
    for party, found in letters.items():
        if REFUSED in found and party not in always:
            conditions.setdefault(
                " or ".join(dict.fromkeys(c.when for c in found[REFUSED] if c.when)), set()
            ).add(party)
    for when, parties in conditions.items():
        refused += [f"{name}, if {when}" if when else name for name in collapsed(parties, letters)]
    seen = {letter for found in letters.values() for letter in found}
    return Row(tuple(refused), "" if seen <= _UNCHANGED else _others(letters))


def collapsed(parties: Iterable[Party], known: Iterable[Party]) -> list[str]:
    """Names of programs, versions that follow each other (among the known ones) as ranges.

    A variant is named where not all measured variants of that version are meant, an option where the same
    program is not meant without.
    """
    meant, order = set(parties), list(known)
    found: list[str] = []
    for name in dict.fromkeys(party.name for party in order):
        versions = sorted({party.version for party in order if party.name == name}, key=_numbers)
        labels: dict[str, list[int]] = {}
        for at, version in enumerate(versions):
            built = [party for party in order if (party.name, party.version) == (name, version)]
            for label in _labels(built, meant):
                labels.setdefault(label, []).append(at)
        spans = [(*run, label) for label, numbers in labels.items() for run in _runs(numbers)]
        for first, last, what in sorted(spans):
            span = versions[first] if first == last else f"{versions[first]}-{versions[last]}"
            found.append(f"{name} {span} ({what})" if what else f"{name} {span}")
    return found


def joined(parts: Iterable[str], limit: int | None = None) -> str:
    """``a, b and 3 more``."""
    listed = list(parts)
    if limit is None or len(listed) <= limit + 1:
        return ", ".join(listed)
    return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"


_SENT: Mapping[str, str] = {"client": "request", "server": "response"}
_SIDES: Mapping[Side, str] = {"responses": "in a response", "requests": "in a request"}


_UNCHANGED = frozenset({TAKEN, "b"})
_SAYS_MORE: Mapping[str, frozenset[str]] = {
    "o": frozenset("fl"),  # which of two different values was kept, beside that one of two equal ones was
    TAKEN: frozenset("Rijfldwbo"),
}
"""Letter -> those beside which it adds nothing, when several cases are told as one."""


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


@lru_cache(maxsize=1024)
def _measured(rule: str, part: str, field: str) -> Row:
    return row([case for case in _cases(rule) if part in case.side and case.field in ("", field)])


def _cases(rule: str) -> list[Case]:
    return [case for case in table().cases if rule in case.rules]


def _with_own(rule: Rule, found: Row) -> Row:
    return found._replace(
        refused=(*found.refused, *(name for name in rule.breaks if name not in found.refused))
    )


def _labels(built: Sequence[Party], meant: set[Party]) -> list[str]:
    """What to say of one version: nothing (all of it is meant), or which variants and options are."""
    plain = [party for party in built if not party.option]
    labels = [""] if plain and meant.issuperset(plain) else [p.variant for p in plain if p in meant]
    without = {party.variant for party in plain if party not in meant}
    optional: dict[str, list[str]] = {}
    for party in built:
        if party.option and party in meant and (party.variant in without or not plain):
            optional.setdefault(party.option, []).append(party.variant)
    for option, variants in optional.items():
        every = {party.variant for party in built if party.option == option} == set(variants)
        labels += [option] if every else [f"{variant}, {option}" for variant in variants]
    return labels


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _others(letters: Mapping[Party, Mapping[str, object]]) -> str:
    refusing = {party.name for party, had in letters.items() if REFUSED in had}
    phrases = []
    for letter, words in table().wording.items():
        if letter in (REFUSED, UNKNOWN):
            continue
        found = dict.fromkeys(
            f"other {party.name}" if party.name in refusing else party.name
            for party, had in letters.items()
            if letter in had and not had.keys() & _SAYS_MORE.get(letter, frozenset())
        )
        if found:
            phrases.append(f"{words} {joined(found, NAMED)}")
    return "; ".join(phrases)
