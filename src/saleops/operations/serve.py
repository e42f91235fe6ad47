"""Running the shop: the engines, a few processes for each service, the gateway in front, and their orderly end.

Start goes from the bottom up (engine, schema, services, gateway) and stop from the top down, so that at each moment
whatever still takes requests can finish them. Other operations use the parts: ``running_engine`` and
``running_services`` are context managers, and ``Fleet`` lets a rehearsal kill a worker and see it come back.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from saleops.config.settings import (
    SETTINGS_VARIABLE,
    Admission,
    JwtSettings,
    ServiceSettings,
)
from saleops.errors import ConfigError, UpstreamError
from saleops.events import Finished, Observer, Started, Warned, silent
from saleops.operations.supervision import Keeper
from saleops.ports.clock import Clock, WallClock
from saleops.ports.engines import EngineUrls
from saleops.ports.processes import Engine, Phase, Workers, WorkerSpec

if TYPE_CHECKING:
    from saleops.config.sale import Sale

SERVICES = ("catalog", "order", "payment", "shipping")
GATEWAY = "gateway"
LOCAL_SALE = "local"
DEFAULT_PORT = 8080
WORKER_GRACE_S = 35.0  # a worker's own limits for finishing and stopping are 10 s and 20 s
ENGINE_GRACE_S = 20.0
GROW_TIMEOUT_S = 30.0
WORKERS_MAX = 64


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What to run. ``port`` is the public one: the gateway's, or the service's where only one service runs."""

    settings: ServiceSettings
    services: tuple[str, ...] = SERVICES
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    workers: Mapping[str, int] = field(default_factory=lambda: {"order": 2})
    drain_delay_s: float = 0.2

    @property
    def gateway(self) -> bool:
        return len(self.services) > 1

    def count(self, service: str) -> int:
        return self.workers.get(service, 1)


def plan_serve(
    settings: ServiceSettings,
    *,
    service: str = "all",
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    workers: Mapping[str, int] | None = None,
    drain_delay_s: float = 0.2,
) -> ServePlan:
    """The plan for ``all`` or one service. Raises ConfigError that names every wrong argument."""
    wrong: list[str] = []
    if service not in ("all", *SERVICES):
        wrong.append(f"there is no service {service!r}: use all, {', '.join(SERVICES)}")
    if not 0 <= port <= 65535:
        wrong.append(f"port {port} is not in 0 to 65535")
    counts = {"order": 2, **(workers or {})}
    for name, count in counts.items():
        if name not in (*SERVICES, GATEWAY):
            wrong.append(f"there is no service {name!r} to give workers to")
        elif not 1 <= count <= WORKERS_MAX:
            wrong.append(f"{count} {name} workers: use 1 to {WORKERS_MAX}")
    if not 0 <= drain_delay_s <= 300:
        wrong.append(f"a drain delay of {drain_delay_s:g} s: use 0 to 300")
    if wrong:
        raise ConfigError(
            "; ".join(wrong) + "; nothing was started", hint="See `saleops serve -h`."
        )
    return ServePlan(
        settings=settings,
        services=SERVICES if service == "all" else (service,),
        host=host,
        port=port,
        workers=counts,
        drain_delay_s=drain_delay_s,
    )


