"""What a sale's cloud consists of, from its sale file and a profile: resources in the order they are made.

Nothing is sent here. The order is one in which everything comes after what it needs, so making goes from the first to the
last and removing from the last to the first.
"""

from __future__ import annotations  # the files' types are named, not loaded

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saleops.domain import capacity as sizes
from saleops.domain.capacity import Capacity, plan_capacity
from saleops.domain.cloud import database, database_access, network
from saleops.domain.cloud.addresses import Addresses, carve
from saleops.domain.cloud.allowances import Callers
from saleops.domain.cloud.cache import Cache, CacheAllowance, CacheWishes
from saleops.domain.cloud.cluster import Cluster, ClusterWishes
from saleops.domain.cloud.edge import EdgeDomain, EdgeRules, EdgeTraffic, EdgeWishes
from saleops.domain.cloud.nodepools import Disk, Login, NodePool, Pool, Spot
from saleops.domain.cloud.ours import Scope
from saleops.domain.cloud.queue import ConsumerGroup, Queue, QueueWishes, Topic
from saleops.domain.cloud.resources import Resource
from saleops.domain.cloud.security import SecurityGroup, SecurityRules
from saleops.domain.topics import managed_groups, managed_topics
from saleops.errors import ConfigError

if TYPE_CHECKING:
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale

DEFAULT_TYPES = ("ecs.c7.xlarge", "ecs.g7.xlarge", "ecs.c8i.xlarge")
"""Where neither file names instance types: three families, so that one that is sold out does not stop the sale."""

PAGES_LIVE_S = 3_600.0
"""The least that a page lives at the edge where the profile does not say."""

CONNECTIONS = {"polar.mysql.x4.large": 8_000}
"""Connections that one node of a class takes, where that is known (reference 4.5)."""


RESERVED = {
    *("root", "admin", "aurora", "replicator", "mysql", "test"),
    *("information_schema", "performance_schema", "sys"),
}
"""Names that PolarDB keeps to itself."""


@dataclass(frozen=True)
class Blueprint:
    """``capacity`` says how the sizes came about; ``notes`` what was left out and what its owner should know."""

    region: str
    resources: tuple[Resource, ...]
    capacity: Capacity
    addresses: Addresses
    notes: tuple[str, ...]

    def of(self, *groups: str) -> tuple[Resource, ...]:
        """The resources of ``groups``, in order; all of them for none."""
        return tuple(one for one in self.resources if not groups or one.group in groups)


def check_names(sale: Sale, profile: Profile) -> None:
    """Raises ConfigError, naming file and field, for names that the cloud would refuse in the middle of a run."""
    wrong = []
    if not sale.name[0].isalpha():
        wrong.append(
            f"sale file: name: {sale.name!r} begins with a digit; names of security groups, NAT gateways and Tair instances "
            "begin with it, and they want a letter first"
        )
    for field, name in (
        ("database.name", profile.database.name),
        ("database.account", profile.database.account),
    ):
        if name in RESERVED:
            wrong.append(f"profile: {field}: {name!r} is a name that PolarDB reserves")
    if wrong:
        raise ConfigError(
            "\n".join([*wrong, "nothing was changed"]), hint="Choose another name there."
        )


def region_of(sale: Sale, profile: Profile) -> str:
    return profile.region or sale.region


def zones_of(sale: Sale, profile: Profile) -> tuple[str, ...]:
    """The zones to build in. Raises ConfigError where neither file names zones of the region."""
    region = region_of(sale, profile)
    zones = profile.zones or tuple(zone for zone in sale.zones if zone.startswith(region))
    if not zones:
        raise ConfigError(
            f"no zones of {region} are named: neither the sale file nor the profile has `zones`",
            hint=f"Add `zones: [{region}a, {region}b, {region}c]` to the sale file.",
        )
    if len(zones) > 8:
        raise ConfigError(
            f"{len(zones)} zones are named; a node pool takes 8 at the most",
            hint="Name fewer zones in the sale file, or `zones` in the profile.",
        )
    return zones


def page_ttl_of(sale: Sale, profile: Profile) -> float:
    """How many seconds a page lives at the edge. A preload takes up to half an hour, so that a page which lives as short as in
    the shop's own cache would be gone before the last one is there. Pages show no stock."""
    return profile.edge.page_ttl_s or max(sale.cache.ttl_s, PAGES_LIVE_S)


def types_of(sale: Sale, profile: Profile) -> tuple[str, ...]:
    """The instance types to buy, the preferred first."""
    return tuple(
        dict.fromkeys(profile.nodes.instance_types or sale.nodes.instance_types or DEFAULT_TYPES)
    )


