"""VPC: SNAT entries, which give the instances of a vSwitch or a CIDR block their way out through an EIP of the gateway."""

import ipaddress
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products.vpc_eips import eip_with
from saleops.services.cloud.products.vpc_things import vswitch_of
from saleops.services.cloud.refusals import check_name, missing, needed, short, stop_dry_run, wrong
from saleops.services.cloud.world import Thing, World

CREATE_S = 4.0
DELETE_S = 2.0


@answers("vpc", "CreateSnatEntry")
def create_snat_entry(call: LocalCall, world: World) -> dict[str, Any]:
    nat = _nat_of_table(call, world)
    vswitch_id, cidr = call.params.get("SourceVSwitchId"), call.params.get("SourceCIDR")
    if bool(vswitch_id) == bool(cidr):
        raise needed("SourceVSwitchId", "send it or SourceCIDR, one of the two")
    if not call.params.get("SnatIp"):
        raise needed("SnatIp", "the EIPs of the NAT gateway")
    check_name(call, "SnatEntryName", code="InvalidName.Malformed")
    source = _source(call, world, nat)
    if world.state(nat) != "Available":
        raise ApiError(
            400,
            "IncorrectStatus.NATGW",
            f"The NAT gateway {nat.id!r} is {world.state(nat)}; this works when it is Available.",
        )
    for ip in str(call.params["SnatIp"]).split(","):
        eip = eip_with(world, ip.strip(), call.region)
        if eip.data["InstanceId"] != nat.id:
            raise wrong("EIP_NOT_IN_GATEWAY", "SnatIp", ip, f"it is not tied to {nat.id}")
        if world.state(eip) != "InUse":
            raise ApiError(
                400,
                "OperationUnsupported.EipInBinding",
                f"The EIP of the specified SnatIp {ip!r} is {world.state(eip)}, not InUse yet.",
            )
    entries = list(world.each("snat_entry", NatGatewayId=nat.id))
    for entry in entries:
        if entry.data["SourceCIDR"] == source:
            raise ApiError(
                400,
                "InvalidSourceCIDR.Duplicate" if cidr else "InvalidSourceVSwitchId.Duplicate",
                f"The specified {'SourceCIDR' if cidr else 'SourceVSwitchId'} {cidr or vswitch_id!r}"
                f" has the SNAT entry {entry.id} already.",
            )
    limit = quota(world, "vpc.snat_entries_per_table")
    if len(entries) >= limit:
        raise short(
            f"SNAT entries of {nat.id}",
            limit,
            code="QuotaExceeded.SnatEntry",
            field="SnatTableId",
            value=call.params["SnatTableId"],
        )
    stop_dry_run(call)
    entry = world.create(
        "snat_entry",
        world.new_id("snat-"),
        {
            "RegionId": call.region,
            "NatGatewayId": nat.id,
            "SnatTableId": call.params["SnatTableId"],
            "SnatEntryName": call.params.get("SnatEntryName", ""),
            "SnatIp": ",".join(ip.strip() for ip in str(call.params["SnatIp"]).split(",")),
            "SourceCIDR": source,
            "SourceVSwitchId": vswitch_id or "",
            "EipAffinity": str(call.params.get("EipAffinity") or 0),
        },
        [("Pending", CREATE_S), ("Available", 0)],
    )
    return {"SnatEntryId": entry.id}


@answers("vpc", "DescribeSnatTableEntries")
def describe_snat_table_entries(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    if not wanted.get("SnatTableId") and not wanted.get("NatGatewayId"):
        raise needed("SnatTableId", "or NatGatewayId")
    found = [
        entry
        for entry in world.listed("snat_entry", RegionId=call.region)
        if wanted.get("SnatEntryId") in (None, "", entry.id)
        and wanted.get("SnatIp")
        in (None, "", entry.data["SnatIp"], *entry.data["SnatIp"].split(","))
        and not wanted.get("NetworkInterfaceIds")
        and all(
            wanted.get(field) in (None, "", entry.data[field])
            for field in (
                "SnatTableId",
                "NatGatewayId",
                "SnatEntryName",
                "SourceCIDR",
                "SourceVSwitchId",
            )
        )
    ]
    page, about = numbered(call, found)
    return {
        **about,
        "SnatTableEntries": {"SnatTableEntry": [_shown(world, entry) for entry in page]},
    }


@answers("vpc", "DeleteSnatEntry")
def delete_snat_entry(call: LocalCall, world: World) -> dict[str, Any]:
    _nat_of_table(call, world)
    id = call.params["SnatEntryId"]
    entry = world.find("snat_entry", id)
    if entry is None or entry.data["SnatTableId"] != call.params["SnatTableId"]:
        raise missing("InvalidSnatEntryId.NotFound", "SnatEntryId", id)
    if world.state(entry) != "Available":
        raise ApiError(
            400,
            "IncorretSnatEntryStatus",  # spelled so by the service
            f"The SNAT entry {id!r} is {world.state(entry)}; delete it when it is Available.",
        )
    world.remove(entry, state="Deleting", after_s=DELETE_S)
    return {}


def _nat_of_table(call: LocalCall, world: World) -> Thing:
    id = call.params["SnatTableId"]
    for nat in world.each("nat_gateway", SnatTableId=id, RegionId=call.region):
        return nat
    raise missing("InvalidSnatTableId.NotFound", "SnatTableId", id)


def _source(call: LocalCall, world: World, nat: Thing) -> str:
    """The block whose traffic goes out: a vSwitch's, or the one that was sent."""
    if call.params.get("SourceVSwitchId"):
        vswitch = vswitch_of(call, world, "SourceVSwitchId", "InvalidSourceVSwitchId.NotFound")
        if vswitch.data["VpcId"] != nat.data["VpcId"]:
            raise wrong(
                "InvalidSourceVSwitchId.NotFound",
                "SourceVSwitchId",
                vswitch.id,
                f"it is not in {nat.data['VpcId']}, the VPC of {nat.id}",
            )
        return str(vswitch.data["CidrBlock"])
    cidr = call.params["SourceCIDR"]
    try:
        return str(ipaddress.IPv4Network(cidr))
    except ValueError as error:
        raise wrong("InvalidSourceCIDR.Malformed", "SourceCIDR", cidr, str(error)) from error


def _shown(world: World, entry: Thing) -> dict[str, Any]:
    data = entry.data
    return {
        "SnatEntryId": entry.id,
        "SnatEntryName": data["SnatEntryName"],
        "SnatTableId": data["SnatTableId"],
        "NatGatewayId": data["NatGatewayId"],
        "SnatIp": data["SnatIp"],
        "SourceCIDR": data["SourceCIDR"],
        "SourceVSwitchId": data["SourceVSwitchId"],
        "EipAffinity": data["EipAffinity"],
        "Status": world.state(entry),
    }
