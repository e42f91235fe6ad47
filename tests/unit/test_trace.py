"""Trace context: what is a traceparent, and that it reaches whoever handles the order."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import pytest

from checkout import START_MS, TTL_MS, Scene, line_with_token, order_of
from saleops.domain.messages import (
    DEADLINES,
    ORDERS,
    PAID,
    OrderBatch,
    OrderLine,
    announcement,
    decode_batch,
    encode_batch,
    retry_topic,
)
from saleops.domain.trace import child_of, in_words, new_trace, traceparent_of
from saleops.services.consumer import Consumer, Hopeless, Outcome, Retry

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "passed_on"),
    [
        (TRACE, TRACE),
        (f" {TRACE}\t", TRACE),
        (TRACE.replace("00-", "01-", 1), TRACE),  # a later version
        (TRACE.replace("00-", "cc-", 1) + "-what-the-future-adds", TRACE),
        (None, ""),
        ("", ""),
        (TRACE + "-more", ""),  # version 00 ends here
        (TRACE.replace("00-", "ff-", 1), ""),
        (TRACE.upper(), ""),
        (TRACE[:-1], ""),
        (TRACE + "1", ""),
        (TRACE.replace("-", "_"), ""),
        (TRACE.replace(TRACE_ID, "0" * 32), ""),
        (TRACE.replace("00f067aa0ba902b7", "0" * 16), ""),
        (TRACE + "\n", ""),
        (f"{TRACE}, {TRACE}", ""),
        ("cc" + TRACE[2:] + "-" + "x" * 1000, ""),
        (TRACE.replace("4", "\u0664"), ""),  # a digit, but none of ASCII's
    ],
)
def test_a_traceparent_is_passed_on_or_ignored(header: str | None, passed_on: str) -> None:
    assert traceparent_of(header) == passed_on


def test_a_child_keeps_trace_and_flags_and_names_its_own_span() -> None:
    child = child_of(TRACE, "1234567890abcdef")

    assert child == f"00-{TRACE_ID}-1234567890abcdef-01"
    assert traceparent_of(child) == child
    fresh = new_trace("a" * 32, "b" * 16)
    assert traceparent_of(fresh) == fresh


def test_a_log_line_names_the_trace_where_there_is_one() -> None:
    assert in_words(TRACE) == f" (trace {TRACE_ID})"
    assert in_words("") == ""


def test_a_body_written_before_there_were_traces_still_decodes() -> None:
    old = b'{"tx_id":"t","orders":[["o","ann","sku",1,100,5,10,"tok"],["p","bob","sku",1,1,5,10]],"v":1}'

    assert [line.trace for line in decode_batch(old).orders] == ["", ""]


def test_a_body_with_traces_is_read_by_who_does_not_know_them() -> None:
    class OldLine(msgspec.Struct, array_like=True):
        order_id: str
        buyer: str

    class OldBatch(msgspec.Struct):
        tx_id: str
        orders: list[OldLine]

    line = msgspec.structs.replace(line_with_token(order_of(1)), trace=TRACE)
    body = encode_batch(OrderBatch("t", [line]))

    assert msgspec.json.decode(body, type=OldBatch).orders[0].order_id == line.order_id


def test_an_announcement_names_the_traces_it_is_given() -> None:
    orders = [order_of(1), order_of(2)]

    batch = announcement("t", orders, {orders[1].order_id: TRACE})

    assert [line.trace for line in batch.orders] == ["", TRACE]
    assert [line.trace for line in announcement("t", orders).orders] == ["", ""]


def traced(number: int, **options: str) -> OrderLine:
    return msgspec.structs.replace(line_with_token(order_of(number, **options)), trace=TRACE)  # type: ignore[arg-type] # a token


def test_a_trace_reaches_shipping_and_the_deadline_keeper() -> None:
    async def scenario() -> None:
        scene = Scene()
        paid, unpaid = order_of(1), order_of(2, token="")
        await scene.seed()
        await scene.sell([paid, unpaid])
        cashier = scene.cashier()

        await cashier.handle([traced(1), traced(2, token="")])

        [to_shipping] = [body async for body in scene.broker.browse(PAID)]
        assert [(one.order_id, one.trace) for one in decode_batch(to_shipping).orders] == [
            (paid.order_id, TRACE)
        ]
        async with scene.clock.running():
            scene.clock.set(START_MS + TTL_MS + 5_000)
            [deadline] = await scene.broker.receive(
                DEADLINES, "deadline", max_messages=1, invisible_ms=1_000, wait_ms=1_000
            )
        assert [line.trace for line in decode_batch(deadline.body).orders] == [TRACE]

    asyncio.run(scenario())


def test_the_trace_of_a_payment_by_hand_reaches_shipping() -> None:
    async def scenario() -> None:
        scene = Scene()
        order = order_of(1, token="")
        await scene.seed()
        await scene.sell([order])

        await scene.cashier().pay_now(order, "tok_visa", trace=TRACE)

        [to_shipping] = [body async for body in scene.broker.browse(PAID)]
        assert [line.trace for line in decode_batch(to_shipping).orders] == [TRACE]

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["retried", "hopeless", "raised"])
def test_an_order_that_fails_is_logged_with_its_trace(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(lines: Sequence[OrderLine]) -> dict[str, Outcome]:
        if how == "raised":
            raise RuntimeError("a bug")
        failed = Retry("no") if how == "retried" else Hopeless("never")
        return {line.order_id: failed for line in lines}

    async def scenario() -> list[bytes]:
        scene = Scene()
        await scene.broker.publish(ORDERS, encode_batch(OrderBatch("t", [traced(1), traced(2)])))
        consumer = Consumer(scene.broker, ORDERS, "payment", handle, clock=scene.clock)
        async with scene.clock.running():
            running = asyncio.create_task(consumer.run())
            async with asyncio.timeout(10):
                while not (consumer.orders_retried or consumer.orders_dead >= 2):
                    await asyncio.sleep(0.001)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return [body async for body in scene.broker.browse(retry_topic(ORDERS))]

    with caplog.at_level(logging.WARNING, logger="saleops.services.consumer"):
        sent_on = asyncio.run(scenario())

    named = [record for record in caplog.records if f"(trace {TRACE_ID})" in record.getMessage()]
    assert len(named) >= 2
    assert all(decode_batch(body).orders[0].trace == TRACE for body in sent_on)
