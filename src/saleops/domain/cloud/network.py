"""The network of a sale: VPC, a node and a pod vSwitch in each zone, the way out (NAT, EIP, SNAT), the nodes' security group.

Each vSwitch has a SNAT entry of its own: without one its pods and nodes have no way out, and with one for all of the VPC
nobody could take a zone's away or see which are missing. Services answer a list of everything in one shape
(``Vpcs.Vpc[]``), so looking is the same for most: list by name, keep ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.ours import Scope, condition_of, pick, rows_in, text
from saleops.domain.cloud.paging import every_page
from saleops.domain.cloud.resources import Condition, Found, Group, Known, Look, Patience, Resource

VPC, NAT, EIP, EIP_LINK, SECURITY_GROUP = "vpc", "nat", "eip", "eip-link", "security-group"
SECURITY_RULES = "security-rules"
WORLD = ("0.0.0.0/0", "::/0")
_LOOK = "The console shows what it waits for; what was made stays."


def node_vswitch(zone: str) -> str:
    """The key of the vSwitch that the nodes of ``zone`` are in."""
    return f"vswitch/node/{zone}"


def pod_vswitch(zone: str) -> str:
    """The key of the vSwitch that the pods of ``zone`` are in."""
    return f"vswitch/pod/{zone}"


def vswitch_name(key: str) -> str:
    """What follows the sale's name in the name of the vSwitch ``key``."""
    return key.removeprefix("vswitch/").replace("/", "-", 1)


class _Network(Resource):
    group: ClassVar[Group] = "network"
    on_failure: ClassVar[str] = _LOOK

    def __init__(self, scope: Scope, key: str, suffix: str, needs: Sequence[str] = ()) -> None:
        self.scope = scope
        self.key = key
        self.name = scope.named(suffix)
        self.needs = tuple(needs)

    @property
    def _region(self) -> dict[str, Any]:
        return {"RegionId": self.scope.region}


