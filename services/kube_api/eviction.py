"""Evictions: may this pod go now? The arithmetic of disruption budgets, and the API's own words when the answer is no.

The budget's controller counts (``count_budget``); an eviction takes one of ``disruptionsAllowed`` away at once and notes the pod
in ``disruptedPods``, so that two evictions between two counts cannot both use the last one.
"""

from fractions import Fraction
from math import ceil, floor
from typing import Any

from saleops.services.kube_api.documents import (
    Document,
    at,
    copied,
    is_deleted,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    owner_of,
    sequence,
    text,
    whole,
)
from saleops.services.kube_api.kinds import BUDGETS, DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS
from saleops.services.kube_api.objects import Objects, Writer, read_time_ms, rfc3339
from saleops.services.kube_api.refusals import KubeError, bad_request, forbidden_by, success
from saleops.services.kube_api.selectors import selector_in
from saleops.services.kube_api.store import Store

CANNOT = "Cannot evict pod as it would violate the pod's disruption budget."
TWO = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
DISRUPTED_TIMEOUT_MS = (
    120_000  # an eviction that was granted and never followed by a deletion counts no longer
)


def is_ready(pod: Document) -> bool:
    return any(
        one.get("type") == "Ready" and one.get("status") == "True"
        for one in map(mapping, sequence(at(pod, "status", "conditions")))
    )


def evict(objects: Objects, pod: Document, eviction: Document, writer: Writer) -> Document:
    """The Status of an eviction that is under way. Raises KubeError: 429 refused for now, 500 two budgets."""
    named = text(at(eviction, "metadata", "name"))
    if named and named != name_of(pod):
        raise bad_request("name in URL does not match name in Eviction object")
    options = mapping(eviction.get("deleteOptions"))
    dry_run = writer.dry_run or sequence(options.get("dryRun")) == ["All"]
    writer = Writer(writer.manager, dry_run, writer.user)
    if not _ignores_budgets(pod):
        budgets = [
            one
            for one in objects.store.each(BUDGETS, namespace_of(pod))
            if selector_in(at(one, "spec", "selector")).matches(labels_of(pod))
        ]
        if len(budgets) > 1:
            raise KubeError(500, TWO, reason="")
        if budgets:
            _ask(objects, budgets[0], pod, dry_run=dry_run)
    objects.delete(PODS, pod, options, writer)
    return success()


def _ignores_budgets(pod: Document) -> bool:
    return is_deleted(pod) or at(pod, "status", "phase") in ("Pending", "Succeeded", "Failed")


