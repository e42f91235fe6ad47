"""What has to grow for a sale, in which order, and whether there is time left.

Databases and caches grow the day before and never in the sale. Nodes come first on the day, pods when the nodes are Ready: a pod
that pulls its node in by being Pending arrives too late. All sizes are absolute, so whatever is sent twice does nothing
more. Nothing here ever makes anything smaller.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from saleops.domain.k8s.lead import NODES_IN_BATCH
from saleops.domain.lead_times import (
    Latest,
    Lead,
    LeadTimes,
    cache_lead,
    database_lead,
    latest_starts,
    nodes_lead,
    pods_lead,
)

Phase = Literal["database", "cache", "nodes", "pods"]
PHASES: tuple[Phase, ...] = ("database", "cache", "nodes", "pods")
Verdict = Literal["done", "ahead", "late", "too late", "missing"]
"""done: nothing to do. ahead: there is time. late: it still helps, though the latest safe start is past. too late: a database
on the day of its sale, which is left alone. missing: there is nothing to grow."""

RECYCLE = "afterwards recycle connections, `kubectl rollout restart` of what uses it: open connections stay where they are"


@dataclass(frozen=True, slots=True)
class WantedPods:
    """A workload at the sale's size. ``most`` is what its autoscaler may go to."""

    service: str
    name: str
    pods: int
    most: int


