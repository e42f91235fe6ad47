"""Time as an argument: the same code runs on the wall clock and, in tests and simulations, on virtual time."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Unix time in whole milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds`` of this clock's time."""
        ...


class WallClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
