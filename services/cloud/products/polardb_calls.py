"""What the answers of PolarDB share: the cluster a call names, one change at a time, pages, tags and refusals."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from saleops.services.cloud.answers import ApiError, LocalCall
from saleops.services.cloud.world import Thing, World

T = TypeVar("T")
CLUSTER, ENDPOINT = "polardb_cluster", "polardb_endpoint"


def wrong(field: str, value: Any, why: str, *, code: str = "InvalidParameter") -> ApiError:
    return ApiError(400, code, f"{field} {value!r}: {why}")


def cluster_of(call: LocalCall, world: World) -> Thing:
    id = str(call.params.get("DBClusterId") or "")
    cluster = world.find(CLUSTER, id)
    if cluster is None:
        raise ApiError(404, "InvalidDBClusterId.NotFound", f"DBClusterId {id!r}: no such cluster")
    return cluster


def running_cluster(call: LocalCall, world: World) -> Thing:
    """The cluster, for a change: nothing else may be under way or planned."""
    cluster = cluster_of(call, world)
    state = world.state(cluster)
    if state != "Running":
        raise ApiError(
            403,
            "OperationDenied.DBClusterStatus",
            f"DBClusterId {cluster.id!r} is {state}; it must be Running",
        )
    if any(at_ms > world.now_ms() for at_ms, _ in cluster.timeline):
        raise ApiError(
            403, "TaskExists", f"DBClusterId {cluster.id!r} has a change planned already"
        )
    return cluster


def start_ms_of(call: LocalCall, world: World) -> int:
    """When a change begins: now, or at ``PlannedStartTime``, at most 24 hours ahead."""
    text = call.params.get("PlannedStartTime")
    if not text:
        return world.now_ms()
    at_ms = time_ms(text, "PlannedStartTime")
    if not world.now_ms() <= at_ms <= world.now_ms() + 86_400_000:
        raise wrong(
            "PlannedStartTime", text, "from now to 24 hours ahead", code="InvalidPlannedStartTime"
        )
    return at_ms


def time_ms(text: Any, field: str) -> int:
    """``2026-11-11T00:00Z``, with or without seconds, or ``2026-11-11 00:00:00``."""
    for form in ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"):
        try:
            return round(datetime.strptime(str(text), form).replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            continue
    raise wrong(field, text, "write it as 2026-11-11T00:00Z", code=f"Invalid{field}.Format")


def numbered(
    found: Sequence[T], params: Mapping[str, Any], *, default: int, sizes: tuple[int, ...]
) -> tuple[list[T], dict[str, int]]:
    number, size = params.get("PageNumber") or 1, params.get("PageSize") or default
    if number < 1:
        raise wrong("PageNumber", number, "pages count from 1", code="InvalidPageNumber")
    if size not in sizes:
        raise wrong("PageSize", size, "use " + ", ".join(map(str, sizes)), code="InvalidPageSize")
    page = list(found[(number - 1) * size : number * size])
    return page, {
        "PageNumber": number,
        "PageRecordCount": len(page),
        "TotalRecordCount": len(found),
    }


def sent_tags(call: LocalCall) -> dict[str, str]:
    tags: dict[str, str] = {}
    for number, tag in enumerate(call.params.get("Tag") or (), start=1):
        key, value = str(tag.get("Key") or ""), str(tag.get("Value") or "")
        if not re.fullmatch(r"(?!aliyun|acs:).{1,64}", key) or "http" in key[:8]:
            raise wrong(
                f"Tag.{number}.Key",
                key,
                "1 to 64 characters, not aliyun or acs: first",
                code="InvalidTagKey.Malformed",
            )
        if key in tags:
            raise wrong(f"Tag.{number}.Key", key, "the key comes twice", code="Duplicate.TagKey")
        if len(value) > 128:
            raise wrong(
                f"Tag.{number}.Value",
                value,
                "at most 128 characters",
                code="InvalidTagValue.Malformed",
            )
        tags[key] = value
    if len(tags) > 20:
        raise wrong("Tag", len(tags), "at most 20 tags", code="NumberExceed.Tags")
    return tags


def tag_pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
