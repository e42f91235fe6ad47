"""What keeps a cluster alive: each controller looks at what there is and at what is wanted, and does the next step towards it.

A write marks its kind as changed; ``settle`` runs the controllers that look at changed kinds until nothing changes any more. What
takes time (a container that starts, a grace that runs out) is an act on the timeline, after which everything settles again.
"""

import logging

from saleops.services.kube_api.controllers.autoscaler import Autoscaler
from saleops.services.kube_api.controllers.budgets import Budgets, Endpoints
from saleops.services.kube_api.controllers.cluster_view import ClusterView
from saleops.services.kube_api.controllers.daemons import DaemonSets
from saleops.services.kube_api.controllers.deployments import Deployments
from saleops.services.kube_api.controllers.garbage import Garbage, Namespaces
from saleops.services.kube_api.controllers.kubelet import Kubelet
from saleops.services.kube_api.controllers.nodes import Nodes
from saleops.services.kube_api.controllers.replicas import ReplicaSets
from saleops.services.kube_api.controllers.scheduler import Scheduler
from saleops.services.kube_api.controllers.stateful import StatefulSets
from saleops.services.kube_api.store import Event

log = logging.getLogger("saleops.services.kube_api")

ROUNDS_MAX = 500


class Controllers:
    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._timeline = view.timeline
        self.autoscaler = Autoscaler(view)
        self.kubelet = Kubelet(view)
        self._all = (
            Nodes(view),
            Garbage(view),
            Namespaces(view),
            self.autoscaler,
            Deployments(view),
            ReplicaSets(view),
            StatefulSets(view),
            DaemonSets(view),
            Scheduler(view),
            self.kubelet,
            Budgets(view),
            Endpoints(view),
        )
        self._changed: set[str] = set()
        self._settling = False
        view.store.listeners.append(self._hear)

    def _hear(self, event: Event) -> None:
        self._changed.add(event.kind.key)

    def settle(self) -> None:
        """Everything that can happen now, happens."""
        if self._settling:
            return
        self._settling = True
        try:
            for _ in range(ROUNDS_MAX):
                changed, self._changed = self._changed, set()
                if not changed:
                    return
                for controller in self._all:
                    if controller.looks_at & (changed | self._changed):
                        controller.reconcile()
            log.error("the controllers do not come to rest: %s", sorted(self._changed))
        finally:
            self._settling = False

    def run_until(self, ms: int) -> None:
        """Everything that is due by ``ms``, each at its own time."""
        self.settle()
        while self._timeline.run_next(ms):
            self.settle()
        self._timeline.now_ms = max(self._timeline.now_ms, ms)

    def forget(self) -> None:
        self._timeline.forget()
        self._changed.clear()
        for controller in self._all:
            controller.forget()
