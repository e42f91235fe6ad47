"""``lint --timeline``: a sale's hours in the time machine, and what comes out of them."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from saleops.domain.lint.cron_objects import shown, span_text
from saleops.domain.lint.fleet import Fleet
from saleops.domain.timeline.model import Course, Event, Outcome, Reclaim
from saleops.domain.timeline.reactive import Comparison, compare
from saleops.domain.timeline.series import Shortage, shortages, stretches
from saleops.domain.timeline.simulate import simulate
from saleops.domain.timeline.ttl import expiries, waves_of
from saleops.errors import ConfigError
from saleops.operations.lint.timeline_scenario import Built, build

if TYPE_CHECKING:
    from saleops.config.sale import Sale

AROUND_S = 2 * 3600
"""Before the opening and after the close, unless asked otherwise."""
SECONDS_MAX = 8 * 86_400
EVENTS_MAX = 5_000
_PLACE = re.compile(r":[0-9]+:[0-9]+: ")


@dataclass(frozen=True, slots=True)
class EventRow:
    """``t_s`` counts from the opening, negative before it. ``at`` is the sale's clock."""

    at: str
    t_s: int
    service: str
    kind: str
    text: str
    before: float
    after: float
    cause: str


@dataclass(frozen=True, slots=True)
class ShortageRow:
    """Demand exceeds capacity from ``begin`` on, for ``seconds``. ``lost`` are the requests that find no pod.

    ``ordered`` is when more pods were first asked for, ``ordered_after_s`` into it: the rest of the time they start.
    """

    service: str
    begin: str
    end: str
    begin_t_s: int
    end_t_s: int
    seconds: int
    worst_rps: float
    worst_at: str
    lost: float
    ordered: str
    ordered_after_s: int | None
    inside: bool
    cause: str


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """``series`` are runs of equal seconds: [t_s, seconds, pods, capacity_rps, demand_rps], without a gap."""

    service: str
    source: str
    rps_per_pod: float
    pods_planned: int | None
    pods_first: int
    pods_least: int
    pods_most: int
    peak_rps: float
    short_s: int
    judged: bool
    series: tuple[tuple[int, int, int, float, float], ...]


@dataclass(frozen=True, slots=True)
class ReclaimRow:
    """What is left after a reclaim: capacity then, over the most demand until replacements can be there."""

    service: str
    at: str
    pods_before: int
    pods_left: int
    capacity_rps: float
    demand_rps: float
    ratio: float | None
    back_after_s: int | None
    go: bool


@dataclass(frozen=True, slots=True)
class WaveRow:
    """Cached pages that expire, from a prewarm that ends at the opening."""

    number: int
    begin: str
    end: str
    pages: int
    worst_per_s: float
    worst_at: str


@dataclass(frozen=True)
class TimelineReport:
    """``go`` is False when demand exceeds capacity while the sale is open, a reclaim leaves too little, or it cannot be judged.

    ``unjudged`` are the reasons why it cannot: what a service of the sale does is assumed, not read.
    """

    schema: ClassVar[str] = "saleops/lint-timeline/v1"
    sale: str
    zone: str
    start: str
    opens: str
    closes: str
    seconds: int
    go: bool
    services: tuple[ServiceRow, ...]
    events: tuple[EventRow, ...]
    shortages: tuple[ShortageRow, ...]
    reclaim: tuple[ReclaimRow, ...]
    reactive: tuple[Comparison, ...]
    waves: tuple[WaveRow, ...]
    unjudged: tuple[str, ...]
    notes: tuple[str, ...]

    def hint(self) -> str:
        """What to do next, where it is no GO; only what helps with the causes there are."""
        said = []
        if any(one.inside and "CronHPA" in one.cause for one in self.shortages) or any(
            "` sets " in one
            or "it never runs" in one
            or "names nothing" in one
            or "not followed" in one
            for one in self.unjudged
        ):
            said.append("`saleops lint PATH... --sale SALE` names the lines to mend.")
        if any(not one.go for one in self.reclaim):
            said.append(
                "More pods, or a Deployment that requires on-demand nodes, outlast the reclaim."
            )
        if any(one.startswith("no workload was read") for one in self.unjudged):
            said.append("Name the folder with the Deployments that the sale runs on.")
        elif any("is in no manifest" in one for one in self.unjudged):
            said.append("Add the manifest of the workload that is missing to PATH.")
        if any(_PLACE.search(one) for one in self.unjudged):
            said.append("Mend, render or leave out the files that cannot be read.")
        return " ".join(said) or "Give the service more pods before the second that is named."

    def findings(self) -> tuple[str, ...]:
        """Why it is no GO, a sentence each."""
        short = [
            f"{one.service}: demand exceeds capacity for {span_text(one.seconds)} from {one.begin}{_ordered(one)}; {one.cause}"
            for one in self.shortages
            if one.inside
        ]
        lost = [
            f"{one.service}: after the reclaim capacity is {one.ratio or 0:.2f} of demand"
            for one in self.reclaim
            if not one.go
        ]
        unknown = [f"cannot be judged: {one}" for one in self.unjudged]
        return (*short, *lost, *unknown)


