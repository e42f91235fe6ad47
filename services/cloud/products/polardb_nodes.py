"""PolarDB nodes come and go and change their class, one change of a cluster at a time.

A read-only node takes about five minutes; a class change about five minutes a node. A planned change begins at its time.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.polardb_calls import (
    CLUSTER,
    ENDPOINT,
    iso,
    running_cluster,
    start_ms_of,
    time_ms,
    wrong,
)
from saleops.services.cloud.products.polardb_catalogue import class_of
from saleops.services.cloud.products.polardb_clusters import (
    NODES_MOST,
    class_now,
    new_node,
    nodes_now,
    order_id,
)
from saleops.services.cloud.world import Thing, World

NODE_S = 300


def _busy(world: World, cluster: Thing, start_ms: int, state: str, lasts_s: float) -> None:
    wait_s = (start_ms - world.now_ms()) / 1000
    waiting = [("Running", wait_s)] if wait_s > 0 else []
    world.move(cluster, [*waiting, (state, lasts_s), ("Running", 0)])


@answers("polardb", "CreateDBNodes")
def create_db_nodes(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    return {"DBClusterId": cluster.id, **_add(call, world, cluster, start_ms_of(call, world))}


def _add(call: LocalCall, world: World, cluster: Thing, start_ms: int) -> dict[str, Any]:
    sent = list(call.params.get("DBNode") or ())
    nodes = nodes_now(world, cluster)
    writer = class_now(world, nodes[0])
    if not sent:
        raise ApiError(400, "MissingParameter", "DBNode: say which nodes to add")
    if len(nodes) + len(sent) > NODES_MOST:
        raise wrong(
            "DBNode",
            len(sent),
            f"the cluster has {len(nodes)} of {NODES_MOST} nodes",
            code="QuotaExceeded.DBNode",
        )
    for number, one in enumerate(sent, start=1):
        if one.get("TargetClass"):
            asked = class_of(one["TargetClass"], f"DBNode.{number}.TargetClass")
            if (
                asked.id.split(".")[1] != writer.id.split(".")[1]
                or asked.dedicated != writer.dedicated
            ):
                raise wrong(
                    f"DBNode.{number}.TargetClass", asked.id, f"not of the kind of {writer.id}"
                )
        if one.get("ZoneId") and one["ZoneId"] != cluster.data["ZoneId"]:
            raise wrong(
                f"DBNode.{number}.ZoneId",
                one["ZoneId"],
                f"the nodes are in {cluster.data['ZoneId']}",
                code="InvalidZoneId.NotFound",
            )
    bound = [id for id in str(call.params.get("EndpointBindList") or "").split(",") if id]
    endpoints = []
    for id in bound:
        endpoint = world.find(ENDPOINT, id)
        if endpoint is None or endpoint.data["DBClusterId"] != cluster.id:
            raise ApiError(
                404, "InvalidDBEndpointId.NotFound", f"EndpointBindList {id!r}: no such endpoint"
            )
        endpoints.append(endpoint)
    lasts_s = NODE_S + 30 * (len(sent) - 1)
    made = [
        new_node(
            world,
            one.get("TargetClass") or writer.id,
            cluster.data["ZoneId"],
            "Reader",
            start_ms,
            start_ms + lasts_s * 1000,
        )
        for one in sent
    ]
    ids = [node["id"] for node in made]
    world.update(cluster, nodes=[*cluster.data["nodes"], *made])
    for endpoint in endpoints:
        if endpoint.data["Nodes"]:
            world.update(endpoint, Nodes=",".join([endpoint.data["Nodes"], *ids]))
    for endpoint in world.each(ENDPOINT, DBClusterId=cluster.id, AutoAddNewNodes="Enable"):
        if endpoint.data["Nodes"] and endpoint not in endpoints:
            world.update(endpoint, Nodes=",".join([endpoint.data["Nodes"], *ids]))
    _busy(world, cluster, start_ms, "DBNodeCreating", lasts_s)
    return {"DBNodeIds": {"DBNodeId": ids}, "OrderId": order_id(world, cluster.id)}


@answers("polardb", "DeleteDBNodes")
def delete_db_nodes(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    nodes = {node["id"]: node for node in nodes_now(world, cluster)}
    ids = list(call.params.get("DBNodeId") or ())
    for number, id in enumerate(ids, start=1):
        field = f"DBNodeId.{number}"
        if id not in nodes:
            raise ApiError(
                404, "InvalidDBNodeId.NotFound", f"{field} {id!r}: no such node in {cluster.id!r}"
            )
        if nodes[id]["role"] == "Writer":
            raise ApiError(403, "OperationDenied.DBNodeRole", f"{field} {id!r} is the primary node")
        if id in ids[: number - 1]:
            raise wrong(field, id, "the node comes twice")
    if not ids:
        raise ApiError(400, "MissingParameter", "DBNodeId: name the nodes to delete")
    if len(nodes) - len(ids) < 2 and cluster.data["Category"] == "Normal":
        raise wrong(
            "DBNodeId",
            len(ids),
            "a cluster keeps one read-only node",
            code="OperationDenied.DBNodeNum",
        )
    for id in ids:
        nodes[id]["gone_ms"] = world.now_ms() + 120_000
    for endpoint in world.each(ENDPOINT, DBClusterId=cluster.id):
        left = [id for id in endpoint.data["Nodes"].split(",") if id and id not in ids]
        world.update(endpoint, Nodes=",".join(left))
    _busy(world, cluster, world.now_ms(), "DBNodeDeleting", 120)
    return {"DBClusterId": cluster.id, "OrderId": order_id(world, cluster.id)}


@answers("polardb", "ModifyDBNodeClass")
def modify_db_node_class(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    changes = {node["id"]: call.params["DBNodeTargetClass"] for node in nodes_now(world, cluster)}
    return _change_classes(call, world, cluster, changes, "DBNodeTargetClass")


@answers("polardb", "ModifyDBNodesClass")
def modify_db_nodes_class(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    known = {node["id"] for node in nodes_now(world, cluster)}
    changes: dict[str, Any] = {}
    for number, one in enumerate(call.params.get("DBNode") or (), start=1):
        if one.get("DBNodeId") not in known:
            raise ApiError(
                404,
                "InvalidDBNodeId.NotFound",
                f"DBNode.{number}.DBNodeId {one.get('DBNodeId')!r}: no such node",
            )
        changes[one["DBNodeId"]] = one.get("TargetClass")
    if not changes:
        raise ApiError(400, "MissingParameter", "DBNode: name the nodes to change")
    return _change_classes(call, world, cluster, changes, "DBNode.TargetClass")


def _change_classes(
    call: LocalCall, world: World, cluster: Thing, changes: dict[str, Any], field: str
) -> dict[str, Any]:
    upgrade = call.params["ModifyType"] == "Upgrade"
    nodes = {node["id"]: node for node in nodes_now(world, cluster)}
    for id, name in changes.items():
        target, own = class_of(name, field), class_now(world, nodes[id])
        if target.id == own.id:
            raise wrong(
                field,
                target.id,
                f"node {id} has this class already",
                code="InvalidDBNodeTargetClass",
            )
        if target.id.split(".")[1] != own.id.split(".")[1]:
            raise wrong(
                field, target.id, f"not of the engine of {own.id}", code="InvalidDBNodeTargetClass"
            )
        if (target.cores, target.memory_mb) < (own.cores, own.memory_mb) and upgrade:
            raise wrong("ModifyType", "Upgrade", f"{target.id} is smaller than {own.id}")
        if (target.cores, target.memory_mb) > (own.cores, own.memory_mb) and not upgrade:
            raise wrong(
                "ModifyType", call.params["ModifyType"], f"{target.id} is larger than {own.id}"
            )
    start_ms = start_ms_of(call, world)
    lasts_s = NODE_S * len(changes)
    for id, name in changes.items():
        nodes[id] |= {
            "class": class_now(world, nodes[id]).id,
            "next_class": name,
            "next_class_ms": start_ms + lasts_s * 1000,
        }
    _busy(world, cluster, start_ms, "ClassChanging", lasts_s)
    return {"DBClusterId": cluster.id, "OrderId": order_id(world, cluster.id)}


@answers("polardb", "TempModifyDBNode")
def temp_modify_db_node(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    params = call.params
    if cluster.data["PayType"] != "Prepaid":
        raise ApiError(
            403,
            "OperationDenied.PayType",
            f"DBClusterId {cluster.id!r} is Postpaid: temporary changes are for Prepaid ones",
        )
    if params["ModifyType"] != "TempUpgrade":
        raise wrong("ModifyType", params["ModifyType"], "use TempUpgrade")
    restore_ms = time_ms(params["RestoreTime"], "RestoreTime")
    if restore_ms < world.now_ms() + 3_600_000:
        raise wrong(
            "RestoreTime",
            params["RestoreTime"],
            "at least an hour ahead",
            code="InvalidRestoreTime",
        )
    if params["OperationType"] == "Add":
        added = _add(call, world, cluster, world.now_ms())
        ids = set(added["DBNodeIds"]["DBNodeId"])
        for node in cluster.data["nodes"]:
            if node["id"] in ids:
                node["gone_ms"] = restore_ms
        world.changed()
        return {"DBClusterId": cluster.id, "DBNodeIds": sorted(ids), "OrderId": added["OrderId"]}
    if params["OperationType"] != "Modify":
        raise wrong("OperationType", params["OperationType"], "use Modify, Add")
    target = class_of(
        (params["DBNode"][0] if params.get("DBNode") else {}).get("TargetClass"),
        "DBNode.1.TargetClass",
    )
    nodes = nodes_now(world, cluster)
    lasts_s = NODE_S * len(nodes)
    for node in nodes:
        node |= {
            "class": class_now(world, node).id,
            "next_class": target.id,
            "next_class_ms": world.now_ms() + lasts_s * 1000,
        }
        node["restore_ms"] = restore_ms
    _busy(world, cluster, world.now_ms(), "ClassChanging", lasts_s)
    return {
        "DBClusterId": cluster.id,
        "DBNodeIds": [node["id"] for node in nodes],
        "OrderId": order_id(world, cluster.id),
    }


@answers("polardb", "FailoverDBCluster")
def failover_db_cluster(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    nodes = nodes_now(world, cluster)
    target = call.params.get("TargetDBNodeId")
    readers = [node for node in nodes if node["role"] == "Reader"]
    if target and target not in [node["id"] for node in readers]:
        raise ApiError(
            404, "InvalidDBNodeId.NotFound", f"TargetDBNodeId {target!r}: no such read-only node"
        )
    if not readers:
        raise ApiError(
            403,
            "OperationDenied.DBNodeNum",
            f"DBClusterId {cluster.id!r} has no node to fail over to",
        )
    chosen = next(node for node in readers if target in (None, "", node["id"]))
    for node in nodes:
        node["role"] = "Writer" if node is chosen else "Reader"
    nodes.sort(key=lambda node: node["role"] != "Writer")
    world.update(cluster, nodes=nodes)
    _busy(world, cluster, world.now_ms(), "Switching", 45)
    return {}


@answers("polardb", "DescribeTasks")
def describe_tasks(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    start_ms, end_ms = (
        time_ms(params["StartTime"], "StartTime"),
        time_ms(params["EndTime"], "EndTime"),
    )
    id = params.get("DBClusterId") or ""
    cluster = world.find(CLUSTER, id) if id else None
    if id and cluster is None:
        raise ApiError(404, "InvalidDBClusterId.NotFound", f"DBClusterId {id!r}: no such cluster")
    rows = []
    for each in [cluster] if cluster is not None else list(world.each(CLUSTER)):
        for (at_ms, state), (next_ms, _) in zip(each.timeline, each.timeline[1:], strict=False):
            if state != "Running" and start_ms <= at_ms <= end_ms:
                rows.append(_task(world, each.id, state, at_ms, next_ms))
    rows = [row for row in rows if params.get("Status") in (None, "", row.pop("Status"))]
    size, number = params.get("PageSize") or 30, params.get("PageNumber") or 1
    page = rows[(number - 1) * size : number * size]
    return {
        "DBClusterId": id,
        "EndTime": params["EndTime"],
        "PageNumber": number,
        "PageRecordCount": len(page),
        "StartTime": params["StartTime"],
        "Tasks": {"Task": page},
        "TotalRecordCount": len(rows),
    }


def _task(world: World, cluster_id: str, state: str, at_ms: int, end_ms: int) -> dict[str, Any]:
    now_ms = world.now_ms()
    done = min(100, max(0, round(100 * (now_ms - at_ms) / max(1, end_ms - at_ms))))
    return {
        "BeginTime": iso(at_ms),
        "ExpectedFinishTime": iso(end_ms),
        "FinishTime": iso(end_ms) if end_ms <= now_ms else "",
        "Progress": done,
        "Remain": max(0, (end_ms - now_ms) // 1000),
        "Status": "Finished" if done == 100 else "Waiting" if at_ms > now_ms else "Running",
        "TaskAction": state,
        "TaskId": f"{cluster_id}-{at_ms}",
    }
