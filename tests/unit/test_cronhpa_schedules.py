"""When CronHPA jobs fire: the grammar and the clock of the controller, against cases its own parser gave and a slow reference."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from saleops.domain.cronhpa import excluded_by, parse_schedule

SHANGHAI = ZoneInfo("Asia/Shanghai")

CASES = (
    # (zone, after, schedule, next fire): what the Go parser and its Next answered, "none" within five years, "error" refused.
    ("Asia/Shanghai", "2026-11-26T23:59:00", "30 23 * * *", "2026-11-27T00:23:30+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 2 * * *", "2026-11-27T00:02:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:02:00", "0 2 * * *", "2026-11-27T01:02:00+08:00"),
    ("Asia/Shanghai", "2026-11-26T12:00:00", "0 30 23 * * *", "2026-11-26T23:30:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 2 11 11 *", "2027-11-11T02:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 29 2 *", "2028-02-29T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 30 2 *", "none"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 13 * 5", "2026-12-04T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 */2 * 5", "2026-12-11T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 ? * FRI", "2026-12-04T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 12 1 JAN,jul ?", "2027-01-01T12:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "10/20 * * * * *", "2026-11-27T00:00:10+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:31", "10/20 * * * * *", "2026-11-27T00:00:50+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 1-10/3 * * * *", "2026-11-27T00:01:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 * * 7", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 24 * * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 22-2 * * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 L * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 15W * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 * * 5#2", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 1 1 * 2027", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "0 0 0 1", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "60 * * * * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "*/0 * * * * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "1-2-3 * * * * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "1/2/3 * * * * *", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "+5 * * * * *", "2026-11-27T00:00:05+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", ", * * * * *", "none"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "*-5 0 0 * * *", "2026-11-27T00:00:01+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", " @daily", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@daily", "2026-11-28T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@midnight", "2026-11-28T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@hourly", "2026-11-27T01:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@weekly", "2026-11-29T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@monthly", "2026-12-01T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@yearly", "2027-01-01T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@annually", "2027-01-01T00:00:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@Daily", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@every 1h30m", "2026-11-27T01:30:00+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@every 1.9s", "2026-11-27T00:00:01+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@every 10ms", "2026-11-27T00:00:01+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@every -1h", "2026-11-27T00:00:01+08:00"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@every 5", "error"),
    ("Asia/Shanghai", "2026-11-27T00:00:00", "@every 1d", "error"),
    (
        "Asia/Shanghai",
        "2026-11-10T00:00:00",
        "@date 2020-11-11 23:30:00",
        "2026-11-11T23:30:00+08:00",
    ),
    (
        "Asia/Shanghai",
        "2026-11-12T00:00:00",
        "@date 2026-11-11 23:30:00",
        "2027-11-11T23:30:00+08:00",
    ),
    ("Asia/Shanghai", "2026-11-12T00:00:00", "@date 2026-11-11T23:30:00", "error"),
    (
        "Asia/Shanghai",
        "2026-11-12T00:00:00",
        "@date 2026-11-27 9:05:00",
        "2026-11-27T09:05:00+08:00",
    ),
    ("Asia/Shanghai", "2026-11-12T00:00:00", "@date 2026-2-3 09:05:00", "error"),
    ("Asia/Shanghai", "2026-11-12T00:00:00", "@date 2026-11-27 00:00:00 +08:00", "error"),
    ("Asia/Shanghai", "2026-11-12T00:00:00", "@date 2025-02-29 00:00:00", "error"),
    (
        "Asia/Shanghai",
        "2026-11-12T00:00:00",
        "@date 2024-02-29 00:00:00",
        "2028-02-29T00:00:00+08:00",
    ),
    ("Asia/Shanghai", "2026-11-12T00:00:00", "@date 2026-11-27 24:00:00", "error"),
    ("Europe/Berlin", "2026-03-28T12:00:00", "0 30 2 * * *", "2026-03-30T02:30:00+02:00"),
    ("Europe/Berlin", "2026-10-24T12:00:00", "0 30 2 * * *", "2026-10-25T02:30:00+02:00"),
    ("America/Sao_Paulo", "2018-11-03T12:00:00", "0 0 0 * * *", "2018-11-05T00:00:00-02:00"),
    ("Australia/Lord_Howe", "2026-10-03T12:00:00", "0 15 2 * * *", "2026-10-05T02:15:00+11:00"),
    ("America/Havana", "2026-03-07T12:00:00", "0 0 0 8 3 *", "2027-03-08T00:00:00-05:00"),
)


@pytest.mark.parametrize(
    ("zone", "after", "text", "expected"), CASES, ids=[f"{n:02}" for n in range(len(CASES))]
)
def test_schedules_fire_as_the_controller_fires_them(
    zone: str, after: str, text: str, expected: str
) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    if expected == "error":
        with pytest.raises(ValueError, match=r"."):
            parse_schedule(text)
        return

    found = parse_schedule(text).next_after(moment, zone)

    assert (found.astimezone(ZoneInfo(zone)).isoformat() if found else "none") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("0 0 0 1", "5 or 6 fields are wanted, 4 are there"),
        ("0 0 0 * * 7", "day of week '7': 7 is above 6"),
        ("0 0 22-2 * * *", "does not wrap"),
        ("*/0 * * * * *", "a step is 1 or more"),
        ("0 0 0 L * *", "day of month 'L' is no number"),
        ("0 0 0 0 * *", "0 is below 1"),
        ("0 0 0 * foo *", "no number or name"),
        ("@never", "no descriptor"),
        ("@every 5", "no duration"),
        ("@date 2026-11-27T00:00:00", "no date"),
        ("@date 2025-02-29 00:00:00", "no date"),
    ],
)
def test_a_refusal_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_schedule(text)


def test_five_fields_are_seconds_first_and_fire_every_hour() -> None:
    schedule = parse_schedule("0 2 * * *")
    day = datetime(2026, 11, 27, tzinfo=SHANGHAI)

    fires = list(schedule.fires_between(day, day + timedelta(days=1)))

    assert schedule.fields_count == 5
    assert [one.astimezone(SHANGHAI).strftime("%H:%M:%S") for one in fires[:2]] == [
        "00:02:00",
        "01:02:00",
    ]
    assert len(fires) == 24


def test_an_hour_that_comes_twice_fires_twice_and_one_that_never_comes_not_at_all() -> None:
    schedule = parse_schedule("0 30 2 * * *")
    zone = "Europe/Berlin"
    autumn = datetime(2026, 10, 25, tzinfo=ZoneInfo(zone))
    spring = datetime(2026, 3, 29, tzinfo=ZoneInfo(zone))

    twice = list(schedule.fires_between(autumn, autumn + timedelta(days=1), zone))
    never = list(schedule.fires_between(spring, spring + timedelta(hours=20), zone))

    assert [one.isoformat() for one in twice] == [
        "2026-10-25T00:30:00+00:00",
        "2026-10-25T01:30:00+00:00",
    ]
    assert never == []


def test_a_whole_day_of_every_second_is_86_400_fires() -> None:
    day = datetime(2026, 11, 27, tzinfo=SHANGHAI)

    fires = parse_schedule("* * * * * *").fires_between(day, day + timedelta(days=1))

    assert sum(1 for _ in fires) == 86_400


def test_the_start_of_a_span_counts_and_its_end_does_not() -> None:
    schedule = parse_schedule("0 0 0 * * *")
    day = datetime(2026, 11, 27, tzinfo=SHANGHAI)

    assert list(schedule.fires_between(day, day)) == []
    assert list(schedule.fires_between(day, day + timedelta(seconds=1))) == [day]
    assert list(schedule.fires_between(day - timedelta(days=1), day)) == [day - timedelta(days=1)]


def test_every_counts_from_when_the_job_was_taken_in() -> None:
    start = datetime(2026, 11, 27, 0, 0, 7, tzinfo=UTC)

    fires = parse_schedule("@every 90s").fires_between(start, start + timedelta(minutes=5))

    assert [(one - start).seconds for one in fires] == [90, 180, 270]


def test_a_date_runs_once_and_keeps_the_year_it_was_given() -> None:
    schedule = parse_schedule("@date 2020-11-11 23:30:00")

    assert schedule.runs_once
    assert schedule.stated == datetime(2020, 11, 11, 23, 30)  # noqa: DTZ001
    assert schedule.one_day_a_year


def test_a_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no time zone 'Mars/Olympus'"):
        parse_schedule("@daily").next_after(datetime(2026, 1, 1, tzinfo=UTC), "Mars/Olympus")


# Against a reference of our own: look at every second


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        st.just("?"),
        number.map(str),
        st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}"),
        st.tuples(number, st.integers(1, 9)).map(lambda two: f"{two[0]}/{two[1]}"),
        st.integers(1, 20).map(lambda step: f"*/{step}"),
        st.lists(number, min_size=1, max_size=3).map(lambda some: ",".join(map(str, some))),
    )


def _members(text: str, low: int, high: int) -> tuple[set[int], bool]:
    """The values of a field, and whether it has a star. Written plainly, from the grammar."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            star, first, last = True, low, high
        elif "-" in span:
            first, last = map(int, span.split("-"))
        else:
            first = int(span)
            last = high if step else first
        values |= set(range(first, last + 1, int(step or 1)))
    return values, star


