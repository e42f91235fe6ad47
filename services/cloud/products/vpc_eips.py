"""VPC: elastic IP addresses, and tying one to a NAT gateway or an instance."""

import hashlib
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.pages import numbered
from saleops.services.cloud.products.vpc_things import eip_of
from saleops.services.cloud.refusals import (
    check_description,
    check_name,
    given,
    missing,
    one_of,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.timestamps import iso_s, ms_of_text
from saleops.services.cloud.world import Thing, World

ASSOCIATE_S = 3.0
KINDS = {"Nat": "nat_gateway", "EcsInstance": "instance"}
INSTANCE_TYPES = ("EcsInstance", "SlbInstance", "Nat", "HaVip", "NetworkInterface", "IpAddress")
MOST_MBPS = {"PayByTraffic": 200, "PayByBandwidth": 500}


@answers("vpc", "AllocateEipAddress")
def allocate_eip_address(call: LocalCall, world: World) -> dict[str, Any]:
    charge = one_of(
        call, "InstanceChargeType", ["PostPaid"], code="InvalidParameter", default="PostPaid"
    )
    traffic = one_of(
        call, "InternetChargeType", MOST_MBPS, code="InvalidParameter", default="PayByBandwidth"
    )
    bandwidth = _bandwidth(call.params.get("Bandwidth") or "5", traffic)
    line = one_of(
        call, "ISP", ["BGP", "BGP_PRO"], code="InvalidISP.ValueNotSupported", default="BGP"
    )
    check_name(call, "Name", code="InvalidName.Malformed", shortest=0, any_start=True)
    check_description(call)
    tags = sent_tags(call)
    limit = quota(world, "vpc.eips")
    if len(list(world.each("eip", RegionId=call.region))) >= limit:
        raise short(
            f"EIPs in {call.region}",
            limit,
            code="QuotaExceeded.Eip",
            field="Name",
            value=call.params.get("Name", ""),
        )
    id = world.new_id("eip-")
    eip = world.create(
        "eip",
        id,
        {
            "RegionId": call.region,
            "IpAddress": _address(world, id),
            "Bandwidth": str(bandwidth),
            "Name": call.params.get("Name", ""),
            "Description": call.params.get("Description", ""),
            "ChargeType": charge,
            "InternetChargeType": traffic,
            "ISP": line,
            "InstanceId": "",
            "InstanceType": "",
            "ResourceGroupId": call.params.get("ResourceGroupId") or "rg-acfmxazb4ph6aiy",
            "Tags": tags,
        },
    )
    return {
        "AllocationId": eip.id,
        "EipAddress": eip.data["IpAddress"],
        "ResourceGroupId": eip.data["ResourceGroupId"],
    }


@answers("vpc", "DescribeEipAddresses")
def describe_eip_addresses(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = [id for id in (wanted.get("AllocationId") or "").split(",") if id]
    ips = [ip for ip in (wanted.get("EipAddress") or "").split(",") if ip]
    same = {
        "EipName": "Name",
        "AssociatedInstanceId": "InstanceId",
        "AssociatedInstanceType": "InstanceType",
        "ChargeType": "ChargeType",
        "ISP": "ISP",
        "ResourceGroupId": "ResourceGroupId",
    }
    since_ms = _since_ms(call)
    found = [
        eip
        for eip in world.listed("eip", RegionId=call.region)
        if (not ids or eip.id in ids)
        and (not ips or eip.data["IpAddress"] in ips)
        and all(
            wanted.get(field) in (None, "", _holder(world, eip).get(name, eip.data[name]))
            for field, name in same.items()
        )
        and wanted.get("Status") in (None, "", world.state(eip))
        and (since_ms is None or eip.born_ms >= since_ms)
        and has_tags(call, eip)
    ]
    page, about = numbered(call, found, most=100)
    stop_dry_run(call)
    return {**about, "EipAddresses": {"EipAddress": [_shown(world, eip) for eip in page]}}


@answers("vpc", "AssociateEipAddress")
def associate_eip_address(call: LocalCall, world: World) -> dict[str, Any]:
    eip = eip_of(call, world)
    kind = one_of(
        call, "InstanceType", INSTANCE_TYPES, code="InvalidParameter", default="EcsInstance"
    )
    id = str(call.params["InstanceId"])
    if world.state(eip) != "Available":
        raise _busy(world, eip)
    target = world.find(KINDS[kind], id) if kind in KINDS else None
    if target is None or target.data.get("RegionId", call.region) != call.region:
        raise ApiError(
            404,
            "InvalidInstanceId.NotFound",
            f"The specified InstanceId {id!r} is no {kind} here"
            + (
                "."
                if call.params.get("InstanceType")
                else "; InstanceType is EcsInstance unless sent."
            ),
        )
    if kind == "Nat" and world.state(target) != "Available":
        raise ApiError(
            400,
            "IncorrectInstanceStatus",
            f"The NAT gateway {id!r} is {world.state(target)}; this works when it is Available.",
        )
    world.update(eip, InstanceId=id, InstanceType=kind)
    world.move(eip, [("Associating", ASSOCIATE_S), ("InUse", 0)])
    return {}


@answers("vpc", "UnassociateEipAddress")
def unassociate_eip_address(call: LocalCall, world: World) -> dict[str, Any]:
    eip = eip_of(call, world)
    if world.state(eip) != "InUse":
        raise _busy(world, eip)
    for field in ("InstanceId", "InstanceType"):
        if call.params.get(field) not in (None, "", eip.data[field]):
            raise wrong(
                "InvalidParameter",
                field,
                call.params[field],
                f"{eip.id} is tied to {eip.data[field]}",
            )
    entries = [
        entry
        for entry in world.each("snat_entry", NatGatewayId=eip.data["InstanceId"])
        if eip.data["IpAddress"] in entry.data["SnatIp"].split(",")
    ]
    if entries and not call.params.get("Force"):
        raise ApiError(
            400,
            "InvalidIpStatus.HasBeenUsedBySnatTable",
            f"The specified AllocationId {eip.id!r} is used by SNAT entry {entries[0].id}.",
        )
    for entry in entries:
        world.remove(entry)
    world.update(eip, InstanceId="", InstanceType="", LastInstanceId=eip.data["InstanceId"])
    world.move(eip, [("Unassociating", ASSOCIATE_S), ("Available", 0)])
    return {}


@answers("vpc", "ReleaseEipAddress")
def release_eip_address(call: LocalCall, world: World) -> dict[str, Any]:
    eip = eip_of(call, world)
    if world.state(eip) != "Available":
        raise _busy(world, eip)
    world.remove(eip, state="Releasing", after_s=0)
    return {}


@answers("vpc", "ModifyEipAddressAttribute")
def modify_eip_address_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    eip = eip_of(call, world)
    check_name(call, "Name", code="InvalidName.Malformed", shortest=0, any_start=True)
    check_description(call)
    changes = given(call.params, "Name", "Description")
    if call.params.get("Bandwidth"):
        changes["Bandwidth"] = str(
            _bandwidth(call.params["Bandwidth"], eip.data["InternetChargeType"])
        )
    if world.state(eip) not in ("Available", "InUse"):
        raise _busy(world, eip)
    world.update(eip, **changes)
    return {}


def eip_with(world: World, ip: str, region: str) -> Thing:
    """The EIP of an address. Refuses an address that is nobody's."""
    for eip in world.each("eip", IpAddress=ip, RegionId=region):
        return eip
    raise missing("InvalidSnatIp.NotFound", "SnatIp", ip)


def _since_ms(call: LocalCall) -> int | None:
    """``Filter.N``: the one key there is says from when on an EIP was allocated."""
    since_ms = None
    for index, wanted in enumerate(call.params.get("Filter") or (), 1):
        if wanted.get("Key") != "CreationStartTime":
            raise wrong(
                "InvalidParameter",
                f"Filter.{index}.Key",
                wanted.get("Key"),
                "use CreationStartTime",
            )
        since_ms = ms_of_text(f"Filter.{index}.Value", wanted.get("Value"))
    return since_ms


def _bandwidth(sent: Any, traffic: str) -> int:
    text, most = str(sent), MOST_MBPS[traffic]
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise wrong(
            "InvalidBandwidth.ValueNotSupported",
            "Bandwidth",
            sent,
            f"with InternetChargeType {traffic} it is 1 to {most} Mbit/s",
        )
    return int(text)


def _address(world: World, id: str) -> str:
    taken = {eip.data["IpAddress"] for eip in world.each("eip")}
    for attempt in range(1_000_000):
        digest = hashlib.sha256(f"{world.seed} {id} {attempt}".encode()).digest()
        address = f"47.{64 + digest[0] % 192}.{digest[1]}.{1 + digest[2] % 254}"
        if address not in taken:
            return address
    raise ApiError(503, "ServiceUnavailable", "There is no public address left in the region.")


def _busy(world: World, eip: Thing) -> ApiError:
    return ApiError(
        400,
        "IncorrectEipStatus",
        f"The status of the specified AllocationId {eip.id!r} is {world.state(eip)},"
        " in which this operation is not supported.",
    )


def _holder(world: World, eip: Thing) -> dict[str, str]:
    """What the EIP is tied to. A tie to an instance ends with the instance."""
    id, kind = eip.data["InstanceId"], eip.data["InstanceType"]
    if id and kind in KINDS and world.find(KINDS[kind], id) is None:
        return {"InstanceId": "", "InstanceType": ""}
    return {"InstanceId": id, "InstanceType": kind}


def _shown(world: World, eip: Thing) -> dict[str, Any]:
    data = eip.data
    holder = _holder(world, eip)
    tied_to = (
        world.find(KINDS[holder["InstanceType"]], holder["InstanceId"])
        if holder["InstanceType"]
        else None
    )
    return {
        "AllocationId": eip.id,
        "IpAddress": data["IpAddress"],
        "Status": world.state(eip),
        "Name": data["Name"],
        "Description": data["Description"],
        "RegionId": data["RegionId"],
        "Bandwidth": data["Bandwidth"],
        "EipBandwidth": data["Bandwidth"],
        "ChargeType": data["ChargeType"],
        "InternetChargeType": data["InternetChargeType"],
        "ISP": data["ISP"],
        **holder,
        "InstanceRegionId": data["RegionId"] if tied_to else "",
        "VpcId": tied_to.data.get("VpcId", "") if tied_to else "",
        "PrivateIpAddress": tied_to.data.get("PrivateIp", "") if tied_to else "",
        "Mode": "NAT" if tied_to else "",
        "Netmode": "public",
        "BusinessStatus": "Normal",
        "BizType": "Default",
        "AllocationTime": iso_s(eip.born_ms),
        "ExpiredTime": "",
        "DeletionProtection": False,
        "SecondLimited": False,
        "ServiceManaged": 0,
        "HDMonitorStatus": "OFF",
        "HasReservationData": "false",
        "OperationLocks": {"LockReason": []},
        "ResourceGroupId": data["ResourceGroupId"],
        "Tags": {"Tag": written(eip)},
    }
