"""What travels on the broker: topics, consumer groups and message bodies (JSON, encoded by msgspec).

One half message carries one group commit, so a body lists many orders. Consumers unpack it and treat each order by
itself: one that fails is sent on alone under ``<topic>-retry`` and ends alone in that group's dead letters.
"""

from collections.abc import Iterable, Mapping

import msgspec

from saleops.domain.orders import Order

ORDERS = "orders"  # an order is durable: payment's input. Half messages only.
PAID = "paid"  # an order is paid: shipping's input
DEADLINES = "deadlines"  # delayed: an order's time to pay is over

PAYMENT_GROUP = "payment"
SHIPPING_GROUP = "shipping"
DEADLINE_GROUP = "deadline"

READERS = ((ORDERS, PAYMENT_GROUP), (PAID, SHIPPING_GROUP), (DEADLINES, DEADLINE_GROUP))
"""Each topic and the one group that reads it, and its retry topic too."""


NO_TRACES: Mapping[str, str] = {}


def retry_topic(topic: str) -> str:
    """Where a group sends the single orders of ``topic`` that it could not handle."""
    return f"{topic}-retry"


def replay_topic(topic: str) -> str:
    """Where a dead letter of ``topic`` is sent again. Never a plain topic: the ledger reads its log as one message an
    order, and other groups have had theirs."""
    return topic if topic.endswith(retry_topic("")) else retry_topic(topic)


class OrderLine(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One order in a message. Amounts in fen, times in Unix milliseconds."""

    order_id: str
    buyer: str
    sku: str
    units: int
    amount_fen: int
    created_ms: int
    due_ms: int
    payment_token: str = ""
    trace: str = (
        ""  # the W3C traceparent of the buyer's request; last, so that older bodies still decode
    )


class OrderBatch(msgspec.Struct, frozen=True, gc=False):
    """The body of every message: the orders of one group commit, or a part of them."""

    tx_id: str
    orders: list[OrderLine]
    v: int = 1


def line_of(order: Order, trace: str = "", *, token: str = "") -> OrderLine:
    """``order`` as it travels: the amount of the orders table; from payment on without its token."""
    return OrderLine(
        order.order_id,
        order.buyer,
        order.sku,
        order.units,
        order.amount_fen,
        order.created_ms,
        order.due_ms,
        token,
        trace,
    )


def announcement(
    tx_id: str, orders: Iterable[Order], traces: Mapping[str, str] = NO_TRACES
) -> OrderBatch:
    """What tells payment of the ``orders`` that were committed under ``tx_id``: the body of their message. ``traces`` is
    order id -> traceparent, where there is one."""
    lines = [
        line_of(order, traces.get(order.order_id, ""), token=order.payment_token)
        for order in orders
    ]
    return OrderBatch(tx_id, lines)


encode_batch = msgspec.json.Encoder().encode
decode_batch = msgspec.json.Decoder(OrderBatch).decode
