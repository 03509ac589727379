"""A log that several proxies share, in a real Redis."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from conformance import shared
from conformance.shared import Log, Unavailable

pytest.importorskip("redis", reason="the extra hoplint[redis] is not installed")

KEY = b"canary-key"


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch) -> None:
    monkeypatch.setattr(shared, "FIRST_PAUSE", 0.01)


class Proxy:
    """What one proxy knows."""

    def __init__(self, url: str, key: bytes = KEY, **settings) -> None:
        self.known: list[object] = []
        self.log = Log("test", lambda entry, _: self.known.append(entry), url=url, key=key, **settings)

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            await asyncio.sleep(0.01)
            await self.log.catch_up()


def run(work: Callable[..., Awaitable[None]], *proxies: Proxy) -> None:
    async def whole() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # as mitmproxy does
        try:
            await asyncio.wait_for(work(*proxies), 30)
        finally:
            for proxy in proxies:
                proxy.log.close()
                await proxy.log._redis.aclose()

    asyncio.run(whole())


def test_all_know_the_same_in_the_same_order(redis_server) -> None:
    async def work(*proxies: Proxy) -> None:
        await asyncio.gather(
            *(proxy.log.add([who, n]) for n in range(100) for who, proxy in enumerate(proxies))
        )
        for proxy in proxies:
            await proxy.log.catch_up()
        first, second, third = (proxy.known for proxy in proxies)
        assert sorted(first) == [[who, n] for who in range(3) for n in range(100)]
        assert first == second == third

    run(work, *(Proxy(redis_server.url, patience=20) for _ in range(3)))


def test_who_adds_knows_what_was_there_before(redis_server) -> None:
    async def work(one: Proxy, two: Proxy) -> None:
        for n in range(shared.PIECE + 1):
            one.log._untold.append(shared._Told(f"token {n}", n))
        await one.log.add("last")
        await two.log.add("mine")
        assert two.known == [*range(shared.PIECE + 1), "last", "mine"]

    run(work, *(Proxy(redis_server.url, patience=20) for _ in range(2)))


def test_nothing_can_be_read_in_redis(redis_server) -> None:
    async def work(mine: Proxy, others: Proxy) -> None:
        await mine.log.add({"token": "canary-token"})
        await others.log.catch_up()
        assert others.known == []
        redis = mine.log._redis
        keys = await redis.keys("*")
        assert keys == [mine.log.stream.encode()]
        held = repr([keys, await redis.xrange(keys[0])])
        assert "canary" not in held
        assert await redis.ttl(keys[0]) > 0

    run(work, Proxy(redis_server.url, patience=20), Proxy(redis_server.url, b"another key", patience=20))


def test_what_somebody_else_writes_is_not_believed(redis_server, caplog) -> None:
    async def work(one: Proxy, two: Proxy) -> None:
        await one.log.add("true")
        for forged in (b"", b"x" * 40):
            await one.log._redis.xadd(one.log.stream, {"sealed": forged})
        ((_, fields),) = await one.log._redis.xrange(one.log.stream, count=1)
        await one.log._redis.xadd(one.log.stream, fields)  # told again is not happened again
        await two.log.catch_up()
        assert two.known == ["true"]
        assert caplog.text.count("somebody else has written") == 2

    run(work, *(Proxy(redis_server.url, patience=20) for _ in range(2)))


def test_it_is_bounded(redis_server) -> None:
    async def work(proxy: Proxy) -> None:
        for n in range(50):
            await proxy.log.add(*range(10 * n, 10 * n + 10))
        assert len(proxy.known) == 500
        assert await proxy.log._redis.xlen(proxy.log.stream) <= 200  # in whole nodes of 100

    run(work, Proxy(redis_server.url, patience=20, keep=100))


def test_without_redis_each_goes_on_alone(redis_server, caplog) -> None:
    redis_server.stop()

    async def work(one: Proxy, two: Proxy) -> None:
        await one.log.add("first")
        assert one.known == ["first"]
        assert not one.log.is_reachable
        for n in range(20):
            waiting = one.log.add(n).send  # a coroutine that waits for nothing ends at its first step
            with pytest.raises(StopIteration):
                waiting(None)
        assert one.known == ["first", *range(20)]
        await one.until(lambda: "is not there" in caplog.text)
        redis_server.start()
        await one.until(lambda: one.log.is_reachable)
        await two.until(lambda: len(two.known) == 21)
        assert two.known == one.known, "told when Redis was there again"

    run(work, *(Proxy(redis_server.url) for _ in range(2)))
    assert caplog.text.count("Redis is not there") <= 2, "each says it once"


def test_a_redis_that_does_not_answer(redis_server, caplog) -> None:
    async def work(one: Proxy, two: Proxy) -> None:
        await one.log.add("first")
        redis_server.freeze()
        await one.log.add("second")
        assert one.known == ["first", "second"]
        await one.until(lambda: not one.log.is_reachable)
        redis_server.thaw()
        await one.until(lambda: one.log.is_reachable)
        await one.log.add("third")
        await two.until(lambda: len(two.known) >= 3)
        assert one.known == two.known == ["first", "second", "third"]

    run(work, *(Proxy(redis_server.url) for _ in range(2)))
    assert "no answer within 200 ms" in caplog.text or "Timeout" in caplog.text


def test_an_entry_that_cannot_be_applied_holds_up_no_other(redis_server, caplog) -> None:
    known = []

    def apply(entry: object, at: float) -> None:
        known.append(1 / entry)

    async def work() -> None:
        log = Log("test", apply, url=redis_server.url, key=KEY, patience=20)
        await log.add(0, 1)
        log.close()
        await log._redis.aclose()

    asyncio.run(work())
    assert known == [1]
    assert "cannot be applied" in caplog.text


def test_without_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(Unavailable, match=r"pip install 'hoplint\[redis\]'"):
        Proxy("redis://127.0.0.1:1")
