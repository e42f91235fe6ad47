"""A wish to order on its way through the group commit: what the buyer asks for, and how it ends."""

import asyncio
from collections.abc import Iterable
from enum import Enum

import msgspec

from saleops.domain.orders import Order
from saleops.domain.stock import Claim


class Placed(Enum):
    """How a wish to order ends."""

    CREATED = "created"
    REPLAYED = "replayed"  # the same request came before: its order is the answer
    SOLD_OUT = "sold-out"
    OVER_LIMIT = "over-limit"
    UNKNOWN_SKU = "unknown-sku"
    KEY_REUSED = "key-reused"  # the idempotency key belongs to another order
    EXPIRED = "expired"  # the reservation under this key has lapsed: a new key is needed
    PAUSED = "paused"  # the stock store or the database is not on our epoch
    UNAVAILABLE = "unavailable"  # an engine failed; the same request may be sent again
    BUSY = "busy"  # too many are waiting


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What a buyer asks for, checked and identified."""

    order_id: str
    buyer: str
    sku: str
    units: int
    idempotency_key: str
    payment_token: str
    trace: str = ""  # the W3C traceparent of the request, checked

    @property
    def claim(self) -> Claim:
        return Claim(self.order_id, self.sku, self.buyer, self.units)


class Result(msgspec.Struct, frozen=True, gc=False):
    placed: Placed
    order: Order | None = None


class Waiting:
    """A wish and the future its answer goes to."""

    __slots__ = ("_on_way", "future", "looked_up", "order", "wish")

    def __init__(
        self, wish: Wish, future: "asyncio.Future[Result]", on_way: "dict[str, Waiting]"
    ) -> None:
        self.wish = wish
        self.future = future
        self._on_way = on_way
        on_way[wish.order_id] = self
        self.order: Order | None = None  # set once its units are held
        self.looked_up = False  # the database has been asked for an order under this id

    @property
    def held(self) -> Order:
        """The order its units are held for."""
        assert self.order is not None, "only orders with held units go beyond the reservation"
        return self.order

    def end(self, placed: Placed, order: Order | None = None) -> None:
        """The answer. A buyer who hung up has cancelled the future; the order goes its way all the same."""
        if self._on_way.pop(self.wish.order_id, None) is not None and not self.future.done():
            self.future.set_result(Result(placed, order))


def end_all(members: Iterable[Waiting], placed: Placed) -> None:
    for waiting in members:
        waiting.end(placed)
