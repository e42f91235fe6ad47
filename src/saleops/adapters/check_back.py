"""The asking side of half messages: who stayed silent is asked about, and the answer ends the half.

A broker hands over its due halves one lease at a time; a lease also puts the next check off, so two processes that
poll at once never ask about the same half twice in one interval, and one that dies with a lease costs one interval.
The loop outlives a broker that is away and a checker that fails; only ``stop`` ends it.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Protocol

import msgspec

from saleops.adapters.broker_rules import POLL_MS
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Checker, Half, Resolution
from saleops.ports.clock import Clock

log = logging.getLogger(__name__)

CHECKER_TIMEOUT_S = 30.0  # RocketMQ, too, forgets an answer that comes later than this
LEASE_MAX = 32
_OUTAGE_PAUSE_MAX_S = 5.0


class Lease(msgspec.Struct, frozen=True):
    """Halves to ask about now, tx_ids that were just given up, and when the next half is due (None: no halves)."""

    halves: list[Half]
    discarded: list[str]
    next_ms: int | None


class HalfStore(Protocol):
    """The part of a broker that the loop needs."""

    async def lease(self, topic: str) -> Lease: ...

    async def commit(self, half: Half) -> None: ...

    async def rollback(self, half: Half) -> None: ...


class CheckBack:
    """Asks ``checker`` about the silent halves of ``topics`` from ``start`` to ``stop``."""

    def __init__(
        self, store: HalfStore, topics: Sequence[str], checker: Checker, *, clock: Clock
    ) -> None:
        self._store = store
        self._topics = tuple(topics)
        self._checker = checker
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="broker-check-back")

    async def stop(self) -> None:
        """End the loop; a check that is under way is left to the next asker."""
        # The flag is for a checker that swallows the cancellation (asyncio.wait_for before Python 3.12 may).
        self._stopping.set()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                pause_ms = await self._ask_all()
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                log.warning("check-back waits for the broker: %s", error.message)
            except Exception:
                # A bug must not end check-back for the rest of the sale: halves would be stuck for ever.
                failures += 1
                log.exception("check-back failed; it goes on")
            if self._stopping.is_set():
                break
            if failures:
                # An outage lasts in real time, whatever clock the sale runs on.
                pause_s = min(_OUTAGE_PAUSE_MAX_S, 0.05 * 2 ** min(failures, 8))
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            else:
                await self._clock.sleep(pause_ms / 1000)

    async def _ask_all(self) -> int:
        """One pass over the topics. Returns how long to sleep until the next, in milliseconds."""
        # Counted from before the look: what arrives while we look must not wait longer than that.
        again_ms = self._clock.now_ms() + POLL_MS
        for topic in self._topics:
            lease = await self._store.lease(topic)
            for tx_id in lease.discarded:
                log.warning(
                    "half message %s on %s: nobody could say what became of it; it was set aside",
                    tx_id,
                    topic,
                )
            if lease.halves:
                async with asyncio.TaskGroup() as group:
                    for half in lease.halves:
                        group.create_task(self._ask(half))
            if lease.next_ms is not None:
                again_ms = min(again_ms, lease.next_ms)
        return max(0, again_ms - self._clock.now_ms())

    async def _ask(self, half: Half) -> None:
        try:
            async with asyncio.timeout(CHECKER_TIMEOUT_S):
                resolution = await self._checker(half)
        except Exception:
            log.exception("the checker failed on half message %s (%s)", half.tx_id, half.topic)
            return
        try:
            if resolution is Resolution.COMMIT:
                await self._store.commit(half)
            elif resolution is Resolution.ROLLBACK:
                await self._store.rollback(half)
        except StoreUnavailable as error:
            log.warning("the answer for %s was lost, it is asked again: %s", half.tx_id, error)
