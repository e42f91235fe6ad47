"""Rules for spot nodes: pools that can be bought, pods that may be lost, and what is left when all of them go."""

from collections.abc import Iterator
from math import ceil

from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.node_pools import NodePool, node_pools
from saleops.domain.lint.plain_values import tables
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.rules_pdb import SCALED, evictions_at_once
from saleops.domain.lint.scalars import replaced
from saleops.domain.lint.shutdown import NOTICE_S, USABLE_NOTICE_S, grace_s
from saleops.domain.lint.spot_pods import kept_off_spot, spot_required, toleration_of_spot

GRACE_MOST_S = 120
_SOURCE = "ECS documentation, preemptible instances"


@rule(
    "SPT001",
    "error",
    "A spot pool that may not be bought when it is needed",
    why="One type in one zone is one market: when it is sold out there is no node. A price limit has to be a price.",
    fix="Name three types or more in vSwitches of two zones or more, and a spot_price_limit for each type.",
    source=_SOURCE,
    bad='spot_strategy = "SpotWithPriceLimit" without spot_price_limit',
    good='spot_price_limit { instance_type = "ecs.c7.xlarge", price_limit = "0.25" }',
)
def narrow_pool(fleet: Fleet) -> Iterator[Hit]:
    for pool in _spot_pools(fleet):
        types = pool.types
        if types is not None and len(set(types)) < 3:
            yield Hit(
                pool.document,
                (*pool.group, "instance_types"),
                f"{pool.name}: {len(set(types))} instance type(s) for spot nodes; three are few",
                why=f"When {', '.join(sorted(set(types)))} sells out in a zone, as on a sale day it does, the pool gets no node "
                "and loses those it has.",
                severity="warning",
                key=True,
            )
        if pool.vswitches == 1:
            yield Hit(
                pool.document,
                (*pool.group, "vswitch_ids"),
                f"{pool.name}: one vSwitch, so all spot nodes are of one zone's market",
                why="When the zone's spot capacity is gone, every node of the pool is reclaimed within the same minutes.",
                severity="warning",
                key=True,
            )
        limits = pool.settings.get("spot_price_limit")
        if pool.strategy == "SpotWithPriceLimit" and not limits:
            yield Hit(
                pool.document,
                (*pool.group, "spot_strategy"),
                f"{pool.name}: SpotWithPriceLimit without a spot_price_limit",
                why="There is no limit to bid with: the pool is refused, or its nodes are bought at a price nobody has set.",
                fix="Write spot_price_limit with instance_type and price_limit for each type, or SpotAsPriceGo.",
                key=True,
            )
        elif pool.strategy == "SpotWithPriceLimit" and types:
            priced = {str(one.get("instance_type")) for _, one in tables(limits)}
            missing = sorted(set(types) - priced) if isinstance(limits, list) and priced else []
            if missing:
                yield Hit(
                    pool.document,
                    (*pool.group, "spot_price_limit"),
                    f"{pool.name}: no price limit for {', '.join(missing)}",
                    why=f"{len(missing)} of {len(set(types))} types cannot be bid for: the pool has fewer markets than it seems.",
                    severity="warning",
                    key=True,
                )


