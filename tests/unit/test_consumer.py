"""The receive loop: what is acknowledged, retried, dead-lettered, and what an outage or a bug may cost."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from checkout import VirtualClock, body_of, order_of, until
from saleops.adapters.memory_broker import MemoryBroker, MemoryTopics
from saleops.domain.messages import OrderLine, decode_batch, retry_topic
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Message
from saleops.services.consumer import (
    DONE,
    FRESH_COPY_AT_ATTEMPT,
    Backoff,
    Consumer,
    Hopeless,
    Outcome,
    Retry,
)

TOPIC, GROUP = "orders", "payment"
RETRIES = retry_topic(TOPIC)


class Bench:
    """A consumer on a memory broker; ``judge`` gives each order's outcome, ``calls`` keeps what was handled."""

    def __init__(self, judge: Callable[[str], Outcome] = lambda _: DONE, **options: Any) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(clock=self.clock, max_attempts=options.pop("max_attempts", 16))
        self.judge = judge
        self.calls: list[list[str]] = []
        self.done: Counter[str] = Counter()
        self.consumer = Consumer(
            options.pop("broker", self.broker),
            TOPIC,
            GROUP,
            self.handle,
            clock=self.clock,
            chance=lambda: 0.5,
            **options,
        )

    async def handle(self, lines: list[OrderLine]) -> Mapping[str, Outcome]:
        ids = [line.order_id for line in lines]
        self.calls.append(ids)
        outcomes = {order_id: self.judge(order_id) for order_id in ids}
        self.done.update(order_id for order_id, how in outcomes.items() if how is DONE)
        return outcomes

    async def quiet(self) -> bool:
        depths = [await self.broker.depth(topic, GROUP) for topic in (TOPIC, RETRIES)]
        return all(depth.busy == 0 and depth.delayed == 0 for depth in depths)

    async def until_quiet(self) -> None:
        async with self.clock.running():
            running = asyncio.create_task(self.consumer.run())
            await until(self.quiet)
            assert await self.consumer.stop()
            await running

    async def dead(self, topic: str) -> list[list[str]]:
        return [
            [line.order_id for line in decode_batch(letter.body).orders]
            async for letter in self.broker.dead_letters(topic, GROUP)
        ]


def ids_of(*numbers: int) -> list[str]:
    return [order_of(number).order_id for number in numbers]


def test_an_order_that_is_done_is_acknowledged_and_never_comes_again() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.broker.publish(TOPIC, body_of([order_of(1), order_of(2)]))

        await bench.until_quiet()

        assert bench.done == Counter(ids_of(1, 2))
        assert bench.consumer.orders_done == 2

    asyncio.run(scenario())


def test_messages_that_wait_together_share_one_call_of_the_handler() -> None:
    async def scenario() -> None:
        bench = Bench()
        for number in range(20):
            await bench.broker.publish(TOPIC, body_of([order_of(number)]))

        await bench.until_quiet()

        assert [len(call) for call in bench.calls] == [20]

    asyncio.run(scenario())


def test_a_call_holds_no_more_orders_than_it_may() -> None:
    async def scenario() -> None:
        bench = Bench(orders_max=50)
        for start in range(0, 200, 20):
            await bench.broker.publish(TOPIC, body_of([order_of(start + n) for n in range(20)]))

        await bench.until_quiet()

        assert max(len(call) for call in bench.calls) == 40
        assert sum(bench.done.values()) == 200

    asyncio.run(scenario())


def test_the_same_order_in_two_messages_of_one_receive_is_handled_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        for _ in range(3):
            await bench.broker.publish(TOPIC, body_of([order_of(1)]))

        await bench.until_quiet()

        assert bench.done == Counter(ids_of(1))

    asyncio.run(scenario())


def test_two_different_wishes_for_one_order_are_never_merged_into_one() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.broker.publish(TOPIC, body_of([order_of(1, token="tok_a")]))
        await bench.broker.publish(TOPIC, body_of([order_of(1, token="tok_b")]))

        await bench.until_quiet()

        assert [len(call) for call in bench.calls] == [1, 1]

    asyncio.run(scenario())


