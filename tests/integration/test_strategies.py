"""``loadtest --strategy`` on real engines: ours sell exactly what there is, the naive ones oversell, and nothing stays behind."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis

from saleops.adapters import redis_server
from saleops.adapters.mysql_session import mysql_address
from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.adapters.strategy_redis import TairStrategy
from saleops.errors import StoreUnavailable
from saleops.events import Advanced, Event, Finished, Warned
from saleops.operations.strategies import (
    StrategiesReport,
    StrategyRow,
    apply_strategies,
    plan_strategies,
)
from saleops.ports.engines import EngineUrls
from saleops.wiring import contenders
from servers import RedisServer

ENGINES = [("valkey", "sqlite"), ("redis", "mysql")]


@pytest.fixture(params=ENGINES, ids="+".join)
def urls(request: pytest.FixtureRequest) -> EngineUrls:
    store, database = request.param
    redis_url = request.getfixturevalue(f"{store}_url")
    return EngineUrls(
        redis_url=redis_url,
        broker_url=redis_url,
        database_url=request.getfixturevalue(f"{database}_url"),
        embedded=False,
    )


@pytest.fixture
def sale_file(tmp_path: Path) -> Path:
    path = tmp_path / "sale.yaml"
    path.write_text(
        "{apiVersion: saleops/v1, name: drop, items: [{sku: a, name: A, price: 1, stock: 9}], "
        "window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}}"
    )
    return path


def keys_of(url: str) -> list[bytes]:
    with closing(redis.Redis.from_url(url)) as client:
        return list(client.scan_iter(count=1000))


def tables_of(url: str) -> list[str]:
    if url.startswith("sqlite"):
        with closing(SqliteOrderBook.from_url(url)) as book:
            rows = book._read("listing", "SELECT name FROM sqlite_master WHERE type = 'table'")
            return [name for (name,) in rows]
    address = mysql_address(url)
    with (
        pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW TABLES")
        return [name for (name,) in cursor.fetchall()]


def run(urls: EngineUrls, *names: str, observe: Any = None, **changes: Any) -> StrategiesReport:
    options: dict[str, Any] = {
        "units": 40,
        "buyers": 400,
        "connections": 16,
        "seed": 3,
        "seconds_max": 60.0,
    }
    plan = plan_strategies(names, **{**options, **changes}, engines=urls.masked())
    seen: list[Event] = []
    return asyncio.run(apply_strategies(plan, contenders(urls), observe=observe or seen.append))


def rows_of(report: StrategiesReport) -> dict[str, StrategyRow]:
    return {row.strategy: row for row in report.rows}


def test_ours_are_exact_and_the_naive_ones_oversell(urls: EngineUrls) -> None:
    report = run(urls, "all")
    rows = rows_of(report)

    assert report.exact
    for name in ("lua", "sql"):
        assert (rows[name].sold, rows[name].oversold, rows[name].engine_sold) == (40, 0, 40)
    assert rows["naive"].oversold > 40
    assert rows["sql-naive"].oversold > 0
    assert not rows["naive"].ours
    for name in ("lua", "naive", "sql", "sql-naive"):
        row = rows[name]
        assert (row.requests, row.ended) == (400, "done")
        assert row.requests_per_s > 0
        assert 0 < row.p50_ms <= row.p99_ms
    # A lost update hides in the engine's own counter.
    naive_counted = rows["naive"].engine_sold
    assert naive_counted is not None
    assert naive_counted <= 40 < rows["naive"].sold


def test_a_server_that_is_no_tair_says_so(urls: EngineUrls) -> None:
    [row] = run(urls, "tairstring").rows

    assert (row.ended, row.requests, row.engine_sold) == ("not here", 0, None)
    assert "Tair" in row.note


def test_nothing_stays_behind_and_nothing_else_is_touched(urls: EngineUrls) -> None:
    with closing(redis.Redis.from_url(urls.redis_url)) as client:
        client.set("stock:{drop:0}:units", "ours")
    before = (keys_of(urls.redis_url), tables_of(urls.database_url))

    run(urls, "all", units=5, buyers=50, connections=4)

    assert (keys_of(urls.redis_url), tables_of(urls.database_url)) == before


@pytest.mark.parametrize("name", ["lua", "naive", "sql"])
def test_a_strategy_that_is_interrupted_leaves_nothing(urls: EngineUrls, name: str) -> None:
    async def scenario() -> None:
        moving = asyncio.Event()

        def observe(event: Event) -> None:
            if isinstance(event, Advanced):
                moving.set()

        plan = plan_strategies(
            [name],
            units=90_000,
            buyers=100_000,
            connections=8,
            seed=1,
            seconds_max=60,
            engines={},
        )
        racing = asyncio.create_task(apply_strategies(plan, contenders(urls), observe=observe))
        async with asyncio.timeout(30):
            await moving.wait()
        assert keys_of(urls.redis_url) or tables_of(urls.database_url)
        racing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await racing

    asyncio.run(scenario())

    assert keys_of(urls.redis_url) == []
    assert tables_of(urls.database_url) == []


def test_time_that_runs_out_is_said_and_is_not_exact(urls: EngineUrls) -> None:
    report = run(urls, "lua", units=90_000, buyers=100_000, seconds_max=0.3)
    [row] = report.rows

    assert row.ended == "time over"
    assert 0 < row.sold < 90_000
    assert row.oversold == 0
    assert not report.exact
    assert "0.3 s were over" in row.note
    assert keys_of(urls.redis_url) == []


def test_an_engine_that_goes_away_ends_the_race_and_names_what_it_keeps(
    redis_url: str, redis_server: RedisServer, sqlite_url: str
) -> None:
    urls = EngineUrls(
        redis_url=redis_url, broker_url=redis_url, database_url=sqlite_url, embedded=False
    )
    seen: list[Event] = []

    def observe(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Advanced):
            redis_server.kill()

    try:
        with pytest.raises(StoreUnavailable):
            run(urls, "naive", observe=observe, units=9_000, buyers=10_000)
    finally:
        redis_server.kill()
        redis_server.start()

    [warning] = [event for event in seen if isinstance(event, Warned)]
    assert "strategy-" in warning.message
    assert not [event for event in seen if isinstance(event, Finished)]


def test_the_race_runs_on_a_cluster_too(redis_cluster_url: str, sqlite_url: str) -> None:
    urls = EngineUrls(
        redis_url=redis_cluster_url,
        broker_url=redis_cluster_url,
        database_url=sqlite_url,
        embedded=False,
    )

    rows = rows_of(run(urls, "lua,naive,tairstring"))

    assert rows["lua"].exact
    assert rows["naive"].oversold > 0
    assert rows["tairstring"].ended == "not here"

    async def keys_left() -> int:
        server = redis_server.RedisServer(redis_cluster_url, timeout_s=5)
        try:
            return sum((await server.on_masters("DBSIZE", tries=1)).values())
        finally:
            await server.close()

    assert asyncio.run(keys_left()) == 0


# -- the command ------------------------------------------------------------------------------------------------------


def command(sale_file: Path, state: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "saleops", "loadtest", str(sale_file)]
    return [*words, "--state-dir", str(state), *more]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_the_command_prints_its_rows_and_exits_0(sale_file: Path, state: Path) -> None:
    more = ["--strategy", "lua,naive", "--strategy", "sql", "--units", "20", "-o", "json"]
    done = subprocess.run(
        command(sale_file, state, *more), capture_output=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    assert document["schema"] == "saleops/strategies/v1"
    assert [row["strategy"] for row in document["rows"]] == ["lua", "naive", "sql"]
    assert document["exact"] is True
    assert document["buyers"] == 200


def test_ctrl_c_leaves_no_keys(sale_file: Path, redis_url: str, sqlite_url: str) -> None:
    more = ["--strategy", "lua", "--units", "90000", "--buyers", "900000", "--redis", redis_url]
    process = subprocess.Popen(
        command(sale_file, sale_file.parent / "s", *more, "--database", sqlite_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 30
        while len(keys_of(redis_url)) < 5:
            assert time.monotonic() < deadline, "it never began"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 130, err.decode()
    assert out == b""
    assert keys_of(redis_url) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--strategy", "magic"], "no strategy magic"),
        (["--strategy", "lua", "--units", "9", "--buyers", "9"], "nobody would compete"),
        (["--strategy", "lua", "--url", "http://127.0.0.1:1"], "takes --url"),
        (["--units", "9"], "takes --units"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_opened(
    sale_file: Path, state: Path, more: list[str], said: str
) -> None:
    done = subprocess.run(
        command(sale_file, state, *more), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert said in done.stderr
    assert "nothing was sent" in done.stderr
    assert not state.exists()


def test_a_dry_run_opens_nothing(sale_file: Path, state: Path) -> None:
    done = subprocess.run(
        command(sale_file, state, "--strategy", "all", "--dry-run", "-o", "json"),
        capture_output=True,
        timeout=60,
        check=True,
    )

    document = json.loads(done.stdout)
    assert document["schema"] == "saleops/strategies-plan/v1"
    assert document["engines"] == {"redis": "embedded", "database": "embedded"}
    assert not state.exists()


# -- Tair -------------------------------------------------------------------------------------------------------------


def test_tairs_own_counter_sells_no_more_than_there_is() -> None:
    """A stand-in that speaks the four commands as Tair documents them; no Tair runs outside its cloud."""

    async def scenario() -> list[bool]:
        kept: dict[bytes, int] = {}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                parts = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    parts.append((await reader.readexactly(size + 2))[:-2])
                verb, *rest = parts[0].upper(), *parts[1:]
                if verb == b"EXSET":
                    kept[rest[0]] = int(rest[1])
                    reply = b"+OK"
                elif verb == b"EXINCRBY":
                    if kept[rest[0]] + int(rest[1]) < int(rest[3]):
                        reply = b"-ERR increment or decrement would overflow"
                    else:
                        kept[rest[0]] += int(rest[1])
                        reply = b":%d" % kept[rest[0]]
                elif verb == b"EXGET":
                    found = kept.get(rest[0])
                    reply = b"$-1" if found is None else b"*2\r\n$1\r\n%d\r\n:1" % found
                elif verb == b"UNLINK":
                    kept.pop(rest[0], None)
                    reply = b":1"
                else:
                    reply = b"+OK"
                writer.write(reply + b"\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            tair = TairStrategy(f"redis://127.0.0.1:{port}/0?protocol=2", "x")
            assert await tair.missing() == ""
            await tair.prepare(2)
            async with tair.connect() as sell:
                told = [await sell(buyer) for buyer in ("a", "b", "c")]
            assert await tair.counted() == 2
            await tair.clear()
            assert kept == {}
        return told

    assert asyncio.run(scenario()) == [True, True, False]
