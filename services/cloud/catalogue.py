"""What the local cloud sells: regions and zones, instance types, prices, stock, and the account's quotas.

All of it is a function of the world's seed, so two runs agree. Somebody (a test, the control API) can overrule a part through
``world.settings``; the most specific key wins:

``settings["stock"]``   how many can exist in a zone: ``{"ecs.c7.xlarge": 0}``, ``{"ecs.c7.xlarge@ap-southeast-1a": 3}``; for
                        spot alone ``{"spot:ecs.c7.xlarge": 0}`` or ``{"spot:ecs.c7.xlarge@ap-southeast-1a": 0}``. What runs
                        counts against it.
``settings["prices"]``  an hour's price in the account's currency, under the same keys: ``{"ecs.c7.xlarge": 0.21}``,
                        ``{"spot:ecs.c7.xlarge@ap-southeast-1a": 0.08}``
``settings["quotas"]``  by the names of ``QUOTAS``: ``{"vpc.eips": 2, "ecs.spot_vcpu": 96, "alb.reserved_lcu": 0}``
``settings["vswitch_ips"]``  free addresses of a vSwitch by id, name or CIDR block: ``{"vsw-1": 0}``
``settings["currency"]``  "USD" (international site, the default) or "CNY"

Sizes, network limits and zones are facts of the vendor's instance family pages; prices are plausible, not quotations.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from saleops.services.cloud.world import World

CNY_PER_USD = 7.0

ZONES: dict[str, tuple[str, ...]] = {
    "ap-northeast-1": ("a", "b", "c"),
    "ap-southeast-1": ("a", "b", "c"),
    "ap-southeast-3": ("a", "b", "c"),
    "ap-southeast-5": ("a", "b", "c"),
    "cn-beijing": ("f", "g", "h", "i", "k", "l"),
    "cn-hangzhou": ("b", "g", "h", "i", "j", "k"),
    "cn-hongkong": ("b", "c", "d"),
    "cn-shanghai": ("b", "e", "f", "g", "l", "m", "n"),
    "cn-shenzhen": ("c", "d", "e", "f"),
    "eu-central-1": ("a", "b", "c"),
    "us-east-1": ("a", "b"),
    "us-west-1": ("a", "b"),
}
REGION_NAMES = {
    "ap-northeast-1": "Japan (Tokyo)",
    "ap-southeast-1": "Singapore",
    "ap-southeast-3": "Malaysia (Kuala Lumpur)",
    "ap-southeast-5": "Indonesia (Jakarta)",
    "cn-beijing": "China (Beijing)",
    "cn-hangzhou": "China (Hangzhou)",
    "cn-hongkong": "China (Hong Kong)",
    "cn-shanghai": "China (Shanghai)",
    "cn-shenzhen": "China (Shenzhen)",
    "eu-central-1": "Germany (Frankfurt)",
    "us-east-1": "US (Virginia)",
    "us-west-1": "US (Silicon Valley)",
}
ZONES_WITHOUT_NAT = {"cn-hangzhou-b", "cn-shanghai-b"}

DISK_CATEGORIES = ("cloud_essd", "cloud_auto", "cloud_essd_entry")

QUOTAS: dict[str, int] = {
    "vpc.vpcs": 10,
    "vpc.vswitches_per_vpc": 150,
    "vpc.nat_gateways_per_vpc": 5,
    "vpc.snat_entries_per_table": 40,
    "vpc.eips": 20,
    "ecs.postpaid_vcpu": 2000,
    "ecs.spot_vcpu": 1000,
    "ecs.security_groups": 100,
    "ecs.rules_per_security_group": 200,
    "ess.lifecycle_hooks_per_group": 6,
    "ess.scheduled_tasks": 100,
    "alb.load_balancers": 60,
    "alb.listeners_per_load_balancer": 50,
    "alb.servers_per_load_balancer": 1000,
    "alb.reserved_lcu": 0,  # off until Quota Center grants it
}


@dataclass(frozen=True, slots=True)
class InstanceType:
    """``eni_ips_count`` is how many IPv4 addresses one network interface takes, ``bandwidth_kbps`` its traffic each way."""

    id: str
    family: str
    cores: int
    memory_gib: float
    processor: str
    speed_ghz: float
    turbo_ghz: float
    enis_count: int
    eni_ips_count: int
    bandwidth_kbps: int
    packets_per_s: int
    category: str
    generation: str

    @property
    def pods_count(self) -> int:
        """Pods that Terway can give an address: those of the interfaces beside the first."""
        return (self.enis_count - 1) * self.eni_ips_count


_FAMILIES = {  # GiB a core, processor, GHz, turbo GHz, category, price factor
    "ecs.c6": (2, "Intel Xeon (Cascade Lake) Platinum 8269CY", 2.5, 3.2, "Compute-optimized", 0.97),
    "ecs.c7": (2, "Intel Xeon (Ice Lake) Platinum 8369B", 2.7, 3.5, "Compute-optimized", 1.0),
    "ecs.c8i": (2, "Intel Xeon (Sapphire Rapids) 8475B", 2.7, 3.2, "Compute-optimized", 1.06),
    "ecs.g6": (4, "Intel Xeon (Cascade Lake) Platinum 8269CY", 2.5, 3.2, "General-purpose", 0.97),
    "ecs.g7": (4, "Intel Xeon (Ice Lake) Platinum 8369B", 2.7, 3.5, "General-purpose", 1.0),
    "ecs.g8i": (4, "Intel Xeon (Sapphire Rapids) 8475B", 2.7, 3.2, "General-purpose", 1.06),
    "ecs.r7": (8, "Intel Xeon (Ice Lake) Platinum 8369B", 2.7, 3.5, "Memory-optimized", 1.0),
    "ecs.r8i": (8, "Intel Xeon (Sapphire Rapids) 8475B", 2.7, 3.2, "Memory-optimized", 1.06),
}
_SIZES = {  # cores, interfaces, addresses an interface, Gbit/s, packets a second
    "large": (2, 3, 6, 2, 900_000),
    "xlarge": (4, 4, 15, 3, 1_000_000),
    "2xlarge": (8, 4, 15, 5, 1_600_000),
    "3xlarge": (12, 8, 15, 8, 2_400_000),
    "4xlarge": (16, 8, 30, 10, 3_000_000),
    "6xlarge": (24, 8, 30, 12, 4_500_000),
    "8xlarge": (32, 8, 30, 16, 6_000_000),
    "16xlarge": (64, 8, 30, 32, 12_000_000),
    "32xlarge": (128, 15, 30, 64, 24_000_000),
}
_REGION_PRICE = {"cn-": 0.72, "us-": 0.92, "eu-": 1.02}


@cache
def instance_types() -> dict[str, InstanceType]:
    """Every type that is sold, by id, family by family and small before large."""
    types = {}
    for family, (gib_a_core, processor, speed, turbo, category, _) in _FAMILIES.items():
        for size, (cores, enis, ips, gbps, packets) in _SIZES.items():
            id = f"{family}.{size}"
            types[id] = InstanceType(
                id,
                family,
                cores,
                float(cores * gib_a_core),
                processor,
                speed,
                turbo,
                enis,
                ips,
                gbps * 1_024_000,
                packets,
                category,
                f"ecs-{''.join(filter(str.isdigit, family))}",
            )
    return types


def zones_of(region: str) -> tuple[str, ...]:
    """Zone ids of a region, in order; none for a region that is not there: ``ap-southeast-1a``, ``cn-hangzhou-h``."""
    dash = "-" if region.startswith("cn-") else ""
    return tuple(f"{region}{dash}{letter}" for letter in ZONES.get(region, ()))


def zone_name(zone: str) -> str:
    region = next((region for region in ZONES if zone in zones_of(region)), "")
    return f"{REGION_NAMES.get(region, zone)} Zone {zone[-1].upper()}"


def nat_zones_of(region: str) -> tuple[str, ...]:
    return tuple(zone for zone in zones_of(region) if zone not in ZONES_WITHOUT_NAT)


def quota(world: World, name: str) -> int:
    return int(world.settings.get("quotas", {}).get(name, QUOTAS[name]))


def currency(world: World) -> str:
    return str(world.settings.get("currency", "USD"))


def list_price(world: World, type: str, zone: str) -> float:
    """The on-demand price of an hour. Raises KeyError for a type that is not sold."""
    overruled = _overruled(world, "prices", type, zone, spot=False)
    if overruled is not None:
        return float(overruled)
    sold = instance_types()[type]
    factor = _FAMILIES[sold.family][5] * next(
        (factor for prefix, factor in _REGION_PRICE.items() if zone.startswith(prefix)), 1.0
    )
    usd = (sold.cores * 0.031 + sold.memory_gib * 0.0078) * factor
    return _money(world, usd)


def spot_price(world: World, type: str, zone: str, at_ms: int) -> float:
    """The spot price of the hour that holds ``at_ms``: the zone's own share of the list price, drifting over the day."""
    overruled = _overruled(world, "prices", type, zone, spot=True)
    if overruled is not None:
        return float(overruled)
    hour = at_ms // 3_600_000
    drift = 0.04 * math.sin(hour / 24 * 2 * math.pi + 6 * _chance(world, "phase", type, zone))
    noise = 0.02 * (_chance(world, "hour", type, zone, hour) - 0.5)
    share = min(1.0, max(0.1, spot_share(world, type, zone) + drift + noise))
    return round(list_price(world, type, zone) * share, 4)


