"""Tair: a bigger class, more or fewer shards, more bandwidth.

One change at a time. A change of class or shards takes minutes and disconnects clients once or twice; bandwidth is there
within a minute.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.documents import object_in
from saleops.services.cloud.products.r_kvstore import instance_of, order_number, settled
from saleops.services.cloud.products.tair_classes import CLASSES
from saleops.services.cloud.world import Thing, World

SHARDS_MOST, SHARDS_A_CALL = 256, 64
EXTRA_MOST_MB_S, EXTRA_TIMES = 192, 6


@answers("r-kvstore", "ModifyInstanceSpec")
def modify_instance_spec(call: LocalCall, world: World) -> dict[str, Any]:
    thing, params = instance_of(call, world), call.params
    effective = params.get("EffectiveTime") or "Immediately"
    if effective not in ("Immediately", "MaintainTime"):
        raise ApiError(
            400,
            "InvalidEffectiveTime",
            f"EffectiveTime must be Immediately or MaintainTime, not {effective!r}",
        )
    changed: dict[str, Any] = {}
    name = params.get("InstanceClass")
    if name is not None:
        _check_class(thing, name, params.get("OrderType"))
        changed["InstanceClass"] = name
    shards = params.get("ShardCount")
    if shards is not None:
        _check_shards(thing, int(shards))
        changed["ShardCount"] = int(shards)
    for count in ("ReadOnlyCount", "ReplicaCount"):
        if params.get(count) is not None:
            changed[count] = int(params[count])
    if not changed or all(thing.data[field] == value for field, value in changed.items()):
        raise ApiError(
            400,
            "InvalidParameter",
            f"InstanceClass and ShardCount of {thing.id!r} are so already: nothing to change",
        )
    settled(thing, world)
    world.update(thing, **changed)
    world.move(thing, [("Changing", 420), ("Normal", 0)])
    return {"OrderId": str(order_number(world, f"{thing.id} spec {world.now_ms()}"))}


def _check_class(thing: Thing, name: str, order: str | None) -> None:
    new, old = CLASSES.get(name), CLASSES[thing.data["InstanceClass"]]
    if new is None:
        raise ApiError(400, "InvalidInstanceClass.NotFound", f"InstanceClass is not sold: {name!r}")
    if new.instance_type != old.instance_type or new.by_proxy != old.by_proxy:
        raise ApiError(
            400,
            "InvalidInstanceClass.NotFound",
            f"InstanceClass {old.name!r} cannot become {name!r}",
        )
    if order not in (None, "", "UPGRADE", "DOWNGRADE"):
        raise ApiError(
            400, "InvalidOrderType", f"OrderType must be UPGRADE or DOWNGRADE, not {order!r}"
        )
    if order == "UPGRADE" and new.memory_gb < old.memory_gb:
        raise ApiError(
            400,
            "InvalidOrderType",
            f"OrderType UPGRADE: InstanceClass {name!r} is smaller than {old.name!r}",
        )
    if order == "DOWNGRADE" and new.memory_gb > old.memory_gb:
        raise ApiError(
            400,
            "InvalidOrderType",
            f"OrderType DOWNGRADE: InstanceClass {name!r} is bigger than {old.name!r}",
        )


def _check_shards(thing: Thing, shards: int) -> None:
    if thing.data["ShardCount"] == 1 and shards != 1:
        raise ApiError(
            400,
            "InvalidShardCount",
            f"ShardCount {shards}: {thing.id!r} is a standard instance and cannot become a cluster here",
        )
    if thing.data["ShardCount"] > 1 and not 2 <= shards <= SHARDS_MOST:
        raise ApiError(
            400,
            "InvalidShardCount",
            f"ShardCount of a cluster must be 2 to {SHARDS_MOST}, not {shards}",
        )


@answers("r-kvstore", "AddShardingNode")
def add_sharding_node(call: LocalCall, world: World) -> dict[str, Any]:
    """``ShardCount`` is how many to add; there is no token, so a repeat adds again."""
    thing, more = instance_of(call, world), int(call.params.get("ShardCount") or 1)
    have = thing.data["ShardCount"]
    _check_is_cluster(thing)
    if not 1 <= more <= SHARDS_A_CALL:
        raise ApiError(
            400, "InvalidShardCount", f"ShardCount to add must be 1 to {SHARDS_A_CALL}, not {more}"
        )
    if have + more > SHARDS_MOST:
        raise ApiError(
            400,
            "InvalidShardCount",
            f"ShardCount {more} on top of {have} is more than {SHARDS_MOST}",
        )
    settled(thing, world)
    world.update(thing, ShardCount=have + more)
    world.move(thing, [("Changing", 300 + 10 * more), ("Normal", 0)])
    return {
        "NodeIds": [node_id(thing, number) for number in range(have, have + more)],
        "OrderId": order_number(world, f"{thing.id} shards {have + more} {world.now_ms()}"),
    }


@answers("r-kvstore", "DeleteShardingNode")
def delete_sharding_node(call: LocalCall, world: World) -> dict[str, Any]:
    thing, have = instance_of(call, world), instance_of(call, world).data["ShardCount"]
    _check_is_cluster(thing)
    nodes = [
        each.strip() for each in str(call.params.get("NodeId") or "").split(",") if each.strip()
    ]
    unknown = [
        each for each in nodes if each not in {node_id(thing, number) for number in range(have)}
    ]
    if unknown:
        raise ApiError(
            404, "InvalidNodeId.NotFound", f"NodeId does not exist: {', '.join(unknown)}"
        )
    fewer = len(set(nodes)) if nodes else int(call.params.get("ShardCount") or 0)
    if fewer < 1 or have - fewer < 2:
        raise ApiError(
            400,
            "InvalidShardCount",
            f"ShardCount {fewer} less of {have}: a cluster keeps 2 shards or more",
        )
    settled(thing, world)
    world.update(thing, ShardCount=have - fewer)
    world.move(thing, [("Changing", 300 + 10 * fewer), ("Normal", 0)])
    return {
        "OrderId": str(order_number(world, f"{thing.id} shards {have - fewer} {world.now_ms()}"))
    }


def _check_is_cluster(thing: Thing) -> None:
    if thing.data["ShardCount"] == 1:
        raise ApiError(
            400,
            "IncorrectArchitectureType",
            f"InstanceId {thing.id!r} is a standard instance: it has no shards to count",
        )


@answers("r-kvstore", "EnableAdditionalBandwidth")
def enable_additional_bandwidth(call: LocalCall, world: World) -> dict[str, Any]:
    """``Bandwidth`` is MB/s on top for a shard: at most six times the default, and 192."""
    thing, params = instance_of(call, world), call.params
    charge = params.get("ChargeType") or "PrePaid"
    if charge != "PostPaid":
        raise ApiError(400, "InvalidChargeType", f"ChargeType must be PostPaid, not {charge!r}")
    default = CLASSES[thing.data["InstanceClass"]].bandwidth_mb_s
    most = min(default * EXTRA_TIMES, EXTRA_MOST_MB_S)
    sent = str(params.get("Bandwidth") or "")
    if not sent.isdecimal() or int(sent) > most:
        raise ApiError(
            400,
            "InvalidBandwidth",
            f"Bandwidth must be a whole number, 0 to {most} MB/s on top of {default}, not {sent!r}",
        )
    if thing.data["ShardCount"] > 1 and params.get("NodeId") not in ("All", None, ""):
        known = {node_id(thing, number) for number in range(thing.data["ShardCount"])}
        unknown = [each for each in str(params["NodeId"]).split(",") if each not in known]
        if unknown:
            raise ApiError(
                404, "InvalidNodeId.NotFound", f"NodeId does not exist: {', '.join(unknown)}"
            )
    settled(thing, world)
    world.update(thing, ExtraBandwidth=int(sent))
    world.move(thing, [("Changing", 60), ("Normal", 0)])
    return {"OrderId": str(order_number(world, f"{thing.id} bandwidth {world.now_ms()}"))}


@answers("r-kvstore", "ModifyInstanceConfig")
def modify_instance_config(call: LocalCall, world: World) -> dict[str, Any]:
    return _set_parameters(instance_of(call, world), world, call.params.get("Config"), "Config")


@answers("r-kvstore", "ModifyInstanceParameter")
def modify_instance_parameter(call: LocalCall, world: World) -> dict[str, Any]:
    thing = instance_of(call, world)
    _set_parameters(thing, world, call.params.get("Parameters"), "Parameters")
    return {
        "InstanceId": thing.id,
        "TaskId": order_number(world, f"{thing.id} parameters {world.now_ms()}"),
    }


def _set_parameters(thing: Thing, world: World, sent: Any, name: str) -> dict[str, Any]:
    wanted = object_in(sent, name)
    unknown = [each for each in wanted if each not in PARAMETERS]
    if unknown:
        raise ApiError(
            400, "InvalidParameterName", f"{name} names what cannot be set: {', '.join(unknown)}"
        )
    settled(thing, world)
    world.update(
        thing,
        Parameters={
            **thing.data["Parameters"],
            **{key: str(value) for key, value in wanted.items()},
        },
    )
    return {}


PARAMETERS = {
    "script_check_enable": "1",
    "maxmemory-policy": "volatile-lru",
    "timeout": "0",
    "appendonly": "yes",
    "notify-keyspace-events": "",
    "#no_loose_disabled-commands": "",
    "hash-max-ziplist-entries": "512",
    "lazyfree-lazy-eviction": "yes",
}
"""What can be set, with the value that a new instance has."""


@answers("r-kvstore", "DescribeParameters")
def describe_parameters(call: LocalCall, world: World) -> dict[str, Any]:
    thing = instance_of(call, world, "DBInstanceId")
    running = [
        {
            "CheckingCode": "",
            "ForceRestart": "false",
            "ModifiableStatus": "true",
            "ParameterName": name,
            "ParameterValue": thing.data["Parameters"].get(name, default),
        }
        for name, default in PARAMETERS.items()
    ]
    return {
        "ConfigParameters": {"Parameter": []},
        "Engine": "redis",
        "EngineVersion": thing.data["EngineVersion"],
        "RunningParameters": {"Parameter": running},
    }


@answers("r-kvstore", "DescribeLogicInstanceTopology")
def describe_logic_instance_topology(call: LocalCall, world: World) -> dict[str, Any]:
    thing = instance_of(call, world)
    tair_class, shards = CLASSES[thing.data["InstanceClass"]], thing.data["ShardCount"]
    if shards == 1:
        raise ApiError(
            400,
            "IncorrectArchitectureType",
            f"InstanceId {thing.id!r} is a standard instance: it has no nodes to list",
        )
    nodes = [
        {
            "Bandwidth": str(tair_class.bandwidth_mb_s + thing.data["ExtraBandwidth"]),
            "Capacity": str(tair_class.memory_gb * 1024),
            "Connection": str(tair_class.connections),
            "NodeId": node_id(thing, number),
            "NodeType": "db",
        }
        for number in range(shards)
    ]
    return {
        "InstanceId": thing.id,
        "RedisProxyList": {"NodeInfo": []},
        "RedisShardList": {"NodeInfo": nodes},
    }


def node_id(thing: Thing, number: int) -> str:
    return f"{thing.id}-db-{number}"
