"""Who may talk to whom: nobody, but for these.

A NetworkPolicy cannot deny, so a namespace starts with one that allows nothing in either direction, and each edge below is
allowed by itself. The load balancer and the databases are no pods: they are blocks of the address plan, the nodes' vSwitches of
each zone. Pods are never named by a block. What a kubelet asks its own pods is always allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from saleops.domain.k8s.lifecycle import ADMIN_PORT, HTTP_PORT

DATABASE_PORT, CACHE_PORT, QUEUE_PORT = 3306, 6379, 8080
PROXY_PORT, PROXY_METRICS_PORT = 6033, 6070
NODE_LOCAL_DNS = "169.254.20.10/32"


@dataclass(frozen=True, slots=True)
class Egress:
    """Pods of ``app`` may open ``port`` in ``cidrs``, or of the pods called ``to_app``, or of a namespace."""

    app: str
    name: str
    port: int
    cidrs: tuple[str, ...] = ()
    to_app: str = ""
    to_namespace: str = ""


@dataclass(frozen=True, slots=True)
class Ingress:
    """``port`` of the pods of ``app`` is open to ``cidrs``, to the pods of ``from_apps``, or to a namespace."""

    app: str
    name: str
    port: int
    cidrs: tuple[str, ...] = ()
    from_apps: tuple[str, ...] = ()
    from_namespace: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an engine is: its vSwitches' blocks and its port."""

    name: str
    cidrs: tuple[str, ...]
    port: int


def port_of(url: str | None, default: int) -> int:
    """The port in an engine's URL; ``default`` where it names none or several. Never raises."""
    if not url:
        return default
    try:
        return urlsplit(url.split(",")[0]).port or default
    except ValueError:
        return default


def egress_of(
    app: str, calls: Sequence[str], engines: Sequence[Engine], *, proxied: bool
) -> tuple[Egress, ...]:
    """What ``app`` may open. With ``proxied`` the database is reached through our ProxySQL pods only."""
    made = []
    for engine in engines:
        if engine.name not in calls:
            continue
        if engine.name == "database" and proxied:
            made.append(Egress(app, "proxysql", PROXY_PORT, to_app="proxysql"))
        else:
            made.append(Egress(app, engine.name, engine.port, engine.cidrs))
    return tuple(made)


def ingress_of(
    app: str,
    *,
    balancer_cidrs: Sequence[str],
    gateway: bool,
    monitoring_namespace: str,
) -> tuple[Ingress, ...]:
    """Who may reach ``app``: the load balancer (or our gateway's pods), and whoever reads its metrics."""
    scrape = Ingress(app, "metrics", ADMIN_PORT, from_namespace=monitoring_namespace)
    if gateway and app != "gateway":
        return (Ingress(app, "gateway", HTTP_PORT, from_apps=("gateway",)), scrape)
    return (Ingress(app, "load-balancer", HTTP_PORT, tuple(balancer_cidrs)), scrape)
