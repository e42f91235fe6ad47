"""CRN013: jobs that no day of any year makes run."""

from collections.abc import Iterator
from datetime import datetime

from saleops.domain.lint.cron_objects import controller_zone, crons
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule


@rule(
    "CRN013",
    "error",
    "A CronHPA schedule that never fires",
    why="Each field is fine by itself, but no day has them all, as 31 February: the controller looks five years ahead, finds "
    "nothing, and says nothing.",
    fix="Write a day that exists, best as one moment: @date 2026-11-26 23:30:00.",
    source="kubernetes-cronhpa-controller, its schedule parser",
    bad='schedule: "0 0 0 31 2 *"',
    good='schedule: "0 0 0 28 2 *"',
)
def fires_at_all(fleet: Fleet) -> Iterator[Hit]:
    zone, _ = controller_zone(fleet)
    sale = fleet.sale
    since = sale.now or sale.opens if sale else datetime.fromisoformat("2026-01-01T00:00:00+08:00")
    for cron in crons(fleet):
        for job in cron.jobs:
            if job.schedule is None or job.schedule.next_after(since, zone) is not None:
                continue
            size = "its size" if job.size is None else f"{job.size} pods"
            yield Hit(
                cron.document,
                (*job.path, "schedule"),
                f"{cron.name}: `{job.text}` of {job.label} never fires: no day within five years has them all",
                why=f"{cron.workload.name or 'Its target'} never goes to {size}.",
            )
