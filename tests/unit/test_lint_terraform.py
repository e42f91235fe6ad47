"""Rules on Terraform, each on a module that breaks it and one that does not."""

from pathlib import Path

import pytest

from rule_cases import said_by

SHARED = Path(__file__).parents[2].parent / "shared" / "article"
NAT = """
    resource "alicloud_vpc" "main" { cidr_block = "10.16.0.0/16" }
    resource "alicloud_vswitch" "pods" {
      vpc_id = alicloud_vpc.main.id
      cidr_block = "10.16.0.0/19"
      zone_id = "ap-southeast-1a"
    }
    resource "alicloud_nat_gateway" "nat" {
      vpc_id = alicloud_vpc.main.id
      vswitch_id = alicloud_vswitch.pods.id
      nat_type = "Enhanced"
    }
    resource "alicloud_eip_association" "nat" {
      allocation_id = "eip-1"
      instance_id = alicloud_nat_gateway.nat.id
    }
"""
SNAT = """
    resource "alicloud_snat_entry" "pods" {
      snat_table_id = alicloud_nat_gateway.nat.snat_table_ids
      snat_ip = "1.2.3.4"
      source_vswitch_id = alicloud_vswitch.pods.id
    }
"""
TWO_ZONES = """
    resource "alicloud_vswitch" "a" {
      count = 2
      vpc_id = "vpc-1"
      cidr_block = "10.16.0.0/19"
      zone_id = element(["ap-southeast-1a", "ap-southeast-1b"], count.index)
    }
"""
POLAR = (
    'resource "alicloud_polardb_cluster" "db" {{\n db_type = "MySQL"\n db_version = "8.0"\n'
    ' db_node_class = "polar.mysql.x4.large"\n {}\n}}\n'
)
POOL = 'resource "alicloud_cs_kubernetes_node_pool" "burst" {{\n cluster_id = "c-1"\n {}\n}}\n'

