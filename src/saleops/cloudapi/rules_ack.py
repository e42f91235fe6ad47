"""Rules of ACK clusters and node pools (API reference and SDK models of CS 2015-12-15, read 2026-11-23)."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from saleops.cloudapi.given import Given
from saleops.cloudapi.problem import Problem, shown
from saleops.cloudapi.rules_network import overlapping, wrong_cidr

_WITHOUT_NETWORK_ADDON = {"Serverless", "Edge", "Lingjun", "Acs"}
"""Profiles that bring, or do without, a network of their own."""

_WORKER_FIELDS = (
    *("num_of_nodes", "worker_instance_types", "worker_vswitch_ids", "worker_data_disks"),
    *("worker_system_disk_category", "worker_system_disk_size"),
    *("worker_system_disk_performance_level", "worker_system_disk_snapshot_policy_id"),
    *("worker_instance_charge_type", "worker_period", "worker_period_unit", "worker_auto_renew"),
    *("worker_auto_renew_period", "key_pair", "login_password", "image_id", "image_type"),
    *("platform", "os_type", "user_data", "taints", "cpu_policy", "node_name_mode"),
)
"""Of the cluster's body; all deprecated in favour of nodepools[]."""


def create_cluster(cluster: Given) -> Iterator[Problem]:
    yield from _edition(cluster)
    kind, profile = cluster.text("cluster_type"), cluster.text("profile")
    if kind != "ExternalKubernetes":
        if profile not in _WITHOUT_NETWORK_ADDON:
            yield from _network_addon(cluster)
        yield from _placement(cluster)
    if kind != "Kubernetes":
        for name in _WORKER_FIELDS:
            if cluster.has(name):
                message = "is deprecated: nodes belong in nodepools[] or in CreateClusterNodePool"
                yield cluster.problem(name, "value", message)
    for name in ("container_cidr", "service_cidr"):
        if cluster.has(name) and (why := wrong_cidr(cluster.text(name), 8, 28)):
            yield cluster.problem(name, "value", why)
    if overlapping(cluster.text("container_cidr"), cluster.text("service_cidr")):
        yield cluster.problem("service_cidr", "value", "overlaps container_cidr")
    for pool in cluster.each("nodepools"):
        yield from create_node_pool(pool)


def _edition(cluster: Given) -> Iterator[Problem]:
    """Pro is asked for by the spec; people look for it in the profile."""
    if cluster.text("profile") == "Pro" and not cluster.text("cluster_spec").startswith("ack.pro."):
        message = (
            "Pro is no profile but a spec: ack.pro.small; left out it means ack.standard, Basic"
        )
        yield cluster.problem(
            "cluster_spec", "value" if cluster.has("cluster_spec") else "missing", message
        )


def _network_addon(cluster: Given) -> Iterator[Problem]:
    addons = {addon.text("name") for addon in cluster.each("addons")}
    terway = any(name.startswith("terway") for name in addons)
    flannel = "flannel" in addons
    if terway and flannel:
        yield cluster.problem("addons", "value", "terway and flannel exclude each other")
    elif not terway and not flannel:
        message = (
            "a network add-on is required: terway-eniip with pod_vswitch_ids, or flannel with"
            " container_cidr"
        )
        yield cluster.problem("addons", "missing", message)
    if terway and not cluster.has("pod_vswitch_ids"):
        yield cluster.problem(
            "pod_vswitch_ids", "missing", "terway takes pod addresses from these vSwitches"
        )
    if not terway and cluster.has("pod_vswitch_ids"):
        yield cluster.problem(
            "pod_vswitch_ids", "value", "belongs to terway, which addons does not ask for"
        )
    if flannel and not cluster.has("container_cidr"):
        yield cluster.problem("container_cidr", "missing", "flannel takes pod addresses from it")
    if not flannel:
        for name in ("container_cidr", "node_cidr_mask"):
            if cluster.has(name):
                message = "belongs to flannel, which addons does not ask for"
                yield cluster.problem(name, "value", message)


def _placement(cluster: Given) -> Iterator[Problem]:
    if not cluster.has("vswitch_ids"):
        if not cluster.has("zone_ids"):
            yield cluster.problem("vswitch_ids", "missing", "say where nodes and control plane go")
    elif not cluster.has("vpcid"):
        yield cluster.problem("vpcid", "missing", "the VPC of vswitch_ids")


def create_node_pool(pool: Given) -> Iterator[Problem]:
    if not pool.has("nodepool_info"):
        yield pool.problem("nodepool_info", "missing", "is required: an object with a name")
    kind = pool.inner("nodepool_info").text("type") or "ess"
    if kind != "ess":
        return
    if not pool.has("scaling_group"):
        yield pool.problem("scaling_group", "missing", "is required: what nodes are made of")
        return
    group = pool.inner("scaling_group")
    yield from _size(pool, group)
    yield from _login(pool, group)
    yield from _charge(group)
    yield from _spot(group)
    if (
        group.text("spot_strategy").startswith("Spot")
        and group.text("multi_az_policy") == "COST_OPTIMIZED"
        and group.whole("on_demand_base_capacity") is None
        and group.whole("on_demand_percentage_above_base_capacity") is None
    ):
        message = "say the on-demand share of a spot pool, here or as on_demand_base_capacity"
        yield group.problem("on_demand_percentage_above_base_capacity", "missing", message)


