"""Tasks of Container Service: what a writing call started, and the cluster's events, which are told from its tasks.

A task is running for its seconds and then success or fail. Success means that the calls were made: nodes may still boot.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_calls import (
    cluster_of,
    in_path,
    iso,
    page_of,
    spaced,
    token_page,
)
from saleops.services.cloud.world import Thing, World

TASK = "cs_task"


def start_task(
    world: World,
    *,
    cluster_id: str,
    type: str,
    target: tuple[str, str],
    lasts_s: float,
    results: list[str] | None = None,
    parameters: dict[str, Any] | None = None,
    error: tuple[str, str] | None = None,
) -> str:
    """Starts a task and returns its id. ``target`` is (type, id), ``results`` the instances it is about, ``error`` how it ends
    when it fails."""
    task_id = world.new_id("T-", length=24)
    data: dict[str, Any] = {
        "cluster_id": cluster_id,
        "task_type": type,
        "target": {"type": target[0], "id": target[1]},
        "parameters": parameters or {},
        "results": results or [],
        "error": {"code": error[0], "message": error[1]} if error else None,
    }
    world.create(TASK, task_id, data, [("running", lasts_s), ("fail" if error else "success", 0)])
    return task_id


def _ended_ms(task: Thing, world: World) -> int | None:
    """When it ended; None while it runs."""
    at_ms = task.timeline[-1][0]
    return at_ms if at_ms <= world.now_ms() else None


def _updated_ms(task: Thing, world: World) -> int:
    return _ended_ms(task, world) or task.timeline[0][0]


@answers("cs", "DescribeTaskInfo")
def describe_task_info(call: LocalCall, world: World) -> dict[str, Any]:
    task = _task_of(call, world)
    state, ended_ms = world.state(task), _ended_ms(task, world)
    stage = {
        "start_time": spaced(task.born_ms),
        "end_time": spaced(ended_ms) if ended_ms is not None else "",
        "message": "",
        "outputs": {},
        "state": state,
    }
    results = {"running": "initial", "success": "success"}.get(state, "failed")
    answer: dict[str, Any] = {
        "cluster_id": task.data["cluster_id"],
        "created": iso(task.born_ms),
        "current_stage": task.data["task_type"],
        "events": [
            {
                "action": "start",
                "level": "info",
                "message": f"{task.data['task_type']} started",
                "reason": "Started",
                "source": task.data["target"]["type"],
                "timestamp": str(task.born_ms),
            }
        ],
        "outputs": {},
        "parameters": task.data["parameters"],
        "stages": [stage],
        "state": state,
        "target": task.data["target"],
        "task_id": task.id,
        "task_result": [{"data": id, "status": results} for id in task.data["results"]],
        "task_type": task.data["task_type"],
        "updated": iso(_updated_ms(task, world)),
    }
    if state == "fail" and task.data["error"]:
        answer["error"] = task.data["error"]
    return answer


@answers("cs", "CancelTask")
def cancel_task(call: LocalCall, world: World) -> dict[str, Any]:
    task = _task_of(call, world)
    state = world.state(task)
    # What ACK starts here is made at once and only takes time to be ready: there is nothing left to hold back.
    raise ApiError(
        400,
        "TaskNotCancellable",
        f"task_id {task.id!r} is {state}; a {task.data['task_type']} cannot be cancelled",
    )


@answers("cs", "DescribeClusterTasks")
def describe_cluster_tasks(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    tasks = list(world.each(TASK, cluster_id=cluster.id))[::-1]
    answer: dict[str, Any] = {"requestId": call.request_id}
    if call.params.get("next_token") or call.params.get("max_results"):
        page, answer["next_token"] = token_page(tasks, call.params)
        about = {"page_number": 1, "page_size": len(page), "total_count": len(tasks)}
    else:
        page, about = page_of(tasks, call.params, default=20, most=100)
    answer["page_info"] = about
    answer["tasks"] = [_line(task, world) for task in page]
    return answer


def _line(task: Thing, world: World) -> dict[str, Any]:
    line: dict[str, Any] = {
        "created": iso(task.born_ms),
        "state": world.state(task),
        "task_id": task.id,
        "task_type": task.data["task_type"],
        "updated": iso(_updated_ms(task, world)),
    }
    if line["state"] == "fail" and task.data["error"]:
        line["error"] = task.data["error"]
    return line


@answers("cs", "DescribeClusterEvents")
def describe_cluster_events(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    wanted = call.params.get("task_id")
    events = [
        event
        for task in world.each(TASK, cluster_id=cluster.id)
        if not wanted or task.id == wanted
        for event in _events(task, world)
    ]
    events.sort(key=lambda event: (event["time"], event["event_id"]), reverse=True)
    answer: dict[str, Any] = {}
    if call.params.get("next_token") or call.params.get("max_results"):
        page, answer["next_token"] = token_page(events, call.params)
        about = {"page_number": 1, "page_size": len(page), "total_count": len(events)}
    else:
        page, about = page_of(events, call.params, default=50, most=100)
    return {**answer, "events": page, "page_info": about}


def _events(task: Thing, world: World) -> list[dict[str, Any]]:
    told = [(task.born_ms, "Started", "info", f"{task.data['task_type']} started")]
    ended_ms = _ended_ms(task, world)
    if ended_ms is not None and task.data["error"]:
        told.append((ended_ms, "Failed", "error", task.data["error"]["message"]))
    elif ended_ms is not None:
        told.append((ended_ms, "Succeeded", "info", f"{task.data['task_type']} succeeded"))
    return [
        {
            "cluster_id": task.data["cluster_id"],
            "data": {"level": level, "message": message, "reason": reason},
            "event_id": f"{task.id}-{number}",
            "source": task.data["target"]["type"],
            "subject": task.data["target"]["id"],
            "time": iso(at_ms),
            "type": task.data["task_type"],
        }
        for number, (at_ms, reason, level, message) in enumerate(told, start=1)
    ]


@answers("cs", "DescribeClusterLogs")
def describe_cluster_logs(call: LocalCall, world: World) -> list[dict[str, Any]]:
    cluster = cluster_of(call, world)
    return [
        {
            "ID": number,
            "cluster_id": cluster.id,
            "cluster_log": f"{event['data']['message']} ({event['subject']})",
            "created": event["time"],
            "updated": event["time"],
        }
        for number, event in enumerate(
            (
                event
                for task in world.each(TASK, cluster_id=cluster.id)
                for event in _events(task, world)
            ),
            start=1,
        )
    ]


def _task_of(call: LocalCall, world: World) -> Thing:
    task_id = in_path(call, "taskid")
    task = world.find(TASK, task_id)
    if task is None:
        raise ApiError(404, "ErrorTaskNotFound", f"task_id {task_id!r}: no such task")
    return task
