"""The rules for probes: each threshold from both sides, with the arithmetic of the cascade."""

import pytest

from broken_service import Case, check
from good_service import DEPLOYMENT, GOOD, broken, findings_in, fleet_of, shown
from saleops.domain.lint.estate import estate_of
from saleops.domain.lint.fleet import SaleFacts
from saleops.domain.lint.probe_windows import cascade, probe_of
from saleops.domain.lint.shutdown import pre_stop_s

D = "deployment.yaml"
LIVE = "            periodSeconds: 10\n            timeoutSeconds: 5\n            failureThreshold: 6\n"
READY = (
    "            periodSeconds: 5\n            timeoutSeconds: 2\n            failureThreshold: 2\n"
)
START = DEPLOYMENT[
    DEPLOYMENT.index("          startupProbe") : DEPLOYMENT.index("          livenessProbe")
]
READINESS = DEPLOYMENT[DEPLOYMENT.index("          readinessProbe") :]
IMAGE = "image: registry.example.com/shop/order@sha256:0123456789abcdef"
SALE = SaleFacts(
    "s",
    None,
    None,
    peak_rps=5000.0,
    pods={"order": 12},
    rps_per_pod={"order": 100.0},
    checkout_p99_ms=900.0,
)  # type: ignore[arg-type]


