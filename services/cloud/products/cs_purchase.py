"""What a scaling group buys when it grows: how many on demand and on spot, of which type, in which zone.

On demand = base + percentage of what is above the base, of the whole pool after the purchase; the provider does not say how
it rounds, here a part of a node counts as an on-demand one (safer, a little dearer). Then each node in turn goes to the best
(type, vSwitch) that has stock, a free address, quota and, on spot with a price limit, a price within it:

PRIORITY        the first vSwitch of the list that can, types in their order
BALANCE         the vSwitch with the fewest nodes of the pool
COST_OPTIMIZED  the cheapest by price a core; spot spread evenly over the ``spot_instance_pools`` cheapest types
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.networks import free_ips_count
from saleops.services.cloud.world import Thing, World


@dataclass(frozen=True, slots=True)
class Bought:
    type: str
    vswitch_id: str
    zone: str
    spot: bool


def on_demand_count(total: int, group: Mapping[str, Any]) -> int:
    """Of ``total`` nodes of a pool, how many are not spot."""
    if (group.get("spot_strategy") or "NoSpot") == "NoSpot":
        return total
    base = min(total, int(group.get("on_demand_base_capacity") or 0))
    percentage = int(group.get("on_demand_percentage_above_base_capacity") or 0)
    return base + math.ceil((total - base) * percentage / 100)


@dataclass(slots=True)
class Purchase:
    """One growth of one pool. ``reasons`` tells why something could not be bought, in the order it came up."""

    world: World
    group: Mapping[str, Any]
    vswitches: Sequence[Thing]
    pool_zones: Counter[str]  # vSwitch id -> nodes of the pool there
    at_ms: int
    bought: list[Bought] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    _stock: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    _ips: dict[str, int] = field(default_factory=dict)
    _vcpus: dict[bool, int] = field(default_factory=dict)
    _spot_types: Counter[str] = field(default_factory=Counter)

    def buy(self, count: int, *, on_demand: int) -> None:
        """``on_demand`` of ``count`` on demand and the rest on spot; missing spot is compensated where the pool says so."""
        self._take(min(on_demand, count), spot=False)
        spot = max(0, count - on_demand)
        short = spot - self._take(spot, spot=True)
        if short and self.compensates:
            self.reasons.append(f"{short} spot instances were compensated with on-demand ones")
            self._take(short, spot=False)

    @property
    def compensates(self) -> bool:
        return (
            bool(self.group.get("compensate_with_on_demand"))
            and self.group.get("multi_az_policy") == "COST_OPTIMIZED"
        )

    def _take(self, count: int, *, spot: bool) -> int:
        taken = 0
        while taken < count:
            best = self._best(spot=spot)
            if best is None:
                break
            type, vswitch = best
            zone = str(vswitch.data["ZoneId"])
            self._stock[type, zone, spot] -= 1
            self._ips[vswitch.id] -= 1
            self._vcpus[spot] -= catalogue.instance_types()[type].cores
            self.pool_zones[vswitch.id] += 1
            if spot:
                self._spot_types[type] += 1
            self.bought.append(Bought(type, vswitch.id, zone, spot))
            taken += 1
        return taken

    def _best(self, *, spot: bool) -> tuple[str, Thing] | None:
        ways = [way for way in self._ways() if self._possible(*way, spot=spot)]
        if not ways:
            return None
        policy = self.group.get("multi_az_policy") or "PRIORITY"
        if policy == "BALANCE":
            return min(ways, key=lambda way: self.pool_zones[way[1].id])  # the first of equals
        if policy == "COST_OPTIMIZED":
            return self._cheapest(ways, spot=spot)
        return ways[0]

    def _ways(self) -> Iterable[tuple[str, Thing]]:
        return (
            (type, vswitch) for vswitch in self.vswitches for type in self.group["instance_types"]
        )

    def _cheapest(self, ways: list[tuple[str, Thing]], *, spot: bool) -> tuple[str, Thing]:
        types: dict[str, tuple[float, Thing]] = {}
        for type, vswitch in ways:
            price = self._price(type, str(vswitch.data["ZoneId"]), spot=spot)
            price /= catalogue.instance_types()[type].cores
            if type not in types or price < types[type][0]:
                types[type] = (price, vswitch)
        order = sorted(types, key=lambda type: types[type][0])
        chosen = order[0]
        if spot:
            pools = order[: int(self.group.get("spot_instance_pools") or 1)]
            chosen = min(pools, key=lambda type: self._spot_types[type])
        return chosen, types[chosen][1]

    def _price(self, type: str, zone: str, *, spot: bool) -> float:
        if spot:
            return catalogue.spot_price(self.world, type, zone, self.at_ms)
        return catalogue.list_price(self.world, type, zone)

    def _possible(self, type: str, vswitch: Thing, *, spot: bool) -> bool:
        zone, world = str(vswitch.data["ZoneId"]), self.world
        key = (type, zone, spot)
        if key not in self._stock:
            self._stock[key] = catalogue.stock(world, type, zone, spot=spot)
        if vswitch.id not in self._ips:
            self._ips[vswitch.id] = free_ips_count(world, vswitch)
        if spot not in self._vcpus:
            name = "ecs.spot_vcpu" if spot else "ecs.postpaid_vcpu"
            region = _region_of(zone)
            self._vcpus[spot] = catalogue.quota(world, name) - catalogue.vcpus_in_use(
                world, region, spot=spot
            )
        why = ""
        if self._stock[key] <= 0:
            why = f"OperationDenied.NoStock: {_sort(spot)} {type} is sold out in {zone}"
        elif self._ips[vswitch.id] <= 0:
            why = f"InvalidVSwitchId.IpNotEnough: vSwitch {vswitch.id} has no free address"
        elif self._vcpus[spot] < catalogue.instance_types()[type].cores:
            why = f"QuotaExceed.ElasticQuota: no {_sort(spot)} vCPU is left for {type}"
        elif spot and self.group.get("spot_strategy") == "SpotWithPriceLimit":
            limit = self._limit(type)
            price = self._price(type, zone, spot=True)
            if limit is not None and price > limit:
                why = (
                    "InvalidSpotPriceLimit.LowerThanPublicPrice: "
                    f"{type} costs {price:g} an hour in {zone}, the limit is {limit:g}"
                )
        if why and why not in self.reasons:
            self.reasons.append(why)
        return not why

    def _limit(self, type: str) -> float | None:
        for limit in self.group.get("spot_price_limit") or ():
            if limit.get("instance_type") == type:
                return float(limit["price_limit"])
        return None


def _region_of(zone: str) -> str:
    return next((region for region in catalogue.ZONES if zone in catalogue.zones_of(region)), zone)


def _sort(spot: bool) -> str:
    return "spot" if spot else "on-demand"
