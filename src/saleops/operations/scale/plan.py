"""``saleops scale plan`` and ``explain``: what would be done, when at the latest, and the arithmetic. Only reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from saleops.domain.lead_times import NAMES, SOURCES, t_minus
from saleops.domain.scale_records import without_user
from saleops.domain.scaling import ScalePlan, Step, batches, plan_steps
from saleops.operations.scale.changing import data_calls, pod_patches, pool_call, shown
from saleops.operations.scale.looking import (
    CloudSide,
    InCloud,
    InCluster,
    look_in_cloud,
    look_in_cluster,
)
from saleops.operations.scale.wanted import Wants
from saleops.ports.cluster import Cluster


@dataclass(frozen=True, slots=True)
class PlannedScale:
    """One step. ``patches`` change objects in the cluster, ``calls`` are the cloud's; both in the order they are sent."""

    key: str
    phase: str
    what: str
    field: str
    have: int
    want: int
    ready: int
    verdict: str
    latest_start: str
    t_minus: str
    lead_s: int
    note: str
    patches: tuple[Mapping[str, Any], ...]
    calls: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ScalePlanned:
    """What going up would do as of ``at``. ``verdict`` is "GO" or "NO-GO"; times are in the sale's zone."""

    schema: ClassVar[str] = "saleops/scale-plan/v1"

    sale: str
    cluster: str
    cloud: str
    verdict: str
    at: str
    clock: str
    opens: str
    latest_start: str
    steps: tuple[PlannedScale, ...]
    notes: tuple[str, ...]

    @property
    def late(self) -> tuple[PlannedScale, ...]:
        return tuple(one for one in self.steps if one.verdict in ("late", "too late", "missing"))

    @property
    def changes(self) -> int:
        return sum(len(one.patches) + len(one.calls) for one in self.steps)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the arithmetic. ``seconds`` is None where a line is no stretch of time."""

    about: str
    text: str
    seconds: int | None
    source: str


@dataclass(frozen=True, slots=True)
class ScaleExplained:
    schema: ClassVar[str] = "saleops/scale-explain/v1"

    sale: str
    opens: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Looked:
    """A plan and what it was made from."""

    plan: ScalePlan
    in_cluster: InCluster
    in_cloud: InCloud


def look(wants: Wants, cluster: Cluster, side: CloudSide | None, *, now: datetime) -> Looked:
    """Raises ClusterError, CloudError, Refused."""
    in_cluster = look_in_cluster(wants, cluster)
    in_cloud = look_in_cloud(side)
    plan = plan_steps(
        opens=wants.opens,
        now=now,
        times=wants.times,
        pods=in_cluster.pods,
        pools=in_cloud.pools,
        data=in_cloud.data,
    )
    return Looked(plan, in_cluster, in_cloud)


def planned(
    looked: Looked,
    wants: Wants,
    cluster: Cluster,
    side: CloudSide | None,
    *,
    now: datetime,
) -> ScalePlanned:
    """``looked`` for people and machines."""
    plan = looked.plan
    ready = {seen.key: seen.ready for _, seen in looked.in_cluster.pods if seen is not None}
    ready |= {one.key: one.healthy for _, one in looked.in_cloud.pools if not isinstance(one, str)}
    ready |= {
        one.key: one.size if one.ready else 0
        for _, _, one in looked.in_cloud.data
        if not isinstance(one, str)
    }
    steps = tuple(
        PlannedScale(
            one.key,
            one.phase,
            one.what,
            one.field,
            one.have,
            one.want,
            ready.get(one.key, 0),
            one.verdict,
            one.latest.astimezone(wants.zone).isoformat(timespec="seconds"),
            t_minus(one.latest, wants.opens),
            plan.leads[one.phase].planned_s,
            one.note,
            patches_of(one, looked, wants, now=now),
            tuple(shown(call) for call in calls_of(one, looked, side)),
        )
        for one in plan.steps
    )
    notes = list(looked.in_cluster.notes)
    if side is None:
        notes.append("pods only: node pools, PolarDB and Tair were not looked at")
    return ScalePlanned(
        wants.sale,
        without_user(cluster.name),
        side.courier.cloud.name if side else "",
        "GO" if plan.go else "NO-GO",
        now.astimezone(wants.zone).isoformat(timespec="seconds"),
        t_minus(now, wants.opens),
        wants.opens.isoformat(timespec="seconds"),
        plan.latest.nodes.astimezone(wants.zone).isoformat(timespec="seconds"),
        steps,
        tuple(notes),
    )


def patches_of(
    step: Step, looked: Looked, wants: Wants, *, now: datetime
) -> tuple[Mapping[str, Any], ...]:
    if not step.acts or step.phase != "pods":
        return ()
    want = next(one for one, seen in looked.in_cluster.pods if seen and seen.key == step.key)
    workload = looked.in_cluster.workloads[step.key]
    hpa = looked.in_cluster.autoscalers.get(step.key)
    at = now.isoformat(timespec="seconds")
    patches = pod_patches(want, workload, hpa, sale=wants.sale, at=at)
    return tuple({"object": one.what, "patch": one.body} for one in patches)


def calls_of(step: Step, looked: Looked, side: CloudSide | None) -> list[Any]:
    if not step.acts or step.phase == "pods" or side is None:
        return []
    if step.phase == "nodes":
        pool = looked.in_cloud.pool(step.key)
        return [pool_call(pool, size) for size in batches(step.have, step.want)] if pool else []
    return data_calls(side, looked.in_cloud, step.key, step.want)


def explained(looked: Looked, wants: Wants) -> ScaleExplained:
    """The arithmetic, line by line."""
    lines = [
        Line("figure", f"{name} = {getattr(wants.times, name):g}", None, SOURCES[name])
        for name in NAMES
    ]
    lines += [Line("size", why, None, "the sale file") for why in wants.why]
    for phase, lead in looked.plan.leads.items():
        if not lead.parts:
            lines.append(Line(phase, "nothing more is wanted", 0, ""))
            continue
        lines += [
            Line(phase, f"{one.name}: {one.why}", one.seconds, one.source) for one in lead.parts
        ]
        total = " + ".join(str(one.seconds) for one in lead.parts)
        text = f"sum: {total} = {lead.sum_s:,} s, times {lead.factor:g} is planned"
        lines.append(Line(phase, text, lead.planned_s, SOURCES["factor"]))
    lines += [Line("latest start", one, None, "") for one in looked.plan.latest.lines]
    return ScaleExplained(wants.sale, wants.opens.isoformat(timespec="seconds"), tuple(lines))
