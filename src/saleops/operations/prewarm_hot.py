"""Warms what stands beside the hottest products: their reviews and their recommendations.

Product pages are all warmed; these two cost a query each, so only the items that most buyers look at get them.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import nlargest
from random import Random

from saleops.domain.items import Item
from saleops.domain.pages import (
    RELATED,
    RELATED_LIMIT,
    REVIEWS,
    REVIEWS_LIMIT,
    REVIEWS_TTL_MAX_MS,
    ReviewEntry,
    encode_related,
    encode_reviews,
    spread_ttl_ms,
    ttl_range_ms,
)
from saleops.events import Advanced, Finished, Observer, Started, silent
from saleops.ports.cache import PageCache
from saleops.ports.orders import OrderBook

HOT_ITEMS_MAX = 1_000
CHUNK = 100
TASK = "prewarm hot items"


def hottest_of(items: Iterator[Item], *, limit: int = HOT_ITEMS_MAX) -> list[str]:
    """The SKUs most buyers look at, hottest first; one pass, bounded memory."""
    weighted = ((item.popularity, item.sku) for item in items if item.popularity > 0)
    return [sku for _, sku in nlargest(limit, weighted)]


async def prewarm_hot(
    skus: Sequence[str],
    book: OrderBook,
    cache: PageCache,
    *,
    ttl_ms: int,
    jitter: float,
    seed: int = 0,
    observe: Observer = silent,
) -> int:
    """Write reviews and recommendations of ``skus``; how many pages. ``book`` is used from one thread of ours alone.

    Raises StoreUnavailable; what was written by then stays.
    """
    low_ms, high_ms = ttl_range_ms(ttl_ms, jitter)
    start = Random(seed).random()
    observe(Started(TASK, len(skus), "items"))

    def pages_of(part: Sequence[str], position: int) -> list[tuple[str, bytes, int]]:
        pages = []
        for offset, sku in enumerate(part):
            life_ms = spread_ttl_ms(position + offset, start, low_ms, high_ms)
            related = encode_related(sku, book.related(sku, limit=RELATED_LIMIT))
            reviews = [
                ReviewEntry(one.stars, one.text, one.created_ms)
                for one in book.reviews(sku, limit=REVIEWS_LIMIT)
            ]
            pages.append((RELATED + sku, related, life_ms))
            pages.append(
                (REVIEWS + sku, encode_reviews(sku, reviews), min(life_ms, REVIEWS_TTL_MAX_MS))
            )
        return pages

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prewarm-hot") as thread:
        loop = asyncio.get_running_loop()
        for at in range(0, len(skus), CHUNK):
            part = skus[at : at + CHUNK]
            await cache.put_many(await loop.run_in_executor(thread, pages_of, part, at))
            observe(Advanced(TASK, at + len(part)))
    observe(Finished(TASK, f"{2 * len(skus):,} pages beside {len(skus):,} products"))
    return 2 * len(skus)
