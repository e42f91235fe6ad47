"""What to do with a spot node's pods in the minutes between the notice and the machine's end.

The arithmetic, in seconds of the cloud's clock::

    seen ............ hold ............ switch ........ deadline .... termination
    surge: replacements   evict, budgets   delete: what a   everything   the machine
    come up first         honoured         budget still     has ended    is gone
                                           holds back

    deadline(node) = termination - margin
    switch(pod)    = deadline - grace(pod) - lead     the last moment at which its whole grace still fits
    hold(pod)      = min(seen + surge time, switch(pod) - try time)     until then it goes only if its replacement is up

``plan_drain`` is a function of what is there now: it remembers nothing, so a handler that was killed goes on by asking again.
A pod without a replacement waits for ``hold``; a pod whose grace does not fit any more goes first, its grace cut to what is left;
a budget is broken at ``switch``, pod by pod, and never before: a short grace keeps its budget longer than a long one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Literal

from saleops.domain.cluster import Pod

NOTICE_S = 300.0
"""From the notice to the end of a spot instance, about (Alibaba Cloud, "Preemptible instances")."""

Skip = Literal["daemon set", "static pod", "finished", "local data"]


@dataclass(frozen=True, slots=True)
class DrainRules:
    margin_s: float = (
        30.0  # between the last pod's end and the machine's: for slow calls and a late poll
    )
    surge_s: float = 90.0  # how long evictions wait for replacements
    lead_s: float = 3.0  # from deciding to delete to the deletion being under way
    try_s: float = 20.0  # evictions get at least this long before the switch
    grace_max_s: int = 0  # a longer grace is cut to this; 0: only to the time that is left
    leave_local_data: bool = False  # pods with an emptyDir stay until the machine goes

    def __post_init__(self) -> None:
        for name in ("margin_s", "surge_s", "lead_s", "try_s", "grace_max_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is below 0")


@dataclass(frozen=True, slots=True)
class Spare:
    """A workload that loses pods. ``ready`` is how many of its pods may go now without its falling below what it had wanted
    before the notice; None where nothing can be brought up beforehand (a StatefulSet, a bare pod)."""

    ready: int | None = None


@dataclass(frozen=True, slots=True)
class DoomedPod:
    """``workload`` is its Deployment or StatefulSet as "shop/order", empty for a pod of nobody. ``retry_at_s``: a budget
    refused it, it may be asked again then. ``stuck``: eviction will never answer for it (two budgets cover it)."""

    pod: Pod
    workload: str = ""
    retry_at_s: float = 0.0
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class DrainFacts:
    """The node now. All times in seconds since the epoch, by the cloud's clock."""

    termination_s: float
    seen_s: float
    pods: tuple[DoomedPod, ...]
    spares: Mapping[str, Spare] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Act:
    """``evict`` asks budgets, ``delete`` does not. ``grace_s`` is None where the pod's own holds."""

    verb: Literal["evict", "delete"]
    pod: Pod
    grace_s: int | None
    why: str


@dataclass(frozen=True, slots=True)
class DrainPlan:
    acts: tuple[Act, ...] = ()
    waiting: Mapping[str, str] = field(
        default_factory=dict
    )  # "shop/order-x" -> why it is not asked now
    left: int = 0  # pods that are still there, those on their way out included
    next_look_s: float | None = None  # when this plan changes by itself

    @property
    def done(self) -> bool:
        return self.left == 0


def deadline_s(facts: DrainFacts, rules: DrainRules) -> float:
    """When every pod should have ended. A notice shorter than the margin leaves half of it."""
    notice_s = max(facts.termination_s - facts.seen_s, 0.0)
    return facts.termination_s - min(rules.margin_s, notice_s / 2)


def skip_reason(pod: Pod, rules: DrainRules) -> Skip | None:
    """Why a drain leaves ``pod`` alone; None where it has to go."""
    if pod.finished:
        return "finished"
    if pod.is_mirror:
        return "static pod"
    if pod.of_daemon_set:
        return "daemon set"
    if rules.leave_local_data and pod.local_storage:
        return "local data"
    return None


def wanted_grace_s(pod: Pod, rules: DrainRules) -> int:
    return min(pod.grace_s, rules.grace_max_s) if rules.grace_max_s else pod.grace_s


def switch_s(pod: Pod, facts: DrainFacts, rules: DrainRules) -> float:
    """From now on its budget is not asked any more."""
    return deadline_s(facts, rules) - wanted_grace_s(pod, rules) - rules.lead_s


def hold_s(pod: Pod, facts: DrainFacts, rules: DrainRules) -> float:
    """Until then it goes only where a replacement is up."""
    return min(facts.seen_s + rules.surge_s, switch_s(pod, facts, rules) - rules.try_s)