def test_one_poison_order_of_a_hundred_dies_alone() -> None:
    poison = order_of(57).order_id

    def judge(order_id: str) -> Outcome:
        if order_id == poison:
            raise ValueError("cannot handle this one")
        return DONE

    async def scenario() -> None:
        bench = Bench(judge, max_attempts=4)
        await bench.broker.publish(TOPIC, body_of([order_of(number) for number in range(100)]))

        await bench.until_quiet()

        assert await bench.dead(RETRIES) == [[poison]]
        assert await bench.dead(TOPIC) == []
        assert set(bench.done) == set(ids_of(*range(100))) - {poison}

    asyncio.run(scenario())


def test_a_hopeless_order_is_split_from_its_batch_and_dead_lettered_at_once() -> None:
    hopeless = order_of(3).order_id

    async def scenario() -> None:
        bench = Bench(lambda order_id: Hopeless("no") if order_id == hopeless else DONE)
        await bench.broker.publish(TOPIC, body_of([order_of(number) for number in range(10)]))

        await bench.until_quiet()

        assert await bench.dead(RETRIES) == [[hopeless]]
        assert bench.consumer.orders_dead == 1
        assert bench.clock.now_ms() - VirtualClock().now_ms() < 3_000

    asyncio.run(scenario())


def test_a_hopeless_order_that_came_alone_dies_where_it_is() -> None:
    async def scenario() -> None:
        bench = Bench(lambda _: Hopeless("no"))
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))

        await bench.until_quiet()

        assert await bench.dead(TOPIC) == [ids_of(1)]

    asyncio.run(scenario())


def test_a_transient_failure_is_retried_alone_with_growing_waits_until_it_works() -> None:
    flaky, times = order_of(2).order_id, []

    async def scenario() -> None:
        def judge(order_id: str) -> Outcome:
            if order_id != flaky:
                return DONE
            times.append(bench.clock.now_ms())
            return DONE if len(times) == 5 else Retry("busy")

        bench = Bench(judge)
        await bench.broker.publish(TOPIC, body_of([order_of(number) for number in range(3)]))

        await bench.until_quiet()

        assert bench.done == Counter(ids_of(0, 1, 2))
        assert bench.calls[1:] == [[flaky]] * 4
        waits = [later - earlier for earlier, later in pairwise(times)]
        assert waits[0] >= 100  # 200 ms with half of it jitter
        assert waits[3] > waits[1]
        assert bench.consumer.orders_retried == 4

    asyncio.run(scenario())


def test_an_order_that_never_works_is_dead_lettered_after_the_last_attempt() -> None:
    async def scenario() -> None:
        bench = Bench(lambda _: Retry("always busy"), max_attempts=3)
        await bench.broker.publish(TOPIC, body_of([order_of(1), order_of(2)]))

        await bench.until_quiet()

        assert sorted(await bench.dead(RETRIES)) == sorted([[i] for i in ids_of(1, 2)])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"{}",
        b'{"tx_id":1,"orders":[]}',
        b"\xff\xfe",
        b'{"tx_id":"t","orders":[],"v":2}',
    ],
)
def test_a_body_that_cannot_be_read_is_dead_lettered_and_the_rest_goes_on(body: bytes) -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.broker.publish(TOPIC, body)
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))

        await bench.until_quiet()

        assert [letter.body async for letter in bench.broker.dead_letters(TOPIC, GROUP)] == [body]
        assert bench.done == Counter(ids_of(1))
        assert bench.consumer.messages_dead == 1

    asyncio.run(scenario())


def test_a_batch_without_orders_is_acknowledged() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.broker.publish(TOPIC, body_of([]))

        await bench.until_quiet()

        assert bench.calls == []

    asyncio.run(scenario())


def test_an_outcome_the_handler_forgot_is_a_retry() -> None:
    async def scenario() -> None:
        bench = Bench()
        answers = iter([{}, dict.fromkeys(ids_of(1), DONE)])

        async def forgetful(lines: list[OrderLine]) -> Mapping[str, Outcome]:
            return next(answers)

        bench.consumer._handle = forgetful
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))

        await bench.until_quiet()

        assert (bench.consumer.orders_retried, bench.consumer.orders_done) == (1, 1)

    asyncio.run(scenario())


