"""The rows of a sale's items: text in, :class:`Item` out, every mistake named by its column.

A sale may hold a million rows, and all of them are checked before the first is sent, so rows are read a block at a time
and a block is checked column by column: one C-level pass over 500 SKUs instead of 500 turns of a Python loop. Prices,
stocks and limits repeat, so each distinct text is parsed once and looked up afterwards. A block in which anything looks
wrong is read again row by row, slowly, and then each mistake gets its line, its column and a sentence.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite

from saleops.domain.items import SKU_MAX_LENGTH, Item

REQUIRED = ("sku", "name", "price", "stock")
OPTIONAL = ("limit_per_buyer", "popularity", "department", "category")
COLUMNS = REQUIRED + OPTIONAL

PRICE_MAX_FEN = 10**9
"""Ten million of the currency: a price times the units of one SKU stays below 2**63."""

UNITS_MAX = 10**9
"""Units of one SKU, and units one buyer may take."""

POPULARITY_MAX = 1e12
NAME_MAX_LENGTH = 200
CLASS_MAX_LENGTH = 100  # of a department or a category

Mistake = tuple[str, str]
"""The column, and what is wrong with it."""

# It starts with a letter or digit, and no part between slashes is empty, "." or "..": clients tidy such paths away.
_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*+(?:/[A-Za-z0-9_:-][A-Za-z0-9._:-]*+)*+")
_SKU_PART = re.compile(r"[A-Za-z0-9._:/-]")
_PRICE = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,2}))?")
_WHOLE = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+")
_BREAKS = re.compile(r"[\t\r\n]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def price_of(text: str) -> int:
    """ "2.45" -> 245 fen, exactly: no float is ever involved. Raises ValueError with the reason."""
    text = text.strip()
    found = _PRICE.fullmatch(text)
    if found is None:
        raise ValueError(_price_advice(text))
    whole, part = found.groups("")
    fen = int(whole) * 100 + int(part.ljust(2, "0"))
    if fen > PRICE_MAX_FEN:
        raise ValueError(f"{text} is more than {PRICE_MAX_FEN // 100:,}")
    return fen


def units_of(text: str) -> int:
    """ "12" -> 12. Raises ValueError with the reason."""
    text = text.strip()
    if _WHOLE.fullmatch(text) is None:
        raise ValueError(_units_advice(text))
    units = int(text)
    if units > UNITS_MAX:
        raise ValueError(f"{text} is more than {UNITS_MAX:,}")
    return units


def limit_of(text: str) -> int:
    """As :func:`units_of`; empty means no limit."""
    return units_of(text) if text.strip() else 0


def popularity_of(text: str) -> float:
    """A weight of 0 or more; empty means 1. Raises ValueError with the reason."""
    text = text.strip()
    if not text:
        return 1.0
    weight = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not isfinite(weight) or weight > POPULARITY_MAX:
        raise ValueError(f"{_shown(text)} is more than {POPULARITY_MAX:,.0f}")
    if weight < 0:
        raise ValueError(f"{_shown(text)} is not a number of 0 or more")
    return weight


def sku_of(text: str) -> str:
    """Raises ValueError with the reason."""
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    if len(text) > SKU_MAX_LENGTH:
        raise ValueError(f"{_shown(text)} has {len(text)} characters; {SKU_MAX_LENGTH} is the most")
    if _SKU.fullmatch(text):
        return text
    better = re.sub(r"[^A-Za-z0-9._:-]+", "-", text).strip("-._:")
    advice = f" (did you mean {better}?)" if _SKU.fullmatch(better) else ""
    strange = next((one for one in text if not _SKU_PART.fullmatch(one)), None)
    if strange is not None:
        what = f"holds {strange!a}; letters, digits and . _ - : / are allowed"
    else:
        what = "must start with a letter or digit, and so must each part after a slash"
    raise ValueError(f"{_shown(text)} {what}{advice}")


def name_of(text: str, *, most: int = NAME_MAX_LENGTH) -> str:
    """Trimmed, line breaks and tabs as one space. Raises ValueError for other control characters and for length."""
    if not text.isprintable():
        text = _BREAKS.sub(" ", text)
        strange = _CONTROL.search(text)
        if strange is not None:
            raise ValueError(f"holds the control character {strange[0]!a}")
    text = text.strip()
    if len(text) > most:
        raise ValueError(f"has {len(text)} characters; {most} is the most")
    return text


def full_name_of(text: str) -> str:
    name = name_of(text)
    if not name:
        raise ValueError("is empty")
    return name


def class_of(text: str) -> str:
    return name_of(text, most=CLASS_MAX_LENGTH)


_PARSERS: dict[str, Callable[[str], object]] = {
    "sku": sku_of,
    "name": full_name_of,
    "price": price_of,
    "stock": units_of,
    "limit_per_buyer": limit_of,
    "popularity": popularity_of,
    "department": class_of,
    "category": class_of,
}


def parse_row(cells: Mapping[str, str]) -> Item | list[Mistake]:
    """One row by column name; columns that are not there take their default. All mistakes at once."""
    values: dict[str, object] = {}
    mistakes: list[Mistake] = []
    for column, parse in _PARSERS.items():
        text = cells.get(column)
        if text is None:
            if column in REQUIRED:
                mistakes.append((column, "is missing"))
            continue
        try:
            values["price_fen" if column == "price" else column] = parse(text)
        except ValueError as error:
            mistakes.append((column, str(error)))
    return mistakes or Item(**values)  # type: ignore[arg-type]  # each parser returns its field's type


class _Known(dict[str, object]):
    """Texts that were parsed before. Bounded, because a column may hold a million different ones."""

    def __init__(self, parse: Callable[[str], object]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> object:
        value = self._parse(text)
        if len(self) >= 20_000:
            self.clear()
        self[text] = value
        return value


class BlockParser:
    """Checks blocks of rows whose columns stand in the order of ``header``."""

    def __init__(self, header: Sequence[str]) -> None:
        self._header = tuple(header)
        self._at = {column: number for number, column in enumerate(header)}
        cached = ("price", "stock", "limit_per_buyer", "popularity", "department", "category")
        self._lookups = {column: _Known(_PARSERS[column]).__getitem__ for column in cached}

    def parse(self, rows: Sequence[Sequence[str]]) -> list[Item] | None:
        """The items of ``rows``, or None where anything is wrong with any of them."""
        try:
            columns = list(zip(*rows, strict=True))
            if len(columns) != len(self._header):
                return None
            skus = columns[self._at["sku"]]
            if not all(map(_SKU.fullmatch, skus)) or max(map(len, skus)) > SKU_MAX_LENGTH:
                return None
            ordered: list[Iterable[object]] = [skus, self._names(columns[self._at["name"]])]
            for column in COLUMNS[2:]:
                number = self._at.get(column)
                if number is not None:
                    ordered.append(map(self._lookups[column], columns[number]))
                else:
                    ordered.append([_DEFAULTS[column]] * len(rows))
            return list(map(Item, *ordered))
        except ValueError:  # of a parser, or of zip for rows of unlike length
            return None

    def _names(self, names: Sequence[str]) -> list[str]:
        if "".join(names).isprintable():
            names = list(map(str.strip, names))
            lengths = list(map(len, names))
            if min(lengths) and max(lengths) <= NAME_MAX_LENGTH:
                return names
        return list(map(full_name_of, names))

    def explain(self, row: Sequence[str]) -> Item | list[Mistake]:
        """One row, slowly, with every mistake in it."""
        if len(row) != len(self._header):
            wanted = len(self._header)
            advice = (
                "quote a value that holds a comma" if len(row) > wanted else "a value is missing"
            )
            return [("", f"{len(row)} values in {wanted} columns ({advice})")]
        return parse_row(dict(zip(self._header, row, strict=True)))


_DEFAULTS: dict[str, object] = {
    "limit_per_buyer": 0,
    "popularity": 1.0,
    "department": "",
    "category": "",
}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _price_advice(text: str) -> str:
    if not text:
        return "is empty"
    bare = re.sub(
        r"^(?:[A-Z]{3}|[$€£¥])\s*|\s*(?:[A-Z]{3}|[$€£¥])$|,(?=[0-9]{3}(?:\D|$))", "", text
    )
    if bare != text and _PRICE.fullmatch(bare):
        return f"{_shown(text)} is not a bare number (did you mean {bare}?)"
    if re.fullmatch(r"[0-9]+,[0-9]{1,2}", text):
        return f"{_shown(text)} has a decimal comma (did you mean {text.replace(',', '.')}?)"
    if re.fullmatch(r"-[0-9.]+", text):
        return f"{text} is below 0"
    if re.fullmatch(r"[0-9]+\.[0-9]{3,}", text):
        return f"{_shown(text)} has more than 2 decimals"
    if re.fullmatch(r"[0-9]{10,}(\.[0-9]*)?", text):
        return f"{_shown(text)} is more than {PRICE_MAX_FEN // 100:,}"
    return f"{_shown(text)} is not a price like 2.45"


def _units_advice(text: str) -> str:
    if not text:
        return "is empty"
    if re.fullmatch(r"-[0-9.]+", text):
        return f"{text} is below 0"
    if re.fullmatch(r"[0-9]+\.0*", text):
        return f"{text} is not a whole number (did you mean {text.partition('.')[0]}?)"
    if re.fullmatch(r"[0-9]*\.[0-9]+", text):
        return f"{text} is a fraction of a unit; units are whole"
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", text):
        return f"{_shown(text)} is not a bare number (did you mean {text.replace(',', '')}?)"
    if re.fullmatch(r"[0-9]{19,}", text):
        return f"{_shown(text)} is more than {UNITS_MAX:,}"
    return f"{_shown(text)} is not a whole number"