def _slow_fires(fields: list[str], start: datetime, seconds: int) -> list[datetime]:
    bounds = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
    sets = [_members(text, *bound) for text, bound in zip(fields, bounds, strict=True)]
    (second, _), (minute, _), (hour, _), (dom, dom_star), (month, _), (dow, dow_star) = sets
    found = []
    for number in range(seconds):
        at = start + timedelta(seconds=number)
        here = at.astimezone(SHANGHAI)
        by_dom, by_dow = here.day in dom, here.isoweekday() % 7 in dow
        day = (by_dom and by_dow) if dom_star or dow_star else (by_dom or by_dow)
        if (
            day
            and here.month in month
            and here.hour in hour
            and here.minute in minute
            and here.second in second
        ):
            found.append(at)
    return found


@settings(max_examples=60, deadline=None)
@given(
    fields=st.tuples(
        _field(0, 59), _field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)
    ),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
)
def test_a_span_has_the_fires_that_looking_at_every_second_finds(
    fields: tuple[str, ...], start: datetime
) -> None:
    moment = start.replace(microsecond=0, tzinfo=UTC)
    span_s = 5000

    found = list(
        parse_schedule(" ".join(fields)).fires_between(moment, moment + timedelta(seconds=span_s))
    )

    assert found == _slow_fires(list(fields), moment, span_s)


