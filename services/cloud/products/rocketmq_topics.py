"""RocketMQ 5: topics and the messages in them.

A topic takes messages of its own type only. Messages come from VerifySendMessage, the console's way of sending one; there is
no broker behind the local cloud.
"""

import re
from typing import Any

from saleops.services.cloud import list_pages
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.rocketmq_instances import (
    GROUP,
    TOPIC,
    TOPICS_FREE,
    as_list,
    instance_of,
    refuse,
    running,
)
from saleops.services.cloud.timestamps import ms_of, spaced
from saleops.services.cloud.world import Thing, World

MESSAGE = "rocketmq_message"
TYPES = ("NORMAL", "FIFO", "DELAY", "TRANSACTION", "LITE")
NAME_LONGEST, NAME_LONGEST_SERVERLESS = 60, 128
_NAME = re.compile(r"[%|A-Za-z0-9_-]+")
_RESERVED = {
    "BenchmarkTest",
    "OFFSET_MOVED_EVENT",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "SCHEDULE_TOPIC_XXXX",
    "SELF_TEST_TOPIC",
    "TBW102",
    "TRANS_CHECK_MAX_TIME_TOPIC",
}
_RESERVED_STARTS = ("%RETRY%", "%DLQ%", "%SYS%", "rmq_sys_", "RMQ_SYS_", "CID_RMQ_SYS_", "CID_SYS_")


def check_name(name: str, instance: Thing, field: str, code: str) -> None:
    """Of a topic or a group: its length, its letters, and that RocketMQ does not use it itself."""
    serverless = instance.data["subSeriesCode"] == "serverless"
    longest = NAME_LONGEST_SERVERLESS if serverless else NAME_LONGEST
    if not 1 <= len(name) <= longest:
        raise refuse(field, name, f"must be 1 to {longest} characters", code=code)
    if not _NAME.fullmatch(name):
        raise refuse(field, name, "may hold letters, digits, %, |, _ and - only", code=code)
    if name in _RESERVED or name.startswith(_RESERVED_STARTS):
        raise refuse(field, name, "is a reserved name", code=code)


@answers("rocketmq", "CreateTopic")
def create_topic(call: LocalCall, world: World) -> dict[str, Any]:
    """There is no token; a second create of the same name is refused."""
    instance, name, body = running(call, world), call.path["topicName"], call.body
    check_name(name, instance, "topicName", "Topic.InvalidParameter")
    if body["messageType"] not in TYPES:
        raise refuse(
            "messageType",
            body["messageType"],
            f"must be {', '.join(TYPES)}",
            code="Topic.InvalidParameter",
        )
    expires_min = body.get("liteTopicExpiration")
    if expires_min not in (None, -1) and not 30 <= expires_min <= 720:
        raise refuse(
            "liteTopicExpiration",
            expires_min,
            "must be 30 to 720 minutes, or -1",
            code="Topic.InvalidParameter",
        )
    if find_topic(world, instance, name) is not None:
        raise ApiError(
            409,
            "Topic.Existed",
            f"topicName exists already: {name!r}",
            dynamicCode="TopicName",
            dynamicMessage=name,
        )
    free = TOPICS_FREE[instance.data["seriesCode"]]
    if sum(1 for _ in world.each(TOPIC, instanceId=instance.id)) >= free:
        raise ApiError(
            403,
            "Topic.QuotaExceeded",
            f"topicName {name!r} is one more than the {free} topics of {instance.id!r}",
        )
    data = {
        "instanceId": instance.id,
        "regionId": instance.data["regionId"],
        "name": name,
        "messageType": body["messageType"],
        "remark": body.get("remark") or "",
        "maxSendTps": body.get("maxSendTps"),
        "liteTopicExpiration": expires_min,
        "changed_ms": world.now_ms(),
    }
    world.create(TOPIC, f"{instance.id}/{name}", data, [("CREATING", 5), ("RUNNING", 0)])
    return {"data": True}


def find_topic(world: World, instance: Thing, name: str) -> Thing | None:
    return world.find(TOPIC, f"{instance.id}/{name}")


def topic_of(call: LocalCall, world: World) -> Thing:
    instance, name = instance_of(call, world), call.path["topicName"]
    topic = find_topic(world, instance, name)
    if topic is None:
        raise ApiError(
            404,
            "Topic.NotFound",
            f"topicName does not exist: {name!r}",
            dynamicCode="TopicName",
            dynamicMessage=name,
        )
    return topic


def _shown(topic: Thing, world: World) -> dict[str, Any]:
    data = topic.data
    shown = {
        "createTime": spaced(topic.born_ms),
        "instanceId": data["instanceId"],
        "messageType": data["messageType"],
        "regionId": data["regionId"],
        "remark": data["remark"],
        "status": world.state(topic),
        "topicName": data["name"],
        "updateTime": spaced(data["changed_ms"]),
    }
    optional = {
        name: data[name] for name in ("maxSendTps", "liteTopicExpiration") if data[name] is not None
    }
    return {**shown, **optional}


@answers("rocketmq", "GetTopic")
def get_topic(call: LocalCall, world: World) -> dict[str, Any]:
    return {"data": _shown(topic_of(call, world), world)}


@answers("rocketmq", "ListTopics")
def list_topics(call: LocalCall, world: World) -> dict[str, Any]:
    instance, params = instance_of(call, world), call.params
    types = as_list(params.get("messageTypes"))
    found = [
        topic
        for topic in world.listed(TOPIC, instanceId=instance.id)
        if str(params.get("filter") or "") in topic.data["name"]
        and (not types or topic.data["messageType"] in types)
    ]
    page, counts = list_pages.clamped(found, params)
    return {"data": {"list": [_shown(topic, world) for topic in page], **counts}}


