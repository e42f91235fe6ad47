"""The nodes of a cluster: shown, removed (drained, released), attached and repaired."""

import json
from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    INSTANCE,
    NODE,
    NODEPOOL,
    body_of,
    cluster_of,
    iso,
    nodepool_of,
    page_of,
    quota,
    running_cluster,
    seconds_between,
    wrong,
)
from saleops.services.cloud.products.cs_scaling import (
    nodes_of,
    pools_of,
    remove_nodes,
    settle,
    settle_cluster,
    staying,
    target_size,
)
from saleops.services.cloud.products.cs_tasks import start_task
from saleops.services.cloud.world import Thing, World

_STATES = ("all", "running", "removing", "initial", "failed")
REMOVE_MOST = 100


@answers("cs", "DescribeClusterNodes")
def describe_cluster_nodes(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = cluster_of(call, world), call.params
    settle_cluster(world, cluster.id)
    pool_id, state = params.get("nodepool_id"), params.get("state") or "all"
    if state not in _STATES:
        raise wrong("state", state, "use " + ", ".join(_STATES))
    if pool_id:
        pool = world.find(NODEPOOL, pool_id)
        if pool is None or pool.data["cluster_id"] != cluster.id:
            raise ApiError(
                404, "ErrorNodePoolNotFound", f"nodepool_id {pool_id!r}: no such node pool"
            )
    ids, names, ips = (_words(params.get(name)) for name in ("instanceIds", "nodeNames", "nodeIps"))
    labels = [word.partition("=")[::2] for word in _words(params.get("nodeLabels"))]
    found = [
        node
        for node in world.each(NODE, cluster_id=cluster.id)
        if (not pool_id or node.data["nodepool_id"] == pool_id)
        and (state == "all" or world.state(node) == state)
        and (not ids or node.id in ids)
        and (not names or node.data["node_name"] in names)
        and (not ips or node.data["ip"] in ips)
        and all(node.data["labels"].get(key) == value for key, value in labels)
    ]
    page, about = page_of(found, params, default=10, most=100, names=("pageNumber", "pageSize"))
    return {"nodes": [_shown(world, node) for node in page], "page": about}


def _words(sent: Any) -> list[str]:
    return [word for word in str(sent or "").split(",") if word]


def _shown(world: World, node: Thing) -> dict[str, Any]:
    data, state = node.data, world.state(node)
    ready = {"running": "Ready", "initial": "Unknown", "failed": "Unknown", "offline": "Offline"}
    instance = world.find(INSTANCE, node.id)
    return {
        "creation_time": iso(node.born_ms),
        "error_message": data.get("error_message") or "",
        "expired_time": "2099-12-31T15:59:00Z",
        "host_name": data["instance_name"],
        "image_id": data["image_id"],
        "instance_charge_type": data["instance_charge_type"],
        "instance_id": node.id,
        "instance_name": data["instance_name"],
        "instance_role": "Worker",
        "instance_status": world.state(instance) if instance is not None else "Stopped",
        "instance_type": data["instance_type"],
        "instance_type_family": catalogue.instance_types()[data["instance_type"]].family,
        "ip_address": [data["ip"]],
        "is_aliyun_node": True,
        "node_name": data["node_name"],
        "node_status": ready.get(state, "NotReady"),
        "nodepool_id": data["nodepool_id"],
        "source": "ess_attach" if data.get("attached") else "ess",
        "spot_strategy": data["spot_strategy"],
        "state": state,
    }


@answers("cs", "RemoveNodePoolNodes")
def remove_nodepool_nodes(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = nodepool_of(call, world)
    settle(world, pool)
    ids, field = _listed(call.params.get("instance_ids")), "instance_ids"
    by_name = {node.data["node_name"]: node for node in nodes_of(world, pool)}
    if not ids:
        names, field = _listed(call.params.get("nodes")), "nodes"
        ids = [by_name[name].id if name in by_name else name for name in names]
    if not ids:
        raise ApiError(400, "MissingParameter", "instance_ids: name the instances to remove")
    if len(ids) > REMOVE_MOST:
        raise wrong(field, len(ids), f"at most {REMOVE_MOST} nodes a call")
    nodes = []
    for number, id in enumerate(ids):
        node = world.find(NODE, id)
        if node is None or node.data["nodepool_id"] != pool.id:
            raise ApiError(
                404,
                "ErrorNodeNotFound",
                f"{field}[{number}] {id!r}: no such node in node pool {pool.id!r}",
            )
        if node.data["leaving"] == "removed":
            raise ApiError(
                400, "IncorrectStatus.Node", f"{field}[{number}] {id!r} is being removed already"
            )
        if node in nodes:
            raise wrong(f"{field}[{number}]", id, "the node comes twice")
        nodes.append(node)
    target = target_size(pool, len(staying(world, pool)))
    counted = sum(1 for node in nodes if node.data["leaving"] != "replaced")
    lasts_s = remove_nodes(
        world,
        pool,
        nodes,
        cause="nodes removed",
        drain=bool(call.params.get("drain_node")),
        release=bool(call.params.get("release_node")),
    )
    # The pool wants fewer from now on: else it would buy at once what was just taken out.
    pool.data["scaling_group"]["desired_size"] = max(0, target - counted)
    world.changed()
    if not call.params.get("concurrency"):
        lasts_s += 5 * (len(nodes) - 1)
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="nodepool_node_remove",
        target=("nodepool", pool.id),
        lasts_s=lasts_s,
        results=[node.id for node in nodes],
    )
    return {"task_id": task_id}


def _listed(sent: Any) -> list[str]:
    """A list of a query: parsed already, JSON in a string, or words between commas."""
    if isinstance(sent, str) and sent.startswith("["):
        try:
            sent = json.loads(sent)
        except ValueError:
            raise wrong("instance_ids", sent, "not a JSON list") from None
    if isinstance(sent, str):
        return _words(sent)
    return [str(value) for value in sent or ()]


@answers("cs", "AttachInstancesToNodePool")
def attach_instances_to_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = nodepool_of(call, world)
    settle(world, pool)
    ids = list(body_of(call).get("instances") or ())
    if not ids:
        raise ApiError(400, "MissingParameter", "instances: name the instances to add")
    have = sum(len(staying(world, each)) for each in pools_of(world, cluster.id))
    limit = quota(world, "cs.nodes_per_cluster")
    if have + len(ids) > limit:
        raise ApiError(
            400,
            "QuotaExceeded.Node",
            f"instances {len(ids)}: cluster {cluster.id!r} would have more than {limit} nodes",
        )
    instances = [_free_instance(world, cluster, id, f"instances[{n}]") for n, id in enumerate(ids)]
    target = target_size(pool, len(staying(world, pool)))
    for instance in instances:
        _attach(world, cluster, pool, instance)
    pool.data["scaling_group"]["desired_size"] = target + len(instances)
    world.changed()
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="cluster_attach",
        target=("nodepool", pool.id),
        lasts_s=120,
        results=ids,
    )
    return {"task_id": task_id}


