"""The broker: half messages, delayed messages, consumer groups, dead letters, with RocketMQ 5's semantics.

Delivery is at least once and unordered; consumers are idempotent on the order id. A half message is invisible
until it is committed; when its sender stays silent the broker asks any registered checker. Every method raises
StoreUnavailable when the broker cannot be reached within its timeout.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

import msgspec


class Resolution(Enum):
    """A checker's answer. UNKNOWN keeps the half message: the broker asks again later."""

    COMMIT = "commit"
    ROLLBACK = "rollback"
    UNKNOWN = "unknown"


class Half(msgspec.Struct, frozen=True):
    """A half message that waits for its end. ``checks`` counts how often the broker has asked about it."""

    topic: str
    tx_id: str
    body: bytes
    born_ms: int
    checks: int = 0


class Message(msgspec.Struct, frozen=True):
    """One delivery. ``attempt`` starts at 1; ``receipt`` is good for this delivery only."""

    topic: str
    group: str
    message_id: str
    body: bytes
    attempt: int
    receipt: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A message a group gave up: why, after how many deliveries, and when (Unix milliseconds).

    ``receipt`` is the broker's own note of where it keeps the letter; ``replay`` needs it."""

    message_id: str
    body: bytes
    reason: str
    attempt: int
    dead_ms: int
    receipt: str = ""


class Depth(msgspec.Struct, frozen=True):
    """What is on its way: halves unresolved, delayed ones not due, waiting, in flight, and dead."""

    halves: int
    delayed: int
    waiting: int
    in_flight: int
    dead: int

    @property
    def busy(self) -> int:
        """What still has to happen before the system is quiet."""
        return self.halves + self.waiting + self.in_flight


@runtime_checkable
class ListsHalves(Protocol):
    """A broker that can name its open half messages. Not every one can: ask with isinstance."""

    def open_halves(self, topic: str) -> AsyncIterator[Half]:
        """The half messages of ``topic`` that have no end yet, in no order; perhaps some that ended a moment ago."""
        ...


@runtime_checkable
class MakesTopics(Protocol):
    """A broker whose topics have to be made before they are used. Not every one's: ask with isinstance."""

    async def missing_topics(self) -> list[str]:
        """The sale's topics that are not there, by the broker's own names for them."""
        ...


Checker = Callable[[Half], Awaitable[Resolution]]


class Broker(Protocol):
    commits_once: bool
    """Whether a committed half becomes visible exactly once. Where it is False (RocketMQ: a commit that races a
    check-back) a second copy is no fault, and consumers' idempotency on the order id is all that counts."""

    async def send_half(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Half:
        """Store a half message under a tx_id never used before. An error is ambiguous: use a new tx_id.

        ``trace`` is a W3C ``traceparent``, carried along where the broker has message properties."""
        ...

    async def commit(self, half: Half) -> None:
        """Make it visible; a second commit changes nothing. May fail: check-back then finishes the job."""
        ...

    async def rollback(self, half: Half) -> None:
        """Forget it: nobody ever sees it. A second rollback changes nothing."""
        ...

    async def start_checks(self, topics: Sequence[str], checker: Checker) -> None:
        """From now on answer check-backs for ``topics`` with ``checker`` until ``close``. A checker that raises
        counts as UNKNOWN (and is logged)."""
        ...

    async def publish(self, topic: str, body: bytes, *, deliver_at_ms: int | None = None) -> None:
        """A normal message, or one that stays invisible until ``deliver_at_ms`` (past: at once)."""
        ...

    async def receive(
        self, topic: str, group: str, *, max_messages: int, invisible_ms: int, wait_ms: int
    ) -> list[Message]:
        """Up to ``max_messages``; waits ``wait_ms`` for the first. Unacknowledged, they come again after
        ``invisible_ms`` with ``attempt`` one higher; after the last attempt they go to the group's dead letters."""
        ...

    async def ack(self, messages: Sequence[Message]) -> None:
        """Done with these. A stale receipt is ignored: the message comes again."""
        ...

    async def retry_later(self, message: Message, *, delay_ms: int) -> None:
        """Could not handle it now: let it come again after ``delay_ms``."""
        ...

    async def dead_letter(self, message: Message, *, reason: str) -> None:
        """Hopeless: move it to the group's dead letters now."""
        ...

    async def depth(self, topic: str, group: str) -> Depth:
        """What is on its way to ``group`` now."""
        ...

    def browse(self, topic: str) -> AsyncIterator[bytes]:
        """The body of every message that ever became visible on ``topic``, for the ledger."""
        ...

    def dead_letters(self, topic: str, group: str) -> AsyncIterator[DeadLetter]:
        """The group's dead letters, oldest first."""
        ...

    async def replay(self, topic: str, group: str, letter: DeadLetter) -> bool:
        """Send a dead letter to its group again (to ``retry_topic(topic)``; a retry topic's to itself) with its
        attempts counted anew, then drop it from the dead letters. False: it is not there any more, nothing was sent.
        A crash in between may send it twice."""
        ...

    async def drop(self, topic: str, group: str, letter: DeadLetter) -> bool:
        """Forget a dead letter: nobody handles it any more. False: it is not there any more. A second time is harmless."""
        ...

    def discarded(self, topic: str) -> AsyncIterator[Half]:
        """The half messages of ``topic`` that ran out of checks, oldest first."""
        ...

    async def forget_discarded(self, topic: str, tx_ids: Sequence[str]) -> None:
        """These were looked after: ``discarded`` lists them no longer (where the broker can forget at all)."""
        ...

    async def clear(self) -> None:
        """Forget every message (a new rehearsal)."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...
