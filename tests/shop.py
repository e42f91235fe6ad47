"""A whole shop for tests: the five services as the processes they are, behind their gateway, on engines given by URL."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from saleops import wiring
from saleops.adapters.jwt_tokens import issue_dev_token
from saleops.config.settings import SETTINGS_VARIABLE, Admission, JwtSettings, ServiceSettings
from saleops.domain.items import Item
from saleops.domain.stock import partition_of
from saleops.ports.orders import SaleRow
from saleops.ports.stock import SeedRow

SALE, EPOCH = "drop", "e1"
SECRET = "a development secret of forty characters"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
SERVICES = ("catalog", "order", "payment", "shipping", "gateway")


def token_for(buyer: str) -> str:
    """A token that the shop takes for an hour."""
    return issue_dev_token(SECRET, buyer, ttl_s=3600, audience="saleops", now_s=time.time())


class Shop:
    """``with Shop(...) as shop:`` seeds ``items``, starts the services and waits until each of them is ready."""

    def __init__(
        self, redis_url: str, database_url: str, items: Sequence[Item], *, logs: Path
    ) -> None:
        self._redis_url = redis_url
        self._database_url = database_url
        self._items = items
        self._logs = logs
        self._ports, self._admin_ports = _free_ports(len(SERVICES)), _free_ports(len(SERVICES))
        self._workers: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()
        self.url = f"http://127.0.0.1:{self._ports[-1]}"

    def log_text(self) -> str:
        """What all services wrote to their logs."""
        return "\n".join(path.read_text() for path in sorted(self._logs.glob("*.log")))

    def __enter__(self) -> "Shop":
        asyncio.run(self._seed())
        try:
            for name, port, admin_port in zip(
                SERVICES, self._ports, self._admin_ports, strict=True
            ):
                self._start(name, port, admin_port)
            for admin_port in self._admin_ports:
                self._wait_until_ready(admin_port)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    async def _seed(self) -> None:
        with wiring.open_order_book(self._database_url) as book:
            book.migrate()
            units = sum(item.stock for item in self._items)
            book.begin_sale(SaleRow(SALE, EPOCH, "v1", len(self._items), units, False))
            book.add_items([(item, 1) for item in self._items])
            book.finish_sale(SALE)
        async with wiring.open_stock_store(self._redis_url, sale=SALE) as stock:
            await stock.begin_seed(EPOCH, "v1")
            for item in self._items:
                row = SeedRow(item.sku, item.stock, item.price_fen, item.limit_per_buyer)
                await stock.seed(EPOCH, partition_of(item.sku), [row])
            await stock.finish_seed(EPOCH, {})

    def _start(self, name: str, port: int, admin_port: int) -> None:
        upstreams = {
            service: f"http://127.0.0.1:{upstream}"
            for service, upstream in zip(SERVICES, self._ports, strict=True)
            if service != "gateway"
        }
        settings = ServiceSettings(
            sale=SALE,
            redis_url=self._redis_url,
            database_url=self._database_url,
            broker_url=self._redis_url,
            jwt=JwtSettings(hs256_secret=SECRET),
            admission=Admission(per_buyer_rps=0),
            upstreams=upstreams,
        )
        log = self._stack.enter_context((self._logs / f"{name}.log").open("ab"))
        command = [sys.executable, "-m", "saleops.services.worker", name]
        self._workers.append(
            subprocess.Popen(
                [*command, "--port", str(port), "--admin-port", str(admin_port)],
                env={**os.environ, SETTINGS_VARIABLE: msgspec.json.encode(settings).decode()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        )

    def _wait_until_ready(self, admin_port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError) as error:
                ended = [worker for worker in self._workers if worker.poll() is not None]
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"not ready: {error}\n{self.log_text()[-3000:]}") from error
            time.sleep(0.05)

    def _stop(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(STOP_TIMEOUT_S)
        self._stack.close()


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now. All are held until all are known, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
