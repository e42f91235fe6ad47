"""``saleops scale`` as people type it, against the API double over HTTPS: exit codes, documents, a real kill -9."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kube_double import KubeDouble, kube_double
from saleops.cli.main import main

NAME = "small-drop"
SERVICES = ("catalog", "order", "payment", "shipping")


def sale_text(opens: datetime, closes: datetime) -> str:
    return f"""
apiVersion: saleops/v1
name: {NAME}
window: {{opens: "{opens.isoformat()}", closes: "{closes.isoformat()}"}}
region: ap-southeast-1
zones: [ap-southeast-1a]
items: [{{sku: a, name: A, price: 1, stock: 5}}]
traffic: {{baseline_rps: 10, peak_rps: 130, peak_orders_per_s: 10}}
services:
  order: {{rps_per_pod: 3, cpu: 100m, memory: 64Mi}}
  catalog: {{rps_per_pod: 60, cpu: 100m, memory: 64Mi}}
  payment: {{rps_per_pod: 5, cpu: 100m, memory: 64Mi}}
  shipping: {{rps_per_pod: 5, cpu: 100m, memory: 64Mi}}
nodes: {{instance_types: [ecs.c7.xlarge], spot_share: 0}}
"""


def soon(folder: Path, *, opens_in_s: float = 86_400, lasts_s: float = 7200) -> Path:
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=opens_in_s)
    file = folder / "sale.yaml"
    file.write_text(sale_text(opens, opens + timedelta(seconds=lasts_s)))
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("SALEOPS_OUTPUT", "SALEOPS_YES", "SALEOPS_STATE_DIR", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[KubeDouble, str]]:
    double = kube_double(clock="real", start_s=0.2)
    double.add_nodes(4)
    for name in SERVICES:
        double.deploy(name, replicas=1, namespace=NAME)
    with double.serving(folder) as kubeconfig:
        yield double, str(kubeconfig)


def run(
    capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> tuple[dict[str, Any], str]:
    assert main([*words, "-o", "json"]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return (json.loads(out) if out else {}), err


def test_plan_up_status_down(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    double, kubeconfig = served
    sale = str(soon(folder))
    flags = (sale, "--pods-only", "--kubeconfig", kubeconfig)

    plan, _ = run(capsys, "scale", "plan", *flags)
    dry, _ = run(capsys, "scale", "up", *flags, "--dry-run")
    assert plan["schema"] == "saleops/scale-plan/v1"
    assert plan["verdict"] == "GO"
    assert [one["phase"] for one in plan["steps"]] == ["pods"] * 4
    assert [one["patches"] for one in dry["steps"]] != [[]] * 4
    assert not (folder / ".saleops").exists()

    up, _ = run(capsys, "scale", "up", *flags, "--yes")
    again, _ = run(capsys, "scale", "up", *flags, "--yes")
    status, _ = run(capsys, "scale", "status", *flags)
    assert up["ready"]
    assert up["changed"]
    assert not again["changed"]
    assert status["scaled"]
    assert all(row["ready"] >= row["wanted"] for row in status["rows"])

    _, err = run(capsys, "scale", "down", *flags, "--yes", code=5)
    assert "nobody knows what is still on its way" in err
    unseen = ("--yes", "--accept-unseen", "a rehearsal")
    _, err = run(capsys, "scale", "down", *flags, *unseen, code=5)
    assert "is scaled up and opens in" in err
    gone, _ = run(capsys, "scale", "down", *flags, *unseen, "--before-sale", "a rehearsal")
    journal = next((folder / ".saleops" / "scale").iterdir()).read_text()
    assert "before the sale opens: a rehearsal" in journal
    assert gone["restored"]
    for name in SERVICES:
        found = double.cluster().find_workload("Deployment", NAME, name)
        assert found is not None
        assert found.wanted == 1
        assert "saleops.io/scale" not in found.annotations


def test_down_reads_the_sale_s_broker(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, kubeconfig = served
    sale = str(soon(folder))

    _, err = run(
        capsys, "scale", "down", sale, "--pods-only", "--kubeconfig", kubeconfig,
        "--broker", "redis://127.0.0.1:1", "--yes", code=5,
    )  # fmt: skip

    assert "nobody knows what is still on its way" in err


def test_an_open_sale_is_not_scaled_down(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, kubeconfig = served
    sale = str(soon(folder, opens_in_s=-60))

    _, err = run(
        capsys, "scale", "down", sale, "--pods-only", "--kubeconfig", kubeconfig, "--yes", code=5
    )

    assert "is open until" in err


def test_a_plan_that_is_too_late_exits_3_and_at_judges_another_moment(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, kubeconfig = served
    file = soon(folder, opens_in_s=600)
    flags = (str(file), "--pods-only", "--kubeconfig", kubeconfig)
    before = (datetime.now(UTC) - timedelta(hours=2)).isoformat()

    late, err = run(capsys, "scale", "plan", *flags, code=3)
    early, _ = run(capsys, "scale", "plan", *flags, "--at", before)

    assert late["verdict"] == "NO-GO"
    assert "had to start by" in err
    assert early["verdict"] == "GO"


def test_explain_says_every_figure_and_its_source(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, kubeconfig = served
    flags = (str(soon(folder)), "--pods-only", "--kubeconfig", kubeconfig)

    told, _ = run(capsys, "scale", "explain", *flags, "--lead", "image_mib=900")

    texts = [one["text"] for one in told["lines"]]
    assert "image_mib = 900" in texts
    assert any(text.startswith("sum: ") for text in texts)
    assert main(["scale", "explain", *flags]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--lead", "speed=3"),
        ("--lead", "start_s"),
        ("--at", "tomorrow"),
        ("--at", "2026-11-27T00:00:00"),
        ("--at", "0001-01-01T00:00:00+08:00"),
        ("--at", "9999-12-31T23:59:59-08:00"),
        ("--namespace", "../x"),
        ("--kubeconfig", "/nowhere"),
    ],
    ids=[
        "figure",
        "no number",
        "no time",
        "no zone",
        "first year",
        "last year",
        "no namespace",
        "no cluster",
    ],
)
def test_wrong_input_exits_2(
    folder: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scale", "plan", str(soon(folder)), "--pods-only", *words]) == 2
    assert "error:" in capsys.readouterr().err


def test_nobody_there_to_say_yes_changes_nothing(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    double, kubeconfig = served

    _, err = run(
        capsys, "scale", "up", str(soon(folder)), "--pods-only", "--kubeconfig", kubeconfig, code=5
    )

    assert "--yes" in err
    found = double.cluster().find_workload("Deployment", NAME, "order")
    assert found is not None
    assert found.wanted == 1


def test_pods_without_room_exit_3_with_counts_and_reasons(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double = kube_double(clock="real", start_s=0.2)
    double.add_nodes(1, cpu="500m")
    for name in SERVICES:
        double.deploy(name, replicas=1, namespace=NAME)
    with double.serving(folder) as kubeconfig:
        flags = (str(soon(folder)), "--pods-only", "--kubeconfig", str(kubeconfig))
        report, err = run(capsys, "scale", "up", *flags, "--yes", "--timeout", "4", code=3)

    assert not report["ready"]
    assert "ready (" in err
    assert "Insufficient cpu" in err


def test_hold_keeps_the_floor_until_the_sale_closes(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    import threading

    double, kubeconfig = served
    flags = (
        str(soon(folder, opens_in_s=-10, lasts_s=28)),
        "--pods-only",
        "--kubeconfig",
        kubeconfig,
    )
    cluster = double.cluster()
    lowered = threading.Event()

    def lower() -> None:
        for _ in range(60):
            found = cluster.find_workload("Deployment", NAME, "order")
            if found is not None and found.wanted > 1 and found.ready == found.wanted:
                time.sleep(5)  # the barrier has gone by then
                cluster.set_replicas("Deployment", NAME, "order", 1)
                lowered.set()
                return
            time.sleep(0.1)

    somebody = threading.Thread(target=lower)
    somebody.start()
    held, _ = run(capsys, "scale", "up", *flags, "--yes", "--hold")
    somebody.join()

    assert lowered.is_set()
    assert held["schema"] == "saleops/scale-hold/v1"
    assert [(one["what"], one["was"]) for one in held["restored"]] == [
        (f"Deployment {NAME}/order", 1)
    ]
    assert held["longest_s"] < 5


def test_killed_while_it_waits_the_next_run_goes_on(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    double, kubeconfig = served
    flags = (str(soon(folder)), "--pods-only", "--kubeconfig", kubeconfig)
    double.api.settings.start_s = 3.0
    words = [sys.executable, "-m", "saleops", "scale", "up", *flags, "--yes", "-q"]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL) as child:
        for _ in range(200):
            found = double.cluster().find_workload("Deployment", NAME, "order")
            if found is not None and found.wanted > 1:
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait(10)

    report, _ = run(capsys, "scale", "up", *flags, "--yes")
    off = ("--yes", "--accept-unseen", "a rehearsal", "--before-sale", "a rehearsal")
    gone, _ = run(capsys, "scale", "down", *flags, *off)

    assert report["ready"]
    assert gone["restored"]
    for name in SERVICES:
        left = double.cluster().find_workload("Deployment", NAME, name)
        assert left is not None
        assert left.wanted == 1


def test_a_cloud_without_the_sale_s_things_is_no_go_and_names_what_makes_them(
    folder: Path, served: tuple[KubeDouble, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, kubeconfig = served
    flags = (str(soon(folder)), "--kubeconfig", kubeconfig, "--endpoint-cloud", "local")

    plan, err = run(capsys, "scale", "plan", *flags, code=3)

    missing = {one["phase"] for one in plan["steps"] if one["verdict"] == "missing"}
    assert missing == {"database", "cache", "nodes"}
    assert "saleops provision nodepool SALE" in err
    assert plan["cloud"].startswith("the local cloud")
