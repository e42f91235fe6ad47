"""What the API server fills in and refuses: defaults as kubernetes.io documents them, and checks that callers run into.

This is no full validation: rendered manifests are checked against the published schemas by their own tests. Here is what decides
how a cluster behaves: replicas, strategies, grace, selectors that must fit, names, immutable fields.
"""

import re
from typing import Any

from saleops.services.kube_api.documents import (
    Document,
    at,
    labels_of,
    mapping,
    name_of,
    sequence,
    text,
    whole,
)
from saleops.services.kube_api.kinds import (
    BUDGETS,
    DAEMON_SETS,
    DEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    HPAS,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    Kind,
)
from saleops.services.kube_api.refusals import invalid
from saleops.services.kube_api.selectors import selector_in
from saleops.services.kube_api.store import Store

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LOOSE = {"rbac.authorization.k8s.io"}  # role names may hold colons
_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
WORKLOADS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS)


def admit(kind: Kind, new: Document, old: Document | None, *, now: str, store: Store) -> None:
    """Fill in what is missing."""
    new["apiVersion"], new["kind"] = kind.api_version(), kind.kind
    spec = new.get("spec")
    if kind in WORKLOADS and isinstance(spec, dict):
        _workload(kind, new, spec)
    elif kind is PODS and isinstance(spec, dict):
        _pod_spec(spec)
        _priority(spec, store)
        spec.setdefault("enableServiceLinks", True)
        _tolerate_lost_nodes(spec)
        if old is None:
            new["status"] = {
                **mapping(new.get("status")),
                "phase": "Pending",
                "qosClass": _qos(spec),
            }
    elif kind is NODES:
        new.setdefault("spec", {})
        new.setdefault("status", {})
        _node(new, now)
    elif kind is NAMESPACES:
        if old is None:
            new["spec"] = {"finalizers": ["kubernetes"]}
            new["status"] = {"phase": "Active"}
        labels = new["metadata"].setdefault("labels", {})
        if isinstance(labels, dict):
            labels["kubernetes.io/metadata.name"] = name_of(new)
    elif kind is SERVICES and isinstance(spec, dict):
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in map(mapping, sequence(spec.get("ports"))):
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
        new.setdefault("status", {"loadBalancer": {}})
    elif kind is HPAS and isinstance(spec, dict):
        spec.setdefault("minReplicas", 1)
        new.setdefault("status", {"currentReplicas": 0, "desiredReplicas": 0})
    elif kind is BUDGETS:
        new.setdefault("spec", {})
        new.setdefault(
            "status",
            {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
        )
    elif kind is PRIORITY_CLASSES:
        new.setdefault("preemptionPolicy", "PreemptLowerPriority")
    elif kind is EVENTS:
        new.setdefault("type", "Normal")


def _workload(kind: Kind, new: Document, spec: Document) -> None:
    if kind is not DAEMON_SETS:
        spec.setdefault("replicas", 1)
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        _pod_spec(template["spec"])
    if kind is DEPLOYMENTS:
        strategy = spec.setdefault("strategy", {})
        if (
            isinstance(strategy, dict)
            and strategy.setdefault("type", "RollingUpdate") == "RollingUpdate"
        ):
            rolling = strategy.setdefault("rollingUpdate", {})
            if isinstance(rolling, dict):
                rolling.setdefault("maxUnavailable", "25%")
                rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
    elif kind is STATEFUL_SETS:
        spec.setdefault("podManagementPolicy", "OrderedReady")
        spec.setdefault(
            "updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        )
        spec.setdefault("revisionHistoryLimit", 10)
    elif kind is DAEMON_SETS:
        spec.setdefault(
            "updateStrategy",
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        )
    new.setdefault("status", {} if kind is DEPLOYMENTS else {"replicas": 0})


def _pod_spec(spec: Document) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for container in map(mapping, _containers(spec)):
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        image = text(container.get("image"))
        if "imagePullPolicy" not in container:
            tag = image.rpartition("/")[2]
            latest = "@" not in tag and (":" not in tag or tag.endswith(":latest"))
            container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"
        for port in map(mapping, sequence(container.get("ports"))):
            port.setdefault("protocol", "TCP")
        resources = container["resources"]
        limits = mapping(at(resources, "limits")) if isinstance(resources, dict) else {}
        if limits and isinstance(resources, dict):
            requests = resources.setdefault("requests", {})
            if isinstance(requests, dict):
                for name, amount in limits.items():
                    requests.setdefault(name, amount)
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if isinstance(container.get(probe), dict):
                _probe(container[probe])


def _probe(probe: Document) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(name, value)
    if isinstance(probe.get("httpGet"), dict):
        probe["httpGet"].setdefault("scheme", "HTTP")


def _containers(spec: Document) -> list[Any]:
    return sequence(spec.get("initContainers")) + sequence(spec.get("containers"))


def _priority(spec: Document, store: Store) -> None:
    if "priority" in spec:
        return
    name = text(spec.get("priorityClassName"))
    value = _PRIORITIES.get(name, 0)
    for one in store.each(PRIORITY_CLASSES):
        if name_of(one) == name or (not name and one.get("globalDefault") is True):
            value = whole(one.get("value"))
            spec.setdefault("preemptionPolicy", one.get("preemptionPolicy"))
    spec["priority"] = value


def _tolerate_lost_nodes(spec: Document) -> None:
    """As the DefaultTolerationSeconds admission does: five minutes on a node that is not ready or not reachable."""
    tolerations = spec.setdefault("tolerations", [])
    if not isinstance(tolerations, list):
        return
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            isinstance(one, dict)
            and one.get("key", "") in ("", key)
            and one.get("effect", "") in ("", "NoExecute")
            for one in tolerations
        ):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            )


