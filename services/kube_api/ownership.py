"""Which manager owns which field (``metadata.managedFields``), and server-side apply on top of it.

A set of fields is a set of paths; a step of a path is "f:name" for a field, 'k:{"name":"app"}' for the entry of a keyed list,
"v:..." for a plain value of a set, as in FieldsV1. A path that ends in "." is the thing itself, without what is below it.

A plain change ("Update") takes ownership of what it changes. An apply owns all it names, conflicts with other owners of what it
would change, and removes what it named last time and no longer does, unless somebody else owns that too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from saleops.services.kube_api.documents import Document, copied, mapping, meta, sequence, text
from saleops.services.kube_api.kinds import Kind
from saleops.services.kube_api.list_keys import ListRule, Path, list_rules
from saleops.services.kube_api.refusals import bad_request, ownership_conflict

Fields = frozenset[tuple[str, ...]]
Rules = Mapping[Path, ListRule]

_UNOWNED = {
    ("apiVersion",),
    ("kind",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "uid"),
    ("metadata", "resourceVersion"),
    ("metadata", "generation"),
    ("metadata", "creationTimestamp"),
    ("metadata", "managedFields"),
    ("metadata", "selfLink"),
    ("metadata", "deletionTimestamp"),
    ("metadata", "deletionGracePeriodSeconds"),
}
_ATOMIC = {("spec", "selector"), ("spec", "selector", "matchLabels")}
_WHOLE = ListRule()
_DEFAULT_KEYS = {"protocol": "TCP"}


def fields_of(document: Mapping[str, Any], rules: Rules) -> Fields:
    """Every field that ``document`` names."""
    return frozenset(_walk(document, rules, (), ()))


def _walk(
    value: Any, rules: Rules, path: Path, steps: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and not (path == ("spec", "selector") and _is_selector(value)):
        if not value and steps:
            yield steps
        for name, one in value.items():
            if (*path, name) not in _UNOWNED:
                yield from _walk(one, rules, (*path, name), (*steps, f"f:{name}"))
        return
    if isinstance(value, list):
        keys = rules.get(path, _WHOLE).apply_keys
        if keys == ("=",):
            for one in value:
                yield (*steps, f"v:{json.dumps(one)}")
            return
        if keys and all(isinstance(one, dict) for one in value):
            for one in value:
                step = _key_step(one, keys)
                yield (*steps, step, ".")
                yield from _walk(one, rules, path, (*steps, step))
            return
    yield steps


def _is_selector(value: dict[str, Any]) -> bool:
    return "matchLabels" in value or "matchExpressions" in value


def _key_step(entry: dict[str, Any], keys: tuple[str, ...]) -> str:
    named = {key: entry.get(key, _DEFAULT_KEYS.get(key)) for key in keys}
    return "k:" + json.dumps(
        {key: one for key, one in named.items() if one is not None},
        sort_keys=True,
        separators=(",", ":"),
    )


def value_at(document: Any, steps: tuple[str, ...]) -> Any:
    """What is at ``steps``; ``MISSING`` where nothing is."""
    for step in steps:
        if step == ".":
            return True
        document = _step_into(document, step)
        if document is MISSING:
            return MISSING
    return document


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


def _step_into(document: Any, step: str) -> Any:
    sort, _, rest = step.partition(":")
    if sort == "f":
        return document.get(rest, MISSING) if isinstance(document, dict) else MISSING
    if not isinstance(document, list):
        return MISSING
    if sort == "v":
        wanted = json.loads(rest)
        return wanted if wanted in document else MISSING
    place = _entry(document, rest)
    return MISSING if place is None else document[place]


def _entry(entries: list[Any], keys: str) -> int | None:
    wanted = json.loads(keys)
    for place, one in enumerate(entries):
        if isinstance(one, dict) and all(
            one.get(key, _DEFAULT_KEYS.get(key)) == value for key, value in wanted.items()
        ):
            return place
    return None


# -- managedFields ------------------------------------------------------------------------------------------


def as_v1(fields: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """FieldsV1: a trie of steps."""
    tree: dict[str, Any] = {}
    for steps in sorted(fields):
        holder = tree
        for step in steps:
            holder = holder.setdefault(step, {})
    return tree


def from_v1(tree: Any) -> Fields:
    return frozenset(_leaves(tree, ()))


def _leaves(tree: Any, steps: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(tree, dict) or not tree:
        if steps:
            yield steps
        return
    for step, below in tree.items():
        yield from _leaves(below, (*steps, step))


def entries_of(document: Mapping[str, Any]) -> list[Document]:
    return [
        one
        for one in sequence(mapping(document.get("metadata")).get("managedFields"))
        if isinstance(one, dict)
    ]


def _entry_of(
    manager: str,
    operation: str,
    version: str,
    fields: Iterable[tuple[str, ...]],
    now: str,
    subresource: str = "",
) -> Document:
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": as_v1(fields),
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def remember_update(
    kind: Kind,
    old: Document | None,
    new: Document,
    manager: str,
    *,
    now: str,
    subresource: str = "",
) -> None:
    """Note in ``new`` that ``manager`` changed what differs from ``old``."""
    rules = list_rules(kind.group, kind.kind)
    before = fields_of(old, rules) if old is not None else frozenset()
    after = fields_of(new, rules)
    changed = {
        steps
        for steps in after
        if (steps not in before or value_at(old, steps) != value_at(new, steps))
        and (subresource == "status" or steps[0] != "f:status")
    }
    if (
        not changed
        and old is not None
        and {one for one in before - after if one[0] != "f:status"} == set()
    ):
        _keep_entries(old, new)
        return
    entries: list[Document] = []
    mine: set[tuple[str, ...]] = set(changed)
    for entry in entries_of(old if old is not None else {}):
        owned = from_v1(entry.get("fieldsV1")) & after
        same = (
            entry.get("manager") == manager
            and entry.get("operation") == "Update"
            and text(entry.get("subresource")) == subresource
        )
        if same:
            mine |= owned
        else:
            left = owned - changed
            if left:
                unchanged = from_v1(entry.get("fieldsV1")) == left
                entries.append(entry if unchanged else {**entry, "fieldsV1": as_v1(left)})
    if mine:
        entries.append(_entry_of(manager, "Update", kind.api_version(), mine, now, subresource))
    metadata = meta(new)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def _keep_entries(old: Document, new: Document) -> None:
    entries = entries_of(old)
    if entries:
        meta(new)["managedFields"] = entries
    else:
        meta(new).pop("managedFields", None)


# -- server-side apply --------------------------------------------------------------------------------------


def applied(
    kind: Kind,
    old: Document | None,
    config: Document,
    manager: str,
    *,
    force: bool,
    now: str,
    subresource: str = "",
) -> Document:
    """``old`` (None: nothing is there yet) after ``manager`` applied ``config``. Raises KubeError 409 naming the owners."""
    rules = list_rules(kind.group, kind.kind)
    wanted = fields_of(config, rules)
    _check_keys(config, rules, ())
    live = copied(old) if old is not None else {"metadata": {}}
    entries = entries_of(old or {})
    before: Fields = frozenset()
    others: list[tuple[Document, Fields]] = []
    for entry in entries:
        owned = from_v1(entry.get("fieldsV1"))
        if (
            entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and text(entry.get("subresource")) == subresource
        ):
            before = owned
        else:
            others.append((entry, owned))
    changed = {
        steps
        for steps in wanted
        if steps[-1] != "." and value_at(live, steps) != value_at(config, steps)
    }
    clashes: list[tuple[str, str, str]] = []
    for entry, owned in others:
        for steps in sorted(changed):
            if _touches(steps, owned):
                version = (
                    text(entry.get("apiVersion")) if entry.get("operation") == "Update" else ""
                )
                clashes.append((text(entry.get("manager")), version, field_path(steps)))
    if clashes and not force:
        raise ownership_conflict(sorted(set(clashes)))
    result: Document = _apply_into(live, config, rules, ())
    kept = [owned for _, owned in others]
    dropped = sorted(before - wanted, key=lambda steps: (steps[-1] != ".", -len(steps)))
    for steps in dropped:
        if steps[-1] == ".":
            below = steps[:-1]
            if any(one[: len(below)] == below for owned in kept for one in owned):
                continue
        elif _is_key(steps) or any(_touches(steps, owned) for owned in kept):
            continue
        _take_out(result, steps)
    left: list[Document] = []
    for entry, owned in others:
        rest = frozenset(
            steps for steps in owned if not any(_overlaps(steps, one) for one in changed)
        )
        if rest:
            left.append(entry if rest == owned else {**entry, "fieldsV1": as_v1(rest)})
    if wanted:
        left.append(_entry_of(manager, "Apply", kind.api_version(), wanted, now, subresource))
    meta(result)["managedFields"] = left
    return result


def _touches(steps: tuple[str, ...], owned: Fields) -> bool:
    return any(_overlaps(one, steps) for one in owned if one[-1] != ".")


def _overlaps(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """One is the other, or is around it."""
    if "." in (one[-1], other[-1]):
        return one == other
    short = min(len(one), len(other))
    return one[:short] == other[:short]


def _apply_into(live: Any, config: Any, rules: Rules, path: Path) -> Any:
    if isinstance(config, dict) and isinstance(live, dict):
        if path == ("spec", "selector") and _is_selector(config):
            return copied(config)
        result = dict(live)
        for name, one in config.items():
            if (*path, name) in _UNOWNED and path:
                if name in ("uid", "resourceVersion", "name", "namespace"):
                    result[name] = one
                continue
            result[name] = _apply_into(result.get(name), one, rules, (*path, name))
        return result
    if isinstance(config, list) and isinstance(live, list):
        keys = rules.get(path, _WHOLE).apply_keys
        if keys == ("=",):
            return live + [copied(one) for one in config if one not in live]
        if keys and all(isinstance(one, dict) for one in [*live, *config]):
            merged = list(live)
            for one in config:
                place = _entry(merged, _key_step(one, keys)[2:])
                if place is None:
                    merged.append(copied(one))
                else:
                    merged[place] = _apply_into(merged[place], one, rules, path)
            return merged
    return copied(config)


def _check_keys(config: Any, rules: Rules, path: Path) -> None:
    if isinstance(config, dict):
        for name, one in config.items():
            _check_keys(one, rules, (*path, name))
    elif isinstance(config, list):
        keys = rules.get(path, _WHOLE).apply_keys
        for one in config if keys and keys != ("=",) else ():
            if not isinstance(one, dict) or any(
                key not in one and key not in _DEFAULT_KEYS for key in keys
            ):
                raise bad_request(
                    f"failed to create typed patch object: .{'.'.join(path)}: element 0: associative list with keys "
                    f"has an element that omits key field {keys[0]!r}"
                )
            _check_keys(one, rules, path)


def _is_key(steps: tuple[str, ...]) -> bool:
    """A field by which the entry around it is told from its neighbours: it goes with the entry."""
    return (
        len(steps) > 1
        and steps[-2].startswith("k:")
        and steps[-1].removeprefix("f:") in json.loads(steps[-2][2:])
    )


def _take_out(document: Any, steps: tuple[str, ...]) -> None:
    """Remove what is at ``steps``, and what holds nothing any more because of that."""
    holders: list[tuple[Any, str]] = []
    here = document
    for step in steps[:-1] if steps[-1] == "." else steps:
        holders.append((here, step))
        here = _step_into(here, step)
        if here is MISSING:
            return
    for place, (holder, step) in enumerate(reversed(holders)):
        if place and _step_into(holder, step) not in ({}, []):
            return
        _drop(holder, step)


def _drop(holder: Any, step: str) -> None:
    sort, _, rest = step.partition(":")
    if sort == "f":
        holder.pop(rest, None)
    elif sort == "v":
        holder.remove(json.loads(rest))
    else:
        place = _entry(holder, rest)
        if place is not None:
            del holder[place]


def field_path(steps: tuple[str, ...]) -> str:
    """As a conflict names it: ``.spec.template.spec.containers[name="app"].image``."""
    text_ = ""
    for step in steps:
        sort, _, rest = step.partition(":")
        if sort == "f":
            text_ += f".{rest}"
        elif sort == "k":
            named = json.loads(rest)
            text_ += (
                "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in named.items()) + "]"
            )
        elif sort == "v":
            text_ += f"[={rest}]"
    return text_
