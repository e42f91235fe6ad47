"""A million orders in one process: what the ledger needs of each, in packed columns.

An order takes about 66 bytes here (a million: 66 MB) where an object in a dict takes ten times that. Ids are 32 hex
digits, kept as two 64-bit halves in ascending order and found by bisection, so lookups may come in any order. The
database streams orders in key order, which makes sealing free; other orders are sorted once.
"""

import sys
from array import array
from bisect import bisect_left
from hashlib import blake2b
from itertools import pairwise

from saleops.domain.orders import Order

_HALF = (1 << 64) - 1
_WORD = (1 << 32) - 1
MANY = 255  # a count that has reached this stands for "so many or more"
_BIGGEST = 2**63 - 1


def key_of(order_id: str) -> int:
    """128 bits that stand for ``order_id``: its value, or a hash where it is not the 32 hex digits it should be."""
    if len(order_id) == 32:
        try:
            key = int(order_id, 16)
        except ValueError:
            pass
        else:
            if f"{key:032x}" == order_id:
                return key
    return int.from_bytes(blake2b(order_id.encode(), digest_size=16).digest(), "big")


def _buyer_hash(buyer: str) -> int:
    return hash(buyer) & _WORD


class OrderTable:
    """Orders by position: ``add`` them all, ``seal``, then ``find`` positions and read or write columns."""

    def __init__(self) -> None:
        self._high = array("Q")
        self._low = array("Q")
        self._odd_names: dict[int, str] = {}  # ids that are not their key in hex
        # Two hashes of 32 bits: of the buyer, and of buyer and idempotency key.
        self.asked_by = array("Q")
        self.sku = array("I")  # position of the SKU in the ledger's own table
        self.units = array("q")
        self.amount_fen = array("q")
        self.created_ms = array("q")
        self.due_ms = array("q")
        self.state = array("B")
        # Filled in by the ledger once the table is sealed:
        self.held = array("B")
        self.messages = array("B")
        self.captured = array("B")
        self.parcels = array("B")
        self.faults = array("B")

    def __len__(self) -> int:
        return len(self._high)

    def add(self, order: Order, sku: int) -> None:
        """One more order; ``sku`` is the position of its SKU."""
        # A row gone bad must end as a break in the ledger, not as an overflow here.
        amount_fen = max(-_BIGGEST, min(_BIGGEST, order.price_fen * order.units))
        key = key_of(order.order_id)
        if f"{key:032x}" != order.order_id:
            self._odd_names[key] = order.order_id
        self._high.append(key >> 64)
        self._low.append(key & _HALF)
        asked = hash((order.buyer, order.idempotency_key)) & _WORD
        self.asked_by.append(_buyer_hash(order.buyer) << 32 | asked)
        self.sku.append(sku)
        self.units.append(order.units)
        self.amount_fen.append(amount_fen)
        self.created_ms.append(order.created_ms)
        self.due_ms.append(order.due_ms)
        self.state.append(order.state if 0 <= order.state < MANY else MANY)

    def seal(self) -> list[int]:
        """Make lookups possible. Returns the positions of rows with the id of the row before: an order twice."""
        high, low = self._high, self._low
        count = len(high)
        places = range(1, count)
        if any(high[at - 1] > high[at] for at in places) or any(
            high[at - 1] == high[at] and low[at - 1] > low[at] for at in places
        ):
            self._sort()
            high, low = self._high, self._low
        for name in ("held", "messages", "captured", "parcels", "faults"):
            setattr(self, name, array("B", bytes(count)))
        return [at for at in places if high[at - 1] == high[at] and low[at - 1] == low[at]]

    def _sort(self) -> None:
        places = sorted(range(len(self)), key=lambda at: (self._high[at], self._low[at]))
        for name in ("_high", "_low", "asked_by", "sku", "units", "amount_fen"):
            self._arrange(name, places)
        for name in ("created_ms", "due_ms", "state"):
            self._arrange(name, places)

    def _arrange(self, name: str, places: list[int]) -> None:
        column = getattr(self, name)
        setattr(self, name, array(column.typecode, (column[at] for at in places)))

    def find(self, order_id: str) -> int:
        """The position of ``order_id``, -1 where there is none."""
        key = key_of(order_id)
        high, low = key >> 64, key & _HALF
        at = bisect_left(self._high, high)
        while at < len(self._high) and self._high[at] == high:
            if self._low[at] == low:
                return at
            at += 1
        return -1

    def id_at(self, at: int) -> str:
        key = self._high[at] << 64 | self._low[at]
        return self._odd_names.get(key) or f"{key:032x}"

    def is_buyer(self, at: int, buyer: str) -> bool:
        """Whether ``buyer`` asked for the order at ``at`` (by 32 bits of a hash)."""
        return self.asked_by[at] >> 32 == _buyer_hash(buyer)

    def asked_twice(self) -> set[int]:
        """The hashes of (buyer, idempotency key) that more than one order has."""
        ordered = sorted(self.asked_by)
        return {one for one, next_ in pairwise(ordered) if one == next_}

    def bytes_used(self) -> int:
        """Memory of all columns, for the docs and for tests."""
        return sum(
            sys.getsizeof(column) for column in vars(self).values() if isinstance(column, array)
        )


def more(column: "array[int]", at: int) -> int:
    """Count one more at ``at``; returns the new count, which stops at MANY."""
    count = column[at]
    if count < MANY:
        count += 1
        column[at] = count
    return count
