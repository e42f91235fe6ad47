"""DCDN: accelerated domains, from configuring to online, stopped and gone.

The product is global: a domain belongs to the account, not to a region. ``settings["dcdn"]["bad_domains"]`` names domains
whose set-up fails (``configure_failed``).
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

from saleops.services.cloud import list_pages, tag_maps
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.documents import objects_in
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

KIND, CONFIG = "dcdn_domain", "dcdn_config"
DOMAINS_MOST, SOURCES_MOST = 50, 20
SCOPES = ("domestic", "overseas", "global")
_HOST = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}")
_SOURCE_TYPES = ("ipaddr", "domain", "oss", "common")


@answers("dcdn", "AddDcdnDomain")
def add_dcdn_domain(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    name = params["DomainName"].lower()
    if not _HOST.fullmatch(name.removeprefix(".")):
        raise ApiError(
            400,
            "InvalidDomainName.Malformed",
            f"DomainName is not a domain: {params['DomainName']!r}",
        )
    scope = params.get("Scope") or "domestic"
    if scope not in SCOPES:
        raise ApiError(
            400,
            "InvalidScope.ValueNotSupported",
            f"Scope must be {', '.join(SCOPES)}, not {scope!r}",
        )
    sources = _sources(params.get("Sources"))
    labels = tag_maps.from_pairs(params.get("Tag"))
    if world.find(KIND, name) is not None:
        raise ApiError(400, "DomainAlreadyExist", f"DomainName exists already: {name!r}")
    most = domain_quota(world)
    if sum(1 for _ in world.each(KIND)) >= most:
        raise ApiError(
            403,
            "DomainOverLimit",
            f"DomainName {name!r} is one more than the {most} domains of the account",
        )
    bad = name in world.settings.get("dcdn", {}).get("bad_domains", ())
    setup_s = 60 + 120 * chance(world, "dcdn", name)
    data = {
        "Scope": scope,
        "Sources": sources,
        "Cname": f"{name.removeprefix('.')}.w.kunlun{'gr' if scope != 'domestic' else 'sl'}.com",
        "FunctionType": params.get("FunctionType") or "",
        "Scene": params.get("Scene") or "",
        "ResourceGroupId": params.get("ResourceGroupId") or "",
        "CheckUrl": params.get("CheckUrl") or "",
        "SSLProtocol": "off",
        "Tags": labels,
        "changed_ms": world.now_ms(),
    }
    last = "configure_failed" if bad else "online"
    world.create(KIND, name, data, [("configuring", setup_s), (last, 0)])
    return {}


def domain_quota(world: World) -> int:
    return int(world.settings.get("quotas", {}).get("dcdn.domains", DOMAINS_MOST))


def _sources(sent: Any) -> list[dict[str, Any]]:
    code = "InvalidSources.Malformed"
    if sent in (None, ""):
        raise ApiError(400, code, "Sources is missing: a domain needs an origin")
    given = objects_in(sent, "Sources", code=code)
    if not 1 <= len(given) <= SOURCES_MOST:
        raise ApiError(
            400, code, f"Sources has {len(given)} origins; 1 to {SOURCES_MOST} are allowed"
        )
    sources = []
    for number, source in enumerate(given):
        where = f"Sources[{number}]"
        unknown = sorted(set(source) - {"content", "type", "priority", "port", "weight"})
        if unknown:
            raise ApiError(400, code, f"{where} has no field {unknown[0]!r}")
        kind, content = source.get("type"), str(source.get("content") or "")
        if kind not in _SOURCE_TYPES:
            raise ApiError(
                400, code, f"{where}.type must be {', '.join(_SOURCE_TYPES)}, not {kind!r}"
            )
        host = content.lower()
        if kind == "ipaddr" and not _IPV4.fullmatch(host):
            raise ApiError(400, code, f"{where}.content is no IP address: {content!r}")
        if kind != "ipaddr" and not _HOST.fullmatch(host):
            raise ApiError(400, code, f"{where}.content is no domain: {content!r}")
        sources.append(
            {
                "Content": content,
                "Type": kind,
                "Port": _number(source.get("port", 80), f"{where}.port", 1, 65535),
                "Priority": str(_number(source.get("priority", 20), f"{where}.priority", 1, 100)),
                "Weight": str(_number(source.get("weight", 10), f"{where}.weight", 1, 100)),
                "Enabled": "online",
            }
        )
    return sources


def _number(value: Any, where: str, low: int, high: int) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or not low <= int(text) <= high:
        raise ApiError(
            400, "InvalidSources.Malformed", f"{where} must be {low} to {high}, not {value!r}"
        )
    return int(text)


_SEARCH: dict[str, Callable[[str, str], bool]] = {
    "full_match": lambda wanted, name: wanted == name,
    "fuzzy_match": lambda wanted, name: wanted in name,
    "pre_match": lambda wanted, name: name.startswith(wanted),
    "suf_match": lambda wanted, name: name.endswith(wanted),
}


@answers("dcdn", "DescribeDcdnUserDomains")
def describe_dcdn_user_domains(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    how = params.get("DomainSearchType") or "full_match"
    if how not in _SEARCH:
        raise ApiError(
            400,
            "InvalidDomainSearchType.ValueNotSupported",
            f"DomainSearchType must be {', '.join(_SEARCH)}, not {how!r}",
        )
    wanted = str(params.get("DomainName") or "").lower()
    found = [
        thing
        for thing in world.listed(KIND)
        if (not wanted or _SEARCH[how](wanted, thing.id))
        and params.get("DomainStatus") in (None, "", world.state(thing))
        and params.get("Coverage") in (None, "", thing.data["Scope"])
        and tag_maps.matches(thing.data["Tags"], params.get("Tag"))
    ]
    page, counts = list_pages.numbered(found, params, default=20, most=500)
    return {"Domains": {"PageData": [_line(thing, world) for thing in page]}, **counts}


def _line(thing: Thing, world: World) -> dict[str, Any]:
    data = thing.data
    return {
        "Cname": data["Cname"],
        "Description": "",
        "DomainId": int(hashlib.sha256(thing.id.encode()).hexdigest()[:8], 16),
        "DomainName": thing.id,
        "DomainStatus": world.state(thing),
        "FunctionType": data["FunctionType"],
        "GmtCreated": iso_s(thing.born_ms),
        "GmtModified": iso_s(data["changed_ms"]),
        "ResourceGroupId": data["ResourceGroupId"],
        "SSLProtocol": data["SSLProtocol"],
        "Sandbox": "normal",
        "Scene": data["Scene"],
        "Sources": {
            "Source": [
                {k: v for k, v in each.items() if k != "Enabled"} for each in data["Sources"]
            ]
        },
    }


@answers("dcdn", "DescribeDcdnDomainDetail")
def describe_dcdn_domain_detail(call: LocalCall, world: World) -> dict[str, Any]:
    thing = domain_of(call, world)
    data = thing.data
    return {
        "DomainDetail": {
            "Cname": data["Cname"],
            "Description": "",
            "DomainName": thing.id,
            "DomainStatus": world.state(thing),
            "FunctionType": data["FunctionType"],
            "GmtCreated": iso_s(thing.born_ms),
            "GmtModified": iso_s(data["changed_ms"]),
            "ResourceGroupId": data["ResourceGroupId"],
            "SSLProtocol": data["SSLProtocol"],
            "Scene": data["Scene"],
            "Scope": data["Scope"],
            "Sources": {"Source": data["Sources"]},
        }
    }


@answers("dcdn", "DescribeDcdnDomainCname")
def describe_dcdn_domain_cname(call: LocalCall, world: World) -> dict[str, Any]:
    """``Status`` 0: the DNS record names the CNAME; ``settings["dcdn"]["without_cname"]`` lists domains whose does not."""
    without = world.settings.get("dcdn", {}).get("without_cname", ())
    found = []
    for name in call.params["DomainName"].lower().split(","):
        thing = world.find(KIND, name.strip())
        if thing is None:
            raise ApiError(404, "InvalidDomain.NotFound", f"DomainName does not exist: {name!r}")
        set_right = thing.id not in without
        found.append(
            {
                "Cname": thing.data["Cname"],
                "Domain": thing.id,
                "ErrMsg": "" if set_right else "the record names no CNAME of this domain",
                "Passed": "true" if set_right else "false",
                "Status": 0 if set_right else 1,
            }
        )
    return {"CnameDatas": {"Data": found}}


@answers("dcdn", "StopDcdnDomain")
def stop_dcdn_domain(call: LocalCall, world: World) -> dict[str, Any]:
    thing = domain_of(call, world)
    if world.state(thing) == "offline":
        return {}
    _steady(thing, world)
    _touched(thing, world, [("configuring", 10), ("offline", 0)])
    return {}


@answers("dcdn", "StartDcdnDomain")
def start_dcdn_domain(call: LocalCall, world: World) -> dict[str, Any]:
    thing = domain_of(call, world)
    if world.state(thing) == "online":
        return {}
    _steady(thing, world)
    _touched(thing, world, [("configuring", 30), ("online", 0)])
    return {}


@answers("dcdn", "DeleteDcdnDomain")
def delete_dcdn_domain(call: LocalCall, world: World) -> dict[str, Any]:
    """Only what takes no traffic any more: stopped, or never set up."""
    thing = domain_of(call, world)
    state = world.state(thing)
    if state not in ("offline", "configure_failed", "check_failed"):
        _steady(thing, world)
        raise ApiError(
            400, "InvalidDomainStatus", f"DomainName {thing.id!r} is {state}: stop it first"
        )
    for config in world.each(CONFIG, DomainName=thing.id):
        world.remove(config)
    world.remove(thing)
    return {}


def _touched(thing: Thing, world: World, phases: list[tuple[str, float]]) -> None:
    thing.data["changed_ms"] = world.now_ms()
    world.move(thing, phases)


def _steady(thing: Thing, world: World) -> None:
    if world.state(thing) in ("configuring", "checking"):
        raise ApiError(
            403, "ServiceBusy", f"DomainName {thing.id!r} is being configured: try again later"
        )


@answers("dcdn", "SetDcdnDomainSSLCertificate")
def set_dcdn_domain_ssl_certificate(call: LocalCall, world: World) -> dict[str, Any]:
    """The private key is checked for and forgotten: the local cloud keeps no secret."""
    thing, params = domain_of(call, world), call.params
    on = params["SSLProtocol"]
    if on not in ("on", "off"):
        raise ApiError(
            400,
            "InvalidSSLProtocol.ValueNotSupported",
            f"SSLProtocol must be on or off, not {on!r}",
        )
    if (
        on == "on"
        and (params.get("CertType") or "upload") == "upload"
        and not (params.get("SSLPub") and params.get("SSLPri"))
    ):
        raise ApiError(
            400, "MissingParameter", "SSLPub and SSLPri are required with CertType upload"
        )
    if on == "on" and params.get("CertType") == "cas" and not params.get("CertId"):
        raise ApiError(400, "MissingParameter", "CertId is required with CertType cas")
    _steady(thing, world)
    world.update(thing, SSLProtocol=on, changed_ms=world.now_ms())
    return {}


@answers("dcdn", "DescribeDcdnVerifyContent")
def describe_dcdn_verify_content(call: LocalCall, world: World) -> dict[str, Any]:
    return {"Content": _verification(call, world)}


@answers("dcdn", "VerifyDcdnDomainOwner")
def verify_dcdn_domain_owner(call: LocalCall, world: World) -> dict[str, Any]:
    how = call.params["VerifyType"]
    if how not in ("dnsCheck", "fileCheck"):
        raise ApiError(
            400,
            "InvalidVerifyType.ValueNotSupported",
            f"VerifyType must be dnsCheck or fileCheck, not {how!r}",
        )
    return {"Content": _verification(call, world)}


def _verification(call: LocalCall, world: World) -> str:
    name = call.params["DomainName"].lower()
    return "verify_" + hashlib.sha256(f"{world.account} {name}".encode()).hexdigest()[:32]


@answers("dcdn", "TagDcdnResources")
def tag_dcdn_resources(call: LocalCall, world: World) -> dict[str, Any]:
    _check_resource_type(call)
    more = tag_maps.from_pairs(call.params["Tag"])
    things = [_found(world, name, "ResourceId") for name in call.params["ResourceId"]]
    for thing in things:
        tag_maps.added(thing.data["Tags"], more)
    for thing in things:
        world.update(thing, Tags=tag_maps.added(thing.data["Tags"], more))
    return {}


@answers("dcdn", "DescribeDcdnTagResources")
def describe_dcdn_tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    _check_resource_type(call)
    things = [_found(world, name, "ResourceId") for name in call.params["ResourceId"]]
    return {
        "TagResources": [
            {"ResourceId": thing.id, "Tag": tag_maps.to_pairs(thing.data["Tags"])}
            for thing in things
            if tag_maps.matches(thing.data["Tags"], call.params.get("Tag"))
        ]
    }


def _check_resource_type(call: LocalCall) -> None:
    if call.params["ResourceType"] != "DOMAIN":
        raise ApiError(
            400,
            "InvalidResourceType.NotSupport",
            f"ResourceType must be DOMAIN, not {call.params['ResourceType']!r}",
        )


@answers("dcdn", "DescribeDcdnService")
def describe_dcdn_service(call: LocalCall, world: World) -> dict[str, Any]:
    return {
        "InstanceId": f"dcdn-{world.account}",
        "InternetChargeType": "PayByTraffic",
        "ChangingChargeType": "PayByTraffic",
        "OpeningTime": iso_s(0),
        "ChangingAffectTime": "",
        "OperationLocks": {"LockReason": []},
        "WebsocketType": "",
        "WebsocketChangingType": "",
        "WebsocketChangingTime": "",
    }


def domain_of(call: LocalCall, world: World) -> Thing:
    return _found(world, call.params["DomainName"].lower(), "DomainName")


def _found(world: World, name: str, field: str) -> Thing:
    thing = world.find(KIND, name)
    if thing is None:
        raise ApiError(404, "InvalidDomain.NotFound", f"{field} does not exist: {name!r}")
    return thing
