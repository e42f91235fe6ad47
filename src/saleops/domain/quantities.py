"""Kubernetes quantities as whole numbers: CPU in thousandths of a core, memory in bytes.

A quantity is a decimal number with a binary suffix (Ki to Ei), a decimal one (n, u, m, k to E) or an exponent (kubernetes.io,
"Quantity"). What does not fit a whole number is rounded up, as the scheduler does.
"""

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,2}))?"
)
_BINARY = {
    name: Fraction(1024**power)
    for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
}
_DECIMAL = {
    name: Fraction(10) ** power
    for name, power in {
        "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
    }.items()
}  # fmt: skip


def parse_quantity(text: object) -> Fraction:
    """The exact number that ``text`` ("250m", "1.5Gi", "2", 2) stands for. Raises ValueError."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{text!r} is no quantity")
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None:
        raise ValueError(f"{str(text)[:60]!r} is no quantity")
    number, suffix, exponent = found.groups()
    value = Fraction(number)
    if exponent is not None:
        return value * Fraction(10) ** int(exponent)
    if suffix is not None:
        return value * (_BINARY.get(suffix) or _DECIMAL[suffix])
    return value


def cpu_millis(text: object) -> int:
    """Thousandths of a core, rounded up. Raises ValueError."""
    return _up(parse_quantity(text) * 1000)


def whole(text: object) -> int:
    """Bytes, or a plain count, rounded up. Raises ValueError."""
    return _up(parse_quantity(text))


def _up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
