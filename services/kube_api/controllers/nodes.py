"""Nodes: the taints that follow from their conditions, pods that leave a lost node, pods of a node that is gone."""

from functools import partial

from saleops.services.kube_api.controllers.cluster_view import (
    ClusterView,
    Controller,
    condition,
    with_condition,
)
from saleops.services.kube_api.controllers.placement import taints_of, tolerations_of
from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    is_deleted,
    mapping,
    name_of,
    sequence,
    text,
    uid_of,
)
from saleops.services.kube_api.kinds import NODES, PODS
from saleops.services.kube_api.objects import read_time_ms

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"


class Nodes(Controller):
    looks_at = frozenset({"nodes", "pods"})

    def __init__(self, view: ClusterView) -> None:
        super().__init__(view)
        self._patient: set[tuple[str, int]] = set()  # pod, and when its patience ends

    def forget(self) -> None:
        self._patient.clear()

    def reconcile(self) -> None:
        known = {name_of(node): node for node in self.view.each(NODES)}
        for node in known.values():
            self._taint(node)
        for pod in self.view.each(PODS):
            name = text(at(pod, "spec", "nodeName"))
            if not name:
                continue
            its_node = self.view.store.find(NODES, "", name)
            if its_node is None:
                self.view.store.remove(PODS, pod)  # its node is gone, and it with it
                continue
            if condition(its_node, "Ready").get("status") != "True":
                self._unready(pod)
            self._leave(pod, its_node)

    def _taint(self, node: Document) -> None:
        status = condition(node, "Ready").get("status")
        wanted = {"False": _NOT_READY, "Unknown": _UNREACHABLE}.get(str(status))
        taints = [mapping(one) for one in sequence(at(node, "spec", "taints"))]
        kept = [
            one
            for one in taints
            if one.get("key") not in (_NOT_READY, _UNREACHABLE) or one.get("key") == wanted
        ]
        if wanted and not any(one.get("key") == wanted for one in kept):
            kept += [
                {"key": wanted, "effect": effect, "timeAdded": self.view.now}
                for effect in ("NoSchedule", "NoExecute")
            ]
        if kept == taints:
            return
        new = copied(node)
        if kept:
            new["spec"]["taints"] = kept
        else:
            new["spec"].pop("taints", None)
        self.view.store.put(NODES, new)

    def _unready(self, pod: Document) -> None:
        if condition(pod, "Ready").get("status") != "True":
            return
        status = dict(mapping(pod.get("status")))
        status["conditions"] = with_condition(
            status.get("conditions"), "Ready", "False", "NodeNotReady", "", self.view.now
        )
        self.view.put_status(PODS, pod, status)

    def _leave(self, pod: Document, node: Document) -> None:
        """Delete ``pod`` when its patience with a NoExecute taint is over."""
        if is_deleted(pod):
            return
        tolerations = tolerations_of(pod)
        for place, taint in enumerate(taints_of(node)):
            if taint.effect != "NoExecute":
                continue
            fitting = [one for one in tolerations if one.tolerates(taint)]
            limits = [one.seconds for one in fitting if one.seconds is not None]
            if fitting and not limits:
                continue
            added = mapping(sequence(at(node, "spec", "taints"))[place]).get("timeAdded")
            since_ms = read_time_ms(added)
            if since_ms is None:
                since_ms = self.view.timeline.now_ms
            ends_ms = since_ms + 1000 * (min(limits) if fitting else 0)
            if ends_ms <= self.view.timeline.now_ms:
                self.view.delete(PODS, pod)
                return
            key = (uid_of(pod), ends_ms)
            if key not in self._patient:
                self._patient.add(key)
                self.view.timeline.at(ends_ms, partial(self._look_again, pod, key))

    def _look_again(self, pod: Document, key: tuple[str, int]) -> None:
        self._patient.discard(key)
        live = self.view.current(PODS, pod)
        if live is None:
            return
        node = self.view.store.find(NODES, "", text(at(live, "spec", "nodeName")))
        if node is not None:
            self._leave(live, node)
