"""The network by Terraform: render the module with its network part alone, plan, apply that very plan, look at the cloud again.

Terraform makes what its state does not hold. What the cloud has of the network already, made by the API or by another machine, it
would make a second time; so the cloud is looked at first, and a network that the state does not hold is left to the API
path. Afterwards the cloud is looked at again, by name and tag, as every other command does: only what is found there counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.journal import History
from saleops.domain.cloud.resources import Condition, Resource
from saleops.errors import GateFailed
from saleops.events import Observer, silent
from saleops.operations.provision.planning import PlannedStep, ProvisionPlan, plan_provision
from saleops.operations.provision.survey import Survey
from saleops.ports.cloud import CloudClock
from saleops.ports.terraform import PlannedChange, SavedPlan, Terraform

PART = ("network",)
LOOKS = 6
LOOK_EVERY_S = 5.0
"""Lists of the cloud show a write after 1 to 10 s."""


@dataclass(frozen=True, slots=True)
class TerraformProvision:
    """What terraform would do, or did. ``outputs`` are the module's; ``found`` what the cloud shows of the network afterwards."""

    schema: ClassVar[str] = "saleops/provision-terraform/v1"

    sale: str
    cloud: str
    tool: str
    version: str
    folder: str
    applied: bool
    add: int
    change: int
    remove: int
    changes: tuple[PlannedChange, ...]
    outputs: Mapping[str, Any]
    found: int


def strangers(
    resources: Sequence[Resource], own: frozenset[str], seen: Survey, ids: frozenset[str]
) -> list[str]:
    """What is in the cloud of ``own`` and not among the ``ids`` of terraform's state: it would be made twice."""
    names = []
    for resource in resources:
        found = seen.found.get(resource.key)
        if resource.key not in own or found is None or found.condition is Condition.LEAVING:
            continue
        if found.outputs.get("id", "") not in ids:
            names.append(f"{resource.kind} {resource.name}")
    return names


def plan_by_terraform(
    terraform: Terraform, *, sale: str, cloud: str, observe: Observer = silent
) -> tuple[SavedPlan, TerraformProvision]:
    """Prepare the folder and plan. Raises UpstreamError; nothing was changed in the cloud."""
    terraform.prepare(observe=observe)
    saved = terraform.plan(observe=observe)
    return saved, TerraformProvision(
        sale,
        cloud,
        terraform.tool,
        terraform.version,
        str(terraform.folder),
        False,
        saved.add,
        saved.change,
        saved.remove,
        tuple(one for one in saved.changes if one.action not in ("no-op", "read")),
        {},
        0,
    )


def apply_by_terraform(
    terraform: Terraform,
    saved: SavedPlan,
    planned: TerraformProvision,
    *,
    look: Callable[[], ProvisionPlan],
    clock: CloudClock,
    timeout_s: float | None = None,
    observe: Observer = silent,
) -> TerraformProvision:
    """Carry out ``saved``, then look with ``look`` until the cloud shows all of it.

    Raises UpstreamError where terraform fails; GateFailed where it is content and the cloud shows something else.
    """
    if not saved.empty:
        terraform.apply(saved, observe=observe, timeout_s=timeout_s)
    outputs = terraform.outputs()
    shown = look()
    for _ in range(LOOKS - 1):
        if not differing(shown):
            break
        clock.sleep(LOOK_EVERY_S)
        shown = look()
    if wrong := differing(shown):
        lines = "\n".join(_told(step) for step in wrong)
        raise GateFailed(
            f"{terraform.tool} is done, and the cloud differs from what {planned.sale} wants\n{lines}",
            hint="`saleops provision network SALE --with api --dry-run` shows the calls that mend it.",
        )
    return TerraformProvision(
        planned.sale,
        planned.cloud,
        planned.tool,
        planned.version,
        planned.folder,
        not saved.empty,
        saved.add,
        saved.change,
        saved.remove,
        planned.changes,
        outputs,
        len(shown.steps),
    )


def looking(
    resources: Sequence[Resource],
    own: frozenset[str],
    survey: Callable[[], Survey],
    history: History,
    where: Mapping[str, str],
) -> Callable[[], ProvisionPlan]:
    """A function that says what is still to do in the cloud."""

    def look() -> ProvisionPlan:
        return plan_provision(resources, own, survey(), history, **where)

    return look


def differing(plan: ProvisionPlan) -> list[PlannedStep]:
    return [step for step in plan.steps if step.verdict != "none"]


def _told(step: PlannedStep) -> str:
    what = {"create": "is not there", "wait": f"is {step.state}"}.get(step.verdict, "")
    fields = ", ".join(f"{one.field} is {one.seen!r}, not {one.wanted!r}" for one in step.drift)
    return f"{step.kind} {step.name}: {what or fields or step.why}"
