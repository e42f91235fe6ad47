"""``saleops loadtest``: the sale's load at a shop that runs, judged by the sale's objectives."""

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import STATE_DIR, Database, DryRun, Redis, SaleFile, StateDir
from saleops.cli.readiness import wait_ready
from saleops.cli.sheets import Sheet, as_rich
from saleops.cli.strategies import race, refuse_with_strategy, refuse_without_strategy
from saleops.errors import ConfigError, GateFailed, Refused
from saleops.operations.loadtest import (
    LoadtestPlan,
    LoadtestReport,
    apply_loadtest,
    demand_of,
    plan_loadtest,
)
from saleops.ports.load import LoadRequest

if TYPE_CHECKING:
    from saleops.config.sale import Sale
    from saleops.wiring import RunningShop

_SEEDED_WITHIN_S = 2.0
_READY_WITHIN_S = 10.0
_RACE = "Comparing strategies"

app = typer.Typer()


@app.command()
def loadtest(
    ctx: typer.Context,
    sale_file: SaleFile,
    url: Annotated[
        str,
        typer.Option(
            metavar="URL", help="The shop. Default: the serve on --state-dir.", show_default=False
        ),
    ] = "",
    duration: Annotated[
        float,
        typer.Option(
            min=3,
            max=3600,
            metavar="SECONDS",
            help="Seconds of load, opening included; of a strategy, at most.",
        ),
    ] = 30.0,
    peak: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Requests a second at the peak; default: what fits this machine.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Where the buyers' randomness starts.")] = 1,
    state_dir: StateDir = STATE_DIR,
    audience: Annotated[str, typer.Option(help="Audience of the buyers' tokens.")] = "saleops",
    issuer: Annotated[str, typer.Option(help="Issuer of the buyers' tokens.")] = "",
    allow_host: Annotated[
        str, typer.Option(help="A host that is not this machine, named again.", show_default=False)
    ] = "",
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare ways to take stock: lua, naive, sql, sql-naive, tairstring, all.",
            rich_help_panel=_RACE,
        ),
    ] = None,
    units: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Units; default 200.", rich_help_panel=_RACE),
    ] = None,
    buyers: Annotated[
        int | None,
        typer.Option(
            min=2, max=1_000_000, help="Buyers; default 10 a unit.", rich_help_panel=_RACE
        ),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option(min=2, max=256, help="Connections; default 32.", rich_help_panel=_RACE),
    ] = None,
    redis: Redis = None,
    database: Database = None,
    dry_run: DryRun = False,
) -> None:
    """Send the sale's load at a running shop: baseline, step to the peak, refresh storm, orders by popularity.

    The orders are real ones: use a shop of your own. Exits 0 when the sale's objectives hold, 3 when they were missed
    or the load was not reached.

    With --strategy no request is sent to the shop: buyers race for the units of one SKU on the engines themselves, once for
    each strategy, on keys and tables made for it and removed afterwards. Exits 3 when one of ours (lua, sql) was not
    exact; a naive one that oversells is what it is there to show.

    Examples:
      saleops loadtest sale.yaml --peak 500 --duration 20
      saleops loadtest sale.yaml --strategy lua,naive,sql
    """
    from saleops.config.sale import load_sale
    from saleops.wiring import load_runner, running_shop

    context = context_of(ctx)
    sale = load_sale(sale_file)
    if strategy:
        refuse_with_strategy(url=url, peak=peak, allow_host=allow_host, issuer=issuer)
        race(
            context,
            sale,
            strategy,
            units=units,
            buyers=buyers,
            connections=connections,
            seed=seed,
            seconds_max=duration,
            redis=redis,
            database=database,
            state_dir=state_dir,
            dry_run=dry_run,
        )
        return
    refuse_without_strategy(
        units=units, buyers=buyers, connections=connections, redis=redis, database=database
    )
    shop = running_shop(state_dir)
    plan = plan_loadtest(
        sale,
        url=url or _url_of(shop, sale, state_dir),
        allow_host=allow_host,
        duration_s=duration,
        peak_rps=peak,
        seed=seed,
        cores=os.cpu_count() or 1,
    )
    if dry_run:
        context.screen.show(plan)
        return
    if not shop.hs256_secret:
        raise ConfigError(
            f"{state_dir} holds no secret for development tokens: buyers could not sign in; nothing was sent",
            hint="Name the state of the shop's serve with --state-dir.",
        )
    _refuse_unready(shop.order_url if plan.url == shop.url else "")
    request = LoadRequest(
        base_url=plan.url,
        shape=plan.shape,
        demand=demand_of(sale.items_source.stream()),
        seed=seed,
        run=secrets.token_hex(3),
        hs256_secret=shop.hs256_secret,
        audience=audience,
        issuer=issuer,
        page_views_per_order=sale.traffic.page_views_per_order,
    )
    report = asyncio.run(
        apply_loadtest(plan, request, runner=load_runner(), observe=context.screen.observe)
    )
    context.screen.show(report)
    if report.verdict != "GO":
        missed = "; ".join(
            f"{check.name}: {check.value}, wanted {check.wanted}"
            for check in report.checks
            if not check.ok
        )
        raise GateFailed(f"{report.verdict}: {missed}", hint=_advice(report))


