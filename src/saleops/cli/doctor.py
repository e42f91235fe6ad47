"""``saleops doctor``: says what this machine lacks for a sale, why that matters, and the command that fixes it."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saleops.cli.context import Context, context_of
from saleops.cli.doctor_cloud import cloud_checks
from saleops.cli.engine_options import STATE_DIR, Broker, Database, Redis, StateDir
from saleops.cli.provision_session import EndpointCloud, Region
from saleops.cli.readiness import why_not_ready
from saleops.cli.sheets import Sheet, as_rich
from saleops.cli.terminal import is_interactive, wants_ascii, wants_color
from saleops.cli.words import masked
from saleops.errors import GateFailed, SaleopsError
from saleops.operations.doctor import PROBLEM, Check, DoctorReport, Engine, report_of

if TYPE_CHECKING:
    from saleops.config.sale import Sale


app = typer.Typer()


@app.command()
def doctor(
    ctx: typer.Context,
    sale_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="SALE", help="A sale file to read too, with all its items.", show_default=False
        ),
    ] = None,
    state_dir: StateDir = STATE_DIR,
    redis: Redis = None,
    database: Database = None,
    broker: Broker = None,
    cloud: Annotated[
        bool | None,
        typer.Option(
            "--cloud/--no-cloud",
            help="Ask Alibaba Cloud who you are and what you may; else if there are credentials.",
            show_default=False,
        ),
    ] = None,
    endpoint_cloud: EndpointCloud = None,
    region: Region = None,
) -> None:
    """Look at this machine: Python, packages, the embedded engines, the state directory and the serve that runs on it,
    engines that are named, limits, disk, memory, variables, and the way to Alibaba Cloud. Changes nothing.

    Every problem comes with its cause and the command that fixes it. Exits 3 when there is one.

    Examples:
      saleops doctor sale.yaml
      saleops doctor sale.yaml --cloud
    """
    context = context_of(ctx)
    checks = [*_python(), *_machine(state_dir)]
    sale: Sale | None = None
    if sale_file is not None:
        found, sale = _sale(sale_file)
        checks.append(found)
    checks += _guarded("engines", lambda: _engines(redis, database, broker, sale, state_dir))
    checks += _guarded(
        "cloud",
        lambda: cloud_checks(
            asked=cloud, endpoint=endpoint_cloud, region=region, sale=sale, state_dir=state_dir
        ),
    )
    from saleops.operations.doctor import check_variables, variables_in_effect

    checks += check_variables(os.environ)
    report = report_of(
        [_to_the_point(check) for check in checks],
        environment=variables_in_effect(os.environ, mask=_masked),
        terminal=_terminal(context),
    )
    context.screen.show(report)
    if not report.healthy:
        names = ", ".join(check.name for check in report.checks if check.status == PROBLEM)
        count = _count(report.problems_count, "problem")
        fixes = [check.fix for check in report.checks if check.status == PROBLEM and check.fix]
        raise GateFailed(
            f"{count} found: {names}; nothing was changed", hint=fixes[0] if fixes else None
        )


def _to_the_point(check: Check) -> Check:
    """``check`` without the reassurance that other commands owe their users: doctor gives it once, at the end."""
    cause, fix = (
        re.sub(r"; nothing was (changed|checked|started|sent)\b", "", text)
        for text in (check.cause, check.fix)
    )
    return replace(check, cause=cause, fix=fix)


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def _guarded(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """The checks of ``look``. A missing package has been named already; here it only keeps us from looking further."""
    try:
        return look()
    except ImportError as error:
        return [
            Check(name, PROBLEM, "could not be looked at", str(error), "See the packages above.")
        ]
    except SaleopsError as error:
        return [Check(name, PROBLEM, "could not be looked at", error.message, error.hint or "")]


def _python() -> list[Check]:
    import sqlite3
    from importlib.metadata import PackageNotFoundError, requires, version

    from saleops.operations.doctor import check_packages, check_python, check_sqlite

    def version_of(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    try:
        packages = check_packages(requires("saleops") or [], version_of=version_of)
    except PackageNotFoundError:
        packages = [
            Check(
                "package saleops",
                PROBLEM,
                "not installed",
                "it runs from a folder without its metadata: what it needs is not known",
                f"{sys.executable} -m pip install saleops",
            )
        ]
    return [check_python(), *packages, check_sqlite(sqlite3.sqlite_version_info)]


def _machine(state_dir: Path) -> list[Check]:
    from saleops.operations.doctor import (
        check_cores,
        check_disk,
        check_memory,
        check_open_files,
        memory_of_machine,
    )

    checks = []
    with suppress(ImportError):  # Windows has no such limit
        import resource

        checks.append(check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE)))
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return [
        *checks,
        check_disk(state_dir),
        check_cores(cores),
        check_memory(*memory_of_machine()),
    ]


def _sale(path: Path) -> "tuple[Check, Sale | None]":
    from saleops.config.sale import load_sale
    from saleops.operations.doctor import check_sale

    loaded: list[Sale] = []

    def load(file: Path) -> str:
        sale = load_sale(file)
        loaded.append(sale)
        summary = sale.items_source.summary()
        return f"sale {sale.name}, {summary.items_count:,} SKUs, {summary.units_count:,} units"

    return check_sale(path, load), loaded[0] if loaded else None


def _engines(
    redis: str | None,
    database: str | None,
    broker: str | None,
    sale: "Sale | None",
    state_dir: Path,
) -> list[Check]:
    import asyncio

    from saleops import wiring
    from saleops.config.engine_urls import named_engines
    from saleops.operations.doctor import check_engines, check_state_dir, check_valkey
    from saleops.ports.engines import mask_url

    named = named_engines(
        redis=redis, database=database, broker=broker, engines=sale.engines if sale else None
    )
    engines = [
        Engine(name, mask_url(url), origin, wiring.engine_ping(name, url))
        for name, (url, origin) in named.items()
        if not (name == "broker" and url == named.get("redis", ("", ""))[0])
    ]
    return [
        check_valkey(wiring.valkey_version, needed="redis" not in named),
        check_state_dir(state_dir, owner_of=wiring.state_owner),
        *_serve(state_dir),
        *asyncio.run(check_engines(engines)),
        *_broker_settings(named.get("broker", ("", ""))[0], sale.name if sale else ""),
        *_room(named.get("database", ("", ""))[0], state_dir),
    ]


def _broker_settings(broker_url: str, sale: str) -> list[Check]:
    """What a named RocketMQ is set to, and whether it has the sale's topics. One that does not answer at all has been
    named already."""
    import asyncio

    from saleops import wiring
    from saleops.operations.doctor import PING_TIMEOUT_S
    from saleops.operations.doctor_broker import (
        check_broker_settings,
        check_topics,
        unreachable,
        unread,
    )

    if not broker_url.startswith("rocketmq://"):
        return []
    try:
        found = asyncio.run(wiring.broker_settings(broker_url, timeout_s=PING_TIMEOUT_S))
        missing = (
            asyncio.run(wiring.missing_topics(broker_url, sale, timeout_s=PING_TIMEOUT_S))
            if sale
            else None
        )
    except SaleopsError as error:
        return [unreachable(error.message)]
    if found is None:
        return [unread()]
    checks = check_broker_settings(found)
    return checks if missing is None else [*checks, check_topics(missing, sale=sale)]


def _room(database_url: str, state_dir: Path) -> Iterator[Check]:
    """How many connections a named database has left. One that does not answer has been named already."""
    from saleops import wiring
    from saleops.domain.connections import connection_budget
    from saleops.operations.doctor import check_connections

    try:
        room = wiring.connection_room(database_url)
        owner = wiring.state_owner(state_dir) if state_dir.is_dir() else None
    except (SaleopsError, OSError):
        return
    if room is not None:
        serving = owner is not None and owner.command.startswith("serve")
        yield check_connections(room, connection_budget(), serving=serving)


def _serve(state_dir: Path) -> Iterator[Check]:
    """A serve that runs on ``state_dir``, with the readiness of each of its services."""
    from saleops import wiring
    from saleops.operations.doctor import check_serve

    if not state_dir.is_dir():
        return
    try:
        owner = wiring.state_owner(state_dir)
        if owner is None or not owner.command.startswith("serve"):
            return
        state = wiring.running_serve(state_dir)
    except OSError:
        return  # the check of the state directory has said so
    except SaleopsError as error:
        yield Check("serve", PROBLEM, "starting, or stuck", error.message, error.hint or "")
        return
    if state is not None:
        yield from check_serve(
            {"shop": state.url, **state.urls}, pid=state.pid, sale=state.sale, ready=why_not_ready
        )


def _masked(value: str) -> str:
    """``value`` without passwords: what looks like a URL loses its own."""
    if "://" not in value:
        return masked(value)
    from saleops.ports.engines import mask_url

    return mask_url(value)


def _terminal(context: Context) -> Mapping[str, object]:
    import shutil

    screen = context.screen
    streams = {"stdin": screen.stdin, "stdout": screen.stdout, "stderr": screen.stderr}
    return {
        **{name: "terminal" if is_interactive(one) else "pipe" for name, one in streams.items()},
        "columns": shutil.get_terminal_size().columns,
        "encoding": getattr(screen.stdout, "encoding", None) or "unknown",
        "color": wants_color(screen.stdout, screen.color),
        "ascii": wants_ascii(screen.stdout),
    }


@as_rich.register
def _(report: DoctorReport) -> list[Any]:
    marks = {"ok": "✓", "warning": "!", "problem": "✗", "skipped": "-"}
    checks = [(marks[one.status], one.name, one.found) for one in report.checks]
    wrong = [one for one in report.checks if one.status in ("warning", PROBLEM)]
    wrong.sort(key=lambda one: one.status != PROBLEM)
    shown: list[Any] = [Sheet(("", "check", "found"), checks)]
    if report.environment:
        shown.append(Sheet((), list(report.environment.items()), title="Variables in effect"))
    terminal = [
        (name, ("no", "yes")[value] if isinstance(value, bool) else value)
        for name, value in report.terminal.items()
    ]
    shown.append(Sheet((), terminal, title="Terminal"))
    if wrong:
        rows = [row for one in wrong for row in _rows_of(one, marks[one.status])]
        shown.append(Sheet(("", "check", "why", "what to do"), rows, title="What is wrong"))
    verdict = "healthy" if report.healthy else _count(report.problems_count, "problem")
    if report.warnings_count:
        verdict += f", {_count(report.warnings_count, 'warning')}"
    shown.append(verdict)
    return shown


def _rows_of(check: Check, mark: str) -> Iterator[tuple[str, str, str, str]]:
    """One row a line of its cause: a sale file may have several mistakes."""
    first, *more = check.cause.splitlines() or [""]
    yield mark, check.name, first, " ".join(check.fix.split())
    for line in more:
        yield "", "", line, ""
