"""A group commit as SQL adapters see it: checked once, sorted for a steady lock order, its units added up.

Rows are sorted by order id and SKUs by name, so two writers always take their row locks in the same order.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from saleops.domain.items import SKU_MAX_LENGTH
from saleops.domain.orders import Order

ORDER_COLUMNS = (
    "order_id, buyer, sku, units, price_fen, created_ms, due_ms, "
    "idempotency_key, payment_token, state, tx_id"
)

OrderRow = tuple[str, str, str, int, int, int, int, str, str, int, str]

BUYER_MAX_BYTES = 512
TEXT_MAX_CHARS = 500
KEY_MAX_CHARS = 128
INT_MAX = 2**63 - 1

_is_order_id = re.compile(r"[0-9a-f]{32}").fullmatch
_is_key = re.compile(r"[!-~]{1,128}").fullmatch
_is_sku = re.compile(rf"[!-~]{{1,{SKU_MAX_LENGTH}}}").fullmatch


def is_sku(text: str) -> bool:
    """Whether a row can exist for ``text``, which may come from a stranger's URL."""
    return _is_sku(text) is not None


@dataclass(frozen=True, slots=True)
class OrderBatch:
    """The orders of one group commit, ready to be written."""

    tx_id: str
    rows: list[OrderRow]
    units: dict[str, int]  # SKU -> units this batch takes of it, in SKU order

    @property
    def order_ids(self) -> list[str]:
        return [row[0] for row in self.rows]


def batch_of(tx_id: str, orders: Sequence[Order]) -> OrderBatch:
    """Check and sort ``orders``. Raises ValueError for what no caller may send: nothing reached the database."""
    check_key("tx_id", tx_id)
    if not orders:
        raise ValueError("a group commit needs at least one order")
    taken: dict[str, int] = {}
    rows: list[OrderRow] = []
    for order in orders:
        _check(order)
        taken[order.sku] = taken.get(order.sku, 0) + order.units
        rows.append(
            (
                order.order_id,
                order.buyer,
                order.sku,
                order.units,
                order.price_fen,
                order.created_ms,
                order.due_ms,
                order.idempotency_key,
                order.payment_token,
                0,
                tx_id,
            )
        )
    rows.sort()
    for row, following in pairwise(rows):
        if row[0] == following[0]:
            raise ValueError(f"order {row[0]} is twice in one group commit")
    return OrderBatch(tx_id, rows, dict(sorted(taken.items())))


def _check(order: Order) -> None:
    if not _is_order_id(order.order_id):
        raise ValueError(f"{order.order_id!r} is no order id (32 hex digits)")
    if not 0 < order.units <= INT_MAX or not 0 <= order.price_fen <= INT_MAX:
        raise ValueError(f"order {order.order_id}: {order.units} units at {order.price_fen} fen")
    if not _is_sku(order.sku):
        raise ValueError(f"order {order.order_id}: {order.sku!r} is no SKU")
    if len(order.buyer) > BUYER_MAX_BYTES // 4 and len(order.buyer.encode()) > BUYER_MAX_BYTES:
        raise ValueError(f"order {order.order_id}: the buyer's name is over {BUYER_MAX_BYTES} B")
    if max(len(order.idempotency_key), len(order.payment_token)) > TEXT_MAX_CHARS:
        raise ValueError(
            f"order {order.order_id}: a key or token of over {TEXT_MAX_CHARS} characters"
        )


def check_key(what: str, key: str) -> None:
    """Keys of ours are 1 to 128 visible ASCII characters. Raises ValueError."""
    if not _is_key(key):
        raise ValueError(f"{what} {key!r} is not 1 to {KEY_MAX_CHARS} visible ASCII characters")


def is_key(text: str) -> bool:
    """Whether ``text`` may be a key of ours."""
    return _is_key(text) is not None


def check_order_ids(order_ids: Sequence[str]) -> list[str]:
    """``order_ids`` sorted and without repeats. Raises ValueError for what is no order id."""
    for order_id in order_ids:
        if not _is_order_id(order_id):
            raise ValueError(f"{order_id!r} is no order id (32 hex digits)")
    return sorted(set(order_ids))


def name_from(kind: str, key: str) -> str:
    """An id for what ``key`` asks for: the same key always names the same charge or parcel."""
    return f"{kind}_{blake2b(key.encode(), digest_size=12).hexdigest()}"


NowMs = Callable[[], int]
