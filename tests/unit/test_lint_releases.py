"""Which objects of a repository are judged together, and rules that must not join or count what is not."""

import pytest

from lint_lab import ids, lint_text, lint_texts
from saleops.domain.lint.findings import Finding


def deployment(
    name: str = "web", namespace: str = "", *, probe: str = "", image: str = "a:1"
) -> str:
    space = f", namespace: {namespace}" if namespace else ""
    shown = f"image: {image}, " if image else ""
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}{space}}}\nspec:\n  replicas: 3\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n"
        f"      containers: [{{name: c, {shown}ports: [{{containerPort: 80}}]{probe}}}]\n"
    )


def service(namespace: str = "") -> str:
    space = f", namespace: {namespace}" if namespace else ""
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: web{space}}}\n"
        "spec: {selector: {app: web}, ports: [{port: 80, targetPort: 80}]}\n"
    )


def budget(name: str = "web", spec: str = "maxUnavailable: 1", version: str = "v1") -> str:
    return (
        f"apiVersion: policy/{version}\nkind: PodDisruptionBudget\nmetadata: {{name: {name}}}\n"
        f"spec: {{{spec}, selector: {{matchLabels: {{app: web}}}}}}\n"
    )


def said(texts: dict[str, str], id: str) -> list[Finding]:
    return [one for one in lint_texts(texts).findings if one.id == id]


@pytest.mark.parametrize(
    ("one", "other", "space", "joined"),
    [
        ("a/d.yaml", "a/s.yaml", "", True),
        ("a/d.yaml", "b/s.yaml", "", False),
        ("a/d.yaml", "b/s.yaml", "shop", True),
        ("c/templates/d.yaml", "c/charts/x/templates/s.yaml", "", True),
    ],
    ids=["folder", "folders", "same-namespace", "chart"],
)
def test_a_service_reaches_pods_of_its_release(
    one: str, other: str, space: str, joined: bool
) -> None:
    found = said({one: deployment(namespace=space), other: service(space)}, "PRB005")

    assert bool(found) is joined


def test_a_kustomization_joins_the_folders_it_names() -> None:
    texts = {
        "base/d.yaml": deployment(),
        "extra/s.yaml": service(),
        "prod/kustomization.yaml": "resources: [../base, ../extra/s.yaml]\n",
    }

    assert said(texts, "PRB005")
    assert not said({**texts, "prod/kustomization.yaml": "resources: [../base]\n"}, "PRB005")


def test_overlays_of_one_object_are_not_joined() -> None:
    texts = {
        "dev/d.yaml": deployment(namespace="shop"),
        "prod/d.yaml": deployment(
            namespace="shop", probe=", readinessProbe: {tcpSocket: {port: 80}}"
        ),
        "prod/s.yaml": service("shop"),
    }

    assert not said(texts, "PRB005")


def test_an_object_that_is_written_twice_counts_once() -> None:
    texts = {"d.yaml": deployment() + "---\n" + service(), "b.yaml": budget(), "all.yaml": budget()}

    assert not said(texts, "PDB001")
    assert said({**texts, "all.yaml": budget("second")}, "PDB001")


def test_a_budget_of_another_folder_is_not_missed() -> None:
    texts = {"a/d.yaml": deployment() + "---\n" + service(), "policies/b.yaml": budget()}

    assert not said(texts, "PDB001")


def test_a_patch_is_not_blamed_for_what_it_leaves_alone() -> None:
    text = deployment(image="") + "---\n" + service()

    assert not {"RES003", "RES002", "PRB005", "PDB001"} & set(ids(lint_text(text)))


def test_any_container_that_asks_makes_the_pod_wait() -> None:
    text = deployment().replace(
        "containers: [",
        "containers: [{name: p, image: b:1, readinessProbe: {tcpSocket: {port: 1}}}, ",
    )

    assert "PRB005" not in ids(lint_text(text + "---\n" + service()))


def test_a_budget_of_the_old_version_moves_first() -> None:
    (found,) = (one for one in lint_text(budget(version="v1beta1")) if one.id == "PDB002")

    assert "policy/v1 first" in found.fix
    assert found.edits == ()


def test_a_budget_over_no_pods_forbids_nothing() -> None:
    text = (
        deployment().replace("replicas: 3", "replicas: 0")
        + "---\n"
        + budget(spec="minAvailable: 1")
    )

    assert "PDB001" not in ids(lint_text(text))


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("httpGet: {path: /already, port: 80}", False),
        ("httpGet: {path: /ready, port: 80}", True),
        ("httpGet: {path: /health/db, port: 80}", True),
        ("exec: {command: [curl, 'http://$(POD_IP):80/']}", False),
        ("exec: {command: [curl, 'http://$HOSTNAME:80/']}", False),
        ("exec: {command: [curl, 'http://127.0.0.1:80/']}", False),
        ("exec: {command: [curl, 'http://db.shop:80/']}", True),
    ],
    ids=["already", "ready", "db", "pod-ip", "hostname", "loopback", "other"],
)
def test_a_liveness_probe_of_ones_own_pod_is_no_dependency(handler: str, found: bool) -> None:
    text = deployment(probe=f", livenessProbe: {{{handler}}}")

    assert ("PRB004" in ids(lint_text(text))) is found


def test_two_classes_that_differ_are_left_to_people() -> None:
    text = (
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i\n  annotations:\n"
        "    kubernetes.io/ingress.class: nginx\n    a: b\nspec:\n  ingressClassName: alb\n"
    )

    (found,) = (one for one in lint_text(text) if one.id == "ALB002")

    assert found.edits == ()
    assert "nginx" in found.message
    assert "alb" in found.message
    (nginx,) = (
        one
        for one in lint_text(text.replace("  ingressClassName: alb", "  rules: []"))
        if one.id == "ALB002"
    )
    assert "AlbConfig" not in nginx.why
