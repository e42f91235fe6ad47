"""``saleops journal`` tells every run of every command, whoever wrote it, newest first."""

import json
from dataclasses import asdict

import pytest

from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.cli.journal import as_rich
from saleops.cli.sheets import lines_of
from saleops.errors import ConfigError
from saleops.operations.audit import Trail
from saleops.operations.journal import read_journal
from saleops.operations.rebuild import Differences, RebuildReport
from saleops.ports.orders import JournalEntry, SaleRow

SALE = "midnight-drop"


def book_with_runs() -> MemoryOrderBook:
    book = MemoryOrderBook()
    book.begin_sale(SaleRow(SALE, "e1", "v1", 1, 100, complete=False))
    for at_ms, command in enumerate(("reconcile --repair", "mq recheck", "dlq replay"), start=1):
        trail = Trail(
            book, sale=SALE, who="ann@desk", command=command, now_ms=lambda at=at_ms: at, run_id=f"run-{at_ms}"
        )  # fmt: skip
        trail.begin("2 steps", {"refund": 2})
        trail.act(["refund a", "refund b"])
        if command != "dlq replay":
            trail.end("done", {"done": 2})
    report = RebuildReport(
        SALE, "rebuilt", "restarted", "e1", "e2", 6, 40, Differences({"lost": 1}, {"lost": "a"}), 0.5
    )  # fmt: skip
    for number, text in enumerate((json.dumps(asdict(report)), '"of a newer saleops"')):
        book.write_journal(
            JournalEntry(
                entry_id=f"rebuild-{number}", at_ms=9, who="order@0", command="rebuild", text=text
            )
        )
    return book


def test_repairs_rechecks_replays_and_rebuilds_are_told_newest_first() -> None:
    log = read_journal(SALE, book_with_runs(), limit=20)

    told = [(run.command, run.outcome) for run in log.runs]
    assert told == [
        ("rebuild", "rebuilt"),
        ("dlq replay", "cut off"),
        ("mq recheck", "done"),
        ("reconcile --repair", "done"),
    ]
    assert log.runs[0].selection == "restarted; epoch e1 -> e2"
    assert log.runs[0].figures == {"skus": 6, "orders": 40}
    assert log.runs[1].ids == ("refund a", "refund b"), "what a killed run may have touched"


def test_a_limit_counts_what_it_leaves_out_and_a_command_is_a_choice() -> None:
    book = book_with_runs()

    assert read_journal(SALE, book, limit=1).more == 3
    chosen = read_journal(SALE, book, limit=20, commands=["mq recheck"])

    assert [run.run_id for run in chosen.runs] == ["run-2"]
    assert "\n".join(lines_of(as_rich(chosen))).endswith("touched\nrefund a\nrefund b")


def test_a_sale_that_is_not_there_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="knows no sale 'other'"):
        read_journal("other", book_with_runs(), limit=1)
