"""RocketMQ 5: tags of instances, and where instances can be made."""

from typing import Any

from saleops.services.cloud import tag_maps
from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import REGION_NAMES, zone_name, zones_of
from saleops.services.cloud.documents import document_in
from saleops.services.cloud.products.rocketmq_instances import (
    KIND,
    found_instance,
    json_pairs,
    refuse,
)
from saleops.services.cloud.world import World


@answers("rocketmq", "TagResources")
def tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    _check_resource_type(params["resourceType"])
    ids = document_in(params["resourceId"], "resourceId", code="Instance.InvalidParameter")
    ids = ids if isinstance(ids, list) else [ids]
    more = tag_maps.from_pairs(json_pairs(params["tag"], "tag"), names=("key", "value"))
    things = [found_instance(world, str(each)) for each in ids]
    for thing in things:
        tag_maps.added(thing.data["tags"], more)
    for thing in things:
        world.update(thing, tags=tag_maps.added(thing.data["tags"], more))
    return {"data": True}


@answers("rocketmq", "ListTagResources")
def list_tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    _check_resource_type(params["resourceType"])
    ids = document_in(params["resourceId"], "resourceId") if params.get("resourceId") else []
    ids = ids if isinstance(ids, list) else [ids]
    found = [
        {"resourceId": thing.id, "resourceType": "instance", "tagKey": key, "tagValue": value}
        for thing in world.each(KIND, regionId=params["regionId"])
        if not ids or thing.id in ids
        for key, value in thing.data["tags"].items()
    ]
    return {"data": {"nextToken": "", "tagResources": found}}


def _check_resource_type(kind: str) -> None:
    if kind.lower() != "instance":
        raise refuse("resourceType", kind, "must be instance")


@answers("rocketmq", "ListRegions")
def list_regions(call: LocalCall, world: World) -> dict[str, Any]:
    regions = [
        {
            "regionId": region,
            "regionName": name,
            "supportRocketmqV4": True,
            "supportRocketmqV5": True,
        }
        for region, name in REGION_NAMES.items()
    ]
    return {"data": regions}


@answers("rocketmq", "ListAvailableZones")
def list_available_zones(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "data": [{"zoneId": zone, "zoneName": zone_name(zone)} for zone in zones_of(call.region)]
    }
