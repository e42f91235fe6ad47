"""Rules for paths: which Ingress gets a request when several share a load balancer, and how many servers that makes.

An ALB takes the first rule that fits, by ``order``; it does not look for the longest path.
"""

from collections.abc import Iterator

from saleops.domain.lint.alb_annotations import PREFIX
from saleops.domain.lint.alb_ingresses import (
    AlbIngress,
    Route,
    alb_ingresses,
    answers_itself,
    by_alb,
)
from saleops.domain.lint.estate import estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.rules_alb import blast_radius

_SOURCE = "ALB Ingress documentation, forwarding rules and quotas"
SERVERS_MOST = 1000
RULES_MOST = 100


@rule(
    "ALB009",
    "error",
    "A broader path comes first",
    why="The ALB takes the first rule by order, not the longest path: the narrower path behind a broader one is never reached.",
    fix="Give the narrower path the lower alb.ingress.kubernetes.io/order.",
    source=_SOURCE,
    bad="/ with order 1 and /order with order 10, on one AlbConfig",
    good="/order with order 1 and / with order 10",
)
def broader_first(fleet: Fleet) -> Iterator[Hit]:
    for group in by_alb(fleet).values():
        whole_group = [one for one in group if not one.canary]
        for narrow in whole_group:
            for route in narrow.routes:
                for broad in whole_group:
                    hit = None if broad is narrow else _shadow(broad, narrow, route)
                    if hit:
                        yield hit
                        break


@rule(
    "ALB010",
    "warning",
    "A path that does not mean what it seems to",
    why="ImplementationSpecific is Exact here, wildcards are refused without use-regex, and a default backend makes no rule.",
    fix="Write pathType: Prefix or Exact, and paths instead of a default backend.",
    source=_SOURCE,
    bad="{path: /order, pathType: ImplementationSpecific}",
    good="{path: /order, pathType: Prefix}",
)
def odd_path(fleet: Fleet) -> Iterator[Hit]:
    for ingress in alb_ingresses(fleet):
        document = ingress.document
        for route in ingress.routes:
            if route.path_type == "ImplementationSpecific":
                yield Hit(
                    document,
                    (*route.path, "pathType"),
                    f"pathType ImplementationSpecific is Exact on an ALB: {route.url} is served, "
                    f"{route.url.rstrip('/')}/1 is not",
                    why=f"Every request below {route.url} gets 404 from the load balancer.",
                    key=True,
                )
            regex = ingress.on("use-regex")
            if not regex and any(sign in route.url for sign in "*?"):
                yield Hit(
                    document,
                    (*route.path, "path"),
                    f"the path {route.url} has a wildcard, which the ALB takes with use-regex only",
                    why=blast_radius(fleet, ingress),
                    fix=f'Write {PREFIX}use-regex: "true" with pathType: Prefix, or a plain prefix.',
                    severity="error",
                    key=True,
                )
            if (
                regex
                and route.path_type not in ("Prefix", "")
                and any(s in route.url for s in "*?([")
            ):
                yield Hit(
                    document,
                    (*route.path, "pathType"),
                    f"use-regex works with pathType Prefix only, and {route.url} is {route.path_type}",
                    why=blast_radius(fleet, ingress),
                    fix="Write pathType: Prefix.",
                    key=True,
                )
        if document.at("spec", "defaultBackend") is not None:
            yield Hit(
                document,
                ("spec", "defaultBackend"),
                "spec.defaultBackend makes no rule on an ALB",
                why="What no path matches gets 404 from the load balancer instead of the default backend.",
                fix="Write a rule with path: / and pathType: Prefix, with the highest order.",
                key=True,
            )


