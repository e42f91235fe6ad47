"""The repairing side of ``saleops reconcile``: shows a plan, asks, applies, and shows what became of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from saleops.cli.context import Context
from saleops.cli.figures import counted, money
from saleops.cli.person import whoami
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.repair import PAYMENTS
from saleops.errors import ConfigError, GateFailed, Refused
from saleops.operations.repair import CANCEL_YOUNGEST
from saleops.operations.repair_report import RepairPlan, RepairReport

if TYPE_CHECKING:
    from saleops.operations.repair_engines import RepairEngines
    from saleops.ports.engines import EngineUrls

T = TypeVar("T")
STEPS_ON_SCREEN = 50
DECISIONS = (f"oversold={CANCEL_YOUNGEST}",)


@dataclass(frozen=True)
class RepairWish:
    """What the flags ask for."""

    repair: bool
    undo: Path | None
    accept: str
    decide: tuple[str, ...]
    undo_file: Path | None
    include_unsure: bool
    dry_run: bool
    yes: bool
    state_dir: Path
    grace_ms: int

    def check(self) -> None:
        """Raises ConfigError for flags that do not go together."""
        if self.repair and self.undo:
            raise ConfigError("--repair and --undo exclude each other; nothing was done")
        only = {"--accept": self.accept, "--decide": self.decide, "--undo-file": self.undo_file}
        for flag, given in only.items():
            if given and not self.repair:
                raise ConfigError(
                    f"{flag} goes with --repair; nothing was done",
                    hint=f"Add --repair, or leave {flag} out.",
                )
        if self.include_unsure and not self.undo:
            raise ConfigError(
                "--include-unsure goes with --undo; nothing was done",
                hint="Add --undo FILE, or leave --include-unsure out.",
            )
        if self.dry_run and not (self.repair or self.undo):
            raise ConfigError(
                "--dry-run goes with --repair or --undo; nothing was done",
                hint="`saleops reconcile` alone changes nothing.",
            )
        if self.accept and not self.accept.strip():
            raise ConfigError(
                "--accept needs a reason; nothing was done", hint="Example: --accept 'ticket 4711'."
            )
        if len(self.accept) > _REASON_MAX:
            raise ConfigError(f"--accept takes {_REASON_MAX} characters; nothing was done")
        for one in self.decide:
            if one not in DECISIONS:
                raise ConfigError(
                    f"--decide does not know {one!r}; nothing was done",
                    hint=f"It knows: {', '.join(DECISIONS)}.",
                )


_REASON_MAX = 400
_SAME_SECOND = 100


def carry_out(context: Context, sale: str, engines: "EngineUrls", wish: RepairWish) -> None:
    """Plan, ask and apply. Raises GateFailed where something stays broken, or nothing was done about it."""
    text = b""
    if wish.undo is not None:
        from saleops.wiring import read_undo

        text = read_undo(wish.undo)

    async def plan(opened: "RepairEngines") -> tuple[RepairPlan, bytes]:
        from saleops.operations.repair import plan_repair
        from saleops.operations.undo import plan_undo, undo_text

        if wish.undo is not None:
            return await plan_undo(opened, wish.undo, text, unsure=wish.include_unsure), b""
        ledger = await opened.ledger(grace_ms=wish.grace_ms)
        made = await plan_repair(opened, ledger, accept=wish.accept, decide=wish.decide)
        return made, await undo_text(opened, made, who=whoami())

    made, undo = _on_engines(context, sale, engines, plan)
    if wish.dry_run or not made.steps:
        report = made.report()
        context.screen.show(report)
        _judge_plan(report, wish)
        return
    if not wish.yes:
        _ask(context, sale, made)
    undo_path = ""
    if not made.undo:
        undo_path = str(_save(wish, sale, undo))
        final = sum(not step.undoable for step in made.steps)
        how = (
            f"What was there before is in {undo_path}, but no step of it can be turned round."
            if final == len(made.steps)
            else f"How to undo it is in {undo_path}."
        )
        context.screen.note(how)

    async def work(opened: "RepairEngines") -> RepairReport:
        from saleops.operations.repair import apply
        from saleops.wiring import open_undo_log

        with open_undo_log(wish.undo or Path(undo_path)) as log:
            return await apply(
                opened, made, who=whoami(), undo_file=undo_path, log=log, grace_ms=wish.grace_ms
            )

    report = _on_engines(context, sale, engines, work)
    context.screen.show(report)
    _judge(report)


def _ask(context: Context, sale: str, made: RepairPlan) -> None:
    """Show the plan and ask. Raises Refused where nobody agrees, or nobody is there to be asked."""
    screen = context.screen
    screen.show(made.report())
    if context.options.output != "table":  # the plan is the one document of this run
        raise Refused(
            "this was the plan; nothing was changed",
            hint="Run the same command with --yes to go ahead.",
        )
    verb = "Restore what was there in" if made.undo else "Repair"
    screen.confirm(f"{verb} {sale} ({counted(len(made.steps), 'step')})?", yes=False)


def _save(wish: RepairWish, sale: str, text: bytes) -> Path:
    from saleops.wiring import make_state_dir, write_undo

    if wish.undo_file is not None:
        write_undo(wish.undo_file, text)
        return wish.undo_file
    folder = make_state_dir(wish.state_dir)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in range(1, _SAME_SECOND):  # two repairs may begin in one second
        path = folder / (f"undo-{sale}-{stamp}" + (f"-{number}" if number > 1 else "") + ".json")
        with suppress(Refused):  # it is there already
            write_undo(path, text)
            return path
    write_undo(path, text)
    return path


def _on_engines(
    context: Context,
    sale: str,
    engines: "EngineUrls",
    work: "Callable[[RepairEngines], Awaitable[T]]",
) -> T:
    from saleops import wiring
    from saleops.operations.rebuild import own_thread
    from saleops.operations.repair_engines import RepairEngines
    from saleops.ports.clock import WallClock

    async def body() -> T:
        with (
            wiring.open_order_book(engines.database_url, must_exist=True) as book,
            own_thread(book) as books,
        ):
            async with (
                wiring.open_stock_store(engines.redis_url, sale=sale) as stock,
                wiring.open_broker(engines.broker_url, sale=sale) as broker,
                wiring.open_stock_repair(engines.redis_url, sale=sale) as stock_rows,
            ):
                rows = wiring.book_repair(book)
                opened = RepairEngines(
                    sale,
                    stock,
                    books,
                    broker,
                    stock_rows,
                    rows,
                    wiring.refunding_provider(books, rows),
                    WallClock(),
                    observe=context.screen.observe,
                )
                return await work(opened)

    return asyncio.run(body())


# -- verdicts ----------------------------------------------------------------------------------------------------------


def _judge_plan(report: RepairReport, wish: RepairWish) -> None:
    if report.undo:
        if not report.steps and report.people:
            raise GateFailed(
                f"of {counted(len(report.people), 'step')} in {wish.undo} nobody knows whether they were done; "
                f"nothing was restored in {report.sale}",
                hint="Add --include-unsure to undo them too, where their rows are as they would have left them.",
            )
        if not report.steps:
            raise GateFailed(
                f"no step in {wish.undo} can be turned round; nothing was restored in {report.sale}",
                hint="What was rebuilt or sent stays. `saleops reconcile` says how things stand.",
            )
        return
    if report.breaks_count:
        breaks = counted(report.breaks_count, "break")
        hint = "Run the same command with --yes to go ahead." if report.steps else None
        raise GateFailed(
            f"the ledger of {report.sale} does not balance: {breaks}; this was the plan, nothing was changed",
            hint=hint or "Each line under `needs a person` says what to add.",
        )


def _judge(report: RepairReport) -> None:
    left = report.ledger.breaks_count if report.ledger else 0
    if report.undo:
        if report.unfinished:
            raise GateFailed(
                f"{counted(report.unfinished, 'step')} could not be undone: what they would restore has changed since",
                hint="`saleops reconcile` says how things stand.",
            )
        if report.people:
            raise GateFailed(
                f"of {counted(len(report.people), 'step')} nobody knows whether they were done; they were not undone",
                hint="Run it again with --include-unsure to undo them too.",
            )
        return
    if left:  # a step that was not done because another repair did the same is no harm
        breaks = counted(left, "break")
        skipped = f", {counted(report.unfinished, 'step')} not done" if report.unfinished else ""
        raise GateFailed(
            f"the ledger of {report.sale} does not balance yet: {breaks} left{skipped}",
            hint="Run it again: it plans anew from what is there now."
            if not report.people
            else "Each line under `needs a person` says what to add.",
        )


# -- for people --------------------------------------------------------------------------------------------------------


@as_rich.register
def _(report: RepairReport) -> list[Sheet | str]:
    """What it comes to, the steps by kind, each step, and what needs a person."""
    sums: list[tuple[str, object]] = [("sale", report.sale)]
    if not report.undo:
        sums.append(("breaks", f"{report.breaks_count:,}"))
    said = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(report.outcomes.items()))
    sums.append(("steps", said or "none"))
    if report.refund_fen or report.charge_fen:
        moved = f"{money(report.refund_fen)} given back, {money(report.charge_fen)} taken"
        sums.append(("money", moved))
    elif report.applied and any(step.engine == PAYMENTS for step in report.steps):
        sums.append(("money", "none moved"))
    for_ever = sum(group.steps for group in report.groups if not group.undoable)
    if for_ever:
        sums.append(("no way back", f"{counted(for_ever, 'step')} that --undo cannot turn round"))
    if report.final:
        stays = ", ".join(f"{action} ({count:,})" for action, count in report.final.items())
        sums.append(("stays as it is", stays))
    if report.undo_file:
        sums.append(("undo file", report.undo_file))
    if report.ledger is not None:
        left = report.ledger.breaks_count
        sums.append(("ledger now", "✓ balanced" if not left else f"✗ {counted(left, 'break')}"))
    shown: list[Sheet | str] = [Sheet((), sums)]
    if report.groups:
        rows = [
            (g.action, g.engine, g.steps, ", ".join(g.kinds), "yes" if g.undoable else "no")
            for g in report.groups
        ]
        columns = ("what", "in", "steps", "mends", "undo")
        shown.append(Sheet(columns, rows, title="Undo" if report.undo else "Repair"))
    if report.steps:
        part = report.steps[:STEPS_ON_SCREEN]
        steps = [(s.action, s.id, s.sku, s.before, s.after, s.outcome, s.detail) for s in part]
        heads = ("step", "order", "SKU", "before", "after", "outcome", "why")
        shown.append(Sheet(heads, steps, title="Steps", whole=("order", "SKU")))
        if len(report.steps) > len(part):
            shown.append(f"and {len(report.steps) - len(part):,} more; `-o json` names all")
    if report.people:
        people = [(p.kind, p.id, p.sku, p.needs) for p in report.people[:STEPS_ON_SCREEN]]
        columns_of_people = ("break", "order", "SKU", "needs")
        shown.append(
            Sheet(columns_of_people, people, title="Needs a person", whole=("order", "SKU"))
        )
        if len(report.people) > STEPS_ON_SCREEN:
            shown.append(f"and {len(report.people) - STEPS_ON_SCREEN:,} more; `-o json` names all")
    return shown
