"""``saleops dlq``: the orders that a consumer gave up: look at them, and send them again."""

from typing import Annotated

import typer

from saleops.cli.context import context_of
from saleops.cli.dlq_drop import drop
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
from saleops.cli.figures import age, counted, money, when
from saleops.cli.message_engines import on_messages
from saleops.cli.person import whoami
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.letters import Letter, Selection
from saleops.domain.messages import READERS
from saleops.errors import ConfigError
from saleops.operations.audit import Run
from saleops.operations.dlq import (
    DROP,
    LETTERS_MAX,
    DlqList,
    DlqLog,
    DlqShow,
    ReplayPlan,
    ReplayReport,
    apply_replay,
    list_letters,
    plan_replay,
    replay_log,
    show_letters,
)
from saleops.ports import broker as ports
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook

NAMED_ON_SCREEN = 20
_GROUPS = tuple(group for _, group in READERS)

app = typer.Typer(no_args_is_help=True)
app.command()(drop)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Letters by their ids.", show_default=False),
]
Group = Annotated[
    list[str] | None,
    typer.Option("--group", help=f"Only of this group: {', '.join(_GROUPS)}. Repeatable."),
]
OrderId = Annotated[
    list[str] | None, typer.Option("--order", help="Only letters with this order. Repeatable.")
]
Sku = Annotated[
    list[str] | None, typer.Option("--sku", help="Only letters with this SKU. Repeatable.")
]
ReasonText = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Only where the reason contains TEXT.")
]
OlderThan = Annotated[
    float | None,
    typer.Option(
        "--older-than",
        min=0,
        max=315_360_000,
        metavar="SECONDS",
        help="Only what died before that.",
    ),
]
NewerThan = Annotated[
    float | None,
    typer.Option(
        "--newer-than", min=0, max=315_360_000, metavar="SECONDS", help="Only what died since then."
    ),
]


@app.callback()
def dlq() -> None:
    """Look at the messages that a consumer gave up, and send them again.

    Examples:
      saleops dlq list sale.yaml
      saleops dlq show sale.yaml --group payment
      saleops dlq replay sale.yaml --reason timeout --dry-run
    """


@app.command(name="list")
def list_(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
) -> None:
    """Count the dead letters of SALE: per topic and group, how old, why; and the last replays.

    Examples:
      saleops dlq list sale.yaml -o json
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> DlqList:
        return await list_letters(name, book, opened, now_ms=WallClock().now_ms())

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="dlq list",
    )
    context.screen.show(shown)


@app.command()
def show(
    ctx: typer.Context,
    sale: SaleFile,
    ids: Ids = None,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    group: Group = None,
    order: OrderId = None,
    sku: Sku = None,
    reason: ReasonText = "",
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[int, typer.Option(min=1, max=LETTERS_MAX, help="Show at most so many.")] = 50,
) -> None:
    """Show dead letters of SALE: the orders in each, why it died, how often it was tried. Payment tokens are masked.

    Examples:
      saleops dlq show sale.yaml
      saleops dlq show sale.yaml --order 0f3c... -o json
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> DlqShow:
        now_ms = WallClock().now_ms()
        chosen = _selection(ids, group, order, sku, reason, older_than, newer_than, now_ms)
        return await show_letters(name, book, opened, chosen, now_ms=now_ms, limit=limit)

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="dlq show",
    )
    context.screen.show(shown)


