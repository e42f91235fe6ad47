"""A committed order whose message got lost is announced again, once, and a late one is left alone."""

import asyncio
from collections.abc import Awaitable, Callable

from saleops.adapters.memory_broker import MemoryBroker
from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.domain.items import Item
from saleops.domain.messages import (
    ORDERS,
    PAYMENT_GROUP,
    OrderBatch,
    OrderLine,
    decode_batch,
    encode_batch,
)
from saleops.domain.orders import Order, TxState, order_id_of
from saleops.ports.orders import SaleRow
from saleops.services.book import BookThread
from saleops.services.consumer import DONE, Consumer, Outcome
from saleops.services.order.announcing import Announcer

MINUTE = 60_000
AFTER = 10 * MINUTE
START = 1_800_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = START

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = MemoryOrderBook(now_ms=self.clock.now_ms)
        self.memory.begin_sale(SaleRow("s", "e", "v", 1, 99, False))
        self.memory.add_items([(Item("sku", "Sku", 100, 99), 1)])
        self.book = BookThread(self.memory)
        self.broker = MemoryBroker(clock=self.clock)
        self.announcer = Announcer(
            book=self.book, broker=self.broker, clock=self.clock, announce_after_ms=AFTER
        )

    def commit(self, tx_id: str, orders: int = 2) -> None:
        rows = [
            Order(order_id_of("s", tx_id, str(n)), "ann", "sku", 1, 100, 5, 10, str(n), "tok_visa")
            for n in range(orders)
        ]
        assert self.memory.place(tx_id, rows).committed

    async def sent(self) -> list[OrderBatch]:
        return [decode_batch(body) async for body in self.broker.browse(ORDERS)]


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def body() -> None:
        world = World()
        try:
            await scenario(world)
        finally:
            world.book.close()
            await world.broker.close()

    asyncio.run(body())


def test_a_lost_message_is_sent_again_once_with_its_orders_and_tokens() -> None:
    async def scenario(world: World) -> None:
        world.commit("tx-1")
        world.clock.now += AFTER + 1
        for _ in range(3):
            await world.announcer.sweep()
        [batch] = await world.sent()
        assert (batch.tx_id, len(batch.orders)) == ("tx-1", 2)
        assert {(line.payment_token, line.amount_fen) for line in batch.orders} == {
            ("tok_visa", 100)
        }
        assert (world.announcer.messages_resent, world.announcer.orders_resent) == (1, 2)
        world.memory.announced(["tx-1"])
        world.clock.now += 9 * AFTER
        await world.announcer.sweep()
        assert len(await world.sent()) == 1

    run(scenario)


def test_a_copy_that_is_lost_too_is_sent_again_a_while_later() -> None:
    async def scenario(world: World) -> None:
        world.commit("tx-1")
        for _ in range(3):
            world.clock.now += AFTER + 1
            await world.broker.clear()  # whatever was sent is gone
            await world.announcer.sweep()
        assert world.announcer.messages_resent == 3

    run(scenario)


def test_a_young_commit_is_left_alone() -> None:
    async def scenario(world: World) -> None:
        world.commit("tx-1")
        world.clock.now += AFTER
        await world.announcer.sweep()
        assert await world.sent() == []

    run(scenario)


def test_behind_a_long_queue_nothing_counts_as_lost_until_it_is_overtaken() -> None:
    async def scenario(world: World) -> None:
        world.commit("tx-1")
        half = await world.broker.send_half(ORDERS, "queued", encode_batch(OrderBatch("x", [])))
        await world.broker.commit(half)
        await world.broker.receive(
            ORDERS, PAYMENT_GROUP, max_messages=1, invisible_ms=9_999_999, wait_ms=0
        )
        world.clock.now += AFTER + 1
        await world.announcer.sweep()
        assert world.announcer.messages_resent == 0
        world.commit("tx-2")
        world.memory.announced(["tx-2"])
        await world.announcer.sweep()
        assert world.announcer.messages_resent == 1

    run(scenario)


def test_a_commit_that_was_overtaken_by_less_than_a_minute_may_be_late() -> None:
    async def scenario(world: World) -> None:
        world.commit("tx-1")
        world.clock.now += MINUTE
        world.commit("tx-2")
        world.memory.announced(["tx-2"])
        half = await world.broker.send_half(ORDERS, "queued", encode_batch(OrderBatch("x", [])))
        world.clock.now += AFTER
        await world.announcer.sweep()
        assert world.announcer.messages_resent == 0
        await world.broker.rollback(half)
        await world.announcer.sweep()
        assert world.announcer.messages_resent == 1

    run(scenario)


def test_payment_writes_down_whose_messages_arrived_before_it_acknowledges_them() -> None:
    async def scenario(world: World) -> None:
        world.broker = MemoryBroker()  # on the wall clock, which the consumer waits by
        arrived: list[str] = []

        async def handle(lines: list[OrderLine]) -> dict[str, Outcome]:
            return {line.order_id: DONE for line in lines}

        async def note(tx_ids: list[str]) -> None:
            depth = await world.broker.depth(ORDERS, PAYMENT_GROUP)
            assert depth.in_flight == 2
            arrived.extend(tx_ids)
            await world.book.run(world.memory.announced, tx_ids)

        consumer = Consumer(world.broker, ORDERS, PAYMENT_GROUP, handle, wait_ms=20, arrived=note)
        for tx_id in ("tx-1", "tx-2"):
            world.commit(tx_id)
            lines = [
                OrderLine(order.order_id, "ann", "sku", 1, 100, 5, 10)
                for order in world.memory.orders_of_tx(tx_id)
            ]
            half = await world.broker.send_half(
                ORDERS, tx_id, encode_batch(OrderBatch(tx_id, lines))
            )
            await world.broker.commit(half)
        running = asyncio.create_task(consumer.run())
        async with asyncio.timeout(10):
            while len(arrived) < 2:
                await asyncio.sleep(0.01)
        assert await consumer.stop()
        await running
        assert arrived == ["tx-1", "tx-2"]
        assert world.memory.tx_state("tx-1") is TxState.ANNOUNCED

    run(scenario)
