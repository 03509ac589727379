"""What came before an exchange: an index of a recording's exchanges, built in one pass in bounded memory.

Of each exchange a small ``Digest`` is kept, filed under its request, conversation, session, client and so on;
each exchange is given back as a ``Turn``, with the digests of those filed under the same. Rules of scope Turn
judge these: a request sent again, a session that moved, a token that was not sent back.

What takes time is to digest an exchange, which needs nothing of those before it: ``Digester`` does it, in another
process perhaps. ``History`` puts the digests into their order.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance import conversation, grammar, known, llm, sse
from conformance.content import document
from conformance.conversation import Conversations, Prompt
from conformance.message import Exchange, Fields, Request, Response
from conformance.secret import is_placeholder
from conformance.turn import Digest, Turn

if TYPE_CHECKING:
    from conformance.policy import Session

KEPT = 16_384
"""Digests that are remembered, which with their index and the conversations are 50 MB at most. What is further
back is no longer known."""
KEPT_ALIKE = 32
"""Of those filed under one thing, the last: enough to see that something happens again and again."""
SHOWN = 200
"""Characters of an id that are kept, so that a hostile one is not kept whole."""

_CREDENTIALS = tuple(sorted(known.CREDENTIALS))  # in one order: they are digested together
_DECISIVE = (
    *_CREDENTIALS,
    "accept", "content-type", "content-encoding", "anthropic-version", "anthropic-beta", "openai-beta", "api-version",
    "openai-organization", "openai-project", "chatgpt-account-id", "upgrade", "sec-websocket-version",
    "sec-websocket-protocol",
)  # fmt: skip
"""Fields whose values decide how a request is taken: with another one it is not sent unchanged."""
_VOLATILE = (
    known.REQUEST_IDS
    | known.SESSION_HEADERS
    | {
        "traceparent", "tracestate", "baggage", "date", "content-length", "transfer-encoding", "connection", "cookie",
        "sec-websocket-key", "x-amz-date", "x-amzn-trace-id", "x-cloud-trace-context", "idempotency-key", "via",
        "x-codex-turn-metadata", "x-stainless-retry-count", "x-stainless-read-timeout", "x-stainless-timeout",
    }
)  # fmt: skip
"""Fields that come and go, or differ, between two tries of the same request."""
_IN_PATH = re.compile(rb"/sessions/([A-Za-z0-9_\-]{8,})/")
"""miles' session server has the session's id in the path."""
_UNSENT = re.compile(
    r"(?i)connection refused|connect call failed|errno (?:61|110|111|113)\b|name or service|getaddrinfo|"
    r"no route to host|tls|certificate|unreachable"
)
"""Errors that say that no connection came about."""
_REQUEST_IDS = ("x-request-id", "request-id", "x-client-request-id")
_TRUTH = {b"true": True, b"false": False}
_MOVES = ("x-litellm-attempted-retries", "x-litellm-attempted-fallbacks")
_REPEATED = frozenset({"cache-control", "content-location", "etag", "expires"})
"""What a 304 has to repeat of the 200 (RFC 9110 §15.4.5), but for Date, and for Vary, which may come and go with
what the request says."""
_WITHOUT_CONTENT = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})


def waits(fields: Fields, now: float | None = None) -> Iterator[tuple[str, float]]:
    """(field, seconds) of each field of a response that says how long to wait before the next try.

    Retry-After may be a date: it counts from the response's own Date, else from ``now`` (seconds since 1970).
    What cannot be read is left out.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = fields.one(name)
        if value is not None and grammar.DIGITS.fullmatch(value) and len(value) < 12:
            yield name, int(value) / 1000
    value = fields.one("retry-after")
    if value is None:
        return
    if grammar.DIGITS.fullmatch(value):
        if len(value) < 12:
            yield "retry-after", float(value)
    elif (until := grammar.date(value)) is not None:
        sent = grammar.date(fields.one("date") or b"")
        since = sent.timestamp() if sent is not None else now
        if since is not None:
            yield "retry-after", max(0.0, until.timestamp() - since)


class Remembered(NamedTuple):
    """An exchange as it can be digested by itself."""

    digest: Digest
    """Without what only those before it tell: ``number``, ``is_fresh``, ``conversation`` and ``turn``."""
    prompt: Prompt | None
    reply: bytes | None
    """Of the history with the answer, as ``conversation.answered`` says."""


