"""CronHPA jobs that fire so often that what they write is a standing order, and jobs that never fire at all."""

from datetime import timedelta

import pytest

from lint_fleets import CLOSES, OPENS, cron_yaml, facts, fleet_of, hits_of
from saleops.domain.cron_clock import unix
from saleops.domain.cronhpa import CONTROLLER_ZONE, DaysOff, excluded_by, parse_schedule
from saleops.domain.lint.cron_replay import replay

EACH_SECOND = 'name: down, schedule: "* * * * * *", targetSize: 2'
UP = 'name: up, schedule: "0 0 23 * * *", targetSize: 100'


def test_an_order_that_is_written_each_second_is_followed_into_the_sale() -> None:
    late = 'name: up, schedule: "0 30 0 * * *", targetSize: 100'

    hits = hits_of("CRN011", fleet_of(cron_yaml(EACH_SECOND, late), sale=facts()))

    assert len(hits) == 1
    assert (
        "down takes order-service from 100 to 2 pods at 2026-11-27 00:30:01 +08:00"
        in hits[0].message
    )


@pytest.mark.parametrize(
    "down", [EACH_SECOND, EACH_SECOND.replace("* * * * * *", "@every 1s")], ids=["star", "every"]
)
def test_a_standing_order_that_keeps_the_sale_small_is_an_error(down: str) -> None:
    hits = hits_of("CRN011", fleet_of(cron_yaml(down, UP), sale=facts()))

    assert len(hits) == 1
    assert "down holds order-service at 2 pods at 2026-11-27 00:00:0" in hits[0].message
    assert "2 of the 100 pods" in hits[0].why


def test_a_standing_order_of_the_planned_size_is_fine() -> None:
    held = 'name: up, schedule: "0 0 * * * *", targetSize: 100'

    assert hits_of("CRN011", fleet_of(cron_yaml(held), sale=facts())) == []


def test_a_replay_has_the_changes_of_two_jobs_and_not_the_runs_that_change_nothing() -> None:
    fleet = fleet_of(cron_yaml(EACH_SECOND, UP), sale=facts())

    fires = next(iter(replay(fleet, OPENS - timedelta(hours=2), CLOSES).values()))

    assert [(one.moment - OPENS, one.before, one.after) for one in fires] == [
        (timedelta(hours=-2), 2, 2),
        (timedelta(hours=-1), 2, 100),
        (timedelta(hours=-1, seconds=1), 100, 2),
        (timedelta(0), 2, 2),
    ]


def test_the_size_before_is_the_last_runs_however_often_jobs_fire() -> None:
    jobs = (EACH_SECOND, 'name: up, schedule: "0 50 21 * * *", targetSize: 100')
    fleet = fleet_of(cron_yaml(*jobs), sale=facts())

    fires = next(iter(replay(fleet, OPENS - timedelta(hours=2), CLOSES).values()))

    assert fires[0].before == 2


@pytest.mark.parametrize("text", ["@every 1s", "* * * * * *", "@every 90s"])
def test_a_frequent_job_collides_with_every_other(text: str) -> None:
    often = f'name: often, schedule: "{text}", targetSize: 2'

    for jobs in ((often, UP), (UP, often)):
        hits = hits_of("CRN007", fleet_of(cron_yaml(*jobs), sale=facts()))
        assert len(hits) == 1
        assert "both scale order-service" in hits[0].message


def test_jobs_that_meet_in_one_second_are_nowhere_called_a_minute_apart() -> None:
    message = hits_of("CRN007", fleet_of(cron_yaml(EACH_SECOND, UP), sale=facts()))[0].message

    assert message.endswith("0 s apart at 2026-11-26 23:00:00 +08:00")


@pytest.mark.parametrize("text", ["0 0 0 31 2 *", "0 0 0 30 feb ?", ", * * * * *"])
def test_a_day_that_no_year_has_never_fires(text: str) -> None:
    fleet = fleet_of(cron_yaml(f'name: up, schedule: "{text}", targetSize: 5'), sale=facts())

    hits = hits_of("CRN013", fleet)

    assert "never fires" in hits[0].message
    assert "never goes to 5 pods" in hits[0].why
    assert hits_of("CRN004", fleet) == []


def test_a_leap_day_fires_and_so_does_a_date() -> None:
    jobs = (
        UP,
        'name: a, schedule: "0 0 0 29 2 *", targetSize: 5',
        'name: b, schedule: "@date 2020-02-29 00:00:00", targetSize: 5',
    )

    assert hits_of("CRN013", fleet_of(cron_yaml(*jobs), sale=facts())) == []


def test_a_target_size_of_more_than_32_bits_is_an_error() -> None:
    fits = UP.replace("100", str(2**31 - 1))
    over = UP.replace("100", str(2**31))

    assert hits_of("CRN007", fleet_of(cron_yaml(fits))) == []
    hits = hits_of("CRN007", fleet_of(cron_yaml(over)))
    assert "targetSize of up is 2147483648, above 2,147,483,647" in hits[0].message


def test_an_interval_is_not_called_a_first_field() -> None:
    text = 'name: up, schedule: "@every 30s", targetSize: 5'

    message = hits_of("CRN002", fleet_of(cron_yaml(text)))[0].message

    assert message.endswith("`@every 30s` of up fires 2 times a minute, every 30 s")


@pytest.mark.parametrize(
    "text", ["* * * * * *", "0 0 3 1 1 *", "@every 7s", "5 */10 9-17 * * 1-5", "0 0 0 31 2 *"]
)
def test_the_last_fire_of_a_span_is_the_last_of_all_its_fires(text: str) -> None:
    schedule, end = parse_schedule(text), unix(OPENS)
    start = end - 200_000

    listed = list(schedule.seconds_between(start, end, CONTROLLER_ZONE))

    assert schedule.last_between(start, end) == (listed[-1] if listed else None)


@pytest.mark.parametrize(
    "dates", [["* * * 27 11 *"], ["0 30 1 * * *", "x"], ["@every 1h"]], ids=["day", "hour", "every"]
)
def test_days_off_say_the_same_for_many_moments_as_for_one(dates: list[str]) -> None:
    off = DaysOff(dates, CONTROLLER_ZONE)

    for minutes in (*range(-600, 600, 7), -30, 5):
        moment = OPENS + timedelta(minutes=minutes)
        assert off.by(unix(moment)) == excluded_by(dates, moment)
