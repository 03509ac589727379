"""Which conversation a request under way belongs to: the conversations that pass a proxy, or several.

What ``conformance.conversation`` tells of a recording, told while it happens: a request is placed when it begins,
and what was answered to it is added when it has passed.

Each step is an entry, plain data. Whoever applies the same entries in the same order comes to the same
conversations; so several proxies are one, when they share a log of them (``conformance.shared``).
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from conformance import conversation
from conformance.conversation import Conversations, Point, Prompt
from conformance.llm import Reply


class Began(NamedTuple):
    """A request has begun."""

    key: str
    """Of the request: nobody else's."""
    number: int
    """Of its conversation, if it begins one."""
    prompt: Prompt
    is_retry: bool


class Referred(NamedTuple):
    """A request has begun that refers to a response instead of sending the history."""

    key: str
    number: int
    """Of its conversation, if the response is not known."""
    response: bytes


class Ended(NamedTuple):
    """A request has ended. One that failed, or was answered with an error, may be sent again."""

    key: str
    reply: bytes | None
    """The history continued by the reply (``conversation.answered``); None: not known."""
    failed: bool


class Made(NamedTuple):
    """A response has been made that later requests may refer to."""

    number: int
    """Of the conversation."""
    response: bytes


type Entry = Began | Referred | Ended | Made


@dataclass(slots=True, eq=False)
class Asked:
    """A request under way."""

    key: str
    prompt: Prompt | None
    reply: Callable[[], Reply | None]
    """What has been answered by now."""
    number: int = 0
    """Of its conversation: known when its entry has been applied."""
    turn: int = 0
    """Which one of the conversation it is, from 1; 0: not known."""


class Tracker:
    """Which conversations there are, told by what was asked and answered. Bounded, and forgets.

    ``ask``, ``end`` and ``made`` say what has happened, as entries; only ``apply`` changes what is known.
    """

    def __init__(self, capacity: int, ttl: float) -> None:
        self._ttl, self._capacity = ttl, capacity
        self._conversations = Conversations(capacity, ttl)
        self._open: dict[bytes, list[Asked]] = {}
        """By the history of the request: those that this process is asked."""
        self._asked: dict[str, Asked] = {}
        """The same by their keys."""
        self._points: OrderedDict[str, Point] = OrderedDict()
        """Of all requests that have not ended."""
        self._responses: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def ask(
        self, said: Any, scope: bytes, *, is_retry: bool, reply: Callable[[], Reply | None]
    ) -> tuple[Asked, list[Entry]] | None:
        """A request begins; None: it holds no messages. Histories of different scope never meet."""
        prompt = conversation.prompt(said, scope)
        previous = said.get("previous_response_id") if isinstance(said, dict) else None
        key, number = secrets.token_hex(8), secrets.randbits(128)
        if isinstance(previous, str) and previous:
            asked = self._asked[key] = Asked(key, None, reply)
            return asked, [Referred(key, number, digest(scope, previous.encode()))]
        if prompt is None:
            return None
        entries: list[Entry] = []
        # Who goes on has seen the answer, maybe before its end has passed here.
        for history in prompt.chain[:-1]:
            for other in self._open.get(history, ()):
                told = other.reply()
                if told is not None and any(told.finish.values()):
                    entries.append(_ended(other, told))
        asked = self._asked[key] = Asked(key, prompt, reply)
        self._open.setdefault(prompt.chain[-1], []).append(asked)
        return asked, [*entries, Began(key, number, prompt, is_retry)]

    def end(self, asked: Asked, *, failed: bool) -> list[Entry]:
        """A request has ended."""
        if asked.prompt is None or asked.key not in self._points:
            self._forget(asked.key)
            return []  # nothing hangs on it, or it is known already
        return [Ended(asked.key, None, failed=True) if failed else _ended(asked, asked.reply())]

    def made(self, asked: Asked, scope: bytes, response: str) -> list[Entry]:
        """A response has been made that later requests may refer to by this id."""
        return [Made(asked.number, digest(scope, response.encode()))]

    def apply(self, entry: Entry, at: float) -> None:
        """Take an entry for what has happened at that time, in seconds."""
        match entry:
            case Began(key, number, prompt, is_retry):
                point = self._conversations.ask(prompt, is_retry=is_retry, now=at, new=number)
                self._points[key] = point
                _bound(self._points, self._capacity)
                self._place(key, point.conversation, point.turn)
            case Referred(key, number, response):
                known, since = self._responses.get(response, (number, at))
                self._place(key, known if at - since <= self._ttl else number, 0)
            case Ended(key, reply, failed):
                if (point_or_none := self._points.pop(key, None)) is not None:
                    self._conversations.settle(point_or_none, reply, failed=failed)
                self._forget(key)
            case Made(number, response):
                self._responses[response] = number, at
                _bound(self._responses, self._capacity)

    def _place(self, key: str, number: int, turn: int) -> None:
        if (asked := self._asked.get(key)) is not None:
            asked.number, asked.turn = number, turn

    def _forget(self, key: str) -> None:
        asked = self._asked.pop(key, None)
        if asked is None or asked.prompt is None:
            return
        history = asked.prompt.chain[-1]
        self._open[history].remove(asked)
        if not self._open[history]:
            del self._open[history]


def _ended(asked: Asked, told: Reply | None) -> Ended:
    assert asked.prompt is not None
    if told is not None and told.error is not None:
        return Ended(asked.key, None, failed=True)
    return Ended(asked.key, conversation.answered(asked.prompt, told), failed=False)


def _bound[K, V](kept: OrderedDict[K, V], capacity: int) -> None:
    if len(kept) > capacity:
        kept.popitem(last=False)


def session_id(number: int) -> bytes:
    """The id of a conversation, 32 hexadecimal digits; nobody can guess it."""
    return b"%032x" % number


def packed(entry: Entry) -> list[Any]:
    """The entry as JSON can hold it; ``unpacked`` reads it."""
    match entry:
        case Began(key, number, prompt, is_retry):
            told = [prompt.kinds, *map(_text, (b"".join(prompt.chain), prompt.setup, prompt.opening))]
            return ["began", key, f"{number:x}", *told, prompt.names_calls, is_retry]
        case Referred(key, number, response):
            return ["referred", key, f"{number:x}", _text(response)]
        case Ended(key, reply, failed):
            return ["ended", key, _text(reply), failed]
        case Made(number, response):
            return ["made", f"{number:x}", _text(response)]


def unpacked(data: Sequence[Any]) -> Entry:
    """What ``packed`` made a list of."""
    match data:
        case ["began", str(key), str(number), str(kinds), str(chain), setup, opening, names_calls, is_retry]:
            octets = bytes.fromhex(chain)
            size = len(octets) // max(1, len(kinds))
            links = tuple(octets[at * size : (at + 1) * size] for at in range(len(kinds)))
            prompt = Prompt(kinds, links, _octets(setup), _octets(opening), bool(names_calls))
            return Began(key, int(number, 16), prompt, bool(is_retry))
        case ["referred", str(key), str(number), str(response)]:
            return Referred(key, int(number, 16), bytes.fromhex(response))
        case ["ended", str(key), reply, failed]:
            return Ended(key, _octets(reply), bool(failed))
        case ["made", str(number), str(response)]:
            return Made(int(number, 16), bytes.fromhex(response))
    raise ValueError(f"an entry of another kind: {str(data)[:40]}")


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.hex()


def _octets(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def digest(*parts: bytes) -> bytes:
    """Of these parts, in this order."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(b"%d:" % len(part) + part)
    return made.digest()
