"""What the answers of Container Service share: the cluster a call names, its network, pages, times and refusals.

ACK documents few error codes (``ErrorClusterNotFound`` and ``ErrorNodePoolNotFound`` are confirmed); the others are worded
here in its manner, and every message names the field and the value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from saleops.services.cloud.answers import ApiError, LocalCall
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.world import Thing, World

T = TypeVar("T")

CLUSTER, NODEPOOL, NODE = "cluster", "nodepool", "node"
INSTANCE, SCALING_GROUP = "instance", "scaling_group"

QUOTAS = {
    "cs.clusters": 50,
    "cs.managed_clusters": 20,
    "cs.serverless_clusters": 20,
    "cs.nodepools_per_cluster": 20,
    "cs.nodes_per_cluster": 100,
}
"""What an account has before anybody raises it; ``world.settings["quotas"]`` may hold other numbers under these names."""

_TAG_KEY = re.compile(r"(?!aliyun|acs:)[^\s].{0,127}", re.DOTALL)
TAGS_MOST = 20


def quota(world: World, name: str) -> int:
    return int(world.settings.get("quotas", {}).get(name, QUOTAS[name]))


def wrong(field: str, value: Any, why: str, *, code: str = "InvalidParameter") -> ApiError:
    return ApiError(400, code, f"{field} {value!r}: {why}")


def in_path(call: LocalCall, name: str) -> str:
    """A value of the path; the APIs spell one name as ``ClusterId`` and as ``cluster_id``."""
    for key, value in call.path.items():
        if key.replace("_", "").lower() == name:
            return str(value)
    raise ApiError(400, "MissingParameter", f"the path has no {name}")


def body_of(call: LocalCall) -> dict[str, Any]:
    return call.body if isinstance(call.body, dict) else {}


def cluster_of(call: LocalCall, world: World) -> Thing:
    return found_cluster(world, in_path(call, "clusterid"))


def found_cluster(world: World, cluster_id: str) -> Thing:
    cluster = world.find(CLUSTER, cluster_id)
    if cluster is None:
        raise ApiError(404, "ErrorClusterNotFound", f"ClusterId {cluster_id!r}: no such cluster")
    return cluster


def running_cluster(call: LocalCall, world: World) -> Thing:
    """The cluster, for a call that changes something in it."""
    cluster = cluster_of(call, world)
    state = world.state(cluster)
    if state != "running":
        raise ApiError(
            400,
            "IncorrectStatus.Cluster",
            f"ClusterId {cluster.id!r} is {state}; this call needs it to be running",
        )
    return cluster


def nodepool_of(call: LocalCall, world: World) -> Thing:
    cluster = cluster_of(call, world)
    pool_id = in_path(call, "nodepoolid")
    pool = world.find(NODEPOOL, pool_id)
    if pool is None or pool.data["cluster_id"] != cluster.id:
        raise ApiError(
            404,
            "ErrorNodePoolNotFound",
            f"NodepoolId {pool_id!r}: no such node pool in cluster {cluster.id!r}",
        )
    return pool


def vswitches_of(
    world: World, ids: Sequence[str], *, vpc_id: str, field: str, region: str = ""
) -> list[Thing]:
    """The vSwitches, each of which must be there, be Available, and lie in the VPC."""
    vswitches = []
    for number, id in enumerate(ids):
        where = f"{field}[{number}]"
        vswitch = world.find("vswitch", id)
        if vswitch is None:
            raise ApiError(404, "InvalidVSwitchId.NotFound", f"{where} {id!r}: no such vSwitch")
        if vswitch.data.get("VpcId") != vpc_id:
            raise wrong(where, id, f"the vSwitch is not in VPC {vpc_id!r}", code="InvalidVSwitchId")
        state = world.state(vswitch)
        if state != "Available":
            raise ApiError(
                400,
                "IncorrectVSwitchStatus",
                f"{where} {id!r} is {state}; it must be Available",
            )
        if id in ids[:number]:
            raise wrong(where, id, "the vSwitch comes twice", code="InvalidVSwitchId")
        vswitches.append(vswitch)
    return vswitches


def tags_of(pairs: Iterable[Mapping[str, Any]] | None, *, field: str = "tags") -> dict[str, str]:
    """``[{"key", "value"}]`` as a map; refuses what no tag may be."""
    tags: dict[str, str] = {}
    for number, pair in enumerate(pairs or ()):
        key, value = str(pair.get("key") or ""), str(pair.get("value") or "")
        if not _TAG_KEY.fullmatch(key):
            raise wrong(
                f"{field}[{number}].key",
                key,
                "a tag key has 1 to 128 characters, not aliyun or acs: first",
            )
        if key in tags:
            raise wrong(f"{field}[{number}].key", key, "the key comes twice")
        if len(value) > 128:
            raise wrong(f"{field}[{number}].value", value, "a tag value has at most 128 characters")
        tags[key] = value
    if len(tags) > TAGS_MOST:
        raise wrong(field, len(tags), f"at most {TAGS_MOST} tags")
    return tags


def tag_pairs(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (tags or {}).items()]


def page_of(
    found: Sequence[T],
    params: Mapping[str, Any],
    *,
    default: int,
    most: int,
    names: tuple[str, str] = ("page_number", "page_size"),
) -> tuple[list[T], dict[str, int]]:
    """A page and its ``{"page_number", "page_size", "total_count"}``; numbers may be strings, as some of the APIs have them."""
    number, size = _whole(params, names[0], 1), _whole(params, names[1], default)
    if number < 1:
        raise wrong(names[0], number, "pages count from 1")
    if not 1 <= size <= most:
        raise wrong(names[1], size, f"1 to {most}")
    page = list(found[(number - 1) * size : number * size])
    return page, {"page_number": number, "page_size": size, "total_count": len(found)}


def _whole(params: Mapping[str, Any], name: str, default: int) -> int:
    value = params.get(name)
    if value is None or value == "":
        return default
    text = str(value)
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise wrong(name, value, "not a whole number")
    return int(text)


def token_page(
    found: Sequence[T], params: Mapping[str, Any], *, default: int = 50, most: int = 100
) -> tuple[list[T], str]:
    """The page after ``next_token``, and the next token: empty when that was the last."""
    size = _whole(params, "max_results", default)
    if not 1 <= size <= most:
        raise wrong("max_results", size, f"1 to {most}")
    token = str(params.get("next_token") or "0")
    if not re.fullmatch(r"[0-9]{1,9}", token):
        raise wrong("next_token", token, "not a token of an earlier answer")
    end = int(token) + size
    return list(found[int(token) : end]), str(end) if end < len(found) else ""


def seconds_between(world: World, low: float, high: float, *about: Any) -> float:
    """A duration that is always the same for the same world and subject."""
    return round(low + (high - low) * chance(world, *about), 1)


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spaced(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
