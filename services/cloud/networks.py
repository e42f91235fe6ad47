"""What lies in which VPC and vSwitch: free addresses, and who still uses a network that somebody wants to delete.

A thing lies in a vSwitch when its data says so in any of the usual spellings (``VSwitchId``, ``vSwitchId``, ``vswitch_ids``,
``VpcAttributes.VSwitchId`` ...). It takes one address there, or as many as ``data["ip_use"]`` says: ``{"vsw-1": 31}``;
clusters, node pools and scaling groups take none by themselves.
Deleted history (tasks, activities, jobs, events) uses nothing.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any

from saleops.services.cloud.world import Thing, World

RESERVED_IPS_COUNT = 4
"""Addresses of every vSwitch that the cloud keeps: the first and the last three."""

_VSWITCH_KEYS = {"vswitchid", "vswitchids", "podvswitchids", "workervswitchids", "sourcevswitchid"}
_VPC_KEYS = {"vpcid"}
_GROUP_KEYS = {"securitygroupid", "securitygroupids"}
_WITHOUT_ADDRESS = {
    "cluster",
    "node_pool",
    "nodepool",
    "scaling_configuration",
    "scaling_group",
    "snat_entry",
}
_HISTORY = ("task", "activity", "job", "event", "token", "log", "action")


def users_of_vswitch(world: World, vswitch_id: str) -> Iterator[Thing]:
    return _users(world, vswitch_id, _VSWITCH_KEYS, but="vswitch")


def users_of_vpc(world: World, vpc_id: str) -> Iterator[Thing]:
    return _users(world, vpc_id, _VPC_KEYS, but="vpc")


def users_of_security_group(world: World, group_id: str) -> Iterator[Thing]:
    return _users(world, group_id, _GROUP_KEYS, but="security_group")


def free_ips_count(world: World, vswitch: Thing) -> int:
    """``AvailableIpAddressCount``: what is left of the vSwitch now."""
    overruled = world.settings.get("vswitch_ips", {})
    for key in (vswitch.id, vswitch.data.get("VSwitchName"), vswitch.data["CidrBlock"]):
        if key in overruled:
            return int(overruled[key])
    size = ipaddress.ip_network(vswitch.data["CidrBlock"]).num_addresses - RESERVED_IPS_COUNT
    used = sum(
        int(thing.data.get("ip_use", {}).get(vswitch.id, 1))
        for thing in users_of_vswitch(world, vswitch.id)
        if thing.kind not in _WITHOUT_ADDRESS or "ip_use" in thing.data
    )
    return max(0, size - used)


def new_ip(world: World, vswitch: Thing) -> str:
    """A private address of the vSwitch, one after the other and round again: what is shown, not a lease."""
    network = ipaddress.ip_network(vswitch.data["CidrBlock"])
    room = network.num_addresses - RESERVED_IPS_COUNT
    given = int(vswitch.data.get("ips_given", 0))
    world.update(vswitch, ips_given=given + 1)
    return str(network[1 + given % room])


def _users(world: World, wanted: str, keys: set[str], *, but: str) -> Iterator[Thing]:
    for kind in list(world.things):
        if kind == but or kind.endswith(_HISTORY):
            continue
        for thing in world.each(kind):
            if _names(thing.data, wanted, keys):
                yield thing


def _names(data: Any, wanted: str, keys: set[str]) -> bool:
    if isinstance(data, dict):
        for key, value in data.items():
            if key.replace("_", "").lower() in keys and _holds(value, wanted):
                return True
            if isinstance(value, dict | list) and _names(value, wanted, keys):
                return True
    elif isinstance(data, list):
        return any(_names(inner, wanted, keys) for inner in data)
    return False


def _holds(value: Any, wanted: str) -> bool:
    if isinstance(value, str):
        return wanted == value or wanted in value.split(",")
    if isinstance(value, list):
        return wanted in value
    return False
