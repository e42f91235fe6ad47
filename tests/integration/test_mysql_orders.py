"""What a network and a server can do to the orders database on MySQL, tried on Debian's MariaDB.

``Wire`` stands between: it can lose the answer to a COMMIT, or the COMMIT itself, which no server does on request.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from saleops.adapters import mysql_session
from saleops.adapters.mysql_orders import MysqlOrderBook
from saleops.adapters.mysql_session import mysql_address
from saleops.domain.items import Item
from saleops.domain.orders import Order, TxState, order_id_of
from saleops.errors import Refused, StoreUnavailable
from saleops.ports.orders import BatchOutcome, SaleRow, UnknownOutcome
from servers import MariadbServer, free_port

PLACED = BatchOutcome(True, {}, frozenset())


def order(key: str, sku: str = "sku-1") -> Order:
    return Order(order_id_of("s", "ann", key), "ann", sku, 1, 100, 5, 10, key)


@pytest.fixture
def book(mysql_url: str) -> Iterator[MysqlOrderBook]:
    with closing(MysqlOrderBook.from_url(mysql_url)) as book:
        book.migrate()
        book.add_items([(Item("sku-1", "One", 100, 50), 1), (Item("sku-2", "Two", 100, 50), 1)])
        yield book


def sold(book: MysqlOrderBook) -> list[int]:
    return [row.sold for row in book.every_stock()]


class Wire:
    """A TCP proxy on loopback that loses what it is told to lose, once or for ever."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lose: bytes | None = None  # cut at the packet that holds this
        self.deliver = True  # whether the packet reaches the server before the cut
        self.hang_up = False  # after a cut, refuse new connections
        self.cuts = 0
        self.answered = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            ends = (client, server, threading.Event())
            threading.Thread(target=self._pump_back, args=ends, daemon=True).start()
            threading.Thread(target=self._pump_out, args=ends, daemon=True).start()

    def _pump_out(
        self, client: socket.socket, server: socket.socket, losing: threading.Event
    ) -> None:
        with client, server, suppress(OSError):
            while data := client.recv(1 << 20):
                if self.lose and self.lose in data:
                    self.cuts += 1
                    losing.set()
                    self.lose = None
                    if self.hang_up:
                        self._listener.shutdown(socket.SHUT_RDWR)
                    client.shutdown(socket.SHUT_WR)  # the answer is lost ...
                    if self.deliver:
                        server.sendall(data)  # ... or the question too
                    server.shutdown(socket.SHUT_WR)
                    self.answered.wait(10)
                    return
                server.sendall(data)

    def _pump_back(
        self, client: socket.socket, server: socket.socket, losing: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 20):
                if not losing.is_set():
                    client.sendall(data)
        self.answered.set()  # the server has done what it was asked, and hung up

    def close(self) -> None:
        with suppress(OSError):  # it hung up already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def wire(mysql_server: MariadbServer) -> Iterator[Wire]:
    with closing(Wire(mysql_server.port)) as wire:
        yield wire


@pytest.fixture
def wired(wire: Wire, mysql_url: str) -> Iterator[MysqlOrderBook]:
    with closing(MysqlOrderBook(replace(mysql_address(mysql_url), port=wire.port))) as book:
        book.ping()
        yield book


# -- lost connections -------------------------------------------------------------------------------------------------


def test_an_answer_lost_during_commit_is_found_out_by_sending_again(
    book: MysqlOrderBook, wire: Wire, wired: MysqlOrderBook
) -> None:
    wire.lose = b"COMMIT"
    assert wired.place("tx-1", [order("a"), order("b")]) == PLACED
    assert wire.cuts == 1
    assert sold(book) == [2, 0]


def test_a_commit_that_never_arrived_is_sent_again(
    book: MysqlOrderBook, wire: Wire, wired: MysqlOrderBook
) -> None:
    wire.lose, wire.deliver = b"COMMIT", False
    assert wired.place("tx-1", [order("a")]) == PLACED
    assert wire.cuts == 1
    assert sold(book) == [1, 0]


