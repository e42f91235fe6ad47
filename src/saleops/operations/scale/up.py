"""``saleops scale up``: databases (the day before), nodes, then pods, each after the last is proven there.

Whatever stops a run leaves sizes that the next one finds: originals are recorded once, sizes are absolute, and what is there
already is not sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar, Literal

from saleops.domain.scale_records import without_user
from saleops.domain.scaling import SeenPool, Step, batches
from saleops.errors import CloudError, ClusterError
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.scale.barrier import Count, wait_for_nodes, wait_for_pods
from saleops.operations.scale.changing import Recorder, data_calls, pool_call, raise_pods, send
from saleops.operations.scale.holders import check_free
from saleops.operations.scale.looking import (
    CloudSide,
    InCluster,
    look_in_cloud,
    look_in_cluster,
)
from saleops.operations.scale.plan import Looked
from saleops.operations.scale.wanted import Wants
from saleops.ports.cloud import CloudClock
from saleops.ports.cluster import Cluster
from saleops.ports.scale_journal import ScaleJournal

DATA_EVERY_S = 30.0
DEADLINE_MIN_S = 600.0

Result = Literal["no change", "raised", "skipped", "failed", "not begun"]


@dataclass(frozen=True, slots=True)
class Raised:
    """What became of one step."""

    key: str
    phase: str
    what: str
    field: str
    before: int
    after: int
    result: Result
    why: str = ""


@dataclass(frozen=True, slots=True)
class ScaledUp:
    """``ready``: everything wanted is there. ``late`` names steps whose latest safe start was past."""

    schema: ClassVar[str] = "saleops/scale-up/v1"

    sale: str
    cluster: str
    cloud: str
    changed: bool
    ready: bool
    steps: tuple[Raised, ...]
    nodes: tuple[Count, ...]
    pods: tuple[Count, ...]
    late: tuple[str, ...]
    notes: tuple[str, ...]
    took_s: float
    journal: str

    @property
    def short(self) -> tuple[Count, ...]:
        return tuple(one for one in (*self.nodes, *self.pods) if not one.met)


@dataclass(frozen=True)
class Means:
    """What going up and down works with. ``pods_clock`` is the cluster's; the cloud has its own."""

    cluster: Cluster
    side: CloudSide | None
    journal: ScaleJournal
    pods_clock: CloudClock
    observe: Observer = silent
    journal_file: str = ""

    @property
    def clock(self) -> CloudClock:
        return self.side.courier.cloud.clock if self.side else self.pods_clock

    def at(self) -> str:
        moment = datetime.fromtimestamp(self.pods_clock.now_ms() / 1000, UTC)
        return moment.isoformat(timespec="seconds")


def scale_up(
    looked: Looked,
    wants: Wants,
    means: Means,
    *,
    timeout_s: float | None = None,
    without_nodes: bool = False,
) -> ScaledUp:
    """Carry out a plan. ``timeout_s``: how long to wait for each phase, instead of twice its lead time.
    ``without_nodes``: ask for the pods although nodes are missing at the deadline.

    Shortfalls are in the report. Raises ClusterError and CloudError for what ends the run; a second run goes on.
    Raises Refused, before anything is changed, where another sale holds what this one wants to grow.
    """
    check_free(looked, wants, means.cluster)
    return _Run(looked, wants, means, timeout_s, without_nodes).run()


