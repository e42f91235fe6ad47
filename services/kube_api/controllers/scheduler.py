"""The scheduler: a node for each pod that has none, the pods of higher priority first; preemption where that helps.

Of the nodes that pass the filters the one wins that has the fewest pods of the same owner in its zone, then on itself, then the
most room: what default spreading and "least allocated" come to for the clusters we have.
"""

from collections import Counter

from saleops.domain.cluster import Resources
from saleops.services.kube_api.controllers.cluster_view import (
    Controller,
    condition,
    with_condition,
)
from saleops.services.kube_api.controllers.placement import (
    allocatable_of,
    place_of,
    repelled_by,
    requests_of,
    skew_of,
    spread_rules,
    untolerated,
    why_not,
)
from saleops.services.kube_api.controllers.replicas import is_active
from saleops.services.kube_api.documents import (
    Document,
    at,
    is_deleted,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    owner_of,
    sequence,
    text,
    uid_of,
    whole,
)
from saleops.services.kube_api.kinds import NODES, PODS
from saleops.services.kube_api.selectors import selector_in

ZONE = "topology.kubernetes.io/zone"


class Scheduler(Controller):
    looks_at = frozenset({"pods", "nodes"})

    def reconcile(self) -> None:
        pods = self.view.each(PODS)
        waiting = [
            pod
            for pod in pods
            if not text(at(pod, "spec", "nodeName"))
            and not is_deleted(pod)
            and not sequence(at(pod, "spec", "schedulingGates"))
        ]
        if not waiting:
            return
        nodes = [node for node in self.view.each(NODES) if not is_deleted(node)]
        bound: dict[str, list[Document]] = {name_of(node): [] for node in nodes}
        for pod in pods:
            if (name := text(at(pod, "spec", "nodeName"))) in bound and at(
                pod, "status", "phase"
            ) not in ("Succeeded", "Failed"):
                bound[name].append(pod)
        free = {name_of(node): _left(allocatable_of(node), bound[name_of(node)]) for node in nodes}
        waiting.sort(
            key=lambda pod: (
                -whole(at(pod, "spec", "priority")),
                text(at(pod, "metadata", "creationTimestamp")),
                name_of(pod),
            )
        )
        for pod in waiting:
            chosen, reasons = self._choose(pod, nodes, bound, free)
            if chosen is None:
                self._tell(pod, reasons, len(nodes))
                self._preempt(pod, nodes, bound, free)
                continue
            name = name_of(chosen)
            self._bind(pod, name)
            bound[name].append(pod)
            free[name] = free[name] - requests_of(pod)

    def _choose(
        self,
        pod: Document,
        nodes: list[Document],
        bound: dict[str, list[Document]],
        free: dict[str, Resources],
    ) -> tuple[Document | None, Counter[str]]:
        reasons: Counter[str] = Counter()
        fitting: list[Document] = []
        for node in nodes:
            reason = why_not(pod, node, free[name_of(node)]) or self._crowded(
                pod, node, nodes, bound
            )
            if reason:
                reasons[reason] += 1
            else:
                fitting.append(node)
        if not fitting:
            return None, reasons
        owner = mapping(owner_of(pod)).get("uid")
        same = {
            name: sum(
                1
                for one in there
                if is_active(one) and owner and mapping(owner_of(one)).get("uid") == owner
            )
            for name, there in bound.items()
        }
        in_zone: Counter[str] = Counter()
        for node in nodes:
            in_zone[labels_of(node).get(ZONE, "")] += same[name_of(node)]

        def worth(node: Document) -> tuple[int, int, int, float, str]:
            name = name_of(node)
            whole_of = allocatable_of(node)
            used = 1 - free[name].cpu_millis / max(whole_of.cpu_millis, 1)
            soft = untolerated(pod, node, "PreferNoSchedule") is not None
            return (soft, in_zone[labels_of(node).get(ZONE, "")], same[name], used, name)

        return min(fitting, key=worth), reasons

    def _crowded(
        self,
        pod: Document,
        node: Document,
        nodes: list[Document],
        bound: dict[str, list[Document]],
    ) -> str:
        """Why spreading or anti-affinity keeps ``pod`` off ``node``."""
        for rule in spread_rules(pod, hard=True):
            key = text(rule.get("topologyKey"))
            here = place_of(node, key)
            if here is None:
                return (
                    "node(s) didn't match pod topology spread constraints (missing required label)"
                )
            counts = self._counts(pod, key, rule.get("labelSelector"), nodes, bound)
            if counts.get(here, 0) + 1 - min(counts.values(), default=0) > skew_of(rule):
                return "node(s) didn't match pod topology spread constraints"
        for term in repelled_by(pod):
            key = text(term.get("topologyKey"))
            here = place_of(node, key)
            counts = self._counts(pod, key, term.get("labelSelector"), nodes, bound)
            if here is not None and counts.get(here, 0):
                return "node(s) didn't match pod anti-affinity rules"
        return ""

    def _counts(
        self,
        pod: Document,
        key: str,
        selector: object,
        nodes: list[Document],
        bound: dict[str, list[Document]],
    ) -> Counter[str]:
        """Pods that ``selector`` selects, by the domain of topology ``key``."""
        chosen = selector_in(selector)
        counts: Counter[str] = Counter()
        for node in nodes:
            here = place_of(node, key)
            if here is None:
                continue
            counts[here] += sum(
                1
                for one in bound[name_of(node)]
                if namespace_of(one) == namespace_of(pod)
                and is_active(one)
                and chosen.matches(labels_of(one))
            )
        return counts

    def _bind(self, pod: Document, node: str) -> None:
        live = self.view.current(PODS, pod)
        if live is None:
            return
        status = dict(mapping(live.get("status")))
        status["conditions"] = with_condition(
            status.get("conditions"), "PodScheduled", "True", "", "", self.view.now
        )
        status.pop("nominatedNodeName", None)
        new = {
            **live,
            "metadata": dict(live["metadata"]),
            "spec": {**live["spec"], "nodeName": node},
            "status": status,
        }
        self.view.store.put(PODS, new)

    def _tell(self, pod: Document, reasons: Counter[str], nodes: int) -> None:
        if nodes:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            message = f"0/{nodes} nodes are available: {listed}."
        else:
            message = "no nodes available to schedule pods"
        if condition(pod, "PodScheduled").get("message") == message:
            return
        status = dict(mapping(pod.get("status")))
        status["conditions"] = with_condition(
            status.get("conditions"),
            "PodScheduled",
            "False",
            "Unschedulable",
            message,
            self.view.now,
        )
        self.view.put_status(PODS, pod, status)
        self.view.say(
            PODS, pod, "FailedScheduling", message, warning=True, source="default-scheduler"
        )

    def _preempt(
        self,
        pod: Document,
        nodes: list[Document],
        bound: dict[str, list[Document]],
        free: dict[str, Resources],
    ) -> None:
        """End pods of lower priority on the node where that takes the fewest; the freed room comes after their grace."""
        mine = whole(at(pod, "spec", "priority"))
        if at(pod, "spec", "preemptionPolicy") == "Never":
            return
        nominated = text(at(pod, "status", "nominatedNodeName"))
        if any(is_deleted(one) for one in bound.get(nominated, [])):
            return  # those that make room are on their way
        best: tuple[str, list[Document]] | None = None
        for node in nodes:
            name = name_of(node)
            lower = sorted(
                (
                    one
                    for one in bound[name]
                    if whole(at(one, "spec", "priority")) < mine and not is_deleted(one)
                ),
                key=lambda one: (whole(at(one, "spec", "priority")), name_of(one)),
            )
            room, victims = free[name], []
            for one in lower:
                if not why_not(pod, node, room):
                    break
                room = room + requests_of(one)
                victims.append(one)
            helps = bool(victims) and not why_not(pod, node, room)
            if helps and (best is None or len(victims) < len(best[1])):
                best = (name, victims)
        if best is None:
            return
        name, victims = best
        live = self.view.current(PODS, pod)
        if live is not None:
            self.view.put_status(
                PODS, live, {**mapping(live.get("status")), "nominatedNodeName": name}
            )
        for one in victims:
            message = f"Preempted by pod {uid_of(pod)} on node {name}"
            self.view.say(
                PODS, one, "Preempted", message, warning=False, source="default-scheduler"
            )
            self.view.delete(PODS, one)


def _left(allocatable: Resources, pods: list[Document]) -> Resources:
    for pod in pods:
        allocatable = allocatable - requests_of(pod)
    return allocatable
