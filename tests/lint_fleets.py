"""Fleets of documents for the tests of rules and of the time machine."""

from datetime import UTC, datetime
from typing import Any

from saleops.domain.lint.fleet import Fleet, SaleFacts
from saleops.domain.lint.rules import RULES, Hit
from saleops.operations.lint.parsing import parse_text

OPENS = datetime.fromisoformat("2026-11-27T00:00:00+08:00").astimezone(UTC)
CLOSES = datetime.fromisoformat("2026-11-27T02:00:00+08:00").astimezone(UTC)

HPA = """apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: order-hpa}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order-service}
  minReplicas: 10
  maxReplicas: 50
"""


def cron_yaml(*jobs: str, target: str = "", extra: str = "", name: str = "order-cron") -> str:
    """A CronHPA on the Deployment order-service unless ``target`` says otherwise; ``jobs`` in flow style."""
    target = target or "{apiVersion: apps/v1, kind: Deployment, name: order-service}"
    lines = "".join(f"    - {{{job}}}\n" for job in jobs)
    return (
        "apiVersion: autoscaling.alibabacloud.com/v1beta1\nkind: CronHorizontalPodAutoscaler\n"
        f"metadata:\n  name: {name}\n  annotations: {{saleops.dev/controller-zone: Asia/Shanghai}}\n"
        f"spec:\n  scaleTargetRef: {target}\n{extra}  jobs:\n{lines}"
    )


def fleet_of(*texts: str, sale: SaleFacts | None = None, names: tuple[str, ...] = ()) -> Fleet:
    documents = [
        one
        for number, text in enumerate(texts)
        for one in parse_text(names[number] if names else f"f{number}.yaml", text).documents
    ]
    return Fleet(tuple(documents), sale=sale)


def facts(**changes: Any) -> SaleFacts:
    given: dict[str, Any] = {
        "name": "midnight-drop",
        "opens": OPENS,
        "closes": CLOSES,
        "pods": {"order": 100},
        "rps_per_pod": {"order": 450.0},
        "now": datetime(2026, 11, 26, 2, tzinfo=UTC),
        **changes,
    }
    return SaleFacts(**given)


def hits_of(id: str, fleet: Fleet) -> list[Hit]:
    from saleops.operations.lint.running import load_rules

    load_rules()
    return list(RULES[id].check(fleet))
