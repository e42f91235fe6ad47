"""CRN007: jobs of one target that collide, or make no sense."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from saleops.domain.cron_clock import unix
from saleops.domain.cronhpa import SIZE_MAX, CronSchedule
from saleops.domain.lint.cron_objects import CronJob, controller_zone, crons, shown
from saleops.domain.lint.cron_replay import by_workload
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule

APART_S = 60
"""Seconds that two jobs of one target keep from each other."""

LEAPS = 60
"""How many times the search for two close runs leaps ahead: some years of days that never meet."""


@rule(
    "CRN007",
    "error",
    "Jobs of one target that collide, or make no sense",
    why="Jobs of one second run side by side and the last write wins, in no order; conditions are kept by job name, so two jobs "
    "of one name share one; 0 pods serve nobody.",
    fix="Keep jobs of a target a minute apart, give each a name of its own, and a target size above 0.",
    source="kubernetes-cronhpa-controller, its run loop and status",
    bad="two jobs at 0 0 0 * * *",
    good="one at 0 30 23 * * *, one at 0 0 3 * * *",
)
def jobs_collide(fleet: Fleet) -> Iterator[Hit]:
    for cron in crons(fleet):
        names: dict[str, CronJob] = {}
        for job in cron.jobs:
            path = job.path
            if job.name and job.name in names:
                yield Hit(
                    cron.document,
                    (*path, "name"),
                    f"{cron.name}: two jobs are called {job.name}",
                    why="The controller keeps one condition a name: one of the two jobs is never seen to run, or never runs.",
                )
            names.setdefault(job.name, job)
            if job.size is None:
                written = job.document.at(*path, "targetSize")
                yield Hit(
                    cron.document,
                    (*path, "targetSize"),
                    f"{cron.name}: targetSize of {job.label} is {written!r}, no whole number",
                    why=f"Nobody can say how many pods {cron.workload.name} has after it.",
                )
            elif job.size > SIZE_MAX:
                yield Hit(
                    cron.document,
                    (*path, "targetSize"),
                    f"{cron.name}: targetSize of {job.label} is {job.size}, above {SIZE_MAX:,}, the most that its 32 bits hold",
                    why=f"The object cannot be read as it is: {cron.workload.name or 'its target'} never goes to this size, nor "
                    "to that of any other job of it.",
                )
            elif job.size <= 0:
                yield Hit(
                    cron.document,
                    (*path, "targetSize"),
                    f"{cron.name}: {job.label} sets {cron.workload.name} to {job.size} pods",
                    why="With no pod nobody is served, and an HPA does not scale what has none."
                    if job.size == 0
                    else "The API refuses a negative size: the job fails for ten seconds and is given up.",
                )
    yield from _same_minute(fleet)


def _same_minute(fleet: Fleet) -> Iterator[Hit]:
    zone, _ = controller_zone(fleet)
    anchor = (
        fleet.sale.opens - timedelta(days=1)
        if fleet.sale
        else datetime.fromisoformat("2026-01-01T00:00:00+08:00")
    )
    for workload, found in by_workload(fleet).items():
        jobs = [(cron, job) for cron in found for job in cron.jobs if job.schedule is not None]
        for number, (cron, job) in enumerate(jobs):
            for other_cron, other in jobs[:number]:
                together = _near(job, other, anchor, zone)
                if together is None:
                    continue
                moment, apart = together
                where = "" if other_cron.document is cron.document else f" of {other_cron.name}"
                yield Hit(
                    cron.document,
                    (*job.path, "schedule"),
                    f"{cron.name}: {job.label} ({job.size} pods) and {other.label}{where} ({other.size} pods) both scale "
                    f"{workload.name}, {'at most ' * _frequent(job, other)}{apart} s apart at {shown(moment, zone)}",
                    why="In one second they run side by side and either may win."
                    if not apart
                    else f"The pods of the first are not there yet when the second changes the size, {apart} s later; a run "
                    "that is retried for ten seconds may land after it.",
                )


def _near(job: CronJob, other: CronJob, anchor: datetime, zone: str) -> tuple[datetime, int] | None:
    """The first time that two jobs fire within a minute of each other after ``anchor``; each step leaps to the later one."""
    first, second = job.schedule, other.schedule
    if first is None or second is None:
        return None
    if _frequent(job, other):
        # Its clock is unknown, but no moment is further from its next or last run than half its interval.
        often, rare = (first, second) if first.every_s else (second, first)
        found = rare.next_after(anchor, zone)
        return None if found is None else (found, -(-often.every_s // 2))
    if "every" in (first.form, second.form):
        return None
    mine, theirs = _clock(first), _clock(second)
    if mine is not None and theirs is not None and not _close(mine, theirs):
        return None
    margin = timedelta(seconds=APART_S)
    moment = anchor
    for _ in range(LEAPS):
        found = first.next_after(moment, zone)
        near = second.next_after(found - margin, zone) if found is not None else None
        if found is None or near is None:
            return None
        if near < found + margin:
            at = unix(found)
            before = second.last_between(at - APART_S + 1, at + 1, zone)
            after = unix(second.next_after(found - timedelta(seconds=1), zone) or near)
            return found, min(abs(one - at) for one in (before, after) if one is not None)
        moment = near - margin
    return None


def _frequent(job: CronJob, other: CronJob) -> bool:
    """Whether one counts from a moment nobody knows, but so often that the other is always within a minute of it."""
    return any(
        one.schedule is not None and 0 < one.schedule.every_s < 2 * APART_S for one in (job, other)
    )


def _clock(schedule: CronSchedule) -> list[int] | None:
    """Seconds of the day at which a schedule may fire; None for too many to list."""
    bits = [one & ~(1 << 63) for one in (schedule.hours, schedule.minutes, schedule.seconds)]
    if bits[0].bit_count() * bits[1].bit_count() * bits[2].bit_count() > 200:
        return None
    hours, minutes, seconds = ([n for n in range(60) if one >> n & 1] for one in bits)
    return [h * 3600 + m * 60 + s for h in hours for m in minutes for s in seconds]


def _close(mine: list[int], theirs: list[int]) -> bool:
    """Whether some second of one is within a minute of one of the other, over midnight too. May err on the side of yes."""
    if not mine or not theirs:
        return False
    merged = sorted([*mine, *theirs])
    around = [*merged, merged[0] + 86_400]
    return any(later - sooner < APART_S for sooner, later in pairwise(around))
