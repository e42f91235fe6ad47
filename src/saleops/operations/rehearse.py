"""Rehearses a whole sale on this machine, breaks it on purpose, and says GO only if the ledger balances.

The steps, each timed: seed, prewarm (with its proof), start the services, wait for the doors to open, send the load
(baseline, step to the peak, refresh storm, more buyers than units of the hot items) and SIGKILL an order worker in
its middle, let payment and shipping drain, reconcile from the engines themselves. Where there is a cloud to practise on
(rehearse_cloud.py), it is provisioned while the shop is prepared, and taken away at the end.

A rehearsal runs the services' real code on real engines with the sale's real items; only three things are made to fit one
machine and one minute: the doors open when everything is ready, the load's peak is what the machine can take, and
reservations and unpaid orders lapse after seconds. Each is said in the report's ``notes``.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import msgspec

from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.domain.ledger import Ledger
from saleops.domain.messages import (
    DEADLINE_GROUP,
    DEADLINES,
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    retry_topic,
)
from saleops.domain.traffic import LoadShape, shape_for
from saleops.domain.verdict import Check, Figures, judge, verdict_of
from saleops.errors import SaleopsError, UpstreamError
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.loadtest import SATURATED_BELOW, LoadReport, demand_of, run_load
from saleops.operations.prewarm import apply_prewarm, plan_prewarm
from saleops.operations.prewarm_hot import hottest_of, prewarm_hot
from saleops.operations.reconcile import reconcile
from saleops.operations.rehearse_cloud import (
    CloudFigures,
    CloudRehearsal,
    OpenPractice,
    cloud_checks,
)
from saleops.operations.seed import apply_seed, plan_seed
from saleops.operations.serve import (
    Fleet,
    WorkerStatus,
    plan_serve,
    running_services,
    settings_of,
)
from saleops.ports.broker import Broker
from saleops.ports.cache import PageCache
from saleops.ports.clock import Clock, WallClock
from saleops.ports.engines import EngineUrls
from saleops.ports.load import LoadRequest, LoadRunner
from saleops.ports.orders import OrderBook
from saleops.ports.processes import Workers
from saleops.ports.stock import StaleEpoch, StockStore

if TYPE_CHECKING:
    from saleops.config.sale import Sale

DURATION_S = 20.0
REHEARSAL_SUFFIX = "-rehearsal"
"""On engines that others may share a rehearsal sells under a name of its own, so that it can never touch a real sale."""

LOAD_START_S = 3.0
"""The load generator is started this much early: it needs that long to come up, and waits for its first second."""

RPS_PER_CORE = 300
"""What a core carries with services, engines and load generator all on it; the default peak is that times the cores."""

COUNTDOWN_S = 12.0
"""From starting the services to the opening: they need about five seconds on two busy cores, the load a few more."""

KILL_AT = 0.4
"""The order worker dies when this share of the load's peak is behind us."""

RESERVATION_TTL_MAX_MS = 5_000
PAYMENT_TTL_MAX_MS = 12_000
DRAIN_TIMEOUT_S = 60.0
DRAIN_POLL_S = 0.25

Breaking = Callable[[Fleet], Awaitable[tuple[WorkerStatus, float | None]]]
"""What goes wrong in the middle of the load: who was hit, and after how many seconds there was another; None: none came."""

Scrape = Callable[[Fleet], Awaitable[Mapping[str, float]]]
"""Reads the metrics of the catalog's workers: name -> sum over the workers."""


@dataclass(frozen=True)
class RehearsePlan:
    """What a rehearsal would do."""

    schema: ClassVar[str] = "saleops/rehearse-plan/v1"

    sale: str
    items_count: int
    units_count: int
    duration_s: float
    baseline_rps: float
    peak_rps: float
    seed: int
    order_workers: int
    shape: LoadShape
    notes: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """One step: "ok" or "failed", and how long it took."""

    name: str
    status: str
    seconds: float
    note: str = ""


class CacheFigures(msgspec.Struct, frozen=True):
    """The catalog during the load: pages that were not in the cache, and queries that reached the database."""

    misses: int
    db_queries: int
    hits: int


@dataclass(frozen=True)
class RehearseReport:
    """The verdict with everything it stands on. ``checks`` that do not decide are warnings."""

    schema: ClassVar[str] = "saleops/rehearse/v1"

    verdict: str
    sale: str
    seed: int
    steps: list[Step]
    checks: list[Check]
    ledger: Ledger
    load: LoadReport
    cache: CacheFigures
    killed: dict[str, object]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    state_dir: str = ""
    cloud: CloudFigures | None = None


