"""The orders database: durable orders, guarded stock, payments' and parcels' books.

Methods block (a driver's call runs in one worker thread per process, which owns the one connection). Writes are
transactions; each may be sent twice. Raises StoreUnavailable when the database cannot be reached; where a
commit's outcome is unknown that is UnknownOutcome, and ``tx_state`` tells what happened.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from saleops.domain.items import Item
from saleops.domain.orders import Order, TxState
from saleops.errors import StoreUnavailable


class UnknownOutcome(StoreUnavailable):
    """The connection broke during COMMIT: the transaction is in or it is not; ask ``tx_state``."""


class BatchOutcome(msgspec.Struct, frozen=True):
    """What became of a group commit.

    All or nothing: ``committed`` is True and every order is durable, or nothing was written and the two lists
    say which orders stand in the way (the others may be sent again under a new tx_id).
    """

    committed: bool
    existing: dict[
        str, Order
    ]  # order ids that are there already: a replay's first answer, or a tombstone
    refused_skus: frozenset[
        str
    ]  # SKUs whose guarded UPDATE matched no row: not enough units, or not seeded


class SaleRow(msgspec.Struct, frozen=True):
    """The sale as the database knows it. ``complete`` turns True when the last item is in."""

    name: str
    epoch: str
    version: str
    items_count: int
    units_count: int
    complete: bool


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
        """Create what is missing. Runs twice safely."""
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

    def finish_sale(self, name: str) -> None:
        """Mark the sale complete: its last item is in."""
        ...

    def clear_sale(self, name: str) -> None:
        """Forget the sale with its items, orders, charges and parcels."""
        ...

    def hot_skus(self) -> dict[str, int]:
        """SKU -> shards, for those with more than one."""
        ...

    # -- the group commit -------------------------------------------------------------------------------------
    def place(self, tx_id: str, orders: Sequence[Order]) -> BatchOutcome:
        """Insert ``orders``, take their units under the guard, write (tx_id, COMMITTED): one transaction."""
        ...

    def tx_state(self, tx_id: str, *, fence: bool = False) -> TxState | None:
        """What became of ``tx_id``. With ``fence`` an unknown one is closed for ever: then the answer is ABORTED."""
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
