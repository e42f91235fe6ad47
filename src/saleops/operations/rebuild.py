"""Puts the stock store right after it may have lost something: verified where that is enough, rebuilt from the orders
database where it is not.

The orders database is what counts. It is moved to a new epoch first (``begin_rebuild``, a compare and set): from then on
no group commit succeeds, all that did can be read, and whoever else wanted to repair the store knows that somebody does.
The store's counters are then held under the same epoch and compared with the database. If both say the same, the server is
believed and the counters open again, reservations that wait for their order included. If not, the counters are made
anew: seeded from products and stock, every live order held as sold, every cancelled one as released; what was reserved and
not ordered is free again (its buyers' requests, repeated, reserve anew).

Who does it counts its progress up in the database. When that stands still (the process died), anybody may begin again
under yet another epoch: what the first one still sends is refused, because it carries an epoch that is over.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import ClassVar, Protocol, TypeVar

from saleops.domain.orders import LIVE_STATES, Order, OrderState
from saleops.domain.stock import PARTITIONS, partition_of, split_units
from saleops.errors import Refused, StoreUnavailable
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.ports.orders import REBUILDING, JournalEntry, OrderBook, StockRow
from saleops.ports.stock import Mark, Restored, SeedRow, StaleEpoch, StockStore

T = TypeVar("T")

PAGE = 5_000  # rows read, and orders restored, at once
BEAT_S = 1.0  # progress is written down this often
_ABSENT = object()


class Books(Protocol):
    """The orders database, asked from a coroutine."""

    book: OrderBook

    async def run(self, call: Callable[..., T], *args: object) -> T: ...


class OwnThread:
    """An OrderBook's calls in a thread of their own, for commands."""

    def __init__(self, book: OrderBook, pool: ThreadPoolExecutor) -> None:
        self.book = book
        self._pool = pool

    async def run(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)


@contextmanager
def own_thread(book: OrderBook) -> Iterator[OwnThread]:
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="rebuild") as pool:
        yield OwnThread(book, pool)


