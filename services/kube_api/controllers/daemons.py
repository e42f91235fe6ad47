"""DaemonSets: a pod on every node that it may run on, cordoned and sick ones included."""

from saleops.services.kube_api.controllers.cluster_view import Controller, pod_from
from saleops.services.kube_api.controllers.placement import selects_node, untolerated
from saleops.services.kube_api.documents import (
    Document,
    at,
    is_deleted,
    name_of,
    namespace_of,
    text,
    whole,
)
from saleops.services.kube_api.eviction import is_ready
from saleops.services.kube_api.kinds import DAEMON_SETS, NODES, PODS

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


class DaemonSets(Controller):
    looks_at = frozenset({"daemonsets.apps", "nodes", "pods"})

    def reconcile(self) -> None:
        for one in self.view.each(DAEMON_SETS):
            if not is_deleted(one):
                self._reconcile(one)

    def _reconcile(self, one: Document) -> None:
        pods = self.view.owned_pods(one)
        there = {_node_of(pod): pod for pod in pods if not is_deleted(pod)}
        wanted: set[str] = set()
        for node in self.view.each(NODES):
            if is_deleted(node):
                continue
            pod = self._pod(one, name_of(node))
            if not selects_node(pod, node):
                continue
            if untolerated(pod, node, "NoSchedule", "NoExecute"):
                # As the real controller: NoSchedule keeps new pods away and lets running ones be.
                if name_of(node) in there and not untolerated(pod, node, "NoExecute"):
                    wanted.add(name_of(node))
                continue
            wanted.add(name_of(node))
            if name_of(node) not in there and not any(
                _node_of(held) == name_of(node) for held in pods
            ):
                self.view.create(PODS, namespace_of(one), pod)
        for name, pod in there.items():
            if name not in wanted:
                self.view.delete(PODS, pod)
        held = [pod for pod in self.view.owned_pods(one) if not is_deleted(pod)]
        ready = sum(map(is_ready, held))
        self.view.put_status(
            DAEMON_SETS,
            one,
            {
                "currentNumberScheduled": len(held),
                "desiredNumberScheduled": len(wanted),
                "numberMisscheduled": 0,
                "numberReady": ready,
                "numberAvailable": ready,
                "updatedNumberScheduled": len(held),
                "observedGeneration": whole(at(one, "metadata", "generation")),
            },
        )

    def _pod(self, one: Document, node: str) -> Document:
        pod = pod_from(at(one, "spec", "template"), DAEMON_SETS, one)
        pod["metadata"]["generateName"] = f"{name_of(one)[:57]}-"
        spec = pod["spec"]
        tolerations = spec.setdefault("tolerations", [])
        tolerations += [
            {"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED
        ]
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
        terms = required.get("nodeSelectorTerms") or [{}]
        field = {"key": "metadata.name", "operator": "In", "values": [node]}
        required["nodeSelectorTerms"] = [{**term, "matchFields": [field]} for term in terms]
        return pod


def _node_of(pod: Document) -> str:
    """The node it is on, or the one it waits for."""
    if name := text(at(pod, "spec", "nodeName")):
        return name
    terms = at(
        pod,
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )
    for term in terms if isinstance(terms, list) else []:
        fields = at(term, "matchFields")
        if isinstance(fields, list) and fields:
            return str(fields[0]["values"][0])
    return ""