def capacity_of(sale: Sale, profile: Profile) -> Capacity:
    """How big the cluster has to be. Raises ConfigError where a pod fits no node or a type says nothing."""
    named = {
        name: sizes.Service(
            name,
            0.0,
            size.rps_per_pod or 0.0,
            sizes.cpu_m(size.cpu),
            sizes.memory_mib(size.memory),
            size.connections_per_pod,
        )
        for name, size in sale.services.items()
    }
    traffic = sale.traffic
    try:
        return plan_capacity(
            sizes.services_of(
                traffic.peak_rps, traffic.peak_orders_per_s, traffic.page_views_per_order, named
            ),
            zones=len(zones_of(sale, profile)),
            node_types=[sizes.instance_type(one) for one in types_of(sale, profile)],
            core_share=profile.nodes.core_share,
            connections_limit=sale.limits.database_connections,
        )
    except ValueError as error:
        raise ConfigError(
            f"the cluster cannot be sized: {error}; nothing was changed",
            hint="Name larger instance types in the profile (nodes.instance_types), or smaller pods in the sale file (services).",
        ) from error


def addresses_of(sale: Sale, profile: Profile, capacity: Capacity) -> Addresses:
    """The address plan. Raises ConfigError where the VPC is too small for it."""
    try:
        return carve(
            profile.network.vpc_cidr,
            profile.network.service_cidr,
            zones_of(sale, profile),
            node_addresses=capacity.node_addresses,
            pod_addresses=capacity.pod_addresses,
        )
    except ValueError as error:
        raise ConfigError(
            f"the network cannot be laid out: {error}; nothing was changed",
            hint="Change `network.vpc_cidr` in the profile.",
        ) from error


def blueprint(
    sale: Sale,
    profile: Profile,
    *,
    password: Callable[[], str],
    node_password: str = "",
    list_prices: Mapping[str, float] | None = None,
) -> Blueprint:
    """All resources of ``sale``. ``password`` gives the database account's password when it is made, ``node_password`` is the
    login to nodes where the profile has no key pair; ``list_prices`` are prices per hour by instance type, for
    `nodes.max_share_of_list_price`. Raises ConfigError for what the two files do not agree on."""
    check_names(sale, profile)
    capacity = capacity_of(sale, profile)
    addresses = addresses_of(sale, profile, capacity)
    scope = Scope(sale.name, region_of(sale, profile))
    notes = list(capacity.notes)
    resources = [
        *_network(scope, profile, addresses),
        *_cluster(scope, profile, addresses),
        *_pools(scope, sale, profile, capacity, node_password, list_prices or {}, notes),
        *_database(scope, profile, addresses, password),
        *_cache(scope, profile, addresses),
        *_queue(scope, profile, addresses),
        *_edge(scope, sale, profile, notes),
    ]
    if share := capacity.connections_limit:
        room = CONNECTIONS.get(profile.database.node_class)
        if room is not None and share > room:
            notes.append(
                f"limits.database_connections: {share:,}; the primary, a {profile.database.node_class}, takes {room:,}"
            )
    return Blueprint(scope.region, tuple(resources), capacity, addresses, tuple(notes))


def _network(scope: Scope, profile: Profile, addresses: Addresses) -> list[Resource]:
    switches = [
        network.VSwitch(scope, one.zone, cidr, pods=pods)
        for pods in (False, True)
        for one in addresses.zones
        for cidr in ((one.pod_cidr if pods else one.node_cidr),)
    ]
    return [
        network.Vpc(scope, addresses.vpc_cidr),
        *switches,
        SecurityGroup(scope),
        SecurityRules(scope),
        network.Eip(
            scope,
            bandwidth_mbps=profile.network.eip_bandwidth_mbps,
            charge=profile.network.eip_charge,
        ),
        network.NatGateway(scope, addresses.zones[0].zone),
        network.EipLink(scope),
        *(network.SnatEntry(scope, switch.key) for switch in switches),
    ]


def _vswitches(addresses: Addresses) -> list[str]:
    """Where nodes and pods call from."""
    return [
        key_of(one.zone)
        for key_of in (network.node_vswitch, network.pod_vswitch)
        for one in addresses.zones
    ]


def _cluster(scope: Scope, profile: Profile, addresses: Addresses) -> list[Resource]:
    wishes = ClusterWishes(
        spec=profile.cluster.spec,
        service_cidr=addresses.service_cidr,
        version=profile.cluster.version,
        deletion_protection=profile.cluster.deletion_protection,
        public_endpoint=profile.cluster.public_endpoint,
        log_days=profile.cluster.log_days,
        timezone=profile.cluster.timezone,
        addons=profile.cluster.addons,
    )
    return [Cluster(scope, [one.zone for one in addresses.zones], wishes)]


