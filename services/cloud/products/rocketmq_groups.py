"""RocketMQ 5: consumer groups, how far they lag, and where they start again.

A group's offset in a topic is the time up to which it has consumed; a new group starts at the time of its creation. Nobody
consumes from the local cloud, so messages that are sent there pile up. ``settings["rocketmq"]["lag"]`` says otherwise for a
group: ``{"order-workers": {"readyCount": 120, "inflightCount": 8, "deliveryDuration": 4}}``.
"""

from typing import Any

from saleops.services.cloud import list_pages
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.rocketmq_instances import (
    GROUP,
    TOPIC,
    instance_of,
    refuse,
    running,
)
from saleops.services.cloud.products.rocketmq_topics import (
    check_name,
    find_topic,
    messages_of,
    topic_of,
)
from saleops.services.cloud.timestamps import ms_of, spaced
from saleops.services.cloud.world import Thing, World

CODE = "ConsumerGroup.InvalidParameter"
RETRIES_MOST = 1_000
_FIXED_S = {"Concurrently": (10, 1_800), "Orderly": (1, 600)}
_MODELS = ("CLUSTERING", "LITE_SELECTIVE")


@answers("rocketmq", "CreateConsumerGroup")
def create_consumer_group(call: LocalCall, world: World) -> dict[str, Any]:
    instance, name, body = running(call, world), call.path["consumerGroupId"], call.body
    check_name(name, instance, "consumerGroupId", CODE)
    order = body["deliveryOrderType"]
    policy = _policy(body["consumeRetryPolicy"], order, instance, world)
    model = body.get("messageModel") or "CLUSTERING"
    if model not in _MODELS:
        raise refuse("messageModel", model, f"must be {' or '.join(_MODELS)}", code=CODE)
    topic = body.get("topicName") or ""
    if model == "LITE_SELECTIVE" and find_topic(world, instance, topic) is None:
        raise refuse("topicName", topic, "LITE_SELECTIVE needs a topic that exists", code=CODE)
    if world.find(GROUP, f"{instance.id}/{name}") is not None:
        raise ApiError(
            409,
            "ConsumerGroup.Existed",
            f"consumerGroupId exists already: {name!r}",
            dynamicCode="ConsumerGroupId",
            dynamicMessage=name,
        )
    data = {
        "instanceId": instance.id,
        "regionId": instance.data["regionId"],
        "name": name,
        "deliveryOrderType": order,
        "consumeRetryPolicy": policy,
        "messageModel": model,
        "topicName": topic,
        "remark": body.get("remark") or "",
        "maxReceiveTps": body.get("maxReceiveTps"),
        "exclusive": body.get("exclusive"),
        "offsets": {},
        "changed_ms": world.now_ms(),
    }
    world.create(GROUP, f"{instance.id}/{name}", data, [("CREATING", 5), ("RUNNING", 0)])
    return {"data": True}


def _policy(sent: dict[str, Any], order: str, instance: Thing, world: World) -> dict[str, Any]:
    """How often and when a failed message comes again, and where it ends."""
    if order not in _FIXED_S:
        raise refuse("deliveryOrderType", order, "must be Concurrently or Orderly", code=CODE)
    kind = sent["retryPolicy"]
    fits = {"Concurrently": "DefaultRetryPolicy", "Orderly": "FixedRetryPolicy"}
    if kind not in fits.values():
        raise refuse(
            "consumeRetryPolicy.retryPolicy",
            kind,
            "must be DefaultRetryPolicy or FixedRetryPolicy",
            code=CODE,
        )
    if kind == "FixedRetryPolicy" and order != "Orderly":
        raise refuse(
            "consumeRetryPolicy.retryPolicy",
            kind,
            f"does not fit deliveryOrderType {order}: only Orderly",
            code=CODE,
        )
    if kind == "DefaultRetryPolicy" and order == "Orderly":
        raise refuse(
            "consumeRetryPolicy.retryPolicy",
            kind,
            "does not fit deliveryOrderType Orderly: use FixedRetryPolicy",
            code=CODE,
        )
    times = sent.get("maxRetryTimes", 16)
    if times is not None and not 0 <= times <= RETRIES_MOST:
        raise refuse(
            "consumeRetryPolicy.maxRetryTimes", times, f"must be 0 to {RETRIES_MOST}", code=CODE
        )
    policy: dict[str, Any] = {"retryPolicy": kind, "maxRetryTimes": 16 if times is None else times}
    interval_s = sent.get("fixedIntervalRetryTime")
    if kind == "FixedRetryPolicy":
        low, high = _FIXED_S[order]
        interval_s = low if interval_s is None else interval_s
        if not low <= interval_s <= high:
            raise refuse(
                "consumeRetryPolicy.fixedIntervalRetryTime",
                interval_s,
                f"must be {low} to {high} seconds",
                code=CODE,
            )
        policy["fixedIntervalRetryTime"] = interval_s
    target = sent.get("deadLetterTargetTopic")
    if target:
        topic = find_topic(world, instance, target)
        if topic is None:
            raise ApiError(
                404,
                "Topic.NotFound",
                f"consumeRetryPolicy.deadLetterTargetTopic does not exist: {target!r}",
                dynamicCode="deadLetterTargetTopic",
                dynamicMessage=target,
            )
        policy["deadLetterTargetTopic"] = target
    return policy


