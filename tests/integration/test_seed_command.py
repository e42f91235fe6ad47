"""``saleops seed`` as it is called: twice, killed in the middle, on bad rows, over a live sale."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from saleops import wiring

HEAD = """\
apiVersion: saleops/v1
name: drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items: {file: items.csv}
"""


class Command:
    """The command line on engines given by URL, with a sale of ``write_items``."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.folder = folder
        self.sale = folder / "sale.yaml"
        self.sale.write_text(HEAD)

    def write_items(self, count: int, *, price: str = "1.00", last: str = "") -> None:
        with (self.folder / "items.csv").open("w") as out:
            out.write("sku,name,price,stock,popularity\n")
            for number in range(count):
                out.write(f"sku-{number:06},Thing,{price},{number % 7},1\n")
            out.write(last)

    def arguments(self, *more: str) -> list[str]:
        urls = ["--redis", self.redis_url, "--broker", self.redis_url]
        urls += ["--database", self.database_url]
        return [sys.executable, "-m", "saleops", "seed", str(self.sale), *urls, *more]

    def environment(self) -> dict[str, str]:
        return {name: one for name, one in os.environ.items() if not name.startswith("SALEOPS_")}

    def run(self, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.arguments(*more),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def report(self, *more: str) -> dict[str, Any]:
        done = self.run("-o", "json", *more)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def keys_count(self) -> int:
        with redis.Redis.from_url(self.redis_url) as client:
            return int(client.dbsize())  # type: ignore[arg-type]

    def stock_rows(self) -> dict[str, int]:
        with wiring.open_order_book(self.database_url) as book:
            return {row.sku: row.total for row in book.every_stock()}

    def counters(self) -> dict[str, tuple[int, int]]:
        async def read() -> dict[str, tuple[int, int]]:
            async with wiring.open_stock_store(self.redis_url, sale="drop") as stock:
                return {one.sku: (one.seeded, one.left) async for one in stock.counts()}

        return asyncio.run(read())

    def assert_all_on_sale(self, count: int) -> None:
        wanted = {f"sku-{number:06}": number % 7 for number in range(count)}
        assert self.stock_rows() == wanted
        assert self.counters() == {sku: (units, units) for sku, units in wanted.items()}


@pytest.fixture
def command(sqlite_url: str, valkey_url: str, tmp_path: Path) -> Command:
    return Command(sqlite_url, valkey_url, tmp_path)


def test_a_second_run_says_no_change(
    any_database_url: str, any_redis_url: str, tmp_path: Path
) -> None:
    command = Command(any_database_url, any_redis_url, tmp_path)
    command.write_items(300)

    first, second = command.report(), command.report()

    assert (first["schema"], first["changed"]) == ("saleops/seed/v1", True)
    assert (first["new_counters"], first["new_rows"]) == (300, 300)
    assert (second["changed"], second["epoch"]) == (False, first["epoch"])
    command.assert_all_on_sale(300)


def test_a_dry_run_plans_and_touches_nothing(command: Command) -> None:
    command.write_items(10)

    plan = command.report("--dry-run")

    assert (plan["schema"], plan["action"]) == ("saleops/seed-plan/v1", "seed")
    assert (plan["items_count"], plan["units_count"]) == (10, 24)
    assert command.keys_count() == 0


def test_a_dry_run_on_nothing_starts_and_imports_nothing(tmp_path: Path) -> None:
    command = Command("", "", tmp_path)
    command.write_items(10)
    code = (
        "import sys; from saleops.cli.main import main\n"
        f"code = main(['seed', {str(command.sale)!r}, '--dry-run', '-q', '-o', 'json'])\n"
        "heavy = {'redis', 'pymysql', 'asyncio', 'sqlite3', 'locust', 'granian', 'rich.table'}\n"
        "sys.stderr.write('loaded: ' + ' '.join(sorted(heavy & set(sys.modules)))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, json.loads(done.stdout)["action"]) == (0, "seed")
    assert "redis" not in done.stderr.partition("loaded: ")[2]
    assert "pymysql" not in done.stderr.partition("loaded: ")[2]
    assert not (tmp_path / ".saleops").exists()


@pytest.mark.timeout(180)
def test_killed_in_the_middle_of_many_it_goes_on_and_every_unit_is_there_once(
    command: Command,
) -> None:
    command.write_items(100_000)
    child = subprocess.Popen(
        command.arguments("-q"),
        cwd=command.folder,
        env=command.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        with redis.Redis.from_url(command.redis_url) as client:
            # The first rows have arrived: a partition holds more than the one field it is begun with.
            while not any(client.hlen(key) > 1 for key in client.scan_iter("stock:*:units")):
                assert child.poll() is None, "it was done before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.002)
    finally:
        child.kill()
        child.wait(10)
    there = len(command.counters())
    assert 0 < there < 100_000, "it was cut off in the middle"

    report = command.report()

    assert report["changed"] is True
    assert 0 < report["new_counters"] < 100_000
    command.assert_all_on_sale(100_000)


@pytest.mark.parametrize(
    ("last", "where"),
    [
        ("sku-x,Thing,1.00,-1,1\n", "items.csv:502"),
        ("sku-000000,Thing,1.00,1,1\n", "items.csv:502"),
        ("sku-x,Thing,free,1,1\n", "items.csv:502"),
    ],
)
def test_a_bad_last_row_touches_nothing(command: Command, last: str, where: str) -> None:
    command.write_items(500, last=last)

    done = command.run()

    assert done.returncode == 2
    assert where in done.stderr
    assert done.stdout == ""
    assert command.keys_count() == 0
    assert not Path(command.database_url.removeprefix("sqlite:///")).exists()


def test_other_items_over_a_live_sale_need_its_epoch_and_a_yes(command: Command) -> None:
    command.write_items(20)
    epoch = command.report()["epoch"]
    command.write_items(30, price="2.00")

    plain = command.run()
    typo = command.run("--replace", "0" * 16, "--yes")
    unconfirmed = command.run("--replace", epoch)

    for refused in (plain, typo, unconfirmed):
        assert refused.returncode == 5
        assert "nothing was changed" in refused.stderr
    assert f"--replace {epoch}" in plain.stderr
    assert "--yes" in unconfirmed.stderr
    command.assert_all_on_sale(20)

    plan = command.report("--replace", epoch, "--dry-run")
    assert (plan["action"], plan["replaces_epoch"]) == ("replace", epoch)
    command.assert_all_on_sale(20)

    report = command.report("--replace", epoch, "--yes")
    assert report["epoch"] != epoch
    command.assert_all_on_sale(30)


def test_an_engine_that_is_not_there_exits_4(command: Command) -> None:
    command.write_items(3)
    command.redis_url = "redis://127.0.0.1:1/0"

    done = command.run()

    assert done.returncode == 4
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sale_file_that_is_missing_exits_2(command: Command) -> None:
    command.sale.unlink()
    assert command.run().returncode == 2
