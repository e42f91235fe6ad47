"""``saleops loadtest --strategy``: ways to sell one hot SKU, raced against each other on the engines themselves.

``units`` are on sale, ``buyers`` come for one each, more than there is. Every connection serves the next buyer as soon as it has
answered the last, so that requests interleave as the network lets them: no pause, no artificial race. Each strategy has keys or
rows of its own and they are removed at the end, whatever the end was.

What a buyer was told counts: ``sold`` is how many heard "yours". Lost updates hide in the engine's own counter, which ends at
"all sold" and looks right; so both are shown.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from saleops.domain.latency import Histogram
from saleops.errors import ConfigError, SaleopsError, StoreUnavailable
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.ports.strategies import Contender, Sell

STRATEGIES = ("lua", "naive", "sql", "sql-naive", "tairstring")
OURS = ("lua", "sql")
"""What the shop itself stands on: an oversell here is a finding, elsewhere it is the demonstration."""

WHAT = {
    "lua": "one script checks and takes (what saleops does)",
    "naive": "GET, compare, SET from the client",
    "sql": "UPDATE ... WHERE sold < total (our second lock)",
    "sql-naive": "SELECT, compare, UPDATE from the client",
    "tairstring": "EXINCRBY ... MIN 0 (Tair)",
}
NOT_HERE = "not here"
CLEAR_WITHIN_S = 30.0
REPORT_EVERY = 50  # buyers


@dataclass(frozen=True)
class StrategiesPlan:
    """What would be run. Nothing has been touched."""

    schema: ClassVar[str] = "saleops/strategies-plan/v1"

    strategies: tuple[str, ...]
    units: int
    buyers: int
    connections: int
    seed: int
    seconds_max: float  # for each strategy
    engines: dict[str, str] = field(default_factory=dict)  # name -> URL without its password


@dataclass(frozen=True)
class StrategyRow:
    """How one strategy did. ``oversold``: units promised beyond those that were there. ``ended`` is "done" (every
    buyer was answered), "time over" or "not here" (the engine lacks something: ``note``)."""

    strategy: str
    engine: str
    ours: bool
    units: int
    sold: int
    oversold: int
    engine_sold: int | None  # what the engine's counter says; None where nothing ran
    requests: int
    seconds: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    ended: str
    note: str

    @property
    def exact(self) -> bool:
        """Every unit sold once, and the engine agrees."""
        return self.ended == "done" and self.sold == self.units == self.engine_sold


@dataclass(frozen=True)
class StrategiesReport:
    """The rows, in the order in which they ran. ``exact``: each of ours sold exactly what there was."""

    schema: ClassVar[str] = "saleops/strategies/v1"

    exact: bool
    units: int
    buyers: int
    connections: int
    seed: int
    engines: dict[str, str]
    rows: list[StrategyRow]


def chosen_strategies(named: Sequence[str]) -> tuple[str, ...]:
    """``--strategy`` as given, repeated or with commas, "all" for each. Raises ConfigError for a name that is none."""
    names = [name.strip().lower() for text in named for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - {*STRATEGIES, "all"})
    if unknown or not names:
        raise ConfigError(
            f"there is no strategy {', '.join(unknown) or 'in an empty list'}; nothing was sent",
            hint=f"Strategies are {', '.join(STRATEGIES)}, and all.",
        )
    wanted = set(STRATEGIES if "all" in names else names)
    return tuple(name for name in STRATEGIES if name in wanted)


def plan_strategies(
    named: Sequence[str],
    *,
    units: int,
    buyers: int,
    connections: int,
    seed: int,
    seconds_max: float,
    engines: Mapping[str, str],
) -> StrategiesPlan:
    """Check what is asked for. Raises ConfigError; nothing is opened."""
    if buyers <= units:
        raise ConfigError(
            f"{buyers:,} buyers for {units:,} units: nobody would compete; nothing was sent",
            hint=f"Take more --buyers than --units, such as --buyers {units * 10}.",
        )
    if connections < 2:
        raise ConfigError(
            "one connection alone has nobody to race; nothing was sent",
            hint="Take --connections 2 or more.",
        )
    return StrategiesPlan(
        strategies=chosen_strategies(named),
        units=units,
        buyers=buyers,
        connections=min(connections, buyers),
        seed=seed,
        seconds_max=seconds_max,
        engines=dict(engines),
    )


async def apply_strategies(
    plan: StrategiesPlan,
    contenders: Sequence[Contender],
    *,
    observe: Observer = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> StrategiesReport:
    """Run each strategy of ``plan`` to its end, one after the other. Raises StoreUnavailable when an engine fails; the keys are
    removed then too."""
    by_name = {contender.name: contender for contender in contenders}
    rows = [
        await _race(plan, by_name[name], observe=observe, clock=clock) for name in plan.strategies
    ]
    return StrategiesReport(
        exact=all(row.exact for row in rows if row.ours),
        units=plan.units,
        buyers=plan.buyers,
        connections=plan.connections,
        seed=plan.seed,
        engines=plan.engines,
        rows=rows,
    )


class _Tally:
    """What the buyers of one strategy were told."""

    def __init__(self) -> None:
        self.requests = 0
        self.sold = 0
        self.times = Histogram()


async def _race(
    plan: StrategiesPlan, contender: Contender, *, observe: Observer, clock: Callable[[], float]
) -> StrategyRow:
    lacking = await contender.missing()
    if lacking:
        observe(Warned(f"{contender.name} was not run: {lacking}"))
        return _row(plan, contender, _Tally(), None, 0.0, NOT_HERE, lacking)
    observe(Started(contender.name, plan.buyers, "buyers"))
    try:
        await contender.prepare(plan.units)
        tally, seconds, ended = await _sell_all(plan, contender, observe=observe, clock=clock)
        counted = await contender.counted()
    finally:
        await _cleared(contender, observe)
    row = _row(plan, contender, tally, counted, seconds, ended, "")
    observe(Finished(contender.name, row.note, ok=row.exact or not row.ours))
    return row


async def _sell_all(
    plan: StrategiesPlan, contender: Contender, *, observe: Observer, clock: Callable[[], float]
) -> tuple[_Tally, float, str]:
    """Serve every buyer, or until the time is over."""
    tally = _Tally()
    buyers = _arriving(plan.buyers, plan.seed)
    # All connections stand before the doors open: the race is for units, not for sockets.
    ready = asyncio.Barrier(plan.connections + 1)
    opened_at = 0.0

    async def counter() -> None:
        async with contender.connect() as sell:
            await ready.wait()
            await _serve(sell, buyers, tally, contender.name, observe, clock)

    ended = "done"
    try:
        async with asyncio.timeout(plan.seconds_max), asyncio.TaskGroup() as group:
            for number in range(plan.connections):
                group.create_task(counter(), name=f"{contender.name}-{number}")
            await ready.wait()
            opened_at = clock()
    except TimeoutError:
        ended = "time over"
    except ExceptionGroup as failures:
        # Every connection met the same outage; one of them tells it.
        ours = failures.subgroup(SaleopsError)
        if ours is None or len(ours.exceptions) < len(failures.exceptions):
            raise
        raise ours.exceptions[0] from None
    return tally, (clock() - opened_at if opened_at else 0.0), ended


async def _serve(
    sell: Sell,
    buyers: Iterator[str],
    tally: _Tally,
    name: str,
    observe: Observer,
    clock: Callable[[], float],
) -> None:
    for buyer in buyers:
        began = clock()
        sold = await sell(buyer)
        tally.times.record(clock() - began)
        tally.requests += 1
        tally.sold += sold
        if tally.requests % REPORT_EVERY == 0:
            observe(Advanced(name, tally.requests, f"{tally.sold:,} sold"))


def _arriving(count: int, seed: int) -> Iterator[str]:
    """The buyers in the order of their arrival: the same seed, the same order."""
    names = [f"buyer-{number}" for number in range(count)]
    random.Random(seed).shuffle(names)
    return iter(names)


async def _cleared(contender: Contender, observe: Observer) -> None:
    """Remove the keys, also while we are being cancelled. A failure to do so names them."""
    clearing = asyncio.ensure_future(contender.clear())
    cancelled = False
    while not clearing.done():
        try:
            await asyncio.wait({clearing}, timeout=CLEAR_WITHIN_S)
        except asyncio.CancelledError:
            cancelled = True  # a second Ctrl-C: a moment more, the keys are bounded
            continue
        if not clearing.done():
            clearing.cancel()
            break
    try:
        await clearing
    except (StoreUnavailable, asyncio.CancelledError) as error:
        why = error.message if isinstance(error, StoreUnavailable) else "no answer in time"
        observe(
            Warned(f"{contender.where} keeps {contender.keys}: {why}; remove them when it answers")
        )
    if cancelled:
        raise asyncio.CancelledError


def _row(
    plan: StrategiesPlan,
    contender: Contender,
    tally: _Tally,
    counted: int | None,
    seconds: float,
    ended: str,
    note: str,
) -> StrategyRow:
    oversold = max(0, tally.sold - plan.units)
    return StrategyRow(
        strategy=contender.name,
        engine=contender.where,
        ours=contender.name in OURS,
        units=plan.units,
        sold=tally.sold,
        oversold=oversold,
        engine_sold=counted,
        requests=tally.requests,
        seconds=round(seconds, 3),
        requests_per_s=round(tally.requests / seconds, 1) if seconds else 0.0,
        p50_ms=round(tally.times.percentile_ms(0.5), 3),
        p99_ms=round(tally.times.percentile_ms(0.99), 3),
        ended=ended,
        note=note or _happened(plan, tally, counted, oversold, ended),
    )


def _happened(
    plan: StrategiesPlan, tally: _Tally, counted: int | None, oversold: int, ended: str
) -> str:
    if oversold:
        return (
            f"{oversold:,} buyers were promised units that do not exist; "
            f"the engine counts {counted:,} sold"
        )
    if ended == "time over":
        return f"{plan.seconds_max:g} s were over after {tally.requests:,} of {plan.buyers:,} buyers; none oversold"
    if tally.sold == plan.units == counted:
        return f"exact: {plan.buyers - tally.sold:,} buyers heard sold out"
    return f"{plan.units - tally.sold:,} units were not sold; the engine counts {counted:,} sold"
