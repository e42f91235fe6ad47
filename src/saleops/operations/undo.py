"""The undo file: the steps of a repair, written before the first of them is taken, so that each can be turned round.

It is JSON with a digest over its steps, then a line of JSON for each portion that was begun and for each step that ended: what
this run did is turned round, not what another one did first. Rows of buyers stand in it, payment tokens too, so it is for
its owner's eyes only.
"""

import hashlib
from collections import Counter
from pathlib import Path

import msgspec

from saleops.domain.repair import Person, Step, inverse
from saleops.errors import ConfigError, Refused
from saleops.operations.repair_engines import RepairEngines
from saleops.operations.repair_report import RepairPlan

SCHEMA = "saleops/undo/v1"


class UndoFile(msgspec.Struct, frozen=True, kw_only=True):
    """A repair as it was planned. ``epoch`` is the stock store's, ``seeding`` the database's; ``digest`` is over ``steps``."""

    schema: str = SCHEMA
    sale: str
    epoch: str
    seeding: str
    made_ms: int
    who: str
    digest: str
    steps: list[Step]


class _Begun(msgspec.Struct, frozen=True, tag="begun", tag_field="what"):
    """The steps below this number may have been taken."""

    steps: int


class _Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="what"):
    """What became of a step; ``outcome`` is a Fate's value, or "undone"."""

    step: int
    outcome: str


DONE, UNDONE = "done", "undone"
_UNSURE = "cut off in the middle: it may have been done; add --include-unsure to undo it too"
_END = b"\n}\n"  # of the document: nothing else in it begins at the margin


def begun_line(steps: int) -> bytes:
    return msgspec.json.encode(_Begun(steps)) + b"\n"


def ended_line(step: int, outcome: str) -> bytes:
    return msgspec.json.encode(_Ended(step, outcome)) + b"\n"


_encode_steps = msgspec.json.Encoder(order="deterministic").encode


def _digest(steps: list[Step]) -> str:
    return hashlib.blake2b(_encode_steps(steps), digest_size=16).hexdigest()


async def undo_text(engines: RepairEngines, plan: RepairPlan, *, who: str) -> bytes:
    """What to write into the undo file of ``plan``."""
    row = await engines.books.run(engines.books.book.sale, engines.sale)
    file = UndoFile(
        sale=plan.sale,
        epoch=plan.epoch,
        seeding=row.version if row else "",
        made_ms=engines.clock.now_ms(),
        who=who,
        digest=_digest(plan.steps),
        steps=plan.steps,
    )
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


async def plan_undo(
    engines: RepairEngines, path: Path, text: bytes, *, unsure: bool = False
) -> RepairPlan:
    """The steps that the undo file in ``text`` says were done, turned round and last first. Of steps whose run was cut off
    nobody knows: they are named, and with ``unsure`` turned round too. Raises ConfigError where it is damaged or
    another sale's, Refused where the sale was seeded with other items since."""
    document, end, rest = text.partition(_END)
    hint = "Name the undo file that `saleops reconcile --repair --yes` wrote."
    try:
        file = msgspec.json.decode(document + end, type=UndoFile)
        begun, outcomes = _log(rest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is no undo file of saleops: {error}; nothing was changed", hint=hint
        ) from error
    if (
        file.schema != SCHEMA
        or file.digest != _digest(file.steps)
        or not (0 <= begun <= len(file.steps) and all(0 <= step < begun for step in outcomes))
    ):
        raise ConfigError(
            f"{path} is damaged: its steps are not those that were written; nothing was changed",
            hint=hint,
        )
    if file.sale != engines.sale:
        raise ConfigError(
            f"{path} belongs to the sale {file.sale}, not to {engines.sale}; nothing was changed",
            hint=hint,
        )
    row = await engines.books.run(engines.books.book.sale, engines.sale)
    if row is None or row.version != file.seeding:
        raise Refused(
            f"{engines.sale} has been seeded with other items since {path} was written; nothing was changed",
            hint="What it would restore does not belong to this sale.",
        )
    steps: list[Step] = []
    numbers: list[int] = []
    people: list[Person] = []
    final: Counter[str] = Counter()
    for number in reversed(range(begun)):
        step = file.steps[number]
        turned = inverse(step)
        outcome = outcomes.get(number)
        if outcome not in (DONE, None):
            continue
        if turned is None:
            final[step.action] += 1
            continue
        if outcome is None and not unsure:
            people.append(
                Person(step.kinds[0] if step.kinds else step.action, step.id, step.sku, _UNSURE)
            )
            continue
        steps.append(turned)
        numbers.append(number)
    return RepairPlan(
        engines.sale, file.epoch, None, steps, people, undo=True, numbers=numbers, final=dict(final)
    )


def _log(text: bytes) -> tuple[int, dict[int, str]]:
    """How many steps were begun, and what became of each. A last line that was cut off was never said."""
    begun, outcomes = 0, {}
    whole, _, _ = text.rpartition(b"\n")
    for line in whole.splitlines():
        entry = msgspec.json.decode(line, type=_Begun | _Ended)
        if isinstance(entry, _Begun):
            begun = max(begun, entry.steps)
        else:
            outcomes[entry.step] = entry.outcome
    return begun, outcomes
