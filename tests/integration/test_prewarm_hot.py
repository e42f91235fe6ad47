"""Reviews and recommendations of the hottest items, warm before the doors open."""

import asyncio

from saleops.adapters.redis_cache import RedisPageCache
from saleops.domain.items import Item
from saleops.domain.pages import RELATED, REVIEWS, REVIEWS_TTL_MAX_MS
from saleops.operations.prewarm_hot import hottest_of, prewarm_hot
from saleops.ports.orders import Review
from saleops.wiring import open_order_book

ITEMS = [
    Item(f"sku-{i}", f"Thing {i}", 100, 5, popularity=float(i), category="things") for i in range(6)
]


def test_the_hottest_come_first_and_what_nobody_wants_is_left_out() -> None:
    assert hottest_of(iter(ITEMS), limit=3) == ["sku-5", "sku-4", "sku-3"]
    assert "sku-0" not in hottest_of(iter(ITEMS))


def test_both_pages_of_each_are_there_and_end_in_time(
    any_redis_url: str, any_database_url: str
) -> None:
    async def scenario() -> None:
        with open_order_book(any_database_url) as book:
            book.migrate()
            book.add_items([(item, 1) for item in ITEMS])
            book.add_review(Review("sku-5", "ann", 4, "good", 1))
            cache = RedisPageCache.from_url(any_redis_url, sale="s")
            written = await prewarm_hot(
                ["sku-5", "sku-4"], book, cache, ttl_ms=300_000, jitter=0.2, seed=3
            )

            keys = [kind + sku for sku in ("sku-5", "sku-4") for kind in (RELATED, REVIEWS)]
            pages = await cache.get_many(keys)
            ttls = await cache.ttls_ms(keys)
            await cache.close()
        assert written == 4
        assert None not in pages
        assert b"sku-4" in (pages[0] or b"")
        assert b"good" in (pages[1] or b"")
        assert b"ann" not in (pages[1] or b"")
        assert all(240_000 - 5_000 <= ttl <= 360_000 for ttl in ttls[::2])
        assert all(0 < ttl <= REVIEWS_TTL_MAX_MS for ttl in ttls[1::2])

    asyncio.run(scenario())
