"""SKUs/s into Redis through the idempotent script, beside ``redis-cli --pipe`` with a plain SET of each.

Both write the same SKUs with the same counters to the same server, append-only file on, in turn. Ours is what ``saleops
seed`` runs (shards, partitions, chunks, the script that never clobbers a live sale) over items that are in memory
already and a book that writes nothing, because the twin parses no CSV and writes no database; the row on memory
tells what all of it together takes. The twin's file of commands is written before the clock starts.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from items import SALE, made_up
from rows import Row

from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.domain.items import Item
from saleops.operations.seed import SeedPlan, apply_seed
from saleops.wiring import open_stock_store
from servers import RedisServer


class ReadyItems:
    """Items that are in memory already."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def summary(self) -> Any:
        raise AssertionError("the plan is made by hand")

    def stream(self) -> Iterator[Item]:
        return iter(self._items)


class BlankBook(MemoryOrderBook):
    """An orders database that takes every item and keeps none."""

    def add_items(self, items: Sequence[tuple[Item, int]]) -> int:
        return len(items)


async def _ours(url: str, items: Sequence[Item]) -> float:
    popularity = sum(one.popularity for one in items)
    plan = SeedPlan(SALE, "seed", "epoch", "v1", len(items), 0, popularity)
    async with open_stock_store(url, sale=SALE) as stock:
        started = time.perf_counter()
        report = await apply_seed(plan, ReadyItems(items), book=BlankBook(), stock=stock)
        seconds = time.perf_counter() - started
    assert report.new_counters == len(items), f"{report.new_counters} of {len(items)} were seeded"
    return len(items) / seconds


def _write_sets(path: Path, items: Sequence[Item]) -> None:
    with path.open("wb") as file:
        for one in items:
            key = f"stock:{{{SALE}}}:{one.sku}".encode()
            value = b"%d %d %d" % (one.price_fen, one.stock, one.limit_per_buyer)
            file.write(
                b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (len(key), key, len(value), value)
            )


def _twin(port: int, path: Path, count: int) -> float:
    with path.open("rb") as commands:
        started = time.perf_counter()
        done = subprocess.run(
            ["redis-cli", "-p", str(port), "--pipe"],
            stdin=commands,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        seconds = time.perf_counter() - started
    assert f"errors: 0, replies: {count}" in done.stdout, done.stdout
    return count / seconds


def seeding(folder: Path, *, count: int) -> Row:
    items = list(made_up(count))
    sets = folder / "sets.resp"
    _write_sets(sets, items)
    server = RedisServer()
    try:
        server.start()
        pairs = []
        for _ in range(3):
            rates = []
            for one in ("ours", "twin"):
                server.empty()
                rates.append(
                    asyncio.run(_ours(server.url, items))
                    if one == "ours"
                    else _twin(server.port, sets, count)
                )
            pairs.append((rates[0] / rates[1], *rates))
    finally:
        server.close()
        sets.unlink()
    ratio, ours, twin = sorted(pairs)[1]
    return Row(
        f"seeding SKUs/s into Redis ({count:,} SKUs, idempotent script)",
        f"{ours:,.0f}/s",
        f"`redis-cli --pipe`, plain SETs: {twin:,.0f}/s",
        f"{ratio:.0%}",
        "≥ 50 %",
        ratio >= 0.5,
        "median of three pairs run in turn; the twin's file of commands was written before.",
    )
