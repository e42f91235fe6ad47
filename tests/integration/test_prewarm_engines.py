"""Prewarming end to end: products from SQLite and MariaDB, pages into Redis, then the catalog asks no database."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.errors import StoreUnavailable
from saleops.events import Advanced, Event, Observer, Warned
from saleops.operations.prewarm import PAGE, PrewarmReport, apply_prewarm, plan_prewarm
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook, SaleRow
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.catalog.app import create_app
from saleops.services.web import Request
from saleops.wiring import open_order_book, open_page_cache
from shelf import item

SALE = "midnight-drop"
COUNT = PAGE * 2 + 7


def seed(book: OrderBook, count: int = COUNT) -> None:
    book.migrate()
    book.begin_sale(SaleRow(SALE, "epoch", "v1", count, count * 5, False))
    for start in range(0, count, 1000):
        book.add_items([(item(n), 1) for n in range(start, min(count, start + 1000))])
    book.finish_sale(SALE)


def _nobody(request: Request) -> Identity:
    raise AssertionError("pages are public")


def test_after_prewarming_the_catalog_asks_no_database(
    any_database_url: str, redis_url: str
) -> None:
    async def scenario(book: OrderBook) -> None:
        async with open_page_cache(redis_url, sale=SALE) as cache:
            plan = plan_prewarm(book, sale=SALE, ttl_ms=300_000, jitter=0.2, now_ms=0)
            report = await apply_prewarm(plan, book, cache, seed=3)
            assert report.written == COUNT
            assert report.db_queries == report.cache_misses == 0
            assert report.expiry_max_share <= 0.02

            thread = BookThread(book)
            settings = ServiceSettings(
                sale=SALE, redis_url="", database_url="", broker_url="", jwt=JwtSettings()
            )
            service = create_app(thread, cache, settings, authenticate=_nobody)
            paths = [f"/products/{item(n).sku}" for n in range(0, COUNT, 7)] + ["/products"]
            answers = await asyncio.gather(
                *(service.answer(Request("GET", path, "", {}, b"")) for path in paths)
            )

            assert {one.status for one in answers} == {200}
            assert [json.loads(one.body)["sku"] for one in answers[:-1]] == [
                path.removeprefix("/products/") for path in paths[:-1]
            ]
            assert "saleops_db_queries_total 0" in service.metrics_text()
            thread.close()

    with open_order_book(any_database_url) as book:
        seed(book)
        asyncio.run(scenario(book))


def test_a_page_is_the_same_bytes_whether_prewarmed_or_missed(
    sqlite_url: str, redis_url: str
) -> None:
    async def scenario(book: OrderBook) -> None:
        async with open_page_cache(redis_url, sale=SALE) as cache:
            plan = plan_prewarm(book, sale=SALE, ttl_ms=300_000, jitter=0.2, now_ms=0)
            await apply_prewarm(plan, book, cache)
            keys = [f"product/{item(1).sku}", "list/front"]
            warm = await cache.get_many(keys)
            await cache.clear()
            thread = BookThread(book)
            settings = ServiceSettings(
                sale=SALE, redis_url="", database_url="", broker_url="", jwt=JwtSettings()
            )
            service = create_app(thread, cache, settings, authenticate=_nobody)
            for path in (f"/products/{item(1).sku}", "/products"):
                await service.answer(Request("GET", path, "", {}, b""))

            assert await cache.get_many(keys) == warm
            thread.close()

    with open_order_book(sqlite_url) as book:
        seed(book, 60)
        asyncio.run(scenario(book))


@pytest.mark.parametrize("forgets", [False, True])
def test_a_redis_that_dies_in_the_middle_is_filled_by_the_next_run(
    sqlite_url: str, redis_server: Any, redis_url: str, tmp_path: Path, forgets: bool
) -> None:
    checkpoint = tmp_path / "prewarm.json"

    def die(event: Event) -> None:
        if isinstance(event, Advanced):
            redis_server.stop()

    async def run(book: OrderBook, observe: Observer) -> PrewarmReport:
        async with open_page_cache(redis_url, sale=SALE) as cache:
            plan = plan_prewarm(
                book,
                sale=SALE,
                ttl_ms=300_000,
                jitter=0.2,
                now_ms=WallClock().now_ms(),
                checkpoint=checkpoint,
            )
            return await apply_prewarm(plan, book, cache, checkpoint=checkpoint, observe=observe)

    warned: list[Event] = []
    with open_order_book(sqlite_url) as book:
        seed(book)
        try:
            with pytest.raises(StoreUnavailable):
                asyncio.run(run(book, die))
        finally:
            redis_server.start()
        if forgets:
            redis_server.empty()
        report = asyncio.run(
            run(book, lambda event: warned.append(event) if isinstance(event, Warned) else None)
        )

    assert report.problems == ()
    assert report.written == (COUNT if forgets else COUNT - PAGE)
    assert len(warned) == forgets


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the peak memory")
def test_memory_does_not_grow_with_the_sale(redis_url: str) -> None:
    """A process of its own prewarms 100,000 products that are made as they are read."""
    program = """
import asyncio, sys
from pathlib import Path
from saleops.operations.prewarm import apply_prewarm, plan_prewarm
from saleops.wiring import open_page_cache
from shelf import Shelf, item

class Long(Shelf):
    def sale(self, name):
        return super().sale(name).__class__(name, "epoch", "v1", 100_000, 1, True)

    def products(self, *, after="", limit=1000):
        start = int(after[4:]) + 1 if after else 0
        return [item(n) for n in range(start, min(100_000, start + limit))]

async def main():
    async with open_page_cache(sys.argv[1], sale="s") as cache:
        plan = plan_prewarm(Long([]).book, sale="s", ttl_ms=300_000, jitter=0.2, now_ms=0)
        report = await apply_prewarm(plan, Long([]).book, cache)
        assert report.written == 100_000, report
        print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

asyncio.run(main())
"""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, redis_url],
        env={**os.environ, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (
        int(done.stdout) < 100 * 1024
    )  # KiB at the highest; 1,000,000 products are to stay below 200 MB
