"""The RAM policy that a user of ``saleops provision`` needs, and no more: an action for each API that the resources call.

The table says which APIs each kind of resource uses; a test holds it to the resources' own code. An action is the product's RAM
code and the API's name; the few that differ are listed. Resources are narrowed to region and account only where the vendor's
pages name the resource of that very action: an action that knows no resources is refused under a policy that names some.

Sources, read 2026-11: the vendor's "RAM authorization" pages of vpc, ecs, polardb, kvstore (Tair), rocketmq 5.x, dcdn, quotas
and bssopenapi, and ACK's table of APIs and RAM actions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from saleops.domain.cloud.resources import Resource

USES: Mapping[str, tuple[str, ...]] = {
    "VPC": ("vpc CreateVpc DeleteVpc DescribeVpcs",),
    "vSwitch": ("vpc CreateVSwitch DeleteVSwitch DescribeVSwitches",),
    "NAT gateway": ("vpc CreateNatGateway DeleteNatGateway DescribeNatGateways",),
    "EIP": (
        "vpc AllocateEipAddress DescribeEipAddresses ModifyEipAddressAttribute ReleaseEipAddress",
    ),
    "EIP at the NAT gateway": (
        "vpc AssociateEipAddress DescribeEipAddresses UnassociateEipAddress",
    ),
    "SNAT entry": ("vpc CreateSnatEntry DeleteSnatEntry DescribeSnatTableEntries",),
    "security group": ("ecs CreateSecurityGroup DeleteSecurityGroup DescribeSecurityGroups",),
    "security rules": (
        "ecs AuthorizeSecurityGroup DescribeSecurityGroupAttribute RevokeSecurityGroup",
    ),
    "ACK cluster": (
        "cs CreateCluster DeleteCluster DescribeClusterDetail DescribeClustersV1 ModifyCluster",
    ),
    "node pool": (
        "cs CreateClusterNodePool DeleteClusterNodepool DescribeClusterNodePools ModifyClusterNodePool",
    ),
    "PolarDB cluster": (
        "polardb CreateDBCluster CreateDBNodes DeleteDBCluster DeleteDBNodes DescribeDBClusters"
        " ModifyDBClusterDeletion ModifyDBNodeClass",
    ),
    "PolarDB deletion lock": ("polardb DescribeDBClusterAttribute ModifyDBClusterDeletion",),
    "PolarDB endpoint": (
        "polardb CreateDBClusterEndpoint DeleteDBClusterEndpoint DescribeDBClusterEndpoints"
        " ModifyDBClusterEndpoint",
    ),
    "PolarDB whitelist": (
        "polardb DescribeDBClusterAccessWhitelist ModifyDBClusterAccessWhitelist",
    ),
    "PolarDB account": ("polardb CreateAccount DescribeAccounts",),
    "database": ("polardb CreateDatabase DescribeAccounts",),
    "Tair instance": (
        "r-kvstore CreateTairInstance DeleteInstance DescribeInstances ModifyInstanceSpec",
    ),
    "Tair whitelist": ("r-kvstore DescribeSecurityIps ModifySecurityIps",),
    "RocketMQ instance": (
        "rocketmq CreateInstance DeleteInstance GetInstance ListInstances UpdateInstance",
    ),
    "topic": ("rocketmq CreateTopic DeleteTopic GetTopic",),
    "consumer group": (
        "rocketmq CreateConsumerGroup DeleteConsumerGroup GetConsumerGroup UpdateConsumerGroup",
    ),
    "DCDN domain": (
        "dcdn AddDcdnDomain DeleteDcdnDomain DescribeDcdnDomainDetail DescribeDcdnTagResources",
    ),
    "DCDN traffic": ("dcdn DescribeDcdnDomainDetail StartDcdnDomain StopDcdnDomain",),
    "DCDN rules": ("dcdn BatchSetDcdnDomainConfigs DescribeDcdnDomainConfigs",),
}
"""Kind of resource -> its product and the APIs it calls."""

PREFLIGHT: Mapping[str, tuple[str, ...]] = {
    "preflight": (
        "quotas ListProductQuotas",
        "vpc ListEnhanhcedNatGatewayAvailableZones",
        "ecs DescribeAccountAttributes DescribeAvailableResource DescribeSecurityGroups DescribeSpotAdvice"
        " DescribeSpotPriceHistory",
        "cs CheckServiceRole DescribeClustersV1 DescribeKubernetesVersionMetadata DescribeUserQuota ListAddons",
        "polardb DescribeClassList DescribeDBClusterAvailableResources",
        "r-kvstore DescribeAvailableResource",
        "bssopenapi QueryAccountBalance",
    ),
}
EDGE: Mapping[str, tuple[str, ...]] = {
    "prewarm edge": (
        "dcdn DescribeDcdnRefreshQuota DescribeDcdnRefreshTaskById PreloadDcdnObjectCaches"
        " RefreshDcdnObjectCaches",
    ),
}

_RAM_CODES = {"r-kvstore": "kvstore", "bssopenapi": "bss"}
_ACTIONS = {
    ("cs", "DescribeClustersV1"): ("cs:DescribeClustersV1", "cs:GetClusters"),
    # Three c: the vendor's own spelling.
    ("bssopenapi", "QueryAccountBalance"): ("bss:DescribeAcccount",),
}
"""Where the action is not the API's name."""

