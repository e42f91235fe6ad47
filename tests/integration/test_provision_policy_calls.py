"""The policy against what a whole life of the example calls: made, looked at, taken away again on the local cloud."""

import json
import shutil
from pathlib import Path

import pytest

from saleops.cli.main import main
from saleops.operations.provision.policy import PREFLIGHT, USES, apis_of_kinds

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"

CHANGES = {
    ("cs", "ModifyClusterNodePool"),
    ("dcdn", "StartDcdnDomain"),
    ("ecs", "RevokeSecurityGroup"),
    ("polardb", "CreateDBNodes"),
    ("polardb", "DeleteDBNodes"),
    ("polardb", "ModifyDBClusterEndpoint"),
    ("polardb", "ModifyDBNodeClass"),
    ("r-kvstore", "ModifyInstanceSpec"),
    ("rocketmq", "UpdateConsumerGroup"),
    ("rocketmq", "UpdateInstance"),
    ("vpc", "ModifyEipAddressAttribute"),
}
"""Called only when something drifted, which here nothing does."""

ASKED = {
    (product, name)
    for lines in PREFLIGHT.values()
    for product, *names in map(str.split, lines)
    for name in names
    if name != "DescribeKubernetesVersionMetadata"  # the example asks for no version
} | {("dcdn", "DescribeDcdnRefreshQuota")}
"""By the preflight, before the first write."""


@pytest.mark.timeout(300)
def test_a_whole_life_calls_what_the_policy_allows_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "sale"
    shutil.copytree(EXAMPLE, folder)
    where = ["--endpoint-cloud", "local", "--state-dir", str(tmp_path / "s")]
    sale = str(folder / "sale.yaml")

    assert main(["provision", "all", sale, "--yes", *where]) == 0, capsys.readouterr().err
    assert main(["provision", "status", sale, *where]) == 0, capsys.readouterr().err
    assert main(["provision", "destroy", sale, "--yes", *where]) == 0, capsys.readouterr().err

    lines = (tmp_path / "s" / "cloud" / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    called = {(one["product"], one["api"]) for one in map(json.loads, lines)}
    assert called == (apis_of_kinds(USES) - CHANGES) | ASKED
