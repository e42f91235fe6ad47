"""The local cloud's Tair: what it makes, refuses and measures."""

import json
from typing import Any

import pytest

from cloud_answers import REGION, HandClock, asked, empty_world, refused
from saleops.services.cloud.products import load_products
from saleops.services.cloud.world import World

load_products()


R = "r-kvstore"


def networked() -> tuple[World, HandClock]:
    world, clock = empty_world()
    world.create("vpc", "vpc-1", {"RegionId": REGION})
    zone = f"{REGION}a"
    network = {"VpcId": "vpc-1", "ZoneId": zone, "CidrBlock": "10.0.0.0/24", "RegionId": REGION}
    world.create("vswitch", "vsw-1", network)
    return world, clock


def order(**more: Any) -> dict[str, Any]:
    return {
        "RegionId": REGION,
        "VpcId": "vpc-1",
        "VSwitchId": "vsw-1",
        "InstanceType": "tair_rdb",
        "InstanceClass": "tair.rdb.with.proxy.8g",
        "ShardCount": 4,
        "ChargeType": "PostPaid",
        "InstanceName": "sale-stock",
        "AutoPay": True,
        "Tag": [{"Key": "saleops:sale", "Value": "sale"}],
        **more,
    }


def running(**more: Any) -> tuple[World, HandClock, str]:
    world, clock = networked()
    id = asked(R, "CreateTairInstance", world, **order(**more))["InstanceId"]
    clock.pass_s(3_600)
    return world, clock, id


def attribute(world: World, id: str) -> dict[str, Any]:
    answer = asked(R, "DescribeInstanceAttribute", world, InstanceId=id)
    (shown,) = answer["Instances"]["DBInstanceAttribute"]
    return dict(shown)


def test_a_new_instance_is_creating_for_minutes_and_then_normal() -> None:
    world, clock = networked()
    made = asked(R, "CreateTairInstance", world, **order())
    assert made["InstanceStatus"] == "Creating"
    assert (made["Bandwidth"], made["QPS"], made["Connections"]) == (384, 1_200_000, 160_000)
    clock.pass_s(200)
    assert attribute(world, made["InstanceId"])["InstanceStatus"] == "Creating"
    clock.pass_s(300)
    shown = attribute(world, made["InstanceId"])
    assert shown["InstanceStatus"] == "Normal"
    assert (shown["ArchitectureType"], shown["ShardCount"], shown["ZoneId"]) == (
        "cluster",
        4,
        f"{REGION}a",
    )


def test_the_list_lags_a_create_that_the_single_look_shows_at_once() -> None:
    world, clock = networked()
    asked(R, "CreateTairInstance", world, **order())
    tag = [{"Key": "saleops:sale", "Value": "sale"}]
    assert asked(R, "DescribeInstances", world, RegionId=REGION, Tag=tag)["TotalCount"] == 0
    clock.pass_s(4)
    listed = asked(R, "DescribeInstances", world, RegionId=REGION, Tag=tag)
    assert [each["InstanceName"] for each in listed["Instances"]["KVStoreInstance"]] == [
        "sale-stock"
    ]
    other = [{"Key": "saleops:sale", "Value": "another"}]
    assert asked(R, "DescribeInstances", world, RegionId=REGION, Tag=other)["TotalCount"] == 0
    assert asked(R, "DescribeInstances", world, RegionId="cn-hangzhou")["TotalCount"] == 0


