"""The local cloud's Quota Center, flow rules, metrics and Prometheus instances."""

import json
from typing import Any

import pytest

from cloud_answers import REGION, asked, empty_world, refused
from saleops.services.cloud.products import load_products
from saleops.services.cloud.world import World

load_products()

RULE = {"AppName": "checkout", "Namespace": "default", "Resource": "POST:/api/buy"}


def region(name: str = REGION) -> list[dict[str, str]]:
    return [{"Key": "regionId", "Value": name}]


def quota(world: World, product: str, code: str, **more: Any) -> dict[str, Any]:
    asks = {"ProductCode": product, "QuotaActionCode": code, "Dimensions": region(), **more}
    return dict(asked("quotas", "GetProductQuota", world, **asks)["Quota"])


def test_usage_is_counted_in_the_region_that_is_asked_for() -> None:
    world, _ = empty_world()
    for number in range(3):
        world.create("vpc", f"vpc-{number}", {"RegionId": REGION if number else "cn-hangzhou"})
    world.create(
        "instance",
        "i-1",
        {"InstanceType": "ecs.c7.xlarge", "ZoneId": f"{REGION}a", "SpotStrategy": "SpotAsPriceGo"},
    )
    vpcs = quota(world, "vpc", "q_vpcs")
    assert (vpcs["TotalQuota"], vpcs["TotalUsage"]) == (10.0, 2.0)
    assert quota(world, "ecs-spec", "q_vcpu-spot")["TotalUsage"] == 4.0
    assert quota(world, "ecs-spec", "q_vcpu-postpaid")["TotalUsage"] == 0.0


def test_every_quota_of_every_product_is_listed() -> None:
    world, _ = empty_world()
    codes = [each["ProductCode"] for each in asked("quotas", "ListProducts", world)["ProductInfo"]]
    assert {"ecs-spec", "vpc", "eip", "csk", "alb", "dcdn"} <= set(codes)
    for code in codes:
        listed = asked("quotas", "ListProductQuotas", world, ProductCode=code, Dimensions=region())
        assert listed["Quotas"]
        assert listed["TotalCount"] == len(listed["Quotas"])
    rates = asked(
        "quotas", "ListProductQuotas", world, ProductCode="dcdn", QuotaCategory="FlowControl"
    )
    assert [each["TotalQuota"] for each in rates["Quotas"]] == [15.0, 30.0]
    batch = quota(world, "csk", "q_nodes-per-batch")
    assert (batch["TotalQuota"], batch["Adjustable"]) == (180.0, False)
    asked("quotas", "ListProductQuotaDimensions", world, ProductCode="vpc")
    assert (
        refused("quotas", "ListProductQuotas", world, ProductCode="pizza").code
        == "PRODUCT.NOT.FOUND"
    )


def test_settings_overrule_a_quota_by_its_code_or_by_the_name_that_products_use() -> None:
    world, _ = empty_world()
    world.settings["quotas"] = {"q_vpcs": 7, "vpc.eips": 1}
    assert quota(world, "vpc", "q_vpcs")["TotalQuota"] == 7.0
    assert quota(world, "eip", "q_eips")["TotalQuota"] == 1.0


def test_an_application_is_reviewed_and_then_holds() -> None:
    world, clock = empty_world()
    asks = {
        "ProductCode": "dcdn",
        "QuotaActionCode": "q_dcdn-preload-urls",
        "DesireValue": 5_000.0,
        "Reason": "a sale",
    }
    made = asked("quotas", "CreateQuotaApplication", world, **asks)
    assert made["Status"] == "Process"
    assert (
        refused("quotas", "CreateQuotaApplication", world, **asks).code == "APPLICATION.PROCESSING"
    )
    assert asked("dcdn", "DescribeDcdnRefreshQuota", world)["PreloadQuota"] == "1000"
    clock.pass_s(2 * 86_400)
    shown = asked("quotas", "GetQuotaApplication", world, ApplicationId=made["ApplicationId"])
    assert shown["QuotaApplication"]["Status"] == "Agree"
    assert asked("dcdn", "DescribeDcdnRefreshQuota", world)["PreloadQuota"] == "5000"
    assert asked("quotas", "ListQuotaApplications", world, Status="Agree")["TotalCount"] == 1


