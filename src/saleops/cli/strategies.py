"""``saleops loadtest --strategy``: the race of strategies, and how its result looks."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saleops.cli.engine_options import tell_engines, warn_of_passwords
from saleops.cli.sheets import Sheet, as_rich
from saleops.errors import ConfigError, GateFailed
from saleops.operations.strategies import (
    NOT_HERE,
    WHAT,
    StrategiesPlan,
    StrategiesReport,
    apply_strategies,
    plan_strategies,
)
from saleops.ports.engines import mask_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saleops.cli.context import Context
    from saleops.config.sale import Sale

UNITS, CONNECTIONS = 200, 32
BUYERS_A_UNIT = 10


def refuse_without_strategy(**given: object) -> None:
    """Options that mean nothing for the load over HTTP. Raises ConfigError."""
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if named:
        raise ConfigError(
            f"only a comparison of strategies takes {', '.join(named)}; nothing was sent",
            hint="Add --strategy all, or leave them out.",
        )


def refuse_with_strategy(**given: object) -> None:
    """Options that mean nothing for the race on the engines. Raises ConfigError."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if named:
        raise ConfigError(
            f"only a load over HTTP takes {', '.join(named)}, and --strategy sends none; nothing was sent",
            hint="Leave them out; the engines are named with --redis and --database.",
        )


def race(
    context: "Context",
    sale: "Sale",
    strategies: "Sequence[str]",
    *,
    units: int | None,
    buyers: int | None,
    connections: int | None,
    seed: int,
    seconds_max: float,
    redis: str | None,
    database: str | None,
    state_dir: Path,
    dry_run: bool,
) -> None:
    """Run the strategies and show the rows. Raises GateFailed when one of ours was not exact."""
    from saleops.config.engine_urls import named_engines
    from saleops.wiring import contenders, nothing_there, open_engines

    warn_of_passwords(context.screen, redis=redis, database=database)
    units = UNITS if units is None else units
    wanted: dict[str, Any] = {
        "units": units,
        "buyers": units * BUYERS_A_UNIT if buyers is None else buyers,
        "connections": CONNECTIONS if connections is None else connections,
        "seed": seed,
        "seconds_max": seconds_max,
    }
    chosen: dict[str, Any] = {
        "redis": redis,
        "database": database,
        "engines": sale.engines,
        "state_dir": state_dir,
    }
    plan = plan_strategies(strategies, **wanted, engines={})
    if dry_run:
        named = named_engines(redis=redis, database=database, engines=sale.engines)
        urls = {name: mask_url(named[name][0]) for name in ("redis", "database") if name in named}
        rest = "embedded" if nothing_there(**chosen) else f"of {state_dir}"
        engines = {name: urls.get(name, rest) for name in ("redis", "database")}
        context.screen.show(plan_strategies(strategies, **wanted, engines=engines))
        return
    with open_engines(**chosen, command="loadtest") as urls_of:
        tell_engines(context.screen, urls_of)
        masked = urls_of.masked()
        plan = plan_strategies(
            plan.strategies,
            **wanted,
            engines={name: masked[name] for name in ("redis", "database")},
        )
        report = asyncio.run(
            apply_strategies(plan, contenders(urls_of), observe=context.screen.observe)
        )
    context.screen.show(report)
    if not report.exact:
        bad = "; ".join(
            f"{row.strategy}: {row.note}" for row in report.rows if row.ours and not row.exact
        )
        late = any(row.ended == "time over" for row in report.rows if row.ours)
        raise GateFailed(
            f"not exact: {bad}",
            hint="Give it more time with --duration, or fewer --buyers."
            if late
            else "The engine broke a promise: look for a failover or an eviction, and keep the output of `-o json`.",
        )


@as_rich.register
def _(plan: StrategiesPlan) -> list[Any]:
    rows: list[tuple[str, object]] = [
        ("units", f"{plan.units:,} of one SKU that exists for this alone"),
        ("buyers", f"{plan.buyers:,}, a unit each"),
        ("connections", plan.connections),
        ("seed", plan.seed),
        ("at most", f"{plan.seconds_max:g} s a strategy"),
        *plan.engines.items(),
        *((name, WHAT[name]) for name in plan.strategies),
    ]
    return [Sheet((), rows), "Nothing was sent."]


@as_rich.register
def _(report: StrategiesReport) -> list[Any]:
    """The figures, and below them what happened, which is a sentence each."""
    columns = ("strategy", "sold", "oversold", "requests/s", "p50 ms", "p99 ms")
    rows: list[tuple[object, ...]] = [
        (
            row.strategy,
            f"{row.sold:,}",
            f"{row.oversold:,}",
            f"{row.requests_per_s:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
        )
        for row in report.rows
        if row.ended != NOT_HERE
    ]
    happened = [
        (row.strategy, f"not run: {row.note}" if row.ended == NOT_HERE else row.note)
        for row in report.rows
    ]
    facts = (
        f"{report.units:,} units, {report.buyers:,} buyers over {report.connections} connections, "
        f"seed {report.seed}."
    )
    shown: list[Any] = [Sheet(columns, rows, whole=columns)] if rows else []
    return [*shown, Sheet((), happened), facts, *([_WHY_LUA] if _lua_beside_sql(report) else [])]


_WHY_LUA = (
    "requests/s does not show why the shop has both: the script turns late buyers away before they reach the database, "
    "answers a repeated order as it did the first time, and gives back units that are not paid for in time; the UPDATE "
    "is the second lock behind it."
)


def _lua_beside_sql(report: StrategiesReport) -> bool:
    return {"lua", "sql"} <= {row.strategy for row in report.rows if row.ended != NOT_HERE}
