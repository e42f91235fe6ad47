"""Percentiles from buckets against a sorted list."""

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from saleops.domain.latency import Histogram

times = st.lists(st.floats(0, 600), min_size=1, max_size=300)


def histogram_of(seconds: list[float]) -> Histogram:
    histogram = Histogram()
    for one in seconds:
        histogram.record(one)
    return histogram


@given(times, st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]))
def test_a_percentile_is_never_too_low_and_at_most_3_2_percent_too_high(
    seconds: list[float], share: float
) -> None:
    rank = max(1, math.ceil(share * len(seconds) - 1e-9))
    exact_us = max(1, int(sorted(seconds)[rank - 1] * 1e6))

    found_us = histogram_of(seconds).percentile_ms(share) * 1000

    assert exact_us * 0.999999 <= found_us <= exact_us * 1.032 + 1


@given(times, times)
def test_merging_two_is_recording_all(left: list[float], right: list[float]) -> None:
    merged = histogram_of(left)
    merged.merge(histogram_of(right))

    assert merged == histogram_of(left + right)


@given(times)
def test_it_survives_json(seconds: list[float]) -> None:
    histogram = histogram_of(seconds)

    assert msgspec.json.decode(msgspec.json.encode(histogram), type=Histogram) == histogram


def test_nothing_recorded_is_zero_and_two_never_share_their_counts() -> None:
    assert Histogram().percentile_ms(0.99) == 0.0
    one, other = Histogram(), Histogram()
    one.record(0.001)
    assert other.counts == {}


def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    histogram = Histogram()
    for number in range(200_000):
        histogram.record((number % 60_000) / 1000)

    assert len(histogram.counts) < 1_000
