"""What a sale's cloud consists of: the resources, their order, and the calls that make them."""

from pathlib import Path
from typing import Any

import pytest

from saleops.adapters.rocketmq_names import TYPES, Names
from saleops.config.profile import Profile, default_profile, load_profile
from saleops.config.sale import Sale, load_sale
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.nodepools import Spot
from saleops.domain.cloud.resources import GROUPS, Resource
from saleops.domain.messages import READERS
from saleops.domain.topics import managed_groups, managed_topics
from saleops.errors import ConfigError
from saleops.operations.provision.blueprint import Blueprint, blueprint

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"
SALE = load_sale(EXAMPLE / "sale.yaml")
PROFILE = load_profile(EXAMPLE / "profile.yaml")
PASSWORD = "Correct-horse-7"
TAG = [{"Key": "saleops:sale", "Value": "midnight-drop"}]
ZONES = ("ap-southeast-1a", "ap-southeast-1b", "ap-southeast-1c")


def known(key: str, output: str = "id") -> str:
    return f"${{{key}.{output}}}"


def plan(sale: Sale = SALE, profile: Profile = PROFILE, **more: Any) -> Blueprint:
    return blueprint(sale, profile, password=lambda: PASSWORD, **more)


def with_profile(**parts: dict[str, Any]) -> Profile:
    return Profile.model_validate(
        {"apiVersion": "saleops/profile/v1", "cluster": {"key_pair": "k"}, **parts}
    )


def made(key: str, found: Blueprint | None = None) -> Call:
    return one(key, found).create(known)


def one(key: str, found: Blueprint | None = None) -> Resource:
    return next(each for each in (found or plan()).resources if each.key == key)


def test_everything_comes_after_what_it_needs_and_is_named_once() -> None:
    seen: set[str] = set()
    for resource in plan().resources:
        assert set(resource.needs) <= seen, resource.key
        assert resource.key not in seen
        seen.add(resource.key)


def test_every_group_is_there_and_every_name_begins_with_the_sales() -> None:
    resources = plan().resources

    assert [each for each in GROUPS if not plan().of(each)] == []
    assert all(each.name.startswith(("midnight-drop", "drop.example.com")) for each in resources)
    assert len({(each.kind, each.name) for each in resources}) == len(resources)


def test_the_same_files_give_the_same_calls() -> None:
    first, second = ([each.create(known) for each in plan().resources] for _ in range(2))

    assert first == second


def test_the_cluster_is_pro_on_terway_and_private() -> None:
    assert made("cluster").body == {
        "name": "midnight-drop-cluster",
        "region_id": "ap-southeast-1",
        "cluster_type": "ManagedKubernetes",
        "profile": "Default",
        "cluster_spec": "ack.pro.small",
        "vpcid": "${vpc.id}",
        "vswitch_ids": [f"${{vswitch/node/{zone}.id}}" for zone in ZONES],
        "pod_vswitch_ids": [f"${{vswitch/pod/{zone}.id}}" for zone in ZONES],
        "service_cidr": "172.19.0.0/20",
        "security_group_id": "${security-group.id}",
        "addons": [{"name": "terway-eniip", "config": '{"NetworkPolicy": "true"}'}],
        "endpoint_public_access": False,
        "snat_entry": False,
        "deletion_protection": True,
        "timezone": "Asia/Shanghai",
        "tags": [{"key": "saleops:sale", "value": "midnight-drop"}],
    }


def test_the_burst_pool_is_70_30_with_a_price_limit_for_each_type() -> None:
    body = made("nodepool/burst").body

    assert body["auto_scaling"] == {"enable": False}
    assert body["scaling_group"] == {
        "desired_size": 27,
        "instance_charge_type": "PostPaid",
        "instance_types": ["ecs.c7.xlarge", "ecs.c8i.xlarge", "ecs.g7.xlarge"],
        "vswitch_ids": [f"${{vswitch/node/{zone}.id}}" for zone in ZONES],
        "multi_az_policy": "COST_OPTIMIZED",
        "spot_strategy": "SpotWithPriceLimit",
        "spot_price_limit": [
            {"instance_type": "ecs.c7.xlarge", "price_limit": "0.120"},
            {"instance_type": "ecs.c8i.xlarge", "price_limit": "0.130"},
            {"instance_type": "ecs.g7.xlarge", "price_limit": "0.150"},
        ],
        "on_demand_base_capacity": 0,
        "on_demand_percentage_above_base_capacity": 30,
        "spot_instance_pools": 3,
        "spot_instance_remedy": True,
        "compensate_with_on_demand": True,
        "system_disk_category": "cloud_essd",
        "system_disk_size": 120,
        "image_type": "AliyunLinux3",
        "scaling_policy": "release",
        "key_pair": "midnight-drop",
        "tags": [{"key": "saleops:sale", "value": "midnight-drop"}],
    }


