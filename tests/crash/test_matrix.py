"""The crash matrix, shortened: every point is struck once by an action that fits, and each sale keeps its promises."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matrix import Case, short_matrix
from sale import play

from saleops.adapters.fault_points import ACTS, BEYOND, POINTS, REPAIR_POINTS, REPAIRS, fitting
from saleops.config.settings import Fault

HERE = Path(__file__).parent
SERVICES = HERE.parents[1] / "services"
SEEDS = 3  # a point; `make crash` plays as many as its minutes allow


@pytest.fixture(scope="module")
def played() -> tuple[dict[str, int], list[str]]:
    """What the short matrix passed, and their violations with the line that replays them."""
    passed: dict[str, int] = {}
    wrong: list[str] = []
    for case in short_matrix(SEEDS):
        verdict = case.play()
        for point, count in verdict.passed.items():
            passed[point] = passed.get(point, 0) + count
        wrong += [f"{case.replay}: {violation}" for violation in verdict.violations]
    return passed, wrong


def test_no_sale_of_the_matrix_breaks_a_promise(played: tuple[dict[str, int], list[str]]) -> None:
    _, wrong = played
    assert wrong == []


def test_every_act_of_the_order_path_has_its_points_in_the_list(
    played: tuple[dict[str, int], list[str]],
) -> None:
    passed, _ = played
    beyond = {f"{act}.{side}" for act in BEYOND for side in ("before", "after")}
    known = {*POINTS, *REPAIR_POINTS, *beyond}
    assert sorted(set(passed) - known) == []


def test_every_point_of_the_list_is_passed(played: tuple[dict[str, int], list[str]]) -> None:
    passed, _ = played
    assert sorted(set(POINTS) - set(passed)) == []


def test_the_same_case_is_the_same_sale() -> None:
    case = Case(7, "order.commit.after", "kill")

    first, second = (case.play() for _ in range(2))

    assert first.struck > 0
    assert first.trace == second.trace


def test_another_seed_is_another_sale() -> None:
    assert play(1).trace != play(2).trace


def test_a_case_replays_in_another_process() -> None:
    """What `make crash SEED= POINT= ACTION=` shows is the sale that failed, whatever the hash seed there."""
    case = Case(7, "order.commit.after", "kill")
    command = [sys.executable, str(HERE / "strike.py"), "--seed", "7", "--point", case.point]
    shown = subprocess.run(
        [*command, "--action", case.action],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()

    trace = case.play().trace

    assert [line.split()[-1] for line in shown[: len(trace)]] == [what for _, _, what in trace]
    assert shown[-1] == "points 1, runs 1, violations 0"


@pytest.mark.parametrize("action", ["kill", "lost-request", "lost-reply", "twice", "slow", "down"])
def test_a_fault_strikes_at_its_passage_and_nowhere_else(action: str) -> None:
    side = "before" if action == "lost-request" else "after"
    fault = Fault(point=f"order.reserve.{side}", action=action, at=2, length_ms=500)

    verdict = play(3, [fault])

    at = [n for n, (_, who, _) in enumerate(verdict.trace) if who == "fault"]
    assert [verdict.trace[n][2] for n in at] == [action]
    assert [what for _, _, what in verdict.trace[: at[0]]].count(fault.point) == 2
    assert verdict.deaths == (action == "kill")
    assert verdict.violations == []


def test_every_action_fits_somewhere() -> None:
    assert {action for point in POINTS for action in fitting(point)} == {
        "kill", "lost-request", "lost-reply", "twice", "slow", "late", "down",
    }  # fmt: skip


def test_what_the_services_ask_of_a_port_is_an_act_of_the_list() -> None:
    """Read from their source, so that an act that no sale of ours reaches is missed by nobody."""
    from saleops.adapters.faults import _ACTS, _NO_ACTS

    known = {act for acts in (*ACTS.values(), *REPAIRS.values()) for act in acts}
    known |= {act.partition(".")[2] for act in BEYOND}
    asked: set[str] = set()
    for path in sorted(SERVICES.glob("*/*.py")) + sorted(SERVICES.glob("*.py")):
        if path.parent.name in ("catalog", "gateway"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and _is_port(node.value):
                asked.add(node.attr)
    methods = asked - _NO_ACTS - {"run", "book", "start_checks", "commits_once"}
    methods -= {"sale", "every_order"}  # read within calls that have acts of their own
    names = {_ACTS.get(method, method.replace("_", "-")) for method in methods}
    assert sorted(name for name in names - known if name not in ("publish",)) == []


def _is_port(node: ast.expr) -> bool:
    """``self._stock``, ``broker``, ``self._book.book`` and the like."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    if name == "book":
        return isinstance(node, ast.Attribute)
    return name.lstrip("_") in ("stock", "broker", "provider")
