"""The machines under the nodes: they come, fall silent and go, as a cloud's node pools make and take them."""

from typing import TYPE_CHECKING, Any

import msgspec

from saleops.domain.cluster import POOL_LABEL
from saleops.services.kube_api.controllers.cluster_view import with_condition
from saleops.services.kube_api.documents import Document, labels_of, mapping, name_of
from saleops.services.kube_api.kinds import NODES
from saleops.services.kube_api.objects import Writer, rfc3339
from saleops.services.kube_api.refusals import not_found

if TYPE_CHECKING:
    from saleops.services.kube_api.core import KubeApi

KUBELET = Writer("kubelet")
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a node is made of. ``cpu`` and ``memory`` are what pods may have of it (its allocatable)."""

    name: str
    cpu: str = "4"
    memory: str = "16Gi"
    pods: int = 110
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: list[dict[str, str]] = []
    provider_id: str = ""


def add_node(api: "KubeApi", machine: Machine) -> Document:
    """A node that joins, and is ready. Raises KubeError 409 where the name is taken."""
    with api.lock:
        now = rfc3339(api.timeline.now_ms)
        conditions: list[Document] = []
        for type in _PRESSURES:
            conditions = with_condition(conditions, type, "False", "KubeletHas", "", now)
        room = {"cpu": machine.cpu, "memory": machine.memory, "pods": str(machine.pods)}
        document: dict[str, Any] = {
            "metadata": {
                "name": machine.name,
                "labels": {
                    "kubernetes.io/hostname": machine.name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    **machine.labels,
                },
                "annotations": dict(machine.annotations),
            },
            "spec": {
                **({"taints": [dict(one) for one in machine.taints]} if machine.taints else {}),
                **({"providerID": machine.provider_id} if machine.provider_id else {}),
            },
            "status": {
                "capacity": dict(room),
                "allocatable": dict(room),
                "nodeInfo": {"kubeletVersion": "v1.34.0", "operatingSystem": "linux"},
                "conditions": with_condition(
                    conditions,
                    "Ready",
                    "True",
                    "KubeletReady",
                    "kubelet is posting ready status",
                    now,
                ),
            },
        }
        made = api.objects.create(NODES, "", document, KUBELET)
        api.controllers.settle()
        return made


def set_node_ready(api: "KubeApi", name: str, ready: bool | None) -> None:
    """The kubelet says whether it is ready; None: it says nothing any more. Raises KubeError 404."""
    verdicts = {
        True: ("True", "KubeletReady", "kubelet is posting ready status"),
        False: ("False", "KubeletNotReady", "container runtime is down"),
        None: ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
    }
    set_node_condition(api, name, "Ready", *verdicts[ready])


def set_node_condition(
    api: "KubeApi", name: str, type: str, status: str, reason: str, message: str
) -> None:
    with api.lock:
        node = api.objects.get(NODES, "", name)
        held = dict(mapping(node.get("status")))
        now = rfc3339(api.timeline.now_ms)
        held["conditions"] = with_condition(
            held.get("conditions"), type, status, reason, message, now
        )
        api.store.put(NODES, {**node, "metadata": dict(node["metadata"]), "status": held})
        api.controllers.settle()


def remove_node(api: "KubeApi", name: str) -> None:
    """The machine is gone, and its node with it. Raises KubeError 404."""
    with api.lock:
        node = api.store.find(NODES, "", name)
        if node is None:
            raise not_found("nodes", "", name)
        api.store.remove(NODES, node)
        api.controllers.settle()


def feed_pool(api: "KubeApi", pool: str, machines: list[Machine]) -> dict[str, list[str]]:
    """Make the nodes of ``pool`` exactly ``machines``: who is new joins, who is no longer named goes."""
    with api.lock:
        wanted = {one.name: one for one in machines}
        there = {
            name_of(node)
            for node in api.store.each(NODES)
            if labels_of(node).get(POOL_LABEL) == pool
        }
        gone, new = sorted(there - set(wanted)), sorted(set(wanted) - there)
        for name in gone:
            remove_node(api, name)
        for name in new:
            labels = {**wanted[name].labels, POOL_LABEL: pool}
            add_node(api, msgspec.structs.replace(wanted[name], labels=labels))
        return {"added": new, "removed": gone}
