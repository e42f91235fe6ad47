"""Prewarmed pages/s from MariaDB into Redis, beside a row-by-row loop.

The twin is what one writes first: for each SKU one SELECT, one JSON document, one SET, with a round trip each. It
runs over the first ``twin_count`` SKUs of the same table, in turn with ours, on the same servers.
"""

import asyncio
import json
import time
from contextlib import closing
from itertools import islice
from urllib.parse import unquote, urlsplit

import pymysql
import redis
from items import SALE, made_up
from rows import Row

from saleops.operations.prewarm import apply_prewarm, plan_prewarm
from saleops.ports.orders import SaleRow
from saleops.wiring import open_order_book, open_page_cache
from servers import MariadbServer, RedisServer

GOAL = 60_000
COLUMNS = ("sku", "name", "price_fen", "department", "category")


def _fill_database(url: str, count: int) -> None:
    with open_order_book(url) as book:
        book.migrate()
        book.begin_sale(SaleRow(SALE, "epoch", "v1", count, count, complete=False))
        items = made_up(count)
        while chunk := [(one, 1) for one in islice(items, 2000)]:
            book.add_items(chunk)
        book.finish_sale(SALE)


def _twin(database_url: str, redis_url: str, count: int) -> float:
    """Keys/s, row by row."""
    at = urlsplit(database_url)
    connection = pymysql.connect(
        host=at.hostname,
        port=at.port or 3306,
        user=at.username,
        password=unquote(at.password or ""),
        database=at.path.strip("/"),
    )
    query = f"SELECT {', '.join(COLUMNS)} FROM products WHERE sku = %s"
    skus = [one.sku for one in made_up(count)]
    with (
        redis.Redis.from_url(redis_url) as client,
        closing(connection),
        connection.cursor() as cursor,
    ):
        started = time.perf_counter()
        for sku in skus:
            cursor.execute(query, (sku,))
            row = cursor.fetchone()
            assert row
            client.set(f"twin:{sku}", json.dumps(dict(zip(COLUMNS, row, strict=True))), px=300_000)
        return count / (time.perf_counter() - started)


async def _ours(database_url: str, redis_url: str) -> float:
    """Keys/s; the proof that ends a prewarm is not part of it."""
    with open_order_book(database_url) as book:
        async with open_page_cache(redis_url, sale=SALE) as cache:
            plan = plan_prewarm(book, sale=SALE, ttl_ms=300_000, jitter=0.2, now_ms=0)
            report = await apply_prewarm(plan, book, cache)
            assert report.written == plan.products
            return report.keys_per_s


def prewarm_rate(*, count: int, twin_count: int) -> Row:
    database, cache = MariadbServer(), RedisServer()
    try:
        database.start()
        cache.start()
        url = database.create_database("bench")
        _fill_database(url, count)
        pairs = []
        for _ in range(3):  # in turn, so that a slow moment of the machine hits both
            cache.empty()
            ours = asyncio.run(_ours(url, cache.url))
            twin = _twin(url, cache.url, twin_count)
            pairs.append((ours / twin, ours, twin))
    finally:
        database.close()
        cache.close()
    ratio, ours, twin = sorted(pairs)[1]
    return Row(
        f"prewarm keys/s from MariaDB ({count:,} SKUs)",
        f"{ours:,.0f}/s",
        f"row-by-row loop: {twin:,.0f}/s",
        f"{ratio:.0f}x",
        f"≥ {GOAL:,}/s",
        ours >= GOAL,
        f"median of three pairs run in turn; the twin reads and writes {twin_count:,} of the SKUs.",
    )
