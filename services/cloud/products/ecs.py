"""ECS: regions, zones, tags and the account's limits. Its other nouns are in the modules ecs_*."""

from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import (
    DISK_CATEGORIES,
    REGION_NAMES,
    instance_types,
    quota,
    stock,
    vcpus_in_use,
    zone_name,
    zones_of,
)
from saleops.services.cloud.products import (
    ecs_instances,
    ecs_prices,
    ecs_reservations,
    ecs_security_groups,
    ecs_stock,
)
from saleops.services.cloud.refusals import missing, wrong
from saleops.services.cloud.tags import register_tagging
from saleops.services.cloud.world import World

__all__ = ["ecs_instances", "ecs_prices", "ecs_reservations", "ecs_security_groups", "ecs_stock"]

register_tagging(
    "ecs",
    {
        "instance": ("instance",),
        "securitygroup": ("security_group",),
        "capacityreservation": ("capacity_reservation",),
    },
    not_found="InvalidResourceId.NotFound",
    most=None,
)


@answers("ecs", "DescribeRegions")
def describe_regions(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "Regions": {
            "Region": [
                {
                    "RegionId": region,
                    "LocalName": name,
                    "RegionEndpoint": f"ecs.{region}.aliyuncs.com",
                    "Status": "available",
                }
                for region, name in REGION_NAMES.items()
            ]
        }
    }


@answers("ecs", "DescribeZones")
def describe_zones(call: LocalCall, world: World) -> dict[str, Any]:
    spot = call.params.get("SpotStrategy") not in (None, "", "NoSpot")
    zones = []
    for zone in zones_of(call.region):
        shown: dict[str, Any] = {
            "ZoneId": zone,
            "LocalName": zone_name(zone),
            "ZoneType": "AvailabilityZone",
        }
        if call.params.get("Verbose", True):
            types = [id for id in instance_types() if stock(world, id, zone, spot=spot) > 0]
            shown |= {
                "AvailableInstanceTypes": {"InstanceTypes": types},
                "AvailableDiskCategories": {"DiskCategories": list(DISK_CATEGORIES)},
                "AvailableVolumeCategories": {"VolumeCategories": []},
                "AvailableDedicatedHostTypes": {"DedicatedHostType": []},
                "AvailableResourceCreation": {
                    "ResourceTypes": ["VSwitch", "IoOptimized", "Instance", "Disk"]
                },
            }
        zones.append(shown)
    return {"Zones": {"Zone": zones}}


@answers("ecs", "DescribeAccountAttributes")
def describe_account_attributes(call: LocalCall, world: World) -> dict[str, Any]:
    region = call.region
    zone = call.params.get("ZoneId")
    if zone and zone not in zones_of(region):
        raise missing("InvalidZoneId.NotFound", "ZoneId", zone)
    values: dict[str, list[str]] = {
        "instance-network-type": ["vpc"],
        "max-security-groups": [str(quota(world, "ecs.security_groups"))],
        "max-elastic-network-interfaces": ["50000"],
        "max-postpaid-instance-vcpu-count": [str(quota(world, "ecs.postpaid_vcpu"))],
        "max-spot-instance-vcpu-count": [str(quota(world, "ecs.spot_vcpu"))],
        "used-postpaid-instance-vcpu-count": [str(vcpus_in_use(world, region, spot=False))],
        "used-spot-instance-vcpu-count": [str(vcpus_in_use(world, region, spot=True))],
        "supported-postpaid-instance-types": list(instance_types()),
        "real-name-authentication": ["yes"],
    }
    wanted = call.params.get("AttributeName") or list(values)
    for index, name in enumerate(wanted, 1):
        if name not in values:
            raise wrong(
                "InvalidParameter", f"AttributeName.{index}", name, "use " + ", ".join(values)
            )
    return {
        "AccountAttributeItems": {
            "AccountAttributeItem": [
                {
                    "AttributeName": name,
                    "AttributeValues": {"ValueItem": [{"Value": value} for value in values[name]]},
                }
                for name in wanted
            ]
        }
    }