@rule(
    "ALB011",
    "error",
    "More servers or rules than a load balancer takes",
    why="A pod counts once for each rule that leads to it: 500 pods behind 3 rules are 1,500 servers, and 1,000 is the limit.",
    fix="Have the quotas raised, lead fewer rules to the service, or split the services over two AlbConfigs.",
    source="ALB quotas: 1,000 servers an instance and a server group, 100 rules",
    bad="500 pods behind 3 paths of one AlbConfig",
    good="300 pods behind 3 paths",
)
def too_many_servers(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for group in by_alb(fleet).values():
        servers, parts = 0, []
        heaviest: tuple[int, AlbIngress, Route | None] = (0, group[0], None)
        leading: dict[tuple[str, str], list[tuple[AlbIngress, Route]]] = {}
        rules = 0
        for ingress in group:
            for route in ingress.routes:
                rules += 1
                if route.service and not answers_itself(route):
                    key = (ingress.document.namespace, route.service)
                    leading.setdefault(key, []).append((ingress, route))
        for (_, service), routes in leading.items():
            by = routes[0][0].document
            pods = sum(
                estate.count(one).count for one in estate.behind(estate.service(by, service))
            )
            if pods:
                servers += pods * len(routes)
                parts.append(f"{service} {pods} x {len(routes)}")
                heaviest = max(heaviest, (pods * len(routes), *routes[0]), key=lambda one: one[0])
            if pods > SERVERS_MOST:
                yield Hit(
                    routes[0][0].document,
                    routes[0][1].path,
                    f"{service} has {pods:,} pods at the sale; a server group takes {SERVERS_MOST:,}",
                    why=f"{pods - SERVERS_MOST:,} pods run and are paid for, and no buyer ever reaches them.",
                    key=True,
                )
        _, first, heavy = heaviest
        if servers > SERVERS_MOST:
            yield Hit(
                first.document,
                heavy.path if heavy else ("spec",),
                f"{servers:,} servers on {first.alb} at the sale ({', '.join(parts[:4])}); a load balancer takes "
                f"{SERVERS_MOST:,}",
                why=f"A pod counts once for each rule that leads to it: {servers - SERVERS_MOST:,} too many, which "
                "get no traffic.",
                key=True,
            )
        if rules > RULES_MOST:
            yield Hit(
                group[-1].document,
                ("spec", "rules"),
                f"{rules} rules on {group[-1].alb}; a load balancer takes {RULES_MOST}",
                why=f"{rules - RULES_MOST} rules are refused, and the whole load balancer's update with them.",
                key=True,
            )


def _shadow(broad: AlbIngress, narrow: AlbIngress, route: Route) -> Hit | None:
    """The hit where a path of ``broad`` takes what ``route`` of ``narrow`` is for."""
    if broad.order > narrow.order or not set(broad.listeners) & set(narrow.listeners):
        return None
    for one in broad.routes:
        if one.path_type != "Prefix" or one.host not in ("", route.host):
            continue
        if (
            broad.has(f"conditions.{one.service}")
            or broad.on("use-regex")
            or narrow.on("use-regex")
        ):
            continue
        if not _below(route.url, one.url) or (one.host == route.host and one.url == route.url):
            continue
        same = broad.order == narrow.order
        which = f"{broad.document.namespace}/{broad.document.name}"
        return Hit(
            narrow.document,
            (*route.path, "path"),
            f"{route.url} is behind {one.url} of {which} on {narrow.alb}: "
            + (
                f"both have order {broad.order}, so which of them comes first is left to names"
                if same
                else f"order {broad.order} comes before {narrow.order}"
            ),
            why=f"The first rule that fits gets the request: buyers of {route.url} reach {one.service or 'the other backend'} "
            f"instead of {route.service or 'its own'}{' or not, as names happen to sort' if same else ''}.",
            fix=f'Write {PREFIX}order: "{max(1, broad.order - 1)}" here'
            + (f' and "{broad.order + 1}" at {which}.' if broad.order <= 1 else "."),
            severity="warning" if same else "error",
            key=True,
        )
    return None


def _below(url: str, prefix: str) -> bool:
    base = prefix.rstrip("/")
    return url.rstrip("/") == base or url.startswith(base + "/")
