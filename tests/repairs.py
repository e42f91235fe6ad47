"""A small sale on real engines, sold the way the services sell, to be broken behind everybody's back and mended."""

import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
import redis

from checkout import VirtualClock
from saleops import wiring
from saleops.domain.items import Item
from saleops.domain.ledger import Ledger
from saleops.domain.messages import ORDERS, announcement, encode_batch
from saleops.domain.orders import Order, OrderState, order_id_of
from saleops.domain.stock import Claim, partition_of, split_units
from saleops.operations.rebuild import own_thread
from saleops.operations.repair import apply, plan_repair
from saleops.operations.repair_engines import RepairEngines
from saleops.operations.repair_report import RepairPlan, RepairReport
from saleops.ports.orders import SaleRow
from saleops.ports.stock import SeedRow

SALE, EPOCH, PRICE_FEN = "drop", "e1", 250
NOW_MS = 1_800_000_000_000
SKUS = {"sku-1": (60, 1, 0), "sku-2": (40, 1, 4), "hot": (96, 4, 0)}
"""SKU -> units, shards, limit."""

FATES = ("unpaid", "shipped", "paid-out", "cancelled", "expired")


def execute(database_url: str, sql: str, *values: Any) -> int:
    """Change the database behind everybody's back. Returns the rows it changed."""
    parts = urlsplit(database_url)
    if parts.scheme == "sqlite":
        with closing(sqlite3.connect(unquote(parts.path[1:]))) as lite, lite:
            return lite.execute(sql, values).rowcount
    with closing(
        pymysql.connect(
            host=parts.hostname or "",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path[1:],
            autocommit=True,
        )
    ) as mysql:
        return mysql.cursor().execute(sql.replace("?", "%s"), values)


