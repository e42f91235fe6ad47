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
from saleops.operations.provision.status import ProvisionStatus, ResourceStatus

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
            what = _what(call) if step.verdict == "create" else drift_words(step.drift)
            rows.append((len(rows) + 1, step.verdict, f"{step.kind} {step.name}", api, what))
        if not step.calls and step.verdict != "none":
            rows.append(("", step.verdict, f"{step.kind} {step.name}", "", step.why))
    kept = len(plan.of("none"))
    columns = ("step", "do", "resource", "API", "what")
    return [
        Sheet(columns, rows, title=f"Provision {plan.sale} in {plan.cloud}"),
        f"{counted(plan.writes_count, 'call')}; {counted(kept, 'resource')} as wanted; nothing was changed",
        *notes_of(plan.notes),
    ]


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
                one.why or drift_words(one.drift),
            )
            for one in told
        ]
        columns = ("resource", "id", "result", "state", "cloud time", "why")
        shown.append(Sheet(columns, rows, whole=("id",)))
    return [*shown, Sheet((), sums_of(report))]


def sums_of(report: ProvisionReport) -> list[tuple[str, object]]:
    """The totals of a run."""
    calls = report.calls
    made = ", ".join(
        f"{len(found):,} {result}"
        for result in ("created", "changed", "ready", "no change", "deleted", "absent", "failed")
        if (found := [one for one in report.steps if one.result == result])
    )
    stuck = [one for one in report.steps if one.result in _STUCK]
    if stuck:
        made += f", {len(stuck):,} other"
    return [
        ("sale", report.sale),
        ("cloud", report.cloud),
        ("resources", made or "none"),
        ("calls", f"{calls.writes:,} writes, {calls.reads:,} reads, {calls.retries:,} repeated"),
        ("took", f"{report.took_s:,.0f} s of the cloud's time"),
        *(("note", one) for one in report.notes),
        ("journal", report.journal),
    ]


def notes_of(notes: Sequence[str]) -> list[Sheet | str]:
    return [Sheet((), [("note", one) for one in notes])] if notes else []


_STUCK = ("left alone", "replace needed", "blocked", "under way")


@as_rich.register
def _(status: ProvisionStatus) -> list[Sheet | str]:
    rows = [
        (
            one.group,
            f"{one.kind} {one.name}",
            one.id,
            one.state,
            standing_of(one),
            one.problem or why_of(one),
        )
        for one in status.resources
    ]
    columns = ("group", "resource", "id", "state", "is", "why")
    shown: list[Sheet | str] = [
        Sheet(columns, rows, title=f"{status.sale} in {status.cloud}", whole=("id",))
    ]
    return [*shown, *accepted_of(status), *leftovers_of(status)]


def standing_of(row: ResourceStatus) -> str:
    """Its standing; "replace needed" where no call brings any of its changed fields back."""
    helpless = row.stays and all(one.field in row.stays or one.accepted for one in row.drift)
    return "replace needed" if helpless else row.standing


def why_of(row: ResourceStatus) -> str:
    return f"only a new one would have {', '.join(row.stays)}" if row.stays else ""


def accepted_of(status: ProvisionStatus) -> list[Sheet | str]:
    """The fields that are not as wanted, accepted ones among them."""
    drifts = [
        (f"{one.kind} {one.name}", drift.field, words(drift.wanted), words(drift.seen), _by(drift))
        for one in status.resources
        for drift in one.drift
    ]
    heads = ("resource", "field", "wanted", "is", "accepted")
    return [Sheet(heads, drifts, title="Changed")] if drifts else []


def leftovers_of(status: ProvisionStatus) -> list[Sheet | str]:
    left = [(one.kind, one.id, one.name) for one in status.leftovers]
    return [Sheet(("left over", "id", "name"), left, whole=("id",))] if left else []


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
        ("attempts refused for their rate", totals.throttled),
        ("writes refused, then done", totals.made_good),
        ("writes that failed", totals.failed),
        ("writes nobody knows of", totals.unresolved),
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


def drift_words(drifts: Sequence[Drift]) -> str:
    return "; ".join(
        f"{one.field}: {words(one.wanted)} wanted, is {words(one.seen)}"
        + (" (accepted)" if one.accepted else "")
        for one in drifts
    )


def _by(drift: Drift) -> str:
    return f"{drift.accepted_by}: {drift.accepted}" if drift.accepted else ""
