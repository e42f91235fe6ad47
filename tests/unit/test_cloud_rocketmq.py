"""The local cloud's RocketMQ 5: instances, topics by type, groups, lag."""

from typing import Any

import pytest

from cloud_answers import REGION, HandClock, asked, empty_world, refused
from saleops.services.cloud.products import load_products
from saleops.services.cloud.world import World

load_products()


Q = "rocketmq"


def networked() -> tuple[World, HandClock]:
    world, clock = empty_world()
    world.create("vpc", "vpc-1", {"RegionId": REGION})
    for letter in "ab":
        network = {
            "VpcId": "vpc-1",
            "ZoneId": f"{REGION}{letter}",
            "CidrBlock": "10.0.0.0/24",
            "RegionId": REGION,
        }
        world.create("vswitch", f"vsw-{letter}", network)
    return world, clock


def order(**more: Any) -> dict[str, Any]:
    return {
        "serviceCode": "rmq",
        "seriesCode": "professional",
        "subSeriesCode": "cluster_ha",
        "paymentType": "PayAsYouGo",
        "instanceName": "sale-orders",
        "networkInfo": {
            "vpcInfo": {"vpcId": "vpc-1", "vSwitches": [{"vSwitchId": "vsw-a"}]},
            "internetInfo": {"internetSpec": "disable", "flowOutType": "uninvolved"},
        },
        "productInfo": {
            "msgProcessSpec": "rmq.p2.4xlarge",
            "messageRetentionTime": 72,
            "sendReceiveRatio": 0.5,
        },
        "tags": [{"key": "saleops:sale", "value": "sale"}],
        **more,
    }


def running() -> tuple[World, HandClock, dict[str, str]]:
    world, clock = networked()
    id = asked(Q, "CreateInstance", world, body=order())["data"]
    clock.pass_s(600)
    return world, clock, {"instanceId": id}


def topic(world: World, at: dict[str, str], name: str, kind: str) -> None:
    asked(Q, "CreateTopic", world, path={**at, "topicName": name}, body={"messageType": kind})


def group(name: str, at: dict[str, str], **policy: Any) -> dict[str, Any]:
    retry = {"retryPolicy": "DefaultRetryPolicy", "maxRetryTimes": 16, **policy}
    body = {"deliveryOrderType": "Concurrently", "consumeRetryPolicy": retry}
    return {"path": {**at, "consumerGroupId": name}, "body": body}


def test_an_instance_is_creating_then_running_and_takes_topics_only_then() -> None:
    world, clock = networked()
    at = {"instanceId": asked(Q, "CreateInstance", world, body=order())["data"]}
    early = {"path": {**at, "topicName": "orders"}, "body": {"messageType": "TRANSACTION"}}
    assert refused(Q, "CreateTopic", world, **early).code == "Instance.StatusNotRunning"
    assert asked(Q, "GetInstance", world, path=at)["data"]["status"] == "CREATING"
    clock.pass_s(301)
    shown = asked(Q, "GetInstance", world, path=at)["data"]
    assert (shown["status"], shown["topicCount"]) == ("RUNNING", 0)
    listed = asked(Q, "ListInstances", world, tags='[{"key":"saleops:sale","value":"sale"}]')[
        "data"
    ]
    assert [each["instanceName"] for each in listed["list"]] == ["sale-orders"]
    assert (
        asked(Q, "ListInstances", world, tags='[{"key":"saleops:sale","value":"x"}]')["data"][
            "list"
        ]
        == []
    )


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"serviceCode": "ons"}, "serviceCode"),
        ({"seriesCode": "gold"}, "gold"),
        ({"seriesCode": "ultimate", "subSeriesCode": "single_node"}, "subSeriesCode"),
        ({"paymentType": "PostPaid"}, "PostPaid"),
        ({"subSeriesCode": "serverless"}, "commodityCode"),
        (
            {"subSeriesCode": "serverless", "commodityCode": "ons_rmqsrvlesspost_public_intl"},
            "two vSwitches",
        ),
        (
            {"productInfo": {"msgProcessSpec": "rmq.p2.4xlarge", "sendReceiveRatio": 0.99}},
            "sendReceiveRatio",
        ),
        ({"productInfo": {}}, "msgProcessSpec"),
    ],
    ids=["service", "series", "sub", "payment", "commodity", "one-vswitch", "ratio", "spec"],
)
def test_an_instance_that_cannot_be_is_refused_by_field(more: dict[str, Any], named: str) -> None:
    world, _ = networked()
    assert named in refused(Q, "CreateInstance", world, body=order(**more)).message
    assert not list(world.each("rocketmq_instance"))


