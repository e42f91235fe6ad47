"""What is wrong with a Terraform configuration for Alibaba Cloud, told from its text alone.

``check`` says what speaks against the resources of a module (domain/hcl.py). An expression is not evaluated; where one names a
variable and the caller gave its value (terraform.tfvars.json), the value is looked at, so that a zone that is missing there
is found.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from saleops.domain.hcl import Declared, Expression, said
from saleops.domain.terraform_schema import META_ARGUMENTS, META_BLOCKS, SCHEMAS, Shape

Severity = Literal["error", "warning"]
WORLD = ("0.0.0.0/0", "::/0")
ZONES_WANTED = 3
_VARIABLE = re.compile(r"\$\{var\.([A-Za-z0-9_]+)\}")


@dataclass(frozen=True, slots=True)
class Finding:
    """What speaks against a configuration: ``rule`` for ignoring it, ``where`` the resource, ``fix`` what to write."""

    rule: str
    severity: Severity
    where: str
    message: str
    fix: str


def check(
    resources: Sequence[Declared],
    *,
    values: Mapping[str, Any] | None = None,
    zones: Sequence[str] = (),
) -> list[Finding]:
    """What speaks against ``resources``. ``values`` are those of variables; ``zones`` are where the sale wants to be, else
    three of any name are expected."""
    module = _Module(resources, values or {}, tuple(zones))
    return [
        *_arguments(module),
        *_ways_out(module),
        *_zones(module),
        *_open_doors(module),
        *_durability(module),
    ]


@dataclass(frozen=True, slots=True)
class _Module:
    resources: Sequence[Declared]
    values: Mapping[str, Any]
    zones: tuple[str, ...]

    def of(self, kind: str) -> list[Declared]:
        return [one for one in self.resources if one.kind == kind]

    def given(self, value: Any) -> Any:
        """``value``; what a variable holds where it is nothing but that variable and its value is known."""
        if isinstance(value, Expression):
            match = _VARIABLE.fullmatch(value.text)
            if match and match.group(1) in self.values:
                return self.values[match.group(1)]
        return value


def _arguments(module: _Module) -> Iterator[Finding]:
    for one in module.resources:
        if one.kind in SCHEMAS:
            yield from _fits(one, SCHEMAS[one.kind], top=True)


def _fits(one: Declared, shape: Shape, *, top: bool) -> Iterator[Finding]:
    known = shape.arguments | (META_ARGUMENTS if top else frozenset())
    for name, value in one.arguments.items():
        if name in shape.gone:
            yield Finding(
                "TFM004",
                "error",
                one.where,
                f"{name} is deprecated or removed",
                "Use its successor; see the provider's page of the resource.",
            )
        elif name not in known:
            yield Finding(
                "TFM014",
                "error",
                one.where,
                f"{one.kind} has no argument {name}",
                f"It has {', '.join(sorted(shape.arguments))}.",
            )
        elif name in shape.values and isinstance(value, str | int):
            written = str(value).lower() if isinstance(value, bool) else str(value)
            if written not in shape.values[name]:
                allowed = ", ".join(shape.values[name])
                yield Finding(
                    "TFM015",
                    "error",
                    one.where,
                    f"{name} is {written!r}, which is none of {allowed}",
                    f"Write one of {allowed}.",
                )
    meta_blocks = META_BLOCKS if top else frozenset()
    for name, blocks in one.blocks.items():
        if name in shape.blocks:
            for block in blocks:
                yield from _fits(block, shape.blocks[name], top=False)
        elif name not in meta_blocks:
            yield Finding(
                "TFM014",
                "error",
                one.where,
                f"{one.kind} has no block {name}",
                f"It has {', '.join(sorted(shape.blocks)) or 'none'}.",
            )
    for name in sorted(shape.required - one.arguments.keys() - one.blocks.keys()):
        yield Finding(
            "TFM016", "error", one.where, f"{name} is missing, and is required", f"Add {name}."
        )


def _ways_out(module: _Module) -> Iterator[Finding]:
    gateways = module.of("alicloud_nat_gateway")
    entries = module.of("alicloud_snat_entry")
    for gateway in gateways:
        if "nat_type" not in gateway.arguments:
            yield Finding(
                "TFM009",
                "error",
                gateway.where,
                "nat_type is not set, and the default type is withdrawn",
                'Add nat_type = "Enhanced".',
            )
    public = [one for one in gateways if one.literal("network_type") != "intranet"]
    if not public:
        return
    if not entries:
        yield Finding(
            "TFM001",
            "error",
            public[0].where,
            "a NAT gateway without alicloud_snat_entry: nothing in the VPC reaches the internet",
            "Add an alicloud_snat_entry for each vSwitch of nodes and of pods.",
        )
        return
    if any(_indirect(one) for one in entries):
        return
    named = " ".join(one.text() for one in entries)
    if any(one.arguments.get("source_cidr") for one in entries):
        return  # a block may cover any vSwitch; which ones, its address would have to be evaluated for
    for switch in module.of("alicloud_vswitch"):
        if not re.search(rf"\balicloud_vswitch\.{re.escape(switch.name)}\b", named):
            yield Finding(
                "TFM001",
                "error",
                switch.where,
                "no alicloud_snat_entry names this vSwitch: what is in it has no way out",
                f"Add an alicloud_snat_entry with source_vswitch_id = {switch.where}.id.",
            )
            continue
        yield from _uncovered(module, switch, entries)


def _indirect(entry: Declared) -> bool:
    """Whether which vSwitch ``entry`` is for is said somewhere else, in a local or a variable."""
    source = entry.arguments.get("source_vswitch_id")
    return isinstance(source, Expression) and "alicloud_vswitch." not in entry.text()


def _uncovered(module: _Module, switch: Declared, entries: Sequence[Declared]) -> Iterator[Finding]:
    """Zones of ``switch`` for which no entry is made: where both run over maps whose keys are known."""
    keys = _keys(module, switch)
    if not keys:
        return
    covered: set[str] = set()
    for entry in entries:
        if f"alicloud_vswitch.{switch.name}" not in entry.text():
            continue
        over = entry.arguments.get("for_each")
        if isinstance(over, Expression) and switch.where in over.text:
            return
        entry_keys = _keys(module, entry)
        if entry_keys is None:
            return  # it cannot be told from the text
        covered.update(entry_keys)
    for zone in sorted(keys - covered):
        yield Finding(
            "TFM001",
            "error",
            f"{switch.where}[{zone}]",
            f"no alicloud_snat_entry for the vSwitch of {zone}: what is in it has no way out",
            f"Let the SNAT entries run over the same zones as {switch.where}.",
        )


def _keys(module: _Module, one: Declared) -> set[str] | None:
    over = module.given(one.arguments.get("for_each"))
    if isinstance(over, Mapping | list | tuple):
        return {str(key) for key in over}
    return None


def _zones(module: _Module) -> Iterator[Finding]:
    switches = module.of("alicloud_vswitch")
    if not switches:
        return
    for switch in switches:
        there = _zones_of(module, switch)
        if there is None:
            continue
        alone = len(switches) > 1 and "for_each" not in switch.arguments
        if module.zones:
            for zone in sorted(set(module.zones) - there):
                if not alone or zone not in _all_zones(module, switches):
                    yield Finding(
                        "TFM010",
                        "error",
                        switch.where,
                        f"no vSwitch in {zone}, which the sale wants",
                        f"Add {zone} to the zones of {switch.where}.",
                    )
        elif not alone and len(there) < ZONES_WANTED:
            yield Finding(
                "TFM010",
                "error",
                switch.where,
                f"vSwitches in {len(there)} zone(s) only ({', '.join(sorted(there))})",
                f"Use {ZONES_WANTED} zones: losing one must not end the sale.",
            )
    if len(switches) == 1:
        yield Finding(
            "TFM011",
            "warning",
            switches[0].where,
            "one kind of vSwitch only: with Terway every pod takes an address, and pods and nodes share this one's",
            "Add vSwitches for pods, /19 or larger in each zone.",
        )


def _all_zones(module: _Module, switches: Sequence[Declared]) -> set[str]:
    return set().union(*(_zones_of(module, one) or set() for one in switches))


def _zones_of(module: _Module, switch: Declared) -> set[str] | None:
    """The zones that ``switch`` is made in; None where that cannot be told."""
    keys = _keys(module, switch)
    if keys is not None:
        return keys
    zone = switch.arguments.get("zone_id")
    if isinstance(zone, Expression):
        count = switch.literal("count")
        named = set(re.findall(r'"([a-z0-9-]+)"', zone.text))
        if not named:
            return None
        return set(sorted(named)[:count]) if isinstance(count, int) else named
    return {str(zone)} if zone else None


def _open_doors(module: _Module) -> Iterator[Finding]:
    for vpc in module.of("alicloud_vpc"):
        cidr = vpc.literal("cidr_block")
        if isinstance(cidr, str) and cidr.endswith("/8"):
            yield Finding(
                "TFM006",
                "warning",
                vpc.where,
                f"{cidr} leaves no address for a VPC or an office to be joined to this one",
                "Take a /16, such as 10.16.0.0/16.",
            )
    for rule in module.of("alicloud_security_group_rule"):
        opened = rule.literal("cidr_ip") in WORLD or rule.literal("ipv6_cidr_ip") in WORLD
        if opened and rule.literal("type") == "ingress" and rule.literal("policy") != "drop":
            yield Finding(
                "TFM013",
                "error",
                rule.where,
                "lets the whole internet in",
                "Let in the VPC; buyers come through the load balancer.",
            )
    for one in module.resources:
        for owner in (one, *one.blocks.get("db_cluster_ip_array", ())):
            ips = module.given(owner.arguments.get("security_ips"))
            if any(world in said(ips) for world in WORLD):
                yield Finding(
                    "TFM008",
                    "error",
                    owner.where,
                    "security_ips lets in the whole world",
                    "Name the blocks of the node and pod vSwitches.",
                )
        out = one.literal("internet_max_bandwidth_out")
        if isinstance(out, int) and out > 0:
            yield Finding(
                "TFM012",
                "error",
                one.where,
                "gives its nodes public addresses",
                "Leave internet_max_bandwidth_out out; the NAT gateway is the way out.",
            )


def _durability(module: _Module) -> Iterator[Finding]:
    several = len(_all_zones(module, module.of("alicloud_vswitch"))) != 1
    for one in module.of("alicloud_polardb_cluster"):
        if "deletion_lock" not in one.arguments or one.literal("deletion_lock") == 0:
            yield Finding(
                "TFM003",
                "warning",
                one.where,
                "can be deleted by a slip: deletion_lock is not set",
                "Add deletion_lock = 1.",
            )
        if not one.arguments.get("zone_id") and not one.arguments.get("standby_az"):
            yield Finding(
                "TFM002",
                "warning",
                one.where,
                "says neither its zone nor where its standby is",
                'Add zone_id, and standby_az with hot_standby_cluster = "ON".',
            )
        if not one.blocks.get("db_cluster_ip_array") and not one.arguments.get(
            "security_group_ids"
        ):
            yield Finding(
                "TFM017",
                "warning",
                one.where,
                "lets nobody in: no db_cluster_ip_array and no security_group_ids",
                "Add a db_cluster_ip_array with the blocks of the node and pod vSwitches.",
            )
    for kind in ("alicloud_redis_tair_instance", "alicloud_kvstore_instance"):
        for one in module.of(kind):
            if several and not one.arguments.get("secondary_zone_id"):
                yield Finding(
                    "TFM002",
                    "warning",
                    one.where,
                    "is in one zone only",
                    "Add secondary_zone_id: its replica belongs into another zone.",
                )
