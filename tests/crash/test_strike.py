"""What `make crash` says of its coverage, and what docs/crash-matrix.md says the points are."""

import re
from pathlib import Path

from matrix import Case
from strike import Results

from saleops.adapters.fault_points import ACTS, POINTS, REPAIR_POINTS, REPAIRS, fitting

PAGE = (Path(__file__).parents[2] / "docs" / "crash-matrix.md").read_text(encoding="utf-8")


def test_a_run_counts_the_points_and_pairs_that_were_struck() -> None:
    point = "order.place.after"
    results = Results([(point, "kill"), (point, "slow"), ("order.half.after", "kill")])
    case = Case(1, point, "kill")

    results.add(case, case.play())

    assert results.covered() == "1 of 2"
    assert (results.covered("kill"), results.covered("slow")) == ("1 of 2", "0 of 1")
    assert results.covered_pairs() == "1 of 3"


def test_the_page_lists_every_act_of_every_actor() -> None:
    table = PAGE.partition("<!-- points -->")[2].partition("<!-- end of points -->")[0]
    rows = re.findall(r"^\| `([a-z]+)` \| (.+) \|$", table, flags=re.M)

    said = [(actor, tuple(re.findall(r"`([a-z-]+)`", acts))) for actor, acts in rows]

    assert said == [*ACTS.items(), *REPAIRS.items()]


def test_the_page_counts_points_and_pairs_as_they_are() -> None:
    pairs = sum(len(fitting(point)) for point in (*POINTS, *REPAIR_POINTS))
    total = len(POINTS) + len(REPAIR_POINTS)

    assert (
        f"{total}: {len(POINTS)} of a sale, {len(REPAIR_POINTS)} of repairs; {pairs} pairs" in PAGE
    )
