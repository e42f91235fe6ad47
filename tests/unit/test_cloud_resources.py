"""Looking at resources: what answers in the services' own shapes mean, what is drift, and which calls bring it back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from saleops.config.profile import load_profile
from saleops.config.sale import load_sale
from saleops.domain.cloud.calls import Call
from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.errors import CloudError
from saleops.operations.provision.blueprint import blueprint

EXAMPLE = Path(__file__).parents[2] / "examples" / "midnight-drop"
RESOURCES = {
    each.key: each
    for each in blueprint(
        load_sale(EXAMPLE / "sale.yaml"),
        load_profile(EXAMPLE / "profile.yaml"),
        password=lambda: "Correct-horse-7",
    ).resources
}
OURS = {"Tag": [{"Key": "saleops:sale", "Value": "midnight-drop"}]}
ROA_OURS = [{"key": "saleops:sale", "value": "midnight-drop"}]


def known(key: str, output: str = "id") -> str:
    return f"{key}.{output}"


def look(resource: Resource, answers: Mapping[str, Any]) -> Found | None:
    """What ``resource`` makes of ``answers``, by API; an API that is not among them answers that nothing is there."""
    looking = resource.look(known)
    try:
        call = next(looking)
        while True:
            if call.api in answers:
                call = looking.send(answers[call.api])
            else:
                call = looking.throw(CloudError("not there", kind="missing"))
    except StopIteration as stop:
        found: Found | None = stop.value
        return found


def drift(resource: Resource, found: Found) -> dict[str, tuple[Any, Any]]:
    wanted = resource.desired(known)
    return {
        name: (value, found.fields.get(name))
        for name, value in wanted.items()
        if found.fields.get(name) != value
    }


def vpc(**more: Any) -> dict[str, Any]:
    row = {
        "VpcId": "vpc-1",
        "VpcName": "midnight-drop-vpc",
        "Status": "Available",
        "CidrBlock": "10.16.0.0/16",
    }
    return {**row, "Tags": OURS, **more}


def vpcs(*rows: Mapping[str, Any]) -> dict[str, Any]:
    return {"DescribeVpcs": {"Vpcs": {"Vpc": list(rows)}}}


def test_our_vpc_is_found_among_others_of_the_account() -> None:
    found = look(RESOURCES["vpc"], vpcs(vpc(VpcId="vpc-0", VpcName="other"), vpc()))

    assert found is not None
    assert (found.condition, found.outputs["id"]) == (Condition.READY, "vpc-1")
    assert drift(RESOURCES["vpc"], found) == {}


@pytest.mark.parametrize(
    "tags", [{}, {"Tag": []}, {"Tag": [{"Key": "saleops:sale", "Value": "another"}]}]
)
def test_our_name_without_our_tag_is_somebody_elses(tags: Mapping[str, Any]) -> None:
    found = look(RESOURCES["vpc"], vpcs(vpc(Tags=tags)))

    assert found is not None
    assert found.condition is Condition.FOREIGN
    assert "somebody else" in found.problem


def test_ours_wins_over_a_strangers_of_the_same_name() -> None:
    found = look(RESOURCES["vpc"], vpcs(vpc(VpcId="vpc-0", Tags={}), vpc()))

    assert found is not None
    assert (found.condition, found.outputs["id"]) == (Condition.READY, "vpc-1")


def test_two_of_ours_are_a_failure_that_names_both() -> None:
    found = look(RESOURCES["vpc"], vpcs(vpc(VpcId="vpc-2"), vpc()))

    assert found is not None
    assert found.condition is Condition.FAILED
    assert "vpc-1, vpc-2 are the same thing twice" in found.problem


@pytest.mark.parametrize("key", sorted(RESOURCES))
def test_what_nobody_has_is_not_found(key: str) -> None:
    resource = RESOURCES[key]
    found: Found | None = None
    looking = resource.look(known)
    try:
        call = next(looking)
        while True:
            reads_one = call.api.startswith("Get") or call.api.endswith("DomainDetail")
            call = (
                looking.throw(CloudError("gone", kind="missing")) if reads_one else looking.send({})
            )
    except StopIteration as stop:
        found = stop.value
    except CloudError as error:
        assert error.kind == "missing"  # noqa: PT017  # whoever drives it takes that as "not there"

    assert found is None


@pytest.mark.parametrize("key", sorted(RESOURCES))
def test_an_error_that_is_not_about_a_missing_thing_goes_through(key: str) -> None:
    looking = RESOURCES[key].look(known)
    next(looking)

    with pytest.raises(CloudError, match="may not"):
        looking.throw(CloudError("you may not", kind="denied"))


def eip(**more: Any) -> dict[str, Any]:
    row = {
        "AllocationId": "eip.id",
        "IpAddress": "8.1.2.3",
        "Status": "InUse",
        "InstanceId": "nat.id",
    }
    return {"DescribeEipAddresses": {"EipAddresses": {"EipAddress": [{**row, **more}]}}}


def test_the_eip_is_linked_when_it_is_at_our_nat_gateway() -> None:
    link = RESOURCES["eip-link"]
    assert look(link, eip(InstanceId="", Status="Available")) is None

    there, elsewhere = look(link, eip()), look(link, eip(InstanceId="i-1"))

    assert there is not None
    assert elsewhere is not None
    assert (there.condition, elsewhere.condition) == (Condition.READY, Condition.FAILED)
    assert link.delete(known, there)[0].params["InstanceType"] == "Nat"


RULE = {
    "IpProtocol": "ALL",
    "PortRange": "-1/-1",
    "SourceCidrIp": "vpc.cidr",  # what the cloud shows of the VPC, whatever the files say
    "Policy": "Accept",
}


def rules(*more: Mapping[str, Any]) -> dict[str, Any]:
    return {"DescribeSecurityGroupAttribute": {"Permissions": {"Permission": [RULE, *more]}}}


def test_a_port_that_is_open_to_the_world_is_drift_and_is_closed() -> None:
    resource = RESOURCES["security-rules"]
    ssh = {
        "IpProtocol": "TCP",
        "PortRange": "22/22",
        "SourceCidrIp": "0.0.0.0/0",
        "Policy": "Accept",
    }
    found = look(resource, rules(ssh))
    assert found is not None

    assert drift(resource, found) == {"open_to_the_world": ([], ["TCP 22/22 0.0.0.0/0"])}
    (call,) = resource.change(known, found, ["open_to_the_world"])
    assert call.api == "RevokeSecurityGroup"
    assert call.params["Permissions"] == [
        {"IpProtocol": "TCP", "PortRange": "22/22", "SourceCidrIp": "0.0.0.0/0", "Policy": "accept"}
    ]


def test_rules_that_a_controller_added_are_left_alone() -> None:
    resource = RESOURCES["security-rules"]
    ping = {
        "IpProtocol": "ICMP",
        "PortRange": "-1/-1",
        "SourceCidrIp": "0.0.0.0/0",
        "Policy": "Accept",
    }
    other = {**RULE, "PortRange": "80/80", "IpProtocol": "TCP", "SourceCidrIp": "192.168.0.0/24"}
    found = look(resource, rules(ping, other))

    assert found is not None
    assert drift(resource, found) == {}


def cluster(**more: Any) -> dict[str, Any]:
    row = {
        "cluster_id": "c-1",
        "name": "midnight-drop-cluster",
        "state": "running",
        "cluster_spec": "ack.pro.small",
        "deletion_protection": True,
        "service_cidr": "172.19.0.0/20",
        "tags": ROA_OURS,
    }
    row = {**row, **more}
    return {
        "DescribeClustersV1": {"clusters": [{**row, "state": "initial"}], "page_info": {}},
        "DescribeClusterDetail": row,
    }


def test_the_clusters_own_state_counts_not_the_lists_which_lags() -> None:
    found = look(RESOURCES["cluster"], cluster())

    assert found is not None
    assert (found.condition, found.state) == (Condition.READY, "running")
    assert drift(RESOURCES["cluster"], found) == {}


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        ("initial", Condition.PENDING),
        ("updating", Condition.PENDING),
        ("failed", Condition.FAILED),
        ("delete_failed", Condition.FAILED),
        ("deleting", Condition.LEAVING),
    ],
)
def test_what_a_clusters_state_means(state: str, condition: Condition) -> None:
    found = look(RESOURCES["cluster"], cluster(state=state))

    assert found is not None
    assert found.condition is condition
    assert bool(found.problem) is (condition is Condition.FAILED)


def test_a_protected_cluster_is_unlocked_before_it_goes_and_leaves_nothing_behind() -> None:
    resource = RESOURCES["cluster"]
    found = look(resource, cluster())
    assert found is not None

    unlock, delete = resource.delete(known, found)

    assert (unlock.api, unlock.body) == ("ModifyCluster", {"deletion_protection": False})
    assert delete.params["retain_all_resources"] is False
    assert {each["resource_type"] for each in delete.params["delete_options"]} >= {
        "SLB",
        "ALB",
        "SLS_Data",
    }


def pool(resource: Resource, *, healthy: int = 27, group: Mapping[str, Any] = {}) -> dict[str, Any]:
    body = resource.create(known).body
    row = {
        "nodepool_info": {"name": resource.name, "nodepool_id": "np-1"},
        "kubernetes_config": body["kubernetes_config"],
        "auto_scaling": {"enable": False},
        "scaling_group": {**body["scaling_group"], "scaling_group_id": "asg-1", **group},
        "status": {"state": "active", "healthy_nodes": healthy, "total_nodes": 27},
    }
    return {"DescribeClusterNodePools": {"nodepools": [row]}}


def test_a_pool_is_ready_when_its_nodes_are_not_when_its_calls_were_made() -> None:
    burst = RESOURCES["nodepool/burst"]
    waiting, ready = look(burst, pool(burst, healthy=12)), look(burst, pool(burst))

    assert waiting is not None
    assert ready is not None
    assert (waiting.condition, waiting.state) == (
        Condition.PENDING,
        "active, 12 of 27 nodes healthy",
    )
    assert ready.condition is Condition.READY
    assert drift(burst, ready) == {}


def test_a_price_limit_written_otherwise_is_no_drift() -> None:
    burst = RESOURCES["nodepool/burst"]
    limits = [
        {"instance_type": "ecs.c7.xlarge", "price_limit": "0.12"},
        {"instance_type": "ecs.c8i.xlarge", "price_limit": "0.13"},
        {"instance_type": "ecs.g7.xlarge", "price_limit": "0.1500"},
    ]
    found = look(burst, pool(burst, group={"spot_price_limit": limits}))

    assert found is not None
    assert drift(burst, found) == {}


def test_limits_left_over_from_another_strategy_are_no_drift() -> None:
    profile = load_profile(EXAMPLE / "profile.yaml")
    at_market = profile.model_copy(
        update={"nodes": profile.nodes.model_copy(update={"price_limits": {}})}
    )
    plan = blueprint(load_sale(EXAMPLE / "sale.yaml"), at_market, password=lambda: "x")
    burst = next(each for each in plan.resources if each.key == "nodepool/burst")
    old = [{"instance_type": "ecs.c7.xlarge", "price_limit": "0.120"}]
    found = look(burst, pool(burst, group={"spot_price_limit": old}))

    assert found is not None
    assert drift(burst, found) == {}


def test_what_was_changed_in_a_pool_is_brought_back_by_a_partial_body() -> None:
    burst = RESOURCES["nodepool/burst"]
    edited = {"desired_size": 10, "on_demand_percentage_above_base_capacity": 0}
    found = look(burst, pool(burst, group=edited))
    assert found is not None

    changed = drift(burst, found)
    assert set(changed) == {"desired_size", "on_demand_percentage"}
    (size,) = burst.change(known, found, ["desired_size"])
    assert size.body == {"scaling_group": {"desired_size": 27}}
    (split,) = burst.change(known, found, ["on_demand_percentage"])
    assert split.body["scaling_group"]["on_demand_percentage_above_base_capacity"] == 30
    assert "desired_size" not in split.body["scaling_group"]


def test_a_change_never_sends_an_empty_list() -> None:
    for key in ("nodepool/core", "nodepool/burst"):
        resource = RESOURCES[key]
        found = look(resource, pool(resource))
        assert found is not None
        for call in resource.change(known, found, list(resource.desired(known))):
            assert not list(empties(call.body))


def empties(value: Any) -> Any:
    if value == []:
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from empties(each)


def database(**more: Any) -> dict[str, Any]:
    row = {
        "DBClusterId": "pc-1",
        "DBClusterDescription": "midnight-drop-db",
        "DBClusterStatus": "Running",
        "DBNodeClass": "polar.mysql.x4.large",
        "DBNodeNumber": 2,
        "DBVersion": "8.0",
        "DeletionLock": 1,
        "DBNodes": {
            "DBNode": [
                {"DBNodeId": "pi-1", "DBNodeRole": "Writer"},
                {"DBNodeId": "pi-2", "DBNodeRole": "Reader"},
            ]
        },
        "Tags": OURS,
    }
    return {"DescribeDBClusters": {"Items": {"DBCluster": [{**row, **more}]}}}


@pytest.mark.parametrize(
    "state",
    [
        "Creating",
        "DBNodeCreating",
        "ClassChanging",
        "ClassChanged",
        "NetAddressCreating",
        "Switching",
    ],
)
def test_a_database_that_is_being_changed_is_waited_for(state: str) -> None:
    found = look(RESOURCES["database"], database(DBClusterStatus=state))

    assert found is not None
    assert found.condition is Condition.PENDING


def test_a_missing_read_node_is_added_and_one_too_many_is_taken_never_the_primary() -> None:
    resource = RESOURCES["database"]
    fewer, more = look(resource, database(DBNodeNumber=1)), look(resource, database(DBNodeNumber=3))
    assert fewer is not None
    assert more is not None

    (add,) = resource.change(known, fewer, ["nodes"])
    assert (add.api, add.params["DBNode"]) == (
        "CreateDBNodes",
        [{"TargetClass": "polar.mysql.x4.large"}],
    )
    (take,) = resource.change(known, more, ["nodes"])
    assert (take.api, take.params["DBNodeId"]) == ("DeleteDBNodes", ["pi-2"])


@pytest.mark.parametrize(
    ("observed", "kind"),
    [
        ("polar.mysql.x2.large", "Upgrade"),
        ("polar.mysql.x4.medium", "Upgrade"),
        ("polar.mysql.x4.xlarge", "Downgrade"),
        ("polar.mysql.x8.2xlarge", "Downgrade"),
    ],
)
def test_a_class_is_changed_in_the_direction_it_has_to_go(observed: str, kind: str) -> None:
    resource = RESOURCES["database"]
    found = look(resource, database(DBNodeClass=observed))
    assert found is not None

    (call,) = resource.change(known, found, ["node_class"])

    assert (call.api, call.params["ModifyType"]) == ("ModifyDBNodeClass", kind)


def test_a_locked_database_is_unlocked_before_it_goes() -> None:
    resource = RESOURCES["database"]
    locked, open_ = look(resource, database()), look(resource, database(DeletionLock=0))
    assert locked is not None
    assert open_ is not None

    assert [call.api for call in resource.delete(known, locked)] == [
        "ModifyDBClusterDeletion",
        "DeleteDBCluster",
    ]
    assert [call.api for call in resource.delete(known, open_)] == ["DeleteDBCluster"]


def test_a_whitelist_that_lets_in_the_world_is_closed_and_other_lists_are_left_alone() -> None:
    resource = RESOURCES["database/whitelist"]
    wanted = resource.desired(known)["addresses"]
    rows = [
        {
            "DBClusterIPArrayName": "saleopsmidnightdrop",
            "SecurityIps": ",".join(wanted[1:]) + ",9.9.9.9",
        },
        {"DBClusterIPArrayName": "default", "SecurityIps": "127.0.0.1,0.0.0.0/0"},
        {"DBClusterIPArrayName": "office", "SecurityIps": "1.2.3.4"},
    ]
    answers = {
        "DescribeDBClusterAccessWhitelist": {"Items": {"DBClusterIPArray": rows}},
        "DescribeVSwitches": {"VSwitches": {"VSwitch": []}},
    }
    found = look(resource, answers)
    assert found is not None

    calls = resource.change(known, found, list(drift(resource, found)))

    said = [
        (call.params["ModifyMode"], call.params["DBClusterIPArrayName"], call.params["SecurityIps"])
        for call in calls
    ]
    assert said == [
        ("Append", "saleopsmidnightdrop", wanted[0]),
        ("Delete", "saleopsmidnightdrop", "9.9.9.9"),
        ("Delete", "default", "0.0.0.0/0"),
    ]


def test_a_block_of_a_zone_that_the_files_no_longer_name_is_not_shut_out() -> None:
    for key, list_api in (
        ("database/whitelist", "DescribeDBClusterAccessWhitelist"),
        ("cache/whitelist", "DescribeSecurityIps"),
    ):
        resource = RESOURCES[key]
        addresses = ",".join(
            [*resource.desired(known)["addresses"], "10.16.9.0/24", "10.99.0.0/24"]
        )
        database = {"DBClusterIPArrayName": "saleopsmidnightdrop", "SecurityIps": addresses}
        cache = {"SecurityIpGroupName": "saleopsmidnightdrop", "SecurityIpList": addresses}
        switches = [
            {
                "VSwitchId": "vsw-9",
                "VSwitchName": "midnight-drop-node-ap-southeast-1z",
                "CidrBlock": "10.16.9.0/24",
                "Tags": OURS,
            },
            {"VSwitchId": "vsw-8", "VSwitchName": "theirs", "CidrBlock": "10.99.0.0/24"},
        ]
        found = look(
            resource,
            {
                list_api: {
                    "Items": {"DBClusterIPArray": [database]},
                    "SecurityIpGroups": {"SecurityIpGroup": [cache]},
                },
                "DescribeVSwitches": {"VSwitches": {"VSwitch": switches}},
            },
        )
        assert found is not None

        (call,) = resource.change(known, found, list(drift(resource, found)))

        assert (call.params["ModifyMode"], call.params["SecurityIps"]) == ("Delete", "10.99.0.0/24")


def test_the_database_is_there_when_the_account_may_use_it() -> None:
    account = {"AccountName": "saleops", "AccountStatus": "Available"}
    right = {"DBName": "saleops", "AccountPrivilege": "ReadWrite"}
    schema = RESOURCES["database/schema"]

    assert look(schema, {"DescribeAccounts": {"Accounts": [account]}}) is None
    found = look(
        schema, {"DescribeAccounts": {"Accounts": [{**account, "DatabasePrivileges": [right]}]}}
    )
    assert found is not None
    assert drift(schema, found) == {}


def test_shards_are_changed_to_a_number_never_by_one() -> None:
    resource = RESOURCES["cache"]
    row = {
        "InstanceId": "r-1",
        "InstanceName": "midnight-drop-cache",
        "InstanceStatus": "Normal",
        "InstanceClass": "tair.rdb.4g",
        "ShardCount": 2,
        "Tags": OURS,
    }
    found = look(resource, {"DescribeInstances": {"Instances": {"KVStoreInstance": [row]}}})
    assert found is not None

    assert set(drift(resource, found)) == {"shards"}
    (call,) = resource.change(known, found, ["shards"])
    assert (call.api, call.params["ShardCount"]) == ("ModifyInstanceSpec", 4)


def queue(**more: Any) -> dict[str, Any]:
    row = {
        "instanceId": "rmq-1",
        "instanceName": "midnight-drop-queue",
        "status": "RUNNING",
        "seriesCode": "standard",
        "productInfo": {"msgProcessSpec": "rmq.s2.2xlarge", "messageRetentionTime": 72},
        "networkInfo": {
            "endpoints": [{"endpointType": "TCP_VPC", "endpointUrl": "rmq-1.vpc:8080"}]
        },
        "tags": ROA_OURS,
    }
    row = {**row, **more}
    return {
        "ListInstances": {"success": True, "data": {"list": [row]}},
        "GetInstance": {"success": True, "data": row},
    }


def test_the_queue_is_found_with_its_endpoint_inside_the_vpc() -> None:
    found = look(RESOURCES["queue"], queue())

    assert found is not None
    assert (found.condition, found.outputs["endpoint"]) == (Condition.READY, "rmq-1.vpc:8080")
    assert drift(RESOURCES["queue"], found) == {}


def test_a_released_queue_is_not_there_any_more() -> None:
    assert look(RESOURCES["queue"], queue(status="RELEASED")) is None


def test_a_topic_of_another_type_is_drift_that_only_a_new_one_mends() -> None:
    topic = RESOURCES["queue/topic/midnight-drop-orders"]
    data = {"topicName": "midnight-drop-orders", "messageType": "NORMAL", "status": "RUNNING"}
    found = look(topic, {"GetTopic": {"success": True, "data": data}})
    assert found is not None

    assert drift(topic, found) == {"type": ("TRANSACTION", "NORMAL")}
    assert topic.change(known, found, ["type"]) == ()


def test_a_domain_without_our_tag_is_somebody_elses() -> None:
    detail = {"DomainDetail": {"DomainName": "drop.example.com", "DomainStatus": "online"}}
    found = look(
        RESOURCES["edge"],
        {"DescribeDcdnDomainDetail": detail, "DescribeDcdnTagResources": {"TagResources": []}},
    )

    assert found is not None
    assert found.condition is Condition.FOREIGN


def test_a_domain_that_somebody_stopped_is_there_and_its_traffic_is_missing() -> None:
    detail = {"DomainDetail": {"DomainName": "drop.example.com", "DomainStatus": "offline"}}
    tagged = {"TagResources": [{"ResourceId": "drop.example.com", "Tag": ROA_OURS}]}
    answers = {"DescribeDcdnDomainDetail": detail, "DescribeDcdnTagResources": tagged}
    found = look(RESOURCES["edge"], answers)

    assert found is not None
    assert found.condition is Condition.READY
    assert look(RESOURCES["edge/traffic"], answers) is None
    assert RESOURCES["edge/traffic"].create(known).api == "StartDcdnDomain"


def test_a_rule_that_somebody_made_longer_is_drift_and_all_are_set_anew() -> None:
    resource = RESOURCES["edge/rules"]
    functions = json.loads(resource.create(known).params["Functions"])
    configs = [
        {
            "FunctionName": each["functionName"],
            "Status": "success",
            "FunctionArgs": {
                "FunctionArg": [
                    {"ArgName": arg["argName"], "ArgValue": arg["argValue"]}
                    for arg in each["functionArgs"]
                ]
            },
        }
        for each in functions
    ]
    answer = {"DescribeDcdnDomainConfigs": {"DomainConfigs": {"DomainConfig": configs}}}
    whole = look(resource, answer)
    assert whole is not None
    assert drift(resource, whole) == {}

    configs[0]["FunctionArgs"]["FunctionArg"][1]["ArgValue"] = "60"
    edited = look(resource, answer)

    assert edited is not None
    assert set(drift(resource, edited)) == {"rules"}
    assert resource.change(known, edited, ["rules"]) == [resource.create(known)]


def test_every_resource_says_what_to_do_when_it_fails_or_is_quick() -> None:
    for resource in RESOURCES.values():
        assert resource.on_failure or resource.patience.timeout_s <= 300, resource.key


def test_a_call_shows_its_product_and_api() -> None:
    assert str(Call("vpc", "CreateVpc")) == "vpc CreateVpc"
