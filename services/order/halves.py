"""Watches for half messages that ran out of check-backs: their orders may be durable, and nobody will be told of them.

The broker asks 15 times and then puts a half aside without a word. Every order worker counts those; the figure is
``saleops_halves_discarded``, and the log says what to do when it grows. Selling goes on: a worker that stopped being ready
for it would only add to the harm.
"""

import asyncio
import logging
import random

from saleops.domain.messages import ORDERS
from saleops.errors import SaleopsError
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock

log = logging.getLogger("saleops.order")

LOOK_EVERY_S = 30.0
COUNT_MAX = 1_000
"""Counting ends there: that many need a person as much as more do."""


class HalvesWatch:
    """``discarded`` as of the last look that the broker answered."""

    def __init__(self, broker: Broker, *, clock: Clock, rng: random.Random | None = None) -> None:
        self.discarded = 0
        self._broker = broker
        self._clock = clock
        self._rng = rng or random.Random()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="halves-watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except SaleopsError as error:
                log.warning("discarded half messages could not be counted: %s", error.message)
            except Exception:
                log.exception("counting discarded half messages failed; it goes on")
            await self._clock.sleep(LOOK_EVERY_S * self._rng.uniform(0.9, 1.1))

    async def look(self) -> None:
        """Count them, and warn when there are more than before."""
        count = 0
        async for _ in self._broker.discarded(ORDERS):
            count += 1
            if count == COUNT_MAX:
                break
        if count > self.discarded:
            log.error(
                "%d half messages ran out of check-backs; their orders may be durable and unannounced: "
                "run `saleops mq recheck SALE`",
                count,
            )
        self.discarded = count

    def metrics_text(self) -> str:
        """The Prometheus text of this figure."""
        name = "saleops_halves_discarded"
        return (
            f"# HELP {name} Half messages that ran out of check-backs (saleops mq recheck).\n"
            f"# TYPE {name} gauge\n{name} {self.discarded}\n"
        )
