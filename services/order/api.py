"""The HTTP side of the order service: POST /orders is the checkout; the rest lets a buyer see what became of it.

Reading after writing: with a read replica configured, a buyer who has just ordered or paid is read from the primary (the
answer to the order or payment set a cookie and a ``Saleops-Consistency`` header), and nobody is told "no such order" or
"no orders" by the replica alone.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec

from saleops.config.settings import ServiceSettings
from saleops.domain.orders import Order, order_id_of
from saleops.domain.trace import traceparent_of
from saleops.errors import StoreUnavailable
from saleops.ports.cache import PageCache
from saleops.ports.clock import Clock
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.limits import Door
from saleops.services.order.announcing import Announcer
from saleops.services.order.placing import GroupCommit
from saleops.services.order.soldout import SoldOutBoard
from saleops.services.order.upkeep import Upkeep
from saleops.services.order.wire import Cart, Glance, OrderList, OrderRequest, OrderView, view_of
from saleops.services.order.wish import Placed, Result, Wish
from saleops.services.own_orders import (
    FRESH_MS,
    ORDER_ID_SCHEMA,
    consistency_headers,
    find_own_order,
    unavailable,
)
from saleops.services.web import (
    PRIVATE,
    Refusal,
    Request,
    Response,
    Route,
    encode,
    problem,
)

CART_TTL_MS = 7 * 24 * 3600 * 1000
LIST_LIMIT = 100
KEY_PATTERN = r"^[\x21-\x7e]{1,128}$"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def _refusals() -> dict[Placed, Response]:
    """The answers that are the same for everybody, encoded once: after the sale's first seconds they are most."""
    soon = [("retry-after", "1")]
    return {
        Placed.SOLD_OUT: problem(409, "sold-out", "Sold out"),
        Placed.OVER_LIMIT: problem(409, "over-limit", "More than one buyer may have"),
        Placed.UNKNOWN_SKU: problem(404, "unknown-sku", "Not in this sale"),
        Placed.KEY_REUSED: problem(
            422, "key-reused", "This Idempotency-Key belongs to another order"
        ),
        Placed.EXPIRED: problem(
            409, "reservation-expired", "The reservation has lapsed: order again with a new key"
        ),
        Placed.PAUSED: problem(503, "sale-paused", "The sale is paused", headers=soon),
        Placed.UNAVAILABLE: problem(503, "try-again", "Please try again", headers=soon),
        Placed.BUSY: problem(503, "busy", "Too many orders at once", headers=soon),
    }


