"""What several real parsers make of one message, and where they part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from conformance.message import Message


class NotInstalled(Exception):
    """The parsers are not there; the text names the extra."""


class Verdict(NamedTuple):
    """What one real parser makes of a message."""

    parser: str
    """Name, version, variant: ``aiohttp 3.14.5 (C parser)``."""
    refusal: str | None
    """Its own words; None: it takes the message."""
    reading: tuple[tuple[str, object], ...] = ()
    """What it reads: (what, value) pairs. Empty: it refuses."""


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """A message with the verdicts of several real parsers."""

    message: Message
    verdicts: tuple[Verdict, ...]

    @property
    def taken(self) -> list[str]:
        """The parsers that take it."""
        return [verdict.parser for verdict in self.verdicts if verdict.refusal is None]

    @property
    def refused(self) -> dict[str, list[str]]:
        """Words of refusal -> the parsers that say so."""
        words: dict[str, list[str]] = {}
        for verdict in self.verdicts:
            if verdict.refusal is not None:
                words.setdefault(verdict.refusal, []).append(verdict.parser)
        return words

    @property
    def disputed(self) -> Iterator[tuple[str, dict[object, list[str]]]]:
        """What those that take it read differently: what it is, and for each reading the parsers."""
        readings: dict[str, dict[object, list[str]]] = {}
        for verdict in self.verdicts:
            for what, value in verdict.reading:
                readings.setdefault(what, {}).setdefault(value, []).append(verdict.parser)
        yield from ((what, groups) for what, groups in readings.items() if len(groups) > 1)
