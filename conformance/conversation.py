"""Which conversation a request belongs to, told by its messages: agents send the whole history each time.

A request's messages, whatever the API calls them, are read as a sequence of pieces (what the user said, what
the model said, a call, a result). Digests are chained over them, so that "this request's messages begin with
that one's" is a look-up. Where the reply to the earlier one is known it is chained too: it tells apart two
rollouts that began with the same prompt.

What clients change between turns is left out of the pieces: cache_control marks, reasoning, the text of tool
results (agents clear old ones), white space around texts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from conformance.llm import Reply

KEPT = 16_384
"""Exchanges that a later one may be found to continue: as many as ``history`` remembers."""
KEPT_ALIKE = 256
"""Of those, with one and the same history: rollouts of one prompt come in groups of 4 to 128."""

SYSTEM, USER, MODEL, CALL, RESULT = "suacr"
"""The kinds of pieces."""

_ROLES = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": MODEL,
    "model": MODEL,  # Gemini
    "tool": RESULT,
    "function": RESULT,
}
_HISTORIES = ("messages", "input", "contents")
"""Where the history is: Chat Completions and Anthropic, Responses, Gemini."""
_SYSTEMS = ("system", "instructions", "systemInstruction", "system_instruction")
_UNSTABLE = frozenset({"reasoning", "thinking", "redacted_thinking", "item_reference", "compaction"})
"""Kinds of items and blocks that clients drop or rewrite when they send the history back."""


type Piece = tuple[str, str]
"""One utterance, call or result: its kind, and what it says or is called."""


class Prompt(NamedTuple):
    """The messages of one request."""

    kinds: str
    """The kinds of its pieces, one character each, without the system prompt."""
    chain: tuple[bytes, ...]
    """A digest of the first piece, of the first two, and so on."""
    setup: bytes | None
    """Of the system prompt."""
    opening: bytes | None
    """Of what the user said first."""
    names_calls: bool
    """Calls are known by the function's name: ids are optional, and the client makes them up (Gemini)."""

    @property
    def is_start(self) -> bool:
        """The model has said nothing yet."""
        return MODEL not in self.kinds and CALL not in self.kinds

    @property
    def is_mid_turn(self) -> bool:
        """It brings the results of tools that the model's last message called."""
        return RESULT in self.kinds[max(self.kinds.rfind(MODEL), self.kinds.rfind(CALL)) + 1 :]


def prompt(document: Any, scope: bytes = b"") -> Prompt | None:
    """The messages of a request, by its JSON content; None where it has none that are known.

    Histories of different ``scope`` (a host) have nothing to do with each other.
    """
    if not isinstance(document, dict):
        return None
    for member in _HISTORIES:
        if history := document.get(member):
            break
    else:
        return None
    items = [{"role": "user", "content": history}] if isinstance(history, str) else history
    if not isinstance(items, list):
        return None
    systems = [text for name in _SYSTEMS if name in document for _, text in _blocks(document[name], SYSTEM)]
    pieces = _all(items)
    kinds = "".join([kind for kind, _ in pieces])
    start = len(kinds) - len(kinds.lstrip(SYSTEM))
    if start == len(pieces):
        return None
    systems += [text for _, text in pieces[:start]]
    first = kinds.find(USER)
    return Prompt(
        kinds=kinds[start:],
        chain=_chained(scope, pieces[start:]),
        setup=_setup("\n".join(systems)) if systems else None,
        opening=None if first < 0 else _digest(pieces[first][1]),
        names_calls=member == "contents",
    )


def answered(asked: Prompt, reply: Reply | None) -> bytes | None:
    """The chain of a request continued by the reply to it; None where that is not known, or not all of it."""
    if reply is None or not reply.is_whole or not (reply.text or reply.calls):
        return None
    pieces = [(MODEL, text)] if (text := reply.text.strip()) else []
    pieces += [(CALL, (call.name if asked.names_calls else call.id) or "") for call in reply.calls]
    return _chained(asked.chain[-1], pieces)[-1] if pieces else None


def _digest(text: str) -> bytes:
    return digest(text.encode("utf-8", "surrogatepass"))


LONGEST = 100_000
"""Characters of a system prompt that may be kept."""

_remembered = lru_cache(maxsize=8)(_digest)  # at most 3 MB


def _setup(text: str) -> bytes:
    # An agent's is long, and the same in each request: to find it again takes a third of the time.
    return _remembered(text) if len(text) <= LONGEST else _digest(text)


def digest(octets: bytes) -> bytes:
    """Twelve octets by which to know these again. SHA-256: processors have instructions for it."""
    return hashlib.sha256(octets).digest()[:12]


LONGEST_LINK = 4096
"""Characters of a piece that may be kept."""


def _chained(last: bytes, pieces: Iterable[Piece]) -> tuple[bytes, ...]:
    chain: list[bytes] = []
    for kind, text in pieces:
        link = _known_link if len(last) + len(text) <= LONGEST_LINK else _link  # a scope may be long, too
        last = link(last, kind, text)
        chain.append(last)
    return tuple(chain)


