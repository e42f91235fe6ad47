"""The items of a sale, from a CSV file or from a list in the sale file: validated as a stream.

``summary()`` reads everything once, names every bad row (up to a bound) and fixes what seeding needs to know first: how
many items and units, the total popularity, and a version, which is a hash of the content. ``stream()`` reads once more and
gives items one by one, so a million of them never sit in memory together.

A duplicate SKU is found with one 64-bit hash a row, kept in an array (8 bytes each; a set of texts would need a hundred).
Two different SKUs may share a hash, so a hash seen twice only makes suspects: the file is read again for them
alone, they are compared as text, and the error can name both lines.
"""

import csv
import difflib
import os
import stat
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import msgspec

from saleops.config.item_rows import COLUMNS, OPTIONAL, REQUIRED, BlockParser, parse_row
from saleops.config.yaml_lines import encoding_guess
from saleops.domain.items import ITEMS_MAX, Item
from saleops.errors import ConfigError

ERRORS_SHOWN = 20
LINE_MAX = 1 << 18
"""Characters of a line: a file without line breaks must not end up in memory. Twice what csv allows one value."""

_BLOCK_ROWS = 500
_HASHES_AT_ONCE = 1 << 18
_HINT = "Correct the rows and try again; nothing was changed."
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class ItemsSummary:
    """What one pass over the items finds. ``version`` is the same for the same items in the same order, wherever and
    however they are written."""

    items_count: int
    units_count: int
    total_popularity: float
    version: str


class Items(Protocol):
    """The items of a sale."""

    def summary(self) -> ItemsSummary:
        """Validate all of them. Raises ConfigError naming every bad row; the first call reads, later ones remember."""
        ...

    def stream(self) -> Iterator[Item]:
        """One by one, in order. Raises ConfigError at a bad row, or when they changed since ``summary``."""
        ...


class _Block(NamedTuple):
    """Good items that were read together, and where the n-th of them stands."""

    items: list[Item]
    where: Callable[[int], str]


class _Errors:
    """Bad rows, up to a bound; then the reading stops."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) >= ERRORS_SHOWN:
            self.lines.append(f"... and maybe more: reading stopped after {ERRORS_SHOWN} errors")
            self.raise_any()

    def raise_any(self) -> None:
        if self.lines:
            raise ConfigError("\n".join(self.lines), hint=_HINT)


class _Source:
    """What both kinds of items share: two passes, one that checks everything and one that streams."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._summary: ItemsSummary | None = None

    def summary(self) -> ItemsSummary:
        if self._summary is None:
            self._summary = self._summarise()
        return self._summary

    def stream(self) -> Iterator[Item]:
        errors, count = _Errors(), 0
        for block in self._blocks(errors):
            errors.raise_any()
            count += len(block.items)
            yield from block.items
        errors.raise_any()
        if self._summary is not None and count != self._summary.items_count:
            raise ConfigError(f"{self._name} changed while it was read", hint="Run it again.")

    def _blocks(self, errors: _Errors) -> Iterator[_Block]:
        """The good rows in order; bad ones go to ``errors``."""
        raise NotImplementedError

    def _summarise(self) -> ItemsSummary:
        errors = _Errors()
        digest = blake2b(digest_size=16)
        hashes = array("q")
        units = 0
        popularity = 0.0
        for items, _ in self._blocks(errors):
            if not items:
                continue
            hashes.extend([hash(item.sku) for item in items])
            units += sum([item.stock for item in items])
            popularity += sum([item.popularity for item in items])
            # The array's header (1 byte up to 15 items, else 3) stays out: where blocks end must not matter.
            digest.update(memoryview(_encode(items))[1 if len(items) < 16 else 3 :])
        suspects = _seen_twice(hashes)
        if suspects:
            self._find_twins(suspects, errors)
        errors.raise_any()
        if not hashes:
            raise ConfigError(
                f"{self._name}: there are no items: nothing could be sold",
                hint=f"A sale needs at least one row: {','.join(REQUIRED)}",
            )
        return ItemsSummary(len(hashes), units, popularity, digest.hexdigest())

    def _find_twins(self, suspects: set[int], errors: _Errors) -> None:
        first: dict[str, str] = {}
        for items, where in self._blocks(_Errors()):
            for number, item in enumerate(items):
                if hash(item.sku) not in suspects:
                    continue
                if item.sku in first:
                    what = f"{item.sku} is there already, at {first[item.sku]}"
                    errors.add(f"{where(number)}: sku: {what}")
                else:
                    first[item.sku] = where(number)