def _ask(objects: Objects, budget: Document, pod: Document, *, dry_run: bool) -> None:
    """Take one disruption from ``budget``, or none for a sick pod that its policy lets go."""
    status = mapping(budget.get("status"))
    healthy, desired = whole(status.get("currentHealthy")), whole(status.get("desiredHealthy"))
    if not is_ready(pod):
        if at(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return
        if healthy >= desired > 0:
            return
    name = name_of(budget)
    if whole(status.get("observedGeneration")) < whole(at(budget, "metadata", "generation")):
        error = KubeError(429, CANNOT, details={"retryAfterSeconds": 10})
        error.details["causes"] = [
            _cause(f"The disruption budget {name} is still being processed by the server.")
        ]
        raise error
    allowed = whole(status.get("disruptionsAllowed"))
    if allowed < 0:
        raise forbidden_by(
            "poddisruptionbudget", "policy", name, "pdb disruptions allowed is negative"
        )
    if allowed == 0:
        said = (
            f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )
        raise KubeError(429, CANNOT, details={"causes": [_cause(said)]})
    if dry_run:
        return
    new = copied(budget)
    new["status"]["disruptionsAllowed"] = allowed - 1
    new["status"].setdefault("disruptedPods", {})[name_of(pod)] = rfc3339(objects.now_ms())
    objects.store.put(BUDGETS, new)


def _cause(message: str) -> dict[str, str]:
    return {"reason": "DisruptionBudget", "message": message}


# -- counting -----------------------------------------------------------------------------------------------


def share(value: Any, of: int, *, up: bool) -> int:
    """ "25%" of ``of``, rounded as asked, or a plain number. Zero for what is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    percent = text(value).removesuffix("%")
    if not text(value).endswith("%") or not (percent.isascii() and percent.isdigit()):
        return 0
    exact = Fraction(int(percent) * of, 100)
    return ceil(exact) if up else floor(exact)


def count_budget(store: Store, budget: Document, now_ms: int) -> Document:
    """The status of ``budget`` as its controller would write it now.

    minAvailable as a share rounds up over the pods that the owners want, maxUnavailable rounds up too, and is capped by them
    (kubernetes.io, "Specifying a Disruption Budget"; disruption controller).
    """
    pods = [
        one
        for one in store.each(PODS, namespace_of(budget))
        if selector_in(at(budget, "spec", "selector")).matches(labels_of(one))
        and at(one, "status", "phase") not in ("Succeeded", "Failed")
    ]
    spec = mapping(budget.get("spec"))
    if "maxUnavailable" in spec:
        expected = _wanted_by_owners(store, pods)
        desired = max(expected - share(spec["maxUnavailable"], expected, up=True), 0)
    elif isinstance(spec.get("minAvailable"), str):
        expected = _wanted_by_owners(store, pods)
        desired = share(spec["minAvailable"], expected, up=True)
    else:
        expected, desired = len(pods), whole(spec.get("minAvailable", 1))
    disrupted = {
        name: at_
        for name, at_ in mapping(at(budget, "status", "disruptedPods")).items()
        if _still_disrupted(name, at_, pods, now_ms)
    }
    healthy = sum(
        1 for one in pods if is_ready(one) and not is_deleted(one) and name_of(one) not in disrupted
    )
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status: Document = {
        **{
            key: one
            for key, one in mapping(budget.get("status")).items()
            if key not in ("disruptedPods",)
        },
        "observedGeneration": whole(at(budget, "metadata", "generation")),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    status["conditions"] = _conditions(budget, allowed, now_ms)
    return status


def _still_disrupted(name: str, since: Any, pods: list[Document], now_ms: int) -> bool:
    at_ms = read_time_ms(since)
    pod = next((one for one in pods if name_of(one) == name), None)
    return (
        pod is not None
        and not is_deleted(pod)
        and at_ms is not None
        and now_ms < at_ms + DISRUPTED_TIMEOUT_MS
    )


def _wanted_by_owners(store: Store, pods: list[Document]) -> int:
    wanted: dict[str, int] = {}
    loose = 0
    for pod in pods:
        owner = owner_of(pod)
        found = None
        if owner is not None:
            for kind in (REPLICA_SETS, STATEFUL_SETS):
                if kind.kind == owner.get("kind"):
                    found = store.find(kind, namespace_of(pod), text(owner.get("name")))
                    above = owner_of(found) if found is not None else None
                    if (
                        found is not None
                        and above is not None
                        and above.get("kind") == "Deployment"
                    ):
                        found = (
                            store.find(DEPLOYMENTS, namespace_of(pod), text(above.get("name")))
                            or found
                        )
        if found is None:
            loose += 1
        else:
            wanted[text(at(found, "metadata", "uid"))] = whole(at(found, "spec", "replicas"), 1)
    return sum(wanted.values()) + loose


def _conditions(budget: Document, allowed: int, now_ms: int) -> list[Document]:
    before = next(
        (
            one
            for one in map(mapping, sequence(at(budget, "status", "conditions")))
            if one.get("type") == "DisruptionAllowed"
        ),
        {},
    )
    status = "True" if allowed else "False"
    return [
        {
            "type": "DisruptionAllowed",
            "status": status,
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
            "observedGeneration": whole(at(budget, "metadata", "generation")),
            "lastTransitionTime": before.get("lastTransitionTime")
            if before.get("status") == status
            else rfc3339(now_ms),
        }
    ]
