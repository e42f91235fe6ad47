"""The stock store's marks and what a rebuild needs, for Redis, Valkey and the model in memory."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from saleops.adapters.memory_stock import MemoryStockStore
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.stock import PARTITIONS, Claim, Verdict, partition_of, split_units
from saleops.errors import SaleopsError
from saleops.ports.stock import Restored, SeedRow, StaleEpoch, StockStore

EPOCH = "e1"
Make = Callable[[], StockStore]


@pytest.fixture(params=["memory", "valkey", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "memory":
        return MemoryStockStore
    url: str = request.getfixturevalue(f"{request.param}_url")
    return lambda: RedisStockStore.from_url(url, sale="s")


def run(make: Make, scenario: Callable[[StockStore], Awaitable[None]]) -> None:
    async def body() -> None:
        store = make()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(body())


async def seeded(store: StockStore, *, opened: bool = True) -> None:
    await store.begin_seed(EPOCH, "v1")
    for sku, units, limit in (("a", 6, 0), ("b", 9, 3)):
        await store.seed(EPOCH, partition_of(sku), [SeedRow(sku, units, 100, limit)])
    if opened:
        await store.finish_seed(EPOCH, {})


async def writes(store: StockStore, sku: str = "a") -> int:
    return (await store.seed_state()).marks[partition_of(sku)].writes


async def counts(store: StockStore) -> dict[str, tuple[int, int, int]]:
    return {row.sku: (row.left, row.reserved, row.sold) async for row in store.counts()}


def test_every_change_counts_one_write_a_call_and_nothing_else_does(make: Make) -> None:
    async def scenario(store: StockStore) -> None:
        assert (await store.seed_state()).marks == ()
        await seeded(store)
        state = await store.seed_state()
        assert len(state.marks) == PARTITIONS
        assert len({mark.server for mark in state.marks}) == 1
        two = [Claim("o1", "a", "ann", 1), Claim("o2", "a", "bob", 2)]
        was = await writes(store)
        for act, more in (
            (lambda: store.reserve(EPOCH, two, now_ms=0, expires_ms=9), 1),
            (lambda: store.reserve(EPOCH, two, now_ms=0, expires_ms=9), 0),  # duplicates
            (lambda: store.reserve(EPOCH, [Claim("o3", "a", "e", 9)], now_ms=0, expires_ms=9), 0),
            (lambda: store.confirm(EPOCH, two), 1),
            (lambda: store.confirm(EPOCH, two), 0),
            (lambda: store.release(EPOCH, two, now_ms=0), 1),
            (lambda: store.release(EPOCH, two, now_ms=0), 0),
            (
                lambda: store.release(EPOCH, [Claim("o9", "a", "e", 1)], now_ms=0),
                1,
            ),  # closed for ever
            (lambda: store.expired(EPOCH, now_ms=99, limit=9), 0),
            (lambda: store.units_left(EPOCH, ["a"]), 0),
        ):
            await act()
            was += more
            assert await writes(store) == was

    run(make, scenario)


def test_a_held_store_takes_nothing_under_the_old_epoch_and_opens_under_the_new(make: Make) -> None:
    async def scenario(store: StockStore) -> None:
        await seeded(store)
        claim = [Claim("o1", "a", "ann", 1)]
        await store.reserve(EPOCH, claim, now_ms=0, expires_ms=9)
        for _ in range(2):
            assert await store.hold(EPOCH, new_epoch="e2")
        for epoch in (EPOCH, "e2"):
            with pytest.raises(StaleEpoch):
                await store.reserve(epoch, [Claim("o2", "a", "bob", 1)], now_ms=0, expires_ms=9)
        with pytest.raises(StaleEpoch):
            await store.confirm(EPOCH, claim)
        state = await store.seed_state()
        assert (state.epoch, state.version, state.complete) == ("e2", "v1", False)
        assert await store.hold("e2", new_epoch="e3")  # somebody takes over
        await store.finish_seed("e3", {})
        [answer] = await store.reserve("e3", claim, now_ms=0, expires_ms=9)
        assert answer.verdict == Verdict.DUPLICATE
        assert await counts(store) == {"a": (5, 1, 0), "b": (9, 0, 0)}

    run(make, scenario)


@pytest.mark.parametrize("state", ["empty", "another epoch", "half seeded"])
def test_a_store_that_is_not_whole_cannot_be_held(make: Make, state: str) -> None:
    async def scenario(store: StockStore) -> None:
        if state != "empty":
            await seeded(store, opened=state != "half seeded")
        old = "other" if state == "another epoch" else EPOCH
        assert not await store.hold(old, new_epoch="e2")

    run(make, scenario)


def test_restored_orders_hold_their_units_once_and_count_for_their_buyers(make: Make) -> None:
    async def scenario(store: StockStore) -> None:
        await seeded(store, opened=False)
        rows = [
            Restored("o1", "a", "ann", 2, "sold"),
            Restored("o2", "b", "ann", 3, "sold"),
            Restored("o3", "a", "bob", 1, "released"),
            Restored("o4", "", "", 0, "released"),
        ]
        for _ in range(2):
            await store.restore(EPOCH, rows, hot={})
        await store.restore(EPOCH, [])
        await store.finish_seed(EPOCH, {})
        assert await counts(store) == {"a": (4, 0, 2), "b": (6, 0, 3)}
        claims = [
            Claim("o1", "a", "ann", 2),
            Claim("o3", "a", "bob", 1),
            Claim("o5", "b", "ann", 1),
            Claim("o6", "a", "eve", 4),
        ]
        answers = await store.reserve(EPOCH, claims, now_ms=0, expires_ms=9)
        assert [answer.verdict for answer in answers] == [
            Verdict.DUPLICATE,
            Verdict.RELEASED,
            Verdict.OVER_LIMIT,
            Verdict.RESERVED,
        ]
        assert await store.release(EPOCH, [Claim("o2", "b", "ann", 3)], now_ms=0) == 1
        assert (await counts(store))["b"] == (9, 0, 0)
        assert await store.buyers(["a"]) == [frozenset({"ann", "bob", "eve"})]
        with pytest.raises(SaleopsError):
            await store.restore(EPOCH, [Restored("o7", "a", "x", 1, "sold")])  # it is open

    run(make, scenario)


def test_a_split_sku_restored_below_zero_in_one_shard_still_sells_its_last_unit(
    any_redis_url: str,
) -> None:
    async def scenario() -> None:
        store = RedisStockStore.from_url(any_redis_url, sale="s")
        await store.begin_seed(EPOCH, "v1")
        for shard, units in enumerate(split_units(64, 16)):
            await store.seed(EPOCH, partition_of("hot", shard), [SeedRow("hot", units, 100, 0)])
        # One buyer's shard had borrowed from all the others: 40 of 64 units were sold out of its own 4.
        rows = [Restored(f"o{number}", "hot", "ann", 1, "sold") for number in range(40)]
        await store.restore(EPOCH, rows, hot={"hot": 16})
        await store.finish_seed(EPOCH, {"hot": 16})
        sold = 0
        for number in range(40):
            buyer = "ann" if number % 3 else f"b{number}"
            claim = Claim(f"n{number}", "hot", buyer, 1)
            [answer] = await store.reserve(EPOCH, [claim], now_ms=0, expires_ms=9)
            sold += answer.verdict == Verdict.RESERVED
        assert sold == 24
        await store.close()

    asyncio.run(scenario())


def test_a_server_that_comes_back_from_an_older_copy_is_noticed_by_whoever_had_seen_more(
    valkey_url: str,
) -> None:
    async def scenario() -> None:
        store, other = (RedisStockStore.from_url(valkey_url, sale="s") for _ in range(2))
        await seeded(store)
        await other.seed_state()
        meta = f"stock:{{s:{partition_of('a')}}}:meta"
        await store.reserve(EPOCH, [Claim("o1", "a", "ann", 1)], now_ms=0, expires_ms=9)
        await store._server.ask("going back", "HINCRBY", meta, "writes", -1)
        for act in (
            lambda: store.reserve(EPOCH, [Claim("o1", "a", "ann", 1)], now_ms=0, expires_ms=9),
            store.seed_state,
        ):
            with pytest.raises(StaleEpoch, match="older copy"):
                await act()
        assert (await other.seed_state()).complete  # it knows no better
        await store.close()
        await other.close()

    asyncio.run(scenario())


def test_answers_that_overtake_each_other_are_no_older_copy(valkey_url: str) -> None:
    async def scenario() -> None:
        store = RedisStockStore.from_url(valkey_url, sale="s")
        await store.begin_seed(EPOCH, "v1")
        await store.seed(EPOCH, partition_of("a"), [SeedRow("a", 10_000, 1, 0)])
        await store.finish_seed(EPOCH, {})

        async def one(number: int) -> None:
            claim = Claim(f"o{number}", "a", f"b{number}", 1)
            await store.reserve(EPOCH, [claim], now_ms=0, expires_ms=9)
            await store.confirm(EPOCH, [claim])

        await asyncio.gather(*[one(number) for number in range(500)])
        assert await counts(store) == {"a": (9_500, 0, 500)}
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_the_model_taken_back_to_an_older_copy_says_so(seed: int) -> None:
    """Any change lost is noticed, by its writes or by its new server; a copy without a change in between is none."""

    async def scenario() -> None:
        rng = random.Random(seed)
        store = MemoryStockStore()
        await seeded(store)
        for number in range(60):
            claims = [Claim(f"o{number}", rng.choice("ab"), rng.choice("xyz"), rng.randint(1, 2))]
            kept, state = store.copy(), await store.seed_state()
            match rng.randrange(3):
                case 0:
                    await store.reserve(EPOCH, claims, now_ms=number, expires_ms=number + 5)
                case 1:
                    await store.confirm(EPOCH, claims)
                case _:
                    await store.release(EPOCH, claims, now_ms=number)
            changed = (await store.seed_state()).marks != state.marks
            after = store.copy()
            store.put_back(kept, restarted=False)
            if changed:
                with pytest.raises(StaleEpoch, match="older copy"):
                    await store.seed_state()
            else:
                assert await store.seed_state() == state
            store.put_back(after)
            assert {mark.server for mark in (await store.seed_state()).marks} == {store.server}
            assert store.server != state.marks[0].server

    asyncio.run(scenario())
