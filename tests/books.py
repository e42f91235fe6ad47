"""Every row of every engine after a small sale, for tests of the ledger: right as they stand, made to be tampered with."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from saleops.domain.ledger import Ledger
from saleops.domain.ledger_builder import LedgerBuilder
from saleops.domain.messages import OrderLine
from saleops.domain.orders import LIVE_STATES, Order, OrderState, order_id_of
from saleops.domain.stock import Reservation, SkuCount

NOW_MS = 1_800_000_000_000
PRICE_FEN = 1999
UNPAID, PAYING, PAID, SHIPPED = LIVE_STATES
CANCELLED, TOMBSTONE = OrderState.CANCELLED, OrderState.TOMBSTONE


@dataclass
class Books:
    """Every row of every engine, to be tampered with."""

    counts: list[SkuCount] = field(default_factory=list)
    stock: list[tuple[str, int, int]] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    messages: list[OrderLine] = field(default_factory=list)
    charges: list[tuple[str, int, str, str]] = field(default_factory=list)
    parcels: list[tuple[str, str]] = field(default_factory=list)

    def ledger(self, **options: Any) -> Ledger:
        builder = LedgerBuilder("drop", now_ms=NOW_MS, **options)
        for count in self.counts:
            builder.count(count)
        for row in self.stock:
            builder.stock(*row)
        for order in sorted(self.orders, key=lambda order: order.order_id):
            builder.order(order)
        builder.seal()
        for reservation in self.reservations:
            builder.reservation(reservation)
        for line in self.messages:
            builder.message(line)
        for charge in self.charges:
            builder.charge(*charge)
        for parcel in self.parcels:
            builder.parcel(*parcel)
        return builder.ledger()

    def place(self, buyer: str, sku: str, units: int, state: int) -> Order:
        """An order in ``state`` with all that belongs to it."""
        order_id = order_id_of("drop", buyer, "key")
        order = Order(
            order_id, buyer, sku, units, PRICE_FEN, NOW_MS - 5000, NOW_MS + 5000, "key", state=state
        )
        if state == TOMBSTONE:
            order = Order(order_id, "", "", 0, 0, NOW_MS - 5000, 0, "", state=state)
        self.orders.append(order)
        held = "sold" if state in LIVE_STATES else "released"
        self.reservations.append(Reservation(order_id, sku, buyer, units, 0, held))
        if state != TOMBSTONE:
            line = OrderLine(order_id, buyer, sku, units, order.amount_fen, order.created_ms, 0)
            self.messages.append(line)
        if state in (PAID, SHIPPED):
            self.charges.append((order_id, order.amount_fen, "captured", f"charge-{buyer}"))
            self.parcels.append((order_id, f"parcel-{buyer}"))
        return order

    def count_up(self, seeded: dict[str, int]) -> None:
        """Make the counters of the store and the guard agree with the orders."""
        for sku, units in seeded.items():
            live = sum(o.units for o in self.orders if o.sku == sku and o.state in LIVE_STATES)
            held = [r for r in self.reservations if r.sku == sku]
            reserved = sum(r.units for r in held if r.state == "reserved")
            sold = sum(r.units for r in held if r.state == "sold")
            self.counts.append(SkuCount(sku, units, units - reserved - sold, reserved, sold))
            self.stock.append((sku, units, live))


def sale() -> Books:
    """Two SKUs and an order in each state."""
    books = Books()
    for n, state in enumerate((UNPAID, PAYING, PAID, SHIPPED, CANCELLED, TOMBSTONE)):
        books.place(f"buyer-{n}", "sku-a", n + 1, state)
    books.place("buyer-b", "sku-b", 1, SHIPPED)
    books.reservations.append(Reservation("f" * 32, "sku-b", "carl", 2, NOW_MS + 1, "reserved"))
    books.count_up({"sku-a": 20, "sku-b": 5})
    return books


def order_of(books: Books, state: int) -> Order:
    return next(order for order in books.orders if order.state == state)


def change(rows: list[Any], row: Any, **changes: Any) -> None:
    rows[rows.index(row)] = msgspec.structs.replace(row, **changes)
