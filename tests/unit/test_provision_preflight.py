"""How a preflight stops a run, and what people are shown of it."""

import pytest

from saleops.cli.provision_preflight import Preflighting, gate
from saleops.cli.sheets import as_rich, lines_of
from saleops.domain.cloud.preflight import (
    Check,
    PreflightReport,
    enough,
    protection,
    unseen,
    verdict_of,
)
from saleops.errors import CloudError, ConfigError, GateFailed


def check(name: str, wanted: int, available: int) -> Check:
    return enough(
        name,
        "network",
        "quota",
        asked="quotas ListProductQuotas vpc",
        wanted=wanted,
        available=available,
        why="the sale has no network",
        todo="Apply for more.",
    )


def report(*checks: Check, accepted: str = "") -> PreflightReport:
    verdict = verdict_of(checks, accepted=accepted)
    return PreflightReport(
        "drop", "a cloud", "ap-southeast-1", verdict, 0, ("network",), checks, 7, accepted
    )


def test_a_go_passes_the_gate_warnings_and_all() -> None:
    gate(report(check("VPCs", 1, 1), protection(3, opens_ms=0, closes_ms=9_000_000)))


def test_a_no_go_names_each_shortfall_and_says_what_to_do_and_that_nothing_was_made() -> None:
    short = [check(f"thing {number}", 3, 1) for number in range(9)]

    with pytest.raises(GateFailed) as failed:
        gate(report(*short))

    assert failed.value.exit_code == 3
    assert "nothing was made" in failed.value.message
    assert "thing 0: 3 wanted, 1 free, 2 missing" in failed.value.message
    assert "and 1 more" in failed.value.message
    assert failed.value.hint == "Apply for more."


def test_what_was_accepted_unseen_passes_and_the_reason_is_shown() -> None:
    blind = unseen(check("EIPs", 1, 0), "denied")

    accepted = report(blind, accepted="looked it up")

    gate(accepted)
    with pytest.raises(GateFailed, match="denied"):
        gate(report(blind))
    assert "looked it up" in "\n".join(lines_of(as_rich(accepted)))


def test_people_see_every_check_and_why_the_short_ones_matter() -> None:
    shown = "\n".join(lines_of(as_rich(report(check("VPCs", 1, 0), check("EIPs", 1, 5)))))

    assert "✗\tnetwork\tVPCs\t1 wanted, 0 free, 1 missing" in shown
    assert "✓\tnetwork\tEIPs\t1 wanted, 5 free" in shown
    assert "VPCs\tthe sale has no network\tApply for more." in shown
    assert "NO-GO  (2 checks, 7 calls)" in shown


def test_a_reason_is_words_and_goes_into_the_journal_as_it_was_typed() -> None:
    assert Preflighting().words == ""
    assert Preflighting("ticket 4711").words == " --skip-preflight 'ticket 4711'"
    assert Preflighting(accepted="seen").words == " --accept-unchecked seen"
    for bad in (" ", "x" * 401):
        with pytest.raises(ConfigError):
            Preflighting(bad)
        with pytest.raises(ConfigError):
            Preflighting(accepted=bad)


def test_a_cloud_that_failed_to_answer_is_its_failure_and_a_denied_check_a_verdict() -> None:
    down = unseen(check("EIPs", 1, 0), "HTTP 503", retryable=True)
    denied = unseen(check("VPCs", 1, 0), "denied")

    with pytest.raises(CloudError) as failed:
        gate(report(down))
    assert (failed.value.exit_code, failed.value.retryable) == (4, True)
    assert "policy" not in (failed.value.hint or "")
    with pytest.raises(GateFailed) as verdict:
        gate(report(down, denied))
    assert "saleops provision policy" in (verdict.value.hint or "")
