"""What became of a run: a line a resource, and the calls it took."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from saleops.operations.provision.drift import Drift

Result = Literal[
    "no change",
    "created",
    "changed",
    "ready",  # it was on its way already
    "deleted",
    "absent",  # there was nothing to delete
    "left alone",  # not ours, or kept by choice
    "replace needed",
    "failed",
    "blocked",  # what it needs did not come up
    "under way",  # the run was stopped
]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of one resource. ``took_s`` is the cloud's time."""

    key: str
    group: str
    kind: str
    name: str
    result: Result
    state: str
    id: str
    took_s: float
    why: str = ""
    code: str = ""
    request_id: str = ""
    retryable: bool = False  # whether running it again may help without anybody changing anything
    hint: str = ""
    drift: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True)
class CallTotals:
    """The calls of a run. ``retries`` are repeated attempts, ``throttled`` those that the cloud refused for their rate."""

    reads: int
    writes: int
    retries: int
    throttled: int


@dataclass(frozen=True, slots=True)
class ProvisionReport:
    """What provisioning, or destroying, did."""

    schema: ClassVar[str] = "saleops/provision/v1"

    sale: str
    cloud: str
    region: str
    changed: bool
    steps: tuple[StepReport, ...]
    calls: CallTotals
    took_s: float
    journal: str
    notes: tuple[str, ...] = ()  # what was left out or assumed

    def of(self, *results: Result) -> list[StepReport]:
        return [step for step in self.steps if step.result in results]