@rule(
    "SPT002",
    "error",
    "Anything may land on spot nodes",
    why="ACK puts no taint on spot nodes: without one of your own, databases and singletons land there too and go in 5 minutes.",
    fix="Put a taint on the pool and tolerate it only in stateless workloads with two pods or more.",
    source="ACK documentation, node pools; no automatic taint",
    bad="a spot pool without taints",
    good="taints { key = saleops.io/spot, value = true, effect = NoSchedule }",
)
def untainted(fleet: Fleet) -> Iterator[Hit]:
    for pool in _spot_pools(fleet):
        if not pool.taints:
            yield Hit(
                pool.document,
                pool.group
                if pool.document.format == "terraform"
                else (*pool.group, "spot_strategy"),
                f"{pool.name}: spot nodes without a taint, and ACK adds none",
                why="The scheduler fills them with whatever is pending, stateful and single pods too; each of those is gone "
                f"{NOTICE_S} s after the notice.",
                key=True,
            )
    estate = estate_of(fleet)
    for pods in estate.pods:
        if pods.kind not in SCALED or not (at := toleration_of_spot(fleet, pods)):
            continue
        count = estate.count(pods).count
        claims = any("persistentVolumeClaim" in one for _, one in tables(pods.spec.get("volumes")))
        stateful = pods.kind == "StatefulSet" or claims
        if stateful or count == 1:
            what = "stateful" if stateful else "a single pod"
            yield Hit(
                pods.document,
                at,
                f"{pods.name} is {what} and may run on spot nodes",
                why=f"{NOTICE_S} s after a notice its node is gone: "
                + (
                    "its disk has to be detached and attached elsewhere first."
                    if stateful
                    else "there is no other pod until a new one has started."
                ),
                fix="Take the toleration away, or run two pods or more that keep nothing.",
                key=True,
            )


