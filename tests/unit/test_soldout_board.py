"""The sold-out board: who is refused without being asked for, and who never is."""

import pytest

from saleops.ports.stock import UnitsLeft
from saleops.services.order import soldout
from saleops.services.order.soldout import SoldOutBoard

DRY = UnitsLeft(0, 0)


def board_with(*buyers: str, sku: str = "hot") -> SoldOutBoard:
    board = SoldOutBoard()
    board.note(sku, 0)
    board.remember(sku, frozenset(buyers), 0)
    return board


def test_a_sku_that_is_not_on_the_board_is_asked_for() -> None:
    assert not SoldOutBoard().refuses("ann", "hot", 1)


def test_nobody_is_refused_before_the_winners_are_known() -> None:
    board = SoldOutBoard()
    board.note("hot", 0)

    assert not board.refuses("ann", "hot", 1)


def test_who_ever_held_units_is_asked_for_and_everybody_else_refused() -> None:
    board = board_with("winner")

    assert not board.refuses("winner", "hot", 1)
    assert board.refuses("ann", "hot", 1)


def test_a_wish_for_no_more_than_what_is_left_is_asked_for() -> None:
    board = SoldOutBoard()
    board.note("hot", 1)  # somebody wanted two
    board.remember("hot", frozenset(), 0)

    assert board.refuses("ann", "hot", 2)
    assert not board.refuses("ann", "hot", 1)


def test_units_that_come_back_take_a_sku_off_the_board() -> None:
    board = board_with("winner")

    assert board.outdated({"hot": UnitsLeft(1, 1)}) == []
    assert not board.refuses("ann", "hot", 1)


def test_winners_are_read_again_when_units_were_given_back_and_sold_in_between() -> None:
    board = board_with("winner")

    assert board.outdated({"hot": DRY}) == []
    assert board.outdated({"hot": UnitsLeft(0, 1)}) == ["hot"]
    board.remember("hot", frozenset(("winner", "second")), 1)
    assert not board.refuses("second", "hot", 1)
    assert board.outdated({"hot": UnitsLeft(0, 1)}) == []


def test_memory_is_bounded_and_what_does_not_fit_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soldout, "SKUS_MAX", 1)
    monkeypatch.setattr(soldout, "BUYERS_MAX", 2)
    board = board_with("a", "b", "c")
    board.note("second", 0)

    assert not board.refuses("ann", "hot", 1)
    assert "second" not in board.entries
    board.remember("hot", frozenset(("a", "b")), 0)
    assert board.refuses("ann", "hot", 1)


def test_a_cleared_board_refuses_nobody() -> None:
    board = board_with("winner")
    board.clear()

    assert not board.refuses("ann", "hot", 1)
