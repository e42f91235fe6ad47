"""Settings in, opened ports out. The one place that knows which adapter answers for which URL.

Every function imports its adapter when it is called, so a command pays only for the clients it uses.
"""

from __future__ import (
    annotations,  # the ports are named, not loaded: every command passes through here
)

import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from saleops.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from saleops.adapters.book_payments import BookRunner
    from saleops.adapters.file_state import Owner
    from saleops.config.sale import Engines
    from saleops.config.settings import JwtSettings
    from saleops.ports.broker import Broker
    from saleops.ports.cache import PageCache
    from saleops.ports.engines import EngineUrls, ServeState
    from saleops.ports.load import LoadRunner
    from saleops.ports.orders import OrderBook
    from saleops.ports.payments import PaymentProvider
    from saleops.ports.processes import Engine, Workers
    from saleops.ports.stock import StockStore
    from saleops.ports.tokens import TokenVerifier


@asynccontextmanager
async def open_stock_store(redis_url: str, *, sale: str) -> AsyncIterator[StockStore]:
    """The counters of ``sale`` behind ``redis_url`` (redis://, rediss://, unix://)."""
    from saleops.adapters.redis_stock import RedisStockStore

    store = RedisStockStore.from_url(redis_url, sale=sale)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_page_cache(redis_url: str, *, sale: str) -> AsyncIterator[PageCache]:
    from saleops.adapters.redis_cache import RedisPageCache

    cache = RedisPageCache.from_url(redis_url, sale=sale)
    try:
        yield cache
    finally:
        await cache.close()


@asynccontextmanager
async def open_broker(
    broker_url: str, *, sale: str, check_after_ms: int = 6_000
) -> AsyncIterator[Broker]:
    """The broker behind ``broker_url``: the embedded one on Streams for Redis URLs."""
    scheme = broker_url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(
            f"no broker speaks {scheme}://; nothing was started",
            hint="Use redis://, rediss:// or unix:// (the embedded broker on Streams).",
        )
    from saleops.adapters.streams_broker import StreamsBroker

    broker = StreamsBroker.from_url(broker_url, sale=sale, check_after_ms=check_after_ms)
    try:
        yield broker
    finally:
        await broker.close()


@contextmanager
def open_order_book(database_url: str) -> Iterator[OrderBook]:
    """One connection to the orders database: sqlite:///path or mysql://user:password@host:port/database."""
    scheme = database_url.partition("://")[0]
    book: OrderBook
    if scheme == "sqlite":
        from saleops.adapters.sqlite_orders import SqliteOrderBook

        book = SqliteOrderBook.from_url(database_url)
    elif scheme == "mysql":
        from saleops.adapters.mysql_orders import MysqlOrderBook

        book = MysqlOrderBook.from_url(database_url)
    else:
        raise ConfigError(
            f"no database speaks {scheme}://; nothing was started",
            hint="Use sqlite:///path/orders.db or mysql://user:password@host:3306/database.",
        )
    try:
        yield book
    finally:
        book.close()


def payment_provider(runner: BookRunner) -> PaymentProvider:
    """The bundled payment provider, its ledger in the orders database that ``runner``'s thread owns."""
    from saleops.adapters.book_payments import BookPayments

    return BookPayments(runner)


def token_verifier(settings: JwtSettings) -> TokenVerifier:
    from saleops.adapters.jwt_tokens import JwtVerifier

    return JwtVerifier(settings)


# -- engines -------------------------------------------------------------------------------------------------

STATE_DIR = Path(".saleops")
REDIS_VARIABLE = "SALEOPS_REDIS_URL"
DATABASE_VARIABLE = "SALEOPS_DATABASE_URL"
BROKER_VARIABLE = "SALEOPS_BROKER_URL"


@dataclass(frozen=True)
class OwnedState:
    """A state directory that is ours for a while, and the engines to use with it. ``engine`` is the embedded
    Valkey, not started; None where the URLs name another server."""

    path: Path
    urls: EngineUrls
    engine: Engine | None

    def publish(self, state: ServeState) -> None:
        """Tell other commands on this state directory where the running shop is."""
        from saleops.adapters.file_state import write_state

        write_state(self.path, state)

    def dev_secret(self) -> str:
        """The secret of the development tokens, made on first use and kept."""
        from saleops.adapters.file_state import dev_secret

        return dev_secret(self.path)


