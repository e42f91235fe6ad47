"""Reading pages through the cache: batches, one rebuild a key, waiting, and a cache that does not answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import pytest

from saleops.adapters.memory_cache import MemoryPageCache
from saleops.errors import StoreUnavailable
from saleops.operations.pages import DOWN_MS, PageLife, PageReader, PageUnavailable


class HandClock:
    """Sleeping moves it, and lets everybody else run."""

    def __init__(self) -> None:
        self.ms = 1_000_000
        self.sleeps: list[float] = []

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.ms += round(seconds * 1000)
        await asyncio.sleep(0)


class WatchedCache(MemoryPageCache):
    """Records its reads; ``gate`` holds them up, ``down`` makes every call fail."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.reads: list[list[str]] = []
        self.locks = 0
        self.gate: asyncio.Event | None = None
        self.down = False

    def _up(self) -> None:
        if self.down:
            raise StoreUnavailable("the cache is down")

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.reads.append(list(keys))
        self._up()
        if self.gate:
            await self.gate.wait()
        return await super().get_many(keys)

    async def lock(self, key: str, owner: str, *, lease_ms: int) -> bool:
        self.locks += 1
        self._up()
        return await super().lock(key, owner, lease_ms=lease_ms)

    async def put_and_unlock(self, key: str, owner: str, body: bytes, *, ttl_ms: int) -> None:
        self._up()
        await super().put_and_unlock(key, owner, body, ttl_ms=ttl_ms)


class Builder:
    """Counts what it builds; ``gate`` holds builds up."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self, subject: str) -> bytes:
        self.built.append(subject)
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error
        return b"built " + subject.encode()


class Bench:
    def __init__(self, **life: int) -> None:
        self.clock = HandClock()
        self.cache = WatchedCache(self.clock)
        self.build = Builder()
        self.life = PageLife(60_000, 0.2, **life)
        self.reader = self.another()

    def another(self) -> PageReader:
        """Another process's reader on the same cache."""
        return PageReader(self.cache, life=self.life, clock=self.clock, rng=Random(7))

    async def page(self, subject: str) -> bytes:
        return await self.reader.page(f"product/{subject}", self.build, subject)


def run(scenario: Callable[[Bench], Awaitable[None]], **life: int) -> None:
    async def whole() -> None:
        await scenario(Bench(**life))

    asyncio.run(whole())


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_requests_that_arrive_together_share_one_read_and_one_key_one_place() -> None:
    async def scenario(bench: Bench) -> None:
        for sku in "abc":
            await bench.cache.put(f"product/{sku}", sku.encode(), ttl_ms=60_000)

        pages = await asyncio.gather(*(bench.page(sku) for sku in "abcabca"))

        assert pages == [b"a", b"b", b"c", b"a", b"b", b"c", b"a"]
        assert bench.cache.reads == [["product/a", "product/b", "product/c"]]
        assert (bench.reader.hits, bench.reader.misses, bench.build.built) == (7, 0, [])

    run(scenario)


def test_while_a_read_is_on_its_way_the_next_batch_grows() -> None:
    async def scenario(bench: Bench) -> None:
        for sku in "abcd":
            await bench.cache.put(f"product/{sku}", sku.encode(), ttl_ms=60_000)
        bench.cache.gate = asyncio.Event()
        first = asyncio.create_task(bench.page("a"))
        await turns()
        later = [asyncio.create_task(bench.page(sku)) for sku in "bcd"]
        await turns()
        assert bench.cache.reads == [["product/a"]]

        bench.cache.gate.set()

        assert await asyncio.gather(first, *later) == [b"a", b"b", b"c", b"d"]
        assert bench.cache.reads[1:] == [["product/b", "product/c", "product/d"]]

    run(scenario)


