"""The order service, put together: its HTTP side (api.py), the group commit, the upkeep of the sale and the deadlines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from saleops.config.settings import ServiceSettings
from saleops.domain.messages import ORDERS
from saleops.ports.broker import Broker
from saleops.ports.cache import PageCache
from saleops.ports.clock import Clock, WallClock
from saleops.ports.stock import StockStore
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.limits import Door
from saleops.services.order.announcing import Announcer
from saleops.services.order.api import OrderApi, routes
from saleops.services.order.deadlines import deadline_consumer
from saleops.services.order.halves import HalvesWatch
from saleops.services.order.placing import GroupCommit
from saleops.services.order.repairing import OpenBooks, repairing
from saleops.services.order.soldout import SoldOutBoard
from saleops.services.order.upkeep import Upkeep
from saleops.services.running import Running
from saleops.services.web import Request, Service


def create_app(
    settings: ServiceSettings,
    *,
    stock: StockStore,
    book: BookThread,
    broker: Broker,
    carts: PageCache,
    identify: Callable[[Request], Identity],
    clock: Clock | None = None,
    replica: BookThread | None = None,
    open_books: OpenBooks | None = None,
) -> Service:
    """The order service on these ports. ``open_books`` gives a rebuild of the stock store a connection of its own; without,
    it shares the service's."""
    clock = clock or WallClock()
    board = SoldOutBoard()

    @asynccontextmanager
    async def shared() -> AsyncIterator[BookThread]:
        yield book

    announcer = Announcer(
        book=book, broker=broker, clock=clock, announce_after_ms=settings.announce_after_ms
    )
    upkeep = Upkeep(
        settings.sale,
        stock=stock,
        book=book,
        clock=clock,
        board=board,
        repair=repairing(settings.sale, stock=stock, clock=clock, open_books=open_books or shared),
        announce=announcer.sweep,
    )
    placing = GroupCommit(
        settings,
        stock=stock,
        book=book,
        broker=broker,
        clock=clock,
        board=board,
        epoch=lambda: upkeep.epoch,
        on_stale=upkeep.pause,
    )
    api = OrderApi(
        settings,
        book=book,
        placing=placing,
        upkeep=upkeep,
        board=board,
        carts=carts,
        identify=identify,
        clock=clock,
        replica=replica,
        door=Door(settings.admission),
        announcer=announcer,
    )

    deadlines = Running(
        [
            deadline_consumer(
                book=book, stock=stock, broker=broker, epoch=lambda: upkeep.epoch, clock=clock
            )
        ]
    )

    halves = HalvesWatch(broker, clock=clock)

    async def start() -> None:
        await broker.start_checks([ORDERS], upkeep.check_back)
        halves.start()
        placing.start()
        upkeep.start()
        await deadlines.start()

    async def stop() -> None:
        await asyncio.wait_for(placing.stop(), timeout=15)
        await deadlines.stop()
        await halves.stop()
        await upkeep.stop()

    return Service(
        "order",
        routes(api),
        start=start,
        stop=stop,
        ready=lambda: upkeep.why_paused or deadlines.why_not_ready(),
        metrics=lambda: api.metrics() + halves.metrics_text() + deadlines.metrics_text(),
    )
