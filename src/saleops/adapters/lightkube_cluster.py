"""The ``Cluster`` port over lightkube: what each of its questions and changes is in calls of the Kubernetes API."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from saleops.adapters.kube_documents import (
    read_budget,
    read_cron_hpa,
    read_hpa,
    read_node,
    read_pod,
    read_scale,
    read_taint,
    read_workload,
    ref_of,
    version_of,
)
from saleops.adapters.lightkube_client import APPLY, MERGE, KubeClient
from saleops.adapters.lightkube_paths import (
    BUDGETS,
    CRON_HPAS,
    DEPLOYMENTS,
    EVENTS,
    HPAS,
    NODES,
    PODS,
    STATEFUL_SETS,
    Paths,
    Place,
)
from saleops.adapters.lightkube_watch import watched
from saleops.domain.cluster import (
    FIELD_MANAGER,
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
from saleops.errors import ClusterError
from saleops.ports.cluster import Watched

PAGE = 500
CONFLICTS_MAX = 5
_WORKLOADS: dict[str, Place] = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFUL_SETS}
_T = TypeVar("_T")


class LightkubeCluster:
    """May be used from several threads at once."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._paths = Paths(client)

    @property
    def name(self) -> str:
        return self._client.name

    @property
    def namespace(self) -> str:
        return self._client.namespace

    def close(self) -> None:
        self._client.close()

    def version(self) -> str:
        return str(self._client.read("asking for the version", "/version").get("gitVersion", ""))

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
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "namespace": namespace,
            "name": name,
        }
        answer = self._client.call(
            f"asking whether we may {verb} {resource}",
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {key: one for key, one in attributes.items() if one}
                },
            },
            again=True,
        )
        status = answer.get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    # -- workloads and autoscalers ---------------------------------------------------------------------------

    def workloads(self, namespace: str | None = None, *, labels: str = "") -> tuple[Workload, ...]:
        return tuple(
            workload
            for place in (DEPLOYMENTS, STATEFUL_SETS)
            for workload in self._each(place, read_workload, namespace, labels=labels)
        )

    def find_workload(self, kind: WorkloadKind, namespace: str, name: str) -> Workload | None:
        found = self._find(_WORKLOADS[kind], namespace, name)
        return read_workload({"kind": kind, **found}) if found is not None else None

    def scale_of(self, kind: WorkloadKind, namespace: str, name: str) -> Scale | None:
        place = _WORKLOADS[kind]
        doing = f"reading the scale of {kind} {namespace}/{name}"
        found = self._or_none(
            lambda: self._client.read(doing, place.path(namespace, name, "scale"))
        )
        return read_scale(found) if found is not None else None

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
        if replicas < 0:
            raise ValueError(f"{replicas} replicas")
        answer = self._merge(
            f"scaling {kind} {namespace}/{name} to {replicas}",
            _WORKLOADS[kind].path(namespace, name, "scale"),
            {"spec": {"replicas": replicas}},
            expected=expected,
            dry_run=dry_run,
            is_done=lambda scale: read_scale(scale).wanted == replicas,
        )
        return read_scale(answer)

    def hpas(self, namespace: str | None = None) -> tuple[Hpa, ...]:
        return self._each(HPAS, read_hpa, namespace)

    def find_hpa(self, namespace: str, name: str) -> Hpa | None:
        found = self._find(HPAS, namespace, name)
        return read_hpa(found) if found is not None else None

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
        wanted = {"minReplicas": min_replicas, "maxReplicas": max_replicas}
        spec = {key: one for key, one in wanted.items() if one is not None}
        if not spec:
            raise ValueError("nothing to change")
        text = ", ".join(f"{key} {one}" for key, one in spec.items())
        answer = self._merge(
            f"setting {text} of HorizontalPodAutoscaler {namespace}/{name}",
            HPAS.path(namespace, name),
            {"spec": spec},
            expected=expected,
            dry_run=dry_run,
            is_done=lambda hpa: _holds(hpa.get("spec"), spec),
        )
        return read_hpa(answer)

    def set_hpa_scale_down(
        self,
        namespace: str,
        name: str,
        *,
        disabled: bool,
        expected: str | None = None,
        dry_run: bool = False,
    ) -> Hpa:
        policy = "Disabled" if disabled else None
        answer = self._merge(
            f"{'freezing' if disabled else 'freeing'} the scale-down of HorizontalPodAutoscaler {namespace}/{name}",
            HPAS.path(namespace, name),
            {"spec": {"behavior": {"scaleDown": {"selectPolicy": policy}}}},
            expected=expected,
            dry_run=dry_run,
            is_done=lambda hpa: read_hpa(hpa).scale_down_disabled == disabled,
        )
        return read_hpa(answer)

    def cron_hpas(self, namespace: str | None = None) -> tuple[CronHpa, ...]:
        return self._or_none(lambda: self._each(CRON_HPAS, read_cron_hpa, namespace)) or ()

    # -- nodes -----------------------------------------------------------------------------------------------

    def nodes(self, *, labels: str = "") -> tuple[Node, ...]:
        return self._each(NODES, read_node, labels=labels)

    def find_node(self, name: str) -> Node | None:
        found = self._find(NODES, "", name)
        return read_node(found) if found is not None else None

    def set_unschedulable(self, name: str, unschedulable: bool, *, dry_run: bool = False) -> Node:
        answer = self._merge(
            f"{'cordoning' if unschedulable else 'uncordoning'} Node {name}",
            NODES.path("", name),
            {"spec": {"unschedulable": True if unschedulable else None}},
            dry_run=dry_run,
        )
        return read_node(answer)

    def add_taint(self, name: str, taint: Taint, *, dry_run: bool = False) -> Node:
        entry: dict[str, str] = {"key": taint.key, "effect": taint.effect}
        if taint.value:
            entry["value"] = taint.value

        def with_it(taints: list[Any]) -> list[Any]:
            if any(read_taint(one) == taint for one in taints):
                return taints
            return [
                one
                for one in taints
                if (one.get("key"), one.get("effect")) != (taint.key, taint.effect)
            ] + [entry]

        return self._retaint(f"adding the taint {taint} to Node {name}", name, with_it, dry_run)

    def remove_taint(self, name: str, key: str, *, dry_run: bool = False) -> Node:
        return self._retaint(
            f"removing the taint {key} from Node {name}",
            name,
            lambda taints: [one for one in taints if one.get("key") != key],
            dry_run,
        )

    def _retaint(
        self, doing: str, name: str, change: Callable[[list[Any]], list[Any]], dry_run: bool
    ) -> Node:
        """Taints are one list that is replaced whole: look, change, and again where somebody else was faster."""
        for attempt in range(CONFLICTS_MAX):
            node = self._client.read(doing, NODES.path("", name))
            taints = [
                one for one in (node.get("spec") or {}).get("taints") or [] if isinstance(one, dict)
            ]
            wanted = change(taints)
            if wanted == taints:
                break
            try:
                node = self._merge(
                    doing,
                    NODES.path("", name),
                    {"spec": {"taints": wanted or None}},
                    expected=version_of(node),
                    dry_run=dry_run,
                )
                break
            except ClusterError as error:
                if error.kind != "conflict" or attempt == CONFLICTS_MAX - 1:
                    raise
        return read_node(node)

    # -- pods ------------------------------------------------------------------------------------------------

    def pods(
        self, namespace: str | None = None, *, node: str = "", labels: str = ""
    ) -> tuple[Pod, ...]:
        fields = f"spec.nodeName={node}" if node else ""
        return self._each(PODS, read_pod, namespace, labels=labels, fields=fields)

    def find_pod(self, namespace: str, name: str) -> Pod | None:
        found = self._find(PODS, namespace, name)
        return read_pod(found) if found is not None else None

    def disruption_budgets(self, namespace: str | None = None) -> tuple[DisruptionBudget, ...]:
        return self._each(BUDGETS, read_budget, namespace)

    def evict(self, pod: Pod, *, grace_s: int | None = None, dry_run: bool = False) -> Eviction:
        options: dict[str, Any] = {"preconditions": {"uid": pod.uid}} if pod.uid else {}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if dry_run:
            options["dryRun"] = ["All"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": options,
        }
        try:
            self._client.call(
                f"evicting {pod.ref}",
                "POST",
                PODS.path(pod.namespace, pod.name, "eviction"),
                params={"dryRun": "All" if dry_run else None},
                body=body,
                again=bool(pod.uid),  # pinned to this pod: a second eviction of it does nothing
                retry=lambda error: not (_by_budget(error) or _two_budgets(error)),
            )
        except ClusterError as error:
            if error.kind == "missing" or (error.kind == "conflict" and "UID" in error.message):
                return Eviction("gone", error.message)
            if _by_budget(error):
                return Eviction("refused", error.message, error.retry_after_s)
            if _two_budgets(error):
                return Eviction("misconfigured", error.message)
            raise
        return Eviction("accepted")

    def delete_pod(self, pod: Pod, *, grace_s: int | None = None, dry_run: bool = False) -> bool:
        return self._delete(
            f"deleting {pod.ref}", PODS.path(pod.namespace, pod.name), pod.uid, grace_s, dry_run
        )

    # -- anything --------------------------------------------------------------------------------------------

    def label(
        self, ref: ObjectRef, labels: Mapping[str, str | None], *, dry_run: bool = False
    ) -> str:
        return self._set_meta(ref, "labels", labels, None, dry_run)

    def annotate(
        self,
        ref: ObjectRef,
        annotations: Mapping[str, str | None],
        *,
        expected: str | None = None,
        dry_run: bool = False,
    ) -> str:
        return self._set_meta(ref, "annotations", annotations, expected, dry_run)

    def _set_meta(
        self,
        ref: ObjectRef,
        field: str,
        values: Mapping[str, str | None],
        expected: str | None,
        dry_run: bool,
    ) -> str:
        answer = self._merge(
            f"setting {field} of {ref}",
            self._paths.place_of(ref.api_version, ref.kind).path(ref.namespace, ref.name),
            {"metadata": {field: dict(values)}},
            expected=expected,
            dry_run=dry_run,
            is_done=lambda document: _holds((document.get("metadata") or {}).get(field), values),
        )
        return version_of(answer)

    def documents(
        self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = ""
    ) -> tuple[Document, ...]:
        place = self._paths.find(api_version, kind)
        if place is None:
            return ()
        return (
            self._or_none(lambda: self._each(place, lambda one: one, namespace, labels=labels))
            or ()
        )

    def find_document(self, ref: ObjectRef) -> Document | None:
        place = self._paths.find(ref.api_version, ref.kind)
        return self._find(place, ref.namespace, ref.name) if place is not None else None

    def apply(self, document: Document, *, force: bool = False, dry_run: bool = False) -> Document:
        ref = ref_of(document)
        place = self._paths.place_of(ref.api_version, ref.kind)
        applied: Document = self._client.call(
            f"applying {ref}",
            "PATCH",
            place.path(ref.namespace or (self.namespace if place.namespaced else ""), ref.name),
            params={
                "fieldManager": FIELD_MANAGER,
                "force": "true" if force else "false",
                "dryRun": "All" if dry_run else None,
            },
            body=document,
            content_type=APPLY,
            again=True,
        )
        return applied

    def delete(self, ref: ObjectRef, *, dry_run: bool = False) -> bool:
        place = self._paths.place_of(ref.api_version, ref.kind)
        return self._delete(
            f"deleting {ref}", place.path(ref.namespace, ref.name), ref.uid, None, dry_run
        )

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
        namespace = about.namespace or "default"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._client.call(
            f"recording an event about {about}",
            "POST",
            EVENTS.path(namespace),
            body={
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{about.name[:40]}.", "namespace": namespace},
                "involvedObject": {
                    "apiVersion": about.api_version,
                    "kind": about.kind,
                    "namespace": about.namespace,
                    "name": about.name,
                    "uid": about.uid,
                },
                "type": "Warning" if warning else "Normal",
                "reason": reason,
                "message": message[:1024],
                "action": action,
                "source": {"component": component},
                "reportingComponent": component,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
        )

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
        fields = f"spec.nodeName={node}" if node else ""
        return watched(
            self._client,
            what,
            namespace=namespace,
            labels=labels,
            fields=fields,
            since=since,
            for_s=for_s,
        )

    # -- how -------------------------------------------------------------------------------------------------

    def _find(self, place: Place, namespace: str, name: str) -> Any:
        doing = f"reading {place.kind} {namespace + '/' if namespace else ''}{name}"
        return self._or_none(lambda: self._client.read(doing, place.path(namespace, name)))

    def _or_none(self, ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except ClusterError as error:
            if error.kind == "missing":
                return None
            raise

    def _each(
        self,
        place: Place,
        read: Callable[[Mapping[str, Any]], _T],
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[_T, ...]:
        return tuple(map(read, place.listed(self._client, namespace, labels, fields)[0]))

    def _merge(
        self,
        doing: str,
        path: str,
        patch: dict[str, Any],
        *,
        expected: str | None = None,
        dry_run: bool = False,
        is_done: Callable[[Mapping[str, Any]], bool] = lambda document: False,
    ) -> Any:
        """A merge patch of absolute values. A conflict right after an unknown outcome may be our own doing: ``is_done`` looks."""
        if expected is not None:
            metadata = {**patch.get("metadata", {}), "resourceVersion": expected}
            patch = {**patch, "metadata": metadata}
        doubtful: list[ClusterError] = []

        def noted(error: ClusterError) -> bool:
            doubtful.append(error)
            return True

        try:
            return self._client.call(
                doing,
                "PATCH",
                path,
                params={"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else None},
                body=patch,
                content_type=MERGE,
                again=True,
                retry=noted,
            )
        except ClusterError as error:
            if error.kind != "conflict" or not any(one.kind == "unknown" for one in doubtful):
                raise
            found = self._client.read(doing, path)
            if not is_done(found):
                raise
            return found

    def _delete(self, doing: str, path: str, uid: str, grace_s: int | None, dry_run: bool) -> bool:
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if dry_run:
            options["dryRun"] = ["All"]
        try:
            self._client.call(
                doing,
                "DELETE",
                path,
                params={"dryRun": "All" if dry_run else None},
                body=options,
                again=bool(uid),
            )
        except ClusterError as error:
            if error.kind == "missing" or (
                error.kind == "conflict" and uid and "UID" in error.message
            ):
                return False
            raise
        return True


def _by_budget(error: ClusterError) -> bool:
    """429 comes from a disruption budget or from a busy API server; only the first speaks of a budget."""
    return error.status == 429 and "disruption budget" in error.message


def _two_budgets(error: ClusterError) -> bool:
    return error.status == 500 and "more than one PodDisruptionBudget" in error.message


def _holds(found: Any, wanted: Mapping[str, Any]) -> bool:
    held = found if isinstance(found, dict) else {}
    return all(held.get(key) == value for key, value in wanted.items())
