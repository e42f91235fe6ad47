"""Everything `saleops render k8s` writes for one sale, as one value: the templates only loop over it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from saleops.domain.capacity import Service
from saleops.domain.k8s import ingress, lead, lifecycle, network, workloads
from saleops.domain.k8s.ingress import Balancer, Route
from saleops.domain.k8s.lead import LeadTime, Moments
from saleops.domain.k8s.lifecycle import Probes, Shutdown
from saleops.domain.k8s.network import Egress, Engine, Ingress
from saleops.domain.k8s.schedule import CronJob, cron_job
from saleops.domain.k8s.workloads import Headroom, Proxy, Sized, Workload

PODS_PRIORITY, CHECKOUT_PRIORITY = 900_000, 1_000_000
HEADROOM_PRIORITY = -10
"""The lowest that the cluster autoscaler still buys nodes for."""

PREPULL_PARALLELISM = 20


@dataclass(frozen=True, slots=True)
class Toleration:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the sale file and the profile say beside sizes. Blocks and images are ready to be written."""

    sale: str
    region: str
    zones: tuple[str, ...]
    opens: datetime
    closes: datetime
    clock_zone: str
    version: str
    image: str
    pull_secret: str
    image_mib: int
    pause_image: str
    prepull: str
    spot_share: float
    tolerations: tuple[Toleration, ...]
    new_nodes: int
    connections_limit: int
    per_ip_rps: float
    edge_domain: str
    edge_cidrs: tuple[str, ...]
    certificate: str
    log_project: str
    vswitches: tuple[tuple[str, str], ...]
    node_cidrs: tuple[str, ...]
    engines: tuple[Engine, ...]
    proxysql: bool
    proxysql_image: str
    monitoring_namespace: str
    otlp_endpoint: str
    payment_ttl_s: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """An autoscaler with its schedule."""

    workload: Workload
    jobs: tuple[CronJob, ...]


@dataclass(frozen=True, slots=True)
class App:
    """One service: its Deployments, who may reach it and what it may reach."""

    name: str
    size: Sized
    scaled: tuple[Scaled, ...]
    behind_balancer: bool
    ingress: tuple[Ingress, ...]
    egress: tuple[Egress, ...]


@dataclass(frozen=True, slots=True)
class Manifests:
    settings: Settings
    namespace: str
    nodes_namespace: str
    shutdown: Shutdown
    probes: Probes
    lead: LeadTime
    moments: Moments
    apps: tuple[App, ...]
    balancer: Balancer
    proxy: Proxy | None
    proxy_egress: tuple[Egress, ...]
    headroom: Headroom
    headroom_jobs: tuple[CronJob, ...]
    otlp: tuple[str, int] | None
    spot: bool
    why: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...] = field(default=())

    @property
    def workloads(self) -> tuple[Workload, ...]:
        return tuple(one.workload for app in self.apps for one in app.scaled)


def plan_manifests(settings: Settings, services: Sequence[tuple[Service, Service]]) -> Manifests:
    """``services`` are pairs: a service with the load before the sale, and the same with that of the peak.

    Raises ValueError, in words for the files' owner, for what cannot be rendered.
    """
    zones = len(settings.zones)
    known = [pair for pair in services if pair[1].name in workloads.SERVES]
    notes = [
        f"{pair[1].name}: none of our services, so nothing is rendered for it"
        for pair in services
        if pair[1].name not in workloads.SERVES
    ]
    sized = _sized(settings, known, notes)
    stop, probes = lifecycle.shutdown(), lifecycle.probes()
    before = lead.lead_time(
        nodes=settings.new_nodes,
        image_mib=settings.image_mib,
        health_interval_s=ingress.HEALTH_INTERVAL_S,
        health_threshold=ingress.HEALTH_THRESHOLD,
        slow_start_s=ingress.SLOW_START_S,
    )
    when = lead.moments(settings.opens, settings.closes, before, settle_s=settings.payment_ttl_s)
    balancer, missing = _balancer(settings, sized, notes)
    routed = {one.service for one in balancer.routes}
    # A load balancer wants two zones: without one, nothing must wait for it.
    behind = routed if zones > 1 else set()
    gateway = "gateway" in routed
    held = workloads.headroom(sized)
    every = [one for service in sized for one in service.workloads]
    with_connections = [(one.most, one.connections_per_pod) for one in sized]
    proxied = None
    if settings.proxysql:
        clients = sum(pods * each for pods, each in with_connections)
        proxied = workloads.proxy(
            zones=zones, connections_limit=settings.connections_limit, clients=clients
        )
    apps = tuple(
        App(
            one.name,
            one,
            tuple(Scaled(each, _jobs(each, when, settings.clock_zone)) for each in one.workloads),
            one.name in behind,
            network.ingress_of(
                one.name,
                balancer_cidrs=settings.node_cidrs,
                gateway=gateway,
                monitoring_namespace=settings.monitoring_namespace,
            ),
            _egress(settings, one, sized, proxied=proxied is not None),
        )
        for one in sized
    )
    database = [one for one in settings.engines if one.name == "database"]
    return Manifests(
        settings=settings,
        namespace=settings.sale,
        nodes_namespace=f"{settings.sale}-nodes",
        shutdown=stop,
        probes=probes,
        lead=before,
        moments=when,
        apps=apps,
        balancer=balancer,
        proxy=proxied,
        proxy_egress=network.egress_of("proxysql", ("database",), database, proxied=False)
        if proxied
        else (),
        headroom=held,
        headroom_jobs=_headroom_jobs(held, when, settings.clock_zone),
        otlp=_collector(settings.otlp_endpoint),
        spot=settings.spot_share > 0,
        why=(
            *(one.why for one in every),
            stop.why,
            probes.why,
            f"lead time: {before.why}",
            f"headroom: {held.why}",
            *((f"proxysql: {proxied.why}",) if proxied else ()),
            *(f"limit of {one.service}: {one.why}" for one in balancer.routes),
        ),
        notes=tuple(notes),
        missing=missing,
    )


