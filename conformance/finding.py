"""What a rule found, where it is, and how it is recognised when the same thing is recorded again."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from conformance.message import Origin
from conformance.rule import Severity

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


_ID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # UUID
    r"|(?<![A-Za-z0-9])[A-Za-z]{1,12}[_-][A-Za-z0-9]*[0-9][A-Za-z0-9]{7,}"  # req_8f3..., chatcmpl-...
    r"|(?<![A-Za-z0-9])(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}(?![A-Za-z0-9])"  # digests
)
_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_NUMBER = re.compile(r"(?<![A-Za-z/])\d+")


def _fold(text: str) -> str:
    return _NUMBER.sub("N", _ID.sub("ID", _DATE.sub("DATE", text)))
