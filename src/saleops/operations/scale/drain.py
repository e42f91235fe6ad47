"""Empty nodes before they go: cordon all of them, evict their pods as their disruption budgets allow, wait.

A budget's refusal (429) is heeded until the deadline; nothing is deleted past it here, for nothing is burning. DaemonSet pods
stay, and so do mirrors of static pods and pods that are finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from saleops.domain.cluster import Node, Pod
from saleops.domain.scaling import most_common
from saleops.events import Advanced, Finished, Observer, Started
from saleops.ports.cloud import CloudClock
from saleops.ports.cluster import Cluster

EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Drained:
    """A node and the pods that are left on it; ``reasons`` say what kept them."""

    node: str
    left: int
    reasons: tuple[str, ...] = ()


def surplus(nodes: Sequence[Node], keep: int) -> tuple[Node, ...]:
    """The nodes of a pool to give up so that ``keep`` stay: those on their way out first, then the youngest, which came
    for the sale; spot before on-demand at the same age, then by name."""
    many = len(nodes) - keep
    if many <= 0:
        return ()
    ranked = sorted(
        nodes,
        key=lambda one: (
            not one.unschedulable,
            -(one.created_at.timestamp() if one.created_at else 0.0),
            not one.is_spot,
            one.name,
        ),
    )
    return tuple(ranked[:many])


def moves(pod: Pod) -> bool:
    return not (pod.of_daemon_set or pod.is_mirror or pod.finished)


def drain(
    cluster: Cluster,
    nodes: Sequence[Node],
    *,
    deadline_ms: int,
    clock: CloudClock,
    observe: Observer,
) -> tuple[Drained, ...]:
    """Cordon and empty ``nodes``. What is not empty at the deadline stays cordoned. Raises ClusterError."""
    task = "drain"
    observe(Started(task, len(nodes), "nodes"))
    for node in nodes:
        if not node.unschedulable:
            cluster.set_unschedulable(node.name, True)
    while True:
        states = tuple(_evicted(cluster, one.name) for one in nodes)
        empty = sum(not one.left for one in states)
        short = "; ".join(f"{one.node}: {one.left} left" for one in states if one.left)
        observe(Advanced(task, empty, short))
        if empty == len(nodes) or clock.now_ms() >= deadline_ms:
            done = empty == len(nodes)
            observe(Finished(task, f"{empty} of {len(nodes)} nodes are empty", ok=done))
            return states
        clock.sleep(EVERY_S)


def _evicted(cluster: Cluster, node: str) -> Drained:
    reasons = []
    left = 0
    for pod in cluster.pods(node=node):
        if not moves(pod):
            continue
        left += 1
        if pod.terminating:
            reasons.append("terminating")
            continue
        eviction = cluster.evict(pod)
        if eviction.outcome == "gone":
            left -= 1
        elif eviction.outcome == "accepted":
            reasons.append("evicted")
        else:
            reasons.append(eviction.message or eviction.outcome)
    return Drained(node, left, most_common(reasons))
