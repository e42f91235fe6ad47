"""``saleops prewarm``: fill caches before buyers arrive, and prove that they are full."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, cast

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
from saleops.cli.prewarm_edge import (
    DEADLINE_S,
    Again,
    Deadline,
    EdgeFlags,
    Hottest,
    Pause,
    Refresh,
    UrlsFile,
    edge,
    run_edge,
)
from saleops.cli.provision_session import CloudFlags, EndpointCloud, ProfileFile, Region
from saleops.cli.sheets import Sheet, as_rich
from saleops.config.sale import Sale, load_sale
from saleops.errors import SaleopsError
from saleops.operations.edge_plan import EdgePlan
from saleops.operations.edge_report import EdgeNotWarm, EdgeReport
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

Resume = Annotated[
    bool, typer.Option(help="Go on where an interrupted run stopped, while its pages live.")
]
Seed = Annotated[int, typer.Option(help="Where the lifetimes' sequence starts.")]


@app.callback()
def prewarm() -> None:
    """Fill caches before buyers arrive, and prove it.

    Examples:
      saleops prewarm cache sale.yaml
      saleops prewarm edge sale.yaml --dry-run
      saleops prewarm all sale.yaml
    """


@app.command()
def cache(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    resume: Resume = True,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Write every product page of SALE into the cache, then prove it: sampled pages must ask no database.

    Lifetimes are spread, so that no second sees more than 2 % of the pages expire. A second run writes the same
    pages again. Exit code 3 when the proof fails.

    Examples:
      saleops prewarm cache sale.yaml --dry-run
    """
    context = context_of(ctx)
    flags = CacheFlags(state_dir, redis, database, resume, seed)
    try:
        shown = _run_cache(context, sale, flags, dry_run=dry_run)
    except PrewarmFailed as failed:
        context.screen.show(failed.report)
        raise
    context.screen.show(shown)


@dataclass(frozen=True)
class CacheFlags:
    """Which engines, and how the cache is filled."""

    state_dir: Path
    redis: str | None
    database: str | None
    resume: bool
    seed: int


def _run_cache(
    context: Context, sale: Path, flags: CacheFlags, *, dry_run: bool
) -> PrewarmPlan | PrewarmReport:
    """Fill the cache, or with ``dry_run`` say what would be written. Raises PrewarmFailed, Refused, ConfigError."""
    from saleops.wiring import open_engines, open_order_book

    state_dir, redis, database = flags.state_dir, flags.redis, flags.database
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
            resume=flags.resume,
        )
        if dry_run:
            return plan
        return asyncio.run(
            _fill(context, loaded, plan, book, engines.redis_url, checkpoint, flags.seed)
        )


app.command()(edge)


@dataclass(frozen=True, slots=True)
class PrewarmAllPlan:
    """What `prewarm all` would do, cache first."""

    schema: ClassVar[str] = "saleops/prewarm-all-plan/v1"

    cache: PrewarmPlan
    edge: EdgePlan


@dataclass(frozen=True, slots=True)
class PrewarmAllReport:
    """What `prewarm all` did. ``edge`` is None where the cache's proof failed: an edge is not filled from a cold cache."""

    schema: ClassVar[str] = "saleops/prewarm-all/v1"

    cache: PrewarmReport
    edge: EdgeReport | None


@app.command("all")
def everything(
    ctx: typer.Context,
    sale: SaleFile,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    resume: Resume = True,
    seed: Seed = 0,
    profile: ProfileFile = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
    urls: UrlsFile = None,
    hottest: Hottest = None,
    refresh: Refresh = False,
    again: Again = False,
    deadline: Deadline = DEADLINE_S,
    pause: Pause = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Fill the page cache of SALE, prove it, and then fill the edge from it.

    The edge pulls its pages from the shop, so the cache goes first; where its proof fails, the edge is left alone. Exit code 3
    when either is not warm.

    Examples:
      saleops prewarm all sale.yaml --dry-run
    """
    context = context_of(ctx)
    cache_flags = CacheFlags(state_dir, redis, database, resume, seed)
    cloud_flags = CloudFlags(profile, endpoint_cloud, region, state_dir)
    wishes = EdgeFlags(urls, hottest, refresh, again, deadline, pause)
    try:
        first = _run_cache(context, sale, cache_flags, dry_run=dry_run)
    except PrewarmFailed as failed:
        context.screen.show(PrewarmAllReport(failed.report, None))
        raise
    if isinstance(first, PrewarmPlan):
        second = run_edge(context, sale, cloud_flags, wishes, dry_run=True)
        context.screen.show(PrewarmAllPlan(first, cast(EdgePlan, second)))
        return
    try:
        second = run_edge(context, sale, cloud_flags, wishes, dry_run=False)
    except EdgeNotWarm as cold:
        context.screen.show(PrewarmAllReport(first, cold.report))
        raise
    except SaleopsError:
        context.screen.show(PrewarmAllReport(first, None))
        raise
    context.screen.show(PrewarmAllReport(first, cast(EdgeReport, second)))


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


@as_rich.register
def _(plan: PrewarmAllPlan) -> list[Sheet | str]:
    return [*_parts(plan.cache), *_parts(plan.edge)]


@as_rich.register
def _(report: PrewarmAllReport) -> list[Sheet | str]:
    return [
        *_parts(report.cache),
        *(_parts(report.edge) if report.edge else ["the edge was not filled"]),
    ]


def _parts(result: object) -> list[Sheet | str]:
    shown = as_rich(result)
    return list(shown) if isinstance(shown, list) else [shown]
