"""Reading one's own writes through the gateway of a real serve, with a read replica that has stood still for 15 s."""

import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.config.settings import JwtSettings
from saleops.ports.engines import ServeState
from saleops.wiring import dev_token

LAG_MS = 15_000
SALE = (
    "{apiVersion: saleops/v1, name: drop, items: [{sku: a, name: A, price: 1, stock: 99}], "
    "window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}}"
)


class Shop:
    """A serve on a SQLite primary and a replica that hears of the primary only when told to."""

    def __init__(self, folder: Path) -> None:
        self.primary = folder / "state" / "orders.db"
        self.replica = folder / "replica.db"
        self.url = ""
        self.token = ""

    def replicate(self) -> None:
        """Bring the replica up to now: from here on it stands still."""
        with (
            closing(sqlite3.connect(self.primary)) as source,
            closing(sqlite3.connect(self.replica)) as target,
        ):
            source.backup(target)

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(connection):
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(text), found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    with closing(SqliteOrderBook.from_url(f"sqlite:///{shop.replica}")) as empty:
        empty.migrate()
    sale, state = tmp_path / "sale.yaml", tmp_path / "state"
    sale.write_text(SALE)
    log = tmp_path / "serve.log"
    words = [sys.executable, "-m", "saleops"]
    subprocess.run(
        [*words, "seed", str(sale), "--state-dir", str(state)], check=True, capture_output=True
    )
    flags = ["serve", "--open-now", "--port", "0"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*words, *flags, "--sale", str(sale), "--state-dir", str(state)],
            stdout=out,
            stderr=out,
            env={**os.environ, "SALEOPS_REPLICA_URL": f"sqlite:///{shop.replica}"},
        )
    try:
        deadline = time.monotonic() + 40
        while not shop.url:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
            if (state / "serve.json").exists():
                found = msgspec.json.decode((state / "serve.json").read_bytes(), type=ServeState)
                shop.url = found.url
        secret = (state / "jwt.secret").read_text().strip()
        shop.token = dev_token(secret, "ann", ttl_s=600, settings=JwtSettings())
        yield shop
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()


def test_a_buyer_sees_order_and_payment_at_once_whatever_the_replica_knows(shop: Shop) -> None:
    # Ordered: the replica has not heard of it, and nobody is told "no such order", token or not.
    status, order, said = shop.ask("POST", "/orders", {"sku": "a"}, idempotency_key="k1")
    assert status == 201, order
    cookie, token = said["set-cookie"].split(";")[0], said["saleops-consistency"]
    path = f"/orders/{order['order_id']}"
    for headers in ({}, {"cookie": cookie}, {"saleops_consistency": token}):
        assert shop.ask("GET", path, **headers)[1]["state"] == "unpaid"
        [listed] = shop.ask("GET", "/orders", **headers)[1]["orders"]
        assert listed["order_id"] == order["order_id"]
    # A second order while the replica knows the first alone: with the token both are listed.
    shop.replicate()
    _, second, said = shop.ask("POST", "/orders", {"sku": "a"}, idempotency_key="k2")
    cookie = said["set-cookie"].split(";")[0]
    assert len(shop.ask("GET", "/orders", cookie=cookie)[1]["orders"]) == 2
    assert len(shop.ask("GET", "/orders")[1]["orders"]) == 1, "the replica is really asked"
    # The same request again is the same order, however far behind the replica is.
    status, again, said = shop.ask("POST", "/orders", {"sku": "a"}, idempotency_key="k2")
    assert (status, again["order_id"]) == (201, second["order_id"])
    assert said["idempotent-replayed"] == "true"

    # Paid long after the order: the order's own token is over by then, the payment brings a new one.
    shop.replicate()
    status, paid, said = shop.ask("POST", f"{path}/payments", {"token": "tok_visa"})
    assert (status, paid["state"]) == (200, "paid")
    fresh, cookie = said["saleops-consistency"], said["set-cookie"].split(";")[0]
    stale = str(int(fresh) - 4 * LAG_MS - 1)
    assert shop.ask("GET", path, saleops_consistency=stale)[1]["state"] == "unpaid"
    for headers in ({"saleops_consistency": fresh}, {"cookie": cookie}):
        assert shop.ask("GET", path, **headers)[1]["state"] in ("paid", "shipped")
    # As far behind as we plan for, the token still leads to the primary.
    late = str(int(fresh) - LAG_MS)
    assert shop.ask("GET", path, saleops_consistency=late)[1]["state"] in ("paid", "shipped")

    # Payments and parcels never ask the replica.
    assert shop.ask("GET", f"{path}/payments")[1]["state"] in ("paid", "shipped")
    deadline = time.monotonic() + 20
    while not shop.ask("GET", f"{path}/parcels")[1]["parcels"]:
        assert time.monotonic() < deadline, "no parcel"
        time.sleep(0.05)
    assert shop.ask("GET", path, saleops_consistency=fresh)[1]["state"] == "shipped"
    assert shop.ask("GET", path)[1]["state"] == "unpaid", "the replica still stands still"


def test_a_replica_that_is_gone_costs_nobody_an_answer(shop: Shop) -> None:
    _, order, _ = shop.ask("POST", "/orders", {"sku": "a"}, idempotency_key="k1")
    shop.replica.unlink()
    shop.replica.write_bytes(b"this is no database")

    assert shop.ask("GET", f"/orders/{order['order_id']}")[0] == 200
