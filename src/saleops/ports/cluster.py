"""A Kubernetes cluster: look at what runs, change how many there are, move pods off a node.

The port is synchronous. Scaling is a command that does one thing after the other; the spot handler makes a handful of calls per
notice and runs them in threads of its own, where each blocked call is bounded by its timeout. One adapter serves both, and
it may be used from several threads at once.

Every call answers within its timeout or raises ClusterError. Reads are retried a few times; a change is sent again only where a
second one does nothing more (absolute values, or pinned to a uid or a resource version).
"""

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from saleops.domain.cluster import (
    Change,
    CronHpa,
    DisruptionBudget,
    Document,
    Eviction,
    Hpa,
    Node,
    ObjectRef,
    Pod,
    Scale,
    Taint,
    Workload,
    WorkloadKind,
)

Watched = Literal["pods", "nodes", "deployments", "statefulsets"]


class Cluster(Protocol):
    @property
    def name(self) -> str:
        """Who answers, for people: "the cluster at https://10.0.0.1:6443 (context prod)"."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace that the kubeconfig's context names; "default" where it names none."""
        ...

    def version(self) -> str:
        """ "v1.32.4"; the shortest proof that the API answers us."""
        ...

    def can_i(
        self,
        verb: str,
        resource: str,
        *,
        group: str = "",
        subresource: str = "",
        namespace: str = "",
        name: str = "",
    ) -> bool:
        """Whether we may, as the API's authorizer says (SelfSubjectAccessReview). No ``namespace``: in all of them."""
        ...

    # -- workloads and autoscalers ---------------------------------------------------------------------------

    def workloads(self, namespace: str | None = None, *, labels: str = "") -> tuple[Workload, ...]:
        """Deployments, then StatefulSets, by namespace and name. ``labels`` is a label selector. None: all namespaces."""
        ...

    def find_workload(self, kind: WorkloadKind, namespace: str, name: str) -> Workload | None:
        """None where it is not there."""
        ...

    def scale_of(self, kind: WorkloadKind, namespace: str, name: str) -> Scale | None:
        """Its scale subresource, read by itself; None where the workload is not there."""
        ...

    def set_replicas(
        self,
        kind: WorkloadKind,
        namespace: str,
        name: str,
        replicas: int,
        *,
        expected: str | None = None,
        dry_run: bool = False,
    ) -> Scale:
        """Want ``replicas`` pods, through the scale subresource. ``expected`` is the resource version it must still have:
        ClusterError "conflict" otherwise, and nothing was changed. "missing" where there is no such workload."""
        ...

    def hpas(self, namespace: str | None = None) -> tuple[Hpa, ...]:
        """By namespace and name. None: all namespaces."""
        ...

    def find_hpa(self, namespace: str, name: str) -> Hpa | None:
        """None where it is not there."""
        ...

    def set_hpa_bounds(
        self,
        namespace: str,
        name: str,
        *,
        min_replicas: int | None = None,
        max_replicas: int | None = None,
        expected: str | None = None,
        dry_run: bool = False,
    ) -> Hpa:
        """Change what is given, leave the rest."""
        ...

    def set_hpa_scale_down(
        self,
        namespace: str,
        name: str,
        *,
        disabled: bool,
        expected: str | None = None,
        dry_run: bool = False,
    ) -> Hpa:
        """Freeze scaling down, or let it go again (``behavior.scaleDown.selectPolicy``)."""
        ...

    def cron_hpas(self, namespace: str | None = None) -> tuple[CronHpa, ...]:
        """None where the cluster does not know the kind: an empty tuple."""
        ...

    # -- nodes and pods --------------------------------------------------------------------------------------

    def nodes(self, *, labels: str = "") -> tuple[Node, ...]:
        """By name. ``labels`` is a label selector."""
        ...

    def find_node(self, name: str) -> Node | None:
        """None where it is not there."""
        ...

    def set_unschedulable(self, name: str, unschedulable: bool, *, dry_run: bool = False) -> Node:
        """Cordon or uncordon. "missing" where there is no such node."""
        ...

    def add_taint(self, name: str, taint: Taint, *, dry_run: bool = False) -> Node:
        """A taint of the same key and effect is replaced; the others stay."""
        ...

    def remove_taint(self, name: str, key: str, *, dry_run: bool = False) -> Node:
        """Every taint of ``key``, whatever its effect."""
        ...

    def pods(
        self, namespace: str | None = None, *, node: str = "", labels: str = ""
    ) -> tuple[Pod, ...]:
        """By namespace and name. ``node``: those bound to it."""
        ...

    def find_pod(self, namespace: str, name: str) -> Pod | None:
        """None where it is not there."""
        ...

    def disruption_budgets(self, namespace: str | None = None) -> tuple[DisruptionBudget, ...]:
        """By namespace and name. None: all namespaces."""
        ...

    def evict(self, pod: Pod, *, grace_s: int | None = None, dry_run: bool = False) -> Eviction:
        """Ask for ``pod`` (this very one, by its uid) to go, as its disruption budgets allow. Not retried on a budget's refusal:
        whoever asks knows the deadline. ``grace_s`` replaces the pod's own grace."""
        ...

    def delete_pod(self, pod: Pod, *, grace_s: int | None = None, dry_run: bool = False) -> bool:
        """End ``pod`` whatever budgets say. False where it was gone already."""
        ...

    # -- anything --------------------------------------------------------------------------------------------

    def label(
        self, ref: ObjectRef, labels: Mapping[str, str | None], *, dry_run: bool = False
    ) -> str:
        """Set labels, or remove those that are None. Returns the new resource version."""
        ...

    def annotate(
        self,
        ref: ObjectRef,
        annotations: Mapping[str, str | None],
        *,
        expected: str | None = None,
        dry_run: bool = False,
    ) -> str:
        """Set annotations, or remove those that are None, as field manager "saleops". Returns the new resource version."""
        ...

    def documents(
        self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = ""
    ) -> tuple[Document, ...]:
        """Every object of a kind as the API spells it; an empty tuple where the cluster does not know the kind."""
        ...

    def find_document(self, ref: ObjectRef) -> Document | None:
        """None where it is not there, or where the cluster does not know the kind."""
        ...

    def apply(self, document: Document, *, force: bool = False, dry_run: bool = False) -> Document:
        """Server-side apply as field manager "saleops". ClusterError "conflict", naming the fields and their owners, where
        somebody else owns a field we would change, unless ``force``."""
        ...

    def delete(self, ref: ObjectRef, *, dry_run: bool = False) -> bool:
        """False where it was gone already."""
        ...

    def record_event(
        self,
        about: ObjectRef,
        *,
        reason: str,
        message: str,
        action: str = "",
        warning: bool = False,
        component: str = "saleops",
    ) -> None:
        """An event that `kubectl describe` shows. ``reason`` is one CamelCase word."""
        ...

    def watch(
        self,
        what: Watched,
        *,
        namespace: str | None = None,
        node: str = "",
        labels: str = "",
        since: str | None = None,
        for_s: float = 60.0,
    ) -> Iterator[Change]:
        """What changes, for ``for_s`` seconds at most. Without ``since`` it starts with "restarted" and everything there is;
        with a resource version, with what came after it. Broken connections are taken up again where they broke; where the API
        has forgotten that place (410), "restarted" and everything there is follow."""
        ...
