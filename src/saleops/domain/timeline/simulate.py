"""Run a scenario: one queue of what happens when, no step in between.

Within a second nodes come first, then pods that are ready, pods that are gone, what is taken away, CronHPA runs, and last the
HPAs' look. A size is turned into pods as a ReplicaSet does: fewer pods takes the waiting ones first, then the starting ones, then
those that serve; more pods go to nodes that have room, and wait where there is none.
"""

from heapq import heappop, heappush

from saleops.domain.timeline.autoscaler import METRIC_LAG_S, SYNC_S, cron_on_hpa
from saleops.domain.timeline.model import Course, Event, EventKind, Outcome, Run, Scenario
from saleops.domain.timeline.nodes import Node, Nodes
from saleops.domain.timeline.pod_times import NODE_BOOT_S
from saleops.domain.timeline.pods import Pods
from saleops.domain.timeline.steps import ORDER, Step


class _Simulation:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.nodes = Nodes(scenario.pools)
        self.pods = {one.name: Pods(one) for one in scenario.services}
        if len(self.pods) != len(scenario.services):
            raise ValueError("two services have one name")
        self.events: list[Event] = []
        self.node_counts: list[tuple[int, int]] = []
        self._queue: list[tuple[int, int, int, Step, object]] = []
        self._numbers = 0

    def push(self, second: int, step: Step, what: object) -> None:
        self._numbers += 1
        heappush(self._queue, (second, ORDER[step], self._numbers, step, what))

    def say(
        self,
        second: int,
        service: str,
        kind: EventKind,
        text: str,
        before: float = 0,
        after: float = 0,
        cause: str = "",
    ) -> None:
        self.events.append(Event(second, service, kind, text, before, after, cause))

    def run(self) -> Outcome:
        self._begin()
        while self._queue and self._queue[0][0] < self.scenario.seconds:
            second, _, _, step, what = heappop(self._queue)
            self._do(second, step, what)
        return Outcome(
            self.scenario,
            tuple(
                Course(one.service, tuple(one.servings), tuple(one.counts))
                for one in self.pods.values()
            ),
            tuple(
                sorted(
                    (one for one in self.events if one.second < self.scenario.seconds),
                    key=lambda one: one.second,
                )
            ),
            tuple(self.node_counts),
        )

    def _begin(self) -> None:
        self.node_counts.append((0, self.nodes.count))
        for pods in self.pods.values():
            service = pods.service
            pods.wanted = pods.made = service.pods
            placed = self.nodes.place(service, service.pods)
            pods.full = placed
            pods.pending = service.pods - placed
            if pods.pending:
                self._wait(0, pods, pods.pending)
            pods.note(0)
        for pods in self.pods.values():
            by_second: dict[int, list[Run]] = {}
            for run in pods.service.runs:
                by_second.setdefault(run.second, []).append(run)
            for second, runs in by_second.items():
                self.push(second, "cron", (pods, runs))
            demand = pods.service.demand
            change = demand.points[0][0] if demand is not None else None
            while demand is not None and change is not None:
                if change >= 0:
                    self.push(change, "demand", pods)
                    if pods.loop is not None:
                        self.push(change + METRIC_LAG_S, "demand", pods)
                change = demand.next_change(change)
            self._wake(0, pods)
        if self.scenario.reclaim is not None:
            self.push(self.scenario.reclaim.second, "reclaim", None)

    def _do(self, second: int, step: Step, what: object) -> None:
        if step == "node":
            assert isinstance(what, list)
            self._nodes_ready(second, what)
        elif step == "boot":
            assert isinstance(what, tuple)
            pods, count = what
            self._start(second, pods, min(count, pods.pending), waited=True)
        elif step == "ready":
            assert isinstance(what, tuple)
            self._ready(second, *what)
        elif step == "leave":
            assert isinstance(what, tuple)
            pods, count = what
            pods.stop_serving(second, count)
            self._changed(second, pods)
        elif step == "gone":
            assert isinstance(what, tuple)
            self._gone(second, *what)
        elif step == "empty":
            assert isinstance(what, Node)
            if self.nodes.may_go(what, second):
                self.nodes.remove(what)
                self.node_counts.append((second, self.nodes.count))
                self.say(second, "", "nodes", f"a node of {what.pool.name} goes, empty for {what.pool.unneeded_s} s",
                         self.nodes.count + 1, self.nodes.count, what.pool.cause)  # fmt: skip
        elif step == "reclaim":
            self._reclaim(second)
        elif step == "cron":
            assert isinstance(what, tuple)
            self._cron(second, *what)
        elif step == "demand":
            assert isinstance(what, Pods)
            self._wake(second, what)
        else:
            assert isinstance(what, Pods)
            self._look(second, what)

    # Sizes

    def _cron(self, second: int, pods: Pods, runs: list[Run]) -> None:
        name = pods.service.name
        pods.standing = runs
        again = runs[0].again if runs[0].again and second < runs[0].again[0] else ()
        more = f"; written {len(again):,} times more" if again else ""
        if len({run.size for run in runs}) > 1:
            sizes = " and ".join(str(run.size) for run in runs)
            self.say(second, name, "conflict", f"jobs write {sizes} in the same second; the smallest is taken to win",
                     pods.wanted, min(run.size for run in runs), "; ".join(run.cause for run in runs))  # fmt: skip
        for run in sorted(runs, key=lambda run: -run.size):
            before = pods.wanted
            if not run.on_hpa or pods.loop is None:
                self._say_cron(second, name, before, run.size, run.cause, more)
                self._scale(second, pods, run.size)
                continue
            loop = pods.loop
            result = cron_on_hpa(loop.low, loop.high, before, run.size)
            bounds = [
                f"{label} {old} to {new}"
                for label, old, new in (
                    ("min", loop.low, result.low),
                    ("max", loop.high, result.high),
                )
                if old != new
            ]
            moved = f" (HPA {', '.join(bounds)})" if bounds else ""
            loop.low, loop.high = result.low, result.high
            if result.size is None:
                held = "" if bounds else f", min stays {loop.low}"
                told = "pods stay" if bounds else "skipped"
                self.say(second, name, "cron", f"{told}: {before} are {run.size} or more{moved or held}",
                         before, before, run.cause)  # fmt: skip
            else:
                self._say_cron(second, name, before, result.size, run.cause, moved + more)
                self._scale(second, pods, result.size)
            self._wake(second, pods)

    def _say_cron(
        self, second: int, name: str, before: int, size: int, cause: str, moved: str = ""
    ) -> None:
        text = f"from {before} to {size} pods" if before != size else f"stays at {size} pods"
        self.say(second, name, "cron", text + moved, before, size, cause)

    def _look(self, second: int, pods: Pods) -> None:
        loop, demand = pods.loop, pods.service.demand
        assert loop is not None
        pods.look_at = None
        ready = pods.ready
        seen = max(0, second - METRIC_LAG_S)
        usage = loop.hpa.target  # without a known load an HPA is content
        if loop.hpa.follows and demand is not None and ready and pods.service.rps_per_pod:
            usage = min(loop.hpa.cap, demand.at(seen) / (ready * pods.service.rps_per_pod))
        size, moving = loop.look(second, pods.wanted, ready, usage)
        if size != pods.wanted:
            self.say(second, pods.service.name, "hpa", f"from {pods.wanted} to {size} pods, {usage:.0%} used, "
                     f"{loop.hpa.target:.0%} wanted", pods.wanted, size, loop.hpa.cause)  # fmt: skip
            self._scale(second, pods, size)
            if (again := pods.comes_again(second)) is not None:
                self.push(again, "cron", (pods, pods.standing))
        if moving or (demand is not None and not demand.flat_at(seen)):
            self._wake(second + 1, pods)

    def _wake(self, second: int, pods: Pods) -> None:
        """Let the HPA look at its next turn: it need not while nothing changes."""
        if pods.loop is None:
            return
        turn = -(-second // SYNC_S) * SYNC_S
        if pods.look_at is None or turn < pods.look_at:
            pods.look_at = turn
            self.push(turn, "look", pods)

    def _scale(self, second: int, pods: Pods, size: int) -> None:
        service = pods.service
        if size > pods.wanted:
            more = size - pods.wanted
            pods.wanted = size
            pods.made += more
            pods.pending += more
            self._place(second, pods, more)
        elif size < pods.wanted:
            self._delete(second, pods, pods.wanted - size)
            pods.wanted = size
        pods.note(second)
        assert pods.pending >= 0, service.name
        self._wake(second + 1, pods)

    def _place(self, second: int, pods: Pods, count: int) -> None:
        """``count`` waiting pods look for a node."""
        placed = self.nodes.place(pods.service, count)
        if placed:
            self._start(second, pods, placed)
        if count > placed:
            self._wait(second, pods, count - placed)

    def _start(self, second: int, pods: Pods, count: int, *, waited: bool = False) -> None:
        if not count:
            return
        pods.pending -= count
        batch = [second + pods.service.times.until_serving_s, count]
        pods.batches.append(batch)
        self.push(batch[0], "ready", (pods, batch))
        if waited:
            pods.note(second)

    def _wait(self, second: int, pods: Pods, count: int) -> None:
        bought = self.nodes.promise(pods.service, count)
        by_boot: dict[int, list[Node]] = {}
        for node in bought:
            by_boot.setdefault(node.pool.boot_s, []).append(node)
        for boot_s, nodes in by_boot.items():
            self.push(second + boot_s, "node", nodes)
        kept = min(count, self.nodes.promised(pods.service.name))
        text = f"{count} pods find no node"
        text += f"; {len(bought)} nodes are bought" if bought else ""
        text += f"; for {count - kept} of them the pools may not grow" if count > kept else ""
        self.say(second, pods.service.name, "pending", text, count, kept,
                 "; ".join(dict.fromkeys(node.pool.cause for node in bought)))  # fmt: skip

    def _delete(self, second: int, pods: Pods, count: int) -> None:
        service, times = pods.service, pods.service.times
        waiting = min(count, pods.pending)
        if waiting:
            pods.pending -= waiting
            over = self.nodes.promised(service.name) - pods.pending
            if over > 0:
                self.nodes.forgo(service, over)
            pods.gone += waiting
            count -= waiting
        while count and pods.batches:
            batch = pods.batches[-1]
            off = min(count, batch[1])
            batch[1] -= off
            count -= off
            pods.gone += off
            self._emptied(second, self.nodes.release(service, off, second))
            if not batch[1]:
                pods.batches.pop()
        if not count:
            return
        pods.leaving += count
        if times.serves_on_s:
            self.push(second + times.serves_on_s, "leave", (pods, count))
        else:
            pods.stop_serving(second, count)
        self.push(second + max(times.busy_s, times.serves_on_s), "gone", (pods, count))
        text = f"{count} pods stop serving after {times.serves_on_s} s"
        if times.failing_s:
            text += f"; requests still come to them for {times.failing_s} s more and fail (preStop {times.pre_stop_s} s)"
        self.say(second + times.serves_on_s, service.name, "leave", text, count, 0)

    # Nodes and pods

    def _ready(self, second: int, pods: Pods, batch: list[int]) -> None:
        if not batch[1] or not any(one is batch for one in pods.batches):
            return
        pods.batches = [one for one in pods.batches if one is not batch]
        slow = pods.service.times.slow_start_s
        if slow:
            pods.ramps.append([second, batch[1]])
        else:
            pods.full += batch[1]
        warm = f", at full capacity {slow} s later" if slow else ""
        self.say(second, pods.service.name, "ready", f"{batch[1]} pods more serve{warm}",
                 pods.ready - batch[1], pods.ready)  # fmt: skip
        self._changed(second, pods)

    def _changed(self, second: int, pods: Pods) -> None:
        pods.note(second)
        self._wake(second, pods)

    def _gone(self, second: int, pods: Pods, count: int) -> None:
        pods.leaving -= count
        pods.gone += count
        without_node = min(count, pods.lost_leaving)
        pods.lost_leaving -= without_node
        self._emptied(second, self.nodes.release(pods.service, count - without_node, second))
        pods.note(second)
        self._fill(second)

    def _emptied(self, second: int, nodes: list[Node]) -> None:
        for node in nodes:
            if node.pool.scales:
                self.push(second + node.pool.unneeded_s, "empty", node)

    def _fill(self, second: int) -> None:
        """Room has come free: pods that wait without a promise of a booting node take it."""
        if self.nodes.unlimited:
            return
        for pods in self.pods.values():
            waiting = pods.pending - self.nodes.promised(pods.service.name)
            if waiting > 0 and (placed := self.nodes.place(pods.service, waiting)):
                self._start(second, pods, placed, waited=True)

    def _nodes_ready(self, second: int, nodes: list[Node]) -> None:
        before = self.nodes.count
        for node in nodes:
            if node not in self.nodes.nodes:
                continue
            node.ready = True
            node.empty_since = None if node.held else second
            for name, count in node.held.items():
                self._start(second, self.pods[name], count, waited=True)
        self.node_counts.append((second, self.nodes.count))
        self.say(second, "", "nodes", f"{self.nodes.count - before} nodes of {nodes[0].pool.name} are there",
                 before, self.nodes.count, nodes[0].pool.cause)  # fmt: skip
        self._emptied(second, [node for node in nodes if not node.held])
        self._fill(second)

    def _reclaim(self, second: int) -> None:
        reclaim = self.scenario.reclaim
        assert reclaim is not None
        lost: dict[str, int] = {}
        if self.nodes.unlimited:
            for name, pods in self.pods.items():
                if not pods.service.on_demand:
                    lost[name] = min(pods.ready, -int(-pods.ready * reclaim.share // 1))
            text = f"{reclaim.share:.0%} of the pods that may be on spot nodes are reclaimed"
        else:
            before = self.nodes.count
            nodes = self.nodes.lost(reclaim.share)
            for node in nodes:
                self.nodes.remove(node)
                for name, count in node.held.items():
                    lost[name] = lost.get(name, 0) + count
            self.node_counts.append((second, self.nodes.count))
            text = f"{len(nodes)} of {before} nodes are reclaimed"
        self.say(second, "", "reclaim", text)
        for name, count in lost.items():
            if count:
                self._lose(second, self.pods[name], count)

    def _lose(self, second: int, pods: Pods, count: int) -> None:
        """``count`` pods are gone at once, the serving ones first; a ReplicaSet makes as many anew."""
        serving = min(count, pods.ready)
        starting = min(count - serving, pods.starting)
        leaving = count - serving - starting
        before = pods.ready
        pods.stop_serving(second, serving)
        left = starting
        while left:
            batch = pods.batches[-1]
            off = min(left, batch[1])
            batch[1] -= off
            left -= off
            if not batch[1]:
                pods.batches.pop()
        # Pods on their way out are gone as they would have been; only their room went with the node.
        pods.lost_leaving += leaving if not self.nodes.unlimited else 0
        pods.gone += serving + starting
        pods.made += serving + starting
        pods.pending += serving + starting
        self.say(second, pods.service.name, "reclaim", f"from {before} to {before - serving} pods that serve",
                 before, before - serving, "spot reclaim")  # fmt: skip
        if self.nodes.unlimited:
            self.push(second + NODE_BOOT_S, "boot", (pods, serving + starting))
        else:
            self._place(second, pods, serving + starting)
        pods.note(second)
        self._wake(second, pods)


def simulate(scenario: Scenario) -> Outcome:
    """What happens in ``scenario``. Deterministic: two runs are equal. Raises ValueError for two services of one name."""
    return _Simulation(scenario).run()
