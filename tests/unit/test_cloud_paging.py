"""Lists are read to their end, whatever way they page, and never for ever."""

from typing import Any

import pytest

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.paging import (
    CLUSTERS,
    NODES,
    NUMBERED,
    PAGES_MAX,
    QUEUES,
    TOKENED,
    Paging,
    every_page,
)

LIST = Call("vpc", "DescribeVpcs", {"RegionId": "ap-southeast-1"})


def drive(paging: Paging, items: str, *answers: dict[str, Any]) -> tuple[list[Any], list[Call]]:
    reading = every_page(LIST, items, paging)
    asked = [next(reading)]
    for answer in answers:
        try:
            asked.append(reading.send(answer))
        except StopIteration as done:
            return done.value, asked
    raise AssertionError("it asks for more")


@pytest.mark.parametrize(
    ("paging", "first", "second"),
    [
        (NUMBERED.within(2), {"PageNumber": 1, "PageSize": 2}, {"PageNumber": 2, "PageSize": 2}),
        (
            CLUSTERS.within(2),
            {"page_number": 1, "page_size": 2},
            {"page_number": 2, "page_size": 2},
        ),
        (
            NODES.within(2),
            {"pageNumber": "1", "pageSize": "2"},
            {"pageNumber": "2", "pageSize": "2"},
        ),
        (QUEUES.within(2), {"pageNumber": 1, "pageSize": 2}, {"pageNumber": 2, "pageSize": 2}),
    ],
    ids=["PageNumber", "page_number", "text", "pageNumber"],
)
def test_numbered_pages_are_read_until_one_is_not_full(
    paging: Paging, first: dict[str, Any], second: dict[str, Any]
) -> None:
    found, asked = drive(
        paging, "Vpcs.Vpc", {"Vpcs": {"Vpc": [{"n": 1}, {"n": 2}]}}, {"Vpcs": {"Vpc": [{"n": 3}]}}
    )

    assert found == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [call.params for call in asked] == [
        {"RegionId": "ap-southeast-1", **first},
        {"RegionId": "ap-southeast-1", **second},
    ]


def test_a_full_last_page_costs_one_more_call() -> None:
    found, asked = drive(NUMBERED.within(1), "L", {"L": [1]}, {"L": []})

    assert (found, len(asked)) == ([1], 2)


def test_tokens_are_followed_until_there_is_none() -> None:
    found, asked = drive(
        TOKENED, "Quotas", {"Quotas": ["a"], "NextToken": "t1"}, {"Quotas": ["b"], "NextToken": ""}
    )

    assert found == ["a", "b"]
    assert "NextToken" not in asked[0].params
    assert asked[1].params["NextToken"] == "t1"


def test_what_moves_to_the_next_page_while_it_is_read_is_kept_once() -> None:
    found, _ = drive(NUMBERED.within(2), "L", {"L": [{"n": 1}, {"n": 2}]}, {"L": [{"n": 2}]})

    assert found == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "answer", [{}, {"Vpcs": None}, {"Vpcs": {}}, {"Vpcs": {"Vpc": []}}], ids=str
)
def test_an_answer_without_the_list_is_an_empty_list(answer: dict[str, Any]) -> None:
    assert drive(NUMBERED, "Vpcs.Vpc", answer)[0] == []


def test_a_list_that_never_ends_is_given_up() -> None:
    full = [{"L": [number]} for number in range(PAGES_MAX + 1)]

    with pytest.raises(ValueError, match="more than 200 pages"):
        drive(NUMBERED.within(1), "L", *full)
