"""``saleops prewarm``: fill caches before buyers arrive, and prove that they are full."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.engine_options import (
    STATE_DIR,
    Database,
    DryRun,
    Redis,
    SaleFile,
    StateDir,
    tell_engines,
    warn_of_passwords,
)
from saleops.cli.sheets import Sheet, as_rich
from saleops.config.sale import Sale, load_sale
from saleops.operations.prewarm import (
    PrewarmFailed,
    PrewarmPlan,
    PrewarmReport,
    apply_prewarm,
    plan_prewarm,
)
from saleops.operations.prewarm_hot import hottest_of, prewarm_hot
from saleops.ports.clock import WallClock
from saleops.ports.orders import OrderBook

app = typer.Typer(no_args_is_help=True)


@app.callback()
def prewarm() -> None:
    """Fill caches before buyers arrive, and prove it.

    Examples:
      saleops prewarm cache sale.yaml
    """


@app.command()
def cache(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    resume: Annotated[
        bool, typer.Option(help="Go on where an interrupted run stopped, while its pages live.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Where the lifetimes' sequence starts.")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Write every product page of SALE into the cache, then prove it: sampled pages must ask no database.

    Lifetimes are spread, so that no second sees more than 2 % of the pages expire. A second run writes the same
    pages again. Exit code 3 when the proof fails.

    Examples:
      saleops prewarm cache sale.yaml --dry-run
    """
    from saleops.wiring import open_engines, open_order_book

    context = context_of(ctx)
    warn_of_passwords(context.screen, redis=redis, database=database)
    loaded = load_sale(sale)
    checkpoint = state_dir / f"prewarm-{loaded.name}.json"
    with (
        open_engines(
            redis=redis or "",
            database=database or "",
            engines=loaded.engines,
            state_dir=state_dir,
            command="prewarm cache",
        ) as engines,
        open_order_book(engines.database_url) as book,
    ):
        tell_engines(context.screen, engines)
        plan = plan_prewarm(
            book,
            sale=loaded.name,
            ttl_ms=round(loaded.cache.ttl_s * 1000),
            jitter=loaded.cache.jitter,
            now_ms=WallClock().now_ms(),
            checkpoint=checkpoint,
            resume=resume,
        )
        if dry_run:
            context.screen.show(plan)
            return
        try:
            report = asyncio.run(
                _fill(context, loaded, plan, book, engines.redis_url, checkpoint, seed)
            )
        except PrewarmFailed as failed:
            context.screen.show(failed.report)
            raise
    context.screen.show(report)


async def _fill(
    context: Context,
    sale: Sale,
    plan: PrewarmPlan,
    book: OrderBook,
    redis_url: str,
    checkpoint: Path,
    seed: int,
) -> PrewarmReport:
    from saleops.wiring import open_page_cache

    async with open_page_cache(redis_url, sale=sale.name) as pages:
        report = await apply_prewarm(
            plan,
            book,
            pages,
            seed=seed,
            opens_ms=sale.window.opens_ms,
            checkpoint=checkpoint,
            observe=context.screen.observe,
        )
        await prewarm_hot(
            hottest_of(sale.items_source.stream()),
            book,
            pages,
            ttl_ms=round(sale.cache.ttl_s * 1000),
            jitter=sale.cache.jitter,
            seed=seed,
            observe=context.screen.observe,
        )
        return report


@as_rich.register
def _(plan: PrewarmPlan) -> Sheet:
    rows: list[tuple[str, object]] = [
        ("sale", plan.sale),
        ("pages to write", plan.products - plan.done_before),
        ("already warm", plan.done_before),
        ("a page lives", f"{plan.ttl_low_ms / 1000:g} to {plan.ttl_high_ms / 1000:g} s"),
    ]
    return Sheet((), rows, title="Nothing was written; this would be")


@as_rich.register
def _(report: PrewarmReport) -> Sheet:
    rows: list[tuple[str, object]] = [
        ("sale", report.sale),
        ("pages written", f"{report.written:,} of {report.products:,}"),
        ("speed", f"{report.keys_per_s:,.0f} pages/s, {report.seconds:g} s"),
        ("sampled pages", report.sampled),
        ("database queries in the sample", report.db_queries),
        ("fullest second of expiries", f"{report.expiry_max_share:.2%} ({report.expiry_rule})"),
        ("verdict", "; ".join(report.problems) or "warm"),
    ]
    return Sheet((), rows)
