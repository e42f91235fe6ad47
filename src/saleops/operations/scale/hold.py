"""``saleops scale up --hold``: keep the floor until the sale closes, whoever lowers it.

Floors that are set once are not floors: a CronHPA job, a colleague or a pipeline that applies yesterday's file lowers them. Every
two seconds the autoscalers and workloads of the namespace are listed, two calls, and what is below its floor is put
back. An autoscaler's own shrinking is stopped by its minimum; its workload is raised at once, without waiting for its next sync.
A signal ends the watch and changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from saleops.domain.scale_records import record_in, without_user
from saleops.domain.scaling import SeenPods, WantedPods
from saleops.errors import ClusterError, SaleopsError
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.scale.looking import InCluster, look_in_cluster
from saleops.operations.scale.wanted import Wants
from saleops.ports.cloud import CloudClock
from saleops.ports.cluster import Cluster

EVERY_S = 2.0
TOLD_EVERY_S = 30.0
KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Restored:
    """A floor that was put back. ``below_s`` is how long it may have been lowered: since it was last seen whole."""

    at: str
    what: str
    field: str
    was: int
    floor: int
    below_s: float


@dataclass(frozen=True, slots=True)
class Held:
    """``blind_s``: for so long the cluster did not answer, all together. ``restored`` holds the first thousand."""

    schema: ClassVar[str] = "saleops/scale-hold/v1"

    sale: str
    cluster: str
    until: str
    looks: int
    restored_count: int
    longest_s: float
    blind_s: float
    restored: tuple[Restored, ...]


def hold(
    wants: Wants,
    cluster: Cluster,
    *,
    clock: CloudClock,
    until_ms: int,
    observe: Observer = silent,
    every_s: float = EVERY_S,
) -> Held:
    """Watch until ``until_ms``. What the cluster refuses is told and tried again; only a signal ends it early."""
    return _Hold(wants, cluster, clock, until_ms, observe, every_s).run()


class _Hold:
    def __init__(
        self,
        wants: Wants,
        cluster: Cluster,
        clock: CloudClock,
        until_ms: int,
        observe: Observer,
        every_s: float,
    ) -> None:
        self._wants = wants
        self._cluster = cluster
        self._clock = clock
        self._until_ms = until_ms
        self._observe = observe
        self._every_s = every_s
        self._restored: list[Restored] = []
        self._count = 0
        self._longest_s = 0.0
        self._blind_ms = 0
        self._told_ms: dict[str, int] = {}
        self._whole_ms = clock.now_ms()

    def run(self) -> Held:
        task = f"hold the floor of {self._wants.sale}"
        self._observe(Started(task))
        looks = 0
        try:
            while (now_ms := self._clock.now_ms()) < self._until_ms:
                self._look(now_ms)
                looks += 1
                left_s = max(0, self._until_ms - self._clock.now_ms()) / 1000
                note = f"{left_s / 60:,.0f} min left, {self._count} put back"
                self._observe(Advanced(task, self._count, note))
                self._clock.sleep(min(self._every_s, left_s) or 0.001)
        except BaseException:
            self._observe(
                Finished(
                    task, f"stopped, {self._count} put back; the floor stays, unguarded", ok=False
                )
            )
            raise
        self._observe(Finished(task, f"{self._count} put back"))
        until = datetime.fromtimestamp(self._until_ms / 1000, UTC).astimezone(self._wants.zone)
        return Held(
            self._wants.sale,
            without_user(self._cluster.name),
            until.isoformat(timespec="seconds"),
            looks,
            self._count,
            round(self._longest_s, 3),
            self._blind_ms / 1000,
            tuple(self._restored),
        )

    def _look(self, now_ms: int) -> None:
        try:
            looked = look_in_cluster(self._wants, self._cluster)
        except SaleopsError as error:
            self._blind_ms += round(self._every_s * 1000)
            self._tell("look", f"the floor cannot be seen: {error.message}")
            return
        whole = True
        for want, seen in looked.pods:
            if seen is None:
                self._tell(want.name, f"Deployment {want.name} is not there")
                whole = False
                continue
            try:
                self._keep(want, seen, looked, now_ms)
            except ClusterError as error:
                whole = False
                self._tell(seen.key, f"{seen.key} is below its floor: {error.message}")
        if whole:
            self._whole_ms = self._clock.now_ms()

    def _keep(self, want: WantedPods, seen: SeenPods, looked: InCluster, now_ms: int) -> None:
        hpa = looked.autoscalers.get(seen.key)
        for thing in (looked.workloads[seen.key], hpa):
            record = record_in(thing.annotations) if thing is not None else None
            if record is not None and record.sale != self._wants.sale:
                self._tell(seen.key, f"{seen.key} is held by {record.sale}, and left to it")
                return
        low_max = hpa is not None and hpa.max_replicas < want.pods
        if hpa is not None and (hpa.min_replicas < want.pods or low_max):
            most = max(want.most, hpa.max_replicas) if low_max else None
            self._cluster.set_hpa_bounds(
                hpa.namespace, hpa.name, min_replicas=want.pods, max_replicas=most
            )
            field, was = ("max", hpa.max_replicas) if low_max else ("min", hpa.min_replicas)
            self._note(str(hpa.ref), field, was, want.pods, now_ms)
        if seen.wanted < want.pods:
            workload = looked.workloads[seen.key]
            self._cluster.set_replicas(workload.kind, workload.namespace, workload.name, want.pods)
            self._note(seen.key, "replicas", seen.wanted, want.pods, now_ms)

    def _note(self, what: str, field: str, was: int, floor: int, now_ms: int) -> None:
        done_ms = self._clock.now_ms()
        below_s = (done_ms - self._whole_ms) / 1000
        self._count += 1
        self._longest_s = max(self._longest_s, below_s)
        at = datetime.fromtimestamp(done_ms / 1000, UTC).astimezone(self._wants.zone)
        one = Restored(
            at.isoformat(timespec="milliseconds"), what, field, was, floor, round(below_s, 3)
        )
        if len(self._restored) < KEPT:
            self._restored.append(one)
        self._observe(
            Warned(
                f"{what}: {field} was lowered to {was}, put back to {floor} within {below_s:.1f} s"
            )
        )

    def _tell(self, about: str, message: str) -> None:
        """At most every half minute about the same thing."""
        now_ms = self._clock.now_ms()
        if now_ms - self._told_ms.get(about, -(10**12)) >= TOLD_EVERY_S * 1000:
            self._told_ms[about] = now_ms
            self._observe(Warned(message))


def drifted(pairs: Sequence[tuple[WantedPods, SeenPods | None]]) -> tuple[str, ...]:
    """The floors that are not kept, in words."""
    told = []
    for want, seen in pairs:
        if seen is None:
            told.append(f"Deployment {want.name} is not there")
        elif seen.low is not None and seen.low < want.pods:
            told.append(f"{seen.key}: minReplicas {seen.low}, the floor is {want.pods}")
        elif seen.wanted < want.pods:
            told.append(f"{seen.key}: replicas {seen.wanted}, the floor is {want.pods}")
    return tuple(told)
