"""Clusters are made, changed and deleted.

A managed cluster takes 5 to 10 minutes (initial, then running); the task of the create ends with it. What ACK makes beside
it (a security group, the load balancer of its API server) goes with it; so do its node pools. A network cannot be deleted
while a cluster lies in it.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from saleops.services.cloud import catalogue
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.cs_addons import (
    ADDON,
    checked_addons,
    default_addons,
    network_of,
    put_addons,
)
from saleops.services.cloud.products.cs_calls import (
    CLUSTER,
    body_of,
    cluster_of,
    quota,
    running_cluster,
    seconds_between,
    tags_of,
    vswitches_of,
    wrong,
)
from saleops.services.cloud.products.cs_nodepools import create_nodepool, delete_nodepool
from saleops.services.cloud.products.cs_scaling import pools_of, reach_target, ready_s
from saleops.services.cloud.products.cs_tasks import start_task
from saleops.services.cloud.products.cs_versions import LATEST, VERSIONS
from saleops.services.cloud.world import Thing, World

SERVICE_CIDR = "172.19.0.0/20"
_NAME = re.compile(r"[A-Za-z0-9\u4e00-\u9fff][A-Za-z0-9_\-\u4e00-\u9fff]{0,62}")
_SPECS = ("ack.standard", "ack.pro.small", "ack.pro.xlarge", "ack.pro.2xlarge", "ack.pro.4xlarge")
_PRIVATE = tuple(
    ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_DELETE_TYPES = ("SLB", "ALB", "SLS_Data", "SLS_ControlPlane", "PrivateZone")


@answers("cs", "CreateCluster")
def create_cluster(call: LocalCall, world: World) -> dict[str, Any]:
    body = body_of(call)
    region = str(body.get("region_id") or "")
    if region not in catalogue.ZONES:
        raise wrong("region_id", region, "no such region")
    name = str(body.get("name") or "")
    if not _NAME.fullmatch(name):
        raise wrong("name", name, "1 to 63 letters, digits, - or _, no sign first")
    _check_quota(world)
    vpc = _vpc_of(world, body, region)
    addons = checked_addons(list(body.get("addons") or ()))
    network = network_of(addons)
    vswitches, pod_vswitches = _vswitches(world, body, vpc, network)
    service_cidr = _service_cidr(body, vpc)
    version = _version(body)
    spec = body.get("cluster_spec") or "ack.standard"
    if spec not in _SPECS:
        raise wrong("cluster_spec", spec, "use " + ", ".join(_SPECS))
    tags = tags_of(body.get("tags"))
    group_id = str(body.get("security_group_id") or "")
    if group_id and world.find("security_group", group_id) is None:
        raise ApiError(
            404, "InvalidSecurityGroupId.NotFound", f"security_group_id {group_id!r}: no such group"
        )
    wait_s = seconds_between(world, 300, 600, "cluster", world.ids_count, name)
    id = world.new_id("c", length=32)
    data: dict[str, Any] = {
        "name": name,
        "region_id": region,
        "vpc_id": vpc.id,
        "vswitch_ids": [vswitch.id for vswitch in vswitches],
        "pod_vswitch_ids": [vswitch.id for vswitch in pod_vswitches],
        "zone_ids": [vswitch.data["ZoneId"] for vswitch in vswitches],
        "cluster_type": body.get("cluster_type") or "ManagedKubernetes",
        "cluster_spec": spec,
        "profile": body.get("profile") or "Default",
        "version": version,
        "network": network,
        "service_cidr": service_cidr,
        "container_cidr": body.get("container_cidr") or "",
        "node_cidr_mask": str(body.get("node_cidr_mask") or "") if network == "flannel" else "",
        "proxy_mode": body.get("proxy_mode") or "ipvs",
        "ip_stack": body.get("ip_stack") or "ipv4",
        "cluster_domain": body.get("cluster_domain") or "cluster.local",
        "timezone": body.get("timezone") or "",
        "deletion_protection": bool(body.get("deletion_protection")),
        "endpoint_public_access": bool(body.get("endpoint_public_access")),
        "snat_entry": bool(body.get("snat_entry")),
        "resource_group_id": body.get("resource_group_id") or f"rg-acfm{world.account[:11]}",
        "maintenance_window": body.get("maintenance_window") or {"enable": False},
        "operation_policy": body.get("operation_policy") or {},
        "rrsa_enabled": bool(
            (body.get("rrsa_config") or {}).get("enabled") or body.get("enable_rrsa")
        ),
        "extra_sans": list(body.get("extra_sans") or ()),
        "log_components": list(body.get("controlplane_log_components") or ()),
        "log_project": body.get("controlplane_log_project") or f"k8s-log-{id}",
        "log_ttl": str(body.get("controlplane_log_ttl") or "30"),
        "tags": tags,
        "security_group_id": group_id,
        "load_balancer_id": str(body.get("load_balancer_id") or ""),
        "made": [],
        "updated_ms": world.now_ms(),
        "ip_use": dict.fromkeys((v.id for v in pod_vswitches), 0) | {v.id: 1 for v in vswitches},
    }
    cluster = world.create(CLUSTER, id, data, [("initial", wait_s), ("running", 0)])
    pools = _first_pools(world, cluster, list(body.get("nodepools") or ()))
    _make_beside(world, cluster, enterprise=body.get("is_enterprise_security_group", True))
    put_addons(world, id, default_addons(addons), lasts_s=wait_s)
    made = []
    for pool in pools:
        pool.data["scaling_group"]["security_group_ids"] = [data["security_group_id"]]
        made += reach_target(world, pool, cause="cluster created", after_s=wait_s)
    task_id = start_task(
        world,
        cluster_id=id,
        type="cluster_create",
        target=("cluster", id),
        lasts_s=max(wait_s, ready_s(world, made)),
        results=made,
    )
    return {"cluster_id": id, "task_id": task_id}


def _check_quota(world: World) -> None:
    clusters = [cluster for cluster in world.each(CLUSTER) if cluster.gone_ms is None]
    managed = [c for c in clusters if c.data["cluster_type"] == "ManagedKubernetes"]
    for name, have, what in (
        ("cs.clusters", clusters, "clusters"),
        ("cs.managed_clusters", managed, "managed clusters"),
    ):
        if len(have) >= quota(world, name):
            raise ApiError(
                400,
                "QuotaExceeded.Cluster",
                f"the account has its {quota(world, name)} {what}: no room for another",
            )


def _vpc_of(world: World, body: Mapping[str, Any], region: str) -> Thing:
    vpc_id = str(body.get("vpcid") or "")
    if not vpc_id:
        raise ApiError(400, "MissingParameter", "vpcid: a cluster needs the VPC it lies in")
    vpc = world.find("vpc", vpc_id)
    if vpc is None or vpc.data.get("RegionId", region) != region:
        raise ApiError(404, "InvalidVpcId.NotFound", f"vpcid {vpc_id!r}: no such VPC in {region}")
    if world.state(vpc) != "Available":
        raise ApiError(
            400,
            "IncorrectVpcStatus",
            f"vpcid {vpc_id!r} is {world.state(vpc)}; it must be Available",
        )
    return vpc


def _vswitches(
    world: World, body: Mapping[str, Any], vpc: Thing, network: str
) -> tuple[list[Thing], list[Thing]]:
    """Node and pod vSwitches. With Terway every node vSwitch needs a pod vSwitch of its own zone."""
    ids = list(body.get("vswitch_ids") or body.get("worker_vswitch_ids") or ())
    if not 1 <= len(ids) <= 5:
        raise wrong("vswitch_ids", ids, "1 to 5 vSwitches for the control plane and its nodes")
    vswitches = vswitches_of(world, ids, vpc_id=vpc.id, field="vswitch_ids")
    pod_ids = list(body.get("pod_vswitch_ids") or ())
    if network == "flannel":
        if pod_ids:
            raise wrong(
                "pod_vswitch_ids", pod_ids, "only with terway-eniip; flannel takes container_cidr"
            )
        return vswitches, []
    if body.get("container_cidr"):
        raise wrong(
            "container_cidr",
            body["container_cidr"],
            "only with flannel; Terway takes pod_vswitch_ids",
        )
    if not pod_ids:
        raise ApiError(
            400,
            "MissingParameter",
            "pod_vswitch_ids: terway-eniip needs a pod vSwitch in each zone",
        )
    pods = vswitches_of(world, pod_ids, vpc_id=vpc.id, field="pod_vswitch_ids")
    zones = {pod.data["ZoneId"] for pod in pods}
    for number, vswitch in enumerate(vswitches):
        if vswitch.data["ZoneId"] not in zones:
            raise wrong(
                f"vswitch_ids[{number}]",
                vswitch.id,
                f"no pod vSwitch lies in its zone {vswitch.data['ZoneId']}",
            )
    for number, pod in enumerate(pods):
        if ipaddress.ip_network(pod.data["CidrBlock"]).prefixlen > 25:
            raise wrong(
                f"pod_vswitch_ids[{number}]", pod.id, f"{pod.data['CidrBlock']} is smaller than /25"
            )
    return vswitches, pods


def _service_cidr(body: Mapping[str, Any], vpc: Thing) -> str:
    text = str(body.get("service_cidr") or SERVICE_CIDR)
    service = _network("service_cidr", text)
    if not 16 <= service.prefixlen <= 24 or not any(service.subnet_of(block) for block in _PRIVATE):
        raise wrong("service_cidr", text, "a private block of mask 16 to 24")
    blocks = [str(vpc.data.get("CidrBlock") or ""), *(vpc.data.get("SecondaryCidrBlocks") or ())]
    pods = str(body.get("container_cidr") or "")
    if pods:
        blocks.append(str(_network("container_cidr", pods)))
    for block in filter(None, blocks):
        if service.overlaps(ipaddress.IPv4Network(block, strict=False)):
            raise wrong(
                "service_cidr", text, f"it overlaps {block}, which is the VPC's or the pods'"
            )
    if (
        pods
        and vpc.data.get("CidrBlock")
        and _network("container_cidr", pods).overlaps(
            ipaddress.IPv4Network(str(vpc.data["CidrBlock"]), strict=False)
        )
    ):
        raise wrong("container_cidr", pods, f"it overlaps the VPC's {vpc.data['CidrBlock']}")
    return text


def _network(field: str, text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        raise wrong(field, text, "not an IPv4 block") from None


def _version(body: Mapping[str, Any]) -> str:
    wanted = str(body.get("kubernetes_version") or LATEST)
    for version, (_, _, creatable) in VERSIONS.items():
        if creatable and (
            wanted in (version, version.split("-")[0]) or version.startswith(f"{wanted}.")
        ):
            return version
    raise wrong(
        "kubernetes_version",
        wanted,
        "use one of " + ", ".join(v for v, about in VERSIONS.items() if about[2]),
    )


def _first_pools(world: World, cluster: Thing, bodies: list[Mapping[str, Any]]) -> list[Thing]:
    """The pools of the create; when one is refused, nothing of the cluster stays."""
    pools: list[Thing] = []
    try:
        for number, body in enumerate(bodies):
            pools.append(create_nodepool(world, cluster, body, field=f"nodepools[{number}]."))
    except ApiError:
        for pool in pools:
            world.things["scaling_group"].pop(pool.data["scaling_group"]["scaling_group_id"], None)
            world.things["nodepool"].pop(pool.id, None)
        world.things[CLUSTER].pop(cluster.id, None)
        raise
    return pools


def _make_beside(world: World, cluster: Thing, *, enterprise: bool) -> None:
    data = cluster.data
    if not data["security_group_id"]:
        data["security_group_id"] = world.new_id("sg-")
        world.create(
            "security_group",
            data["security_group_id"],
            {
                "RegionId": data["region_id"],
                "VpcId": data["vpc_id"],
                "SecurityGroupName": f"alicloud-cs-auto-created-security-group-{cluster.id}",
                "SecurityGroupType": "enterprise" if enterprise else "normal",
                "Description": "",
                "ResourceGroupId": data["resource_group_id"],
                "Rules": [],
                "Tags": {"ack.aliyun.com": cluster.id},
            },
        )
        data["made"].append(["security_group", data["security_group_id"]])
    if not data["load_balancer_id"]:
        data["load_balancer_id"] = world.new_id("lb-")
    octets = [str(1 + int(catalogue.chance(world, "api", cluster.id, n) * 250)) for n in range(3)]
    data["private_address"] = ".".join(["10", *octets])
    data["public_address"] = (
        ".".join(["8", *octets[::-1]]) if data["endpoint_public_access"] else ""
    )
    world.changed()


@answers("cs", "ModifyCluster")
def modify_cluster(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = running_cluster(call, world)
    body = body_of(call)
    changes: dict[str, Any] = {"updated_ms": world.now_ms()}
    for key in (
        "deletion_protection",
        "maintenance_window",
        "operation_policy",
        "timezone",
        "resource_group_id",
    ):
        if body.get(key) is not None:
            changes[key] = body[key]
    if (name := body.get("cluster_name")) is not None:
        if not _NAME.fullmatch(name):
            raise wrong("cluster_name", name, "1 to 63 letters, digits, - or _, no sign first")
        changes["name"] = name
    if (spec := body.get("cluster_spec")) is not None:
        if spec not in _SPECS:
            raise wrong("cluster_spec", spec, "use " + ", ".join(_SPECS))
        if spec == "ack.standard" and cluster.data["cluster_spec"] != spec:
            raise wrong("cluster_spec", spec, "a Pro cluster does not go back to Basic")
        changes["cluster_spec"] = spec
    if (ids := body.get("vswitch_ids")) is not None:
        if not 1 <= len(ids) <= 5:
            raise wrong("vswitch_ids", ids, "1 to 5 vSwitches for the control plane")
        vswitches_of(world, ids, vpc_id=cluster.data["vpc_id"], field="vswitch_ids")
        changes["vswitch_ids"] = list(ids)
    if (rrsa := body.get("enable_rrsa")) is not None:
        changes["rrsa_enabled"] = rrsa
    if (eip := body.get("api_server_eip")) is not None:
        octets = cluster.data["private_address"].split(".")[1:]
        changes["endpoint_public_access"] = eip
        changes["public_address"] = ".".join(["8", *octets[::-1]]) if eip else ""
    world.update(cluster, **changes)
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="cluster_modify",
        target=("cluster", cluster.id),
        lasts_s=5,
    )
    return {"cluster_id": cluster.id, "task_id": task_id}


@answers("cs", "DeleteCluster")
def delete_cluster(call: LocalCall, world: World) -> dict[str, Any]:
    cluster = cluster_of(call, world)
    options = call.params.get("delete_options") or []
    for number, option in enumerate(options if isinstance(options, list) else []):
        field = f"delete_options[{number}]"
        if option.get("resource_type") not in _DELETE_TYPES:
            raise wrong(
                f"{field}.resource_type",
                option.get("resource_type"),
                "use " + ", ".join(_DELETE_TYPES),
            )
        if option.get("delete_mode") not in ("delete", "retain"):
            raise wrong(f"{field}.delete_mode", option.get("delete_mode"), "use delete, retain")
    if cluster.data["deletion_protection"]:
        raise ApiError(
            400,
            "ErrorClusterDeletionProtection",
            f"ClusterId {cluster.id!r} has deletion_protection true: turn it off with ModifyCluster first",
        )
    if world.state(cluster) == "deleting":
        raise ApiError(
            400, "IncorrectStatus.Cluster", f"ClusterId {cluster.id!r} is deleting already"
        )
    lasts_s = seconds_between(world, 60, 120, "delete", cluster.id)
    for pool in pools_of(world, cluster.id):
        lasts_s = max(lasts_s, delete_nodepool(world, pool) + 20)
    for addon in list(world.each(ADDON, cluster_id=cluster.id)):
        world.remove(addon, state="deleting", after_s=lasts_s)
    if not call.params.get("retain_all_resources"):
        retained = set(call.params.get("retain_resources") or ())
        for kind, id in cluster.data["made"]:
            made = world.find(kind, id)
            if made is not None and id not in retained:
                world.remove(made, state="Deleting", after_s=lasts_s)
    world.remove(cluster, state="deleting", after_s=lasts_s)
    task_id = start_task(
        world,
        cluster_id=cluster.id,
        type="cluster_delete",
        target=("cluster", cluster.id),
        lasts_s=lasts_s,
    )
    return {"cluster_id": cluster.id, "task_id": task_id}