def spot_share(world: World, type: str, zone: str) -> float:
    """The usual spot price as a share of the list price, 0.16 to 0.4."""
    return 0.16 + 0.24 * _chance(world, "share", type, zone)


def interruption_rate(world: World, type: str, zone: str) -> float:
    """The share of spot instances that were taken back in the last month, in percent."""
    return round(12 * _chance(world, "interrupted", type, zone) ** 2, 2)


def stock(world: World, type: str, zone: str, *, spot: bool = False) -> int:
    """How many more instances of ``type`` the zone could start now; 0 for a type that is not sold or another region's zone."""
    sold = instance_types().get(type)
    if sold is None or not any(zone in zones_of(region) for region in ZONES):
        return 0
    overruled = _overruled(world, "stock", type, zone, spot=spot)
    if overruled is None:
        vcpu = 16_000 * (0.5 + _chance(world, "stock", type, zone))
        overruled = vcpu / sold.cores * (0.4 if spot else 1)
    return max(0, int(overruled) - sum(_running(world, type, zone, spot=spot)))


def stock_category(left: int, low: int = 20) -> tuple[str, str]:
    """``Status`` and ``StatusCategory`` as DescribeAvailableResource words them."""
    if left <= 0:
        return "SoldOut", "WithoutStock"
    return "Available", "WithStock" if left > low else "ClosedWithStock"


