"""What every broker promises about delivery, retries and dead letters: in memory, on the embedded Valkey and on Redis."""

import asyncio
import random
from collections import Counter

import pytest

from broker_lab import (
    DAY_MS,
    FOREVER_MS,
    GROUP,
    OTHER_GROUP,
    OTHER_TOPIC,
    QUIET,
    TOPIC,
    BrokerLab,
    drain,
    take,
    take_one,
)
from saleops.ports.broker import Broker, Depth


def test_an_acknowledged_message_does_not_come_again(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, invisible_ms = lab.open(), lab.span(1_000)
        for body in (b"order", b"held as long"):
            await broker.publish(TOPIC, body)
        order, other = await lab.take_some(broker, TOPIC, GROUP, 2, invisible_ms=invisible_ms)
        await broker.ack([order])

        await lab.pass_time(invisible_ms)

        again = await take(broker, TOPIC, GROUP, wait_ms=FOREVER_MS)
        assert [message.body for message in again] == [other.body]
        await broker.ack(again)
        await lab.pass_time(DAY_MS if lab.keeps_time else 0)
        assert await take(broker, TOPIC, GROUP) == []
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


def test_an_unacknowledged_message_comes_again_after_its_invisible_time(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"order")
        invisible_ms = lab.span(10_000)
        first = await take_one(broker, TOPIC, GROUP, invisible_ms=invisible_ms)
        await lab.pass_time(invisible_ms - 1)
        assert await take(broker, TOPIC, GROUP) == []

        await lab.pass_time(1)

        second = await take_one(broker, TOPIC, GROUP)
        assert (second.body, second.attempt) == (b"order", 2)
        assert second.message_id == first.message_id
        assert second.receipt != first.receipt

    lab.run(scenario)


def test_the_invisible_time_is_the_one_of_that_receive(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"slow")
        await broker.publish(TOPIC, b"quick")
        await take_one(broker, TOPIC, GROUP, invisible_ms=60_000)
        await take_one(broker, TOPIC, GROUP, invisible_ms=lab.span(5_000))

        await lab.pass_time(lab.span(5_000))

        again = await take(broker, TOPIC, GROUP, wait_ms=FOREVER_MS)
        assert [message.body for message in again] == [b"quick"]

    lab.run(scenario)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_after_exactly_so_many_deliveries_a_message_is_dead(lab: BrokerLab, attempts: int) -> None:
    """RocketMQ's testSimpleConsumerToDLQ. It dies at the receive that would be one delivery too many."""

    async def scenario() -> None:
        broker = lab.open(max_attempts=attempts)
        await broker.publish(TOPIC, b"poison")
        seen = []
        for _ in range(attempts):
            message = await take_one(broker, TOPIC, GROUP, invisible_ms=lab.span(1_000))
            seen.append(message.attempt)
            await lab.pass_time(lab.span(1_000))
        assert seen == list(range(1, attempts + 1))
        await lab.expect_depth(broker, TOPIC, GROUP, dead=0)

        await lab.expect_to_die(broker, TOPIC, GROUP, 1)

        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 0, 0, 0, 1))
        assert [x.body async for x in broker.dead_letters(TOPIC, GROUP)] == [b"poison"]
        letters = [letter async for letter in broker.dead_letters(TOPIC, GROUP)]
        assert letters[0].attempt == attempts
        assert f"{attempts} deliveries" in letters[0].reason
        assert letters[0].dead_ms == lab.about(lab.clock.now_ms())

    lab.run(scenario)


def test_retries_asked_for_count_as_deliveries_too(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open(max_attempts=3)
        await broker.publish(TOPIC, b"poison")
        for attempt in (1, 2, 3):
            message = await take_one(broker, TOPIC, GROUP)
            assert message.attempt == attempt
            await broker.retry_later(message, delay_ms=0)

        await lab.expect_to_die(broker, TOPIC, GROUP, 1)

    lab.run(scenario)


def test_many_messages_may_die_at_once_and_the_next_still_arrives(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open(max_attempts=1)
        for n in range(80):
            await broker.publish(TOPIC, f"{n}".encode())
        await lab.take_some(broker, TOPIC, GROUP, 80, invisible_ms=1_000)
        await lab.pass_time(1_000)
        await broker.publish(TOPIC, b"healthy")

        healthy = await take_one(broker, TOPIC, GROUP)
        assert healthy.body == b"healthy"
        await broker.ack([healthy])
        await lab.expect_to_die(broker, TOPIC, GROUP, 80)

    lab.run(scenario)


def test_a_stale_receipt_is_ignored(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"order")
        stale = await take_one(broker, TOPIC, GROUP, invisible_ms=1_000)
        await lab.pass_time(1_000)
        held = await take_one(broker, TOPIC, GROUP, invisible_ms=60_000)

        await broker.ack([stale])
        await broker.retry_later(stale, delay_ms=0)
        await broker.dead_letter(stale, reason="too late to say so")

        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 0, 0, 1, 0))
        await broker.ack([held, stale, held])
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


