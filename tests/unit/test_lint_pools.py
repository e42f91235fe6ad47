"""Rules on connections: what all pods open together, and what proxies do about it."""

from dataclasses import replace

import pytest

from lint_lab import SALE
from rule_cases import said_by

ORDER = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: order}}
spec:
  replicas: 20
  template:
    metadata: {{labels: {{app: order}}}}
    spec:
      containers:
      - name: order
        image: x
        env:
        - {{name: {name}, value: "{value}"}}
"""
HPA = """\
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: order}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order}, minReplicas: 20, maxReplicas: 500}
"""
DATABASE = 'resource "alicloud_polardb_cluster" "db" { db_node_class = "polar.mysql.x4.large" }'
ENDPOINT = (
    'resource "alicloud_polardb_endpoint" "e" {\n endpoint_config = { ConnectionPersist = "%s" }\n}'
)
PROXY = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: proxysql}
data:
  proxysql.cnf: |
    mysql_variables = { multiplexing=%s }
    mysql_servers =
    (
      { address="db", port=3306, max_connections=%s }
    )
"""
ALERTS = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: mq}
spec: {groups: [{name: mq, rules: [{alert: DeadLetters, expr: 'rocketmq_messages{topic=~"%s"} > 0'}]}]}
"""


def test_500_pods_with_100_connections_each_are_more_than_8000() -> None:
    (found,) = said_by(
        "POOL001", {"o.yaml": ORDER.format(name="DB_POOL_SIZE", value=100) + HPA, "d.tf": DATABASE}
    )

    assert "500 pods x 100 (order) = 50,000 connections against 8,000" in found.message
    assert (found.severity, found.line) == ("error", 13)
    assert "11 or less" in found.fix


def test_a_pool_that_fits_at_the_sale_is_left_alone() -> None:
    files = {"o.yaml": ORDER.format(name="DB_POOL_SIZE", value=10) + HPA, "d.tf": DATABASE}

    assert said_by("POOL001", files) == []


@pytest.mark.parametrize(
    "name",
    [
        "HIKARI_MAXIMUM_POOL_SIZE",
        "SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE",
        "spring.datasource.hikari.maximum-pool-size",
        "DB_MAX_OPEN_CONNS",
        "MYSQL_MAX_CONNECTIONS",
        "SALEOPS_DATABASE_CONNECTIONS",
    ],
)
def test_pools_are_known_by_many_names(name: str) -> None:
    assert said_by(
        "POOL001", {"o.yaml": ORDER.format(name=name, value=100) + HPA, "d.tf": DATABASE}
    )


@pytest.mark.parametrize(
    "name",
    [
        "DB_POOL_TIMEOUT_MS",
        "REDIS_POOL_SIZE",
        "DB_CONNECTION_STRING",
        "DB_POOL_MIN",
        "HTTP_MAX_CONNECTIONS",
    ],
)
def test_other_settings_are_no_pools(name: str) -> None:
    assert (
        said_by("POOL001", {"o.yaml": ORDER.format(name=name, value=100) + HPA, "d.tf": DATABASE})
        == []
    )


def test_a_pool_in_a_file_of_a_configmap_is_read() -> None:
    config = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: order-config}\n"
        "data:\n  application.yml: |\n    hikari:\n      maximum-pool-size: 100\n"
    )

    (found,) = said_by("POOL001", {"c.yaml": config, "h.yaml": HPA, "d.tf": DATABASE})

    assert "500 pods x 100" in found.message


def test_the_sales_own_limit_and_pods_count() -> None:
    text = ORDER.format(name="DB_POOL_SIZE", value=150)  # 40 pods at the peak
    (found,) = said_by("POOL001", text, sale=SALE)

    assert "40 pods x 150 (order) = 6,000 connections against 8,000" in found.message
    assert found.severity == "warning"  # above 70 %
    assert said_by("POOL001", text, sale=replace(SALE, connections_limit=10_000)) == []


def test_a_proxy_that_multiplexes_makes_it_a_note() -> None:
    files = {
        "o.yaml": ORDER.format(name="DB_POOL_SIZE", value=100) + HPA,
        "d.tf": DATABASE + "\n" + ENDPOINT % "Transaction",
    }

    assert [one.severity for one in said_by("POOL001", files)] == ["info"]


def test_a_proxy_that_does_not_multiplex_is_found() -> None:
    (found,) = said_by(
        "POOL002",
        {
            "o.yaml": ORDER.format(name="DB_POOL_SIZE", value=100) + HPA,
            "e.tf": ENDPOINT % "Session",
        },
    )

    assert "50,000" in found.message
    assert said_by("POOL002", ENDPOINT % "Transaction", name="e.tf") == []


def test_proxysql_that_passes_the_limit_on_is_found() -> None:
    (found,) = said_by("POOL003", {"p.yaml": PROXY % ("true", 10_000), "d.tf": DATABASE})

    assert "10,000 = 10,000 connections against 8,000" in found.message
    assert said_by("POOL003", {"p.yaml": PROXY % ("true", 1_400), "d.tf": DATABASE}) == []
    assert said_by("POOL003", {"p.yaml": PROXY % ("false", 1_400), "d.tf": DATABASE})


def test_an_audit_of_dead_letters_alone_is_found() -> None:
    assert said_by("POOL004", ALERTS % "%DLQ%.*")
    assert said_by("POOL004", ALERTS % "%DLQ%.*|TRANS_CHECK_MAX_TIME_TOPIC") == []
    assert said_by("POOL004", ALERTS.replace("DeadLetters", "Lag") % "orders") == []
