"""What the jobs of all CronHPAs do to their workloads around the sale: which size each fire finds, and which it leaves."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from saleops.domain.cron_clock import moment_of, offsets_of, unix
from saleops.domain.cronhpa import SIZE_MAX, CronSchedule, DaysOff
from saleops.domain.lint.cron_objects import (
    Cron,
    CronJob,
    Ref,
    controller_zone,
    crons,
    hpa_bounds,
    hpa_of,
    named,
    whole,
)
from saleops.domain.lint.fleet import Fleet

CHANGES_MAX = 20_000
"""Seconds in which the size of one workload changes that are followed: more than a whole sale of jobs that undo each other."""

BEFORE = timedelta(days=1)
"""How long before the opening a one-shot job is taken to be in place, where nobody says what time it is."""

_LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32))


@dataclass(frozen=True, slots=True)
class Fire:
    """A run of a job, with the size the workload has before (None: nobody says) and after.

    A job that writes the same size again and again is a standing order: of its runs only those are fires that change
    something, the first, and the first while the sale is open.
    """

    moment: datetime
    cron: Cron
    job: CronJob
    before: int | None
    after: int

    @property
    def is_down(self) -> bool:
        return self.before is not None and self.after < self.before


def installed_at(fleet: Fleet) -> datetime | None:
    """From when on jobs run: now, or a day before the opening."""
    if fleet.sale is None:
        return None
    return fleet.sale.now or fleet.sale.opens - BEFORE


def by_workload(fleet: Fleet) -> Mapping[Ref, list[Cron]]:
    found = fleet.worked_out.get("crons by workload")
    if found is None:
        found = fleet.worked_out["crons by workload"] = {}
        for cron in crons(fleet):
            if cron.workload.name:
                found.setdefault(cron.workload, []).append(cron)
    return cast(dict[Ref, list[Cron]], found)


def is_sound(job: CronJob) -> bool:
    """Whether the controller runs it at all, and can write its size."""
    return job.schedule is not None and job.size is not None and 0 <= job.size <= SIZE_MAX


def once_at(job: CronJob, zone: str, installed: datetime) -> int | None:
    """When a one-shot job runs: its first fire after ``installed``, and never again."""
    if job.schedule is None:
        return None
    return job.schedule.next_second(unix(installed) - 1, offsets_of(zone))


def seconds_of(
    job: CronJob, start: datetime, end: datetime, zone: str, installed: datetime
) -> Iterator[int]:
    """Every run of ``job`` in [start, end), in seconds since 1970."""
    if job.schedule is None:
        return
    if job.runs_once:
        first = once_at(job, zone, installed)
        if first is not None and unix(start, up=True) <= first < unix(end, up=True):
            yield first
        return
    yield from job.schedule.seconds_between(unix(start, up=True), unix(end, up=True), zone)


class _Runs:
    """The runs of one job, asked for one at a time: however often it fires, only those that count are looked up."""

    def __init__(
        self, cron: Cron, job: CronJob, span: tuple[int, int], zone: str, installed: datetime
    ) -> None:
        self.cron, self.job = cron, job
        self.marks: list[int] = []
        self._start, self._end = span
        self._offsets = offsets_of(zone)
        self._once = once_at(job, zone, installed) if job.runs_once else None
        self._off = days_off(cron, zone)
        self._known: tuple[int, int | None] | None = None  # (asked for after, found)

    def after(self, second: int) -> int | None:
        """The first run later than ``second`` that no day off skips."""
        if self._known is not None:
            asked, found = self._known
            if asked <= second and (found is None or second < found):
                return found
        found = self._next(second)
        while found is not None and self._off.by(found):
            found = self._next(found)
        self._known = (second, found)
        return found

    def _next(self, second: int) -> int | None:
        schedule = self.job.schedule
        assert schedule is not None  # only sound jobs have runs
        found: int | None
        if self.job.runs_once:
            found = self._once if self._once is not None and self._once > second else None
        elif schedule.every_s:
            found = second + schedule.every_s - (second - self._start) % schedule.every_s
            found = max(found, self._start + schedule.every_s)
        else:
            found = schedule.next_second(second, self._offsets)
        return found if found is not None and self._start <= found < self._end else None


def replay(fleet: Fleet, start: datetime, end: datetime) -> Mapping[Ref, list[Fire]]:
    """Every fire in [start, end) that is not skipped by a day off, by workload, in order. Two of one second keep their order."""
    key = f"replay {start} {end}"
    if key not in fleet.worked_out:
        fleet.worked_out[key] = _replay(fleet, start, end)
    return cast(dict[Ref, list[Fire]], fleet.worked_out[key])


def _replay(fleet: Fleet, start: datetime, end: datetime) -> dict[Ref, list[Fire]]:
    zone, _ = controller_zone(fleet)
    installed = installed_at(fleet) or start
    span = (unix(start, up=True), unix(end, up=True))
    opens = unix(fleet.sale.opens, up=True) if fleet.sale is not None else span[0]
    out: dict[Ref, list[Fire]] = {}
    for workload, found in by_workload(fleet).items():
        size = size_before(fleet, workload, found, start, zone, installed)
        jobs = [
            _Runs(cron, job, span, zone, installed)
            for cron in found
            for job in cron.jobs
            if is_sound(job)
        ]
        for one in jobs:
            one.marks = sorted({span[0], max(span[0], opens)})
        fires = _followed(jobs, span[0] - 1, size)
        if fires:
            out[workload] = fires
    return out


def _followed(jobs: list[_Runs], second: int, size: int | None) -> list[Fire]:
    """From one second in which something changes to the next: runs that write the size that is there change nothing."""
    fires: list[Fire] = []
    for _ in range(CHANGES_MAX):
        due = []
        for one in jobs:
            if one.job.size != size:
                due.append(one.after(second))
            elif one.marks:
                due.append(one.after(max(second, one.marks[0] - 1)))
        following = min((one for one in due if one is not None), default=None)
        if following is None:
            break
        for one in jobs:
            wanted = one.job.size
            if wanted is None or one.after(following - 1) != following:
                continue
            marked = bool(one.marks) and one.marks[0] <= following
            one.marks = [mark for mark in one.marks if mark > following]
            if wanted != size or marked:
                fires.append(Fire(moment_of(following), one.cron, one.job, size, wanted))
            size = wanted
        second = following
    return fires


def days_off(cron: Cron, zone: str) -> DaysOff:
    listed = cron.document.at("spec", "excludeDates")
    dates = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    return DaysOff(dates, zone)


def size_before(
    fleet: Fleet, workload: Ref, found: list[Cron], start: datetime, zone: str, installed: datetime
) -> int | None:
    """What the last fire before ``start`` left; else what the manifests say."""
    for back in _LOOK_BACK:
        last: tuple[int, int] | None = None
        since, until = unix(start - back, up=True), unix(start, up=True)
        for cron in found:
            for job in cron.jobs:
                if job.schedule is None or job.size is None or not is_sound(job):
                    continue
                if job.runs_once:
                    at = once_at(job, zone, installed) if installed < start else None
                    at = at if at is not None and since <= at < until else None
                else:
                    at = job.schedule.last_between(since, until, zone)
                if at is not None and (last is None or at >= last[0]):
                    last = (at, job.size)
        if last is not None:
            return last[1]
    document = named(fleet, workload.kind, workload.name, workload.namespace)
    written = whole(document.at("spec", "replicas")) if document is not None else None
    hpa = hpa_of(fleet, workload)
    if hpa is not None:
        low, _ = hpa_bounds(hpa)
        return max(low, written or 0)
    return written


def planned_pods(fleet: Fleet, workload: Ref) -> int | None:
    """Pods that the sale wants of ``workload`` at its peak; the manifest's ``order-service`` is the sale's ``order``."""
    if fleet.sale is None:
        return None
    name = service_of(workload.name, fleet.sale.pods)
    return fleet.sale.pods[name] if name is not None else None


def service_of(workload: str, services: Iterable[str]) -> str | None:
    """Which of the sale's services ``workload`` is, by name: itself, or less -service, -svc, -api, -deployment or -hpa."""
    known = set(services)
    for suffix in (
        "",
        "-service",
        "-svc",
        "-api",
        "-deployment",
        "-deploy",
        "-hpa",
        "-service-hpa",
    ):
        if workload.endswith(suffix) and (bare := workload.removesuffix(suffix)) in known:
            return bare
    return None