def test_giving_a_message_back_makes_its_receipt_stale(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"order")
        message = await take_one(broker, TOPIC, GROUP)
        await broker.retry_later(message, delay_ms=1_000)

        await broker.ack([message])
        await lab.pass_time(1_000)

        assert (await take_one(broker, TOPIC, GROUP)).attempt == 2

    lab.run(scenario)


def test_a_late_acknowledgement_counts_while_nobody_else_got_the_message(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"order")
        message = await take_one(broker, TOPIC, GROUP, invisible_ms=1_000)
        await lab.pass_time(lab.span(5_000))

        await broker.ack([message])

        if not lab.counts_late_acks:
            await broker.ack([await take_one(broker, TOPIC, GROUP)])
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


def test_part_of_what_was_received_can_be_acknowledged(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for topic in (TOPIC, OTHER_TOPIC):
            for n in range(4):
                await broker.publish(topic, f"{topic} {n}".encode())
        invisible_ms = lab.span(10_000)
        orders = await lab.take_some(broker, TOPIC, GROUP, 4, invisible_ms=invisible_ms)
        paid = await lab.take_some(broker, OTHER_TOPIC, GROUP, 4, invisible_ms=invisible_ms)

        await broker.ack([orders[0], paid[3], orders[2]])
        await broker.ack([])
        await lab.pass_time(invisible_ms)

        again = await lab.take_some(broker, TOPIC, GROUP, 2)
        again += await lab.take_some(broker, OTHER_TOPIC, GROUP, 3)
        assert sorted(m.body.decode() for m in again) == [
            "orders 1", "orders 3", "paid 0", "paid 1", "paid 2",
        ]  # fmt: skip

    lab.run(scenario)


def test_a_message_given_back_comes_again_after_its_delay(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"order")
        delay_ms = lab.span(30_000)
        message = await take_one(broker, TOPIC, GROUP, invisible_ms=1_000)
        await broker.retry_later(message, delay_ms=delay_ms)
        await lab.pass_time(delay_ms - 1)  # beyond its invisible time
        assert await take(broker, TOPIC, GROUP) == []

        await lab.pass_time(1)

        assert (await take_one(broker, TOPIC, GROUP)).attempt == 2

    lab.run(scenario)


def test_a_hopeless_message_is_dead_at_once_with_its_reason(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"poison")
        message = await take_one(broker, TOPIC, GROUP)

        await broker.dead_letter(message, reason="no such SKU: ü-1")
        await broker.dead_letter(message, reason="said twice")

        letters = [letter async for letter in broker.dead_letters(TOPIC, GROUP)]
        assert [(x.body, x.reason, x.attempt) for x in letters] == [
            (b"poison", "no such SKU: ü-1", 1)
        ]
        assert letters[0].message_id == message.message_id
        await lab.pass_time(DAY_MS)
        assert await take(broker, TOPIC, GROUP) == []
        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 0, 0, 0, 1))

    lab.run(scenario)


