"""ECS: which instance types there are, and what can be had of them now."""

from collections.abc import Iterator
from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import (
    DISK_CATEGORIES,
    InstanceType,
    instance_types,
    list_price,
    spot_price,
    stock,
    stock_category,
    zones_of,
)
from saleops.services.cloud.pages import tokened
from saleops.services.cloud.refusals import missing, needed, one_of, wrong
from saleops.services.cloud.world import World

DESTINATIONS = ("Zone", "IoOptimized", "InstanceType", "Network", "SystemDisk", "DataDisk", "ddh")
SPOT = ("NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo")
RECOMMENDED_MOST = 10


@answers("ecs", "DescribeInstanceTypes")
def describe_instance_types(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    names = wanted.get("InstanceTypes") or []
    if len(names) > 10:
        raise wrong("InvalidParameter", "InstanceTypes", len(names), "at most 10 types")
    families = [*(wanted.get("InstanceTypeFamilies") or []), wanted.get("InstanceTypeFamily")]
    families = [family for family in families if family]
    categories = [*(wanted.get("InstanceCategories") or []), wanted.get("InstanceCategory")]
    categories = [category for category in categories if category]
    architectures = [*(wanted.get("CpuArchitectures") or []), wanted.get("CpuArchitecture")]
    architectures = [name for name in architectures if name]
    found = [
        type
        for type in instance_types().values()
        if (not names or type.id in names)
        and (not families or type.family in families)
        and (not categories or type.category in categories)
        and (not architectures or "X86" in architectures)
        and wanted.get("InstanceFamilyLevel") in (None, "", "EnterpriseLevel")
        and (wanted.get("PhysicalProcessorModel") or "").lower() in type.processor.lower()
        and not wanted.get("GPUSpec")
        and not wanted.get("MinimumGPUAmount")
        and not wanted.get("LocalStorageCategory")
        and _within(wanted, "CpuCoreCount", type.cores)
        and _within(wanted, "MemorySize", type.memory_gib)
        and _within(wanted, "CpuSpeedFrequency", type.speed_ghz)
        and _within(wanted, "CpuTurboFrequency", type.turbo_ghz)
        and _within(wanted, "EniQuantity", type.enis_count)
        and _within(wanted, "EniPrivateIpAddressQuantity", type.eni_ips_count)
        and _within(wanted, "InstanceBandwidthRx", type.bandwidth_kbps)
        and _within(wanted, "InstanceBandwidthTx", type.bandwidth_kbps)
        and _within(wanted, "InstancePpsRx", type.packets_per_s)
        and _within(wanted, "InstancePpsTx", type.packets_per_s)
    ]
    page, about = tokened(call, found, size=1600, most=1600)
    answer: dict[str, Any] = {"InstanceTypes": {"InstanceType": [_shown(type) for type in page]}}
    return answer | ({"NextToken": about["NextToken"]} if "NextToken" in about else {})


@answers("ecs", "DescribeAvailableResource")
def describe_available_resource(call: LocalCall, world: World) -> dict[str, Any]:
    destination = one_of(
        call, "DestinationResource", DESTINATIONS, code="InvalidDestinationResource", default=""
    )
    charge = one_of(
        call,
        "InstanceChargeType",
        ["PostPaid", "PrePaid"],
        code="InvalidInstanceChargeType.ValueNotSupported",
        default="PostPaid",
    )
    strategy = one_of(
        call, "SpotStrategy", SPOT, code="InvalidSpotStrategy.ValueNotSupported", default="NoSpot"
    )
    one_of(
        call,
        "IoOptimized",
        ["none", "optimized"],
        code="InvalidIoOptimized.ValueNotSupported",
        default="optimized",
    )
    type = call.params.get("InstanceType")
    if type and type not in instance_types():
        raise missing("InvalidInstanceType.NotFound", "InstanceType", type)
    if destination == "SystemDisk" and not type:
        raise needed("InstanceType", "system disks depend on it")
    spot = strategy != "NoSpot" and charge == "PostPaid"
    zones = [_zone(call, world, zone, destination, spot) for zone in zones_asked(call)]
    return {"AvailableZones": {"AvailableZone": [zone for zone in zones if zone]}}


@answers("ecs", "DescribeRecommendInstanceType")
def describe_recommend_instance_type(call: LocalCall, world: World) -> dict[str, Any]:
    """Types like the one asked for, cheapest first unless stock is to come first."""
    wanted = call.params
    asked = wanted.get("InstanceType")
    if asked and asked not in instance_types():
        raise missing("InvalidInstanceType.NotFound", "InstanceType", asked)
    if not asked and not (wanted.get("Cores") and wanted.get("Memory")):
        raise needed("InstanceType", "or Cores and Memory")
    like = instance_types().get(asked or "")
    cores = wanted.get("Cores") or (like.cores if like else None)
    memory = wanted.get("Memory") or (like.memory_gib if like else None)
    spot = wanted.get("SpotStrategy") not in (None, "", "NoSpot")
    rows = []
    for type in instance_types().values():
        if (type.cores, type.memory_gib) != (cores, memory):
            continue
        if wanted.get("InstanceTypeFamily") and type.family not in wanted["InstanceTypeFamily"]:
            continue
        for zone in zones_asked(call):
            left = stock(world, type.id, zone, spot=spot)
            price = (
                spot_price(world, type.id, zone, world.now_ms())
                if spot
                else list_price(world, type.id, zone)
            )
            if left > 0 and price <= (wanted.get("MaxPrice") or price):
                rows.append((price, -left, zone, type))
    by_price = wanted.get("PriorityStrategy") == "PriceFirst"
    rows.sort(key=lambda row: (row[0], row[1], row[2]) if by_price else (row[1], row[0], row[2]))
    return {
        "Data": {
            "RecommendInstanceType": [
                {
                    "Priority": priority,
                    "RegionId": call.region,
                    "ZoneId": zone,
                    "CommodityCode": "ecs",
                    "InstanceChargeType": wanted.get("InstanceChargeType") or "PostPaid",
                    "SpotStrategy": wanted.get("SpotStrategy") or "NoSpot",
                    "NetworkType": "vpc",
                    "Scene": wanted.get("Scene") or "CREATE",
                    "InstanceType": {
                        "InstanceType": type.id,
                        "InstanceTypeFamily": type.family,
                        "Cores": type.cores,
                        "Memory": int(type.memory_gib * 1024),
                        "Generation": type.generation,
                        "SupportIoOptimized": "optimized",
                    },
                    "Zones": {"zone": [{"ZoneNo": zone, "NetworkTypes": {"NetworkType": ["vpc"]}}]},
                }
                for priority, (_, _, zone, type) in enumerate(rows[:RECOMMENDED_MOST])
            ]
        }
    }


def zones_asked(call: LocalCall) -> tuple[str, ...]:
    """The zone of ``ZoneId``, or every zone of the region."""
    zone = call.params.get("ZoneId")
    zones = zones_of(call.region)
    if zone and zone not in zones:
        raise missing("InvalidZoneId.NotFound", "ZoneId", zone)
    return (zone,) if zone else zones


def _within(wanted: Any, what: str, value: float) -> bool:
    low, high = wanted.get(f"Minimum{what}"), wanted.get(f"Maximum{what}")
    return (low is None or value >= low) and (high is None or value <= high)


def _zone(
    call: LocalCall, world: World, zone: str, destination: str, spot: bool
) -> dict[str, Any] | None:
    """A zone with what it has of the resource; it is sold out when all of that is."""
    types = list(_types(call))
    lefts = {type.id: stock(world, type.id, zone, spot=spot) for type in types}
    values: list[tuple[str, int]]
    if destination == "InstanceType":
        values = list(lefts.items())
    else:
        most = max(lefts.values(), default=0)
        names = {
            "Zone": [zone],
            "IoOptimized": ["optimized"],
            "Network": ["vpc"],
            "SystemDisk": list(DISK_CATEGORIES),
            "DataDisk": list(DISK_CATEGORIES),
            "ddh": [],
        }[destination]
        disk = call.params.get(f"{destination}Category") if destination.endswith("Disk") else None
        values = [(name, most) for name in names if disk in (None, "", name)]
    if not values:
        return None
    status, category = stock_category(max(left for _, left in values))
    resources = []
    for value, left in values:
        own_status, own_category = stock_category(left)
        shown: dict[str, Any] = {
            "Value": value,
            "Status": own_status,
            "StatusCategory": own_category,
        }
        if destination.endswith("Disk"):
            shown |= {
                "Min": 20,
                "Max": 2048 if destination == "SystemDisk" else 65536,
                "Unit": "GiB",
            }
        resources.append(shown)
    return {
        "RegionId": call.region,
        "ZoneId": zone,
        "Status": status,
        "StatusCategory": category,
        "AvailableResources": {
            "AvailableResource": [
                {"Type": destination, "SupportedResources": {"SupportedResource": resources}}
            ]
        },
    }


def _types(call: LocalCall) -> Iterator[InstanceType]:
    wanted = call.params
    for type in instance_types().values():
        if (
            wanted.get("InstanceType") in (None, "", type.id)
            and wanted.get("Cores") in (None, type.cores)
            and wanted.get("Memory") in (None, type.memory_gib)
        ):
            yield type


def _shown(type: InstanceType) -> dict[str, Any]:
    return {
        "InstanceTypeId": type.id,
        "InstanceTypeFamily": type.family,
        "InstanceFamilyLevel": "EnterpriseLevel",
        "InstanceCategory": type.category,
        "CpuArchitecture": "X86",
        "CpuCoreCount": type.cores,
        "CpuSpeedFrequency": type.speed_ghz,
        "CpuTurboFrequency": type.turbo_ghz,
        "PhysicalProcessorModel": type.processor,
        "MemorySize": type.memory_gib,
        "EniQuantity": type.enis_count,
        "EniTotalQuantity": type.enis_count,
        "EniPrivateIpAddressQuantity": type.eni_ips_count,
        "EniIpv6AddressQuantity": type.eni_ips_count,
        "EniTrunkSupported": type.cores >= 4,
        "InstanceBandwidthRx": type.bandwidth_kbps,
        "InstanceBandwidthTx": type.bandwidth_kbps,
        "InstancePpsRx": type.packets_per_s,
        "InstancePpsTx": type.packets_per_s,
        "GPUAmount": 0,
        "GPUSpec": "",
        "LocalStorageCategory": "",
        "NvmeSupport": "unsupported",
    }
