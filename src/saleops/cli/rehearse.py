"""``saleops rehearse``: a whole sale on this machine, broken on purpose, judged by its ledger."""

import asyncio
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
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
    tell_engines,
    warn_of_passwords,
)
from saleops.cli.sheets import Sheet, as_rich
from saleops.errors import ConfigError, GateFailed
from saleops.operations.rehearse import (
    REHEARSAL_SUFFIX,
    RehearsePlan,
    RehearseReport,
    Stage,
    plan_rehearsal,
)
from saleops.operations.rehearse import rehearse as play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from saleops.config.profile import Profile
    from saleops.config.sale import Sale
    from saleops.operations.rehearse_cloud import OpenPractice, Practice
    from saleops.operations.serve import Fleet
    from saleops.wiring import OwnedState

app = typer.Typer()

_CHECK_NOTE = (
    "half messages of a killed worker are asked about when RocketMQ's transactionTimeOut is over"
)

RehearsalsDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="SALEOPS_STATE_DIR",
        help="Where the rehearsal keeps its folder (rehearsals/TIME-PID); nothing that runs there is used.",
    ),
]


@app.command()
def rehearse(
    ctx: typer.Context,
    sale_file: SaleFile,
    duration: Annotated[
        float,
        typer.Option(min=6, max=3600, metavar="SECONDS", help="Seconds of load, opening included."),
    ] = 20.0,
    peak: Annotated[
        float | None,
        typer.Option(
            min=10, help="Requests a second at the peak; default: what this machine takes."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Where the buyers' randomness starts.")] = 1,
    order_workers: Annotated[
        int, typer.Option(min=1, max=16, help="Processes of the order service.")
    ] = 2,
    state_dir: RehearsalsDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    no_cloud: Annotated[
        bool,
        typer.Option("--no-cloud", help="Leave out provisioning on a local Alibaba Cloud."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the rehearsal's data, also after a GO.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Rehearse the whole sale here: seed, prewarm, open the doors, send its load, kill an order worker in the middle,
    let payment and shipping drain, and reconcile to the unit and the cent.

    Meanwhile its cloud is provisioned on a local Alibaba Cloud, and taken away at the end (--no-cloud leaves that out). Exits 0
    for GO and 3 for NO-GO. Everything runs on this machine alone, on engines of its own.

    Examples:
      saleops rehearse examples/midnight-drop/sale.yaml --duration 30 --seed 7
    """
    from saleops.config.sale import load_sale

    context = context_of(ctx)
    warn_of_passwords(context.screen, redis=redis, database=database, broker=broker)
    sale = load_sale(sale_file)
    plan = plan_rehearsal(
        sale,
        duration_s=duration,
        peak_rps=peak,
        seed=seed,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2,
        order_workers=order_workers,
    )
    if dry_run:
        context.screen.show(plan)
        return
    folder = state_dir / "rehearsals" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    try:
        practice = None
        if not no_cloud:
            plan, practice = _practice_for(plan, sale, sale_file, folder)
        report = _on_a_stage(
            context, sale, plan, folder, practice, redis=redis, database=database, broker=broker
        )
    except BaseException:
        context.screen.note(f"What is left of the rehearsal is in {folder}.")
        raise
    if report.verdict == "GO" and not keep:
        shutil.rmtree(folder)
    else:
        report = replace(report, state_dir=str(folder))
    context.screen.show(report)
    if report.verdict != "GO":
        failed = [check.name for check in report.checks if check.decides and not check.ok]
        raise GateFailed(
            f"NO-GO: not so: {'; '.join(failed)}",
            hint=f"Its data and logs are kept: `saleops reconcile {sale_file} --state-dir {folder}`"
            if report.ledger.sale == sale.name
            else f"It sold as {report.ledger.sale} on the engines you named; its logs are in {folder}.",
        )


def _practice_for(
    plan: RehearsePlan, sale: "Sale", sale_file: Path, folder: Path
) -> "tuple[RehearsePlan, OpenPractice | None]":
    """How to open a cloud to practise on; None, and a note, for a sale that names no zones to build in."""
    from saleops.cli.provision_session import CloudFlags, files_of
    from saleops.operations.provision.blueprint import zones_of

    _, profile = files_of(sale_file, CloudFlags(None, "local", None, folder))
    try:
        zones_of(sale, profile)
    except ConfigError as error:
        left_out = f"the cloud was not practised: {error.message}"
        return replace(plan, notes=(*plan.notes, left_out)), None
    return plan, lambda: _practice(sale, profile, folder)


@contextmanager
def _practice(sale: "Sale", profile: "Profile", folder: Path) -> "Iterator[Practice]":
    """A local cloud of the rehearsal's own, in virtual time, with what ``sale`` wants of it."""
    from saleops import wiring
    from saleops.domain.cloud.masking import HIDDEN
    from saleops.operations.provision.blueprint import blueprint, region_of
    from saleops.operations.rehearse_cloud import Practice

    path = wiring.cloud_journal_path(folder, sale.name, "local")
    passwords = wiring.sale_passwords(path, may_make=True, stand_in=HIDDEN)
    with wiring.open_cloud_journal(path, mended=lambda text: None) as journal:
        login = "" if profile.cluster.key_pair else passwords("nodes")
        wanted = blueprint(
            sale, profile, password=lambda: passwords("database"), node_password=login
        )
        region = region_of(sale, profile)
        with wiring.open_cloud(file_region=region, endpoint="local", state_dir=folder) as cloud:
            journal.begin(command="rehearse", who="rehearsal", cloud=cloud.name)
            yield Practice(sale, cloud, journal, wanted)


def _on_a_stage(
    context: Context,
    sale: "Sale",
    plan: RehearsePlan,
    folder: Path,
    practice: "OpenPractice | None",
    **urls: Any,
) -> RehearseReport:
    from saleops import wiring

    with wiring.own_state(
        **urls, engines=sale.engines, state_dir=folder, command="rehearse"
    ) as state:
        tell_engines(context.screen, state.urls)
        return asyncio.run(_play(context, sale, plan, state, practice))


async def _play(
    context: Context,
    sale: "Sale",
    plan: RehearsePlan,
    state: "OwnedState",
    practice: "OpenPractice | None",
) -> RehearseReport:
    from contextlib import AsyncExitStack

    from saleops import wiring
    from saleops.config.settings import JwtSettings
    from saleops.operations.serve import running_engine

    observe = context.screen.observe
    if set(state.urls.origins.values()) != {"embedded"}:
        sale = sale.model_copy(update={"name": sale.name + REHEARSAL_SUFFIX})
        left = f"it sold as {sale.name} on the engines you named, and left that sale there; the next rehearsal replaces it"
        if state.urls.broker_url.startswith("rocketmq:"):
            left += f", topics and groups {sale.name}-* too"
            plan = replace(plan, notes=(*plan.notes, _CHECK_NOTE))
        plan = replace(plan, notes=(*plan.notes, left))
    async with AsyncExitStack() as stack:
        if state.engine is not None:
            await stack.enter_async_context(running_engine(state.engine, observe=observe))
        await wiring.prepare_engines(state.urls, sale=sale.name)
        logs = state.path / "logs"
        logs.mkdir(exist_ok=True)
        redis_url = state.urls.redis_url
        stage = Stage(
            urls=state.urls,
            jwt=JwtSettings(hs256_secret=state.dev_secret()),
            book=stack.enter_context(wiring.open_order_book(state.urls.database_url)),
            stock=await stack.enter_async_context(
                wiring.open_stock_store(redis_url, sale=sale.name)
            ),
            cache=await stack.enter_async_context(
                wiring.open_page_cache(redis_url, sale=sale.name)
            ),
            broker=await stack.enter_async_context(
                wiring.open_broker(state.urls.broker_url, sale=sale.name)
            ),
            workers=stack.enter_context(wiring.open_workers(log_dir=logs)),
            runner=wiring.load_runner(),
            scrape=_scrape,
            practice=practice,
        )
        return await play(sale, plan, stage, observe=observe)


async def _scrape(fleet: "Fleet") -> dict[str, float]:
    from saleops.wiring import read_metrics

    return await read_metrics(
        [worker.admin_port for worker in fleet.workers if worker.service == "catalog"]
    )


@as_rich.register
def _(plan: RehearsePlan) -> list[Any]:
    rows: list[tuple[str, object]] = [
        ("sale", plan.sale),
        ("items", f"{plan.items_count:,} SKUs, {plan.units_count:,} units"),
        (
            "load",
            f"{plan.baseline_rps:,.0f} to {plan.peak_rps:,.0f} rps, {plan.duration_s:g} s in all",
        ),
        ("order workers", f"{plan.order_workers}, one of them killed"),
        ("seed", plan.seed),
    ]
    return [Sheet((), rows, title="Nothing was started; this would be"), *_notes(plan.notes)]


@as_rich.register
def _(report: RehearseReport) -> list[Any]:
    ledger, load = report.ledger, report.load
    marks = {True: "✓", False: "✗"}
    checks = [
        (
            marks[check.ok] if check.ok or check.decides else "!",
            check.name,
            check.value,
            check.wanted if check.decides else f"{check.wanted} (warns only)",
        )
        for check in report.checks
    ]
    steps = [
        (marks[step.status == "ok"], step.name, f"{step.seconds:.1f} s", step.note)
        for step in report.steps
    ]
    units: list[tuple[str, object]] = [
        (
            "units",
            f"{ledger.seeded:,} = {ledger.left:,} left + {ledger.reserved:,} reserved + {ledger.sold:,} sold",
        ),
        (
            "orders",
            f"{ledger.orders:,}: {ledger.paid_orders:,} paid, {ledger.cancelled_orders:,} cancelled",
        ),
        ("money", f"{ledger.charged_fen / 100:,.2f} charged, {ledger.due_fen / 100:,.2f} due"),
        (
            "buyers",
            f"{load.requests:,} requests, {load.achieved_rps:,.0f} rps at the peak, {load.sold_out:,} heard sold out",
        ),
        (
            "checkout",
            f"p50 {load.checkout_p50_ms:.0f} ms, p95 {load.checkout_p95_ms:.0f} ms, p99 {load.checkout_p99_ms:.0f} ms",
        ),
        (
            "pages",
            f"{report.cache.misses:,} cache misses, {report.cache.db_queries:,} database queries",
        ),
        (
            "killed",
            f"{report.killed['worker']} (pid {report.killed['pid']}), back after {report.killed['back_after_s']} s",
        ),
    ]
    if (cloud := report.cloud) is not None:
        units.append(
            (
                "cloud",
                f"{cloud.ready} of {cloud.resources} resources ran, {len(cloud.left)} are left; {cloud.writes:,} writes, "
                f"{cloud.reads:,} reads, {cloud.seconds:.1f} s",
            )
        )
    broken = [(one.kind, one.id or one.sku, one.detail) for one in ledger.breaks[:20]]
    parts: list[Any] = [
        Sheet(("", "step", "took", ""), steps, title=f"Rehearsal of {report.sale}"),
        Sheet((), units, title="What happened"),
        Sheet(("", "check", "is", "wanted"), checks, title="Checks"),
    ]
    if broken:
        parts.append(Sheet(("broken", "id", "why"), broken, title="The ledger's breaks"))
    parts += _notes(report.notes)
    parts.append(f"{report.verdict}  ({report.seconds:.0f} s)")
    return parts


def _notes(notes: tuple[str, ...]) -> list[str]:
    return ["\n".join(f"note: {note}" for note in notes)] if notes else []
