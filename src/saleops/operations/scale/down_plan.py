"""What going down would give back, from what was recorded and what is there. Only reads.

A size that is not the one we set was changed by somebody who had a reason: it is told and left, unless ``force``. An autoscaler
moves the size of its workload by itself: that is nobody's change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.database import DATABASE
from saleops.domain.cluster import Hpa, Workload
from saleops.domain.scale_records import RECORD, Record, without_user
from saleops.domain.scaling import SeenData, SeenPool
from saleops.operations.scale.changing import data_calls, pool_call, shown
from saleops.operations.scale.drain import surplus
from saleops.operations.scale.looking import CloudSide, InCloud
from saleops.operations.scale.plan import Looked
from saleops.operations.scale.status import recorded
from saleops.operations.scale.wanted import Wants
from saleops.ports.cluster import Cluster
from saleops.ports.scale_journal import ScaleJournal

Verdict = Literal["restore", "is so", "changed meanwhile", "gone"]


@dataclass(frozen=True, slots=True)
class Back:
    """One thing to give back. ``now``, ``floor`` and ``original`` are sizes by field."""

    key: str
    phase: str
    what: str
    now: Mapping[str, int]
    floor: Mapping[str, int]
    original: Mapping[str, int]
    verdict: Verdict
    patches: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class DownPlan:
    """What going down would do, in order. ``drains`` are the nodes that are emptied and given up."""

    schema: ClassVar[str] = "saleops/scale-down-plan/v1"

    sale: str
    cluster: str
    cloud: str
    steps: tuple[Back, ...]
    drains: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def acts(self) -> tuple[Back, ...]:
        return tuple(one for one in self.steps if one.verdict == "restore")


def plan_down(
    looked: Looked,
    wants: Wants,
    cluster: Cluster,
    side: CloudSide | None,
    journal: ScaleJournal,
    *,
    force: bool = False,
    told: tuple[str, ...] = (),
) -> DownPlan:
    """Only reads. Raises ClusterError, CloudError."""
    records = recorded(looked, wants, cluster, journal, closing=True)
    steps: list[Back] = []
    for key, workload in looked.in_cluster.workloads.items():
        hpa = looked.in_cluster.autoscalers.get(key)
        if hpa is not None and (record := records.get(str(hpa.ref))):
            steps.append(_hpa_back(hpa, record, force))
        if record := records.get(str(workload.ref)):
            steps.append(_pods_back(workload, hpa, record, force))
    drains: list[str] = []
    for _, pool in looked.in_cloud.pools:
        if isinstance(pool, SeenPool) and (record := records.get(pool.key)):
            step = _pool_back(pool, record, force)
            steps.append(step)
            if step.verdict == "restore" and not pool.elastic:
                mine = [one for one in cluster.nodes() if one.pool == pool.id]
                drains += [one.name for one in surplus(mine, record.original["desired_size"])]
    for phase, _, thing in reversed(looked.in_cloud.data):
        if isinstance(thing, SeenData) and side is not None and (record := records.get(thing.key)):
            steps.append(_data_back(side, looked.in_cloud, phase, thing, record, force))
    unseen = []
    for key in sorted(set(records) - {one.key for one in steps}):
        if _is_gone(key, looked, cluster, side):
            steps.append(_gone(key, records[key]))
        else:
            unseen.append(key)
    notes = [f"{one} is recorded and was not looked at" for one in unseen]
    cloud = side.courier.cloud.name if side else ""
    return DownPlan(
        wants.sale, without_user(cluster.name), cloud, tuple(steps), tuple(drains), (*told, *notes)
    )


def _is_gone(key: str, looked: Looked, cluster: Cluster, side: CloudSide | None) -> bool:
    """Whether what ``key`` names was deleted. Raises ClusterError."""
    kind, _, place = key.partition(" ")
    namespace, _, name = place.partition("/")
    if kind == "Deployment":
        return cluster.find_workload("Deployment", namespace, name) is None
    if kind == "HorizontalPodAutoscaler":
        return cluster.find_hpa(namespace, name) is None
    found = looked.in_cloud.found
    return side is not None and key in found and found[key] is None


def _gone(key: str, record: Record) -> Back:
    phase = "pods" if " " in key else "nodes" if key.startswith("nodepool/") else key
    return Back(key, phase, key, {}, record.floor, record.original, "gone")


def _verdict(
    now: Mapping[str, int], record: Record, force: bool, *, ours: bool | None = None
) -> Verdict:
    if dict(now) == dict(record.original):
        return "is so"
    same = dict(now) == dict(record.floor) if ours is None else ours
    return "restore" if same or force else "changed meanwhile"


def _hpa_back(hpa: Hpa, record: Record, force: bool) -> Back:
    now = {"min": hpa.min_replicas, "max": hpa.max_replicas}
    verdict = _verdict(now, record, force)
    patch = {
        "metadata": {"annotations": {RECORD: None}},
        "spec": {
            "minReplicas": record.original["min"],
            "maxReplicas": record.original["max"],
        },
    }
    patches = ({"object": str(hpa.ref), "patch": patch},) if verdict == "restore" else ()
    ref = str(hpa.ref)
    return Back(ref, "pods", ref, now, record.floor, record.original, verdict, patches)


def _pods_back(workload: Workload, hpa: Hpa | None, record: Record, force: bool) -> Back:
    now = {"replicas": workload.wanted}
    verdict = _verdict(now, record, force, ours=True if hpa is not None else None)
    patch = {"spec": {"replicas": record.original["replicas"]}}
    patches = (
        ({"object": f"{workload.ref} (scale)", "patch": patch},) if verdict == "restore" else ()
    )
    ref = str(workload.ref)
    return Back(ref, "pods", ref, now, record.floor, record.original, verdict, patches)


def _pool_back(pool: SeenPool, record: Record, force: bool) -> Back:
    if pool.elastic:
        now = {"min_instances": pool.low, "max_instances": pool.high}
        size = record.original.get("min_instances", pool.low)
    else:
        now = {"desired_size": pool.desired}
        size = record.original.get("desired_size", pool.desired)
    if now.keys() != record.original.keys():
        verdict: Verdict = "changed meanwhile"  # elastic now and was not, or the other way round
    else:
        # A run of ours that ended half-way has taken some of the nodes already.
        half = not pool.elastic and size < pool.desired < record.floor.get("desired_size", 0)
        verdict = _verdict(now, record, force, ours=True if half else None)
    calls = (shown(back_call(pool, record)),) if verdict == "restore" else ()
    what = f"node pool {pool.name}"
    return Back(pool.key, "nodes", what, now, record.floor, record.original, verdict, (), calls)


def back_call(pool: SeenPool, record: Record) -> Call:
    if not pool.elastic:
        return pool_call(pool, record.original["desired_size"])
    return pool_call(
        replace(pool, high=record.original["max_instances"]), record.original["min_instances"]
    )


def _data_back(
    side: CloudSide, seen: InCloud, phase: str, thing: SeenData, record: Record, force: bool
) -> Back:
    size = "nodes" if thing.key == DATABASE else "shards"
    now = {size: thing.size}
    verdict = _verdict(now, record, force)
    calls: tuple[Mapping[str, Any], ...] = ()
    if verdict == "restore":
        calls = tuple(
            shown(one) for one in data_calls(side, seen, thing.key, record.original[size])
        )
    return Back(
        thing.key, phase, thing.name, now, record.floor, record.original, verdict, (), calls
    )
