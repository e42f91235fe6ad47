"""Puts a sale's items on sale: counters into the stock store, products and the second lock into the database.

Two passes over the items. The first validates all of them and fixes the version (a hash of their content) and the hot
SKUs; only when every row is good is anything touched. The second streams: rows are cut into chunks, one thread
writes a chunk to the database while the stock store takes the one before it, so memory stays the same for
forty items and for a million.

Seeding is idempotent and resumable: a row that is there keeps its counters, the sale opens only when the last row is in
both stores, and the same command after a crash goes on under the same epoch. A live sale is never clobbered: another
version is refused unless its epoch is given as ``replace``.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from saleops.domain.items import Item
from saleops.domain.stock import PARTITIONS, partition_of, shards_for, split_units
from saleops.errors import Refused
from saleops.events import Advanced, Finished, Observer, Started, silent
from saleops.ports.orders import OrderBook, SaleRow
from saleops.ports.stock import SeedRow, SeedState, StaleEpoch, StockStore

if TYPE_CHECKING:
    import asyncio  # a dry run has no use for it, and it would be a tenth of that command's time

CHUNK = 2_000
"""Items in one write to the database."""

SEND_ROWS = 500
"""Rows of one partition sent to the stock store at once."""

SENDS_MAX = 8
"""Calls to the stock store under way at once: enough to keep it busy while Python cuts the next chunk."""


class Summary(Protocol):
    """What the first pass over the items finds."""

    @property
    def items_count(self) -> int: ...
    @property
    def units_count(self) -> int: ...
    @property
    def total_popularity(self) -> float: ...
    @property
    def version(self) -> str: ...


class ItemsSource(Protocol):
    """The items of a sale; ``summary`` and ``stream`` each read them once and raise ConfigError for bad rows."""

    def summary(self) -> Summary: ...

    def stream(self) -> Iterator[Item]: ...


class Clearable(Protocol):
    """A broker or a cache: what holds something of a sale beside its counters and orders."""

    async def clear(self) -> None: ...


@dataclass(frozen=True)
class SeedPlan:
    """What seeding would do. ``action`` is "seed", "resume", "replace" or "nothing"."""

    schema: ClassVar[str] = "saleops/seed-plan/v1"

    sale: str
    action: str
    epoch: str
    version: str
    items_count: int
    units_count: int
    total_popularity: float
    replaces_epoch: str = ""


@dataclass(frozen=True)
class SeedReport:
    """What seeding did. ``new_counters`` and ``new_rows`` are 0 when everything was there already."""

    schema: ClassVar[str] = "saleops/seed/v1"

    sale: str
    changed: bool
    epoch: str
    version: str
    items_count: int
    units_count: int
    hot_skus: dict[str, int] = field(default_factory=dict)
    new_counters: int = 0
    new_rows: int = 0
    seconds: float = 0.0
    skus_per_s: float = 0.0


def plan_from(
    sale: str,
    summary: Summary,
    *,
    row: SaleRow | None,
    state: SeedState,
    orders_exist: Callable[[], bool],
    replace: str = "",
    new_epoch: Callable[[], str] = lambda: os.urandom(8).hex(),
) -> SeedPlan:
    """Decide, from what both stores hold. Raises Refused when a live sale stands in the way."""

    def plan(action: str, epoch: str, replaces: str = "") -> SeedPlan:
        return SeedPlan(
            sale,
            action,
            epoch,
            summary.version,
            summary.items_count,
            summary.units_count,
            summary.total_popularity,
            replaces,
        )

    live = row.epoch if row is not None else state.epoch
    if replace and not live:
        raise Refused(
            f"sale {sale} is not on sale here: there is no epoch {replace} to drop; nothing was changed",
            hint="Put it on sale without --replace; an epoch that another command named belongs to another sale.",
        )
    # The same --replace again, after it was cut off: what it was to drop has gone, so it goes on like any other.
    dropped = (
        row is not None
        and not row.complete
        and row.version == summary.version
        and state.epoch in ("", row.epoch)
    )
    begun = row is None and not state.complete and state.version == summary.version
    if replace and (replace in (live, state.epoch) or not dropped):
        if replace not in (live, state.epoch) and not begun:
            raise Refused(
                f"--replace {replace} is not the epoch of what is there ({live or 'nothing'}); nothing was changed",
                hint="Look again at what is live: `saleops seed SALE --dry-run`.",
            )
        return plan("replace", new_epoch(), live)
    if row is None and not state.epoch:
        return plan("seed", new_epoch())
    known = [version for version in (row.version if row else "", state.version) if version]
    if any(version != summary.version for version in known):
        raise Refused(
            f"sale {sale} is live with other items (epoch {live}); nothing was changed",
            hint=f"To drop its counters and orders and start anew: `saleops seed SALE --replace {live}`.",
        )
    if row is None or (state.epoch and state.epoch != row.epoch):
        raise Refused(
            f"the stock store holds epoch {state.epoch}, the database {row.epoch if row else 'no sale'}; "
            "nothing was changed",
            hint=f"If nothing of it matters any more: `saleops seed SALE --replace {live}`.",
        )
    if row.complete and state.complete:
        return plan("nothing", row.epoch)
    if not state.complete and orders_exist():
        raise Refused(
            f"the stock store has lost the counters of sale {sale}, which has orders already; nothing was changed",
            hint="Full counters now would oversell. See what is broken with `saleops reconcile SALE`.",
        )
    return plan("resume", row.epoch)


async def plan_seed(
    sale: str, items: ItemsSource, *, book: OrderBook, stock: StockStore, replace: str = ""
) -> SeedPlan:
    """What ``apply_seed`` would do. Reads every item once and both stores; changes nothing."""
    summary = items.summary()
    row = book.sale(sale)
    try:
        state = await stock.seed_state()
    except StaleEpoch:
        if not replace:
            raise
        # Restored in part: no epoch of the store's own is left to name, the database's still is. Where that is gone,
        # too, any word will do: something is there, and has to make room.
        state = SeedState("" if row else replace, "", complete=False)
    return plan_from(
        sale,
        summary,
        row=row,
        state=state,
        orders_exist=lambda: next(book.every_order(), None) is not None,
        replace=replace,
    )


async def apply_seed(
    plan: SeedPlan,
    items: ItemsSource,
    *,
    book: OrderBook,
    stock: StockStore,
    forget: Sequence[Clearable] = (),
    observe: Observer = silent,
) -> SeedReport:
    """Do it. Stopped at any point, the same command goes on where it stopped.

    A replaced sale takes with it what ``forget`` holds of it: its messages and its pages.
    """
    if plan.action == "nothing":
        observe(Finished("seed", f"{plan.items_count:,} SKUs are on sale already"))
        return SeedReport(
            plan.sale, False, plan.epoch, plan.version, plan.items_count, plan.units_count
        )
    started_s = time.perf_counter()
    if plan.action == "replace":
        # The database last: as long as it names the old epoch, a command cut off here can be given again.
        for holder in forget:
            await holder.clear()
        await stock.clear()
        await stock.begin_seed(
            plan.epoch, plan.version
        )  # so that it never looks as if nothing was ever there
        book.clear_sale(plan.sale)
    row = SaleRow(
        plan.sale, plan.epoch, plan.version, plan.items_count, plan.units_count, complete=False
    )
    book.begin_sale(row)
    there = book.sale(plan.sale)
    if there is None or there.epoch != plan.epoch:
        raise Refused(
            f"another command began to seed sale {plan.sale} at the same moment; this one changed nothing",
            hint="Wait until it is done; then the same command says that nothing is left to do.",
        )
    await stock.begin_seed(plan.epoch, plan.version)
    observe(Started("seed", plan.items_count, "SKUs"))
    stream = _SeedStream(plan, book=book, stock=stock, observe=observe)
    await stream.run(items.stream())
    await stock.finish_seed(plan.epoch, stream.hot)
    book.finish_sale(plan.sale)
    seconds = time.perf_counter() - started_s
    rate = plan.items_count / max(seconds, 1e-9)
    observe(Finished("seed", f"{plan.items_count:,} SKUs in {seconds:.1f} s"))
    return SeedReport(
        plan.sale,
        True,
        plan.epoch,
        plan.version,
        plan.items_count,
        plan.units_count,
        stream.hot,
        stream.new_counters,
        stream.new_rows,
        round(seconds, 3),
        round(rate, 1),
    )


class _SeedStream:
    """The second pass: chunks to the database thread, rows by partition to the stock store, both bounded."""

    def __init__(
        self, plan: SeedPlan, *, book: OrderBook, stock: StockStore, observe: Observer
    ) -> None:
        self._plan = plan
        self._book = book
        self._stock = stock
        self._observe = observe
        self._rows: list[list[SeedRow]] = [[] for _ in range(PARTITIONS)]
        self._sends: set[asyncio.Task[int]] = set()
        self.hot: dict[str, int] = {}
        self.new_counters = 0
        self.new_rows = 0

    async def run(self, items: Iterator[Item]) -> None:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        loop = asyncio.get_running_loop()
        done = 0
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="seed-database") as database:
            writing: asyncio.Future[int] | None = None
            try:
                while chunk := self._cut(items):
                    if writing is not None:
                        self.new_rows += await writing
                    writing = loop.run_in_executor(database, self._book.add_items, chunk)
                    await self._send_full(SEND_ROWS)
                    done += len(chunk)
                    self._observe(Advanced("seed", done))
                if writing is not None:
                    self.new_rows += await writing
                await self._send_full(1)
                await self._settle(0)
            finally:
                for task in self._sends:
                    task.cancel()
                await asyncio.gather(*self._sends, return_exceptions=True)

    def _cut(self, items: Iterator[Item]) -> list[tuple[Item, int]]:
        """The next chunk, each item with its shards; its counters go to the partitions' rows."""
        chunk: list[tuple[Item, int]] = []
        total = self._plan.total_popularity
        rows = self._rows
        for item in items:
            shards = shards_for(item.stock, item.popularity, total)
            chunk.append((item, shards))
            if shards == 1:
                rows[partition_of(item.sku)].append(
                    SeedRow(item.sku, item.stock, item.price_fen, item.limit_per_buyer)
                )
            else:
                self.hot[item.sku] = shards
                for shard, units in enumerate(split_units(item.stock, shards)):
                    rows[partition_of(item.sku, shard)].append(
                        SeedRow(item.sku, units, item.price_fen, item.limit_per_buyer)
                    )
            if len(chunk) == CHUNK:
                break
        return chunk

    async def _send_full(self, least: int) -> None:
        """Send every partition that has ``least`` rows or more."""
        import asyncio

        for partition, rows in enumerate(self._rows):
            while len(rows) >= least:
                part, self._rows[partition] = rows[:SEND_ROWS], rows[SEND_ROWS:]
                rows = self._rows[partition]
                await self._settle(SENDS_MAX - 1)
                self._sends.add(
                    asyncio.create_task(self._stock.seed(self._plan.epoch, partition, part))
                )
                await asyncio.sleep(0)  # lets it leave now, so that the store works while we cut

    async def _settle(self, most: int) -> None:
        """Wait until at most ``most`` calls are under way. Raises what a call raised."""
        import asyncio

        while len(self._sends) > most:
            done, self._sends = await asyncio.wait(self._sends, return_when=asyncio.FIRST_COMPLETED)
            # All of them are heard: of eight calls that fail together one is raised, and none is left unread.
            for answer in await asyncio.gather(*done, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer
                self.new_counters += answer
