"""Node pools are made, changed, grown and deleted.

There is no idempotency token here and names may repeat, as at the provider: who retries a create blindly gets two pools.
A change names only what it changes; lists are replaced whole, so an empty list clears (the provider does not say whether it
reads ``[]`` so; this is the reading that hurts, hence the one to practise with).
"""

import re
from collections.abc import Mapping
from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    NODEPOOL,
    SCALING_GROUP,
    body_of,
    nodepool_of,
    quota,
    running_cluster,
    tags_of,
    vswitches_of,
    wrong,
)
from saleops.services.cloud.products.cs_scaling import (
    bounds,
    grow,
    is_elastic,
    new_scaling_group,
    nodes_of,
    pools_of,
    reach_target,
    ready_s,
    remove_nodes,
    scaling_group_data,
    settle,
    staying,
    target_size,
)
from saleops.services.cloud.products.cs_tasks import start_task
from saleops.services.cloud.world import Thing, World

SCALE_MOST = 500
TYPES_MOST, VSWITCHES_MOST, POOL_MOST = 10, 8, 2000
_NAME = re.compile(r"[A-Za-z0-9\u4e00-\u9fff][\w\-.\u4e00-\u9fff]{0,62}")
_PRICE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_PARTS = (
    "nodepool_info",
    "scaling_group",
    "auto_scaling",
    "kubernetes_config",
    "management",
    "tee_config",
    "node_config",
)
_GROUP_DEFAULTS: Mapping[str, Any] = {
    "instance_charge_type": "PostPaid",
    "multi_az_policy": "PRIORITY",
    "scaling_policy": "release",
    "spot_strategy": "NoSpot",
    "system_disk_category": "cloud_essd",
    "system_disk_size": 120,
    "image_type": "AliyunLinux3",
    "platform": "AliyunLinux",
    "internet_max_bandwidth_out": 0,
    "spot_price_limit": [],
    "data_disks": [],
}
_SECRET = ("login_password",)


@answers("cs", "CreateClusterNodePool")
def create_cluster_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = create_nodepool(world, cluster, body_of(call))
    made = reach_target(world, pool, cause="node pool created")
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="nodepool_create",
        target=("nodepool", pool.id),
        lasts_s=10 + ready_s(world, made),
        results=made,
    )
    return {"nodepool_id": pool.id, "task_id": task_id}


def create_nodepool(
    world: World, cluster: Thing, body: Mapping[str, Any], *, field: str = ""
) -> Thing:
    """The pool, without nodes yet; every refusal comes before anything is made. ``field`` says where the body stands."""
    limit = quota(world, "cs.nodepools_per_cluster")
    if len(pools_of(world, cluster.id)) >= limit:
        raise ApiError(
            400,
            "QuotaExceeded.NodePool",
            f"cluster {cluster.id!r} has its {limit} node pools: no room for another",
        )
    data: dict[str, Any] = {part: _without_secrets(body.get(part) or {}) for part in _PARTS}
    group = data["scaling_group"] = {**_GROUP_DEFAULTS, **data["scaling_group"]}
    if group.get("desired_size") is None:
        group["desired_size"] = int(body.get("count") or 0)
    data |= {"cluster_id": cluster.id, "next_try_ms": 0, "scaling_note": None}
    data["nodepool_info"]["type"] = data["nodepool_info"].get("type") or "ess"
    check_pool(world, cluster, data, field=field)
    if not group.get("security_group_ids"):
        group["security_group_ids"] = [
            group.get("security_group_id") or cluster.data["security_group_id"]
        ]
    _keep(data)
    _check_nodes_quota(
        world, cluster, _first_size(data), field=f"{field}scaling_group.desired_size"
    )
    pool = world.create(NODEPOOL, world.new_id("np", length=30), data, [("active", 0)])
    group["scaling_group_id"] = new_scaling_group(world, pool)
    world.changed()
    return pool


