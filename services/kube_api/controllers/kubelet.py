"""The kubelets: containers that start and become ready after a while, and end within their grace.

A pod that is told to end runs its preStop hook's sleep, then takes its ``stop_s``; its grace cuts both short. A kubelet whose
node is not ready does nothing: its pods are marked not ready by the node controller, and those told to end stay until the
node comes back, goes away, or somebody forces them.
"""

from saleops.services.kube_api.controllers.cluster_view import (
    ClusterView,
    Controller,
    condition,
    with_condition,
)
from saleops.services.kube_api.documents import (
    Document,
    annotations_of,
    at,
    is_deleted,
    mapping,
    name_of,
    sequence,
    text,
    uid_of,
    whole,
)
from saleops.services.kube_api.kinds import NODES, PODS
from saleops.services.kube_api.settings import START_ANNOTATION, STOP_ANNOTATION


class Kubelet(Controller):
    looks_at = frozenset({"pods", "nodes"})

    def __init__(self, view: ClusterView) -> None:
        super().__init__(view)
        self._starting: set[str] = set()
        self._ending: dict[str, int] = {}  # uid -> when it ends
        self._addresses = 0

    def forget(self) -> None:
        self._starting.clear()
        self._ending.clear()

    def reconcile(self) -> None:
        alive = {
            name_of(node)
            for node in self.view.each(NODES)
            if condition(node, "Ready").get("status") == "True"
        }
        for pod in self.view.each(PODS):
            node = text(at(pod, "spec", "nodeName"))
            if node not in alive:
                continue
            if is_deleted(pod):
                self._end(pod)
            elif at(pod, "status", "phase") == "Pending":
                self._start(pod)
            elif at(pod, "status", "phase") == "Running":
                self._judge(pod)

    # -- start -----------------------------------------------------------------------------------------------

    def _start(self, pod: Document) -> None:
        uid = uid_of(pod)
        if uid in self._starting:
            return
        bad = next((one for one in _images(pod) if one in self.view.settings.bad_images), None)
        if bad is not None:
            self._cannot_pull(pod, bad)
            return
        self._starting.add(uid)
        status = dict(mapping(pod.get("status")))
        if "hostIP" not in status:
            status |= {"hostIP": "10.0.0.1", "startTime": self.view.now}
            status["containerStatuses"] = _containers(
                pod, {"waiting": {"reason": "ContainerCreating"}}, ready=False
            )
            for type in ("Initialized",):
                status["conditions"] = with_condition(
                    status.get("conditions"), type, "True", "", "", self.view.now
                )
            for type in ("ContainersReady", "Ready"):
                status["conditions"] = with_condition(
                    status["conditions"],
                    type,
                    "False",
                    "ContainersNotReady",
                    f"containers with unready status: [{' '.join(_names(pod))}]",
                    self.view.now,
                )
            self.view.put_status(PODS, pod, status)
        after_s = _seconds(pod, START_ANNOTATION, self.view.settings.start_s)
        self.view.timeline.after(after_s, lambda: self._started(pod))

    def _started(self, pod: Document) -> None:
        self._starting.discard(uid_of(pod))
        live = self.view.current(PODS, pod)
        if live is None or is_deleted(live) or not self._alive(live):
            return
        self._addresses += 1
        status = dict(mapping(live.get("status")))
        status |= {
            "phase": "Running",
            "podIP": f"10.{64 + self._addresses // 65_024 % 64}.{self._addresses // 254 % 256}.{self._addresses % 254 + 1}",
            "containerStatuses": _containers(
                live, {"running": {"startedAt": self.view.now}}, ready=True
            ),
        }
        status["podIPs"] = [{"ip": status["podIP"]}]
        self.view.put_status(PODS, live, status)
        if sequence(at(live, "spec", "readinessGates")):
            self.view.timeline.after(self.view.settings.gate_s, lambda: self._pass_gates(pod))

    def _cannot_pull(self, pod: Document, image: str) -> None:
        status = dict(mapping(pod.get("status")))
        message = f'Back-off pulling image "{image}"'
        status["containerStatuses"] = _containers(
            pod, {"waiting": {"reason": "ImagePullBackOff", "message": message}}, ready=False
        )
        if pod.get("status") == status:
            return
        for type in ("ContainersReady", "Ready"):
            status["conditions"] = with_condition(
                status.get("conditions"), type, "False", "ContainersNotReady",
                f"containers with unready status: [{' '.join(_names(pod))}]", self.view.now,
            )  # fmt: skip
        if pod.get("status") == status:
            return
        self.view.put_status(PODS, pod, status)
        self.view.say(
            PODS, pod, "Failed", f'Failed to pull image "{image}"', warning=True, source="kubelet"
        )

    def _pass_gates(self, pod: Document) -> None:
        live = self.view.current(PODS, pod)
        if live is None or is_deleted(live):
            return
        status = dict(mapping(live.get("status")))
        for gate in map(mapping, sequence(at(live, "spec", "readinessGates"))):
            status["conditions"] = with_condition(
                status.get("conditions"),
                text(gate.get("conditionType")),
                "True",
                "",
                "",
                self.view.now,
            )
        self.view.put_status(PODS, live, status)

    # -- ready -----------------------------------------------------------------------------------------------

    def _judge(self, pod: Document) -> None:
        """Ready is: every container is, and every readiness gate says so."""
        status = dict(mapping(pod.get("status")))
        containers = [mapping(one) for one in sequence(status.get("containerStatuses"))]
        unready = [text(one.get("name")) for one in containers if one.get("ready") is not True]
        gates = [
            text(one.get("conditionType"))
            for one in map(mapping, sequence(at(pod, "spec", "readinessGates")))
        ]
        closed = [gate for gate in gates if condition(pod, gate).get("status") != "True"]
        conditions = status.get("conditions")
        if unready:
            verdict = (
                "False",
                "ContainersNotReady",
                f"containers with unready status: [{' '.join(unready)}]",
            )
        elif closed:
            said = f'condition of pod readiness gate "{closed[0]}" does not exist or is not True.'
            verdict = ("False", "ReadinessGatesNotReady", f"corresponding {said}")
        else:
            verdict = ("True", "", "")
        conditions = with_condition(
            conditions,
            "ContainersReady",
            "False" if unready else "True",
            "ContainersNotReady" if unready else "",
            verdict[2] if unready else "",
            self.view.now,
        )
        status["conditions"] = with_condition(conditions, "Ready", *verdict, self.view.now)
        self.view.put_status(PODS, pod, status)

    # -- end -------------------------------------------------------------------------------------------------

    def _end(self, pod: Document) -> None:
        uid = uid_of(pod)
        grace_s = whole(at(pod, "metadata", "deletionGracePeriodSeconds"))
        if grace_s == 0:
            self._ended(pod)
            return
        wanted_s = _pre_stop_s(pod) + _seconds(pod, STOP_ANNOTATION, self.view.settings.stop_s)
        ends_ms = self.view.timeline.now_ms + round(min(wanted_s, grace_s) * 1000)
        if uid in self._ending and self._ending[uid] <= ends_ms:
            return
        self._ending[uid] = ends_ms
        self.view.timeline.at(ends_ms, lambda: self._ended(pod))
        if not at(pod, "status", "containerStatuses"):
            return
        status = dict(mapping(pod.get("status")))
        self.view.put_status(PODS, pod, status)

    def _ended(self, pod: Document) -> None:
        live = self.view.current(PODS, pod)
        if live is None:
            self._ending.pop(uid_of(pod), None)
            return
        if not is_deleted(live) or not self._alive(live):
            self._ending.pop(uid_of(pod), None)
            return
        if sequence(at(live, "metadata", "finalizers")):
            metadata = {**live["metadata"], "deletionGracePeriodSeconds": 0}
            if live["metadata"].get("deletionGracePeriodSeconds") != 0:
                self.view.store.put(PODS, {**live, "metadata": metadata})
            return
        self._ending.pop(uid_of(pod), None)
        self.view.store.remove(PODS, live)

    def _alive(self, pod: Document) -> bool:
        node = self.view.store.find(NODES, "", text(at(pod, "spec", "nodeName")))
        return node is not None and condition(node, "Ready").get("status") == "True"


