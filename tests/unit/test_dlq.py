"""Choosing dead letters, sending them again at a pace, and the trail that every run leaves; on virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from checkout import START_MS, VirtualClock, body_of, order_of
from saleops.adapters.memory_broker import MemoryBroker
from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.domain.letters import Selection, letter_of
from saleops.domain.messages import ORDERS, PAID, PAYMENT_GROUP, SHIPPING_GROUP, retry_topic
from saleops.domain.orders import Order
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.events import Event, Finished, Warned
from saleops.operations.dlq import (
    Chosen,
    ReplayReport,
    apply_replay,
    list_letters,
    plan_replay,
    replay_log,
    show_letters,
)
from saleops.operations.drop_letters import ChosenToDrop, apply_drop, plan_drop
from saleops.ports.broker import DeadLetter
from saleops.ports.orders import JournalEntry, SaleRow

SALE = "drop"
RETRIES = retry_topic(ORDERS)


class Bench:
    """A broker and a book in memory, with letters to choose from."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(clock=self.clock)
        self.book = MemoryOrderBook()
        self.book.begin_sale(SaleRow(SALE, "e1", "v1", 1, 1, complete=False))
        self.seen: list[Event] = []

    async def bury(
        self,
        *orders: Order,
        topic: str = RETRIES,
        group: str = PAYMENT_GROUP,
        reason: str = "no",
        body: bytes = b"",
    ) -> None:
        await self.broker.publish(topic, body or body_of(list(orders)))
        [message] = await self.broker.receive(
            topic, group, max_messages=1, invisible_ms=1_000, wait_ms=0
        )
        await self.broker.dead_letter(message, reason=reason)

    async def choose(
        self, selection: Selection | None = None, *, limit: int = 1000, rate: float = 50
    ) -> Chosen:
        return await plan_replay(
            SALE,
            self.book,
            self.broker,
            selection or Selection(),
            now_ms=self.clock.now_ms(),
            limit=limit,
            rate_per_s=rate,
        )

    async def replay(self, chosen: Chosen, run_id: str = "run") -> ReplayReport:
        return await apply_replay(
            chosen,
            self.book,
            self.broker,
            who="ann@desk",
            clock=self.clock,
            observe=self.seen.append,
            run_id=run_id,
        )

    async def dead(self) -> int:
        depths = [
            await self.broker.depth(topic, group)
            for topic, group in (
                (RETRIES, PAYMENT_GROUP),
                (ORDERS, PAYMENT_GROUP),
                (PAID, SHIPPING_GROUP),
            )
        ]
        return sum(depth.dead for depth in depths)


def play(scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        bench = Bench()
        async with bench.clock.running():
            await scenario(bench)

    asyncio.run(whole())


def ids(count: int, first: int = 0) -> list[str]:
    return [order_of(number).order_id for number in range(first, first + count)]


# -- choosing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), {0, 1, 2, 3}),
        (Selection(groups=(SHIPPING_GROUP,)), {3}),
        (Selection(groups=(SHIPPING_GROUP, PAYMENT_GROUP)), {0, 1, 2, 3}),
        (Selection(reason="TIMED out"), {0, 2}),
        (Selection(order_ids=tuple(ids(1, 1))), {1}),
        (Selection(order_ids=("unknown",)), set()),
        (Selection(skus=("sku-1",)), {0, 1, 2, 3}),
        (Selection(skus=("other",)), set()),
        (Selection(dead_from_ms=START_MS + 2_000), {2, 3}),
        (Selection(dead_before_ms=START_MS + 2_000), {0, 1}),
        (Selection(dead_from_ms=START_MS + 1_000, dead_before_ms=START_MS + 3_000), {1, 2}),
        (Selection(groups=(PAYMENT_GROUP,), reason="timed", dead_from_ms=START_MS + 1), {2}),
    ],
    ids=lambda value: value.text if isinstance(value, Selection) else "",
)
def test_a_selection_takes_what_holds_in_every_part(selection: Selection, chosen: set[int]) -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(4):
            bench.clock.set(START_MS + number * 1_000)
            place = {"topic": PAID, "group": SHIPPING_GROUP} if number == 3 else {}
            reason = "timed out after 5 s" if number in (0, 2) else "no such SKU"
            await bench.bury(order_of(number), reason=reason, **place)

        found = (await bench.choose(selection)).plan.letters

        assert {one.orders[0].order_id for one in found} == {ids(1, number)[0] for number in chosen}

    play(scenario)