def _sized(
    settings: Settings,
    services: Sequence[tuple[Service, Service]],
    notes: list[str],
) -> tuple[Sized, ...]:
    zones, share = len(settings.zones), settings.spot_share
    free = tuple(
        workloads.size_service(now, peak, zones=zones, spot_share=share) for now, peak in services
    )
    asked = [(one.most, one.connections_per_pod) for one in free]
    if settings.proxysql or workloads.most_within(settings.connections_limit, asked):
        return free
    notes.append(
        "autoscalers end at the planned peak: a quarter more pods would want more database connections than "
        f"{float(workloads.BUDGET_SHARE):.0%} of {settings.connections_limit:,}"
    )
    return tuple(
        workloads.size_service(now, peak, zones=zones, spot_share=share, most_pods=1)
        for now, peak in services
    )


def _jobs(workload: Workload, when: Moments, zone: str) -> tuple[CronJob, ...]:
    jobs = [cron_job("sale-up", when.up, zone, workload.peak)]
    if (when.hold - when.up).total_seconds() >= 60:
        jobs.append(cron_job("sale-hold", when.hold, zone, workload.peak))
    return (*jobs, cron_job("sale-down", when.down, zone, workload.base))


def _headroom_jobs(held: Headroom, when: Moments, zone: str) -> tuple[CronJob, ...]:
    """Room is asked for half an hour before the pods, and given up a minute after they came, lest more nodes are bought."""
    before = when.up - timedelta(seconds=lead.LEAD_MIN_S)
    return (
        cron_job("room-up", before, zone, held.pods),
        cron_job("room-down", when.up + timedelta(minutes=1), zone, 1),
    )


def _egress(
    settings: Settings, one: Sized, sized: Sequence[Sized], *, proxied: bool
) -> tuple[Egress, ...]:
    made = network.egress_of(one.name, one.calls, settings.engines, proxied=proxied)
    if one.name == "gateway":
        made += tuple(
            Egress("gateway", other.name, lifecycle.HTTP_PORT, to_app=other.name)
            for other in sized
            if other.name != "gateway"
        )
    collector = _collector(settings.otlp_endpoint)
    if collector:
        made += (Egress(one.name, "telemetry", collector[1], to_namespace=collector[0]),)
    return made


def _collector(endpoint: str) -> tuple[str, int] | None:
    """The namespace and the port of ``http://name.namespace[.svc]:port``."""
    if not endpoint:
        return None
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    return host.split(".")[1], int(port)


def _balancer(
    settings: Settings, sized: Sequence[Sized], notes: list[str]
) -> tuple[Balancer, tuple[str, ...]]:
    missing = []
    trusts = not settings.edge_domain or bool(settings.edge_cidrs)
    made = ingress.routes(sized, per_ip_rps=settings.per_ip_rps, trusts_addresses=trusts)
    if not trusts:
        notes.append(
            "load balancer: no limit by address, because every buyer comes from an address of the edge; name those in "
            "the profile (kubernetes.edge_cidrs) to have their X-Forwarded-For believed"
        )
    https = bool(settings.certificate or settings.edge_domain)
    if not https:
        notes.append(
            "load balancer: HTTP only, because there is neither a domain (edge.domain) nor a certificate "
            "(kubernetes.certificate_id) in the profile"
        )
    held = dict(settings.vswitches)
    absent = [zone for zone in settings.zones if zone not in held]
    if len(settings.zones) < 2:
        missing.append(
            f"a second zone: a load balancer wants two, the sale has {len(settings.zones)}"
        )
    if absent:
        missing.append(
            f"the vSwitches of {', '.join(absent)}: run `saleops provision network` first, or name them in the profile "
            "(kubernetes.vswitches)"
        )
    groups = ingress.servers(sized, made)
    if groups > ingress.SERVERS_MAX:
        notes.append(
            f"load balancer: {groups:,} servers at the most, its quota is {ingress.SERVERS_MAX:,}; ask for more before the sale"
        )
    vswitches = tuple((zone, held.get(zone, f"vsw-of-{zone}")) for zone in settings.zones)
    balancer = Balancer(
        name=f"alb-{settings.sale}",
        host=settings.edge_domain,
        https=https,
        certificate=settings.certificate,
        vswitches=vswitches,
        trusted=settings.edge_cidrs,
        log_project=settings.log_project,
        log_store=f"alb_{settings.sale.replace('-', '_')}" if settings.log_project else "",
        routes=made,
        backends=tuple(one.service for one in made),
        complete=not missing,
    )
    return balancer, tuple(missing)


__all__ = ["Manifests", "Route", "Settings", "Toleration", "plan_manifests"]
