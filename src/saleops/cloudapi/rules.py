"""Rules between fields that the services document, and no table of single fields can say.

A rule looks at a request that may be wrong in every other way too: it reads fields through `Given`, where a value of the
wrong type counts as left out (its own problem is named already), and yields what it finds.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from saleops.cloudapi.given import Given
from saleops.cloudapi.model import Api
from saleops.cloudapi.problem import Problem
from saleops.cloudapi.rules_ack import create_cluster, create_node_pool, modify_node_pool
from saleops.cloudapi.rules_data import (
    create_consumer_group,
    create_polardb,
    create_rocketmq,
    create_tair,
    performance_keys,
    temp_modify_node,
)
from saleops.cloudapi.rules_edge import preload, refresh, refresh_task_ids
from saleops.cloudapi.rules_network import (
    allocate_eip,
    create_nat,
    create_snat,
    create_vpc,
    create_vswitch,
)

Rule = Callable[[Given], Iterator[Problem]]

_RULES: Mapping[tuple[str, str], Rule] = {
    ("cs", "CreateCluster"): create_cluster,
    ("cs", "CreateClusterNodePool"): create_node_pool,
    ("cs", "ModifyClusterNodePool"): modify_node_pool,
    ("vpc", "CreateVpc"): create_vpc,
    ("vpc", "CreateVSwitch"): create_vswitch,
    ("vpc", "CreateNatGateway"): create_nat,
    ("vpc", "AllocateEipAddress"): allocate_eip,
    ("vpc", "CreateSnatEntry"): create_snat,
    ("polardb", "CreateDBCluster"): create_polardb,
    ("polardb", "TempModifyDBNode"): temp_modify_node,
    ("polardb", "DescribeDBClusterPerformance"): performance_keys,
    ("r-kvstore", "CreateTairInstance"): create_tair,
    ("rocketmq", "CreateInstance"): create_rocketmq,
    ("rocketmq", "CreateConsumerGroup"): create_consumer_group,
    ("dcdn", "PreloadDcdnObjectCaches"): preload,
    ("dcdn", "RefreshDcdnObjectCaches"): refresh,
    ("dcdn", "DescribeDcdnRefreshTaskById"): refresh_task_ids,
}


def broken_rules(api: Api, *, params: Mapping[str, Any], body: Any) -> Iterator[Problem]:
    """What the rules of ``api`` find in typed parameters or in the body, whichever holds its fields."""
    rule = _RULES.get((api.product.code, api.name))
    holder = params if api.product.style == "RPC" else body
    if rule is not None and (holder is None or isinstance(holder, Mapping)):
        yield from rule(Given(holder))
