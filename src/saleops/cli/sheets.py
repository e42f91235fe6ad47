"""Results for people: a sheet of rows, drawn as a table on a terminal and as tab-separated lines in a pipe.

A command registers how its result looks, and says it best with :class:`Sheet`, which needs no rich in a pipe::

    @as_rich.register
    def _(report: SeedReport) -> Sheet:
        return Sheet(("SKU", "units"), [(row.sku, row.units) for row in report.rows])

Columns of ids are named in ``whole``: nothing cuts an id in two, for people copy it. Where the columns do not fit a terminal
then, its rows are shown as paragraphs instead.

It may also return a string, a list of sheets and strings, or any renderable of rich. A result nobody registered is
shown from its document: single values as name and value, lists of records as one sheet each.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from saleops.cli.documents import document_of
from saleops.cli.terminal import to_ascii
from saleops.cli.words import harmless

_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows under ``columns``; without columns the rows are names and values. Cells are text, numbers or None.

    On a terminal the columns in ``whole`` are never wrapped, and a column that is empty in every row is left out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    whole: Sequence[str] = ()


@singledispatch
def as_rich(result: object) -> Any:
    """How ``result`` looks to people. Register one function a result type."""
    document = document_of(result)
    document.pop("schema")
    return _sheets_of(document)


@singledispatch
def as_brief(result: object) -> Any:
    """How ``result`` looks on a terminal without ``-v``, for results that are long. The default: no different."""
    return as_rich(result)


def lines_of(shown: Any) -> Iterator[str]:
    """``shown``, what as_rich returned, as lines for a pipe: cells between tabs, no boxes, nothing wrapped."""
    parts = list(shown) if isinstance(shown, list | tuple) else [shown]
    for number, part in enumerate(parts):
        if number:
            yield ""
        yield from _lines_of(part)


def draw(shown: Any, *, ascii_only: bool) -> Any:
    """``shown`` as one renderable of rich, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    parts = list(shown) if isinstance(shown, list | tuple) else [shown]
    drawn: list[Any] = []
    for part in parts:
        if isinstance(part, Sheet):
            drawn.append(_table(_without_empty_columns(part), ascii_only=ascii_only))
        elif isinstance(part, str):
            text = to_ascii(part) if ascii_only else part
            drawn.append(Text(harmless(text, keep="\n")))
        else:
            drawn.append(part)
    return Group(*drawn)