def check_pool(world: World, cluster: Thing, data: Mapping[str, Any], *, field: str = "") -> None:
    """What only the world can tell (networks, types, sizes); forms were checked before."""
    name = data["nodepool_info"].get("name") or ""
    if not _NAME.fullmatch(name):
        raise wrong(
            f"{field}nodepool_info.name", name, "1 to 63 letters, digits, - . or _, no sign first"
        )
    group, at = data["scaling_group"], f"{field}scaling_group."
    types = list(group.get("instance_types") or ())
    if not types and not group.get("instance_patterns"):
        raise wrong(f"{at}instance_types", types, "a pool needs 1 to 10 instance types")
    if len(types) > TYPES_MOST:
        raise wrong(f"{at}instance_types", len(types), f"at most {TYPES_MOST} types")
    for number, type in enumerate(types):
        if type not in catalogue.instance_types():
            raise wrong(
                f"{at}instance_types[{number}]",
                type,
                "no such instance type",
                code="InvalidInstanceType.NotSupported",
            )
    vswitch_ids = list(group.get("vswitch_ids") or ())
    if not 1 <= len(vswitch_ids) <= VSWITCHES_MOST:
        raise wrong(f"{at}vswitch_ids", vswitch_ids, f"1 to {VSWITCHES_MOST} vSwitches")
    vswitches_of(world, vswitch_ids, vpc_id=cluster.data["vpc_id"], field=f"{at}vswitch_ids")
    _check_spot(group, types, at)
    _check_sizes(data, field)
    tags_of(group.get("tags"), field=f"{at}tags")


def _check_spot(group: Mapping[str, Any], types: list[str], at: str) -> None:
    by_limit = group["spot_strategy"] == "SpotWithPriceLimit"
    limits = (group.get("spot_price_limit") or []) if by_limit else []  # others have no use for it
    limited: set[str] = set()
    for number, limit in enumerate(limits):
        type, price = limit.get("instance_type"), str(limit.get("price_limit") or "")
        if type not in types:
            raise wrong(
                f"{at}spot_price_limit[{number}].instance_type",
                type,
                "not one of the pool's instance_types",
            )
        if type in limited:
            raise wrong(
                f"{at}spot_price_limit[{number}].instance_type", type, "the type has two limits"
            )
        if not _PRICE.fullmatch(price) or float(price) == 0:
            raise wrong(
                f"{at}spot_price_limit[{number}].price_limit",
                price,
                "a price with at most three decimals",
            )
        limited.add(str(type))
    if by_limit and (missing := [type for type in types if type not in limited]):
        raise wrong(f"{at}spot_price_limit", limits, f"no limit for {', '.join(missing)}")
    if group.get("compensate_with_on_demand") and group["multi_az_policy"] != "COST_OPTIMIZED":
        raise wrong(
            f"{at}compensate_with_on_demand", True, "only with multi_az_policy COST_OPTIMIZED"
        )


def _check_sizes(data: Mapping[str, Any], field: str) -> None:
    group, scaling = data["scaling_group"], data["auto_scaling"]
    for name, low, high in (
        ("desired_size", 0, POOL_MOST),
        ("on_demand_base_capacity", 0, 1000),
        ("on_demand_percentage_above_base_capacity", 0, 100),
        ("spot_instance_pools", 1, 10),
    ):
        value = group.get(name)
        if value is not None and not low <= value <= high:
            raise wrong(f"{field}scaling_group.{name}", value, f"{low} to {high}")
    if scaling.get("enable"):
        low, high = int(scaling.get("min_instances") or 0), int(scaling.get("max_instances") or 0)
        if not 0 <= low <= high <= POOL_MOST:
            raise wrong(
                f"{field}auto_scaling",
                {"min_instances": low, "max_instances": high},
                f"0 to {POOL_MOST}, min within max",
            )


def _first_size(data: Mapping[str, Any]) -> int:
    if data["auto_scaling"].get("enable"):
        return int(data["auto_scaling"].get("min_instances") or 0)
    return int(data["scaling_group"].get("desired_size") or 0)


def _keep(data: dict[str, Any]) -> None:
    """What growth needs besides the answer's own fields."""
    group = data["scaling_group"]
    group["node_tags"] = tags_of(group.get("tags"))
    data["ip_use"] = dict.fromkeys(group["vswitch_ids"], 0)  # the instances take the addresses
    if data["auto_scaling"].get("enable"):
        data["auto_scaling"]["type"] = data["auto_scaling"].get("type") or "cpu"


def _without_secrets(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in _SECRET}


def _check_nodes_quota(
    world: World, cluster: Thing, more: int, *, field: str, but: Thing | None = None
) -> None:
    limit = quota(world, "cs.nodes_per_cluster")
    others = 0
    for pool in pools_of(world, cluster.id):
        if but is None or pool.id != but.id:
            have = len(staying(world, pool))
            others += max(have, target_size(pool, have))
    if others + more > limit:
        raise ApiError(
            400,
            "QuotaExceeded.Node",
            f"{field} {more}: cluster {cluster.id!r} would have {others + more} nodes, {others + more - limit}"
            f" more than its quota of {limit}",
        )


