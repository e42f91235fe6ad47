"""The local cloud's networks: states over time, every refusal with its code, paging, tags, lag, deletes in the wrong order."""

import pytest

from cloud_answers import REGION, HandClock, asked, empty_world, refused
from saleops.cloudapi import apis_of
from saleops.services.cloud.answers import ANSWERERS
from saleops.services.cloud.products import load_product
from saleops.services.cloud.world import World

A, B = f"{REGION}a", f"{REGION}b"


@pytest.fixture
def lab() -> tuple[World, HandClock]:
    world, clock = empty_world()
    world.settings["conflict_share"] = 0
    return world, clock


def a_vpc(world: World, clock: HandClock, cidr: str = "10.0.0.0/8", **more: object) -> str:
    id = asked("vpc", "CreateVpc", world, RegionId=REGION, CidrBlock=cidr, **more)["VpcId"]
    clock.pass_s(10)
    return str(id)


def a_vswitch(
    world: World, clock: HandClock, vpc: str, cidr: str = "10.0.0.0/24", zone: str = A
) -> str:
    id = asked("vpc", "CreateVSwitch", world, VpcId=vpc, CidrBlock=cidr, ZoneId=zone)["VSwitchId"]
    clock.pass_s(10)
    return str(id)


def a_gateway(world: World, clock: HandClock) -> tuple[str, str, str, str]:
    """VPC, vSwitch, NAT gateway, SNAT table."""
    vpc = a_vpc(world, clock)
    vswitch = a_vswitch(world, clock, vpc)
    nat = asked(
        "vpc",
        "CreateNatGateway",
        world,
        RegionId=REGION,
        VpcId=vpc,
        VSwitchId=vswitch,
        NatType="Enhanced",
        Name="sale-nat",
    )
    clock.pass_s(120)
    return vpc, vswitch, nat["NatGatewayId"], nat["SnatTableIds"]["SnatTableId"][0]


def an_eip(world: World, clock: HandClock, nat: str | None = None) -> tuple[str, str]:
    made = asked(
        "vpc",
        "AllocateEipAddress",
        world,
        RegionId=REGION,
        Bandwidth="100",
        InternetChargeType="PayByTraffic",
    )
    if nat:
        asked(
            "vpc",
            "AssociateEipAddress",
            world,
            AllocationId=made["AllocationId"],
            InstanceId=nat,
            InstanceType="Nat",
        )
    clock.pass_s(10)
    return made["AllocationId"], made["EipAddress"]


def test_a_vpc_is_pending_first_and_then_available(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    id = asked("vpc", "CreateVpc", world, RegionId=REGION, CidrBlock="10.0.0.0/8", VpcName="sale")[
        "VpcId"
    ]

    states = []
    for _ in range(2):
        states.append(
            asked("vpc", "DescribeVpcAttribute", world, RegionId=REGION, VpcId=id)["Status"]
        )
        clock.pass_s(10)

    assert states == ["Pending", "Available"]


@pytest.mark.parametrize(
    ("cidr", "code"),
    [
        ("10.0.0.0/7", "InvalidCidrBlock.Malformed"),
        ("10.0.0.0/29", "InvalidCidrBlock.Malformed"),
        ("10.0.0.1/16", "InvalidCidrBlock.Malformed"),
        ("ten/8", "InvalidCidrBlock.Malformed"),
        ("100.64.0.0/16", "InvalidCidrBlock"),
        ("127.0.0.0/16", "InvalidCidrBlock"),
    ],
)
def test_a_vpc_with_an_impossible_block_is_refused_by_field_and_value(
    lab: tuple[World, HandClock], cidr: str, code: str
) -> None:
    error = refused("vpc", "CreateVpc", lab[0], RegionId=REGION, CidrBlock=cidr)

    assert error.code == code
    assert "CidrBlock" in error.message
    assert cidr in error.message


def test_names_descriptions_and_tags_are_held_to_their_rules(lab: tuple[World, HandClock]) -> None:
    world, _ = lab
    codes = [
        refused("vpc", "CreateVpc", world, RegionId=REGION, **wrong).code
        for wrong in (
            {"VpcName": "http://x"},
            {"VpcName": "x" * 129},
            {"Description": "x" * 257},
            {"Tag": [{"Key": "", "Value": "x"}]},
            {"Tag": [{"Key": "acs:x", "Value": "x"}]},
            {"Tag": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]},
            {"Tag": [{"Key": "a", "Value": "http://x"}]},
            {"Tag": [{"Key": f"k{n}", "Value": "x"} for n in range(21)]},
        )
    ]

    assert codes == [
        "InvalidVpcName.Malformed",
        "InvalidVpcName.Malformed",
        "InvalidDescription.Malformed",
        "MissingParameter.TagKey",
        "InvalidTagKey.Malformed",
        "Duplicate.TagKey",
        "InvalidTagValue.Malformed",
        "NumberExceed.Tags",
    ]
    assert not list(world.each("vpc"))


