"""Figures for people: money, ages, instants, and things counted with their noun."""


def money(fen: int) -> str:
    """Hundredths as a decimal number: 123456 -> 1,234.56."""
    return f"{fen // 100:,}.{fen % 100:02d}"


def counted(number: int, noun: str) -> str:
    """``1 letter``, ``2,000 letters``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(seconds: float | None) -> str:
    """``seconds`` for people: 41 s, 12 min, 3.5 h, 2.1 d; "-" for None."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def when(at_ms: int) -> str:
    """An instant in UTC, to the second."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
