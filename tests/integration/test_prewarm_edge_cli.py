"""``saleops prewarm edge`` and ``all`` as commands on the local cloud: 950 URLs, 1,200 URLs, kill -9, both caches."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision_cloud import cloud_on
from saleops.wiring import LocalCloudAccess

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "midnight-drop"
VICTIM = ROOT / "tests" / "provision_victim.py"
TIMEOUT_S = 120


class Practice:
    """A sale of ``items`` items on a local cloud whose edge serves."""

    def __init__(self, folder: Path, cloud: LocalCloudAccess, items: int) -> None:
        self.folder = folder
        self.cloud = cloud
        self.sale = folder / "sale.yaml"
        self.state = folder / "state"
        text = (EXAMPLE / "sale.yaml").read_text()
        self.sale.write_text(text)
        (folder / "profile.yaml").write_text((EXAMPLE / "profile.yaml").read_text())
        self.set_items(items)

    def set_items(self, count: int) -> None:
        rows = [f"p-{number},Product {number},9.90,5,,{count - number}" for number in range(count)]
        head = "sku,name,price,stock,limit_per_buyer,popularity"
        (self.folder / "items.csv").write_text("\n".join([head, *rows]) + "\n")

    def run(
        self, *words: str, at: int = 0, phase: str = "after"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(
                    sys.executable,
                    str(VICTIM),
                    str(at),
                    phase,
                    *words[:2],
                    str(self.sale),
                    *words[2:],
                ),
                *("--endpoint-cloud", "local", "--state-dir", str(self.state), "-o", "json", "-q"),
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

    def preloads(self) -> int:
        answer = self.cloud.control.call("GET", "calls?api=PreloadDcdnObjectCaches&limit=1000")
        return len(answer["calls"])

    def tasks(self) -> list[str]:
        rows = self.cloud.control.call("GET", "state/dcdn_task")
        things = rows if isinstance(rows, list) else rows["things"]
        return [thing["data"]["path"] for thing in things]


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Practice]:
    with cloud_on(tmp_path / "state") as cloud:
        made = Practice(tmp_path, cloud, 950)
        made.document("provision", "edge", "--yes")
        yield made


def test_950_product_pages_are_10_calls_hottest_first(practice: Practice) -> None:
    plan = practice.document("prewarm", "edge", "--dry-run")
    assert (plan["schema"], plan["preload"], len(plan["calls"])) == (
        "saleops/prewarm-edge-plan/v1",
        950,
        10,
    )
    assert plan["calls"][0]["params"]["ObjectPath"].startswith(
        "https://drop.example.com/products/p-0\n"
    )
    assert practice.preloads() == 0
    report = practice.document("prewarm", "edge")
    assert (report["schema"], report["complete"], report["preload_calls"]) == (
        "saleops/prewarm-edge/v1",
        950,
        10,
    )
    assert practice.preloads() == 10
    assert len(set(practice.tasks())) == 950


def test_1200_pages_are_refused_up_front_and_the_hottest_may_go(practice: Practice) -> None:
    practice.set_items(1_200)
    done = practice.run("prewarm", "edge")
    assert done.returncode == 3
    assert "200 too many; nothing was sent" in done.stderr
    assert "--hottest 1000" in done.stderr
    assert practice.preloads() == 0
    assert (
        practice.document("prewarm", "edge", "--hottest", "1000", "--dry-run")["preload"] == 1_000
    )


def test_a_slow_page_is_no_go_and_is_named(practice: Practice) -> None:
    practice.cloud.control.call("PUT", "settings", {"dcdn": {"preload_slow_s": {"/p-7": 7_200}}})
    done = practice.run("prewarm", "edge", "--hottest", "20")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert [(one["url"], one["result"]) for one in report["urls_left"]] == [
        ("https://drop.example.com/products/p-7", "slow")
    ]
    assert "p-7" in done.stderr


@pytest.mark.parametrize("phase", ["before", "after"])
def test_killed_in_the_middle_it_submits_nothing_twice(practice: Practice, phase: str) -> None:
    killed = practice.run("prewarm", "edge", at=4, phase=phase)
    assert killed.returncode == -signal.SIGKILL
    report = practice.document("prewarm", "edge")
    assert report["complete"] + report["warm_before"] == 950
    tasks = practice.tasks()
    assert len(tasks) == len(set(tasks)) == 950


def test_a_third_of_the_calls_throttled_it_still_ends_right(practice: Practice) -> None:
    practice.cloud.control.call("PUT", "faults", {"throttle": 0.3, "fail": 0.1, "seed": 5})
    report = practice.document("prewarm", "edge", "--hottest", "300")
    assert report["complete"] == 300
    assert report["repeated"] > 0
    assert len(practice.tasks()) == 300


def test_all_fills_the_cache_and_then_the_edge(practice: Practice) -> None:
    practice.set_items(30)
    seeded = subprocess.run(
        [
            sys.executable,
            "-m",
            "saleops",
            "seed",
            str(practice.sale),
            "--state-dir",
            str(practice.state),
            "--yes",
            "-q",
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert seeded.returncode == 0, seeded.stderr
    plan = practice.document("prewarm", "all", "--dry-run")
    assert (plan["cache"]["products"], plan["edge"]["preload"]) == (30, 30)
    report = practice.document("prewarm", "all")
    assert report["schema"] == "saleops/prewarm-all/v1"
    assert (report["cache"]["problems"], report["edge"]["complete"]) == ([], 30)


def test_a_profile_without_a_domain_is_an_error_that_says_where_to_write_it(
    practice: Practice,
) -> None:
    (practice.folder / "profile.yaml").write_text("apiVersion: saleops/profile/v1\n")
    done = practice.run("prewarm", "edge")
    assert done.returncode == 2
    assert "edge.domain" in done.stderr
