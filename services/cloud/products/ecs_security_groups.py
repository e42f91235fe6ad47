"""ECS: security groups and their rules."""

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import quota
from saleops.services.cloud.networks import users_of_security_group
from saleops.services.cloud.pages import numbered, tokened
from saleops.services.cloud.refusals import (
    check_description,
    check_name,
    missing,
    needed,
    one_of,
    short,
    stop_dry_run,
    wrong,
)
from saleops.services.cloud.tags import has_tags, sent_tags, written
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "GRE", "ALL")
RULE_FIELDS = (
    "IpProtocol",
    "PortRange",
    "SourceCidrIp",
    "Ipv6SourceCidrIp",
    "SourceGroupId",
    "SourcePrefixListId",
    "SourcePortRange",
    "DestCidrIp",
    "Ipv6DestCidrIp",
    "PortRangeListId",
    "NicType",
    "Policy",
    "Priority",
    "Description",
)
SOURCES = (
    "SourceCidrIp",
    "Ipv6SourceCidrIp",
    "SourceGroupId",
    "SourcePrefixListId",
    "PortRangeListId",
)
_PORTS = re.compile(r"(-1|\d{1,5})/(-1|\d{1,5})\Z", re.ASCII)


@answers("ecs", "CreateSecurityGroup")
def create_security_group(call: LocalCall, world: World) -> dict[str, Any]:
    kind = one_of(
        call,
        "SecurityGroupType",
        ["normal", "enterprise"],
        code="InvalidSecurityGroupType.ValueNotSupported",
        default="normal",
    )
    check_name(call, "SecurityGroupName", code="InvalidSecurityGroupName.Malformed")
    check_description(call)
    tags = sent_tags(call)
    vpc_id = call.params.get("VpcId")
    if not vpc_id:
        raise needed("VpcId", "the classic network is closed")
    vpc = world.find("vpc", vpc_id)
    if vpc is None or vpc.data["RegionId"] != call.region:
        raise missing("InvalidVpcId.NotFound", "VpcId", vpc_id)
    if world.state(vpc) != "Available":
        raise ApiError(
            400,
            "IncorrectVpcStatus",
            f"The VPC {vpc_id!r} is {world.state(vpc)}; this works when it is Available.",
        )
    limit = quota(world, "ecs.security_groups")
    if len(list(world.each("security_group", RegionId=call.region))) >= limit:
        raise short(
            f"security groups in {call.region}",
            limit,
            code="QuotaExceed.SecurityGroup",
            field="VpcId",
            value=vpc_id,
        )
    group = world.create(
        "security_group",
        world.new_id("sg-"),
        {
            "RegionId": call.region,
            "VpcId": vpc_id,
            "SecurityGroupName": call.params.get("SecurityGroupName", ""),
            "Description": call.params.get("Description", ""),
            "SecurityGroupType": kind,
            "ResourceGroupId": call.params.get("ResourceGroupId", ""),
            "Rules": [],
            "Tags": tags,
        },
    )
    return {"SecurityGroupId": group.id}


@answers("ecs", "DescribeSecurityGroups")
def describe_security_groups(call: LocalCall, world: World) -> dict[str, Any]:
    wanted = call.params
    ids = ids_in(call, "SecurityGroupIds")
    if wanted.get("SecurityGroupId"):
        ids = [*(ids or []), wanted["SecurityGroupId"]]
    found = [
        group
        for group in world.listed("security_group", RegionId=call.region)
        if (ids is None or group.id in ids)
        and all(
            wanted.get(field) in (None, "", group.data[field])
            for field in ("VpcId", "SecurityGroupName", "SecurityGroupType", "ResourceGroupId")
        )
        and wanted.get("NetworkType") in (None, "", "vpc")
        and not wanted.get("ServiceManaged")
        and has_tags(call, group)
    ]
    stop_dry_run(call)
    if wanted.get("MaxResults") or wanted.get("NextToken"):
        page, about = tokened(call, found, size=10, most=100)
        about.pop("MaxResults")
    else:
        page, about = numbered(call, found, most=100)
    return {
        **about,
        "RegionId": call.region,
        "SecurityGroups": {
            "SecurityGroup": [
                {
                    "SecurityGroupId": group.id,
                    "SecurityGroupName": group.data["SecurityGroupName"],
                    "SecurityGroupType": group.data["SecurityGroupType"],
                    "Description": group.data["Description"],
                    "VpcId": group.data["VpcId"],
                    "ResourceGroupId": group.data["ResourceGroupId"],
                    "CreationTime": iso_s(group.born_ms),
                    "RuleCount": len(group.data["Rules"]),
                    "ServiceManaged": False,
                    **_load(call, world, group),
                    "Tags": {"Tag": written(group, "TagKey", "TagValue")},
                }
                for group in page
            ]
        },
    }


