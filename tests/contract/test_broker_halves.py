"""What every broker promises about half messages and check-back: in memory, on the embedded Valkey and on Redis."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

import pytest

from broker_lab import (
    GROUP,
    OTHER_TOPIC,
    QUIET,
    RULES,
    TOPIC,
    Answers,
    BrokerLab,
    drain,
    take,
    take_one,
)
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Broker, Half, Resolution


async def until(condition: Callable[[], object]) -> None:
    """Give way to the other tasks until they made ``condition`` true."""
    while not condition():
        await asyncio.sleep(0.001)


async def discarded_by(broker: Broker) -> list[Half]:
    return [half async for half in broker.discarded(TOPIC)]


async def until_halves(broker: Broker, halves: int) -> None:
    while (await broker.depth(TOPIC, GROUP)).halves != halves:
        await asyncio.sleep(0.01)


async def until_discarded(broker: Broker, halves: int) -> None:
    while len(await discarded_by(broker)) < halves:
        await asyncio.sleep(0.01)


def test_a_half_message_is_invisible_until_it_is_committed(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        half = await broker.send_half(TOPIC, "tx-1", b"order")
        assert await take(broker, TOPIC, GROUP) == []
        assert [body async for body in broker.browse(TOPIC)] == []
        await lab.expect_depth(broker, TOPIC, GROUP, halves=1)

        await broker.commit(half)

        message = await take_one(broker, TOPIC, GROUP)
        assert (message.topic, message.group, message.body) == (TOPIC, GROUP, b"order")
        assert message.attempt == 1
        await lab.expect_depth(broker, TOPIC, GROUP, halves=0)

    lab.run(scenario)


def test_the_half_tells_when_it_was_sent(lab: BrokerLab) -> None:
    async def scenario() -> None:
        half = await lab.open().send_half(TOPIC, "tx-1", b"order")

        assert half == Half(
            TOPIC, "tx-1", b"order", born_ms=lab.about(lab.clock.now_ms()), checks=0
        )

    lab.run(scenario)


def test_a_half_message_that_was_rolled_back_is_never_seen(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        await broker.rollback(await broker.send_half(TOPIC, "tx-1", b"order"))

        assert await take(broker, TOPIC, GROUP) == []
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


@pytest.mark.parametrize("acts", ["cc", "rc", "cr", "rr", "crc", "rcr"])
def test_the_first_end_of_a_half_message_stands(lab: BrokerLab, acts: str) -> None:
    async def scenario() -> None:
        broker = lab.open()
        half = await broker.send_half(TOPIC, "tx-1", b"order")

        for act in acts:
            await (broker.commit(half) if act == "c" else broker.rollback(half))

        arrived = [message.body for message in await take(broker, TOPIC, GROUP)]
        assert arrived == ([b"order"] if acts[0] == "c" else [])

    lab.run(scenario)


def test_exactly_the_committed_messages_arrive_whoever_commits_them(lab: BrokerLab) -> None:
    """RocketMQ's testMessageVisibility: commit or roll back now, in a check, or never answer."""
    fates = ["commit", "rollback", "check-commit", "check-rollback", "never"]
    halves = {f"tx-{n:03}": fates[n % 5] for n in range(120)}
    answers = Answers(
        {tx: Resolution.COMMIT for tx, fate in halves.items() if fate == "check-commit"}
        | {tx: Resolution.ROLLBACK for tx, fate in halves.items() if fate == "check-rollback"}
    )

    async def scenario() -> None:
        broker = lab.open()
        await broker.start_checks([TOPIC], answers)
        for tx_id, fate in halves.items():
            half = await broker.send_half(TOPIC, tx_id, tx_id.encode())
            if fate == "commit":
                await broker.commit(half)
            elif fate == "rollback":
                await broker.rollback(half)
        await lab.pass_time(RULES["check_after_ms"])
        committed = {tx.encode() for tx, fate in halves.items() if fate.endswith("commit")}

        arrived = await drain(broker, TOPIC, GROUP, len(committed))

        assert sorted(arrived) == sorted(committed)
        await until_halves(broker, 24)  # those that are never answered stay
        assert await take(broker, TOPIC, GROUP) == []
        lab.limit_checks(RULES["check_max"])
        for passed in range(2, RULES["check_max"] + 2):
            await until(lambda rounds=passed: Counter(answers.tx_ids)["tx-004"] >= rounds - 1)
            await lab.pass_round()
        await until_halves(broker, 0)
        assert len(await discarded_by(broker)) == 24
        assert await take(broker, TOPIC, GROUP) == []

    lab.run(scenario)


