"""The shipping service: the consumer that dispatches paid orders, and HTTP for buyers who wait for them."""

import msgspec

from saleops.domain.messages import PAID, SHIPPING_GROUP
from saleops.domain.orders import OrderState
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock
from saleops.services.book import BookThread
from saleops.services.consumer import Consumer
from saleops.services.own_orders import ORDER_ID_SCHEMA, STATE_NAMES, Identify, find_own_order
from saleops.services.running import Running
from saleops.services.shipping.dispatch import Dispatcher
from saleops.services.web import PRIVATE, Request, Response, Route, Service, encode


class ParcelView(msgspec.Struct, frozen=True, gc=False):
    """A parcel as its buyer sees it."""

    dispatch_key: str
    sku: str
    units: int


class ParcelList(msgspec.Struct, frozen=True):
    """The parcels of one order: one once it is shipped, none before."""

    order_id: str
    state: str
    parcels: list[ParcelView]


class ShippingApi:
    """The handlers of the shipping service."""

    def __init__(self, *, book: BookThread, identify: Identify) -> None:
        self._book = book
        self._identify = identify

    async def get_parcels(self, request: Request) -> Response:
        identity = self._identify(request)
        order = await find_own_order(self._book, request.path_args[0], identity)
        parcels: list[ParcelView] = []
        if order.state == OrderState.SHIPPED:  # set in the transaction that writes the parcel
            parcels.append(ParcelView(order.order_id, order.sku, order.units))
        state = STATE_NAMES[OrderState(order.state)]
        return Response(200, PRIVATE, encode(ParcelList(order.order_id, state, parcels)))


def routes(api: ShippingApi) -> list[Route]:
    """The operations, for the router and for the OpenAPI document."""
    return [
        Route(
            "GET",
            "/orders/{order_id}/parcels",
            api.get_parcels,
            "An order's parcels",
            "listParcels",
            "parcels",
            {200: ParcelList},
            problems=(401, 403, 404, 503),
            authenticated=True,
            path_params={"order_id": ORDER_ID_SCHEMA},
        )
    ]


def create_app(
    *, book: BookThread, broker: Broker, identify: Identify, clock: Clock | None = None
) -> Service:
    """The shipping service on these ports."""
    dispatcher = Dispatcher(book=book)
    consumer = Consumer(broker, PAID, SHIPPING_GROUP, dispatcher.handle, clock=clock)
    running = Running([consumer])
    return Service(
        "shipping",
        routes(ShippingApi(book=book, identify=identify)),
        start=running.start,
        stop=running.stop,
        ready=running.why_not_ready,
        metrics=running.metrics_text,
    )
