"""The two that set a size, by hand: the CronHPA's table for an HPA, and the HPA's own loop."""

import pytest

from saleops.domain.timeline.autoscaler import CronResult, Loop, cron_on_hpa, recommended
from saleops.domain.timeline.model import Behaviour, Hpa, Policy


@pytest.mark.parametrize(
    ("low", "high", "target", "current", "expected"),
    [
        (1, 10, 4, 5, CronResult(1, 10, None)),  # enough pods: skipped, and min is not raised
        (1, 10, 6, 5, CronResult(6, 10, 6)),
        (5, 10, 4, 5, CronResult(4, 10, None)),
        (5, 10, 11, 5, CronResult(11, 11, 11)),
        (10, 50, 100, 10, CronResult(100, 100, 100)),
        (100, 100, 10, 100, CronResult(10, 100, None)),  # the HPA takes the pods, not the job
        (1, 10, 5, 5, CronResult(1, 10, None)),
    ],
    ids=["enough", "more", "lower min", "above max", "sale up", "sale down", "equal"],
)
def test_a_cronhpa_moves_an_hpas_bounds_as_the_controller_does(
    low: int, high: int, target: int, current: int, expected: CronResult
) -> None:
    assert cron_on_hpa(low, high, current, target) == expected


@pytest.mark.parametrize(
    ("current", "ready", "usage", "expected"),
    [
        (10, 10, 1.0, 15),  # 10 x 100 / 70 = 14.3
        (10, 10, 0.77, 10),  # within 10 % of the target
        (10, 10, 0.35, 5),
        (
            20,
            10,
            1.0,
            20,
        ),  # ten unready ones count as idle: 0.5 of 0.7, no reason to grow, none to shrink
        (14, 10, 1.4, 20),  # 10 x 140 / 70
        (10, 0, 0.0, 10),
        (10, 10, 0.0, 0),
    ],
)
def test_an_hpa_wants_pods_for_its_target(
    current: int, ready: int, usage: float, expected: int
) -> None:
    assert recommended(current, ready, usage, Hpa("h", 1, 100, target=0.7)) == expected


def loop(low: int = 1, high: int = 1000, **changes: object) -> Loop:
    return Loop(Hpa("h", low, high, target=0.5, **changes), low, high)  # type: ignore[arg-type]  # test values


def test_by_default_it_doubles_or_adds_four_in_fifteen_seconds() -> None:
    hpa = loop()

    sizes = [1]
    for second in range(0, 90, 15):
        size, _ = hpa.look(second, sizes[-1], sizes[-1], 50.0)  # a hundred times too much
        sizes.append(size)

    assert sizes == [1, 5, 10, 20, 40, 80, 160]


def test_it_waits_five_minutes_before_it_takes_pods_away() -> None:
    hpa = loop()
    hpa.look(0, 10, 10, 0.5)

    sizes = [hpa.look(second, 10, 10, 0.1)[0] for second in range(15, 331, 15)]

    assert sizes.index(2) * 15 + 15 == 300
    assert set(sizes[: sizes.index(2)]) == {10}


def test_sleeping_through_looks_that_change_nothing_is_like_having_looked() -> None:
    awake, asleep = loop(), loop()
    for second in range(0, 601, 15):
        awake.look(second, 10, 10, 0.5)
    asleep.look(0, 10, 10, 0.5)

    ends = []
    for hpa in (awake, asleep):
        second = 615
        while hpa.look(second, 10, 10, 0.1)[0] == 10:
            second += 15
        ends.append(second)

    assert ends[0] == ends[1] == 900


def test_the_bounds_win_over_everything() -> None:
    assert loop(low=20).look(0, 10, 10, 0.5) == (20, True)
    assert loop(high=5).look(0, 10, 10, 0.5) == (5, True)
    assert loop(high=12).look(0, 10, 10, 5.0) == (12, True)
    assert loop().look(0, 0, 0, 0.0) == (0, False)


def test_a_disabled_direction_never_moves() -> None:
    hpa = loop(down=Behaviour(0, (Policy(True, 100, 15),), "Disabled"))

    assert hpa.look(0, 10, 10, 0.01)[0] == 10


def test_policies_count_what_changed_within_their_period() -> None:
    hpa = loop(up=Behaviour(0, (Policy(False, 2, 60),), "Min"))

    sizes = [10]
    for second in range(0, 121, 15):
        sizes.append(hpa.look(second, sizes[-1], sizes[-1], 5.0)[0])

    assert sizes == [10, 12, 12, 12, 12, 14, 14, 14, 14, 16]
