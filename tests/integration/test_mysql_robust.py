"""What must hold on the orders database whatever breaks between us and it: an order is written once or not at all, and
the answer we give says which, or says that it does not know. Tried on Debian's MariaDB, through a proxy that cuts."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace

import pymysql
import pytest

from saleops.adapters import mysql_session
from saleops.adapters.mysql_orders import MysqlOrderBook
from saleops.adapters.mysql_session import mysql_address
from saleops.domain.items import Item
from saleops.domain.orders import Order, OrderState, TxState, order_id_of
from saleops.errors import StoreUnavailable
from saleops.ports.orders import BatchOutcome, UnknownOutcome
from servers import MariadbServer

UNITS = 100_000
MOST = 200  # connections, as tests/servers.py starts it
SKUS = ("sku-1", "sku-2", "sku-3")
COMMITTED = (TxState.COMMITTED, TxState.ANNOUNCED) if hasattr(TxState, "ANNOUNCED") else (1,)


def order(key: str, sku: str = "sku-1") -> Order:
    return Order(order_id_of("s", "ann", key), "ann", sku, 1, 100, 5, 10, key)


@pytest.fixture
def book(mysql_url: str) -> Iterator[MysqlOrderBook]:
    with closing(MysqlOrderBook.from_url(mysql_url)) as book:
        book.migrate()
        book.add_items([(Item(sku, sku, 100, UNITS), 1) for sku in SKUS])
        yield book


def sold(book: MysqlOrderBook) -> int:
    return sum(row.sold for row in book.every_stock())


def consistent(book: MysqlOrderBook) -> int:
    """Orders, the guarded stock and the transactions' rows tell one story. Returns how many orders there are."""
    orders = list(book.every_order())
    live = [one for one in orders if one.state not in (OrderState.CANCELLED, OrderState.TOMBSTONE)]
    assert sold(book) == sum(one.units for one in live)
    for tx_id in {one.tx_id for one in orders if one.tx_id}:
        assert book.tx_state(tx_id) in COMMITTED
    return len(orders)


