"""From the notice to an empty node, and back if the notice is withdrawn.

    notice   -> the record, cordon, taint, labels (in that order: what cordons is written down first) -> events
             -> surge -> evict in waves -> what a budget holds back is deleted at the switch -> surge taken back -> event
    no notice any more, three answers in a row, and not yet switched -> uncordon, surge taken back
    a restart -> the record in the node's annotation says how far we are

Two threads: one asks the metadata service every few seconds, whatever the API does; the other acts. Nothing here
raises for what a cluster may do; it is logged, counted and tried again.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median

import msgspec

from saleops.domain.cluster import Node, ObjectRef, Taint
from saleops.domain.spot_drain import DoomedPod, DrainFacts, deadline_s, hold_s, switch_s
from saleops.errors import ClusterError, SaleopsError, UpstreamError
from saleops.ports.cluster import Cluster
from saleops.services.spot_handler.draining import Draining
from saleops.services.spot_handler.metadata import (
    ASSUMED_S,
    Answer,
    Metadata,
    Notice,
    Safe,
    Unknown,
)
from saleops.services.spot_handler.metrics import Metrics
from saleops.services.spot_handler.record import (
    LABEL,
    NO_BALANCERS,
    RECORD,
    TAINT,
    Record,
    read_record,
)
from saleops.services.spot_handler.replacements import Replacements
from saleops.services.spot_handler.settings import Settings
from saleops.services.spot_handler.surge import Surge

log = logging.getLogger("saleops.services.spot_handler")

SAFE_ANSWERS = 3  # in a row, before a notice counts as withdrawn
NOTICE_ANSWERS = 2  # with the same text, before an end sooner than ASSUMED_S is believed
CLOCK_ANSWERS = 3  # in a row that agree, before the cloud's clock is believed to have jumped
JUMP_S = 3.0  # clocks that differ by less agree: a Date header is whole seconds
FAR_S = 900.0  # notices are 300 s ahead: an end later than this is no end to go by
CONFIRM_S = 1.0  # a new notice is asked for again after this
IDLE_S = 5.0
RETRY_S = 1.0
DEAD_AFTER_S = 180.0  # longer than any step: six calls of the API at their slowest
SILENT_AFTER_S = 30.0
OUTLIVED_S = 30.0
COMPONENT = "saleops-spot-handler"


class Handler:
    def __init__(
        self,
        cluster: Cluster,
        metadata: Metadata,
        settings: Settings,
        metrics: Metrics,
        *,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._metadata = metadata
        self._settings = settings
        self._metrics = metrics
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self._safe_in_a_row = 0
        self._notice_text: str | None = None  # the notice as we read it last
        self._notice_seen_s = 0.0  # when we read that text for the first time, monotonic
        self._notice_answers = 0  # how often
        self._inherited: str | None = None  # the notice of a drain that an earlier life began
        self._offset_s = wall_s() - monotonic_s()  # the cloud's clock minus the monotonic one
        self._offset_sure = False
        self._offsets: deque[float] = deque(maxlen=CLOCK_ANSWERS)  # what the last answers said
        self._polled_s = self._moved_s = monotonic_s()
        self._heard_s = -SILENT_AFTER_S
        self._node = settings.node
        self._loaded = False
        self._record: Record | None = None
        self._draining: Draining | None = None
        self._replacements: Replacements | None = None
        self._cordoned = False
        self._rehearsed = ""

    # -- the two threads -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until ``stop``. A bug in the polling thread ends this one too."""
        poller = threading.Thread(target=self._poll_for_ever, name="poll", daemon=True)
        poller.start()
        pause_s = 0.0
        try:
            while not self._stopping.is_set():
                self._wake.wait(pause_s)
                self._wake.clear()
                if self._stopping.is_set():
                    return
                if not poller.is_alive():
                    raise RuntimeError("the thread that asks the metadata service has ended")
                self._moved_s = self._monotonic_s()
                pause_s = self.step()
        finally:
            self._stopping.set()
            if self._draining is not None:
                self._draining.close()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def _poll_for_ever(self) -> None:
        due_s = self._monotonic_s()
        while not self._stopping.is_set():
            self.poll()
            poll_s = self._settings.poll_s
            if 0 < self._notice_answers < NOTICE_ANSWERS:
                poll_s = min(poll_s, CONFIRM_S)
            due_s = max(due_s + poll_s, self._monotonic_s() - poll_s)
            self._stopping.wait(max(due_s - self._monotonic_s(), 0.0))

    def poll(self) -> None:
        """Ask once. Wakes the other thread where there is something to do."""
        answer = self._metadata.termination()
        with self._lock:
            self._polled_s = self._monotonic_s()
            before, self._answer = self._answer, answer
            kind = type(answer).__name__.lower()
            self._metrics.count("saleops_spot_polls_total", kind)
            if isinstance(answer, Unknown):
                self._safe_in_a_row = 0
                if before != answer:
                    log.warning("no answer to go by: %s", answer.why)
                return
            self._heard_s = self._polled_s
            self._hear_clock(answer.skew_s)
            if isinstance(answer, Safe):
                self._safe_in_a_row += 1
            else:
                self._safe_in_a_row = 0
                if answer.text != self._notice_text:
                    self._notice_text, self._notice_answers = answer.text, 0
                    self._notice_seen_s = self._polled_s
                    log.warning("this machine is to be reclaimed: %s", answer.text)
                self._notice_answers += 1
        if isinstance(answer, Notice) or self._safe_in_a_row == SAFE_ANSWERS:
            self._wake.set()

    def _hear_clock(self, skew_s: float) -> None:
        """Follow the cloud's clock; a jump only once several answers in a row agree on it.

        Before anything is confirmed the earlier of the two clocks counts: a drain must not hurry because of one wrong header.
        """
        wall_s, monotonic_s = self._wall_s(), self._monotonic_s()
        offset_s = wall_s + skew_s - monotonic_s
        self._offsets.append(offset_s)
        middle_s = median(self._offsets)
        agree = max(abs(one - middle_s) for one in self._offsets) <= JUMP_S
        if agree and len(self._offsets) == CLOCK_ANSWERS:
            if abs(middle_s - self._offset_s) > JUMP_S:
                log.warning("the cloud's clock is %.0f s from ours", middle_s - self._offset_s)
            self._offset_s, self._offset_sure = middle_s, True
        elif not self._offset_sure:
            self._offset_s = min(self._offset_s, offset_s)
        elif abs(offset_s - self._offset_s) > JUMP_S:
            log.warning("one answer's clock is %.0f s off; not used", offset_s - self._offset_s)
        used_s = self._offset_s + monotonic_s - wall_s
        self._metrics.set("saleops_spot_clock_skew_seconds", round(used_s, 1))

    # -- what probes ask -------------------------------------------------------------------------------------

    def why_dead(self) -> str:
        now_s = self._monotonic_s()
        for what, since_s in (("polling", self._polled_s), ("acting", self._moved_s)):
            if now_s - since_s > DEAD_AFTER_S:
                return f"{what} has not moved for {now_s - since_s:.0f} s"
        return ""

    def why_not_ready(self) -> str:
        if not self._loaded:
            return "the node was not found yet"
        if self._monotonic_s() - self._heard_s > max(SILENT_AFTER_S, 3 * self._settings.poll_s):
            return "the metadata service does not answer"
        return ""

    # -- acting ----------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """The cloud's clock, as far as it is confirmed; a step of the node's own clock does not move it."""
        return self._monotonic_s() + self._offset_s

    def step(self) -> float:
        """Do what there is to do; how long to wait before the next look."""
        try:
            return self._step()
        except SaleopsError as error:
            self._metrics.count("saleops_spot_api_errors_total")
            log.warning("%s", error.message)
            return RETRY_S

    def _step(self) -> float:
        if not self._loaded:
            self._load()
        with self._lock:
            answer, safe = self._answer, self._safe_in_a_row
        if self._settings.mode == "dry-run":
            if isinstance(answer, Notice):
                self._rehearse(answer)
            return IDLE_S
        if isinstance(answer, Notice):
            self._take(answer)
        record = self._record
        if record is None:
            self._metrics.set("saleops_spot_seconds_left", -1.0)
            return IDLE_S
        self._metrics.set("saleops_spot_seconds_left", round(record.termination_s - self.now_s()))
        if safe >= SAFE_ANSWERS:
            if self._may_cancel(record):
                self._cancel(record)
                return IDLE_S
        elif not self._cordoned:
            self._cordon()
        if self._settings.mode == "cordon-only":
            return IDLE_S
        if self.now_s() > record.termination_s + OUTLIVED_S:
            return IDLE_S  # the machine lives on, so that time was wrong: no reason to delete
        if record.finished:
            assert self._draining is not None, "loaded"
            if self.now_s() >= record.termination_s or not self._draining.doomed():
                return IDLE_S
            log.warning("pods have come to %s after it was empty", self._node)
            record = msgspec.structs.replace(record, finished=False)
            self._write(record)
        self._drain(record)
        return self._settings.tick_s if self._record and not self._record.finished else IDLE_S

    def _load(self) -> None:
        """Find the node, and what an earlier life of ours was at. Raises ClusterError."""
        node = self._find_node()
        self._node = self._metrics.node = node.name
        self._draining = Draining(
            self._cluster, node.name, self._settings.rules, self._metrics, now_s=self.now_s
        )
        self._record = read_record(node.annotations)
        left = self._record.surged if self._record is not None else {}
        self._replacements = Replacements(
            Surge(self._cluster, node.name), self._metrics, self._write, begun=left
        )
        if self._record is not None:
            self._inherited = self._record.notice
            log.warning("going on with a drain that was begun before: %s", self._record.notice)
        self._loaded = True
        log.info("watching over node %s (%s)", node.name, self._settings.mode)

    def _find_node(self) -> Node:
        if self._node:
            node = self._cluster.find_node(self._node)
            if node is None:
                raise UpstreamError(f"there is no node {self._node}", hint="Set NODE_NAME.")
            return node
        instance = self._metadata.instance_id()
        if not instance:
            raise UpstreamError("NODE_NAME is not set and the metadata service names no instance")
        for node in self._cluster.nodes():
            if node.provider_id.rpartition(".")[2] == instance:
                return node
        raise UpstreamError(f"no node is on instance {instance}", hint="Set NODE_NAME.")

    @property
    def _ref(self) -> ObjectRef:
        return ObjectRef("v1", "Node", "", self._node)

    def _termination_s(self, notice: Notice, seen_s: float) -> float:
        """When the machine goes. A time that was over when we first saw it, or is too far ahead, is taken for ASSUMED_S;
        one sooner than that counts once a second answer has said the same."""
        ends_s, assumed_s = notice.terminates.timestamp(), seen_s + ASSUMED_S
        if not seen_s < ends_s <= seen_s + FAR_S:
            return assumed_s
        return ends_s if self._notice_answers >= NOTICE_ANSWERS else max(ends_s, assumed_s)

    def _seen_s(self) -> float:
        """When we first saw the notice, by the cloud's clock as it is known now."""
        return self._notice_seen_s + self._offset_s

    def _take(self, notice: Notice) -> None:
        """A notice is in force: make sure that the record says so and the node is cordoned."""
        record, text = self._record, notice.text
        if record is not None and record.notice == text:
            seen_s = record.seen_s if text == self._inherited else self._seen_s()
            ends_s = self._termination_s(notice, seen_s)
            if abs(ends_s - record.termination_s) > JUMP_S:
                log.warning("the end is %+.0f s from what was taken", ends_s - record.termination_s)
                self._write(msgspec.structs.replace(record, termination_s=ends_s, seen_s=seen_s))
            return
        seen_s, self._inherited = self._seen_s(), None
        if record is not None:
            log.warning("the notice changed: %s", text)
            self._write(
                msgspec.structs.replace(
                    record,
                    notice=text,
                    termination_s=self._termination_s(notice, seen_s),
                    finished=False,
                )
            )
            return
        node = self._cluster.find_node(self._node)
        if node is None:
            raise UpstreamError(f"there is no node {self._node} any more")
        self._metrics.count("saleops_spot_notices_total")
        self._write(
            Record(
                termination_s=self._termination_s(notice, seen_s),
                seen_s=seen_s,
                notice=text,
                was_cordoned=node.unschedulable,
                had_label=NO_BALANCERS in node.labels,
            )
        )
        self._cordoned = False

    def _cordon(self) -> None:
        """Cordon, taint and label; once a life, and harmless twice."""
        node = self._cluster.set_unschedulable(self._node, True)
        read_s = self._notice_seen_s
        if TAINT not in (taint.key for taint in node.taints):  # a restart finds it there
            took_s = self._monotonic_s() - read_s if read_s else 0.0
            self._metrics.count("saleops_spot_cordons_total")
            self._metrics.set("saleops_spot_seconds_to_cordon", round(took_s, 3))
            log.warning("cordoned %s, %.2f s after reading the notice", self._node, took_s)
        self._cluster.add_taint(self._node, Taint(TAINT, "NoSchedule", "reclaimed"))
        self._cluster.label(self._ref, {LABEL: "reclaimed", NO_BALANCERS: "true"})
        self._cordoned = True
        record = self._record
        left_s = record.termination_s - self.now_s() if record is not None else 0.0
        self._tell(
            "SpotTermination",
            f"The instance is reclaimed in {left_s:.0f} s; cordoned",
            warning=True,
        )

    def _drain(self, record: Record) -> None:
        assert self._draining is not None, "loaded"
        assert self._replacements is not None, "loaded"
        if not record.surge_planned:
            lost: dict[str, int] = {}
            for pod, workload in self._draining.doomed():
                if workload and not pod.terminating:
                    lost[workload] = lost.get(workload, 0) + 1
            record = self._replacements.plan(record, lost)
        record = self._replacements.raise_all(record)
        plan, doomed = self._draining.step(record, waiting=self._replacements.waiting)
        self._metrics.set("saleops_spot_pods_left", plan.left)
        if not record.switched and any(act.verb == "delete" for act in plan.acts):
            record = msgspec.structs.replace(record, switched=True)
            self._write(record)
        staying: dict[str, int] = {}
        for pod, workload in doomed:
            # An eviction just granted makes its own replacement: ours is taken back before that one has started.
            if not pod.terminating and not self._draining.has_granted(pod):
                staying[workload] = staying.get(workload, 0) + 1
        record = self._replacements.follow(record, staying)
        facts = DrainFacts(record.termination_s, record.seen_s, ())
        if plan.done or self.now_s() >= deadline_s(facts, self._settings.rules):
            # At the deadline too: this handler goes with its machine, and nobody else knows what it raised.
            record = self._replacements.give_back(record)
        if plan.done:
            self._write(msgspec.structs.replace(record, finished=True))
            left_s = record.termination_s - self.now_s()
            self._tell(
                "SpotDrained", f"Every pod has left, {left_s:.0f} s before the instance goes"
            )

    def _may_cancel(self, record: Record) -> bool:
        """A withdrawn notice is believed until the first pod's switch, and again when the machine has outlived its end."""
        assert self._draining is not None, "loaded"
        now_s = self.now_s()
        if self._settings.mode == "cordon-only" or now_s > record.termination_s + OUTLIVED_S:
            return True
        if record.switched:
            return False
        facts = DrainFacts(record.termination_s, record.seen_s, ())
        rules = self._settings.rules
        switches = [switch_s(pod, facts, rules) for pod, _ in self._draining.doomed()]
        return now_s < min(switches, default=deadline_s(facts, rules))

    def _cancel(self, record: Record) -> None:
        """The notice was withdrawn: everything as it was. The record goes last."""
        assert self._replacements is not None, "loaded"
        record = self._replacements.give_back(record)
        if not record.was_cordoned:
            self._cluster.set_unschedulable(self._node, False)
        self._cluster.remove_taint(self._node, TAINT)
        self._cluster.label(
            self._ref, {LABEL: None} if record.had_label else {LABEL: None, NO_BALANCERS: None}
        )
        self._cluster.annotate(self._ref, {RECORD: None})
        with self._lock:
            self._record, self._cordoned, self._notice_text = None, False, None
            self._inherited, self._notice_answers = None, 0
        self._metrics.count("saleops_spot_cancelled_total")
        self._metrics.set("saleops_spot_pods_left", 0)
        log.warning("the notice was withdrawn; %s takes pods again", self._node)
        self._tell("SpotTerminationWithdrawn", "The notice was withdrawn; uncordoned")

    def _rehearse(self, notice: Notice) -> None:
        """Dry run: ask the API whether it would, and say what would happen; once a notice."""
        assert self._draining is not None, "loaded"
        if self._rehearsed == notice.text:
            return
        self._cluster.set_unschedulable(self._node, True, dry_run=True)
        facts = DrainFacts(
            self._termination_s(notice, self._seen_s()),
            self._seen_s(),
            tuple(DoomedPod(pod, workload) for pod, workload in self._draining.doomed()),
        )
        rules, now_s = self._settings.rules, self.now_s()
        log.warning("dry run: would cordon %s and evict %d pods", self._node, len(facts.pods))
        for one in facts.pods:
            answer = self._cluster.evict(one.pod, dry_run=True)
            log.warning(
                "dry run: %s/%s waits %.0f s at most for its replacement, is deleted after %.0f s; eviction now: %s %s",
                one.pod.namespace,
                one.pod.name,
                max(hold_s(one.pod, facts, rules) - now_s, 0),
                max(switch_s(one.pod, facts, rules) - now_s, 0),
                answer.outcome,
                answer.message,
            )
        self._rehearsed = notice.text

    def _write(self, record: Record) -> None:
        """On the node, then in memory. Raises ClusterError, and the memory is as before."""
        self._cluster.annotate(self._ref, {RECORD: record.encoded()})
        self._record = record

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        """An event for people; one that is lost holds up nothing."""
        try:
            self._cluster.record_event(
                self._ref,
                reason=reason,
                message=message,
                action="Drain",
                warning=warning,
                component=COMPONENT,
            )
        except ClusterError as error:
            log.warning("%s", error.message)
