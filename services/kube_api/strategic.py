"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

Objects merge and null removes, as in RFC 7396. A list with a merge key merges entry by entry; ``$patch: delete`` in an entry
removes it, ``$patch: replace`` in an object or as an entry of a list replaces all of it, ``$retainKeys`` drops every key it does
not name, ``$deleteFromPrimitiveList/x`` takes plain values out of a set, ``$setElementOrder/x`` puts the entries in an order.
"""

from collections.abc import Mapping
from typing import Any

from saleops.services.kube_api.documents import copied
from saleops.services.kube_api.list_keys import ListRule, Path
from saleops.services.kube_api.refusals import bad_request

_ORDER = "$setElementOrder/"
_TAKE_OUT = "$deleteFromPrimitiveList/"
_WHOLE = ListRule()

Rules = Mapping[Path, ListRule]


def strategic_merged(old: Any, patch: Any, rules: Rules, path: Path = ()) -> Any:
    """``old`` with ``patch``. Raises KubeError 400 for directives that make no sense."""
    if not isinstance(patch, dict):
        return copied(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return copied({name: one for name, one in patch.items() if name != "$patch"})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type: {str(directive)[:60]}")
    result = dict(old) if isinstance(old, dict) else {}
    retained = patch.get("$retainKeys")
    if isinstance(retained, list):
        result = {name: one for name, one in result.items() if name in retained}
    for name, value in patch.items():
        if name in ("$patch", "$retainKeys") or name.startswith(_ORDER):
            continue
        if name.startswith(_TAKE_OUT):
            field = name.removeprefix(_TAKE_OUT)
            gone = value if isinstance(value, list) else []
            result[field] = [one for one in _listed(result.get(field)) if one not in gone]
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, list):
            result[name] = _list_merged(result.get(name), value, rules, (*path, name))
        else:
            result[name] = strategic_merged(result.get(name), value, rules, (*path, name))
    for name, value in patch.items():
        if name.startswith(_ORDER) and isinstance(value, list):
            field = name.removeprefix(_ORDER)
            if isinstance(result.get(field), list):
                key = rules.get((*path, field), _WHOLE).patch_key
                result[field] = _ordered(result[field], value, key)
    return result


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_merged(old: Any, patch: list[Any], rules: Rules, path: Path) -> list[Any]:
    key = rules.get(path, _WHOLE).patch_key
    if not key:
        return [copied(one) for one in patch]
    result = list(_listed(old))
    if key == "=":
        return result + [copied(one) for one in patch if one not in result]
    if any(isinstance(one, dict) and one.get("$patch") == "replace" for one in patch):
        return [
            strategic_merged({}, one, rules, path)
            for one in patch
            if not (isinstance(one, dict) and one.get("$patch") == "replace")
        ]
    for one in patch:
        if not isinstance(one, dict):
            raise bad_request(f"{'.'.join(path)} takes objects")
        if key not in one:
            raise bad_request(f"map: {_shown(one)} does not contain declared merge key: {key}")
        places = [
            place
            for place, there in enumerate(result)
            if isinstance(there, dict) and there.get(key) == one[key]
        ]
        if one.get("$patch") == "delete":
            result = [there for place, there in enumerate(result) if place not in places]
        elif places:
            result[places[0]] = strategic_merged(result[places[0]], one, rules, path)
        else:
            result.append(strategic_merged({}, one, rules, path))
    return result


def _ordered(entries: list[Any], order: list[Any], key: str) -> list[Any]:
    """Those that ``order`` names, in its order; the others keep their place behind the one they followed."""
    if key == "=":
        wanted = list(order)
        name_of = list(entries)
    else:
        wanted = [one.get(key) for one in order if isinstance(one, dict)]
        name_of = [one.get(key) if isinstance(one, dict) else None for one in entries]
    groups: dict[Any, list[Any]] = {name: [] for name in _hashable(wanted)}
    first: list[Any] = []
    current = first
    for name, one in zip(name_of, entries, strict=True):
        if isinstance(name, str | int) and name in groups:
            current = groups[name]
        current.append(one)
    return first + [one for group in groups.values() for one in group]


def _hashable(names: list[Any]) -> list[Any]:
    return [one for one in names if isinstance(one, str | int)]


def _shown(one: dict[str, Any]) -> str:
    return str({name: one[name] for name in list(one)[:3]})[:120]