def _seen_twice(hashes: "array[int]") -> set[int]:
    """The values that ``hashes`` holds more than once, found part by part so that no set grows large."""
    parts = len(hashes) // _HASHES_AT_ONCE + 1
    twice: set[int] = set()
    for part in range(parts):
        values = [one for one in hashes if one % parts == part] if parts > 1 else list(hashes)
        if len(set(values)) == len(values):
            continue
        once: set[int] = set()
        for one in values:
            (twice if one in once else once).add(one)
    return twice


class FileItems(_Source):
    """Items in a CSV file with a header."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._stamp: tuple[int, ...] | None = None  # of the file that the summary is about

    def _summarise(self) -> ItemsSummary:
        self._stamp = None
        return super()._summarise()

    def _blocks(self, errors: _Errors) -> Iterator[_Block]:
        with self._open() as file:
            found = os.fstat(file.fileno())
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._stamp is None:
                self._stamp = stamp
            elif self._stamp != stamp:
                raise ConfigError(
                    f"{self.path} changed after it was checked", hint="Run the same command again."
                )
            # Lines by readline, because iterating the file would read one without an end into memory.
            reader = csv.reader(iter(partial(file.readline, LINE_MAX), ""), strict=True)
            try:
                yield from self._parse(reader, errors)
            except csv.Error as error:
                errors.add(f"{self.path}:{reader.line_num}: {_csv_fault(error)}")
                errors.raise_any()
            except UnicodeDecodeError:
                errors.add(_encoding_fault(self.path))
                errors.raise_any()
            except OSError as error:
                raise ConfigError(
                    f"{self.path}: cannot be read: {error.strerror or error}", hint=_HINT
                ) from error

    def check_present(self) -> None:
        """Raises ConfigError unless there is a file that can be opened."""
        self._open().close()

    def _open(self) -> IO[str]:
        try:
            kind = self.path.stat().st_mode
            if stat.S_ISDIR(kind):
                raise ConfigError(
                    f"{self.path} is a folder, not a CSV file", hint="Name the file in items.file."
                )
            if not stat.S_ISREG(kind):
                raise ConfigError(
                    f"{self.path} is not a regular file",
                    hint="It is read twice: write it to a file.",
                )
            return self.path.open(newline="", encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self.path}: there is no such file (items.file of the sale)",
                hint="The path is relative to the sale file.",
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{str(self.path)!r} cannot be read: {reason}",
                hint="Name a CSV file that you may read in items.file.",
            ) from error

    def _parse(self, reader: Any, errors: _Errors) -> Iterator[_Block]:
        header = next((row for row in reader if row), None)
        if header is None:
            raise ConfigError(
                f"{self.path}:1: the file is empty", hint=f"Its first line: {','.join(REQUIRED)}"
            )
        parser = BlockParser(self._columns(header, reader.line_num))
        count, line = 0, reader.line_num + 1
        while rows := list(islice(reader, _BLOCK_ROWS)):
            items = parser.parse(rows)
            if items is None:
                block = self._explain(parser, rows, line, errors)
            else:
                block = _Block(items, partial(self._where, rows, line))
            count += len(rows) if items is not None else sum(1 for row in rows if row)
            if count > ITEMS_MAX:
                raise ConfigError(
                    f"{self.path}:{reader.line_num}: more than {ITEMS_MAX:,} items; nothing was changed",
                    hint="Split it into several sales, or leave out what will not be sold.",
                )
            yield block
            line = reader.line_num + 1

    def _explain(
        self, parser: BlockParser, rows: list[list[str]], line: int, errors: _Errors
    ) -> _Block:
        """Rows one by one, because something is wrong with one of them (or one of them is blank)."""
        items: list[Item] = []
        places: list[str] = []
        for row in rows:
            if row:
                found = parser.explain(row)
                if isinstance(found, Item):
                    items.append(found)
                    places.append(f"{self.path}:{line}")
                else:
                    for column, what in found:
                        errors.add(f"{self.path}:{line}: {column and f'{column}: '}{what}")
            line += _lines_of(row)
        return _Block(items, places.__getitem__)

    def _where(self, rows: list[list[str]], line: int, number: int) -> str:
        return f"{self.path}:{line + sum(map(_lines_of, rows[:number]))}"

    def _columns(self, header: Sequence[str], line: int) -> list[str]:
        names = [name.strip().lower() for name in header]
        place = f"{self.path}:{line}"
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            mark = next(mark for mark in ";\t|" if mark in names[0])
            raise ConfigError(
                f"{place}: the columns are separated by {mark!r}, not by commas",
                hint="Save the file as CSV with commas.",
            )
        wrong = [
            f"{place}: {name}: there is no such column{_advice(name)}"
            for name in names
            if name not in COLUMNS
        ]
        wrong += [
            f"{place}: {name}: this column is missing" for name in REQUIRED if name not in names
        ]
        twice = {name for name in names if name in COLUMNS and names.count(name) > 1}
        wrong += [f"{place}: {name}: this column is there twice" for name in sorted(twice)]
        if wrong:
            if len(wrong) > ERRORS_SHOWN:
                wrong = [*wrong[:ERRORS_SHOWN], f"... and {len(wrong) - ERRORS_SHOWN} more"]
            raise ConfigError(
                "\n".join(wrong),
                hint=f"The first line names the columns: {','.join(REQUIRED)}[,{','.join(OPTIONAL)}]",
            )
        return names


class InlineItems(_Source):
    """Items listed in the sale file itself. ``where(i, key)`` gives the place of an entry's field."""

    def __init__(self, rows: Sequence[Any], where: Callable[..., str]) -> None:
        super().__init__(where())
        self._rows = rows
        self._place = where

    def _blocks(self, errors: _Errors) -> Iterator[_Block]:
        items: list[Item] = []
        places: list[int] = []
        for number, row in enumerate(self._rows):
            if not isinstance(row, Mapping):
                what = f"this should be a mapping with {', '.join(REQUIRED)}"
                errors.add(f"{self._place(number)}: items.{number}: {what}")
                continue
            mistakes = [
                (key, f"there is no such key{_advice(key)}") for key in row if key not in COLUMNS
            ]
            texts: dict[str, str] = {}
            for column in COLUMNS:
                if isinstance(value := row.get(column), list | dict | bool):
                    mistakes.append((column, f"this should be a plain value, not {_kind(value)}"))
                elif column in row and (value is not None or column in REQUIRED):
                    texts[column] = _text(value)
            found = parse_row(texts)
            if isinstance(found, list):
                said = {column for column, _ in mistakes}
                mistakes += [one for one in found if one[0] not in said]
            elif not mistakes:
                items.append(found)
                places.append(number)
            for column, what in mistakes:
                errors.add(f"{self._place(number, column)}: items.{number}.{column}: {what}")
        yield _Block(items, lambda number: self._place(places[number]))


