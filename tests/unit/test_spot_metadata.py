"""The metadata client against the double: what counts as safe, what as a notice, and what as neither."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from saleops.services.spot_handler.metadata import (
    TERMINATION,
    TOKEN,
    Metadata,
    Notice,
    Safe,
    Unknown,
    read_time,
)
from saleops.services.spot_handler.metadata_double import MetadataDouble, served_metadata


@pytest.fixture
def double() -> Iterator[MetadataDouble]:
    with served_metadata() as one:
        yield one


def client(double: MetadataDouble, **more: object) -> Metadata:
    return Metadata(double.url, sleep=lambda seconds: None, **more)  # type: ignore[arg-type]


def puts(double: MetadataDouble) -> int:
    return sum(1 for method, path, _ in double.requests if (method, path) == ("PUT", TOKEN))


def test_a_404_of_the_path_is_safe(double: MetadataDouble) -> None:
    assert isinstance(client(double).termination(), Safe)


def test_a_notice_is_read_with_its_time(double: MetadataDouble) -> None:
    double.flip(300)

    answer = client(double).termination()

    assert isinstance(answer, Notice)
    assert answer.terminates is not None
    assert abs((answer.terminates - datetime.now(UTC)).total_seconds() - 300) < 2


def test_a_token_is_asked_for_first_and_used_again(double: MetadataDouble) -> None:
    metadata = client(double)

    for _ in range(5):
        metadata.termination()

    assert double.requests[0][:2] == ("PUT", TOKEN)
    assert puts(double) == 1


def test_a_service_without_tokens_is_asked_without_one(double: MetadataDouble) -> None:
    double.tokens = double.hardened = False
    metadata = client(double)

    answers = [metadata.termination() for _ in range(3)]

    assert all(isinstance(one, Safe) for one in answers)
    assert puts(double) == 1


@pytest.mark.parametrize("fault", ["404-token", "405-token"])
def test_hardening_that_is_switched_on_later_is_noticed(double: MetadataDouble, fault: str) -> None:
    double.hardened = False
    double.fault(fault)  # type: ignore[arg-type]
    metadata = client(double)
    assert isinstance(metadata.termination(), Safe)
    double.hardened = True

    assert isinstance(metadata.termination(), Safe)
    assert puts(double) == 2


def test_a_token_that_ran_out_is_renewed_within_the_same_question(double: MetadataDouble) -> None:
    metadata = client(double)
    metadata.termination()
    double.flip(300)
    double.expire_tokens()

    assert isinstance(metadata.termination(), Notice)


def test_a_token_is_renewed_before_it_runs_out(double: MetadataDouble) -> None:
    clock = [0.0]
    metadata = client(double, monotonic=lambda: clock[0])
    metadata.termination()
    clock[0] = 3600 * 0.81

    metadata.termination()

    assert puts(double) == 2
    assert all(status != 403 for _, _, status in double.requests)


def test_a_403_that_stays_is_unknown_and_never_safe(double: MetadataDouble) -> None:
    double.fault("403", 20)

    assert isinstance(client(double).termination(), Unknown)


def test_a_refused_token_path_is_unknown_and_no_reason_to_go_without(
    double: MetadataDouble,
) -> None:
    double.hardened = False
    double.fault("500", 20)

    answer = client(double).termination()

    assert isinstance(answer, Unknown)
    assert all(path == TOKEN for _, path, _ in double.requests)


@pytest.mark.parametrize("fault", ["500", "drop"])
def test_a_short_fault_is_outlived(double: MetadataDouble, fault: str) -> None:
    double.flip(300)
    double.fault(fault, 2)  # type: ignore[arg-type]

    assert isinstance(client(double).termination(), Notice)


def test_a_slow_service_costs_no_more_than_its_timeouts(double: MetadataDouble) -> None:
    double.slow_s = 1.0
    double.fault("slow", 3)
    began = time.monotonic()

    answer = client(double, timeout_s=0.1).termination()

    assert isinstance(answer, Unknown)
    assert time.monotonic() - began < 0.8


@pytest.mark.parametrize("text", ["", " \n", "soon", "<html>"])
def test_a_200_without_a_time_is_asked_again_and_then_unknown(
    double: MetadataDouble, text: str
) -> None:
    double._notice = text

    answer = client(double).termination()

    assert isinstance(answer, Unknown)
    assert sum(path == TERMINATION for _, path, _ in double.requests) == 3


def test_one_garbled_answer_hides_no_notice(double: MetadataDouble) -> None:
    metadata = client(double)
    metadata.termination()
    double.flip(300)
    double.fault("garbage")

    assert isinstance(metadata.termination(), Notice)


def test_nobody_there_is_unknown() -> None:
    with served_metadata() as double:
        url = double.url

    assert isinstance(Metadata(url, sleep=lambda seconds: None).termination(), Unknown)


@pytest.mark.parametrize("skew_s", [-120.0, 45.0])
def test_the_clouds_clock_is_taken_from_its_date(double: MetadataDouble, skew_s: float) -> None:
    double.skew_s = skew_s

    answer = client(double).termination()

    assert isinstance(answer, Safe)
    assert abs(answer.skew_s - skew_s) < 1.1


def test_a_clock_that_agrees_has_no_skew(double: MetadataDouble) -> None:
    answer = client(double).termination()

    assert isinstance(answer, Safe)
    assert answer.skew_s == 0.0


def test_instance_and_zone_are_read(double: MetadataDouble) -> None:
    metadata = client(double)

    assert (metadata.instance_id(), metadata.zone()) == ("i-double0001", "ap-southeast-1a")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-05T16:05:00Z", datetime(2026, 11, 5, 16, 5, tzinfo=UTC)),
        ("2026-11-05T16:05:00.123Z", datetime(2026, 11, 5, 16, 5, tzinfo=UTC)),
        ("2026-11-05T16:05:00", None),
        ("2026-11-05 16:05:00Z", None),
        ("2026-02-30T16:05:00Z", None),
        ("", None),
    ],
    ids=["plain", "fraction", "no-zone", "a-space", "no-such-day", "empty"],
)
def test_only_utc_times_are_read(text: str, wanted: datetime | None) -> None:
    assert read_time(text) == wanted


def test_the_path_is_the_documented_one() -> None:
    assert TERMINATION == "/latest/meta-data/instance/spot/termination-time"
