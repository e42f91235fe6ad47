"""The simulation, against cases computed by hand, and what must hold whatever happens: no pod appears or is lost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saleops.domain.timeline.demand import Demand, sale_demand
from saleops.domain.timeline.model import (
    Hpa,
    Outcome,
    Pool,
    Reclaim,
    Run,
    Scenario,
    Service,
)
from saleops.domain.timeline.pod_times import PodTimes
from saleops.domain.timeline.reactive import compare
from saleops.domain.timeline.series import Stretch, shortages, stretches
from saleops.domain.timeline.simulate import simulate
from saleops.domain.traffic import shape_for

# schedule 1 + image 9 + start 10 + readiness 5 + load balancer 16 = 41 s until they serve
TIMES = PodTimes(1, 9, 10, 5, 16, 0, 10, 15, 45)
FLAT = Demand(((0, 1000.0),))


def course_of(outcome: Outcome, name: str = "order") -> tuple[Stretch, ...]:
    course = next(one for one in outcome.courses if one.service.name == name)
    return stretches(course, outcome.scenario.seconds)


def sizes(series: tuple[Stretch, ...]) -> list[tuple[int, int, int]]:
    return [(one.second, one.seconds, one.pods) for one in series]


def test_more_pods_serve_after_their_start_and_fewer_after_the_load_balancer_knows() -> None:
    runs = (Run(100, 30, False, "up"), Run(300, 10, False, "down"))

    outcome = simulate(Scenario(600, (Service("order", 20, 50.0, TIMES, runs=runs, demand=FLAT),)))

    assert sizes(course_of(outcome)) == [(0, 141, 20), (141, 169, 30), (310, 290, 10)]


def test_without_a_prestop_pods_are_gone_at_once_and_requests_fail() -> None:
    times = PodTimes(1, 9, 10, 5, 16, 0, 10, 0, 30)

    outcome = simulate(
        Scenario(600, (Service("order", 20, 50.0, times, runs=(Run(300, 10, False, "down"),)),))
    )

    assert sizes(course_of(outcome)) == [(0, 300, 20), (300, 300, 10)]
    said = next(one.text for one in outcome.events if one.kind == "leave")
    assert "requests still come to them for 10 s more and fail" in said


def test_a_slow_start_grows_evenly_from_nothing() -> None:
    times = PodTimes(0, 0, 0, 0, 10, 10, 0, 0, 0)

    outcome = simulate(
        Scenario(60, (Service("order", 0, 100.0, times, runs=(Run(5, 10, False, "up"),)),))
    )

    found = {one.second: one.capacity_rps for one in course_of(outcome)}
    assert found[0] == 0
    assert [found[15 + n] for n in range(11)] == [100.0 * n for n in range(11)]


def test_pods_that_still_start_are_the_first_to_go() -> None:
    runs = (Run(100, 30, False, "up"), Run(120, 20, False, "back"))

    outcome = simulate(Scenario(300, (Service("order", 20, 50.0, TIMES, runs=runs),)))

    assert sizes(course_of(outcome)) == [(0, 300, 20)]


def test_two_jobs_of_one_second_are_flagged_and_the_smaller_is_taken_to_win() -> None:
    runs = (Run(100, 10, False, "a"), Run(100, 30, False, "b"))

    outcome = simulate(Scenario(300, (Service("order", 20, 50.0, TIMES, runs=runs),)))

    assert [one.kind for one in outcome.events if one.kind == "conflict"] == ["conflict"]
    assert outcome.courses[0].counts[-1].wanted == 10


def test_a_job_skipped_by_its_hpa_leaves_min_and_the_pods_go_before_the_sale() -> None:
    hpa = Hpa("h", 10, 200, target=0.5)
    quiet = Demand(((0, 500.0),))

    early = simulate(
        Scenario(1800, (Service("order", 50, 100.0, TIMES, hpa=hpa, runs=(Run(60, 40, True, "up"),), demand=quiet),))
    )  # fmt: skip
    assert "skipped: 50 are 40 or more, min stays 10" in [one.text for one in early.events]
    assert early.courses[0].counts[-1].wanted == 10


def test_pods_wait_for_nodes_that_boot() -> None:
    pool = Pool("core", 4000, 8192, 10, desired=1, low=1, high=3, scales=True, boot_s=120)
    service = Service("order", 4, 50.0, TIMES, 1000, 1024, runs=(Run(100, 12, False, "up"),))

    outcome = simulate(Scenario(600, (service,), (pool,)))

    # two nodes of four pods: there at 220, pods serve 41 s later
    assert sizes(course_of(outcome)) == [(0, 261, 4), (261, 339, 12)]
    assert outcome.nodes == ((0, 1), (220, 3))


def test_a_pool_at_its_max_leaves_pods_waiting_for_good() -> None:
    pool = Pool("core", 4000, 8192, 10, desired=1, low=1, high=2, scales=True)
    service = Service("order", 4, 50.0, TIMES, 1000, 1024, runs=(Run(100, 12, False, "up"),))

    outcome = simulate(Scenario(900, (service,), (pool,)))

    assert outcome.courses[0].counts[-1].pending == 4
    assert any("for 4 of them the pools may not grow" in one.text for one in outcome.events)


def test_an_empty_node_goes_after_ten_minutes_but_not_below_the_pools_min() -> None:
    pool = Pool("core", 4000, 8192, 10, desired=3, low=2, high=3, scales=True)
    service = Service("order", 12, 50.0, TIMES, 1000, 1024, runs=(Run(100, 1, False, "down"),))

    outcome = simulate(Scenario(1200, (service,), (pool,)))

    # 20 s until the pods have gone (preStop 15 and 5), 600 s empty
    assert outcome.nodes == ((0, 3), (720, 2))


def test_a_reclaim_takes_its_share_and_pods_come_back_when_nodes_have_booted() -> None:
    service = Service("order", 100, 50.0, TIMES, demand=FLAT)

    outcome = simulate(Scenario(600, (service,), reclaim=Reclaim(0.3, 60)))

    assert sizes(course_of(outcome)) == [(0, 60, 100), (60, 161, 70), (221, 379, 100)]


def test_a_reclaim_of_nodes_takes_the_spot_ones() -> None:
    core = Pool("core", 4000, 8192, 10, desired=2, low=2, high=2)
    spot = Pool("spot", 4000, 8192, 10, desired=2, low=2, high=2, spot=True)
    service = Service("order", 16, 50.0, TIMES, 1000, 1024, demand=FLAT)

    outcome = simulate(Scenario(600, (service,), (core, spot), Reclaim(0.5, 60)))

    assert outcome.nodes == ((0, 4), (60, 3))
    assert outcome.courses[0].counts[-1].ready == 12
    assert outcome.courses[0].counts[-1].pending == 4


def test_a_reclaim_does_not_take_pods_that_require_nodes_on_demand() -> None:
    core = Service("core", 10, 50.0, TIMES, 1000, 1024, demand=FLAT, on_demand=True)
    pool = Pool("core", 4000, 8192, 10, desired=3, low=3, high=3)
    spot = Pool("spot", 4000, 8192, 10, desired=3, low=3, high=3, spot=True)

    for pools in ((), (spot,), (spot, pool)):
        outcome = simulate(Scenario(600, (core,), pools, Reclaim(1.0, 60)))

        assert sizes(course_of(outcome, "core")) == [(0, 600, 10)]


def test_a_shortage_names_its_second_its_length_and_its_cause() -> None:
    runs = (Run(120, 10, False, "cron/down x.yaml:15"), Run(1410, 100, False, "cron/up"))
    demand = Demand(((0, 5000.0),))
    times = PodTimes(1, 20, 10, 0, 16, 0, 10, 0, 30)

    outcome = simulate(
        Scenario(3600, (Service("order", 100, 450.0, times, runs=runs, demand=demand),))
    )
    found = shortages(outcome, outcome.courses[0], course_of(outcome))

    assert [(one.begin, one.end, one.worst_rps, one.lost) for one in found] == [
        (120, 1457, 500.0, 668_500)
    ]
    assert found[0].cause == "CronHPA, 100 to 10 pods: cron/down x.yaml:15"


def test_a_step_of_a_hundred_is_too_fast_for_an_hpa_and_not_for_pods_that_are_there() -> None:
    demand = Demand(((0, 50.0), (600, 50.0), (605, 5000.0)))
    service = Service("order", 1, 450.0, TIMES, demand=demand)

    found = compare(service, opens_s=600, closes_s=2400, pods=18)

    assert found is not None
    assert found.factor == 100.0
    assert found.prescaled_seconds == 0
    assert found.hpa_seconds > 41 * 3


def test_demand_rises_at_the_opening_and_falls_at_the_close() -> None:
    shape = shape_for(baseline_rps=100, peak_rps=1100, step_s=10, duration_s=700)

    demand = sale_demand(shape, share=0.5, opens_s=100, closes_s=800)

    assert [demand.at(second) for second in (0, 99, 100, 105, 110, 799, 800)] == [
        50, 50, 50, 300, 550, 550, 50,
    ]  # fmt: skip


def test_demand_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order of time"):
        Demand(((5, 1.0), (0, 1.0)))


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        simulate(Scenario(10, (Service("a", 1), Service("a", 1))))


# Whatever happens

_RUN = st.builds(
    Run, st.integers(0, 3000), st.integers(0, 60), st.booleans(), st.sampled_from(["a", "b"])
)
_TIMES = st.builds(
    PodTimes,
    st.integers(0, 2),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 10),
    st.integers(0, 16),
    st.sampled_from([0, 30]),
    st.integers(0, 10),
    st.integers(0, 20),
    st.integers(0, 60),
)
_DEMAND = st.lists(st.floats(0, 20_000), min_size=2, max_size=5).map(
    lambda rates: Demand(tuple((number * 700, rate) for number, rate in enumerate(rates)))
)
_HPA = st.none() | st.builds(
    Hpa, st.just("h"), st.integers(1, 20), st.integers(20, 80), st.sampled_from([0.5, 0.7])
)
_POOL = st.builds(
    Pool,
    st.sampled_from(["core", "burst"]),
    st.just(8000),
    st.just(16_384),
    st.integers(1, 12),
    st.integers(0, 8),
    st.integers(0, 2),
    st.integers(0, 12),
    st.booleans(),
    st.booleans(),
    st.integers(0, 200),
    st.integers(0, 700),
)


@settings(max_examples=120, deadline=None)
@given(
    services=st.lists(
        st.tuples(st.integers(0, 60), _TIMES, st.integers(100, 3000), _HPA, st.lists(_RUN, max_size=6), _DEMAND, st.booleans()),
        min_size=1,
        max_size=4,
    ),
    pools=st.lists(_POOL, max_size=2),
    reclaim=st.none() | st.builds(Reclaim, st.floats(0.01, 1.0), st.integers(0, 3000)),
)  # fmt: skip
def test_no_pod_appears_or_is_lost_and_capacity_is_never_negative(
    services: list[tuple[int, PodTimes, int, Hpa | None, list[Run], Demand, bool]],
    pools: list[Pool],
    reclaim: Reclaim | None,
) -> None:
    scenario = Scenario(
        3600,
        tuple(
            Service(
                f"s{number}", pods, 100.0, times, cpu, 512, hpa, tuple(runs), demand, on_demand=core
            )
            for number, (pods, times, cpu, hpa, runs, demand, core) in enumerate(services)
        ),
        tuple(pools),
        reclaim,
    )

    outcome = simulate(scenario)

    for course in outcome.courses:
        for one in course.counts:
            assert one.made == one.pending + one.starting + one.ready + one.leaving + one.gone
            assert one.wanted == one.pending + one.starting + one.ready
            assert min(one.pending, one.starting, one.ready, one.leaving, one.gone) >= 0
        series = stretches(course, scenario.seconds)
        assert sum(one.seconds for one in series) == scenario.seconds
        assert all(one.capacity_rps >= 0 and one.pods >= 0 for one in series)
        assert all(one.full >= 0 for one in course.servings)
    assert all(count >= 0 for _, count in outcome.nodes)
    assert simulate(scenario) == outcome


def test_a_day_of_fifty_services_runs_in_two_seconds() -> None:
    demand = Demand(
        ((0, 100.0), (43_200, 100.0), (43_205, 9000.0), (50_400, 9000.0), (50_400, 100.0))
    )
    runs = tuple(
        Run(hour * 3600 + minute * 60, pods, True, "c")
        for hour in range(24)
        for minute, pods in ((2, 10), (23, 100))
    )
    services = tuple(
        Service(f"s{number}", 20, 100.0, TIMES, 500, 512, Hpa(f"h{number}", 10, 120), runs, demand)
        for number in range(50)
    )
    pool = Pool("core", 16_000, 32_768, 40, desired=60, low=40, high=400, scales=True)

    began = time.process_time()
    outcome = simulate(Scenario(86_400, services, (pool,)))
    points = sum(len(stretches(one, 86_400)) for one in outcome.courses)

    assert time.process_time() - began < 2.0
    assert points < 50 * 5_000
