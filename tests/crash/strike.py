"""``make crash``: sales that are struck at every point of the order path, for CRASH_MINUTES, and what came of them.

make crash                                       the matrix, 1 minute: a part of the pairs of a point and an action
make crash CRASH_MINUTES=5                       about every pair; the last lines say how many were struck
make crash CRASH_MINUTES=30 SEED=1000000         longer, other seeds
make crash POINT=order.place.after               one point; with ACTION and SEED one case, replayed
make crash MUTANTS=1                             plants the known bugs; writes their table into docs/crash-matrix.md
make crash MUTANTS=no-tombstone,revived          some of them
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from matrix import Case, cases
from mutants import MUTANTS, first_failure, write_table, written_table
from sale import Verdict

from saleops.adapters.fault_points import POINTS, REPAIR_POINTS, fitting

SHOWN = 20
EVERY = (*POINTS, *REPAIR_POINTS)
screen, aside = Console(), Console(stderr=True)


def main() -> int:
    options = _options()
    if options.mutants:
        return _mutants("" if options.mutants == "1" else options.mutants)
    if options.point and options.action and options.seed:
        return _replay(Case(options.seed, options.point, options.action))
    points = [options.point] if options.point else list(EVERY)
    actions = [options.action] if options.action else []
    todo = cases(first_seed=options.seed or 1, points=points, actions=actions)
    pairs = [(point, one) for point in points for one in fitting(point)]
    results = Results([pair for pair in pairs if not actions or pair[1] in actions])
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=aside
    ) as progress:
        bar = progress.add_task("striking", total=options.minutes * 60)
        for case in _for_minutes(todo, options.minutes):
            results.add(case, case.play())
            done = f"{results.runs} sales, {len(results.failed)} violations"
            progress.update(bar, completed=time.monotonic() - began, description=done)
    results.show(time.monotonic() - began)
    return 1 if results.failed else 0


def _for_minutes(todo: Iterator[Case], minutes: float) -> Iterator[Case]:
    until = time.monotonic() + minutes * 60
    for case in todo:
        yield case
        if time.monotonic() > until:
            return


class Results:
    """What came of the sales of a run, for these ``pairs`` of a point and an action."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = pairs
        self.struck: set[tuple[str, str]] = set()
        self.runs = 0
        self.failed: list[tuple[Case, Verdict]] = []
        self._runs: Counter[str] = Counter()
        self._struck: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._visited: set[str] = set()
        self._healed_s: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, case: Case, verdict: Verdict) -> None:
        self.runs += 1
        self._runs[case.action] += 1
        self._visited.update(verdict.passed)
        if case.point in verdict.struck_at:
            self.struck.add((case.point, case.action))
        if verdict.struck:
            self._struck[case.action] += 1
            self._healed_s[case.action].append(verdict.healed_s)
        if verdict.violations:
            self._bad[case.action] += 1
            self.failed.append((case, verdict))
            aside.print(f"[red]✗[/] {case.replay}\n  " + "\n  ".join(verdict.violations[:5]))

    def show(self, took_s: float) -> None:
        table = Table(
            "action", "sales", "struck", "points", "violations", "quiet after, median", "longest"
        )
        table.columns[0].no_wrap = True
        for action in sorted(self._runs):
            healed = sorted(self._healed_s[action])
            figures = (f"{self._runs[action]:,}", f"{self._struck[action]:,}")
            median = f"{healed[len(healed) // 2]:.1f} s" if healed else ""
            table.add_row(
                action,
                *figures,
                self.covered(action),
                f"{self._bad[action]:,}",
                median,
                f"{healed[-1]:.1f} s" if healed else "",
            )
        screen.print(table)
        points = {point for point, _ in self.pairs}
        missed = [point for point in EVERY if point not in self._visited]
        if missed and len(points) > 1:
            screen.print(f"not passed this time: {', '.join(missed)}")
        for case, _ in self.failed[:SHOWN]:
            screen.print(f"replay: {case.replay}", soft_wrap=True)
        screen.print(f"{self.runs / took_s * 60:,.0f} sales a minute on one core")
        screen.print(
            f"points struck {self.covered()}; pairs of a point and an action {self.covered_pairs()}"
        )
        spared = [point for point in points if not any(point == one for one, _ in self.struck)]
        if 0 < len(spared) <= SHOWN:
            screen.print(f"not struck: {', '.join(sorted(spared))}")
        if len(self.struck) < len(self.pairs):
            screen.print("a longer run strikes more pairs: make crash CRASH_MINUTES=30")
        print(f"points {len(points)}, runs {self.runs}, violations {len(self.failed)}")

    def covered(self, action: str = "") -> str:
        """At how many points ``action``, or any, struck: "N of M"."""
        struck = {point for point, one in self.struck if action in ("", one)}
        there = {point for point, one in self.pairs if action in ("", one)}
        return f"{len(struck)} of {len(there)}"

    def covered_pairs(self) -> str:
        return f"{len(self.struck)} of {len(self.pairs)}"


def _replay(case: Case) -> int:
    verdict = case.play()
    for at_ms, who, what in verdict.trace:
        print(f"{(at_ms - verdict.trace[0][0]) / 1000:9.3f} s  {who:12} {what}")
    for fault in case.faults:
        print(f"fault: {fault.action} at {fault.point}, passage {fault.at}, {fault.length_ms} ms")
    for wrong in verdict.violations:
        print(f"violation: {wrong}")
    print(f"points 1, runs 1, violations {len(verdict.violations)}")
    return 1 if verdict.violations else 0


def _mutants(names: str) -> int:
    """Plant those of ``names``, or all of them; the cases of the others stay as the page has them."""
    found: dict[str, Case | None] = dict(written_table()) if names else {}
    for mutant in MUTANTS:
        if names and mutant.name not in names.split(","):
            continue
        case, runs = first_failure(mutant)
        found[mutant.name] = case
        caught = (
            f"caught after {runs} sales: {case.replay}" if case else f"NOT CAUGHT in {runs} sales"
        )
        print(f"{mutant.name}: {caught}", flush=True)
    write_table(found)
    return 0 if all(found.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--point", default="", choices=["", *EVERY], metavar="POINT")
    parser.add_argument("--action", default="")
    parser.add_argument("--mutants", default="")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
