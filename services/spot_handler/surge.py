"""Replacements before evictions: workloads that lose pods run more for a while, and go back afterwards.

A Deployment by itself is scaled by the number of pods it loses; as each of them ends, one is taken back, so that the total stays
what its owner wanted. Where an autoscaler owns the Deployment, its floor goes up (its ceiling too, if that is in the way) and
the Deployment is scaled at once, because an autoscaler looks only every 15 s; afterwards the floor goes back and the
autoscaler decides. Several nodes may lose pods of one workload at the same time, each with a handler that knows nothing of
the others: a Deployment is changed by differences, an autoscaler's annotation lists who holds its floor up, and the last lets go.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

import msgspec

from saleops.domain.cluster import Hpa, ObjectRef, Pod
from saleops.errors import ClusterError
from saleops.ports.cluster import Cluster
from saleops.services.spot_handler.record import Raised

log = logging.getLogger("saleops.services.spot_handler")

FLOOR = "saleops.io/spot-floor"
CONFLICTS_MAX = 6
_T = TypeVar("_T")


class Floor(msgspec.Struct, frozen=True):
    """On an autoscaler: its own bounds, ours, and for which nodes they are held."""

    min: int
    max: int
    set_min: int
    set_max: int
    base: int  # pods that were wanted before the first of the nodes got its notice
    nodes: dict[str, int] = {}


class Owners:
    """Whose a pod is: ReplicaSets are looked up once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._found: dict[str, str] = {}

    def workload_of(self, pod: Pod) -> str:
        """ "shop/order" for a pod of a Deployment or StatefulSet, "" for others and where we may not look."""
        owner = pod.owner
        if owner is None:
            return ""
        if owner.kind == "StatefulSet":
            return f"{pod.namespace}/{owner.name}"
        if owner.kind != "ReplicaSet":
            return ""
        key = f"{pod.namespace}/{owner.name}"
        if key not in self._found:
            ref = ObjectRef(owner.api_version or "apps/v1", "ReplicaSet", pod.namespace, owner.name)
            document = self._cluster.find_document(ref) or {}
            above = (document.get("metadata") or {}).get("ownerReferences") or []
            names = [
                one.get("name")
                for one in above
                if isinstance(one, dict) and one.get("kind") == "Deployment"
            ]
            self._found[key] = f"{pod.namespace}/{names[0]}" if names else ""
        return self._found[key]