def _text(value: Any) -> str:
    """A YAML value as it would stand in a CSV file. The shortest text of a float is what people wrote (0.98)."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a yes or no"
    return "a list" if isinstance(value, list) else "a mapping"


def _advice(name: str) -> str:
    close = difflib.get_close_matches(name, COLUMNS, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(COLUMNS)})"


def _lines_of(row: Sequence[str]) -> int:
    """How many lines of the file ``row`` takes: more than one where a quoted value holds line breaks."""
    text = "\0".join(row)
    return 1 + text.count("\n") + text.count("\r") - text.count("\r\n")


def _csv_fault(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end of data" in said:
        return "a quote is opened and never closed"
    if "field limit" in said:
        return f"a value has more than {csv.field_size_limit():,} characters (is a quote never closed?)"
    return f"{said} (inside a quoted value a quote is written twice)"


def _encoding_fault(path: Path) -> str:
    """Which line is not UTF-8. The decoder reads ahead of the rows, so the file is searched once more."""
    with path.open("rb") as file:
        start = file.read(4096)
        file.seek(0)
        for line, data in enumerate(iter(partial(file.readline, 1 << 24), b""), 1):
            try:
                data.decode()
            except UnicodeDecodeError:
                return f"{path}:{line}: this line is not UTF-8{encoding_guess(start)}"
    return f"{path}: this is not UTF-8"
