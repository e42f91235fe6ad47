"""The reading side in SQL: products and reviews for pages, and the ledger's streams in key order."""

from collections.abc import Iterator, Sequence

from saleops.adapters.sql_batch import ORDER_COLUMNS, is_sku
from saleops.adapters.sql_dialect import TRIES, DuplicateKey, Row, SqlDialect, Transaction
from saleops.domain.items import Item
from saleops.domain.orders import Order
from saleops.errors import StoreUnavailable
from saleops.ports.orders import Charge, Parcel, Review, StockRow

PAGE_ROWS = 5_000  # rows in one page of a stream: a few megabytes
ITEM_COLUMNS = "sku, name, price_fen, stock, limit_per_buyer, popularity, department, category"
_ITEMS = f"SELECT {ITEM_COLUMNS} FROM products"  # noqa: S608 # a constant


class SqlCatalog(SqlDialect):
    # -- catalog ----------------------------------------------------------------------------------------------
    def product(self, sku: str) -> Item | None:
        items = self._items("WHERE sku = ?", (sku,)) if is_sku(sku) else []
        return items[0] if items else None

    def products(self, *, after: str = "", limit: int = 1000) -> list[Item]:
        return self._items("WHERE sku > ? ORDER BY sku LIMIT ?", (after, limit))

    def related(self, sku: str, *, limit: int) -> list[Item]:
        item = self.product(sku)
        if item is None or not item.category:
            return []
        return self._items(
            "WHERE category = ? AND sku <> ? ORDER BY popularity DESC, sku DESC LIMIT ?",
            (item.category, sku, limit),
        )

    def _items(self, where: str, values: Sequence[object]) -> list[Item]:
        return [Item(*row) for row in self._read("reading products", f"{_ITEMS} {where}", values)]

    def reviews(self, sku: str, *, limit: int) -> list[Review]:
        """Newest first."""
        if not is_sku(sku):
            return []
        rows = self._read(
            "reading reviews",
            "SELECT sku, buyer, stars, text, created_ms FROM reviews WHERE sku = ? "
            "ORDER BY created_ms DESC, buyer LIMIT ?",
            (sku, limit),
        )
        return [self._review(row) for row in rows]

    def _review(self, row: Row) -> Review:
        return Review(*row)

    def add_review(self, review: Review) -> None:
        if not is_sku(review.sku):
            raise ValueError(f"{review.sku!r} is no SKU")
        row = (review.sku, review.buyer, review.stars, review.text, review.created_ms)

        def work(sql: Transaction) -> None:
            sql.run("DELETE FROM reviews WHERE sku = ? AND buyer = ?", (review.sku, review.buyer))
            sql.insert("reviews", "sku, buyer, stars, text, created_ms", [row])

        for _ in range(TRIES):
            try:
                return self._transact("writing a review", work)
            except DuplicateKey:  # the same buyer wrote one in another window at this moment
                continue
        raise StoreUnavailable(
            "another review of the same buyer keeps coming; this one was not written"
        )

    # -- the ledger, streamed in key order --------------------------------------------------------------------
    def every_stock(self) -> Iterator[StockRow]:
        for row in self._every("stock", "sku", "sku, total, sold, shards"):
            yield StockRow(*row)

    def every_order(self) -> Iterator[Order]:
        """In order of the id, tombstones among them."""
        for row in self._every("orders", "order_id", ORDER_COLUMNS):
            yield self._order(row)

    def every_charge(self) -> Iterator[Charge]:
        for row in self._every("charges", "charge_id", "charge_id, order_id, amount_fen, state"):
            yield Charge(*row)

    def every_parcel(self) -> Iterator[Parcel]:
        for row in self._every("parcels", "parcel_id", "parcel_id, order_id"):
            yield Parcel(*row)

    def _every(self, table: str, key: str, columns: str) -> Iterator[Row]:
        """All rows in key order, a page at a time: constant memory, and no long snapshot held against writers."""
        after = ""
        while True:
            rows = self._read(
                f"reading {table}",
                f"SELECT {columns} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT {PAGE_ROWS}",  # noqa: S608 # names of ours
                (after,),
            )
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1][0]
