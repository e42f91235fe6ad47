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
from typing import TYPE_CHECKING, Any, Literal

from saleops.config.engine_urls import REDIS_SCHEMES, named_engines
from saleops.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractContextManager

    from saleops.adapters.aliyun_cloud import AliyunCloud
    from saleops.adapters.book_payments import BookPayments, BookRunner
    from saleops.adapters.faults import Faults
    from saleops.adapters.file_state import Owner
    from saleops.adapters.lightkube_cluster import LightkubeCluster
    from saleops.adapters.local_cloud_clock import LocalCloudControl
    from saleops.adapters.sql_orders import SqlOrderBook
    from saleops.adapters.terraform_cli import Installed
    from saleops.config.engines import Engines
    from saleops.config.local_cloud import ClockMode, CloudAddress, CloudSettings
    from saleops.config.settings import JwtSettings, ServiceSettings
    from saleops.domain.connections import ConnectionRoom
    from saleops.domain.lint.documents import LintDocument
    from saleops.operations.lint.lua_trials import LuaTrial
    from saleops.ports.broker import Broker
    from saleops.ports.cache import PageCache
    from saleops.ports.cloud import CloudClock
    from saleops.ports.cloud_doors import Knock
    from saleops.ports.cloud_journal import CloudJournal
    from saleops.ports.edge_journal import EdgeJournal
    from saleops.ports.engines import EngineUrls, ServeState
    from saleops.ports.load import LoadRunner
    from saleops.ports.orders import OrderBook
    from saleops.ports.processes import Engine, Workers
    from saleops.ports.repair import BookRepair, StepLog, StockRepair
    from saleops.ports.scale_journal import ScaleJournal
    from saleops.ports.scripts import ScriptBench
    from saleops.ports.stock import StockStore
    from saleops.ports.strategies import Contender
    from saleops.ports.terraform import Terraform
    from saleops.ports.tokens import TokenVerifier


@asynccontextmanager
async def open_stock_store(redis_url: str, *, sale: str) -> AsyncIterator[StockStore]:
    """The counters of ``sale`` behind ``redis_url``, a server's or a cluster's."""
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
    """The broker behind ``broker_url``: RocketMQ, or the embedded one on Streams for Redis URLs.

    When RocketMQ asks about a half is its own setting (transactionTimeOut), not ``check_after_ms``.
    """
    scheme = broker_url.partition("://")[0]
    broker: Broker
    if scheme == "rocketmq":
        from saleops.adapters.rocketmq_broker import RocketmqBroker

        broker = RocketmqBroker.from_url(broker_url, sale=sale)
    elif scheme in REDIS_SCHEMES:
        from saleops.adapters.streams_broker import StreamsBroker

        broker = StreamsBroker.from_url(broker_url, sale=sale, check_after_ms=check_after_ms)
    else:
        raise ConfigError(
            f"no broker speaks {scheme}://; nothing was started",
            hint="Use rocketmq://, or redis://, rediss://, unix:// or redis+cluster:// (the embedded broker on Streams).",
        )
    try:
        yield broker
    finally:
        await broker.close()


@contextmanager
def open_order_book(database_url: str, *, must_exist: bool = False) -> Iterator[OrderBook]:
    """One connection to the orders database: sqlite:///path or mysql://user:password@host:port/database. With
    ``must_exist`` no file is made where there is none: ConfigError."""
    book = _order_book(database_url, must_exist=must_exist)
    try:
        yield book
    finally:
        book.close()


def _order_book(database_url: str, *, must_exist: bool = False) -> SqlOrderBook:
    """Not connected yet."""
    scheme = database_url.partition("://")[0]
    if scheme == "sqlite":
        from saleops.adapters.sqlite_orders import SqliteOrderBook

        book = SqliteOrderBook.from_url(database_url)
        if must_exist:
            book.check_there()
        return book
    if scheme == "mysql":
        from saleops.adapters.mysql_orders import MysqlOrderBook

        return MysqlOrderBook.from_url(database_url)
    raise ConfigError(
        f"no database speaks {scheme}://; nothing was started",
        hint="Use sqlite:///path/orders.db or mysql://user:password@host:3306/database.",
    )


