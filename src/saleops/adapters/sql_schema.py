"""The tables of the orders database, for SQLite and for MySQL and its kin (MariaDB, PolarDB).

One description, two spellings: each ``{name}`` in a table is a type or clause of the dialect. Keys are ASCII compared byte
by byte; a buyer's name is compared as bytes too, because MySQL's text types ignore spaces at the end and two buyers
must never be one. ``CHECK (sold <= total)`` is the third lock on the shelf, behind Redis and the guarded UPDATE
(servers before MySQL 8.0.16 read it and do not enforce it; the UPDATE does not rely on it).
"""

from collections.abc import Mapping

VERSION = 1
"""Version of the tables below. A database of a later version is refused."""

MYSQL: Mapping[str, str] = {
    "id": "CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "key": "VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "sku": "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "bytes": "VARBINARY(512) NOT NULL",
    "label": "VARCHAR(190) NOT NULL",
    "text": "VARCHAR(500) NOT NULL",
    "long_text": "TEXT NOT NULL",
    "int": "BIGINT NOT NULL",
    "small": "TINYINT NOT NULL",
    "float": "DOUBLE NOT NULL",
    "by_category": ", KEY products_by_category (category, popularity, sku)",
    "by_buyer": ", KEY orders_by_buyer (buyer, created_ms)",
    "charge_order": ", KEY charges_by_order (order_id)",
    "parcel_order": ", KEY parcels_by_order (order_id)",
    "end": "ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
}

SQLITE: Mapping[str, str] = {
    "id": "TEXT NOT NULL",
    "key": "TEXT NOT NULL",
    "sku": "TEXT NOT NULL",
    "bytes": "TEXT NOT NULL",
    "label": "TEXT NOT NULL",
    "text": "TEXT NOT NULL",
    "long_text": "TEXT NOT NULL",
    "int": "INTEGER NOT NULL",
    "small": "INTEGER NOT NULL",
    "float": "REAL NOT NULL",
    "by_category": "",
    "by_buyer": "",
    "charge_order": "",
    "parcel_order": "",
    "end": "WITHOUT ROWID",
    # Orders come in random key order: rows at the end of a heap and a slim index dirty far fewer pages (1.8 times the orders/s).
    "end_orders": "",
}

SQLITE_INDEXES = (
    "CREATE INDEX IF NOT EXISTS products_by_category ON products (category, popularity, sku)",
    "CREATE INDEX IF NOT EXISTS orders_by_buyer ON orders (buyer, created_ms)",
    "CREATE INDEX IF NOT EXISTS charges_by_order ON charges (order_id)",
    "CREATE INDEX IF NOT EXISTS parcels_by_order ON parcels (order_id)",
)

TABLES: Mapping[str, str] = {
    "schema_version": "id {small} PRIMARY KEY, version {int}",
    "sale": """
        id {small} PRIMARY KEY, name {label}, epoch {key}, version {key},
        items_count {int}, units_count {int}, complete {small}""",
    "products": """
        sku {sku} PRIMARY KEY, name {text}, price_fen {int}, stock {int}, limit_per_buyer {int},
        popularity {float}, department {label}, category {label} {by_category}""",
    "stock": """
        sku {sku} PRIMARY KEY, total {int}, sold {int}, shards {int},
        CONSTRAINT stock_guard CHECK (sold >= 0 AND sold <= total)""",
    "orders": """
        order_id {id} PRIMARY KEY, buyer {bytes}, sku {sku}, units {int}, price_fen {int},
        created_ms {int}, due_ms {int}, idempotency_key {text}, payment_token {text},
        state {small}, tx_id {key} {by_buyer}""",
    "tx": "tx_id {key} PRIMARY KEY, state {small}, at_ms {int}",
    "charges": """
        charge_id {key} PRIMARY KEY, idempotency_key {key}, order_id {id}, amount_fen {int},
        state {key}, at_ms {int}, UNIQUE (idempotency_key) {charge_order}""",
    "parcels": """
        parcel_id {key} PRIMARY KEY, dispatch_key {key}, order_id {id}, at_ms {int},
        UNIQUE (dispatch_key) {parcel_order}""",
    "reviews": """
        sku {sku}, buyer {bytes}, stars {small}, text {long_text}, created_ms {int},
        PRIMARY KEY (sku, buyer)""",
}
"""Name -> columns. The order is that of creation; clearing goes the other way, the sale's row last."""

SALE_TABLES = ("reviews", "parcels", "charges", "tx", "orders", "stock", "products")
"""What ``clear_sale`` empties, before it deletes the sale's row."""


def create_statements(dialect: Mapping[str, str]) -> list[str]:
    """``CREATE TABLE IF NOT EXISTS`` for every table, in the words of ``dialect``."""
    return [
        f"CREATE TABLE IF NOT EXISTS {name} ({' '.join(columns.format_map(dialect).split())}) "
        f"{dialect.get(f'end_{name}', dialect['end'])}"
        for name, columns in TABLES.items()
    ]
