"""What travels on the broker: topics, consumer groups and message bodies (JSON, encoded by msgspec).

One half message carries one group commit, so a body lists many orders. Consumers unpack it and treat each order by
itself: one that fails is sent on alone under ``<topic>-retry`` and ends alone in that group's dead letters.
"""

import msgspec

ORDERS = "orders"  # an order is durable: payment's input. Half messages only.
PAID = "paid"  # an order is paid: shipping's input
DEADLINES = "deadlines"  # delayed: an order's time to pay is over

PAYMENT_GROUP = "payment"
SHIPPING_GROUP = "shipping"
DEADLINE_GROUP = "deadline"


def retry_topic(topic: str) -> str:
    """Where a group sends the single orders of ``topic`` that it could not handle."""
    return f"{topic}-retry"


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


class OrderBatch(msgspec.Struct, frozen=True, gc=False):
    """The body of every message: the orders of one group commit, or a part of them."""

    tx_id: str
    orders: list[OrderLine]
    v: int = 1


encode_batch = msgspec.json.Encoder().encode
decode_batch = msgspec.json.Decoder(OrderBatch).decode
