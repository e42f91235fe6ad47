"""A change as somebody in the console would make it: one value of a thing, found by its path.

What is there keeps its shape: another type than the one that is there, or a path that is not there, is refused. So every answer
can still be made from what an edit left.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from saleops.services.cloud.answers import ApiError

PATH_MAX = 500
DEPTH_MAX = 16
INDEX_DIGITS_MAX = 6
TEXT_MAX = 64 * 1024
VALUES_MAX = 10_000


def edit(data: dict[str, Any], path: str, value: Any) -> None:
    """Put ``value`` at ``path`` (``a.b.0``) of ``data``. Raises ApiError, and then nothing was changed."""
    if len(path) > PATH_MAX:
        raise wrong(f"path has {len(path):,} characters; {PATH_MAX} is the most")
    parts = path.split(".")
    if len(parts) > DEPTH_MAX:
        raise wrong(f"path goes {len(parts):,} levels deep; {DEPTH_MAX} is the most")
    check_size("value", value)
    holder: Any = data
    for place, part in enumerate(parts):
        key = _key(holder, part, ".".join(parts[:place]))
        if place < len(parts) - 1:
            holder = holder[key]
        else:
            if problem := _unlike(holder[key], value, path):
                raise wrong(problem)
            holder[key] = value


def check_size(name: str, value: Any) -> None:
    """Raises ApiError for what is too deep, too long or too much to be kept."""
    waiting = [(value, 1)]
    count = 0
    while waiting:
        one, depth = waiting.pop()
        count += 1
        if depth > DEPTH_MAX:
            raise wrong(f"{name} is nested deeper than {DEPTH_MAX} levels")
        if count > VALUES_MAX:
            raise wrong(f"{name} holds more than {VALUES_MAX:,} values")
        if isinstance(one, str) and len(one) > TEXT_MAX:
            raise wrong(f"{name} holds a text of {len(one):,} characters; {TEXT_MAX:,} is the most")
        if isinstance(one, int) and one.bit_length() > 63:
            raise wrong(f"{name} holds a number that is too large")
        if isinstance(one, float) and one in (float("inf"), float("-inf")):
            raise wrong(f"{name} holds a number that is too large")
        waiting += [(below, depth + 1) for below in _below(one)]


def _below(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _key(holder: Any, part: str, above: str) -> Any:
    where = f"{above[:100]!r}" if above else "the thing"
    if isinstance(holder, list):
        if not (part.isascii() and part.isdigit() and len(part) <= INDEX_DIGITS_MAX):
            raise wrong(f"{where} is a list of {len(holder)}: {part[:60]!r} is no entry of it")
        if int(part) >= len(holder):
            raise wrong(f"{where} is a list of {len(holder)}, from 0: it has no entry {part}")
        return int(part)
    if not isinstance(holder, dict):
        raise wrong(f"there is nothing below {where}: it is {_named(holder)}")
    if part not in holder:
        names = [str(name) for name in holder]
        near = get_close_matches(part[:100], names, n=1, cutoff=0.5) or [
            name for name in names if name.lower() == part.lower()
        ]
        meant = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(names[:30])}"
        raise wrong(f"{where} has no {part[:60]!r}{meant}")
    return part


def _unlike(old: Any, new: Any, where: str) -> str:
    """Why ``new`` cannot stand where ``old`` is; empty when it can."""
    if old is None:
        return ""
    if _named(old) != _named(new):
        return f"{where[:100]} is {_named(old)}, not {_named(new)}"
    if isinstance(old, list) and old:
        found = (_unlike(old[0], one, f"{where}.{place}") for place, one in enumerate(new))
        return next(filter(None, found), "")
    if isinstance(old, dict):
        texts = all(isinstance(one, str) for one in old.values())  # a map, such as tags
        lacking = [] if texts else [name for name in old if name not in new]
        if lacking:
            return f"{where[:100]} lacks {', '.join(map(str, lacking[:10]))}"
        if texts and old:
            found = (_unlike("", one, f"{where}.{name}") for name, one in new.items())
        else:
            found = (_unlike(old[name], new[name], f"{where}.{name}") for name in old)
        return next(filter(None, found), "")
    return ""


def _named(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, name in ((int | float, "a number"), (str, "a text"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "an object"


def wrong(why: str) -> ApiError:
    return ApiError(400, "Invalid", why)
