"""The load balancer: which path goes to which service, how each is checked, and how much it lets through.

Each service has an Ingress of its own, because limits are annotations of the whole Ingress. Payments and parcels lie below an
order's path, so their rules are regular expressions and come first (``order`` ascends and the first hit wins). Requests above
a limit hear 503 at once: pods that are full answer nobody, and a limit keeps them from getting there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from saleops.domain.k8s.workloads import Sized

HEALTH_INTERVAL_S = 2
HEALTH_THRESHOLD = 3
HEALTH_TIMEOUT_S = 2
SLOW_START_S = 30
"""The shortest there is; it works with the scheduler wrr only."""

QPS_MAX = 1_000_000
SERVERS_MAX = 1_000
REQUEST_TIMEOUT_S = 15
"""As the gateway's; far above what a worker takes, and below what a buyer waits."""

PATHS: Mapping[str, tuple[int, bool, tuple[str, ...]]] = {
    "payment": (1, True, ("/orders/[^/]+/payments",)),
    "shipping": (2, True, ("/orders/[^/]+/parcels",)),
    "order": (10, False, ("/orders", "/cart")),
    "catalog": (11, False, ("/products",)),
}
"""Service -> its place among the rules, whether its paths are regular expressions, its paths (services/*/app.py)."""


@dataclass(frozen=True, slots=True)
class Route:
    """One Ingress. A limit of 0 is none."""

    service: str
    order: int
    regex: bool
    paths: tuple[str, ...]
    qps: int
    ip_qps: int
    why: str


@dataclass(frozen=True, slots=True)
class Balancer:
    """The AlbConfig and its Ingresses. ``host`` is empty for any; ``vswitches`` are (zone, id), ``trusted`` the edge's blocks."""

    name: str
    host: str
    https: bool
    certificate: str
    vswitches: tuple[tuple[str, str], ...]
    trusted: tuple[str, ...]
    log_project: str
    log_store: str
    routes: tuple[Route, ...]
    backends: tuple[str, ...]
    complete: bool


def routes(
    services: Sequence[Sized], *, per_ip_rps: float, trusts_addresses: bool
) -> tuple[Route, ...]:
    """A rule set for each service; all to the gateway where the sale runs one. Per-address limits only where addresses can be
    believed: behind an edge that is not trusted every buyer has the edge's."""
    named = {one.name: one for one in services}
    if "gateway" in named:
        table: Mapping[str, tuple[int, bool, tuple[str, ...]]] = {"gateway": (10, False, ("/",))}
    else:
        table = {name: how for name, how in PATHS.items() if name in named}
    made = []
    for name, (order, regex, paths) in sorted(table.items(), key=lambda one: one[1][0]):
        service = named[name]
        qps = min(QPS_MAX, floor(service.most * service.rps_per_pod))
        why = (
            f"{service.most} pods at the most x {service.rps_per_pod:g}/s = {qps:,}/s for each of its rules"
            if qps
            else "no limit: nobody said what a pod serves"
        )
        ip_qps = 0
        if per_ip_rps > 0 and trusts_addresses:
            ip_qps = min(QPS_MAX, ceil(per_ip_rps * service.peak))
            ip_qps = min(ip_qps, qps - 1) if qps else ip_qps
        made.append(Route(name, order, regex, paths, qps, max(ip_qps, 0), why))
    return tuple(made)


def servers(services: Sequence[Sized], made: Sequence[Route]) -> int:
    """Servers of the load balancer when every service has its most pods: a pod counts once in each of its groups."""
    behind = {one.service for one in made}
    return sum(one.most for one in services if one.name in behind)
