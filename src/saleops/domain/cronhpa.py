"""When a CronHorizontalPodAutoscaler job really fires: the grammar and the clock of kubernetes-cronhpa-controller.

Its parser knows five or six fields, read as **second minute hour day-of-month month [day-of-week]**, and descriptors. So the
``30 23 * * *`` of a crontab is accepted and means "every hour at 23 minutes and 30 seconds". A field is a set of bits; the next
fire is found by stepping the largest field that does not match, as the controller does it, in the one zone its process runs in.
Stepping is by wall clock for months and days and by absolute time for hours and below, which is what decides days on which clocks
are put forward or back. A day without such a change is arithmetic on the bits alone, so a whole day of fires is cheap.

Source: the parser and the run loop of kubernetes-cronhpa-controller (module go-cron, a robfig/cron v1 with ``@date``).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from saleops.domain.cron_clock import (
    EPOCH,
    STAR,
    Offsets,
    day_matches,
    moment_of,
    next_second,
    numbers,
    offsets_of,
    unix,
    weekday,
)

CONTROLLER_ZONE = "Asia/Shanghai"
"""TZ of the controller's default manifest. One zone a cluster; the object itself has no field for it."""

SIZE_MAX = 2**31 - 1
"""targetSize is an int32."""

Form = Literal["fields", "descriptor", "every", "date"]

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_INT64 = 1 << 63
_GO_INT = re.compile(r"[+-]?[0-9]+")
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_DURATION = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2}) +([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,][0-9]+)?"
)


@dataclass(frozen=True, slots=True)
class _Bounds:
    name: str
    low: int
    high: int
    names: Sequence[str] = ()


_SECOND = _Bounds("second", 0, 59)
_MINUTE = _Bounds("minute", 0, 59)
_HOUR = _Bounds("hour", 0, 23)
_DOM = _Bounds("day of month", 1, 31)
_MONTH = _Bounds("month", 1, 12, _MONTHS)
_DOW = _Bounds("day of week", 0, 6, _DAYS)
_FIELDS = (_SECOND, _MINUTE, _HOUR, _DOM, _MONTH, _DOW)


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A schedule as the controller holds it. ``every_s`` is set for ``@every`` only, which counts from when the job is taken in.

    The sets are bits: bit n of ``minutes`` means minute n. ``stated`` is what ``@date`` says, with the year that is dropped.
    """

    text: str
    form: Form
    seconds: int = 0
    minutes: int = 0
    hours: int = 0
    doms: int = 0
    months: int = 0
    dows: int = 0
    fields_count: int = 0
    every_s: int = 0
    stated: datetime | None = None  # naive: the controller's zone

    @property
    def runs_once(self) -> bool:
        """``@date`` ends after its first run, whatever the job's runOnce says."""
        return self.form == "date"

    @property
    def one_day_a_year(self) -> bool:
        """Whether day and month are both fixed."""
        months, doms = self.months & ~STAR, self.doms & ~STAR
        return (
            self.form in ("fields", "date")
            and months.bit_count() == 1
            and doms.bit_count() == 1
            and bool(self.dows & STAR)
        )

    def next_after(self, moment: datetime, zone: str = CONTROLLER_ZONE) -> datetime | None:
        """The first fire later than ``moment`` (aware), in UTC; None when there is none within five years.

        Of ``@every`` it is ``every_s`` after ``moment``: the controller counts from when it took the job in.
        """
        second = self.next_second(unix(moment), offsets_of(zone))
        return None if second is None else moment_of(second)

    def fires_between(
        self, start: datetime, end: datetime, zone: str = CONTROLLER_ZONE
    ) -> Iterator[datetime]:
        """Every fire in [start, end), in order, in UTC. ``@every`` counts from ``start``."""
        return (
            moment_of(second)
            for second in self.seconds_between(unix(start, up=True), unix(end, up=True), zone)
        )

    def next_second(self, after: int, offsets: Offsets) -> int | None:
        """As ``next_after``, in seconds since 1970."""
        return after + self.every_s if self.every_s else next_second(self, after, offsets)

    def seconds_between(self, start: int, end: int, zone: str = CONTROLLER_ZONE) -> Iterator[int]:
        """As ``fires_between``, in seconds since 1970."""
        if self.every_s:
            yield from range(start + self.every_s, end, self.every_s)
            return
        offsets = offsets_of(zone)
        while start < end:
            day = (start + offsets(start)) // 86_400
            midnight = day * 86_400 - offsets(start)
            # Two hours either side: a change at midnight itself, or just over the border, is none of arithmetic's business.
            if offsets(midnight - 7200) != offsets(midnight + 93_600):
                after = start - 1
                limit = min(end, midnight + 100_800)
                while (found := next_second(self, after, offsets)) is not None and found < limit:
                    yield found
                    after = found
                if found is None:
                    return
                start = limit
                continue
            if self._on(date.fromordinal(EPOCH + day)):
                for second in self._day_seconds():
                    if start <= midnight + second < end:
                        yield midnight + second
            start = midnight + 86_400

    def last_between(self, start: int, end: int, zone: str = CONTROLLER_ZONE) -> int | None:
        """The last fire in [start, end), looked for from the end on, so that a frequent one costs no more than a rare one."""
        if self.every_s:
            runs = range(start + self.every_s, end, self.every_s)
            return runs[-1] if runs else None
        span, until = 60, end
        while until > start:
            since, last = max(start, end - span), None
            for last in self.seconds_between(since, until, zone):  # noqa: B007  # the last one
                pass
            if last is not None:
                return last
            span, until = span * 8, since
        return None

    def _on(self, day: date) -> bool:
        return bool(self.months >> day.month & 1) and day_matches(self, day.day, weekday(day))

    def _day_seconds(self) -> Iterator[int]:
        minutes, seconds = numbers(self.minutes), numbers(self.seconds)
        for hour in numbers(self.hours):
            for minute in minutes:
                for second in seconds:
                    yield hour * 3600 + minute * 60 + second


