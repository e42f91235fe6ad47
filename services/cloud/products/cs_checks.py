"""Checks of a cluster before a change: started, running for a minute, then done."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    NODE,
    NODEPOOL,
    body_of,
    cluster_of,
    in_path,
    iso,
    running_cluster,
    seconds_between,
    wrong,
)
from saleops.services.cloud.world import Thing, World

CHECK = "cs_check"
_TYPES = ("ClusterUpgrade", "MasterUpgrade", "NodePoolUpgrade", "ClusterMigrate")


@answers("cs", "RunClusterCheck")
def run_cluster_check(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, body = running_cluster(call, world), body_of(call)
    type, target = body.get("type"), body.get("target") or ""
    if type not in _TYPES:
        raise wrong("type", type, "use " + ", ".join(_TYPES))
    if type == "NodePoolUpgrade":
        pool = world.find(NODEPOOL, target)
        if pool is None or pool.data["cluster_id"] != cluster.id:
            raise ApiError(
                404,
                "ErrorNodePoolNotFound",
                f"target {target!r}: no such node pool in {cluster.id!r}",
            )
    id = world.new_id("check-")
    lasts_s = seconds_between(world, 20, 60, "check", id)
    data = {"cluster_id": cluster.id, "type": type, "target": target}
    world.create(CHECK, id, data, [("Running", lasts_s), ("Succeeded", 0)])
    return {"check_id": id}


@answers("cs", "GetClusterCheck")
def get_cluster_check(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, id = cluster_of(call, world), in_path(call, "checkid")
    check = world.find(CHECK, id)
    if check is None or check.data["cluster_id"] != cluster.id:
        raise ApiError(
            404, "ErrorCheckNotFound", f"check_id {id!r}: no such check of cluster {cluster.id!r}"
        )
    return {**_line(check, world), "check_items": _items(check, cluster, world)}


@answers("cs", "ListClusterChecks")
def list_cluster_checks(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, params = cluster_of(call, world), call.params
    return {
        "checks": [
            _line(check, world)
            for check in world.each(CHECK, cluster_id=cluster.id)
            if params.get("type") in (None, "", check.data["type"])
            and params.get("target") in (None, "", check.data["target"])
        ]
    }


def _line(check: Thing, world: World) -> dict[str, Any]:
    state, ended_ms = world.state(check), check.timeline[-1][0]
    return {
        "check_id": check.id,
        "created_at": iso(check.born_ms),
        "finished_at": iso(ended_ms) if state != "Running" else "",
        "message": "" if state == "Running" else "task succeed",
        "status": state,
        "type": check.data["type"],
    }


def _items(check: Thing, cluster: Thing, world: World) -> dict[str, Any]:
    if world.state(check) == "Running":
        return {}
    nodes = list(world.each(NODE, cluster_id=cluster.id))
    waiting = [node for node in nodes if world.state(node) != "running"]
    return {
        "clusterResource": [
            {
                "name": "NodeStatus",
                "level": "normal" if not waiting else "warning",
                "message": f"{len(nodes) - len(waiting)} of {len(nodes)} nodes are Ready",
            }
        ]
    }
