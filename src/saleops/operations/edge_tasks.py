"""Submits URLs to the edge in batches, and asks until their tasks are done.

The calls have no idempotency token. So each is in the journal before it leaves; when nobody knows what became of it (no answer, a
crash), the cloud's own list of tasks is read, after the time that lists lag, and only what is not there is sent again. Calls
keep a distance in time that stays below the API's rate, on the cloud's clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.edge_history import COMPLETE, FAILED, GONE, Batch, TaskKind, UrlResult
from saleops.errors import CloudError
from saleops.operations.edge_urls import EdgeUrl
from saleops.operations.provision.courier import LIST_LAG_S
from saleops.operations.provision.sending import Retries, request_id_of, send
from saleops.ports.cloud import Cloud
from saleops.ports.edge_journal import EdgeJournal

BATCH = {"preload": 100, "refresh": 1_000}
RATE_PER_S = {"preload": 15.0, "refresh": 30.0}
IDS_A_LOOK = 10
TASKS_A_PAGE = 50
UNKNOWN_MAX = 5
RETRIES = Retries(attempts_max=24, waits_max_s=300.0)
"""More patient than for one resource: a run sends hundreds of calls, and one that gives up loses the day's quota."""


@dataclass(slots=True)
class EdgeCalls:
    """What a run has sent; ``repeated`` counts attempts after the first."""

    preload: int = 0
    refresh: int = 0
    reads: int = 0
    repeated: int = 0


@dataclass(slots=True)
class Edge:
    """The cloud, the journal, and how this run used them. ``pause_s`` spreads preloads, which pull from the origin at once."""

    cloud: Cloud
    journal: EdgeJournal
    domain: str
    random: Random
    pause_s: float = 0.0
    calls: EdgeCalls = field(default_factory=EdgeCalls)
    _last_ms: dict[TaskKind, int] = field(default_factory=dict)

    def now_ms(self) -> int:
        return self.cloud.clock.now_ms()

    def read(self, api: str, **params: object) -> Answer:
        self.calls.reads += 1
        return send(
            self.cloud,
            Call("dcdn", api, params),
            random=self.random,
            retries=RETRIES,
            retried=self._repeated,
        ).answer

    def write(self, kind: TaskKind, call: Call) -> Answer:
        gap_s = 1.0 / RATE_PER_S[kind]
        if kind == "preload":
            gap_s = max(gap_s, self.pause_s)
        last_ms = self._last_ms.get(kind)
        if last_ms is not None:
            self.cloud.clock.sleep(max(0.0, gap_s - (self.now_ms() - last_ms) / 1000))
        try:
            sent = send(
                self.cloud, call, random=self.random, retries=RETRIES, retried=self._repeated
            )
        finally:
            self._last_ms[kind] = self.now_ms()
        setattr(self.calls, kind, getattr(self.calls, kind) + 1)
        return sent.answer

    def _repeated(self, error: CloudError, wait_s: float) -> None:
        self.calls.repeated += 1


def batches_of(urls: Sequence[EdgeUrl], kind: TaskKind) -> list[Sequence[EdgeUrl]]:
    size = BATCH[kind]
    return [urls[start : start + size] for start in range(0, len(urls), size)]


def call_of(kind: TaskKind, urls: Sequence[str], area: str) -> Call:
    paths = "\n".join(urls)
    if kind == "preload":
        return Call("dcdn", "PreloadDcdnObjectCaches", {"ObjectPath": paths, "Area": area})
    return Call("dcdn", "RefreshDcdnObjectCaches", {"ObjectPath": paths, "ObjectType": "File"})


def submit(
    edge: Edge,
    kind: TaskKind,
    urls: Sequence[EdgeUrl],
    area: str,
    *,
    advanced: Callable[[int], None],
) -> list[Batch]:
    """Submit ``urls`` of ``kind``; ``advanced`` hears how many are. Raises CloudError; the journal says how far it came."""
    made: list[Batch] = []
    done = 0
    for part in batches_of(urls, kind):
        left = list(part)
        for attempt in range(1, UNKNOWN_MAX + 1):
            batch, error = _submit_once(edge, kind, left, area)
            if error is None:
                made.append(batch)
                break
            if error.kind != "unknown" or attempt == UNKNOWN_MAX:
                raise error
            found = look_up(edge, batch)
            if found:
                made.append(batch)
            left = [each for each in left if each.url not in found]
            if not left:
                break
        done += len(part)
        advanced(done)
    return made


