"""``saleops mq``: what is on its way between the services, and half messages that got stuck."""

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
from saleops.cli.figures import age, counted
from saleops.cli.message_engines import on_messages
from saleops.cli.person import whoami
from saleops.cli.sheets import Sheet, as_rich
from saleops.errors import GateFailed
from saleops.operations.recheck import (
    MqStatus,
    RecheckItem,
    RecheckPlan,
    RecheckReport,
    apply_recheck,
    mq_status,
    plan_recheck,
)
from saleops.ports import broker as ports
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook

NAMED_ON_SCREEN = 20

app = typer.Typer(no_args_is_help=True)


@app.callback()
def mq() -> None:
    """See what is on its way between the services, and mend half messages that got stuck.

    Examples:
      saleops mq status sale.yaml
      saleops mq recheck sale.yaml --sweep --dry-run
    """


@app.command()
def status(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
) -> None:
    """Show what is on its way in SALE: per topic and group, open and discarded half messages, dead letters.

    Exit code 3 when a half message was discarded although its orders are durable: their buyers wait for nothing until
    `saleops mq recheck`; and when the broker does not have the sale's topics. Dead letters and waiting messages alone exit 0.

    Examples:
      saleops mq status sale.yaml -o json
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> MqStatus:
        return await mq_status(name, book, opened, now_ms=WallClock().now_ms())

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="mq status",
    )
    context.screen.show(shown)
    if shown.missing_topics:
        raise GateFailed(
            f"the broker does not have {len(shown.missing_topics)} topics of {shown.sale}, and takes no orders for it: "
            f"{', '.join(shown.missing_topics)}; nothing was changed",
            hint="Run `saleops seed SALE`, which makes them. What was in them is gone: then `saleops mq recheck SALE --sweep`.",
        )
    if not shown.ok:
        raise GateFailed(
            f"durable orders that nobody was told of: {counted(shown.discarded_committed, 'discarded half message')} of "
            f"{shown.sale} hold them; nothing was changed",
            hint="Run `saleops mq recheck SALE`.",
        )


@app.command()
def recheck(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Also find durable orders that were never announced, halves or not."
        ),
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="With --sweep: only what committed before that."
        ),
    ] = 900.0,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Ask the orders database about half messages of SALE that ran out of check-backs, and end each for good.

    Durable orders that no visible message holds are announced again; what was never committed is closed; then the half
    is forgotten. A second run finds nothing more to do. Exit code 3 when something announced cannot be seen yet.

    Examples:
      saleops mq recheck sale.yaml --dry-run
      saleops mq recheck sale.yaml --sweep --older-than 1800 --yes
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> RecheckPlan | RecheckReport:
        clock = WallClock()
        now_ms = clock.now_ms()
        plan = await plan_recheck(
            name,
            book,
            opened,
            now_ms=now_ms,
            sweep_before_ms=now_ms - round(older_than * 1000) if sweep else None,
            observe=context.screen.observe,
        )
        if dry_run or not plan.acts:
            return plan
        context.screen.confirm(_question(plan), yes=yes)
        book.migrate()  # the journal, where an older version made the database
        return await apply_recheck(
            plan, book, opened, who=whoami(), clock=clock, observe=context.screen.observe
        )

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="mq recheck",
    )
    context.screen.show(shown)
    if isinstance(shown, RecheckReport) and shown.unseen:
        raise GateFailed(
            f"{counted(shown.unseen, 'order')} announced again, and no visible message to be seen yet",
            hint="Run `saleops mq recheck SALE` again; it announces only what is still missing.",
        )


def _question(plan: RecheckPlan) -> str:
    announce, close = plan.count("announce"), plan.count("close")
    orders = sum(len(item.missing) for item in plan.items if item.action == "announce")
    return (
        f"Announce {counted(orders, 'order')} of {counted(announce, 'group commit')} of sale {plan.sale} again, "
        f"close {close:,} that never committed and forget {plan.count('forget'):,} that were announced?"
    )


@as_rich.register
def _(found: MqStatus) -> list[Sheet | str]:
    oldest = "" if found.oldest_half_s is None else f", the oldest {age(found.oldest_half_s)} old"
    stuck = (
        ""
        if found.oldest_discarded_s is None
        else f", {found.discarded_committed:,} of them durable, the oldest {age(found.oldest_discarded_s)} old"
    )
    sums = [
        ("sale", found.sale),
        ("half messages", f"{found.halves:,} open{oldest}"),
        (
            "discarded halves",
            f"{'✗' if found.discarded_committed else '✓'} {found.discarded:,}{stuck}",
        ),
        ("dead letters", f"{found.dead:,}"),
    ]
    if found.missing_topics:
        sums.append(("topics", f"✗ missing: {', '.join(found.missing_topics)}"))
    rows = [
        (one.topic, one.group, one.waiting, one.in_flight, one.delayed, one.dead)
        for one in found.queues
    ]
    columns = ("topic", "group", "waiting", "in flight", "delayed", "dead")
    return [Sheet((), sums), Sheet(columns, rows)]


@as_rich.register
def _(plan: RecheckPlan) -> list[Sheet | str]:
    looked = f"{plan.discarded:,} discarded halves, {plan.swept:,} swept"
    if not plan.items:
        return [f"Nothing to do in sale {plan.sale}: {looked}."]
    return [
        Sheet((), [("sale", plan.sale), ("looked at", looked)]),
        *_items(plan.items, "Nothing was changed; this would be done"),
    ]


@as_rich.register
def _(report: RecheckReport) -> list[Sheet | str]:
    rows: list[tuple[str, object]] = [
        ("sale", report.sale),
        (
            "announced",
            f"{counted(report.announced_orders, 'order')} of {counted(report.announced, 'group commit')}",
        ),
        ("closed", f"{report.closed:,} that never committed"),
        ("forgotten", f"{report.forgotten:,} discarded halves"),
    ]
    if report.waiting:
        rows.append(("left to check-back", f"{report.waiting:,}"))
    if report.unseen:
        rows.append(("not seen yet", f"{report.unseen:,} orders"))
    if report.more:
        rows.append(("more", "run it again: the sweep found as many as it takes at a time"))
    rows.append(("run", report.run_id))
    return [Sheet((), rows), *_items(report.items, "Group commits")]


def _items(items: tuple[RecheckItem, ...], title: str) -> list[Sheet | str]:
    rows = [
        (one.tx_id, one.source, one.state, age(one.age_s), one.orders, len(one.missing), one.action)
        for one in items[:NAMED_ON_SCREEN]
    ]
    columns = ("tx_id", "found by", "state", "age", "orders", "missing", "action")
    shown: list[Sheet | str] = [Sheet(columns, rows, title=title, whole=("tx_id",))]
    if len(items) > NAMED_ON_SCREEN:
        shown.append(f"and {len(items) - NAMED_ON_SCREEN:,} more: -o json")
    return shown