def _link(last: bytes, kind: str, text: str) -> bytes:
    return digest(last + (kind + text).encode("utf-8", "surrogatepass"))


# The next request has the same pieces. 4 MB, with wide characters 16.
_known_link = lru_cache(maxsize=1024)(_link)


def _all(items: Iterable[Any]) -> list[Piece]:
    pieces: list[Piece] = []
    for item in items:
        if not isinstance(item, dict):
            continue
        role, kind = item.get("role"), item.get("type")
        if isinstance(kind, str):
            if kind in _UNSTABLE:
                continue
            if kind.endswith("_output"):  # Responses: function_call_output and its kin
                pieces.append((RESULT, _named(item, "call_id", "id")))
                continue
            if kind.endswith("_call"):
                pieces.append((CALL, _named(item, "call_id", "id")))
                continue
        said = _ROLES.get(role, USER) if isinstance(role, str) else USER
        if said == RESULT:
            pieces.append((RESULT, _named(item, "tool_call_id", "name")))
            continue
        pieces += _blocks(item.get("content", item.get("parts")), said)
        if isinstance(calls := item.get("tool_calls"), list):
            pieces += [(CALL, _named(call, "id", "function")) for call in calls if isinstance(call, dict)]
    return pieces


def _blocks(content: Any, kind: str) -> list[Piece]:
    """The pieces of one message's content: a text, or blocks."""
    if isinstance(content, str):
        return [(kind, text)] if (text := content.strip()) else []
    if isinstance(content, dict):  # Gemini's systemInstruction
        return _blocks(content.get("parts", content.get("text")), kind)
    pieces: list[Piece] = []
    for block in content if isinstance(content, list) else ():
        if isinstance(block, str):
            pieces += _blocks(block, kind)
        elif (
            not isinstance(block, dict)
            or block.get("thought")
            or (isinstance(sort := block.get("type"), str) and sort in _UNSTABLE)
        ):
            continue
        elif sort == "tool_use":
            pieces.append((CALL, _named(block, "id")))
        elif sort == "tool_result":
            pieces.append((RESULT, _named(block, "tool_use_id")))
        elif "functionCall" in block:
            pieces.append((CALL, _named(block["functionCall"], "name")))
        elif "functionResponse" in block:
            pieces.append((RESULT, _named(block["functionResponse"], "name")))
        elif isinstance(block.get("text"), str):
            pieces += _blocks(block["text"], kind)
        else:
            pieces.append((kind, _json({name: block[name] for name in block if name != "cache_control"})))
    return pieces


def _named(item: Any, *names: str) -> str:
    """The first of these members that there is."""
    if not isinstance(item, dict):
        return ""
    found = next((item[name] for name in names if item.get(name)), None)
    return found if isinstance(found, str) else _json(found)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


# ---- ids in the content

BODY_IDS: tuple[str, ...] = (
    "metadata.session_id",
    "litellm_metadata.session_id",
    "litellm_session_id",
    "session_id",
    "sessionId",
    "conversation_id",
    "request.session_id",  # Gemini Code Assist
)
"""Members of a request's content that name its session. Not prompt_cache_key: a tree of agents shares it."""

CLAUDE_USER = "metadata.user_id"
"""Claude Code puts its session in there: JSON text with session_id, formerly ``user_..._session_UUID``."""

_BEGIN_IDS = frozenset(path.partition(".")[0] for path in (*BODY_IDS, CLAUDE_USER))


def body_ids(document: Any) -> Iterator[tuple[str, str]]:
    """(member, id) of every session id in a request's content."""
    if not isinstance(document, dict) or _BEGIN_IDS.isdisjoint(document):
        return
    for path in BODY_IDS:
        if found := _at(document, path):
            yield path, found
    user = _at(document, CLAUDE_USER)
    if user is not None and "session" in user:
        if user.startswith("{"):
            try:
                user = _at(json.loads(user), "session_id")
            except (ValueError, RecursionError):
                user = None
        else:
            user = user.rpartition("_session_")[2] if "_session_" in user else None
        if user:
            yield CLAUDE_USER, user


def _at(document: Any, path: str) -> str | None:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, str) and document else None


# ---- which conversation


@dataclass(slots=True, eq=False)
class Point:
    """A request of a conversation, where it may go on."""

    conversation: int
    turn: int
    session: str | None
    setup: bytes | None
    asked: bytes
    at: float
    """When it was asked."""
    answered: bytes | None = None
    failed: bool = False
    is_continued: bool = False
    continues: Point | None = None
    """The request that this one goes on from, until it is known whether it did."""


