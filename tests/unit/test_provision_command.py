"""The command line of ``saleops provision``: what is refused before any cloud is asked."""

import io
import shlex
import time
from pathlib import Path

import pytest

from saleops.cli.context import Context
from saleops.cli.provision_run import _judge, _judge_destroyed, _refuse_open_window, typed_flags
from saleops.cli.provision_session import CloudFlags, files_of, journal_file_of
from saleops.cli.screen import Screen
from saleops.errors import CloudError, ConfigError, GateFailed, Refused
from saleops.operations.provision.report import CallTotals, ProvisionReport, Result, StepReport

SALE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"


def flags(endpoint: str | None = None, region: str | None = None) -> CloudFlags:
    return CloudFlags(None, endpoint, region, Path(".saleops"))


@pytest.mark.parametrize(
    ("endpoint", "practice"),
    [
        (None, False),
        ("local", True),
        ("http://127.0.0.1:8400", True),
        ("localhost:8400", True),
        ("https://vpc.aliyuncs.com", False),
        ("https://127.0.0.1.example.com", False),
    ],
)
def test_only_a_cloud_on_this_machine_costs_nothing(endpoint: str | None, practice: bool) -> None:
    assert flags(endpoint).practice is practice


def test_a_journal_is_the_regions_or_the_endpoints() -> None:
    sale, profile = files_of(SALE, flags())

    assert journal_file_of(sale, profile, flags()).name == "midnight-drop@ap-southeast-1.jsonl"
    assert journal_file_of(sale, profile, flags("local")).name == "midnight-drop@local.jsonl"


def test_the_profile_beside_the_sale_is_taken_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    _, profile = files_of(SALE, flags())
    assert profile.edge.domain

    with pytest.raises(ConfigError, match="no such file"):
        files_of(SALE, CloudFlags(tmp_path / "none.yaml", None, None, tmp_path))


def test_an_open_sale_is_not_taken_away_from_under_its_buyers() -> None:
    now_ms = time.time_ns() // 1_000_000

    with pytest.raises(Refused) as refused:
        _refuse_open_window("drop", now_ms - 1000, now_ms + 60_000, during_sale=False)

    assert "--during-sale" in (refused.value.hint or "")
    _refuse_open_window("drop", now_ms - 1000, now_ms + 60_000, during_sale=True)
    _refuse_open_window("drop", now_ms + 60_000, now_ms + 90_000, during_sale=False)


def report(*results: Result, hint: str = "Look.", retryable: bool = False) -> ProvisionReport:
    steps = tuple(
        StepReport(
            "k", "network", "VPC", "v", one, "", "", 1.0, "no", "Quota", "R-1", retryable, hint
        )
        for one in results
    )
    return ProvisionReport("drop", "c", "r", True, steps, CallTotals(1, 1, 0, 0), 1.0, "j")


def test_a_failure_is_told_with_code_request_id_and_the_command_that_goes_on() -> None:
    with pytest.raises(CloudError) as failed:
        _judge(report("failed", "blocked"), "saleops provision all s.yaml")

    assert "what was made stays" in failed.value.message
    assert "VPC v: no (Quota, request R-1)" in failed.value.message
    assert (failed.value.code, failed.value.request_id) == ("Quota", "R-1")
    assert not failed.value.retryable
    assert "`saleops provision all s.yaml` again" in (failed.value.hint or "")


def test_what_is_typed_again_is_what_was_typed_and_never_a_yes_of_ours(tmp_path: Path) -> None:
    here = CloudFlags(Path("my profile.yaml"), "LOCAL", "ap-southeast-1", tmp_path)

    again = here.again(
        "destroy", Path("a sale.yaml"), ["--group", "cache", *typed_flags(90.0, yes=False)]
    )

    assert shlex.split(again) == [
        *("saleops", "provision", "destroy", "a sale.yaml", "--group", "cache", "--timeout", "90"),
        *("--profile", "my profile.yaml", "--endpoint-cloud", "local"),
        *("--region", "ap-southeast-1", "--state-dir", str(tmp_path)),
    ]
    assert typed_flags(None, yes=True) == ["--yes"]


def test_a_teardown_that_failed_repeats_its_own_words() -> None:
    with pytest.raises(CloudError) as failed:
        _judge_destroyed(report("failed"), [], "saleops provision destroy s.yaml --group cache")

    assert failed.value.hint == (
        "Run `saleops provision destroy s.yaml --group cache` again: it goes on from here."
    )


def test_commands_in_advice_work_in_the_same_place() -> None:
    advice = "Run `saleops provision network SALE --with api --dry-run` first, or `saleops provision all SALE`."

    assert flags("local").filled(advice, Path("s.yaml")) == (
        "Run `saleops provision network s.yaml --with api --dry-run --endpoint-cloud local` first, "
        "or `saleops provision all s.yaml --endpoint-cloud local`."
    )


def test_no_region_is_said_plainly() -> None:
    with pytest.raises(ConfigError, match="no region"):
        files_of(SALE, flags(region="../x"))


def test_a_resource_that_only_a_person_can_mend_is_a_verdict() -> None:
    with pytest.raises(GateFailed):
        _judge(report("replace needed", "no change", hint=""), "again")
    _judge(report("created", "no change"), "again")


def test_machines_hear_code_request_id_and_retryable() -> None:
    stderr = io.StringIO()
    screen = Screen(stdout=io.StringIO(), stderr=stderr, stdin=io.StringIO(), environ={})
    Context(screen).update(output="json")
    more = {"code": "Quota", "request_id": "R-1", "retryable": False}

    screen.fail("no", hint=None, exit_code=4, more=more)

    assert '"code": "Quota", "request_id": "R-1", "retryable": false' in stderr.getvalue()
