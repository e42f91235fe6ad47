"""The sale's PolarDB: a cluster with read nodes, its deletion lock, and an endpoint with session consistency.

Nodes are counted with the primary (``DBNodeNum``). One change runs at a time; a second one is told that the cluster is
busy and asks again. Who may call it, its account and its database are in database_access.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.network import VPC, node_vswitch
from saleops.domain.cloud.ours import TWINS, Scope, condition_of, pick, rows_in, text, twice
from saleops.domain.cloud.paging import NUMBERED, every_page
from saleops.domain.cloud.resources import Condition, Found, Group, Known, Look, Patience, Resource

DATABASE = "database"
CONSISTENCY = {"eventual": "0", "session": "1", "global": "2"}


@dataclass(frozen=True, slots=True)
class DatabaseWishes:
    node_class: str
    nodes: int  # with the primary
    version: str
    zone: str

    @property
    def proxy(self) -> str:
        """The proxy's edition has to match the nodes': dedicated ones are called x, general-purpose ones g."""
        return "EXCLUSIVE" if self.node_class.startswith("polar.mysql.x") else "GENERAL"


class DatabasePart(Resource):
    """What all parts of the database share."""

    group: ClassVar[Group] = "database"
    on_failure: ClassVar[str] = "One change runs at a time: wait until the console shows Running."

    def __init__(self, scope: Scope, key: str, suffix: str, needs: Sequence[str]) -> None:
        self.scope = scope
        self.key, self.name, self.needs = key, scope.named(suffix), tuple(needs)


class Database(DatabasePart):
    kind: ClassVar[str] = "PolarDB cluster"
    patience: ClassVar[Patience] = Patience(first_s=10, every_s=10, timeout_s=3000)

    def __init__(self, scope: Scope, wishes: DatabaseWishes) -> None:
        super().__init__(scope, DATABASE, "db", (VPC, node_vswitch(wishes.zone)))
        self.wishes = wishes

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call(
                "polardb",
                "DescribeDBClusters",
                {"RegionId": self.scope.region, "DBClusterDescription": self.name},
            ),
            "Items.DBCluster",
            NUMBERED.within(100),
        )
        one = pick(
            self.scope,
            rows,
            name=self.name,
            name_field="DBClusterDescription",
            id_field="DBClusterId",
        )
        if one is None:
            return None
        row = one.row
        state = text(row.get("DBClusterStatus"))
        nodes = rows_in(row, "DBNodes", "DBNode")
        readers = [text(one.get("DBNodeId")) for one in nodes if one.get("DBNodeRole") == "Reader"]
        return one.found(
            text(row.get("DBClusterId")),
            state=state,
            condition=condition_of(state, ready=("Running",), leaving=("Deleting", "Deleted")),
            outputs={
                "readers": ",".join(sorted(readers)),
                "locked": text(row.get("DeletionLock")),
            },
            fields={
                "node_class": text(row.get("DBNodeClass")),
                "nodes": int(row.get("DBNodeNumber") or len(nodes)),
                "version": text(row.get("DBVersion")),
            },
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {
            "node_class": self.wishes.node_class,
            "nodes": self.wishes.nodes,
            "version": self.wishes.version,
        }

    def create(self, known: Known) -> Call:
        wishes = self.wishes
        return Call(
            "polardb",
            "CreateDBCluster",
            {
                "RegionId": self.scope.region,
                "ZoneId": wishes.zone,
                "VPCId": known(VPC),
                "VSwitchId": known(node_vswitch(wishes.zone)),
                "DBType": "MySQL",
                "DBVersion": wishes.version,
                "DBNodeClass": wishes.node_class,
                "DBNodeNum": wishes.nodes,
                "CreationCategory": "Normal",
                "ProxyType": wishes.proxy,
                "PayType": "Postpaid",
                "DBClusterDescription": self.name,
                "Tag": self.scope.rpc_tags,
            },
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        """Nodes before their class: more nodes help at once, and a class change takes minutes for each of them."""
        id, calls = found.outputs["id"], []
        have = int(found.fields.get("nodes") or 0)
        if "nodes" in fields and have < self.wishes.nodes:
            new = [{"TargetClass": text(found.fields.get("node_class"))}] * (
                self.wishes.nodes - have
            )
            calls.append(Call("polardb", "CreateDBNodes", {"DBClusterId": id, "DBNode": new}))
        if "nodes" in fields and have > self.wishes.nodes:
            readers = [one for one in found.outputs.get("readers", "").split(",") if one]
            spare = readers[-(have - self.wishes.nodes) :]
            if len(spare) == have - self.wishes.nodes:  # never the primary
                calls.append(
                    Call("polardb", "DeleteDBNodes", {"DBClusterId": id, "DBNodeId": spare})
                )
        if "node_class" in fields:
            larger = _size(self.wishes.node_class) >= _size(text(found.fields.get("node_class")))
            calls.append(
                Call(
                    "polardb",
                    "ModifyDBNodeClass",
                    {
                        "DBClusterId": id,
                        "DBNodeTargetClass": self.wishes.node_class,
                        "ModifyType": "Upgrade" if larger else "Downgrade",
                    },
                )
            )
        return calls

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        id = found.outputs["id"]
        unlock = [_protect(id, False)] if found.outputs.get("locked") == "1" else []
        return [*unlock, Call("polardb", "DeleteDBCluster", {"DBClusterId": id})]


_SIZES = ("small", "medium", "large", "xlarge")


def _size(node_class: str) -> tuple[int, int]:
    """Orders the classes of one family: polar.mysql.x4.large before x4.xlarge before x8.2xlarge."""
    parts = node_class.split(".")
    family, size = (parts[2], parts[3]) if len(parts) > 3 else ("", "")
    memory = int("".join(one for one in family if one.isdigit()) or 0)
    if size in _SIZES:
        return (_SIZES.index(size), memory)
    multiple = size.removesuffix("xlarge")
    return (len(_SIZES) + int(multiple) if multiple.isdigit() else 0, memory)


def _protect(id: str, on: bool) -> Call:
    return Call("polardb", "ModifyDBClusterDeletion", {"DBClusterId": id, "Protection": on})


class DeletionLock(DatabasePart):
    """The lock against deletion: no field of the creating call, so a step of its own."""

    kind: ClassVar[str] = "PolarDB deletion lock"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=5, timeout_s=300)

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope, "database/lock", "db-lock", (DATABASE,))

    def look(self, known: Known) -> Look:
        answer = yield Call(
            "polardb", "DescribeDBClusterAttribute", {"DBClusterId": known(DATABASE)}
        )
        if int(answer.get("DeletionLock") or 0) != 1:
            return None
        return Found(Condition.READY, "locked", {"id": known(DATABASE)})

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {}

    def create(self, known: Known) -> Call:
        return _protect(known(DATABASE), True)

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # the cluster takes it off when it goes


class Endpoint(DatabasePart):
    """The read-write endpoint of the shop: every node, new ones too, reads that see the session's own writes."""

    kind: ClassVar[str] = "PolarDB endpoint"
    patience: ClassVar[Patience] = Patience(first_s=5, every_s=5, timeout_s=600)

    def __init__(self, scope: Scope, consistency: str) -> None:
        super().__init__(scope, "database/endpoint", "shop", (DATABASE,))
        self.consistency = CONSISTENCY[consistency]

    def look(self, known: Known) -> Look:
        answer = yield Call(
            "polardb", "DescribeDBClusterEndpoints", {"DBClusterId": known(DATABASE)}
        )
        rows = [
            row for row in rows_in(answer, "Items") if row.get("DBEndpointDescription") == self.name
        ]
        if not rows:
            return None
        row = sorted(rows, key=lambda one: text(one.get("DBEndpointId")))[0]
        addresses = rows_in(row, "AddressItems")
        private = next((one for one in addresses if one.get("NetType") == "Private"), {})
        address = text(private.get("ConnectionString"))
        outputs = {
            "id": text(row.get("DBEndpointId")),
            "cluster": known(DATABASE),
            "address": address,
            "port": text(private.get("Port")),
        }
        # An endpoint has no state of its own: it is usable once it has an address.
        condition = Condition.READY if address else Condition.PENDING
        problem = ""
        if len(rows) > 1:
            twins = sorted(text(one.get("DBEndpointId")) for one in rows)
            condition, problem = Condition.FAILED, twice(twins)
            outputs[TWINS] = ",".join(twins[1:])
        return Found(
            condition,
            "Available" if address else "NetAddressCreating",
            outputs,
            {
                "mode": text(row.get("ReadWriteMode")),
                "new_nodes": text(row.get("AutoAddNewNodes")),
                "consistency": _config(row.get("EndpointConfig")).get("ConsistLevel", ""),
            },
            problem,
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"mode": "ReadWrite", "new_nodes": "Enable", "consistency": self.consistency}

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "ReadWriteMode": "ReadWrite",
            "AutoAddNewNodes": "Enable",
            "EndpointConfig": json.dumps({"ConsistLevel": self.consistency}),
        }

    def create(self, known: Known) -> Call:
        return Call(
            "polardb",
            "CreateDBClusterEndpoint",
            {
                "DBClusterId": known(DATABASE),
                "EndpointType": "Custom",
                "DBEndpointDescription": self.name,
                **self._settings,
            },
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        return [
            Call(
                "polardb",
                "ModifyDBClusterEndpoint",
                {
                    "DBClusterId": known(DATABASE),
                    "DBEndpointId": found.outputs["id"],
                    **self._settings,
                },
            )
        ]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [
            Call(
                "polardb",
                "DeleteDBClusterEndpoint",
                {
                    "DBClusterId": found.outputs["cluster"],
                    "DBEndpointId": found.outputs["id"],
                },
            )
        ]


def _config(written: Any) -> dict[str, str]:
    if isinstance(written, Mapping):
        return {str(key): text(value) for key, value in written.items()}
    try:
        read = json.loads(text(written) or "{}")
    except ValueError:
        return {}
    return {str(key): text(value) for key, value in read.items()} if isinstance(read, dict) else {}
