"""What a repair needs of the stock store and of the orders database, beyond what selling needs: rows as they are, raw, and
changes that are guarded by them.

Every change may be sent twice and may race a living sale: it happens only where its rows are as the step expects them.
All methods raise StoreUnavailable when the engine cannot be reached; the outcome is then unknown and the same call may
be sent again.
"""

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from saleops.domain.repair import Amend, Row, Swap
from saleops.domain.repair_facts import HeldRow, ShardRow


class Fate(Enum):
    """What became of a guarded change."""

    DONE = "done"
    ALREADY = "already"  # it was done before: nothing changed
    CHANGED = "changed"  # something else is there than the step expects: nothing changed
    SHORT = "short"  # a counter would go below zero or above its total: nothing changed


class Changed(msgspec.Struct, frozen=True):
    """The fate of a change; ``detail`` names what stood in its way."""

    fate: Fate
    detail: str = ""


class StockRows(msgspec.Struct, frozen=True):
    """The raw rows of some SKUs. ``sums`` has (partition, SKU, state) -> units of every reservation of theirs; ``held`` those of
    the ids that were asked for. ``lent`` are the SKUs in whose partitions shards have lent each other units."""

    shards: list[ShardRow]
    held: list[HeldRow]
    sums: dict[tuple[int, str, str], int]
    lent: frozenset[str]


class StepLog(Protocol):
    """Keeps what becomes of each step, in the undo file."""

    def add(self, line: bytes, *, sync: bool = False) -> None:
        """Add a line; with ``sync`` it is on the disk when this returns. Raises UpstreamError."""
        ...


class StockRepair(Protocol):
    async def rows(self, skus: Collection[str], order_ids: Collection[str]) -> StockRows:
        """The counters of ``skus`` with all that is held of them, in every partition."""
        ...

    async def amend(self, epoch: str, act: Amend, *, now_ms: int) -> Changed:
        """All of ``act`` or nothing. Raises StaleEpoch where the store is on another epoch."""
        ...


class BookRepair(Protocol):
    """Blocks; belongs to the thread of the order book it is made from."""

    def rows(self, table: str, column: str, values: Sequence[str]) -> list[Row]:
        """The rows of orders, stock, charges, parcels or products whose ``column`` is one of ``values``."""
        ...

    def swap(self, act: Swap) -> Changed:
        """All of ``act`` in one transaction, or nothing."""
        ...
