"""Where brokers are tried: instances over one store, on a clock that moves only when a test says so."""

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from saleops.ports.broker import Broker, Depth, Half, Message, Resolution
from saleops.ports.clock import Clock

# Real seconds after which a scenario that waits for something is told to be stuck.
SCENARIO_S = 30.0
FOREVER_MS = 3_600_000  # of the clock's time: a receive that must not give up
RULES = {"check_after_ms": 1_000, "check_interval_ms": 1_000, "check_max": 3, "max_attempts": 3}

TOPIC, OTHER_TOPIC = "orders", "paid"
GROUP, OTHER_GROUP = "payment", "audit"
DAY_MS = 24 * 3_600_000
QUIET = Depth(halves=0, delayed=0, waiting=0, in_flight=0, dead=0)

Make = Callable[..., Broker]


class HandClock:
    """A clock that stands still until ``advance``."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._number = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_ms = self._now_ms + math.ceil(seconds * 1000)
        heapq.heappush(self._sleepers, (due_ms, next(self._number), wake))
        await wake

    def advance(self, ms: int) -> None:
        self._now_ms += ms
        while self._sleepers and self._sleepers[0][0] <= self._now_ms:
            wake = heapq.heappop(self._sleepers)[2]
            if not wake.done():
                wake.set_result(None)


class BrokerLab:
    """Opens brokers that share one store and one clock, and closes them all in the end.

    ``make(clock=..., **rules)`` opens one. An implementation on real time passes a lab with its own ``pass_time``.
    """

    def __init__(self, make: Make, clock: HandClock | None = None) -> None:
        self.clock = clock or HandClock()
        self._make = make
        self._opened: list[Broker] = []

    def open(self, **rules: int) -> Broker:
        """One more instance, as another process would have; patient as RULES says unless told otherwise."""
        clock: Clock = self.clock
        broker = self._make(clock=clock, **{**RULES, **rules})
        self._opened.append(broker)
        return broker

    async def pass_time(self, ms: int) -> None:
        self.clock.advance(ms)
        await asyncio.sleep(0)

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        asyncio.run(self._play(scenario))

    async def _play(self, scenario: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(SCENARIO_S):
                await scenario()
        finally:
            for broker in self._opened:
                await broker.close()


class Answers:
    """A checker that answers by tx_id, keeps what it was asked, and lets a test wait for the n-th question."""

    def __init__(self, answers: dict[str, Resolution] | None = None) -> None:
        self.asked: list[Half] = []
        self._answers = answers or {}
        self._news = asyncio.Condition()

    async def __call__(self, half: Half) -> Resolution:
        async with self._news:
            self.asked.append(half)
            self._news.notify_all()
        return self._answers.get(half.tx_id, Resolution.UNKNOWN)

    async def asked_count(self, questions: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.asked) >= questions)

    @property
    def tx_ids(self) -> list[str]:
        return [half.tx_id for half in self.asked]


async def take(broker: Broker, topic: str, group: str, **wishes: Any) -> list[Message]:
    """What is there now, without waiting; hidden for ten seconds."""
    wishes = {"max_messages": 32, "invisible_ms": 10_000, "wait_ms": 0, **wishes}
    return await broker.receive(topic, group, **wishes)


async def take_one(broker: Broker, topic: str, group: str, **wishes: Any) -> Message:
    """The next message, waiting for it."""
    messages = await take(
        broker, topic, group, **{"max_messages": 1, "wait_ms": FOREVER_MS, **wishes}
    )
    assert len(messages) == 1
    return messages[0]


async def drain(broker: Broker, topic: str, group: str, messages: int) -> list[bytes]:
    """Receive and acknowledge until ``messages`` bodies are there."""
    bodies: list[bytes] = []
    while len(bodies) < messages:
        got = await take(broker, topic, group, wait_ms=FOREVER_MS)
        bodies += [message.body for message in got]
        await broker.ack(got)
    return bodies
