"""A large flow file in pieces, which several processes examine at once; what comes out is what one process finds.

A piece is plain data: which recording, from which flow to which, told by the lengths that stand before flows, without
reading them. What ``examine`` makes of a piece is plain data, too, some hundred octets for each exchange. Where the
processes are, and how pieces get there, is not known here.

Only what needs the order of the whole recording is left to ``assemble``: numbers, conversations, sessions, retries,
connections that reach over several pieces. The few exchanges of which that wants more than was kept are read again.
"""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from conformance import recording
from conformance.examine import KEPT_CONNECTIONS, Examined, ExaminedStream, Examiner
from conformance.finding import Finding
from conformance.lint import Linter
from conformance.message import Exchange, Side, Stream
from conformance.recording import Recording
from conformance.rule import RULES, Rule, Severity, load
from conformance.watch import Watch

if TYPE_CHECKING:
    from conformance.policy import Policy

SIZE = 8 * 2**20
"""Octets of a piece at least: some four hundred flows of agents, a sixth of a second of work. To begin with one takes
three milliseconds."""


class Piece(NamedTuple):
    """A part of a flow file."""

    path: str
    """As ``recording.read`` takes it."""
    start: int
    """Offset of its first flow."""
    stop: int | None
    """Offset of the first flow that is not in it; None: it reaches to the end."""


@dataclass(slots=True)
class Examination:
    """What was found in a piece. Exchanges and streams are numbered from 1."""

    items: list[Examined | ExaminedStream] = field(default_factory=list)
    exchanges: int = 0
    streams: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    exercised: set[str] = field(default_factory=set)
    edits: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)


def split(path: str) -> list[Piece]:
    """The pieces of a recording, in order; none where it is no flow file or cannot be read."""
    source = recording.read(path)
    if source.kind != "mitmproxy":
        return []
    starts = source.starts(SIZE)
    return [Piece(path, start, stop) for start, stop in zip(starts, [*starts[1:], None], strict=True)]


def task(
    names: Iterable[str], policy: Policy | None, severities: Mapping[str, Severity], *, listing: bool
) -> bytes:
    """What pieces are to be examined for, ready to be sent. ``names``: of the rules. ``listing``: as for ``Examiner``."""
    return pickle.dumps((tuple(names), policy, dict(severities), listing))


