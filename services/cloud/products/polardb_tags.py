"""Tags of PolarDB clusters."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.polardb_calls import CLUSTER, sent_tags, wrong
from saleops.services.cloud.world import Thing, World


@answers("polardb", "TagResources")
def tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    _check_type(call.params.get("ResourceType"))
    tags = sent_tags(call)
    clusters = [_known(world, id) for id in call.params.get("ResourceId") or ()]
    if not tags or not clusters:
        raise ApiError(400, "MissingParameter", "ResourceId and Tag: name at least one of each")
    for cluster in clusters:
        if len({**cluster.data["Tags"], **tags}) > 20:
            raise wrong(
                "Tag",
                len(tags),
                f"{cluster.id!r} would have more than 20",
                code="NumberExceed.Tags",
            )
    for cluster in clusters:
        world.update(cluster, Tags={**cluster.data["Tags"], **tags})
    return {}


@answers("polardb", "ListTagResources")
def list_tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    _check_type(params.get("ResourceType"))
    ids = params.get("ResourceId") or ()
    clusters = (
        [_known(world, id) for id in ids]
        if ids
        else list(world.listed(CLUSTER, RegionId=params["RegionId"]))
    )
    rows = [
        {"ResourceId": cluster.id, "ResourceType": "cluster", "TagKey": key, "TagValue": value}
        for cluster in clusters
        if all(
            tag.get("Key") in cluster.data["Tags"]
            and tag.get("Value") in (None, "", cluster.data["Tags"][tag["Key"]])
            for tag in params.get("Tag") or ()
        )
        for key, value in cluster.data["Tags"].items()
    ]
    return {"NextToken": "", "TagResources": {"TagResource": rows}}


def _check_type(type: Any) -> None:
    if str(type or "").lower() != "cluster":
        raise wrong("ResourceType", type, "use cluster", code="InvalidResourceType.NotFound")


def _known(world: World, id: str) -> Thing:
    cluster = world.find(CLUSTER, id)
    if cluster is None:
        raise ApiError(404, "InvalidDBClusterId.NotFound", f"ResourceId {id!r}: no such cluster")
    return cluster
