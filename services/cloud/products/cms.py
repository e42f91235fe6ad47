"""CloudMonitor: metrics of things that exist, system events (the reclaim of spot instances), and alert rules.

``settings["metrics"]`` says what is measured: ``{"acs_ecs_dashboard/CPUUtilization": 71.5}`` for all, or a map by resource id:
``{"acs_kvstore/StandardCpuUsage": {"tair-1": 88}}``. What it does not say is low and the seed's.
"""

from collections.abc import Mapping
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.documents import compact, document_in
from saleops.services.cloud.list_pages import numbered
from saleops.services.cloud.products.cs_spot import SYSTEM_EVENT
from saleops.services.cloud.timestamps import iso_s, ms_of
from saleops.services.cloud.world import Thing, World

METRICS: dict[str, tuple[str, str, dict[str, str]]] = {
    # namespace: (kind of thing, dimension, metric -> unit)
    "acs_ecs_dashboard": (
        "instance",
        "instanceId",
        {
            "CPUUtilization": "%",
            "memory_usedutilization": "%",
            "load_1m": "",
            "InternetOutRate": "bit/s",
        },
    ),
    "acs_kvstore": (
        "tair",
        "instanceId",
        {
            "StandardCpuUsage": "%",
            "StandardMemoryUsage": "%",
            "StandardConnectionUsage": "%",
            "ShardingCpuUsage": "%",
            "ShardingMemoryUsage": "%",
            "ShardingUsedQPS": "Count",
        },
    ),
    "acs_polardb": (
        "polardb_cluster",
        "clusterId",
        {
            "cluster_cpu_utilization": "%",
            "cluster_memory_utilization": "%",
            "cluster_connection_utilization": "%",
            "cluster_replica_lag": "s",
        },
    ),
    "acs_alb": (
        "load_balancer",
        "loadBalancerId",
        {
            "LoadBalancerQPS": "Count/s",
            "LoadBalancerActiveConnection": "Count",
            "LoadBalancerRequestTime": "ms",
            "LoadBalancerHTTPCode5XX": "Count/s",
        },
    ),
    "acs_rocketmq": (
        "rocketmq_instance",
        "instanceId",
        {
            "InstanceSendApiCallTps": "Count/s",
            "ConsumerLagPerGroup": "Count",
            "ThrottledSendRequests": "Count",
        },
    ),
    "acs_dcdn": ("dcdn_domain", "instanceId", {"QPS": "Count/s", "hitRate": "%", "code5xx": "%"}),
    "acs_nat_gateway": (
        "nat_gateway",
        "instanceId",
        {"SnatConnection": "Count", "SnatConnectionDrop_ConcurrentConnectionLimit": "Count/m"},
    ),
    "acs_vpc_eip": (
        "eip",
        "instanceId",
        {"net_out.rate_percentage": "%", "out_ratelimit_drop_speed": "pps"},
    ),
}
RESOURCES_MOST = 50
_PERIODS_S = (15, 60, 900, 3_600)


def _metric(call: LocalCall) -> tuple[str, str, tuple[str, str, dict[str, str]]]:
    namespace, name = call.params["Namespace"], call.params["MetricName"]
    known = METRICS.get(namespace)
    if known is None:
        raise ApiError(
            404, "ResourceNotFound", f"Namespace does not exist: {namespace!r}", Success=False
        )
    if name not in known[2]:
        raise ApiError(
            404,
            "ResourceNotFound",
            f"MetricName of {namespace} does not exist: {name!r}",
            Success=False,
        )
    return namespace, name, known


def _things(call: LocalCall, world: World, kind: str, dimension: str) -> list[Thing]:
    sent = call.params.get("Dimensions")
    if not sent:
        return list(world.each(kind))
    wanted = document_in(sent, "Dimensions")
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if len(wanted) > RESOURCES_MOST or not all(isinstance(each, Mapping) for each in wanted):
        raise ApiError(
            400,
            "ParameterInvalid",
            f"Dimensions must be objects, {RESOURCES_MOST} at most: {sent!r:.200}",
            Success=False,
        )
    ids = [str(each.get(dimension, "")) for each in wanted]
    if any(not each for each in ids) and not any("userId" in each for each in wanted):
        raise ApiError(
            400, "ParameterInvalid", f"Dimensions need {dimension}: {sent!r:.200}", Success=False
        )
    if any("userId" in each and dimension not in each for each in wanted):
        return list(world.each(kind))
    return [thing for each in ids if (thing := world.find(kind, each)) is not None]


