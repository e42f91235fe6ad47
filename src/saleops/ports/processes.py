"""Processes on this machine, as a supervisor needs them.

A ``Job`` is something that can be launched again and again (a worker of a service, the embedded Valkey);
a ``Process`` is one life of it. Launching is quick and never waits; whether the process is of use is asked with ``probe``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Phase(Enum):
    """How far a process has come."""

    SILENT = "silent"  # nothing answers
    STARTING = "starting"  # it answers, and says that it is not finished with starting
    UNREADY = (
        "unready"  # it runs, and has a reason not to take work (its sale is not seeded, it drains)
    )
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer to "are you ready?". ``why`` is empty where the phase says it all."""

    phase: Phase
    why: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A process' own account of why it gave up: the exit code, message and hint of its error."""

    exit_code: int
    message: str
    hint: str | None = None


class Process(Protocol):
    """One running process, a child of ours."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """Its exit code; minus the number of the signal that ended it."""
        ...

    def send(self, signum: int) -> None:
        """Signal it; nothing happens when it has ended already."""
        ...

    def failure(self) -> Failure | None:
        """After its end: what it said about it, if it said anything."""
        ...


class Job(Protocol):
    """Something to keep running."""

    @property
    def name(self) -> str: ...

    def launch(self) -> Process:
        """Start it. Raises UpstreamError when the machine refuses."""
        ...

    async def probe(self) -> Probe:
        """Ask the running process. Never raises and takes at most a second or so."""
        ...

    async def hung(self) -> bool:
        """Whether the process says of itself that it no longer moves. No answer is no such statement."""
        ...


class Engine(Job, Protocol):
    """An embedded engine: a job with data of its own that one process at a time may use."""

    @property
    def url(self) -> str: ...

    def clear_away(self) -> int | None:
        """Shut down what a crashed supervisor left running on the same data; its pid, None if there was none.

        Blocks up to some seconds. Raises UpstreamError when it will not go.
        """
        ...

    def start(self) -> None:
        """Launch it and wait until it is ready, for callers without a supervisor. Raises UpstreamError."""
        ...

    def stop(self) -> None:
        """End what ``start`` began, keeping the data."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker process of a service. ``environment`` is added to ours and may hold secrets: never show it."""

    name: str  # "order-1"
    service: str  # "order"
    host: str
    port: int
    admin_port: int
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class Workers(Protocol):
    """Where workers run: this machine."""

    def reserve_port(self, host: str, port: int) -> int:
        """Keep ``port`` (0: a free one) for workers of ours. Raises UpstreamError when somebody else has it."""
        ...

    def job(self, spec: WorkerSpec) -> Job:
        """The worker of ``spec``, not launched yet."""
        ...

    def close(self) -> None:
        """Give the reserved ports back."""
        ...
