"""DCDN: preload and refresh, their daily quotas and their tasks.

A task a URL: it waits, runs and completes 5 to 30 minutes later, most of them early (a refresh in 5 or 6). A few are
slow; the seed decides which. ``settings["dcdn"]`` makes it worse:

``preload_fails``   URLs that contain one of these texts fail; a map adds why: ``{"/p/7": "Origin Return StatusCode 503"}``
``preload_slow_s``  seconds for URLs that contain a text: ``{"/p/9": 7200}``
``preload_rate``, ``refresh_rate``   calls a second, 15 and 30 by default
``settings["quotas"]`` has ``dcdn.preload_urls`` (1,000), ``dcdn.refresh_urls`` (10,000) and ``dcdn.refresh_dirs`` (100) a day.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from saleops.services.cloud import list_pages
from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.products.dcdn_domains import KIND as DOMAIN
from saleops.services.cloud.products.dcdn_domains import domain_quota
from saleops.services.cloud.time_windows import DAY_MS, asked_window, cloud_day
from saleops.services.cloud.timestamps import iso_minute
from saleops.services.cloud.world import Thing, World

KIND = "dcdn_task"
USE = "dcdn_use_log"  # one thing a day: how much of each quota is used; and the calls of the running second
URLS_A_PRELOAD, URLS_A_REFRESH, DIRS_A_REFRESH = 100, 1_000, 100
IDS_A_LOOK = 10
URL_LONGEST = 1_024

QUOTAS = {"dcdn.preload_urls": 1_000, "dcdn.refresh_urls": 10_000, "dcdn.refresh_dirs": 100}
RATES = {"preload": 15, "refresh": 30}


@answers("dcdn", "PreloadDcdnObjectCaches")
def preload_dcdn_object_caches(call: LocalCall, world: World) -> dict[str, Any]:
    _count_call(world, "preload")
    urls = _lines(call.params["ObjectPath"], URLS_A_PRELOAD)
    area = call.params.get("Area") or "overseas"
    if area not in ("domestic", "overseas"):
        raise ApiError(
            400, "InvalidArea.ValueNotSupported", f"Area must be domestic or overseas, not {area!r}"
        )
    for url in urls:
        domain = _online_domain(world, url)
        if domain.data["Scope"] not in (area, "global"):
            raise ApiError(
                400,
                "InvalidArea.Mismatch",
                f"Area {area!r} is not the scope of {domain.id!r}, {domain.data['Scope']!r}",
            )
    _take(world, "dcdn.preload_urls", len(urls), "QuotaExceeded.Preload")
    return {"PreloadTaskId": ",".join(_task(world, url, "preload").id for url in urls)}


@answers("dcdn", "RefreshDcdnObjectCaches")
def refresh_dcdn_object_caches(call: LocalCall, world: World) -> dict[str, Any]:
    _count_call(world, "refresh")
    kind = call.params.get("ObjectType") or "File"
    kinds = {
        "File": "file",
        "Directory": "directory",
        "Regex": "regex",
        "IgnoreParams": "ignoreparams",
    }
    if kind not in kinds:
        raise ApiError(
            400,
            "InvalidObjectType.ValueNotSupported",
            f"ObjectType must be {', '.join(kinds)}, not {kind!r}",
        )
    by_url = kind == "File"
    paths = _lines(call.params["ObjectPath"], URLS_A_REFRESH if by_url else DIRS_A_REFRESH)
    for path in paths:
        _online_domain(world, path)
        if kind == "Directory" and not path.endswith("/"):
            raise ApiError(
                400,
                "InvalidObjectPath.Malformed",
                f"ObjectPath of a directory must end with /: {path!r}",
            )
    _take(
        world,
        "dcdn.refresh_urls" if by_url else "dcdn.refresh_dirs",
        len(paths),
        "QuotaExceeded.Refresh",
    )
    return {"RefreshTaskId": ",".join(_task(world, path, kinds[kind]).id for path in paths)}


def _lines(sent: str, most: int) -> list[str]:
    paths = [each.strip() for each in sent.replace("\r\n", "\n").split("\n") if each.strip()]
    if not paths:
        raise ApiError(400, "InvalidObjectPath.Malformed", f"ObjectPath holds no URL: {sent!r}")
    if len(paths) > most:
        raise ApiError(
            400,
            "SingleRequest.OverLimit",
            f"ObjectPath holds {len(paths)} URLs; {most} a call are the most",
        )
    for path in paths:
        if len(path) > URL_LONGEST:
            raise ApiError(
                400,
                "InvalidObjectPath.Malformed",
                f"ObjectPath has a URL of {len(path)} characters: {path[:80]!r}",
            )
    return paths


def _online_domain(world: World, url: str) -> Thing:
    """The account's domain that serves ``url``; a URL may come without its scheme."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or any(each.isspace() for each in url):
        raise ApiError(400, "InvalidObjectPath.Malformed", f"ObjectPath holds no URL: {url!r}")
    domain = world.find(DOMAIN, host)
    if domain is None and "." in host:
        domain = world.find(DOMAIN, "." + host.split(".", 1)[1])
    if domain is None:
        raise ApiError(
            404, "InvalidDomain.NotFound", f"ObjectPath {url!r}: {host!r} is no domain of yours"
        )
    state = world.state(domain)
    if state != "online":
        raise ApiError(
            400, "InvalidDomain.Offline", f"ObjectPath {url!r}: {host!r} is {state}, not online"
        )
    return domain


