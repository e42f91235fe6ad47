"""What NetworkPolicies say: which directions they close, whether DNS gets through, what their blocks of addresses cover."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, scalar, table, tables, text, whole
from saleops.domain.lint.terraform_blocks import resources

_MANAGED = (
    (re.compile(r"polar-?(?:db|proxy)", re.I), "PolarDB"),
    (re.compile(r"^(?:aliyun|alibaba|alicloud|ack)?-?(?:tair|kvstore)(?:$|-)", re.I), "Tair"),
    (re.compile(r"\bapsaradb\b|^(?:(?:alibaba|aliyun)-?)?rds$", re.I), "ApsaraDB"),
    (re.compile(r"^(?:ons|aliyun-?rocketmq|rocketmq-managed)$", re.I), "RocketMQ"),
)
_OWN_PODS = re.compile(
    r"(?:^|[-_.])(?:exporter|operator|controller|client|agent|backup|metrics|monitor|ui|admin)(?:$|[-_.])",
    re.I,
)
"""What runs beside a managed product in pods of one's own."""
_METADATA = ip_network("100.100.100.200/32")

Block = IPv4Network | IPv6Network


def directions(policy: LintDocument) -> set[str]:
    """Ingress and Egress as the policy closes them: what it says, else Ingress, and Egress if it has egress rules."""
    said = {one for one in rows(policy.at("spec", "policyTypes")) if one in ("Ingress", "Egress")}
    if said:
        return said
    return {"Ingress", "Egress"} if policy.at("spec", "egress") is not None else {"Ingress"}


def managed_name(selector: Any, path: KeyPath) -> tuple[KeyPath, str, str] | None:
    """(path, value, product) of a label that names a managed product."""
    for key, value in table(table(selector).get("matchLabels")).items():
        for sign, product in _MANAGED:
            if _names(sign, value):
                return (*path, "matchLabels", str(key)), scalar(value), product
    for i, one in tables(table(selector).get("matchExpressions")):
        for v, value in enumerate(rows(one.get("values"))):
            for sign, product in _MANAGED:
                if one.get("operator") == "In" and _names(sign, value):
                    return (*path, "matchExpressions", i, "values", v), scalar(value), product
    return None


def _names(sign: re.Pattern[str], value: Any) -> bool:
    said = scalar(value)
    return sign.search(said) is not None and _OWN_PODS.search(said) is None


def allows_dns(policy: LintDocument) -> bool:
    """Whether some egress rule lets 53 UDP through to a name server."""
    for entry in rows(policy.at("spec", "egress")):
        if entry is None or entry == {}:
            return True
        rule = table(entry)
        ports, peers = rows(rule.get("ports")), rows(rule.get("to"))
        if ports:
            if any(_is_dns(table(one)) for one in ports):
                return True
        elif rule and (not peers or any(_anywhere(table(one)) for one in peers)):
            return True
    return False


def pod_blocks(fleet: Fleet) -> list[Block]:
    """Where pods have their addresses, as far as cluster descriptions say it."""
    found: list[Any] = []
    for block in resources(fleet, "alicloud_cs_managed_kubernetes"):
        found.append(block.value.get("pod_cidr"))
        wanted = scalar(block.value.get("pod_vswitch_ids")) or " ".join(
            scalar(one) for one in rows(block.value.get("pod_vswitch_ids"))
        )
        names = set(re.findall(r"alicloud_vswitch\.([A-Za-z0-9_-]+)", wanted))
        found += [
            one.value.get("cidr_block")
            for one in resources(fleet, "alicloud_vswitch")
            if one.name in names
        ]
    for document in fleet.of_format("json"):
        found += [document.at("container_cidr"), document.at("pod_cidr")]
    return [one for value in found if (one := _block(value)) is not None]


def broad_blocks(
    policy: LintDocument, pods: list[Block]
) -> Iterator[tuple[KeyPath, str, str, str]]:
    """(path, cidr, what is wrong, what follows) of each ipBlock that covers pods or the metadata service."""
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for i, entry in tables(policy.at("spec", way)):
            for p, peer in tables(entry.get(peers)):
                cidr = scalar(table(peer.get("ipBlock")).get("cidr"))
                block = _block(cidr)
                if block is None:
                    continue
                path: KeyPath = ("spec", way, i, peers, p, "ipBlock", "cidr")
                taken = [
                    one
                    for value in rows(peer["ipBlock"].get("except"))
                    if (one := _block(value)) is not None
                ]
                if (
                    way == "egress"
                    and _within(_METADATA, block)
                    and not any(_within(_METADATA, one) for one in taken)
                ):
                    yield (
                        path,
                        cidr,
                        "covers the metadata service 100.100.100.200",
                        "A pod that is taken over fetches its node's credentials there, and with them the account's.",
                    )
                    continue
                if way == "egress" and not block.prefixlen:
                    continue  # the internet, with the exception that it needs
                covered = next((one for one in pods if _within(one, block)), None)
                if covered is not None and not any(_within(covered, one) for one in taken):
                    yield (
                        path,
                        cidr,
                        f"covers the pods' addresses ({covered})",
                        "Terway with eBPF matches pods by selectors only, elsewhere every pod is meant: either nobody "
                        "or everybody "
                        "gets through.",
                    )


def _is_dns(port: dict[Any, Any]) -> bool:
    protocol = text(port.get("protocol")) or "TCP"
    number, name, end = whole(port.get("port")), text(port.get("port")), whole(port.get("endPort"))
    if protocol != "UDP":
        return False
    return (
        number == 53
        or name.startswith("dns")
        or "port" not in port
        or (number or 99) <= 53 <= (end or 0)
    )


def _anywhere(peer: dict[Any, Any]) -> bool:
    block = _block(table(peer.get("ipBlock")).get("cidr"))
    if block is not None:
        return block.prefixlen == 0
    return isinstance(peer.get("namespaceSelector"), dict)


def _within(inner: Block, outer: Block) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _block(value: Any) -> Block | None:
    try:
        return ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None
