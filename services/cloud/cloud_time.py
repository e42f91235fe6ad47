"""The time the local cloud lives in: virtual (it stands until somebody advances it), or the machine's, N times faster.

It never goes back: a cloud that lived ahead of the machine's clock goes on from where it was.
"""

import time
from collections.abc import Callable
from typing import Literal

Mode = Literal["virtual", "real"]
ADVANCE_MAX_S = 366 * 86_400.0


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def monotonic_ms() -> float:
    return time.monotonic_ns() / 1_000_000


class CloudTime:
    def __init__(
        self,
        start_ms: int,
        *,
        mode: Mode = "virtual",
        speed: float = 1.0,
        monotonic_ms: Callable[[], float] = monotonic_ms,
    ) -> None:
        """``speed`` is cloud seconds a second in real mode; virtual time ignores it."""
        self.mode = mode
        self.speed = speed
        self._monotonic_ms = monotonic_ms
        self._base_ms = float(start_ms)
        self._since_ms = monotonic_ms()

    def now_ms(self) -> int:
        if self.mode == "virtual":
            return round(self._base_ms)
        return round(self._base_ms + (self._monotonic_ms() - self._since_ms) * self.speed)

    def advance(self, seconds: float) -> int:
        """Let ``seconds`` pass at once. Returns the new time. Raises ValueError below 0 or above a year."""
        if not 0 <= seconds <= ADVANCE_MAX_S:
            raise ValueError(f"{seconds} s: use 0 to {ADVANCE_MAX_S:.0f}")
        self._base_ms += seconds * 1000
        return self.now_ms()
