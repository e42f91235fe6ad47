"""VPC: NAT gateways. Only the enhanced kind is sold, in the zones that have it, paid by use."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import nat_zones_of, quota, zone_name
from saleops.services.cloud.networks import free_ips_count, new_ip
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products.vpc_things import nat_of, vpc_of, vswitch_of
from saleops.services.cloud.refusals import (
    check_description,
    check_name,
    needed,
    one_of,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

CREATE_S = 60.0
DELETE_S = 20.0


@answers("vpc", "CreateNatGateway")
def create_nat_gateway(call: LocalCall, world: World) -> dict[str, Any]:
    vpc = vpc_of(call, world)
    one_of(call, "NatType", ["Enhanced"], code="InvalidParameter", default="Enhanced")
    one_of(call, "InstanceChargeType", ["PostPaid"], code="InvalidParameter", default="PostPaid")
    one_of(call, "InternetChargeType", ["PayByLcu"], code="InvalidParameter", default="PayByLcu")
    network = one_of(
        call, "NetworkType", ["internet", "intranet"], code="InvalidParameter", default="internet"
    )
    bind_mode = one_of(
        call,
        "EipBindMode",
        ["MULTI_BINDED", "NAT"],
        code="InvalidParameter",
        default="MULTI_BINDED",
    )
    check_name(call, "Name", code="InvalidName.Malformed")
    check_description(call)
    tags = sent_tags(call)
    if not call.params.get("VSwitchId"):
        raise needed("VSwitchId", "an enhanced NAT gateway stands in a vSwitch")
    vswitch = vswitch_of(call, world)
    if vswitch.data["VpcId"] != vpc.id:
        raise wrong("InvalidVSwitchId.NotFound", "VSwitchId", vswitch.id, f"it is not in {vpc.id}")
    zone = vswitch.data["ZoneId"]
    if zone not in nat_zones_of(call.region):
        raise wrong(
            "InvalidParameter", "VSwitchId", vswitch.id, f"{zone} has no enhanced NAT gateways"
        )
    if world.state(vswitch) != "Available":
        raise ApiError(
            400,
            "IncorrectVSwitchStatus",
            f"The vSwitch {vswitch.id!r} is {world.state(vswitch)}; this works when it is Available.",
        )
    if free_ips_count(world, vswitch) < 1:
        raise wrong("InsufficientIpAddress", "VSwitchId", vswitch.id, "it has no free address")
    limit = quota(world, "vpc.nat_gateways_per_vpc")
    if len(list(world.each("nat_gateway", VpcId=vpc.id))) >= limit:
        raise short(
            f"NAT gateways in {vpc.id}",
            limit,
            code="QuotaExceeded.NatGateway",
            field="VpcId",
            value=vpc.id,
        )
    stop_dry_run(call)
    id = world.new_id("ngw-")
    nat = world.create(
        "nat_gateway",
        id,
        {
            "RegionId": call.region,
            "VpcId": vpc.id,
            "VSwitchId": vswitch.id,
            "ZoneId": zone,
            "PrivateIp": new_ip(world, vswitch),
            "EniId": world.new_id("eni-"),
            "Name": call.params.get("Name") or id,
            "Description": call.params.get("Description", ""),
            "NetworkType": network,
            "EipBindMode": bind_mode,
            "IcmpReplyEnabled": call.params.get("IcmpReplyEnabled", True),
            "SnatTableId": world.new_id("stb-"),
            "ForwardTableId": world.new_id("ftb-"),
            "FullNatTableId": world.new_id("fulltb-"),
            "ResourceGroupId": vpc.data["ResourceGroupId"],
            "Tags": tags,
        },
        [("Creating", CREATE_S), ("Available", 0)],
    )
    return {
        "NatGatewayId": nat.id,
        "SnatTableIds": {"SnatTableId": [nat.data["SnatTableId"]]},
        "ForwardTableIds": {"ForwardTableId": [nat.data["ForwardTableId"]]},
        "FullNatTableIds": {"FullNatTableId": [nat.data["FullNatTableId"]]},
    }


@answers("vpc", "DescribeNatGateways")
def describe_nat_gateways(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    found = [
        nat
        for nat in world.listed("nat_gateway", RegionId=call.region)
        if wanted.get("NatGatewayId") in (None, "", nat.id)
        and all(
            wanted.get(field) in (None, "", nat.data[field])
            for field in ("VpcId", "Name", "NetworkType", "ZoneId", "ResourceGroupId")
        )
        and wanted.get("Status") in (None, "", world.state(nat))
        and wanted.get("NatType") in (None, "", "Enhanced")
        and wanted.get("InstanceChargeType") in (None, "", "PostPaid")
        and has_tags(call, nat)
    ]
    page, about = numbered(call, found)
    stop_dry_run(call)
    return {**about, "NatGateways": {"NatGateway": [_listed(world, nat) for nat in page]}}


@answers("vpc", "GetNatGatewayAttribute")
def get_nat_gateway_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    nat = nat_of(call, world)
    data = nat.data
    entries = list(world.each("snat_entry", NatGatewayId=nat.id))
    return {
        **_shown(world, nat),
        "DeletionProtectionInfo": {"Enabled": False},
        "EnableSessionLog": False,
        "BillingConfig": {
            "InstanceChargeType": "PostPaid",
            "InternetChargeType": "PayByLcu",
            "AutoPay": "false",
            "Spec": "",
        },
        "SnatTable": {"SnatTableId": data["SnatTableId"], "SnatEntryCount": len(entries)},
        "ForwardTable": {"ForwardTableId": data["ForwardTableId"], "ForwardEntryCount": 0},
        "FullNatTable": {"FullNatTableId": data["FullNatTableId"], "FullNatEntryCount": 0},
        "IpList": [
            {key: ip[key] for key in ("AllocationId", "IpAddress", "UsingStatus")}
            for ip in _ips(world, nat)
        ],
        "PrivateInfo": {
            "EniInstanceId": data["EniId"],
            "IzNo": data["ZoneId"],
            "MaxBandwidth": 5120,
            "PrivateIpAddress": data["PrivateIp"],
            "VswitchId": data["VSwitchId"],
        },
    }


@answers("vpc", "DeleteNatGateway")
def delete_nat_gateway(call: LocalCall, world: World) -> dict[str, Any]:
    nat = nat_of(call, world)
    if world.state(nat) != "Available":
        raise ApiError(
            400,
            "IncorrectStatus.NATGW",
            f"The NAT gateway {nat.id!r} is {world.state(nat)}; delete it when it is Available.",
        )
    entries = list(world.each("snat_entry", NatGatewayId=nat.id))
    eips = list(world.each("eip", InstanceId=nat.id))
    if not call.params.get("Force"):
        if entries:
            raise _in_the_way("SnatEntry", nat, entries[0])
        if eips:
            raise _in_the_way("EIPS", nat, eips[0])
    for entry in entries:
        world.remove(entry)
    for eip in eips:
        world.update(eip, InstanceId="", InstanceType="")
        world.move(eip, [("Available", 0)])
    world.remove(nat, state="Deleting", after_s=DELETE_S)
    return {}


@answers("vpc", "ListEnhanhcedNatGatewayAvailableZones")
def list_nat_zones(call: LocalCall, world: World) -> dict[str, Any]:
    for index, wanted in enumerate(call.params.get("Filter") or (), 1):
        if wanted.get("Key") != "PrivateLinkEnabled":
            raise wrong(
                "InvalidParameter",
                f"Filter.{index}.Key",
                wanted.get("Key"),
                "use PrivateLinkEnabled",
            )
    return {
        "Zones": [
            {"ZoneId": zone, "LocalName": zone_name(zone)} for zone in nat_zones_of(call.region)
        ]
    }


def _in_the_way(suffix: str, nat: Thing, user: Thing) -> ApiError:
    return ApiError(
        400,
        f"DependencyViolation.{suffix}",
        f"The specified NatGatewayId {nat.id!r} still has {user.kind} {user.id}; remove it first.",
    )


def _ips(world: World, nat: Thing) -> list[dict[str, Any]]:
    entries = list(world.each("snat_entry", NatGatewayId=nat.id))
    ips = []
    for eip in world.each("eip", InstanceId=nat.id):
        used = any(eip.data["IpAddress"] in entry.data["SnatIp"].split(",") for entry in entries)
        ips.append(
            {
                "AllocationId": eip.id,
                "IpAddress": eip.data["IpAddress"],
                "PrivateIpAddress": nat.data["PrivateIp"],
                "UsingStatus": "UsedBySnatTable" if used else "Idle",
                "SnatEntryEnabled": True,
            }
        )
    return ips


def _shown(world: World, nat: Thing) -> dict[str, Any]:
    data = nat.data
    return {
        "NatGatewayId": nat.id,
        "Name": data["Name"],
        "Description": data["Description"],
        "RegionId": data["RegionId"],
        "VpcId": data["VpcId"],
        "NatType": "Enhanced",
        "NetworkType": data["NetworkType"],
        "Status": world.state(nat),
        "BusinessStatus": "Normal",
        "CreationTime": iso_s(nat.born_ms),
        "ExpiredTime": "",
        "EcsMetricEnabled": True,
        "PrivateLinkEnabled": False,
        "ResourceGroupId": data["ResourceGroupId"],
    }


def _listed(world: World, nat: Thing) -> dict[str, Any]:
    data = nat.data
    return {
        **_shown(world, nat),
        "InstanceChargeType": "PostPaid",
        "InternetChargeType": "PayByLcu",
        "Spec": "",
        "AutoPay": False,
        "DeletionProtection": False,
        "EipBindMode": data["EipBindMode"],
        "IcmpReplyEnabled": data["IcmpReplyEnabled"],
        "SecurityProtectionEnabled": False,
        "SnatTableIds": {"SnatTableId": [data["SnatTableId"]]},
        "ForwardTableIds": {"ForwardTableId": [data["ForwardTableId"]]},
        "FullNatTableIds": {"FullNatTableId": [data["FullNatTableId"]]},
        "IpLists": {"IpList": _ips(world, nat)},
        "NatGatewayPrivateInfo": {
            "EniInstanceId": data["EniId"],
            "IzNo": data["ZoneId"],
            "MaxBandwidth": 5120,
            "MaxSessionEstablishRate": 100_000,
            "MaxSessionQuota": 2_000_000,
            "PrivateIpAddress": data["PrivateIp"],
            "VswitchId": data["VSwitchId"],
        },
        "Tags": {"Tag": written(nat, "TagKey", "TagValue")},
    }