class Shop:
    """The engines, the sale's orders by id, open for a repair."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.clock = VirtualClock(NOW_MS)
        self.orders: dict[str, Order] = {}
        self.fates: dict[str, str] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        enter = stack.enter_async_context
        self.stock = await enter(wiring.open_stock_store(self.redis_url, sale=SALE))
        self.broker = await enter(wiring.open_broker(self.redis_url, sale=SALE))
        self.book = stack.enter_context(wiring.open_order_book(self.database_url))
        books = stack.enter_context(own_thread(self.book))
        rows = wiring.book_repair(self.book)
        self.engines = RepairEngines(
            SALE,
            self.stock,
            books,
            self.broker,
            await enter(wiring.open_stock_repair(self.redis_url, sale=SALE)),
            rows,
            wiring.refunding_provider(books, rows),
            self.clock,
        )
        self.redis = stack.enter_context(
            closing(redis.Redis.from_url(self.redis_url, decode_responses=False))
        )

    async def seed(self) -> None:
        units = sum(row[0] for row in SKUS.values())
        self.book.migrate()
        self.book.begin_sale(SaleRow(SALE, EPOCH, "v1", len(SKUS), units, False))
        for sku, (stock, shards, limit) in SKUS.items():
            item = Item(sku, sku, PRICE_FEN, stock, limit)
            self.book.add_items([(item, shards)])
        self.book.finish_sale(SALE)
        await self.stock.begin_seed(EPOCH, "v1")
        for sku, (stock, shards, limit) in SKUS.items():
            for shard, units in enumerate(split_units(stock, shards)):
                row = SeedRow(sku, units, PRICE_FEN, limit)
                await self.stock.seed(EPOCH, partition_of(sku, shard), [row])
        hot = {sku: shards for sku, (_, shards, _) in SKUS.items() if shards > 1}
        await self.stock.finish_seed(EPOCH, hot)

    async def sell(self, orders_per_sku: int = 6) -> None:
        for sku in SKUS:
            for n in range(orders_per_sku):
                await self.sell_one(sku, n, FATES[n % len(FATES)])

    async def sell_one(self, sku: str, n: int, fate: str) -> None:
        buyer = f"buyer {sku} {n}"
        order_id = order_id_of(SALE, buyer, f"key-{n}")
        tx_id = f"tx-{sku}-{n}"
        order = Order(
            order_id, buyer, sku, 1 + n % 3, PRICE_FEN, NOW_MS - 10_000 + n,
            NOW_MS + (-1_000 if fate == "cancelled" else 600_000), f"key-{n}", "tok_ok", tx_id=tx_id,
        )  # fmt: skip
        self.orders[order_id], self.fates[order_id] = order, fate
        claim = Claim(order_id, sku, buyer, order.units)
        await self.stock.reserve(EPOCH, [claim], now_ms=NOW_MS - 10_000, expires_ms=NOW_MS - 5_000)
        if fate == "expired":
            self.book.fence([order_id], now_ms=NOW_MS)
            await self.stock.release(EPOCH, [claim], now_ms=0)
            return
        half = await self.broker.send_half(
            ORDERS, tx_id, encode_batch(announcement(tx_id, [order]))
        )
        assert self.book.place(tx_id, [order]).committed
        await self.broker.commit(half)
        await self.stock.confirm(EPOCH, [claim])
        if fate in ("shipped", "paid-out"):
            self.book.begin_payment([order_id])
            self.book.charge([(order_id, order_id, order.amount_fen)])
            self.book.end_payment([order_id], [])
            self.book.ship([(order_id, order_id)])
        if fate == "cancelled":
            assert self.book.cancel_unpaid([order_id], now_ms=NOW_MS)
            await self.stock.release(EPOCH, [claim], now_ms=0)

    def of(self, fate: str, sku: str = "sku-1") -> Order:
        """The first order of ``sku`` that came to this."""
        return next(o for oid, o in self.orders.items() if self.fates[oid] == fate and o.sku == sku)

    async def ledger(self) -> Ledger:
        return await self.engines.ledger()

    async def plan(self, **options: Any) -> RepairPlan:
        return await plan_repair(self.engines, await self.ledger(), **options)

    async def repair(self, **options: Any) -> RepairReport:
        return await apply(self.engines, await self.plan(**options), who="ann@desk")

    def execute(self, sql: str, *values: Any) -> int:
        return execute(self.database_url, sql, *values)

    def key(self, partition: int, noun: str) -> str:
        return f"stock:{{{SALE}:{partition}}}:{noun}"

    def home(self, order: Order) -> int:
        from saleops.domain.stock import shard_of

        return partition_of(order.sku, shard_of(order.buyer, SKUS[order.sku][1]))


def named(ledger: Ledger) -> list[tuple[str, str, str]]:
    return sorted((one.kind, one.id, one.sku) for one in ledger.breaks)


@asynccontextmanager
async def open_shop(database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        shop = Shop(database_url, redis_url)
        await shop.open(stack)
        await shop.seed()
        await shop.sell()
        yield shop


# -- ways to break it ---------------------------------------------------------------------------------------------------


Fault = Callable[[Shop, random.Random], Awaitable[None] | None]


def _any(shop: Shop, chance: random.Random, *fates: str) -> Order:
    ids = [oid for oid, fate in shop.fates.items() if not fates or fate in fates]
    return shop.orders[chance.choice(sorted(ids))]


def lose_order(shop: Shop, chance: random.Random) -> None:
    shop.execute("DELETE FROM orders WHERE order_id = ?", _any(shop, chance).order_id)


def change_state(shop: Shop, chance: random.Random) -> None:
    state = chance.choice([0, 1, 2, 3, 5, 8])
    order = _any(shop, chance, "unpaid", "shipped", "paid-out", "cancelled")
    shop.execute("UPDATE orders SET state = ? WHERE order_id = ?", state, order.order_id)


def change_units(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "unpaid", "shipped", "cancelled")
    shop.execute("UPDATE orders SET units = units + 1 WHERE order_id = ?", order.order_id)


def change_buyer(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "unpaid", "shipped")
    shop.execute("UPDATE orders SET buyer = 'mallory' WHERE order_id = ?", order.order_id)


def make_late(shop: Shop, chance: random.Random) -> None:
    shop.execute(
        "UPDATE orders SET due_ms = 5 WHERE order_id = ?", _any(shop, chance, "unpaid").order_id
    )


def lose_charge(shop: Shop, chance: random.Random) -> None:
    shop.execute("DELETE FROM charges WHERE order_id = ?", _any(shop, chance, "shipped").order_id)


def change_charge(shop: Shop, chance: random.Random) -> None:
    what = chance.choice(
        ["amount_fen = amount_fen + 7", "state = 'refunded'", "order_id = '" + "f" * 32 + "'"]
    )
    shop.execute(
        f"UPDATE charges SET {what} WHERE order_id = ?", _any(shop, chance, "shipped").order_id
    )


def double_charge(shop: Shop, chance: random.Random) -> None:
    key = f"again-{chance.random()}"
    shop.execute(
        f"INSERT INTO charges SELECT '{key}', '{key}', order_id, amount_fen, state, at_ms FROM charges "
        "WHERE order_id = ?",
        _any(shop, chance, "shipped", "paid-out").order_id,
    )


def stray_charge(shop: Shop, chance: random.Random) -> None:
    order_id = chance.choice(
        ["e" * 32, _any(shop, chance, "unpaid", "cancelled", "expired").order_id]
    )
    key = f"odd-{chance.random()}"
    shop.execute(f"INSERT INTO charges VALUES ('{key}', '{key}', ?, 5, 'captured', 9)", order_id)


def lose_parcel(shop: Shop, chance: random.Random) -> None:
    shop.execute("DELETE FROM parcels WHERE order_id = ?", _any(shop, chance, "shipped").order_id)


def move_parcel(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "shipped")
    shop.execute("UPDATE parcels SET order_id = ? WHERE order_id = ?", "d" * 32, order.order_id)


def double_parcel(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "shipped", "unpaid", "cancelled")
    key = f"again-{chance.random()}"
    shop.execute(f"INSERT INTO parcels VALUES ('{key}', '{key}', ?, 9)", order.order_id)


def change_guard(shop: Shop, chance: random.Random) -> None:
    sku, up = chance.choice(sorted(SKUS)), chance.choice(["sold + 3", "sold - 1", "0"])
    shop.execute(f"UPDATE stock SET sold = {up} WHERE sku = ?", sku)


def change_total(shop: Shop, chance: random.Random) -> None:
    shop.execute("UPDATE stock SET total = total + 5 WHERE sku = ?", chance.choice(sorted(SKUS)))


def lose_stock_row(shop: Shop, chance: random.Random) -> None:
    shop.execute("DELETE FROM stock WHERE sku = ?", chance.choice(sorted(SKUS)))


def change_counter(shop: Shop, chance: random.Random) -> None:
    sku = chance.choice(sorted(SKUS))
    shard = chance.randrange(SKUS[sku][1])
    units = shop.key(partition_of(sku, shard), "units")
    letter, by = chance.choice("LRS"), chance.choice([-5, -1, 1, 4])
    if letter == "L" and not shop.redis.hexists(units, f"L{sku}"):
        letter = "R"
    shop.redis.hincrby(units, letter + sku, by)


def lose_held(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "shipped", "unpaid")
    shop.redis.hdel(shop.key(shop.home(order), f"held:{order.sku}"), order.order_id)


def change_held(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance)
    text = chance.choice(
        [
            "R 2 5 bob",
            "S 9 0 bob",
            f"S 1 0 {order.buyer}",
            f"X 1 0 {order.buyer}",
            f"R 1 5 {order.buyer}",
        ]
    )
    shop.redis.hset(shop.key(shop.home(order), f"held:{order.sku}"), order.order_id, text)


def double_held(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "shipped", "unpaid")
    elsewhere = "sku-2" if order.sku != "sku-2" else "sku-1"
    shop.redis.hset(
        shop.key(partition_of(elsewhere), f"held:{elsewhere}"), order.order_id, "S 2 0 bob"
    )


def held_for_nobody(shop: Shop, chance: random.Random) -> None:
    sku = chance.choice(sorted(SKUS))
    text = chance.choice(["S 2 0 bob", "R 1 5 bob"])
    shop.redis.hset(shop.key(partition_of(sku), f"held:{sku}"), "c" * 32, text)


async def reserved_and_forgotten(shop: Shop, chance: random.Random) -> None:
    claim = Claim("b" * 32, chance.choice(sorted(SKUS)), "bob", 2)
    await shop.stock.reserve(EPOCH, [claim], now_ms=NOW_MS, expires_ms=NOW_MS - 1)


def lose_message(shop: Shop, chance: random.Random) -> None:
    log = next(
        key
        for key in shop.redis.scan_iter()
        if shop.redis.type(key) == b"stream" and b"{drop:orders}" in key
    )
    entries = [number for number, _ in shop.redis.xrange(log)]
    shop.redis.xdel(log, chance.choice(entries))


async def say_again(shop: Shop, chance: random.Random) -> None:
    order = _any(shop, chance, "shipped", "unpaid", "cancelled")
    await shop.broker.publish(ORDERS, encode_batch(announcement("tx-again", [order])))


async def say_nonsense(shop: Shop, chance: random.Random) -> None:
    body = b"rubbish %d" % chance.randrange(9)
    if chance.random() < 0.5:
        ghost = Order("a" * 32, "zoe", "sku-1", 1, PRICE_FEN, 0, 0, "k")
        body = encode_batch(announcement("tx-ghost", [ghost]))
    await shop.broker.publish(ORDERS, body)


def lose_sku(shop: Shop, chance: random.Random) -> None:
    sku = chance.choice(sorted(SKUS))
    shop.redis.hdel(shop.key(partition_of(sku), "units"), f"I{sku}")


def change_seeded(shop: Shop, chance: random.Random) -> None:
    sku = chance.choice(["sku-1", "sku-2"])
    shop.redis.hset(shop.key(partition_of(sku), "units"), f"I{sku}", "250 33 0")


async def empty_store(shop: Shop, chance: random.Random) -> None:
    await shop.stock.clear()


def restore_in_part(shop: Shop, chance: random.Random) -> None:
    shop.redis.hset(shop.key(chance.randrange(16), "meta"), "epoch", "of-yesterday")


REBUILT: tuple[Fault, ...] = (
    change_total,
    lose_stock_row,
    lose_sku,
    change_seeded,
    empty_store,
    restore_in_part,
)
LASTING: tuple[Fault, ...] = (lose_message, *REBUILT)
"""What an undo cannot bring back whole: a message that was sent stays sent, a store that was rebuilt stays rebuilt."""

FAULTS: tuple[Fault, ...] = (
    lose_order, change_state, change_units, change_buyer, make_late, lose_charge, change_charge, double_charge,
    stray_charge, lose_parcel, move_parcel, double_parcel, change_guard, change_counter, lose_held, change_held,
    double_held, held_for_nobody, reserved_and_forgotten, say_again, say_nonsense, lose_message,
)  # fmt: skip

PAID_STATES = (OrderState.PAID, OrderState.SHIPPED)
