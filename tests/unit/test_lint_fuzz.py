"""Whatever a file holds, lint says something about it and never falls over."""

import copy
import random
from typing import Any

import pytest
import yaml

from lint_charts import manifests
from lint_lab import SALE, TODAY, lint_texts
from saleops.cli.lint_formats import junit, sarif
from saleops.operations.lint.fixing import FixPlan, plan_fixes
from saleops.operations.lint.linting import lint
from saleops.operations.lint.reading import Texts

MUTANTS = 5_000
A_BATCH = 25

_STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 10**30, 0.5, float("inf"), float("nan"), "", " ", "no"),
    *(
        "0",
        "-5",
        "1e3",
        "100%",
        "∞",
        "a" * 5_000,
        "日本語",
        "\U0001f600",
        "%",
        "/",
        "*",
        "x\ny",
        "-",
    ),
    *([], {}, [None], [[[]]], {"": ""}, {"a": {"b": {"c": []}}}, ["a", 1, None, {}]),
)

_SALE_DAY = """
apiVersion: autoscaling.alibabacloud.com/v1beta1
kind: CronHorizontalPodAutoscaler
metadata: {name: order-cron, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, name: order}
  excludeDates: []
  jobs:
  - {name: up, schedule: "@date 2026-11-10 23:00:00", targetSize: 100}
  - {name: down, schedule: "0 0 2 11 11 *", targetSize: 10, runOnce: true}
---
apiVersion: alibabacloud.com/v1
kind: AlbConfig
metadata: {name: sale-alb}
spec:
  config: {name: sale-alb, addressType: Internet, zoneMappings: [{vSwitchId: a}, {vSwitchId: b}]}
  listeners:
  - {port: 443, protocol: HTTPS, certificates: [{CertificateId: 1-ap, IsDefault: true}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: alb}
spec:
  controller: ingress.k8s.alibabacloud/alb
  parameters: {apiGroup: alibabacloud.com, kind: AlbConfig, name: sale-alb}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: shop
  annotations:
    alb.ingress.kubernetes.io/listen-ports: '[{"HTTP":80},{"HTTPS":443}]'
    alb.ingress.kubernetes.io/traffic-limit-qps: "20000"
    alb.ingress.kubernetes.io/slow-start-enabled: "true"
spec:
  ingressClassName: alb
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: order, port: {number: 80}}}}]}
---
apiVersion: chaosblade.io/v1alpha1
kind: ChaosBlade
metadata: {name: loss}
spec:
  experiments:
  - {scope: pod, target: network, action: loss, matchers: [{name: namespace, value: [shop]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: rules, namespace: shop}
data:
  degrade: '[{"resource": "reco", "grade": 0, "count": 500, "timeWindow": 30}]'
---
cluster_type: ManagedKubernetes
vswitch_ids: [a, b]
addons: [{name: terway-eniip}]
nodepools: [{nodepool_info: {name: a}, scaling_group: {instance_types: [x], spot_price_limit: [{}]}}]
---
nodepool_info: {name: spot}
auto_scaling: {enable: true, min_instances: 1, max_instances: 2}
scaling_group: {instance_types: [ecs.c7.xlarge], spot_strategy: SpotAsPriceGo, vswitch_ids: [a]}
"""


