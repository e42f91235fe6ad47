"""Databases of an earlier saleops are brought up to today's tables, with all that is in them."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from saleops.adapters import mysql_orders, sqlite_orders
from saleops.adapters.mysql_session import mysql_address
from saleops.adapters.sql_schema import INDEXES, VERSION
from saleops.domain.orders import Order, TxState, order_id_of
from saleops.errors import SaleopsError
from saleops.ports.orders import BatchOutcome, OrderBook, SaleRow
from saleops.ports.stock import Mark
from saleops.wiring import open_order_book
from schema_v1 import MYSQL_V1, SQLITE_V1
from servers import MariadbServer

ORDERS = 60
ONE = order_id_of("s", "ann", "0")
ROWS = (
    "INSERT INTO schema_version VALUES (1, 1)",
    "INSERT INTO sale VALUES (1, 'drop', 'epoch-1', 'v1', 1, 100, 1)",
    "INSERT INTO products VALUES ('sku-1', 'One', 100, 100, 0, 1.0, '', '')",
    f"INSERT INTO stock VALUES ('sku-1', 100, {ORDERS}, 1)",
    *(
        f"INSERT INTO orders VALUES ('{order_id_of('s', 'ann', str(n))}', 'ann', 'sku-1', 1, 100, 5, 10, "
        f"'{n}', 'tok', 0, 'tx-{n % 7}')"
        for n in range(ORDERS)
    ),
    *(f"INSERT INTO tx VALUES ('tx-{n}', 1, {n})" for n in range(7)),
    "INSERT INTO tx VALUES ('tx-9', 2, 5)",
)
Database = tuple[str, Callable[[str], list[tuple[object, ...]]]]


@pytest.fixture(params=["sqlite", "mysql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of version 1 with 60 orders in 7 commits: its URL, and a way to send it SQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "sqlite":
        with closing(sqlite3.connect(tmp_path / "orders.db", isolation_level=None)) as connection:

            def run(sql: str) -> list[tuple[object, ...]]:
                return connection.execute(sql).fetchall()

            for statement in (*SQLITE_V1, *ROWS):
                run(statement)
            yield url, run
        return
    server: MariadbServer = request.getfixturevalue("mysql_server")
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"USE {mysql_address(url).database}")

        def ask(sql: str) -> list[tuple[object, ...]]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        for statement in (*MYSQL_V1, *ROWS):
            ask(statement)
        yield url, ask


def assert_brought_up(book: OrderBook, run: Callable[[str], list[tuple[object, ...]]]) -> None:
    assert run("SELECT version FROM schema_version") == [(VERSION,)]
    assert len(list(book.every_order())) == ORDERS
    assert book.sale("drop") == SaleRow("drop", "epoch-1", "v1", 1, 100, True)
    assert [row.sold for row in book.every_stock()] == [ORDERS]
    assert len(book.orders_of_tx("tx-3")) == 9
    assert book.tx_state("tx-3") == TxState.ANNOUNCED  # nobody counted: they are not sent again
    assert book.tx_state("tx-9") == TxState.ABORTED
    assert book.unannounced(before_ms=2**52, limit=9) == []


def assert_new_tables_work(book: OrderBook) -> None:
    book.keep_marks("epoch-1", {0: Mark(1, "s1")})
    assert book.marks() == ("epoch-1", {0: Mark(1, "s1")})
    assert book.journal(limit=1) == []
    assert book.accepted() == []
    new = Order(order_id_of("s", "bob", "k"), "bob", "sku-1", 1, 100, 5, 10, "k")
    assert book.place("tx-new", [new], epoch="epoch-1") == BatchOutcome(True, {}, frozenset())
    assert book.unannounced(before_ms=2**52, limit=9) == ["tx-new"]


def test_a_database_of_version_1_is_brought_up_with_its_orders(old: Database) -> None:
    url, run = old
    with open_order_book(url) as book:
        book.migrate()
        assert_brought_up(book, run)
        assert_new_tables_work(book)
        book.migrate()
        assert book.unannounced(before_ms=2**52, limit=9) == ["tx-new"]  # the step runs once


def test_processes_that_migrate_at_once_all_succeed(old: Database) -> None:
    url, run = old
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            with open_order_book(url) as book:
                book.migrate()
        except BaseException as error:  # noqa: BLE001 # looked at below
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with open_order_book(url) as book:
        assert_brought_up(book, run)
        assert_new_tables_work(book)


@pytest.mark.parametrize("broken", ["an index", "a step"])
def test_a_migration_that_was_cut_off_is_run_again(
    old: Database, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, run = old
    with open_order_book(url) as book:
        with monkeypatch.context() as patch:
            for module in (mysql_orders, sqlite_orders):
                if broken == "an index":
                    patch.setattr(module, "INDEXES", {**INDEXES, "bad": "orders (no_such_column)"})
                else:
                    bad = ["UPDATE tx SET state = 3 WHERE state = 1", "UPDATE nowhere SET x = 1"]
                    patch.setattr(module, "steps_from", lambda version, bad=bad: bad)
            with pytest.raises((SaleopsError, ValueError)):
                book.migrate()
        assert run("SELECT version FROM schema_version") == [(1,)]
        book.migrate()
        assert_brought_up(book, run)
        assert_new_tables_work(book)


def test_orders_go_on_while_another_process_migrates(old: Database) -> None:
    url, run = old
    done = threading.Event()
    placed: list[str] = []

    def sell() -> None:
        with open_order_book(url) as book:
            for number in range(30):
                one = Order(
                    order_id_of("s", "eve", str(number)), "eve", "sku-1", 1, 100, 5, 10, "k"
                )
                assert book.place(f"eve-{number}", [one]).committed
                placed.append(one.order_id)
                if number == 5:
                    done.set()

    selling = threading.Thread(target=sell)
    selling.start()
    assert done.wait(20)
    with open_order_book(url) as book:
        book.migrate()
        selling.join(60)
        assert len(placed) == 30
        assert set(placed) <= {each.order_id for each in book.every_order()}
    assert run("SELECT version FROM schema_version") == [(VERSION,)]


def test_a_new_database_has_every_index(sqlite_url: str, mysql_url: str) -> None:
    with open_order_book(sqlite_url) as book:
        book.migrate()
        rows = book._read("asking", "SELECT name FROM sqlite_master WHERE type = 'index'")  # type: ignore[attr-defined]
        assert set(INDEXES) <= {name for (name,) in rows}
    with open_order_book(mysql_url) as book:
        book.migrate()
        rows = book._read(  # type: ignore[attr-defined]
            "asking",
            "SELECT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()",
        )
        assert set(INDEXES) <= {name for (name,) in rows}
