"""The rules for NetworkPolicies: selectors, default deny, DNS, enforcement, blocks of addresses, empty lists."""

import json

import pytest

from broken_service import Case, check
from good_service import GOOD, POLICIES, findings_in, shown

N, P = "policies.yaml", "pools.tf"
DNS = POLICIES[
    POLICIES.index("    - to:\n        - namespaceSelector") : POLICIES.index(
        "    - to:\n        - ipBlock: {cidr: 10.9"
    )
]
DENY = POLICIES.partition("---\n")[0] + "---\n"
CASES = [
    Case(
        "NET001",
        "error",
        N,
        (("    matchLabels: {app: order-service}\n", "    matchLabels: {app: order}\n"),),
        "matchLabels: {app: order}",
        ("none of the 1 workload(s)", "0 pods"),
    ),
    Case(
        "NET001",
        "error",
        N,
        (
            (
                "    matchLabels: {app: order-service}\n",
                "    matchLabels:\n      app: polardb-proxy\n",
            ),
        ),
        "app: polardb-proxy",
        ("PolarDB is managed", "no such pod"),
    ),
    Case(
        "NET001",
        "error",
        N,
        (("- ipBlock: {cidr: 10.9.0.0/24}", "- podSelector: {matchLabels: {app: polardb}}"),),
        "app: polardb",
        ("PolarDB is managed", "ipBlock"),
    ),
    Case(
        "NET001",
        "warning",
        N,
        (("- ipBlock: {cidr: 10.9.0.0/24}", "- podSelector: {matchLabels: {app: payments}}"),),
        "app: payments",
        ("no pod of namespace shop",),
    ),
    Case(
        "NET002",
        "error",
        N,
        ((DENY, ""),),
        "podSelector",
        ("no default deny for Ingress and Egress",),
    ),
    Case(
        "NET002",
        "warning",
        N,
        (
            (
                "podSelector: {}, policyTypes: [Ingress, Egress]",
                "podSelector: {}, policyTypes: [Ingress]",
            ),
        ),
        "podSelector",
        ("no default deny for Egress",),
    ),
    Case(
        "NET005", "warning", N, (("10.9.0.0/24", "0.0.0.0/0"),), "0.0.0.0/0", ("100.100.100.200",)
    ),
    Case(
        "NET006",
        "warning",
        N,
        (("    - from:\n        - ipBlock: {cidr: 10.1.0.0/16}\n", "    - from: []\n"),),
        "from: []",
        ("allows everybody on these ports",),
    ),
    Case(
        "NET006",
        "warning",
        N,
        (("      ports: [{protocol: TCP, port: 3306}]\n", ""),),
        "- to:",
        ("every port",),
    ),
    Case(
        "NET004",
        "error",
        P,
        (('NetworkPolicy = "true"', 'NetworkPolicy = "false"'),),
        "addons",
        ("none of the 2 NetworkPolicies",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_wrong_thing_is_found_once_at_its_line(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("dns", ["", DNS.replace("UDP", "TCP")], ids=["none", "tcp-only"])
def test_closed_egress_without_dns_is_found_for_who_is_closed(dns: str) -> None:
    found = [
        one for one in findings_in({**GOOD, N: POLICIES.replace(DNS, dns)}) if one.id == "NET003"
    ]

    assert [one.message.split(",")[0] for one in found] == [
        "default-deny restricts the egress of every pod",
        "order-service restricts the egress of app=order-service",
    ]


def test_dns_for_all_covers_each() -> None:
    for_all = (
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: dns, namespace: shop}\nspec:\n"
        "  podSelector: {}\n  policyTypes: [Egress]\n  egress:\n" + DNS
    )
    assert shown(findings_in({**GOOD, N: POLICIES.replace(DNS, "") + for_all})) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"container_cidr": "172.16.0.0/16"}, None),  # ACK002 says it, and only once
        ({"addons": [{"name": "flannel", "config": ""}]}, "Flannel"),
        ({"addons": [{"name": "terway-eniip", "config": ""}]}, "terway-eniip"),
        (
            {"addons": [{"name": "terway-eniip", "config": '{"NetworkPolicy":"false"}'}]},
            "terway-eniip",
        ),
        ({"addons": [{"name": "terway-eniip", "config": '{"NetworkPolicy":"true"}'}]}, None),
        ({}, None),
    ],
    ids=["cidr", "flannel", "unset", "false", "true", "unknown"],
)
def test_a_cluster_that_ignores_policies_is_found(
    body: dict[str, object], says: str | None
) -> None:
    text = json.dumps({"name": "c", "cluster_type": "ManagedKubernetes", **body}, indent=1)

    found = [
        one for one in findings_in({**GOOD, "cluster.json": text}) if one.file == "cluster.json"
    ]

    assert [one.id for one in found] == (["NET004"] if says else [])
    assert all(str(says) in one.message for one in found)


