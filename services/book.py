"""The orders database from a coroutine: one thread owns the one connection of this process.

A driver's call blocks, so it runs in that thread; calls are served first come, first served. One connection a worker
is a budget that can be counted, however many requests are in flight.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from saleops import wiring
from saleops.ports.orders import OrderBook

T = TypeVar("T")


class BookThread:
    """Runs calls of ``book`` in its thread. ``await thread.run(book.orders, ids)``."""

    def __init__(self, book: OrderBook, *, name: str = "book") -> None:
        self.book = book
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, call: Callable[..., T], *args: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, call, *args)

    def close(self) -> None:
        """Wait for the call that runs, then end the thread."""
        self._pool.shutdown(wait=True)


@asynccontextmanager
async def own_book(url: str) -> AsyncIterator[BookThread]:
    """Another connection to the orders database with its thread, for work that would hold up the others."""
    async with AsyncExitStack() as stack:
        # Connecting and closing may take seconds, hence not in the event loop.
        book = await asyncio.to_thread(_entered, stack, url)
        thread = BookThread(book, name="own-book")
        stack.push_async_callback(asyncio.to_thread, thread.close)
        yield thread


def _entered(stack: AsyncExitStack, url: str) -> OrderBook:
    return stack.enter_context(wiring.open_order_book(url))
