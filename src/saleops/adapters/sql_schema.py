"""The tables of the orders database, for SQLite and for MySQL and its kin (MariaDB, PolarDB).

One description, two spellings: each ``{name}`` in a table is a type or clause of the dialect. Keys are ASCII compared byte
by byte; a buyer's name is compared as bytes too, because MySQL's text types ignore spaces at the end and two buyers
must never be one. ``CHECK (sold <= total)`` is the third lock on the shelf, behind Redis and the guarded UPDATE
(servers before MySQL 8.0.16 read it and do not enforce it; the UPDATE does not rely on it).

A database of an earlier version is brought up by ``migrate``: what is missing of the tables and indexes below is made, then the
``STEPS`` from its version on are run, then its version is written. Each part may run again, so a migration that was cut off
(MySQL commits after every change of a table) is simply run again.
"""

from collections.abc import Mapping

VERSION = 2
"""Version of the tables below. A database of a later version is refused."""

STEPS: Mapping[int, tuple[str, ...]] = {
    # Before version 2 nobody wrote down whose message had arrived; `saleops reconcile` compares those one by one.
    1: ("UPDATE tx SET state = 3 WHERE state = 1",),
}
"""Version -> what takes the rows from there to the next one. May run twice."""

MYSQL: Mapping[str, str] = {
    "id": "CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "key": "VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "sku": "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "bytes": "VARBINARY(512) NOT NULL",
    "label": "VARCHAR(190) NOT NULL",
    "text": "VARCHAR(500) NOT NULL",
    "long_text": "TEXT NOT NULL",
    "document": "MEDIUMTEXT NOT NULL",
    "int": "BIGINT NOT NULL",
    "small": "TINYINT NOT NULL",
    "float": "DOUBLE NOT NULL",
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
    "document": "TEXT NOT NULL",
    "int": "INTEGER NOT NULL",
    "small": "INTEGER NOT NULL",
    "float": "REAL NOT NULL",
    "end": "WITHOUT ROWID",
    # Orders come in random key order: rows at the end of a heap and a slim index dirty far fewer pages (1.8 times the orders/s).
    "end_orders": "",
}

INDEXES: Mapping[str, str] = {
    "products_by_category": "products (category, popularity, sku)",
    "orders_by_buyer": "orders (buyer, created_ms)",
    # A group commit's orders are neighbours in it: one page of it is written a commit.
    "orders_by_tx": "orders (tx_id)",
    "tx_by_state": "tx (state, at_ms)",
    "charges_by_order": "charges (order_id)",
    "parcels_by_order": "parcels (order_id)",
    "journal_by_time": "journal (at_ms, entry_id)",
}
"""Name -> table and columns."""

TABLES: Mapping[str, str] = {
    "schema_version": "id {small} PRIMARY KEY, version {int}",
    "sale": """
        id {small} PRIMARY KEY, name {label}, epoch {key}, version {key},
        items_count {int}, units_count {int}, complete {small}""",
    "products": """
        sku {sku} PRIMARY KEY, name {text}, price_fen {int}, stock {int}, limit_per_buyer {int},
        popularity {float}, department {label}, category {label}""",
    "stock": """
        sku {sku} PRIMARY KEY, total {int}, sold {int}, shards {int},
        CONSTRAINT stock_guard CHECK (sold >= 0 AND sold <= total)""",
    "orders": """
        order_id {id} PRIMARY KEY, buyer {bytes}, sku {sku}, units {int}, price_fen {int},
        created_ms {int}, due_ms {int}, idempotency_key {text}, payment_token {text},
        state {small}, tx_id {key}""",
    "tx": "tx_id {key} PRIMARY KEY, state {small}, at_ms {int}",
    "charges": """
        charge_id {key} PRIMARY KEY, idempotency_key {key}, order_id {id}, amount_fen {int},
        state {key}, at_ms {int}, UNIQUE (idempotency_key)""",
    "parcels": """
        parcel_id {key} PRIMARY KEY, dispatch_key {key}, order_id {id}, at_ms {int},
        UNIQUE (dispatch_key)""",
    "reviews": """
        sku {sku}, buyer {bytes}, stars {small}, text {long_text}, created_ms {int},
        PRIMARY KEY (sku, buyer)""",
    "stock_marks": "partition_no {small} PRIMARY KEY, epoch {key}, writes {int}, server {key}",
    "journal": "entry_id {key} PRIMARY KEY, at_ms {int}, who {text}, command {text}, text {document}",
    # What broke may be named by anything that was found in a store: bytes take it.
    "accepted": """
        kind {key}, id {bytes}, sku {bytes}, who {text}, why {text}, at_ms {int},
        PRIMARY KEY (kind, id, sku)""",
}
"""Name -> columns. The order is that of creation; clearing goes the other way, the sale's row last."""

SALE_TABLES = (
    "accepted",
    "stock_marks",
    "reviews",
    "parcels",
    "charges",
    "tx",
    "orders",
    "stock",
    "products",
)
"""What ``clear_sale`` empties, before it deletes the sale's row. The journal stays: it tells of the clearing too."""


def create_statements(dialect: Mapping[str, str], *, keys: bool = False) -> list[str]:
    """``CREATE TABLE IF NOT EXISTS`` for every table, in the words of ``dialect``; with ``keys`` its indexes are in it."""
    statements = []
    for name, columns in TABLES.items():
        inside = " ".join(columns.format_map(dialect).split())
        if keys:
            of_table = [(key, on) for key, on in INDEXES.items() if on.split(" ")[0] == name]
            inside += "".join(f", KEY {key} {on.partition(' ')[2]}" for key, on in of_table)
        end = dialect.get(f"end_{name}", dialect["end"])
        statements.append(f"CREATE TABLE IF NOT EXISTS {name} ({inside}) {end}")
    return statements


def steps_from(version: int) -> list[str]:
    """What takes the rows of a database of ``version`` to ``VERSION``; 0 is one whose creation was cut off."""
    return [step for number in range(version, VERSION) for step in STEPS.get(number, ())]
