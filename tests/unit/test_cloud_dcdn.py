"""The local cloud's DCDN: domains, rules of the edge, preload within its limits."""

import json
from typing import Any

import pytest

from cloud_answers import HandClock, asked, empty_world, refused
from saleops.services.cloud.products import load_products
from saleops.services.cloud.world import World

load_products()

D = "dcdn"
NAME = "shop.example.com"
SOURCES = json.dumps(
    [
        {
            "content": "alb-1.example.com",
            "type": "domain",
            "priority": "20",
            "port": 443,
            "weight": "10",
        }
    ]
)
TTL = {
    "functionName": "filetype_based_ttl_set",
    "functionArgs": [
        {"argName": "file_type", "argValue": "js"},
        {"argName": "ttl", "argValue": "60"},
    ],
}


def online(scope: str = "overseas") -> tuple[World, HandClock]:
    world, clock = empty_world()
    asked(D, "AddDcdnDomain", world, DomainName=NAME, Sources=SOURCES, Scope=scope)
    clock.pass_s(600)
    return world, clock


def urls(count: int, start: int = 0) -> str:
    return "\n".join(f"https://{NAME}/p/{number}" for number in range(start, start + count))


def preload(world: World, paths: str, **more: Any) -> list[str]:
    answer = asked(
        D, "PreloadDcdnObjectCaches", world, ObjectPath=paths, **{"Area": "overseas", **more}
    )
    return str(answer["PreloadTaskId"]).split(",")


def tasks(world: World, ids: list[str]) -> list[dict[str, Any]]:
    return list(asked(D, "DescribeDcdnRefreshTaskById", world, TaskId=",".join(ids))["Tasks"])


def test_a_domain_is_configured_then_online_and_domestic_unless_it_says_so() -> None:
    world, clock = empty_world()
    asked(D, "AddDcdnDomain", world, DomainName="Shop.Example.com", Sources=SOURCES)
    detail = asked(D, "DescribeDcdnDomainDetail", world, DomainName=NAME)["DomainDetail"]
    assert (detail["DomainStatus"], detail["Scope"]) == ("configuring", "domestic")
    clock.pass_s(300)
    (line,) = asked(D, "DescribeDcdnUserDomains", world, DomainName=NAME)["Domains"]["PageData"]
    assert line["DomainStatus"] == "online"
    again = {"DomainName": NAME, "Sources": SOURCES}
    assert refused(D, "AddDcdnDomain", world, **again).code == "DomainAlreadyExist"


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        (None, "Sources"),
        ("alb", "not JSON"),
        ("{}", "list"),
        ("[]", "0 origins"),
        ('[{"content":"x","type":"domain"}]', "Sources[0].content"),
        ('[{"content":"a.example.com","type":"dns"}]', "Sources[0].type"),
        ('[{"content":"a.example.com","type":"ipaddr"}]', "no IP address"),
        ('[{"content":"a.example.com","type":"domain","port":"x"}]', "Sources[0].port"),
        ('[{"content":"a.example.com","type":"domain","colour":1}]', "colour"),
    ],
    ids=["none", "text", "object", "empty", "host", "type", "ip", "port", "field"],
)
def test_an_origin_that_cannot_be_is_refused(sources: str | None, named: str) -> None:
    world, _ = empty_world()
    error = refused(D, "AddDcdnDomain", world, DomainName=NAME, Sources=sources)
    assert error.code == "InvalidSources.Malformed"
    assert named in error.message


def test_a_domain_is_deleted_only_when_it_is_stopped() -> None:
    world, clock = online()
    assert "stop it first" in refused(D, "DeleteDcdnDomain", world, DomainName=NAME).message
    asked(D, "StopDcdnDomain", world, DomainName=NAME)
    assert refused(D, "DeleteDcdnDomain", world, DomainName=NAME).code == "ServiceBusy"
    clock.pass_s(31)
    asked(D, "DeleteDcdnDomain", world, DomainName=NAME)
    clock.pass_s(11)
    assert (
        refused(D, "DescribeDcdnDomainDetail", world, DomainName=NAME).code
        == "InvalidDomain.NotFound"
    )


