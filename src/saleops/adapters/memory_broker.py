"""The broker in one process's memory, for tests and simulations: same promises, nothing kept after the process.

It runs on the clock it is given and on nothing else, so with a manual clock a scenario plays the same every time.
Several brokers over one ``MemoryTopics`` are like several processes on one server.
"""

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from saleops.adapters.broker_rules import (
    POLL_MS,
    RECEIVE_BYTES_MAX,
    BrokerRules,
    check_body,
    check_delivery_time,
    check_name,
    check_receive,
    check_retry_delay,
    check_tx_id,
)
from saleops.adapters.check_back import LEASE_MAX, CheckBack, Lease
from saleops.domain.messages import replay_topic
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Checker, DeadLetter, Depth, Half, Message
from saleops.ports.clock import Clock, WallClock

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Half:
    body: bytes
    born_ms: int
    next_ms: int
    checks: int = 0


@dataclass(slots=True)
class _Delivery:
    """A message in flight. ``held`` is False once its consumer gave it back: its receipt is stale then."""

    again_ms: int
    attempt: int
    held: bool = True


@dataclass(slots=True)
class _Group:
    read: int = 0  # how far into the log
    flight: dict[int, _Delivery] = field(default_factory=dict)  # by index into the log
    again: list[tuple[int, int]] = field(
        default_factory=list
    )  # heap of (again_ms, index), some outdated
    dead: list[DeadLetter] = field(default_factory=list)

    def hide(self, index: int, until_ms: int, attempt: int, *, held: bool) -> None:
        self.flight[index] = _Delivery(until_ms, attempt, held)
        heapq.heappush(self.again, (until_ms, index))

    def first_again_ms(self) -> int | None:
        """When the next message in flight may come again. Drops what is outdated on the way."""
        while self.again:
            again_ms, index = self.again[0]
            delivery = self.flight.get(index)
            if delivery and delivery.again_ms == again_ms:
                return again_ms
            heapq.heappop(self.again)
        return None


@dataclass(slots=True)
class _Topic:
    halves: dict[str, _Half] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    log: list[bytes] = field(default_factory=list)
    delayed: list[tuple[int, int, bytes]] = field(
        default_factory=list
    )  # heap of (at, number, body)
    sent_count: int = 0
    groups: dict[str, _Group] = field(default_factory=dict)
    discarded: list[Half] = field(default_factory=list)

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())

    def move_due(self, now: int) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self.log.append(heapq.heappop(self.delayed)[2])


class MemoryTopics:
    """What a broker's server would hold, and the bell that wakes its waiting consumers."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._bell = asyncio.Event()

    def topic(self, name: str) -> _Topic:
        check_name("topic", name)
        return self._topics.setdefault(name, _Topic())

    def clear(self) -> None:
        self._topics.clear()

    def ring(self) -> None:
        """Something new is there: everybody who waits looks again."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def rung(self) -> None:
        await self._bell.wait()


