"""What clients ask before they ask for objects: the version, the groups, the resources of each."""

from typing import Any

from saleops.services.kube_api.kinds import VERBS, Kind, Kinds
from saleops.services.kube_api.wire import Answer, Request, answer

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+saleops",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go0",
    "compiler": "none",
    "platform": "linux/amd64",
}
AUTHORIZATION = "authorization.k8s.io"
_SUB_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "eviction": ["create"],
    "binding": ["create"],
}


def discovered(kinds: Kinds, path: str, request: Request) -> Answer | None:
    """The answer at ``path``; None where it is no discovery path."""
    if request.method not in ("GET", "HEAD"):
        return None
    if path == "/version":
        return answer(200, VERSION)
    groups = _groups(kinds)
    if path == "/api":
        return answer(
            200, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        )
    if path == "/apis":
        listed = [_group(name, versions) for name, versions in groups.items() if name]
        return answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
    parts = path.strip("/").split("/")
    if parts == ["api", "v1"]:
        return answer(200, _resources(kinds, "", "v1"))
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups:
        return answer(
            200, {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], groups[parts[1]])}
        )
    if parts[0] == "apis" and len(parts) == 3 and parts[2] in groups.get(parts[1], ()):
        return answer(200, _resources(kinds, parts[1], parts[2]))
    return None


def _groups(kinds: Kinds) -> dict[str, list[str]]:
    return {**kinds.groups(), AUTHORIZATION: ["v1"]}


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resources(kinds: Kinds, group: str, version: str) -> dict[str, Any]:
    resources: list[dict[str, Any]] = []
    if group == AUTHORIZATION:
        resources = [
            _review(name) for name in ("SelfSubjectAccessReview", "SelfSubjectRulesReview")
        ]
    for _, kind in kinds.of_version(group, version):
        resources.append(
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": list(VERBS),
                **({"shortNames": list(kind.short_names)} if kind.short_names else {}),
            }
        )
        resources += [_subresource(kind, one) for one in kind.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources,
    }


def _review(kind: str) -> dict[str, Any]:
    return {
        "name": f"{kind.lower()}s",
        "singularName": kind.lower(),
        "namespaced": False,
        "kind": kind,
        "verbs": ["create"],
    }


def _subresource(kind: Kind, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _SUB_VERBS[name],
    }
    if name == "scale":
        found |= {"kind": "Scale", "group": "autoscaling", "version": "v1"}
    elif name == "eviction":
        found |= {"kind": "Eviction", "group": "policy", "version": "v1"}
    elif name == "binding":
        found["kind"] = "Binding"
    return found
