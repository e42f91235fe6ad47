"""Keeping one process running: launch it, watch it, start it again when it dies, end it when we are done.

A process that dies is started again after a pause that doubles with each quick death, up to ten seconds, with jitter so
that many do not come back in step; half a minute of health forgets the past. The first start is different: a
process that cannot even start once has a wrong setting or no engine, and that is an error to show, not to repeat.
"""

import asyncio
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from saleops.errors import ConfigError, Refused, SaleopsError, UpstreamError
from saleops.events import Observer, Warned
from saleops.ports.clock import Clock
from saleops.ports.processes import Failure, Job, Phase, Process

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
HEALTHY_S = 30.0
CRASH_LOOP = 5  # quick deaths in a row that deserve a word of their own
START_TIMEOUT_S = 60.0  # for any answer at all
SETTLE_S = 1.5  # for one that runs and is not ready: it may wait for what comes later (seeding)
ATTENTIVE_S = 10.0  # this long after a start it is asked often
SILENCE_S = 30.0  # without any answer: it is ended and started again
POLL_STARTING_S = 0.05
POLL_RUNNING_S = 1.0


def pause_s(quick_deaths: int, chance: float) -> float:
    """Seconds before the next start, after ``quick_deaths`` (1 or more) in a row; ``chance`` is in 0 .. 1."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(quick_deaths - 1, 16))
    return longest * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True)
class KeptProcess:
    """A process as its keeper sees it now. ``pid`` is 0 between two lives."""

    name: str
    pid: int
    restarts: int
    phase: Phase
    why: str


class Keeper:
    """Keeps ``job`` running between ``start`` and ``stop``."""

    def __init__(
        self,
        job: Job,
        *,
        clock: Clock,
        observe: Observer,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.job = job
        self.restarts = 0
        self._clock = clock
        self._observe = observe
        self._chance = chance
        self._process: Process | None = None
        self._phase = Phase.SILENT
        self._why = ""
        self._stopping = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> KeptProcess:
        pid = self._process.pid if self._process else 0
        return KeptProcess(self.job.name, pid, self.restarts, self._phase, self._why)

    async def start(self) -> None:
        """Launch it and wait until it is up: ready, or running with a reason not to be.

        Raises its own error when it ends before that, UpstreamError when it stays silent.
        """
        up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = self._task = asyncio.create_task(self._keep(up), name=f"keep-{self.job.name}")
        try:
            await asyncio.wait((up, task), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            up.cancel()
            raise
        if up.done():
            up.result()
        else:
            task.result()  # raises what ended it, a bug
            raise UpstreamError(f"{self.job.name} was stopped before it was up")

    async def ready(self, *, restarts: int = 0) -> None:
        """Wait until it is ready in its ``restarts``-th life or a later one. Give it a timeout."""
        while self._phase is not Phase.READY or self.restarts < restarts:
            self._changed.clear()
            await self._changed.wait()

    def kill(self, signum: int = signal.SIGKILL) -> int:
        """Signal the process behind its back; it will be started again. Its pid, 0 if it is down."""
        process = self._process
        if process is None:
            return 0
        process.send(signum)
        return process.pid

    def abandon(self) -> None:
        """SIGKILL it now, for good."""
        self._stopping = True
        self.kill()

    async def stop(self, *, grace_s: float) -> None:
        """SIGTERM, ``grace_s`` to end, then SIGKILL. May be called at any time, more than once."""
        self._stopping = True
        task, process = self._task, self._process
        if task is None:
            return
        if process is None:
            task.cancel()
        else:
            process.send(signal.SIGTERM)
            await asyncio.wait((task,), timeout=grace_s)
            if not task.done():
                self._observe(
                    Warned(f"{self.job.name} did not stop within {grace_s:g} s and was killed")
                )
                process.send(signal.SIGKILL)
        with suppress(asyncio.CancelledError):
            await task

    async def _keep(self, up: asyncio.Future[None]) -> None:
        quick_deaths = 0
        while True:
            born_ms = self._clock.now_ms()
            try:
                process = self._process = self.job.launch()
            except SaleopsError as error:
                if not up.done():
                    up.set_exception(error)
                    return
                ended = error.message
            else:
                try:
                    code = await self._watch(process, up)
                except BaseException:
                    process.send(signal.SIGKILL)  # nobody looks after it any more
                    raise
                finally:
                    self._process = None
                    self._set(Phase.SILENT, "down")
                if self._stopping:
                    return
                failure = process.failure()
                if not up.done():
                    up.set_exception(_start_error(self.job.name, code, failure))
                    return
                ended = f"it ended with {_code(code)}" + (f": {failure.message}" if failure else "")
            healthy = self._clock.now_ms() - born_ms >= HEALTHY_S * 1000
            quick_deaths = 1 if healthy else quick_deaths + 1
            rest_s = pause_s(quick_deaths, self._chance())
            self._report(ended, quick_deaths, rest_s)
            await self._clock.sleep(rest_s)
            self.restarts += 1

    def _report(self, ended: str, quick_deaths: int, rest_s: float) -> None:
        name = self.job.name
        if quick_deaths >= CRASH_LOOP:
            self._observe(
                Warned(
                    f"{name} is crash-looping: {quick_deaths} times in a row {ended}; "
                    f"next start in {rest_s:.1f} s"
                )
            )
        else:
            self._observe(Warned(f"{name}: {ended}; starting it again in {rest_s:.1f} s"))

    async def _watch(self, process: Process, up: asyncio.Future[None]) -> int:
        """Look after one life of the process; its exit code."""
        ended = asyncio.ensure_future(process.wait())
        heard_ms = born_ms = self._clock.now_ms()
        self._set(Phase.STARTING)
        answered, unready_ms = False, born_ms
        try:
            while not ended.done():
                probe = await self.job.probe()
                now_ms = self._clock.now_ms()
                if ended.done():
                    break
                if probe.phase is Phase.SILENT:
                    patience_s = SILENCE_S if answered else START_TIMEOUT_S
                    if now_ms - heard_ms > patience_s * 1000:
                        self._end(process, f"no answer for {patience_s:g} s")
                else:
                    answered, heard_ms = True, now_ms
                    self._set(probe.phase, probe.why)
                    if probe.phase is not Phase.STARTING and await self.job.hung():
                        self._end(process, probe.why or "it no longer moves")
                if probe.phase is not Phase.UNREADY:
                    unready_ms = now_ms
                if not up.done() and (
                    probe.phase is Phase.READY or now_ms - unready_ms > SETTLE_S * 1000
                ):
                    up.set_result(None)
                quick = probe.phase is not Phase.READY and now_ms - born_ms < ATTENTIVE_S * 1000
                await self._first(ended, POLL_STARTING_S if quick else POLL_RUNNING_S)
            return ended.result()
        finally:
            ended.cancel()

    async def _first(self, ended: asyncio.Future[int], seconds: float) -> None:
        """Return when ``ended`` is, or after ``seconds`` of our clock."""
        rest = asyncio.ensure_future(self._clock.sleep(seconds))
        await asyncio.wait((ended, rest), return_when=asyncio.FIRST_COMPLETED)
        rest.cancel()

    def _end(self, process: Process, why: str) -> None:
        self._observe(Warned(f"{self.job.name} (pid {process.pid}) is stuck: {why}; killing it"))
        process.send(signal.SIGKILL)

    def _set(self, phase: Phase, why: str = "") -> None:
        self._phase, self._why = phase, why
        self._changed.set()


def _code(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _start_error(name: str, code: int, failure: Failure | None) -> SaleopsError:
    """What a process that never came up raises: its own error, as far as it could tell it."""
    if failure is None:
        return UpstreamError(
            f"{name} did not start: it ended with {_code(code)}", hint="Its log says more."
        )
    kinds: dict[int, type[SaleopsError]] = {2: ConfigError, 5: Refused}
    kind = kinds.get(failure.exit_code, UpstreamError)
    return kind(f"{name} did not start: {failure.message}", hint=failure.hint)