def timeline(
    sale: "Sale",
    fleet: Fleet,
    *,
    before_s: int = AROUND_S,
    after_s: int = AROUND_S,
    reclaim: Reclaim | None = None,
    pages: int = 0,
) -> TimelineReport:
    """What ``fleet`` does around ``sale``. ``fleet.sale`` holds the sale's facts; ``pages`` are how many a prewarm caches.

    Raises ConfigError for a span of more than eight days, or a reclaim outside of it.
    """
    open_for = round((sale.window.closes - sale.window.opens).total_seconds())
    if before_s + open_for + after_s > SECONDS_MAX:
        raise ConfigError(
            f"the time line would be {(before_s + open_for + after_s) / 86_400:.1f} days long; eight are the most",
            hint="Ask for less before and after the sale; a sale of more than a week is best looked at day by day.",
        )
    if reclaim is not None and not -before_s <= reclaim.second < open_for + after_s:
        raise ConfigError(
            f"a reclaim at {reclaim.second:+,} s is outside of the time line",
            hint=f"It counts from the opening: between {-before_s} and {open_for + after_s - 1}.",
        )
    built = build(sale, fleet, before_s=before_s, after_s=after_s, reclaim=reclaim)
    outcome = simulate(built.scenario)
    return _Report(sale, built, outcome, pages).report()


