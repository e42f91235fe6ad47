"""Where brokers are tried: instances over one store, on a clock that moves only when a test says so.

A server with a clock of its own has a ``WallLab``: time passes in earnest there, and what the claims leave open (how soon
after its time a message comes, how soon a figure is right) is waited for instead of asked for at once.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from saleops.ports.broker import Broker, Depth, Half, Message, Resolution
from saleops.ports.clock import Clock, WallClock

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

    counts_late_acks = True
    """An acknowledgement after the invisible time counts as long as nobody else got the message."""
    knows_used_tx_ids = True
    """A tx_id that another process, or a long gone one, used is refused."""
    keeps_time = True
    """What is due is there at once, and between two steps of the clock nothing happens."""
    asks_exactly = True
    """A half is asked about when its time has come, not a moment later, and a check more than once in its interval never
    happens. Otherwise the server has its own pace."""
    check_after_ms = RULES["check_after_ms"]
    """A half that is younger is not asked about."""
    tick_ms = 100
    """Messages whose times are so far apart come in the order of their times."""
    scenario_s = SCENARIO_S

    def span(self, ms: int) -> int:
        """The time to use where a claim is about any long one: ``ms``, or less where time passes in earnest. Longer
        ones stay longer; 1 less than it is "just short of it"."""
        return ms

    def __init__(self, make: Make, clock: HandClock | None = None) -> None:
        self.clock: Any = clock or HandClock()
        self._make = make
        self._opened: list[Broker] = []

    def about(self, ms: int) -> int:
        """``ms``, for a comparison with what a broker says the time was."""
        return ms

    async def expect_depth(
        self, broker: Broker, topic: str, group: str, expected: Depth | None = None, **figures: int
    ) -> None:
        """All figures are as ``expected``, or those that are named are."""
        found = await broker.depth(topic, group)
        assert _asked_for(found, expected, figures) == (expected or figures)

    def open(self, **rules: int) -> Broker:
        """One more instance, as another process would have; patient as RULES says unless told otherwise."""
        clock: Clock = self.clock
        broker = self._make(clock=clock, **{**RULES, **rules})
        self._opened.append(broker)
        return broker

    async def pass_time(self, ms: int) -> None:
        self.clock.advance(ms)
        await asyncio.sleep(0)

    async def pass_round(self) -> None:
        """Let the time of a check come. A server of its own has rounds of its own: who waits for a question gets it."""
        await self.pass_time(FOREVER_MS)

    def limit_checks(self, check_max: int) -> None:
        """Give up after ``check_max`` checks from now on, where that is a setting of the server."""

    async def expect_to_die(self, broker: Broker, topic: str, group: str, messages: int) -> None:
        """Nothing is handed out any more, and the group has ``messages`` dead letters: they move at a receive."""
        assert await take(broker, topic, group) == []
        await self.expect_depth(broker, topic, group, dead=messages)

    async def take_some(
        self, broker: Broker, topic: str, group: str, messages: int, *, invisible_ms: int = 10_000
    ) -> list[Message]:
        """What is there, up to ``messages``."""
        taken: list[Message] = []
        while len(taken) < messages and (
            got := await take(
                broker, topic, group, max_messages=messages - len(taken), invisible_ms=invisible_ms
            )
        ):
            taken += got
        return taken

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        asyncio.run(self._play(scenario))

    async def _play(self, scenario: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(self.scenario_s):
                await scenario()
        finally:
            for broker in self._opened:
                await broker.close()


class About(int):
    """A time, give or take what a server and a network take."""

    TOLERANCE_MS = 15_000

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and abs(int(self) - int(other)) <= self.TOLERANCE_MS

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


class WallLab(BrokerLab):
    """For a server on its own clock: RocketMQ.

    ``pass_time(n)`` sleeps. A time that ends in 999 means "just short of it": the sleep then ends well before, because what
    is checked is that nothing came early. What is due then is waited for, with patience: a message that comes again takes
    the server up to three seconds more. An hour or a day is cut to ``LONG_S``: long enough to see what comes by mistake.
    """

    counts_late_acks = False
    knows_used_tx_ids = False
    keeps_time = False
    asks_exactly = False

    tick_ms = 1_000  # RocketMQ's timer knows whole seconds
    scenario_s = 90.0
    SHORT_S, LONG_S, PATIENCE_S = 1.5, 4.0, 30.0
    CHECK_MAX = 600  # the server's, when a test does not care

    def __init__(
        self,
        make: Make,
        set_check_max: Callable[[int], Coroutine[Any, Any, None]],
        *,
        check_after_ms: int,
    ) -> None:
        super().__init__(make)
        self.check_after_ms = check_after_ms
        self.clock = WallClock()
        self._set_check_max = set_check_max
        self._check_max = self.CHECK_MAX
        self._owed_s = 0.0

    def open(self, **rules: int) -> Broker:
        # When and how often a half is asked about is the server's setting, one for all its clients.
        if "check_max" in rules:
            self._set(rules["check_max"])
        broker = self._make(max_attempts={**RULES, **rules}["max_attempts"])
        self._opened.append(broker)
        return broker

    def limit_checks(self, check_max: int) -> None:
        self._set(check_max)

    def _set(self, check_max: int) -> None:
        if check_max != self._check_max:
            self._check_max = check_max
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, self._set_check_max(check_max)).result()

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        try:
            super().run(scenario)
        finally:
            self._set(self.CHECK_MAX)

    def about(self, ms: int) -> int:
        return About(ms)

    def span(self, ms: int) -> int:
        return 500 if ms <= 1_000 else 3_000 if ms <= 10_000 else 6_000

    async def pass_round(self) -> None:
        await asyncio.sleep(0)

    async def pass_time(self, ms: int) -> None:
        seconds = ms / 1000 + self._owed_s
        self._owed_s = 0.0
        if ms % 1000 == 999:
            self._owed_s = min(self.SHORT_S, seconds)
            await asyncio.sleep(seconds - self._owed_s)
        elif seconds > 600:
            await asyncio.sleep(self.LONG_S)
        else:
            await asyncio.sleep(seconds)

    async def expect_depth(
        self, broker: Broker, topic: str, group: str, expected: Depth | None = None, **figures: int
    ) -> None:
        give_up_s = time.monotonic() + self.PATIENCE_S
        while True:
            found = await broker.depth(topic, group)
            if _asked_for(found, expected, figures) == (expected or figures):
                return
            assert time.monotonic() < give_up_s, f"{found} is not {expected or figures}"
            await asyncio.sleep(0.1)

    async def expect_to_die(self, broker: Broker, topic: str, group: str, messages: int) -> None:
        give_up_s = time.monotonic() + self.PATIENCE_S
        while (found := await broker.depth(topic, group)).dead < messages:
            assert time.monotonic() < give_up_s, f"{found} where {messages} should be dead"
            assert await take(broker, topic, group, wait_ms=500) == []
        assert await take(broker, topic, group) == []
        await self.expect_depth(broker, topic, group, dead=messages)

    async def take_some(
        self, broker: Broker, topic: str, group: str, messages: int, *, invisible_ms: int = 60_000
    ) -> list[Message]:
        taken: list[Message] = []
        while len(taken) < messages:
            got = await take(broker, topic, group, invisible_ms=invisible_ms, wait_ms=10_000)
            assert got, f"only {len(taken)} of {messages} messages came"
            taken += got
        return taken


def _asked_for(
    found: Depth, expected: Depth | None, figures: dict[str, int]
) -> Depth | dict[str, int]:
    return found if expected else {name: getattr(found, name) for name in figures}


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
