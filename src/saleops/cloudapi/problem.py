"""One thing that is wrong with a request, and the words for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

ProblemCode = Literal["unknown", "missing", "type", "value", "range"]

_SHOWN_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Problem:
    """``where`` is the field's place, entries counted from 0: "scaling_group.spot_price_limit[0].price_limit"."""

    where: str
    code: ProblemCode
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def shown(text: object) -> str:
    """``text`` on one line and short enough for a message, whoever sent it."""
    line = str(text)[: _SHOWN_CHARACTERS + 1] or '""'
    line = "".join(mark if mark.isprintable() else "?" for mark in line)
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"


def named(value: Any) -> str:
    """The kind of ``value`` in the words of JSON, never the value: it may be a secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return type(value).__name__


def nearest(name: object, known: Iterable[str]) -> str:
    """ "; did you mean VpcId?", or nothing where no known name is near."""
    if not isinstance(name, str) or not 2 <= len(name) <= _SHOWN_CHARACTERS:
        return ""
    names = list(known)
    folded = name.replace("_", "").lower()
    for other in names:
        if other.replace("_", "").lower() == folded:
            return f"; did you mean {other}?"
    from difflib import get_close_matches  # not needed while requests are right

    near = get_close_matches(name, names, 1, 0.75)
    return f"; did you mean {near[0]}?" if near else ""
