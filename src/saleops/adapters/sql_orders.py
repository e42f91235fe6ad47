"""The orders database in SQL: the statements, shared by SQLite and MySQL.

A dialect (sqlite_orders.py, mysql_orders.py) gives what sql_dialect.py names; sql_catalog.py holds what only reads,
sql_sale.py the sale and sql_journal.py what people did. Values never
become part of a statement's text here.

Two writers lock rows in one order: orders by id, then stock by SKU, then the transaction's own row, then the sale's.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from saleops.adapters.sql_batch import (
    ORDER_COLUMNS,
    OrderBatch,
    batch_of,
    check_key,
    check_order_ids,
    is_key,
    name_from,
)
from saleops.adapters.sql_dialect import TRIES, DuplicateKey, Row, Transaction, chunks, marks
from saleops.adapters.sql_journal import SqlJournal
from saleops.adapters.sql_sale import SqlSale
from saleops.domain.orders import Order, OrderState, TxState
from saleops.errors import StoreUnavailable
from saleops.ports.orders import BatchOutcome, Charge

_ORDERS = f"SELECT {ORDER_COLUMNS} FROM orders"


class _InTheWay(Exception):
    """Something stands in the way of a group commit: roll back and look what it is."""


class SqlOrderBook(SqlSale, SqlJournal):
    """OrderBook on a SQL database."""

    # -- the group commit -------------------------------------------------------------------------------------
    def place(self, tx_id: str, orders: Sequence[Order], *, epoch: str = "") -> BatchOutcome:
        """See the port. A ``tx_id`` that was fenced, or committed other orders, is never committed: a fenced one is answered
        with ``committed=False`` and both lists empty (send the orders again under a new tx_id); one that committed
        just these orders is answered ``committed=True``, so sending twice is harmless."""
        batch = batch_of(tx_id, orders)
        if epoch:
            check_key("epoch", epoch)
        if self._place_at_once(batch, epoch):
            return _PLACED
        for _ in range(TRIES):
            try:
                return self._transact(
                    "placing orders", lambda sql: self._place_looking(sql, batch, epoch)
                )
            except (DuplicateKey, _InTheWay):
                continue  # it changed between our look and our write
        raise StoreUnavailable(
            f"group commit {tx_id} met a change of its rows {TRIES} times; it was not written"
        )

    def _place_at_once(self, batch: OrderBatch, epoch: str) -> bool:
        """Commit ``batch`` if nothing stands in the way; False: nothing was written, look why."""
        try:
            self._transact("placing orders", lambda sql: self._write_batch(sql, batch, epoch))
        except (DuplicateKey, _InTheWay):
            return False
        return True

    def _write_batch(self, sql: Transaction, batch: OrderBatch, epoch: str) -> None:
        sql.insert("orders", ORDER_COLUMNS, batch.rows)
        if sql.take(batch.units) != len(batch.units):
            raise _InTheWay
        sql.insert("tx", _TX_COLUMNS, [(batch.tx_id, int(TxState.COMMITTED), self._now_ms())])
        if epoch and not sql.rows(_ON_EPOCH + self.lock_shared, (epoch,)):
            raise _InTheWay

    def _place_looking(self, sql: Transaction, batch: OrderBatch, epoch: str) -> BatchOutcome:
        """The slow way, after the fast one failed: look first, holding the stock rows, then write."""
        existing = self._orders_in(sql.rows, batch.order_ids)
        tx = sql.rows("SELECT state FROM tx WHERE tx_id = ?", (batch.tx_id,))
        if tx and tx[0][0] != TxState.ABORTED:
            ours = sum(order.tx_id == batch.tx_id for order in existing.values())
            if ours != len(batch.rows):
                raise ValueError(f"tx_id {batch.tx_id} has committed other orders")
            return _PLACED
        if tx:
            return BatchOutcome(False, {}, frozenset())
        if epoch and not sql.rows(_ON_EPOCH, (epoch,)):
            return BatchOutcome(False, {}, frozenset(), stale=True)
        if existing:
            return BatchOutcome(False, existing, frozenset())
        left: dict[str, int] = {}
        for part in chunks(list(batch.units)):
            query = f"SELECT sku, total - sold FROM stock WHERE sku IN ({marks(len(part))}) ORDER BY sku"
            left.update(sql.rows(query + self.lock_rows, part))
        refused = frozenset(
            sku for sku, wanted in batch.units.items() if left.get(sku, -1) < wanted
        )
        if refused:
            return BatchOutcome(False, {}, refused)
        self._write_batch(sql, batch, epoch)
        return _PLACED

    def tx_state(self, tx_id: str, *, fence: bool = False) -> TxState | None:
        check_key("tx_id", tx_id)
        if fence:
            row = (tx_id, int(TxState.ABORTED), self._now_ms())
            self._transact(
                "closing a transaction id",
                lambda sql: sql.insert("tx", _TX_COLUMNS, [row], keep="tx_id"),
            )
        rows = self._read(
            "reading a transaction's outcome", "SELECT state FROM tx WHERE tx_id = ?", (tx_id,)
        )
        return TxState(rows[0][0]) if rows else None

    def announced(self, tx_ids: Sequence[str]) -> None:
        # They come out of messages, which anybody may have written.
        for part in chunks(sorted({tx_id for tx_id in tx_ids if is_key(tx_id)})):
            self._transact(
                "noting what was announced",
                lambda sql, part=part: sql.run(  # type: ignore[misc] # bound now, not when it runs
                    f"UPDATE tx SET state = {int(TxState.ANNOUNCED)} "
                    f"WHERE tx_id IN ({marks(len(part))}) AND state = {int(TxState.COMMITTED)}",
                    part,
                ),
            )

    def unannounced(self, *, before_ms: int, limit: int) -> list[str]:
        rows = self._read(
            "looking for lost messages",
            f"SELECT tx_id FROM tx WHERE state = {int(TxState.COMMITTED)} AND at_ms < ? "
            "ORDER BY at_ms, tx_id LIMIT ?",
            (before_ms, limit),
        )
        return [tx_id for (tx_id,) in rows]

    def newest_announced_ms(self) -> int:
        ((newest,),) = self._read(
            "looking for lost messages",
            f"SELECT MAX(at_ms) FROM tx WHERE state = {int(TxState.ANNOUNCED)}",
        )
        return newest or 0

    def announce_again(self, tx_id: str, *, before_ms: int) -> bool:
        check_key("tx_id", tx_id)
        now_ms = self._now_ms()
        return bool(
            self._transact(
                "taking a lost message on",
                lambda sql: sql.run(
                    f"UPDATE tx SET at_ms = ? WHERE tx_id = ? AND state = {int(TxState.COMMITTED)} "
                    "AND at_ms < ?",
                    (now_ms, tx_id, min(before_ms, now_ms)),
                ),
            )
        )

    def orders_of_tx(self, tx_id: str) -> list[Order]:
        check_key("tx_id", tx_id)
        rows = self._read(
            "reading a group commit", f"{_ORDERS} WHERE tx_id = ? ORDER BY order_id", (tx_id,)
        )
        return [self._order(row) for row in rows]

    def fence(self, order_ids: Sequence[str], *, now_ms: int) -> dict[str, Order]:
        ids = check_order_ids(order_ids)
        state = int(OrderState.TOMBSTONE)
        real: dict[str, Order] = {}
        for part in chunks(ids):
            tombs = [(oid, "", "", 0, 0, now_ms, now_ms, "", "", state, "") for oid in part]

            def work(sql: Transaction, tombs: list[Row] = tombs) -> dict[str, Order]:
                sql.insert("orders", ORDER_COLUMNS, tombs, keep="order_id")
                return self._orders_in(sql.rows, [tomb[0] for tomb in tombs])

            found = self._transact("fencing expired reservations", work)
            real.update((oid, order) for oid, order in found.items() if order.state != state)
        return real

    # -- reading ----------------------------------------------------------------------------------------------
    def orders(self, order_ids: Sequence[str]) -> dict[str, Order]:
        """Those that exist, tombstones among them (``state`` tells)."""
        ids = check_order_ids(order_ids)
        return self._orders_in(lambda sql, values: self._read("reading orders", sql, values), ids)

    def _orders_in(
        self,
        rows: Callable[[str, Sequence[object]], Sequence[Row]],
        ids: Sequence[str],
        lock: str = "",
    ) -> dict[str, Order]:
        found: dict[str, Order] = {}
        for part in chunks(ids):
            query = f"{_ORDERS} WHERE order_id IN ({marks(len(part))}) ORDER BY order_id{lock}"
            for row in rows(query, part):
                found[row[0]] = self._order(row)
        return found

    def orders_of(self, buyer: str, *, limit: int) -> list[Order]:
        rows = self._read(
            "reading a buyer's orders",
            f"{_ORDERS} WHERE buyer = ? AND state <> {int(OrderState.TOMBSTONE)} "
            "ORDER BY created_ms DESC, order_id DESC LIMIT ?",
            (buyer, limit),
        )
        return [self._order(row) for row in rows]

    # -- payment, cancelling, shipping ------------------------------------------------------------------------
    def begin_payment(self, order_ids: Sequence[str]) -> dict[str, Order]:
        ids = check_order_ids(order_ids)

        def work(sql: Transaction) -> dict[str, Order]:
            _move(sql, ids, OrderState.UNPAID, OrderState.PAYING)
            return self._orders_in(sql.rows, ids)

        return self._transact("beginning payments", work) if ids else {}

    def end_payment(self, paid: Sequence[str], declined: Sequence[str]) -> None:
        paid_ids, declined_ids = check_order_ids(paid), check_order_ids(declined)
        if both := set(paid_ids) & set(declined_ids):
            raise ValueError(f"paid and declined at once: {sorted(both)}")

        def work(sql: Transaction) -> None:
            _move(sql, paid_ids, OrderState.PAYING, OrderState.PAID)
            _move(sql, declined_ids, OrderState.PAYING, OrderState.UNPAID)

        if paid_ids or declined_ids:
            self._transact("ending payments", work)

    def cancel_unpaid(self, order_ids: Sequence[str], *, now_ms: int) -> list[Order]:
        """See the port. An order may be cancelled from the millisecond ``due_ms`` on."""
        ids = check_order_ids(order_ids)

        def work(sql: Transaction) -> list[Order]:
            found = self._orders_in(sql.rows, ids, self.lock_rows)
            ours = [
                order
                for order in found.values()
                if order.state == OrderState.UNPAID and order.due_ms <= now_ms
            ]
            units: Counter[str] = Counter()
            for order in ours:
                units[order.sku] += order.units
            if ours:
                _move(
                    sql, [order.order_id for order in ours], OrderState.UNPAID, OrderState.CANCELLED
                )
                if sql.give_back(dict(sorted(units.items()))) != len(units):
                    raise StoreUnavailable(
                        f"the stock rows of {', '.join(sorted(units))} hold fewer units than their orders; "
                        "nothing was cancelled",
                        hint="Run `saleops reconcile`: the ledger does not balance.",
                    )
                found = self._orders_in(sql.rows, ids)
            return [order for order in found.values() if order.state == OrderState.CANCELLED]

        return self._transact("cancelling unpaid orders", work) if ids else []

    def charge(self, charges: Sequence[tuple[str, str, int]]) -> list[Charge]:
        """See the port. Answers in the order of ``charges``."""
        at_ms = self._now_ms()
        new: dict[str, Row] = {}
        for key, order_id, amount_fen in charges:
            check_key("idempotency key", key)
            check_order_ids([order_id])
            if amount_fen < 0:
                raise ValueError(f"order {order_id}: a charge of {amount_fen} fen")
            charge_id = name_from("ch", key)
            new.setdefault(key, (charge_id, key, order_id, amount_fen, "captured", at_ms))

        def work(sql: Transaction) -> list[Charge]:
            sql.insert("charges", _CHARGE_COLUMNS, sorted(new.values()), keep="charge_id")
            found: dict[str, Charge] = {}
            for part in chunks(sorted(new)):
                query = (
                    "SELECT idempotency_key, charge_id, order_id, amount_fen, state FROM charges "
                    f"WHERE idempotency_key IN ({marks(len(part))})"
                )
                found.update((key, Charge(*rest)) for key, *rest in sql.rows(query, part))
            return [found[key] for key, _, _ in charges]

        return self._transact("charging", work) if charges else []

    def ship(self, orders: Sequence[tuple[str, str]]) -> list[str]:
        """See the port. An order has one parcel at most, whatever its dispatch key; answers in id order."""
        ids = check_order_ids([order_id for _, order_id in orders])
        at_ms = self._now_ms()
        keys: dict[str, str] = {}
        for key, order_id in orders:
            check_key("dispatch key", key)
            keys.setdefault(order_id, key)

        def work(sql: Transaction) -> list[str]:
            found = self._orders_in(sql.rows, ids, self.lock_rows)
            paid = [oid for oid, order in found.items() if order.state == OrderState.PAID]
            parcels = [(name_from("pa", keys[oid]), keys[oid], oid, at_ms) for oid in paid]
            if parcels:
                sql.insert("parcels", _PARCEL_COLUMNS, sorted(parcels), keep="parcel_id")
            sent: set[str] = set()
            for part in chunks(ids):
                query = f"SELECT order_id FROM parcels WHERE order_id IN ({marks(len(part))})"
                sent.update(row[0] for row in sql.rows(query, part))
            _move(sql, [oid for oid in paid if oid in sent], OrderState.PAID, OrderState.SHIPPED)
            return sorted(sent)

        return self._transact("shipping", work) if ids else []


_PLACED = BatchOutcome(True, {}, frozenset())
_ON_EPOCH = "SELECT 1 FROM sale WHERE id = 1 AND epoch = ? AND complete = 1"
_TX_COLUMNS = "tx_id, state, at_ms"
_CHARGE_COLUMNS = "charge_id, idempotency_key, order_id, amount_fen, state, at_ms"
_PARCEL_COLUMNS = "parcel_id, dispatch_key, order_id, at_ms"


def _move(sql: Transaction, ids: Sequence[str], state: OrderState, to: OrderState) -> None:
    """``state`` -> ``to`` for those of ``ids`` that are in ``state``; the others stay as they are."""
    for part in chunks(ids):
        sql.run(
            f"UPDATE orders SET state = {int(to)} WHERE order_id IN ({marks(len(part))}) AND state = {int(state)}",
            part,
        )
