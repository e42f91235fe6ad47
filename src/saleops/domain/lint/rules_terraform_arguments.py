"""Arguments of Terraform resources: gone, unknown, missing, of a value the provider refuses; and what PolarDB is left without."""

import json
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, scalar, text
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.rules_terraform import PROVIDER
from saleops.domain.lint.terraform_arguments import DEPRECATED, REMOVED
from saleops.domain.lint.terraform_module import Resource, modules
from saleops.domain.terraform_schema import META_ARGUMENTS, META_BLOCKS, SCHEMAS, Shape


@rule(
    "TFM004",
    "warning",
    "An argument that is deprecated or removed",
    why="A removed argument fails the plan; a deprecated one does so with the next provider, and that is the day somebody runs "
    "terraform init -upgrade to add nodes for the sale.",
    fix="Write its successor.",
    source=PROVIDER,
    bad='resource "alicloud_vswitch" "a" {\n  availability_zone = "ap-southeast-1a"\n}',
    good='resource "alicloud_vswitch" "a" {\n  zone_id = "ap-southeast-1a"\n}',
)
def gone(fleet: Fleet) -> Iterator[Hit]:
    for one in _known(fleet):
        removed, deprecated = REMOVED.get(one.type, {}), DEPRECATED.get(one.type, {})
        for argument in one.body:
            if argument in removed:
                message = f"{one.address}: {argument} was removed from {one.type}"
                fix, severe = f"Use {removed[argument]}.", "error"
            elif argument in deprecated:
                message = f"{one.address}: {argument} is deprecated in {one.type}"
                fix, severe = f"Use {deprecated[argument]}.", "warning"
            elif argument in SCHEMAS.get(one.type, _NOTHING).gone:
                message = f"{one.address}: {argument} is deprecated or removed in {one.type}"
                fix, severe = (
                    "Use its successor; see the provider's page of the resource.",
                    "warning",
                )
            else:
                continue
            yield Hit(
                one.document,
                one.at(argument),
                message,
                fix=fix,
                severity="error" if severe == "error" else "warning",
                key=True,
            )


_NOTHING = Shape(frozenset(), frozenset(), frozenset(), {})