def connection_room(database_url: str) -> ConnectionRoom | None:
    """How many connections the orders database grants; None where nobody counts them (SQLite). Raises StoreUnavailable."""
    if not database_url.startswith("mysql://"):
        return None
    from contextlib import closing

    from saleops.adapters.mysql_session import MysqlSession, mysql_address

    with closing(MysqlSession(mysql_address(database_url))) as session:
        return session.room()


@asynccontextmanager
async def open_stock_repair(redis_url: str, *, sale: str) -> AsyncIterator[StockRepair]:
    """The raw rows of ``sale``'s counters behind ``redis_url``, for a repair."""
    from saleops.adapters.redis_stock_repair import RedisStockRepair
    from saleops.adapters.stock_server import StockServer

    server = StockServer(redis_url, timeout_s=5.0)
    try:
        yield RedisStockRepair(server, sale=sale)
    finally:
        await server.close()


def book_repair(book: OrderBook) -> BookRepair:
    """The raw rows of the orders database that ``book`` is connected to, for a repair; same thread."""
    from saleops.adapters.sql_dialect import SqlDialect
    from saleops.adapters.sql_repair import SqlBookRepair

    if not isinstance(book, SqlDialect):
        raise TypeError(f"{type(book).__name__} cannot be repaired: it is no SQL database")
    return SqlBookRepair(book)


def write_undo(path: Path, text: bytes) -> None:
    """Make the undo file ``path`` (mode 0600, never written over). Raises Refused, ConfigError or UpstreamError."""
    from saleops.adapters.undo_file import write_undo as write

    write(path, text)


def read_undo(path: Path) -> bytes:
    """What is in the undo file ``path``. Raises ConfigError."""
    from saleops.adapters.undo_file import read_undo as read

    return read(path)


def open_undo_log(path: Path) -> AbstractContextManager[StepLog]:
    """Adds to the undo file ``path`` what becomes of its steps. Raises ConfigError, later UpstreamError."""
    from saleops.adapters.undo_file import open_undo_log as open_log

    return open_log(path)


def make_state_dir(path: Path) -> Path:
    """``path``, made if need be, for its owner alone. Raises ConfigError when it is no directory of ours."""
    from saleops.adapters.file_state import open_state_dir

    return open_state_dir(path)


def refunding_provider(runner: BookRunner, rows: BookRepair) -> BookPayments:
    """The bundled payment provider, its ledger in the orders database that ``runner``'s thread owns; it also gives back."""
    from saleops.adapters.book_payments import BookPayments

    return BookPayments(runner, rows)


def faults(service: str, settings: ServiceSettings) -> Faults:
    """The fault layer of a worker that was told to fail on purpose. Raises ConfigError unless all engines are near."""
    import logging

    from saleops.adapters.faults import Faults, check_near

    check_near(
        {
            "stock store": settings.redis_url,
            "database": settings.database_url,
            "broker": settings.broker_url,
        }
    )
    logging.getLogger("saleops.faults").critical(
        "THIS WORKER FAILS ON PURPOSE: %s",
        ", ".join(f"{fault.action} at {fault.point}" for fault in settings.faults),
    )
    return Faults(settings.faults, service=service)


def token_verifier(settings: JwtSettings) -> TokenVerifier:
    from saleops.adapters.jwt_tokens import JwtVerifier

    return JwtVerifier(settings)


# -- engines -------------------------------------------------------------------------------------------------

STATE_DIR = Path(".saleops")


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

    given = named_engines(redis=redis, database=database, broker=broker, engines=engines)
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
    migrate: bool = True,
) -> Iterator[EngineUrls]:
    """The engines to work on: those that flags, ``SALEOPS_*_URL`` and the sale file name; else those of the ``serve``
    that runs on ``state_dir``; else embedded ones, started for the length of the block.

    ``command`` names the caller to whoever is refused meanwhile. Call it from the main thread (the kernel ties an
    embedded engine to the thread that started it). Without ``migrate`` an embedded database that is there stays as it
    is: who looks for damage must not repair a table on the way. Raises Refused when the state is in use by anything but a
    serve.
    """
    from saleops.adapters.file_state import lock_state_dir, open_state_dir, read_state

    given = named_engines(redis=redis, database=database, broker=broker, engines=engines)
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
        new = not (path / "orders.db").exists()
        if state.urls.origins["database"] == "embedded" and (migrate or new):
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
    return (
        not named_engines(redis=redis, database=database, broker=broker, engines=engines)
        and not state_dir.exists()
    )


