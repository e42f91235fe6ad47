"""What our checker finds in Terraform configurations: in our own module, in broken copies of it, in the article's snippets."""

from pathlib import Path
from typing import Any

import hcl2
import pytest

from saleops.domain.hcl import Declared, defaults_of, resources_of
from saleops.domain.terraform import Finding, check
from saleops.domain.terraform_schema import SCHEMAS
from terraform_module import documents

MODULE = Path(__file__).parents[2] / "templates" / "terraform" / "sale"
ARTICLE = Path(__file__).parents[2].parent / "shared" / "article"
ZONES = ("ap-southeast-1a", "ap-southeast-1b", "ap-southeast-1c")
SWITCHES = {zone: {"name": zone, "cidr": "10.0.0.0/24", "snat_name": zone} for zone in ZONES}
VALUES = {"node_vswitches": SWITCHES, "pod_vswitches": SWITCHES}


def module() -> list[Declared]:
    return resources_of(documents(MODULE.glob("*.tf")))


def found(text: str, **more: Any) -> list[Finding]:
    return check(resources_of([hcl2.loads(text)]), **more)


def rules(findings: list[Finding]) -> set[str]:
    return {one.rule for one in findings}


def test_nothing_speaks_against_our_own_module() -> None:
    assert check(module(), values=VALUES, zones=ZONES) == []


def test_our_module_makes_only_what_the_facts_describe() -> None:
    assert {one.kind for one in module()} <= SCHEMAS.keys()


def test_every_resource_of_ours_that_takes_tags_has_them() -> None:
    for one in module():
        if "tags" in SCHEMAS[one.kind].arguments:
            assert "tags" in one.arguments, one.where


@pytest.mark.parametrize("which", ["node_vswitches", "pod_vswitches"])
def test_a_dropped_zone_is_named(which: str) -> None:
    fewer = {zone: SWITCHES[zone] for zone in ZONES[:2]}

    findings = check(module(), values={**VALUES, which: fewer}, zones=ZONES)

    assert [(one.rule, one.severity) for one in findings] == [("TFM010", "error")]
    assert "ap-southeast-1c" in findings[0].message
    assert findings[0].where == f"alicloud_vswitch.{which.removesuffix('_vswitches')}"


def test_without_a_sale_three_zones_are_expected() -> None:
    fewer = {zone: SWITCHES[zone] for zone in ZONES[:2]}

    findings = check(module(), values={"node_vswitches": fewer, "pod_vswitches": fewer})

    assert rules(findings) == {"TFM010"}


def test_without_snat_entries_the_gateway_is_named() -> None:
    without = [one for one in module() if one.kind != "alicloud_snat_entry"]

    findings = check(without, values=VALUES, zones=ZONES)

    assert [(one.rule, one.where) for one in findings] == [("TFM001", "alicloud_nat_gateway.sale")]


@pytest.mark.parametrize("dropped", ["node", "pod"])
def test_a_dropped_snat_entry_names_the_vswitches_that_have_no_way_out(dropped: str) -> None:
    without = [one for one in module() if (one.kind, one.name) != ("alicloud_snat_entry", dropped)]

    findings = check(without, values=VALUES, zones=ZONES)

    assert [(one.rule, one.where) for one in findings] == [
        ("TFM001", f"alicloud_vswitch.{dropped}")
    ]


