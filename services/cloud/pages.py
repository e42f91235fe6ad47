"""Paging of lists, in the two forms the APIs have: by number and size, and by token."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from saleops.services.cloud.answers import LocalCall
from saleops.services.cloud.refusals import wrong

Item = TypeVar("Item")


def numbered(
    call: LocalCall, items: Iterable[Item], *, size: int = 10, most: int = 50
) -> tuple[Sequence[Item], dict[str, Any]]:
    """The page that ``PageNumber`` and ``PageSize`` ask for, and the answer's own words on it."""
    number = _whole(call, "PageNumber", 1, low=1, high=None)
    size = _whole(call, "PageSize", size, low=1, high=most)
    every = list(items)
    start = (number - 1) * size
    about = {"TotalCount": len(every), "PageNumber": number, "PageSize": size}
    return every[start : start + size], about


def tokened(
    call: LocalCall,
    items: Iterable[Item],
    *,
    size: int = 20,
    most: int = 100,
    low: int = 1,
) -> tuple[Sequence[Item], dict[str, Any]]:
    """The page after ``NextToken`` of ``MaxResults`` items. The last page has no token."""
    size = _whole(call, "MaxResults", size, low=low, high=most)
    every = list(items)
    start = _offset(call)
    page = every[start : start + size]
    about: dict[str, Any] = {"MaxResults": size, "TotalCount": len(every)}
    if start + size < len(every):
        about["NextToken"] = base64.urlsafe_b64encode(f"after {start + size}".encode()).decode()
    return page, about


def _whole(call: LocalCall, field: str, default: int, *, low: int, high: int | None) -> int:
    value = call.params.get(field)
    if value is None:
        return default
    if value < low or (high is not None and value > high):
        limits = f"{low} or more" if high is None else f"{low} to {high}"
        raise wrong("InvalidParameter", field, value, f"a whole number, {limits}")
    return int(value)


def _offset(call: LocalCall) -> int:
    token = call.params.get("NextToken")
    if not token:
        return 0
    try:
        word, offset = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        if word == "after" and offset.isascii() and offset.isdigit():
            return int(offset)
    except (ValueError, binascii.Error):
        pass  # answered below, with the token
    raise wrong("InvalidParameter", "NextToken", token, "use the token of the answer before")
