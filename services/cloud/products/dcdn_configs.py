"""DCDN: what the edge does with requests of a domain: cache rules, headers, conditions.

A function is known by name and checked argument by argument. Setting a function again changes it; functions of one name
under several arguments (a TTL a file type) are told apart by what they are about. Each change takes a minute to reach the edge.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.documents import objects_in
from saleops.services.cloud.products.dcdn_domains import CONFIG as KIND
from saleops.services.cloud.products.dcdn_domains import KIND as DOMAIN
from saleops.services.cloud.products.dcdn_domains import domain_of
from saleops.services.cloud.world import Thing, World

DOMAINS_A_CALL = 50

FUNCTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    # name: (arguments it must have, arguments it may have, the argument that tells two of them apart)
    "filetype_based_ttl_set": (
        ("file_type", "ttl"),
        ("weight", "swift_origin_cache_high", "swift_no_cache_low", "swift_follow_cachetime"),
        "file_type",
    ),
    "path_based_ttl_set": (
        ("path", "ttl"),
        ("weight", "swift_origin_cache_high", "swift_no_cache_low", "swift_follow_cachetime"),
        "path",
    ),
    "default_ttl_code": (("default_ttl_code",), (), ""),
    "path_ttl_code": (("path", "code_string"), (), "path"),
    "set_hashkey_args": (("hashkey_args", "disable"), ("keep_oss_args",), ""),
    "ali_remove_args": (("ali_remove_args", "keep_oss_args"), (), ""),
    "set_resp_header": (
        ("key", "value"),
        ("header_operation_type", "duplicate", "header_source", "header_destination"),
        "key",
    ),
    "set_req_header": (("key", "value"), (), "key"),
    "set_req_host_header": (("domain_name",), (), ""),
    "forward_scheme": (("enable",), ("scheme_origin", "scheme_origin_port"), ""),
    "forward_timeout": (("forward_timeout",), (), ""),
    "https_force": (("enable",), ("https_rewrite",), ""),
    "https_option": ((), ("http2", "ocsp_stapling"), ""),
    "HSTS": (("enabled",), ("https_hsts_max_age", "https_hsts_include_subdomains"), ""),
    "gzip": (("enable",), (), ""),
    "brotli": (("enable",), ("brotli_level",), ""),
    "tesla": (("enable",), ("trim_css", "trim_js"), ""),
    "range": (("enable",), (), ""),
    "dynamic": (
        ("enable",),
        (
            "dynamic_route_tracing",
            "static_route_type",
            "static_route_url",
            "static_route_path",
            "dynamic_route_origin",
        ),
        "",
    ),
    "error_page": (("error_code", "rewrite_page"), (), "error_code"),
    "host_redirect": (("regex", "replacement", "flag"), (), "regex"),
    "ip_allow_list_set": (("ip_list",), (), ""),
    "ip_black_list_set": (("ip_list",), (), ""),
    "condition": (("rule",), (), "rule"),
    "edge_function": (("rule", "name", "enable"), ("pri", "pos", "brk", "option"), "name"),
}
_TTL_MOST_S = 94_608_000


@answers("dcdn", "BatchSetDcdnDomainConfigs")
def batch_set_dcdn_domain_configs(call: LocalCall, world: World) -> dict[str, Any]:
    """Every domain and every function is checked before the first one is set."""
    names = [each.strip().lower() for each in call.params["DomainNames"].split(",") if each.strip()]
    if not 1 <= len(names) <= DOMAINS_A_CALL:
        raise ApiError(
            400,
            "DomainNameOverLimit",
            f"DomainNames names {len(names)} domains; 1 to {DOMAINS_A_CALL} are allowed",
        )
    domains = [_ready(world, name) for name in names]
    wanted = [
        _function(each, number)
        for number, each in enumerate(
            objects_in(call.params["Functions"], "Functions", code="InvalidFunctions.Malformed")
        )
    ]
    if not wanted:
        raise ApiError(400, "InvalidFunctions.Malformed", "Functions is empty")
    for domain in domains:
        for function in wanted:
            parent = function["ParentId"]
            if parent and (
                world.find(KIND, parent) is None
                or _config(world, parent).data["DomainName"] != domain.id
            ):
                raise ApiError(
                    404,
                    "InvalidParentId.NotFound",
                    f"parentid is no configuration of {domain.id!r}: {parent!r}",
                )
    models = []
    for domain in domains:
        for function in wanted:
            config = _set(world, domain, function)
            models.append(
                {
                    "ConfigId": int(config.id),
                    "DomainName": domain.id,
                    "FunctionName": function["FunctionName"],
                }
            )
    return {"DomainConfigList": {"DomainConfigModel": models}}


def _config(world: World, config_id: str) -> Thing:
    thing = world.find(KIND, config_id)
    if thing is None:
        raise ApiError(404, "ConfigNotFound", f"ConfigId does not exist: {config_id!r}")
    return thing


def _ready(world: World, name: str) -> Thing:
    domain = world.find(DOMAIN, name)
    if domain is None:
        raise ApiError(
            404, "InvalidDomain.NotFound", f"DomainNames names no domain of yours: {name!r}"
        )
    state = world.state(domain)
    if state in ("configuring", "checking"):
        raise ApiError(
            403, "ServiceBusy", f"DomainNames: {name!r} is being configured: try again later"
        )
    if state != "online":
        raise ApiError(
            400, "InvalidDomain.Offline", f"DomainNames: {name!r} is {state}, not online"
        )
    return domain


def _function(sent: dict[str, Any], number: int) -> dict[str, Any]:
    where, code = f"Functions[{number}]", "InvalidFunctions.Malformed"
    unknown = sorted(
        set(sent) - {"functionName", "functionArgs", "parentId", "parentid", "configId"}
    )
    if unknown:
        raise ApiError(400, code, f"{where} has no field {unknown[0]!r}")
    name = sent.get("functionName")
    if not isinstance(name, str) or name not in FUNCTIONS:
        raise ApiError(
            400,
            "InvalidFunctionName.ValueNotSupported",
            f"{where}.functionName is not known: {name!r}",
        )
    pairs = sent.get("functionArgs")
    if not isinstance(pairs, list):
        raise ApiError(400, code, f"{where}.functionArgs is not a list: {pairs!r}")
    must, may, about = FUNCTIONS[name]
    given: dict[str, str] = {}
    for at, pair in enumerate(pairs):
        if not isinstance(pair, dict) or set(pair) != {"argName", "argValue"}:
            raise ApiError(
                400, code, f"{where}.functionArgs[{at}] needs argName and argValue: {pair!r}"
            )
        if pair["argName"] not in (*must, *may):
            raise ApiError(
                400,
                "InvalidArgName.ValueNotSupported",
                f"{where}: {name} has no argument {pair['argName']!r}",
            )
        given[pair["argName"]] = _text(pair["argValue"], f"{where}.functionArgs[{at}].argValue")
    lacking = [each for each in must if given.get(each, "") == ""]
    if lacking:
        raise ApiError(
            400, "MissingParameter", f"{where}: {name} needs the argument {lacking[0]!r}"
        )
    _check_values(name, given, where)
    return {
        "FunctionName": name,
        "FunctionArgs": [{"ArgName": key, "ArgValue": value} for key, value in given.items()],
        "ParentId": str(sent.get("parentId") or sent.get("parentid") or ""),
        "about": given.get(about, "") if about else "",
    }


def _text(value: Any, where: str) -> str:
    if isinstance(value, dict | list) or value is None:
        raise ApiError(
            400, "InvalidArgValue.Malformed", f"{where} must be a string: {value!r:.100}"
        )
    return str(value)


def _check_values(name: str, given: dict[str, str], where: str) -> None:
    wrong = "InvalidArgValue.Malformed"
    ttl = given.get("ttl")
    if ttl is not None and not (ttl.isdecimal() and int(ttl) <= _TTL_MOST_S):
        raise ApiError(400, wrong, f"{where}: ttl must be 0 to {_TTL_MOST_S} seconds, not {ttl!r}")
    weight = given.get("weight")
    if weight is not None and not (weight.isdecimal() and 1 <= int(weight) <= 99):
        raise ApiError(400, wrong, f"{where}: weight must be 1 to 99, not {weight!r}")
    path = given.get("path")
    if path is not None and not path.startswith("/"):
        raise ApiError(400, wrong, f"{where}: path must begin with /: {path!r}")
    for switch in ("enable", "enabled"):
        if given.get(switch) not in (None, "on", "off"):
            raise ApiError(
                400, wrong, f"{where}: {switch} of {name} must be on or off, not {given[switch]!r}"
            )


def _set(world: World, domain: Thing, function: dict[str, Any]) -> Thing:
    same = (
        config
        for config in world.each(KIND, DomainName=domain.id, FunctionName=function["FunctionName"])
        if config.data["about"] == function["about"]
        and config.data["ParentId"] == function["ParentId"]
    )
    config = next(same, None)
    failing = function["FunctionName"] in world.settings.get("dcdn", {}).get(
        "failing_functions", ()
    )
    phases = [("configuring", 60), ("failed" if failing else "success", 0)]
    if config is None:
        world.ids_count += 1
        number = str(10_000_000_000 + world.ids_count)
        return world.create(KIND, number, {"DomainName": domain.id, **function}, phases)
    if config.data["FunctionArgs"] != function["FunctionArgs"]:
        world.update(config, **function)
        world.move(config, phases)
    return config


@answers("dcdn", "DescribeDcdnDomainConfigs")
def describe_dcdn_domain_configs(call: LocalCall, world: World) -> dict[str, Any]:
    domain, params = domain_of(call, world), call.params
    wanted = [
        each.strip() for each in str(params.get("FunctionNames") or "").split(",") if each.strip()
    ]
    configs = [
        {
            "ConfigId": config.id,
            "FunctionArgs": {"FunctionArg": config.data["FunctionArgs"]},
            "FunctionName": config.data["FunctionName"],
            "ParentId": config.data["ParentId"],
            "Status": world.state(config),
        }
        for config in world.each(KIND, DomainName=domain.id)
        if (not wanted or config.data["FunctionName"] in wanted)
        and params.get("ConfigId") in (None, "", config.id)
    ]
    return {"DomainConfigs": {"DomainConfig": configs}}
