"""ChaosBlade experiments (chaosblade.io/v1alpha1): what they would hit besides what was meant.

A matcher that is not there does not limit anything, and values that are no lists of texts are not read: an experiment that looks
like one pod for a minute may be every pod for ever.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any

from saleops.domain.lint.chaos_blades import (
    Experiment,
    experiments,
    gone,
    least_left,
    pods_hit,
    replicas_of,
)
from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import estate_of
from saleops.domain.lint.fleet import Fleet, SaleFacts
from saleops.domain.lint.plain_values import scalar, table, tables, whole
from saleops.domain.lint.rules import Hit, rule

SOURCE = "chaosblade-operator source and its issues 33, 164, 226"
PRODUCTION = re.compile(r"(^|[-_.])(prod|production|prd|live|online)($|[-_.0-9])", re.I)
SYSTEM = ("kube-system", "kube-public", "kube-node-lease", "arms-prom", "chaosblade")
_FILTERS = (
    "local-port",
    "remote-port",
    "destination-ip",
    "destination-port",
    "source-ip",
    "source-port",
    "exclude-port",
)
_CONTROL_PORTS = ("22", "6443", "10250")
_ALWAYS = ("delete", "fail")
"""Actions that are over when they are done: a timeout means nothing to them."""


@rule(
    "CHS001",
    "error",
    "A fault in no namespace, or in production",
    why="Without a namespace matcher the fault goes to the namespace default, whatever runs there; in production it hits "
    "buyers. More "
    "than one namespace is refused: only the first would count.",
    fix="Add {name: namespace, value: [staging]}: exactly one, never production's.",
    source=SOURCE,
    bad='matchers: [{name: labels, value: ["app=order"]}]',
    good='matchers: [{name: namespace, value: [staging]}, {name: labels, value: ["app=order"]}]',
)
def namespace(fleet: Fleet) -> Iterator[Hit]:
    for one in experiments(fleet):
        if not one.on_pods:
            continue
        named = one.values("namespace")
        if not named:
            yield Hit(
                one.document, one.path, f"{one.what} has no namespace matcher: it acts on default"
            )
        elif len(named) > 1:
            yield Hit(
                one.document,
                one.at("namespace"),
                f"{one.what} names {len(named)} namespaces; one is all it takes",
            )
        for name in named[:1]:
            if PRODUCTION.search(name) or name in SYSTEM:
                kind = "a system namespace" if name in SYSTEM else "production"
                yield Hit(one.document, one.at("namespace"), f"{one.what} acts on {name}, {kind}")


@rule(
    "CHS002",
    "error",
    "A fault on every pod that matches",
    why="Without evict-count or evict-percent every match is hit at once, and a percentage of few pods rounds down to none: "
    "10 % of 3 "
    "pods is 0. Deletes are plain DELETEs that no PodDisruptionBudget stops.",
    fix='Add {name: evict-count, value: ["1"]}.',
    source=SOURCE,
    bad='matchers: [{name: labels, value: ["app=order"]}]',
    good='matchers: [{name: labels, value: ["app=order"]}, {name: evict-count, value: ["1"]}]',
)
def everything(fleet: Fleet) -> Iterator[Hit]:
    for one in experiments(fleet):
        if not one.on_pods:
            continue
        hit = pods_hit(fleet, one)
        if not one.limit and len(one.values("names")) != 1:
            count = f", {sum(replicas_of(pods) for pods in hit)} pods here" if hit else ""
            yield Hit(
                one.document,
                one.path,
                f"{one.what} has neither evict-count nor evict-percent: it hits every match{count}",
            )
            continue
        percent = whole((one.values("evict-percent") or [""])[0])
        for pods in hit if percent and not one.values("evict-count") else ():
            replicas = replicas_of(pods)
            if replicas and percent and floor(replicas * percent / 100) == 0:
                yield Hit(
                    one.document,
                    one.at("evict-percent"),
                    f"{one.what}: {percent} % of the {replicas} pods of {pods.name} rounds down to 0: nothing would be hit",
                )


@rule(
    "CHS003",
    "error",
    "A fault that nobody ends",
    why="If the operator, its agent or the network is gone, nobody undoes the fault: a CPU that is kept busy or a network "
    "that loses "
    "packets stays so, and the object hangs on its finalizer.",
    fix='Add {name: timeout, value: ["300"]} (seconds): the agent itself then ends it.',
    source=SOURCE,
    bad="action: fullload\nmatchers: [{name: cpu-percent, value: ['80']}]",
    good="action: fullload\nmatchers: [{name: cpu-percent, value: ['80']}, {name: timeout, value: ['300']}]",
)
def no_timeout(fleet: Fleet) -> Iterator[Hit]:
    for one in experiments(fleet):
        if one.action in _ALWAYS:
            continue
        given = (one.values("timeout") or [""])[0]
        length = whole(given)
        if not given:
            yield Hit(
                one.document,
                one.path,
                f"{one.what} has no timeout: it lasts until somebody ends it",
            )
        elif length is None or length <= 0:
            yield Hit(
                one.document,
                one.at("timeout"),
                f"{one.what}: timeout {given!r} is no number of seconds above 0",
            )


@rule(
    "CHS004",
    "error",
    "A network fault on everything",
    why="Without a port or an address the fault is on the whole interface, the control channel too: the agent that is to "
    "end it can no "
    "longer be reached, the kubelet goes NotReady, and only the node's restart helps.",
    fix='Add local-port, remote-port or destination-ip, or {name: exclude-port, value: ["22,6443,10250"]}.',
    source=SOURCE,
    bad="target: network\naction: loss\nmatchers: [{name: percent, value: ['100']}]",
    good="target: network\naction: loss\nmatchers: [{name: percent, value: ['30']}, {name: remote-port, value: ['3306']}]",
)
def whole_network(fleet: Fleet) -> Iterator[Hit]:
    for one in experiments(fleet):
        if one.target != "network" or one.action in ("dns", "occupy"):
            continue
        filters = [name for name in _FILTERS if one.values(name)]
        if not filters:
            yield Hit(
                one.document,
                one.path,
                f"{one.what} has no port or address: it is on the whole interface",
            )
        elif filters == ["exclude-port"]:
            excluded = set(re.split(r"[,\s]+", ",".join(one.values("exclude-port"))))
            missing = [port for port in _CONTROL_PORTS if port not in excluded]
            if missing:
                yield Hit(
                    one.document,
                    one.at("exclude-port"),
                    f"{one.what} leaves {', '.join(missing)} out of exclude-port: it cuts off who is to end it",
                )


@rule(
    "CHS005",
    "error",
    "A fault on nodes that are not named",
    why="Without names a node experiment takes every node of the cluster: all pods at once, those of production too.",
    fix="Add {name: names, value: [NODE]} with the nodes that may be hit.",
    source=SOURCE,
    bad="scope: node\ntarget: cpu",
    good="scope: node\ntarget: cpu\nmatchers: [{name: names, value: [cn-hangzhou.10.0.0.7]}]",
)
def any_node(fleet: Fleet) -> Iterator[Hit]:
    for one in experiments(fleet):
        if one.scope == "node" and not one.values("names"):
            yield Hit(
                one.document,
                one.path,
                f"{one.what} names no node: every node of the cluster is hit",
            )


@rule(
    "CHS006",
    "error",
    "A matcher's value that is not a list of texts",
    why="The operator reads lists of texts only: the API server refuses the object, or the matcher is dropped and limits "
    "nothing.",
    fix="Quote numbers and write a list: value: ['80'].",
    source="chaosblade-operator CRD",
    bad="{name: evict-count, value: 1}",
    good='{name: evict-count, value: ["1"]}',
)
def not_texts(fleet: Fleet) -> Iterator[Hit]:
    for document in fleet.of_kind("ChaosBlade"):
        for i, one in tables(document.at("spec", "experiments")):
            for m, matcher in tables(one.get("matchers")):
                path: KeyPath = ("spec", "experiments", i, "matchers", m, "value")
                value = matcher.get("value")
                name = scalar(matcher.get("name")) or "a matcher"
                if not isinstance(value, list):
                    yield Hit(
                        document,
                        path,
                        f"The value of {name} is {_kind(value)}, not a list of texts",
                    )
                    continue
                for v, item in enumerate(value):
                    if not isinstance(item, str):
                        yield Hit(
                            document,
                            (*path, v),
                            f"The value of {name} has {_kind(item)} in its list, not a text",
                        )


@rule(
    "CHS007",
    "error",
    "A fault while the sale is open",
    why="Buyers pay for the test. A fault that is still on when the sale opens counts as well, and so does one without an end.",
    fix="Run it before the sale, with an end well before it opens, or in a rehearsal.",
    source="saleops, the sale's window",
    bad="metadata: {annotations: {saleops.io/starts: 2026-11-27T00:30:00+08:00}}",
    good="metadata: {annotations: {saleops.io/starts: 2026-11-20T10:00:00+08:00}}",
)
def during_sale(fleet: Fleet) -> Iterator[Hit]:
    sale = fleet.sale
    if sale is None:
        return
    for one in experiments(fleet):
        start, path = _start(one, sale)
        if start is None:
            continue
        length = whole((one.values("timeout") or [""])[0])
        if one.action in _ALWAYS:
            end = start
        elif length and 0 < length < 10**9:
            end = start + timedelta(seconds=length)
        else:
            end = sale.closes if start < sale.closes else start
        if start < sale.closes and end >= sale.opens:
            yield Hit(
                one.document,
                path,
                f"{one.what} is on from {start.isoformat()} to {end.isoformat()}, and {sale.name} is open from "
                f"{sale.opens.isoformat()} to {sale.closes.isoformat()}",
            )


@rule(
    "CHS008",
    "warning",
    "More pods gone than the budget allows",
    why="Deleting by ChaosBlade ignores PodDisruptionBudgets: what is left is below what the service promised itself to keep.",
    fix="Lower evict-count, or raise replicas for the test.",
    source=SOURCE,
    bad="evict-count 2 of 3 replicas with minAvailable: 2",
    good="evict-count 1 of 3 replicas with minAvailable: 2",
)
def below_budget(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for one in experiments(fleet):
        if one.action not in ("delete", "fail") and one.target != "pod":
            continue
        for pods in pods_hit(fleet, one):
            replicas = replicas_of(pods)
            lost = gone(one, replicas)
            for budget in estate.budgets_of(pods):
                least = least_left(budget, replicas)
                if replicas and least is not None and replicas - lost < least:
                    yield Hit(
                        one.document,
                        one.at("evict-count") if one.limit else one.path,
                        f"{one.what} leaves {replicas} - {lost} = {replicas - lost} pods of {pods.name}; "
                        f"PodDisruptionBudget {budget.name} wants {least}",
                    )


def _start(one: Experiment, sale: SaleFacts) -> tuple[datetime | None, KeyPath]:
    """When it begins: what an annotation says; of one that is applied while the sale is open, now."""
    for name, value in table(one.document.at("metadata", "annotations")).items():
        if re.search(r"start|begin|schedule", str(name), re.I):
            moment = _moment(value)
            if moment is not None:
                return moment, ("metadata", "annotations", str(name))
    if sale.now is not None and sale.opens <= sale.now < sale.closes:
        return sale.now, one.path
    return None, one.path


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        found = value
    else:
        try:
            found = datetime.fromisoformat(scalar(value).strip())
        except ValueError:
            return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _kind(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a text",
        dict: "a mapping",
        list: "a list",
    }
    return names.get(type(value), "nothing" if value is None else "something else")
