"""Rules of PolarDB, Tair and RocketMQ instances (API references and SDK models, read 2026-11-23)."""

from collections.abc import Iterator

from saleops.cloudapi.given import Given
from saleops.cloudapi.problem import Problem

_PERFORMANCE_KEYS = 5


def create_polardb(cluster: Given) -> Iterator[Problem]:
    for one, other in (("VPCId", "VSwitchId"), ("VSwitchId", "VPCId")):
        if cluster.has(one) and not cluster.has(other):
            yield cluster.problem(other, "missing", f"{one} and {other} go together")
    if cluster.text("PayType") == "Prepaid":
        yield from _subscription(cluster, "Period", "UsedTime")

    nodes = cluster.whole("DBNodeNum")
    if cluster.text("CreationCategory") == "SENormal" and nodes is not None and nodes > 8:
        yield cluster.problem("DBNodeNum", "range", "the Standard Edition has at most 8 nodes")


def performance_keys(query: Given) -> Iterator[Problem]:
    keys = query.text("Key").split(",")
    if len(keys) > _PERFORMANCE_KEYS:
        message = f"holds {len(keys)} metrics, joined by commas; a call takes {_PERFORMANCE_KEYS}"
        yield query.problem("Key", "range", message)


def temp_modify_node(change: Given) -> Iterator[Problem]:
    if change.text("OperationType") == "Modify" and not change.has("DBNode"):
        yield change.problem("DBNode", "missing", "say which nodes change, and to what")


def create_tair(instance: Given) -> Iterator[Problem]:
    """Its default is a subscription, unlike every neighbour's."""
    if instance.text("ChargeType") in ("", "PrePaid") and not instance.has("Period"):
        message = "ChargeType is PrePaid unless it says PostPaid, and PrePaid needs a period"
        yield instance.problem("Period", "missing", message)
    shards = instance.whole("ShardCount")
    if instance.text("InstanceType") == "tair_essd" and shards is not None and shards > 1:
        yield instance.problem("ShardCount", "value", "tair_essd has no cluster architecture")


def _subscription(instance: Given, *names: str) -> Iterator[Problem]:
    for name in names:
        if not instance.has(name):
            yield instance.problem(name, "missing", "a subscription needs its length")


def create_rocketmq(instance: Given) -> Iterator[Problem]:
    series, sub = instance.text("seriesCode"), instance.text("subSeriesCode")
    serverless = sub == "serverless"
    if series == "ultimate" and sub not in ("", "cluster_ha"):
        yield instance.problem("subSeriesCode", "value", "the ultimate series is cluster_ha only")
    if instance.has("commodityCode") and not serverless:
        yield instance.problem("commodityCode", "value", "belongs to serverless instances")
    if instance.text("paymentType") == "Subscription":
        yield from _subscription(instance, "period", "periodUnit")
    network = instance.inner("networkInfo")
    vpc = network.inner("vpcInfo")
    if serverless and len(vpc.each("vSwitches")) == 1:
        yield vpc.problem("vSwitches", "missing", "a serverless instance needs two vSwitches")
    internet = network.inner("internetInfo")
    spec, flow = internet.text("internetSpec"), internet.text("flowOutType")
    if spec == "disable" and flow not in ("", "uninvolved"):
        message = "is uninvolved where internetSpec is disable"
        yield internet.problem("flowOutType", "value", message)
    if spec == "enable" and flow == "uninvolved":
        message = "must say how traffic is paid for where internetSpec is enable"
        yield internet.problem("flowOutType", "value", message)


def create_consumer_group(group: Given) -> Iterator[Problem]:
    policy = group.inner("consumeRetryPolicy")
    if (
        policy.text("retryPolicy") == "FixedRetryPolicy"
        and group.text("deliveryOrderType") != "Orderly"
    ):
        yield policy.problem("retryPolicy", "value", "FixedRetryPolicy needs Orderly delivery")
