"""Serverless settings: the clusters made here have fixed classes, so these calls are refused as the provider refuses them."""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.products.polardb_calls import cluster_of
from saleops.services.cloud.world import World


@answers("polardb", "DescribeDBClusterServerlessConf")
def describe_db_cluster_serverless_conf(call: LocalCall, world: World) -> dict[str, Any]:
    raise _not_serverless(call, world)


@answers("polardb", "ModifyDBClusterServerlessConf")
def modify_db_cluster_serverless_conf(call: LocalCall, world: World) -> dict[str, Any]:
    raise _not_serverless(call, world)


def _not_serverless(call: LocalCall, world: World) -> ApiError:
    id = cluster_of(call, world).id
    return ApiError(
        403,
        "OperationDenied.ServerlessType",
        f"DBClusterId {id!r} is not serverless: its nodes have fixed classes",
    )
