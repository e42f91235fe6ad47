"""The rules for disruption budgets."""

import pytest

from broken_service import Case, check
from good_service import BUDGET, GOOD, findings_in
from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.rules_pdb import evictions_at_once

B = "budget.yaml"
CASES = [
    Case(
        "PDB001",
        "error",
        B,
        (("maxUnavailable: 25%", "maxUnavailable: 0"),),
        "maxUnavailable",
        ("maxUnavailable: 0", "no eviction"),
    ),
    Case(
        "PDB001",
        "error",
        B,
        (("maxUnavailable: 25%", 'maxUnavailable: "0%"'),),
        "maxUnavailable",
        ("0%",),
    ),
    Case(
        "PDB001",
        "error",
        B,
        (("maxUnavailable: 25%", "minAvailable: 12"),),
        "minAvailable",
        ("minAvailable: 12 of 12",),
    ),
    Case(
        "PDB001",
        "error",
        B,
        (("maxUnavailable: 25%", "minAvailable: 100%"),),
        "minAvailable",
        ("100%",),
    ),
    Case(
        "PDB002",
        "warning",
        B,
        (("  unhealthyPodEvictionPolicy: AlwaysAllow\n", ""),),
        "maxUnavailable",
        ("not set",),
    ),
    Case(
        "PDB002",
        "warning",
        B,
        (("AlwaysAllow", "IfHealthyBudget"),),
        "IfHealthyBudget",
        ("IfHealthyBudget",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_wrong_thing_is_found_once_at_its_line(case: Case) -> None:
    check(case)


def test_a_service_without_a_budget_is_found() -> None:
    found = findings_in({name: text for name, text in GOOD.items() if name != B})

    assert [(one.id, one.severity, one.file) for one in found] == [
        ("PDB001", "warning", "deployment.yaml")
    ]
    assert "12 pods behind Service order-service" in found[0].message


def test_a_budget_that_allows_one_eviction_is_silent() -> None:
    assert (
        findings_in({**GOOD, B: BUDGET.replace("maxUnavailable: 25%", "minAvailable: 75%")}) == []
    )


def test_two_budgets_on_one_pod_are_found() -> None:
    found = findings_in(
        {**GOOD, "two.yaml": BUDGET.replace("name: order-service,", "name: second,")}
    )

    assert [(one.id, one.severity, one.file) for one in found] == [("PDB001", "error", "two.yaml")]
    assert "order-service, second" in found[0].message
    assert "500" in found[0].why


def test_an_hpa_may_go_below_what_the_budget_keeps() -> None:
    hpa = (
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: o, namespace: shop}\n"
        "spec: {minReplicas: 3, maxReplicas: 12, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order-service}}\n"
    )
    texts = {**GOOD, "hpa.yaml": hpa, B: BUDGET.replace("maxUnavailable: 25%", "minAvailable: 3")}

    assert [(one.id, "of 3" in one.message) for one in findings_in(texts)] == [("PDB001", True)]


@pytest.mark.parametrize(
    ("spec", "count", "at_once"),
    [
        ({"maxUnavailable": "25%"}, 10, 3),
        ({"maxUnavailable": 1}, 10, 1),
        ({"minAvailable": "75%"}, 10, 2),
        ({"minAvailable": 12}, 10, 0),
        ({}, 10, None),
        ({"minAvailable": "many"}, 10, None),
    ],
    ids=["quarter", "one", "three-quarters", "too-many", "nothing", "words"],
)
def test_evictions_are_rounded_as_kubernetes_does(
    spec: object, count: int, at_once: int | None
) -> None:
    assert evictions_at_once(LintDocument("x", "kubernetes", {"spec": spec}), count) == at_once