@contextmanager
def own_state(
    *,
    redis: str | None = None,
    database: str | None = None,
    broker: str | None = None,
    engines: Engines | None = None,
    state_dir: Path = STATE_DIR,
    command: str = "serve",
) -> Iterator[OwnedState]:
    """Own ``state_dir`` for the block, with the engines that flags, environment and sale file name, else embedded ones.

    Raises Refused, naming the owner's pid, when another process owns it.
    """
    from saleops.adapters.file_state import lock_state_dir, open_state_dir

    given = _given_urls(redis, database, broker, engines)
    path = open_state_dir(state_dir)
    with lock_state_dir(path, command=command):
        yield _embed_the_rest(path, given)


@contextmanager
def open_engines(
    *,
    redis: str | None = None,
    database: str | None = None,
    broker: str | None = None,
    engines: Engines | None = None,
    state_dir: Path = STATE_DIR,
    command: str = "a command",
) -> Iterator[EngineUrls]:
    """The engines to work on: those that flags, ``SALEOPS_*_URL`` and the sale file name; else those of the ``serve``
    that runs on ``state_dir``; else embedded ones, started for the length of the block.

    ``command`` names the caller to whoever is refused meanwhile. Call it from the main thread (the kernel ties an
    embedded engine to the thread that started it). Raises Refused when the state is in use by anything but a serve.
    """
    from saleops.adapters.file_state import lock_state_dir, open_state_dir, read_state

    given = _given_urls(redis, database, broker, engines)
    if len(given) == 3:
        yield _urls_of(given, embedded=False)
        return
    path = open_state_dir(state_dir)
    running = read_state(path)
    if running is not None:
        for name in ("redis", "database", "broker"):
            given.setdefault(name, (getattr(running, f"{name}_url"), "serve"))
        yield _urls_of(given, embedded=running.embedded and given["redis"][1] == "serve")
        return
    with lock_state_dir(path, command=command):
        state = _embed_the_rest(path, given)
        if state.urls.origins["database"] == "embedded":
            with open_order_book(state.urls.database_url) as book:
                book.migrate()
        if state.engine is None:
            yield state.urls
            return
        state.engine.clear_away()
        state.engine.start()
        try:
            yield state.urls
        finally:
            state.engine.stop()


def nothing_there(
    *,
    redis: str | None = None,
    database: str | None = None,
    broker: str | None = None,
    engines: Engines | None = None,
    state_dir: Path = STATE_DIR,
) -> bool:
    """Whether ``open_engines`` would start empty embedded engines: then a dry run need not start them."""
    return not _given_urls(redis, database, broker, engines) and not state_dir.exists()


async def prepare_engines(urls: EngineUrls, *, sale: str) -> None:
    """Make sure that all three answer, and bring the database's schema up to date. Raises StoreUnavailable."""
    import asyncio

    async with open_stock_store(urls.redis_url, sale=sale) as stock:
        await stock.ping()
    async with open_broker(urls.broker_url, sale=sale) as broker:
        await broker.ping()

    def migrate() -> None:
        with open_order_book(urls.database_url) as book:
            book.migrate()

    await asyncio.to_thread(migrate)


def named_engines(
    *,
    redis: str | None = None,
    database: str | None = None,
    broker: str | None = None,
    engines: Engines | None = None,
) -> dict[str, tuple[str, str]]:
    """name -> (URL, origin) of the engines that flags, environment and sale file name. Raises ConfigError."""
    return _given_urls(redis, database, broker, engines)


def engine_ping(name: str, url: str) -> Callable[[], Awaitable[None]]:
    """Asks the engine ``name`` ("redis", "database" or "broker") at ``url`` whether it is there; changes nothing.

    The question raises StoreUnavailable, or ConfigError for a URL that cannot be right.
    """
    import asyncio

    async def ping() -> None:
        if name == "redis":
            async with open_page_cache(url, sale="doctor") as cache:
                await cache.ping()
        elif name == "broker":
            async with open_broker(url, sale="doctor") as broker:
                await broker.ping()
        else:
            await asyncio.to_thread(_ping_database, url)

    return ping


