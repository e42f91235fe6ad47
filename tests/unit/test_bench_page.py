"""The page that ``make bench`` writes. No figure is asserted anywhere: a bench is no test."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(autouse=True)
def _bench_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def test_every_row_stands_beside_its_twin_with_a_mark_for_its_goal() -> None:
    from rows import Row, page

    rows = [
        Row("orders/s", "12,000/s", "400/s", "30.0x", "≥ 25x", True, "one worker."),
        Row("seeding", "1/s", "10/s", "10%", "≥ 50 %", False),
        Row("memory", "90 MB", "", "", "none", None),
    ]

    lines = page(rows).splitlines()

    assert "| orders/s | 12,000/s | 400/s | 30.0x | ≥ 25x | ✓ |" in lines
    assert "| seeding | 1/s | 10/s | 10% | ≥ 50 % | ✗ |" in lines
    assert "| memory | 90 MB |  |  | none |  |" in lines
    assert lines[-1] == "- orders/s: one worker."


def test_the_page_names_the_machine_and_the_date() -> None:
    from rows import page

    text = page([])

    assert "- Machine: " in text
    assert "- Date: 20" in text


def test_a_missing_tool_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PATH", "")
    import run

    monkeypatch.setattr(run.shutil, "which", lambda name: None)

    assert run.main(["--only", "seeding"]) == 2

    hints = capsys.readouterr().err.splitlines()[1:]
    assert hints == [
        "hint:  redis-server: apt-get install redis-server",
        "hint:  redis-cli: apt-get install redis-tools",
    ]