class OrderApi:
    """The handlers of the order service and what they share."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        book: BookThread,
        placing: GroupCommit,
        upkeep: Upkeep,
        board: SoldOutBoard,
        carts: PageCache,
        identify: Callable[[Request], Identity],
        clock: Clock,
        replica: BookThread | None,
        door: Door,
        announcer: Announcer,
    ) -> None:
        self.settings = settings
        self.book = book
        self.placing = placing
        self.upkeep = upkeep
        self.board = board
        self.carts = carts
        self.identify = identify
        self.clock = clock
        self.replica = replica
        self.door = door
        self.announcer = announcer
        self.sold_out_at_once = 0
        self._decoder: msgspec.json.Decoder[OrderRequest] = msgspec.json.Decoder(OrderRequest)
        self._glance = msgspec.json.Decoder(Glance).decode
        self._cart_decoder: msgspec.json.Decoder[Cart] = msgspec.json.Decoder(Cart)
        self._refusals = _refusals()
        self._sold_out = self._refusals[Placed.SOLD_OUT]
        self._no_key = problem(
            400,
            "idempotency-key",
            "An Idempotency-Key is needed",
            "Send a header Idempotency-Key with 1 to 128 visible ASCII characters, new for each order and the same "
            "when you repeat one.",
        )

    # -- checkout ------------------------------------------------------------------------------------------

    async def post_order(self, request: Request) -> Response:
        buyer = self.identify(request).buyer
        # Asked first: it is most of a flash sale's traffic, and it costs neither Redis nor the database anything.
        if self.board.entries and self._sold_out_at_once(buyer, request.body):
            return self._sold_out
        key = request.headers.get("idempotency-key")
        if key is None or not _KEY.fullmatch(key):
            return self._no_key
        wish = request.decode(self._decoder)
        if wish.sku[-1] == "\n" or wish.payment_token[-1:] == "\n":
            # "$" in a pattern matches before a last newline too.
            raise Refusal(
                422, "invalid-body", "The body does not fit", "a line ends within a field"
            )
        self.door.admit_buyer(buyer)
        self._check_window()
        result = await self.placing.place(
            Wish(
                order_id_of(self.settings.sale, buyer, key),
                buyer,
                wish.sku,
                wish.units,
                key,
                wish.payment_token,
                traceparent_of(request.headers.get("traceparent")),
            )
        )
        return self._answer(result)

    def _sold_out_at_once(self, buyer: str, body: bytes) -> bool:
        try:
            glance = self._glance(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False  # the full check will say what is wrong with it
        if glance.units > 0 and self.board.refuses(
            buyer, glance.sku, glance.units, time.monotonic()
        ):
            self.sold_out_at_once += 1
            return True
        return False

    def _check_window(self) -> None:
        now_ms = self.clock.now_ms()
        if now_ms < self.settings.opens_ms:
            wait_s = -(-(self.settings.opens_ms - now_ms) // 1000)
            raise Refusal(
                403,
                "not-open",
                "The sale has not opened yet",
                headers=[("retry-after", str(wait_s))],
            )
        if now_ms >= self.settings.closes_ms:
            raise Refusal(403, "closed", "The sale is over")

    def _answer(self, result: Result) -> Response:
        refusal = self._refusals.get(result.placed)
        if refusal is not None:
            return refusal
        order = result.order
        assert order is not None, "an order that was placed has an order"
        headers = [
            ("content-type", "application/json"),
            ("cache-control", "private, no-store"),
            ("location", f"/orders/{order.order_id}"),
            *consistency_headers(order.created_ms, replica=self.replica is not None),
        ]
        if result.placed is Placed.REPLAYED:
            headers.append(("idempotent-replayed", "true"))
        return Response(201, headers, encode(view_of(order)))

    # -- reading one's own ---------------------------------------------------------------------------------

    async def get_order(self, request: Request) -> Response:
        identity = self.identify(request)
        [order_id] = request.path_args
        if self.replica is not None and not self._just_ordered(request):
            try:
                order = await find_own_order(self.replica, order_id, identity)
            except Refusal as refusal:
                if refusal.response.status == 403:
                    raise
                # The replica may not have it yet, or be out of reach: the primary knows.
                order = await find_own_order(self.book, order_id, identity)
        else:
            order = await find_own_order(self.book, order_id, identity)
        return Response(200, PRIVATE, encode(view_of(order)))

    async def list_orders(self, request: Request) -> Response:
        buyer = self.identify(request).buyer
        orders: list[Order] = []
        if self.replica is not None and not self._just_ordered(request):
            orders = await _read(self.replica, _orders_of, self.replica, buyer)
        if not orders:
            # Also when the replica knows none: an empty list shown to somebody who has ordered makes a second order.
            orders = await _read(self.book, _orders_of, self.book, buyer)
        return Response(200, PRIVATE, encode(OrderList([view_of(order) for order in orders])))

    def _just_ordered(self, request: Request) -> bool:
        """Whether the buyer's last order is so young that a replica may not have it yet."""
        token = request.headers.get("saleops-consistency") or ""
        if not token:
            found = re.search(r"saleops_rw=(\d+)", request.headers.get("cookie") or "")
            token = found.group(1) if found else ""
        # A token that makes no sense is answered from the primary: it can only be fresher.
        return bool(token) and (not token.isdigit() or self.clock.now_ms() - int(token) < FRESH_MS)

    # -- the cart ------------------------------------------------------------------------------------------

    async def get_cart(self, request: Request) -> Response:
        buyer = self.identify(request).buyer
        try:
            [body] = await self.carts.get_many([f"cart/{buyer}"])
        except StoreUnavailable:
            return self._refusals[Placed.UNAVAILABLE]
        return Response(200, PRIVATE, body or encode(Cart()))

    async def put_cart(self, request: Request) -> Response:
        buyer = self.identify(request).buyer
        body = encode(request.decode(self._cart_decoder))
        self.door.admit_buyer(buyer)
        try:
            await self.carts.put(f"cart/{buyer}", body, ttl_ms=CART_TTL_MS)
        except StoreUnavailable:
            return self._refusals[Placed.UNAVAILABLE]
        return Response(200, PRIVATE, body)

    # -- metrics -------------------------------------------------------------------------------------------

    def metrics(self) -> str:
        placing = self.placing
        lines = [
            "# HELP saleops_orders_total Wishes to order, by how they ended.",
            "# TYPE saleops_orders_total counter",
        ]
        lines += [
            f'saleops_orders_total{{ended="{ended}"}} {count}'
            for ended, count in placing.counts.items()
        ]
        figures: tuple[tuple[str, str, str, Any], ...] = (
            ("sold_out_at_once_total", "counter", "Answered without I/O.", self.sold_out_at_once),
            ("commits_total", "counter", "Group commits.", placing.commits),
            ("committed_orders_total", "counter", "Orders in them.", placing.committed_orders),
            ("lost_commits_total", "counter", "Messages left to check-back.", placing.lost_commits),
            ("swept_orders_total", "counter", "Expired reservations.", self.upkeep.swept_orders),
            (
                "resent_messages_total",
                "counter",
                "Lost, sent again.",
                self.announcer.messages_resent,
            ),
            ("resent_orders_total", "counter", "Orders in them.", self.announcer.orders_resent),
            ("orders_waiting", "gauge", "Wishes on their way.", placing.waiting),
            ("selling", "gauge", "1 while the sale is not paused.", int(bool(self.upkeep.epoch))),
        )
        for name, kind, text, value in figures:
            lines += [
                f"# HELP saleops_{name} {text}",
                f"# TYPE saleops_{name} {kind}",
                f"saleops_{name} {value}",
            ]
        return "\n".join(lines) + "\n"


