"""What a prewarm of the edge would send: which URLs are there already, which are on their way, what the day's quota allows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from saleops.domain.cloud.edge_history import (
    COMPLETE,
    GONE,
    Batch,
    EdgeHistory,
    TaskKind,
    UrlResult,
)
from saleops.errors import CloudError, GateFailed, Refused
from saleops.operations.edge_tasks import Edge, ask, batches_of, call_of, look_up
from saleops.operations.edge_urls import EdgeUrl

TASKS_LIVE_MS = 3 * 86_400_000
"""The cloud knows its tasks for three days."""


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """What a run would send. ``warm`` URLs are at the edge already, ``waiting`` ones have tasks that an earlier run began."""

    schema: ClassVar[str] = "saleops/prewarm-edge-plan/v1"

    sale: str
    cloud: str
    domain: str
    area: str
    urls: int
    warm: int
    waiting: int
    preload: int
    refresh: int
    preload_quota: int
    preload_left: int
    refresh_left: int
    calls: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class EdgeWork:
    """A plan with what it is about; ``plan_edge`` makes it, ``apply_edge`` does it."""

    plan: EdgePlan
    wanted: Sequence[EdgeUrl]
    to_refresh: Sequence[EdgeUrl]
    to_preload: Sequence[EdgeUrl]
    waiting: dict[str, Batch] = field(default_factory=dict)  # preloads under way, by URL
    refreshing: dict[str, Batch] = field(default_factory=dict)
    warm: frozenset[str] = frozenset()


def plan_edge(
    edge: Edge,
    urls: Sequence[EdgeUrl],
    *,
    sale: str,
    region: str,
    wanted_count: int | None = None,
    refresh: bool = False,
    again: bool = False,
    lives_s: Callable[[str], float] = lambda url: 0.0,
) -> EdgeWork:
    """What is to be sent. Reads, and settles in the journal what a killed run left unclear; sends nothing else.

    ``wanted_count`` is how many URLs there are where ``urls`` holds the hottest of them alone. ``lives_s`` is how long the edge
    keeps a URL. Raises Refused where the domain does not serve, GateFailed where the day's quota does not suffice.
    """
    area = _area_of(edge, region)
    quota = edge.read("DescribeDcdnRefreshQuota")
    total, left = _whole(quota, "PreloadQuota"), _whole(quota, "PreloadRemain")
    refresh_left = _whole(quota, "UrlRemain")
    for batch in edge.journal.history.unclear:
        look_up(edge, batch)
    _forget_lost(edge)
    work = _sorted(edge, urls, refresh=refresh, again=again, lives_s=lives_s)
    beyond = max((wanted_count or len(urls)) - len(urls), 0)
    _check_quota(len(work.to_preload) + beyond, left, total, what="preload")
    _check_quota(len(work.to_refresh), refresh_left, _whole(quota, "UrlQuota"), what="refresh")
    kinds: tuple[tuple[TaskKind, Sequence[EdgeUrl]], ...] = (
        ("refresh", work.to_refresh),
        ("preload", work.to_preload),
    )
    calls = tuple(
        {"product": call.product, "api": call.api, "params": dict(call.params)}
        for kind, some in kinds
        for part in batches_of(some, kind)
        for call in (call_of(kind, [each.url for each in part], area),)
    )
    work.plan = EdgePlan(
        sale,
        edge.cloud.name,
        edge.domain,
        area,
        len(urls),
        len(work.warm),
        len(work.waiting),
        len(work.to_preload),
        len(work.to_refresh),
        total,
        left,
        refresh_left,
        calls,
    )
    return work


def _area_of(edge: Edge, region: str) -> str:
    """The area to preload in, from the domain's scope. Raises Refused where the domain does not serve."""
    try:
        answer = edge.read("DescribeDcdnDomainDetail", DomainName=edge.domain)
    except CloudError as error:
        if error.kind != "missing":
            raise
        raise Refused(
            f"{edge.domain} is no DCDN domain of {edge.cloud.name}; nothing was sent",
            hint="Run `saleops provision edge SALE` first.",
        ) from error
    detail = answer.get("DomainDetail") or {}
    state = str(detail.get("DomainStatus") or "unknown")
    if state != "online":
        raise Refused(
            f"{edge.domain} is {state}, not online; nothing was sent",
            hint="Run `saleops provision edge SALE`: it waits until the domain serves, and says why where it does not.",
        )
    scope = str(detail.get("Scope") or "")
    if scope in ("domestic", "overseas"):
        return scope
    mainland = region.startswith("cn-") and region != "cn-hongkong"
    return "domestic" if mainland else "overseas"