def _ping_database(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:") and not path.exists():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise StoreUnavailable(f"{path} is not there and cannot be made")
        return  # opening it would make it
    with open_order_book(url) as book:
        book.ping()


def valkey_version() -> str:
    """What the embedded Valkey's binary says its version is. Raises SaleopsError when it does not run."""
    from saleops.adapters.valkey_engine import binary_version

    return binary_version()


def state_owner(path: Path) -> Owner | None:
    """The process that owns the state directory ``path``; None when nobody does, or there is none."""
    from saleops.adapters.file_state import owner_of

    return owner_of(path)


def running_serve(path: Path) -> ServeState | None:
    """The serve that runs on ``path``. Raises Refused when one is starting, and is not up soon."""
    from saleops.adapters.file_state import read_state

    return read_state(path, wait_s=2.0)


@contextmanager
def open_workers(*, log_dir: Path | None = None) -> Iterator[Workers]:
    """Worker processes on this machine. They log to our standard error, or to a file each in ``log_dir``."""
    from saleops.adapters.local_processes import LocalWorkers

    workers = LocalWorkers(log_dir=log_dir)
    try:
        yield workers
    finally:
        workers.close()


def dev_token(secret: str, buyer: str, *, ttl_s: int, settings: JwtSettings) -> str:
    """A token for ``buyer`` that services with ``settings`` accept."""
    import time

    from saleops.adapters.jwt_tokens import issue_dev_token

    return issue_dev_token(
        secret,
        buyer,
        ttl_s=ttl_s,
        audience=settings.audience,
        issuer=settings.issuer,
        now_s=time.time(),
    )


def _given_urls(
    redis: str | None, database: str | None, broker: str | None, engines: Engines | None
) -> dict[str, tuple[str, str]]:
    """name -> (URL, origin) for what somebody named; the broker follows the Redis it was not told apart from."""
    given: dict[str, tuple[str, str]] = {}
    for name, flag, variable in (
        ("redis", redis, REDIS_VARIABLE),
        ("database", database, DATABASE_VARIABLE),
        ("broker", broker, BROKER_VARIABLE),
    ):
        candidates = (
            (flag, "flag"),
            (os.environ.get(variable, ""), "environment"),
            (getattr(engines, name, None), "sale file"),
        )
        for url, origin in candidates:
            if url:
                given[name] = (_checked_url(name, url), origin)
                break
    if "redis" in given and "broker" not in given:
        given["broker"] = given["redis"]
    return given


_SCHEMES = {
    "redis": ("redis", "rediss", "unix"),
    "database": ("sqlite", "mysql"),
    "broker": ("redis", "rediss", "unix"),
}


def _checked_url(name: str, url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or scheme not in _SCHEMES[name]:
        known = ", ".join(f"{one}://" for one in _SCHEMES[name])
        raise ConfigError(
            f"the {name} URL does not start with one of {known}; nothing was started",
            hint=f"Example: --{name} {_EXAMPLES[name]}",
        )
    if scheme == "sqlite" and not rest.startswith("//"):
        # Relative to where we are now: other processes may be elsewhere when they read it.
        return f"sqlite:///{Path(rest.removeprefix('/')).absolute()}"
    return url


_EXAMPLES = {
    "redis": "redis://127.0.0.1:6379/0",
    "database": "mysql://shop@127.0.0.1:3306/shop",
    "broker": "redis://127.0.0.1:6379/0",
}


def _embed_the_rest(path: Path, given: dict[str, tuple[str, str]]) -> OwnedState:
    engine: Engine | None = None
    if "redis" not in given:
        from saleops.adapters.valkey_engine import ValkeyEngine

        engine = ValkeyEngine(path)
        given["redis"] = (engine.url, "embedded")
    given.setdefault("broker", given["redis"])
    given.setdefault("database", (f"sqlite:///{path / 'orders.db'}", "embedded"))
    return OwnedState(path, _urls_of(given, embedded=engine is not None), engine)


def _urls_of(given: dict[str, tuple[str, str]], *, embedded: bool) -> EngineUrls:
    from saleops.ports.engines import EngineUrls

    return EngineUrls(
        redis_url=given["redis"][0],
        database_url=given["database"][0],
        broker_url=given["broker"][0],
        embedded=embedded,
        origins={name: origin for name, (_, origin) in given.items()},
    )


@dataclass(frozen=True)
class RunningShop:
    """A ``serve`` that runs on this machine. ``hs256_secret`` is empty where its state has none."""

    url: str = ""
    sale: str = ""
    hs256_secret: str = field(default="", repr=False)


def running_shop(state_dir: Path = STATE_DIR) -> RunningShop:
    """The shop on ``state_dir``; without URL when none runs there. Nothing is created."""
    from saleops.adapters.file_state import known_secret, read_state

    if not state_dir.is_dir():
        return RunningShop()
    path = state_dir.resolve()
    secret = known_secret(path)
    state = read_state(path)
    return RunningShop(state.url, state.sale, secret) if state else RunningShop("", "", secret)


def load_runner() -> LoadRunner:
    """The load generator: locust, in a process of its own."""
    from saleops.adapters.locust_load import LocustLoad

    return LocustLoad()


async def read_metrics(admin_ports: Iterable[int]) -> dict[str, float]:
    """The metrics of workers on this machine, summed by name."""
    from saleops.adapters.http_metrics import read_metrics as read

    return await read(admin_ports)
