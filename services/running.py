"""Consumers as a part of a service: started before its first request, stopped after its last."""

import asyncio
import logging
from collections.abc import Sequence

from saleops.services.consumer import Consumer
from saleops.services.consumer_metrics import metrics_text

log = logging.getLogger("saleops.services.consumer")


class Running:
    """Runs ``consumers`` in tasks. Its methods are a Service's start, stop, ready and metrics."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self._consumers = tuple(consumers)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(consumer.run(), name=f"consumer-{consumer.group}")
            for consumer in self._consumers
        ]

    async def stop(self) -> None:
        """Finish what is in flight. What does not end in time is delivered again to another process."""
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("a consumer had ended early", exc_info=ended)

    def why_not_ready(self) -> str:
        if not self._tasks:
            return "starting"
        if any(task.done() for task in self._tasks):
            return "a consumer ended"
        return "; ".join(c.trouble for c in self._consumers if c.trouble)

    def metrics_text(self) -> str:
        return metrics_text(self._consumers)