class Cutter:
    """A TCP proxy on loopback that counts the client's packets over all its connections and cuts at those it was told:

    "before" the packet reaches the server, "after" it did and before any answer, or "within" the answer's first bytes.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._plan: list[tuple[int, str]] = []
        self._packets = 0
        self._lock = threading.Lock()
        self.cuts: list[str] = []
        self.refuse = False  # after the plan's last cut, hang up on everybody
        threading.Thread(target=self._accept, daemon=True).start()

    def plan(self, cuts: list[tuple[int, str]], *, refuse: bool = False) -> None:
        """``cuts`` are (packets to let through since the last cut, how)."""
        with self._lock:
            self._plan, self._packets, self.refuse = list(cuts), 0, refuse
            self.cuts = []

    def _verdict(self) -> str:
        with self._lock:
            if not self._plan:
                return "cut" if self.refuse and self.cuts else ""
            if self._packets < self._plan[0][0]:
                self._packets += 1
                return ""
            how = self._plan.pop(0)[1]
            self._packets = 0
            self.cuts.append(how)
            return how

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            answers = _Answers()
            ends = (client, server, answers)
            threading.Thread(target=self._pump_back, args=ends, daemon=True).start()
            threading.Thread(target=self._pump_out, args=ends, daemon=True).start()

    def _pump_out(self, client: socket.socket, server: socket.socket, answers: "_Answers") -> None:
        try:
            while data := client.recv(1 << 20):
                how = self._verdict()
                if how in ("before", "cut"):
                    return
                answers.how = how
                server.sendall(data)
                if how == "after":
                    return
                if how == "within":
                    answers.lost.wait(10)
                    return
        except OSError:
            return
        finally:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)  # what was sent is read by the server all the same
            client.close()

    def _pump_back(self, client: socket.socket, server: socket.socket, answers: "_Answers") -> None:
        with server, suppress(OSError):
            while data := server.recv(1 << 20):
                if answers.how == "within":
                    client.sendall(data[: len(data) // 2])
                    answers.lost.set()
                    answers.how = "after"
                elif not answers.how:
                    client.sendall(data)
        answers.lost.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Answers:
    def __init__(self) -> None:
        self.how = ""
        self.lost = threading.Event()


@pytest.fixture
def cutter(mysql_server: MariadbServer) -> Iterator[Cutter]:
    with closing(Cutter(mysql_server.port)) as cutter:
        yield cutter


@pytest.fixture
def wired(cutter: Cutter, mysql_url: str) -> Iterator[MysqlOrderBook]:
    with closing(MysqlOrderBook(replace(mysql_address(mysql_url), port=cutter.port))) as book:
        book.ping()
        yield book


# -- cuts -------------------------------------------------------------------------------------------------------------


def random_cuts(rng: random.Random) -> list[tuple[int, str]]:
    hows = ("before", "after", "within")
    return [
        (rng.choice((0, 0, 0, 1, 2, 3, 4, 5, 6)), rng.choice(hows))
        for _ in range(rng.randint(1, 3))
    ]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_under_random_cuts_no_order_is_lost_or_written_twice(
    book: MysqlOrderBook, cutter: Cutter, wired: MysqlOrderBook, seed: int
) -> None:
    rng = random.Random(seed)
    written: set[str] = set()
    seen = {"committed": 0, "unknown": 0, "nothing": 0}
    texts: set[str] = set()
    cuts = 0
    for number in range(75):
        batch = [
            order(f"{number}-{at}", rng.choice(SKUS)) for at in range(rng.choice((1, 1, 2, 5)))
        ]
        if (
            rng.random() < 0.2 and written
        ):  # somebody repeats a request: a batch that cannot go in as it is
            again = next(iter(written))
            known = book.orders([again])[again]
            batch.append(replace_order(known))
        tx_id = f"tx-{seed}-{number}"
        if rng.random() < 0.6:
            wired.ping()  # connected: the next packet is the orders'
        cutter.plan(random_cuts(rng), refuse=rng.random() < 0.3)
        ids = {each.order_id for each in batch}
        before = ids & written
        try:
            outcome = wired.place(tx_id, batch)
        except UnknownOutcome:
            seen["unknown"] += 1
            state = book.tx_state(tx_id, fence=True)
            there = state in COMMITTED
            assert there or state == TxState.ABORTED
        except StoreUnavailable as error:
            texts.add(error.message)
            seen["nothing"] += 1
            assert book.tx_state(tx_id, fence=True) == TxState.ABORTED, (
                "it said nothing was written"
            )
            there = False
        else:
            there = outcome.committed
            seen["committed"] += there
            assert there or set(outcome.existing) == before
        cuts += len(cutter.cuts)
        cutter.plan([])
        found = set(book.orders(sorted(ids)))
        assert found == (ids if there else before)
        written |= found

    assert all("nothing was written" in text for text in texts)
    assert consistent(book) == len(written)
    assert cuts > 40
    assert min(seen.values()) > 0, seen


def replace_order(known: Order) -> Order:
    return Order(known.order_id, known.buyer, known.sku, 1, 100, 5, 10, known.idempotency_key)


@pytest.mark.parametrize("seed", [11, 12])
def test_under_random_cuts_money_is_taken_once_and_units_come_back_once(
    book: MysqlOrderBook, cutter: Cutter, wired: MysqlOrderBook, seed: int
) -> None:
    """Everything after the order is a transaction of its own that may be sent twice: the callers do send it again."""
    rng = random.Random(seed)
    orders = [order(str(number)) for number in range(60)]
    assert book.place("tx-1", orders).committed
    paid, late = orders[:40], orders[40:]
    for start in range(0, 40, 4):
        ids = [each.order_id for each in paid[start : start + 4]]
        for step in (
            lambda ids=ids: wired.begin_payment(ids),
            lambda ids=ids: wired.charge([(one, one, 100) for one in ids]),
            lambda ids=ids: wired.end_payment(ids, []),
            lambda ids=ids: wired.ship([(one, one) for one in ids]),
        ):
            cutter.plan(random_cuts(rng))
            until_it_goes_through(step)
    for start in range(0, 20, 4):
        ids = [each.order_id for each in late[start : start + 4]]
        cutter.plan(random_cuts(rng))
        until_it_goes_through(lambda ids=ids: wired.cancel_unpaid(ids, now_ms=10))
    cutter.plan([])

    assert sold(book) == 40
    assert sorted(charge.order_id for charge in book.every_charge()) == sorted(
        each.order_id for each in paid
    )
    assert len(list(book.every_parcel())) == 40
    assert consistent(book) == 60


def until_it_goes_through(step: Callable[[], object]) -> None:
    for _ in range(20):
        with suppress(StoreUnavailable):
            step()
            return
    raise AssertionError("it never went through")


def test_a_lost_commit_is_never_called_unwritten_by_what_fails_after_it(
    book: MysqlOrderBook, cutter: Cutter, wired: MysqlOrderBook
) -> None:
    # The answer to COMMIT is lost; then the second run meets its own orders, and is cut while it looks at them.
    for packets in range(8):
        tx_id = f"tx-{packets}"
        wired.ping()  # connected: the next packet is the order's
        cutter.plan([(0, "after"), (packets, "before")], refuse=True)
        try:
            committed = wired.place(tx_id, [order(tx_id)]).committed
        except UnknownOutcome:
            committed = book.tx_state(tx_id, fence=True) in COMMITTED
        cutter.plan([])
        assert committed == bool(book.orders([order(tx_id).order_id]))
    assert consistent(book) > 0


def test_a_lost_commit_and_a_full_server_leave_the_outcome_unknown(
    book: MysqlOrderBook, cutter: Cutter, wired: MysqlOrderBook, mysql_server: MariadbServer
) -> None:
    cutter.plan([(0, "after")])
    with crowded(mysql_server, book), pytest.raises(UnknownOutcome, match=r"[Tt]oo many"):
        wired.place("tx-1", [order("a")])
    wait_until(lambda: book.tx_state("tx-1") is not None)
    assert book.tx_state("tx-1") in COMMITTED


def test_a_lost_commit_and_a_server_that_turned_read_only_leave_the_outcome_unknown(
    book: MysqlOrderBook, cutter: Cutter, wired: MysqlOrderBook, mysql_server: MariadbServer
) -> None:
    # A failover at the worst moment: the old primary has committed, and answers as a replica from then on.
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cutter.plan([(0, "before")])
        with limited_user(cursor):
            wired.close()
            wired.ping()
            cutter.plan([(0, "before")])
            cursor.execute("SET GLOBAL read_only = 1")
            try:
                with pytest.raises(UnknownOutcome, match=r"read-only|read_only"):
                    wired.place("tx-1", [order("a")])
            finally:
                cursor.execute("SET GLOBAL read_only = 0")
    assert book.tx_state("tx-1", fence=True) == TxState.ABORTED


# -- locks ------------------------------------------------------------------------------------------------------------


def test_two_books_that_lock_each_other_out_both_write_once(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    """Batches lock in one order and cannot deadlock; a payment's rows and a batch's can. Forced here with two sessions that hold
    a row each and want the other's: the server kills one, which goes again."""
    rounds = 25
    other = MysqlOrderBook.from_url(mysql_url)
    first_runs = {"there": 0, "back": 0}
    both = threading.Barrier(2, timeout=30)
    failures: list[BaseException] = []

    def crossing(name: str, own: MysqlOrderBook, skus: tuple[str, str]) -> None:
        try:
            for number in range(rounds):
                met = [False]

                def work(sql: object, met: list[bool] = met, number: int = number) -> None:
                    sql.run("UPDATE stock SET sold = sold + 1 WHERE sku = ?", (skus[0],))  # type: ignore[attr-defined]
                    first_runs[name] += 1
                    if not met[0]:
                        met[0] = True
                        both.wait()  # each holds its first row now
                    sql.run("UPDATE stock SET sold = sold + 1 WHERE sku = ?", (skus[1],))  # type: ignore[attr-defined]
                    sql.insert(  # type: ignore[attr-defined]
                        "tx", "tx_id, state, at_ms", [(f"{name}-{number}", 1, 1)]
                    )

                own._transact("crossing", work)
                both.wait()  # a round ends for both
        except Exception as error:  # noqa: BLE001 # told to the test below
            failures.append(error)
            both.abort()

    with closing(other):
        threads = [
            threading.Thread(target=crossing, args=("there", book, ("sku-1", "sku-2"))),
            threading.Thread(target=crossing, args=("back", other, ("sku-2", "sku-1"))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert failures == []
    assert [row.sold for row in book.every_stock()] == [2 * rounds, 2 * rounds, 0]
    assert sum(first_runs.values()) >= 3 * rounds, "every round had its deadlock"
    for name in first_runs:
        assert all(book.tx_state(f"{name}-{number}") == 1 for number in range(rounds))


def test_books_that_place_and_cancel_the_same_hot_rows_lose_nothing(
    book: MysqlOrderBook, mysql_url: str
) -> None:
    """Six connections at three SKUs and at each other's orders, all at once."""
    failures: list[BaseException] = []

    def buyer(number: int) -> None:
        rng = random.Random(number)
        try:
            with closing(MysqlOrderBook.from_url(mysql_url)) as own:
                for at in range(30):
                    batch = [order(f"{number}-{at}-{n}", rng.choice(SKUS)) for n in range(4)]
                    rng.shuffle(batch)
                    own_ids = [order(f"{number}-{at}-{n}").order_id for n in (0, 1)]
                    assert own.place(f"tx-{number}-{at}", batch).committed
                    own.cancel_unpaid(own_ids, now_ms=10)
                    shared = [
                        order(f"{rng.randrange(6)}-{rng.randrange(30)}-2").order_id
                        for _ in range(5)
                    ]
                    own.begin_payment(shared)
        except Exception as error:  # noqa: BLE001 # told to the test below
            failures.append(error)

    threads = [threading.Thread(target=buyer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert failures == []
    assert consistent(book) == 6 * 30 * 4
    assert sold(book) == 6 * 30 * 2


def test_a_lock_that_is_granted_late_costs_time_and_nothing_else(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    book._read("shortening the wait", "SET SESSION innodb_lock_wait_timeout = 1")
    outcomes: list[BatchOutcome] = []
    with mysql_server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"USE {mysql_address(mysql_url).database}")
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM stock FOR UPDATE")
        placing = threading.Thread(target=lambda: outcomes.append(book.place("tx-1", [order("a")])))
        placing.start()
        placing.join(1.5)  # the first wait is over by then, the second has begun
        assert placing.is_alive()
        cursor.execute("ROLLBACK")
    placing.join(30)

    assert [outcome.committed for outcome in outcomes] == [True]
    assert consistent(book) == 1


# -- the server itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [21, 22])
def test_a_server_killed_under_load_has_every_order_that_was_answered(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    answered: dict[str, list[str]] = {}
    denied: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    going, some = threading.Event(), threading.Semaphore(0)
    failures: list[BaseException] = []

    def worker(name: int) -> None:
        at = 0
        with closing(MysqlOrderBook.from_url(mysql_url)) as own:
            while not going.is_set():
                at += 1
                tx_id = f"tx-{name}-{at}"
                batch = [order(f"{name}-{at}-{n}") for n in range(3)]
                ids = [each.order_id for each in batch]
                try:
                    assert own.place(tx_id, batch).committed
                    answered[tx_id] = ids
                    some.release()
                except UnknownOutcome:
                    unknown[tx_id] = ids
                except StoreUnavailable:
                    denied[tx_id] = ids
                    going.wait(0.02)
                except Exception as error:  # noqa: BLE001 # told to the test below
                    failures.append(error)
                    return

    threads = [threading.Thread(target=worker, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            for _ in range(rng.randint(15, 60)):
                assert some.acquire(timeout=30)
            mysql_server.kill()
            mysql_server.start()
            for _ in range(20):  # it sells again
                assert some.acquire(timeout=30)
    finally:
        going.set()
        for thread in threads:
            thread.join(60)

    assert failures == []
    assert denied or unknown, "the kill was noticed"
    for tx_id, ids in answered.items():
        assert book.tx_state(tx_id) in COMMITTED
        assert set(book.orders(ids)) == set(ids), tx_id
    for tx_id, ids in denied.items():
        assert book.tx_state(tx_id, fence=True) == TxState.ABORTED, tx_id
        assert not book.orders(ids)
    for tx_id, ids in unknown.items():
        state = book.tx_state(tx_id, fence=True)
        assert set(book.orders(ids)) == (set(ids) if state in COMMITTED else set())
    consistent(book)


def limited_user(cursor: "pymysql.cursors.Cursor") -> ExitStack:
    """Our user without the right to write on a read-only server, as in production."""
    cursor.execute("REVOKE ALL ON *.* FROM 'saleops'@'%'")
    cursor.execute("GRANT ALL ON `sale\\_%`.* TO 'saleops'@'%'")
    undo = ExitStack()
    undo.callback(cursor.execute, "GRANT ALL ON *.* TO 'saleops'@'%'")
    return undo


def test_a_server_that_turns_read_only_under_a_connection_is_named_and_heals(
    book: MysqlOrderBook, mysql_server: MariadbServer
) -> None:
    with mysql_server.admin() as admin, admin.cursor() as cursor, limited_user(cursor):
        book.close()  # rights are read at connecting
        book.ping()
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            for call in (
                lambda: book.place("tx-1", [order("a")]),
                lambda: book.begin_payment([order("a").order_id]),
            ):
                with pytest.raises(StoreUnavailable, match="nothing was written") as failure:
                    call()
                assert not isinstance(failure.value, UnknownOutcome)
                assert "primary" in (failure.value.hint or "")
            assert book.orders([order("a").order_id]) == {}, "reading goes on"
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
        assert book.place("tx-1", [order("a")]).committed


def crowded(server: MariadbServer, book: MysqlOrderBook) -> ExitStack:
    """A server without a free connection; the one of ``book`` stays."""
    book.ping()
    undo = ExitStack()
    admin = undo.enter_context(server.admin())
    undo.callback(_execute, admin, f"SET GLOBAL max_connections = {MOST}")
    address = mysql_address(server.create_database("crowd"))
    undo.callback(server.drop_database, "crowd")
    for _ in range(14):
        undo.enter_context(
            pymysql.connect(
                host=address.host, port=address.port, user=address.user, password=address.password
            )
        )
    # Two more are connected than may be: the place that a lost connection frees is none.
    _execute(admin, "SET GLOBAL max_connections = 12")
    return undo


def _execute(admin: "pymysql.Connection[pymysql.cursors.Cursor]", sql: str) -> None:
    with admin.cursor() as cursor:
        cursor.execute(sql)


def test_a_server_without_a_free_connection_says_so_and_heals(
    book: MysqlOrderBook, mysql_server: MariadbServer, mysql_url: str
) -> None:
    with closing(MysqlOrderBook.from_url(mysql_url)) as late:
        with crowded(mysql_server, book):
            for _ in range(2):
                with pytest.raises(
                    StoreUnavailable, match=r"[Tt]oo many.*nothing was written"
                ) as failure:
                    late.place("tx-1", [order("a")])
                assert not isinstance(failure.value, UnknownOutcome)
                assert "max_connections" in (failure.value.hint or "")
            assert book.place("tx-0", [order("z")]).committed, "who has a connection keeps it"
        assert late.place("tx-1", [order("a")]).committed
    assert consistent(book) == 2


def test_an_interrupted_call_does_not_leave_its_answer_to_the_next(
    book: MysqlOrderBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between a question and its answer: the connection is dropped, the next call opens another."""
    before = mysql_session.rows_of

    def interrupted(connection: mysql_session.Connection, sql: str, values: object = ()) -> object:
        connection._execute_command(3, "SELECT 41")  # type: ignore[attr-defined] # sent, never read
        raise KeyboardInterrupt

    monkeypatch.setattr(mysql_session, "rows_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        book.ping()
    monkeypatch.setattr(mysql_session, "rows_of", before)

    assert book._read("asking", "SELECT 42") == ((42,),)


def wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(200):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it never came true")
