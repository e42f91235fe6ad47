"""Node pools as they are shown: what was asked for, and how many of its nodes are in which state."""

from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.products.cs_calls import cluster_of, iso, nodepool_of
from saleops.services.cloud.products.cs_scaling import nodes_of, pools_of, settle, target_size
from saleops.services.cloud.world import Thing, World

_OWN = ("node_tags", "security_group_id")  # kept for ourselves, or shown in another form


@answers("cs", "DescribeClusterNodePoolDetail")
def describe_cluster_nodepool_detail(call: LocalCall, world: World) -> dict[str, Any]:
    pool = nodepool_of(call, world)
    settle(world, pool)
    return shown(world, pool)


@answers("cs", "DescribeClusterNodePools")
def describe_cluster_nodepools(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    name = call.params.get("NodepoolName")
    found = []
    for pool in pools_of(world, cluster.id):
        # The list of one cluster lags as other lists do; a look at the id does not.
        if pool.seen_ms > world.now_ms() or (name and pool.data["nodepool_info"]["name"] != name):
            continue
        settle(world, pool)
        row = shown(world, pool)
        row["status"].pop("conditions")  # only a look at one pool has them
        found.append(row)
    return {"nodepools": found}


def shown(world: World, pool: Thing) -> dict[str, Any]:
    data = pool.data
    cluster = world.things["cluster"][data["cluster_id"]].data
    status = status_of(world, pool)
    group = {key: value for key, value in data["scaling_group"].items() if key not in _OWN}
    group["security_group_id"] = data["scaling_group"]["security_group_ids"][0]
    group["spot_instance_remedy"] = bool(group.get("spot_instance_remedy"))
    group["compensate_with_on_demand"] = bool(group.get("compensate_with_on_demand"))
    group["tags"] = group.get("tags") or []
    scaling = data["auto_scaling"]
    kubernetes = data["kubernetes_config"]
    return {
        "auto_scaling": {
            "enable": bool(scaling.get("enable")),
            "min_instances": int(scaling.get("min_instances") or 0),
            "max_instances": int(scaling.get("max_instances") or 0),
            "type": scaling.get("type") or "cpu",
            "is_bond_eip": bool(scaling.get("is_bond_eip")),
        },
        "kubernetes_config": {
            "runtime": "containerd",
            "runtime_version": "1.6.38",
            "cpu_policy": "none",
            "cms_enabled": False,
            "unschedulable": False,
            **kubernetes,
            "labels": kubernetes.get("labels") or [],
            "taints": kubernetes.get("taints") or [],
        },
        "management": {"enable": False, **data["management"]},
        **({"node_config": data["node_config"]} if data["node_config"] else {}),
        "nodepool_info": {
            "created": iso(pool.born_ms),
            "is_default": False,
            "name": data["nodepool_info"]["name"],
            "nodepool_id": pool.id,
            "region_id": cluster["region_id"],
            "resource_group_id": data["nodepool_info"].get("resource_group_id")
            or cluster["resource_group_id"],
            "type": data["nodepool_info"]["type"],
            "updated": iso(pool.timeline[0][0]),
        },
        "scaling_group": group,
        "status": status,
        "tee_config": {"tee_enable": bool(data["tee_config"].get("tee_enable"))},
    }


def status_of(world: World, pool: Thing) -> dict[str, Any]:
    nodes = nodes_of(world, pool)
    states = [world.state(node) for node in nodes]
    running = states.count("running")
    missing = max(0, target_size(pool, len(nodes)) - len(nodes))
    note = pool.data.get("scaling_note")
    conditions = []
    if note and missing:
        conditions.append(
            {
                "last_transition_time": iso(note["at_ms"]),
                "message": f"{missing} nodes are missing: {note['message']}",
                "reason": note["message"].split(":")[0],
                "status": "False",
                "type": "Scaled",
            }
        )
    return {
        "conditions": conditions,
        "failed_nodes": states.count("failed"),
        "healthy_nodes": running,
        "initial_nodes": states.count("initial"),
        "offline_nodes": states.count("offline"),
        "removing_nodes": states.count("removing"),
        "serving_nodes": running,
        "state": _state(world, pool, states),
        "total_nodes": len(nodes),
    }


def _state(world: World, pool: Thing, states: list[str]) -> str:
    own = world.state(pool)
    if own != "active":
        return own
    if "initial" in states:
        return "scaling"
    return "removing" if "removing" in states else "active"
