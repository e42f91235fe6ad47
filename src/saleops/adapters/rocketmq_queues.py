"""The queues of RocketMQ's topics: where they are, what they hold, how far a group has come.

A topic has queues on each master broker of the cluster; a queue is a list of messages with offsets that never change, of
which the oldest are dropped after ``fileReservedTime``. Reading by offset takes nothing away and leaves no trace: it needs
neither a consumer group of its own nor an acknowledgement.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from saleops.adapters.rocketmq_frames import FrameError, StoredMessage, decode_messages, parse_json
from saleops.adapters.rocketmq_remoting import SUCCESS, Remoting
from saleops.errors import StoreUnavailable

# Request codes (org.apache.rocketmq.remoting.protocol.RequestCode)
_PULL_MESSAGE = 11
_QUERY_CONSUMER_OFFSET = 14
_UPDATE_CONSUMER_OFFSET = 15
_SEARCH_OFFSET_BY_TIMESTAMP = 29
_GET_MAX_OFFSET = 30
_GET_MIN_OFFSET = 31
_GET_BROKER_CLUSTER_INFO = 106
_INVOKE_BROKER_TO_RESET_OFFSET = 222
_GET_TOPIC_CONFIG = 351

# Response codes
TOPIC_NOT_EXIST = 17
_PULL_NOT_FOUND, _PULL_RETRY_IMMEDIATELY, _PULL_OFFSET_MOVED = 19, 20, 21
_QUERY_NOT_FOUND = 22

_READER_GROUP = "TOOLS_CONSUMER"  # every broker has it, with or without autoCreateSubscriptionGroup
_SUBSCRIBED = 0x4  # the pull brings its own subscription; no waiting, no offset committed
_PULL_MESSAGES = 256  # the broker gives at most 32 from memory, 8 from disk at a time
_MASTER = "0"


class TopicConfig(msgspec.Struct, frozen=True):
    topic: str
    queues: int
    message_type: str  # NORMAL, TRANSACTION, DELAY, FIFO; "" where nobody said


class Queue(msgspec.Struct, frozen=True):
    broker: str
    address: str
    topic: str
    number: int

    @property
    def fields(self) -> dict[str, object]:
        return {"topic": self.topic, "queueId": self.number}

    def __str__(self) -> str:
        return f"queue {self.number} of {self.topic} on {self.broker}"


class Pulled(msgspec.Struct, frozen=True):
    messages: Sequence[StoredMessage]
    next_offset: int
    end: int  # the queue's maximum offset: the next message will get it


class Queues:
    def __init__(self, remoting: Remoting, name_servers: Sequence[str]) -> None:
        self._remoting = remoting
        self.name_servers = tuple(name_servers)

    async def clusters(self) -> list[str]:
        """The names of the clusters that the name server knows."""
        return [str(name) for name in await self._cluster_info("clusterAddrTable")]

    async def _cluster_info(self, table: str) -> dict[Any, Any]:
        what = "listing the brokers"
        reply = await self._remoting.call_any(
            self.name_servers, _GET_BROKER_CLUSTER_INFO, {}, what=what
        )
        return object_in(parse_json(reply.body), table, what)

    async def brokers(self) -> dict[str, str]:
        """Name and address of each master that the name server knows. Raises StoreUnavailable when there is none."""
        what = "listing the brokers"
        table = await self._cluster_info("brokerAddrTable")
        masters: dict[str, str] = {}
        for name, broker in table.items():
            address = object_in(broker, "brokerAddrs", what).get(_MASTER)
            if isinstance(address, str):
                masters[str(name)] = address
        if not masters:
            raise StoreUnavailable(
                f"{what}: the name server at {', '.join(self.name_servers)} knows no master broker",
                hint="A broker registers itself within 30 s of its start; is its namesrvAddr this one?",
            )
        return masters

    async def config(self, address: str, topic: str) -> TopicConfig | None:
        """What the broker at ``address`` says about ``topic``; None: it has no such topic."""
        what = f"looking up topic {topic}"
        reply = await self._remoting.call(
            address,
            _GET_TOPIC_CONFIG,
            {"topic": topic},
            what=what,
            expected=(SUCCESS, TOPIC_NOT_EXIST),
        )
        if reply.code == TOPIC_NOT_EXIST:
            return None
        config = parse_json(reply.body)
        queues = config.get("readQueueNums") if isinstance(config, dict) else None
        attributes = config.get("attributes") if isinstance(config, dict) else None
        if not isinstance(queues, int) or not isinstance(attributes or {}, dict):
            raise FrameError(f"{what}: RocketMQ's answer has no number of queues")
        return TopicConfig(topic, queues, str((attributes or {}).get("message.type", "")))

    async def of(self, topic: str) -> list[Queue]:
        """Every queue of ``topic``; none when no broker has it."""
        found: list[Queue] = []
        for broker, address in sorted((await self.brokers()).items()):
            config = await self.config(address, topic)
            if config is not None:
                found += [Queue(broker, address, topic, n) for n in range(config.queues)]
        return found

    async def first(self, queue: Queue) -> int:
        """The offset of the oldest message that is kept."""
        return await self._offset(queue, _GET_MIN_OFFSET, {})

    async def end(self, queue: Queue) -> int:
        """The offset that the next message will get."""
        return await self._offset(queue, _GET_MAX_OFFSET, {})

    async def since(self, queue: Queue, time_ms: int) -> int:
        """The offset of the first message stored at or after ``time_ms``."""
        return await self._offset(queue, _SEARCH_OFFSET_BY_TIMESTAMP, {"timestamp": time_ms})

    async def _offset(self, queue: Queue, code: int, more: Mapping[str, object]) -> int:
        reply = await self._remoting.call(
            queue.address, code, {**queue.fields, **more}, what=f"reading the offsets of {queue}"
        )
        return max(reply.whole("offset"), 0)

    async def position(self, queue: Queue, group: str) -> int | None:
        """The offset that ``group`` reads next; None when it never read."""
        reply = await self._remoting.call(
            queue.address,
            _QUERY_CONSUMER_OFFSET,
            {**queue.fields, "consumerGroup": group, "setZeroIfNotFound": False},
            what=f"reading how far {group} is in {queue}",
            expected=(SUCCESS, _QUERY_NOT_FOUND),
        )
        return reply.whole("offset") if reply.code == SUCCESS else None

    async def set_position(self, queue: Queue, group: str, offset: int) -> None:
        """Note ``offset`` for ``group``. Of no use against a live consumer, who keeps its own: see ``move``."""
        await self._remoting.call(
            queue.address,
            _UPDATE_CONSUMER_OFFSET,
            {**queue.fields, "consumerGroup": group, "commitOffset": offset},
            what=f"noting how far {group} is in {queue}",
        )

    async def move(self, queue: Queue, group: str, offset: int) -> None:
        """Make ``group`` go on at ``offset``, live consumers too: their next pop starts there."""
        await self._remoting.call(
            queue.address,
            _INVOKE_BROKER_TO_RESET_OFFSET,
            {
                **queue.fields,
                "group": group,
                "offset": offset,
                "timestamp": -1,
                "isForce": True,
            },
            what=f"moving {group} to {offset} in {queue}",
        )

    async def pull(self, queue: Queue, offset: int) -> Pulled:
        """Some messages from ``offset`` on, without waiting for any."""
        reply = await self._remoting.call(
            queue.address,
            _PULL_MESSAGE,
            {
                **queue.fields,
                "consumerGroup": _READER_GROUP,
                "queueOffset": offset,
                "maxMsgNums": _PULL_MESSAGES,
                "sysFlag": _SUBSCRIBED,
                "commitOffset": 0,
                "suspendTimeoutMillis": 0,
                "subscription": "*",
                "subVersion": 0,
                "expressionType": "TAG",
            },
            what=f"reading {queue} from {offset}",
            expected=(SUCCESS, _PULL_NOT_FOUND, _PULL_RETRY_IMMEDIATELY, _PULL_OFFSET_MOVED),
        )
        found = (
            list(decode_messages(reply.body, broker=queue.broker)) if reply.code == SUCCESS else []
        )
        return Pulled(found, reply.whole("nextBeginOffset"), reply.whole("maxOffset"))

    async def read(self, queue: Queue, start: int, end: int) -> AsyncIterator[StoredMessage]:
        """The messages from ``start`` to before ``end``, as far as they are kept."""
        offset = start
        while offset < end:
            pulled = await self.pull(queue, offset)
            for message in pulled.messages:
                if offset <= message.offset < end:
                    yield message
            # Behind the last one there is nothing to go on to: a broker that crashed may have lost the tail it promised.
            if pulled.next_offset <= offset:
                return
            offset = pulled.next_offset


def object_in(value: Any, name: str, what: str) -> dict[Any, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    if not isinstance(inner, dict):
        raise FrameError(f"{what}: RocketMQ's answer has no {name}")
    return inner
