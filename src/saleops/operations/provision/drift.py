"""What a resource should be and what it is, field by field, and which differences somebody has accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saleops.domain.cloud.journal import History
from saleops.domain.cloud.masking import HIDDEN, is_secret
from saleops.domain.cloud.resources import Found, Known, Resource


@dataclass(frozen=True, slots=True)
class Drift:
    """One field that is not as it should be. ``accepted`` is the reason somebody gave for leaving it so."""

    field: str
    wanted: Any
    seen: Any
    accepted: str = ""
    accepted_by: str = ""


def drifts_of(
    resource: Resource, found: Found, known: Known, history: History
) -> tuple[Drift, ...]:
    """The fields of ``resource`` that differ, in the order of their names."""
    drifts = []
    for name, wanted in sorted(resource.desired(known).items()):
        wanted, seen = plain(wanted), plain(found.fields.get(name))
        if wanted == seen:
            continue
        if is_secret(name):
            wanted, seen = HIDDEN, HIDDEN
        one = history.accepted.get((resource.key, name))
        if one is not None and history.accepts(resource.key, name, wanted, seen):
            drifts.append(Drift(name, wanted, seen, one.reason, one.who))
        else:
            drifts.append(Drift(name, wanted, seen))
    return tuple(drifts)


def plain(value: Any) -> Any:
    """``value`` in the types of JSON, so that what was read back from a journal compares equal."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(one) for one in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(one) for one in value]
    return value


def changeable(
    resource: Resource, found: Found, known: Known, names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The drifted fields that calls can bring back, and those that only a new resource would have."""
    can: list[str] = []
    cannot: list[str] = []
    for name in names:
        (can if resource.change(known, found, [name]) else cannot).append(name)
    return can, cannot


def words(value: Any) -> str:
    """A value for people; an absent one is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(words(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={words(one)}" for name, one in value.items()) or "none"
    return str(value)