def test_a_refused_application_changes_nothing() -> None:
    world, clock = empty_world()
    world.settings["quota_review"] = {"seconds": 60, "verdict": "Disagree", "reason": "too late"}
    asks = {
        "ProductCode": "eip",
        "QuotaActionCode": "q_eips",
        "DesireValue": 40.0,
        "Reason": "a sale",
    }
    made = asked("quotas", "CreateQuotaApplication", world, **asks)
    clock.pass_s(60)
    shown = asked("quotas", "GetQuotaApplication", world, ApplicationId=made["ApplicationId"])[
        "QuotaApplication"
    ]
    assert (shown["Status"], shown["AuditReason"]) == ("Disagree", "too late")
    assert quota(world, "eip", "q_eips")["TotalQuota"] == 20.0
    assert (
        "40000"
        in refused(
            "quotas", "CreateQuotaApplication", world, **{**asks, "DesireValue": 40_000.0}
        ).message
    )


def test_flow_rules_are_made_shown_changed_and_removed() -> None:
    world, _ = empty_world()
    made = asked("mse", "CreateFlowRule", world, **RULE, Enable=True, Threshold=900)["Data"]
    listed = asked("mse", "ListFlowRules", world, AppName="checkout", Namespace="default")["Data"]
    assert [(each["RuleId"], each["Threshold"]) for each in listed["Result"]] == [
        (made["Id"], 900.0)
    ]
    about = {"AppName": "checkout", "Namespace": "default"}
    asked(
        "mse",
        "UpdateFlowRule",
        world,
        **about,
        RuleId=made["Id"],
        Threshold=0,
        ControlBehavior=2,
        MaxQueueingTimeMs=200,
    )
    removed = asked("mse", "DeleteFlowRules", world, **about, Ids=[made["Id"]])
    assert removed["Data"] == [made["Id"]]
    assert (
        refused("mse", "DeleteFlowRules", world, **about, Ids=[made["Id"]]).code == "RuleNotFound"
    )


@pytest.mark.parametrize(
    ("api", "more", "named"),
    [
        ("CreateFlowRule", {"Threshold": -1}, "Threshold"),
        ("CreateFlowRule", {"Threshold": 1, "ControlBehavior": 1}, "ControlBehavior"),
        ("CreateFlowRule", {"Threshold": 1, "ControlBehavior": 2}, "MaxQueueingTimeMs"),
        ("CreateCircuitBreakerRule", {"Threshold": 1.5, "Strategy": 1}, "Threshold"),
        ("CreateCircuitBreakerRule", {"Threshold": 0.5, "Strategy": 2}, "Strategy"),
        ("CreateCircuitBreakerRule", {"Threshold": 0.5, "Strategy": 0}, "MaxAllowedRtMs"),
        (
            "CreateCircuitBreakerRule",
            {"Threshold": 0.5, "Strategy": 1, "RetryTimeoutMs": 1_500},
            "RetryTimeoutMs",
        ),
        (
            "CreateCircuitBreakerRule",
            {"Threshold": 0.5, "Strategy": 1, "StatIntervalMs": 999},
            "StatIntervalMs",
        ),
        ("CreateIsolationRule", {"Threshold": -1.0}, "Threshold"),
    ],
    ids=["below", "behavior", "queue", "ratio", "strategy", "rt", "retry", "interval", "isolation"],
)
def test_a_rule_outside_its_limits_is_refused_by_field(
    api: str, more: dict[str, Any], named: str
) -> None:
    world, _ = empty_world()
    assert named in refused("mse", api, world, **RULE, Enable=True, **more).message
    assert not list(world.each("mse_rule"))


def test_every_kind_of_rule_has_its_own_shape() -> None:
    world, _ = empty_world()
    about = {"AppName": "checkout", "Namespace": "default"}
    asked(
        "mse",
        "CreateCircuitBreakerRule",
        world,
        **RULE,
        Enable=True,
        Threshold=0.5,
        Strategy=0,
        MaxAllowedRtMs=800,
    )
    isolation = asked("mse", "CreateIsolationRule", world, **RULE, Enable=True, Threshold=64.0)[
        "Data"
    ]
    asked("mse", "CreateWebFlowRule", world, **RULE, ResourceMode=0, Threshold=10.0)
    for api in ("ListCircuitBreakerRules", "ListIsolationRules", "ListWebFlowRules"):
        assert asked("mse", api, world, **about)["Data"]["TotalSize"] == 1
    asked("mse", "UpdateIsolationRule", world, **about, RuleId=isolation["Id"], Threshold=32.0)
    found = asked("mse", "GetApplicationList", world, PageNumber=1, PageSize=10, Region=REGION)
    assert [each["AppName"] for each in found["Data"]["Result"]] == ["checkout"]
    asked("mse", "ListNamespaces", world, Region=REGION)


