"""What every page cache must do: in memory, on the embedded Valkey and on Debian's Redis.

Time passes by ``wait``: on the memory cache a hand-driven clock, on servers the wall clock (a few ms).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from saleops.adapters.memory_cache import MemoryPageCache
from saleops.adapters.redis_cache import CHUNK, RedisPageCache
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.cache import PageCache

SALE = "midnight-drop"


class HandClock:
    """Goes forward when it is told to."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass
class World:
    """A cache and how its time passes."""

    cache: PageCache
    wait: Callable[[float], Awaitable[None]]


Open = Callable[[], contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture(params=["memory", "valkey", "redis", "redis_cluster"])
def opened(request: pytest.FixtureRequest) -> Open:
    if request.param == "memory":

        @contextlib.asynccontextmanager
        async def memory() -> AsyncIterator[World]:
            clock = HandClock()
            yield World(MemoryPageCache(clock), clock.sleep)

        return memory
    url: str = request.getfixturevalue(f"{request.param}_url")

    @contextlib.asynccontextmanager
    async def server() -> AsyncIterator[World]:
        cache = RedisPageCache.from_url(url, sale=SALE)
        try:
            yield World(cache, asyncio.sleep)
        finally:
            await cache.close()

    return server


def run(opened: Open, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with opened() as world:
            await scenario(world)

    asyncio.run(whole())


def test_a_page_comes_back_as_the_bytes_that_went_in(opened: Open) -> None:
    async def scenario(world: World) -> None:
        body = b'{"a": "\xc3\xa9\r\n$3\r\n\x00"}'
        await world.cache.put("product/a", body, ttl_ms=60_000)
        await world.cache.put("product/absent", b"", ttl_ms=60_000)

        pages = await world.cache.get_many(["product/a", "product/none", "product/absent"])

        assert pages == [body, None, b""]
        assert await world.cache.get_many([]) == []

    run(opened, scenario)


def test_a_page_is_gone_after_its_time(opened: Open) -> None:
    async def scenario(world: World) -> None:
        await world.cache.put("product/a", b"x", ttl_ms=20)
        await world.cache.put_many([("product/b", b"x", 20), ("product/c", b"x", 60_000)])
        await world.wait(0.05)

        assert await world.cache.get_many(["product/a", "product/b", "product/c"]) == [
            None,
            None,
            b"x",
        ]

    run(opened, scenario)


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 1])
def test_many_pages_are_stored_and_read_whatever_their_number(opened: Open, count: int) -> None:
    async def scenario(world: World) -> None:
        pages = [(f"product/sku-{i}", b"%d" % i, 60_000 + i) for i in range(count)]

        await world.cache.put_many(pages)

        keys = [key for key, _, _ in pages]
        assert await world.cache.get_many(keys) == [body for _, body, _ in pages]
        left = await world.cache.ttls_ms(keys)
        assert len(left) == count
        assert all(50_000 < ms <= ttl_ms for ms, (_, _, ttl_ms) in zip(left, pages, strict=True))

    run(opened, scenario)


def test_a_second_put_replaces_body_and_lifetime(opened: Open) -> None:
    async def scenario(world: World) -> None:
        await world.cache.put_many([("product/a", b"old", 1_000_000)])
        await world.cache.put_many([("product/a", b"new", 10_000)])

        assert await world.cache.get_many(["product/a"]) == [b"new"]
        assert (await world.cache.ttls_ms(["product/a"]))[0] <= 10_000

    run(opened, scenario)


def test_a_missing_page_has_no_lifetime(opened: Open) -> None:
    async def scenario(world: World) -> None:
        assert await world.cache.ttls_ms(["product/none"]) == [-2]
        assert await world.cache.ttls_ms([]) == []

    run(opened, scenario)


@pytest.mark.parametrize("ttl_ms", [0, -1])
def test_a_page_without_a_lifetime_is_the_callers_mistake(opened: Open, ttl_ms: int) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(ValueError, match="cannot live"):
            await world.cache.put("product/a", b"x", ttl_ms=ttl_ms)
        with pytest.raises(ValueError, match="cannot live"):
            await world.cache.put_many([("product/a", b"x", ttl_ms)])
        with pytest.raises(ValueError, match="cannot live"):
            await world.cache.put_and_unlock("product/a", "ann", b"x", ttl_ms=ttl_ms)
        assert await world.cache.get_many(["product/a"]) == [None]

    run(opened, scenario)


def test_one_of_many_gets_the_lock(opened: Open) -> None:
    async def scenario(world: World) -> None:
        got = await asyncio.gather(
            *(world.cache.lock("product/a", f"owner-{i}", lease_ms=60_000) for i in range(20))
        )

        assert got.count(True) == 1
        assert await world.cache.lock("product/b", "ann", lease_ms=60_000)

    run(opened, scenario)


def test_a_lock_ends_with_its_lease(opened: Open) -> None:
    async def scenario(world: World) -> None:
        assert await world.cache.lock("product/a", "ann", lease_ms=20)
        await world.wait(0.05)

        assert await world.cache.lock("product/a", "bob", lease_ms=60_000)

    run(opened, scenario)