def group_of(call: LocalCall, world: World) -> Thing:
    instance, name = instance_of(call, world), call.path["consumerGroupId"]
    group = world.find(GROUP, f"{instance.id}/{name}")
    if group is None:
        raise ApiError(
            404,
            "ConsumerGroup.NotFound",
            f"consumerGroupId does not exist: {name!r}",
            dynamicCode="ConsumerGroupId",
            dynamicMessage=name,
        )
    return group


def _line(group: Thing, world: World) -> dict[str, Any]:
    data = group.data
    line = {
        "consumerGroupId": data["name"],
        "createTime": spaced(group.born_ms),
        "instanceId": data["instanceId"],
        "messageModel": data["messageModel"],
        "regionId": data["regionId"],
        "remark": data["remark"],
        "status": world.state(group),
        "topicName": data["topicName"],
        "updateTime": spaced(data["changed_ms"]),
    }
    if data["maxReceiveTps"] is not None:
        line["maxReceiveTps"] = data["maxReceiveTps"]
    return line


@answers("rocketmq", "GetConsumerGroup")
def get_consumer_group(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    more = {
        "consumeRetryPolicy": group.data["consumeRetryPolicy"],
        "deliveryOrderType": group.data["deliveryOrderType"],
        "exclusive": bool(group.data["exclusive"]),
    }
    return {"data": {**_line(group, world), **more}}


@answers("rocketmq", "ListConsumerGroups")
def list_consumer_groups(call: LocalCall, world: World) -> dict[str, Any]:
    instance = instance_of(call, world)
    wanted = str(call.params.get("filter") or "")
    found = [
        group
        for group in world.listed(GROUP, instanceId=instance.id)
        if wanted in group.data["name"]
    ]
    page, counts = list_pages.clamped(found, call.params)
    return {"data": {"list": [_line(group, world) for group in page], **counts}}


@answers("rocketmq", "UpdateConsumerGroup")
def update_consumer_group(call: LocalCall, world: World) -> dict[str, Any]:
    instance, group, body = running(call, world), group_of(call, world), call.body
    order = body.get("deliveryOrderType") or group.data["deliveryOrderType"]
    changed: dict[str, Any] = {
        "deliveryOrderType": order,
        "consumeRetryPolicy": _policy(body["consumeRetryPolicy"], order, instance, world),
    }
    changed.update(
        {name: body[name] for name in ("remark", "maxReceiveTps") if body.get(name) is not None}
    )
    world.update(group, **changed, changed_ms=world.now_ms())
    return {"data": True}


@answers("rocketmq", "DeleteConsumerGroup")
def delete_consumer_group(call: LocalCall, world: World) -> dict[str, Any]:
    running(call, world)
    world.remove(group_of(call, world))
    return {"data": True}


def _offset_ms(group: Thing, topic: Thing) -> int:
    return int(group.data["offsets"].get(topic.data["name"], group.born_ms))


@answers("rocketmq", "GetConsumerGroupLag")
def get_consumer_group_lag(call: LocalCall, world: World) -> dict[str, Any]:
    """Of one topic, or of every topic of the instance that the group has an offset in."""
    group, name = group_of(call, world), call.params.get("topicName")
    if name:
        topics = [_topic(world, group, name)]
    else:
        topics = [
            each
            for each in world.each(TOPIC, instanceId=group.data["instanceId"])
            if each.data["name"] in group.data["offsets"]
        ]
    waiting = [
        each
        for topic in topics
        for each in messages_of(world, topic, since_ms=_offset_ms(group, topic))
    ]
    oldest_ms = min((each.born_ms for each in waiting), default=world.now_ms())
    lag = {
        "deliveryDuration": (world.now_ms() - oldest_ms) // 1_000,
        "inflightCount": 0,
        "lastConsumeTimestamp": max(
            (_offset_ms(group, topic) for topic in topics), default=group.born_ms
        ),
        "readyCount": len(waiting),
    }
    lag.update(world.settings.get("rocketmq", {}).get("lag", {}).get(group.data["name"], {}))
    answer = {
        "consumerGroupId": group.data["name"],
        "instanceId": group.data["instanceId"],
        "regionId": group.data["regionId"],
        "topicName": name or "",
        "totalLag": lag,
    }
    return {"data": answer}


def _topic(world: World, group: Thing, name: str) -> Thing:
    topic = world.find(TOPIC, f"{group.data['instanceId']}/{name}")
    if topic is None:
        raise ApiError(
            404,
            "Topic.NotFound",
            f"topicName does not exist: {name!r}",
            dynamicCode="TopicName",
            dynamicMessage=name,
        )
    return topic


@answers("rocketmq", "GetConsumeTimespan")
def get_consume_timespan(call: LocalCall, world: World) -> dict[str, Any]:
    group, topic = group_of(call, world), topic_of(call, world)
    stored = [message.born_ms for message in messages_of(world, topic)]
    answer = {
        "consumeTimestamp": _offset_ms(group, topic),
        "consumerGroupId": group.data["name"],
        "instanceId": group.data["instanceId"],
        "maxTimestamp": max(stored, default=0),
        "minTimestamp": min(stored, default=0),
        "topicName": topic.data["name"],
    }
    return {"data": answer}


@answers("rocketmq", "ResetConsumeOffset")
def reset_consume_offset(call: LocalCall, world: World) -> dict[str, Any]:
    """To the end of the topic, or to a time: the messages after it come again."""
    running(call, world)
    group, topic, body = group_of(call, world), topic_of(call, world), call.body or {}
    kind = body.get("resetType") or "LATEST_OFFSET"
    if kind not in ("LATEST_OFFSET", "SPECIFIED_TIME"):
        raise refuse("resetType", kind, "must be LATEST_OFFSET or SPECIFIED_TIME", code=CODE)
    at_ms = world.now_ms() + 1
    if kind == "SPECIFIED_TIME":
        asked = LocalCall(call.api, call.region, body)
        sent_ms = ms_of(asked, "resetTime")
        if sent_ms is None or sent_ms > world.now_ms():
            raise refuse(
                "resetTime", body.get("resetTime"), "must be a time that is not ahead", code=CODE
            )
        at_ms = sent_ms
    world.update(group, offsets={**group.data["offsets"], topic.data["name"]: at_ms})
    return {}


@answers("rocketmq", "ListConsumerConnections")
def list_consumer_connections(call: LocalCall, world: World) -> dict[str, Any]:
    """None: no consumer connects to the local cloud."""
    group = group_of(call, world)
    answer = {
        "connections": [],
        "consumerGroupId": group.data["name"],
        "instanceId": group.data["instanceId"],
        "regionId": group.data["regionId"],
    }
    return {"data": answer}


@answers("rocketmq", "ListConsumerGroupSubscriptions")
def list_consumer_group_subscriptions(call: LocalCall, world: World) -> dict[str, Any]:
    group, wanted = group_of(call, world), call.params.get("topicName")
    lines = [
        {
            "consistency": True,
            "consumerGroupId": group.data["name"],
            "filterExpression": "*",
            "filterExpressionType": "TAG",
            "messageModel": group.data["messageModel"],
            "subscriptionStatus": "OFFLINE",
            "topicCreated": world.find(TOPIC, f"{group.data['instanceId']}/{name}") is not None,
            "topicName": name,
        }
        for name in group.data["offsets"]
        if wanted in (None, "", name)
    ]
    return {"data": lines}
