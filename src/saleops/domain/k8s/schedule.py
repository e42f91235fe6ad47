"""Schedules of CronHorizontalPodAutoscalers: six fields, seconds first, in the zone that the controller runs in.

Its parser takes five fields too and reads them as second, minute, hour, day, month, so ``30 23 * * *`` fires every hour; we never
write five. ``@date`` would do as well: it drops its year just as six fields do, and both therefore run once and end.
"""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class CronJob:
    """One job: at ``schedule`` the target gets ``size``."""

    name: str
    schedule: str
    size: int
    at: str


def six_fields(moment: datetime, zone: str) -> str:
    """The second, minute, hour, day and month of ``moment`` on a clock in ``zone``; any weekday. ValueError without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    local = moment.astimezone(ZoneInfo(zone))
    return f"{local.second} {local.minute} {local.hour} {local.day} {local.month} *"


def cron_job(name: str, moment: datetime, zone: str, size: int) -> CronJob:
    local = moment.astimezone(ZoneInfo(zone))
    return CronJob(name, six_fields(moment, zone), size, f"{local:%Y-%m-%d %H:%M:%S} {zone}")
