"""Every change that scaling makes, as values first: what a dry run shows is what a run sends.

Originals go down before anything changes: into the journal, then onto the object. Sizes are absolute and changes of the cluster
are pinned to the state they were computed from; where somebody else was faster we look again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from saleops.domain.cloud.cache import CACHE, Cache
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.database import DATABASE, Database
from saleops.domain.cloud.masking import document_of
from saleops.domain.cluster import Hpa, ObjectRef, Workload
from saleops.domain.scale_records import (
    CLOUD_RECORD,
    RECORD,
    Record,
    cloud_records_in,
    cloud_records_text,
    record_in,
    spot_original,
)
from saleops.domain.scaling import SeenPool, WantedPods
from saleops.errors import CloudError, ClusterError, Refused
from saleops.events import Observer, Warned, silent
from saleops.operations.provision.courier import LIST_LAG_S
from saleops.operations.provision.survey import Outputs
from saleops.operations.scale.looking import CloudSide, InCloud
from saleops.ports.cluster import Cluster
from saleops.ports.scale_journal import ScaleJournal

CONFLICTS_MAX = 8
SENDS_MAX = 4


@dataclass(frozen=True, slots=True)
class Patch:
    """A change of one object in the cluster, as ``kubectl patch`` would say it."""

    what: str
    body: Mapping[str, Any]


# -- pods ----------------------------------------------------------------------------------------------------------


def pod_floors(
    want: WantedPods, workload: Workload, hpa: Hpa | None
) -> tuple[dict[str, int], dict[str, int]]:
    """The floors of a workload and of its autoscaler (empty where it has none)."""
    replicas = max(want.pods, 0)
    if hpa is None:
        return {"replicas": max(replicas, workload.wanted)}, {}
    low = max(want.pods, hpa.min_replicas)
    return {"replicas": want.pods}, {"min": low, "max": max(want.most, hpa.max_replicas, low)}


def pod_patches(
    want: WantedPods, workload: Workload, hpa: Hpa | None, *, sale: str, at: str
) -> list[Patch]:
    """What raising ``workload`` sends."""
    floor, bounds = pod_floors(want, workload, hpa)
    patches = []
    pods, sizes = _before_surge(workload, hpa)
    record = _joined(record_in(workload.annotations), sale, pods, floor, at)
    patches.append(Patch(str(workload.ref), {"metadata": {"annotations": {RECORD: record.text}}}))
    if hpa is not None:
        record = _joined(record_in(hpa.annotations), sale, sizes, bounds, at)
        patches.append(Patch(str(hpa.ref), {"metadata": {"annotations": {RECORD: record.text}}}))
        spec = {"minReplicas": bounds["min"], "maxReplicas": bounds["max"]}
        patches.append(Patch(str(hpa.ref), {"spec": spec}))
    if hpa is None or workload.wanted == 0:
        patches.append(Patch(f"{workload.ref} (scale)", {"spec": {"replicas": floor["replicas"]}}))
    return patches


def _joined(
    before: Record | None, sale: str, now: Mapping[str, int], floor: Mapping[str, int], at: str
) -> Record:
    if before is not None and before.sale == sale:
        return before.with_floor(floor)
    return Record(sale, dict(now), dict(floor), at)


def _check_ours(key: str, record: Record | None, sale: str) -> None:
    """Raises Refused."""
    if record is not None and record.sale != sale:
        raise Refused(
            f"{key} is held by {record.sale}; it was left as it is",
            hint=f"Give it back first: `saleops scale down {record.sale}`.",
        )


def _before_surge(workload: Workload, hpa: Hpa | None) -> tuple[dict[str, int], dict[str, int]]:
    """What a workload and its autoscaler (empty where it has none) are without the spot handler's drain."""
    pods = {"replicas": workload.wanted}
    if hpa is None:
        return pods, {}
    low, high = hpa.min_replicas, hpa.max_replicas
    spot = spot_original(hpa.annotations)
    if spot:
        # A bound that is not what the handler set is somebody else's by now.
        low = spot["min"] if low == spot["set_min"] else low
        high = spot["max"] if high == spot["set_max"] else high
        pods["replicas"] = min(workload.wanted, spot["base"])
    return pods, {"min": low, "max": high}


