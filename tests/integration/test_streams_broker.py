"""The broker on Streams against what real servers and networks do: forget scripts, restart, crash, lose replies."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as ConnectionLost

from broker_lab import (
    FOREVER_MS,
    GROUP,
    QUIET,
    RULES,
    TOPIC,
    BrokerLab,
    HandClock,
    drain,
    take,
    take_one,
)
from saleops.adapters.streams_broker import StreamsBroker
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Depth, Half, Resolution
from servers import ValkeyServer


@pytest.fixture
def lab(any_redis_url: str) -> BrokerLab:
    return lab_on(any_redis_url)


def lab_on(url: str, sale: str = "s") -> BrokerLab:
    return BrokerLab(lambda **rules: StreamsBroker.from_url(url, sale=sale, **rules))


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server this test may stop and kill."""
    server = ValkeyServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


async def commit_all(half: Half) -> Resolution:
    return Resolution.COMMIT


# -- somebody else writes into our streams ------------------------------------------------------------------


def test_an_entry_without_a_body_is_a_dead_letter_and_holds_up_nobody(
    lab: BrokerLab, any_redis_url: str
) -> None:
    async def scenario() -> None:
        broker = lab.open()
        log_key = f"mq:{{s:{TOPIC}}}:log"
        with redis.Redis.from_url(any_redis_url) as admin:
            await broker.publish(TOPIC, b"first")
            for fields in ({"hello": "world"}, {"a": "1", "b": "2"}):
                admin.xadd(log_key, fields)
            admin.xadd(log_key, {"note": "x", "more": "y", "body": "named"})
            await broker.publish(TOPIC, b"last")

        assert await drain(broker, TOPIC, GROUP, 3) == [b"first", b"named", b"last"]

        letters = [one async for one in broker.dead_letters(TOPIC, GROUP)]
        assert [(one.body, one.attempt) for one in letters] == [(b"", 0), (b"", 0)]
        assert {one.reason for one in letters} == {
            "an entry without a body, which saleops did not write"
        }
        await lab.expect_depth(broker, TOPIC, GROUP, Depth(0, 0, 0, 0, 2))

    lab.run(scenario)


def test_more_strange_entries_than_a_receive_takes_are_passed_in_one_wait(
    lab: BrokerLab, any_redis_url: str
) -> None:
    async def scenario() -> None:
        broker = lab.open()
        with redis.Redis.from_url(any_redis_url) as admin:
            for _ in range(70):
                admin.xadd(f"mq:{{s:{TOPIC}}}:log", {"hello": "world"})
        await broker.publish(TOPIC, b"order")

        taken = await broker.receive(
            TOPIC, GROUP, max_messages=32, invisible_ms=1_000, wait_ms=1_000
        )

        assert [one.body for one in taken] == [b"order"]

    lab.run(scenario)


def test_a_strange_dead_letter_is_listed_and_can_be_dropped(
    lab: BrokerLab, any_redis_url: str
) -> None:
    async def scenario() -> None:
        broker = lab.open()
        with redis.Redis.from_url(any_redis_url) as admin:
            admin.xadd(f"mq:{{s:{TOPIC}}}:dead:{GROUP}", {"hello": "world"})

        [letter] = [one async for one in broker.dead_letters(TOPIC, GROUP)]
        assert (letter.body, letter.reason) == (b"", "not written by saleops")
        assert await broker.drop(TOPIC, GROUP, letter)
        assert [one async for one in broker.dead_letters(TOPIC, GROUP)] == []

    lab.run(scenario)


# -- the server forgets, restarts, crashes -----------------------------------------------------------------


