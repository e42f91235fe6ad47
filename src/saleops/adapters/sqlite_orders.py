"""The orders database on SQLite: the embedded default. One file, several processes.

Write-ahead log with ``synchronous=FULL``: a commit is on disk when it returns, and readers never wait for a writer. There is one
writer at a time: each write begins with ``BEGIN IMMEDIATE``, so nobody finds out in the middle that another one was first.

Whose turn it is, is settled by a lock on a file beside the database, not by SQLite: its busy timeout sleeps ever longer (up to
100 ms) between two looks, and a worker that writes all the time shuts the others out (4 writers without a pause on 2 busy
cores: the longest wait was 1.8 s and one wrote a tenth of another's orders; with the file lock 0.2 s and even shares).
A process that dies lets go of the lock.
"""

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from saleops.adapters.sql_batch import NowMs
from saleops.adapters.sql_dialect import DuplicateKey, Row, Transaction, marks, wall_ms
from saleops.adapters.sql_orders import SqlOrderBook
from saleops.adapters.sql_schema import (
    INDEXES,
    SQLITE,
    VERSION,
    create_statements,
    steps_from,
)
from saleops.errors import ConfigError, Refused, StoreUnavailable

T = TypeVar("T")

BUSY_TIMEOUT_S = 10.0


class SqliteOrderBook(SqlOrderBook):
    """OrderBook in one SQLite file. Opened at the first call, in whatever thread makes it."""

    def __init__(self, path: Path, *, now_ms: NowMs = wall_ms) -> None:
        super().__init__(now_ms=now_ms)
        self._path = path
        self._connection: sqlite3.Connection | None = None
        # A database in memory has one writer: this connection.
        shared = str(path) != ":memory:"
        self._turn = _WritersTurn(path.with_name(f"{path.name}-writers") if shared else None)

    @classmethod
    def from_url(cls, url: str) -> "SqliteOrderBook":
        """``sqlite:///relative/path`` or ``sqlite:////absolute/path``, percent-encoded where needed."""
        prefix, _, path = url.partition(":///")
        if prefix != "sqlite" or not path or "?" in path or "#" in path or "\0" in unquote(path):
            raise ConfigError(
                f"{url!r} is no address of a SQLite file; nothing was opened",
                hint="Use sqlite:///relative/orders.db or sqlite:////absolute/orders.db.",
            )
        return cls(Path(unquote(path)))

    def check_there(self) -> None:
        """Raises ConfigError where opening would make a new, empty file."""
        if not self._path.is_file() and str(self._path) != ":memory:":
            raise ConfigError(
                f"there is no orders database in {self._path}; nothing was made or changed",
                hint="Name the database that `saleops seed` filled.",
            )

    def close(self) -> None:
        self._turn.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def migrate(self) -> None:
        def work(sql: Transaction) -> None:
            # All of it in one transaction: another process sees the old tables or the new ones.
            statements = create_statements(SQLITE)
            for name, columns in INDEXES.items():
                statements.append(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
            for statement in statements:
                sql.run(statement)
            rows = sql.rows("SELECT version FROM schema_version")
            version = rows[0][0] if rows else 0
            if version > VERSION:
                raise Refused(
                    f"{self._path} was written by a later saleops (tables of version {version}, "
                    f"this one knows {VERSION}); nothing was changed",
                    hint="Use that version of saleops, or another file.",
                )
            for step in steps_from(version):
                sql.run(step)
            if version < VERSION:
                sql.run("DELETE FROM schema_version")
                sql.insert("schema_version", "id, version", [(1, VERSION)])

        self._transact("creating tables", work)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,  # transactions begin where we say so, not where the driver guesses
                check_same_thread=False,  # opened in one thread, then owned by the book's thread
                cached_statements=256,
            )
            try:
                _write_ahead(connection)
                connection.execute("PRAGMA synchronous=FULL")
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _read(self, what: str, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
        try:
            return self._open().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(what, error) from error

    def _transact(self, what: str, work: Callable[[Transaction], T]) -> T:
        try:
            connection = self._open()
            with self._turn.taken(what):
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    result = work(_SqliteTransaction(connection))
                    connection.execute("COMMIT")
                except BaseException:
                    # A failed COMMIT may have rolled back by itself, or may wait for one.
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise self._explained(what, error) from error
        return result

    def _empty(self, tables: Sequence[str]) -> None:
        def work(sql: Transaction) -> None:
            for table in tables:
                sql.run(f"DELETE FROM {table}")

        self._transact("emptying the sale's tables", work)

    def _explained(self, what: str, error: sqlite3.Error) -> Exception:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
            return ValueError(
                f"{what}: {self._path} refused a value ({error}); nothing was written"
            )
        text, hint = str(error), None
        if "no such table" in text:
            hint = "Run `saleops seed` first: it creates the tables."
        elif "locked" in text or "busy" in text:
            hint = _BUSY_HINT
        elif "unable to open" in text:
            hint = f"Create the folder {self._path.parent} and let this user write there."
        elif "not a database" in text or "malformed" in text:
            hint = "The file is something else, or damaged: use another one, or restore it."
        elif "full" in text:
            hint = "Free some space on that disk."
        return StoreUnavailable(f"{what}: {self._path}: {text}; nothing was written", hint=hint)


class _WritersTurn:
    """The right to write, held by one process (or connection) at a time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None

    @contextmanager
    def taken(self, what: str) -> Iterator[None]:
        """Wait for the turn and hold it. Raises StoreUnavailable after BUSY_TIMEOUT_S."""
        if self._path is None:
            yield
            return
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._wait(self._file, what)
        except OSError as error:
            raise StoreUnavailable(
                f"{what}: {self._path}: {error.strerror}; nothing was written",
                hint="Put the database on a local disk, in a folder where this user may write.",
            ) from error
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _wait(self, file: int, what: str) -> None:
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"{what}: {self._path} has been locked by another process for "
                        f"{BUSY_TIMEOUT_S:g} s; nothing was written",
                        hint=_BUSY_HINT,
                    ) from None
            time.sleep(
                random.uniform(0.0002, 0.001)
            )  # shorter than a commit: nobody is passed over for long

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


_BUSY_HINT = "Another process has been writing for long: look for a second `saleops` on this file."


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on. Where several processes open a new file at once, SQLite answers "locked" here without
    waiting for its busy timeout, so we wait."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.005, 0.03))


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
        return self._connection.execute(sql, values).fetchall()

    def insert(self, table: str, columns: str, rows: Sequence[Row], *, keep: str = "") -> int:
        end = " ON CONFLICT DO NOTHING" if keep else ""
        places = marks(columns.count(",") + 1)
        sql = f"INSERT INTO {table} ({columns}) VALUES ({places}){end}"
        try:
            return self._connection.executemany(sql, rows).rowcount
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode in _DUPLICATES:
                raise DuplicateKey from error
            raise

    def take(self, units: Mapping[str, int]) -> int:
        return self._connection.executemany(
            "UPDATE stock SET sold = sold + ?1 WHERE sku = ?2 AND sold + ?1 <= total",
            [(count, sku) for sku, count in units.items()],
        ).rowcount

    def give_back(self, units: Mapping[str, int]) -> int:
        return self._connection.executemany(
            "UPDATE stock SET sold = sold - ?1 WHERE sku = ?2 AND sold >= ?1",
            [(count, sku) for sku, count in units.items()],
        ).rowcount


_DUPLICATES = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
