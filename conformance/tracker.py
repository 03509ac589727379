"""Which conversation a request under way belongs to: the conversations that pass a proxy.

What ``conformance.conversation`` tells of a recording, told while it happens: a request is placed when it begins,
and what was answered to it is added when it has passed.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance import conversation
from conformance.conversation import Conversations, Point, Prompt
from conformance.llm import Reply


@dataclass(slots=True, eq=False)
class Asked:
    """A request under way."""

    number: int
    """Of its conversation."""
    prompt: Prompt | None
    point: Point | None
    reply: Callable[[], Reply | None]
    """What has been answered by now."""


class Tracker:
    """Which conversations there are, told by what was asked and answered. Bounded, and forgets."""

    def __init__(self, capacity: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._ttl, self._capacity = clock, ttl, capacity
        self._conversations = Conversations(capacity, ttl)
        self._open: dict[bytes, list[Asked]] = {}
        """By the history of the request."""
        self._responses: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        """Responses that a request may refer to instead of sending the history."""
        self._key = secrets.token_bytes(32)

    def ask(
        self, said: Any, scope: bytes, *, is_retry: bool, reply: Callable[[], Reply | None]
    ) -> Asked | None:
        """A request begins; None: it holds no messages. Histories of different scope never meet."""
        prompt = conversation.prompt(said, scope)
        previous = said.get("previous_response_id") if isinstance(said, dict) else None
        if isinstance(previous, str) and previous:
            return Asked(self._continuing(digest(scope, previous.encode())), None, None, reply)
        if prompt is None:
            return None
        # Who goes on has seen the answer, maybe before its end has passed here.
        for key in prompt.chain[:-1]:
            for other in list(self._open.get(key, ())):
                told = other.reply()
                if told is not None and any(told.finish.values()):
                    self.end(other, failed=False)
        point = self._conversations.ask(prompt, is_retry=is_retry, now=self._clock())
        asked = Asked(point.conversation, prompt, point, reply)
        self._open.setdefault(point.asked, []).append(asked)
        return asked

    def _continuing(self, response: bytes) -> int:
        number, at = self._responses.get(response, (0, 0.0))
        return number if number and self._clock() - at <= self._ttl else self._conversations.begin()

    def end(self, asked: Asked, *, failed: bool) -> None:
        """A request has ended. One that failed, or was answered with an error, may be sent again."""
        point, prompt = asked.point, asked.prompt
        if point is None or prompt is None:
            return
        if (others := self._open.get(point.asked)) is None or asked not in others:
            return  # already
        others.remove(asked)
        if not others:
            del self._open[point.asked]
        told = None if failed else asked.reply()
        failed = failed or (told is not None and told.error is not None)
        self._conversations.settle(
            point, None if failed else conversation.answered(prompt, told), failed=failed
        )

    def made(self, asked: Asked, scope: bytes, response: str) -> None:
        """A response has been made that later requests may refer to by this id."""
        self._responses[digest(scope, response.encode())] = (asked.number, self._clock())
        if len(self._responses) > self._capacity:
            self._responses.popitem(last=False)

    def id(self, number: int) -> bytes:
        """The id of a conversation, 32 hexadecimal digits; nobody else can say it."""
        return hashlib.blake2b(b"%d" % number, key=self._key, digest_size=16).hexdigest().encode()


def digest(*parts: bytes) -> bytes:
    """Of these parts, in this order."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(b"%d:" % len(part) + part)
    return made.digest()
