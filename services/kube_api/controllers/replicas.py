"""ReplicaSets: as many pods as wanted. Of too many, those go first that would be missed least."""

from typing import Any

from saleops.services.kube_api.controllers.cluster_view import Controller, pod_from, without_zeros
from saleops.services.kube_api.documents import (
    Document,
    annotations_of,
    at,
    is_deleted,
    mapping,
    name_of,
    namespace_of,
    text,
    whole,
)
from saleops.services.kube_api.eviction import is_ready
from saleops.services.kube_api.kinds import PODS, REPLICA_SETS
from saleops.services.kube_api.refusals import KubeError


def is_active(pod: Document) -> bool:
    return not is_deleted(pod) and at(pod, "status", "phase") not in ("Succeeded", "Failed")


def misses_least(pod: Document) -> tuple[Any, ...]:
    """The order in which surplus pods go: not bound, pending, not ready, cheap by annotation, young."""
    cost = text(annotations_of(pod).get("controller.kubernetes.io/pod-deletion-cost"))
    return (
        bool(at(pod, "spec", "nodeName")),
        at(pod, "status", "phase") != "Pending",
        is_ready(pod),
        int(cost) if cost.lstrip("-").isdigit() else 0,
        _young_first(text(at(pod, "metadata", "creationTimestamp"))),
        name_of(pod),
    )


def _young_first(stamp: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in stamp)


class ReplicaSets(Controller):
    looks_at = frozenset({"replicasets.apps", "pods"})

    def reconcile(self) -> None:
        for one in self.view.each(REPLICA_SETS):
            if not is_deleted(one):
                self._reconcile(one)

    def _reconcile(self, one: Document) -> None:
        wanted = whole(at(one, "spec", "replicas"), 1)
        pods = [pod for pod in self.view.owned_pods(one) if is_active(pod)]
        for _ in range(wanted - len(pods)):
            pod = pod_from(at(one, "spec", "template"), REPLICA_SETS, one)
            pod["metadata"]["generateName"] = f"{name_of(one)[:57]}-"
            try:
                pods.append(self.view.create(PODS, namespace_of(one), pod))
            except KubeError as error:
                self.view.say(
                    REPLICA_SETS,
                    one,
                    "FailedCreate",
                    f"Error creating: {error.message}",
                    warning=True,
                    source="replicaset-controller",
                )
                break
        for pod in sorted(pods, key=misses_least)[: max(len(pods) - wanted, 0)]:
            self.view.delete(PODS, pod)
            pods.remove(pod)
        ready = sum(map(is_ready, pods))
        self.view.put_status(
            REPLICA_SETS,
            one,
            {
                **without_zeros(
                    {
                        "fullyLabeledReplicas": len(pods),
                        "readyReplicas": ready,
                        "availableReplicas": ready,
                        "observedGeneration": whole(at(one, "metadata", "generation")),
                    }
                ),
                "replicas": len(pods),
                **{
                    name: value
                    for name, value in mapping(one.get("status")).items()
                    if name == "conditions"
                },
            },
        )
