"""Auto Scaling: lifecycle hooks, and the actions that wait at one (kind "lifecycle_action", made by whoever scales).

An action's data holds ``LifecycleHookId``, ``ScalingActivityId``, ``InstanceIds``; its id is the token, its states ``InProgress``
and then ``Completed``.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.pages import numbered, tokened
from saleops.services.cloud.products.ess_things import group_of
from saleops.services.cloud.refusals import check_name, missing, one_of, short, wrong
from saleops.services.cloud.world import Thing, World

TRANSITIONS = ("SCALE_OUT", "SCALE_IN")
RESULTS = ("CONTINUE", "ABANDON", "ROLLBACK")
HEARTBEAT_S = (30, 21_600)


@answers("ess", "CreateLifecycleHook")
def create_lifecycle_hook(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    transition = one_of(
        call, "LifecycleTransition", TRANSITIONS, code="InvalidParameter", default=""
    )
    result = one_of(call, "DefaultResult", RESULTS, code="InvalidParameter", default="CONTINUE")
    check_name(call, "LifecycleHookName", code="InvalidParameter")
    heartbeat_s = _heartbeat_s(call, "HeartbeatTimeout") or 600
    hooks = list(world.each("lifecycle_hook", ScalingGroupId=group.id))
    id = world.new_id("ash-")
    name = call.params.get("LifecycleHookName") or id
    if any(hook.data["LifecycleHookName"] == name for hook in hooks):
        raise wrong(
            "InvalidLifecycleHookName.Duplicate", "LifecycleHookName", name, f"{group.id} has it"
        )
    limit = quota(world, "ess.lifecycle_hooks_per_group")
    if len(hooks) >= limit:
        raise short(
            f"lifecycle hooks of {group.id}",
            limit,
            code="QuotaExceeded.LifecycleHook",
            field="LifecycleHookName",
            value=name,
        )
    world.create(
        "lifecycle_hook",
        id,
        {
            "ScalingGroupId": group.id,
            "LifecycleHookName": name,
            "LifecycleTransition": transition,
            "DefaultResult": result,
            "HeartbeatTimeout": heartbeat_s,
            "NotificationMetadata": call.params.get("NotificationMetadata", ""),
            "NotificationArn": call.params.get("NotificationArn", ""),
        },
    )
    return {"LifecycleHookId": id}


@answers("ess", "DescribeLifecycleHooks")
def describe_lifecycle_hooks(call: LocalCall, world: World) -> dict[str, Any]:
    ids = call.params.get("LifecycleHookId") or []
    found = [
        {"LifecycleHookId": hook.id, **hook.data}
        for hook in world.listed("lifecycle_hook")
        if (not ids or hook.id in ids)
        and call.params.get("ScalingGroupId") in (None, "", hook.data["ScalingGroupId"])
        and call.params.get("LifecycleHookName") in (None, "", hook.data["LifecycleHookName"])
    ]
    page, about = numbered(call, found)
    return {**about, "LifecycleHooks": {"LifecycleHook": list(page)}}


@answers("ess", "DescribeLifecycleActions")
def describe_lifecycle_actions(call: LocalCall, world: World) -> dict[str, Any]:
    found = [
        action
        for action in world.listed(
            "lifecycle_action", ScalingActivityId=call.params["ScalingActivityId"]
        )
        if call.params.get("LifecycleActionStatus") in (None, "", world.state(action))
    ]
    page, about = tokened(call, found, size=10, most=50)
    return {
        **about,
        "LifecycleActions": {
            "LifecycleAction": [
                {
                    "LifecycleHookId": action.data["LifecycleHookId"],
                    "LifecycleActionToken": action.id,
                    "LifecycleActionStatus": world.state(action),
                    "LifecycleActionResult": action.data.get("Result", ""),
                    "InstanceIds": {"InstanceId": list(action.data.get("InstanceIds") or [])},
                }
                for action in page
            ]
        },
    }


@answers("ess", "CompleteLifecycleAction")
def complete_lifecycle_action(call: LocalCall, world: World) -> dict[str, Any]:
    action = _action(call, world, "LifecycleHookId", "LifecycleActionToken")
    result = one_of(
        call,
        "LifecycleActionResult",
        RESULTS,
        code="InvalidParameter",
        default=world.things["lifecycle_hook"][call.params["LifecycleHookId"]].data[
            "DefaultResult"
        ],
    )
    world.update(action, Result=result)
    world.move(action, [("Completed", 0)])
    return {}


@answers("ess", "RecordLifecycleActionHeartbeat")
def record_lifecycle_action_heartbeat(call: LocalCall, world: World) -> dict[str, Any]:
    """The action waits so much longer from now on."""
    action = _action(call, world, "lifecycleHookId", "lifecycleActionToken")
    hook = world.things["lifecycle_hook"][call.params["lifecycleHookId"]]
    lasts_s = _heartbeat_s(call, "heartbeatTimeout") or hook.data["HeartbeatTimeout"]
    world.move(action, [("InProgress", lasts_s), ("Completed", 0)])
    return {}


def _action(call: LocalCall, world: World, hook_field: str, token_field: str) -> Thing:
    hook_id, token = call.params[hook_field], call.params[token_field]
    if world.find("lifecycle_hook", hook_id) is None:
        raise missing("InvalidLifecycleHookId.NotExist", hook_field, hook_id)
    action = world.find("lifecycle_action", token)
    if action is None or action.data["LifecycleHookId"] != hook_id:
        raise missing("InvalidLifecycleActionToken.NotExist", token_field, token)
    if world.state(action) == "Completed":
        raise ApiError(
            400,
            "InvalidLifecycleActionToken.Expired",
            f"The action of the specified {token_field} {token!r} is completed.",
        )
    return action


def _heartbeat_s(call: LocalCall, field: str) -> int | None:
    value = call.params.get(field)
    if value is None:
        return None
    low, high = HEARTBEAT_S
    if not low <= value <= high:
        raise wrong("InvalidParameter", field, value, f"{low} to {high} seconds")
    return int(value)