def test_a_server_that_forgets_its_scripts_costs_nothing(
    lab: BrokerLab, any_redis_url: str
) -> None:
    async def scenario() -> None:
        broker = lab.open()
        with redis.Redis.from_url(any_redis_url) as admin:
            forget = admin.script_flush
            for n in range(3):
                forget()
                half = await broker.send_half(TOPIC, f"tx-{n}", b"order")
                forget()
                await broker.commit(half)
                forget()
                await broker.rollback(await broker.send_half(TOPIC, f"no-{n}", b"never"))
                forget()
                await broker.publish(TOPIC, b"normal")
                forget()
                messages = await take(broker, TOPIC, GROUP)
                assert len(messages) == 2
                forget()
                await broker.retry_later(messages[0], delay_ms=0)
                forget()
                await broker.dead_letter(messages[1], reason="no")
                forget()
                await broker.ack(await take(broker, TOPIC, GROUP))
                forget()
                assert await broker.depth(TOPIC, GROUP) == Depth(0, 0, 0, 0, n + 1)
            await broker.start_checks([TOPIC], commit_all)
            await broker.send_half(TOPIC, "silent", b"silent")
            forget()
            await lab.pass_time(RULES["check_after_ms"])
            assert await drain(broker, TOPIC, GROUP, 1) == [b"silent"]

    lab.run(scenario)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restarted_server_has_everything(own_server: ValkeyServer, how: str) -> None:
    lab = lab_on(own_server.url)

    async def scenario() -> None:
        broker = lab.open()
        half = await broker.send_half(TOPIC, "tx-open", b"half")
        await broker.publish(TOPIC, b"delayed", deliver_at_ms=lab.clock.now_ms() + 5_000)
        for n in range(10):
            await broker.publish(TOPIC, f"{n}".encode())
        held = await take(broker, TOPIC, GROUP, max_messages=4, invisible_ms=2_000)
        await broker.ack(held[:2])
        await broker.dead_letter(held[2], reason="no")
        before = await broker.depth(TOPIC, GROUP)
        with redis.Redis.from_url(own_server.url) as admin:
            admin.execute_command("WAITAOF", 1, 0, 5_000)  # a crash may cost what is not on disk

        own_server.stop() if how == "stop" else own_server.kill()
        own_server.start()

        assert await broker.depth(TOPIC, GROUP) == before == Depth(1, 1, 6, 1, 1)
        await broker.commit(half)
        assert len(await drain(broker, TOPIC, GROUP, 7)) == 7
        await lab.pass_time(5_000)
        again = await take(broker, TOPIC, GROUP)
        assert {m.body: m.attempt for m in again} == {held[3].body: 2, b"delayed": 1}

    lab.run(scenario)


def test_check_back_outlives_a_server_that_is_away(own_server: ValkeyServer) -> None:
    lab = lab_on(own_server.url)

    async def scenario() -> None:
        broker = lab.open()
        await broker.start_checks([TOPIC], commit_all)
        await broker.send_half(TOPIC, "tx-1", b"order")
        own_server.stop()
        await lab.pass_time(FOREVER_MS)
        with pytest.raises(StoreUnavailable):
            await broker.ping()
        own_server.start()

        assert await drain(broker, TOPIC, GROUP, 1) == [b"order"]

    lab.run(scenario)


def test_a_waiting_consumer_hears_that_the_server_went_away(own_server: ValkeyServer) -> None:
    lab = lab_on(own_server.url)

    async def scenario() -> None:
        broker = lab.open()
        waiting = asyncio.create_task(take(broker, TOPIC, GROUP, wait_ms=FOREVER_MS))
        await asyncio.sleep(0.05)
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await waiting

    lab.run(scenario)


def test_a_server_that_hangs_is_given_up_in_time(own_server: ValkeyServer) -> None:
    async def scenario() -> None:
        broker = StreamsBroker.from_url(own_server.url, sale="s", timeout_s=0.1)
        try:
            await broker.ping()
            os.kill(own_server.pid, signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await broker.send_half(TOPIC, "tx-1", b"order")
            with pytest.raises(StoreUnavailable):
                await take(broker, TOPIC, GROUP, wait_ms=10_000)
            assert time.monotonic() - started < 5
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
            await broker.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url", ["redis://:s3cret@127.0.0.1:1/0", "unix:///nowhere/valkey.sock?password=s3cret"]
)
def test_an_error_names_the_place_without_its_password(url: str) -> None:
    async def scenario() -> None:
        broker = StreamsBroker.from_url(url, sale="s")
        try:
            with pytest.raises(StoreUnavailable) as caught:
                await broker.send_half(TOPIC, "tx-1", b"order")
        finally:
            await broker.close()
        assert "tx-1" in caught.value.message
        assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
        assert caught.value.hint

    asyncio.run(scenario())


