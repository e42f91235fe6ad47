"""What every broker promises about waiting, delays, bodies, names and looking: in memory, on Valkey and on Redis."""

import asyncio
import random

import pytest

from broker_lab import (
    DAY_MS,
    FOREVER_MS,
    GROUP,
    OTHER_GROUP,
    OTHER_TOPIC,
    QUIET,
    TOPIC,
    Answers,
    BrokerLab,
    drain,
    take,
    take_one,
)
from saleops.domain.messages import OrderBatch, OrderLine, decode_batch, encode_batch
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Broker, Depth

MIB = 2**20


# -- waiting ---------------------------------------------------------------------------------------------


async def start_waiting(broker: Broker, wait_ms: int = FOREVER_MS) -> "asyncio.Task[list[bytes]]":
    async def wait() -> list[bytes]:
        return [message.body for message in await take(broker, TOPIC, GROUP, wait_ms=wait_ms)]

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)  # not needed for the claim: it lets the wait begin in earnest
    assert not task.done()
    return task


def test_a_waiting_consumer_hears_of_a_new_message(lab: BrokerLab) -> None:
    async def scenario() -> None:
        consumer, producer = lab.open(), lab.open()
        waiting = await start_waiting(consumer)
        await producer.publish(TOPIC, b"order")
        assert await waiting == [b"order"]

        waiting = await start_waiting(consumer)
        await producer.commit(await producer.send_half(TOPIC, "tx-1", b"committed"))
        assert await waiting == [b"committed"]

    lab.run(scenario)


def test_a_waiting_consumer_gets_a_delayed_message_when_it_is_due(lab: BrokerLab) -> None:
    async def scenario() -> None:
        consumer, producer = lab.open(), lab.open()
        due_ms = lab.clock.now_ms() + 700
        await producer.publish(TOPIC, b"early", deliver_at_ms=due_ms)
        waiting = await start_waiting(consumer)
        await lab.pass_time(700)
        assert await waiting == [b"early"]

        waiting = await start_waiting(consumer)
        await producer.publish(TOPIC, b"late", deliver_at_ms=lab.clock.now_ms() + lab.span(5_000))
        await lab.pass_time(lab.span(5_000))
        assert await waiting == [b"late"]

    lab.run(scenario)


def test_a_waiting_consumer_gets_a_message_whose_invisible_time_is_over(lab: BrokerLab) -> None:
    async def scenario() -> None:
        dead, alive = lab.open(), lab.open()
        await dead.publish(TOPIC, b"order")
        await take_one(dead, TOPIC, GROUP, invisible_ms=900)
        waiting = await start_waiting(alive)
        await lab.pass_time(900)

        assert await waiting == [b"order"]

    lab.run(scenario)


def test_a_waiting_consumer_goes_away_empty_when_its_time_is_over(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        waiting = await start_waiting(broker, wait_ms=500)
        await lab.pass_time(500)

        assert await waiting == []

    lab.run(scenario)


def test_a_wait_that_is_cancelled_takes_nothing_along(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        waiting = await start_waiting(broker)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await broker.publish(TOPIC, b"order")

        message = await take_one(broker, TOPIC, GROUP)
        assert message.attempt == 1

    lab.run(scenario)


def test_a_wait_ends_when_its_broker_closes(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        waiting = await start_waiting(broker)

        await broker.close()

        with pytest.raises(StoreUnavailable):
            await waiting

    lab.run(scenario)


# -- delay -----------------------------------------------------------------------------------------------


def test_a_delayed_message_is_invisible_until_its_time(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        delay_ms = lab.span(10_000)
        due_ms = lab.clock.now_ms() + delay_ms
        await broker.publish(TOPIC, b"deadline", deliver_at_ms=due_ms)
        await lab.pass_time(delay_ms - 1)
        assert await take(broker, TOPIC, GROUP) == []
        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 1, 0, 0, 0))

        await lab.pass_time(1)

        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 0, 1, 0, 0))
        assert (await take_one(broker, TOPIC, GROUP)).body == b"deadline"
        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 0, 0, 1, 0))

    lab.run(scenario)


