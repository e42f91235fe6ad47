"""How the catalog makes its pages from the orders database, and the bulkhead that protects the database from it.

With the cache warm nothing here runs. When it is cold or gone, only ``READS_MAX`` reads of one process are with
the database at a time; whoever comes on top hears 503 with Retry-After at once. Essential traffic (orders) uses the
same database, and a queue in front of it would serve neither.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from saleops.domain.pages import (
    ABSENT,
    LIST_LIMIT,
    PRODUCT,
    RELATED_LIMIT,
    REVIEWS_LIMIT,
    ReviewEntry,
    encode_list,
    encode_product,
    encode_related,
    encode_reviews,
)
from saleops.operations.pages import PageReader, PageUnavailable
from saleops.services.book import BookThread

T = TypeVar("T")

READS_MAX = 16
"""Database calls of one process that run or wait for the process's one connection."""

LISTS_MAX = READS_MAX // 2
"""Long lists may take this much of it: they cost more and nobody needs them to buy."""


class Bulkhead:
    """The catalog's only way to the database. ``queries`` counts what was sent."""

    def __init__(self, book: BookThread, *, calls_max: int = READS_MAX) -> None:
        self.book = book.book
        self.queries = 0
        self._thread = book
        self._calls_max = calls_max
        self._running = 0

    async def call(self, call: Callable[[], T], *, calls_max: int | None = None) -> T:
        """Run ``call`` in the book's thread. Raises PageUnavailable while too many are there already."""
        if self._running >= (calls_max or self._calls_max):
            raise PageUnavailable("the database is as busy as the catalog may make it")
        self._running += 1
        self.queries += 1
        running = asyncio.ensure_future(self._thread.run(call))
        # A caller that stops waiting does not stop the call: it counts until it is over.
        running.add_done_callback(self._over)
        return await asyncio.shield(running)

    def _over(self, running: "asyncio.Future[T]") -> None:
        self._running -= 1
        if not running.cancelled():
            running.exception()  # raised to whoever still waits


class PageBuilder:
    """One method a kind of page. Each takes its subject and gives the body, ``ABSENT`` where there is none."""

    def __init__(self, database: Bulkhead, reader: PageReader) -> None:
        self._database = database
        self._reader = reader

    async def product(self, sku: str) -> bytes:
        item = await self._database.call(partial(self._database.book.product, sku))
        return ABSENT if item is None else encode_product(item)

    async def is_product(self, sku: str) -> bool:
        """Whether ``sku`` exists, asked of its page: usually that costs no query."""
        return await self._reader.page(PRODUCT + sku, self.product, sku) != ABSENT

    async def reviews(self, sku: str) -> bytes:
        if not await self.is_product(sku):
            return ABSENT
        found = await self._database.call(
            partial(self._database.book.reviews, sku, limit=REVIEWS_LIMIT)
        )
        return encode_reviews(
            sku, [ReviewEntry(one.stars, one.text, one.created_ms) for one in found]
        )

    async def related(self, sku: str) -> bytes:
        if not await self.is_product(sku):
            return ABSENT
        found = await self._database.call(
            partial(self._database.book.related, sku, limit=RELATED_LIMIT)
        )
        return encode_related(sku, found)

    async def front_page(self, subject: str) -> bytes:
        return await self.products("", LIST_LIMIT)

    async def products(self, after: str, limit: int) -> bytes:
        items = await self._database.call(
            partial(self._database.book.products, after=after, limit=limit + 1),
            calls_max=LISTS_MAX,
        )
        return encode_list(items, limit=limit)