def test_a_vswitch_of_another_network_is_refused() -> None:
    world, _ = networked()
    network = order()["networkInfo"]
    network["vpcInfo"]["vSwitches"] = [{"vSwitchId": "vsw-9"}]
    error = refused(Q, "CreateInstance", world, body=order(networkInfo=network))
    assert error.code == "VSwitch.NotFound"
    assert "vsw-9" in error.message


def test_a_topic_is_made_once() -> None:
    world, clock, at = running()
    topic(world, at, "orders", "TRANSACTION")
    again = {"path": {**at, "topicName": "orders"}, "body": {"messageType": "TRANSACTION"}}
    assert refused(Q, "CreateTopic", world, **again).code == "Topic.Existed"
    assert asked(Q, "GetTopic", world, path=again["path"])["data"]["status"] == "CREATING"
    clock.pass_s(6)
    assert asked(Q, "GetTopic", world, path=again["path"])["data"]["status"] == "RUNNING"
    assert asked(Q, "ListTopics", world, path=at, messageTypes=["FIFO"])["data"]["totalCount"] == 0
    assert asked(Q, "ListTopics", world, path=at)["data"]["totalCount"] == 1


@pytest.mark.parametrize(
    "name",
    ["", "a" * 61, "bad name", "TBW102", "%DLQ%orders", "rmq_sys_x"],
    ids=["empty", "long", "space", "word", "dlq", "sys"],
)
def test_names_that_rocketmq_keeps_or_cannot_hold_are_refused(name: str) -> None:
    world, _, at = running()
    error = refused(
        Q, "CreateTopic", world, path={**at, "topicName": name}, body={"messageType": "NORMAL"}
    )
    assert error.code == "Topic.InvalidParameter"
    group_error = refused(Q, "CreateConsumerGroup", world, **group(name, at))
    assert group_error.code == "ConsumerGroup.InvalidParameter"


def test_a_group_needs_its_dead_letter_topic_first() -> None:
    world, _, at = running()
    wanted = group("workers", at, deadLetterTargetTopic="orders-dlq")
    error = refused(Q, "CreateConsumerGroup", world, **wanted)
    assert error.code == "Topic.NotFound"
    assert "orders-dlq" in error.message
    topic(world, at, "orders-dlq", "NORMAL")
    asked(Q, "CreateConsumerGroup", world, **wanted)
    assert refused(Q, "CreateConsumerGroup", world, **wanted).code == "ConsumerGroup.Existed"
    shown = asked(Q, "GetConsumerGroup", world, path=wanted["path"])["data"]
    assert shown["consumeRetryPolicy"]["deadLetterTargetTopic"] == "orders-dlq"
    assert (
        refused(Q, "DeleteTopic", world, path={**at, "topicName": "orders-dlq"}).code
        == "Topic.DependencyViolation"
    )


def test_a_fixed_retry_fits_ordered_delivery_only() -> None:
    world, _, at = running()
    error = refused(
        Q, "CreateConsumerGroup", world, **group("workers", at, retryPolicy="FixedRetryPolicy")
    )
    assert "Orderly" in error.message
    ordered = group("ledger", at, retryPolicy="FixedRetryPolicy", fixedIntervalRetryTime=5)
    ordered["body"]["deliveryOrderType"] = "Orderly"
    asked(Q, "CreateConsumerGroup", world, **ordered)


