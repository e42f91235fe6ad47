"""What a rehearsal would do with a sale, what it says it changed, and what makes it a GO."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from saleops.config.sale import Sale, load_sale
from saleops.domain.verdict import Check, Figures, judge, verdict_of
from saleops.errors import ConfigError
from saleops.operations.rehearse import RPS_PER_CORE, plan_rehearsal

SALE_FILE = """\
apiVersion: saleops/v1
name: drop
window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}
items:
  - {sku: A, name: A, price: 1.00, stock: 5}
  - {sku: B, name: B, price: 1.00, stock: 7}
traffic: {baseline_rps: 400, peak_rps: 40000, step_s: 5}
"""


@pytest.fixture
def sale(tmp_path: Path) -> Sale:
    return sale_of(tmp_path, SALE_FILE)


def sale_of(folder: Path, text: str) -> Sale:
    path = folder / "sale.yaml"
    path.write_text(text)
    return load_sale(path)


def test_the_peak_is_scaled_to_the_cores_and_said_so(sale: Sale) -> None:
    plan = plan_rehearsal(sale, cores=4)

    assert plan.peak_rps == RPS_PER_CORE * 4
    assert plan.baseline_rps == RPS_PER_CORE * 4 / 100  # as 400 is to 40,000
    assert "peak scaled from 40,000 to 1,200 rps, what 4 cores carry" in plan.notes[0]
    assert "--peak" in plan.notes[0]


def test_a_peak_that_is_asked_for_is_taken_as_it_is(sale: Sale) -> None:
    plan = plan_rehearsal(sale, peak_rps=5_000, cores=1)

    assert (plan.peak_rps, plan.baseline_rps) == (5_000, 50)
    assert not any("scaled" in note for note in plan.notes)


def test_a_sale_this_machine_carries_is_not_scaled(tmp_path: Path) -> None:
    small = sale_of(tmp_path, SALE_FILE.replace("40000", "500"))
    plan = plan_rehearsal(small, cores=2)

    assert (plan.peak_rps, plan.baseline_rps) == (500, 400)
    assert not any("scaled" in note for note in plan.notes)


def test_a_baseline_never_vanishes(sale: Sale) -> None:
    assert plan_rehearsal(sale, peak_rps=10).baseline_rps == 5


@pytest.mark.parametrize("duration_s", [6, 20, 60, 3600])
def test_the_load_takes_as_long_as_was_asked(sale: Sale, duration_s: float) -> None:
    plan = plan_rehearsal(sale, duration_s=duration_s)

    assert plan.duration_s == pytest.approx(duration_s)
    assert plan.shape.hold_s > 0
    assert plan.shape.lead_s >= 0.8


def test_every_thing_made_to_fit_is_in_the_notes(sale: Sale) -> None:
    notes = plan_rehearsal(sale).notes

    assert any("the doors open when everything is ready" in note for note in notes)
    assert any(note == "reservations lapse after 5 s instead of 60 s" for note in notes)
    assert any(note == "unpaid orders are cancelled after 12 s instead of 900 s" for note in notes)


def test_what_fits_already_is_not_in_the_notes(tmp_path: Path) -> None:
    quick = SALE_FILE + "reservations: {ttl_s: 5}\npayment: {ttl_s: 12}\n"
    notes = plan_rehearsal(sale_of(tmp_path, quick)).notes

    assert not any("instead of" in note for note in notes)


def test_the_plan_counts_what_is_for_sale(sale: Sale) -> None:
    plan = plan_rehearsal(sale, seed=7, order_workers=3)
    assert (plan.items_count, plan.units_count, plan.seed, plan.order_workers) == (2, 12, 7, 3)


def test_a_bad_item_is_found_before_anything_is_planned(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,name,price,stock\nA,A,1.00,5\nB,B,1.00,-5\n")
    head, _, tail = SALE_FILE.partition("items:")
    text = f"{head}items: {{file: items.csv}}\ntraffic:{tail.partition('traffic:')[2]}"
    with pytest.raises(ConfigError, match=r"items\.csv:3"):
        plan_rehearsal(sale_of(tmp_path, text))


# -- the verdict ---------------------------------------------------------------------------------------------


@dataclass
class Balance:
    balanced: bool = True
    breaks_count: int = 0
    oversold_units: int = 0
    orphan_orders: int = 0


GOOD = Figures(
    orders=10,
    sold_out=3,
    error_rate=0.001,
    checkout_p99_ms=400,
    target_rps=100,
    achieved_rps=90,
)
RULES: dict[str, Any] = {
    "prewarm_queries": 0,
    "killed_back": True,
    "drained": True,
    "error_rate_max": 0.001,
    "checkout_p99_max_ms": 400,
    "reached_share": 0.9,
}


def checks_of(balance: Balance | None = None, load: Figures = GOOD, **rules: Any) -> list[Check]:
    return judge(balance or Balance(), load, **{**RULES, **rules})


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def test_on_every_limit_it_is_a_go() -> None:
    checks = checks_of()
    assert failed(checks) == []
    assert verdict_of(checks) == "GO"


@pytest.mark.parametrize(
    ("balance", "load", "rules", "name"),
    [
        (Balance(balanced=False, breaks_count=1), {}, {}, "the ledger balances"),
        (Balance(oversold_units=1), {}, {}, "nothing is oversold"),
        (Balance(orphan_orders=1), {}, {}, "every order was announced"),
        (Balance(), {"orders": 0}, {}, "buyers ordered"),
        (Balance(), {"error_rate": 0.00101}, {}, "errors seen by buyers"),
        (Balance(), {}, {"killed_back": False}, "the killed worker came back"),
        (Balance(), {}, {"drained": False}, "payment and shipping drained"),
        (Balance(), {}, {"prewarm_queries": 1}, "the cache was warm"),
    ],
)
def test_one_thing_over_its_limit_is_a_no_go(
    balance: Balance, load: dict[str, Any], rules: dict[str, Any], name: str
) -> None:
    checks = checks_of(balance, replace(GOOD, **load), **rules)
    assert failed(checks) == [name]
    assert verdict_of(checks) == "NO-GO"


@pytest.mark.parametrize(
    ("load", "name"),
    [
        ({"achieved_rps": 89.9}, "the load was as wanted"),
        ({"checkout_p99_ms": 401}, "checkout p99"),
    ],
)
def test_a_slow_machine_warns_and_does_not_decide(load: dict[str, Any], name: str) -> None:
    checks = checks_of(load=replace(GOOD, **load))
    assert failed(checks) == [name]
    assert verdict_of(checks) == "GO"


def test_without_an_objective_there_is_no_latency_check() -> None:
    names = [check.name for check in checks_of(checkout_p99_max_ms=None)]
    assert "checkout p99" not in names


def test_the_deciding_checks_come_first() -> None:
    decides = [check.decides for check in checks_of()]
    assert decides == sorted(decides, reverse=True)


def test_every_check_says_what_it_found_and_what_was_wanted() -> None:
    assert all(check.value and check.wanted for check in checks_of())
