"""Each way a sale can be wrong, planted alone: the ledger says so, once, and names the row."""

from collections.abc import Callable

import msgspec
import pytest

from books import (
    CANCELLED,
    NOW_MS,
    PAYING,
    PRICE_FEN,
    TOMBSTONE,
    UNPAID,
    Books,
    change,
    order_of,
    sale,
)
from saleops.domain.ledger import BREAK_KINDS, Break
from saleops.domain.ledger_builder import LedgerBuilder
from saleops.domain.messages import OrderLine
from saleops.domain.stock import Reservation, SkuCount

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
    elsewhere = {"oversold", "duplicate-order", "epoch-differs"}
    assert {kind for _, kind, _ in PLANTED} | elsewhere == set(BREAK_KINDS)


@pytest.mark.parametrize(
    ("database", "store", "breaks"),
    [
        ("e1", "e1", 0),
        ("e1", "", 0),  # an empty store: its lost units are named one by one
        ("e1", "e2", 1),
        ("e1", "e1 (incomplete)", 1),
        ("e1", "several epochs", 1),
    ],
)
def test_stores_that_hold_different_seedings_never_balance(
    database: str, store: str, breaks: int
) -> None:
    builder = LedgerBuilder("drop", now_ms=0)
    builder.epochs(database, store)
    builder.seal()

    ledger = builder.ledger()

    assert ledger.breaks_by_kind["epoch-differs"] == breaks
    assert ledger.balanced is not bool(breaks)


def test_a_charge_in_an_unknown_state_is_named_and_pays_for_nothing() -> None:
    builder = LedgerBuilder("drop", now_ms=0)
    builder.seal()
    builder.charge("o1", 100, "failed", "c1")

    ledger = builder.ledger()

    assert [(b.kind, b.id) for b in ledger.breaks] == [("unknown-state", "o1")]
    assert ledger.charged_fen == 0
