"""``saleops reconcile``: proves from the engines themselves that every unit, order and cent is accounted for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import (
    STATE_DIR,
    Broker,
    Database,
    Redis,
    SaleFile,
    StateDir,
    tell_engines,
    warn_of_passwords,
)
from saleops.cli.sheets import Sheet, as_rich
from saleops.domain.ledger import BREAK_KINDS, Ledger
from saleops.errors import ConfigError, GateFailed

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
) -> None:
    """Check the ledger of SALE_FILE: units in the stock store, orders, messages, charges and parcels against each other.

    Only reads, from the engines themselves. Names every id that breaks a rule, and exits 3 if one does. A sale that
    still runs has orders on their way: let it drain, or allow for them with --grace.

    Example:  saleops reconcile sale.yaml -o json
    """
    from saleops.config.sale import load_sale
    from saleops.wiring import nothing_there, open_engines

    context = context_of(ctx)
    warn_of_passwords(context.screen, redis=redis, database=database, broker=broker)
    sale = load_sale(sale_file)
    chosen: dict[str, Any] = {
        "redis": redis,
        "database": database,
        "broker": broker,
        "engines": sale.engines,
        "state_dir": state_dir,
    }
    if nothing_there(**chosen):
        raise ConfigError(
            f"there is no sale in {state_dir}: it does not exist; nothing was checked",
            hint="Name the --state-dir of your `saleops serve`, or give --redis, --database and --broker.",
        )
    with open_engines(**chosen, command="reconcile") as engines:
        tell_engines(context.screen, engines)
        ledger = _read(context, sale.name, engines, grace_ms=round(grace * 1000))
    context.screen.show(ledger)
    if not ledger.balanced:
        raise GateFailed(
            f"the ledger of {sale.name} does not balance: {_breaks(ledger)}; nothing was changed",
            hint=_advice(context, ledger),
        )


def _advice(context: Context, ledger: Ledger) -> str:
    if context.options.output == "table" and ledger.breaks_count > NAMED_ON_SCREEN:
        return "`-o json` names up to 1,000 ids of each kind."
    return (
        "If orders are still on their way, let them drain or allow for them with --grace SECONDS."
    )


def _read(context: Context, sale: str, engines: "EngineUrls", *, grace_ms: int) -> Ledger:
    import asyncio

    from saleops import wiring
    from saleops.operations.reconcile import reconcile as operation
    from saleops.ports.clock import WallClock

    async def body() -> Ledger:
        with wiring.open_order_book(engines.database_url) as book:
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
    verdict = "✓ balanced" if ledger.balanced else f"✗ {_breaks(ledger)}"
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
        ("money", f"{_money(ledger.charged_fen)} charged, {_money(ledger.due_fen)} due"),
    ]
    if ledger.refunded_fen:
        sums.append(("refunded", _money(ledger.refunded_fen)))
    rules = [
        ("✗" if count else "✓", kind, f"{count:,}", BREAK_KINDS[kind])
        for kind, count in ledger.breaks_by_kind.items()
    ]
    shown: list[Sheet | str] = [
        Sheet((), sums),
        Sheet(("", "rule", "breaks", "a break is"), rules),
    ]
    if ledger.breaks:
        named = ledger.breaks[:NAMED_ON_SCREEN]
        rows = [(one.kind, one.id, one.sku, one.detail) for one in named]
        shown.append(Sheet(("break", "order", "SKU", "what is wrong"), rows, title="Breaks"))
        more = ledger.breaks_count - len(named)
        if more:
            shown.append(f"and {more:,} more")
    return shown


def _breaks(ledger: Ledger) -> str:
    return "1 break" if ledger.breaks_count == 1 else f"{ledger.breaks_count:,} breaks"


def _rest(missing: int) -> str:
    """What makes the sum of units come out right where it does not."""
    if missing > 0:
        return f" + {missing:,} missing"
    return f" - {-missing:,} too many" if missing else ""


def _money(fen: int) -> str:
    """Hundredths as a decimal number: 123456 -> 1,234.56."""
    return f"{fen // 100:,}.{fen % 100:02d}"
