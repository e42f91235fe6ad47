"""How a pod starts, proves that it lives, and leaves: probes and the shutdown budget, each with its inequality.

Shutdown (kubernetes.io docs, "Pod lifecycle"): when a pod is deleted, its removal from endpoints and ``preStop`` begin together,
SIGTERM follows preStop, SIGKILL comes ``terminationGracePeriodSeconds`` after the deletion. A load balancer outside of the
cluster hears of the removal seconds later and sends on until then, so preStop sleeps for longer than that.

Probes: liveness asks a port of its own that depends on nothing. Readiness asks the port that buyers use whether it accepts and
its event loop turns, which is a fact about this pod alone. It does not ask ``/readyz``, which also tells of a broker or a stock
store in trouble: those are shared, so every pod would leave the load balancer in the same ten seconds, and come back through a
slow start when the trouble is long over. A service that cannot sell says so itself, with 503 and Retry-After.
"""

from dataclasses import dataclass

HTTP_PORT = 8080
ADMIN_PORT = 9090

PRE_STOP_S = 20
"""Longer than a load balancer goes on sending to a removed pod: 10 s for a change to land, and 15 s were measured elsewhere."""

DRAIN_DELAY_S = 1
"""From SIGTERM to not listening: nobody sends any more after preStop, so a moment is enough."""

FINISH_S = 10
"""What a worker gives its requests in flight (services/worker.py), hence the longest request that survives a shutdown."""

STOP_S = 20
"""What a worker gives its consumers and its last group commit (services/worker.py)."""

MARGIN_S = 5
COLD_START_S = 30
"""The worst start that was seen, on a node that is busy with thirty others."""

SPOT_GRACE_MAX_S = 120
"""A spot node is gone 300 s after its notice; longer graces leave no time to evict in waves."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Seconds. ``alb_drain_s`` is how long the load balancer keeps connections of a removed pod."""

    pre_stop_s: int
    drain_delay_s: int
    finish_s: int
    stop_s: int
    grace_s: int
    alb_drain_s: int

    @property
    def why(self) -> str:
        used = self.pre_stop_s + self.drain_delay_s + self.finish_s + self.stop_s
        return (
            f"grace {self.grace_s} s >= preStop {self.pre_stop_s} + drain {self.drain_delay_s} + requests {self.finish_s} "
            f"+ consumers {self.stop_s} + {MARGIN_S} = {used + MARGIN_S} s; the load balancer drains for {self.alb_drain_s} s "
            f"<= grace - {MARGIN_S} = {self.grace_s - MARGIN_S} s"
        )


def shutdown(
    *,
    pre_stop_s: int = PRE_STOP_S,
    drain_delay_s: int = DRAIN_DELAY_S,
    finish_s: int = FINISH_S,
    stop_s: int = STOP_S,
) -> Shutdown:
    """The budget; grace is rounded up to 5 s. Raises ValueError for a grace that a spot node's notice has no room for."""
    needed = pre_stop_s + drain_delay_s + finish_s + stop_s + MARGIN_S
    grace = -(-needed // 5) * 5
    if grace > SPOT_GRACE_MAX_S:
        raise ValueError(f"a grace of {grace} s is above the {SPOT_GRACE_MAX_S} s of a spot node")
    drain = min(grace - MARGIN_S, pre_stop_s + drain_delay_s + finish_s)
    return Shutdown(pre_stop_s, drain_delay_s, finish_s, stop_s, grace, drain)


@dataclass(frozen=True, slots=True)
class Probe:
    """An HTTP GET; ``port`` is the name of a container port."""

    path: str
    port: str
    period_s: int
    timeout_s: int
    failures: int

    @property
    def window_s(self) -> int:
        """Seconds of silence until it acts."""
        return self.period_s * self.failures


@dataclass(frozen=True, slots=True)
class Probes:
    startup: Probe
    liveness: Probe
    readiness: Probe

    @property
    def why(self) -> str:
        return (
            f"a start may take {self.startup.window_s} s, twice the worst cold start of {COLD_START_S} s or more; "
            f"{self.liveness.window_s} s of silence restart a pod, {self.readiness.window_s} s take it out, which comes first"
        )


def probes() -> Probes:
    """Of every service: the admin port says whether the process lives, the buyers' port whether this pod serves."""
    return Probes(
        startup=Probe("/livez", "admin", 2, 2, 60),
        liveness=Probe("/livez", "admin", 10, 5, 6),
        readiness=Probe("/livez", "http", 5, 2, 2),
    )
