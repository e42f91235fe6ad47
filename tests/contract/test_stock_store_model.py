"""The Lua scripts against their model in Python: random acts must be answered alike and leave the same counters."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from saleops.adapters.memory_stock import MemoryStockStore
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.stock import Claim, Verdict, partition_of, split_units
from saleops.ports.stock import SeedRow, StockStore

EPOCH = "e1"
SKUS = ["a", "b", "c"]
BUYERS = ["ann", "bob", "eve"]


async def seeded(store: StockStore) -> None:
    await store.begin_seed(EPOCH, "v1")
    for sku, units, limit in (("a", 6, 0), ("b", 9, 3), ("c", 0, 1)):
        await store.seed(EPOCH, partition_of(sku), [SeedRow(sku, units, 100, limit)])
    await store.finish_seed(EPOCH, {})


async def state(store: StockStore) -> tuple[object, object]:
    counts = sorted([row async for row in store.counts()], key=lambda row: row.sku)
    held = sorted([row async for row in store.reservations()], key=lambda row: row.order_id)
    return counts, [(r.order_id, r.sku, r.buyer, r.units, r.state) for r in held]


async def act(rng: random.Random, known: list[Claim]) -> AsyncIterator[tuple[str, list[Claim]]]:
    for number in range(120):
        kind = rng.choices(["reserve", "confirm", "release", "expired"], [6, 3, 3, 1])[0]
        fresh = [
            Claim(
                f"{number:04d}{i}", rng.choice([*SKUS, "x"]), rng.choice(BUYERS), rng.randint(1, 3)
            )
            for i in range(rng.randint(0, 3))
        ]
        again = rng.sample(known, min(len(known), rng.randint(0, 2)))
        if kind == "reserve":
            known += fresh
            yield kind, fresh + again
        else:
            yield kind, [claim for claim in again if claim.sku != "x"]


@pytest.mark.parametrize("seed", range(12))
def test_random_acts_are_answered_as_the_model_answers_them(valkey_url: str, seed: int) -> None:
    async def scenario() -> None:
        rng, known = random.Random(seed), list[Claim]()
        model, store = MemoryStockStore(), RedisStockStore.from_url(valkey_url, sale="s")
        await seeded(model)
        await seeded(store)
        now = 1_000
        async for kind, claims in act(rng, known):
            now += rng.choice([0, 20, 50, 1500])
            replies = []
            for one in (model, store):
                if kind == "reserve":
                    replies.append(
                        await one.reserve(EPOCH, claims, now_ms=now, expires_ms=now + 200)
                    )
                elif kind == "confirm":
                    replies.append(await one.confirm(EPOCH, claims))
                elif kind == "release":
                    replies.append(await one.release(EPOCH, claims, now_ms=now))
                else:
                    due = await one.expired(EPOCH, now_ms=now, limit=1000)
                    replies.append(sorted(due, key=lambda claim: claim.order_id))
            assert replies[0] == replies[1], (kind, claims)
            assert await state(model) == await state(store), (kind, claims)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_units_and_fifty_thousand_buyers_sell_a_thousand(
    any_redis_url: str, seed: int
) -> None:
    async def scenario() -> None:
        rng = random.Random(seed)
        store = RedisStockStore.from_url(any_redis_url, sale="s")
        await store.begin_seed(EPOCH, "v1")
        for shard, units in enumerate(split_units(1000, 16)):
            await store.seed(EPOCH, partition_of("hot", shard), [SeedRow("hot", units, 100, 1)])
        await store.finish_seed(EPOCH, {"hot": 16})
        wishes = [Claim(f"{i:032x}", "hot", f"buyer-{i}", 1) for i in range(50_000)]
        rng.shuffle(wishes)
        gate = asyncio.Semaphore(6)
        sold = 0

        async def batch(part: list[Claim]) -> None:
            nonlocal sold
            async with gate:
                # What the service does: once the whole SKU is dry nobody is asked any more.
                if sold == 1000:
                    return
                answers = await store.reserve(EPOCH, part, now_ms=0, expires_ms=1)
                sold += sum(answer.verdict == Verdict.RESERVED for answer in answers)

        size = rng.choice([40, 100])
        await asyncio.gather(*[batch(wishes[at : at + size]) for at in range(0, 50_000, size)])
        [row] = [row async for row in store.counts()]
        await store.close()

        assert sold == 1000
        assert (row.left, row.reserved, row.sold, row.in_transit) == (0, 1000, 0, 0)

    asyncio.run(scenario())
