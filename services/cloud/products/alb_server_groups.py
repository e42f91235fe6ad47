"""ALB: server groups and the servers in them."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.pages import tokened
from saleops.services.cloud.products.alb_things import new_job, new_server_group, server_group_of
from saleops.services.cloud.refusals import check_name, given, missing, one_of, stop_dry_run, wrong
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

SETTINGS = (
    "ConnectionDrainConfig",
    "CrossZoneEnabled",
    "HealthCheckConfig",
    "Scheduler",
    "ServiceName",
    "SlowStartConfig",
    "StickySessionConfig",
    "UchConfig",
    "UpstreamKeepaliveEnabled",
)
HEALTH_LIMITS = {
    "HealthCheckConnectPort": (0, 65_535),
    "HealthCheckInterval": (1, 50),
    "HealthCheckTimeout": (1, 300),
    "HealthyThreshold": (2, 10),
    "UnhealthyThreshold": (2, 10),
}


@answers("alb", "CreateServerGroup")
def create_server_group(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    check_name(call, "ServerGroupName", code="InvalidParameter")
    kind = one_of(
        call,
        "ServerGroupType",
        ["Instance", "Ip", "Fc"],
        code="InvalidParameter",
        default="Instance",
    )
    protocol = one_of(
        call, "Protocol", ["HTTP", "HTTPS", "GRPC"], code="InvalidParameter", default="HTTP"
    )
    _check_settings(call)
    vpc_id = wanted.get("VpcId") or ""
    if kind != "Fc" and world.find("vpc", vpc_id) is None:
        raise missing("ResourceNotFound.Vpc", "VpcId", vpc_id)
    tags = sent_tags(call)
    stop_dry_run(call)
    more = given(wanted, *SETTINGS)
    group = new_server_group(
        world,
        region=call.region,
        name=wanted["ServerGroupName"],
        vpc_id=vpc_id,
        health_check=more.pop("HealthCheckConfig"),
        tags=tags,
        **{"ServerGroupType": kind, "Protocol": protocol, **more},
    )
    job = new_job(world, "CreateServerGroup", "Create", group, "servergroup")
    return {"ServerGroupId": group.id, "JobId": job}


@answers("alb", "UpdateServerGroupAttribute")
def update_server_group_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    group = server_group_of(call, world)
    check_name(call, "ServerGroupName", code="InvalidParameter")
    _check_settings(call)
    if world.state(group) != "Available":
        raise ApiError(
            409,
            "IncorrectStatus.ServerGroup",
            f"The server group {group.id!r} is {world.state(group)}; this works when it is Available.",
        )
    stop_dry_run(call)
    changes = given(call.params, "ServerGroupName", *SETTINGS)
    if "HealthCheckConfig" in changes:
        changes["HealthCheckConfig"] = {
            **group.data["HealthCheckConfig"],
            **changes["HealthCheckConfig"],
        }
    world.update(group, **changes)
    world.move(group, [("Configuring", 6.0), ("Available", 0)])
    job = new_job(world, "UpdateServerGroupAttribute", "Update", group, "servergroup")
    return {"JobId": job}


@answers("alb", "ListServerGroups")
def list_server_groups(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    found = [
        group
        for group in world.listed("server_group", RegionId=call.region)
        if (not wanted.get("ServerGroupIds") or group.id in wanted["ServerGroupIds"])
        and (
            not wanted.get("ServerGroupNames")
            or group.data["ServerGroupName"] in wanted["ServerGroupNames"]
        )
        and wanted.get("VpcId") in (None, "", group.data["VpcId"])
        and wanted.get("ServerGroupType") in (None, "", group.data["ServerGroupType"])
        and has_tags(call, group)
    ]
    page, about = tokened(call, found)
    return {**about, "ServerGroups": [_shown(world, group) for group in page]}


@answers("alb", "ListServerGroupServers")
def list_server_group_servers(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    if wanted.get("ServerGroupId"):
        groups = [server_group_of(call, world)]
    else:
        groups = [
            group
            for group in world.listed("server_group", RegionId=call.region)
            if has_tags(call, group)
        ]
    rows = [
        {
            "ServerGroupId": group.id,
            "ServerId": server["ServerId"],
            "ServerIp": server.get("ServerIp", ""),
            "ServerType": server.get("ServerType", "Ecs"),
            "Port": server.get("Port", 80),
            "Weight": server.get("Weight", 100),
            "Status": server.get("Status", "Available"),
            "Description": server.get("Description", ""),
        }
        for group in groups
        for server in group.data["Servers"]
        if not wanted.get("ServerIds") or server["ServerId"] in wanted["ServerIds"]
    ]
    page, about = tokened(call, rows)
    return {**about, "Servers": list(page)}


def _check_settings(call: LocalCall) -> None:
    health = call.params.get("HealthCheckConfig") or {}
    for field, (low, high) in HEALTH_LIMITS.items():
        value = health.get(field)
        if value is not None and not low <= value <= high:
            raise wrong("InvalidParameter", f"HealthCheckConfig.{field}", value, f"{low} to {high}")
    path = health.get("HealthCheckPath")
    if path and (not path.startswith("/") or len(path) > 80):
        raise wrong(
            "InvalidParameter",
            "HealthCheckConfig.HealthCheckPath",
            path,
            "/..., at most 80 characters",
        )
    one_of(call, "Scheduler", ["Wrr", "Wlc", "Sch", "Uch"], code="InvalidParameter", default="Wrr")


def _shown(world: World, group: Thing) -> dict[str, Any]:
    data = group.data
    balancers = sorted(
        {
            str(listener.data["LoadBalancerId"])
            for listener in world.each("listener")
            if group.id in listener.data["ServerGroupIds"]
        }
    )
    return {
        "ServerGroupId": group.id,
        "ServerGroupName": data["ServerGroupName"],
        "ServerGroupStatus": world.state(group),
        "ServerGroupType": data["ServerGroupType"],
        "Protocol": data["Protocol"],
        "VpcId": data["VpcId"],
        "ServerCount": len(data["Servers"]),
        "RelatedLoadBalancerIds": balancers,
        "CreateTime": iso_s(group.born_ms),
        **given(data, *SETTINGS),
        "Tags": written(group),
    }