def test_letters_are_chosen_by_their_ids_and_an_unknown_id_is_named() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(3):
            await bench.bury(order_of(number))
        everything = (await bench.choose()).plan.letters
        one = everything[1]

        assert (await bench.choose(Selection((one.letter_id,)))).plan.letters == (one,)
        with pytest.raises(ConfigError, match="no such dead letter: nobody") as caught:
            await show_letters(
                SALE, bench.book, bench.broker, Selection(("nobody",)), now_ms=0, limit=5
            )
        assert "dlq show" in (caught.value.hint or "")

    play(scenario)


def test_a_limit_takes_the_oldest_and_counts_the_rest() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(5):
            await bench.bury(order_of(number))

        plan = (await bench.choose(limit=2, rate=4)).plan
        shown = await show_letters(
            SALE, bench.book, bench.broker, Selection(), now_ms=START_MS, limit=3
        )

        assert [one.orders[0].order_id for one in plan.letters] == ids(2)
        assert (plan.orders, plan.more, plan.least_s) == (2, 3, 0.25)
        assert (len(shown.letters), shown.more) == (3, 2)

    play(scenario)


def test_payment_tokens_are_masked_and_unreadable_bodies_are_not_shown() -> None:
    secret = msgspec.structs.replace(order_of(1), payment_token="tok_secret")
    bare = msgspec.structs.replace(order_of(2), payment_token="")
    for body in (body_of([secret, bare]), b'{"tx_id": "t", "orders": [["tok_secret"'):
        letter = letter_of(
            letter_id="x",
            topic=ORDERS,
            group=PAYMENT_GROUP,
            body=body,
            reason="no",
            attempts=1,
            dead_ms=1,
            now_ms=2_001,
        )
        assert "tok_secret" not in repr(letter)
        assert [one.payment_token for one in letter.orders] in (["***", ""], [])
        assert bool(letter.unreadable) is (not letter.orders)
        assert letter.age_s == 2


def test_the_list_counts_letters_orders_and_reasons_of_each_group() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(1), order_of(2), reason="timed out")
        await bench.bury(order_of(3), reason="timed out")
        await bench.bury(order_of(4), topic=PAID, group=SHIPPING_GROUP, reason="no address")
        await bench.bury(body=b"junk", topic=PAID, group=SHIPPING_GROUP, reason="unreadable")

        found = await list_letters(SALE, bench.book, bench.broker, now_ms=START_MS + 7_000)

        assert (found.letters, found.orders) == (4, 4)
        payment, shipping = found.groups
        assert (payment.letters, payment.orders, payment.oldest_age_s) == (2, 3, 7)
        assert [(one.reason, one.letters) for one in payment.reasons] == [("timed out", 2)]
        assert (shipping.topic, shipping.unreadable) == (PAID, 1)
        assert found.replays == ()

    play(scenario)


def test_a_sale_the_database_does_not_know_is_a_mistake() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(ConfigError, match="knows no sale 'other'"):
            await list_letters("other", bench.book, bench.broker, now_ms=0)

    play(scenario)


# -- sending -----------------------------------------------------------------------------------------------------


def test_letters_are_sent_again_once_and_are_gone_from_the_dead() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(1), order_of(2))
        await bench.bury(order_of(3), topic=ORDERS)

        report = await bench.replay(await bench.choose())

        assert (report.sent, report.orders, report.gone) == (2, 3, 0)
        assert await bench.dead() == 0
        waiting = await bench.broker.depth(RETRIES, PAYMENT_GROUP)
        assert waiting.waiting == 2
        assert (await bench.choose()).plan.letters == ()

    play(scenario)


def test_a_plan_that_is_applied_twice_sends_once() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(1))
        chosen = await bench.choose()

        await bench.replay(chosen, "first")
        report = await bench.replay(chosen, "second")

        assert (report.sent, report.gone) == (0, 1)
        assert (await bench.broker.depth(RETRIES, PAYMENT_GROUP)).waiting == 1

    play(scenario)


@pytest.mark.parametrize(("rate", "seconds"), [(50.0, 0.38), (2.0, 9.5), (0.5, 38.0)])
def test_the_rate_spaces_letters_evenly(rate: float, seconds: float) -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(20):
            await bench.bury(order_of(number))

        report = await bench.replay(await bench.choose(rate=rate))

        assert report.sent == 20
        assert report.seconds == pytest.approx(seconds, abs=0.03)

    play(scenario)


