"""What an operator does on RocketMQ: make topics and groups, look into queues, count halves and dead letters, skip.

All of it by offset over the remoting protocol (rocketmq_queues.py); nothing here consumes a message. The consumption of a
pop group cannot be read from offsets alone, see rocketmq_pops.py; how halves are counted, see rocketmq_halves.py.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from saleops.adapters.rocketmq_frames import FrameError, StoredMessage, parse_json
from saleops.adapters.rocketmq_halves import DISCARDED_TOPIC, unresolved_halves
from saleops.adapters.rocketmq_pops import Pops
from saleops.adapters.rocketmq_queues import TOPIC_NOT_EXIST, Queue, Queues
from saleops.adapters.rocketmq_remoting import SUCCESS, Remoting
from saleops.errors import Refused, StoreUnavailable

# Request codes (org.apache.rocketmq.remoting.protocol.RequestCode)
_UPDATE_AND_CREATE_TOPIC = 17
_UPDATE_BROKER_CONFIG = 25
_GET_BROKER_CONFIG = 26
_GET_TIMER_METRICS = 61
_GET_ROUTE_BY_TOPIC = 105
_UPDATE_AND_CREATE_GROUP = 200
_DELETE_GROUP = 207
_DELETE_TOPIC_IN_BROKER = 215
_DELETE_TOPIC_IN_NAME_SERVER = 216
_GET_GROUP_CONFIG = 352
_GROUP_NOT_EXIST = 26

QUEUES = 8  # of a new topic, on each broker
RETRY_DELAYS_MS = (1_000, 2_000, 5_000, 10_000, 30_000)
_READ_AND_WRITE = 6
_ROUTE_WAIT_S = 10.0
_ROUTE_POLL_S = 0.05


class Progress(msgspec.Struct, frozen=True):
    """How far a group is in a topic. ``waiting``: never given, or to be given again; ``in_flight``: given, neither
    acknowledged nor timed out; ``dead``: in its dead letters; ``delayed``: messages of the topic that are not due.
    """

    waiting: int
    in_flight: int
    dead: int
    delayed: int


def dead_letter_topic(group: str) -> str:
    return f"%DLQ%{group}"


def retry_topics(topic: str, group: str) -> tuple[str, str]:
    """Where unacknowledged messages of a pop group come back: under either name, as ``enableRetryTopicV2`` says."""
    return f"%RETRY%{group}_{topic}", f"%RETRY%{group}+{topic}"


class RocketmqAdmin:
    def __init__(
        self,
        remoting: Remoting,
        name_servers: Sequence[str],
        *,
        clock: Callable[[], float] = time.time,
        longest_invisible_ms: int = 15 * 60_000,
    ) -> None:
        """``longest_invisible_ms`` is how long a consumer may keep a message: what was given longer ago than that
        before this object first looked is not counted as in flight.
        """
        self._remoting = remoting
        self.queues = Queues(remoting, name_servers)
        self._pops = Pops(self.queues, clock=clock, window_ms=longest_invisible_ms)

    @classmethod
    def at(
        cls,
        name_servers: Sequence[str],
        *,
        timeout_s: float = 5.0,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Connections are made when they are needed, in the event loop that needs them; ``close`` ends them."""
        return cls(Remoting(timeout_s=timeout_s, credentials=credentials, tls=tls), name_servers)

    async def close(self) -> None:
        await self._remoting.close()

    async def ping(self) -> None:
        """Raises StoreUnavailable unless a name server answers and knows a broker that answers."""
        for address in (await self.queues.brokers()).values():
            await self.queues.config(address, DISCARDED_TOPIC)

    async def ensure_topics(self, types: Mapping[str, str], *, queues: int = QUEUES) -> None:
        """Make each topic that is missing, of its message type (NORMAL, TRANSACTION, DELAY, FIFO), on every broker, and
        wait until the name server hands out its route. Raises Refused when one exists with another type.
        """
        for address in (await self.queues.brokers()).values():
            for topic, wanted in types.items():
                found = await self.queues.config(address, topic)
                if found is None:
                    await self._create_topic(address, topic, wanted, queues)
                elif (found.message_type or "NORMAL") != wanted:
                    raise Refused(
                        f"topic {topic} holds {found.message_type or 'NORMAL'} messages, "
                        f"{wanted} ones are needed; it was not changed",
                        hint="Choose another topic prefix, or delete the topic first.",
                    )
        for topic in types:
            await self._await_route(topic)

    async def missing_topics(self, topics: Sequence[str]) -> list[str]:
        """Those of ``topics`` that a broker does not have."""
        addresses = (await self.queues.brokers()).values()
        return [
            topic
            for topic in topics
            if None in [await self.queues.config(address, topic) for address in addresses]
        ]

    async def _create_topic(self, address: str, topic: str, kind: str, queues: int) -> None:
        await self._remoting.call(
            address,
            _UPDATE_AND_CREATE_TOPIC,
            {
                "topic": topic,
                "defaultTopic": "TBW102",
                "readQueueNums": queues,
                "writeQueueNums": queues,
                "perm": _READ_AND_WRITE,
                "topicFilterType": "SINGLE_TAG",
                "topicSysFlag": 0,
                "order": False,
                "attributes": f"+message.type={kind}",
                "force": False,
            },
            what=f"creating topic {topic}",
        )

    async def _await_route(self, topic: str) -> None:
        """A proxy that is asked for the route too early remembers "none" for about 20 s."""
        for _ in range(round(_ROUTE_WAIT_S / _ROUTE_POLL_S)):
            if await self._routed(topic):
                return
            await asyncio.sleep(_ROUTE_POLL_S)
        raise StoreUnavailable(
            f"topic {topic} was created, but the name server has no route to it after {_ROUTE_WAIT_S:g} s",
            hint="Is the broker registered with this name server? Its log says so every 30 s.",
        )

    async def _routed(self, topic: str) -> bool:
        reply = await self._remoting.call_any(
            self.queues.name_servers,
            _GET_ROUTE_BY_TOPIC,
            {"topic": topic, "acceptStandardJsonOnly": True},
            what=f"looking up the route to {topic}",
            expected=(SUCCESS, TOPIC_NOT_EXIST),
        )
        return reply.code == SUCCESS

    async def ensure_groups(
        self, attempts: Mapping[str, int], *, retry_delays_ms: Sequence[int] = RETRY_DELAYS_MS
    ) -> None:
        """Make each consumer group, or change it, so that a message is delivered ``attempts`` times (1 or more) before it
        goes to the dead letters, and make the topic those are in: RocketMQ would do that with the first one only.
        """
        for group, most in attempts.items():
            if most < 1:
                raise ValueError(f"{group} cannot get a message {most} times")
            for address in (await self.queues.brokers()).values():
                await self._ensure_group(address, group, most, list(retry_delays_ms))
        await self.ensure_topics(
            dict.fromkeys(map(dead_letter_topic, attempts), "NORMAL"), queues=1
        )

    async def _ensure_group(
        self, address: str, group: str, attempts: int, delays_ms: list[int]
    ) -> None:
        policy = {"type": "CUSTOMIZED", "customizedRetryPolicy": {"next": delays_ms}}
        wanted: dict[str, Any] = {
            "groupName": group,
            "consumeEnable": True,
            "consumeFromMinEnable": True,
            "retryQueueNums": 1,
            "retryMaxTimes": attempts - 1,
            "groupRetryPolicy": policy,
        }
        found = await self._group_config(address, group)
        if found is not None and all(found.get(name) == value for name, value in wanted.items()):
            return
        body = json.dumps({**(found or {}), **wanted}).encode()
        await self._remoting.call(
            address, _UPDATE_AND_CREATE_GROUP, {}, body, what=f"creating consumer group {group}"
        )

    async def _group_config(self, address: str, group: str) -> dict[str, Any] | None:
        reply = await self._remoting.call(
            address,
            _GET_GROUP_CONFIG,
            {"group": group},
            what=f"looking up consumer group {group}",
            expected=(SUCCESS, _GROUP_NOT_EXIST),
        )
        if reply.code != SUCCESS:
            return None
        config = parse_json(reply.body)
        if not isinstance(config, dict):
            raise FrameError(f"looking up consumer group {group}: RocketMQ's answer is no object")
        return config

    async def ensure_start(self, topic: str, group: str) -> None:
        """Let a group that never read ``topic`` begin with the oldest message. Left alone, RocketMQ may begin with the newest
        one and what came before the group's first pop is never delivered to it.
        """
        for queue in await self.queues.of(topic):
            if await self.queues.position(queue, group) is None:
                await self.queues.set_position(queue, group, await self.queues.first(queue))

    async def drop(self, *, topics: Sequence[str] = (), groups: Sequence[str] = ()) -> None:
        """Delete topics and groups with all that is in them; what does not exist is fine."""
        brokers = await self.queues.brokers()
        for address in brokers.values():
            for group in groups:
                await self._remoting.call(
                    address,
                    _DELETE_GROUP,
                    {"groupName": group, "cleanOffset": True},
                    what=f"deleting consumer group {group}",
                )
            for topic in topics:
                await self._remoting.call(
                    address,
                    _DELETE_TOPIC_IN_BROKER,
                    {"topic": topic},
                    what=f"deleting topic {topic}",
                )
        for topic in topics:  # each name server has its own list
            for address in self.queues.name_servers:
                await self._remoting.call(
                    address,
                    _DELETE_TOPIC_IN_NAME_SERVER,
                    {"topic": topic},
                    what=f"deleting the route to {topic}",
                )

    async def read_topic(self, topic: str, *, after: str = "") -> AsyncIterator[StoredMessage]:
        """Every message that is kept in ``topic`` now, queue by queue; nothing when there is no such topic.

        ``after`` names a bookmark (see ``bookmark``): what lies before it is left out.
        """
        for queue in await self.queues.of(topic):
            start = await self._beginning(queue, after)
            async for message in self.queues.read(queue, start, await self.queues.end(queue)):
                yield message

    async def _beginning(self, queue: Queue, after: str) -> int:
        start = await self.queues.first(queue)
        if after:
            start = max(start, await self.queues.position(queue, after) or 0)
        return start

    async def count(self, topic: str, *, after: str = "") -> int:
        """How many messages ``read_topic`` would give."""
        return sum(
            [
                max(await self.queues.end(queue) - await self._beginning(queue, after), 0)
                for queue in await self.queues.of(topic)
            ]
        )

    async def bookmark(self, topic: str, name: str) -> None:
        """Remember the end of ``topic`` under ``name``, as the offsets of a group that nobody consumes with.

        The broker writes offsets down every 5 s: a crash within that time forgets the bookmark.
        """
        for queue in await self.queues.of(topic):
            await self._ensure_group(queue.address, name, 1, [])
            await self.queues.set_position(queue, name, await self.queues.end(queue))

    async def halves(self, topic: str) -> int:
        """Half messages for ``topic`` that were neither committed nor rolled back."""
        return sum([half.real_topic == topic for half in await unresolved_halves(self.queues)])

    async def discarded(self, topic: str, *, after: str = "") -> AsyncIterator[StoredMessage]:
        """Half messages for ``topic`` that ran out of checks, oldest first."""
        async for message in self.read_topic(DISCARDED_TOPIC, after=after):
            if message.real_topic == topic:
                yield message

    async def dead_letters(self, group: str, *, after: str = "") -> AsyncIterator[StoredMessage]:
        """The dead letters of ``group``, each with its queue and offset, oldest first."""
        async for message in self.read_topic(dead_letter_topic(group), after=after):
            yield message

    async def progress(
        self, topic: str, group: str, *, since_ms: int = 0, holds_delayed: bool = False
    ) -> Progress:
        """How far ``group`` is in ``topic``. The figures are read one after the other while work goes on.

        What was sent before ``since_ms`` does not count. It can only come out of a timer: among the retries, and in a topic
        that ``holds_delayed`` messages. There the messages that wait are looked at instead of subtracting offsets.
        """
        pending = await self._pops.in_flight(topic, group, since_ms=since_ms)
        waiting = 0
        for name in (topic, *retry_topics(topic, group)):
            timed = holds_delayed or name != topic
            for queue in await self.queues.of(name):
                waiting += await self._behind(queue, group, since_ms if timed else 0)
        return Progress(
            waiting=waiting,
            in_flight=pending,
            dead=await self.count(dead_letter_topic(group)),
            delayed=await self._delayed(topic),
        )

    async def _behind(self, queue: Queue, group: str, since_ms: int) -> int:
        position = await self.queues.position(queue, group)
        end = await self.queues.end(queue)
        start = max(await self.queues.first(queue), position or 0)
        if not since_ms or start >= end:
            return max(end - start, 0)
        waiting = self.queues.read(queue, start, end)
        return sum([1 async for message in waiting if message.born_ms >= since_ms])

    async def _delayed(self, topic: str) -> int:
        delayed = 0
        for address in (await self.queues.brokers()).values():
            what = "counting delayed messages"
            reply = await self._remoting.call(address, _GET_TIMER_METRICS, {}, what=what)
            metrics = parse_json(reply.body)
            counts = metrics.get("timingCount") if isinstance(metrics, dict) else None
            metric = counts.get(topic) if isinstance(counts, dict) else None
            count = metric.get("count", 0) if isinstance(metric, dict) else 0
            delayed += max(int(count), 0) if isinstance(count, int | str) else 0
        return delayed

    async def skip(self, topic: str, group: str) -> None:
        """Let ``group`` forget all that waits for it in ``topic``, retries too. What is in flight comes back when its time is
        over, unless it is acknowledged.
        """
        for name in (topic, *retry_topics(topic, group)):
            for queue in await self.queues.of(name):
                end = await self.queues.end(queue)
                await self.queues.set_position(queue, group, end)
                await self.queues.move(queue, group, end)

    async def broker_config(self) -> dict[str, dict[str, str]]:
        """Each broker's settings, as they are in force now."""
        configs: dict[str, dict[str, str]] = {}
        for broker, address in (await self.queues.brokers()).items():
            reply = await self._remoting.call(
                address, _GET_BROKER_CONFIG, {}, what=f"reading the settings of {broker}"
            )
            pairs = (
                line.split("=", 1) for line in reply.body.decode(errors="replace").splitlines()
            )
            configs[broker] = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        return configs

    async def set_broker_config(self, settings: Mapping[str, str]) -> None:
        """Change settings of every broker while it runs. The broker writes them to its own file, too."""
        body = "".join(f"{name}={value}\n" for name, value in settings.items()).encode()
        for broker, address in (await self.queues.brokers()).items():
            await self._remoting.call(
                address, _UPDATE_BROKER_CONFIG, {}, body, what=f"changing the settings of {broker}"
            )