@settings(max_examples=100, deadline=None)
@given(
    fields=st.tuples(
        st.sampled_from(["0", "30", "0,30"]),
        _field(0, 59),
        _field(0, 23),
        _field(1, 31),
        _field(1, 12),
        _field(0, 6),
    ),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
    zone=st.sampled_from(
        ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
    ),
)
def test_a_span_is_what_stepping_from_fire_to_fire_gives(
    fields: tuple[str, ...], start: datetime, zone: str
) -> None:
    schedule = parse_schedule(" ".join(fields))
    moment = start.replace(microsecond=0, tzinfo=UTC)
    first = schedule.next_after(moment, zone)
    assume(first is not None)
    stepped = []
    at = first
    while at is not None and len(stepped) < 40:
        stepped.append(at)
        at = schedule.next_after(at, zone)

    end = stepped[-1] + timedelta(seconds=1)

    assert (
        list(islice(schedule.fires_between(moment + timedelta(seconds=1), end, zone), 41))
        == stepped
    )


# Days off: month and hour of the next fire against now


@pytest.mark.parametrize(
    ("exclude", "now", "skipped"),
    [
        ("* * * 15 11 *", "2026-11-15T13:00:00", True),  # the 15th, as hoped
        ("* * * 15 11 *", "2026-11-03T00:30:00", True),  # and 00:xx of every other November day
        ("* * * 15 11 *", "2026-11-03T13:00:00", False),
        ("* * * * * 5", "2026-11-27T13:00:00", True),  # a Friday
        ("* * * * * 5", "2026-11-23T00:10:00", True),  # a Monday, just after midnight
        ("* * * 15 11 *", "2026-11-15T13:59:59", False),  # the next fire is in the next hour
        ("0 0 0 15 11 *", "2026-11-15T13:00:00", False),  # fires next in a year, at midnight
        ("nonsense", "2026-11-15T13:00:00", False),
    ],
    ids=[f"{n}" for n in range(8)],
)
def test_a_day_off_skips_by_month_and_hour(exclude: str, now: str, skipped: bool) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=SHANGHAI)

    assert (excluded_by([exclude], moment) is not None) == skipped
