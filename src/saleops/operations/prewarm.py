"""Fill the page cache before buyers arrive, and prove that it is full.

Products stream from the orders database in keyset pages, are encoded as the catalog encodes them, and go into the
cache in packed chunks. The next page is read in a thread of its own while this one is written, so reading and
writing overlap and memory holds two pages however long the sale's list is. Lifetimes follow an even sequence, so
the pages of one run never expire together. A run that was cut short goes on behind the last page it wrote.

The proof asks the cache alone: a sample of SKUs goes through the catalog's own way to a page, where every wish for
the database is counted, and the lifetimes that the cache reports are sorted into seconds.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import ClassVar

import msgspec

from saleops.domain.items import Item
from saleops.domain.pages import (
    ABSENT,
    FRONT_PAGE,
    LIST_LIMIT,
    PRODUCT,
    ProductPage,
    encode_list,
    encode_product,
    spread_ttl_ms,
    ttl_range_ms,
)
from saleops.errors import ConfigError, GateFailed, Refused, StoreUnavailable
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.pages import PageLife, PageReader, PageUnavailable
from saleops.ports.cache import PageCache
from saleops.ports.clock import Clock, WallClock
from saleops.ports.orders import OrderBook

PAGE = 2000  # products in one read; two of them are in memory
SAMPLE = 5000  # SKUs that the proof asks for
SAMPLE_CONCURRENCY = 250
SECOND_SHARE_MAX = 0.02  # of all expiries, in any one second
RULE_SKUS_MIN = 500  # below this the share of one second says nothing
EXPIRY_WINDOW_MIN_MS = 75_000
"""Lifetimes must differ by this much: 1/75 of the pages a second leaves the rule room for chance."""

RESUME_PROBES = 100  # pages of an earlier run that are looked for before it is believed
CHECKPOINT_EVERY_MS = 1_000
TASK = "prewarm cache"
_decode_page = msgspec.json.Decoder(ProductPage).decode


@dataclass(frozen=True, slots=True)
class PrewarmPlan:
    """What a run would write: ``products`` less ``done_before``, each living ``ttl_low_ms`` .. ``ttl_high_ms``."""

    schema: ClassVar[str] = "saleops/prewarm-plan/v1"

    sale: str
    version: str
    products: int
    done_before: int
    resume_after: str
    ttl_low_ms: int
    ttl_high_ms: int


@dataclass(frozen=True, slots=True)
class PrewarmReport:
    """What was written and what the proof found. ``problems`` is empty when the cache is warm."""

    schema: ClassVar[str] = "saleops/prewarm/v1"

    sale: str
    products: int
    written: int
    resumed_after: str
    seconds: float
    keys_per_s: float
    sampled: int
    cache_misses: int
    db_queries: int
    wrong_pages: int
    expiry_max_share: float
    expiry_rule: str
    problems: tuple[str, ...] = ()


class PrewarmFailed(GateFailed):
    """Everything was written and the proof failed. ``report`` holds the figures."""

    def __init__(self, report: PrewarmReport) -> None:
        super().__init__(
            f"the cache of {report.sale} is not warm: {'; '.join(report.problems)}",
            hint="Run `saleops prewarm cache` again with --no-resume, with nobody else writing.",
        )
        self.report = report


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a run came. ``pages_end_ms`` is when the first of its pages may be gone: then it is worth nothing."""

    sale: str
    version: str
    after: str
    done: int
    pages_end_ms: int
    ttl_low_ms: int
    ttl_high_ms: int
    sample: list[str] = field(default_factory=list)


def plan_prewarm(
    book: OrderBook,
    *,
    sale: str,
    ttl_ms: int,
    jitter: float,
    now_ms: int,
    checkpoint: Path | None = None,
    resume: bool = True,
) -> PrewarmPlan:
    """What is to be written. Only reads. Raises Refused for a sale that is not seeded, ConfigError for lifetimes
    that would end together."""
    row = book.sale(sale)
    if row is None or not row.complete:
        raise Refused(
            f"{sale} is {'half' if row else 'not'} seeded; no page was written",
            hint="Run `saleops seed` on the same sale first.",
        )
    low_ms, high_ms = ttl_range_ms(ttl_ms, jitter)
    if row.items_count >= RULE_SKUS_MIN and high_ms - low_ms < EXPIRY_WINDOW_MIN_MS:
        raise ConfigError(
            f"{row.items_count} pages that live {low_ms / 1000:g} to {high_ms / 1000:g} s would expire too close "
            f"together; no page was written",
            hint=f"Raise cache.ttl_s or cache.jitter until 2 x ttl_s x jitter is "
            f"{EXPIRY_WINDOW_MIN_MS // 1000} s or more.",
        )
    version = f"{row.epoch}/{row.version}"
    plan = PrewarmPlan(sale, version, row.items_count, 0, "", low_ms, high_ms)
    found = _load(checkpoint) if checkpoint and resume else None
    if found is None or not _continues(found, plan, now_ms=now_ms):
        return plan
    return PrewarmPlan(sale, version, row.items_count, found.done, found.after, low_ms, high_ms)


