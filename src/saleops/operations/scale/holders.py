"""Whose a thing is: what one sale has recorded, no other sale touches, for its going down would take away what both need."""

from collections.abc import Mapping

from saleops.domain.cluster import Hpa, Workload
from saleops.domain.scale_records import record_in
from saleops.errors import Refused
from saleops.operations.scale.changing import cloud_records
from saleops.operations.scale.plan import Looked
from saleops.operations.scale.wanted import Wants
from saleops.ports.cluster import Cluster


def holders(looked: Looked, wants: Wants, cluster: Cluster) -> dict[str, str]:
    """The other sale that holds it, by key of the thing. Raises ClusterError."""
    found: dict[str, str] = {}
    things: tuple[Workload | Hpa, ...] = (
        *looked.in_cluster.workloads.values(),
        *looked.in_cluster.autoscalers.values(),
    )
    for thing in things:
        record = record_in(thing.annotations)
        if record is not None:
            found[str(thing.ref)] = record.sale
    ours = {step.key for step in looked.plan.steps}
    for key, record in cloud_records(cluster, wants.namespace).items():
        if key in ours:
            found[key] = record.sale
    return {key: sale for key, sale in found.items() if sale != wants.sale}


def notes_of(held: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{key} is held by {sale}; `saleops scale down {sale}` gives it back"
        for key, sale in held.items()
    )


def check_free(looked: Looked, wants: Wants, cluster: Cluster) -> None:
    """Raises Refused where anything the sale wants to grow is held by another one."""
    held = holders(looked, wants, cluster)
    if not held:
        return
    sales = sorted(set(held.values()))
    named = ", ".join(f"{key} (by {sale})" for key, sale in held.items())
    downs = ", ".join(f"`saleops scale down {sale}`" for sale in sales)
    raise Refused(
        f"another sale holds what {wants.sale} wants to grow: {named}; nothing was changed",
        hint=f"Give it back first: {downs}; or run the sales in namespaces of their own.",
    )
