"""Reads the engines and computes the ledger: the stock store, the orders database, the broker's visible messages.

Nothing is written and nothing is locked. Each table is streamed in pages, so memory is what the ledger keeps of an order (66
bytes) and nothing else grows. The services' own counters are never asked: they are what is being checked.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import msgspec

from saleops.domain.ledger import Ledger
from saleops.domain.ledger_builder import LedgerBuilder
from saleops.domain.messages import (
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    decode_batch,
    retry_topic,
)
from saleops.errors import ConfigError, StoreUnavailable
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.ports.broker import Broker
from saleops.ports.orders import OrderBook
from saleops.ports.stock import StaleEpoch, StockStore

TASK = "reading the engines"
PAGE = 5_000
"""Rows between two signs of progress."""

Row = TypeVar("Row")
_CONSUMERS = tuple(
    (topic, group)
    for plain, group in ((ORDERS, PAYMENT_GROUP), (PAID, SHIPPING_GROUP))
    for topic in (plain, retry_topic(plain))
)


async def reconcile(
    sale: str,
    stock: StockStore,
    book: OrderBook,
    broker: Broker,
    *,
    now_ms: int,
    grace_ms: int = 0,
    observe: Observer = silent,
) -> Ledger:
    """The ledger of ``sale`` as of ``now_ms`` (Unix milliseconds); what is younger than ``grace_ms`` may be half done.

    ``book`` is used by one thread of ours until this returns. Raises ConfigError where the sale is unknown and
    StoreUnavailable when an engine cannot be read.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reconcile") as thread:
        reading = _Reading(thread, observe)
        await _check_known(sale, stock, book, reading)
        await _warn_if_busy(broker, observe)
        builder = LedgerBuilder(
            sale,
            now_ms=now_ms,
            grace_ms=grace_ms,
            commits_once=broker.commits_once,
            accepted=[(one.kind, one.id, one.sku) for one in await reading.call(book.accepted)],
        )
        builder.epochs(*await _epochs(sale, stock, book, reading))

        observe(Started(TASK, unit="rows"))
        await reading.stream("counters", stock.counts(), builder.count)
        await reading.table(
            "guarded stock",
            book.every_stock,
            lambda row: builder.stock(row.sku, row.total, row.sold),
        )
        await reading.table("orders", book.every_order, builder.order)
        builder.seal()
        await reading.stream("reservations", stock.reservations(), builder.reservation)
        await reading.stream("messages", broker.browse(ORDERS), lambda body: _unpack(body, builder))
        await reading.table(
            "charges",
            book.every_charge,
            lambda row: builder.charge(row.order_id, row.amount_fen, row.state, row.charge_id),
        )
        await reading.table(
            "parcels", book.every_parcel, lambda row: builder.parcel(row.order_id, row.parcel_id)
        )
        observe(Finished(TASK, f"{reading.done:,} rows"))
        return await reading.call(builder.ledger)


class _Reading:
    """Takes rows in pages: the database's in its one thread, the stores' on the event loop. ``done`` counts them all."""

    def __init__(self, thread: ThreadPoolExecutor, observe: Observer) -> None:
        self.done = 0
        self._thread = thread
        self._observe = observe

    async def call(self, work: Callable[[], Row]) -> Row:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def table(
        self, name: str, rows: Callable[[], Iterator[Row]], take: Callable[[Row], None]
    ) -> None:
        self._advance(name, 0)
        stream = await self.call(rows)

        def take_page() -> int:
            count = 0
            try:
                for row in islice(stream, PAGE):
                    _take_one(name, row, take)
                    count += 1
            except (TypeError, ValueError, OverflowError) as error:
                raise _damaged(name, f"row {count + 1} after those read so far", error) from error
            return count

        while count := await self.call(take_page):
            self._advance(name, count)

    async def stream(
        self, name: str, rows: AsyncIterator[Row], take: Callable[[Row], None]
    ) -> None:
        self._advance(name, 0)
        count = 0
        async for row in rows:
            _take_one(name, row, take)
            count += 1
            if count == PAGE:
                self._advance(name, count)
                count = 0
        self._advance(name, count)

    def _advance(self, name: str, count: int) -> None:
        self.done += count
        self._observe(Advanced(TASK, self.done, f"{name}, {self.done:,} rows in all"))


def _take_one(name: str, row: Row, take: Callable[[Row], None]) -> None:
    try:
        take(row)
    except (TypeError, ValueError, OverflowError) as error:
        fields = getattr(row, "__struct_fields__", ())
        shown = ", ".join(f"{field}={getattr(row, field)!r}" for field in fields[:8])
        raise _damaged(name, shown[:300] or repr(row), error) from error


def _damaged(name: str, what: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"a row of {name} holds what nothing of ours has written ({error}): {what}; nothing was changed",
        hint="Mend or remove that row by hand: until then no ledger can be told.",
    )


def _unpack(body: bytes, builder: LedgerBuilder) -> None:
    """Each order in a message. One message carries a group commit."""
    try:
        batch = decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        digest = hashlib.blake2b(body, digest_size=8).hexdigest()
        builder.unreadable_message(
            f"a message of {len(body)} bytes is unreadable: {error}", digest=f"unreadable:{digest}"
        )
        return
    for line in batch.orders:
        builder.message(line)


async def _check_known(sale: str, stock: StockStore, book: OrderBook, reading: _Reading) -> None:
    """A sale that neither engine knows is a mistyped name or URL, not a ledger that balances at zero."""
    if await reading.call(lambda: book.sale(sale)) is not None:
        return
    try:
        epoch = (await stock.seed_state()).epoch
    except StaleEpoch:
        epoch = "?"
    where = "the stock store has it" if epoch else "the stock store does not know it either"
    raise ConfigError(
        f"the orders database knows no sale {sale!r} ({where}); nothing was checked",
        hint="Check --database and --state-dir, or run `saleops seed` first.",
    )


async def _epochs(
    sale: str, stock: StockStore, book: OrderBook, reading: _Reading
) -> tuple[str, str]:
    """The seeding that the database and the stock store hold, half ones named so."""
    row = await reading.call(lambda: book.sale(sale))
    database = f"{row.epoch}{'' if row.complete else ' (incomplete)'}" if row else "none"
    try:
        state = await stock.seed_state()
    except StaleEpoch:
        return database, "several epochs"
    if not state.epoch:
        return database, ""
    return database, f"{state.epoch}{'' if state.complete else ' (incomplete)'}"


async def _warn_if_busy(broker: Broker, observe: Observer) -> None:
    """Say so when messages are still on their way: then a break may be an order that is only late."""
    halves = on_their_way = dead = 0
    for topic, group in _CONSUMERS:
        depth = await broker.depth(topic, group)
        halves += depth.halves if topic == ORDERS else 0
        on_their_way += depth.waiting + depth.in_flight
        dead += depth.dead
    if halves or on_their_way:
        observe(
            Warned(
                f"the sale is not quiet: {halves} half messages and {on_their_way} deliveries are open; "
                "breaks may be orders that are still on their way"
            )
        )
    if dead:
        observe(Warned(f"{dead} messages are in the dead letters; their orders were not handled"))