def test_foreign_keys_under_our_names_are_an_unavailable_store(any_redis_url: str) -> None:
    lab = lab_on(any_redis_url)

    async def scenario() -> None:
        with redis.Redis.from_url(any_redis_url) as admin:
            admin.set(f"mq:{{s:{TOPIC}}}:log", "not a stream")
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            await lab.open().publish(TOPIC, b"order")

    lab.run(scenario)


# -- replies get lost --------------------------------------------------------------------------------------


class LosesReplies:
    """Stands in a broker's connections: lets a call run, then breaks the connection instead of answering, once a kind."""

    def __init__(self, broker: StreamsBroker) -> None:
        self._server = broker._server._redis
        self._exchange = self._server._exchange
        self._server._exchange = self  # type: ignore[method-assign,assignment]
        self._lost: set[bytes] = set()
        self.losses = 0

    async def __call__(self, node: Any, packed: bytes, count: int) -> list[Any]:
        replies = await self._exchange(node, packed, count)
        words = packed.split(b"\r\n")
        kind = words[4] if words[2] == b"EVALSHA" else words[2]
        if kind not in self._lost:
            self._lost.add(kind)
            self.losses += 1
            raise ConnectionLost("the reply was lost")
        return replies

    def lose_again(self) -> None:
        self._lost.clear()


def test_an_act_whose_reply_was_lost_happens_once(lab: BrokerLab) -> None:
    async def scenario() -> None:
        warm, broker = lab.open(), lab.open()
        assert isinstance(broker, StreamsBroker)
        # Scripts are loaded first, so that what gets lost below is the answer to a call that ran.
        await warm.commit(await warm.send_half("warm", "tx", b"x"))
        await warm.rollback(await warm.send_half("warm", "tx-2", b"x"))
        await warm.publish("warm", b"x")
        one, two = await take(warm, "warm", GROUP)
        await warm.retry_later(one, delay_ms=0)
        await warm.dead_letter(two, reason="no")
        await warm.ack(await take(warm, "warm", GROUP))
        await warm.depth("warm", GROUP)
        lossy = LosesReplies(broker)

        half = await broker.send_half(TOPIC, "tx-1", b"committed")
        await broker.commit(half)
        lossy.lose_again()
        await broker.rollback(await broker.send_half(TOPIC, "tx-2", b"never"))
        await broker.publish(TOPIC, b"normal")
        lossy.lose_again()
        await broker.publish(TOPIC, b"delayed", deliver_at_ms=lab.clock.now_ms() + 100)
        assert [body async for body in broker.browse(TOPIC)] == [b"committed", b"normal"]
        messages = await take(warm, TOPIC, GROUP)
        assert len(messages) == 2
        await broker.retry_later(messages[0], delay_ms=100)
        await broker.dead_letter(messages[1], reason="no")
        assert await broker.depth(TOPIC, GROUP) == Depth(0, 1, 0, 1, 1)
        await lab.pass_time(100)
        messages = await take(warm, TOPIC, GROUP)
        await broker.ack(messages)

        assert {m.body: m.attempt for m in messages} == {b"committed": 2, b"delayed": 1}
        assert await broker.depth(TOPIC, GROUP) == Depth(0, 0, 0, 0, 1)
        assert lossy.losses >= 11

    lab.run(scenario)


def test_a_half_that_was_ended_before_its_lost_reply_was_repeated_stays_ended(
    lab: BrokerLab,
) -> None:
    async def scenario() -> None:
        peer, broker = lab.open(), lab.open()
        assert isinstance(broker, StreamsBroker)
        server = broker._server._redis
        exchange = server._exchange

        async def ends_meanwhile(*sent: Any) -> list[Any]:
            """A check on another broker commits the half, then the reply to its sender gets lost."""
            await exchange(*sent)
            await peer.commit(Half(TOPIC, "tx-1", b"order", 0))
            server._exchange = exchange  # type: ignore[method-assign]
            raise ConnectionLost("the reply was lost")

        await peer.rollback(await peer.send_half(TOPIC, "warm", b"x"))  # loads the script
        server._exchange = ends_meanwhile  # type: ignore[method-assign]
        half = await broker.send_half(TOPIC, "tx-1", b"order")
        await broker.commit(half)

        assert [body async for body in broker.browse(TOPIC)] == [b"order"]

    lab.run(scenario)


