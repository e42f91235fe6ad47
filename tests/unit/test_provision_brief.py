"""What people see of provisioning on a terminal, what a run says was left out, and what its log counts."""

import io
from pathlib import Path
from typing import Any

import pytest

from saleops.cli import provision_brief  # noqa: F401  # registers the views
from saleops.cli.provision_notes import notes_about, why_nothing
from saleops.cli.screen import Screen
from saleops.cli.sheets import as_brief, as_rich, lines_of
from saleops.cli.telling_cloud import TellingCloud
from saleops.domain.cloud.calls import Call
from saleops.errors import CloudError
from saleops.operations.provision.log import provision_log
from saleops.operations.provision.report import CallTotals, ProvisionReport, StepReport

NOTES = ("edge: left out, because the profile names no domain", "spot: one type", "one zone: ...")


def report(*results: tuple[str, str]) -> ProvisionReport:
    steps = tuple(
        StepReport(f"k{n}", group, "vSwitch", f"s-{n}", result, "Available", f"vsw-{n}", 4.0, "why")  # type: ignore[arg-type]
        for n, (group, result) in enumerate(results)
    )
    totals = CallTotals(1, 2, 3, 0)
    return ProvisionReport("drop", "a cloud", "r", True, steps, totals, 60.0, "j", NOTES)


def test_a_terminal_gets_counts_and_the_names_of_what_is_not_in_order() -> None:
    made = report(("network", "created"), ("network", "created"), ("cluster", "failed"))
    brief = "\n".join(lines_of(as_brief(made)))

    assert "network\t2\t2 created" in brief
    assert "vSwitch s-2\tfailed\twhy" in brief
    assert "vsw-0" not in brief
    assert "vsw-0" in "\n".join(lines_of(as_rich(made)))
    assert "60 s of the cloud's time" in brief
    assert NOTES[0] in brief


def test_notes_are_those_of_the_groups_that_a_command_is_about() -> None:
    assert notes_about(("edge",), NOTES) == NOTES[:1]
    assert notes_about(("nodepool",), NOTES) == NOTES[1:]
    assert notes_about(("network",), NOTES) == ()


def test_a_group_with_nothing_to_make_hears_its_own_reason_and_lines_to_paste(
    tmp_path: Path,
) -> None:
    hint = why_nothing("edge", NOTES, tmp_path / "profile.yaml")

    assert "one type" not in hint
    assert "apiVersion: saleops/profile/v1\nedge:\n  domain: " in hint
    (tmp_path / "profile.yaml").write_text("apiVersion: saleops/profile/v1\n")
    assert "apiVersion" not in why_nothing("edge", NOTES, tmp_path / "profile.yaml")


def write(number: int, key: str, *, ok: bool, code: str = "") -> list[dict[str, Any]]:
    call = {"product": "vpc", "api": "CreateVSwitch"}
    head = {"number": number, "key": key}
    outcome = {"type": "outcome", "number": number, "ok": ok, "attempts": 1, "code": code}
    return [
        {"type": "intent", "action": "create", "call": call, **head},
        {**outcome, "kind": "busy"},
    ]


def test_a_refused_write_that_a_later_one_did_is_no_failure() -> None:
    lines = [
        *write(1, "a", ok=False, code="TaskConflict"),
        *write(2, "a", ok=True),
        *write(3, "b", ok=False, code="Denied"),
    ]

    log = provision_log(lines, sale="s", journal="j", limit=10, failed_only=True)

    assert (log.totals.made_good, log.totals.failed) == (1, 1)
    assert [one.outcome for one in log.entries] == ["TaskConflict", "Denied"]
    tail = provision_log(lines, sale="s", journal="j", limit=1)
    assert [one.key for one in tail.entries] == ["b"]


class Silent:
    name = "a cloud"
    region = "r"
    clock = None

    def send(self, call: Call, *, token: str = "") -> Any:
        raise CloudError("vpc DescribeVpcs: no answer", kind="busy")


def test_a_cloud_that_does_not_answer_is_told_of_once() -> None:
    err = io.StringIO()
    cloud = TellingCloud(Silent(), Screen(stderr=err, stdout=io.StringIO(), environ={}))  # type: ignore[arg-type]

    for _ in range(3):
        with pytest.raises(CloudError):
            cloud.send(Call("vpc", "DescribeVpcs"))

    assert err.getvalue().count("warning:") == 1
