"""The pages' bodies, keys and lifetimes."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.domain.pages import (
    ReviewEntry,
    encode_list,
    encode_product,
    encode_related,
    encode_reviews,
    is_sku,
    spread_ttl_ms,
    ttl_range_ms,
)
from shelf import item


def test_a_product_page_shows_the_price_and_not_the_stock() -> None:
    page = json.loads(encode_product(item(1)))

    assert page["price_fen"] == 101
    assert "stock" not in page
    assert "popularity" not in page


def test_no_page_is_ever_the_empty_bytes_that_mean_absent() -> None:
    assert all([encode_product(item(1)), encode_list([], limit=5), encode_related("a", [])])
    assert encode_reviews("a", [ReviewEntry(5, "", 0)])


@pytest.mark.parametrize(("there", "shown", "after"), [(0, 0, False), (5, 5, False), (6, 5, True)])
def test_a_list_knows_whether_more_follows(there: int, shown: int, after: bool) -> None:
    page = json.loads(encode_list([item(n) for n in range(there)], limit=5))

    assert len(page["products"]) == shown
    assert page["next"] == (page["products"][-1]["sku"] if after else "")


@pytest.mark.parametrize("text", ["a", "A-1_b.c:d/e", "x" * 64])
def test_these_can_be_skus(text: str) -> None:
    assert is_sku(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a\n", "ä", "{a}", "a*", "a\x00"])
def test_these_cannot(text: str) -> None:
    assert not is_sku(text)


@pytest.mark.parametrize(
    ("ttl_ms", "jitter", "expected"),
    [(1000, 0.2, (800, 1200)), (1000, 0, (1000, 1000)), (1, 0.9, (1, 2))],
)
def test_lives_lie_around_the_usual_time(
    ttl_ms: int, jitter: float, expected: tuple[int, int]
) -> None:
    assert ttl_range_ms(ttl_ms, jitter) == expected


@pytest.mark.parametrize(("ttl_ms", "jitter"), [(0, 0.2), (-5, 0.2), (1000, 1), (1000, -0.1)])
def test_lives_of_nothing_are_the_callers_mistake(ttl_ms: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="no lifetimes"):
        ttl_range_ms(ttl_ms, jitter)


@given(
    count=st.integers(500, 4000),
    first=st.integers(0, 2_000_000),
    start=st.floats(0, 1, exclude_max=True),
    width_s=st.integers(75, 600),
)
def test_no_second_ends_more_than_two_percent_of_any_row_of_pages(
    count: int, first: int, start: float, width_s: int
) -> None:
    low_ms, high_ms = 60_000, 60_000 + width_s * 1000
    lives = [spread_ttl_ms(n, start, low_ms, high_ms) for n in range(first, first + count)]

    assert low_ms <= min(lives) <= max(lives) <= high_ms
    assert max(Counter(ms // 1000 for ms in lives).values()) <= 0.02 * count
