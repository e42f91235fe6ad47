"""The deadline keeper: what is unpaid in time is cancelled once, and its units are sold again."""

import asyncio

import msgspec
import pytest

from checkout import EPOCH, START_MS, TTL_MS, Fuse, Scene, body_of, line_with_token, order_of
from saleops.domain.messages import DEADLINES
from saleops.domain.orders import OrderState
from saleops.ports.stock import StaleEpoch
from saleops.services.order.deadlines import (
    DELAY_MAX_MS,
    DeadlineKeeper,
    deadline_consumer,
    publish_deadlines,
)

S = OrderState


async def sold(scene: Scene, *numbers: int, units: int = 1) -> list[str]:
    """Orders in both stores, without their message."""
    await scene.seed()
    orders = [order_of(number, token="", units=units) for number in numbers]
    await scene.sell(orders)
    await scene.broker.clear()
    return [order.order_id for order in orders]


def keeper(scene: Scene, epoch: str = EPOCH) -> DeadlineKeeper:
    return DeadlineKeeper(
        book=scene.book,
        stock=scene.stock,
        broker=scene.broker,
        epoch=lambda: epoch,
        clock=scene.clock,
    )


def test_a_deadline_delivered_many_times_gives_the_units_back_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        await sold(scene, 1, 2, units=3)
        orders = [order_of(1, token="", units=3), order_of(2, token="", units=3)]
        for late_ms in (0, 10, 5_000, 60_000):
            await scene.broker.publish(
                DEADLINES, body_of(orders), deliver_at_ms=START_MS + TTL_MS + late_ms
            )

        await scene.run_until_quiet()

        assert scene.states(orders) == [S.CANCELLED] * 2
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_deadline_that_comes_early_is_looked_at_again_when_due() -> None:
    async def scenario() -> None:
        scene = Scene()
        await sold(scene, 1)
        order = order_of(1, token="")
        await scene.broker.publish(DEADLINES, body_of([order]), deliver_at_ms=START_MS + 1_000)

        async def looked_at() -> bool:
            depth = await scene.broker.depth(DEADLINES, "deadline")
            return depth.busy == 0 and [b async for b in scene.broker.browse(DEADLINES)] != []

        await scene.run_until(looked_at)
        await scene.run_until_quiet()

        assert scene.states([order]) == [S.CANCELLED]
        assert scene.clock.now_ms() >= order.due_ms

    asyncio.run(scenario())


def test_paid_and_shipped_orders_are_left_alone() -> None:
    async def scenario() -> None:
        scene = Scene()
        ids = await sold(scene, 1, 2)
        orders = [order_of(1, token=""), order_of(2, token="")]
        scene.sql.begin_payment(ids)
        scene.sql.charge([(order_id, order_id, 250) for order_id in ids])
        scene.sql.end_payment(ids, [])
        scene.sql.ship([(ids[0], ids[0])])
        scene.clock.set(orders[0].due_ms + 1)

        await keeper(scene).handle([line_with_token(order) for order in orders])

        assert scene.states(orders) == [S.SHIPPED, S.PAID]
        assert (await scene.broker.depth(DEADLINES, "deadline")).delayed == 0
        await scene.check_ledger()

    asyncio.run(scenario())


def test_an_order_in_payment_is_looked_at_again_ever_more_rarely_until_it_is_settled() -> None:
    async def scenario() -> None:
        scene = Scene()
        ids = await sold(scene, 1)
        order = order_of(1, token="")
        scene.sql.begin_payment(ids)
        await publish_deadlines(scene.broker, [order], now_ms=START_MS)

        async def an_hour_later() -> bool:
            return scene.clock.now_ms() > order.due_ms + 3_600_000

        await scene.run_until(an_hour_later)
        looks = len([body async for body in scene.broker.browse(DEADLINES)])
        assert 50 < looks < 130  # once a minute in the end
        assert scene.states([order]) == [S.PAYING]

        scene.sql.end_payment([], ids)
        await scene.run_until_quiet()
        assert scene.states([order]) == [S.CANCELLED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_cancel_cut_in_two_by_a_stale_epoch_is_finished_later() -> None:
    async def scenario() -> None:
        scene = Scene()
        await sold(scene, 1)
        order = order_of(1, token="")
        scene.clock.set(order.due_ms)
        line = line_with_token(order)

        with pytest.raises(StaleEpoch):
            await keeper(scene, epoch="").handle([line])
        assert scene.states([order]) == [S.CANCELLED]

        await keeper(scene).handle([line])
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_keeper_killed_at_any_point_strands_no_unit() -> None:
    async def scenario(at: int) -> bool:
        scene = Scene()
        await sold(scene, 1, 2, units=5)
        orders = [order_of(1, token="", units=5), order_of(2, token="", units=5)]
        await publish_deadlines(scene.broker, orders, now_ms=START_MS)
        fuse = Fuse(at)

        await scene.run_until_quiet(fuse=fuse)
        await scene.run_until_quiet()

        assert scene.states(orders) == [S.CANCELLED] * 2
        await scene.check_ledger()
        return fuse.blown.is_set()

    points = 1
    while asyncio.run(scenario(points)):
        points += 1
    assert points > 6


def test_units_of_a_cancelled_order_can_be_bought_again() -> None:
    async def scenario() -> None:
        scene = Scene(units=2)
        await sold(scene, 1, units=2)
        order = order_of(1, token="", units=2)
        await publish_deadlines(scene.broker, [order], now_ms=START_MS)
        await scene.run_until_quiet()

        again = order_of(2, units=2)
        await scene.sell([again], "tx-2")
        await scene.run_until_quiet()

        assert scene.states([order, again]) == [S.CANCELLED, S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_orders_due_in_one_second_share_a_message_and_no_message_is_delayed_past_a_day() -> None:
    async def scenario() -> None:
        scene = Scene()
        orders = [order_of(number, token="") for number in range(30)]
        await publish_deadlines(scene.broker, orders, now_ms=START_MS)
        assert (await scene.broker.depth(DEADLINES, "deadline")).delayed == 1

        far = msgspec.structs.replace(orders[0], due_ms=START_MS + 7 * 24 * 3_600_000)
        await publish_deadlines(scene.broker, [far], now_ms=START_MS)
        scene.clock.set(START_MS + DELAY_MAX_MS + 1_000)
        depth = await scene.broker.depth(DEADLINES, "deadline")
        assert (depth.delayed, depth.waiting) == (0, 2)

    asyncio.run(scenario())


def test_the_deadline_consumer_is_ready_to_run() -> None:
    async def scenario() -> None:
        scene = Scene()
        consumer = deadline_consumer(
            book=scene.book, stock=scene.stock, broker=scene.broker, epoch=lambda: EPOCH
        )

        assert (consumer.topic, consumer.group) == ("deadlines", "deadline")
        assert 'saleops_consumer_up{topic="deadlines",group="deadline"} 1' in (
            consumer.metrics_text()
        )

    asyncio.run(scenario())
