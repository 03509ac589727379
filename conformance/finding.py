"""What a rule found, where it is, and how it is recognised when the same thing is recorded again."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from conformance.message import Origin
from conformance.rule import OWN_RULES, Rule, Severity

type Part = Literal["request", "response", "frame", "connection", "stream"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where in which recording."""

    recording: str
    """The path as the user named it; ``-`` for standard input."""
    exchange: int | None
    """Counts from 1 within its recording; None: in a stream, outside of any exchange."""
    part: Part
    index: int | None = None
    """Which field line (trailer fields count on), frame, or, in a stream, octet. Counts from 0."""
    field: str | None = None
    """The field's name as it is written."""
    line: int | None = None
    """Line number in a transcript."""
    flow: str | None = None
    stream: int | None = None
    """Which TCP stream of the recording, counted from 1; None: not from octets."""


@dataclass(frozen=True, slots=True)
class Quote:
    """One line of a recording as a report may print it: masked, escaped, printable ASCII."""

    text: str
    number: int | None = None
    """Its line in a transcript."""
    marked: bool = False
    """It is what the finding is about."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One departure from one rule. Holds no part of a recording that a report may not print."""

    rule: str
    severity: Severity
    at: Location
    why: str
    origin: Origin
    evidence: Literal["octets", "flow", "error", "har"]
    quotes: tuple[Quote, ...] = ()
    also: tuple[str, ...] = ()
    """Other findings that the same defect explains, by name."""
    host: str = ""
    method: str = ""
    path: str = ""
    status: int | None = None
    """Of the final response; None: it is not known, or belongs to no exchange."""

    @property
    def alike(self) -> str:
        """Equal for findings of one rule that say the same about the same field, ids and numbers apart."""
        return f"{self.at.part} {(self.at.field or '').lower()} {_fold(self.why)}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stay the same when the run is recorded again.

        Made of the rule, what was asked of whom, the field and the reason; numbers and ids are folded, and
        neither the recording's name nor the exchange's number counts.
        """
        parts = (
            self.rule,
            self.host,
            self.method,
            _fold(self.path),
            self.at.part,
            (self.at.field or "").lower(),
            _fold(self.why),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that somebody asked not to see."""

    finding: Finding
    by: Literal["inline", "settings", "baseline"]
    reason: str


@dataclass(frozen=True, slots=True)
class Head:
    """The start line and the field lines of one message as a report may print them."""

    part: Part
    lines: tuple[str, ...]
    """The start line, then the fields, trailer fields last: the field a ``Location`` calls n is line n + 1."""
    cut: int = 0
    """How many more lines there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One exchange as a report may list it; masked and escaped as findings are."""

    number: int
    method: str
    host: str
    path: str
    status: int | None
    """None: no final response was recorded."""
    is_lost: bool
    """The recorder says that no response came, or not all of it."""
    started: float | None
    ended: float | None
    connection: str | None
    """The client's connection, by whatever the recording calls it."""
    conversation: int | None
    """Counted from 1 within the recording; None: not known, or no selected rule looks at conversations."""
    heads: tuple[Head, ...] = ()
    """The messages; only where something was found in them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one real parser said of one message."""

    exchange: int
    part: Literal["request", "response"]
    parser: str
    refusal: str | None
    """Its words, as a report may print them; None: it takes the message."""


@dataclass(slots=True)
class Summary:
    """What was read of one recording."""

    path: str
    kind: str
    exchanges: int
    streams: int
    error: str | None
    notes: tuple[str, ...]
    expected: frozenset[str] | None
    exercised: frozenset[str]
    entries: tuple[Entry, ...] = ()
    """The exchanges, if a listing was asked for; fewer than ``exchanges`` if there were too many."""
    parsers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """With ``--parsers``: parser -> how many messages it was asked about, and how many of them it refuses."""
    heard: tuple[Heard, ...] = ()
    """Of the first messages that some parser refuses, what each parser said."""


@dataclass(slots=True)
class Run:
    """Everything a report needs: it never goes back to a recording."""

    rules: Mapping[str, Rule]
    """The rules that were selected."""
    recordings: list[Summary] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    suppressed: list[Suppressed] = field(default_factory=list)
    edits: Counter[str] = field(default_factory=Counter)
    """Changes that addons made in flight, by addon, as their journals tell."""
    addons: frozenset[str] = frozenset()
    """The addons that are installed: only those are offered as a fix."""
    failures: list[str] = field(default_factory=list)
    """What could not be done: unreadable recordings, rules that raised."""
    notes: list[str] = field(default_factory=list)
    """What is no error but should be known: an ignore that expired, a baselined finding that is gone."""

    def rule(self, name: str) -> Rule:
        """The rule a finding names."""
        return self.rules.get(name) or OWN_RULES[name]

    @property
    def exercised(self) -> frozenset[str]:
        """The rules that some evidence could decide."""
        return frozenset().union(*(summary.exercised for summary in self.recordings))

    @property
    def baselined(self) -> int:
        """How many of the suppressed findings are known from the baseline; the others are ignored."""
        return sum(one.by == "baseline" for one in self.suppressed)

    def count(self, severity: Severity) -> int:
        """How many findings are of that severity."""
        return sum(finding.severity is severity for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Look:
    """How a report for people is to look; the other formats take no notice."""

    color: bool = False
    width: int | None = None
    """Columns of the terminal; None: not a terminal, lines are as long as they are."""
    verbose: bool = False
    """Every finding in full, also those that only repeat one above."""
    statistics: bool = False


_ID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # UUID
    r"|(?<![A-Za-z0-9])[A-Za-z]{1,12}[_-][A-Za-z0-9]*[0-9][A-Za-z0-9]{7,}"  # req_8f3..., chatcmpl-...
    r"|(?<![A-Za-z0-9])(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}(?![A-Za-z0-9])"  # digests
)
_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_NUMBER = re.compile(r"(?<![A-Za-z/])\d+")


def _fold(text: str) -> str:
    return _NUMBER.sub("N", _ID.sub("ID", _DATE.sub("DATE", text)))
