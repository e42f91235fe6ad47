"""Parameters as they travel: flat strings, and back.

RPC parameters are flat: ``Tag.1.Key=a``, ``InstanceTypes.2=b``, ``MinimumLoadBalancerCapacity.CapacityUnits=5``, counted
from 1. A ROA query is flat by nature: a list in it is one JSON string, or names joined by commas where the table says
``csv``. Every value is text; booleans are ``true``/``false``, and ``True``/``False`` from the vendor's Python SDKs.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from saleops.cloudapi.model import Api, Field
from saleops.cloudapi.problem import Problem, shown

LARGEST_INDEX = 1000
"""No list of any API is longer; a request that counts further is refused before anything of that size is built."""

_DEEPEST = 12
_LONGEST_NUMBER = 40


COMMON_RPC = frozenset(
    {
        *("Action", "Version", "Format", "Timestamp", "AccessKeyId", "SecurityToken", "RegionId"),
        *("Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "SignatureType"),
        *("OwnerId", "OwnerAccount", "ResourceOwnerId", "ResourceOwnerAccount"),
    }
)
"""Parameters that every RPC API takes and no metadata lists."""

COMMON_ROA = frozenset({"RegionId"})
"""Older SDKs add the region to the query of ROA calls."""


def common_of(api: Api) -> frozenset[str]:
    return COMMON_RPC if api.product.style == "RPC" else COMMON_ROA


class Parsed(NamedTuple):
    """Typed and nested parameters, and what was wrong with their flat spelling (gaps, index 0, ...).

    A value that cannot be read as its type stays text, and an unknown name stays too: `checks.problems` names both.
    """

    params: dict[str, Any]
    problems: list[Problem]


def flatten(api: Api, params: Mapping[str, Any]) -> dict[str, str]:
    """``params`` as they travel. None values are left out. Raises TypeError for a value that has no spelling on the wire."""
    flat: dict[str, str] = {}
    rpc = api.product.style == "RPC"
    for name, value in params.items():
        if value is None:
            continue
        field = api.params.get(name)
        if field is not None and field.type == "json":
            flat[name] = value if isinstance(value, str) else _dumped(value)
        elif field is not None and field.joined and not isinstance(value, str):
            flat[name] = ",".join(_text(entry) for entry in value)
        elif rpc:
            _flatten_into(flat, name, value, field)
        else:
            flat[name] = _dumped(value) if isinstance(value, list | tuple | dict) else _text(value)
    return flat


def _flatten_into(flat: dict[str, str], name: str, value: Any, field: Field | None) -> None:
    if value is None:
        return
    if field is not None and field.type == "json" and not isinstance(value, str):
        flat[name] = _dumped(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten_into(flat, f"{name}.{key}", inner, field.fields.get(key) if field else None)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value, 1):
            _flatten_into(flat, f"{name}.{number}", entry, field.items if field else None)
    else:
        flat[name] = _text(value)


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            raise TypeError(f"a {type(value).__name__} cannot travel as a parameter")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parse(api: Api, flat: Mapping[str, str]) -> Parsed:
    """The typed, nested parameters of ``flat``: what `flatten` was given. Costs O(what was sent), never O(an index).

    The common parameters (Action, Signature, ...) are left out, except RegionId and those that the API lists itself.
    """
    left_out = common_of(api) - {"RegionId"}
    tree: dict[str, Any] = {}
    found: list[Problem] = []
    for name, text in flat.items():
        if name in left_out and name not in api.params:
            continue
        if name in api.params and api.params[name].type not in ("array", "object", "any"):
            tree[name] = text
        elif "." in name and api.product.style == "RPC":
            _grow(tree, name, text, api, found)
        elif isinstance(tree.get(name), dict):
            found.append(Problem(shown(name), "type", "is sent whole and in parts"))
        else:
            tree[name] = text
    params = {
        name: _settled(value, api.params[name], name, found) if name in api.params else value
        for name, value in tree.items()
    }
    return Parsed(params, found)


def _grow(tree: dict[str, Any], name: str, text: str, api: Api, found: list[Problem]) -> None:
    """Hang ``text`` into ``tree`` at its dotted place; what has no such place in the table stays under its flat name."""
    parts = name.split(".", _DEEPEST)
    field = api.params.get(parts[0])
    if field is None or field.type not in ("array", "object", "any"):
        tree[name] = text
        return
    node = tree
    for part, below in zip(parts, [*parts[1:], None], strict=True):
        key: Any = part
        if node is not tree:
            if field is not None and field.type == "array":
                index = _index(part)
                if index is None:
                    found.append(Problem(shown(name), "range", _NO_INDEX))
                    return
                key, field = index, field.items
            else:
                field = field.fields.get(part) if field is not None else None
        if below is None:
            if key in node:
                found.append(Problem(shown(name), "type", "is sent whole and in parts"))
            else:
                node[key] = text
            return
        inner = node.setdefault(key, {})
        if not isinstance(inner, dict):
            found.append(Problem(shown(name), "type", "is sent whole and in parts"))
            return
        node = inner


_NO_INDEX = f"entries are counted from 1 to {LARGEST_INDEX}"


def _index(part: str) -> int | None:
    if part.isascii() and part.isdigit() and len(part) <= 4 and part[0] != "0":
        return number if (number := int(part)) <= LARGEST_INDEX else None
    return None


def _settled(value: Any, field: Field, where: str, found: list[Problem]) -> Any:
    """Lists for the counted dicts of `_grow`, typed values for text."""
    if field.type == "array" and isinstance(value, dict) and field.items is not None:
        numbers = sorted(value)
        missing = next((n for n, have in enumerate(numbers, 1) if n != have), None)
        if missing is not None:
            found.append(Problem(f"{where}.{missing}", "missing", f"{where}.{numbers[-1]} is sent"))
        return [
            _settled(value[number], field.items, f"{where}.{number}", found) for number in numbers
        ]
    if field.type == "object" and isinstance(value, dict):
        return {
            name: _settled(inner, field.fields[name], f"{where}.{name}", found)
            if name in field.fields
            else inner
            for name, inner in value.items()
        }
    return from_wire(value, field)


def typed(api: Api, params: Mapping[str, Any]) -> dict[str, Any]:
    """``params``, nested already, with each text read as the type that the table gives its place."""
    return {
        name: _typed(value, api.params[name]) if name in api.params else value
        for name, value in params.items()
    }


def _typed(value: Any, field: Field) -> Any:
    if isinstance(value, Mapping) and field.type == "object":
        return {
            name: _typed(inner, field.fields[name]) if name in field.fields else inner
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple) and field.type == "array" and field.items is not None:
        return [_typed(entry, field.items) for entry in value]
    return from_wire(value, field)


def from_wire(value: Any, field: Field) -> Any:
    """The value that wire text stands for; anything that cannot be read as ``field``'s type stays as it is."""
    if not isinstance(value, str):
        return value
    match field.type:
        case "boolean":
            return {"true": True, "false": False}.get(value.lower(), value)
        case "integer" | "number":
            return _number(value, whole=field.type == "integer")
        case "json":
            return _json_or(value)
        case "array" if field.joined:
            return [part for part in value.split(",") if part]
        case _:
            return value


def _number(text: str, *, whole: bool) -> Any:
    if len(text) > _LONGEST_NUMBER or not text.isascii() or "_" in text or text != text.strip():
        return text
    try:
        return int(text)
    except ValueError:
        pass
    if whole:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _json_or(text: str) -> Any:
    try:
        return json_document(text)
    except ValueError:
        return text


def json_document(text: str) -> Any:
    """The document in ``text``. Raises ValueError, also for one nested too deep to read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