class Conversations:
    """Numbers conversations: of a recording, or of what is under way. Bounded: KEPT requests, or ``kept``.

    Who reads a recording knows how a request ended and calls ``place``. Who is asked while it is under way
    calls ``ask`` when it begins and ``settle`` when it has ended.
    """

    def __init__(self, kept: int | None = None, ttl: float = math.inf) -> None:
        """``ttl``: after so many seconds a request is forgotten, and its conversation with the last of them."""
        self._kept = KEPT if kept is None else kept
        self._ttl = ttl
        self._count = 0
        self._points: deque[Point] = deque()
        self._asked: dict[bytes, list[Point]] = {}
        """By the history of the request."""
        self._answered: dict[bytes, list[Point]] = {}
        """By the same, continued by the reply."""

    def place(
        self, asked: Prompt, reply: bytes | None, *, session: str | None, failed: bool, is_retry: bool
    ) -> tuple[int, int]:
        """The number of the conversation that a request belongs to, and which turn of it this is, from 1.

        ``reply`` is what ``answered`` says, None where the reply is not known. ``is_retry``: the client says
        so. A request with the history of an earlier one is a retry of it if that one failed, and another
        rollout otherwise.
        """
        point = self.ask(asked, session=session, is_retry=is_retry)
        self.settle(point, reply, failed=failed)
        return point.conversation, point.turn

    def begin(self) -> int:
        """The number of a new conversation, whose requests are told by something else than their messages."""
        self._count += 1
        return self._count

    def ask(
        self,
        asked: Prompt,
        *,
        session: str | None = None,
        is_retry: bool = False,
        now: float = 0.0,
        new: int | None = None,
    ) -> Point:
        """Where a request belongs; ``settle`` says later how it ended. ``now``: seconds of a steady clock.

        ``new``: the number of the conversation, if it begins one; None: the next.
        """
        self._expire(now)
        before = self._retried(asked, session, is_retry)
        if before is not None:
            conversation, turn, continues = before.conversation, before.turn, before.continues
            # Who asks the same once more, when this one is answered, begins a rollout; what was answered to
            # the first try nobody has seen.
            before.failed = False
            _forget(self._answered, before.answered, before)
            before.answered = None
        elif (continues := self._continued(asked, session)) is not None:
            conversation, turn = continues.conversation, continues.turn + 1
        else:
            conversation, turn = self.begin() if new is None else new, 1
        if continues is not None:
            continues.is_continued = True
        point = Point(conversation, turn, session, asked.setup, asked.chain[-1], now, continues=continues)
        self._keep(point)
        return point

    def settle(self, point: Point, reply: bytes | None, *, failed: bool) -> None:
        """A request has ended. ``reply`` and ``failed``: as for ``place``."""
        if failed:
            point.failed = True
            if point.continues is not None:
                point.continues.is_continued = False
            return
        point.continues = None
        if reply is not None and point.answered is None and point in self._asked.get(point.asked, ()):
            point.answered = reply
            _remember(self._answered, reply, point)

    def _retried(self, asked: Prompt, session: str | None, is_retry: bool) -> Point | None:
        # Two ids are two sessions, whatever they ask. Of several rollouts one that failed is tried again,
        # though another one may have been asked later.
        found = [
            point
            for point in reversed(self._asked.get(asked.chain[-1], ()))
            if session == point.session or None in (session, point.session)
        ]
        failed = next((point for point in found if point.failed), None)
        return failed or (found[0] if is_retry and found else None)

    def _continued(self, asked: Prompt, session: str | None) -> Point | None:
        # The longest history first: with the reply, or, where that is not known, with any reply.
        for length in range(len(asked.chain) - 1, 0, -1):
            key = asked.chain[length - 1]
            found = self._answered.get(key)
            if found and (best := _best([p for p in found if not p.is_continued], asked, session)):
                return best
            found = self._asked.get(key)
            if found and asked.kinds[length] in (MODEL, CALL):
                waiting = [point for point in found if not point.is_continued and not point.failed]
                best = _best([point for point in waiting if point.answered is None], asked, session)
                # A client may have changed the reply (cut its reasoning out): where only one can be meant,
                # it is meant.
                alone = (
                    waiting[0] if len(found) == 1 and waiting and waiting[0].setup == asked.setup else None
                )
                if best or alone:
                    return best or alone
        return None

    def _keep(self, point: Point) -> None:
        if len(self._points) >= self._kept:
            self._drop_oldest()
        self._points.append(point)
        _remember(self._asked, point.asked, point)

    def _expire(self, now: float) -> None:
        while self._points and now - self._points[0].at > self._ttl:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        old = self._points.popleft()
        _forget(self._asked, old.asked, old)
        _forget(self._answered, old.answered, old)


def _best(points: list[Point], asked: Prompt, session: str | None) -> Point | None:
    """Of those that may be meant, the one of the same session, else with the same system prompt, else the oldest."""
    if len(points) > 1:
        same = [point for point in points if session is not None and point.session == session]
        points = same or [point for point in points if point.setup == asked.setup] or points
    return points[0] if points else None


def _remember(index: dict[bytes, list[Point]], key: bytes, point: Point) -> None:
    found = index.setdefault(key, [])  # most hold one; an empty deque takes 760 octets
    found.append(point)
    if len(found) > KEPT_ALIKE:
        del found[0]


def _forget(index: dict[bytes, list[Point]], key: bytes | None, point: Point) -> None:
    if key is not None and (found := index.get(key)) and point in found:
        found.remove(point)
        if not found:
            del index[key]
