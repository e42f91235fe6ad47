"""Going up: nodes before pods, barriers with counts and reasons, second runs, kills, conflicts, throttling."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from saleops.adapters.file_scale_journal import MemoryScaleJournal, scale_journal_path
from saleops.domain.cloud.calls import Call
from saleops.domain.lead_times import LeadTimes
from saleops.domain.scale_records import record_in, without_user
from saleops.errors import CloudError, Refused
from saleops.events import Finished, Started, Warned
from saleops.operations.scale.gate import may_go_up
from scale_bench import SALE, Deadly, Killed, ScaleBench


def both_sides() -> ScaleBench:
    bench = ScaleBench(pools={"core": 4}, base={"core": 1}, services={"order": 24})
    bench.deploy("order", replicas=2)
    bench.hpa("order", low=2, high=4)
    bench.forget_calls()
    return bench


def test_pods_alone_go_up_and_a_second_run_writes_nothing() -> None:
    bench = ScaleBench()
    bench.kube.add_nodes(3)
    bench.deploy("order", replicas=2)

    report = bench.up()
    bench.forget_calls()
    again = bench.up()

    assert report.ready
    assert report.changed
    assert bench.replicas("order") == 6
    assert [(one.wanted, one.ready) for one in report.pods] == [(6, 6)]
    assert again.ready
    assert not again.changed
    assert bench.cluster_writes == []


def test_nodes_come_first_and_pods_are_asked_for_when_all_nodes_are_ready() -> None:
    bench = both_sides()

    report = bench.up()

    assert report.ready
    assert [call.api for call in bench.port.writes] == ["ModifyClusterNodePool"]
    assert [one.ready for one in report.nodes] == [4]
    heard = [
        place
        for place, call in enumerate(bench.kube.calls)
        if call.get("verb") == "patch" and call["resource"] == "horizontalpodautoscalers"
    ]
    assert heard[0] > bench.port.marks[0]
    told = [(type(one), one.task) for one in bench.events if isinstance(one, Started | Finished)]
    assert told.index((Finished, "nodes")) < told.index((Started, "pods"))


def test_a_second_run_sends_nothing_to_either_side() -> None:
    bench = both_sides()
    bench.up()
    bench.forget_calls()

    again = bench.up()

    assert again.ready
    assert not again.changed
    assert bench.cluster_writes == []
    assert bench.port.writes == []


def test_an_autoscaler_s_minimum_and_maximum_are_raised_and_the_originals_kept() -> None:
    bench = both_sides()

    bench.up()
    hpa = bench.kube.cluster().find_hpa(SALE, "order")

    assert bench.bounds("order") == (24, 48)
    assert hpa is not None
    record = record_in(hpa.annotations)
    assert record is not None
    assert record.original == {"min": 2, "max": 4}
    assert record.floor == {"min": 24, "max": 48}


def test_a_bigger_sale_moves_the_floor_and_never_the_original() -> None:
    bench = both_sides()
    bench.up()
    bench.services = {"order": 26}

    bench.up()
    workload = bench.kube.cluster().find_workload("Deployment", SALE, "order")

    assert workload is not None
    assert bench.bounds("order") == (26, 52)
    assert bench.journal.records[f"HorizontalPodAutoscaler {SALE}/order"].original == {
        "min": 2,
        "max": 4,
    }


def test_pods_that_find_no_room_fail_at_the_deadline_with_counts_and_reasons() -> None:
    bench = ScaleBench(services={"order": 6})
    bench.kube.add_nodes(1, cpu="1")
    bench.deploy("order", replicas=1)

    report = bench.up(timeout_s=60)

    assert not report.ready
    (count,) = report.short
    assert (count.wanted, count.ready) == (6, 2)
    assert count.reasons[0].startswith("4 x ")
    assert "Unschedulable" in str(count) or "FailedScheduling" in str(count)
    assert "2 of 6 ready" in str(count)


def test_without_its_nodes_no_pod_is_asked_for() -> None:
    bench = both_sides()

    report = bench.up(timeout_s=5)

    assert not report.ready
    assert bench.bounds("order") == (2, 4)
    assert report.pods == ()
    (count,) = report.short
    assert (count.wanted, count.ready) == (4, 1)
    assert "3 x" in " ".join(count.reasons)


def test_pods_may_be_asked_for_although_nodes_are_missing() -> None:
    bench = both_sides()

    report = bench.up(timeout_s=5, without_nodes=True)

    assert not report.ready
    assert bench.bounds("order") == (24, 48)


def test_a_node_that_never_becomes_ready_is_told_with_its_reason() -> None:
    bench = ScaleBench(pools={"core": 1}, services={"order": 2})
    bench.deploy("order", replicas=2)
    from saleops.services.kube_api.machines import set_node_ready

    set_node_ready(bench.kube.api, bench.nodes("core")[0], False)

    report = bench.up(timeout_s=30)

    assert "1 x NotReady: KubeletNotReady" in str(report.short[0])


def test_two_hundred_and_fifty_nodes_come_in_batches_of_absolute_sizes() -> None:
    from saleops.domain.scaling import batches

    assert batches(1, 251) == (101, 201, 251)
    assert batches(5, 5) == ()
    assert batches(9, 5) == ()
    assert batches(0, 100) == (100,)


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_killed_at_every_change_of_the_cluster_it_ends_the_same(phase: str, at: int) -> None:
    bench = both_sides()
    bench.wrap = lambda cluster: Deadly(cluster, at, phase)
    with pytest.raises(Killed):
        bench.up()
    bench.wrap = lambda cluster: cluster

    report = bench.up()

    assert report.ready
    assert bench.bounds("order") == (24, 48)
    assert bench.pool_size("core") == 4
    assert {key: dict(one.original) for key, one in bench.journal.records.items()} == {
        "nodepool/core": {"desired_size": 1},
        f"Deployment {SALE}/order": {"replicas": 2},
        f"HorizontalPodAutoscaler {SALE}/order": {"min": 2, "max": 4},
    }


@pytest.mark.parametrize("phase", ["out", "back"])
def test_killed_at_the_call_of_the_cloud_it_ends_the_same(phase: str) -> None:
    bench = both_sides()

    def die(call: Call, now: str) -> None:
        if call.api == "ModifyClusterNodePool" and now == phase:
            raise Killed

    bench.port.mishap = die
    with pytest.raises(Killed):
        bench.up()
    bench.port.mishap = lambda call, now: None

    report = bench.up()

    assert report.ready
    assert len(bench.nodes("core")) == 4
    assert bench.journal.records["nodepool/core"].original == {"desired_size": 1}


def test_an_answer_of_the_cloud_that_is_lost_makes_nothing_twice() -> None:
    bench = both_sides()
    lost: list[Call] = []

    def lose(call: Call, now: str) -> None:
        if call.api == "ModifyClusterNodePool" and now == "back" and not lost:
            lost.append(call)
            raise CloudError("no answer", kind="unknown")

    bench.port.mishap = lose

    report = bench.up()

    assert report.ready
    assert lost
    assert len(bench.nodes("core")) == 4
    assert len(bench.port.writes) == 1


@pytest.mark.parametrize("status", [409, 429, 500, 503])
@pytest.mark.parametrize("resource", ["deployments", "deployments/scale"])
def test_a_cluster_that_refuses_for_a_while_does_not_stop_it(status: int, resource: str) -> None:
    bench = ScaleBench()
    bench.kube.add_nodes(3)
    bench.deploy("order", replicas=2)
    bench.kube.fault(verb="patch", resource=resource, status=status, times=2)

    report = bench.up()

    assert report.ready
    assert bench.replicas("order") == 6
    assert bench.journal.records[f"Deployment {SALE}/order"].original == {"replicas": 2}


def test_somebody_who_changes_the_size_in_between_is_the_original() -> None:
    bench = ScaleBench()
    bench.kube.add_nodes(3)
    bench.deploy("order", replicas=2)
    means = bench.means()
    looked = bench.look(means)
    bench.kube.cluster().set_replicas("Deployment", SALE, "order", 3)

    from saleops.operations.scale.up import scale_up

    report = scale_up(looked, bench.wants, means)

    assert report.ready
    workload = bench.kube.cluster().find_workload("Deployment", SALE, "order")
    assert workload is not None
    record = record_in(workload.annotations)
    assert record is not None
    assert record.original == {"replicas": 3}


def test_read_nodes_and_shards_grow_the_day_before() -> None:
    bench = ScaleBench(
        read_nodes=2,
        shards=4,
        base={"database": 2, "cache": 2},
        opens_in_s=3 * 86_400,
        services={"order": 2},
    )
    bench.kube.add_nodes(1)
    bench.deploy("order", replicas=2)

    report = bench.up()

    assert report.ready, report
    assert [call.api for call in bench.port.writes] == ["CreateDBNodes", "ModifyInstanceSpec"]
    assert all("recycle connections" in one.why for one in report.steps[:2])


def test_databases_are_left_alone_on_the_day() -> None:
    bench = ScaleBench(
        read_nodes=2, base={"database": 2}, opens_in_s=4 * 3600, services={"order": 2}
    )
    bench.kube.add_nodes(1)
    bench.deploy("order", replicas=2)

    plan = bench.plan()
    report = bench.up()

    assert plan.verdict == "NO-GO"
    assert [one.verdict for one in plan.late] == ["too late"]
    assert not report.ready
    assert bench.port.writes == []
    assert report.steps[0].result == "skipped"


def test_a_dry_run_shows_the_calls_and_patches_that_a_run_sends() -> None:
    bench = both_sides()

    plan = bench.plan()
    before = (list(bench.cluster_writes), list(bench.port.writes))
    bench.up()

    assert before == ([], [])
    shown = [call["body"] for one in plan.steps for call in one.calls]
    assert shown == [call.body for call in bench.port.writes]
    patches = [one["object"] for step in plan.steps for one in step.patches]
    assert patches == [
        f"Deployment {SALE}/order",
        f"HorizontalPodAutoscaler {SALE}/order",
        f"HorizontalPodAutoscaler {SALE}/order",
    ]
    sent = [one["resource"] for one in bench.cluster_writes if one["resource"] != "namespaces"]
    assert sent == ["deployments", "horizontalpodautoscalers", "horizontalpodautoscalers"]


def test_an_hour_later_every_latest_start_is_an_hour_later() -> None:
    early, late = both_sides(), both_sides()
    late.opens += timedelta(hours=1)

    for before, after in zip(early.plan().steps, late.plan().steps, strict=True):
        assert before.t_minus == after.t_minus
        assert before.latest_start != after.latest_start


def test_a_sale_that_is_too_near_is_no_go_and_still_goes_up() -> None:
    bench = both_sides()
    bench.opens = bench.now + timedelta(minutes=10)

    assert bench.plan().verdict == "NO-GO"
    report = bench.up()

    assert report.ready
    assert len(report.late) == 2


def test_a_longer_boot_starts_earlier() -> None:
    slow = ScaleBench(pools={"core": 4}, base={"core": 1}, times=LeadTimes(node_batch_s=1200))
    fast = ScaleBench(pools={"core": 4}, base={"core": 1})
    for bench in (slow, fast):
        bench.deploy("order", replicas=2)

    assert slow.plan().steps[0].lead_s - fast.plan().steps[0].lead_s == 2 * (1200 - 120)


def test_two_autoscalers_on_one_deployment_are_refused() -> None:
    from saleops.errors import Refused

    bench = ScaleBench()
    bench.deploy("order", replicas=2)
    bench.hpa("order", low=2, high=4)
    bench.hpa("other", low=2, high=4, target="order")

    with pytest.raises(Refused, match="2 autoscalers"):
        bench.plan()


def test_a_deployment_that_is_not_there_is_no_go() -> None:
    bench = ScaleBench(services={"order": 2, "payment": 2})
    bench.kube.add_nodes(1)
    bench.deploy("order", replicas=2)

    assert [one.what for one in bench.plan().late] == ["Deployment payment"]
    report = bench.up(timeout_s=10)
    assert not report.ready


def test_what_somebody_lowers_while_it_waits_is_raised_again() -> None:
    bench = ScaleBench()
    bench.kube.add_nodes(3)
    bench.deploy("order", replicas=2)
    cluster = bench.kube.cluster()
    bench.at(1, lambda: cluster.set_replicas("Deployment", SALE, "order", 1))

    report = bench.up()

    assert report.ready
    assert bench.replicas("order") == 6
    assert bench.journal.records[f"Deployment {SALE}/order"].original == {"replicas": 2}


def test_a_pool_that_is_out_of_stock_says_so_in_the_cloud_s_words() -> None:
    bench = both_sides()
    bench.cloud.world.settings["stock"] = {"ecs.c7.xlarge": 0}

    report = bench.up(timeout_s=60)

    assert not report.ready
    assert bench.bounds("order") == (2, 4)
    assert "stock" in str(report.short[0]).lower()


def test_an_elastic_pool_s_minimum_is_raised_and_given_back() -> None:
    bench = both_sides()
    path = {"ClusterId": bench.cluster_id, "NodepoolId": bench.pool_ids["core"]}
    scaling = {"enable": True, "min_instances": 1, "max_instances": 3, "type": "cpu"}
    bench.cloud.call("cs", "ModifyClusterNodePool", path=path, body={"auto_scaling": scaling})
    bench.advance(30)

    report = bench.up()
    raised = bench.look().in_cloud.pool("nodepool/core")
    down = bench.down()
    back = bench.look().in_cloud.pool("nodepool/core")

    assert report.ready
    assert raised is not None
    assert (raised.low, raised.high) == (4, 4)
    assert down.restored
    assert back is not None
    assert (back.low, back.high) == (1, 3)


# -- whose it is, and what it was ------------------------------------------------------------------------------------


def test_what_another_sale_recorded_is_not_touched() -> None:
    bench = both_sides()
    bench.up()
    before = bench.bounds("order")
    bench.sale, bench.journal = "other", type(bench.journal)()
    bench.services = {"order": 30}
    bench.forget_calls()

    with pytest.raises(Refused, match=f"by {SALE}") as refused:
        bench.up()

    assert refused.value.exit_code == 5
    assert f"`saleops scale down {SALE}`" in (refused.value.hint or "")
    assert bench.bounds("order") == before
    assert bench.cluster_writes == []
    assert bench.port.writes == []


def test_a_floor_of_another_sale_is_not_held() -> None:
    bench = both_sides()
    bench.up()
    bench.sale, bench.services = "other", {"order": 30}
    bench.forget_calls()

    held = bench.hold(5)

    assert held.restored_count == 0
    assert bench.cluster_writes == []


def test_during_a_spot_drain_the_original_is_what_was_before_it() -> None:
    bench = both_sides()
    hpa = bench.kube.cluster().find_hpa(SALE, "order")
    assert hpa is not None
    surge = {"min": 2, "max": 4, "set_min": 5, "set_max": 5, "base": 2, "nodes": {"n": 3}}
    bench.kube.cluster().annotate(hpa.ref, {"saleops.io/spot-floor": json.dumps(surge)})
    bench.kube.cluster().set_hpa_bounds(SALE, "order", min_replicas=5, max_replicas=5)
    bench.kube.cluster().set_replicas("Deployment", SALE, "order", 5)

    assert bench.up().ready

    records = bench.journal.records
    assert records[f"HorizontalPodAutoscaler {SALE}/order"].original == {"min": 2, "max": 4}
    assert records[f"Deployment {SALE}/order"].original == {"replicas": 2}


def test_without_its_annotation_the_journal_s_original_stays_and_it_is_told() -> None:
    bench = both_sides()
    bench.up()
    hpa = bench.kube.cluster().find_hpa(SALE, "order")
    assert hpa is not None
    bench.kube.cluster().annotate(hpa.ref, {"saleops.io/scale": None})
    bench.kube.cluster().set_hpa_bounds(SALE, "order", min_replicas=5, max_replicas=14)

    bench.up()

    record = bench.journal.records[f"HorizontalPodAutoscaler {SALE}/order"]
    assert record.original == {"min": 2, "max": 4}
    warned = [one.message for one in bench.events if isinstance(one, Warned)]
    assert any("is min 5, max 14" in one and "min 2, max 4" in one for one in warned)


def test_a_sale_that_is_over_is_not_scaled_up() -> None:
    bench = ScaleBench(opens_in_s=-7200)

    with pytest.raises(Refused, match="closed at"):
        may_go_up(bench.wants, now=bench.now)


def test_a_context_like_a_mail_address_keeps_its_cluster_s_name() -> None:
    assert (
        without_user("https://10.0.0.1 (context me@shop)") == "https://10.0.0.1 (context me@shop)"
    )


def test_a_password_in_the_server_s_url_reaches_neither_the_journal_nor_its_name() -> None:
    cluster = "https://admin:SE@CRET@10.0.0.1:6443"
    journal = MemoryScaleJournal()

    journal.begin(command="scale up", who="me", cluster=cluster)

    assert journal.lines[0]["cluster"] == "https://10.0.0.1:6443"
    path = scale_journal_path(Path("state"), SALE, cluster)
    assert path.name == f"{SALE}@https-10.0.0.1-6443.jsonl"