class _Run:
    def __init__(
        self,
        looked: Looked,
        wants: Wants,
        means: Means,
        timeout_s: float | None,
        without_nodes: bool,
    ) -> None:
        self._plan = looked.plan
        self._looked = looked
        self._wants = wants
        self._means = means
        self._timeout_s = timeout_s
        self._without_nodes = without_nodes
        self._recorder = Recorder(
            means.cluster, means.journal, sale=wants.sale, at=means.at(), observe=means.observe
        )
        self._results: dict[str, Raised] = {one.key: _before(one) for one in looked.plan.steps}

    def run(self) -> ScaledUp:
        began_ms = self._means.pods_clock.now_ms()
        nodes: tuple[Count, ...] = ()
        pods: tuple[Count, ...] = ()
        try:
            self._data()
            nodes = self._nodes()
            if all(one.met for one in nodes) or self._without_nodes:
                pods = self._pods()
        except BaseException as stop:
            if not isinstance(stop, CloudError | ClusterError):
                self._means.observe(
                    Warned(
                        "stopped; what was asked for stays, and the same command goes on from here"
                    )
                )
            raise
        steps = tuple(self._results.values())
        ready = (
            all(one.met for one in (*nodes, *pods))
            and len(pods) == len(self._wants_pods())
            and all(one.result in ("no change", "raised") for one in steps)
        )
        return ScaledUp(
            self._wants.sale,
            without_user(self._means.cluster.name),
            self._means.side.courier.cloud.name if self._means.side else "",
            any(one.result == "raised" for one in steps),
            ready,
            steps,
            nodes,
            pods,
            tuple(one.what for one in self._plan.steps if one.verdict in ("late", "too late")),
            self._looked.in_cluster.notes,
            (self._means.pods_clock.now_ms() - began_ms) / 1000,
            self._means.journal_file,
        )

    def _wants_pods(self) -> Sequence[Step]:
        return self._plan.of("pods")

    def _deadline_ms(self, phase: str, clock: CloudClock) -> int:
        lead_s = float(self._plan.leads[phase].planned_s)
        wait_s = self._timeout_s or max(2 * lead_s, DEADLINE_MIN_S)
        return clock.now_ms() + round(wait_s * 1000)

    def _result(self, step: Step, result: Result, why: str = "") -> None:
        after = step.want if result == "raised" else step.have
        self._results[step.key] = replace(
            self._results[step.key], result=result, after=after, why=why
        )

    # -- databases and caches --------------------------------------------------------------------------------------

    def _data(self) -> None:
        side = self._means.side
        for step in self._plan.of("database", "cache"):
            if step.verdict == "too late":
                self._result(step, "skipped", step.note)
            elif step.acts and side is not None:
                self._grow_data(side, step)

    def _grow_data(self, side: CloudSide, step: Step) -> None:
        clock = self._means.clock
        deadline_ms = self._deadline_ms(step.phase, clock)
        recorded = sent = False
        task = step.what
        self._means.observe(Started(task))
        while True:
            seen = look_in_cloud(side)
            thing = seen.thing(step.key)
            if thing is None:
                self._result(step, "failed", "it is gone")
                break
            if thing.ready and thing.size >= step.want:
                self._result(step, "raised" if sent else "no change", step.note)
                break
            if clock.now_ms() >= deadline_ms:
                self._result(
                    step, "failed", f"{thing.size} of {step.want} at the deadline, {thing.state}"
                )
                break
            if thing.ready and not sent:
                if not recorded:
                    self._record_cloud(step.key, {step.field: thing.size}, {step.field: step.want})
                    recorded = True
                for call in data_calls(side, seen, step.key, step.want):
                    send(side, step.key, call, done=lambda: self._data_moves(side, step))
                sent = True
            self._means.observe(Advanced(task, thing.size, thing.state))
            clock.sleep(DATA_EVERY_S)
        done = self._results[step.key]
        self._means.observe(Finished(task, done.why or done.result, ok=done.result != "failed"))

    def _data_moves(self, side: CloudSide, step: Step) -> bool:
        thing = look_in_cloud(side).thing(step.key)
        return thing is not None and (thing.size >= step.want or not thing.ready)

    def _record_cloud(self, key: str, now: dict[str, int], floor: dict[str, int]) -> None:
        self._recorder.on_cloud(self._wants.namespace, key, now, floor)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _nodes(self) -> tuple[Count, ...]:
        side = self._means.side
        steps = self._plan.of("nodes")
        if side is None or not steps:
            return ()
        missing = tuple(
            Count(one.what, one.want, 0, (one.note,)) for one in steps if one.verdict == "missing"
        )
        there = [one for one in steps if one.verdict != "missing"]
        deadline_ms = self._deadline_ms("nodes", self._means.clock)
        ways = {one.key: batches(one.have, one.want) for one in there}
        most = max((len(one) for one in ways.values()), default=0)
        counts: tuple[Count, ...] = ()
        for number in range(max(most, 1)):
            targets = []
            for step in there:
                way = ways[step.key]
                size = way[min(number, len(way) - 1)] if way else step.want
                targets.append((step.key, size))
                if number < len(way):
                    self._grow_pool(side, step, size)
            counts = wait_for_nodes(
                self._means.cluster,
                side,
                targets,
                deadline_ms=deadline_ms,
                clock=self._means.clock,
                observe=self._means.observe,
            )
            if not all(one.met for one in counts):
                break
        # Counted against the sale's size, whatever batch the deadline stopped.
        wanted = {one.key: one.want for one in there}
        met = tuple(
            replace(one, wanted=wanted[step.key]) for one, step in zip(counts, there, strict=True)
        )
        return (*missing, *met)

    def _grow_pool(self, side: CloudSide, step: Step, size: int) -> None:
        pool = look_in_cloud(side).pool(step.key)
        if pool is None:
            return
        if pool.size >= size:
            if self._results[step.key].result == "not begun":
                self._result(step, "no change")
            return
        if pool.elastic:
            now = {"min_instances": pool.low, "max_instances": pool.high}
            floor = {"min_instances": step.want, "max_instances": max(pool.high, step.want)}
        else:
            now, floor = {"desired_size": pool.desired}, {"desired_size": step.want}
        self._record_cloud(step.key, now, floor)
        call = pool_call(pool, size)
        send(side, step.key, call, done=lambda: _size(side, step.key) >= size)
        self._result(step, "raised")

    # -- pods ------------------------------------------------------------------------------------------------------

    def _pods(self) -> tuple[Count, ...]:
        means = self._means
        # Looked at again: waiting for nodes may have taken long.
        looked = look_in_cluster(self._wants, means.cluster)
        there = {seen.key for _, seen in looked.pods if seen is not None}
        for step in self._plan.of("pods"):
            if step.key in there:
                self._result(step, "no change")
            else:
                self._result(step, "failed", "it is not there")
        self._raise(looked)
        clock = means.pods_clock
        return wait_for_pods(
            self._wants,
            means.cluster,
            deadline_ms=self._deadline_ms("pods", clock),
            clock=clock,
            observe=means.observe,
            keep=self._raise,
        )

    def _raise(self, looked: InCluster) -> None:
        """Bring every workload to its floor that is below it."""
        steps = {one.key: one for one in self._plan.of("pods")}
        for want, seen in looked.pods:
            if seen is None:
                continue
            workload, hpa = looked.workloads[seen.key], looked.autoscalers.get(seen.key)
            changed = raise_pods(self._means.cluster, self._recorder, want, workload, hpa)
            if changed and seen.key in steps:
                self._result(steps[seen.key], "raised")


def _before(step: Step) -> Raised:
    missing = step.verdict == "missing"
    result: Result = "failed" if missing else "not begun" if step.acts else "no change"
    return Raised(
        step.key,
        step.phase,
        step.what,
        step.field,
        step.have,
        step.have,
        result,
        step.note if missing else "",
    )


def _size(side: CloudSide, key: str) -> int:
    pool: SeenPool | None = look_in_cloud(side).pool(key)
    return pool.size if pool else 0
