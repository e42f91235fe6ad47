"""VPC: virtual networks. The other nouns of the product are in vpc_vswitches, vpc_nat, vpc_eips and vpc_snat."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota, zone_name, zones_of
from saleops.services.cloud.networks import users_of_vpc
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products import vpc_eips, vpc_nat, vpc_snat, vpc_vswitches
from saleops.services.cloud.products.vpc_cidrs import checked_cidr, overlap
from saleops.services.cloud.products.vpc_things import vpc_of
from saleops.services.cloud.refusals import (
    check_description,
    check_name,
    needed,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, register_tagging, sent_tags, written
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

__all__ = ["vpc_eips", "vpc_nat", "vpc_snat", "vpc_vswitches"]

CREATE_S = 4.0
DEFAULT_CIDR = "172.16.0.0/12"
# The documentation advises 16 to 28 bits; the service takes the wider blocks of RFC 1918 as well.
VPC_BITS = (8, 28)
IN_THE_WAY = {  # kind -> the word in DependencyViolation.*
    "vswitch": "VSwitch",
    "nat_gateway": "NatGateway",
    "security_group": "SecurityGroup",
    "load_balancer": "LoadBalancer",
    "instance": "Instance",
}

register_tagging(
    "vpc",
    {
        "vpc": ("vpc",),
        "vswitch": ("vswitch",),
        "eip": ("eip",),
        "natgateway": ("nat_gateway",),
    },
    not_found="InvalidResourceId.NotFound",
)


@answers("vpc", "CreateVpc")
def create_vpc(call: LocalCall, world: World) -> dict[str, Any]:
    cidr = call.params.get("CidrBlock") or DEFAULT_CIDR
    network = checked_cidr("CidrBlock", cidr, VPC_BITS)
    check_name(call, "VpcName", code="InvalidVpcName.Malformed", shortest=1, any_start=True)
    check_description(call)
    tags = sent_tags(call)
    limit = quota(world, "vpc.vpcs")
    if len(list(world.each("vpc", RegionId=call.region))) >= limit:
        raise short(
            f"VPCs in {call.region}", limit, code="QuotaExceeded.Vpc", field="CidrBlock", value=cidr
        )
    stop_dry_run(call)
    vpc = world.create(
        "vpc",
        world.new_id("vpc-"),
        {
            "RegionId": call.region,
            "VpcName": call.params.get("VpcName", ""),
            "Description": call.params.get("Description", ""),
            "CidrBlock": str(network),
            "SecondaryCidrBlocks": [],
            "EnabledIpv6": bool(call.params.get("EnableIpv6")),
            "DnsHostname": bool(call.params.get("EnableDnsHostname")),
            "UserCidrs": [c for c in (call.params.get("UserCidr") or "").split(",") if c],
            "ResourceGroupId": call.params.get("ResourceGroupId") or "rg-acfmxazb4ph6aiy",
            "VRouterId": world.new_id("vrt-"),
            "RouteTableId": world.new_id("vtb-"),
            "Tags": tags,
        },
        [("Pending", CREATE_S), ("Available", 0)],
    )
    return {
        "VpcId": vpc.id,
        "VRouterId": vpc.data["VRouterId"],
        "RouteTableId": vpc.data["RouteTableId"],
        "ResourceGroupId": vpc.data["ResourceGroupId"],
    }


@answers("vpc", "DescribeVpcs")
def describe_vpcs(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = [id for id in (wanted.get("VpcId") or "").split(",") if id]
    if len(ids) > 20:
        raise wrong("InvalidParameter", "VpcId", wanted["VpcId"], "at most 20 ids")
    found = [
        vpc
        for vpc in world.listed("vpc", RegionId=call.region)
        if (not ids or vpc.id in ids)
        and wanted.get("VpcName") in (None, "", vpc.data["VpcName"])
        and wanted.get("ResourceGroupId") in (None, "", vpc.data["ResourceGroupId"])
        and wanted.get("EnableIpv6") in (None, vpc.data["EnabledIpv6"])
        and not wanted.get("IsDefault")  # the local cloud starts without default networks
        and has_tags(call, vpc)
    ]
    page, about = numbered(call, found)
    stop_dry_run(call)
    return {**about, "Vpcs": {"Vpc": [_listed(world, vpc) for vpc in page]}}


@answers("vpc", "DescribeVpcAttribute")
def describe_vpc_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    vpc = vpc_of(call, world)
    stop_dry_run(call)
    users = list(users_of_vpc(world, vpc.id))
    resources = {
        "VSwitch": sum(thing.kind == "vswitch" for thing in users),
        "NatGateway": sum(thing.kind == "nat_gateway" for thing in users),
        "SecurityGroup": sum(thing.kind == "security_group" for thing in users),
        "RouteTable": 1,
        "VRouter": 1,
    }
    return {
        **_shown(world, vpc),
        "ClassicLinkEnabled": False,
        "SupportIpv4Gateway": False,
        "Ipv4GatewayId": "",
        "AssociatedCens": {"AssociatedCen": []},
        "CloudResources": {
            "CloudResourceSetType": [
                {"ResourceType": name, "ResourceCount": count} for name, count in resources.items()
            ]
        },
    }


@answers("vpc", "DeleteVpc")
def delete_vpc(call: LocalCall, world: World) -> dict[str, Any]:
    vpc = vpc_of(call, world)
    if world.state(vpc) != "Available":
        raise _busy(world, vpc)
    user = next(users_of_vpc(world, vpc.id), None)
    if user is not None:
        suffix = IN_THE_WAY.get(user.kind)
        raise ApiError(
            400,
            f"DependencyViolation.{suffix}" if suffix else "DependencyViolation",
            f"The specified VpcId {vpc.id!r} still has resources in it: {user.kind} {user.id}.",
        )
    stop_dry_run(call)
    world.remove(vpc, state="Pending", after_s=0)
    return {}


@answers("vpc", "AssociateVpcCidrBlock")
def associate_vpc_cidr_block(call: LocalCall, world: World) -> dict[str, Any]:
    vpc = vpc_of(call, world)
    if str(call.params.get("IpVersion") or "IPV4").upper() != "IPV4":
        raise wrong(
            "InvalidParameter", "IpVersion", call.params["IpVersion"], "this VPC has no IPv6 block"
        )
    cidr = call.params.get("SecondaryCidrBlock")
    if not cidr:
        raise needed("SecondaryCidrBlock")
    network = checked_cidr("SecondaryCidrBlock", cidr, VPC_BITS)
    if world.state(vpc) != "Available":
        raise _busy(world, vpc)
    for own in (vpc.data["CidrBlock"], *vpc.data["SecondaryCidrBlocks"]):
        if overlap(network, own):
            raise wrong(
                "InvalidCidrBlock.Overlapped", "SecondaryCidrBlock", cidr, f"it overlaps {own}"
            )
    world.update(vpc, SecondaryCidrBlocks=[*vpc.data["SecondaryCidrBlocks"], str(network)])
    return {"CidrBlock": str(network), "IpVersion": "IPV4"}


@answers("vpc", "DescribeZones")
def describe_zones(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "Zones": {
            "Zone": [
                {"ZoneId": zone, "LocalName": zone_name(zone), "ZoneType": "AvailabilityZone"}
                for zone in zones_of(call.region)
            ]
        }
    }


def _busy(world: World, vpc: Thing) -> ApiError:
    return ApiError(
        400,
        "IncorrectVpcStatus",
        f"The VPC {vpc.id!r} is {world.state(vpc)}; this works when it is Available.",
    )


def _shown(world: World, vpc: Thing) -> dict[str, Any]:
    """What DescribeVpcs and DescribeVpcAttribute have in common."""
    data = vpc.data
    return {
        "VpcId": vpc.id,
        "VpcName": data["VpcName"],
        "Description": data["Description"],
        "Status": world.state(vpc),
        "RegionId": data["RegionId"],
        "CidrBlock": data["CidrBlock"],
        "SecondaryCidrBlocks": {"SecondaryCidrBlock": data["SecondaryCidrBlocks"]},
        "UserCidrs": {"UserCidr": data["UserCidrs"]},
        "EnabledIpv6": data["EnabledIpv6"],
        "Ipv6CidrBlock": "",
        "DnsHostnameStatus": "ENABLED" if data["DnsHostname"] else "DISABLED",
        "IsDefault": False,
        "VRouterId": data["VRouterId"],
        "ResourceGroupId": data["ResourceGroupId"],
        "OwnerId": int(world.account),
        "CreationTime": iso_s(vpc.born_ms),
        "VSwitchIds": {"VSwitchId": [v.id for v in world.each("vswitch", VpcId=vpc.id)]},
        "Tags": {"Tag": written(vpc)},
    }


def _listed(world: World, vpc: Thing) -> dict[str, Any]:
    return {
        **_shown(world, vpc),
        "CenStatus": "Detached",
        "RouterTableIds": {"RouterTableIds": [vpc.data["RouteTableId"]]},
        "NatGatewayIds": {
            "NatGatewayIds": [nat.id for nat in world.each("nat_gateway", VpcId=vpc.id)]
        },
    }
