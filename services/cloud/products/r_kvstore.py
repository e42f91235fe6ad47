"""Tair (the API says r-kvstore): instances are made, shown, tagged and removed.

``ShardCount`` 1 makes a standard instance, 2 to 32 a cluster. A create takes minutes; a cluster takes longer than a
single shard. Bandwidth is MB/s a shard in the answers of a cluster, as the class table has it, times the shards.
"""

import hashlib
import re
from typing import Any

from saleops.services.cloud import list_pages, neighbours, tag_maps
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.networks import new_ip
from saleops.services.cloud.products.tair_classes import CLASSES, TairClass
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

KIND = "tair"
INSTANCES_MOST = 200  # of an account in a region, unless settings say otherwise
_NAME = re.compile(r"[A-Za-z\u4e00-\u9fff][^\s@/:=”\"<>{}\[\]]{1,79}")
_ENGINES = {"tair_rdb": ("5.0", "6.0", "7.0"), "tair_scm": ("1.0",), "tair_essd": ("1.0", "2.0")}
_PERIODS = (*range(1, 10), 12, 24, 36, 60)


@answers("r-kvstore", "CreateTairInstance")
def create_tair_instance(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    tair_class = _class_of(params)
    shards = _shards_of(params)
    data = _data_of(call, world, tair_class, shards)
    if params.get("DryRun"):
        raise ApiError(
            400, "DryRunOperation", "The request would have succeeded, but DryRun is set"
        )
    tair_id = world.new_id("tair-")
    data["ConnectionDomain"] = (
        f"{params.get('ConnectionStringPrefix') or tair_id}.redis.rds.aliyuncs.com"
    )
    thing = world.create(KIND, tair_id, data, [("Creating", 300 + 5 * shards), ("Normal", 0)])
    return {
        "Bandwidth": bandwidth_of(thing),
        "ChargeType": data["ChargeType"],
        "Config": "",
        "ConnectionDomain": data["ConnectionDomain"],
        "Connections": tair_class.connections * shards,
        "InstanceId": tair_id,
        "InstanceName": data["InstanceName"] or tair_id,
        "InstanceStatus": "Creating",
        "OrderId": order_number(world, tair_id),
        "Port": data["Port"],
        "QPS": tair_class.qps * shards,
        "RegionId": call.region,
        "TaskId": str(order_number(world, tair_id) + 1),
        "ZoneId": data["ZoneId"],
    }


def _class_of(params: Any) -> TairClass:
    name = params["InstanceClass"]
    tair_class = CLASSES.get(name)
    if params["InstanceType"] not in _ENGINES:
        raise ApiError(
            400,
            "InvalidInstanceType.NotFound",
            f"InstanceType must be {', '.join(_ENGINES)}, not {params['InstanceType']!r}",
        )
    if tair_class is None:
        raise ApiError(400, "InvalidInstanceClass.NotFound", f"InstanceClass is not sold: {name!r}")
    if tair_class.instance_type != params["InstanceType"]:
        raise ApiError(
            400,
            "InvalidInstanceClass.NotFound",
            f"InstanceClass {name!r} is of InstanceType {tair_class.instance_type}, not {params['InstanceType']!r}",
        )
    return tair_class


def _shards_of(params: Any) -> int:
    shards = int(params.get("ShardCount") or 1)
    if not 1 <= shards <= 32:
        raise ApiError(
            400,
            "InvalidShardCount",
            f"ShardCount must be 1 (standard) or 2 to 32 (cluster), not {shards}",
        )
    if shards > 1 and params["InstanceType"] == "tair_essd":
        raise ApiError(
            400, "InvalidShardCount", f"ShardCount {shards}: InstanceType tair_essd has no clusters"
        )
    return shards


def _data_of(call: LocalCall, world: World, tair_class: TairClass, shards: int) -> dict[str, Any]:
    params = call.params
    name = str(params.get("InstanceName") or "")
    if name and not _NAME.fullmatch(name):
        raise ApiError(
            400, "InvalidInstanceName.Malformed", f"InstanceName is not allowed: {name!r}"
        )
    shard_type = params.get("ShardType") or "MASTER_SLAVE"
    if shard_type not in ("MASTER_SLAVE", "STAND_ALONE"):
        raise ApiError(
            400,
            "InvalidShardType",
            f"ShardType must be MASTER_SLAVE or STAND_ALONE, not {shard_type!r}",
        )
    versions = _ENGINES[tair_class.instance_type]
    version = params.get("EngineVersion") or versions[0]
    if version not in versions:
        raise ApiError(
            400,
            "InvalidEngineVersion",
            f"EngineVersion of {tair_class.instance_type} is {', '.join(versions)}, not {version!r}",
        )
    _check_payment(params)
    _check_password(params.get("Password"))
    port = int(params.get("Port") or 6379)
    if not 1 <= port <= 65535:
        raise ApiError(400, "InvalidPort", f"Port must be 1 to 65535, not {port}")
    prefix = params.get("ConnectionStringPrefix")
    if prefix and not re.fullmatch(r"[a-z][a-z0-9]{7,39}", prefix):
        raise ApiError(
            400,
            "InvalidConnectionStringPrefix",
            f"ConnectionStringPrefix is not allowed: {prefix!r}",
        )
    vswitch = neighbours.network_of(world, vpc_id=params["VpcId"], vswitch_id=params["VSwitchId"])
    zone = params.get("ZoneId") or neighbours.zone_of(vswitch)
    if zone != neighbours.zone_of(vswitch):
        raise ApiError(
            400,
            "InvalidZoneId",
            f"ZoneId {zone!r} is not the zone of VSwitchId {vswitch.id!r}, {neighbours.zone_of(vswitch)!r}",
        )
    if params.get("SecondaryZoneId") == zone:
        raise ApiError(
            400, "InvalidSecondaryZoneId", f"SecondaryZoneId must differ from ZoneId {zone!r}"
        )
    there = sum(1 for _ in world.each(KIND, RegionId=call.region))
    most = int(world.settings.get("quotas", {}).get("tair.instances", INSTANCES_MOST))
    if there >= most:
        raise ApiError(
            403, "QuotaExceed.Instance", f"there are {there} instances of {most} already"
        )
    return {
        "RegionId": call.region,
        "InstanceName": name,
        "InstanceClass": tair_class.name,
        "ShardCount": shards,
        "ShardType": shard_type,
        "EngineVersion": version,
        "ChargeType": params.get("ChargeType") or "PrePaid",
        "VpcId": params["VpcId"],
        "VSwitchId": vswitch.id,
        "ZoneId": zone,
        "SecondaryZoneId": params.get("SecondaryZoneId") or "",
        "PrivateIp": params.get("PrivateIpAddress") or new_ip(world, vswitch),
        "Port": port,
        "ResourceGroupId": params.get("ResourceGroupId") or "",
        "ReadOnlyCount": int(params.get("ReadOnlyCount") or 0),
        "ReplicaCount": int(
            params.get("ReplicaCount") or (1 if shard_type == "MASTER_SLAVE" else 0)
        ),
        "MaintainStartTime": params.get("MaintainStartTime") or "18:00Z",
        "MaintainEndTime": params.get("MaintainEndTime") or "22:00Z",
        "Tags": tag_maps.from_pairs(params.get("Tag")),
        "ExtraBandwidth": 0,
        "SecurityIps": {"default": {"ips": ["127.0.0.1"], "attribute": ""}},
        "Parameters": {},
    }


def _check_payment(params: Any) -> None:
    charge = params.get("ChargeType") or "PrePaid"
    if charge not in ("PrePaid", "PostPaid"):
        raise ApiError(
            400, "InvalidChargeType", f"ChargeType must be PrePaid or PostPaid, not {charge!r}"
        )
    if charge == "PrePaid" and params.get("Period") not in _PERIODS:
        raise ApiError(
            400,
            "InvalidPeriod",
            f"Period (months) is required with ChargeType PrePaid, the default, and is {params.get('Period')!r}",
        )


def _check_password(password: str | None) -> None:
    """The value is never named in the refusal: it is a secret."""
    if password is None or password == "":
        return
    kinds = sum(
        bool(re.search(form, password))
        for form in ("[a-z]", "[A-Z]", "[0-9]", r"[!@#$%^&*()_+\-=]")
    )
    if not 8 <= len(password) <= 32 or kinds < 3:
        raise ApiError(
            400, "InvalidPassword.Malformed", "Password needs 8 to 32 characters of three kinds"
        )


@answers("r-kvstore", "DescribeInstances")
def describe_instances(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    ids = [each.strip() for each in str(params.get("InstanceIds") or "").split(",") if each.strip()]
    if len(ids) > 30:
        raise ApiError(
            400, "InvalidInstanceIds", f"InstanceIds names {len(ids)} instances; 30 are the most"
        )
    plain = (
        "VpcId",
        "VSwitchId",
        "ZoneId",
        "InstanceClass",
        "ChargeType",
        "EngineVersion",
        "PrivateIp",
    )
    found = [
        thing
        for thing in world.listed(KIND, RegionId=params.get("RegionId") or call.region)
        if (not ids or thing.id in ids)
        and all(params.get(name) in (None, "", thing.data[name]) for name in plain)
        and params.get("InstanceStatus") in (None, "", world.state(thing))
        and params.get("InstanceType") in (None, "", "Tair")
        and params.get("EditionType") in (None, "", "Enterprise")
        and params.get("ArchitectureType") in (None, "", architecture_of(thing))
        and str(params.get("SearchKey") or "") in f"{thing.id} {thing.data['InstanceName']}"
        and tag_maps.matches(thing.data["Tags"], params.get("Tag"))
    ]
    page, counts = list_pages.numbered(found, params, default=30, most=50)
    return {"Instances": {"KVStoreInstance": [_line(thing, world) for thing in page]}, **counts}


def _line(thing: Thing, world: World) -> dict[str, Any]:
    data = thing.data
    return {
        **_shown(thing, world),
        "ConnectionMode": "Standard",
        "ReadOnlyCount": str(data["ReadOnlyCount"]),
        "ShardClass": data["InstanceClass"],
    }


def _shown(thing: Thing, world: World) -> dict[str, Any]:
    """What the list and the single look have in common."""
    data, tair_class = thing.data, CLASSES[thing.data["InstanceClass"]]
    shards = data["ShardCount"]
    return {
        "ArchitectureType": architecture_of(thing),
        "Bandwidth": bandwidth_of(thing),
        "Capacity": tair_class.memory_gb * 1024 * shards,
        "ChargeType": data["ChargeType"],
        "ConnectionDomain": data["ConnectionDomain"],
        "Connections": tair_class.connections * shards,
        "CreateTime": iso_s(thing.born_ms),
        "EngineVersion": data["EngineVersion"],
        "InstanceClass": tair_class.name,
        "InstanceId": thing.id,
        "InstanceName": data["InstanceName"],
        "InstanceStatus": world.state(thing),
        "InstanceType": "Tair",
        "IsRds": True,
        "NetworkType": "VPC",
        "NodeType": data["ShardType"],
        "Port": data["Port"],
        "PrivateIp": data["PrivateIp"],
        "QPS": tair_class.qps * shards,
        "RegionId": data["RegionId"],
        "ReplicaCount": data["ReplicaCount"],
        "ResourceGroupId": data["ResourceGroupId"],
        "SecondaryZoneId": data["SecondaryZoneId"],
        "ShardCount": shards,
        "Tags": {"Tag": tag_maps.to_pairs(data["Tags"])},
        "VSwitchId": data["VSwitchId"],
        "VpcId": data["VpcId"],
        "ZoneId": data["ZoneId"],
    }


@answers("r-kvstore", "DescribeInstanceAttribute")
def describe_instance_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    thing = instance_of(call, world)
    data = thing.data
    attribute = {
        **_shown(thing, world),
        "Engine": "Redis",
        "InstanceReleaseProtection": False,
        "IsOrderCompleted": True,
        "MaintainEndTime": data["MaintainEndTime"],
        "MaintainStartTime": data["MaintainStartTime"],
        "ReadOnlyCount": data["ReadOnlyCount"],
        "RealInstanceClass": data["InstanceClass"],
        "SecurityIPList": ",".join(
            ip for group in data["SecurityIps"].values() for ip in group["ips"]
        ),
        "VpcAuthMode": "Open",
        "VpcCloudInstanceId": thing.id,
    }
    return {"Instances": {"DBInstanceAttribute": [attribute]}}


@answers("r-kvstore", "DeleteInstance")
def delete_instance(call: LocalCall, world: World) -> dict[str, Any]:
    """Only what is paid as it goes can be released; a subscription ends by itself."""
    thing = instance_of(call, world)
    if thing.data["ChargeType"] != "PostPaid":
        raise ApiError(
            400,
            "IncorrectChargeType",
            f"InstanceId {thing.id!r} is {thing.data['ChargeType']}; only PostPaid can be released",
        )
    settled(thing, world)
    world.remove(thing, state="Released", after_s=30)
    return {}


@answers("r-kvstore", "TagResources")
def tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    _check_resource_type(call.params)
    more = tag_maps.from_pairs(call.params["Tag"])
    things = [_found(world, tair_id, "ResourceId") for tair_id in call.params["ResourceId"]]
    for thing in things:
        tag_maps.added(thing.data["Tags"], more)
    for thing in things:
        world.update(thing, Tags=tag_maps.added(thing.data["Tags"], more))
    return {}


@answers("r-kvstore", "ListTagResources")
def list_tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    _check_resource_type(call.params)
    ids = call.params.get("ResourceId") or []
    found = [
        {
            "ResourceId": thing.id,
            "ResourceType": "ALIYUN::KVSTORE::INSTANCE",
            "TagKey": key,
            "TagValue": value,
        }
        for thing in world.each(KIND, RegionId=call.params["RegionId"])
        if (not ids or thing.id in ids)
        and tag_maps.matches(thing.data["Tags"], call.params.get("Tag"))
        for key, value in thing.data["Tags"].items()
    ]
    return {"NextToken": "", "TagResources": {"TagResource": found}}


def _check_resource_type(params: Any) -> None:
    if str(params["ResourceType"]).upper() != "INSTANCE":
        raise ApiError(
            400,
            "InvalidResourceType",
            f"ResourceType must be INSTANCE, not {params['ResourceType']!r}",
        )


def instance_of(call: LocalCall, world: World, name: str = "InstanceId") -> Thing:
    return _found(world, call.params[name], name)


def _found(world: World, tair_id: str, name: str) -> Thing:
    thing = world.find(KIND, tair_id)
    if thing is None:
        raise ApiError(404, "InvalidInstanceId.NotFound", f"{name} does not exist: {tair_id!r}")
    return thing


def settled(thing: Thing, world: World) -> None:
    """Refuse a change while another one is under way."""
    state = world.state(thing)
    if state != "Normal":
        raise ApiError(
            403,
            "IncorrectDBInstanceState",
            f"InstanceId {thing.id!r} is {state}; it must be Normal",
        )


def architecture_of(thing: Thing) -> str:
    if thing.data["ShardCount"] > 1:
        return "cluster"
    return "rwsplit" if thing.data["ReadOnlyCount"] else "standard"


def bandwidth_of(thing: Thing) -> int:
    """MB/s of the whole instance, with what was bought on top for each shard."""
    default = CLASSES[thing.data["InstanceClass"]].bandwidth_mb_s
    return int((default + thing.data["ExtraBandwidth"]) * thing.data["ShardCount"])


def order_number(world: World, about: str) -> int:
    """A 15-digit order number; the same seed gives the same one."""
    return 200_000_000_000_000 + int(
        hashlib.sha256(f"{world.seed} {about}".encode()).hexdigest()[:11], 16
    )
