"""Receiving from RocketMQ, and what becomes of a message then: acknowledged, hidden for longer, given up.

A receipt here is RocketMQ's topic, the proxy it came from, and that proxy's handle. RocketMQ takes a handle twice and brings
back what was given up with it, so a receipt that was used is remembered and used no more.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from saleops.adapters import rocketmq_wire as wire
from saleops.adapters.broker_rules import (
    RECEIVE_BYTES_MAX,
    check_name,
    check_receive,
    check_retry_delay,
)
from saleops.adapters.rocketmq_client import Session, mend
from saleops.adapters.rocketmq_desk import Desk
from saleops.adapters.rocketmq_lanes import Delivery, Mailbox
from saleops.adapters.rocketmq_names import Names, Place, TopicType, dead_letter_topic
from saleops.adapters.rocketmq_sending import Sender
from saleops.ports.broker import Message
from saleops.ports.clock import Clock

log = logging.getLogger(__name__)

# What we ask for; a proxy holds an empty receive for 5 s unless it is told otherwise.
_POLL_MS = 1_000
_POLL_MAX_MS = 5_000
_GLANCE_S = 0.3  # how long a receive without a wait gives the proxy to hand out what it has
# Of the invisible time: what waited here longer is hidden anew before it is handed out.
_RENEW_SHARE = 0.2
_RETRY_MIN_MS = 100  # RocketMQ takes no shorter one; coming again takes it a second or two anyway
_BURY_MS = 30_000  # how long a message stays hidden while it moves to the dead letters
_SPENT_MAX = 50_000  # receipts


class Receiver:
    def __init__(
        self, session: Session, sender: Sender, names: Names, desk: Desk, clock: Clock
    ) -> None:
        self._session = session
        self._sender = sender
        self._names = names
        self._desk = desk
        self._clock = clock
        self._mailboxes: dict[tuple[str, str], Mailbox] = {}
        self._opening = asyncio.Lock()
        self._cleared_ms = 0
        self._spent: OrderedDict[str, None] = OrderedDict()

    async def receive(
        self, topic: str, group: str, *, max_messages: int, invisible_ms: int, wait_ms: int
    ) -> list[Message]:
        check_name("topic", topic)
        check_name("group", group)
        wanted = check_receive(max_messages, invisible_ms, wait_ms)
        mailbox = await self._mailbox(topic, group)
        wait_s = max(_GLANCE_S, wait_ms / 1000)
        give_up_s = time.monotonic() + wait_s
        while True:
            wait_s = max(0.0, give_up_s - time.monotonic())
            found = await mailbox.receive(wanted, invisible_ms=invisible_ms, wait_s=wait_s)
            fresh = await asyncio.gather(
                *(self._as_wished(group, delivery, invisible_ms) for delivery in found)
            )
            if not found or any(fresh):
                return [_message(topic, group, delivery) for delivery in fresh if delivery]

    async def _as_wished(
        self, group: str, delivery: Delivery, invisible_ms: int
    ) -> Delivery | None:
        """``delivery`` hidden for ``invisible_ms`` from now; None when its time is over and it comes again."""
        age_ms = delivery.age_ms
        if age_ms >= delivery.invisible_ms:
            return None
        if delivery.invisible_ms == invisible_ms and age_ms < _RENEW_SHARE * invisible_ms:
            return delivery
        handle = await self._hide(
            delivery.name, group, delivery.message_id, delivery.handle, delivery.endpoints, invisible_ms
        )  # fmt: skip
        if handle is None:
            return None
        delivery.handle, delivery.invisible_ms = handle, invisible_ms
        delivery.at_s = time.monotonic()
        return delivery

    async def _hide(
        self, name: str, group: str, message_id: str, handle: str, endpoints: Any, invisible_ms: int
    ) -> str | None:
        """Begin the invisible time anew. Returns the new handle; None for one that is stale."""
        consumer = await self._consumer(group)
        doing = f"hiding {message_id}"
        answer = await self._session.call(
            doing,
            consumer.rpc_client.change_invisible_duration_async(
                endpoints,
                wire.hide_request(name, self._names.group(group), message_id, handle, invisible_ms),
                metadata=consumer.sign(),
                timeout=self._session.timeout_s,
            ),
        )
        if wire.is_stale(answer.status):
            return None
        self._session.check(answer.status, doing)
        return wire.usable_handle(answer.receipt_handle)

    async def ack(self, messages: Sequence[Message]) -> None:
        places: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for message in messages:
            name, facade, handle = _parts(message)
            if message.receipt in self._spent:
                continue
            places.setdefault((message.group, name, facade), []).append(
                (message.message_id, handle)
            )
        await asyncio.gather(
            *(
                self._ack(group, name, facade, some)
                for (group, name, facade), some in places.items()
            )
        )
        for message in messages:
            self._spend(message.receipt)

    async def _ack(
        self, group: str, name: str, facade: str, deliveries: list[tuple[str, str]]
    ) -> None:
        consumer = await self._consumer(group)
        endpoints = await self._way(consumer, name, facade)
        doing = f"acknowledging on {name}"
        answer = await self._session.call(
            doing,
            consumer.rpc_client.ack_message_async(
                endpoints,
                wire.ack_request(name, self._names.group(group), list(dict.fromkeys(deliveries))),
                metadata=consumer.sign(),
                timeout=self._session.timeout_s,
            ),
        )
        statuses = [entry.status for entry in answer.entries] or [answer.status]
        stale = sum(map(wire.is_stale, statuses))
        if stale:
            log.info("%d stale receipts of %s on %s", stale, group, name)
        for status in statuses:
            if not wire.is_stale(status):
                self._session.check(status, doing)

    async def retry_later(self, message: Message, *, delay_ms: int) -> None:
        check_retry_delay(delay_ms)
        name, facade, handle = _parts(message)
        consumer = await self._consumer(message.group)
        if message.receipt in self._spent:
            return
        endpoints = await self._way(consumer, name, facade)
        delay_ms = max(_RETRY_MIN_MS, delay_ms)
        await self._hide(name, message.group, message.message_id, handle, endpoints, delay_ms)
        self._spend(message.receipt)

    async def dead_letter(self, message: Message, *, reason: str) -> None:
        name, facade, handle = _parts(message)
        consumer = await self._consumer(message.group)
        endpoints = await self._way(consumer, name, facade)
        if message.receipt in self._spent:
            return
        if not self._desk.open:
            await self._forward(message, name, handle, endpoints, reason)
            self._spend(message.receipt)
            return
        # Kept to ourselves first: nobody gets it while it moves, and a stale receipt is noticed.
        held = await self._hide(
            name, message.group, message.message_id, handle, endpoints, _BURY_MS
        )
        self._spend(message.receipt)
        if held is None:
            return
        group = self._names.group(message.group)
        place = Place(message.topic, dead_letter_topic(group), TopicType.NORMAL)
        request = wire.send_request(
            place.name,
            message.body,
            message_id=wire.fresh_id(),
            type_name=place.type.value,
            born_ms=self._clock.now_ms(),
            properties={
                wire.ORIGIN_TOPIC: message.topic,
                wire.ORIGIN_ID: message.message_id,
                wire.REASON: wire.plain_text(reason),
                wire.ATTEMPT: str(message.attempt),
            },
        )
        await self._sender.send(place, request, f"giving up {message.message_id}")
        # Only now: a crash before this leaves two letters with one id, which are listed once.
        await self._ack(message.group, name, facade, [(message.message_id, held)])
        log.warning("message %s is a dead letter of %s now: %s", message.message_id, group, reason)

    async def _forward(
        self, message: Message, name: str, handle: str, endpoints: Any, reason: str
    ) -> None:
        """Let RocketMQ move it: it makes the topic for that, but has no place for the reason."""
        consumer = await self._consumer(message.group)
        group = self._names.group(message.group)
        log.warning("message %s is a dead letter of %s now: %s", message.message_id, group, reason)
        doing = f"giving up {message.message_id}"
        answer = await self._session.call(
            doing,
            consumer.rpc_client.forward_message_to_dead_letter_queue_async(
                endpoints,
                wire.bury_request(name, group, message.message_id, handle, message.attempt),
                metadata=consumer.sign(),
                timeout=self._session.timeout_s,
            ),
        )
        if not wire.is_stale(answer.status):
            self._session.check(answer.status, doing)

    def _spend(self, receipt: str) -> None:
        """Remember that ``receipt`` is used up. RocketMQ would take it again, and bring back what was given up."""
        self._spent[receipt] = None
        while len(self._spent) > _SPENT_MAX:
            self._spent.popitem(last=False)

    # -- clients and mailboxes -----------------------------------------------------------------------------

    async def _consumer(self, group: str, topics: Sequence[str] = ()) -> Any:
        """The group's client. ``topics`` are those it starts with."""
        name = self._names.group(group)

        def make(package: Any, configuration: Any) -> Any:
            subscribed = {topic: package.FilterExpression() for topic in topics}
            return package.SimpleConsumer(
                configuration, name, subscribed, tls_enable=self._session.url.tls
            )

        return await self._session.client(f"group {name}", make, topics)

    async def _way(self, consumer: Any, name: str, facade: str) -> Any:
        """The proxy a receipt came from, also where this process has not received from the topic."""
        await self._session.route(consumer, name)
        return self._session.endpoints(consumer, facade)

    async def _mailbox(self, topic: str, group: str) -> Mailbox:
        self._session.check_open()
        mailbox = self._mailboxes.get((topic, group))
        if mailbox:
            return mailbox
        async with self._opening:
            if mailbox := self._mailboxes.get((topic, group)):
                return mailbox
            polls = []
            places = self._names.places(topic)
            for place in places:
                self._names.check_pair(place, group)
                await self._desk.make_topic(place)
            await self._desk.make_group(places, group)
            consumer = await self._consumer(group, [place.name for place in places])
            for place in places:
                queues = await self._session.subscribe(consumer, place.name)
                brokers = {queue.message_queue0().broker.name: queue for queue in queues}
                polls += [partial(self._poll, place, group, queue) for queue in brokers.values()]
            if self._desk.open:
                self._cleared_ms = await self._desk.cleared_ms()
            mailbox = Mailbox(polls, bytes_max=RECEIVE_BYTES_MAX)
            self._mailboxes[topic, group] = mailbox
            return mailbox

    async def _poll(
        self, place: Place, group: str, queue: Any, most: int, invisible_ms: int
    ) -> list[Delivery]:
        consumer = await self._consumer(group)
        request = wire.receive_request(
            queue,
            self._names.group(group),
            max_messages=most,
            invisible_ms=invisible_ms,
            poll_ms=_POLL_MS,
        )
        timeout_s = _POLL_MAX_MS / 1000 + self._session.timeout_s

        async def fetch() -> list[Any]:
            call = await consumer.rpc_client.receive_message(
                queue.endpoints, request, metadata=consumer.sign(), timeout=timeout_s
            )
            try:
                return [part async for part in call]
            finally:
                call.cancel()  # nothing to a call that is over

        doing = f"receiving {place.topic} for {group}"
        parts = await self._session.call(
            doing, self._session.on_io_loop(fetch()), timeout_s=timeout_s
        )
        at_s = time.monotonic()
        found: list[Delivery] = []
        old: list[tuple[str, str]] = []  # from before ``clear``: RocketMQ's timer forgets nothing
        for part in parts:
            if part.HasField("status"):
                if wire.is_forgotten(part.status):
                    mend(consumer)  # not only when the watch comes by
                self._session.check(part.status, doing)
            elif part.HasField("message"):
                system = part.message.system_properties
                if not (body := wire.body_of(part.message)):
                    log.warning(
                        "message %s on %s came damaged; it is left to come again",
                        system.message_id,
                        place.name,
                    )
                    continue
                if system.born_timestamp.ToMilliseconds() < self._cleared_ms:
                    old.append((system.message_id, system.receipt_handle))
                    continue
                found.append(
                    Delivery(
                        name=place.name,
                        endpoints=queue.endpoints,
                        message_id=system.message_id,
                        body=body,
                        attempt=max(1, system.delivery_attempt),
                        handle=system.receipt_handle,
                        invisible_ms=invisible_ms,
                        at_s=at_s,
                    )
                )
        if old:
            await self._ack(group, place.name, queue.endpoints.facade, old)
        return found

    # -- the end -------------------------------------------------------------------------------------------

    async def clear(self) -> tuple[list[str], list[str]]:
        """Forget what was fetched. Returns the topics and groups that were received with."""
        await self.close()
        topics = [topic for topic, _ in self._mailboxes]
        groups = [group for _, group in self._mailboxes]
        self._mailboxes.clear()
        return topics, groups

    async def close(self) -> None:
        for mailbox in self._mailboxes.values():
            await mailbox.close()


def _message(topic: str, group: str, delivery: Delivery) -> Message:
    receipt = f"{delivery.name} {delivery.endpoints.facade} {delivery.handle}"
    return Message(topic, group, delivery.message_id, delivery.body, delivery.attempt, receipt)


def _parts(message: Message) -> tuple[str, str, str]:
    """RocketMQ's topic, proxy and handle, which a receipt stands for."""
    parts = message.receipt.split(" ", 2)
    if len(parts) != 3:
        raise ValueError(f"{message.receipt!r} is no receipt of this broker")
    return parts[0], parts[1], parts[2]