@pytest.mark.parametrize("delivered", [True, False])
def test_where_nobody_can_tell_the_outcome_is_unknown_and_the_transactions_row_decides(
    book: MysqlOrderBook, wire: Wire, wired: MysqlOrderBook, delivered: bool
) -> None:
    wire.lose, wire.deliver, wire.hang_up = b"COMMIT", delivered, True
    with pytest.raises(UnknownOutcome, match="during COMMIT"):
        wired.place("tx-1", [order("a")])
    assert wire.answered.wait(10)  # the caller heard of the loss before the server was done
    state = book.tx_state("tx-1", fence=True)
    assert state == (TxState.COMMITTED if delivered else TxState.ABORTED)
    outcome = book.place("tx-1", [order("a")])
    assert outcome == (PLACED if delivered else BatchOutcome(False, {}, frozenset()))
    assert sold(book) == [int(delivered), 0]


def test_an_answer_lost_while_cancelling_gives_units_back_once(
    book: MysqlOrderBook, wire: Wire, wired: MysqlOrderBook
) -> None:
    orders = [order("a"), order("b")]
    book.place("tx-1", orders)
    wire.lose = b"COMMIT"
    cancelled = wired.cancel_unpaid([each.order_id for each in orders], now_ms=10)
    assert wire.cuts == 1
    assert {each.order_id for each in cancelled} == {each.order_id for each in orders}
    assert sold(book) == [0, 0]


def test_a_connection_lost_before_commit_wrote_nothing(
    book: MysqlOrderBook, wire: Wire, wired: MysqlOrderBook
) -> None:
    wire.lose, wire.hang_up = b"UPDATE orders", True
    book.place("tx-1", [order("a")])
    with pytest.raises(StoreUnavailable, match="nothing was written") as failure:
        wired.begin_payment([order("a").order_id])
    assert not isinstance(failure.value, UnknownOutcome)
    assert book.orders([order("a").order_id])[order("a").order_id].state == 0


def test_a_lost_read_is_asked_again(
    book: MysqlOrderBook, wire: Wire, wired: MysqlOrderBook
) -> None:
    wire.lose = b"SELECT sku, total"
    assert [row.total for row in wired.every_stock()] == [50, 50]
    assert wire.cuts == 1


def connections_of(server: MariadbServer, url: str) -> list[int]:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = %s",
            (mysql_address(url).database,),
        )
        return [int(row[0]) for row in cursor.fetchall()]


def kill(server: MariadbServer, connection: int) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL {connection}")