class Recorder:
    """Writes originals down, in the journal and on the objects, once."""

    def __init__(
        self,
        cluster: Cluster,
        journal: ScaleJournal,
        *,
        sale: str,
        at: str,
        observe: Observer = silent,
    ) -> None:
        self._observe = observe
        self._cluster = cluster
        self._journal = journal
        self._sale = sale
        self._at = at

    def check(self, ref: ObjectRef, annotations: Mapping[str, str]) -> None:
        """Raises Refused for what another sale holds."""
        _check_ours(str(ref), record_in(annotations), self._sale)

    def on_object(
        self,
        ref: ObjectRef,
        annotations: Mapping[str, str],
        version: str,
        now: Mapping[str, int],
        floor: Mapping[str, int],
    ) -> str:
        """Record ``now`` as the original unless there is one. Returns the object's resource version afterwards."""
        key = str(ref)
        known = self._journal.records.get(key)
        before = record_in(annotations)
        _check_ours(key, before, self._sale)
        if before is None and known is not None:
            # A run that ended between its journal and the object; or the annotation was removed.
            before = known
            if dict(now) not in (known.original, known.floor):
                self._observe(
                    Warned(
                        f"{key} is {_sizes(now)} and carries no record; the journal's original is kept: "
                        f"{_sizes(known.original)}"
                    )
                )
        record = _joined(before, self._sale, now, floor, self._at)
        if known != record:
            if known is not None and known.original != record.original:
                self._journal.restored(key)  # elsewhere: what the object says counts
            self._journal.record(key, record)
        if annotations.get(RECORD) == record.text:
            return version
        return self._cluster.annotate(ref, {RECORD: record.text}, expected=version)

    def on_cloud(
        self, namespace: str, key: str, now: Mapping[str, int], floor: Mapping[str, int]
    ) -> None:
        """The same for a thing of the cloud; the namespace of the sale carries the record."""
        ref = namespace_ref(namespace)
        known = self._journal.records.get(key)
        there = self._namespace_records(ref)
        _check_ours(key, there.get(key), self._sale)
        record = _joined(there.get(key) or known, self._sale, now, floor, self._at)
        if known != record:
            if known is not None and known.original != record.original:
                self._journal.restored(key)
            self._journal.record(key, record)
        if there.get(key) != record:
            self._cluster.annotate(ref, {CLOUD_RECORD: cloud_records_text({**there, key: record})})

    def forget_cloud(self, namespace: str, key: str) -> None:
        ref = namespace_ref(namespace)
        there = self._namespace_records(ref)
        if key in there and there[key].sale == self._sale:
            left = {one: record for one, record in there.items() if one != key}
            text = cloud_records_text(left) if left else None
            self._cluster.annotate(ref, {CLOUD_RECORD: text})
        if key in self._journal.records:
            self._journal.restored(key)

    def _namespace_records(self, ref: ObjectRef) -> dict[str, Record]:
        return cloud_records(self._cluster, ref.name)


def namespace_ref(name: str) -> ObjectRef:
    return ObjectRef("v1", "Namespace", "", name)


def cloud_records(cluster: Cluster, namespace: str) -> dict[str, Record]:
    """What the namespace says about the cloud's things."""
    document = cluster.find_document(namespace_ref(namespace))
    if document is None:
        return {}
    metadata = document.get("metadata") or {}
    return cloud_records_in(metadata.get("annotations") or {})