def test_the_newest_value_of_each_resource_is_what_the_settings_say() -> None:
    world, clock = empty_world()
    for number in (1, 2):
        world.create("instance", f"i-{number}", {"ZoneId": f"{REGION}a"})
    clock.pass_s(300)
    world.settings["metrics"] = {"acs_ecs_dashboard/CPUUtilization": {"i-1": 91.5}}
    asks = {"Namespace": "acs_ecs_dashboard", "MetricName": "CPUUtilization"}
    points = json.loads(asked("cms", "DescribeMetricLast", world, **asks)["Datapoints"])
    assert {point["instanceId"] for point in points} == {"i-1", "i-2"}
    one = asked("cms", "DescribeMetricLast", world, **asks, Dimensions='[{"instanceId":"i-1"}]')
    assert [point["Average"] for point in json.loads(one["Datapoints"])] == [91.5]
    series = asked("cms", "DescribeMetricList", world, **asks, Dimensions='{"instanceId":"i-1"}')
    assert len(json.loads(series["Datapoints"])) == 6
    assert (
        "Mood"
        in refused(
            "cms", "DescribeMetricLast", world, Namespace="acs_ecs_dashboard", MetricName="Mood"
        ).message
    )
    asked("cms", "DescribeMetricMetaList", world, Namespace="acs_kvstore")


def test_a_reclaim_notice_is_an_event() -> None:
    world, clock = empty_world()
    data = {
        "Product": "ECS",
        "Name": "Instance:PreemptibleInstanceInterruption",
        "Level": "WARN",
        "Content": {"instanceId": "i-1"},
    }
    world.create("system_event", "evt-1", {**data, "Time": clock.now_ms()})
    answer = asked(
        "cms", "DescribeSystemEventAttribute", world, Product="ECS", SearchKeywords="Preemptible"
    )
    (event,) = answer["SystemEvents"]["SystemEvent"]
    assert (event["Id"], json.loads(event["Content"])) == ("evt-1", {"instanceId": "i-1"})
    assert not asked("cms", "DescribeSystemEventAttribute", world, Level="CRITICAL")[
        "SystemEvents"
    ]["SystemEvent"]
    clock.pass_s(2 * 86_400)
    assert not asked("cms", "DescribeSystemEventAttribute", world)["SystemEvents"]["SystemEvent"]


def test_alert_rules_are_kept_under_their_id() -> None:
    world, _ = empty_world()
    asks = {
        "RuleId": "cpu",
        "RuleName": "cpu",
        "Namespace": "acs_ecs_dashboard",
        "MetricName": "CPUUtilization",
        "ContactGroups": "ops",
    }
    assert "Escalations" in refused("cms", "PutResourceMetricRule", world, **asks).message
    asked(
        "cms",
        "PutResourceMetricRule",
        world,
        **asks,
        Escalations={"Critical": {"Threshold": "90", "Times": 3}},
    )
    listed = asked("cms", "DescribeMetricRuleList", world, RuleIds="cpu")
    assert listed["Total"] == "1"


def test_each_cluster_has_a_prometheus_instance() -> None:
    world, _ = empty_world()
    world.create("cluster", "c1", {"name": "sale", "region_id": REGION})
    listed = json.loads(
        asked("arms", "ListPrometheusInstances", world, RegionId=REGION, ShowGlobalView=False)[
            "Data"
        ]
    )
    assert [each["clusterId"] for each in listed] == ["c1"]
    asked("arms", "GetPrometheusInstance", world, RegionId=REGION, ClusterId="c1")
    assert (
        refused("arms", "GetPrometheusInstance", world, RegionId="cn-hangzhou", ClusterId="c1").code
        == "ClusterNotFound"
    )