@answers("ecs", "DescribeSecurityGroupAttribute")
def describe_security_group_attribute(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    direction = one_of(
        call,
        "Direction",
        ["all", "ingress", "egress"],
        code="InvalidDirection.ValueNotSupported",
        default="all",
    )
    rules = [] if direction == "egress" else group.data["Rules"]
    page, about = tokened(call, rules, size=500, most=1000)
    answer = {
        "RegionId": group.data["RegionId"],
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.data["SecurityGroupName"],
        "Description": group.data["Description"],
        "VpcId": group.data["VpcId"],
        "InnerAccessPolicy": "Accept" if group.data["SecurityGroupType"] == "normal" else "Drop",
        "Permissions": {"Permission": [dict(rule) for rule in page]},
    }
    if "NextToken" in about:
        answer["NextToken"] = about["NextToken"]
    return answer


@answers("ecs", "AuthorizeSecurityGroup")
def authorize_security_group(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    rules = list(group.data["Rules"])
    for where, sent in _sent_rules(call):
        rule = _rule(world, group, where, sent)
        if any(_same(rule, other) for other in rules):
            continue  # the service answers a rule that is there with success
        rules.append(
            {
                **rule,
                "Direction": "ingress",
                "SecurityGroupRuleId": world.new_id("sgr-"),
                "CreateTime": iso_s(world.now_ms()),
            }
        )
    limit = quota(world, "ecs.rules_per_security_group")
    if len(rules) > limit:
        raise short(
            f"rules of {group.id}",
            limit,
            code="AuthorizationLimitExceed",
            field="SecurityGroupId",
            value=group.id,
        )
    world.update(group, Rules=rules)
    return {}


@answers("ecs", "RevokeSecurityGroup")
def revoke_security_group(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    ids = call.params.get("SecurityGroupRuleId") or []
    known = {rule["SecurityGroupRuleId"] for rule in group.data["Rules"]}
    for index, id in enumerate(ids, 1):
        if id not in known:
            raise missing("InvalidSecurityGroupRuleId.NotFound", f"SecurityGroupRuleId.{index}", id)
    sent = [] if ids else [_rule(world, group, where, rule) for where, rule in _sent_rules(call)]
    kept = [
        rule
        for rule in group.data["Rules"]
        if rule["SecurityGroupRuleId"] not in ids and not any(_same(other, rule) for other in sent)
    ]
    world.update(group, Rules=kept)
    return {}


@answers("ecs", "DeleteSecurityGroup")
def delete_security_group(call: LocalCall, world: World) -> dict[str, Any]:
    group = group_of(call, world)
    user = next(users_of_security_group(world, group.id), None)
    if user is None:
        user = next(
            (
                other
                for other in world.each("security_group")
                if other.id != group.id
                and any(rule.get("SourceGroupId") == group.id for rule in other.data["Rules"])
            ),
            None,
        )
    if user is not None:
        raise ApiError(
            403,
            "DependencyViolation",
            f"The specified SecurityGroupId {group.id!r} is still used by {user.kind} {user.id}.",
        )
    world.remove(group)
    return {}


def group_of(call: LocalCall, world: World) -> Thing:
    id = str(call.params["SecurityGroupId"])
    group = world.find("security_group", id)
    if group is None or group.data["RegionId"] != call.region:
        raise missing("InvalidSecurityGroupId.NotFound", "SecurityGroupId", id)
    return group


def ids_in(call: LocalCall, field: str, most: int = 100) -> list[str] | None:
    """Ids in a parameter that is a JSON list in one string; None where it was not sent."""
    text = call.params.get(field)
    if not text:
        return None
    ids = text
    if isinstance(text, str):
        try:
            ids = json.loads(text)
        except ValueError as error:
            raise wrong("InvalidParameter", field, text, f"a JSON list of ids ({error})") from error
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids) or len(ids) > most:
        raise wrong("InvalidParameter", field, text, f"a JSON list of at most {most} ids")
    return ids


def _load(call: LocalCall, world: World, group: Thing) -> dict[str, int]:
    if not call.params.get("IsQueryEcsCount"):
        return {}
    room = 65_536 if group.data["SecurityGroupType"] == "enterprise" else 2_000
    count = sum(user.kind == "instance" for user in users_of_security_group(world, group.id))
    return {"EcsCount": count, "AvailableInstanceAmount": room - count}


def _sent_rules(call: LocalCall) -> list[tuple[str, Mapping[str, Any]]]:
    """Rules with the field that names them: ``Permissions.N``, or the older single one in the parameters themselves."""
    rules = call.params.get("Permissions") or []
    if len(rules) > 100:
        raise wrong("InvalidParameter", "Permissions", len(rules), "at most 100 rules a call")
    if rules:
        return [(f"Permissions.{index}.", rule) for index, rule in enumerate(rules, 1)]
    single = {field: call.params[field] for field in RULE_FIELDS if call.params.get(field)}
    if not single:
        raise needed("Permissions", "one rule at least")
    return [("", single)]


def _rule(world: World, group: Thing, where: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """A rule with its defaults, checked."""
    protocol = str(sent.get("IpProtocol") or "").upper()
    protocol = "ICMPv6" if protocol == "ICMPV6" else protocol
    if protocol not in PROTOCOLS:
        raise wrong(
            "InvalidIpProtocol.ValueNotSupported",
            f"{where}IpProtocol",
            sent.get("IpProtocol"),
            "use " + ", ".join(PROTOCOLS),
        )
    ports = str(sent.get("PortRange") or ("" if protocol in ("TCP", "UDP") else "-1/-1"))
    if not sent.get("PortRangeListId"):
        _check_ports(where, protocol, ports)
    if not any(sent.get(source) for source in SOURCES):
        raise needed(f"{where}SourceCidrIp", "or another source")
    for field, family in (
        ("SourceCidrIp", 4),
        ("DestCidrIp", 4),
        ("Ipv6SourceCidrIp", 6),
        ("Ipv6DestCidrIp", 6),
    ):
        if sent.get(field):
            _check_block(where + field, sent[field], family)
    other_id = sent.get("SourceGroupId")
    if other_id:
        other = world.find("security_group", other_id)
        if other is None:
            raise missing("InvalidSourceGroupId.NotFound", f"{where}SourceGroupId", other_id)
        if group.data["SecurityGroupType"] == "enterprise":
            raise wrong(
                "InvalidOperation.NotSupportEnterpriseGroup",
                f"{where}SourceGroupId",
                other_id,
                f"{group.id} is an enterprise group, whose rules name no groups",
            )
    policy = str(sent.get("Policy") or "accept").lower()
    if policy not in ("accept", "drop"):
        raise wrong("InvalidPolicy.Malformed", f"{where}Policy", sent["Policy"], "accept or drop")
    priority = str(sent.get("Priority") or "1")
    if not (priority.isascii() and priority.isdigit() and 1 <= int(priority) <= 100):
        raise wrong("InvalidPriority.Malformed", f"{where}Priority", sent["Priority"], "1 to 100")
    return {
        "IpProtocol": protocol,
        "PortRange": ports,
        "SourceCidrIp": sent.get("SourceCidrIp", ""),
        "Ipv6SourceCidrIp": sent.get("Ipv6SourceCidrIp", ""),
        "SourceGroupId": other_id or "",
        "SourcePrefixListId": sent.get("SourcePrefixListId", ""),
        "SourcePortRange": sent.get("SourcePortRange", ""),
        "DestCidrIp": sent.get("DestCidrIp", ""),
        "Ipv6DestCidrIp": sent.get("Ipv6DestCidrIp", ""),
        "PortRangeListId": sent.get("PortRangeListId", ""),
        "NicType": "intranet",
        "Policy": policy.capitalize(),
        "Priority": priority,
        "Description": sent.get("Description", ""),
    }


def _check_ports(where: str, protocol: str, ports: str) -> None:
    code, field = "InvalidPortRange.Malformed", f"{where}PortRange"
    if not _PORTS.match(ports):
        raise wrong(code, field, ports, "write it as 80/80 or 1/65535")
    low, high = map(int, ports.split("/"))
    if protocol in ("TCP", "UDP"):
        if not 1 <= low <= high <= 65_535:
            raise wrong(code, field, ports, "ports are 1 to 65535, the lower one first")
    elif (low, high) != (-1, -1):
        raise wrong(code, field, ports, f"{protocol} has no ports, use -1/-1")


def _check_block(field: str, value: Any, family: int) -> None:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise wrong("InvalidParameter.SourceCidrIp", field, value, str(error)) from error
    if network.version != family:
        raise wrong("InvalidParameter.SourceCidrIp", field, value, f"an IPv{family} block")


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rules are one to the service, which does not look at descriptions."""
    return all(one[field] == other[field] for field in RULE_FIELDS if field != "Description")
