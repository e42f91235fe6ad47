"""The two that set a size: the CronHPA's table for an HPA, and the HPA's own control loop of autoscaling/v2.

The HPA wants ``ceil(pods * usage / target)`` within a tolerance of 10 %, takes pods that are not ready as using nothing when it
grows, remembers its recommendations for as long as ``behavior`` says, and may add and take no more than its policies allow.
Source: kubernetes.io docs, horizontal pod autoscaling; kubernetes-cronhpa-controller, how it scales an HPA.
"""

from dataclasses import dataclass, field
from math import ceil

from saleops.domain.timeline.model import Behaviour, Hpa

SYNC_S = 15
"""Seconds between two looks of the HPA controller."""
METRIC_LAG_S = 15
"""How old the usage is that it sees: metrics-server's resolution."""
TOLERANCE = 0.1 + 1e-9  # a ratio of exactly 1.1 is within, whatever floats make of it


@dataclass(frozen=True, slots=True)
class CronResult:
    """``size`` is None where the run is skipped: the pods that are there are enough, whatever min says."""

    low: int
    high: int
    size: int | None


def cron_on_hpa(low: int, high: int, current: int, target: int) -> CronResult:
    """What a CronHPA job with an HPA as its target does to min and max, and the size it writes, in the controller's order."""
    high = max(high, target)
    low = min(low, target)
    if current == low and target < current:
        low = target
    if current < target:
        return CronResult(target, high, target)
    return CronResult(low, high, None)


def recommended(current: int, ready: int, usage: float, hpa: Hpa) -> int:
    """Pods that ``usage`` (share of a pod's capacity, average of the ready ones) asks for, before any limit."""
    if not ready or not current:
        return current
    ratio = usage / hpa.target
    unready = max(0, current - ready)
    if not unready or ratio <= 1:
        return current if abs(ratio - 1) <= TOLERANCE else _ceil(ratio * ready)
    spread = ratio * ready / (ready + unready)
    if spread < 1 or abs(spread - 1) <= TOLERANCE:
        return current
    return max(current, _ceil(spread * (ready + unready)))


def _ceil(pods: float) -> int:
    """Rounded up, but for what the arithmetic of floats adds."""
    return ceil(round(pods, 6))


@dataclass(slots=True)
class Loop:
    """The memory of one HPA: what it recommended, and what it added and took, each with its second."""

    hpa: Hpa
    low: int
    high: int
    last: int | None = None  # the latest recommendation
    advice: list[tuple[int, int]] = field(default_factory=list)
    added: list[tuple[int, int]] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    looked: int = 0

    def look(self, second: int, current: int, ready: int, usage: float) -> tuple[int, bool]:
        """(pods it sets now, whether it would go on changing with nothing new happening)."""
        if not current:
            return 0, False
        if current > self.high:
            return self._set(second, current, self.high), True
        if current < self.low:
            return self._set(second, current, self.low), True
        if self.last is None:
            self.advice.append((second, current))  # the controller begins with what it finds
        wanted = recommended(current, ready, usage, self.hpa)
        steady = self._stabilised(second, current, wanted)
        size = steady
        if steady > current:
            size = min(steady, self._most(second, current))
        elif steady < current:
            size = max(steady, self._least(second, current))
        size = min(max(size, self.low), self.high)
        bounded = min(max(wanted, self.low), self.high)
        return self._set(second, current, size), size != bounded or size != current

    def _set(self, second: int, current: int, size: int) -> int:
        if size > current:
            self.added.append((second, size - current))
        elif size < current:
            self.taken.append((second, current - size))
        self.looked = second
        return size

    def _stabilised(self, second: int, current: int, wanted: int) -> int:
        """The largest recommendation of the scale-down window, and the smallest of the scale-up window, around ``current``."""
        up, down = self.hpa.up.window_s, self.hpa.down.window_s
        if self.last is not None and second - self.looked > SYNC_S:
            # Nothing changed while we did not look: the loop would have said the same at every look until now.
            self.advice.append((second - SYNC_S, self.last))
        kept = max(up, down)
        self.advice = [one for one in self.advice if one[0] > second - kept]
        highest = max([wanted, *(size for at, size in self.advice if at > second - down)])
        lowest = min([wanted, *(size for at, size in self.advice if at > second - up)])
        self.advice.append((second, wanted))
        self.last = wanted
        return min(max(current, lowest), highest)

    def _most(self, second: int, current: int) -> int:
        limits = []
        for policy in self.hpa.up.policies:
            begin = current - self._changed(self.added, second, policy.period_s)
            begin += self._changed(self.taken, second, policy.period_s)
            limits.append(
                ceil(begin * (100 + policy.value) / 100) if policy.percent else begin + policy.value
            )
        return _selected(self.hpa.up, limits, current, more=True)

    def _least(self, second: int, current: int) -> int:
        limits = []
        for policy in self.hpa.down.policies:
            begin = current - self._changed(self.added, second, policy.period_s)
            begin += self._changed(self.taken, second, policy.period_s)
            limits.append(
                int(begin * (100 - policy.value) / 100) if policy.percent else begin - policy.value
            )
        return _selected(self.hpa.down, limits, current, more=False)

    @staticmethod
    def _changed(changes: list[tuple[int, int]], second: int, period_s: int) -> int:
        return sum(pods for at, pods in changes if at > second - period_s)


def _selected(behaviour: Behaviour, limits: list[int], current: int, *, more: bool) -> int:
    """Of the policies' limits the one that changes most (Max) or least (Min); nothing moves when they are Disabled."""
    if behaviour.select == "Disabled" or not limits:
        return current
    widest = (behaviour.select == "Max") == more
    found = max(limits) if widest else min(limits)
    return max(current, found) if more else min(current, found)