def test_a_receive_whose_reply_was_lost_hides_messages_but_loses_none(lab: BrokerLab) -> None:
    async def scenario() -> None:
        peer, broker = lab.open(), lab.open()
        assert isinstance(broker, StreamsBroker)
        await take(peer, TOPIC, GROUP)
        await peer.publish(TOPIC, b"order")
        LosesReplies(broker)
        with pytest.raises(StoreUnavailable):
            await take(broker, TOPIC, GROUP, invisible_ms=3_000)
        assert await take(peer, TOPIC, GROUP) == []

        await lab.pass_time(3_000)

        assert (await take_one(peer, TOPIC, GROUP)).attempt == 2

    lab.run(scenario)


# -- callers die -------------------------------------------------------------------------------------------


def test_callers_cancelled_at_any_await_lose_and_double_nothing(lab: BrokerLab) -> None:
    chance, wanted = random.Random(11), 150

    async def place(broker: StreamsBroker, n: int) -> None:
        half = await broker.send_half(TOPIC, f"tx-{n}", f"{n}".encode())
        await broker.commit(half)

    async def scenario() -> None:
        broker = lab.open()
        assert isinstance(broker, StreamsBroker)
        for n in range(wanted):
            task = asyncio.create_task(place(broker, n))
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            if n % 10:  # a few come through on any machine, however few turns a reply takes there
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        open_halves = (await broker.depth(TOPIC, GROUP)).halves
        committed = [body async for body in broker.browse(TOPIC)]
        assert open_halves > 0
        assert committed
        assert max(Counter(committed).values()) == 1
        await broker.start_checks([TOPIC], commit_all)
        await lab.pass_time(FOREVER_MS)
        await drain(broker, TOPIC, GROUP, open_halves + len(committed))

        bodies = [body async for body in broker.browse(TOPIC)]
        assert max(Counter(bodies).values()) == 1
        assert len(bodies) == open_halves + len(committed)
        assert await broker.depth(TOPIC, GROUP) == QUIET

    lab.run(scenario)


