"""Auto Scaling: the scaling groups that node pools own, their activities and instances, and how likely growth succeeds.

Node pools make the groups (kind "scaling_group") and the activities (kind "scaling_activity"); hooks and scheduled tasks are in
ess_hooks and ess_schedules.
"""

from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import instance_types, stock
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products import ess_hooks, ess_schedules
from saleops.services.cloud.products.ess_things import group_of
from saleops.services.cloud.refusals import given, missing, needed, wrong
from saleops.services.cloud.tags import has_tags
from saleops.services.cloud.timestamps import iso_minute
from saleops.services.cloud.world import Thing, World

__all__ = ["ess_hooks", "ess_schedules"]

ENOUGH = 200
"""Instances of a type in a zone from which on its strength is 1."""
CHANGEABLE = (
    "ScalingGroupName",
    "MinSize",
    "MaxSize",
    "DesiredCapacity",
    "DefaultCooldown",
    "MultiAZPolicy",
    "OnDemandBaseCapacity",
    "OnDemandPercentageAboveBaseCapacity",
    "SpotInstancePools",
    "SpotInstanceRemedy",
    "CompensateWithOnDemand",
    "GroupDeletionProtection",
    "ScalingPolicy",
    "HealthCheckType",
)
GROUP_FIELDS = (*CHANGEABLE, "VpcId", "RegionId", "SpotAllocationStrategy")


