"""HorizontalPodAutoscalers, every ``hpa_sync_s``: keep within min and max always, follow the CPU where somebody says what it is.

    desired = ceil(current pods x utilization / target), unless within 10 % of the target
    up: at most twice as many or four more a sync; down: the highest wish of the last five minutes, never while
    ``behavior.scaleDown.selectPolicy`` is Disabled

The load is told by a rehearsal (``tell_load``): the CPU that all pods of a workload together need, in thousandths of a core.
"""

from collections import deque
from fractions import Fraction
from functools import partial
from math import ceil

from saleops.services.kube_api.controllers.cluster_view import (
    MANAGER,
    ClusterView,
    Controller,
    with_condition,
)
from saleops.services.kube_api.controllers.placement import requests_of
from saleops.services.kube_api.controllers.replicas import is_active
from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    is_deleted,
    labels_of,
    name_of,
    namespace_of,
    sequence,
    text,
    uid_of,
    whole,
)
from saleops.services.kube_api.eviction import is_ready
from saleops.services.kube_api.kinds import (
    DEPLOYMENTS,
    HPAS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Kind,
)
from saleops.services.kube_api.selectors import selector_in
from saleops.services.kube_api.versions import cpu_target

TOLERANCE = Fraction(1, 10)
_TARGETS = {one.kind: one for one in (DEPLOYMENTS, STATEFUL_SETS, REPLICA_SETS)}


class Autoscaler(Controller):
    looks_at = frozenset({HPAS.key})

    def __init__(self, view: ClusterView) -> None:
        super().__init__(view)
        self._ticking: set[str] = set()
        self._wishes: dict[str, deque[tuple[int, int]]] = {}
        self._loads: dict[
            tuple[str, str], int
        ] = {}  # (namespace, workload) -> thousandths of a core

    def forget(self) -> None:
        self._ticking.clear()
        self._wishes.clear()
        self._loads.clear()

    def tell_load(self, namespace: str, workload: str, cpu_millis: int | None) -> None:
        """From now on the pods of ``workload`` together need ``cpu_millis``; None: nobody knows."""
        if cpu_millis is None:
            self._loads.pop((namespace, workload), None)
        else:
            self._loads[namespace, workload] = cpu_millis

    def reconcile(self) -> None:
        """Each autoscaler is looked at every ``hpa_sync_s`` from its creation on, whatever changes."""
        for one in self.view.each(HPAS):
            uid = uid_of(one)
            if uid not in self._ticking and not is_deleted(one):
                self._ticking.add(uid)
                self.view.timeline.after(self.view.settings.hpa_sync_s, partial(self._tick, one))

    def _tick(self, one: Document) -> None:
        live = self.view.current(HPAS, one)
        if live is None or is_deleted(live):
            self._ticking.discard(uid_of(one))
            self._wishes.pop(uid_of(one), None)
            return
        self._sync(live)
        self.view.timeline.after(self.view.settings.hpa_sync_s, lambda: self._tick(one))

    def _sync(self, hpa: Document) -> None:
        kind = _TARGETS.get(text(at(hpa, "spec", "scaleTargetRef", "kind")))
        name = text(at(hpa, "spec", "scaleTargetRef", "name"))
        target = self.view.store.find(kind, namespace_of(hpa), name) if kind is not None else None
        if kind is None or target is None:
            self._report(hpa, None, 0, 0, "FailedGetScale", f'the target "{name}" was not found')
            return
        current = whole(at(target, "spec", "replicas"))
        if current == 0:
            self._report(
                hpa, False, 0, 0, "ScalingDisabled", "the replica count of the target is zero"
            )
            return
        low, high = whole(at(hpa, "spec", "minReplicas"), 1), whole(at(hpa, "spec", "maxReplicas"))
        utilization = None
        if current > high:
            desired = high
        elif current < low:
            desired = low
        else:
            wish, utilization = self._wish(hpa, target, current)
            desired = max(low, min(high, self._calmed(hpa, current, wish)))
        if desired != current:
            self._scale(kind, hpa, target, current, desired)
        self._report(hpa, True, current, desired, "ValidMetricFound", "", utilization)

    def _wish(self, hpa: Document, target: Document, current: int) -> tuple[int, int | None]:
        goal = cpu_target(hpa)
        load = self._loads.get((namespace_of(target), name_of(target)))
        if load is None or not goal:
            return current, None
        selector = selector_in(at(target, "spec", "selector"))
        pods = [
            pod
            for pod in self.view.each(PODS, namespace_of(target))
            if selector.matches(labels_of(pod)) and is_active(pod) and is_ready(pod)
        ]
        asked = sum(requests_of(pod).cpu_millis for pod in pods)
        if not pods or not asked:
            return current, None
        ratio = Fraction(load, asked) / Fraction(goal, 100)
        utilization = round(100 * load / asked)
        if abs(ratio - 1) <= TOLERANCE:
            return current, utilization
        return ceil(ratio * len(pods)), utilization

    def _calmed(self, hpa: Document, current: int, wish: int) -> int:
        """``wish`` within the limits on how fast to go up, and how long to wait before going down."""
        now_ms = self.view.timeline.now_ms
        wishes = self._wishes.setdefault(uid_of(hpa), deque())
        wishes.append((now_ms, wish))
        window = at(hpa, "spec", "behavior", "scaleDown", "stabilizationWindowSeconds")
        window_s = whole(window, round(self.view.settings.hpa_down_window_s))
        while wishes[0][0] < now_ms - window_s * 1000:
            wishes.popleft()
        if wish > current:
            return min(wish, max(2 * current, current + 4))
        if wish < current:
            if at(hpa, "spec", "behavior", "scaleDown", "selectPolicy") == "Disabled":
                return current
            return min(max(one for _, one in wishes), current)
        return current

    def _scale(
        self, kind: Kind, hpa: Document, target: Document, current: int, desired: int
    ) -> None:
        new = copied(target)
        new["spec"]["replicas"] = desired
        self.view.objects.update(kind, target, new, MANAGER, subresource="scale")
        low = desired > current
        self.view.say(
            HPAS,
            hpa,
            "SuccessfulRescale",
            f"New size: {desired}; reason: "
            + ("cpu resource utilization (percentage of request) above target" if low else "All metrics below target"),
            warning=False,
            source="horizontal-pod-autoscaler",
        )  # fmt: skip

    def _report(
        self,
        hpa: Document,
        active: bool | None,
        current: int,
        desired: int,
        reason: str,
        message: str,
        utilization: int | None = None,
    ) -> None:
        now = self.view.now
        conditions = sequence(at(hpa, "status", "conditions"))
        able = "False" if active is None else "True"
        conditions = with_condition(
            conditions,
            "AbleToScale",
            able,
            reason if active is None else "ReadyForNewScale",
            message,
            now,
        )
        if active is not None:
            conditions = with_condition(
                conditions, "ScalingActive", "True" if active else "False", reason, message, now
            )
        status: Document = {
            "currentReplicas": current,
            "desiredReplicas": desired,
            "conditions": conditions,
            "currentMetrics": None,
        }
        if utilization is not None:
            used = {"averageUtilization": utilization, "averageValue": "0"}
            metric = {"name": "cpu", "current": used}
            status["currentMetrics"] = [{"type": "Resource", "resource": metric}]
        if desired != current:
            status["lastScaleTime"] = now
        elif last := at(hpa, "status", "lastScaleTime"):
            status["lastScaleTime"] = last
        self.view.put_status(HPAS, hpa, status)
