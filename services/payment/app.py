"""The payment service: the consumer that charges new orders, and HTTP for buyers who pay by hand.

``POST /orders/{order_id}/payments`` is for orders placed without a token, or whose token was declined. It charges at
once, under the same idempotency key as the consumer, so paying twice is paying once; a delayed message sent
beforehand finishes the attempt should this process die in the middle.
"""

import asyncio
import logging
from typing import Annotated

import msgspec

from saleops.domain.messages import ORDERS, PAYMENT_GROUP
from saleops.domain.orders import Order, OrderState
from saleops.domain.trace import in_words, traceparent_of
from saleops.errors import UpstreamError
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock, WallClock
from saleops.ports.payments import PaymentProvider, Refunds
from saleops.services.book import BookThread
from saleops.services.consumer import Consumer
from saleops.services.own_orders import (
    ORDER_ID_SCHEMA,
    STATE_NAMES,
    Identify,
    consistency_headers,
    find_own_order,
    unavailable,
)
from saleops.services.payment.charging import SETTLED, Cashier
from saleops.services.running import Running
from saleops.services.web import PRIVATE, Refusal, Request, Response, Route, Service, encode

log = logging.getLogger("saleops.services.payment")

Token = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9._:-]+$",
        description="What the payment provider gave the buyer's browser.",
        examples=["tok_visa"],
    ),
]


class PaymentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A wish to pay an order."""

    token: Token


class PaymentView(msgspec.Struct, frozen=True, gc=False):
    """How an order's payment stands. ``amount_fen`` is in hundredths of the currency, times in Unix milliseconds."""

    order_id: str
    state: str
    amount_fen: int
    pay_before_ms: int


class PaymentApi:
    """The handlers of the payment service."""

    def __init__(
        self,
        *,
        book: BookThread,
        cashier: Cashier,
        identify: Identify,
        clock: Clock | None = None,
        replica: bool = False,
    ) -> None:
        """``replica`` says that the order service reads orders from one, which hears of a payment later."""
        self._clock = clock or WallClock()
        self._replica = replica
        self._book = book
        self._cashier = cashier
        self._identify = identify
        self._decoder: msgspec.json.Decoder[PaymentRequest] = msgspec.json.Decoder(PaymentRequest)

    async def get_payment(self, request: Request) -> Response:
        identity = self._identify(request)
        return _shown(await find_own_order(self._book, request.path_args[0], identity))

    async def post_payment(self, request: Request) -> Response:
        identity = self._identify(request)
        token = request.decode(self._decoder).token
        trace = traceparent_of(request.headers.get("traceparent"))
        order = await find_own_order(self._book, request.path_args[0], identity)
        if order.state in SETTLED:
            return _shown(order)
        if order.state == OrderState.CANCELLED:
            raise _cancelled()
        if order.state == OrderState.PAYING:
            raise Refusal(
                409,
                "payment-under-way",
                "This order is being paid already",
                "Ask for its state in a moment.",
                headers=[("retry-after", "1")],
            )
        try:
            # Shielded: a buyer who hangs up does not cut a charge in two.
            collected = await asyncio.shield(self._cashier.pay_now(order, token, trace=trace))
        except UpstreamError as error:
            log.warning("paying order %s%s: %s", order.order_id, in_words(trace), error.message)
            raise unavailable("The payment may go through yet; it is taken once at most.") from None
        now = collected.orders.get(order.order_id, order)
        if now.state in SETTLED:
            return self._changed(now)
        if now.order_id in collected.refunded:
            raise _cancelled("The payment came too late and was given back.")
        if now.order_id in collected.stranded:
            raise _cancelled("The payment came too late and will be refunded.")
        if now.state == OrderState.CANCELLED:
            raise _cancelled()
        if now.order_id in collected.declined:
            raise Refusal(402, "declined", "The payment was declined", "Try another one.")
        return self._changed(now, status=202)

    def _changed(self, order: Order, *, status: int = 200) -> Response:
        """``order`` after it was paid: a buyer who reads "unpaid" from a replica that lags would pay again."""
        shown = _shown(order, status=status)
        token = consistency_headers(self._clock.now_ms(), replica=self._replica)
        return Response(shown.status, [*shown.headers, *token], shown.body)


def _cancelled(detail: str = "") -> Refusal:
    return Refusal(409, "order-cancelled", "The order was not paid in time", detail)


def _shown(order: Order, *, status: int = 200) -> Response:
    state = STATE_NAMES[OrderState(order.state)]
    view = PaymentView(order.order_id, state, order.amount_fen, order.due_ms)
    return Response(status, PRIVATE, encode(view))


def routes(api: PaymentApi) -> list[Route]:
    """The operations, for the router and for the OpenAPI document."""
    order_id = {"order_id": ORDER_ID_SCHEMA}
    return [
        Route(
            "POST",
            "/orders/{order_id}/payments",
            api.post_payment,
            "Pay an order",
            "payOrder",
            "payments",
            {200: PaymentView, 202: PaymentView},
            problems=(400, 401, 402, 403, 404, 409, 413, 422, 503),
            body=PaymentRequest,
            authenticated=True,
            path_params=order_id,
            description="For orders placed without a payment token, or whose token was declined. Taken once however "
            "often it is sent. 202: the provider has not decided yet, ask for the state in a moment.",
        ),
        Route(
            "GET",
            "/orders/{order_id}/payments",
            api.get_payment,
            "How an order's payment stands",
            "getPayment",
            "payments",
            {200: PaymentView},
            problems=(401, 403, 404, 503),
            authenticated=True,
            path_params=order_id,
        ),
    ]


def create_app(
    *,
    book: BookThread,
    broker: Broker,
    provider: PaymentProvider,
    identify: Identify,
    clock: Clock | None = None,
    replica: bool = False,
    refunds: Refunds | None = None,
) -> Service:
    """The payment service on these ports. ``replica``: orders are read from a replica elsewhere."""
    clock = clock or WallClock()
    cashier = Cashier(book=book, provider=provider, broker=broker, clock=clock, refunds=refunds)

    async def arrived(tx_ids: list[str]) -> None:
        await book.run(book.book.announced, tx_ids)

    consumer = Consumer(broker, ORDERS, PAYMENT_GROUP, cashier.handle, clock=clock, arrived=arrived)
    running = Running([consumer])
    api = PaymentApi(book=book, cashier=cashier, identify=identify, clock=clock, replica=replica)
    return Service(
        "payment",
        routes(api),
        start=running.start,
        stop=running.stop,
        ready=running.why_not_ready,
        metrics=running.metrics_text,
    )
