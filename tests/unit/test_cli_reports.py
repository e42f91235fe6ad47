"""Reports on a narrow terminal: ids in one piece, figures alike, and what a person does next."""

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest

import saleops.cli.repair
import saleops.cli.strategies  # noqa: F401 - both register how their reports look
from books import sale
from saleops.cli.reconcile import NAMED_ON_SCREEN, _advice, as_rich
from saleops.cli.sheets import Sheet, draw, lines_of
from saleops.domain.ledger import Break
from saleops.domain.orders import OrderState
from saleops.domain.repair_facts import Facts
from saleops.domain.repair_plan import plan_from
from saleops.operations.repair_report import RepairReport, StepReport
from saleops.operations.strategies import StrategiesReport, StrategyRow

ORDER = "8c53e2b168dadfd8e1cf975962200cde"
CHARGE = "ch_0123456789abcdef01234567"


def on_terminal(shown: Any, *, width: int = 80) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(draw(shown, ascii_only=False))
    return captured.get()


def test_ids_stay_whole_at_80_columns_and_empty_columns_are_left_out() -> None:
    step = StepReport(
        "refund", "payments", ("double-charge",), ORDER, "sneaker-42",
        f"charge {CHARGE}: 5990 fen captured", "refunded", undoable=True,
    )  # fmt: skip
    report = RepairReport("drop", False, False, 1, (), (step,), (), 5990, 0, "")

    shown = as_rich(report)

    for width in (80, 160):
        text = on_terminal(shown, width=width)
        assert ORDER in text
        assert CHARGE in text
        assert "why" not in text
        assert max(map(len, text.splitlines())) <= width
    assert "why" in "\n".join(lines_of(shown)), "columns of a pipe stay where they are"


@pytest.mark.parametrize("width", [40, 80])
def test_a_table_with_an_id_is_drawn_as_a_table_where_it_fits(width: int) -> None:
    text = on_terminal(Sheet(("letter", "group"), [("1-0", "payment")], whole=("letter",)))
    assert "│ 1-0    │ payment │" in text


def test_strategies_fit_80_columns_and_their_figures_look_alike() -> None:
    def row(name: str, sold: int, ended: str, note: str) -> StrategyRow:
        return StrategyRow(
            name, "redis", True, 2000, sold, 0, sold, 20_000, 15.0, 1336.0, 7.42, 21.0, ended, note
        )

    lacks = "the server lacks EXINCRBY (TairString): unknown command"
    report = StrategiesReport(
        True, 2000, 20_000, 32, 7, {},
        [
            row("lua", 2000, "done", "exact: 18,000 buyers heard sold out"),
            row("sql", 2000, "done", "exact: 18,000 buyers heard sold out"),
            row("tairstring", 0, "not here", lacks),
        ],
    )  # fmt: skip

    lines = on_terminal(as_rich(report)).splitlines()

    assert "│ lua      │ 2,000 │        0 │      1,336 │   7.42 │  21.00 │" in lines
    assert any(line.split() == ["tairstring", *f"not run: {lacks}".split()] for line in lines)
    assert any("the UPDATE" in line for line in lines), "why the shop has both"
    assert max(map(len, lines)) <= 80


def test_the_advice_on_many_breaks_still_names_the_repair() -> None:
    context = cast(Any, SimpleNamespace(options=SimpleNamespace(output="table")))
    for count in (1, NAMED_ON_SCREEN + 1):
        ledger = cast(Any, SimpleNamespace(breaks_count=count))
        assert "--repair shows what would mend it" in _advice(context, ledger)
    assert "`-o json` names up to 1,000 ids" in _advice(context, ledger)


def test_the_matrix_says_accepted_where_the_ledger_does() -> None:
    books = sale()
    books.messages.append(books.messages[0])
    twice = books.messages[0].order_id
    ghost = "e" * 32
    books.charges.append((ghost, 5, "captured", CHARGE))

    ledger = books.ledger(accepted=[("duplicate-message", twice, "sku-a")])

    marks = {row[8]: row[0] for row in _matrix_rows(ledger)}
    assert marks["accepted"] == "✓"
    assert marks["refund"] == "✗", "what nobody accepted stays broken"
    text = "\n".join(lines_of(as_rich(ledger)))
    assert "1 row accepted by somebody as it stands" in text
    stray = books.ledger(accepted=[("stray-charge", ghost, "")])
    [row] = [row for row in stray.matrix if row.order == "none" and row.charge == "one"]
    assert (row.repair, row.accepted, row.right) == ("accepted", ["stray-charge"], False)


def _matrix_rows(ledger: Any) -> list[Any]:
    [matrix] = [part for part in as_rich(ledger) if getattr(part, "title", "") == "Orphan matrix"]
    return list(matrix.rows)


def test_a_refund_names_the_charge_that_goes_back() -> None:
    facts = Facts(now_ms=1)
    order = {
        "order_id": ORDER,
        "state": int(OrderState.SHIPPED),
        "units": 1,
        "price_fen": 5990,
        "sku": "a",
    }
    facts.orders = {ORDER: order}
    row = {"order_id": ORDER, "amount_fen": 5990, "state": "captured"}
    facts.charges = {
        ORDER: [
            {**row, "charge_id": "ch_first", "idempotency_key": ORDER},
            {**row, "charge_id": CHARGE, "idempotency_key": "another"},
        ]
    }

    [step] = plan_from([Break("double-charge", ORDER, "a", "")], facts).steps

    assert (step.before, step.after) == (f"charge {CHARGE}: 5990 fen captured", "refunded")
