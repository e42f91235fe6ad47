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


FRESH_MS = 60_000
"""How long after a buyer changed an order it is read from the primary: four times the worst replica lag we plan for (15 s)."""


def consistency_headers(at_ms: int, *, replica: bool) -> list[tuple[str, str]]:
    """What an answer that changed an order tells the buyer's client to bring along when it reads: the time of the change, as a
    header, and as a cookie where reads may go to a replica at all."""
    headers = [("saleops-consistency", str(at_ms))]
    if replica:
        cookie = f"saleops_rw={at_ms}; Path=/; Max-Age={FRESH_MS // 1000}"
        headers.append(("set-cookie", f"{cookie}; HttpOnly; SameSite=Lax"))
    return headers


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
