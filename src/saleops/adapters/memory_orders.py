"""The orders database in memory, for tests and demos: the same answers as the SQL ones, and nothing outlives it.

One lock makes every method atomic, so several threads may share it (the SQL ones have one owner each).
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

import msgspec

from saleops.adapters.sql_batch import NowMs, batch_of, check_key, check_order_ids, name_from
from saleops.adapters.sql_dialect import wall_ms
from saleops.domain.items import Item
from saleops.domain.orders import Order, OrderState, TxState
from saleops.errors import Refused, StoreUnavailable
from saleops.ports.orders import (
    REBUILDING,
    Accepted,
    BatchOutcome,
    Charge,
    JournalEntry,
    Parcel,
    Review,
    SaleRow,
    StockRow,
)
from saleops.ports.stock import Mark

T = TypeVar("T")

_PLACED = BatchOutcome(True, {}, frozenset())


class MemoryOrderBook:
    """OrderBook in dictionaries."""

    def __init__(self, *, now_ms: NowMs = wall_ms) -> None:
        self._now_ms = now_ms
        self._lock = threading.RLock()
        self._sale: SaleRow | None = None
        self._journal: dict[str, JournalEntry] = {}
        self._forget()

    def _forget(self) -> None:
        self._products: dict[str, Item] = {}
        self._stock: dict[str, StockRow] = {}
        self._orders: dict[str, Order] = {}
        self._tx: dict[str, TxState] = {}
        self._tx_ms: dict[str, int] = {}
        self._charges: dict[str, Charge] = {}  # by idempotency key
        self._parcels: dict[str, Parcel] = {}  # by dispatch key
        self._reviews: dict[tuple[str, str], Review] = {}
        self._marks: dict[int, Mark] = {}
        self._marks_epoch: dict[int, str] = {}
        self._accepted: dict[tuple[str, str, str], Accepted] = {}

    def migrate(self) -> None:
        """Nothing to create."""

    def close(self) -> None:
        """Nothing to close; what was written stays readable."""

    def ping(self) -> None:
        """Always there."""

    # -- the sale ---------------------------------------------------------------------------------------------
    def sale(self, name: str) -> SaleRow | None:
        with self._lock:
            return self._sale if self._sale and self._sale.name == name else None

    def begin_sale(self, row: SaleRow) -> None:
        with self._lock:
            there = self._sale
            if there is None:
                self._sale = msgspec.structs.replace(row, complete=False)
            elif there.name != row.name:
                raise Refused(
                    f"the orders database holds the sale {there.name} already; nothing was changed",
                    hint=f"One database holds one sale: use another for {row.name}, or clear {there.name}.",
                )
            elif there.version != row.version:
                raise Refused(
                    f"the orders database holds another version of {row.name} "
                    f"({there.version}, not {row.version}); nothing was changed",
                    hint="Clear the sale first, if it has not opened, or seed what was seeded before.",
                )

    def add_items(self, items: Sequence[tuple[Item, int]]) -> int:
        with self._lock:
            before = len(self._stock)
            for item, shards in items:
                if item.stock < 0:
                    raise ValueError(f"{item.sku}: {item.stock} units")
                self._products.setdefault(item.sku, item)
                self._stock.setdefault(item.sku, StockRow(item.sku, item.stock, 0, shards))
            return len(self._stock) - before

    def finish_sale(self, name: str, *, epoch: str = "") -> None:
        with self._lock:
            if self._sale and self._sale.name == name and epoch in ("", self._sale.epoch):
                self._sale = msgspec.structs.replace(self._sale, complete=True)

    def clear_sale(self, name: str) -> None:
        with self._lock:
            if self._sale and self._sale.name == name:
                self._forget()
                self._sale = None

    def hot_skus(self) -> dict[str, int]:
        with self._lock:
            return {row.sku: row.shards for row in self._stock.values() if row.shards > 1}

    # -- the stock store's marks, and its rebuilding ----------------------------------------------------------
    def marks(self) -> tuple[str, dict[int, Mark]]:
        with self._lock:
            epoch = self._sale.epoch if self._sale else ""
            found = {n: mark for n, mark in self._marks.items() if self._marks_epoch[n] == epoch}
            return (epoch, found) if found else ("", {})

    def keep_marks(self, epoch: str, marks: Mapping[int, Mark], *, over: bool = False) -> None:
        check_key("epoch", epoch)
        for mark in marks.values():
            check_key("server", mark.server)
        with self._lock:
            if self._sale is None or self._sale.epoch != epoch:
                return
            if over:
                self._marks.clear()
                self._marks_epoch.clear()
            for number, mark in marks.items():
                kept = self._marks.get(number) if self._marks_epoch.get(number) == epoch else None
                if kept and (mark.server != kept.server or mark.writes <= kept.writes):
                    continue
                self._marks[number], self._marks_epoch[number] = mark, epoch

    def begin_rebuild(self, name: str, *, old_epoch: str, new_epoch: str) -> bool:
        check_key("epoch", new_epoch)
        if old_epoch == new_epoch:
            raise ValueError(f"a rebuild needs a new epoch, not {new_epoch} again")
        with self._lock:
            if self._sale is None or self._sale.name != name:
                return False
            if self._sale.epoch != old_epoch:
                return self._sale.epoch == new_epoch
            self._sale = msgspec.structs.replace(self._sale, epoch=new_epoch, complete=False)
            self._marks[REBUILDING] = Mark(0, "rebuild")
            self._marks_epoch[REBUILDING] = new_epoch
            return True

    # -- what people did --------------------------------------------------------------------------------------
    def write_journal(self, entry: JournalEntry) -> None:
        check_key("entry_id", entry.entry_id)
        with self._lock:
            self._journal.setdefault(entry.entry_id, entry)

    def journal(self, *, limit: int) -> list[JournalEntry]:
        with self._lock:
            entries = sorted(self._journal.values(), key=attrgetter("at_ms", "entry_id"))
        return entries[::-1][:limit]

    def accept(self, rows: Sequence[Accepted]) -> None:
        for row in rows:
            check_key("kind", row.kind)
        with self._lock:
            for row in rows:
                self._accepted.setdefault((row.kind, row.id, row.sku), row)

    def unaccept(self, keys: Sequence[tuple[str, str, str]]) -> None:
        with self._lock:
            for key in keys:
                self._accepted.pop(key, None)

    def accepted(self) -> list[Accepted]:
        with self._lock:
            return [self._accepted[key] for key in sorted(self._accepted)]

    # -- the group commit -------------------------------------------------------------------------------------
    def place(self, tx_id: str, orders: Sequence[Order], *, epoch: str = "") -> BatchOutcome:
        batch = batch_of(tx_id, orders)
        if epoch:
            check_key("epoch", epoch)
        with self._lock:
            existing = self.orders(batch.order_ids)
            tx = self._tx.get(tx_id)
            if tx in (TxState.COMMITTED, TxState.ANNOUNCED):
                if sum(order.tx_id == tx_id for order in existing.values()) != len(orders):
                    raise ValueError(f"tx_id {tx_id} has committed other orders")
                return _PLACED
            if tx is not None:
                return BatchOutcome(False, {}, frozenset())
            if epoch and not (self._sale and self._sale.complete and self._sale.epoch == epoch):
                return BatchOutcome(False, {}, frozenset(), stale=True)
            if existing:
                return BatchOutcome(False, existing, frozenset())
            refused = frozenset(
                sku for sku, units in batch.units.items() if self._left(sku) < units
            )
            if refused:
                return BatchOutcome(False, {}, refused)
            for row in batch.rows:
                self._orders[row[0]] = Order(*row)
            self._sell(batch.units)
            self._tx[tx_id], self._tx_ms[tx_id] = TxState.COMMITTED, self._now_ms()
            return _PLACED

    def _left(self, sku: str) -> int:
        row = self._stock.get(sku)
        return row.total - row.sold if row else -1

    def _sell(self, units: dict[str, int]) -> None:
        for sku, count in units.items():
            row = self._stock[sku]
            self._stock[sku] = StockRow(sku, row.total, row.sold + count, row.shards)

    def tx_state(self, tx_id: str, *, fence: bool = False) -> TxState | None:
        check_key("tx_id", tx_id)
        with self._lock:
            return self._tx.setdefault(tx_id, TxState.ABORTED) if fence else self._tx.get(tx_id)

    def announced(self, tx_ids: Sequence[str]) -> None:
        with self._lock:
            for tx_id in tx_ids:
                if self._tx.get(tx_id) == TxState.COMMITTED:
                    self._tx[tx_id] = TxState.ANNOUNCED

    def _of_state(self, state: TxState) -> list[tuple[int, str]]:
        return sorted((self._tx_ms[tx], tx) for tx, its in self._tx.items() if its == state)

    def unannounced(self, *, before_ms: int, limit: int) -> list[str]:
        with self._lock:
            waiting = self._of_state(TxState.COMMITTED)
        return [tx_id for at_ms, tx_id in waiting if at_ms < before_ms][:limit]

    def newest_announced_ms(self) -> int:
        with self._lock:
            return max((at_ms for at_ms, _ in self._of_state(TxState.ANNOUNCED)), default=0)

    def announce_again(self, tx_id: str, *, before_ms: int) -> bool:
        check_key("tx_id", tx_id)
        with self._lock:
            if self._tx.get(tx_id) != TxState.COMMITTED or self._tx_ms[tx_id] >= before_ms:
                return False
            self._tx_ms[tx_id] = self._now_ms()
            return True

    def orders_of_tx(self, tx_id: str) -> list[Order]:
        check_key("tx_id", tx_id)
        return self._sorted(self._orders, lambda order: order.tx_id == tx_id)

    def fence(self, order_ids: Sequence[str], *, now_ms: int) -> dict[str, Order]:
        ids = check_order_ids(order_ids)
        with self._lock:
            for oid in ids:
                tomb = Order(oid, "", "", 0, 0, now_ms, now_ms, "", state=OrderState.TOMBSTONE)
                self._orders.setdefault(oid, tomb)
            found = self.orders(ids)
        return {oid: order for oid, order in found.items() if order.state != OrderState.TOMBSTONE}

    # -- reading ----------------------------------------------------------------------------------------------
    def orders(self, order_ids: Sequence[str]) -> dict[str, Order]:
        ids = check_order_ids(order_ids)
        with self._lock:
            return {oid: self._orders[oid] for oid in ids if oid in self._orders}

    def orders_of(self, buyer: str, *, limit: int) -> list[Order]:
        with self._lock:
            theirs = [
                order
                for order in self._orders.values()
                if order.buyer == buyer and order.state != OrderState.TOMBSTONE
            ]
        return sorted(theirs, key=attrgetter("created_ms", "order_id"), reverse=True)[:limit]

    # -- payment, cancelling, shipping ------------------------------------------------------------------------
    def _move(self, order_ids: Sequence[str], state: OrderState, to: OrderState) -> None:
        for order in self.orders(order_ids).values():
            if order.state == state:
                self._orders[order.order_id] = msgspec.structs.replace(order, state=int(to))

    def begin_payment(self, order_ids: Sequence[str]) -> dict[str, Order]:
        with self._lock:
            self._move(order_ids, OrderState.UNPAID, OrderState.PAYING)
            return self.orders(order_ids)

    def end_payment(self, paid: Sequence[str], declined: Sequence[str]) -> None:
        paid_ids, declined_ids = check_order_ids(paid), check_order_ids(declined)
        if both := set(paid_ids) & set(declined_ids):
            raise ValueError(f"paid and declined at once: {sorted(both)}")
        with self._lock:
            self._move(paid_ids, OrderState.PAYING, OrderState.PAID)
            self._move(declined_ids, OrderState.PAYING, OrderState.UNPAID)

    def cancel_unpaid(self, order_ids: Sequence[str], *, now_ms: int) -> list[Order]:
        with self._lock:
            units: Counter[str] = Counter()
            ours: list[str] = []
            for order in self.orders(order_ids).values():
                if order.state == OrderState.UNPAID and order.due_ms <= now_ms:
                    units[order.sku] -= order.units
                    ours.append(order.order_id)
            for sku, count in units.items():
                if self._stock[sku].sold + count < 0:
                    raise StoreUnavailable(
                        f"the stock row of {sku} holds fewer units than its orders; nothing was cancelled",
                        hint="Run `saleops reconcile`: the ledger does not balance.",
                    )
            self._sell(units)
            self._move(ours, OrderState.UNPAID, OrderState.CANCELLED)
            found = self.orders(order_ids).values()
        return [order for order in found if order.state == OrderState.CANCELLED]

    def charge(self, charges: Sequence[tuple[str, str, int]]) -> list[Charge]:
        for key, order_id, amount_fen in charges:
            check_key("idempotency key", key)
            check_order_ids([order_id])
            if amount_fen < 0:
                raise ValueError(f"order {order_id}: a charge of {amount_fen} fen")
        with self._lock:
            return [
                self._charges.setdefault(
                    key, Charge(name_from("ch", key), order_id, amount_fen, "captured")
                )
                for key, order_id, amount_fen in charges
            ]

    def ship(self, orders: Sequence[tuple[str, str]]) -> list[str]:
        ids = check_order_ids([order_id for _, order_id in orders])
        for key, _ in orders:
            check_key("dispatch key", key)
        with self._lock:
            for key, order_id in orders:
                order = self._orders.get(order_id)
                if order and order.state == OrderState.PAID:
                    parcel = self._parcels.setdefault(key, Parcel(name_from("pa", key), order_id))
                    if parcel.order_id == order_id:
                        self._move([order_id], OrderState.PAID, OrderState.SHIPPED)
            return sorted(set(ids) & {parcel.order_id for parcel in self._parcels.values()})

    # -- catalog ----------------------------------------------------------------------------------------------
    def product(self, sku: str) -> Item | None:
        with self._lock:
            return self._products.get(sku)

    def products(self, *, after: str = "", limit: int = 1000) -> list[Item]:
        return self._sorted(self._products, lambda item: item.sku > after)[:limit]

    def related(self, sku: str, *, limit: int) -> list[Item]:
        item = self.product(sku)
        if item is None or not item.category:
            return []
        others = self._sorted(
            self._products, lambda other: other.category == item.category and other.sku != sku
        )
        return sorted(others, key=attrgetter("popularity", "sku"), reverse=True)[:limit]

    def _sorted(self, table: dict[str, T], wanted: Callable[[T], bool] = lambda _: True) -> list[T]:
        with self._lock:
            return [table[key] for key in sorted(table) if wanted(table[key])]

    def reviews(self, sku: str, *, limit: int) -> list[Review]:
        with self._lock:
            found = [review for review in self._reviews.values() if review.sku == sku]
        return sorted(found, key=lambda review: (-review.created_ms, review.buyer))[:limit]

    def add_review(self, review: Review) -> None:
        with self._lock:
            self._reviews[review.sku, review.buyer] = review

    # -- the ledger, streamed in key order --------------------------------------------------------------------
    def every_stock(self) -> Iterator[StockRow]:
        yield from self._sorted(self._stock)

    def every_order(self) -> Iterator[Order]:
        yield from self._sorted(self._orders)

    def every_charge(self) -> Iterator[Charge]:
        yield from sorted(self._sorted(self._charges), key=attrgetter("charge_id"))

    def every_parcel(self) -> Iterator[Parcel]:
        yield from sorted(self._sorted(self._parcels), key=attrgetter("parcel_id"))
