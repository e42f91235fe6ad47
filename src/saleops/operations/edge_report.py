"""What a prewarm of the edge came to, with every URL that is not there named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from saleops.domain.cloud.edge_history import COMPLETE, Batch, TaskKind
from saleops.errors import GateFailed
from saleops.operations.edge_plan import EdgeWork
from saleops.operations.edge_tasks import Edge


@dataclass(frozen=True, slots=True)
class EdgeUrlReport:
    url: str
    step: TaskKind
    result: str  # "failed", "slow", "not sent", "lapsed"
    task: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """What is at the edge now. ``problems`` is empty when all of it is. ``complete`` and ``warm_before`` count what the edge
    still keeps at the end, ``lapsed`` what it had and dropped by then; ``seconds`` are the cloud's."""

    schema: ClassVar[str] = "saleops/prewarm-edge/v1"

    sale: str
    cloud: str
    domain: str
    area: str
    urls: int
    warm_before: int
    resumed: int
    refreshed: int
    submitted: int
    complete: int
    failed: int
    slow: int
    not_sent: int
    lapsed: int
    preload_calls: int
    refresh_calls: int
    reads: int
    repeated: int
    quota_left: int
    seconds: float
    urls_left: tuple[EdgeUrlReport, ...] = ()
    problems: tuple[str, ...] = ()


class EdgeNotWarm(GateFailed):
    """Not every URL is at the edge. ``report`` names those that are not."""

    def __init__(self, report: EdgeReport) -> None:
        super().__init__(
            f"the edge of {report.sale} is not warm: {'; '.join(report.problems)}",
            hint="Run `saleops prewarm edge` again: it asks after slow URLs and submits failed ones once more. "
            "A URL that keeps failing fails at the origin: open it there."
            if not report.lapsed
            else "The edge drops pages sooner than a preload takes: raise `edge.page_ttl_s` in the profile (7200 is two "
            "hours), run `saleops provision edge SALE`, then `saleops prewarm edge` again.",
        )
        self.report = report


def left_over(
    edge: Edge, batches: Sequence[Batch], mine: set[str], kind: TaskKind, left: list[EdgeUrlReport]
) -> int:
    """Names what is not complete; how many are."""
    complete = 0
    for batch in batches:
        for url in batch.urls:
            if url not in mine:
                continue
            result = batch.results.get(url)
            if result is not None and result.status == COMPLETE:
                complete += 1
            elif result is not None:
                left.append(EdgeUrlReport(url, kind, "failed", result.task, result.note))
            else:
                waits_s = (edge.now_ms() - batch.at_ms) // 1000
                task = (
                    batch.tasks[batch.urls.index(url)]
                    if batch.tasks and len(batch.tasks) == len(batch.urls)
                    else ""
                )
                left.append(EdgeUrlReport(url, kind, "slow", task, f"not done after {waits_s} s"))
    return complete


def lapsed_of(
    work: EdgeWork, edge: Edge, now_ms: int, lives_s: Callable[[str], float]
) -> list[EdgeUrlReport]:
    """What is done, of this run or of one before, and no longer at the edge: it lived too short."""
    found: list[EdgeUrlReport] = []
    for each in work.wanted:
        last = edge.journal.history.newest("preload", each.url)
        result = last.result if last is not None else None
        if result is None or result.status != COMPLETE:
            continue
        lived_s, life_s = (now_ms - result.at_ms) / 1000, lives_s(each.url)
        if lived_s >= life_s:
            note = f"there {lived_s:,.0f} s ago, and the edge keeps it for {life_s:,.0f} s"
            found.append(EdgeUrlReport(each.url, "preload", "lapsed", result.task, note))
    return found


def reported(
    work: EdgeWork,
    edge: Edge,
    left: Sequence[EdgeUrlReport],
    complete: int,
    submitted: int,
    began_ms: int,
    ended_ms: int,
) -> EdgeReport:
    plan, calls = work.plan, edge.calls
    counts = {
        name: sum(1 for each in left if each.result == name)
        for name in ("failed", "slow", "not sent", "lapsed")
    }
    lapsed_before = sum(1 for each in left if each.result == "lapsed" and each.url in work.warm)
    problems = [
        f"{count:,} {_PROBLEMS[name]}: {_named(left, name)}"
        for name, count in counts.items()
        if count
    ]
    return EdgeReport(
        plan.sale,
        plan.cloud,
        plan.domain,
        plan.area,
        plan.urls,
        plan.warm - lapsed_before,
        plan.waiting,
        plan.refresh - sum(1 for each in left if each.step == "refresh"),
        submitted,
        complete - (counts["lapsed"] - lapsed_before),
        counts["failed"],
        counts["slow"],
        counts["not sent"],
        counts["lapsed"],
        calls.preload,
        calls.refresh,
        calls.reads,
        calls.repeated,
        max(plan.preload_left - submitted, 0),
        round((ended_ms - began_ms) / 1000, 1),
        tuple(left),
        tuple(problems),
    )


_PROBLEMS = {
    "failed": "URLs failed",
    "slow": "URLs are slow",
    "not sent": "URLs were not sent",
    "lapsed": "URLs have lapsed: the edge dropped them before the run was done",
}
NAMED = 3


def _named(left: Sequence[EdgeUrlReport], result: str) -> str:
    found = [each for each in left if each.result == result]
    named = ", ".join(
        f"{each.url} ({each.note})" if each.note else each.url for each in found[:NAMED]
    )
    return named + (f" and {len(found) - NAMED:,} more" if len(found) > NAMED else "")
