"""Terraform for Alibaba Cloud, told from its text: ways out, zones, whitelists, locks, arguments that are gone, spot pools.

A module is all .tf files of a folder. Expressions are not evaluated: where only terraform knows a value, nothing is said.
"""

import re
from collections.abc import Iterator

from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, table, text, walk, whole
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.terraform_arguments import DELETION
from saleops.domain.lint.terraform_module import Module, Resource, blocks_under, modules, truth

PROVIDER = "registry.terraform.io, aliyun/alicloud provider documentation 1.289"
_WORLD = re.compile(r"(?:^|[\s,\"'])(?:0\.0\.0\.0(?:/0)?|::/0|%)(?:$|[\s,\"'])")
_DATABASES = ("alicloud_redis_tair_instance", "alicloud_kvstore_instance")


@rule(
    "TFM001",
    "error",
    "A NAT gateway with an address and no SNAT entry",
    why="Without a SNAT entry nothing behind the gateway reaches the internet: new nodes cannot pull images from outside, and "
    "payment and SMS calls time out from the first order on. With Terway pods have addresses of their own, so that the "
    "vSwitches of nodes and of pods each need an entry.",
    fix="Add an alicloud_snat_entry for every vSwitch of nodes and of pods: snat_table_id = <gateway>.snat_table_ids, "
    "source_vswitch_id = <vSwitch>.id, snat_ip = <EIP>.ip_address.",
    source=f"{PROVIDER}, snat_entry",
    bad='resource "alicloud_nat_gateway" "nat" { ... }\nresource "alicloud_eip_association" "nat" { ... }',
    good='resource "alicloud_snat_entry" "pods" {\n  snat_table_id     = alicloud_nat_gateway.nat.snat_table_ids\n'
    "  source_vswitch_id = alicloud_vswitch.pods.id\n  snat_ip           = alicloud_eip_address.nat.ip_address\n}",
)
def no_way_out(fleet: Fleet) -> Iterator[Hit]:
    everywhere = any(module.of("alicloud_snat_entry") for module in modules(fleet))
    for module in modules(fleet):
        entries = module.of("alicloud_snat_entry")
        gateways = [
            one
            for one in module.of("alicloud_nat_gateway")
            if one.literal("network_type") != "intranet"
        ]
        if not entries:
            if module.opaque or (everywhere and "alicloud_nat_gateway" in module.outputs):
                continue  # the entry may be where we do not see it
            for gateway in gateways:
                switches = module.of("alicloud_vswitch")
                named = ", ".join(one.address for one in switches[:4]) or "any vSwitch"
                address = module.of("alicloud_eip_association", "alicloud_eip_address")
                has = f"the address {address[0].address} and " if address else ""
                yield Hit(
                    gateway.document,
                    gateway.path,
                    f"{gateway.address} has {has}no alicloud_snat_entry: nothing in {named} reaches the internet",
                )
            continue
        if not gateways or any(one.body.get("source_cidr") for one in entries):
            continue
        for switch in module.of("alicloud_vswitch"):
            if not _for_machines(module, switch) or any(one.names(switch) for one in entries):
                continue
            yield Hit(
                switch.document,
                switch.path,
                f"No alicloud_snat_entry names {switch.address}, though nodes or pods live in it: they have no way out",
            )


def _for_machines(module: Module, switch: Resource) -> bool:
    """Whether nodes or pods live in a vSwitch, as far as references say; by its name where there are none."""
    users = module.of("alicloud_cs_managed_kubernetes", "alicloud_cs_kubernetes_node_pool")
    if users:
        return any(one.names(switch) for one in users)
    return re.search(r"app|node|pod|worker", switch.name + " " + switch.said) is not None