def _period_s(call: LocalCall) -> int:
    sent = str(call.params.get("Period") or "60")
    if sent not in map(str, _PERIODS_S):
        raise ApiError(
            400,
            "ParameterInvalid",
            f"Period must be 15, 60, 900 or 3600, not {sent!r}",
            Success=False,
        )
    return int(sent)


def _value(world: World, namespace: str, name: str, unit: str, thing: Thing, at_ms: int) -> float:
    told = world.settings.get("metrics", {}).get(f"{namespace}/{name}")
    if isinstance(told, Mapping):
        told = told.get(thing.id)
    if told is not None:
        return float(told)
    top = 12.0 if unit == "%" else 30.0
    return round(top * chance(world, namespace, name, thing.id, at_ms), 2)


def _points(call: LocalCall, world: World, moments: list[int]) -> list[dict[str, Any]]:
    namespace, name, (kind, dimension, units) = _metric(call)
    points = []
    for thing in _things(call, world, kind, dimension):
        for at_ms in moments:
            if at_ms < thing.born_ms:
                continue
            value = _value(world, namespace, name, units[name], thing, at_ms)
            points.append(
                {
                    "timestamp": at_ms,
                    "userId": world.account,
                    dimension: thing.id,
                    "Minimum": round(value * 0.9, 2),
                    "Maximum": round(value * 1.1, 2),
                    "Average": value,
                    "Value": value,
                }
            )
    return points


def _answer(points: list[dict[str, Any]], period_s: int) -> dict[str, Any]:
    return {"Code": "200", "Datapoints": compact(points), "Period": str(period_s), "Success": True}


