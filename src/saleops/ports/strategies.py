"""Ways to sell the last unit, tried against each other on keys or rows of their own (``saleops loadtest --strategy``).

Nothing here touches a sale: a contender's names hold a random suffix and ``clear`` removes all of them.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

Sell = Callable[[str], Awaitable[bool]]
"""Sell one unit to a buyer over one connection: True when the buyer was told "yours"."""


class Contender(Protocol):
    """One strategy on one engine."""

    name: str
    """As ``--strategy`` names it: "lua", "naive", "sql" ..."""

    where: str
    """The engine it runs on: "redis" or "database"."""

    keys: str
    """What its throw-away keys or tables are called, for whoever has to remove them by hand."""

    async def missing(self) -> str:
        """What the engine lacks for this strategy; empty when it can be run here. Changes nothing."""
        ...

    async def prepare(self, units: int) -> None:
        """Put ``units`` of one SKU on sale."""
        ...

    def connect(self) -> AbstractAsyncContextManager[Sell]:
        """A connection of its own, open for the block."""
        ...

    async def counted(self) -> int:
        """How many units the engine believes were sold."""
        ...

    async def clear(self) -> None:
        """Remove every key and row. May be called twice, and before ``prepare``."""
        ...
