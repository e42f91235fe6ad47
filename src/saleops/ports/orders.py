"""The orders database: durable orders, guarded stock, payments' and parcels' books.

Methods block (a driver's call runs in one worker thread per process, which owns the one connection). Writes are
transactions; each may be sent twice. Raises StoreUnavailable when the database cannot be reached; where a
commit's outcome is unknown that is UnknownOutcome, and ``tx_state`` tells what happened.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from saleops.domain.items import Item
from saleops.domain.orders import Order, TxState
from saleops.errors import StoreUnavailable
from saleops.ports.stock import Mark

REBUILDING = -1
"""Among the marks: no partition, but how far the rebuild has come that is under way. ``begin_rebuild`` writes it, its owner
counts it up, the marks of the rebuilt store replace it."""


class UnknownOutcome(StoreUnavailable):
    """The connection broke during COMMIT: the transaction is in or it is not; ask ``tx_state``."""


class BatchOutcome(msgspec.Struct, frozen=True):
    """What became of a group commit.

    All or nothing: ``committed`` is True and every order is durable, or nothing was written and the two lists
    say which orders stand in the way (the others may be sent again under a new tx_id). ``stale``: nothing was
    written because the database is on another epoch than the caller.
    """

    committed: bool
    existing: dict[
        str, Order
    ]  # order ids that are there already: a replay's first answer, or a tombstone
    refused_skus: frozenset[
        str
    ]  # SKUs whose guarded UPDATE matched no row: not enough units, or not seeded
    stale: bool = False


class SaleRow(msgspec.Struct, frozen=True):
    """The sale as the database knows it. ``complete`` turns True when the last item is in."""

    name: str
    epoch: str
    version: str
    items_count: int
    units_count: int
    complete: bool


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what by hand: a repair, a replay, a rebuild. ``text`` is JSON of the command's own making."""

    entry_id: str
    at_ms: int
    who: str
    command: str
    text: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A break that somebody looked at and accepted as it is. ``kind``, ``id`` and ``sku`` are the break's."""

    kind: str
    id: str
    sku: str
    who: str
    why: str
    at_ms: int


class StockRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A SKU's second lock: ``sold`` can never pass ``total``."""

    sku: str
    total: int
    sold: int
    shards: int


class Charge(msgspec.Struct, frozen=True, gc=False, array_like=True):
    charge_id: str
    order_id: str
    amount_fen: int
    state: str  # "captured" | "refunded"


class Parcel(msgspec.Struct, frozen=True, gc=False, array_like=True):
    parcel_id: str
    order_id: str


class Review(msgspec.Struct, frozen=True, gc=False):
    sku: str
    buyer: str
    stars: int
    text: str
    created_ms: int


