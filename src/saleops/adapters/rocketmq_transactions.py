"""Half messages on RocketMQ: sent, ended, and asked about by the server.

The proxy remembers a half for 30 s and answers OK whatever the broker did with a commit; what is lost on the way is
finished by check-back. A check-back comes in on the client's loop and is answered on ours, many at once.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saleops.adapters import rocketmq_wire as wire
from saleops.adapters.broker_rules import check_body, check_tx_id
from saleops.adapters.check_back import CHECKER_TIMEOUT_S
from saleops.adapters.rocketmq_client import Session
from saleops.adapters.rocketmq_desk import Desk
from saleops.adapters.rocketmq_names import Names
from saleops.adapters.rocketmq_producer import Producers
from saleops.adapters.rocketmq_sending import Sender
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Checker, Half, Resolution
from saleops.ports.clock import Clock

log = logging.getLogger(__name__)

_ASKED_MAX = 64  # check-backs answered at once
_SETTLE_S = 5.0  # RocketMQ books ends every 3 s, asks meanwhile, and makes a second copy of what is committed twice
_REMEMBER_MAX = 50_000  # halves whose end we remember
_REMEMBER_S = 120.0  # four times what the proxy remembers
_ENDS = {
    Resolution.COMMIT: "COMMIT",
    Resolution.ROLLBACK: "ROLLBACK",
    Resolution.UNKNOWN: "TRANSACTION_RESOLUTION_UNSPECIFIED",
}


class Transactions:
    def __init__(self, session: Session, names: Names, desk: Desk, clock: Clock) -> None:
        self._session = session
        self._names = names
        self._desk = desk
        self._clock = clock
        self.producers = Producers(session, self._ask)
        self.sender = Sender(session, self.producers, names, desk, clock)
        self._book = HalfBook()
        self._checkers: dict[
            str, tuple[str, Checker]
        ] = {}  # by RocketMQ's topic: ours, who answers
        self._asked: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answering = asyncio.Semaphore(_ASKED_MAX)

    async def send(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Half:
        place = self._names.halves(topic)
        check_tx_id(tx_id)
        check_body(body)
        message_id = wire.half_id(place.name, tx_id)
        self._book.begin(message_id, tx_id, topic)
        born_ms = self._clock.now_ms()
        request = wire.send_request(
            place.name,
            body,
            message_id=message_id,
            type_name="TRANSACTION",
            born_ms=born_ms,
            key=tx_id,
            properties={wire.TX_ID: tx_id, wire.ORIGIN_TOPIC: topic, wire.TRACE: trace},
        )
        entry, endpoints = await self.sender.send(place, request, f"sending half {tx_id}")
        self._book.sent(message_id, endpoints, entry.transaction_id)
        return Half(topic=topic, tx_id=tx_id, body=body, born_ms=born_ms)

    async def end(self, half: Half, how: Resolution) -> None:
        self._session.check_open()
        place = self._names.halves(half.topic)
        message_id = wire.half_id(place.name, half.tx_id)
        known = self._book.get(message_id)
        if known and known.ended_s > 0:
            return
        endpoints = known.endpoints if known else None
        if endpoints is None:  # another process sent it: any proxy of the topic may remember it
            producer = await self.producers.sending()
            queue, *_ = await self._session.route(producer, place.name)
            endpoints = queue.endpoints
        transaction_id = known.transaction_id if known else message_id
        doing = f"ending half {half.tx_id} ({how.value})"
        answer = await self._end_call(
            endpoints, place.name, message_id, transaction_id, how, doing, asked=False
        )
        self._book.end(message_id)
        if wire.is_unknown_half(answer.status):
            log.info("%s: the proxy knows it no longer, check-back ends it", doing)
            return
        self._session.check(answer.status, doing)

    async def _end_call(
        self,
        endpoints: Any,
        name: str,
        message_id: str,
        transaction_id: str,
        how: Resolution,
        doing: str,
        *,
        asked: bool,
    ) -> Any:
        producer = await self.producers.sending()
        request = wire.end_request(name, message_id, transaction_id, act=_ENDS[how], asked=asked)
        return await self._session.call(
            doing,
            producer.rpc_client.end_transaction_async(
                endpoints, request, metadata=producer.sign(), timeout=self._session.timeout_s
            ),
        )

    # -- check-back ----------------------------------------------------------------------------------------

    async def start_checks(self, topics: Sequence[str], checker: Checker) -> None:
        self._loop = asyncio.get_running_loop()
        places = [self._names.halves(topic) for topic in topics]
        for place in places:
            await self._desk.make_topic(place)
            self._checkers[place.name] = (place.topic, checker)
        names = [place.name for place in places]
        producer = await self.producers.answering(names)
        for name in names:
            await self._session.route(producer, name)
        if names:
            await self._session.known_to_proxy(producer)

    def _ask(self, endpoints: Any, message: Any, transaction_id: str) -> None:
        """The proxy asks about a half; called on the client's loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._start_answer, endpoints, message, transaction_id)

    def _start_answer(self, endpoints: Any, message: Any, transaction_id: str) -> None:
        if self._book.just_ended(message.system_properties.message_id):
            return
        if len(self._asked) >= _ASKED_MAX * 16:
            return  # it is asked again; a pile of answers that come too late helps nobody
        task = asyncio.create_task(self._answer(endpoints, message, transaction_id))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _answer(self, endpoints: Any, message: Any, transaction_id: str) -> None:
        name = message.topic.name
        topic, checker = self._checkers.get(name, ("", None))
        if checker is None:
            return
        message_id = message.system_properties.message_id
        tx_id = message.user_properties.get(wire.TX_ID, "")
        half = Half(
            topic=topic,
            tx_id=tx_id,
            body=message.body,
            born_ms=message.system_properties.born_timestamp.ToMilliseconds(),
            checks=self._book.count_check(message_id),
        )
        async with self._answering:
            try:
                async with asyncio.timeout(CHECKER_TIMEOUT_S):
                    resolution = await checker(half)
            except Exception:
                log.exception("the checker failed on half message %s (%s)", tx_id, topic)
                resolution = Resolution.UNKNOWN
            if self._book.just_ended(message_id):
                return  # meanwhile, by its sender or another answer
            doing = f"answering for half {tx_id}"
            try:
                answer = await self._end_call(
                    endpoints, name, message_id, transaction_id, resolution, doing, asked=True
                )
                self._session.check(answer.status, doing)
            except StoreUnavailable as error:
                log.warning("the answer for %s was lost, it is asked again: %s", tx_id, error)
                return
            if resolution is not Resolution.UNKNOWN:
                self._book.end(message_id)

    def forget(self) -> None:
        """The sale was cleared."""
        self._book = HalfBook()

    async def close(self) -> None:
        for task in list(self._asked):
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)


