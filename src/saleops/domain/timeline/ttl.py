"""When cached pages expire after a prewarm: with equal lives all at once, with jitter as a wave that flattens.

A page lives ``ttl_s x (1 - jitter)`` to ``(1 + jitter)``, evenly spread, and is made anew when it is first asked for after that.
The k-th wave is a sum of k lives. Pages are filled within ``fill_s`` seconds, so that a slow prewarm spreads the first wave too.
"""

from dataclasses import dataclass
from itertools import accumulate

SECONDS_MAX = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Wave:
    """Pages that expire in [begin, end) seconds after the prewarm began; ``worst`` is the most in one second."""

    number: int
    begin: int
    end: int
    worst: float
    worst_at: int


def expiries(
    keys: int, ttl_s: float, jitter: float, *, fill_s: float = 1.0, waves: int = 3
) -> tuple[tuple[float, ...], ...]:
    """Pages that expire in each second after the prewarm began, expected, by wave. Each wave adds up to ``keys``.

    Raises ValueError for a life or a count that is none.
    """  # fmt: skip
    if keys < 0 or ttl_s <= 0 or not 0 <= jitter < 1 or fill_s <= 0 or waves < 1:
        raise ValueError(f"no pages expire with {keys} keys, ttl {ttl_s:g} s, jitter {jitter:g}")
    waves = max(1, min(waves, int(SECONDS_MAX // (ttl_s * (1 + jitter))) or 1))
    shortest, longest = round(ttl_s * (1 - jitter)), round(ttl_s * (1 + jitter))
    filled = [keys / max(1, round(fill_s))] * max(1, round(fill_s))
    out: list[tuple[float, ...]] = []
    for _ in range(waves):
        filled = _spread(filled, shortest, longest)
        out.append(tuple(filled))
    return tuple(out)


def _spread(made: list[float], shortest: int, longest: int) -> list[float]:
    """Each second's pages again, evenly over ``shortest`` to ``longest`` seconds later: by running sums, in one pass."""
    width = longest - shortest + 1
    sums = [0.0, *accumulate(made)]
    total = len(sums) - 1
    out = [0.0] * shortest
    for second in range(total + width - 1):
        low, high = max(0, second - width + 1), min(total, second + 1)
        out.append((sums[high] - sums[low]) / width)
    return out


def waves_of(histogram: tuple[tuple[float, ...], ...]) -> tuple[Wave, ...]:
    found = []
    for number, pages in enumerate(histogram, 1):
        lit = [second for second, count in enumerate(pages) if count > 0]
        if lit:
            worst_at = max(lit, key=lambda second: (pages[second], -second))
            found.append(Wave(number, lit[0], lit[-1] + 1, pages[worst_at], worst_at))
    return tuple(found)