class History:
    """The exchanges of one recording so far."""

    def __init__(self, policy: Session) -> None:
        self._digester = Digester(policy)
        self._conversations = Conversations()
        self._ring: deque[tuple[Digest, tuple[Hashable, ...]]] = deque()
        self._filed: dict[Hashable, list[Digest]] = {}

    def turn(self, exchange: Exchange) -> Turn | None:
        """The next exchange of the recording with what came before it; None for one that is not to be judged."""
        made = self._digester.digest(exchange)
        return None if made is None else self.place(made, exchange.number, lambda: exchange)

    def place(self, remembered: Remembered, number: int, exchange: Callable[[], Exchange]) -> Turn:
        """The same for an exchange that has been digested and is the ``number``th; ``exchange`` gives it."""
        made = self._placed(remembered, number)
        seen, host = self._seen, made.host
        turn = Turn(
            get=exchange,
            digest=made,
            same_request=seen(("request", made.request)) if made.request else (),
            same_conversation=seen(("conversation", made.conversation)) if made.conversation else (),
            same_session=seen(("session", host, made.session)) if made.session else (),
            same_client=seen(("client", host, made.credential)),
            same_idempotency_key=seen(("idempotency", host, made.idempotency_key))
            if made.idempotency_key
            else (),
            same_websocket_key=seen(("websocket", host, made.websocket_key)) if made.websocket_key else (),
            same_request_id=tuple(
                digest for _, value in made.request_ids for digest in seen(("request-id", host, value))
            ),
            issuers=tuple(digest for token in made.tokens_sent for digest in seen(("token", host, token))),
            continued=seen(("response", host, made.previous_response_id))
            if made.previous_response_id
            else (),
        )
        self._file(made)
        return turn

    def _placed(self, remembered: Remembered, number: int) -> Digest:
        """The digest with what those before it tell."""
        made, prompt, reply = remembered
        conversation, turn = self._conversation(made, prompt, reply)
        is_fresh = made.session is not None and all(
            made.request is not None and earlier.request == made.request
            for earlier in self._seen(("session", made.host, made.session))
        )
        return made._replace(number=number, is_fresh=is_fresh, conversation=conversation, turn=turn)

    def _conversation(
        self, made: Digest, prompt: Prompt | None, reply: bytes | None
    ) -> tuple[int | None, int]:
        if made.previous_response_id is not None:
            # The history is on the server: what the request holds is only what is new.
            issuer = next(iter(self._seen(("response", made.host, made.previous_response_id))), None)
            return (None, 0) if issuer is None else (issuer.conversation, issuer.turn + 1)
        if prompt is None:
            return None, 0
        return self._conversations.place(
            prompt, reply, session=made.session, failed=made.failed, is_retry=bool(made.retry)
        )

    def _seen(self, key: Hashable) -> tuple[Digest, ...]:
        found = self._filed.get(key)
        return tuple(found) if found else ()

    def _file(self, made: Digest) -> None:
        host = made.host
        keys: list[Hashable] = [("client", host, made.credential)]
        if made.request:
            keys.append(("request", made.request))
        if made.conversation:
            keys.append(("conversation", made.conversation))
        if made.session:
            keys.append(("session", host, made.session))
        if made.idempotency_key:
            keys.append(("idempotency", host, made.idempotency_key))
        if made.websocket_key:
            keys.append(("websocket", host, made.websocket_key))
        if made.response_id:
            keys.append(("response", host, made.response_id))
        keys += [("request-id", host, value) for _, value in made.request_ids]
        keys += [("token", host, token) for token in made.tokens_issued]
        if len(self._ring) == KEPT:
            self._forget(*self._ring.popleft())
        self._ring.append((made, tuple(keys)))
        for key in keys:
            filed = self._filed.setdefault(key, [])  # most hold one; an empty deque takes 760 octets
            filed.append(made)
            if len(filed) > KEPT_ALIKE:
                del filed[0]

    def _forget(self, old: Digest, keys: Iterable[Hashable]) -> None:
        for key in keys:
            filed = self._filed.get(key)
            if filed and filed[0] is old:
                del filed[0]
                if not filed:
                    del self._filed[key]


BLOCK = 8192
"""Octets of content that are compared at once."""
LONGEST = 2**20
"""Octets of content that are remembered."""


