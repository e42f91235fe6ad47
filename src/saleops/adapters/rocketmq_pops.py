"""How many messages a group holds: given by a pop, neither acknowledged nor timed out.

The broker moves a pop group's offset when it gives messages, not when they are acknowledged, so offsets do not tell. It
notes each pop ("check point", with the number of messages) and each acknowledgement as delayed messages that come due when
the messages become visible again: first in ``rmq_sys_wheel_timer``, then in ``rmq_sys_REVIVE_LOG_<cluster>``. There the
revive service settles them: what a check point holds that no acknowledgement named goes to the retry topic. A change of the
invisible time is an acknowledgement and a new check point.

So: in flight is what check points hold, less what was acknowledged, less what the revive service has passed. Both logs are
read once from ``window_ms`` ago, and from there on only what is new.

Valid where the broker keeps check points in these logs: RocketMQ 5.3's default, with ``popConsumerKVServiceEnable`` and
``enablePopBufferMerge`` off. With either on, what is in flight shows as neither waiting nor in flight.
"""

import asyncio
from collections.abc import Callable

import msgspec

from saleops.adapters.rocketmq_frames import FrameError, StoredMessage, parse_json
from saleops.adapters.rocketmq_queues import Queue, Queues

_TIMER_TOPIC = "rmq_sys_wheel_timer"
_REVIVE_PREFIX = "rmq_sys_REVIVE_LOG_"
_REVIVE_GROUP = "CID_RMQ_SYS_REVIVE_GROUP"
_TAGS = ("ck", "ack", "bAck")

_Key = tuple[
    str, str, int, int, int, str
]  # topic, group, queue, first offset, time of the pop, broker


class _Point(msgspec.Struct):
    """A check point. ``place`` is where it lies in the revive log, once it is there."""

    held: int = 0
    acked: set[int] = msgspec.field(default_factory=set)
    place: tuple[str, int, int] | None = None


class Pops:
    def __init__(self, queues: Queues, *, clock: Callable[[], float], window_ms: int) -> None:
        self._queues = queues
        self._clock = clock
        self._window_ms = window_ms
        self._lock = asyncio.Lock()
        self._next: dict[Queue, int] = {}
        self._points: dict[_Key, _Point] = {}

    async def in_flight(self, topic: str, group: str, *, since_ms: int = 0) -> int:
        """Messages of ``topic``, first deliveries and retries, that consumers of ``group`` hold now.

        What was given before ``since_ms`` is left out: its topic was deleted meanwhile, and made anew.
        """
        names = {topic, f"%RETRY%{group}_{topic}", f"%RETRY%{group}+{topic}"}
        async with self._lock:
            await self._catch_up()
            return sum(
                max(point.held - len(point.acked), 0)
                for key, point in self._points.items()
                if key[1] == group and key[0] in names and key[4] >= since_ms
            )

    async def _catch_up(self) -> None:
        revive_queues = await self._revive_queues()
        # Revive positions before the logs: a check point that is settled in between is then still counted, once.
        settled = {
            (queue.broker, queue.number): await self._queues.position(queue, _REVIVE_GROUP)
            for queue in revive_queues
        }
        for queue in [*await self._queues.of(_TIMER_TOPIC), *revive_queues]:
            await self._read_on(queue)
        for key, point in list(self._points.items()):
            if point.place is not None:
                broker, number, offset = point.place
                passed = settled.get((broker, number))
                if passed is not None and offset <= passed:
                    del self._points[key]

    async def _revive_queues(self) -> list[Queue]:
        found: list[Queue] = []
        for cluster in await self._queues.clusters():
            found += await self._queues.of(_REVIVE_PREFIX + cluster)
        return found

    async def _read_on(self, queue: Queue) -> None:
        start = self._next.get(queue)
        end = await self._queues.end(queue)
        if start is None:
            since_ms = int(self._clock() * 1000) - self._window_ms
            start = await self._queues.since(queue, since_ms) if end else 0
        # A broker that crashed may have lost the tail that was read: what it stores now has those offsets again.
        start = self._next[queue] = min(start, end)
        async for message in self._queues.read(queue, start, end):
            self._next[queue] = message.offset + 1
            if message.tag in _TAGS and message.real_topic.startswith(_REVIVE_PREFIX):
                self._note(message, due=queue.topic != _TIMER_TOPIC)

    def _note(self, message: StoredMessage, *, due: bool) -> None:
        record = parse_json(message.body)
        try:
            key: _Key = (
                record["t"],
                record["c"],
                int(record["q"]),
                int(record["so"]),
                int(record["pt"]),
                str(record.get("bn") or message.broker),
            )
            if message.tag == "ck":
                point = self._points.setdefault(key, _Point())
                point.held = int(record["n"])
                if due:
                    point.place = (message.broker, message.queue, message.offset)
                return
            acked = record["aol"] if message.tag == "bAck" else [record["ao"]]
            # An acknowledgement of a check point from before the window says nothing any more.
            if key in self._points:
                self._points[key].acked.update(int(offset) for offset in acked)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FrameError(f"RocketMQ's note of a pop is not one we know: {record!r}") from error