def test_what_a_slow_broker_costs_is_not_made_up_for_in_a_burst() -> None:
    class Slow(MemoryBroker):
        def __init__(self, clock: VirtualClock) -> None:
            super().__init__(clock=clock)
            self.at: list[int] = []

        async def replay(self, topic: str, group: str, letter: DeadLetter) -> bool:
            self.at.append(self._clock.now_ms())
            if len(self.at) == 2:
                await self._clock.sleep(5)
            return await super().replay(topic, group, letter)

    async def scenario(bench: Bench) -> None:
        bench.broker = slow = Slow(clock=bench.clock)
        for number in range(6):
            await bench.bury(order_of(number))

        await bench.replay(await bench.choose(rate=10))

        gaps = [after - before for before, after in zip(slow.at, slow.at[1:], strict=False)]
        assert min(gaps) >= 99
        assert gaps[1] >= 5_000

    play(scenario)


def test_ctrl_c_says_how_far_it_came_and_the_same_command_goes_on() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(10):
            await bench.bury(order_of(number))
        task = asyncio.create_task(bench.replay(await bench.choose(rate=1), "cut"))
        await bench.clock.sleep(3.5)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        last = bench.seen[-1]
        assert isinstance(last, Finished)
        assert not last.ok
        assert last.note == "4 of 10 letters were sent; the same command goes on"
        assert await bench.dead() == 6
        report = await bench.replay(await bench.choose(), "rest")
        assert report.sent == 6
        assert (await bench.broker.depth(RETRIES, PAYMENT_GROUP)).waiting == 10
        rest, cut = replay_log(SALE, bench.book, limit=5).runs
        assert (cut.run_id, cut.outcome, cut.figures["sent"]) == ("cut", "interrupted", 4)
        assert (rest.run_id, rest.outcome, rest.figures["sent"]) == ("rest", "done", 6)

    play(scenario)


def test_a_broker_that_fails_in_the_middle_says_what_was_sent() -> None:
    class Failing(MemoryBroker):
        left = 3

        async def replay(self, topic: str, group: str, letter: DeadLetter) -> bool:
            if not self.left:
                raise StoreUnavailable("the broker is away")
            self.left -= 1
            return await super().replay(topic, group, letter)

    async def scenario(bench: Bench) -> None:
        bench.broker = Failing(clock=bench.clock)
        for number in range(5):
            await bench.bury(order_of(number))

        with pytest.raises(StoreUnavailable, match="away; 3 of 5 letters were sent") as caught:
            await bench.replay(await bench.choose())

        assert "again" in (caught.value.hint or "")
        [run] = replay_log(SALE, bench.book, limit=5).runs
        assert run.outcome == "failed: the broker is away"
        assert run.figures["sent"] == 3

    play(scenario)


# -- the trail ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_who_what_and_every_id_before_it_is_touched() -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(120):  # more than a portion
            await bench.bury(order_of(number), reason="timed out")
        chosen = await bench.choose(Selection(reason="timed"), rate=5000)

        await bench.replay(chosen)

        [run] = replay_log(SALE, bench.book, limit=5).runs
        assert (run.who, run.command, run.outcome) == ("ann@desk", "dlq replay", "done")
        assert run.selection == "reason has 'timed'"
        assert run.ids == tuple(one.letter_id for one in chosen.plan.letters)
        assert run.figures == {"letters": 120, "left out": 0, "sent": 120, "orders": 120, "gone": 0}
        [shown] = (await list_letters(SALE, bench.book, bench.broker, now_ms=0)).replays
        assert shown == run

    play(scenario)


def test_without_the_journal_nothing_is_sent() -> None:
    class Mute(MemoryOrderBook):
        def write_journal(self, entry: JournalEntry) -> None:
            raise StoreUnavailable("the database is away")

    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(1))
        chosen = await bench.choose()
        bench.book = Mute()

        with pytest.raises(StoreUnavailable):
            await bench.replay(chosen)

        assert await bench.dead() == 1

    play(scenario)