async def _read(book: BookThread, call: Callable[..., Any], *args: object) -> Any:
    try:
        return await book.run(call, *args)
    except StoreUnavailable:
        raise unavailable() from None


def _orders_of(book: BookThread, buyer: str) -> list[Order]:
    return book.book.orders_of(buyer, limit=LIST_LIMIT)


def routes(api: OrderApi) -> list[Route]:
    """The operations, for the router and for the OpenAPI document."""
    key = {
        "idempotency-key": (
            True,
            {"type": "string", "pattern": KEY_PATTERN},
            "New for each order, the same when a request is repeated.",
        )
    }
    order_id = {"order_id": ORDER_ID_SCHEMA}
    common = (401, 429, 503)
    return [
        Route(
            "POST",
            "/orders",
            api.post_order,
            "Buy units of one SKU",
            "placeOrder",
            "orders",
            {201: OrderView},
            problems=(400, 403, 404, 409, 413, 422, *common),
            body=OrderRequest,
            authenticated=True,
            header_params=key,
            description="Answers 201 once the order is on disk and its message is sent. The same request with the "
            "same Idempotency-Key is the same order, however often it is sent.",
        ),
        Route(
            "GET",
            "/orders",
            api.list_orders,
            "One's own orders",
            "listOrders",
            "orders",
            {200: OrderList},
            problems=common,
            authenticated=True,
        ),
        Route(
            "GET",
            "/orders/{order_id}",
            api.get_order,
            "One order",
            "getOrder",
            "orders",
            {200: OrderView},
            problems=(403, 404, *common),
            authenticated=True,
            path_params=order_id,
        ),
        Route(
            "GET",
            "/cart",
            api.get_cart,
            "One's own cart",
            "getCart",
            "cart",
            {200: Cart},
            problems=common,
            authenticated=True,
        ),
        Route(
            "PUT",
            "/cart",
            api.put_cart,
            "Replace the cart",
            "putCart",
            "cart",
            {200: Cart},
            problems=(400, 413, 422, *common),
            body=Cart,
            authenticated=True,
            description="Nothing is held for a cart: units are held by an order.",
        ),
    ]
