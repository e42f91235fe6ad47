"""Tags as a map in a thing's data, and as the lists of pairs that calls and answers hold."""

from collections.abc import Iterable, Mapping
from typing import Any

from saleops.services.cloud.answers import ApiError

TAGS_MOST = 20


def from_pairs(
    pairs: Iterable[Mapping[str, Any]] | None, *, names: tuple[str, str] = ("Key", "Value")
) -> dict[str, str]:
    """``[{"Key": "a", "Value": "b"}]`` as ``{"a": "b"}``; refuses empty and repeated keys."""
    tags: dict[str, str] = {}
    for number, pair in enumerate(pairs or (), start=1):
        key = str(pair.get(names[0]) or "")
        if not key or len(key) > 128 or key.startswith(("aliyun", "acs:")):
            raise ApiError(
                400, "InvalidTagKey.Malformed", f"Tag.{number}.{names[0]} is not a tag key: {key!r}"
            )
        if key in tags:
            raise ApiError(400, "Duplicate.TagKey", f"Tag.{number}.{names[0]} comes twice: {key!r}")
        tags[key] = str(pair.get(names[1]) or "")
    return added({}, tags)


def to_pairs(
    tags: Mapping[str, str] | None, *, names: tuple[str, str] = ("Key", "Value")
) -> list[dict[str, str]]:
    return [{names[0]: key, names[1]: value} for key, value in (tags or {}).items()]


def matches(tags: Mapping[str, str] | None, wanted: Iterable[Mapping[str, Any]] | None) -> bool:
    """Whether ``tags`` have every pair of a filter; a pair without a value asks only for the key."""
    have = tags or {}
    return all(
        pair.get("Key") in have and pair.get("Value") in (None, "", have[str(pair.get("Key"))])
        for pair in wanted or ()
    )


def added(tags: Mapping[str, str] | None, more: Mapping[str, str]) -> dict[str, str]:
    together = {**(tags or {}), **more}
    if len(together) > TAGS_MOST:
        raise ApiError(
            400,
            "NumberExceed.Tags",
            f"{len(together)} tags are more than the {TAGS_MOST} a resource may have",
        )
    return together