def plan_drain(facts: DrainFacts, rules: DrainRules, now_s: float) -> DrainPlan:
    """What to ask of the API at ``now_s``, the most urgent first."""
    doomed = [one for one in facts.pods if skip_reason(one.pod, rules) is None]
    doomed.sort(key=lambda one: (switch_s(one.pod, facts, rules), one.pod.namespace, one.pod.name))
    acts: list[Act] = []
    waiting: dict[str, str] = {}
    looks: list[float] = []
    going = Counter(one.workload for one in doomed if one.pod.terminating)
    room = {name: spare.ready for name, spare in facts.spares.items() if spare.ready is not None}
    widths = _widths(doomed, going, facts, rules, now_s)
    for one in doomed:
        pod, key = one.pod, f"{one.pod.namespace}/{one.pod.name}"
        switch = switch_s(pod, facts, rules)
        if pod.terminating:
            if (act := _shortened(pod, facts, rules, now_s)) is not None:
                acts.append(act)
            continue
        if now_s >= switch:
            acts.append(_at_switch(pod, facts, rules, now_s))
            continue
        if one.stuck:
            waiting[key] = "eviction cannot answer for it; it is deleted at the switch"
            looks.append(switch)
            continue
        replaced = room.get(one.workload, 0) > 0
        hold = hold_s(pod, facts, rules)
        if one.workload in room and not replaced and now_s < hold:
            waiting[key] = "its replacement is not up yet"
            looks.append(hold)
            continue
        if not replaced and one.workload and going[one.workload] >= widths[one.workload]:
            waiting[key] = "its wave has not come yet"
            looks.append(switch)
            continue
        if now_s < one.retry_at_s:
            waiting[key] = "a disruption budget refused it just now"
            looks.append(min(one.retry_at_s, switch))
            continue
        if replaced:
            room[one.workload] -= 1
        going[one.workload] += 1
        acts.append(
            Act(
                "evict",
                pod,
                _cut(pod, facts, rules, now_s),
                "its replacement is up" if replaced else "its time has come",
            )
        )
    return DrainPlan(tuple(acts), waiting, len(doomed), min(looks, default=None))


def _at_switch(pod: Pod, facts: DrainFacts, rules: DrainRules, now_s: float) -> Act:
    left_s = max(deadline_s(facts, rules) - now_s, 0.0)
    why = (
        f"{left_s:.0f} s are left and its grace is {pod.grace_s} s: budgets are not asked any more"
    )
    return Act("delete", pod, _cut(pod, facts, rules, now_s), why)


def _shortened(pod: Pod, facts: DrainFacts, rules: DrainRules, now_s: float) -> Act | None:
    """A pod that somebody ends too slowly for this machine is told the time that it has."""
    assert pod.deleted_at is not None
    end_s = deadline_s(facts, rules)
    if pod.deleted_at.timestamp() <= max(end_s, now_s + 1) + 1:
        return None
    return Act(
        "delete",
        pod,
        max(floor(end_s - now_s), 1),
        "its end was asked for with more time than there is",
    )


def _cut(pod: Pod, facts: DrainFacts, rules: DrainRules, now_s: float) -> int | None:
    """The grace to ask for; None where the pod's own fits. Never 0: that would end it without SIGTERM."""
    fits = max(floor(deadline_s(facts, rules) - now_s), 1)
    grace = min(wanted_grace_s(pod, rules), fits)
    return None if grace >= pod.grace_s else max(grace, 1)


def _widths(
    doomed: Iterable[DoomedPod],
    going: Mapping[str, int],
    facts: DrainFacts,
    rules: DrainRules,
    now_s: float,
) -> dict[str, int]:
    """How many pods of a workload may end at the same time when no replacement came: as few as still fit before the switch.

    In the time until the last pod has to start, ``turns`` waves of one grace each fit, so a wave takes what is left over the
    turns. One wave that is under way counts as a turn of its own.
    """
    widths: dict[str, int] = {}
    by_workload: dict[str, list[Pod]] = {}
    for one in doomed:
        if not one.pod.terminating:
            by_workload.setdefault(one.workload, []).append(one.pod)
    for workload, pods in by_workload.items():
        grace_s = max(max(wanted_grace_s(pod, rules) for pod in pods), 1)
        window_s = min(switch_s(pod, facts, rules) for pod in pods) - now_s
        turns = floor(max(window_s, 0.0) / grace_s) + 1
        widths[workload] = max(ceil((len(pods) + going.get(workload, 0)) / turns), 1)
    return widths
