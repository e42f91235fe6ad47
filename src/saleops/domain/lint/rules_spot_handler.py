"""The rule for what drains spot nodes: a handler that sees the notice, may act on it, and runs on every node."""

import re
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.node_pools import node_pools
from saleops.domain.lint.plain_values import rows, scalar, table, tables, text, walk
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.spot_pods import toleration_of_spot

_NAME = re.compile(
    r"(?:spot|preempt|interrupt)[a-z0-9-]*(?:handler|terminat|drain|watch)|node-termination-handler",
    re.I,
)
_METADATA = "100.100.100.200"
_TOKEN = re.compile(r"api/token|metadata-token|METADATA_TOKEN|hardened|imdsv2|token[_-]?mode", re.I)
_PRIORITY = ("system-node-critical", "system-cluster-critical")


@rule(
    "SPT005",
    "error",
    "A spot handler that cannot do its work",
    why="ACK does not drain a reclaimed node. The handler has to be on every node, read hardened metadata and be "
    "allowed to evict.",
    fix="Run it as a DaemonSet with hostNetwork, tolerations: [{operator: Exists}], priorityClassName: system-node-critical, a "
    "ServiceAccount that may create pods/eviction, and metadata tokens.",
    source="ECS documentation, instance metadata in hardened mode; kubernetes.io docs, API-initiated eviction",
    bad="a DaemonSet that calls 100.100.100.200 without a token and tolerates nothing",
    good="tolerations: [{operator: Exists}], hostNetwork: true, priorityClassName: system-node-critical",
)
def weak_handler(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    handlers = [
        one for one in estate.pods if one.kind in ("DaemonSet", "Deployment") and _handles(one)
    ]
    for pods in handlers:
        yield from _faults(fleet, pods)
    if handlers:
        return
    # Only where pods and nodes are both known can a missing handler be told from one in files that we were not given.
    pools = [one for one in node_pools(fleet) if one.spot]
    on_spot = [
        one
        for one in estate.pods
        if one.kind in ("Deployment", "StatefulSet") and toleration_of_spot(fleet, one)
    ]
    if pools and on_spot:
        yield Hit(
            pools[0].document,
            pools[0].group,
            f"{len(on_spot)} workload(s) may run on the spot nodes of {pools[0].name}, and nothing here drains them",
            why="The notice comes 300 s ahead and ACK evicts nothing: pods work until their node is switched off under them.",
            severity="warning",
            key=True,
        )


def _handles(pods: Pods) -> bool:
    images = (text(one.get("image")) for _, one in pods.containers())
    return any(_NAME.search(one) for one in (pods.name, *images)) or _says(pods, _METADATA)


def _faults(fleet: Fleet, pods: Pods) -> Iterator[Hit]:
    spec, at = pods.spec, pods.spec_path
    said: list[tuple[KeyPath, str, str, str]] = []
    if pods.kind != "DaemonSet":
        said.append(
            (
                (),
                f"is a {pods.kind}",
                "the notice is read on the node it is for, and other nodes' are not seen",
                "kind: DaemonSet",
            )
        )
    if not any(
        not one.get("key") and one.get("operator") == "Exists" and not one.get("effect")
        for _, one in tables(spec.get("tolerations"))
    ):
        said.append(
            (
                (*at, "tolerations"),
                "does not tolerate every taint",
                "it is not on the tainted spot nodes, where alone it is needed",
                "tolerations: [{operator: Exists}]",
            )
        )
    if spec.get("hostNetwork") is not True:
        said.append(
            (
                (*at, "hostNetwork"),
                "has no hostNetwork",
                "pod policies and pod networks that keep pods from 100.100.100.200 keep it too",
                "hostNetwork: true",
            )
        )
    if text(spec.get("priorityClassName")) not in _PRIORITY:
        said.append(
            (
                (*at, "priorityClassName"),
                "is not system-node-critical",
                "a full node evicts it first, and nobody sees the notice",
                "priorityClassName: system-node-critical",
            )
        )
    if _says(pods, _METADATA) and not _TOKEN.search(_words(pods)):
        said.append(
            (
                at,
                "asks the metadata service without a token",
                "an instance in hardened mode answers 403, which looks like no notice",
                "PUT /latest/api/token first, and send the token with each request",
            )
        )
    missing = _may_not_evict(fleet, pods)
    if missing:
        said.append(
            (
                (*at, "serviceAccountName"),
                missing,
                "every eviction is answered 403: it sees the notice and can do nothing",
                'a ClusterRole rule {apiGroups: [""], resources: [pods/eviction], verbs: [create]}',
            )
        )
    for path, what, then, write in said:
        yield Hit(
            pods.document,
            path,
            f"{pods.name} {what}",
            why=f"On sale day {then}.",
            fix=f"Write {write}.",
            key=True,
        )


def _may_not_evict(fleet: Fleet, pods: Pods) -> str:
    """What is missing to evict, where the roles of its account are among the files; "" if nothing is."""
    account = text(pods.spec.get("serviceAccountName")) or "default"
    granted = [
        (text(binding.at("roleRef", "kind")), text(binding.at("roleRef", "name")))
        for binding in fleet.of_kind("ClusterRoleBinding", "RoleBinding")
        if any(
            one.get("kind") == "ServiceAccount"
            and one.get("name") == account
            and (text(one.get("namespace")) or binding.namespace) == pods.namespace
            for _, one in tables(binding.at("subjects"))
        )
    ]
    known = [one for one in fleet.of_kind("ClusterRole", "Role") if (one.kind, one.name) in granted]
    if granted and not known:
        return ""  # the roles are elsewhere
    if not granted and not any(True for _ in fleet.of_kind("ClusterRole", "ClusterRoleBinding")):
        return ""  # so is all of it
    for role in known:
        for _, one in tables(role.at("rules")):
            if {"pods/eviction", "*", "*/eviction"} & _set(one.get("resources")) and {
                "create",
                "*",
            } & _set(one.get("verbs")):
                return ""
    return f"may not create pods/eviction (account {account})"


def _set(value: Any) -> set[str]:
    return {scalar(one) for one in rows(value)}


def _words(pods: Pods) -> str:
    return " ".join(
        f"{path[-1] if path else ''} {scalar(value)}"
        for path, value in walk(table(pods.spec))
        if not isinstance(value, dict | list)
    )


def _says(pods: Pods, word: str) -> bool:
    return pods.kind in ("DaemonSet", "Deployment") and word in _words(pods)
