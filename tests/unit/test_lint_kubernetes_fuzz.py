"""No value of any type makes a Kubernetes rule raise: the good service with anything anywhere."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from good_service import GOOD, fleet_of, our_rules
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet, SaleFacts
from saleops.domain.lint.plain_values import walk

AUTOSCALERS = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: order, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order-service}
  minReplicas: 2
  maxReplicas: 40
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
---
apiVersion: autoscaling.alibabacloud.com/v1beta1
kind: CronHorizontalPodAutoscaler
metadata: {name: order, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: order}
  jobs: [{name: up, schedule: "0 30 23 10 11 *", targetSize: 100}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: eni-config, namespace: kube-system}
data: {disable_network_policy: "true"}
---
apiVersion: apps.kruise.io/v1beta1
kind: ImagePullJob
metadata: {name: pull, namespace: shop}
spec: {image: x}
"""
POOL = '{"scaling_group": {"instance_types": ["ecs.c7.xlarge"], "spot_strategy": "SpotAsPriceGo"}}'
DOCUMENTS = fleet_of({**GOOD, "more.yaml": AUTOSCALERS, "pool.json": POOL}).documents
PLACES = [(number, path) for number, one in enumerate(DOCUMENTS) for path, _ in walk(one.value)]
RULES = our_rules()
SALE = SaleFacts(
    "s",
    datetime(2026, 11, 11, tzinfo=UTC),
    datetime(2026, 11, 12, tzinfo=UTC),
    peak_rps=9000.0,
    baseline_rps=900.0,
    pods={"order": 90, "x": 0},
    rps_per_pod={"order": 100.0},
    checkout_p99_ms=900.0,
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "",
            "0",
            "-1",
            "100%",
            "{{ .Values.x }}",
            "${var.x}",
            "0.0.0.0/0",
            "*",
            "latest",
            "alb",
            "9" * 400,
        ]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(SCALARS.filter(lambda key: key == key), inner, max_size=3)
    ),
    max_leaves=8,
)
GONE = object()


@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), ANYTHING | st.just(GONE)), min_size=1, max_size=4
    )
)
@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_no_value_anywhere_makes_a_rule_raise(
    changes: list[tuple[tuple[int, KeyPath], Any]],
) -> None:
    documents = list(DOCUMENTS)
    for (number, path), value in changes:
        documents[number] = changed(documents[number], path, value)
    for sale in (None, SALE):
        fleet = Fleet(tuple(documents), sale=sale)
        for one in RULES:
            for hit in one.check(fleet):
                line, column = hit.document.place(hit.path, key=hit.key)
                assert line >= 1
                assert column >= 1
                assert hit.message


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, "x", [], {}, [[]], {"a": None}, [None, 1, "x"]], ids=repr
)
def test_every_value_of_the_service_may_be_of_the_wrong_type(value: Any) -> None:
    for number, path in PLACES:
        documents = list(DOCUMENTS)
        documents[number] = changed(documents[number], path, value)
        fleet = Fleet(tuple(documents), sale=SALE)
        for one in RULES:
            for hit in one.check(fleet):
                hit.document.place(hit.path, key=hit.key)


def test_what_is_said_is_said_with_a_reason_a_fix_and_a_source() -> None:
    for one in RULES:
        assert one.why.endswith((".", "!"))
        assert one.fix.endswith((".", "!"))
        assert one.title
        assert one.source
        assert one.bad
        assert one.good


def test_a_thousand_manifests_are_judged_in_a_moment() -> None:
    import time

    texts = {
        f"{n}/{name}": text.replace("order", f"order{n}")
        for n in range(100)
        for name, text in GOOD.items()
        if name != "pools.tf"
    }
    fleet = fleet_of(texts)
    assert len(fleet.documents) == 1100
    began = time.process_time()
    for one in RULES:
        list(one.check(fleet))
    assert time.process_time() - began < 3


def changed(document: LintDocument, path: KeyPath, value: Any) -> LintDocument:
    """A copy of ``document`` with ``value`` at ``path``, or without what is there."""
    whole = copy.deepcopy(document.value)
    if not path:
        whole = None if value is GONE else value
    else:
        holder = whole
        try:
            for part in path[:-1]:
                holder = holder[part]
            if value is GONE:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
        except (LookupError, TypeError):
            return document  # an earlier change took the place away
    return LintDocument(
        document.file, document.format, whole, document.text, document.places, document.keys
    )
