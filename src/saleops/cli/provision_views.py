"""How plans, reports, status and log of ``saleops provision`` look to people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from saleops.cli.figures import counted
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.provision.destroy_plan import DestroyPlan
from saleops.operations.provision.drift import Drift, words
from saleops.operations.provision.log import ProvisionLog
from saleops.operations.provision.planning import ProvisionPlan
from saleops.operations.provision.report import ProvisionReport
from saleops.operations.provision.status import ProvisionStatus

WHAT_MAX = 110


@as_rich.register
def _(plan: ProvisionPlan) -> list[Sheet | str]:
    """The calls in order, then what needs a person."""
    if not plan.writes_count and not plan.of("wait", "replace-needed", "foreign", "failed"):
        return [f"no change: {counted(len(plan.steps), 'resource')} of {plan.sale} are as wanted"]
    rows: list[tuple[object, ...]] = []
    for step in plan.steps:
        for call in step.calls:
            api = f"{call['product']} {call['api']}"
            what = _what(call) if step.verdict == "create" else _drifts(step.drift)
            rows.append((len(rows) + 1, step.verdict, f"{step.kind} {step.name}", api, what))
        if not step.calls and step.verdict != "none":
            rows.append(("", step.verdict, f"{step.kind} {step.name}", "", step.why))
    kept = len(plan.of("none"))
    columns = ("step", "do", "resource", "API", "what")
    shown: list[Sheet | str] = [
        Sheet(columns, rows, title=f"Provision {plan.sale} in {plan.cloud}"),
        f"{counted(plan.writes_count, 'call')}; {counted(kept, 'resource')} as wanted; nothing was changed",
    ]
    return shown


@as_rich.register
def _(plan: DestroyPlan) -> list[Sheet | str]:
    if not plan.steps:
        return [f"nothing of {plan.sale} is there"]
    rows: list[tuple[object, ...]] = []
    for step in plan.steps:
        for call in step.calls:
            api = f"{call['product']} {call['api']}"
            rows.append((len(rows) + 1, f"{step.kind} {step.name}", step.id, api, step.why))
        if not step.calls:
            rows.append(("", f"{step.kind} {step.name}", step.id, "", step.why))
    sheet = Sheet(
        ("step", "resource", "id", "API", "why"), rows, title=f"Destroy {plan.sale} in {plan.cloud}"
    )
    said = f"{counted(plan.writes_count, 'call')}; nothing was changed"
    if plan.data:
        said += f". Data goes with {', '.join(plan.data)}"
    return [sheet, said]


@as_rich.register
def _(report: ProvisionReport) -> list[Sheet | str]:
    """What each resource came to, and the calls."""
    calls = report.calls
    made = ", ".join(
        f"{len(found):,} {result}"
        for result in ("created", "changed", "ready", "no change", "deleted", "absent", "failed")
        if (found := [one for one in report.steps if one.result == result])
    )
    stuck = [one for one in report.steps if one.result in _STUCK]
    if stuck:
        made += f", {len(stuck):,} other"
    sums: list[tuple[str, object]] = [
        ("sale", report.sale),
        ("cloud", report.cloud),
        ("resources", made or "none"),
        ("calls", f"{calls.writes:,} writes, {calls.reads:,} reads, {calls.retries:,} repeated"),
        ("journal", report.journal),
    ]
    shown: list[Sheet | str] = []
    told = [one for one in report.steps if one.result != "no change"]
    if not told:
        shown.append("no change")
    else:
        rows = [
            (
                f"{one.kind} {one.name}",
                one.id,
                one.result,
                one.state,
                f"{one.took_s:,.0f} s",
                one.why or _drifts(one.drift),
            )
            for one in told
        ]
        columns = ("resource", "id", "result", "state", "cloud time", "why")
        shown.append(Sheet(columns, rows, whole=("id",)))
    return [*shown, Sheet((), sums)]


_STUCK = ("left alone", "replace needed", "blocked", "under way")


@as_rich.register
def _(status: ProvisionStatus) -> list[Sheet | str]:
    rows = [
        (one.group, f"{one.kind} {one.name}", one.id, one.state, one.standing, one.problem)
        for one in status.resources
    ]
    columns = ("group", "resource", "id", "state", "is", "why")
    shown: list[Sheet | str] = [
        Sheet(columns, rows, title=f"{status.sale} in {status.cloud}", whole=("id",))
    ]
    drifts = [
        (f"{one.kind} {one.name}", drift.field, words(drift.wanted), words(drift.seen), _by(drift))
        for one in status.resources
        for drift in one.drift
    ]
    if drifts:
        heads = ("resource", "field", "wanted", "is", "accepted")
        shown.append(Sheet(heads, drifts, title="Changed"))
    if status.leftovers:
        left = [(one.kind, one.id, one.name) for one in status.leftovers]
        shown.append(Sheet(("left over", "id", "name"), left, whole=("id",)))
    return shown


@as_rich.register
def _(log: ProvisionLog) -> list[Sheet | str]:
    totals = log.totals
    shown: list[Sheet | str] = []
    if log.entries:
        rows = [
            (
                one.at,
                f"{one.product} {one.api}",
                one.key,
                one.outcome,
                one.attempts,
                one.request_id,
            )
            for one in log.entries
        ]
        columns = ("time", "call", "for", "outcome", "attempts", "request id")
        shown.append(Sheet(columns, rows, whole=("request id",)))
    else:
        shown.append(f"nothing was written in the cloud for {log.sale} from here")
    if log.accepted:
        accepted = [
            (one.at, f"{one.key}: {one.field}", words(one.seen), one.who, one.reason)
            for one in log.accepted
        ]
        heads = ("time", "field", "may stay", "who", "why")
        shown.append(Sheet(heads, accepted, title="Accepted"))
    why = ", ".join(f"{code} {count:,}" for code, count in log.retries.items())
    sums: list[tuple[str, object]] = [
        ("runs", totals.runs),
        ("calls", f"{totals.calls:,}: {totals.writes:,} writes, {totals.reads:,} reads"),
        ("repeated", f"{totals.retries:,}" + (f" ({why})" if why else "")),
        ("throttled", totals.throttled),
        ("failed", totals.failed),
        ("unresolved", totals.unresolved),
        ("journal", log.journal),
    ]
    return [*shown, Sheet((), sums)]


def _what(call: Mapping[str, Any]) -> str:
    """A call's own words, cut: ``-o json`` has all of them."""
    values: dict[str, Any] = {**call.get("path", {}), **call.get("params", {})}
    body = call.get("body")
    if isinstance(body, Mapping):
        values.update(body)
    text = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for name, value in values.items()
        if name not in ("RegionId", "Tag", "tags", "region_id")
    )
    return text if len(text) <= WHAT_MAX else f"{text[: WHAT_MAX - 1]}…"


def _drifts(drifts: Sequence[Drift]) -> str:
    return "; ".join(
        f"{one.field}: {words(one.wanted)} wanted, is {words(one.seen)}"
        + (" (accepted)" if one.accepted else "")
        for one in drifts
    )


def _by(drift: Drift) -> str:
    return f"{drift.accepted_by}: {drift.accepted}" if drift.accepted else ""