_CLUSTERS = "acs:cs:*:{account}:cluster/*"
_TAIR = "acs:kvstore:{region}:{account}:instance/*"
_DOMAINS = "acs:dcdn:*:{account}:domain/*"
_SCOPES = {
    **dict.fromkeys(
        (
            "cs:DeleteCluster",
            "cs:DescribeClusterDetail",
            "cs:ModifyCluster",
            "cs:CreateClusterNodePool",
            "cs:DeleteClusterNodepool",
            "cs:DescribeClusterNodePools",
            "cs:ModifyClusterNodePool",
        ),
        _CLUSTERS,
    ),
    **dict.fromkeys(
        ("kvstore:DeleteInstance", "kvstore:DescribeInstances", "kvstore:ModifySecurityIps"), _TAIR
    ),
    **dict.fromkeys(
        (
            "dcdn:DescribeDcdnDomainDetail",
            "dcdn:PreloadDcdnObjectCaches",
            "dcdn:RefreshDcdnObjectCaches",
        ),
        _DOMAINS,
    ),
    "polardb:CreateDBCluster": "acs:polardb:{region}:{account}:dbcluster/*",
}
"""What the vendor's pages name as the resource of an action. All others get "*"."""


@dataclass(frozen=True)
class RamPolicy:
    """``document`` is what RAM takes. ``unscoped`` are the actions allowed on everything."""

    document: dict[str, Any]
    actions_count: int
    unscoped: list[str]


def policy_of(
    resources: Iterable[Resource],
    *,
    region: str,
    account: str = "*",
    preflight: bool = True,
    edge: bool = True,
) -> RamPolicy:
    """The policy for ``resources`` in ``region``; with the calls of the preflight and, where there is an edge, of its prewarming.

    ``account`` is the number of the account that owns them; "*" is the account the policy is in.
    """
    resources = tuple(resources)
    kinds = {one.kind for one in resources}
    calls = apis_of_kinds(kinds)
    if preflight:
        calls |= _pairs(PREFLIGHT.values())
    if edge and any(one.group == "edge" for one in resources):
        calls |= _pairs(EDGE.values())
    calls.add(("sts", "GetCallerIdentity"))
    actions = sorted({action for call in calls for action in actions_of(*call)})
    by_resource: dict[str, list[str]] = {}
    for action in actions:
        scope = _SCOPES.get(action, "*").format(region=region, account=account)
        by_resource.setdefault(scope, []).append(action)
    statements = [
        {"Effect": "Allow", "Action": allowed, "Resource": scope}
        for scope, allowed in sorted(by_resource.items())
    ]
    return RamPolicy(
        document={"Version": "1", "Statement": statements},
        actions_count=len(actions),
        unscoped=by_resource.get("*", []),
    )


def apis_of_kinds(kinds: Iterable[str]) -> set[tuple[str, str]]:
    """(product, API) of everything that resources of ``kinds`` call. Raises ValueError for a kind nobody listed."""
    unknown = sorted(set(kinds) - set(USES))
    if unknown:
        raise ValueError(f"no APIs are listed for {', '.join(unknown)}")
    return _pairs(USES[kind] for kind in kinds)


def _pairs(listed: Iterable[tuple[str, ...]]) -> set[tuple[str, str]]:
    found = set()
    for lines in listed:
        for line in lines:
            product, *names = line.split()
            found |= {(product, name) for name in names}
    return found


def actions_of(product: str, api: str) -> tuple[str, ...]:
    """The RAM actions that allow ``api``."""
    return _ACTIONS.get((product, api)) or (f"{_RAM_CODES.get(product, product)}:{api}",)