def _sheets_of(document: dict[str, Any], prefix: str = "") -> list[Sheet]:
    """One sheet of names and values, then one per list of records."""
    pairs: list[tuple[str, object]] = []
    tables: list[Sheet] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            inner, *more = _sheets_of(value, f"{name}.") or [Sheet((), ())]
            if inner.columns:
                more.insert(0, inner)
            else:
                pairs += [(str(left), right) for left, right in inner.rows]
            tables += more
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            columns = list(dict.fromkeys(column for one in value for column in one))
            rows = [[_cell(one.get(column)) for column in columns] for one in value]
            tables.append(Sheet(columns, rows, title=name))
        else:
            pairs.append((name, _cell(value)))
    return [*([Sheet((), pairs)] if pairs else []), *tables]


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(str(_cell(one)) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return value


def _lines_of(part: Any) -> Iterator[str]:
    if isinstance(part, Sheet):
        if part.columns:
            yield "\t".join(map(harmless, part.columns))
        for row in part.rows:
            yield "\t".join(map(harmless, row))
    elif isinstance(part, str):
        yield from harmless(part, keep="\n").splitlines()
    elif hasattr(part, "plain_lines"):  # a drawing that has its own lines for a pipe
        yield from map(harmless, part.plain_lines())
    else:
        yield from _lines_of_rich(part)


def _lines_of_rich(part: Any) -> Iterator[str]:
    """A renderable of rich without its drawing: the cells of a table, the words of anything else."""
    import io

    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table

    console = Console(file=io.StringIO(), width=10_000, color_system=None, legacy_windows=False)

    def words(renderable: Any) -> str:
        with console.capture() as captured:
            console.print(renderable, end="", soft_wrap=True, highlight=False)
        return captured.get()

    def cell(renderable: Any) -> str:
        return harmless(" ".join(words(renderable).split()))

    if isinstance(part, Table):
        headers = [cell(column.header) for column in part.columns]
        if any(headers) and part.show_header:
            yield "\t".join(headers)
        for row in zip(*(column.cells for column in part.columns), strict=False):
            yield "\t".join(map(cell, row))
    elif isinstance(part, Group):
        for one in part.renderables:
            yield from _lines_of_rich(one)
    elif isinstance(part, Panel):
        yield from _lines_of_rich(part.renderable)
    else:
        yield from (harmless(line.rstrip()) for line in words(part).splitlines())


def _without_empty_columns(sheet: Sheet) -> Sheet:
    kept = [
        number
        for number in range(len(sheet.columns))
        if any(row[number] not in (None, "") for row in sheet.rows if number < len(row))
    ]
    if not kept or len(kept) == len(sheet.columns):
        return sheet
    rows = [[row[number] for number in kept if number < len(row)] for row in sheet.rows]
    columns = [sheet.columns[number] for number in kept]
    return Sheet(columns, rows, sheet.title, sheet.whole)


def _table(sheet: Sheet, *, ascii_only: bool) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def text(value: object) -> Text:
        shown = harmless(value)
        return Text(to_ascii(shown) if ascii_only else shown)

    table = Table(
        title=text(sheet.title) if sheet.title else None,
        title_justify="left",
        show_header=bool(sheet.columns),
        header_style="bold",
        box=(box.ASCII if ascii_only else box.ROUNDED) if sheet.columns else None,
        pad_edge=bool(sheet.columns),
    )
    width = len(sheet.columns) or max((len(row) for row in sheet.rows), default=2)
    for number in range(width):
        cells = [row[number] for row in sheet.rows if number < len(row) and row[number] is not None]
        name = sheet.columns[number] if sheet.columns else ""
        table.add_column(
            text(name),
            justify="right" if sheet.columns and _are_counts(cells) else "left",
            style="" if sheet.columns or number else "bold",
            overflow="fold",
            no_wrap=name in sheet.whole,
        )
    for row in sheet.rows:
        table.add_row(*map(text, row))
    return _Fitting(sheet, table, ascii_only=ascii_only) if sheet.whole else table


def _are_counts(cells: Sequence[object]) -> bool:
    """Numbers, or text that was made from numbers."""
    return bool(cells) and all(
        isinstance(one, int | float) or (isinstance(one, str) and _NUMBER.fullmatch(one))
        for one in cells
    )


class _Fitting:
    """A table where every word of it fits, else its rows as paragraphs: ids are whole in both."""

    def __init__(self, sheet: Sheet, table: Any, *, ascii_only: bool) -> None:
        self._sheet = sheet
        self._table = table
        self._ascii = ascii_only

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        least = console.measure(self._table, options=options.update_width(10_000)).minimum
        if least <= options.max_width:
            yield self._table
        else:
            yield from self._paragraphs()

    def _paragraphs(self) -> Iterator[Any]:
        from rich.padding import Padding
        from rich.text import Text

        def shown(value: object) -> str:
            text = harmless(value)
            return to_ascii(text) if self._ascii else text

        sheet = self._sheet
        if sheet.title:
            yield Text(shown(sheet.title), style="italic")
        whole = {number for number, name in enumerate(sheet.columns) if name in sheet.whole}
        for row in sheet.rows:
            head, more = Text(), Text()
            for number, value in enumerate(row):
                if value in (None, ""):
                    continue
                part = head if number == 0 or number in whole else more
                if part:
                    part.append("  ")
                if number:
                    part.append(f"{shown(sheet.columns[number])}: ", style="dim")
                part.append(shown(value), style="bold" if number == 0 else "")
            head.overflow = "fold"
            yield head
            if more:
                yield Padding(more, (0, 0, 0, 2))
