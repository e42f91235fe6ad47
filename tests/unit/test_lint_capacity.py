"""The rules for room, zones, requests, and for services that keep something."""

import json

import pytest

from broken_service import Case, check
from good_service import DEPLOYMENT, GOOD, SERVICE, findings_in, shown
from saleops.domain.capacity import allocatable, instance_type
from saleops.domain.lint.fleet import SaleFacts
from saleops.domain.lint.plain_values import cpu_m, memory_mib, share_of, whole

D = "deployment.yaml"
SPREAD = DEPLOYMENT[
    DEPLOYMENT.index("        - maxSkew: 1\n          topologyKey: topology") : DEPLOYMENT.index(
        "        - maxSkew: 1\n          topologyKey: node"
    )
]
VOLUME = "      containers:\n        - name: order\n"
RESOURCES = DEPLOYMENT[DEPLOYMENT.index("          resources") : DEPLOYMENT.index("          env:")]
SALE = SaleFacts("s", None, None, pods={"order": 30}, rps_per_pod={"order": 100.0})  # type: ignore[arg-type]


def mounted(volume: str, path: str) -> tuple[tuple[str, str], ...]:
    mount = f"          volumeMounts: [{{name: data, mountPath: {path}}}]\n"
    return ((VOLUME, f"      volumes:\n        - {volume}\n{VOLUME}{mount}"),)


CASES = [
    Case(
        "RES001",
        "error",
        D,
        (("cpu: 500m", '"cpu": "8"'),),
        "replicas: 12",
        ("10 nodes are the most there may be", "cores are missing", "ask for 96.0 cores"),
    ),
    Case(
        "RES001",
        "error",
        D,
        (("memory: 512Mi}\n            limits", "memory: 64Gi}\n            limits"),),
        "replicas: 12",
        ("GiB are missing",),
    ),
    Case(
        "RES002",
        "warning",
        D,
        ((SPREAD, ""),),
        "    spec:",
        ("nothing that spreads them", "0 of 12", "8 would be"),
    ),
    Case(
        "RES002",
        "warning",
        D,
        (("replicas: 12", "replicas: 14"),),
        "replicas: 14",
        ("leaves 9 without one, and the peak needs 20", "1,100 requests a second fail"),
        sale=SALE,
    ),
    Case(
        "RES003",
        "warning",
        D,
        ((RESOURCES, ""),),
        "- name: order",
        ("no requests for cpu and memory, no limit for memory",),
    ),
    Case(
        "RES003",
        "warning",
        D,
        (("            limits: {memory: 512Mi}\n", ""),),
        "resources:",
        ("has no limit for memory",),
    ),
    Case(
        "STA001",
        "warning",
        "service.yaml",
        (("spec:\n", "spec:\n  sessionAffinity: ClientIP\n"),),
        "sessionAffinity",
        ("10,800 s", "12 pods of the sale"),
    ),
    Case(
        "STA002",
        "error",
        D,
        mounted("{name: data, emptyDir: {}}", "/var/lib/sessions"),
        "emptyDir",
        ("/var/lib/sessions", "11 of 12"),
    ),
    Case(
        "STA002",
        "error",
        D,
        (("value: redis", "value: memory"),),
        "value: memory",
        ("SESSION_STORE",),
    ),
    Case(
        "STA003",
        "warning",
        D,
        mounted("{name: data, hostPath: {path: /data}}", "/data"),
        "hostPath",
        ("the directory /data",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_wrong_thing_is_found_once_at_its_line(case: Case) -> None:
    check(case)


def test_a_hundred_pods_on_a_cap_of_ten_nodes_name_the_missing_cores() -> None:
    cron = (
        "apiVersion: autoscaling.alibabacloud.com/v1beta1\nkind: CronHorizontalPodAutoscaler\n"
        "metadata: {name: o, namespace: shop}\nspec:\n"
        "  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order-service}\n  jobs:\n"
        '    - {name: up, schedule: "0 30 23 10 11 *", targetSize: 100}\n'
    )
    texts = {**GOOD, D: DEPLOYMENT.replace("cpu: 500m", 'cpu: "1"'), "cron.yaml": cron}

    found = [one for one in findings_in(texts) if one.id == "RES001"]

    room = 10 * allocatable(instance_type("ecs.c7.2xlarge"))[0]
    assert [(one.file, one.line) for one in found] == [("cron.yaml", 7)]
    assert "CronHPA job up sets targetSize: 100" in found[0].message
    assert f"{(100_000 - room) / 1000:.1f} cores are missing" in found[0].message
    assert found[0].why.endswith(
        f"About {-(-(100_000 - room) // 1000)} of 100 pods of order-service stay Pending."
    )


def test_nothing_is_said_of_room_where_a_pool_has_no_maximum() -> None:
    pool = json.dumps(
        {"scaling_group": {"instance_types": ["ecs.c7.2xlarge"], "vswitch_ids": ["a", "b", "c"]}}
    )
    texts = {**GOOD, "pool.json": pool, D: DEPLOYMENT.replace("cpu: 500m", 'cpu: "8"')}

    assert shown(findings_in(texts)) == []


def test_an_hpa_by_utilization_needs_requests() -> None:
    hpa = (
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: o, namespace: shop}\nspec:\n"
        "  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order-service}\n  maxReplicas: 20\n"
        "  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]\n"
    )
    found = findings_in({**GOOD, "hpa.yaml": hpa, D: DEPLOYMENT.replace(RESOURCES, "")})

    assert [(one.id, one.severity) for one in found if one.id == "RES003"] == [("RES003", "error")]


def test_a_claim_for_one_node_is_not_shared_by_many_pods() -> None:
    claim = (
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c, namespace: shop}\n"
        "spec: {accessModes: [ReadWriteOnce]}\n"
    )
    text = DEPLOYMENT.replace(
        VOLUME,
        f"      volumes:\n        - {{name: d, persistentVolumeClaim: {{claimName: c}}}}\n{VOLUME}",
    )

    found = [
        one for one in findings_in({**GOOD, D: text, "claim.yaml": claim}) if one.id == "STA003"
    ]

    assert [(one.severity, "12 pods share the claim c" in one.message) for one in found] == [
        ("error", True)
    ]


def test_a_cookie_of_nginx_is_sticky_too() -> None:
    text = (
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: x\n  annotations:\n"
        "    nginx.ingress.kubernetes.io/affinity: cookie\nspec: {ingressClassName: nginx}\n"
    )

    assert [(one.id, one.line) for one in findings_in({"i.yaml": text, "s.yaml": SERVICE})] == [
        ("STA001", 6)
    ]


def test_quantities_are_read_as_kubernetes_does() -> None:
    assert [cpu_m(one) for one in (1, "0.5", "500m", "100u", "x", None, True, [])] == [
        1000,
        500,
        500,
        1,
        None,
        None,
        None,
        None,
    ]
    assert [memory_mib(one) for one in ("512Mi", "1Gi", 1 << 20, "1G", "1e3x", {})] == [
        512,
        1024,
        1,
        954,
        None,
        None,
    ]
    assert [whole(one) for one in ("12", 12, True, "1.5", " 7 ", 10**20, "١")] == [
        12,
        12,
        None,
        None,
        7,
        None,
        None,
    ]
    assert [share_of("25%", 10, round_up=one) for one in (True, False)] == [3, 2]
