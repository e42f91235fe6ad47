"""Rules on ChaosBlade experiments: what each would hit besides what was meant."""

from dataclasses import replace

import pytest

from lint_lab import SALE
from rule_cases import said_by

BLADE = """\
apiVersion: chaosblade.io/v1alpha1
kind: ChaosBlade
metadata: {{name: try{more}}}
spec:
  experiments:
  - scope: {scope}
    target: {target}
    action: {action}
    matchers:
    - {{name: namespace, value: [{space}]}}
{matchers}
"""
ORDER = """\
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: order, namespace: staging}
spec:
  replicas: 3
  template: {metadata: {labels: {app: order}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: order, namespace: staging}
spec: {minAvailable: 2, selector: {matchLabels: {app: order}}}
"""


def blade(
    *matchers: str,
    scope: str = "pod",
    target: str = "pod",
    action: str = "delete",
    space: str = "staging",
    more: str = "",
) -> str:
    lines = "\n".join(f"    - {one}" for one in matchers)
    return BLADE.format(
        scope=scope, target=target, action=action, space=space, matchers=lines, more=more
    )


LABELS = '{name: labels, value: ["app=order"]}'
ONE = '{name: evict-count, value: ["1"]}'
TIMEOUT = '{name: timeout, value: ["300"]}'
PORT = '{name: remote-port, value: ["3306"]}'
NET = {"target": "network", "action": "loss"}

CASES = {
    "CHS001": (blade(LABELS, ONE, space="shop-prod"), blade(LABELS, ONE)),
    "CHS002": (blade(LABELS), blade(LABELS, ONE)),
    "CHS003": (
        blade(LABELS, ONE, target="cpu", action="fullload"),
        blade(LABELS, ONE, TIMEOUT, target="cpu", action="fullload"),
    ),
    "CHS004": (blade(LABELS, ONE, TIMEOUT, **NET), blade(LABELS, ONE, TIMEOUT, PORT, **NET)),
    "CHS005": (
        blade(TIMEOUT, scope="node", target="cpu", action="fullload"),
        blade(
            TIMEOUT, "{name: names, value: [node-1]}", scope="node", target="cpu", action="fullload"
        ),
    ),
    "CHS006": (blade(LABELS, "{name: evict-count, value: 1}"), blade(LABELS, ONE)),
    "CHS007": (
        blade(LABELS, ONE, more=', annotations: {saleops.io/starts: "2026-11-10T17:00:00Z"}'),
        blade(LABELS, ONE, more=', annotations: {saleops.io/starts: "2026-11-09T17:00:00Z"}'),
    ),
    "CHS008": (
        blade(LABELS, '{name: evict-count, value: ["2"]}') + ORDER,
        blade(LABELS, ONE) + ORDER,
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_bad_experiment_is_found_and_the_good_one_is_not(rule: str) -> None:
    bad, good = CASES[rule]

    assert said_by(rule, bad, sale=SALE), rule
    assert said_by(rule, good, sale=SALE) == []


def test_a_matcher_in_no_namespace_acts_on_default() -> None:
    text = blade(LABELS, ONE).replace("    - {name: namespace, value: [staging]}\n", "")

    (found,) = said_by("CHS001", text)

    assert "default" in found.message


def test_a_percentage_that_rounds_down_to_none_is_found() -> None:
    (found,) = said_by("CHS002", blade(LABELS, '{name: evict-percent, value: ["10"]}') + ORDER)

    assert "10 % of the 3 pods of order rounds down to 0" in found.message


def test_how_many_pods_a_fault_without_a_limit_hits_is_said() -> None:
    (found,) = said_by("CHS002", blade(LABELS) + ORDER)

    assert "3 pods here" in found.message


def test_the_arithmetic_of_the_budget_is_said() -> None:
    (found,) = said_by("CHS008", CASES["CHS008"][0])

    assert "3 - 2 = 1 pods of order" in found.message


def test_a_fault_whose_timeout_reaches_into_the_sale_is_found() -> None:
    text = blade(
        LABELS,
        ONE,
        '{name: timeout, value: ["7200"]}',
        target="cpu",
        action="fullload",
        more=', annotations: {saleops.io/starts: "2026-11-10T15:00:00Z"}',
    )

    assert said_by("CHS007", text, sale=SALE)
    assert said_by("CHS007", text, sale=replace(SALE, opens=SALE.closes)) == []


def test_excluding_some_control_ports_is_not_enough() -> None:
    (found,) = said_by(
        "CHS004", blade(LABELS, TIMEOUT, '{name: exclude-port, value: ["22"]}', **NET)
    )

    assert "6443, 10250" in found.message