async def prepare_engines(urls: EngineUrls, *, sale: str) -> None:
    """Make sure that all three answer, and bring the database's schema up to date. Raises StoreUnavailable."""
    import asyncio

    async with open_stock_store(urls.redis_url, sale=sale) as stock:
        await stock.ping()
    async with open_broker(urls.broker_url, sale=sale) as broker:
        # RocketMQ's topics and groups; before the ping, whose question a proxy would answer with "no such topic" for 20 s.
        if prepare := getattr(broker, "prepare", None):
            await prepare()
        await broker.ping()

    def migrate() -> None:
        with open_order_book(urls.database_url) as book:
            book.migrate()

    await asyncio.to_thread(migrate)


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


async def broker_settings(url: str, *, timeout_s: float) -> dict[str, dict[str, str]] | None:
    """What RocketMQ's brokers behind ``url`` are set to, by broker; None where the URL names no name server to ask.
    Raises StoreUnavailable or ConfigError."""
    from saleops.adapters.rocketmq_settings import read_settings

    return await read_settings(url, timeout_s=timeout_s)


async def missing_topics(url: str, sale: str, *, timeout_s: float) -> list[str] | None:
    """The topics of ``sale`` that RocketMQ behind ``url`` does not have; None where the URL names no name server to ask.
    Raises StoreUnavailable or ConfigError."""
    from saleops.adapters.rocketmq_settings import read_missing_topics

    return await read_missing_topics(url, sale, timeout_s=timeout_s)


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
    order_url: str = ""


def running_shop(state_dir: Path = STATE_DIR) -> RunningShop:
    """The shop on ``state_dir``; without URL when none runs there. Nothing is created."""
    from saleops.adapters.file_state import known_secret, read_state

    if not state_dir.is_dir():
        return RunningShop()
    path = state_dir.resolve()
    secret = known_secret(path)
    state = read_state(path)
    if state is None:
        return RunningShop("", "", secret)
    return RunningShop(state.url, state.sale, secret, state.urls.get("order", ""))


def load_runner() -> LoadRunner:
    """The load generator: locust, in a process of its own."""
    from saleops.adapters.locust_load import LocustLoad

    return LocustLoad()


def contenders(urls: EngineUrls) -> list[Contender]:
    """The strategies of ``loadtest --strategy`` on these engines, under names nobody else uses. Nothing is opened yet."""
    from saleops.adapters.strategy_redis import redis_strategies
    from saleops.adapters.strategy_sql import sql_strategies

    on_redis, on_database = (
        redis_strategies(urls.redis_url),
        sql_strategies(lambda: _order_book(urls.database_url)),
    )
    return [*on_redis, *on_database]


async def read_metrics(admin_ports: Iterable[int]) -> dict[str, float]:
    """The metrics of workers on this machine, summed by name."""
    from saleops.adapters.http_metrics import read_metrics as read

    return await read(admin_ports)


# -- the local cloud -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalCloudAccess:
    """A local Alibaba Cloud that runs: where, with which key, the time it lives in, and its control API."""

    address: CloudAddress
    clock: CloudClock
    control: LocalCloudControl

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def access_key_id(self) -> str:
        return self.address.access_key_id

    @property
    def access_key_secret(self) -> str:
        return self.address.access_key_secret


@contextmanager
def open_local_cloud(
    state_dir: Path = STATE_DIR, *, clock: ClockMode = "virtual", **settings: Any
) -> Iterator[LocalCloudAccess]:
    """The ``serve cloud`` that runs on ``state_dir``, else one as a child for the length of the block; what it holds stays in
    ``<state dir>/cloud`` either way. ``clock`` and ``settings`` (CloudSettings) shape the child alone.

    Raises Refused while another command has it, ConfigError when its files are damaged.
    """
    from saleops.adapters.local_cloud_clock import LocalCloudClock, LocalCloudControl
    from saleops.adapters.local_cloud_process import cloud_folder, cloud_for_a_while
    from saleops.config.local_cloud import CloudSettings

    wanted = CloudSettings(folder=str(cloud_folder(state_dir)), clock=clock, **settings)
    with cloud_for_a_while(wanted) as address:
        yield LocalCloudAccess(address, LocalCloudClock(address), LocalCloudControl(address))


