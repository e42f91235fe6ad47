"""Fill the edge before buyers arrive: the sale's URLs are preloaded to DCDN, and asked for until they are there.

The day's quota is asked first, and a run that does not fit is refused before anything is sent. What changed is refreshed
before it is preloaded, for a refresh empties what a preload filled. What an earlier run submitted is never submitted
again while its tasks run or its pages live at the edge; a run that was killed goes on with the tasks it had.
"""

import math
from collections.abc import Callable, Sequence

from saleops.domain.cloud.edge_history import Batch
from saleops.errors import CloudError
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.edge_plan import EdgeWork
from saleops.operations.edge_report import (
    EdgeNotWarm,
    EdgeReport,
    EdgeUrlReport,
    lapsed_of,
    left_over,
    reported,
)
from saleops.operations.edge_tasks import BATCH, Edge, ask, submit
from saleops.operations.edge_urls import EdgeUrl

TASK = "prewarm edge"
DEADLINE_S = 2_700.0
"""A task takes 5 to 30 minutes (provider's page on PreloadDcdnObjectCaches, read 2026-11); past this one is called slow."""
LOOK_EVERY_S = 60.0
TAKES_S = 1_800.0
"""The longest that a task usually takes (same page)."""


def apply_edge(
    work: EdgeWork,
    edge: Edge,
    *,
    deadline_s: float = DEADLINE_S,
    look_every_s: float = LOOK_EVERY_S,
    opens_ms: int = 0,
    lives_s: Callable[[str], float] = lambda url: math.inf,
    observe: Observer = silent,
) -> EdgeReport:
    """Send what ``work`` says and ask until it is done. Raises EdgeNotWarm where a URL failed or is slow, CloudError where the
    cloud refuses a call; what was submitted by then is in the journal, and the next run goes on with it."""
    began_ms = edge.now_ms()
    plan = work.plan
    left: list[EdgeUrlReport] = []
    _tell_if_short(work, edge.pause_s, lives_s, observe)
    blocked = _refresh(work, edge, deadline_s, look_every_s, left, observe)
    to_preload = [each for each in work.to_preload if each.url not in blocked]
    observe(Started(TASK, len(to_preload) + len(work.waiting), "URLs"))
    batches = list({batch.number: batch for batch in work.waiting.values()}.values())
    not_sent = _preload(to_preload, edge, plan.area, batches, left, observe)
    mine = {*work.waiting, *(each.url for each in to_preload)} - not_sent
    _wait(edge, batches, mine, deadline_s, look_every_s, TASK, observe)
    complete = left_over(edge, batches, mine, "preload", left)
    last_ms = edge.now_ms()
    left += lapsed_of(work, edge, last_ms, lives_s)
    _tell_if_early(work, opens_ms, last_ms, lives_s, observe)
    report = reported(
        work, edge, left, complete, len(to_preload) - len(not_sent), began_ms, last_ms
    )
    there = f"{report.complete + report.warm_before:,} of {report.urls:,} URLs are at the edge"
    observe(Finished(TASK, there, ok=not report.problems))
    if report.problems:
        raise EdgeNotWarm(report)
    return report


def _refresh(
    work: EdgeWork,
    edge: Edge,
    deadline_s: float,
    look_every_s: float,
    left: list[EdgeUrlReport],
    observe: Observer,
) -> set[str]:
    """Empty the edge of what changed; the URLs where that is not done, which a preload now would be wasted on."""
    mine = {*work.refreshing, *(each.url for each in work.to_refresh)}
    if not mine:
        return set()
    task = "refresh edge"
    observe(Started(task, len(mine), "URLs"))
    batches = list({batch.number: batch for batch in work.refreshing.values()}.values())
    batches += submit(edge, "refresh", work.to_refresh, work.plan.area, advanced=lambda done: None)
    _wait(edge, batches, mine, deadline_s, look_every_s, task, observe)
    done = left_over(edge, batches, mine, "refresh", left)
    observe(Finished(task, f"{done:,} URLs", ok=done == len(mine)))
    return {each.url for each in left}


def _preload(
    urls: Sequence[EdgeUrl],
    edge: Edge,
    area: str,
    batches: list[Batch],
    left: list[EdgeUrlReport],
    observe: Observer,
) -> set[str]:
    """Submit; what the quota has no room for any more (somebody else used it) is named, not raised."""
    before = {each.number for each in batches}
    first = edge.journal.history.last_number
    try:
        submit(
            edge,
            "preload",
            urls,
            area,
            advanced=lambda done: observe(Advanced(TASK, 0, f"{done:,} submitted")),
        )
    except CloudError as error:
        if error.kind != "quota":
            raise
        observe(Warned(f"the day's quota is used up by somebody else: {error.message}"))
    made = [
        each for each in edge.journal.history.batches.values() if each.number > first and each.tasks
    ]
    batches += [each for each in made if each.number not in before]
    sent = {url for each in made for url in each.urls}
    missing = [each for each in urls if each.url not in sent]
    left += [
        EdgeUrlReport(each.url, "preload", "not sent", note="the day's quota is used up")
        for each in missing
    ]
    return {each.url for each in missing}


def _wait(
    edge: Edge,
    batches: Sequence[Batch],
    mine: set[str],
    deadline_s: float,
    look_every_s: float,
    task: str,
    observe: Observer,
) -> None:
    until_ms = edge.now_ms() + round(deadline_s * 1000)
    while waiting := sum(1 for batch in batches for url in batch.waiting if url in mine):
        left_s = (until_ms - edge.now_ms()) / 1000
        if left_s <= 0:
            return
        edge.cloud.clock.sleep(min(look_every_s, left_s))
        ask(edge, batches, lost_is_gone=False)
        observe(Advanced(task, len(mine) - waiting, f"{waiting:,} wait"))
    observe(Advanced(task, len(mine)))


def _tell_if_short(
    work: EdgeWork, pause_s: float, lives_s: Callable[[str], float], observe: Observer
) -> None:
    """Pages that the edge drops sooner than a preload takes are gone before the last one is there."""
    if not work.to_preload:
        return
    takes_s = TAKES_S + pause_s * (-(-len(work.to_preload) // BATCH["preload"]) - 1)
    short = [each for each in work.wanted if lives_s(each.url) < takes_s]
    if short:
        shortest_s = min(lives_s(each.url) for each in short)
        observe(
            Warned(
                f"the edge keeps {len(short):,} of these URLs for {shortest_s:,.0f} s, and a preload takes up to "
                f"{takes_s:,.0f} s: some lapse before the last is there; `edge.page_ttl_s` in the profile makes pages live longer"
            )
        )


def _tell_if_early(
    work: EdgeWork, opens_ms: int, now_ms: int, lives_s: Callable[[str], float], observe: Observer
) -> None:
    """A page that the edge drops before the doors open was preloaded for nothing."""
    early = [each for each in work.wanted if now_ms + lives_s(each.url) * 1000 < opens_ms]
    if early:
        shortest_s = min(lives_s(each.url) for each in early)
        observe(
            Warned(
                f"the edge keeps {len(early):,} of these URLs for {shortest_s:g} s or a little more, and the sale opens "
                "later than that: prewarm the edge again shortly before"
            )
        )
