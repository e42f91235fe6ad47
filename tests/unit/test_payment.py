"""Charging: once each, whatever repeats, fails, races or dies."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from checkout import (
    EPOCH,
    START_MS,
    TTL_MS,
    Fuse,
    Scene,
    body_of,
    line_with_token,
    order_of,
)
from saleops.adapters.book_payments import BookPayments, failures_of
from saleops.domain.messages import DEADLINES, ORDERS, PAID, OrderBatch, decode_batch, encode_batch
from saleops.domain.orders import Order, OrderState
from saleops.domain.stock import Claim
from saleops.errors import StoreUnavailable, UpstreamError
from saleops.ports.payments import ChargeRequest, ChargeResult, ChargeVerdict
from saleops.services.consumer import DONE, Hopeless, Retry
from saleops.services.payment.charging import Cashier
from saleops.wiring import book_repair

S = OrderState


def test_a_paid_order_is_charged_once_and_shipped_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(number, units=2) for number in range(5)]
        await scene.sell(orders)

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED] * 5
        await scene.check_ledger()

    asyncio.run(scenario())


def test_messages_delivered_three_times_and_out_of_order_charge_and_ship_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [
            order_of(number, token="tok_flaky_2" if number % 3 else "tok") for number in range(9)
        ]
        for start in range(0, 9, 3):
            await scene.sell(orders[start : start + 3], f"tx-{start}")
        again = [body_of(orders[start : start + 3]) for start in (6, 0, 3)] * 2
        again += [body_of([order]) for order in reversed(orders)]
        again += [body_of(random.Random(4).sample(orders, 9))]
        for number, body in enumerate(again):
            await scene.broker.publish(ORDERS, body, deliver_at_ms=START_MS + number * 97)

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED] * 9
        await scene.check_ledger()

    asyncio.run(scenario())


def test_the_amount_is_that_of_the_orders_table_never_that_of_the_message() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1, units=3)
        await scene.sell([order])
        forged = msgspec.structs.replace(line_with_token(order), units=1, amount_fen=1)
        await scene.broker.publish(ORDERS, encode_batch(OrderBatch("tx", [forged])))

        await scene.run_until_quiet()

        assert [c.amount_fen for c in scene.sql.every_charge()] == [order.amount_fen]

    asyncio.run(scenario())


@pytest.mark.parametrize("token", ["", "tok_declined_no_funds"])
def test_an_order_that_is_not_paid_is_cancelled_when_due_and_its_units_come_back(
    token: str,
) -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(1, token=token, units=4), order_of(2)]
        await scene.sell(orders)

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.CANCELLED, S.SHIPPED]
        # Due at its creation plus the time to pay, rounded up to a second: not at "now plus".
        assert 0 <= scene.clock.now_ms() - (START_MS + TTL_MS) < 40_000
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_busy_provider_is_asked_again_until_it_captures() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(1, token="tok_flaky_7"), order_of(2, token="tok_flaky"), order_of(3)]
        await scene.sell(orders)

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED] * 3
        assert await scene.dead() == []
        await scene.check_ledger()

    asyncio.run(scenario())


def test_an_order_the_provider_never_decides_dies_alone_and_keeps_its_units() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(number) for number in range(100)]
        orders[42] = order_of(42, token="tok_flaky_1000")
        await scene.sell(orders)

        await scene.run_until_quiet()

        assert await scene.dead() == [orders[42].order_id]
        assert scene.states(orders) == [
            S.PAYING if number == 42 else S.SHIPPED for number in range(100)
        ]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_deadlines_of_one_second_travel_in_one_message() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(number, token="") for number in range(10)]
        await scene.sell(orders)
        await scene.cashier().handle([line_with_token(order) for order in orders])

        assert (await scene.broker.depth(DEADLINES, "deadline")).delayed == 1

    asyncio.run(scenario())


def test_orders_that_are_gone_are_done_with() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        cancelled, missing, fenced = order_of(1), order_of(2), order_of(3)
        await scene.sell([cancelled])
        scene.sql.cancel_unpaid([cancelled.order_id], now_ms=cancelled.due_ms)
        scene.sql.fence([fenced.order_id], now_ms=START_MS)

        outcomes = await scene.cashier().handle(
            [line_with_token(order) for order in (cancelled, missing, fenced)]
        )

        assert set(outcomes.values()) == {DONE}
        assert scene.charges() == Counter()

    asyncio.run(scenario())


def test_a_redelivered_paid_order_is_announced_to_shipping_again() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1)
        await scene.sell([order])
        for _ in range(2):
            await scene.cashier().handle([line_with_token(order)])

        announced = [decode_batch(body).orders async for body in scene.broker.browse(PAID)]
        assert [[line.order_id for line in lines] for lines in announced] == [[order.order_id]] * 2
        assert announced[0][0].payment_token == ""
        assert scene.charges() == Counter([order.order_id])

    asyncio.run(scenario())


# -- the provider fails -----------------------------------------------------------------------------------------


class Scripted:
    """A provider that plays ``script`` first (an error to raise, or seconds to hang), then the bundled one."""

    def __init__(self, bundled: BookPayments, *script: Exception | str) -> None:
        self._bundled = bundled
        self._script = list(script)
        self.calls = 0

    async def charge(self, requests: Sequence[ChargeRequest]) -> list[ChargeResult]:
        self.calls += 1
        step = self._script.pop(0) if self._script else "work"
        if isinstance(step, Exception):
            raise step
        results = await self._bundled.charge(requests)
        if step == "hang":  # the money is taken, the answer is lost
            await asyncio.get_running_loop().create_future()
        if step == "half":
            return results[: len(results) // 2]
        if step == "stranger":
            return [ChargeResult("somebody-else", ChargeVerdict.CAPTURED), *results]
        return results


@pytest.mark.parametrize(
    "script",
    [
        [UpstreamError("the provider is away")] * 3,
        ["hang", "hang"],
        ["half", "half", "half"],
        ["stranger"],
        [RuntimeError("a bug in the adapter")],
    ],
)
def test_a_provider_in_trouble_delays_the_charge_and_never_doubles_it(
    script: list[Exception | str], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        scene.provider = Scripted(BookPayments(scene.book), *script)
        orders = [order_of(number) for number in range(6)]
        await scene.sell(orders)
        cashier = scene.cashier()
        cashier._timeout_s = 0.02
        scene.cashier = lambda fuse=None: cashier  # type: ignore[method-assign]

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED] * 6
        assert await scene.dead() == []
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_provider_that_is_away_is_an_outage_not_a_thousand_retries() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        scene.provider = Scripted(BookPayments(scene.book), UpstreamError("away"))
        order = order_of(1)
        await scene.sell([order])

        with pytest.raises(UpstreamError):
            await scene.cashier().handle([line_with_token(order)])

    asyncio.run(scenario())


# -- cancel against pay -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_ms", [-1, 0, 1])
@pytest.mark.parametrize("first", ["pay", "cancel"])
def test_pay_at_expiry_has_one_winner_and_stock_is_conserved(late_ms: int, first: str) -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1, units=2)
        await scene.sell([order])
        scene.clock.set(order.due_ms + late_ms)
        line = line_with_token(order)
        pay = scene.cashier().handle([line])
        keeper = scene.consumers()[2]._handle
        acts = [pay, keeper([line])]
        if first == "cancel":
            acts.reverse()

        await asyncio.gather(*acts)

        [state] = scene.states([order])
        assert state in (S.PAID, S.CANCELLED)
        assert scene.charges() == Counter([order.order_id] if state == S.PAID else [])
        if late_ms < 0:
            assert state == S.PAID
        await scene.run_until_quiet()
        assert scene.states([order]) == [S.SHIPPED if state == S.PAID else S.CANCELLED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_an_order_that_is_being_paid_is_not_cancelled_however_late_it_is() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1)
        await scene.sell([order])
        scene.sql.begin_payment([order.order_id])

        scene.clock.set(order.due_ms + 3_600_000)
        line = line_with_token(order)
        await scene.consumers()[2]._handle([line])
        assert scene.states([order]) == [S.PAYING]

        await scene.run_until_quiet()
        assert scene.states([order]) == [S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


class Meddling:
    """A provider during whose call the order is freed by somebody else's decline, and maybe cancelled."""

    def __init__(self, scene: Scene, order: Order, *, cancel: bool) -> None:
        self._bundled = BookPayments(scene.book)
        self._scene, self._order, self._cancel = scene, order, cancel

    async def charge(self, requests: Sequence[ChargeRequest]) -> list[ChargeResult]:
        results = await self._bundled.charge(requests)
        self._scene.sql.end_payment([], [self._order.order_id])
        if self._cancel:
            cancelled = self._scene.sql.cancel_unpaid(
                [self._order.order_id], now_ms=self._order.due_ms
            )
            claims = [Claim(o.order_id, o.sku, o.buyer, o.units) for o in cancelled]
            await self._scene.stock.release(EPOCH, claims, now_ms=0)
        return results


