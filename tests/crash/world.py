"""A whole small sale in simulated time: engines in memory, the real services as processes that can die.

The engines outlive the processes, as real ones do: the stock scripts run in a Lua of ours (lua_server.py), orders and
messages in the adapters for memory. Each process has its own adapters, wrapped by the fault layer, so that a fault
strikes one act of one process at a time that is chosen; a process that dies answers nobody any more and its tasks
never get anything done again; its supervisor starts another one.
"""

import asyncio
import copy
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import msgspec
from lua_server import Data, stock_server
from simloop import SimClock, SimLoop

from saleops.adapters.book_payments import BookPayments
from saleops.adapters.faults import Faults
from saleops.adapters.memory_broker import MemoryBroker, MemoryTopics
from saleops.adapters.memory_cache import MemoryPageCache
from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.adapters.redis_stock import RedisStockStore
from saleops.config.settings import Admission, Fault, JwtSettings, ServiceSettings
from saleops.domain.items import Item
from saleops.domain.messages import (
    DEADLINE_GROUP,
    DEADLINES,
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    retry_topic,
)
from saleops.domain.stock import partition_of, split_units
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Half
from saleops.ports.orders import OrderBook, SaleRow
from saleops.ports.stock import SeedRow, StockStore
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.order.app import create_app as create_order
from saleops.services.payment.app import create_app as create_payment
from saleops.services.shipping.app import create_app as create_shipping
from saleops.services.web import Request, Response, Service

SALE, EPOCH = "drop", "e1"
LONG_POLL_MS = (
    30_000  # a waiting consumer is woken by its message, so looking more often only costs time
)
RESTART_S = 0.3
REPAIR_ACT_S = 0.03  # each act of a rebuild takes so long: the shop goes on beside it
GROUPS = [
    (topic, group)
    for plain, group in (
        (ORDERS, PAYMENT_GROUP),
        (PAID, SHIPPING_GROUP),
        (DEADLINES, DEADLINE_GROUP),
    )
    for topic in (plain, retry_topic(plain))
]
FLEET = ("order", "order", "payment", "shipping")
ITEMS = {
    "hot": (Item("hot", "A hot thing", 900, 14), 4),
    "few": (Item("few", "A rare thing", 250, 4, limit_per_buyer=2), 1),
    "plain": (Item("plain", "A thing", 100, 6), 1),
}
SETTINGS = ServiceSettings(
    sale=SALE,
    redis_url="unix:///nowhere",
    database_url="sqlite:////nowhere",
    broker_url="unix:///nowhere",
    jwt=JwtSettings(),
    admission=Admission(per_buyer_rps=0),
    reservation_ttl_ms=5_000,
    payment_ttl_ms=12_000,
    check_after_ms=2_000,
)


ANNOUNCE_AFTER_MS = 60_000  # longer than any check-back of these sales takes


@dataclass
class Makers:
    """How the parts are made: a mutant makes one of them wrong."""

    book: Callable[..., OrderBook] = MemoryOrderBook
    stock: Callable[[Data], StockStore] = lambda data: RedisStockStore(
        stock_server(data), sale=SALE
    )
    payments: Callable[[BookThread], Any] = BookPayments
    broker: Callable[..., MemoryBroker] | None = None


@dataclass(frozen=True)
class Loss:
    """What an engine loses. "counters": when ``point`` is passed for the ``at``-th time the stock store's server is started
    anew without what it held, or without all since the ``saved_at``-th reservation (0: everything); "nothing": it is started
    anew and holds all of it. "message": the broker acknowledges the ``at``-th commit of orders and forgets the message."""

    point: str
    at: int
    saved_at: int = 0
    what: str = "counters"


class SimBroker(MemoryBroker):
    """A broker's client: as many as there are processes share one ``World``'s topics."""

    def __init__(self, world: "World") -> None:
        super().__init__(
            check_after_ms=SETTINGS.check_after_ms,
            check_interval_ms=2_000,
            clock=world.clock,
            topics=world.topics,
        )
        self._world = world

    def _topic(self, name: str) -> Any:
        if self._world.is_down("broker"):
            raise StoreUnavailable("the broker is down; nothing was sent")
        return super()._topic(name)

    async def commit(self, half: Half) -> None:
        if half.topic == ORDERS and self._world.swallows(half.tx_id):
            return await super().rollback(half)
        return await super().commit(half)

    async def receive(self, topic: str, group: str, **options: Any) -> Any:
        return await super().receive(topic, group, **{**options, "wait_ms": LONG_POLL_MS})

    async def _wait_for_news(self, pause_ms: int) -> None:
        try:
            async with asyncio.timeout(pause_ms / 1000):
                await self._topics.rung()
        except TimeoutError:
            return


