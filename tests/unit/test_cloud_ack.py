"""Container Service in the local cloud: clusters, node pools, the spot split, reclaim."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from cloud_answers import shape_problems
from saleops.cloudapi import api_of
from saleops.services.cloud.answers import ANSWERERS, ApiError, LocalCall
from saleops.services.cloud.products import cs_addons, load_product
from saleops.services.cloud.products.cs_purchase import on_demand_count
from saleops.services.cloud.products.cs_spot import reclaim
from saleops.services.cloud.world import World

REGION = "ap-southeast-1"
TYPES = ["ecs.c7.xlarge", "ecs.c8i.xlarge", "ecs.g7.xlarge"]
START_MS = 1_762_700_000_000


@dataclass
class HandClock:
    at_ms: int = START_MS

    def now_ms(self) -> int:
        return self.at_ms

    def go(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1000)


class Cloud:
    """A world with a network, and ACK's answerers."""

    def __init__(self) -> None:
        load_product("cs")
        self.clock = HandClock()
        self.world = World(self.clock)
        self.world.create(
            "vpc", "vpc-1", {"VpcId": "vpc-1", "RegionId": REGION, "CidrBlock": "10.0.0.0/16"}
        )
        for number, zone in enumerate("abc"):
            for prefix, third in (("node", number), ("pod", 64 + 16 * number)):
                id = f"vsw-{prefix}-{zone}"
                mask = 24 if prefix == "node" else 20
                self.world.create(
                    "vswitch",
                    id,
                    {
                        "VSwitchId": id,
                        "VpcId": "vpc-1",
                        "ZoneId": f"{REGION}{zone}",
                        "RegionId": REGION,
                        "CidrBlock": f"10.0.{third}.0/{mask}",
                    },
                )

    def call(self, name: str, body: Any = None, params: Any = None, **path: str) -> Any:
        api = api_of("cs", name)
        call = LocalCall(api, REGION, params or {}, path, body, "req-1", "acc")
        answer = ANSWERERS["cs", name](call, self.world)
        for one in answer if isinstance(answer, list) else [answer]:
            assert not shape_problems("cs", name, one)
        return answer

    def cluster(self, **more: Any) -> str:
        id: str = self.call("CreateCluster", cluster_body(**more))["cluster_id"]
        self.clock.go(900)
        return id

    def pool(self, cluster: str, **group: Any) -> str:
        id: str = self.call("CreateClusterNodePool", pool_body(**group), ClusterId=cluster)[
            "nodepool_id"
        ]
        return id

    def detail(self, cluster: str, pool: str) -> Any:
        return self.call("DescribeClusterNodePoolDetail", ClusterId=cluster, NodepoolId=pool)

    def nodes(self, cluster: str) -> list[Any]:
        answer = self.call("DescribeClusterNodes", params={"pageSize": "100"}, ClusterId=cluster)
        return list(answer["nodes"])

    def activities(self) -> list[Any]:
        return [thing.data for thing in self.world.each("scaling_activity")]


def cluster_body(**more: Any) -> dict[str, Any]:
    return {
        "name": "sale",
        "region_id": REGION,
        "cluster_type": "ManagedKubernetes",
        "cluster_spec": "ack.pro.small",
        "vpcid": "vpc-1",
        "vswitch_ids": ["vsw-node-a", "vsw-node-b", "vsw-node-c"],
        "pod_vswitch_ids": ["vsw-pod-a", "vsw-pod-b", "vsw-pod-c"],
        "addons": [{"name": "terway-eniip", "config": ""}],
        **more,
    }


def pool_body(**group: Any) -> dict[str, Any]:
    return {
        "nodepool_info": {"name": "burst", "type": "ess"},
        "auto_scaling": {"enable": False},
        "scaling_group": {
            "vswitch_ids": ["vsw-node-a", "vsw-node-b", "vsw-node-c"],
            "instance_types": TYPES,
            "instance_charge_type": "PostPaid",
            "desired_size": 0,
            **group,
        },
    }


