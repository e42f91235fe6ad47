"""Reads a list call to its end: every page asked for, every item kept, within a bound.

The APIs page in a handful of ways; a ``Paging`` says which. ``every_page`` is a generator of calls like
``Resource.look``: it yields a call, is sent the answer, and returns all the items.

A numbered list has no snapshot: when something is made while it is read, an item moves to the next page and shows twice. So
the end is a page that is not full, never a total that may have changed, and an item that comes again is kept once.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from saleops.domain.cloud.calls import Answer, Call

PAGES_MAX = 200
"""A list of more pages than this is no list of one sale's things."""


@dataclass(frozen=True, slots=True)
class Paging:
    """How an API pages: ``place`` names the parameter that says where, ``size`` the one that says how many, at most
    ``items_max`` a page. A "token" place is answered under the same name (or ``answered``, a dotted path) until it is empty."""

    kind: Literal["number", "text-number", "token"]
    place: str
    size: str
    items_max: int
    answered: str = ""

    def within(self, items_max: int) -> "Paging":
        """The same for an API with smaller (or larger) pages."""
        return replace(self, items_max=items_max)


NUMBERED = Paging("number", "PageNumber", "PageSize", 50)
"""vpc, ecs, polardb (30, 50 or 100 only), r-kvstore and DCDN tasks (50 at most)."""

TOKENED = Paging("token", "NextToken", "MaxResults", 100)
"""alb, quotas, lists of tags."""

CLUSTERS = Paging("number", "page_number", "page_size", 50)
"""cs DescribeClustersV1."""

NODES = Paging("text-number", "pageNumber", "pageSize", 100)
"""cs DescribeClusterNodes: the numbers travel as text."""

QUEUES = Paging("number", "pageNumber", "pageSize", 100)
"""RocketMQ; it clamps sizes outside 10..200 without a word."""


def every_page(
    call: Call, items: str, paging: Paging = NUMBERED
) -> Generator[Call, Answer, list[Any]]:
    """All items of the list call ``call``, which are in its answers at the dotted path ``items`` ("Vpcs.Vpc").

    Raises ValueError when the list does not end within ``PAGES_MAX`` pages.
    """
    found: list[Any] = []
    place: Any = "1" if paging.kind == "text-number" else 1
    size: Any = str(paging.items_max) if paging.kind == "text-number" else paging.items_max
    if paging.kind == "token":
        place = None
    for page in range(1, PAGES_MAX + 1):
        answer = yield replace(call, params=_asked(call, paging, place, size))
        here = _at(answer, items) or []
        if not isinstance(here, list):
            raise ValueError(f"{call}: {items} is no list")
        found += [one for one in here if one not in found] if page > 1 else here
        if paging.kind == "token":
            place = _at(answer, paging.answered or paging.place)
            if not place:
                return found
        elif len(here) < paging.items_max:
            return found
        else:
            place = str(page + 1) if paging.kind == "text-number" else page + 1
    raise ValueError(f"{call}: more than {PAGES_MAX} pages of {items}")


def _asked(call: Call, paging: Paging, place: Any, size: Any) -> dict[str, Any]:
    asked = {**call.params, paging.size: size}
    if place is not None:
        asked[paging.place] = place
    return asked


def _at(answer: Any, path: str) -> Any:
    """What is at the dotted ``path`` of ``answer``; None where a step of it is not there."""
    for name in path.split("."):
        if not isinstance(answer, Mapping):
            return None
        answer = answer.get(name)
    return answer
