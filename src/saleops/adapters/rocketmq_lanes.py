"""Receiving without losing anything: long polls that outlive the wait they were started for.

RocketMQ holds an empty receive for at least 5 seconds, and messages that arrive at a caller who went away are hidden
until their invisible time is over. So a poll is never given up while the broker is open: what it brings is kept for
the next who asks. There are never more polls on a queue than there were callers waiting at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from saleops.errors import StoreUnavailable


@dataclass(slots=True)
class Delivery:
    """A message as it came from the proxy. ``at_s`` is when it came, on the monotonic clock."""

    name: str
    endpoints: Any
    message_id: str
    body: bytes
    attempt: int
    handle: str
    invisible_ms: int
    at_s: float

    @property
    def age_ms(self) -> float:
        return (time.monotonic() - self.at_s) * 1000


Poll = Callable[[int, int], Awaitable[list[Delivery]]]  # most messages, invisible_ms


class Mailbox:
    """What a group may receive of one topic. ``polls`` are the queues of work: one for each topic of RocketMQ's that
    stands behind it, on each of its brokers."""

    def __init__(self, polls: Sequence[Poll], *, bytes_max: int) -> None:
        self._polls = polls
        self._under_way: list[set[asyncio.Task[None]]] = [set() for _ in polls]
        self._kept: deque[Delivery] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._failure: BaseException | None = None
        self._bytes_max = bytes_max
        self._closed = False

    async def receive(self, most: int, *, invisible_ms: int, wait_s: float) -> list[Delivery]:
        """Up to ``most`` messages, or none after ``wait_s``. Raises what a poll failed with."""
        give_up_s = time.monotonic() + wait_s
        loop = asyncio.get_running_loop()
        while True:
            if taken := self._take(most):
                return taken
            if self._closed:
                raise StoreUnavailable("the broker was closed; nothing was received")
            failure, self._failure = self._failure, None
            if failure:
                raise failure
            left_s = give_up_s - time.monotonic()
            if left_s <= 0:
                return []
            bell: asyncio.Future[None] = loop.create_future()
            self._waiting.add(bell)
            try:
                self._ask(most, invisible_ms)
                async with asyncio.timeout(left_s):
                    await bell
            except TimeoutError:
                pass  # one last look
            finally:
                self._waiting.discard(bell)

    def _take(self, most: int) -> list[Delivery]:
        taken: list[Delivery] = []
        bytes_left = self._bytes_max
        while self._kept and len(taken) < most and bytes_left > 0:
            bytes_left -= len(self._kept[0].body)
            taken.append(self._kept.popleft())
        return taken

    def _ask(self, most: int, invisible_ms: int) -> None:
        """See to it that there is a poll for everybody who waits."""
        for poll, under_way in zip(self._polls, self._under_way, strict=True):
            while len(under_way) < len(self._waiting):
                task = asyncio.create_task(
                    self._run(poll, most, invisible_ms), name="rocketmq-poll"
                )
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def _run(self, poll: Poll, most: int, invisible_ms: int) -> None:
        try:
            self._kept.extend(await poll(most, invisible_ms))
        except Exception as error:  # noqa: BLE001  # raised where somebody waits
            self._failure = error
        asyncio.get_running_loop().call_soon(self._ring)  # when this task counts no longer

    def _ring(self) -> None:
        for bell in self._waiting:
            if not bell.done():
                bell.set_result(None)

    async def close(self) -> None:
        """End the polls. What was fetched and never handed out comes again after its invisible time."""
        self._closed = True
        tasks = [task for under_way in self._under_way for task in under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()
        self._ring()