@answers("ess", "DescribeScalingGroups")
def describe_scaling_groups(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = wanted.get("ScalingGroupId") or []
    names = wanted.get("ScalingGroupName") or []
    names = [names] if isinstance(names, str) else names
    found = [
        group
        for group in world.listed("scaling_group", RegionId=call.region)
        if (not ids or group.id in ids)
        and (not names or group.data.get("ScalingGroupName") in names)
        and wanted.get("GroupType") in (None, "", "ECS")
        and has_tags(call, group)
    ]
    page, about = numbered(call, found)
    return {**about, "ScalingGroups": {"ScalingGroup": [_group(world, one) for one in page]}}


@answers("ess", "DescribeScalingInstances")
def describe_scaling_instances(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = wanted.get("InstanceId") or []
    groups = {
        group.data.get("NodePoolId"): group
        for group in world.each("scaling_group", RegionId=call.region)
    }
    found = []
    for one in world.listed("instance", RegionId=call.region):
        group = groups.get(one.data.get("NodePoolId"))
        if group is None:
            continue
        row = _instance(world, group, one)
        if (not ids or one.id in ids) and all(
            wanted.get(field) in (None, "", row[field])
            for field in ("ScalingGroupId", "HealthStatus", "LifecycleState", "CreationType")
        ):
            found.append(row)
    page, about = numbered(call, found)
    spot = sum(row["SpotStrategy"] != "NoSpot" for row in found)
    return {**about, "TotalSpotCount": spot, "ScalingInstances": {"ScalingInstance": list(page)}}


@answers("ess", "DescribeScalingActivities")
def describe_scaling_activities(call: LocalCall, world: World) -> dict[str, Any]:
    """Newest first, as the real list is: the first row says why a pool stalls."""
    wanted = call.params
    ids = wanted.get("ScalingActivityId") or []
    if not ids and not wanted.get("ScalingGroupId"):
        raise needed("ScalingGroupId", "or ScalingActivityId")
    found = [
        one
        for one in world.listed("scaling_activity")
        if (not ids or one.id in ids)
        and wanted.get("ScalingGroupId") in (None, "", one.data.get("ScalingGroupId"))
        and wanted.get("StatusCode") in (None, "", world.state(one))
    ]
    page, about = numbered(call, reversed(found))
    return {
        **about,
        "ScalingActivities": {"ScalingActivity": [_activity(world, one) for one in page]},
    }


@answers("ess", "DescribeScalingActivityDetail")
def describe_scaling_activity_detail(call: LocalCall, world: World) -> dict[str, Any]:
    id = call.params["ScalingActivityId"]
    activity = world.find("scaling_activity", id)
    if activity is None:
        raise missing("InvalidScalingActivityId.NotFound", "ScalingActivityId", id)
    detail = activity.data.get("StatusMessage") or activity.data.get("Description") or ""
    return {"ScalingActivityId": id, "Detail": detail}


@answers("ess", "DescribeScalingConfigurations")
def describe_scaling_configurations(call: LocalCall, world: World) -> dict[str, Any]:
    """A pool's group has one configuration; its id is the group's with the prefix ``asc-``."""
    wanted = call.params
    ids = wanted.get("ScalingConfigurationId") or []
    names = wanted.get("ScalingConfigurationName") or []
    rows = []
    for group in world.listed("scaling_group", RegionId=call.region):
        data = group.data
        id = _configuration_id(group)
        name = str(data.get("ScalingGroupName", ""))
        if (ids and id not in ids) or (names and name not in names):
            continue
        if wanted.get("ScalingGroupId") not in (None, "", group.id):
            continue
        types = list(data.get("InstanceTypes") or [])
        limits = data.get("SpotPriceLimit") or []
        rows.append(
            {
                "ScalingConfigurationId": id,
                "ScalingConfigurationName": name,
                "ScalingGroupId": group.id,
                "LifecycleState": "Active",
                "CreationTime": iso_minute(group.born_ms),
                "InstanceType": types[0] if types else "",
                "InstanceTypes": {"InstanceType": types},
                "SpotStrategy": str(data.get("SpotStrategy") or "NoSpot"),
                "SpotPriceLimit": {
                    "SpotPriceModel": [
                        {
                            "InstanceType": str(limit.get("instance_type")),
                            "PriceLimit": float(limit.get("price_limit") or 0),
                        }
                        for limit in limits
                    ]
                },
            }
        )
    page, about = numbered(call, rows)
    return {**about, "ScalingConfigurations": {"ScalingConfiguration": list(page)}}


@answers("ess", "ModifyScalingGroup")
def modify_scaling_group(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    changes = given(call.params, *CHANGEABLE)
    low = changes.get("MinSize", group.data.get("MinSize") or 0)
    high = changes.get("MaxSize", group.data.get("MaxSize") or 0)
    for field in ("MinSize", "MaxSize", "DesiredCapacity"):
        if field in changes and not 0 <= changes[field] <= 2000:
            raise wrong("InvalidParameter", field, changes[field], "0 to 2000")
    if low > high:
        raise wrong("InvalidParameter.Conflict", "MinSize", low, f"MaxSize is {high}")
    desired = changes.get("DesiredCapacity")
    if desired is not None and not low <= desired <= high:
        raise wrong("InvalidParameter", "DesiredCapacity", desired, f"{low} to {high}")
    vswitches = call.params.get("VSwitchIds")
    if vswitches:
        for index, id in enumerate(vswitches, 1):
            if world.find("vswitch", id) is None:
                raise missing("InvalidVSwitchId.NotFound", f"VSwitchIds.{index}", id)
        changes["VSwitchIds"] = list(vswitches)
        changes["ip_use"] = dict.fromkeys(vswitches, 0)
    world.update(group, **changes)
    return {}


@answers("ess", "SetInstancesProtection")
def set_instances_protection(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    protected = set(group.data.get("ProtectedInstanceIds") or [])
    for index, id in enumerate(call.params["InstanceId"], 1):
        instance = world.find("instance", id)
        if instance is None or instance.data.get("NodePoolId") != group.data.get("NodePoolId"):
            raise missing("InvalidInstanceId.NotFound", f"InstanceId.{index}", id)
        (protected.add if call.params["ProtectedFromScaleIn"] else protected.discard)(id)
    world.update(group, ProtectedInstanceIds=sorted(protected))
    return {}


@answers("ess", "DescribeElasticStrength")
def describe_elastic_strength(call: LocalCall, world: World) -> dict[str, Any]:
    """Strength 0 to 1 of each type and zone, from its stock; a group's is their mean, worded Strong, Medium or Weak."""
    wanted = call.params
    ids = [*(wanted.get("ScalingGroupIds") or []), wanted.get("ScalingGroupId")]
    ids = [id for id in ids if id]
    spot_asked = wanted.get("SpotStrategy") or wanted.get("PriorityStrategy")
    if not ids and not (wanted.get("InstanceTypes") and wanted.get("VSwitchIds")):
        raise needed("ScalingGroupId", "or InstanceTypes and VSwitchIds")
    models = []
    for id in ids:
        group = world.find("scaling_group", id)
        if group is None or group.data.get("RegionId") != call.region:
            raise missing("InvalidScalingGroupId.NotFound", "ScalingGroupId", id)
        spot = (spot_asked or group.data.get("SpotStrategy") or "NoSpot") != "NoSpot"
        types = wanted.get("InstanceTypes") or group.data.get("InstanceTypes") or []
        pools = _pools(world, types, group.data.get("VSwitchIds") or [], spot)
        models.append({"ScalingGroupId": id, **_strength(pools)})
    if not models:
        spot = (spot_asked or "NoSpot") != "NoSpot"
        return _strength(_pools(world, wanted["InstanceTypes"], wanted["VSwitchIds"], spot))
    first = {key: value for key, value in models[0].items() if key != "ScalingGroupId"}
    return {**first, "ElasticStrengthModels": models}


@answers("ess", "DescribeLimitation")
def describe_limitation(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "MaxNumberOfScalingGroups": 50,
        "MaxNumberOfScalingConfigurations": 10,
        "MaxNumberOfScalingRules": 50,
        "MaxNumberOfScheduledTasks": 100,
        "MaxNumberOfScalingInstances": 2000,
        "MaxNumberOfLifecycleHooks": 6,
        "MaxNumberOfMaxSize": 2000,
        "MaxNumberOfMinSize": 2000,
    }


def _pools(
    world: World, types: list[str], vswitch_ids: list[str], spot: bool
) -> list[dict[str, Any]]:
    zones: dict[str, list[str]] = {}
    for index, id in enumerate(vswitch_ids, 1):
        vswitch = world.find("vswitch", id)
        if vswitch is None:
            raise missing("InvalidVSwitchId.NotFound", f"VSwitchIds.{index}", id)
        zones.setdefault(vswitch.data["ZoneId"], []).append(id)
    pools = []
    for index, type in enumerate(types, 1):
        if type not in instance_types():
            raise missing("InvalidInstanceType.NotFound", f"InstanceTypes.{index}", type)
        for zone, ids in zones.items():
            left = stock(world, type, zone, spot=spot)
            pool: dict[str, Any] = {
                "InstanceType": type,
                "ZoneId": zone,
                "VSwitchIds": ids,
                "Strength": round(min(1.0, left / ENOUGH), 2),
            }
            if left == 0:
                pool |= {
                    "Code": "OperationDenied.NoStock",
                    "Msg": f"{type} is sold out in {zone}.",
                }
            pools.append(pool)
    return pools


def _strength(pools: list[dict[str, Any]]) -> dict[str, Any]:
    mean = sum(pool["Strength"] for pool in pools) / len(pools) if pools else 0.0
    word = "Strong" if mean >= 0.6 else "Medium" if mean >= 0.3 else "Weak"
    return {"TotalStrength": round(mean, 2), "ElasticStrength": word, "ResourcePools": pools}


def _configuration_id(group: Thing) -> str:
    return "asc-" + group.id.removeprefix("asg-")


def _members(world: World, group: Thing) -> list[Thing]:
    return list(world.each("instance", NodePoolId=group.data.get("NodePoolId")))


def _group(world: World, group: Thing) -> dict[str, Any]:
    data = group.data
    members = _members(world, group)
    running = sum(world.state(one) == "Running" for one in members)
    vswitch_ids = list(data.get("VSwitchIds") or [])
    return {
        **{field: data[field] for field in GROUP_FIELDS if data.get(field) is not None},
        "ScalingGroupId": group.id,
        "LifecycleState": world.state(group),
        "CreationTime": iso_minute(group.born_ms),
        "VSwitchId": vswitch_ids[0] if vswitch_ids else "",
        "VSwitchIds": {"VSwitchId": vswitch_ids},
        "ActiveScalingConfigurationId": _configuration_id(group),
        "TotalCapacity": len(members),
        "TotalInstanceCount": len(members),
        "ActiveCapacity": running,
        "PendingCapacity": len(members) - running,
        "RemovingCapacity": 0,
        "GroupType": "ECS",
    }


def _instance(world: World, group: Thing, one: Thing) -> dict[str, Any]:
    state = world.state(one)
    protected = one.id in (group.data.get("ProtectedInstanceIds") or [])
    return {
        "InstanceId": one.id,
        "ScalingGroupId": group.id,
        "ScalingConfigurationId": _configuration_id(group),
        "ZoneId": str(one.data.get("ZoneId", "")),
        "SpotStrategy": str(one.data.get("SpotStrategy") or "NoSpot"),
        "LifecycleState": ("Protected" if protected else "InService")
        if state == "Running"
        else "Pending",
        "HealthStatus": "Healthy",
        "WarmupState": "NoNeedWarmup",
        "CreationType": "AutoCreated",
        "CreationTime": iso_minute(one.born_ms),
        "CreatedTime": iso_minute(one.born_ms),
        "Entrusted": False,
        "WeightedCapacity": 1,
    }


def _activity(world: World, one: Thing) -> dict[str, Any]:
    data = one.data
    state = world.state(one)
    over = state != "InProgress"
    shown = {
        "ScalingActivityId": one.id,
        "ScalingGroupId": str(data.get("ScalingGroupId", "")),
        "StatusCode": state,
        "StatusMessage": str(data.get("StatusMessage", "")) if over else "",
        "Cause": str(data.get("Cause", "")),
        "Description": str(data.get("Description", "")),
        "Progress": 100 if over else 50,
        "ScalingInstanceNumber": int(data.get("ScalingInstanceNumber") or 0),
        "TotalCapacity": str(data.get("TotalCapacity", "")),
        "StartTime": str(data.get("StartTime") or iso_minute(one.born_ms)),
    }
    return shown | ({"EndTime": str(data.get("EndTime") or "")} if over else {})
