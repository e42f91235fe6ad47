"""What the commands on messages open: the sale's orders database and its broker, each under its port."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from saleops.cli.context import Context
from saleops.cli.engine_options import EngineFlags, engines_of_sale

if TYPE_CHECKING:
    from saleops.ports.broker import Broker
    from saleops.ports.orders import OrderBook

T = TypeVar("T")
Work = Callable[[str, "OrderBook", "Broker"], Awaitable[T]]


def on_messages(
    context: Context, work: Work[T], *, sale_file: Path, flags: EngineFlags, command: str
) -> T:
    """What ``work`` answers for the sale's name, its orders database and its broker, open as long as it runs."""
    from saleops import wiring

    with engines_of_sale(context.screen, sale_file, flags, command=command) as (sale, engines):

        async def body() -> T:
            with wiring.open_order_book(engines.database_url) as book:
                async with wiring.open_broker(engines.broker_url, sale=sale.name) as opened:
                    return await work(sale.name, book, opened)

        return asyncio.run(body())
