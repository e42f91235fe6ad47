"""Disruption budgets counted anew whenever pods change, and the endpoints behind each service."""

from saleops.services.kube_api.controllers.cluster_view import (
    Controller,
    condition,
    reference_to,
)
from saleops.services.kube_api.documents import (
    Document,
    at,
    is_deleted,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    sequence,
    text,
    uid_of,
)
from saleops.services.kube_api.eviction import count_budget
from saleops.services.kube_api.kinds import BUDGETS, ENDPOINT_SLICES, NODES, PODS, SERVICES

ZONE = "topology.kubernetes.io/zone"


class Budgets(Controller):
    looks_at = frozenset(
        {
            "poddisruptionbudgets.policy",
            "pods",
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
        }
    )

    def reconcile(self) -> None:
        for one in self.view.each(BUDGETS):
            status = count_budget(self.view.store, one, self.view.timeline.now_ms)
            self.view.put_status(BUDGETS, one, status)


class Endpoints(Controller):
    looks_at = frozenset({"services", "pods"})

    def reconcile(self) -> None:
        for service in self.view.each(SERVICES):
            selector = mapping(at(service, "spec", "selector"))
            if selector and not is_deleted(service):
                self._slice(service, selector)

    def _slice(self, service: Document, selector: Document) -> None:
        endpoints = [
            self._endpoint(pod)
            for pod in self.view.each(PODS, namespace_of(service))
            if text(at(pod, "status", "podIP"))
            and at(pod, "status", "phase") == "Running"
            and all(labels_of(pod).get(name) == value for name, value in selector.items())
        ]
        ports = [
            {
                "name": text(one.get("name")),
                "port": one.get("targetPort"),
                "protocol": one.get("protocol", "TCP"),
            }
            for one in map(mapping, sequence(at(service, "spec", "ports")))
        ]
        name = f"{name_of(service)}-endpoints"
        found = self.view.store.find(ENDPOINT_SLICES, namespace_of(service), name)
        if found is None:
            self.view.create(
                ENDPOINT_SLICES,
                namespace_of(service),
                {
                    "metadata": {
                        "name": name,
                        "labels": {"kubernetes.io/service-name": name_of(service)},
                        "ownerReferences": [reference_to(SERVICES, service)],
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": ports,
                },
            )
        elif found.get("endpoints") != endpoints or found.get("ports") != ports:
            new = {**found, "metadata": dict(found["metadata"])}
            self.view.store.put(ENDPOINT_SLICES, {**new, "endpoints": endpoints, "ports": ports})

    def _endpoint(self, pod: Document) -> Document:
        serving = condition(pod, "Ready").get("status") == "True"
        ending = is_deleted(pod)
        name = text(at(pod, "spec", "nodeName"))
        node = self.view.store.find(NODES, "", name)
        endpoint: Document = {
            "addresses": [text(at(pod, "status", "podIP"))],
            "conditions": {
                "ready": serving and not ending,
                "serving": serving,
                "terminating": ending,
            },
            "nodeName": name,
            "targetRef": {
                "kind": "Pod",
                "namespace": namespace_of(pod),
                "name": name_of(pod),
                "uid": uid_of(pod),
            },
        }
        if node is not None and (zone := labels_of(node).get(ZONE)):
            endpoint["zone"] = zone
        return endpoint
