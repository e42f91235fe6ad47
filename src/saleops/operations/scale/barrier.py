"""Wait until what was asked for is there: nodes Ready, pods Ready. With counts, reasons and a deadline.

"The controller said it is done" is no proof. A node counts when the cluster shows it Ready and schedulable under its pool's
label, a pod when its workload counts it ready for the newest change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saleops.domain.cluster import Node
from saleops.domain.scaling import SeenPool, most_common
from saleops.errors import CloudError, ClusterError
from saleops.events import Advanced, Finished, Observer, Started
from saleops.operations.scale.looking import (
    CloudSide,
    InCluster,
    look_in_cloud,
    look_in_cluster,
    pods_reasons,
    shortage_of,
)
from saleops.operations.scale.wanted import Wants
from saleops.ports.cloud import CloudClock
from saleops.ports.cluster import Cluster

NODES_EVERY_S = 10.0
PODS_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Count:
    """How many of ``what`` are wanted and ready; ``reasons`` say why the others are not, the most frequent first."""

    what: str
    wanted: int
    ready: int
    reasons: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        return self.ready >= self.wanted

    def __str__(self) -> str:
        said = f"{self.what}: {self.ready:,} of {self.wanted:,} ready"
        return said + (f" ({'; '.join(self.reasons)})" if self.reasons and not self.met else "")


def wait_for_nodes(
    cluster: Cluster,
    side: CloudSide,
    targets: Sequence[tuple[str, int]],
    *,
    deadline_ms: int,
    clock: CloudClock,
    observe: Observer,
) -> tuple[Count, ...]:
    """Until every pool of ``targets`` (key, nodes) has its nodes Ready, or the deadline. The last counts."""
    task = "nodes"
    total = sum(want for _, want in targets)
    observe(Started(task, total, "nodes"))
    counts: tuple[Count, ...] = ()
    while True:
        try:
            counts = count_nodes(cluster, side, targets)
        except (ClusterError, CloudError) as error:
            if not error.retryable or clock.now_ms() >= deadline_ms:
                observe(Finished(task, error.message, ok=False))
                raise
            observe(
                Advanced(task, sum(min(one.ready, one.wanted) for one in counts), error.message)
            )
            clock.sleep(NODES_EVERY_S)
            continue
        ready = sum(min(one.ready, one.wanted) for one in counts)
        short = [str(one) for one in counts if not one.met]
        observe(Advanced(task, ready, "; ".join(short)))
        if not short:
            observe(Finished(task, f"{ready:,} of {total:,} nodes Ready"))
            return counts
        if clock.now_ms() >= deadline_ms:
            observe(Finished(task, f"{ready:,} of {total:,} nodes Ready at the deadline", ok=False))
            return counts
        clock.sleep(NODES_EVERY_S)


def count_nodes(
    cluster: Cluster, side: CloudSide, targets: Sequence[tuple[str, int]]
) -> tuple[Count, ...]:
    """Raises CloudError, ClusterError."""
    in_cloud = look_in_cloud(side)
    nodes = cluster.nodes()
    counts = []
    for key, want in targets:
        pool = in_cloud.pool(key)
        if pool is None:
            counts.append(Count(key, want, 0, ("the pool is gone",)))
            continue
        mine = [one for one in nodes if one.pool == pool.id]
        ready = sum(one.takes_pods for one in mine)
        reasons = () if ready >= want else _why_short(side, pool, mine, want)
        counts.append(Count(f"node pool {pool.name}", want, ready, reasons))
    return tuple(counts)


def _why_short(
    side: CloudSide, pool: SeenPool, nodes: Sequence[Node], want: int
) -> tuple[str, ...]:
    reasons = [reason for one in nodes if (reason := _why_not(one))]
    reasons += ["not joined: healthy in the cloud, unknown to this cluster"] * max(
        0, pool.healthy - len(nodes)
    )
    coming = want - max(pool.healthy, len(nodes))
    told = list(most_common(reasons))
    if coming > 0:
        try:
            shortage = shortage_of(side, pool)
        except CloudError as error:
            shortage = f"its scaling activities cannot be read: {error.message}"
        told.append(f"{coming} x {shortage or 'on the way'}")
    return tuple(told)


def _why_not(node: Node) -> str:
    if node.deleted:
        return "being deleted"
    if not node.ready:
        condition = next((one for one in node.conditions if one.type == "Ready"), None)
        said = f"{condition.reason}: {condition.message}" if condition else "no Ready condition"
        return f"NotReady: {said}"
    return "cordoned" if node.unschedulable else ""


def wait_for_pods(
    wants: Wants,
    cluster: Cluster,
    *,
    deadline_ms: int,
    clock: CloudClock,
    observe: Observer,
    keep: Callable[[InCluster], None] = lambda looked: None,
) -> tuple[Count, ...]:
    """Until every workload has its pods Ready, or the deadline. The last counts. A question that fails is asked again.

    ``keep`` is given every look, so that what somebody lowers meanwhile can be put back."""
    task = "pods"
    observe(Started(task, sum(one.pods for one in wants.pods), "pods"))
    counts: tuple[Count, ...] = ()
    while True:
        try:
            looked = look_in_cluster(wants, cluster)
            keep(looked)
            counts = count_pods(wants, cluster, looked)
        except ClusterError as error:
            if not error.retryable or clock.now_ms() >= deadline_ms:
                observe(Finished(task, error.message, ok=False))
                raise
            observe(
                Advanced(task, sum(min(one.ready, one.wanted) for one in counts), error.message)
            )
            clock.sleep(PODS_EVERY_S)
            continue
        ready = sum(min(one.ready, one.wanted) for one in counts)
        total = sum(one.wanted for one in counts)
        short = [str(one) for one in counts if not one.met]
        observe(Advanced(task, ready, "; ".join(short)))
        if not short:
            observe(Finished(task, f"{ready:,} of {total:,} pods Ready"))
            return counts
        if clock.now_ms() >= deadline_ms:
            observe(Finished(task, f"{ready:,} of {total:,} pods Ready at the deadline", ok=False))
            return counts
        clock.sleep(PODS_EVERY_S)


def count_pods(wants: Wants, cluster: Cluster, looked: InCluster) -> tuple[Count, ...]:
    """Raises ClusterError."""
    counts = []
    for one, seen in looked.pods:
        if seen is None:
            counts.append(
                Count(f"Deployment {wants.namespace}/{one.name}", one.pods, 0, ("not there",))
            )
            continue
        workload = looked.workloads[seen.key]
        ready = workload.ready if workload.observed else min(workload.ready, one.pods - 1)
        reasons: tuple[str, ...] = ()
        if ready < one.pods:
            reasons = most_common(pods_reasons(cluster, workload))
            if not reasons and workload.wanted < one.pods:
                reasons = (f"only {workload.wanted} are asked for",)
        counts.append(Count(seen.key, one.pods, ready, reasons))
    return tuple(counts)
