"""A buyer's traceparent, from the request to the messages that payment and shipping read, on real engines."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from orderdesk import Desk, open_desk, settings_for
from saleops.adapters.book_payments import BookPayments
from saleops.adapters.streams_broker import StreamsBroker
from saleops.domain.items import Item
from saleops.domain.messages import (
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    OrderLine,
    decode_batch,
)
from saleops.domain.trace import traceparent_of
from saleops.ports.broker import Half
from saleops.ports.clock import WallClock
from saleops.services.payment.charging import Cashier

ITEMS = [Item("plenty", "Plenty", 100, 10_000)]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Listening(StreamsBroker):
    """Remembers the traceparents that half messages were given."""

    traces: list[str]

    async def send_half(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Half:
        self.traces = [*getattr(self, "traces", []), trace]
        return await super().send_half(topic, tx_id, body, trace=trace)


async def order(desk: Desk, buyer: str, traceparent: str | None) -> None:
    headers = {"idempotency-key": "k"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    body = b'{"sku":"plenty","payment_token":"tok_visa"}'
    answer = await desk.send("POST", "/orders", buyer, body, headers)
    assert answer.status == 201, answer.body
    assert not [name for name, _ in answer.headers if name.startswith("trace")]


async def received(broker: StreamsBroker, topic: str, group: str, count: int) -> list[OrderLine]:
    """What a consumer of ``group`` reads, until it has had ``count`` orders."""
    lines: list[OrderLine] = []
    async with asyncio.timeout(20):
        while len(lines) < count:
            messages = await broker.receive(
                topic, group, max_messages=32, invisible_ms=30_000, wait_ms=500
            )
            lines += [line for message in messages for line in decode_batch(message.body).orders]
            if messages:
                await broker.ack(messages)
    return lines


def test_a_buyers_trace_is_in_what_payment_and_shipping_read(
    any_redis_url: str, any_database_url: str
) -> None:
    async def scenario() -> None:
        settings = settings_for(any_redis_url, any_database_url)
        broker = Listening.from_url(any_redis_url, sale=settings.sale)
        async with AsyncExitStack() as stack:
            desk = await stack.enter_async_context(open_desk(settings, ITEMS, broker=broker))
            await order(desk, "ann", TRACE)
            await order(desk, "bob", None)
            await order(desk, "cat", "00-not-a-trace-at-all")

            lines = await received(broker, ORDERS, PAYMENT_GROUP, 3)
            by_buyer = {line.buyer: line.trace for line in lines}
            assert by_buyer == {"ann": TRACE, "bob": "", "cat": ""}
            # A half message has a traceparent of its own: of its first order's trace, or of a new one.
            first, *others = broker.traces
            assert first.startswith(f"00-{TRACE_ID}-")
            assert first[36:52] != TRACE[36:52]
            for one in others:
                assert traceparent_of(one) == one != ""
                assert TRACE_ID not in one

            cashier = Cashier(
                book=desk.book, provider=BookPayments(desk.book), broker=broker, clock=WallClock()
            )
            await cashier.handle(lines)
            paid = await received(broker, PAID, SHIPPING_GROUP, 3)
            assert {line.buyer: line.trace for line in paid} == by_buyer

    asyncio.run(scenario())


@pytest.mark.parametrize("garbage", ["", "x" * 5000, TRACE + "-more", "ff" + TRACE[2:], "\t"])
def test_a_malformed_traceparent_costs_nobody_an_order(
    valkey_url: str, sqlite_url: str, garbage: str
) -> None:
    async def scenario() -> None:
        async with open_desk(settings_for(valkey_url, sqlite_url), ITEMS) as desk:
            await order(desk, "ann", garbage)
            assert [line.trace for line in await received(desk.broker, ORDERS, "payment", 1)] == [
                ""
            ]

    asyncio.run(scenario())
