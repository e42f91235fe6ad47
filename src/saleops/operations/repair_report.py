"""What a repair would do, step by step, and what became of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from saleops.domain.ledger import Ledger
from saleops.domain.repair import Person, Step
from saleops.ports.repair import Changed, Fate

PLANNED, DONE, ALREADY, SKIPPED, REFUSED = "planned", "done", "already", "skipped", "refused"


@dataclass(frozen=True)
class Group:
    """Steps of one kind, counted."""

    action: str
    engine: str
    kinds: tuple[str, ...]
    steps: int
    undoable: bool


@dataclass(frozen=True)
class StepReport:
    """One step: what it is for, what was there and what is to be, and what became of it."""

    action: str
    engine: str
    kinds: tuple[str, ...]
    id: str
    sku: str
    before: str
    after: str
    undoable: bool
    outcome: str = PLANNED  # planned | done | already | skipped | refused
    detail: str = ""


@dataclass(frozen=True)
class RepairReport:
    """A plan, or what became of it. Money in fen."""

    schema: ClassVar[str] = "saleops/repair/v1"

    sale: str
    undo: bool  # steps of an undo file
    applied: bool
    breaks_count: int  # before
    groups: tuple[Group, ...]
    steps: tuple[StepReport, ...]
    people: tuple[Person, ...]  # what needs a person, and why
    refund_fen: int  # planned; where it was applied: what this run moved
    charge_fen: int
    undo_file: str
    outcomes: dict[str, int] = field(default_factory=dict)
    final: dict[str, int] = field(default_factory=dict)  # of an undo: what nothing turns round
    ledger: Ledger | None = None  # afterwards; null where nothing was applied

    @property
    def unfinished(self) -> int:
        return self.outcomes.get(SKIPPED, 0) + self.outcomes.get(REFUSED, 0)


@dataclass(frozen=True)
class RepairPlan:
    """What would be done, on what, for which verdict."""

    sale: str
    epoch: str  # the stock store's: what its steps are good for
    ledger: Ledger | None
    steps: list[Step]
    people: list[Person] = field(default_factory=list)
    undo: bool = False
    final: dict[str, int] = field(default_factory=dict)  # steps of the undo file without a way back
    numbers: list[int] = field(default_factory=list)  # of an undo's steps in the undo file

    def report(
        self,
        *,
        outcomes: Sequence[Changed | None] = (),
        applied: bool = False,
        undo_file: str = "",
        ledger: Ledger | None = None,
    ) -> RepairReport:
        fates: Sequence[Changed | None] = outcomes or [None] * len(self.steps)
        steps = tuple(
            _reported(step, fate, applied=applied)
            for step, fate in zip(self.steps, fates, strict=True)
        )
        groups = Counter(
            (s.action, s.engine, tuple(s.kinds), s.undoable or self.undo) for s in self.steps
        )
        moving = [
            step
            for step, said in zip(self.steps, steps, strict=True)
            if said.outcome == (DONE if applied else PLANNED)
        ]
        return RepairReport(
            sale=self.sale,
            undo=self.undo,
            applied=applied,
            breaks_count=self.ledger.breaks_count if self.ledger else 0,
            groups=tuple(Group(*key[:3], count, key[3]) for key, count in groups.items()),
            steps=steps,
            people=tuple(self.people),
            refund_fen=sum(step.refund_fen for step in moving),
            charge_fen=sum(step.charge_fen for step in moving),
            undo_file=undo_file,
            outcomes=dict(Counter(step.outcome for step in steps)),
            final=self.final,
            ledger=ledger,
        )


_OUTCOMES = {Fate.DONE: DONE, Fate.ALREADY: ALREADY, Fate.CHANGED: SKIPPED, Fate.SHORT: REFUSED}


def _reported(step: Step, fate: Changed | None, *, applied: bool) -> StepReport:
    outcome = PLANNED if fate is None else _OUTCOMES[fate.fate]
    if applied and fate is None:
        outcome = SKIPPED
    return StepReport(
        step.action,
        step.engine,
        tuple(step.kinds),
        step.id,
        step.sku,
        step.before,
        step.after,
        step.undoable,
        outcome,
        fate.detail if fate else "",
    )
