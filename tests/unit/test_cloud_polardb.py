"""PolarDB in the local cloud: one change at a time, whitelists, endpoints, accounts."""

import json
from typing import Any

import pytest

from cloud_answers import shape_problems
from saleops.cloudapi import api_of
from saleops.services.cloud.answers import ANSWERERS, ApiError, LocalCall
from saleops.services.cloud.products import load_product
from saleops.services.cloud.world import World

REGION = "ap-southeast-1"
CLASS = "polar.mysql.x4.large"


class HandClock:
    at_ms = 1_762_700_000_000

    def now_ms(self) -> int:
        return self.at_ms


class Cloud:
    def __init__(self) -> None:
        load_product("polardb")
        self.clock = HandClock()
        self.world = World(self.clock)
        self.world.create("vpc", "vpc-1", {"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"})
        for zone in "ab":
            data = {"VpcId": "vpc-1", "ZoneId": f"{REGION}{zone}", "CidrBlock": "10.0.0.0/24"}
            self.world.create("vswitch", f"vsw-{zone}", data)

    def go(self, seconds: float) -> None:
        self.clock.at_ms += round(seconds * 1000)

    def call(self, name: str, **params: Any) -> Any:
        call = LocalCall(api_of("polardb", name), REGION, params)
        answer = ANSWERERS["polardb", name](call, self.world)
        assert not shape_problems("polardb", name, answer)
        return answer

    def create(self, **more: Any) -> str:
        params = {
            "RegionId": REGION,
            "DBType": "MySQL",
            "DBVersion": "8.0",
            "PayType": "Postpaid",
            "DBNodeClass": CLASS,
            "ZoneId": f"{REGION}a",
            "VPCId": "vpc-1",
            "VSwitchId": "vsw-a",
            **more,
        }
        id: str = self.call("CreateDBCluster", **params)["DBClusterId"]
        return id

    def status(self, id: str) -> str:
        return str(self.call("DescribeDBClusterAttribute", DBClusterId=id)["DBClusterStatus"])

    def ips(self, id: str) -> dict[str, str]:
        items = self.call("DescribeDBClusterAccessWhitelist", DBClusterId=id)["Items"]
        return {
            each["DBClusterIPArrayName"]: each["SecurityIps"] for each in items["DBClusterIPArray"]
        }


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def running(cloud: Cloud) -> str:
    id = cloud.create()
    cloud.go(700)
    return id


