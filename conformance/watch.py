"""Which rules can be left out: what they read is as it was when they found nothing.

A rule is a function of what it reads. One that found nothing in a message finds nothing in another that is the same
in all that the rule read of the first. The heads that an agent sends differ in a date, an id and a length, so that is
two rules of three.

* Nobody declares what a rule reads: it is given a copy that notes it, once for each head that comes often.
* Heads are compared only if they are the same but for their target and the values of their fields (``_shape``).
  Within a shape it is no reading to ask which fields there are, or for the status. The content counts as changed
  always.
* Left to all rules is what is rare: trailers, octets, frames, refusals, edits. So is a rule that found something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields as members
from itertools import compress
from operator import ne
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.message import Exchange, FieldLine, Fields, Message, Request, Response
from conformance.rule import Rule

if TYPE_CHECKING:
    from conformance.policy import Policy

KEPT = 256
"""Shapes of messages that are known, and of exchanges. Agents send a few dozen; when a stranger has sent so many,
no more are learned."""
KEPT_CHANGES = 256
"""Sets of changes that are known of one shape."""
OFTEN = 16
"""How often a shape has to come before it is learned, which takes as long as running the rules ten times."""


# ---- what a rule reads

_TARGET, _REST = ":target", ":rest"
"""Beside the names of fields: the target, and what counts as changed always."""
_SHAPED = frozenset(
    {
        "fields", "trailers", "version", "verbatim", "partial", "wire", "method", "authority", "code", "reason",
        "request", "response", "interim", "frames", "refusals", "error", "received", "edits", "scheme", "upstream",
        "recorder", "leg", "is_replay",
    }
)  # fmt: skip
"""Attributes that are the same within a shape (``_shape``, ``Watch.exchange``), or note themselves what is read."""
_NOTED: Mapping[str, str] = {
    **{
        made.name: _REST
        for kind in (Request, Response, Exchange)
        for made in members(kind)
        if made.name not in _SHAPED
    },
    "target": _TARGET,
    "bare": _REST,  # copies without being seen
}
"""All others, and how they are noted."""


class _Noting:
    """A message or an exchange that notes what is read of it."""

    def __getattribute__(self, name: str) -> Any:
        noted = _NOTED.get(name)
        if noted is not None:
            notes, part = object.__getattribute__(self, "_notes")
            notes.add(part + noted)
        return object.__getattribute__(self, name)


class _NotingRequest(_Noting, Request):
    pass


class _NotingResponse(_Noting, Response):
    pass


class _NotingExchange(_Noting, Exchange):
    pass


class _NotingLine(FieldLine):
    """A field line that notes when its value is looked at. Whoever gets past that finds no value, and fails."""

    _value: bytes
    _notes: set[str]
    _note: str

    @property
    def value(self) -> bytes:
        self._notes.add(self._note)
        return self._value

    def __iter__(self) -> Iterator[Any]:
        return iter((self.name, self.value))

    def __getitem__(self, index: Any) -> Any:
        return self.name if index == 0 else (self.name, self.value)[index]

    def __eq__(self, other: object) -> bool:
        return (self.name, self.value) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: object) -> bool:
        raise TypeError("field lines are in the order of their message")

    __le__ = __gt__ = __ge__ = __lt__

    def __hash__(self) -> int:
        return hash((self.name, self.value))


def _noting_line(line: FieldLine, notes: set[str], part: str) -> _NotingLine:
    made = tuple.__new__(_NotingLine, (line.name, None))
    made._value, made._notes, made._note = line.value, notes, part + line.key
    return made


class _NotingFields(Fields):
    """Fields that note whose values are looked at."""

    __slots__ = ("_notes", "_part")

    def __init__(self, fields: Fields, notes: set[str], part: str) -> None:
        super().__init__()
        self._lines = tuple([_noting_line(line, notes, part) for line in fields])
        self._notes, self._part = notes, part

    @property
    def block(self) -> bytes:
        return b"\n".join([line.value for line in self._lines])

    @property
    def names_block(self) -> bytes:
        return b"\n".join([line.name for line in self._lines])


def _noting(message: Message, notes: set[str]) -> Message:
    kind: type[Message] = _NotingRequest if isinstance(message, Request) else _NotingResponse
    made = object.__new__(kind)
    part = _part(message)
    # Not what is kept with a message (``once``): somebody else has read for that.
    facts = {made.name: getattr(message, made.name) for made in members(message)}
    made.__dict__.update(facts, fields=_NotingFields(message.fields, notes, part), _notes=(notes, part))
    return made


def _part(message: Message) -> str:
    return "request " if isinstance(message, Request) else "response "


def _noting_exchange(exchange: Exchange, notes: set[str]) -> Exchange:
    made = object.__new__(_NotingExchange)
    messages = {
        "request": _noting(exchange.request, notes),
        "response": exchange.response and _noting(exchange.response, notes),
    }
    made.__dict__.update(exchange.__dict__, **messages, _notes=(notes, ""))
    return made


def reads(rule: Rule, subject: Message | Exchange, policy: Policy | None) -> frozenset[str] | None:
    """What a rule reads that finds nothing: ``request host``, ``response date``, ``request :target``...

    None: it finds something, fails, or reads what is never the same.
    """
    notes: set[str] = set()
    copy = _noting_exchange(subject, notes) if isinstance(subject, Exchange) else _noting(subject, notes)
    try:
        for _ in rule.check(copy, policy) if rule.wants_policy else rule.check(copy):
            return None
    except Exception:  # noqa: BLE001 - it is run on the subject itself, too, and its failure reported there
        return None
    return None if any(note.endswith(_REST) for note in notes) else frozenset(notes)


# ---- what came before


class _Known:
    """What is known of the messages of one shape, or of exchanges of such messages."""

    __slots__ = ("due", "reads", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.reads: list[tuple[Rule, frozenset[str] | None]] | None = None
        """The rules that can matter, each with what it reads."""
        self.due: dict[tuple[tuple[str, ...], bool, bool], Sequence[Rule]] = {}
        """By what has changed, whether the head is odd, and whether the content is."""


class _Head(_Known):
    """The first head of its shape, with which others are compared."""

    __slots__ = ("keys", "lines", "target")

    def __init__(self, message: Message) -> None:
        super().__init__()
        part = _part(message)
        self.lines = tuple(message.fields)
        self.keys = tuple([part + line.key for line in self.lines])
        self.target = message.target if isinstance(message, Request) else b""


class Likeness(NamedTuple):
    """That a message, or an exchange, is like others that came before."""

    known: _Known
    changes: tuple[str, ...]
    """What is not as in the first of them, as in ``reads``."""


class Watch:
    """What came before in one recording."""

    def __init__(self, policy: Policy | None) -> None:
        self._policy = policy
        self._heads: dict[Hashable, _Head] = {}
        self._pairs: dict[Hashable, _Known] = {}

    def message(self, message: Message) -> Likeness | None:
        """What a message is like; None: like none, or too few."""
        shape = _shape(message)
        if shape is None:
            return None
        head = self._heads.get(shape)
        if head is None:
            if len(self._heads) < KEPT:
                self._heads[shape] = _Head(message)
            return None
        head.seen += 1
        if head.seen < OFTEN:
            return None
        changes = [*compress(head.keys, map(ne, message.fields, head.lines))]
        if isinstance(message, Request) and message.target != head.target:
            changes.append("request " + _TARGET)
        return Likeness(head, tuple(changes))

    def exchange(self, exchange: Exchange, messages: Sequence[Likeness | None]) -> Likeness | None:
        """What an exchange is like, by what its messages are like; None: like none."""
        if (
            exchange.error is not None or exchange.interim or exchange.frames or exchange.refusals
            or exchange.edits or exchange.received is not None or None in messages
        ):  # fmt: skip
            return None
        likes = [like for like in messages if like is not None]
        key = (
            *[like.known for like in likes],
            exchange.scheme, exchange.upstream, exchange.recorder, exchange.leg, exchange.is_replay,
        )  # fmt: skip
        known = self._pairs.get(key)
        if known is None:
            if len(self._pairs) >= KEPT:
                return None
            known = self._pairs[key] = _Known()
        return Likeness(known, tuple([change for like in likes for change in like.changes]))

    def due(
        self,
        rules: Callable[[], Sequence[Rule]],
        subject: Message | Exchange,
        like: Likeness | None,
        *,
        odd: bool = True,
        odd_json: bool = True,
    ) -> Sequence[Rule]:
        """Of ``rules()``, which can matter for a message or an exchange, those that may find something.

        They are the same within a shape, and asked for only where it is not known yet which are due.
        ``odd``: what ``is_odd`` says of a message; ``odd_json``: it has other content than ordinary JSON.
        """
        if like is None:
            return [rule for rule in rules() if _fits(rule, odd, odd_json)]
        known, changes = like
        due = known.due.get((changes, odd, odd_json))
        if due is None:
            if known.reads is None:
                known.reads = [(rule, reads(rule, subject, self._policy)) for rule in rules()]
                # What it reads here and would not find in the first one says nothing about the others.
                known.reads = [
                    (rule, seen if seen is not None and seen.isdisjoint(changes) else None)
                    for rule, seen in known.reads
                ]
            due = tuple(
                [
                    rule
                    for rule, seen in known.reads
                    if _fits(rule, odd, odd_json) and (seen is None or not seen.isdisjoint(changes))
                ]
            )
            if len(known.due) < KEPT_CHANGES:
                known.due[changes, odd, odd_json] = due
        return due


def _fits(rule: Rule, odd: bool, odd_json: bool) -> bool:
    """Whether a rule may find something in a message that is or is not odd in these ways."""
    return (odd or not rule.odd) and (odd_json or not rule.odd_json)


_VISIBLE = re.compile(rb"[\x20-\x7e]*")
_COUNT = re.compile(rb"0|[1-9][0-9]{0,17}")
_LARGE = 4096


def is_odd(message: Message) -> bool:
    """Whether a head is not of the everyday kind.

    That is: all of it is ASCII without control characters, and less than four kilobytes; names are tokens;
    Content-Length is there once at most, and then a number of up to 18 digits without leading zeros; there are no
    octets, no trailers and no percent-encoded control characters (``%0``).
    """
    fields = message.fields
    values = fields.block
    if (
        message.wire is not None
        or len(message.trailers)
        or len(values) + len(fields.names_block) > _LARGE
        or not fields.is_plain
        or b"\t" in values
        or b"%0" in values
        or not _VISIBLE.fullmatch(message.start_line)
    ):
        return True
    lengths = fields.lines("content-length")
    return bool(lengths) and (len(lengths) > 1 or not _COUNT.fullmatch(lengths[0].value))


def _shape(message: Message) -> Hashable:
    """Equal for messages that differ in the values of fields, the target and the content only; None: odd ones."""
    if message.wire is not None or len(message.trailers):
        return None
    if isinstance(message, Request):
        return (
            message.method, message.version, message.authority, message.verbatim, message.partial,
            message.fields.names_block,
        )  # fmt: skip
    if isinstance(message, Response):
        return (
            message.code, message.version, message.reason, message.verbatim, message.partial,
            message.fields.names_block, None,
        )  # fmt: skip
    return None
