"""The ledger balances when everything is right, and names exactly the row that is not."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from books import (
    CANCELLED,
    NOW_MS,
    PAID,
    PAYING,
    PRICE_FEN,
    TOMBSTONE,
    Books,
    change,
    order_of,
    sale,
)
from saleops.domain.ledger_builder import LedgerBuilder
from saleops.domain.order_table import OrderTable
from saleops.domain.orders import LIVE_STATES, Order
from saleops.domain.stock import SkuCount


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
