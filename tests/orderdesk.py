"""An order service in the test's own process, on real engines: what several suites place orders with."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from saleops.adapters.jwt_tokens import JwtVerifier, issue_dev_token
from saleops.adapters.memory_cache import MemoryPageCache
from saleops.adapters.redis_stock import RedisStockStore
from saleops.adapters.streams_broker import StreamsBroker
from saleops.config.settings import Admission, JwtSettings, ServiceSettings
from saleops.domain.items import Item
from saleops.domain.messages import ORDERS, OrderLine, decode_batch
from saleops.domain.stock import partition_of
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook, SaleRow
from saleops.ports.stock import SeedRow
from saleops.services.auth import Authenticator
from saleops.services.book import BookThread
from saleops.services.order.app import create_app
from saleops.services.web import Request, Response, Service
from saleops.wiring import open_order_book

SECRET = "test-secret-test-secret-test-secret!"
SALE = "drop"
EPOCH = "epoch-1"


def settings_for(redis_url: str, database_url: str, **changes: Any) -> ServiceSettings:
    settings = ServiceSettings(
        sale=SALE,
        redis_url=redis_url,
        database_url=database_url,
        broker_url=redis_url,
        jwt=JwtSettings(hs256_secret=SECRET),
        admission=Admission(per_buyer_rps=0),
        reservation_ttl_ms=5_000,
    )
    return msgspec.structs.replace(settings, **changes)


async def put_on_sale(
    stock: RedisStockStore, book: OrderBook, items: Sequence[Item], *, epoch: str = EPOCH
) -> None:
    """Seed ``items`` unsplit into both stores."""
    units = sum(item.stock for item in items)
    book.migrate()
    book.begin_sale(SaleRow(SALE, epoch, "v1", len(items), units, complete=False))
    book.add_items([(item, 1) for item in items])
    await stock.begin_seed(epoch, "v1")
    for item in items:
        row = SeedRow(item.sku, item.stock, item.price_fen, item.limit_per_buyer)
        await stock.seed(epoch, partition_of(item.sku), [row])
    await stock.finish_seed(epoch, {})
    book.finish_sale(SALE)


@dataclass
class Desk:
    """The service and the engines behind it."""

    app: Service
    stock: RedisStockStore
    book: BookThread
    broker: StreamsBroker

    async def order(
        self, buyer: str, key: str, sku: str, units: object = 1, **more: Any
    ) -> Response:
        body = msgspec.json.encode({"sku": sku, "units": units, **more})
        return await self.send("POST", "/orders", buyer, body, {"idempotency-key": key})

    async def send(
        self,
        method: str,
        path: str,
        buyer: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Response:
        headers = dict(headers or {})
        if buyer:
            token = issue_dev_token(
                SECRET, buyer, ttl_s=86_400, audience="saleops", now_s=time.time()
            )
            headers["authorization"] = f"Bearer {token}"
        return await self.app.answer(Request(method, path, "", headers, body))

    async def messages(self) -> list[OrderLine]:
        """Every order in a visible message, in order."""
        return [
            line async for body in self.broker.browse(ORDERS) for line in decode_batch(body).orders
        ]

    async def counts(self, sku: str) -> tuple[int, int, int]:
        """(left, reserved, sold) in the stock store; they always add up to what was seeded."""
        async for row in self.stock.counts():
            if row.sku == sku:
                assert row.left + row.reserved + row.sold + row.in_transit == row.seeded
                return row.left, row.reserved, row.sold
        raise AssertionError(f"{sku} is not on sale")


@asynccontextmanager
async def open_desk(
    settings: ServiceSettings, items: Sequence[Item] = (), *, clock: Any = None, **ports: Any
) -> AsyncIterator[Desk]:
    """A running order service; ``items`` are put on sale first. ``ports`` replace what the service is given."""
    clock = clock or WallClock()
    async with AsyncExitStack() as stack:
        stock = ports.pop("stock", None) or RedisStockStore.from_url(settings.redis_url, sale=SALE)
        stack.push_async_callback(stock.close)
        broker = ports.pop("broker", None) or StreamsBroker.from_url(
            settings.broker_url, sale=SALE, check_after_ms=settings.check_after_ms, clock=clock
        )
        stack.push_async_callback(broker.close)
        book = BookThread(stack.enter_context(open_order_book(settings.database_url)))
        stack.callback(book.close)
        if items:
            await put_on_sale(stock, book.book, items)
        app = create_app(
            settings,
            stock=stock,
            book=ports.pop("book", None) or book,
            broker=broker,
            carts=MemoryPageCache(clock),
            identify=Authenticator(JwtVerifier(settings.jwt), clock).identify,
            clock=clock,
            **ports,
        )
        assert app.start is not None
        assert app.stop is not None
        await app.start()
        try:
            await until(lambda: not app.why_not_ready() or not items)
            yield Desk(app, stock, book, broker)
        finally:
            await app.stop()


async def until(condition: Any, *, within_s: float = 10.0) -> None:
    """Wait for ``condition()`` (plain or awaitable) to hold: it is asked again every few milliseconds."""
    async with asyncio.timeout(within_s):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return
            await asyncio.sleep(0.005)