def test_only_its_owner_gives_a_lock_back(opened: Open) -> None:
    async def scenario(world: World) -> None:
        assert await world.cache.lock("product/a", "ann", lease_ms=60_000)

        await world.cache.unlock("product/a", "bob")
        assert not await world.cache.lock("product/a", "bob", lease_ms=60_000)
        await world.cache.unlock("product/a", "ann")
        await world.cache.unlock("product/a", "ann")

        assert await world.cache.lock("product/a", "bob", lease_ms=60_000)

    run(opened, scenario)


def test_the_rebuilt_page_is_stored_and_the_lock_is_free(opened: Open) -> None:
    async def scenario(world: World) -> None:
        assert await world.cache.lock("product/a", "ann", lease_ms=60_000)

        await world.cache.put_and_unlock("product/a", "ann", b"fresh", ttl_ms=60_000)

        assert await world.cache.get_many(["product/a"]) == [b"fresh"]
        assert 0 < (await world.cache.ttls_ms(["product/a"]))[0] <= 60_000
        assert await world.cache.lock("product/a", "bob", lease_ms=60_000)

    run(opened, scenario)


def test_a_holder_whose_lease_ran_out_stores_its_page_and_leaves_the_new_lock_alone(
    opened: Open,
) -> None:
    async def scenario(world: World) -> None:
        assert await world.cache.lock("product/a", "ann", lease_ms=20)
        await world.wait(0.05)
        assert await world.cache.lock("product/a", "bob", lease_ms=60_000)

        await world.cache.put_and_unlock("product/a", "ann", b"late", ttl_ms=60_000)

        assert await world.cache.get_many(["product/a"]) == [b"late"]
        assert not await world.cache.lock("product/a", "cleo", lease_ms=60_000)

    run(opened, scenario)


def test_clear_forgets_pages_and_locks(opened: Open) -> None:
    async def scenario(world: World) -> None:
        await world.cache.put_many([(f"product/{i}", b"x", 60_000) for i in range(5000)])
        assert await world.cache.lock("product/a", "ann", lease_ms=60_000)

        await world.cache.clear()

        assert set(await world.cache.get_many([f"product/{i}" for i in range(5000)])) == {None}
        assert await world.cache.lock("product/a", "bob", lease_ms=60_000)
        await world.cache.ping()

    run(opened, scenario)


def test_sales_do_not_see_or_clear_each_others_pages(any_redis_url: str) -> None:
    async def scenario() -> None:
        mine = RedisPageCache.from_url(any_redis_url, sale="drop")
        other = RedisPageCache.from_url(any_redis_url, sale="dro?")
        await mine.put("product/a", b"mine", ttl_ms=60_000)
        await other.put("product/a", b"other", ttl_ms=60_000)

        await other.clear()

        assert await mine.get_many(["product/a"]) == [b"mine"]
        assert await other.get_many(["product/a"]) == [None]
        await mine.close()
        await other.close()

    asyncio.run(scenario())


def test_a_page_and_its_lock_share_a_cluster_slot(any_redis_url: str) -> None:
    async def scenario() -> None:
        cache = RedisPageCache.from_url(any_redis_url, sale=SALE)
        page, lock = cache._key("product/a:b/c"), cache._lock_key("product/a:b/c")

        from redis.crc import key_slot

        assert key_slot(page.encode()) == key_slot(lock.encode())
        assert key_slot(page.encode()) != key_slot(cache._key("product/other").encode())
        await cache.close()

    asyncio.run(scenario())


def test_a_server_that_is_not_there_is_our_error_with_a_hint() -> None:
    async def scenario() -> None:
        cache = RedisPageCache.from_url("unix:///nowhere/redis.sock", sale=SALE)
        calls: list[Callable[[], Awaitable[object]]] = [
            cache.ping,
            lambda: cache.get_many(["a"]),
            lambda: cache.put("a", b"x", ttl_ms=1),
            lambda: cache.put_many([("a", b"x", 1)]),
            lambda: cache.lock("a", "ann", lease_ms=1),
            lambda: cache.put_and_unlock("a", "ann", b"x", ttl_ms=1),
            lambda: cache.unlock("a", "ann"),
            lambda: cache.ttls_ms(["a"]),
            cache.clear,
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable) as caught:
                await call()
            assert caught.value.hint
        await cache.close()

    asyncio.run(scenario())


def test_a_refused_set_in_the_middle_of_many_is_our_error_and_spoils_no_later_answer(
    any_redis_url: str,
) -> None:
    async def scenario() -> None:
        cache = RedisPageCache.from_url(any_redis_url, sale=SALE)
        pages = [("a", b"1", 60_000), ("b", b"2", 2**62 * 4), ("c", b"3", 60_000)]

        with pytest.raises(StoreUnavailable):
            await cache.put_many(pages)

        await cache.put_many([("d", b"4", 60_000)])
        assert await cache.get_many(["d", "b"]) == [b"4", None]
        await cache.close()

    asyncio.run(scenario())


def test_a_url_of_something_else_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot use this URL") as caught:
        RedisPageCache.from_url("mysql://localhost/x", sale=SALE)

    assert caught.value.hint
