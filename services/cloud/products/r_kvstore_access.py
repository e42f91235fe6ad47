"""Tair: who may connect and where to, what it measures, and what is on sale in which zone."""

import hashlib
import ipaddress
import math
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import REGION_NAMES, zone_name, zones_of
from saleops.services.cloud.documents import compact
from saleops.services.cloud.products.r_kvstore import bandwidth_of, instance_of, settled
from saleops.services.cloud.products.tair_classes import CLASSES, TairClass
from saleops.services.cloud.time_windows import DAY_MS, asked_window
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

ADDRESSES_MOST = 1_000


@answers("r-kvstore", "DescribeSecurityIps")
def describe_security_ips(call: LocalCall, world: World) -> dict[str, Any]:
    groups = [
        {
            "SecurityIpGroupAttribute": group["attribute"],
            "SecurityIpGroupName": name,
            "SecurityIpList": ",".join(group["ips"]),
        }
        for name, group in instance_of(call, world).data["SecurityIps"].items()
    ]
    return {"SecurityIpGroups": {"SecurityIpGroup": groups}}


@answers("r-kvstore", "ModifySecurityIps")
def modify_security_ips(call: LocalCall, world: World) -> dict[str, Any]:
    """``Cover`` is the default and overwrites the group; ``Append`` adds; ``Delete`` takes away."""
    thing, params = instance_of(call, world), call.params
    mode = params.get("ModifyMode") or "Cover"
    if mode not in ("Cover", "Append", "Delete"):
        raise ApiError(
            400, "InvalidModifyMode", f"ModifyMode must be Cover, Append or Delete, not {mode!r}"
        )
    name = params.get("SecurityIpGroupName") or "default"
    sent = _addresses(params["SecurityIps"])
    groups = dict(thing.data["SecurityIps"])
    have = groups.get(name, {"ips": [], "attribute": ""})
    if mode == "Delete" and name not in groups:
        raise ApiError(
            404, "SecurityIPGroup.NotFound", f"SecurityIpGroupName does not exist: {name!r}"
        )
    if mode == "Cover":
        ips = sent
    elif mode == "Append":
        ips = have["ips"] + [ip for ip in sent if ip not in have["ips"]]
    else:
        ips = [ip for ip in have["ips"] if ip not in sent]
    if len(ips) > ADDRESSES_MOST:
        raise ApiError(
            400,
            "ExceedMaxSecurityIps",
            f"SecurityIps has {len(ips)} addresses; {ADDRESSES_MOST} are the most",
        )
    settled(thing, world)
    if ips or name == "default":
        groups[name] = {
            "ips": ips or ["127.0.0.1"],
            "attribute": params.get("SecurityIpGroupAttribute") or have["attribute"],
        }
    else:
        groups.pop(name, None)
    world.update(thing, SecurityIps=groups)
    return {}


def _addresses(sent: str) -> list[str]:
    addresses = []
    for each in (part.strip() for part in sent.split(",")):
        try:
            ipaddress.IPv4Interface(each)
        except ValueError:
            raise ApiError(
                400,
                "InvalidSecurityIPList.Format",
                f"SecurityIps has no IPv4 address or range: {each!r}",
            ) from None
        if each not in addresses:
            addresses.append(each)
    return addresses


@answers("r-kvstore", "DescribeDBInstanceNetInfo")
def describe_db_instance_net_info(call: LocalCall, world: World) -> dict[str, Any]:
    thing = instance_of(call, world)
    data = thing.data
    item = {
        "ConnectionString": data["ConnectionDomain"],
        "DBInstanceNetType": "2",
        "DirectConnection": 0,
        "IPAddress": data["PrivateIp"],
        "IPType": "Private",
        "IsSlaveProxy": 0,
        "Port": str(data["Port"]),
        "Upgradeable": "True",
        "VPCId": data["VpcId"],
        "VPCInstanceId": thing.id,
        "VSwitchId": data["VSwitchId"],
    }
    return {"InstanceNetworkType": "VPC", "NetInfoItems": {"InstanceNetInfo": [item]}}


MEASURES = {
    "CpuUsage": ("%", 100.0),
    "memoryUsage": ("%", 100.0),
    "UsedMemory": ("bytes", 0.0),
    "TotalQps": ("Counts/s", 0.0),
    "connectionUsage": ("%", 100.0),
    "UsedConnection": ("Counts/s", 0.0),
    "InFlow": ("KBps", 0.0),
    "OutFlow": ("KBps", 0.0),
    "intranetInRatio": ("%", 100.0),
    "intranetOutRatio": ("%", 100.0),
    "AvgRt": ("us", 0.0),
}
_SPAN_MOST_MS = 7 * DAY_MS


@answers("r-kvstore", "DescribeHistoryMonitorValues")
def describe_history_monitor_values(call: LocalCall, world: World) -> dict[str, Any]:
    """Values between two times: of an instance that nobody uses, unless ``settings["load"][id]`` says how busy it is (0..1)."""
    thing, params = instance_of(call, world), call.params
    start_ms, end_ms = asked_window(call, now_ms=world.now_ms(), span_ms=0)
    if end_ms - start_ms > _SPAN_MOST_MS:
        raise ApiError(
            400,
            "InvalidEndTime",
            f"StartTime {params['StartTime']!r} to EndTime {params['EndTime']!r} is over 7 days",
        )
    keys = [
        each.split("$")[0]
        for each in str(params.get("MonitorKeys") or "CpuUsage,memoryUsage,TotalQps").split(",")
    ]
    unknown = [each for each in keys if each not in MEASURES]
    if unknown:
        raise ApiError(
            400,
            "InvalidMonitorKeys",
            f"MonitorKeys names what is not measured: {', '.join(unknown)}",
        )
    step_ms = 5_000 if end_ms - start_ms <= 600_000 else 60_000
    history: dict[str, dict[str, str]] = {}
    first_ms = max(math.ceil(start_ms / step_ms), math.ceil(thing.born_ms / step_ms)) * step_ms
    for at_ms in range(first_ms, min(end_ms, world.now_ms()) + 1, step_ms):
        values = {key: _value(world, thing, key, at_ms) for key in keys}
        history[iso_s(at_ms)] = {key: f"{value:g}" for key, value in values.items() if value}
    return {"MonitorHistory": compact(history)}