class _Report:
    def __init__(self, sale: "Sale", built: Built, outcome: Outcome, pages: int) -> None:
        self._sale = sale
        self._built = built
        self._outcome = outcome
        self._pages = pages
        seconds = built.scenario.seconds
        self._series = {one.service.name: stretches(one, seconds) for one in outcome.courses}

    def report(self) -> TimelineReport:
        built, sale = self._built, self._sale
        found = [
            one
            for course in self._outcome.courses
            for one in shortages(self._outcome, course, self._series[course.service.name])
        ]
        made_up_for = {one for one in found if self._made_up_for(one)}
        short = tuple(self._shortage(one) for one in found if one not in made_up_for)
        lost = tuple(self._reclaimed())
        notes = list(dict.fromkeys(built.notes))
        notes += dict.fromkeys(
            f"{one.service} alone is short from {self._at(one.begin)} on; the other pods of its service serve the rest"
            for one in sorted(made_up_for, key=lambda one: (one.begin, one.service))
        )
        waves = self._waves(notes)
        events = self._events(notes)
        return TimelineReport(
            sale.name,
            built.zone,
            self._at(0),
            self._at(built.opens_s),
            self._at(built.closes_s),
            built.scenario.seconds,
            not any(one.inside for one in short)
            and all(one.go for one in lost)
            and not built.unjudged,
            tuple(self._service(course, short) for course in self._outcome.courses),
            events,
            tuple(sorted(short, key=lambda one: (not one.inside, one.begin_t_s))),
            lost,
            tuple(self._reactive()),
            waves,
            tuple(dict.fromkeys(built.unjudged)),
            tuple(notes),
        )

    def _moment(self, second: int) -> datetime:
        return self._built.start + timedelta(seconds=second)

    def _at(self, second: int) -> str:
        return shown(self._moment(second), self._built.zone)

    def _t(self, second: int) -> int:
        return second - self._built.opens_s

    def _service(self, course: Course, short: tuple[ShortageRow, ...]) -> ServiceRow:
        service = course.service
        series = self._series[service.name]
        sizes = [one.wanted for one in course.counts]
        return ServiceRow(
            service.name,
            self._built.sources.get(service.name, ""),
            service.rps_per_pod,
            self._built.planned.get(service.name),
            service.pods,
            min(sizes),
            max(sizes),
            round(service.demand.peak, 3) if service.demand is not None else 0.0,
            sum(one.seconds for one in short if one.service == service.name and one.inside),
            service.demand is not None and bool(service.rps_per_pod),
            tuple(
                (self._t(one.second), one.seconds, one.pods, one.capacity_rps, one.demand_rps)
                for one in series
            ),
        )

    def _shortage(self, one: Shortage) -> ShortageRow:
        ordered = next(
            (
                event.second
                for event in self._outcome.events
                if event.service == one.service
                and event.kind in ("cron", "hpa")
                and event.after > event.before
                and one.begin <= event.second < one.end
            ),
            None,
        )
        inside = one.begin < self._built.closes_s and one.end > self._built.opens_s
        return ShortageRow(
            one.service,
            self._at(one.begin),
            self._at(one.end),
            self._t(one.begin),
            self._t(one.end),
            one.seconds,
            one.worst_rps,
            self._at(one.worst_at),
            one.lost,
            self._at(ordered) if ordered is not None else "",
            ordered - one.begin if ordered is not None else None,
            inside,
            one.cause,
        )

    def _events(self, notes: list[str]) -> tuple[EventRow, ...]:
        built = self._built
        found = [*self._outcome.events, *built.skipped]
        found.append(
            Event(built.opens_s, "", "demand", "the sale opens", 0, self._sale.traffic.peak_rps)
        )
        found.append(
            Event(built.closes_s, "", "demand", "the sale closes", self._sale.traffic.peak_rps, 0)
        )
        # The opening first: what happens in its second happens to a sale that is open.
        found.sort(key=lambda one: (one.second, one.kind != "demand"))
        if len(found) > EVENTS_MAX:
            notes.append(f"Of {len(found):,} events the first {EVENTS_MAX:,} are listed")
        return tuple(
            EventRow(
                self._at(one.second),
                self._t(one.second),
                one.service,
                one.kind,
                one.text,
                one.before,
                one.after,
                one.cause,
            )
            for one in found[:EVENTS_MAX]
        )

    def _reclaimed(self) -> list[ReclaimRow]:
        reclaim = self._built.scenario.reclaim
        if reclaim is None:
            return []
        rows = []
        hit = {
            one.service: one
            for one in self._outcome.events
            if one.kind == "reclaim" and one.service
        }
        for courses in self._together().values():
            events = [hit.get(one.service.name) for one in courses]
            if not any(events):
                continue
            before, left, capacity, wanted, back = 0, 0, 0.0, 0.0, reclaim.second
            never = False
            # Until replacements can be there, whatever else happens to the service in the meantime.
            until = reclaim.second + max(one.service.times.lead_s() for one in courses)
            for course, event in zip(courses, events, strict=True):
                after = [
                    one
                    for one in self._series[course.service.name]
                    if one.second + one.seconds > reclaim.second
                ]
                capacity += after[0].capacity_rps
                wanted += max(one.demand_rps for one in after if one.second < until)
                if event is None:
                    before, left = before + after[0].pods, left + after[0].pods
                    continue
                before, left = before + int(event.before), left + int(event.after)
                again = next((one.second for one in after if one.pods >= event.before), None)
                never = never or again is None
                back = max(back, again or 0)
            rows.append(
                ReclaimRow(
                    " + ".join(one.service.name for one in courses),
                    self._at(reclaim.second),
                    before,
                    left,
                    round(capacity, 3),
                    round(wanted, 3),
                    round(capacity / wanted, 3) if wanted else None,
                    None if never else back - reclaim.second,
                    capacity >= wanted - 1e-6,
                )
            )
        return rows

    def _together(self) -> dict[str, list[Course]]:
        """The courses that are judged, by the service of the sale: its workloads share what it is asked for."""
        found: dict[str, list[Course]] = {}
        for course in self._outcome.courses:
            service = course.service
            if service.demand is not None and service.rps_per_pod:
                found.setdefault(self._built.loads.get(service.name, service.name), []).append(
                    course
                )
        return found

    def _made_up_for(self, short: Shortage) -> bool:
        """Whether the other workloads of its service have room for all that ``short`` is short of, all the time."""
        load = self._built.loads.get(short.service, short.service)
        series = [self._series[one.service.name] for one in self._together().get(load, [])]
        if len(series) < 2:
            return False
        inside = [
            [
                one
                for one in runs
                if one.second < short.end and one.second + one.seconds > short.begin
            ]
            for runs in series
        ]
        for second in {max(one.second, short.begin) for runs in inside for one in runs}:
            now = [
                one
                for runs in inside
                for one in runs
                if one.second <= second < one.second + one.seconds
            ]
            if sum(one.capacity_rps - one.demand_rps for one in now) < -1e-6:
                return False
        return True

    def _reactive(self) -> list[Comparison]:
        built = self._built
        found = []
        for service in built.scenario.services:
            planned = built.planned.get(service.name)
            if planned is None:
                continue
            one = compare(service, opens_s=built.opens_s, closes_s=built.closes_s, pods=planned)
            if one is not None:
                found.append(one)
        return found

    def _waves(self, notes: list[str]) -> tuple[WaveRow, ...]:
        cache, built = self._sale.cache, self._built
        if not self._pages:
            return ()
        found = waves_of(expiries(self._pages, cache.ttl_s, cache.jitter))
        if not cache.jitter:
            notes.append(
                f"All {self._pages:,} cached pages live {cache.ttl_s:g} s to the second: filled together, they expire together"
            )
        return tuple(
            WaveRow(
                one.number,
                self._at(built.opens_s + one.begin),
                self._at(built.opens_s + one.end),
                self._pages,
                round(one.worst, 3),
                self._at(built.opens_s + one.worst_at),
            )
            for one in found
        )


def _ordered(one: ShortageRow) -> str:
    """How its time is made up, where pods were asked for in it: until then, and until they serve."""
    if not one.ordered_after_s:
        return ""
    rest = span_text(one.seconds - one.ordered_after_s)
    return (
        f" ({span_text(one.ordered_after_s)} until more pods are ordered, {rest} until they serve)"
    )
