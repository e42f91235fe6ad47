"""A node pool grows and shrinks: nodes, the instances under them, and the scaling group that tells why it could not.

Nothing runs in the background: ``settle`` is called by whoever looks at a pool, and does what its scaling group would have
done by then: replace lost nodes a minute after the loss, and try again for missing ones five minutes after a failure.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from saleops.services.cloud.networks import new_ip
from saleops.services.cloud.products.cs_calls import (
    CLUSTER,
    INSTANCE,
    NODE,
    NODEPOOL,
    SCALING_GROUP,
    iso,
    seconds_between,
)
from saleops.services.cloud.products.cs_purchase import Bought, Purchase, on_demand_count
from saleops.services.cloud.world import Phases, Thing, World

ACTIVITY = "scaling_activity"
RETRY_AFTER_S = 300.0
REPLACE_AFTER_S = 60.0


def nodes_of(world: World, pool: Thing) -> list[Thing]:
    """All nodes that are there, those on their way out included; oldest first."""
    return list(world.each(NODE, nodepool_id=pool.id))


def staying(world: World, pool: Thing) -> list[Thing]:
    """The nodes that the pool still counts on; one that was reclaimed counts until it is gone."""
    return [node for node in nodes_of(world, pool) if node.data["leaving"] in ("", "reclaimed")]


def is_elastic(pool: Thing) -> bool:
    return bool(pool.data["auto_scaling"].get("enable"))


def target_size(pool: Thing, now_count: int) -> int:
    """How many nodes the pool should have: the desired size, or with autoscaling what is there, within its bounds."""
    if is_elastic(pool):
        low, high = bounds(pool)
        return max(low, min(now_count, high))
    return int(pool.data["scaling_group"].get("desired_size") or 0)


def bounds(pool: Thing) -> tuple[int, int]:
    scaling = pool.data["auto_scaling"]
    return int(scaling.get("min_instances") or 0), int(scaling.get("max_instances") or 0)


def settle(world: World, pool: Thing) -> None:
    """What the scaling group did by itself since somebody last looked."""
    cluster = world.find(CLUSTER, pool.data["cluster_id"])
    if cluster is None or world.state(cluster) != "running" or world.state(pool) == "deleting":
        return
    have = len(staying(world, pool))
    missing = target_size(pool, have) - have
    due_ms = int(pool.data["next_try_ms"])
    if missing > 0 and world.now_ms() >= due_ms:
        grow(world, pool, missing, cause="the pool has fewer nodes than it should")


def reach_target(world: World, pool: Thing, *, cause: str, after_s: float = 0) -> list[str]:
    """Grows or shrinks the pool to its target; the instance ids it made or removes."""
    have = len(staying(world, pool))
    want = target_size(pool, have)
    if want > have:
        return grow(world, pool, want - have, cause=cause, after_s=after_s)
    if want < have:
        return shrink(world, pool, have - want, cause=cause)
    return []


def grow(
    world: World,
    pool: Thing,
    count: int,
    *,
    cause: str,
    after_s: float = 0,
    remedy_spot: bool = False,
) -> list[str]:
    """Buys ``count`` nodes, as many as can be had; what is missing is in the activity, and tried again later."""
    group = pool.data["scaling_group"]
    have = staying(world, pool)
    on_demand_now = sum(1 for node in have if node.data["spot_strategy"] == "NoSpot")
    wanted = on_demand_count(len(have) + count, group) - on_demand_now
    purchase = Purchase(
        world,
        group,
        [
            vswitch
            for id in group["vswitch_ids"]
            if (vswitch := world.find("vswitch", id)) is not None
        ],
        Counter(node.data["vsw"] for node in have),
        world.now_ms(),
    )
    purchase.buy(count, on_demand=0 if remedy_spot else max(0, min(wanted, count)))
    instances = [_new_node(world, pool, bought, after_s) for bought in purchase.bought]
    boots_s = max((_ready_s(world, id) for id in instances), default=0.0)
    short = count - len(instances)
    reasons = "; ".join(purchase.reasons) if short else ""
    _activity(
        world,
        pool,
        status="Successful" if not short else "Warning" if instances else "Failed",
        lasts_s=boots_s + after_s,
        cause=f"{cause}, {iso(world.now_ms())}: {len(have)} to {len(have) + count} nodes",
        description=f"Add {count} ECS instance{'s' if count != 1 else ''}",
        message=reasons or f"{len(instances)} instances were added",
        made=len(instances),
        total=len(have) + len(instances),
    )
    pool.data["scaling_note"] = (
        {"at_ms": world.now_ms(), "missing": short, "message": reasons} if short else None
    )
    pool.data["next_try_ms"] = (
        world.now_ms() + round((after_s + RETRY_AFTER_S) * 1000) if short else 0
    )
    world.changed()
    return instances


def shrink(world: World, pool: Thing, count: int, *, cause: str) -> list[str]:
    """Removes ``count`` nodes: oldest first, of the kind (spot, on-demand) that the split has too many of."""
    have = staying(world, pool)
    keep_on_demand = on_demand_count(len(have) - count, pool.data["scaling_group"])
    on_demand = [node for node in have if node.data["spot_strategy"] == "NoSpot"]
    spot = [node for node in have if node.data["spot_strategy"] != "NoSpot"]
    surplus = min(count, max(0, len(on_demand) - keep_on_demand))
    chosen = on_demand[:surplus]
    chosen += spot[: count - len(chosen)]
    chosen += on_demand[surplus : surplus + count - len(chosen)]
    remove_nodes(world, pool, chosen, cause=cause)
    return [node.id for node in chosen]


def remove_nodes(
    world: World,
    pool: Thing,
    nodes: Sequence[Thing],
    *,
    cause: str,
    drain: bool = True,
    release: bool = True,
) -> float:
    """Takes nodes out; returns the seconds it takes. A drained node takes longer, one that is not released stays an instance."""
    if not nodes:
        return 0.0
    left = len(staying(world, pool)) - len(nodes)
    longest_s = 0.0
    for node in nodes:
        lasts_s = seconds_between(world, 20, 40, "stop", node.id)
        lasts_s += seconds_between(world, 30, 90, "drain", node.id) if drain else 0
        longest_s = max(longest_s, lasts_s)
        node.data["leaving"] = "removed"
        world.remove(node, state="removing", after_s=lasts_s)
        instance = world.find(INSTANCE, node.id)
        if instance is not None and release:
            world.remove(instance, state="Stopping", after_s=lasts_s)
        elif instance is not None:
            world.update(instance, NodePoolId="")
    _activity(
        world,
        pool,
        status="Successful",
        lasts_s=longest_s,
        cause=f"{cause}, {iso(world.now_ms())}: {left + len(nodes)} to {left} nodes",
        description=f"Remove {len(nodes)} ECS instance{'s' if len(nodes) != 1 else ''}",
        message=f"{len(nodes)} instances are removed",
        made=len(nodes),
        total=left,
    )
    return longest_s


def ready_s(world: World, instances: Sequence[str]) -> float:
    """Seconds until the last of these nodes is Ready."""
    return max((_ready_s(world, id) for id in instances), default=0.0)


def _ready_s(world: World, id: str) -> float:
    node = world.find(NODE, id)
    return 0.0 if node is None else max(0.0, (node.timeline[-1][0] - world.now_ms()) / 1000)


def _new_node(world: World, pool: Thing, bought: Bought, after_s: float) -> str:
    cluster = world.things[CLUSTER][pool.data["cluster_id"]]
    vswitch = world.things["vswitch"][bought.vswitch_id]
    group = pool.data["scaling_group"]
    id = world.new_id("i-")
    ip = new_ip(world, vswitch)
    boot_s = seconds_between(world, 90, 180, "boot", id)
    name = f"worker-k8s-for-cs-{cluster.id}-{id[-6:]}"
    strategy = str(group["spot_strategy"]) if bought.spot else "NoSpot"
    region = str(cluster.data["region_id"])
    tags = {
        **(group.get("node_tags") or {}),
        "ack.aliyun.com": cluster.id,
        "ack.alibabacloud.com/nodepool-id": pool.id,
    }
    instance: dict[str, Any] = {
        "InstanceId": id,
        "InstanceName": name,
        "HostName": name,
        "RegionId": region,
        "ZoneId": bought.zone,
        "InstanceType": bought.type,
        "ImageId": group.get("image_id") or "aliyun_3_x64_20G_container_optimized.vhd",
        "VpcAttributes": {
            "VpcId": cluster.data["vpc_id"],
            "VSwitchId": bought.vswitch_id,
            "PrivateIpAddress": {"IpAddress": [ip]},
        },
        "SecurityGroupIds": {"SecurityGroupId": list(group["security_group_ids"])},
        "SpotStrategy": strategy,
        "InstanceChargeType": group["instance_charge_type"],
        "Status": "Running",
        "Tags": tags,
        "ClusterId": cluster.id,
        "NodePoolId": pool.id,
    }
    waiting: Phases = [("Pending", after_s)] if after_s else []
    world.create(
        INSTANCE,
        id,
        instance,
        [*waiting, ("Pending", boot_s * 0.2), ("Starting", boot_s * 0.3), ("Running", 0)],
    )
    world.create(
        NODE,
        id,
        {
            "cluster_id": cluster.id,
            "nodepool_id": pool.id,
            "instance_name": name,
            "node_name": f"{region}.{ip}",
            "ip": ip,
            "vsw": bought.vswitch_id,  # not by its usual name: the instance takes the address, not the node
            "zone": bought.zone,
            "instance_type": bought.type,
            "instance_charge_type": group["instance_charge_type"],
            "image_id": instance["ImageId"],
            "spot_strategy": strategy,
            "leaving": "",
            "labels": {
                pair["key"]: pair.get("value") or ""
                for pair in pool.data["kubernetes_config"].get("labels") or ()
            },
        },
        [("initial", after_s + boot_s), ("running", 0)],
    )
    return id


def new_scaling_group(world: World, pool: Thing) -> str:
    id = world.new_id("asg-")
    world.create(
        SCALING_GROUP,
        id,
        {**scaling_group_data(world, pool), "ScalingGroupId": id},
        [("Active", 0)],
    )
    return id


def scaling_group_data(world: World, pool: Thing) -> dict[str, Any]:
    """The scaling group as Auto Scaling words it."""
    cluster = world.things[CLUSTER][pool.data["cluster_id"]]
    group = pool.data["scaling_group"]
    low, high = bounds(pool) if is_elastic(pool) else (0, 2000)
    vswitch_ids = list(group["vswitch_ids"])
    return {
        "ScalingGroupName": f"k8s-nodepool-{pool.id}",
        "RegionId": cluster.data["region_id"],
        "VpcId": cluster.data["vpc_id"],
        "VSwitchIds": vswitch_ids,
        "ip_use": dict.fromkeys(vswitch_ids, 0),
        "NodePoolId": pool.id,
        "InstanceTypes": list(group["instance_types"]),
        "MinSize": low,
        "MaxSize": high,
        "DesiredCapacity": target_size(pool, low),
        "MultiAZPolicy": group["multi_az_policy"],
        "ScalingPolicy": group["scaling_policy"],
        "SpotStrategy": group["spot_strategy"],
        "SpotPriceLimit": group.get("spot_price_limit") or [],
        "SpotInstancePools": group.get("spot_instance_pools") or 1,
        "SpotInstanceRemedy": bool(group.get("spot_instance_remedy")),
        "CompensateWithOnDemand": bool(group.get("compensate_with_on_demand")),
        "OnDemandBaseCapacity": group.get("on_demand_base_capacity") or 0,
        "OnDemandPercentageAboveBaseCapacity": group.get("on_demand_percentage_above_base_capacity")
        or 0,
    }


def _activity(
    world: World,
    pool: Thing,
    *,
    status: str,
    lasts_s: float,
    cause: str,
    description: str,
    message: str,
    made: int,
    total: int,
) -> None:
    id = world.new_id("asa-")
    now_ms = world.now_ms()
    world.create(
        ACTIVITY,
        id,
        {
            "ScalingActivityId": id,
            "ScalingGroupId": pool.data["scaling_group"].get("scaling_group_id", ""),
            "NodePoolId": pool.id,
            "Cause": cause,
            "Description": description,
            "StatusMessage": message,
            "StatusCode": status,
            "ScalingInstanceNumber": made,
            "TotalCapacity": str(total),
            "StartTime": iso(now_ms),
            "EndTime": iso(now_ms + round(lasts_s * 1000)),
        },
        [("InProgress", lasts_s), (status, 0)] if lasts_s else [(status, 0)],
    )


def pools_of(world: World, cluster_id: str) -> list[Thing]:
    return list(world.each(NODEPOOL, cluster_id=cluster_id))


def settle_cluster(world: World, cluster_id: str) -> None:
    for pool in pools_of(world, cluster_id):
        settle(world, pool)
