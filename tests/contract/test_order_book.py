"""The contract of the orders database, for the one in memory, SQLite and MySQL (on Debian's MariaDB)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.domain.items import Item
from saleops.domain.orders import Order, OrderState, TxState, order_id_of
from saleops.errors import Refused
from saleops.ports.orders import BatchOutcome, OrderBook, Parcel, Review, SaleRow, StockRow
from saleops.wiring import open_order_book
from threads import in_threads

NOW = 1_795_708_800_000
DUE = NOW + 900_000
SALE = SaleRow("midnight-drop", "epoch-1", "v1", 2, 13, False)
PLACED = BatchOutcome(True, {}, frozenset())
TEN = Item("sku-10", "Ten units", 1_999, 10)
ONE = Item("sku-1", "The last one", 500, 1)


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
    book = opened()
    book.migrate()
    book.begin_sale(SALE)
    book.add_items([(TEN, 1), (ONE, 1)])
    return book


def order(key: str, *, sku: str = TEN.sku, units: int = 1, buyer: str = "ann") -> Order:
    order_id = order_id_of(SALE.name, buyer, key)
    return Order(order_id, buyer, sku, units, 1_999, NOW, DUE, key, payment_token="tok")


def sold(book: OrderBook) -> dict[str, int]:
    return {row.sku: row.sold for row in book.every_stock()}


def place(book: OrderBook, tx_id: str, *orders: Order) -> None:
    assert book.place(tx_id, orders) == PLACED


def paid(book: OrderBook, *orders: Order) -> None:
    ids = [each.order_id for each in orders]
    book.begin_payment(ids)
    book.end_payment(ids, [])


# -- the sale ---------------------------------------------------------------------------------------------------------


def test_migrating_twice_changes_nothing(book: OrderBook) -> None:
    place(book, "tx-1", order("a"))
    book.migrate()
    assert sold(book) == {"sku-1": 0, "sku-10": 1}


def test_a_ping_answers(book: OrderBook) -> None:
    book.ping()


def test_a_sale_is_incomplete_until_it_is_finished(book: OrderBook) -> None:
    assert book.sale(SALE.name) == SALE
    assert book.sale("another") is None
    book.finish_sale(SALE.name)
    finished = book.sale(SALE.name)
    assert finished is not None
    assert finished.complete


def test_beginning_the_same_version_again_keeps_what_is_there(book: OrderBook) -> None:
    book.finish_sale(SALE.name)
    book.begin_sale(SaleRow(SALE.name, "epoch-2", SALE.version, 9, 9, False))
    there = book.sale(SALE.name)
    assert there == SaleRow(SALE.name, "epoch-1", SALE.version, 2, 13, True)


@pytest.mark.parametrize(
    ("name", "version", "word"),
    [(SALE.name, "v2", "another version"), ("other-drop", "v1", "midnight-drop already")],
)
def test_another_version_or_sale_is_refused(
    book: OrderBook, name: str, version: str, word: str
) -> None:
    with pytest.raises(Refused, match=word) as refusal:
        book.begin_sale(SaleRow(name, "epoch-2", version, 2, 13, False))
    assert refusal.value.hint
    assert book.sale(SALE.name) == SALE


def test_adding_items_counts_the_new_ones_and_keeps_the_others(book: OrderBook) -> None:
    place(book, "tx-1", order("a"))
    more = [
        (Item("sku-10", "Renamed", 1, 99), 4),
        (Item("sku-2", "Two", 20, 7, 3, 2.5, "d", "c"), 4),
    ]
    assert book.add_items(more) == 1
    assert book.add_items(more) == 0
    assert book.add_items([]) == 0
    assert book.product("sku-10") == TEN
    assert book.product("sku-2") == more[1][0]
    assert list(book.every_stock()) == [
        StockRow("sku-1", 1, 0, 1),
        StockRow("sku-10", 10, 1, 1),
        StockRow("sku-2", 7, 0, 4),
    ]


def test_a_negative_stock_is_a_callers_mistake(book: OrderBook) -> None:
    with pytest.raises(ValueError, match=r"units|refused"):
        book.add_items([(Item("sku-3", "Three", 1, -1), 1)])
    assert book.product("sku-3") is None


def test_hot_skus_are_those_with_more_than_one_shard(book: OrderBook) -> None:
    assert book.hot_skus() == {}
    book.add_items([(Item("hot", "Hot", 1, 900), 16)])
    assert book.hot_skus() == {"hot": 16}


def test_clearing_a_sale_forgets_everything_of_it(book: OrderBook) -> None:
    one = order("a")
    place(book, "tx-1", one)
    paid(book, one)
    book.charge([("key", one.order_id, 1_999)])
    book.ship([("key", one.order_id)])
    book.add_review(Review(TEN.sku, "ann", 5, "good", NOW))
    book.clear_sale("another")
    assert sold(book)["sku-10"] == 1
    book.clear_sale(SALE.name)
    assert book.sale(SALE.name) is None
    for rows in (book.every_stock(), book.every_order(), book.every_charge(), book.every_parcel()):
        assert list(rows) == []
    assert book.products() == []
    assert book.reviews(TEN.sku, limit=9) == []
    assert book.tx_state("tx-1") is None


# -- the group commit -------------------------------------------------------------------------------------------------


def test_a_group_commit_writes_orders_stock_and_its_own_outcome(book: OrderBook) -> None:
    first, second = order("a", units=3), order("b", sku=ONE.sku, buyer="bob")
    assert book.place("tx-1", [first, second]) == PLACED
    assert sold(book) == {"sku-1": 1, "sku-10": 3}
    assert book.tx_state("tx-1") == TxState.COMMITTED
    written = book.orders([first.order_id, second.order_id])[first.order_id]
    assert written.tx_id == "tx-1"
    assert (written.units, written.amount_fen, written.state) == (3, 5_997, OrderState.UNPAID)
    assert written.payment_token == "tok"


def test_the_last_unit_is_sold_and_one_more_is_refused(book: OrderBook) -> None:
    place(book, "tx-1", order("a", units=9))
    place(book, "tx-2", order("b", units=1))
    assert book.place("tx-3", [order("c", units=1)]) == BatchOutcome(
        False, {}, frozenset([TEN.sku])
    )
    assert sold(book)["sku-10"] == 10
    assert book.tx_state("tx-3") is None


def test_a_refused_sku_holds_back_the_whole_batch(book: OrderBook) -> None:
    batch = [order("a"), order("b", sku=ONE.sku), order("c", sku=ONE.sku)]
    assert book.place("tx-1", batch) == BatchOutcome(False, {}, frozenset([ONE.sku]))
    assert sold(book) == {"sku-1": 0, "sku-10": 0}
    assert list(book.every_order()) == []


def test_an_unseeded_sku_is_refused(book: OrderBook) -> None:
    outcome = book.place("tx-1", [order("a", sku="nowhere")])
    assert outcome == BatchOutcome(False, {}, frozenset(["nowhere"]))


def test_every_refused_sku_is_named(book: OrderBook) -> None:
    batch = [order("a", units=11), order("b", sku=ONE.sku, units=2), order("c", sku="nowhere")]
    assert book.place("t", batch).refused_skus == {TEN.sku, ONE.sku, "nowhere"}


def test_an_order_that_exists_holds_back_the_batch_and_is_answered(book: OrderBook) -> None:
    one = order("a")
    place(book, "tx-1", one)
    outcome = book.place("tx-2", [one, order("b")])
    assert outcome == BatchOutcome(False, book.orders([one.order_id]), frozenset())
    assert sold(book)["sku-10"] == 1
    assert book.tx_state("tx-2") is None
    place(book, "tx-3", order("b"))


def test_the_same_group_commit_twice_is_one(book: OrderBook) -> None:
    batch = [order("a"), order("b", sku=ONE.sku)]
    assert book.place("tx-1", batch) == PLACED
    assert book.place("tx-1", batch) == PLACED
    assert sold(book) == {"sku-1": 1, "sku-10": 1}


def test_a_used_transaction_id_takes_no_other_orders(book: OrderBook) -> None:
    place(book, "tx-1", order("a"))
    for batch in ([order("b")], [order("a"), order("b")]):
        with pytest.raises(ValueError, match="tx-1"):
            book.place("tx-1", batch)
    assert sold(book)["sku-10"] == 1


def test_impossible_batches_are_a_callers_mistake(book: OrderBook) -> None:
    good = order("a")
    wrong = [
        [],
        [good, good],
        [order("b", units=0)],
        [order("b", units=-1)],
        [order("b", sku="a b")],
        [order("b", sku="x" * 65)],
        [order("b", buyer="x" * 513)],
        [Order("x'; DROP TABLE orders; --", "ann", TEN.sku, 1, 1, NOW, DUE, "k")],
    ]
    for batch in wrong:
        with pytest.raises(ValueError, match=r"order|batch|commit|SKU"):
            book.place("tx-1", batch)
    for tx_id in ("", "a b", "x" * 129, "ü"):
        with pytest.raises(ValueError, match="tx_id"):
            book.place(tx_id, [good])
    assert sold(book)["sku-10"] == 0


@pytest.mark.parametrize(
    "text",
    ["O'Neil", 'say "hi"', "back\\slash", "\\'; DROP TABLE orders; --", "线😀", "%s ? %", "a\n\0b"],
)
def test_any_text_comes_back_as_it_went_in(book: OrderBook, text: str) -> None:
    one = order(text, buyer=text)
    place(book, "tx-1", one)
    book.add_review(Review(TEN.sku, text, 5, text, NOW))
    book.add_items([(Item("sku-t", text, 1, 1, 0, 1.0, text, text), 1)])
    written = book.orders([one.order_id])[one.order_id]
    assert (written.buyer, written.idempotency_key) == (text, text)
    assert [found.order_id for found in book.orders_of(text, limit=5)] == [one.order_id]
    assert book.reviews(TEN.sku, limit=5) == [Review(TEN.sku, text, 5, text, NOW)]
    assert book.product("sku-t") == Item("sku-t", text, 1, 1, 0, 1.0, text, text)


def test_a_large_batch_over_many_skus_with_different_units(book: OrderBook) -> None:
    items = [(Item(f"many-{number:03}", "Many", 1, 7), 1) for number in range(300)]
    book.add_items(items)
    batch = [
        order(f"k{number}", sku=f"many-{number % 300:03}", units=1 + number % 3)
        for number in range(600)
    ]
    assert book.place("tx-1", batch) == PLACED
    after = sold(book)
    for number in range(300):
        assert after[f"many-{number:03}"] == 2 * (1 + number % 3)
    outcome = book.place(
        "tx-2", [order(f"l{number}", sku=f"many-{number:03}", units=4) for number in range(300)]
    )
    assert outcome.refused_skus == {
        f"many-{number:03}" for number in range(300) if number % 3 == 1 or number % 3 == 2
    }


# -- transactions of unknown outcome ----------------------------------------------------------------------------------


def test_an_unknown_transaction_stays_unknown_until_it_is_fenced(book: OrderBook) -> None:
    assert book.tx_state("tx-1") is None
    assert book.tx_state("tx-1", fence=True) == TxState.ABORTED
    assert book.tx_state("tx-1") == TxState.ABORTED
    assert book.tx_state("tx-1", fence=True) == TxState.ABORTED


def test_a_slow_group_commit_meets_its_fence(book: OrderBook) -> None:
    book.tx_state("tx-1", fence=True)
    assert book.place("tx-1", [order("a")]) == BatchOutcome(False, {}, frozenset())
    assert sold(book)["sku-10"] == 0
    assert list(book.every_order()) == []
    place(book, "tx-2", order("a"))


def test_a_fence_that_comes_late_hears_committed(book: OrderBook) -> None:
    place(book, "tx-1", order("a"))
    assert book.tx_state("tx-1", fence=True) == TxState.COMMITTED


# -- expiry against order -----------------------------------------------------------------------------------------------


def test_a_late_order_meets_the_tombstone(book: OrderBook) -> None:
    late = order("a")
    assert book.fence([late.order_id], now_ms=NOW) == {}
    outcome = book.place("tx-1", [late])
    assert not outcome.committed
    assert outcome.existing[late.order_id].state == OrderState.TOMBSTONE
    assert sold(book)["sku-10"] == 0


def test_a_late_fence_meets_the_order(book: OrderBook) -> None:
    one, never = order("a"), order("b")
    place(book, "tx-1", one)
    for _ in range(2):
        real = book.fence([never.order_id, one.order_id, one.order_id], now_ms=NOW)
        assert list(real) == [one.order_id]
        assert real[one.order_id].units == 1
    assert book.fence([], now_ms=NOW) == {}


def test_a_tombstone_is_nobodys_order_and_is_never_paid(book: OrderBook) -> None:
    oid = order("a").order_id
    book.fence([oid], now_ms=NOW)
    assert book.orders_of("", limit=9) == []
    assert book.begin_payment([oid])[oid].state == OrderState.TOMBSTONE
    assert book.cancel_unpaid([oid], now_ms=DUE) == []
    assert book.ship([("k", oid)]) == []
    assert [each.state for each in book.every_order()] == [OrderState.TOMBSTONE]


def test_many_reservations_are_fenced_at_once(book: OrderBook) -> None:
    ids = [order(str(number)).order_id for number in range(1_201)]
    place(book, "tx-1", order("7"))
    assert list(book.fence(ids, now_ms=NOW)) == [order("7").order_id]
    assert len(book.orders(ids)) == 1_201


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_buyer_sees_their_orders_newest_first_and_nobody_elses(book: OrderBook) -> None:
    orders = [
        Order(order_id_of("s", "ann", str(age)), "ann", TEN.sku, 1, 1, NOW - age, DUE, str(age))
        for age in (5, 1, 3)
    ]
    place(book, "tx-1", *orders, order("x", buyer="bob"), order("y", buyer="ann "))
    assert [found.created_ms for found in book.orders_of("ann", limit=9)] == [
        NOW - 1,
        NOW - 3,
        NOW - 5,
    ]
    assert len(book.orders_of("ann", limit=2)) == 2
    assert [found.buyer for found in book.orders_of("ann ", limit=9)] == ["ann "]
    assert book.orders_of("Ann", limit=9) == []
    assert book.orders_of("nobody", limit=9) == []


def test_orders_that_do_not_exist_are_left_out(book: OrderBook) -> None:
    one = order("a")
    place(book, "tx-1", one)
    assert list(book.orders([one.order_id, order("b").order_id])) == [one.order_id]
    assert book.orders([]) == {}
    with pytest.raises(ValueError, match="order id"):
        book.orders(["' OR 1=1 --"])


# -- payment -----------------------------------------------------------------------------------------------------------


def test_payment_moves_only_what_is_unpaid(book: OrderBook) -> None:
    first, second, absent = order("a"), order("b"), order("c")
    place(book, "tx-1", first, second)
    ids = [first.order_id, second.order_id]
    started = book.begin_payment([*ids, absent.order_id])
    assert {oid: each.state for oid, each in started.items()} == dict.fromkeys(
        ids, OrderState.PAYING
    )
    book.end_payment([first.order_id], [second.order_id])
    book.end_payment([second.order_id], [first.order_id])  # neither is PAYING: nothing happens
    states = {oid: each.state for oid, each in book.orders(ids).items()}
    assert states == {first.order_id: OrderState.PAID, second.order_id: OrderState.UNPAID}
    again = book.begin_payment(ids)
    assert again[first.order_id].state == OrderState.PAID
    assert again[second.order_id].state == OrderState.PAYING
    assert book.begin_payment([]) == {}
    book.end_payment([], [])


def test_paid_and_declined_at_once_is_a_callers_mistake(book: OrderBook) -> None:
    oid = order("a").order_id
    with pytest.raises(ValueError, match="at once"):
        book.end_payment([oid], [oid])


def test_a_charge_is_made_once_a_key(book: OrderBook) -> None:
    one, two = order("a").order_id, order("b").order_id
    first = book.charge([("pay:1", one, 1_999), ("pay:2", two, 500), ("pay:1", one, 1_999)])
    assert [charge.order_id for charge in first] == [one, two, one]
    assert first[0] == first[2]
    assert book.charge([("pay:1", one, 7)]) == [first[0]]
    assert {charge.amount_fen for charge in book.every_charge()} == {1_999, 500}
    assert {charge.state for charge in book.every_charge()} == {"captured"}
    assert book.charge([]) == []
    with pytest.raises(ValueError, match="fen"):
        book.charge([("pay:3", one, -1)])


# -- cancelling --------------------------------------------------------------------------------------------------------


def test_cancelling_gives_the_units_back_once(book: OrderBook) -> None:
    batch = [order("a", units=3), order("b", units=2), order("c", sku=ONE.sku)]
    place(book, "tx-1", *batch)
    ids = [each.order_id for each in batch]
    for _ in range(2):
        assert {each.order_id for each in book.cancel_unpaid(ids, now_ms=DUE)} == set(ids)
        assert sold(book) == {"sku-1": 0, "sku-10": 0}
    place(book, "tx-2", order("d", units=10), order("e", sku=ONE.sku))


def test_only_unpaid_orders_past_their_time_are_cancelled(book: OrderBook) -> None:
    unpaid, paying, done = order("a"), order("b"), order("c")
    place(book, "tx-1", unpaid, paying, done)
    paid(book, done)
    book.begin_payment([paying.order_id])
    ids = [each.order_id for each in (unpaid, paying, done, order("d"))]
    assert book.cancel_unpaid(ids, now_ms=DUE - 1) == []
    cancelled = book.cancel_unpaid(ids, now_ms=DUE)
    assert [(each.order_id, each.state) for each in cancelled] == [
        (unpaid.order_id, OrderState.CANCELLED)
    ]
    assert sold(book)["sku-10"] == 2
    assert book.begin_payment([unpaid.order_id])[unpaid.order_id].state == OrderState.CANCELLED
    assert book.cancel_unpaid([], now_ms=DUE) == []


def test_a_cancelled_order_is_never_placed_again(book: OrderBook) -> None:
    one = order("a")
    place(book, "tx-1", one)
    book.cancel_unpaid([one.order_id], now_ms=DUE)
    outcome = book.place("tx-2", [one])
    assert outcome.existing[one.order_id].state == OrderState.CANCELLED
    assert sold(book)["sku-10"] == 0


# -- shipping ----------------------------------------------------------------------------------------------------------


def test_a_paid_order_gets_one_parcel(book: OrderBook) -> None:
    done, unpaid = order("a"), order("b")
    place(book, "tx-1", done, unpaid)
    paid(book, done)
    for key in ("ship:1", "ship:1", "ship:2"):
        assert book.ship([(key, done.order_id), ("ship:3", unpaid.order_id)]) == [done.order_id]
    (parcel,) = book.every_parcel()
    assert parcel == Parcel(parcel.parcel_id, done.order_id)
    assert book.orders([done.order_id])[done.order_id].state == OrderState.SHIPPED
    assert book.orders([unpaid.order_id])[unpaid.order_id].state == OrderState.UNPAID
    assert book.ship([]) == []
    assert book.ship([("ship:9", order("z").order_id)]) == []


def test_a_dispatch_key_never_ships_a_second_order(book: OrderBook) -> None:
    first, second = order("a"), order("b")
    place(book, "tx-1", first, second)
    paid(book, first, second)
    assert book.ship([("ship:1", first.order_id)]) == [first.order_id]
    assert book.ship([("ship:1", second.order_id)]) == []
    assert book.orders([second.order_id])[second.order_id].state == OrderState.PAID


# -- catalog -----------------------------------------------------------------------------------------------------------


def test_products_stream_in_pages_by_key(book: OrderBook) -> None:
    book.add_items([(Item(f"p-{number:02}", f"P {number}", number, 5), 1) for number in range(25)])
    seen: list[str] = []
    while page := book.products(after=seen[-1] if seen else "", limit=10):
        seen.extend(item.sku for item in page)
    assert seen == [*(f"p-{number:02}" for number in range(25)), "sku-1", "sku-10"]


def test_a_product_is_found_by_its_exact_sku(book: OrderBook) -> None:
    assert book.product("sku-10") == TEN
    for sku in ("SKU-10", "sku-10 ", "", "absent", "线"):
        assert book.product(sku) is None


def test_related_are_the_most_popular_of_the_same_category(book: OrderBook) -> None:
    def item(sku: str, popularity: float, category: str = "lamps") -> tuple[Item, int]:
        return Item(sku, sku, 1, 1, 0, popularity, "home", category), 1

    book.add_items(
        [item("a", 1.5), item("b", 9), item("c", 4), item("d", 4), item("e", 99, "sofas")]
    )
    assert [each.sku for each in book.related("a", limit=3)] == ["b", "d", "c"]
    assert [each.sku for each in book.related("b", limit=1)] == ["d"]
    assert book.related("e", limit=3) == []
    assert book.related("absent", limit=3) == []
    assert book.related(TEN.sku, limit=3) == []  # no category: related to nothing


def test_a_second_review_of_a_buyer_replaces_the_first(book: OrderBook) -> None:
    for stars, text, at in ((1, "bad", NOW), (5, "good after all", NOW + 5)):
        book.add_review(Review(TEN.sku, "ann", stars, text, at))
    book.add_review(Review(TEN.sku, "bob", 3, "", NOW + 1))
    assert [(each.buyer, each.stars) for each in book.reviews(TEN.sku, limit=9)] == [
        ("ann", 5),
        ("bob", 3),
    ]
    assert len(book.reviews(TEN.sku, limit=1)) == 1
    assert book.reviews("absent", limit=9) == []


# -- the ledger --------------------------------------------------------------------------------------------------------


def test_the_ledger_streams_more_rows_than_a_page_in_key_order(book: OrderBook) -> None:
    ids = [order(str(number)).order_id for number in range(5_001)]
    book.fence(ids, now_ms=NOW)
    assert [each.order_id for each in book.every_order()] == sorted(ids)


# -- several connections ------------------------------------------------------------------------------------------------


def test_two_connections_race_for_the_last_unit_and_one_wins(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    items = [(Item(f"last-{number:02}", "Last", 1, 1), 1) for number in range(20)]
    book.add_items(items)
    outcomes: list[list[BatchOutcome]] = [[], []]

    def buyer(mine: list[BatchOutcome], name: str) -> Callable[[], None]:
        other = opened()

        def run() -> None:
            for item, _ in items:
                mine.append(
                    other.place(f"{name}-{item.sku}", [order(item.sku, sku=item.sku, buyer=name)])
                )

        return run

    in_threads(buyer(outcomes[0], "ann"), buyer(outcomes[1], "bob"))
    for (item, _), first, second in zip(items, *outcomes, strict=True):
        assert first.committed != second.committed
        loser = second if first.committed else first
        assert loser.refused_skus == {item.sku}


def test_of_two_sales_that_begin_at_once_one_is_refused(opened: Callable[[], OrderBook]) -> None:
    for number in range(5):
        begun: list[str] = []
        refused: list[str] = []

        def begin(
            name: str, begun: list[str] = begun, refused: list[str] = refused
        ) -> Callable[[], None]:
            other = opened()
            other.migrate()

            def run() -> None:
                try:
                    other.begin_sale(SaleRow(name, "e", "v", 1, 1, False))
                    begun.append(name)
                except Refused:
                    refused.append(name)

            return run

        in_threads(begin("one"), begin("two"))
        assert (len(begun), len(refused)) == (1, 1), number
        opened().clear_sale(begun[0])


def test_the_same_orders_sent_by_two_connections_are_written_once(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    committed: list[str] = []

    def sender(name: str) -> Callable[[], None]:
        other = opened()

        def run() -> None:
            numbers = [str(number) for number in range(10)]
            committed.extend(n for n in numbers if other.place(f"{name}-{n}", [order(n)]).committed)

        return run

    in_threads(sender("ann"), sender("bob"))
    assert sorted(committed) == sorted(str(number) for number in range(10))
    assert sold(book)["sku-10"] == 10


def test_batches_that_name_skus_in_opposite_orders_all_end_right(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    book.add_items([(Item("x", "X", 1, 10_000), 1), (Item("y", "Y", 1, 10_000), 1)])

    def writer(name: str, skus: tuple[str, str]) -> Callable[[], None]:
        other = opened()

        def run() -> None:
            for number in range(15):
                batch = [
                    order(f"{number}-{copy}-{sku}", sku=sku, buyer=name, units=copy)
                    for copy in (1, 2)
                    for sku in skus
                ]
                place(other, f"{name}-{number}", *batch)
                other.cancel_unpaid([each.order_id for each in reversed(batch[:2])], now_ms=DUE)

        return run

    in_threads(writer("ann", ("x", "y")), writer("bob", ("y", "x")))
    expected = 2 * 15 * 2  # the two orders of 2 units stay, in each batch one of x and one of y
    assert (sold(book)["x"], sold(book)["y"]) == (expected, expected)


def test_expiry_and_order_of_the_same_id_never_both_win(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    orders = [order(str(number)) for number in range(10)]
    fenced: list[dict[str, Order]] = []
    placed: list[bool] = []
    sweeper, worker = opened(), opened()
    in_threads(
        lambda: fenced.extend(
            sweeper.fence([one.order_id], now_ms=NOW) for one in reversed(orders)
        ),
        lambda: placed.extend(
            worker.place(f"tx-{one.order_id}", [one]).committed for one in orders
        ),
    )
    for one, won, real in zip(orders, placed, reversed(fenced), strict=True):
        assert won == (one.order_id in real)
    assert sold(book)["sku-10"] == sum(placed)


def test_fencing_a_transaction_and_committing_it_never_both_win(
    book: OrderBook, opened: Callable[[], OrderBook]
) -> None:
    states: list[TxState | None] = []
    placed: list[bool] = []
    checker, worker = opened(), opened()
    in_threads(
        lambda: states.extend(
            checker.tx_state(f"tx-{number}", fence=True) for number in range(9, -1, -1)
        ),
        lambda: placed.extend(
            worker.place(f"tx-{n}", [order(str(n))]).committed for n in range(10)
        ),
    )
    assert [state == TxState.COMMITTED for state in reversed(states)] == placed
    assert sold(book)["sku-10"] == sum(placed)


def test_a_closed_book_can_be_used_and_closed_again(book: OrderBook) -> None:
    with closing(book):
        place(book, "tx-1", order("a"))
    assert book.tx_state("tx-1") == TxState.COMMITTED
    book.close()
    book.close()
