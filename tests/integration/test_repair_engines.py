"""A sale that is broken in any way is mended on the engines themselves; the undo brings back what was there."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from repairs import EPOCH, FAULTS, LASTING, NOW_MS, REBUILT, Fault, Shop, named, open_shop
from saleops.domain.orders import OrderState
from saleops.domain.stock import Claim, Verdict, partition_of
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.operations import repair as repair_module
from saleops.operations.audit import runs_of
from saleops.operations.repair import apply
from saleops.operations.undo import plan_undo, undo_text

SEEDS = range(int(os.environ.get("REPAIR_SEEDS", "40")))


class Lines:
    """An undo file in memory."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def add(self, line: bytes, *, sync: bool = False) -> None:
        self.text += line


def on_shop(database_url: str, redis_url: str, scenario: Callable[[Shop], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_shop(database_url, redis_url) as shop:
            await scenario(shop)

    asyncio.run(run())


async def break_it(shop: Shop, seed: int, most: int = 3, faults: Sequence[Fault] = FAULTS) -> bool:
    """Plant one to ``most`` faults; returns whether an undo can bring all of them back."""
    chance = random.Random(seed)
    lasting = False
    for _ in range(chance.randint(1, most)):
        fault = chance.choice(faults)
        lasting = lasting or fault in LASTING
        planted = fault(shop, chance)
        if planted is not None:
            await planted
    return not lasting


async def repair_and_undo(shop: Shop, seed: int, faults: Sequence[Fault] = FAULTS) -> None:
    assert named(await shop.ledger()) == []
    whole = await break_it(shop, seed, faults=faults)
    before = await shop.ledger()
    if not before.breaks:
        return  # the faults took each other back

    plan = await shop.plan(accept="looked at")
    saved = await undo_text(shop.engines, plan, who="ann")
    log = Lines(saved)
    report = await apply(shop.engines, plan, who="ann", log=log)

    assert report.ledger is not None
    assert (named(report.ledger), report.people) == ([], ()), report.steps
    assert not report.unfinished

    undo = await plan_undo(shop.engines, Path("undo.json"), log.text)
    undone = await apply(shop.engines, undo, who="ann")
    after = await shop.ledger()
    if whole:
        assert not undone.unfinished, [step for step in undone.steps if step.outcome != "done"]
        assert named(after) == named(before)
        assert sorted(map(str, after.breaks)) == sorted(map(str, before.breaks))


@pytest.mark.parametrize("seed", SEEDS)
def test_any_breakage_is_mended_and_can_be_undone_on_the_embedded_engines(
    sqlite_url: str, valkey_url: str, seed: int
) -> None:
    on_shop(sqlite_url, valkey_url, lambda shop: repair_and_undo(shop, seed))


@pytest.mark.parametrize("seed", range(1000, 1000 + int(os.environ.get("REPAIR_SEEDS", "12"))))
def test_any_breakage_is_mended_and_can_be_undone_on_redis_and_mariadb(
    mysql_url: str, redis_url: str, seed: int
) -> None:
    on_shop(mysql_url, redis_url, lambda shop: repair_and_undo(shop, seed))


def test_a_step_whose_rows_changed_since_the_plan_is_skipped_and_harms_nothing(
    any_database_url: str, valkey_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        charged, late, held = shop.of("shipped"), shop.of("unpaid"), shop.of("shipped", "sku-2")
        shop.execute("UPDATE charges SET state = 'refunded' WHERE order_id = ?", charged.order_id)
        shop.execute("UPDATE orders SET due_ms = 5 WHERE order_id = ?", late.order_id)
        shop.redis.hdel(shop.key(shop.home(held), f"held:{held.sku}"), held.order_id)
        plan = await shop.plan()
        # Meanwhile the sale goes on: one is paid after all, another buyer gets units, somebody charges by hand.
        shop.execute("UPDATE orders SET state = 1 WHERE order_id = ?", late.order_id)
        shop.execute("UPDATE charges SET state = 'captured' WHERE order_id = ?", charged.order_id)
        claim = Claim("9" * 32, "sku-2", "zoe", 1)
        await shop.stock.reserve(EPOCH, [claim], now_ms=NOW_MS, expires_ms=NOW_MS + 9)

        report = await apply(shop.engines, plan, who="ann")

        outcomes = {(step.action, step.id): step.outcome for step in report.steps}
        assert outcomes == {
            ("cancel", late.order_id): "skipped",
            ("charge", charged.order_id): "already",
            # An order that lives keeps its units.
            ("give back", late.order_id): "skipped",
            ("set counters", held.order_id): "done",
        }
        assert report.unfinished == 2
        assert report.ledger is not None
        assert named(report.ledger) == [("unpaid-order", late.order_id, "sku-1")]

    on_shop(any_database_url, valkey_url, scenario)


@pytest.mark.parametrize("seed", range(2000, 2000 + int(os.environ.get("REPAIR_SEEDS", "16"))))
def test_a_store_that_lost_more_than_rows_is_rebuilt_from_the_ledger(
    sqlite_url: str, valkey_url: str, seed: int
) -> None:
    on_shop(
        sqlite_url, valkey_url, lambda shop: repair_and_undo(shop, seed, (*REBUILT, *FAULTS[:6]))
    )


def test_an_oversold_sku_needs_a_decision_and_then_lets_the_youngest_go(
    any_database_url: str, valkey_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        live = sum(
            o.units
            for o in shop.orders.values()
            if o.sku == "sku-1" and shop.fates[o.order_id] in LIVE
        )
        partition = partition_of("sku-1")
        # The database and the store promise two units fewer than are sold: nobody can have that many.
        shop.execute("UPDATE products SET stock = ? WHERE sku = 'sku-1'", live - 2)
        shop.execute("UPDATE stock SET sold = 0 WHERE sku = 'sku-1'")
        shop.execute("UPDATE stock SET total = ? WHERE sku = 'sku-1'", live - 2)
        shop.redis.hset(shop.key(partition, "units"), "Isku-1", f"250 {live - 2} 0")
        shop.redis.hset(shop.key(partition, "units"), "Lsku-1", -2)

        waiting = await shop.plan()
        assert any(person.needs == "--decide oversold=cancel-youngest" for person in waiting.people)

        report = await shop.repair(decide=["oversold=cancel-youngest"])

        assert report.ledger is not None
        assert named(report.ledger) == [], report.steps
        cancelled = [step.id for step in report.steps if step.action == "cancel"]
        unpaid = [
            o
            for o in shop.orders.values()
            if shop.fates[o.order_id] == "unpaid" and o.sku == "sku-1"
        ]
        assert cancelled == [max(unpaid, key=lambda order: order.created_ms).order_id]

    on_shop(any_database_url, valkey_url, scenario)


LIVE = ("unpaid", "shipped", "paid-out")


def test_a_repair_that_was_cut_off_goes_on_where_it_stopped(
    any_database_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(shop: Shop) -> None:
        for seed in (3, 5, 8):
            await break_it(shop, seed)
        steps = len((await shop.plan(accept="seen")).steps)
        assert steps > 3
        for cut in range(1, steps):
            plan = await shop.plan(accept="seen")
            if not plan.steps:
                break
            whole = repair_module._Work.do
            left = [1 if cut % 2 else 2]

            async def dying(
                self: Any, step: Any, whole: Any = whole, left: list[int] = left
            ) -> Any:
                changed = await whole(self, step)  # the step is done, and nobody hears of it
                left[0] -= 1
                if not left[0]:
                    raise StoreUnavailable("killed")
                return changed

            with monkeypatch.context() as patched:
                patched.setattr(repair_module._Work, "do", dying)
                with suppress(StoreUnavailable):
                    await apply(shop.engines, plan, who="ann")

        report = await shop.repair(accept="seen")
        assert report.ledger is not None
        assert named(report.ledger) == []

    on_shop(any_database_url, valkey_url, scenario)


def test_the_same_plan_applied_twice_changes_nothing_the_second_time(
    any_database_url: str, any_redis_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        for seed in (3, 5, 8):
            await break_it(shop, seed)
        plan = await shop.plan(accept="seen")
        first = await apply(shop.engines, plan, who="ann")
        again = await apply(shop.engines, plan, who="ann")

        assert first.ledger is not None
        assert again.ledger is not None
        assert named(first.ledger) == named(again.ledger) == []
        acted = {s.outcome for s in again.steps if s.action not in ("accept", "rebuild")}
        assert acted <= {"already"}

    on_shop(any_database_url, any_redis_url, scenario)


def test_a_repair_is_in_the_journal_with_every_id(sqlite_url: str, valkey_url: str) -> None:
    async def scenario(shop: Shop) -> None:
        order = shop.of("shipped")
        shop.execute("DELETE FROM parcels WHERE order_id = ?", order.order_id)
        await shop.repair()

        [run] = runs_of(shop.book.journal(limit=10), commands=["reconcile --repair"])
        assert (run.who, run.ids) == ("ann@desk", (f"ship {order.order_id}",))
        assert run.outcome == "0 breaks left"

    on_shop(sqlite_url, valkey_url, scenario)


def test_an_undo_file_that_is_damaged_or_another_sale_s_is_refused(
    sqlite_url: str, valkey_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        shop.execute("DELETE FROM parcels WHERE order_id = ?", shop.of("shipped").order_id)
        text = await undo_text(shop.engines, await shop.plan(), who="ann")
        path = Path("undo.json")
        for damaged in (
            b"",
            b"{}",
            text[:-40],
            text.replace(b"shipped", b"paid"),
            text.replace(b'"at_ms": 1', b'"at_ms": 2'),
        ):
            if damaged == text:
                continue
            with pytest.raises(ConfigError, match="nothing was changed"):
                await plan_undo(shop.engines, path, damaged)
        with pytest.raises(ConfigError, match="belongs to the sale other"):
            await plan_undo(shop.engines, path, text.replace(b'"sale": "drop"', b'"sale": "other"'))
        shop.execute("UPDATE sale SET version = 'v2'")
        with pytest.raises(Refused, match="other items"):
            await plan_undo(shop.engines, path, text)

    on_shop(sqlite_url, valkey_url, scenario)


def test_counters_of_shards_that_lent_each_other_units_are_mended_and_undone(
    sqlite_url: str, any_redis_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        claim = Claim("9" * 32, "hot", "zoe", 40)  # more than a shard has
        [answer] = await shop.stock.reserve(EPOCH, [claim], now_ms=NOW_MS, expires_ms=NOW_MS + 9)
        assert answer.verdict == Verdict.RESERVED
        assert named(await shop.ledger()) == []
        for shard, field, by in ((0, "Lhot", -3), (1, "Shot", 2), (2, "Lhot", 5)):
            units = shop.key(partition_of("hot", shard), "units")
            if shop.redis.hexists(units, field) or field[0] == "S":
                shop.redis.hincrby(units, field, by)
        before = await shop.ledger()
        assert before.breaks

        plan = await shop.plan()
        log = Lines(await undo_text(shop.engines, plan, who="ann"))
        report = await apply(shop.engines, plan, who="ann", log=log)
        assert report.ledger is not None
        assert named(report.ledger) == []
        await apply(
            shop.engines, await plan_undo(shop.engines, Path("undo.json"), log.text), who="ann"
        )
        assert sorted(map(str, (await shop.ledger()).breaks)) == sorted(map(str, before.breaks))

    on_shop(sqlite_url, any_redis_url, scenario)


def test_a_loan_that_never_arrived_is_settled(sqlite_url: str, valkey_url: str) -> None:
    async def scenario(shop: Shop) -> None:
        donor, home = partition_of("hot", 0), partition_of("hot", 1)
        units = shop.key(donor, "units")
        left = int(shop.redis.hget(units, "Lhot") or shop.redis.hget(units, "Ihot").split()[1])
        shop.redis.hset(units, mapping={"Lhot": left - 2, "Thot": 2})
        shop.redis.hset(shop.key(donor, "lent"), "loan-1", f"2 {NOW_MS - 60_000} {home} hot")
        assert [kind for kind, _, _ in named(await shop.ledger())] == ["undersold"]

        report = await shop.repair()

        assert report.ledger is not None
        assert named(report.ledger) == []
        assert [step.action for step in report.steps] == ["settle loans"]
        assert not report.groups[0].undoable

    on_shop(sqlite_url, valkey_url, scenario)


@pytest.mark.parametrize("seed", range(3000, 3006))
def test_a_repair_beside_a_sale_that_goes_on_harms_nothing(
    any_database_url: str, any_redis_url: str, seed: int
) -> None:
    async def scenario(shop: Shop) -> None:
        await break_it(shop, seed)
        async with AsyncExitStack() as stack:
            seller = Shop(any_database_url, any_redis_url)
            await seller.open(stack)

            async def sell() -> None:
                for n in range(100, 112):
                    sku = ("sku-1", "sku-2", "hot")[n % 3]
                    try:
                        await seller.sell_one(sku, n, ("unpaid", "shipped")[n % 2])
                    except AssertionError:
                        return  # what is broken may leave nothing to sell

            selling = asyncio.create_task(sell())
            for _ in range(3):
                await shop.repair(accept="seen")
            await selling

        # Whatever was skipped beside the sale is mended when it is quiet, and no order of the sale was touched.
        report = await shop.repair(accept="seen")
        assert report.ledger is not None
        assert named(report.ledger) == [], report.steps
        kept = shop.book.orders(list(seller.orders))
        assert all(
            order.state in (OrderState.UNPAID, OrderState.SHIPPED) for order in kept.values()
        )

    on_shop(any_database_url, any_redis_url, scenario)


def test_of_two_repairs_at_once_each_undoes_only_what_it_did_and_the_ledger_has_the_last_word(
    any_database_url: str, valkey_url: str
) -> None:
    async def scenario(shop: Shop) -> None:
        stray, bare = shop.of("cancelled"), shop.of("shipped", "sku-2")
        shop.book.charge([(stray.order_id, stray.order_id, 500)])
        shop.execute("DELETE FROM parcels WHERE order_id = ?", bare.order_id)
        shop.redis.hset(shop.key(partition_of("sku-1"), "held:sku-1"), "f" * 32, b"S 1 0 nobody")
        plans, logs, reports = [], [], []
        for who in ("ann", "bob"):
            plans.append(await shop.plan(accept="seen"))
            logs.append(Lines(await undo_text(shop.engines, plans[-1], who=who)))
            shop.clock.set(shop.clock.now_ms() + 7)
        for plan, log in zip(plans, logs, strict=True):
            reports.append(await apply(shop.engines, plan, who="ann", log=log))

        assert (set(reports[0].outcomes), set(reports[1].outcomes)) == ({"done"}, {"already"})
        assert (reports[0].refund_fen, reports[1].refund_fen) == (500, 0)
        second = await plan_undo(shop.engines, Path("b.json"), logs[1].text)
        assert (second.steps, second.people) == ([], [])
        first = await plan_undo(shop.engines, Path("a.json"), logs[0].text)
        assert len(first.steps) == len(plans[0].steps)
        undone = await apply(shop.engines, first, who="ann", log=logs[0])
        assert set(undone.outcomes) == {"done"}
        again = await plan_undo(shop.engines, Path("a.json"), logs[0].text)
        assert again.steps == []

    on_shop(any_database_url, valkey_url, scenario)


def test_a_step_that_was_cut_off_is_unsure_and_undone_only_on_demand(
    sqlite_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(shop: Shop) -> None:
        for sku in ("sku-1", "sku-2"):
            shop.execute("DELETE FROM parcels WHERE order_id = ?", shop.of("shipped", sku).order_id)
        plan = await shop.plan()
        log = Lines(await undo_text(shop.engines, plan, who="ann"))
        whole = repair_module._Work.do

        async def dying(self: Any, step: Any) -> Any:
            changed = await whole(self, step)
            if step is plan.steps[1]:
                raise StoreUnavailable("killed")
            return changed

        monkeypatch.setattr(repair_module._Work, "do", dying)
        with pytest.raises(StoreUnavailable):
            await apply(shop.engines, plan, who="ann", log=log)
        path = Path("undo.json")
        torn = log.text + b'{"what":"ended","st'
        sure = await plan_undo(shop.engines, path, torn)
        assert [step.id for step in sure.steps] == [plan.steps[0].id]
        assert [(one.id, "--include-unsure" in one.needs) for one in sure.people] == [
            (plan.steps[1].id, True)
        ]
        every = await plan_undo(shop.engines, path, torn, unsure=True)
        assert [step.id for step in every.steps] == [step.id for step in reversed(plan.steps)]
        for wrong in (b'{"what":"ended","step":9,"outcome":"done"}\n', b"what\n"):
            with pytest.raises(ConfigError, match="nothing was changed"):
                await plan_undo(shop.engines, path, log.text + wrong)

    on_shop(sqlite_url, valkey_url, scenario)


@pytest.mark.parametrize(("column", "value"), [("units", -3), ("units", 0), ("price_fen", -250)])
def test_an_order_that_cannot_be_is_left_to_a_person(
    sqlite_url: str, valkey_url: str, column: str, value: int
) -> None:
    async def scenario(shop: Shop) -> None:
        order = shop.of("shipped")
        shop.execute(f"UPDATE orders SET {column} = ? WHERE order_id = ?", value, order.order_id)
        shop.execute("UPDATE stock SET sold = sold + 1 WHERE sku = 'sku-1'")
        plan = await shop.plan(accept="seen")
        acts = [
            step for step in plan.steps if step.engine != "messages" and step.action != "accept"
        ]
        assert acts == []
        assert {"wrong-amount", "guard-differs"} <= {one.kind for one in plan.people}
        assert any(order.order_id in one.needs for one in plan.people)

    on_shop(sqlite_url, valkey_url, scenario)


def test_a_charge_below_zero_is_left_to_a_person(sqlite_url: str, valkey_url: str) -> None:
    async def scenario(shop: Shop) -> None:
        order = shop.of("shipped")
        shop.execute("UPDATE charges SET amount_fen = -5 WHERE order_id = ?", order.order_id)
        plan = await shop.plan()
        assert plan.steps == []
        assert [(one.kind, one.id) for one in plan.people] == [("wrong-amount", order.order_id)]

    on_shop(sqlite_url, valkey_url, scenario)


def test_a_charge_of_any_name_is_refunded(any_database_url: str, valkey_url: str) -> None:
    async def scenario(shop: Shop) -> None:
        order = shop.of("cancelled")
        shop.book.charge([(order.order_id, order.order_id, 500)])
        shop.execute("UPDATE charges SET charge_id = 'key:x' WHERE order_id = ?", order.order_id)
        report = await shop.repair()
        assert [(step.action, step.outcome) for step in report.steps] == [("refund", "done")]
        assert report.refund_fen == 500

    on_shop(any_database_url, valkey_url, scenario)
