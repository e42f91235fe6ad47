"""Strategies in SQL, through the orders database's own adapters: a guarded UPDATE, and the read-then-write it replaces.

One row in a table of its own (``saleops_strategy_SUFFIX_NAME``), one transaction a unit, one connection and one thread a
buyer at the counter, as the order workers have. The difference to the order path is that nothing is batched: this is what a
hot row costs when every order comes alone.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from saleops.adapters.sql_dialect import SqlDialect, Transaction
from saleops.ports.strategies import Sell

T = TypeVar("T")


class SqlStrategy:
    """``UPDATE ... SET sold = sold + 1 WHERE sold < total``: the check and the write are one statement."""

    name, where = "sql", "database"

    def __init__(self, open_book: Callable[[], SqlDialect], suffix: str) -> None:
        """``open_book`` gives a book that connects when it is first used."""
        self._open_book = open_book
        self._table = f"saleops_strategy_{suffix}_{self.name.replace('-', '_')}"
        self.keys = self._table

    def _statement(self, text: str) -> str:
        """``text`` on our table, whose name is made of nothing but our own letters and hex digits."""
        return text.replace("TABLE_", self._table)

    async def missing(self) -> str:
        return ""

    async def prepare(self, units: int) -> None:
        def work(book: SqlDialect) -> None:
            # Apart, because MySQL ends a transaction at CREATE TABLE.
            book._transact("making a throw-away table", self._create)
            book._transact(
                "filling it",
                lambda sql: sql.run(
                    self._statement("INSERT INTO TABLE_ VALUES (1, ?, 0)"), (units,)
                ),
            )

        async with self._thread() as (book, run):
            await run(lambda: work(book))

    def _create(self, sql: Transaction) -> None:
        sql.run(
            f"CREATE TABLE {self._table} "
            "(id INTEGER NOT NULL PRIMARY KEY, total BIGINT NOT NULL, sold BIGINT NOT NULL)"
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Sell]:
        async with self._thread() as (book, run):
            await run(book.ping)

            async def sell(buyer: str) -> bool:
                return await run(lambda: self._sell(book))

            yield sell

    def _sell(self, book: SqlDialect) -> bool:
        guarded = self._statement("UPDATE TABLE_ SET sold = sold + 1 WHERE id = 1 AND sold < total")
        return book._transact("selling a unit", lambda sql: sql.run(guarded)) == 1

    async def counted(self) -> int:
        async with self._thread() as (book, run):
            [(sold,)] = await run(
                lambda: book._read(
                    "counting", self._statement("SELECT sold FROM TABLE_ WHERE id = 1")
                )
            )
        return int(sold)

    async def clear(self) -> None:
        async with self._thread() as (book, run):
            drop = f"DROP TABLE IF EXISTS {self._table}"
            await run(lambda: book._transact("removing a throw-away table", lambda s: s.run(drop)))

    @asynccontextmanager
    async def _thread(self) -> "AsyncIterator[tuple[SqlDialect, _Run]]":
        """A book and the way into the one thread that owns it."""
        book = self._open_book()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self.name)
        try:
            yield book, _Run(pool)
        finally:
            # A statement that runs just now is waited for (the adapter bounds it): the table can be dropped only then.
            await asyncio.get_running_loop().run_in_executor(pool, book.close)
            pool.shutdown()


class NaiveSqlStrategy(SqlStrategy):
    """SELECT what was sold, compare, UPDATE to one more: the lost update of every first try at a shop."""

    name = "sql-naive"

    def _sell(self, book: SqlDialect) -> bool:
        read = self._statement("SELECT total, sold FROM TABLE_ WHERE id = 1")
        [(total, sold)] = book._read("reading what was sold", read)
        if sold >= total:
            return False
        write = self._statement("UPDATE TABLE_ SET sold = ? WHERE id = 1")
        book._transact("selling a unit", lambda sql: sql.run(write, (sold + 1,)))
        return True


class _Run:
    """Runs a call in the thread of ``pool``."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    async def __call__(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def sql_strategies(open_book: Callable[[], SqlDialect]) -> list[SqlStrategy]:
    """All of them, under one new suffix."""
    suffix = secrets.token_hex(4)
    return [SqlStrategy(open_book, suffix), NaiveSqlStrategy(open_book, suffix)]