@answers("rocketmq", "UpdateTopic")
def update_topic(call: LocalCall, world: World) -> dict[str, Any]:
    running(call, world)
    topic, body = topic_of(call, world), call.body or {}
    fields = ("remark", "maxSendTps", "liteTopicExpiration")
    changed = {name: body[name] for name in fields if body.get(name) is not None}
    world.update(topic, **changed, changed_ms=world.now_ms())
    return {"data": True}


@answers("rocketmq", "DeleteTopic")
def delete_topic(call: LocalCall, world: World) -> dict[str, Any]:
    """Not while a group dead-letters into it: the messages would have nowhere to go."""
    instance, topic = running(call, world), topic_of(call, world)
    users = [
        group.data["name"]
        for group in world.each(GROUP, instanceId=instance.id)
        if group.data["consumeRetryPolicy"].get("deadLetterTargetTopic") == topic.data["name"]
    ]
    if users:
        raise ApiError(
            400,
            "Topic.DependencyViolation",
            f"topicName {topic.data['name']!r} is the dead-letter topic of {', '.join(users)}",
        )
    for message in world.each(MESSAGE, topic=topic.id):
        world.remove(message)
    world.remove(topic)
    return {"data": True}


@answers("rocketmq", "VerifySendMessage")
def verify_send_message(call: LocalCall, world: World) -> dict[str, Any]:
    running(call, world)
    topic, body = topic_of(call, world), call.body or {}
    kind, text = topic.data["messageType"], body.get("message") or ""
    code = "Message.InvalidParameter"
    if not text:
        raise refuse("message", body.get("message"), "is empty", code=code)
    if kind == "TRANSACTION":
        raise refuse(
            "topicName",
            topic.data["name"],
            "a TRANSACTION topic takes half messages of a producer only",
            code=code,
        )
    if (kind == "FIFO") != bool(body.get("messageGroup")):
        raise refuse(
            "messageGroup",
            body.get("messageGroup"),
            f"does not fit a {kind} topic: FIFO needs it, others refuse it",
            code=code,
        )
    if (kind == "DELAY") != bool(body.get("deliveryTimeStamp")):
        raise refuse(
            "deliveryTimeStamp",
            body.get("deliveryTimeStamp"),
            f"does not fit a {kind} topic: DELAY needs it, others refuse it",
            code=code,
        )
    message_id = world.new_id("01", length=30).upper()
    data = {
        "topic": topic.id,
        "body": text,
        "key": body.get("messageKey") or "",
        "tag": body.get("messageTag") or "",
        "group": body.get("messageGroup") or "",
        "properties": {
            str(key): str(value) for key, value in (body.get("userProperties") or {}).items()
        },
    }
    world.create(MESSAGE, message_id, data, [("STORED", 0)])
    return {"data": message_id}


def messages_of(world: World, topic: Thing, *, since_ms: int = 0) -> list[Thing]:
    """What the topic keeps since then, oldest first."""
    return [
        message for message in world.each(MESSAGE, topic=topic.id) if message.born_ms >= since_ms
    ]


@answers("rocketmq", "ListMessages")
def list_messages(call: LocalCall, world: World) -> dict[str, Any]:
    """By id, by key, or by time; ``scrollId`` names the search that the next page belongs to."""
    topic, params = topic_of(call, world), call.params
    start_ms, end_ms = ms_of(call, "startTime"), ms_of(call, "endTime")
    if not params.get("messageId") and (start_ms is None or end_ms is None):
        raise refuse(
            "startTime",
            params.get("startTime"),
            "startTime and endTime are required without messageId",
            code="Message.InvalidParameter",
        )
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise refuse(
            "endTime", params["endTime"], "must be after startTime", code="Message.InvalidParameter"
        )
    found = [
        message
        for message in messages_of(world, topic)
        if params.get("messageId") in (None, "", message.id)
        and params.get("messageKey") in (None, "", message.data["key"])
        and (start_ms is None or start_ms <= message.born_ms)
        and (end_ms is None or message.born_ms <= end_ms)
    ]
    page, counts = list_pages.clamped(found, params)
    scroll = params.get("scrollId") or f"{topic.data['name']}-{start_ms or 0}-{end_ms or 0}"
    return {
        "data": {"list": [_message(each, topic) for each in page], "scrollId": scroll, **counts}
    }


@answers("rocketmq", "GetMessageDetail")
def get_message_detail(call: LocalCall, world: World) -> dict[str, Any]:
    topic, message_id = topic_of(call, world), call.path["messageId"]
    message = world.find(MESSAGE, message_id)
    if message is None or message.data["topic"] != topic.id:
        raise ApiError(404, "Message.NotFound", f"messageId does not exist: {message_id!r}")
    return {"data": {**_message(message, topic), "systemProperties": {}}}


def _message(message: Thing, topic: Thing) -> dict[str, Any]:
    data = message.data
    return {
        "body": data["body"],
        "bodySize": len(data["body"].encode()),
        "bornHost": "127.0.0.1",
        "bornTime": spaced(message.born_ms),
        "instanceId": topic.data["instanceId"],
        "messageGroup": data["group"],
        "messageId": message.id,
        "messageKeys": [data["key"]] if data["key"] else [],
        "messageTag": data["tag"],
        "messageType": topic.data["messageType"],
        "regionId": topic.data["regionId"],
        "storeHost": "127.0.0.1",
        "storeTime": spaced(message.born_ms),
        "topicName": topic.data["name"],
        "userProperties": data["properties"],
    }
