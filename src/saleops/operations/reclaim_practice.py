"""A spot node is reclaimed in the middle of a rehearsal: its order worker has to leave, with nobody in the shop noticing.

A practice cluster (``ReclaimStage``) says which pods there should be; here each of its order pods is a worker process of this
machine. A new pod starts a worker, which is reported ready when it is; a pod that is told to end sends its worker SIGTERM, which
drains. Who decides when a pod comes or goes is the spot handler, the real one: it reads the notice and talks to the cluster.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from saleops.errors import UpstreamError
from saleops.events import Observer, Warned, silent
from saleops.operations.serve import Fleet, WorkerStatus

SERVICE = "order"
POLL_S = 0.1
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class PracticePod:
    """A pod of the practice cluster. ``on_spot``: it is on the node that is reclaimed."""

    name: str
    on_spot: bool
    placed: bool
    ending: bool


class ReclaimStage(Protocol):
    def pods(self) -> tuple[PracticePod, ...]:
        """The order pods there are, those on their way out included."""
        ...

    def admit(self, pod: str) -> None:
        """The pod's worker takes orders."""
        ...

    def announce(self) -> None:
        """From now on the node's metadata service says that it is reclaimed."""
        ...


@dataclass
class ReclaimReport:
    """Moments in seconds after the notice. ``ready_least`` is the fewest order workers that took orders at any moment."""

    victim: str = ""
    replacement: str = ""
    replaced_s: float | None = None  # the replacement was ready
    evicted_s: float | None = None  # the pod on the spot node was told to end
    drained_s: float | None = None  # its worker had finished and was gone
    ready_least: int = 0
    moments: list[str] = field(default_factory=list)


async def practise_reclaim(
    fleet: Fleet, stage: ReclaimStage, *, observe: Observer = silent
) -> tuple[WorkerStatus, ReclaimReport]:
    """Reclaim the node and play the kubelets until its pod is gone. Raises UpstreamError when it is not in time.

    The fleet's order workers and the stage's order pods have to be equally many.
    """
    practice = _Practice(fleet, stage, observe)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await practice.run()
    except TimeoutError:
        raise UpstreamError(
            f"the pod of {practice.report.victim} had not left the node {TIMEOUT_S:g} s after the notice"
        ) from None
    finally:
        await practice.end()


class _Practice:
    def __init__(self, fleet: Fleet, stage: ReclaimStage, observe: Observer) -> None:
        self._fleet = fleet
        self._stage = stage
        self._observe = observe
        self.report = ReclaimReport()
        self._began = time.perf_counter()
        self._workers: dict[str, str] = {}  # pod -> its worker
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> tuple[WorkerStatus, ReclaimReport]:
        victim = await self._adopt()
        self._stage.announce()
        self._began = time.perf_counter()
        self._say(f"the node of {victim.name} is to be reclaimed")
        while True:
            pods = self._stage.pods()
            for pod in pods:
                self._look_after(pod)
            taking = {
                one.name for one in self._fleet.workers if one.service == SERVICE and one.ready
            }
            self.report.ready_least = min(self.report.ready_least, len(taking))
            for name, task in list(self._tasks.items()):
                if task.done():
                    del self._tasks[name]
                    task.result()  # what it could not do is raised here
            if self.report.drained_s is not None and not any(pod.on_spot for pod in pods):
                return victim, self.report
            await asyncio.sleep(POLL_S)

    async def end(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _adopt(self) -> WorkerStatus:
        """Each running worker becomes a pod; the first one the pod on the spot node."""
        running = [one for one in self._fleet.workers if one.service == SERVICE]
        pods = sorted(self._stage.pods(), key=lambda pod: (not pod.on_spot, pod.name))
        if len(pods) != len(running) or not pods or not pods[0].on_spot:
            raise UpstreamError(
                f"the practice cluster has {len(pods)} order pods for {len(running)} order workers, or none on its spot node"
            )
        self._workers = {pod.name: one.name for pod, one in zip(pods, running, strict=True)}
        self.report.victim = running[0].name
        self.report.ready_least = len(running)
        return running[0]

    def _look_after(self, pod: PracticePod) -> None:
        if pod.name in self._tasks:
            return
        if pod.ending:
            if worker := self._workers.pop(pod.name, ""):
                if pod.on_spot:
                    self.report.evicted_s = self._now_s()
                self._tasks[pod.name] = asyncio.create_task(self._retire(worker, pod))
        elif pod.placed and pod.name not in self._workers:
            self._tasks[pod.name] = asyncio.create_task(self._start(pod))

    async def _start(self, pod: PracticePod) -> None:
        worker = await self._fleet.grow(SERVICE)
        self._workers[pod.name] = worker.name
        self._stage.admit(pod.name)
        if self.report.replaced_s is None:
            self.report.replacement, self.report.replaced_s = worker.name, self._now_s()
        self._say(f"{worker.name} takes orders (pid {worker.pid})")

    async def _retire(self, worker: str, pod: PracticePod) -> None:
        self._say(f"SIGTERM for {worker}")
        await self._fleet.retire(worker)
        if pod.on_spot:
            self.report.drained_s = self._now_s()
        self._say(f"{worker} has finished and is gone")

    def _now_s(self) -> float:
        return round(time.perf_counter() - self._began, 2)

    def _say(self, what: str) -> None:
        self.report.moments.append(f"{self._now_s():.2f} s: {what}")
        self._observe(Warned(what))
