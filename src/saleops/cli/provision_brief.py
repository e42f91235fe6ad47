"""Provisioning on a terminal: counts by group, and by name only what is not in order. ``-v`` shows all, as pipes get it."""

from collections import Counter
from collections.abc import Sequence

from saleops.cli.figures import counted
from saleops.cli.provision_views import (
    accepted_of,
    drift_words,
    leftovers_of,
    notes_of,
    standing_of,
    sums_of,
    why_of,
)
from saleops.cli.sheets import Sheet, as_brief
from saleops.operations.provision.planning import PlannedStep, ProvisionPlan
from saleops.operations.provision.report import ProvisionReport
from saleops.operations.provision.status import ProvisionStatus

_FINE = ("no change", "created", "changed", "ready", "deleted", "absent")


def _by_group(rows: Sequence[tuple[str, str]], head: str) -> Sheet:
    """``rows`` are a group and what its resource is."""
    groups = dict.fromkeys(group for group, _ in rows)
    counts = Counter(rows)
    shown = []
    for group in groups:
        told = [f"{count:,} {said}" for (name, said), count in counts.items() if name == group]
        total = sum(count for (name, _), count in counts.items() if name == group)
        shown.append((group, total, ", ".join(told)))
    return Sheet(("group", "resources", head), shown)


@as_brief.register
def _(report: ProvisionReport) -> list[Sheet | str]:
    shown: list[Sheet | str] = []
    if any(one.result != "no change" for one in report.steps):
        shown.append(_by_group([(one.group, one.result) for one in report.steps], "result"))
    else:
        shown.append("no change")
    rest = [
        (f"{one.kind} {one.name}", one.result, one.why or drift_words(one.drift))
        for one in report.steps
        if one.result not in _FINE
    ]
    if rest:
        shown.append(Sheet(("resource", "result", "why"), rest))
    changed = [
        (f"{one.kind} {one.name}", drift_words(one.drift))
        for one in report.steps
        if one.result == "changed" and one.drift
    ]
    if changed:
        shown.append(Sheet(("changed", "what"), changed))
    return [*shown, Sheet((), sums_of(report))]


@as_brief.register
def _(status: ProvisionStatus) -> list[Sheet | str]:
    counts = _by_group([(one.group, standing_of(one)) for one in status.resources], "is")
    if status.in_order and not any(one.drift for one in status.resources):
        count = counted(len(status.resources), "resource")
        return [counts, f"{count} of {status.sale} in {status.cloud} as wanted"]
    rows = [
        (f"{one.kind} {one.name}", standing_of(one), one.problem or why_of(one) or one.state)
        for one in status.resources
        if one.standing != "ok"
    ]
    shown: list[Sheet | str] = [counts]
    if rows:
        shown.append(Sheet(("resource", "is", "why"), rows))
    return [*shown, *accepted_of(status), *leftovers_of(status)]


@as_brief.register
def _(plan: ProvisionPlan) -> list[Sheet | str]:
    rows = [
        (one.name, one.kind, one.verdict, _what(one)) for one in plan.steps if one.verdict != "none"
    ]
    kept = len(plan.of("none"))
    said = f"{counted(plan.writes_count, 'call')}; {counted(kept, 'resource')} as wanted; nothing was changed"
    if not rows:
        said = f"no change: {counted(len(plan.steps), 'resource')} of {plan.sale} are as wanted"
        return [said, *notes_of(plan.notes)]
    title = f"Provision {plan.sale} in {plan.cloud}"
    return [
        Sheet(("name", "kind", "do", "why"), rows, title=title),
        said,
        *notes_of(plan.notes),
        "-v shows the calls, -o json their documents.",
    ]


def _what(step: PlannedStep) -> str:
    return step.why or drift_words(step.drift)
