"""The orders database on MySQL and its kin: MySQL 5.7 and 8, PolarDB, MariaDB.

The group commit is one round trip: BEGIN, one INSERT of all orders, one guarded UPDATE over all SKUs, the
transaction's own row and COMMIT travel in one packet. The server stops at the first statement that fails, and the
transaction's row makes a failed guard an error: its state is NULL, which the table refuses, unless the UPDATE before it
changed one row a SKU and the sale's row holds the caller's epoch. So COMMIT is reached only when everything went well, and a
hot SKU's row is locked for no longer than that takes: its lock never waits for the network.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pymysql.converters import escape_string

from saleops.adapters.mysql_session import (
    PACKET_CHARS,
    Connection,
    MysqlAddress,
    MysqlSession,
    mysql_address,
    rows_of,
)
from saleops.adapters.sql_batch import ORDER_COLUMNS, NowMs, OrderBatch
from saleops.adapters.sql_dialect import DuplicateKey, Row, Transaction, wall_ms
from saleops.adapters.sql_orders import SqlOrderBook
from saleops.adapters.sql_schema import (
    INDEXES,
    MYSQL,
    VERSION,
    create_statements,
    steps_from,
)
from saleops.domain.orders import Order
from saleops.errors import Refused, StoreUnavailable
from saleops.ports.orders import BatchOutcome, Review

T = TypeVar("T")

MIGRATE_WAIT_S = (
    15  # for another process that creates the tables; below the session's answer timeout
)
MIGRATE_LIMIT_S = 900.0  # for one new index: 10 million orders take about a minute


class MysqlOrderBook(SqlOrderBook):
    """OrderBook on one MySQL connection, opened at the first call."""

    lock_rows = " FOR UPDATE"
    lock_shared = " LOCK IN SHARE MODE"  # FOR SHARE is not known to MySQL 5.7 and MariaDB

    def __init__(self, address: MysqlAddress, *, now_ms: NowMs = wall_ms) -> None:
        super().__init__(now_ms=now_ms)
        self._address = address
        self._session = MysqlSession(address)

    @classmethod
    def from_url(cls, url: str) -> "MysqlOrderBook":
        """``mysql://user:password@host:port/database[?unix_socket=/path][&ssl_ca=/path]``, percent-encoded."""
        return cls(mysql_address(url))

    def close(self) -> None:
        self._session.close()

    def migrate(self) -> None:
        # The server's named locks are shared by all its databases.
        lock = (
            "saleops:"
            + hashlib.blake2b(self._address.database.encode(), digest_size=16).hexdigest()
        )

        def work(connection: Connection) -> None:
            ((granted,),) = rows_of(connection, "SELECT GET_LOCK(?, ?)", (lock, MIGRATE_WAIT_S))
            if granted != 1:
                raise StoreUnavailable(
                    f"another process has been creating tables in {self._address} for {MIGRATE_WAIT_S} s; "
                    "nothing was written",
                    hint="Try again when it is done.",
                )
            try:
                self._bring_up(connection)
            finally:
                if connection.open:
                    rows_of(connection, "SELECT RELEASE_LOCK(?)", (lock,))

        self._session.transact("creating tables", work, answer_timeout_s=MIGRATE_LIMIT_S)

    def _bring_up(self, connection: Connection) -> None:
        """Every statement commits by itself (MySQL's do, where they change a table), and every one may run again."""
        statements = create_statements(MYSQL, keys=True)
        connection.query(statements[0])
        rows = rows_of(connection, "SELECT version FROM schema_version")
        version = rows[0][0] if rows else 0
        if version > VERSION:
            raise Refused(
                f"{self._address} was written by a later saleops (tables of version {version}, "
                f"this one knows {VERSION}); nothing was changed",
                hint="Use that version of saleops, or another database.",
            )
        for statement in statements[1:]:
            connection.query(statement)
        found = rows_of(
            connection,
            "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()",
        )
        there = {name for (name,) in found}
        for name, columns in INDEXES.items():
            if name not in there:
                connection.query(f"CREATE INDEX {name} ON {columns}")
        for step in steps_from(version):
            connection.query(step)
        if version < VERSION:
            connection.query(
                f"INSERT INTO schema_version (id, version) VALUES (1, {VERSION}) "
                f"ON DUPLICATE KEY UPDATE version = {VERSION}"
            )

    def _read(self, what: str, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
        return self._session.read(what, sql, values)

    def _transact(self, what: str, work: Callable[[Transaction], T]) -> T:
        return self._session.transact(what, lambda connection: work(_MysqlTransaction(connection)))

    def _empty(self, tables: Sequence[str]) -> None:
        for table in tables:
            self._session.read("emptying the sale's tables", f"TRUNCATE TABLE {table}")

    def place(self, tx_id: str, orders: Sequence[Order], *, epoch: str = "") -> BatchOutcome:
        """See the port. A run whose COMMIT got no answer may still be on its way inside the server: beside it only "committed"
        is final. For all else the caller asks ``tx_state`` with ``fence``, which stops it."""
        with self._session.as_one() as in_doubt:
            outcome = super().place(tx_id, orders, epoch=epoch)
            if in_doubt() and not outcome.committed:
                raise self._session.unknown(
                    "placing orders", ConnectionError("what was sent first may still commit")
                )
            return outcome

    def _place_at_once(self, batch: OrderBatch, epoch: str) -> bool:
        good = f"ROW_COUNT() = {len(batch.units)}"
        if epoch:
            on_epoch = f"id = 1 AND epoch = {_literal(epoch)} AND complete = 1"
            good += f" AND (SELECT COUNT(*) FROM sale WHERE {on_epoch}{self.lock_shared}) = 1"
        tx_row = f"('{batch.tx_id}', IF({good}, 1, NULL), {self._now_ms():d})"
        packet = (
            f"BEGIN;{_insert('orders', ORDER_COLUMNS, _order_rows(batch))};{_take(batch.units)};"
            f"{_insert('tx', 'tx_id, state, at_ms', tx_row)};COMMIT"
        )
        try:
            self._session.send_packet("placing orders", packet)
        except DuplicateKey:
            return False
        return True

    def _order(self, row: Row) -> Order:
        order_id, buyer, *rest = row
        return Order(order_id, buyer.decode(), *rest)

    def _review(self, row: Row) -> Review:
        sku, buyer, *rest = row
        return Review(sku, buyer.decode(), *rest)


class _MysqlTransaction:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        with self._connection.cursor() as cursor:
            return cursor.execute(sql.replace("?", "%s"), tuple(values))

    def rows(self, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
        return rows_of(self._connection, sql, values)

    def insert(self, table: str, columns: str, rows: Sequence[Row], *, keep: str = "") -> int:
        new = 0
        for literals in _packets(rows):
            new += self._connection.query(_insert(table, columns, literals, keep=keep))
        return new

    def take(self, units: Mapping[str, int]) -> int:
        return self._connection.query(_take(units))

    def give_back(self, units: Mapping[str, int]) -> int:
        moved, skus = _per_sku(units)
        return self._connection.query(
            f"UPDATE stock FORCE INDEX (PRIMARY) SET sold = sold - {moved} WHERE sku IN ({skus}) AND sold >= {moved}"
        )


# -- statements as text: cheaper by far than the driver's own formatting, which the hot path cannot afford ------------


def _literal(value: object) -> str:
    kind = type(value)
    if kind is str:
        return f"'{escape_string(value)}'"  # type: ignore[arg-type] # it is a str
    if kind is int:
        return str(value)
    if kind is float and value == value and value not in (float("inf"), float("-inf")):
        return repr(value)
    if isinstance(value, int):  # an IntEnum, a bool
        return str(int(value))
    raise ValueError(f"{value!r} cannot be stored")


def _packets(rows: Sequence[Row]) -> list[str]:
    """``(...),(...)`` of all rows, in pieces that fit into a packet."""
    pieces: list[str] = []
    piece: list[str] = []
    size = 0
    for row in rows:
        text = f"({','.join([_literal(value) for value in row])})"
        if size + len(text) > PACKET_CHARS and piece:
            pieces.append(",".join(piece))
            piece, size = [], 0
        piece.append(text)
        size += len(text)
    return [*pieces, ",".join(piece)] if piece else pieces


def _insert(table: str, columns: str, literals: str, *, keep: str = "") -> str:
    # Unlike INSERT IGNORE this forgives a duplicate key and nothing else.
    end = f" ON DUPLICATE KEY UPDATE {keep} = {table}.{keep}" if keep else ""
    return f"INSERT INTO {table} ({columns}) VALUES {literals}{end}"


_ORDER_ROW = "('%s','%s','%s',%d,%d,%d,%d,'%s','%s',%d,'%s')"


def _order_rows(batch: OrderBatch) -> str:
    # ids and SKUs were checked to be plain; %d takes nothing but numbers.
    return ",".join(
        [
            _ORDER_ROW
            % (
                row[0],
                escape_string(row[1]),
                escape_string(row[2]),
                *row[3:7],
                escape_string(row[7]),
                escape_string(row[8]),
                row[9],
                row[10],
            )
            for row in batch.rows
        ]
    )


def _take(units: Mapping[str, int]) -> str:
    moved, skus = _per_sku(units)
    return (
        f"UPDATE stock FORCE INDEX (PRIMARY) SET sold = sold + {moved} "
        f"WHERE sku IN ({skus}) AND sold + {moved} <= total"
    )


def _per_sku(units: Mapping[str, int]) -> tuple[str, str]:
    """An expression for the units of a row's SKU, and the list of all SKUs.

    Orders buy few units, so there are few different counts: a CASE over sorted lists is looked up, not walked.
    The primary key's ranges are visited in SKU order, which is the order in which rows are locked.
    """
    of_count: dict[int, list[str]] = {}
    for sku, count in units.items():
        of_count.setdefault(count, []).append(_literal(sku))
    skus = ",".join([_literal(sku) for sku in units])
    if len(of_count) == 1:
        return str(next(iter(of_count))), skus
    cases = [f"WHEN sku IN ({','.join(names)}) THEN {count:d}" for count, names in of_count.items()]
    return f"CASE {' '.join(cases)} END", skus
