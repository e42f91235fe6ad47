"""The sale's Tair: one instance, sharded when more than one core has to sell, billed by the hour, and who may call it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.allowances import WORLD, Callers, addresses_in, list_name, repairs
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.network import VPC, node_vswitch
from saleops.domain.cloud.ours import Scope, condition_of, pick, rows_in, text
from saleops.domain.cloud.paging import every_page
from saleops.domain.cloud.resources import Condition, Found, Group, Known, Look, Patience, Resource

CACHE = "cache"


@dataclass(frozen=True, slots=True)
class CacheWishes:
    instance_class: str
    shards: int
    version: str
    zone: str
    secondary_zone: str = ""


class Cache(Resource):
    group: ClassVar[Group] = "cache"
    kind: ClassVar[str] = "Tair instance"
    patience: ClassVar[Patience] = Patience(first_s=300, every_s=10, timeout_s=3600)
    on_failure: ClassVar[str] = (
        "DescribeAvailableResource says which classes a zone sells; change `cache` in the profile."
    )

    def __init__(self, scope: Scope, wishes: CacheWishes) -> None:
        self.scope = scope
        self.wishes = wishes
        self.key, self.name = CACHE, scope.named("cache")
        self.needs = (VPC, node_vswitch(wishes.zone))

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call(
                "r-kvstore",
                "DescribeInstances",
                {"RegionId": self.scope.region, "SearchKey": self.name},
            ),
            "Instances.KVStoreInstance",
        )
        alive = [row for row in rows if row.get("InstanceStatus") != "Released"]
        one = pick(
            self.scope, alive, name=self.name, name_field="InstanceName", id_field="InstanceId"
        )
        if one is None:
            return None
        row = one.row
        state = text(row.get("InstanceStatus"))
        return one.found(
            text(row.get("InstanceId")),
            state=state,
            condition=condition_of(
                state, ready=("Normal",), failed=("Inactive", "Unavailable", "Error")
            ),
            outputs={
                "address": text(row.get("ConnectionDomain")),
                "port": text(row.get("Port")),
            },
            fields={"shards": int(row.get("ShardCount") or 1), **self._class_of(row)},
            problem="its subscription ended or it is locked" if state == "Inactive" else "",
        )

    def _class_of(self, row: Mapping[str, Any]) -> dict[str, str]:
        """A cluster's own class says its total; each shard's is in ``ShardClass``."""
        shown = text(row.get("ShardClass") or row.get("InstanceClass"))
        return {"class": shown}

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"shards": self.wishes.shards, "class": self.wishes.instance_class}

    def create(self, known: Known) -> Call:
        wishes = self.wishes
        return Call(
            "r-kvstore",
            "CreateTairInstance",
            {
                "RegionId": self.scope.region,
                "ZoneId": wishes.zone,
                "SecondaryZoneId": wishes.secondary_zone or None,
                "VpcId": known(VPC),
                "VSwitchId": known(node_vswitch(wishes.zone)),
                "InstanceName": self.name,
                "InstanceType": "tair_rdb",
                "InstanceClass": wishes.instance_class,
                "EngineVersion": wishes.version,
                "ShardType": "MASTER_SLAVE",
                "ShardCount": wishes.shards,
                "ChargeType": "PostPaid",
                "AutoPay": True,
                "Tag": self.scope.rpc_tags,
            },
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        """Absolute targets only: "add N shards" would add them twice when an answer is lost."""
        asked: dict[str, Any] = {}
        if "shards" in fields:
            asked["ShardCount"] = self.wishes.shards
        if "class" in fields:
            asked["InstanceClass"] = self.wishes.instance_class
        if not asked:
            return ()
        return [
            Call(
                "r-kvstore",
                "ModifyInstanceSpec",
                {
                    "RegionId": self.scope.region,
                    "InstanceId": found.outputs["id"],
                    **asked,
                    "EffectiveTime": "Immediately",
                    "AutoPay": True,
                },
            )
        ]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [Call("r-kvstore", "DeleteInstance", {"InstanceId": found.outputs["id"]})]


class CacheAllowance(Resource):
    group: ClassVar[Group] = "cache"
    kind: ClassVar[str] = "Tair whitelist"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=5, timeout_s=300)

    def __init__(self, scope: Scope, callers: Callers) -> None:
        self.scope = scope
        self.callers = callers
        self.list_name = list_name(scope.sale)
        self.key, self.name, self.needs = (
            "cache/whitelist",
            scope.named("cache-whitelist"),
            (CACHE, *callers.needs),
        )

    def look(self, known: Known) -> Look:
        answer = yield Call("r-kvstore", "DescribeSecurityIps", {"InstanceId": known(CACHE)})
        lists = {
            text(row.get("SecurityIpGroupName")): addresses_in(row.get("SecurityIpList"))
            for row in rows_in(answer, "SecurityIpGroups", "SecurityIpGroup")
        }
        if self.list_name not in lists:
            return None
        standing = yield from self.callers.standing(known)
        return Found(
            Condition.READY,
            "Available",
            {"id": known(CACHE)},
            {
                "addresses": [one for one in lists[self.list_name] if one not in standing],
                "open_to_the_world": sorted(
                    name for name, addresses in lists.items() if WORLD in addresses
                ),
            },
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"addresses": sorted(self.callers.wanted(known)), "open_to_the_world": []}

    def _repairs(
        self, known: Known, wanted: Sequence[str], observed: Sequence[str], opened: Sequence[str]
    ) -> list[Call]:
        return repairs(
            Call("r-kvstore", "ModifySecurityIps", {"InstanceId": known(CACHE)}),
            name_field="SecurityIpGroupName",
            ours=self.list_name,
            wanted=wanted,
            observed=observed,
            open_lists=opened,
        )

    def create(self, known: Known) -> Call:
        return self._repairs(known, self.callers.wanted(known), (), ())[0]

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        observed = found.fields.get("addresses") or ()
        opened = found.fields.get("open_to_the_world") or ()
        return self._repairs(
            known,
            self.callers.wanted(known) if "addresses" in fields else observed,
            observed,
            opened if "open_to_the_world" in fields else (),
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # it goes with the instance
