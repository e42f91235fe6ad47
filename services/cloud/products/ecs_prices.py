"""ECS: list prices, spot prices of now and of the last month, and how often spot instances are taken back."""

from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import (
    CNY_PER_USD,
    currency,
    instance_types,
    interruption_rate,
    list_price,
    spot_price,
    spot_share,
    zones_of,
)
from saleops.services.cloud.products.ecs_stock import SPOT, zones_asked
from saleops.services.cloud.refusals import given_or, missing, needed, one_of, wrong
from saleops.services.cloud.timestamps import iso_s, ms_of
from saleops.services.cloud.world import World

HOUR_MS = 3_600_000
HISTORY_MOST_MS = 30 * 24 * HOUR_MS
HISTORY_ROWS = 1000
DISK_USD_A_GIB_HOUR = {
    "cloud_essd": 0.00017,
    "cloud_auto": 0.00013,
    "cloud_essd_entry": 0.00008,
    "cloud_efficiency": 0.00006,
}
HOURS = {"Hour": 1, "Day": 24, "Week": 168, "Month": 720, "Year": 8640}
SUBSCRIPTION_SHARE = 0.48
"""What an hour of a subscription costs of an hour paid as you go."""


@answers("ecs", "DescribeSpotPriceHistory")
def describe_spot_price_history(call: LocalCall, world: World) -> dict[str, Any]:
    type = _type(call)
    if call.params["NetworkType"] != "vpc":
        raise wrong(
            "InvalidNetworkType.Mismatch", "NetworkType", call.params["NetworkType"], "use vpc"
        )
    end_ms = ms_of(call, "EndTime") or world.now_ms()
    start_ms = ms_of(call, "StartTime")
    start_ms = end_ms - 24 * HOUR_MS if start_ms is None else start_ms
    if start_ms > end_ms:
        raise wrong(
            "InvalidStartTime.ValueNotSupported",
            "StartTime",
            call.params.get("StartTime"),
            "it is after EndTime",
        )
    if end_ms - start_ms > HISTORY_MOST_MS:
        raise wrong(
            "InvalidStartTime.ValueNotSupported",
            "StartTime",
            call.params.get("StartTime"),
            "30 days before EndTime at most",
        )
    offset = call.params.get("Offset") or 0
    if offset < 0:
        raise wrong("InvalidOffset", "Offset", offset, "0 or more")
    last_hour = min(end_ms, world.now_ms()) // HOUR_MS
    rows = [
        (hour, zone)
        for hour in range(-(-start_ms // HOUR_MS), last_hour + 1)
        for zone in zones_asked(call)
    ]
    page = rows[offset : offset + HISTORY_ROWS]
    return {
        "Currency": currency(world),
        "NextOffset": offset + len(page) if offset + len(page) < len(rows) else 0,
        "SpotPrices": {
            "SpotPriceType": [
                {
                    "ZoneId": zone,
                    "InstanceType": type,
                    "IoOptimized": "optimized",
                    "NetworkType": "vpc",
                    "SpotPrice": spot_price(world, type, zone, hour * HOUR_MS),
                    "OriginPrice": list_price(world, type, zone),
                    "Timestamp": iso_s(hour * HOUR_MS),
                }
                for hour, zone in page
            ]
        },
    }


@answers("ecs", "DescribeSpotAdvice")
def describe_spot_advice(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    names = wanted.get("InstanceTypes") or []
    if len(names) > 10:
        raise wrong("InvalidParameter", "InstanceTypes", len(names), "at most 10 types")
    for index, name in enumerate(names, 1):
        if name not in instance_types():
            raise missing("InvalidInstanceType.NotFound", f"InstanceTypes.{index}", name)
    types = [
        type
        for type in instance_types().values()
        if (not names or type.id in names)
        and wanted.get("InstanceTypeFamily") in (None, "", type.family)
        and wanted.get("InstanceFamilyLevel") in (None, "", "EnterpriseLevel")
        and wanted.get("Cores") in (None, type.cores)
        and wanted.get("Memory") in (None, type.memory_gib)
        and type.cores >= (wanted.get("MinCores") or 0)
        and type.memory_gib >= (wanted.get("MinMemory") or 0)
        and not wanted.get("GpuSpec")
        and not wanted.get("GpuAmount")
    ]
    zones = []
    for zone in zones_asked(call):
        resources = []
        for type in types:
            rate = interruption_rate(world, type.id, zone)
            resources.append(
                {
                    "InstanceType": type.id,
                    "AverageSpotDiscount": round(spot_share(world, type.id, zone) * 100),
                    "InterruptionRate": rate,
                    "InterruptRateDesc": _band(rate),
                }
            )
        zones.append(
            {"ZoneId": zone, "AvailableSpotResources": {"AvailableSpotResource": resources}}
        )
    return {"RegionId": call.region, "AvailableSpotZones": {"AvailableSpotZone": zones}}


@answers("ecs", "DescribePrice")
def describe_price(call: LocalCall, world: World) -> dict[str, Any]:
    """The price of ``Amount`` instances with their disks for ``Period`` times ``PriceUnit``."""
    one_of(
        call,
        "ResourceType",
        ["instance"],
        code="InvalidResourceType.ValueNotSupported",
        default="instance",
    )
    unit = one_of(
        call, "PriceUnit", HOURS, code="InvalidPriceUnit.ValueNotSupported", default="Hour"
    )
    strategy = one_of(
        call, "SpotStrategy", SPOT, code="InvalidSpotStrategy.ValueNotSupported", default="NoSpot"
    )
    type = _type(call)
    amount, period = given_or(call, "Amount", 1), given_or(call, "Period", 1)
    if not 1 <= amount <= 1000:
        raise wrong("InvalidAmount", "Amount", amount, "1 to 1000")
    if period < 1:
        raise wrong("InvalidPeriod.ValueNotSupported", "Period", period, "1 or more")
    zone = call.params.get("ZoneId")
    zone = zones_asked(call)[0] if zone else zones_of(call.region)[0]
    factor = HOURS[unit] * period * (SUBSCRIPTION_SHARE if unit in ("Month", "Year", "Week") else 1)
    listed = list_price(world, type, zone)
    traded = listed if strategy == "NoSpot" else spot_price(world, type, zone, world.now_ms())
    details = [("instanceType", listed * factor * amount, traded * factor * amount)]
    disks = [("systemDisk", call.params.get("SystemDisk") or {"Size": 40})]
    disks += [("dataDisk", disk) for disk in call.params.get("DataDisk") or []]
    for name, disk in disks:
        cost = _disk(world, name, disk) * factor * amount
        details.append((name, cost, cost))
    total, paid = sum(row[1] for row in details), sum(row[2] for row in details)
    return {
        "PriceInfo": {
            "Price": {
                "Currency": currency(world),
                "OriginalPrice": round(total, 4),
                "TradePrice": round(paid, 4),
                "DiscountPrice": round(total - paid, 4),
                "DetailInfos": {
                    "DetailInfo": [
                        {
                            "Resource": name,
                            "OriginalPrice": round(before, 4),
                            "TradePrice": round(after, 4),
                            "DiscountPrice": round(before - after, 4),
                        }
                        for name, before, after in details
                    ]
                },
            },
            "Rules": {"Rule": []},
        }
    }


def _type(call: LocalCall) -> str:
    type = str(call.params.get("InstanceType") or "")
    if not type:
        raise needed("InstanceType")
    if type not in instance_types():
        raise missing("InvalidInstanceType.NotFound", "InstanceType", type)
    return type


def _disk(world: World, name: str, disk: dict[str, Any]) -> float:
    category = disk.get("Category") or "cloud_essd"
    if category not in DISK_USD_A_GIB_HOUR:
        raise wrong(
            "InvalidDiskCategory.ValueNotSupported",
            f"{name[:1].upper()}{name[1:]}.Category",
            category,
            "use " + ", ".join(DISK_USD_A_GIB_HOUR),
        )
    usd = DISK_USD_A_GIB_HOUR[category] * (disk.get("Size") or 40)
    return float(usd * (CNY_PER_USD if currency(world) == "CNY" else 1))


def _band(rate: float) -> str:
    """The interruption rate in words, percent from and to."""
    for low, high in ((0, 3), (3, 5), (5, 10)):
        if rate < high:
            return f"{low}-{high}%"
    return ">10%"
