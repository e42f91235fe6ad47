"""The example sale on the local cloud: made whole, made again, edited in the console, accepted, taken away."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provision_cloud import cloud_on
from saleops.wiring import LocalCloudAccess

ROOT = Path(__file__).parents[2]
SALE = ROOT / "examples" / "midnight-drop" / "sale.yaml"
TIMEOUT_S = 180


class Practice:
    """One local cloud, and the command line on it."""

    def __init__(self, state_dir: Path, cloud: LocalCloudAccess) -> None:
        self.state_dir = state_dir
        self.cloud = cloud

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "saleops", "provision", *words, str(SALE)),
                *("--endpoint-cloud", "local", "--state-dir", str(self.state_dir), "-o", "json"),
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def document(self, *words: str) -> dict[str, Any]:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def writes(self) -> list[dict[str, Any]]:
        answer = self.cloud.control.call("GET", "calls?writes=true&limit=1000")
        return list(answer["calls"])


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    state_dir = tmp_path_factory.mktemp("provision")
    with cloud_on(state_dir) as cloud:
        yield Practice(state_dir, cloud)


def filled_in(shown: Any, sent: Any, ids: dict[str, str]) -> bool:
    """Whether ``sent`` is ``shown`` with each ``${key.output}`` filled in, the same one by the same text everywhere.

    ``ids`` holds the fillings known so far, and learns those it meets.
    """
    if isinstance(shown, Mapping) and isinstance(sent, Mapping):
        return set(shown) == set(sent) and all(filled_in(shown[k], sent[k], ids) for k in shown)
    if isinstance(shown, list) and isinstance(sent, list):
        return len(shown) == len(sent) and all(map(partial(filled_in, ids=ids), shown, sent))
    if isinstance(shown, str) and isinstance(sent, str) and "${" in shown:
        pieces = re.split(r"\$\{([^}]+)\}", shown)
        pattern = "".join(
            re.escape(piece) if n % 2 == 0 else f"(?P<s{n}>.+?)" for n, piece in enumerate(pieces)
        )
        found = re.fullmatch(pattern, sent)
        return found is not None and all(
            ids.setdefault(pieces[n], found[f"s{n}"]) == found[f"s{n}"]
            for n in range(1, len(pieces), 2)
        )
    return bool(shown == sent)


def test_the_example_is_provisioned_compared_edited_accepted_and_destroyed(
    practice: Practice,
) -> None:
    plan = practice.document("all", "--dry-run")
    assert practice.writes() == []
    waits = {step["key"] for step in plan["steps"] if step["verdict"] == "wait"}
    assert waits == {"edge/traffic"}  # a new domain serves by itself
    assert {step["verdict"] for step in plan["steps"]} == {"create", "wait"}

    made = practice.document("all")

    assert {step["result"] for step in made["steps"]} <= {"created", "no change"}
    assert made["changed"]
    status = practice.document("status")
    assert status["in_order"]
    assert {one["standing"] for one in status["resources"]} == {"ok"}

    # What the dry run showed is what was sent: the same calls with the same documents, ids filled in.
    log = practice.document("log")
    sent = {(one["key"], one["product"], one["api"]) for one in log["entries"]}
    shown = {
        (step["key"], call["product"], call["api"])
        for step in plan["steps"]
        for call in step["calls"]
    }
    assert sent == shown
    journal = practice.state_dir / "provision" / "midnight-drop@local.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    intents = {line["key"]: line["call"] for line in lines if line["type"] == "intent"}
    ids = {f"{one['key']}.id": one["id"] for one in status["resources"]}
    for step in plan["steps"]:
        for call in step["calls"]:
            assert filled_in(call, intents[step["key"]], ids), (call, intents[step["key"]])

    # The cloud's own log has each of them, by request id.
    accepted = {one["request_id"] for one in practice.writes()}
    assert {one["request_id"] for one in log["entries"] if one["outcome"] == "ok"} <= accepted
    assert log["totals"]["unresolved"] == 0

    before = len(practice.writes())
    again = practice.document("all")
    assert {step["result"] for step in again["steps"]} == {"no change"}
    assert again["calls"]["writes"] == 0
    assert len(practice.writes()) == before

    _edited_accepted_and_brought_back(practice)

    destroyed = practice.document("destroy", "--yes")
    assert {step["result"] for step in destroyed["steps"]} == {"deleted"}
    status = practice.run("status")
    assert status.returncode == 3
    assert {one["standing"] for one in json.loads(status.stdout)["resources"]} == {"missing"}
    assert practice.document("destroy", "--yes")["steps"] == []


def _edited_accepted_and_brought_back(practice: Practice) -> None:
    """Somebody changes the EIP's bandwidth in the console."""
    status = practice.document("status")
    (eip,) = [one for one in status["resources"] if one["key"] == "eip"]
    thing = practice.cloud.control.call("GET", "state")
    (kind,) = [name for name, rows in thing.items() if any(row["id"] == eip["id"] for row in rows)]
    data = practice.cloud.control.call("GET", f"state/{kind}/{eip['id']}")["data"]
    (path,) = [name for name in data if name.lower() == "bandwidth"]

    def edit(value: int) -> None:
        shaped = type(data[path])(value)
        body = {"kind": kind, "id": eip["id"], "path": path, "value": shaped}
        practice.cloud.control.call("POST", "edit", body)

    edit(7)
    drifted = practice.run("status")
    assert drifted.returncode == 3
    document = json.loads(drifted.stdout)
    (row,) = [one for one in document["resources"] if one["standing"] == "drifted"]
    (drift,) = row["drift"]
    assert row["key"] == "eip"
    assert "bandwidth" in drift["field"]
    assert "bandwidth" in json.loads(drifted.stderr.splitlines()[-1])["error"]["message"]

    accepted = practice.document("status", "--accept", "--reason", "ticket 4711")
    assert accepted["in_order"]
    left_alone = practice.document("all")
    assert left_alone["calls"]["writes"] == 0
    (kept,) = practice.document("log")["accepted"]
    assert (kept["reason"], kept["field"]) == ("ticket 4711", drift["field"])
    assert "@" in kept["who"]
    assert kept["identity"]

    edit(9)
    assert practice.run("status").returncode == 3
    mended = practice.document("all")
    assert [one["key"] for one in mended["steps"] if one["result"] == "changed"] == ["eip"]
    assert practice.document("status")["in_order"]


def test_a_group_says_what_it_lacks_and_makes_nothing_of_it(practice: Practice) -> None:
    before = len(practice.writes())

    done = practice.run("nodepool")

    assert done.returncode == 5
    assert "saleops provision network" in done.stderr
    assert len(practice.writes()) == before


def test_a_teardown_in_a_pipe_wants_yes(practice: Practice) -> None:
    document = practice.document("network")
    assert document["changed"]

    done = practice.run("destroy")

    assert done.returncode == 5
    assert "--yes" in done.stderr
    practice.document("destroy", "--yes")
