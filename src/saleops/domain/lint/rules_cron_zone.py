"""CRN012: in which zone a CronHPA's schedules are read."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from saleops.domain.lint.cron_objects import (
    ZONE_ANNOTATION,
    Cron,
    controller_zone,
    crons,
    known_zone,
    shown,
    span_text,
    stated_zone,
)
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule


@rule(
    "CRN012",
    "warning",
    "A CronHPA without a time zone",
    why="A CronHPA has no field for its zone: schedules run in the zone of the controller's process, Asia/Shanghai unless its TZ "
    "says otherwise. Midnight elsewhere is another hour there.",
    fix=f"Write schedules in the controller's zone and say so: annotation {ZONE_ANNOTATION}: Asia/Shanghai.",
    source="kubernetes-cronhpa-controller, its default manifest; its issues 25, 30 and 104",
    bad="metadata: {name: order}",
    good=f"metadata: {{name: order, annotations: {{{ZONE_ANNOTATION}: Asia/Shanghai}}}}",
)
def zone_is_stated(fleet: Fleet) -> Iterator[Hit]:
    zone, from_where = controller_zone(fleet)
    for cron in crons(fleet):
        said = stated_zone(cron.document)
        if said and (known_zone(said) is None or said != zone):
            yield Hit(
                cron.document,
                ("metadata", "annotations", ZONE_ANNOTATION),
                f"{cron.name}: written for {said}, but the controller runs in {zone} ({from_where})",
                why=_apart(fleet, cron, zone, said),
                severity="error",
            )
        elif not said:
            yield Hit(
                cron.document,
                ("spec", "jobs"),
                f"{cron.name} says nowhere in which zone its schedules are; the controller reads them in {zone} ({from_where})",
                why=_sale_zone(fleet, zone),
                key=True,
            )


def _apart(fleet: Fleet, cron: Cron, zone: str, said: str) -> str:
    meant = known_zone(said)
    if meant is None:
        return f"There is no time zone {said!r}: nobody can say when the jobs are meant to run."
    at = fleet.sale.opens if fleet.sale else datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    here, there = at.astimezone(ZoneInfo(zone)).utcoffset(), at.astimezone(meant).utcoffset()
    gap = ((there or timedelta()) - (here or timedelta())).total_seconds()
    if not gap:
        return f"On the day both clocks show the same; {said} and {zone} may part on another."
    way = "early" if gap < 0 else "late"
    return f"Every job of {cron.name} runs {span_text(abs(gap))} too {way}."


def _sale_zone(fleet: Fleet, zone: str) -> str:
    """Whether the sale's own clock is another one than the controller's."""
    info = ZoneInfo(zone)
    for document in fleet.of_format("sale"):
        text = document.at("window", "opens")
        try:
            opens = datetime.fromisoformat(text) if isinstance(text, str) else text
        except ValueError:
            continue
        if not isinstance(opens, datetime) or opens.utcoffset() is None:
            continue
        here = opens.astimezone(info)
        if here.utcoffset() != opens.utcoffset():
            return (
                f"The sale opens at {opens.isoformat(sep=' ')}, which is {here.isoformat(sep=' ')} to the controller: a "
                f"schedule written for {opens:%H:%M:%S} fires at another moment."
            )
    if fleet.sale is not None:
        return f"The sale opens at {shown(fleet.sale.opens, zone)} on the controller's clock; check that the jobs mean that one."
    return ""