def test_a_rule_reaches_the_edge_in_a_minute_and_is_set_once() -> None:
    world, clock = online()
    first = asked(
        D, "BatchSetDcdnDomainConfigs", world, DomainNames=NAME, Functions=json.dumps([TTL])
    )
    again = asked(
        D, "BatchSetDcdnDomainConfigs", world, DomainNames=NAME, Functions=json.dumps([TTL])
    )
    assert first == again
    (config,) = asked(D, "DescribeDcdnDomainConfigs", world, DomainName=NAME)["DomainConfigs"][
        "DomainConfig"
    ]
    assert config["Status"] == "configuring"
    clock.pass_s(61)
    (config,) = asked(
        D,
        "DescribeDcdnDomainConfigs",
        world,
        DomainName=NAME,
        FunctionNames="filetype_based_ttl_set",
    )["DomainConfigs"]["DomainConfig"]
    assert config["Status"] == "success"
    assert {"ArgName": "ttl", "ArgValue": "60"} in config["FunctionArgs"]["FunctionArg"]


@pytest.mark.parametrize(
    ("function", "named"),
    [
        ({"functionName": "make_coffee", "functionArgs": []}, "make_coffee"),
        ({"functionName": "gzip", "functionArgs": {}}, "functionArgs"),
        (
            {"functionName": "gzip", "functionArgs": [{"argName": "enable", "argValue": "yes"}]},
            "yes",
        ),
        ({"functionName": "gzip", "functionArgs": [{"argName": "on", "argValue": "on"}]}, "'on'"),
        (
            {
                "functionName": "path_based_ttl_set",
                "functionArgs": [{"argName": "path", "argValue": "/cart"}],
            },
            "'ttl'",
        ),
    ],
    ids=["name", "args", "value", "argument", "lacking"],
)
def test_a_rule_that_cannot_be_is_refused_and_nothing_is_set(
    function: dict[str, Any], named: str
) -> None:
    world, _ = online()
    error = refused(
        D,
        "BatchSetDcdnDomainConfigs",
        world,
        DomainNames=NAME,
        Functions=json.dumps([TTL, function]),
    )
    assert named in error.message
    assert not list(world.each("dcdn_config"))


def test_a_task_a_url_waits_runs_and_completes() -> None:
    world, clock = online()
    ids = preload(world, urls(100))
    assert len(set(ids)) == 100
    assert {task["Status"] for task in tasks(world, ids[:10])} == {"Pending"}
    clock.pass_s(400)
    assert {task["Status"] for task in tasks(world, ids[:10])} <= {
        "Refreshing",
        "Complete",
        "Pending",
    }
    clock.pass_s(1_500)
    done = tasks(world, ids[:10])
    assert {(task["Status"], task["Process"]) for task in done} == {("Complete", "100%")}
    assert done[0]["ObjectPath"] == f"https://{NAME}/p/0"
    assert (
        refused(D, "DescribeDcdnRefreshTaskById", world, TaskId=",".join(ids[:11])).code
        == "InvalidTaskId.Malformed"
    )


def test_a_hundred_urls_a_call_and_a_thousand_a_day() -> None:
    world, clock = online()
    assert (
        refused(D, "PreloadDcdnObjectCaches", world, ObjectPath=urls(101), Area="overseas").code
        == "SingleRequest.OverLimit"
    )
    for batch in range(10):
        preload(world, urls(100, batch * 100))
    assert asked(D, "DescribeDcdnRefreshQuota", world)["PreloadRemain"] == "0"
    assert asked(D, "DescribeDcdnUserQuota", world)["PreloadRemain"] == 0
    error = refused(D, "PreloadDcdnObjectCaches", world, ObjectPath=urls(1), Area="overseas")
    assert error.code == "QuotaExceeded.Preload"
    clock.pass_s(86_400)
    assert asked(D, "DescribeDcdnRefreshQuota", world)["PreloadRemain"] == "1000"


def test_the_sixteenth_preload_of_a_second_is_throttled() -> None:
    world, clock = online()
    for number in range(15):
        preload(world, urls(1, number))
    error = refused(D, "PreloadDcdnObjectCaches", world, ObjectPath=urls(1), Area="overseas")
    assert error.code == "Throttling.User"
    assert asked(D, "DescribeDcdnRefreshQuota", world)["PreloadRemain"] == "985"
    clock.pass_s(1)
    preload(world, urls(1))


