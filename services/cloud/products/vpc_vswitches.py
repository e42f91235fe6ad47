"""VPC: vSwitches, a zone's subnets. Only one is made at a time in a VPC; a second sometimes hears OperationConflict."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import chance, quota, zones_of
from saleops.services.cloud.networks import free_ips_count, users_of_vswitch
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products.vpc_cidrs import checked_cidr, inside, overlap
from saleops.services.cloud.products.vpc_things import vpc_of, vswitch_of
from saleops.services.cloud.refusals import (
    check_description,
    check_name,
    missing,
    needed,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

CREATE_S = 3.0
VSWITCH_BITS = (16, 29)
CONFLICT_SHARE = 0.34
"""How many of the creates that come while another is on its way are told to come later; ``settings["conflict_share"]``."""


@answers("vpc", "CreateVSwitch")
def create_vswitch(call: LocalCall, world: World) -> dict[str, Any]:
    vpc = vpc_of(call, world)
    zone, cidr = call.params.get("ZoneId"), call.params.get("CidrBlock")
    if zone not in zones_of(call.region):
        raise missing("InvalidZoneId.NotFound", "ZoneId", zone)
    network = checked_cidr("CidrBlock", cidr, VSWITCH_BITS)
    check_name(call, "VSwitchName", code="InvalidVSwitchName.Malformed", shortest=1, any_start=True)
    check_description(call)
    tags = sent_tags(call)
    blocks = (vpc.data["CidrBlock"], *vpc.data["SecondaryCidrBlocks"])
    if not any(inside(network, block) for block in blocks):
        raise wrong("InvalidCidrBlock", "CidrBlock", cidr, f"the VPC has {', '.join(blocks)}")
    others = list(world.each("vswitch", VpcId=vpc.id))
    for other in others:
        if overlap(network, other.data["CidrBlock"]):
            raise wrong(
                "InvalidCidrBlock.Overlapped",
                "CidrBlock",
                cidr,
                f"it overlaps {other.data['CidrBlock']} of {other.id}",
            )
    limit = quota(world, "vpc.vswitches_per_vpc")
    if len(others) >= limit:
        raise short(
            f"vSwitches in {vpc.id}",
            limit,
            code="QuotaExceeded.VSwitch",
            field="CidrBlock",
            value=cidr,
        )
    if world.state(vpc) != "Available":
        raise ApiError(
            400,
            "IncorrectVpcStatus",
            f"The VPC {vpc.id!r} is {world.state(vpc)}; a vSwitch is made when it is Available.",
        )
    pending = next((v for v in others if world.state(v) == "Pending"), None)
    share = float(world.settings.get("conflict_share", CONFLICT_SHARE))
    if pending is not None and chance(world, "conflict", vpc.id, cidr) < share:
        raise ApiError(
            409,
            "OperationConflict",
            f"Another operation runs in {vpc.id}: {pending.id} is being made.",
        )
    stop_dry_run(call)
    vswitch = world.create(
        "vswitch",
        world.new_id("vsw-"),
        {
            "RegionId": call.region,
            "VpcId": vpc.id,
            "ZoneId": zone,
            "CidrBlock": str(network),
            "VSwitchName": call.params.get("VSwitchName", ""),
            "Description": call.params.get("Description", ""),
            "RouteTableId": vpc.data["RouteTableId"],
            "ResourceGroupId": vpc.data["ResourceGroupId"],
            "Tags": tags,
        },
        [("Pending", CREATE_S), ("Available", 0)],
    )
    return {"VSwitchId": vswitch.id}


@answers("vpc", "DescribeVSwitches")
def describe_vswitches(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    if not call.region and not wanted.get("VpcId"):
        raise needed("RegionId", "or VpcId")
    ids = [id for id in (wanted.get("VSwitchId") or "").split(",") if id]
    found = [
        vswitch
        for vswitch in world.listed("vswitch", RegionId=call.region)
        if (not ids or vswitch.id in ids)
        and all(
            wanted.get(field) in (None, "", vswitch.data[field])
            for field in ("VpcId", "ZoneId", "VSwitchName", "RouteTableId", "ResourceGroupId")
        )
        and not wanted.get("IsDefault")
        and not wanted.get("EnableIpv6")
        and has_tags(call, vswitch)
    ]
    page, about = numbered(call, found)
    stop_dry_run(call)
    return {**about, "VSwitches": {"VSwitch": [_shown(world, vswitch) for vswitch in page]}}


@answers("vpc", "DescribeVSwitchAttributes")
def describe_vswitch_attributes(call: LocalCall, world: World) -> dict[str, Any]:
    vswitch = vswitch_of(call, world)
    stop_dry_run(call)
    return _shown(world, vswitch)


@answers("vpc", "DeleteVSwitch")
def delete_vswitch(call: LocalCall, world: World) -> dict[str, Any]:
    vswitch = vswitch_of(call, world)
    if world.state(vswitch) != "Available":
        raise ApiError(
            400,
            "IncorrectVSwitchStatus",
            f"The vSwitch {vswitch.id!r} is {world.state(vswitch)}; delete it when it is Available.",
        )
    user = next(users_of_vswitch(world, vswitch.id), None)
    if user is not None:
        suffix = {"nat_gateway": ".NatGateway", "snat_entry": ".SNAT"}.get(user.kind, "")
        raise ApiError(
            400,
            f"DependencyViolation{suffix}",
            f"The specified VSwitchId {vswitch.id!r} is still used by {user.kind} {user.id}.",
        )
    stop_dry_run(call)
    world.remove(vswitch, state="Pending", after_s=0)
    return {}


def _shown(world: World, vswitch: Thing) -> dict[str, Any]:
    data = vswitch.data
    return {
        "VSwitchId": vswitch.id,
        "VSwitchName": data["VSwitchName"],
        "Description": data["Description"],
        "VpcId": data["VpcId"],
        "ZoneId": data["ZoneId"],
        "CidrBlock": data["CidrBlock"],
        "Ipv6CidrBlock": "",
        "EnabledIpv6": False,
        "AvailableIpAddressCount": free_ips_count(world, vswitch),
        "Status": world.state(vswitch),
        "IsDefault": False,
        "ShareType": "",
        "NetworkAclId": "",
        "RouteTable": {"RouteTableId": data["RouteTableId"], "RouteTableType": "System"},
        "ResourceGroupId": data["ResourceGroupId"],
        "OwnerId": int(world.account),
        "CreationTime": iso_s(vswitch.born_ms),
        "Tags": {"Tag": written(vswitch)},
    }