async def apply_prewarm(
    plan: PrewarmPlan,
    book: OrderBook,
    cache: PageCache,
    *,
    seed: int = 0,
    opens_ms: int = 0,
    checkpoint: Path | None = None,
    observe: Observer = silent,
    clock: Clock | None = None,
) -> PrewarmReport:
    """Write every page of ``plan``, then prove it. ``book`` is used from one thread of ours alone.

    A second run writes the same pages again. Raises PrewarmFailed (a GateFailed) when the proof fails and
    StoreUnavailable when an engine fails; then ``checkpoint`` says where the next run goes on.
    """
    clock = clock or WallClock()
    started = time.monotonic()
    begun_ms = clock.now_ms()
    earlier = _load(checkpoint) if checkpoint and plan.resume_after else None
    if plan.resume_after and not await _is_still_warm(earlier, cache):
        observe(Warned("the cache has lost what the run before wrote: every page is written again"))
        plan, earlier = replace(plan, done_before=0, resume_after=""), None
    sample = _Sample(plan, seed, taken=earlier.sample if earlier else [])
    pages_end_ms = earlier.pages_end_ms if earlier else begun_ms + plan.ttl_low_ms
    if opens_ms > pages_end_ms:
        early_s = (opens_ms - pages_end_ms) // 1000
        early = f"{early_s} s" if early_s < 120 else f"{early_s // 60} min"
        early = early if early_s < 7200 else f"{early_s // 3600} h"
        observe(
            Warned(
                f"the sale's window opens {early} after the first of these pages expire: prewarm again shortly before"
            )
        )
    observe(Started(TASK, plan.products, "pages"))
    ttl_start = Random(seed).random()
    done, after, saved_ms = plan.done_before, plan.resume_after, begun_ms
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prewarm-reader") as pool:
        loop = asyncio.get_running_loop()

        def read(after: str, position: int) -> "asyncio.Future[_Batch]":
            call = partial(_read_batch, book, plan, after, position, ttl_start)
            return loop.run_in_executor(pool, call)

        coming = read(after, done)
        try:
            while (batch := await coming).skus:
                coming = read(batch.skus[-1], done + len(batch.skus))
                await cache.put_many(batch.pages)
                sample.take(done, batch.skus)
                done += len(batch.skus)
                after = batch.skus[-1]
                rate = (done - plan.done_before) / max(time.monotonic() - started, 1e-9)
                observe(Advanced(TASK, done, f"{rate:,.0f} pages/s"))
                if checkpoint and clock.now_ms() - saved_ms >= CHECKPOINT_EVERY_MS:
                    saved_ms = clock.now_ms()
                    _save(checkpoint, plan, after, done, pages_end_ms, sample.skus)
        except BaseException:
            # The read ahead has nobody left to raise its own error to.
            coming.add_done_callback(lambda read: read.cancelled() or read.exception())
            if checkpoint and after:
                _save(checkpoint, plan, after, done, pages_end_ms, sample.skus)
            raise
    seconds = time.monotonic() - started
    report = await _prove(plan, cache, sample.skus, done, seconds, clock, observe)
    if checkpoint:
        _forget(checkpoint)
    if report.problems:
        raise PrewarmFailed(report)
    return report


# -- reading ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Batch:
    """One keyset page, ready to be written."""

    skus: list[str]
    pages: list[tuple[str, bytes, int]]


def _read_batch(
    book: OrderBook, plan: PrewarmPlan, after: str, position: int, ttl_start: float
) -> _Batch:
    """Read and encode the page behind ``after``. Runs in the reader's thread."""
    items = book.products(after=after, limit=PAGE)
    low_ms, high_ms = plan.ttl_low_ms, plan.ttl_high_ms
    pages = [
        (
            PRODUCT + item.sku,
            encode_product(item),
            spread_ttl_ms(position + offset, ttl_start, low_ms, high_ms),
        )
        for offset, item in enumerate(items)
    ]
    if not after:
        pages.append(_front_page(items, low_ms))
    return _Batch([item.sku for item in items], pages)


def _front_page(items: Sequence[Item], ttl_ms: int) -> tuple[str, bytes, int]:
    return FRONT_PAGE, encode_list(items[: LIST_LIMIT + 1], limit=LIST_LIMIT), ttl_ms


