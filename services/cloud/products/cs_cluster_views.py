"""Clusters as they are shown: the list (which lags), one by its id (which does not), and what belongs to one."""

import json
from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    CLUSTER,
    NODE,
    cluster_of,
    iso,
    page_of,
    tag_pairs,
)
from saleops.services.cloud.products.cs_scaling import nodes_of, pools_of, settle_cluster
from saleops.services.cloud.products.cs_versions import upgrades_of
from saleops.services.cloud.world import Thing, World


@answers("cs", "DescribeClustersV1")
def describe_clusters_v1(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    wanted = {
        key: params[key]
        for key in ("name", "cluster_type", "cluster_spec", "profile", "region_id")
        if params.get(key)
    }
    found = [
        cluster
        for cluster in world.listed(CLUSTER)
        if all(cluster.data[key] == value for key, value in wanted.items())
        and params.get("cluster_id") in (None, "", cluster.id)
    ]
    page, about = page_of(found, params, default=10, most=100)
    return {"clusters": [_common(world, cluster) for cluster in page], "page_info": about}


@answers("cs", "DescribeClusterDetail")
def describe_cluster_detail(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    settle_cluster(world, cluster.id)
    data = cluster.data
    host = f"{cluster.id}.{data['region_id']}.alicontainer.com"
    return {
        **_common(world, cluster),
        "auto_mode": {"enable": False},
        "control_plane_endpoints_config": {
            "internal_dns_config": {"bind_vpcs": [], "enabled": False},
            "load_balancers_config": [
                {
                    "endpoint": f"https://{data['private_address']}:6443",
                    "endpoint_type": "intranet",
                    "load_balancer_id": data["load_balancer_id"],
                }
            ],
        },
        "extra_sans": data["extra_sans"],
        "node_cidr_mask": data["node_cidr_mask"],
        "parameters": {
            "ServiceCIDR": data["service_cidr"],
            "VpcId": data["vpc_id"],
            "PodVswitchIds": json.dumps(data["pod_vswitch_ids"]),
            "SNatEntry": str(data["snat_entry"]),
        },
        "rrsa_config": {
            "enabled": data["rrsa_enabled"],
            "audience": "sts.aliyuncs.com" if data["rrsa_enabled"] else "",
            "issuer": f"https://oidc-ack-{data['region_id']}.{host}"
            if data["rrsa_enabled"]
            else "",
            "oidc_name": f"ack-rrsa-{cluster.id}" if data["rrsa_enabled"] else "",
        },
    }


def _common(world: World, cluster: Thing) -> dict[str, Any]:
    data, state = cluster.data, world.state(cluster)
    endpoints = {"intranet_api_server_endpoint": f"https://{data['private_address']}:6443"}
    if data["public_address"]:
        endpoints["api_server_endpoint"] = f"https://{data['public_address']}:6443"
    next_version = (upgrades_of(data["version"]) or [""])[0]
    return {
        "cluster_domain": data["cluster_domain"],
        "cluster_id": cluster.id,
        "cluster_spec": data["cluster_spec"],
        "cluster_type": data["cluster_type"],
        "container_cidr": data["container_cidr"],
        "created": iso(cluster.born_ms),
        "current_version": data["version"],
        "deletion_protection": data["deletion_protection"],
        "docker_version": "",
        "external_loadbalancer_id": data["load_balancer_id"],
        "init_version": data["version"],
        "ip_stack": data["ip_stack"],
        "maintenance_window": data["maintenance_window"],
        # The endpoints appear once there is an API server to answer on them.
        "master_url": json.dumps(endpoints) if state != "initial" else "",
        "meta_data": json.dumps({"Capabilities": {"Network": data["network"]}}),
        "name": data["name"],
        "network_mode": "vpc",
        "next_version": next_version,
        "operation_policy": data["operation_policy"],
        "private_zone": False,
        "profile": data["profile"],
        "proxy_mode": data["proxy_mode"],
        "region_id": data["region_id"],
        "resource_group_id": data["resource_group_id"],
        "security_group_id": data["security_group_id"],
        "service_cidr": data["service_cidr"],
        "size": sum(1 for _ in world.each(NODE, cluster_id=cluster.id)),
        "state": state,
        "subnet_cidr": data["container_cidr"],
        "tags": tag_pairs(data["tags"]),
        "timezone": data["timezone"],
        "updated": iso(data["updated_ms"]),
        "vpc_id": data["vpc_id"],
        "vswitch_id": ",".join(data["vswitch_ids"]),
        "vswitch_ids": data["vswitch_ids"],
        "worker_ram_role_name": f"KubernetesWorkerRole-{cluster.id[:8]}",
        "zone_id": next(iter(data["zone_ids"]), ""),
    }


@answers("cs", "DescribeClusterResources")
def describe_cluster_resources(call: LocalCall, world: World) -> list[dict[str, Any]]:
    """What a delete would meet. ``auto_create`` 0 is what was there before and stays."""
    cluster = cluster_of(call, world)
    data = cluster.data
    made = {id for _, id in data["made"]}
    rows = [
        ("VPC", data["vpc_id"], False),
        ("SecurityGroup", data["security_group_id"], data["security_group_id"] in made),
        ("SLB", data["load_balancer_id"], True),
        *(("VSwitch", id, False) for id in data["vswitch_ids"]),
    ]
    for pool in pools_of(world, cluster.id):
        rows.append(("ESS", pool.data["scaling_group"]["scaling_group_id"], True))
        rows += [("ECS", node.id, True) for node in nodes_of(world, pool)]
    return [
        {
            "auto_create": int(auto),
            "cluster_id": cluster.id,
            "created": iso(cluster.born_ms),
            "creator_type": "system" if auto else "user",
            "delete_behavior": {
                "changeable": kind in ("SLB", "SecurityGroup"),
                "delete_by_default": auto,
            },
            "dependencies": [],
            "extra_info": {},
            "instance_id": id,
            "resource_info": "",
            "resource_type": kind,
            "state": "CREATE_COMPLETE"
            if world.state(cluster) != "deleting"
            else "DELETE_IN_PROGRESS",
        }
        for kind, id, auto in rows
    ]


@answers("cs", "CheckControlPlaneLogEnable")
def check_control_plane_log_enable(call: LocalCall, world: World) -> dict[str, Any]:
    data = cluster_of(call, world).data
    return {
        "aliuid": world.account,
        "components": data["log_components"],
        "log_project": data["log_project"] if data["log_components"] else "",
        "log_ttl": data["log_ttl"] if data["log_components"] else "",
    }
