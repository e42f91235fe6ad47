"""Paying by hand over HTTP: own orders only, once each, finished by the consumer when the process dies."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from checkout import Fuse, Scene, crashing, order_of
from saleops.domain.orders import Order, OrderState
from saleops.errors import StoreUnavailable, UpstreamError
from saleops.ports.tokens import Identity
from saleops.services.payment.app import PaymentApi, create_app
from saleops.services.payment.charging import RESUME_AFTER_MS
from saleops.services.web import Refusal, Request, Response, Service

S = OrderState


def service_of(scene: Scene) -> Service:
    return create_app(
        book=scene.book,
        broker=scene.broker,
        provider=scene.provider,
        identify=_identify,
        clock=scene.clock,
    )


def _identify(request: Request) -> Identity:
    buyer = request.headers.get("x-buyer")
    if not buyer:
        raise Refusal(401, "unauthorized", "Sign in first")
    return Identity(buyer, 2**31)


def ask(
    order_id: str, buyer: str, token: str | None = None, *, body: bytes | None = None
) -> Request:
    if token is not None:
        body = json.dumps({"token": token}).encode()
    method = "GET" if body is None else "POST"
    return Request(method, f"/orders/{order_id}/payments", "", {"x-buyer": buyer}, body or b"")


async def sold(token: str = "") -> tuple[Scene, Order]:
    """A scene with one order that the consumer has seen already."""
    scene = Scene()
    await scene.seed()
    order = order_of(1, token=token, units=2)
    await scene.sell([order])

    async def seen() -> bool:
        return [b async for b in scene.broker.browse("orders")] != [] and (
            await scene.broker.depth("orders", "payment")
        ).busy == 0

    await scene.run_until(seen)
    return scene, order


def _json(response: Response) -> Any:
    return json.loads(response.body)


@pytest.mark.parametrize("first_token", ["", "tok_declined"])
def test_an_order_without_a_good_token_can_be_paid_by_hand(first_token: str) -> None:
    async def scenario() -> None:
        scene, order = await sold(first_token)
        response = await service_of(scene).answer(ask(order.order_id, order.buyer, "tok_visa"))

        assert response.status == 200
        assert _json(response) == {
            "order_id": order.order_id,
            "state": "paid",
            "amount_fen": 500,
            "pay_before_ms": order.due_ms,
        }
        assert ("cache-control", "private, no-store") in response.headers
        await scene.run_until_quiet()
        assert scene.states([order]) == [S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_paying_again_answers_with_the_state_and_takes_nothing() -> None:
    async def scenario() -> None:
        scene, order = await sold()
        service = service_of(scene)
        answers = [
            await service.answer(ask(order.order_id, order.buyer, token))
            for token in ("tok_visa", "tok_visa", "tok_other", "tok_declined")
        ]

        assert [answer.status for answer in answers] == [200] * 4
        assert scene.charges() == Counter([order.order_id])

    asyncio.run(scenario())


def test_ten_payments_at_once_charge_once() -> None:
    async def scenario() -> None:
        scene, order = await sold()
        service = service_of(scene)
        tokens = ["tok_visa", "tok_declined", "tok_other", "tok_flaky_1", "tok_declined"] * 2
        answers = await asyncio.gather(
            *(service.answer(ask(order.order_id, order.buyer, token)) for token in tokens)
        )

        assert {answer.status for answer in answers} <= {200, 202, 402, 409}
        await scene.run_until_quiet()
        assert scene.states([order]) == [S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_declined_token_is_402_and_another_one_may_follow() -> None:
    async def scenario() -> None:
        scene, order = await sold()
        service = service_of(scene)
        declined = await service.answer(ask(order.order_id, order.buyer, "tok_declined"))
        good = await service.answer(ask(order.order_id, order.buyer, "tok_visa"))

        assert (declined.status, good.status) == (402, 200)
        await scene.run_until_quiet()
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_provider_that_cannot_decide_now_is_202_and_the_consumer_finishes_it() -> None:
    async def scenario() -> None:
        scene, order = await sold()
        service = service_of(scene)
        response = await service.answer(ask(order.order_id, order.buyer, "tok_flaky_5"))
        assert (response.status, _json(response)["state"]) == (202, "paying")
        again = await service.answer(ask(order.order_id, order.buyer, "tok_visa"))
        assert again.status == 409

        await scene.run_until_quiet()

        assert scene.states([order]) == [S.SHIPPED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_cancelled_order_cannot_be_paid() -> None:
    async def scenario() -> None:
        scene, order = await sold()
        await scene.run_until_quiet()
        response = await service_of(scene).answer(ask(order.order_id, order.buyer, "tok_visa"))

        assert response.status == 409
        assert scene.charges() == Counter()
        await scene.check_ledger()

    asyncio.run(scenario())


@pytest.mark.parametrize("pay", [True, False])
@pytest.mark.parametrize(
    ("order_id", "buyer", "status"),
    [
        (order_of(1).order_id, "buyer-2", 403),
        (order_of(1).order_id, "", 401),
        (order_of(9).order_id, "buyer-1", 404),
        (order_of(1).order_id.upper(), "buyer-1", 404),
        ("x" * 5000, "buyer-1", 404),
    ],
)
def test_only_ones_own_orders_are_shown_or_paid(
    pay: bool, order_id: str, buyer: str, status: int
) -> None:
    async def scenario() -> None:
        scene, _ = await sold()
        request = ask(order_id, buyer, "tok_visa" if pay else None)
        response = await service_of(scene).answer(request)

        assert response.status == status
        assert b"detail" not in response.body
        assert scene.charges() == Counter()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"\xff", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"token": ""}', 422),
        (b'{"token": 5}', 422),
        (b'{"token": "a b"}', 422),
        (b'{"token": "' + b"a" * 129 + b'"}', 422),
        (b'{"token": "tok", "amount_fen": 1}', 422),
    ],
)
def test_a_body_that_does_not_fit_is_refused_and_nothing_is_charged(
    body: bytes, status: int
) -> None:
    async def scenario() -> None:
        scene, order = await sold()
        request = ask(order.order_id, order.buyer, body=body)
        response = await service_of(scene).answer(request)

        assert response.status == status
        assert scene.charges() == Counter()

    asyncio.run(scenario())


@pytest.mark.parametrize("what", ["book", "broker", "provider"])
def test_what_is_out_of_reach_is_503_and_an_open_charge_is_finished_later(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        scene, order = await sold()

        async def away(*args: object, **options: object) -> None:
            raise (UpstreamError if what == "provider" else StoreUnavailable)(f"{what} is away")

        port, call = {
            "book": (scene.book, "run"),
            "broker": (scene.broker, "publish"),
            "provider": (scene.provider, "charge"),
        }[what]
        with monkeypatch.context() as patched:
            patched.setattr(port, call, away)
            response = await service_of(scene).answer(ask(order.order_id, order.buyer, "tok_visa"))

        assert response.status == 503
        assert ("retry-after", "1") in response.headers
        await scene.run_until_quiet()
        # The wish was durable only if the broker and the book were there to take it.
        paid = what == "provider"
        assert scene.states([order]) == [S.SHIPPED if paid else S.CANCELLED]
        await scene.check_ledger()

    asyncio.run(scenario())


def test_a_service_killed_at_any_point_of_a_payment_charges_once_or_not_at_all() -> None:
    async def scenario(at: int) -> bool:
        scene, order = await sold("tok_declined_first")
        fuse = Fuse(at)
        api = PaymentApi(
            book=crashing(scene.book, fuse), cashier=scene.cashier(fuse), identify=_identify
        )
        request = ask(order.order_id, order.buyer, "tok_visa")
        request.path_args = (order.order_id,)
        paying = asyncio.create_task(api.post_payment(request))
        await asyncio.wait(
            (paying, asyncio.create_task(fuse.blown.wait())), return_when=asyncio.FIRST_COMPLETED
        )
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(paying, return_exceptions=True)
        published = scene.clock.now_ms() + RESUME_AFTER_MS

        await scene.run_until_quiet()

        assert scene.clock.now_ms() >= min(published, order.due_ms)
        expected = S.CANCELLED if at <= 3 and fuse.blown.is_set() else S.SHIPPED
        assert scene.states([order]) == [expected], at
        assert await scene.dead() == [], at
        await scene.check_ledger()
        return fuse.blown.is_set()

    points = 1
    while asyncio.run(scenario(points)):
        points += 1
    assert points > 14


def test_a_buyer_who_hangs_up_does_not_cut_the_charge_in_two() -> None:
    async def scenario() -> None:
        scene, order = await sold()
        asked = asyncio.create_task(
            service_of(scene).answer(ask(order.order_id, order.buyer, "tok_visa"))
        )
        while scene.states([order]) != [S.PAYING]:
            await asyncio.sleep(0)
        asked.cancel()
        for _ in range(50):
            await asyncio.sleep(0)

        assert scene.states([order]) == [S.PAID]

    asyncio.run(scenario())


def test_the_service_starts_works_tells_its_figures_and_drains() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.seed()
        service = service_of(scene)
        assert service.why_not_ready() == "starting"
        order = order_of(1)
        await scene.sell([order])
        assert service.start is not None
        assert service.stop is not None
        async with scene.clock.running():
            await service.start()
            assert service.why_not_ready() == ""
            while scene.states([order]) != [S.PAID]:
                await asyncio.sleep(0)
            await service.stop()

        assert service.why_not_ready() == "a consumer ended"
        text = service.metrics_text()
        assert 'saleops_consumer_orders_done_total{topic="orders",group="payment"} 1' in text

    asyncio.run(scenario())
