"""Where the units of a SKU live, and what a request for them can hear.

All counters of a sale live in ``PARTITIONS`` partitions. A partition is one Redis hash tag: stock, reservations,
buyers and expiry of its SKUs change in one atomic script, and a batch of orders costs one script call per
partition however many SKUs it names. A SKU lives in one partition; a hot SKU is split over several (a
"shard" each), so that its demand spreads over the nodes of a cluster. A buyer always belongs to the same shard of
a SKU, which makes the per-buyer limit and the idempotency of a reservation exact; when that shard is empty it
borrows units from its siblings before anyone hears "sold out".
"""

from enum import IntEnum
from zlib import crc32

import msgspec

PARTITIONS = 16
"""Hash tags a sale is spread over: more than any cluster we scale to has masters, few enough to sweep in one go."""

HOT_SHARE = 1 / 32
"""A SKU that draws more than this share of the demand is split."""

RESALE_PAUSE_MS = 2_000
"""How long units that come back to a dry SKU wait before they are sold again: longer than any worker believes what it
remembers of that SKU (see services/order/soldout.py), with room for clocks that differ by a second."""

UNITS_PER_SHARD_MIN = 16
"""A shard below this many units would spend its time borrowing."""


class Verdict(IntEnum):
    """What a request for units hears. The numbers are those of ``lua/stock/reserve.lua``."""

    SOLD_OUT = 0
    RESERVED = 1
    DUPLICATE = (
        2  # this order id holds its units already (reserved or sold): the first answer stands
    )
    OVER_LIMIT = 3  # the buyer would hold more than limit_per_buyer
    NOT_SEEDED = 4  # no such SKU in this sale: never "sold out"
    RELEASED = 5  # this order id held units once and gave them back; it cannot hold any again
    MISMATCH = 6  # this order id was used for another SKU or other units
    UNANSWERED = (
        7  # the node of a cluster that holds it was silent: the same claim may be sent again
    )


class Claim(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A wish for units: who, what, how many, under which order id (which is also the idempotency key)."""

    order_id: str
    sku: str
    buyer: str
    units: int


class Answer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The answer to a claim. ``units_left`` is that shard's; ``price_fen`` is 0 unless units are held."""

    verdict: int
    units_left: int
    price_fen: int


class SkuCount(msgspec.Struct, frozen=True, gc=False):
    """One SKU as the stock store sees it, over all its shards. In transit: lent by a shard, not yet arrived."""

    sku: str
    seeded: int
    left: int
    reserved: int
    sold: int
    in_transit: int = 0


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """Units held for an order id until ``expires_ms`` (Unix milliseconds); ``sold`` once the order is durable."""

    order_id: str
    sku: str
    buyer: str
    units: int
    expires_ms: int
    state: str  # "reserved" | "sold" | "released"


def partition_of(sku: str, shard: int = 0) -> int:
    """The partition (0 .. PARTITIONS-1) of one shard of ``sku``. Shards of a SKU never share a partition."""
    return (crc32(sku.encode()) + shard) % PARTITIONS


def shard_of(buyer: str, shards: int) -> int:
    """The shard that ``buyer`` belongs to, the same for ever."""
    return crc32(buyer.encode()) % shards if shards > 1 else 0


def shards_for(units: int, popularity: float, total_popularity: float) -> int:
    """How many shards a SKU gets: 1 unless it is hot, and never so many that a shard is nearly empty.

    Four shards for each ``HOT_SHARE`` of the demand: 1/32 of it gets 4, 1/8 and more gets all 16.
    """
    if total_popularity <= 0 or popularity / total_popularity < HOT_SHARE:
        return 1
    wanted = int(popularity / total_popularity / HOT_SHARE * 4)
    return max(1, min(wanted, PARTITIONS, units // UNITS_PER_SHARD_MIN))


def split_units(units: int, shards: int) -> tuple[int, ...]:
    """Spread ``units`` over ``shards`` counters as evenly as whole units allow.

    Returns one count per shard: they differ by at most 1 and add up to ``units``.
    Raises ValueError for ``units`` below 0 or ``shards`` below 1: the caller has a bug.
    """
    if units < 0 or shards < 1:
        raise ValueError(f"cannot split {units} units over {shards} shards")
    share, spare = divmod(units, shards)
    return (share + 1,) * spare + (share,) * (shards - spare)
