"""A checkout behind the order service, on ports that a test chooses: clocks, crashes and a few orders.

Time is virtual: it stands still while anything can run, then jumps to the next sleeper, so waits of minutes cost
nothing and every run is the same. A crash is a fuse in front of the ports: at the k-th point (before or
after a call took effect) the process hangs, and the test cancels it there.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from saleops.adapters.book_payments import BookPayments
from saleops.adapters.memory_broker import MemoryBroker
from saleops.adapters.memory_stock import MemoryStockStore
from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.domain.items import Item
from saleops.domain.messages import (
    DEADLINE_GROUP,
    DEADLINES,
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    OrderBatch,
    OrderLine,
    decode_batch,
    encode_batch,
    retry_topic,
)
from saleops.domain.orders import LIVE_STATES, Order, OrderState, order_id_of
from saleops.domain.stock import Claim
from saleops.ports.orders import OrderBook, SaleRow
from saleops.ports.payments import PaymentProvider
from saleops.ports.stock import SeedRow
from saleops.services.book import BookThread
from saleops.services.consumer import Consumer
from saleops.services.order.deadlines import DeadlineKeeper
from saleops.services.payment.charging import SETTLED, Cashier
from saleops.services.shipping.dispatch import Dispatcher

T = TypeVar("T")

START_MS = 1_700_000_000_000
TTL_MS = 120_000
SKU = "sku-1"
PRICE_FEN = 250
EPOCH = "e1"
POLL_MS = 20_000  # virtual time is free, looking at an empty topic is not
GROUPS = [
    (topic, group)
    for plain, group in (
        (ORDERS, PAYMENT_GROUP),
        (PAID, SHIPPING_GROUP),
        (DEADLINES, DEADLINE_GROUP),
    )
    for topic in (plain, retry_topic(plain))
]


class VirtualClock:
    """Runs to the next sleeper when nothing else can run. ``async with clock.running():`` around a scenario."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = float(start_ms)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now_ms(self) -> int:
        return int(self._now_ms)

    def set(self, now_ms: int) -> None:
        self._now_ms = float(now_ms)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + seconds * 1000, next(self._numbers), waking))
        await waking

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        driver = asyncio.create_task(self._drive())
        try:
            yield
        finally:
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)

    async def _drive(self) -> None:
        ready: Any = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while True:
            await asyncio.sleep(0)
            if ready:
                continue
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if not self._sleepers:
                await asyncio.sleep(0.001)
                continue
            at_ms, _, waking = heapq.heappop(self._sleepers)
            self._now_ms = max(self._now_ms, at_ms)
            waking.set_result(None)


class InlineBook(BookThread):
    """The orders database on the event loop's own thread, so that virtual time stands still during a call."""

    def __init__(self, book: OrderBook) -> None:
        super().__init__(book)

    async def run(self, call: Callable[..., T], *args: object) -> T:
        await asyncio.sleep(0)
        return call(*args)


