"""SQLite's own ways to fail, and that a commit is on disk."""

import fcntl
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from saleops.adapters import sqlite_orders
from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.domain.items import Item
from saleops.domain.orders import Order, TxState, order_id_of
from saleops.errors import Refused, StoreUnavailable

ONE = Order(order_id_of("s", "ann", "a"), "ann", "sku-1", 1, 100, 5, 10, "a")


def test_tables_that_are_missing_are_explained(sqlite_url: str) -> None:
    with (
        closing(SqliteOrderBook.from_url(sqlite_url)) as book,
        pytest.raises(StoreUnavailable, match="no such table") as failure,
    ):
        book.place("tx-1", [ONE])
    assert "saleops seed" in (failure.value.hint or "")


def test_a_folder_that_is_missing_is_explained(tmp_path: Path) -> None:
    with (
        closing(SqliteOrderBook(tmp_path / "nowhere" / "orders.db")) as book,
        pytest.raises(StoreUnavailable, match="unable to open") as failure,
    ):
        book.ping()
    assert str(tmp_path / "nowhere") in (failure.value.hint or "")


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    path.write_text("these are not the rows you are looking for" * 100)
    with (
        closing(SqliteOrderBook(path)) as book,
        pytest.raises(StoreUnavailable, match="not a database") as failure,
    ):
        book.migrate()
    assert failure.value.hint
    assert path.read_text().startswith("these")


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with closing(SqliteOrderBook(tmp_path / "orders.db")) as book:
        book.migrate()
        with closing(sqlite3.connect(tmp_path / "orders.db")) as other, other:
            other.execute("UPDATE schema_version SET version = 99")
        with pytest.raises(Refused, match="99"):
            book.migrate()


def test_a_writer_that_never_ends_is_reported_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_orders, "BUSY_TIMEOUT_S", 0.05)
    with closing(SqliteOrderBook(tmp_path / "orders.db")) as book:
        book.migrate()
        book.add_items([(Item("sku-1", "One", 100, 1), 1)])
        with closing(sqlite3.connect(tmp_path / "orders.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked") as failure:
                book.place("tx-1", [ONE])
            assert failure.value.hint
            assert book.orders([ONE.order_id]) == {}  # readers do not wait for the writer
        assert book.place("tx-1", [ONE]).committed


def test_a_writer_that_hangs_in_its_turn_is_reported_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_orders, "BUSY_TIMEOUT_S", 0.05)
    with closing(SqliteOrderBook(tmp_path / "orders.db")) as book:
        book.migrate()
        book.add_items([(Item("sku-1", "One", 100, 1), 1)])
        with (tmp_path / "orders.db-writers").open("rb") as hung:
            fcntl.flock(hung, fcntl.LOCK_EX)
            with pytest.raises(
                StoreUnavailable, match=r"locked by another.*nothing was written"
            ) as failure:
                book.place("tx-1", [ONE])
            assert failure.value.hint
            assert book.orders([ONE.order_id]) == {}
        assert book.place("tx-1", [ONE]).committed  # its end gave the turn back


def test_a_failed_write_gives_its_turn_back(tmp_path: Path) -> None:
    with closing(SqliteOrderBook(tmp_path / "orders.db")) as book:
        book.migrate()
        with pytest.raises(ValueError, match="refused a value"):
            book.add_items([(Item("sku-1", "One", 100, -1), 1)])
        with closing(SqliteOrderBook(tmp_path / "orders.db")) as other:
            assert other.add_items([(Item("sku-1", "One", 100, 1), 1)]) == 1


def test_an_interrupt_in_the_middle_rolls_back(tmp_path: Path) -> None:
    class Interrupted(SqliteOrderBook):
        def _write_batch(self, *arguments: object) -> None:
            super()._write_batch(*arguments)  # type: ignore[arg-type] # passed on as they came
            raise KeyboardInterrupt

    with closing(SqliteOrderBook(tmp_path / "orders.db")) as book:
        book.migrate()
        book.add_items([(Item("sku-1", "One", 100, 1), 1)])
        with closing(Interrupted(tmp_path / "orders.db")) as interrupted:
            with pytest.raises(KeyboardInterrupt):
                interrupted.place("tx-1", [ONE])
            assert interrupted.tx_state("tx-1") is None
        assert book.place("tx-2", [ONE]).committed


def test_a_commit_survives_the_death_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    script = """
import os, signal, sys
from pathlib import Path
from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.domain.items import Item
from saleops.domain.orders import Order, order_id_of
book = SqliteOrderBook(Path(sys.argv[1]))
book.migrate()
book.add_items([(Item("sku-1", "One", 100, 9), 1)])
order = Order(order_id_of("s", "ann", "a"), "ann", "sku-1", 1, 100, 5, 10, "a")
assert book.place("tx-1", [order]).committed
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(path)], timeout=60, check=False)
    assert ended.returncode == -9
    with closing(SqliteOrderBook(path)) as book:
        assert book.tx_state("tx-1") == TxState.COMMITTED
        assert [row.sold for row in book.every_stock()] == [1]


def test_commits_are_synced_to_disk(tmp_path: Path) -> None:
    with closing(SqliteOrderBook(tmp_path / "orders.db")) as book:
        book.migrate()
        assert book._read("asking", "PRAGMA synchronous") == [(2,)]  # FULL
        assert book._read("asking", "PRAGMA journal_mode") == [("wal",)]