SPOT = {
    "spot_strategy": "SpotAsPriceGo",
    "multi_az_policy": "COST_OPTIMIZED",
    "on_demand_percentage_above_base_capacity": 30,
    "spot_instance_pools": 3,
}


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_a_cluster_is_initial_until_its_task_succeeds(cloud: Cloud) -> None:
    made = cloud.call("CreateCluster", cluster_body())
    id = made["cluster_id"]
    assert cloud.call("DescribeClusterDetail", ClusterId=id)["state"] == "initial"
    assert cloud.call("DescribeTaskInfo", task_id=made["task_id"])["state"] == "running"
    assert cloud.call("DescribeClustersV1")["clusters"] == []
    cloud.clock.go(900)
    assert cloud.call("DescribeClusterDetail", ClusterId=id)["state"] == "running"
    assert cloud.call("DescribeTaskInfo", task_id=made["task_id"])["state"] == "success"
    assert [each["cluster_id"] for each in cloud.call("DescribeClustersV1")["clusters"]] == [id]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"region_id": "mars-1"}, "region_id 'mars-1'"),
        ({"vpcid": "vpc-9"}, "vpcid 'vpc-9'"),
        ({"vswitch_ids": ["vsw-9"]}, "vswitch_ids[0] 'vsw-9'"),
        ({"pod_vswitch_ids": ["vsw-pod-a"]}, "vswitch_ids[1] 'vsw-node-b'"),
        ({"service_cidr": "10.0.0.0/20"}, "service_cidr '10.0.0.0/20'"),
        ({"addons": []}, "network add-on"),
        ({"container_cidr": "172.20.0.0/16"}, "container_cidr '172.20.0.0/16'"),
        ({"kubernetes_version": "1.2"}, "kubernetes_version '1.2'"),
        (
            {"nodepools": [pool_body(instance_types=["ecs.none"])]},
            "nodepools[0].scaling_group.instance_types[0]",
        ),
    ],
    ids=["region", "vpc", "vswitch", "pod-zone", "service", "addons", "flannel", "version", "pool"],
)
def test_a_cluster_that_cannot_be_is_refused_and_leaves_nothing(
    cloud: Cloud, more: dict[str, Any], named: str
) -> None:
    with pytest.raises(ApiError) as refused:
        cloud.call("CreateCluster", cluster_body(**more))
    assert named in refused.value.message
    assert not list(cloud.world.each("cluster"))
    assert not list(cloud.world.each("nodepool"))


def test_deletion_protection_keeps_a_cluster_until_it_is_lifted(cloud: Cloud) -> None:
    id = cloud.cluster(deletion_protection=True, nodepools=[pool_body(desired_size=2)])
    with pytest.raises(ApiError, match="deletion_protection"):
        cloud.call("DeleteCluster", ClusterId=id)
    cloud.call("ModifyCluster", {"deletion_protection": False}, ClusterId=id)
    cloud.call("DeleteCluster", ClusterId=id)
    assert cloud.call("DescribeClusterDetail", ClusterId=id)["state"] == "deleting"
    cloud.clock.go(300)
    with pytest.raises(ApiError, match="ErrorClusterNotFound"):
        cloud.call("DescribeClusterDetail", ClusterId=id)
    for kind in (
        "cluster",
        "nodepool",
        "node",
        "instance",
        "scaling_group",
        "security_group",
        "addon",
    ):
        assert not list(cloud.world.each(kind)), kind


@pytest.mark.parametrize("base", [0, 3, 6])
@pytest.mark.parametrize("percentage", [0, 30, 50, 100])
def test_the_split_holds_at_every_size(base: int, percentage: int) -> None:
    group = {
        "spot_strategy": "SpotAsPriceGo",
        "on_demand_base_capacity": base,
        "on_demand_percentage_above_base_capacity": percentage,
    }
    counts = [on_demand_count(total, group) for total in range(501)]
    for total, count in enumerate(counts):
        above = max(0, total - base)
        assert count == min(base, total) + math.ceil(above * percentage / 100)
    assert all(0 <= after - before <= 1 for before, after in pairwise(counts))


