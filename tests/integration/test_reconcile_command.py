"""``saleops reconcile`` as it is called: a verdict on stdout, the exit code to go with it, and every id by name."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from saleops import wiring
from saleops.domain.orders import Order, order_id_of
from saleops.domain.stock import Claim
from saleops.ports.clock import WallClock

SALE_FILE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
SALE = "midnight-drop"


class Command:
    """The command line on engines given by URL."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.folder = folder

    def run(self, name: str, *more: str, broker: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "saleops", name, str(SALE_FILE)),
                *("--redis", self.redis_url),
                *(("--broker", self.redis_url) if broker else ()),
                *("--database", self.database_url, *more),
            ],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if not k.startswith("SALEOPS_")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def seeded(sqlite_url: str, valkey_url: str, tmp_path: Path) -> Command:
    command = Command(sqlite_url, valkey_url, tmp_path)
    seeding = command.run("seed")
    assert seeding.returncode == 0, seeding.stderr
    return command


def order_without_message(command: Command) -> str:
    """Place a durable order and say nothing about it to anybody. Returns its id."""

    async def place() -> str:
        with wiring.open_order_book(command.database_url) as book:
            [item] = book.products(limit=1)
            row = book.sale(SALE)
            assert row is not None
            now_ms = WallClock().now_ms()
            order_id = order_id_of(SALE, "ann", "key")
            order = Order(
                order_id, "ann", item.sku, 1, item.price_fen, now_ms, now_ms + 900_000, "key"
            )
            claim = Claim(order_id, item.sku, "ann", 1)
            async with wiring.open_stock_store(command.redis_url, sale=SALE) as stock:
                await stock.reserve(row.epoch, [claim], now_ms=now_ms, expires_ms=now_ms + 60_000)
                assert book.place("tx-1", [order]).committed
                await stock.confirm(row.epoch, [claim])
            return order_id

    return asyncio.run(place())


def test_a_fresh_sale_balances_and_exits_0(seeded: Command) -> None:
    result = seeded.run("reconcile", "-o", "json")

    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    assert next(iter(document)) == "schema"
    assert document["schema"] == "saleops/reconcile/v1"
    assert document["balanced"] is True
    assert document["seeded"] == document["left"] > 0


def test_a_break_exits_3_and_is_named_for_people_and_machines(seeded: Command) -> None:
    order_id = order_without_message(seeded)

    table = seeded.run("reconcile")
    machine = seeded.run("reconcile", "-o", "json")

    assert (table.returncode, machine.returncode) == (3, 3)
    lines = table.stdout.splitlines()
    assert "ledger\t✗ 1 break" in lines
    assert any(line.startswith("✗\torphan-order\t1\t") for line in lines)
    assert sum(line.startswith("✓\t") for line in lines) > 15
    assert any(line.split("\t")[:2] == ["orphan-order", order_id] for line in lines)
    assert "does not balance: 1 break; nothing was changed" in table.stderr
    [one] = json.loads(machine.stdout)["breaks"]
    assert (one["kind"], one["id"], one["detail"]) == (
        "orphan-order",
        order_id,
        "no visible message",
    )


def test_grace_allows_for_what_is_on_its_way(seeded: Command) -> None:
    order_without_message(seeded)
    assert seeded.run("reconcile", "--grace", "600").returncode == 0


def test_reconciling_twice_says_the_same_and_changes_nothing(seeded: Command) -> None:
    order_without_message(seeded)
    first, second = (seeded.run("reconcile", "-o", "json").stdout for _ in range(2))
    assert first == second


def test_a_sale_that_was_never_seeded_is_a_mistake(
    sqlite_url: str, valkey_url: str, tmp_path: Path
) -> None:
    with wiring.open_order_book(sqlite_url) as book:
        book.migrate()
    result = Command(sqlite_url, valkey_url, tmp_path).run("reconcile")
    assert result.returncode == 2
    assert "knows no sale 'midnight-drop'" in result.stderr
    assert "hint:" in result.stderr


def test_a_state_directory_that_does_not_exist_starts_no_engine(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "saleops", "reconcile", str(SALE_FILE), "--state-dir", "no/where"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("SALEOPS_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "there is no sale in no/where" in result.stderr
    assert list(tmp_path.iterdir()) == []
