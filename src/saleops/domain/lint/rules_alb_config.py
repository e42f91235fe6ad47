"""Rules that need the AlbConfig: listeners and certificates that Ingresses count on, and keys that nobody reads."""

from collections.abc import Iterator

from saleops.domain.lint.alb_ingresses import (
    CONTROLLER,
    WRONG_CONTROLLER,
    AlbIngress,
    alb_ingresses,
    by_alb,
    config_listeners,
    read_listen_ports,
)
from saleops.domain.lint.albconfig_keys import check
from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, table, tables, text
from saleops.domain.lint.rules import Hit, rule

_SOURCE = "alibaba-load-balancer-controller v2.11 release notes and usage.md"


@rule(
    "ALB003",
    "error",
    "A port that no listener serves, or HTTPS without a certificate",
    why="Since controller v2.11 listeners come from the AlbConfig only: a port that is not there is not served "
    "(listener is not exist in alb).",
    fix="List every port under spec.listeners of the AlbConfig, HTTPS ones with certificates, and point an IngressClass at it.",
    source=_SOURCE,
    bad="listen-ports: '[{\"HTTPS\": 443}]' and an AlbConfig with port 80 only",
    good="listeners: [{port: 443, protocol: HTTPS, certificates: [{CertificateId: 123-ap-southeast-1, IsDefault: true}]}]",
)
def unserved_port(fleet: Fleet) -> Iterator[Hit]:
    yield from _classes(fleet)
    for ingress in alb_ingresses(fleet):
        yield from _ports(fleet, ingress)
    shared = by_alb(fleet)
    for config in fleet.of_kind("AlbConfig"):
        served = shared.get(config.name, [])
        for path, protocol, port, listener in config_listeners(config):
            if protocol not in ("HTTPS", "QUIC") or rows(listener.get("certificates")):
                continue
            if table(listener.get("defaultCertificate")).get("certificateId"):
                continue
            on_it = [one for one in served if (protocol, port) in one.listeners]
            if any(_brings_certificate(one) for one in on_it):
                continue
            yield Hit(
                config,
                path,
                f"listener {protocol}:{port} has no certificate: none of its own, none from an Ingress on it",
                why=f"Nothing answers TLS on port {port}: every buyer of {config.name} gets a connection error.",
                fix="Write certificates: [{CertificateId: <number>-<region>, IsDefault: true}] on the listener, or spec.tls with "
                "hosts on the Ingress.",
                severity="error"
                if on_it
                else "warning",  # the Ingress may be in a file that we were not given
                key=True,
            )


@rule(
    "ALB013",
    "warning",
    "An AlbConfig key that the controller ignores, or a value it cannot take",
    why="The AlbConfig's CRD has no schema: the API server stores any key and the controller ignores what it does not know.",
    fix="Write the key as the controller spells it; capitals matter in certificates and xForwardedForConfig.",
    source="alibaba-load-balancer-controller, albconfig_types.go",
    bad="listeners: [{port: 443, protocol: HTTPS, certificates: [{certificateId: 123-ap-southeast-1}]}]",
    good="listeners: [{port: 443, protocol: HTTPS, certificates: [{CertificateId: 123-ap-southeast-1}]}]",
)
def albconfig_contents(fleet: Fleet) -> Iterator[Hit]:
    shared = by_alb(fleet)
    for config in fleet.of_kind("AlbConfig"):
        others = len(shared.get(config.name, ()))
        for path, what, wrong in check(config.at("spec")):
            shown = ".".join(str(one) for one in path)
            yield Hit(
                config,
                path,
                f"{shown} {wrong}",
                why=""
                if what == "key"
                else f"The load balancer cannot be made or changed with it: {others or 'all'} Ingress(es) on {config.name} "
                "keep the rules they have, or get none.",
                severity="warning" if what == "key" else "error",
                key=what == "key",
            )
        if text(config.name).startswith("aliyun"):
            yield Hit(
                config,
                ("metadata", "name"),
                f"the name {config.name} begins with aliyun, which the cloud keeps for itself",
                severity="error",
                key=True,
            )