class SimFaults(Faults):
    """The fault layer of one simulated process: all of them count passages together, and dying is vanishing."""

    def __init__(self, world: "World", process: "Process", service: str) -> None:
        super().__init__(world.faults, service=service, clock=world.clock)
        self._world = world
        self._process = process
        self._passed = world.passed
        self._late = world.late
        self._down_until_ms = world.down_until_ms

    async def perform(self, engine: str, name: str, act: Any) -> Any:
        if self._process.dead:
            await forever()
        if self._actor() == "rebuild":
            await self._world.clock.sleep(REPAIR_ACT_S)
        answer = await super().perform(engine, name, act)
        if self._process.dead:
            await forever()
        return answer

    async def _pass(self, point: str, engine: str) -> Fault | None:
        if self._process.dead:
            await forever()
        self._world.trace.append((self._world.clock.now_ms(), self._process.name, point))
        fault = await super()._pass(point, engine)
        if fault is not None:
            if not self._world.struck:
                self._world.struck_s = asyncio.get_running_loop().time()
            self._world.struck.append(fault)
            self._world.trace.append((self._world.clock.now_ms(), "fault", fault.action))
        self._world.lose(point)
        return fault

    async def _die(self) -> NoReturn:
        self._process.die()
        await forever()


async def forever() -> NoReturn:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    await loop.hang()