class Surge:
    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    def plan(self, workload: str, lost: int) -> Raised | None:
        """What raising would set; None for what is no Deployment, or wants none. Raises ClusterError."""
        namespace, _, name = workload.partition("/")
        scale = self._cluster.scale_of("Deployment", namespace, name)
        if scale is None or scale.wanted == 0:
            return None
        hpa = self._hpa_of(namespace, name)
        return Raised(lost, scale.wanted + lost, hpa=hpa.name if hpa else "")

    def raise_(self, workload: str, planned: Raised, *, again: bool = False) -> Raised:
        """Do what ``plan`` said; ``again``: it may have been done, by a handler that was killed. Raises ClusterError."""
        namespace, _, name = workload.partition("/")
        floor = self._hold_floor(namespace, name, planned) if planned.hpa else 0
        target = planned.to

        def scaled() -> bool:
            nonlocal target
            scale = self._cluster.scale_of("Deployment", namespace, name)
            if scale is None:
                return False
            # A floor and a crash want an absolute number; else others may raise it at the same time, and each adds its own.
            target = floor or (planned.to if again else scale.wanted + planned.by)
            if scale.wanted >= target:
                return False
            self._cluster.set_replicas(
                "Deployment", namespace, name, target, expected=scale.resource_version
            )
            return not again

        sure = _until_no_conflict(scaled)
        log.info("%s is to run %d pods, %d more than before", workload, target, planned.by)
        return msgspec.structs.replace(planned, to=target, sure=sure)

    def take_back(self, workload: str, raised: Raised, to: int) -> None:
        """Lower a Deployment without autoscaler to ``to`` extra pods. Call after ``raised.by`` was recorded as ``to``."""
        namespace, _, name = workload.partition("/")
        if raised.hpa or not raised.sure or raised.by <= to:
            return

        def lowered() -> bool:
            scale = self._cluster.scale_of("Deployment", namespace, name)
            if scale is None:
                return False
            wanted = max(scale.wanted - (raised.by - to), 1)
            if wanted < scale.wanted:
                self._cluster.set_replicas(
                    "Deployment", namespace, name, wanted, expected=scale.resource_version
                )
            return True

        _until_no_conflict(lowered)

    def let_go(self, workload: str, raised: Raised) -> None:
        """Give an autoscaler its own bounds back, if this node was the last that held them. Harmless twice."""
        namespace = workload.partition("/")[0]
        if not raised.hpa:
            return

        def released() -> bool:
            hpa = self._cluster.find_hpa(namespace, raised.hpa)
            floor = _floor_of(hpa) if hpa is not None else None
            if hpa is None or floor is None:
                return False
            nodes = {
                name: by
                for name, by in floor.nodes.items()
                if name != self._node and self._cluster.find_node(name) is not None
            }
            if nodes:
                kept = msgspec.structs.replace(floor, nodes=nodes)
                self._cluster.annotate(
                    hpa.ref, {FLOOR: _encoded(kept)}, expected=hpa.resource_version
                )
                return True
            # Whoever has set another bound meanwhile owns it now.
            low = floor.min if hpa.min_replicas == floor.set_min != floor.min else None
            high = floor.max if hpa.max_replicas == floor.set_max != floor.max else None
            version = hpa.resource_version
            if low is not None or high is not None:
                version = self._cluster.set_hpa_bounds(
                    namespace, raised.hpa, min_replicas=low, max_replicas=high, expected=version
                ).resource_version
            self._cluster.annotate(hpa.ref, {FLOOR: None}, expected=version)
            return True

        _until_no_conflict(released)

    def _hold_floor(self, namespace: str, name: str, planned: Raised) -> int:
        """Raise the autoscaler's floor for our pods on top of the other nodes'; the floor."""

        def held() -> int:
            hpa = self._cluster.find_hpa(namespace, planned.hpa)
            if hpa is None:
                return 0
            before = _floor_of(hpa)
            if before is None:
                scale = self._cluster.scale_of("Deployment", namespace, name)
                base = scale.wanted if scale is not None else hpa.current
                low, high = hpa.min_replicas, hpa.max_replicas
                before = Floor(low, high, low, high, base)
            nodes = {**before.nodes, self._node: planned.by}
            low = max(before.min, before.base + sum(nodes.values()))
            high = max(before.max, low)
            noted = Floor(before.min, before.max, low, high, before.base, nodes)
            version = hpa.resource_version
            if noted != _floor_of(hpa):
                version = self._cluster.annotate(
                    hpa.ref, {FLOOR: _encoded(noted)}, expected=version
                )
            low, high = max(hpa.min_replicas, low), max(hpa.max_replicas, high)
            if (hpa.min_replicas, hpa.max_replicas) != (low, high):
                self._cluster.set_hpa_bounds(
                    namespace, planned.hpa, min_replicas=low, max_replicas=high, expected=version
                )
            return noted.set_min

        return _until_no_conflict(held)

    def _hpa_of(self, namespace: str, name: str) -> Hpa | None:
        for hpa in self._cluster.hpas(namespace):
            if (hpa.target.kind, hpa.target.name) == ("Deployment", name):
                return hpa
        return None


def _floor_of(hpa: Hpa) -> Floor | None:
    try:
        return msgspec.json.decode(hpa.annotations.get(FLOOR, ""), type=Floor)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def _encoded(floor: Floor) -> str:
    return msgspec.json.encode(floor).decode()


def _until_no_conflict(act: Callable[[], _T]) -> _T:
    """Look and act again where somebody else was faster. Raises ClusterError."""
    for attempt in range(CONFLICTS_MAX):
        try:
            return act()
        except ClusterError as error:
            if error.kind != "conflict" or attempt == CONFLICTS_MAX - 1:
                raise
    raise AssertionError("the last attempt returns or raises")