@pytest.mark.parametrize(
    ("wrong", "code", "named"),
    [
        ({"InstanceClass": "tair.rdb.9g"}, "InvalidInstanceClass.NotFound", "tair.rdb.9g"),
        ({"InstanceType": "tair_scm"}, "InvalidInstanceClass.NotFound", "tair_scm"),
        ({"ShardCount": 33}, "InvalidShardCount", "33"),
        ({"VpcId": "vpc-9"}, "InvalidVpcId.NotFound", "vpc-9"),
        ({"VSwitchId": "vsw-9"}, "InvalidVSwitchId.NotFound", "vsw-9"),
        ({"ZoneId": f"{REGION}b"}, "InvalidZoneId", f"{REGION}b"),
        ({"ChargeType": "Postpaid"}, "InvalidChargeType", "Postpaid"),
        ({"ChargeType": None}, "InvalidPeriod", "Period"),
        ({"EngineVersion": "8.0"}, "InvalidEngineVersion", "8.0"),
        ({"InstanceName": "1"}, "InvalidInstanceName.Malformed", "InstanceName"),
        ({"DryRun": True}, "DryRunOperation", "DryRun"),
    ],
    ids=[
        "class",
        "medium",
        "shards",
        "vpc",
        "vswitch",
        "zone",
        "charge",
        "period",
        "engine",
        "name",
        "dry",
    ],
)
def test_a_create_that_cannot_be_is_refused_by_field_and_value(
    wrong: dict[str, Any], code: str, named: str
) -> None:
    world, _ = networked()
    error = refused(R, "CreateTairInstance", world, **order(**wrong))
    assert error.code == code
    assert named in error.message
    assert not list(world.each("tair"))


def test_a_refused_password_is_not_repeated() -> None:
    world, _ = networked()
    error = refused(R, "CreateTairInstance", world, **order(Password="sesame"))
    assert error.code == "InvalidPassword.Malformed"
    assert "sesame" not in error.message


def test_shards_are_added_to_those_there_are() -> None:
    world, clock, id = running()
    answer = asked(R, "AddShardingNode", world, InstanceId=id, ShardCount=2)
    assert answer["NodeIds"] == [f"{id}-db-4", f"{id}-db-5"]
    assert attribute(world, id)["InstanceStatus"] == "Changing"
    busy = refused(R, "AddShardingNode", world, InstanceId=id, ShardCount=2)
    assert busy.code == "IncorrectDBInstanceState"
    clock.pass_s(3_600)
    assert attribute(world, id)["ShardCount"] == 6
    assert (
        refused(R, "AddShardingNode", world, InstanceId=id, ShardCount=65).code
        == "InvalidShardCount"
    )


def test_a_standard_instance_has_no_shards_to_add() -> None:
    world, _, id = running(ShardCount=1, InstanceClass="tair.rdb.8g")
    assert attribute(world, id)["ArchitectureType"] == "standard"
    assert refused(R, "AddShardingNode", world, InstanceId=id).code == "IncorrectArchitectureType"


def test_extra_bandwidth_ends_at_192_and_at_six_times_the_default() -> None:
    world, clock, id = running()
    enable = {"InstanceId": id, "ChargeType": "PostPaid", "NodeId": "All", "AutoPay": True}
    error = refused(R, "EnableAdditionalBandwidth", world, **enable, Bandwidth="193")
    assert error.code == "InvalidBandwidth"
    assert "192" in error.message
    prepaid = {**enable, "ChargeType": "PrePaid"}
    assert (
        refused(R, "EnableAdditionalBandwidth", world, **prepaid, Bandwidth="9").code
        == "InvalidChargeType"
    )
    asked(R, "EnableAdditionalBandwidth", world, **enable, Bandwidth="192")
    clock.pass_s(61)
    assert attribute(world, id)["Bandwidth"] == (96 + 192) * 4


def test_a_class_changes_in_place_and_only_within_its_family() -> None:
    world, clock, id = running()
    asked(
        R,
        "ModifyInstanceSpec",
        world,
        InstanceId=id,
        InstanceClass="tair.rdb.with.proxy.16g",
        OrderType="UPGRADE",
    )
    clock.pass_s(600)
    assert attribute(world, id)["InstanceClass"] == "tair.rdb.with.proxy.16g"
    refuse = {"InstanceId": id, "InstanceClass": "tair.rdb.16g"}
    assert refused(R, "ModifyInstanceSpec", world, **refuse).code == "InvalidInstanceClass.NotFound"
    smaller = {"InstanceId": id, "InstanceClass": "tair.rdb.with.proxy.8g", "OrderType": "UPGRADE"}
    assert refused(R, "ModifyInstanceSpec", world, **smaller).code == "InvalidOrderType"


