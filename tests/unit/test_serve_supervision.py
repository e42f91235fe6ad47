"""Keeping a process running: on scripted processes and a clock of our own."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from saleops.errors import ConfigError, Refused, SaleopsError, UpstreamError
from saleops.events import Event, Warned
from saleops.operations.supervision import (
    CRASH_LOOP,
    LONGEST_PAUSE_S,
    Keeper,
    pause_s,
)
from saleops.ports.processes import Failure, Phase, Probe


class VirtualClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now_s += seconds


class ScriptedProcess:
    """Lives ``life_s`` of the clock, or until it is signalled."""

    pid = 4711

    def __init__(
        self, clock: VirtualClock, life_s: float | None, failure: Failure | None, *, deaf: bool
    ) -> None:
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self._dies_s = None if life_s is None else clock.now_s + life_s
        self._failure = failure
        self._deaf = deaf
        self.signals: list[int] = []

    async def wait(self) -> int:
        while self._dies_s is not None and self._clock.now_s < self._dies_s:
            if self._ended.done():
                return self._ended.result()
            await asyncio.sleep(0)
        if self._dies_s is not None and not self._ended.done():
            self._ended.set_result(self._failure.exit_code if self._failure else 1)
        return await asyncio.shield(self._ended)

    def send(self, signum: int) -> None:
        self.signals.append(signum)
        if not self._ended.done() and (signum == signal.SIGKILL or not self._deaf):
            self._ended.set_result(-signum)

    def failure(self) -> Failure | None:
        return self._failure


class ScriptedJob:
    """Each launch takes the next life from ``lives``; the last one is repeated."""

    name = "order-1"

    def __init__(
        self,
        clock: VirtualClock,
        *lives: float | None,
        probes: Callable[[float], Probe] = lambda now_s: Probe(Phase.READY),
        failure: Failure | None = None,
        deaf: bool = False,
        hung: Callable[[float], bool] = lambda now_s: False,
    ) -> None:
        self.clock = clock
        self.lives = list(lives)
        self.launched_s: list[float] = []
        self.processes: list[ScriptedProcess] = []
        self._probes = probes
        self._failure = failure
        self._deaf = deaf
        self._hung = hung

    def launch(self) -> ScriptedProcess:
        life_s = self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]
        self.launched_s.append(self.clock.now_s)
        self.processes.append(ScriptedProcess(self.clock, life_s, self._failure, deaf=self._deaf))
        return self.processes[-1]

    async def probe(self) -> Probe:
        return self._probes(self.clock.now_s)

    async def hung(self) -> bool:
        return self._hung(self.clock.now_s)


def run(scenario: Callable[[VirtualClock, list[Event]], Coroutine[Any, Any, None]]) -> list[str]:
    """The warnings of ``scenario``."""
    seen: list[Event] = []
    asyncio.run(scenario(VirtualClock(), seen))
    return [event.message for event in seen if isinstance(event, Warned)]


def keeper_of(job: ScriptedJob, seen: list[Event]) -> Keeper:
    return Keeper(job, clock=job.clock, observe=seen.append, chance=lambda: 1.0)


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    assert [pause_s(deaths, 1.0) for deaths in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pause_s(2, 0.0) == 0.1
    assert pause_s(8, 1.0) == LONGEST_PAUSE_S
    assert pause_s(10_000, 1.0) == LONGEST_PAUSE_S


def test_a_crash_loop_slows_down_and_is_reported() -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        job = ScriptedJob(clock, 1.0, failure=Failure(4, "no redis"))
        keeper = keeper_of(job, seen)
        await keeper.start()
        await keeper.ready(restarts=10)
        gaps = [b - a for a, b in zip(job.launched_s, job.launched_s[1:], strict=False)]
        assert gaps[0] < 2.5
        assert gaps[8] >= LONGEST_PAUSE_S
        await keeper.stop(grace_s=1)

    warnings = run(scenario)
    assert warnings[0] == (
        "order-1: it ended with exit code 4: no redis; starting it again in 0.1 s"
    )
    assert f"order-1 is crash-looping: {CRASH_LOOP} times in a row" in warnings[CRASH_LOOP - 1]


def test_half_a_minute_of_health_forgets_earlier_deaths() -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        job = ScriptedJob(clock, 1.0, 1.0, 1.0, 1.0, 31.0, 1.0, None)
        keeper = keeper_of(job, seen)
        await keeper.start()
        await keeper.ready(restarts=6)
        await keeper.stop(grace_s=1)

    warnings = run(scenario)
    assert [warning.rpartition(" in ")[2] for warning in warnings] == [
        *("0.1 s", "0.2 s", "0.4 s", "0.8 s"),
        *("0.1 s", "0.2 s"),
    ]


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (Failure(2, "bad", "fix it"), ConfigError, "order-1 did not start: bad"),
        (Failure(4, "gone"), UpstreamError, "order-1 did not start: gone"),
        (Failure(5, "no"), Refused, "order-1 did not start: no"),
        (None, UpstreamError, "order-1 did not start: it ended with exit code 1"),
    ],
)
def test_a_process_that_never_came_up_is_an_error_and_not_repeated(
    failure: Failure | None, kind: type[SaleopsError], words: str
) -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        job = ScriptedJob(clock, 0.3, failure=failure, probes=lambda _: Probe(Phase.STARTING))
        with pytest.raises(kind, match=words):
            await keeper_of(job, seen).start()
        assert len(job.launched_s) == 1

    assert run(scenario) == []


def test_a_silent_process_is_killed_in_the_end() -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        job = ScriptedJob(clock, None, probes=lambda _: Probe(Phase.SILENT))
        with pytest.raises(UpstreamError, match="SIGKILL"):
            await keeper_of(job, seen).start()
        assert 60 <= clock.now_s < 63

    assert run(scenario) == ["order-1 (pid 4711) is stuck: no answer for 60 s; killing it"]


def test_a_process_that_says_it_hangs_is_replaced() -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        job = ScriptedJob(clock, None, hung=lambda now_s: 5 < now_s < 7)
        keeper = keeper_of(job, seen)
        await keeper.start()
        await keeper.ready(restarts=1)
        assert job.processes[0].signals == [signal.SIGKILL]
        await keeper.stop(grace_s=1)

    assert "it no longer moves" in run(scenario)[0]


def test_stopping_asks_first_and_kills_who_does_not_listen() -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        polite, deaf = ScriptedJob(clock, None), ScriptedJob(clock, None, deaf=True)
        for job, signals in ((polite, [15]), (deaf, [15, 9])):
            keeper = keeper_of(job, seen)
            await keeper.start()
            await keeper.stop(grace_s=0.02)
            await keeper.stop(grace_s=0.02)  # and may be asked again
            assert job.processes[0].signals[: len(signals)] == signals
            assert len(job.launched_s) == 1
            assert keeper.status.pid == 0

    assert run(scenario) == ["order-1 did not stop within 0.02 s and was killed"]


def test_stopping_between_two_lives_starts_no_third() -> None:
    async def scenario(clock: VirtualClock, seen: list[Event]) -> None:
        job = ScriptedJob(clock, 1.0)
        keeper = keeper_of(job, seen)
        await keeper.start()
        while keeper.status.pid:
            await asyncio.sleep(0)
        launches = len(job.launched_s)
        await keeper.stop(grace_s=1)
        assert len(job.launched_s) == launches

    run(scenario)
