"""How big a cluster has to be: pods, nodes and addresses, and that a lost zone is survived."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.domain.capacity import (
    Service,
    allocatable,
    cpu_m,
    instance_type,
    memory_mib,
    plan_capacity,
    pods_for,
    services_of,
    split_peak,
)
from saleops.domain.cloud.addresses import RESERVED

SMALL = instance_type("ecs.c7.xlarge")


def test_a_service_has_two_pods_and_one_in_each_zone_at_least() -> None:
    assert pods_for(Service("order", 1, 1000), 1).pods == 2
    assert pods_for(Service("order", 0, 1000), 5).pods == 5


@given(
    rps=st.floats(0, 1e6),
    each=st.floats(50, 5000),
    zones=st.integers(1, 8),
    headroom=st.floats(0, 1),
)
def test_the_peak_is_carried_with_headroom_and_without_any_one_zone(
    rps: float, each: float, zones: int, headroom: float
) -> None:
    pods = pods_for(Service("order", rps, each), zones, headroom=headroom).pods

    assert pods * each >= rps * (1 + headroom) * (1 - 1e-9)
    assert pods >= max(2, zones)
    if zones > 1:
        assert (pods - ceil(pods / zones)) * each >= rps * (1 - 1e-9)


def test_a_pod_less_would_not_do() -> None:
    service = Service("order", 5000, 450)

    assert pods_for(service, 3).pods == 18  # 12 carry the peak; 17 over three zones leave 11


def test_the_funnel_shares_the_peak_out_where_orders_are_not_given() -> None:
    assert split_peak(1300, None, 12) == (100, 1200)
    assert split_peak(1000, 300, 12) == (300, 700)
    assert split_peak(100, 300, 12) == (100, 0)


def test_every_figure_has_a_line_that_explains_it() -> None:
    plan = plan_capacity(
        services_of(40_000, 5_000, 12, {"order": Service("order", 0, 450)}),
        zones=3,
        node_types=[SMALL],
        connections_limit=8_000,
    )

    said = "\n".join(plan.why)
    for word in (
        "catalog:",
        "order:",
        "payment:",
        "shipping:",
        "nodes:",
        "core:",
        "addresses",
        "8,000",
    ):
        assert word in said
    assert any("payment: nobody said what a pod serves" in note for note in plan.notes)


def test_too_many_connections_are_named_with_the_number_missing() -> None:
    plan = plan_capacity(
        [Service("order", 1000, 10, connections_per_pod=4)],
        zones=2,
        node_types=[SMALL],
        connections_limit=100,
    )

    assert any("too many" in note for note in plan.notes)


def test_a_pod_that_fits_no_node_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="a pod of order wants 8000 m"):
        plan_capacity([Service("order", 1, 1, cpu_m=8000)], zones=1, node_types=[SMALL])


@given(
    pods=st.integers(1, 400),
    cpu=st.integers(100, 3000),
    memory=st.integers(128, 4000),
    zones=st.integers(1, 4),
)
def test_the_nodes_hold_all_pods(pods: int, cpu: int, memory: int, zones: int) -> None:
    plan = plan_capacity(
        [Service("order", pods, 1, cpu_m=cpu, memory_mib=memory)], zones=zones, node_types=[SMALL]
    )
    room_cpu, room_memory = allocatable(SMALL)

    assert plan.nodes % zones == 0
    assert plan.nodes * min(room_cpu // cpu, room_memory // memory) >= plan.pods
    assert zones <= plan.core_nodes <= plan.nodes
    assert plan.pod_addresses * zones >= plan.pods
    assert plan.node_addresses * zones >= plan.nodes
    assert RESERVED > 0


def test_the_smallest_of_the_types_counts_because_any_may_be_bought() -> None:
    order = [Service("order", 1000, 10)]
    large = instance_type("ecs.g7.4xlarge")

    alone = plan_capacity(order, zones=3, node_types=[SMALL])
    mixed = plan_capacity(order, zones=3, node_types=[large, SMALL])

    assert mixed.nodes == alone.nodes
    assert plan_capacity(order, zones=3, node_types=[large]).nodes < alone.nodes


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib"),
    [
        ("ecs.c7.large", 2, 4),
        ("ecs.c8i.xlarge", 4, 8),
        ("ecs.g7.2xlarge", 8, 32),
        ("ecs.r7.4xlarge", 16, 128),
    ],
)
def test_an_instance_type_says_its_size(name: str, vcpus: int, memory_gib: int) -> None:
    found = instance_type(name)

    assert (found.vcpus, found.memory_gib) == (vcpus, memory_gib)
    assert found.pod_addresses >= 6


@pytest.mark.parametrize("name", ["ecs.c7", "ecs.t5-lc1m1.small", "ecs.x.metal", "c7.xlarge"])
def test_a_name_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="does not say"):
        instance_type(name)


def test_requests_are_read_as_kubernetes_writes_them() -> None:
    assert [cpu_m(one) for one in ("1", "0.5", "250m")] == [1000, 500, 250]
    assert [memory_mib(one) for one in ("1Gi", "512Mi", "1024Ki")] == [1024, 512, 1]