class Contents:
    """Digests contents; of one that begins as the last one did, only what follows.

    An agent sends its whole history each time, which may be hundreds of kilobytes.
    """

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        """What the last content began with."""
        self._states = [hashlib.sha256()]
        """Behind none of these, behind one, and so on."""

    def digest(self, content: bytes | memoryview) -> bytes:
        """SHA-256 of the content."""
        known = 0
        for block in self._blocks:
            if bytes(content[known * BLOCK : (known + 1) * BLOCK]) != block:
                break
            known += 1
        del self._blocks[known:], self._states[known + 1 :]
        made = self._states[known].copy()
        for start in range(known * BLOCK, min(len(content), LONGEST) - BLOCK + 1, BLOCK):
            block = bytes(content[start : start + BLOCK])
            made.update(block)
            self._blocks.append(block)
            self._states.append(made.copy())
        made.update(content[len(self._blocks) * BLOCK :])
        return made.digest()


class Digester:
    """Digests exchanges, each by itself."""

    def __init__(self, policy: Session) -> None:
        self._policy = policy
        self._contents = Contents()
        self._order = tuple(
            dict.fromkeys(
                (
                    *((policy.header,) if policy.header else ()),
                    *(name.lower() for name in policy.reads if "*" not in name),
                    *known.CONVERSATION_IDS,
                )
            )
        )

    def digest(self, exchange: Exchange) -> Remembered | None:
        """What is remembered of an exchange; None for one that is not to be judged.

        A request that the recorder's user replayed is nobody's second try.
        """
        if exchange.is_replay:
            return None
        host = _host(exchange)
        request, response = exchange.request, exchange.response
        fields, names = request.fields, request.fields.names
        lasting, decisive = _sorted(names)
        endpoint = llm.endpoint(request)
        completes = endpoint is not None and endpoint.completes
        asked = document(request) if completes and request.method == b"POST" else None
        members: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
        field, session = self._session(request, asked)
        status = response.status if response is not None else 0
        lost = exchange.error is not None
        retry = fields.one("x-stainless-retry-count")
        content = _content(request)
        if "client_metadata" in members:
            # Codex writes the members of client_metadata in another order each time (Rust's HashMap).
            content = json.dumps(asked, sort_keys=True).encode()
        prompt = conversation.prompt(asked, host) if asked is not None else None
        idempotency_key = fields.one("idempotency-key")
        identity = (
            None
            if content is None
            else _digest(host, request.method, request.target, self._contents.digest(content))
        )
        named, key = members.get("previous_response_id"), members.get("prompt_cache_key")
        previous = _digest(named.encode("utf-8", "replace")) if isinstance(named, str) and named else None
        retries = int(retry) if retry is not None and retry.isdigit() and len(retry) < 6 else None
        failed = lost or status >= 400
        reply = None
        if prompt is not None and previous is None and not failed:
            reply = conversation.answered(prompt, llm.reply(exchange))
        answer = response.fields if response is not None else Fields()
        tokens = self._policy.tokens
        account, served = _first(fields, self._policy.accounts), _first(answer, self._policy.deployments)
        waiting = [seconds for _, seconds in waits(answer, exchange.ended)] if status >= 400 else []
        close = exchange.frames[-1] if exchange.frames else None
        made = Digest(
            number=0,
            started=exchange.started,
            ended=exchange.ended,
            host=host,
            method=request.method,
            path=request.path[:SHOWN],
            status=status,
            lost=lost,
            unsent=response is None
            and exchange.error is not None
            and _UNSENT.search(exchange.error) is not None,
            is_handshake="sec-websocket-key" in names,
            request=identity,
            details=_digest(
                lasting,
                *[line.value for name in decisive for line in fields.lines(name)],
                *(_untold(exchange) if status in (401, 403) else ()),
            ),
            connection=exchange.client_connection,
            credential=_credential(fields),
            account=_text(account) if account else None,
            session=session,
            session_field=field,
            is_branch=not names.isdisjoint(known.BRANCHES),
            setup=prompt.setup if prompt else None,
            opening=prompt.opening if prompt else None,
            is_start=prompt is not None and prompt.is_start,
            is_mid_turn=prompt is not None and prompt.is_mid_turn,
            size=request.size or 0,
            model=llm.wanted_model(request) if completes else None,
            deployment=_text(served) if served else None,
            was_moved=not answer.names.isdisjoint(_MOVES)
            and any((answer.one(name) or b"0") != b"0" for name in _MOVES),
            tokens_sent=_tokens(fields, tokens),
            tokens_issued=_tokens(answer, tokens) if status < 400 else (),
            response_id=_response_id(response) if completes and response is not None else None,
            previous_response_id=previous,
            cache_key=_digest(key.encode("utf-8", "replace")) if isinstance(key, str) else None,
            event_reader=(fields.one("mcp-session-id") or b"")[:SHOWN]
            if request.method == b"GET" and response is not None and _has_event_ids(response)
            else None,
            request_ids=()
            if names.isdisjoint(_REQUEST_IDS)
            else tuple((name, _text(value)) for name in _REQUEST_IDS if (value := fields.one(name))),
            idempotency_key=_digest(idempotency_key) if idempotency_key else None,
            websocket_key=_digest(nonce) if (nonce := fields.one("sec-websocket-key")) else None,
            wait=min(waiting) if waiting else None,
            should_retry=_TRUTH.get((answer.one("x-should-retry") or b"").lower()),
            retry=retries,
            close_code=close.code
            if close is not None and close.opcode == "CLOSE" and close.sender == "server"
            else None,
            stored=_stored(answer) if status == 200 and request.method == b"GET" else None,
        )
        return Remembered(made, prompt, reply)

    def _session(self, request: Request, asked: object) -> tuple[str, str | None]:
        """The field (or member of the content) that names the session, and the id."""
        names = request.fields.names
        for name in self._order:
            if name in names:
                values = {line.value for line in request.fields.lines(name)}
                if len(values) > 1:
                    return "", None  # who routes by it may read any of them
                value = values.pop()
                if value and not is_placeholder(value):
                    return name, _text(value)
        for member, found in conversation.body_ids(asked):
            return member, found[:SHOWN]
        if b"/sessions/" in request.path and (inside := _IN_PATH.search(request.path)):
            return "path", _text(inside[1])
        return "", None