class Vpc(_Network):
    kind: ClassVar[str] = "VPC"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=3, timeout_s=600)

    def __init__(self, scope: Scope, cidr: str) -> None:
        super().__init__(scope, VPC, "vpc")
        self.cidr = cidr

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call("vpc", "DescribeVpcs", {**self._region, "VpcName": self.name}), "Vpcs.Vpc"
        )
        one = pick(self.scope, rows, name=self.name, name_field="VpcName", id_field="VpcId")
        if one is None:
            return None
        state = text(one.row.get("Status"))
        return one.found(
            text(one.row.get("VpcId")),
            state=state,
            condition=condition_of(state, ready=("Available",), leaving=("Deleting",)),
            outputs={"cidr": text(one.row.get("CidrBlock"))},
            fields={"cidr": text(one.row.get("CidrBlock"))},
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"cidr": self.cidr}

    def create(self, known: Known) -> Call:
        return Call(
            "vpc",
            "CreateVpc",
            {
                **self._region,
                "CidrBlock": self.cidr,
                "VpcName": self.name,
                "Tag": self.scope.rpc_tags,
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [Call("vpc", "DeleteVpc", {**self._region, "VpcId": found.outputs["id"]})]


class VSwitch(_Network):
    kind: ClassVar[str] = "vSwitch"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=3, timeout_s=300)

    def __init__(self, scope: Scope, zone: str, cidr: str, *, pods: bool) -> None:
        key = (pod_vswitch if pods else node_vswitch)(zone)
        super().__init__(scope, key, vswitch_name(key), (VPC,))
        self.zone = zone
        self.cidr = cidr

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            # All of the VPC's: the same call finds every vSwitch of the sale.
            Call("vpc", "DescribeVSwitches", {**self._region, "VpcId": known(VPC)}),
            "VSwitches.VSwitch",
        )
        one = pick(self.scope, rows, name=self.name, name_field="VSwitchName", id_field="VSwitchId")
        if one is None:
            return None
        state = text(one.row.get("Status"))
        return one.found(
            text(one.row.get("VSwitchId")),
            state=state,
            condition=condition_of(state, ready=("Available",), leaving=("Deleting",)),
            outputs={
                "zone": self.zone,
                "cidr": text(one.row.get("CidrBlock")),
                "free_addresses": text(one.row.get("AvailableIpAddressCount")),
            },
            fields={"cidr": text(one.row.get("CidrBlock")), "zone": text(one.row.get("ZoneId"))},
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"cidr": self.cidr, "zone": self.zone}

    def create(self, known: Known) -> Call:
        return Call(
            "vpc",
            "CreateVSwitch",
            {
                **self._region,
                "VpcId": known(VPC),
                "ZoneId": self.zone,
                "CidrBlock": self.cidr,
                "VSwitchName": self.name,
                "Tag": self.scope.rpc_tags,
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [Call("vpc", "DeleteVSwitch", {**self._region, "VSwitchId": found.outputs["id"]})]


class NatGateway(_Network):
    """An enhanced NAT gateway in the first zone's node vSwitch; it lives in one zone, its addresses serve all."""

    kind: ClassVar[str] = "NAT gateway"
    patience: ClassVar[Patience] = Patience(first_s=10, every_s=5, timeout_s=600)

    def __init__(self, scope: Scope, zone: str) -> None:
        super().__init__(scope, NAT, "nat", (VPC, node_vswitch(zone)))
        self.zone = zone

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call(
                "vpc",
                "DescribeNatGateways",
                {**self._region, "VpcId": known(VPC), "Name": self.name},
            ),
            "NatGateways.NatGateway",
        )
        one = pick(self.scope, rows, name=self.name, name_field="Name", id_field="NatGatewayId")
        if one is None:
            return None
        state = text(one.row.get("Status"))
        tables = rows_in(one.row, "SnatTableIds", "SnatTableId")
        return one.found(
            text(one.row.get("NatGatewayId")),
            state=state,
            condition=condition_of(state, ready=("Available",), leaving=("Deleting",)),
            outputs={"snat_table": text(tables[0]) if tables else ""},
            fields={
                "type": text(one.row.get("NatType")),
                "network": text(one.row.get("NetworkType")),
            },
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"type": "Enhanced", "network": "internet"}

    def create(self, known: Known) -> Call:
        return Call(
            "vpc",
            "CreateNatGateway",
            {
                **self._region,
                "VpcId": known(VPC),
                "VSwitchId": known(node_vswitch(self.zone)),
                "Name": self.name,
                "NatType": "Enhanced",
                "NetworkType": "internet",
                "EipBindMode": "MULTI_BINDED",
                "InstanceChargeType": "PostPaid",
                "InternetChargeType": "PayByLcu",
                "Tag": self.scope.rpc_tags,
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [
            Call("vpc", "DeleteNatGateway", {**self._region, "NatGatewayId": found.outputs["id"]})
        ]


class Eip(_Network):
    """The public address that pods and nodes go out by. Buyers do not come in by it."""

    kind: ClassVar[str] = "EIP"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=3, timeout_s=300)

    def __init__(self, scope: Scope, *, bandwidth_mbps: int, charge: str) -> None:
        super().__init__(scope, EIP, "eip")
        self.bandwidth_mbps = bandwidth_mbps
        self.charge = charge

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call("vpc", "DescribeEipAddresses", {**self._region, "EipName": self.name}),
            "EipAddresses.EipAddress",
        )
        one = pick(self.scope, rows, name=self.name, name_field="Name", id_field="AllocationId")
        if one is None:
            return None
        state = text(one.row.get("Status"))
        return one.found(
            text(one.row.get("AllocationId")),
            state=state,
            condition=condition_of(state, ready=("Available", "InUse"), leaving=("Releasing",)),
            outputs={"address": text(one.row.get("IpAddress"))},
            fields={
                "bandwidth_mbps": text(one.row.get("Bandwidth")),
                "charge": text(one.row.get("InternetChargeType")),
            },
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"bandwidth_mbps": str(self.bandwidth_mbps), "charge": self.charge}

    def create(self, known: Known) -> Call:
        return Call(
            "vpc",
            "AllocateEipAddress",
            {
                **self._region,
                "Bandwidth": str(self.bandwidth_mbps),
                "InstanceChargeType": "PostPaid",
                "InternetChargeType": self.charge,
                "Name": self.name,
                "Tag": self.scope.rpc_tags,
            },
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        if "bandwidth_mbps" not in fields:
            return ()
        return [
            Call(
                "vpc",
                "ModifyEipAddressAttribute",
                {
                    **self._region,
                    "AllocationId": found.outputs["id"],
                    "Bandwidth": str(self.bandwidth_mbps),
                },
            )
        ]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [
            Call("vpc", "ReleaseEipAddress", {**self._region, "AllocationId": found.outputs["id"]})
        ]


class EipLink(_Network):
    """The EIP at the NAT gateway. It is found by looking at the EIP, and is no thing of its own: it has neither name nor tag."""

    kind: ClassVar[str] = "EIP at the NAT gateway"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=3, timeout_s=300)

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope, EIP_LINK, "eip-link", (EIP, NAT))

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call("vpc", "DescribeEipAddresses", {**self._region, "AllocationId": known(EIP)}),
            "EipAddresses.EipAddress",
        )
        row = next((row for row in rows if row.get("AllocationId") == known(EIP)), None)
        if row is None or not row.get("InstanceId"):
            return None
        state, at = text(row.get("Status")), text(row.get("InstanceId"))
        outputs = {"id": known(EIP), "address": text(row.get("IpAddress"))}
        if at != known(NAT):
            problem = f"the EIP is at {at}, not at {known(NAT)}: free it there"
            return Found(Condition.FAILED, state, outputs, {"instance": at}, problem)
        condition = condition_of(state, ready=("InUse",), leaving=("Unassociating",))
        return Found(condition, state, outputs, {"instance": at})

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"instance": known(NAT)}

    def create(self, known: Known) -> Call:
        return Call(
            "vpc",
            "AssociateEipAddress",
            {
                **self._region,
                "AllocationId": known(EIP),
                "InstanceId": known(NAT),
                "InstanceType": "Nat",
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [
            Call(
                "vpc",
                "UnassociateEipAddress",
                {
                    **self._region,
                    "AllocationId": found.outputs["id"],
                    "InstanceId": text(found.fields.get("instance")),
                    "InstanceType": "Nat",
                },
            )
        ]


class SnatEntry(_Network):
    """The way out for one vSwitch. It is ours because the table is that of our NAT gateway."""

    kind: ClassVar[str] = "SNAT entry"
    patience: ClassVar[Patience] = Patience(first_s=2, every_s=3, timeout_s=300)

    def __init__(self, scope: Scope, vswitch: str) -> None:
        super().__init__(
            scope,
            f"snat/{vswitch.removeprefix('vswitch/')}",
            f"snat-{vswitch.removeprefix('vswitch/').replace('/', '-')}",
            (NAT, vswitch, EIP_LINK),
        )
        self.vswitch = vswitch

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call(
                "vpc",
                "DescribeSnatTableEntries",
                {**self._region, "SnatTableId": known(NAT, "snat_table")},
            ),
            "SnatTableEntries.SnatTableEntry",
        )
        row = next((row for row in rows if row.get("SourceVSwitchId") == known(self.vswitch)), None)
        if row is None:
            return None
        state = text(row.get("Status"))
        return Found(
            condition_of(state, ready=("Available",), leaving=("Deleting",)),
            state,
            {"id": text(row.get("SnatEntryId")), "table": known(NAT, "snat_table")},
            {"address": text(row.get("SnatIp"))},
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"address": known(EIP, "address")}

    def create(self, known: Known) -> Call:
        return Call(
            "vpc",
            "CreateSnatEntry",
            {
                **self._region,
                "SnatTableId": known(NAT, "snat_table"),
                "SnatIp": known(EIP, "address"),
                "SourceVSwitchId": known(self.vswitch),
                "SnatEntryName": self.name,
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [
            Call(
                "vpc",
                "DeleteSnatEntry",
                {
                    **self._region,
                    "SnatTableId": found.outputs["table"],
                    "SnatEntryId": found.outputs["id"],
                },
            )
        ]
