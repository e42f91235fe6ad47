"""The rules for names that lead nowhere: Services, Ingresses, HPAs, kinds."""

from pathlib import Path

import pytest

from good_service import GOOD
from lint_lab import TODAY, lint_texts
from saleops.domain.lint.findings import Finding
from saleops.operations.lint.linting import Choice, lint
from saleops.operations.lint.reading import read_paths

NAMES = Choice(only=("SVC001", "SVC002", "SVC003", "HPA001", "HPA002", "KND001"))
GOLDEN = Path(__file__).parents[1] / "golden" / "k8s"

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: order}
spec:
  template:
    metadata: {labels: {app: order, tier: web}}
    spec: {containers: [{name: order, image: "order:1"}]}
"""
PATCH = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: order}
spec: {replicas: 9}
"""
OPERATED = "apiVersion: shop.example.com/v1\nkind: Shop\nmetadata: {name: shop}\n"
MONITOR = "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: shop}\n"


def service(spec: str = "selector: {app: order}", name: str = "order", more: str = "") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}{more}}}\nspec: {{{spec}}}\n"


def ingress(name: str = "order", port: str = "number: 80", path: str = "/", notes: str = "") -> str:
    return f"""\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: shop, annotations: {{{notes}}}}}
spec:
  rules:
    - http:
        paths:
          - path: {path}
            pathType: Prefix
            backend: {{service: {{name: {name}, port: {{{port}}}}}}}
"""


def hpa(
    bounds: str = "minReplicas: 2, maxReplicas: 9", kind: str = "Deployment", name: str = "order"
) -> str:
    return f"""\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: order}}
spec: {{{bounds}, scaleTargetRef: {{apiVersion: apps/v1, kind: {kind}, name: {name}}}}}
"""


def said(*texts: str, files: bool = False) -> list[tuple[str, str]]:
    """(id, severity) of what the rules find in the documents of one file (or of a folder each)."""
    named = (
        {f"{i}/x.yaml": one for i, one in enumerate(texts)}
        if files
        else {"x.yaml": "---\n".join(texts)}
    )
    return [(one.id, one.severity) for one in found(named)]


