"""``saleops dlq drop``: forget dead letters that nobody can ever read."""

from typing import Annotated

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import (
    STATE_DIR,
    Broker,
    Database,
    DryRun,
    EngineFlags,
    Redis,
    SaleFile,
    StateDir,
    Yes,
)
from saleops.cli.figures import counted
from saleops.cli.message_engines import on_messages
from saleops.cli.person import whoami
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.drop_letters import DropPlan, DropReport, apply_drop, plan_drop
from saleops.ports import broker as ports
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook


def drop(
    ctx: typer.Context,
    sale: SaleFile,
    ids: Annotated[
        list[str], typer.Argument(metavar="ID", help="Letters by their ids.", show_default=False)
    ],
    why: Annotated[
        str,
        typer.Option(
            "--why", metavar="TEXT", help="The reason, for the journal.", show_default=False
        ),
    ],
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Forget dead letters of SALE that hold no orders: unreadable ones, which would only die again.

    A letter with orders is refused: `dlq replay` sends it again. Every run is kept with its reason: `dlq log`.

    Examples:
      saleops dlq drop sale.yaml orders/1764000000000-0 --why "a test of ours" --dry-run
      saleops dlq drop sale.yaml orders/1764000000000-0 --why "a test of ours" --yes
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> DropPlan | DropReport:
        clock = WallClock()
        chosen = await plan_drop(name, book, opened, tuple(ids), why=why, now_ms=clock.now_ms())
        if dry_run or not chosen.places:
            return chosen.plan
        letters = counted(len(chosen.places), "unreadable letter")
        context.screen.confirm(f"Drop {letters} of sale {name} for good?", yes=yes)
        book.migrate()  # the journal, where an older version made the database
        return await apply_drop(
            chosen, book, opened, who=whoami(), clock=clock, observe=context.screen.observe
        )

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="dlq drop",
    )
    context.screen.show(shown)


@as_rich.register
def _(plan: DropPlan) -> list[Sheet | str]:
    if not plan.letters:
        return [f"Those letters of sale {plan.sale} are gone already; nothing to drop."]
    rows = [(one.letter_id, one.group, f"{one.body_bytes} B", one.reason) for one in plan.letters]
    return [
        Sheet(
            ("letter", "group", "size", "reason"),
            rows,
            title="Nothing was dropped; this would be",
        )
    ]


@as_rich.register
def _(report: DropReport) -> Sheet:
    rows: list[tuple[str, object]] = [
        ("sale", report.sale),
        ("why", report.why),
        ("dropped", counted(report.dropped, "letter")),
    ]
    if report.gone:
        rows.append(("gone already", report.gone))
    return Sheet((), [*rows, ("run", report.run_id)])
