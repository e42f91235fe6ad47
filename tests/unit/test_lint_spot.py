"""The rules for spot nodes, in Terraform, in ACK's request bodies and in workloads."""

import json

import pytest

from broken_service import Case, check
from good_service import DEPLOYMENT, GOOD, HANDLER, broken, findings_in, shown
from saleops.domain.lint.fleet import SaleFacts

D, P, H = "deployment.yaml", "pools.tf", "handler.yaml"
SPREAD = DEPLOYMENT[
    DEPLOYMENT.index("        - maxSkew: 1\n          topologyKey: node") : DEPLOYMENT.index(
        "      tolerations"
    )
]
TYPES = '["ecs.c7.2xlarge", "ecs.c8i.2xlarge", "ecs.g7.2xlarge"]'
TAINT = '  taints {\n    key    = "saleops.io/spot"\n    value  = "true"\n    effect = "NoSchedule"\n  }\n'
SALE = SaleFacts(
    "s",
    None,
    None,
    peak_rps=900.0,
    baseline_rps=800.0,
    pods={"order": 12},
    rps_per_pod={"order": 100.0},
)  # type: ignore[arg-type]
CASES = [
    Case(
        "SPT001",
        "warning",
        P,
        ((TYPES, '["ecs.c7.2xlarge", "ecs.c8i.2xlarge"]'),),
        "ecs.c8i",
        ("2 instance type(s)",),
    ),
    Case(
        "SPT001",
        "error",
        P,
        (("SpotAsPriceGo", "SpotWithPriceLimit"),),
        "spot_strategy",
        ("without a spot_price_limit",),
    ),
    Case("SPT002", "error", P, ((TAINT, ""),), '"spot" {', ("ACK adds none",), ()),
    Case(
        "SPT002",
        "error",
        D,
        (("kind: Deployment", "kind: StatefulSet"),),
        "key: saleops.io/spot",
        ("is stateful",),
    ),
    Case(
        "SPT002",
        "error",
        D,
        (("replicas: 12", "replicas: 1"),),
        "key: saleops.io/spot",
        ("a single pod",),
    ),
    Case(
        "SPT003",
        "error",
        D,
        ((SPREAD, ""),),
        "key: saleops.io/spot",
        ("all 12 pods may run", "0 of 12"),
    ),
    Case(
        "SPT003",
        "error",
        D,
        (
            (
                "      tolerations:",
                "      nodeSelector:\n        node.alibabacloud.com/spot-strategy: SpotAsPriceGo\n      tolerations:",
            ),
        ),
        "spot-strategy: SpotAs",
        ("run on spot nodes",),
    ),
    Case(
        "SPT004",
        "warning",
        D,
        (("PeriodSeconds: 60", "PeriodSeconds: 121"),),
        "terminationGrace",
        ("grace 121 s on spot nodes > 120 s", "notice 300 s"),
    ),
    Case(
        "SPT004",
        "warning",
        D,
        (("PeriodSeconds: 60", "PeriodSeconds: 301"),),
        "terminationGrace",
        ("37 s more than the 264 s",),
    ),
    Case(
        "SPT004",
        "warning",
        "budget.yaml",
        (("maxUnavailable: 25%", "maxUnavailable: 1"),),
        "maxUnavailable",
        ("lets 1 of 30 pods go", "10 need 10 waves x 60 s = 600 s > 264 s"),
        sale=SaleFacts("s", None, None, pods={"order": 30}),
    ),  # type: ignore[arg-type]
    Case(
        "SPT005",
        "error",
        H,
        (("        - operator: Exists", "        - {operator: Exists, effect: NoSchedule}"),),
        "tolerations",
        ("every taint",),
    ),
    Case(
        "SPT005",
        "error",
        H,
        (("      hostNetwork: true\n", ""),),
        "    spec:",
        ("hostNetwork",),
    ),
    Case(
        "SPT005",
        "error",
        H,
        (("system-node-critical", "high"),),
        "priorityClassName",
        ("evicts it first",),
    ),
    Case(
        "SPT005",
        "error",
        H,
        (('            - {name: METADATA_TOKEN_TTL_S, value: "21600"}\n', ""),),
        "    spec:",
        ("without a token", "403"),
    ),
    Case(
        "SPT005",
        "error",
        H,
        (("verbs: [create]", "verbs: [get]"),),
        "serviceAccountName",
        ("may not create pods/eviction",),
    ),
    Case(
        "SPT006",
        "warning",
        P,
        (
            ("base_capacity = 30", "base_capacity = 0"),
            ("base_capacity                  = 2", "base_capacity                  = 1"),
        ),
        '"spot" {',
        ("5 of 10 nodes", "600 requests a second are left", "800 must", "200 a second too few"),
        sale=SALE,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_wrong_thing_is_found_once_at_its_line(case: Case) -> None:
    check(case)


def test_a_pool_as_ack_takes_it_is_read_too() -> None:
    body = {
        "nodepool_info": {"name": "spot-pool"},
        "scaling_group": {
            "instance_types": ["ecs.c7.xlarge"],
            "vswitch_ids": ["vsw-1"],
            "spot_strategy": "SpotWithPriceLimit",
        },
    }
    found = findings_in({"pool.json": json.dumps(body, indent=2)})

    assert sorted((one.id, one.severity, one.line) for one in found) == [
        ("SPT001", "error", 12),
        ("SPT001", "warning", 6),
        ("SPT001", "warning", 9),
        ("SPT002", "error", 12),
        ("SPT003", "error", 5),
    ]


def test_a_right_pool_of_ack_is_silent() -> None:
    body = {
        "nodepool_info": {"name": "spot-pool"},
        "scaling_group": {
            "instance_types": ["ecs.c7.xlarge", "ecs.c8i.xlarge", "ecs.g7.xlarge"],
            "vswitch_ids": ["vsw-1", "vsw-2"],
            "spot_strategy": "SpotWithPriceLimit",
            "spot_price_limit": [
                {"instance_type": f"ecs.{one}.xlarge", "price_limit": "0.3"}
                for one in ("c7", "c8i", "g7")
            ],
            "on_demand_base_capacity": 3,
        },
        "kubernetes_config": {"taints": [{"key": "spot", "value": "true", "effect": "NoSchedule"}]},
    }
    assert shown(findings_in({"pool.json": json.dumps(body)})) == []


def test_a_second_deployment_on_demand_keeps_the_service_off_spot() -> None:
    tolerations = DEPLOYMENT[
        DEPLOYMENT.index("      tolerations") : DEPLOYMENT.index("      containers")
    ]
    base = (
        DEPLOYMENT.replace(SPREAD, "")
        .replace(tolerations, "")
        .replace("name: order-service\n", "name: order-base\n", 1)
    )

    found = findings_in({**broken(D, (SPREAD, "")), "base.yaml": base})

    assert [one.id for one in found if one.id.startswith("SPT")] == []


def test_spot_pods_and_pools_without_a_handler_are_found() -> None:
    found = findings_in({name: text for name, text in GOOD.items() if name != H})

    assert [(one.id, one.severity, one.file) for one in found] == [("SPT005", "warning", P)]


def test_a_handler_whose_roles_are_elsewhere_is_believed() -> None:
    assert findings_in({**GOOD, H: HANDLER.partition("---\n")[0]}) == []