def test_a_dry_run_checks_everything_and_makes_nothing(lab: tuple[World, HandClock]) -> None:
    world, _ = lab

    assert (
        refused("vpc", "CreateVpc", world, RegionId=REGION, DryRun=True).code == "DryRunOperation"
    )
    assert (
        refused(
            "vpc", "CreateVpc", world, RegionId=REGION, DryRun=True, CidrBlock="1.1.1.1/40"
        ).code
        == "InvalidCidrBlock.Malformed"
    )
    assert not list(world.each("vpc"))


def test_the_quota_of_vpcs_is_the_region_s(lab: tuple[World, HandClock]) -> None:
    world, _ = lab
    world.settings["quotas"] = {"vpc.vpcs": 1}
    asked("vpc", "CreateVpc", world, RegionId=REGION)

    assert refused("vpc", "CreateVpc", world, RegionId=REGION).code == "QuotaExceeded.Vpc"
    assert asked("vpc", "CreateVpc", world, region="cn-hangzhou", RegionId="cn-hangzhou")["VpcId"]


def test_a_list_lags_behind_what_a_look_by_id_sees(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    id = asked("vpc", "CreateVpc", world, RegionId=REGION)["VpcId"]

    assert asked("vpc", "DescribeVpcs", world, RegionId=REGION)["TotalCount"] == 0
    assert asked("vpc", "DescribeVpcAttribute", world, RegionId=REGION, VpcId=id)["VpcId"] == id
    clock.pass_s(4)
    assert asked("vpc", "DescribeVpcs", world, RegionId=REGION)["TotalCount"] == 1


def test_lists_filter_by_name_id_and_tags_and_turn_pages(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    world.settings["quotas"] = {"vpc.vpcs": 60}
    ids = [
        asked(
            "vpc",
            "CreateVpc",
            world,
            RegionId=REGION,
            VpcName=f"v{n}",
            Tag=[{"Key": "saleops:sale", "Value": "midnight" if n % 2 else "noon"}],
        )["VpcId"]
        for n in range(25)
    ]
    clock.pass_s(10)

    def listed(**wanted: object) -> list[str]:
        answer = asked("vpc", "DescribeVpcs", world, RegionId=REGION, PageSize=50, **wanted)
        return [vpc["VpcId"] for vpc in answer["Vpcs"]["Vpc"]]

    assert listed(VpcName="v3") == [ids[3]]
    assert listed(VpcId=f"{ids[1]},{ids[2]}") == [ids[1], ids[2]]
    assert listed(Tag=[{"Key": "saleops:sale", "Value": "midnight"}]) == ids[1::2]
    assert listed(Tag=[{"Key": "saleops:sale"}]) == ids
    assert listed(Tag=[{"Key": "other"}]) == []
    assert listed(IsDefault=True) == []
    third = asked("vpc", "DescribeVpcs", world, RegionId=REGION, PageNumber=3)
    assert (third["TotalCount"], third["PageNumber"], third["PageSize"]) == (25, 3, 10)
    assert len(third["Vpcs"]["Vpc"]) == 5
    error = refused("vpc", "DescribeVpcs", world, RegionId=REGION, PageSize=51)
    assert error.code == "InvalidParameter"
    assert "PageSize" in error.message
    assert (
        refused("vpc", "DescribeVpcs", world, RegionId=REGION, PageNumber=0).code
        == "InvalidParameter"
    )
    other = asked("vpc", "DescribeVpcs", world, region="cn-hangzhou", RegionId="cn-hangzhou")
    assert other["TotalCount"] == 0


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"VpcId": "vpc-none"}, "InvalidVpcId.NotFound"),
        ({"ZoneId": "ap-southeast-1z"}, "InvalidZoneId.NotFound"),
        ({"CidrBlock": "10.0.0.0/15"}, "InvalidCidrBlock.Malformed"),
        ({"CidrBlock": "10.0.0.0/30"}, "InvalidCidrBlock.Malformed"),
        ({"CidrBlock": "192.168.0.0/24"}, "InvalidCidrBlock"),
        ({"CidrBlock": "10.0.0.128/25"}, "InvalidCidrBlock.Overlapped"),
        ({"VSwitchName": "https://x"}, "InvalidVSwitchName.Malformed"),
    ],
)
def test_a_vswitch_is_refused_by_field_and_value(
    lab: tuple[World, HandClock], wrong: dict[str, str], code: str
) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock)
    a_vswitch(world, clock, vpc)

    error = refused(
        "vpc",
        "CreateVSwitch",
        world,
        **{"VpcId": vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": A, **wrong},
    )

    assert error.code == code
    (field, value), *_ = wrong.items()
    assert field in error.message
    assert value in error.message


def test_a_vswitch_waits_for_its_vpc(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc = asked("vpc", "CreateVpc", world, RegionId=REGION)["VpcId"]
    about = {"VpcId": vpc, "CidrBlock": "172.16.0.0/24", "ZoneId": A}

    assert refused("vpc", "CreateVSwitch", world, **about).code == "IncorrectVpcStatus"
    clock.pass_s(10)
    assert asked("vpc", "CreateVSwitch", world, **about)["VSwitchId"]


def test_two_vswitches_at_once_can_conflict_and_one_after_the_other_never(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    world.settings["conflict_share"] = 1.0
    vpc = a_vpc(world, clock)
    asked("vpc", "CreateVSwitch", world, VpcId=vpc, CidrBlock="10.0.0.0/24", ZoneId=A)
    second = {"VpcId": vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": B}

    assert refused("vpc", "CreateVSwitch", world, **second).code == "OperationConflict"
    clock.pass_s(5)
    assert asked("vpc", "CreateVSwitch", world, **second)["VSwitchId"]


def test_free_addresses_are_what_four_reserved_ones_and_the_users_leave(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock)
    id = a_vswitch(world, clock, vpc)

    def free() -> int:
        shown = asked("vpc", "DescribeVSwitchAttributes", world, VSwitchId=id)
        return int(shown["AvailableIpAddressCount"])

    assert free() == 252
    world.create("instance", "i-1", {"VpcAttributes": {"VSwitchId": id, "VpcId": vpc}})
    world.create("node", "n-1", {"ip_use": {id: 30}, "pod_vswitch_ids": [id]})
    world.create("scaling_group", "asg-1", {"VSwitchIds": [id]})
    assert free() == 252 - 31
    world.settings["vswitch_ips"] = {id: 0}
    assert free() == 0


def test_a_secondary_block_makes_room_for_more_vswitches(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock, "10.0.0.0/16")
    about = {"RegionId": REGION, "VpcId": vpc}

    assert (
        refused("vpc", "AssociateVpcCidrBlock", world, **about).code
        == "MissingParameter.SecondaryCidrBlock"
    )
    assert (
        refused(
            "vpc", "AssociateVpcCidrBlock", world, **about, SecondaryCidrBlock="10.0.8.0/24"
        ).code
        == "InvalidCidrBlock.Overlapped"
    )
    asked("vpc", "AssociateVpcCidrBlock", world, **about, SecondaryCidrBlock="10.9.0.0/16")
    assert a_vswitch(world, clock, vpc, "10.9.1.0/24")
    assert (
        refused("vpc", "AssociateVpcCidrBlock", world, **about, IpVersion="IPV6").code
        == "InvalidParameter"
    )


def test_a_nat_gateway_is_creating_first_and_has_its_tables_at_once(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock)
    vswitch = a_vswitch(world, clock, vpc)

    made = asked("vpc", "CreateNatGateway", world, RegionId=REGION, VpcId=vpc, VSwitchId=vswitch)
    look = {"RegionId": REGION, "NatGatewayId": made["NatGatewayId"]}

    assert asked("vpc", "GetNatGatewayAttribute", world, **look)["Status"] == "Creating"
    clock.pass_s(90)
    shown = asked("vpc", "DescribeNatGateways", world, **look)["NatGateways"]["NatGateway"][0]
    assert shown["Status"] == "Available"
    assert shown["SnatTableIds"] == made["SnatTableIds"]
    assert shown["NatGatewayPrivateInfo"]["VswitchId"] == vswitch


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"NatType": "Normal"}, "InvalidParameter"),
        ({"InternetChargeType": "PayBySpec"}, "InvalidParameter"),
        ({"InstanceChargeType": "PrePaid"}, "InvalidParameter"),
        ({"VSwitchId": ""}, "MissingParameter.VSwitchId"),
        ({"VSwitchId": "vsw-none"}, "InvalidVSwitchId.NotFound"),
        ({"Name": "1"}, "InvalidName.Malformed"),
        ({"VpcId": "vpc-none"}, "InvalidVpcId.NotFound"),
    ],
)
def test_a_nat_gateway_is_refused_by_field(
    lab: tuple[World, HandClock], wrong: dict[str, str], code: str
) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock)
    vswitch = a_vswitch(world, clock, vpc)

    error = refused(
        "vpc",
        "CreateNatGateway",
        world,
        **{"RegionId": REGION, "VpcId": vpc, "VSwitchId": vswitch, **wrong},
    )

    assert error.code == code
    assert next(iter(wrong)) in error.message


