"""Rules of VPCs, vSwitches, NAT gateways and public addresses (VPC 2016-04-28, read 2026-11-23)."""

from collections.abc import Iterator
from ipaddress import IPv4Network

from saleops.cloudapi.given import Given
from saleops.cloudapi.problem import Problem, shown

_EIP_MBIT = {"PayByTraffic": 200, "PayByBandwidth": 500}
"""Most Mbit/s of one address, by how its traffic is paid for."""


_RESERVED = [
    IPv4Network(block)
    for block in ("100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
]


def wrong_cidr(text: str, shortest: int, longest: int) -> str:
    """Why ``text`` is no IPv4 block with a mask of ``shortest`` to ``longest`` bits; empty where it is one."""
    try:
        block = IPv4Network(text)
    except ValueError:
        return f"{shown(text)!r} is no IPv4 block like 172.16.0.0/16"
    if not shortest <= block.prefixlen <= longest:
        return f"the mask /{block.prefixlen} is not between /{shortest} and /{longest}"
    if reserved := next((other for other in _RESERVED if block.overlaps(other)), None):
        return f"overlaps {reserved}, which is reserved"
    return ""


def overlapping(one: str, other: str) -> bool:
    """Both are IPv4 blocks, and share addresses."""
    try:
        return IPv4Network(one).overlaps(IPv4Network(other))
    except ValueError:
        return False


def create_vpc(vpc: Given) -> Iterator[Problem]:
    if vpc.has("CidrBlock") and (why := wrong_cidr(vpc.text("CidrBlock"), 8, 28)):
        yield vpc.problem("CidrBlock", "value", why)


def create_vswitch(vswitch: Given) -> Iterator[Problem]:
    if vswitch.has("CidrBlock") and (why := wrong_cidr(vswitch.text("CidrBlock"), 16, 29)):
        yield vswitch.problem("CidrBlock", "value", why)


def create_nat(nat: Given) -> Iterator[Problem]:
    if not nat.has("VSwitchId"):
        yield nat.problem("VSwitchId", "missing", "a gateway stands in a vSwitch")


def allocate_eip(eip: Given) -> Iterator[Problem]:
    """Bandwidth is a whole number of Mbit/s that travels as text."""
    if not eip.has("Bandwidth"):
        return
    most = _EIP_MBIT.get(eip.text("InternetChargeType"), _EIP_MBIT["PayByBandwidth"])
    text = eip.text("Bandwidth")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        message = f"must be 1 to {most} Mbit/s"
        yield eip.problem("Bandwidth", "range", message)


def create_snat(entry: Given) -> Iterator[Problem]:
    sources = [name for name in ("SourceVSwitchId", "SourceCIDR") if entry.has(name)]
    if not sources:
        message = "say whose traffic leaves: SourceVSwitchId or SourceCIDR"
        yield entry.problem("SourceVSwitchId", "missing", message)
    elif len(sources) > 1:
        yield entry.problem(sources[1], "value", f"excludes {sources[0]}")