def test_a_journal_that_fails_at_the_end_is_told_and_the_run_counts_as_cut_off() -> None:
    class Forgetful(MemoryOrderBook):
        def write_journal(self, entry: JournalEntry) -> None:
            if entry.entry_id.endswith("-end"):
                raise StoreUnavailable("the database is away")
            super().write_journal(entry)

    async def scenario(bench: Bench) -> None:
        bench.book = Forgetful()
        bench.book.begin_sale(SaleRow(SALE, "e1", "v1", 1, 1, complete=False))
        await bench.bury(order_of(1))

        with pytest.raises(StoreUnavailable, match="1 of 1 letters were sent"):
            await bench.replay(await bench.choose())

        assert any(isinstance(one, Warned) for one in bench.seen)
        [run] = replay_log(SALE, bench.book, limit=5).runs
        assert run.outcome == "cut off"

    play(scenario)


def test_what_other_commands_wrote_is_not_in_the_log() -> None:
    async def scenario(bench: Bench) -> None:
        for number, text in enumerate(("{}", "not json", '{"run":"x","phase":"begin","sale":"s"}')):
            bench.book.write_journal(
                JournalEntry(
                    entry_id=f"x-{number}", at_ms=1, who="bob", command="repair", text=text
                )
            )
        bench.book.write_journal(
            JournalEntry(entry_id="y", at_ms=2, who="bob", command="dlq replay", text="{")
        )

        assert replay_log(SALE, bench.book, limit=5).runs == ()

    play(scenario)


# -- letters that nobody can read --------------------------------------------------------------------------------


def test_a_replay_leaves_unreadable_letters_out_and_refuses_one_that_is_named() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(0))
        await bench.bury(body=b"junk")
        chosen = await bench.choose()
        letters = (
            await show_letters(
                SALE, bench.book, bench.broker, Selection(), now_ms=bench.clock.now_ms(), limit=9
            )
        ).letters
        [junk] = [one.letter_id for one in letters if not one.orders]

        assert (len(chosen.places), chosen.plan.unreadable) == (1, 1)
        with pytest.raises(Refused, match="only die again") as refused:
            await bench.choose(Selection((junk,)))
        assert f"dlq drop SALE {junk}" in (refused.value.hint or "")

    play(scenario)


def test_an_id_that_never_was_a_letter_is_a_mistake_and_one_sent_before_is_not() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(0))
        chosen = await bench.choose()
        sent = chosen.plan.letters[0].letter_id

        with pytest.raises(ConfigError, match="no such dead letter: nosuchid"):
            await bench.choose(Selection((sent, "nosuchid")))
        await bench.replay(chosen)
        assert (await bench.choose(Selection((sent,)))).places == ()

    play(scenario)


def test_an_unreadable_letter_is_dropped_with_its_reason_in_the_journal() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.bury(order_of(0))
        await bench.bury(body=b"junk")
        now_ms = bench.clock.now_ms()
        letters = (
            await show_letters(SALE, bench.book, bench.broker, Selection(), now_ms=now_ms, limit=9)
        ).letters
        good, junk = (one.letter_id for one in sorted(letters, key=lambda one: not one.orders))

        async def plan(*ids: str, why: str = "a test") -> ChosenToDrop:
            return await plan_drop(SALE, bench.book, bench.broker, ids, why=why, now_ms=now_ms)

        with pytest.raises(Refused, match="somebody's orders"):
            await plan(junk, good)
        with pytest.raises(ConfigError, match="no such dead letter"):
            await plan(junk, "nosuchid")
        with pytest.raises(ConfigError, match="for a reason"):
            await plan(junk, why=" ")
        assert await bench.dead() == 2

        chosen = await plan(junk)
        report = await apply_drop(
            chosen, bench.book, bench.broker, who="ann@desk", clock=bench.clock
        )
        assert (report.dropped, report.gone, report.letter_ids) == (1, 0, (junk,))
        again = await apply_drop(
            chosen, bench.book, bench.broker, who="ann@desk", clock=bench.clock
        )
        assert (again.dropped, again.gone) == (0, 1)
        assert (await plan(junk)).plan.gone == 1
        assert await bench.dead() == 1
        runs = replay_log(SALE, bench.book, limit=5).runs
        assert [(one.command, one.who, one.outcome) for one in runs] == [
            ("dlq drop", "ann@desk", "done")
        ] * 2
        assert runs[-1].ids == (junk,)
        assert "why: a test" in runs[-1].selection

    play(scenario)
