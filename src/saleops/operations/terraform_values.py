"""The values of the Terraform module's variables (terraform.tfvars.json), from the same blueprint that the API path builds.

Names, addresses, sizes and tags are read off the resources of the blueprint, so that what Terraform makes is found by
``saleops provision`` and the other way round. No secret is among them: the database's password is a variable without a value.
"""

from typing import Any, TypeVar

from saleops.domain.cloud import database, database_access, network
from saleops.domain.cloud.allowances import Callers
from saleops.domain.cloud.cache import Cache, CacheAllowance
from saleops.domain.cloud.queue import ATTEMPTS_MAX, ConsumerGroup, Queue, Topic
from saleops.domain.cloud.resources import SALE_TAG
from saleops.domain.cloud.security import SecurityGroup
from saleops.operations.provision.blueprint import Blueprint

PARTS = ("network", "database", "cache", "queue")
"""What the module can build; the cluster, its nodes and the edge stay with ``saleops provision``."""

R = TypeVar("R")


def terraform_values(plan: Blueprint, *, sale: str, parts: tuple[str, ...]) -> dict[str, Any]:
    """The variables of templates/terraform/sale for ``plan``, of which ``parts`` are built."""
    return {
        "region": plan.region,
        "parts": list(parts),
        "tags": {SALE_TAG: sale},
        **_network(plan, sale),
        "database": _database(plan),
        "cache": _cache(plan),
        "queue": _queue(plan, sale),
    }


def _all(plan: Blueprint, kind: type[R]) -> list[R]:
    return [one for one in plan.resources if isinstance(one, kind)]


def _one(plan: Blueprint, kind: type[R]) -> R:
    (one,) = _all(plan, kind)
    return one


def _network(plan: Blueprint, sale: str) -> dict[str, Any]:
    vpc, nat, eip = (
        _one(plan, network.Vpc),
        _one(plan, network.NatGateway),
        _one(plan, network.Eip),
    )
    ways_out = {one.vswitch: one.name for one in _all(plan, network.SnatEntry)}

    def switches(key_of: Any) -> dict[str, Any]:
        return {
            one.zone: {"name": one.name, "cidr": one.cidr, "snat_name": ways_out[one.key]}
            for one in _all(plan, network.VSwitch)
            if one.key == key_of(one.zone)
        }

    return {
        "vpc": {"name": vpc.name, "cidr": vpc.cidr},
        "node_vswitches": switches(network.node_vswitch),
        "pod_vswitches": switches(network.pod_vswitch),
        "egress": {
            "nat_name": nat.name,
            "nat_zone": nat.zone,
            "eip_name": eip.name,
            "bandwidth_mbps": eip.bandwidth_mbps,
            "charge": eip.charge,
        },
        "security_group": {
            "name": _one(plan, SecurityGroup).name,
            "description": f"Nodes and pods of the sale {sale}",
            "from_cidr": vpc.cidr,
            "rule_description": f"within the VPC of {sale}",
        },
    }


def _allowed(plan: Blueprint, callers: Callers) -> list[str]:
    blocks = {one.key: one.cidr for one in _all(plan, network.VSwitch)}
    return sorted(callers.wanted(lambda key, output="id": blocks[key]))


def _database(plan: Blueprint) -> dict[str, Any]:
    cluster, allowed = _one(plan, database.Database), _one(plan, database_access.DatabaseAllowance)
    endpoint = _one(plan, database.Endpoint)
    wishes = cluster.wishes
    return {
        "name": cluster.name,
        "node_class": wishes.node_class,
        "nodes": wishes.nodes,
        "version": wishes.version,
        "proxy_type": wishes.proxy,
        "zone": wishes.zone,
        "deletion_protection": bool(_all(plan, database.DeletionLock)),
        "allow_name": allowed.list_name,
        "allow": _allowed(plan, allowed.callers),
        "endpoint_name": endpoint.name,
        "consistency": endpoint.consistency,
        "account": _one(plan, database_access.Account).account,
        "schema": _one(plan, database_access.Schema).database,
    }


def _cache(plan: Blueprint) -> dict[str, Any]:
    cache, allowed = _one(plan, Cache), _one(plan, CacheAllowance)
    wishes = cache.wishes
    return {
        "name": cache.name,
        "instance_class": wishes.instance_class,
        "shards": wishes.shards,
        "version": wishes.version,
        "zone": wishes.zone,
        "secondary_zone": wishes.secondary_zone,
        "allow_name": allowed.list_name,
        "allow": _allowed(plan, allowed.callers),
    }


def _queue(plan: Blueprint, sale: str) -> dict[str, Any]:
    queue = _one(plan, Queue)
    wishes = queue.wishes
    return {
        "name": queue.name,
        "series": wishes.series,
        "sub_series": wishes.sub_series,
        "spec": wishes.spec,
        "retention_h": wishes.retention_h,
        "zones": list(wishes.zones),
        "topics": {one.name: one.type.value for one in _all(plan, Topic)},
        "groups": {one.name: one.dead_letters for one in _all(plan, ConsumerGroup)},
        "attempts": ATTEMPTS_MAX,
        "remark": f"sale {sale}",
    }
