"""The real locust child against a real, tiny shop on loopback."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from saleops.adapters import locust_load
from saleops.adapters.file_state import JWT_SECRET
from saleops.adapters.locust_load import LocustLoad
from saleops.domain.traffic import LoadShape, shape_for
from saleops.errors import UpstreamError
from saleops.operations.loadtest import report_of
from saleops.ports.load import LoadRequest, LoadResult, LoadTick

SECRET = "0123456789abcdef" * 4


class Shop(ThreadingHTTPServer):
    """Answers like the services, and remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.paths: list[str] = []
        self.orders: dict[str, dict[str, Any]] = {}  # by Idempotency-Key
        self.wishes: dict[str, tuple[str, int, str]] = {}
        self.buyers: set[str] = set()
        self.units = 10**9
        self.fails: list[int] = []  # statuses for the next orders
        self.page_status = 200
        self.stalls_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def order(self, buyer: str, key: str, wish: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            self.buyers.add(buyer)
            self.wishes[key] = (wish["sku"], wish["units"], wish["payment_token"])
            if self.fails:
                status = self.fails.pop()
                return status, {"type": f"/problems/failed-{status}"}
            if key not in self.orders:
                if self.units < wish["units"]:
                    return 409, {"type": "/problems/sold-out"}
                self.units -= wish["units"]
                number = f"{len(self.orders):032x}"
                self.orders[key] = {"order_id": number, "buyer": buyer, **wish}
            return 201, self.orders[key]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shop

    def do_GET(self) -> None:
        shop = self.server
        with shop.lock:
            shop.asked["page"] += 1
            shop.paths.append(self.path)
        if self.path.endswith("/orders"):
            buyer = self.buyer()
            mine = [one for one in list(shop.orders.values()) if one["buyer"] == buyer]
            self.answer(200, {"orders": mine})
        else:
            self.answer(shop.page_status, {"type": "/problems/broken"})

    def do_POST(self) -> None:
        shop = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with shop.lock:
            shop.asked["order"] += 1
            first = shop.asked["order"] == 1
        if shop.stalls_s and first:
            time.sleep(shop.stalls_s)
        self.answer(*shop.order(self.buyer(), self.headers["idempotency-key"], body))

    def buyer(self) -> str:
        token = self.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="saleops", issuer="shop")
        return str(claims["sub"])

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status == 503:
            self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def shape(seconds: float = 3.0, peak: float = 60.0) -> LoadShape:
    return shape_for(baseline_rps=20, peak_rps=peak, step_s=0.5, duration_s=seconds)


def request_for(url: str, **changes: Any) -> LoadRequest:
    settings: dict[str, Any] = {
        "base_url": url,
        "shape": shape(),
        "demand": [(f"sku/{number}", 1.0 + number) for number in range(50)],
        "seed": 7,
        "run": "t",
        "hs256_secret": SECRET,
        "audience": "saleops",
        "issuer": "shop",
        "page_views_per_order": 3.0,
        "replay_share": 0.3,
    }
    return LoadRequest(**(settings | changes))


def run(request: LoadRequest, ticks: list[LoadTick] | None = None) -> LoadResult:
    seen = ticks if ticks is not None else []
    return asyncio.run(LocustLoad().run(request, seen.append))


def test_the_counts_are_what_the_shop_saw(shop: Shop) -> None:
    ticks: list[LoadTick] = []
    shop.units = 10

    result = run(request_for(shop.url), ticks)

    assert not result.error_samples
    assert result.requests == shop.asked.total() == sum(result.requests_each_second)
    assert result.pages.total == shop.asked["page"]
    assert result.checkouts.total == shop.asked["order"]
    assert result.both.total == result.requests
    assert result.orders == len(shop.orders) > 3
    assert result.units == sum(order["units"] for order in shop.orders.values())
    assert result.replays > 0
    assert result.sold_out == len(shop.wishes) - len(shop.orders) > 0
    assert len(shop.buyers) == len(shop.wishes), "every order is a new buyer's"
    assert all("/sku%2F" in path for path in shop.paths if "products" in path)
    assert [int(tick.second) for tick in ticks] == list(range(1, len(ticks) + 1))


def test_requests_come_at_the_rate_of_the_shape(shop: Shop) -> None:
    load = shape(seconds=4.0, peak=100)

    result = run(request_for(shop.url, shape=load))

    assert result.requests == pytest.approx(load.requests_by(4.0), rel=0.08)
    assert result.seconds == pytest.approx(4.0, abs=0.7)
    assert not report_of(result, load).saturated


def test_a_seed_makes_the_same_demand_again(shop: Shop) -> None:
    def wishes(seed: int, run_name: str) -> dict[str, tuple[str, int, str]]:
        shop.wishes = {}
        run(request_for(shop.url, seed=seed, run=run_name, replay_share=0.0, shape=shape(2.5)))
        return {key.replace(f"-{run_name}-", "-"): wish for key, wish in shop.wishes.items()}

    first, again, other = wishes(7, "a"), wishes(7, "b"), wishes(8, "c")

    # A slow answer may push a user's last order over the end: what both runs ordered is compared.
    both = first.keys() & again.keys()
    assert len(both) >= 0.8 * max(len(first), len(again)) > 5
    assert {key: first[key] for key in both} == {key: again[key] for key in both}
    assert sorted(other.values()) != sorted(first.values())