@dataclass(frozen=True)
class ServedLocalCloud:
    """A ``serve cloud``: its address, the file that says it to other commands, and whether it still runs."""

    address: CloudAddress
    file: str
    ended: Callable[[], int | None]


@contextmanager
def serve_local_cloud(settings: CloudSettings) -> Iterator[ServedLocalCloud]:
    """A local cloud that other commands may use, for the length of the block. Raises Refused when its folder is somebody's."""
    from saleops.adapters.file_state import open_state_dir
    from saleops.adapters.local_cloud_process import ADDRESS, LocalCloudProcess

    folder = open_state_dir(Path(settings.folder))
    child = LocalCloudProcess(settings, log=folder / "cloud.log")
    try:
        address = child.wait_until_ready()
        yield ServedLocalCloud(address, str(folder / ADDRESS), lambda: child.wait(0))
    finally:
        child.stop()


# -- Alibaba Cloud -------------------------------------------------------------------------------------------


def cloud_journal_path(state_dir: Path, sale: str, place: str) -> Path:
    """The journal of what was provisioned for ``sale`` in ``place``: a region, "local", or an endpoint's address."""
    from saleops.adapters.file_cloud_journal import journal_path

    return journal_path(state_dir, sale, _one_place(state_dir, place))


@contextmanager
def open_cloud_journal(path: Path, *, mended: Callable[[str], None]) -> Iterator[CloudJournal]:
    """Own the journal ``path``. Raises Refused, naming the process, where another one writes it."""
    from saleops.adapters.file_cloud_journal import open_cloud_journal as opened

    with opened(path, mended=mended) as journal:
        yield journal


def recall_cloud_journal(path: Path) -> CloudJournal:
    """What the journal ``path`` says so far; what is added stays in memory. Somebody else may be writing it."""
    from saleops.adapters.file_cloud_journal import read_cloud_journal
    from saleops.adapters.memory_cloud_journal import MemoryCloudJournal

    return MemoryCloudJournal(read_cloud_journal(path))


def cloud_journal_lines(path: Path) -> list[dict[str, Any]]:
    from saleops.adapters.file_cloud_journal import read_cloud_journal

    return read_cloud_journal(path)


def edge_journal_path(state_dir: Path, sale: str, place: str) -> Path:
    """The journal of what was submitted to the edge for ``sale`` in ``place``, as ``cloud_journal_path``'s."""
    from saleops.adapters.file_edge_journal import edge_journal_path as path_of

    return path_of(state_dir, sale, _one_place(state_dir, place))


@contextmanager
def open_edge_journal(path: Path, *, mended: Callable[[str], None]) -> Iterator[EdgeJournal]:
    """Own the journal ``path``. Raises Refused, naming the process, where another one writes it."""
    from saleops.adapters.file_edge_journal import open_edge_journal as opened

    with opened(path, mended=mended) as journal:
        yield journal


def recall_edge_journal(path: Path) -> EdgeJournal:
    """What the journal ``path`` says so far; what is added stays in memory."""
    from saleops.adapters.file_edge_journal import recall_edge_journal as recalled

    return recalled(path)


def sale_passwords(journal: Path, *, may_make: bool, stand_in: str) -> Callable[[str], str]:
    """The passwords made up for the sale of ``journal``: "database", "nodes". Where none is there and none may be made,
    ``stand_in``."""
    from saleops.adapters.file_passwords import kept_password, known_passwords, passwords_path

    path = passwords_path(journal)
    if may_make:
        return lambda what: kept_password(path, what)
    return lambda what: known_passwords(path).get(what, stand_in)


