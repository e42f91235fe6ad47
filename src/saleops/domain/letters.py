"""Dead letters as people choose and read them: whose orders are in one, why it is one, and never a payment token."""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from saleops.domain.messages import decode_batch


@dataclass(frozen=True)
class LetterOrder:
    """An order in a letter. ``payment_token`` is masked: "" there was none, "***" there was one."""

    order_id: str
    buyer: str
    sku: str
    units: int
    amount_fen: int
    created_ms: int
    due_ms: int
    payment_token: str


@dataclass(frozen=True)
class Letter:
    """A dead letter of ``group`` on ``topic``. ``unreadable`` says why its body holds no orders; times in Unix ms."""

    letter_id: str
    topic: str
    group: str
    reason: str
    attempts: int
    dead_ms: int
    age_s: float
    body_bytes: int
    tx_id: str
    unreadable: str
    orders: tuple[LetterOrder, ...]


@dataclass(frozen=True)
class Selection:
    """Which letters: every part that is given has to hold; of several ids, orders, SKUs or groups, one of them.

    ``reason`` is a part of the reason, in any case; a letter is chosen by ``order_ids`` or ``skus`` as a whole, with all
    orders that are in it. ``dead_from_ms`` and ``dead_before_ms`` bound when it died.
    """

    letter_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    order_ids: tuple[str, ...] = ()
    skus: tuple[str, ...] = ()
    reason: str = ""
    dead_from_ms: int | None = None
    dead_before_ms: int | None = None

    def chooses(self, letter: Letter) -> bool:
        orders = letter.orders
        return (
            _one_of(letter.letter_id, self.letter_ids)
            and _one_of(letter.group, self.groups)
            and (not self.order_ids or any(one.order_id in self.order_ids for one in orders))
            and (not self.skus or any(one.sku in self.skus for one in orders))
            and self.reason.casefold() in letter.reason.casefold()
            and (self.dead_from_ms is None or letter.dead_ms >= self.dead_from_ms)
            and (self.dead_before_ms is None or letter.dead_ms < self.dead_before_ms)
        )

    @property
    def text(self) -> str:
        """For people and the journal: "all", or what was asked for."""
        parts = [
            f"{name} {', '.join(values)}"
            for name, values in (
                ("letter", self.letter_ids),
                ("group", self.groups),
                ("order", self.order_ids),
                ("SKU", self.skus),
            )
            if values
        ]
        if self.reason:
            parts.append(f"reason has {self.reason!r}")
        if self.dead_from_ms is not None:
            parts.append(f"dead from {self.dead_from_ms} ms on")
        if self.dead_before_ms is not None:
            parts.append(f"dead before {self.dead_before_ms} ms")
        return "; ".join(parts) or "all"


def _one_of(value: str, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted


def letter_of(
    *,
    letter_id: str,
    topic: str,
    group: str,
    body: bytes,
    reason: str,
    attempts: int,
    dead_ms: int,
    now_ms: int,
) -> Letter:
    """A dead letter with its body read. A body that cannot be read is never shown: it may hold a token anywhere."""
    tx_id, unreadable = "", ""
    orders: tuple[LetterOrder, ...] = ()
    try:
        batch = decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        unreadable = str(error)
    else:
        tx_id = batch.tx_id
        orders = tuple(
            LetterOrder(
                line.order_id,
                line.buyer,
                line.sku,
                line.units,
                line.amount_fen,
                line.created_ms,
                line.due_ms,
                "***" if line.payment_token else "",
            )
            for line in batch.orders
        )
    return Letter(
        letter_id=letter_id,
        topic=topic,
        group=group,
        reason=reason,
        attempts=attempts,
        dead_ms=dead_ms,
        age_s=max(0, now_ms - dead_ms) / 1000,
        body_bytes=len(body),
        tx_id=tx_id,
        unreadable=unreadable,
        orders=orders,
    )
