"""The runs of CronHPA jobs in a time line, and what keeps them from being known."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import groupby

from saleops.domain.cron_clock import moment_of, unix
from saleops.domain.cronhpa import SIZE_MAX
from saleops.domain.lint.cron_objects import Cron, CronJob, Ref, shown
from saleops.domain.lint.cron_replay import by_workload, days_off, is_sound, seconds_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.timeline.model import Event, Run

SECONDS_MAX = 3_000_000
"""Runs of all jobs of a time line that are looked at: eight days of four jobs that run each second."""
ORDERS_MAX = 50_000
"""Changes from one job's runs to another's that are followed."""


@dataclass
class Calendar:
    """Reads one workload after the other. ``unknown`` is why nobody can say what their jobs do, by the workload's label."""

    fleet: Fleet
    start: datetime
    seconds: int
    zone: str
    installed: datetime
    notes: list[str] = field(default_factory=list)
    skipped: list[Event] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    _looked_at: int = 0
    _orders: int = 0

    def runs_of(self, ref: Ref, label: str) -> tuple[Run, ...]:
        """Runs of the same jobs with no others in between are one, with the seconds in which it comes again."""
        jobs: list[tuple[Cron, CronJob, str]] = []
        for cron in by_workload(self.fleet).get(ref, []):
            for job in cron.jobs:
                line, _ = cron.document.place((*job.path, "schedule"))
                cause = f"{cron.name}/{job.label} `{job.text}` {cron.document.file}:{line}"
                if not is_sound(job):
                    self._doubt(label, f"{cause}: {_refused(job)}; it never runs")
                    continue
                if job.schedule is not None and job.schedule.every_s:
                    self.notes.append(
                        f"{cause}: counted from the beginning of the time line; nobody knows its clock"
                    )
                jobs.append((cron, job, cause))
        begin = unix(self.start, up=True)
        found: list[Run] = []
        groups: list[tuple[tuple[int, ...], int, array[int]]] = []
        streams = [self._seconds(number, *one, label) for number, one in enumerate(jobs)]
        for second, due in groupby(merge(*streams), key=lambda one: one[0]):
            numbers = tuple(number for _, number in due)
            if groups and groups[-1][0] == numbers:
                groups[-1][2].append(second - begin)
                continue
            self._orders += 1
            if self._orders > ORDERS_MAX:
                self._doubt(
                    label,
                    f"its jobs write one after the other more than {ORDERS_MAX:,} times; from "
                    f"{shown(moment_of(second), self.zone)} on they are not followed",
                )
                break
            groups.append((numbers, second - begin, array("q")))
        for numbers, second, again in groups:
            for number in numbers:
                cron, job, cause = jobs[number]
                assert job.size is not None  # sound jobs have one
                on_hpa = cron.target.kind == "HorizontalPodAutoscaler"
                found.append(Run(second, job.size, on_hpa, cause, again))
        return tuple(found)

    def _seconds(
        self, number: int, cron: Cron, job: CronJob, cause: str, label: str
    ) -> Iterator[tuple[int, int]]:
        end = self.start + timedelta(seconds=self.seconds)
        off, begin = days_off(cron, self.zone), unix(self.start, up=True)
        last: tuple[Event, int] | None = None  # a skipped run, and how many there are of it
        for second in seconds_of(job, self.start, end, self.zone, self.installed):
            self._looked_at += 1
            if self._looked_at > SECONDS_MAX:
                self._doubt(
                    label,
                    f"{cause}: the jobs run more than {SECONDS_MAX:,} times; from "
                    f"{shown(moment_of(second), self.zone)} on they are not followed",
                )
                break
            by = off.by(second)
            if not by:
                self._told(last)
                last = None
                yield second, number
                continue
            text = f"skipped by excludeDates `{by}`"
            if last is not None and last[0].text == text:
                last = (last[0], last[1] + 1)
                continue
            self._told(last)
            last = (Event(second - begin, label, "cron", text, cause=cause), 1)
        self._told(last)

    def _told(self, last: tuple[Event, int] | None) -> None:
        if last is not None:
            event, times = last
            more = f", {times:,} runs of it" if times > 1 else ""
            self.skipped.append(replace(event, text=event.text + more))

    def _doubt(self, label: str, text: str) -> None:
        self.notes.append(text)
        self.unknown.setdefault(label, []).append(text)


def _refused(job: CronJob) -> str:
    if job.schedule is None:
        return f"the controller refuses it ({job.error})"
    if job.size is None:
        return "its targetSize is no whole number"
    if job.size > SIZE_MAX:
        return f"its targetSize {job.size} is above {SIZE_MAX:,}, the most that 32 bits hold"
    return f"the API refuses its targetSize {job.size}"