def _count_call(world: World, what: str) -> None:
    """Refuse the call that is one too many for its second."""
    rate = int(world.settings.get("dcdn", {}).get(f"{what}_rate", RATES[what]))
    second = world.now_ms() // 1_000
    use = _use(world)
    calls = use.data["calls"].get(what, [0, 0])
    count = calls[1] + 1 if calls[0] == second else 1
    if count > rate:
        raise ApiError(400, "Throttling.User", f"more than {rate} {what} calls in one second")
    world.update(use, calls={**use.data["calls"], what: [second, count]})


def _take(world: World, quota: str, count: int, code: str) -> None:
    left = _limit(world, quota) - _used(world, quota)
    if count > left:
        raise ApiError(
            400,
            code,
            f"ObjectPath holds {count} and the day's quota of {_limit(world, quota)} has {max(left, 0)} left",
        )
    use = _use(world)
    world.update(use, used={**use.data["used"], quota: _used(world, quota) + count})


def _limit(world: World, quota: str) -> int:
    return int(world.settings.get("quotas", {}).get(quota, QUOTAS[quota]))


def _used(world: World, quota: str) -> int:
    return int(_use(world).data["used"].get(quota, 0))


def _use(world: World) -> Thing:
    today = cloud_day(world.now_ms())
    return world.find(USE, today) or world.create(USE, today, {"used": {}, "calls": {}})


def preload_used(world: World) -> int:
    return _used(world, "dcdn.preload_urls")


def preload_limit(world: World) -> int:
    return _limit(world, "dcdn.preload_urls")


def _task(world: World, path: str, kind: str) -> Thing:
    world.ids_count += 1
    task_id = str(17_000_000_000 + world.ids_count)
    settings = world.settings.get("dcdn", {})
    lasts_s, problem = _pace(world, path, task_id, kind), ""
    if kind == "preload":
        problem = _named(settings.get("preload_fails", ()), path)
        slow = _named(settings.get("preload_slow_s", {}), path)
        lasts_s = float(slow) if slow else lasts_s
    waits_s = lasts_s * 0.2
    data = {"path": path, "type": kind, "lasts_s": lasts_s, "waits_s": waits_s, "problem": problem}
    last = "Failed" if problem else "Complete"
    return world.create(
        KIND, task_id, data, [("Pending", waits_s), ("Refreshing", lasts_s - waits_s), (last, 0)]
    )


def _pace(world: World, path: str, task_id: str, kind: str) -> float:
    """Seconds that a task takes: most are quick, one in fifty is slow."""
    draw = chance(world, "dcdn", path, task_id)
    if kind != "preload":
        return 300 + 60 * draw
    if chance(world, "dcdn slow", path, task_id) < 0.02:
        return 1_500 + 300 * draw
    return 300 + 600 * draw**2


def _named(texts: Any, path: str) -> str:
    """What ``texts`` says about ``path``: the value of the first text it contains."""
    if isinstance(texts, dict):
        return next((str(value) for text, value in texts.items() if text in path), "")
    return next(("Origin Timeout" for text in texts if text in path), "")


@answers("dcdn", "DescribeDcdnRefreshTaskById")
def describe_dcdn_refresh_task_by_id(call: LocalCall, world: World) -> dict[str, Any]:
    ids = [each.strip() for each in call.params["TaskId"].split(",") if each.strip()]
    if not 1 <= len(ids) <= IDS_A_LOOK:
        raise ApiError(
            400,
            "InvalidTaskId.Malformed",
            f"TaskId names {len(ids)} tasks; 1 to {IDS_A_LOOK} are allowed",
        )
    wrong = [each for each in ids if not each.isdecimal()]
    if wrong:
        raise ApiError(400, "InvalidTaskId.Malformed", f"TaskId is not a number: {wrong[0]!r}")
    tasks = [task for each in ids if (task := world.find(KIND, each)) is not None]
    return {"Tasks": [_shown(task, world) for task in tasks], "TotalCount": len(tasks)}


