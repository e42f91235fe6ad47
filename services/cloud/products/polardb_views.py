"""PolarDB clusters as they are shown: the list (which lags) and one by its id."""

from collections.abc import Mapping
from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.products.polardb_calls import (
    CLUSTER,
    cluster_of,
    iso,
    numbered,
    tag_pairs,
)
from saleops.services.cloud.products.polardb_clusters import class_now, node_state, nodes_now
from saleops.services.cloud.world import Thing, World


@answers("polardb", "DescribeDBClusters")
def describe_db_clusters(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    ids = _words(params.get("DBClusterIds"))
    nodes = _words(params.get("DBNodeIds"))
    wanted = {key: params[key] for key in ("DBType", "DBVersion", "PayType") if params.get(key)}
    found = [
        cluster
        for cluster in world.listed(CLUSTER, RegionId=params["RegionId"])
        if all(cluster.data[key] == value for key, value in wanted.items())
        and (not ids or cluster.id in ids)
        and (not nodes or any(node["id"] in nodes for node in nodes_now(world, cluster)))
        and str(params.get("DBClusterDescription") or "") in cluster.data["DBClusterDescription"]
        and params.get("DBClusterStatus") in (None, "", world.state(cluster))
        and all(
            tag.get("Key") in cluster.data["Tags"]
            and tag.get("Value") in (None, "", cluster.data["Tags"][tag["Key"]])
            for tag in params.get("Tag") or ()
        )
    ]
    page, about = numbered(found, params, default=30, sizes=(30, 50, 100))
    return {**about, "Items": {"DBCluster": [_line(world, cluster) for cluster in page]}}


def _words(sent: Any) -> list[str]:
    return [word for word in str(sent or "").split(",") if word]


def _line(world: World, cluster: Thing) -> dict[str, Any]:
    data, nodes = cluster.data, nodes_now(world, cluster)
    first = class_now(world, nodes[0])
    return {
        "Category": data["Category"],
        "CpuCores": str(first.cores),
        "CreateTime": iso(cluster.born_ms),
        "DBClusterDescription": data["DBClusterDescription"],
        "DBClusterId": cluster.id,
        "DBClusterNetworkType": "VPC",
        "DBClusterStatus": world.state(cluster),
        "DBNodeClass": first.id,
        "DBNodeNumber": len(nodes),
        "DBNodes": {
            "DBNode": [
                {
                    "DBNodeClass": class_now(world, node).id,
                    "DBNodeId": node["id"],
                    "DBNodeRole": node["role"],
                    "RegionId": data["RegionId"],
                    "ZoneId": node["zone"],
                }
                for node in nodes
            ]
        },
        "DBType": data["DBType"],
        "DBVersion": data["DBVersion"],
        "DeletionLock": data["DeletionLock"],
        "Engine": "POLARDB",
        "ExpireTime": "",
        "Expired": "false",
        "LockMode": "Unlock",
        "MemorySize": str(first.memory_mb),
        "PayType": data["PayType"],
        "RegionId": data["RegionId"],
        "ResourceGroupId": data["ResourceGroupId"],
        "StorageType": data["StorageType"],
        "StorageUsed": _storage_used(world, cluster),
        "Tags": {"Tag": tag_pairs(data["Tags"])},
        "VpcId": data["VPCId"],
        "VswitchId": data["VSwitchId"],
        "ZoneId": data["ZoneId"],
    }


def _storage_used(world: World, cluster: Thing) -> int:
    return 3_012_558_848 if world.state(cluster) != "Creating" else 0


@answers("polardb", "DescribeDBClusterAttribute")
def describe_db_cluster_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    data = cluster.data
    return {
        "Category": data["Category"],
        "CreationTime": iso(cluster.born_ms),
        "DBClusterDescription": data["DBClusterDescription"],
        "DBClusterId": cluster.id,
        "DBClusterNetworkType": "VPC",
        "DBClusterStatus": world.state(cluster),
        "DBNodes": [_node(world, node) for node in nodes_now(world, cluster)],
        "DBType": data["DBType"],
        "DBVersion": data["DBVersion"],
        "DBVersionStatus": "Stable",
        "DeletionLock": data["DeletionLock"],
        "Engine": "POLARDB",
        "ExpireTime": "",
        "Expired": "false",
        "HotStandbyCluster": data["HotStandbyCluster"],
        "IsLatestVersion": True,
        "IsProxyLatestVersion": True,
        "LockMode": "Unlock",
        "MaintainTime": "18:00Z-19:00Z",
        "PayType": data["PayType"],
        "ProxyStatus": "Enabled" if world.state(cluster) != "Creating" else "",
        "ProxyType": data["ProxyType"],
        "RegionId": data["RegionId"],
        "ResourceGroupId": data["ResourceGroupId"],
        "StorageSpace": data["StorageSpace"],
        "StorageType": data["StorageType"],
        "StorageUsed": _storage_used(world, cluster),
        "Tags": tag_pairs(data["Tags"]),
        "VPCId": data["VPCId"],
        "VSwitchId": data["VSwitchId"],
        "ZoneIds": data["ZoneId"],
    }


def _node(world: World, node: Mapping[str, Any]) -> dict[str, Any]:
    node_class = class_now(world, node)
    return {
        "CpuCores": str(node_class.cores),
        "CreationTime": iso(node["born_ms"]),
        "DBNodeClass": node_class.id,
        "DBNodeDescription": "",
        "DBNodeId": node["id"],
        "DBNodeRole": node["role"],
        "DBNodeStatus": node_state(world, node),
        "FailoverPriority": 1,
        "HotReplicaMode": "OFF",
        "ImciSwitch": "OFF",
        "MaxConnections": node_class.connections,
        "MaxIOPS": node_class.iops,
        "MemorySize": str(node_class.memory_mb),
        "ZoneId": node["zone"],
    }
