"""What a plan is made from: the rows of every broken order and SKU as the engines hold them, raw."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from saleops.domain.orders import LIVE_STATES
from saleops.domain.repair import Row
from saleops.domain.stock import partition_of, shard_of


class HeldRow(msgspec.Struct, frozen=True):
    """A reservation as the store holds it: ``text`` is "STATE units expires_ms buyer" with the state R, S or X."""

    partition: int
    sku: str
    order_id: str
    text: str

    @property
    def state(self) -> str:
        return self.text[:1]

    @property
    def units(self) -> int:
        return int(self.text.split(" ", 3)[1])

    @property
    def expires_ms(self) -> int:
        return int(self.text.split(" ", 3)[2])

    @property
    def buyer(self) -> str:
        return self.text.split(" ", 3)[3]

    @property
    def holds(self) -> bool:
        return self.state in "RS"


class ShardRow(msgspec.Struct, frozen=True):
    """A SKU's counters in one partition as the store holds them: the letters I, L, R, S, T and G, absent ones left out."""

    partition: int
    sku: str
    fields: dict[str, str]

    @property
    def total(self) -> int:
        return int(self.fields["I"].split(" ")[1]) if "I" in self.fields else 0

    @property
    def left(self) -> int:
        return int(self.fields.get("L", self.total))

    def units(self, letter: str) -> int:
        return int(self.fields.get(letter, 0))

    @property
    def limited(self) -> bool:
        return "I" in self.fields and self.fields["I"].split(" ")[2] != "0"


@dataclass
class Facts:
    """Rows by what they are about. ``orders`` and ``stock`` by their key, the others by order id.

    ``held`` has every reservation of the broken orders; ``sums`` what (partition, SKU, state) holds in all, of the broken
    SKUs. ``live`` counts the units of live orders of SKUs whose guard is wrong. ``visible`` are the broken orders that have a
    message.
    """

    now_ms: int
    orders: dict[str, Row] = field(default_factory=dict)
    stock: dict[str, Row] = field(default_factory=dict)
    products: dict[str, int] = field(default_factory=dict)
    hot: dict[str, int] = field(default_factory=dict)
    charges: dict[str, list[Row]] = field(default_factory=dict)
    parcels: dict[str, list[Row]] = field(default_factory=dict)
    charge_keys: frozenset[str] = frozenset()
    dispatch_keys: dict[str, str] = field(default_factory=dict)  # key -> parcel id
    held: dict[str, list[HeldRow]] = field(default_factory=dict)
    sums: dict[tuple[int, str, str], int] = field(default_factory=dict)
    shards: dict[str, list[ShardRow]] = field(default_factory=dict)
    in_transit: dict[str, int] = field(default_factory=dict)
    lent_before: frozenset[str] = frozenset()  # SKUs whose shards have lent each other units
    live: dict[str, int] = field(default_factory=dict)
    unsound: dict[str, str] = field(default_factory=dict)  # SKU -> a live order of no units or less
    visible: frozenset[str] = frozenset()
    youngest: dict[str, list[str]] = field(default_factory=dict)  # oversold SKU -> who goes

    def home(self, sku: str, buyer: str) -> int:
        """The partition where ``buyer``'s units of ``sku`` belong."""
        return partition_of(sku, shard_of(buyer, self.hot.get(sku, 1)))

    def shard(self, partition: int, sku: str) -> ShardRow:
        for row in self.shards.get(sku, ()):
            if row.partition == partition:
                return row
        return ShardRow(partition, sku, {})

    def held_for(self, order_id: str) -> Iterator[HeldRow]:
        yield from self.held.get(order_id, ())


LIVE = frozenset(map(int, LIVE_STATES))