class Fuse:
    """Hangs whoever passes it for the ``at``-th time, and says so in ``blown``. 0: never."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed = 0
        self.blown = asyncio.Event()

    async def burn(self) -> None:
        self.passed += 1
        if self.blown.is_set() or self.passed == self.at:
            self.blown.set()
            await asyncio.get_running_loop().create_future()


class Fused:
    """``port`` with a fuse before and after every async call named in ``calls``."""

    def __init__(self, port: Any, fuse: Fuse, *calls: str) -> None:
        self._port = port
        self._fuse = fuse
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._calls:
            return found

        async def call(*args: Any, **options: Any) -> Any:
            await self._fuse.burn()
            answer = await found(*args, **options)
            await self._fuse.burn()
            return answer

        return call


def crashing(port: Any, fuse: Fuse) -> Any:
    """``port`` with the fuse around all that changes the world."""
    calls = ("publish", "ack", "retry_later", "dead_letter", "run", "charge", "release")
    return Fused(port, fuse, *calls)


def order_of(number: int, *, token: str = "tok_visa", units: int = 1, **options: Any) -> Order:
    buyer = f"buyer-{number}"
    return Order(
        order_id=order_id_of("drop", buyer, "key"),
        buyer=buyer,
        sku=SKU,
        units=units,
        price_fen=PRICE_FEN,
        created_ms=START_MS,
        due_ms=START_MS + TTL_MS,
        idempotency_key="key",
        payment_token=token,
        **options,
    )


def line_with_token(order: Order) -> OrderLine:
    return OrderLine(
        order.order_id,
        order.buyer,
        order.sku,
        order.units,
        order.amount_fen,
        order.created_ms,
        order.due_ms,
        order.payment_token,
    )


def body_of(orders: list[Order], tx_id: str = "tx-1") -> bytes:
    return encode_batch(OrderBatch(tx_id, [line_with_token(order) for order in orders]))


def stock_book(book: OrderBook, *, units: int = 1000) -> None:
    """Put ``units`` of SKU into the guarded stock."""
    book.migrate()
    item = Item(SKU, "A thing", PRICE_FEN, units)
    book.begin_sale(SaleRow("drop", "e1", "v1", 1, units, False))
    book.add_items([(item, 1)])
    book.finish_sale("drop")


def place(book: OrderBook, orders: list[Order], tx_id: str = "tx-1") -> None:
    assert book.place(tx_id, orders).committed


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
    """Wait for ``holds``, giving way to everybody else. Fails the test after ``within_s`` of real time."""
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(0.0005)


class Scene:
    """A stocked sale with an embedded book and memory engines, and the three consumers that follow an order."""

    def __init__(self, *, units: int = 1000, book: OrderBook | None = None) -> None:
        self.clock = VirtualClock()
        self.sql: OrderBook = book or SqliteOrderBook(Path(":memory:"))
        stock_book(self.sql, units=units)
        self.book = InlineBook(self.sql)
        self.broker = MemoryBroker(clock=self.clock)
        self.stock = MemoryStockStore()
        self.units = units
        self.provider: PaymentProvider = BookPayments(self.book)

    async def seed(self) -> None:
        await self.stock.begin_seed(EPOCH, "v1")
        await self.stock.seed(EPOCH, 0, [SeedRow(SKU, self.units, PRICE_FEN, 0)])
        await self.stock.finish_seed(EPOCH, {})

    async def sell(self, orders: list[Order], tx_id: str = "tx-1") -> None:
        """What the order service does: reserve, insert, announce, confirm."""
        claims = [Claim(o.order_id, o.sku, o.buyer, o.units) for o in orders]
        await self.stock.reserve(EPOCH, claims, now_ms=START_MS, expires_ms=START_MS + 60_000)
        place(self.sql, orders, tx_id)
        await self.stock.confirm(EPOCH, claims)
        await self.broker.publish(ORDERS, body_of(orders, tx_id))

    def cashier(self, fuse: Fuse | None = None) -> Cashier:
        fuse = fuse or Fuse(0)
        return Cashier(
            book=crashing(self.book, fuse),
            provider=crashing(self.provider, fuse),
            broker=crashing(self.broker, fuse),
            clock=self.clock,
            provider_wait_s=0,
        )

    def consumers(self, fuse: Fuse | None = None) -> list[Consumer]:
        fuse = fuse or Fuse(0)
        book, broker = crashing(self.book, fuse), crashing(self.broker, fuse)
        keeper = DeadlineKeeper(
            book=book,
            stock=crashing(self.stock, fuse),
            broker=broker,
            epoch=lambda: EPOCH,
            clock=self.clock,
        )
        work = (
            (ORDERS, PAYMENT_GROUP, self.cashier(fuse).handle),
            (PAID, SHIPPING_GROUP, Dispatcher(book=book).handle),
            (DEADLINES, DEADLINE_GROUP, keeper.handle),
        )
        return [
            Consumer(broker, topic, group, handle, clock=self.clock, wait_ms=POLL_MS)
            for topic, group, handle in work
        ]

    async def quiet(self) -> bool:
        """Nothing on its way, nothing delayed."""
        for topic, group in GROUPS:
            depth = await self.broker.depth(topic, group)
            if depth.busy or depth.delayed:
                return False
        return True

    async def run_until(
        self, holds: Callable[[], Awaitable[bool]], *, fuse: Fuse | None = None
    ) -> None:
        """Run the consumers until ``holds``, or until the fuse blows: then they die where they stand."""
        consumers = self.consumers(fuse)
        async with self.clock.running():
            running = [asyncio.create_task(consumer.run()) for consumer in consumers]

            async def over() -> bool:
                return (fuse is not None and fuse.blown.is_set()) or await holds()

            await until(over)
            if fuse is None or not fuse.blown.is_set():
                await asyncio.gather(*(consumer.stop() for consumer in consumers))
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def run_until_quiet(self, *, fuse: Fuse | None = None) -> None:
        await self.run_until(self.quiet, fuse=fuse)

    def states(self, orders: list[Order]) -> list[OrderState]:
        found = self.sql.orders([order.order_id for order in orders])
        return [OrderState(found[order.order_id].state) for order in orders]

    def charges(self) -> Counter[str]:
        return Counter(charge.order_id for charge in self.sql.every_charge())

    def parcels(self) -> Counter[str]:
        return Counter(parcel.order_id for parcel in self.sql.every_parcel())

    async def dead(self) -> list[str]:
        """The orders in anybody's dead letters."""
        return [
            line.order_id
            for topic, group in GROUPS
            async for letter in self.broker.dead_letters(topic, group)
            for line in decode_batch(letter.body).orders
        ]

    async def check_ledger(self) -> None:
        """seeded = left + sold in both stores; one charge of the right amount and one parcel for what is shipped."""
        live = [o for o in self.sql.every_order() if o.state in LIVE_STATES]
        held = sum(order.units for order in live)
        [row] = self.sql.every_stock()
        assert row.sold == held
        [counts] = [row async for row in self.stock.counts()]
        assert (counts.left, counts.reserved, counts.sold) == (self.units - held, 0, held)
        shipped = {o.order_id: o for o in live if o.state == OrderState.SHIPPED}
        assert self.parcels() == Counter(shipped.keys())
        settled = {o.order_id: o for o in live if o.state in SETTLED}
        assert self.charges() == Counter(settled.keys())
        for charge in self.sql.every_charge():
            assert charge.amount_fen == settled[charge.order_id].amount_fen