def test_an_outage_of_the_store_loses_nothing_and_dead_letters_nothing_however_long() -> None:
    async def scenario() -> None:
        back_ms = VirtualClock().now_ms() + 3_600_000

        def judge(order_id: str) -> Outcome:
            if bench.clock.now_ms() < back_ms:
                raise StoreUnavailable("the database is away")
            return DONE

        bench = Bench(judge, max_attempts=FRESH_COPY_AT_ATTEMPT + 1)
        for start in range(0, 30, 10):
            await bench.broker.publish(TOPIC, body_of([order_of(start + n) for n in range(10)]))

        await bench.until_quiet()

        assert set(bench.done) == set(ids_of(*range(30)))
        assert await bench.dead(TOPIC) == await bench.dead(RETRIES) == []
        # An hour of waiting, not of hammering: the waits reach their cap of 30 s.
        assert len(bench.calls) < 400

    asyncio.run(scenario())


def test_trouble_is_told_while_it_lasts() -> None:
    async def scenario() -> None:
        away = True

        def judge(order_id: str) -> Outcome:
            if away:
                raise StoreUnavailable("the database is away")
            return DONE

        bench = Bench(judge)
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))
        async with bench.clock.running():
            running = asyncio.create_task(bench.consumer.run())

            async def troubled() -> bool:
                return bool(bench.consumer.trouble)

            await until(troubled)
            assert bench.consumer.trouble == "the database is away"
            assert 'saleops_consumer_up{topic="orders",group="payment"} 0' in (
                bench.consumer.metrics_text()
            )
            away = False

            async def well() -> bool:
                return not bench.consumer.trouble and await bench.quiet()

            await until(well)
            await bench.consumer.stop()
            await running

    asyncio.run(scenario())


def test_an_order_that_upsets_the_store_cannot_hold_back_the_others_of_its_batch() -> None:
    poison = order_of(5).order_id

    async def scenario() -> None:
        def judge(order_id: str) -> Outcome:
            if order_id == poison:
                raise StoreUnavailable("nonsense")
            return DONE

        bench = Bench(judge)
        await bench.broker.publish(TOPIC, body_of([order_of(number) for number in range(16)]))
        async with bench.clock.running():
            running = asyncio.create_task(bench.consumer.run())

            async def others_done() -> bool:
                return bench.consumer.orders_done == 15

            await until(others_done)
            await bench.consumer.stop()
            await running

    asyncio.run(scenario())


class Unsteady:
    """A broker of which every ``nth`` call of each kind fails: before it took effect, or after."""

    def __init__(self, broker: MemoryBroker, nth: int, *, after: bool) -> None:
        self._broker = broker
        self._nth = nth
        self._after = after
        self._calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._broker, name)

        async def call(*args: Any, **options: Any) -> Any:
            self._calls[name] += 1
            fails = self._calls[name] % self._nth == 0
            if fails and not self._after:
                raise StoreUnavailable(f"{name} failed")
            answer = await found(*args, **options)
            if fails:
                raise StoreUnavailable(f"the answer of {name} was lost")
            return answer

        return call


@pytest.mark.parametrize("after", [False, True])
def test_a_broker_that_fails_every_third_call_delays_but_loses_nothing(after: bool) -> None:
    failed: set[str] = set()

    def judge(order_id: str) -> Outcome:
        if order_id[0] in "01234567" and order_id not in failed:
            failed.add(order_id)
            return Retry("once")
        return DONE

    async def scenario() -> None:
        bench = Bench(judge)
        bench.consumer._broker = Unsteady(bench.broker, 3, after=after)  # type: ignore[assignment]
        for start in range(0, 60, 6):
            await bench.broker.publish(TOPIC, body_of([order_of(start + n) for n in range(6)]))

        await bench.until_quiet()

        assert set(bench.done) == set(ids_of(*range(60)))
        assert await bench.dead(TOPIC) == await bench.dead(RETRIES) == []

    asyncio.run(scenario())


def test_a_bug_in_the_broker_does_not_end_the_loop_and_does_not_spin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        bench = Bench()
        calls = 0

        class Buggy:
            async def receive(self, *args: Any, **options: Any) -> list[Message]:
                nonlocal calls
                calls += 1
                if bench.clock.now_ms() < VirtualClock().now_ms() + 60_000:
                    raise RuntimeError("a bug")
                return await bench.broker.receive(*args, **options)

            ack = bench.broker.ack

        bench.consumer._broker = Buggy()  # type: ignore[assignment]
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))
        with caplog.at_level(logging.CRITICAL):
            await bench.until_quiet()

        assert bench.done == Counter(ids_of(1))
        assert calls < 100

    asyncio.run(scenario())


