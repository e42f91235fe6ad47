"""What the order service takes and gives: the types behind its JSON and its OpenAPI document."""

from typing import Annotated

import msgspec

from saleops.domain.items import SKU_MAX_LENGTH
from saleops.domain.orders import Order, OrderState
from saleops.services.own_orders import STATE_NAMES

Sku = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=SKU_MAX_LENGTH,
        pattern=r"^[A-Za-z0-9._:/-]+$",
        description="What to buy.",
        examples=["1082185"],
    ),
]
Units = Annotated[
    int, msgspec.Meta(ge=1, le=1000, description="How many units, whole.", examples=[1])
]
PaymentToken = Annotated[
    str,
    msgspec.Meta(
        max_length=128,
        pattern=r"^[A-Za-z0-9._:-]*$",
        description="What the payment provider gave the buyer's browser. Empty: pay later.",
        examples=["tok_visa"],
    ),
]


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A wish to buy."""

    sku: Sku
    units: Units = 1
    payment_token: PaymentToken = ""


class Glance(msgspec.Struct, frozen=True, gc=False):
    """As much of an order request as the sold-out board needs, unchecked: a refusal needs no more."""

    sku: str
    units: int = 1


class OrderView(msgspec.Struct, frozen=True, gc=False):
    """An order as its buyer sees it. Amounts are in hundredths of the currency, times in Unix milliseconds."""

    order_id: str
    sku: str
    units: int
    price_fen: int
    amount_fen: int
    state: str
    created_ms: int
    pay_before_ms: int


class OrderList(msgspec.Struct, frozen=True):
    """The buyer's orders, newest first."""

    orders: list[OrderView]


class CartLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sku: Sku
    units: Units = 1


class Cart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a buyer means to order. Nothing is held for it."""

    lines: Annotated[list[CartLine], msgspec.Meta(max_length=100)] = []


def view_of(order: Order) -> OrderView:
    return OrderView(
        order.order_id,
        order.sku,
        order.units,
        order.price_fen,
        order.price_fen * order.units,
        STATE_NAMES[OrderState(order.state)],
        order.created_ms,
        order.due_ms,
    )
