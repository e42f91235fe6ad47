"""Auto Scaling: scheduled tasks, which set a group's bounds at a time. They are kept and listed; ACK steers pools."""

from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products.ess_things import group_of
from saleops.services.cloud.refusals import check_name, given, needed, one_of, short, wrong
from saleops.services.cloud.timestamps import ms_of
from saleops.services.cloud.world import World

RECURRENCES = ("Daily", "Weekly", "Monthly", "Cron")
FIELDS = (
    "ScheduledTaskName",
    "Description",
    "ScheduledAction",
    "RecurrenceEndTime",
    "LaunchTime",
    "RecurrenceType",
    "RecurrenceValue",
    "LaunchExpirationTime",
    "MinValue",
    "MaxValue",
    "DesiredCapacity",
    "ScalingGroupId",
)


@answers("ess", "CreateScheduledTask")
def create_scheduled_task(call: LocalCall, world: World) -> dict[str, Any]:
    check_name(call, "ScheduledTaskName", code="InvalidScheduledTaskName.Malformed")
    if bool(call.params.get("ScheduledAction")) == bool(call.params.get("ScalingGroupId")):
        raise needed("ScalingGroupId", "send it or ScheduledAction, one of the two")
    if call.params.get("ScalingGroupId"):
        group_of(call, world)
        if not given(call.params, "MinValue", "MaxValue", "DesiredCapacity"):
            raise needed("DesiredCapacity", "or MinValue or MaxValue")
    if call.params.get("RecurrenceType"):
        one_of(call, "RecurrenceType", RECURRENCES, code="InvalidParameter", default="")
        if not call.params.get("RecurrenceValue"):
            raise needed("RecurrenceValue")
    if call.params.get("RecurrenceType") != "Cron":
        launch_ms = ms_of(call, "LaunchTime")
        if launch_ms is None:
            raise needed("LaunchTime")
        if launch_ms < world.now_ms():
            raise wrong(
                "InvalidParameter", "LaunchTime", call.params["LaunchTime"], "it has passed"
            )
    limit = quota(world, "ess.scheduled_tasks")
    if len(list(world.each("scheduled_task", RegionId=call.region))) >= limit:
        raise short(
            f"scheduled tasks in {call.region}",
            limit,
            code="QuotaExceeded.ScheduledTask",
            field="ScheduledTaskName",
            value=call.params.get("ScheduledTaskName", ""),
        )
    task = world.create(
        "scheduled_task",
        world.new_id("asts-"),
        {
            "RegionId": call.region,
            "TaskEnabled": call.params.get("TaskEnabled", True),
            **given(call.params, *FIELDS),
        },
    )
    return {"ScheduledTaskId": task.id}


@answers("ess", "DescribeScheduledTasks")
def describe_scheduled_tasks(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    found = [
        task
        for task in world.listed("scheduled_task", RegionId=call.region)
        if (not wanted.get("ScheduledTaskId") or task.id in wanted["ScheduledTaskId"])
        and wanted.get("ScalingGroupId") in (None, "", task.data.get("ScalingGroupId"))
        and all(
            not wanted.get(field) or task.data.get(field) in wanted[field]
            for field in ("ScheduledAction", "ScheduledTaskName")
        )
    ]
    page, about = numbered(call, found)
    return {
        **about,
        "ScheduledTasks": {
            "ScheduledTask": [
                {
                    "ScheduledTaskId": task.id,
                    **{k: v for k, v in task.data.items() if k != "RegionId"},
                }
                for task in page
            ]
        },
    }
