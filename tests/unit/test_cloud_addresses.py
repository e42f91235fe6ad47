"""The address plan: inside the VPC, without overlap, and large enough."""

from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from saleops.domain.cloud.addresses import NODE_MASK_MAX, POD_MASK_MAX, RESERVED, carve, mask_for

SERVICES = "172.19.0.0/20"


@given(
    zones=st.integers(1, 8),
    nodes=st.integers(0, 4_000),
    pods=st.integers(0, 40_000),
    mask=st.integers(8, 16),
)
def test_blocks_lie_in_the_vpc_overlap_nowhere_and_hold_what_was_asked(
    zones: int, nodes: int, pods: int, mask: int
) -> None:
    vpc = f"10.0.0.0/{mask}"
    try:
        plan = carve(
            vpc,
            SERVICES,
            [f"z-{one}" for one in range(zones)],
            node_addresses=nodes,
            pod_addresses=pods,
        )
    except ValueError as error:
        assume("too small" not in str(error))
        raise
    blocks = [ip_network(cidr) for cidr in plan.cidrs]

    assert len(blocks) == 2 * zones
    assert all(block.subnet_of(ip_network(vpc)) for block in blocks)
    assert not any(one.overlaps(other) for one, other in combinations(blocks, 2))
    for zone in plan.zones:
        assert ip_network(zone.pod_cidr).num_addresses - RESERVED >= pods
        assert ip_network(zone.node_cidr).num_addresses - RESERVED >= nodes
        assert ip_network(zone.pod_cidr).prefixlen <= POD_MASK_MAX
        assert 16 <= ip_network(zone.node_cidr).prefixlen <= NODE_MASK_MAX


def test_masks_turn_over_at_the_reserved_addresses() -> None:
    assert mask_for(2**13 - RESERVED, longest=19) == 19
    assert mask_for(2**13 - RESERVED + 1, longest=19) == 18
    assert mask_for(2**16 - RESERVED, longest=19) == 16
    with pytest.raises(ValueError, match="do not fit into one vSwitch"):
        mask_for(2**16 - RESERVED + 1, longest=19)


def test_a_vpc_that_is_too_small_hears_what_would_do() -> None:
    with pytest.raises(ValueError, match=r"too small: 3 zones .* a /17 holds them"):
        carve("10.16.0.0/18", SERVICES, ["a", "b", "c"], node_addresses=10, pod_addresses=100)


def test_the_service_block_stays_out_of_the_vpc() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        carve("172.16.0.0/12", SERVICES, ["a"], node_addresses=1, pod_addresses=1)
