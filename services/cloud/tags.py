"""Tags: kept as ``data["Tags"]``, a dict of key to value, on every thing that can have them."""

from collections.abc import Mapping, Sequence
from typing import Any

from saleops.services.cloud.answers import Answerer, LocalCall, answers
from saleops.services.cloud.pages import tokened
from saleops.services.cloud.refusals import missing, needed, wrong
from saleops.services.cloud.world import Thing, World

TAGS_MOST = 20


def sent_tags(call: LocalCall, field: str = "Tag") -> dict[str, str]:
    """The tags of a writing call. Refuses more than 20, a key twice, and what no key or value may be."""
    sent: Sequence[Mapping[str, Any]] = call.params.get(field) or ()
    if len(sent) > TAGS_MOST:
        raise wrong("NumberExceed.Tags", field, len(sent), f"at most {TAGS_MOST} tags")
    tags: dict[str, str] = {}
    for index, tag in enumerate(sent, 1):
        key, value = str(tag.get("Key") or ""), str(tag.get("Value") or "")
        where = f"{field}.{index}.Key"
        if not key:
            raise wrong("MissingParameter.TagKey", where, key, "a tag needs a key")
        if key in tags:
            raise wrong("Duplicate.TagKey", where, key, "each key once")
        if (
            len(key) > 128
            or key.startswith(("aliyun", "acs:"))
            or "http://" in key
            or "https://" in key
        ):
            raise wrong(
                "InvalidTagKey.Malformed", where, key, "1 to 128 characters, no aliyun, acs: or URL"
            )
        if len(value) > 128 or "http://" in value or "https://" in value:
            raise wrong(
                "InvalidTagValue.Malformed",
                f"{field}.{index}.Value",
                value,
                "at most 128 characters, no URL",
            )
        tags[key] = value
    return tags


def has_tags(call: LocalCall, thing: Thing, field: str = "Tag") -> bool:
    """Whether the thing has every tag the call filters by; a filter without a value wants the key alone."""
    own = thing.data.get("Tags") or {}
    return all(
        tag.get("Key") in own and tag.get("Value") in (None, own[tag["Key"]])
        for tag in call.params.get(field) or ()
    )


def written(thing: Thing, key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Tags as answers list them: ``Key``/``Value``, or ``TagKey``/``TagValue`` in some."""
    return [{key: k, value: v} for k, v in (thing.data.get("Tags") or {}).items()]


def register_tagging(
    product: str,
    kinds: Mapping[str, Sequence[str]],
    *,
    not_found: str,
    wrapped: bool = True,
    size: int = 50,
    most: int | None = 50,
) -> None:
    """Answers TagResources and ListTagResources of a product. ``kinds`` maps ``ResourceType``, in lower case, to the kinds of
    thing it means; ``wrapped`` lists stand under ``TagResource`` as older products have it; ``most`` is None where the API
    has no ``MaxResults``."""
    answers(product, "TagResources")(_tagger(kinds, not_found))
    answers(product, "ListTagResources")(_lister(kinds, not_found, wrapped, size, most))


def _tagger(kinds: Mapping[str, Sequence[str]], not_found: str) -> Answerer:
    def tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
        things = [
            _tagged(call, world, kinds, id, not_found) for id in call.params.get("ResourceId") or ()
        ]
        if not things:
            raise needed("ResourceId")
        tags = sent_tags(call)
        if not tags:
            raise needed("Tag")
        for thing in things:
            both = {**(thing.data.get("Tags") or {}), **tags}
            if len(both) > TAGS_MOST:
                raise wrong(
                    "NumberExceed.Tags", "ResourceId", thing.id, f"it would have {len(both)} tags"
                )
        for thing in things:
            world.update(thing, Tags={**(thing.data.get("Tags") or {}), **tags})
        return {}

    return tag_resources


def _lister(
    kinds: Mapping[str, Sequence[str]], not_found: str, wrapped: bool, size: int, most: int | None
) -> Answerer:
    def list_tag_resources(call: LocalCall, world: World) -> dict[str, Any]:
        ids = call.params.get("ResourceId") or ()
        if not ids and not call.params.get("Tag"):
            raise needed("ResourceId", "or Tag")
        if ids:
            found = [_tagged(call, world, kinds, id, not_found) for id in ids]
        else:
            found = [t for kind in _kinds(call, kinds) for t in world.listed(kind)]
        rows = [
            {
                "ResourceId": thing.id,
                "ResourceType": call.params["ResourceType"],
                "TagKey": key,
                "TagValue": value,
            }
            for thing in found
            if thing.data.get("RegionId", call.region) == call.region and has_tags(call, thing)
            for key, value in (thing.data.get("Tags") or {}).items()
        ]
        page, about = tokened(call, rows, size=size, most=most or size)
        answer: dict[str, Any] = {"TagResources": {"TagResource": page} if wrapped else page}
        if "NextToken" in about:
            answer["NextToken"] = about["NextToken"]
        if not wrapped:
            answer["MaxResults"] = about["MaxResults"]
        return answer

    return list_tag_resources


def _kinds(call: LocalCall, kinds: Mapping[str, Sequence[str]]) -> Sequence[str]:
    wanted = str(call.params["ResourceType"]).lower()
    if wanted not in kinds:
        raise wrong(
            "InvalidResourceType.NotFound",
            "ResourceType",
            call.params["ResourceType"],
            "use " + ", ".join(kinds),
        )
    return kinds[wanted]


def _tagged(
    call: LocalCall, world: World, kinds: Mapping[str, Sequence[str]], id: str, not_found: str
) -> Thing:
    for kind in _kinds(call, kinds):
        thing = world.find(kind, id)
        if thing is not None:
            return thing
    raise missing(not_found, "ResourceId", id)
