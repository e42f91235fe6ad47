"""The traffic of a sale: how many requests a second at which second, and what they ask for.

Before the opening a baseline; at the opening a step to the peak within ``step_s`` seconds; in the first ``storm_s``
seconds most page views are refreshes of the hottest items. Demand over items is drawn by popularity.
"""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from math import sqrt

import msgspec

HOT_ITEMS = 5
"""How many of the most popular items a refresh storm hits."""

STORM_SHARE = 0.8
"""Share of page views that refresh a hot item during the storm."""


class LoadShape(msgspec.Struct, frozen=True):
    """Requests a second over time. The sale opens at second ``lead_s`` of the load."""

    baseline_rps: float
    peak_rps: float
    lead_s: float
    step_s: float
    hold_s: float
    storm_s: float

    @property
    def duration_s(self) -> float:
        return self.lead_s + self.step_s + self.hold_s

    def rps_at(self, second: float) -> float:
        """Requests a second wanted at ``second`` since the load began; 0 outside of it."""
        if second < 0 or second >= self.duration_s:
            return 0.0
        if second < self.lead_s:
            return self.baseline_rps
        into = second - self.lead_s
        if into < self.step_s:
            return self.baseline_rps + (self.peak_rps - self.baseline_rps) * into / self.step_s
        return self.peak_rps

    def requests_by(self, second: float) -> float:
        """How many requests are wanted from the beginning to ``second``: the integral of ``rps_at``."""
        second = min(max(second, 0.0), self.duration_s)
        lead = self.baseline_rps * min(second, self.lead_s)
        into = min(max(second - self.lead_s, 0.0), self.step_s)
        rise = (self.peak_rps - self.baseline_rps) / self.step_s if self.step_s else 0.0
        step = self.baseline_rps * into + rise * into * into / 2
        hold = self.peak_rps * max(second - self.lead_s - self.step_s, 0.0)
        return lead + step + hold

    def second_of(self, request: float) -> float:
        """When the request with this number (from 0) is due, in seconds since the beginning: turns ``requests_by`` round."""
        before = self.baseline_rps * self.lead_s
        if request <= before:
            return request / self.baseline_rps
        request -= before
        rising = self.step_s * (self.baseline_rps + self.peak_rps) / 2
        if request <= rising:
            # The root of b t + (p - b) / s t^2 / 2 = r, in the form that loses no digits where p is near b.
            rise = (self.peak_rps - self.baseline_rps) / self.step_s
            root = sqrt(self.baseline_rps**2 + 2 * request * rise)
            return self.lead_s + 2 * request / (self.baseline_rps + root)
        return self.lead_s + self.step_s + (request - rising) / self.peak_rps

    def storms_at(self, second: float) -> bool:
        """Whether the refresh storm is on: it starts a moment before the doors open, as buyers do."""
        return self.lead_s - 1.0 <= second < self.lead_s + self.storm_s


def shape_for(
    *, baseline_rps: float, peak_rps: float, step_s: float, duration_s: float
) -> LoadShape:
    """A shape that fits into ``duration_s``: a seventh before the opening, the step no longer than a fifth.

    Raises ValueError for a duration below 2 s or rates that are not positive.
    """
    if duration_s < 2 or baseline_rps <= 0 or peak_rps <= 0:
        raise ValueError("a load needs 2 seconds and positive rates")
    lead_s = max(1.0, duration_s / 7)
    step_s = min(step_s, duration_s / 5)
    return LoadShape(
        baseline_rps=min(baseline_rps, peak_rps),
        peak_rps=peak_rps,
        lead_s=lead_s,
        step_s=step_s,
        hold_s=duration_s - lead_s - step_s,
        storm_s=max(1.0, duration_s / 4),
    )


class Demand:
    """Draws SKUs by popularity. ``draw(x)`` maps a random number in [0, 1) to a SKU."""

    def __init__(self, weights: Iterable[tuple[str, float]]) -> None:
        """``weights`` are (sku, popularity); those with weight 0 are never drawn unless all have it."""
        rows = [(sku, max(weight, 0.0)) for sku, weight in weights]
        if not rows:
            raise ValueError("there is no demand without items")
        if not any(weight for _, weight in rows):
            rows = [(sku, 1.0) for sku, _ in rows]
        self.skus = [sku for sku, _ in rows]
        self._up_to = list(accumulate(weight for _, weight in rows))
        by_weight = sorted(rows, key=lambda row: (-row[1], row[0]))
        self.hottest = [sku for sku, _ in by_weight[:HOT_ITEMS]]

    def draw(self, x: float) -> str:
        return self.skus[min(bisect_right(self._up_to, x * self._up_to[-1]), len(self.skus) - 1)]