def _qos(spec: Document) -> str:
    resources = [mapping(one).get("resources") for one in _containers(spec)]
    if not any(mapping(one).get("requests") or mapping(one).get("limits") for one in resources):
        return "BestEffort"
    for one in map(mapping, resources):
        requests, limits = mapping(one.get("requests")), mapping(one.get("limits"))
        if any(
            limits.get(name) != requests.get(name) or name not in limits
            for name in ("cpu", "memory")
        ):
            return "Burstable"
    return "Guaranteed"


_CORDONED = "node.kubernetes.io/unschedulable"


def _node(new: Document, now: str) -> None:
    """A cordoned node carries the taint that says so, as the node lifecycle controller sees to."""
    spec = new["spec"]
    if not isinstance(spec, dict):
        return
    taints = [one for one in sequence(spec.get("taints")) if mapping(one).get("key") != _CORDONED]
    if spec.get("unschedulable") is True:
        timed = [
            one for one in sequence(spec.get("taints")) if mapping(one).get("key") == _CORDONED
        ]
        taints += timed[:1] or [{"key": _CORDONED, "effect": "NoSchedule", "timeAdded": now}]
    else:
        spec.pop("unschedulable", None)
    if taints:
        spec["taints"] = taints
    else:
        spec.pop("taints", None)


def complain(kind: Kind, new: Document, old: Document | None) -> None:
    """Raises KubeError 422 that names every wrong field."""
    problems: list[tuple[str, str]] = []
    name = name_of(new)
    if not name:
        problems.append(("metadata.name", "Required value: name or generateName is required"))
    elif kind.group not in _LOOSE and (len(name) > 253 or not _NAME.fullmatch(name)):
        problems.append(
            (
                "metadata.name",
                f'Invalid value: "{name[:60]}": a lowercase RFC 1123 subdomain must consist of lower case '
                "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            )
        )
    for field in ("labels", "annotations"):
        values = at(new, "metadata", field)
        if values is not None and not (
            isinstance(values, dict) and all(isinstance(one, str) for one in values.values())
        ):
            problems.append((f"metadata.{field}", "Invalid value: must be strings"))
    spec = mapping(new.get("spec"))
    if kind in WORKLOADS:
        problems += _workload_problems(kind, new, old, spec)
    elif kind is PODS:
        problems += _pod_problems(spec, old)
    elif kind is HPAS:
        problems += _hpa_problems(spec)
    elif kind is BUDGETS and "minAvailable" in spec and "maxUnavailable" in spec:
        problems.append(
            ("spec", "Invalid value: minAvailable and maxUnavailable cannot be both set")
        )
    elif (
        kind is DEFINITIONS
        and name != f"{text(at(spec, 'names', 'plural'))}.{text(spec.get('group'))}"
    ):
        problems.append(
            (
                "metadata.name",
                f'Invalid value: "{name[:60]}": must be spec.names.plural+"."+spec.group',
            )
        )
    if problems:
        raise invalid(kind.kind, kind.group, name, problems)


def _workload_problems(
    kind: Kind, new: Document, old: Document | None, spec: Document
) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    replicas = spec.get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        problems.append(
            (
                "spec.replicas",
                f"Invalid value: {str(replicas)[:40]}: must be greater than or equal to 0",
            )
        )
    selector = spec.get("selector")
    if not isinstance(selector, dict) or not (
        selector.get("matchLabels") or selector.get("matchExpressions")
    ):
        problems.append(("spec.selector", "Required value"))
    elif not selector_in(selector).matches(labels_of(mapping(spec.get("template")))):
        problems.append(
            (
                "spec.template.metadata.labels",
                "Invalid value: `selector` does not match template `labels`",
            )
        )
    if not sequence(at(spec, "template", "spec", "containers")):
        problems.append(("spec.template.spec.containers", "Required value"))
    if old is not None and kind is not REPLICA_SETS and at(old, "spec", "selector") != selector:
        problems.append(("spec.selector", "Invalid value: field is immutable"))
    return problems


def _pod_problems(spec: Document, old: Document | None) -> list[tuple[str, str]]:
    if not sequence(spec.get("containers")):
        return [("spec.containers", "Required value")]
    if old is None:
        return []
    before = mapping(old.get("spec"))
    changing = (
        "containers",
        "initContainers",
        "tolerations",
        "activeDeadlineSeconds",
        "terminationGracePeriodSeconds",
    )
    fixed = {name for name in set(before) | set(spec) if before.get(name) != spec.get(name)}
    if "nodeName" in fixed and not before.get("nodeName"):
        fixed.discard("nodeName")  # a binding
    if fixed - set(changing):
        return [
            (
                "spec",
                "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
                "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
                f"(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
                f"({sorted(fixed - set(changing))[0]})",
            )
        ]
    return []


def _hpa_problems(spec: Document) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas")
    if not isinstance(high, int) or isinstance(high, bool) or high < 1:
        problems.append(
            ("spec.maxReplicas", f"Invalid value: {str(high)[:40]}: must be greater than 0")
        )
    if not isinstance(low, int) or isinstance(low, bool) or low < 1:
        problems.append(
            (
                "spec.minReplicas",
                f"Invalid value: {str(low)[:40]}: must be greater than or equal to 1",
            )
        )
    if not problems and whole(low) > whole(high):
        problems.append(
            (
                "spec.maxReplicas",
                f"Invalid value: {high}: must be greater than or equal to `minReplicas`",
            )
        )
    if not text(at(spec, "scaleTargetRef", "name")):
        problems.append(("spec.scaleTargetRef.name", "Required value"))
    return problems