@contextmanager
def open_cloud(
    *,
    region: str | None = None,
    file_region: str | None = None,
    endpoint: str | None = None,
    endpoints: Mapping[str, str] | None = None,
    state_dir: Path = STATE_DIR,
) -> Iterator[AliyunCloud]:
    """Alibaba Cloud, as the official credentials chain signs for it; or a local one.

    ``region`` is a flag's, ``file_region`` the sale's; ALIBABA_CLOUD_REGION_ID and the aliyun CLI's profile come after them.
    ``endpoint`` is "local" for the local cloud of ``state_dir`` (started for the block where none runs), or the URL of
    another that answers for all products; ``endpoints`` names hosts product by product, above SALEOPS_CLOUD_ENDPOINTS.
    Nothing is sent yet.
    Raises ConfigError when nobody signs, CloudError when who signs cannot.
    """
    from saleops.adapters.aliyun_cloud import AliyunCloud
    from saleops.adapters.aliyun_credentials import find_credentials, find_region
    from saleops.adapters.aliyun_endpoints import (
        check_region,
        endpoint_of,
        overrides_of,
        parse_endpoint,
        parse_overrides,
    )

    if endpoint == "local":
        with open_local_cloud(state_dir) as local:
            yield _local_client(local, region or file_region)
        return
    address = parse_endpoint(endpoint) if endpoint is not None else None
    near = _running_local_cloud(state_dir) if address is not None and address.is_loopback else None
    if near is not None and address is not None and parse_endpoint(near.url).is_same_door(address):
        yield _local_client(near, region or file_region)
        return
    where = find_region(region, file_region)
    check_region(where.id)
    named = parse_overrides(os.environ.get("SALEOPS_CLOUD_ENDPOINTS", ""))
    named.update(overrides_of(endpoints or {}))
    yield AliyunCloud(
        region=where.id,
        region_origin=where.origin,
        credentials=find_credentials(),
        endpoint_of=lambda product: address or endpoint_of(product, where.id, named),
        name=f"the cloud at {address.url}" if address else f"Alibaba Cloud ({where.id})",
    )


def signs_here() -> bool:
    """Whether there may be credentials on this machine: variables or files of the official chain. Nobody is asked."""
    home = Path(os.environ.get("HOME") or Path.home())
    named = ("ACCESS_KEY_ID", "OIDC_TOKEN_FILE", "CREDENTIALS_URI", "CREDENTIALS_FILE", "PROFILE")
    return any(os.environ.get(f"ALIBABA_CLOUD_{name}") for name in named) or any(
        home.joinpath(*file).exists()
        for file in ((".aliyun", "config.json"), (".alibabacloud", "credentials.ini"))
    )


def knock_at_products(cloud: AliyunCloud, products: Sequence[str]) -> dict[str, Knock]:
    """Whether the endpoints of ``products`` answer, without signing. Never raises."""
    from saleops.adapters.aliyun_doors import knock_at
    from saleops.cloudapi import product_of

    found = {code: product_of(code) for code in products}
    return knock_at({code: cloud.endpoint_of(one) for code, one in found.items() if one})


def _local_client(local: LocalCloudAccess, region: str | None) -> AliyunCloud:
    """A client of a local cloud, which has a key of its own and takes any region."""
    from saleops.adapters.aliyun_cloud import AliyunCloud
    from saleops.adapters.aliyun_credentials import fixed_credentials
    from saleops.adapters.aliyun_endpoints import check_region, parse_endpoint

    address = parse_endpoint(local.url)
    return AliyunCloud(
        region=check_region(region or local.address.region),
        region_origin="flag or file" if region else "the local cloud",
        credentials=fixed_credentials(
            local.access_key_id, local.access_key_secret, source="the local cloud"
        ),
        endpoint_of=lambda product: address,
        name=f"the local cloud at {local.url}",
        clock=local.clock,
    )


def check_region(region: str) -> None:
    """Raises ConfigError where ``region`` cannot be one."""
    from saleops.adapters.aliyun_endpoints import check_region as check

    check(region)


def _one_place(state_dir: Path, place: str) -> str:
    """``place``, by one name: the address of the local cloud of ``state_dir`` is "local", for it gets another port each time."""
    from saleops.adapters.aliyun_endpoints import parse_endpoint
    from saleops.adapters.local_cloud_process import cloud_folder, running_cloud

    if place == "local" or ":" not in place:  # a region's id has no port
        return place
    address = running_cloud(cloud_folder(state_dir))
    if address is not None and parse_endpoint(place).is_same_door(parse_endpoint(address.url)):
        return "local"
    return place


