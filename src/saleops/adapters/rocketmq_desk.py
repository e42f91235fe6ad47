"""The operator's half of the broker on RocketMQ: what it needs to exist, what is in it, and what was given up.

All of it goes over the remoting protocol (rocketmq_admin.py), for which the URL names the name server. RocketMQ's topics are
logs: nothing can be taken out of one. So a dead letter that was replayed, and a discarded half that was looked after, stay
where they are, and a note in the topic ``SALE-settled`` says so; the lists here leave out what has a note.
"""

from collections.abc import AsyncIterator, Sequence

from saleops.adapters import rocketmq_wire as wire
from saleops.adapters.rocketmq_admin import Progress, RocketmqAdmin, retry_topics
from saleops.adapters.rocketmq_frames import StoredMessage
from saleops.adapters.rocketmq_halves import unresolved_halves
from saleops.adapters.rocketmq_names import Names, Place, TopicType, dead_letter_topic
from saleops.adapters.rocketmq_url import RocketmqUrl
from saleops.domain.messages import (
    DEADLINE_GROUP,
    DEADLINES,
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    retry_topic,
)
from saleops.errors import ConfigError
from saleops.ports.broker import DeadLetter, Depth, Half

READERS = (
    (ORDERS, PAYMENT_GROUP),
    (PAID, SHIPPING_GROUP),
    (DEADLINES, DEADLINE_GROUP),
)
CLEARED_NOTE = "cleared"


