"""The address plan of a sale's VPC: a node vSwitch and a pod vSwitch in each zone, carved out of one block.

Pods come first, because with Terway every pod takes an address of its own and their vSwitches are the big ones. Each
kind gets blocks of one size, the smallest that holds what the capacity plan asks of a zone, within the limits that the
services put on a mask. Blocks are laid from the start of the VPC, the large ones first, so that each lies on its own
boundary, none overlaps another and the rest of the VPC stays in one piece for what comes later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

RESERVED = 4
"""Addresses of a vSwitch that the service keeps: the first one and the last three."""

POD_MASK_MAX = 19
"""The smallest pod vSwitch advised: a pod vSwitch that runs dry cannot be made larger (reference 4.1)."""

NODE_MASK_MAX = 24
MASK_MIN = 16
"""The largest vSwitch there is has a mask of 16 bits (reference 4.3)."""


@dataclass(frozen=True, slots=True)
class Zone:
    zone: str
    node_cidr: str
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class Addresses:
    vpc_cidr: str
    service_cidr: str
    zones: tuple[Zone, ...]

    @property
    def cidrs(self) -> tuple[str, ...]:
        """Everything pods and nodes may call from: what the database and the cache let in."""
        return tuple(
            sorted((*(one.node_cidr for one in self.zones), *(one.pod_cidr for one in self.zones)))
        )


def mask_for(addresses: int, *, longest: int) -> int:
    """The mask of the smallest block that holds ``addresses`` beside the reserved ones, never longer than ``longest``.

    Raises ValueError when the largest vSwitch would be too small.
    """
    if addresses < 0:
        raise ValueError(f"{addresses} addresses are none")
    mask = min(longest, 32 - (addresses + RESERVED - 1).bit_length())
    if mask < MASK_MIN:
        raise ValueError(
            f"{addresses:,} addresses do not fit into one vSwitch: a mask of {MASK_MIN} bits is the largest"
        )
    return mask


def carve(
    vpc_cidr: str,
    service_cidr: str,
    zones: Sequence[str],
    *,
    node_addresses: int,
    pod_addresses: int,
) -> Addresses:
    """The plan for ``zones``; ``node_addresses`` and ``pod_addresses`` are what each of them needs.

    Raises ValueError, in words for a profile's owner, where it does not fit or the service block overlaps the VPC.
    """
    vpc, services = _block("vpc_cidr", vpc_cidr), _block("service_cidr", service_cidr)
    if vpc.overlaps(services):
        raise ValueError(f"service_cidr {services} overlaps vpc_cidr {vpc}")
    if not zones or len(set(zones)) != len(zones):
        raise ValueError("zones are named once each, and there is at least one")
    pod_mask = mask_for(pod_addresses, longest=POD_MASK_MAX)
    node_mask = mask_for(node_addresses, longest=NODE_MASK_MAX)
    masks = sorted(
        [("pod", pod_mask)] * len(zones) + [("node", node_mask)] * len(zones),
        key=lambda one: one[1],
    )
    wanted = sum(2 ** (32 - mask) for _, mask in masks)
    if wanted > vpc.num_addresses:
        longest = 32 - (wanted - 1).bit_length()
        raise ValueError(
            f"vpc_cidr {vpc} is too small: {len(zones)} zones want a /{pod_mask} for pods and a /{node_mask} for nodes "
            f"each, {wanted:,} addresses; a /{longest} holds them"
        )
    start = int(vpc.network_address)
    carved: dict[str, list[str]] = {"pod": [], "node": []}
    for kind, mask in masks:  # large blocks first: each then begins on its own boundary
        carved[kind].append(str(IPv4Network((start, mask))))
        start += 2 ** (32 - mask)
    return Addresses(
        vpc_cidr=str(vpc),
        service_cidr=str(services),
        zones=tuple(
            Zone(zone, node, pod)
            for zone, node, pod in zip(zones, carved["node"], carved["pod"], strict=True)
        ),
    )


def _block(name: str, cidr: str) -> IPv4Network:
    try:
        block = ip_network(cidr)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not isinstance(block, IPv4Network):
        raise ValueError(f"{name} {cidr} is no IPv4 block")
    return block
