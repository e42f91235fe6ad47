"""Half messages nobody ended: what a recheck announces, closes, leaves alone and forgets; in memory, on virtual time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from checkout import SKU, VirtualClock, body_of, order_of, place
from saleops.adapters.memory_broker import MemoryBroker
from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.domain.items import Item
from saleops.domain.messages import ORDERS, OrderLine, announcement, decode_batch
from saleops.domain.orders import Order, TxState
from saleops.errors import StoreUnavailable
from saleops.operations.audit import runs_of
from saleops.operations.recheck import (
    RecheckPlan,
    RecheckReport,
    apply_recheck,
    mq_status,
    plan_recheck,
)
from saleops.ports.broker import Half, Resolution
from saleops.ports.orders import SaleRow

SALE = "drop"
FAR_MS = 2**52


class Bench:
    def __init__(self, broker: type[MemoryBroker] = MemoryBroker) -> None:
        self.clock = VirtualClock(time.time_ns() // 1_000_000 + 3_600_000)  # the book has its own
        self.broker = broker(clock=self.clock, check_max=1)
        self.book = MemoryOrderBook()
        self.book.begin_sale(SaleRow(SALE, "e1", "v1", 1, 100, complete=False))
        self.book.add_items([(Item(sku=SKU, name="x", category="c", price_fen=250, stock=100), 1)])
        self.book.finish_sale(SALE)

    async def half(self, tx_id: str, *orders: Order) -> Half:
        """A half message, and its orders committed if there are any."""
        half = await self.broker.send_half(
            ORDERS, tx_id, body_of(list(orders) or [order_of(99)], tx_id)
        )
        if orders:
            place(self.book, list(orders), tx_id)
        return half

    async def discard(self, tx_id: str, *orders: Order) -> None:
        """The half runs out of checks: nobody can say."""

        async def unknown(half: Half) -> Resolution:
            return Resolution.UNKNOWN

        await self.half(tx_id, *orders)
        await self.broker.start_checks([ORDERS], unknown)
        while tx_id not in [half.tx_id async for half in self.broker.discarded(ORDERS)]:
            await self.clock.sleep(30)
        while self.broker._checks:
            await self.broker._checks.pop().stop()

    async def plan(self, *, sweep: bool = False) -> RecheckPlan:
        return await plan_recheck(
            SALE,
            self.book,
            self.broker,
            now_ms=self.clock.now_ms(),
            sweep_before_ms=FAR_MS if sweep else None,
        )

    async def recheck(
        self, plan: RecheckPlan | None = None, *, sweep: bool = False
    ) -> RecheckReport:
        plan = plan or await self.plan(sweep=sweep)
        await self.clock.sleep(1)
        return await apply_recheck(
            plan, self.book, self.broker, who="ann@desk", clock=self.clock, run_id="run"
        )

    async def visible(self) -> list[OrderLine]:
        return [
            line async for body in self.broker.browse(ORDERS) for line in decode_batch(body).orders
        ]

    async def discarded(self) -> list[str]:
        return [half.tx_id async for half in self.broker.discarded(ORDERS)]


def play(
    scenario: Callable[[Bench], Coroutine[Any, Any, None]],
    broker: type[MemoryBroker] = MemoryBroker,
) -> None:
    async def whole() -> None:
        bench = Bench(broker)
        async with bench.clock.running():
            await scenario(bench)
            await bench.broker.close()

    asyncio.run(whole())


def test_durable_orders_of_a_discarded_half_are_announced_with_their_own_tx_id_and_it_is_forgotten() -> (
    None
):
    async def scenario(bench: Bench) -> None:
        orders = [msgspec.structs.replace(order_of(n), payment_token="tok_visa") for n in (1, 2)]
        await bench.discard("tx-1", *orders)
        assert await bench.visible() == []

        report = await bench.recheck()

        assert (report.announced, report.announced_orders, report.forgotten) == (1, 2, 1)
        [body] = [body async for body in bench.broker.browse(ORDERS)]
        assert decode_batch(body) == announcement("tx-1", sorted(orders, key=lambda o: o.order_id))
        assert await bench.discarded() == []

    play(scenario)


def test_what_was_never_committed_is_closed_for_good() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1")

        report = await bench.recheck()

        assert (report.closed, report.forgotten, report.announced) == (1, 1, 0)
        assert bench.book.tx_state("tx-1") is TxState.ABORTED
        assert await bench.visible() == []
        assert await bench.discarded() == []

    play(scenario)


def test_a_plan_changes_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))
        await bench.discard("tx-2")

        plan = await bench.plan()

        assert [(one.tx_id, one.state, one.action) for one in plan.items] == [
            ("tx-1", "committed", "announce"),
            ("tx-2", "unknown", "close"),
        ]
        assert plan.items[0].missing == (order_of(1).order_id,)
        assert bench.book.tx_state("tx-2") is None
        assert await bench.discarded() == ["tx-1", "tx-2"]
        assert await bench.visible() == []

    play(scenario)


def test_twice_finds_nothing_more_even_before_a_consumer_ran() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))
        place(bench.book, [order_of(2)], "tx-2")  # its half was lost altogether
        await bench.recheck(sweep=True)

        again = await bench.recheck(sweep=True)

        assert (again.announced, again.closed, again.forgotten, again.discarded) == (0, 0, 0, 0)
        assert len(await bench.visible()) == 2
        assert (await bench.plan(sweep=True)).items == ()

    play(scenario)


def test_only_orders_that_no_visible_message_holds_are_announced() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1), order_of(2), order_of(3))
        await bench.broker.publish(ORDERS, body_of([order_of(2)], "tx-1"))

        report = await bench.recheck()

        assert report.announced_orders == 2
        seen = [line.order_id for line in await bench.visible()]
        assert sorted(seen) == sorted(order_of(n).order_id for n in (1, 2, 3))

    play(scenario)


@pytest.mark.parametrize("consumer_ran", [True, False])
def test_a_half_whose_orders_can_be_seen_is_just_forgotten(consumer_ran: bool) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))
        await bench.broker.publish(ORDERS, body_of([order_of(1)], "tx-1"))
        if consumer_ran:
            bench.book.announced(["tx-1"])

        report = await bench.recheck()

        assert (report.announced, report.forgotten) == (0, 1)
        assert len(await bench.visible()) == 1
        assert bench.book.tx_state("tx-1") is TxState.ANNOUNCED

    play(scenario)


def test_the_sweep_finds_durable_orders_without_any_half_and_only_when_asked() -> None:
    async def scenario(bench: Bench) -> None:
        place(bench.book, [order_of(1)], "tx-1")
        assert (await bench.plan()).items == ()

        report = await bench.recheck(sweep=True)

        assert (report.swept, report.announced_orders) == (1, 1)
        assert len(await bench.visible()) == 1

    play(scenario)


def test_the_sweep_leaves_an_open_half_to_check_back() -> None:
    async def scenario(bench: Bench) -> None:
        half = await bench.half("tx-1", order_of(1))

        plan = await bench.plan(sweep=True)
        report = await bench.recheck(plan)

        assert (plan.acts, report.waiting, report.announced) == (0, 1, 0)
        await bench.broker.commit(half)
        assert len(await bench.visible()) == 1

    play(scenario)


def test_of_two_rechecks_at_once_one_announces() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))
        first, second = await bench.plan(), await bench.plan()
        # The book's clock is the wall's: put its plans before the acts there, too.
        now_ms = time.time_ns() // 1_000_000 + 1
        plans = [looked_at(plan, now_ms) for plan in (first, second)]
        await asyncio.sleep(0.005)

        reports = await asyncio.gather(*(bench.recheck(plan) for plan in plans))

        assert sum(report.announced for report in reports) == 1
        assert len(await bench.visible()) == 1

    play(scenario)


def looked_at(plan: RecheckPlan, looked_ms: int) -> RecheckPlan:
    return replace(plan, looked_ms=looked_ms)


def test_a_commit_that_the_broker_lost_although_it_said_ok_is_noticed_and_stays_listed() -> None:
    class Lossy(MemoryBroker):
        lossy = True

        async def commit(self, half: Half) -> None:
            if not self.lossy:
                await super().commit(half)

    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))

        report = await bench.recheck()

        assert (report.unseen, report.forgotten) == (1, 0)
        assert await bench.discarded() == ["tx-1"]
        bench.broker.lossy = False  # type: ignore[attr-defined]
        mended = await bench.recheck()
        assert (mended.unseen, mended.announced_orders, mended.forgotten) == (0, 1, 1)

    play(scenario, Lossy)


def test_a_crash_between_half_and_commit_is_mended_by_the_next_recheck() -> None:
    class Crashing(MemoryBroker):
        crashes = True

        async def commit(self, half: Half) -> None:
            if self.crashes:
                raise StoreUnavailable("the broker is away")
            await super().commit(half)

    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))
        with pytest.raises(StoreUnavailable, match="0 orders were announced"):
            await bench.recheck()
        assert await bench.discarded() == ["tx-1"]
        bench.broker.crashes = False  # type: ignore[attr-defined]

        await bench.recheck()

        [repeat] = [half async for half in bench.broker.open_halves(ORDERS)]
        assert bench.book.tx_state(repeat.tx_id, fence=True) is TxState.ABORTED
        assert len(await bench.visible()) == 1

    play(scenario, Crashing)


def test_a_recheck_is_in_the_journal() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.discard("tx-1", order_of(1))
        await bench.discard("tx-2")
        await bench.recheck()

        [run] = runs_of(bench.book.journal(limit=100), commands=("mq recheck",))

        assert (run.who, run.outcome) == ("ann@desk", "done")
        assert run.ids == ("tx-1", "tx-2")
        assert (run.figures["announced_orders"], run.figures["closed"]) == (1, 1)

    play(scenario)


def test_the_status_alarms_for_discarded_halves_with_durable_orders_alone() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.half("tx-open")
        born_ms = bench.clock.now_ms()
        await bench.discard("tx-2")
        harmless = await mq_status(SALE, bench.book, bench.broker, now_ms=bench.clock.now_ms())
        await bench.discard("tx-3", order_of(3))
        await bench.half("tx-4")
        alarming = await mq_status(
            SALE, bench.book, bench.broker, now_ms=bench.clock.now_ms() + 5_000
        )

        assert (harmless.ok, harmless.discarded, harmless.discarded_committed) == (True, 2, 0)
        assert (alarming.ok, alarming.discarded, alarming.discarded_committed) == (False, 3, 1)
        assert (alarming.halves, alarming.oldest_half_s) == (1, 5)
        assert alarming.oldest_discarded_s == (bench.clock.now_ms() + 5_000 - born_ms) / 1000
        assert [(row.topic, row.group) for row in alarming.queues][:2] == [
            ("orders", "payment"),
            ("orders-retry", "payment"),
        ]

    play(scenario)


class Emptied(MemoryBroker):
    """One whose topics have to be made, and were lost."""

    async def missing_topics(self) -> list[str]:
        return ["drop-orders"]


def test_the_status_alarms_for_topics_that_are_not_there() -> None:
    async def scenario() -> None:
        bench = Bench(Emptied)
        found = await mq_status(SALE, bench.book, bench.broker, now_ms=bench.clock.now_ms())
        assert (found.ok, found.missing_topics) == (False, ("drop-orders",))

    asyncio.run(scenario())
