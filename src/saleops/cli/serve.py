"""``saleops serve``: run the shop in the foreground until somebody stops it."""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import quote

import typer

from saleops import wiring
from saleops.cli.context import context_of
from saleops.cli.engine_options import warn_of_passwords
from saleops.cli.screen import Screen, Sheet, as_rich
from saleops.cli.serve_cloud import WithCloud
from saleops.config.engine_urls import named_replica
from saleops.config.settings import JwtSettings
from saleops.errors import ConfigError
from saleops.events import Finished, Started, Warned
from saleops.operations.serve import (
    DEFAULT_PORT,
    LOCAL_SALE,
    Fleet,
    ServePlan,
    plan_serve,
    running_engine,
    running_services,
    settings_of,
)
from saleops.ports.engines import ServeState

if TYPE_CHECKING:
    from saleops.config.sale import Sale

app = typer.Typer()

DEV_BUYER = "buyer-1"
DEV_TOKEN_TTL_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Served:
    """What runs, and how to talk to it."""

    schema: ClassVar[str] = "saleops/serve/v1"

    sale: str
    url: str
    urls: dict[str, str]
    pid: int
    workers: list[dict[str, Any]]
    engines: dict[str, str]
    embedded: bool
    state_dir: str
    dev_token: str = field(default="", repr=False)
    curl: str = field(default="", repr=False)


@as_rich.register
def _(served: Served) -> list[Any]:
    rows: list[tuple[str, object]] = [("shop", served.url), ("sale", served.sale)]
    rows += [(name, url) for name, url in served.urls.items()]
    rows += [(name, url) for name, url in served.engines.items()]
    rows.append(("state", served.state_dir))
    workers = Sheet(
        ("worker", "pid", "port", "health", "ready"),
        [
            (
                one["name"],
                str(one["pid"]),
                str(one["port"]),
                one["admin_url"],
                "yes" if one["ready"] else "no",
            )
            for one in served.workers
        ],
    )
    return [Sheet((), rows), workers]


@app.command(cls=WithCloud)
def serve(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(help="all, catalog, order, payment or shipping.")
    ] = "all",
    sale: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The sale file. Default: a sale 'local'.")
    ] = None,
    state_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            envvar="SALEOPS_STATE_DIR",
            help="Where embedded engines keep their data.",
        ),
    ] = wiring.STATE_DIR,
    host: Annotated[str, typer.Option(help="Address of the public port.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Public port; 0 takes a free one.")] = DEFAULT_PORT,
    order_workers: Annotated[int, typer.Option(help="Processes of the order service.")] = 2,
    catalog_workers: Annotated[int, typer.Option(help="Processes of the catalog.")] = 1,
    gateway_workers: Annotated[int, typer.Option(help="Processes of the gateway.")] = 1,
    redis: Annotated[
        str, typer.Option(metavar="URL", help="Use this Redis (or SALEOPS_REDIS_URL).")
    ] = "",
    database: Annotated[
        str, typer.Option(metavar="URL", help="Use this database (or SALEOPS_DATABASE_URL).")
    ] = "",
    broker: Annotated[
        str, typer.Option(metavar="URL", help="Use this broker (or SALEOPS_BROKER_URL).")
    ] = "",
    replica: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Show orders from this read replica (or SALEOPS_REPLICA_URL)."
        ),
    ] = "",
    jwks: Annotated[
        str,
        typer.Option(metavar="FILE|URL", help="Keys of buyers' tokens. Default: dev tokens."),
    ] = "",
    audience: Annotated[str, typer.Option(help="Audience that tokens must name.")] = "saleops",
    issuer: Annotated[str, typer.Option(help="Issuer that tokens must name. Default: any.")] = "",
    open_now: Annotated[
        bool, typer.Option("--open-now", help="Sell at any time, whatever the sale's window.")
    ] = False,
    drain_delay: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="From not ready to not listening, when stopping."),
    ] = 0.2,
) -> None:
    """Run the shop: catalog, order, payment, shipping, and a gateway in front.

    Ctrl-C and SIGTERM drain it and end with exit code 0; a second one does not
    wait. Stopped before it was up, it exits with 130 or 143. Workers log what needs
    attention on stderr, with -v all they do.

    `saleops serve cloud` runs a local Alibaba Cloud instead.

    Examples:
      saleops serve --sale sale.yaml --open-now
      saleops serve cloud --speed 60
    """
    if service == "cloud":
        raise ConfigError(
            "cloud comes right after serve, before any option; nothing was started",
            hint="Run `saleops serve cloud`, its options behind it.",
        )
    screen = context_of(ctx).screen
    warn_of_passwords(screen, redis=redis, database=database, broker=broker, replica=replica)
    replica_url = named_replica(replica)
    loaded: Sale | None = None
    if sale is not None:
        from saleops.config.sale import load_sale

        loaded = load_sale(sale)
    sku = _first_sku(loaded, screen) if loaded else ""
    if not os.environ.get("SALEOPS_LOG_LEVEL"):
        # The workers inherit it. Their ordinary lines would land in the middle of our progress.
        os.environ["SALEOPS_LOG_LEVEL"] = "INFO" if screen.verbose else "WARNING"
    with wiring.own_state(
        redis=redis,
        database=database,
        broker=broker,
        engines=loaded.engines if loaded else None,
        state_dir=state_dir,
        command="serve" if service == "all" else f"serve {service}",
    ) as state:
        jwt = JwtSettings(
            audience=audience,
            issuer=issuer,
            jwks=jwks,
            hs256_secret="" if jwks else state.dev_secret(),
        )
        plan = plan_serve(
            settings_of(loaded, state.urls, jwt, open_now=open_now, replica_url=replica_url),
            service=service,
            host=host,
            port=port,
            workers={
                "order": order_workers,
                "catalog": catalog_workers,
                "gateway": gateway_workers,
            },
            drain_delay_s=drain_delay,
        )
        asyncio.run(_run(plan, state, screen, sku=sku, seed=_seed_command(sale, state_dir)))