class _Sample:
    """One random SKU of each stretch of the list, so that the sample is small, even and taken in passing."""

    def __init__(self, plan: PrewarmPlan, seed: int, *, taken: list[str]) -> None:
        self.skus = taken
        self._step = max(1, -(-plan.products // SAMPLE))
        self._rng = Random(f"{seed}/{plan.done_before}")
        self._stretch = plan.done_before
        self._next = self._stretch + self._rng.randrange(self._step)

    def take(self, position: int, skus: Sequence[str]) -> None:
        """``skus`` are those from ``position`` on."""
        while self._next < position + len(skus):
            self.skus.append(skus[self._next - position])
            self._stretch += self._step
            self._next = self._stretch + self._rng.randrange(self._step)


# -- the proof -------------------------------------------------------------------------------------------------


async def _prove(
    plan: PrewarmPlan,
    cache: PageCache,
    skus: list[str],
    done: int,
    seconds: float,
    clock: Clock,
    observe: Observer,
) -> PrewarmReport:
    life = PageLife(plan.ttl_low_ms, 0.0)
    reader = PageReader(cache, life=life, clock=clock, rng=Random(0))
    db_queries = 0

    async def count_query(sku: str) -> bytes:
        nonlocal db_queries
        db_queries += 1
        raise StoreUnavailable(f"{sku} is not cached")

    async def is_right(sku: str) -> bool:
        try:
            body = await reader.page(PRODUCT + sku, count_query, sku)
        except PageUnavailable:
            return True  # counted as a miss and a query
        return body != ABSENT and _decode_page(body).sku == sku

    written = done - plan.done_before
    wrong = 0
    expiries: Counter[int] = Counter()
    for start in range(0, len(skus), SAMPLE_CONCURRENCY):
        part = skus[start : start + SAMPLE_CONCURRENCY]
        wrong += (await asyncio.gather(*map(is_right, part))).count(False)
        left = await cache.ttls_ms([PRODUCT + sku for sku in part])
        now_ms = clock.now_ms()
        expiries.update((now_ms + ttl_ms) // 1000 for ttl_ms in left if ttl_ms > 0)
    await reader.close()
    share = max(expiries.values(), default=0) / max(1, expiries.total())
    applies = len(skus) >= RULE_SKUS_MIN
    problems = []
    if done < plan.products:
        problems.append(f"the database gave {done} of {plan.products} products")
    if reader.misses or db_queries:
        problems.append(
            f"{reader.misses} of {len(skus)} sampled pages were missing ({db_queries} database queries)"
        )
    if wrong:
        problems.append(f"{wrong} of {len(skus)} sampled pages show another product")
    if applies and share > SECOND_SHARE_MAX:
        problems.append(f"one second holds {share:.1%} of all expiries")
    report = PrewarmReport(
        sale=plan.sale,
        products=plan.products,
        written=written,
        resumed_after=plan.resume_after,
        seconds=round(seconds, 3),
        keys_per_s=round(written / max(seconds, 1e-9), 1),
        sampled=len(skus),
        cache_misses=reader.misses,
        db_queries=db_queries,
        wrong_pages=wrong,
        expiry_max_share=round(share, 5),
        expiry_rule=(
            f"no second above {SECOND_SHARE_MAX:.0%}"
            if applies
            else f"not applied: fewer than {RULE_SKUS_MIN} SKUs"
        ),
        problems=tuple(problems),
    )
    note = f"{written:,} pages, {report.keys_per_s:,.0f} pages/s, {db_queries} database queries in the sample"
    observe(Finished(TASK, note, ok=not problems))
    return report


# -- checkpoints -----------------------------------------------------------------------------------------------


def _continues(found: Checkpoint, plan: PrewarmPlan, *, now_ms: int) -> bool:
    """Whether the pages that ``found`` speaks of are the plan's, and still there."""
    return (
        (found.sale, found.version) == (plan.sale, plan.version)
        and (found.ttl_low_ms, found.ttl_high_ms) == (plan.ttl_low_ms, plan.ttl_high_ms)
        and now_ms < found.pages_end_ms
        and found.done <= plan.products
    )


async def _is_still_warm(found: Checkpoint | None, cache: PageCache) -> bool:
    """Whether a few of the pages that were written before are there: an emptied cache loses all of them."""
    if found is None:
        return False
    some = found.sample[:: max(1, len(found.sample) // RESUME_PROBES)]
    return None not in await cache.get_many([PRODUCT + sku for sku in some])


def _load(path: Path) -> Checkpoint | None:
    """The checkpoint at ``path``; None where there is none, or half of one (then everything is written again)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def _save(
    path: Path, plan: PrewarmPlan, after: str, done: int, pages_end_ms: int, sample: list[str]
) -> None:
    """Replace the file in one act, so that a crash leaves the old checkpoint or the new one."""
    state = Checkpoint(
        plan.sale,
        plan.version,
        after,
        done,
        pages_end_ms,
        plan.ttl_low_ms,
        plan.ttl_high_ms,
        sample,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(state))
    draft.replace(path)