@answers("cms", "DescribeMetricLast")
def describe_metric_last(call: LocalCall, world: World) -> dict[str, Any]:
    """The newest value of each resource."""
    period_s = _period_s(call)
    _length(call)
    step_ms = period_s * 1_000
    return _answer(_points(call, world, [world.now_ms() // step_ms * step_ms]), period_s)


@answers("cms", "DescribeMetricList")
def describe_metric_list(call: LocalCall, world: World) -> dict[str, Any]:
    period_s, length = _period_s(call), _length(call)
    end_ms = _moment(call, "EndTime") or world.now_ms()
    start_ms = _moment(call, "StartTime") or end_ms - 3_600_000
    if end_ms <= start_ms:
        raise ApiError(
            400,
            "ParameterInvalid",
            f"EndTime {call.params.get('EndTime')!r} must be after StartTime",
            Success=False,
        )
    step_ms = period_s * 1_000
    first_ms = -(-start_ms // step_ms) * step_ms
    moments = list(range(first_ms, min(end_ms, world.now_ms()) + 1, step_ms))[: length + 1]
    points = _points(call, world, moments)
    token = str(call.params.get("NextToken") or "0")
    if not token.isdecimal() or len(token) > 12:
        raise ApiError(
            400, "ParameterInvalid", f"NextToken is none of ours: {token!r}", Success=False
        )
    begin = int(token)
    answer = _answer(points[begin : begin + length], period_s)
    if begin + length < len(points):
        answer["NextToken"] = str(begin + length)
    return answer


def _length(call: LocalCall) -> int:
    sent = str(call.params.get("Length") or "1000")
    if not sent.isdecimal() or not 1 <= int(sent) <= 1_440:
        raise ApiError(
            400, "ParameterInvalid", f"Length must be 1 to 1440, not {sent!r}", Success=False
        )
    return int(sent)


def _moment(call: LocalCall, name: str) -> int | None:
    """A time in milliseconds, or written out."""
    sent = str(call.params.get(name) or "")
    if sent.isdecimal():
        return int(sent) if len(sent) > 10 else int(sent) * 1_000
    return ms_of(call, name)


@answers("cms", "DescribeMetricMetaList")
def describe_metric_meta_list(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    found = [
        {
            "Description": name,
            "Dimensions": f"userId,{dimension}",
            "Labels": "[]",
            "MetricName": name,
            "Namespace": namespace,
            "Periods": ",".join(map(str, _PERIODS_S)),
            "Statistics": "Average,Minimum,Maximum",
            "Unit": unit,
        }
        for namespace, (_, dimension, units) in METRICS.items()
        for name, unit in units.items()
        if params.get("Namespace") in (None, "", namespace)
        and params.get("MetricName") in (None, "", name)
    ]
    page, counts = numbered(found, params, default=30, most=10_000)
    return {
        "Code": "200",
        "Resources": {"Resource": page},
        "Success": True,
        "TotalCount": str(counts["TotalCount"]),
    }


@answers("cms", "DescribeSystemEventAttribute")
def describe_system_event_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    """Events of the asked time, the newest first; the last day without one."""
    params = call.params
    end_ms = _moment(call, "EndTime") or world.now_ms()
    start_ms = _moment(call, "StartTime") or end_ms - 86_400_000
    words = str(params.get("SearchKeywords") or "")
    found = [
        event
        for event in world.each(SYSTEM_EVENT)
        if start_ms <= int(event.data.get("Time", event.born_ms)) <= end_ms
        and all(
            params.get(name) in (None, "", event.data.get(name))
            for name in ("Level", "Name", "Product", "Status", "GroupId")
        )
        and _found_by(words, compact(event.data))
    ]
    found.sort(key=lambda event: -int(event.data.get("Time", event.born_ms)))
    page, _ = numbered(found, params, default=10, most=100)
    return {
        "Code": "200",
        "Message": "success",
        "Success": "true",
        "SystemEvents": {"SystemEvent": [_event(each) for each in page]},
    }


def _found_by(words: str, text: str) -> bool:
    if " or " in words:
        return any(word.strip() in text for word in words.split(" or "))
    return all(word.strip() in text for word in words.split(" and "))


def _event(event: Thing) -> dict[str, Any]:
    data = event.data
    content = data.get("Content", "")
    names = (
        "GroupId",
        "InstanceName",
        "Level",
        "Name",
        "Product",
        "RegionId",
        "ResourceId",
        "Status",
    )
    return {
        **{name: str(data.get(name, "")) for name in names},
        "Content": content if isinstance(content, str) else compact(content),
        "Id": event.id,
        "Time": int(data.get("Time", event.born_ms)),
    }


RULE = "alert_rule"


@answers("cms", "PutResourceMetricRule")
def put_resource_metric_rule(call: LocalCall, world: World) -> dict[str, Any]:
    """Made, or overwritten where the id exists."""
    params = call.params
    _metric(call)
    if (
        not params.get("Escalations")
        and not params.get("CompositeExpression")
        and not params.get("Prometheus")
    ):
        raise ApiError(
            400,
            "ParameterInvalid",
            "Escalations is missing: a rule needs a threshold",
            Success=False,
        )
    resources = document_in(params.get("Resources") or "[]", "Resources")
    data = {
        **{
            name: str(params.get(name) or "")
            for name in (
                "ContactGroups",
                "MetricName",
                "Namespace",
                "RuleName",
                "Period",
                "Webhook",
            )
        },
        "Escalations": dict(params.get("Escalations") or {}),
        "Resources": compact(resources),
        "SilenceTime": int(params.get("SilenceTime") or 86_400),
    }
    world.create(RULE, params["RuleId"], data)
    return {"Code": "200", "Success": True}


@answers("cms", "DescribeMetricRuleList")
def describe_metric_rule_list(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    ids = [each.strip() for each in str(params.get("RuleIds") or "").split(",") if each.strip()]
    found = [
        rule
        for rule in world.each(RULE)
        if (not ids or rule.id in ids)
        and all(
            params.get(name) in (None, "", rule.data[name]) for name in ("MetricName", "Namespace")
        )
        and str(params.get("RuleName") or "") in rule.data["RuleName"]
        and params.get("AlertState") in (None, "", "OK")
    ]
    page, counts = numbered(found, params, default=10, most=100, names=("Page", "PageSize"))
    alarms = [
        {
            **rule.data,
            "AlertState": "OK",
            "EnableState": True,
            "GmtUpdate": iso_s(rule.born_ms),
            "RuleId": rule.id,
        }
        for rule in page
    ]
    return {
        "Alarms": {"Alarm": alarms},
        "Code": 200,
        "Success": True,
        "Total": str(counts["TotalCount"]),
    }
