"""ECS: instances. Node pools make them (kind "instance", data worded as DescribeInstances has it); here they are read."""

from fnmatch import fnmatchcase
from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import instance_types
from saleops.services.cloud.pages import numbered, tokened
from saleops.services.cloud.products.ecs_security_groups import ids_in
from saleops.services.cloud.refusals import stop_dry_run
from saleops.services.cloud.tags import has_tags, written
from saleops.services.cloud.timestamps import iso_minute, iso_s
from saleops.services.cloud.world import Thing, World

CARRIED = (
    "InstanceName",
    "HostName",
    "RegionId",
    "ZoneId",
    "InstanceType",
    "ImageId",
    "SpotStrategy",
    "SpotPriceLimit",
    "SpotDuration",
    "InstanceChargeType",
    "VpcAttributes",
    "SecurityGroupIds",
    "KeyPairName",
    "ClusterId",
    "Description",
    "ResourceGroupId",
    "AutoReleaseTime",
)
"""What an answer takes from an instance's data as it is."""


@answers("ecs", "DescribeInstances")
def describe_instances(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = ids_in(call, "InstanceIds")
    private = ids_in(call, "PrivateIpAddresses")
    found = []
    for instance in world.listed("instance"):
        data = instance.data
        vpc = data.get("VpcAttributes") or {}
        ips = (vpc.get("PrivateIpAddress") or {}).get("IpAddress") or []
        groups = (data.get("SecurityGroupIds") or {}).get("SecurityGroupId") or []
        name = wanted.get("InstanceName")
        if (
            data.get("RegionId", call.region) == call.region
            and (ids is None or instance.id in ids)
            and (private is None or any(ip in private for ip in ips))
            and (not name or fnmatchcase(str(data.get("InstanceName", "")), name))
            and wanted.get("Status") in (None, "", world.state(instance))
            and wanted.get("VpcId") in (None, "", vpc.get("VpcId"))
            and wanted.get("VSwitchId") in (None, "", vpc.get("VSwitchId"))
            and wanted.get("SecurityGroupId") in (None, "", *groups)
            and wanted.get("InstanceNetworkType") in (None, "", "vpc")
            and wanted.get("InstanceTypeFamily") in (None, "", _family(data))
            and all(
                wanted.get(field) in (None, "", data.get(field))
                for field in (
                    "ZoneId",
                    "InstanceType",
                    "InstanceChargeType",
                    "ImageId",
                    "KeyPairName",
                )
            )
            and has_tags(call, instance)
        ):
            found.append(instance)
    stop_dry_run(call)
    if wanted.get("MaxResults") or wanted.get("NextToken"):
        page, about = tokened(call, found, size=10, most=100)
        about.pop("MaxResults")
    else:
        page, about = numbered(call, found, most=100)
    return {**about, "Instances": {"Instance": [_shown(world, one) for one in page]}}


@answers("ecs", "DescribeInstanceHistoryEvents")
def describe_instance_history_events(call: LocalCall, world: World) -> dict[str, Any]:
    """System events (kind "instance_event"): a spot instance that is taken back is announced here five minutes ahead."""
    wanted = call.params
    types = wanted.get("InstanceEventType") or (
        [wanted["EventType"]] if wanted.get("EventType") else []
    )
    cycles = wanted.get("InstanceEventCycleStatus") or (
        [wanted["EventCycleStatus"]] if wanted.get("EventCycleStatus") else []
    )
    resources = [*(wanted.get("ResourceId") or []), wanted.get("InstanceId")]
    resources = [id for id in resources if id]
    found = [
        event
        for event in world.listed("instance_event")
        if event.data.get("RegionId", call.region) == call.region
        and (not resources or event.data["InstanceId"] in resources)
        and (not wanted.get("EventId") or event.id in wanted["EventId"])
        and (not types or event.data["EventType"] in types)
        and (not cycles or world.state(event) in cycles)
    ]
    if wanted.get("MaxResults") or wanted.get("NextToken"):
        page, about = tokened(call, found, size=10, most=100)
        about.pop("MaxResults")
    else:
        page, about = numbered(call, found, most=100)
    events = [
        {
            "EventId": event.id,
            "InstanceId": event.data["InstanceId"],
            "ResourceType": "instance",
            "EventType": {"Name": event.data["EventType"]},
            "EventCycleStatus": {"Name": world.state(event)},
            "EventPublishTime": iso_s(event.born_ms),
            "NotBefore": event.data.get("NotBefore", iso_s(event.born_ms)),
            "Reason": event.data.get("Reason", ""),
        }
        for event in page
    ]
    return {**about, "InstanceSystemEventSet": {"InstanceSystemEventType": events}}


def _family(data: dict[str, Any]) -> str:
    return str(data.get("InstanceType", "")).rpartition(".")[0]


def _shown(world: World, instance: Thing) -> dict[str, Any]:
    data = instance.data
    sold = instance_types().get(str(data.get("InstanceType")))
    vpc = data.get("VpcAttributes") or {}
    return {
        **{field: data[field] for field in CARRIED if data.get(field) is not None},
        "InstanceId": instance.id,
        "Status": world.state(instance),
        "InstanceTypeFamily": _family(data),
        "Cpu": sold.cores if sold else 0,
        "Memory": int(sold.memory_gib * 1024) if sold else 0,
        "InstanceNetworkType": "vpc",
        "IoOptimized": True,
        "GPUAmount": 0,
        "DeviceAvailable": True,
        "OSType": "linux",
        "InternetMaxBandwidthOut": 0,
        "PublicIpAddress": {"IpAddress": []},
        "VpcAttributes": {**vpc, "NatIpAddress": ""},
        "CreationTime": iso_minute(instance.born_ms),
        "OperationLocks": {"LockReason": []},
        "Tags": {"Tag": written(instance, "TagKey", "TagValue")},
    }