def _whole(answer: Mapping[str, Any], name: str) -> int:
    """Quotas are numbers in strings."""
    text = str(answer.get(name, "")).strip()
    if not text.isdecimal():
        raise CloudError(
            f"dcdn DescribeDcdnRefreshQuota answered {name} {text!r}, which is no number",
            kind="failed",
        )
    return int(text)


def _forget_lost(edge: Edge) -> None:
    """Ask once after everything that earlier runs left: it is done by now, or runs, or is unknown to this cloud."""
    now_ms = edge.now_ms()
    batches = [each for each in edge.journal.history.batches.values() if each.tasks_to_ask]
    for batch in batches:
        if now_ms - batch.at_ms > TASKS_LIVE_MS:
            _lose(edge, batch)
    ask(edge, [each for each in batches if each.tasks_to_ask], lost_is_gone=True)


def _lose(edge: Edge, batch: Batch) -> None:
    for url in batch.waiting:
        edge.journal.seen(
            batch, url, UrlResult(GONE, "", "its task is too old to be asked after", edge.now_ms())
        )


def _sorted(
    edge: Edge,
    urls: Sequence[EdgeUrl],
    *,
    refresh: bool,
    again: bool,
    lives_s: Callable[[str], float],
) -> EdgeWork:
    """Which URLs are warm, wait, or are to be sent."""
    history, now_ms = edge.journal.history, edge.now_ms()
    warm: set[str] = set()
    waiting: dict[str, Batch] = {}
    refreshing: dict[str, Batch] = {}
    to_refresh: list[EdgeUrl] = []
    to_preload: list[EdgeUrl] = []
    for each in urls:
        last = history.newest("preload", each.url)
        same = last is not None and last.mark == each.mark and not again
        if last is not None and last.result is None:
            waiting[each.url] = last.batch
            continue
        if (
            last is not None
            and same
            and last.result is not None
            and last.result.status == COMPLETE
            and now_ms - last.result.at_ms < lives_s(each.url) * 1000
        ):
            warm.add(each.url)
            continue
        to_preload.append(each)
        if refresh and not _is_fresh(history, each, refreshing):
            to_refresh.append(each)
    return EdgeWork(_NO_PLAN, urls, to_refresh, to_preload, waiting, refreshing, frozenset(warm))


_NO_PLAN = EdgePlan("", "", "", "", 0, 0, 0, 0, 0, 0, 0, 0, ())


def _is_fresh(history: EdgeHistory, each: EdgeUrl, refreshing: dict[str, Batch]) -> bool:
    """Whether the edge need not be emptied of the URL: its content was preloaded before as it is now, or it has been refreshed
    (or is being) since the last preload."""
    preloaded = history.newest("preload", each.url)
    if preloaded is not None and preloaded.mark == each.mark and each.mark:
        return True
    refreshed = history.newest("refresh", each.url)
    since = preloaded.batch.number if preloaded is not None else 0
    if refreshed is None or refreshed.mark != each.mark or refreshed.batch.number < since:
        return False
    if refreshed.result is None:
        refreshing[each.url] = refreshed.batch
        return True
    return refreshed.result.status == COMPLETE


def _check_quota(count: int, left: int, total: int, *, what: str) -> None:
    if count <= left:
        return
    days = 1 + -(-(count - left) // max(total, 1))
    fewer = (
        f"take the {left:,} hottest with `--hottest {left}`, " if left and what == "preload" else ""
    )
    raise GateFailed(
        f"NO-GO: {count:,} URLs to {what}, and {left:,} of the day's {total:,} are left: {count - left:,} too many; "
        "nothing was sent",
        hint=f"Choose: {fewer}spread them over {days} days (a day begins at midnight, UTC+8), or apply for a higher quota, "
        "which people review.",
    )
