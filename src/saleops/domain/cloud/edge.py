"""The edge: a DCDN domain in front of the load balancer, and what it may keep.

Static files live long, product pages as long as the shop's own cache keeps them. What belongs to one buyer is never kept:
the paths of carts, checkout, orders, payments and accounts have a lifetime of 0 at the highest weight, above any rule for a
file type. Requests with a buyer's token go to those paths only, and what answers them says ``no-store`` besides.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.ours import Scope, condition_of, rows_in, tags_of, text
from saleops.domain.cloud.resources import (
    SALE_TAG,
    Condition,
    Found,
    Group,
    Known,
    Look,
    Patience,
    Resource,
)
from saleops.errors import CloudError

DOMAIN, TRAFFIC = "edge", "edge/traffic"
BY_TYPE, BY_PATH = "filetype_based_ttl_set", "path_based_ttl_set"
NEVER, PAGES, STATIC = 99, 50, 10
"""Weights: the heavier rule wins."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``what`` are file types (joined by commas) or one path; ``ttl_s`` 0 is never."""

    function: str
    what: str
    ttl_s: int
    weight: int

    @property
    def args(self) -> dict[str, str]:
        name = "file_type" if self.function == BY_TYPE else "path"
        return {name: self.what, "ttl": str(self.ttl_s), "weight": str(self.weight)}

    @property
    def label(self) -> str:
        return f"{self.function} {self.what}"


