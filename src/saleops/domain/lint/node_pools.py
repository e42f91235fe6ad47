"""Node pools as Terraform and as the bodies of ACK's API describe them, in one shape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from saleops.domain.capacity import InstanceType, allocatable, instance_type
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, scalar, table, tables, text, whole
from saleops.domain.lint.terraform_blocks import inner, resources

SPOT_STRATEGIES = ("SpotWithPriceLimit", "SpotAsPriceGo")


@dataclass(frozen=True, eq=False)
class NodePool:
    """``group`` leads to the table that holds instance types and spot settings. None where the text does not say it."""

    document: LintDocument
    name: str
    group: KeyPath
    settings: Mapping[Any, Any]
    labels: Mapping[str, str]
    taints: tuple[tuple[str, str], ...]
    most_nodes: int | None
    most_path: KeyPath
    vswitches: int | None

    @property
    def strategy(self) -> str:
        return text(self.settings.get("spot_strategy"))

    @property
    def spot(self) -> bool:
        return self.strategy in SPOT_STRATEGIES

    @property
    def types(self) -> list[str] | None:
        """Instance types; None where they are worked out elsewhere."""
        value = self.settings.get("instance_types")
        listed = [scalar(one) for one in rows(value)]
        return None if not listed or any("${" in one for one in listed) else listed

    def on_demand(self, nodes: int) -> int:
        """Of ``nodes`` those that are never spot: the base, and its share of what is above it."""
        if not self.spot:
            return nodes
        base = whole(self.settings.get("on_demand_base_capacity"), 0) or 0
        share = whole(self.settings.get("on_demand_percentage_above_base_capacity"), 0) or 0
        base = max(0, min(base, nodes))
        return min(nodes, base + max(0, nodes - base) * max(0, share) // 100)

    @property
    def smallest(self) -> InstanceType | None:
        """The smallest of its types by what is left for pods; None where no name says it."""
        found = []
        for name in self.types or ():
            try:
                found.append(instance_type(name))
            except ValueError:
                continue  # a family whose name says nothing of its size
        return min(found, key=allocatable, default=None)


def node_pools(fleet: Fleet) -> tuple[NodePool, ...]:
    found = fleet.worked_out.get("node_pools")
    if found is None:
        found = fleet.worked_out["node_pools"] = (*_of_json(fleet), *_of_terraform(fleet))
    return cast(tuple[NodePool, ...], found)


def _of_json(fleet: Fleet) -> Iterator[NodePool]:
    for document in fleet.documents:
        if document.format not in ("json", "yaml") or not isinstance(document.value, dict):
            continue
        bodies: list[tuple[KeyPath, dict[Any, Any]]] = [((), document.value)]
        bodies += [(("nodepools", i), one) for i, one in tables(document.at("nodepools"))]
        for path, body in bodies:
            group = body.get("scaling_group")
            if not isinstance(group, dict):
                continue
            scaling, config = table(body.get("auto_scaling")), table(body.get("kubernetes_config"))
            automatic = whole(scaling.get("max_instances"))
            wanted = whole(group.get("desired_size"))
            yield NodePool(
                document,
                text(table(body.get("nodepool_info")).get("name")) or "the node pool",
                (*path, "scaling_group"),
                group,
                {
                    scalar(one.get("key")): scalar(one.get("value"))
                    for _, one in tables(config.get("labels"))
                },
                tuple(
                    (scalar(one.get("key")), scalar(one.get("value")))
                    for _, one in tables(config.get("taints"))
                ),
                automatic if automatic is not None else wanted,
                (*path, "auto_scaling", "max_instances")
                if automatic is not None
                else (*path, "scaling_group", "desired_size"),
                len(rows(group.get("vswitch_ids"))) or None,
            )


def _of_terraform(fleet: Fleet) -> Iterator[NodePool]:
    for block in resources(fleet, "alicloud_cs_kubernetes_node_pool"):
        body = block.value
        taints = body.get("taints", body.get("taint"))
        found = [taints] if isinstance(taints, dict) else rows(taints)
        labels = inner(body, "labels")
        automatic = whole(inner(body, "scaling_config").get("max_size"))
        listed = body.get("vswitch_ids")
        literal = [
            one for one in rows(listed) if "${" not in scalar(one) or "[*]" not in scalar(one)
        ]
        yield NodePool(
            block.document,
            text(body.get("node_pool_name")) or block.name,
            block.path,
            body,
            {str(k): scalar(v) for k, v in labels.items()},
            tuple((scalar(table(one).get("key")), scalar(table(one).get("value"))) for one in found)
            if not isinstance(taints, str)
            else ((taints, ""),),  # worked out elsewhere: some taint
            automatic if automatic is not None else whole(body.get("desired_size")),
            (*block.path, "scaling_config")
            if automatic is not None
            else (*block.path, "desired_size"),
            len(literal) if literal and len(literal) == len(rows(listed)) else None,
        )
