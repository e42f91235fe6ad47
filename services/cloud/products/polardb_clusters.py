"""PolarDB clusters are made, shown, tagged, locked and deleted.

A cluster takes 5 to 10 minutes from Creating to Running; its primary and cluster endpoints are there from Running on. Only
one change at a time: whatever finds another one under way is refused with ``OperationDenied.DBClusterStatus``.
"""

import re
from collections.abc import Mapping
from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.polardb_calls import (
    CLUSTER,
    cluster_of,
    running_cluster,
    sent_tags,
    wrong,
)
from saleops.services.cloud.products.polardb_catalogue import CLASSES, NodeClass, class_of
from saleops.services.cloud.world import Thing, World

_VERSIONS = {
    "MySQL": ("5.6", "5.7", "8.0"),
    "PostgreSQL": ("11", "14", "15", "16"),
    "Oracle": ("11", "14"),
}
_CATEGORIES = ("Normal", "Basic", "SENormal", "ArchiveNormal", "NormalMultimaster")
_DESCRIPTION = re.compile(r"(?!https?://).{2,256}", re.DOTALL)
NODES_MOST = 16


@answers("polardb", "CreateDBCluster")
def create_db_cluster(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    _check_engine(params)
    node_class = class_of(params.get("DBNodeClass"), "DBNodeClass")
    count = params.get("DBNodeNum") or (1 if params.get("CreationCategory") == "Basic" else 2)
    if not 1 <= count <= NODES_MOST:
        raise wrong(
            "DBNodeNum", count, f"1 to {NODES_MOST} nodes", code="InvalidDBNodeNum.ValueNotSupport"
        )
    zone, vpc_id, vswitch_id = _place(call, world)
    proxy = params.get("ProxyType") or ("EXCLUSIVE" if node_class.dedicated else "GENERAL")
    if (proxy == "EXCLUSIVE") != node_class.dedicated:
        raise wrong(
            "ProxyType", proxy, f"it must match {node_class.id}", code="InvalidProxyType.Malformed"
        )
    description = params.get("DBClusterDescription") or ""
    if description and not _DESCRIPTION.fullmatch(description):
        raise wrong(
            "DBClusterDescription",
            description,
            "2 to 256 characters, no URL",
            code="InvalidDescription.Malformed",
        )
    tags = sent_tags(call)
    id = world.new_id("pc-")
    wait_s = round(300 + 300 * catalogue.chance(world, "polardb", id))
    now_ms = world.now_ms()
    nodes = [
        new_node(
            world,
            node_class.id,
            zone,
            "Writer" if number == 0 else "Reader",
            now_ms,
            now_ms + wait_s * 1000,
        )
        for number in range(count)
    ]
    data: dict[str, Any] = {
        "RegionId": call.region,
        "ZoneId": zone,
        "VPCId": vpc_id,
        "VSwitchId": vswitch_id,
        "DBType": params["DBType"],
        "DBVersion": params["DBVersion"],
        "PayType": params["PayType"],
        "Category": params.get("CreationCategory") or "Normal",
        "DBNodeClass": node_class.id,
        "DBClusterDescription": description or id,
        "ProxyType": proxy,
        "HotStandbyCluster": params.get("HotStandbyCluster") or "OFF",
        "StorageType": params.get("StorageType") or "PSL5",
        "StorageSpace": params.get("StorageSpace") or 0,
        "ResourceGroupId": params.get("ResourceGroupId") or f"rg-acfm{world.account[:11]}",
        "DeletionLock": 0,
        "Tags": tags,
        "nodes": nodes,
        "whitelist": {"default": {"ips": _first_ips(params), "attribute": ""}},
        "security_groups": [],
        "accounts": {},
        "databases": {},
        "parameters": {},
        "ip_use": {vswitch_id: 2} if vswitch_id else {},
    }
    cluster = world.create(CLUSTER, id, data, [("Creating", wait_s), ("Running", 0)])
    _default_endpoints(world, cluster, wait_s)
    return {
        "DBClusterId": id,
        "OrderId": order_id(world, id),
        "ResourceGroupId": data["ResourceGroupId"],
    }


def _check_engine(params: Mapping[str, Any]) -> None:
    engine, version = params["DBType"], params["DBVersion"]
    if engine not in _VERSIONS:
        raise wrong(
            "DBType", engine, "use " + ", ".join(_VERSIONS), code="InvalidDBType.ValueNotSupport"
        )
    if version not in _VERSIONS[engine]:
        raise wrong(
            "DBVersion",
            version,
            f"{engine} has {', '.join(_VERSIONS[engine])}",
            code="InvalidDBVersion.ValueNotSupport",
        )
    if params["PayType"] not in ("Postpaid", "Prepaid"):
        raise wrong(
            "PayType",
            params["PayType"],
            "use Postpaid, Prepaid",
            code="InvalidPayType.ValueNotSupport",
        )
    if params["PayType"] == "Prepaid" and not (params.get("Period") and params.get("UsedTime")):
        raise ApiError(400, "MissingParameter", "Period and UsedTime: PayType 'Prepaid' needs both")
    category = params.get("CreationCategory")
    if category and category not in _CATEGORIES:
        raise wrong("CreationCategory", category, "use " + ", ".join(_CATEGORIES))


def _place(call: LocalCall, world: World) -> tuple[str, str, str]:
    """Zone, VPC and vSwitch: both ids or neither, and the vSwitch in the zone."""
    params = call.params
    vpc_id, vswitch_id, zone = (
        str(params.get(name) or "") for name in ("VPCId", "VSwitchId", "ZoneId")
    )
    if bool(vpc_id) != bool(vswitch_id):
        raise ApiError(
            400,
            "MissingParameter",
            f"VPCId {vpc_id!r} and VSwitchId {vswitch_id!r}: send both or neither",
        )
    if zone and zone not in catalogue.zones_of(call.region):
        raise wrong("ZoneId", zone, f"no such zone in {call.region}", code="InvalidZoneId.NotFound")
    if not vpc_id:
        return zone or catalogue.zones_of(call.region)[0], "", ""
    vpc, vswitch = world.find("vpc", vpc_id), world.find("vswitch", vswitch_id)
    if vpc is None:
        raise ApiError(404, "InvalidVPCId.NotFound", f"VPCId {vpc_id!r}: no such VPC")
    if vswitch is None or vswitch.data.get("VpcId") != vpc_id:
        raise ApiError(
            404,
            "InvalidVSwitchId.NotFound",
            f"VSwitchId {vswitch_id!r}: no such vSwitch in VPC {vpc_id!r}",
        )
    there = str(vswitch.data["ZoneId"])
    if zone and zone != there:
        raise wrong(
            "VSwitchId",
            vswitch_id,
            f"it lies in {there}, ZoneId is {zone!r}",
            code="InvalidVSwitchId.ZoneMismatch",
        )
    if world.state(vswitch) != "Available":
        raise ApiError(
            400, "IncorrectVSwitchStatus", f"VSwitchId {vswitch_id!r} is {world.state(vswitch)}"
        )
    return there, vpc_id, vswitch_id


def _first_ips(params: Mapping[str, Any]) -> list[str]:
    return [ip.strip() for ip in str(params.get("SecurityIPList") or "127.0.0.1").split(",")]


def new_node(
    world: World, node_class: str, zone: str, role: str, born_ms: int, ready_ms: int
) -> dict[str, Any]:
    return {
        "id": world.new_id("pi-"),
        "class": node_class,
        "zone": zone,
        "role": role,
        "born_ms": born_ms,
        "ready_ms": ready_ms,
        "gone_ms": None,
        "next_class": "",
        "next_class_ms": 0,
    }


def nodes_now(world: World, cluster: Thing) -> list[dict[str, Any]]:
    """The nodes that are there, those that are made or removed just now included."""
    now_ms = world.now_ms()
    return [
        node
        for node in cluster.data["nodes"]
        if node["gone_ms"] is None or node["gone_ms"] > now_ms
    ]


def class_now(world: World, node: Mapping[str, Any]) -> NodeClass:
    now_ms = world.now_ms()
    changed = node["next_class"] and node["next_class_ms"] <= now_ms
    if changed and now_ms >= node.get("restore_ms", now_ms + 1):  # a temporary change is over
        changed = False
    return CLASSES[node["next_class"] if changed else node["class"]]


def node_state(world: World, node: Mapping[str, Any]) -> str:
    now_ms = world.now_ms()
    if node["gone_ms"] is not None:
        return "DBNodeDeleting"
    if node["ready_ms"] > now_ms:
        return "Creating"
    return "ClassChanging" if node["next_class"] and node["next_class_ms"] > now_ms else "Running"


def order_id(world: World, about: str) -> str:
    return str(
        20_000_000_000_000 + int(catalogue.chance(world, "order", about, world.now_ms()) * 10**13)
    )


def _default_endpoints(world: World, cluster: Thing, wait_s: float) -> None:
    for kind, mode, sort in (("Primary", "ReadWrite", "pi"), ("Cluster", "ReadWrite", "rwlb")):
        id = world.new_id("pe-")
        host = f"{cluster.id}.{sort}.polardb.{cluster.data['RegionId']}.rds.aliyuncs.com"
        world.create(
            "polardb_endpoint",
            id,
            {
                "DBClusterId": cluster.id,
                "EndpointType": kind,
                "ReadWriteMode": mode,
                "AutoAddNewNodes": "Enable" if kind == "Cluster" else "Disable",
                "DBEndpointDescription": "",
                "Nodes": "",
                "EndpointConfig": {"ConsistLevel": "1"} if kind == "Cluster" else {},
                "ConnectionString": host,
            },
            [("Creating", wait_s), ("Running", 0)],
        )


@answers("polardb", "ModifyDBClusterDeletion")
def modify_db_cluster_deletion(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    world.update(cluster, DeletionLock=int(bool(call.params.get("Protection"))))
    return {}


@answers("polardb", "DeleteDBCluster")
def delete_db_cluster(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    data = cluster.data
    if data["DeletionLock"]:
        raise ApiError(
            403,
            "OperationDenied.DBClusterDeletionLock",
            f"DBClusterId {cluster.id!r} has a deletion lock: lift it with ModifyDBClusterDeletion first",
        )
    if data["PayType"] == "Prepaid":
        raise ApiError(
            403,
            "OperationDenied.PayType",
            f"DBClusterId {cluster.id!r} is Prepaid: it cannot be deleted",
        )
    running_cluster(call, world)
    world.remove(cluster, state="Deleting", after_s=60)
    for endpoint in list(world.each("polardb_endpoint", DBClusterId=cluster.id)):
        world.remove(endpoint, state="Deleting", after_s=60)
    return {}
