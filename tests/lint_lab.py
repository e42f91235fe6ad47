"""Lint a text in a test, without a disk: ``lint_text("kind: ...") -> findings``."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from textwrap import dedent

from saleops.domain.lint.findings import Finding
from saleops.domain.lint.fleet import SaleFacts
from saleops.operations.lint.linting import Choice, LintReport, lint
from saleops.operations.lint.reading import Texts

TODAY = date(2026, 11, 1)

SALE = SaleFacts(
    name="midnight",
    opens=datetime(2026, 11, 10, 16, 0, tzinfo=UTC),
    closes=datetime(2026, 11, 10, 18, 0, tzinfo=UTC),
    peak_rps=10_000.0,
    baseline_rps=100.0,
    pods={"order": 40, "catalog": 60},
    rps_per_pod={"order": 250.0},
    connections_per_pod={"order": 20},
    connections_limit=8_000,
    nodes_max=60,
    now=datetime(2026, 11, 1, tzinfo=UTC),
)
"""Midnight in Shanghai."""

CRON = """\
# the sale's schedule
apiVersion: autoscaling.alibabacloud.com/v1beta1
kind: CronHorizontalPodAutoscaler
metadata:
  name: order   # of the order service
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order}
  jobs:
    - name: "up"
      schedule: "30 23 * * *"   # half past eleven
      targetSize: 100
"""
"""Five fields, which the controller reads as six; --fix mends it."""


def lint_texts(
    texts: Mapping[str, str], sale: SaleFacts | None = None, choice: Choice | None = None
) -> LintReport:
    """Of several files together. A rule that raises fails the test."""
    read = Texts({name: dedent(text) for name, text in texts.items()})
    report = lint(read, today=TODAY, sale=sale, choice=choice)
    assert not report.bugs, report.bugs
    return report


def lint_text(text: str, sale: SaleFacts | None = None, name: str = "x.yaml") -> list[Finding]:
    """Every finding in ``text`` as the file ``name``, indentation that all lines share taken away."""
    return list(lint_texts({name: text}, sale).findings)


def ids(findings: Sequence[Finding]) -> list[str]:
    return [one.id for one in findings]
