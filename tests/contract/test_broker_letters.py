"""What people do about messages that were given up, on every broker: look at dead letters and discarded halves, send
a letter again, forget a half that was looked after."""

import asyncio

import pytest

from broker_lab import (
    GROUP,
    OTHER_GROUP,
    QUIET,
    TOPIC,
    Answers,
    BrokerLab,
    drain,
    take,
    take_one,
)
from saleops.domain.messages import retry_topic
from saleops.ports.broker import Broker, DeadLetter, Half, ListsHalves

RETRIES = retry_topic(TOPIC)


async def letters_of(broker: Broker, topic: str = TOPIC, group: str = GROUP) -> list[DeadLetter]:
    return [letter async for letter in broker.dead_letters(topic, group)]


async def bury(broker: Broker, *bodies: bytes, topic: str = TOPIC) -> list[DeadLetter]:
    """Publish ``bodies`` one after another and give each up at once."""
    for body in bodies:
        await broker.publish(topic, body)
        message = await take_one(broker, topic, GROUP)
        await broker.dead_letter(message, reason=f"no use for {message.body.decode()}")
    return await letters_of(broker, topic)


def test_a_replayed_letter_reaches_its_group_under_the_retry_topic_with_attempts_anew(
    lab: BrokerLab,
) -> None:
    async def scenario() -> None:
        broker = lab.open()
        [letter] = await bury(broker, b"order")

        assert await broker.replay(TOPIC, GROUP, letter)

        message = await take_one(broker, RETRIES, GROUP)
        assert (message.body, message.attempt) == (b"order", 1)
        await broker.ack([message])
        assert await letters_of(broker) == []
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)
        assert await take(broker, TOPIC, GROUP) == []

    lab.run(scenario)