def parse_schedule(text: str) -> CronSchedule:
    """What the controller makes of ``text``. Raises ValueError with the reason where it would set condition Failed."""
    if not text:
        raise ValueError("the schedule is empty")
    if text[0] == "@":
        return _descriptor(text)
    fields = [part for part in re.split(f"[{_GO_SPACE}]+", text) if part]
    if not 5 <= len(fields) <= 6:
        raise ValueError(f"5 or 6 fields are wanted, {len(fields)} are there")
    sets = [_field(part, bounds) for part, bounds in zip(fields, _FIELDS, strict=False)]
    if len(sets) == 5:
        sets.append(_all(_DOW))
    return _schedule(text, "fields", sets, fields_count=len(fields))


def _descriptor(text: str) -> CronSchedule:
    first = tuple(1 << bounds.low for bounds in _FIELDS)
    star = tuple(_all(bounds) for bounds in _FIELDS)
    named = {
        "@yearly": (*first[:5], star[5]),
        "@annually": (*first[:5], star[5]),
        "@monthly": (*first[:4], *star[4:]),
        "@weekly": (*first[:3], *star[3:5], first[5]),
        "@daily": (*first[:3], *star[3:]),
        "@midnight": (*first[:3], *star[3:]),
        "@hourly": (*first[:2], *star[2:]),
    }
    if text in named:
        return _schedule(text, "descriptor", named[text])
    if text.startswith("@every "):
        return CronSchedule(text, "every", every_s=max(1, _duration_ns(text[7:]) // 10**9))
    if text.startswith("@date "):
        return _date(text)
    raise ValueError(
        f"{text!r} is no descriptor; small letters, one of {', '.join(named)}, @every, @date"
    )


def _date(text: str) -> CronSchedule:
    found = _DATE.fullmatch(text[6:])
    if found is None:
        raise ValueError(
            f"{text[6:]!r} is no date; it is written YYYY-MM-DD HH:MM:SS, with a space and without a zone"
        )
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        # Year 0 is a leap year to the controller; Python has none, and 4 is as good.
        stated = datetime(year or 4, month, day, hour, minute, second)  # noqa: DTZ001  # the controller's zone
    except ValueError as error:
        raise ValueError(f"{text[6:]!r} is no date: {error}") from None
    sets = [1 << second, 1 << minute, 1 << hour, 1 << day, 1 << month, _all(_DOW)]
    return _schedule(text, "date", sets, stated=stated)


def _schedule(
    text: str,
    form: Form,
    sets: Sequence[int],
    *,
    fields_count: int = 0,
    stated: datetime | None = None,
) -> CronSchedule:
    seconds, minutes, hours, doms, months, dows = sets
    return CronSchedule(
        text,
        form,
        seconds,
        minutes,
        hours,
        doms,
        months,
        dows,
        fields_count=fields_count,
        stated=stated,
    )


def _all(bounds: _Bounds) -> int:
    return _span(bounds.low, bounds.high) | STAR


def _span(low: int, high: int, step: int = 1) -> int:
    return sum(1 << value for value in range(low, high + 1, step))


def _field(text: str, bounds: _Bounds) -> int:
    """The set of one field. Empty parts of a list count for nothing, so "," alone never fires."""
    bits = 0
    for part in text.split(","):
        if part:
            bits |= _part(part, bounds)
    return bits


def _part(text: str, bounds: _Bounds) -> int:
    span, *steps = text.split("/")
    low_text, *high_texts = span.split("-")
    star = 0
    if low_text in ("*", "?"):
        low, high, star = bounds.low, bounds.high, STAR
    else:
        low = high = _value(low_text, bounds)
        if len(high_texts) == 1:
            high = _value(high_texts[0], bounds)
        elif high_texts:
            raise ValueError(f"{bounds.name} {text!r} has too many hyphens")
    step = 1
    if len(steps) == 1:
        step = _number(steps[0], bounds)
        if not high_texts:
            high = bounds.high  # N/step is N-max/step
    elif steps:
        raise ValueError(f"{bounds.name} {text!r} has too many slashes")
    if low < bounds.low:
        raise ValueError(f"{bounds.name} {text!r}: {low} is below {bounds.low}")
    if high > bounds.high:
        raise ValueError(f"{bounds.name} {text!r}: {high} is above {bounds.high}")
    if low > high:
        raise ValueError(f"{bounds.name} {text!r}: a range does not wrap, {low} is beyond {high}")
    if step == 0:
        raise ValueError(f"{bounds.name} {text!r}: a step is 1 or more")
    return _span(low, high, step) | star


def _value(text: str, bounds: _Bounds) -> int:
    name = text.lower()
    if name in bounds.names:
        return bounds.names.index(name) + bounds.low
    return _number(text, bounds)


def _number(text: str, bounds: _Bounds) -> int:
    if not _GO_INT.fullmatch(text) or len(text) > 400:
        raise ValueError(
            f"{bounds.name} {text[:40]!r} is no number{' or name' if bounds.names else ''}"
        )
    number = int(text)
    if number < 0 or number >= _INT64:
        raise ValueError(f"{bounds.name} {text[:40]!r} is out of range")
    return number


def _duration_ns(text: str) -> int:
    """A Go duration ("1h30m", "90s", "1.5h") in nanoseconds, rounded down; negative ones become the least, one second."""
    body = text[1:] if text[:1] in ("+", "-") and text else text
    if body == "0":
        return 0
    at, total = 0, 0
    while at < len(body):
        found = _DURATION.match(body, at)
        if found is None or not (found[1] or found[2]) or len(found[0]) > 60:
            raise ValueError(f"{text[:40]!r} is no duration; it is written 90s, 15m or 1h30m")
        unit, fraction = _UNITS_NS[found[3]], found[2] or ""
        total += int(found[1] or 0) * unit + (
            int(fraction) * unit // 10 ** len(fraction) if fraction else 0
        )
        at = found.end()
    if not body or total >= _INT64:
        raise ValueError(f"{text[:40]!r} is no duration; it is written 90s, 15m or 1h30m")
    return 0 if text[0] == "-" else total


# Days off


def excluded_by(dates: Iterable[str], moment: datetime, zone: str = CONTROLLER_ZONE) -> str | None:
    """Which of ``excludeDates`` makes the controller skip a run at ``moment``; None when none does.

    It takes each as a schedule and compares its next fire with now by a broken layout, which keeps only month and hour. So a
    date that is meant to skip one day also skips every run of the sale's month in the hour of its next fire. What does not
    parse is skipped itself, with a line in the controller's log.
    """
    return DaysOff(dates, zone).by(unix(moment))


class DaysOff:
    """As ``excluded_by``, for many moments: a date's next fire is kept for as long as it is ahead."""

    def __init__(self, dates: Iterable[str], zone: str) -> None:
        self._offsets = offsets_of(zone)
        self._dates: list[tuple[str, CronSchedule]] = []
        self._ahead: dict[int, tuple[int, int | None]] = {}  # (asked at, next fire)
        for text in dates:
            try:
                self._dates.append((text, parse_schedule(text)))
            except ValueError:
                continue

    def by(self, second: int) -> str | None:
        if not self._dates:
            return None
        here = _month_and_hour(second, self._offsets)
        for number, (text, schedule) in enumerate(self._dates):
            asked, found = self._ahead.get(number, (second + 1, None))
            if schedule.every_s or second < asked or (found is not None and second >= found):
                found = schedule.next_second(second, self._offsets)
                self._ahead[number] = (second, found)
            if found is not None and _month_and_hour(found, self._offsets) == here:
                return text
        return None


def _month_and_hour(second: int, offsets: Offsets) -> tuple[int, int]:
    days, rest = divmod(second + offsets(second), 86_400)
    return date.fromordinal(EPOCH + days).month, rest // 3600
