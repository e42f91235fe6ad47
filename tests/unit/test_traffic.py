"""The shape of a sale's load, and who wants what."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.domain.traffic import HOT_ITEMS, Demand, LoadShape, shape_for

SHAPE = LoadShape(baseline_rps=10, peak_rps=110, lead_s=4, step_s=5, hold_s=11, storm_s=5)

shapes = st.builds(
    lambda low, rise, step_s, duration_s: shape_for(
        baseline_rps=low, peak_rps=low + rise, step_s=step_s, duration_s=duration_s
    ),
    st.floats(0.1, 1e4),
    st.floats(0, 1e5),
    st.floats(0.001, 60),
    st.floats(2, 3600),
)


@pytest.mark.parametrize(
    ("second", "rps"),
    [(-0.1, 0), (0, 10), (3.99, 10), (4, 10), (6.5, 60), (9, 110), (19.9, 110), (20, 0), (99, 0)],
)
def test_the_load_goes_from_baseline_over_a_step_to_the_peak(second: float, rps: float) -> None:
    assert SHAPE.rps_at(second) == pytest.approx(rps)


def test_the_refresh_storm_begins_a_moment_before_the_doors_open() -> None:
    assert [SHAPE.storms_at(second) for second in (2.9, 3.0, 8.9, 9.0)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("second", "count"), [(-1, 0), (0, 0), (4, 40), (9, 340), (20, 1550), (21, 1550)]
)
def test_requests_add_up_to_the_area_under_the_shape(second: float, count: float) -> None:
    assert SHAPE.requests_by(second) == pytest.approx(count)


@given(shapes, st.floats(0, 1))
def test_each_request_has_one_due_second(shape: LoadShape, share: float) -> None:
    second = share * shape.duration_s

    again = shape.second_of(shape.requests_by(second))

    assert again == pytest.approx(second, abs=1e-6, rel=1e-6)


@given(shapes)
def test_a_shape_fits_into_its_duration_and_never_exceeds_its_peak(shape: LoadShape) -> None:
    seconds = [shape.duration_s * part / 50 for part in range(50)]

    assert shape.hold_s > 0
    assert shape.step_s <= shape.duration_s / 5 * 1.000001
    assert all(0 < shape.rps_at(second) <= shape.peak_rps * 1.000001 for second in seconds)


@pytest.mark.parametrize(
    ("baseline", "peak", "duration"), [(0, 1, 10), (1, 0, 10), (-1, 5, 10), (1, 5, 1.9)]
)
def test_a_load_that_makes_no_sense_is_refused(
    baseline: float, peak: float, duration: float
) -> None:
    with pytest.raises(ValueError, match="a load needs"):
        shape_for(baseline_rps=baseline, peak_rps=peak, step_s=1, duration_s=duration)


def test_skus_are_drawn_by_popularity() -> None:
    demand = Demand([("hot", 90.0), ("never", 0.0), ("cold", 10.0)])
    rng = random.Random(1)

    drawn = Counter(demand.draw(rng.random()) for _ in range(10_000))

    assert set(drawn) == {"hot", "cold"}
    assert drawn["hot"] == pytest.approx(9_000, rel=0.03)


@given(
    st.lists(st.floats(0, 1e12), min_size=1, max_size=50),
    st.floats(0, 1, exclude_max=True),
)
def test_every_draw_is_a_sku_of_the_sale_that_somebody_wants(
    weights: list[float], x: float
) -> None:
    demand = Demand([(str(number), weight) for number, weight in enumerate(weights)])

    sku = demand.draw(x)

    # A weight that the sum of the others swallows (1e-9 beside 1e12) cannot be told from 0.
    assert weights[int(sku)] > 0 or not any(weights) or max(weights) > 1e9 * min(weights)


def test_the_hottest_are_few_and_in_a_fixed_order() -> None:
    demand = Demand([(f"s{number}", float(number % 3)) for number in range(30)])

    assert demand.hottest == sorted(demand.hottest)
    assert len(demand.hottest) == HOT_ITEMS


def test_items_nobody_asked_for_are_drawn_evenly_and_no_items_is_a_bug() -> None:
    assert Demand([("a", 0.0), ("b", 0.0)]).draw(0.75) == "b"
    with pytest.raises(ValueError, match="without items"):
        Demand([])
