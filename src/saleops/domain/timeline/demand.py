"""Demand over time, as straight pieces: flat, a rise at the opening, flat until the close, flat again."""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from saleops.domain.traffic import LoadShape


@dataclass(frozen=True)
class Demand:
    """Requests a second: ``points`` are (second, rps), joined by straight lines, the last one holds for ever.

    Two points of one second are a step: from that second on the later one holds. Seconds rise; the first is where it begins.
    """

    points: tuple[tuple[int, float], ...]
    _seconds: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.points or any(b[0] < a[0] for a, b in pairwise(self.points)):
            raise ValueError("demand needs points in the order of time")
        object.__setattr__(self, "_seconds", tuple(second for second, _ in self.points))

    def at(self, second: float) -> float:
        index = bisect_right(self._seconds, second)
        if index == 0:
            return self.points[0][1]
        before, low = self.points[index - 1]
        if index == len(self.points):
            return low
        after, high = self.points[index]
        return low if low == high else low + (high - low) * (second - before) / (after - before)

    def flat_at(self, second: int) -> bool:
        """Whether demand stays as it is until the next change."""
        index = bisect_right(self._seconds, second)
        return index in (0, len(self.points)) or self.points[index - 1][1] == self.points[index][1]

    def next_change(self, second: int) -> int | None:
        """The first point after ``second``."""
        index = bisect_right(self._seconds, second)
        return self._seconds[index] if index < len(self._seconds) else None

    @property
    def peak(self) -> float:
        return max(rps for _, rps in self.points)


def sale_demand(shape: LoadShape, *, share: float, opens_s: int, closes_s: int) -> Demand:
    """A service's part of the sale's traffic, ``share`` of all requests; it opens and closes at these seconds.

    The shape rises from baseline to peak and holds; when the doors close what is left is the baseline.
    """
    rise = max(1, round(shape.step_s))
    low, high = shape.baseline_rps * share, shape.peak_rps * share
    top = min(opens_s + rise, closes_s)
    reached = low + (high - low) * (top - opens_s) / rise
    return Demand(
        (
            (min(0, opens_s), low),
            (opens_s, low),
            (top, reached),
            (closes_s, reached),
            (closes_s, low),
        )
    )