def _free_instance(world: World, cluster: Thing, id: str, field: str) -> Thing:
    instance = world.find(INSTANCE, id)
    if instance is None:
        raise ApiError(404, "InvalidInstanceId.NotFound", f"{field} {id!r}: no such instance")
    if instance.data["VpcAttributes"].get("VpcId") != cluster.data["vpc_id"]:
        raise wrong(field, id, f"the instance is not in VPC {cluster.data['vpc_id']!r}")
    if world.find(NODE, id) is not None:
        raise wrong(field, id, "the instance is a node already")
    if world.state(instance) != "Running":
        raise ApiError(
            400,
            "IncorrectInstanceStatus",
            f"{field} {id!r} is {world.state(instance)}; it must be Running",
        )
    return instance


def _attach(world: World, cluster: Thing, pool: Thing, instance: Thing) -> None:
    data = instance.data
    addresses = data["VpcAttributes"].get("PrivateIpAddress", {}).get("IpAddress") or [""]
    world.update(instance, ClusterId=cluster.id, NodePoolId=pool.id)
    world.create(
        NODE,
        instance.id,
        {
            "cluster_id": cluster.id,
            "nodepool_id": pool.id,
            "instance_name": data["InstanceName"],
            "node_name": f"{cluster.data['region_id']}.{addresses[0]}",
            "ip": addresses[0],
            "vsw": data["VpcAttributes"].get("VSwitchId", ""),
            "zone": data["ZoneId"],
            "instance_type": data["InstanceType"],
            "instance_charge_type": data.get("InstanceChargeType", "PostPaid"),
            "image_id": data.get("ImageId", ""),
            "spot_strategy": data.get("SpotStrategy", "NoSpot"),
            "leaving": "",
            "attached": True,
            "labels": {},
        },
        [("initial", seconds_between(world, 60, 120, "attach", instance.id)), ("running", 0)],
    )


@answers("cs", "RepairClusterNodePool")
def repair_cluster_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = nodepool_of(call, world)
    names = list(body_of(call).get("nodes") or ())
    known = {name for node in nodes_of(world, pool) for name in (node.id, node.data["node_name"])}
    for number, name in enumerate(names):
        if name not in known:
            raise ApiError(
                404, "ErrorNodeNotFound", f"nodes[{number}] {name!r}: no such node in {pool.id!r}"
            )
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="nodepool_repair",
        target=("nodepool", pool.id),
        lasts_s=60,
        results=names,
    )
    return {"task_id": task_id}


@answers("cs", "SyncClusterNodePool")
def sync_cluster_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    settle_cluster(world, cluster.id)
    return {"RequestId": call.request_id}
