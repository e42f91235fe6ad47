"""Cancels orders whose time to pay is over and puts their units back on sale.

A delayed message names the orders. Those still unpaid are cancelled in one transaction that also gives the units back
to the guarded stock, then their units are released in the stock store; both may be repeated, so a crash in between
is mended by the redelivery. An order that is being paid at that moment cannot be cancelled: it is looked at again
later, at growing distances, until its payment is settled one way or the other.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from saleops.domain.messages import (
    DEADLINE_GROUP,
    DEADLINES,
    NO_TRACES,
    OrderBatch,
    OrderLine,
    encode_batch,
    line_of,
)
from saleops.domain.orders import Order, OrderState
from saleops.domain.stock import Claim
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock, WallClock
from saleops.ports.stock import StockStore
from saleops.services.book import BookThread
from saleops.services.consumer import DONE, Consumer, Outcome

log = logging.getLogger("saleops.services.order")

ORDERS_A_MESSAGE = 512
ROUND_TO_MS = 1000
DELAY_MAX_MS = 23 * 3_600_000
"""RocketMQ and its kin delay a message by a day at most."""

LOOK_AGAIN_MIN_MS = 1_000
LOOK_AGAIN_MAX_MS = 60_000


async def publish_deadlines(
    broker: Broker,
    orders: Iterable[Order],
    *,
    now_ms: int,
    not_before_ms: int = 0,
    traces: Mapping[str, str] = NO_TRACES,
) -> None:
    """Have ``orders`` looked at when they are due (never before ``not_before_ms``), one message for each second.
    ``traces`` is order id -> traceparent.

    What is due beyond a broker's longest delay is looked at before its time, and sent on again then.
    """
    by_second: dict[int, list[OrderLine]] = {}
    for order in orders:
        look_ms = min(max(order.due_ms, not_before_ms), now_ms + DELAY_MAX_MS)
        second = -(-look_ms // ROUND_TO_MS) * ROUND_TO_MS
        by_second.setdefault(second, []).append(line_of(order, traces.get(order.order_id, "")))
    for second, lines in sorted(by_second.items()):
        for start in range(0, len(lines), ORDERS_A_MESSAGE):
            part = lines[start : start + ORDERS_A_MESSAGE]
            body = encode_batch(OrderBatch(f"due:{part[0].order_id}", part))
            await broker.publish(DEADLINES, body, deliver_at_ms=second)


class DeadlineKeeper:
    """``handle`` cancels what is unpaid past its due time. ``epoch`` gives the stock store's epoch as last read."""

    def __init__(
        self,
        *,
        book: BookThread,
        stock: StockStore,
        broker: Broker,
        epoch: Callable[[], str],
        clock: Clock,
    ) -> None:
        self.orders_cancelled = 0
        self._book = book
        self._stock = stock
        self._broker = broker
        self._epoch = epoch
        self._clock = clock

    async def handle(self, lines: Sequence[OrderLine]) -> dict[str, Outcome]:
        ids = [line.order_id for line in lines]
        now_ms = self._clock.now_ms()
        cancelled = await self._cancel(ids, now_ms)
        rest = set(ids) - {order.order_id for order in cancelled}
        if rest:
            orders = await self._book.run(self._book.book.orders, sorted(rest))
            traces = {line.order_id: line.trace for line in lines if line.trace}
            await self._look_again(orders.values(), now_ms, traces)
        if cancelled:
            claims = [Claim(o.order_id, o.sku, o.buyer, o.units) for o in cancelled]
            self.orders_cancelled += await self._stock.release(
                self._epoch(), claims, now_ms=self._clock.now_ms()
            )
        return dict.fromkeys(ids, DONE)

    async def _cancel(self, ids: Sequence[str], now_ms: int) -> list[Order]:
        return await self._book.run(partial(self._book.book.cancel_unpaid, ids, now_ms=now_ms))

    async def _look_again(
        self, orders: Iterable[Order], now_ms: int, traces: Mapping[str, str]
    ) -> None:
        """Send on what is not settled: in payment just now, or not due yet (this clock is behind the sender's)."""
        for_later: dict[int, list[Order]] = {}
        for order in orders:
            if order.state in (OrderState.UNPAID, OrderState.PAYING):
                late_ms = max(0, now_ms - order.due_ms)
                wait_ms = min(max(late_ms // 2, LOOK_AGAIN_MIN_MS), LOOK_AGAIN_MAX_MS)
                for_later.setdefault(now_ms + wait_ms, []).append(order)
        for not_before_ms, waiting in for_later.items():
            await publish_deadlines(
                self._broker,
                waiting,
                now_ms=now_ms,
                not_before_ms=not_before_ms,
                traces=traces,
            )


def deadline_consumer(
    *,
    book: BookThread,
    stock: StockStore,
    broker: Broker,
    epoch: Callable[[], str],
    clock: Clock | None = None,
) -> Consumer:
    """The consumer that cancels unpaid orders, ready to ``run``."""
    clock = clock or WallClock()
    keeper = DeadlineKeeper(book=book, stock=stock, broker=broker, epoch=epoch, clock=clock)
    return Consumer(broker, DEADLINES, DEADLINE_GROUP, keeper.handle, clock=clock)
