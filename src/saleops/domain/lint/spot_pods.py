"""Which pods may run on spot nodes, and whether some of a service's pods are kept off them."""

import re
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.node_pools import SPOT_STRATEGIES, node_pools
from saleops.domain.lint.plain_values import rows, scalar, table, tables, text

STRATEGY_LABEL = "node.alibabacloud.com/spot-strategy"
CAPACITY_LABEL = "karpenter.sh/capacity-type"
_KIND_KEYS = (
    STRATEGY_LABEL,
    CAPACITY_LABEL,
    "node.alibabacloud.com/instance-charge-type",
    "node.alibabacloud.com/nodepool-id",
    "alibabacloud.com/nodepool-id",
)
_SPOT = re.compile(r"(?:^|[^a-z])(?:spot|preemptible)(?:$|[^a-z])", re.I)
_ON_DEMAND = re.compile(r"nospot|on-?demand", re.I)


def toleration_of_spot(fleet: Fleet, pods: Pods) -> KeyPath | None:
    """The path of the toleration (or node selector) that lets ``pods`` onto spot nodes; None where nothing does."""
    if _on_demand_required(pods):
        return None
    taints = {taint for pool in node_pools(fleet) if pool.spot for taint in pool.taints}
    for i, one in tables(pods.spec.get("tolerations")):
        key, value = scalar(one.get("key")), scalar(one.get("value"))
        exists = one.get("operator") == "Exists"
        if (
            (not key and exists)
            or (not _ON_DEMAND.search(f"{key} {value}") and _SPOT.search(f"{key}={value}"))
            or any(key == k and (exists or value == v) for k, v in taints)
        ):
            return (*pods.spec_path, "tolerations", i)
    return spot_required(pods)


def spot_required(pods: Pods) -> KeyPath | None:
    """The path of what keeps ``pods`` on spot nodes: a node selector, or an affinity whose every term asks for spot."""
    for key, value in table(pods.spec.get("nodeSelector")).items():
        if _is_spot(str(key), [scalar(value)]):
            return (*pods.spec_path, "nodeSelector", str(key))
    path: KeyPath = (*pods.spec_path, "affinity", "nodeAffinity")
    required = table(_node_affinity(pods).get("requiredDuringSchedulingIgnoredDuringExecution"))
    terms = rows(required.get("nodeSelectorTerms"))
    if terms and all(
        any(
            one.get("operator") in ("In", "Exists")
            and _is_spot(scalar(one.get("key")), [scalar(v) for v in rows(one.get("values"))])
            for one in _expressions(term)
        )
        for term in terms
    ):
        return path
    return None


def _on_demand_required(pods: Pods) -> bool:
    """Whether an affinity that must be met asks for nodes that are no spot nodes, and no other term of it asks for spot."""
    required = table(_node_affinity(pods).get("requiredDuringSchedulingIgnoredDuringExecution"))
    asked = [
        (one.get("operator"), scalar(one.get("key")), [scalar(v) for v in rows(one.get("values"))])
        for term in rows(required.get("nodeSelectorTerms"))
        for one in _expressions(term)
    ]
    off = any(
        (operator == "In" and any(_ON_DEMAND.search(value) for value in values))
        or (operator in ("NotIn", "DoesNotExist") and _is_spot(key, values))
        for operator, key, values in asked
    )
    return off and not any(op == "In" and _is_spot(key, values) for op, key, values in asked)


def kept_off_spot(fleet: Fleet, pods: Pods) -> bool:
    """Whether some pods of the service stay on demand: by spread, by affinity, or as another workload behind its Service."""
    pool_labels = {key for pool in node_pools(fleet) for key in pool.labels}
    for _, one in tables(pods.spec.get("topologySpreadConstraints")):
        key = text(one.get("topologyKey"))
        if key in _KIND_KEYS or _SPOT.search(key) or key in pool_labels or "capacity" in key:
            return True
    affinity = _node_affinity(pods)
    required = table(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    preferred = [
        table(one.get("preference"))
        for _, one in tables(affinity.get("preferredDuringSchedulingIgnoredDuringExecution"))
    ]
    for term in (*rows(required.get("nodeSelectorTerms")), *preferred):
        for one in _expressions(term):
            key, values = scalar(one.get("key")), [scalar(v) for v in rows(one.get("values"))]
            operator = one.get("operator")
            if operator in ("NotIn", "DoesNotExist") and _is_spot(key, values):
                return True
            if operator == "In" and any(_ON_DEMAND.search(v) for v in values):
                return True
    for value in table(pods.spec.get("nodeSelector")).values():
        if _ON_DEMAND.search(scalar(value)):
            return True
    estate = estate_of(fleet)
    return any(
        other is not pods and other.long_running and toleration_of_spot(fleet, other) is None
        for service in estate.services_of(pods)
        for other in estate.behind(service)
    )


def _is_spot(key: str, values: list[str]) -> bool:
    if any(_ON_DEMAND.search(one) for one in values):
        return False
    if any(one in SPOT_STRATEGIES or _SPOT.search(one) for one in values):
        return True
    return not values and bool(_SPOT.search(key))


def _node_affinity(pods: Pods) -> dict[Any, Any]:
    return table(table(pods.spec.get("affinity")).get("nodeAffinity"))


def _expressions(term: Any) -> Iterator[dict[Any, Any]]:
    return (one for _, one in tables(table(term).get("matchExpressions")))
