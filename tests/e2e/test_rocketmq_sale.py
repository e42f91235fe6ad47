"""A whole sale from the command line on RocketMQ, Redis and MariaDB: rehearsed, and with order workers killed on purpose."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rocketmq_server import RocketmqServer
from saleops import wiring
from saleops.adapters.jwt_tokens import issue_dev_token
from saleops.config.settings import FAULTS_VARIABLE, Fault
from saleops.domain.orders import OrderState

pytestmark = [pytest.mark.xdist_group("rocketmq"), pytest.mark.timeout(200)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
SALEOPS = (sys.executable, "-m", "saleops")
RUN_TIMEOUT_S = 120
STRIKES_WITHIN_S = 40
BALANCED_WITHIN_S = 90
CREDENTIALS = ("a-key", "a-secret-nobody-may-see")


class Bench:
    """The engines, by environment as an operator names them, and a folder to work in; ``home`` is to stay empty."""

    def __init__(self, folder: Path, redis: str, database: str, broker: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.state = folder / "state"
        self.database = database
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")
        }
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "SALEOPS_REDIS_URL": redis,
            "SALEOPS_DATABASE_URL": database,
            "SALEOPS_BROKER_URL": broker,
            "SALEOPS_STATE_DIR": str(self.state),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SALEOPS, *words, "-o", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )


class StrangeRocketmq(RocketmqServer):
    """One whose proxy is as upstream ships it: it remembers for 20 s that a topic was not there, which the tests' own forgets
    after a second."""

    def proxy_settings(self) -> dict[str, object]:
        settings = super().proxy_settings()
        ours = ("topicRouteServiceCache", "minInvisibleTime", "grpcClientConsumerMin")
        return {name: value for name, value in settings.items() if not name.startswith(ours)}


@pytest.fixture(scope="module")
def strange_rocketmq() -> Iterator[RocketmqServer]:
    server = StrangeRocketmq()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def bench(strange_rocketmq: RocketmqServer, redis_url: str, mysql_url: str) -> Iterator[Bench]:
    broker = strange_rocketmq.url.replace("//", f"//{':'.join(CREDENTIALS)}@")
    # Not tmp_path: the path of a unix socket must stay short.
    with tempfile.TemporaryDirectory(prefix="so-") as folder:
        yield Bench(Path(folder), redis_url, mysql_url, broker)


def assert_discreet(bench: Bench, *said: str) -> None:
    """No credentials and nothing of the client library's in what was said, nothing in the home folder."""
    for text in said:
        assert CREDENTIALS[1] not in text
        assert "Traceback" not in text
        assert "rocketmq-python-client" not in text
    assert list(bench.home.iterdir()) == []


def test_the_example_sale_is_a_go_on_rocketmq(bench: Bench) -> None:
    done = bench.run("rehearse", str(EXAMPLE), "--duration", "6", "--peak", "200", "--keep")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["verdict"], report["ledger"]["balanced"]) == ("GO", True)
    assert report["ledger"]["orders"] > 0
    assert report["ledger"]["orphan_orders"] == report["ledger"]["oversold_units"] == 0
    assert report["killed"]["back_after_s"] > 0
    assert report["load"]["errors"] == 0
    logs = [path.read_text() for path in Path(report["state_dir"], "logs").glob("*.log")]
    assert_discreet(bench, done.stdout, done.stderr, *logs)


# -- killed between the database's commit and the message's ----------------------------------------------------


class Shop:
    """A ``saleops serve`` on the bench's engines, and its buyers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sale_file = bench.folder / "sale.yaml"
        self.sale_file.write_text(
            EXAMPLE.read_text()
            .replace("name: midnight-drop", "name: mq-kill")
            .replace("ttl_s: 10 #", "ttl_s: 3 #")
            .replace("ttl_s: 15 #", "ttl_s: 4 #")
        )
        (bench.folder / "items.csv").write_text("sku,name,price,stock\nhot,Hot,9.00,4000\n")
        self.promised: set[str] = set()
        self.log = bench.folder / "serve.log"
        self._numbers = count()

    @contextmanager
    def serving(self, *faults: Fault) -> Iterator[None]:
        told = {FAULTS_VARIABLE: msgspec.json.encode(faults).decode()} if faults else {}
        command = [*SALEOPS, "serve", "--sale", str(self.sale_file), "--open-now", "--port", "0"]
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                [*command, "-o", "json"],
                env={**self.bench.environment, **told},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                text = ""
                while not text.endswith("\n}\n"):
                    line = process.stdout.readline()
                    assert line, self.log.read_text()[-3000:]
                    text += line
                self._url = json.loads(text)["url"]
                self._secret = wiring.running_shop(self.bench.state).hs256_secret
                yield
                process.terminate()
                assert process.wait(20) == 0, "drained within its bounds"
            finally:
                process.kill()

    def buy_some(self) -> None:
        with ThreadPoolExecutor(8) as buyers:
            list(buyers.map(self._buy, [next(self._numbers) for _ in range(16)]))

    def _buy(self, number: int) -> None:
        """One order, sent until it has an answer. All are paid for: a deadline in the hands of a killed worker takes 30 s."""
        body = {"sku": "hot", "units": 1, "payment_token": "tok_visa"}
        token = issue_dev_token(
            self._secret, f"buyer-{number}", ttl_s=600, audience="saleops", now_s=time.time()
        )
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "idempotency-key": f"key-{number}",
        }
        request = urllib.request.Request(f"{self._url}/orders", json.dumps(body).encode(), headers)
        for attempt in range(30):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    self.promised.add(json.load(answer)["order_id"])
                    return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in (502, 503):
                    raise
            except OSError:
                pass
            time.sleep(0.05 * (1 + attempt))
        raise AssertionError(f"buyer {number} never heard whether the order was taken")

    def ledger(self) -> tuple[int, dict[str, Any]]:
        done = self.bench.run("reconcile", str(self.sale_file))
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


def test_a_worker_killed_between_the_two_commits_leaves_nothing_undone(bench: Bench) -> None:
    shop = Shop(bench)
    assert bench.run("seed", str(shop.sale_file)).returncode == 0
    marks = {
        point: bench.folder / point
        for point in ("order.place.after", "order.commit.before", "order.commit.after")
    }
    faults = [
        Fault(point=point, action="kill", at=3, mark=str(mark)) for point, mark in marks.items()
    ]
    with shop.serving(*faults):
        deadline = time.monotonic() + STRIKES_WITHIN_S
        while not all(mark.exists() for mark in marks.values()):
            assert time.monotonic() < deadline, shop.log.read_text()[-3000:]
            shop.buy_some()
        deadline = time.monotonic() + BALANCED_WITHIN_S
        while (found := shop.ledger())[0] != 0:
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
        status = bench.run("mq", "status", str(shop.sale_file))

    assert status.returncode == 0, status.stdout + status.stderr
    assert found[1]["balanced"]
    with wiring.open_order_book(bench.database) as book:
        there = book.orders(sorted(shop.promised))
    assert shop.promised
    assert {one for one in shop.promised if one not in there} == set()
    assert OrderState.TOMBSTONE not in {order.state for order in there.values()}
    assert_discreet(bench, shop.log.read_text())
