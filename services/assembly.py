"""A service from its settings: which ports each one opens, and in which order they close again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from saleops import wiring
from saleops.config.settings import ServiceSettings
from saleops.errors import ConfigError
from saleops.ports.clock import WallClock
from saleops.ports.payments import PaymentProvider
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread, own_book
from saleops.services.web import Request, Service

if TYPE_CHECKING:
    from saleops.adapters.faults import Faults


async def build(name: str, settings: ServiceSettings, stack: AsyncExitStack) -> Service:
    """The service ``name`` on opened ports. ``stack`` closes them, after the service has stopped.

    Raises ConfigError for a name or a setting that is none, StoreUnavailable when an engine cannot be reached.
    """
    if name == "gateway":
        from saleops.services.gateway.app import create_app as create_gateway
        from saleops.services.openapi import openapi_json
        from saleops.services.problems import PROBLEMS

        gateway = create_gateway(settings, openapi=openapi_json, problems=PROBLEMS)
        stack.push_async_callback(gateway.close)
        return gateway
    if name not in ("catalog", "order", "payment", "shipping"):
        raise ConfigError(
            f"there is no service {name!r}; nothing was started",
            hint="Services are catalog, order, payment, shipping and gateway.",
        )
    identify = _identify(settings)
    faults = wiring.faults(name, settings) if settings.faults else None
    book = await _book(settings.database_url, stack)
    if name == "catalog":
        from saleops.services.catalog.app import create_app as create_catalog

        cache = await stack.enter_async_context(
            wiring.open_page_cache(settings.redis_url, sale=settings.sale)
        )
        return create_catalog(book, cache, settings, authenticate=identify)
    broker = await stack.enter_async_context(
        wiring.open_broker(
            settings.broker_url, sale=settings.sale, check_after_ms=settings.check_after_ms
        )
    )
    charging = book  # the provider's own book: what strikes it strikes its charge as a whole
    if faults is not None:
        book, broker = faults.book(book), faults.broker(broker)
    if name == "order":
        from saleops.services.order.app import create_app as create_order

        stock = await stack.enter_async_context(
            wiring.open_stock_store(settings.redis_url, sale=settings.sale)
        )
        carts = await stack.enter_async_context(
            wiring.open_page_cache(settings.redis_url, sale=settings.sale)
        )
        if faults is not None:
            stock = faults.stock(stock)
        replica = await _book(settings.replica_url, stack) if settings.replica_url else None
        return create_order(
            settings,
            stock=stock,
            book=book,
            broker=broker,
            carts=carts,
            identify=identify,
            replica=replica,
            open_books=partial(_own_book, settings.database_url, faults),
        )
    if name == "payment":
        from saleops.services.payment.app import create_app as create_payment

        refunds = wiring.refunding_provider(charging, wiring.book_repair(charging.book))
        provider: PaymentProvider = refunds
        if faults is not None:
            provider = faults.payments(provider)
        return create_payment(
            book=book,
            broker=broker,
            provider=provider,
            identify=identify,
            replica=bool(settings.replica_url),
            refunds=refunds,
        )
    from saleops.services.shipping.app import create_app as create_shipping

    return create_shipping(book=book, broker=broker, identify=identify)


def _identify(settings: ServiceSettings) -> Callable[[Request], Identity]:
    from saleops.services.auth import Authenticator

    return Authenticator(wiring.token_verifier(settings.jwt), WallClock()).identify


@asynccontextmanager
async def _own_book(url: str, faults: "Faults | None") -> AsyncIterator[BookThread]:
    """A rebuild's connection of its own; its acts have points too."""
    async with own_book(url) as book:
        yield book if faults is None else faults.book(book)


async def _book(url: str, stack: AsyncExitStack) -> BookThread:
    """The orders database behind its thread. Connecting may take seconds, hence not in the event loop."""
    book = await asyncio.to_thread(stack.enter_context, wiring.open_order_book(url))
    thread = BookThread(book)
    stack.push_async_callback(asyncio.to_thread, thread.close)  # before the book itself closes
    return thread
