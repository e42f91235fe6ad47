"""Dispatching: one parcel for each paid order, under the order id, however often the order is announced."""

import logging
from collections.abc import Sequence

from saleops.domain.messages import OrderLine
from saleops.domain.orders import OrderState
from saleops.services.book import BookThread
from saleops.services.consumer import DONE, Hopeless, Outcome, Retry

log = logging.getLogger("saleops.services.shipping")


class Dispatcher:
    """``handle`` writes the parcels of paid orders."""

    def __init__(self, *, book: BookThread) -> None:
        self._book = book

    async def handle(self, lines: Sequence[OrderLine]) -> dict[str, Outcome]:
        ids = [line.order_id for line in lines]
        pairs = [(order_id, order_id) for order_id in ids]  # the dispatch key is the order id
        shipped = set(await self._book.run(self._book.book.ship, pairs))
        outcomes: dict[str, Outcome] = dict.fromkeys(shipped, DONE)
        rest = [order_id for order_id in ids if order_id not in shipped]
        if rest:
            orders = await self._book.run(self._book.book.orders, rest)
            for order_id in rest:
                order = orders.get(order_id)
                if order is None:
                    outcomes[order_id] = Hopeless("there is no such order")
                elif order.state in (OrderState.CANCELLED, OrderState.TOMBSTONE):
                    outcomes[order_id] = Hopeless("the order was cancelled, yet announced as paid")
                else:
                    outcomes[order_id] = Retry(f"the order is in state {order.state}, not paid")
        return outcomes