@app.command()
def replay(
    ctx: typer.Context,
    sale: SaleFile,
    ids: Ids = None,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    group: Group = None,
    order: OrderId = None,
    sku: Sku = None,
    reason: ReasonText = "",
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[
        int, typer.Option(min=1, max=LETTERS_MAX, help="Send at most so many.")
    ] = 1000,
    rate: Annotated[
        float, typer.Option(min=0.1, max=5000, help="Letters a second, at most.")
    ] = 50.0,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Send dead letters of SALE to their groups again, oldest first; without a choice, all of them.

    Mend the cause first: a letter that fails again is a dead letter again. What a replay sends twice is charged once and
    shipped once. Ctrl-C ends it after the letter at hand; the same command goes on. Every run is kept: `dlq log`.

    Examples:
      saleops dlq replay sale.yaml --dry-run
      saleops dlq replay sale.yaml --group payment --rate 20 --yes
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> ReplayPlan | ReplayReport:
        clock = WallClock()
        now_ms = clock.now_ms()
        chosen = await plan_replay(
            name,
            book,
            opened,
            _selection(ids, group, order, sku, reason, older_than, newer_than, now_ms),
            now_ms=now_ms,
            limit=limit,
            rate_per_s=rate,
        )
        if dry_run or not chosen.places:
            return chosen.plan
        context.screen.confirm(_question(chosen.plan), yes=yes)
        book.migrate()  # the journal, where an older version made the database
        return await apply_replay(
            chosen, book, opened, who=whoami(), clock=clock, observe=context.screen.observe
        )

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="dlq replay",
    )
    context.screen.show(shown)


@app.command()
def log(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show at most so many runs.")] = 20,
) -> None:
    """Show the replays and drops of SALE, newest first: who, when, what was chosen, what came of it.

    Examples:
      saleops dlq log sale.yaml -o json
    """

    async def work(name: str, book: OrderBook, opened: ports.Broker) -> DlqLog:
        return replay_log(name, book, limit=limit)

    context = context_of(ctx)
    shown = on_messages(
        context,
        work,
        sale_file=sale,
        flags=EngineFlags(state_dir, redis, database, broker),
        command="dlq log",
    )
    context.screen.show(shown)


def _selection(
    ids: list[str] | None,
    groups: list[str] | None,
    orders: list[str] | None,
    skus: list[str] | None,
    reason: str,
    older_than_s: float | None,
    newer_than_s: float | None,
    now_ms: int,
) -> Selection:
    unknown = [group for group in groups or () if group not in _GROUPS]
    if unknown:
        raise ConfigError(
            f"no group {', '.join(unknown)}; nothing was done",
            hint=f"The groups are {', '.join(_GROUPS)}.",
        )
    if older_than_s is not None and newer_than_s is not None and older_than_s >= newer_than_s:
        raise ConfigError(
            f"nothing is older than {older_than_s:g} s and newer than {newer_than_s:g} s; nothing was done",
            hint="--older-than takes the smaller number: `--older-than 60 --newer-than 3600`.",
        )
    return Selection(
        tuple(ids or ()),
        tuple(groups or ()),
        tuple(orders or ()),
        tuple(skus or ()),
        reason,
        None if newer_than_s is None else now_ms - round(newer_than_s * 1000),
        None if older_than_s is None else now_ms - round(older_than_s * 1000),
    )


def _question(plan: ReplayPlan) -> str:
    more = f" ({plan.more:,} more are chosen and wait for the next run)" if plan.more else ""
    return (
        f"Send {counted(len(plan.letters), 'letter')} with {counted(plan.orders, 'order')} of sale {plan.sale} again, "
        f"{plan.rate_per_s:g} a second{more}?"
    )


# -- for people --------------------------------------------------------------------------------------------------


@as_rich.register
def _(found: DlqList) -> list[Sheet | str]:
    if not found.groups:
        shown: list[Sheet | str] = [f"No dead letters in sale {found.sale}."]
    else:
        rows = [
            (one.topic, one.group, one.letters, one.orders, age(one.oldest_age_s))
            for one in found.groups
        ]
        reasons = [
            (one.topic, one.group, why.letters, why.reason or "other reasons")
            for one in found.groups
            for why in one.reasons
        ]
        shown = [
            Sheet(("topic", "group", "letters", "orders", "oldest"), rows),
            Sheet(("topic", "group", "letters", "reason"), reasons, title="Why"),
        ]
    if found.replays:
        shown.append(_runs(found.replays, "Last replays"))
    return shown


