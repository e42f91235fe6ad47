"""``saleops loadtest``: the sale's load at a shop that runs, judged by the sale's objectives."""

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saleops.cli.context import context_of
from saleops.cli.engine_options import STATE_DIR, DryRun, SaleFile, StateDir
from saleops.cli.sheets import Sheet, as_rich
from saleops.errors import ConfigError, GateFailed
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

app = typer.Typer()


@app.command()
def loadtest(
    ctx: typer.Context,
    sale_file: SaleFile,
    url: Annotated[
        str,
        typer.Option(help="The shop. Default: the serve on --state-dir.", show_default=False),
    ] = "",
    duration: Annotated[
        float, typer.Option(min=3, max=3600, help="Seconds of load, opening included.")
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
    dry_run: DryRun = False,
) -> None:
    """Send the sale's load at a running shop: baseline, step to the peak, refresh storm, orders by popularity.

    The orders are real ones: use a shop of your own. Exits 0 when the sale's objectives hold, 3 when they were missed
    or the load was not reached.

    Example:  saleops loadtest sale.yaml --peak 500 --duration 20
    """
    from saleops.config.sale import load_sale
    from saleops.wiring import load_runner, running_shop

    context = context_of(ctx)
    sale = load_sale(sale_file)
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
