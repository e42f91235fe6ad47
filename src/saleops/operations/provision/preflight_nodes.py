"""The preflight of a sale's nodes: vCPUs, batches, stock in each zone, spot prices against their limits, reclaims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saleops.domain.capacity import instance_type
from saleops.domain.cloud.nodepools import NodePool
from saleops.domain.cloud.preflight import (
    INTERRUPTED_PERCENT,
    NODES_PER_BATCH,
    REVIEWED,
    Check,
    Kind,
    QuotaName,
    enough,
    peak_is_bought,
    protection,
    quota_in,
    stated,
    still_to_buy,
    unseen,
)
from saleops.domain.cloud.resources import Condition
from saleops.operations.provision.preflight_facts import Facts, SpotPrice, Unseen

if TYPE_CHECKING:
    from saleops.config.sale import Sale
    from saleops.operations.provision.blueprint import Blueprint
    from saleops.operations.provision.survey import Survey

BATCHES = QuotaName("csk", (("nodes",), ("at once", "batch")))
GROUP = "nodepool"
_STOCK = "ecs DescribeAvailableResource"


class NodeChecks:
    def __init__(self, sale: Sale, blueprint: Blueprint, seen: Survey, facts: Facts) -> None:
        self._sale = sale
        self._facts = facts
        self._region = blueprint.region
        self._pools = [one for one in blueprint.resources if isinstance(one, NodePool)]
        self._nodes = sum(one.pool.nodes for one in self._pools)
        self._zones = self._pools[0].zones
        self._new: dict[str, tuple[int, int]] = {}
        for one in self._pools:
            found = seen.found.get(one.key)
            there = found is not None and found.condition is not Condition.LEAVING
            had = int(found.fields.get("desired_size") or 0) if found and there else 0
            self._new[one.key] = still_to_buy(one.pool.nodes, had, one.pool.spot)
        self._missing_pools = sum(seen.found.get(one.key) is None for one in self._pools)

    def checks(self) -> list[Check]:
        on_demand = sum(new[0] for new in self._new.values())
        spot = sum(new[1] for new in self._new.values())
        checks = [
            self._vcpus(on_demand, "postpaid", "on-demand instances"),
            self._vcpus(spot, "spot", "spot instances"),
            *self._cluster(),
        ]
        if on_demand:
            checks += self._stock(on_demand, spot=False)
        if spot:
            checks += self._stock(spot, spot=True)
            checks += self._prices()
            checks.append(self._advice())
        window = self._sale.window
        spot_planned = spot or any(one.pool.spot.share > 0 for one in self._pools)
        checks.append(
            protection(
                self._spot_nodes() if spot_planned else 0,
                opens_ms=window.opens_ms,
                closes_ms=window.closes_ms,
            )
        )
        checks.append(peak_is_bought(on_demand + spot, self._nodes))
        return checks

    def _spot_nodes(self) -> int:
        return sum(still_to_buy(one.pool.nodes, 0, one.pool.spot)[1] for one in self._pools)

    @property
    def _types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(type for one in self._pools for type in one.pool.instance_types))

    def _vcpus(self, nodes: int, way: str, what: str) -> Check:
        # Any of the types may be bought, the largest too.
        wanted = nodes * max(instance_type(one).vcpus for one in self._types)
        name, asked = f"vCPU of {what} in {self._region}", "ecs DescribeAccountAttributes"
        account = self._facts.account() if wanted else {}
        if isinstance(account, Unseen):
            return _unseen(name, "quota", wanted, account)
        most = account.get(f"max-{way}-instance-vcpu-count")
        used = account.get(f"used-{way}-instance-vcpu-count", 0)
        if wanted and most is None:
            return _unseen(
                name, "quota", wanted, Unseen(asked, "ECS does not say how many there may be")
            )
        return enough(
            name,
            GROUP,
            "quota",
            asked=asked,
            wanted=wanted,
            available=(most or 0) - used,
            unit="vCPU",
            why="nodes beyond the quota are refused, and the peak meets a cluster that is too small",
            todo=f"Apply for more vCPU of {what} (ProductCode ecs-spec) in {REVIEWED}.",
        )

    def _cluster(self) -> list[Check]:
        """Node pools and nodes of the cluster, and nodes at once."""
        checks = []
        new = sum(map(sum, self._new.values()))
        quota = self._facts.cluster_quota() if new or self._missing_pools else {}
        for name, field, wanted in (
            (
                "node pools of a cluster",
                "cluster_nodepool_quota",
                len(self._pools) if self._missing_pools else 0,
            ),
            ("nodes of a cluster", "node_quota", self._nodes if new else 0),
        ):
            if isinstance(quota, Unseen):
                checks.append(_unseen(name, "quota", wanted, quota))
                continue
            checks.append(
                enough(
                    name,
                    GROUP,
                    "quota",
                    asked="cs DescribeUserQuota",
                    wanted=wanted,
                    available=int(quota.get(field) or 0),
                    why="the cluster stays smaller than the peak needs",
                    todo=f"Apply for more (ProductCode csk) in {REVIEWED}.",
                )
            )
        largest = max(map(sum, self._new.values()), default=0)
        most = self._batch() if largest else 0
        checks.append(
            enough(
                "nodes added to a pool at once",
                GROUP,
                "quota",
                asked="quotas ListProductQuotas csk",
                wanted=largest,
                available=most,
                unit="nodes",
                why="instant elasticity adds no more in one batch: the rest comes a batch later",
                todo="Spread the nodes over more pools or over larger types (nodes.instance_types), or scale in steps.",
            )
        )
        return checks

    def _batch(self) -> float:
        """What Quota Center says, else what is documented: nobody can change it."""
        rows = self._facts.quotas(BATCHES.product)
        found = None if isinstance(rows, Unseen) else quota_in(rows, BATCHES)
        return NODES_PER_BATCH if found is None else found.total

    def _stock(self, nodes: int, *, spot: bool) -> list[Check]:
        """In each zone one type at least has to be in stock; a type that is sold out beside another warns."""
        way = "spot" if spot else "on-demand"
        stock = self._facts.stock(spot=spot)
        checks = []
        for number, zone in enumerate(self._zones):
            wanted = nodes // len(self._zones) + (number < nodes % len(self._zones))
            name = f"stock of {way} nodes in {zone}"
            if isinstance(stock, Unseen):
                checks.append(_unseen(name, "stock", wanted, stock))
                continue
            words = {type: stock.get((type, zone), "WithoutStock") for type in self._types}
            left = [type for type, word in words.items() if "Without" not in word]
            gone = [type for type in words if type not in left]
            low = [type for type in left if words[type].startswith("Closed")]
            if not left:
                checks.append(
                    stated(
                        name,
                        GROUP,
                        "stock",
                        asked=_STOCK,
                        ok=not wanted,
                        said=f"{wanted:,} wanted, {', '.join(gone)} sold out: {wanted:,} missing",
                        wanted=wanted,
                        unit="nodes",
                        why="the zone stays without these nodes, and on-demand ones cost more in place of spot"
                        if spot
                        else "the zone stays without these nodes",
                        todo="Name more instance types (nodes.instance_types), or another zone (zones).",
                    )
                )
                continue
            said = f"{wanted:,} wanted, {', '.join(left)} in stock"
            if gone:
                said += f", {', '.join(gone)} sold out"
            if low:
                said += f"; little left of {', '.join(low)}"
            checks.append(
                stated(
                    name,
                    GROUP,
                    "stock",
                    asked=_STOCK,
                    ok=not gone and not low,
                    said=said,
                    wanted=wanted,
                    missing=0,
                    unit="nodes",
                    why="what is scarce now is sold out when everybody's sale begins",
                    todo="Name more instance types (nodes.instance_types), or buy earlier.",
                    decides=False,
                )
            )
        return checks

    def _prices(self) -> list[Check]:
        limits: dict[str, float] = {}
        for one in self._pools:
            if one.pool.spot.strategy(one.pool.instance_types) == "SpotWithPriceLimit":
                limits |= {type: float(price) for type, price in one.pool.spot.price_limits.items()}
        return [self._price(type, limits.get(type)) for type in self._types]

    def _price(self, type: str, limit: float | None) -> Check:
        """A limit below the market in every zone gets no spot node of ``type``; in some zones, none there."""
        name, asked = f"spot price of {type}", "ecs DescribeSpotPriceHistory"
        prices = self._facts.spot_prices(type)
        if isinstance(prices, Unseen):
            return _unseen(name, "price", limit or 0, prices)
        here = {zone: price for zone, price in prices.items() if zone in self._zones}
        if not here:
            nobody = Unseen(asked, f"no price of {type} in {', '.join(self._zones)}")
            return _unseen(name, "price", limit or 0, nobody)
        cheapest = min(here.values(), key=lambda one: one.price)
        market = f"{_money(cheapest.price, cheapest)} now in the cheapest zone"
        dear = [] if limit is None else [zone for zone, one in here.items() if one.price > limit]
        short = 0.0 if limit is None else round(max(0.0, cheapest.price - limit), 6)
        if limit is None:
            said = f"{market}, no limit"
        else:
            said = f"{market}, the limit is {limit:g}"
            if short:
                said += f": {short:g} missing"
            elif dear:
                said += f"; dearer than that in {', '.join(sorted(dear))}"
        return stated(
            name,
            GROUP,
            "price",
            asked=asked,
            ok=not dear,
            said=said,
            wanted=cheapest.price,
            missing=short,
            unit=f"{cheapest.currency} an hour",
            why="a limit below the market gets no spot node: on-demand ones come in their place, at the list price "
            f"of {_money(cheapest.list_price, cheapest)}",
            todo=f"Raise nodes.price_limits.{type} in the profile above the market's price, or take it out.",
            decides=bool(short),
        )

    def _advice(self) -> Check:
        name, asked = "spot nodes taken back", "ecs DescribeSpotAdvice"
        advice = self._facts.spot_advice(self._types)
        if isinstance(advice, Unseen):
            return _unseen(name, "risk", 0, advice, decides=False)
        here = {
            (type, zone): rate
            for (type, zone), rate in advice.items()
            if type in self._types and zone in self._zones
        }
        risky = [
            f"{type} in {zone}"
            for (type, zone), rate in here.items()
            if rate >= INTERRUPTED_PERCENT
        ]
        worst = max(here.values(), default=0.0)
        return stated(
            name,
            GROUP,
            "risk",
            asked=asked,
            ok=not risky,
            said=f"{worst:g} % at the worst" + (f": {', '.join(sorted(risky))}" if risky else ""),
            wanted=0,
            missing=0,
            why="a node that is taken back in the rush takes its pods with it",
            todo="Prefer other types or zones, or more nodes on demand (nodes.on_demand_base).",
            decides=False,
        )


def _money(price: float, about: SpotPrice) -> str:
    return f"{price:g} {about.currency}".strip()


def _unseen(name: str, kind: Kind, wanted: float, why: Unseen, *, decides: bool = True) -> Check:
    blank = stated(
        name, GROUP, kind, asked=why.asked, ok=False, said="", wanted=wanted, decides=decides
    )
    return unseen(blank, why.problem, retryable=why.retryable)
