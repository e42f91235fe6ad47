"""The provider takes spot instances back: a system event, five minutes of notice, and then the node is gone.

A pool with ``spot_instance_remedy`` starts the replacement at the notice, so that it is Ready before the loss. Without it
the pool is short from the loss until its scaling group has noticed and a new instance has booted.
"""

from collections.abc import Mapping
from typing import Any

from saleops.services.cloud.answers import ApiError
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.hooks import hook
from saleops.services.cloud.products.cs_calls import INSTANCE, NODE, NODEPOOL, iso
from saleops.services.cloud.products.cs_scaling import REPLACE_AFTER_S, grow
from saleops.services.cloud.world import Thing, World

SYSTEM_EVENT = "system_event"
NOTICE_S = 300.0


def reclaim(
    world: World,
    instance_id: str | None = None,
    *,
    count: int | None = None,
    notice_s: float = NOTICE_S,
    nodepool_id: str | None = None,
) -> list[str]:
    """Takes one spot instance back, or ``count`` of them (of one node pool), and returns their ids. Raises ApiError for an
    instance that is not there or not on spot, and where there are fewer than ``count``."""
    if (instance_id is None) == (count is None):
        raise ApiError(400, "InvalidParameter", "name either one instance or a count to reclaim")
    if notice_s < 0:
        raise ApiError(400, "InvalidParameter", f"notice_s {notice_s!r} is below 0")
    victims = (
        [_spot_instance(world, instance_id)]
        if instance_id is not None
        else _victims(world, int(count or 0), nodepool_id)
    )
    for instance in victims:
        _notify(world, instance, notice_s)
    for instance in victims:
        node = world.find(NODE, instance.id)
        if node is not None:
            _lose(world, node, notice_s)
        _leave(world, instance, notice_s)
    return [instance.id for instance in victims]


@hook("reclaim")
def reclaim_now(world: World, document: Mapping[str, Any]) -> dict[str, Any]:
    """``{"instance_id"}`` or ``{"count", "nodepool_id"?}``, and ``notice_s``."""
    unknown = set(document) - {"instance_id", "count", "nodepool_id", "notice_s"}
    notice_s, count = document.get("notice_s", NOTICE_S), document.get("count")
    if unknown:
        raise ApiError(400, "InvalidParameter", f"unknown: {', '.join(sorted(unknown))}")
    for name, value, kinds in (("notice_s", notice_s, (int, float)), ("count", count, (int,))):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise ApiError(400, "InvalidParameter", f"{name} {value!r} is not a number")
    for name in ("instance_id", "nodepool_id"):
        if not isinstance(document.get(name), str | None):
            raise ApiError(400, "InvalidParameter", f"{name} {document[name]!r} is not a string")
    ids = reclaim(
        world,
        document.get("instance_id"),
        count=count,
        notice_s=float(notice_s),
        nodepool_id=document.get("nodepool_id"),
    )
    return {"instance_ids": ids, "notice_s": float(notice_s)}


def _spot_instance(world: World, id: str) -> Thing:
    instance = world.find(INSTANCE, id)
    if instance is None:
        raise ApiError(404, "InvalidInstanceId.NotFound", f"instance {id!r} does not exist")
    if instance.data.get("SpotStrategy", "NoSpot") == "NoSpot":
        raise ApiError(
            400,
            "InvalidInstanceId",
            f"instance {id!r} is not a spot instance: it cannot be reclaimed",
        )
    if instance.gone_ms is not None:
        raise ApiError(400, "IncorrectInstanceStatus", f"instance {id!r} is on its way out already")
    return instance


def _victims(world: World, count: int, nodepool_id: str | None) -> list[Thing]:
    spot = [
        instance
        for instance in world.each(INSTANCE)
        if instance.data.get("SpotStrategy", "NoSpot") != "NoSpot"
        and instance.gone_ms is None
        and (nodepool_id is None or instance.data.get("NodePoolId") == nodepool_id)
    ]
    if not 1 <= count <= len(spot):
        raise ApiError(
            400,
            "InvalidParameter",
            f"count {count!r}: there are {len(spot)} spot instances to reclaim",
        )
    spot.sort(key=lambda instance: chance(world, "reclaim", instance.id))
    return spot[:count]


def _notify(world: World, instance: Thing, notice_s: float) -> None:
    now_ms = world.now_ms()
    data = instance.data
    content: dict[str, Any] = {
        "instanceId": instance.id,
        "instanceName": data.get("InstanceName", ""),
        "action": "delete",
        "releaseTime": iso(now_ms + round(notice_s * 1000)),
    }
    id = world.new_id("evt-")
    world.create(
        SYSTEM_EVENT,
        id,
        {
            "Id": id,
            "Product": "ECS",
            "Name": "Instance:PreemptibleInstanceInterruption",
            "Level": "WARN",
            "Status": "Normal",
            "RegionId": data.get("RegionId", ""),
            "InstanceName": data.get("InstanceName", ""),
            "ResourceId": f"acs:ecs:{data.get('RegionId', '')}:{world.account}:instance/{instance.id}",
            "InstanceId": instance.id,
            "GroupId": "",
            "Time": now_ms,
            "Content": content,
        },
        [("Normal", 0)],
    )
    world.update(instance, OperationLocks={"LockReason": [{"LockReason": "Recycling"}]})


def _lose(world: World, node: Thing, notice_s: float) -> None:
    pool = world.find(NODEPOOL, node.data["nodepool_id"])
    remedy = pool is not None and bool(pool.data["scaling_group"].get("spot_instance_remedy"))
    node.data["leaving"] = "replaced" if remedy else "reclaimed"
    _leave(world, node, notice_s)
    if pool is None:
        return
    if remedy:
        grow(world, pool, 1, cause=f"spot instance {node.id} is to be reclaimed", remedy_spot=True)
    else:
        due_ms = world.now_ms() + round((notice_s + REPLACE_AFTER_S) * 1000)
        pool.data["next_try_ms"] = max(int(pool.data["next_try_ms"]), due_ms)
        world.changed()


def _leave(world: World, thing: Thing, notice_s: float) -> None:
    """It goes on as it does, and is gone after the notice."""
    thing.gone_ms = world.now_ms() + round(notice_s * 1000)
    world.changed()
