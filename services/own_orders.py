"""A buyer's own order, or the right refusal: 404 where there is none, 403 without detail where it is another's."""

import re
from collections.abc import Callable

from saleops.domain.orders import Order, OrderState
from saleops.errors import UpstreamError
from saleops.ports.tokens import Identity
from saleops.services.auth import own_order
from saleops.services.book import BookThread
from saleops.services.web import Refusal, Request

Identify = Callable[[Request], Identity]

ORDER_ID_SCHEMA = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_ORDER_ID = re.compile(r"[0-9a-f]{32}")

STATE_NAMES = {
    OrderState.UNPAID: "unpaid",
    OrderState.PAYING: "paying",
    OrderState.PAID: "paid",
    OrderState.SHIPPED: "shipped",
    OrderState.CANCELLED: "cancelled",
}


async def find_own_order(book: BookThread, order_id: str, identity: Identity) -> Order:
    """The order ``order_id`` if it is the buyer's. Raises a Refusal: 403, 404, or 503 when the book is out of reach."""
    order: Order | None = None
    if _ORDER_ID.fullmatch(order_id):
        try:
            order = (await book.run(book.book.orders, [order_id])).get(order_id)
        except UpstreamError:
            raise unavailable() from None
    if order is None or order.state == OrderState.TOMBSTONE:
        raise Refusal(404, "no-such-order", "There is no such order")
    return own_order(identity, order)


def unavailable(detail: str = "") -> Refusal:
    """Something we stand on is out of reach; nothing is lost and the request may be sent again."""
    return Refusal(503, "try-again", "Please try again", detail, headers=[("retry-after", "1")])
