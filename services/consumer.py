"""The receive loop that payment, shipping and the cancelling of unpaid orders share.

A message holds the orders of one group commit. Several messages are merged into one call of the handler, so one
database transaction serves them all; the handler answers for each order by itself:

    DONE              acknowledged with its message
    Retry(reason)     sent on alone under the retry topic, delayed; there the broker counts its attempts and
                      dead-letters it after the last
    Hopeless(reason)  dead-lettered at once, alone (a batch is split first)

Whatever is sent on is published before its message is acknowledged: a crash in between makes duplicates, never
losses, and handlers are idempotent on the order id. When a store or the broker is out of reach the whole message
comes again later and the loop itself slows down. An outage is nobody's fault, so it never dead-letters anything:
before the broker's attempts run out a fresh copy takes the message's place (in two halves, so that one order that
upsets the store cannot hold the others back for ever). A bug in a handler is hunted down by halving: the one order
that raises is retried alone, the rest are done.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from saleops.domain.messages import (
    OrderBatch,
    OrderLine,
    decode_batch,
    encode_batch,
    retry_topic,
)
from saleops.domain.trace import in_words
from saleops.errors import UpstreamError
from saleops.ports.broker import Broker, Message
from saleops.ports.clock import Clock, WallClock
from saleops.services.consumer_metrics import metrics_text

log = logging.getLogger("saleops.services.consumer")

BODY_VERSION = 1
ALONE_FROM_ATTEMPT = 3
"""From this attempt on a message is not merged with others: it may be the one that spoils their call."""

FRESH_COPY_AT_ATTEMPT = 5
"""At this attempt a message that met an outage is replaced by a copy whose attempts start again."""

PUBLISHES_AT_ONCE = 64


class Done(msgspec.Struct, frozen=True):
    """Nothing is left to do for this order."""


class Retry(msgspec.Struct, frozen=True):
    """It did not work this time and may work later."""

    reason: str


class Hopeless(msgspec.Struct, frozen=True):
    """It will never work: a person has to look."""

    reason: str


DONE = Done()
Outcome = Done | Retry | Hopeless
Handle = Callable[[list[OrderLine]], Awaitable[Mapping[str, Outcome]]]
Act = Callable[[], Awaitable[None]]


class Backoff(msgspec.Struct, frozen=True):
    """Doubling waits with jitter: attempt n waits half to all of ``base_ms * 2**(n-1)``, at most ``cap_ms``."""

    base_ms: int = 200
    cap_ms: int = 30_000

    def delay_ms(self, attempt: int, chance: float) -> int:
        """``chance`` is a random number in [0, 1)."""
        full = min(self.cap_ms, self.base_ms * 2 ** min(max(attempt, 1) - 1, 20))
        return int(full * (0.5 + chance / 2))


class _Delivery(msgspec.Struct, frozen=True):
    message: Message
    batch: OrderBatch


class Consumer:
    """Feeds ``handle`` with the orders of ``topic`` and of its retry topic. ``run`` until ``stop``."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        group: str,
        handle: Handle,
        *,
        clock: Clock | None = None,
        max_messages: int = 32,
        orders_max: int = 1024,
        invisible_ms: int = 30_000,
        wait_ms: int = 500,
        lanes: int = 1,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
        arrived: Callable[[list[str]], Awaitable[None]] | None = None,
    ) -> None:
        """``arrived`` hears the tx_ids of messages of ``topic`` (not of its retry topic) before they are acknowledged.
        ``orders_max`` bounds one call of ``handle`` (a larger message still goes in one piece), ``lanes`` is how
        many loops read ``topic`` (the retry topic has one), ``wait_ms`` how long a receive waits for a message."""
        self.topic = topic
        self.group = group
        self.messages = 0
        self.orders_done = 0
        self.orders_retried = 0
        self.orders_dead = 0
        self.messages_dead = 0
        self.messages_put_off = 0
        self._broker = broker
        self._handle = handle
        self._clock: Clock = clock or WallClock()
        self._max_messages = max_messages
        self._orders_max = orders_max
        self._invisible_ms = invisible_ms
        self._wait_ms = wait_ms
        self._lanes = lanes
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._arrived = arrived
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: dict[str, str] = {}
        self._unanswered: set[str] = set()  # lanes that the broker did not answer last time

    @property
    def trouble(self) -> str:
        """Why the loop is not getting on just now; empty when it is."""
        return "; ".join(sorted(set(self._trouble.values())))

    async def run(self) -> None:
        """Work until ``stop``. Cancelling it is a crash: what was in flight comes again."""
        topics = [*[self.topic] * self._lanes, retry_topic(self.topic)]
        self._tasks = [
            asyncio.create_task(
                self._lane(topic, f"{topic}/{number}"), name=f"{self.group}:{topic}"
            )
            for number, topic in enumerate(topics)
        ]
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self, *, within_s: float = 10.0) -> bool:
        """Receive nothing more, finish what is in flight. False: time ran out, the rest will be delivered again."""
        self._stopping.set()
        if not self._tasks:
            return True
        _, late = await asyncio.wait(self._tasks, timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            log.warning(
                "%s: stopped with work in flight after %.1f s; it will be delivered again",
                self.group,
                within_s,
            )
            await asyncio.gather(*late, return_exceptions=True)
        return not late

    # -- the loop ---------------------------------------------------------------------------------------------
    async def _lane(self, topic: str, name: str) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                messages = await self._broker.receive(
                    topic,
                    self.group,
                    # After a failure one message at a time asks whether the trouble is over.
                    max_messages=1 if failures else self._max_messages,
                    invisible_ms=self._invisible_ms,
                    wait_ms=self._wait_ms,
                )
                trouble = await self._work(messages) if messages else ""
            except UpstreamError as error:
                trouble = error.message
                # One line an outage and group, not one for each lane and try.
                if not self._unanswered or failures % 32 == 31:
                    log.warning("%s: the broker failed, it is asked again: %s", name, error.message)
                self._unanswered.add(name)
            except Exception as error:
                # Not acknowledged, so it comes again; the pause below keeps a bug from spinning.
                trouble = f"{type(error).__name__}: {error}"
                log.exception("%s: the receive loop failed", name)
            if not trouble:
                self._answered(name)
                failures = 0
                self._trouble.pop(name, None)
                continue
            failures += 1
            self._trouble[name] = trouble
            await self._pause(self._delay_ms(failures))

    def _answered(self, name: str) -> None:
        if name in self._unanswered:
            self._unanswered.discard(name)
            if not self._unanswered:
                log.warning("%s: the broker answers again", self.group)

    def _delay_ms(self, attempt: int) -> int:
        return self._backoff.delay_ms(attempt, self._chance())

    async def _pause(self, delay_ms: int) -> None:
        """Sleep, unless ``stop`` is called meanwhile."""
        sleeping = asyncio.create_task(self._sleep(delay_ms))
        stopping = asyncio.create_task(self._stopped())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
            await asyncio.gather(sleeping, stopping, return_exceptions=True)

    async def _sleep(self, delay_ms: int) -> None:
        await self._clock.sleep(delay_ms / 1000)

    async def _stopped(self) -> None:
        await self._stopping.wait()

    # -- the work ---------------------------------------------------------------------------------------------
    async def _work(self, messages: Sequence[Message]) -> str:
        """Handle one receive. Returns what stood in the way of it, empty when nothing did."""
        self.messages += len(messages)
        deliveries: list[_Delivery] = []
        empty: list[Message] = []
        for message in messages:
            batch = _decoded(message.body)
            if isinstance(batch, str):
                log.error("%s: message %s: %s", self.group, message.message_id, batch)
                await self._broker.dead_letter(message, reason=batch)
                self.messages_dead += 1
            elif batch.orders:
                deliveries.append(_Delivery(message, batch))
            else:
                empty.append(message)
        if empty:
            await self._broker.ack(empty)
        trouble = ""
        for group in self._merged(deliveries):
            trouble = await self._work_group(group) or trouble
        return trouble

    def _merged(self, deliveries: Iterable[_Delivery]) -> Iterable[list[_Delivery]]:
        """Deliveries that share a call: not too many orders, none that was in trouble before, no two different lines
        for one order (a payment with another token is another wish)."""
        group: list[_Delivery] = []
        lines: dict[str, OrderLine] = {}
        for delivery in deliveries:
            if delivery.message.attempt >= ALONE_FROM_ATTEMPT:
                yield [delivery]
                continue
            orders = delivery.batch.orders
            clash = any(lines.get(line.order_id, line) != line for line in orders)
            if group and (clash or len(lines) + len(orders) > self._orders_max):
                yield group
                group, lines = [], {}
            group.append(delivery)
            lines.update((line.order_id, line) for line in orders)
        if group:
            yield group

    async def _work_group(self, group: Sequence[_Delivery]) -> str:
        lines = {line.order_id: line for delivery in group for line in delivery.batch.orders}
        try:
            # A handler that hangs past its messages' invisibility works beside their redelivery: give it up.
            async with asyncio.timeout(2 * self._invisible_ms / 1000):
                outcomes = await self._outcomes(list(lines.values()))
                if self._arrived is not None and group[0].message.topic == self.topic:
                    await self._arrived(sorted({delivery.batch.tx_id for delivery in group}))
        except (UpstreamError, TimeoutError) as error:
            reason = error.message if isinstance(error, UpstreamError) else "the handler timed out"
            log.warning("%s: %d messages put off: %s", self.group, len(group), reason)
            await self._put_off(group)
            return reason
        await self._settle(group, outcomes)
        return ""

    async def _outcomes(self, lines: list[OrderLine]) -> dict[str, Outcome]:
        """The handler's answer for every line. A bug in it costs only the line that meets it."""
        try:
            answered = await self._handle(lines)
        except (UpstreamError, TimeoutError):
            raise
        except Exception as error:
            if len(lines) > 1:
                middle = len(lines) // 2
                first = await self._outcomes(lines[:middle])
                return first | await self._outcomes(lines[middle:])
            log.exception("%s: order %s failed", self.group, _named(lines[0]))
            return {lines[0].order_id: Retry(f"{type(error).__name__}: {error}")}
        silent = Retry("the handler gave no outcome")
        return {line.order_id: answered.get(line.order_id, silent) for line in lines}

    async def _settle(self, group: Sequence[_Delivery], outcomes: Mapping[str, Outcome]) -> None:
        """Send on what failed, then acknowledge. In this order, so that a crash in between loses nothing."""
        failed = {key: how for key, how in outcomes.items() if not isinstance(how, Done)}
        sent_on: dict[str, Act] = {}
        verdicts: list[Act] = []
        done: list[Message] = []
        for message, batch in ((delivery.message, delivery.batch) for delivery in group):
            alone = batch.orders[0].order_id if len(batch.orders) == 1 else ""
            how = failed.get(alone)
            if isinstance(how, Hopeless):
                verdicts.append(partial(self._bury, message, batch.orders[0], how.reason))
                continue
            if isinstance(how, Retry) and message.topic == retry_topic(self.topic):
                verdicts.append(partial(self._try_again, message, batch.orders[0], how.reason))
                continue
            for line in batch.orders:
                how = failed.get(line.order_id)
                if how is not None and line.order_id not in sent_on:
                    sent_on[line.order_id] = partial(self._send_on, batch.tx_id, line, how)
            done.append(message)
        await _in_bunches([*sent_on.values(), *verdicts])
        if done:
            await self._broker.ack(done)
        self.orders_done += len(outcomes) - len(failed)

    async def _send_on(self, tx_id: str, line: OrderLine, how: Outcome) -> None:
        """Publish one order of a batch alone under the retry topic."""
        due_ms: int | None = None  # what is hopeless goes on at once, to die alone
        if isinstance(how, Retry):
            due_ms = self._clock.now_ms() + self._delay_ms(1)
            self.orders_retried += 1
            log.warning("%s: order %s will be retried: %s", self.group, _named(line), how.reason)
        body = encode_batch(OrderBatch(tx_id, [line]))
        await self._broker.publish(retry_topic(self.topic), body, deliver_at_ms=due_ms)

    async def _try_again(self, message: Message, line: OrderLine, reason: str) -> None:
        log.warning(
            "%s: order %s failed its attempt %d: %s",
            self.group,
            _named(line),
            message.attempt,
            reason,
        )
        await self._broker.retry_later(message, delay_ms=self._delay_ms(message.attempt))
        self.orders_retried += 1

    async def _bury(self, message: Message, line: OrderLine, reason: str) -> None:
        log.error("%s: order %s is hopeless: %s", self.group, _named(line), reason)
        await self._broker.dead_letter(message, reason=reason)
        self.orders_dead += 1

    async def _put_off(self, group: Sequence[_Delivery]) -> None:
        """A store is out of reach: every message of the group comes again later."""
        await _in_bunches([partial(self._put_off_one, delivery) for delivery in group])
        self.messages_put_off += len(group)

    async def _put_off_one(self, delivery: _Delivery) -> None:
        message, batch = delivery.message, delivery.batch
        delay_ms = self._delay_ms(message.attempt)
        if message.attempt < FRESH_COPY_AT_ATTEMPT:
            await self._broker.retry_later(message, delay_ms=delay_ms)
            return
        middle = (len(batch.orders) + 1) // 2
        for orders in (batch.orders[:middle], batch.orders[middle:]):
            if orders:
                await self._broker.publish(
                    retry_topic(self.topic),
                    encode_batch(OrderBatch(batch.tx_id, orders)),
                    deliver_at_ms=self._clock.now_ms() + delay_ms,
                )
        await self._broker.ack([message])

    def metrics_text(self) -> str:
        """The Prometheus text of this consumer alone."""
        return metrics_text([self])


def _named(line: OrderLine) -> str:
    """An order in a log line, with the trace of the buyer's request where there is one."""
    return f"{line.order_id}{in_words(line.trace)}"


def _decoded(body: bytes) -> OrderBatch | str:
    """The batch, or why it cannot be read."""
    try:
        batch = decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"the body cannot be read: {error}"
    if batch.v != BODY_VERSION:
        return f"the body has version {batch.v}; this consumer reads version {BODY_VERSION}"
    return batch


async def _in_bunches(acts: Sequence[Act]) -> None:
    """Run ``acts``, a bounded number at once. All of a bunch end before its first failure is raised."""
    for start in range(0, len(acts), PUBLISHES_AT_ONCE):
        bunch = acts[start : start + PUBLISHES_AT_ONCE]
        for answer in await asyncio.gather(*(act() for act in bunch), return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
