"""``saleops seed``: puts a sale's items on sale."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import (
    STATE_DIR,
    Broker,
    Database,
    DryRun,
    Redis,
    SaleFile,
    StateDir,
    Yes,
    tell_engines,
    warn_of_passwords,
)
from saleops.cli.readiness import wait_ready
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.seed import SeedPlan, SeedReport

if TYPE_CHECKING:
    from saleops.config.sale import Sale
    from saleops.ports.engines import EngineUrls

_SELLS_WITHIN_S = 5.0

app = typer.Typer()


@app.command()
def seed(
    ctx: typer.Context,
    sale_file: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    replace: Annotated[
        str,
        typer.Option(
            help="The epoch of a live sale to drop, with its counters and orders, and seed anew.",
            show_default=False,
        ),
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Put the items of SALE on sale: counters into Redis, products and the second lock into the database.

    Every row is checked before anything is touched. The same sale again changes nothing; one cut off goes on where
    it stopped; a live sale with other items is refused.

    Examples:
      saleops seed examples/midnight-drop/sale.yaml
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
    if dry_run and nothing_there(**chosen):
        context.screen.show(_first_plan(sale, replace))
        return
    sale.items_source.summary()  # bad items are refused before an engine is started
    with open_engines(**chosen, command="seed") as engines:
        tell_engines(context.screen, engines)
        shown = _run(context, sale, engines, replace=replace, dry_run=dry_run, yes=yes)
        # With embedded engines the state directory is ours: no serve runs on it.
        ours = "embedded" in engines.origins.values()
        if isinstance(shown, SeedReport) and shown.changed and not ours:
            _wait_for_serve(context, sale.name, state_dir)
    context.screen.show(shown)


def _wait_for_serve(context: Context, sale: str, state_dir: Path) -> None:
    """A serve that runs on ``state_dir`` finds the sale within a second; until then orders are answered 503."""
    from saleops.wiring import running_shop

    shop = running_shop(state_dir)
    if shop.sale != sale or not shop.order_url:
        return
    if why := wait_ready(shop.order_url, within_s=_SELLS_WITHIN_S):
        context.screen.note(f"The serve at {shop.url} does not sell yet: {why}")


def _first_plan(sale: "Sale", replace: str) -> SeedPlan:
    """The plan where no engine holds anything yet: none has to be started to know it."""
    from saleops.operations.seed import plan_from
    from saleops.ports.stock import SeedState

    return plan_from(
        sale.name,
        sale.items_source.summary(),
        row=None,
        state=SeedState("", "", complete=False),
        orders_exist=lambda: False,
        replace=replace,
    )


def _run(
    context: Context,
    sale: "Sale",
    engines: "EngineUrls",
    *,
    replace: str,
    dry_run: bool,
    yes: bool,
) -> SeedPlan | SeedReport:
    import asyncio

    from saleops.operations.seed import apply_seed, plan_seed
    from saleops.wiring import (
        open_broker,
        open_order_book,
        open_page_cache,
        open_stock_store,
        prepare_engines,
    )

    async def body() -> SeedPlan | SeedReport:
        await prepare_engines(engines, sale=sale.name)
        with open_order_book(engines.database_url) as book:
            async with open_stock_store(engines.redis_url, sale=sale.name) as stock:
                items = sale.items_source
                plan = await plan_seed(sale.name, items, book=book, stock=stock, replace=replace)
                if dry_run:
                    return plan
                if plan.action == "replace":
                    context.screen.confirm(
                        f"Drop epoch {plan.replaces_epoch} of sale {sale.name} with all its counters and orders?",
                        yes=yes,
                    )
                async with (
                    open_broker(engines.broker_url, sale=sale.name) as broker,
                    open_page_cache(engines.redis_url, sale=sale.name) as cache,
                ):
                    return await apply_seed(
                        plan,
                        items,
                        book=book,
                        stock=stock,
                        forget=(broker, cache),
                        observe=context.screen.observe,
                    )

    return asyncio.run(body())


@as_rich.register
def _(plan: SeedPlan) -> Sheet:
    acts = {
        "seed": "would seed",
        "resume": "would go on with a seeding that was cut off",
        "replace": f"would drop epoch {plan.replaces_epoch} and seed anew",
        "nothing": "nothing to do: these items are on sale already",
    }
    return Sheet(
        (),
        [
            ("sale", plan.sale),
            ("plan", acts[plan.action]),
            ("SKUs", f"{plan.items_count:,}"),
            ("units", f"{plan.units_count:,}"),
            # A new epoch is drawn when seeding begins: what a plan drew means nothing to anybody.
            ("epoch", plan.epoch if plan.action in ("nothing", "resume") else plan.replaces_epoch),
            ("items version", plan.version),
        ],
    )


@as_rich.register
def _(report: SeedReport) -> Sheet:
    return Sheet(
        (),
        [
            ("sale", report.sale),
            ("result", "on sale" if report.changed else "no change: on sale already"),
            ("SKUs", f"{report.items_count:,}"),
            ("units", f"{report.units_count:,}"),
            *(_work(report) if report.changed else ()),
            ("epoch", report.epoch),
        ],
    )


def _work(report: SeedReport) -> list[tuple[str, str]]:
    split = [f"{sku} x{shards}" for sku, shards in sorted(report.hot_skus.items())]
    shown = ", ".join(split[:8]) + (f" and {len(split) - 8} more" if len(split) > 8 else "")
    return [
        ("split SKUs", shown or "none"),
        ("new counters", f"{report.new_counters:,}"),
        ("new rows", f"{report.new_rows:,}"),
        ("SKUs/s", f"{report.skus_per_s:,.0f}"),
    ]