@dataclass(frozen=True)
class Differences:
    """How the stock store and the orders database disagree: kind -> how many, and an example of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return ", ".join(
            f"{count:,} {kind} ({self.examples[kind]})" for kind, count in self.counts.items()
        )


@dataclass(frozen=True)
class RebuildPlan:
    """What a rebuild would put back. ``store`` says what the stock store holds now."""

    schema: ClassVar[str] = "saleops/rebuild-plan/v1"

    sale: str
    epoch: str
    store: str
    skus_count: int
    live_orders_count: int
    released_orders_count: int
    units_sold: int


@dataclass(frozen=True)
class RebuildReport:
    """What was done: ``action`` is "verified" or "rebuilt"."""

    schema: ClassVar[str] = "saleops/rebuild/v1"

    sale: str
    action: str
    reason: str
    old_epoch: str
    epoch: str
    skus_count: int = 0
    orders_count: int = 0
    differences: Differences = field(default_factory=Differences)
    seconds: float = 0.0


async def plan_rebuild(sale: str, *, books: Books, stock: StockStore) -> RebuildPlan:
    """What ``rebuild`` would put back now. Changes nothing. Raises Refused for a sale that was never begun."""
    row = await books.run(books.book.sale, sale)
    if row is None:
        raise _not_seeded(sale)
    try:
        state = await stock.seed_state()
        store = f"epoch {state.epoch}" + ("" if state.complete else ", not whole")
        store = store if state.epoch else "empty"
    except StaleEpoch as error:
        store = error.message
    live = released = units = skus = 0
    async for orders in _pages(books, books.book.every_order):
        for order in orders:
            if order.state in LIVE_STATES:
                live, units = live + 1, units + order.units
            elif order.state == OrderState.CANCELLED:
                released += 1
    async for rows in _pages(books, books.book.every_stock):
        skus += len(rows)
    return RebuildPlan(sale, row.epoch, store, skus, live, released, units)


async def rebuild(
    sale: str,
    *,
    books: Books,
    stock: StockStore,
    reason: str,
    who: str,
    old_epoch: str = "",
    verify: bool = True,
    observe: Observer = silent,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    new_epoch: Callable[[], str] = lambda: os.urandom(8).hex(),
) -> RebuildReport | None:
    """Verify the stock store, or rebuild it. None: somebody else was first and is at it.

    ``old_epoch`` is the epoch at which the caller saw the trouble (default: the one now). Without ``verify`` it is
    rebuilt whatever it holds. Raises Refused when another one took over meanwhile, StoreUnavailable when an engine is out
    of reach; in both cases the sale stays paused and the same call may be made again.
    """
    began_s = time.perf_counter()
    row = await books.run(books.book.sale, sale)
    if row is None:
        raise _not_seeded(sale)
    first_epoch = old_epoch or row.epoch
    work = _Rebuild(sale, first_epoch, new_epoch(), row.version, books, stock, observe)
    if not await work.begin():
        return None
    # Warned first: from here on the sale is paused until the end.
    observe(Warned(f"sale {sale} is paused: {reason}", {"epoch": work.epoch}))
    differences = (
        await work.verify()
        if verify
        else Differences({"not looked at": 1}, {"not looked at": "asked for"})
    )
    if differences:
        observe(Warned(f"the stock store is rebuilt: {differences}"))
        if verify:
            # Held, it showed its writes under this epoch. Made anew it begins again from none: under the same epoch,
            # whoever looked in between would take that for an older copy, and rebuild it once more.
            await work.go_on_under(new_epoch())
        await work.remake()
    await work.end()
    report = RebuildReport(
        sale,
        "rebuilt" if differences else "verified",
        reason,
        first_epoch,
        work.epoch,
        work.skus,
        work.orders,
        differences,
        round(time.perf_counter() - began_s, 3),
    )
    entry = JournalEntry(
        entry_id=f"rebuild-{work.epoch}",
        at_ms=now_ms(),
        who=who,
        command="rebuild",
        text=json.dumps(asdict(report)),
    )
    await books.run(books.book.write_journal, entry)
    note = f"{report.action}: {report.skus_count:,} SKUs, {report.orders_count:,} orders in {report.seconds:.1f} s"
    observe(Finished("rebuild", note))
    return report


class _Rebuild:
    """One repair of the store, under one new epoch."""

    def __init__(
        self,
        sale: str,
        old_epoch: str,
        epoch: str,
        version: str,
        books: Books,
        stock: StockStore,
        observe: Observer,
    ) -> None:
        self.sale = sale
        self.old_epoch = old_epoch
        self.epoch = epoch
        self.skus = 0
        self.orders = 0
        self._version = version
        self._books = books
        self._book = books.book
        self._stock = stock
        self._observe = observe
        self._beats = 0
        self._beat_s = 0.0
        self._hot: dict[str, int] = {}

    async def begin(self) -> bool:
        return await self._books.run(
            partial(
                self._book.begin_rebuild,
                self.sale,
                old_epoch=self.old_epoch,
                new_epoch=self.epoch,
            )
        )

    async def go_on_under(self, epoch: str) -> None:
        """Take the next epoch. Raises Refused when another one took over meanwhile."""
        self.old_epoch, self.epoch = self.epoch, epoch
        if not await self.begin():
            raise self._taken_over()

    def _taken_over(self) -> Refused:
        return Refused(
            f"another one took over the rebuild of {self.sale}; this one changed nothing more",
            hint="Wait until the sale goes on; `/readyz` of an order worker says why it is paused.",
        )

    async def _beat(self, *, now: bool = False) -> None:
        """Say that we are alive, and hear whether this is still ours to do. Raises Refused when it is not."""
        if not now and time.monotonic() < self._beat_s + BEAT_S:
            return
        self._beats += 1
        mark = {REBUILDING: Mark(self._beats, "rebuild")}
        await self._books.run(self._book.keep_marks, self.epoch, mark)
        row = await self._books.run(self._book.sale, self.sale)
        if row is None or row.epoch != self.epoch:
            raise self._taken_over()
        self._beat_s = time.monotonic()

    # -- verifying --------------------------------------------------------------------------------------------
    async def verify(self) -> Differences:
        """Hold the counters under the new epoch and compare. What is left held is opened by ``end``, or remade."""
        found = _Found()
        if not await self._stock.hold(self.old_epoch, new_epoch=self.epoch):
            found.add("stores that do not hold the whole sale", self.old_epoch)
            return found.differences()
        self._observe(Started("verify", None, "orders"))
        expected: dict[str, int] = {}  # order id -> what of it the store must show
        async for orders in _pages(self._books, self._book.every_order):
            for order in orders:
                expected[order.order_id] = _expectation(order)
            self.orders = len(expected)
            self._observe(Advanced("verify", self.orders))
            await self._beat()
        reserved: Counter[str] = Counter()
        sold: Counter[str] = Counter()
        async for held in self._stock.reservations():
            what = expected.pop(held.order_id, _ABSENT)
            if held.state == "reserved":
                reserved[held.sku] += held.units
                fine = what in (_ABSENT, _TOMBSTONE, _print_of(held.sku, held.buyer, held.units))
            elif held.state == "sold":
                sold[held.sku] += held.units
                fine = what == _print_of(held.sku, held.buyer, held.units)
            else:
                fine = what in (_ABSENT, _TOMBSTONE, _CANCELLED)
            if not fine:
                found.add(f"orders {held.state} against the database", held.order_id)
            await self._beat()
        for order_id, what in expected.items():
            if what == _CANCELLED:
                # Its confirm may still be on its way, and would take its units again.
                found.add("cancelled orders that the store has forgotten", order_id)
            elif what != _TOMBSTONE:
                found.add("orders whose units are not held", order_id)
        await self._compare_counters(reserved, sold, found)
        return found.differences()

    async def _compare_counters(
        self, reserved: Counter[str], sold: Counter[str], found: "_Found"
    ) -> None:
        totals: dict[str, int] = {}
        async for rows in _pages(self._books, self._book.every_stock):
            for row in rows:
                totals[row.sku] = row.total
                if row.shards > 1:
                    self._hot[row.sku] = row.shards
        self.skus = len(totals)
        async for count in self._stock.counts():
            whole = count.left + count.reserved + count.sold + count.in_transit
            right = (
                totals.pop(count.sku, None) == count.seeded == whole
                and reserved[count.sku] == count.reserved
                and sold[count.sku] == count.sold
            )
            if not right:
                found.add("SKUs whose counters do not add up", count.sku)
        for sku in totals:
            found.add("SKUs that are not on sale", sku)

    # -- making anew ------------------------------------------------------------------------------------------
    async def remake(self) -> None:
        """Every counter anew, from the database. Safe to be cut off anywhere: the next one begins with ``clear``."""
        await self._beat(now=True)
        await self._stock.clear()
        await self._beat(now=True)
        try:
            await self._stock.begin_seed(self.epoch, self._version)
        except Refused as error:  # somebody seeds it at this moment; whoever comes next looks again
            raise StoreUnavailable(
                f"the stock store cannot be rebuilt now: {error.message}"
            ) from error
        self.skus = self.orders = 0
        self._observe(Started("rebuild", None, "rows"))
        await self._seed()
        async for orders in _pages(self._books, self._book.every_order):
            await self._stock.restore(self.epoch, _restored(orders), hot=self._hot)
            self.orders += sum(order.state in LIVE_STATES for order in orders)
            self._observe(Advanced("rebuild", self.skus + self.orders))
            await self._beat()

    async def _seed(self) -> None:
        """Products and stock rows, page by page; both come in SKU order."""
        after = ""
        rows = _pages(self._books, self._book.every_stock)
        waiting: list[StockRow] = []
        while True:
            page = await self._books.run(partial(self._book.products, after=after, limit=PAGE))
            if not page:
                break
            by_partition: list[list[SeedRow]] = [[] for _ in range(PARTITIONS)]
            stocked: dict[str, StockRow] = {row.sku: row for row in waiting}
            while len(stocked) < len(page):
                more = await anext(rows, None)
                if more is None:
                    break
                stocked.update((row.sku, row) for row in more)
            for item in page:
                row = stocked.pop(item.sku, None)
                if row is None:
                    raise StoreUnavailable(
                        f"product {item.sku} has no row of stock in the orders database; the store was not rebuilt",
                        hint="Run `saleops reconcile`: the ledger does not balance.",
                    )
                if row.shards > 1:
                    self._hot[row.sku] = row.shards
                for shard, units in enumerate(split_units(row.total, row.shards)):
                    by_partition[partition_of(row.sku, shard)].append(
                        SeedRow(row.sku, units, item.price_fen, item.limit_per_buyer)
                    )
            waiting = list(stocked.values())
            sends = [
                self._stock.seed(self.epoch, partition, part)
                for partition, part in enumerate(by_partition)
                if part
            ]
            await asyncio.gather(*sends)
            self.skus += len(page)
            after = page[-1].sku
            self._observe(Advanced("rebuild", self.skus))
            await self._beat()

    async def end(self) -> None:
        """Open the counters, then the sale, then believe the server; a crash in between is begun anew."""
        await self._beat(now=True)
        await self._stock.finish_seed(self.epoch, self._hot)
        state = await self._stock.seed_state()
        if not state.complete or state.epoch != self.epoch:
            raise StoreUnavailable(f"the stock store was changed while {self.sale} was rebuilt")
        await self._books.run(partial(self._book.finish_sale, self.sale, epoch=self.epoch))
        marks = dict(enumerate(state.marks))
        await self._books.run(partial(self._book.keep_marks, self.epoch, marks, over=True))


# -- what is compared -------------------------------------------------------------------------------------------------

_TOMBSTONE, _CANCELLED = 0, 1


def _expectation(order: Order) -> int:
    if order.state == OrderState.TOMBSTONE:
        return _TOMBSTONE
    if order.state == OrderState.CANCELLED:
        return _CANCELLED
    return _print_of(order.sku, order.buyer, order.units)


def _print_of(sku: str, buyer: str, units: int) -> int:
    """A number for what an order holds; never one of the two above."""
    return hash((sku, buyer, units)) | 2


class _Found:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        self._examples.setdefault(kind, example)

    def differences(self) -> Differences:
        return Differences(dict(self._counts), self._examples)


def _restored(orders: Sequence[Order]) -> list[Restored]:
    """Tombstones have nothing to put back: a late order meets them in the database."""
    return [
        Restored(
            order.order_id,
            order.sku,
            order.buyer,
            order.units,
            "sold" if order.state in LIVE_STATES else "released",
        )
        for order in orders
        if order.state != OrderState.TOMBSTONE
    ]


async def _pages(books: Books, read: Callable[[], Iterator[T]]) -> AsyncIterator[list[T]]:
    """The rows of a stream of the database, a page at a time, read where ``books`` reads."""
    rows = await books.run(read)
    while page := await books.run(_next_page, rows):
        yield page


def _next_page(rows: Iterator[T]) -> list[T]:
    return list(islice(rows, PAGE))


def _not_seeded(sale: str) -> Refused:
    return Refused(
        f"sale {sale} is not in the orders database; nothing was changed",
        hint=f"Run `saleops seed {sale}` first.",
    )
