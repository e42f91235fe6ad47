"""What provisioning would do: for each resource a verdict, and every writing call in order, ids to come as ``${vpc.id}``.

``decide`` is the one place that turns what was found into what to do; the plan shows its answers, and the run asks it again
for each resource when its turn comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.journal import History
from saleops.domain.cloud.masking import document_of
from saleops.domain.cloud.resources import Condition, Found, Known, Resource
from saleops.errors import Refused
from saleops.operations.provision.drift import Drift, changeable, drifts_of
from saleops.operations.provision.survey import Survey

Verdict = Literal[
    "none", "create", "wait", "change", "replace-needed", "foreign", "failed", "blocked"
]

HELPLESS: tuple[Verdict, ...] = ("replace-needed", "foreign")
"""Verdicts that a run can do nothing about: a person must."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one resource. ``calls`` are empty unless the verdict is create or change."""

    verdict: Verdict
    calls: tuple[Call, ...] = ()
    drift: tuple[Drift, ...] = ()
    stays: tuple[str, ...] = ()  # drifted fields that no call brings back
    why: str = ""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A resource in a plan. ``calls`` are documents: product, api, path, params, body; secrets are masked."""

    key: str
    group: str
    kind: str
    name: str
    verdict: Verdict
    state: str
    id: str
    why: str
    calls: tuple[Mapping[str, Any], ...]
    drift: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class ProvisionPlan:
    """What provisioning would do now."""

    schema: ClassVar[str] = "saleops/provision-plan/v1"

    sale: str
    cloud: str
    region: str
    writes_count: int
    steps: tuple[PlannedStep, ...]
    notes: tuple[str, ...] = ()  # what was left out or assumed

    def of(self, *verdicts: Verdict) -> list[PlannedStep]:
        return [step for step in self.steps if step.verdict in verdicts]


def decide(resource: Resource, found: Found | None, known: Known, history: History) -> Decision:
    """What to do about ``resource``, whose needs are all there or promised by ``known``."""
    if found is None:
        return Decision("create", (resource.create(known),))
    match found.condition:
        case Condition.FOREIGN:
            why = f"a {resource.kind} {resource.name} is there that does not carry this sale's tag"
            return Decision("foreign", why=why)
        case Condition.FAILED:
            return Decision("failed", why=found.problem or f"its state is {found.state}")
        case Condition.PENDING:
            return Decision("wait", why=f"it is {found.state}")
        case Condition.LEAVING:
            why = f"the one that is {found.state} goes first"
            return Decision("create", (resource.create(known),), why=why)
    drift = drifts_of(resource, found, known, history)
    open_fields = [one.field for one in drift if not one.accepted]
    if not open_fields:
        return Decision("none", drift=drift)
    can, cannot = changeable(resource, found, known, open_fields)
    stays = tuple(cannot)
    why = f"only a new one would have {', '.join(cannot)}" if cannot else ""
    if not can:
        return Decision("replace-needed", drift=drift, stays=stays, why=why)
    return Decision("change", tuple(resource.change(known, found, can)), drift, stays, why)


def plan_provision(
    resources: Sequence[Resource],
    own: frozenset[str],
    seen: Survey,
    history: History,
    *,
    sale: str,
    cloud: str,
    region: str,
) -> ProvisionPlan:
    """The plan for ``resources`` (in dependency order), of which only ``own`` may be made or changed.

    Raises Refused where one that is not ``own`` is missing: the message names the command that makes it.
    """
    require(resources, own, seen, sale=sale)
    by_key = {resource.key: resource for resource in resources}
    steps = []
    differs: dict[str, Resource] = {}  # what stands on what only a new one would mend -> that one
    for resource in resources:
        found = seen.found[resource.key]
        cause = next((differs[need] for need in resource.needs if need in differs), None)
        if cause is not None:
            differs[resource.key] = cause
        if resource.key not in own:
            decision = _of_another_group(resource, found, seen.promised, history)
            if decision is None:
                continue
        elif resource.comes_with and seen.found[resource.comes_with] is None:
            decision = Decision("wait", why=f"it comes with {by_key[resource.comes_with].name}")
        else:
            decision = decide(resource, found, seen.promised, history)
            if cause is not None and decision.calls:
                why = f"it needs {cause.kind} {cause.name}, which differs from its file"
                decision = Decision("blocked", drift=decision.drift, why=why)
        if decision.stays and resource.key not in differs:
            differs[resource.key] = resource
        steps.append(step_of(resource, found, decision))
    writes = sum(len(step.calls) for step in steps)
    return ProvisionPlan(sale, cloud, region, writes, tuple(steps))


def _of_another_group(
    resource: Resource, found: Found | None, known: Known, history: History
) -> Decision | None:
    """What there is to say of a need that this run does not make: only what stands in the way."""
    if found is None:
        return None
    if found.condition is Condition.PENDING:
        return Decision("wait", why=f"it is {found.state}")
    if found.condition is not Condition.READY:
        return None
    decision = decide(resource, found, known, history)
    if not decision.stays:
        return None
    return Decision("replace-needed", drift=decision.drift, stays=decision.stays, why=decision.why)


def step_of(resource: Resource, found: Found | None, decision: Decision) -> PlannedStep:
    return PlannedStep(
        resource.key,
        resource.group,
        resource.kind,
        resource.name,
        decision.verdict,
        found.state if found else "",
        found.outputs.get("id", "") if found else "",
        decision.why,
        tuple(document_of(call) for call in decision.calls),
        decision.drift,
    )


def with_needs(
    resources: Sequence[Resource], groups: Sequence[str]
) -> tuple[list[Resource], frozenset[str]]:
    """The resources of ``groups`` and all they need, in order; and the keys of the first alone."""
    by_key = {resource.key: resource for resource in resources}
    own = frozenset(one.key for one in resources if one.group in groups)
    wanted, todo = set(own), list(own)
    while todo:
        for need in by_key[todo.pop()].needs:
            if need not in wanted:
                wanted.add(need)
                todo.append(need)
    return [one for one in resources if one.key in wanted], own


def require(resources: Sequence[Resource], own: frozenset[str], seen: Survey, *, sale: str) -> None:
    """Raises Refused where a resource of another group is missing or unusable."""
    lacking = [
        one
        for one in resources
        if one.key not in own
        and (
            (found := seen.found[one.key]) is None
            or found.condition in (Condition.FOREIGN, Condition.FAILED, Condition.LEAVING)
        )
    ]
    if not lacking:
        return
    named = ", ".join(f"{one.kind} {one.name}" for one in lacking[:5])
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    groups = list(dict.fromkeys(one.group for one in lacking))
    commands = ", then ".join(f"`saleops provision {group} SALE`" for group in groups)
    raise Refused(
        f"this needs what is not there: {named}{more}; nothing was changed in {sale}",
        hint=f"Run {commands} first, or `saleops provision all SALE`.",
    )
