"""Lead times by hand: each sum, each clock, and what moves when the opening moves."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from saleops.domain.lead_times import (
    NAMES,
    SOURCES,
    Lead,
    LeadTimes,
    Part,
    cache_lead,
    database_lead,
    latest_starts,
    nodes_lead,
    overridden,
    pods_lead,
    t_minus,
)
from saleops.domain.scaling import (
    SeenPods,
    SeenPool,
    WantedPods,
    assign,
    most_common,
    plan_steps,
)

TIMES = LeadTimes()
OPENS = datetime(2026, 11, 27, 0, 0, tzinfo=timezone(timedelta(hours=8)))


def pool(size: int, *, elastic: bool = False) -> SeenPool:
    return SeenPool("nodepool/core", "core", "np", "c", "asg", "", elastic, size, 50, size, size)


def pods(wanted: int, low: int | None = None) -> SeenPods:
    return SeenPods("Deployment", "shop", "order", wanted, wanted, "order" if low else "", low, low)


def test_one_node_and_a_hundred_are_one_batch_and_one_more_is_two() -> None:
    assert nodes_lead(1, TIMES).sum_s == 120 + 60
    assert nodes_lead(100, TIMES).sum_s == 120 + 60
    assert nodes_lead(101, TIMES).sum_s == 240 + 60
    assert nodes_lead(0, TIMES).sum_s == 0


def test_a_pod_s_lead_is_image_start_warm_up_checks_and_slow_start() -> None:
    # 120 MiB are 1,006.6 Mbit; 5 nodes get 1,000 Mbit/s each, so 2 s.
    parts = [one.seconds for one in pods_lead(10, 5, TIMES).parts]

    assert parts == [2, 30, 30, 10 + 3 * 2, 30]
    assert pods_lead(10, 5, TIMES).planned_s == 2 * (2 + 30 + 30 + 16 + 30)


def test_many_nodes_share_the_registry() -> None:
    # 100 nodes over 10,000 Mbit/s: 100 Mbit/s each, 1,006.6 / 100 = 10.07 s.
    assert pods_lead(10, 100, TIMES).parts[0].seconds == 11


def test_databases_take_one_change_and_new_connections() -> None:
    assert database_lead(3, TIMES).sum_s == 600 + 300
    assert cache_lead(1, TIMES).planned_s == 2 * (1800 + 300)


def leads(**given: Lead) -> dict[str, Lead]:
    return {"database": Lead(), "cache": Lead(), "nodes": Lead(), "pods": Lead(), **given}


def seconds(count: int) -> Lead:
    return Lead((Part("x", count, "", ""),))


def test_latest_starts_are_counted_backwards() -> None:
    latest = latest_starts(
        OPENS,
        leads(nodes=seconds(600), pods=seconds(300), database=seconds(900), cache=seconds(100)),
        TIMES,
    )

    assert latest.ready_by == OPENS - timedelta(minutes=15)
    assert latest.pods == OPENS - timedelta(minutes=25)
    assert latest.nodes == OPENS - timedelta(minutes=45)
    assert latest.database == OPENS - timedelta(days=1, minutes=30)
    assert latest.cache == OPENS - timedelta(days=1, seconds=200)


def test_nothing_of_the_day_starts_later_than_half_an_hour_before() -> None:
    with_nodes = latest_starts(OPENS, leads(nodes=seconds(10), pods=seconds(10)), TIMES)
    without = latest_starts(OPENS, leads(pods=seconds(10)), TIMES)

    assert with_nodes.nodes == OPENS - timedelta(minutes=30)
    assert with_nodes.pods == OPENS - timedelta(minutes=15, seconds=20)
    assert without.pods == OPENS - timedelta(minutes=30)


def test_moving_the_opening_moves_every_start() -> None:
    some = leads(nodes=seconds(600), pods=seconds(300), database=seconds(9), cache=seconds(9))
    before = latest_starts(OPENS, some, TIMES)
    after = latest_starts(OPENS + timedelta(hours=3), some, TIMES)

    for phase in ("database", "cache", "nodes", "pods"):
        assert after.of(phase) - before.of(phase) == timedelta(hours=3)


def test_the_lines_are_in_the_sale_s_zone() -> None:
    lines = latest_starts(OPENS, leads(pods=seconds(300)), TIMES).lines

    assert lines[0].startswith("ready by: 2026-11-27 00:00:00 +0800 - 900 s = 2026-11-26 23:45:00")


def test_every_figure_has_a_source() -> None:
    assert set(SOURCES) == set(NAMES)


def test_figures_can_be_given_and_wrong_ones_are_named() -> None:
    assert overridden(TIMES, {"node_batch_s": 300}).node_batch_s == 300
    for name, value in (("nodes", 3.0), ("node_mbps", 0.0), ("factor", 0.5), ("start_s", -1.0)):
        with pytest.raises(ValueError, match=name):
            overridden(TIMES, {name: value})
    with pytest.raises(ValueError, match="start_s"):
        overridden(TIMES, {"start_s": float("nan")})


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (timedelta(hours=-2, minutes=-30), "T-02:30:00"),
        (timedelta(seconds=5), "T+00:00:05"),
        (timedelta(), "T+00:00:00"),
        (timedelta(days=-2, hours=-3), "T-2d 03:00:00"),
    ],
    ids=["before", "after", "now", "days"],
)
def test_the_clock_of_the_sale(delta: timedelta, said: str) -> None:
    assert t_minus(OPENS.astimezone(UTC) + delta, OPENS) == said


def test_a_service_with_one_deployment_instead_of_two_takes_all_the_pods() -> None:
    planned = (WantedPods("order", "order", 7, 9), WantedPods("order", "order-core", 3, 4))

    assert assign(planned, ["order"]) == (WantedPods("order", "order", 10, 13),)
    assert assign(planned, ["order-core"]) == (WantedPods("order", "order-core", 10, 13),)
    assert assign(planned, ["order", "order-core"]) == planned
    assert assign(planned, []) == planned


def test_steps_come_nodes_first_and_ready_ones_are_done() -> None:
    plan = plan_steps(
        opens=OPENS,
        now=OPENS - timedelta(hours=3),
        times=TIMES,
        pods=[(WantedPods("order", "order", 10, 12), pods(2, low=2))],
        pools=[(5, pool(1)), (5, pool(5, elastic=True))],
    )

    assert [(one.phase, one.field, one.verdict) for one in plan.steps] == [
        ("nodes", "desired_size", "ahead"),
        ("nodes", "min_instances", "done"),
        ("pods", "minReplicas", "ahead"),
    ]
    assert plan.go


def test_a_second_after_the_latest_start_is_no_go() -> None:
    def judged(now: datetime) -> bool:
        wanted = [(WantedPods("order", "order", 10, 12), pods(2))]
        return plan_steps(opens=OPENS, now=now, times=TIMES, pods=wanted).go

    assert judged(OPENS - timedelta(minutes=30))
    assert not judged(OPENS - timedelta(minutes=29, seconds=59))


def test_nothing_is_ever_made_smaller() -> None:
    plan = plan_steps(
        opens=OPENS,
        now=OPENS - timedelta(hours=3),
        times=TIMES,
        pods=[(WantedPods("order", "order", 10, 12), pods(30))],
        pools=[(5, pool(9))],
    )

    assert [one.verdict for one in plan.steps] == ["done", "done"]
    assert plan.acts == ()


def test_reasons_are_counted_and_the_rest_summed() -> None:
    reasons = ["b"] * 3 + ["a"] * 3 + ["c"] + ["d"] + ["e"] + ["f"] * 2 + [""]

    assert most_common(reasons, shown=2) == ("3 x a", "3 x b", "5 for other reasons")
