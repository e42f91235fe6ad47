"""ACK request bodies: each mistake once, at the field that shows it; what provision sends is clean."""

import json
from typing import Any

import pytest

from lint_lab import TODAY, ids, lint_text
from saleops.operations.lint.fixing import plan_fixes
from saleops.operations.lint.linting import lint
from saleops.operations.lint.reading import Texts

CLUSTER: dict[str, Any] = {
    "name": "shop",
    "region_id": "ap-southeast-1",
    "cluster_type": "ManagedKubernetes",
    "profile": "Default",
    "cluster_spec": "ack.pro.small",
    "vpcid": "vpc-1",
    "vswitch_ids": ["vsw-a", "vsw-b"],
    "pod_vswitch_ids": ["vsw-c", "vsw-d"],
    "service_cidr": "172.19.0.0/20",
    "addons": [{"name": "terway-eniip"}],
}
POOL: dict[str, Any] = {
    "nodepool_info": {"name": "burst"},
    "auto_scaling": {"enable": True, "min_instances": 3, "max_instances": 60},
    "scaling_group": {
        "instance_types": ["ecs.c7.xlarge", "ecs.g7.xlarge", "ecs.c8i.xlarge"],
        "vswitch_ids": ["vsw-a", "vsw-b"],
        "multi_az_policy": "COST_OPTIMIZED",
        "instance_charge_type": "PostPaid",
        "key_pair": "ops",
        "on_demand_base_capacity": 3,
        "on_demand_percentage_above_base_capacity": 30,
        "spot_strategy": "SpotWithPriceLimit",
        "spot_price_limit": [
            {"instance_type": one, "price_limit": "0.25"}
            for one in ("ecs.c7.xlarge", "ecs.g7.xlarge", "ecs.c8i.xlarge")
        ],
    },
}


def found(body: Any, name: str = "x.json") -> list[tuple[str, int]]:
    text = json.dumps(body, indent=1)
    return [(one.id, one.line) for one in lint_text(text, name=name) if one.id.startswith("ACK")]


def line_of(body: Any, word: str) -> int:
    lines = json.dumps(body, indent=1).splitlines()
    return next(number for number, line in enumerate(lines, 1) if word in line)


@pytest.mark.parametrize(
    "body", [CLUSTER, POOL, {**CLUSTER, "nodepools": [POOL]}, {"body": CLUSTER}]
)
def test_a_right_body_is_clean(body: Any) -> None:
    assert found(body) == []


@pytest.mark.parametrize(
    ("change", "id", "word"),
    [
        ({"profile": "Pro"}, "ACK001", "profile"),
        ({"profile": "Pro", "cluster_spec": None}, "ACK001", "profile"),
        ({"addons": [{"name": "flannel"}]}, "ACK002", "addons"),
        ({"container_cidr": "172.16.0.0/16"}, "ACK002", "container_cidr"),
        ({"addons": None, "container_cidr": "172.16.0.0/16"}, "ACK002", "container_cidr"),
        ({"pod_vswitch_ids": []}, "ACK002", "addons"),
        ({"num_of_nodes": 3, "worker_instance_types": ["ecs.c7.large"]}, "ACK003", "num_of_nodes"),
        ({"region_id": None}, "ACK004", "region_id"),
        ({"vpcid": None}, "ACK006", "vswitch_ids"),
        ({"service_cidr": "172.19"}, "ACK008", "service_cidr"),
        ({"serviceCidr": "172.19.0.0/20"}, "ACK008", "serviceCidr"),
        ({"timeout_mins": "soon"}, "ACK008", "timeout_mins"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else None,
)
def test_a_clusters_mistake_is_said_once(change: dict[str, Any], id: str, word: str) -> None:
    body = {**CLUSTER, **change}

    assert found(body) == [(id, line_of(body, f'"{word}"'))]


@pytest.mark.parametrize(
    ("change", "id", "word"),
    [
        ({"vswitch_ids": None}, "ACK006", "vswitch_ids"),
        (
            {"spot_price_limit": [{"instance_type": "ecs.c7.xlarge", "price_limit": "1"}]},
            "ACK005",
            "spot_price_limit",
        ),
        ({"key_pair": None}, "ACK008", "key_pair"),
        ({"instance_charge_type": "Spot"}, "ACK008", "instance_charge_type"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else None,
)
def test_a_pools_mistake_is_said_once(change: dict[str, Any], id: str, word: str) -> None:
    body = {**POOL, "scaling_group": {**POOL["scaling_group"], **change}}

    assert found(body) == [(id, line_of(body, f'"{word}"'))]


@pytest.mark.parametrize("indent", [1, 4, None])
def test_a_profile_called_pro_is_mended_and_stays_json(indent: int | None) -> None:
    body = {key: value for key, value in CLUSTER.items() if key != "cluster_spec"}
    text = json.dumps({**body, "profile": "Pro"}, indent=indent)

    plan = plan_fixes(Texts({"x.json": text}), lambda some: lint(some, today=TODAY).findings)
    (fix,) = plan.fixes

    assert json.loads(fix.after) == CLUSTER
    assert (fix.after.count("\n") > text.count("\n")) is bool(indent)


def test_a_pool_without_a_size_is_said_once() -> None:
    body = {key: value for key, value in POOL.items() if key != "auto_scaling"}

    assert found(body) == [("ACK007", line_of(body, '"scaling_group"'))]


def test_pools_inside_of_a_cluster_are_looked_at_each() -> None:
    broken = {**POOL, "scaling_group": {**POOL["scaling_group"], "vswitch_ids": None}}
    body = {**CLUSTER, "nodepools": [POOL, broken, broken]}

    assert [id for id, _ in found(body)] == ["ACK006", "ACK006"]


@pytest.mark.parametrize(
    "body",
    [{"name": "x"}, [], 1, {"scaling_group": 1}, {"profile": "Pro"}, {"spec": {"cluster_type": 1}}],
)
def test_what_is_no_body_of_ack_is_left_alone(body: Any) -> None:
    assert found(body) == []


def test_bodies_in_a_list_of_calls_are_looked_at_each() -> None:
    broken = {**CLUSTER, "region_id": None}

    assert [id for id, _ in found([CLUSTER, {"body": broken}, broken])] == ["ACK004", "ACK004"]


def test_a_body_in_yaml_is_looked_at_too() -> None:
    text = "cluster_type: ManagedKubernetes\nprofile: Pro\n"

    assert "ACK001" in ids(lint_text(text))
