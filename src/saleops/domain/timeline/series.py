"""Capacity against demand, second by second, and where the one is too small for the other.

A second's capacity is what the pods that serve in it can answer, a pod in slow start in proportion to how far it is; its demand
is what is asked for at its beginning. Equal neighbours are one stretch, so a day is a few dozen of them and not 86,400 figures.
"""

from dataclasses import dataclass

from saleops.domain.timeline.demand import Demand
from saleops.domain.timeline.model import Course, Event, Outcome, Service, Serving

_CAUSES = ("reclaim", "cron", "conflict", "hpa")
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Stretch:
    """From ``second`` on, for ``seconds``: pods that serve, capacity and demand in requests a second."""

    second: int
    seconds: int
    pods: int
    capacity_rps: float
    demand_rps: float


@dataclass(frozen=True, slots=True)
class Shortage:
    """Demand exceeds capacity in [begin, end). ``worst_rps`` is the largest gap, ``lost`` all requests that find no pod."""

    service: str
    begin: int
    end: int
    worst_rps: float
    worst_at: int
    lost: float
    cause: str

    @property
    def seconds(self) -> int:
        return self.end - self.begin


def stretches(course: Course, seconds: int) -> tuple[Stretch, ...]:
    """The whole course, without a gap. A service whose pods nobody measured has capacity 0; without demand it has demand 0."""
    service = course.service
    out: list[Stretch] = []
    for index, serving in enumerate(course.servings):
        end = course.servings[index + 1].second if index + 1 < len(course.servings) else seconds
        second = serving.second
        while second < min(end, seconds):
            until = _flat_until(serving, service, second, min(end, seconds))
            pods, capacity = _capacity(serving, service, second)
            demand = service.demand.at(second) if service.demand is not None else 0.0
            one = Stretch(second, until - second, pods, round(capacity, 3), round(demand, 3))
            last = out[-1] if out else None
            if last is not None and (last.pods, last.capacity_rps, last.demand_rps) == (
                one.pods,
                one.capacity_rps,
                one.demand_rps,
            ):
                out[-1] = Stretch(
                    last.second,
                    last.seconds + one.seconds,
                    one.pods,
                    one.capacity_rps,
                    one.demand_rps,
                )
            else:
                out.append(one)
            second = until
    return tuple(out)


def _flat_until(serving: Serving, service: Service, second: int, end: int) -> int:
    slow = service.times.slow_start_s
    if any(began + slow > second for began, _ in serving.ramps):
        return second + 1
    demand: Demand | None = service.demand
    if demand is None:
        return end
    if not demand.flat_at(second):
        return second + 1
    change = demand.next_change(second)
    return min(end, change) if change is not None and change > second else end


def _capacity(serving: Serving, service: Service, second: int) -> tuple[int, float]:
    slow = service.times.slow_start_s
    full, warm, pods = serving.full, 0.0, serving.full
    for began, count in serving.ramps:
        pods += count
        if began + slow <= second:
            full += count
        else:
            warm += count * (second - began) / slow
    return pods, (full + warm) * service.rps_per_pod


def shortages(
    outcome: Outcome, course: Course, series: tuple[Stretch, ...]
) -> tuple[Shortage, ...]:
    """Where demand exceeds capacity; nothing for a service whose pods nobody measured."""
    if not course.service.rps_per_pod or course.service.demand is None:
        return ()
    out: list[Shortage] = []
    begin: int | None = None
    worst, worst_at, lost, end = 0.0, 0, 0.0, 0
    for one in (*series, None):
        gap = one.demand_rps - one.capacity_rps if one is not None else 0.0
        if one is not None and gap > _EPSILON:
            if begin is None:
                begin, worst, lost = one.second, 0.0, 0.0
            if gap > worst:
                worst, worst_at = gap, one.second
            lost += gap * one.seconds
            end = one.second + one.seconds
        elif begin is not None:
            cause = cause_of(outcome, course, begin)
            out.append(
                Shortage(
                    course.service.name, begin, end, round(worst, 3), worst_at, round(lost), cause
                )
            )
            begin = None
    return tuple(out)


def cause_of(outcome: Outcome, course: Course, second: int) -> str:
    """What made capacity too small at ``second``: the last thing that took pods away, unless demand rose after it."""
    service = course.service
    drop: Event | None = None
    crossing: Event | None = None  # what took away the pods that would have been enough
    need = service.demand.at(second) if service.demand is not None else 0.0
    for event in outcome.events:
        if event.second > second:
            break
        if event.service == service.name and event.kind in _CAUSES and event.after < event.before:
            drop = event
            if event.after * service.rps_per_pod < need <= event.before * service.rps_per_pod:
                crossing = event
        elif event.service == service.name and event.kind in _CAUSES and event.after > event.before:
            drop = None
            if event.after * service.rps_per_pod >= need:
                crossing = None
    rise = _last_rise(service.demand, second)
    if drop is not None and (rise is None or drop.second >= rise or second - rise > 60):
        return _named(drop)
    count = next((one for one in reversed(course.counts) if one.second <= second), None)
    waiting = []
    if count is not None and count.starting:
        waiting.append(f"{count.starting} pods still start")
    if count is not None and count.pending:
        waiting.append(f"{count.pending} wait for nodes")
    there = count.ready if count is not None else 0
    text = f"demand rises and {there} pods serve" if rise is not None else f"{there} pods serve"
    if crossing is not None:
        return ", ".join(
            [text, *waiting, f"{second - crossing.second:,} s after {_named(crossing)}"]
        )
    return ", ".join([text, *waiting]) + (f" ({service.cause})" if service.cause else "")


def _named(drop: Event) -> str:
    named = f": {drop.cause}" if drop.cause else ""
    return f"{_KINDS[drop.kind]} {drop.before:g} to {drop.after:g} pods{named}"


_KINDS = {
    "reclaim": "spot reclaim,",
    "cron": "CronHPA,",
    "conflict": "CronHPA jobs of one second,",
    "hpa": "HPA scales down,",
}


def _last_rise(demand: Demand | None, second: int) -> int | None:
    """The second in which the latest rise of demand before or at ``second`` began."""
    if demand is None:
        return None
    found = None
    for (begin, low), (_, high) in zip(demand.points, demand.points[1:], strict=False):
        if begin <= second and high > low:
            found = begin
    return found
