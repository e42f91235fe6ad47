"""The Deployments of a sale: how many pods each has before, during and at the most, and where they may run.

Checkout (order and payment) is two Deployments behind one Service: ``order`` may run anywhere, ``order-core`` on demand only,
with the share of pods that is not spot. One Deployment with a topology spread over the spot-strategy label was set aside: a
hard spread leaves pods Pending as soon as the spot pool is sold out, a soft one promises nothing, and neither is kept when a
Deployment shrinks. With two, no reclaim of spot nodes can touch the core's pods, whatever the scheduler did before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from saleops.domain.capacity import FALLBACK_RPS, SURGE, Service, pods_for

CHECKOUT = frozenset(("order", "payment"))
SERVES = ("catalog", "order", "payment", "shipping", "gateway")
"""What a worker can be (services/assembly.py)."""

CALLS: Mapping[str, frozenset[str]] = {
    "catalog": frozenset(("database", "cache")),
    "order": frozenset(("database", "cache", "queue")),
    "payment": frozenset(("database", "queue")),
    "shipping": frozenset(("database", "queue")),
    "gateway": frozenset(),
}
"""Which engines each service opens (services/assembly.py)."""

CPU_TARGET = 70
"""Percent of the request: a worker is one process on one core, and answers late well before 100."""

MAX_OVER_PEAK = Fraction(5, 4)
BUDGET_SHARE = Fraction(7, 10)
"""Of the database's connections: the rest is for people, migrations and pods that exist twice while they roll."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One Deployment with its autoscaler. ``core``: on demand nodes alone; ``zone_skew`` is how uneven zones may get."""

    name: str
    service: str
    core: bool
    base: int
    peak: int
    most: int
    zone_skew: int
    cpu_m: int
    memory_mib: int
    checkout: bool
    why: str


@dataclass(frozen=True, slots=True)
class Sized:
    """One service with its Deployments. ``rps_per_pod`` 0: nobody measured it."""

    name: str
    workloads: tuple[Workload, ...]
    rps_per_pod: float
    connections_per_pod: int

    @property
    def peak(self) -> int:
        return sum(one.peak for one in self.workloads)

    @property
    def most(self) -> int:
        return sum(one.most for one in self.workloads)

    @property
    def calls(self) -> tuple[str, ...]:
        return tuple(sorted(CALLS[self.name]))


def allowed_skew(pods: int, at_peak: int, zones: int) -> int:
    """How many pods more one zone may have than another so that losing the fullest still leaves ``at_peak``; 1 at least.

    With a skew of s the fullest of z zones holds at most (pods + (z - 1) s) / z of them.
    """
    if zones < 2:
        return 1
    spare = pods - at_peak
    return max(1, (spare * zones - pods) // (zones - 1))


def size_service(
    now: Service, at_peak: Service, *, zones: int, spot_share: float, most_pods: int | None = None
) -> Sized:
    """``now`` has the load before the sale, ``at_peak`` that of its peak. ``most_pods`` caps what the autoscaler may ask for."""
    base, planned = pods_for(now, zones), pods_for(at_peak, zones)
    peak = max(planned.pods, base.pods)
    most = max(peak, min(ceil(peak * MAX_OVER_PEAK), most_pods or peak * 2))
    needed = ceil(Fraction(at_peak.rps) / Fraction(at_peak.rps_per_pod or FALLBACK_RPS))
    skew = allowed_skew(peak, needed, zones)
    checkout = at_peak.name in CHECKOUT

    def workload(
        name: str, core: bool, counts: tuple[int, int, int], skew: int, why: str
    ) -> Workload:
        return Workload(
            name,
            at_peak.name,
            core,
            counts[0],
            counts[1],
            counts[2],
            zone_skew=skew,
            cpu_m=at_peak.cpu_m,
            memory_mib=at_peak.memory_mib,
            checkout=checkout,
            why=why,
        )

    if not checkout or spot_share <= 0:
        whole = workload(at_peak.name, False, (base.pods, peak, most), skew, planned.why)
        workloads: tuple[Workload, ...] = (whole,)
    else:
        kept = 1 - Fraction(str(spot_share))
        counts = (base.pods, peak, most)

        def kept_of(count: int) -> int:
            return min(count - 1, max(1, ceil(count * kept)))

        core = (kept_of(base.pods), kept_of(peak), kept_of(most))
        burst = (counts[0] - core[0], counts[1] - core[1], counts[2] - core[2])
        each = max(1, skew // 2)
        share = f"{core[1]} of {peak} pods ({float(kept):.0%}) never run on spot nodes"
        workloads = (
            workload(at_peak.name, False, burst, each, planned.why),
            workload(f"{at_peak.name}-core", True, core, each, share),
        )
    return Sized(at_peak.name, workloads, at_peak.rps_per_pod, at_peak.connections_per_pod)


def most_within(connections_limit: int, services: Sequence[tuple[int, int]]) -> bool:
    """Whether all pods at the most, each a quarter more while they roll, stay within the budget. Pairs: (pods, connections)."""
    asked = sum(pods * each for pods, each in services) * (1 + Fraction(SURGE))
    return not connections_limit or asked <= connections_limit * BUDGET_SHARE


@dataclass(frozen=True, slots=True)
class Proxy:
    """ProxySQL in front of the database. ``backend_each`` caps what one proxy opens, so all together stay within the budget."""

    replicas: int
    backend_each: int
    clients_each: int
    why: str


def proxy(*, zones: int, connections_limit: int, clients: int) -> Proxy:
    """Two proxies or one a zone. Raises ValueError where the budget gives none of them a connection."""
    replicas = max(2, zones)
    budget = int(connections_limit * BUDGET_SHARE)
    # While the Deployment rolls there is one more of them.
    each = budget // (replicas + 1)
    if each < 1:
        raise ValueError(f"{connections_limit} connections are too few for {replicas} proxies")
    clients_each = max(2048, 2 * ceil(Fraction(clients, replicas)))
    return Proxy(
        replicas,
        each,
        clients_each,
        f"{budget:,} connections ({float(BUDGET_SHARE):.0%} of {connections_limit:,}) over {replicas} proxies and one more while "
        f"they roll: {each:,} each at the most; {clients:,} clients at the most",
    )


@dataclass(frozen=True, slots=True)
class Headroom:
    """Pods that only hold room, by being the first to go. ``pods`` while the sale's pods are not there yet."""

    pods: int
    cpu_m: int
    memory_mib: int
    why: str


def headroom(services: Sequence[Sized]) -> Headroom:
    """As much room as the jump from base to peak takes, in pieces as big as the largest pod."""
    every = [one for service in services for one in service.workloads]
    cpu = max(one.cpu_m for one in every)
    memory = max(one.memory_mib for one in every)
    jump_cpu = sum((one.peak - one.base) * one.cpu_m for one in every)
    jump_memory = sum((one.peak - one.base) * one.memory_mib for one in every)
    pods = max(1, ceil(Fraction(jump_cpu, cpu)), ceil(Fraction(jump_memory, memory)))
    jump = sum(one.peak - one.base for one in every)
    return Headroom(
        pods,
        cpu,
        memory,
        f"{jump:,} more pods at the peak want {jump_cpu:,} m and {jump_memory:,} MiB: {pods:,} of {cpu:,} m and {memory:,} MiB",
    )