@as_rich.register
def _(found: DlqShow) -> list[Sheet | str]:
    if not found.letters:
        return [f"No dead letters ({found.selection}) in sale {found.sale}."]
    shown: list[Sheet | str] = [_letters(found.letters)]
    orders = [
        (
            letter.letter_id,
            order.order_id,
            order.buyer,
            order.sku,
            order.units,
            money(order.amount_fen),
            order.payment_token,
        )
        for letter in found.letters
        for order in letter.orders
    ]
    if orders:
        columns = ("letter", "order", "buyer", "SKU", "units", "amount", "token")
        shown.append(Sheet(columns, orders, title="Orders", whole=("letter", "order")))
    if found.more:
        shown.append(f"and {counted(found.more, 'more letter')}: --limit")
    return shown


@as_rich.register
def _(plan: ReplayPlan) -> list[Sheet | str]:
    if not plan.letters:
        none = f"No dead letters ({plan.selection}) in sale {plan.sale}; nothing to send."
        return [none, _left_out(plan)] if plan.unreadable else [none]
    sums = [
        ("sale", plan.sale),
        ("chosen", plan.selection),
        (
            "letters",
            f"{len(plan.letters):,}" + (f", {plan.more:,} more next time" if plan.more else ""),
        ),
        ("orders", f"{plan.orders:,}"),
        ("rate", f"{plan.rate_per_s:g} letters/s, {age(plan.least_s)} or more"),
    ]
    shown: list[Sheet | str] = [
        Sheet((), sums, title="Nothing was sent; this would be"),
        _letters(plan.letters[:NAMED_ON_SCREEN]),
    ]
    if plan.unreadable:
        shown.append(_left_out(plan))
    if len(plan.letters) > NAMED_ON_SCREEN:
        shown.append(f"and {counted(len(plan.letters) - NAMED_ON_SCREEN, 'more letter')}: -o json")
    return shown


@as_rich.register
def _(report: ReplayReport) -> Sheet:
    rows: list[tuple[str, object]] = [
        ("sale", report.sale),
        ("chosen", report.selection),
        ("sent", f"{counted(report.sent, 'letter')}, {counted(report.orders, 'order')}"),
    ]
    if report.gone:
        rows.append(("gone already", f"{report.gone:,}"))
    if report.more:
        rows.append(("left for the next run", f"{report.more:,}"))
    rows += [("took", age(report.seconds)), ("run", report.run_id)]
    return Sheet((), rows)


@as_rich.register
def _(found: DlqLog) -> Sheet | str:
    return (
        _runs(found.runs)
        if found.runs
        else f"Nothing of sale {found.sale} was replayed or dropped yet."
    )


def _left_out(plan: ReplayPlan) -> str:
    unreadable = counted(plan.unreadable, "unreadable letter")
    return f"{unreadable} left out: `dlq show` names them, `dlq drop` forgets them"


def _letters(letters: tuple[Letter, ...]) -> Sheet:
    rows = [
        (
            one.letter_id,
            one.group,
            "unreadable" if one.unreadable else len(one.orders),
            one.attempts,
            age(one.age_s),
            one.reason,
        )
        for one in letters
    ]
    columns = ("letter", "group", "orders", "tries", "age", "reason")
    return Sheet(columns, rows, whole=("letter", "group", "age"))


def _came_of(run: Run) -> str:
    letters = f"{run.figures.get('letters', 0):,}"
    if run.command == DROP:
        return f"dropped {run.figures.get('dropped', 0):,} of {letters}"
    return f"{run.figures.get('sent', 0):,} of {letters}"


def _runs(runs: tuple[Run, ...], title: str = "") -> Sheet:
    rows = [
        (
            when(one.at_ms),
            one.who,
            one.selection,
            _came_of(one),
            one.outcome,
            one.run_id,
        )
        for one in runs
    ]
    columns = ("began", "who", "chosen", "sent", "outcome", "run")
    return Sheet(columns, rows, title=title, whole=("began", "run"))
