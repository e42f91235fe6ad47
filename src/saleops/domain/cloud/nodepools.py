"""The node pools of a sale: a core that is bought on demand, and a burst of which most are spot instances.

The core carries the cluster's own pods and the sale's first: it is never reclaimed. The burst mixes: of its nodes above
``on_demand_base`` a percentage is on demand, the rest spot, spread over the cheapest types and zones; where spot is out
of stock on-demand takes its place, and a node that is about to be reclaimed is replaced. The percentage of the API is the
*on-demand* share, rounded up here so that the spot share is never above what was asked for. Pools hold an absolute size:
"add N nodes" would add them twice when an answer is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.cluster import CLUSTER
from saleops.domain.cloud.network import node_vswitch
from saleops.domain.cloud.ours import Scope, condition_of, rows_in, tags_of, text
from saleops.domain.cloud.resources import (
    SALE_TAG,
    Condition,
    Found,
    Group,
    Known,
    Look,
    Patience,
    Resource,
)

POOL_LABEL = "saleops.io/pool"
SALE_LABEL = "saleops.io/sale"


@dataclass(frozen=True, slots=True)
class Spot:
    """How the nodes of a pool are bought. ``share`` is the spot share wanted of all its nodes, 0 to 1."""

    share: float
    on_demand_base: int = 0
    price_limits: Mapping[str, str] = field(
        default_factory=dict
    )  # per type and hour, as decimal text

    def on_demand_percentage(self, nodes: int) -> int:
        """The on-demand percentage above the base that gives ``share`` at ``nodes`` nodes, rounded towards on-demand."""
        wanted = Fraction(str(self.share))
        if not self.on_demand_base or nodes <= self.on_demand_base:
            return ceil((1 - wanted) * 100)
        on_demand = max(Fraction(0), (1 - wanted) * nodes - self.on_demand_base)
        return min(100, ceil(on_demand / (nodes - self.on_demand_base) * 100))

    def strategy(self, instance_types: Sequence[str]) -> str:
        if self.share <= 0:
            return "NoSpot"
        return (
            "SpotWithPriceLimit"
            if set(instance_types) <= self.price_limits.keys()
            else "SpotAsPriceGo"
        )


@dataclass(frozen=True, slots=True)
class Disk:
    category: str = "cloud_essd"
    size_gib: int = 120
    performance_level: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """Who may log in to a node: a key pair by name, else a password. The password never shows."""

    key_pair: str = ""
    password: str = field(default="", repr=False)

    def fields(self) -> dict[str, str]:
        return {"key_pair": self.key_pair} if self.key_pair else {"login_password": self.password}


@dataclass(frozen=True, slots=True)
class Pool:
    """``taints`` are (key, value, effect)."""

    name: str  # "core", "burst"
    nodes: int
    instance_types: tuple[str, ...]
    spot: Spot
    disk: Disk
    login: Login
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[tuple[str, str, str], ...] = ()
    image: str = "AliyunLinux3"


class NodePool(Resource):
    group: ClassVar[Group] = "nodepool"
    kind: ClassVar[str] = "node pool"
    patience: ClassVar[Patience] = Patience(first_s=5, every_s=10, timeout_s=5400)
    on_failure: ClassVar[str] = (
        "The scaling group's activities say why a node did not come (out of stock, quota, price): name more "
        "instance types in the profile."
    )

    def __init__(self, scope: Scope, zones: Sequence[str], pool: Pool) -> None:
        self.scope = scope
        self.zones = tuple(zones)
        self.pool = pool
        self.key, self.name = f"nodepool/{pool.name}", scope.named(pool.name)
        self.needs = (CLUSTER, *(node_vswitch(zone) for zone in zones))

    def look(self, known: Known) -> Look:
        answer = yield Call(
            "cs",
            "DescribeClusterNodePools",
            path={"ClusterId": known(CLUSTER)},
        )
        named = sorted(
            (
                row
                for row in rows_in(answer, "nodepools")
                if (row.get("nodepool_info") or {}).get("name") == self.name
            ),
            key=lambda row: text((row.get("nodepool_info") or {}).get("nodepool_id")),
        )
        if not named:
            return None
        row = named[0]
        ids = [text(one["nodepool_info"].get("nodepool_id")) for one in named]
        group: Mapping[str, Any] = row.get("scaling_group") or {}
        status: Mapping[str, Any] = row.get("status") or {}
        state, healthy = text(status.get("state")), int(status.get("healthy_nodes") or 0)
        wanted = int(group.get("desired_size") or 0)
        condition = condition_of(state, ready=("active",), leaving=("deleting",))
        if condition is Condition.READY and healthy < wanted:
            condition = Condition.PENDING  # the calls were made; the nodes are still on their way
        if condition is not Condition.LEAVING:
            state = f"{state}, {healthy} of {wanted} nodes healthy"
        problem = ""
        if tags_of(group).get(SALE_TAG) != self.scope.sale:
            condition = Condition.FOREIGN
            problem = f"{ids[0]} has this name without the tag {SALE_TAG}: somebody else made it"
        elif len(ids) > 1:
            condition = Condition.FAILED
            problem = f"{', '.join(ids)} are the same thing twice: delete all but one"
        return Found(
            condition,
            state,
            {
                "id": ids[0],
                "cluster": known(CLUSTER),
                "scaling_group": text(group.get("scaling_group_id")),
            },
            self._observed(row, group),
            problem,
        )

    def _observed(self, row: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
        config: Mapping[str, Any] = row.get("kubernetes_config") or {}
        labels = {
            text(one.get("key")): text(one.get("value")) for one in config.get("labels") or ()
        }
        observed: dict[str, Any] = {
            "desired_size": int(group.get("desired_size") or 0),
            "instance_types": list(group.get("instance_types") or ()),
            "spot_strategy": text(group.get("spot_strategy")) or "NoSpot",
            # The service and its controllers add labels of their own; only ours are compared.
            "labels": {key: labels[key] for key in sorted(self._labels) if key in labels},
            "taints": sorted(
                f"{text(one.get('key'))}={text(one.get('value'))}:{text(one.get('effect'))}"
                for one in config.get("taints") or ()
            ),
            "auto_scaling": bool((row.get("auto_scaling") or {}).get("enable")),
        }
        if self._mixes:
            observed["on_demand_base"] = int(group.get("on_demand_base_capacity") or 0)
            percentage = group.get("on_demand_percentage_above_base_capacity")
            observed["on_demand_percentage"] = 100 if percentage is None else int(percentage)
            observed["compensate"] = bool(group.get("compensate_with_on_demand"))
            observed["remedy"] = bool(group.get("spot_instance_remedy"))
        if self._limits:  # left over from before, they mean nothing with another strategy
            observed["price_limits"] = {
                text(one.get("instance_type")): _price(text(one.get("price_limit")))
                for one in group.get("spot_price_limit") or ()
            }
        return observed

    def desired(self, known: Known) -> Mapping[str, Any]:
        pool = self.pool
        desired: dict[str, Any] = {
            "desired_size": pool.nodes,
            "instance_types": list(pool.instance_types),
            "spot_strategy": self._strategy,
            "labels": dict(sorted(self._labels.items())),
            "taints": sorted(f"{key}={value}:{effect}" for key, value, effect in pool.taints),
            "auto_scaling": False,
        }
        if self._mixes:
            desired["on_demand_base"] = pool.spot.on_demand_base
            desired["on_demand_percentage"] = pool.spot.on_demand_percentage(pool.nodes)
            desired["compensate"] = True
            desired["remedy"] = True
        if self._limits:
            desired["price_limits"] = {
                one["instance_type"]: _price(one["price_limit"]) for one in self._limits
            }
        return desired

    @property
    def _strategy(self) -> str:
        return self.pool.spot.strategy(self.pool.instance_types)

    @property
    def _mixes(self) -> bool:
        return self.pool.spot.share > 0

    @property
    def _labels(self) -> dict[str, str]:
        return {SALE_LABEL: self.scope.sale, POOL_LABEL: self.pool.name, **self.pool.labels}

    @property
    def _limits(self) -> list[dict[str, str]]:
        if self._strategy != "SpotWithPriceLimit":
            return []
        limits = self.pool.spot.price_limits
        return [
            {"instance_type": one, "price_limit": limits[one]} for one in self.pool.instance_types
        ]

    def _purchase(self) -> dict[str, Any]:
        """The fields of ``scaling_group`` that say how nodes are bought."""
        spot, nodes = self.pool.spot, self.pool.nodes
        if not self._mixes:
            return {"multi_az_policy": "BALANCE", "spot_strategy": "NoSpot"}
        return {
            "multi_az_policy": "COST_OPTIMIZED",
            "spot_strategy": self._strategy,
            **({"spot_price_limit": self._limits} if self._limits else {}),
            "on_demand_base_capacity": spot.on_demand_base,
            "on_demand_percentage_above_base_capacity": spot.on_demand_percentage(nodes),
            "spot_instance_pools": min(10, len(self.pool.instance_types)),
            "spot_instance_remedy": True,
            "compensate_with_on_demand": True,
        }

    def _kubernetes(self) -> dict[str, Any]:
        taints = [
            {"key": key, "value": value, "effect": effect}
            for key, value, effect in self.pool.taints
        ]
        labels = [{"key": key, "value": value} for key, value in sorted(self._labels.items())]
        return {"labels": labels, **({"taints": taints} if taints else {})}

    def create(self, known: Known) -> Call:
        pool = self.pool
        disk = {
            "system_disk_category": pool.disk.category,
            "system_disk_size": pool.disk.size_gib,
        }
        if pool.disk.performance_level:
            disk["system_disk_performance_level"] = pool.disk.performance_level
        body = {
            "nodepool_info": {"name": self.name, "type": "ess"},
            "auto_scaling": {"enable": False},
            "kubernetes_config": {"runtime": "containerd", **self._kubernetes()},
            "management": {"enable": True, "auto_repair": True},
            "scaling_group": {
                "desired_size": pool.nodes,
                "instance_charge_type": "PostPaid",
                "instance_types": list(pool.instance_types),
                "vswitch_ids": [known(node_vswitch(zone)) for zone in self.zones],
                **self._purchase(),
                **disk,
                "image_type": pool.image,
                "scaling_policy": "release",
                **pool.login.fields(),
                "tags": self.scope.roa_tags,
            },
        }
        return Call("cs", "CreateClusterNodePool", path={"ClusterId": known(CLUSTER)}, body=body)

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        """One partial body with what drifted and nothing else: nobody knows whether an empty list means "clear"."""
        wanted = set(fields)
        group: dict[str, Any] = {}
        if "desired_size" in wanted:
            group["desired_size"] = self.pool.nodes
        if "instance_types" in wanted:
            group["instance_types"] = list(self.pool.instance_types)
        purchase = {
            "spot_strategy",
            "on_demand_base",
            "on_demand_percentage",
            "compensate",
            "remedy",
            "price_limits",
        }
        if wanted & (purchase | {"instance_types"}):
            group.update(self._purchase())
        body: dict[str, Any] = {}
        if group:
            body["scaling_group"] = group
        if wanted & {"labels", "taints"}:
            body["kubernetes_config"] = self._kubernetes()
            body["update_nodes"] = True
        if "auto_scaling" in wanted:
            body["auto_scaling"] = {"enable": False}
        if not body:
            return ()
        path = {"ClusterId": known(CLUSTER), "NodepoolId": found.outputs["id"]}
        return [Call("cs", "ModifyClusterNodePool", path=path, body=body)]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        path = {"ClusterId": found.outputs["cluster"], "NodepoolId": found.outputs["id"]}
        return [Call("cs", "DeleteClusterNodepool", {"force": True}, path)]


def _price(written: str) -> str:
    """A price as one text for each value: the service answers "0.120" where "0.12" was sent."""
    try:
        return f"{Decimal(written):.3f}"
    except ArithmeticError:
        return written
