"""A finished sale whose files then change, and a teardown of a part: nothing that is running is cut off."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision_cloud import cloud_on
from saleops.wiring import LocalCloudAccess

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"
TIMEOUT_S = 180


class Practice:
    def __init__(self, folder: Path, cloud: LocalCloudAccess) -> None:
        self.folder, self.cloud = folder, cloud
        self.sale = folder / "a sale" / "sale.yaml"

    def run(self, *words: str, endpoint: str = "LOCAL") -> subprocess.CompletedProcess[str]:
        where = ("--endpoint-cloud", endpoint, "--state-dir", str(self.folder / "state"))
        return self.paste(f"saleops provision {shlex.join((*words, str(self.sale), *where))}")

    def paste(self, line: str) -> subprocess.CompletedProcess[str]:
        program, *words = shlex.split(line)
        assert program == "saleops"
        return subprocess.run(
            [sys.executable, "-m", "saleops", *words, "-o", "json"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def writes(self) -> int:
        return len(self.cloud.control.call("GET", "calls?writes=true&limit=1000")["calls"])

    def profile(self, **network: str) -> None:
        text = (EXAMPLE / "profile.yaml").read_text("utf-8")
        for name, value in network.items():
            text, count = re.subn(rf"(?m)^( *{name}:).*$", rf"\1 {value}", text)
            assert count == 1, name
        (self.sale.parent / "profile.yaml").write_text(text, "utf-8")

    def zones(self, count: int) -> None:
        text = (EXAMPLE / "sale.yaml").read_text("utf-8")
        text, found = re.subn(
            r"(?m)^zones:.*$",
            f"zones: [{', '.join(f'ap-southeast-1{one}' for one in 'abc'[:count])}]",
            text,
        )
        assert found == 1
        self.sale.write_text(text, "utf-8")


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])["error"]
    return found


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    folder = tmp_path_factory.mktemp("changed")
    (folder / "a sale").mkdir()
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (folder / "a sale" / file.name).write_bytes(file.read_bytes())
    with cloud_on(folder / "state") as cloud:
        practice = Practice(folder, cloud)
        planned = json.loads(practice.run("all", "--dry-run").stdout)
        made = practice.run("all")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["calls"]["writes"] == planned["writes_count"]
        yield practice


def test_files_that_change_cut_nobody_off(practice: Practice) -> None:
    before = practice.writes()

    practice.profile(vpc_cidr="10.40.0.0/16")
    for group in ("all", "database", "cache", "network"):
        done = practice.run(group)
        assert done.returncode == 3, (group, done.stderr)
        assert "VPC midnight-drop-vpc" in error_of(done)["message"], group
        assert "cidr" in error_of(done)["message"], group
        assert practice.writes() == before, group
    told = practice.run("status")
    assert told.returncode == 3
    assert "only a new one would have them" in error_of(told)["hint"]

    practice.profile()
    practice.zones(2)
    done = practice.run("all")
    assert done.returncode == 3, done.stderr
    sent = practice.cloud.control.call("GET", "calls?writes=true&limit=1000")["calls"][before:]
    assert not [one for one in sent if "hitelist" in str(one) or "SecurityIps" in str(one)], sent
    practice.zones(3)
    assert practice.run("status").returncode == 0, "everything is as it was"


def test_the_network_is_not_taken_from_under_the_rest(practice: Practice) -> None:
    before = practice.writes()

    for words in (("--dry-run",), ("--yes",)):
        done = practice.run("destroy", "--group", "network", *words)
        assert done.returncode == 5, done.stderr
        assert "PolarDB cluster midnight-drop-db" in error_of(done)["message"]
        assert practice.writes() == before
    (command,) = re.findall(r"`([^`]+)`", error_of(done)["hint"])
    assert "--group database" in command
    assert "--yes" not in command
    shown = practice.paste(f"{command} --dry-run")
    assert shown.returncode == 0, shown.stderr


def test_the_clouds_address_and_its_name_are_one_journal(practice: Practice) -> None:
    by_name = json.loads(practice.run("log").stdout)
    port = practice.cloud.url.rpartition(":")[2]

    for endpoint in (practice.cloud.url, f"localhost:{port}"):
        by_address = json.loads(practice.run("log", endpoint=endpoint).stdout)
        assert by_address["journal"] == by_name["journal"]
        assert by_address["totals"]["writes"] == by_name["totals"]["writes"] > 0


def test_a_teardown_that_failed_is_gone_on_with_by_its_own_words(practice: Practice) -> None:
    fault = {"api": "r-kvstore.DeleteInstance", "times": 9, "code": "Forbidden.RAM", "status": 403}
    practice.cloud.control.call("PUT", "faults", {"rules": [fault]})

    done = practice.run("destroy", "--group", "cache", "--timeout", "900", "--yes")

    assert done.returncode == 4, done.stderr
    (command,) = re.findall(r"`([^`]+)`", error_of(done)["hint"])
    words = shlex.split(command)
    assert words[words.index("--group") + 1] == "cache"
    assert words[words.index("--timeout") + 1] == "900"
    assert str(practice.sale) in words
    assert words[words.index("--endpoint-cloud") + 1] == "local"
