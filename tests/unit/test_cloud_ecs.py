"""The local cloud's computers: security groups, stock, prices, instances, reservations."""

import pytest

from cloud_answers import REGION, START_MS, HandClock, asked, empty_world, refused
from saleops.services.cloud import catalogue
from saleops.services.cloud.setting_checks import settings_problems
from saleops.services.cloud.world import World

A = f"{REGION}a"
TYPE = "ecs.c7.xlarge"


@pytest.fixture
def lab() -> tuple[World, HandClock]:
    return empty_world()


def a_group(world: World, clock: HandClock, kind: str = "enterprise") -> tuple[str, str]:
    vpc = asked("vpc", "CreateVpc", world, RegionId=REGION)["VpcId"]
    clock.pass_s(10)
    made = asked(
        "ecs",
        "CreateSecurityGroup",
        world,
        VpcId=vpc,
        SecurityGroupType=kind,
        SecurityGroupName="sale",
        Tag=[{"Key": "a", "Value": "b"}],
    )
    clock.pass_s(10)
    return vpc, made["SecurityGroupId"]


def an_instance(
    world: World, id: str = "i-1", *, spot: bool = False, group: str = "sg-none"
) -> None:
    data = {
        "InstanceId": id,
        "InstanceName": f"worker-{id}",
        "RegionId": REGION,
        "ZoneId": A,
        "InstanceType": TYPE,
        "SpotStrategy": "SpotAsPriceGo" if spot else "NoSpot",
        "InstanceChargeType": "PostPaid",
        "VpcAttributes": {
            "VpcId": "vpc-1",
            "VSwitchId": "vsw-1",
            "PrivateIpAddress": {"IpAddress": ["10.0.0.9"]},
        },
        "SecurityGroupIds": {"SecurityGroupId": [group]},
        "Tags": {"node": "yes"},
    }
    world.create("instance", id, data, [("Pending", 30), ("Running", 0)])


