"""What every stock store promises, on memory, the embedded Valkey and Debian's Redis."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from saleops.adapters.memory_stock import MemoryStockStore
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.stock import (
    PARTITIONS,
    RESALE_PAUSE_MS,
    Claim,
    Verdict,
    partition_of,
    shard_of,
    split_units,
)
from saleops.errors import Refused, StoreUnavailable
from saleops.ports.stock import SeedRow, StaleEpoch, StockStore, UnitsLeft

SKU = "sku-1"
EPOCH = "e1"
T0 = 1_000_000
TTL = 10_000
ids = count(1)

Opened = Callable[[], "asynccontextmanager[StockStore]"]


@pytest.fixture(params=["memory", "valkey", "redis", "redis_cluster"])
def store_url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[StockStore]:
    store: StockStore = (
        MemoryStockStore() if url == "memory" else RedisStockStore.from_url(url, sale="s")
    )
    try:
        yield store
    finally:
        await store.close()


def run(url: str, scenario: Callable[[StockStore], Awaitable[None]]) -> None:
    async def body() -> None:
        async with opened(url) as store:
            await scenario(store)

    asyncio.run(body())


async def put_on_sale(
    store: StockStore, units: int, *, sku: str = SKU, limit: int = 0, shards: int = 1
) -> None:
    await store.begin_seed(EPOCH, "v1")
    if isinstance(store, MemoryStockStore):
        shards = 1
    for shard, share in enumerate(split_units(units, shards)):
        await store.seed(EPOCH, partition_of(sku, shard), [SeedRow(sku, share, 250, limit)])
    await store.finish_seed(EPOCH, {sku: shards} if shards > 1 else {})


def claim(units: int = 1, *, buyer: str = "ann", sku: str = SKU, order_id: str = "") -> Claim:
    return Claim(order_id or f"{next(ids):032x}", sku, buyer, units)


async def reserve(store: StockStore, *claims: Claim, expires_ms: int = T0 + TTL) -> list[int]:
    answers = await store.reserve(EPOCH, claims, now_ms=T0, expires_ms=expires_ms)
    return [answer.verdict for answer in answers]


async def counts(store: StockStore, sku: str = SKU) -> tuple[int, int, int, int]:
    async for row in store.counts():
        if row.sku == sku:
            assert row.seeded == row.left + row.reserved + row.sold + row.in_transit
            return row.left, row.reserved, row.sold, row.in_transit
    raise AssertionError(f"{sku} is not in the store")


def test_the_last_unit_is_sold_once(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 1)

        verdicts = await reserve(store, claim(), claim(buyer="bob"))

        assert verdicts == [Verdict.RESERVED, Verdict.SOLD_OUT]
        assert await counts(store) == (0, 1, 0, 0)

    run(store_url, scenario)


def test_a_reservation_tells_the_price_and_what_is_left(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)

        [answer] = await store.reserve(EPOCH, [claim(2)], now_ms=T0, expires_ms=T0 + TTL)

        assert (answer.price_fen, answer.units_left) == (250, 3)

    run(store_url, scenario)


def test_nothing_to_do_is_not_an_error(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 1)

        assert await store.reserve(EPOCH, [], now_ms=T0, expires_ms=T0) == []
        await store.confirm(EPOCH, [])
        assert await store.release(EPOCH, [], now_ms=T0) == 0
        assert await store.units_left(EPOCH, []) == []

    run(store_url, scenario)


def test_an_unseeded_sku_is_never_sold_out(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 1)

        assert await reserve(store, claim(sku="other")) == [Verdict.NOT_SEEDED]
        assert await store.units_left(EPOCH, ["other", SKU]) == [UnitsLeft(-1, 0), UnitsLeft(1, 0)]

    run(store_url, scenario)


def test_a_sku_seeded_with_no_units_is_sold_out(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 0)

        assert await reserve(store, claim()) == [Verdict.SOLD_OUT]

    run(store_url, scenario)


def test_a_replay_holds_its_units_once(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        first = claim(2)

        verdicts = await reserve(store, first, first)
        verdicts += await reserve(store, first)

        assert verdicts == [Verdict.RESERVED, Verdict.DUPLICATE, Verdict.DUPLICATE]
        assert await counts(store) == (3, 2, 0, 0)

    run(store_url, scenario)


def test_a_buyer_who_retries_after_winning_the_last_unit_hears_duplicate(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 1)
        winner = claim()
        await reserve(store, winner)

        assert await reserve(store, winner) == [Verdict.DUPLICATE]

    run(store_url, scenario)


@pytest.mark.parametrize("second", [{"units": 2}, {"units": 1, "sku": "sku-2"}])
def test_an_order_id_used_for_something_else_is_a_mismatch_or_another_sku(
    store_url: str, second: dict[str, object]
) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        first = claim(1)
        await reserve(store, first)

        [verdict] = await reserve(store, claim(order_id=first.order_id, **second))  # type: ignore[arg-type]

        # Another SKU may live in another partition, which does not know the id: the database decides there.
        assert verdict in (Verdict.MISMATCH, Verdict.NOT_SEEDED)
        assert await counts(store) == (4, 1, 0, 0)

    run(store_url, scenario)


def test_the_limit_per_buyer_counts_all_orders_of_a_buyer(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 100, limit=2)

        verdicts = await reserve(store, claim(), claim(), claim(), claim(3, buyer="bob"))

        over = Verdict.OVER_LIMIT
        assert verdicts == [Verdict.RESERVED, Verdict.RESERVED, over, over]

    run(store_url, scenario)


def test_units_given_back_count_for_the_limit_again(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 100, limit=1)
        first = claim()
        await reserve(store, first)
        await store.release(EPOCH, [first], now_ms=T0)

        assert await reserve(store, claim()) == [Verdict.RESERVED]

    run(store_url, scenario)


@pytest.mark.parametrize("units", [0, -5, 0.5, 10**9])
def test_units_that_are_not_whole_and_positive_change_nothing(store_url: str, units: float) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 10)

        with pytest.raises(ValueError, match="BADUNITS"):
            await reserve(store, claim(), claim(units))  # type: ignore[arg-type]

        assert await counts(store) == (10, 0, 0, 0)

    if store_url == "memory" and isinstance(units, float):
        units = 0
    run(store_url, scenario)


def test_confirming_twice_sells_once(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        order = claim(2)
        await reserve(store, order)

        await store.confirm(EPOCH, [order])
        await store.confirm(EPOCH, [order, order])

        assert await counts(store) == (3, 0, 2, 0)
        assert await store.expired(EPOCH, now_ms=T0 * 9, limit=10) == []

    run(store_url, scenario)


def test_an_order_whose_reservation_was_lost_is_sold_all_the_same(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)

        await store.confirm(EPOCH, [claim(2)])

        assert await counts(store) == (3, 0, 2, 0)

    run(store_url, scenario)


def test_releasing_twice_gives_back_once(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        reserved, sold = claim(2), claim(1)
        await reserve(store, reserved, sold)
        await store.confirm(EPOCH, [sold])

        changed = await store.release(EPOCH, [reserved, sold], now_ms=T0)
        again = await store.release(EPOCH, [reserved, sold], now_ms=T0)

        assert (changed, again) == (2, 0)
        assert await counts(store) == (5, 0, 0, 0)

    run(store_url, scenario)


def test_a_released_order_can_never_hold_units_again(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        known, unknown = claim(), claim()
        await reserve(store, known)
        await store.release(EPOCH, [known, unknown], now_ms=T0)

        assert await reserve(store, known, unknown) == [Verdict.RELEASED, Verdict.RELEASED]
        assert await counts(store) == (5, 0, 0, 0)

    run(store_url, scenario)


def test_a_confirm_that_comes_after_the_release_takes_no_units(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        order = claim(2)
        await reserve(store, order)
        await store.release(EPOCH, [order], now_ms=T0)

        await store.confirm(EPOCH, [order])  # the sweep's, overtaken by the order's cancelling

        assert await counts(store) == (5, 0, 0, 0)

    run(store_url, scenario)


def test_a_confirm_of_forgotten_units_counts_them_for_their_buyer(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5, limit=2)

        # Reserved before the store came back from an older copy of itself.
        await store.confirm(EPOCH, [claim(2)])

        assert await counts(store) == (3, 0, 2, 0)
        assert await reserve(store, claim()) == [Verdict.OVER_LIMIT]

    run(store_url, scenario)


def test_units_that_come_back_to_a_dry_sku_wait_before_they_are_sold_again(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 2)
        first, second = claim(), claim(buyer="bob")
        await reserve(store, first, second)
        await store.release(EPOCH, [first], now_ms=T0)
        await store.release(EPOCH, [second], now_ms=T0 + 500)
        late, later = claim(buyer="eve"), claim(2, buyer="eve")

        for now_ms, verdict in (
            (T0 + 499 + RESALE_PAUSE_MS, Verdict.SOLD_OUT),
            (T0 + 500 + RESALE_PAUSE_MS, Verdict.RESERVED),
        ):
            [answer] = await store.reserve(EPOCH, [later], now_ms=now_ms, expires_ms=10**9)
            assert answer.verdict == verdict
        assert await reserve(store, late) == [Verdict.SOLD_OUT]
        assert await counts(store) == (0, 2, 0, 0)

    run(store_url, scenario)


def test_units_that_come_back_to_a_sku_with_units_are_sold_at_once(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 2)
        first = claim()
        await reserve(store, first)
        await store.release(EPOCH, [first], now_ms=T0)

        assert await reserve(store, claim(2)) == [Verdict.RESERVED]

    run(store_url, scenario)


def test_expiry_is_at_its_millisecond_and_oldest_first(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        late, early = claim(), claim()
        await reserve(store, late, expires_ms=T0 + 2)
        await reserve(store, early, expires_ms=T0 + 1)

        assert await store.expired(EPOCH, now_ms=T0, limit=10) == []
        assert await store.expired(EPOCH, now_ms=T0 + 1, limit=10) == [early]
        assert await store.expired(EPOCH, now_ms=T0 + 2, limit=10) == [early, late]
        assert await store.expired(EPOCH, now_ms=T0 + 2, limit=1) == [early]

    run(store_url, scenario)


def test_seeding_the_same_version_again_changes_nothing(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        await reserve(store, claim(2))

        await store.begin_seed(EPOCH, "v1")
        new = await store.seed(EPOCH, partition_of(SKU), [SeedRow(SKU, 5, 250, 0)])

        assert new == 0
        assert await counts(store) == (3, 2, 0, 0)
        assert (await store.seed_state()).complete

    run(store_url, scenario)


@pytest.mark.parametrize(("epoch", "version"), [("e2", "v1"), (EPOCH, "v2"), ("e2", "v2")])
def test_another_version_never_clobbers_a_live_sale(
    store_url: str, epoch: str, version: str
) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)

        with pytest.raises(Refused) as refused:
            await store.begin_seed(epoch, version)

        assert EPOCH in str(refused.value.hint)
        assert await counts(store) == (5, 0, 0, 0)

    run(store_url, scenario)


def test_nothing_sells_before_seeding_is_finished(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        with pytest.raises(StaleEpoch):
            await reserve(store, claim())
        await store.begin_seed(EPOCH, "v1")
        await store.seed(EPOCH, partition_of(SKU), [SeedRow(SKU, 5, 250, 0)])
        with pytest.raises(StaleEpoch):
            await reserve(store, claim())

        assert not (await store.seed_state()).complete
        await store.finish_seed(EPOCH, {})
        assert await reserve(store, claim()) == [Verdict.RESERVED]

    run(store_url, scenario)


def test_another_epoch_is_stale_for_every_act(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        order = claim()
        acts: list[Awaitable[object]] = [
            store.reserve("old", [order], now_ms=T0, expires_ms=T0 + TTL),
            store.confirm("old", [order]),
            store.release("old", [order], now_ms=T0),
            store.expired("old", now_ms=T0, limit=1),
            store.units_left("old", [SKU]),
            store.seed("old", 0, [SeedRow(SKU, 5, 250, 0)]),
            store.finish_seed("old", {}),
        ]
        for act in acts:
            with pytest.raises(StaleEpoch):
                await act

        assert await counts(store) == (5, 0, 0, 0)

    run(store_url, scenario)


def test_a_cleared_store_is_stale_and_can_be_seeded_anew(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 5)
        await store.clear()

        with pytest.raises(StaleEpoch):
            await reserve(store, claim())
        await put_on_sale(store, 7)
        assert await counts(store) == (7, 0, 0, 0)

    run(store_url, scenario)


def test_reservations_are_listed_for_the_ledger(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 9)
        buyer = "auth0|ann smith é"  # a subject may hold almost anything
        orders = [claim(buyer=buyer) for _ in range(3)]
        await reserve(store, *orders)
        await store.confirm(EPOCH, orders[:1])
        await store.release(EPOCH, orders[1:2], now_ms=T0)

        found = {row.order_id: row async for row in store.reservations()}

        states = [found[order.order_id].state for order in orders]
        assert states == ["sold", "released", "reserved"]
        assert {row.buyer for row in found.values()} == {buyer}
        assert found[orders[2].order_id].expires_ms == T0 + TTL

    run(store_url, scenario)


def test_every_buyer_who_ever_held_a_sku_is_known(store_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 3)
        orders = [claim(buyer="ann"), claim(buyer="bob b."), claim(buyer="eve")]
        await reserve(store, *orders)
        await store.confirm(EPOCH, orders[:1])
        await store.release(EPOCH, orders[1:2], now_ms=T0)
        await reserve(store, claim(9, buyer="loser"))

        assert await store.buyers([SKU, "other"]) == [{"ann", "bob b.", "eve"}, set()]
        assert await store.units_left(EPOCH, [SKU]) == [UnitsLeft(1, 1)]

    run(store_url, scenario)


# -- what only a real server can show --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_sixteen_shards_and_skewed_buyers_sell_exactly_n(any_redis_url: str, seed: int) -> None:
    async def scenario(store: StockStore) -> None:
        rng = random.Random(seed)
        units = rng.choice([160, 333, 1000])
        await put_on_sale(store, units, shards=16)
        # Most buyers belong to one shard: it must borrow from all others.
        lucky = [f"b{i}" for i in range(4000) if shard_of(f"b{i}", 16) == seed][:150]
        others = [f"c{i}" for i in range(100)]
        wishes = [
            claim(rng.randint(1, 3), buyer=rng.choice(lucky if rng.random() < 0.9 else others))
            for _ in range(units)
        ]
        batches = [wishes[at : at + 37] for at in range(0, len(wishes), 37)]
        gate = asyncio.Semaphore(8)

        async def one(batch: list[Claim]) -> list[int]:
            async with gate:
                return await reserve(store, *batch)

        verdicts = [v for part in await asyncio.gather(*map(one, batches)) for v in part]
        held = sum(w.units for w, v in zip(wishes, verdicts, strict=True) if v == Verdict.RESERVED)
        # Whoever still wants single units gets every last one of them.
        single = await reserve(store, *[claim(buyer=rng.choice(lucky)) for _ in range(units)])
        held += single.count(Verdict.RESERVED)

        assert held == units
        assert await counts(store) == (0, units, 0, 0)
        assert set(verdicts) | set(single) <= {Verdict.RESERVED, Verdict.SOLD_OUT}

    run(any_redis_url, scenario)


def test_units_scattered_over_shards_are_gathered_for_one_order(valkey_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        await put_on_sale(store, 16, shards=16)  # one unit a shard

        verdicts = await reserve(store, claim(16), claim(1, buyer="bob"))

        assert sorted(verdicts) == [Verdict.SOLD_OUT, Verdict.RESERVED]

    run(valkey_url, scenario)


def test_a_loan_cut_in_two_by_a_crash_is_finished_later(valkey_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        assert isinstance(store, RedisStockStore)
        await put_on_sale(store, 32, shards=2)
        donor, home = partition_of(SKU, 0), partition_of(SKU, 1)
        lend = store._call("lend", donor, "meta units lent", EPOCH, "t1", SKU, 4, home, T0)
        assert await store._server.run([lend, lend], "lending") == [8, 8]  # sent twice, lent once
        assert await counts(store) == (24, 0, 0, 8)

        young = await store.settle_transfers(EPOCH, older_than_ms=5000, now_ms=T0 + 4999)
        old = await store.settle_transfers(EPOCH, older_than_ms=5000, now_ms=T0 + 5000)
        again = await store.settle_transfers(EPOCH, older_than_ms=5000, now_ms=T0 + 9000)

        assert (young, old, again) == (0, 1, 0)
        assert await counts(store) == (32, 0, 0, 0)

    run(valkey_url, scenario)


def test_a_server_that_forgets_its_scripts_mid_sale_costs_nothing(any_redis_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        assert isinstance(store, RedisStockStore)
        await put_on_sale(store, 500)
        verdicts: list[int] = []
        for _ in range(10):
            await store._server._redis.on_masters("SCRIPT", "FLUSH", tries=1)
            verdicts += await reserve(store, *[claim() for _ in range(10)])

        assert verdicts == [Verdict.RESERVED] * 100
        assert await counts(store) == (400, 100, 0, 0)

    run(any_redis_url, scenario)


def test_a_reply_lost_after_the_act_never_deducts_twice(any_redis_url: str) -> None:
    """One reply in ten is dropped after the server has acted; the adapter sends the batch again."""

    async def scenario(store: StockStore) -> None:
        assert isinstance(store, RedisStockStore)
        rng = random.Random(3)
        server = store._server._redis
        exchange, dropped = server._exchange, 0

        async def lossy(*sent: Any) -> list[Any]:
            nonlocal dropped
            replies = await exchange(*sent)
            if rng.random() < 0.1:
                dropped += 1
                raise ConnectionResetError("the reply was lost")
            return replies

        server._exchange = lossy  # type: ignore[method-assign]
        await put_on_sale(store, 1000)
        orders = [claim() for _ in range(300)]
        for at in range(0, 300, 3):
            await reserve(store, *orders[at : at + 3])
            await store.confirm(EPOCH, orders[at : at + 1])
            await store.release(EPOCH, orders[at + 1 : at + 2], now_ms=T0)

        assert dropped > 10
        assert await counts(store) == (800, 100, 100, 0)

    run(any_redis_url, scenario)


def test_partitions_restored_from_different_moments_are_noticed(valkey_url: str) -> None:
    async def scenario(store: StockStore) -> None:
        assert isinstance(store, RedisStockStore)
        await put_on_sale(store, 5)
        await store._server.ask("meddling", "HSET", store._key(3, "meta"), "epoch", "e0")

        with pytest.raises(StaleEpoch):
            await store.seed_state()

    run(valkey_url, scenario)


def test_a_store_that_is_gone_is_said_so_after_bounded_tries() -> None:
    async def scenario() -> None:
        store = RedisStockStore.from_url("redis://127.0.0.1:1", sale="s", timeout_s=0.2)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await reserve(store, claim())
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await store.close()

    asyncio.run(scenario())


def test_all_partitions_are_used_by_real_looking_skus() -> None:
    assert {partition_of(f"{i:07d}") for i in range(1000)} == set(range(PARTITIONS))
