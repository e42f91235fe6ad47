"""How long what a sale needs takes to be there, part by part, and when it has to be asked for at the latest.

A lead time is the sum of its parts as if none overlapped, and twice that is planned: the first thing that goes wrong has to be
seen and mended before the doors open. Counting goes backwards from the opening: everything is Ready ``verify_s`` before it, pods
are asked for their lead time before that, nodes theirs before the pods, and neither later than ``floor_s`` before the opening.
What changes databases ends a whole day before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from saleops.domain.k8s.ingress import HEALTH_INTERVAL_S, HEALTH_THRESHOLD, SLOW_START_S
from saleops.domain.k8s.lead import (
    ALB_LANDS_S,
    BATCH_S,
    LEAD_MIN_S,
    NODE_MBPS,
    NODES_IN_BATCH,
    REGISTRY_MBPS,
)
from saleops.domain.k8s.lifecycle import COLD_START_S


@dataclass(frozen=True, slots=True)
class LeadTimes:
    """The figures everything is computed from. Seconds, unless the name says otherwise."""

    node_batch_s: float = BATCH_S
    node_join_s: float = 60.0
    image_mib: float = 120.0
    node_mbps: float = NODE_MBPS
    registry_mbps: float = REGISTRY_MBPS
    start_s: float = COLD_START_S
    warm_up_s: float = 30.0
    alb_register_s: float = ALB_LANDS_S
    alb_interval_s: float = HEALTH_INTERVAL_S
    alb_threshold: float = HEALTH_THRESHOLD
    slow_start_s: float = SLOW_START_S
    database_node_s: float = 600.0
    cache_reshard_s: float = 1800.0
    recycle_s: float = 300.0
    verify_s: float = 15 * 60
    floor_s: float = LEAD_MIN_S
    day_before_s: float = 86_400.0
    factor: float = 2.0


SOURCES: Mapping[str, str] = {
    "node_batch_s": "ACK's published timing of the cluster autoscaler, 100 standard nodes",
    "node_join_s": "our estimate: kubelet, CNI and daemons until Ready",
    "image_mib": "the profile, kubernetes.image_mib",
    "node_mbps": "our estimate of what one node pulls, on the careful side",
    "registry_mbps": "our estimate of what a registry gives all nodes together",
    "start_s": "the worst cold start we measured",
    "warm_up_s": "our estimate: connections, compiled paths, page cache",
    "alb_register_s": "our estimate: the controller adds the pod to its server group",
    "alb_interval_s": "the rendered Ingress, healthcheck-interval-seconds",
    "alb_threshold": "the rendered Ingress, healthy-threshold-count",
    "slow_start_s": "the rendered Ingress, slow-start-duration",
    "database_node_s": "our estimate for one change of PolarDB's nodes",
    "cache_reshard_s": "our estimate: Tair moves slots to its new shards",
    "recycle_s": "our estimate: pods reconnect, a rollout at the most",
    "verify_s": "our rule: Ready = target is verified at T-15 min, escalated at T-10",
    "floor_s": "our rule: never less than half an hour",
    "day_before_s": "our rule: databases do not change on the day",
    "factor": "our rule: twice the sum",
}
NAMES = tuple(one.name for one in fields(LeadTimes))
_ZERO = frozenset(
    (
        "node_join_s",
        "warm_up_s",
        "alb_register_s",
        "slow_start_s",
        "recycle_s",
        "verify_s",
        "floor_s",
    )
)


def overridden(times: LeadTimes, values: Mapping[str, float]) -> LeadTimes:
    """``times`` with ``values`` instead. Raises ValueError, in words for whoever typed them."""
    for name, value in values.items():
        if name not in NAMES:
            raise ValueError(f"{name} is no lead time; there are {', '.join(NAMES)}")
        least = 0 if name in _ZERO else 1 if name == "factor" else 0.001
        if not least <= value <= 31 * 86_400:
            raise ValueError(f"{name} is {value:g}: {least:g} to {31 * 86_400:,} is possible")
    return replace(times, **values)


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a lead time. ``why`` is its arithmetic, ``source`` who says so."""

    name: str
    seconds: int
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class Lead:
    """A sum of parts, and what is planned for it. Nothing to do has no parts."""

    parts: tuple[Part, ...] = ()
    factor: float = 2.0

    @property
    def sum_s(self) -> int:
        return sum(one.seconds for one in self.parts)

    @property
    def planned_s(self) -> int:
        return ceil(Fraction(self.sum_s) * Fraction(str(self.factor)))


def nodes_lead(more: int, times: LeadTimes) -> Lead:
    """``more`` nodes: batch after batch, then the last ones join."""
    if more <= 0:
        return Lead(factor=times.factor)
    batches = ceil(Fraction(more, NODES_IN_BATCH))
    return Lead(
        (
            Part(
                "boot",
                ceil(batches * times.node_batch_s),
                f"{more:,} nodes in {batches} batch{'es' if batches > 1 else ''} of {NODES_IN_BATCH} x {times.node_batch_s:g} s",
                SOURCES["node_batch_s"],
            ),
            Part(
                "join", ceil(times.node_join_s), f"{times.node_join_s:g} s", SOURCES["node_join_s"]
            ),
        ),
        times.factor,
    )