def raise_pods(
    cluster: Cluster, recorder: Recorder, want: WantedPods, workload: Workload, hpa: Hpa | None
) -> bool:
    """Bring a workload to its floor. Returns whether anything was changed. Raises ClusterError, Refused."""
    found: Workload | None = workload
    owner: Hpa | None = hpa
    for attempt in range(CONFLICTS_MAX):
        if attempt:
            found = cluster.find_workload(workload.kind, workload.namespace, workload.name)
            owner = cluster.find_hpa(hpa.namespace, hpa.name) if hpa else None
        if found is None or (hpa is not None and owner is None):
            raise Refused(
                f"{workload.ref} or its autoscaler was deleted meanwhile; it was left as it is",
                hint="Run the same command again.",
            )
        try:
            return _raise_once(cluster, recorder, want, found, owner)
        except ClusterError as error:
            if error.kind != "conflict" or attempt == CONFLICTS_MAX - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _raise_once(
    cluster: Cluster, recorder: Recorder, want: WantedPods, workload: Workload, hpa: Hpa | None
) -> bool:
    floor, bounds = pod_floors(want, workload, hpa)
    low_pods = workload.wanted < floor["replicas"]
    low_hpa = hpa is not None and (
        hpa.min_replicas < bounds["min"] or hpa.max_replicas < bounds["max"]
    )
    if not low_hpa and not (low_pods and (hpa is None or workload.wanted == 0)):
        return False
    pods, sizes = _before_surge(workload, hpa)
    if hpa is not None:  # both are ours, or neither is written
        recorder.check(hpa.ref, hpa.annotations)
    version = recorder.on_object(
        workload.ref, workload.annotations, workload.resource_version, pods, floor
    )
    if hpa is not None and low_hpa:
        pinned = recorder.on_object(hpa.ref, hpa.annotations, hpa.resource_version, sizes, bounds)
        cluster.set_hpa_bounds(
            hpa.namespace,
            hpa.name,
            min_replicas=bounds["min"],
            max_replicas=bounds["max"],
            expected=pinned,
        )
    if low_pods and (hpa is None or workload.wanted == 0):
        cluster.set_replicas(
            workload.kind,
            workload.namespace,
            workload.name,
            floor["replicas"],
            expected=version,
        )
    return True


# -- the cloud -----------------------------------------------------------------------------------------------------


def pool_call(pool: SeenPool, size: int) -> Call:
    """One partial body with an absolute size: the least of an elastic pool, all of any other."""
    path = {"ClusterId": pool.cluster, "NodepoolId": pool.id}
    if pool.elastic:
        scaling = {"enable": True, "min_instances": size, "max_instances": max(pool.high, size)}
        return Call("cs", "ModifyClusterNodePool", path=path, body={"auto_scaling": scaling})
    body = {"scaling_group": {"desired_size": size}}
    return Call("cs", "ModifyClusterNodePool", path=path, body=body)


def data_calls(side: CloudSide, seen: InCloud, key: str, size: int) -> list[Call]:
    """The calls that bring PolarDB or Tair to ``size``; none while it is there already, or where it was not found."""
    resource, found = side.resource(key), seen.found.get(key)
    if found is None:
        return []
    known = Outputs(seen.found)
    if key == DATABASE and isinstance(resource, Database):
        wishes = replace(resource.wishes, nodes=size)
        return [*Database(resource.scope, wishes).change(known, found, ("nodes",))]
    if key == CACHE and isinstance(resource, Cache):
        cache = replace(resource.wishes, shards=size)
        if int(found.fields.get("shards") or 0) == size:
            return []
        return [*Cache(resource.scope, cache).change(known, found, ("shards",))]
    raise ValueError(f"{key} has no size")


def send(side: CloudSide, key: str, call: Call, *, done: Callable[[], bool]) -> None:
    """Send ``call``; where nobody knows what became of it, look before it is sent again. Raises CloudError."""
    for attempt in range(SENDS_MAX):
        try:
            side.courier.write(key, "change", call)
            return
        except CloudError as error:
            if not error.retryable or attempt == SENDS_MAX - 1:
                raise
            side.courier.cloud.clock.sleep(LIST_LAG_S)
            if done():
                side.courier.resolve(key, "change")
                return


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def shown(call: Call) -> Mapping[str, Any]:
    return document_of(call)
