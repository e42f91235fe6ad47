"""kill -9 at every writing call of a run, lost answers, throttling: run again, and the end is the same, nothing twice.

Real processes against the local cloud, which lives on while its client dies. A chain of runs is each killed at its first write
that is new, so that every write of the whole provisioning is the last act of some process.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from provision_cloud import cloud_on
from saleops.wiring import LocalCloudAccess

ROOT = Path(__file__).parents[2]
SALE = ROOT / "examples" / "midnight-drop" / "sale.yaml"
VICTIM = ROOT / "tests" / "provision_victim.py"
GROUPS = ("network", "queue", "cache")
RUNS_MAX = 80
TIMEOUT_S = 120


def run(
    state_dir: Path, *words: str, at: int = 0, phase: str = "after"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, str(VICTIM), str(at), phase, "provision", *words, str(SALE)),
            *("--endpoint-cloud", "local", "--state-dir", str(state_dir), "-o", "json", "-q"),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def world_of(cloud: LocalCloudAccess) -> Mapping[str, int]:
    """How many things of each kind there are."""
    kinds = cloud.control.call("GET", "state")
    return {kind: len(rows) for kind, rows in kinds.items()}


def provisioned(tmp_path: Path, groups: tuple[str, ...]) -> Mapping[str, int]:
    """The world after runs that nothing happened to."""
    with cloud_on(tmp_path / "undisturbed") as cloud:
        for group in groups:
            document(run(tmp_path / "undisturbed", group))
        return world_of(cloud)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_killed_at_every_write_it_ends_the_same(tmp_path: Path, phase: str) -> None:
    expected = provisioned(tmp_path, GROUPS)
    state = tmp_path / "killed"
    with cloud_on(state) as cloud:
        kills = 0
        for group in GROUPS:
            # "before": its first write never leaves, so the first of the next run is the same one; kill at the second.
            at = 1 if phase == "after" else 2
            for _ in range(RUNS_MAX):
                done = run(state, group, at=at, phase=phase)
                if done.returncode != -signal.SIGKILL:
                    break
                kills += 1
            report = document(done)
            assert {step["result"] for step in report["steps"]} <= {"no change", "created", "ready"}
        assert kills > 25
        assert world_of(cloud) == expected
        for group in GROUPS:
            again = document(run(state, group))
            assert again["calls"]["writes"] == 0
            assert not again["changed"]


def test_lost_answers_make_nothing_twice(tmp_path: Path) -> None:
    expected = provisioned(tmp_path, GROUPS)
    state = tmp_path / "lossy"
    with cloud_on(state) as cloud:
        lost = (
            "CreateVpc",
            "CreateVSwitch",
            "CreateNatGateway",
            "CreateTopic",
            "CreateTairInstance",
        )
        rules = [{"api": api, "when": "lost", "times": 1} for api in lost]
        rules += [
            {"api": "CreateConsumerGroup", "when": "after", "status": 500, "code": "InternalError"}
        ]
        cloud.control.call("PUT", "faults", {"rules": rules})
        for group in GROUPS:
            document(run(state, group))
        cloud.control.call("DELETE", "faults")

        assert world_of(cloud) == expected


def test_throttled_and_failing_it_ends_right_and_the_journal_counts_the_retries(
    tmp_path: Path,
) -> None:
    expected = provisioned(tmp_path, GROUPS)
    state = tmp_path / "stormy"
    with cloud_on(state) as cloud:
        cloud.control.call("PUT", "faults", {"throttle": 0.3, "fail": 0.1, "seed": 7})
        reports = [document(run(state, group)) for group in GROUPS]
        cloud.control.call("DELETE", "faults")

        assert world_of(cloud) == expected
        log = document(run(state, "log"))
        assert log["totals"]["throttled"] == sum(one["calls"]["throttled"] for one in reports) > 20
        assert log["totals"]["retries"] == sum(one["calls"]["retries"] for one in reports)
        assert log["retries"]["Throttling.User"] > 20
        assert log["totals"]["unresolved"] == 0


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_teardown_killed_at_every_third_write_leaves_nothing(tmp_path: Path, phase: str) -> None:
    state = tmp_path / "state"
    with cloud_on(state) as cloud:
        for group in GROUPS:
            document(run(state, group))
        for _ in range(RUNS_MAX):
            done = run(state, "destroy", "--yes", at=3, phase=phase)
            if done.returncode != -signal.SIGKILL:
                break
        document(done)

        left = {kind: count for kind, count in world_of(cloud).items() if count}
        assert left == {}