def _spots(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        found.append((value, key))
        if isinstance(inner, dict | list):
            _spots(inner, found)
    return found


def _mutated_values(rng: random.Random, value: Any) -> Any:
    """``value`` with some of its parts replaced, taken away, doubled or moved."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        spots = _spots(value, [])
        if not spots:
            return value
        holder, key = rng.choice(spots)
        what = rng.random()
        if what < 0.6:
            holder[key] = copy.deepcopy(rng.choice(_STRANGE))
        elif what < 0.75:
            del holder[key]
        elif what < 0.85:
            holder[key] = [copy.deepcopy(holder[key])] * rng.randint(0, 3)
        elif what < 0.95:
            holder[key] = {str(rng.choice(("name", "spec", "x", ""))): copy.deepcopy(holder[key])}
        else:
            other, there = rng.choice(spots)
            if other is not holder:
                holder[key] = copy.deepcopy(other.get(there) if isinstance(other, dict) else None)
    return value


def _mutated_text(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        what = rng.randrange(9)
        if what == 0:
            text = text[:at]
        elif what == 1:
            text = text[:at] + rng.choice("[]{}:,#&*!|>'\"%@`\t\r\n\0\x85\ufeff -?~") + text[at:]
        elif what == 2:
            text = text[:at] + rng.choice(("[" * 500, "{a: " * 500, "- " * 500)) + text[at:]
        elif what == 3:
            text = (
                text[:at]
                + rng.choice(("{{ .Values.x }}", "{{- if .a }}", "&a", "*a", "<<: "))
                + text[at:]
            )
        elif what == 4:
            text = text[:at] + text[rng.randrange(len(text) + 1) :]
        elif what == 5:
            text = text.replace(
                "\n", rng.choice(("\r\n", "\r", "\n\n", "\n\t", "\u2028")), rng.randint(1, 40)
            )
        elif what == 6:
            text = (
                text[:at]
                + rng.choice(("日本", "\ud800", "\U0001f600" * 50, "x" * 100_000))
                + text[at:]
            )
        elif what == 7:
            text = text[:at] + "\n---\n" + text[at:]
        else:
            text = (
                text[:at]
                + "\n# saleops: ignore ALB002"
                + rng.choice((" until x", " reason: y", ""))
                + "\n"
                + text[at:]
            )
    return text


def _mutants(seed: int, count: int) -> dict[str, str]:
    rng = random.Random(seed)
    originals = [*yaml.safe_load_all(_SALE_DAY)]
    originals += [
        next(iter(yaml.load_all(one, yaml.CSafeLoader))) for one in manifests(40, seed=seed)
    ]
    charts = manifests(40, seed=seed)
    texts = {}
    for number in range(count):
        if rng.random() < 0.6:
            chosen = [_mutated_values(rng, rng.choice(originals)) for _ in range(rng.randint(1, 3))]
            text = yaml.dump_all(
                chosen, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True
            )
        else:
            text = _mutated_text(rng, rng.choice((_SALE_DAY, *charts)))
        texts[f"{number}.yaml"] = text
    return texts


@pytest.mark.parametrize("seed", range(MUTANTS // 500))
def test_mutated_files_never_make_a_rule_fail(seed: int) -> None:
    texts = list(_mutants(seed, 500).items())

    for start in range(0, len(texts), A_BATCH):
        sale = SALE if start % (2 * A_BATCH) else None
        report = lint_texts(dict(texts[start : start + A_BATCH]), sale)

        assert report.files == A_BATCH
        assert all(one.line > 0 and one.column > 0 and one.message for one in report.findings)


def test_mutated_files_can_be_fixed_and_written_down_in_every_format() -> None:
    texts = Texts(_mutants(99, 100))

    fixes = plan_fixes(texts, lambda some: lint(some, today=TODAY, sale=SALE).findings).fixes
    after = Texts({**texts.texts, **{one.file: one.after for one in fixes}})
    again = plan_fixes(after, lambda some: lint(some, today=TODAY, sale=SALE).findings)
    assert again == FixPlan()
    report = lint(texts, today=TODAY)

    assert sarif(report)
    assert junit(report, 0.1)


@pytest.mark.parametrize("name", ["x.json", "x.tf", "x.lua", "x"])
def test_mutated_texts_of_other_kinds_never_make_a_rule_fail(name: str) -> None:
    rng = random.Random(name)
    originals = {
        "x.json": '{"cluster_type": "ManagedKubernetes", "addons": [{"name": "flannel"}], "n": 1.5e3}',
        "x.tf": 'resource "alicloud_vpc" "a" {\n  cidr_block = "10.0.0.0/8"\n  tags = { a = [1, "b"] }\n}\n',
        "x.lua": "local n = tonumber(ARGV[1])\nredis.call('decrby', KEYS[1], n)\nreturn 1\n",
        "x": "name: x\nitems: [1, 2]\n",
    }

    for number in range(200):
        text = _mutated_text(rng, originals[name])
        lint_texts({f"{number}{name}": text})


def test_two_hundred_objects_in_the_shapes_of_charts_are_read_and_judged() -> None:
    texts = {f"{number}.yaml": one for number, one in enumerate(manifests(200, seed=7))}

    report = lint_texts(texts)

    assert report.documents == 200
    assert not [one for one in report.findings if one.id.startswith("SRC")]