@rule(
    "TFM002",
    "warning",
    "A database in one zone of a plan for several",
    why="The pods survive the loss of a zone, the database does not: the sale stops until it is restored, for minutes to "
    "hours. "
    "A vSwitch is in exactly one zone, so that vswitch_id alone puts every node there.",
    fix='PolarDB: zone_id, and standby_az with hot_standby_cluster = "ON". Tair: secondary_zone_id.',
    source=f"{PROVIDER}, polardb_cluster and redis_tair_instance",
    bad='resource "alicloud_polardb_cluster" "db" {\n  vswitch_id = alicloud_vswitch.a.id\n}',
    good='resource "alicloud_polardb_cluster" "db" {\n  vswitch_id          = alicloud_vswitch.a.id\n'
    '  zone_id             = "ap-southeast-1a"\n  standby_az          = "ap-southeast-1b"\n  hot_standby_cluster = "ON"\n}',
)
def one_zone(fleet: Fleet) -> Iterator[Hit]:
    wide = any(module.spreads for module in modules(fleet))
    for module in modules(fleet):
        alone = not module.of("alicloud_vswitch")
        for one in module.of("alicloud_polardb_cluster"):
            switch = text(one.body.get("vswitch_id"))
            spread = module.spreads or (alone and wide) or "[" in switch
            chosen = "${" in text(one.body.get("zone_id"))  # by whoever sets the variable
            if spread and not chosen and not one.body.get("standby_az"):
                yield Hit(
                    one.document,
                    one.at("vswitch_id") if switch else one.path,
                    f"{one.address} is in one zone: it has neither standby_az nor hot_standby_cluster",
                )
        for one in module.of(*_DATABASES):
            if (module.spreads or (alone and wide)) and not one.body.get("secondary_zone_id"):
                yield Hit(
                    one.document,
                    one.path,
                    f"{one.address} is in one zone: secondary_zone_id is missing",
                )