def _pools(
    scope: Scope,
    sale: Sale,
    profile: Profile,
    capacity: Capacity,
    node_password: str,
    list_prices: Mapping[str, float],
    notes: list[str],
) -> list[Resource]:
    login = Login(profile.cluster.key_pair, "" if profile.cluster.key_pair else node_password)
    if not login.key_pair and not login.password:
        notes.append(
            "node pools: left out, because nodes need a login; name `cluster.key_pair` in the profile, or set "
            "SALEOPS_NODE_PASSWORD"
        )
        return []
    types = types_of(sale, profile)
    if len(types) > 10:
        notes.append(f"instance types: a node pool takes 10, {len(types) - 10} were left out")
        types = types[:10]
    share = (
        profile.nodes.spot_share if profile.nodes.spot_share is not None else sale.nodes.spot_share
    )
    limits = _price_limits(profile, types, list_prices)
    if share > 0 and (missing := [one for one in types if one not in limits]):
        notes.append(
            f"spot prices: no limit for {', '.join(missing)} (nodes.price_limits in the profile), so spot nodes are "
            "bought at the market's price, at most the on-demand price"
        )
    if share > 0 and len(types) == 1:
        notes.append(
            f"spot: {types[0]} is the only instance type; when it is sold out there are no spot nodes"
        )
    disk = Disk(
        profile.nodes.disk.category,
        profile.nodes.disk.size_gib,
        profile.nodes.disk.performance_level,
    )
    zones = zones_of(sale, profile)
    labels = dict(profile.nodes.labels)
    burst_taints = tuple((one.key, one.value, one.effect) for one in profile.nodes.taints)
    core = Pool("core", capacity.core_nodes, types, Spot(0.0), disk, login, labels)
    pools = [NodePool(scope, zones, core)]
    if capacity.burst_nodes:
        spot = Spot(share, min(profile.nodes.on_demand_base, capacity.burst_nodes), limits)
        burst = Pool("burst", capacity.burst_nodes, types, spot, disk, login, labels, burst_taints)
        pools.append(NodePool(scope, zones, burst))
    return [*pools]


def _price_limits(
    profile: Profile, types: Sequence[str], list_prices: Mapping[str, float]
) -> dict[str, str]:
    """The most to pay by type, as text with three decimals, which is all the service takes."""
    share = profile.nodes.max_share_of_list_price
    limits: dict[str, str] = {}
    for one in types:
        limit = profile.nodes.price_limits.get(one)
        if limit is None and share is not None and one in list_prices:
            limit = list_prices[one] * share
        if limit is not None:
            limits[one] = f"{limit:.3f}"
    return limits


def _database(
    scope: Scope, profile: Profile, addresses: Addresses, password: Callable[[], str]
) -> list[Resource]:
    wanted = profile.database
    wishes = database.DatabaseWishes(
        node_class=wanted.node_class,
        nodes=1 + wanted.read_nodes,
        version=wanted.version,
        zone=addresses.zones[0].zone,
    )
    resources: list[Resource] = [
        database.Database(scope, wishes),
        database_access.DatabaseAllowance(scope, Callers(scope, _vswitches(addresses))),
        database.Endpoint(scope, wanted.consistency),
        database_access.Account(scope, wanted.account, password),
        database_access.Schema(scope, wanted.name, wanted.account),
    ]
    if wanted.deletion_protection:
        resources.append(database.DeletionLock(scope))
    return resources


def _cache(scope: Scope, profile: Profile, addresses: Addresses) -> list[Resource]:
    zones = [one.zone for one in addresses.zones]
    wishes = CacheWishes(
        instance_class=profile.cache.instance_class,
        shards=profile.cache.shards,
        version=profile.cache.version,
        zone=zones[0],
        secondary_zone=zones[1] if len(zones) > 1 else "",
    )
    return [
        Cache(scope, wishes),
        CacheAllowance(scope, Callers(scope, _vswitches(addresses), profile.cache.allow)),
    ]


def _queue(scope: Scope, profile: Profile, addresses: Addresses) -> list[Resource]:
    wishes = QueueWishes(
        series=profile.queue.series,
        sub_series=profile.queue.sub_series,
        spec=profile.queue.spec,
        retention_h=profile.queue.retention_h,
        zones=tuple(one.zone for one in addresses.zones[:2]),
    )
    return [
        Queue(scope, wishes),
        *(Topic(scope, name, type) for name, type in managed_topics(scope.sale).items()),
        *(ConsumerGroup(scope, name, dead) for name, dead in managed_groups(scope.sale).items()),
    ]


def _edge(scope: Scope, sale: Sale, profile: Profile, notes: list[str]) -> list[Resource]:
    wanted = profile.edge
    if not wanted.domain or not wanted.origin:
        missing = " and ".join(
            f"`edge.{name}`" for name in ("domain", "origin") if not getattr(wanted, name)
        )
        notes.append(f"edge: left out, because the profile does not name {missing}")
        return []
    wishes = EdgeWishes(
        domain=wanted.domain,
        origin=wanted.origin,
        origin_port=wanted.origin_port,
        scope=wanted.scope or ("domestic" if scope.region.startswith("cn-") else "overseas"),
        static_types=wanted.static_types,
        static_ttl_s=round(wanted.static_ttl_s),
        page_paths=wanted.page_paths,
        page_ttl_s=round(page_ttl_of(sale, profile)),
        never_cache_paths=wanted.never_cache_paths,
    )
    return [EdgeDomain(scope, wishes), EdgeTraffic(scope, wishes.domain), EdgeRules(scope, wishes)]
