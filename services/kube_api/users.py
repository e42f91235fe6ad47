"""Who may do what: a user is a name with grants, as a ClusterRole's rules spell them."""

from dataclasses import dataclass
from typing import Any

from saleops.services.kube_api.documents import mapping, sequence, text


@dataclass(frozen=True, slots=True)
class Grant:
    """``resources`` are "pods" or "pods/eviction"; "*" stands for everything. An empty ``namespace`` is all of them."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    names: tuple[str, ...] = ()
    namespace: str = ""

    def covers(self, verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
        if self.namespace and self.namespace != namespace:
            return False
        if self.names and name not in self.names:
            return False
        parent, _, sub = resource.partition("/")
        spellings = {resource, "*"} | ({f"{parent}/*", f"*/{sub}"} if sub else set())
        return (
            bool({verb, "*"} & set(self.verbs))
            and bool({group, "*"} & set(self.groups))
            and bool(spellings & set(self.resources))
        )


@dataclass(frozen=True, slots=True)
class User:
    name: str
    grants: tuple[Grant, ...]

    def may(
        self, verb: str, group: str, resource: str, *, namespace: str = "", name: str = ""
    ) -> bool:
        return any(grant.covers(verb, group, resource, namespace, name) for grant in self.grants)


ADMIN = User("kubernetes-admin", (Grant(("*",), ("*",), ("*",)),))


def grants_of(role: dict[str, Any], *, namespace: str = "") -> tuple[Grant, ...]:
    """The grants of a Role or ClusterRole document."""
    return tuple(
        Grant(
            tuple(map(text, sequence(rule.get("verbs")))),
            tuple(map(text, sequence(rule.get("apiGroups")))),
            tuple(map(text, sequence(rule.get("resources")))),
            tuple(map(text, sequence(rule.get("resourceNames")))),
            namespace,
        )
        for rule in map(mapping, sequence(role.get("rules")))
    )
