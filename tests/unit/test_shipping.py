"""Shipping: one parcel for each paid order, none for any other."""

import asyncio
import json
from collections import Counter

import pytest

from checkout import START_MS, Fuse, Scene, body_of, line_with_token, order_of
from saleops.domain.messages import PAID
from saleops.domain.orders import OrderState
from saleops.ports.tokens import Identity
from saleops.services.consumer import DONE, Hopeless, Retry
from saleops.services.shipping.app import create_app
from saleops.services.shipping.dispatch import Dispatcher
from saleops.services.web import Request, Response

S = OrderState


def paid(scene: Scene, *numbers: int) -> None:
    ids = [order_of(number).order_id for number in numbers]
    scene.sql.begin_payment(ids)
    scene.sql.end_payment(ids, [])


def test_a_paid_order_announced_many_times_gets_one_parcel() -> None:
    async def scenario() -> None:
        scene = Scene()
        orders = [order_of(number) for number in range(3)]
        scene.sql.place("tx-1", orders)
        paid(scene, 0, 1, 2)
        for number in range(6):
            part = orders[number % 3 :]
            await scene.broker.publish(PAID, body_of(part), deliver_at_ms=START_MS + number * 40)

        await scene.run_until_quiet()

        assert scene.parcels() == Counter(order.order_id for order in orders)
        assert scene.states(orders) == [S.SHIPPED] * 3

    asyncio.run(scenario())


def test_each_order_hears_what_its_state_means() -> None:
    async def scenario() -> None:
        scene = Scene()
        good, unpaid, paying, cancelled, missing = (order_of(number) for number in range(5))
        scene.sql.place("tx-1", [good, unpaid, paying, cancelled])
        paid(scene, 0)
        scene.sql.begin_payment([paying.order_id])
        scene.sql.cancel_unpaid([cancelled.order_id], now_ms=cancelled.due_ms)

        outcomes = await Dispatcher(book=scene.book).handle(
            [line_with_token(o) for o in (good, unpaid, paying, cancelled, missing)]
        )

        assert outcomes[good.order_id] == DONE
        assert isinstance(outcomes[unpaid.order_id], Retry)
        assert isinstance(outcomes[paying.order_id], Retry)
        assert isinstance(outcomes[cancelled.order_id], Hopeless)
        assert isinstance(outcomes[missing.order_id], Hopeless)
        assert scene.parcels() == Counter([good.order_id])

    asyncio.run(scenario())


def test_an_order_announced_before_it_is_paid_ships_once_it_is() -> None:
    async def scenario() -> None:
        scene = Scene()
        order = order_of(1)
        scene.sql.place("tx-1", [order])
        await scene.broker.publish(PAID, body_of([order]))

        async def retried() -> bool:
            return (await scene.broker.depth("paid-retry", "shipping")).in_flight > 0

        await scene.run_until(retried)
        paid(scene, 1)
        await scene.run_until_quiet()

        assert scene.states([order]) == [S.SHIPPED]
        assert await scene.dead() == []

    asyncio.run(scenario())


def test_a_shipper_killed_at_any_point_leaves_one_parcel() -> None:
    async def scenario(at: int) -> bool:
        scene = Scene()
        orders = [order_of(1), order_of(2)]
        scene.sql.place("tx-1", orders)
        paid(scene, 1, 2)
        await scene.broker.publish(PAID, body_of(orders))
        fuse = Fuse(at)

        await scene.run_until_quiet(fuse=fuse)
        await scene.run_until_quiet()

        assert scene.parcels() == Counter(order.order_id for order in orders)
        return fuse.blown.is_set()

    points = 1
    while asyncio.run(scenario(points)):
        points += 1
    assert points > 4


# -- over HTTP --------------------------------------------------------------------------------------------------


def answer(scene: Scene, order_id: str, buyer: str) -> Response:
    service = create_app(
        book=scene.book,
        broker=scene.broker,
        identify=lambda request: Identity(buyer, 2**31),
        clock=scene.clock,
    )
    return asyncio.run(service.answer(Request("GET", f"/orders/{order_id}/parcels", "", {}, b"")))


def test_a_buyer_sees_the_parcel_of_a_shipped_order_and_none_before() -> None:
    scene = Scene()
    order = order_of(1, units=2)
    scene.sql.place("tx-1", [order])
    before = answer(scene, order.order_id, order.buyer)
    paid(scene, 1)
    scene.sql.ship([(order.order_id, order.order_id)])
    after = answer(scene, order.order_id, order.buyer)

    assert json.loads(before.body) == {
        "order_id": order.order_id,
        "state": "unpaid",
        "parcels": [],
    }
    assert json.loads(after.body)["parcels"] == [
        {"dispatch_key": order.order_id, "sku": "sku-1", "units": 2}
    ]
    assert ("cache-control", "private, no-store") in after.headers


@pytest.mark.parametrize(
    ("order_id", "buyer", "status"),
    [
        (order_of(1).order_id, "buyer-2", 403),
        (order_of(9).order_id, "buyer-1", 404),
        ("nonsense", "buyer-1", 404),
    ],
)
def test_parcels_of_others_are_forbidden_and_unknown_orders_are_not_found(
    order_id: str, buyer: str, status: int
) -> None:
    scene = Scene()
    scene.sql.place("tx-1", [order_of(1)])

    assert answer(scene, order_id, buyer).status == status
