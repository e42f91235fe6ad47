"""The clock of kubernetes-cronhpa-controller: from sets of seconds, minutes, hours and days to the next second that fires.

Months and days are stepped by the wall clock, hours and below by absolute time, as robfig/cron v1 does it; that decides what
happens on days on which clocks are put forward or back.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

STAR = 1 << 63
"""The bit that says that a field was written with a star."""

YEARS = 5
"""How far ahead the controller looks for a next fire before it gives a job up."""


class Sets(Protocol):
    """Bit n of ``minutes`` means minute n."""

    @property
    def seconds(self) -> int: ...
    @property
    def minutes(self) -> int: ...
    @property
    def hours(self) -> int: ...
    @property
    def doms(self) -> int: ...
    @property
    def months(self) -> int: ...
    @property
    def dows(self) -> int: ...


EPOCH = date(1970, 1, 1).toordinal()
Offsets = Callable[[int], int]


@lru_cache(maxsize=32)
def offsets_of(zone: str) -> Offsets:
    """Seconds east of UTC at a second since 1970. Raises ValueError for a zone nobody knows."""
    try:
        info = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {zone!r}: {error}") from None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    @lru_cache(maxsize=4096)
    def of_quarter(quarter: int) -> int:
        # Clocks change on a quarter of an hour everywhere since 1973.
        there = (epoch + timedelta(seconds=quarter * 900)).astimezone(info).utcoffset()
        return int(there.total_seconds()) if there is not None else 0

    return lambda second: of_quarter(second // 900)


def unix(moment: datetime, *, up: bool = False) -> int:
    """Seconds since 1970, rounded down as the controller drops fractions (or up, for the ends of a span)."""
    whole = int((moment.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole + 1 if up and moment.microsecond else whole


def moment_of(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def weekday(day: date) -> int:
    return day.isoweekday() % 7


def day_matches(schedule: Sets, dom: int, dow: int) -> bool:
    """Both where one of them is a star (or a star with a step), else either of them."""
    by_dom = bool(schedule.doms >> dom & 1)
    by_dow = bool(schedule.dows >> dow & 1)
    if (schedule.doms | schedule.dows) & STAR:
        return by_dom and by_dow
    return by_dom or by_dow


@lru_cache(maxsize=256)
def numbers(bits: int) -> tuple[int, ...]:
    return tuple(number for number in range(63) if bits >> number & 1)


def _civil(year: int, month: int, day: int, second: int, offsets: Offsets) -> int:
    """When a clock shows ``second`` of a day, chosen as Go's time.Date does where it shows it twice or never."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    wall = (date(year, month, 1).toordinal() - EPOCH + day - 1) * 86_400 + second
    offset = offsets(wall)
    return wall - offsets(wall - offset) if offset else wall


def next_second(schedule: Sets, after: int, offsets: Offsets) -> int | None:
    """The first second later than ``after`` that the sets allow; None when there is none within YEARS."""
    sets = (schedule.seconds, schedule.minutes, schedule.hours, schedule.months)
    if not all(sets) or not schedule.doms | schedule.dows:
        return None  # an empty list: the controller looks at every second of five years to find that out

    def wall(second: int) -> tuple[date, int]:
        days, rest = divmod(second + offsets(second), 86_400)
        return date.fromordinal(EPOCH + days), rest

    t = after + 1
    added = False
    last_year = wall(t)[0].year + YEARS
    while True:
        day, rest = wall(t)
        if day.year > last_year or day.year >= 9998:
            return None
        wrapped = False
        while not schedule.months >> day.month & 1:
            if not added:
                added = True
                day, rest = wall(_civil(day.year, day.month, 1, 0, offsets))
            t = _civil(day.year, day.month + 1, day.day, rest, offsets)
            day, rest = wall(t)
            if day.month == 1:
                wrapped = True
                break
        if wrapped:
            continue
        while not day_matches(schedule, day.day, weekday(day)):
            if not added:
                added = True
                day, rest = wall(_civil(day.year, day.month, day.day, 0, offsets))
            t = _civil(day.year, day.month, day.day + 1, rest, offsets)
            day, rest = wall(t)
            if day.day == 1:
                wrapped = True
                break
        if wrapped:
            continue
        while not schedule.hours >> (rest // 3600) & 1:
            if not added:
                added = True
                t = _civil(day.year, day.month, day.day, rest // 3600 * 3600, offsets)
            t += 3600
            day, rest = wall(t)
            if rest < 3600:
                wrapped = True
                break
        if wrapped:
            continue
        while not schedule.minutes >> (rest // 60 % 60) & 1:
            if not added:
                added = True
                t -= t % 60
            t += 60
            day, rest = wall(t)
            if rest // 60 % 60 == 0:
                wrapped = True
                break
        if wrapped:
            continue
        while not schedule.seconds >> (rest % 60) & 1:
            added = True
            t += 1
            day, rest = wall(t)
            if rest % 60 == 0:
                wrapped = True
                break
        if not wrapped:
            return t
