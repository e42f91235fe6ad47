"""``saleops mq`` on real engines: a half that ran out of check-backs alarms, and a recheck gets its orders paid."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from test_dlq_replay import SALE, Shop

from checkout import body_of, order_of, until
from saleops.adapters.streams_broker import StreamsBroker
from saleops.domain.messages import ORDERS, decode_batch
from saleops.domain.orders import Order, TxState
from saleops.ports.broker import Half, Resolution
from saleops.wiring import open_broker, open_order_book


@pytest.fixture(params=[("valkey_url", "sqlite_url"), ("redis_url", "mysql_url")], ids=" ".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    broker, database = (request.getfixturevalue(name) for name in request.param)
    return Shop(database, broker, tmp_path)


def discard(shop: Shop, halves: dict[str, list[Order]]) -> None:
    """Send a half message for each tx_id and let it run out of checks, as if the database were away all the time."""

    async def unknown(half: Half) -> Resolution:
        return Resolution.UNKNOWN

    async def scenario() -> None:
        broker = StreamsBroker.from_url(
            shop.broker_url, sale=SALE, check_after_ms=1, check_interval_ms=1, check_max=2
        )
        for tx_id, orders in halves.items():
            await broker.send_half(ORDERS, tx_id, body_of(orders, tx_id))
        await broker.start_checks([ORDERS], unknown)

        async def all_discarded() -> bool:
            return await broker.discarded_count(ORDERS) == len(halves)

        await until(all_discarded)
        await broker.close()

    asyncio.run(scenario())


def visible(shop: Shop) -> Counter[str]:
    """How many visible messages hold each order."""

    async def scenario() -> Counter[str]:
        async with open_broker(shop.broker_url, sale=SALE) as broker:
            return Counter(
                [
                    line.order_id
                    async for body in broker.browse(ORDERS)
                    for line in decode_batch(body).orders
                ]
            )

    return asyncio.run(scenario())


def test_a_discarded_half_alarms_and_a_recheck_gets_its_orders_paid_and_shipped_once(
    shop: Shop,
) -> None:
    orders = shop.sell(range(3))  # committed under tx-0
    discard(shop, {"tx-0": orders, "tx-never": [order_of(50)]})

    alarm = shop.run("mq", "status", "-o", "json")
    assert alarm.returncode == 3
    status = json.loads(alarm.stdout)
    assert (status["ok"], status["discarded"], status["discarded_committed"]) == (False, 2, 1)
    assert "mq recheck" in alarm.stderr
    planned = shop.json("mq", "recheck", "--dry-run")
    assert {one["tx_id"]: one["action"] for one in planned["items"]} == {
        "tx-0": "announce",
        "tx-never": "close",
    }
    refused = shop.run("mq", "recheck")
    assert refused.returncode == 5
    assert "Announce 3 orders of 1 group commit of" in refused.stderr
    assert visible(shop) == {}

    report = shop.json("mq", "recheck", "--yes")

    assert (report["announced_orders"], report["closed"], report["forgotten"]) == (3, 1, 2)
    assert visible(shop) == Counter(order.order_id for order in orders)
    with open_order_book(shop.database_url) as book:
        assert book.tx_state("tx-never") is TxState.ABORTED
        assert any(entry.command == "mq recheck" for entry in book.journal(limit=10))
    assert shop.json("mq", "status")["ok"]
    assert shop.json("mq", "recheck", "--sweep", "--older-than", "0", "--yes")["items"] == [
        {
            "tx_id": "tx-0",
            "source": "sweep",
            "state": "committed",
            "age_s": None,
            "checks": 0,
            "orders": 3,
            "missing": [],
            "action": "forget",
        }
    ]
    assert visible(shop) == Counter(order.order_id for order in orders)
    shop.consume()
    shop.check_each_paid_and_shipped_once(orders)


def test_a_sweep_announces_durable_orders_whose_half_is_nowhere_to_be_found(shop: Shop) -> None:
    orders = shop.sell(range(2))
    assert shop.json("mq", "recheck", "--sweep", "--dry-run")["items"] == [], "too young by default"
    assert shop.json("mq", "recheck", "--dry-run")["items"] == []

    report = shop.json("mq", "recheck", "--sweep", "--older-than", "0", "--yes")

    assert (report["swept"], report["announced_orders"]) == (1, 2)
    shop.consume()
    shop.check_each_paid_and_shipped_once(orders)
    nothing = shop.json("mq", "recheck", "--sweep", "--older-than", "0", "--yes")
    assert nothing["items"] == [] or nothing["items"][0]["missing"] == []


def test_the_status_counts_what_is_on_its_way(shop: Shop) -> None:
    orders = shop.sell(range(2))
    shop.letters(orders[:1], paid=[])

    done = shop.run("mq", "status")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "dead letters\t1" in lines
    assert "discarded halves\t✓ 0" in lines
    assert "orders\tpayment\t0\t0\t0\t1" in lines
