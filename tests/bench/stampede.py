"""10,000 requests for one page that is not cached, over four catalog processes, counted in database queries.

The processes are those of tests/integration/test_stampede.py, which proves the same.
"""

import sys
from pathlib import Path

import redis
from rows import Row

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from test_stampede import PROCESSES, REQUESTS, SKU, next_report, processes

from servers import RedisServer


def stampede() -> Row:
    server = RedisServer()
    try:
        server.start()
        with redis.Redis.from_url(server.url, socket_timeout=60) as client:
            with processes(server.url, f"/products/{SKU}", count=REQUESTS):
                reports = [next_report(client) for _ in range(PROCESSES)]
            queries = int(client.get("test:calls") or 0)
    finally:
        server.close()
    answers = sum(one["count"] for one in reports)
    assert all(one["statuses"] == [200] for one in reports), reports
    return Row(
        f"{answers:,} concurrent misses of one key over {PROCESSES} processes",
        f"{queries} database quer{'y' if queries == 1 else 'ies'}",
        "",
        "",
        "1 database query",
        queries == 1,
        "every one answered 200.",
    )
