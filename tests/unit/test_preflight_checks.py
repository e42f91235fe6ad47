"""The preflight's arithmetic: exactly enough, one missing, nothing wanted; what nobody saw; how nodes are bought."""

import pytest

from saleops.domain.cloud.nodepools import Spot
from saleops.domain.cloud.preflight import (
    Check,
    QuotaName,
    addresses_wanted,
    bought_as,
    enough,
    peak_is_bought,
    protection,
    quota_in,
    stated,
    still_to_buy,
    unseen,
    verdict_of,
)

HOUR_MS = 3_600_000


def of(wanted: float, available: float, *, decides: bool = True) -> Check:
    return enough(
        "vCPU",
        "nodepool",
        "quota",
        asked="ecs X",
        wanted=wanted,
        available=available,
        why="it matters",
        todo="do this",
        decides=decides,
    )


@pytest.mark.parametrize(
    ("wanted", "available", "missing"),
    [(400, 400, 0), (400, 399, 1), (400, 256, 144), (0, 0, 0), (1, 0, 1), (0, -5, 0), (3, -5, 3)],
)
def test_what_is_missing_is_wanted_less_free_and_a_quota_below_its_use_frees_nothing(
    wanted: int, available: int, missing: int
) -> None:
    check = of(wanted, available)

    assert check.missing == missing
    assert check.ok is (missing == 0)
    assert bool(check.why) is bool(check.todo) is (missing > 0)


def test_a_shortfall_says_its_three_numbers() -> None:
    assert of(1_400, 256).said == "1,400 wanted, 256 free, 1,144 missing"


def test_prices_are_not_rounded_away() -> None:
    check = of(0.131, 0.12)
    assert check.missing == pytest.approx(0.011)
    assert "0.011 missing" in check.said


def test_one_short_check_is_no_go_and_a_warning_is_not() -> None:
    assert verdict_of([of(1, 1), of(0, 0)]) == "GO"
    assert verdict_of([of(1, 1), of(2, 1)]) == "NO-GO"
    assert verdict_of([of(2, 1, decides=False)]) == "GO"
    assert verdict_of([]) == "GO"


def test_what_nobody_saw_is_no_go_until_a_person_accepts_it_and_never_hides_a_shortfall() -> None:
    blind = unseen(of(5, 100), "denied")

    assert not blind.ok
    assert not blind.checked
    assert blind.available is None
    assert "denied" in blind.said
    assert "--accept-unchecked" in blind.todo
    assert verdict_of([blind]) == "NO-GO"
    assert verdict_of([blind], accepted="looked it up") == "GO"
    assert verdict_of([blind, of(2, 1)], accepted="looked it up") == "NO-GO"


def test_a_thing_without_a_number_is_all_missing_or_not_at_all() -> None:
    no = stated("class", "cache", "offer", asked="x", ok=False, said="no", wanted=4, todo="t")
    yes = stated("class", "cache", "offer", asked="x", ok=True, said="yes", wanted=4, todo="t")
    assert (no.missing, yes.missing, yes.todo) == (4, 0, "")


def row(name: str, total: float, used: float, code: str = "q") -> dict[str, object]:
    return {"QuotaName": name, "QuotaActionCode": code, "TotalQuota": total, "TotalUsage": used}


def test_a_quota_is_found_by_its_name_and_of_several_the_tightest_counts() -> None:
    rows = [row("vCPUs of spot", 10, 2, "a"), row("Spot vCPU of a zone", 9, 5, "b"), row("x", 1, 1)]

    found = quota_in(rows, QuotaName("ecs", (("spot", "preemptible"), ("vcpu",))))

    assert found is not None
    assert (found.code, found.free) == ("b", 4)
    assert quota_in(rows, QuotaName("ecs", (("disk",),))) is None
    assert quota_in(rows, QuotaName("ecs", (("vcpu",),), ("spot",))) is None
    assert (
        quota_in([{"QuotaName": "vcpu", "TotalQuota": None}], QuotaName("", (("vcpu",),))) is None
    )


@pytest.mark.parametrize(
    ("nodes", "share", "base", "split"),
    [
        (27, 0.7, 0, (9, 18)),
        (20, 0.7, 0, (6, 14)),
        (20, 0.7, 6, (6, 14)),
        (1, 0.7, 0, (1, 0)),
        (0, 0.7, 0, (0, 0)),
        (5, 0.0, 0, (5, 0)),
        (5, 1.0, 0, (0, 5)),
        (3, 0.7, 9, (3, 0)),
    ],
)
def test_a_pool_is_split_towards_on_demand(
    nodes: int, share: float, base: int, split: tuple[int, int]
) -> None:
    assert bought_as(nodes, Spot(share, base)) == split


@pytest.mark.parametrize("had", range(32))
def test_what_is_still_to_buy_and_what_is_there_make_up_the_pool(had: int) -> None:
    on_demand, on_spot = still_to_buy(27, had, Spot(0.7))

    assert on_demand + on_spot == max(0, 27 - had)
    assert on_demand >= 0
    assert on_spot >= 0


@pytest.mark.parametrize(
    ("need", "in_use", "ours", "wanted"),
    [(100, 0, 80, 100), (100, 80, 80, 20), (100, 200, 80, 20), (100, 50, 0, 100), (5, 9, 9, 0)],
)
def test_addresses_that_our_own_hold_are_had_and_strangers_are_not(
    need: int, in_use: int, ours: int, wanted: int
) -> None:
    assert addresses_wanted(need, in_use=in_use, ours=ours) == wanted


def test_protection_that_ends_before_the_sale_warns_with_the_seconds_missing() -> None:
    short = protection(18, opens_ms=0, closes_ms=2 * HOUR_MS)
    exact = protection(18, opens_ms=0, closes_ms=HOUR_MS // 2)
    none = protection(0, opens_ms=0, closes_ms=9 * HOUR_MS)

    assert (short.ok, short.decides, short.missing) == (False, False, 5_400)
    assert exact.ok
    assert none.ok


def test_a_peak_that_is_neither_bought_nor_reserved_warns() -> None:
    assert (peak_is_bought(3, 30).ok, peak_is_bought(3, 30).missing) == (False, 3)
    assert not peak_is_bought(3, 30).decides
    assert peak_is_bought(0, 30).ok
