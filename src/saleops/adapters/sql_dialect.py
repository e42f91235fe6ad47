"""What a SQL dialect gives to the statements that all dialects share.

Two ways to the database, ``_read`` for one SELECT and ``_transact`` for a transaction that may run twice, and a
``Transaction`` with the few statements that are spelled differently. Statements are written with ``?``.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from saleops.adapters.sql_batch import NowMs
from saleops.domain.orders import Order

T = TypeVar("T")
Row = tuple[Any, ...]

IDS_AT_ONCE = 500  # ids in one IN (...)
TRIES = 8  # to write where another process wrote between our look and our write


class DuplicateKey(Exception):
    """An INSERT met its own primary key; the transaction was rolled back."""


class Transaction(Protocol):
    """What a transaction may send. All of it is undone when the work raises."""

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        """Execute; returns the rows it changed."""
        ...

    def rows(self, sql: str, values: Sequence[object] = ()) -> Sequence[Row]: ...

    def insert(self, table: str, columns: str, rows: Sequence[Row], *, keep: str = "") -> int:
        """Insert ``rows``; returns how many are new. With ``keep`` (the primary key's first column) rows that exist stay
        as they are; without, one of them raises DuplicateKey."""
        ...

    def take(self, units: Mapping[str, int]) -> int:
        """sold += units where that does not pass total; returns the SKUs it was possible for."""
        ...

    def give_back(self, units: Mapping[str, int]) -> int: ...


def marks(count: int) -> str:
    return ",".join("?" * count)


def chunks(values: Sequence[T], size: int = IDS_AT_ONCE) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqlDialect(ABC):
    """The base of the orders database in SQL."""

    lock_rows = ""  # what a SELECT adds to lock its rows until the transaction ends
    lock_shared = ""  # ... against changes, while others may lock them in the same way

    def __init__(self, *, now_ms: NowMs = wall_ms) -> None:
        self._now_ms = now_ms

    # -- what a dialect gives ---------------------------------------------------------------------------------
    @abstractmethod
    def migrate(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _read(self, what: str, sql: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """One SELECT outside a transaction."""

    @abstractmethod
    def _transact(self, what: str, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` and commit. It may run more than once; only one run is committed."""

    @abstractmethod
    def _empty(self, tables: Sequence[str]) -> None:
        """Delete all rows of ``tables``."""

    def _order(self, row: Row) -> Order:
        return Order(*row)

    def ping(self) -> None:
        self._read("asking the orders database for a sign of life", "SELECT 1")
