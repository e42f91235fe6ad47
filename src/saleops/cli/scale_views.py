"""How plans, reports and status of ``saleops scale`` look to people."""

import json
from collections.abc import Mapping
from typing import Any

from saleops.cli.figures import counted
from saleops.cli.sheets import Sheet, as_rich
from saleops.operations.scale.barrier import Count
from saleops.operations.scale.down import ScaledDown
from saleops.operations.scale.down_plan import DownPlan
from saleops.operations.scale.hold import Held
from saleops.operations.scale.plan import ScaleExplained, ScalePlanned
from saleops.operations.scale.status import ScaleStatus
from saleops.operations.scale.up import ScaledUp

Shown = list[Sheet | str]


@as_rich.register
def _(plan: ScalePlanned) -> Shown:
    rows = [
        (
            one.phase,
            one.what,
            f"{one.field} {one.have:,} -> {one.want:,}" if one.want > one.have else f"{one.have:,}",
            f"{one.ready:,}",
            one.verdict,
            one.t_minus,
            one.latest_start,
            one.note,
        )
        for one in plan.steps
    ]
    columns = ("phase", "what", "size", "ready", "is", "latest", "latest safe start", "note")
    shown: Shown = [
        f"{plan.verdict} for {plan.sale} at {plan.clock}, opens {plan.opens}, latest safe start {plan.latest_start}",
        Sheet(columns, rows),
    ]
    sends: list[tuple[object, ...]] = []
    for one in plan.steps:
        for call in one.calls:
            sends.append((len(sends) + 1, f"{call['product']} {call['api']}", _call(call)))
        for patch in one.patches:
            sends.append((len(sends) + 1, f"patch {patch['object']}", _json(patch["patch"])))
    if sends:
        shown.append(Sheet(("step", "sends", "body"), sends))
    shown += list(plan.notes)
    shown.append(f"{counted(plan.changes, 'change')}; nothing was changed")
    return shown


def _call(call: Mapping[str, Any]) -> str:
    return _json(call.get("body") or call.get("params") or {})


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)


@as_rich.register
def _(explained: ScaleExplained) -> Shown:
    rows = [
        (one.about, one.text, "" if one.seconds is None else f"{one.seconds:,} s", one.source)
        for one in explained.lines
    ]
    title = f"{explained.sale} opens {explained.opens}"
    return [Sheet(("about", "arithmetic", "is", "source"), rows, title=title)]


@as_rich.register
def _(report: ScaledUp) -> Shown:
    rows = [
        (one.phase, one.what, one.field, f"{one.before:,} -> {one.after:,}", one.result, one.why)
        for one in report.steps
    ]
    shown: Shown = [Sheet(("phase", "what", "field", "size", "result", "why"), rows)]
    counts = [*report.nodes, *report.pods]
    if counts:
        shown.append(_counts(counts))
    sums: list[tuple[str, object]] = [
        ("sale", report.sale),
        ("cluster", report.cluster),
        ("ready", report.ready),
        ("late", ", ".join(report.late)),
        ("took", f"{report.took_s:,.0f} s"),
        ("journal", report.journal),
    ]
    return [*shown, Sheet((), sums), *report.notes]


def _counts(counts: list[Count]) -> Sheet:
    rows = [
        (one.what, f"{one.wanted:,}", f"{one.ready:,}", "" if one.met else "; ".join(one.reasons))
        for one in counts
    ]
    return Sheet(("what", "wanted", "ready", "why not"), rows)


@as_rich.register
def _(held: Held) -> Shown:
    rows = [
        (one.at, one.what, one.field, one.was, one.floor, f"{one.below_s:.1f} s")
        for one in held.restored
    ]
    said = (
        f"the floor of {held.sale} was held until {held.until}: {held.restored_count:,} put back, "
        f"{held.longest_s:.1f} s at the longest; {held.looks:,} looks, {held.blind_s:.0f} s without an answer"
    )
    if not rows:
        return [said]
    return [Sheet(("at", "what", "field", "was", "floor", "within"), rows), said]


@as_rich.register
def _(status: ScaleStatus) -> Shown:
    rows = [
        (
            one.phase,
            one.what,
            f"{one.wanted:,}",
            f"{one.asked:,}",
            f"{one.ready:,}",
            _sizes(one.original),
            "; ".join(one.reasons),
        )
        for one in status.rows
    ]
    columns = ("phase", "what", "wanted", "asked for", "ready", "was before", "why not")
    state = "scaled up" if status.scaled else "not scaled up"
    title = f"{status.sale}: {status.clock}, {state}"
    return [title, Sheet(columns, rows), *status.drift, *status.notes]


@as_rich.register
def _(plan: DownPlan) -> Shown:
    if not plan.steps:
        return [f"nothing of {plan.sale} was recorded: there is nothing to give back", *plan.told]
    rows = [
        (one.phase, one.what, _sizes(one.now), _sizes(one.original), one.verdict)
        for one in plan.steps
    ]
    shown: Shown = [Sheet(("phase", "what", "is", "was before", "do"), rows)]
    sends: list[tuple[object, ...]] = []
    for one in plan.steps:
        for patch in one.patches:
            sends.append((len(sends) + 1, f"patch {patch['object']}", _json(patch["patch"])))
        for call in one.calls:
            sends.append((len(sends) + 1, f"{call['product']} {call['api']}", _call(call)))
    if sends:
        shown.append(Sheet(("step", "sends", "body"), sends))
    if plan.drains:
        shown.append(f"drained and removed before: {', '.join(plan.drains)}")
    return [*shown, *plan.told, "nothing was changed"]


@as_rich.register
def _(report: ScaledDown) -> Shown:
    rows = [
        (one.phase, one.what, _sizes(one.before), _sizes(one.after), one.result, one.why)
        for one in report.steps
    ]
    shown: Shown = []
    if rows:
        shown.append(Sheet(("phase", "what", "was", "is", "result", "why"), rows))
    if report.nodes:
        drained = [(one.node, one.left, "; ".join(one.reasons)) for one in report.nodes]
        shown.append(Sheet(("node", "pods left", "why"), drained))
    said = "every size is back" if report.restored else "not everything is back"
    if not report.steps:
        said = f"nothing of {report.sale} was recorded: there is nothing to give back"
    return [*shown, *report.told, said]


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in sizes.items())
