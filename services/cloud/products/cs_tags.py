"""Tags of clusters, locks on Kubernetes objects, and the settings of the cluster autoscaler."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    CLUSTER,
    TAGS_MOST,
    body_of,
    cluster_of,
    found_cluster,
    in_path,
    running_cluster,
    tags_of,
    token_page,
    wrong,
)
from saleops.services.cloud.products.cs_tasks import start_task
from saleops.services.cloud.world import Thing, World

_LOCKABLE = ("namespaces", "services")


@answers("cs", "TagResources")
def tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    body = body_of(call)
    _check_type(body.get("resource_type"))
    tags = tags_of(body.get("tags"))
    ids = list(body.get("resource_ids") or ())
    if not ids or not tags:
        raise ApiError(400, "MissingParameter", "resource_ids and tags: name at least one of each")
    clusters = [found_cluster(world, id) for id in ids]
    for cluster in clusters:
        if len({**cluster.data["tags"], **tags}) > TAGS_MOST:
            raise wrong(
                "tags", len(tags), f"cluster {cluster.id!r} would have more than {TAGS_MOST}"
            )
    for cluster in clusters:
        world.update(cluster, tags={**cluster.data["tags"], **tags})
    return {"RequestId": call.request_id}


@answers("cs", "ListTagResources")
def list_tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    _check_type(params.get("resource_type"))
    ids = set(params.get("resource_ids") or ())
    wanted = tags_of(params.get("tags"))
    rows = [
        {"resource_id": cluster.id, "resource_type": "CLUSTER", "tag_key": key, "tag_value": value}
        for cluster in (_by_id(world, ids) if ids else world.listed(CLUSTER))
        if cluster.data["region_id"] == params.get("region_id")
        and all(cluster.data["tags"].get(key) == value for key, value in wanted.items())
        for key, value in cluster.data["tags"].items()
    ]
    page, token = token_page(rows, params)
    return {"next_token": token, "tag_resources": {"tag_resource": page}}


def _by_id(world: World, ids: set[str]) -> list[Thing]:
    return [cluster for id in sorted(ids) if (cluster := world.find(CLUSTER, id)) is not None]


def _check_type(type: Any) -> None:
    if str(type or "").upper() != "CLUSTER":
        raise wrong("resource_type", type, "use CLUSTER")


@answers("cs", "UpdateResourcesDeleteProtection")
def update_resources_delete_protection(call: LocalCall, world: World) -> dict[str, Any]:
    cluster, body = running_cluster(call, world), body_of(call)
    type, names = body.get("resource_type"), list(body.get("resources") or ())
    if type not in _LOCKABLE:
        raise wrong("resource_type", type, "use " + ", ".join(_LOCKABLE))
    if not names:
        raise ApiError(400, "MissingParameter", "resources: name what to lock or unlock")
    namespace = "" if type == "namespaces" else str(body.get("namespace") or "default")
    on = bool(body.get("enable"))
    locks = dict(cluster.data.get("locks") or {})
    for name in names:
        locks[f"{type}/{namespace}/{name}"] = on
    world.update(cluster, locks=locks)
    return {
        "namespace": namespace,
        "protection": "enable" if on else "disable",
        "requestId": call.request_id,
        "resource_type": type,
        "resources": names,
    }


@answers("cs", "DescribeResourcesDeleteProtection")
def describe_resources_delete_protection(call: LocalCall, world: World) -> list[dict[str, Any]]:
    cluster, type = cluster_of(call, world), in_path(call, "resourcetype")
    if type not in _LOCKABLE:
        raise wrong("ResourceType", type, "use " + ", ".join(_LOCKABLE))
    wanted = [name for name in str(call.params.get("resources") or "").split(",") if name]
    namespace = "" if type == "namespaces" else str(call.params.get("namespace") or "default")
    locks = cluster.data.get("locks") or {}
    prefix = f"{type}/{namespace}/"
    names = wanted or [key.removeprefix(prefix) for key in locks if key.startswith(prefix)]
    return [
        {
            "name": name,
            "namespace": namespace,
            "protection": bool(locks.get(prefix + name)),
            "resource": type,
        }
        for name in names
    ]


@answers("cs", "CreateAutoscalingConfig")
def create_autoscaling_config(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    world.update(cluster, autoscaling=dict(body_of(call)))
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="cluster_autoscaler_config",
        target=("cluster", cluster.id),
        lasts_s=5,
    )
    return {"cluster_id": cluster.id, "task_id": task_id}
