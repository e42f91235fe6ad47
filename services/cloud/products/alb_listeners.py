"""ALB: listeners, their health, and forwarding rules."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.pages import tokened
from saleops.services.cloud.products.alb_things import (
    LISTENER_S,
    listener_of,
    load_balancer_of,
    new_job,
    new_listener,
)
from saleops.services.cloud.refusals import (
    given_or,
    missing,
    needed,
    one_of,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.world import Thing, World

CHECK_S = 10.0
"""How long after a listener runs its servers have no health yet."""


@answers("alb", "CreateListener")
def create_listener(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    balancer = load_balancer_of(call, world)
    protocol = one_of(
        call, "ListenerProtocol", ["HTTP", "HTTPS", "QUIC"], code="InvalidParameter", default=""
    )
    port = wanted["ListenerPort"]
    if not 1 <= port <= 65_535:
        raise wrong("InvalidParameter", "ListenerPort", port, "1 to 65535")
    for field, default in (("IdleTimeout", 15), ("RequestTimeout", 60)):
        if not 1 <= given_or(call, field, default) <= 600:
            raise wrong("InvalidParameter", field, wanted[field], "1 to 600 seconds")
    groups = _server_groups(call, world)
    if protocol != "HTTP" and not any(
        certificate.get("CertificateId") for certificate in wanted.get("Certificates") or []
    ):
        raise needed("Certificates.1.CertificateId", f"a {protocol} listener has one")
    tags = sent_tags(call)
    others = list(world.each("listener", LoadBalancerId=balancer.id))
    udp = protocol == "QUIC"
    for other in others:
        if other.data["ListenerPort"] == port and (other.data["ListenerProtocol"] == "QUIC") == udp:
            raise wrong("ResourceAlreadyExist.Listener", "ListenerPort", port, f"{other.id} has it")
    limit = quota(world, "alb.listeners_per_load_balancer")
    if len(others) >= limit:
        raise short(
            f"listeners of {balancer.id}",
            limit,
            code="QuotaExceeded.ListenersNum",
            field="ListenerPort",
            value=port,
        )
    if world.state(balancer) != "Active":
        raise ApiError(
            409,
            "IncorrectStatus.LoadBalancer",
            f"The load balancer {balancer.id!r} is {world.state(balancer)}; this works when it is Active.",
        )
    stop_dry_run(call)
    listener = new_listener(
        world,
        balancer,
        port=port,
        protocol=protocol,
        server_group_ids=groups,
        tags=tags,
        ListenerDescription=wanted.get("ListenerDescription", ""),
        IdleTimeout=wanted.get("IdleTimeout") or 15,
        RequestTimeout=wanted.get("RequestTimeout") or 60,
        GzipEnabled=wanted.get("GzipEnabled", True),
        Http2Enabled=wanted.get("Http2Enabled", True),
        Certificates=wanted.get("Certificates") or [],
    )
    job = new_job(world, "CreateListener", "Create", listener, "listener", LISTENER_S)
    return {"ListenerId": listener.id, "JobId": job}


@answers("alb", "ListListeners")
def list_listeners(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    found = [
        one
        for one in world.listed("listener", RegionId=call.region)
        if (not wanted.get("ListenerIds") or one.id in wanted["ListenerIds"])
        and (
            not wanted.get("LoadBalancerIds")
            or one.data["LoadBalancerId"] in wanted["LoadBalancerIds"]
        )
        and wanted.get("ListenerProtocol") in (None, "", one.data["ListenerProtocol"])
        and has_tags(call, one)
    ]
    page, about = tokened(call, found)
    return {**about, "Listeners": [_shown(world, one) for one in page]}


@answers("alb", "GetListenerAttribute")
def get_listener_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    one = listener_of(call, world)
    certificates = [
        {"CertificateId": str(certificate.get("CertificateId") or "")}
        for certificate in one.data.get("Certificates") or []
    ]
    return {**_shown(world, one), "Certificates": certificates}


@answers("alb", "GetListenerHealthStatus")
def get_listener_health_status(call: LocalCall, world: World) -> dict[str, Any]:
    one = listener_of(call, world)
    infos = [
        info
        for id in one.data["ServerGroupIds"]
        if (info := _health(world, one, world.find("server_group", id))) is not None
    ]
    answer: dict[str, Any] = {
        "ListenerHealthStatus": [
            {
                "ListenerId": one.id,
                "ListenerPort": one.data["ListenerPort"],
                "ListenerProtocol": one.data["ListenerProtocol"],
                "ServerGroupInfos": infos,
            }
        ]
    }
    return answer | ({"RuleHealthStatus": []} if call.params.get("IncludeRule") else {})


@answers("alb", "ListRules")
def list_rules(call: LocalCall, world: World) -> dict[str, Any]:
    """Forwarding rules (kind "alb_rule", data worded as the answer); whoever plays the ingress makes them."""
    wanted = call.params
    found = [
        rule
        for rule in world.listed("alb_rule")
        if (not wanted.get("RuleIds") or rule.id in wanted["RuleIds"])
        and (not wanted.get("ListenerIds") or rule.data.get("ListenerId") in wanted["ListenerIds"])
        and (
            not wanted.get("LoadBalancerIds")
            or rule.data.get("LoadBalancerId") in wanted["LoadBalancerIds"]
        )
        and has_tags(call, rule)
    ]
    page, about = tokened(call, found)
    return {
        **about,
        "Rules": [
            {**rule.data, "RuleId": rule.id, "RuleStatus": world.state(rule), "Tags": written(rule)}
            for rule in page
        ],
    }


def _server_groups(call: LocalCall, world: World) -> list[str]:
    actions = call.params["DefaultActions"]
    if len(actions) != 1:
        raise wrong("InvalidParameter", "DefaultActions", len(actions), "one action")
    where = "DefaultActions.1"
    if actions[0].get("Type") != "ForwardGroup":
        raise wrong("InvalidParameter", f"{where}.Type", actions[0].get("Type"), "use ForwardGroup")
    tuples = (actions[0].get("ForwardGroupConfig") or {}).get("ServerGroupTuples") or []
    where += ".ForwardGroupConfig.ServerGroupTuples"
    if not tuples:
        raise needed(f"{where}.1.ServerGroupId")
    ids = []
    for index, one in enumerate(tuples, 1):
        id = str(one.get("ServerGroupId") or "")
        if world.find("server_group", id) is None:
            raise missing("ResourceNotFound.ServerGroup", f"{where}.{index}.ServerGroupId", id)
        ids.append(id)
    return ids


def _shown(world: World, one: Thing) -> dict[str, Any]:
    data = one.data
    groups = [{"ServerGroupId": id} for id in data["ServerGroupIds"]]
    return {
        "ListenerId": one.id,
        "LoadBalancerId": data["LoadBalancerId"],
        "ListenerPort": data["ListenerPort"],
        "ListenerProtocol": data["ListenerProtocol"],
        "ListenerStatus": world.state(one),
        "ListenerDescription": data.get("ListenerDescription", ""),
        "IdleTimeout": data.get("IdleTimeout", 15),
        "RequestTimeout": data.get("RequestTimeout", 60),
        "GzipEnabled": data.get("GzipEnabled", True),
        "Http2Enabled": data.get("Http2Enabled", True),
        "DefaultActions": [
            {"Type": "ForwardGroup", "ForwardGroupConfig": {"ServerGroupTuples": groups}}
        ],
        "Tags": written(one),
    }


def _health(world: World, listener: Thing, group: Thing | None) -> dict[str, Any] | None:
    if group is None:
        return None
    checked = group.data["HealthCheckConfig"].get("HealthCheckEnabled", True)
    fresh = world.now_ms() < listener.timeline[-1][0] + CHECK_S * 1000
    bad = []
    for server in group.data["Servers"]:
        health = server.get("Health", "Healthy")
        status = "Unused" if server.get("Weight") == 0 else "Initial" if fresh else "Unhealthy"
        if checked and (status != "Unhealthy" or health != "Healthy"):
            row: dict[str, Any] = {
                "ServerId": server["ServerId"],
                "ServerIp": server.get("ServerIp", ""),
                "Port": server.get("Port", 80),
                "Status": status,
            }
            if status == "Unhealthy":
                row["Reason"] = {"ReasonCode": health}
            bad.append(row)
    return {
        "ServerGroupId": group.id,
        "ActionType": "ForwardGroup",
        "HealthCheckEnabled": "on" if checked else "off",
        "ServerCount": len(group.data["Servers"]),
        "NonNormalServers": bad,
    }