def found(texts: dict[str, str]) -> tuple[Finding, ...]:
    return lint_texts(texts, choice=NAMES).findings


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((service("selector: {app: ordr}"),), [("SVC001", "error")]),
        ((service("selector: {app: order, tier: db}"),), [("SVC001", "error")]),
        ((service("selector: {app: ordr}"), OPERATED), [("SVC001", "warning")]),
        ((service("selector: {app: ordr}"), MONITOR), [("SVC001", "error")]),
        ((service("selector: {app: order, leader: 'yes'}"),), [("SVC001", "warning")]),
        ((service(),), []),
        ((service("selector: {app: order, statefulset.kubernetes.io/pod-name: a-0}"),), []),
        ((service("selector: {app: ordr}, type: ExternalName"),), []),
        ((service("ports: []"),), []),
        ((service("selector: {app: order}", more=", namespace: shop"),), []),
        ((service("selector: {app: ordr}").replace(": v1", ": serving.knative.dev/v1"),), []),
        ((ingress("ordr"), service()), [("SVC002", "error")]),
        ((ingress("ordr"), service(), OPERATED), [("SVC002", "warning")]),
        ((ingress("ordr"),), [("SVC002", "warning")]),
        ((ingress(), service()), []),
        ((ingress("answer", "name: use-annotation"), service()), []),
        ((ingress("a", notes="alb.ingress.kubernetes.io/actions.a: '[]'"), service()), []),
        ((ingress(path="api/orders"), service()), [("SVC003", "error")]),
        ((ingress(path='""'), service()), [("SVC003", "error")]),
        ((ingress(path="api").replace("Prefix", "ImplementationSpecific"), service()), []),
        ((hpa("minReplicas: 9, maxReplicas: 8"),), [("HPA001", "error")]),
        ((hpa("minReplicas: 9, maxReplicas: 9"),), []),
        ((hpa("minReplicas: '9', maxReplicas: few"),), []),
        ((hpa(name="ordr"),), [("HPA002", "error")]),
        ((hpa(kind="StatefulSet"),), [("HPA002", "error")]),
        ((hpa(name="ordr"), OPERATED), [("HPA002", "warning")]),
        ((hpa(kind="Shop", name="shop"),), []),
        ((hpa(),), []),
    ],
)
def test_a_name_is_judged_beside_a_deployment(
    texts: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    assert said(DEPLOYMENT, *texts) == expected


@pytest.mark.parametrize(
    "texts",
    [(service("selector: {app: x}"),), (ingress("x"),), (hpa(name="x"),)],
    ids=["service", "ingress", "hpa"],
)
def test_a_release_without_workloads_says_nothing_is_missing(texts: tuple[str, ...]) -> None:
    assert not said(*texts)
    assert not said(*texts, DEPLOYMENT, files=True)
    assert not said(*texts, PATCH)


@pytest.mark.parametrize(
    ("name", "severity"), [("order", "error"), ("ordr", "error"), ("catalog", "warning")]
)
def test_in_a_folder_of_many_files_a_service_is_judged_by_what_it_is_near(
    name: str, severity: str
) -> None:
    texts = {"k8s/a.yaml": DEPLOYMENT, "k8s/b.yaml": service("selector: {app: x}", name=name)}

    assert [(one.id, one.severity) for one in found(texts)] == [("SVC001", severity)]


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [
        ("apps/v1", "Deploymnt", "did you mean Deployment?"),
        (
            "autoscaling.alibabacloud.com/v1beta1",
            "CromHorizontalPodAutoscaler",
            "mean CronHorizontal",
        ),
        ("app/v1", "Deployment", "did you mean apps/v1?"),
        ("v1", "Deployment", "did you mean apps/v1?"),
        ("autoscaling/v1", "CronHorizontalPodAutoscaler", "autoscaling.alibabacloud.com/v1beta1?"),
        ("networking.k8s.oi/v1", "Ingress", "did you mean networking.k8s.io/v1?"),
    ],
)
def test_a_kind_that_is_nearly_one_is_named(version: str, kind: str, words: str) -> None:
    (one,) = found({"x.yaml": f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n"})

    assert (one.id, one.severity) == ("KND001", "warning")
    assert words in one.message


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("extensions/v1beta1", "Deployment"),
        ("apps.kruise.io/v1beta1", "StatefulSet"),
        ("serving.knative.dev/v1", "Service"),
        ("example.com/v1", "Deploymnt"),
        ("v1", "Config"),
        ("apps/v1", "DeploymentList"),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
    ],
)
def test_kinds_of_others_are_theirs(version: str, kind: str) -> None:
    assert not said(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")


@pytest.mark.parametrize("value", ["7", "[]", "[7, [a]]", "{a: {b: [c]}}", "null", "true", "text"])
@pytest.mark.parametrize("key", ["metadata", "spec", "apiVersion"])
def test_a_value_of_another_type_is_no_bug_of_ours(key: str, value: str) -> None:
    for text in (DEPLOYMENT, service(), ingress(), hpa()):
        head = [one for one in text.splitlines() if one.startswith(("apiVersion", "kind"))]
        broken = "\n".join([one for one in head if not one.startswith(key)] + [f"{key}: {value}\n"])
        found({"x.yaml": "---\n".join((DEPLOYMENT, service(), broken))})
        for inner in ("selector", "rules", "scaleTargetRef", "template", "defaultBackend"):
            found(
                {
                    "x.yaml": "---\n".join(
                        (DEPLOYMENT, f"{chr(10).join(head)}\nspec: {{{inner}: {value}}}\n")
                    )
                }
            )


def test_what_is_right_stays_silent() -> None:
    texts = {name: text for name, text in GOOD.items() if name.endswith(".yaml")}

    assert not found(texts)
    assert not lint(read_paths([str(GOLDEN)], stdin=bytes), today=TODAY, choice=NAMES).findings