CONSUMER = """
import asyncio, sys
from saleops.adapters.streams_broker import StreamsBroker
async def main():
    broker = StreamsBroker.from_url(sys.argv[1], sale="s")
    got = await broker.receive("orders", "payment", max_messages=32, invisible_ms=60_000, wait_ms=20_000)
    print(len(got), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_a_consumer_process_killed_in_the_middle_of_its_work_loses_nothing(valkey_url: str) -> None:
    lab = BrokerLab(
        lambda **rules: StreamsBroker.from_url(valkey_url, sale="s", **rules),
        HandClock(time.time_ns() // 1_000_000),
    )

    async def scenario() -> None:
        broker = lab.open()
        for n in range(5):
            await broker.publish(TOPIC, f"{n}".encode())
        child = subprocess.Popen(
            [sys.executable, "-c", CONSUMER, valkey_url], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline) == "5\n"
            child.kill()
        assert await take(broker, TOPIC, GROUP) == []

        await lab.pass_time(120_000)

        assert [m.attempt for m in await take(broker, TOPIC, GROUP)] == [2] * 5

    lab.run(scenario)


@pytest.mark.slow
def test_20000_messages_through_three_crashing_consumers_are_all_handled(lab: BrokerLab) -> None:
    total, crashes, chance = 20_000, 0, random.Random(3)
    handled: Counter[bytes] = Counter()

    async def consume(broker: StreamsBroker) -> None:
        while True:
            batch = await take(broker, TOPIC, GROUP, invisible_ms=2_000, wait_ms=FOREVER_MS)
            handled.update(message.body for message in batch)
            await broker.ack(batch)

    async def scenario() -> None:
        nonlocal crashes
        broker = lab.open(max_attempts=10_000)
        assert isinstance(broker, StreamsBroker)
        consumers = [asyncio.create_task(consume(broker)) for _ in range(3)]
        crashing = True

        async def crash() -> None:
            nonlocal crashes
            while crashing:
                await asyncio.sleep(chance.random() / 50)
                doomed = chance.randrange(3)
                consumers[doomed].cancel()
                await asyncio.gather(consumers[doomed], return_exceptions=True)
                consumers[doomed] = asyncio.create_task(consume(broker))
                crashes += 1
                await lab.pass_time(200)

        crasher = asyncio.create_task(crash())
        for start in range(0, total, 500):
            bodies = [f"{n}".encode() for n in range(start, start + 500)]
            await asyncio.gather(*(broker.publish(TOPIC, body) for body in bodies))
        while (await broker.depth(TOPIC, GROUP)).busy:
            await asyncio.sleep(0.01)
        crashing = False
        await crasher
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

        assert crashes > 20
        assert len(handled) == total
        assert await broker.depth(TOPIC, GROUP) == QUIET
        bodies = [body async for body in broker.browse(TOPIC)]
        assert len(bodies) == len(set(bodies)) == total

    lab.run(scenario)


# -- keys --------------------------------------------------------------------------------------------------


def test_all_keys_of_a_topic_share_one_hash_tag(lab: BrokerLab, any_redis_url: str) -> None:
    async def scenario() -> None:
        broker = lab.open(max_attempts=1, check_max=1)
        await broker.start_checks([TOPIC], commit_all)
        await broker.send_half(TOPIC, "tx-1", b"half")
        await broker.publish(TOPIC, b"delayed", deliver_at_ms=lab.clock.now_ms() + 1_000_000)
        await broker.publish(TOPIC, b"dead")
        await broker.dead_letter(await take_one(broker, TOPIC, GROUP), reason="no")
        await broker.publish(TOPIC, b"held")
        await take_one(broker, TOPIC, GROUP)
        with redis.Redis.from_url(any_redis_url) as admin:
            keys = [key.decode() for key in admin.scan_iter()]

        assert len(keys) >= 8
        assert [key for key in keys if not re.match(r"mq:\{s:orders\}:[a-z]+", key)] == []

    lab.run(scenario)


def test_two_sales_on_one_server_do_not_touch_each_other(any_redis_url: str) -> None:
    async def scenario() -> None:
        names = ["drop", "drop2", "dr*p", "d[r]op"]
        brokers = [StreamsBroker.from_url(any_redis_url, sale=name) for name in names]
        try:
            for name, broker in zip(names, brokers, strict=True):
                await broker.publish(TOPIC, name.encode())
            for broker in (brokers[2], brokers[3]):
                await broker.clear()

            left = [[body async for body in broker.browse(TOPIC)] for broker in brokers]
            assert left == [[b"drop"], [b"drop2"], [], []]
        finally:
            for broker in brokers:
                await broker.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("sale", ["", "a{b", "a}b"])
def test_a_sale_name_that_would_break_the_hash_tag_is_refused(sale: str) -> None:
    with pytest.raises(ValueError, match="sale"):
        StreamsBroker.from_url("redis://127.0.0.1", sale=sale)


def test_what_is_remembered_of_past_sends_is_bounded(lab: BrokerLab, any_redis_url: str) -> None:
    async def scenario() -> None:
        broker = lab.open()
        for n in range(500):
            await broker.rollback(await broker.send_half(TOPIC, f"tx-{n}", b"x"))
            await broker.publish(TOPIC, b"x")
            await lab.pass_time(1_000)
        with redis.Redis.from_url(any_redis_url) as admin:
            remembered = admin.zcard(f"mq:{{s:{TOPIC}}}:sent")

        assert remembered <= 2 * 61

    lab.run(scenario)


def test_many_waiting_consumers_do_not_hold_up_a_producer(lab: BrokerLab) -> None:
    async def scenario() -> None:
        broker = lab.open()
        waiting = [
            asyncio.create_task(take(broker, TOPIC, f"g-{n}", wait_ms=FOREVER_MS))
            for n in range(60)
        ]
        await asyncio.sleep(0.1)
        await broker.commit(await broker.send_half(TOPIC, "tx-1", b"order"))

        assert [[m.body for m in got] for got in await asyncio.gather(*waiting)] == [
            [b"order"]
        ] * 60

    lab.run(scenario)