CASES = {
    "TFM001": (NAT, NAT + SNAT),
    "TFM002": (
        TWO_ZONES + POLAR.format("vswitch_id = alicloud_vswitch.a[0].id"),
        TWO_ZONES + POLAR.format('standby_az = "ap-southeast-1b"\n hot_standby_cluster = "ON"'),
    ),
    "TFM003": (POLAR.format("deletion_lock = 0"), POLAR.format("deletion_lock = 1")),
    "TFM004": (
        'resource "alicloud_vswitch" "a" { availability_zone = "ap-southeast-1a" }',
        'resource "alicloud_vswitch" "a" { zone_id = "ap-southeast-1a" }',
    ),
    "TFM005": (
        POOL.format('spot_strategy = "SpotAsPriceGo"'),
        POOL.format('spot_strategy = "SpotAsPriceGo"\n on_demand_base_capacity = 3'),
    ),
    "TFM006": (
        'resource "alicloud_vpc" "v" { cidr_block = "10.0.0.0/8" }',
        'resource "alicloud_vpc" "v" { cidr_block = "10.16.0.0/16" }',
    ),
    "TFM008": (
        POLAR.format('db_cluster_ip_array {\n security_ips = ["0.0.0.0/0"]\n }'),
        POLAR.format('db_cluster_ip_array {\n security_ips = ["10.0.0.0/16"]\n }'),
    ),
    "TFM009": (
        'resource "alicloud_nat_gateway" "n" { vpc_id = "vpc-1" }',
        'resource "alicloud_nat_gateway" "n" { nat_type = "Enhanced" }',
    ),
    "TFM013": (
        'resource "alicloud_security_group_rule" "r" {\n type = "ingress"\n cidr_ip = "0.0.0.0/0"\n}',
        'resource "alicloud_security_group_rule" "r" {\n type = "egress"\n cidr_ip = "0.0.0.0/0"\n}',
    ),
    "TFM014": (
        'resource "alicloud_vpc" "v" { cidr_blok = "10.16.0.0/16" }',
        'resource "alicloud_vpc" "v" {\n cidr_block = "10.16.0.0/16"\n count = 1\n lifecycle { prevent_destroy = true }\n}',
    ),
    "TFM015": (
        'resource "alicloud_eip_address" "e" { internet_charge_type = "PayByTrafic" }',
        'resource "alicloud_eip_address" "e" { internet_charge_type = var.charge }',
    ),
    "TFM016": (
        'resource "alicloud_vswitch" "a" { vpc_id = "vpc-1" }',
        'resource "alicloud_vswitch" "a" {\n vpc_id = "v"\n cidr_block = "10.0.0.0/24"\n availability_zone = "x"\n}',
    ),
    "TFM017": (POLAR.format(""), POLAR.format('security_group_ids = ["sg-1"]')),
    "TFM018": (
        POLAR.format(""),
        POLAR.format("")
        + 'resource "alicloud_polardb_endpoint" "e" {\n db_cluster_id = alicloud_polardb_cluster.db.id\n'
        ' endpoint_config = { ConsistLevel = "2" }\n}',
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_bad_module_is_found_and_the_good_one_is_not(rule: str) -> None:
    bad, good = CASES[rule]

    assert said_by(rule, bad, name="main.tf"), rule
    assert said_by(rule, good, name="main.tf") == []


def test_files_of_a_folder_are_one_module() -> None:
    assert said_by("TFM001", {"net/a.tf": NAT, "net/b.tf": SNAT}) == []
    assert said_by("TFM001", {"net/a.tf": NAT, "other/b.tf": SNAT})


def test_a_pod_vswitch_that_no_snat_entry_names_is_found() -> None:
    more = """
    resource "alicloud_vswitch" "nodes" {
      vpc_id = "v"
      cidr_block = "10.16.32.0/19"
      zone_id = "ap-southeast-1b"
    }
    """
    (found,) = said_by("TFM001", NAT + SNAT + more, name="main.tf")

    assert "alicloud_vswitch.nodes" in found.message


def test_a_removed_argument_is_an_error_and_a_deprecated_one_a_warning() -> None:
    text = 'resource "alicloud_cs_managed_kubernetes" "k" {\n worker_number = 3\n worker_vswitch_ids = ["v"]\n}'

    found = said_by("TFM004", text, name="main.tf")

    assert [(one.severity, one.line) for one in found] == [("error", 2), ("warning", 3)]


def test_an_argument_that_may_be_newer_than_we_is_only_a_warning() -> None:
    text = 'resource "alicloud_vpc" "v" {\n cidr_blok = "x"\n quantum_mode = true\n}'

    found = said_by("TFM014", text, name="main.tf")

    assert [one.severity for one in found] == ["error", "warning"]
    assert "did you mean cidr_block?" in found[0].message


def test_a_price_limit_strategy_without_a_limit_is_found() -> None:
    text = POOL.format(
        'spot_strategy = "SpotWithPriceLimit"\n on_demand_percentage_above_base_capacity = 30'
    )

    (found,) = said_by("TFM005", text, name="main.tf")

    assert "spot_price_limit" in found.message


def test_a_load_balancer_of_terraform_and_of_an_albconfig_is_found() -> None:
    alb = 'resource "alicloud_alb_load_balancer" "sale" { vpc_id = "v" }'
    config = "apiVersion: alibabacloud.com/v1\nkind: AlbConfig\nmetadata: {name: sale}\nspec: {config: {%s}}\n"

    assert said_by("TFM007", {"m.tf": alb, "a.yaml": config % "name: sale"})
    assert said_by("TFM007", {"m.tf": alb, "a.yaml": config % "id: alb-1"}) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the snippets are not on this machine")
def test_the_faults_of_the_network_snippet_are_found_where_they_are() -> None:
    files = {one: (SHARED / one).read_text() for one in ("network.tf", "polardb.tf")}

    places = {
        rule: [(one.file, one.line) for one in said_by(rule, files)]
        for rule in ("TFM001", "TFM009", "TFM006", "TFM002", "TFM003", "TFM017", "TFM018")
    }

    assert places == {
        "TFM001": [("network.tf", 24)],
        "TFM009": [("network.tf", 24)],
        "TFM006": [("network.tf", 10)],
        "TFM002": [("polardb.tf", 7)],
        "TFM003": [("polardb.tf", 2)],
        "TFM017": [("polardb.tf", 2)],
        "TFM018": [("polardb.tf", 2)],
    }


def test_our_own_module_is_clean() -> None:
    folder = Path(__file__).parents[2] / "templates" / "terraform" / "sale"
    files = {str(one): one.read_text() for one in folder.glob("*.tf")}

    found = [one for rule in (*CASES, "TFM007") for one in said_by(rule, files)]

    assert found == []
