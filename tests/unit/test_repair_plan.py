"""The plan knows every kind of break, the matrix judges every combination as the ledger does, and every step has its inverse."""

from itertools import product
from pathlib import Path

import msgspec
import pytest

from books import CANCELLED, NOW_MS, UNPAID, Books, sale
from saleops.domain.ledger import BREAK_KINDS
from saleops.domain.messages import OrderLine
from saleops.domain.orders import Order, OrderState
from saleops.domain.orphans import REPAIRS, breaks_of
from saleops.domain.repair import (
    ACCEPT_ONLY,
    ACTIONS,
    Accept,
    Add,
    Amend,
    Announce,
    ChargeOrder,
    Due,
    Field,
    Rebuild,
    Refund,
    RowChange,
    Settle,
    Step,
    Swap,
    inverse,
)
from saleops.domain.stock import Reservation

PAGE = Path(__file__).parents[2] / "docs" / "repair.md"


def test_every_kind_of_break_has_its_repair_and_its_line_in_the_docs() -> None:
    assert list(ACTIONS) == list(BREAK_KINDS)
    page = PAGE.read_text(encoding="utf-8")
    rows = [f"| {kind} | {does} | {undo} |" for kind, (does, undo) in ACTIONS.items()]
    assert [row for row in rows if row not in page] == []
    assert {
        "duplicate-order",
        "duplicate-message",
        "ghost-message",
        "wrong-message",
        "unknown-state",
    } == ACCEPT_ONLY


ACTS = [
    Amend(3, "sku", [Field("held", "a", "S 1 0 ann", None)], [Add("units", "Lsku", 1)], [Due("m", 5, None)]),
    Swap([RowChange("orders", "a", {"state": 0}, {"state": 8})], {"sku": -2}),
    Accept([("ghost-message", "a", "sku")], "seen"),
]  # fmt: skip


@pytest.mark.parametrize("act", ACTS, ids=lambda act: type(act).__name__)
def test_a_step_turned_round_twice_is_the_step(act: Amend | Swap | Accept) -> None:
    step = Step(action="x", engine="stock", kinds=["k"], act=act)
    once = inverse(step)
    assert once is not None
    twice = inverse(once)
    assert twice is not None
    assert twice.act == act


def test_what_cannot_be_called_back_has_no_inverse_and_money_has_one_in_the_book() -> None:
    for act in (Announce("tx", ["a"]), Settle(), Rebuild()):
        step = Step(action="x", engine="messages", kinds=[], act=act)
        assert inverse(step) is None
        assert not step.undoable
    for money in (Refund("ch", "a", 5), ChargeOrder("a", "a", 5, "tok")):
        turned = inverse(Step(action="x", engine="payments", kinds=[], refund_fen=5, act=money))
        assert turned is not None
        assert isinstance(turned.act, Swap)
        assert turned.refund_fen == 0


def test_steps_survive_the_undo_file() -> None:
    steps = [Step(action="x", engine="stock", kinds=["k"], act=act) for act in ACTS]
    assert msgspec.json.decode(msgspec.json.encode(steps), type=list[Step]) == steps


# -- the matrix --------------------------------------------------------------------------------------------------------

MATRIX_KINDS = set(REPAIRS)


def books_with(state: int, held: str, messages: int, charges: int, parcels: int) -> Books:
    """One id with just these rows; ``state`` -1: no order."""
    books = Books()
    order_id = "a" * 32
    order = Order(order_id, "ann", "sku-a", 1, 100, NOW_MS - 9, NOW_MS + 9, "key", state=state)
    if state == OrderState.TOMBSTONE:
        order = Order(order_id, "", "", 0, 0, NOW_MS - 9, 0, "", state=state)
    if state >= 0:
        books.orders.append(order)
    if held != "none":
        expires = NOW_MS - 1 if held == "expired" else NOW_MS + 1
        kept = "sold" if held == "sold" else "reserved"
        books.reservations.append(Reservation(order_id, "sku-a", "ann", 1, expires, kept))
    books.messages = [OrderLine(order_id, "ann", "sku-a", 1, 100, 0, 0)] * messages
    books.charges = [(order_id, 100, "captured", f"ch-{n}") for n in range(charges)]
    books.parcels = [(order_id, f"pa-{n}") for n in range(parcels)]
    books.count_up({"sku-a": 5})
    return books


