"""Ingresses that an ALB serves, with the AlbConfig each belongs to: one illegal line stops rule updates of all that share one.

An Ingress is an ALB's when its class leads to the ALB controller, when it carries the old annotation ``alb``, or when it has the
controller's annotations and no class that leads elsewhere.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from saleops.domain.lint.alb_annotations import ANNOTATIONS, CLASS_ANNOTATION, PREFIX
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, table, tables, text, whole

CONTROLLER = "ingress.k8s.alibabacloud/alb"
WRONG_CONTROLLER = "ingress.k8s.alibabacloud.com/alb"


@dataclass(frozen=True, slots=True)
class Route:
    """One path of an Ingress. ``service`` is "" where the path has no Service; ``port`` is written as text."""

    path: KeyPath
    host: str
    url: str
    path_type: str
    service: str
    port: str


@dataclass(frozen=True, eq=False)
class AlbIngress:
    """``config`` is the AlbConfig among what was read, if any; ``config_name`` what the class names, "" where unknown."""

    document: LintDocument
    class_name: str
    config_name: str
    config: LintDocument | None
    annotations: dict[str, object] = field(repr=False)

    def annotation(self, name: str) -> str:
        """The value of an annotation, or the controller's default for it."""
        value = self.annotations.get(PREFIX + name)
        return value if isinstance(value, str) else ANNOTATIONS[name].default

    def has(self, name: str) -> bool:
        return PREFIX + name in self.annotations

    def number(self, name: str) -> int | None:
        return whole(self.annotation(name))

    def on(self, name: str) -> bool:
        return self.annotation(name) == "true"

    def path(self, name: str) -> KeyPath:
        """The annotation's place, or that of all annotations where it is not there."""
        return ("metadata", "annotations", PREFIX + name)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        return tuple(_routes(self.document))

    @cached_property
    def listeners(self) -> tuple[tuple[str, int], ...]:
        """(protocol, port) it wants, ``()`` where listen-ports cannot be read."""
        if self.has("listen-ports"):
            return read_listen_ports(self.annotation("listen-ports")) or ()
        return (("HTTPS", 443),) if self.document.at("spec", "tls") else (("HTTP", 80),)

    @property
    def order(self) -> int:
        return whole(self.annotation("order"), 10) or 10

    @property
    def canary(self) -> bool:
        return self.on("canary")

    @property
    def alb(self) -> str:
        """What Ingresses on one load balancer have in common: the name of the AlbConfig, or of the class."""
        return self.config_name or f"class {self.class_name}"


def alb_ingresses(fleet: Fleet) -> tuple[AlbIngress, ...]:
    found = fleet.worked_out.get("alb_ingresses")
    if found is None:
        found = fleet.worked_out["alb_ingresses"] = tuple(_read(fleet))
    return cast(tuple[AlbIngress, ...], found)


def sharing(fleet: Fleet, ingress: AlbIngress) -> list[AlbIngress]:
    """All Ingresses on the load balancer of ``ingress``, itself among them."""
    return by_alb(fleet)[ingress.alb]


def by_alb(fleet: Fleet) -> dict[str, list[AlbIngress]]:
    found = fleet.worked_out.get("by_alb")
    if found is None:
        found = fleet.worked_out["by_alb"] = {}
        for one in alb_ingresses(fleet):
            found.setdefault(one.alb, []).append(one)
    return cast(dict[str, list[AlbIngress]], found)


def backends(fleet: Fleet, ingress: AlbIngress) -> list[Pods]:
    """The workloads behind an Ingress, each once."""
    estate = estate_of(fleet)
    found: dict[int, Pods] = {}
    for name in dict.fromkeys(one.service for one in ingress.routes if one.service):
        for pods in estate.behind(estate.service(ingress.document, name)):
            found[id(pods)] = pods
    return list(found.values())


def read_listen_ports(written: str) -> tuple[tuple[str, int], ...] | None:
    """``[{"HTTP":80},{"HTTPS":443}]`` as pairs; None where it is anything else."""
    try:
        listed = json.loads(written)
    except (ValueError, RecursionError):
        return None
    found = []
    for one in listed if isinstance(listed, list) else [None]:
        if not isinstance(one, dict) or not one:
            return None
        for protocol, port in one.items():
            if protocol not in ("HTTP", "HTTPS", "QUIC") or isinstance(port, bool):
                return None
            if not isinstance(port, int) or not 1 <= port <= 65535:
                return None
            found.append((protocol, port))
    return tuple(found)


def config_listeners(
    config: LintDocument,
) -> Iterator[tuple[KeyPath, str, int | None, dict[str, object]]]:
    """(path, protocol, port, all of it) of each listener of an AlbConfig."""
    for i, one in tables(config.at("spec", "listeners")):
        yield ("spec", "listeners", i), scalar(one.get("protocol")), whole(one.get("port")), one


def _read(fleet: Fleet) -> Iterator[AlbIngress]:
    classes = {one.name: one for one in fleet.of_kind("IngressClass")}
    configs = {one.name: one for one in fleet.of_kind("AlbConfig")}
    for document in fleet.of_kind("Ingress"):
        annotations = table(document.at("metadata", "annotations"))
        named = text(document.at("spec", "ingressClassName"))
        old = text(annotations.get(CLASS_ANNOTATION))
        name = named or old
        leads = classes.get(name)
        ours = any(isinstance(key, str) and key.startswith(PREFIX) for key in annotations)
        if leads is not None:
            serves = text(leads.at("spec", "controller")) in (CONTROLLER, WRONG_CONTROLLER)
        else:
            serves = re.fullmatch(r"alb|.*[-.]alb|alb[-.].*", name) is not None if name else ours
            serves = serves or (ours and "nginx" not in name)
        if not serves:
            continue
        config_name = text(table(leads.at("spec", "parameters")).get("name")) if leads else ""
        if not config_name and name in ("alb", "") and len(configs) == 1:
            config_name = next(iter(configs))  # the old annotation cannot pick another
        yield AlbIngress(document, name, config_name, configs.get(config_name), annotations)


def _routes(document: LintDocument) -> Iterator[Route]:
    for r, one in tables(document.at("spec", "rules")):
        for p, entry in tables(table(one.get("http")).get("paths")):
            service = table(table(entry.get("backend")).get("service"))
            port = table(service.get("port"))
            yield Route(
                ("spec", "rules", r, "http", "paths", p),
                text(one.get("host")),
                text(entry.get("path")) or "/",
                text(entry.get("pathType")),
                text(service.get("name")),
                scalar(port.get("number", port.get("name"))),
            )


def answers_itself(route: Route) -> bool:
    """Whether the load balancer answers the path without pods: a fixed response or a redirect in an ``actions.`` annotation."""
    return route.port == "use-annotation"