class Process:
    """One worker process: its adapters, its service, and the moment it dies."""

    def __init__(self, world: "World", service: str, name: str) -> None:
        self.name = name
        self.dead = False
        self.died = asyncio.Event()
        self._world = world
        self._broker = world.new_broker()
        faults = SimFaults(world, self, service)
        thread = BookThread(world.sql)
        book, broker = faults.book(thread), faults.broker(self._broker)
        self.app: Service
        if service == "order":
            self.app = create_order(
                world.settings,
                stock=faults.stock(world.makers.stock(world.data)),
                book=book,
                broker=broker,
                carts=MemoryPageCache(world.clock),
                identify=_who,
                clock=world.clock,
            )
        elif service == "payment":
            provider = faults.payments(world.makers.payments(thread))
            self.app = create_payment(
                book=book, broker=broker, provider=provider, identify=_who, clock=world.clock
            )
        else:
            self.app = create_shipping(book=book, broker=broker, identify=_who, clock=world.clock)

    async def start(self) -> None:
        assert self.app.start is not None
        await self.app.start()

    def die(self) -> None:
        """Everything that its tasks still want to do meets a closed door."""
        self.dead = True
        self.died.set()
        self._world.deaths += 1
        self._world.keep(asyncio.create_task(self._broker.close(), name="undertaker"))

    async def answer(self, request: Request) -> Response | None:
        """The service's answer; None when the process died before it gave one."""
        answering = asyncio.create_task(self.app.answer(request))
        dying = asyncio.create_task(self.died.wait())
        self._world.keep(answering)
        await asyncio.wait((answering, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        return answering.result() if answering.done() and not self.dead else None


def _who(request: Request) -> Identity:
    return Identity(request.headers["buyer"], 2**40)


@dataclass
class World:
    """The engines, the processes on them and what has happened. ``faults`` strike whoever passes their points."""

    faults: Sequence[Fault] = ()
    makers: Makers = field(default_factory=Makers)
    loss: Loss | None = None

    def __post_init__(self) -> None:
        self.clock = SimClock()
        self.data = Data()
        self.sql = self.makers.book(now_ms=self.clock.now_ms)
        self.topics = MemoryTopics()
        self.passed: Counter[str] = Counter()
        self.trace: list[tuple[int, str, str]] = []
        self.struck: list[Fault] = []
        self.down_until_ms: dict[str, int] = {}
        self.struck_s = 0.0
        self.lost = False  # counters
        self.shaken = False  # the stock store's server was started anew
        self.lost_ms = self.doubted_ms = 0  # when, and when the first one noticed
        self._commits: dict[str, bool] = {}  # tx_id -> whether its message was lost
        self._saved: dict[bytes, Any] = {}
        self.late: set[asyncio.Task[Any]] = set()
        self.deaths = 0
        self.over = False
        self.places: list[Process] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stock = RedisStockStore(stock_server(self.data), sale=SALE)  # the observer's
        self.broker = self.new_broker()

    @property
    def settings(self) -> ServiceSettings:
        """A sale that loses a message does not wait ten minutes to miss it."""
        if self.loss is None or self.loss.what != "message":
            return SETTINGS
        return msgspec.structs.replace(SETTINGS, announce_after_ms=ANNOUNCE_AFTER_MS)

    def new_broker(self) -> MemoryBroker:
        return (self.makers.broker or SimBroker)(self)

    def lose(self, point: str) -> None:
        """Save the stock store, or lose what it holds, when the time has come."""
        loss = self.loss
        if self.lost and not self.doubted_ms and point == "rebuild.begin-rebuild.after":
            self.doubted_ms = self.clock.now_ms()
        if loss is None or loss.what == "message":
            return
        if point == "order.reserve.after" and self.passed[point] == loss.saved_at:
            self._saved = copy.deepcopy(self.data.keys)
        if point == loss.point and self.passed[point] == loss.at:
            if loss.what == "counters":
                self.data.keys = copy.deepcopy(self._saved)
                self.lost = True
            self.data.run_id = "1" * 40
            self.shaken, self.lost_ms = True, self.clock.now_ms()
            self.trace.append((self.clock.now_ms(), "fault", "loss"))

    def swallows(self, tx_id: str) -> bool:
        """Whether the broker forgets the message that is committed now; what is sent again it keeps."""
        if self.loss is None or self.loss.what != "message" or tx_id.startswith("again-"):
            return False
        if tx_id not in self._commits:
            self._commits[tx_id] = len(self._commits) + 1 == self.loss.at
            if self._commits[tx_id]:
                self.trace.append((self.clock.now_ms(), "fault", "loss"))
        return self._commits[tx_id]

    def is_down(self, engine: str) -> bool:
        return self.clock.now_ms() < self.down_until_ms.get(engine, 0)

    def keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open(self) -> None:
        """Seed the sale and start the processes, each under a supervisor."""
        items = [item for item, _ in ITEMS.values()]
        self.sql.migrate()
        units = sum(item.stock for item in items)
        self.sql.begin_sale(SaleRow(SALE, EPOCH, "v1", len(items), units, complete=False))
        self.sql.add_items(list(ITEMS.values()))
        await self.stock.begin_seed(EPOCH, "v1")
        for item, shards in ITEMS.values():
            for shard, part in enumerate(split_units(item.stock, shards)):
                row = SeedRow(item.sku, part, item.price_fen, item.limit_per_buyer)
                await self.stock.seed(EPOCH, partition_of(item.sku, shard), [row])
        hot = {item.sku: shards for item, shards in ITEMS.values() if shards > 1}
        await self.stock.finish_seed(EPOCH, hot)
        self.sql.finish_sale(SALE)
        for number, service in enumerate(FLEET):
            self.places.append(Process(self, service, f"{service}-{number}"))
            self.keep(asyncio.create_task(self._supervise(number, service), name="supervisor"))

    async def _supervise(self, number: int, service: str) -> None:
        while not self.over:
            process = self.places[number]
            starting = asyncio.create_task(process.start(), name="start")
            self.keep(starting)
            await process.died.wait()
            await self.clock.sleep(RESTART_S)
            self.places[number] = Process(self, service, f"{service}-{number}+{self.deaths}")

    def worker(self, service: str, rng: random.Random) -> Process:
        return rng.choice([p for p in self.places if p.name.startswith(service)])

    async def send(
        self,
        service: str,
        rng: random.Random,
        method: str,
        path: str,
        buyer: str,
        body: Any,
        key: str = "",
    ) -> Response | None:
        headers = {"buyer": buyer, **({"idempotency-key": key} if key else {})}
        request = Request(method, path, "", headers, msgspec.json.encode(body))
        return await self.worker(service, rng).answer(request)

    async def busy(self) -> str:
        """What is still on its way; empty when nothing is."""
        for engine in self.down_until_ms:
            if self.is_down(engine):
                return f"the {engine} is down"
        if self.shaken:
            try:
                state = await self.stock.seed_state()
            except StoreUnavailable as error:
                return error.message
            row = self.sql.sale(SALE)
            if (
                row is None
                or not row.complete
                or (state.epoch, state.complete) != (row.epoch, True)
            ):
                return "the stock store is not rebuilt yet"
        if self.loss and self.loss.what == "message":
            waiting = MemoryOrderBook.unannounced  # whatever a mutant's says
            if waiting(cast(Any, self.sql), before_ms=self.clock.now_ms(), limit=1):
                return "a message was lost and not sent again yet"
        if self.late:
            return "a message is late"
        for topic, group in GROUPS:
            depth = await self.broker.depth(topic, group)
            if depth.busy or depth.delayed:
                return f"{topic} has {depth}"
        async for row in self.stock.counts():
            if row.reserved or row.in_transit:
                return f"{row.sku} has {row.reserved} units reserved, {row.in_transit} in transit"
        for order in self.sql.every_order():
            if order.state in (0, 1):
                return f"order {order.order_id} is in state {order.state}"
        return ""