def test_a_caller_that_is_cancelled_leaves_the_others_alone() -> None:
    async def scenario(bench: Bench) -> None:
        bench.build.gate = asyncio.Event()
        callers = [asyncio.create_task(bench.page("a")) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()  # while the read is on its way
        await turns(20)
        callers[1].cancel()  # while the page is being built
        await turns()
        bench.build.gate.set()

        assert await callers[2] == b"built a"
        assert bench.build.built == ["a"]

    run(scenario)


def test_ten_thousand_misses_of_one_key_build_it_once() -> None:
    async def scenario(bench: Bench) -> None:
        readers = [bench.reader, *(bench.another() for _ in range(3))]
        pages = await asyncio.gather(
            *(one.page("product/a", bench.build, "a") for one in readers for _ in range(2500))
        )

        assert set(pages) == {b"built a"}
        assert bench.build.built == ["a"]
        assert sum(one.misses for one in readers) == 10_000

    run(scenario)


def test_those_who_wait_look_again_every_50_ms_with_jitter() -> None:
    async def scenario(bench: Bench) -> None:
        bench.build.gate = asyncio.Event()
        holder = asyncio.create_task(bench.page("a"))
        await turns(20)
        waiter = asyncio.create_task(bench.another().page("product/a", bench.build, "a"))
        while len(bench.clock.sleeps) < 20:
            await asyncio.sleep(0)
        bench.build.gate.set()

        assert await asyncio.gather(holder, waiter) == [b"built a", b"built a"]
        assert bench.build.built == ["a"]
        assert all(0.025 <= slept <= 0.075 for slept in bench.clock.sleeps)
        assert len(set(bench.clock.sleeps)) > 10

    run(scenario)


def test_a_dead_holder_costs_its_lease_and_one_query() -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.cache.lock("product/a", "somebody-dead", lease_ms=3_000)
        before_ms = bench.clock.ms

        pages = await asyncio.gather(*(bench.page("a") for _ in range(100)))

        assert set(pages) == {b"built a"}
        assert bench.build.built == ["a"]
        assert 3_000 <= bench.clock.ms - before_ms < 3_200

    run(scenario)


def test_a_page_that_came_between_miss_and_lock_is_not_built_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.cache.gate = asyncio.Event()
        late = asyncio.create_task(bench.page("a"))
        await turns()
        bench.cache.gate.set()
        lock = bench.cache.lock

        async def slow_lock(key: str, owner: str, *, lease_ms: int) -> bool:
            await bench.cache.put(key, b"came in between", ttl_ms=60_000)
            return await lock(key, owner, lease_ms=lease_ms)

        bench.cache.lock = slow_lock  # type: ignore[method-assign]  # what happens between two round trips

        assert await late == b"came in between"
        assert bench.build.built == []
        assert await lock("product/a", "next", lease_ms=1)

    run(scenario)


def test_waiting_is_bounded_in_total() -> None:
    async def scenario(bench: Bench) -> None:
        bench.build.gate = asyncio.Event()  # a database that never answers

        with pytest.raises(PageUnavailable, match="longer than 50 ms"):
            await bench.page("a")

        assert await bench.cache.lock("product/a", "next", lease_ms=1)  # the lock was given back

    run(scenario, wait_max_ms=50)


def test_a_failed_build_reaches_all_who_wait_and_frees_the_lock() -> None:
    async def scenario(bench: Bench) -> None:
        bench.build.error = StoreUnavailable("no database", hint="Wait.")
        outcomes = await asyncio.gather(
            *(bench.page("a") for _ in range(50)), return_exceptions=True
        )

        assert {type(one) for one in outcomes} == {PageUnavailable}
        assert {str(one) for one in outcomes} == {"no database"}
        assert bench.build.built == ["a"]
        bench.build.error = None
        assert await bench.page("a") == b"built a"

    run(scenario)


def test_a_bug_in_a_builder_is_raised_as_it_is() -> None:
    async def scenario(bench: Bench) -> None:
        bench.build.error = KeyError("a bug")

        with pytest.raises(KeyError):
            await bench.page("a")

        assert await bench.cache.lock("product/a", "next", lease_ms=1)

    run(scenario)


def test_a_bug_in_the_cache_is_raised_to_its_readers_and_the_next_ones_are_served() -> None:
    async def scenario(bench: Bench) -> None:
        read, gate = bench.cache.get_many, asyncio.Event()

        async def fail_once(keys: Sequence[str]) -> list[bytes | None]:
            if gate.is_set():
                return await read(keys)
            await gate.wait()
            raise KeyError("a bug")

        bench.cache.get_many = fail_once  # type: ignore[method-assign]
        first = asyncio.create_task(bench.page("a"))
        await turns()
        second = asyncio.create_task(bench.page("b"))
        await turns()
        gate.set()

        with pytest.raises(KeyError):
            await first
        assert await second == b"built b"

    run(scenario)


def test_absent_pages_are_kept_shortly() -> None:
    async def scenario(bench: Bench) -> None:
        async def nothing(subject: str) -> bytes:
            bench.build.built.append(subject)
            return b""

        for _ in range(3):
            assert await bench.reader.page("product/none", nothing, "none") == b""

        assert bench.build.built == ["none"]
        assert (await bench.cache.ttls_ms(["product/none"]))[0] <= 12_000
        bench.clock.ms += 12_001
        await bench.reader.page("product/none", nothing, "none")
        assert bench.build.built == ["none", "none"]

    run(scenario)


def test_without_the_cache_pages_are_built_once_for_all_and_the_cache_is_left_alone_a_while() -> (
    None
):
    async def scenario(bench: Bench) -> None:
        bench.cache.down = True

        pages = await asyncio.gather(*(bench.page("a") for _ in range(100)))

        assert set(pages) == {b"built a"}
        assert bench.build.built == ["a"]
        reads = len(bench.cache.reads)
        assert await bench.page("a") == b"built a"
        assert len(bench.cache.reads) == reads == 1
        bench.cache.down = False
        bench.clock.ms += DOWN_MS
        await bench.page("a")
        assert len(bench.cache.reads) > reads
        assert await bench.page("a") == b"built a"
        assert len(bench.build.built) == 3

    run(scenario)


def test_a_cache_that_fails_between_read_and_lock_does_not_fail_the_request() -> None:
    async def scenario(bench: Bench) -> None:
        read = bench.cache.get_many

        async def read_then_die(keys: Sequence[str]) -> list[bytes | None]:
            found = await read(keys)
            bench.cache.down = True
            return found

        bench.cache.get_many = read_then_die  # type: ignore[method-assign]

        assert await bench.page("a") == b"built a"

    run(scenario)


def test_lifetimes_are_spread_by_the_seeded_source() -> None:
    async def scenario(bench: Bench) -> None:
        lives = [bench.reader.lifetime_ms(b"x") for _ in range(2000)]

        assert min(lives) >= 48_000
        assert max(lives) <= 72_000
        assert {ms // 1000 for ms in lives} >= set(range(48, 72))
        again = [bench.another().lifetime_ms(b"x") for _ in range(1)]
        assert again == lives[:1]

    run(scenario)


def test_close_waits_for_what_is_on_its_way() -> None:
    async def scenario(bench: Bench) -> None:
        bench.build.gate = asyncio.Event()
        caller = asyncio.create_task(bench.page("a"))
        await turns(20)
        closing = asyncio.create_task(bench.reader.close())
        await turns()
        assert not closing.done()
        bench.build.gate.set()
        await closing

        assert await caller == b"built a"

    run(scenario)