def _classes(fleet: Fleet) -> Iterator[Hit]:
    configs = {one.name for one in fleet.of_kind("AlbConfig")}
    for one in fleet.of_kind("IngressClass"):
        controller = text(one.at("spec", "controller"))
        if controller == WRONG_CONTROLLER:
            yield Hit(
                one,
                ("spec", "controller"),
                f"IngressClass {one.name} names the controller {WRONG_CONTROLLER}: there is none; it is {CONTROLLER}",
                why="No controller takes the class: not one port of its Ingresses is served.",
                fix=f"Write controller: {CONTROLLER}.",
                key=True,
            )
        named = text(one.at("spec", "parameters", "name"))
        if controller == CONTROLLER and configs and named and named not in configs:
            yield Hit(
                one,
                ("spec", "parameters", "name"),
                f"IngressClass {one.name} names AlbConfig {named}, which is not among the files "
                f"(they hold {', '.join(sorted(configs))})",
                why="Without its AlbConfig the class has no load balancer: not one port of its Ingresses is served.",
                severity="warning",  # it may be in the cluster already
                key=True,
            )


def _ports(fleet: Fleet, ingress: AlbIngress) -> Iterator[Hit]:
    document = ingress.document
    path: KeyPath = (
        ingress.path("listen-ports")
        if ingress.has("listen-ports")
        else ("spec", "tls")
        if document.at("spec", "tls")
        else ("spec",)
    )
    if (
        ingress.has("listen-ports")
        and read_listen_ports(ingress.annotation("listen-ports")) is None
    ):
        yield Hit(
            document,
            path,
            'listen-ports cannot be read: it takes a JSON list like [{"HTTP":80},{"HTTPS":443}]',
            why="The controller fails the whole load balancer's rules for it, of every Ingress that shares it.",
            key=True,
        )
        return
    named = ", ".join(f"{protocol}:{port}" for protocol, port in ingress.listeners)
    if ingress.config is None:
        if any(True for _ in fleet.of_kind("AlbConfig")) and ingress.config_name:
            return  # said at the IngressClass
        yield Hit(
            document,
            path,
            f"{document.name} wants {named}, and no AlbConfig among the files lists it",
            why=f"The default AlbConfig lists what somebody wrote there once: without a listener for {named} buyers get "
            "connection refused, and the event says: listener is not exist in alb.",
            severity="warning",  # it may be in the cluster already
            key=True,
        )
        return
    serves = {(protocol, port) for _, protocol, port, _ in config_listeners(ingress.config)}
    missing = [one for one in ingress.listeners if one not in serves]
    for protocol, port in missing:
        other = next((p for p, n in serves if n == port), "")
        yield Hit(
            document,
            path,
            f"{document.name} wants {protocol}:{port}, and AlbConfig {ingress.config.name} "
            + (f"serves {other} there" if other else f"has no listener on {port}"),
            why=f"Buyers on port {port} get connection refused; the event says: listener is not exist in alb, port: {port}.",
            fix=f"Add {{port: {port}, protocol: {protocol}}} to spec.listeners of {ingress.config.name}. The list is replaced as "
            "a whole: keep the others in it.",
            key=True,
        )
    if ingress.on("ssl-redirect") and not missing and ("HTTP", 80) not in serves:
        yield Hit(
            document,
            ingress.path("ssl-redirect"),
            f"ssl-redirect needs the listener HTTP:80, and AlbConfig {ingress.config.name} has none",
            why="Who types the shop's name without https gets connection refused instead of a redirect.",
            key=True,
        )


def _brings_certificate(ingress: AlbIngress) -> bool:
    """Whether the controller finds a certificate through it: a secret, hosts under tls, or hosts of rules with HTTPS."""
    entries: list[tuple[int, dict[object, object]]] = list(
        tables(ingress.document.at("spec", "tls"))
    )
    if any(one.get("secretName") or rows(one.get("hosts")) for _, one in entries):
        return True
    return any(one.host for one in ingress.routes) and any(
        p != "HTTP" for p, _ in ingress.listeners
    )
