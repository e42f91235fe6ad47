"""A page of a list that is found already: by number, or by a token that says where to go on."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from saleops.services.cloud.answers import ApiError

T = TypeVar("T")


def numbered(
    found: Sequence[T],
    params: Mapping[str, Any],
    *,
    default: int,
    most: int,
    names: tuple[str, str] = ("PageNumber", "PageSize"),
) -> tuple[list[T], dict[str, int]]:
    """The page that ``params`` ask for, and ``{"PageNumber", "PageSize", "TotalCount"}`` of the answer."""
    number = _whole(params, names[0], 1)
    size = _whole(params, names[1], default)
    if number < 1:
        raise ApiError(400, f"Invalid{names[0]}", f"{names[0]} must be 1 or more, not {number}")
    if not 1 <= size <= most:
        raise ApiError(400, f"Invalid{names[1]}", f"{names[1]} must be 1 to {most}, not {size}")
    page = list(found[(number - 1) * size : number * size])
    return page, {"PageNumber": number, "PageSize": size, "TotalCount": len(found)}


def clamped(found: Sequence[T], params: Mapping[str, Any]) -> tuple[list[T], dict[str, int]]:
    """As RocketMQ pages: a number or size beyond its bounds counts as the bound, without a word."""
    number = min(max(_whole(params, "pageNumber", 1), 1), 100_000_000)
    size = min(max(_whole(params, "pageSize", 10), 10), 200)
    page = list(found[(number - 1) * size : number * size])
    return page, {"pageNumber": number, "pageSize": size, "totalCount": len(found)}


def by_token(
    found: Sequence[T], params: Mapping[str, Any], *, default: int = 30, most: int = 100
) -> tuple[list[T], dict[str, Any]]:
    """The page after ``NextToken``, and ``{"MaxResults", "NextToken"?, "TotalCount"}`` of the answer."""
    size = _whole(params, "MaxResults", default)
    if not 1 <= size <= most:
        raise ApiError(400, "PARAMETER.ILLEGALL", f"MaxResults must be 1 to {most}, not {size}")
    token = str(params.get("NextToken") or "0")
    if not token.isascii() or not token.isdecimal() or int(token[:12]) > len(found):
        raise ApiError(400, "PARAMETER.ILLEGALL", f"NextToken is none of ours: {token[:80]!r}")
    start = int(token[:12])
    answer: dict[str, Any] = {"MaxResults": size, "TotalCount": len(found)}
    if start + size < len(found):
        answer["NextToken"] = str(start + size)
    return list(found[start : start + size]), answer


def _whole(params: Mapping[str, Any], name: str, default: int) -> int:
    value = params.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ApiError(400, f"Invalid{name}", f"{name} is not a whole number: {value!r}") from None
