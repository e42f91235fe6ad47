"""Rules for limits and values of ALB annotations: what the load balancer refuses, and whom a limit really stops."""

import re
from collections.abc import Iterator

from saleops.domain.lint.alb_annotations import ANNOTATIONS, PREFIX
from saleops.domain.lint.alb_ingresses import AlbIngress, alb_ingresses
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import table, tables, text
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.rules_alb import blast_radius
from saleops.domain.lint.terraform_blocks import resources

_SOURCE = "alibaba-load-balancer-controller, annotations.go and usage.md"


@rule(
    "ALB007",
    "error",
    "A limit for each address that sees only the edge's addresses",
    why="Behind a CDN all buyers come from a few hundred edge addresses: a limit for each address stops them all.",
    fix="Write xForwardedForConfig with XForwardedForClientSourceIpsEnabled: true and XForwardedForClientSourceIpsTrusted: "
    '"<edge CIDRs>" on the listener of the AlbConfig, or take traffic-limit-ip-qps away.',
    source="ALB product documentation, listeners behind a proxy",
    bad='alb.ingress.kubernetes.io/traffic-limit-ip-qps: "20"  # and DCDN in front',
    good="listeners[].xForwardedForConfig.XForwardedForClientSourceIpsTrusted names the edge's blocks",
)
def limit_sees_the_edge(fleet: Fleet) -> Iterator[Hit]:
    edges = tuple(_edge_domains(fleet))
    for ingress in alb_ingresses(fleet) if edges else ():
        limit = ingress.number("traffic-limit-ip-qps")
        if limit is None or _trusts_the_edge(ingress):
            continue
        hosts = {one.host for one in ingress.routes}
        fronted = next((one for one in edges if any(_covers(one, host) for host in hosts)), "")
        if not fronted:
            continue
        peak = fleet.sale.peak_rps if fleet.sale else 0.0
        why = (
            f"{peak:,.0f} requests a second from, say, 200 edge addresses are {peak / 200:,.0f} each: of every {peak / 200:,.0f} "
            f"only {limit} pass, the rest get 503."
            if peak / 200 > limit
            else ""
        )
        yield Hit(
            ingress.document,
            ingress.path("traffic-limit-ip-qps"),
            f"{limit} requests a second for each address, and {fronted} is behind the edge: the ALB sees edge "
            "addresses, not buyers",
            why=why,
        )


@rule(
    "ALB008",
    "error",
    "A value the load balancer cannot take",
    why="One illegal parameter fails the whole load balancer's rules (FailedApplyModel), of every Ingress on it.",
    fix="Write a value within the range.",
    source=_SOURCE,
    bad='slow-start-duration: "10"',
    good='slow-start-duration: "30"',
)
def impossible_value(fleet: Fleet) -> Iterator[Hit]:
    for ingress in alb_ingresses(fleet):
        document, radius = ingress.document, blast_radius(fleet, ingress)
        for key, value in ingress.annotations.items():
            name = (
                key.removeprefix(PREFIX) if isinstance(key, str) and key.startswith(PREFIX) else ""
            )
            if name in ANNOTATIONS and (wrong := ANNOTATIONS[name].wrong(value)):
                if name == "backend-protocol" and isinstance(value, str):
                    wrong += "; anything else means http without a word"
                yield Hit(document, ingress.path(name), f"{name} {wrong}", why=radius)
        scheduler = ingress.annotation("backend-scheduler")
        if ingress.on("slow-start-enabled") and scheduler in ("wlc", "sch", "uch"):
            yield Hit(
                document,
                ingress.path("backend-scheduler"),
                f"slow start works with backend-scheduler wrr only, not {scheduler} (SLOW_START_ALG_MISMATCH)",
                why=radius,
                fix="Write backend-scheduler: wrr, or take slow-start-enabled away.",
            )
        total, each = ingress.number("traffic-limit-qps"), ingress.number("traffic-limit-ip-qps")
        if total is not None and each is not None and each >= total:
            yield Hit(
                document,
                ingress.path("traffic-limit-ip-qps"),
                f"one address may take {each} requests a second of {total} for all: it has to be below",
                why=radius,
                fix=f"Write traffic-limit-ip-qps below {total}.",
            )


def _edge_domains(fleet: Fleet) -> Iterator[str]:
    """Names that a CDN answers for: in Terraform, and in a profile beside the sale."""
    for kind in ("alicloud_dcdn_domain", "alicloud_cdn_domain_new", "alicloud_cdn_domain"):
        for block in resources(fleet, kind):
            if name := text(block.value.get("domain_name")):
                yield name
    for document in fleet.documents:
        if document.format in ("sale", "profile", "yaml") and (
            name := text(document.at("edge", "domain"))
        ):
            yield name


def _covers(edge: str, host: str) -> bool:
    if not host:
        return True
    return host == edge or (edge.startswith((".", "*.")) and host.endswith(edge.lstrip("*")))


def _trusts_the_edge(ingress: AlbIngress) -> bool:
    """Whether every listener of its AlbConfig that it uses takes buyers' addresses from the edge."""
    wanted = {str(port) for _, port in ingress.listeners}
    found = [
        table(one.get("xForwardedForConfig"))
        for _, one in tables(ingress.config.at("spec", "listeners") if ingress.config else None)
        if not wanted or str(one.get("port")) in wanted
    ]
    return bool(found) and all(
        one.get("XForwardedForClientSourceIpsEnabled") is True
        and re.search(r"[0-9a-f]/[0-9]", text(one.get("XForwardedForClientSourceIpsTrusted")))
        for one in found
    )
