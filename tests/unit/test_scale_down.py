"""Going down: refused while anything is left to do, exact restoring, drains that honour budgets, foreign changes left."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from saleops.domain.messages import ORDERS
from saleops.errors import Refused, StoreUnavailable
from saleops.operations.dlq import queues
from saleops.operations.scale.gate import QueueState, queue_state
from saleops.ports.broker import Depth
from scale_bench import SALE, Deadly, Killed, ScaleBench

EMPTY = QueueState()


def raised() -> ScaleBench:
    """Both sides up, and the sale over."""
    bench = ScaleBench(pools={"core": 4}, base={"core": 2}, services={"order": 20})
    bench.deploy("order", replicas=3)
    bench.hpa("order", low=3, high=5)
    assert bench.up().ready
    bench.opens = bench.now
    bench.lasts_s = 1
    bench.advance(10)
    bench.forget_calls()
    return bench


def test_everything_is_what_it_was_exactly() -> None:
    bench = raised()

    report = bench.down()

    assert report.restored
    assert bench.bounds("order") == (3, 5)
    assert bench.replicas("order") == 3
    assert bench.pool_size("core") == 2
    assert len(bench.nodes("core")) == 2
    assert bench.journal.records == {}
    workload = bench.kube.cluster().find_workload("Deployment", SALE, "order")
    assert workload is not None
    assert "saleops.io/scale" not in workload.annotations


def test_pods_shrink_before_nodes_go_and_nodes_are_drained_first() -> None:
    bench = raised()

    bench.down()

    heard = [
        (place, call) for place, call in enumerate(bench.kube.calls) if call.get("verb") in ("patch", "create")
    ]  # fmt: skip
    scale = max(place for place, call in heard if call["resource"] == "deployments/scale")
    cordons = [place for place, call in heard if call["resource"] == "nodes"]
    assert scale < min(cordons)
    assert [call.api for call in bench.port.writes] == ["RemoveNodePoolNodes"]
    assert bench.port.marks[-1] > max(cordons)


def test_a_second_time_there_is_nothing_to_give_back() -> None:
    bench = raised()
    bench.down()
    bench.forget_calls()

    report = bench.down()

    assert report.restored
    assert not report.changed
    assert report.steps == ()
    assert bench.cluster_writes == []
    assert bench.port.writes == []


def test_a_size_that_somebody_changed_is_told_and_left() -> None:
    bench = raised()
    bench.kube.cluster().set_hpa_bounds(SALE, "order", min_replicas=8)

    report = bench.down()

    assert bench.bounds("order") == (8, 40)
    assert report.left == (
        f"HorizontalPodAutoscaler {SALE}/order: it is min 8, max 40, not the min 20, max 40 we set",
    )


def test_force_restores_what_somebody_changed() -> None:
    bench = raised()
    bench.kube.cluster().set_hpa_bounds(SALE, "order", min_replicas=8)

    report = bench.down(force=True)

    assert report.restored
    assert bench.bounds("order") == (3, 5)


def test_nodes_with_a_pod_that_may_not_go_stay_cordoned_and_a_second_run_goes_on() -> None:
    bench = ScaleBench(pools={"core": 3}, base={"core": 1}, services={"order": 12})
    bench.deploy("order", replicas=12)
    assert bench.up().ready
    bench.deploy("cache", replicas=6)
    bench.kube.budget("cache", namespace=SALE, app="cache", maxUnavailable=0)

    report = bench.down(timeout_s=60)

    assert not report.restored
    stuck = [one for one in report.nodes if one.left]
    assert stuck
    assert any("disruption budget" in reason for one in stuck for reason in one.reasons)
    nodes = {one.name: one for one in bench.kube.cluster().nodes()}
    assert all(nodes[one.node].unschedulable for one in stuck)
    assert bench.journal.records["nodepool/core"].original == {"desired_size": 1}

    bench.kube.call("DELETE", f"/apis/policy/v1/namespaces/{SALE}/poddisruptionbudgets/cache")
    again = bench.down()
    assert again.restored
    assert len(bench.nodes("core")) == 1
    assert bench.pool_size("core") == 1


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7])
def test_killed_at_every_change_of_the_cluster_it_ends_the_same(phase: str, at: int) -> None:
    bench = raised()
    bench.wrap = lambda cluster: Deadly(cluster, at, phase)
    with pytest.raises(Killed):
        bench.down()
    bench.wrap = lambda cluster: cluster

    report = bench.down()

    assert report.restored
    assert bench.bounds("order") == (3, 5)
    assert bench.replicas("order") == 3
    assert bench.pool_size("core") == 2
    assert len(bench.nodes("core")) == 2
    assert bench.journal.records == {}


def test_another_machine_without_the_journal_gives_everything_back() -> None:
    bench = raised()
    bench.journal = type(bench.journal)()

    report = bench.down()

    assert report.restored
    assert bench.bounds("order") == (3, 5)
    assert bench.pool_size("core") == 2


def test_an_annotation_that_somebody_removed_is_in_the_journal() -> None:
    bench = raised()
    workload = bench.kube.cluster().find_workload("Deployment", SALE, "order")
    hpa = bench.kube.cluster().find_hpa(SALE, "order")
    assert workload is not None
    assert hpa is not None
    for ref in (workload.ref, hpa.ref):
        bench.kube.cluster().annotate(ref, {"saleops.io/scale": None})

    report = bench.down()

    assert report.restored
    assert bench.bounds("order") == (3, 5)
    assert bench.replicas("order") == 3


def test_read_nodes_and_shards_go_last() -> None:
    bench = ScaleBench(
        read_nodes=2,
        shards=4,
        base={"database": 2, "cache": 2},
        opens_in_s=3 * 86_400,
        services={"order": 4},
    )
    bench.kube.add_nodes(2)
    bench.deploy("order", replicas=2)
    assert bench.up().ready
    bench.port.writes.clear()

    report = bench.down()

    assert report.restored, report
    assert [one.phase for one in report.steps] == ["pods", "cache", "database"]
    assert [call.api for call in bench.port.writes] == ["ModifyInstanceSpec", "DeleteDBNodes"]


# -- the gate ------------------------------------------------------------------------------------------------------


def test_an_open_sale_refuses() -> None:
    bench = ScaleBench(opens_in_s=-60)

    with pytest.raises(Refused, match="is open until") as refused:
        bench.gate(EMPTY)

    assert refused.value.exit_code == 5


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (QueueState(waiting=3, in_flight=2), "5 messages on their way"),
        (QueueState(halves=1, discarded=1), "2 half messages"),
        (QueueState(dead=4), "4 dead letters"),
    ],
    ids=["lag", "halves", "dead"],
)
def test_what_is_not_drained_refuses(state: QueueState, said: str) -> None:
    bench = ScaleBench(opens_in_s=-7200)

    with pytest.raises(Refused, match=said):
        bench.gate(state)


def test_queues_that_nobody_sees_refuse_unless_a_person_says_why_not() -> None:
    bench = ScaleBench(opens_in_s=-7200)
    away = StoreUnavailable("the broker does not answer")

    with pytest.raises(Refused, match="nobody knows") as refused:
        bench.gate(away)
    told = bench.gate(away, accept="ticket 4711")

    assert "--accept-unseen" in (refused.value.hint or "")
    assert "ticket 4711" in told[0]


def test_messages_that_are_not_due_are_told() -> None:
    bench = ScaleBench(opens_in_s=-7200)

    assert bench.gate(QueueState(delayed=7)) == ("7 delayed messages are not due yet",)


class Busy:
    """A broker with something everywhere."""

    async def depth(self, topic: str, group: str) -> Depth:
        return Depth(halves=2, delayed=1, waiting=3, in_flight=1, dead=1)

    async def discarded(self, topic: str) -> AsyncIterator[str]:
        yield "half"


def test_every_queue_is_asked_and_a_half_is_counted_once() -> None:
    groups = len(list(queues()))
    orders = sum(topic == ORDERS for topic, _ in queues())

    state = asyncio.run(queue_state(Busy()))  # type: ignore[arg-type]  # the two questions it asks

    assert (state.waiting, state.in_flight, state.dead) == (3 * groups, groups, groups)
    assert state.discarded == 1
    assert state.halves == (2 if orders else 0)


def standing() -> ScaleBench:
    """Up, an hour and more before the sale."""
    bench = ScaleBench(services={"order": 20})
    bench.kube.add_nodes(6)
    bench.deploy("order", replicas=2)
    bench.hpa("order", low=2, high=4)
    assert bench.up().ready
    return bench


@pytest.mark.parametrize("left_s", [86_399, 3_600, 50, 1])
def test_a_floor_that_stands_for_a_sale_to_come_is_not_given_back(left_s: float) -> None:
    bench = standing()
    bench.opens = bench.now + timedelta(seconds=left_s)

    with pytest.raises(Refused, match="is scaled up and opens in") as refused:
        bench.early()

    assert refused.value.exit_code == 5
    assert "--before-sale" in (refused.value.hint or "")


def test_a_sale_that_is_off_is_given_back_with_a_reason() -> None:
    bench = standing()

    (told,) = bench.early("called off, ticket 4711")
    assert told.endswith("before the sale opens: called off, ticket 4711")
    assert bench.down().restored
    assert bench.early() == ()  # nothing stands any more


def test_after_the_close_no_reason_is_asked_for() -> None:
    assert raised().early() == ()


# -- other sales, and things that went ------------------------------------------------------------------------------


def test_going_down_leaves_what_another_sale_recorded() -> None:
    bench = raised()
    bench.sale, bench.journal = "other", type(bench.journal)()

    report = bench.down(force=True)

    assert report.steps == ()
    assert bench.bounds("order") == (20, 40)
    assert bench.pool_size("core") == 4
    assert not bench.status().scaled
    assert any(f"held by {SALE}" in one for one in bench.status().notes)


def test_what_was_deleted_meanwhile_is_closed_in_the_journal() -> None:
    bench = standing()
    path = f"/apis/autoscaling/v2/namespaces/{SALE}/horizontalpodautoscalers/order"
    bench.kube.call("DELETE", path)
    bench.kube.call("DELETE", f"/apis/apps/v1/namespaces/{SALE}/deployments/order")

    report = bench.down()

    assert report.restored
    assert {one.result for one in report.steps} == {"gone"}
    assert bench.journal.records == {}
    assert bench.down().steps == ()


# -- status --------------------------------------------------------------------------------------------------------


def test_status_tells_wanted_asked_ready_and_what_was_before() -> None:
    bench = raised()
    status = bench.status()

    assert status.scaled
    assert status.ok
    assert [(one.wanted, one.asked, one.ready) for one in status.rows] == [(20, 20, 20), (4, 4, 4)]
    assert status.rows[1].original == {"desired_size": 2}


def test_status_says_when_the_floor_is_lowered() -> None:
    bench = raised()
    bench.kube.cluster().set_hpa_bounds(SALE, "order", min_replicas=8)

    status = bench.status()

    assert not status.ok
    assert "minReplicas 8, the floor is 20" in status.drift[0]


def test_a_cluster_that_nobody_scaled_is_in_order_until_it_is_due() -> None:
    bench = ScaleBench()
    bench.kube.add_nodes(1)
    bench.deploy("order", replicas=2)

    long_before = bench.status()
    bench.opens = bench.now
    in_the_sale = bench.status()

    assert long_before.ok
    assert not in_the_sale.ok
