"""The journal of cloud calls: what is on the disk when, torn lines, one writer, and what may stay as it is."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from saleops.adapters.file_cloud_journal import journal_path, open_cloud_journal, read_cloud_journal
from saleops.adapters.file_passwords import kept_password, known_passwords
from saleops.adapters.memory_cloud_journal import MemoryCloudJournal
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.journal import Outcome, history_of
from saleops.domain.cloud.masking import document_of
from saleops.errors import ConfigError, Refused
from saleops.operations.provision.log import provision_log
from saleops.operations.provision.status import accept_drift, provision_status
from small_cloud import Base, Bench, results

CALL = {"product": "vpc", "api": "CreateVpc"}
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path, "sale", "ap-southeast-1")


def test_a_journal_is_named_after_sale_and_place(tmp_path: Path) -> None:
    assert journal_path(tmp_path, "s", "local").name == "s@local.jsonl"
    assert journal_path(tmp_path, "s", "http://127.0.0.1:80").name == "s@127.0.0.1-80.jsonl"
    assert "/" not in journal_path(tmp_path, "s", "http://h/../../x").name


def test_an_intent_is_in_the_file_before_it_has_an_outcome(path: Path) -> None:
    with open_cloud_journal(path) as journal:
        number = journal.intend("vpc", "create", CALL, token="t-1", at_ms=5)

        (line,) = read_cloud_journal(path)
        assert (line["type"], line["number"], line["token"]) == ("intent", number, "t-1")
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_next_writer_knows_what_is_unresolved(path: Path) -> None:
    with open_cloud_journal(path) as journal:
        first = journal.intend("vpc", "create", CALL, token="t-1", at_ms=5)
        journal.intend("nat", "create", CALL, token="t-2", at_ms=6)
        journal.conclude(first, Outcome(ok=True, request_id="R-1"), at_ms=7)

    with open_cloud_journal(path) as journal:
        assert journal.history.unresolved("vpc", "create") is None
        intent = journal.history.unresolved("nat", "create")
        assert intent is not None
        assert intent.token == "t-2"
        assert journal.history.last_write_ms == 7
        assert journal.intend("x", "create", CALL, token="", at_ms=8) == 3


def test_an_outcome_that_nobody_knows_leaves_its_intent_unresolved() -> None:
    journal = MemoryCloudJournal()
    number = journal.intend("vpc", "create", CALL, token="t", at_ms=1)
    journal.conclude(number, Outcome(ok=False, kind="unknown", code="unknown"), at_ms=2)

    assert journal.history.unresolved("vpc", "create") is not None


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_cut_off_and_told(path: Path, cut: int) -> None:
    with open_cloud_journal(path) as journal:
        journal.intend("vpc", "create", CALL, token="t-1", at_ms=5)
        journal.intend("nat", "create", CALL, token="t-2", at_ms=6)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    told: list[str] = []

    assert len(read_cloud_journal(path)) == 1
    with open_cloud_journal(path, mended=told.append) as journal:
        assert journal.history.unresolved("nat", "create") is None
        journal.intend("nat", "create", CALL, token="t-3", at_ms=6)

    assert "torn" in told[0]
    assert [line["token"] for line in read_cloud_journal(path)] == ["t-1", "t-3"]


def test_a_damaged_line_in_the_middle_is_named(path: Path) -> None:
    with open_cloud_journal(path) as journal:
        journal.intend("vpc", "create", CALL, token="t-1", at_ms=5)
    path.write_bytes(b"garbage\n" + path.read_bytes())

    with pytest.raises(ConfigError, match=r":1 is no line of a journal"), open_cloud_journal(path):
        raise AssertionError


def test_a_second_writer_is_refused_by_the_first_ones_pid(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from saleops.adapters.file_cloud_journal import open_cloud_journal\n"
        "with open_cloud_journal(Path(sys.argv[1])):\n"
        "    print('open', flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(Refused, match=rf"pid {other.pid}\b"), open_cloud_journal(path):
            raise AssertionError
        other.kill()
        other.wait()

    with open_cloud_journal(path):  # the lock went with the process
        pass


def test_secrets_are_in_no_document() -> None:
    call = Call(
        "polardb",
        "CreateAccount",
        {"AccountPassword": "Geheim-1", "AccountName": "shop", "ClientToken": "t", "None": None},
        body={"login_password": "Geheim-2", "nested": [{"SecretKey": "Geheim-3"}]},
    )

    text = json.dumps(document_of(call))

    assert "Geheim" not in text
    assert '"ClientToken": "t"' in text
    assert '"None"' not in text


def test_a_password_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "p.json"

    first = kept_password(path, "database")

    assert kept_password(path, "database") == first
    assert kept_password(path, "nodes") != first
    assert known_passwords(path).keys() == {"database", "nodes"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert any(one.isdigit() for one in first)
    assert any(one.islower() for one in first)
    assert any(not one.isalnum() for one in first)
    assert os.listdir(tmp_path) == ["p.json"]


# -- drift and its acceptance ------------------------------------------------------------------------------------------


def status_of(bench: Bench):  # type: ignore[no-untyped-def]
    return provision_status(
        bench.resources, bench.look(), (), bench.journal.history, sale="s", cloud="c", region="r"
    )


def accept(bench: Bench) -> int:
    return accept_drift(
        status_of(bench), bench.journal, who="ann@host", identity="arn", reason="4711", at=NOW
    )


def test_drift_is_named_by_field_until_it_is_accepted_and_again_when_it_changes() -> None:
    bench = Bench([Base("net"), Base("in", parent="net")])
    bench.apply()
    assert status_of(bench).in_order
    bench.cloud.thing("sale-net").settings["size"] = 7
    before = status_of(bench)
    assert not before.in_order
    assert [(d.field, d.wanted, d.seen) for d in before.of("drifted")[0].drift] == [("size", 1, 7)]

    assert accept(bench) == 1

    accepted = status_of(bench)
    assert accepted.in_order
    assert accepted.of("accepted")[0].drift[0].accepted == "4711"
    assert accept(bench) == 0
    bench.cloud.thing("sale-net").settings["size"] = 8
    assert not status_of(bench).in_order


def test_provisioning_leaves_an_accepted_field_alone() -> None:
    bench = Bench([Base("net")])
    bench.apply()
    bench.cloud.thing("sale-net").settings["size"] = 7
    accept(bench)

    report = bench.apply()

    assert results(report) == {"net": "no change"}
    assert bench.cloud.thing("sale-net").settings["size"] == 7


def test_an_acceptance_ends_when_something_else_is_wanted() -> None:
    bench = Bench([Base("net")])
    bench.apply()
    bench.cloud.thing("sale-net").settings["size"] = 7
    accept(bench)
    bench.resources = [Base("net", size=3)]

    bench.apply()

    assert bench.cloud.thing("sale-net").settings["size"] == 3


def test_acceptances_are_read_back_from_the_file() -> None:
    bench = Bench([Base("net")])
    bench.apply()
    bench.cloud.thing("sale-net").settings["size"] = 7
    accept(bench)
    bench.journal = MemoryCloudJournal(json.loads(json.dumps(bench.journal.lines)))

    assert status_of(bench).in_order


def test_what_is_missing_or_a_strangers_is_said() -> None:
    bench = Bench([Base("net"), Base("in", parent="net")])
    bench.apply()
    bench.cloud.thing("sale-net").ours = False

    standings = {one.key: one.standing for one in status_of(bench).resources}

    assert standings == {"net": "foreign", "in": "missing"}


# -- the log -----------------------------------------------------------------------------------------------------------


def test_a_log_counts_calls_retries_and_what_nobody_answered() -> None:
    lines = [
        {"type": "run", "t": "T0"},
        {
            "type": "read",
            "ok": True,
            "retries": {"Throttling.User": 2},
            "throttled": 2,
            "call": CALL,
        },
        {
            "type": "intent",
            "number": 1,
            "key": "vpc",
            "action": "create",
            "call": CALL,
            "token": "t",
        },
        {"type": "outcome", "number": 1, "ok": True, "attempts": 2, "retries": {"SystemBusy": 1}},
        {
            "type": "intent",
            "number": 2,
            "key": "nat",
            "action": "create",
            "call": CALL,
            "token": "",
        },
    ]

    log = provision_log(lines, sale="s", journal="j", limit=10)

    assert [entry.outcome for entry in log.entries] == ["ok", "unresolved"]
    assert (log.totals.calls, log.totals.retries, log.totals.throttled) == (3, 3, 2)
    assert log.totals.unresolved == 1
    assert log.retries == {"SystemBusy": 1, "Throttling.User": 2}
    assert history_of(lines).unresolved("nat", "create") is not None
