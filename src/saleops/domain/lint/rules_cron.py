"""CRN001 to CRN004, CRN009 and CRN012: what a schedule says, and what the controller reads."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from saleops.domain.cron_clock import moment_of, unix
from saleops.domain.cronhpa import CronSchedule, parse_schedule
from saleops.domain.lint.cron_objects import (
    Cron,
    CronJob,
    controller_zone,
    crons,
    shown,
    since_opening,
    span_text,
)
from saleops.domain.lint.cron_replay import BEFORE, days_off, every_text, replay, seconds_of
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.scalars import added_beside, replaced

PARSER = "kubernetes-cronhpa-controller, its schedule parser"
CONTROLLER = "kubernetes-cronhpa-controller, its controller"

LOOKED_AT = timedelta(days=8)
"""The most of a sale in which runs are counted."""


@rule(
    "CRN001",
    "error",
    "A CronHPA schedule that is not six fields",
    why="The controller reads second minute hour day-of-month month [day-of-week]. Five fields are accepted without a word and "
    "mean something else: 0 2 * * * fires every hour at two minutes past, also two minutes into a midnight sale.",
    fix="Write six fields, seconds first (0 30 23 * * *), or one moment: @date 2026-11-26 23:30:00.",
    source=PARSER,
    bad='schedule: "30 23 * * *"',
    good='schedule: "0 30 23 * * *"',
)
def six_fields(fleet: Fleet) -> Iterator[Hit]:
    for cron in crons(fleet):
        for job in cron.jobs:
            path = (*job.path, "schedule")
            if job.schedule is None:
                said = f"`{job.text}`" if job.text else "what is there"
                yield Hit(
                    cron.document,
                    path,
                    f"{cron.name}: the controller refuses the schedule of {job.label}, {said}: {job.error}",
                    why=f"The object is accepted all the same and only its condition says Failed: {_never(job, cron)}.",
                )
            elif job.schedule.form == "fields" and job.schedule.fields_count == 5:
                meant = meant_by_five(job.text)
                yield Hit(
                    cron.document,
                    path,
                    f"{cron.name}: the five fields `{job.text}` of {job.label} are read as second minute hour day month: "
                    f"it {every_text(job.schedule)}",
                    why=_on_sale_day(fleet, cron, job),
                    fix=_six_fields_fix(fleet, job, meant),
                    edits=replaced(cron.document, path, f'"{meant}"') if meant else (),
                )


def meant_by_five(text: str) -> str | None:
    """The six fields somebody meant who wrote five as for a crontab; None where it might be meant as it stands."""
    fields = text.split()
    if len(fields) != 5 or fields[2] not in ("*", "?"):
        return None
    meant = " ".join(["0", *fields])
    try:
        schedule = parse_schedule(meant)
    except ValueError:
        return None
    return meant if schedule.minutes.bit_count() == 1 else None


def _never(job: CronJob, cron: Cron) -> str:
    size = "its size" if job.size is None else f"{job.size} pods"
    return f"{cron.workload.name or 'its target'} never goes to {size}"


def _on_sale_day(fleet: Fleet, cron: Cron, job: CronJob) -> str:
    """What the job does first within the window, else next to it."""
    sale = fleet.sale
    if sale is None or job.schedule is None:
        return (
            f"It {every_text(job.schedule)}, every day: {cron.workload.name} goes to {job.size} pods each time"
            if job.schedule
            else ""
        )
    zone, from_where = controller_zone(fleet)
    around = replay(fleet, sale.opens - timedelta(hours=2), sale.closes).get(cron.workload, [])
    mine = [one for one in around if one.job == job]
    inside = [one for one in mine if one.moment >= sale.opens]
    first = next(
        (one for one in inside if one.is_down), inside[0] if inside else mine[-1] if mine else None
    )
    if first is None:
        following = job.schedule.next_after(sale.opens, zone)
        when = "never" if following is None else shown(following, zone)
        return f"It {every_text(job.schedule)} (zone {zone}, from {from_where}); after the opening it fires next at {when}."
    sizes = (
        f"goes from {first.before} to {first.after} pods"
        if first.before is not None and first.before != first.after
        else f"is set to {first.after} pods"
    )
    text = (
        f"It {every_text(job.schedule)}: at {shown(first.moment, zone)}, {since_opening(first.moment, sale.opens)}, "
        f"{cron.workload.name} {sizes}"
    )
    back = next(
        (
            one
            for one in around
            if one.moment > first.moment and first.is_down and one.after > first.after
        ),
        None,
    )
    if back is not None:
        text += (
            f", and only {back.job.label} takes it back at {shown(back.moment, zone)}, "
            f"{span_text((back.moment - first.moment).total_seconds())} later"
        )
    until = min(sale.closes, sale.opens + LOOKED_AT)
    times = sum(1 for _ in seconds_of(job, sale.opens, until, zone, sale.now or sale.opens))
    return f"{text}; it fires {times} times while the sale is open."


def _six_fields_fix(fleet: Fleet, job: CronJob, meant: str | None) -> str:
    if meant is None:
        return "Write six fields, seconds first; these five can be read in two ways, so say which."
    near = nearest(fleet, parse_schedule(meant), job)
    return f'Write "{meant}"' + (
        f', or "{_date_text(fleet, near)}" for this sale alone.' if near else "."
    )


def nearest(fleet: Fleet, schedule: CronSchedule, job: CronJob) -> datetime | None:
    """The fire that the sale wants of a recurring job: the last before the opening, or the first after the close for a job
    that leaves fewer pods than another one of its object."""
    sale = fleet.sale
    if sale is None:
        return None
    zone, _ = controller_zone(fleet)
    listed = job.document.at("spec", "jobs")
    sizes = [
        one["targetSize"]
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and isinstance(one.get("targetSize"), int)
    ]
    if job.size is not None and sizes and job.size < max(sizes):
        return schedule.next_after(sale.closes - timedelta(seconds=1), zone)
    last = schedule.last_between(unix(sale.opens - BEFORE), unix(sale.opens), zone)
    return None if last is None else moment_of(last)


def _date_text(fleet: Fleet, moment: datetime) -> str:
    zone, _ = controller_zone(fleet)
    return f"@date {moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


@rule(
    "CRN002",
    "error",
    "A CronHPA job that fires many times a minute",
    why="A star or a step in the first field, the seconds, or an @every of less than a minute: the job writes the size up to 60 "
    "times a minute, and every other change of it, by a person or an HPA, is taken back within seconds.",
    fix="Write one second, 0, as the first field; of @every a minute or more.",
    source=PARSER,
    bad='schedule: "* 30 23 * * *"',
    good='schedule: "0 30 23 * * *"',
)
def one_second(fleet: Fleet) -> Iterator[Hit]:
    for cron in crons(fleet):
        for job in cron.jobs:
            if job.schedule is None:
                continue
            times = (job.schedule.seconds & ~(1 << 63)).bit_count()
            if job.schedule.form == "every" and job.schedule.every_s < 60:
                times = 60 // job.schedule.every_s
            if times < 2:
                continue
            six = job.schedule.fields_count == 6
            fields = job.text.split()
            yield Hit(
                cron.document,
                (*job.path, "schedule"),
                f"{cron.name}: `{job.text}` of {job.label} fires {times} times a minute, "
                + (
                    f"every {job.schedule.every_s} s"
                    if job.schedule.every_s
                    else "the first field is the seconds"
                ),
                why=f"{times} writes a minute that set {cron.workload.name} to {job.size} pods: whatever else is done to its "
                f"size is undone within {60 // times} s, and the controller's queue of runs grows.",
                edits=replaced(
                    cron.document, (*job.path, "schedule"), f'"{" ".join(["0", *fields[1:]])}"'
                )
                if six and fields[0] in ("*", "?")
                else (),
            )


@rule(
    "CRN003",
    "error",
    "An @date whose year does not count",
    why="The controller drops the year of @date: a date in the past, or more than a year ahead, fires at the next such day.",
    fix="Write the date of the next sale, less than a year ahead, and remove the job after it.",
    source=PARSER,
    bad='schedule: "@date 2020-11-11 23:30:00"',
    good='schedule: "@date 2026-11-26 23:30:00"',
)
def year_counts(fleet: Fleet) -> Iterator[Hit]:
    sale = fleet.sale
    if sale is None:
        return
    zone, _ = controller_zone(fleet)
    info = ZoneInfo(zone)
    now = sale.now
    earliest, latest = (now, now + timedelta(days=365)) if now else (
        sale.opens - timedelta(days=365),
        sale.closes + timedelta(days=365),
    )  # fmt: skip
    for cron in crons(fleet):
        for job in cron.jobs:
            if job.schedule is None or job.schedule.stated is None:
                continue
            try:
                said = job.schedule.stated.replace(tzinfo=info)
                wrong = (
                    "in the past"
                    if said < earliest
                    else "over a year ahead"
                    if said > latest
                    else ""
                )
            except OverflowError:
                said, wrong = sale.opens, "at the end of time"
            if not wrong:
                continue
            fires = job.schedule.next_after(now or earliest, zone)
            when = "never" if fires is None else f"at {shown(fires, zone)}"
            yield Hit(
                cron.document,
                (*job.path, "schedule"),
                f"{cron.name}: `{job.text}` of {job.label} is {wrong}, and the year does not count: it fires {when}",
                why=f"{cron.workload.name} goes to {job.size} pods {when}, "
                f"{since_opening(fires, sale.opens) if fires else 'which is no help to the sale'}.",
            )


@rule(
    "CRN004",
    "warning",
    "A recurring job for a sale of one day",
    why="A schedule without runOnce comes back: every day, or next year, the service is scaled for a sale that is over.",
    fix="Write @date, which runs once; or fix day and month and add runOnce: true.",
    source=CONTROLLER,
    bad='schedule: "0 30 23 * * *"',
    good='schedule: "@date 2026-11-26 23:30:00"',
)
def runs_once(fleet: Fleet) -> Iterator[Hit]:
    sale = fleet.sale
    if sale is None or sale.closes - sale.opens > timedelta(days=1):
        return
    zone, _ = controller_zone(fleet)
    for cron in crons(fleet):
        for job in cron.jobs:
            if job.schedule is None or job.runs_once:
                continue
            first = job.schedule.next_after(sale.closes, zone)
            if first is None:
                continue  # it does not come back; CRN013 has those that never fire
            again = job.schedule.next_after(first, zone)
            pinned = job.schedule.one_day_a_year
            near = nearest(fleet, _meant(job), job)
            path = (*job.path, "schedule")
            yield Hit(
                cron.document,
                path,
                f"{cron.name}: {job.label} is for one sale but comes back: it {every_text(job.schedule)}",
                why=f"After the sale it fires at {shown(first, zone)}"
                f"{f', then at {shown(again, zone)}' if again else ''}: {cron.workload.name} is set to {job.size} pods "
                "each time, sale or no sale.",
                fix=f'Write "{_date_text(fleet, near)}".'
                if near
                else "Fix day and month and add runOnce: true, or write @date.",
                edits=_once_edit(job) if pinned else (),
            )


def _once_edit(job: CronJob) -> tuple[Edit, ...]:
    written = (*job.path, "runOnce")
    if written in job.document.places:
        return replaced(job.document, written, "true")
    return added_beside(job.document, (*job.path, "schedule"), "runOnce", "true")


def _meant(job: CronJob) -> CronSchedule:
    meant = meant_by_five(job.text)
    found = parse_schedule(meant) if meant else job.schedule
    assert found is not None  # the caller asked before
    return found


@rule(
    "CRN009",
    "warning",
    "excludeDates that exclude more than they say",
    why="The controller compares an exclude date with now by month and hour alone: a day in November also skips every run in the "
    "hour of its next fire on every other November day. A skipped one-shot job counts as done and never runs.",
    fix="Leave excludeDates out and write the days that are wanted: one @date job each.",
    source="kubernetes-cronhpa-controller, its day-off check; its issues 23 and 35",
    bad='excludeDates: ["* * * 15 11 *"]',
    good="excludeDates: []",
)
def exclude_dates(fleet: Fleet) -> Iterator[Hit]:
    zone, _ = controller_zone(fleet)
    for cron in crons(fleet):
        listed = cron.document.at("spec", "excludeDates")
        if not isinstance(listed, list) or not listed:
            continue
        bad = []
        for one in listed:
            try:
                parse_schedule(one if isinstance(one, str) else "")
            except ValueError as error:
                bad.append(f"`{str(one)[:40]}` ({error})")
        skipped = _skipped(fleet, cron, zone)
        said = f"excludeDates has {len(listed)} entries; they are compared by month and hour only"
        yield Hit(
            cron.document,
            ("spec", "excludeDates"),
            f"{cron.name}: {said}"
            + (f"; not understood and ignored: {', '.join(bad)}" if bad else ""),
            why=skipped,
            key=True,
        )


def _skipped(fleet: Fleet, cron: Cron, zone: str) -> str:
    sale = fleet.sale
    if sale is None:
        return ""
    start = sale.opens - BEFORE
    end = min(sale.closes, sale.opens + LOOKED_AT) + timedelta(hours=12)
    lost, first = 0, None
    for job in cron.jobs:
        off = days_off(cron, zone)
        for second in seconds_of(job, start, end, zone, start):
            if by := off.by(second):
                lost += 1
                if first is None or second < first[0]:
                    first = (second, job, by)
    if first is None:
        return "No run within a day of this sale is skipped by it; the next change of a date may do it."
    second, job, by = first
    moment = moment_of(second)
    return (
        f"{lost} runs within a day of the sale are skipped, the first {job.label} at {shown(moment, zone)}, "
        f"{since_opening(moment, sale.opens)}, by `{by}`: {cron.workload.name} does not go to {job.size} pods."
    )
