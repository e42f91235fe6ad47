"""ALB: load balancers, the jobs that changes become, and tags. Its other nouns are in the modules alb_*."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota, zone_name, zones_of
from saleops.services.cloud.networks import free_ips_count
from saleops.services.cloud.pages import tokened
from saleops.services.cloud.products.alb_things import (
    load_balancer_of,
    new_job,
    new_load_balancer,
)
from saleops.services.cloud.refusals import (
    check_name,
    missing,
    needed,
    one_of,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, register_tagging, sent_tags, written
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

DELETE_S = 15.0

register_tagging(
    "alb",
    {
        "loadbalancer": ("load_balancer",),
        "servergroup": ("server_group",),
        "listener": ("listener",),
    },
    not_found="ResourceNotFound.ResourceId",
    wrapped=False,
    size=20,
    most=100,
)


@answers("alb", "CreateLoadBalancer")
def create_load_balancer(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    vpc_id = wanted["VpcId"]
    vpc = world.find("vpc", vpc_id)
    if vpc is None or vpc.data["RegionId"] != call.region:
        raise missing("ResourceNotFound.Vpc", "VpcId", vpc_id)
    edition = one_of(
        call,
        "LoadBalancerEdition",
        ["Basic", "Standard", "StandardWithWaf"],
        code="InvalidParameter",
        default="",
    )
    address = one_of(
        call, "AddressType", ["Internet", "Intranet"], code="InvalidParameter", default=""
    )
    mode = one_of(
        call, "AddressAllocatedMode", ["Fixed", "Dynamic"], code="InvalidParameter", default="Fixed"
    )
    pay = (wanted.get("LoadBalancerBillingConfig") or {}).get("PayType")
    if pay != "PostPay":
        raise wrong("InvalidParameter", "LoadBalancerBillingConfig.PayType", pay, "use PostPay")
    check_name(call, "LoadBalancerName", code="InvalidParameter")
    tags = sent_tags(call)
    vswitches = _vswitches(call, world, vpc_id)
    limit = quota(world, "alb.load_balancers")
    if len(list(world.each("load_balancer", RegionId=call.region))) >= limit:
        raise short(
            f"load balancers in {call.region}",
            limit,
            code="QuotaExceeded.LoadBalancersNum",
            field="VpcId",
            value=vpc_id,
        )
    stop_dry_run(call)
    made = new_load_balancer(
        world,
        region=call.region,
        vpc_id=vpc_id,
        vswitches=vswitches,
        name=wanted.get("LoadBalancerName") or "",
        edition=edition,
        address_type=address,
        tags=tags,
        AddressAllocatedMode=mode,
        DeletionProtection=bool(wanted.get("DeletionProtectionEnabled")),
    )
    return {"LoadBalancerId": made.id}


@answers("alb", "ListLoadBalancers")
def list_load_balancers(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    found = [
        one
        for one in world.listed("load_balancer", RegionId=call.region)
        if (not wanted.get("LoadBalancerIds") or one.id in wanted["LoadBalancerIds"])
        and (
            not wanted.get("LoadBalancerNames")
            or one.data["LoadBalancerName"] in wanted["LoadBalancerNames"]
        )
        and (not wanted.get("VpcIds") or one.data["VpcId"] in wanted["VpcIds"])
        and wanted.get("LoadBalancerStatus") in (None, "", world.state(one))
        and wanted.get("ZoneId")
        in (None, "", *(mapping["ZoneId"] for mapping in one.data["ZoneMappings"]))
        and all(
            wanted.get(field) in (None, "", one.data[field])
            for field in ("AddressType", "AddressIpVersion", "DNSName")
        )
        and has_tags(call, one)
    ]
    page, about = tokened(call, found)
    return {**about, "LoadBalancers": [_shown(world, one) for one in page]}


@answers("alb", "GetLoadBalancerAttribute")
def get_load_balancer_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    one = load_balancer_of(call, world)
    return {
        **_shown(world, one),
        "RegionId": one.data["RegionId"],
        "ZoneMappings": [
            {
                "ZoneId": mapping["ZoneId"],
                "VSwitchId": mapping["VSwitchId"],
                "Status": "Active",
                "LoadBalancerAddresses": [{"IntranetAddress": mapping["IntranetAddress"]}],
            }
            for mapping in one.data["ZoneMappings"]
        ],
    }


@answers("alb", "DeleteLoadBalancer")
def delete_load_balancer(call: LocalCall, world: World) -> dict[str, Any]:
    one = load_balancer_of(call, world)
    if one.data["DeletionProtection"]:
        raise ApiError(
            400,
            "OperationDenied.DeletionProtection",
            f"The specified LoadBalancerId {one.id!r} is protected from deletion.",
        )
    if world.state(one) != "Active":
        raise ApiError(
            409,
            "IncorrectStatus.LoadBalancer",
            f"The load balancer {one.id!r} is {world.state(one)}; delete it when it is Active.",
        )
    stop_dry_run(call)
    for listener in list(world.each("listener", LoadBalancerId=one.id)):
        world.remove(listener)
    world.remove(one, state="Deleting", after_s=DELETE_S)
    return {"JobId": new_job(world, "DeleteLoadBalancer", "Delete", one, "loadbalancer", DELETE_S)}


@answers("alb", "ListAsynJobs")
def list_asyn_jobs(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    found = [
        job
        for job in world.each("alb_job", RegionId=call.region)
        if (not wanted.get("JobIds") or job.id in wanted["JobIds"])
        and (not wanted.get("ResourceIds") or job.data["ResourceId"] in wanted["ResourceIds"])
        and all(
            wanted.get(field) in (None, "", job.data[field])
            for field in ("ApiName", "ResourceType")
        )
        and job.born_ms >= (wanted.get("BeginTime") or 0)
        and job.born_ms <= (wanted.get("EndTime") or job.born_ms)
    ]
    page, about = tokened(call, found)
    return {
        **about,
        "Jobs": [
            {
                "Id": job.id,
                **{k: v for k, v in job.data.items() if k != "RegionId"},
                "Status": world.state(job),
                "CreateTime": job.born_ms,
                "ModifyTime": min(world.now_ms(), job.timeline[-1][0]),
            }
            for job in page
        ],
    }


@answers("alb", "DescribeZones")
def describe_zones(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "Zones": [{"ZoneId": zone, "LocalName": zone_name(zone)} for zone in zones_of(call.region)]
    }


def _vswitches(call: LocalCall, world: World, vpc_id: str) -> list[Thing]:
    """The vSwitches of ZoneMappings: two zones at least, each once, each vSwitch in its zone, with addresses left."""
    mappings = call.params["ZoneMappings"]
    if not 2 <= len(mappings) <= 10:
        raise wrong("InvalidParameter", "ZoneMappings", len(mappings), "2 to 10 zones")
    vswitches: list[Thing] = []
    for index, mapping in enumerate(mappings, 1):
        where = f"ZoneMappings.{index}"
        id, zone = mapping.get("VSwitchId"), mapping.get("ZoneId")
        if not id or not zone:
            raise needed(f"{where}.{'ZoneId' if id else 'VSwitchId'}")
        vswitch = world.find("vswitch", id)
        if vswitch is None or vswitch.data["VpcId"] != vpc_id:
            raise missing("ResourceNotFound.VSwitch", f"{where}.VSwitchId", id)
        if vswitch.data["ZoneId"] != zone:
            raise wrong(
                "InvalidParameter", f"{where}.ZoneId", zone, f"{id} is in {vswitch.data['ZoneId']}"
            )
        if any(other.data["ZoneId"] == zone for other in vswitches):
            raise wrong("InvalidParameter", f"{where}.ZoneId", zone, "each zone once")
        if free_ips_count(world, vswitch) < 2:
            raise wrong(
                "OperationDenied.NoEnoughIp",
                f"{where}.VSwitchId",
                id,
                "it has no two free addresses",
            )
        vswitches.append(vswitch)
    return vswitches


def _shown(world: World, one: Thing) -> dict[str, Any]:
    data = one.data
    return {
        "LoadBalancerId": one.id,
        **{
            field: data[field]
            for field in (
                "LoadBalancerName",
                "LoadBalancerEdition",
                "AddressType",
                "AddressAllocatedMode",
                "AddressIpVersion",
                "DNSName",
                "VpcId",
            )
        },
        "LoadBalancerStatus": world.state(one),
        "LoadBalancerBussinessStatus": "Normal",
        "LoadBalancerBillingConfig": {"PayType": "PostPay"},
        "DeletionProtectionConfig": {"Enabled": data["DeletionProtection"]},
        "ModificationProtectionConfig": {"Status": "NonProtection"},
        "LoadBalancerOperationLocks": [],
        "CreateTime": iso_s(one.born_ms),
        "Tags": written(one),
    }
