"""How an order worker puts the stock store right: operations/rebuild.py, with its events in the log."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from saleops.events import Advanced, Event, Finished, Started, Warned
from saleops.operations.rebuild import Books, RebuildReport, rebuild
from saleops.ports.clock import Clock
from saleops.ports.stock import StockStore
from saleops.services.order.believing import Repair

log = logging.getLogger("saleops.order")

OpenBooks = Callable[[], AbstractAsyncContextManager[Books]]


def repairing(sale: str, *, stock: StockStore, clock: Clock, open_books: OpenBooks) -> Repair:
    """Verifies or rebuilds the store of ``sale``; the orders database is read through ``open_books``."""

    async def repair(why: str, epoch: str) -> RebuildReport | None:
        # A task of its own, for its name: it says who acts, in dumps of the tasks and to the fault layer.
        return await asyncio.create_task(work(why, epoch), name="rebuild:store")

    async def work(why: str, epoch: str) -> RebuildReport | None:
        async with open_books() as books:
            return await rebuild(
                sale,
                books=books,
                stock=stock,
                reason=why,
                who=f"order worker {os.getpid()}",
                old_epoch=epoch,
                observe=_log,
                now_ms=clock.now_ms,
            )

    return repair


def _log(event: Event) -> None:
    match event:
        case Warned(message):
            log.error("%s", message)
        case Finished(task, note):
            log.warning("%s: %s", task, note)
        case Started(task) | Advanced(task):
            log.debug("%s: %s", task, event)
