"""The sale's row in SQL, what goes with it into the orders database, and the stock store's marks.

The row is the fence between a rebuild of the stock store and the group commits: each of those reads it, locked in share
mode, as the last thing before its COMMIT; ``begin_rebuild`` changes it. So whatever commits under the old epoch has done
so, and can be seen, before ``begin_rebuild`` returns. Locks are taken in the order orders, stock, tx, sale, stock_marks.
"""

from collections.abc import Mapping, Sequence

from saleops.adapters.sql_batch import check_key
from saleops.adapters.sql_catalog import ITEM_COLUMNS, SqlCatalog
from saleops.adapters.sql_dialect import TRIES, DuplicateKey, Row, Transaction
from saleops.adapters.sql_dialect import marks as places
from saleops.adapters.sql_schema import SALE_TABLES
from saleops.domain.items import Item
from saleops.errors import Refused, StoreUnavailable
from saleops.ports.orders import REBUILDING, SaleRow
from saleops.ports.stock import Mark

_SALE_COLUMNS = "name, epoch, version, items_count, units_count, complete"
_SALE = f"SELECT {_SALE_COLUMNS} FROM sale"
_MARK_COLUMNS = "partition_no, epoch, writes, server"


class SqlSale(SqlCatalog):
    """The part of the OrderBook that is about the sale as a whole."""

    # -- the sale ---------------------------------------------------------------------------------------------
    def sale(self, name: str) -> SaleRow | None:
        rows = self._read("reading the sale", f"{_SALE} WHERE name = ?", (name,))
        return _sale_of(rows[0]) if rows else None

    def begin_sale(self, row: SaleRow) -> None:
        def work(sql: Transaction) -> None:
            others = [_sale_of(found) for found in sql.rows(f"{_SALE}{self.lock_rows}")]
            for other in others:
                if other.name != row.name:
                    raise Refused(
                        f"the orders database holds the sale {other.name} already; nothing was changed",
                        hint=f"One database holds one sale: use another for {row.name}, or clear {other.name}.",
                    )
                if other.version != row.version:
                    raise Refused(
                        f"the orders database holds another version of {row.name} "
                        f"({other.version}, not {row.version}); nothing was changed",
                        hint="Clear the sale first, if it has not opened, or seed what was seeded before.",
                    )
            if not others:
                # One database holds one sale: its row is always number 1, so two sales cannot begin at once.
                values = (1, row.name, row.epoch, row.version, row.items_count, row.units_count, 0)
                sql.insert("sale", f"id, {_SALE_COLUMNS}", [values])

        for _ in range(TRIES):
            try:
                return self._transact(f"beginning the sale {row.name}", work)
            except DuplicateKey:  # another process began it between our look and our INSERT
                continue
        raise StoreUnavailable(f"the row of the sale {row.name} comes and goes; it was not begun")

    def finish_sale(self, name: str, *, epoch: str = "") -> None:
        where, values = (
            ("name = ? AND epoch = ?", (name, epoch)) if epoch else ("name = ?", (name,))
        )
        self._transact(
            f"finishing the sale {name}",
            lambda sql: sql.run(f"UPDATE sale SET complete = 1 WHERE {where}", values),
        )

    def clear_sale(self, name: str) -> None:
        if self.sale(name) is None:
            return  # never another sale's rows
        self._empty(SALE_TABLES)
        self._transact(
            f"clearing the sale {name}",
            lambda sql: sql.run("DELETE FROM sale WHERE name = ?", (name,)),
        )

    def add_items(self, items: Sequence[tuple[Item, int]]) -> int:
        if not items:
            return 0
        products = sorted(
            (
                item.sku,
                item.name,
                item.price_fen,
                item.stock,
                item.limit_per_buyer,
                item.popularity,
                item.department,
                item.category,
            )
            for item, _ in items
        )
        stock = sorted((item.sku, item.stock, 0, shards) for item, shards in items)

        def work(sql: Transaction) -> int:
            sql.insert("products", ITEM_COLUMNS, products, keep="sku")
            return sql.insert("stock", "sku, total, sold, shards", stock, keep="sku")

        return self._transact("adding items", work)

    def hot_skus(self) -> dict[str, int]:
        return dict(
            self._read("reading hot SKUs", "SELECT sku, shards FROM stock WHERE shards > 1")
        )

    # -- the stock store's marks, and its rebuilding ----------------------------------------------------------
    def marks(self) -> tuple[str, dict[int, Mark]]:
        rows = self._read(
            "reading the stock store's marks",
            "SELECT m.partition_no, m.epoch, m.writes, m.server FROM stock_marks m "
            "JOIN sale s ON s.epoch = m.epoch",
        )
        epoch = rows[0][1] if rows else ""
        return epoch, {number: Mark(writes, server) for number, _, writes, server in rows}

    def keep_marks(self, epoch: str, marks: Mapping[int, Mark], *, over: bool = False) -> None:
        check_key("epoch", epoch)
        for mark in marks.values():
            check_key("server", mark.server)

        def work(sql: Transaction) -> None:
            if not sql.rows(f"SELECT epoch FROM sale WHERE epoch = ?{self.lock_shared}", (epoch,)):
                return
            kept = {
                number: (of_epoch, Mark(writes, server))
                for number, of_epoch, writes, server in sql.rows(
                    f"SELECT {_MARK_COLUMNS} FROM stock_marks{self.lock_rows}"
                )
            }
            rows = [
                (number, epoch, mark.writes, mark.server)
                for number, mark in sorted(marks.items())
                if over or _is_further(mark, epoch, kept.get(number))
            ]
            gone = list(kept) if over else [row[0] for row in rows if row[0] in kept]
            if gone:
                sql.run(
                    f"DELETE FROM stock_marks WHERE partition_no IN ({places(len(gone))})", gone
                )
            if rows:
                sql.insert("stock_marks", _MARK_COLUMNS, rows)

        for _ in range(TRIES):
            try:
                return self._transact("keeping the stock store's marks", work)
            except DuplicateKey:  # another worker was the first to keep any
                continue
        raise StoreUnavailable("the stock store's marks come and go; these were not kept")

    def begin_rebuild(self, name: str, *, old_epoch: str, new_epoch: str) -> bool:
        check_key("epoch", new_epoch)
        if old_epoch == new_epoch:
            raise ValueError(f"a rebuild needs a new epoch, not {new_epoch} again")

        def work(sql: Transaction) -> bool:
            changed = sql.run(
                "UPDATE sale SET epoch = ?, complete = 0 WHERE name = ? AND epoch = ?",
                (new_epoch, name, old_epoch),
            )
            if not changed:
                # Ours all the same if the answer to our first COMMIT was lost: nobody else knows this epoch.
                values = (name, new_epoch)
                return bool(sql.rows("SELECT 1 FROM sale WHERE name = ? AND epoch = ?", values))
            sql.run("DELETE FROM stock_marks WHERE partition_no = ?", (REBUILDING,))
            sql.insert("stock_marks", _MARK_COLUMNS, [(REBUILDING, new_epoch, 0, "rebuild")])
            return True

        return self._transact(f"beginning to rebuild {name}", work)


def _is_further(mark: Mark, epoch: str, kept: tuple[str, Mark] | None) -> bool:
    if kept is None or kept[0] != epoch:
        return True
    return mark.server == kept[1].server and mark.writes > kept[1].writes


def _sale_of(row: Row) -> SaleRow:
    name, epoch, version, items_count, units_count, complete = row
    return SaleRow(name, epoch, version, items_count, units_count, bool(complete))