def test_the_core_pool_has_no_spot_field_at_all() -> None:
    group = made("nodepool/core").body["scaling_group"]

    assert group["spot_strategy"] == "NoSpot"
    assert group["desired_size"] == 3
    assert not {
        name for name in group if name.startswith(("on_demand", "compensate", "spot_instance"))
    }


@pytest.mark.parametrize(
    ("share", "base", "nodes", "percentage"),
    [
        (0.7, 0, 20, 30),
        (0.7, 6, 20, 0),
        (0.7, 3, 30, 23),
        (0.5, 0, 7, 50),
        (1.0, 0, 9, 0),
        (0.66, 0, 9, 34),
    ],
)
def test_the_on_demand_percentage_never_lets_spot_above_its_share(
    share: float, base: int, nodes: int, percentage: int
) -> None:
    spot = Spot(share, base)

    assert spot.on_demand_percentage(nodes) == percentage
    on_demand = base + percentage / 100 * (nodes - base)
    assert nodes - on_demand <= share * nodes + 1e-9


def test_a_type_without_a_price_limit_is_bought_at_the_market_and_said_so() -> None:
    profile = with_profile(nodes={"price_limits": {"ecs.c7.xlarge": 0.1}})
    found = plan(profile=profile)
    group = made("nodepool/burst", found).body["scaling_group"]

    assert group["spot_strategy"] == "SpotAsPriceGo"
    assert "spot_price_limit" not in group
    assert any("no limit for ecs.c8i.xlarge" in note for note in found.notes)


def test_a_share_of_the_list_price_becomes_a_limit_where_prices_are_known() -> None:
    profile = with_profile(nodes={"max_share_of_list_price": 0.5})
    found = plan(profile=profile, list_prices={"ecs.c7.xlarge": 0.2, "ecs.c8i.xlarge": 0.3})
    group = made("nodepool/burst", found).body["scaling_group"]

    assert [each["price_limit"] for each in group["spot_price_limit"]] == ["0.100", "0.150"]


def test_without_a_key_pair_nodes_have_a_password_and_without_both_there_are_none() -> None:
    with_password = plan(profile=default_profile(), node_password="Abc-12345")
    without = plan(profile=default_profile())

    group = made("nodepool/core", with_password).body["scaling_group"]
    assert (group["login_password"], "key_pair" in group) == ("Abc-12345", False)
    assert without.of("nodepool") == ()
    assert any(
        "cluster.key_pair" in note and "SALEOPS_NODE_PASSWORD" in note for note in without.notes
    )


def test_without_a_domain_there_is_no_edge_and_a_note() -> None:
    found = plan(profile=with_profile())

    assert found.of("edge") == ()
    assert any("`edge.domain` and `edge.origin`" in note for note in found.notes)


def test_the_password_is_in_its_call_and_nowhere_else() -> None:
    found = plan(node_password="Node-pass-1")
    account = one("database/account", found)

    assert account.create(known).params["AccountPassword"] == PASSWORD
    assert PASSWORD not in repr(account) + repr(vars(account)) + repr(found)
    assert "Node-pass-1" not in repr([vars(each) for each in found.resources])


def test_the_password_is_asked_for_only_when_its_call_is_made() -> None:
    def refuse() -> str:
        raise ConfigError("no password")

    found = blueprint(SALE, PROFILE, password=refuse)

    with pytest.raises(ConfigError, match="no password"):
        made("database/account", found)