class OrderBook(Protocol):
    """One connection to the orders database. Not thread-safe: one thread owns it."""

    def migrate(self) -> None:
        """Create what is missing, and bring the tables of an earlier version up. Runs twice safely, and by several at once."""
        ...

    def close(self) -> None: ...

    def ping(self) -> None:
        """Raises StoreUnavailable unless a trivial query answers."""
        ...

    # -- the sale ---------------------------------------------------------------------------------------------
    def sale(self, name: str) -> SaleRow | None:
        """The sale's row; None when it was never begun."""
        ...

    def begin_sale(self, row: SaleRow) -> None:
        """Write the sale's row, incomplete. Raises Refused if another version is there."""
        ...

    def add_items(self, items: Sequence[tuple[Item, int]]) -> int:
        """Add products with their stock rows; each comes with its number of shards. Rows that exist stay as they are.

        Returns how many stock rows were new.
        """
        ...

    def finish_sale(self, name: str, *, epoch: str = "") -> None:
        """Mark the sale complete: its last item is in. With ``epoch`` only while the sale is on that epoch."""
        ...

    def clear_sale(self, name: str) -> None:
        """Forget the sale with its items, orders, charges and parcels."""
        ...

    # -- the stock store's marks, and its rebuilding ----------------------------------------------------------
    def marks(self) -> tuple[str, dict[int, Mark]]:
        """The sale's epoch, and partition -> the furthest mark any process has kept under it ("" and {}: none)."""
        ...

    def keep_marks(self, epoch: str, marks: Mapping[int, Mark], *, over: bool = False) -> None:
        """Keep these marks where they are further than those kept of the same server, or the kept ones are of another
        epoch. With ``over`` they replace what was kept: the store was verified or rebuilt and is believed from here on.
        Ignored unless the sale is on ``epoch``."""
        ...

    def begin_rebuild(self, name: str, *, old_epoch: str, new_epoch: str) -> bool:
        """Put the sale on ``new_epoch``, incomplete, if it is on ``old_epoch`` now: from here on no group commit under
        another epoch succeeds, and those that did can be seen. False: somebody else was first. The marks hold ``REBUILDING``
        from here on; ``finish_sale`` and ``keep_marks`` with ``over`` end the rebuild."""
        ...

    # -- what people did --------------------------------------------------------------------------------------
    def write_journal(self, entry: JournalEntry) -> None:
        """Append an entry; the same ``entry_id`` again changes nothing."""
        ...

    def journal(self, *, limit: int) -> list[JournalEntry]:
        """The newest entries, newest first."""
        ...

    def accept(self, rows: Sequence[Accepted]) -> None:
        """Remember these breaks as accepted; what is there already stays."""
        ...

    def unaccept(self, keys: Sequence[tuple[str, str, str]]) -> None:
        """Forget the acceptance of (kind, id, sku)."""
        ...

    def accepted(self) -> list[Accepted]:
        """All accepted breaks, in the order of kind, id, SKU."""
        ...

    def hot_skus(self) -> dict[str, int]:
        """SKU -> shards, for those with more than one."""
        ...

    # -- the group commit -------------------------------------------------------------------------------------
    def place(self, tx_id: str, orders: Sequence[Order], *, epoch: str = "") -> BatchOutcome:
        """Insert ``orders``, take their units under the guard, write (tx_id, COMMITTED): one transaction.

        With ``epoch`` it commits only while the sale's row holds that epoch and is complete: what commits after
        ``begin_rebuild`` would be missed by the rebuild."""
        ...

    def tx_state(self, tx_id: str, *, fence: bool = False) -> TxState | None:
        """What became of ``tx_id``. With ``fence`` an unknown one is closed for ever: then the answer is ABORTED."""
        ...

    def announced(self, tx_ids: Sequence[str]) -> None:
        """Their messages arrived at a consumer: COMMITTED -> ANNOUNCED. Unknown ones are ignored."""
        ...

    def unannounced(self, *, before_ms: int, limit: int) -> list[str]:
        """tx_ids committed before ``before_ms`` whose message nobody has seen, oldest first."""
        ...

    def newest_announced_ms(self) -> int:
        """When the youngest of those was committed whose messages have arrived; 0 when there is none."""
        ...

    def announce_again(self, tx_id: str, *, before_ms: int) -> bool:
        """Take it on to send the message of ``tx_id`` again: it counts as committed now. False: its message has arrived, or
        somebody else took it on after ``before_ms``."""
        ...

    def orders_of_tx(self, tx_id: str) -> list[Order]:
        """The orders that were committed under ``tx_id``, in id order."""
        ...

    def fence(self, order_ids: Sequence[str], *, now_ms: int) -> dict[str, Order]:
        """Put a tombstone under each id. Returns the ids that hold a real order already (their reservation is to be
        confirmed); all others are closed now and their units may go back on sale."""
        ...

    # -- reading ----------------------------------------------------------------------------------------------
    def orders(self, order_ids: Sequence[str]) -> dict[str, Order]:
        """Those of ``order_ids`` that exist, tombstones too."""
        ...

    def orders_of(self, buyer: str, *, limit: int) -> list[Order]:
        """The buyer's orders, newest first; no tombstones."""
        ...

    # -- payment, cancelling, shipping ------------------------------------------------------------------------
    def begin_payment(self, order_ids: Sequence[str]) -> dict[str, Order]:
        """UNPAID -> PAYING where still unpaid; returns every one of these orders as it stands afterwards."""
        ...

    def end_payment(self, paid: Sequence[str], declined: Sequence[str]) -> None:
        """PAYING -> PAID for ``paid``, PAYING -> UNPAID for ``declined``."""
        ...

    def cancel_unpaid(self, order_ids: Sequence[str], *, now_ms: int) -> list[Order]:
        """UNPAID and past due -> CANCELLED, giving their units back to the guarded stock, in one transaction.

        Returns all of ``order_ids`` that are CANCELLED afterwards (also those of an earlier call).
        """
        ...

    def charge(self, charges: Sequence[tuple[str, str, int]]) -> list[Charge]:
        """The bundled payment provider's book: (idempotency_key, order_id, amount_fen); a known key returns the
        first charge. One transaction."""
        ...

    def ship(self, orders: Sequence[tuple[str, str]]) -> list[str]:
        """(dispatch_key, order_id): write a parcel for each paid order once and mark it SHIPPED. Returns the ids of the
        orders that have a parcel afterwards."""
        ...

    # -- catalog ----------------------------------------------------------------------------------------------
    def product(self, sku: str) -> Item | None:
        """One product; None when it is not in the sale."""
        ...

    def products(self, *, after: str = "", limit: int = 1000) -> list[Item]:
        """Products in SKU order, after ``after``: keyset pages for streaming."""
        ...

    def related(self, sku: str, *, limit: int) -> list[Item]:
        """The most popular others of the same category."""
        ...

    def reviews(self, sku: str, *, limit: int) -> list[Review]:
        """Reviews of one product, newest first."""
        ...

    def add_review(self, review: Review) -> None:
        """One review a buyer and SKU; a second one replaces the first."""
        ...

    # -- the ledger, streamed in key order --------------------------------------------------------------------
    def every_stock(self) -> Iterator[StockRow]:
        """Every row of the guarded stock."""
        ...

    def every_order(self) -> Iterator[Order]:
        """Every order, cancelled ones and tombstones too."""
        ...

    def every_charge(self) -> Iterator[Charge]:
        """Every charge, refunded ones too."""
        ...

    def every_parcel(self) -> Iterator[Parcel]:
        """Every parcel."""
        ...
