"""RocketMQ 5: instances.

An answer here is ``{"data": ...}``; the core puts the envelope around it. An instance is CREATING for minutes, and its
topics and groups can be made once it is RUNNING.
"""

from typing import Any

from saleops.services.cloud import list_pages, neighbours, tag_maps
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.documents import document_in
from saleops.services.cloud.networks import new_ip
from saleops.services.cloud.timestamps import spaced
from saleops.services.cloud.world import Thing, World

KIND, TOPIC, GROUP = "rocketmq_instance", "rocketmq_topic", "rocketmq_group"
INSTANCES_MOST = 50
SERIES = {
    "standard": ("cluster_ha", "single_node", "serverless"),
    "professional": ("cluster_ha", "serverless"),
    "ultimate": ("cluster_ha",),
}
TOPICS_FREE = {"standard": 1_000, "professional": 2_000, "ultimate": 5_000}


def refuse(name: str, value: Any, why: str, *, code: str = "Instance.InvalidParameter") -> ApiError:
    return ApiError(
        400, code, f"{name} {value!r}: {why}", dynamicCode=name, dynamicMessage=str(value)
    )


def _part(body: Any, name: str) -> dict[str, Any]:
    part = body.get(name)
    return part if isinstance(part, dict) else {}


@answers("rocketmq", "CreateInstance")
def create_instance(call: LocalCall, world: World) -> dict[str, Any]:
    body = call.body
    data = {"regionId": call.region, **_offer(body), **_network(call, world)}
    data["remark"] = body.get("remark") or ""
    data["resourceGroupId"] = body.get("resourceGroupId") or ""
    data["tags"] = tag_maps.from_pairs(body.get("tags"), names=("key", "value"))
    data["aclTypes"] = ["default"]
    data["vpcAuthFree"] = bool(_part(body, "aclInfo").get("defaultVpcAuthFree", False))
    there = sum(1 for _ in world.each(KIND, regionId=call.region))
    most = int(world.settings.get("quotas", {}).get("rocketmq.instances", INSTANCES_MOST))
    if there >= most:
        raise ApiError(
            403, "Instance.QuotaExceeded", f"there are {there} instances of {most} already"
        )
    instance_id = world.new_id("rmq-cn-" if call.region.startswith("cn-") else "rmq-", length=11)
    data["instanceName"] = body.get("instanceName") or instance_id
    data["changed_ms"] = world.now_ms()
    setup_s = 60 if data["subSeriesCode"] == "serverless" else 300
    world.create(KIND, instance_id, data, [("CREATING", setup_s), ("RUNNING", 0)])
    return {"data": instance_id}


def _offer(body: dict[str, Any]) -> dict[str, Any]:
    """What is bought, as far as its parts must fit together."""
    if body["serviceCode"] != "rmq":
        raise refuse("serviceCode", body["serviceCode"], "must be rmq")
    series, sub = body["seriesCode"], body["subSeriesCode"]
    if series not in SERIES:
        raise refuse("seriesCode", series, f"must be {', '.join(SERIES)}")
    if sub not in SERIES[series]:
        raise refuse("subSeriesCode", sub, f"seriesCode {series} has {', '.join(SERIES[series])}")
    payment = body["paymentType"]
    if payment not in ("PayAsYouGo", "Subscription"):
        raise refuse("paymentType", payment, "must be PayAsYouGo or Subscription")
    if payment == "Subscription" and not body.get("period"):
        raise refuse("period", body.get("period"), "is required with paymentType Subscription")
    if sub == "serverless" and not body.get("commodityCode"):
        raise refuse(
            "commodityCode", body.get("commodityCode"), "is required with subSeriesCode serverless"
        )
    product = _part(body, "productInfo")
    ratio = product.get("sendReceiveRatio", 0.5)
    if not 0.05 <= ratio <= 0.95:
        raise refuse("productInfo.sendReceiveRatio", ratio, "must be 0.05 to 0.95")
    hours = product.get("messageRetentionTime", 72)
    if not 24 <= hours <= 720:
        raise refuse("productInfo.messageRetentionTime", hours, "must be 24 to 720 hours")
    spec = product.get("msgProcessSpec")
    if sub != "serverless" and not (isinstance(spec, str) and spec.startswith("rmq.")):
        raise refuse(
            "productInfo.msgProcessSpec",
            spec,
            f"is required with subSeriesCode {sub}, such as rmq.p2.4xlarge",
        )
    return {
        "seriesCode": series,
        "subSeriesCode": sub,
        "paymentType": payment,
        "commodityCode": body.get("commodityCode") or "",
        "autoRenew": bool(body.get("autoRenew", False)),
        "productInfo": {
            **{
                name: value
                for name, value in product.items()
                if value is not None and name != "storageSecretKey"
            },
            "sendReceiveRatio": float(ratio),
            "messageRetentionTime": hours,
            "autoScaling": bool(product.get("autoScaling", False)),
            "supportAutoScaling": series != "standard",
            "traceOn": bool(product.get("traceOn", True)),
        },
    }


