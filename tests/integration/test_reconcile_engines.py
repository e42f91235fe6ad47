"""The ledger over real engines: a sale that ran balances; a row lost or doubled behind our back is named."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from typing import Any

import pytest
import redis

from repairs import execute
from saleops import wiring
from saleops.domain.items import Item
from saleops.domain.ledger import Ledger
from saleops.domain.messages import ORDERS, OrderBatch, OrderLine, encode_batch
from saleops.domain.orders import Order, order_id_of
from saleops.domain.stock import Claim, partition_of
from saleops.errors import ConfigError, StoreUnavailable
from saleops.events import Advanced, Event, Finished, Started, Warned
from saleops.operations import reconcile as operation
from saleops.operations.reconcile import reconcile
from saleops.ports.orders import SaleRow
from saleops.ports.stock import SeedRow

SALE, EPOCH = "drop", "e1"
NOW_MS = 1_800_000_000_000
PRICE_FEN = 250
STATES = ["unpaid", "shipped", "shipped", "paid", "cancelled", "expired"]


def id_of(state: str) -> str:
    """The id of the first order in ``state``."""
    return order_id_of(SALE, f"buyer-{STATES.index(state)}", "key")


class Engines:
    """The three engines with a small sale on them, sold the way the services sell."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.redis_url = redis_url

    async def open(self, stack: AsyncExitStack) -> None:
        enter = stack.enter_async_context
        self.stock = await enter(wiring.open_stock_store(self.redis_url, sale=SALE))
        self.broker = await enter(wiring.open_broker(self.redis_url, sale=SALE))
        self.book = stack.enter_context(wiring.open_order_book(self.database_url))

    async def seed(self) -> None:
        self.book.migrate()
        self.book.begin_sale(SaleRow(SALE, EPOCH, "v1", 2, 150, False))
        items = [Item("sku-1", "One", PRICE_FEN, 50), Item("sku-2", "Two", PRICE_FEN, 100)]
        self.book.add_items([(item, 1) for item in items])
        self.book.finish_sale(SALE)
        await self.stock.begin_seed(EPOCH, "v1")
        for item in items:
            row = SeedRow(item.sku, item.stock, item.price_fen, 0)
            await self.stock.seed(EPOCH, partition_of(item.sku), [row])
        await self.stock.finish_seed(EPOCH, {})

    async def sell(self) -> None:
        orders = [
            Order(
                order_id_of(SALE, f"buyer-{n}", "key"),
                f"buyer-{n}",
                "sku-1",
                n + 1,
                PRICE_FEN,
                NOW_MS - 10_000,
                NOW_MS + (-5_000 if state == "cancelled" else 5_000),
                "key",
            )
            for n, state in enumerate(STATES)
        ]
        claims = [Claim(o.order_id, o.sku, o.buyer, o.units) for o in orders]
        await self.stock.reserve(EPOCH, claims, now_ms=NOW_MS - 10_000, expires_ms=NOW_MS - 5_000)
        *placed, expired = orders
        lines = [
            OrderLine(o.order_id, o.buyer, o.sku, o.units, o.amount_fen, o.created_ms, o.due_ms)
            for o in placed
        ]
        half = await self.broker.send_half(ORDERS, "tx-1", encode_batch(OrderBatch("tx-1", lines)))
        assert self.book.place("tx-1", placed).committed
        await self.broker.commit(half)
        await self.stock.confirm(EPOCH, claims[:-1])
        self.book.fence([expired.order_id], now_ms=NOW_MS)
        await self.stock.release(EPOCH, [claims[-1]], now_ms=0)

        paid = [o for o, state in zip(orders, STATES, strict=True) if state in ("paid", "shipped")]
        self.book.begin_payment([o.order_id for o in paid])
        self.book.charge([(o.order_id, o.order_id, o.amount_fen) for o in paid])
        self.book.end_payment([o.order_id for o in paid], [])
        self.book.ship([(o.order_id, o.order_id) for o in paid])
        [cancelled] = self.book.cancel_unpaid([id_of("cancelled")], now_ms=NOW_MS)
        claim = Claim(cancelled.order_id, cancelled.sku, cancelled.buyer, cancelled.units)
        await self.stock.release(EPOCH, [claim], now_ms=0)

    async def ledger(self, **options: Any) -> Ledger:
        return await reconcile(SALE, self.stock, self.book, self.broker, now_ms=NOW_MS, **options)


