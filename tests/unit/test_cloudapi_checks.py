"""Every bad field of a request is named, on both sides of the wire."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.cloudapi import api_of, apis_of, products
from saleops.cloudapi.checks import MOST_PROBLEMS, problems, received

ARTICLE = Path(__file__).parents[2].parent / "shared" / "article"

# The facts of the article's request bodies, for where the folder is not at hand.
ARTICLE_CLUSTER: dict[str, Any] = {
    "name": "prod-ecommerce-ack",
    "cluster_type": "ManagedKubernetes",
    "profile": "Pro",
    "vpcid": "vpc-12345",
    "vswitch_ids": ["vsw-1a", "vsw-1b", "vsw-1c"],
    "worker_instance_types": ["ecs.c8i.2xlarge"],
    "num_of_nodes": 3,
    "snat_entry": True,
    "container_cidr": "172.16.0.0/16",
    "service_cidr": "172.19.0.0/20",
}
ARTICLE_POOL: dict[str, Any] = {
    "nodepool_info": {"name": "spot-pool-api"},
    "scaling_group": {
        "instance_types": ["ecs.c7.xlarge", "ecs.c8i.xlarge", "ecs.g7.xlarge"],
        "multi_az_policy": "COST_OPTIMIZED",
        "spot_strategy": "SpotWithPriceLimit",
    },
}

CLUSTER: dict[str, Any] = {
    "name": "sale",
    "region_id": "ap-southeast-1",
    "cluster_type": "ManagedKubernetes",
    "profile": "Default",
    "cluster_spec": "ack.pro.small",
    "vpcid": "vpc-1",
    "vswitch_ids": ["vsw-1"],
    "pod_vswitch_ids": ["vsw-2"],
    "addons": [{"name": "terway-eniip", "config": ""}],
    "service_cidr": "172.19.0.0/20",
    "client_token": "token",
}
GROUP: dict[str, Any] = {
    "desired_size": 20,
    "instance_charge_type": "PostPaid",
    "vswitch_ids": ["vsw-a", "vsw-b", "vsw-c"],
    "instance_types": ["ecs.c7.xlarge", "ecs.c8i.xlarge"],
    "multi_az_policy": "COST_OPTIMIZED",
    "spot_strategy": "SpotAsPriceGo",
    "on_demand_base_capacity": 0,
    "on_demand_percentage_above_base_capacity": 30,
    "spot_instance_pools": 3,
    "spot_instance_remedy": True,
    "compensate_with_on_demand": True,
    "key_pair": "sale",
}


def pool(**group: Any) -> dict[str, Any]:
    """The documented 70/30 pool, with some fields of its scaling group replaced; None takes one out."""
    fields = {name: value for name, value in {**GROUP, **group}.items() if value is not None}
    return {"nodepool_info": {"name": "p", "type": "ess"}, "scaling_group": fields}


def of_cluster(body: Any) -> dict[str, str]:
    return {
        problem.where: problem.code
        for problem in problems(api_of("cs", "CreateCluster"), body=body)
    }


def of_pool(body: Any) -> dict[str, str]:
    api = api_of("cs", "CreateClusterNodePool")
    return {
        problem.where: problem.code for problem in problems(api, path={"ClusterId": "c"}, body=body)
    }


def of(product: str, name: str, **params: Any) -> dict[str, str]:
    found = problems(api_of(product, name), params={"RegionId": "r", **params})
    return {problem.where: problem.code for problem in found}


def article(name: str, otherwise: dict[str, Any]) -> dict[str, Any]:
    file = ARTICLE / name
    if not file.is_file():
        return otherwise
    body = json.loads(file.read_text(encoding="utf-8"))
    assert body == otherwise
    return otherwise


def test_the_articles_cluster_is_refused_field_by_field() -> None:
    assert of_cluster(article("ack-cluster.json", ARTICLE_CLUSTER)) == {
        "profile": "value",
        "cluster_spec": "missing",
        "region_id": "missing",
        "addons": "missing",
        "container_cidr": "value",
        "worker_instance_types": "value",
        "num_of_nodes": "value",
    }


def test_the_articles_node_pool_is_refused_field_by_field() -> None:
    assert of_pool(article("ack-nodepool.json", ARTICLE_POOL)) == {
        "scaling_group.vswitch_ids": "missing",
        "scaling_group.instance_charge_type": "missing",
        "scaling_group.key_pair": "missing",
        "scaling_group.desired_size": "missing",
        "scaling_group.spot_price_limit": "missing",
        "scaling_group.on_demand_percentage_above_base_capacity": "missing",
    }


def test_right_bodies_pass() -> None:
    flannel = {
        **CLUSTER,
        "pod_vswitch_ids": None,
        "addons": [{"name": "flannel"}],
        "container_cidr": "10.4.0.0/16",
        "node_cidr_mask": "26",
    }

    assert of_cluster(CLUSTER) == {}
    assert of_cluster(flannel) == {}
    assert of_cluster({**CLUSTER, "snat_entry": True}) == {}, "costs money, but is no mistake"
    assert of_pool(pool()) == {}
    assert of_cluster({**CLUSTER, "cluster_spec": ""}) == {}, "the default, Basic"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"vswitch_ids": None}, {"vswitch_ids": "missing"}),
        ({"vpcid": None}, {"vpcid": "missing"}),
        ({"pod_vswitch_ids": None}, {"pod_vswitch_ids": "missing"}),
        ({"pod_vswitch_ids": []}, {"pod_vswitch_ids": "missing"}),
        ({"addons": []}, {"addons": "missing", "pod_vswitch_ids": "value"}),
        ({"addons": "terway"}, {"addons": "type", "pod_vswitch_ids": "value"}),
        (
            {"addons": [{"name": "terway-eniip"}, {"name": "flannel"}]},
            {"addons": "value", "container_cidr": "missing"},
        ),
        ({"container_cidr": "10.0.0.0/16"}, {"container_cidr": "value"}),
        ({"node_cidr_mask": "26"}, {"node_cidr_mask": "value"}),
        ({"service_cidr": "172.19.0.1/20"}, {"service_cidr": "value"}),
        ({"service_cidr": "somewhere"}, {"service_cidr": "value"}),
        ({"profile": "pro"}, {"profile": "value"}),
        ({"cluster_spec": "ack.pro.tiny"}, {"cluster_spec": "value"}),
        ({"key_pair": "sale"}, {"key_pair": "value"}),
        ({"num_of_nodes": 0}, {"num_of_nodes": "value"}),
        ({"deletion_protection": "true"}, {"deletion_protection": "type"}),
        ({"client_token": "t" * 65}, {"client_token": "range"}),
        ({"client_token": "für"}, {"client_token": "range"}),
        ({"name": ""}, {"name": "missing"}),
        ({"vpc_id": "v"}, {"vpc_id": "unknown"}),
        (
            {"nodepools": [pool(key_pair=None) | {"auto_mode": None}]},
            {"nodepools[0].scaling_group.key_pair": "missing"},
        ),
    ],
)
def test_a_wrong_field_of_a_cluster_is_named_alone(
    change: dict[str, Any], expected: dict[str, str]
) -> None:
    found = of_cluster({**CLUSTER, **change})

    assert found == expected


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({"spot_strategy": "SpotWithPriceLimit"}, {"spot_price_limit": "missing"}),
        (
            {"spot_price_limit": [{"instance_type": "ecs.c7.xlarge", "price_limit": "0.1"}]},
            {"spot_price_limit": "value"},
        ),
        ({"instance_types": [f"ecs.t{n}" for n in range(11)]}, {"instance_types": "range"}),
        ({"vswitch_ids": [f"vsw-{n}" for n in range(9)]}, {"vswitch_ids": "range"}),
        ({"vswitch_ids": []}, {"vswitch_ids": "range"}),
        (
            {"on_demand_percentage_above_base_capacity": 101},
            {"on_demand_percentage_above_base_capacity": "range"},
        ),
        (
            {"on_demand_percentage_above_base_capacity": True},
            {"on_demand_percentage_above_base_capacity": "type"},
        ),
        ({"on_demand_base_capacity": 1001}, {"on_demand_base_capacity": "range"}),
        ({"spot_instance_pools": 0}, {"spot_instance_pools": "range"}),
        ({"desired_size": None}, {"desired_size": "missing"}),
        ({"desired_size": -1}, {"desired_size": "range"}),
        ({"desired_size": 2.0}, {"desired_size": "type"}),
        ({"key_pair": None}, {"key_pair": "missing"}),
        ({"login_password": "Secret-123"}, {"login_password": "value"}),
        (
            {"key_pair": None, "login_password": "Secret-123", "image_type": "ContainerOS"},
            {"login_password": "value"},
        ),
        ({"multi_az_policy": "BALANCE"}, {"compensate_with_on_demand": "value"}),
        ({"multi_az_policy": None}, {"compensate_with_on_demand": "value"}),
        ({"instance_charge_type": "Postpaid"}, {"instance_charge_type": "value"}),
        ({"instance_charge_type": "PrePaid", "period": 1}, {"instance_charge_type": "value"}),
        ({"instance_charge_type": "PrePaid", "spot_strategy": "NoSpot"}, {"period": "missing"}),
    ],
)
def test_a_wrong_field_of_a_pool_is_named_alone(
    group: dict[str, Any], expected: dict[str, str]
) -> None:
    found = of_pool(pool(**group))

    assert found == {f"scaling_group.{name}": code for name, code in expected.items()}


def test_price_limits_are_one_a_type_and_true_amounts() -> None:
    def limits(*entries: tuple[Any, Any]) -> dict[str, str]:
        listed = [{"instance_type": name, "price_limit": limit} for name, limit in entries]
        found = of_pool(pool(spot_strategy="SpotWithPriceLimit", spot_price_limit=listed))
        return {
            where.removeprefix("scaling_group.spot_price_limit"): code
            for where, code in found.items()
        }

    first, second = GROUP["instance_types"]
    assert limits((first, "0.12"), (second, "0.125")) == {}
    assert limits((first, "0.12")) == {"": "missing"}
    assert limits((first, "0.12"), (second, "0.1255")) == {"[1].price_limit": "value"}
    assert limits((first, "0.12"), (second, 0.12)) == {"[1].price_limit": "type"}
    assert limits((first, "0"), (second, "-1")) == {
        "[0].price_limit": "value",
        "[1].price_limit": "value",
    }
    assert limits((first, "NaN"), (second, "cheap")) == {
        "[0].price_limit": "value",
        "[1].price_limit": "value",
    }
    assert limits((first, "1"), (second, "1"), (first, "2")) == {"[2].instance_type": "value"}
    assert limits((first, "1"), (second, "1"), ("ecs.x", "2")) == {"[2].instance_type": "value"}
    assert limits((first, "1"), (second, None)) == {"[1].price_limit": "missing"}


def test_an_elastic_pool_needs_its_bounds_in_order() -> None:
    body = pool(desired_size=None)

    assert (
        of_pool({**body, "auto_scaling": {"enable": True, "min_instances": 1, "max_instances": 9}})
        == {}
    )
    assert of_pool({**body, "auto_scaling": {"enable": True}}) == {
        "auto_scaling.min_instances": "missing",
        "auto_scaling.max_instances": "missing",
    }
    assert of_pool(
        {**body, "auto_scaling": {"enable": True, "min_instances": 9, "max_instances": 1}}
    ) == {"auto_scaling.min_instances": "range"}
    assert of_pool({**body, "auto_scaling": {"enable": False}}) == {
        "scaling_group.desired_size": "missing"
    }


def test_a_pool_without_its_parts_is_told_so() -> None:
    assert of_pool(None) == {"nodepool_info": "missing", "scaling_group": "missing"}
    assert of_pool({"nodepool_info": {}}) == {
        "nodepool_info.name": "missing",
        "scaling_group": "missing",
    }


def test_a_partial_change_of_a_pool_is_held_to_what_it_says() -> None:
    api = api_of("cs", "ModifyClusterNodePool")
    path = {"ClusterId": "c", "NodepoolId": "n"}

    def of_change(**body: Any) -> list[str]:
        return [problem.where for problem in problems(api, path=path, body=body)]

    assert of_change(scaling_group={"desired_size": 9}) == []
    assert of_change(scaling_group={"compensate_with_on_demand": True}) == []
    assert of_change(auto_scaling={"min_instances": 9, "max_instances": 1}) == [
        "auto_scaling.min_instances"
    ]
    assert of_change(
        scaling_group={"compensate_with_on_demand": True, "multi_az_policy": "BALANCE"}
    ) == ["scaling_group.compensate_with_on_demand"]


@pytest.mark.parametrize(
    ("product", "name", "params", "expected"),
    [
        ("vpc", "CreateVpc", {"CidrBlock": "10.0.0.0/8"}, {}),
        ("vpc", "CreateVpc", {"CidrBlock": "10.0.0.0/29"}, {"CidrBlock": "value"}),
        ("vpc", "CreateVpc", {"CidrBlock": "100.64.0.0/16"}, {"CidrBlock": "value"}),
        ("vpc", "CreateVpc", {"ClientToken": "t" * 65}, {"ClientToken": "range"}),
        (
            "vpc",
            "CreateVSwitch",
            {"VpcId": "v", "ZoneId": "z", "CidrBlock": "10.0.0.0/15"},
            {"CidrBlock": "value"},
        ),
        (
            "vpc",
            "CreateNatGateway",
            {"VpcId": "v", "NatType": "Normal", "InternetChargeType": "PayBySpec"},
            {"NatType": "value", "InternetChargeType": "value", "VSwitchId": "missing"},
        ),
        (
            "vpc",
            "AllocateEipAddress",
            {"Bandwidth": "200", "InternetChargeType": "PayByTraffic"},
            {},
        ),
        (
            "vpc",
            "AllocateEipAddress",
            {"Bandwidth": "201", "InternetChargeType": "PayByTraffic"},
            {"Bandwidth": "range"},
        ),
        ("vpc", "AllocateEipAddress", {"Bandwidth": "501"}, {"Bandwidth": "range"}),
        ("vpc", "AllocateEipAddress", {"Bandwidth": "fast"}, {"Bandwidth": "range"}),
        ("vpc", "AllocateEipAddress", {"Bandwidth": 100}, {"Bandwidth": "type"}),
        (
            "vpc",
            "CreateSnatEntry",
            {"SnatTableId": "s", "SnatIp": "1.2.3.4"},
            {"SourceVSwitchId": "missing"},
        ),
        (
            "vpc",
            "CreateSnatEntry",
            {"SnatTableId": "s", "SnatIp": "1.2.3.4", "SourceVSwitchId": "v", "SourceCIDR": "c"},
            {"SourceCIDR": "value"},
        ),
        (
            "polardb",
            "CreateDBCluster",
            {
                "DBType": "MySQL",
                "DBVersion": "8.0",
                "PayType": "PostPaid",
                "DBNodeClass": "x",
                "VPCId": "v",
                "DBNodeNum": 17,
            },
            {"PayType": "value", "VSwitchId": "missing", "DBNodeNum": "range"},
        ),
        (
            "polardb",
            "CreateDBCluster",
            {
                "DBType": "MySQL",
                "DBVersion": "8.0",
                "PayType": "Prepaid",
                "DBNodeClass": "x",
                "CreationCategory": "SENormal",
                "DBNodeNum": 9,
            },
            {"Period": "missing", "UsedTime": "missing", "DBNodeNum": "range"},
        ),
        (
            "polardb",
            "DescribeDBClusterPerformance",
            {"DBClusterId": "p", "Key": "a,b,c,d,e,f", "StartTime": "s", "EndTime": "e"},
            {"Key": "range"},
        ),
        (
            "r-kvstore",
            "CreateTairInstance",
            {
                "VpcId": "v",
                "VSwitchId": "s",
                "InstanceType": "tair_essd",
                "InstanceClass": "c",
                "ShardCount": 2,
            },
            {"Period": "missing", "ShardCount": "value"},
        ),
        (
            "dcdn",
            "PreloadDcdnObjectCaches",
            {"ObjectPath": "\n".join(f"https://a/{n}" for n in range(101))},
            {"ObjectPath": "range"},
        ),
        (
            "dcdn",
            "PreloadDcdnObjectCaches",
            {"ObjectPath": "\r\n".join(f"https://a/{n}" for n in range(100))},
            {},
        ),
        (
            "dcdn",
            "RefreshDcdnObjectCaches",
            {
                "ObjectType": "Directory",
                "ObjectPath": "\n".join(f"https://a/{n}/" for n in range(101)),
            },
            {"ObjectPath": "range"},
        ),
        (
            "dcdn",
            "DescribeDcdnRefreshTaskById",
            {"TaskId": "1,2,3,4,5,6,7,8,9,10,11"},
            {"TaskId": "range"},
        ),
        (
            "ecs",
            "DescribeSpotAdvice",
            {"InstanceTypes": [f"t{n}" for n in range(11)]},
            {"InstanceTypes": "range"},
        ),
    ],
)
def test_wrong_parameters_are_named_all_at_once(
    product: str, name: str, params: dict[str, Any], expected: dict[str, str]
) -> None:
    assert of(product, name, **params) == expected


def test_rocketmq_bodies_are_held_to_the_series() -> None:
    body: dict[str, Any] = {
        "serviceCode": "rmq",
        "seriesCode": "ultimate",
        "subSeriesCode": "serverless",
        "paymentType": "Subscription",
        "networkInfo": {
            "vpcInfo": {"vpcId": "v", "vSwitches": [{"vSwitchId": "s"}]},
            "internetInfo": {"internetSpec": "disable", "flowOutType": "payByBandwidth"},
        },
    }

    found = {
        problem.where: problem.code
        for problem in problems(api_of("rocketmq", "CreateInstance"), body=body)
    }

    assert found == {
        "subSeriesCode": "value",
        "period": "missing",
        "periodUnit": "missing",
        "networkInfo.vpcInfo.vSwitches": "missing",
        "networkInfo.internetInfo.flowOutType": "value",
    }
    group = problems(
        api_of("rocketmq", "CreateConsumerGroup"),
        path={"instanceId": "i", "consumerGroupId": "g"},
        body={
            "consumeRetryPolicy": {"retryPolicy": "FixedRetryPolicy"},
            "deliveryOrderType": "Concurrently",
        },
    )
    assert [problem.where for problem in group] == ["consumeRetryPolicy.retryPolicy"]


def test_a_near_name_is_offered() -> None:
    found = problems(
        api_of("vpc", "CreateVpc"),
        params={"RegionId": "r", "VpcNam": "a", "cidr_block": "b", "zzz": "c"},
    )

    assert {problem.where: problem.message for problem in found} == {
        "VpcNam": "there is no such field; did you mean VpcName?",
        "cidr_block": "there is no such field; did you mean CidrBlock?",
        "zzz": "there is no such field",
    }


def test_path_values_are_there_and_known() -> None:
    api = api_of("cs", "ModifyClusterNodePool")

    found = problems(api, path={"ClusterId": "", "PoolId": "n"}, body={})

    assert {problem.where: problem.code for problem in found} == {
        "path.ClusterId": "missing",
        "path.NodepoolId": "missing",
        "path.PoolId": "unknown",
    }


def test_a_body_where_none_belongs_and_a_list_where_an_object_does() -> None:
    assert [
        p.where
        for p in problems(api_of("vpc", "DescribeVpcs"), params={"RegionId": "r"}, body={"a": 1})
    ] == ["body"]
    assert of_cluster([CLUSTER]) == {"body": "type"}
    install = api_of("cs", "InstallClusterAddons")
    assert [
        p.where
        for p in problems(install, path={"ClusterId": "c"}, body=[{"name": "a"}, 5, {"nam": "b"}])
    ] == ["body[0].version", "body[1]", "body[2].name", "body[2].version", "body[2].nam"]


def test_wire_strings_pass_where_they_are_asked_for() -> None:
    api = api_of("polardb", "CreateDBNodes")
    params = {"DBClusterId": "pc-1", "DBNode": [{"TargetClass": "x"}], "ImciSwitch": "ON"}

    assert problems(api, params=params) == problems(api, params=params, wire=True) == []
    create = api_of("vpc", "CreateVpc")
    strings = {"RegionId": "r", "DryRun": "True", "Ipv4CidrMask": "16"}
    assert problems(create, params=strings, wire=True) == []
    assert [p.where for p in problems(create, params=strings)] == ["DryRun", "Ipv4CidrMask"]
    assert [
        p.code
        for p in problems(create, params={"RegionId": "r", "Ipv4CidrMask": "9" * 30}, wire=True)
    ] == ["range"]


def test_a_request_on_the_wire_is_typed_and_checked_in_one_step() -> None:
    flat = {
        "Action": "CreateVpc",
        "RegionId": "r",
        "DryRun": "True",
        "Ipv4CidrMask": "many",
        "Tag.2.Key": "a",
        "Tag.2.Colour": "red",
    }

    params, found = received(api_of("vpc", "CreateVpc"), flat)

    assert params["DryRun"] is True
    assert {problem.where: problem.code for problem in found} == {
        "Tag.1": "missing",
        "Ipv4CidrMask": "type",
        "Tag[0].Colour": "unknown",
    }


def test_a_secret_is_never_in_a_message() -> None:
    secret = "Hunter2-Hunter2"
    bodies: list[Any] = [
        pool(login_password=[secret]),
        pool(login_password=secret),
        {"login_password": secret},
    ]

    for body in bodies:
        for name in ("CreateCluster", "CreateClusterNodePool"):
            for problem in problems(api_of("cs", name), body=body, path={"ClusterId": "c"}):
                assert secret not in str(problem)


def test_a_body_that_is_all_mistakes_is_cut_short() -> None:
    body = {**CLUSTER, **{f"field_{n}" * 20: n for n in range(5000)}}

    found = problems(api_of("cs", "CreateCluster"), body=body)

    assert len(found) == MOST_PROBLEMS
    assert max(len(str(problem)) for problem in found) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def bent(draw: st.DrawFn) -> dict[str, Any]:
    """A right body with a few of its fields, at any depth, replaced by any JSON."""
    body: dict[str, Any] = {**CLUSTER, **json.loads(json.dumps(pool())), "nodepools": [pool()]}
    for _ in range(draw(st.integers(1, 4))):
        holder: Any = body
        for _ in range(draw(st.integers(0, 2))):
            inner = [value for value in holder.values() if isinstance(value, dict) and value]
            holder = draw(st.sampled_from(inner)) if inner else holder
        holder[draw(st.sampled_from(sorted(holder)))] = draw(JSON)
    return body


@given(bent() | JSON)
def test_no_body_breaks_the_check(body: Any) -> None:
    for name in ("CreateCluster", "CreateClusterNodePool", "ModifyClusterNodePool"):
        for problem in problems(api_of("cs", name), body=body, path={}):
            assert problem.where


def test_every_api_can_be_asked_for_nothing_and_names_what_it_needs() -> None:
    for product in products():
        for api in apis_of(product.code):
            found = {problem.where for problem in problems(api)}
            assert {name for name, field in api.params.items() if field.required} <= found