def test_cover_is_the_default_of_the_whitelist_and_append_keeps_what_is_there() -> None:
    world, _, id = running()

    def ips() -> str:
        groups = asked(R, "DescribeSecurityIps", world, InstanceId=id)["SecurityIpGroups"][
            "SecurityIpGroup"
        ]
        return str(
            {group["SecurityIpGroupName"]: group["SecurityIpList"] for group in groups}["default"]
        )

    asked(
        R, "ModifySecurityIps", world, InstanceId=id, SecurityIps="10.0.0.0/24", ModifyMode="Append"
    )
    assert ips() == "127.0.0.1,10.0.0.0/24"
    asked(R, "ModifySecurityIps", world, InstanceId=id, SecurityIps="10.0.1.0/24")
    assert ips() == "10.0.1.0/24"
    asked(
        R, "ModifySecurityIps", world, InstanceId=id, SecurityIps="10.0.1.0/24", ModifyMode="Delete"
    )
    assert ips() == "127.0.0.1"
    error = refused(R, "ModifySecurityIps", world, InstanceId=id, SecurityIps="10.0.0.0/40")
    assert "10.0.0.0/40" in error.message


def test_a_subscription_cannot_be_released_and_what_is_released_goes() -> None:
    world, clock, id = running(ChargeType="PrePaid", Period=1)
    assert refused(R, "DeleteInstance", world, InstanceId=id).code == "IncorrectChargeType"
    world, clock, id = running()
    asked(R, "DeleteInstance", world, InstanceId=id)
    clock.pass_s(31)
    assert (
        refused(R, "DescribeInstanceAttribute", world, InstanceId=id).code
        == "InvalidInstanceId.NotFound"
    )


def test_values_are_measured_between_two_times() -> None:
    world, _, id = running()
    world.settings["load"] = {id: 0.5}
    window = {"StartTime": "2026-11-10T08:50:00Z", "EndTime": "2026-11-10T08:55:00Z"}
    answer = asked(
        R,
        "DescribeHistoryMonitorValues",
        world,
        InstanceId=id,
        IntervalForHistory="01m",
        MonitorKeys="CpuUsage$db,TotalQps",
        **window,
    )
    history = json.loads(answer["MonitorHistory"])
    assert len(history) == 61
    assert 40 < float(history["2026-11-10T08:50:00Z"]["CpuUsage"]) < 60
    unknown = {"InstanceId": id, "IntervalForHistory": "01m", "MonitorKeys": "Mood"}
    assert "Mood" in refused(R, "DescribeHistoryMonitorValues", world, **unknown, **window).message


def test_addresses_tags_and_offers_are_shown() -> None:
    world, _, id = running()
    item = asked(R, "DescribeDBInstanceNetInfo", world, InstanceId=id)["NetInfoItems"][
        "InstanceNetInfo"
    ][0]
    assert (item["ConnectionString"], item["Port"]) == (f"{id}.redis.rds.aliyuncs.com", "6379")
    asked(
        R,
        "TagResources",
        world,
        RegionId=REGION,
        ResourceType="INSTANCE",
        ResourceId=[id],
        Tag=[{"Key": "a", "Value": "b"}],
    )
    listed = asked(
        R, "ListTagResources", world, RegionId=REGION, ResourceType="INSTANCE", ResourceId=[id]
    )
    assert {each["TagKey"] for each in listed["TagResources"]["TagResource"]} == {
        "saleops:sale",
        "a",
    }
    zones = asked(R, "DescribeAvailableResource", world, RegionId=REGION)["AvailableZones"][
        "AvailableZone"
    ]
    assert len(zones) == 3
    world.settings["stock"] = {f"tair@{REGION}a": 0}
    zones = asked(R, "DescribeAvailableResource", world, RegionId=REGION)["AvailableZones"][
        "AvailableZone"
    ]
    assert len(zones) == 2
    asked(R, "DescribeRegions", world)
    asked(R, "DescribeZones", world, RegionId=REGION)
    asked(R, "DescribeLogicInstanceTopology", world, InstanceId=id)
    asked(R, "ModifyInstanceConfig", world, InstanceId=id, Config='{"script_check_enable": "0"}')
    shown = asked(R, "DescribeParameters", world, DBInstanceId=id)["RunningParameters"]["Parameter"]
    assert {"script_check_enable": "0"}.items() <= {
        e["ParameterName"]: e["ParameterValue"] for e in shown
    }.items()