@pytest.mark.parametrize("state", [-1, 0, 1, 2, 3, 5, 8, 9])
def test_the_matrix_and_the_ledger_judge_every_combination_alike(state: int) -> None:
    for held, messages, charges, parcels in product(
        ("none", "reserved", "sold", "expired"), *[(0, 1, 2)] * 3
    ):
        if state >= 0 and held == "expired":
            continue
        if state == OrderState.TOMBSTONE and held == "reserved":
            continue  # may be released at any moment: judged by its time, which the matrix does not show
        ledger = books_with(state, held, messages, charges, parcels).ledger()
        [row] = [one for one in ledger.matrix if one.ids] or [None]
        if row is None:
            assert (state, held, messages, charges, parcels) == (-1, "none", 0, 0, 0)
            continue
        kinds = {one.kind for one in ledger.breaks} & MATRIX_KINDS
        assert (set(row.breaks), row.right) == (kinds, not kinds), row
        assert row.ids == 1


def test_a_sound_sale_has_only_right_combinations_and_counts_every_id_once() -> None:
    books = sale()
    ledger = books.ledger()
    assert all(row.right for row in ledger.matrix)
    assert sum(row.ids for row in ledger.matrix) == len(books.orders) + 1  # one waits for its order


def test_a_combination_that_occurs_twice_is_one_row() -> None:
    books = Books()
    for n in range(3):
        books.place(f"buyer-{n}", "sku-a", 1, CANCELLED)
    books.count_up({"sku-a": 9})
    [row] = books.ledger().matrix
    assert (row.order, row.ids, row.repair) == ("cancelled", 3, "")


def test_a_broker_that_delivers_at_least_once_makes_notices_of_second_announcements() -> None:
    books = sale()
    books.messages.append(books.messages[0])
    strict, lenient = books.ledger(), books.ledger(commits_once=False)
    assert (strict.duplicate_messages, strict.notices_count) == (1, 0)
    assert (lenient.balanced, lenient.duplicate_messages, lenient.notices_count) == (True, 0, 1)
    assert lenient.notices[0].id == books.messages[0].order_id
    assert all(row.right for row in lenient.matrix)
    assert not all(row.right for row in strict.matrix)


def test_what_was_accepted_is_listed_and_not_counted() -> None:
    books = sale()
    books.messages.append(books.messages[0])
    order_id = books.messages[0].order_id
    ledger = books.ledger(accepted=[("duplicate-message", order_id, "sku-a")])
    assert (ledger.balanced, ledger.accepted_count, ledger.breaks) == (True, 1, [])
    assert [one.id for one in ledger.accepted] == [order_id]


def test_the_buyer_is_compared_in_the_store_and_in_messages() -> None:
    books = sale()
    order = next(one for one in books.orders if one.state == UNPAID)
    at = next(n for n, row in enumerate(books.reservations) if row.order_id == order.order_id)
    books.reservations[at] = msgspec.structs.replace(books.reservations[at], buyer="mallory")
    [held] = books.ledger().breaks
    assert (held.kind, held.id) == ("orphan-order", order.order_id)
    assert "another buyer" in held.detail

    books = sale()
    at = next(n for n, row in enumerate(books.messages) if row.order_id == order.order_id)
    books.messages[at] = msgspec.structs.replace(books.messages[at], buyer="mallory")
    [said] = books.ledger().breaks
    assert (said.kind, said.id) == ("wrong-message", order.order_id)


def test_young_orders_may_lack_their_message_in_the_matrix_too() -> None:
    assert breaks_of((OrderState.UNPAID, 2, 0, 0, 0, True)) == []
    assert breaks_of((OrderState.UNPAID, 2, 0, 0, 0, False)) == ["orphan-order"]
