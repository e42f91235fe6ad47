"""An engine loses something in the middle of the sale, and its repair is struck too: nothing is lost in the end."""

import pytest
from matrix import Case, cases
from mutants import MUTANTS, written_table
from sale import Verdict, play
from world import Loss, Makers, SimBroker

from saleops.adapters.fault_points import REPAIR_POINTS, fitting

PAIRS = [(point, action) for point in REPAIR_POINTS for action in fitting(point)]


@pytest.fixture(scope="module")
def repaired() -> list[tuple[Case, Verdict]]:
    """Every action that fits at every point of a repair, once."""
    every = cases(points=REPAIR_POINTS)
    return [(case, case.play()) for case, _ in zip(every, PAIRS, strict=False)]


def test_no_sale_whose_repair_is_struck_breaks_a_promise(
    repaired: list[tuple[Case, Verdict]],
) -> None:
    wrong = [f"{case.replay}: {one}" for case, verdict in repaired for one in verdict.violations]
    assert wrong == []


def test_every_point_of_a_repair_is_passed_and_most_are_struck(
    repaired: list[tuple[Case, Verdict]],
) -> None:
    passed = {point for _, verdict in repaired for point in verdict.passed}
    struck = {case.point for case, verdict in repaired if case.point in verdict.struck_at}

    assert set(REPAIR_POINTS) - passed == set()
    assert len(struck) > 0.8 * len(REPAIR_POINTS)


@pytest.mark.parametrize("seed", [55, 248, 255, 262])
def test_marks_that_are_kept_slowly_do_not_look_like_an_older_copy(seed: int) -> None:
    """A worker that keeps the first marks slowly reads what the others have sold meanwhile; nothing was lost."""
    verdict = Case(seed, "epoch.keep-marks.after", "slow").play()

    assert verdict.violations == []
    assert [point for point in verdict.passed if point.startswith("rebuild.")] == []


class TwiceVisible(SimBroker):
    """A broker that may show a committed message twice: the ledger takes no offence there."""

    commits_once = False


def test_what_is_announced_twice_is_charged_once_and_only_a_broker_that_commits_once_is_blamed() -> (
    None
):
    """The sweep sends what payment has seen already: named in the ledger, and no buyer pays again."""
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == "announces-announced"]
    case = written_table()[mutant.name]
    makers = mutant.makers()

    strict, lenient = mutant.play(case), case.play(Makers(makers.book, broker=TwiceVisible))

    assert {one.split()[0] for one in strict.violations} == {"duplicate-message"}
    assert lenient.violations == []


def test_a_server_started_anew_that_lost_nothing_is_verified_and_not_rebuilt() -> None:
    verdict = play(5, loss=Loss("order.confirm.before", at=2, what="nothing"))

    assert verdict.violations == []
    assert verdict.passed["rebuild.finish-sale.after"] == 1
    assert "rebuild.clear.before" not in verdict.passed