def test_terways_own_switch_is_read() -> None:
    text = (
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: eni-config, namespace: kube-system}\n"
        'data:\n  disable_network_policy: "true"\n'
    )

    assert [(one.id, one.line) for one in findings_in({**GOOD, "eni.yaml": text})] == [
        ("NET004", 5)
    ]


def test_an_exception_for_the_metadata_service_is_enough() -> None:
    text = POLICIES.replace(
        "{cidr: 10.9.0.0/24}", "{cidr: 0.0.0.0/0, except: [100.100.100.200/32]}"
    )

    assert findings_in({**GOOD, N: text}) == []


def test_the_internet_is_no_block_of_pods_for_egress_but_is_one_for_ingress() -> None:
    cluster = (
        '{"cluster_type": "ManagedKubernetes", "container_cidr": "172.16.0.0/16", "addons": [{"name": "terway-eniip", '
        + ('"config": "{\\"NetworkPolicy\\": \\"true\\"}"}]}')
    )
    out = POLICIES.replace("{cidr: 10.9.0.0/24}", "{cidr: 0.0.0.0/0, except: [100.100.100.200/32]}")
    into = POLICIES.replace("{cidr: 10.1.0.0/16}", "{cidr: 0.0.0.0/0}")

    assert shown(findings_in({**GOOD, N: out, "cluster.json": cluster})) == []
    assert [one.id for one in findings_in({**GOOD, N: into, "cluster.json": cluster})] == ["NET005"]


def test_a_policy_alone_is_judged_only_by_what_it_says() -> None:
    text = POLICIES.replace("app: order-service", "app: somewhere-else")

    assert findings_in({N: text}) == []


STATED = (
    '{"cluster_type": "ManagedKubernetes", "container_cidr": "10.20.0.0/16", "addons": '
    '[{"name": "terway-eniip", "config": "{\\"NetworkPolicy\\": \\"true\\"}"}]}'
)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [({}, []), ({"cluster.json": STATED}, ["NET005"])],
    ids=["unknown", "stated"],
)
def test_a_block_covers_pods_only_where_somebody_says_where_pods_are(
    stated: dict[str, str], expected: list[str]
) -> None:
    texts = {**GOOD, N: POLICIES.replace("10.1.0.0/16", "10.0.0.0/8"), **stated}

    assert [one.id for one in findings_in(texts)] == expected


def test_an_exporter_beside_a_managed_database_is_a_pod_of_ones_own() -> None:
    text = POLICIES.replace(
        "- ipBlock: {cidr: 10.9.0.0/24}", "- podSelector: {matchLabels: {app: rds-exporter}}"
    )

    found = findings_in({**GOOD, N: text})

    assert [(one.id, one.severity, "managed" in one.message) for one in found] == [
        ("NET001", "warning", False)
    ]


def test_a_default_deny_of_one_direction_alone_is_no_allow() -> None:
    text = DENY.replace("[Ingress, Egress]", "[Ingress]").replace("---\n", "")

    assert [one.id for one in findings_in({**GOOD, N: text})] == []
