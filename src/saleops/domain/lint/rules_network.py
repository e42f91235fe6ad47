"""Rules for NetworkPolicies: policies that select nothing, namespaces that stay open, pods that cannot resolve a name.

A policy is about pods. A managed database is none: what may reach it, its own whitelist and the callers' egress say.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.network_peers import (
    allows_dns,
    broad_blocks,
    directions,
    managed_name,
    pod_blocks,
)
from saleops.domain.lint.plain_values import rows, scalar, table, tables
from saleops.domain.lint.releases import identity, releases_of
from saleops.domain.lint.rules import Hit, rule

_SOURCE = "kubernetes.io docs, network policies"


@rule(
    "NET001",
    "error",
    "A policy that selects nothing",
    why="A policy whose selector matches no pod protects nothing, and nothing says so.",
    fix="Select pods that exist; for a managed database write egress for its callers and its own IP whitelist.",
    source="kubernetes.io docs, network policies; kube-linter dangling-networkpolicy",
    bad="podSelector: {matchLabels: {app: polardb-proxy}}",
    good="podSelector: {matchLabels: {app: order-service}} with egress to the database's vSwitch on 3306",
)
def dangling(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for policy in _policies(fleet):
        selector = policy.at("spec", "podSelector")
        if _narrow(selector) and not estate.may_select(policy.namespace, selector):
            found = managed_name(selector, ("spec", "podSelector"))
            here = len(estate.beside(policy))
            if found:
                path, value, what = found
                yield Hit(
                    policy,
                    path,
                    f"{policy.name} selects {value}, and {what} is managed: there is no such pod",
                    why=f"The policy matches 0 pods: {what} stays as open as its IP whitelist leaves it, to every pod "
                    "in the VPC, "
                    "while everybody believes it is closed.",
                    fix=f"Restrict the callers instead: egress of {_callers(policy)} to the database's vSwitch and port, default "
                    "deny for the rest, and the whitelist of the database itself.",
                )
            elif here:
                yield Hit(
                    policy,
                    ("spec", "podSelector"),
                    f"{policy.name} matches none of the {here} workload(s) of namespace {policy.namespace}",
                    why="The policy protects 0 pods; the pods that it was meant for are as open as before.",
                )
        yield from _dangling_peers(fleet, policy)


@rule(
    "NET002",
    "error",
    "Allows without a default deny",
    why="A policy closes only the pods it selects. Every other pod of the namespace stays open to everything.",
    fix="Add a policy with podSelector: {}, policyTypes: [Ingress, Egress] and no rules.",
    source=_SOURCE,
    bad="one policy for order-service and nothing else",
    good="spec: {podSelector: {}, policyTypes: [Ingress, Egress]}",
)
def no_default_deny(fleet: Fleet) -> Iterator[Hit]:
    for policies in _together(fleet):
        namespace = policies[0].namespace
        denied = {
            way
            for policy in policies
            if not _narrow(policy.at("spec", "podSelector"))
            for way in directions(policy)
            if not rows(policy.at("spec", way.lower()))
        }
        allows = [one for one in policies if not _denies_all(one)]
        if not allows:
            continue  # nothing is allowed here: who closes one direction by default may leave the other open
        open_ways = [one for one in ("Ingress", "Egress") if one not in denied]
        if not open_ways:
            continue
        count = len(estate_of(fleet).beside(allows[0]))
        yield Hit(
            allows[0],
            ("spec", "podSelector"),
            f"namespace {namespace} has {len(allows)} allow polic{'y' if len(allows) == 1 else 'ies'} and no "
            "default deny for "
            f"{' and '.join(open_ways)}",
            why="What no policy selects is open"
            + (f": of {count} workloads here those without a policy" if count else "")
            + "; a pod that somebody adds for the sale may reach everything from its first second.",
            severity="error" if "Ingress" in open_ways else "warning",
            key=True,
        )


@rule(
    "NET003",
    "error",
    "Egress is closed, and DNS with it",
    why="A pod whose egress is restricted resolves no name unless port 53 is allowed: it cannot find its database.",
    fix="Allow egress to kube-dns on 53 UDP and TCP, and to 169.254.20.10/32 where NodeLocal DNSCache runs.",
    source=_SOURCE,
    bad="egress: [{to: [...], ports: [{port: 3306}]}]",
    good="egress: [..., {to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]}]",
)
def no_dns(fleet: Fleet) -> Iterator[Hit]:
    for policies in _together(fleet):
        resolving = [table(one.at("spec", "podSelector")) for one in policies if allows_dns(one)]
        for policy in policies:
            if "Egress" not in directions(policy):
                continue
            mine = table(policy.at("spec", "podSelector"))
            pure_deny = not _narrow(mine) and not rows(policy.at("spec", "egress"))
            if pure_deny and resolving:
                continue  # whom the others forget, they are asked for one by one
            if any(_covers(one, mine) for one in resolving):
                continue
            whom = "every pod" if not _narrow(mine) else _shown(mine)
            yield Hit(
                policy,
                ("spec", "egress")
                if policy.at("spec", "egress") is not None
                else ("spec", "policyTypes"),
                f"{policy.name} restricts the egress of {whom}, and no policy allows it DNS (53 UDP)",
                why="Names do not resolve: connections to the database, cache and queue fail as soon as their cached addresses "
                "are gone, at the latest when the pods restart or scale.",
                key=True,
            )


@rule(
    "NET004",
    "error",
    "Policies on a cluster that does not enforce them",
    why="Terway enforces NetworkPolicies only when told to, Flannel never does: the objects are stored and mean nothing.",
    fix='Create the cluster with terway-eniip and config {"NetworkPolicy": "true"}, or set disable_network_policy: "false".',
    source="Terway documentation, network policies",
    bad='addons { name = "flannel" }',
    good='addons { name = "terway-eniip", config = jsonencode({ NetworkPolicy = "true" }) }',
)
def not_enforced(fleet: Fleet) -> Iterator[Hit]:
    from saleops.domain.lint.network_enforcement import switched_off

    count = len({identity(one) for one in _policies(fleet)})
    for document, path, what in switched_off(fleet) if count else ():
        yield Hit(
            document,
            path,
            f"{what}: none of the {count} NetworkPolic{'y' if count == 1 else 'ies'} here is enforced",
            why=f"{count} polic{'y is' if count == 1 else 'ies are'} stored and every pod may still reach every other, the "
            "databases included.",
        )


@rule(
    "NET005",
    "warning",
    "A block of addresses that covers the pods",
    why="Pods are matched by selectors: with eBPF Terway does not match them by ipBlock, and a block that covers them all says "
    "nothing about any. 0.0.0.0/0 covers the metadata service too.",
    fix="Match pods with podSelector and namespaceSelector; with 0.0.0.0/0 write except: [100.100.100.200/32].",
    source="Terway documentation, network policies",
    bad="ipBlock: {cidr: 10.0.0.0/8}",
    good="ipBlock: {cidr: 10.9.0.0/24}  # the database's vSwitch",
)
def covers_pods(fleet: Fleet) -> Iterator[Hit]:
    blocks = pod_blocks(fleet)
    for policy in _policies(fleet):
        for path, cidr, said, why in broad_blocks(policy, blocks):
            yield Hit(policy, path, f"{policy.name}: ipBlock {cidr} {said}", why=why)


@rule(
    "NET006",
    "warning",
    "An empty list that means everything",
    why="from: [] and to: [] mean everybody, and a rule without ports means every port: the opposite of what they look like.",
    fix="Name the peers and the ports.",
    source=_SOURCE,
    bad="ingress: [{from: [], ports: [{port: 8080}]}]",
    good="ingress: [{from: [{podSelector: {...}}], ports: [{protocol: TCP, port: 8080}]}]",
)
def empty_means_all(fleet: Fleet) -> Iterator[Hit]:
    for policy in _policies(fleet):
        for way, peers in (("ingress", "from"), ("egress", "to")):
            for i, one in enumerate(rows(policy.at("spec", way))):
                entry, path = table(one), ("spec", way, i)
                if not isinstance(one, dict | None):
                    continue
                open_peers = peers in entry and not entry[peers]
                open_ports = not entry.get("ports")
                if not open_peers and not open_ports:
                    continue
                whom = "everybody" if open_peers or not entry.get(peers) else "its peers"
                what = "every port" if open_ports else "these ports"
                written = f"{peers}: [] " if open_peers else ""
                written += ("and " if written else "") + "no ports" if open_ports else ""
                yield Hit(
                    policy,
                    (*path, peers) if open_peers else path,
                    f"{policy.name}: {way} rule {i + 1} with {written.strip()} allows {whom} on {what}",
                    why=f"The rule opens {what} {'from' if way == 'ingress' else 'to'} {whom}; a debug port or an admin page is "
                    "among them as soon as somebody adds one.",
                )


def _policies(fleet: Fleet) -> Iterator[LintDocument]:
    for one in fleet.of_kind("NetworkPolicy"):
        version = scalar(one.at("apiVersion"))
        if version.startswith(("networking.k8s.io/", "extensions/")) and isinstance(
            one.at("spec"), dict
        ):
            yield one


def _together(fleet: Fleet) -> Iterator[list[LintDocument]]:
    """Policies of one namespace that are applied together, each once."""
    meet = releases_of(fleet).meet
    found: dict[str, list[list[LintDocument]]] = defaultdict(list)
    for one in _policies(fleet):
        groups = found[one.namespace]
        mine = next((group for group in groups if any(meet(one, other) for other in group)), None)
        if mine is None:
            groups.append([one])
        elif identity(one) not in map(identity, mine):
            mine.append(one)
    for groups in found.values():
        yield from groups


def _denies_all(policy: LintDocument) -> bool:
    """Whether it closes all pods and lets nothing through."""
    return not _narrow(policy.at("spec", "podSelector")) and not any(
        rows(policy.at("spec", way.lower())) for way in directions(policy)
    )


def _narrow(selector: Any) -> bool:
    """Whether a selector asks for anything: {} and nothing at all select every pod."""
    asked = table(selector)
    return bool(asked.get("matchLabels") or asked.get("matchExpressions"))


def _covers(wide: dict[Any, Any], narrow: dict[Any, Any]) -> bool:
    """Whether every pod that ``narrow`` selects is surely one that ``wide`` selects."""
    if not _narrow(wide) or wide == narrow:
        return True
    asked = table(wide.get("matchLabels"))
    held = table(narrow.get("matchLabels"))
    return not wide.get("matchExpressions") and all(
        key in held and held[key] == value for key, value in asked.items()
    )


def _dangling_peers(fleet: Fleet, policy: LintDocument) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for i, one in tables(policy.at("spec", way)):
            for p, peer in tables(one.get(peers)):
                selector = peer.get("podSelector")
                path: KeyPath = ("spec", way, i, peers, p, "podSelector")
                if peer.get("namespaceSelector") is not None or not _narrow(selector):
                    continue
                if estate.may_select(policy.namespace, selector):
                    continue
                found = managed_name(selector, path)
                if not found and not estate.beside(policy):
                    continue
                yield Hit(
                    policy,
                    found[0] if found else path,
                    f"{policy.name}: {way} {peers} {_shown(table(selector))} is no pod of namespace {policy.namespace}"
                    + (f"; {found[2]} is managed" if found else ""),
                    why="The rule allows nobody: what should get through is dropped."
                    if not found or way == "ingress"
                    else f"{found[2]} has addresses, not pods: the egress it needs stays closed, and every query times out.",
                    fix="Write ipBlock with the vSwitch of the database." if found else "",
                    severity="error" if found else "warning",
                )


def _callers(policy: LintDocument) -> str:
    for _, one in tables(policy.at("spec", "ingress")):
        for _, peer in tables(one.get("from")):
            if _narrow(peer.get("podSelector")):
                return _shown(table(peer["podSelector"]))
    return "its callers"


def _shown(selector: dict[Any, Any]) -> str:
    labels = table(selector.get("matchLabels"))
    return ", ".join(f"{k}={scalar(v)}" for k, v in labels.items())[:120] or "the selected pods"