def _submit_once(
    edge: Edge, kind: TaskKind, urls: Sequence[EdgeUrl], area: str
) -> tuple[Batch, CloudError | None]:
    journal = edge.journal
    batch = journal.submit(
        kind, [each.url for each in urls], [each.mark for each in urls], at_ms=edge.now_ms()
    )
    try:
        answer = edge.write(kind, call_of(kind, batch.urls, area))
    except CloudError as error:
        if error.kind != "unknown":
            journal.not_carried_out(batch, f"{error.code}: {error.message}", at_ms=edge.now_ms())
        return batch, error
    field_name = "PreloadTaskId" if kind == "preload" else "RefreshTaskId"
    tasks = [each for each in str(answer.get(field_name) or "").split(",") if each]
    if not tasks:
        unclear = CloudError(
            f"dcdn {kind} of {len(urls)} URLs was answered without a task id",
            kind="unknown",
            request_id=request_id_of(answer),
        )
        return batch, unclear
    journal.submitted(batch, tasks, at_ms=edge.now_ms())
    return batch, None


def look_up(edge: Edge, batch: Batch) -> set[str]:
    """What became of a call that nobody knows the outcome of: the URLs whose tasks the cloud lists. The journal learns it."""
    since_s = (edge.now_ms() - batch.at_ms) / 1000
    if since_s < LIST_LAG_S:
        edge.cloud.clock.sleep(min(LIST_LAG_S, LIST_LAG_S - since_s))
    known = {task for each in edge.journal.history.batches.values() for task in each.tasks or ()}
    wanted = {bare(url): url for url in batch.urls}
    found: dict[str, str] = {}
    for row in _listed(edge, batch):
        url = wanted.get(bare(str(row.get("ObjectPath") or "")))
        task = str(row.get("TaskId") or "")
        if url is not None and task and task not in known:
            found.setdefault(url, task)
    if not found:
        edge.journal.not_carried_out(batch, "the cloud lists no task of it", at_ms=edge.now_ms())
        return set()
    urls = [url for url in batch.urls if url in found]
    tasks = list(dict.fromkeys(found[url] for url in urls))
    edge.journal.submitted(batch, tasks, urls=urls, at_ms=edge.now_ms())
    return set(urls)


def _listed(edge: Edge, batch: Batch) -> list[Answer]:
    """The tasks that were made since the batch's call, all pages."""
    start = _iso(batch.at_ms // 60_000 * 60_000 - 60_000)
    end = _iso(edge.now_ms() + 60_000)
    kind = "preload" if batch.kind == "preload" else "file"
    rows: list[Answer] = []
    number = 1
    while True:
        answer = edge.read(
            "DescribeDcdnRefreshTasks",
            DomainName=edge.domain,
            ObjectType=kind,
            StartTime=start,
            EndTime=end,
            PageNumber=number,
            PageSize=TASKS_A_PAGE,
        )
        page = (answer.get("Tasks") or {}).get("Task") or []
        rows.extend(page)
        if not page or len(rows) >= int(answer.get("TotalCount") or 0):
            return rows
        number += 1


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bare(url: str) -> str:
    """``url`` without its scheme, which not every answer repeats."""
    return url.partition("://")[2] or url


def ask(edge: Edge, batches: Sequence[Batch], *, lost_is_gone: bool) -> int:
    """One round of questions about what waits. Returns how many URLs were settled. A look that fails for its moment is made up
    for by the next round. ``lost_is_gone``: a batch that the cloud knows no task of is given up, for it will never be done."""
    by_task = {task: batch for batch in batches for task in batch.tasks_to_ask}
    tasks = list(by_task)
    answered: set[str] = set()
    seen: set[str] = set()
    settled = 0
    for start in range(0, len(tasks), IDS_A_LOOK):
        asked = tasks[start : start + IDS_A_LOOK]
        try:
            answer = edge.read("DescribeDcdnRefreshTaskById", TaskId=",".join(asked))
        except CloudError as error:
            if not error.retryable:
                raise
            continue
        answered.update(asked)
        for row in answer.get("Tasks") or []:
            seen.add(str(row.get("TaskId") or ""))
            settled += _settle(edge, by_task.get(str(row.get("TaskId") or "")), row)
    if lost_is_gone:
        for batch in batches:
            unknown = batch.tasks_to_ask
            if (
                unknown
                and answered.issuperset(unknown)
                and not seen.intersection(batch.tasks or ())
            ):
                settled += _give_up(edge, batch)
    return settled


def _settle(edge: Edge, batch: Batch | None, row: Answer) -> int:
    status = str(row.get("Status") or "")
    if batch is None or status not in (COMPLETE, FAILED):
        return 0
    wanted = bare(str(row.get("ObjectPath") or ""))
    url = next((each for each in batch.waiting if bare(each) == wanted), None)
    if url is None:
        return 0
    note = str(row.get("Description") or "") if status == FAILED else ""
    edge.journal.seen(batch, url, UrlResult(status, str(row.get("TaskId")), note, edge.now_ms()))
    return 1


def _give_up(edge: Edge, batch: Batch) -> int:
    lost = batch.waiting
    for url in lost:
        result = UrlResult(GONE, "", "the cloud knows no such task", edge.now_ms())
        edge.journal.seen(batch, url, result)
    return len(lost)
