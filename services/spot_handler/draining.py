"""One drain, a step at a time: look at the node, ask ``plan_drain``, carry out what it says.

Calls that move pods run in a few threads, so that one that hangs holds up no other; a pod with a call under way is not asked
again. What a step remembers (when a budget last refused) may be lost: the next handler learns it anew.
"""

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from saleops.domain.cluster import Eviction, Pod
from saleops.domain.spot_drain import (
    Act,
    DoomedPod,
    DrainFacts,
    DrainPlan,
    DrainRules,
    Spare,
    plan_drain,
    skip_reason,
)
from saleops.errors import ClusterError, SaleopsError
from saleops.ports.cluster import Cluster
from saleops.services.spot_handler.metrics import Metrics
from saleops.services.spot_handler.record import Raised, Record
from saleops.services.spot_handler.surge import Owners

log = logging.getLogger("saleops.services.spot_handler")

THREADS = 8
STEP_WAIT_S = 3.0
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 8.0
SETTLE_S = 4.0
"""For so long an accepted eviction may be missing from its workload's counts: it is subtracted by hand, rather twice than not."""


@dataclass
class _Refusals:
    count: int = 0
    retry_at_s: float = 0.0
    stuck: bool = False


class Draining:
    """The pods of ``node``. ``now_s`` is the cloud's clock."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        rules: DrainRules,
        metrics: Metrics,
        *,
        now_s: Callable[[], float],
        chance: Callable[[], float] = random.random,
        threads: int = THREADS,
    ) -> None:
        self.owners = Owners(cluster)
        self._cluster = cluster
        self._node = node
        self._rules = rules
        self._metrics = metrics
        self._now_s = now_s
        self._chance = chance
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="evict")
        self._busy: dict[str, Future[None]] = {}
        self._refusals: dict[str, _Refusals] = {}
        self._lock = threading.Lock()
        self._accepted: dict[
            str, tuple[str, float]
        ] = {}  # uid -> its workload, when; under the lock

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def has_granted(self, pod: Pod) -> bool:
        """An eviction of it was accepted moments ago."""
        with self._lock:
            return pod.uid in self._accepted

    def doomed(self) -> tuple[tuple[Pod, str], ...]:
        """The pods that have to go, with their workloads. Raises ClusterError."""
        return tuple(
            (pod, self.owners.workload_of(pod))
            for pod in self._cluster.pods(node=self._node)
            if skip_reason(pod, self._rules) is None
        )

    def step(
        self, record: Record, *, waiting: Collection[str] = ()
    ) -> tuple[DrainPlan, tuple[tuple[Pod, str], ...]]:
        """Look, plan, act. ``waiting``: workloads that could not be raised yet, so that nothing of theirs is a replacement.

        Returns the plan and the pods as they were before it. Raises ClusterError where it cannot look.
        """
        doomed = self.doomed()
        facts = self._facts(record, doomed, waiting)
        plan = plan_drain(facts, self._rules, self._now_s())
        workloads = {pod.uid: workload for pod, workload in doomed}
        calls = []
        for act in plan.acts:
            if act.pod.uid in self._busy:
                continue
            call = self._pool.submit(self._carry_out, act, workloads.get(act.pod.uid, ""))
            self._busy[act.pod.uid] = call
            calls.append(call)
        wait(calls, timeout=STEP_WAIT_S)
        for uid, call in list(self._busy.items()):
            if call.done():
                del self._busy[uid]
                call.result()  # a bug is raised here
        return plan, doomed

    def _facts(
        self, record: Record, doomed: tuple[tuple[Pod, str], ...], waiting: Collection[str]
    ) -> DrainFacts:
        pods = []
        for pod, workload in doomed:
            known = self._refusals.get(pod.uid, _Refusals())
            pods.append(DoomedPod(pod, workload, known.retry_at_s, known.stuck))
        spares = self._spares(record.surged) | dict.fromkeys(waiting, Spare(0))
        return DrainFacts(record.termination_s, record.seen_s, tuple(pods), spares)

    def _spares(self, surged: Mapping[str, Raised]) -> dict[str, Spare]:
        now_s = self._now_s()
        with self._lock:
            self._accepted = {
                uid: (workload, at_s)
                for uid, (workload, at_s) in self._accepted.items()
                if now_s - at_s < SETTLE_S
            }
            just_gone = Counter(workload for workload, _ in self._accepted.values())
        spares = {}
        for name, raised in surged.items():
            namespace, _, short = name.partition("/")
            if raised.by == 0:
                continue
            found = self._cluster.find_workload("Deployment", namespace, short)
            if found is None:
                continue
            before = found.wanted - raised.by
            spares[name] = Spare(max(found.available - just_gone[name] - before, 0))
        return spares

    def _carry_out(self, act: Act, workload: str) -> None:
        pod = act.pod
        try:
            if act.verb == "delete":
                there = self._cluster.delete_pod(pod, grace_s=act.grace_s)
                outcome, message = ("deleted" if there else "gone"), act.why
            else:
                answer = self._cluster.evict(pod, grace_s=act.grace_s)
                outcome, message = answer.outcome, answer.message or act.why
                self._note(pod, workload, answer)
        except ClusterError as error:
            outcome = "denied" if error.kind == "denied" else "failed"
            message = error.message
            self._wait_a_while(pod, None)
        except SaleopsError as error:
            outcome, message = "failed", error.message
            self._wait_a_while(pod, None)
        self._metrics.count("saleops_spot_evictions_total", outcome)
        level = (
            logging.WARNING if outcome in ("denied", "failed", "misconfigured") else logging.INFO
        )
        log.log(level, "%s of %s/%s: %s (%s)", act.verb, pod.namespace, pod.name, outcome, message)

    def _note(self, pod: Pod, workload: str, answer: Eviction) -> None:
        if answer.outcome == "accepted":
            with self._lock:
                self._accepted[pod.uid] = (workload, self._now_s())
        elif answer.outcome == "refused":
            self._wait_a_while(pod, answer.retry_after_s)
        elif answer.outcome == "misconfigured":
            self._refusals.setdefault(pod.uid, _Refusals()).stuck = True

    def _wait_a_while(self, pod: Pod, retry_after_s: float | None) -> None:
        """Longer with each refusal, with jitter; the plan asks earlier than a server's Retry-After where the switch is near."""
        known = self._refusals.setdefault(pod.uid, _Refusals())
        known.count += 1
        pause_s = min(RETRY_FIRST_S * 2 ** (known.count - 1), RETRY_MAX_S)
        pause_s *= 0.5 + self._chance() / 2
        known.retry_at_s = self._now_s() + max(pause_s, min(retry_after_s or 0.0, RETRY_MAX_S))
