"""ALB: making and finding load balancers, listeners and server groups, and the jobs that changes become.

Ingress makes load balancers in reality, so whoever plays an ingress controller (the cluster's add-ons, the control API,
a test) calls ``new_load_balancer``, ``new_server_group``, ``new_listener`` and ``set_servers`` here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from saleops.services.cloud.answers import LocalCall
from saleops.services.cloud.networks import new_ip
from saleops.services.cloud.refusals import missing
from saleops.services.cloud.world import Thing, World

PROVISION_S = 60.0
LISTENER_S = 8.0
JOB_S = 6.0


def new_load_balancer(
    world: World,
    *,
    region: str,
    vpc_id: str,
    vswitches: Sequence[Thing],
    name: str = "",
    edition: str = "Standard",
    address_type: str = "Internet",
    tags: Mapping[str, str] | None = None,
    **more: Any,
) -> Thing:
    """A load balancer with an address in each vSwitch: Provisioning, then Active."""
    id = world.new_id("alb-")
    return world.create(
        "load_balancer",
        id,
        {
            "RegionId": region,
            "VpcId": vpc_id,
            "LoadBalancerName": name or id,
            "LoadBalancerEdition": edition,
            "AddressType": address_type,
            "AddressAllocatedMode": "Fixed",
            "AddressIpVersion": "IPv4",
            "DeletionProtection": False,
            "DNSName": f"{id}.{region}.alb.aliyuncs.com",
            "ZoneMappings": [
                {
                    "ZoneId": vswitch.data["ZoneId"],
                    "VSwitchId": vswitch.id,
                    "IntranetAddress": new_ip(world, vswitch),
                }
                for vswitch in vswitches
            ],
            "ip_use": {vswitch.id: 2 for vswitch in vswitches},
            "Tags": dict(tags or {}),
            **more,
        },
        [("Provisioning", PROVISION_S), ("Active", 0)],
    )


def new_server_group(
    world: World,
    *,
    region: str,
    name: str,
    vpc_id: str = "",
    health_check: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    **more: Any,
) -> Thing:
    return world.create(
        "server_group",
        world.new_id("sgp-"),
        {
            "RegionId": region,
            "ServerGroupName": name,
            "VpcId": vpc_id,
            "ServerGroupType": "Instance",
            "Protocol": "HTTP",
            "Scheduler": "Wrr",
            "HealthCheckConfig": dict(health_check or {"HealthCheckEnabled": True}),
            "Servers": [],
            "Tags": dict(tags or {}),
            **more,
        },
        [("Provisioning", JOB_S), ("Available", 0)],
    )


def new_listener(
    world: World,
    load_balancer: Thing,
    *,
    port: int,
    protocol: str,
    server_group_ids: Sequence[str],
    tags: Mapping[str, str] | None = None,
    **more: Any,
) -> Thing:
    return world.create(
        "listener",
        world.new_id("lsn-"),
        {
            "RegionId": load_balancer.data["RegionId"],
            "LoadBalancerId": load_balancer.id,
            "ListenerPort": port,
            "ListenerProtocol": protocol,
            "ServerGroupIds": list(server_group_ids),
            "Tags": dict(tags or {}),
            **more,
        },
        [("Provisioning", LISTENER_S), ("Running", 0)],
    )


def set_servers(world: World, group: Thing, servers: Sequence[Mapping[str, Any]]) -> None:
    """The group's servers: ``{"ServerId", "ServerIp", "Port", "Weight", "ServerType", "Health"}``. ``Health`` is "Healthy" or why
    not: "CONNECT_TIMEOUT", "CONNECT_FAILED", "RECV_RESPONSE_FAILED", "RESPONSE_MISMATCH"."""
    world.update(group, Servers=[dict(server) for server in servers])


def new_job(
    world: World, api: str, operate: str, thing: Thing, type: str, lasts_s: float = JOB_S
) -> str:
    job = world.create(
        "alb_job",
        world.new_id("job-"),
        {
            "RegionId": thing.data["RegionId"],
            "ApiName": api,
            "OperateType": operate,
            "ResourceId": thing.id,
            "ResourceType": type,
        },
        [("Processing", lasts_s), ("Succeeded", 0)],
    )
    return job.id


def load_balancer_of(call: LocalCall, world: World) -> Thing:
    return _found(call, world, "load_balancer", "LoadBalancerId", "ResourceNotFound.LoadBalancer")


def listener_of(call: LocalCall, world: World) -> Thing:
    return _found(call, world, "listener", "ListenerId", "ResourceNotFound.Listener")


def server_group_of(call: LocalCall, world: World) -> Thing:
    return _found(call, world, "server_group", "ServerGroupId", "ResourceNotFound.ServerGroup")


def _found(call: LocalCall, world: World, kind: str, field: str, code: str) -> Thing:
    id = str(call.params.get(field) or "")
    thing = world.find(kind, id)
    if thing is None or thing.data["RegionId"] != call.region:
        raise missing(code, field, id)
    return thing
