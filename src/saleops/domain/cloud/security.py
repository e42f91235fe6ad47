"""Who may talk to a sale's nodes and pods: an enterprise security group that lets in the VPC and nobody else.

An enterprise group keeps its members apart from each other until a rule lets them in, so one rule names the whole VPC.
Buyers come through the load balancer, which is inside. A rule that opens a port to the whole world is drift, and is taken
away again; other rules that somebody added are left alone, because the cluster's own controllers add some.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.network import SECURITY_GROUP, SECURITY_RULES, VPC, WORLD
from saleops.domain.cloud.ours import Scope, pick, rows_in, text
from saleops.domain.cloud.paging import every_page
from saleops.domain.cloud.resources import Condition, Found, Group, Known, Look, Patience, Resource

_ANY = ("ALL", "-1/-1")


class SecurityGroup(Resource):
    group: ClassVar[Group] = "network"
    kind: ClassVar[str] = "security group"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=3, timeout_s=120)

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.key, self.name, self.needs = SECURITY_GROUP, scope.named("nodes"), (VPC,)

    def look(self, known: Known) -> Look:
        rows = yield from every_page(
            Call(
                "ecs",
                "DescribeSecurityGroups",
                {
                    "RegionId": self.scope.region,
                    "VpcId": known(VPC),
                    "SecurityGroupName": self.name,
                },
            ),
            "SecurityGroups.SecurityGroup",
        )
        one = pick(
            self.scope,
            rows,
            name=self.name,
            name_field="SecurityGroupName",
            id_field="SecurityGroupId",
        )
        if one is None:
            return None
        return one.found(
            text(one.row.get("SecurityGroupId")),
            state="Available",  # a security group has no states: it is there or it is not
            condition=Condition.READY,
            fields={"type": text(one.row.get("SecurityGroupType"))},
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"type": "enterprise"}

    def create(self, known: Known) -> Call:
        return Call(
            "ecs",
            "CreateSecurityGroup",
            {
                "RegionId": self.scope.region,
                "VpcId": known(VPC),
                "SecurityGroupName": self.name,
                "SecurityGroupType": "enterprise",
                "Description": f"Nodes and pods of the sale {self.scope.sale}",
                "Tag": self.scope.rpc_tags,
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [
            Call(
                "ecs",
                "DeleteSecurityGroup",
                {"RegionId": self.scope.region, "SecurityGroupId": found.outputs["id"]},
            )
        ]


class SecurityRules(Resource):
    """The block that they let in is the VPC's own, as the cloud shows it: a file that names another one moves no VPC."""

    group: ClassVar[Group] = "network"
    kind: ClassVar[str] = "security rules"
    patience: ClassVar[Patience] = Patience(first_s=1, every_s=3, timeout_s=120)

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.key, self.name = SECURITY_RULES, scope.named("nodes-rules")
        self.needs = (VPC, SECURITY_GROUP)

    def _permissions(self, known: Known) -> list[dict[str, str]]:
        return [
            {
                "IpProtocol": _ANY[0],
                "PortRange": _ANY[1],
                "SourceCidrIp": known(VPC, "cidr"),
                "Policy": "accept",
                "Priority": "1",
                "Description": f"within the VPC of {self.scope.sale}",
            }
        ]

    def look(self, known: Known) -> Look:
        answer = yield Call(
            "ecs",
            "DescribeSecurityGroupAttribute",
            {
                "RegionId": self.scope.region,
                "SecurityGroupId": known(SECURITY_GROUP),
                "Direction": "ingress",
            },
        )
        rules = [
            rule
            for rule in rows_in(answer, "Permissions", "Permission")
            if text(rule.get("Policy")).lower() == "accept"
        ]
        from_vpc = [
            rule
            for rule in rules
            if rule.get("SourceCidrIp") == known(VPC, "cidr")
            and (text(rule.get("IpProtocol")).upper(), rule.get("PortRange")) == _ANY
        ]
        if not from_vpc:
            return None
        world = sorted(
            f"{text(rule.get('IpProtocol')).upper()} {text(rule.get('PortRange'))} {source}"
            for rule in rules
            if (source := rule.get("SourceCidrIp") or rule.get("Ipv6SourceCidrIp")) in WORLD
            and not text(rule.get("IpProtocol")).upper().startswith("ICMP")
        )
        return Found(
            Condition.READY,
            "Available",
            {"id": known(SECURITY_GROUP)},
            {"from_vpc": known(VPC, "cidr"), "open_to_the_world": world},
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {"from_vpc": known(VPC, "cidr"), "open_to_the_world": []}

    def create(self, known: Known) -> Call:
        return Call(
            "ecs",
            "AuthorizeSecurityGroup",
            {
                "RegionId": self.scope.region,
                "SecurityGroupId": known(SECURITY_GROUP),
                "Permissions": self._permissions(known),
            },
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        opened = found.fields.get("open_to_the_world") or []
        if "open_to_the_world" not in fields or not opened:
            return ()
        permissions = []
        for rule in opened:
            protocol, ports, source = str(rule).split(" ")
            side = "Ipv6SourceCidrIp" if ":" in source else "SourceCidrIp"
            permissions.append(
                {"IpProtocol": protocol, "PortRange": ports, side: source, "Policy": "accept"}
            )
        return [
            Call(
                "ecs",
                "RevokeSecurityGroup",
                {
                    "RegionId": self.scope.region,
                    "SecurityGroupId": known(SECURITY_GROUP),
                    "Permissions": permissions,
                },
            )
        ]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # they go with the group
