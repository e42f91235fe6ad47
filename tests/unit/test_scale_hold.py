"""The floor is held: whoever lowers it sees it put back within five seconds, on the cluster's own clock."""

from datetime import timedelta

import pytest

from scale_bench import SALE, ScaleBench


def held_bench() -> ScaleBench:
    bench = ScaleBench(services={"order": 6})
    bench.kube.add_nodes(3)
    bench.deploy("order", replicas=2)
    bench.hpa("order", low=2, high=4)
    bench.up()
    return bench


def test_an_autoscaler_s_minimum_that_is_lowered_is_back_within_five_seconds() -> None:
    bench = held_bench()
    cluster = bench.kube.cluster()
    seen: list[tuple[int, int]] = []
    bench.at(7, lambda: cluster.set_hpa_bounds(SALE, "order", min_replicas=1))
    bench.at(12, lambda: seen.append(bench.bounds("order")))

    held = bench.hold(60)

    assert seen == [(6, 12)]
    assert held.restored_count == 1
    assert held.longest_s <= 5
    assert held.restored[0].was == 1
    assert held.restored[0].floor == 6
    assert bench.replicas("order") == 6


def test_an_autoscaler_that_shrinks_its_workload_is_outrun() -> None:
    bench = held_bench()
    cluster = bench.kube.cluster()
    fewest: list[int] = []

    def shrink() -> None:
        cluster.set_hpa_bounds(SALE, "order", min_replicas=1)
        cluster.set_replicas("Deployment", SALE, "order", 1)

    bench.at(5, shrink)
    for second in range(6, 30):
        bench.at(second, lambda: fewest.append(bench.replicas("order")))

    held = bench.hold(40)

    assert sum(count < 6 for count in fewest) <= 5
    assert fewest[-1] == 6
    assert {one.field for one in held.restored} == {"min", "replicas"}
    assert held.longest_s <= 5


def test_a_deployment_without_an_autoscaler_is_held_too() -> None:
    bench = ScaleBench(services={"order": 6})
    bench.kube.add_nodes(3)
    bench.deploy("order", replicas=2)
    bench.up()
    cluster = bench.kube.cluster()
    bench.at(4, lambda: cluster.set_replicas("Deployment", SALE, "order", 2))

    held = bench.hold(30)

    assert bench.replicas("order") == 6
    assert held.restored[0].below_s <= 5


def test_more_than_the_floor_is_nobody_s_fault() -> None:
    bench = held_bench()
    cluster = bench.kube.cluster()
    bench.at(4, lambda: cluster.set_hpa_bounds(SALE, "order", min_replicas=9))

    held = bench.hold(30)

    assert held.restored_count == 0
    assert bench.bounds("order") == (9, 12)


def test_a_floor_that_nobody_touches_costs_no_write() -> None:
    bench = held_bench()
    bench.forget_calls()

    held = bench.hold(60)

    assert held.looks == 30
    assert bench.cluster_writes == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_cluster_that_does_not_answer_is_asked_again(status: int) -> None:
    bench = held_bench()
    cluster = bench.kube.cluster()

    def trouble() -> None:
        cluster.set_hpa_bounds(SALE, "order", min_replicas=1)
        bench.kube.fault(verb="list", status=status, times=12)

    bench.at(4, trouble)

    held = bench.hold(40)

    assert bench.bounds("order") == (6, 12)
    assert held.blind_s > 0
    assert held.restored_count == 1


def test_a_refused_write_is_told_and_tried_until_it_succeeds() -> None:
    bench = held_bench()
    cluster = bench.kube.cluster()

    def trouble() -> None:
        cluster.set_hpa_bounds(SALE, "order", min_replicas=1)
        bench.kube.fault(verb="patch", status=403, times=3)

    bench.at(4, trouble)

    held = bench.hold(40)

    assert bench.bounds("order") == (6, 12)
    assert held.restored[0].below_s <= 10


def test_a_signal_ends_the_watch_and_leaves_everything_up() -> None:
    bench = held_bench()

    def stop() -> None:
        raise KeyboardInterrupt

    bench.at(10, stop)
    with pytest.raises(KeyboardInterrupt):
        bench.hold(60)

    assert bench.bounds("order") == (6, 12)
    assert bench.replicas("order") == 6


def cron(bench: ScaleBench, schedule: str, size: int) -> None:
    path = (
        f"/apis/autoscaling.alibabacloud.com/v1beta1/namespaces/{SALE}/cronhorizontalpodautoscalers"
    )
    target = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "name": "order"}
    job = {"name": "down", "schedule": schedule, "targetSize": size}
    bench.kube.create(
        path,
        {
            "apiVersion": "autoscaling.alibabacloud.com/v1beta1",
            "kind": "CronHorizontalPodAutoscaler",
            "metadata": {"name": "order"},
            "spec": {"scaleTargetRef": target, "jobs": [job]},
        },
    )


def test_scheduled_scaling_inside_the_sale_is_named() -> None:
    bench = held_bench()
    at = bench.wants.opens + timedelta(minutes=2)
    cron(bench, f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *", 1)

    (note,) = bench.plan().notes[:1]

    assert f"sets 1 at {at:%Y-%m-%d %H:%M:%S}, inside the sale, which needs 6" in note


def test_scheduled_scaling_after_the_sale_is_not() -> None:
    bench = held_bench()
    at = bench.wants.closes + timedelta(minutes=30)
    cron(bench, f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *", 1)

    assert [one for one in bench.plan().notes if "CronHPA" in one] == []


def test_a_schedule_that_nobody_can_read_is_told() -> None:
    bench = held_bench()
    cron(bench, "tomorrow", 1)

    assert "cannot read the schedule" in bench.plan().notes[0]
