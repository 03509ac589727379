"""What several proxies know together: a log in Redis, which each of them replays.

What a proxy learns (a request has begun, a token was issued) is an entry at the end of one stream, and every proxy
applies the entries of all in the stream's order. So all come to the same decisions, while the state itself stays
what it is: in memory, bounded. Who adds an entry gets to know in the same round trip what the others have added
before it.

- Entries are sealed (AES-GCM) with a key that only the proxies have, since they tell of conversations and hold
  affinity tokens. Redis gets to see how many there are and when.
- Nobody waits longer than ``patience``. What has not come by the log by then is applied here alone, and told the
  others when Redis is there again; entries that come twice are applied once.
- Redis that does not answer is said once, and asked again in the background after 1, 2, 4... 30 seconds: until then
  nobody waits at all.
- The stream is bounded in length, and gone when nothing was added for ``ttl`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

PIECE = 500
"""Entries that are read at once."""
UNTOLD = 2000
"""Entries that are kept for the others while Redis is away; the oldest is forgotten."""
SEEN = 20_000
"""Entries that are known to have been applied."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
SLOW = 4
"""A round trip that takes so many times ``patience`` is none: a busy proxy is slow to notice the answer, too."""


class Unavailable(RuntimeError):
    """Nothing can be shared in this installation; says what is missing."""


class _Told(NamedTuple):
    """An entry as it stands in the stream."""

    token: str
    """Tells it from all others."""
    entry: Any


class Log:
    """The log ``name`` of one Redis. All methods are for one event loop."""

    def __init__(
        self,
        name: str,
        apply: Callable[[Any, float], None],
        *,
        url: str,
        key: bytes,
        password: str | None = None,
        patience: float = 0.05,
        keep: int = 20_000,
        ttl: int = 14_400,
    ) -> None:
        """``apply`` gets each entry, as JSON has it, and when it was added (seconds since 1970).

        ``patience`` and ``ttl`` are seconds, ``keep`` is the length of the stream. Raises Unavailable without
        redis-py, ValueError for a ``url`` that is none.
        """
        self.name, self._apply = name, apply
        self._patience, self._keep, self._ttl = patience, keep, ttl
        self._redis = _client(url, password, patience * SLOW)
        self._cipher = AESGCM(hashlib.blake2b(key, digest_size=32, person=b"hoplint seal").digest())
        # Proxies with another key, or that write other entries, have a stream of their own.
        of_key = hashlib.blake2b(key, digest_size=8, person=b"hoplint stream").hexdigest()
        self.stream = f"hoplint:1:{name}:{of_key}"
        self._last = "0-0"
        self._untold: deque[_Told] = deque(maxlen=UNTOLD)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.is_reachable = True
        self._next: asyncio.Future[None] | None = None
        """Done when the next round trip is."""
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read what the others have added before; nobody waits for it."""
        self._after_next()

    async def add(self, *entries: Any) -> None:
        """Add entries; they are applied when this returns, and so is what the others added before them."""
        told = [_Told(os.urandom(8).hex(), entry) for entry in entries]
        self._untold.extend(told)
        if self.is_reachable:
            await asyncio.wait([self._after_next()], timeout=self._patience)
        for each in told:
            self._take(each, time.time())

    async def catch_up(self) -> None:
        """Apply what the others have added by now."""
        await self.add()

    def close(self) -> None:
        """Tell and read nothing any more."""
        if self._work is not None:
            self._work.cancel()

    def _after_next(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        awaited = self._next = self._next or loop.create_future()
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._run())  # in mitmproxy's loop it begins at once
        return awaited

    async def _run(self) -> None:
        """Round trips, as long as somebody waits for one or Redis is away."""
        pause = FIRST_PAUSE
        while self._next is not None or not self.is_reachable:
            if not self.is_reachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            waiting, self._next = [self._next], None
            try:
                await self._exchange()
            except Exception as problem:  # noqa: BLE001 - messages go on, and Redis is asked again
                self._lost(problem)
                waiting.append(self._next)
                self._next = None
                with contextlib.suppress(Exception):  # the connection is lost already
                    await self._redis.aclose()
            else:
                pause = FIRST_PAUSE
                self._found()
            for each in waiting:
                if each is not None and not each.done():
                    each.set_result(None)

    async def _exchange(self) -> None:
        """Tell what is untold, read what is new, apply it."""
        while True:
            telling = list(self._untold)
            async with asyncio.timeout(self._patience * SLOW):
                pipe = self._redis.pipeline(transaction=True)
                for told in telling:
                    pipe.xadd(self.stream, {"sealed": self._sealed(told)}, maxlen=self._keep)
                if telling:
                    pipe.expire(self.stream, self._ttl)
                pipe.xrange(self.stream, min=f"({self._last}", count=PIECE)
                *_, found = await pipe.execute()
            for told in telling:
                if self._untold and self._untold[0] is told:  # else it was forgotten meanwhile
                    self._untold.popleft()
            for at, fields in found:
                self._last = at.decode()
                if (opened := self._opened(fields.get(b"sealed", b""))) is not None:
                    self._take(opened, int(self._last.partition("-")[0]) / 1000)
            if len(found) < PIECE:
                return

    def _take(self, told: _Told, at: float) -> None:
        if told.token in self._seen:
            return
        self._seen[told.token] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        try:
            self._apply(told.entry, at)
        except Exception:
            logger.exception("%s: an entry of the shared log cannot be applied", self.name)

    def _sealed(self, told: _Told) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, json.dumps(told).encode(), self.stream.encode())

    def _opened(self, sealed: bytes) -> _Told | None:
        try:
            text = self._cipher.decrypt(sealed[:12], sealed[12:], self.stream.encode())
        except (InvalidTag, ValueError):
            logger.error("%s: somebody else has written to the shared log %s", self.name, self.stream)
            return None
        token, entry = json.loads(text)
        return _Told(token, entry)

    def _lost(self, problem: Exception) -> None:
        if self.is_reachable:
            what = str(problem) or f"no answer within {1000 * self._patience * SLOW:.0f} ms"
            logger.warning(
                "%s: Redis is not there (%s): what this proxy knows is its own until it is", self.name, what
            )
        self.is_reachable = False

    def _found(self) -> None:
        if not self.is_reachable:
            logger.warning("%s: Redis is there again", self.name)
        self.is_reachable = True


def _client(url: str, password: str | None, seconds: float) -> Redis:
    try:
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise Unavailable("needs redis-py: pip install 'hoplint[redis]'") from None
    found: Redis = redis.asyncio.Redis.from_url(
        url,
        password=password,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),  # who waits is another matter
        max_connections=1,
    )
    return found
