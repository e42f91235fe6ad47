"""What is there: workloads and autoscalers in the cluster, node pools, PolarDB and Tair in the cloud. Only reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saleops.domain.cloud.cache import CACHE, Cache
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.cluster import CLUSTER
from saleops.domain.cloud.database import DATABASE, Database
from saleops.domain.cloud.nodepools import NodePool
from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.domain.cluster import CronHpa, Hpa, Workload
from saleops.domain.cronhpa import parse_schedule
from saleops.domain.scaling import (
    Phase,
    SeenData,
    SeenPods,
    SeenPool,
    WantedPods,
    assign,
)
from saleops.errors import ClusterError, Refused
from saleops.operations.provision.courier import Courier
from saleops.operations.provision.survey import Remembered, look_at
from saleops.operations.scale.wanted import Wants
from saleops.ports.cluster import Cluster


@dataclass(frozen=True)
class CloudSide:
    """The cloud of a sale: how to send calls, and the resources of its blueprint."""

    courier: Courier
    resources: Sequence[Resource]

    def resource(self, key: str) -> Resource | None:
        return next((one for one in self.resources if one.key == key), None)

    @property
    def pools(self) -> tuple[NodePool, ...]:
        return tuple(one for one in self.resources if isinstance(one, NodePool))


@dataclass(frozen=True)
class InCluster:
    """``pods`` pairs what is wanted with what is there."""

    pods: tuple[tuple[WantedPods, SeenPods | None], ...]
    workloads: Mapping[str, Workload]
    autoscalers: Mapping[str, Hpa]  # by key of the workload they own
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class InCloud:
    pools: tuple[tuple[int, SeenPool | str], ...] = ()
    data: tuple[tuple[Phase, int, SeenData | str], ...] = ()
    found: Mapping[str, Found | None] = field(default_factory=dict)

    def pool(self, key: str) -> SeenPool | None:
        return next(
            (one for _, one in self.pools if isinstance(one, SeenPool) and one.key == key), None
        )

    def thing(self, key: str) -> SeenData | None:
        return next(
            (one for _, _, one in self.data if isinstance(one, SeenData) and one.key == key), None
        )


def look_in_cluster(wants: Wants, cluster: Cluster) -> InCluster:
    """Raises ClusterError; Refused where one workload has two autoscalers, for nobody knows which of them would win."""
    namespace = wants.namespace
    deployments = {
        one.name: one for one in cluster.workloads(namespace) if one.kind == "Deployment"
    }
    owners: dict[str, list[Hpa]] = {}
    for hpa in cluster.hpas(namespace):
        if hpa.target.kind == "Deployment":
            owners.setdefault(hpa.target.name, []).append(hpa)
    pairs: list[tuple[WantedPods, SeenPods | None]] = []
    workloads: dict[str, Workload] = {}
    autoscalers: dict[str, Hpa] = {}
    for one in assign(wants.pods, deployments):
        workload = deployments.get(one.name)
        if workload is None:
            pairs.append((one, None))
            continue
        hpas = owners.get(one.name, [])
        if len(hpas) > 1:
            names = ", ".join(sorted(each.name for each in hpas))
            raise Refused(
                f"Deployment {namespace}/{one.name} has {len(hpas)} autoscalers ({names}) that would fight; nothing was changed",
                hint=f"Delete all but one: kubectl -n {namespace} delete hpa NAME",
            )
        seen = seen_pods(workload, hpas[0] if hpas else None)
        pairs.append((one, seen))
        workloads[seen.key] = workload
        if hpas:
            autoscalers[seen.key] = hpas[0]
    notes = _cron_notes(wants, cluster, pairs)
    return InCluster(tuple(pairs), workloads, autoscalers, notes)


def seen_pods(workload: Workload, hpa: Hpa | None) -> SeenPods:
    return SeenPods(
        workload.kind,
        workload.namespace,
        workload.name,
        workload.wanted,
        workload.ready,
        hpa.name if hpa else "",
        hpa.min_replicas if hpa else None,
        hpa.max_replicas if hpa else None,
    )


def _cron_notes(
    wants: Wants, cluster: Cluster, pairs: Sequence[tuple[WantedPods, SeenPods | None]]
) -> tuple[str, ...]:
    """What scheduled scaling does to our floors until the sale closes."""
    floors = {
        name: one.pods
        for one, seen in pairs
        if seen is not None
        for name in {one.name, seen.autoscaler} - {""}
    }
    notes = []
    for cron in cluster.cron_hpas(wants.namespace):
        if cron.target.name in floors:
            notes += _jobs_told(wants, cron, floors[cron.target.name])
    return tuple(notes)


def _jobs_told(wants: Wants, cron: CronHpa, floor: int) -> list[str]:
    told = []
    for job in cron.jobs:
        place = f"CronHPA {cron.namespace}/{cron.name}, job {job.name} `{job.schedule}`"
        try:
            schedule = parse_schedule(job.schedule)
        except ValueError as error:
            told.append(f"{place}: its controller cannot read the schedule: {error}")
            continue
        fires = schedule.next_after(wants.opens, _zone_name(wants))
        if fires is not None and fires < wants.closes and job.target_size < floor:
            at = fires.astimezone(wants.zone)
            told.append(
                f"{place} sets {job.target_size} at {at:%Y-%m-%d %H:%M:%S}, inside the sale, which needs {floor}; "
                "`saleops scale up --hold` takes it back each time"
            )
    return told


def _zone_name(wants: Wants) -> str:
    return str(getattr(wants.zone, "key", "UTC"))


def look_in_cloud(side: CloudSide | None) -> InCloud:
    """Raises CloudError. Without a cloud there is nothing in it."""
    if side is None:
        return InCloud()
    read = Remembered(side.courier.read)
    found: dict[str, Found | None] = {}
    for resource in side.resources:
        if resource.key in (CLUSTER, DATABASE, CACHE) or isinstance(resource, NodePool):
            found[resource.key] = look_at(resource, found, read)
    rows = _pool_rows(found.get(CLUSTER), read)
    pools: list[tuple[int, SeenPool | str]] = []
    for resource in side.pools:
        one = found.get(resource.key)
        row = rows.get(one.outputs["id"]) if one is not None and "id" in one.outputs else None
        usable = one is not None and one.condition not in (Condition.FOREIGN, Condition.LEAVING)
        seen = _pool(resource, one, row) if usable and one is not None and row else resource.name
        pools.append((resource.pool.nodes, seen))
    data: list[tuple[Phase, int, SeenData | str]] = []
    kinds: tuple[tuple[Phase, str, str], ...] = (
        ("database", DATABASE, "nodes"),
        ("cache", CACHE, "shards"),
    )
    for phase, key, size in kinds:
        thing = side.resource(key)
        if thing is None:
            continue
        one = found.get(key)
        what = f"{thing.kind} {thing.name}"
        want = _wish(thing)
        if one is None or one.condition in (Condition.FOREIGN, Condition.LEAVING):
            data.append((phase, want, what))
            continue
        ready = one.condition is Condition.READY
        have = int(one.fields.get(size) or 0)
        data.append((phase, want, SeenData(key, what, one.outputs["id"], one.state, ready, have)))
    return InCloud(tuple(pools), tuple(data), found)


def _wish(thing: Resource) -> int:
    if isinstance(thing, Database):
        return thing.wishes.nodes
    if isinstance(thing, Cache):
        return thing.wishes.shards
    raise ValueError(f"{thing.key} has no size")


def _pool_rows(cluster: Found | None, read: Any) -> dict[str, Mapping[str, Any]]:
    if cluster is None or "id" not in cluster.outputs:
        return {}
    path = {"ClusterId": cluster.outputs["id"]}
    answer = read(Call("cs", "DescribeClusterNodePools", path=path))
    rows = [one for one in answer.get("nodepools") or () if isinstance(one, Mapping)]
    return {str((one.get("nodepool_info") or {}).get("nodepool_id")): one for one in rows}


def _pool(resource: NodePool, found: Found, row: Mapping[str, Any]) -> SeenPool:
    scaling = row.get("auto_scaling") or {}
    group, status = row.get("scaling_group") or {}, row.get("status") or {}
    return SeenPool(
        resource.key,
        resource.name,
        found.outputs["id"],
        found.outputs["cluster"],
        found.outputs.get("scaling_group", ""),
        found.state,
        bool(scaling.get("enable")),
        int(scaling.get("min_instances") or 0),
        int(scaling.get("max_instances") or 0),
        int(group.get("desired_size") or 0),
        int(status.get("healthy_nodes") or 0),
    )


def shortage_of(side: CloudSide, pool: SeenPool) -> str:
    """Why ``pool`` has not grown, in the words of its newest scaling activity; empty where that went well."""
    if not pool.scaling_group:
        return ""
    answer = side.courier.read(
        Call(
            "ess",
            "DescribeScalingActivities",
            {
                "RegionId": side.courier.cloud.region,
                "ScalingGroupId": pool.scaling_group,
                "PageSize": 10,
            },
        )
    )
    rows = (answer.get("ScalingActivities") or {}).get("ScalingActivity") or ()
    for row in rows:
        if row.get("StatusCode") in ("Failed", "Warning", "Rejected"):
            return str(row.get("StatusMessage") or row.get("Description") or row["StatusCode"])
        if row.get("StatusCode") == "Successful":
            return ""
    return ""


def pods_reasons(cluster: Cluster, workload: Workload) -> list[str]:
    """Why the pods of ``workload`` that are not ready are not."""
    try:
        pods = cluster.pods(workload.namespace, labels=str(workload.selector))
    except ClusterError as error:
        return [f"its pods cannot be seen: {error.message}"]
    waiting = [one for one in pods if not one.ready and not one.finished and not one.terminating]
    reasons = [one.reasons[0] if one.reasons else f"{one.phase}: starting" for one in waiting]
    return reasons or list(workload.reasons)
