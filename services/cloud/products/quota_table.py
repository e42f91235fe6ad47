"""The quotas that the local cloud counts: what each limits, how much is there, and how much of it is used now.

``setting`` is the name that products enforce the quota by (``world.settings["quotas"]``). A quota can also be overruled there
by its own action code. Only ``q_cbdch3`` (clusters) is the vendor's own code; the others are ours, because the vendor
publishes its codes through this API alone: look a quota up by ``ListProductQuotas``, and by its name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from saleops.services.cloud import catalogue
from saleops.services.cloud.products.cs_calls import CLUSTER, NODE, NODEPOOL
from saleops.services.cloud.products.cs_calls import QUOTAS as CLUSTER_QUOTAS
from saleops.services.cloud.products.dcdn_caches import QUOTAS as EDGE_QUOTAS
from saleops.services.cloud.products.dcdn_caches import RATES, preload_used
from saleops.services.cloud.products.dcdn_domains import DOMAINS_MOST
from saleops.services.cloud.products.dcdn_domains import KIND as DOMAIN
from saleops.services.cloud.products.r_kvstore import INSTANCES_MOST as TAIRS_MOST
from saleops.services.cloud.products.r_kvstore import KIND as TAIR
from saleops.services.cloud.products.rocketmq_instances import INSTANCES_MOST as QUEUES_MOST
from saleops.services.cloud.products.rocketmq_instances import KIND as QUEUE
from saleops.services.cloud.world import World

Dimensions = dict[str, str]
Usage = Callable[[World, Dimensions], int]


@dataclass(frozen=True, slots=True)
class Quota:
    """``dimensions`` are the keys that tell one count from another; ``most`` is what an application can reach."""

    product: str
    code: str
    name: str
    unit: str
    setting: str
    default: int
    usage: Usage
    most: int
    dimensions: tuple[str, ...] = ("regionId",)
    adjustable: bool = True
    consumable: bool = True
    category: str = "CommonQuota"
    period: tuple[int, str] | None = None  # what a rate counts over: (1, "second")


def _none(world: World, dimensions: Dimensions) -> int:
    return 0


def _in_region(kind: str) -> Usage:
    """How many there are in the region; things without a region count everywhere."""

    def count(world: World, dimensions: Dimensions) -> int:
        region = dimensions.get("regionId", "")
        return sum(
            1
            for thing in world.each(kind)
            if region in (_region(thing.data), "") or not _region(thing.data)
        )

    return count


def _region(data: dict[str, object]) -> str:
    return str(data.get("RegionId") or data.get("regionId") or data.get("region_id") or "")


def _fullest(kind: str, holder: str, dimension: str) -> Usage:
    """How many the fullest holder has, or the one that the dimension names."""

    def count(world: World, dimensions: Dimensions) -> int:
        counts: dict[str, int] = {}
        for thing in world.each(kind):
            owner = str(thing.data.get(holder, ""))
            counts[owner] = counts.get(owner, 0) + 1
        wanted = dimensions.get(dimension)
        return counts.get(wanted, 0) if wanted else max(counts.values(), default=0)

    return count


def _vcpus(*, spot: bool) -> Usage:
    return lambda world, dimensions: catalogue.vcpus_in_use(
        world, dimensions["regionId"], spot=spot
    )


def _preloads(world: World, dimensions: Dimensions) -> int:
    return preload_used(world)


def _sold(
    product: str,
    code: str,
    name: str,
    unit: str,
    setting: str,
    usage: Usage,
    *,
    most: int,
    dimensions: tuple[str, ...] = ("regionId",),
) -> Quota:
    """A quota whose default the catalogue knows."""
    return Quota(
        product, code, name, unit, setting, catalogue.QUOTAS[setting], usage, most, dimensions
    )


def _cluster(
    code: str,
    name: str,
    unit: str,
    setting: str,
    usage: Usage,
    *,
    most: int,
    dimensions: tuple[str, ...] = (),
) -> Quota:
    return Quota("csk", code, name, unit, setting, CLUSTER_QUOTAS[setting], usage, most, dimensions)


QUOTA_TABLE: tuple[Quota, ...] = (
    _sold(
        "ecs-spec",
        "q_vcpu-postpaid",
        "vCPUs of pay-as-you-go instances",
        "vCPU",
        "ecs.postpaid_vcpu",
        _vcpus(spot=False),
        most=100_000,
    ),
    _sold(
        "ecs-spec",
        "q_vcpu-spot",
        "vCPUs of spot instances",
        "vCPU",
        "ecs.spot_vcpu",
        _vcpus(spot=True),
        most=100_000,
    ),
    _sold(
        "ecs",
        "q_security-groups",
        "Security groups",
        "groups",
        "ecs.security_groups",
        _in_region("security_group"),
        most=1_000,
    ),
    _sold("vpc", "q_vpcs", "VPCs", "VPCs", "vpc.vpcs", _in_region("vpc"), most=100),
    _sold(
        "vpc",
        "q_vswitches-per-vpc",
        "vSwitches of a VPC",
        "vSwitches",
        "vpc.vswitches_per_vpc",
        _fullest("vswitch", "VpcId", "vpcId"),
        most=1_000,
    ),
    _sold(
        "vpc",
        "q_nat-gateways-per-vpc",
        "NAT gateways of a VPC",
        "gateways",
        "vpc.nat_gateways_per_vpc",
        _fullest("nat_gateway", "VpcId", "vpcId"),
        most=20,
    ),
    _sold(
        "vpc",
        "q_snat-entries-per-table",
        "SNAT entries of a table",
        "entries",
        "vpc.snat_entries_per_table",
        _fullest("snat_entry", "SnatTableId", "snatTableId"),
        most=200,
    ),
    _sold("eip", "q_eips", "Elastic IP addresses", "EIPs", "vpc.eips", _in_region("eip"), most=500),
    _sold(
        "alb",
        "q_load-balancers",
        "Load balancers",
        "load balancers",
        "alb.load_balancers",
        _in_region("load_balancer"),
        most=500,
    ),
    _sold(
        "alb",
        "q_servers-per-load-balancer",
        "Backend servers of a load balancer",
        "servers",
        "alb.servers_per_load_balancer",
        _none,
        most=4_000,
    ),
    _sold(
        "alb",
        "q_reserved-lcu",
        "LCUs that can be reserved",
        "LCU",
        "alb.reserved_lcu",
        _none,
        most=20_000,
    ),
    _cluster("q_cbdch3", "Clusters", "clusters", "cs.clusters", _in_region(CLUSTER), most=500),
    _cluster(
        "q_managed-clusters",
        "Managed clusters",
        "clusters",
        "cs.managed_clusters",
        _in_region(CLUSTER),
        most=200,
    ),
    _cluster(
        "q_node-pools-per-cluster",
        "Node pools of a cluster",
        "node pools",
        "cs.nodepools_per_cluster",
        _fullest(NODEPOOL, "cluster_id", "clusterId"),
        most=100,
    ),
    _cluster(
        "q_nodes-per-cluster",
        "Nodes of a cluster",
        "nodes",
        "cs.nodes_per_cluster",
        _fullest(NODE, "cluster_id", "clusterId"),
        most=5_000,
    ),
    Quota(
        "csk",
        "q_nodes-per-batch",
        "Nodes that instant elasticity adds to a pool at once",
        "nodes",
        "cs.nodes_per_batch",
        180,
        _none,
        180,
        (),
        adjustable=False,
        consumable=False,
    ),
    Quota(
        "kvstore",
        "q_tair-instances",
        "Tair instances",
        "instances",
        "tair.instances",
        TAIRS_MOST,
        _in_region(TAIR),
        1_000,
    ),
    Quota(
        "rocketmq",
        "q_rocketmq-instances",
        "RocketMQ instances",
        "instances",
        "rocketmq.instances",
        QUEUES_MOST,
        _in_region(QUEUE),
        500,
    ),
    Quota(
        "dcdn",
        "q_dcdn-domains",
        "Accelerated domains",
        "domains",
        "dcdn.domains",
        DOMAINS_MOST,
        _in_region(DOMAIN),
        500,
        (),
    ),
    Quota(
        "dcdn",
        "q_dcdn-preload-urls",
        "URLs preloaded in a day",
        "URLs",
        "dcdn.preload_urls",
        EDGE_QUOTAS["dcdn.preload_urls"],
        _preloads,
        50_000,
        (),
        period=(1, "day"),
    ),
    Quota(
        "dcdn",
        "q_dcdn-preload-calls",
        "PreloadDcdnObjectCaches calls",
        "calls",
        "dcdn.preload_calls",
        RATES["preload"],
        _none,
        RATES["preload"],
        (),
        adjustable=False,
        consumable=False,
        category="FlowControl",
        period=(1, "second"),
    ),
    Quota(
        "dcdn",
        "q_dcdn-refresh-calls",
        "RefreshDcdnObjectCaches calls",
        "calls",
        "dcdn.refresh_calls",
        RATES["refresh"],
        _none,
        RATES["refresh"],
        (),
        adjustable=False,
        consumable=False,
        category="FlowControl",
        period=(1, "second"),
    ),
)


def limit_of(world: World, quota: Quota) -> int:
    """What holds now: a setting under the quota's own code or under the name that products use, else the default."""
    chosen = world.settings.get("quotas", {})
    return int(chosen.get(quota.setting, chosen.get(quota.code, quota.default)))