def test_messages_lag_until_the_offset_passes_them() -> None:
    world, clock, at = running()
    topic(world, at, "orders", "NORMAL")
    asked(Q, "CreateConsumerGroup", world, **group("workers", at))
    clock.pass_s(10)
    on = {**at, "topicName": "orders"}
    for number in range(3):
        asked(
            Q,
            "VerifySendMessage",
            world,
            path=on,
            body={"message": f"m{number}", "messageKey": f"k{number}"},
        )
        clock.pass_s(20)
    workers = {**at, "consumerGroupId": "workers"}
    lag = asked(Q, "GetConsumerGroupLag", world, path=workers, topicName="orders")["data"][
        "totalLag"
    ]
    assert (lag["readyCount"], lag["deliveryDuration"]) == (3, 60)
    times = {"startTime": "2026-11-10 08:00:00", "endTime": "2026-11-10 09:00:00"}
    found = asked(Q, "ListMessages", world, path=on, messageKey="k1", **times)["data"]["list"]
    assert [each["body"] for each in found] == ["m1"]
    detail = asked(Q, "GetMessageDetail", world, path={**on, "messageId": found[0]["messageId"]})[
        "data"
    ]
    assert detail["body"] == "m1"
    asked(
        Q, "ResetConsumeOffset", world, path={**workers, **on}, body={"resetType": "LATEST_OFFSET"}
    )
    lag = asked(Q, "GetConsumerGroupLag", world, path=workers)["data"]["totalLag"]
    assert lag["readyCount"] == 0
    world.settings["rocketmq"] = {"lag": {"workers": {"readyCount": 900}}}
    lag = asked(Q, "GetConsumerGroupLag", world, path=workers, topicName="orders")["data"][
        "totalLag"
    ]
    assert lag["readyCount"] == 900


def test_a_topic_takes_messages_of_its_own_type_only() -> None:
    world, _, at = running()
    topic(world, at, "half", "TRANSACTION")
    topic(world, at, "lane", "FIFO")
    half, lane = {**at, "topicName": "half"}, {**at, "topicName": "lane"}
    assert (
        "TRANSACTION"
        in refused(Q, "VerifySendMessage", world, path=half, body={"message": "m"}).message
    )
    assert (
        "messageGroup"
        in refused(Q, "VerifySendMessage", world, path=lane, body={"message": "m"}).message
    )
    asked(
        Q, "VerifySendMessage", world, path=lane, body={"message": "m", "messageGroup": "buyer-1"}
    )


def test_an_instance_goes_after_its_groups_and_topics() -> None:
    world, clock, at = running()
    topic(world, at, "orders", "NORMAL")
    asked(Q, "CreateConsumerGroup", world, **group("workers", at))
    error = refused(Q, "DeleteInstance", world, path=at)
    assert error.code == "Instance.DependencyViolation"
    assert "workers" in error.message
    asked(Q, "DeleteConsumerGroup", world, path={**at, "consumerGroupId": "workers"})
    assert "orders" in refused(Q, "DeleteInstance", world, path=at).message
    asked(Q, "DeleteTopic", world, path={**at, "topicName": "orders"})
    asked(Q, "DeleteInstance", world, path=at)
    clock.pass_s(61)
    assert refused(Q, "GetInstance", world, path=at).code == "Instance.NotFound"


def test_pages_are_clamped_without_a_word() -> None:
    world, clock, at = running()
    for number in range(12):
        topic(world, at, f"t{number}", "NORMAL")
    clock.pass_s(10)
    page = asked(Q, "ListTopics", world, path=at, pageNumber=0, pageSize=3)["data"]
    assert (page["pageNumber"], page["pageSize"], len(page["list"])) == (1, 10, 10)
    asked(
        Q,
        "TagResources",
        world,
        regionId=REGION,
        resourceId=f'["{at["instanceId"]}"]',
        resourceType="instance",
        tag='[{"key":"a","value":"b"}]',
    )
    listed = asked(Q, "ListTagResources", world, regionId=REGION, resourceType="instance")["data"][
        "tagResources"
    ]
    assert {each["tagKey"] for each in listed} == {"saleops:sale", "a"}
    asked(Q, "ListRegions", world)
    asked(Q, "ListAvailableZones", world)
    asked(Q, "UpdateInstance", world, path=at, body={"remark": "frozen"})
    assert asked(Q, "GetInstance", world, path=at)["data"]["remark"] == "frozen"
