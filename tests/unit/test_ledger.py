"""The ledger balances when everything is right, and names exactly the row that is not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saleops.domain.ledger import BREAK_KINDS, Break, Ledger
from saleops.domain.ledger_builder import LedgerBuilder
from saleops.domain.messages import OrderLine
from saleops.domain.order_table import OrderTable
from saleops.domain.orders import LIVE_STATES, Order, OrderState, order_id_of
from saleops.domain.stock import Reservation, SkuCount

NOW_MS = 1_800_000_000_000
PRICE_FEN = 1999
UNPAID, PAYING, PAID, SHIPPED = LIVE_STATES
CANCELLED, TOMBSTONE = OrderState.CANCELLED, OrderState.TOMBSTONE


@dataclass
class Books:
    """Every row of every engine, to be tampered with."""

    counts: list[SkuCount] = field(default_factory=list)
    stock: list[tuple[str, int, int]] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    messages: list[OrderLine] = field(default_factory=list)
    charges: list[tuple[str, int, str, str]] = field(default_factory=list)
    parcels: list[tuple[str, str]] = field(default_factory=list)

    def ledger(self, **options: Any) -> Ledger:
        builder = LedgerBuilder("drop", now_ms=NOW_MS, **options)
        for count in self.counts:
            builder.count(count)
        for row in self.stock:
            builder.stock(*row)
        for order in sorted(self.orders, key=lambda order: order.order_id):
            builder.order(order)
        builder.seal()
        for reservation in self.reservations:
            builder.reservation(reservation)
        for line in self.messages:
            builder.message(line)
        for charge in self.charges:
            builder.charge(*charge)
        for parcel in self.parcels:
            builder.parcel(*parcel)
        return builder.ledger()

    def place(self, buyer: str, sku: str, units: int, state: int) -> Order:
        """An order in ``state`` with all that belongs to it."""
        order_id = order_id_of("drop", buyer, "key")
        order = Order(
            order_id, buyer, sku, units, PRICE_FEN, NOW_MS - 5000, NOW_MS + 5000, "key", state=state
        )
        if state == TOMBSTONE:
            order = Order(order_id, "", "", 0, 0, NOW_MS - 5000, 0, "", state=state)
        self.orders.append(order)
        held = "sold" if state in LIVE_STATES else "released"
        self.reservations.append(Reservation(order_id, sku, buyer, units, 0, held))
        if state != TOMBSTONE:
            line = OrderLine(order_id, buyer, sku, units, order.amount_fen, order.created_ms, 0)
            self.messages.append(line)
        if state in (PAID, SHIPPED):
            self.charges.append((order_id, order.amount_fen, "captured", f"charge-{buyer}"))
            self.parcels.append((order_id, f"parcel-{buyer}"))
        return order

    def count_up(self, seeded: dict[str, int]) -> None:
        """Make the counters of the store and the guard agree with the orders."""
        for sku, units in seeded.items():
            live = sum(o.units for o in self.orders if o.sku == sku and o.state in LIVE_STATES)
            held = [r for r in self.reservations if r.sku == sku]
            reserved = sum(r.units for r in held if r.state == "reserved")
            sold = sum(r.units for r in held if r.state == "sold")
            self.counts.append(SkuCount(sku, units, units - reserved - sold, reserved, sold))
            self.stock.append((sku, units, live))


def sale() -> Books:
    """Two SKUs and an order in each state."""
    books = Books()
    for n, state in enumerate((UNPAID, PAYING, PAID, SHIPPED, CANCELLED, TOMBSTONE)):
        books.place(f"buyer-{n}", "sku-a", n + 1, state)
    books.place("buyer-b", "sku-b", 1, SHIPPED)
    books.reservations.append(Reservation("f" * 32, "sku-b", "carl", 2, NOW_MS + 1, "reserved"))
    books.count_up({"sku-a": 20, "sku-b": 5})
    return books


def order_of(books: Books, state: int) -> Order:
    return next(order for order in books.orders if order.state == state)


def change(rows: list[Any], row: Any, **changes: Any) -> None:
    rows[rows.index(row)] = msgspec.structs.replace(row, **changes)


def test_a_sale_without_faults_balances_to_the_unit_and_the_cent() -> None:
    ledger = sale().ledger()

    assert ledger.breaks == []
    assert ledger.balanced
    assert (ledger.seeded, ledger.left, ledger.reserved, ledger.sold) == (25, 12, 2, 11)
    assert ledger.seeded == ledger.left + ledger.reserved + ledger.sold
    assert (ledger.orders, ledger.live_orders) == (6, 5)
    assert (ledger.paid_orders, ledger.cancelled_orders) == (3, 1)
    assert ledger.due_fen == ledger.charged_fen == PRICE_FEN * (3 + 4 + 1)


def test_an_empty_sale_balances() -> None:
    ledger = Books().ledger()
    assert ledger.balanced
    assert ledger.skus == 0


def test_the_document_has_the_keys_that_others_read() -> None:
    document = msgspec.to_builtins(sale().ledger())
    assert document["schema"] == "saleops/reconcile/v1"
    promised = (
        "skus seeded left reserved sold oversold_units undersold_units orphan_reservations orphan_orders "
        "duplicate_orders unpaid_orders double_charges missing_parcels"
    )
    assert set(promised.split()) <= document.keys()


# -- each break, planted alone ----------------------------------------------------------------------------------

Fault = Callable[[Books], str]
"""Plants a fault; returns the id (an order's, or a SKU) that must be named."""


def oversold(books: Books) -> str:
    books.counts[0] = SkuCount("sku-a", 9, -1, 0, 10)
    books.stock[0] = ("sku-a", 9, 10)
    return "sku-a"


def stranded(books: Books) -> str:
    books.counts[0] = msgspec.structs.replace(books.counts[0], left=books.counts[0].left - 1)
    return "sku-a"


def lent_for_ever(books: Books) -> str:
    row = books.counts[0]
    books.counts[0] = msgspec.structs.replace(row, left=row.left - 3, in_transit=3)
    return "sku-a"


def surplus(books: Books) -> str:
    books.counts[0] = msgspec.structs.replace(books.counts[0], left=books.counts[0].left + 1)
    return "sku-a"


def seeded_differently(books: Books) -> str:
    books.stock[1] = ("sku-b", 6, 1)
    return "sku-b"


def guard_lost_a_unit(books: Books) -> str:
    books.stock[1] = ("sku-b", 5, 0)
    return "sku-b"


def counters_moved_apart(books: Books) -> str:
    books.counts[0] = msgspec.structs.replace(
        books.counts[0], reserved=1, sold=books.counts[0].sold - 1
    )
    return "sku-a"


def unknown_to_the_database(books: Books) -> str:
    books.counts.append(SkuCount("sku-c", 1, 1, 0, 0))
    return "sku-c"


def unknown_to_the_store(books: Books) -> str:
    books.stock.append(("sku-c", 1, 0))
    return "sku-c"


def expired_and_held(books: Books) -> str:
    change(books.reservations, books.reservations[-1], expires_ms=NOW_MS)
    return "f" * 32


def sold_without_an_order(books: Books) -> str:
    change(books.reservations, books.reservations[-1], state="sold")
    row = books.counts[1]
    books.counts[1] = msgspec.structs.replace(row, reserved=0, sold=3)
    return "f" * 32


def cancelled_and_held(books: Books) -> str:
    order = order_of(books, CANCELLED)
    row = next(r for r in books.reservations if r.order_id == order.order_id)
    change(books.reservations, row, state="sold")
    count = books.counts[0]
    books.counts[0] = msgspec.structs.replace(
        count, left=count.left - order.units, sold=count.sold + order.units
    )
    return order.order_id


def no_message(books: Books) -> str:
    return books.messages.pop(0).order_id


def units_not_held(books: Books) -> str:
    row = books.reservations[0]
    change(books.reservations, row, state="released")
    count = books.counts[0]
    books.counts[0] = msgspec.structs.replace(
        count, left=count.left + row.units, sold=count.sold - row.units
    )
    return row.order_id


def same_key_twice(books: Books) -> str:
    order = order_of(books, UNPAID)
    second = msgspec.structs.replace(order, order_id="f" * 31 + "e")
    books.orders.append(second)
    line = next(m for m in books.messages if m.order_id == order.order_id)
    books.messages.append(msgspec.structs.replace(line, order_id=second.order_id))
    books.reservations.append(
        Reservation(second.order_id, order.sku, order.buyer, order.units, 0, "sold")
    )
    books.counts.clear()
    books.stock.clear()
    books.count_up({"sku-a": 20, "sku-b": 5})
    return second.order_id


def announced_twice(books: Books) -> str:
    books.messages.append(books.messages[2])
    return books.messages[2].order_id


def announced_for_nobody(books: Books) -> str:
    books.messages.append(OrderLine("e" * 32, "ann", "sku-a", 1, PRICE_FEN, NOW_MS, NOW_MS))
    return "e" * 32


def announced_though_fenced(books: Books) -> str:
    order_id = order_of(books, TOMBSTONE).order_id
    books.messages.append(OrderLine(order_id, "ann", "sku-a", 1, PRICE_FEN, NOW_MS, NOW_MS))
    return order_id


def announced_wrongly(books: Books) -> str:
    change(books.messages, books.messages[0], amount_fen=1)
    return books.messages[0].order_id


def past_due(books: Books) -> str:
    order = order_of(books, UNPAID)
    change(books.orders, order, due_ms=NOW_MS)
    return order.order_id


def stuck_while_paying(books: Books) -> str:
    order = order_of(books, PAYING)
    change(books.orders, order, due_ms=NOW_MS)
    return order.order_id


def state_from_nowhere(books: Books) -> str:
    order = order_of(books, CANCELLED)
    change(books.orders, order, state=77)
    return order.order_id


def charged_twice(books: Books) -> str:
    order_id, amount_fen, state, _ = books.charges[0]
    books.charges.append((order_id, amount_fen, state, "charge-again"))
    return order_id


def charged_wrongly(books: Books) -> str:
    order_id, amount_fen, state, charge_id = books.charges[0]
    books.charges[0] = (order_id, amount_fen + 1, state, charge_id)
    return order_id


def charged_for_nothing(books: Books) -> str:
    books.charges.append(("e" * 32, PRICE_FEN, "captured", "charge-x"))
    return "e" * 32


def charged_though_cancelled(books: Books) -> str:
    order = order_of(books, CANCELLED)
    books.charges.append((order.order_id, order.amount_fen, "captured", "charge-x"))
    return order.order_id


def charged_though_unpaid(books: Books) -> str:
    order = order_of(books, UNPAID)
    books.charges.append((order.order_id, order.amount_fen, "captured", "charge-x"))
    return order.order_id


def paid_by_nobody(books: Books) -> str:
    return books.charges.pop()[0]


def refunded_and_sent(books: Books) -> str:
    order_id, amount_fen, _, charge_id = books.charges[0]
    books.charges[0] = (order_id, amount_fen, "refunded", charge_id)
    return order_id


def not_sent(books: Books) -> str:
    return books.parcels.pop()[0]


def sent_twice(books: Books) -> str:
    books.parcels.append((books.parcels[0][0], "parcel-again"))
    return books.parcels[0][0]


def sent_unpaid(books: Books) -> str:
    order_id = order_of(books, UNPAID).order_id
    books.parcels.append((order_id, "parcel-x"))
    return order_id


def sent_for_nobody(books: Books) -> str:
    books.parcels.append(("e" * 32, "parcel-x"))
    return "e" * 32


def held_twice(books: Books) -> str:
    row = books.reservations[0]
    books.reservations.append(row)
    count = books.counts[0]
    books.counts[0] = msgspec.structs.replace(
        count, left=count.left - row.units, sold=count.sold + row.units
    )
    return row.order_id


PLANTED: list[tuple[Fault, str, dict[str, int]]] = [
    (stranded, "undersold", {"undersold_units": 1}),
    (lent_for_ever, "undersold", {"undersold_units": 3, "in_transit": 3}),
    (surplus, "surplus", {"surplus_units": 1}),
    (seeded_differently, "seed-differs", {"mismatched_skus": 1}),
    (guard_lost_a_unit, "guard-differs", {"mismatched_skus": 1}),
    (counters_moved_apart, "counter-differs", {"mismatched_skus": 1}),
    (unknown_to_the_database, "missing-sku", {"mismatched_skus": 1}),
    (unknown_to_the_store, "missing-sku", {"mismatched_skus": 1}),
    (expired_and_held, "orphan-reservation", {"orphan_reservations": 1}),
    (sold_without_an_order, "orphan-reservation", {"orphan_reservations": 1}),
    (cancelled_and_held, "orphan-reservation", {"orphan_reservations": 1}),
    (held_twice, "duplicate-reservation", {"duplicate_reservations": 1}),
    (no_message, "orphan-order", {"orphan_orders": 1}),
    (units_not_held, "orphan-order", {"orphan_orders": 1}),
    (announced_twice, "duplicate-message", {"duplicate_messages": 1}),
    (announced_for_nobody, "ghost-message", {"ghost_messages": 1}),
    (announced_though_fenced, "ghost-message", {"ghost_messages": 1}),
    (announced_wrongly, "wrong-message", {"wrong_messages": 1}),
    (state_from_nowhere, "unknown-state", {"unknown_states": 1}),
    (past_due, "unpaid-order", {"unpaid_orders": 1}),
    (stuck_while_paying, "unpaid-order", {"unpaid_orders": 1}),
    (charged_twice, "double-charge", {"double_charges": 1}),
    (charged_wrongly, "wrong-amount", {"wrong_amounts": 1}),
    (charged_for_nothing, "stray-charge", {"stray_charges": 1}),
    (charged_though_cancelled, "stray-charge", {"stray_charges": 1}),
    (charged_though_unpaid, "stray-charge", {"stray_charges": 1}),
    (paid_by_nobody, "missing-charge", {"missing_charges": 1}),
    (refunded_and_sent, "missing-charge", {"missing_charges": 1}),
    (not_sent, "missing-parcel", {"missing_parcels": 1}),
    (sent_twice, "duplicate-parcel", {"duplicate_parcels": 1}),
    (sent_unpaid, "stray-parcel", {"stray_parcels": 1}),
    (sent_for_nobody, "stray-parcel", {"stray_parcels": 1}),
]


@pytest.mark.parametrize(
    ("plant", "kind", "figures"), PLANTED, ids=[plant.__name__ for plant, _, _ in PLANTED]
)
def test_a_planted_fault_is_the_only_break_and_names_its_row(
    plant: Fault, kind: str, figures: dict[str, int]
) -> None:
    books = sale()
    culprit = plant(books)

    ledger = books.ledger()

    assert not ledger.balanced
    assert [(b.kind, b.id or b.sku) for b in ledger.breaks] == [(kind, culprit)]
    for name, value in figures.items():
        assert getattr(ledger, name) == value


def test_units_sold_past_the_seed_are_oversold() -> None:
    books = sale()
    assert oversold(books) == "sku-a"
    ledger = books.ledger()
    assert ledger.oversold_units == 1
    assert {(b.kind, b.sku) for b in ledger.breaks} == {("oversold", "sku-a")}


def test_of_two_orders_under_one_key_the_second_is_named_with_the_first() -> None:
    books = sale()
    second = same_key_twice(books)
    [broken] = books.ledger().breaks
    first = order_of(books, UNPAID).order_id
    assert broken == Break(
        "duplicate-order", second, "sku-a", f"same buyer and key as order {first}"
    )


def test_every_kind_of_break_is_planted_by_a_test() -> None:
    assert {kind for _, kind, _ in PLANTED} | {"oversold", "duplicate-order"} == set(BREAK_KINDS)


# -- any row ----------------------------------------------------------------------------------------------------

SHOPPING = st.lists(
    st.tuples(
        st.sampled_from(["sku-a", "sku-b", "sku-c"]),
        st.integers(1, 3),
        st.sampled_from([*LIVE_STATES, CANCELLED, TOMBSTONE]),
    ),
    min_size=1,
    max_size=12,
)
TABLES = ("counts", "stock", "orders", "reservations", "messages", "charges", "parcels")


def owner_of(row: Any) -> tuple[str, str]:
    """The order id and SKU that a row is about, "" where it does not say."""
    if isinstance(row, SkuCount):
        return "", row.sku
    if isinstance(row, tuple):
        return ("", row[0]) if row[0].startswith("sku") else (row[0], "")
    return row.order_id, row.sku


def mattering(books: Books, table: str) -> list[Any]:
    """The rows whose loss or doubling changes anything: history of what is over may go."""
    rows: list[Any] = getattr(books, table)
    if table == "orders":
        return [row for row in rows if row.state != TOMBSTONE]
    if table == "reservations":
        return [row for row in rows if row.state != "released"]
    return rows


@settings(max_examples=200, deadline=None)
@given(shopping=SHOPPING, data=st.data(), doubled=st.booleans())
def test_any_row_deleted_or_doubled_is_reported_by_its_id_and_no_other(
    shopping: list[tuple[str, int, int]], data: st.DataObject, doubled: bool
) -> None:
    books = Books()
    for n, (sku, units, state) in enumerate(shopping):
        books.place(f"buyer-{n}", sku, units, state)
    books.count_up({"sku-a": 40, "sku-b": 40, "sku-c": 40})
    assert books.ledger().breaks == []
    table = data.draw(st.sampled_from([t for t in TABLES if mattering(books, t)]))
    row = data.draw(st.sampled_from(mattering(books, table)))
    rows = getattr(books, table)
    if doubled:
        rows.insert(data.draw(st.integers(0, len(rows))), row)
    else:
        rows.remove(row)

    ledger = books.ledger()

    order_id, sku = owner_of(row)
    assert not ledger.balanced
    named = {b.id for b in ledger.breaks if b.id}
    assert named == ({order_id} if order_id else set())
    assert {b.sku for b in ledger.breaks} <= {
        sku,
        "",
        *[o.sku for o in books.orders if o.order_id == order_id],
    }
    if sku and not order_id:
        assert {b.sku for b in ledger.breaks} == {sku}


# -- bounds and edges -------------------------------------------------------------------------------------------


def test_all_breaks_are_counted_and_only_so_many_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saleops.domain.ledger_builder.NAMED_MAX", 3)
    books = sale()
    books.parcels.clear()
    for n in range(10):
        books.charges.append((f"{n:032x}", 5, "captured", f"charge-{n}"))
    ledger = books.ledger()

    assert ledger.stray_charges == 10
    assert ledger.missing_parcels == 3
    assert ledger.breaks_count == 13
    assert [b.kind for b in ledger.breaks].count("stray-charge") == 3
    assert [b.kind for b in ledger.breaks].count("missing-parcel") == 3


def test_what_is_younger_than_the_grace_is_still_on_its_way() -> None:
    books = sale()
    books.messages.pop(0)
    books.parcels.pop()
    change(books.orders, order_of(books, PAYING), due_ms=NOW_MS - 1)
    assert books.ledger().breaks_count == 3
    assert books.ledger(grace_ms=5001).balanced


def test_an_order_not_confirmed_yet_is_no_break() -> None:
    books = sale()
    change(books.reservations, books.reservations[2], state="reserved")
    units = books.reservations[2].units
    count = books.counts[0]
    books.counts[0] = msgspec.structs.replace(count, reserved=units, sold=count.sold - units)
    ledger = books.ledger()
    assert ledger.balanced
    assert ledger.unconfirmed_orders == 1


def test_ids_that_are_no_hex_digits_are_found_and_named_all_the_same() -> None:
    books = sale()
    order = order_of(books, PAID)
    for rows in (books.orders, books.reservations, books.messages):
        row = next(row for row in rows if row.order_id == order.order_id)
        change(rows, row, order_id="No-Hex-Id!")
    books.charges = [(i.replace(order.order_id, "No-Hex-Id!"), *rest) for i, *rest in books.charges]
    books.parcels = [(i.replace(order.order_id, "No-Hex-Id!"), p) for i, p in books.parcels]
    assert books.ledger().balanced

    books.parcels = [row for row in books.parcels if row[0] != "No-Hex-Id!"]
    assert [b.id for b in books.ledger().breaks] == ["No-Hex-Id!"]


def test_rows_handed_in_out_of_turn_are_a_callers_mistake() -> None:
    builder = LedgerBuilder("drop", now_ms=NOW_MS)
    with pytest.raises(ValueError, match="seal"):
        builder.parcel("a" * 32)
    builder.seal()
    with pytest.raises(ValueError, match="come before"):
        builder.order(order_of(sale(), PAID))


def test_a_row_with_impossible_figures_is_a_break_and_not_a_crash() -> None:
    books = sale()
    order = order_of(books, PAID)
    change(books.orders, order, price_fen=2**62, state=-1)
    assert "unknown-state" in {b.kind for b in books.ledger().breaks}


def test_an_order_takes_66_bytes() -> None:
    table = OrderTable()
    for n in range(20_000):
        table.add(Order(f"{n * 7919:032x}", "ann", "sku", 1, 1, 0, 0, f"key-{n}"), 0)
    table.seal()
    assert table.bytes_used() / 20_000 < 75  # arrays grow by an eighth at a time
    assert table.find(f"{19_999 * 7919:032x}") == 19_999
    assert table.find("0" * 31 + "1") == -1