def test_every_group_gets_every_message_and_has_its_own_dead_letters(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for n in range(5):
            await broker.publish(TOPIC, f"{n}".encode())
        await broker.dead_letter(await take_one(broker, TOPIC, GROUP), reason="no")

        assert len(await drain(broker, TOPIC, GROUP, 4)) == 4
        assert len(await drain(broker, TOPIC, OTHER_GROUP, 5)) == 5  # from the start, though late

        assert [x.body async for x in broker.dead_letters(TOPIC, GROUP)] == [b"0"]
        assert [x.body async for x in broker.dead_letters(TOPIC, OTHER_GROUP)] == []
        await lab.expect_depth(broker, TOPIC, OTHER_GROUP, QUIET)

    lab.run(scenario)


def test_topics_do_not_mix(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.commit(await broker.send_half(TOPIC, "tx-1", b"order"))
        await broker.commit(await broker.send_half(OTHER_TOPIC, "tx-1", b"paid"))

        assert await drain(broker, OTHER_TOPIC, GROUP, 1) == [b"paid"]
        assert [body async for body in broker.browse(TOPIC)] == [b"order"]
        await lab.expect_depth(broker, TOPIC, GROUP, waiting=1)

    lab.run(scenario)


def test_consumers_of_a_group_share_the_messages_without_overlap(lab: BrokerLab) -> None:
    async def scenario() -> None:
        publisher = lab.open()
        got: list[list[str]] = [[], []]
        wanted = {f"{n}" for n in range(300)}

        async def consume(mine: list[str]) -> None:
            broker = lab.open()
            while sum(map(len, got)) < len(wanted):
                for message in await take(broker, TOPIC, GROUP, max_messages=7):
                    mine.append(message.body.decode())
                    await broker.ack([message])

        for n in range(300):
            await publisher.publish(TOPIC, f"{n}".encode())
        await asyncio.gather(*map(consume, got))

        assert all(got)
        assert sorted(got[0] + got[1]) == sorted(wanted)

    lab.run(scenario)


def test_what_a_killed_consumer_held_goes_to_another(lab: BrokerLab) -> None:
    async def scenario() -> None:
        publisher, doomed, other = lab.open(), lab.open(), lab.open()
        working = asyncio.Event()

        async def work() -> None:
            await take(doomed, TOPIC, GROUP, invisible_ms=lab.span(5_000), wait_ms=FOREVER_MS)
            working.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await publisher.publish(TOPIC, b"order")
        await working.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await take(other, TOPIC, GROUP) == []

        await lab.pass_time(lab.span(5_000))

        message = await take_one(other, TOPIC, GROUP)
        assert (message.body, message.attempt) == (b"order", 2)

    lab.run(scenario)


def test_no_receive_hands_out_more_than_wanted_nor_more_than_32(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for n in range(50):
            await broker.publish(TOPIC, f"{n}".encode())

        assert len(await take(broker, TOPIC, GROUP, max_messages=1)) == 1
        assert len(await take(broker, TOPIC, GROUP, max_messages=10)) == 10
        assert len(await take(broker, TOPIC, GROUP, max_messages=1000)) == 32
        assert len(await take(broker, TOPIC, GROUP)) == 7

    lab.run(scenario)


def test_message_ids_and_receipts_are_unique(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for n in range(40):
            for topic in (TOPIC, OTHER_TOPIC):
                half = await broker.send_half(topic, f"tx-{n}", b"order")
                await broker.commit(half)
        messages = [
            message
            for topic in (TOPIC, OTHER_TOPIC)
            for _ in range(2)
            for message in await take(broker, topic, GROUP)
        ]

        assert len({message.message_id for message in messages}) == 80
        assert len({(message.topic, message.receipt) for message in messages}) == 80

    lab.run(scenario)


# -- all of it together ----------------------------------------------------------------------------------


def test_no_message_is_lost_when_consumers_crash_at_random(lab: BrokerLab) -> None:
    total, chance = 1_000, random.Random(7)
    handled: Counter[bytes] = Counter()

    async def consume(broker: Broker) -> None:
        while True:
            for message in await take(broker, TOPIC, GROUP, invisible_ms=2_000, wait_ms=FOREVER_MS):
                handled[message.body] += 1
                await broker.ack([message])

    async def scenario() -> None:
        broker = lab.open(max_attempts=1_000)
        for n in range(total):
            await broker.publish(TOPIC, f"{n}".encode())
        consumers = [asyncio.create_task(consume(lab.open(max_attempts=1_000))) for _ in range(3)]
        while (await broker.depth(TOPIC, GROUP)).busy:
            doomed = chance.randrange(3)
            consumers[doomed].cancel()
            await asyncio.gather(consumers[doomed], return_exceptions=True)
            consumers[doomed] = asyncio.create_task(consume(broker))
            await lab.pass_time(chance.randrange(500))
            await asyncio.sleep(chance.random() / 100)
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

        assert handled.keys() == {f"{n}".encode() for n in range(total)}
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)