def modify_node_pool(pool: Given) -> Iterator[Problem]:
    """A partial body: what it leaves out stays as it is, so only what it holds can contradict itself."""
    yield from _bounds(pool.inner("auto_scaling"))
    group = pool.inner("scaling_group")
    yield from _two_logins(group)
    yield from _price_limits(group)
    if group.is_true("compensate_with_on_demand") and group.has("multi_az_policy"):
        yield from _compensation(group)


def _size(pool: Given, group: Given) -> Iterator[Problem]:
    scaling = pool.inner("auto_scaling")
    if scaling.is_true("enable"):
        for name in ("min_instances", "max_instances"):
            if not scaling.has(name):
                yield scaling.problem(name, "missing", "auto scaling needs both bounds")
        yield from _bounds(scaling)
    elif not group.has("desired_size"):
        message = "without auto_scaling.enable or desired_size the pool has no nodes (0 says so)"
        yield group.problem("desired_size", "missing", message)


def _bounds(scaling: Given) -> Iterator[Problem]:
    low, high = scaling.whole("min_instances"), scaling.whole("max_instances")
    if low is not None and high is not None and low > high:
        yield scaling.problem("min_instances", "range", f"{low} is above max_instances, {high}")


def _login(pool: Given, group: Given) -> Iterator[Problem]:
    if pool.inner("auto_mode").is_true("enable"):
        return
    if not group.has("key_pair") and not group.has("login_password"):
        yield group.problem("key_pair", "missing", "nodes need a login: key_pair or login_password")
    yield from _two_logins(group)


def _two_logins(group: Given) -> Iterator[Problem]:
    if group.has("login_password"):
        if group.has("key_pair"):
            yield group.problem("login_password", "value", "excludes key_pair")
        if group.text("image_type") == "ContainerOS":
            yield group.problem("login_password", "value", "ContainerOS takes key_pair only")


def _charge(group: Given) -> Iterator[Problem]:
    if group.text("instance_charge_type") == "PrePaid":
        if not group.has("period"):
            yield group.problem("period", "missing", "PrePaid nodes need a period")
        if group.text("spot_strategy").startswith("Spot"):
            message = "spot nodes are PostPaid"
            yield group.problem("instance_charge_type", "value", message)


def _spot(group: Given) -> Iterator[Problem]:
    if group.text("spot_strategy") == "SpotWithPriceLimit" and not group.has("spot_price_limit"):
        message = "SpotWithPriceLimit needs a price limit for each instance type"
        yield group.problem("spot_price_limit", "missing", message)
    elif group.text("spot_strategy") != "SpotWithPriceLimit" and group.has("spot_price_limit"):
        message = "price limits need spot_strategy SpotWithPriceLimit"
        yield group.problem("spot_price_limit", "value", message)
    yield from _price_limits(group)
    yield from _compensation(group)


def _compensation(group: Given) -> Iterator[Problem]:
    if (
        group.is_true("compensate_with_on_demand")
        and group.text("multi_az_policy") != "COST_OPTIMIZED"
    ):
        message = "works with multi_az_policy COST_OPTIMIZED only"
        yield group.problem("compensate_with_on_demand", "value", message)


def _price_limits(group: Given) -> Iterator[Problem]:
    """One entry a type, each a positive amount per hour with at most three decimals."""
    types, limited = group.texts("instance_types"), set()
    for limit in group.each("spot_price_limit"):
        instance_type = limit.text("instance_type")
        for name in ("instance_type", "price_limit"):
            if not limit.has(name):
                yield limit.problem(name, "missing", "each entry is a type and its limit")
        if instance_type in limited:
            yield limit.problem("instance_type", "value", "has an entry already")
        elif instance_type and types and instance_type not in types:
            yield limit.problem("instance_type", "value", "is none of instance_types")
        limited.add(instance_type)
        if limit.text("price_limit") and not _is_price(limit.text("price_limit")):
            message = "must be an amount per hour above 0 with at most three decimals"
            yield limit.problem("price_limit", "value", message)
    if limited and group.text("spot_strategy") == "SpotWithPriceLimit":
        without = [name for name in types if name not in limited]
        if without:
            message = f"no limit for {', '.join(shown(name) for name in without)}"
            yield group.problem("spot_price_limit", "missing", message)


def _is_price(text: str) -> bool:
    try:
        price = Decimal(text)
    except InvalidOperation:
        return False
    exponent = price.as_tuple().exponent
    return price.is_finite() and price > 0 and isinstance(exponent, int) and exponent >= -3
