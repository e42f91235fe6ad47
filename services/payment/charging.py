"""Charging orders: at most once each, whatever crashes, repeats or races.

    claim      UNPAID -> PAYING in the orders table. From here on the deadline cannot cancel the order.
    charge     the provider takes price x units of the orders table (never of a message) under the order id
    settle     PAYING -> PAID, or back to UNPAID when the token was declined
    announce   PAID orders to shipping, those still UNPAID to the deadline keeper

Only then is the message acknowledged, so a crash anywhere repeats all four, and each may be repeated: the claim finds
PAYING, the provider answers as it did before, the books keep what they hold, shipping and deadlines are idempotent.

Two attempts with different tokens may meet at one order (a buyer pays by hand while an old message comes again). One
may then be declined and free the order while the other captures; so after a capture the order is read
back and, if it was freed, claimed and settled again. Money captured for an order that was cancelled in that gap
is given back at once. Where that fails, or the process dies before it, the charge is a "stray-charge" of the ledger,
which `saleops reconcile --repair` refunds; the message of one that was refused ends in the dead letters.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import stamina

from saleops.domain.messages import (
    ORDERS,
    PAID,
    OrderBatch,
    OrderLine,
    encode_batch,
    line_of,
    retry_topic,
)
from saleops.domain.orders import Order, OrderState
from saleops.domain.trace import in_words
from saleops.errors import UpstreamError
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock
from saleops.ports.payments import (
    ChargeRequest,
    ChargeVerdict,
    PaymentProvider,
    RefundRequest,
    Refunds,
)
from saleops.services.book import BookThread
from saleops.services.consumer import DONE, Hopeless, Outcome, Retry
from saleops.services.order.deadlines import publish_deadlines

log = logging.getLogger("saleops.services.payment")

SETTLED = (OrderState.PAID, OrderState.SHIPPED)
ORDERS_A_MESSAGE = 512
SETTLE_ROUNDS = 3
RESUME_AFTER_MS = 30_000
"""When an attempt made over HTTP is looked at again in case its process died; longer than an attempt can take."""


class Collected(msgspec.Struct):
    """What came of an attempt: the orders as they stand now, and why those that are not settled are not."""

    orders: dict[str, Order]
    busy: dict[str, str]  # order id -> the provider's reason; still PAYING
    declined: dict[str, str]  # order id -> the provider's reason
    refunded: frozenset[str]  # captured, but the order was cancelled: the money went back
    stranded: dict[str, str]  # captured, cancelled, and the money did not go back: why


class _ProviderBusy(Exception):
    """Some keys got no definite answer yet."""


class Cashier:
    """Charges orders and announces what came of it. ``handle`` is the consumer's, ``pay_now`` the buyer's."""

    def __init__(
        self,
        *,
        book: BookThread,
        provider: PaymentProvider,
        broker: Broker,
        clock: Clock,
        refunds: Refunds | None = None,
        provider_timeout_s: float = 5.0,
        provider_attempts: int = 3,
        provider_wait_s: float = 0.1,
    ) -> None:
        self._book = book
        self._provider = provider
        self._refunds = refunds
        self._broker = broker
        self._clock = clock
        self._timeout_s = provider_timeout_s
        self._attempts = provider_attempts
        self._wait_s = provider_wait_s

    async def handle(self, lines: Sequence[OrderLine]) -> dict[str, Outcome]:
        """Charge what these orders' tokens will pay, announce the rest."""
        tokens = {line.order_id: line.payment_token for line in lines if line.payment_token}
        collected = await self._collect(tokens)
        orders = collected.orders
        without = [line.order_id for line in lines if not line.payment_token]
        if without:
            orders = orders | await self._book.run(self._book.book.orders, without)
        traces = {line.order_id: line.trace for line in lines if line.trace}
        await self._announce(orders.values(), ignore=collected.busy, traces=traces)
        outcomes: dict[str, Outcome] = {}
        for line in lines:
            order_id = line.order_id
            if order_id in collected.busy:
                outcomes[order_id] = Retry(collected.busy[order_id])
            elif order_id in collected.stranded:
                outcomes[order_id] = Hopeless(
                    f"captured, but the order was cancelled, and not refunded: {collected.stranded[order_id]}"
                )
            else:
                outcomes[order_id] = DONE
                if order_id not in orders:
                    log.warning(
                        "order %s%s was announced but is not in the book",
                        order_id,
                        in_words(line.trace),
                    )
        return outcomes

    async def pay_now(self, order: Order, token: str, *, trace: str = "") -> Collected:
        """Charge one order for its waiting buyer, whose request belongs to ``trace`` (a traceparent, or empty).

        A delayed message goes out first: if this process dies on the way, the payment consumer finishes the attempt
        with the same key and token (and finds nothing to do otherwise).
        """
        line = line_of(order, trace, token=token)
        await self._broker.publish(
            retry_topic(ORDERS),
            encode_batch(OrderBatch(f"pay:{order.order_id}", [line])),
            deliver_at_ms=self._clock.now_ms() + RESUME_AFTER_MS,
        )
        collected = await self._collect({order.order_id: token})
        await self._announce(
            collected.orders.values(), ignore=collected.busy, traces={order.order_id: trace}
        )
        return collected

    # -- claim, charge, settle --------------------------------------------------------------------------------
    async def _collect(self, tokens: Mapping[str, str]) -> Collected:
        if not tokens:
            return Collected({}, {}, {}, frozenset(), {})
        book = self._book
        ids = list(tokens)
        orders = await book.run(book.book.begin_payment, ids)
        requests = [
            ChargeRequest(order.order_id, order.order_id, order.amount_fen, tokens[order.order_id])
            for order in orders.values()
            if order.state == OrderState.PAYING
        ]
        if not requests:
            return Collected(orders, {}, {}, frozenset(), {})
        captured, declined, busy = await self._charge(requests)
        cancelled: list[RefundRequest] = []
        if captured or declined:
            await book.run(book.book.end_payment, list(captured), list(declined))
            orders = orders | await book.run(book.book.orders, [*captured, *declined])
            late = await self._hold_captured(list(captured), orders, busy)
            amounts = {request.order_id: request.amount_fen for request in requests}
            cancelled = [RefundRequest(captured[key], key, amounts[key]) for key in late]
        stranded = await self._give_back(cancelled) if cancelled else {}
        refunded = frozenset(request.order_id for request in cancelled) - stranded.keys()
        return Collected(orders, busy, declined, refunded, stranded)

    async def _give_back(self, requests: Sequence[RefundRequest]) -> dict[str, str]:
        """Refund what was captured for cancelled orders. Returns those that were not, with the reason."""
        failed = dict.fromkeys(
            (request.order_id for request in requests), "this provider cannot refund"
        )
        if self._refunds is not None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    results = await self._refunds.refund(requests)
            except (UpstreamError, TimeoutError) as error:
                failed = dict.fromkeys(failed, str(error) or "the provider did not answer")
            else:
                failed = {
                    request.order_id: result.reason or result.outcome
                    for request, result in zip(requests, results, strict=True)
                    if result.outcome not in ("refunded", "already")
                }
        for request in requests:
            if why := failed.get(request.order_id):
                log.critical(
                    "order %s was charged but is cancelled, and charge %s was not refunded (%s): "
                    "run `saleops reconcile --repair`",
                    request.order_id,
                    request.charge_id,
                    why,
                )
            else:
                log.warning(
                    "order %s was cancelled while it was charged: charge %s was refunded",
                    request.order_id,
                    request.charge_id,
                )
        return failed

    async def _hold_captured(
        self, captured: Sequence[str], orders: dict[str, Order], busy: dict[str, str]
    ) -> list[str]:
        """See that what was captured is PAID. Updates ``orders`` and ``busy``; returns the ids that cannot be."""
        book = self._book
        for _ in range(SETTLE_ROUNDS):
            freed = [
                key
                for key in captured
                if key in orders and orders[key].state in (OrderState.UNPAID, OrderState.PAYING)
            ]
            if not freed:
                break
            log.warning("%d orders were freed while they were charged; claiming again", len(freed))
            await book.run(book.book.begin_payment, freed)
            await book.run(book.book.end_payment, freed, [])
            orders.update(await book.run(book.book.orders, freed))
        else:
            busy.update((key, "captured, but another attempt keeps freeing it") for key in freed)
        return [
            key
            for key in captured
            if key not in busy and (key not in orders or orders[key].state not in SETTLED)
        ]

    async def _charge(
        self, requests: Sequence[ChargeRequest]
    ) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """Ask the provider, again where it was busy: captured with their charge ids, declined and busy with reasons."""
        captured: dict[str, str] = {}
        declined: dict[str, str] = {}
        pending = {request.idempotency_key: request for request in requests}
        busy: dict[str, str] = {}

        async def ask() -> None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    results = await self._provider.charge(list(pending.values()))
            except TimeoutError:
                raise UpstreamError(
                    f"the payment provider did not answer within {self._timeout_s:g} s; "
                    f"{len(pending)} charges are open and will be asked for again"
                ) from None
            busy.clear()
            for result in results:
                key = result.idempotency_key
                if result.verdict is ChargeVerdict.BUSY:
                    busy[key] = result.reason
                elif pending.pop(key, None) is not None:
                    if result.verdict is ChargeVerdict.CAPTURED:
                        captured[key] = result.charge_id
                    else:
                        declined[key] = result.reason
            if pending:
                raise _ProviderBusy

        # Not UpstreamError: a provider that is down as a whole is the consumer's to wait for.
        try:
            async for attempt in stamina.retry_context(
                on=_ProviderBusy,
                attempts=self._attempts,
                timeout=None,
                wait_initial=self._wait_s,
                wait_max=1.0,
                wait_jitter=self._wait_s,
            ):
                with attempt:
                    await ask()
        except _ProviderBusy:
            log.info("the payment provider has no answer yet for %d orders", len(pending))
        return captured, declined, {key: busy.get(key) or "no answer" for key in pending}

    # -- announce ---------------------------------------------------------------------------------------------
    async def _announce(
        self, orders: Iterable[Order], *, ignore: Mapping[str, str], traces: Mapping[str, str]
    ) -> None:
        """Tell shipping what is paid and the deadline keeper what is not. ``ignore`` is still being paid; ``traces`` is
        order id -> traceparent."""
        paid: list[OrderLine] = []
        unpaid: list[Order] = []
        for order in orders:
            if order.state == OrderState.PAID:
                paid.append(line_of(order, traces.get(order.order_id, "")))
            elif order.order_id not in ignore and order.state in (
                OrderState.UNPAID,
                OrderState.PAYING,
            ):
                unpaid.append(order)
        for start in range(0, len(paid), ORDERS_A_MESSAGE):
            part = paid[start : start + ORDERS_A_MESSAGE]
            body = encode_batch(OrderBatch(f"paid:{part[0].order_id}", part))
            await self._broker.publish(PAID, body)
        now_ms = self._clock.now_ms()
        await publish_deadlines(self._broker, unpaid, now_ms=now_ms, traces=traces)
