"""The local cloud's load balancers with their capacity reservations, and the scaling groups of node pools."""

import pytest

from cloud_answers import REGION, HandClock, asked, empty_world, refused
from saleops.services.cloud.products import alb_things
from saleops.services.cloud.world import World

A, B = f"{REGION}a", f"{REGION}b"
TYPE = "ecs.c7.xlarge"


@pytest.fixture
def lab() -> tuple[World, HandClock]:
    world, clock = empty_world()
    world.settings["conflict_share"] = 0
    return world, clock


def a_network(world: World, clock: HandClock) -> tuple[str, list[dict[str, str]]]:
    vpc = asked("vpc", "CreateVpc", world, RegionId=REGION)["VpcId"]
    clock.pass_s(10)
    mappings = []
    for number, zone in enumerate((A, B)):
        id = asked(
            "vpc", "CreateVSwitch", world, VpcId=vpc, CidrBlock=f"172.16.{number}.0/24", ZoneId=zone
        )["VSwitchId"]
        mappings.append({"ZoneId": zone, "VSwitchId": id})
    clock.pass_s(10)
    return vpc, mappings


def an_alb(
    world: World, clock: HandClock, edition: str = "Standard"
) -> tuple[str, str, dict[str, object]]:
    vpc, mappings = a_network(world, clock)
    about = {
        "VpcId": vpc,
        "ZoneMappings": mappings,
        "LoadBalancerEdition": edition,
        "AddressType": "Internet",
        "LoadBalancerBillingConfig": {"PayType": "PostPay"},
    }
    id = asked("alb", "CreateLoadBalancer", world, **about)["LoadBalancerId"]
    return vpc, id, about


def with_listener(world: World, clock: HandClock, vpc: str, id: str) -> tuple[str, str]:
    clock.pass_s(90)
    group = asked(
        "alb",
        "CreateServerGroup",
        world,
        ServerGroupName="orders",
        VpcId=vpc,
        HealthCheckConfig={"HealthCheckEnabled": True},
    )
    action = {
        "Type": "ForwardGroup",
        "ForwardGroupConfig": {"ServerGroupTuples": [{"ServerGroupId": group["ServerGroupId"]}]},
    }
    made = asked(
        "alb",
        "CreateListener",
        world,
        LoadBalancerId=id,
        ListenerPort=80,
        ListenerProtocol="HTTP",
        DefaultActions=[action],
    )
    job = asked("alb", "ListAsynJobs", world, JobIds=[made["JobId"]])["Jobs"][0]
    assert job["Status"] == "Processing"
    clock.pass_s(60)
    assert (
        asked("alb", "ListAsynJobs", world, JobIds=[made["JobId"]])["Jobs"][0]["Status"]
        == "Succeeded"
    )
    return str(made["ListenerId"]), str(group["ServerGroupId"])


def test_a_load_balancer_is_provisioned_and_leaves_with_its_listeners(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    vpc, id, _ = an_alb(world, clock)
    look = {"LoadBalancerId": id}

    assert (
        asked("alb", "GetLoadBalancerAttribute", world, **look)["LoadBalancerStatus"]
        == "Provisioning"
    )
    assert (
        refused("alb", "DeleteLoadBalancer", world, **look).code == "IncorrectStatus.LoadBalancer"
    )
    listener, group = with_listener(world, clock, vpc, id)
    assert asked("alb", "GetLoadBalancerAttribute", world, **look)["LoadBalancerStatus"] == "Active"
    assert (
        asked("alb", "ListLoadBalancers", world, VpcIds=[vpc])["LoadBalancers"][0]["LoadBalancerId"]
        == id
    )
    assert (
        asked("alb", "ListListeners", world, LoadBalancerIds=[id])["Listeners"][0]["ListenerId"]
        == listener
    )
    assert (
        asked("alb", "GetListenerAttribute", world, ListenerId=listener)["ListenerStatus"]
        == "Running"
    )
    assert asked("alb", "ListServerGroups", world)["ServerGroups"][0]["RelatedLoadBalancerIds"] == [
        id
    ]
    assert asked("alb", "ListRules", world, ListenerIds=[listener])["Rules"] == []
    asked("alb", "DeleteLoadBalancer", world, **look)
    clock.pass_s(60)
    assert (
        refused("alb", "GetLoadBalancerAttribute", world, **look).code
        == "ResourceNotFound.LoadBalancer"
    )
    assert refused("alb", "GetListenerAttribute", world, ListenerId=listener).status == 404
    assert asked("alb", "UpdateServerGroupAttribute", world, ServerGroupId=group, Scheduler="Wlc")[
        "JobId"
    ]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"LoadBalancerEdition": "Gold"}, "LoadBalancerEdition"),
        ({"AddressType": "Moon"}, "AddressType"),
        ({"LoadBalancerBillingConfig": {"PayType": "PrePay"}}, "LoadBalancerBillingConfig.PayType"),
        ({"VpcId": "vpc-x"}, "VpcId"),
        ({"ZoneMappings": [{"ZoneId": A, "VSwitchId": "vsw-x"}]}, "ZoneMappings"),
        ({"ZoneMappings": [{"ZoneId": A, "VSwitchId": "vsw-x"}] * 2}, "ZoneMappings.1.VSwitchId"),
    ],
)
def test_a_load_balancer_is_refused_by_field(
    lab: tuple[World, HandClock], wrong: dict[str, object], named: str
) -> None:
    world, clock = lab
    _, _, about = an_alb(world, clock)

    assert named in refused("alb", "CreateLoadBalancer", world, **{**about, **wrong}).message