def _first_sku(sale: "Sale", screen: Screen) -> str:
    """The first SKU of ``sale``, for the line to try. Serving needs no items: where they cannot be read, it goes on."""
    try:
        return next((item.sku for item in sale.items_source.stream()), "")
    except ConfigError as error:
        screen.observe(Warned(f"the items of {sale.name} cannot be read: {error.message}"))
        return ""


def _seed_command(sale: Path | None, state_dir: Path) -> str:
    """What seeds the sale that is served here."""
    words = ["saleops", "seed", str(sale) if sale else "SALE"]
    if state_dir != wiring.STATE_DIR:
        words += ["--state-dir", str(state_dir)]
    return f"`{shlex.join(words)}`" + ("" if sale else f", with a sale named {LOCAL_SALE}")


async def _run(
    plan: ServePlan, state: wiring.OwnedState, screen: Screen, *, sku: str, seed: str
) -> None:
    async with AsyncExitStack() as stack:
        stopping = await stack.enter_async_context(_stop_on_signals())
        if state.engine is not None:
            await stack.enter_async_context(running_engine(state.engine, observe=screen.observe))
        await wiring.prepare_engines(state.urls, sale=plan.settings.sale)
        stopping.check()
        workers = stack.enter_context(wiring.open_workers())
        fleet = await stack.enter_async_context(
            running_services(plan, workers=workers, observe=screen.observe)
        )
        state.publish(_state_of(plan, state, fleet))
        served = await _served(plan, state, fleet, sku)
        stopping.check()
        stopping.up = True
        _show(screen, served)
        if any("not seeded" in one.why for one in fleet.workers if not one.ready):
            screen.note(f"Not seeded yet: orders hear 503 until {seed}.")
        screen.note("Ctrl-C stops it.")
        await stopping.asked.wait()
        screen.observe(Started("draining"))
    screen.observe(Finished("draining", note="stopped; the state is kept"))