def pods_lead(more: int, nodes: int, times: LeadTimes) -> Lead:
    """``more`` pods on ``nodes`` nodes that pull the image at the same time."""
    if more <= 0:
        return Lead(factor=times.factor)
    share = Fraction(str(times.registry_mbps)) / max(nodes, 1)
    mbps = min(Fraction(str(times.node_mbps)), share)
    megabits = Fraction(str(times.image_mib)) * 1024 * 1024 * 8 / 1_000_000
    alb_s = times.alb_register_s + times.alb_threshold * times.alb_interval_s
    return Lead(
        (
            Part(
                "image",
                ceil(megabits / mbps),
                f"{times.image_mib:g} MiB = {float(megabits):,.0f} Mbit / min({times.node_mbps:,.0f}, "
                f"{times.registry_mbps:,.0f} / {max(nodes, 1)} nodes) = {float(mbps):,.0f} Mbit/s",
                SOURCES["node_mbps"],
            ),
            Part("start", ceil(times.start_s), f"{times.start_s:g} s", SOURCES["start_s"]),
            Part("warm-up", ceil(times.warm_up_s), f"{times.warm_up_s:g} s", SOURCES["warm_up_s"]),
            Part(
                "load balancer",
                ceil(alb_s),
                f"{times.alb_register_s:g} s + {times.alb_threshold:g} checks x {times.alb_interval_s:g} s",
                SOURCES["alb_threshold"],
            ),
            Part(
                "slow start",
                ceil(times.slow_start_s),
                f"{times.slow_start_s:g} s",
                SOURCES["slow_start_s"],
            ),
        ),
        times.factor,
    )


def database_lead(more: int, times: LeadTimes) -> Lead:
    """``more`` read nodes, one change, and the connections that have to be made anew to reach them."""
    if more <= 0:
        return Lead(factor=times.factor)
    change = Part(
        "change",
        ceil(times.database_node_s),
        f"{more} read node{'s' if more > 1 else ''} in one change: {times.database_node_s:g} s",
        SOURCES["database_node_s"],
    )
    return Lead((change, _recycle(times)), times.factor)


def cache_lead(more: int, times: LeadTimes) -> Lead:
    """``more`` shards, in one change."""
    if more <= 0:
        return Lead(factor=times.factor)
    change = Part(
        "reshard",
        ceil(times.cache_reshard_s),
        f"{more} shard{'s' if more > 1 else ''} more: {times.cache_reshard_s:g} s",
        SOURCES["cache_reshard_s"],
    )
    return Lead((change, _recycle(times)), times.factor)


def _recycle(times: LeadTimes) -> Part:
    return Part(
        "connections", ceil(times.recycle_s), f"{times.recycle_s:g} s", SOURCES["recycle_s"]
    )


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest safe start of each phase; aware times. ``lines`` is how each came about."""

    database: datetime
    cache: datetime
    nodes: datetime
    pods: datetime
    ready_by: datetime
    lines: tuple[str, ...]

    def of(self, phase: str) -> datetime:
        return {
            "database": self.database,
            "cache": self.cache,
            "nodes": self.nodes,
            "pods": self.pods,
        }[phase]


def latest_starts(
    opens: datetime, leads: Mapping[str, Lead], times: LeadTimes, *, zone_of: datetime | None = None
) -> Latest:
    """``leads`` by phase. ``zone_of`` is any moment whose zone the lines are written in; else that of ``opens``."""
    zone = (zone_of or opens).tzinfo

    def back(moment: datetime, seconds: float) -> datetime:
        return moment - timedelta(seconds=seconds)

    ready_by = back(opens, times.verify_s)
    floor = back(opens, times.floor_s)
    pods = back(ready_by, leads["pods"].planned_s)
    nodes = back(pods, leads["nodes"].planned_s)
    lines = [
        f"ready by: {_at(opens, zone)} - {times.verify_s:g} s = {_at(ready_by, zone)} ({SOURCES['verify_s']})",
        _minus("pods", ready_by, leads["pods"], pods, zone),
    ]
    if leads["nodes"].parts:
        lines.append(_minus("nodes", pods, leads["nodes"], nodes, zone))
    if nodes > floor:
        which = "nodes" if leads["nodes"].parts else "pods"
        lines.append(
            f"{which}: not later than {times.floor_s:g} s before the opening = {_at(floor, zone)} ({SOURCES['floor_s']})"
        )
        nodes = floor
        if not leads["nodes"].parts:
            pods = floor
    day = back(opens, times.day_before_s)
    data = {}
    for phase in ("database", "cache"):
        data[phase] = back(day, leads[phase].planned_s)
        if leads[phase].parts:
            lines.append(
                f"{phase}: the day before ends {_at(day, zone)} ({SOURCES['day_before_s']})"
            )
            lines.append(_minus(phase, day, leads[phase], data[phase], zone))
    return Latest(data["database"], data["cache"], nodes, pods, ready_by, tuple(lines))


def _minus(phase: str, end: datetime, lead: Lead, start: datetime, zone: object) -> str:
    return (
        f"{phase}: {_at(end, zone)} - {lead.factor:g} x {lead.sum_s:,} s = {_at(start, zone)}"
        + ("" if lead.parts else " (nothing to do)")
    )


def _at(moment: datetime, zone: object) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")  # type: ignore[arg-type]  # a tzinfo or None


def t_minus(now: datetime, opens: datetime) -> str:
    """The clock of the sale: T-0:29:30, T+0:00:05, with days where there are any: T-2d 03:00:00."""
    seconds = round((now - opens).total_seconds())
    days, rest = divmod(abs(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    sign = "+" if seconds >= 0 else "-"
    return f"T{sign}" + (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{rest:02}"
