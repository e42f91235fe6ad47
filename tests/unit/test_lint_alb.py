"""The rules for ALB Ingresses and AlbConfigs: each has one thing wrong in a good service, found once at its line."""

from pathlib import Path

import pytest

from broken_service import Case, apply, check
from good_service import ALB_CONFIG, GOOD, INGRESS, broken, findings_in, shown
from saleops.domain.lint.alb_ingresses import read_listen_ports
from saleops.domain.lint.albconfig_keys import SPEC, Shape
from saleops.domain.lint.albconfig_keys import check as check_albconfig
from saleops.domain.lint.fleet import SaleFacts

A = "    alb.ingress.kubernetes.io/"
ORDER = f'{A}order: "5"\n'
I = "ingress.yaml"  # noqa: E741  # one letter keeps the table readable
C = "albconfig.yaml"
CERT = "      certificates: [{CertificateId: 13905564-ap-southeast-1, IsDefault: true}]\n"


def added(line: str) -> tuple[tuple[str, str], ...]:
    return ((ORDER, f"{ORDER}{A}{line}\n"),)


CASES = [
    Case(
        "ALB001",
        "error",
        I,
        added('certificate-id: "cert-1"'),
        "certificate-id",
        ("does not exist", "listeners[].certificates"),
    ),
    Case("ALB001", "error", I, added("certificate-arn: arn:x"), "certificate-arn", ("AWS key",)),
    Case(
        "ALB001", "error", I, added("success-codes: '200'"), "success-codes", ("healthcheck-code",)
    ),
    Case(
        "ALB001b",
        "warning",
        I,
        added('healthcheck-interval-second: "2"'),
        "interval-second:",
        ("did you mean", "healthcheck-interval-seconds"),
    ),
    Case(
        "ALB003",
        "error",
        I,
        (('{"HTTPS":443}', '{"HTTPS":8443}'),),
        "listen-ports",
        ("HTTPS:8443", "no listener on 8443"),
    ),
    Case(
        "ALB003",
        "error",
        I,
        (('{"HTTPS":443}', '{"HTTP":443}'),),
        "listen-ports",
        ("serves HTTPS there",),
    ),
    Case(
        "ALB003",
        "error",
        I,
        (('\'[{"HTTP":80},{"HTTPS":443}]\'', "'80,443'"),),
        "listen-ports",
        ("cannot be read",),
    ),
    Case(
        "ALB003",
        "error",
        I,
        (("ingress.k8s.alibabacloud/alb", "ingress.k8s.alibabacloud.com/alb"),),
        "controller:",
        ("there is none",),
    ),
    Case(
        "ALB003",
        "warning",
        I,
        (("name: sale-alb}", "name: other-alb}"),),
        "name: other-alb",
        ("not among the files",),
    ),
    Case(
        "ALB004",
        "error",
        I,
        (
            (
                'enabled: "true"\n    alb.ingress.kubernetes.io/healthcheck-path',
                'enabled: "false"\n    alb.ingress.kubernetes.io/healthcheck-path',
            ),
        ),
        "healthcheck-enabled",
        ('is not "true"', "readiness gate"),
    ),
    Case(
        "ALB005",
        "warning",
        I,
        (("healthcheck-path: /readyz", "healthcheck-path: /"),),
        "healthcheck-path",
        ("GET / every 2 s", "GET /readyz", "6 s"),
    ),
    Case(
        "ALB005",
        "warning",
        I,
        ((f"{A}healthcheck-method: GET\n", ""),),
        "healthcheck-path",
        ("HEAD /readyz",),
    ),
    Case(
        "ALB006", "warning", I, added('sticky-session: "true"'), "sticky-session", ("1000 s", "12")
    ),
    Case(
        "ALB008",
        "error",
        I,
        added("backend-scheduler: wlc"),
        "backend-scheduler",
        ("SLOW_START_ALG_MISMATCH",),
    ),
    Case(
        "ALB008",
        "error",
        I,
        (('ip-qps: "50"', 'ip-qps: "20000"'),),
        "ip-qps",
        ("20000 requests a second of 20000",),
    ),
    Case(
        "ALB008",
        "error",
        I,
        (('slow-start-duration: "30"', 'slow-start-duration: "10"'),),
        "slow-start-duration",
        ("30 to 900",),
    ),
    Case(
        "ALB008",
        "error",
        I,
        (('ssl-redirect: "true"', "ssl-redirect: true"),),
        "ssl-redirect",
        ("quote it",),
    ),
    Case(
        "ALB008",
        "error",
        I,
        added("backend-protocol: HTTPS"),
        "backend-protocol",
        ("http without a word",),
    ),
    Case(
        "ALB010",
        "warning",
        I,
        (("pathType: Prefix", "pathType: ImplementationSpecific"),),
        "pathType",
        ("is Exact",),
    ),
    Case(
        "ALB010", "error", I, (("path: /order", "path: /order/*"),), "path: /order", ("wildcard",)
    ),
    Case(
        "ALB010",
        "warning",
        I,
        (
            (
                "  rules:\n",
                "  defaultBackend: {service: {name: order-service, port: {number: 8080}}}\n  rules:\n",
            ),
        ),
        "defaultBackend",
        ("makes no rule",),
    ),
    Case(
        "ALB012",
        "warning",
        "deployment.yaml",
        (("seconds: 20", "seconds: 5"),),
        "seconds: 5",
        ("sleeps 5 s", "For 10 s"),
    ),
    Case(
        "ALB012",
        "warning",
        "deployment.yaml",
        (("PeriodSeconds: 60", "PeriodSeconds: 44"),),
        "terminationGrace",
        ("grace 44 s < preStop 20 s + longest request 20 s", "= 45 s"),
    ),
    Case(
        "ALB012",
        "warning",
        I,
        (('drain-timeout: "30"', 'drain-timeout: "56"'),),
        "drain-timeout",
        ("56 s > grace 60 s", "= 55 s"),
    ),
    Case(
        "ALB012",
        "warning",
        I,
        ((f'{A}connection-drain-timeout: "30"\n', ""),),
        "drain-enabled",
        ("300 is the default",),
    ),
    Case(
        "ALB013",
        "warning",
        C,
        (
            (
                "    addressType: Internet\n",
                "    addressType: Internet\n    httpDefaultActions: []\n",
            ),
        ),
        "httpDefaultActions",
        ("no key the controller reads",),
    ),
    Case(
        "ALB013",
        "error",
        C,
        (("logStore: alb_sale", "logStore: sale"),),
        "logStore",
        ("not of its form",),
    ),
    Case(
        "ALB013",
        "error",
        C,
        ((", {vSwitchId: vsw-zone-b}", ""),),
        "zoneMappings",
        ("1 of at least 2",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_wrong_thing_is_found_once_at_its_line(case: Case) -> None:
    check(case)


def test_the_good_service_has_no_finding() -> None:
    assert shown(findings_in(GOOD)) == []


def test_capitals_matter_in_an_albconfig_and_the_listener_then_has_no_certificate() -> None:
    findings = findings_in(broken(C, ("CertificateId:", "certificateId:")))

    assert [(one.id, one.severity) for one in findings] == [
        ("ALB013", "error"),
        ("ALB013", "warning"),
    ]
    assert "it is written CertificateId" in findings[1].message


def test_an_https_listener_needs_a_certificate_from_somewhere() -> None:
    without = broken(C, (CERT, ""))
    assert findings_in(without) == []  # the Ingress asks for HTTPS and names a host: found by it

    hostless = {**without, I: INGRESS.replace("host: api.example.com", "host: ''")}
    found = [one for one in findings_in(hostless) if one.id == "ALB003"]

    assert [(one.file, one.severity) for one in found] == [(C, "error")]
    assert "no certificate" in found[0].message


def test_a_limit_for_each_address_behind_the_edge_is_found() -> None:
    edge = 'resource "alicloud_dcdn_domain" "shop" {\n  domain_name = "api.example.com"\n}\n'
    assert findings_in({**GOOD, "edge.tf": edge}) == []

    blind = broken(
        C,
        ("XForwardedForClientSourceIpsEnabled: true", "XForwardedForClientSourceIpsEnabled: false"),
    )
    sale = SaleFacts("s", None, None, peak_rps=40_000, pods={}, rps_per_pod={})  # type: ignore[arg-type]
    found = findings_in({**blind, "edge.tf": edge}, sale)

    assert [(one.id, one.severity) for one in found] == [("ALB007", "error")]
    assert "50 requests a second" in found[0].message
    assert "40,000 requests a second from, say, 200 edge addresses are 200 each" in found[0].why


OTHER = (
    INGRESS.partition("---\n")[2]
    .replace("name: order\n", "name: all\n")
    .replace("path: /order", "path: /")
)


@pytest.mark.parametrize(("order", "severity"), [("1", "error"), ("5", "warning"), ("9", None)])
def test_a_broader_path_that_comes_first_hides_the_narrower(
    order: str, severity: str | None
) -> None:
    other = OTHER.replace('order: "5"', f'order: "{order}"')

    found = findings_in({**GOOD, "other.yaml": other})

    assert [(one.id, one.severity, one.file) for one in found] == (
        [("ALB009", severity, I)] if severity else []
    )


def test_an_illegal_value_says_how_many_ingresses_stand_still_with_it() -> None:
    other = OTHER.replace('order: "5"', 'order: "9"')
    found = findings_in({**broken(I, ('ip-qps: "50"', 'ip-qps: "x"')), "other.yaml": other})

    assert "the 1 other Ingress on it" in found[0].why


def test_a_pod_counts_once_for_each_rule_that_leads_to_it() -> None:
    path = INGRESS[INGRESS.index("          - path") :]
    three = path + path.replace("/order", "/pay") + path.replace("/order", "/ship")
    sale = SaleFacts("s", None, None, pods={"order": 500})  # type: ignore[arg-type]

    found = [
        one
        for one in findings_in({**GOOD, I: INGRESS.replace(path, three)}, sale)
        if one.id == "ALB011"
    ]

    assert len(found) == 1
    assert "1,500 servers" in found[0].message
    assert "500 too many" in found[0].why


def test_a_hundred_and_one_rules_are_one_too_many() -> None:
    path = INGRESS[INGRESS.index("          - path") :]
    many = "".join(path.replace("/order", f"/p{n}") for n in range(101))
    small = broken("deployment.yaml", ("replicas: 12", "replicas: 2"))

    found = [
        one.message
        for one in findings_in({**small, I: INGRESS.replace(path, many)})
        if one.id == "ALB011"
    ]

    assert found == ["101 rules on sale-alb; a load balancer takes 100"]


def test_the_class_annotation_becomes_the_class_of_the_spec() -> None:
    text = INGRESS.replace("  ingressClassName: alb\n", "").replace(
        ORDER, f"{ORDER}    kubernetes.io/ingress.class: alb  # old\n"
    )
    found = findings_in({**GOOD, I: text})

    assert [one.id for one in found] == ["ALB002"]
    assert apply(text, found[0].edits) == INGRESS


def test_an_annotation_that_stands_alone_takes_its_heading_with_it() -> None:
    text = (
        "kind: Ingress\napiVersion: networking.k8s.io/v1\nmetadata:\n  name: x\n  annotations:\n"
        "    kubernetes.io/ingress.class: alb\nspec:\n  rules: []\n"
    )
    found = [one for one in findings_in({I: text}) if one.id == "ALB002"]

    assert apply(text, found[0].edits) == (
        "kind: Ingress\napiVersion: networking.k8s.io/v1\nmetadata:\n  name: x\nspec:\n  ingressClassName: alb\n  rules: []\n"
    )


def test_listen_ports_are_read_as_the_controller_does() -> None:
    assert read_listen_ports('[{"HTTP":80},{"HTTPS":443}]\n') == (("HTTP", 80), ("HTTPS", 443))
    for wrong in (
        "",
        "80",
        '{"HTTP":80}',
        '[{"http":80}]',
        '[{"HTTP":"80"}]',
        '[{"HTTP":0}]',
        "[{}]",
        "[" * 9000,
    ):
        assert read_listen_ports(wrong) is None


def test_an_ingress_of_another_controller_is_none_of_ours() -> None:
    text = (
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x}\n"
        "spec: {ingressClassName: nginx, rules: [{http: {paths: []}}]}\n"
    )

    assert findings_in({I: text}) == []


ARTICLE = Path(__file__).parents[2].parent / "shared/article"


@pytest.mark.skipif(not ARTICLE.is_dir(), reason="the shared article is not here")
def test_the_articles_snippets_are_found_at_their_lines() -> None:
    names = ("ingress.yaml", "networkpolicy.yaml", "ack-nodepool.json", "ack-cluster.json")
    found = findings_in({name: (ARTICLE / name).read_text() for name in names})

    assert [(one.file, one.line, one.severity, one.id) for one in found] == [
        ("ack-nodepool.json", 3, "error", "SPT003"),
        ("ack-nodepool.json", 6, "error", "SPT001"),
        ("ack-nodepool.json", 6, "error", "SPT002"),
        ("ingress.yaml", 6, "warning", "ALB002"),
        ("ingress.yaml", 7, "warning", "ALB003"),
        ("ingress.yaml", 9, "error", "ALB001"),
        ("ingress.yaml", 10, "warning", "ALB005"),
        ("networkpolicy.yaml", 6, "error", "NET002"),
        ("networkpolicy.yaml", 8, "error", "NET001"),
    ]


THEIRS = Path(__file__).parents[2].parent / "shared/contracts/crds/albconfig.lint-schema.yaml"


@pytest.mark.skipif(not THEIRS.is_file(), reason="the shared contracts are not here")
def test_our_albconfig_keys_are_those_of_the_contract() -> None:
    import yaml

    schema = yaml.safe_load(THEIRS.read_text())
    assert _keys_of(SPEC, ()) == _keys_in(schema, schema["properties"]["spec"], ())


@pytest.mark.skipif(not THEIRS.is_file(), reason="the shared contracts are not here")
def test_our_albconfig_verdicts_are_those_of_the_contract() -> None:
    import jsonschema
    import yaml

    validator = jsonschema.Draft202012Validator(yaml.safe_load(THEIRS.read_text()))
    for old, new in (
        ("", ""),
        ("CertificateId", "certificateId"),
        ("protocol: HTTPS", "protocol: TCP"),
        ("port: 443", "port: 70000"),
        ("port: 443", 'port: "443"'),
        ("requestTimeout: 20", "requestTimeout: 601"),
        ("alb_sale", "sale"),
        ("addressType: Internet", "addressType: internet"),
        ("vsw-zone-a", "zone-a"),
        ("    name: sale-alb", "    name: aliyun-alb"),
        ("protocol: HTTPS", "protocol: HTTP"),
        ("  config:", "  konfig:"),
    ):
        document = yaml.safe_load(ALB_CONFIG.replace(old, new) if old else ALB_CONFIG)
        ours = bool(list(check_albconfig(document["spec"])))
        assert ours == (not validator.is_valid(document)), (old, new)


def _keys_of(shape: Shape, path: tuple[str, ...]) -> set[tuple[str, ...]]:
    found = set()
    for key, one in shape.keys.items():
        found |= {(*path, key)} | _keys_of(one, (*path, key))
    return found | (_keys_of(shape.each, path) if shape.each else set())


def _keys_in(schema: dict, node: dict, path: tuple[str, ...]) -> set[tuple[str, ...]]:  # type: ignore[type-arg]
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    found: set[tuple[str, ...]] = set()
    properties = dict(node.get("properties", {}))
    for pattern in node.get("patternProperties", {}):
        properties |= {word: {} for word in _spelled(pattern)}
    for key, one in properties.items():
        found |= {(*path, key)} | _keys_in(schema, one, (*path, key))
    return found | (
        _keys_in(schema, node["items"], path) if isinstance(node.get("items"), dict) else set()
    )


def _spelled(pattern: str) -> list[str]:
    """``^a(b|c)?d$`` as the words it matches."""
    head, _, rest = pattern.strip("^$").partition("(")
    middle, _, tail = rest.partition(")")
    words = middle.split("|") + ([""] if tail.startswith("?") else [])
    return [f"{head}{one}{tail.removeprefix('?')}" for one in words]
