"""Whether a workload's pods can only be on nodes that are never spot: then no reclaim takes them.

Only what must be met counts: ``nodeSelector``, and a required node affinity, whose terms are alternatives, so each of them
has to ask for such nodes. What we do not recognise may be a spot node: then the pods are taken to be lost like others.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Fleet, pod_template
from saleops.domain.lint.node_pools import SPOT_STRATEGIES, node_pools
from saleops.domain.lint.plain_values import rows, scalar, table, tables
from saleops.domain.lint.spot_pods import CAPACITY_LABEL, STRATEGY_LABEL

_ON_DEMAND: Mapping[str, frozenset[str]] = {
    STRATEGY_LABEL: frozenset(("NoSpot",)),
    CAPACITY_LABEL: frozenset(("on-demand", "reserved")),
    "saleops.io/pool": frozenset(("core",)),  # the pool of our own clusters that is never spot
}
_SPOT: Mapping[str, frozenset[str]] = {
    STRATEGY_LABEL: frozenset(SPOT_STRATEGIES),
    CAPACITY_LABEL: frozenset(("spot",)),
}


def on_demand_only(fleet: Fleet, document: LintDocument | None) -> bool:
    """Whether no pod of ``document``'s template may be on a spot node."""
    if document is None:
        return False
    spec = table(pod_template(document)[1].get("spec"))
    for key, value in table(spec.get("nodeSelector")).items():
        if _never_spot(fleet, str(key), {scalar(value)}):
            return True
    affinity = table(table(spec.get("affinity")).get("nodeAffinity"))
    required = table(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    terms = rows(required.get("nodeSelectorTerms"))
    return bool(terms) and all(
        any(_keeps_off(fleet, *one) for one in _expressions(term)) for term in terms
    )


def _expressions(term: Any) -> Iterator[tuple[str, str, set[str]]]:
    for _, one in tables(table(term).get("matchExpressions")):
        values = {scalar(value) for value in rows(one.get("values"))}
        yield scalar(one.get("operator")), scalar(one.get("key")), values


def _keeps_off(fleet: Fleet, operator: str, key: str, values: set[str]) -> bool:
    if operator == "In":
        return _never_spot(fleet, key, values)
    # All of spot's values: who only excludes one of two may be on the other.
    return operator == "NotIn" and key in _SPOT and values >= _SPOT[key]


def _never_spot(fleet: Fleet, key: str, values: set[str]) -> bool:
    """Whether nodes with one of ``values`` in the label ``key`` are on demand: known labels, else those of pools read."""
    if not values:
        return False
    pools = [pool for pool in node_pools(fleet) if pool.labels.get(key) in values]
    if any(pool.spot for pool in pools):
        return False
    known = _ON_DEMAND.get(key)
    if known is not None:
        return values <= known
    return values <= {pool.labels[key] for pool in pools}
