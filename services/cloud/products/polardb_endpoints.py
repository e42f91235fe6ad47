"""Endpoints of a PolarDB cluster: the primary and the cluster endpoint come with it, custom ones are made."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.documents import compact, object_in
from saleops.services.cloud.products.polardb_access import allows
from saleops.services.cloud.products.polardb_calls import (
    ENDPOINT,
    cluster_of,
    running_cluster,
    wrong,
)
from saleops.services.cloud.products.polardb_clusters import nodes_now
from saleops.services.cloud.world import Thing, World

CUSTOM_MOST = 7
_LEVELS = ("0", "1", "2")


@answers("polardb", "DescribeDBClusterEndpoints")
def describe_db_cluster_endpoints(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    wanted = call.params.get("DBEndpointId")
    if wanted:
        _endpoint_of(call, world, cluster)
    return {
        "Items": [
            _shown(world, cluster, endpoint)
            for endpoint in world.each(ENDPOINT, DBClusterId=cluster.id)
            if world.state(endpoint) != "Creating" and wanted in (None, "", endpoint.id)
        ]
    }


def _shown(world: World, cluster: Thing, endpoint: Thing) -> dict[str, Any]:
    data, nodes = endpoint.data, nodes_now(world, cluster)
    if data["EndpointType"] == "Primary":
        names = [node["id"] for node in nodes if node["role"] == "Writer"]
    else:
        names = [name for name in data["Nodes"].split(",") if name] or [
            node["id"] for node in nodes
        ]
    return {
        "AddressItems": [
            {
                "ConnectionString": data["ConnectionString"],
                "IPAddress": "",
                "NetType": "Private",
                "Port": "3306" if cluster.data["DBType"] == "MySQL" else "1921",
                "VPCId": cluster.data["VPCId"],
                "VSwitchId": cluster.data["VSwitchId"],
            },
            *data.get("public", []),
        ],
        "AutoAddNewNodes": data["AutoAddNewNodes"],
        "DBClusterId": cluster.id,
        "DBEndpointDescription": data["DBEndpointDescription"],
        "DBEndpointId": endpoint.id,
        "EndpointConfig": compact(data["EndpointConfig"]) if data["EndpointConfig"] else "",
        "EndpointType": data["EndpointType"],
        "NodeWithRoles": "",
        "Nodes": ",".join(names),
        "ReadWriteMode": data["ReadWriteMode"],
    }


@answers("polardb", "CreateDBClusterEndpoint")
def create_db_cluster_endpoint(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = running_cluster(call, world), call.params
    if params["EndpointType"] != "Custom":
        raise wrong(
            "EndpointType",
            params["EndpointType"],
            "use Custom",
            code="InvalidEndpointType.NotSupport",
        )
    custom = list(world.each(ENDPOINT, DBClusterId=cluster.id, EndpointType="Custom"))
    if len(custom) >= CUSTOM_MOST:
        raise ApiError(
            400,
            "QuotaExceeded.Endpoint",
            f"DBClusterId {cluster.id!r} has its {CUSTOM_MOST} custom endpoints",
        )
    mode = params.get("ReadWriteMode") or "ReadOnly"
    config = _config(params.get("EndpointConfig"))
    nodes = _nodes(call, world, cluster)
    id = world.new_id("pe-")
    world.create(
        ENDPOINT,
        id,
        {
            "DBClusterId": cluster.id,
            "EndpointType": "Custom",
            "ReadWriteMode": mode,
            "AutoAddNewNodes": params.get("AutoAddNewNodes") or "Disable",
            "DBEndpointDescription": params.get("DBEndpointDescription") or "",
            "Nodes": nodes,
            "EndpointConfig": {"ConsistLevel": "1" if mode == "ReadWrite" else "0", **config},
            "ConnectionString": f"{id}.rwlb.polardb.{cluster.data['RegionId']}.rds.aliyuncs.com",
        },
        [("Creating", 60), ("Running", 0)],
    )
    world.move(cluster, [("NetAddressCreating", 60), ("Running", 0)])
    return {}


def _config(sent: Any) -> dict[str, Any]:
    if not sent:
        return {}
    config = object_in(sent, "EndpointConfig", code="InvalidEndpointConfig.Format")
    level = config.get("ConsistLevel")
    if level is not None and str(level) not in _LEVELS:
        raise wrong(
            "EndpointConfig.ConsistLevel", level, "use 0, 1, 2", code="InvalidEndpointConfig.Format"
        )
    return {key: str(value) for key, value in config.items()}


def _nodes(call: LocalCall, world: World, cluster: Thing) -> str:
    text = str(call.params.get("Nodes") or "")
    known = {node["id"] for node in nodes_now(world, cluster)}
    for id in filter(None, text.split(",")):
        if id not in known:
            raise ApiError(
                404, "InvalidDBNodeId.NotFound", f"Nodes {id!r}: no such node in {cluster.id!r}"
            )
    return text


def _endpoint_of(call: LocalCall, world: World, cluster: Thing) -> Thing:
    id = str(call.params["DBEndpointId"])
    endpoint = world.find(ENDPOINT, id)
    if endpoint is None or endpoint.data["DBClusterId"] != cluster.id:
        raise ApiError(
            404,
            "InvalidDBEndpointId.NotFound",
            f"DBEndpointId {id!r}: no such endpoint of {cluster.id!r}",
        )
    return endpoint


@answers("polardb", "ModifyDBClusterEndpoint")
def modify_db_cluster_endpoint(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = running_cluster(call, world), call.params
    endpoint = _endpoint_of(call, world, cluster)
    if endpoint.data["EndpointType"] == "Primary":
        raise wrong(
            "DBEndpointId",
            endpoint.id,
            "the primary endpoint cannot be changed",
            code="OperationDenied.EndpointType",
        )
    changes: dict[str, Any] = {
        key: params[key]
        for key in ("AutoAddNewNodes", "DBEndpointDescription", "ReadWriteMode")
        if params.get(key) is not None
    }
    if params.get("EndpointConfig"):
        changes["EndpointConfig"] = {
            **endpoint.data["EndpointConfig"],
            **_config(params["EndpointConfig"]),
        }
    if params.get("Nodes") is not None:
        changes["Nodes"] = _nodes(call, world, cluster)
    world.update(endpoint, **changes)
    world.move(cluster, [("NetAddressModifying", 30), ("Running", 0)])
    return {}


@answers("polardb", "DeleteDBClusterEndpoint")
def delete_db_cluster_endpoint(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    endpoint = _endpoint_of(call, world, cluster)
    if endpoint.data["EndpointType"] != "Custom":
        raise wrong(
            "DBEndpointId",
            endpoint.id,
            f"a {endpoint.data['EndpointType']} endpoint stays",
            code="OperationDenied.EndpointType",
        )
    world.remove(endpoint, state="Deleting", after_s=30)
    world.move(cluster, [("NetAddressDeleting", 30), ("Running", 0)])
    return {}


@answers("polardb", "CreateDBEndpointAddress")
def create_db_endpoint_address(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = running_cluster(call, world), call.params
    endpoint = _endpoint_of(call, world, cluster)
    if params["NetType"] != "Public":
        raise wrong(
            "NetType",
            params["NetType"],
            "use Public; the private address is there",
            code="InvalidNetType.NotSupport",
        )
    if endpoint.data.get("public"):
        raise ApiError(
            400,
            "EndpointAddressExists",
            f"DBEndpointId {endpoint.id!r} has a public address already",
        )
    prefix = params.get("ConnectionStringPrefix") or f"{endpoint.id}-public"
    address = {
        "ConnectionString": f"{prefix}.rwlb.polardb.{cluster.data['RegionId']}.rds.aliyuncs.com",
        "IPAddress": "",
        "NetType": "Public",
        "Port": "3306" if cluster.data["DBType"] == "MySQL" else "1921",
    }
    world.update(endpoint, public=[address])
    world.move(cluster, [("NetAddressCreating", 60), ("Running", 0)])
    return {}


@answers("polardb", "DescribeDBClusterProxy")
def describe_db_cluster_proxy(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    return {
        "ChildInstances": [],
        "DBProxyClusterId": cluster.id,
        "DBProxyClusterNum": 1,
        "DBProxyClusterStatus": world.state(cluster),
    }


@answers("polardb", "DescribeDBClusterConnectivity")
def describe_db_cluster_connectivity(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    source = str(call.params["SourceIpAddress"])
    allowed = allows(cluster, source)
    return {
        "ConnCheckErrorCode": "" if allowed else "SRC_IP_NOT_IN_USER_WHITELIST",
        "ConnCheckErrorMessage": "" if allowed else f"{source} is in no whitelist of {cluster.id}",
        "ConnCheckResult": "Success" if allowed else "Failed",
        "DBClusterId": cluster.id,
    }
