"""Sending to RocketMQ: messages, and whatever else of the broker's has a body (halves, dead letters, notes).

Once only: an error is ambiguous, and whoever calls decides what to do about it. The client's own ``send`` would repeat it.
"""

import math
from typing import Any

from saleops.adapters import rocketmq_wire as wire
from saleops.adapters.broker_rules import DELAY_MAX_MS, check_body, check_delivery_time
from saleops.adapters.rocketmq_client import Session
from saleops.adapters.rocketmq_desk import Desk
from saleops.adapters.rocketmq_names import Names, Place, TopicType
from saleops.adapters.rocketmq_producer import Producers
from saleops.errors import StoreUnavailable
from saleops.ports.clock import Clock

_LONG_AGO_MS = 1_000


class Sender:
    def __init__(
        self, session: Session, producers: Producers, names: Names, desk: Desk, clock: Clock
    ) -> None:
        self._session = session
        self._producers = producers
        self._names = names
        self._desk = desk
        self._clock = clock
        self._places: set[str] = set()
        self.used: set[str] = set()  # topics of ours that were sent to

    async def publish(self, topic: str, body: bytes, *, deliver_at_ms: int | None = None) -> None:
        place = self._names.messages(topic)
        check_body(body)
        now = self._clock.now_ms()
        visible_ms = check_delivery_time(deliver_at_ms, now)
        if place.type is TopicType.NORMAL and visible_ms > now:
            raise ValueError(f"topic {topic!r} takes no delayed messages on RocketMQ")
        request = wire.send_request(
            place.name,
            body,
            message_id=wire.fresh_id(),
            type_name=place.type.value,
            born_ms=now,
            deliver_at_ms=_timer_ms(visible_ms, now) if place.type is TopicType.DELAY else None,
            properties={wire.ORIGIN_TOPIC: topic},
        )
        await self.send(place, request, f"publishing on {topic}")

    async def note(self, note: str) -> None:
        """Write down ``note`` in the sale's notes."""
        place = self._names.settled
        request = wire.send_request(
            place.name,
            b"-",
            message_id=wire.fresh_id(),
            type_name=place.type.value,
            born_ms=self._clock.now_ms(),
            properties={wire.NOTE: note},
        )
        await self.send(place, request, f"noting: {note}")

    async def send(self, place: Place, request: Any, doing: str) -> tuple[Any, Any]:
        """Send once. Returns the receipt and the proxy that has it. An error is ambiguous."""
        producer = await self._producers.sending()
        if place.name not in self._places:
            if not place.name.startswith("%"):  # groups make their own
                await self._desk.make_topic(place)
            self._places.add(place.name)
            if place.topic != self._names.settled.topic:
                self.used.add(place.topic)
        queues = await self._session.route(producer, place.name)
        queue = self._session.next_queue(queues)
        if not _takes(queue, request):
            raise StoreUnavailable(
                f"{doing}: topic {place.name} at {self._session.url.place} is not of type {place.type.value}; nothing was sent",
                hint="Somebody made it with another type: RocketMQ cannot change it, delete the topic.",
            )
        answer = await self._session.call(
            doing,
            producer.rpc_client.send_message_async(
                queue.endpoints, request, producer.sign(), timeout=self._session.timeout_s
            ),
        )
        self._session.check(answer.status, doing)
        return answer.entries[0], queue.endpoints

    def forget(self) -> None:
        """Topics were deleted: see to it that they exist before the next message."""
        self._places.clear()


def _timer_ms(visible_ms: int, now: int) -> int:
    """RocketMQ's timer knows whole seconds and rounds down: a message must not come before its time.

    One that is due needs a time, too, or it would be of another type than its topic; the server's clock may be behind
    ours, so that only a time long ago is surely past.
    """
    if visible_ms <= now:
        return _LONG_AGO_MS
    return min(math.ceil(visible_ms / 1000) * 1000, (now + DELAY_MAX_MS) // 1000 * 1000)


def _takes(queue: Any, request: Any) -> bool:
    return request.messages[0].system_properties.message_type in queue.accept_message_types
