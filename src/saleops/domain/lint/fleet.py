"""All documents of a lint run, and how they belong together: which Service selects which pods, which HPA scales what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument


@dataclass(frozen=True)
class SaleFacts:
    """What rules may know of the sale (from the sale file and the profile, where given)."""

    name: str
    opens: datetime
    closes: datetime
    zone: str = "Asia/Shanghai"  # of the CronHPA controller
    peak_rps: float = 0.0
    baseline_rps: float = 0.0
    pods: Mapping[str, int] = field(default_factory=dict)  # service -> pods at the peak
    rps_per_pod: Mapping[str, float] = field(default_factory=dict)
    connections_per_pod: Mapping[str, int] = field(default_factory=dict)
    connections_limit: int = 0
    nodes_max: int = 0
    now: datetime | None = None
    checkout_p99_ms: float = 0.0  # what the sale file promises buyers; 0: nothing


@dataclass(frozen=True, slots=True)
class Trouble:
    """What reading found wrong with a text: the id of the rule that says so, a document that is only a place, a sentence."""

    id: str
    document: LintDocument
    message: str
    path: KeyPath = ()


@dataclass(frozen=True)
class Fleet:
    """Documents in the order they were read. ``trials`` holds what running a Lua script showed (operations/lint)."""

    documents: tuple[LintDocument, ...]
    sale: SaleFacts | None = None
    trials: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # file -> LuaTrial...
    worked_out: dict[str, Any] = field(
        default_factory=dict, repr=False, compare=False
    )  # once for all rules
    troubles: tuple[Trouble, ...] = ()  # what reading the files found, for rules_source

    @cached_property
    def _by_kind(self) -> dict[str, list[LintDocument]]:
        found: dict[str, list[LintDocument]] = {}
        for document in self.documents:
            if document.kind:
                found.setdefault(document.kind, []).append(document)
        return found

    def of_kind(self, *kinds: str) -> Iterator[LintDocument]:
        for kind in kinds:
            yield from self._by_kind.get(kind, ())

    def of_format(self, *formats: str) -> Iterator[LintDocument]:
        return (one for one in self.documents if one.format in formats)

    def workloads(self) -> Iterator[LintDocument]:
        """Everything that makes long-running pods."""
        return self.of_kind("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CloneSet")

    def find(self, kind: str, name: str, namespace: str) -> LintDocument | None:
        for one in self._by_kind.get(kind, ()):
            if one.name == name and one.namespace == namespace:
                return one
        return None


def pod_template(workload: LintDocument) -> tuple[tuple[str | int, ...], dict[str, Any]]:
    """The path and the value of the pod template of a workload (or of a bare Pod)."""
    path: tuple[str | int, ...] = () if workload.kind == "Pod" else ("spec", "template")
    value = workload.at(*path)
    return path, value if isinstance(value, dict) else {}


def labels_of(value: Any) -> dict[str, str]:
    """``metadata.labels`` of an object or pod template, only its texts."""
    metadata = value.get("metadata") if isinstance(value, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return {str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {}


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions; {} selects everything, None nothing) matches ``labels``."""
    if not isinstance(selector, dict):
        return False
    wanted = selector.get("matchLabels")
    if isinstance(wanted, dict) and any(labels.get(str(k)) != str(v) for k, v in wanted.items()):
        return False
    expressions = selector.get("matchExpressions")
    for one in expressions if isinstance(expressions, list) else ():
        if not isinstance(one, dict):
            return False
        key, operator = str(one.get("key")), one.get("operator")
        listed = one.get("values")
        values = listed if isinstance(listed, list) else []
        has = key in labels
        inside = has and labels[key] in [str(v) for v in values]
        met = {"In": inside, "NotIn": not inside, "Exists": has, "DoesNotExist": not has}
        if not met.get(str(operator), False):
            return False
    return True