@dataclass(slots=True)
class _Sent:
    """What we know of a half: who has it, and whether it was ended."""

    at_s: float
    endpoints: Any = None
    transaction_id: str = ""
    ended_s: float = -math.inf  # on the monotonic clock
    checks: int = 0


class HalfBook:
    """The halves of the last minutes, by message id. Older ones are check-back's."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Sent] = OrderedDict()

    def begin(self, message_id: str, tx_id: str, topic: str) -> None:
        """Raises ValueError for a tx_id that was used here before."""
        if message_id in self._known:
            raise ValueError(f"tx_id {tx_id!r} was used before on {topic}")
        self._entry(message_id)

    def _entry(self, message_id: str) -> _Sent:
        now_s = time.monotonic()
        oldest = next(iter(self._known.values()), None)
        while oldest and (len(self._known) >= _REMEMBER_MAX or now_s - oldest.at_s > _REMEMBER_S):
            self._known.popitem(last=False)
            oldest = next(iter(self._known.values()), None)
        return self._known.setdefault(message_id, _Sent(now_s))

    def sent(self, message_id: str, endpoints: Any, transaction_id: str) -> None:
        entry = self._entry(message_id)
        entry.endpoints, entry.transaction_id = endpoints, transaction_id or message_id

    def get(self, message_id: str) -> _Sent | None:
        return self._known.get(message_id)

    def end(self, message_id: str) -> None:
        self._entry(message_id).ended_s = time.monotonic()

    def just_ended(self, message_id: str) -> bool:
        """Its end is on the way to the server's books; or it was lost, and then it is asked about again."""
        entry = self._known.get(message_id)
        return entry is not None and time.monotonic() - entry.ended_s < _SETTLE_S

    def count_check(self, message_id: str) -> int:
        """How often this process was asked about it, this time included."""
        entry = self._entry(message_id)
        entry.checks += 1
        return entry.checks