@dataclass(frozen=True, slots=True)
class SeenPods:
    """A workload as it is; the autoscaler's figures are None where none owns it."""

    kind: str
    namespace: str
    name: str
    wanted: int
    ready: int
    autoscaler: str = ""
    low: int | None = None
    high: int | None = None

    @property
    def key(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SeenPool:
    """A node pool in the cloud. ``elastic``: an autoscaler sizes it between ``low`` and ``high``; else ``desired`` holds."""

    key: str
    name: str
    id: str
    cluster: str
    scaling_group: str
    state: str
    elastic: bool
    low: int
    high: int
    desired: int
    healthy: int

    @property
    def size(self) -> int:
        """What is asked of it: the least it keeps where it is elastic."""
        return self.low if self.elastic else self.desired


@dataclass(frozen=True, slots=True)
class SeenData:
    """PolarDB with its nodes (the primary too), or Tair with its shards."""

    key: str
    name: str
    id: str
    state: str
    ready: bool
    size: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that grows. ``field`` is what is set, ``have`` its value now, ``want`` the one for the sale."""

    key: str
    phase: Phase
    what: str
    field: str
    have: int
    want: int
    verdict: Verdict
    latest: datetime
    note: str = ""

    @property
    def grows(self) -> bool:
        return self.want > self.have and self.verdict != "missing"

    @property
    def acts(self) -> bool:
        """Whether going up does something about it."""
        return self.grows and self.verdict != "too late"


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """All steps in order. ``go``: nothing is late or missing."""

    steps: tuple[Step, ...]
    leads: Mapping[str, Lead]
    latest: Latest
    go: bool

    def of(self, *phases: Phase) -> tuple[Step, ...]:
        return tuple(one for one in self.steps if one.phase in phases)

    @property
    def acts(self) -> tuple[Step, ...]:
        return tuple(one for one in self.steps if one.acts)


def assign(wanted: Sequence[WantedPods], there: Iterable[str]) -> tuple[WantedPods, ...]:
    """The workloads to grow among those ``there``. Where a service's Deployments are fewer than planned (checkout as one
    instead of two), those there take the pods of those missing; where none is there, it stays in the list as it was planned."""
    names = set(there)
    found: list[WantedPods] = []
    for service in dict.fromkeys(one.service for one in wanted):
        planned = [one for one in wanted if one.service == service]
        here = [one for one in planned if one.name in names]
        if not here:
            found += planned
            continue
        away = [one for one in planned if one.name not in names]
        first = here[0]
        pods = first.pods + sum(one.pods for one in away)
        most = first.most + sum(one.most for one in away)
        found += [WantedPods(service, first.name, pods, most), *here[1:]]
    return tuple(found)


def plan_steps(
    *,
    opens: datetime,
    now: datetime,
    times: LeadTimes,
    pods: Sequence[tuple[WantedPods, SeenPods | None]],
    pools: Sequence[tuple[int, SeenPool | str]] = (),
    data: Sequence[tuple[Phase, int, SeenData | str]] = (),
) -> ScalePlan:
    """The plan as of ``now``. What is not there comes as its name instead of what was seen."""
    more_nodes = sum(max(0, want - seen.size) for want, seen in pools if isinstance(seen, SeenPool))
    nodes = sum(want for want, _ in pools)
    more_pods = sum(max(0, one.pods - seen.wanted) for one, seen in pods if seen is not None)
    more = {
        phase: sum(
            max(0, want - seen.size)
            for kind, want, seen in data
            if kind == phase and isinstance(seen, SeenData)
        )
        for phase in ("database", "cache")
    }
    leads = {
        "database": database_lead(more["database"], times),
        "cache": cache_lead(more["cache"], times),
        "nodes": nodes_lead(more_nodes, times),
        "pods": pods_lead(more_pods, nodes, times),
    }
    latest = latest_starts(opens, leads, times)

    def step(key: str, phase: Phase, what: str, field: str, have: int, want: int) -> Step:
        start = latest.of(phase)
        verdict: Verdict = "done"
        note = ""
        if want > have:
            on_the_day = phase in ("database", "cache")
            verdict = "ahead" if now <= start else "too late" if on_the_day else "late"
            if on_the_day:
                note = (
                    RECYCLE if verdict == "ahead" else "not changed this close to a sale or in it"
                )
        return Step(key, phase, what, field, have, want, verdict, start, note)

    def missing(key: str, phase: Phase, what: str, want: int, note: str) -> Step:
        return Step(key, phase, what, "", 0, want, "missing", latest.of(phase), note)

    steps: list[Step] = []
    for kind, want, thing in data:
        if isinstance(thing, str):
            steps.append(
                missing(kind, kind, thing, want, f"`saleops provision {kind} SALE` makes it")
            )
        else:
            field = "nodes" if kind == "database" else "shards"
            steps.append(step(thing.key, kind, thing.name, field, thing.size, want))
    for want, pool in pools:
        if isinstance(pool, str):
            note = "`saleops provision nodepool SALE` makes it"
            steps.append(missing(pool, "nodes", f"node pool {pool}", want, note))
        else:
            field = "min_instances" if pool.elastic else "desired_size"
            what = f"node pool {pool.name}"
            steps.append(step(pool.key, "nodes", what, field, pool.size, want))
    for one, seen in pods:
        if seen is None:
            note = "`saleops render k8s` writes it, `kubectl apply` makes it"
            steps.append(missing(one.name, "pods", f"Deployment {one.name}", one.pods, note))
        elif seen.low is not None:
            # An autoscaler that already asks for as many is as good as done; the pods themselves are the barrier's part.
            have = min(seen.low, seen.wanted) if seen.wanted == 0 else seen.low
            steps.append(step(seen.key, "pods", seen.key, "minReplicas", have, one.pods))
        else:
            steps.append(step(seen.key, "pods", seen.key, "replicas", seen.wanted, one.pods))
    go = all(one.verdict in ("done", "ahead") for one in steps)
    return ScalePlan(tuple(steps), leads, latest, go)


def batches(have: int, want: int, size: int = NODES_IN_BATCH) -> tuple[int, ...]:
    """The absolute sizes on the way from ``have`` to ``want``: at most ``size`` more at a time."""
    if want <= have:
        return ()
    return (*range(have + size, want, size), want)


def most_common(reasons: Iterable[str], shown: int = 5) -> tuple[str, ...]:
    """``reasons`` counted, the most frequent first: "7 x FailedScheduling: 0/3 nodes ..."."""
    counted = Counter(one for one in reasons if one)
    ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    told = [f"{count} x {reason}" for reason, count in ranked[:shown]]
    if len(ranked) > shown:
        told.append(f"{sum(count for _, count in ranked[shown:])} for other reasons")
    return tuple(told)
