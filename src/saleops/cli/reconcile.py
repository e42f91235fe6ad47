"""``saleops reconcile``: proves from the engines themselves that every unit, order and cent is accounted for, and mends what
is not. How a repair is planned and shown is in repair.py.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saleops.cli.context import Context, context_of
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
    engines_of_sale,
)
from saleops.cli.figures import counted, money
from saleops.cli.repair import RepairWish, carry_out
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.ledger import BREAK_KINDS, Ledger
from saleops.errors import GateFailed

if TYPE_CHECKING:
    from saleops.ports.engines import EngineUrls

NAMED_ON_SCREEN = 50

app = typer.Typer()


@app.command()
def reconcile(
    ctx: typer.Context,
    sale_file: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    grace: Annotated[
        float,
        typer.Option(
            min=0,
            max=31_536_000,
            metavar="SECONDS",
            help="What is younger than this may be on its way still.",
        ),
    ] = 0.0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Plan how to mend what is broken; with --yes do it.")
    ] = False,
    undo: Annotated[
        Path | None,
        typer.Option("--undo", metavar="FILE", help="Restore what was there before a repair."),
    ] = None,
    accept: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="With --repair: accept what cannot be changed (messages that were sent, unknown states).",
            show_default=False,
        ),
    ] = "",
    decide: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=HOW",
            help="With --repair: oversold=cancel-youngest cancels and refunds the youngest orders.",
        ),
    ] = None,
    undo_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --repair: where to write how to undo it; else in --state-dir.",
        ),
    ] = None,
    include_unsure: Annotated[
        bool,
        typer.Option(
            "--include-unsure",
            help="With --undo: also undo steps of which a crash left nobody knowing whether they were done.",
        ),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Check the ledger of SALE: units in the stock store, orders, messages, charges and parcels against each other.

    Only reads, from the engines themselves. Names every id that breaks a rule, and exits 3 if one does. A sale that
    still runs has orders on their way: let it drain, or allow for them with --grace.

    --repair shows what would mend it, step by step, and asks; --repair --yes writes an undo file and does it. Each step
    is guarded by the rows it was planned on. --undo FILE does the same with what was there before. Exit code 5 when
    nobody agreed. `saleops journal` shows what was done.

    Examples:
      saleops reconcile sale.yaml -o json
              saleops reconcile sale.yaml --repair --yes --accept 'ticket 4711'
    """
    context = context_of(ctx)
    wish = RepairWish(
        repair=repair,
        undo=undo,
        accept=accept,
        decide=tuple(decide or ()),
        undo_file=undo_file,
        include_unsure=include_unsure,
        dry_run=dry_run,
        yes=yes,
        state_dir=state_dir,
        grace_ms=round(grace * 1000),
    )
    wish.check()
    flags = EngineFlags(state_dir, redis, database, broker)
    opened = engines_of_sale(context.screen, sale_file, flags, command="reconcile", migrate=False)
    with opened as (sale, engines):
        if repair or undo:
            carry_out(context, sale.name, engines, wish)
            return
        ledger = _read(context, sale.name, engines, grace_ms=round(grace * 1000))
    context.screen.show(ledger)
    if not ledger.balanced:
        raise GateFailed(
            f"the ledger of {sale.name} does not balance: {counted(ledger.breaks_count, 'break')}; nothing was changed",
            hint=_advice(context, ledger),
        )


def _advice(context: Context, ledger: Ledger) -> str:
    advice = (
        "If orders are still on their way, let them drain or allow for them with --grace SECONDS; else "
        "--repair shows what would mend it."
    )
    if context.options.output == "table" and ledger.breaks_count > NAMED_ON_SCREEN:
        return f"{advice} `-o json` names up to 1,000 ids of each kind."
    return advice


def _read(context: Context, sale: str, engines: "EngineUrls", *, grace_ms: int) -> Ledger:
    import asyncio

    from saleops import wiring
    from saleops.operations.reconcile import reconcile as operation
    from saleops.ports.clock import WallClock

    async def body() -> Ledger:
        with wiring.open_order_book(engines.database_url, must_exist=True) as book:
            async with (
                wiring.open_stock_store(engines.redis_url, sale=sale) as stock,
                wiring.open_broker(engines.broker_url, sale=sale) as broker,
            ):
                return await operation(
                    sale,
                    stock,
                    book,
                    broker,
                    now_ms=WallClock().now_ms(),
                    grace_ms=grace_ms,
                    observe=context.screen.observe,
                )

    return asyncio.run(body())


@as_rich.register
def _(ledger: Ledger) -> list[Sheet | str]:
    """The verdict first, then the sums, each rule with its mark, and the ids that break one."""
    verdict = "✓ balanced" if ledger.balanced else f"✗ {counted(ledger.breaks_count, 'break')}"
    sums: list[tuple[str, object]] = [
        ("sale", ledger.sale),
        ("ledger", verdict),
        (
            "units",
            f"{ledger.seeded:,} seeded = {ledger.left:,} left + {ledger.reserved:,} reserved + "
            f"{ledger.sold:,} sold" + _rest(ledger.missing),
        ),
        ("SKUs", f"{ledger.skus:,}"),
        (
            "orders",
            f"{ledger.orders:,}: {ledger.live_orders:,} live ({ledger.paid_orders:,} paid), "
            f"{ledger.cancelled_orders:,} cancelled",
        ),
        ("money", f"{money(ledger.charged_fen)} charged, {money(ledger.due_fen)} due"),
    ]
    if ledger.refunded_fen:
        sums.append(("refunded", money(ledger.refunded_fen)))
    rules = [
        ("✗" if count else "✓", kind, f"{count:,}", BREAK_KINDS[kind])
        for kind, count in ledger.breaks_by_kind.items()
    ]
    if ledger.accepted_count:
        sums.append(
            (
                "accepted",
                f"{counted(ledger.accepted_count, 'row')} accepted by somebody as it stands",
            )
        )
    if ledger.notices_count:
        sums.append(("notices", f"{counted(ledger.notices_count, 'row')}, no breaks"))
    shown: list[Sheet | str] = [
        Sheet((), sums),
        Sheet(("", "rule", "breaks", "a break is"), rules),
        _matrix(ledger),
    ]
    named = (
        ("Breaks", "break", ledger.breaks, ledger.breaks_count),
        ("Accepted", "accepted", ledger.accepted, ledger.accepted_count),
        ("Notices", "notice", ledger.notices, ledger.notices_count),
    )
    for title, head, breaks, count in named:
        if breaks:
            part = breaks[:NAMED_ON_SCREEN]
            rows = [(one.kind, one.id, one.sku, one.detail) for one in part]
            columns = (head, "order", "SKU", "what is wrong")
            shown.append(Sheet(columns, rows, title=title, whole=("order", "SKU")))
            if count > len(part):
                shown.append(f"and {count - len(part):,} more")
    return shown


def _matrix(ledger: Ledger) -> Sheet:
    rows = [
        (
            "✓" if row.settled else "✗",
            row.reservation,
            row.order,
            row.message,
            row.charge,
            row.parcel,
            row.ids,
            ", ".join(row.breaks),
            row.repair,
        )
        for row in ledger.matrix
    ]
    columns = ("", "reservation", "order", "message", "charge", "parcel", "ids", "breaks", "repair")
    return Sheet(columns, rows, title="Orphan matrix")


def _rest(missing: int) -> str:
    """What makes the sum of units come out right where it does not."""
    if missing > 0:
        return f" + {missing:,} missing"
    return f" - {-missing:,} too many" if missing else ""