def test_a_cluster_is_created_and_then_has_its_two_endpoints(cloud: Cloud) -> None:
    id = cloud.create()
    assert cloud.status(id) == "Creating"
    assert cloud.call("DescribeDBClusters", RegionId=REGION)["TotalRecordCount"] == 0
    assert cloud.call("DescribeDBClusterEndpoints", DBClusterId=id)["Items"] == []
    cloud.go(700)
    assert cloud.status(id) == "Running"
    items = cloud.call("DescribeDBClusterEndpoints", DBClusterId=id)["Items"]
    assert [item["EndpointType"] for item in items] == ["Primary", "Cluster"]
    assert cloud.call("DescribeDBClusters", RegionId=REGION)["TotalRecordCount"] == 1


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        ({"VSwitchId": None}, "MissingParameter", "VPCId"),
        ({"VSwitchId": "vsw-b"}, "InvalidVSwitchId.ZoneMismatch", "vsw-b"),
        ({"VPCId": "vpc-9"}, "InvalidVPCId.NotFound", "vpc-9"),
        ({"DBNodeClass": "polar.none"}, "InvalidDBNodeClass.ValueNotSupport", "polar.none"),
        ({"DBNodeNum": 17}, "InvalidDBNodeNum.ValueNotSupport", "17"),
        ({"DBVersion": "9.9"}, "InvalidDBVersion.ValueNotSupport", "9.9"),
        ({"PayType": "PostPaid"}, "InvalidPayType.ValueNotSupport", "PostPaid"),
        ({"ProxyType": "GENERAL"}, "InvalidProxyType.Malformed", "GENERAL"),
    ],
    ids=["half-network", "zone", "vpc", "class", "nodes", "version", "pay", "proxy"],
)
def test_a_create_that_cannot_be_names_its_field(
    cloud: Cloud, more: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(ApiError) as refused:
        cloud.create(**more)
    assert refused.value.code == code
    assert named in refused.value.message


def test_one_change_at_a_time(cloud: Cloud, running: str) -> None:
    nodes = [{"TargetClass": CLASS}, {"TargetClass": CLASS}]
    made = cloud.call("CreateDBNodes", DBClusterId=running, DBNode=nodes)["DBNodeIds"]["DBNodeId"]
    assert len(made) == 2
    assert cloud.status(running) == "DBNodeCreating"
    with pytest.raises(ApiError, match=r"OperationDenied\.DBClusterStatus"):
        cloud.call("DeleteDBNodes", DBClusterId=running, DBNodeId=made)
    cloud.go(331)
    cloud.call("DeleteDBNodes", DBClusterId=running, DBNodeId=made)
    cloud.go(121)
    assert len(cloud.call("DescribeDBClusterAttribute", DBClusterId=running)["DBNodes"]) == 2


def test_a_class_change_takes_five_minutes_a_node(cloud: Cloud, running: str) -> None:
    cloud.call(
        "ModifyDBNodeClass",
        DBClusterId=running,
        DBNodeTargetClass="polar.mysql.x4.xlarge",
        ModifyType="Upgrade",
    )
    cloud.go(599)
    assert cloud.status(running) == "ClassChanging"
    cloud.go(2)
    nodes = cloud.call("DescribeDBClusterAttribute", DBClusterId=running)["DBNodes"]
    assert {node["DBNodeClass"] for node in nodes} == {"polar.mysql.x4.xlarge"}


def test_a_postpaid_cluster_has_no_temporary_change(cloud: Cloud, running: str) -> None:
    with pytest.raises(ApiError, match="Postpaid"):
        cloud.call(
            "TempModifyDBNode",
            DBClusterId=running,
            ModifyType="TempUpgrade",
            OperationType="Modify",
            RestoreTime="2030-01-01 00:00:00",
            DBNode=[{"TargetClass": CLASS}],
        )


def test_a_whitelist_is_covered_unless_told_to_append(cloud: Cloud, running: str) -> None:
    def modify(**params: Any) -> None:
        cloud.call("ModifyDBClusterAccessWhitelist", DBClusterId=running, **params)

    modify(SecurityIps="10.0.0.0/16", ModifyMode="Append")
    assert cloud.ips(running) == {"default": "10.0.0.0/16"}
    modify(SecurityIps="10.1.0.0/16", ModifyMode="Append")
    assert cloud.ips(running) == {"default": "10.0.0.0/16,10.1.0.0/16"}
    modify(SecurityIps="10.2.0.0/16")
    assert cloud.ips(running) == {"default": "10.2.0.0/16"}
    modify(SecurityIps="10.3.0.0/16", DBClusterIPArrayName="sale")
    modify(SecurityIps="10.3.0.0/16", DBClusterIPArrayName="sale", ModifyMode="Delete")
    assert cloud.ips(running) == {"default": "10.2.0.0/16"}
    with pytest.raises(ApiError, match=r"10\.0\.0\.300"):
        modify(SecurityIps="10.0.0.300")


def test_a_password_is_checked_and_never_kept(cloud: Cloud, running: str) -> None:
    with pytest.raises(ApiError) as refused:
        cloud.call(
            "CreateAccount", DBClusterId=running, AccountName="sale", AccountPassword="secretsecret"
        )
    assert "secretsecret" not in refused.value.message
    cloud.call(
        "CreateAccount", DBClusterId=running, AccountName="sale", AccountPassword="Secret-4711"
    )
    assert "Secret-4711" not in json.dumps(
        [thing.data for thing in cloud.world.each("polardb_cluster")]
    )
    with pytest.raises(ApiError, match="there already"):
        cloud.call(
            "CreateAccount", DBClusterId=running, AccountName="sale", AccountPassword="Secret-4711"
        )


def test_a_database_goes_to_its_account(cloud: Cloud, running: str) -> None:
    cloud.call(
        "CreateAccount",
        DBClusterId=running,
        AccountName="shop",
        AccountPassword="Secret-4711",
        AccountType="Normal",
    )
    cloud.call(
        "CreateDatabase",
        DBClusterId=running,
        DBName="orders",
        CharacterSetName="utf8mb4",
        AccountName="shop",
    )
    account = cloud.call("DescribeAccounts", DBClusterId=running)["Accounts"][0]
    assert account["DatabasePrivileges"] == [{"AccountPrivilege": "ReadWrite", "DBName": "orders"}]


def test_a_custom_endpoint_is_made_changed_and_deleted(cloud: Cloud, running: str) -> None:
    cloud.call(
        "CreateDBClusterEndpoint",
        DBClusterId=running,
        EndpointType="Custom",
        ReadWriteMode="ReadWrite",
    )
    assert cloud.status(running) == "NetAddressCreating"
    cloud.go(61)
    made = cloud.call("DescribeDBClusterEndpoints", DBClusterId=running)["Items"][-1]
    assert json.loads(made["EndpointConfig"]) == {"ConsistLevel": "1"}
    cloud.call(
        "ModifyDBClusterEndpoint",
        DBClusterId=running,
        DBEndpointId=made["DBEndpointId"],
        EndpointConfig='{"ConsistLevel":"2"}',
    )
    cloud.go(31)
    cloud.call("DeleteDBClusterEndpoint", DBClusterId=running, DBEndpointId=made["DBEndpointId"])
    cloud.go(31)
    assert len(cloud.call("DescribeDBClusterEndpoints", DBClusterId=running)["Items"]) == 2


def test_a_locked_cluster_is_not_deleted(cloud: Cloud, running: str) -> None:
    cloud.call("ModifyDBClusterDeletion", DBClusterId=running, Protection=True)
    with pytest.raises(ApiError, match="deletion lock"):
        cloud.call("DeleteDBCluster", DBClusterId=running)
    cloud.call("ModifyDBClusterDeletion", DBClusterId=running, Protection=False)
    cloud.call("DeleteDBCluster", DBClusterId=running)
    cloud.go(61)
    with pytest.raises(ApiError, match=r"InvalidDBClusterId\.NotFound"):
        cloud.status(running)


def test_performance_is_the_same_for_the_same_instant(cloud: Cloud, running: str) -> None:
    params = {"DBClusterId": running, "Key": "PolarDBCPU,PolarDBQPSTPS"}
    cloud.go(86_400)
    times = {"StartTime": "2025-11-10T00:00Z", "EndTime": "2025-11-10T01:00Z"}
    first = cloud.call("DescribeDBClusterPerformance", **params, **times)
    assert first == cloud.call("DescribeDBClusterPerformance", **params, **times)
    assert first["PerformanceKeys"]["PerformanceItem"][0]["Points"]["PerformanceItemValue"]
    with pytest.raises(ApiError, match="Key 'Nonsense'"):
        cloud.call("DescribeDBClusterPerformance", **{**params, "Key": "Nonsense"}, **times)


def test_every_look_has_the_fields_of_its_shape(cloud: Cloud, running: str) -> None:
    by_id = {"DBClusterId": running}
    times = {"StartTime": "2025-01-01T00:00Z", "EndTime": "2027-01-01T00:00Z"}
    zones = cloud.call("DescribeDBClusterAvailableResources", PayType="Postpaid")["AvailableZones"]
    assert len(zones) == 3
    assert cloud.call("DescribeClassList", CommodityCode="polardb_payg")["Items"]
    assert cloud.call("DescribeRegions")["Regions"]["Region"]
    assert cloud.call("DescribeTasks", **by_id, **times)["Tasks"]["Task"]
    assert cloud.call("DescribeDBClusterProxy", **by_id)
    assert cloud.call("DescribeDBClusterParameters", **by_id)["RunningParameters"]["Parameter"]
    reach = cloud.call("DescribeDBClusterConnectivity", **by_id, SourceIpAddress="10.0.0.9")
    assert reach["ConnCheckResult"] == "Failed"
    tag = [{"Key": "saleops:sale", "Value": "s1"}]
    cloud.call(
        "TagResources", RegionId=REGION, ResourceType="cluster", ResourceId=[running], Tag=tag
    )
    found = cloud.call("DescribeDBClusters", RegionId=REGION, Tag=tag)["Items"]["DBCluster"]
    assert [each["DBClusterId"] for each in found] == [running]
    with pytest.raises(ApiError, match="not serverless"):
        cloud.call("DescribeDBClusterServerlessConf", **by_id)
