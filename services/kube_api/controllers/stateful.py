"""StatefulSets: pods with numbers, made in order, ended in reverse, each waiting for the one before it unless told not to."""

from saleops.services.kube_api.controllers.cluster_view import Controller, pod_from, without_zeros
from saleops.services.kube_api.controllers.replicas import is_active
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
from saleops.services.kube_api.kinds import PODS, STATEFUL_SETS


class StatefulSets(Controller):
    looks_at = frozenset({"statefulsets.apps", "pods"})

    def reconcile(self) -> None:
        for one in self.view.each(STATEFUL_SETS):
            if not is_deleted(one):
                self._reconcile(one)

    def _reconcile(self, one: Document) -> None:
        wanted = whole(at(one, "spec", "replicas"), 1)
        pods = {
            number: pod
            for pod in self.view.owned_pods(one)
            if (number := _number(one, pod)) is not None
        }
        in_order = at(one, "spec", "podManagementPolicy") != "Parallel"
        for number in range(wanted):
            pod = pods.get(number)
            if pod is None:
                self._make(one, number)
                if in_order:
                    break
            elif in_order and not (is_active(pod) and is_ready(pod)):
                break
        surplus = sorted((number for number in pods if number >= wanted), reverse=True)
        for number in surplus:
            if not is_deleted(pods[number]):
                self.view.delete(PODS, pods[number])
            if in_order:
                break
        held = self.view.owned_pods(one)
        ready = sum(1 for pod in held if is_ready(pod) and not is_deleted(pod))
        self.view.put_status(
            STATEFUL_SETS,
            one,
            {
                **without_zeros(
                    {
                        "observedGeneration": whole(at(one, "metadata", "generation")),
                        "readyReplicas": ready,
                        "currentReplicas": len(held),
                        "updatedReplicas": len(held),
                    }
                ),
                "availableReplicas": ready,
                "replicas": len(held),
            },
        )

    def _make(self, one: Document, number: int) -> None:
        pod = pod_from(at(one, "spec", "template"), STATEFUL_SETS, one)
        name = f"{name_of(one)}-{number}"
        pod["metadata"]["name"] = name
        pod["metadata"]["labels"] |= {
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(number),
        }
        pod["spec"]["hostname"] = name
        if service := text(at(one, "spec", "serviceName")):
            pod["spec"]["subdomain"] = service
        self.view.create(PODS, namespace_of(one), pod)


def _number(one: Document, pod: Document) -> int | None:
    number = name_of(pod).removeprefix(f"{name_of(one)}-")
    return int(number) if number.isdigit() else None
