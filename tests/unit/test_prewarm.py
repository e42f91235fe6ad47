"""Filling the page cache: all of it, once, resumable, and proven from the cache itself."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from saleops.adapters.memory_cache import MemoryPageCache
from saleops.domain.pages import FRONT_PAGE
from saleops.errors import ConfigError, GateFailed, Refused, StoreUnavailable
from saleops.events import Advanced, Event, Finished, Started, Warned
from saleops.operations.prewarm import (
    PAGE,
    SAMPLE,
    PrewarmFailed,
    PrewarmPlan,
    PrewarmReport,
    apply_prewarm,
    plan_prewarm,
)
from shelf import Shelf, item

TTL_MS = 300_000


class HandClock:
    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class TiringCache(MemoryPageCache):
    """Fails after ``writes`` calls of put_many; its clock goes on by ``step_ms`` with each."""

    def __init__(self, clock: HandClock, *, writes: int = 10**9, step_ms: int = 0) -> None:
        super().__init__(clock)
        self.hand = clock
        self.writes = writes
        self.step_ms = step_ms
        self.written: list[str] = []

    async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
        if self.writes == 0:
            raise StoreUnavailable("the cache went away", hint="Bring it back.")
        self.writes -= 1
        self.hand.ms += self.step_ms
        self.written += [key for key, _, _ in pages]
        await super().put_many(pages)


def shelf_of(count: int) -> Shelf:
    return Shelf([item(n) for n in range(count)])


def plan_of(
    shelf: Shelf, *, checkpoint: Path | None = None, now_ms: int = 1_000_000
) -> PrewarmPlan:
    return plan_prewarm(
        shelf.book, sale="drop", ttl_ms=TTL_MS, jitter=0.2, now_ms=now_ms, checkpoint=checkpoint
    )


def prewarm(
    shelf: Shelf,
    cache: MemoryPageCache,
    clock: HandClock,
    *,
    checkpoint: Path | None = None,
    events: list[Event] | None = None,
    opens_ms: int = 0,
    seed: int = 1,
) -> PrewarmReport:
    seen = [] if events is None else events
    plan = plan_of(shelf, checkpoint=checkpoint, now_ms=clock.ms)
    return asyncio.run(
        apply_prewarm(
            plan,
            shelf.book,
            cache,
            seed=seed,
            opens_ms=opens_ms,
            checkpoint=checkpoint,
            observe=seen.append,
            clock=clock,
        )
    )


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, SAMPLE + 10])
def test_every_product_is_warm_afterwards(count: int) -> None:
    shelf, clock = shelf_of(count), HandClock()
    cache = MemoryPageCache(clock)

    report = prewarm(shelf, cache, clock)

    keys = [f"product/{one.sku}" for one in shelf.items]
    assert None not in asyncio.run(cache.get_many(keys))
    assert (report.products, report.written) == (count, count)
    assert (report.cache_misses, report.db_queries, report.wrong_pages) == (0, 0, 0)
    assert report.problems == ()
    assert report.sampled >= min(count, SAMPLE // 2)


def test_the_front_page_is_warm_too() -> None:
    shelf, clock = shelf_of(60), HandClock()
    cache = MemoryPageCache(clock)

    prewarm(shelf, cache, clock)

    (body,) = asyncio.run(cache.get_many([FRONT_PAGE]))
    assert body
    page = json.loads(body)
    assert len(page["products"]) == 50
    assert page["next"] == item(49).sku


def test_no_second_holds_more_than_two_percent_of_expiries() -> None:
    for seed in range(5):
        clock = HandClock()
        report = prewarm(shelf_of(600 + seed * 1000), MemoryPageCache(clock), clock, seed=seed)

        assert report.expiry_max_share <= 0.02
        assert report.expiry_rule == "no second above 2%"


def test_with_few_skus_the_rule_is_said_not_to_apply() -> None:
    clock = HandClock()
    report = prewarm(shelf_of(3), MemoryPageCache(clock), clock)

    assert report.expiry_rule == "not applied: fewer than 500 SKUs"
    assert report.expiry_max_share > 0.02


def test_progress_is_a_running_total_and_ends_with_the_figures() -> None:
    clock, events = HandClock(), list[Event]()
    prewarm(shelf_of(PAGE * 2 + 5), MemoryPageCache(clock), clock, events=events)

    assert events[0] == Started("prewarm cache", PAGE * 2 + 5, "pages")
    assert [one.done for one in events if isinstance(one, Advanced)] == [
        PAGE,
        PAGE * 2,
        PAGE * 2 + 5,
    ]
    assert isinstance(events[-1], Finished)
    assert events[-1].ok


def test_a_second_run_is_harmless() -> None:
    shelf, clock = shelf_of(10), HandClock()
    cache = MemoryPageCache(clock)

    assert prewarm(shelf, cache, clock).written == 10
    assert prewarm(shelf, cache, clock).written == 10


def test_a_run_cut_short_goes_on_behind_its_last_page(tmp_path: Path) -> None:
    shelf, clock, checkpoint = shelf_of(PAGE * 4), HandClock(), tmp_path / "s" / "prewarm.json"
    cache = TiringCache(clock, writes=2)
    with pytest.raises(StoreUnavailable, match="went away"):
        prewarm(shelf, cache, clock, checkpoint=checkpoint)
    assert plan_of(shelf, checkpoint=checkpoint).done_before == PAGE * 2
    cache.writes = 10**9

    report = prewarm(shelf, cache, clock, checkpoint=checkpoint)

    assert report.resumed_after == item(PAGE * 2 - 1).sku
    assert report.written == PAGE * 2
    assert len(cache.written) == len(set(cache.written)) == PAGE * 4 + 1  # and the front page
    assert report.sampled == PAGE * 4 // 2
    assert report.expiry_max_share <= 0.02
    assert not checkpoint.exists()


def test_a_checkpoint_is_kept_while_the_run_goes_on(tmp_path: Path) -> None:
    shelf, clock, checkpoint = shelf_of(PAGE * 3), HandClock(), tmp_path / "prewarm.json"
    cache = TiringCache(clock, step_ms=1_000)
    seen: list[int] = []

    def observe(event: Event) -> None:
        if isinstance(event, Advanced) and checkpoint.exists():
            seen.append(json.loads(checkpoint.read_bytes())["done"])

    plan = plan_of(shelf, checkpoint=checkpoint)
    asyncio.run(
        apply_prewarm(plan, shelf.book, cache, checkpoint=checkpoint, observe=observe, clock=clock)
    )

    assert seen == [PAGE, PAGE * 2]


@pytest.mark.parametrize("why", ["too old", "reseeded", "other lifetimes", "garbage", "not wanted"])
def test_a_checkpoint_that_says_nothing_about_this_cache_is_ignored(
    tmp_path: Path, why: str
) -> None:
    shelf, clock, checkpoint = shelf_of(PAGE * 3), HandClock(), tmp_path / "prewarm.json"
    with pytest.raises(StoreUnavailable):
        prewarm(shelf, TiringCache(clock, writes=1), clock, checkpoint=checkpoint)
    assert plan_of(shelf, checkpoint=checkpoint).done_before == PAGE
    ttl_ms, now_ms, resume = TTL_MS, clock.ms, True
    match why:
        case "too old":
            now_ms += round(TTL_MS * 0.8)
        case "reseeded":
            shelf.version = "v2"
        case "other lifetimes":
            ttl_ms += 1000
        case "garbage":
            checkpoint.write_bytes(b'{"sale": \xff')
        case "not wanted":
            resume = False

    plan = plan_prewarm(
        shelf.book,
        sale="drop",
        ttl_ms=ttl_ms,
        jitter=0.2,
        now_ms=now_ms,
        checkpoint=checkpoint,
        resume=resume,
    )

    assert (plan.done_before, plan.resume_after) == (0, "")


def test_pages_that_vanish_fail_the_gate_with_the_figures(tmp_path: Path) -> None:
    class Leaking(MemoryPageCache):
        async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
            await super().put_many(pages[1:])

    shelf, clock = shelf_of(20), HandClock()

    with pytest.raises(GateFailed, match="1 of 20 sampled pages were missing") as caught:
        prewarm(shelf, Leaking(clock), clock)

    assert isinstance(caught.value, PrewarmFailed)
    assert (caught.value.report.cache_misses, caught.value.report.db_queries) == (1, 1)
    assert caught.value.hint


def test_pages_of_another_product_fail_the_gate() -> None:
    class Mixing(MemoryPageCache):
        async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
            await super().put_many([(key, pages[0][1], ttl_ms) for key, _, ttl_ms in pages])

    clock = HandClock()
    with pytest.raises(PrewarmFailed, match="19 of 20 sampled pages show another product"):
        prewarm(shelf_of(20), Mixing(clock), clock)


def test_expiries_in_one_second_fail_the_gate() -> None:
    class Even(MemoryPageCache):
        async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
            await super().put_many([(key, body, TTL_MS) for key, body, _ in pages])

    clock = HandClock()
    with pytest.raises(PrewarmFailed, match=r"one second holds 100\.0% of all expiries"):
        prewarm(shelf_of(600), Even(clock), clock)


def test_products_that_the_database_kept_back_fail_the_gate() -> None:
    class Short(Shelf):
        def products(self, *, after: str = "", limit: int = 1000) -> list[object]:  # type: ignore[override]
            return [
                one for one in super().products(after=after, limit=limit) if one.sku < "sku-000005"
            ]

    clock = HandClock()
    with pytest.raises(PrewarmFailed, match="gave 5 of 20 products"):
        prewarm(Short([item(n) for n in range(20)]), MemoryPageCache(clock), clock)


def test_a_database_that_fails_ends_the_run_with_its_own_error() -> None:
    shelf, clock = shelf_of(20), HandClock()
    shelf.broken = True

    with pytest.raises(StoreUnavailable, match="the shelf is broken"):
        prewarm(shelf, MemoryPageCache(clock), clock)


def test_pages_that_expire_before_the_sale_opens_are_warned_of() -> None:
    clock, events = HandClock(), list[Event]()

    prewarm(shelf_of(3), MemoryPageCache(clock), clock, events=events, opens_ms=clock.ms + 300_000)

    (warned,) = [one for one in events if isinstance(one, Warned)]
    assert "opens 60 s after the first of these pages expire" in warned.message


@pytest.mark.parametrize(("sale", "complete"), [("nowhere", True), ("drop", False)])
def test_a_sale_that_is_not_seeded_is_refused(sale: str, complete: bool) -> None:
    shelf = shelf_of(3)
    shelf.complete = complete

    with pytest.raises(Refused, match="seeded; no page was written") as caught:
        plan_prewarm(shelf.book, sale=sale, ttl_ms=TTL_MS, jitter=0.2, now_ms=0)

    assert "saleops seed" in (caught.value.hint or "")


@pytest.mark.parametrize(("ttl_ms", "jitter"), [(300_000, 0.0), (60_000, 0.2)])
def test_lifetimes_that_would_end_together_are_a_config_error(ttl_ms: int, jitter: float) -> None:
    with pytest.raises(ConfigError, match="expire too close together") as caught:
        plan_prewarm(shelf_of(500).book, sale="drop", ttl_ms=ttl_ms, jitter=jitter, now_ms=0)

    assert "75 s or more" in (caught.value.hint or "")
    plan_prewarm(shelf_of(499).book, sale="drop", ttl_ms=ttl_ms, jitter=jitter, now_ms=0)