def on_engines(
    database_url: str, redis_url: str, scenario: Callable[[Engines], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            engines = Engines(database_url, redis_url)
            await engines.open(stack)
            await engines.seed()
            await engines.sell()
            await scenario(engines)

    asyncio.run(run())


def test_a_sale_that_ran_balances_on_every_pair_of_engines(
    any_database_url: str, any_redis_url: str
) -> None:
    async def scenario(engines: Engines) -> None:
        seen: list[Event] = []
        ledger = await engines.ledger(observe=seen.append)

        assert ledger.breaks == []
        assert ledger.balanced
        assert (ledger.skus, ledger.seeded, ledger.left) == (2, 150, 140)
        assert (ledger.reserved, ledger.sold) == (0, 10)
        assert (ledger.live_orders, ledger.paid_orders, ledger.cancelled_orders) == (4, 3, 1)
        assert ledger.due_fen == ledger.charged_fen == 9 * PRICE_FEN
        assert {e.task for e in seen if isinstance(e, Started)} == {
            e.task for e in seen if isinstance(e, Finished)
        }

    on_engines(any_database_url, any_redis_url, scenario)


DELETIONS = [
    ("DELETE FROM parcels WHERE order_id = '{}'", "shipped", {"missing-parcel"}),
    ("DELETE FROM charges WHERE order_id = '{}'", "shipped", {"missing-charge"}),
    ("UPDATE charges SET amount_fen = amount_fen + 1 WHERE order_id = '{}'", "shipped", {"wrong-amount"}),
    ("UPDATE orders SET state = 8 WHERE order_id = '{}'", "unpaid", {"orphan-reservation", "guard-differs"}),
    ("UPDATE orders SET due_ms = 5 WHERE order_id = '{}'", "unpaid", {"unpaid-order"}),
    (
        "DELETE FROM orders WHERE order_id = '{}'",
        "shipped",
        {"orphan-reservation", "ghost-message", "stray-charge", "stray-parcel", "guard-differs"},
    ),
    (
        "INSERT INTO charges SELECT 'again', 'again', order_id, amount_fen, state, at_ms FROM charges "
        "WHERE order_id = '{}'",
        "shipped",
        {"double-charge"},
    ),
    (
        "INSERT INTO parcels SELECT 'again', 'again', order_id, at_ms FROM parcels WHERE order_id = '{}'",
        "shipped",
        {"duplicate-parcel"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "state", "kinds"), DELETIONS)
def test_a_row_changed_in_the_database_is_named(
    any_database_url: str, valkey_url: str, sql: str, state: str, kinds: set[str]
) -> None:
    async def scenario(engines: Engines) -> None:
        assert execute(engines.database_url, sql.format(id_of(state))) > 0
        ledger = await engines.ledger()

        assert not ledger.balanced
        assert {b.kind for b in ledger.breaks} == kinds
        assert {b.id for b in ledger.breaks} - {""} == {id_of(state)}

    on_engines(any_database_url, valkey_url, scenario)


def test_units_lost_in_the_stock_store_are_named(sqlite_url: str, any_redis_url: str) -> None:
    async def scenario(engines: Engines) -> None:
        client = redis.Redis.from_url(any_redis_url, decode_responses=True)
        with closing(client):
            hashes = [key for key in client.scan_iter() if client.type(key) == "hash"]
            [units] = [key for key in hashes if client.hexists(key, "Lsku-1")]  # units left
            client.hincrby(units, "Lsku-1", -2)
            assert sum(client.hdel(key, id_of("shipped")) for key in hashes) == 1
        ledger = await engines.ledger()

        assert ledger.undersold_units == 2
        assert ledger.orphan_orders == 1
        assert {b.kind for b in ledger.breaks} == {"undersold", "orphan-order", "counter-differs"}
        assert {b.id for b in ledger.breaks} - {""} == {id_of("shipped")}

    on_engines(sqlite_url, any_redis_url, scenario)


def test_a_message_that_came_twice_or_never_or_as_rubbish_is_named(
    sqlite_url: str, valkey_url: str
) -> None:
    async def scenario(engines: Engines) -> None:
        order = engines.book.orders([id_of("paid")])[id_of("paid")]
        line = OrderLine(
            order.order_id, order.buyer, order.sku, order.units, order.amount_fen, 0, 0
        )
        await engines.broker.publish(ORDERS, encode_batch(OrderBatch("tx-2", [line])))
        await engines.broker.publish(ORDERS, b"\xff rubbish")
        silent = Order("a" * 32, "zoe", "sku-2", 1, PRICE_FEN, NOW_MS - 9_000, NOW_MS + 9, "key")
        claim = Claim(silent.order_id, "sku-2", "zoe", 1)
        await engines.stock.reserve(EPOCH, [claim], now_ms=NOW_MS, expires_ms=NOW_MS + 1)
        half = await engines.broker.send_half(ORDERS, "tx-3", b"{}")
        assert engines.book.place("tx-3", [silent]).committed
        seen: list[Event] = []
        ledger = await engines.ledger(observe=seen.append)

        rubbish = hashlib.blake2b(b"\xff rubbish", digest_size=8).hexdigest()
        assert [(b.kind, b.id) for b in ledger.breaks] == [
            ("duplicate-message", order.order_id),
            ("ghost-message", f"unreadable:{rubbish}"),
            ("orphan-order", silent.order_id),
        ]
        assert ledger.unconfirmed_orders == 1
        [warned] = [e.message for e in seen if isinstance(e, Warned)]
        assert "1 half messages" in warned
        await engines.broker.rollback(half)

    on_engines(sqlite_url, valkey_url, scenario)


def test_a_forgotten_store_leaves_no_order_unnamed(sqlite_url: str, valkey_url: str) -> None:
    async def scenario(engines: Engines) -> None:
        await engines.stock.clear()
        ledger = await engines.ledger()

        assert {b.id for b in ledger.breaks if b.kind == "orphan-order"} == {
            order_id_of(SALE, f"buyer-{n}", "key") for n in range(4)
        }
        assert {b.sku for b in ledger.breaks if b.kind == "missing-sku"} == {"sku-1", "sku-2"}

    on_engines(sqlite_url, valkey_url, scenario)


def test_an_unknown_sale_is_a_mistake_and_not_a_balance_of_zero(
    sqlite_url: str, valkey_url: str
) -> None:
    async def scenario(engines: Engines) -> None:
        with pytest.raises(ConfigError) as caught:
            await reconcile("typo", engines.stock, engines.book, engines.broker, now_ms=NOW_MS)
        assert "'typo'" in caught.value.message
        assert "nothing was checked" in caught.value.message

    on_engines(sqlite_url, valkey_url, scenario)


def test_an_engine_out_of_reach_is_an_error_and_no_verdict(
    sqlite_url: str, valkey_url: str
) -> None:
    async def scenario(engines: Engines) -> None:
        async with wiring.open_stock_store("redis://127.0.0.1:9", sale=SALE) as nowhere:
            with pytest.raises(StoreUnavailable):
                await reconcile(SALE, nowhere, engines.book, engines.broker, now_ms=NOW_MS)

    on_engines(sqlite_url, valkey_url, scenario)


def test_progress_is_a_running_total(
    sqlite_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "PAGE", 2)

    async def scenario(engines: Engines) -> None:
        seen: list[Event] = []
        await engines.ledger(observe=seen.append)
        advances = [e for e in seen if isinstance(e, Advanced)]
        tables = list(dict.fromkeys(e.note.partition(",")[0] for e in advances))
        assert tables[:3] == ["counters", "guarded stock", "orders"]
        totals = [e.done for e in advances]
        assert totals == sorted(totals)
        orders = [e.done for e in advances if e.note.startswith("orders,")]
        assert [done - orders[0] for done in orders] == [0, 2, 4, 6]
        assert {e.task for e in seen if not isinstance(e, Warned)} == {operation.TASK}
        assert [e.note for e in seen if isinstance(e, Finished)] == [f"{totals[-1]} rows"]

    on_engines(sqlite_url, valkey_url, scenario)
