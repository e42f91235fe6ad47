"""What the simulation is given: services with their pods, autoscalers and jobs, node pools, and what is taken away."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from saleops.domain.timeline.demand import Demand
from saleops.domain.timeline.pod_times import NODE_BOOT_S, PodTimes

Select = Literal["Max", "Min", "Disabled"]
EventKind = Literal[
    "cron", "conflict", "hpa", "ready", "leave", "nodes", "pending", "reclaim", "demand", "cache"
]


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``value`` pods, or percent of the pods, in ``period_s`` seconds."""

    percent: bool
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One direction of an HPA's ``behavior``."""

    window_s: int
    policies: tuple[Policy, ...]
    select: Select = "Max"


UP = Behaviour(0, (Policy(True, 100, 15), Policy(False, 4, 15)))
DOWN = Behaviour(300, (Policy(True, 100, 15),))
"""What Kubernetes does where an HPA has no ``behavior``: kubernetes.io docs, horizontal pod autoscaling."""


@dataclass(frozen=True, slots=True)
class Hpa:
    """``target`` and ``cap`` are shares of what one pod can serve: content at ``target``, never measured above ``cap``.

    A pod at its limit cannot use more CPU, however many requests wait: so a CPU metric saturates (``cap``), and a metric of
    requests does not (infinity).
    """

    name: str
    low: int
    high: int
    target: float = 0.7
    cap: float = 1.0
    follows: bool = True  # False: nobody knows how its metric moves with the load, so it is content
    up: Behaviour = UP
    down: Behaviour = DOWN
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a CronHPA job. ``cause`` names object, job, schedule and file:line.

    ``again`` makes it a standing order: later seconds, in order, in which it and the other runs of its second come again
    before any other job's. They write the same sizes, so they matter only where an HPA has changed them in between.
    """

    second: int
    size: int
    on_hpa: bool
    cause: str
    again: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """``rps_per_pod`` 0 or no demand: its pods are followed, its capacity is not judged."""

    name: str
    pods: int
    rps_per_pod: float = 0.0
    times: PodTimes = field(default_factory=PodTimes)
    cpu_m: int = 1000
    memory_mib: int = 1024
    hpa: Hpa | None = None
    runs: tuple[Run, ...] = ()
    demand: Demand | None = None
    cause: str = ""  # where its size is from
    on_demand: bool = False  # its pods may only be on nodes that are never spot


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes of one kind. ``cpu_m``, ``memory_mib`` and ``pods`` are what one has for pods of ours."""

    name: str
    cpu_m: int
    memory_mib: int
    pods: int
    desired: int
    low: int
    high: int
    scales: bool = False
    spot: bool = False
    boot_s: int = NODE_BOOT_S
    unneeded_s: int = 600
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Reclaim:
    """``share`` of the spot nodes is lost at once: of all nodes where none is spot.

    Without nodes of each service's pods, but not of those that may only be on demand.
    """

    share: float
    second: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """``seconds`` long, from second 0. Without pools there is always room."""

    seconds: int
    services: tuple[Service, ...]
    pools: tuple[Pool, ...] = ()
    reclaim: Reclaim | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to ``service`` ("" for nodes). ``before`` and ``after`` are pods; for demand requests a second."""

    second: int
    service: str
    kind: EventKind
    text: str
    before: float = 0
    after: float = 0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """Pods of a service after what happened at ``second``: made = pending + starting + ready + leaving + gone."""

    second: int
    wanted: int
    pending: int
    starting: int
    ready: int
    leaving: int
    made: int
    gone: int


@dataclass(frozen=True, slots=True)
class Serving:
    """Who serves from ``second`` on: ``full`` pods at full capacity and ``ramps`` of (second they began, pods) in slow start."""

    second: int
    full: int
    ramps: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """What became of one service."""

    service: Service
    servings: tuple[Serving, ...]
    counts: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    scenario: Scenario
    courses: tuple[Course, ...]
    events: tuple[Event, ...]
    nodes: tuple[tuple[int, int], ...]  # (second, nodes that are there)