def every_text(schedule: CronSchedule) -> str:
    """When a schedule fires, in words, as far as few words do."""
    seconds, minutes, hours = (
        _values(schedule.seconds),
        _values(schedule.minutes),
        _values(schedule.hours),
    )
    if schedule.form == "every":
        return f"fires every {schedule.every_s} s, counted from when the controller took it in"
    day = "" if _stars(schedule) else " on the days that match"
    if len(seconds) > 1:
        return f"fires {len(seconds)} times in every minute that matches{day}"
    if len(minutes) > 1 or not seconds or not minutes or not hours:
        return f"fires {len(minutes)} times in every hour that matches{day}"
    if len(hours) == 24:
        return f"fires every hour at mm:ss {minutes[0]:02}:{seconds[0]:02}{day}"
    clock = ", ".join(f"{hour:02}:{minutes[0]:02}:{seconds[0]:02}" for hour in hours[:4])
    clock += ", ..." if len(hours) > 4 else ""
    if schedule.one_day_a_year:
        month, dom = _values(schedule.months)[0], _values(schedule.doms)[0]
        return f"fires every year on {month:02}-{dom:02} at {clock}"
    return f"fires every day at {clock}" if not day else f"fires at {clock}{day}"


def _stars(schedule: CronSchedule) -> bool:
    star = 1 << 63
    return bool(schedule.doms & star and schedule.dows & star and schedule.months & star)


def _values(bits: int) -> list[int]:
    return [number for number in range(63) if bits >> number & 1]
