"""ECS: capacity reservations. One that is made holds its instances back from everybody else's stock and is paid at once."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import instance_types, stock, zones_of
from saleops.services.cloud.pages import tokened
from saleops.services.cloud.refusals import (
    check_description,
    missing,
    needed,
    one_of,
    wrong,
)
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.timestamps import iso_s, ms_of
from saleops.services.cloud.world import Thing, World


@answers("ecs", "CreateCapacityReservation")
def create_capacity_reservation(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    type, amount = wanted["InstanceType"], wanted["InstanceAmount"]
    if type not in instance_types():
        raise missing("InvalidInstanceType.NotFound", "InstanceType", type)
    zones = wanted["ZoneId"]
    if len(zones) != 1:
        raise wrong("InvalidParameter", "ZoneId", ",".join(zones), "one zone a reservation")
    if zones[0] not in zones_of(call.region):
        raise missing("InvalidZoneId.NotFound", "ZoneId", zones[0])
    if not 1 <= amount <= 1000:
        raise wrong("InvalidParameter", "InstanceAmount", amount, "1 to 1000")
    ends = one_of(
        call,
        "EndTimeType",
        ["Limited", "Unlimited"],
        code="InvalidEndTimeType.ValueNotSupported",
        default="Unlimited",
    )
    end_ms = ms_of(call, "EndTime")
    if ends == "Limited" and end_ms is None:
        raise needed("EndTime", "EndTimeType is Limited")
    if end_ms is not None and end_ms <= world.now_ms():
        raise wrong(
            "InvalidEndTime.ValueNotSupported", "EndTime", wanted["EndTime"], "it has passed"
        )
    check_description(call)
    tags = sent_tags(call)
    left = stock(world, type, zones[0]) - _reserved(world, type, zones[0])
    if amount > left:
        raise ApiError(
            403,
            "OperationDenied.NoStock",
            f"The specified InstanceAmount {amount} of {type} in {zones[0]} is not in stock: {max(0, left)} are left.",
        )
    options = wanted.get("PrivatePoolOptions") or {}
    reservation = world.create(
        "capacity_reservation",
        world.new_id("crp-"),
        {
            "RegionId": call.region,
            "Zone": zones[0],
            "InstanceType": type,
            "InstanceAmount": amount,
            "Name": options.get("Name", ""),
            "MatchCriteria": options.get("MatchCriteria") or "Open",
            "Description": wanted.get("Description", ""),
            "Platform": wanted.get("Platform") or "Linux",
            "EndTimeType": ends,
            "EndTime": wanted.get("EndTime", ""),
            "Tags": tags,
        },
        [("Active", (end_ms - world.now_ms()) / 1000), ("Released", 0)]
        if ends == "Limited" and end_ms is not None
        else [("Active", 0)],
    )
    return {"PrivatePoolOptionsId": reservation.id}


@answers("ecs", "DescribeCapacityReservations")
def describe_capacity_reservations(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = (wanted.get("PrivatePoolOptions") or {}).get("Ids")
    if isinstance(ids, str):
        ids = [id.strip(' "') for id in ids.strip("[]").split(",") if id.strip(' "')]
    status = wanted.get("Status")
    found = [
        one
        for one in world.listed("capacity_reservation", RegionId=call.region)
        if (not ids or one.id in ids)
        and (
            status == "All"
            or world.state(one) == status
            or (not status and world.state(one) not in ("Pending", "Released"))
        )
        and wanted.get("InstanceType") in (None, "", one.data["InstanceType"])
        and wanted.get("ZoneId") in (None, "", one.data["Zone"])
        and has_tags(call, one)
    ]
    page, about = tokened(call, found, size=10, most=100)
    return {
        **about,
        "CapacityReservationSet": {"CapacityReservationItem": [_shown(world, one) for one in page]},
    }


def _reserved(world: World, type: str, zone: str) -> int:
    return sum(
        int(one.data["InstanceAmount"])
        for one in world.each("capacity_reservation", InstanceType=type, Zone=zone)
        if world.state(one) == "Active"
    )


def _shown(world: World, one: Thing) -> dict[str, Any]:
    data = one.data
    return {
        "PrivatePoolOptionsId": one.id,
        "PrivatePoolOptionsName": data["Name"],
        "PrivatePoolOptionsMatchCriteria": data["MatchCriteria"],
        "RegionId": data["RegionId"],
        "Status": world.state(one),
        "Description": data["Description"],
        "Platform": data["Platform"],
        "InstanceChargeType": "PostPaid",
        "StartTime": iso_s(one.born_ms),
        "StartTimeType": "Now",
        "EndTime": data["EndTime"],
        "EndTimeType": data["EndTimeType"],
        "AllocatedResources": {
            "AllocatedResource": [
                {
                    "zoneId": data["Zone"],
                    "InstanceType": data["InstanceType"],
                    "TotalAmount": data["InstanceAmount"],
                    "AvailableAmount": data["InstanceAmount"],
                    "UsedAmount": 0,
                }
            ]
        },
        "Tags": {"Tag": written(one, "TagKey", "TagValue")},
    }