def _value(world: World, thing: Thing, key: str, at_ms: int) -> float:
    load = float(world.settings.get("load", {}).get(thing.id, 0.02))
    noise = (
        int(hashlib.sha256(f"{world.seed} {thing.id} {key} {at_ms}".encode()).hexdigest()[:6], 16)
        / 0xFFFFFF
    )
    busy = min(load * (0.9 + 0.2 * noise), 1.0)
    tair_class, shards = CLASSES[thing.data["InstanceClass"]], thing.data["ShardCount"]
    most = {
        "UsedMemory": tair_class.memory_gb * 1024**3 * shards,
        "TotalQps": tair_class.qps * shards,
        "UsedConnection": tair_class.connections * shards,
        "InFlow": bandwidth_of(thing) * 1024,
        "OutFlow": bandwidth_of(thing) * 1024,
        "AvgRt": 900,
    }.get(key, 100)
    value = busy * most
    return round(value, 2) if most == 100 else float(round(value))


@answers("r-kvstore", "DescribeAvailableResource")
def describe_available_resource(call: LocalCall, world: World) -> dict[str, Any]:
    """Zones that sell Tair, and the classes. ``settings["stock"]["tair@ZONE"] = 0`` sells a zone out."""
    params = call.params
    region = params["RegionId"]
    zones = zones_of(region)
    if not zones:
        raise ApiError(404, "InvalidRegionId.NotFound", f"RegionId does not exist: {region!r}")
    wanted = params.get("ZoneId")
    if wanted and wanted not in zones:
        raise ApiError(404, "InvalidZoneId.NotFound", f"ZoneId is not in {region}: {wanted!r}")
    media = {"Tair_rdb": "tair_rdb", "Tair_scm": "tair_scm", "Tair_essd": "tair_essd"}
    medium = media.get(params.get("ProductType") or "", "")
    sold = [each for each in CLASSES.values() if medium in ("", each.instance_type)]
    stock = world.settings.get("stock", {})
    return {
        "AvailableZones": {
            "AvailableZone": [
                {
                    "IsMainSale": True,
                    "RegionId": region,
                    "SupportedEngines": {"SupportedEngine": [_engine(sold)]},
                    "ZoneId": zone,
                    "ZoneName": zone_name(zone),
                }
                for zone in zones
                if wanted in (None, "", zone)
                and stock.get(f"tair@{zone}", 1)
                and params.get("Engine") in (None, "", "Redis")
            ]
        }
    }


def _engine(sold: list[TairClass]) -> dict[str, Any]:
    resources = [
        {
            "InstanceClass": each.name,
            "InstanceClassRemark": f"{each.memory_gb} GB",
            "Capacity": each.memory_gb * 1024,
        }
        for each in sold
    ]
    version = {
        "Version": "5.0",
        "SupportedArchitectureTypes": {
            "SupportedArchitectureType": [
                {
                    "Architecture": architecture,
                    "SupportedShardNumbers": {
                        "SupportedShardNumber": [
                            {
                                "ShardNumber": str(number),
                                "SupportedNodeTypes": {
                                    "SupportedNodeType": [
                                        {
                                            "SupportedNodeType": "double",
                                            "AvailableResources": {"AvailableResource": resources},
                                        }
                                    ]
                                },
                            }
                            for number in shards
                        ]
                    },
                }
                for architecture, shards in (("standard", (1,)), ("cluster", (2, 4, 8, 16, 32)))
            ]
        },
    }
    return {
        "Engine": "Redis",
        "SupportedEditionTypes": {
            "SupportedEditionType": [
                {
                    "EditionType": "Enterprise",
                    "SupportedSeriesTypes": {
                        "SupportedSeriesType": [
                            {
                                "SeriesType": "enhanced_performance_type",
                                "SupportedEngineVersions": {"SupportedEngineVersion": [version]},
                            }
                        ]
                    },
                }
            ]
        },
    }


@answers("r-kvstore", "DescribeRegions")
def describe_regions(call: LocalCall, world: World) -> dict[str, Any]:
    regions = [
        {
            "LocalName": name,
            "RegionEndpoint": f"r-kvstore.{region}.aliyuncs.com",
            "RegionId": region,
            "ZoneIdList": {"ZoneId": list(zones_of(region))},
            "ZoneIds": ",".join(zones_of(region)),
        }
        for region, name in REGION_NAMES.items()
    ]
    return {"RegionIds": {"KVStoreRegion": regions}}


@answers("r-kvstore", "DescribeZones")
def describe_zones(call: LocalCall, world: World) -> dict[str, Any]:
    region = call.params.get("RegionId") or call.region
    zones = [
        {
            "Disabled": False,
            "IsRds": True,
            "RegionId": region,
            "SwitchNetwork": False,
            "ZoneId": zone,
            "ZoneName": zone_name(zone),
        }
        for zone in zones_of(region)
    ]
    return {"Zones": {"KVStoreZone": zones}}