def test_a_url_must_be_of_an_online_domain_in_its_area() -> None:
    world, clock = online()
    foreign = "https://other.example.com/p/1"
    assert foreign in refused(D, "PreloadDcdnObjectCaches", world, ObjectPath=foreign).message
    assert (
        refused(D, "PreloadDcdnObjectCaches", world, ObjectPath="not a url").code
        == "InvalidObjectPath.Malformed"
    )
    assert (
        refused(D, "PreloadDcdnObjectCaches", world, ObjectPath=urls(1), Area="domestic").code
        == "InvalidArea.Mismatch"
    )
    preload(world, f"{NAME}/p/1")
    asked(D, "StopDcdnDomain", world, DomainName=NAME)
    clock.pass_s(60)
    assert (
        refused(D, "PreloadDcdnObjectCaches", world, ObjectPath=urls(1)).code
        == "InvalidDomain.Offline"
    )


def test_settings_make_urls_fail_and_take_longer() -> None:
    world, clock = online()
    world.settings["dcdn"] = {
        "preload_fails": {"/p/1": "Origin Return StatusCode 503"},
        "preload_slow_s": {"/p/2": 7_200},
    }
    ids = preload(world, urls(3))
    clock.pass_s(3_600)
    assert [task["Status"] for task in tasks(world, ids)] == ["Complete", "Failed", "Refreshing"]
    assert tasks(world, ids)[1]["Description"] == "Origin Return StatusCode 503"


def test_a_refresh_has_its_own_quotas_and_the_list_its_pages() -> None:
    world, clock = online()
    answer = asked(D, "RefreshDcdnObjectCaches", world, ObjectPath=urls(30), ObjectType="File")
    assert len(answer["RefreshTaskId"].split(",")) == 30
    bad = {"ObjectPath": f"https://{NAME}/p", "ObjectType": "Directory"}
    assert refused(D, "RefreshDcdnObjectCaches", world, **bad).code == "InvalidObjectPath.Malformed"
    asked(
        D, "RefreshDcdnObjectCaches", world, ObjectPath=f"https://{NAME}/p/", ObjectType="Directory"
    )
    quota = asked(D, "DescribeDcdnRefreshQuota", world)
    assert (quota["UrlRemain"], quota["DirRemain"], quota["PreloadRemain"]) == (
        "9970",
        "99",
        "1000",
    )
    clock.pass_s(400)
    page = asked(D, "DescribeDcdnRefreshTasks", world, ObjectType="file", PageSize=20, PageNumber=2)
    assert (page["TotalCount"], len(page["Tasks"]["Task"])) == (30, 10)


def test_figures_of_the_edge_are_shown_by_interval() -> None:
    world, _ = online()
    window = {"StartTime": "2026-11-10T07:00:00Z", "EndTime": "2026-11-10T08:00:00Z"}
    hits = asked(D, "DescribeDcdnDomainHitRateData", world, DomainName=NAME, **window)
    assert len(hits["HitRatePerInterval"]["DataModule"]) == 12
    asked(D, "DescribeDcdnDomainQpsData", world, DomainName=NAME, **window)
    asked(D, "DescribeDcdnDomainHttpCodeData", world, DomainName=NAME, **window)
    asked(D, "DescribeDcdnDomainCname", world, DomainName=NAME)
    asked(D, "DescribeDcdnService", world)
    assert refused(D, "DescribeDcdnDomainQpsData", world, Interval="7").code == "InvalidInterval"


def test_tags_follow_the_domain() -> None:
    world, clock = online()
    tag = [{"Key": "saleops:sale", "Value": "sale"}]
    asked(D, "TagDcdnResources", world, ResourceType="DOMAIN", ResourceId=[NAME], Tag=tag)
    shown = asked(D, "DescribeDcdnTagResources", world, ResourceType="DOMAIN", ResourceId=[NAME])
    assert shown["TagResources"] == [{"ResourceId": NAME, "Tag": tag}]
    assert asked(D, "DescribeDcdnUserDomains", world, Tag=tag)["TotalCount"] == 1
    assert clock.now_ms() == world.now_ms()