def test_unhealthy_servers_are_named_with_their_reason(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc, id, _ = an_alb(world, clock)
    listener, group = with_listener(world, clock, vpc, id)
    servers = [
        {"ServerId": "i-1", "ServerIp": "172.16.0.9", "Port": 80},
        {"ServerId": "i-2", "Health": "CONNECT_TIMEOUT"},
    ]
    alb_things.set_servers(world, world.things["server_group"][group], servers)

    info = asked("alb", "GetListenerHealthStatus", world, ListenerId=listener)[
        "ListenerHealthStatus"
    ][0]["ServerGroupInfos"][0]

    assert info["ServerCount"] == 2
    assert [(row["ServerId"], row["Reason"]["ReasonCode"]) for row in info["NonNormalServers"]] == [
        ("i-2", "CONNECT_TIMEOUT")
    ]
    assert asked("alb", "ListServerGroupServers", world, ServerGroupId=group)["TotalCount"] == 2


def test_listeners_are_refused_by_field(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc, id, _ = an_alb(world, clock)
    _, group = with_listener(world, clock, vpc, id)
    action = {
        "Type": "ForwardGroup",
        "ForwardGroupConfig": {"ServerGroupTuples": [{"ServerGroupId": group}]},
    }
    about = {
        "LoadBalancerId": id,
        "ListenerPort": 81,
        "ListenerProtocol": "HTTP",
        "DefaultActions": [action],
    }

    for wrong, code in (
        ({"ListenerPort": 0}, "InvalidParameter"),
        ({"ListenerPort": 80}, "ResourceAlreadyExist.Listener"),
        ({"ListenerProtocol": "HTTPS"}, "MissingParameter"),
        ({"IdleTimeout": 601}, "InvalidParameter"),
        ({"DefaultActions": [{"Type": "Redirect"}]}, "InvalidParameter"),
        ({"LoadBalancerId": "alb-x"}, "ResourceNotFound.LoadBalancer"),
    ):
        assert refused("alb", "CreateListener", world, **{**about, **wrong}).code == code
    assert (
        refused(
            "alb",
            "CreateServerGroup",
            world,
            ServerGroupName="x1",
            VpcId=vpc,
            HealthCheckConfig={"HealthCheckInterval": 51},
        ).status
        == 400
    )


def test_capacity_is_reserved_only_with_permission_a_listener_and_within_the_quota(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    vpc, id, _ = an_alb(world, clock)
    clock.pass_s(90)
    ask = {"LoadBalancerId": id, "MinimumLoadBalancerCapacity": {"CapacityUnits": 500}}

    assert (
        refused("alb", "ModifyCapacityReservation", world, **ask).code
        == "OperationDenied.CapacityReservation"
    )
    world.settings["quotas"] = {"alb.reserved_lcu": 1000}
    assert (
        refused("alb", "ModifyCapacityReservation", world, **ask).code
        == "OperationDenied.NoRunningListener"
    )
    with_listener(world, clock, vpc, id)
    too_much = {**ask, "MinimumLoadBalancerCapacity": {"CapacityUnits": 1001}}
    assert (
        refused("alb", "ModifyCapacityReservation", world, **too_much).code
        == "QuotaExceeded.CapacityUnits"
    )
    assert refused("alb", "ModifyCapacityReservation", world, LoadBalancerId=id).status == 400
    asked("alb", "ModifyCapacityReservation", world, **ask)

    def zones() -> set[tuple[str, float]]:
        shown = asked("alb", "DescribeCapacityReservation", world, LoadBalancerId=id)
        return {
            (row["Status"], row["EffectiveCapacityUnits"])
            for row in shown["CapacityReservationState"]
        }

    assert zones() == {("Pending", 0)}
    clock.pass_s(300)
    assert zones() == {("Provisioned", 250.0)}
    asked(
        "alb", "ModifyCapacityReservation", world, LoadBalancerId=id, ResetCapacityReservation=True
    )
    assert zones() == set()
    assert (
        asked("alb", "DescribeCapacityReservation", world, LoadBalancerId=id)[
            "DecreaseRequestsRemaining"
        ]
        == 1
    )
    assert (
        refused(
            "alb",
            "ModifyCapacityReservation",
            world,
            LoadBalancerId=id,
            ResetCapacityReservation=True,
        ).status
        == 400
    )


def test_load_balancers_are_tagged_and_keep_their_network(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    vpc, id, about = an_alb(world, clock)
    tag = {"ResourceType": "loadbalancer", "ResourceId": [id]}

    asked("alb", "TagResources", world, **tag, Tag=[{"Key": "saleops:sale", "Value": "x"}])
    assert asked("alb", "ListTagResources", world, **tag)["TagResources"][0]["TagValue"] == "x"
    assert (
        refused("vpc", "DeleteVSwitch", world, VSwitchId=about["ZoneMappings"][0]["VSwitchId"]).code
        == "DependencyViolation"
    )
    assert refused("vpc", "DeleteVpc", world, VpcId=vpc)


def a_scaling_group(world: World, clock: HandClock) -> str:
    _, mappings = a_network(world, clock)
    world.create(
        "scaling_group",
        "asg-1",
        {
            "RegionId": REGION,
            "ScalingGroupName": "pool",
            "NodePoolId": "np-1",
            "VSwitchIds": [m["VSwitchId"] for m in mappings],
            "InstanceTypes": [TYPE],
            "SpotStrategy": "SpotWithPriceLimit",
            "SpotPriceLimit": [{"instance_type": TYPE, "price_limit": "0.12"}],
            "MinSize": 0,
            "MaxSize": 50,
        },
        [("Active", 0)],
    )
    world.create(
        "instance",
        "i-1",
        {
            "RegionId": REGION,
            "ZoneId": A,
            "InstanceType": TYPE,
            "NodePoolId": "np-1",
            "SpotStrategy": "SpotAsPriceGo",
        },
        [("Pending", 30), ("Running", 0)],
    )
    world.create(
        "scaling_activity",
        "asa-1",
        {
            "ScalingGroupId": "asg-1",
            "Cause": "a pool grew",
            "Description": "add 1",
            "StatusMessage": "no stock",
            "TotalCapacity": "1",
        },
        [("InProgress", 60), ("Failed", 0)],
    )
    clock.pass_s(10)
    return "asg-1"


def test_a_group_its_instances_and_activities_are_read(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    id = a_scaling_group(world, clock)
    about = {"RegionId": REGION, "ScalingGroupId": id}

    shown = asked("ess", "DescribeScalingGroups", world, RegionId=REGION, ScalingGroupId=[id])[
        "ScalingGroups"
    ]["ScalingGroup"][0]
    assert (shown["TotalCapacity"], shown["PendingCapacity"]) == (1, 1)
    running = asked("ess", "DescribeScalingActivities", world, **about)["ScalingActivities"][
        "ScalingActivity"
    ][0]
    assert (running["StatusCode"], running["StatusMessage"]) == ("InProgress", "")
    clock.pass_s(120)
    failed = asked("ess", "DescribeScalingActivities", world, **about, StatusCode="Failed")[
        "ScalingActivities"
    ]["ScalingActivity"][0]
    assert failed["StatusMessage"] == "no stock"
    assert (
        asked("ess", "DescribeScalingActivityDetail", world, ScalingActivityId="asa-1")["Detail"]
        == "no stock"
    )
    asked(
        "ess",
        "SetInstancesProtection",
        world,
        ScalingGroupId=id,
        InstanceId=["i-1"],
        ProtectedFromScaleIn=True,
    )
    rows = asked("ess", "DescribeScalingInstances", world, **about)
    assert (
        rows["TotalSpotCount"],
        rows["ScalingInstances"]["ScalingInstance"][0]["LifecycleState"],
    ) == (1, "Protected")
    limits = asked("ess", "DescribeScalingConfigurations", world, **about)["ScalingConfigurations"][
        "ScalingConfiguration"
    ][0]
    assert limits["SpotPriceLimit"]["SpotPriceModel"] == [
        {"InstanceType": TYPE, "PriceLimit": 0.12}
    ]
    assert asked("ess", "DescribeLimitation", world)["MaxNumberOfMaxSize"] == 2000
    assert (
        refused("ess", "DescribeScalingActivities", world, RegionId=REGION).code
        == "MissingParameter.ScalingGroupId"
    )
    assert (
        refused(
            "ess",
            "SetInstancesProtection",
            world,
            ScalingGroupId=id,
            InstanceId=["i-x"],
            ProtectedFromScaleIn=True,
        ).status
        == 404
    )


def test_strength_falls_with_the_stock(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    id = a_scaling_group(world, clock)
    about = {"RegionId": REGION, "ScalingGroupId": id}

    assert asked("ess", "DescribeElasticStrength", world, **about)["ElasticStrength"] == "Strong"
    world.settings["stock"] = {f"spot:{TYPE}": 0}
    weak = asked("ess", "DescribeElasticStrength", world, **about)
    assert (weak["ElasticStrength"], weak["TotalStrength"]) == ("Weak", 0)
    assert {pool["Code"] for pool in weak["ResourcePools"]} == {"OperationDenied.NoStock"}
    assert (
        asked("ess", "DescribeElasticStrength", world, **about, SpotStrategy="NoSpot")[
            "ElasticStrength"
        ]
        == "Strong"
    )
    assert (
        refused("ess", "DescribeElasticStrength", world, RegionId=REGION).code
        == "MissingParameter.ScalingGroupId"
    )
    assert refused("ess", "DescribeElasticStrength", world, ScalingGroupId="asg-x").status == 404


def test_bounds_of_a_group_are_checked_before_they_change(lab: tuple[World, HandClock]) -> None:
    world, clock = lab
    id = a_scaling_group(world, clock)

    asked("ess", "ModifyScalingGroup", world, ScalingGroupId=id, MinSize=2, MaxSize=20)
    for wrong in (
        {"MinSize": 21},
        {"MaxSize": 2001},
        {"DesiredCapacity": 1},
        {"VSwitchIds": ["vsw-x"]},
    ):
        refused("ess", "ModifyScalingGroup", world, ScalingGroupId=id, **wrong)
    assert world.things["scaling_group"][id].data["MaxSize"] == 20


def test_a_lifecycle_action_waits_at_its_hook_until_it_is_completed(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    id = a_scaling_group(world, clock)
    about = {
        "ScalingGroupId": id,
        "LifecycleTransition": "SCALE_IN",
        "LifecycleHookName": "drain",
        "HeartbeatTimeout": 60,
    }
    hook = asked("ess", "CreateLifecycleHook", world, **about)["LifecycleHookId"]
    world.create(
        "lifecycle_action",
        "token-1",
        {"LifecycleHookId": hook, "ScalingActivityId": "asa-1", "InstanceIds": ["i-1"]},
        [("InProgress", 60), ("Completed", 0)],
    )
    clock.pass_s(10)
    token = {"lifecycleHookId": hook, "lifecycleActionToken": "token-1"}

    def status() -> str:
        answer = asked("ess", "DescribeLifecycleActions", world, ScalingActivityId="asa-1")
        return str(answer["LifecycleActions"]["LifecycleAction"][0]["LifecycleActionStatus"])

    asked("ess", "RecordLifecycleActionHeartbeat", world, **token, heartbeatTimeout=300)
    clock.pass_s(120)
    assert status() == "InProgress"
    complete = {"LifecycleHookId": hook, "LifecycleActionToken": "token-1"}
    asked("ess", "CompleteLifecycleAction", world, **complete, LifecycleActionResult="CONTINUE")
    assert status() == "Completed"
    assert (
        refused("ess", "CompleteLifecycleAction", world, **complete).code
        == "InvalidLifecycleActionToken.Expired"
    )
    assert asked("ess", "DescribeLifecycleHooks", world, ScalingGroupId=id)["TotalCount"] == 1
    assert (
        refused("ess", "CreateLifecycleHook", world, **about).code
        == "InvalidLifecycleHookName.Duplicate"
    )
    assert (
        refused(
            "ess",
            "CreateLifecycleHook",
            world,
            **{**about, "HeartbeatTimeout": 29, "LifecycleHookName": "other"},
        ).status
        == 400
    )


def test_a_scheduled_task_needs_a_group_a_time_to_come_and_a_bound(
    lab: tuple[World, HandClock],
) -> None:
    world, clock = lab
    id = a_scaling_group(world, clock)
    about = {
        "RegionId": REGION,
        "ScalingGroupId": id,
        "LaunchTime": "2026-11-10T23:30Z",
        "DesiredCapacity": 20,
    }

    task = asked("ess", "CreateScheduledTask", world, **about)["ScheduledTaskId"]
    for wrong in (
        {"LaunchTime": "2026-11-01T00:00Z"},
        {"LaunchTime": ""},
        {"DesiredCapacity": None},
        {"ScalingGroupId": ""},
        {"RecurrenceType": "Daily"},
    ):
        refused("ess", "CreateScheduledTask", world, **{**about, **wrong})
    clock.pass_s(10)
    rows = asked("ess", "DescribeScheduledTasks", world, RegionId=REGION)["ScheduledTasks"][
        "ScheduledTask"
    ]
    assert [row["ScheduledTaskId"] for row in rows] == [task]