def _network(call: LocalCall, world: World) -> dict[str, Any]:
    network = call.body["networkInfo"]
    vpc, internet = network["vpcInfo"], network["internetInfo"]
    ids = [each.get("vSwitchId") for each in vpc.get("vSwitches") or []]
    ids = ids or [each for each in str(vpc.get("vSwitchId") or "").split("|") if each]
    where = "networkInfo.vpcInfo.vSwitches"
    if not ids:
        raise refuse(where, vpc.get("vSwitches"), "names no vSwitch")
    if len(set(ids)) < len(ids):
        raise refuse(where, ids, "names a vSwitch twice")
    if call.body["subSeriesCode"] == "serverless" and len(ids) < 2:
        raise refuse(where, ids, "subSeriesCode serverless needs two vSwitches")
    vswitches = [
        neighbours.network_of(
            world,
            vpc_id=vpc["vpcId"],
            vswitch_id=str(vswitch_id),
            vpc_name="networkInfo.vpcInfo.vpcId",
            vswitch_name=f"{where}[{number}].vSwitchId",
            vpc_code="Vpc.NotFound",
            vswitch_code="VSwitch.NotFound",
        )
        for number, vswitch_id in enumerate(ids)
    ]
    if internet["internetSpec"] not in ("enable", "disable"):
        raise refuse(
            "networkInfo.internetInfo.internetSpec",
            internet["internetSpec"],
            "must be enable or disable",
        )
    flow = internet["flowOutType"]
    if flow not in ("uninvolved", "payByBandwidth"):
        raise refuse(
            "networkInfo.internetInfo.flowOutType", flow, "must be uninvolved or payByBandwidth"
        )
    if (internet["internetSpec"] == "disable") != (flow == "uninvolved"):
        raise refuse(
            "networkInfo.internetInfo.flowOutType",
            flow,
            f"does not fit internetSpec {internet['internetSpec']}",
        )
    bandwidth = internet.get("flowOutBandwidth")
    if flow == "payByBandwidth" and not (isinstance(bandwidth, int) and 1 <= bandwidth <= 1_000):
        raise refuse(
            "networkInfo.internetInfo.flowOutBandwidth",
            bandwidth,
            "must be 1 to 1000 Mbit/s with payByBandwidth",
        )
    return {
        "vpcId": vpc["vpcId"],
        "vSwitchIds": list(ids),
        "zones": [neighbours.zone_of(vswitch) for vswitch in vswitches],
        "ips": [new_ip(world, vswitch) for vswitch in vswitches],
        "securityGroupIds": vpc.get("securityGroupIds") or "",
        "internetInfo": {name: value for name, value in internet.items() if value is not None},
    }