def test_the_database_has_a_primary_and_its_read_nodes() -> None:
    assert made("database").params == {
        "RegionId": "ap-southeast-1",
        "ZoneId": "ap-southeast-1a",
        "VPCId": "${vpc.id}",
        "VSwitchId": "${vswitch/node/ap-southeast-1a.id}",
        "DBType": "MySQL",
        "DBVersion": "8.0",
        "DBNodeClass": "polar.mysql.x4.large",
        "DBNodeNum": 2,
        "CreationCategory": "Normal",
        "ProxyType": "EXCLUSIVE",
        "PayType": "Postpaid",
        "DBClusterDescription": "midnight-drop-db",
        "Tag": TAG,
    }


@pytest.mark.parametrize("key", ["database/whitelist", "cache/whitelist"])
def test_whitelists_are_appended_to_in_a_list_of_our_own(key: str) -> None:
    params = made(key).params

    assert params["ModifyMode"] == "Append"
    assert "saleopsmidnightdrop" in params.values()
    assert params["SecurityIps"].split(",") == [
        known(f"vswitch/{kind}/{zone}", "cidr") for kind in ("node", "pod") for zone in ZONES
    ]


def test_the_eip_goes_to_the_nat_gateway_and_every_vswitch_has_a_way_out() -> None:
    assert made("eip-link").params["InstanceType"] == "Nat"
    ways = [each.create(known).params for each in plan().resources if each.kind == "SNAT entry"]
    switches = {each.key for each in plan().resources if each.kind == "vSwitch"}

    assert {way["SourceVSwitchId"] for way in ways} == {f"${{{key}.id}}" for key in switches}
    assert {way["SnatIp"] for way in ways} == {"${eip.address}"}


def test_topics_and_groups_are_those_that_the_broker_uses() -> None:
    names = Names("midnight-drop")
    used = {place.name: place.type for topic in TYPES for place in names.places(topic)}
    used[names.settled.name] = names.settled.type
    topics = managed_topics("midnight-drop")

    assert used.items() <= topics.items()
    assert set(managed_groups("midnight-drop")) == {names.group(group) for _, group in READERS}
    assert set(managed_groups("midnight-drop").values()) == topics.keys() - used.keys()


def test_a_group_waits_for_the_topic_of_its_dead_letters() -> None:
    group = one("queue/group/midnight-drop-payment")

    assert "queue/topic/midnight-drop-payment-dlq" in group.needs
    policy = group.create(known).body["consumeRetryPolicy"]
    assert policy["deadLetterTargetTopic"] == "midnight-drop-payment-dlq"


def test_the_longest_sale_name_has_names_that_rocketmq_takes() -> None:
    assert managed_topics("a" * 42)


def test_carts_and_checkouts_are_never_kept_at_the_edge() -> None:
    rules = one("edge/rules").desired(known)["rules"]

    for path in ("/cart", "/checkout", "/orders", "/payments"):
        assert rules[f"path_based_ttl_set {path}"] == "0 s, weight 99"
    assert rules["path_based_ttl_set /products"] == "3600 s, weight 50"
    assert max(int(rule.split()[-1]) for name, rule in rules.items() if "filetype" in name) < 50


def test_a_vpc_that_is_too_small_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="too small") as caught:
        plan(profile=with_profile(network={"vpc_cidr": "10.16.0.0/20"}))

    assert "network.vpc_cidr" in (caught.value.hint or "")


def test_a_sale_without_zones_is_asked_for_them() -> None:
    with pytest.raises(ConfigError, match="no zones of ap-southeast-1"):
        plan(sale=SALE.model_copy(update={"zones": ()}))


def test_another_region_does_not_take_the_sales_zones() -> None:
    with pytest.raises(ConfigError, match="no zones of cn-hangzhou"):
        plan(profile=with_profile().model_copy(update={"region": "cn-hangzhou"}))


@pytest.mark.parametrize(
    ("sale", "profile", "said"),
    [
        (SALE.model_copy(update={"name": "1abc"}), PROFILE, "sale file: name: '1abc'"),
        (SALE, with_profile(database={"name": "mysql"}), "profile: database.name: 'mysql'"),
        (SALE, with_profile(database={"account": "root"}), "profile: database.account: 'root'"),
    ],
    ids=["digit", "schema", "account"],
)
def test_a_name_that_the_cloud_would_refuse_halfway_is_refused_at_once(
    sale: Sale, profile: Profile, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(sale, profile)

    assert said in caught.value.message
