"""MSE: flow, circuit-breaker, isolation and web flow rules of applications.

A rule is about a resource of an application in a namespace. Applications register themselves when they start, which nobody
does here: one is known from its first rule on, or from ``settings["mse"]["apps"]`` (names), which then are the only ones.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.documents import document_in
from saleops.services.cloud.list_pages import numbered
from saleops.services.cloud.world import Thing, World

KIND = "mse_rule"
RULES_MOST = 1_000


def _wrong(name: str, value: Any, why: str) -> ApiError:
    return ApiError(400, "InvalidParameter", f"{name} {value!r}: {why}", Success=False)


def _check_range(rule: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = rule.get(name)
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise _wrong(name, value, f"must be {low:g} to {high:g}")


def _check_flow(rule: Mapping[str, Any]) -> None:
    _check_range(rule, "Threshold", 0, 100_000_000)
    behavior = rule["ControlBehavior"]
    if behavior not in (0, 2):
        raise _wrong("ControlBehavior", behavior, "must be 0 (reject) or 2 (queue)")
    if behavior == 2:
        if rule.get("MaxQueueingTimeMs") is None:
            raise _wrong("MaxQueueingTimeMs", None, "is required with ControlBehavior 2")
        _check_range(rule, "MaxQueueingTimeMs", 0, 3_600_000)


def _check_circuit(rule: Mapping[str, Any]) -> None:
    if rule["Strategy"] not in (0, 1):
        raise _wrong("Strategy", rule["Strategy"], "must be 0 (slow calls) or 1 (errors)")
    _check_range(rule, "Threshold", 0, 1)
    if rule["Strategy"] == 0 and rule.get("MaxAllowedRtMs") is None:
        raise _wrong("MaxAllowedRtMs", None, "is required with Strategy 0")
    _check_range(rule, "MaxAllowedRtMs", 0, 3_600_000)
    _check_range(rule, "StatIntervalMs", 1_000, 7_200_000)
    retry_ms = rule["RetryTimeoutMs"]
    if retry_ms < 1_000 or retry_ms % 1_000:
        raise _wrong("RetryTimeoutMs", retry_ms, "must be whole seconds in milliseconds")
    for name in ("MinRequestAmount", "HalfOpenBaseAmountPerStep", "HalfOpenRecoveryStepNum"):
        _check_range(rule, name, 1, 1_000_000)


def _check_isolation(rule: Mapping[str, Any]) -> None:
    _check_range(rule, "Threshold", 0, 1_000_000)


def _check_web(rule: Mapping[str, Any]) -> None:
    _check_flow(rule)
    if rule["ResourceMode"] not in (0, 1):
        raise _wrong("ResourceMode", rule["ResourceMode"], "must be 0 (interface) or 1 (group)")


_FIELDS: dict[
    str, dict[str, Any]
] = {  # field -> what it is when it is not sent; ... for those that must be
    "flow": {
        "ControlBehavior": 0,
        "Enable": ...,
        "LimitApp": "default",
        "MaxQueueingTimeMs": 0,
        "Resource": ...,
        "Threshold": ...,
    },
    "circuit": {
        "Enable": ...,
        "HalfOpenBaseAmountPerStep": 1,
        "HalfOpenRecoveryStepNum": 1,
        "MaxAllowedRtMs": None,
        "MinRequestAmount": 10,
        "Resource": ...,
        "RetryTimeoutMs": 10_000,
        "StatIntervalMs": 20_000,
        "Strategy": ...,
        "Threshold": ...,
    },
    "isolation": {"Enable": ..., "LimitApp": "default", "Resource": ..., "Threshold": ...},
    "web": {
        "Burst": 0,
        "ControlBehavior": 0,
        "Enable": True,
        "MaxQueueingTimeMs": 0,
        "MetricType": 1,
        "Resource": ...,
        "ResourceMode": ...,
        "StatIntervalMs": 1_000,
        "Threshold": ...,
    },
}
_CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "flow": _check_flow,
    "circuit": _check_circuit,
    "isolation": _check_isolation,
    "web": _check_web,
}
_APIS = {"flow": "Flow", "circuit": "CircuitBreaker", "isolation": "Isolation", "web": "WebFlow"}


def _done(data: Any, code: Any = "200") -> dict[str, Any]:
    return {"Code": code, "Data": data, "Message": "success", "Success": True}


def _create(kind: str, call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    namespace = params.get("Namespace") or "default"
    known = world.settings.get("mse", {}).get("apps")
    if known is not None and params["AppName"] not in known:
        raise ApiError(
            404, "AppNotFound", f"AppName does not exist: {params['AppName']!r}", Success=False
        )
    values = {
        name: params[name] if default is ... else _given(params, name, default)
        for name, default in _FIELDS[kind].items()
    }
    _CHECKS[kind](_with_unset(values, params))
    if sum(1 for _ in world.each(KIND, type=kind, AppName=params["AppName"])) >= RULES_MOST:
        raise ApiError(
            403,
            "RuleLimitExceeded",
            f"AppName {params['AppName']!r} has {RULES_MOST} rules already",
            Success=False,
        )
    world.ids_count += 1
    rule_id = str(100_000 + world.ids_count)
    data = {
        "type": kind,
        "AppName": params["AppName"],
        "AppId": params.get("AppId") or f"{namespace}@{params['AppName']}",
        "Namespace": namespace,
        "RegionId": params.get("RegionId") or call.region,
        "values": values,
    }
    return _done(_shown(world.create(KIND, rule_id, data), kind, "Id"))


def _with_unset(values: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """What the checks look at: a queueing time that nobody sent is none, whatever the answer shows."""
    seen = dict(values)
    if "MaxQueueingTimeMs" in values and params.get("MaxQueueingTimeMs") is None:
        seen["MaxQueueingTimeMs"] = None
    return seen


def _given(params: Mapping[str, Any], name: str, default: Any) -> Any:
    value = params.get(name)
    return default if value is None else value


def _shown(rule: Thing, kind: str, id_name: str) -> dict[str, Any]:
    data = rule.data
    shown = {name: data[name] for name in ("AppId", "AppName", "Namespace", "RegionId")}
    shown.update({name: value for name, value in data["values"].items() if value is not None})
    if not (kind == "isolation" and id_name == "RuleId"):
        shown["Threshold"] = float(shown["Threshold"])
    else:
        shown["Threshold"] = int(shown["Threshold"])
    if kind == "web" and id_name == "Id":
        shown["ReourceMode"] = shown.pop("ResourceMode")  # spelled so by the API
    shown[id_name] = rule.id if kind == "web" and id_name == "RuleId" else int(rule.id)
    return shown


def _list(kind: str, call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    found = [
        rule
        for rule in world.each(KIND, type=kind, AppName=params["AppName"])
        if params.get("Namespace") in (None, "", rule.data["Namespace"])
        and params.get("Resource") in (None, "", rule.data["values"]["Resource"])
        and str(params.get("ResourceSearchKey") or "") in rule.data["values"]["Resource"]
    ]
    page, counts = numbered(found, params, default=10, most=100, names=("PageIndex", "PageSize"))
    data = {
        "PageNumber": counts["PageNumber"],
        "PageSize": counts["PageSize"],
        "Result": [_shown(rule, kind, "RuleId") for rule in page],
        "TotalSize": counts["TotalCount"],
    }
    return {**_done(data, 200), "HttpStatusCode": 200}


def _rule(world: World, kind: str, call: LocalCall, rule_id: Any, name: str) -> Thing:
    rule = world.find(KIND, str(rule_id))
    params = call.params
    if rule is None or rule.data["type"] != kind or rule.data["AppName"] != params["AppName"]:
        raise ApiError(
            404,
            "RuleNotFound",
            f"{name} is no rule of AppName {params['AppName']!r}: {rule_id!r}",
            Success=False,
        )
    return rule


def _update(kind: str, call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    rule = _rule(world, kind, call, params["RuleId"], "RuleId")
    changed = {
        name: params[name]
        for name in _FIELDS[kind]
        if name != "Resource" and params.get(name) is not None
    }
    values = {**rule.data["values"], **changed}
    _CHECKS[kind](values)
    world.update(rule, values=values)
    shown = _shown(rule, kind, "Id")
    shown.pop("RegionId")
    return _done(shown)


def _delete(kind: str, call: LocalCall, world: World) -> dict[str, Any]:
    ids = document_in(call.params.get("Ids") or [], "Ids")
    ids = ids if isinstance(ids, list) else [ids]
    rules = [_rule(world, kind, call, each, "Ids") for each in ids]
    for rule in rules:
        world.remove(rule)
    return {**_done([int(rule.id) for rule in rules], 200), "HttpStatusCode": 200}


def _register(kind: str, word: str) -> None:
    for api, answerer in (
        (f"Create{word}Rule", _create),
        (f"List{word}Rules", _list),
        (f"Update{word}Rule", _update),
        (f"Delete{word}Rules", _delete),
    ):
        if api == "UpdateWebFlowRule":
            continue  # not among the APIs that saleops knows
        answers("mse", api)(partial(answerer, kind))


for _kind, _word in _APIS.items():
    _register(_kind, _word)


@answers("mse", "GetApplicationList")
def get_application_list(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    known = {(rule.data["AppName"], rule.data["Namespace"]): rule for rule in world.each(KIND)}
    names = dict.fromkeys(
        [*((name, "default") for name in world.settings.get("mse", {}).get("apps", ())), *known]
    )
    found = [
        {
            "AppId": f"{namespace}@{name}",
            "AppName": name,
            "InstancesNumber": 0,
            "Language": "",
            "Namespace": namespace,
            "RegionId": params["Region"],
            "Source": "edasmsc",
            "Status": 1,
            "UserId": world.account,
        }
        for name, namespace in names
        if str(params.get("AppName") or "") in name
        and params.get("Namespace") in (None, "", namespace)
    ]
    page, counts = numbered(found, params, default=10, most=100)
    data = {
        "PageNumber": counts["PageNumber"],
        "PageSize": counts["PageSize"],
        "Result": page,
        "TotalSize": counts["TotalCount"],
    }
    return {"Data": data, "Message": "success", "Success": True}


@answers("mse", "ListNamespaces")
def list_namespaces(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    apps: dict[str, set[str]] = {"default": set()}
    for rule in world.each(KIND):
        apps.setdefault(rule.data["Namespace"], set()).add(rule.data["AppName"])
    found = [
        {
            "AppCount": len(names),
            "Describe": "",
            "InstanceCount": 0,
            "Namespace": namespace,
            "Region": params["Region"],
            "UserId": world.account,
            "Version": 1,
        }
        for namespace, names in apps.items()
        if str(params.get("Name") or "") in namespace
    ]
    page, counts = numbered(found, params, default=10, most=100)
    data = {
        "PageNumber": counts["PageNumber"],
        "PageSize": counts["PageSize"],
        "Result": page,
        "TotalSize": counts["TotalCount"],
    }
    return {"Data": data}