def test_a_zone_without_nat_a_full_vswitch_and_the_quota_refuse_a_gateway(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    hangzhou = {"region": "cn-hangzhou"}
    vpc = asked("vpc", "CreateVpc", world, **hangzhou)["VpcId"]
    clock.pass_s(10)
    ids = {}
    for cidr, zone in (("172.16.0.0/24", "cn-hangzhou-b"), ("172.16.1.0/24", "cn-hangzhou-h")):
        ids[zone] = asked(
            "vpc", "CreateVSwitch", world, **hangzhou, VpcId=vpc, CidrBlock=cidr, ZoneId=zone
        )["VSwitchId"]
        clock.pass_s(10)
    zones = asked("vpc", "ListEnhanhcedNatGatewayAvailableZones", world, **hangzhou)["Zones"]

    assert "cn-hangzhou-b" not in [zone["ZoneId"] for zone in zones]
    error = refused(
        "vpc", "CreateNatGateway", world, **hangzhou, VpcId=vpc, VSwitchId=ids["cn-hangzhou-b"]
    )
    assert "cn-hangzhou-b" in error.message
    open_one = {"VpcId": vpc, "VSwitchId": ids["cn-hangzhou-h"], **hangzhou}
    world.settings["vswitch_ips"] = {ids["cn-hangzhou-h"]: 0}
    assert refused("vpc", "CreateNatGateway", world, **open_one).code == "InsufficientIpAddress"
    world.settings = {"quotas": {"vpc.nat_gateways_per_vpc": 0}}
    assert refused("vpc", "CreateNatGateway", world, **open_one).code == "QuotaExceeded.NatGateway"


@pytest.mark.parametrize(
    ("traffic", "bandwidth", "fits"),
    [
        ("PayByTraffic", "200", True),
        ("PayByTraffic", "201", False),
        ("PayByBandwidth", "500", True),
        ("PayByBandwidth", "501", False),
        ("PayByBandwidth", "0", False),
        ("PayByBandwidth", "fast", False),
    ],
)
def test_the_bandwidth_of_an_eip_depends_on_how_it_is_paid(
    lab: tuple[World, HandClock], traffic: str, bandwidth: str, fits: bool
) -> None:
    about = {"RegionId": REGION, "InternetChargeType": traffic, "Bandwidth": bandwidth}

    if fits:
        assert asked("vpc", "AllocateEipAddress", lab[0], **about)["AllocationId"]
    else:
        error = refused("vpc", "AllocateEipAddress", lab[0], **about)
        assert error.code == "InvalidBandwidth.ValueNotSupported"
        assert bandwidth in error.message


def test_an_eip_is_tied_to_a_gateway_only_as_nat(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    _, _, nat, _ = a_gateway(world, clock)
    id, ip = an_eip(world, clock)
    tie = {"AllocationId": id, "InstanceId": nat}

    error = refused("vpc", "AssociateEipAddress", world, **tie)
    assert error.code == "InvalidInstanceId.NotFound"
    assert "EcsInstance" in error.message
    asked("vpc", "AssociateEipAddress", world, **tie, InstanceType="Nat")

    def shown() -> dict[str, str]:
        listed = asked("vpc", "DescribeEipAddresses", world, RegionId=REGION, AllocationId=id)
        return dict(listed["EipAddresses"]["EipAddress"][0])

    assert shown()["Status"] == "Associating"
    assert refused("vpc", "ReleaseEipAddress", world, AllocationId=id).code == "IncorrectEipStatus"
    clock.pass_s(5)
    assert (shown()["Status"], shown()["InstanceId"], shown()["InstanceType"]) == (
        "InUse",
        nat,
        "Nat",
    )
    assert (
        refused("vpc", "AssociateEipAddress", world, **tie, InstanceType="Nat").code
        == "IncorrectEipStatus"
    )
    found = asked(
        "vpc",
        "DescribeEipAddresses",
        world,
        RegionId=REGION,
        AssociatedInstanceId=nat,
        EipAddress=ip,
    )
    assert found["TotalCount"] == 1


def test_the_eip_quota_refuses_one_too_many(lab: tuple[World, HandClock]) -> None:
    world, _ = lab
    world.settings["quotas"] = {"vpc.eips": 1}
    asked("vpc", "AllocateEipAddress", world, RegionId=REGION)

    assert refused("vpc", "AllocateEipAddress", world, RegionId=REGION).code == "QuotaExceeded.Eip"


def test_an_eip_changes_its_bandwidth_within_its_limits(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    id, _ = an_eip(world, clock)

    asked("vpc", "ModifyEipAddressAttribute", world, AllocationId=id, Bandwidth="200", Name="out")
    assert refused("vpc", "ModifyEipAddressAttribute", world, AllocationId=id, Bandwidth="201")
    shown = asked("vpc", "DescribeEipAddresses", world, RegionId=REGION)["EipAddresses"][
        "EipAddress"
    ][0]
    assert (shown["Bandwidth"], shown["Name"]) == ("200", "out")


def test_a_snat_entry_needs_an_eip_of_its_gateway(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    _, vswitch, nat, table = a_gateway(world, clock)
    id, ip = an_eip(world, clock)
    about = {"RegionId": REGION, "SnatTableId": table, "SourceVSwitchId": vswitch, "SnatIp": ip}

    assert refused("vpc", "CreateSnatEntry", world, **about).code == "EIP_NOT_IN_GATEWAY"
    asked("vpc", "AssociateEipAddress", world, AllocationId=id, InstanceId=nat, InstanceType="Nat")
    assert (
        refused("vpc", "CreateSnatEntry", world, **about).code
        == "OperationUnsupported.EipInBinding"
    )
    clock.pass_s(10)
    entry = asked("vpc", "CreateSnatEntry", world, **about)["SnatEntryId"]
    clock.pass_s(10)
    shown = asked("vpc", "DescribeSnatTableEntries", world, RegionId=REGION, SnatTableId=table)
    row = shown["SnatTableEntries"]["SnatTableEntry"][0]
    assert (row["SnatEntryId"], row["Status"], row["SourceCIDR"]) == (
        entry,
        "Available",
        "10.0.0.0/24",
    )
    assert (
        refused("vpc", "CreateSnatEntry", world, **about).code == "InvalidSourceVSwitchId.Duplicate"
    )


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"SnatTableId": "stb-none"}, "InvalidSnatTableId.NotFound"),
        ({"SnatIp": "47.1.1.1"}, "InvalidSnatIp.NotFound"),
        ({"SnatIp": ""}, "MissingParameter.SnatIp"),
        ({"SourceVSwitchId": "vsw-none"}, "InvalidSourceVSwitchId.NotFound"),
        ({"SourceVSwitchId": ""}, "MissingParameter.SourceVSwitchId"),
        ({"SourceCIDR": "10.0.0.0/24"}, "MissingParameter.SourceVSwitchId"),
        ({"SourceCIDR": "ten", "SourceVSwitchId": ""}, "InvalidSourceCIDR.Malformed"),
        ({"SnatEntryName": "1"}, "InvalidName.Malformed"),
    ],
)
def test_a_snat_entry_is_refused_by_field(
    lab: tuple[World, HandClock], wrong: dict[str, str], code: str
) -> None:
    world, clock = lab
    _, vswitch, nat, table = a_gateway(world, clock)
    _, ip = an_eip(world, clock, nat)

    about = {"RegionId": REGION, "SnatTableId": table, "SourceVSwitchId": vswitch, "SnatIp": ip}
    assert refused("vpc", "CreateSnatEntry", world, **{**about, **wrong}).code == code