@pytest.mark.parametrize("sizes", [[20], [7, 20, 33], [40, 20, 5, 0]], ids=["once", "up", "down"])
def test_a_pool_has_thirty_percent_on_demand_however_it_got_its_size(
    cloud: Cloud, sizes: list[int]
) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, **SPOT)
    for size in sizes:
        cloud.clock.go(10)
        cloud.call(
            "ModifyClusterNodePool",
            {"scaling_group": {"desired_size": size}},
            ClusterId=cluster,
            NodepoolId=pool,
        )
        cloud.clock.go(600)
        nodes = cloud.nodes(cluster)
        assert len(nodes) == size
        assert sum(node["spot_strategy"] == "NoSpot" for node in nodes) == math.ceil(size * 0.3)
        assert cloud.detail(cluster, pool)["status"]["healthy_nodes"] == size
    assert len(cloud.detail(cluster, pool)["scaling_group"]["instance_types"]) == 3


def test_nodes_boot_before_they_are_ready(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=4)
    status = cloud.detail(cluster, pool)["status"]
    assert (status["state"], status["initial_nodes"], status["healthy_nodes"]) == ("scaling", 4, 0)
    cloud.clock.go(89)
    assert cloud.detail(cluster, pool)["status"]["healthy_nodes"] == 0
    cloud.clock.go(92)
    status = cloud.detail(cluster, pool)["status"]
    assert (status["state"], status["initial_nodes"], status["healthy_nodes"]) == ("active", 0, 4)


def test_sold_out_spot_is_compensated_where_the_pool_says_so(cloud: Cloud) -> None:
    cloud.world.settings["stock"] = {f"spot:{type}": 0 for type in TYPES}
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=10, compensate_with_on_demand=True, **SPOT)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 10
    assert {node["spot_strategy"] for node in cloud.nodes(cluster)} == {"NoSpot"}


def test_sold_out_spot_without_compensation_is_a_shortfall_with_its_reason_and_is_tried_again(
    cloud: Cloud,
) -> None:
    cloud.world.settings["stock"] = {f"spot:{type}": 0 for type in TYPES}
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=10, **SPOT)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 3
    activity = cloud.activities()[-1]
    assert activity["StatusCode"] == "Warning"
    assert "OperationDenied.NoStock" in activity["StatusMessage"]
    cloud.world.settings["stock"] = {}
    cloud.clock.go(301)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 10