@answers("cs", "ModifyClusterNodePool")
def modify_cluster_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = _changeable(call, world)
    body = body_of(call)
    data = {**pool.data}
    for part in _PARTS:
        if body.get(part) is not None:
            data[part] = {**data[part], **_without_secrets(body[part])}
    check_pool(world, cluster, data)
    _keep(data)
    if not data["scaling_group"].get("security_group_ids"):
        data["scaling_group"]["security_group_ids"] = [cluster.data["security_group_id"]]
    field = (
        "auto_scaling.min_instances"
        if data["auto_scaling"].get("enable")
        else "scaling_group.desired_size"
    )
    have = len(staying(world, pool))
    elastic = bool(data["auto_scaling"].get("enable"))
    want = max(have, _first_size(data)) if elastic else _first_size(data)
    if want > have:
        _check_nodes_quota(world, cluster, want, field=field, but=pool)
    world.update(pool, **data)
    world.move(pool, [("updating", 5), ("active", 0)])
    group = world.find(SCALING_GROUP, data["scaling_group"]["scaling_group_id"])
    if group is not None:
        world.update(group, **scaling_group_data(world, pool))
    changed = reach_target(world, pool, cause="node pool changed")
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="nodepool_update",
        target=("nodepool", pool.id),
        lasts_s=5 + ready_s(world, changed),
        results=changed,
    )
    return {"nodepool_id": pool.id, "task_id": task_id}


@answers("cs", "ScaleClusterNodePool")
def scale_cluster_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = _changeable(call, world)
    count = body_of(call).get("count")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= SCALE_MOST:
        raise wrong("count", count, f"1 to {SCALE_MOST} nodes to add")
    have = len(staying(world, pool))
    total = have + count if is_elastic(pool) else target_size(pool, have) + count
    if is_elastic(pool) and total > bounds(pool)[1]:
        raise wrong(
            "count",
            count,
            f"the pool would have {total} nodes, its max_instances is {bounds(pool)[1]}",
        )
    if total > POOL_MOST:
        raise wrong("count", count, f"the pool would have {total} nodes, {POOL_MOST} is the most")
    _check_nodes_quota(world, cluster, total, field="count", but=pool)
    if is_elastic(pool):
        made = grow(world, pool, count, cause="node pool scaled out")
    else:
        pool.data["scaling_group"]["desired_size"] = total
        made = reach_target(world, pool, cause="node pool scaled out")
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="nodepool_scaleout",
        target=("nodepool", pool.id),
        lasts_s=5 + ready_s(world, made),
        results=made,
    )
    return {"task_id": task_id}


@answers("cs", "DeleteClusterNodepool")
def delete_cluster_nodepool(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    pool = nodepool_of(call, world)
    if world.state(pool) == "deleting":
        raise ApiError(
            400, "IncorrectStatus.NodePool", f"NodepoolId {pool.id!r} is deleting already"
        )
    nodes = nodes_of(world, pool)
    if nodes and not call.params.get("force"):
        raise ApiError(
            400,
            "ErrorNodePoolNotEmpty",
            f"NodepoolId {pool.id!r} has {len(nodes)} nodes: remove them first, or send force=true",
        )
    lasts_s = delete_nodepool(world, pool)
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="nodepool_delete",
        target=("nodepool", pool.id),
        lasts_s=lasts_s,
    )
    return {"task_id": task_id}


def delete_nodepool(world: World, pool: Thing) -> float:
    """Removes the pool with its nodes and scaling group; the seconds it takes."""
    staying_nodes = [node for node in nodes_of(world, pool) if node.data["leaving"] != "removed"]
    lasts_s = 10 + remove_nodes(world, pool, staying_nodes, cause="node pool deleted", drain=False)
    for node in nodes_of(world, pool):
        lasts_s = max(lasts_s, ((node.gone_ms or 0) - world.now_ms()) / 1000 + 5)
    group = world.find(SCALING_GROUP, pool.data["scaling_group"]["scaling_group_id"])
    if group is not None:
        world.remove(group, state="Deleting", after_s=lasts_s)
    world.remove(pool, state="deleting", after_s=lasts_s)
    return lasts_s


def _changeable(call: LocalCall, world: World) -> Thing:
    pool = nodepool_of(call, world)
    state = world.state(pool)
    if state != "active":
        raise ApiError(
            400, "IncorrectStatus.NodePool", f"NodepoolId {pool.id!r} is {state}; it must be active"
        )
    settle(world, pool)
    return pool