def probe(period: int, timeout: int, failures: int, extra: str = "") -> str:
    fields = {"periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}
    return "".join(f"            {name}: {value}\n" for name, value in fields.items()) + extra


CASES = [
    Case(
        "PRB001",
        "error",
        D,
        ((LIVE, probe(10, 1, 6)),),
        "timeoutSeconds: 1",
        ("waits 1 s x 6 failures", "61 s"),
    ),
    Case(
        "PRB001",
        "error",
        D,
        ((LIVE, LIVE.replace("            timeoutSeconds: 5\n", "")),),
        "livenessProbe",
        ("(the default)",),
    ),
    Case(
        "PRB001",
        "error",
        D,
        ((LIVE, probe(10, 1, 6)),),
        "timeoutSeconds: 1",
        (
            "checkout's p99 may reach 900 ms",
            "90 % of that",
            "0.80",
            "0.99",
            "2 pods may be lost",
            "the cascade takes all",
        ),
        sale=SALE,
    ),
    Case(
        "PRB002",
        "error",
        D,
        ((LIVE, probe(9, 5, 3)),),
        "failureThreshold: 3",
        ("3 failures x 9 s = 27 s", "32 s"),
    ),
    Case("PRB002", "warning", D, ((LIVE, probe(10, 5, 5)),), "failureThreshold: 5", ("= 50 s",)),
    Case(
        "PRB003",
        "warning",
        D,
        (("path: /livez", "path: /readyz"),),
        "livenessProbe",
        ("65 s and 12 s",),
        ("PRB004",),
    ),
    Case(
        "PRB003",
        "error",
        D,
        (("/livez", "/health"), ("/readyz", "/health"), (READY, probe(10, 5, 3))),
        "livenessProbe",
        ("65 s and 35 s", "30 s is killed"),
    ),
    Case(
        "PRB004",
        "warning",
        D,
        (
            (
                "livenessProbe:\n            httpGet: {path: /livez",
                "livenessProbe:\n            httpGet: {path: /health/db",
            ),
        ),
        "/health/db",
        ("all 12 pods",),
    ),
    Case(
        "PRB004",
        "warning",
        D,
        (
            (
                "livenessProbe:\n            httpGet: {path: /livez, port: http}",
                'livenessProbe:\n            exec: {command: [sh, -c, "mysql -h db.example.com -e ping"]}',
            ),
        ),
        "exec:",
        ("mysql db.example.com",),
    ),
    Case(
        "PRB005",
        "error",
        D,
        ((READINESS, ""),),
        "- name: order",
        ("Service order-service sends", "Each of 12 pods"),
    ),
    Case("PRB006", "warning", D, ((READY, probe(8, 2, 4)),), "readinessProbe", ("4 x 8 s = 32 s",)),
    Case(
        "PRB006",
        "warning",
        D,
        ((READY, probe(5, 1, 1)),),
        "failureThreshold: 1",
        ("slower than 1 s",),
    ),
    Case(
        "PRB007",
        "warning",
        D,
        ((START, ""), (LIVE, LIVE + "            initialDelaySeconds: 40\n")),
        "initialDelaySeconds",
        ("waits 40 s by guess", "105 s"),
    ),
    Case(
        "PRB007",
        "warning",
        D,
        ((START, ""), (IMAGE, "image: shop/openjdk-order:1")),
        "livenessProbe",
        ("start of a JVM",),
    ),
    Case(
        "PRB008",
        "warning",
        D,
        (('seconds: "30"', 'seconds: "61"'),),
        "startupProbe",
        ("after 120 s", "twice that is 122 s", "failureThreshold: 61"),
    ),
    Case(
        "PRB009",
        "info",
        D,
        (
            (
                "      readinessGates:\n        - conditionType: target-health.alb.k8s.alibabacloud\n",
                "",
            ),
        ),
        "readinessProbe",
        ("1 x 5 s", "after 6 s", "goes 1 s"),
    ),
    Case(
        "PRB010",
        "error",
        D,
        ((LIVE, probe(10, 5, 6)), (READY, probe(6, 60, 5))),
        "livenessProbe",
        ("kills after 65 s", "takes out after 90 s"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_wrong_thing_is_found_once_at_its_line(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("live", "ready", "ids"),
    [
        (probe(10, 3, 6), READY, []),
        (probe(10, 5, 6), probe(10, 2, 3), []),
        (probe(6, 5, 10), probe(5, 1, 2), []),
        (LIVE, probe(5, 2, 1), []),
    ],
    ids=["timeout-3", "removal-30", "silence-60", "one-patient-failure"],
)
def test_what_is_just_right_is_silent(live: str, ready: str, ids: list[str]) -> None:
    assert shown(findings_in(broken(D, (LIVE, live), (READY, ready)))) == ids


def test_local_commands_are_no_calls_to_others() -> None:
    for command in (
        "curl -f http://localhost:8080/livez",
        "redis-cli ping",
        "wget -q http://127.0.0.1/x",
        "cat /tmp/alive",
    ):
        old = "livenessProbe:\n            httpGet: {path: /livez, port: http}"
        texts = broken(
            D, (old, f'livenessProbe:\n            exec: {{command: [sh, -c, "{command}"]}}')
        )
        assert [one.id for one in findings_in(texts)] == [], command


PULLER = "apiVersion: apps.kruise.io/v1beta1\nkind: ImagePullJob\nmetadata: {name: pull, namespace: shop}\nspec: {image: x}\n"


@pytest.mark.parametrize(
    ("image", "policy", "says"),
    [
        (IMAGE, "Always", "imagePullPolicy: Always"),
        ("image: shop/order:latest", "IfNotPresent", "the tag latest"),
        ("image: registry:5000/shop/order", "IfNotPresent", "no tag"),
        ("image: shop/order:1.2", "IfNotPresent", None),
    ],
    ids=["always", "latest", "no-tag", "tagged"],
)
def test_images_that_are_pulled_ahead_are_not_pulled_again(
    image: str, policy: str, says: str | None
) -> None:
    texts = broken(
        D, (IMAGE, image), ("imagePullPolicy: IfNotPresent", f"imagePullPolicy: {policy}")
    )

    assert findings_in(texts) == []  # nobody pulls ahead
    found = findings_in({**texts, "pull.yaml": PULLER})

    assert [one.id for one in found] == (["PRB011"] if says else [])
    if says:
        assert says in found[0].message
        assert bool(found[0].edits) == (policy == "Always")


def test_the_cascade_counts_the_pods_that_may_be_lost() -> None:
    fleet = fleet_of(GOOD, SALE)
    pods = next(one for one in estate_of(fleet).pods if one.name == "order-service")
    live = probe_of({"livenessProbe": {"httpGet": {}, "timeoutSeconds": 1}}, "livenessProbe")
    assert live is not None

    # 960 a second on 12 pods of 100: load 0.80; above 0.99 the probe fails: 10 pods carry 960 at 0.96, 9 at 1.07.
    said = cascade(fleet, pods, live)

    assert (
        "At 960 a second (the plan without its headroom) on 12 pods of 100 each the load is 0.80"
        in said
    )
    assert (
        "2 pods may be lost; with 3 kills within one restart the load of the rest is 1.07" in said
    )


@pytest.mark.parametrize(
    ("hook", "seconds"),
    [
        ({}, 0),
        ({"sleep": {"seconds": 20}}, 20),
        ({"exec": {"command": ["sleep", "15"]}}, 15),
        ({"exec": {"command": ["/bin/sh", "-c", "sleep 10 && nginx -s quit; sleep 5"]}}, 15),
        ({"exec": {"command": ["sh", "-c", "/bin/sleep 1m"]}}, 60),
        ({"exec": {"command": ["/drain.sh"]}}, None),
        ({"httpGet": {"path": "/drain"}}, None),
    ],
    ids=["none", "sleep", "words", "shell", "minutes", "script", "http"],
)
def test_pre_stop_is_read_in_every_form(hook: dict[str, object], seconds: int | None) -> None:
    assert pre_stop_s({"lifecycle": {"preStop": hook}}) == seconds
