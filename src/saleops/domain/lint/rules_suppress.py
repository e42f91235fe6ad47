"""What is wrong with suppressions: they are promises with a date, so they are checked like everything else."""

from collections.abc import Iterator

from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule

_SOURCE = "saleops, docs/how-to/lint.md"
_GOOD = "# saleops: ignore ALB002 until 2026-12-31 reason: the old class goes with release 7"


def _troubles(fleet: Fleet, id: str) -> Iterator[Hit]:
    for one in fleet.troubles:
        if one.id == id:
            yield Hit(one.document, one.path, one.message)


@rule(
    "SUP001",
    "error",
    "A suppression without a reason, a day or a rule",
    why="It suppresses nothing: nobody could say later whether it still holds.",
    fix=f"Write all three: {_GOOD}",
    source=_SOURCE,
    bad="# saleops: ignore ALB002",
    good=_GOOD,
)
def incomplete(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SUP001")


@rule(
    "SUP002",
    "error",
    "A suppression has expired",
    why="What it covered is said again: it was to be mended by then.",
    fix="Mend what it covers and take it away, or give it a new day and say why.",
    source=_SOURCE,
    bad="# saleops: ignore ALB002 until 2020-01-01 reason: soon",
    good=_GOOD,
)
def expired(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SUP002")


@rule(
    "SUP003",
    "warning",
    "A suppression covers nothing",
    why="What it covered is mended or has moved; left here it would hide the next mistake at this place.",
    fix="Take it away.",
    source=_SOURCE,
)
def unused(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SUP003")


@rule(
    "SUP004",
    "error",
    "A suppression names a rule that is none",
    why="It suppresses nothing.",
    fix="`saleops lint rules` lists them.",
    source=_SOURCE,
    bad="# saleops: ignore ALB999 until 2026-12-31 reason: soon",
    good=_GOOD,
)
def unknown(fleet: Fleet) -> Iterator[Hit]:
    return _troubles(fleet, "SUP004")