def _images(pod: Document) -> list[str]:
    return [text(mapping(one).get("image")) for one in sequence(at(pod, "spec", "containers"))]


def _names(pod: Document) -> list[str]:
    return [text(mapping(one).get("name")) for one in sequence(at(pod, "spec", "containers"))]


def _containers(pod: Document, state: Document, *, ready: bool) -> list[Document]:
    return [
        {
            "name": text(one.get("name")),
            "image": text(one.get("image")),
            "imageID": "",
            "restartCount": 0,
            "ready": ready,
            "started": ready,
            "state": state,
            "lastState": {},
        }
        for one in map(mapping, sequence(at(pod, "spec", "containers")))
    ]


def _seconds(pod: Document, annotation: str, default: float) -> float:
    try:
        return max(float(annotations_of(pod)[annotation]), 0.0)
    except (KeyError, ValueError, TypeError):
        return default


def _pre_stop_s(pod: Document) -> float:
    """The longest preStop sleep of its containers: ``sleep.seconds``, or an exec of ``sleep N``."""
    longest = 0.0
    for one in map(mapping, sequence(at(pod, "spec", "containers"))):
        hook = at(one, "lifecycle", "preStop")
        longest = max(longest, float(whole(at(hook, "sleep", "seconds"))))
        command = " ".join(map(str, sequence(at(hook, "exec", "command")))).split()
        for place, word in enumerate(command[:-1]):
            if word.endswith("sleep") and command[place + 1].isdigit():
                longest = max(longest, float(command[place + 1]))
    return longest