@answers("rocketmq", "GetInstance")
def get_instance(call: LocalCall, world: World) -> dict[str, Any]:
    thing = instance_of(call, world)
    data, product = thing.data, thing.data["productInfo"]
    topics, free = _count(world, TOPIC, thing), TOPICS_FREE[data["seriesCode"]]
    endpoints: list[dict[str, Any]] = [
        {
            "endpointType": "TCP_VPC",
            "endpointUrl": f"{thing.id}-vpc.{data['regionId']}.rmq.aliyuncs.com:8080",
        }
    ]
    if data["internetInfo"]["internetSpec"] == "enable":
        endpoints.append(
            {
                "endpointType": "TCP_INTERNET",
                "endpointUrl": f"{thing.id}.{data['regionId']}.rmq.aliyuncs.com:8080",
                "ipWhitelist": data["internetInfo"].get("ipWhitelist") or [],
            }
        )
    more = {
        "accountInfo": {"username": f"{thing.id}-user"},
        "aclInfo": {"aclTypes": data["aclTypes"], "defaultVpcAuthFree": data["vpcAuthFree"]},
        "autoRenew": data["autoRenew"],
        "instanceQuotas": [
            {
                "quotaName": "TOPIC_COUNT",
                "totalCount": float(free),
                "freeCount": float(max(free - topics, 0)),
                "usedCount": float(topics),
            }
        ],
        "networkInfo": {
            "endpoints": endpoints,
            "internetInfo": data["internetInfo"],
            "vpcInfo": {
                "securityGroupIds": data["securityGroupIds"],
                "vSwitchId": data["vSwitchIds"][0],
                "vSwitches": [
                    {"vSwitchId": vswitch_id, "zoneId": zone}
                    for vswitch_id, zone in zip(data["vSwitchIds"], data["zones"], strict=True)
                ],
                "vpcId": data["vpcId"],
            },
        },
        "productInfo": product,
        "software": {
            "maintainTime": "02:00-06:00",
            "softwareVersion": "5.0",
            "upgradeMethod": "auto",
        },
    }
    return {"data": {**_line(thing, world), **more}}


def _count(world: World, kind: str, instance: Thing) -> int:
    return sum(1 for _ in world.each(kind, instanceId=instance.id))


def _line(thing: Thing, world: World) -> dict[str, Any]:
    data = thing.data
    same = (
        "instanceName",
        "paymentType",
        "regionId",
        "remark",
        "resourceGroupId",
        "seriesCode",
        "subSeriesCode",
        "commodityCode",
    )
    return {
        **{name: data[name] for name in same},
        "createTime": spaced(thing.born_ms),
        "groupCount": _count(world, GROUP, thing),
        "instanceId": thing.id,
        "productInfo": {"traceOn": data["productInfo"]["traceOn"]},
        "serviceCode": "rmq",
        "startTime": spaced(thing.born_ms),
        "status": world.state(thing),
        "tags": tag_maps.to_pairs(data["tags"], names=("key", "value")),
        "topicCount": _count(world, TOPIC, thing),
        "updateTime": spaced(data["changed_ms"]),
        "userId": world.account,
    }


@answers("rocketmq", "ListInstances")
def list_instances(call: LocalCall, world: World) -> dict[str, Any]:
    """``filter`` is part of an id or a name; ``tags`` a JSON list of ``{"key", "value"}``."""
    params = call.params
    wanted = [
        {"Key": each.get("key"), "Value": each.get("value")}
        for each in json_pairs(params.get("tags"), "tags")
    ]
    series = as_list(params.get("seriesCodes"))
    found = [
        thing
        for thing in world.listed(KIND, regionId=call.region)
        if str(params.get("filter") or "") in f"{thing.id} {thing.data['instanceName']}"
        and (not series or thing.data["seriesCode"] in series)
        and params.get("resourceGroupId") in (None, "", thing.data["resourceGroupId"])
        and tag_maps.matches(thing.data["tags"], wanted)
    ]
    page, counts = list_pages.clamped(found, params)
    return {"data": {"list": [_line(thing, world) for thing in page], **counts}}