def test_a_network_comes_down_in_reverse_order_only(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc, vswitch, nat, table = a_gateway(world, clock)
    eip, ip = an_eip(world, clock, nat)
    entry = asked(
        "vpc",
        "CreateSnatEntry",
        world,
        RegionId=REGION,
        SnatTableId=table,
        SnatIp=ip,
        SourceVSwitchId=vswitch,
    )["SnatEntryId"]
    gone_entry = {"RegionId": REGION, "SnatTableId": table, "SnatEntryId": entry}
    gone_nat = {"RegionId": REGION, "NatGatewayId": nat}

    assert refused("vpc", "DeleteVpc", world, VpcId=vpc).code.startswith("DependencyViolation.")
    assert refused("vpc", "DeleteVSwitch", world, VSwitchId=vswitch).code.startswith(
        "DependencyViolation."
    )
    assert (
        refused("vpc", "DeleteNatGateway", world, **gone_nat).code
        == "DependencyViolation.SnatEntry"
    )
    assert refused("vpc", "DeleteSnatEntry", world, **gone_entry).code == "IncorretSnatEntryStatus"
    clock.pass_s(10)
    assert (
        refused("vpc", "UnassociateEipAddress", world, AllocationId=eip).code
        == "InvalidIpStatus.HasBeenUsedBySnatTable"
    )
    asked("vpc", "DeleteSnatEntry", world, **gone_entry)
    clock.pass_s(10)
    assert (
        refused("vpc", "DeleteSnatEntry", world, **gone_entry).code == "InvalidSnatEntryId.NotFound"
    )
    assert refused("vpc", "DeleteNatGateway", world, **gone_nat).code == "DependencyViolation.EIPS"
    assert refused(
        "vpc", "UnassociateEipAddress", world, AllocationId=eip, InstanceType="EcsInstance"
    )
    asked(
        "vpc", "UnassociateEipAddress", world, AllocationId=eip, InstanceType="Nat", InstanceId=nat
    )
    assert refused("vpc", "ReleaseEipAddress", world, AllocationId=eip).code == "IncorrectEipStatus"
    clock.pass_s(10)
    asked("vpc", "ReleaseEipAddress", world, AllocationId=eip)
    assert (
        refused("vpc", "ReleaseEipAddress", world, AllocationId=eip).code
        == "InvalidAllocationId.NotFound"
    )
    asked("vpc", "DeleteNatGateway", world, **gone_nat)
    assert (
        refused("vpc", "DeleteVSwitch", world, VSwitchId=vswitch).code
        == "DependencyViolation.NatGateway"
    )
    assert refused("vpc", "DeleteNatGateway", world, **gone_nat).code == "IncorrectStatus.NATGW"
    clock.pass_s(60)
    assert refused("vpc", "DeleteVpc", world, VpcId=vpc).code == "DependencyViolation.VSwitch"
    asked("vpc", "DeleteVSwitch", world, VSwitchId=vswitch)
    asked("vpc", "DeleteVpc", world, VpcId=vpc)
    clock.pass_s(60)
    assert [t.id for kind in list(world.things) for t in world.each(kind)] == []


def test_force_deletes_a_gateway_with_all_that_hangs_on_it(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    _, vswitch, nat, table = a_gateway(world, clock)
    eip, ip = an_eip(world, clock, nat)
    asked(
        "vpc",
        "CreateSnatEntry",
        world,
        RegionId=REGION,
        SnatTableId=table,
        SnatIp=ip,
        SourceVSwitchId=vswitch,
    )

    asked("vpc", "DeleteNatGateway", world, RegionId=REGION, NatGatewayId=nat, Force=True)
    clock.pass_s(60)

    assert [world.state(thing) for thing in world.each("eip")] == ["Available"]
    assert not list(world.each("snat_entry"))
    asked("vpc", "ReleaseEipAddress", world, AllocationId=eip)


def test_tags_are_written_by_type_and_found_again(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock, Tag=[{"Key": "a", "Value": "1"}])
    tag = {"RegionId": REGION, "ResourceType": "VPC", "ResourceId": [vpc]}

    asked("vpc", "TagResources", world, **tag, Tag=[{"Key": "saleops:sale", "Value": "midnight"}])
    rows = asked("vpc", "ListTagResources", world, **tag)["TagResources"]["TagResource"]

    assert {row["TagKey"]: row["TagValue"] for row in rows} == {
        "a": "1",
        "saleops:sale": "midnight",
    }
    found = asked(
        "vpc",
        "ListTagResources",
        world,
        RegionId=REGION,
        ResourceType="VPC",
        Tag=[{"Key": "saleops:sale", "Value": "midnight"}],
    )
    assert {row["ResourceId"] for row in found["TagResources"]["TagResource"]} == {vpc}
    assert (
        refused("vpc", "ListTagResources", world, **{**tag, "ResourceId": []}).code
        == "MissingParameter.ResourceId"
    )
    assert refused(
        "vpc",
        "TagResources",
        world,
        **{**tag, "ResourceType": "MOON"},
        Tag=[{"Key": "a", "Value": "b"}],
    )
    assert (
        refused(
            "vpc",
            "TagResources",
            world,
            **{**tag, "ResourceId": ["vpc-x"]},
            Tag=[{"Key": "a", "Value": "b"}],
        ).code
        == "InvalidResourceId.NotFound"
    )


def test_a_token_turns_pages_and_a_made_up_one_is_refused(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc = a_vpc(world, clock, Tag=[{"Key": f"k{n}", "Value": "v"} for n in range(5)])
    about = {"RegionId": REGION, "ResourceType": "VPC", "ResourceId": [vpc], "MaxResults": 2}

    keys, token, pages = [], None, 0
    while token or not pages:
        answer = asked("vpc", "ListTagResources", world, **about, NextToken=token)
        keys += [row["TagKey"] for row in answer["TagResources"]["TagResource"]]
        token, pages = answer.get("NextToken"), pages + 1

    assert (keys, pages) == ([f"k{n}" for n in range(5)], 3)
    for made_up in ("x", "AAAA", "YWZ0ZXIgLTE="):
        assert (
            "NextToken"
            in refused("vpc", "ListTagResources", world, **about, NextToken=made_up).message
        )


def test_zones_are_the_region_s_own(lab: tuple[World, HandClock]) -> None:
    zones = asked("vpc", "DescribeZones", lab[0], RegionId=REGION)["Zones"]["Zone"]

    assert [zone["ZoneId"] for zone in zones] == [A, B, f"{REGION}c"]


def test_the_same_seed_makes_the_same_network() -> None:
    made = []
    for _ in range(2):
        world, clock = empty_world("again")
        a_gateway(world, clock)
        an_eip(world, clock)
        made.append(
            {id: thing.data for things in world.things.values() for id, thing in things.items()}
        )

    assert made[0] == made[1]


def test_every_api_of_the_tables_is_answered() -> None:
    for product in ("vpc", "ecs", "ess", "alb", "bssopenapi"):
        load_product(product)
        known = {api.name for api in apis_of(product)}
        answered = {name for code, name in ANSWERERS if code == product}
        assert answered == known, product
