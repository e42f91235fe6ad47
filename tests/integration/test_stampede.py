"""The stampede: many processes miss one key at one moment, and the database is asked once.

Each process runs the catalog service as production does: its own cache connection, its own book and its own thread for
it. Calls of the book are counted, and reports are left, in Redis: a process that is killed takes nothing along.
"""

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from saleops.adapters.redis_cache import RedisPageCache
from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.catalog.app import create_app
from saleops.services.web import Request, Service
from shelf import Shelf, item

SALE = "midnight-drop"
SKU = item(1).sku
PROCESSES = 4
REQUESTS = 2500
LONG_S = 30.0
spawning = multiprocessing.get_context("spawn")  # threads and event loops do not survive a fork


def _nobody(request: Request) -> Identity:
    raise AssertionError("pages are public")


async def _statuses(service: Service, path: str, count: int) -> list[int]:
    async def get() -> int:
        return (await service.answer(Request("GET", path, "", {}, b""))).status

    return await asyncio.gather(*(get() for _ in range(count)))


def worker(url: str, path: str, count: int, first_call_hangs: bool, start: Any) -> None:
    """One catalog process: when ``start`` opens, ``count`` requests for ``path`` at once."""
    counter = redis.Redis.from_url(url, socket_timeout=5)

    def count_call() -> None:
        if counter.incr("test:calls") == 1 and first_call_hangs:
            counter.rpush("test:reports", os.getpid())
            signal.pause()  # until somebody kills us

    async def serve() -> None:
        cache = RedisPageCache.from_url(url, sale=SALE)
        thread = BookThread(Shelf([item(1)], before=count_call).book)
        settings = ServiceSettings(
            sale=SALE, redis_url=url, database_url="", broker_url="", jwt=JwtSettings()
        )
        service = create_app(thread, cache, settings, authenticate=_nobody)
        await cache.ping()
        start.wait(LONG_S)
        statuses = await _statuses(service, path, count)
        queries = int(service.metrics_text().split("saleops_db_queries_total ")[-1].split()[0])
        report = {"statuses": sorted(set(statuses)), "count": len(statuses), "queries": queries}
        counter.rpush("test:reports", json.dumps(report))
        assert service.stop
        await service.stop()
        thread.close()
        await cache.close()

    asyncio.run(serve())
    counter.close()


@contextmanager
def processes(url: str, path: str, *, count: int, first_call_hangs: bool = False) -> Iterator[None]:
    """PROCESSES workers that start together; they have ended afterwards."""
    start = spawning.Barrier(PROCESSES)
    crowd = [
        spawning.Process(target=worker, args=(url, path, count, first_call_hangs, start))
        for _ in range(PROCESSES)
    ]
    try:
        for one in crowd:
            one.start()
        yield
        for one in crowd:
            one.join(LONG_S)
    finally:
        for one in crowd:
            one.kill()
            one.join()
            one.close()


@pytest.fixture
def results(redis_url: str) -> Iterator[Any]:
    client = redis.Redis.from_url(redis_url, socket_timeout=2 * LONG_S)
    yield client
    client.close()


def next_report(results: Any) -> Any:
    """What a worker left next: its pid as the holder that hangs, or its report."""
    found = results.blpop("test:reports", timeout=LONG_S)
    assert found, "a worker said nothing"
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("path", "status"), [(f"/products/{SKU}", 200), ("/products/no-such-sku", 404)]
)
def test_ten_thousand_concurrent_misses_over_four_processes_are_one_query(
    redis_url: str, results: Any, path: str, status: int
) -> None:
    with processes(redis_url, path, count=REQUESTS):
        reports = [next_report(results) for _ in range(PROCESSES)]

    assert [(one["statuses"], one["count"]) for one in reports] == [([status], REQUESTS)] * 4
    assert int(results.get("test:calls")) == 1
    assert sorted(one["queries"] for one in reports) == [0, 0, 0, 1]


def test_a_holder_that_is_killed_costs_one_more_query(redis_url: str, results: Any) -> None:
    with processes(redis_url, f"/products/{SKU}", count=500, first_call_hangs=True):
        os.kill(next_report(results), signal.SIGKILL)
        reports = [next_report(results) for _ in range(PROCESSES - 1)]

    assert [(one["statuses"], one["count"]) for one in reports] == [([200], 500)] * 3
    assert int(results.get("test:calls")) == 2


def test_a_server_that_says_nothing_costs_a_bounded_time() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client has enough
        writer.close()
        await writer.wait_closed()
        left.release()

    left = asyncio.Semaphore(0)

    async def scenario() -> None:
        silent = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        cache = RedisPageCache.from_url(f"redis://127.0.0.1:{port}", sale=SALE, timeout_s=0.1)
        thread = BookThread(Shelf([item(1)]).book)
        settings = ServiceSettings(
            sale=SALE, redis_url="", database_url="", broker_url="", jwt=JwtSettings()
        )
        service = create_app(thread, cache, settings, authenticate=_nobody)

        async with asyncio.timeout(5):
            assert set(await _statuses(service, f"/products/{SKU}", 100)) == {200}

        thread.close()
        await cache.close()
        silent.close()
        await left.acquire()

    asyncio.run(scenario())
