"""The arithmetic of a spot drain, as rules that hold for every node, and played out second by second with budgets that refuse."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saleops.domain.cluster import ObjectRef, Pod
from saleops.domain.spot_drain import (
    DoomedPod,
    DrainFacts,
    DrainRules,
    Spare,
    deadline_s,
    hold_s,
    plan_drain,
    skip_reason,
    switch_s,
    wanted_grace_s,
)

RULES = DrainRules()
SEEN = 1_793_900_000.0


def pod(name: str = "a", *, grace_s: int = 30, **more: object) -> Pod:
    return Pod("shop", name, f"uid-{name}", "1", "Running", True, "spot-0", grace_s=grace_s, **more)  # type: ignore[arg-type]


def facts(
    *pods: DoomedPod, notice_s: float = 300.0, spares: dict[str, Spare] | None = None
) -> DrainFacts:
    return DrainFacts(SEEN + notice_s, SEEN, pods, spares or {})


def test_a_daemon_sets_pod_a_static_pod_and_a_finished_one_are_left_alone() -> None:
    owner = ObjectRef("apps/v1", "DaemonSet", "shop", "agent")
    mirror = {"kubernetes.io/config.mirror": "x"}

    assert skip_reason(pod(owner=owner), RULES) == "daemon set"
    assert skip_reason(pod(annotations=mirror), RULES) == "static pod"
    assert skip_reason(replace(pod(), phase="Succeeded"), RULES) == "finished"
    assert skip_reason(pod(), RULES) is None


def test_local_data_stays_only_where_asked_for() -> None:
    one = pod(local_storage=True)

    assert skip_reason(one, RULES) is None
    assert skip_reason(one, DrainRules(leave_local_data=True)) == "local data"


def test_a_pod_without_replacement_waits_and_then_goes() -> None:
    given_ = facts(DoomedPod(pod(), "shop/order"), spares={"shop/order": Spare(0)})

    assert plan_drain(given_, RULES, SEEN + 1).acts == ()
    (act,) = plan_drain(given_, RULES, SEEN + RULES.surge_s).acts
    assert (act.verb, act.grace_s) == ("evict", None)


def test_one_replacement_lets_one_pod_go_and_no_more() -> None:
    pods = [DoomedPod(pod(name), "shop/order") for name in "abc"]

    plan = plan_drain(facts(*pods, spares={"shop/order": Spare(1)}), RULES, SEEN + 1)

    assert [act.verb for act in plan.acts] == ["evict"]
    assert len(plan.waiting) == 2


def test_the_longest_grace_goes_first() -> None:
    pods = [DoomedPod(pod("short", grace_s=10)), DoomedPod(pod("long", grace_s=100))]

    plan = plan_drain(facts(*pods, notice_s=160), RULES, SEEN + 1)

    assert plan.acts[0].pod.name == "long"


def test_a_grace_that_does_not_fit_is_cut_and_the_pod_deleted_at_once() -> None:
    one = DoomedPod(pod(grace_s=600), "shop/order", retry_at_s=SEEN + 999)

    (act,) = plan_drain(facts(one, spares={"shop/order": Spare(0)}), RULES, SEEN).acts

    assert (act.verb, act.grace_s) == ("delete", 270)


def test_a_pod_with_two_budgets_waits_for_the_switch() -> None:
    one = DoomedPod(pod(), "shop/order", stuck=True)
    switch = switch_s(one.pod, facts(one), RULES)

    assert plan_drain(facts(one), RULES, switch - 1).acts == ()
    assert plan_drain(facts(one), RULES, switch).acts[0].verb == "delete"


def test_an_end_that_was_asked_for_too_slowly_is_brought_forward() -> None:
    late = datetime.fromtimestamp(SEEN + 900, UTC)
    soon = datetime.fromtimestamp(SEEN + 40, UTC)

    plan = plan_drain(
        facts(DoomedPod(pod("a", deleted_at=late)), DoomedPod(pod("b", deleted_at=soon))),
        RULES,
        SEEN,
    )

    assert [(act.pod.name, act.verb, act.grace_s) for act in plan.acts] == [("a", "delete", 270)]
    assert plan.left == 2


def test_an_empty_node_is_done() -> None:
    assert plan_drain(facts(), RULES, SEEN).done


@pytest.mark.parametrize("left_s", [0.0, -5.0, -500.0])
def test_after_the_deadline_a_pod_still_gets_a_second(left_s: float) -> None:
    one = DoomedPod(pod())

    (act,) = plan_drain(facts(one), RULES, deadline_s(facts(one), RULES) - left_s).acts

    assert (act.verb, act.grace_s) == ("delete", 1)


def test_negative_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="margin_s"):
        DrainRules(margin_s=-1)


# -- played out -----------------------------------------------------------------------------------------------

RULE_SETS = st.builds(
    DrainRules,
    margin_s=st.sampled_from([0.0, 5.0, 30.0, 60.0]),
    surge_s=st.sampled_from([0.0, 20.0, 90.0, 240.0]),
    grace_max_s=st.sampled_from([0, 0, 45, 120]),
)
NODES = st.lists(
    st.tuples(
        st.integers(0, 400),  # grace
        st.sampled_from(["shop/order", "shop/catalog", "shop/db", ""]),
        st.booleans(),  # two budgets
    ),
    max_size=12,
)


class Play:
    """A node in seconds: budgets grant at random, pods end after their whole grace, replacements come at random times."""

    def __init__(
        self,
        rules: DrainRules,
        notice_s: int,
        nodes: list[tuple[int, str, bool]],
        draw: st.DataObject,
    ) -> None:
        self.rules = rules
        self.termination_s = SEEN + notice_s
        self.pods = {
            f"p{place}": DoomedPod(pod(f"p{place}", grace_s=grace), workload, stuck=stuck)
            for place, (grace, workload, stuck) in enumerate(nodes)
        }
        self.draw = draw
        self.up_at = {
            name: SEEN + draw.draw(st.integers(0, 300)) for name in ("shop/order", "shop/catalog")
        }
        self.gone_at: dict[str, float] = {}
        self.granted: dict[str, int] = {}
        self.deleted_early: list[str] = []
        self.evicted_early: list[str] = []

    def facts(self, now_s: float) -> DrainFacts:
        spares = {
            name: Spare(max(9 - self.granted.get(name, 0), 0) if now_s >= up else 0)
            for name, up in self.up_at.items()
        }
        return DrainFacts(self.termination_s, SEEN, tuple(self.pods.values()), spares)

    def run(self) -> None:
        now_s = SEEN
        while now_s <= self.termination_s and self.pods:
            for name, one in list(self.pods.items()):
                if one.pod.deleted_at is not None and one.pod.deleted_at.timestamp() <= now_s:
                    self.gone_at[name] = now_s
                    del self.pods[name]
            seen = self.facts(now_s)
            for act in plan_drain(seen, self.rules, now_s).acts:
                self.act(act.verb, act.pod, act.grace_s, seen, now_s)
            now_s += 1.0

    def act(self, verb: str, one: Pod, grace_s: int | None, seen: DrainFacts, now_s: float) -> None:
        held = self.pods[one.name]
        grace = one.grace_s if grace_s is None else grace_s
        if verb == "delete" and one.deleted_at is None and now_s < switch_s(one, seen, self.rules):
            self.deleted_early.append(one.name)
        if verb == "evict":
            waits = held.workload in self.up_at and now_s < self.up_at[held.workload]
            if waits and now_s < hold_s(one, seen, self.rules):
                self.evicted_early.append(one.name)
            if not self.draw.draw(st.booleans()):
                self.pods[one.name] = replace(held, retry_at_s=now_s + 2)
                return
            self.granted[held.workload] = self.granted.get(held.workload, 0) + 1
        end = datetime.fromtimestamp(now_s + grace, UTC)
        self.pods[one.name] = replace(held, pod=replace(one, deleted_at=end))


@settings(max_examples=250, deadline=None)
@given(RULE_SETS, st.integers(0, 320), NODES, st.data())
def test_every_pod_is_gone_by_the_deadline_and_no_budget_is_broken_before_the_switch(
    rules: DrainRules, notice_s: int, nodes: list[tuple[int, str, bool]], data: st.DataObject
) -> None:
    play = Play(rules, notice_s, nodes, data)
    everyone = dict(play.pods)
    start = play.facts(SEEN)
    end_s = deadline_s(start, rules)

    play.run()

    assert play.deleted_early == []
    assert play.evicted_early == []
    for name, one in everyone.items():
        in_time = SEEN + wanted_grace_s(one.pod, rules) + rules.lead_s + 2 <= end_s
        if in_time:
            assert play.gone_at.get(name, float("inf")) <= end_s + 1, name


@settings(max_examples=300, deadline=None)
@given(RULE_SETS, st.integers(0, 320), NODES, st.floats(-10, 400))
def test_a_plan_names_each_pod_once_and_never_asks_for_a_longer_grace(
    rules: DrainRules, notice_s: int, nodes: list[tuple[int, str, bool]], at_s: float
) -> None:
    pods = tuple(
        DoomedPod(pod(f"p{place}", grace_s=grace), workload, stuck=stuck)
        for place, (grace, workload, stuck) in enumerate(nodes)
    )
    given_ = DrainFacts(SEEN + notice_s, SEEN, pods, {"shop/order": Spare(1)})

    plan = plan_drain(given_, rules, SEEN + at_s)

    names = [act.pod.name for act in plan.acts]
    assert len(set(names)) == len(names)
    assert len(names) + len(plan.waiting) == plan.left == len(pods)
    for act in plan.acts:
        assert act.grace_s is None or 1 <= act.grace_s < max(act.pod.grace_s, 2)
    if plan.next_look_s is not None:
        assert plan.next_look_s > SEEN + at_s
