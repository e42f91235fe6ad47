"""Payment, shipping and cancelling on real engines: Streams broker, SQLite and MariaDB, threads and killed processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import msgspec
import pytest

from checkout import EPOCH, GROUPS, PRICE_FEN, SKU, body_of, order_of, place, stock_book, until
from saleops.adapters.book_payments import BookPayments
from saleops.adapters.memory_stock import MemoryStockStore
from saleops.domain.messages import DEADLINES, ORDERS, PAID, PAYMENT_GROUP, SHIPPING_GROUP
from saleops.domain.orders import Order, OrderState
from saleops.domain.stock import Claim
from saleops.ports.broker import Broker
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook
from saleops.ports.stock import SeedRow
from saleops.services.book import BookThread
from saleops.services.consumer import Backoff, Consumer
from saleops.services.order.deadlines import DeadlineKeeper
from saleops.services.payment.charging import Cashier
from saleops.services.shipping.dispatch import Dispatcher
from saleops.wiring import open_broker, open_order_book

SALE = "drop"
UNITS = 500
BACKOFF = Backoff(base_ms=20, cap_ms=200)
INVISIBLE_MS = 700

WORKER = """
import asyncio, sys
from saleops.adapters.book_payments import BookPayments
from saleops.domain.messages import ORDERS, PAYMENT_GROUP
from saleops.ports.clock import WallClock
from saleops.services.book import BookThread
from saleops.services.consumer import Consumer
from saleops.services.payment.charging import Cashier
from saleops.wiring import open_broker, open_order_book

database_url, broker_url, stage, flag = sys.argv[1:]

class Stuck:
    def __init__(self, provider): self.provider = provider
    async def charge(self, requests):
        if stage == "charged":
            await self.provider.charge(requests)
        open(flag, "w").close()
        await asyncio.sleep(60)

async def main():
    async with open_broker(broker_url, sale="drop") as broker:
        with open_order_book(database_url) as book:
            thread = BookThread(book)
            cashier = Cashier(book=thread, provider=Stuck(BookPayments(thread)), broker=broker,
                              clock=WallClock(), provider_timeout_s=90)
            await Consumer(broker, ORDERS, PAYMENT_GROUP, cashier.handle, invisible_ms=INVISIBLE).run()