def test_an_order_freed_while_its_charge_was_captured_is_claimed_again() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1)
        await scene.sell([order])
        scene.provider = Meddling(scene, order, cancel=False)

        await scene.run_until_quiet()

        assert scene.states([order]) == [S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_money_captured_for_a_cancelled_order_ends_in_front_of_a_person() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1)
        await scene.sell([order])
        scene.provider = Meddling(scene, order, cancel=True)

        outcomes = await scene.cashier().handle([line_with_token(order)])

        outcome = outcomes[order.order_id]
        assert isinstance(outcome, Hopeless)
        assert "refund" in outcome.reason

    asyncio.run(scenario())


def test_money_captured_for_a_cancelled_order_goes_back_at_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1)
        await scene.sell([order])
        cashier = Cashier(
            book=scene.book,
            provider=Meddling(scene, order, cancel=True),
            refunds=BookPayments(scene.book, book_repair(scene.sql)),
            broker=scene.broker,
            clock=scene.clock,
            provider_wait_s=0,
        )

        outcomes = [await cashier.handle([line_with_token(order)]) for _ in range(2)]

        assert outcomes == [{order.order_id: DONE}] * 2
        assert [charge.state for charge in scene.sql.every_charge()] == ["refunded"]
        assert scene.states([order]) == [S.CANCELLED]

    asyncio.run(scenario())