@dataclass(frozen=True)
class Stage:
    """The opened ports a rehearsal plays on."""

    urls: EngineUrls
    jwt: JwtSettings
    book: OrderBook
    stock: StockStore
    cache: PageCache
    broker: Broker
    workers: Workers
    runner: LoadRunner
    scrape: Scrape
    clock: Clock = field(default_factory=WallClock)
    breaking: Breaking | None = None  # None: SIGKILL for an order worker
    practice: OpenPractice | None = None


def plan_rehearsal(
    sale: "Sale",
    *,
    duration_s: float = DURATION_S,
    peak_rps: float | None = None,
    seed: int = 1,
    cores: int = 2,
    order_workers: int = 2,
) -> RehearsePlan:
    """Read and validate every item and fit the sale's traffic to this machine. Raises ConfigError."""
    summary = sale.items_source.summary()
    wanted = peak_rps or sale.traffic.peak_rps
    fits = float(RPS_PER_CORE * cores)
    notes = []
    if peak_rps is None and wanted > fits:
        notes.append(
            f"peak scaled from {wanted:,.0f} to {fits:,.0f} rps, what {cores} cores carry with everything on them "
            "(--peak sets another)"
        )
        wanted = fits
    scale = wanted / sale.traffic.peak_rps
    baseline = max(5.0, sale.traffic.baseline_rps * scale)
    shape = shape_for(
        baseline_rps=baseline,
        peak_rps=wanted,
        step_s=sale.traffic.step_s,
        duration_s=duration_s,
    )
    notes.append("the doors open when everything is ready, not at the sale's own time")
    for name, own_s, most_ms in (
        ("reservations lapse", sale.reservations.ttl_s, RESERVATION_TTL_MAX_MS),
        ("unpaid orders are cancelled", sale.payment.ttl_s, PAYMENT_TTL_MAX_MS),
    ):
        if own_s * 1000 > most_ms:
            notes.append(f"{name} after {most_ms / 1000:g} s instead of {own_s:g} s")
    return RehearsePlan(
        sale=sale.name,
        items_count=summary.items_count,
        units_count=summary.units_count,
        duration_s=shape.duration_s,
        baseline_rps=round(shape.baseline_rps, 1),
        peak_rps=round(shape.peak_rps, 1),
        seed=seed,
        order_workers=order_workers,
        shape=shape,
        notes=tuple(notes),
    )


async def rehearse(
    sale: "Sale", plan: RehearsePlan, stage: Stage, *, observe: Observer = silent
) -> RehearseReport:
    """Run it. Raises what a step raises (nothing is left running); a bad verdict is a report, not an error."""
    run = _Rehearsal(sale, plan, stage, observe)
    return await run.play()