def test_a_letter_of_the_retry_topic_goes_to_the_retry_topic_again(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        [letter] = await bury(broker, b"order", topic=RETRIES)

        assert await broker.replay(RETRIES, GROUP, letter)

        assert await drain(broker, RETRIES, GROUP, 1) == [b"order"]
        assert await letters_of(broker, RETRIES) == []

    lab.run(scenario)


def test_a_dropped_letter_is_gone_from_the_dead_and_nobody_gets_it(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, other = lab.open(), lab.open()
        kept, letter = await bury(broker, b"kept", b"useless")

        assert await broker.drop(TOPIC, GROUP, letter)
        assert not await other.drop(TOPIC, GROUP, letter)
        assert not await broker.replay(TOPIC, GROUP, letter)

        assert await letters_of(broker) == [kept]
        assert await take(broker, RETRIES, GROUP) == []

    lab.run(scenario)


def test_a_letter_replayed_twice_is_sent_once(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, other = lab.open(), lab.open()
        [letter] = await bury(broker, b"order")

        assert await broker.replay(TOPIC, GROUP, letter)
        assert not await other.replay(TOPIC, GROUP, letter)
        assert not await broker.replay(TOPIC, GROUP, letter)

        assert await drain(broker, RETRIES, GROUP, 1) == [b"order"]
        assert await take(broker, RETRIES, GROUP) == []

    lab.run(scenario)


def test_only_the_chosen_letter_is_replayed(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        first, chosen, last = await bury(broker, b"1", b"2", b"3")

        await broker.replay(TOPIC, GROUP, chosen)

        assert await drain(broker, RETRIES, GROUP, 1) == [b"2"]
        left = await letters_of(broker)
        assert [(x.message_id, x.body) for x in left] == [
            (first.message_id, b"1"),
            (last.message_id, b"3"),
        ]
        await lab.expect_depth(broker, TOPIC, GROUP, dead=2)

    lab.run(scenario)


def test_a_letter_that_dies_again_can_be_replayed_again(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        [letter] = await bury(broker, b"poison")
        await broker.replay(TOPIC, GROUP, letter)
        for _ in range(2):
            message = await take_one(broker, RETRIES, GROUP)
            await broker.dead_letter(message, reason="still no")
            [again] = await letters_of(broker, RETRIES)
            assert again.reason == "still no"

            assert await broker.replay(RETRIES, GROUP, again)

        assert await drain(broker, RETRIES, GROUP, 1) == [b"poison"]

    lab.run(scenario)


def test_a_group_replays_its_own_letters_alone(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.publish(TOPIC, b"order")
        for group in (GROUP, OTHER_GROUP):
            await broker.dead_letter(await take_one(broker, TOPIC, group), reason=group)
        [letter] = await letters_of(broker)

        assert await broker.replay(TOPIC, GROUP, letter)

        assert await letters_of(broker) == []
        assert [x.body for x in await letters_of(broker, group=OTHER_GROUP)] == [b"order"]

    lab.run(scenario)


def test_replaying_adds_nothing_to_the_topic_that_the_ledger_reads(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        [letter] = await bury(broker, b"order")

        await broker.replay(TOPIC, GROUP, letter)

        assert [body async for body in broker.browse(TOPIC)] == [b"order"]

    lab.run(scenario)


def test_letters_survive_their_reading_and_come_oldest_first(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        bodies = [f"{n}".encode() for n in range(40)]  # more than a page
        await bury(broker, *bodies)

        for reader in (broker, lab.open()):
            letters = await letters_of(reader)
            assert [x.body for x in letters] == bodies
            assert [x.dead_ms for x in letters] == sorted(x.dead_ms for x in letters)
            assert letters[7].reason == "no use for 7"

    lab.run(scenario)


async def discard(lab: BrokerLab, *tx_ids: str) -> list[Half]:
    """Send halves that nobody can resolve and let them run out of checks."""
    broker = lab.open(check_max=1)
    answers = Answers()
    sent = [await broker.send_half(TOPIC, tx_id, tx_id.encode()) for tx_id in tx_ids]
    await broker.start_checks([TOPIC], answers)
    await lab.pass_round()
    await answers.asked_count(len(tx_ids))
    while len([half async for half in broker.discarded(TOPIC)]) < len(tx_ids):
        await lab.pass_round()
        await asyncio.sleep(0.01)
    return sent


def test_a_half_that_ran_out_of_checks_is_listed_with_its_body_and_never_comes_out(
    lab: BrokerLab,
) -> None:
    async def scenario() -> None:
        [sent] = await discard(lab, "tx-1")
        broker = lab.open()

        [half] = [half async for half in broker.discarded(TOPIC)]

        assert (half.topic, half.tx_id, half.body) == (TOPIC, "tx-1", b"tx-1")
        assert abs(half.born_ms - sent.born_ms) < 1_000
        await lab.expect_depth(broker, TOPIC, GROUP, halves=0)
        assert await take(broker, TOPIC, GROUP) == []

    lab.run(scenario)


def test_a_discarded_half_that_was_looked_after_is_listed_no_longer(lab: BrokerLab) -> None:
    async def scenario() -> None:
        await discard(lab, "tx-1", "tx-2", "tx-3")
        broker = lab.open()

        await broker.forget_discarded(TOPIC, ["tx-1", "tx-3", "unknown"])
        await broker.forget_discarded(TOPIC, ["tx-1"])
        await broker.forget_discarded(TOPIC, [])

        assert [half.tx_id async for half in broker.discarded(TOPIC)] == ["tx-2"]

    lab.run(scenario)


@pytest.mark.parametrize("trace", ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
def test_a_half_takes_a_trace_along_and_comes_out_the_same(lab: BrokerLab, trace: str) -> None:
    async def scenario() -> None:
        broker = lab.open()

        await broker.commit(await broker.send_half(TOPIC, "tx-1", b"order", trace=trace))

        assert await drain(broker, TOPIC, GROUP, 1) == [b"order"]

    lab.run(scenario)


def test_a_broker_says_whether_it_commits_exactly_once(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        half = await broker.send_half(TOPIC, "tx-1", b"order")

        for _ in range(2):
            await broker.commit(half)

        seen = await drain(broker, TOPIC, GROUP, 1)
        seen += [message.body for message in await take(broker, TOPIC, GROUP)]
        assert set(seen) == {b"order"}
        assert len(seen) == 1 or not broker.commits_once

    lab.run(scenario)


def test_open_halves_are_listed_until_they_end(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        if not isinstance(broker, ListsHalves):
            return  # it cannot name them, and says so
        halves = [await broker.send_half(TOPIC, f"tx-{n}", b"%d" % n) for n in range(70)]
        await broker.commit(halves[0])
        await broker.rollback(halves[1])

        listed = {half.tx_id: half async for half in lab.open().open_halves(TOPIC)}  # type: ignore[attr-defined]

        assert [listed.get(half.tx_id) for half in halves[2:]] == halves[2:]
        # A broker that ends halves behind the scenes may name one that ended a moment ago.
        assert len(listed) == 68 or not broker.commits_once

    lab.run(scenario)