def test_a_security_group_keeps_each_rule_once_and_gives_it_back(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    _, group = a_group(world, clock)
    rule = {
        "IpProtocol": "TCP",
        "PortRange": "443/443",
        "SourceCidrIp": "10.0.0.0/8",
        "Policy": "accept",
    }
    about = {"RegionId": REGION, "SecurityGroupId": group}

    for _ in range(2):
        asked("ecs", "AuthorizeSecurityGroup", world, **about, Permissions=[rule])
    shown = asked("ecs", "DescribeSecurityGroupAttribute", world, **about)["Permissions"][
        "Permission"
    ]
    assert [(r["IpProtocol"], r["PortRange"], r["Policy"], r["Priority"]) for r in shown] == [
        ("TCP", "443/443", "Accept", "1")
    ]
    assert (
        asked("ecs", "DescribeSecurityGroupAttribute", world, **about, Direction="egress")[
            "Permissions"
        ]["Permission"]
        == []
    )
    asked(
        "ecs",
        "RevokeSecurityGroup",
        world,
        **about,
        SecurityGroupRuleId=[shown[0]["SecurityGroupRuleId"]],
    )
    assert (
        asked("ecs", "DescribeSecurityGroupAttribute", world, **about)["Permissions"]["Permission"]
        == []
    )
    assert (
        refused("ecs", "RevokeSecurityGroup", world, **about, SecurityGroupRuleId=["sgr-x"]).status
        == 404
    )
    asked(
        "ecs",
        "AuthorizeSecurityGroup",
        world,
        **about,
        IpProtocol="tcp",
        PortRange="80/80",
        SourceCidrIp="0.0.0.0/0",
    )
    asked(
        "ecs",
        "RevokeSecurityGroup",
        world,
        **about,
        Permissions=[{"IpProtocol": "TCP", "PortRange": "80/80", "SourceCidrIp": "0.0.0.0/0"}],
    )
    assert (
        asked("ecs", "DescribeSecurityGroups", world, RegionId=REGION)["SecurityGroups"][
            "SecurityGroup"
        ][0]["RuleCount"]
        == 0
    )


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"IpProtocol": "SCTP"}, "InvalidIpProtocol.ValueNotSupported"),
        ({"PortRange": "443"}, "InvalidPortRange.Malformed"),
        ({"PortRange": "9/1"}, "InvalidPortRange.Malformed"),
        ({"PortRange": "-1/-1"}, "InvalidPortRange.Malformed"),
        ({"SourceCidrIp": "ten"}, "InvalidParameter.SourceCidrIp"),
        ({"SourceCidrIp": "fd00::/8"}, "InvalidParameter.SourceCidrIp"),
        ({"SourceCidrIp": ""}, "MissingParameter"),
        ({"SourceGroupId": "sg-none"}, "InvalidSourceGroupId.NotFound"),
        ({"Policy": "maybe"}, "InvalidPolicy.Malformed"),
        ({"Priority": "101"}, "InvalidPriority.Malformed"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_number_and_changes_nothing(
    lab: tuple[World, HandClock], wrong: dict[str, str], code: str
) -> None:
    world, clock = lab
    _, group = a_group(world, clock)
    good = {"IpProtocol": "TCP", "PortRange": "443/443", "SourceCidrIp": "10.0.0.0/8"}

    error = refused(
        "ecs",
        "AuthorizeSecurityGroup",
        world,
        SecurityGroupId=group,
        Permissions=[good, {**good, **wrong}],
    )

    assert error.code == code
    assert "Permissions.2." in error.message
    assert world.things["security_group"][group].data["Rules"] == []


def test_a_security_group_in_use_is_not_deleted(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc, group = a_group(world, clock)
    about = {"RegionId": REGION, "SecurityGroupId": group}
    an_instance(world, group=group)

    assert refused("vpc", "DeleteVpc", world, VpcId=vpc).code == "DependencyViolation.SecurityGroup"
    assert refused("ecs", "DeleteSecurityGroup", world, **about).code == "DependencyViolation"
    world.remove(world.things["instance"]["i-1"])
    asked("ecs", "DeleteSecurityGroup", world, **about)
    assert (
        refused("ecs", "DeleteSecurityGroup", world, **about).code
        == "InvalidSecurityGroupId.NotFound"
    )
    asked("vpc", "DeleteVpc", world, VpcId=vpc)


def test_groups_are_refused_without_a_vpc_a_known_type_or_quota(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    vpc, _ = a_group(world, clock)

    assert refused("ecs", "CreateSecurityGroup", world).code == "MissingParameter.VpcId"
    assert (
        refused("ecs", "CreateSecurityGroup", world, VpcId="vpc-x").code == "InvalidVpcId.NotFound"
    )
    assert (
        refused("ecs", "CreateSecurityGroup", world, VpcId=vpc, SecurityGroupType="big").status
        == 400
    )
    world.settings["quotas"] = {"ecs.security_groups": 1}
    assert (
        refused("ecs", "CreateSecurityGroup", world, VpcId=vpc).code == "QuotaExceed.SecurityGroup"
    )


def test_groups_are_listed_by_name_id_and_tag_with_lag(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc, group = a_group(world, clock)
    late = asked("ecs", "CreateSecurityGroup", world, VpcId=vpc)["SecurityGroupId"]

    def listed(**wanted: object) -> list[str]:
        answer = asked("ecs", "DescribeSecurityGroups", world, RegionId=REGION, **wanted)
        return [row["SecurityGroupId"] for row in answer["SecurityGroups"]["SecurityGroup"]]

    assert listed() == [group]
    clock.pass_s(10)
    assert listed(MaxResults=10) == [group, late]
    assert listed(SecurityGroupName="sale") == [group]
    assert listed(SecurityGroupIds=f'["{late}"]') == [late]
    assert listed(Tag=[{"Key": "a", "Value": "b"}]) == [group]
    assert (
        refused("ecs", "DescribeSecurityGroups", world, SecurityGroupIds="sg-1").code
        == "InvalidParameter"
    )


def test_every_type_and_zone_has_stock_until_somebody_takes_it(
    lab: tuple[World, HandClock],
) -> None:
    world, _ = lab

    def status(**wanted: object) -> dict[str, tuple[str, str]]:
        answer = asked(
            "ecs",
            "DescribeAvailableResource",
            world,
            RegionId=REGION,
            DestinationResource="InstanceType",
            InstanceType=TYPE,
            **wanted,
        )
        return {
            zone["ZoneId"][-1]: (row["Status"], row["StatusCategory"])
            for zone in answer["AvailableZones"]["AvailableZone"]
            for row in zone["AvailableResources"]["AvailableResource"][0]["SupportedResources"][
                "SupportedResource"
            ]
        }

    good = ("Available", "WithStock")
    assert status() == {"a": good, "b": good, "c": good}
    world.settings["stock"] = {f"{TYPE}@{A}": 0, f"spot:{TYPE}": 0}
    assert status() == {"a": ("SoldOut", "WithoutStock"), "b": good, "c": good}
    assert status(SpotStrategy="SpotAsPriceGo") == dict.fromkeys("abc", ("SoldOut", "WithoutStock"))
    world.settings["stock"] = {TYPE: 1}
    assert status()["a"] == ("Available", "ClosedWithStock")
    an_instance(world)
    assert status()["a"] == ("SoldOut", "WithoutStock")
    assert (
        refused(
            "ecs",
            "DescribeAvailableResource",
            world,
            DestinationResource="InstanceType",
            InstanceType="ecs.x",
        ).status
        == 404
    )
    assert (
        refused("ecs", "DescribeAvailableResource", world, DestinationResource="SystemDisk").code
        == "MissingParameter.InstanceType"
    )
    assert (
        refused(
            "ecs", "DescribeAvailableResource", world, DestinationResource="Zone", ZoneId="mars"
        ).code
        == "InvalidZoneId.NotFound"
    )
    disks = asked(
        "ecs",
        "DescribeAvailableResource",
        world,
        DestinationResource="SystemDisk",
        InstanceType=TYPE,
        ZoneId=f"{REGION}b",
    )
    assert disks["AvailableZones"]["AvailableZone"][0]["Status"] == "Available"


def test_instance_types_say_their_size_and_how_many_addresses_they_hold(
    lab: tuple[World, HandClock],
) -> None:
    rows = asked("ecs", "DescribeInstanceTypes", lab[0], InstanceTypes=[TYPE])["InstanceTypes"][
        "InstanceType"
    ]

    assert [
        (r["CpuCoreCount"], r["MemorySize"], r["EniQuantity"], r["EniPrivateIpAddressQuantity"])
        for r in rows
    ] == [(4, 8.0, 4, 15)]
    big = asked(
        "ecs", "DescribeInstanceTypes", lab[0], MinimumCpuCoreCount=32, InstanceTypeFamily="ecs.g7"
    )
    assert {r["InstanceTypeId"] for r in big["InstanceTypes"]["InstanceType"]} == {
        "ecs.g7.8xlarge",
        "ecs.g7.16xlarge",
        "ecs.g7.32xlarge",
    }
    page = asked("ecs", "DescribeInstanceTypes", lab[0], MaxResults=5)
    assert len(page["InstanceTypes"]["InstanceType"]) == 5
    assert page["NextToken"]
    every = asked(
        "ecs",
        "DescribeRecommendInstanceType",
        lab[0],
        NetworkType="vpc",
        InstanceType=TYPE,
        PriorityStrategy="PriceFirst",
    )
    assert {r["InstanceType"]["Cores"] for r in every["Data"]["RecommendInstanceType"]} == {4}


def test_spot_prices_are_below_the_list_and_the_same_when_asked_again(
    lab: tuple[World, HandClock],
) -> None:
    world, _ = lab
    about = {
        "RegionId": REGION,
        "InstanceType": TYPE,
        "NetworkType": "vpc",
        "StartTime": "2026-11-09T08:00:00Z",
    }

    first = asked("ecs", "DescribeSpotPriceHistory", world, **about)
    assert first == asked("ecs", "DescribeSpotPriceHistory", world, **about)
    rows = first["SpotPrices"]["SpotPriceType"]
    assert len(rows) == 25 * 3
    assert all(0 < row["SpotPrice"] < row["OriginPrice"] for row in rows)
    rest = asked("ecs", "DescribeSpotPriceHistory", world, **about, Offset=70, ZoneId=None)
    assert len(rest["SpotPrices"]["SpotPriceType"]) == 5
    assert first["Currency"] == "USD"
    world.settings["prices"] = {f"spot:{TYPE}@{A}": 0.05, TYPE: 0.2}
    row = asked("ecs", "DescribeSpotPriceHistory", world, **about, ZoneId=A)["SpotPrices"][
        "SpotPriceType"
    ][0]
    assert (row["SpotPrice"], row["OriginPrice"]) == (0.05, 0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"NetworkType": "classic"},
        {"InstanceType": "ecs.none"},
        {"StartTime": "2026-09-01T00:00:00Z"},
        {"StartTime": "yesterday"},
        {"EndTime": "2026-10-01T00:00:00Z", "StartTime": "2026-10-02T00:00:00Z"},
        {"Offset": -1},
        {"ZoneId": "mars"},
    ],
)
def test_a_wrong_question_about_spot_prices_is_refused(
    lab: tuple[World, HandClock], wrong: dict[str, object]
) -> None:
    about = {"InstanceType": TYPE, "NetworkType": "vpc", **wrong}

    assert refused("ecs", "DescribeSpotPriceHistory", lab[0], **about).status in (400, 404)


def test_spot_advice_names_discount_and_interruption_by_zone(lab: tuple[World, HandClock]) -> None:
    answer = asked(
        "ecs", "DescribeSpotAdvice", lab[0], RegionId=REGION, InstanceTypes=[TYPE, "ecs.g7.xlarge"]
    )
    zones = answer["AvailableSpotZones"]["AvailableSpotZone"]

    assert len(zones) == 3
    assert all(
        10 <= r["AverageSpotDiscount"] <= 45
        for z in zones
        for r in z["AvailableSpotResources"]["AvailableSpotResource"]
    )
    assert refused("ecs", "DescribeSpotAdvice", lab[0], InstanceTypes=[TYPE] * 11).status == 400
    assert refused("ecs", "DescribeSpotAdvice", lab[0], InstanceTypes=["ecs.none"]).status == 404


def test_a_price_grows_with_amount_and_disks_and_shrinks_as_spot(
    lab: tuple[World, HandClock],
) -> None:
    world, _ = lab

    def price(**wanted: object) -> float:
        answer = asked("ecs", "DescribePrice", world, RegionId=REGION, InstanceType=TYPE, **wanted)
        return float(answer["PriceInfo"]["Price"]["TradePrice"])

    assert price(Amount=10) == pytest.approx(10 * price(), abs=0.01)
    assert price(SpotStrategy="SpotAsPriceGo", ZoneId=A) < price(ZoneId=A)
    assert price(SystemDisk={"Category": "cloud_essd", "Size": 120}) > price()
    world.settings["currency"] = "CNY"
    assert price() > 1
    assert refused("ecs", "DescribePrice", world).code == "MissingParameter.InstanceType"
    assert (
        refused("ecs", "DescribePrice", world, InstanceType=TYPE, Amount=0).code == "InvalidAmount"
    )
    assert (
        "SystemDisk.Category"
        in refused(
            "ecs", "DescribePrice", world, InstanceType=TYPE, SystemDisk={"Category": "gold"}
        ).message
    )


def test_instances_of_pools_are_read_and_filtered(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    an_instance(world, "i-1")
    an_instance(world, "i-2", spot=True)

    def listed(**wanted: object) -> list[str]:
        answer = asked("ecs", "DescribeInstances", world, RegionId=REGION, **wanted)
        return [row["InstanceId"] for row in answer["Instances"]["Instance"]]

    assert listed() == []
    clock.pass_s(10)
    assert listed(Status="Running") == []
    clock.pass_s(60)
    assert listed(Status="Running", VSwitchId="vsw-1", InstanceName="worker-*") == ["i-1", "i-2"]
    assert listed(InstanceIds='["i-2"]') == ["i-2"]
    assert listed(Tag=[{"Key": "node", "Value": "no"}]) == []
    assert refused("ecs", "DescribeInstances", world, InstanceIds="i-2").code == "InvalidParameter"
    world.create(
        "instance_event",
        "e-1",
        {"InstanceId": "i-2", "EventType": "InstanceExpiration.Delete"},
        [("Scheduled", 0)],
    )
    clock.pass_s(10)
    events = asked("ecs", "DescribeInstanceHistoryEvents", world, RegionId=REGION, InstanceId="i-2")
    assert events["TotalCount"] == 1


def test_account_attributes_tell_the_vcpu_quota_and_what_is_used(
    lab: tuple[World, HandClock],
) -> None:
    world, _ = lab
    an_instance(world, spot=True)
    world.settings["quotas"] = {"ecs.spot_vcpu": 96}

    answer = asked(
        "ecs",
        "DescribeAccountAttributes",
        world,
        RegionId=REGION,
        AttributeName=["max-spot-instance-vcpu-count", "used-spot-instance-vcpu-count"],
    )

    rows = answer["AccountAttributeItems"]["AccountAttributeItem"]
    assert [row["AttributeValues"]["ValueItem"][0]["Value"] for row in rows] == ["96", "4"]
    assert (
        refused("ecs", "DescribeAccountAttributes", world, AttributeName=["moon"]).code
        == "InvalidParameter"
    )


def test_a_reservation_holds_no_more_than_there_is(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    world.settings["stock"] = {TYPE: 10}
    about = {"RegionId": REGION, "InstanceType": TYPE, "ZoneId": [A]}

    made = asked(
        "ecs",
        "CreateCapacityReservation",
        world,
        **about,
        InstanceAmount=8,
        EndTimeType="Limited",
        EndTime="2026-11-10T10:00:00Z",
    )
    assert (
        refused("ecs", "CreateCapacityReservation", world, **about, InstanceAmount=3).code
        == "OperationDenied.NoStock"
    )
    clock.pass_s(10)
    row = asked("ecs", "DescribeCapacityReservations", world, RegionId=REGION)[
        "CapacityReservationSet"
    ]["CapacityReservationItem"][0]
    assert (row["PrivatePoolOptionsId"], row["Status"]) == (made["PrivatePoolOptionsId"], "Active")
    clock.pass_s(3 * 3600)
    assert asked("ecs", "DescribeCapacityReservations", world, RegionId=REGION)["TotalCount"] == 0
    assert (
        refused(
            "ecs",
            "CreateCapacityReservation",
            world,
            **about,
            InstanceAmount=1,
            EndTimeType="Limited",
        ).code
        == "MissingParameter.EndTime"
    )
    assert (
        refused(
            "ecs",
            "CreateCapacityReservation",
            world,
            RegionId=REGION,
            InstanceType=TYPE,
            ZoneId=["mars"],
            InstanceAmount=1,
        ).status
        == 404
    )


def test_regions_zones_and_tags_are_answered(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    _, group = a_group(world, clock)
    assert REGION in [
        r["RegionId"] for r in asked("ecs", "DescribeRegions", world)["Regions"]["Region"]
    ]
    assert len(asked("ecs", "DescribeZones", world, RegionId=REGION)["Zones"]["Zone"]) == 3
    about = {"RegionId": REGION, "ResourceType": "securitygroup", "ResourceId": [group]}
    asked("ecs", "TagResources", world, **about, Tag=[{"Key": "saleops:sale", "Value": "x"}])
    assert len(asked("ecs", "ListTagResources", world, **about)["TagResources"]["TagResource"]) == 2


def test_the_catalogue_is_a_function_of_the_seed() -> None:
    one, other = empty_world("x")[0], empty_world("x")[0]

    assert [catalogue.spot_price(one, TYPE, A, START_MS + h * 3_600_000) for h in range(5)] == [
        catalogue.spot_price(other, TYPE, A, START_MS + h * 3_600_000) for h in range(5)
    ]
    assert catalogue.stock(one, TYPE, A) == catalogue.stock(other, TYPE, A) > 0
    assert catalogue.stock(one, "ecs.none", A) == catalogue.stock(one, TYPE, "mars") == 0
    assert catalogue.zones_of("cn-hangzhou")[0] == "cn-hangzhou-b"


def test_billing_answers_balance_and_the_list_price(lab: tuple[World, HandClock]) -> None:
    world, _ = lab
    module = {
        "ModuleCode": "InstanceType",
        "PriceType": "Hour",
        "Config": f"InstanceType:{TYPE},Region:{REGION}",
    }
    about = {"ProductCode": "ecs", "SubscriptionType": "PayAsYouGo", "ModuleList": [module]}

    assert (
        asked("bssopenapi", "QueryAccountBalance", world)["Data"]["AvailableAmount"] == "10,000.00"
    )
    price = asked("bssopenapi", "GetPayAsYouGoPrice", world, **about)["Data"]["ModuleDetails"][
        "ModuleDetail"
    ][0]
    assert price["UnitPrice"] == catalogue.list_price(world, TYPE, A)
    month = asked(
        "bssopenapi",
        "GetSubscriptionPrice",
        world,
        **{**about, "SubscriptionType": "Subscription"},
        OrderType="NewOrder",
    )
    assert month["Data"]["TradePrice"] > price["UnitPrice"] * 100
    assert asked(
        "bssopenapi",
        "DescribePricingModule",
        world,
        ProductCode="ecs",
        SubscriptionType="PayAsYouGo",
    )["Success"]
    assert (
        asked("bssopenapi", "DescribeInstanceBill", world, BillingCycle="2026-11")["Data"]["Items"]
        == []
    )
    for wrong in (
        {"ProductCode": "moon"},
        {"SubscriptionType": "Subscription"},
        {"ModuleList": [{**module, "Config": "x"}]},
        {"ModuleList": [{**module, "ModuleCode": "x"}]},
        {"ModuleList": [{**module, "PriceType": "Year"}]},
    ):
        assert (
            refused("bssopenapi", "GetPayAsYouGoPrice", world, **{**about, **wrong}).status == 400
        )


def test_settings_that_no_answer_could_use_are_named() -> None:
    good = {"stock": {TYPE: 0}, "prices": {TYPE: 0.2}, "quotas": {"vpc.eips": 2}, "currency": "CNY"}
    bad = {"stock": {TYPE: "many"}, "prices": [], "quotas": {"vpc.eips": -1}, "currency": "EUR"}

    assert settings_problems(good) == []
    assert len(settings_problems({**bad, "balance": "much"})) == 5
