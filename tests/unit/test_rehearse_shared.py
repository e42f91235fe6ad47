"""A second rehearsal on shared engines: what the first one left makes room, wherever it was left."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from checkout import VirtualClock
from saleops.adapters.memory_broker import MemoryBroker
from saleops.adapters.memory_cache import MemoryPageCache
from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.adapters.memory_stock import MemoryStockStore
from saleops.config.sale import Sale, load_sale
from saleops.config.settings import JwtSettings
from saleops.events import silent
from saleops.operations.rehearse import REHEARSAL_SUFFIX, Stage, _Rehearsal, plan_rehearsal
from saleops.ports.engines import EngineUrls

SALE_FILE = """\
apiVersion: saleops/v1
name: drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items: [{sku: A-1, name: One, price: 9.90, stock: 4}]
traffic: {baseline_rps: 20, peak_rps: 300, step_s: 1}
"""


@pytest.fixture
def sale(tmp_path: Path) -> Sale:
    path = tmp_path / "sale.yaml"
    path.write_text(SALE_FILE)
    return load_sale(path).model_copy(update={"name": "drop" + REHEARSAL_SUFFIX})


def test_a_rehearsal_on_a_new_database_replaces_what_the_stock_store_kept(sale: Sale) -> None:
    async def scenario() -> None:
        stock, broker = MemoryStockStore(), MemoryBroker(clock=VirtualClock())
        epochs = []
        for _ in range(2):
            rows = MemoryOrderBook()  # embedded: a new one each time
            nothing: Any = None
            stage = Stage(
                urls=EngineUrls(
                    redis_url="redis://h",
                    database_url="sqlite:///x",
                    broker_url="redis://h",
                    embedded=False,
                ),
                jwt=JwtSettings(hs256_secret="x" * 32),
                book=rows,
                stock=stock,
                cache=MemoryPageCache(),
                broker=broker,
                workers=nothing,
                runner=nothing,
                scrape=nothing,
            )
            run = _Rehearsal(sale, plan_rehearsal(sale), stage, silent)
            assert await run._seed() == "1 SKUs, 4 units"
            row = rows.sale(sale.name)
            assert row is not None
            assert (await stock.seed_state()).epoch == row.epoch
            epochs.append(row.epoch)
        assert len(set(epochs)) == 2

    asyncio.run(scenario())
