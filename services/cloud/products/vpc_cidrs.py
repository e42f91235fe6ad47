"""CIDR blocks of VPCs and vSwitches: which may be used, and which overlap."""

import ipaddress
from typing import Any

from saleops.services.cloud.refusals import wrong

RESERVED = tuple(
    ipaddress.IPv4Network(block)
    for block in ("100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
)


def checked_cidr(field: str, value: Any, bits: tuple[int, int]) -> ipaddress.IPv4Network:
    """The block, which must be written with its first address, have ``bits`` (from, to) and lie outside the reserved ranges."""
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise wrong(
            "InvalidCidrBlock.Malformed", field, value, f"not an IPv4 block ({error})"
        ) from error
    if not bits[0] <= network.prefixlen <= bits[1]:
        raise wrong(
            "InvalidCidrBlock.Malformed",
            field,
            value,
            f"its mask is {network.prefixlen} bits, and {bits[0]} to {bits[1]} are possible",
        )
    for reserved in RESERVED:
        if network.overlaps(reserved):
            raise wrong("InvalidCidrBlock", field, value, f"{reserved} is reserved")
    return network


def overlap(network: ipaddress.IPv4Network, other: str) -> bool:
    return network.overlaps(ipaddress.IPv4Network(other))


def inside(network: ipaddress.IPv4Network, outer: str) -> bool:
    return network.subnet_of(ipaddress.IPv4Network(outer))