def test_a_connection_killed_while_idle_is_opened_again_unnoticed(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    for number, call in enumerate(
        (
            lambda: book.place("tx-1", [order("a")]),
            lambda: book.ping(),
            lambda: book.begin_payment([order("a").order_id]),
        )
    ):
        (connection,) = connections_of(mysql_server, mysql_url)
        kill(mysql_server, connection)
        call()
        assert sold(book)[0] == 1, number


def test_a_connection_killed_before_commit_and_tried_again_writes_once(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    outcomes: list[BatchOutcome] = []
    (connection,) = connections_of(mysql_server, mysql_url)
    database = mysql_address(mysql_url).database
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"USE {database}")
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM stock WHERE sku = 'sku-1' FOR UPDATE")
        placing = threading.Thread(target=lambda: outcomes.append(book.place("tx-1", [order("a")])))
        placing.start()
        wait_until(lambda: waiting(mysql_server, connection))
        kill(mysql_server, connection)
        wait_until(
            lambda: any(waiting(mysql_server, c) for c in connections_of(mysql_server, mysql_url))
        )
        cursor.execute("ROLLBACK")
    placing.join(30)
    assert outcomes == [PLACED]
    assert sold(book) == [1, 0]


def waiting(server: MariadbServer, connection: int) -> bool:
    """Whether ``connection`` waits for a row lock in an UPDATE."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM information_schema.innodb_trx "
            "WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'",
            (connection,),
        )
        return cursor.fetchone() is not None


def wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(600):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it never came true")


def test_a_deadlock_is_tried_again_and_both_end_right(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    # A stranger locks the two rows against our order; the server kills whoever is cheaper, and if that is us we go again.
    outcomes: list[BatchOutcome] = []
    (connection,) = connections_of(mysql_server, mysql_url)
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"USE {mysql_address(mysql_url).database}")
        cursor.execute("CREATE TABLE heavy (n INT PRIMARY KEY)")
        cursor.execute("BEGIN")
        values = ",".join(f"({number})" for number in range(2_000))
        cursor.execute(f"INSERT INTO heavy VALUES {values}")  # the heavier transaction lives
        cursor.execute("UPDATE stock SET total = total + 1 WHERE sku = 'sku-2'")
        batch = [order("a"), order("b", "sku-2")]
        placing = threading.Thread(target=lambda: outcomes.append(book.place("tx-1", batch)))
        placing.start()
        wait_until(lambda: waiting(mysql_server, connection))
        cursor.execute("UPDATE stock SET total = total + 1 WHERE sku = 'sku-1'")
        cursor.execute("COMMIT")
    placing.join(30)
    assert outcomes == [PLACED]
    assert [(row.total, row.sold) for row in book.every_stock()] == [(51, 1), (51, 1)]


def test_a_lock_that_is_never_granted_is_reported(
    book: MysqlOrderBook,
    mysql_server: MariadbServer,
    mysql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mysql_session, "BUSY_TRIES", 2)
    book._read("shortening the wait", "SET SESSION innodb_lock_wait_timeout = 1")
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"USE {mysql_address(mysql_url).database}")
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM stock FOR UPDATE")
        with pytest.raises(StoreUnavailable, match=r"[Ll]ock wait.*nothing was written") as failure:
            book.place("tx-1", [order("a")])
        cursor.execute("ROLLBACK")
    assert failure.value.hint
    assert book.tx_state("tx-1") is None
    assert book.place("tx-1", [order("a")]) == PLACED


# -- the server comes and goes ----------------------------------------------------------------------------------------


def test_a_crash_of_the_server_loses_no_commit_and_the_book_comes_back(
    book: MysqlOrderBook, mysql_server: MariadbServer
) -> None:
    assert book.place("tx-1", [order("a")]) == PLACED
    mysql_server.kill()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="nothing was written") as failure:
                book.place("tx-2", [order("b")])
            assert not isinstance(failure.value, UnknownOutcome)
    finally:
        mysql_server.start()
    assert book.tx_state("tx-1") == TxState.COMMITTED
    assert book.place("tx-2", [order("b")]) == PLACED
    assert sold(book) == [2, 0]


def test_a_read_only_server_is_explained_and_recovers(
    book: MysqlOrderBook, mysql_server: MariadbServer
) -> None:
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("REVOKE ALL ON *.* FROM 'saleops'@'%'")
        cursor.execute("GRANT ALL ON `sale\\_%`.* TO 'saleops'@'%'")
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            book.close()  # rights are read at connecting
            with pytest.raises(StoreUnavailable, match=r"read-only|read_only") as failure:
                book.place("tx-1", [order("a")])
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
            cursor.execute("GRANT ALL ON *.* TO 'saleops'@'%'")
    assert "primary" in (failure.value.hint or "")
    assert book.place("tx-1", [order("a")]) == PLACED


# -- addresses that lead nowhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text", "hint"),
    [
        ({"password": "wr0ng-s3cret"}, "Access denied", "password"),
        ({"user": "nobody", "password": "wr0ng-s3cret"}, "Access denied", "user"),
        ({"password": "wr0ng-s3cret-线"}, "Access denied", "password"),
        ({"database": "absent"}, "Unknown database", "CREATE DATABASE"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid", "host"),
        ({"unix_socket": "/nonexistent/my.sock"}, "/nonexistent/my.sock", None),
        ({"port": free_port()}, "refused", "running"),
    ],
)
def test_an_address_that_leads_nowhere_is_explained_without_the_password(
    mysql_url: str, change: dict[str, str | int], text: str, hint: str | None
) -> None:
    address = replace(mysql_address(mysql_url), **change)  # type: ignore[arg-type] # fields of that type
    with closing(MysqlOrderBook(address)) as book:
        for call in (book.ping, book.migrate, lambda: book.place("tx-1", [order("a")])):
            with pytest.raises(StoreUnavailable, match=text) as failure:
                call()
            shown = f"{failure.value.message} {failure.value.hint}"
            assert "s3cret" not in shown
            assert MariadbServer.PASSWORD not in shown
            assert (hint or "") in (failure.value.hint or "")


def test_the_unix_socket_works_too(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    with closing(
        MysqlOrderBook.from_url(f"{mysql_url}?unix_socket={mysql_server.socket}")
    ) as local:
        assert local.place("tx-1", [order("a")]) == PLACED
    assert sold(book) == [1, 0]


def test_tables_that_are_missing_are_explained(mysql_url: str) -> None:
    with (
        closing(MysqlOrderBook.from_url(mysql_url)) as book,
        pytest.raises(StoreUnavailable, match="doesn't exist") as failure,
    ):
        book.place("tx-1", [order("a")])
    assert "saleops seed" in (failure.value.hint or "")


def test_a_database_of_a_later_version_is_refused(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            f"UPDATE {mysql_address(mysql_url).database}.schema_version SET version = 99"
        )
    with pytest.raises(Refused, match="99"):
        book.migrate()


def test_a_value_that_does_not_fit_is_refused_and_never_cut(book: MysqlOrderBook) -> None:
    with pytest.raises(ValueError, match="refused a value"):
        book.add_items([(Item("sku-3", "x" * 501, 1, 1), 1)])
    with pytest.raises(ValueError, match="cannot be stored"):
        book.add_items([(Item("sku-3", "x", 1, 1, popularity=float("nan")), 1)])
    assert book.product("sku-3") is None


def test_the_guarded_update_walks_the_primary_key(book: MysqlOrderBook) -> None:
    # Another plan would lock rows in another order, or rows that are not in the batch.
    plan = book._read(
        "explaining",
        "EXPLAIN UPDATE stock FORCE INDEX (PRIMARY) SET sold = sold + 1 "
        "WHERE sku IN ('sku-1', 'sku-2') AND sold + 1 <= total",
    )
    assert plan[0][3:6] == ("range", "PRIMARY", "PRIMARY")


# -- the fence of a rebuild -------------------------------------------------------------------------------------------


def test_a_rebuild_waits_for_the_commit_that_is_under_way_and_sees_it(
    book: MysqlOrderBook, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.begin_sale(SaleRow("s", "epoch-1", "v1", 1, 1, False))
    book.finish_sale("s")
    almost = threading.Event()
    ended: list[str] = []
    send = book._session.send_packet

    def slowly(what: str, packet: str) -> None:
        assert packet.endswith(";COMMIT")
        almost.set()
        send(what, packet.removesuffix("COMMIT") + "DO SLEEP(0.5);COMMIT")
        ended.append("commit")

    monkeypatch.setattr(book._session, "send_packet", slowly)
    outcomes: list[BatchOutcome] = []
    placing = threading.Thread(
        target=lambda: outcomes.append(book.place("tx-1", [order("a")], epoch="epoch-1"))
    )
    with closing(MysqlOrderBook.from_url(mysql_url)) as other:
        other.ping()
        placing.start()
        assert almost.wait(10)
        threading.Event().wait(0.2)  # it has checked the epoch and is about to commit
        assert other.begin_rebuild("s", old_epoch="epoch-1", new_epoch="epoch-2")
        seen = [each.order_id for each in other.every_order()]
    placing.join(30)
    assert outcomes == [PLACED]
    assert seen == [order("a").order_id]
    monkeypatch.undo()
    assert book.place("tx-2", [order("b")], epoch="epoch-1").stale
