"""The request bodies of the article that started the project, sent as they are: the local cloud names every bad field."""

import json
from pathlib import Path
from typing import Any

import pytest

from local_cloud import CloudRefusal, local_cloud

ARTICLE = Path(__file__).parents[2].parent / "shared" / "article"

if not ARTICLE.is_dir():
    pytest.skip(f"{ARTICLE} is not here: the article's bodies", allow_module_level=True)


def body(name: str) -> Any:
    return json.loads((ARTICLE / name).read_text())


def test_its_cluster_is_refused_field_by_field() -> None:
    with pytest.raises(CloudRefusal) as refused:
        local_cloud().call("cs", "CreateCluster", body=body("ack-cluster.json"))

    assert refused.value.status == 400
    for field in (
        "profile: 'Pro'",
        "region_id",
        "cluster_spec",
        "addons",
        "container_cidr",
        "num_of_nodes",
        "worker_instance_types",
    ):
        assert field in refused.value.message, field


def test_its_spot_pool_is_refused_field_by_field() -> None:
    with pytest.raises(CloudRefusal) as refused:
        local_cloud().call(
            "cs",
            "CreateClusterNodePool",
            path={"ClusterId": "c0"},
            body=body("ack-nodepool.json"),
        )

    assert refused.value.status == 400
    for field in (
        "instance_charge_type",
        "vswitch_ids",
        "desired_size",
        "key_pair",
        "spot_price_limit",
        "on_demand_percentage_above_base_capacity",
    ):
        assert f"scaling_group.{field}" in refused.value.message, field
