"""The tables as saleops 0.1 made them (version 1), for tests that bring such a database up."""

SQLITE_V1 = (
    """
    CREATE TABLE schema_version (id INTEGER NOT NULL PRIMARY KEY, version INTEGER NOT NULL)
    WITHOUT ROWID
    """,
    """
    CREATE TABLE sale (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, epoch TEXT NOT NULL,
    version TEXT NOT NULL, items_count INTEGER NOT NULL, units_count INTEGER NOT NULL, complete
    INTEGER NOT NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE products (sku TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, price_fen INTEGER
    NOT NULL, stock INTEGER NOT NULL, limit_per_buyer INTEGER NOT NULL, popularity REAL NOT
    NULL, department TEXT NOT NULL, category TEXT NOT NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE stock (sku TEXT NOT NULL PRIMARY KEY, total INTEGER NOT NULL, sold INTEGER NOT
    NULL, shards INTEGER NOT NULL, CONSTRAINT stock_guard CHECK (sold >= 0 AND sold <= total))
    WITHOUT ROWID
    """,
    """
    CREATE TABLE orders (order_id TEXT NOT NULL PRIMARY KEY, buyer TEXT NOT NULL, sku TEXT NOT
    NULL, units INTEGER NOT NULL, price_fen INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL, idempotency_key TEXT NOT NULL, payment_token TEXT NOT NULL, state
    INTEGER NOT NULL, tx_id TEXT NOT NULL)
    """,
    """
    CREATE TABLE tx (tx_id TEXT NOT NULL PRIMARY KEY, state INTEGER NOT NULL, at_ms INTEGER NOT
    NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE charges (charge_id TEXT NOT NULL PRIMARY KEY, idempotency_key TEXT NOT NULL,
    order_id TEXT NOT NULL, amount_fen INTEGER NOT NULL, state TEXT NOT NULL, at_ms INTEGER NOT
    NULL, UNIQUE (idempotency_key)) WITHOUT ROWID
    """,
    """
    CREATE TABLE parcels (parcel_id TEXT NOT NULL PRIMARY KEY, dispatch_key TEXT NOT NULL,
    order_id TEXT NOT NULL, at_ms INTEGER NOT NULL, UNIQUE (dispatch_key)) WITHOUT ROWID
    """,
    """
    CREATE TABLE reviews (sku TEXT NOT NULL, buyer TEXT NOT NULL, stars INTEGER NOT NULL, text
    TEXT NOT NULL, created_ms INTEGER NOT NULL, PRIMARY KEY (sku, buyer)) WITHOUT ROWID
    """,
    """
    CREATE INDEX products_by_category ON products (category, popularity, sku)
    """,
    """
    CREATE INDEX orders_by_buyer ON orders (buyer, created_ms)
    """,
    """
    CREATE INDEX charges_by_order ON charges (order_id)
    """,
    """
    CREATE INDEX parcels_by_order ON parcels (order_id)
    """,
)

MYSQL_V1 = (
    """
    CREATE TABLE schema_version (id TINYINT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)
    ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE sale (id TINYINT NOT NULL PRIMARY KEY, name VARCHAR(190) NOT NULL, epoch
    VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, version VARCHAR(128) CHARACTER
    SET ascii COLLATE ascii_bin NOT NULL, items_count BIGINT NOT NULL, units_count BIGINT NOT
    NULL, complete TINYINT NOT NULL) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE
    utf8mb4_bin
    """,
    """
    CREATE TABLE products (sku VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    PRIMARY KEY, name VARCHAR(500) NOT NULL, price_fen BIGINT NOT NULL, stock BIGINT NOT NULL,
    limit_per_buyer BIGINT NOT NULL, popularity DOUBLE NOT NULL, department VARCHAR(190) NOT
    NULL, category VARCHAR(190) NOT NULL , KEY products_by_category (category, popularity, sku))
    ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE stock (sku VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY
    KEY, total BIGINT NOT NULL, sold BIGINT NOT NULL, shards BIGINT NOT NULL, CONSTRAINT
    stock_guard CHECK (sold >= 0 AND sold <= total)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4
    COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE orders (order_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    PRIMARY KEY, buyer VARBINARY(512) NOT NULL, sku VARCHAR(64) CHARACTER SET ascii COLLATE
    ascii_bin NOT NULL, units BIGINT NOT NULL, price_fen BIGINT NOT NULL, created_ms BIGINT NOT
    NULL, due_ms BIGINT NOT NULL, idempotency_key VARCHAR(500) NOT NULL, payment_token
    VARCHAR(500) NOT NULL, state TINYINT NOT NULL, tx_id VARCHAR(128) CHARACTER SET ascii
    COLLATE ascii_bin NOT NULL , KEY orders_by_buyer (buyer, created_ms)) ENGINE=InnoDB DEFAULT
    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE tx (tx_id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY
    KEY, state TINYINT NOT NULL, at_ms BIGINT NOT NULL) ENGINE=InnoDB DEFAULT CHARACTER SET
    utf8mb4 COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE charges (charge_id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    PRIMARY KEY, idempotency_key VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    order_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, amount_fen BIGINT NOT
    NULL, state VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, at_ms BIGINT NOT
    NULL, UNIQUE (idempotency_key) , KEY charges_by_order (order_id)) ENGINE=InnoDB DEFAULT
    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE parcels (parcel_id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    PRIMARY KEY, dispatch_key VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    order_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, at_ms BIGINT NOT NULL,
    UNIQUE (dispatch_key) , KEY parcels_by_order (order_id)) ENGINE=InnoDB DEFAULT CHARACTER SET
    utf8mb4 COLLATE utf8mb4_bin
    """,
    """
    CREATE TABLE reviews (sku VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, buyer
    VARBINARY(512) NOT NULL, stars TINYINT NOT NULL, text TEXT NOT NULL, created_ms BIGINT NOT
    NULL, PRIMARY KEY (sku, buyer)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE
    utf8mb4_bin
    """,
)
