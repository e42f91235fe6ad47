"""What will happen when: acts in the order of their time, for a clock that stands, runs or jumps."""

import heapq
from collections.abc import Callable
from itertools import count

Act = Callable[[], None]


class Timeline:
    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms  # while acts of the past are made up for: their time
        self._due: list[tuple[int, int, Act]] = []
        self._order = count()

    def at(self, ms: int, act: Act) -> None:
        heapq.heappush(self._due, (max(ms, self.now_ms), next(self._order), act))

    def after(self, seconds: float, act: Act) -> None:
        self.at(self.now_ms + round(seconds * 1000), act)

    def next_ms(self) -> int | None:
        return self._due[0][0] if self._due else None

    def run_next(self, until_ms: int) -> bool:
        """Do everything of the next moment up to ``until_ms``; False where there is none."""
        if not self._due or self._due[0][0] > until_ms:
            return False
        moment = self._due[0][0]
        self.now_ms = max(self.now_ms, moment)
        while self._due and self._due[0][0] == moment:
            heapq.heappop(self._due)[2]()
        return True

    def forget(self) -> None:
        self._due.clear()