def test_stop_lets_the_work_in_flight_finish_and_takes_no_more() -> None:
    async def scenario() -> None:
        bench = Bench()
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def slow(lines: list[OrderLine]) -> Mapping[str, Outcome]:
            begun.set()
            await may_end.wait()
            return {line.order_id: DONE for line in lines}

        bench.consumer._handle = slow
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))
        async with bench.clock.running():
            running = asyncio.create_task(bench.consumer.run())
            await begun.wait()
            stopping = asyncio.create_task(bench.consumer.stop())
            await asyncio.sleep(0)
            await bench.broker.publish(TOPIC, body_of([order_of(2)]))
            may_end.set()
            assert await stopping
            await running

        depth = await bench.broker.depth(TOPIC, GROUP)
        assert (depth.waiting, bench.consumer.orders_done) == (1, 1)

    asyncio.run(scenario())


def test_stop_gives_up_at_its_deadline_and_the_work_is_delivered_again() -> None:
    async def scenario() -> None:
        bench = Bench()
        begun = asyncio.Event()

        async def stuck(lines: list[OrderLine]) -> Mapping[str, Outcome]:
            begun.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        bench.consumer._handle = stuck
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))
        running = asyncio.create_task(bench.consumer.run())
        await begun.wait()
        assert not await bench.consumer.stop(within_s=0.01)
        await asyncio.gather(running, return_exceptions=True)

        bench.clock.set(bench.clock.now_ms() + 31_000)
        [again] = await bench.broker.receive(
            TOPIC, GROUP, max_messages=9, invisible_ms=1000, wait_ms=0
        )
        assert again.attempt == 2

    asyncio.run(scenario())


def test_stop_does_not_sit_out_a_backoff() -> None:
    async def scenario() -> None:
        def judge(order_id: str) -> Outcome:
            raise StoreUnavailable("away")

        bench = Bench(judge, backoff=Backoff(base_ms=3_600_000, cap_ms=3_600_000))
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))
        running = asyncio.create_task(bench.consumer.run())

        async def troubled() -> bool:
            return bool(bench.consumer.trouble)

        await until(troubled)
        before_ms = bench.clock.now_ms()
        async with bench.clock.running():
            assert await bench.consumer.stop()
        assert bench.clock.now_ms() - before_ms < 1_000
        await running

    asyncio.run(scenario())


def test_two_consumers_of_one_group_share_the_work() -> None:
    async def scenario() -> None:
        first = Bench(max_attempts=16)
        topics = MemoryTopics()
        first.broker = MemoryBroker(clock=first.clock, topics=topics)
        brokers = [MemoryBroker(clock=first.clock, topics=topics) for _ in range(2)]
        consumers = [
            Consumer(b, TOPIC, GROUP, first.handle, clock=first.clock, max_messages=2)
            for b in brokers
        ]
        for number in range(40):
            await first.broker.publish(TOPIC, body_of([order_of(number)]))
        async with first.clock.running():
            running = [asyncio.create_task(consumer.run()) for consumer in consumers]
            await until(first.quiet)
            await asyncio.gather(*(consumer.stop() for consumer in consumers), *running)

        assert first.done == Counter(ids_of(*range(40)))

    asyncio.run(scenario())


def test_backoff_doubles_up_to_its_cap_and_jitters_by_half() -> None:
    backoff = Backoff(base_ms=100, cap_ms=1_000)

    assert [backoff.delay_ms(n, 1.0) for n in (1, 2, 3, 4, 5, 999)] == [
        100,
        200,
        400,
        800,
        1000,
        1000,
    ]
    assert backoff.delay_ms(3, 0.0) == 200


def test_an_outage_of_the_broker_is_one_line_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        bench = Bench(lambda order_id: DONE)
        receive = bench.broker.receive
        back_ms = bench.clock.now_ms() + 20_000

        async def away(*words: Any, **more: Any) -> Any:
            if bench.clock.now_ms() < back_ms:
                raise StoreUnavailable("nobody listens there")
            return await receive(*words, **more)

        bench.broker.receive = away  # type: ignore[method-assign]
        await bench.broker.publish(TOPIC, body_of([order_of(1)]))
        await bench.until_quiet()
        assert bench.done

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    told = [one.getMessage() for one in caplog.records]
    assert sum("nobody listens there" in one for one in told) == 1
    assert sum("answers again" in one for one in told) <= 1