@pytest.mark.parametrize("ago_ms", [0, 1, 20_000])
def test_a_delay_into_the_past_is_none(lab: BrokerLab, ago_ms: int) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"deadline", deliver_at_ms=lab.clock.now_ms() - ago_ms)

        assert [m.body for m in await take(broker, TOPIC, GROUP)] == [b"deadline"]

    lab.run(scenario)


def test_delayed_messages_come_in_the_order_of_their_times(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, now = lab.open(), lab.clock.now_ms()
        for place in (3, 1, 2):
            await broker.publish(
                TOPIC, f"{place}".encode(), deliver_at_ms=now + place * lab.tick_ms
            )
        await lab.pass_time(3 * lab.tick_ms)

        assert await drain(broker, TOPIC, GROUP, 3) == [b"1", b"2", b"3"]

    lab.run(scenario)


def test_many_delayed_messages_due_at_once_all_arrive_once_per_group(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, due_ms = lab.open(), lab.clock.now_ms() + 1_000
        bodies = [f"{n:03}".encode() for n in range(200)]
        for body in bodies:
            await broker.publish(TOPIC, body, deliver_at_ms=due_ms)
        await lab.pass_time(1_000)

        for group in (GROUP, OTHER_GROUP):
            assert sorted(await drain(broker, TOPIC, group, 200)) == bodies
            await lab.expect_depth(broker, TOPIC, group, QUIET)

    lab.run(scenario)


def test_a_delay_of_more_than_a_day_is_refused(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, now = lab.open(), lab.clock.now_ms()
        await broker.publish(TOPIC, b"tomorrow", deliver_at_ms=now + DAY_MS)
        too_far_ms = 1 if lab.keeps_time else 60_000
        with pytest.raises(ValueError, match="24 hours"):
            await broker.publish(TOPIC, b"too far", deliver_at_ms=now + DAY_MS + too_far_ms)

        await lab.expect_depth(broker, TOPIC, GROUP, delayed=1)

    lab.run(scenario)


# -- bodies and limits -----------------------------------------------------------------------------------


def test_bodies_arrive_byte_for_byte_up_to_4_mib(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        bodies = [bytes(range(256)), b"\x00", b"\r\n$-1\r\n", random.Random(1).randbytes(4 * MIB)]
        for n, body in enumerate(bodies):
            await broker.commit(await broker.send_half(TOPIC, f"tx-{n}", body))

        assert await drain(broker, TOPIC, GROUP, len(bodies)) == bodies

    lab.run(scenario)


def test_huge_messages_come_in_several_receives(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for n in range(5):
            await broker.publish(TOPIC, bytes([n + 1]) * (4 * MIB))
        first = await take(broker, TOPIC, GROUP)

        assert len(first) < 5
        await broker.ack(first)
        rest = await drain(broker, TOPIC, GROUP, 5 - len(first))
        assert [m.body[0] for m in first] + [body[0] for body in rest] == [1, 2, 3, 4, 5]

    lab.run(scenario)


@pytest.mark.parametrize("body", [b"", b"x" * (4 * MIB + 1)], ids=["empty", "above 4 MiB"])
def test_a_body_rocketmq_would_refuse_is_refused(lab: BrokerLab, body: bytes) -> None:
    async def scenario() -> None:
        broker = lab.open()
        with pytest.raises(ValueError, match="body"):
            await broker.send_half(TOPIC, "tx-1", body)
        with pytest.raises(ValueError, match="body"):
            await broker.publish(TOPIC, body)

        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "{x}", "ü", "x" * 128])
def test_a_name_rocketmq_would_refuse_is_refused(lab: BrokerLab, name: str) -> None:
    async def scenario() -> None:
        broker = lab.open()
        with pytest.raises(ValueError, match="topic"):
            await broker.publish(name, b"x")
        with pytest.raises(ValueError, match="topic"):
            await broker.start_checks([name], Answers())
        with pytest.raises(ValueError, match="group"):
            await take(broker, TOPIC, name)

    lab.run(scenario)


@pytest.mark.parametrize(
    "wishes",
    [
        {"max_messages": 0},
        {"invisible_ms": 0},
        {"invisible_ms": 12 * 3_600_000 + 1},
        {"wait_ms": -1},
    ],
)
def test_an_impossible_receive_is_refused(lab: BrokerLab, wishes: dict[str, int]) -> None:
    async def scenario() -> None:
        broker = lab.open()
        with pytest.raises(ValueError, match=next(iter(wishes))):
            await take(broker, TOPIC, GROUP, **wishes)

    lab.run(scenario)


def test_a_batch_of_100_orders_survives_the_trip(lab: BrokerLab) -> None:
    orders = [
        OrderLine(f"{n:032x}", f"buyer-{n}", "sku-1", 2, 19_900, 1, 2, f"tok-{n}")
        for n in range(100)
    ]
    batch = OrderBatch("tx-1", orders)

    async def scenario() -> None:
        broker = lab.open()
        await broker.commit(await broker.send_half(TOPIC, batch.tx_id, encode_batch(batch)))

        (body,) = await drain(broker, TOPIC, GROUP, 1)
        assert decode_batch(body) == batch

    lab.run(scenario)


# -- looking ---------------------------------------------------------------------------------------------


def test_depth_counts_every_state_exactly(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, now = lab.open(), lab.clock.now_ms()
        for n in range(3):
            await broker.send_half(TOPIC, f"tx-{n}", b"half")
        for delay_ms in (lab.span(5_000), 50_000):
            await broker.publish(TOPIC, b"delayed", deliver_at_ms=now + delay_ms)
        for n in range(7):
            await broker.publish(TOPIC, f"{n}".encode())
        held = await take(broker, TOPIC, GROUP, max_messages=4, invisible_ms=lab.span(10_000))
        await broker.ack(held[:1])
        await broker.dead_letter(held[1], reason="no")
        await broker.retry_later(held[2], delay_ms=1_000)

        await lab.expect_depth(broker, TOPIC, GROUP, halves=3, dead=1)
        if lab.keeps_time:
            await lab.expect_depth(broker, TOPIC, GROUP, Depth(3, 2, 3, 2, 1))
            await lab.expect_depth(broker, TOPIC, GROUP, busy=8)
            await lab.expect_depth(broker, TOPIC, OTHER_GROUP, Depth(3, 2, 7, 0, 0))
            await lab.pass_time(1_000)
            await lab.expect_depth(broker, TOPIC, GROUP, Depth(3, 2, 4, 1, 1))
            await lab.pass_time(4_000)
            await lab.expect_depth(broker, TOPIC, GROUP, Depth(3, 1, 5, 1, 1))
            await lab.pass_time(5_000)
        await lab.expect_depth(broker, TOPIC, GROUP, Depth(3, 1, 6, 0, 1))

    lab.run(scenario)


def test_browse_lists_everything_that_became_visible_in_order(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        expected = [f"{n}".encode() for n in range(100)]
        for n, body in enumerate(expected):
            half = await broker.send_half(TOPIC, f"tx-{n}", body)
            await broker.rollback(await broker.send_half(TOPIC, f"no-{n}", b"never"))
            await broker.commit(half)
        await drain(broker, TOPIC, GROUP, 50)  # read or not makes no difference

        assert [body async for body in broker.browse(TOPIC)] == expected
        assert [body async for body in broker.browse(OTHER_TOPIC)] == []

    lab.run(scenario)


def test_clear_forgets_everything(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for topic in (TOPIC, OTHER_TOPIC):
            await broker.send_half(topic, "tx-1", b"half")
            await broker.publish(topic, b"delayed", deliver_at_ms=lab.clock.now_ms() + 1_000)
            for n in range(3):
                await broker.publish(topic, f"{n}".encode())
            await broker.dead_letter(await take_one(broker, topic, GROUP), reason="no")
            await take_one(broker, topic, GROUP)

        await broker.clear()

        for topic in (TOPIC, OTHER_TOPIC):
            await lab.expect_depth(broker, topic, GROUP, QUIET)
            assert [body async for body in broker.browse(topic)] == []
            assert [x.body async for x in broker.dead_letters(topic, GROUP)] == []
        await lab.pass_time(DAY_MS)
        # What was delayed is due by now, and a broker whose timer cannot forget must not count it either.
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)
        assert await take(broker, TOPIC, GROUP) == []
        await broker.commit(await broker.send_half(TOPIC, "tx-1", b"a new day"))
        assert await drain(broker, TOPIC, GROUP, 1) == [b"a new day"]

    lab.run(scenario)


def test_ping_answers(lab: BrokerLab) -> None:
    lab.run(lambda: lab.open().ping())