def examine(task: bytes, piece: Piece) -> Examination:
    """What is found in a piece; to be called wherever there is a processor, with what ``task`` gave.

    Raises nothing for what cannot be read: it is in ``errors``.
    """
    rules, policy, severities, listing, watch = _understood(task)
    source = recording.read(piece.path).part(piece.start, piece.stop)
    examiner = Examiner(rules, policy, severities, source.path, listing=listing, watch=watch, numbered=False)
    items = [
        examiner.stream(item) if isinstance(item, Stream) else examiner.exchange(item) for item in source
    ]
    return Examination(
        items, source.exchanges, source.streams, source.errors, source.notes,
        examiner.exercised, examiner.edits, examiner.cut, examiner.unread,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _understood(
    task: bytes,
) -> tuple[dict[str, Rule], Policy | None, dict[str, Severity], bool, Watch]:
    """What a task says, and what is learned about heads while it is worked on."""
    names, policy, severities, listing = pickle.loads(task)  # noqa: S301 - our own, from the process that began this one
    load()
    rules = {name: RULES[name] for name in names}
    examiner = Examiner(rules, policy, severities, "")
    return rules, examiner.policy, severities, listing, examiner.watch


def assemble(
    linter: Linter,
    source: Recording,
    examinations: Iterable[Examination],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Lint a recording by the examinations of its pieces, in their order; ``source`` then says what was read."""
    _Assembly(linter, source).take(examinations, progress)


class _Placed(NamedTuple):
    """Where an exchange stands, as ``Examined`` says it."""

    number: int
    offset: int | None
    place: int


class _Assembly:
    """Puts what was found in pieces into the order of the recording."""

    def __init__(self, linter: Linter, source: Recording) -> None:
        self._linter, self._source = linter, source
        self._last: OrderedDict[tuple[Side, str], _Placed] = OrderedDict()
        """Connection -> its last exchange; the same that one process would remember."""
        self._at: int | None = None
        self._item: Exchange | Stream | None = None
        """What was read again last."""

    def take(self, examinations: Iterable[Examination], progress: Callable[[int], None] | None) -> None:
        source, linter = self._source, self._linter
        errors: list[str] = []
        counted: Counter[str] = Counter()
        source.exchanges = source.streams = 0
        for examined in examinations:
            for item in examined.items:
                if isinstance(item, ExaminedStream):
                    self._place_stream(item, source.exchanges, source.streams)
                else:
                    self._renumber(item, source.exchanges, source.streams)
                    linter.place(item, partial(self._exchange, item))
            source.exchanges += examined.exchanges
            source.streams += examined.streams
            errors += examined.errors
            for note in examined.notes:  # what it is about: how many
                what, _, count = note.rpartition(": ")
                counted[what] += int(count)
            linter.exercised.update(examined.exercised)
            linter.edits.update(examined.edits)
            linter.examiner.cut.update(examined.cut)
            linter.examiner.unread.update(examined.unread)
            if progress is not None:
                progress(source.exchanges)
        source.notes = [f"{what}: {count}" for what, count in sorted(counted.items())]
        source.error = source.summed(errors)

    def _place_stream(self, made: ExaminedStream, exchanges: int, streams: int) -> None:
        made.number += streams
        made.found = [_numbered(finding, exchanges, streams) for finding in made.found]
        for one in made.exchanges:
            self._renumber(one, exchanges, streams)
            if one.entry is not None:
                one.entry = replace(one.entry, connection=f"stream {made.number}")
        self._linter.place_stream(
            made, lambda place: self._exchange(made.exchanges[place]), partial(self._stream, made)
        )

    def _renumber(self, made: Examined, exchanges: int, streams: int) -> None:
        """Number it behind so many others, and judge it beside the one before it on its connection."""
        made.number += exchanges
        if made.found:
            made.found = [_numbered(finding, exchanges, streams) for finding in made.found]
        if made.entry is not None:
            made.entry = replace(made.entry, number=made.number)
        place = _Placed(made.number, made.offset, made.place)
        for key in made.connections:
            before = self._last.pop(key, None)
            self._last[key] = place
            if len(self._last) > KEPT_CONNECTIONS:
                self._last.popitem(last=False)
            side, name = key
            if before is not None and side in made.unjudged:
                first, second = self._exchange(before).bare(), self._exchange(made).bare()
                self._linter.examiner.neighbours(first, second, side, name, made)

    def _exchange(self, made: Examined | _Placed) -> Exchange:
        """The exchange itself, read again; the same one as long as no other is asked for."""
        if self._at != made.number:
            item = self._read(made.offset)
            found = item.exchanges[made.place] if isinstance(item, Stream) else item
            received = found.received and replace(found.received, number=made.number)
            self._at, self._item = made.number, replace(found, number=made.number, received=received)
        assert isinstance(self._item, Exchange)
        return self._item

    def _stream(self, made: ExaminedStream) -> Stream:
        item = self._read(made.offset)
        assert isinstance(item, Stream)
        return replace(item, number=made.number)

    def _read(self, offset: int | None) -> Exchange | Stream:
        if offset is not None:
            for item in self._source.part(offset):
                return item
        raise ValueError(f"{self._source.path} has changed while it was linted")


def _numbered(finding: Finding, exchanges: int, streams: int) -> Finding:
    at = finding.at
    exchange = None if at.exchange is None else at.exchange + exchanges
    stream = None if at.stream is None else at.stream + streams
    return replace(finding, at=replace(at, exchange=exchange, stream=stream))