def test_a_tx_id_is_used_once(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        half = await broker.send_half(TOPIC, "tx-1", b"first")
        with pytest.raises(ValueError, match="tx-1"):
            await broker.send_half(TOPIC, "tx-1", b"second")

        await broker.commit(half)

        with pytest.raises(ValueError, match="tx-1"):
            await broker.send_half(TOPIC, "tx-1", b"third")
        if lab.knows_used_tx_ids:
            with pytest.raises(ValueError, match="tx-1"):
                await lab.open().send_half(TOPIC, "tx-1", b"another process")
        assert await drain(broker, TOPIC, GROUP, 1) == [b"first"]
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


# -- check-back ------------------------------------------------------------------------------------------


def test_only_halves_that_were_silent_long_enough_are_asked_about(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, answers = lab.open(), Answers()
        await broker.start_checks([TOPIC], answers)
        await broker.send_half(TOPIC, "old", b"1")
        await lab.pass_time(1)
        if (
            not lab.asks_exactly
        ):  # one round of the server's asks in any order: the other comes after it
            await answers.asked_count(1)
        sent_ms = lab.clock.now_ms()
        await broker.send_half(TOPIC, "young", b"2")

        if lab.asks_exactly:
            await lab.pass_time(lab.check_after_ms - 1)
            await answers.asked_count(1)
            assert answers.tx_ids == ["old"]
            await lab.pass_time(1)
        await until(lambda: "young" in answers.tx_ids)

        assert lab.clock.now_ms() - sent_ms >= lab.check_after_ms
        # The order in which they are first asked about.
        assert list(dict.fromkeys(answers.tx_ids)) == ["old", "young"]

    lab.run(scenario)


def test_the_checker_sees_the_message_its_birth_and_how_often_it_was_asked(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker, answers = lab.open(), Answers()
        await broker.start_checks([OTHER_TOPIC, TOPIC], answers)
        born_ms = lab.clock.now_ms()
        await broker.send_half(TOPIC, "tx-1", b"\x00binary\xff")
        for questions in (1, 2, 3):
            await lab.pass_round()
            await answers.asked_count(questions)

        assert answers.asked[:3] == [
            Half(TOPIC, "tx-1", b"\x00binary\xff", lab.about(born_ms), checks)
            for checks in (1, 2, 3)
        ]
        assert not lab.asks_exactly or len(answers.asked) == 3

    lab.run(scenario)


def test_when_the_sender_is_gone_another_broker_answers(lab: BrokerLab) -> None:
    async def scenario() -> None:
        sender, peer = lab.open(), lab.open()
        await sender.start_checks([TOPIC], Answers())
        await sender.send_half(TOPIC, "tx-1", b"order")
        await sender.close()
        await peer.start_checks([TOPIC], Answers({"tx-1": Resolution.COMMIT}))

        await lab.pass_time(RULES["check_after_ms"])

        assert await drain(peer, TOPIC, GROUP, 1) == [b"order"]

    lab.run(scenario)


def test_one_of_two_brokers_asks_about_a_half_in_an_interval(lab: BrokerLab) -> None:
    async def scenario() -> None:
        answers = Answers()
        first, second = lab.open(), lab.open()
        await first.start_checks([TOPIC], answers)
        await second.start_checks([TOPIC], answers)
        for n in range(50):
            await first.send_half(TOPIC, f"tx-{n}", b"order")

        await lab.pass_time(RULES["check_after_ms"])
        await answers.asked_count(50)
        if not lab.asks_exactly:
            return  # the server asks each pass, whoever listens: one of them, or the counts below would be even
        await lab.pass_time(RULES["check_interval_ms"] - 1)
        await first.send_half(TOPIC, "last", b"order")
        await lab.pass_time(1)
        await answers.asked_count(100)

        assert set(Counter(answers.tx_ids).values()) == {2}

    lab.run(scenario)


def test_a_checker_that_raises_is_logged_and_asked_again(
    lab: BrokerLab, caplog: pytest.LogCaptureFixture
) -> None:
    questions: list[int] = []

    async def checker(half: Half) -> Resolution:
        questions.append(half.checks)
        if half.checks == 1:
            raise RuntimeError("the orders table is away")
        return Resolution.COMMIT

    async def scenario() -> None:
        broker = lab.open()
        await broker.start_checks([TOPIC], checker)
        await broker.send_half(TOPIC, "tx-1", b"order")
        await lab.pass_time(RULES["check_after_ms"])
        await until(lambda: "the orders table is away" in caplog.text)

        await lab.pass_round()

        assert await drain(broker, TOPIC, GROUP, 1) == [b"order"]
        assert questions == [1, 2]

    lab.run(scenario)


def test_one_bad_half_does_not_keep_the_others_from_their_answer(lab: BrokerLab) -> None:
    async def checker(half: Half) -> Resolution:
        if half.tx_id == "tx-0":
            raise RuntimeError("this one cannot be read")
        return Resolution.COMMIT

    async def scenario() -> None:
        broker = lab.open()
        await broker.start_checks([TOPIC], checker)
        for n in range(5):
            await broker.send_half(TOPIC, f"tx-{n}", f"{n}".encode())

        await lab.pass_time(RULES["check_after_ms"])

        assert sorted(await drain(broker, TOPIC, GROUP, 4)) == [b"1", b"2", b"3", b"4"]

    lab.run(scenario)


def test_after_the_last_check_a_half_is_set_aside_counted_and_logged(
    lab: BrokerLab, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        broker, answers = lab.open(check_max=2), Answers()
        await broker.start_checks([TOPIC], answers)
        half = await broker.send_half(TOPIC, "tx-1", b"order")
        for questions in (1, 2):
            await lab.pass_round()
            await answers.asked_count(questions)
        if lab.asks_exactly:
            assert await discarded_by(broker) == []
            await lab.expect_depth(broker, TOPIC, GROUP, halves=1)

        await lab.pass_round()
        await until_discarded(broker, 1)
        if lab.asks_exactly:  # a server that sets them aside by itself does not tell us
            await until(lambda: "tx-1" in caplog.text)

        assert len(answers.asked) == 2
        assert await discarded_by(broker) == [
            Half(TOPIC, "tx-1", b"order", lab.about(half.born_ms), 2)
        ]
        if not lab.asks_exactly:
            return  # RocketMQ takes a commit even now, while its proxy remembers the half: an order more is saved
        await broker.commit(half)  # too late
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)
        assert await take(broker, TOPIC, GROUP) == []

    with caplog.at_level(logging.WARNING):
        lab.run(scenario)


@pytest.mark.parametrize("act", ["commit", "rollback"])
def test_what_the_sender_decided_is_not_asked_about(lab: BrokerLab, act: str) -> None:
    """RocketMQ's testTrans_SendCommit and _SendRollback, with a checker that would say the opposite."""
    opposite = Resolution.ROLLBACK if act == "commit" else Resolution.COMMIT

    async def scenario() -> None:
        broker = lab.open()
        answers = Answers({"tx-1": opposite, "marker": Resolution.COMMIT})
        half = await broker.send_half(TOPIC, "tx-1", b"order")
        await (broker.commit(half) if act == "commit" else broker.rollback(half))
        await broker.send_half(TOPIC, "marker", b"marker")
        await broker.start_checks([TOPIC], answers)

        await lab.pass_round()

        expected = [b"order", b"marker"] if act == "commit" else [b"marker"]
        assert await drain(broker, TOPIC, GROUP, len(expected)) == expected
        assert answers.tx_ids == ["marker"]

    lab.run(scenario)


def test_the_sender_may_commit_while_the_checker_thinks(lab: BrokerLab) -> None:
    asked, think = asyncio.Event(), asyncio.Event()

    async def checker(half: Half) -> Resolution:
        asked.set()
        await think.wait()
        return Resolution.COMMIT

    async def scenario() -> None:
        broker = lab.open()
        await broker.start_checks([TOPIC], checker)
        half = await broker.send_half(TOPIC, "tx-1", b"order")
        await lab.pass_time(RULES["check_after_ms"])
        await asked.wait()
        await broker.commit(half)
        think.set()
        marker = await broker.send_half(TOPIC, "marker", b"marker")
        await broker.commit(marker)

        assert await drain(broker, TOPIC, GROUP, 2) == [b"order", b"marker"]
        await lab.expect_depth(broker, TOPIC, GROUP, QUIET)

    lab.run(scenario)


def test_a_closed_broker_asks_nobody(lab: BrokerLab) -> None:
    async def scenario() -> None:
        closed, peer = lab.open(), lab.open()
        unheard, heard = Answers(), Answers()
        await closed.start_checks([TOPIC], unheard)
        await closed.send_half(TOPIC, "tx-1", b"order")
        await closed.close()
        await peer.start_checks([TOPIC], heard)
        for questions in (1, 2):
            await lab.pass_round()
            await heard.asked_count(questions)

        assert unheard.asked == []
        with pytest.raises(StoreUnavailable, match="closed"):
            await closed.publish(TOPIC, b"x")

    lab.run(scenario)