@rule(
    "TFM003",
    "warning",
    "Nothing protects it from being deleted",
    why="One terraform destroy with the wrong state, or one click, ends the sale with the data in it.",
    fix="Set the lock that the resource has; take it off in a change of its own.",
    source=PROVIDER,
    bad='resource "alicloud_polardb_cluster" "db" { ... }',
    good='resource "alicloud_polardb_cluster" "db" {\n  deletion_lock = 1\n}',
)
def unlocked(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.of(*DELETION):
            argument, wanted = DELETION[one.type]
            value = one.body.get(argument)
            if argument not in one.body or truth(value) is False:
                state = "is not set" if argument not in one.body else f"is {scalar(value)}"
                yield Hit(
                    one.document,
                    one.at(argument),
                    f"{one.address} can be deleted by a slip: {argument} {state}",
                    fix=f"Write {wanted}.",
                    key=argument in one.body,
                )
        for one in module.of("alicloud_alb_load_balancer"):
            config = blocks_under(one.body, "deletion_protection_config")
            if truth(config.get("enabled")) is not True and "${" not in str(config.get("enabled")):
                yield Hit(
                    one.document,
                    one.path,
                    f"{one.address} can be deleted by a slip: deletion_protection_config is not enabled",
                    fix="Write deletion_protection_config { enabled = true }.",
                )


@rule(
    "TFM005",
    "error",
    "A spot pool without nodes that stay",
    why="When the price passes the limit or capacity runs out, the cloud takes every spot node of a type back with 5 minutes' "
    "notice; a pool without an on-demand part loses all of its pods at once, mid-sale.",
    fix='Write multi_az_policy = "COST_OPTIMIZED", on_demand_base_capacity, on_demand_percentage_above_base_capacity = 30, '
    "compensate_with_on_demand = true and spot_instance_remedy = true; with SpotWithPriceLimit a spot_price_limit block a "
    "type.",
    source=f"{PROVIDER}, cs_kubernetes_node_pool",
    bad='spot_strategy = "SpotAsPriceGo"',
    good='spot_strategy                            = "SpotAsPriceGo"\nmulti_az_policy                          = '
    '"COST_OPTIMIZED"\n'
    "on_demand_base_capacity                  = 3\non_demand_percentage_above_base_capacity = 30",
)
def only_spot(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.of("alicloud_cs_kubernetes_node_pool"):
            strategy = one.literal("spot_strategy")
            if strategy not in ("SpotAsPriceGo", "SpotWithPriceLimit"):
                continue
            base = one.body.get("on_demand_base_capacity")
            share = one.body.get("on_demand_percentage_above_base_capacity")
            if not _counts(base) and not _counts(share):
                most = whole(blocks_under(one.body, "scaling_config").get("max_size"))
                lost = f", up to {most} nodes," if most else ""
                yield Hit(
                    one.document,
                    one.at("spot_strategy"),
                    f"{one.address} is spot only ({strategy}): without an on-demand base or percentage all of it{lost} can "
                    "be taken back at once",
                )
            if strategy == "SpotWithPriceLimit" and not list(one.blocks("spot_price_limit")):
                yield Hit(
                    one.document,
                    one.at("spot_strategy"),
                    f"{one.address} says SpotWithPriceLimit and names no spot_price_limit",
                    fix='Add spot_price_limit { instance_type = "...", price_limit = "..." } for every instance type.',
                )


def _counts(value: object) -> bool:
    """Whether a number of nodes or percent is above 0; what only terraform knows counts as such."""
    number = whole(value)
    return number > 0 if number is not None else bool(value)


@rule(
    "TFM006",
    "warning",
    "A VPC that takes a whole /8",
    why="16,777,216 addresses are kept by one VPC: nothing with an address in that range can be joined to it any more, no "
    "second "
    "VPC for the database team, no office, no peer in another region.",
    fix="Take a /16 (65,536 addresses), such as 10.16.0.0/16: 65,536 / 254 leaves room for thousands of pods in three zones.",
    source="alibabacloud.com docs, plan and design a VPC",
    bad='cidr_block = "10.0.0.0/8"',
    good='cidr_block = "10.16.0.0/16"',
)
def whole_range(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.of("alicloud_vpc"):
            cidr = text(one.literal("cidr_block"))
            mask = whole(cidr.rpartition("/")[2]) if "/" in cidr else None
            if mask is not None and mask <= 8:
                yield Hit(
                    one.document,
                    one.at("cidr_block"),
                    f"{one.address} takes all of {cidr}: 2^{32 - mask} = {2 ** min(32, max(0, 32 - mask)):,} addresses",
                )


@rule(
    "TFM007",
    "error",
    "Two managers of one load balancer",
    why="terraform and the Ingress controller each write what they believe: the next apply takes away the listeners and "
    "rules that "
    "the controller made, and the site answers 503 until it makes them again.",
    fix="Let one of them manage it: put the load balancer's id into the AlbConfig (spec.config.id), or leave it out of "
    "Terraform.",
    source="alibabacloud.com docs, AlbConfig reuse of an existing ALB",
    bad='resource "alicloud_alb_load_balancer" "sale" { ... }   # and an AlbConfig that makes one of its own',
    good="kind: AlbConfig\nspec:\n  config:\n    id: alb-abc123",
)
def two_managers(fleet: Fleet) -> Iterator[Hit]:
    configs = [
        one for one in fleet.of_kind("AlbConfig") if not table(one.at("spec", "config")).get("id")
    ]
    if not configs:
        return
    for module in modules(fleet):
        for one in module.of("alicloud_alb_load_balancer"):
            yield Hit(
                one.document,
                one.path,
                f"{one.address} is made here, and AlbConfig {configs[0].name} makes a load balancer without an id to reuse",
            )


@rule(
    "TFM008",
    "error",
    "A whitelist that lets in the world",
    why="The database answers every address on the network; one leaked password is enough, and scanners find it within hours.",
    fix="Name the blocks of the node and pod vSwitches, such as 10.16.0.0/18.",
    source=f"{PROVIDER}, security_ips",
    bad='security_ips = ["0.0.0.0/0"]',
    good='security_ips = ["10.16.0.0/18", "10.16.64.0/18"]',
)
def open_to_all(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.resources:
            if not one.type.startswith("alicloud_"):
                continue
            for path, value in walk(one.body, one.path):
                if not isinstance(value, str) or not _WORLD.search(value):
                    continue
                keys = [part for part in path if isinstance(part, str)]
                if {"security_ips", "ip_whitelists", "ip_whitelist"} & set(keys):
                    yield Hit(
                        one.document,
                        path,
                        f"{one.address} lets in every address: {keys[-1]} has {value[:60]}",
                    )


@rule(
    "TFM013",
    "error",
    "A security group that lets the whole internet in",
    why="Nodes and databases behind it can be reached by everybody; buyers come through the load balancer and need none of "
    "this.",
    fix="Let in the VPC's own blocks.",
    source=f"{PROVIDER}, security_group_rule",
    bad='type    = "ingress"\ncidr_ip = "0.0.0.0/0"',
    good='type    = "ingress"\ncidr_ip = "10.16.0.0/16"',
)
def open_group(fleet: Fleet) -> Iterator[Hit]:
    for module in modules(fleet):
        for one in module.of("alicloud_security_group_rule"):
            if one.literal("type") != "ingress" or one.literal("policy") == "drop":
                continue
            for argument in ("cidr_ip", "ipv6_cidr_ip"):
                if one.literal(argument) in ("0.0.0.0/0", "::/0"):
                    ports = scalar(one.body.get("port_range")) or "every port"
                    yield Hit(
                        one.document,
                        one.at(argument),
                        f"{one.address} opens {ports} to {one.literal(argument)}",
                    )
