"""ChaosBlade experiments (chaosblade.io/v1alpha1): what they say, and which pods of a fleet they reach."""

from collections.abc import Iterator
from dataclasses import dataclass

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, scalar, share_of, tables, text, whole


@dataclass(frozen=True, eq=False)
class Experiment:
    """One entry of ``spec.experiments``. ``matchers`` by name, each with its path and its values as texts."""

    document: LintDocument
    path: KeyPath
    scope: str
    target: str
    action: str
    matchers: dict[str, tuple[KeyPath, list[str]]]

    def values(self, name: str) -> list[str]:
        return self.matchers.get(name, ((), []))[1]

    def at(self, name: str) -> KeyPath:
        return self.matchers.get(name, (self.path, []))[0]

    @property
    def what(self) -> str:
        return f"{self.document.name or 'The experiment'} ({self.scope or '?'} {self.target or '?'}/{self.action or '?'})"

    @property
    def on_pods(self) -> bool:
        return self.scope in ("pod", "container")

    @property
    def limit(self) -> str:
        """``evict-count`` or ``evict-percent`` as it is written; "" where neither says anything."""
        for name in ("evict-count", "evict-percent"):
            if values := self.values(name):
                return f"{name} {values[0]}"
        return ""


def experiments(fleet: Fleet) -> Iterator[Experiment]:
    for document in fleet.of_kind("ChaosBlade"):
        for i, one in tables(document.at("spec", "experiments")):
            path: KeyPath = ("spec", "experiments", i)
            matchers: dict[str, tuple[KeyPath, list[str]]] = {}
            for m, matcher in tables(one.get("matchers")):
                value = matcher.get("value")
                values = (
                    [scalar(v) for v in rows(value)] if isinstance(value, list) else [scalar(value)]
                )
                name = scalar(matcher.get("name"))
                matchers.setdefault(name, ((*path, "matchers", m), [v for v in values if v]))
            yield Experiment(
                document,
                path,
                text(one.get("scope")),
                text(one.get("target")),
                text(one.get("action")),
                matchers,
            )


def pods_hit(fleet: Fleet, one: Experiment) -> list[Pods]:
    """Workloads that the label matcher reaches. Labels of one key are alternatives, and so are several matchers' values."""
    if not one.on_pods:
        return []
    space = (one.values("namespace") or ["default"])[0]
    wanted = [pair.partition("=") for value in one.values("labels") for pair in value.split(",")]
    if not wanted:
        return []
    return [
        pods
        for pods in estate_of(fleet).in_namespace(space)
        if pods.long_running and any(pods.labels.get(k.strip()) == v.strip() for k, _, v in wanted)
    ]


def replicas_of(pods: Pods) -> int:
    found = whole(pods.document.at("spec", "replicas"), 1)
    return max(0, found or 0)


def gone(one: Experiment, replicas: int) -> int:
    count = whole((one.values("evict-count") or [""])[0])
    percent = whole((one.values("evict-percent") or [""])[0])
    if count is not None:
        return max(0, min(count, replicas))
    return max(0, min(replicas, replicas * percent // 100)) if percent is not None else replicas


def least_left(budget: LintDocument, replicas: int) -> int | None:
    least = budget.at("spec", "minAvailable")
    if least is not None:
        return share_of(least, replicas, round_up=True)
    most = share_of(budget.at("spec", "maxUnavailable"), replicas, round_up=True)
    return None if most is None else replicas - most
