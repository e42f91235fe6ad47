"""The sold-out board: who is refused without being asked for, and who never is."""

import pytest

from saleops.domain.stock import RESALE_PAUSE_MS
from saleops.ports.stock import UnitsLeft
from saleops.services.order import soldout
from saleops.services.order.soldout import BELIEVED_S, Entry, SoldOutBoard

DRY = UnitsLeft(0, 0)
NOW = 100.0


def board_with(*buyers: str, sku: str = "hot") -> SoldOutBoard:
    board = SoldOutBoard()
    board.note(sku, 0)
    board.outdated({sku: DRY}, asked_s=NOW)
    board.remember(sku, frozenset(buyers), 0)
    return board


def test_a_sku_that_is_not_on_the_board_is_asked_for() -> None:
    assert not SoldOutBoard().refuses("ann", "hot", 1, NOW)


def test_nobody_is_refused_before_the_winners_are_known() -> None:
    board = SoldOutBoard()
    board.note("hot", 0)

    assert not board.refuses("ann", "hot", 1, NOW)


def test_who_ever_held_units_is_asked_for_and_everybody_else_refused() -> None:
    board = board_with("winner")

    assert not board.refuses("winner", "hot", 1, NOW)
    assert board.refuses("ann", "hot", 1, NOW)


def test_a_wish_for_no_more_than_what_is_left_is_asked_for() -> None:
    board = SoldOutBoard()
    board.outdated({"hot": DRY}, asked_s=NOW)
    board.note("hot", 1)  # somebody wanted two
    board.entries["hot"] = Entry(1, frozenset(), 0, NOW)

    assert board.refuses("ann", "hot", 2, NOW)
    assert not board.refuses("ann", "hot", 1, NOW)


def test_units_that_come_back_take_a_sku_off_the_board() -> None:
    board = board_with("winner")

    assert board.outdated({"hot": UnitsLeft(1, 1)}, asked_s=NOW) == []
    assert not board.refuses("ann", "hot", 1, NOW)


def test_winners_are_read_again_when_units_were_given_back_and_sold_in_between() -> None:
    board = board_with("winner")

    assert board.outdated({"hot": DRY}, asked_s=NOW) == []
    assert board.outdated({"hot": UnitsLeft(0, 1)}, asked_s=NOW) == ["hot"]
    board.remember("hot", frozenset(("winner", "second")), 1)
    assert not board.refuses("second", "hot", 1, NOW)
    assert board.outdated({"hot": UnitsLeft(0, 1)}, asked_s=NOW) == []


def test_what_was_not_confirmed_lately_is_not_believed() -> None:
    board = board_with("winner")

    assert board.refuses("ann", "hot", 1, NOW + BELIEVED_S - 0.01)
    assert not board.refuses("ann", "hot", 1, NOW + BELIEVED_S)
    board.outdated({"hot": DRY}, asked_s=NOW + 5)
    assert board.refuses("ann", "hot", 1, NOW + 5)


def test_an_entry_is_believed_for_less_time_than_units_wait_to_be_sold_again() -> None:
    assert BELIEVED_S * 1000 + 1000 <= RESALE_PAUSE_MS  # a second for clocks that differ


def test_memory_is_bounded_and_what_does_not_fit_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soldout, "SKUS_MAX", 1)
    monkeypatch.setattr(soldout, "BUYERS_MAX", 2)
    board = board_with("a", "b", "c")
    board.note("second", 0)

    assert not board.refuses("ann", "hot", 1, NOW)
    assert "second" not in board.entries
    board.remember("hot", frozenset(("a", "b")), 0)
    assert board.refuses("ann", "hot", 1, NOW)


def test_a_cleared_board_refuses_nobody() -> None:
    board = board_with("winner")
    board.clear()

    assert not board.refuses("ann", "hot", 1, NOW)
