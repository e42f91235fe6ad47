"""An event loop on virtual time: when nothing can run it jumps to the next timer, so a minute of waiting costs nothing.

``asyncio.sleep``, ``asyncio.timeout`` and everything built on them run on that time too. Work for a thread runs at
once on the loop's own thread: time stands still meanwhile, and every run with the same inputs is the same.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

ROUNDS = 5  # of cancelling what is left: a task may start others while it ends


class Stuck(Exception):
    """Nothing can run and nobody waits for a time: the simulation would stand still for ever."""


class _Selector:
    """What asyncio waits with: here, waiting is moving the clock on."""

    def __init__(self, loop: "SimLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck
        self._loop.now_s += timeout
        return []


class SimLoop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._hung: list[asyncio.Future[NoReturn]] = []
        self._selector = _Selector(self)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        return self.now_s

    async def hang(self) -> NoReturn:
        """Come back never. Kept, or the garbage collector would end who waits here in the middle of the sale."""
        never: asyncio.Future[NoReturn] = self.create_future()
        self._hung.append(never)
        return await never

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as a thread's future would keep it
            done.set_exception(error)
        return done

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else wakes this loop."""


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on virtual time; whatever it leaves behind is dropped."""
    loop = SimLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(work)
    finally:
        for _ in range(ROUNDS):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        asyncio.set_event_loop(None)
        loop._ready.clear()  # type: ignore[attr-defined]
        loop._scheduled.clear()  # type: ignore[attr-defined]
        loop.close()


class SimClock:
    """The sale's clock on the loop's time."""

    START_MS = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.START_MS + int(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
