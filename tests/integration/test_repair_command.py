"""``saleops reconcile --repair`` and ``--undo`` as they are called: nothing without --yes, the undo file first, exit codes."""

import json
import os
import sqlite3
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from test_reconcile_command import Command, order_without_message
from test_reconcile_command import seeded as seeded  # a fixture


def execute(command: Command, sql: str) -> None:
    with closing(sqlite3.connect(command.database_url.removeprefix("sqlite:///"))) as lite, lite:
        lite.execute(sql)


@pytest.fixture
def broken(seeded: Command) -> Command:
    order_id = order_without_message(seeded)
    execute(seeded, f"UPDATE orders SET state = 2 WHERE order_id = '{order_id}'")
    return seeded


def kinds(command: Command) -> list[str]:
    shown = command.run("reconcile", "-o", "json")
    return sorted(one["kind"] for one in json.loads(shown.stdout)["breaks"])


BROKEN = ["missing-charge", "missing-parcel", "orphan-order"]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ([], 5, "Nobody is here to confirm; nothing was changed"),
        (["--dry-run"], 3, "this was the plan, nothing was changed"),
        (["--dry-run", "--yes"], 3, "this was the plan, nothing was changed"),
    ],
)
def test_without_yes_the_plan_is_shown_and_nothing_is_changed(
    broken: Command, flags: list[str], code: int, said: str
) -> None:
    result = broken.run("reconcile", "--repair", *flags)
    assert result.returncode == code
    assert said in result.stderr
    steps = [line.split("\t")[0] for line in result.stdout.splitlines() if "\tplanned" in line]
    assert steps == ["charge", "ship", "announce"]
    assert not list(broken.folder.rglob("undo-*"))
    assert kinds(broken) == BROKEN