class MemoryBroker:
    """One sale's messages in memory. The rules are BrokerRules'."""

    commits_once = True

    def __init__(
        self,
        *,
        check_after_ms: int = 6_000,
        check_interval_ms: int = 5_000,
        check_max: int = 15,
        max_attempts: int = 16,
        clock: Clock | None = None,
        topics: MemoryTopics | None = None,
    ) -> None:
        self._rules = BrokerRules(check_after_ms, check_interval_ms, check_max, max_attempts)
        self._clock = clock or WallClock()
        self._topics = topics or MemoryTopics()
        self._checks: list[CheckBack] = []
        self._closed = False

    def _topic(self, name: str) -> _Topic:
        if self._closed:
            raise StoreUnavailable("the broker was closed; nothing was sent")
        return self._topics.topic(name)

    def _group(self, topic: str, name: str) -> _Group:
        check_name("group", name)
        return self._topic(topic).group(name)

    # -- half messages -------------------------------------------------------------------------------------

    async def send_half(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Half:
        # Messages have no properties here; a trace travels in the body.
        check_tx_id(tx_id)
        check_body(body)
        place = self._topic(topic)
        if tx_id in place.used:
            raise ValueError(f"tx_id {tx_id!r} was used before on {topic}")
        place.used.add(tx_id)
        now = self._clock.now_ms()
        place.halves[tx_id] = _Half(body, now, now + self._rules.check_after_ms)
        return Half(topic=topic, tx_id=tx_id, body=body, born_ms=now)

    async def commit(self, half: Half) -> None:
        place = self._topic(half.topic)
        if kept := place.halves.pop(half.tx_id, None):
            place.log.append(kept.body)
            self._topics.ring()

    async def rollback(self, half: Half) -> None:
        self._topic(half.topic).halves.pop(half.tx_id, None)

    async def start_checks(self, topics: Sequence[str], checker: Checker) -> None:
        for topic in topics:
            check_name("topic", topic)
        loop = CheckBack(self, topics, checker, clock=self._clock)
        loop.start()
        self._checks.append(loop)

    async def lease(self, topic: str) -> Lease:
        """The halves to ask about now; they are not due again before the next interval is over."""
        place, rules, now = self._topic(topic), self._rules, self._clock.now_ms()
        due = sorted(
            (half.next_ms, tx_id) for tx_id, half in place.halves.items() if half.next_ms <= now
        )
        halves, discarded = [], []
        for _, tx_id in due[:LEASE_MAX]:
            half = place.halves[tx_id]
            if half.checks >= rules.check_max:
                del place.halves[tx_id]
                discarded.append(tx_id)
                place.discarded.append(Half(topic, tx_id, half.body, half.born_ms, half.checks))
                continue
            pause_ms = min(rules.check_interval_ms * 2**half.checks, rules.check_interval_max_ms)
            half.checks += 1
            half.next_ms = now + pause_ms
            halves.append(Half(topic, tx_id, half.body, half.born_ms, half.checks))
        next_ms = min((half.next_ms for half in place.halves.values()), default=None)
        return Lease(halves, discarded, next_ms)

    # -- normal messages -----------------------------------------------------------------------------------

    async def publish(self, topic: str, body: bytes, *, deliver_at_ms: int | None = None) -> None:
        check_body(body)
        place, now = self._topic(topic), self._clock.now_ms()
        visible_ms = check_delivery_time(deliver_at_ms, now)
        if visible_ms <= now:
            place.log.append(body)
        else:
            place.sent_count += 1
            heapq.heappush(place.delayed, (visible_ms, place.sent_count, body))
        self._topics.ring()

    async def receive(
        self, topic: str, group: str, *, max_messages: int, invisible_ms: int, wait_ms: int
    ) -> list[Message]:
        wanted = check_receive(max_messages, invisible_ms, wait_ms)
        give_up_ms = self._clock.now_ms() + wait_ms
        await asyncio.sleep(0)  # or one busy consumer would starve everybody else on the loop
        while True:
            now = self._clock.now_ms()
            messages = self._hand_out(topic, group, wanted, now, now + invisible_ms)
            if messages or now >= give_up_ms:
                return messages
            pauses = [give_up_ms - now, POLL_MS]
            again_ms = self._group(topic, group).first_again_ms()
            if again_ms is not None:
                pauses.append(again_ms - now)
            if delayed := self._topic(topic).delayed:
                pauses.append(delayed[0][0] - now)
            await self._wait_for_news(min(pauses))

    def _hand_out(
        self, topic: str, name: str, wanted: int, now: int, until_ms: int
    ) -> list[Message]:
        place, group = self._topic(topic), self._group(topic, name)
        place.move_due(now)
        messages: list[Message] = []
        bytes_left = RECEIVE_BYTES_MAX

        def deliver(index: int, attempt: int) -> None:
            nonlocal bytes_left
            body = place.log[index]
            bytes_left -= len(body)
            group.hide(index, until_ms, attempt, held=True)
            receipt = f"{index}:{attempt}"
            messages.append(Message(topic, name, f"{topic}/{index}", body, attempt, receipt))

        while len(messages) < wanted and bytes_left > 0:
            again_ms = group.first_again_ms()
            if again_ms is None or again_ms > now:
                break
            index = heapq.heappop(group.again)[1]
            attempt = group.flight[index].attempt
            if attempt < self._rules.max_attempts:
                deliver(index, attempt + 1)
            else:
                self._bury(topic, name, index, f"not acknowledged in {attempt} deliveries")
        while len(messages) < wanted and bytes_left > 0 and group.read < len(place.log):
            group.read += 1
            deliver(group.read - 1, 1)
        return messages

    async def _wait_for_news(self, pause_ms: int) -> None:
        news = asyncio.create_task(self._topics.rung())
        nap = asyncio.create_task(self._clock.sleep(pause_ms / 1000))
        try:
            await asyncio.wait((news, nap), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            nap.cancel()
            await asyncio.gather(news, nap, return_exceptions=True)

    def _held(self, message: Message) -> tuple[_Group, int] | None:
        """The group and log index behind a receipt; None when it is stale."""
        index, colon, attempt = message.receipt.partition(":")
        if not colon:
            raise ValueError(f"{message.receipt!r} is no receipt of this broker")
        group = self._group(message.topic, message.group)
        delivery = group.flight.get(int(index))
        if delivery is None or not delivery.held or delivery.attempt != int(attempt):
            return None
        return group, int(index)

    async def ack(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if held := self._held(message):
                group, index = held
                del group.flight[index]

    async def retry_later(self, message: Message, *, delay_ms: int) -> None:
        check_retry_delay(delay_ms)
        if held := self._held(message):
            group, index = held
            again_ms = self._clock.now_ms() + delay_ms
            group.hide(index, again_ms, message.attempt, held=False)
            self._topics.ring()

    async def dead_letter(self, message: Message, *, reason: str) -> None:
        if held := self._held(message):
            self._bury(message.topic, message.group, held[1], reason)

    def _bury(self, topic: str, name: str, index: int, reason: str) -> None:
        group = self._group(topic, name)
        attempt = group.flight.pop(index).attempt
        body, now = self._topic(topic).log[index], self._clock.now_ms()
        group.dead.append(DeadLetter(f"{topic}/{index}", body, reason, attempt, now, str(index)))
        log.warning("message %s/%d is a dead letter of %s now: %s", topic, index, name, reason)

    # -- looking -------------------------------------------------------------------------------------------

    async def depth(self, topic: str, group: str) -> Depth:
        place, own, now = self._topic(topic), self._group(topic, group), self._clock.now_ms()
        due = sum(at <= now for at, _, _ in place.delayed)
        again = sum(delivery.again_ms <= now for delivery in own.flight.values())
        return Depth(
            halves=len(place.halves),
            delayed=len(place.delayed) - due,
            waiting=len(place.log) - own.read + due + again,
            in_flight=len(own.flight) - again,
            dead=len(own.dead),
        )

    async def browse(self, topic: str) -> AsyncIterator[bytes]:
        for body in list(self._topic(topic).log):
            yield body

    async def dead_letters(self, topic: str, group: str) -> AsyncIterator[DeadLetter]:
        for letter in list(self._group(topic, group).dead):
            yield letter

    async def replay(self, topic: str, group: str, letter: DeadLetter) -> bool:
        dead = self._group(topic, group).dead
        for place, kept in enumerate(dead):
            if kept.receipt == letter.receipt:
                await self.publish(replay_topic(topic), kept.body)
                del dead[place]
                return True
        return False

    async def drop(self, topic: str, group: str, letter: DeadLetter) -> bool:
        own = self._group(topic, group)
        kept = [one for one in own.dead if one.receipt != letter.receipt]
        dropped = len(kept) < len(own.dead)
        own.dead = kept
        return dropped

    async def open_halves(self, topic: str) -> AsyncIterator[Half]:
        for tx_id, half in list(self._topic(topic).halves.items()):
            yield Half(topic, tx_id, half.body, half.born_ms, half.checks)

    async def discarded_count(self, topic: str) -> int:
        """How many halves of ``topic`` were given up unresolved."""
        return len(self._topic(topic).discarded)

    async def discarded(self, topic: str) -> AsyncIterator[Half]:
        """The halves of ``topic`` that were given up unresolved, oldest first."""
        for half in list(self._topic(topic).discarded):
            yield half

    async def forget_discarded(self, topic: str, tx_ids: Sequence[str]) -> None:
        place, forgotten = self._topic(topic), set(tx_ids)
        place.discarded = [half for half in place.discarded if half.tx_id not in forgotten]

    # -- the whole -----------------------------------------------------------------------------------------

    async def clear(self) -> None:
        self._topics.clear()

    async def ping(self) -> None:
        if self._closed:
            raise StoreUnavailable("the broker was closed")

    async def close(self) -> None:
        self._closed = True
        while self._checks:
            await self._checks.pop().stop()
        self._topics.ring()
