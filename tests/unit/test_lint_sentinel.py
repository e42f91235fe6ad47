"""Rules on Sentinel's JSON and on what is left of AHAS."""

import json
from typing import Any

import pytest

from lint_lab import SALE
from rule_cases import said_by

GOOD_BREAKER = {
    "resource": "reviews",
    "grade": 0,
    "count": 500,
    "slowRatioThreshold": 0.5,
    "minRequestAmount": 20,
    "statIntervalMs": 10000,
    "timeWindow": 30,
}
GOOD_FLOW = {
    "resource": "POST:/order",
    "grade": 1,
    "count": 150,
    "controlBehavior": 2,
    "maxQueueingTimeMs": 300,
}

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, %s}\n"


def rules(*one: dict[str, Any]) -> str:
    return json.dumps(list(one), indent=1)


def ingress(qps: int) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": "i",
                "annotations": {"alb.ingress.kubernetes.io/traffic-limit-qps": str(qps)},
            },
        }
    )


CASES = {
    "SEN001": ({"highestCpuUsage": 0.9}, GOOD_BREAKER),
    "SEN002": ({k: v for k, v in GOOD_BREAKER.items() if k != "slowRatioThreshold"}, GOOD_BREAKER),
    "SEN003": (
        {**GOOD_BREAKER, "resource": "POST:/order", "timeWindow": 300},
        {**GOOD_BREAKER, "resource": "POST:/order", "timeWindow": 10},
    ),
    "SEN006": ({**GOOD_BREAKER, "timeWindow": 0}, GOOD_BREAKER),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_bad_rule_is_found_and_the_good_one_is_not(rule: str) -> None:
    bad, good = CASES[rule]

    assert said_by(rule, rules(bad), name="order-rules.json"), rule
    assert said_by(rule, rules(good), name="order-rules.json") == []


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("grade", {**GOOD_FLOW, "grade": 7}),
        ("controlBehavior", {**GOOD_FLOW, "controlBehavior": 9}),
        ("strategy", {**GOOD_FLOW, "strategy": 1}),
        ("count", {**GOOD_FLOW, "count": -1}),
        ("count", {**GOOD_FLOW, "count": "many"}),
        ("resource", {**GOOD_FLOW, "resource": ""}),
        ("clusterConfig", {**GOOD_FLOW, "clusterMode": True}),
        ("warmUpPeriodSec", {**GOOD_FLOW, "controlBehavior": 1, "warmUpPeriodSec": 0}),
        ("count", {**GOOD_BREAKER, "grade": 1, "count": 50}),
        ("slowRatioThreshold", {**GOOD_BREAKER, "slowRatioThreshold": 50}),
        ("minRequestAmount", {**GOOD_BREAKER, "minRequestAmount": 0}),
        ("highestCpuUsage", {"highestCpuUsage": 90}),
        ("paramIdx", {"resource": "sku", "count": 5, "durationInSec": 1}),
        ("durationInSec", {"resource": "sku", "count": 5, "paramIdx": 0, "durationInSec": 0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "rule",
)
def test_what_sentinel_drops_is_said_at_its_field(field: str, body: dict[str, Any]) -> None:
    found = said_by("SEN006", rules(body), name="rules.json")

    assert any(field in one.message for one in found), found


def test_rules_in_a_configmap_are_read() -> None:
    body = json.dumps([{"resource": "reviews", "grade": 0, "count": 5, "timeWindow": 0}])
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sentinel}}\ndata:\n  degrade.json: '{body}'\n"

    (found,) = said_by("SEN006", text)

    assert found.line == 5


def test_a_rule_without_a_resource_is_found_where_its_file_says_what_it_is() -> None:
    body = {k: v for k, v in GOOD_BREAKER.items() if k != "resource"}

    (found,) = said_by("SEN006", rules(body), name="degrade-rules.json")

    assert "resource is missing" in found.message


def test_an_authority_rule_is_checked_as_one() -> None:
    rule = {"resource": "POST:/order", "limitApp": "gateway", "strategy": 0}

    assert said_by("SEN006", rules(rule), name="r.json") == []
    assert said_by("SEN006", rules({**rule, "strategy": 5}), name="r.json")


def test_json_that_is_no_sentinel_rules_is_left_alone() -> None:
    texts = [
        '[{"resource": "pods", "count": "five"}]',
        '[{"resource": "arn:aws:s3:::x", "effect": "Allow"}]',
        '[{"name": "a", "count": 3}]',
        "[1, 2]",
        "[]",
    ]

    assert [said_by("SEN006", text, name="x.json") for text in texts] == [[]] * len(texts)


def test_limits_of_all_pods_together_are_held_against_the_load_balancer() -> None:
    # 150 a second x 40 pods of order = 6,000
    flow = rules(GOOD_FLOW)

    (found,) = said_by("SEN004", {"f.json": flow, "i.json": ingress(2_000)}, sale=SALE)
    assert "150 x 40 pods of order = 6,000" in found.message
    assert said_by("SEN004", {"f.json": flow, "i.json": ingress(6_000)}, sale=SALE) == []


@pytest.mark.parametrize(
    ("name", "text", "successor"),
    [
        (
            "d.yaml",
            POD % "annotations: {ahasPilotAutoEnable: 'on'}",
            "msePilotAutoEnable",
        ),
        (
            "c.json",
            '{"endpoint": "ahas.cn-hangzhou.aliyuncs.com", "Action": "CreateFlowRule"}',
            "MSE",
        ),
        ("m.tf", 'resource "alicloud_ahas_rule" "r" { x = 1 }', "MSE"),
    ],
    ids=["annotation", "endpoint", "terraform"],
)
def test_ahas_is_found_with_what_takes_its_place(name: str, text: str, successor: str) -> None:
    (found,) = said_by("SEN005", text, name=name)

    assert successor in found.message


def test_mse_is_not_taken_for_ahas() -> None:
    text = POD % "labels: {msePilotAutoEnable: 'on'}"

    assert said_by("SEN005", text) == []
