"""What rules are told of a sale: its own figures and the capacity plan's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from saleops.errors import ConfigError
from saleops.operations.lint.sale_facts import read_facts

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SALE = """\
apiVersion: saleops/v1
name: midnight
window: {opens: 2026-11-11T00:00:00+08:00, closes: 2026-11-11T02:00:00+08:00}
zones: [ap-southeast-1a, ap-southeast-1b]
items: [{sku: a, name: A, price: 1.00, stock: 5}]
traffic: {baseline_rps: 100, peak_rps: 10000, peak_orders_per_s: 1000}
services:
  order: {rps_per_pod: 100, connections_per_pod: 20}
limits: {database_connections: 8000}
"""


def test_facts_are_the_sales_and_the_plans(tmp_path: Path) -> None:
    (tmp_path / "sale.yaml").write_text(SALE)
    (tmp_path / "profile.yaml").write_text(
        "apiVersion: saleops/profile/v1\ncluster: {timezone: Asia/Singapore}\n"
    )

    facts = read_facts(tmp_path / "sale.yaml", None, now=NOW)

    assert facts.opens == datetime(2026, 11, 10, 16, tzinfo=UTC)
    assert (facts.zone, facts.now) == ("Asia/Singapore", NOW)
    assert (facts.baseline_rps, facts.peak_rps, facts.connections_limit) == (100, 10_000, 8_000)
    assert facts.rps_per_pod == {"order": 100}
    assert facts.connections_per_pod == {"order": 20}
    assert (
        facts.pods["order"] == 20
    )  # 1,000/s over 100 a pod, twice because one of two zones may go
    assert facts.nodes_max > 0


def test_a_sale_that_cannot_be_sized_has_its_other_facts(tmp_path: Path) -> None:
    (tmp_path / "sale.yaml").write_text(
        SALE.replace("zones: [ap-southeast-1a, ap-southeast-1b]\n", "")
    )

    facts = read_facts(tmp_path / "sale.yaml", None, now=NOW)

    assert (facts.pods, facts.nodes_max, facts.peak_rps) == ({}, 0, 10_000)
    assert facts.zone == "Asia/Shanghai"


def test_a_profile_that_is_named_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "sale.yaml").write_text(SALE)

    with pytest.raises(ConfigError, match="no such file"):
        read_facts(tmp_path / "sale.yaml", tmp_path / "other.yaml", now=NOW)
