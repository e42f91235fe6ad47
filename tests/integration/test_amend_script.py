"""``lua/stock/amend.lua``: all of a repair or nothing, and never a value that no sale could have written."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from repairs import EPOCH, NOW_MS, Shop, named, open_shop
from saleops.domain.repair import Add, Amend, Due, Field
from saleops.domain.stock import partition_of
from saleops.errors import StoreUnavailable
from saleops.ports.repair import Fate
from saleops.ports.stock import StaleEpoch

PARTITION = partition_of("sku-1")


def on_shop(url: str, database: str, scenario: Callable[[Shop], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_shop(database, url) as shop:
            await scenario(shop)

    asyncio.run(run())


def everything(shop: Shop) -> dict[bytes, object]:
    found: dict[bytes, object] = {}
    for key in shop.redis.scan_iter(match="stock:*"):
        kind = shop.redis.type(key)
        if kind == b"hash":
            found[key] = shop.redis.hgetall(key)
        elif kind == b"zset":
            found[key] = shop.redis.zrange(key, 0, -1, withscores=True)
    return found


def held(before: str | None, after: str | None, order_id: str = "c" * 32) -> Field:
    return Field("held", order_id, before, after)


def test_it_changes_all_at_once_and_a_repeat_changes_nothing(
    any_redis_url: str, sqlite_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        left = int(shop.redis.hget(shop.key(PARTITION, "units"), "Lsku-1") or 0)
        adds = [
            Add("units", "Lsku-1", -2),
            Add("units", "Rsku-1", 2),
            Add("buyers", "sku-1 bob", 2),
        ]
        member = f"{'c' * 32} 2 sku-1 bob"
        act = Amend(PARTITION, "sku-1", [held(None, "R 2 77 bob")], adds, [Due(member, None, 77)])

        amend = shop.engines.stock_rows.amend
        first = await amend(EPOCH, act, now_ms=NOW_MS)
        after = everything(shop)
        again = await amend(EPOCH, act, now_ms=NOW_MS)

        assert (first.fate, again.fate) == (Fate.DONE, Fate.ALREADY)
        assert everything(shop) == after
        units = shop.redis.hgetall(shop.key(PARTITION, "units"))
        assert (int(units[b"Lsku-1"]), int(units[b"Rsku-1"])) == (left - 2, 2)
        assert shop.redis.zscore(shop.key(PARTITION, "due"), member) == 77
        assert not shop.redis.hexists(
            shop.key(PARTITION, "buyers"), "sku-1 bob"
        )  # no limit: not counted
        assert [kind for kind, _, _ in named(await shop.ledger())] == [
            "orphan-reservation"
        ]  # expired

    on_shop(any_redis_url, sqlite_url, scenario)


GOOD = held(None, "S 1 0 bob")
REFUSED = [
    (Amend(PARTITION, "sku-1", [held("S 9 0 bob", "X 9 0 bob")]), Fate.CHANGED),
    (Amend(PARTITION, "sku-1", [GOOD, Field("units", "Lsku-1", "987", "1")]), Fate.CHANGED),
    (Amend(PARTITION, "sku-1", [GOOD], [Add("units", "Lsku-1", -10_000)]), Fate.SHORT),
    (Amend(PARTITION, "sku-1", [GOOD], [Add("units", "Rsku-1", -1)]), Fate.SHORT),
]


@pytest.mark.parametrize(("act", "fate"), REFUSED)
def test_a_guard_that_does_not_hold_or_a_counter_below_zero_changes_nothing(
    valkey_url: str, sqlite_url: str, act: Amend, fate: Fate
) -> None:
    async def scenario(shop: Shop) -> None:
        before = everything(shop)
        changed = await shop.engines.stock_rows.amend(EPOCH, act, now_ms=NOW_MS)
        assert changed.fate is fate
        assert changed.detail
        assert everything(shop) == before

    on_shop(valkey_url, sqlite_url, scenario)


NONSENSE = [
    Amend(PARTITION, "sku-1", []),
    Amend(PARTITION, "sku-1", [held(None, None)]),
    *(
        Amend(PARTITION, "sku-1", [Field("units", "Xnew", None, text)])
        for text in ("-1", "1.5", "1e9", "nan", "", "9" * 17, " 1")
    ),
    *(
        Amend(PARTITION, "sku-1", [held(None, text)])
        for text in ("Q 1 0 bob", "S -1 0 bob", "S 1.5 0 bob", "S 1 0", "S " + "9" * 16 + " 0 bob")
    ),
    Amend(PARTITION, "sku-1", [GOOD], [Add("units", "Lsku-1", 10**13)]),
    Amend(PARTITION, "sku-1", [held(None, "S 1 0 bob", str(n)) for n in range(1001)]),
]


@pytest.mark.parametrize("number", range(len(NONSENSE)))
def test_a_value_that_no_sale_could_have_written_is_refused(
    valkey_url: str, sqlite_url: str, number: int
) -> None:
    async def scenario(shop: Shop) -> None:
        before = everything(shop)
        with pytest.raises((StoreUnavailable, ValueError), match=r"BADVALUE|TOOMANY"):
            await shop.engines.stock_rows.amend(EPOCH, NONSENSE[number], now_ms=NOW_MS)
        assert everything(shop) == before

    on_shop(valkey_url, sqlite_url, scenario)


def test_another_epoch_is_stale(valkey_url: str, sqlite_url: str) -> None:
    async def scenario(shop: Shop) -> None:
        with pytest.raises(StaleEpoch):
            await shop.engines.stock_rows.amend("e0", REFUSED[0][0], now_ms=NOW_MS)

    on_shop(valkey_url, sqlite_url, scenario)


def test_units_that_come_back_to_a_dry_sku_wait_as_after_a_release(
    valkey_url: str, sqlite_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        units = shop.key(PARTITION, "units")
        shop.redis.hset(units, "Lsku-1", 0)
        act = Amend(PARTITION, "sku-1", [held(None, "X 2 0 bob")], [Add("units", "Lsku-1", 2)])
        await shop.engines.stock_rows.amend(EPOCH, act, now_ms=NOW_MS)
        assert shop.redis.hmget(units, "Vsku-1", "Wsku-1") == [b"2", str(NOW_MS + 2000).encode()]

    on_shop(valkey_url, sqlite_url, scenario)