@answers("dcdn", "DescribeDcdnRefreshTasks")
def describe_dcdn_refresh_tasks(call: LocalCall, world: World) -> dict[str, Any]:
    """Tasks of the last three days, the newest first."""
    params = call.params
    kind = params.get("ObjectType")
    if kind is None and (params.get("DomainName") or params.get("Status")):
        raise ApiError(400, "MissingParameter", "ObjectType is required with DomainName and Status")
    start_ms, end_ms = asked_window(call, now_ms=world.now_ms() + 1, span_ms=3 * DAY_MS)
    found: Sequence[Thing] = [
        task
        for task in world.listed(KIND)
        if start_ms <= task.born_ms <= end_ms
        and kind in (None, "", task.data["type"])
        and params.get("TaskId") in (None, "", task.id)
        and params.get("ObjectPath") in (None, "", task.data["path"])
        and params.get("Status") in (None, "", _status(task, world, waiting="Refreshing"))
        and f"{params.get('DomainName') or ''}" in task.data["path"]
    ]
    page, counts = list_pages.numbered(
        sorted(found, key=lambda task: -int(task.id)), params, default=20, most=50
    )
    return {
        "Tasks": {"Task": [_shown(task, world, waiting="Refreshing") for task in page]},
        **counts,
    }


def _status(task: Thing, world: World, *, waiting: str = "Pending") -> str:
    state = world.state(task)
    return waiting if state == "Pending" else state


def _shown(task: Thing, world: World, *, waiting: str = "Pending") -> dict[str, Any]:
    """The list does not tell waiting from running tasks; a look by id does."""
    state = world.state(task)
    return {
        "CreationTime": iso_minute(task.born_ms),
        "Description": task.data["problem"] if state == "Failed" else "",
        "ObjectPath": task.data["path"],
        "ObjectType": task.data["type"],
        "Process": f"{_percent(task, world)}%",
        "Status": _status(task, world, waiting=waiting),
        "TaskId": task.id,
    }


def _percent(task: Thing, world: World) -> int:
    if world.state(task) == "Complete":
        return 100
    runs_s = (world.now_ms() - task.born_ms) / 1000 - task.data["waits_s"]
    share = runs_s / max(task.data["lasts_s"] - task.data["waits_s"], 1)
    return min(max(int(100 * share), 0), 99)


@answers("dcdn", "DescribeDcdnRefreshQuota")
def describe_dcdn_refresh_quota(call: LocalCall, world: World) -> dict[str, Any]:
    """All of it as strings, as the real one does."""
    left = {name: str(max(_limit(world, name) - _used(world, name), 0)) for name in QUOTAS}
    return {
        "BlockQuota": "300",
        "BlockRemain": "300",
        "DirQuota": str(_limit(world, "dcdn.refresh_dirs")),
        "DirRemain": left["dcdn.refresh_dirs"],
        "IgnoreParamsQuota": str(_limit(world, "dcdn.refresh_dirs")),
        "IgnoreParamsRemain": left["dcdn.refresh_dirs"],
        "PreloadQuota": str(_limit(world, "dcdn.preload_urls")),
        "PreloadRemain": left["dcdn.preload_urls"],
        "RegexQuota": "20",
        "RegexRemain": "20",
        "UrlQuota": str(_limit(world, "dcdn.refresh_urls")),
        "UrlRemain": left["dcdn.refresh_urls"],
    }


@answers("dcdn", "DescribeDcdnUserQuota")
def describe_dcdn_user_quota(call: LocalCall, world: World) -> dict[str, Any]:
    left = {name: max(_limit(world, name) - _used(world, name), 0) for name in QUOTAS}
    return {
        "BlockQuota": 300,
        "BlockRemain": 300,
        "DomainQuota": domain_quota(world),
        "IgnoreParamsQuota": _limit(world, "dcdn.refresh_dirs"),
        "IgnoreParamsRemain": left["dcdn.refresh_dirs"],
        "PreloadQuota": _limit(world, "dcdn.preload_urls"),
        "PreloadRemain": left["dcdn.preload_urls"],
        "RefreshDirQuota": _limit(world, "dcdn.refresh_dirs"),
        "RefreshDirRemain": left["dcdn.refresh_dirs"],
        "RefreshUrlQuota": _limit(world, "dcdn.refresh_urls"),
        "RefreshUrlRemain": left["dcdn.refresh_urls"],
    }