# -- crashes ----------------------------------------------------------------------------------------------------


def test_a_worker_killed_at_any_point_leaves_one_charge_and_one_parcel_each() -> None:
    async def scenario(at: int) -> bool:
        scene = Scene()
        await scene.seed()
        good, flaky = order_of(1, units=2), order_of(2, token="tok_flaky_4")
        bad, later = order_of(3, token="tok_declined"), order_of(4, token="")
        orders = [good, flaky, bad, later]
        await scene.sell(orders)
        fuse = Fuse(at)

        await scene.run_until_quiet(fuse=fuse)
        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED, S.SHIPPED, S.CANCELLED, S.CANCELLED], at
        assert await scene.dead() == [], at
        await scene.check_ledger()
        return fuse.blown.is_set()

    points = 1
    while asyncio.run(scenario(points)):
        points += 1
    assert points > 40  # every point where something outside changed, before and after


def test_a_kill_between_claim_and_charge_is_mended_by_the_redelivery() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1)
        await scene.sell([order])
        [message] = await scene.broker.receive(
            ORDERS, "payment", max_messages=1, invisible_ms=30_000, wait_ms=0
        )
        scene.sql.begin_payment([order.order_id])  # and here the worker that received it is killed
        assert message.attempt == 1

        await scene.run_until_quiet()

        assert scene.clock.now_ms() >= START_MS + 30_000
        assert scene.states([order]) == [S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_two_workers_with_the_same_order_charge_it_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(number, token=f"tok_flaky_{number % 3}") for number in range(6)]
        await scene.sell(orders)
        lines = [line_with_token(order) for order in orders]

        await asyncio.gather(*(scene.cashier().handle(lines) for _ in range(4)))
        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED] * 6
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_database_outage_costs_time_alone() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        orders = [order_of(number) for number in range(20)]
        await scene.sell(orders)
        working = scene.book.run

        async def away(call: object, *args: object) -> object:
            if scene.clock.now_ms() < START_MS + 600_000:
                raise StoreUnavailable("the database is away")
            return await working(call, *args)  # type: ignore[arg-type]

        scene.book.run = away  # type: ignore[assignment, method-assign]

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.SHIPPED] * 20
        assert await scene.dead() == []
        await scene.check_ledger()

    asyncio.run(scenario())


# -- the bundled provider ---------------------------------------------------------------------------------------


def test_the_bundled_provider_takes_an_amount_once_under_a_key() -> None:
    async def scenario() -> None:
        scene = Scene()
        provider = BookPayments(scene.book)
        order = order_of(1)
        request = ChargeRequest(order.order_id, order.order_id, 500, "tok_visa")

        results = [result for _ in range(3) for result in await provider.charge([request])]

        assert {result.verdict for result in results} == {ChargeVerdict.CAPTURED}
        assert len({result.charge_id for result in results}) == 1
        assert len(list(scene.sql.every_charge())) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("token", "failures"),
    [("tok_visa", 0), ("tok_flaky_3", 3), ("tok_flaky_0", 0), ("tok_flaky_99999", 1000)],
)
def test_a_flaky_token_fails_as_often_as_its_name_says(token: str, failures: int) -> None:
    assert failures_of(token, "any-key") == failures


def test_a_flaky_token_without_a_number_fails_one_to_three_times_always_the_same_for_a_key() -> (
    None
):
    seen = {failures_of("tok_flaky", str(key)) for key in range(100)}

    assert seen == {1, 2, 3}
    assert failures_of("tok_flaky", "k") == failures_of("tok_flaky", "k")


def test_nothing_to_pay_is_declined_not_captured() -> None:
    async def scenario() -> None:
        scene = Scene()
        order = order_of(1)
        request = ChargeRequest(order.order_id, order.order_id, 0, "tok_visa")

        [result] = await BookPayments(scene.book).charge([request])

        assert result.verdict is ChargeVerdict.DECLINED

    asyncio.run(scenario())


def test_a_busy_order_is_a_retry_with_the_providers_reason() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        order = order_of(1, token="tok_flaky_9")
        await scene.sell([order])

        outcomes = await scene.cashier().handle([line_with_token(order)])

        assert outcomes == {order.order_id: Retry("try again")}

    asyncio.run(scenario())