@rule(
    "SPT003",
    "error",
    "A service that may run on spot nodes only",
    why="Spot capacity of a type can go at once. A service without a pod elsewhere is then gone with it.",
    fix="Spread over node.alibabacloud.com/spot-strategy with topologySpreadConstraints, or keep a second Deployment without "
    "the toleration behind the same Service.",
    source=_SOURCE,
    bad="tolerations for spot and nothing that keeps some pods off it",
    good="topologySpreadConstraints: [{topologyKey: node.alibabacloud.com/spot-strategy, maxSkew: 1, ...}]",
)
def all_on_spot(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for pods in estate.pods:
        at = toleration_of_spot(fleet, pods) if pods.kind in SCALED else None
        if at is None or not estate.services_of(pods):
            continue
        forced = spot_required(pods)
        if forced is None and kept_off_spot(fleet, pods):
            continue
        if forced is not None and _another_behind(fleet, pods):
            continue
        count = estate.count(pods).count
        yield Hit(
            pods.document,
            forced or at,
            f"{pods.name}: all {count} pods {'run on spot nodes' if forced else 'may run on spot nodes'}, none is kept on demand",
            why=f"A reclaim of the pool leaves 0 of {count} pods of {pods.name} within {NOTICE_S} s.",
            key=True,
        )
    for pool in _spot_pools(fleet):
        if pool.document.format == "terraform":
            continue  # TFM005 says it of Terraform
        keys = ("on_demand_base_capacity", "on_demand_percentage_above_base_capacity")
        if not any(pool.settings.get(key) for key in keys):
            yield Hit(
                pool.document,
                pool.group,
                f"{pool.name}: no on_demand_base_capacity and no on_demand_percentage_above_base_capacity: every node is spot",
                why="What is not written is 0: one reclaim of the market takes every node of the pool.",
                fix="Write on_demand_base_capacity: 3 and on_demand_percentage_above_base_capacity: 30 with COST_OPTIMIZED.",
                key=True,
            )


@rule(
    "SPT004",
    "warning",
    "Pods that a notice of five minutes is too short for",
    why="Of the 300 s of a notice 264 are usable: a poll, the cordon and a margin come off. What takes longer is killed.",
    fix="Write terminationGracePeriodSeconds: 120 or less, and a budget that lets a zone's pods go in a few waves.",
    source=_SOURCE,
    bad="terminationGracePeriodSeconds: 600 on spot nodes",
    good="terminationGracePeriodSeconds: 60, maxUnavailable: 25%",
)
def too_slow_for_spot(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    zones = max((one.vswitches or 0 for one in node_pools(fleet)), default=0) or 3
    for pods in estate.pods:
        if pods.kind not in SCALED or toleration_of_spot(fleet, pods) is None:
            continue
        grace = grace_s(pods)
        path: KeyPath = (*pods.spec_path, "terminationGracePeriodSeconds")
        if grace > GRACE_MOST_S:
            over = (
                f"{grace - USABLE_NOTICE_S} s more than the {USABLE_NOTICE_S} s that a notice of {NOTICE_S} s leaves"
                if grace > USABLE_NOTICE_S
                else f"of {USABLE_NOTICE_S} s that a notice leaves: no second wave fits in"
            )
            yield Hit(
                pods.document,
                path,
                f"{pods.name}: grace {grace} s on spot nodes > {GRACE_MOST_S} s (notice {NOTICE_S} s)",
                why=f"The pod may take {grace} s to end, {over}; what is left is cut off with the node.",
                edits=replaced(pods.document, path, str(GRACE_MOST_S)),
                key=True,
            )
        count = estate.count(pods).count
        for budget in estate.budgets_of(pods):
            at_once = evictions_at_once(budget, count)
            if not at_once or at_once < 1:
                continue  # PDB001 says it
            in_zone = ceil(count / zones)
            waves = ceil(in_zone / at_once)
            needs = waves * min(grace, GRACE_MOST_S)
            if waves > 1 and needs > USABLE_NOTICE_S:
                yield Hit(
                    budget,
                    (
                        "spec",
                        "maxUnavailable"
                        if budget.at("spec", "maxUnavailable") is not None
                        else "minAvailable",
                    ),
                    f"{budget.name} lets {at_once} of {count} pods go at once: a zone's {in_zone} need {waves} waves x "
                    f"{min(grace, GRACE_MOST_S)} s = {needs} s > {USABLE_NOTICE_S} s",
                    why=f"When a zone's spot nodes are reclaimed, "
                    f"{in_zone - at_once * (USABLE_NOTICE_S // max(min(grace, GRACE_MOST_S), 1))} "
                    "pods are killed with their nodes because the budget held them.",
                    key=True,
                )


@rule(
    "SPT006",
    "warning",
    "What is left without spot nodes cannot carry the sale",
    why="A whole spot pool can be reclaimed at once. What runs on demand has to carry what must not stop.",
    fix="Raise on_demand_base_capacity or on_demand_percentage_above_base_capacity, or add a pool on demand.",
    source=_SOURCE,
    bad="10 % of the nodes on demand for a sale that must keep 40 % of its load",
    good="30 % of the nodes on demand, and load beyond them shed at the ALB",
)
def spot_storm(fleet: Fleet) -> Iterator[Hit]:
    sale, pools = fleet.sale, node_pools(fleet)
    spot = [one for one in pools if one.spot]
    if sale is None or not spot or any(not one.most_nodes for one in pools):
        return
    nodes = sum(one.most_nodes or 0 for one in pools)
    kept = sum(one.on_demand(one.most_nodes or 0) for one in pools)
    capacity = sum(each * sale.pods.get(name, 0) for name, each in sale.rps_per_pod.items())
    must = sale.baseline_rps
    left = capacity * kept / nodes if nodes else 0.0
    if capacity and must and left < must:
        pool = spot[0]
        yield Hit(
            pool.document,
            pool.group,
            f"{kept} of {nodes} nodes are on demand: without spot nodes {left:,.0f} requests a second are left, "
            f"{must:,.0f} must be "
            "carried",
            why=f"{capacity:,.0f} a second x {kept}/{nodes} = {left:,.0f}: {must - left:,.0f} a second too few, even "
            "for an ordinary day; "
            f"of the sale's {sale.peak_rps:,.0f} {1 - left / sale.peak_rps if sale.peak_rps else 0:.0%} fail.",
            key=True,
        )


def _spot_pools(fleet: Fleet) -> Iterator[NodePool]:
    return (one for one in node_pools(fleet) if one.spot)


def _another_behind(fleet: Fleet, pods: Pods) -> bool:
    """Whether another workload behind the same Service may run elsewhere."""
    estate = estate_of(fleet)
    return any(
        other is not pods and other.long_running and spot_required(other) is None
        for service in estate.services_of(pods)
        for other in estate.behind(service)
    )