def test_snat_entries_over_fewer_zones_than_vswitches_are_found() -> None:
    text = (MODULE / "network.tf").read_text("utf-8")
    head, entry, rest = text.partition('resource "alicloud_snat_entry" "node" {\n')
    broken = head + entry + rest.replace("var.node_vswitches", "var.some", 1)

    some = {ZONES[0]: SWITCHES[ZONES[0]]}
    findings = found(broken, values={**VALUES, "some": some}, zones=ZONES)

    assert [one.where for one in findings] == [
        "alicloud_vswitch.node[ap-southeast-1b]",
        "alicloud_vswitch.node[ap-southeast-1c]",
    ]
    assert rules(findings) == {"TFM001"}


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ('resource "alicloud_vpc" "a" { name = "x" }', "TFM004", "name"),
        ('resource "alicloud_vpc" "a" { vpc_nmae = "x" }', "TFM014", "vpc_nmae"),
        ('resource "alicloud_vpc" "a" { cidr_block = "10.0.0.0/8" }', "TFM006", "10.0.0.0/8"),
        ('resource "alicloud_snat_entry" "a" { snat_ip = "1.2.3.4" }', "TFM016", "snat_table_id"),
        (
            'resource "alicloud_rocketmq_topic" "a" {\n instance_id = "i"\n topic_name = "t"\n message_type = "HALF"\n}',
            "TFM015",
            "HALF",
        ),
        (
            'resource "alicloud_rocketmq_instance" "a" {\n product_infos {\n msg = 1\n }\n}',
            "TFM014",
            "product_infos",
        ),
        (
            'resource "alicloud_rocketmq_instance" "a" {\n network_info {\n vpc_info {\n vswitch_id = "v"\n }\n }\n}',
            "TFM004",
            "vswitch_id",
        ),
        (
            'resource "alicloud_security_group_rule" "a" {\n type = "ingress"\n cidr_ip = "0.0.0.0/0"\n}',
            "TFM013",
            "internet",
        ),
        (
            'resource "alicloud_redis_tair_instance" "a" {\n security_ips = "0.0.0.0/0"\n}',
            "TFM008",
            "world",
        ),
        (
            'resource "alicloud_instance" "a" {\n internet_max_bandwidth_out = 5\n}',
            "TFM012",
            "public",
        ),
        (
            'resource "alicloud_nat_gateway" "a" {\n nat_type = "Normal"\n}',
            "TFM015",
            "Normal",
        ),
    ],
    ids=lambda value: value if value.startswith("TFM") else "",
)
def test_what_is_wrong_is_named(text: str, rule: str, words: str) -> None:
    findings = [one for one in found(text) if one.rule == rule]

    assert any(words in one.message for one in findings)
    assert all(one.fix and one.where for one in findings)


def test_entries_whose_vswitches_cannot_be_told_accuse_nobody() -> None:
    text = (
        'resource "alicloud_nat_gateway" "n" {\n nat_type = "Enhanced"\n}\n'
        'resource "alicloud_vswitch" "a" {\n zone_id = "a"\n}\n'
        'resource "alicloud_snat_entry" "s" {\n for_each = local.all\n source_vswitch_id = each.value\n}'
    )

    assert "TFM001" not in rules(found(text))
    assert "TFM001" in rules(found(text.replace("each.value", '"vsw-1"')))


def test_an_open_whitelist_in_a_variable_is_found() -> None:
    text = 'resource "alicloud_polardb_cluster" "a" {\n db_cluster_ip_array {\n security_ips = var.ips\n }\n}'

    assert "TFM008" in rules(found(text, values={"ips": ["0.0.0.0/0"]}))
    assert "TFM008" not in rules(found(text, values={"ips": ["10.0.0.0/8"]}))


def test_the_defaults_of_variables_are_read() -> None:
    defaults = defaults_of(documents([MODULE / "variables.tf"]))

    assert defaults["parts"] == ["network", "database", "cache", "queue"]
    assert defaults["database_password"] is None


@pytest.mark.skipif(not ARTICLE.exists(), reason="the article's snippets are not here")
def test_the_articles_network_has_no_way_out_and_a_withdrawn_gateway() -> None:
    findings = check(resources_of(documents([ARTICLE / "network.tf"])))

    assert {one.rule for one in findings if one.severity == "error"} == {"TFM001", "TFM009"}
    assert {one.rule for one in findings if one.severity == "warning"} == {"TFM006", "TFM011"}


@pytest.mark.skipif(not ARTICLE.exists(), reason="the article's snippets are not here")
def test_the_articles_database_is_found_open_to_slips_and_shut_to_the_shop() -> None:
    findings = check(resources_of(documents([ARTICLE / "polardb.tf"])))

    assert rules(findings) == {"TFM002", "TFM003", "TFM017"}
