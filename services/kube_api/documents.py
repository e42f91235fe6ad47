"""Objects as plain JSON values. Whoever sends one may have put anything anywhere, so every look goes through these."""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]
_NOTHING: dict[str, Any] = {}


def mapping(value: Any) -> dict[str, Any]:
    """``value`` where it is an object; an empty one, not to be written to, otherwise."""
    return value if isinstance(value, dict) else _NOTHING.copy()


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def whole(value: Any, default: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def at(document: Any, *path: str) -> Any:
    """What is at ``path``; None where there is nothing."""
    for name in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document


def meta(document: Document) -> Document:
    """The metadata, made where there is none: for writing."""
    found = document.get("metadata")
    if not isinstance(found, dict):
        found = document["metadata"] = {}
    return found


def name_of(document: Mapping[str, Any]) -> str:
    return text(at(document, "metadata", "name"))


def namespace_of(document: Mapping[str, Any]) -> str:
    return text(at(document, "metadata", "namespace"))


def uid_of(document: Mapping[str, Any]) -> str:
    return text(at(document, "metadata", "uid"))


def labels_of(document: Mapping[str, Any]) -> dict[str, str]:
    return mapping(at(document, "metadata", "labels"))


def annotations_of(document: Mapping[str, Any]) -> dict[str, str]:
    return mapping(at(document, "metadata", "annotations"))


def is_deleted(document: Mapping[str, Any]) -> bool:
    """Its deletion was asked for."""
    return at(document, "metadata", "deletionTimestamp") is not None


def copied(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {name: copied(one) for name, one in value.items()}
    if isinstance(value, list):
        return [copied(one) for one in value]
    return value


def owner_of(document: Mapping[str, Any]) -> Document | None:
    """The owner reference of the controller."""
    for one in sequence(at(document, "metadata", "ownerReferences")):
        if isinstance(one, dict) and one.get("controller") is True:
            return one
    return None