asyncio.run(main())
""".replace("INVISIBLE", str(INVISIBLE_MS))


def orders_due_in(ttl_ms: int, count: int, **options: object) -> list[Order]:
    now_ms = WallClock().now_ms()
    return [
        msgspec.structs.replace(
            order_of(number), created_ms=now_ms, due_ms=now_ms + ttl_ms, **options
        )
        for number in range(count)
    ]


class Line:
    """The consumers of one sale on real engines; ``workers`` of each, each with its own connection."""

    def __init__(self, database_url: str, broker: Broker, stock: MemoryStockStore) -> None:
        self.database_url = database_url
        self.broker = broker
        self.stock = stock

    @asynccontextmanager
    async def running(self, workers: int = 1) -> AsyncIterator[list[Consumer]]:
        clock = WallClock()
        async with AsyncExitStack() as stack:
            consumers: list[Consumer] = []
            for _ in range(workers):
                thread = BookThread(stack.enter_context(open_order_book(self.database_url)))
                stack.callback(thread.close)
                cashier = Cashier(
                    book=thread,
                    provider=BookPayments(thread),
                    broker=self.broker,
                    clock=clock,
                    provider_wait_s=0.01,
                )
                keeper = DeadlineKeeper(
                    book=thread,
                    stock=self.stock,
                    broker=self.broker,
                    epoch=lambda: EPOCH,
                    clock=clock,
                )
                make = partial(
                    Consumer, self.broker, backoff=BACKOFF, invisible_ms=INVISIBLE_MS, wait_ms=100
                )
                consumers += [
                    make(ORDERS, PAYMENT_GROUP, cashier.handle),
                    make(PAID, SHIPPING_GROUP, Dispatcher(book=thread).handle),
                    make(DEADLINES, "deadline", keeper.handle),
                ]
            tasks = [asyncio.create_task(consumer.run()) for consumer in consumers]
            try:
                yield consumers
                await asyncio.gather(*(consumer.stop() for consumer in consumers))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def quiet(self) -> bool:
        for topic, group in GROUPS:
            depth = await self.broker.depth(topic, group)
            if depth.busy or depth.delayed:
                return False
        return True


@asynccontextmanager
async def line_of(database_url: str, broker_url: str) -> AsyncIterator[Line]:
    stock = MemoryStockStore()
    await stock.begin_seed(EPOCH, "v1")
    await stock.seed(EPOCH, 0, [SeedRow(SKU, UNITS, PRICE_FEN, 0)])
    await stock.finish_seed(EPOCH, {})
    async with open_broker(broker_url, sale=SALE) as broker:
        yield Line(database_url, broker, stock)


async def sell(line: Line, book: OrderBook, orders: list[Order], tx_id: str = "tx-1") -> None:
    claims = [Claim(o.order_id, o.sku, o.buyer, o.units) for o in orders]
    await line.stock.reserve(EPOCH, claims, now_ms=0, expires_ms=1)
    place(book, orders, tx_id)
    await line.stock.confirm(EPOCH, claims)
    await line.broker.publish(ORDERS, body_of(orders, tx_id))


def check_books(book: OrderBook, shipped: list[Order], cancelled: list[Order]) -> None:
    states = {order.order_id: order.state for order in book.every_order()}
    assert [states[order.order_id] for order in shipped] == [OrderState.SHIPPED] * len(shipped)
    assert [states[o.order_id] for o in cancelled] == [OrderState.CANCELLED] * len(cancelled)
    ids = Counter(order.order_id for order in shipped)
    assert Counter(charge.order_id for charge in book.every_charge()) == ids
    assert Counter(parcel.order_id for parcel in book.every_parcel()) == ids
    [row] = book.every_stock()
    assert row.sold == sum(order.units for order in shipped)


def test_orders_flow_to_parcels_or_back_to_the_shelf_with_two_workers_each(
    any_database_url: str, valkey_url: str
) -> None:
    async def scenario(book: OrderBook) -> None:
        orders = orders_due_in(1_500, 120)
        tokens = ["tok_visa", "tok_flaky", "tok_visa", "tok_declined", ""]
        orders = [
            msgspec.structs.replace(order, payment_token=tokens[number % 5])
            for number, order in enumerate(orders)
        ]
        async with line_of(any_database_url, valkey_url) as line:
            for start in range(0, 120, 24):
                await sell(line, book, orders[start : start + 24], f"tx-{start}")
                await line.broker.publish(ORDERS, body_of(orders[start : start + 24]))
            async with line.running(workers=2):
                await until(line.quiet, within_s=40)

            good = [o for o in orders if o.payment_token in ("tok_visa", "tok_flaky")]
            bad = [o for o in orders if o not in good]
            check_books(book, good, bad)
            [counts] = [row async for row in line.stock.counts()]
            assert (counts.left, counts.reserved) == (UNITS - len(good), 0)
            for topic, group in GROUPS:
                assert (await line.broker.depth(topic, group)).dead == 0

    with open_order_book(any_database_url) as book:
        stock_book(book, units=UNITS)
        asyncio.run(scenario(book))


@pytest.mark.parametrize("stage", ["claimed", "charged"])
def test_a_payment_worker_killed_by_sigkill_is_mended_by_the_next_one(
    stage: str, any_database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    flag = tmp_path / "stuck"

    async def scenario(book: OrderBook) -> None:
        orders = orders_due_in(60_000, 5)
        async with line_of(any_database_url, valkey_url) as line:
            await sell(line, book, orders)
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, any_database_url, valkey_url, stage, str(flag)]
            )
            try:
                await until(_exists(flag))
            finally:
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()
            assert {o.state for o in book.every_order()} == {OrderState.PAYING}

            async with line.running():
                await until(line.quiet)

            check_books(book, orders, [])

    with open_order_book(any_database_url) as book:
        stock_book(book, units=UNITS)
        asyncio.run(scenario(book))


def _exists(path: Path) -> Callable[[], object]:
    async def exists() -> bool:
        return path.exists()

    return exists


def test_the_bundled_flow_survives_the_broker_dying_and_coming_back(
    any_database_url: str, valkey_url: str
) -> None:
    """The broker refuses every command for a while (its connections are cut again and again)."""

    async def scenario(book: OrderBook) -> None:
        from redis.asyncio import Redis

        orders = orders_due_in(60_000, 60)
        async with line_of(any_database_url, valkey_url) as line:
            for start in range(0, 60, 6):
                await sell(line, book, orders[start : start + 6], f"tx-{start}")
            async with line.running(workers=2), Redis.from_url(valkey_url) as cutter:
                for _ in range(10):
                    await cutter.execute_command(
                        "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes"
                    )
                    await asyncio.sleep(0.03)
                await until(line.quiet, within_s=40)

            check_books(book, orders, [])

    with open_order_book(any_database_url) as book:
        stock_book(book, units=UNITS)
        asyncio.run(scenario(book))


def test_pay_and_cancel_at_once_from_two_connections_have_one_winner(any_database_url: str) -> None:
    rounds = 40
    orders = orders_due_in(-1, rounds)
    with open_order_book(any_database_url) as book:
        stock_book(book, units=UNITS)
        place(book, orders)

    ready = Barrier(2)
    claimed: list[bool] = []
    cancelled: list[bool] = []

    def pay() -> None:
        with open_order_book(any_database_url) as own:
            for order in orders:
                ready.wait(20)
                [now] = own.begin_payment([order.order_id]).values()
                claimed.append(now.state == OrderState.PAYING)

    def cancel() -> None:
        with open_order_book(any_database_url) as own:
            for order in orders:
                ready.wait(20)
                cancelled.append(bool(own.cancel_unpaid([order.order_id], now_ms=order.due_ms)))

    threads = [Thread(target=pay), Thread(target=cancel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [paid != gone for paid, gone in zip(claimed, cancelled, strict=True)] == [True] * rounds
    with open_order_book(any_database_url) as book:
        [row] = book.every_stock()
        assert row.sold == sum(claimed)