class _Rehearsal:
    """The steps in order, and what they leave for the next ones."""

    def __init__(self, sale: "Sale", plan: RehearsePlan, stage: Stage, observe: Observer) -> None:
        self._sale = sale
        self._plan = plan
        self._stage = stage
        self._observe = observe
        self._steps: list[Step] = []

    async def play(self) -> RehearseReport:
        began = time.perf_counter()
        stage, plan = self._stage, self._plan
        async with AsyncExitStack() as day:
            cloud = None
            if stage.practice is not None:
                cloud = CloudRehearsal(stage.practice, seed=plan.seed)
                day.push_async_callback(cloud.close)
                cloud.begin()
            return await self._play(began, cloud)

    async def _play(self, began: float, cloud: CloudRehearsal | None) -> RehearseReport:
        stage, plan = self._stage, self._plan
        async with AsyncExitStack() as stack:
            async with self._step("seed") as note:
                note(await self._seed())
            async with self._step("prewarm") as note:
                queries = await self._prewarm(note)
            if cloud is not None:
                async with self._step("provision") as note:
                    note(await cloud.made())
            opens_ms = stage.clock.now_ms() + int(COUNTDOWN_S * 1000)
            async with self._step("services") as note:
                fleet = await stack.enter_async_context(self._services(opens_ms))
                await fleet.ready()
                note(f"{len(fleet.workers)} workers behind {fleet.url}")
            async with self._step("countdown") as note:
                await self._count_down(opens_ms, note)
            before = await stage.scrape(fleet)
            async with self._step("load") as note:
                load, killed, came_back = await self._load(fleet, opens_ms, note)
            after = await stage.scrape(fleet)
            async with self._step("drain") as note:
                drained = await self._drain(note)
        async with self._step("reconcile") as note:
            ledger = await reconcile(
                self._sale.name,
                stage.stock,
                stage.book,
                stage.broker,
                now_ms=stage.clock.now_ms(),
                observe=self._observe,
            )
            note("balanced" if ledger.balanced else f"{ledger.breaks_count} breaks")
        figures = None
        if cloud is not None:
            async with self._step("destroy") as note:
                figures = await cloud.destroy()
                note(f"{len(figures.left)} of {figures.resources} resources left")
        checks = judge(
            ledger,
            _figures(load),
            prewarm_queries=queries,
            killed_back=came_back is not None,
            drained=drained,
            error_rate_max=self._sale.objectives.error_rate,
            checkout_p99_max_ms=self._sale.objectives.checkout_p99_ms,
            reached_share=SATURATED_BELOW,
        )
        if figures is not None:
            checks = [*checks, *cloud_checks(figures)]
        return RehearseReport(
            verdict=verdict_of(checks),
            sale=plan.sale,
            seed=plan.seed,
            steps=self._steps,
            checks=checks,
            ledger=ledger,
            load=load,
            cache=_cache_figures(before, after),
            killed={"worker": killed.name, "pid": killed.pid, "back_after_s": came_back},
            notes=plan.notes,
            seconds=round(time.perf_counter() - began, 2),
            cloud=figures,
        )

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[Callable[[str], None]]:
        said: list[str] = []
        began = time.perf_counter()
        self._observe(Started(name))
        status = "failed"
        try:
            yield said.append
            status = "ok"
        finally:
            seconds = round(time.perf_counter() - began, 2)
            note = said[-1] if said else ""
            self._steps.append(Step(name, status, seconds, note))
            self._observe(Finished(name, note, ok=status == "ok"))

    async def _seed(self) -> str:
        items, stage, name = self._sale.items_source, self._stage, self._sale.name
        shared = name.endswith(REHEARSAL_SUFFIX)
        plan = await plan_seed(
            name,
            items,
            book=stage.book,
            stock=stage.stock,
            # What an earlier rehearsal left on shared engines makes room. Its name says that it is nobody's sale.
            replace=await self._left(name) if shared else "",
        )
        if shared and plan.action == "seed":
            # Counters and database may be new while the broker is the one of the rehearsal before.
            for holder in (stage.broker, stage.cache):
                await holder.clear()
        report = await apply_seed(
            plan,
            items,
            book=stage.book,
            stock=stage.stock,
            forget=(stage.broker, stage.cache),
        )
        return f"{report.items_count:,} SKUs, {report.units_count:,} units"

    async def _left(self, name: str) -> str:
        """The epoch an earlier rehearsal left: in the database or, where that is a new one, in the stock store alone."""
        if row := self._stage.book.sale(name):
            return row.epoch
        try:
            return (await self._stage.stock.seed_state()).epoch
        except StaleEpoch:
            return REHEARSAL_SUFFIX  # restored in part: it has none, and any word drops it

    async def _prewarm(self, note: Callable[[str], None]) -> int:
        sale, stage = self._sale, self._stage
        plan = plan_prewarm(
            stage.book,
            sale=sale.name,
            ttl_ms=round(sale.cache.ttl_s * 1000),
            jitter=sale.cache.jitter,
            now_ms=stage.clock.now_ms(),
        )
        report = await apply_prewarm(plan, stage.book, stage.cache, seed=self._plan.seed)
        beside = await prewarm_hot(
            hottest_of(sale.items_source.stream()),
            stage.book,
            stage.cache,
            ttl_ms=round(sale.cache.ttl_s * 1000),
            jitter=sale.cache.jitter,
            seed=self._plan.seed,
        )
        note(
            f"{report.written + beside:,} pages; {report.sampled:,} sampled: {report.db_queries} database queries"
        )
        return report.db_queries

    @asynccontextmanager
    async def _services(self, opens_ms: int) -> AsyncIterator[Fleet]:
        plan = plan_serve(
            self._settings(opens_ms), port=0, workers={"order": self._plan.order_workers}
        )
        async with running_services(
            plan, workers=self._stage.workers, observe=self._observe
        ) as fleet:
            yield fleet

    def _settings(self, opens_ms: int) -> ServiceSettings:
        stage = self._stage
        settings = settings_of(self._sale, stage.urls, stage.jwt, open_now=True)
        return msgspec.structs.replace(
            settings,
            opens_ms=opens_ms,
            reservation_ttl_ms=min(settings.reservation_ttl_ms, RESERVATION_TTL_MAX_MS),
            payment_ttl_ms=min(settings.payment_ttl_ms, PAYMENT_TTL_MAX_MS),
            check_after_ms=2_000,  # of a killed worker's half messages: soon enough to be seen
            # A load generator is one address and many buyers.
            admission=msgspec.structs.replace(settings.admission, per_ip_rps=0.0),
        )

    async def _count_down(self, opens_ms: int, note: Callable[[str], None]) -> None:
        lead_s = self._plan.shape.lead_s
        left_s = (opens_ms - self._stage.clock.now_ms()) / 1000 - lead_s
        if left_s < 0:
            raise UpstreamError(
                f"the services were ready {-left_s:.1f} s too late for the countdown: this machine is too busy",
                hint="Stop what else runs here, or rehearse with fewer --order-workers.",
            )
        await self._stage.clock.sleep(max(0.0, left_s - LOAD_START_S))
        note(f"doors open in {lead_s + LOAD_START_S:.1f} s")

    async def _load(
        self, fleet: Fleet, opens_ms: int, note: Callable[[str], None]
    ) -> tuple[LoadReport, WorkerStatus, float | None]:
        request = LoadRequest(
            base_url=fleet.url,
            shape=self._plan.shape,
            demand=demand_of(self._sale.items_source.stream()),
            seed=self._plan.seed,
            run=secrets.token_hex(3),
            hs256_secret=self._stage.jwt.hs256_secret,
            audience=self._stage.jwt.audience,
            issuer=self._stage.jwt.issuer,
            page_views_per_order=self._sale.traffic.page_views_per_order,
            opens_ms=opens_ms,
        )
        killing = asyncio.create_task(self._kill_in_the_middle(fleet, opens_ms))
        try:
            load = await run_load(request, runner=self._stage.runner, observe=self._observe)
            killed, back_s = await killing
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        note(f"{load.requests:,} requests, {load.orders:,} orders, {load.sold_out:,} sold out")
        return load, killed, back_s

    async def _kill_in_the_middle(
        self, fleet: Fleet, opens_ms: int
    ) -> tuple[WorkerStatus, float | None]:
        shape, clock = self._plan.shape, self._stage.clock
        when_ms = opens_ms + int((shape.step_s + shape.hold_s * KILL_AT) * 1000)
        await clock.sleep(max(0.0, (when_ms - clock.now_ms()) / 1000))
        if self._stage.breaking is not None:
            return await self._stage.breaking(fleet)
        victim = fleet.kill_worker("order")
        self._observe(Warned(f"SIGKILL for {victim.name} (pid {victim.pid}), on purpose"))
        began = time.perf_counter()
        try:
            back = await fleet.restarted(victim)
        except SaleopsError as error:
            self._observe(Warned(error.message))
            return victim, None
        seconds = round(time.perf_counter() - began, 2)
        self._observe(Warned(f"{back.name} is back after {seconds:g} s (pid {back.pid})"))
        return victim, seconds

    async def _drain(self, note: Callable[[str], None]) -> bool:
        """Wait until nothing is on its way any more: queues, deadlines, reservations."""
        task = "waiting for payment and shipping"
        self._observe(Started(task, unit="things on their way"))
        deadline = time.perf_counter() + DRAIN_TIMEOUT_S
        quiet = 0
        while True:
            busy = await self._on_the_way()
            self._observe(Advanced(task, 0, note=f"{busy:,} left"))
            # Twice in a row: between two messages of a chain nothing is seen for an instant.
            quiet = quiet + 1 if not busy else 0
            if quiet == 2:
                note("nothing is on its way any more")
                self._observe(Finished(task))
                return True
            if time.perf_counter() > deadline:
                note(f"{busy:,} still on their way after {DRAIN_TIMEOUT_S:.0f} s")
                self._observe(Finished(task, ok=False))
                return False
            await self._stage.clock.sleep(DRAIN_POLL_S)

    async def _on_the_way(self) -> int:
        broker, busy = self._stage.broker, 0
        for topic, group in (
            (ORDERS, PAYMENT_GROUP),
            (retry_topic(ORDERS), PAYMENT_GROUP),
            (PAID, SHIPPING_GROUP),
            (retry_topic(PAID), SHIPPING_GROUP),
            (DEADLINES, DEADLINE_GROUP),
        ):
            depth = await broker.depth(topic, group)
            busy += depth.busy
            if topic in (DEADLINES, retry_topic(PAID)):
                busy += depth.delayed
        if busy:
            return busy
        return sum([row.reserved + row.in_transit async for row in self._stage.stock.counts()])


def _figures(load: LoadReport) -> Figures:
    return Figures(
        orders=load.orders,
        sold_out=load.sold_out,
        error_rate=load.error_rate,
        checkout_p99_ms=load.checkout_p99_ms,
        target_rps=load.target_rps,
        achieved_rps=load.achieved_rps,
    )


def _cache_figures(before: Mapping[str, float], after: Mapping[str, float]) -> CacheFigures:
    def grown(name: str) -> int:
        return int(after.get(name, 0) - before.get(name, 0))

    return CacheFigures(
        misses=grown("saleops_cache_misses_total"),
        db_queries=grown("saleops_db_queries_total"),
        hits=grown("saleops_cache_hits_total"),
    )