class Desk:
    """One sale's topics and groups, made when they are first needed, and looked into."""

    def __init__(
        self, url: RocketmqUrl, names: Names, *, max_attempts: int, queues: int, timeout_s: float
    ) -> None:
        self._url = url
        self._names = names
        self._max_attempts = max_attempts
        self._queues = queues
        self._timeout_s = timeout_s
        self._admin: RocketmqAdmin | None = None
        self._ready: set[str] = set()  # names and "name group" pairs that were seen to
        self._groups: set[str] = set()
        self._made: dict[str, Place] = {}  # what was asked for, to be made again where it went away
        self._pairs: dict[str, tuple[Place, str]] = {}

    @property
    def open(self) -> bool:
        """Whether there is a name server to ask."""
        return bool(self._url.namesrv)

    def _admin_for(self, doing: str) -> RocketmqAdmin:
        if not self._url.namesrv:
            raise ConfigError(
                f"{doing} needs RocketMQ's name server, which {self._url.place} does not name; nothing was changed",
                hint=f"Add it to the URL: {self._url.place}?namesrv=HOST:9876",
            )
        if self._admin is None:
            self._admin = RocketmqAdmin.at(
                self._url.namesrv.split(";"),
                timeout_s=self._timeout_s,
                credentials=self._url.credentials,
                tls=self._url.tls_context(),
            )
        return self._admin

    async def close(self) -> None:
        if self._admin:
            await self._admin.close()

    async def settings(self) -> dict[str, dict[str, str]]:
        """What each broker is set to."""
        return await self._admin_for("reading the brokers' settings").broker_config()

    # -- what must exist -----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make every topic and group of the sale, before there is traffic: a group that first reads later than that
        might begin with the newest message."""
        for topic, group in READERS:
            for source in (topic, retry_topic(topic)):
                places = self._names.places(source)
                for place in places:
                    await self.make_topic(place)
                await self.make_group(places, group)
        await self.make_topic(self._names.settled)

    async def make_topic(self, place: Place) -> None:
        """Without a name server topics are the operator's to make, and this does nothing."""
        if not self.open or place.name in self._ready:
            return
        self._made[place.name] = place
        admin = self._admin_for(f"making topic {place.name}")
        await admin.ensure_topics({place.name: place.type.value}, queues=self._queues)
        self._ready.add(place.name)

    async def make_group(self, places: Sequence[Place], group: str) -> None:
        name = self._names.group(group)
        wanted = [place for place in places if f"{place.name} {name}" not in self._ready]
        if not self.open or not wanted:
            return
        self._pairs |= {f"{place.name} {name}": (place, group) for place in wanted}
        admin = self._admin_for(f"making group {name}")
        if name not in self._groups:
            await admin.ensure_groups({name: self._max_attempts})
            self._groups.add(name)
        for place in wanted:
            await admin.ensure_start(place.name, name)
            self._ready.add(f"{place.name} {name}")

    async def missing(self) -> list[str]:
        """The sale's topics that some broker does not have, by RocketMQ's names; none where there is nobody to ask."""
        if not self.open:
            return []
        wanted = [
            place.name for topic in self._names.known_topics for place in self._names.places(topic)
        ]
        wanted = list(dict.fromkeys([*wanted, self._names.settled.name, *self._made]))
        return await self._admin_for("looking for the sale's topics").missing_topics(wanted)

    async def restore(self) -> list[str]:
        """Make again what went away since: topics, groups, and where those begin. Returns the topics that were missing."""
        missing = await self.missing()
        if missing:
            self._ready.clear()
            self._groups.clear()
            await self.prepare()
            for place in list(self._made.values()):
                await self.make_topic(place)
            for place, group in list(self._pairs.values()):
                await self.make_group([place], group)
        return missing

    async def clear(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        """Delete the sale's topics and groups with everything in them, and make them anew."""
        admin = self._admin_for("clearing the broker")
        every = {*self._names.known_topics, *topics}
        places = [place for topic in sorted(every) for place in self._names.places(topic)]
        names = [self._names.group(group) for _, group in READERS]
        names += [self._names.group(group) for group in groups]
        names = list(dict.fromkeys(names))
        doomed = [place.name for place in places] + [self._names.settled.name]
        doomed += [dead_letter_topic(name) for name in names]
        doomed += [
            retries
            for place in places
            for name in names
            for retries in retry_topics(place.name, name)
        ]
        await admin.drop(topics=[name for name in doomed if len(name) <= 127], groups=names)
        again = [place for place in places if place.name in self._ready]
        pairs = [
            (place, name)
            for place in again
            for name in names
            if f"{place.name} {name}" in self._ready
        ]
        self._ready.clear()
        self._groups.clear()
        for place in [*again, self._names.settled]:
            await self.make_topic(place)
        for name in dict.fromkeys(name for _, name in pairs):
            await admin.ensure_groups({name: self._max_attempts})
            self._groups.add(name)
        for place, name in pairs:
            await admin.ensure_start(place.name, name)
            self._ready.add(f"{place.name} {name}")

    # -- looking -------------------------------------------------------------------------------------------

    async def depth(self, topic: str, group: str) -> Depth:
        admin = self._admin_for("measuring depth")
        name = self._names.group(group)
        total = Progress(0, 0, 0, 0)
        since_ms = await self.cleared_ms()
        for place in self._names.places(topic):
            one = await admin.progress(
                place.name, name, since_ms=since_ms, holds_delayed=place.type is TopicType.DELAY
            )
            total = Progress(
                waiting=total.waiting + one.waiting,
                in_flight=total.in_flight + one.in_flight,
                dead=max(total.dead, one.dead),  # of the group, whatever the topic
                delayed=total.delayed + one.delayed,
            )
        dead = 0
        if total.dead:
            dead = sum([1 async for _ in self.letters(topic, group)])
        halves = sum([1 async for _ in self.open_halves(topic)])
        return Depth(halves, total.delayed, total.waiting, total.in_flight, dead)

    async def browse(self, topic: str) -> AsyncIterator[bytes]:
        admin = self._admin_for("browsing")
        since_ms = await self.cleared_ms()
        for place in self._names.places(topic):
            async for message in admin.read_topic(place.name):
                if (
                    message.born_ms >= since_ms
                ):  # a delayed message of before falls due in the topic made anew
                    yield message.body

    async def open_halves(self, topic: str) -> AsyncIterator[Half]:
        admin = self._admin_for("listing half messages")
        names = {
            place.name for place in self._names.places(topic) if place.type is TopicType.TRANSACTION
        }
        if not names:
            return
        since_ms = await self.cleared_ms()
        for half in await unresolved_halves(admin.queues):
            if half.real_topic in names and half.born_ms > since_ms:
                yield _half(topic, half)

    async def discarded(self, topic: str) -> AsyncIterator[Half]:
        admin = self._admin_for("listing discarded halves")
        settled = await self._settled(admin)
        since_ms = await self.cleared_ms()
        seen: set[str] = set()
        for place in self._names.places(topic):
            if place.type is not TopicType.TRANSACTION:
                continue
            async for message in admin.discarded(place.name):
                half = _half(topic, message)
                if (
                    half.born_ms > since_ms
                    and half.tx_id not in seen
                    and half_note(topic, half.tx_id) not in settled
                ):
                    seen.add(half.tx_id)
                    yield half

    async def letters(self, topic: str, group: str) -> AsyncIterator[DeadLetter]:
        admin = self._admin_for("reading dead letters")
        settled = await self._settled(admin)
        name = self._names.group(group)
        seen: set[str] = set()
        for message in sorted(
            [one async for one in admin.dead_letters(name)], key=lambda one: one.stored_ms
        ):
            letter = _letter(message)
            origin = message.properties.get(wire.ORIGIN_TOPIC, topic)
            # Given up twice by a consumer that crashed in between, it is one letter all the same.
            if origin != topic or letter.message_id in seen:
                continue
            if letter_note(name, letter.message_id) not in settled:
                seen.add(letter.message_id)
                yield letter

    async def _settled(self, admin: RocketmqAdmin) -> set[str]:
        notes = admin.read_topic(self._names.settled.name)
        return {message.properties.get(wire.NOTE, "") async for message in notes}

    async def cleared_ms(self) -> int:
        """When the sale was last cleared: halves and delayed messages from before cannot be deleted, and do not count."""
        admin = self._admin_for("looking up when the sale was cleared")
        notes = admin.read_topic(self._names.settled.name)
        times = [n.born_ms async for n in notes if n.properties.get(wire.NOTE) == CLEARED_NOTE]
        return max(times, default=0)


def letter_note(group: str, message_id: str) -> str:
    return f"letter {group} {message_id}"


def half_note(topic: str, tx_id: str) -> str:
    return f"half {topic} {tx_id}"


def _half(topic: str, message: StoredMessage) -> Half:
    checks = message.properties.get("TRANSACTION_CHECK_TIMES", "0")
    return Half(
        topic=topic,
        tx_id=message.properties.get(wire.TX_ID, message.message_id),
        body=message.body,
        born_ms=message.born_ms,
        checks=int(checks) if checks.isdecimal() else 0,
    )


def _letter(message: StoredMessage) -> DeadLetter:
    said = message.properties
    attempt = said.get(wire.ATTEMPT, "")
    attempts = int(attempt) if attempt.isdecimal() else max(1, message.attempts - 1)
    return DeadLetter(
        message_id=said.get(wire.ORIGIN_ID) or message.message_id,
        body=message.body,
        reason=said.get(wire.REASON) or f"not acknowledged in {attempts} deliveries",
        attempt=attempts,
        dead_ms=message.stored_ms,
    )
