"""May this pod run on this node? The scheduler's filters, and why not, in its own words."""

from typing import Any

from saleops.domain.cluster import Resources, Taint, Toleration
from saleops.domain.quantities import cpu_millis
from saleops.domain.quantities import whole as whole_quantity
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

_BY_NODE = "kubernetes.io/hostname"


def requests_of(pod: Document) -> Resources:
    """What the scheduler counts: containers together, or the largest init container, whichever is more."""
    spec = mapping(pod.get("spec"))
    together = Resources()
    for one in sequence(spec.get("containers")):
        together = together + _asked(one)
    for one in sequence(spec.get("initContainers")):
        first = _asked(one)
        together = Resources(
            max(together.cpu_millis, first.cpu_millis),
            max(together.memory_bytes, first.memory_bytes),
        )
    return Resources(together.cpu_millis, together.memory_bytes, 1)


def _asked(container: Any) -> Resources:
    asked = mapping(at(container, "resources", "requests"))
    return Resources(_amount(asked.get("cpu"), cpu=True), _amount(asked.get("memory"), cpu=False))


def _amount(value: Any, *, cpu: bool) -> int:
    try:
        return cpu_millis(value) if cpu else whole_quantity(value)
    except ValueError:
        return 0


def allocatable_of(node: Document) -> Resources:
    given = mapping(at(node, "status", "allocatable")) or mapping(at(node, "status", "capacity"))
    return Resources(
        _amount(given.get("cpu"), cpu=True),
        _amount(given.get("memory"), cpu=False),
        _amount(given.get("pods", "110"), cpu=False),
    )


def taints_of(node: Document) -> list[Taint]:
    return [
        Taint(text(one.get("key")), text(one.get("effect")), text(one.get("value")))  # type: ignore[arg-type]  # as sent
        for one in map(mapping, sequence(at(node, "spec", "taints")))
    ]


def tolerations_of(pod: Document) -> list[Toleration]:
    return [
        Toleration(
            text(one.get("key")),
            text(one.get("operator")) or "Equal",
            text(one.get("value")),
            text(one.get("effect")),
            one.get("tolerationSeconds") if isinstance(one.get("tolerationSeconds"), int) else None,
        )
        for one in map(mapping, sequence(at(pod, "spec", "tolerations")))
    ]


def untolerated(pod: Document, node: Document, *effects: str) -> Taint | None:
    tolerations = tolerations_of(pod)
    for taint in taints_of(node):
        if taint.effect in effects and not any(one.tolerates(taint) for one in tolerations):
            return taint
    return None


def selects_node(pod: Document, node: Document) -> bool:
    """Whether the node selector and the required node affinity let the pod there."""
    labels = labels_of(node)
    wanted = mapping(at(pod, "spec", "nodeSelector"))
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    required = at(
        pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required is None:
        return True
    terms = [mapping(one) for one in sequence(at(required, "nodeSelectorTerms"))]
    return any(
        all(
            [_meets(one, labels) for one in sequence(term.get("matchExpressions"))]
            + [
                _meets(one, {"metadata.name": name_of(node)})
                for one in sequence(term.get("matchFields"))
            ]
        )
        for term in terms
        if term
    )


def _meets(expression: Any, labels: dict[str, str]) -> bool:
    key, operator = text(at(expression, "key")), text(at(expression, "operator"))
    values = sequence(at(expression, "values"))
    held = labels.get(key)
    match operator:
        case "In":
            return held in values
        case "NotIn":
            return held not in values
        case "Exists":
            return held is not None
        case "DoesNotExist":
            return held is None
        case "Gt" | "Lt":
            try:
                left, right = int(held or ""), int(str(values[0]))
            except (ValueError, IndexError):
                return False
            return left > right if operator == "Gt" else left < right
        case _:
            return False


def why_not(pod: Document, node: Document, free: Resources) -> str:
    """Why ``pod`` cannot run on ``node``, in the scheduler's words; empty where it can."""
    if at(node, "spec", "unschedulable") is True and not any(
        one.tolerates(Taint("node.kubernetes.io/unschedulable", "NoSchedule"))
        for one in tolerations_of(pod)
    ):
        return "node(s) were unschedulable"
    if not selects_node(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    if taint := untolerated(pod, node, "NoSchedule", "NoExecute"):
        return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    asked = requests_of(pod)
    if asked.cpu_millis > free.cpu_millis:
        return "Insufficient cpu"
    if asked.memory_bytes > free.memory_bytes:
        return "Insufficient memory"
    if free.pods < 1:
        return "Too many pods"
    return ""


def spread_rules(pod: Document, *, hard: bool) -> list[Document]:
    """The topology spread constraints that must hold (``hard``), or should."""
    wanted = "DoNotSchedule" if hard else "ScheduleAnyway"
    return [
        one
        for one in map(mapping, sequence(at(pod, "spec", "topologySpreadConstraints")))
        if (text(one.get("whenUnsatisfiable")) or "DoNotSchedule") == wanted
    ]


def repelled_by(pod: Document) -> list[Document]:
    """The required anti-affinity terms."""
    return [
        mapping(one)
        for one in sequence(
            at(
                pod,
                "spec",
                "affinity",
                "podAntiAffinity",
                "requiredDuringSchedulingIgnoredDuringExecution",
            )
        )
    ]


def skew_of(rule: Document) -> int:
    return whole(rule.get("maxSkew"), 1)


def place_of(node: Document, key: str) -> str | None:
    """The node's domain of topology ``key``."""
    if key == _BY_NODE:
        return labels_of(node).get(key, name_of(node))
    return labels_of(node).get(key)
