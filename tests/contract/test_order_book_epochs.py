"""The orders database between the epochs of the stock store: marks, the fence of a rebuild, messages that got lost, and what
people did. For the one in memory, SQLite and MySQL."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, pairwise

import pytest

from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.domain.items import Item
from saleops.domain.orders import Order, TxState, order_id_of
from saleops.ports.orders import (
    REBUILDING,
    Accepted,
    BatchOutcome,
    JournalEntry,
    OrderBook,
    SaleRow,
)
from saleops.ports.stock import Mark
from saleops.wiring import open_order_book
from threads import in_threads

SALE = SaleRow("midnight-drop", "epoch-1", "v1", 1, 100_000, False)
PLENTY = Item("plenty", "Plenty", 100, 100_000)
PLACED = BatchOutcome(True, {}, frozenset())
STALE = BatchOutcome(False, {}, frozenset(), stale=True)
FAR_MS = 2**52


@pytest.fixture(params=["memory", "sqlite", "mysql"])
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[[], OrderBook]]:
    """Opens another connection to the same empty orders database."""
    with ExitStack() as stack:
        if request.param == "memory":
            memory = MemoryOrderBook()
            yield lambda: memory
            return
        url = request.getfixturevalue(f"{request.param}_url")
        yield lambda: stack.enter_context(open_order_book(url))


@pytest.fixture
def book(opened: Callable[[], OrderBook]) -> OrderBook:
    """A sale that is on under epoch-1."""
    book = opened()
    book.migrate()
    book.begin_sale(SALE)
    book.add_items([(PLENTY, 1)])
    book.finish_sale(SALE.name)
    return book


def order(key: str, units: int = 1) -> Order:
    order_id = order_id_of(SALE.name, "ann", key)
    return Order(order_id, "ann", PLENTY.sku, units, 100, 5, 10, key, payment_token="tok_visa")


def sold(book: OrderBook) -> int:
    return sum(row.sold for row in book.every_stock())


def rebuild(book: OrderBook, old: str, new: str) -> bool:
    return book.begin_rebuild(SALE.name, old_epoch=old, new_epoch=new)


# -- the fence --------------------------------------------------------------------------------------------------------


def test_a_group_commit_under_the_sales_epoch_is_placed(book: OrderBook) -> None:
    assert book.place("tx-1", [order("a"), order("b")], epoch="epoch-1") == PLACED
    assert sold(book) == 2


@pytest.mark.parametrize("epoch", ["epoch-0", "epoch-2"])
def test_a_group_commit_under_another_epoch_writes_nothing(book: OrderBook, epoch: str) -> None:
    assert book.place("tx-1", [order("a")], epoch=epoch) == STALE
    assert list(book.every_order()) == []
    assert (sold(book), book.tx_state("tx-1")) == (0, None)
    assert book.place("tx-2", [order("a")], epoch="epoch-1") == PLACED


def test_an_epoch_that_is_no_key_is_a_callers_mistake(book: OrderBook) -> None:
    with pytest.raises(ValueError, match="epoch"):
        book.place("tx-1", [order("a")], epoch="' OR 1=1 --")


def test_during_a_rebuild_nothing_commits_under_either_epoch(book: OrderBook) -> None:
    assert rebuild(book, "epoch-1", "epoch-2")
    for number, epoch in enumerate(("epoch-1", "epoch-2")):
        assert book.place(f"tx-{number}", [order("a")], epoch=epoch) == STALE
    book.finish_sale(SALE.name, epoch="epoch-1")  # a rebuild that was passed by ends nothing
    assert book.place("tx-5", [order("a")], epoch="epoch-2") == STALE
    book.finish_sale(SALE.name, epoch="epoch-2")
    assert book.place("tx-6", [order("a")], epoch="epoch-1") == STALE
    assert book.place("tx-7", [order("a")], epoch="epoch-2") == PLACED


def test_a_commit_that_is_sent_again_after_the_rebuild_hears_that_it_is_in(book: OrderBook) -> None:
    book.place("tx-1", [order("a")], epoch="epoch-1")
    rebuild(book, "epoch-1", "epoch-2")
    assert book.place("tx-1", [order("a")], epoch="epoch-1") == PLACED
    book.announced(["tx-1"])
    assert book.place("tx-1", [order("a")], epoch="epoch-1") == PLACED
    assert sold(book) == 1


def test_of_those_who_begin_a_rebuild_one_is_first(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    old = "epoch-1"
    for round_number in range(5):
        won: list[str] = []

        def begin(name: str, old: str = old, won: list[str] = won) -> Callable[[], None]:
            other = opened()

            def run() -> None:
                if other.begin_rebuild(SALE.name, old_epoch=old, new_epoch=name):
                    won.append(name)

            return run

        in_threads(*[begin(f"r{round_number}-{number}") for number in range(4)])
        assert len(won) == 1
        [old] = won
        row = book.sale(SALE.name)
        assert row is not None
        assert (row.epoch, row.complete) == (old, False)


def test_a_rebuild_of_another_sale_or_epoch_begins_nothing(book: OrderBook) -> None:
    assert not rebuild(book, "epoch-0", "epoch-2")
    assert not book.begin_rebuild("other", old_epoch="epoch-1", new_epoch="epoch-2")
    row = book.sale(SALE.name)
    assert row is not None
    assert (row.epoch, row.complete) == ("epoch-1", True)
    with pytest.raises(ValueError, match="new epoch"):
        rebuild(book, "epoch-1", "epoch-1")


def test_what_commits_beside_a_rebuild_is_seen_by_it_or_refused(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    """Three writers commit without a pause while the sale moves from epoch to epoch. Whatever was committed under an
    epoch can be read when ``begin_rebuild`` to the next one returns; nothing under it is committed later."""
    epochs = [f"epoch-{number}" for number in range(1, 6)]
    current = [
        epochs[0]
    ]  # what the writers believe: they go on with the old one while the sale is being rebuilt
    committed: dict[str, set[str]] = {epoch: set() for epoch in epochs}
    seen: dict[str, set[str]] = {}
    done = threading.Event()
    going = {epoch: threading.Semaphore(0) for epoch in epochs}

    def writer(name: str) -> Callable[[], None]:
        other = opened()

        def run() -> None:
            for number in count():
                if done.is_set():
                    return
                epoch, one = current[0], order(f"{name}-{number}")
                outcome = other.place(f"{name}-{number}", [one], epoch=epoch)
                assert outcome in (PLACED, STALE)
                if outcome.committed:
                    committed[epoch].add(one.order_id)
                    going[epoch].release()

        return run

    def rebuilder() -> None:
        other = opened()
        try:
            for old, new in pairwise(epochs):
                for _ in range(40):
                    assert going[old].acquire(timeout=20)
                assert rebuild(other, old, new)
                seen[old] = {each.order_id for each in other.every_order()}
                other.finish_sale(SALE.name, epoch=new)
                current[0] = new
        finally:
            done.set()

    in_threads(writer("w1"), writer("w2"), writer("w3"), rebuilder)
    so_far: set[str] = set()
    for epoch in epochs[:-1]:
        so_far |= committed[epoch]
        assert seen[epoch] == so_far
    assert all(len(committed[epoch]) > 10 for epoch in epochs[:-1])
    assert sold(book) == sum(map(len, committed.values()))


# -- marks ------------------------------------------------------------------------------------------------------------


def test_marks_are_kept_where_they_are_further(book: OrderBook) -> None:
    assert book.marks() == ("", {})
    book.keep_marks("epoch-1", {0: Mark(5, "s1"), 1: Mark(7, "s1")})
    book.keep_marks("epoch-1", {0: Mark(9, "s1"), 1: Mark(3, "s1"), 2: Mark(1, "s1")})
    kept = {0: Mark(9, "s1"), 1: Mark(7, "s1"), 2: Mark(1, "s1")}
    assert book.marks() == ("epoch-1", kept)
    book.keep_marks("epoch-1", {})
    book.keep_marks("epoch-1", {0: Mark(99, "s2")})  # nobody has verified that server
    assert book.marks() == ("epoch-1", kept)


def test_marks_of_a_store_that_is_believed_replace_the_kept_ones(book: OrderBook) -> None:
    book.keep_marks("epoch-1", {0: Mark(5, "s1"), 1: Mark(7, "s1")})
    book.keep_marks("epoch-1", {0: Mark(2, "s2")}, over=True)
    assert book.marks() == ("epoch-1", {0: Mark(2, "s2")})


def test_marks_of_an_epoch_that_is_over_are_ignored(book: OrderBook) -> None:
    book.keep_marks("epoch-1", {0: Mark(5, "s1")})
    rebuild(book, "epoch-1", "epoch-2")
    assert book.marks() == ("epoch-2", {REBUILDING: Mark(0, "rebuild")})
    book.keep_marks("epoch-1", {0: Mark(6, "s1")}, over=True)
    book.keep_marks("epoch-2", {REBUILDING: Mark(3, "rebuild")})
    assert book.marks() == ("epoch-2", {REBUILDING: Mark(3, "rebuild")})
    book.keep_marks("epoch-2", {0: Mark(1, "s2")}, over=True)
    assert book.marks() == ("epoch-2", {0: Mark(1, "s2")})


def test_workers_that_keep_marks_at_once_keep_the_furthest(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    def keeper(start: int) -> Callable[[], None]:
        other = opened()

        def run() -> None:
            for writes in range(start, 40, 3):
                other.keep_marks("epoch-1", dict.fromkeys(range(16), Mark(writes, "s1")))

        return run

    in_threads(keeper(0), keeper(1), keeper(2))
    assert book.marks() == ("epoch-1", dict.fromkeys(range(16), Mark(39, "s1")))


def test_a_cleared_sale_leaves_no_marks(book: OrderBook) -> None:
    book.keep_marks("epoch-1", {0: Mark(5, "s1")})
    book.clear_sale(SALE.name)
    book.begin_sale(SALE)
    assert book.marks() == ("", {})


# -- messages that got lost -------------------------------------------------------------------------------------------


def test_what_was_announced_counts_as_committed(book: OrderBook) -> None:
    book.place("tx-1", [order("a")])
    book.announced(["tx-1", "unknown", "not a key", ""])
    assert book.tx_state("tx-1") == TxState.ANNOUNCED
    assert book.tx_state("tx-1", fence=True) == TxState.ANNOUNCED
    assert book.tx_state("unknown") is None
    book.tx_state("tx-2", fence=True)
    book.announced(["tx-2"])
    assert book.tx_state("tx-2") == TxState.ABORTED


def test_commits_nobody_heard_of_are_found_oldest_first(book: OrderBook) -> None:
    assert book.newest_announced_ms() == 0
    for number in range(5):
        book.place(f"tx-{number}", [order(str(number))])
    book.tx_state("tx-9", fence=True)
    book.announced(["tx-1"])
    assert set(book.unannounced(before_ms=FAR_MS, limit=9)) == {"tx-0", "tx-2", "tx-3", "tx-4"}
    assert len(book.unannounced(before_ms=FAR_MS, limit=2)) == 2
    assert book.unannounced(before_ms=1, limit=9) == []
    assert book.newest_announced_ms() > 1_700_000_000_000


def test_a_lost_message_is_taken_on_once(book: OrderBook) -> None:
    book.place("tx-1", [order("a")])
    assert not book.announce_again("tx-1", before_ms=5)
    threading.Event().wait(0.002)  # at another millisecond than it was committed
    assert book.announce_again("tx-1", before_ms=FAR_MS)
    assert not book.announce_again("unknown", before_ms=FAR_MS)
    book.announced(["tx-1"])
    assert not book.announce_again("tx-1", before_ms=FAR_MS)


def test_the_orders_of_a_commit_are_read_with_their_tokens(book: OrderBook) -> None:
    book.place("tx-1", [order("b"), order("a", 3)])
    book.place("tx-2", [order("c")])
    found = book.orders_of_tx("tx-1")
    assert [each.order_id for each in found] == sorted(order(key).order_id for key in "ab")
    assert {each.payment_token for each in found} == {"tok_visa"}
    assert book.orders_of_tx("tx-3") == []
    with pytest.raises(ValueError, match="tx_id"):
        book.orders_of_tx("")


# -- what people did --------------------------------------------------------------------------------------------------


def entry(name: str, at_ms: int) -> JournalEntry:
    return JournalEntry(
        entry_id=name, at_ms=at_ms, who="ann@shop 线", command="reconcile --repair", text='{"a": 1}'
    )


def test_the_journal_tells_the_newest_first_and_outlives_the_sale(book: OrderBook) -> None:
    entries = [entry("e1", 10), entry("e2", 30), entry("e3", 20), entry("e4", 30)]
    for each in (*entries, entry("e1", 99)):
        book.write_journal(each)
    assert book.journal(limit=9) == [entries[3], entries[1], entries[2], entries[0]]
    assert book.journal(limit=1) == [entries[3]]
    book.clear_sale(SALE.name)
    assert len(book.journal(limit=9)) == 4
    with pytest.raises(ValueError, match="entry_id"):
        book.write_journal(entry("", 1))


def test_a_long_journal_entry_comes_back_whole(book: OrderBook) -> None:
    long = JournalEntry(entry_id="e", at_ms=1, who="", command="x", text="线" * 200_000)
    book.write_journal(long)
    assert book.journal(limit=1) == [long]


def accepted(kind: str, name: str, sku: str = "", why: str = "seen") -> Accepted:
    return Accepted(kind=kind, id=name, sku=sku, who="ann", why=why, at_ms=5)


def test_what_was_accepted_stays_until_it_is_forgotten(book: OrderBook) -> None:
    rows = [accepted("a", "x"), accepted("a", "x", "sku-1"), accepted("b", "é 线", "s p")]
    book.accept([rows[2], rows[0]])
    book.accept([accepted("a", "x", why="again"), rows[1]])
    assert book.accepted() == rows
    book.unaccept([("a", "x", ""), ("b", "é 线", "s p"), ("z", "", "")])
    assert book.accepted() == [rows[1]]
    book.accept([])
    book.unaccept([])
    book.clear_sale(SALE.name)
    assert book.accepted() == []