class _Stopping:
    """How far serve is, for its signal handlers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.up = False
        self.signal = 0

    def check(self) -> None:
        """Raises CancelledError if a signal came: redis-py may have swallowed the one that we were sent (its
        ``connect`` takes a cancellation for a reason to return)."""
        if self.signal:
            raise asyncio.CancelledError


@asynccontextmanager
async def _stop_on_signals() -> AsyncIterator[_Stopping]:
    """The first signal asks a shop that is up to drain, and calls off a start. The second cuts the drain short."""
    stopping = _Stopping()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None, "this runs in a task"
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(signum: int) -> None:
        again, stopping.signal = stopping.signal, signum
        if stopping.up and not again:
            stopping.asked.set()
        else:
            task.cancel()

    before = {signum: signal.getsignal(signum) for signum in signals}
    for signum in signals:
        loop.add_signal_handler(signum, stop, signum)
    try:
        yield stopping
    except asyncio.CancelledError:
        if stopping.signal == signal.SIGINT:
            raise KeyboardInterrupt from None
        if stopping.signal == signal.SIGTERM:
            from saleops.cli.main import Terminated

            raise Terminated from None
        if stopping.signal:
            raise SystemExit(128 + stopping.signal) from None
        raise
    finally:
        for signum, handler in before.items():
            loop.remove_signal_handler(signum)
            signal.signal(signum, handler)


def _show(screen: Screen, served: Served) -> None:
    screen.show(served)
    if screen.output == "table" and screen.out is None and served.dev_token:
        # As it is, never wrapped: these lines are for the clipboard.
        screen.write(
            f"\nTOKEN={served.dev_token}  # {DEV_BUYER}, for a day; development only\n"
            f"{served.curl}\n\n"
        )


def _state_of(plan: ServePlan, state: wiring.OwnedState, fleet: Fleet) -> ServeState:
    return ServeState(
        pid=os.getpid(),
        sale=plan.settings.sale,
        redis_url=state.urls.redis_url,
        database_url=state.urls.database_url,
        broker_url=state.urls.broker_url,
        embedded=state.urls.embedded,
        url=fleet.url,
        urls=fleet.urls,
    )


async def _served(plan: ServePlan, state: wiring.OwnedState, fleet: Fleet, sku: str) -> Served:
    token = ""
    if secret := plan.settings.jwt.hs256_secret:
        token = wiring.dev_token(
            secret, DEV_BUYER, ttl_s=DEV_TOKEN_TTL_S, settings=plan.settings.jwt
        )
    sku = sku or await asyncio.to_thread(_some_sku, state.urls.database_url)
    return Served(
        sale=plan.settings.sale,
        url=fleet.url,
        urls=fleet.urls,
        pid=os.getpid(),
        workers=[
            {
                "name": one.name,
                "service": one.service,
                "pid": one.pid,
                "port": one.port,
                "admin_url": f"http://127.0.0.1:{one.admin_port}",
                "ready": one.ready,
            }
            for one in fleet.workers
        ],
        engines=state.urls.masked(),
        embedded=state.urls.embedded,
        state_dir=str(state.path),
        dev_token=token,
        curl=_curl(fleet.url, plan.services, sku),
    )


def _some_sku(database_url: str) -> str:
    """A SKU that is for sale, so that the line we print works when it is pasted."""
    with wiring.open_order_book(database_url) as book:
        return next((item.sku for item in book.products(limit=1)), "SKU")


def _curl(url: str, services: tuple[str, ...], sku: str) -> str:
    body = shlex.quote(json.dumps({"sku": sku, "units": 1}, ensure_ascii=False))
    lines = {
        "order": f'curl -s {url}/orders -H "Authorization: Bearer $TOKEN" '
        '-H "Idempotency-Key: $RANDOM-$(date +%s)" -H "Content-Type: application/json" '
        f"-d {body}",
        "catalog": f"curl -s {url}/products/{quote(sku, safe='')}",
        "payment": f'curl -s {url}/orders/ORDER_ID/payments -H "Authorization: Bearer $TOKEN"',
        "shipping": f'curl -s {url}/orders/ORDER_ID/parcels -H "Authorization: Bearer $TOKEN"',
    }
    return next(lines[name] for name in ("order", *services) if name in services)
