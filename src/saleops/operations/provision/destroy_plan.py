"""What destroying would take away, in order: the sale's resources, last made first, then what only carries its tag."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.masking import document_of
from saleops.domain.cloud.ours import twins_of
from saleops.domain.cloud.resources import Condition, Resource
from saleops.errors import Refused
from saleops.operations.provision.leftovers import Leftover
from saleops.operations.provision.survey import Survey

NAMED = 5
HOLDS_DATA = ("database", "cache", "queue")
"""Groups whose data goes with them; a question names their clusters and instances."""


@dataclass(frozen=True, slots=True)
class DoomedStep:
    """A resource in a plan to destroy. Without calls it goes with another one, or stays: ``why`` says which."""

    key: str
    group: str
    kind: str
    name: str
    state: str
    id: str
    goes: bool
    why: str
    calls: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class DestroyPlan:
    """What destroying would take away, in order."""

    schema: ClassVar[str] = "saleops/destroy-plan/v1"

    sale: str
    cloud: str
    region: str
    writes_count: int
    data: tuple[str, ...]  # what holds data, for people
    steps: tuple[DoomedStep, ...]


def refuse_half(
    resources: Sequence[Resource], own: frozenset[str], seen: Survey, groups: Sequence[str]
) -> None:
    """Raises Refused where something stands that needs what would go: taking that away half would cut the rest off."""
    going = {one.key for one in resources if one.key in own and seen.found[one.key] is not None}
    stands_on = set(going)
    standing = []
    for one in resources:  # in dependency order
        if one.key in own or not stands_on.intersection(one.needs):
            continue
        stands_on.add(one.key)
        if seen.found[one.key] is not None:
            standing.append(one)
    if not standing:
        return
    named = ", ".join(f"{one.kind} {one.name}" for one in standing[:NAMED])
    more = f" and {len(standing) - NAMED:,} more" if len(standing) > NAMED else ""
    also = list(dict.fromkeys(one.group for one in standing))
    asked = "".join(f" --group {one}" for one in (*groups, *also))
    raise Refused(
        f"{', '.join(also)} {'stands' if len(also) == 1 else 'stand'} on {', '.join(groups)}: {named}{more}; "
        "nothing was changed",
        hint=f"`saleops provision destroy SALE{asked}` takes them along.",
    )


def plan_destroy(
    resources: Sequence[Resource],
    own: frozenset[str],
    seen: Survey,
    leftovers: Sequence[Leftover],
    *,
    sale: str,
    cloud: str,
    region: str,
) -> DestroyPlan:
    """The plan for those of ``resources`` (in dependency order) that are ``own``, and for ``leftovers``."""
    steps, data = [], []
    for resource in reversed(resources):
        found = seen.found[resource.key]
        if resource.key not in own or found is None:
            continue
        goes = found.condition is not Condition.FOREIGN
        calls: tuple[Call, ...] = ()
        why = "does not carry this sale's tag: it stays"
        if goes:
            if found.condition is not Condition.LEAVING:
                calls = tuple(resource.delete(seen.promised, found))
            why = "" if calls else "goes with what it belongs to"
            if calls and (twins := twins_of(found)):
                why = f"is there more than once: {', '.join(twins)} too"
                for id in twins:
                    twin = replace(found, outputs={**found.outputs, "id": id})
                    calls += tuple(resource.delete(seen.promised, twin))
        step = DoomedStep(
            resource.key,
            resource.group,
            resource.kind,
            resource.name,
            found.state,
            found.outputs.get("id", ""),
            goes,
            why,
            tuple(document_of(call) for call in calls),
        )
        steps.append(step)
        stores = resource.kind.endswith((" cluster", " instance"))
        if calls and stores and resource.group in HOLDS_DATA:
            data.append(f"{resource.kind} {resource.name}")
    for one in leftovers:
        steps.append(
            DoomedStep(
                one.key,
                "leftover",
                one.kind,
                one.id,
                "",
                one.id,
                True,
                "carries the sale's tag and is not in its blueprint",
                tuple(document_of(call) for call in one.calls),
            )
        )
        if one.holds_data:
            data.append(f"{one.kind} {one.id}")
    writes = sum(len(step.calls) for step in steps)
    return DestroyPlan(sale, cloud, region, writes, tuple(data), tuple(steps))