@dataclass(frozen=True, slots=True)
class EdgeWishes:
    domain: str
    origin: str
    origin_port: int
    scope: str
    static_types: tuple[str, ...]
    static_ttl_s: int
    page_paths: tuple[str, ...]
    page_ttl_s: int
    never_cache_paths: tuple[str, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (
            *(Rule(BY_PATH, path, 0, NEVER) for path in dict.fromkeys(self.never_cache_paths)),
            *(
                Rule(BY_PATH, path, self.page_ttl_s, PAGES)
                for path in dict.fromkeys(self.page_paths)
            ),
            Rule(BY_TYPE, ",".join(self.static_types), self.static_ttl_s, STATIC),
        )


class EdgeDomain(Resource):
    group: ClassVar[Group] = "edge"
    kind: ClassVar[str] = "DCDN domain"
    patience: ClassVar[Patience] = Patience(first_s=5, every_s=10, timeout_s=1800)
    on_failure: ClassVar[str] = (
        "The domain's owner has to be proven once in the console (a DNS record), and a domestic scope wants a filing."
    )

    def __init__(self, scope: Scope, wishes: EdgeWishes) -> None:
        self.scope = scope
        self.wishes = wishes
        self.key, self.name = DOMAIN, wishes.domain

    def look(self, known: Known) -> Look:
        try:
            answer = yield Call("dcdn", "DescribeDcdnDomainDetail", {"DomainName": self.name})
        except CloudError as error:
            if error.kind != "missing":
                raise
            return None
        row: Mapping[str, Any] = answer.get("DomainDetail") or {}
        if not row:
            return None
        tagged = yield Call(
            "dcdn",
            "DescribeDcdnTagResources",
            {"ResourceType": "DOMAIN", "ResourceId": [self.name]},
        )
        tags: dict[str, str] = {}
        for one in rows_in(tagged, "TagResources"):
            if one.get("ResourceId") == self.name:
                tags.update(tags_of(one))
        state = text(row.get("DomainStatus"))
        condition = condition_of(
            state,
            ready=("online", "offline"),  # whether it serves is EdgeTraffic's to say
            failed=("check_failed", "configure_failed"),
            leaving=("deleting",),
        )
        problem = ""
        if tags.get(SALE_TAG) != self.scope.sale:
            condition = Condition.FOREIGN
            problem = f"{self.name} is there without the tag {SALE_TAG}: somebody else added it"
        elif condition is Condition.FAILED:
            problem = text(row.get("Description")) or f"the service says {state}"
        sources = rows_in(row.get("Sources") or {}, "Source")
        return Found(
            condition,
            state,
            {"id": self.name, "cname": text(row.get("Cname"))},
            {
                "origin": [
                    f"{text(one.get('Content'))}:{text(one.get('Port'))}" for one in sources
                ],
                "scope": text(row.get("Scope")),
            },
            problem,
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        wishes = self.wishes
        return {"origin": [f"{wishes.origin}:{wishes.origin_port}"], "scope": wishes.scope}

    def create(self, known: Known) -> Call:
        source = {
            "content": self.wishes.origin,
            "type": "domain",
            "priority": "20",
            "port": self.wishes.origin_port,
            "weight": "10",
        }
        return Call(
            "dcdn",
            "AddDcdnDomain",
            {
                "DomainName": self.name,
                "Sources": json.dumps([source]),
                "Scope": self.wishes.scope,
                "Tag": self.scope.rpc_tags,
            },
        )

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [Call("dcdn", "DeleteDcdnDomain", {"DomainName": self.name})]


class EdgeTraffic(Resource):
    """That the domain serves. A new one does by itself; one that serves cannot be deleted, and is stopped first."""

    group: ClassVar[Group] = "edge"
    kind: ClassVar[str] = "DCDN traffic"
    comes_with: ClassVar[str] = DOMAIN
    patience: ClassVar[Patience] = Patience(first_s=5, every_s=10, timeout_s=1800)
    on_failure: ClassVar[str] = "Look at the domain in the console."

    def __init__(self, scope: Scope, domain: str) -> None:
        self.scope = scope
        self.domain = domain
        self.key, self.name, self.needs = TRAFFIC, f"{domain} traffic", (DOMAIN,)

    def look(self, known: Known) -> Look:
        answer = yield Call("dcdn", "DescribeDcdnDomainDetail", {"DomainName": known(DOMAIN)})
        state = text((answer.get("DomainDetail") or {}).get("DomainStatus"))
        if state in ("", "offline", "check_failed", "configure_failed"):
            return None
        return Found(condition_of(state, ready=("online",)), state, {"id": known(DOMAIN)})

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {}

    def create(self, known: Known) -> Call:
        return Call("dcdn", "StartDcdnDomain", {"DomainName": known(DOMAIN)})

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return [Call("dcdn", "StopDcdnDomain", {"DomainName": found.outputs["id"]})]


class EdgeRules(Resource):
    """All rules of the domain, set in one call. Rules of other functions that somebody added are left alone."""

    group: ClassVar[Group] = "edge"
    kind: ClassVar[str] = "DCDN rules"
    patience: ClassVar[Patience] = Patience(first_s=5, every_s=10, timeout_s=1800)
    on_failure: ClassVar[str] = "Rules are set anew as a whole."

    def __init__(self, scope: Scope, wishes: EdgeWishes) -> None:
        self.scope = scope
        self.wishes = wishes
        self.key, self.name, self.needs = "edge/rules", f"{wishes.domain} rules", (DOMAIN, TRAFFIC)

    def look(self, known: Known) -> Look:
        answer = yield Call(
            "dcdn",
            "DescribeDcdnDomainConfigs",
            {"DomainName": self.wishes.domain, "FunctionNames": f"{BY_TYPE},{BY_PATH}"},
        )
        rows = [
            row
            for row in rows_in(answer, "DomainConfigs", "DomainConfig")
            if row.get("FunctionName") in (BY_TYPE, BY_PATH)
        ]
        ours = {rule.label for rule in self.wishes.rules}
        observed: dict[str, str] = {}
        states: dict[str, str] = {}
        for row in rows:
            args = {
                text(arg.get("ArgName")): text(arg.get("ArgValue"))
                for arg in rows_in(row.get("FunctionArgs") or {}, "FunctionArg")
            }
            label = (
                f"{text(row.get('FunctionName'))} {args.get('file_type') or args.get('path', '')}"
            )
            observed[label] = f"{args.get('ttl', '')} s, weight {args.get('weight', '')}"
            states[label] = text(row.get("Status"))
        if not ours & observed.keys():
            return None
        waiting = sorted(label for label in ours & observed.keys() if states[label] != "success")
        failed = [label for label in waiting if states[label] == "failed"]
        condition = Condition.PENDING if waiting else Condition.READY
        if failed:
            condition = Condition.FAILED
        return Found(
            condition,
            states[(failed or waiting)[0]] if waiting else "success",
            {"id": self.wishes.domain},
            {"rules": observed},
            f"the service could not apply {', '.join(failed)}" if failed else "",
        )

    def desired(self, known: Known) -> Mapping[str, Any]:
        return {
            "rules": {
                rule.label: f"{rule.ttl_s} s, weight {rule.weight}" for rule in self.wishes.rules
            }
        }

    def create(self, known: Known) -> Call:
        functions = [
            {
                "functionName": rule.function,
                "functionArgs": [
                    {"argName": name, "argValue": value} for name, value in rule.args.items()
                ],
            }
            for rule in self.wishes.rules
        ]
        return Call(
            "dcdn",
            "BatchSetDcdnDomainConfigs",
            {"DomainNames": self.wishes.domain, "Functions": json.dumps(functions)},
        )

    def change(self, known: Known, found: Found, fields: Sequence[str]) -> Sequence[Call]:
        return [self.create(known)]

    def delete(self, known: Known, found: Found) -> Sequence[Call]:
        return ()  # they go with the domain
