"""Orders: their identity, their states, and what is written about them.

An order buys ``units`` of one SKU for one buyer. Its id is made from the buyer and the idempotency key that
the buyer's client chose, so the same request sent twice is the same order everywhere: in Redis, as a primary key, in
messages, at the payment provider and on the parcel.
"""

from enum import IntEnum
from hashlib import blake2b

import msgspec


class OrderState(IntEnum):
    """The life of an order. Arrows: UNPAID -> PAYING -> PAID -> SHIPPED; PAYING -> UNPAID (declined);
    UNPAID -> CANCELLED. TOMBSTONE is no order: it fences an id whose reservation expired first."""

    UNPAID = 0
    PAYING = 1
    PAID = 2
    SHIPPED = 3
    CANCELLED = 8
    TOMBSTONE = 9


LIVE_STATES = (OrderState.UNPAID, OrderState.PAYING, OrderState.PAID, OrderState.SHIPPED)
"""The states in which an order holds units."""


class Order(msgspec.Struct, frozen=True, gc=False):
    """A durable order. Times are Unix milliseconds; ``due_ms`` is when an unpaid order is cancelled."""

    order_id: str
    buyer: str
    sku: str
    units: int
    price_fen: int
    created_ms: int
    due_ms: int
    idempotency_key: str
    payment_token: str = ""
    state: int = OrderState.UNPAID
    tx_id: str = ""

    @property
    def amount_fen(self) -> int:
        return self.price_fen * self.units


def order_id_of(sale: str, buyer: str, idempotency_key: str) -> str:
    """The id of the order that ``buyer`` asks for under ``idempotency_key``: 32 hex digits (128 bits).

    Deterministic, so a replay meets its first self even where Redis forgot it; 128 bits of a cryptographic hash,
    so two buyers' orders never meet.
    """
    text = f"{sale}\0{buyer}\0{idempotency_key}".encode()
    return blake2b(text, digest_size=16).hexdigest()


class TxState(IntEnum):
    """The outcome of one group commit, kept under its tx_id for the broker's check-back."""

    COMMITTED = 1
    ABORTED = 2  # fenced: nobody may commit under this tx_id any more
    ANNOUNCED = 3  # committed, and a consumer has had its message