def test_yes_mends_it_writes_the_undo_file_first_and_undo_brings_it_back(broken: Command) -> None:
    repaired = broken.run("reconcile", "--repair", "--yes", "-o", "json")
    assert repaired.returncode == 0, repaired.stderr
    document = json.loads(repaired.stdout)
    assert document["schema"] == "saleops/repair/v1"
    assert (document["applied"], document["outcomes"]) == (True, {"done": 3})
    assert document["ledger"]["balanced"] is True
    path = Path(document["undo_file"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kinds(broken) == []

    shown = broken.run("reconcile", "--undo", str(path), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "stays as it is\tannounce (1)" in shown.stdout
    unasked = broken.run("reconcile", "--undo", str(path), "-o", "json")
    assert unasked.returncode == 5
    assert json.loads(unasked.stdout)["applied"] is False
    assert kinds(broken) == []
    undone = broken.run("reconcile", "--undo", str(path), "--yes")
    assert undone.returncode == 0, undone.stderr
    # A message that was sent stays sent.
    assert kinds(broken) == BROKEN[:2]


def test_an_undo_file_is_never_written_over(broken: Command) -> None:
    there = broken.folder / "mine.json"
    there.write_text("precious")
    result = broken.run("reconcile", "--repair", "--yes", "--undo-file", str(there))
    assert result.returncode == 5
    assert "there already" in result.stderr
    assert there.read_text() == "precious"
    assert kinds(broken) == BROKEN


def test_a_damaged_undo_file_is_bad_input(broken: Command) -> None:
    path = broken.folder / "undo.json"
    path.write_text("{}")
    for name in (str(path), "nowhere.json"):
        result = broken.run("reconcile", "--undo", name, "--yes")
        assert result.returncode == 2
        assert "nothing was changed" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ["--repair", "--undo", "x.json"],
        ["--accept", "why"],
        ["--dry-run"],
        ["--undo-file", "x.json"],
        ["--repair", "--decide", "oversold=pray"],
        ["--repair", "--accept", " "],
    ],
)
def test_flags_that_do_not_go_together_are_bad_input(seeded: Command, flags: list[str]) -> None:
    result = seeded.run("reconcile", *flags)
    assert result.returncode == 2, result.stderr
    assert "nothing was done" in result.stderr


def test_a_sound_sale_has_nothing_to_repair(seeded: Command) -> None:
    result = seeded.run("reconcile", "--repair", "--yes", "-o", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == []
    assert not list(seeded.folder.rglob("undo-*"))


def test_what_cannot_be_changed_needs_a_person_and_then_stays_accepted(broken: Command) -> None:
    order_id = json.loads(broken.run("reconcile", "-o", "json").stdout)["breaks"][0]["id"]
    execute(broken, f"UPDATE orders SET state = 5 WHERE order_id = '{order_id}'")
    asked = broken.run("reconcile", "--repair", "--yes")
    assert asked.returncode == 3
    assert "--accept REASON" in asked.stdout
    accepted = broken.run("reconcile", "--repair", "--yes", "--accept", "ticket 4711")
    assert accepted.returncode == 0, accepted.stderr
    later = broken.run("reconcile", "-o", "json")
    assert later.returncode == 0
    [one] = json.loads(later.stdout)["accepted"]
    assert (one["kind"], one["id"]) == ("unknown-state", order_id)


def test_a_dropped_table_and_a_damaged_row_are_named_and_no_verdict(broken: Command) -> None:
    execute(broken, "UPDATE orders SET units = 'x'")
    damaged = broken.run("reconcile")
    assert damaged.returncode == 4
    assert "a row of orders" in damaged.stderr
    assert "'x'" in damaged.stderr
    execute(broken, "DROP TABLE parcels")
    execute(broken, "UPDATE orders SET units = 1")
    for flags in ([], ["--repair", "--yes"]):
        dropped = broken.run("reconcile", *flags)
        assert dropped.returncode == 4
        assert "no such table: parcels" in dropped.stderr


def test_the_table_shows_the_orphan_matrix(broken: Command) -> None:
    lines = broken.run("reconcile").stdout.splitlines()
    [row] = [line.split("\t") for line in lines if line.startswith("✗\tsold\t")]
    assert row[1:8] == [
        "sold",
        "paid",
        "none",
        "none",
        "none",
        "1",
        "orphan-order, missing-charge, missing-parcel",
    ]


@pytest.mark.parametrize("kind", ["pipe", "zero", "folder"])
def test_an_undo_file_that_is_no_regular_file_is_bad_input(seeded: Command, kind: str) -> None:
    path = seeded.folder / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    result = seeded.run("reconcile", "--undo", "/dev/zero" if kind == "zero" else str(path))
    assert result.returncode == 2
    assert "nothing was changed" in result.stderr


@pytest.mark.parametrize("flags", [[], ["--repair", "--yes"]])
def test_a_mistyped_database_is_bad_input_and_is_not_made(
    seeded: Command, tmp_path: Path, flags: list[str]
) -> None:
    wrong = Command(f"sqlite:///{tmp_path}/typo.db", seeded.redis_url, seeded.folder)
    result = wrong.run("reconcile", *flags)
    assert result.returncode == 2
    assert "there is no orders database in" in result.stderr
    assert not list(tmp_path.glob("typo.db*"))


def test_include_unsure_goes_with_undo(seeded: Command) -> None:
    assert seeded.run("reconcile", "--include-unsure").returncode == 2


def test_an_undo_file_without_a_way_back_says_so(seeded: Command) -> None:
    order_without_message(seeded)
    repaired = seeded.run("reconcile", "--repair", "--yes")
    assert repaired.returncode == 0, repaired.stderr
    assert "no step of it can be turned round" in repaired.stderr
    [path] = seeded.folder.rglob("undo-*.json")

    undone = seeded.run("reconcile", "--undo", str(path), "--yes")

    assert undone.returncode == 3
    assert "can be turned round; nothing was restored" in undone.stderr
    assert "stays as it is\tannounce (1)" in undone.stdout


def test_the_journal_tells_repairs_and_undos_newest_first(broken: Command) -> None:
    def journal(*more: str) -> subprocess.CompletedProcess[str]:
        return broken.run("journal", *more, broker=False)

    assert journal().stdout == "The journal of sale midnight-drop holds no such run.\n"
    repaired = broken.run("reconcile", "--repair", "--yes", "-o", "json")
    undo_file = json.loads(repaired.stdout)["undo_file"]
    assert broken.run("reconcile", "--undo", undo_file, "--yes").returncode == 0

    shown = journal("-o", "json")

    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["schema"] == "saleops/journal/v1"
    undone, repair = document["runs"]
    assert (undone["command"], repair["command"]) == ("reconcile --undo", "reconcile --repair")
    assert repair["outcome"] == "0 breaks left"
    assert [one.split()[0] for one in repair["ids"]] == ["charge", "ship", "announce"]
    one = journal("--command", "reconcile --repair")
    assert "\ntouched\ncharge " in one.stdout
    assert "reconcile --undo" not in one.stdout
    assert journal("--limit", "1").stdout.count("reconcile --") == 1


def test_two_repairs_at_once_move_money_once_and_say_who_did(seeded: Command) -> None:
    # Charges of no order at all: as many refunds.
    rows = ", ".join(f"('ch-{n}', 'k-{n}', 'o-{n}', 100, 'captured', 1)" for n in range(150))
    columns = "charge_id, idempotency_key, order_id, amount_fen, state, at_ms"
    execute(seeded, f"INSERT INTO charges ({columns}) VALUES {rows}")
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(seeded.run, "reconcile", "--repair", "--yes", "-o", "json") for _ in "ab"
        ]
        results = [run.result() for run in runs]
    assert [one.returncode for one in results] == [0, 0], [one.stderr for one in results]
    documents = [json.loads(one.stdout) for one in results]
    assert sum(one["refund_fen"] for one in documents) == 150 * 100
    undone = 0
    for one in documents:
        assert one["refund_fen"] == 100 * one["outcomes"].get("done", 0)
        if one["undo_file"]:
            back = seeded.run("reconcile", "--undo", one["undo_file"], "--yes", "-o", "json")
            undone += (done := json.loads(back.stdout)["outcomes"].get("done", 0))
            assert done == one["outcomes"].get("done", 0)
    assert undone == 150