def test_a_price_limit_below_the_market_buys_no_spot(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    limits = [{"instance_type": type, "price_limit": "0.001"} for type in TYPES]
    group = {**SPOT, "spot_strategy": "SpotWithPriceLimit", "spot_price_limit": limits}
    pool = cloud.pool(cluster, desired_size=10, **group)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 3
    assert "the limit is 0.001" in cloud.activities()[-1]["StatusMessage"]


def test_price_limits_count_only_where_the_strategy_has_them(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    limits = [{"instance_type": type, "price_limit": "0.5"} for type in TYPES]
    group = {**SPOT, "spot_strategy": "SpotWithPriceLimit", "spot_price_limit": limits}
    pool = cloud.pool(cluster, **group)
    change = {"spot_strategy": "SpotAsPriceGo", "instance_types": TYPES[:1]}

    path = {"ClusterId": cluster, "NodepoolId": pool}
    cloud.call("ModifyClusterNodePool", {"scaling_group": change}, **path)

    assert cloud.detail(cluster, pool)["scaling_group"]["instance_types"] == TYPES[:1]


def test_balance_spreads_over_the_zones(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    cloud.pool(cluster, desired_size=9, multi_az_policy="BALANCE")
    zones = [thing.data["ZoneId"] for thing in cloud.world.each("instance")]
    assert [zones.count(zone) for zone in sorted(set(zones))] == [3, 3, 3]


def test_remedy_replaces_a_reclaimed_node_before_it_goes(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=10, spot_instance_remedy=True, **SPOT)
    cloud.clock.go(300)
    reclaim(cloud.world, count=2)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 12
    cloud.clock.go(299)
    assert cloud.detail(cluster, pool)["status"]["healthy_nodes"] == 12
    cloud.clock.go(2)
    assert cloud.detail(cluster, pool)["status"]["healthy_nodes"] == 10
    assert len(list(cloud.world.each("system_event"))) == 2


def test_without_remedy_the_pool_is_short_until_a_new_node_boots(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=10, **SPOT)
    cloud.clock.go(300)
    reclaim(cloud.world, count=2)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 10
    cloud.clock.go(301)
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 8
    cloud.clock.go(60)
    assert cloud.detail(cluster, pool)["status"]["initial_nodes"] == 2
    cloud.clock.go(200)
    assert cloud.detail(cluster, pool)["status"]["healthy_nodes"] == 10


def test_an_on_demand_node_cannot_be_reclaimed(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    cloud.pool(cluster, desired_size=1)
    id = cloud.nodes(cluster)[0]["instance_id"]
    with pytest.raises(ApiError, match=id):
        reclaim(cloud.world, id)


def test_a_pool_with_nodes_is_deleted_only_by_force(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=2)
    path = {"ClusterId": cluster, "NodepoolId": pool}
    with pytest.raises(ApiError, match="has 2 nodes"):
        cloud.call("DeleteClusterNodepool", **path)
    cloud.call("DeleteClusterNodepool", params={"force": True}, **path)
    cloud.clock.go(300)
    assert cloud.call("DescribeClusterNodePools", ClusterId=cluster) == {"nodepools": []}
    assert not list(cloud.world.each("instance"))


def test_removed_nodes_are_not_bought_again(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=3)
    ids = [node["instance_id"] for node in cloud.nodes(cluster)[:1]]
    params = {"instance_ids": ids, "drain_node": True, "release_node": True}
    cloud.call("RemoveNodePoolNodes", params=params, ClusterId=cluster, NodepoolId=pool)
    cloud.clock.go(900)
    assert cloud.detail(cluster, pool)["scaling_group"]["desired_size"] == 2
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 2
    assert cloud.world.find("instance", ids[0]) is None


def test_the_quotas_of_nodes_and_pools_hold(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, desired_size=90)
    with pytest.raises(ApiError, match="5 more than its quota of 100"):
        cloud.call("ScaleClusterNodePool", {"count": 15}, ClusterId=cluster, NodepoolId=pool)
    with pytest.raises(ApiError, match="count 501"):
        cloud.call("ScaleClusterNodePool", {"count": 501}, ClusterId=cluster, NodepoolId=pool)
    for _ in range(19):
        cloud.pool(cluster)
    with pytest.raises(ApiError, match="20 node pools"):
        cloud.pool(cluster)


def test_an_elastic_pool_grows_when_its_minimum_is_raised(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster)
    scaling = {"enable": True, "min_instances": 5, "max_instances": 8}
    cloud.call(
        "ModifyClusterNodePool", {"auto_scaling": scaling}, ClusterId=cluster, NodepoolId=pool
    )
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 5
    cloud.clock.go(10)
    with pytest.raises(ApiError, match="max_instances is 8"):
        cloud.call("ScaleClusterNodePool", {"count": 4}, ClusterId=cluster, NodepoolId=pool)


def test_a_partial_change_keeps_the_rest(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    pool = cloud.pool(cluster, tags=[{"key": "team", "value": "sale"}])
    path = {"ClusterId": cluster, "NodepoolId": pool}
    before = cloud.detail(cluster, pool)["scaling_group"]
    cloud.call("ModifyClusterNodePool", {"scaling_group": {"desired_size": 1}}, **path)
    assert cloud.detail(cluster, pool)["scaling_group"] == {**before, "desired_size": 1}
    cloud.clock.go(10)
    cloud.call("ModifyClusterNodePool", {"scaling_group": {"tags": []}}, **path)
    assert cloud.detail(cluster, pool)["scaling_group"]["tags"] == []


def test_a_private_cluster_has_no_public_kubeconfig(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    with pytest.raises(ApiError, match="PrivateIpAddress"):
        cloud.call("DescribeClusterUserKubeconfig", ClusterId=cluster)
    params = {"PrivateIpAddress": True, "TemporaryDurationMinutes": 15}
    answer = cloud.call("DescribeClusterUserKubeconfig", params=params, ClusterId=cluster)
    assert "server: https://10." in answer["config"]
    with pytest.raises(ApiError, match="TemporaryDurationMinutes 4321"):
        cloud.call(
            "DescribeClusterUserKubeconfig",
            params={"TemporaryDurationMinutes": 4321},
            ClusterId=cluster,
        )


def test_an_addon_is_updating_then_active_and_comes_once(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    name = "alb-ingress-controller"
    body = [{"name": name, "version": cs_addons.CATALOGUE[name][0]}]
    cloud.call("InstallClusterAddons", body, ClusterId=cluster)

    def state() -> str:
        addons = cloud.call("ListClusterAddonInstances", cluster_id=cluster)["addons"]
        return str({addon["name"]: addon["state"] for addon in addons}[name])

    assert state() == "updating"
    cloud.clock.go(60)
    assert state() == "active"
    with pytest.raises(ApiError, match="installed already"):
        cloud.call("InstallClusterAddons", body, ClusterId=cluster)


def test_every_look_has_the_fields_of_its_shape(cloud: Cloud) -> None:
    cluster = cloud.cluster(tags=[{"key": "sale", "value": "s1"}])
    pool = cloud.pool(cluster, desired_size=2)
    check = cloud.call("RunClusterCheck", {"type": "ClusterUpgrade"}, cluster_id=cluster)[
        "check_id"
    ]
    cloud.call(
        "UpdateResourcesDeleteProtection",
        {"resource_type": "namespaces", "resources": ["shop"], "enable": True},
        ClusterId=cluster,
    )
    cloud.clock.go(120)
    by_id = {"ClusterId": cluster}
    assert (
        cloud.call("GetClusterCheck", cluster_id=cluster, check_id=check)["status"] == "Succeeded"
    )
    assert len(cloud.call("DescribeClusterTasks", cluster_id=cluster)["tasks"]) == 2
    assert len(cloud.call("DescribeClusterEvents", **by_id)["events"]) >= 3
    assert cloud.call("DescribeClusterLogs", **by_id)
    kinds = {row["resource_type"] for row in cloud.call("DescribeClusterResources", **by_id)}
    assert {"VPC", "SLB", "SecurityGroup", "ESS", "ECS"} <= kinds
    locks = cloud.call("DescribeResourcesDeleteProtection", ResourceType="namespaces", **by_id)
    assert locks[0]["protection"] is True
    tags = {"region_id": REGION, "resource_type": "CLUSTER", "resource_ids": [cluster]}
    assert cloud.call("ListTagResources", params=tags)["tag_resources"]["tag_resource"]
    assert cloud.call("DescribeUserQuota")["node_quota"] == 100
    roles = {"roles": [{"name": "AliyunCSManagedAutoScalerRole"}]}
    assert cloud.call("CheckServiceRole", roles)["roles"][0]["granted"]
    asked = {"Region": REGION, "ClusterType": "ManagedKubernetes"}
    assert cloud.call("DescribeKubernetesVersionMetadata", params=asked)
    assert cloud.call("ListAddons", params={"cluster_id": cluster})["addons"]
    assert cloud.call("DescribeAddon", params={"cluster_id": cluster}, addon_name="coredns")
    assert cloud.call("CheckControlPlaneLogEnable", **by_id)
    assert cloud.call("DescribeRegions")["regions"]
    assert len(cloud.call("DescribeClusterNodePools", **by_id)["nodepools"]) == 1
    assert cloud.detail(cluster, pool)["status"]["total_nodes"] == 2