@rule(
    "TFM009",
    "error",
    "A NAT gateway whose type is not named",
    why="The type that an absent nat_type stands for, Normal, is withdrawn: the API refuses to make the gateway, and with "
    "it goes "
    "the way out of every node.",
    fix='Add nat_type = "Enhanced" (and internet_charge_type = "PayByLcu").',
    source=f"{PROVIDER}, nat_gateway",
    bad='resource "alicloud_nat_gateway" "nat" {\n  vpc_id = alicloud_vpc.main.id\n}',
    good='resource "alicloud_nat_gateway" "nat" {\n  vpc_id   = alicloud_vpc.main.id\n  nat_type = "Enhanced"\n}',
)
def nat_type(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.of("alicloud_nat_gateway"):
            if "nat_type" not in one.body:
                yield Hit(one.document, one.path, f"{one.address} does not set nat_type")
            elif one.literal("nat_type") == "Normal":
                yield Hit(
                    one.document,
                    one.at("nat_type"),
                    f"{one.address} is of the type Normal, which is withdrawn",
                )


@rule(
    "TFM014",
    "error",
    "An argument that the resource does not have",
    why="terraform plan fails on it, and nothing of the module is applied.",
    fix="Correct the name; the message lists those that look like it.",
    source=PROVIDER,
    bad='resource "alicloud_vpc" "main" {\n  cidr = "10.16.0.0/16"\n}',
    good='resource "alicloud_vpc" "main" {\n  cidr_block = "10.16.0.0/16"\n}',
)
def unknown(fleet: Fleet) -> Iterator[Hit]:
    for one in _known(fleet):
        if one.type in SCHEMAS:
            yield from _strangers(one, one.body, one.path, SCHEMAS[one.type], top=True)


def _strangers(
    one: Resource, body: dict[Any, Any], path: KeyPath, shape: Shape, *, top: bool
) -> Iterator[Hit]:
    free = META_ARGUMENTS | META_BLOCKS | {"dynamic"} if top else {"dynamic"}
    for name, value in body.items():
        if name in shape.blocks:
            for i, block in enumerate(rows(value)):
                if isinstance(block, dict):
                    yield from _strangers(
                        one, block, (*path, name, i), shape.blocks[name], top=False
                    )
        elif name not in shape.arguments and name not in shape.gone and name not in free:
            near = _near(str(name), sorted(shape.arguments | shape.blocks.keys()))
            meant = f" (did you mean {near}?)" if near else ""
            yield Hit(
                one.document,
                (*path, name),
                f"{one.address}: there is no argument {name}{meant}",
                # What resembles nothing may be newer than what we know of the provider.
                severity="error" if near else "warning",
                key=True,
            )


def _near(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name[:80], known, 1, 0.7)
    return found[0] if found else ""


@rule(
    "TFM015",
    "error",
    "A value that the argument does not take",
    why="terraform plan fails on it, and nothing of the module is applied.",
    fix="Write one of the values in the message, in its exact spelling.",
    source=PROVIDER,
    bad='internet_charge_type = "PayByTrafic"',
    good='internet_charge_type = "PayByTraffic"',
)
def refused_value(fleet: Fleet) -> Iterator[Hit]:
    for one in _known(fleet):
        for name, allowed in SCHEMAS.get(one.type, _NOTHING).values.items():
            value = one.literal(name)
            said = scalar(value)
            if said and said not in allowed and said.lower() not in ("null", "none"):
                yield Hit(
                    one.document,
                    one.at(name),
                    f"{one.address}: {name} is {said[:60]!r}; it takes {', '.join(allowed)}",
                )


@rule(
    "TFM016",
    "error",
    "A required argument is missing",
    why="terraform plan fails, and nothing of the module is applied.",
    fix="Add the argument.",
    source=PROVIDER,
    bad='resource "alicloud_vswitch" "a" {\n  vpc_id = alicloud_vpc.main.id\n}',
    good='resource "alicloud_vswitch" "a" {\n  vpc_id     = alicloud_vpc.main.id\n  cidr_block = "10.16.1.0/24"\n'
    '  zone_id    = "ap-southeast-1a"\n}',
)
def missing(fleet: Fleet) -> Iterator[Hit]:
    for one in _known(fleet):
        shape = SCHEMAS.get(one.type, _NOTHING)
        instead = {new for old, new in DEPRECATED.get(one.type, {}).items() if old in one.body}
        for name in sorted(shape.required - one.body.keys() - instead):
            dynamic = any(
                name in labels
                for labels in rows(one.body.get("dynamic"))
                if isinstance(labels, dict)
            )
            if not dynamic:
                yield Hit(one.document, one.path, f"{one.address} has no {name}, which is required")


@rule(
    "TFM017",
    "warning",
    "A PolarDB cluster that lets nobody in",
    why="The whitelist of a new cluster holds 127.0.0.1 alone: every pod's connection is refused until somebody adds the "
    "vSwitches' "
    "blocks by hand, and then terraform does not know of them.",
    fix='Add db_cluster_ip_array { security_ips = ["<node block>", "<pod block>"] }, or security_group_ids.',
    source=f"{PROVIDER}, polardb_cluster",
    bad='resource "alicloud_polardb_cluster" "db" { ... }',
    good='db_cluster_ip_array {\n  security_ips = ["10.16.0.0/18"]\n}',
)
def lets_nobody_in(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.of("alicloud_polardb_cluster"):
            named = one.body.get("security_group_ids") or one.body.get("security_ips")
            if not named and not list(one.blocks("db_cluster_ip_array")):
                yield Hit(
                    one.document,
                    one.path,
                    f"{one.address} has no whitelist: neither db_cluster_ip_array nor security_group_ids",
                )


@rule(
    "TFM018",
    "warning",
    "A PolarDB cluster whose consistency nobody chose",
    why="Replicas apply the primary's log a few milliseconds late. At session consistency (the default) only the connection "
    "that "
    "wrote sees its own write; a buyer whose next request another pod answers may read that the order is not there, and "
    "order again.",
    fix='Add an alicloud_polardb_endpoint with endpoint_config = { ConsistLevel = "2" } (global), or strict_consistency = "ON" '
    "on the cluster, or read orders from the primary.",
    source=f"{PROVIDER}, polardb_endpoint",
    bad='resource "alicloud_polardb_cluster" "db" { ... }   # and no alicloud_polardb_endpoint',
    good='resource "alicloud_polardb_endpoint" "orders" {\n  db_cluster_id   = alicloud_polardb_cluster.db.id\n'
    '  read_write_mode = "ReadWrite"\n  endpoint_config = { ConsistLevel = "2" }\n}',
)
def consistency(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        endpoints = [
            one
            for kind in modules(fleet)
            for one in kind.of("alicloud_polardb_endpoint", "alicloud_polardb_cluster_endpoint")
        ]
        for one in module.of("alicloud_polardb_cluster"):
            if text(one.body.get("strict_consistency")).upper() == "ON" or module.opaque:
                continue
            own = [e for e in endpoints if e.names(one)]
            if not own:
                yield Hit(
                    one.document,
                    one.path,
                    f"{one.address} has no alicloud_polardb_endpoint, and so no consistency level that somebody chose",
                )
            for endpoint in own:
                level = _level(endpoint.body.get("endpoint_config"))
                if level == "0" and endpoint.literal("read_write_mode") != "ReadOnly":
                    yield Hit(
                        endpoint.document,
                        endpoint.at("endpoint_config"),
                        f"{endpoint.address} has ConsistLevel 0: reads may be older than the writes of the same connection",
                    )


def _level(config: Any) -> str:
    if isinstance(config, str) and config.startswith("{"):
        try:
            config = json.loads(config)
        except (ValueError, RecursionError):
            return ""
    return scalar(config.get("ConsistLevel")) if isinstance(config, dict) else ""


def _known(fleet: Fleet) -> Iterator[Resource]:
    for module in modules(fleet):
        for one in module.resources:
            if one.type in SCHEMAS or one.type in DEPRECATED or one.type in REMOVED:
                yield one
