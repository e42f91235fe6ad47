"""The vSwitches that provisioning made, from the lines of its journal."""

from collections.abc import Iterable, Mapping
from typing import Any

from saleops.domain.cloud.network import node_vswitch

_PREFIX = node_vswitch("")


def made_vswitches(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Zone -> id of the vSwitch that its nodes are in. What was deleted since is not among them."""
    asked: dict[int, tuple[str, str]] = {}
    made: dict[str, str] = {}
    for line in lines:
        key, action, number = line.get("key"), line.get("action"), line.get("number")
        if line.get("type") == "intent" and isinstance(key, str) and isinstance(number, int):
            if key.startswith(_PREFIX):
                asked[number] = (key.removeprefix(_PREFIX), str(action))
        elif line.get("type") == "outcome" and line.get("ok") and isinstance(number, int):
            zone, action = asked.pop(number, ("", ""))
            ids = line.get("ids")
            id = ids.get("VSwitchId") if isinstance(ids, Mapping) else None
            if action == "create" and isinstance(id, str) and id.startswith("vsw-"):
                made[zone] = id
            elif action == "delete":
                made.pop(zone, None)
    return made
