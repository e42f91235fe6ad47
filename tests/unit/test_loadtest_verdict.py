"""What a load test sends where, and what it makes of the answers. The generator itself: tests/integration."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from saleops.cli.main import main
from saleops.config.sale import Sale, load_sale
from saleops.domain.items import Item
from saleops.domain.traffic import LoadShape
from saleops.errors import ConfigError, Refused
from saleops.events import Advanced, Event, Finished, Started
from saleops.operations import loadtest
from saleops.operations.loadtest import (
    LoadReport,
    apply_loadtest,
    check_target,
    demand_of,
    plan_loadtest,
    report_of,
)
from saleops.ports.load import LoadRequest, LoadResult, LoadTick

SHAPE = LoadShape(baseline_rps=10, peak_rps=100, lead_s=2, step_s=1, hold_s=7, storm_s=2)
URL = "http://127.0.0.1:8080"
SALE = """\
apiVersion: saleops/v1
name: midnight
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items: [{sku: a, name: A, price: 1, stock: 5, popularity: 3}, {sku: b, name: B, price: 1, stock: 5, popularity: 0}]
traffic: {baseline_rps: 400, peak_rps: 40000}
objectives: {checkout_p99_ms: 400, error_rate: 0.01}
"""


@pytest.fixture
def sale_file(tmp_path: Path) -> Path:
    path = tmp_path / "sale.yaml"
    path.write_text(SALE)
    return path


@pytest.fixture
def sale(sale_file: Path) -> Sale:
    return load_sale(sale_file)


class CannedLoad:
    """A generator that sends nothing and answers with ``result``."""

    def __init__(self, result: LoadResult) -> None:
        self.result = result

    async def run(self, request: LoadRequest, on_tick: Callable[[LoadTick], None]) -> LoadResult:
        on_tick(LoadTick(1.0, 10.0, 10, 1, 0, 0))
        on_tick(LoadTick(99.0, 0.0, self.result.requests, self.result.orders, 3, 2))
        return self.result


def result_of(*, rps: int = 100, checkout_s: float = 0.05, errors: int = 0) -> LoadResult:
    """Ten seconds at ``rps``."""
    result = LoadResult(
        requests=rps * 10,
        orders=80,
        units=90,
        sold_out=3,
        errors=errors,
        seconds=10.0,
        requests_each_second=[rps] * 10,
        error_samples={"POST /orders: 500": errors} if errors else {},
    )
    for _ in range(100):
        result.checkouts.record(checkout_s)
        result.both.record(checkout_s)
    return result


def request_of(shape: LoadShape) -> LoadRequest:
    return LoadRequest(
        base_url=URL,
        shape=shape,
        demand=[("a", 1.0)],
        seed=1,
        run="r",
        hs256_secret="s" * 32,
        audience="saleops",
    )


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "http://localhost", "https://[::1]:8443", "http://127.9.9.9/shop"],
)
def test_this_machine_may_be_loaded(url: str) -> None:
    check_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example.com",
        "http://10.0.0.7:8080",
        "http://localhost.evil.example",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0:80",
        "http://2130706433",
    ],
)
def test_a_foreign_host_is_refused_unless_it_is_named_again(url: str) -> None:
    with pytest.raises(Refused, match="not this machine") as caught:
        check_target(url)
    assert caught.value.exit_code == 5
    host = url.partition("://")[2].partition(":")[0]
    assert caught.value.hint == f"If it is yours to load: --allow-host {host}"
    with pytest.raises(Refused):
        check_target(url, allow_host="another.example.com")

    check_target(url, allow_host=host.upper())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http:///products",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://[::1",
        "http://me:secret@127.0.0.1",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nx: y",
    ],
)
def test_what_is_no_url_of_a_shop_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigError, match="nothing was sent") as caught:
        check_target(url)
    assert "secret" not in caught.value.message


def test_demand_is_the_most_popular_items_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadtest, "DEMAND_ITEMS_MAX", 2)
    items = [
        Item(sku, "x", 1, 1, popularity=p) for sku, p in (("a", 1), ("b", 5), ("c", 0), ("d", 3))
    ]

    assert demand_of(iter(items)) == [("b", 5), ("d", 3)]
    with pytest.raises(ConfigError, match="nobody would buy"):
        demand_of(iter(items[2:3]))


def test_the_plan_fits_the_peak_to_this_machine_and_says_so(sale: Sale) -> None:
    plan = plan_loadtest(sale, url=URL, duration_s=14, cores=2)

    assert plan.peak_rps == 600
    assert plan.baseline_rps == 6
    assert plan.expected_requests == round(plan.shape.requests_by(14))
    assert "scaled from 40,000 to 600 rps" in plan.notes[0]
    assert plan.objectives == {"error_rate": 0.01, "checkout_p99_ms": 400}


def test_a_peak_that_was_asked_for_is_not_changed(sale: Sale) -> None:
    plan = plan_loadtest(sale, url=URL, peak_rps=5_000, duration_s=14)

    assert (plan.peak_rps, plan.baseline_rps, plan.notes) == (5_000, 50, ())


def test_figures_of_the_peak_leave_out_the_way_up_and_the_end() -> None:
    result = result_of()
    result.requests_each_second = [10, 10, 50, 999, 100, 90, 110, 100, 100, 7]

    report = report_of(result, SHAPE)

    assert report.achieved_rps == pytest.approx(100)  # seconds 4 to 8
    assert report.orders_per_s == 10.0
    assert not report.saturated


def test_a_load_that_broke_off_was_not_reached() -> None:
    result = result_of()
    result.requests_each_second = [10, 10, 50, 100, 100]

    assert report_of(result, SHAPE).achieved_rps == pytest.approx(20)
    assert report_of(LoadResult(), SHAPE).saturated


@pytest.mark.parametrize(
    ("result", "verdict", "missed"),
    [
        (result_of(), "GO", []),
        (result_of(errors=10), "GO", []),
        (result_of(errors=11), "NO-GO", ["errors seen by buyers"]),
        (result_of(checkout_s=0.42), "NO-GO", ["checkout p99"]),
        (result_of(rps=90), "GO", []),
        (result_of(rps=89), "INVALID", ["the load was as wanted"]),
        (
            result_of(rps=10, errors=50),
            "INVALID",
            ["the load was as wanted", "errors seen by buyers"],
        ),
    ],
)
def test_the_verdict_follows_from_the_objectives(
    sale: Sale, result: LoadResult, verdict: str, missed: list[str]
) -> None:
    plan = plan_loadtest(sale, url=URL, peak_rps=100, duration_s=10)
    seen: list[Event] = []

    report = asyncio.run(
        apply_loadtest(plan, request_of(SHAPE), runner=CannedLoad(result), observe=seen.append)
    )

    assert report.verdict == verdict
    assert [check.name for check in report.checks if not check.ok] == missed
    match seen:
        case [Started("load", 10), Advanced(done=1), Advanced(done=10, note=note), Finished()]:
            assert "2 errors" in note
        case _:
            pytest.fail(f"unexpected events: {seen}")


def test_without_a_checkout_objective_slow_checkouts_are_no_miss(sale_file: Path) -> None:
    sale_file.write_text(SALE.replace("checkout_p99_ms: 400, ", ""))
    plan = plan_loadtest(load_sale(sale_file), url=URL, peak_rps=100, duration_s=10)
    runner = CannedLoad(result_of(checkout_s=9.0))

    assert asyncio.run(apply_loadtest(plan, request_of(SHAPE), runner=runner)).verdict == "GO"


def test_dry_run_prints_the_plan_and_needs_no_shop(
    sale_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["loadtest", str(sale_file), "--url", URL, "--duration", "10", "--dry-run"]
    arguments += ["--state-dir", str(tmp_path / "none"), "--seed", "7", "-o", "json"]

    assert main(arguments) == 0

    plan = json.loads(capsys.readouterr().out)
    assert plan["schema"] == "saleops/loadtest-plan/v1"
    assert (plan["url"], plan["seed"], plan["duration_s"]) == (URL, 7, 10)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        ([], 2, "no serve runs on"),
        (["--url", URL], 2, "holds no secret for development tokens"),
        (["--url", "http://shop.example.com"], 5, "--allow-host shop.example.com"),
        (["--url", URL, "--duration", "2"], 2, "--duration"),
        (["--url", URL, "--peak", "0"], 2, "--peak"),
        (["--url", URL, "--peak", "nan"], 2, "--peak"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_sent(
    sale_file: Path,
    tmp_path: Path,
    extra: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["loadtest", str(sale_file), "--state-dir", str(tmp_path / "none"), *extra]

    assert main(arguments) == code
    assert words in capsys.readouterr().err


def test_a_bad_verdict_shows_the_report_and_exits_3(
    sale_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "jwt.secret").write_text("s" * 64)
    monkeypatch.setattr("saleops.adapters.file_state.JWT_SECRET", "jwt.secret")
    monkeypatch.setattr(
        "saleops.wiring.load_runner", lambda: CannedLoad(result_of(rps=100, errors=500))
    )
    arguments = ["loadtest", str(sale_file), "--state-dir", str(tmp_path), "--url", URL]
    arguments += ["--peak", "100", "--duration", "10"]

    assert main([*arguments, "-o", "json"]) == 3

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == "saleops/loadtest/v1"
    assert document["verdict"] == "NO-GO"
    assert document["load"]["error_samples"] == {"POST /orders: 500": 500}
    assert "s" * 64 not in captured.out + captured.err
    assert main(arguments) == 3
    captured = capsys.readouterr()
    assert "errors seen by buyers: 50.000%, wanted at most 1.000%" in captured.err
    assert "MISSED" in captured.out


def test_locust_never_enters_our_process() -> None:
    code = (
        "import sys; import saleops.cli.loadtest, saleops.adapters.locust_load, saleops.wiring;"
        "saleops.wiring.load_runner(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    loaded = set(done.stdout.split())
    assert {"locust", "gevent", "geventhttpclient", "redis", "pymysql", "granian"} & loaded == set()


def test_report_keys_are_those_that_are_documented() -> None:
    wanted = "requests orders errors rps orders_per_s p50_ms p95_ms p99_ms target_rps achieved_rps"

    assert set(wanted.split()) <= set(LoadReport.__dataclass_fields__)