def vcpus_in_use(world: World, region: str, *, spot: bool) -> int:
    """Cores of the running instances that count against the vCPU quota."""
    types = instance_types()
    return sum(
        types[thing.data["InstanceType"]].cores
        for thing in world.each("instance")
        if thing.data.get("InstanceType") in types
        and str(thing.data.get("ZoneId", "")).startswith(region)
        and (thing.data.get("SpotStrategy", "NoSpot") != "NoSpot") == spot
    )


def chance(world: World, *about: Any) -> float:
    """A number from 0 to 1 that is always the same for the same world and subject."""
    return _chance(world, *about)


def _running(world: World, type: str, zone: str, *, spot: bool) -> list[int]:
    return [
        1
        for thing in world.each("instance", InstanceType=type, ZoneId=zone)
        if not spot or thing.data.get("SpotStrategy", "NoSpot") != "NoSpot"
    ]


def _overruled(world: World, setting: str, type: str, zone: str, *, spot: bool) -> Any:
    chosen = world.settings.get(setting, {})
    keys = [f"{type}@{zone}", type]
    if spot:
        own = [f"spot:{type}@{zone}", f"spot:{type}"]
        keys = own if setting == "prices" else own + keys  # no list price is a spot price
    return next((chosen[key] for key in keys if key in chosen), None)


def _money(world: World, usd: float) -> float:
    return round(usd * (CNY_PER_USD if currency(world) == "CNY" else 1), 4)


def _chance(world: World, *about: Any) -> float:
    digest = hashlib.sha256(" ".join([world.seed, *map(str, about)]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
