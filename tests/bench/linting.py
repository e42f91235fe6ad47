"""Linting a thousand manifests, beside PyYAML's own reader on the same files: it reads them and judges nothing."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml
from rows import Row

from lint_charts import manifests
from saleops.operations.lint.linting import lint
from saleops.operations.lint.reading import read_paths
from saleops.operations.lint.running import load_rules


def _fastest_s(work: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def linting(folder: Path, *, count: int, rounds: int) -> Row:
    """``count`` objects of generated charts in files of their own; every rule, no Lua."""
    home = folder / "manifests"
    home.mkdir()
    for number, text in enumerate(manifests(count, seed=1)):
        (home / f"{number}.yaml").write_text(text, encoding="utf-8")
    files = sorted(home.iterdir())
    rules = len(load_rules())
    today = datetime.now(UTC).date()

    def ours() -> None:
        report = lint(read_paths([str(home)], stdin=bytes), today=today)
        if report.documents != count or report.bugs:
            raise RuntimeError(f"{report.documents} of {count} documents, {report.bugs}")

    def twin() -> None:
        for file in files:
            list(yaml.safe_load_all(file.read_text(encoding="utf-8")))

    ours_s, twin_s = _fastest_s(ours, rounds), _fastest_s(twin, rounds)
    return Row(
        f"linting {count:,} manifests with {rules} rules",
        f"{ours_s:.2f} s",
        f"`yaml.safe_load_all`, no rules: {twin_s:.2f} s",
        f"{ours_s / twin_s:.2f}x",
        "< 3 s",
        ours_s < 3 if count == 1_000 else None,
        f"fastest of {rounds}; one object a file, files read from disk in both, in process.",
    )
