"""Rules for disruption budgets: what a drain may take at once, and what makes it wait for ever."""

from collections.abc import Iterator

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.mechanical_fixes import insert_key
from saleops.domain.lint.plain_values import scalar, share_of, whole
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.scalars import replaced

SCALED = ("Deployment", "StatefulSet", "ReplicaSet", "CloneSet", "Rollout")


def evictions_at_once(budget: LintDocument, count: int) -> int | None:
    """How many of ``count`` healthy pods may be evicted at once; None where the budget cannot be read."""
    most = budget.at("spec", "maxUnavailable")
    if most is not None:
        return share_of(most, count, round_up=True)
    least = share_of(budget.at("spec", "minAvailable"), count, round_up=True)
    return None if least is None else max(0, count - least)


@rule(
    "PDB001",
    "error",
    "A disruption budget that is missing, that forbids everything, or that is there twice",
    why="Without a budget a drain takes all pods of a service at once; with one that allows none, no drain ever ends.",
    fix="Write one PodDisruptionBudget with maxUnavailable: 25% for the service's pods.",
    source="kubernetes.io docs, disruptions",
    bad="minAvailable: 10 for 10 replicas",
    good="maxUnavailable: 25%",
)
def budgets(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for pods in estate.pods:
        if pods.kind not in SCALED:
            continue
        count = estate.count(pods).count
        found = estate.budgets_of(pods)
        lacking = not found and not pods.partial and not estate.may_have_budget(pods)
        if lacking and count >= 2 and estate.services_of(pods):
            yield Hit(
                pods.document,
                (),
                f"{pods.name}: {count} pods behind Service {estate.services_of(pods)[0].name}, and no PodDisruptionBudget",
                why=f"One drain of a node, or one reclaimed spot node, evicts every pod it holds at once, up to all {count}.",
                severity="warning",
            )
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            yield Hit(
                found[1],
                ("spec", "selector"),
                f"{len(found)} PodDisruptionBudgets match the pods of {pods.name}: {names}",
                why="The eviction API answers 500 for a pod with two budgets: no drain takes it, a reclaimed node kills it.",
                fix="Keep one of them.",
            )
    for budget in estate.budgets:
        yield from _forbids(fleet, budget)


@rule(
    "PDB002",
    "warning",
    "Sick pods block drains",
    why="By default a pod that is not Ready counts against the budget and is not evicted either: a drain waits for it for ever.",
    fix="Write unhealthyPodEvictionPolicy: AlwaysAllow.",
    source="kubernetes.io docs, unhealthy pod eviction policy",
    bad="spec: {maxUnavailable: 25%}",
    good="spec: {maxUnavailable: 25%, unhealthyPodEvictionPolicy: AlwaysAllow}",
)
def sick_pods_block(fleet: Fleet) -> Iterator[Hit]:
    for budget in estate_of(fleet).budgets:
        policy = budget.at("spec", "unhealthyPodEvictionPolicy")
        if policy == "AlwaysAllow":
            continue
        if budget.at("apiVersion") == "policy/v1beta1":
            yield Hit(
                budget,
                ("apiVersion",),
                f"{budget.name}: policy/v1beta1 knows no unhealthyPodEvictionPolicy, so a pod that is not Ready blocks drains",
                why="Kubernetes 1.25 and later do not serve policy/v1beta1: the budget is refused there and guards nothing; "
                "where it is served, one pod that crashes in a loop keeps its node from draining.",
                fix="Move to apiVersion: policy/v1 first, then write unhealthyPodEvictionPolicy: AlwaysAllow.",
            )
            continue
        path: KeyPath = ("spec", "unhealthyPodEvictionPolicy") if policy is not None else ("spec",)
        yield Hit(
            budget,
            path,
            f"{budget.name}: unhealthyPodEvictionPolicy is {scalar(policy) or 'not set'}, so a pod that is not Ready "
            "blocks drains",
            why="On sale day one pod that crashes in a loop keeps its node from draining: a reclaimed node then takes "
            "the healthy "
            "pods on it without warning.",
            edits=(replaced(budget, path, "AlwaysAllow") if policy == "IfHealthyBudget" else ())
            if policy is not None
            else insert_key(budget, ("spec",), "unhealthyPodEvictionPolicy", "AlwaysAllow"),
        )


def _forbids(fleet: Fleet, budget: LintDocument) -> Iterator[Hit]:
    estate = estate_of(fleet)
    matched = [
        one for one in estate.selected(budget, budget.at("spec", "selector")) if one.kind in SCALED
    ]
    most, least = budget.at("spec", "maxUnavailable"), budget.at("spec", "minAvailable")
    path: KeyPath = ("spec", "maxUnavailable" if most is not None else "minAvailable")
    written = f"{path[1]}: {scalar(most if most is not None else least)}"
    if most is not None:
        blocked = share_of(most, 100, round_up=True) == 0
        of = ""
    else:
        # The least that the workloads run with: what an HPA may go down to, a budget must allow.
        counts = sum(_fewest(fleet, one) for one in matched)
        wanted = share_of(least, counts or 100, round_up=True)
        blocked = wanted is not None and (
            0 < counts <= wanted if matched else scalar(least).strip() == "100%"
        )
        of = f" of {counts}" if matched else ""
    if blocked:
        yield Hit(
            budget,
            path,
            f"{budget.name}: {written}{of} allows no eviction at all",
            why="Every drain answers 429 until somebody deletes the budget: nodes cannot be upgraded or given back, and a "
            "reclaimed spot node kills its pods at the end of its notice.",
            fix="Write maxUnavailable: 25%, or 1.",
        )


def _fewest(fleet: Fleet, pods: Pods) -> int:
    fewest = [
        found
        for hpa in estate_of(fleet).hpas_of(pods)
        if (found := whole(hpa.at("spec", "minReplicas"), 1)) is not None
    ]
    return min(fewest) if fewest else whole(pods.document.at("spec", "replicas"), 1) or 0