def _running_local_cloud(state_dir: Path) -> LocalCloudAccess | None:
    """The local cloud that runs on ``state_dir``, if one does."""
    from saleops.adapters.local_cloud_clock import LocalCloudClock, LocalCloudControl
    from saleops.adapters.local_cloud_process import cloud_folder, running_cloud

    address = running_cloud(cloud_folder(state_dir))
    if address is None:
        return None
    return LocalCloudAccess(address, LocalCloudClock(address), LocalCloudControl(address))


def lua_trials(documents: Sequence[LintDocument]) -> dict[str, list[LuaTrial]]:
    """What the Lua scripts among ``documents`` do on an embedded Valkey that is started for it, never on anybody's engine."""
    from saleops.operations.lint.lua_trials import try_scripts

    def bench() -> AbstractContextManager[ScriptBench]:
        from saleops.adapters.valkey_scripts import ValkeyScriptBench

        return ValkeyScriptBench()

    return try_scripts(documents, bench)


# -- Kubernetes ----------------------------------------------------------------------------------------------


@contextmanager
def open_cluster(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    connect_timeout_s: float = 5.0,
    read_timeout_s: float = 15.0,
) -> Iterator[LightkubeCluster]:
    """The cluster of ``kubeconfig`` ($KUBECONFIG, ~/.kube/config, the pod we run in), by ``context`` or the current one.

    Nothing is sent yet. Raises ConfigError when no cluster is configured, or its entry is wrong.
    """
    from saleops.adapters.lightkube_client import KubeClient
    from saleops.adapters.lightkube_cluster import LightkubeCluster
    from saleops.adapters.lightkube_config import find_config

    client = KubeClient(
        find_config(kubeconfig, context),
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=read_timeout_s,
    )
    cluster = LightkubeCluster(client)
    try:
        yield cluster
    finally:
        cluster.close()


def scale_journal_path(state_dir: Path, sale: str, cluster: str) -> Path:
    """The journal of what was made bigger for ``sale`` in ``cluster``."""
    from saleops.adapters.file_scale_journal import scale_journal_path as path_of

    return path_of(state_dir, sale, cluster)


@contextmanager
def open_scale_journal(path: Path, *, mended: Callable[[str], None]) -> Iterator[ScaleJournal]:
    """Own the journal ``path``. Raises Refused, naming the process, where another one writes it."""
    from saleops.adapters.file_scale_journal import open_scale_journal as opened

    with opened(path, mended=mended) as journal:
        yield journal


def recall_scale_journal(path: Path) -> ScaleJournal:
    """What the journal ``path`` says so far; what is added stays in memory."""
    from saleops.adapters.file_scale_journal import read_scale_journal

    return read_scale_journal(path)


def wall_clock() -> CloudClock:
    """The machine's clock, for whoever waits for a cluster."""
    from saleops.adapters.aliyun_cloud import WallClock

    return WallClock()


# -- terraform ---------------------------------------------------------------------------------------------------------


def installed_terraform(wanted: Literal["auto", "terraform", "tofu"]) -> Installed | None:
    """The program that is asked for, or the first of terraform and tofu. Raises ConfigError for one that is too old."""
    from saleops.adapters.terraform_cli import find_installed

    return find_installed() if wanted == "auto" else find_installed((wanted,))


def terraform_folder(state_dir: Path, sale: str) -> Path:
    """Where the module of ``sale`` and its state are."""
    return state_dir / "terraform" / sale


def open_terraform(installed: Installed, folder: Path, *, region: str) -> Terraform:
    """``installed`` in ``folder``, with the credentials of the official chain in its environment.

    Raises ConfigError, CloudError."""
    from saleops.adapters.aliyun_credentials import find_credentials
    from saleops.adapters.terraform_cli import SignAs, TerraformCli

    key = find_credentials().signer.get_credential()
    return TerraformCli(
        installed,
        folder,
        SignAs(
            key.access_key_id,
            key.access_key_secret,
            key.security_token or "",
            region,
        ),
    )