def _refuse_unready(order_url: str) -> None:
    """Ask the shop's order service whether it sells, before anything is sent. One that was just seeded needs a moment, one
    that verifies its stock store a few seconds."""
    if not order_url:
        return
    why = wait_ready(order_url, within_s=_SEEDED_WITHIN_S)
    if why and "not seeded" not in why:
        why = wait_ready(order_url, within_s=_READY_WITHIN_S)
    if why:
        raise Refused(
            f"the shop does not sell: {why}; nothing was sent",
            hint="Run `saleops seed SALE` where it was not seeded; `saleops doctor SALE` says what else it waits for.",
        )


def _url_of(shop: "RunningShop", sale: "Sale", state_dir: object) -> str:
    if not shop.url:
        raise ConfigError(
            f"no serve runs on {state_dir}, and no --url is given; nothing was sent",
            hint="Start one with `saleops serve --sale SALE --open-now`, or name the shop with --url.",
        )
    if shop.sale != sale.name:
        raise ConfigError(
            f"the shop at {shop.url} sells {shop.sale!r}, not {sale.name!r}; nothing was sent",
            hint="Take the sale file that its serve was started with, or name another shop with --url.",
        )
    return shop.url


def _advice(report: LoadtestReport) -> str:
    if report.load.saturated:
        return "It proves nothing: try a lower --peak, or send from a machine of its own."
    seen = " ".join(report.load.error_samples)
    if " 401 " in f" {seen} ":
        return "The shop refuses the tokens: name the state of its own serve with --state-dir."
    if "not-open" in seen:
        return (
            "The sale has not opened: start the shop with `saleops serve --sale SALE --open-now`."
        )
    if " 404 " in f" {seen} ":
        return "The shop does not know these items: run `saleops seed SALE` first."
    return "`-o json` has every figure; the shop's own side is in its /metrics."


@as_rich.register
def _(plan: LoadtestPlan) -> list[Any]:
    rows: list[tuple[str, object]] = [
        ("sale", plan.sale),
        ("shop", plan.url),
        ("baseline", f"{plan.baseline_rps:,.1f} rps"),
        ("peak", f"{plan.peak_rps:,.1f} rps"),
        ("duration", f"{plan.duration_s:g} s"),
        ("requests", f"about {plan.expected_requests:,}"),
        ("SKUs", plan.items_count),
        ("seed", plan.seed),
        *(("objective", f"{name} at most {value:g}") for name, value in plan.objectives.items()),
        *(("note", note) for note in plan.notes),
    ]
    return [Sheet((), rows), "Nothing was sent."]


@as_rich.register
def _(report: LoadtestReport) -> list[Any]:
    load = report.load
    rows: list[tuple[str, object]] = [
        ("verdict", report.verdict),
        ("shop", report.url),
        ("requests", f"{load.requests:,} in {load.seconds:g} s"),
        ("orders", f"{load.orders:,} ({load.orders_per_s:g}/s), {load.units:,} units"),
        ("sold out", f"{load.sold_out:,}, over the limit of a buyer {load.refused:,}"),
        ("at the peak", f"{load.achieved_rps:,.0f} of {load.target_rps:,.0f} rps"),
        ("all requests", f"p50 {load.p50_ms:g} ms, p95 {load.p95_ms:g} ms, p99 {load.p99_ms:g} ms"),
        (
            "checkouts",
            f"p50 {load.checkout_p50_ms:g} ms, p95 {load.checkout_p95_ms:g} ms, p99 {load.checkout_p99_ms:g} ms",
        ),
        ("sent again", f"{load.retries:,} without a clear answer, {load.replays:,} on purpose"),
        *(("note", note) for note in report.notes),
    ]
    parts: list[Any] = [
        Sheet((), rows),
        Sheet(
            ("check", "", "found", "wanted"),
            [
                (one.name, "ok" if one.ok else "MISSED", one.value, one.wanted)
                for one in report.checks
            ],
        ),
    ]
    if load.error_samples:
        samples = sorted(load.error_samples.items(), key=lambda one: -one[1])
        parts.append(Sheet(("errors", "what buyers saw"), [(n, text) for text, n in samples]))
    return parts