def as_list(sent: Any) -> list[str]:
    """``A,B`` or a list."""
    if isinstance(sent, str):
        return [each.strip() for each in sent.split(",") if each.strip()]
    return [str(each) for each in sent or ()]


def json_pairs(sent: Any, name: str) -> list[dict[str, Any]]:
    if sent in (None, ""):
        return []
    pairs = document_in(sent, name, code="Instance.InvalidParameter")
    if not isinstance(pairs, list) or not all(isinstance(each, dict) for each in pairs):
        raise refuse(name, sent, "is not a JSON list of key and value")
    return pairs


@answers("rocketmq", "UpdateInstance")
def update_instance(call: LocalCall, world: World) -> dict[str, Any]:
    thing, body = running(call, world), call.body or {}
    product = {
        name: value for name, value in _part(body, "productInfo").items() if value is not None
    }
    if not 0.05 <= product.get("sendReceiveRatio", 0.5) <= 0.95:
        raise refuse(
            "productInfo.sendReceiveRatio", product["sendReceiveRatio"], "must be 0.05 to 0.95"
        )
    if not 24 <= product.get("messageRetentionTime", 72) <= 720:
        raise refuse(
            "productInfo.messageRetentionTime",
            product["messageRetentionTime"],
            "must be 24 to 720 hours",
        )
    changed: dict[str, Any] = {
        name: body[name] for name in ("instanceName", "remark") if body.get(name) is not None
    }
    internet = _part(_part(body, "networkInfo"), "internetInfo")
    if internet.get("ipWhitelist") is not None:
        changed["internetInfo"] = {
            **thing.data["internetInfo"],
            "ipWhitelist": internet["ipWhitelist"],
        }
    acl = _part(body, "aclInfo")
    if acl.get("aclTypes"):
        changed["aclTypes"] = list(acl["aclTypes"])
    if acl.get("defaultVpcAuthFree") is not None:
        changed["vpcAuthFree"] = bool(acl["defaultVpcAuthFree"])
    world.update(
        thing,
        **changed,
        productInfo={**thing.data["productInfo"], **product},
        changed_ms=world.now_ms(),
    )
    return {"data": True}


@answers("rocketmq", "DeleteInstance")
def delete_instance(call: LocalCall, world: World) -> dict[str, Any]:
    """Topics and groups must be gone; a subscription ends by itself."""
    thing = instance_of(call, world)
    if thing.data["paymentType"] != "PayAsYouGo":
        raise ApiError(
            400,
            "Instance.NotSupportOperation",
            f"instanceId {thing.id!r} is {thing.data['paymentType']}: it cannot be released",
        )
    for kind, what in ((GROUP, "consumer groups"), (TOPIC, "topics")):
        left = [each.data["name"] for each in world.each(kind, instanceId=thing.id)]
        if left:
            raise ApiError(
                400,
                "Instance.DependencyViolation",
                f"instanceId {thing.id!r} has {len(left)} {what}: {', '.join(left[:5])}",
            )
    running(call, world)
    world.remove(thing, state="RELEASED", after_s=60)
    return {"data": True}


def instance_of(call: LocalCall, world: World) -> Thing:
    return found_instance(world, call.path["instanceId"])


def running(call: LocalCall, world: World) -> Thing:
    """The instance, which must be ready to be changed."""
    thing = instance_of(call, world)
    state = world.state(thing)
    if state != "RUNNING":
        raise ApiError(
            400,
            "Instance.StatusNotRunning",
            f"instanceId {thing.id!r} is {state}; it must be RUNNING",
        )
    return thing


def found_instance(world: World, instance_id: str) -> Thing:
    thing = world.find(KIND, instance_id)
    if thing is None:
        raise ApiError(
            404,
            "Instance.NotFound",
            f"instanceId does not exist: {instance_id!r}",
            dynamicCode="InstanceId",
            dynamicMessage=instance_id,
        )
    return thing