def settings_of(
    sale: "Sale | None",
    urls: EngineUrls,
    jwt: JwtSettings,
    *,
    open_now: bool = False,
    replica_url: str = "",
) -> ServiceSettings:
    """What the services are told about ``sale``; without one, a sale named "local" whose window is always open.

    ``open_now`` ignores the sale's window, for development. ``replica_url`` is a read replica of the orders database.
    """
    local = ServiceSettings(
        sale=LOCAL_SALE,
        redis_url=urls.redis_url,
        database_url=urls.database_url,
        broker_url=urls.broker_url,
        replica_url=replica_url,
        jwt=jwt,
    )
    if sale is None:
        return local
    settings = msgspec.structs.replace(
        local,
        sale=sale.name,
        reservation_ttl_ms=int(sale.reservations.ttl_s * 1000),
        payment_ttl_ms=int(sale.payment.ttl_s * 1000),
        page_ttl_ms=int(sale.cache.ttl_s * 1000),
        page_ttl_jitter=sale.cache.jitter,
        admission=Admission(
            per_buyer_rps=sale.limits.per_buyer_rps, per_ip_rps=sale.limits.per_ip_rps
        ),
    )
    if open_now:
        return settings
    return msgspec.structs.replace(
        settings,
        opens_ms=int(sale.window.opens.timestamp() * 1000),
        closes_ms=int(sale.window.closes.timestamp() * 1000),
    )


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker process. ``pid`` is 0 while it is down; ``why`` says why it is not ready."""

    name: str
    service: str
    pid: int
    port: int
    admin_port: int
    restarts: int
    ready: bool
    why: str


class Fleet:
    """The running services. ``url`` is where buyers go, ``urls`` has each service's own address."""

    def __init__(
        self, url: str, urls: dict[str, str], workers: Workers, keep: Callable[[WorkerSpec], Keeper]
    ) -> None:
        self.url = url
        self.urls = urls
        self._workers = workers
        self._keep = keep
        self._kept: dict[str, tuple[WorkerSpec, Keeper]] = {}

    def add(self, spec: WorkerSpec, keeper: Keeper) -> None:
        self._kept[spec.name] = (spec, keeper)

    @property
    def workers(self) -> tuple[WorkerStatus, ...]:
        statuses = []
        for spec, keeper in self._kept.values():
            now = keeper.status
            statuses.append(
                WorkerStatus(
                    name=spec.name,
                    service=spec.service,
                    pid=now.pid,
                    port=spec.port,
                    admin_port=spec.admin_port,
                    restarts=now.restarts,
                    ready=now.phase is Phase.READY,
                    why=now.why,
                )
            )
        return tuple(statuses)

    def kill_worker(self, service: str) -> WorkerStatus:
        """SIGKILL the first living worker of ``service``, as the machine would; it is started again. Returns it as
        it was. Raises UpstreamError when none lives."""
        for status in self.workers:
            if status.service == service and status.pid:
                _, keeper = self._kept[status.name]
                if keeper.kill():
                    return status
        raise UpstreamError(f"no worker of {service} is running; none was killed")

    async def restarted(self, worker: WorkerStatus, *, timeout_s: float = 30.0) -> WorkerStatus:
        """Wait until ``worker``, as ``kill_worker`` returned it, is back and ready. Raises UpstreamError."""
        _, keeper = self._kept[worker.name]
        try:
            async with asyncio.timeout(timeout_s):
                await keeper.ready(restarts=worker.restarts + 1)
        except TimeoutError:
            raise UpstreamError(f"{worker.name} is not back after {timeout_s:g} s") from None
        return next(one for one in self.workers if one.name == worker.name)

    async def grow(self, service: str) -> WorkerStatus:
        """One more worker of ``service``, on the port of the others. Returns when it is ready. Raises UpstreamError."""
        specs = [spec for spec, _ in self._kept.values() if spec.service == service]
        if not specs:
            raise UpstreamError(f"there is no worker of {service} to put another beside")
        number = 1 + max(int(spec.name.rpartition("-")[2]) for spec in specs)
        spec = replace(
            specs[0],
            name=f"{service}-{number}",
            admin_port=self._workers.reserve_port("127.0.0.1", 0),
        )
        keeper = self._keep(spec)
        self.add(spec, keeper)
        await keeper.start()
        async with asyncio.timeout(GROW_TIMEOUT_S):
            await keeper.ready()
        return next(one for one in self.workers if one.name == spec.name)

    async def retire(self, name: str) -> None:
        """SIGTERM for the worker ``name``: it finishes what it has, and is not started again."""
        _, keeper = self._kept[name]
        await keeper.stop(grace_s=WORKER_GRACE_S)
        del self._kept[name]

    async def ready(self, *, timeout_s: float = 60.0) -> None:
        """Wait until every worker is ready (a sale has to be seeded for that). Raises UpstreamError."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(keeper.ready() for _, keeper in self._kept.values()))
        except TimeoutError:
            late = [f"{one.name} ({one.why or 'silent'})" for one in self.workers if not one.ready]
            raise UpstreamError(
                f"not ready after {timeout_s:g} s: {', '.join(late)}",
                hint="Is the sale seeded? Run `saleops seed SALE`.",
            ) from None

    async def stop(self) -> None:
        """Drain: the gateway first, then the services."""
        for front in (True, False):
            await asyncio.gather(
                *(
                    keeper.stop(grace_s=WORKER_GRACE_S)
                    for spec, keeper in self._kept.values()
                    if (spec.service == GATEWAY) is front
                )
            )

    def kill_all(self) -> None:
        """For a person who cannot wait: everything ends now, undrained."""
        for _, keeper in self._kept.values():
            keeper.abandon()


@asynccontextmanager
async def running_engine(
    engine: Engine, *, observe: Observer = silent, clock: Clock | None = None
) -> AsyncIterator[Keeper]:
    """``engine`` for the length of the block, started again when it dies."""
    if (orphan := await asyncio.to_thread(engine.clear_away)) is not None:
        observe(
            Warned(f"shut down an earlier {engine.name} that had outlived its serve (pid {orphan})")
        )
    keeper = Keeper(engine, clock=clock or WallClock(), observe=observe)
    try:
        await keeper.start()
        yield keeper
    finally:
        await keeper.stop(grace_s=ENGINE_GRACE_S)


@asynccontextmanager
async def running_services(
    plan: ServePlan,
    *,
    workers: Workers,
    observe: Observer = silent,
    clock: Clock | None = None,
    chance: Callable[[], float] = random.random,
) -> AsyncIterator[Fleet]:
    """The services of ``plan`` for the length of the block; the engines and the schema must be there.

    Enters when every worker is up; one that is up and not ready (a sale not seeded yet) is a warning.
    Raises a worker's own error when it cannot start, UpstreamError when a port is taken.
    """
    clock = clock or WallClock()
    try:

        def keep(spec: WorkerSpec) -> Keeper:
            return Keeper(workers.job(spec), clock=clock, observe=observe, chance=chance)

        fleet, specs = _lay_out(plan, workers, keep)
        keepers = [keep(spec) for spec in specs]
        for spec, keeper in zip(specs, keepers, strict=True):
            fleet.add(spec, keeper)
        try:
            observe(Started("starting the services", total=len(keepers), unit="workers"))
            await _start_all(keepers)
            observe(Finished("starting the services", note=f"{len(keepers)} workers are up"))
            for status in fleet.workers:
                if not status.ready:
                    observe(Warned(f"{status.name} is up and not ready: {status.why}"))
            yield fleet
        finally:
            try:
                await fleet.stop()
            except asyncio.CancelledError:
                fleet.kill_all()  # told twice to stop: somebody cannot wait
                raise
    finally:
        workers.close()


async def _start_all(keepers: Iterable[Keeper]) -> None:
    """Start all at once. The first that cannot cancels the others' waiting; stopping them is the caller's."""
    starting = [asyncio.create_task(keeper.start()) for keeper in keepers]
    try:
        for done in asyncio.as_completed(starting):
            await done
    finally:
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)


def _lay_out(
    plan: ServePlan, workers: Workers, keep: Callable[[WorkerSpec], Keeper]
) -> tuple[Fleet, list[WorkerSpec]]:
    """Ports and settings of every worker. Behind a gateway the services stay on loopback."""
    public = workers.reserve_port(plan.host, plan.port)
    url = f"http://{_visible(plan.host)}:{public}"
    places: dict[str, tuple[str, int]] = {}
    if plan.gateway:
        for number, service in enumerate(plan.services, start=1):
            wanted = plan.port + number if 0 < plan.port <= 65535 - len(plan.services) else 0
            places[service] = ("127.0.0.1", _near(workers, wanted))
    else:
        places[plan.services[0]] = (plan.host, public)
    urls = {name: f"http://{_visible(host)}:{port}" for name, (host, port) in places.items()}
    settings = dict.fromkeys(plan.services, plan.settings)
    if plan.gateway:
        places[GATEWAY] = (plan.host, public)
        # The gateway faces the world and needs neither engines nor keys: it is not told any.
        settings[GATEWAY] = ServiceSettings(
            sale=plan.settings.sale,
            redis_url="",
            database_url="",
            broker_url="",
            jwt=JwtSettings(),
            admission=plan.settings.admission,
            upstreams=urls,
        )
    specs = [
        WorkerSpec(
            name=f"{service}-{number}",
            service=service,
            host=host,
            port=port,
            admin_port=workers.reserve_port("127.0.0.1", 0),
            environment={
                SETTINGS_VARIABLE: msgspec.json.encode(settings[service]).decode(),
                "SALEOPS_DRAIN_DELAY_S": str(plan.drain_delay_s),
            },
        )
        for service, (host, port) in places.items()
        for number in range(1, plan.count(service) + 1)
    ]
    return Fleet(url, urls, workers, keep), specs


def _near(workers: Workers, wanted: int) -> int:
    """A port of our choice where it is free, else any: only the public one is promised."""
    if wanted:
        try:
            return workers.reserve_port("127.0.0.1", wanted)
        except UpstreamError:
            pass
    return workers.reserve_port("127.0.0.1", 0)


def _visible(host: str) -> str:
    """``host`` in a URL that works on this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host
