"""``saleops scale down``: give back what going up took, in reverse: pods, nodes, caches and databases.

What is restored is the size that was recorded, exactly. The nodes that go are drained first and removed by name. An elastic pool
keeps its nodes until its own autoscaler takes them. A read node goes last, when no pod asks it any more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cluster import Hpa, Workload
from saleops.domain.scale_records import RECORD, Record
from saleops.domain.scaling import SeenPool
from saleops.errors import ClusterError
from saleops.events import Advanced, Finished, Started, Warned
from saleops.operations.scale.changing import CONFLICTS_MAX, Recorder, data_calls, send
from saleops.operations.scale.down_plan import Back, DownPlan, back_call
from saleops.operations.scale.drain import Drained, drain, surplus
from saleops.operations.scale.looking import CloudSide, look_in_cloud
from saleops.operations.scale.plan import Looked
from saleops.operations.scale.up import DATA_EVERY_S, Means
from saleops.operations.scale.wanted import Wants

DRAIN_S = 900.0
GONE_S = 900.0
DATA_S = 3600.0
GONE_EVERY_S = 10.0
REMOVE_MOST = 100


@dataclass(frozen=True, slots=True)
class Given:
    key: str
    phase: str
    what: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    result: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class ScaledDown:
    """``restored``: every recorded size is back, but for those somebody changed meanwhile (``left``)."""

    schema: ClassVar[str] = "saleops/scale-down/v1"

    sale: str
    cluster: str
    cloud: str
    changed: bool
    restored: bool
    steps: tuple[Given, ...]
    nodes: tuple[Drained, ...]
    left: tuple[str, ...]
    told: tuple[str, ...]
    journal: str


def scale_down(
    plan: DownPlan, looked: Looked, wants: Wants, means: Means, *, timeout_s: float | None = None
) -> ScaledDown:
    """Carry ``plan`` out. What could not be given back by its deadline is in the report, and a second run goes on.
    Raises ClusterError, CloudError."""
    run = _Down(plan, looked, wants, means, timeout_s)
    try:
        return run.run()
    except KeyboardInterrupt:
        means.observe(
            Warned("stopped; what was given back stays so, and the same command goes on from here")
        )
        raise


@dataclass
class _Down:
    plan: DownPlan
    looked: Looked
    wants: Wants
    means: Means
    timeout_s: float | None
    given: list[Given] = field(default_factory=list)
    drained: tuple[Drained, ...] = ()

    def run(self) -> ScaledDown:
        cluster, journal = self.means.cluster, self.means.journal
        self.recorder = Recorder(cluster, journal, sale=self.wants.sale, at=self.means.at())
        for step in self.plan.steps:
            if step.verdict == "changed meanwhile":
                self._note(
                    step,
                    step.now,
                    "left",
                    f"it is {_said(step.now)}, not the {_said({name: step.floor.get(name, 0) for name in step.now})} we set",
                )
            elif step.verdict == "gone":
                self.recorder.forget_cloud(self.wants.namespace, step.key)
                self._note(step, {}, "gone", "it was deleted meanwhile; its record is closed")
            elif step.phase == "pods":
                self._pods(step)
            elif step.phase == "nodes":
                self._pool(step)
            else:
                self._data(step)
        left = tuple(f"{one.what}: {one.why}" for one in self.given if one.result == "left")
        return ScaledDown(
            self.plan.sale,
            self.plan.cluster,
            self.plan.cloud,
            any(one.result == "restored" for one in self.given),
            all(one.result in ("restored", "no change", "left", "gone") for one in self.given),
            tuple(self.given),
            self.drained,
            left,
            self.plan.told,
            self.means.journal_file,
        )

    def _note(self, step: Back, after: Mapping[str, int], result: str, why: str = "") -> None:
        self.given.append(Given(step.key, step.phase, step.what, step.now, after, result, why))

    def _deadline_ms(self, seconds: float) -> int:
        return self.means.clock.now_ms() + round((self.timeout_s or seconds) * 1000)

    def _pods(self, step: Back) -> None:
        cluster = self.means.cluster
        workload = self.looked.in_cluster.workloads.get(step.key)
        hpa = next(
            (
                one
                for one in self.looked.in_cluster.autoscalers.values()
                if str(one.ref) == step.key
            ),
            None,
        )
        thing = workload or hpa
        if thing is None:
            raise ValueError(f"{step.key} was not looked at")
        if step.verdict == "restore":
            _unpinned(lambda: self._set(step, workload, hpa))
        cluster.annotate(thing.ref, {RECORD: None})
        if step.key in self.means.journal.records:
            self.means.journal.restored(step.key)
        self._note(step, step.original, "restored" if step.verdict == "restore" else "no change")

    def _set(self, step: Back, workload: Workload | None, hpa: Hpa | None) -> None:
        cluster = self.means.cluster
        if workload is not None:
            cluster.set_replicas(
                workload.kind, workload.namespace, workload.name, step.original["replicas"]
            )
        elif hpa is not None:
            cluster.set_hpa_bounds(
                hpa.namespace,
                hpa.name,
                min_replicas=step.original["min"],
                max_replicas=step.original["max"],
            )

    def _pool(self, step: Back) -> None:
        side, pool = self.means.side, self.looked.in_cloud.pool(step.key)
        if side is None or pool is None:
            raise ValueError(f"{step.key} was not looked at")
        if step.verdict == "restore":
            if not pool.elastic:
                short = self._give_nodes(side, pool, step.original["desired_size"])
                if short:
                    self._note(step, step.now, "not yet", short)
                    return
            self._resize(side, pool, step)
        self.recorder.forget_cloud(self.wants.namespace, step.key)
        self._note(step, step.original, "restored" if step.verdict == "restore" else "no change")

    def _resize(self, side: CloudSide, pool: SeenPool, step: Back) -> None:
        now = look_in_cloud(side).pool(step.key)
        record = Record(self.wants.sale, step.original, step.floor)
        size = step.original["min_instances" if pool.elastic else "desired_size"]
        if (
            now is not None
            and now.size == size
            and (not pool.elastic or now.high == step.original["max_instances"])
        ):
            return

        def done() -> bool:
            seen = look_in_cloud(side).pool(step.key)
            return seen is not None and seen.size == size

        send(side, step.key, back_call(pool, record), done=done)

    def _give_nodes(self, side: CloudSide, pool: SeenPool, keep: int) -> str:
        """Drain what is too many and remove those very machines. Empty, or what is in the way."""
        cluster = self.means.cluster
        mine = [one for one in cluster.nodes() if one.pool == pool.id]
        victims = surplus(mine, keep)
        if not victims:
            return ""
        states = drain(
            cluster,
            victims,
            deadline_ms=self._pods_deadline_ms(),
            clock=self.means.pods_clock,
            observe=self.means.observe,
        )
        self.drained = (*self.drained, *states)
        stuck = [one for one in states if one.left]
        empty = {one.node for one in states if not one.left}
        ids = []
        for node in victims:
            if node.name in empty:
                id = node.provider_id.rpartition(".")[2].rpartition("/")[2]
                if not id.startswith("i-"):
                    return f"{node.name} does not say which machine it is (providerID {node.provider_id!r})"
                ids.append(id)
        path = {"ClusterId": pool.cluster, "NodepoolId": pool.id}
        for start in range(0, len(ids), REMOVE_MOST):
            some = ids[start : start + REMOVE_MOST]
            params = {
                "instance_ids": some,
                "drain_node": False,
                "release_node": True,
                "concurrency": True,
            }
            call = Call("cs", "RemoveNodePoolNodes", params, path)
            send(side, pool.key, call, done=lambda gone=set(some): not gone & self._machines(pool))  # type: ignore[misc]
        problem = self._wait_gone(pool, ids)
        if stuck:
            told = "; ".join(
                f"{one.node} keeps {one.left} pods ({'; '.join(one.reasons)})" for one in stuck
            )
            return f"{len(stuck)} nodes are not empty: {told}"
        return problem

    def _pods_deadline_ms(self) -> int:
        return self.means.pods_clock.now_ms() + round((self.timeout_s or DRAIN_S) * 1000)

    def _machines(self, pool: SeenPool) -> set[str]:
        nodes = [one for one in self.means.cluster.nodes() if one.pool == pool.id]
        return {one.provider_id.rpartition(".")[2].rpartition("/")[2] for one in nodes}

    def _wait_gone(self, pool: SeenPool, ids: list[str]) -> str:
        deadline_ms = self._deadline_ms(GONE_S)
        task = f"remove nodes of {pool.name}"
        self.means.observe(Started(task, len(ids), "nodes"))
        while left := set(ids) & self._machines(pool):
            self.means.observe(Advanced(task, len(ids) - len(left)))
            if self.means.clock.now_ms() >= deadline_ms:
                self.means.observe(Finished(task, f"{len(left)} are still there", ok=False))
                return f"{len(left)} removed nodes are still in the cluster"
            self.means.clock.sleep(GONE_EVERY_S)
        self.means.observe(Finished(task, f"{len(ids)} are gone"))
        return ""

    def _data(self, step: Back) -> None:
        side = self.means.side
        if side is None:
            raise ValueError(f"{step.key} was not looked at")
        if step.verdict == "restore":
            problem = self._shrink_data(side, step)
            if problem:
                self._note(step, step.now, "not yet", problem)
                return
        self.recorder.forget_cloud(self.wants.namespace, step.key)
        self._note(step, step.original, "restored" if step.verdict == "restore" else "no change")

    def _shrink_data(self, side: CloudSide, step: Back) -> str:
        (size,) = step.original.values()
        deadline_ms = self._deadline_ms(DATA_S)
        sent = False
        self.means.observe(Started(step.what))
        while True:
            seen = look_in_cloud(side)
            thing = seen.thing(step.key)
            if thing is not None and thing.ready and thing.size == size:
                self.means.observe(Finished(step.what, f"{size}"))
                return ""
            if thing is None or self.means.clock.now_ms() >= deadline_ms:
                state = thing.state if thing else "gone"
                self.means.observe(Finished(step.what, state, ok=False))
                return f"{thing.size if thing else 0} instead of {size} at the deadline, {state}"
            if thing.ready and not sent:

                def done() -> bool:
                    now = look_in_cloud(side).thing(step.key)
                    return now is not None and (now.size == size or not now.ready)

                for call in data_calls(side, seen, step.key, size):
                    send(side, step.key, call, done=done)
                sent = True
            self.means.clock.sleep(DATA_EVERY_S)


def _unpinned(change: Callable[[], None]) -> None:
    """Absolute sizes: a conflict is another writer of other fields, and we simply send again."""
    for attempt in range(CONFLICTS_MAX):
        try:
            change()
            return
        except ClusterError as error:
            if error.kind != "conflict" or attempt == CONFLICTS_MAX - 1:
                raise


def _said(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())