def _host(exchange: Exchange) -> bytes:
    """Where the request went; each side of a hop by itself."""
    request = exchange.request
    place = (
        exchange.upstream.encode()
        if exchange.upstream
        else request.authority or request.fields.one("host") or b""
    )
    return place.lower() + b"|server" if exchange.leg == "server" else place.lower()


def _stored(answer: Fields) -> tuple[bytes, bytes, frozenset[str]] | None:
    tag = answer.one("etag")
    if tag is None or len(tag) > SHOWN:
        return None
    coding = b",".join(member.lower() for member in answer.values("content-encoding"))[:SHOWN]
    return tag, coding, answer.names & _REPEATED


def _untold(exchange: Exchange) -> Iterator[bytes]:
    """What sets a refused request apart: a masked credential may be the same as another masked one, or not."""
    fields = exchange.request.fields
    if any(b"***" in line.value for name in _CREDENTIALS for line in fields.lines(name)):
        yield f"{exchange.flow} {exchange.number}".encode()


def _has_event_ids(response: Response) -> bool:
    if not sse.declared(response):
        return False
    stream = sse.events(response)
    return stream is not None and any(event.id for event in stream.events)


def _content(request: Request) -> bytes | memoryview | None:
    """The content as far as it tells two requests apart; None: not known."""
    if request.partial:
        return None
    if request.body is None and request.method in _WITHOUT_CONTENT:
        names = request.fields.names
        return None if "content-length" in names or "transfer-encoding" in names else b""
    return request.body


def _digest(*parts: bytes) -> bytes:
    made = hashlib.sha256()  # as conversation.digest
    for part in parts:
        made.update(b"%d:" % len(part))
        made.update(part)
    return made.digest()[:12]


@lru_cache(maxsize=1024)  # a recording has a few sets of fields, over and over
def _sorted(names: frozenset[str]) -> tuple[bytes, tuple[str, ...]]:
    """Of a request's fields those that do not come and go, as one; and those that are decisive."""
    lasting = b" ".join([name.encode("latin-1") for name in sorted(names - _VOLATILE)])
    return lasting, tuple([name for name in _DECISIVE if name in names])


def _text(value: bytes) -> str:
    return value[:SHOWN].decode("latin-1")


def _credential(fields: Fields) -> bytes | None:
    values = [line.value for name in _CREDENTIALS if name in fields.names for line in fields.lines(name)]
    return _digest(*values) if values else None


def _first(fields: Fields, names: Iterable[str]) -> bytes | None:
    """The value of the first of these fields that has one."""
    if fields.names.isdisjoint(names):
        return None
    return next((value for name in names if (value := fields.one(name))), None)


def _tokens(fields: Fields, names: Iterable[str]) -> tuple[bytes, ...]:
    if fields.names.isdisjoint(names):
        return ()
    return tuple(name.encode() + b":" + _digest(value) for name in names if (value := fields.one(name)))


def _response_id(response: Response) -> bytes | None:
    """A digest of the id of a Responses API response; of a stream, as its first events say."""
    if response.body is None or "content-encoding" in response.fields.names:
        return None
    found = llm.RESPONSE_ID.search(bytes(response.body[:4096]))
    return _digest(found[1]) if found else None
