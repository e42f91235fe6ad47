"""The counters of a sale: units left, reserved and sold, and who holds them.

Every act may be sent twice: it is keyed by the order id (or the transfer id) and a repeat changes nothing.
All methods raise StoreUnavailable when the store cannot be reached within its timeout; then the outcome is
unknown and the same call may be sent again. A call that carries an epoch the store does not hold raises
StaleEpoch: the store was replaced, restored or reseeded, and selling must pause until the caller has read the new
epoch. So does an answer that shows a partition's ``writes`` behind what this process saw before: the store came back
from an older copy of itself.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from saleops.domain.stock import Answer, Claim, Reservation, SkuCount
from saleops.errors import StoreUnavailable


class StaleEpoch(StoreUnavailable):
    """The store's epoch is not the caller's: it was emptied, restored or reseeded. Nothing was changed."""


class SeedRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One shard of one SKU to be put on sale."""

    sku: str
    units: int
    price_fen: int
    limit_per_buyer: int


class UnitsLeft(msgspec.Struct, frozen=True, gc=False):
    """``left`` includes units on their way between shards and those that wait to be sold again; it is -1 for a SKU
    that is not in the sale. ``releases`` counts the orders that gave units back."""

    left: int
    releases: int


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a partition has come: ``writes`` counts every change since it was seeded and never goes back, unless the
    server lost some; ``server`` names the server process that holds it (Redis: run_id), new after every restart."""

    writes: int
    server: str


class SeedState(msgspec.Struct, frozen=True):
    """What a store holds of a sale: nothing (``epoch`` empty), a part (``complete`` False), or all of it."""

    epoch: str
    version: str
    complete: bool
    marks: tuple[Mark, ...] = ()  # one a partition, in their order


class Restored(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An order id as the database knows it, to be put back into the store: "sold" for a live order, "released" for a
    cancelled one or a tombstone (``sku`` and ``buyer`` are empty for a tombstone: then there is nothing to put back)."""

    order_id: str
    sku: str
    buyer: str
    units: int
    state: str


class StockStore(Protocol):
    """One sale's counters."""

    async def seed_state(self) -> SeedState:
        """What is seeded. Partitions that disagree (a store half restored) raise StaleEpoch."""
        ...

    async def begin_seed(self, epoch: str, version: str) -> None:
        """Mark every partition as being seeded. Raises Refused if another version is there already."""
        ...

    async def seed(self, epoch: str, partition: int, rows: Sequence[SeedRow]) -> int:
        """Put ``rows`` on sale in ``partition``; rows already there are left alone. Returns how many were new."""
        ...

    async def finish_seed(self, epoch: str, hot: Mapping[str, int]) -> None:
        """Open the counters: reservations are accepted from here on. ``hot`` maps split SKUs to their shards."""
        ...

    async def restore(
        self, epoch: str, rows: Sequence[Restored], *, hot: Mapping[str, int] | None = None
    ) -> None:
        """While the sale is being seeded: hold these orders' units as the database does. May be sent twice. ``hot`` is
        what ``finish_seed`` will be told."""
        ...

    async def hold(self, epoch: str, *, new_epoch: str) -> bool:
        """Close every partition under ``new_epoch``, to look it over; ``finish_seed`` opens it again. False: what is
        there is not the whole of ``epoch`` (nor held by an earlier call), and part of it may be held now."""
        ...

    async def clear(self) -> None:
        """Forget the sale: every key of it."""
        ...

    async def reserve(
        self, epoch: str, claims: Sequence[Claim], *, now_ms: int, expires_ms: int
    ) -> list[Answer]:
        """Answer each claim, in order. All shards of a SKU are asked before anybody hears SOLD_OUT, whose
        ``units_left`` then counts the whole SKU."""
        ...

    async def confirm(self, epoch: str, claims: Sequence[Claim]) -> None:
        """The orders are durable: their reservations become sold units. A lost reservation is sold all the same."""
        ...

    async def release(self, epoch: str, claims: Sequence[Claim], *, now_ms: int) -> int:
        """Give the units of these orders back to the sale (reserved or sold alike). Returns how many orders did.

        Units that come back to a dry SKU are sold again only ``RESALE_PAUSE_MS`` later.
        """
        ...

    async def expired(self, epoch: str, *, now_ms: int, limit: int) -> list[Claim]:
        """Reservations past their expiry, oldest first, at most ``limit``. Changes nothing."""
        ...

    async def units_left(self, epoch: str, skus: Sequence[str]) -> list[UnitsLeft]:
        """What is left of each SKU over all its shards."""
        ...

    async def buyers(self, skus: Sequence[str]) -> list[frozenset[str]]:
        """Every buyer who ever held units of each SKU, whatever became of the order."""
        ...

    async def settle_transfers(self, epoch: str, *, older_than_ms: int, now_ms: int) -> int:
        """Finish loans between shards that a crash cut in two. Returns how many were finished."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...

    def counts(self) -> AsyncIterator[SkuCount]:
        """Every SKU with its counters, shards added up (for the ledger)."""
        ...

    def reservations(self) -> AsyncIterator[Reservation]:
        """Every reservation ever made (for the ledger)."""
        ...
