"""``saleops scale status``: wanted, is, ready; whether the floor holds; what will be given back. Only reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from saleops.domain.lead_times import t_minus
from saleops.domain.scale_records import Record, record_in, without_user
from saleops.operations.scale.barrier import Count, count_nodes, count_pods
from saleops.operations.scale.changing import cloud_records
from saleops.operations.scale.hold import drifted
from saleops.operations.scale.holders import holders, notes_of
from saleops.operations.scale.looking import CloudSide
from saleops.operations.scale.plan import Looked
from saleops.operations.scale.wanted import Wants
from saleops.ports.cluster import Cluster
from saleops.ports.scale_journal import ScaleJournal


@dataclass(frozen=True, slots=True)
class Standing:
    """``original`` is what it was before the sale, by field; empty where nothing was recorded."""

    what: str
    phase: str
    wanted: int
    asked: int
    ready: int
    original: dict[str, int]
    reasons: tuple[str, ...]

    @property
    def met(self) -> bool:
        return self.ready >= self.wanted


@dataclass(frozen=True, slots=True)
class ScaleStatus:
    """``scaled``: something is bigger than it was, and recorded. ``due``: by now it all has to be there."""

    schema: ClassVar[str] = "saleops/scale-status/v1"

    sale: str
    cluster: str
    cloud: str
    clock: str
    scaled: bool
    due: bool
    ready: bool
    rows: tuple[Standing, ...]
    drift: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def below(self) -> tuple[Standing, ...]:
        return tuple(one for one in self.rows if not one.met)

    @property
    def ok(self) -> bool:
        return (self.ready and not self.drift) or not (self.scaled or self.due)


def scale_status(
    looked: Looked,
    wants: Wants,
    cluster: Cluster,
    side: CloudSide | None,
    journal: ScaleJournal,
    *,
    now: datetime,
) -> ScaleStatus:
    """Raises ClusterError, CloudError, Refused."""
    records = recorded(looked, wants, cluster, journal)
    rows = []
    pods: dict[str, Count] = {
        one.what: one for one in count_pods(wants, cluster, looked.in_cluster)
    }
    for want, seen in looked.in_cluster.pods:
        what = seen.key if seen else f"Deployment {wants.namespace}/{want.name}"
        count = pods.get(what) or Count(what, want.pods, 0, ("not there",))
        asked = seen.wanted if seen else 0
        rows.append(_standing(what, "pods", count, asked, records.get(what)))
    pools = [(one.key, want) for want, one in looked.in_cloud.pools if not isinstance(one, str)]
    if side is not None and pools:
        for (key, _), count in zip(pools, count_nodes(cluster, side, pools), strict=True):
            pool = looked.in_cloud.pool(key)
            rows.append(
                _standing(count.what, "nodes", count, pool.size if pool else 0, records.get(key))
            )
    for phase, size, thing in looked.in_cloud.data:
        if isinstance(thing, str):
            rows.append(_standing(thing, phase, Count(thing, size, 0, ("not there",)), 0, None))
            continue
        ready = thing.size if thing.ready else 0
        count = Count(thing.name, size, ready, () if thing.ready else (thing.state,))
        rows.append(_standing(thing.name, phase, count, thing.size, records.get(thing.key)))
    scaled = bool(records)
    return ScaleStatus(
        wants.sale,
        without_user(cluster.name),
        side.courier.cloud.name if side else "",
        t_minus(now, wants.opens),
        scaled,
        looked.plan.latest.ready_by <= now < wants.closes,
        all(one.met for one in rows),
        tuple(rows),
        drifted(looked.in_cluster.pods) if scaled else (),
        (*looked.in_cluster.notes, *notes_of(holders(looked, wants, cluster))),
    )


def recorded(
    looked: Looked,
    wants: Wants,
    cluster: Cluster,
    journal: ScaleJournal,
    *,
    closing: bool = False,
) -> dict[str, Record]:
    """Every original that is kept for this sale, by the key of what it is of; what objects say counts before the journal.

    ``closing``: also what the journal holds of things that are their original size again, so that it can be closed."""
    records = dict(journal.records)
    records |= cloud_records(cluster, wants.namespace)
    for key, workload in looked.in_cluster.workloads.items():
        hpa = looked.in_cluster.autoscalers.get(key)
        things = [(str(workload.ref), workload.annotations, {"replicas": workload.wanted})]
        if hpa is not None:
            sizes = {"min": hpa.min_replicas, "max": hpa.max_replicas}
            things.append((str(hpa.ref), hpa.annotations, sizes))
        for name, annotations, now in things:
            found = record_in(annotations)
            if found is not None:
                records[name] = found
            elif (
                name in records
                and records[name].floor != now
                and not (closing and records[name].original == now)
            ):
                del records[name]  # given back from another machine, or by hand
    return {key: one for key, one in records.items() if one.sale == wants.sale}


def _standing(what: str, phase: str, count: Count, asked: int, record: Record | None) -> Standing:
    original = dict(record.original) if record else {}
    reasons = () if count.met else count.reasons
    return Standing(what, phase, count.wanted, asked, count.ready, original, reasons)