def test_failing_pages_are_errors_with_their_words(shop: Shop) -> None:
    shop.page_status = 500

    result = run(request_for(shop.url, page_views_per_order=1000.0, shape=shape(seconds=2.5)))

    assert result.errors == result.requests == shop.asked["page"]
    assert result.error_samples["GET /products/{sku}: 500 broken"] > 0


def test_an_unclear_answer_is_asked_again_under_the_same_key(shop: Shop) -> None:
    shop.fails = [503, 504, 429, 503]

    result = run(request_for(shop.url, replay_share=0.0))

    assert not result.error_samples
    assert result.retries == 4
    assert result.orders == len(shop.orders) == len(shop.wishes)


def test_a_refused_order_is_an_error(shop: Shop) -> None:
    shop.fails = [401, 500]

    result = run(request_for(shop.url))

    assert result.error_samples == {
        "POST /orders: 401 failed-401": 1,
        "POST /orders: 500 failed-500": 1,
    }


def test_a_stall_shows_in_the_slowest_checkouts(shop: Shop) -> None:
    shop.stalls_s = 1.2

    result = run(request_for(shop.url))

    assert result.checkouts.percentile_ms(1.0) >= 1_200
    assert result.checkouts.percentile_ms(0.5) < 600


def test_a_load_begins_when_the_doors_are_said_to_open(shop: Shop) -> None:
    load = shape(seconds=2.5)
    opens_ms = int(time.time() * 1000) + 2_500
    first_order: list[float] = []
    place = shop.order

    def timed(*wish: Any) -> Any:
        first_order.append(time.time() * 1000)
        return place(*wish)

    shop.order = timed  # type: ignore[method-assign]

    result = run(request_for(shop.url, shape=load, opens_ms=opens_ms, page_views_per_order=0.5))

    assert min(first_order) >= opens_ms - 5
    assert result.requests == pytest.approx(load.requests_by(9), rel=0.1)


def test_a_generator_that_is_late_leaves_out_what_it_missed(shop: Shop) -> None:
    load = shape(seconds=4.0)
    opens_ms = int(time.time() * 1000) - 1_000  # a second ago

    result = run(request_for(shop.url, shape=load, opens_ms=opens_ms))

    assert 0 < result.requests < 0.8 * load.requests_by(4.0)
    assert result.requests_each_second[0] == 0


def children() -> set[int]:
    """Processes whose parent we are."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def test_cancelling_stops_the_child(shop: Shop) -> None:
    before = children()

    async def scenario() -> set[int]:
        started = asyncio.Event()
        load = asyncio.create_task(
            LocustLoad().run(request_for(shop.url, shape=shape(60.0)), lambda _: started.set())
        )
        await asyncio.wait_for(started.wait(), 30)
        running = children() - before
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        return running

    running = asyncio.run(scenario())

    assert len(running) == 1
    assert children() & running == set()
    asked = shop.asked.total()
    time.sleep(0.3)
    assert shop.asked.total() == asked, "nothing is sent any more"


def test_a_child_that_crashes_is_reported_in_its_own_words(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locust_load, "_MODULE", "saleops.no_such_module")

    with pytest.raises(UpstreamError, match=r"status 1 and without a result: .*no_such_module"):
        run(request_for(shop.url))


def test_a_child_that_does_not_end_is_stopped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locust_load, "GRACE_S", -58.0)
    before = children()

    with pytest.raises(UpstreamError, match="had not ended"):
        run(request_for(shop.url, shape=shape(60.0)))

    assert children() - before == set()


def test_a_shop_nobody_runs_is_said_at_once(shop: Shop) -> None:
    shop.shutdown()
    shop.server_close()

    with pytest.raises(UpstreamError, match=r"nobody listens at .*; nothing was sent") as caught:
        run(request_for(shop.url))

    assert "saleops serve" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_no_buyer_outlives_the_command(
    shop: Shop, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    sale = tmp_path / "sale.yaml"
    sale.write_text(
        "{apiVersion: saleops/v1, name: drop, items: [{sku: a, name: A, price: 1, stock: 9}], "
        "window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}}"
    )
    (tmp_path / JWT_SECRET).write_text(SECRET)
    command = [sys.executable, "-m", "saleops", "loadtest", str(sale), "--url", shop.url]
    command += ["--state-dir", str(tmp_path), "--issuer", "shop", "--peak", "50"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: shop.asked.total() > 5)
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == code, err.decode()
    assert out == b""
    # A child whose parent was killed notices with its next word, within a second.
    asked = -1
    deadline = time.monotonic() + 10
    while asked != shop.asked.total():
        assert time.monotonic() < deadline, "buyers go on"
        asked = shop.asked.total()
        time.sleep(0.5)


def wait_until(done: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
