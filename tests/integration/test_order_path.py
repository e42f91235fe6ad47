"""The order path on real engines: what a buyer hears, and what is durable afterwards."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from orderdesk import EPOCH, Desk, open_desk, settings_for, until
from saleops.adapters.redis_stock import RedisStockStore
from saleops.adapters.streams_broker import StreamsBroker
from saleops.domain.items import Item
from saleops.domain.messages import ORDERS, OrderBatch, encode_batch
from saleops.domain.orders import OrderState, order_id_of
from saleops.domain.stock import Claim
from saleops.errors import StoreUnavailable
from saleops.ports.clock import WallClock
from saleops.services.book import BookThread

HOT = Item("hot", "Hot", 1999, 5)
PLENTY = Item("plenty", "Plenty", 250, 10_000)
LIMITED = Item("limited", "Limited", 100, 100, limit_per_buyer=2)
ITEMS = [HOT, PLENTY, LIMITED]


@pytest.fixture(params=["valkey+sqlite", "redis+mysql"])
def engines(request: pytest.FixtureRequest) -> tuple[str, str]:
    store, database = request.param.split("+")
    return request.getfixturevalue(f"{store}_url"), request.getfixturevalue(f"{database}_url")


@pytest.fixture
def embedded(valkey_url: str, sqlite_url: str) -> tuple[str, str]:
    return valkey_url, sqlite_url


def run(
    engines: tuple[str, str],
    scenario: Callable[[Desk], Awaitable[None]],
    *,
    ports: dict[str, Any] | None = None,
    clock: Any = None,
    **changes: Any,
) -> None:
    async def body() -> None:
        settings = settings_for(*engines, **changes)
        async with open_desk(settings, ITEMS, clock=clock, **(ports or {})) as desk:
            await scenario(desk)

    asyncio.run(body())


@dataclass
class SetClock(WallClock):
    """The wall clock, moved by hand."""

    ahead_ms: int = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


async def settled(desk: Desk, sku: str = "plenty") -> None:
    async def no_reservations() -> bool:
        return (await desk.counts(sku))[1] == 0

    await until(no_reservations)


def test_an_order_is_durable_announced_and_sold(engines: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        answer = await desk.order("ann", "k1", "plenty", 2, payment_token="tok_visa")

        assert answer.status == 201
        view = json.loads(answer.body)
        assert view["amount_fen"] == 500
        assert view["state"] == "unpaid"
        headers = dict(answer.headers)
        assert headers["location"] == f"/orders/{view['order_id']}"
        assert headers["cache-control"] == "private, no-store"
        [message] = await desk.messages()
        assert (message.order_id, message.amount_fen) == (view["order_id"], 500)
        assert message.payment_token == "tok_visa"
        await settled(desk)
        assert await desk.counts("plenty") == (9998, 0, 2)
        stored = (await desk.book.run(desk.book.book.orders, [view["order_id"]]))[view["order_id"]]
        assert (stored.buyer, stored.units, stored.state) == ("ann", 2, OrderState.UNPAID)

    run(engines, scenario)


def test_the_same_request_again_is_the_same_order(engines: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        first = await desk.order("ann", "k1", "plenty")
        again = await desk.order("ann", "k1", "plenty")
        at_once = await asyncio.gather(*[desk.order("bob", "k1", "plenty") for _ in range(5)])

        assert again.body == first.body
        assert ("idempotent-replayed", "true") in again.headers
        assert len({answer.body for answer in at_once}) == 1
        assert len(await desk.messages()) == 2
        await settled(desk)
        assert await desk.counts("plenty") == (9998, 0, 2)

    run(engines, scenario)


@pytest.mark.parametrize("other", [("plenty", 2), ("limited", 1)])
def test_a_key_used_for_another_order_is_refused(
    engines: tuple[str, str], other: tuple[str, int]
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.order("ann", "k1", "plenty")

        answer = await desk.order("ann", "k1", *other)

        assert answer.status == 422
        assert b"key-reused" in answer.body
        await settled(desk, "limited")
        assert await desk.counts("limited") == (100, 0, 0)
        assert (await desk.order("bob", "k1", *other)).status == 201

    run(engines, scenario)


def test_five_units_and_fifty_buyers_make_exactly_five_orders(engines: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        answers = await asyncio.gather(*[desk.order(f"b{i}", "k", "hot") for i in range(50)])

        assert Counter(answer.status for answer in answers) == {201: 5, 409: 45}
        await settled(desk, "hot")
        assert await desk.counts("hot") == (0, 0, 5)
        assert len(await desk.messages()) == 5

    run(engines, scenario)


def test_the_limit_of_a_buyer_holds_over_orders(embedded: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        answers = await asyncio.gather(*[desk.order("ann", f"k{i}", "limited") for i in range(5)])

        assert Counter(answer.status for answer in answers) == {201: 2, 409: 3}
        assert b"over-limit" in next(a.body for a in answers if a.status == 409)

    run(embedded, scenario)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"sku": "plenty", "units": 0}', 422),
        (b'{"sku": "plenty", "units": -5}', 422),
        (b'{"sku": "plenty", "units": 0.5}', 422),
        (b'{"sku": "plenty", "units": 1e9}', 422),
        (b'{"sku": "plenty", "units": "1"}', 422),
        (b'{"sku": "pl enty"}', 422),
        (b'{"sku": "plenty", "surprise": 1}', 422),
        (b'{"units": 1}', 422),
        (b"[]", 422),
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"sku": "unknown-sku"}', 404),
    ],
)
def test_a_wrong_wish_is_refused_and_changes_nothing(
    embedded: tuple[str, str], body: bytes, status: int
) -> None:
    async def scenario(desk: Desk) -> None:
        answer = await desk.send("POST", "/orders", "ann", body, {"idempotency-key": "k"})

        assert answer.status == status
        assert dict(answer.headers)["content-type"] == "application/problem+json"
        assert await desk.counts("plenty") == (10_000, 0, 0)
        assert await desk.messages() == []

    run(embedded, scenario)


@pytest.mark.parametrize("key", [None, "", "a b", "é", "x" * 129])
def test_an_order_needs_a_good_idempotency_key(embedded: tuple[str, str], key: str | None) -> None:
    async def scenario(desk: Desk) -> None:
        headers = {} if key is None else {"idempotency-key": key}
        answer = await desk.send("POST", "/orders", "ann", b'{"sku": "plenty"}', headers)

        assert answer.status == 400
        assert b"/problems/idempotency-key" in answer.body

    run(embedded, scenario)


def test_nobody_orders_without_a_token_nor_sees_anothers_order(embedded: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        nobody = await desk.send(
            "POST", "/orders", "", b'{"sku": "plenty"}', {"idempotency-key": "k"}
        )
        mine = json.loads((await desk.order("ann", "k", "plenty")).body)
        path = f"/orders/{mine['order_id']}"

        assert nobody.status == 401
        assert (await desk.send("GET", path)).status == 401
        other = await desk.send("GET", path, "bob")
        assert other.status == 403
        assert mine["order_id"].encode() not in other.body
        assert (await desk.send("GET", path, "ann")).status == 200
        assert (await desk.send("GET", "/orders/" + "0" * 32, "ann")).status == 404
        assert (await desk.send("GET", "/orders/nonsense", "ann")).status == 404
        assert json.loads((await desk.send("GET", "/orders", "bob")).body) == {"orders": []}

    run(embedded, scenario)


def test_the_sale_sells_only_inside_its_window(embedded: tuple[str, str]) -> None:
    clock = SetClock()
    opens = clock.now_ms() + 3_600_000

    async def scenario(desk: Desk) -> None:
        early = await desk.order("ann", "k", "plenty")
        clock.ahead_ms = 3_600_000
        in_time = await desk.order("ann", "k", "plenty")
        clock.ahead_ms = 7_300_000
        late = await desk.order("ann", "k2", "plenty")

        assert (early.status, in_time.status, late.status) == (403, 201, 403)
        assert 3590 <= int(dict(early.headers)["retry-after"]) <= 3600

    run(embedded, scenario, clock=clock, opens_ms=opens, closes_ms=opens + 3_600_000)


# -- sold out --------------------------------------------------------------------------------------------


async def calls_of_scripts(desk: Desk) -> int:
    """EVALSHAs that the stock store has run."""
    told = await desk.stock._server._redis.on_masters("INFO", "commandstats", tries=1)
    lines = b"\r\n".join(told.values()).split(b"\r\n")
    return sum(
        int(line.partition(b"calls=")[2].partition(b",")[0])
        for line in lines
        if line.startswith(b"cmdstat_evalsha:")
    )


def test_after_sold_out_nobody_is_asked_and_a_winner_still_hears_of_their_order(
    embedded: tuple[str, str],
) -> None:
    async def scenario(desk: Desk) -> None:
        won = [await desk.order(f"w{i}", "k", "hot") for i in range(5)]
        assert (await desk.order("late", "k", "hot")).status == 409
        api = desk.app
        await until(lambda: "sold_out_at_once_total 0" in api.metrics_text())

        async def answered_at_once() -> bool:
            await desk.order("late", "k", "hot")
            return "sold_out_at_once_total 0" not in api.metrics_text()

        await until(answered_at_once)
        before = await calls_of_scripts(desk)
        refused = [await desk.order(f"l{i}", "k", "hot") for i in range(200)]
        after = await calls_of_scripts(desk)

        assert {answer.status for answer in refused} == {409}
        assert after - before < 20  # upkeep alone; 200 requests cost nothing
        replay = await desk.order("w3", "k", "hot")
        assert (replay.status, replay.body) == (201, won[3].body)

    run(embedded, scenario)


def test_units_that_come_back_are_sold_again(embedded: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        orders = [json.loads((await desk.order(f"w{i}", "k", "hot")).body) for i in range(5)]
        assert (await desk.order("late", "k", "hot")).status == 409
        await settled(desk, "hot")
        first = orders[0]["order_id"]
        await desk.stock.release(EPOCH, [Claim(first, "hot", "w0", 1)], now_ms=WallClock().now_ms())

        async def sold_again() -> bool:
            answer = await desk.order("late", "k2", "hot")
            # The database's own lock was not told to give the unit back, so it must refuse what Redis reserves.
            return b"sold-out" in answer.body and (await desk.counts("hot"))[0] >= 0

        await until(sold_again)
        await desk.book.run(
            lambda: desk.book.book.cancel_unpaid([first], now_ms=desk_now() + 10**9)
        )

        async def late_gets_it() -> bool:
            return (await desk.order("late", "k3", "hot")).status == 201

        await until(late_gets_it)

    def desk_now() -> int:
        return WallClock().now_ms()

    run(embedded, scenario)


def test_who_got_a_returned_unit_from_one_worker_is_never_sold_out_at_another(
    embedded: tuple[str, str],
) -> None:
    """A unit comes back and is sold again through one worker while the other still remembers who had it before."""

    async def body() -> None:
        settings = settings_for(*embedded)
        async with open_desk(settings, ITEMS) as one, open_desk(settings) as two:
            await until(lambda: not two.app.why_not_ready())
            orders = [json.loads((await one.order(f"w{i}", "k", "hot")).body) for i in range(5)]
            await settled(one, "hot")
            for round_number, order in enumerate(orders[:2]):

                async def both_refuse_at_once(round_number: int = round_number) -> bool:
                    before = [_at_once(desk) for desk in (one, two)]
                    for desk in (one, two):
                        assert (await desk.order("late", f"a{round_number}", "hot")).status == 409
                    return all(
                        _at_once(desk) > was for desk, was in zip((one, two), before, strict=True)
                    )

                await until(both_refuse_at_once)
                cancel = partial(
                    one.book.book.cancel_unpaid,
                    [order["order_id"]],
                    now_ms=order["pay_before_ms"] + 1,
                )
                [cancelled] = await one.book.run(cancel)
                claim = Claim(cancelled.order_id, "hot", cancelled.buyer, 1)
                await one.stock.release(EPOCH, [claim], now_ms=WallClock().now_ms())
                buyer = f"second-{round_number}"
                tries = 0

                async def gets_it(buyer: str = buyer) -> bool:
                    nonlocal tries
                    tries += 1
                    return (await one.order(buyer, f"k{tries}", "hot")).status == 201

                await until(gets_it)
                replay = await two.order(buyer, f"k{tries}", "hot")
                assert replay.status == 201, replay.body

    asyncio.run(body())


def _at_once(desk: Desk) -> int:
    found = re.search(r"sold_out_at_once_total (\d+)", desk.app.metrics_text())
    assert found is not None
    return int(found.group(1))


# -- crashes and failures --------------------------------------------------------------------------------


def test_an_expired_reservation_without_an_order_goes_back_on_sale(
    engines: tuple[str, str],
) -> None:
    async def scenario(desk: Desk) -> None:
        lost = Claim(order_id_of("drop", "ann", "k1"), "plenty", "ann", 3)
        now = WallClock().now_ms()
        await desk.stock.reserve(EPOCH, [lost], now_ms=now, expires_ms=now)

        async def swept() -> bool:
            return await desk.counts("plenty") == (10_000, 0, 0)

        await until(swept)
        late = await desk.order("ann", "k1", "plenty", 3)
        assert late.status == 409
        assert b"reservation-expired" in late.body
        assert (await desk.order("ann", "k2", "plenty", 3)).status == 201

    run(engines, scenario)


def test_an_expired_reservation_with_an_order_is_confirmed(embedded: tuple[str, str]) -> None:
    """The worker died after the commit and before it told the stock store."""

    class Forgetful(RedisStockStore):
        async def confirm(self, epoch: str, claims: Any) -> None:
            if not self.forgotten:
                self.forgotten = True
                raise StoreUnavailable("the worker died here")
            await super().confirm(epoch, claims)

        forgotten = False

    async def scenario(desk: Desk) -> None:
        assert (await desk.order("ann", "k1", "plenty")).status == 201
        await settled(desk)
        assert await desk.counts("plenty") == (9_999, 0, 1)

    stock = Forgetful.from_url(embedded[0], sale="drop")
    run(embedded, scenario, ports={"stock": stock}, reservation_ttl_ms=200)


def test_units_left_by_a_crash_before_the_insert_become_the_order_of_a_retry(
    embedded: tuple[str, str],
) -> None:
    async def scenario(desk: Desk) -> None:
        lost = Claim(order_id_of("drop", "ann", "k1"), "plenty", "ann", 3)
        now = WallClock().now_ms()
        await desk.stock.reserve(EPOCH, [lost], now_ms=now, expires_ms=now + 60_000)

        answer = await desk.order("ann", "k1", "plenty", 3)

        assert answer.status == 201
        await settled(desk)
        assert await desk.counts("plenty") == (9_997, 0, 3)

    run(embedded, scenario)


def test_a_commit_message_that_gets_lost_is_sent_by_check_back(embedded: tuple[str, str]) -> None:
    class Deaf(StreamsBroker):
        async def commit(self, half: Any) -> None:
            raise StoreUnavailable("the reply was lost")

    class Hearing(StreamsBroker):
        pass

    async def scenario(desk: Desk) -> None:
        answer = await desk.order("ann", "k1", "plenty")
        assert answer.status == 201

        # The checker answers COMMIT; the broker then commits by itself, not through this sender.
        desk.broker.__class__ = Hearing

        async def announced() -> bool:
            return [m.order_id for m in await desk.messages()] == [
                json.loads(answer.body)["order_id"]
            ]

        await until(announced)

    broker = Deaf.from_url(embedded[0], sale="drop", check_after_ms=300, check_interval_ms=100)
    run(embedded, scenario, ports={"broker": broker})


def test_a_half_message_without_an_order_is_rolled_back_and_stays_so(
    embedded: tuple[str, str],
) -> None:
    async def scenario(desk: Desk) -> None:
        half = await desk.broker.send_half(
            ORDERS, "tx-dead", encode_batch(OrderBatch("tx-dead", []))
        )

        async def gone() -> bool:
            return (await desk.broker.depth(ORDERS, "payment")).halves == 0

        await until(gone)
        await desk.broker.commit(half)
        assert await desk.messages() == []

    run(embedded, scenario, check_after_ms=100)


def test_the_database_refuses_what_redis_forgot(engines: tuple[str, str]) -> None:
    """Redis comes back empty-handed: full counters again after all five units were sold."""

    async def scenario(desk: Desk) -> None:
        for i in range(5):
            assert (await desk.order(f"w{i}", "k", "hot")).status == 201
        await settled(desk, "hot")
        await desk.stock.clear()
        await desk.stock.begin_seed(EPOCH, "v1")
        await _reseed(desk)

        answers = await asyncio.gather(*[desk.order(f"l{i}", "k", "hot") for i in range(8)])

        assert {answer.status for answer in answers} <= {409, 503}
        orders = [o async for o in _aiter(desk.book.book.every_order())]
        assert sum(o.units for o in orders if o.sku == "hot" and o.state < 8) == 5

    run(engines, scenario)


async def _reseed(desk: Desk) -> None:
    from saleops.domain.stock import partition_of
    from saleops.ports.stock import SeedRow

    for item in ITEMS:
        row = SeedRow(item.sku, item.stock, item.price_fen, item.limit_per_buyer)
        await desk.stock.seed(EPOCH, partition_of(item.sku), [row])
    await desk.stock.finish_seed(EPOCH, {})


async def _aiter(rows: Any) -> Any:
    for row in rows:
        yield row


def test_a_store_on_another_epoch_pauses_the_sale_and_nothing_is_lost(
    embedded: tuple[str, str],
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.stock.clear()

        paused = await desk.order("ann", "k", "plenty")

        assert paused.status == 503
        assert b"sale-paused" in paused.body
        assert "retry-after" in dict(paused.headers)
        assert desk.app.why_not_ready()
        await desk.stock.begin_seed(EPOCH, "v1")
        await _reseed(desk)
        await until(lambda: not desk.app.why_not_ready())
        assert (await desk.order("ann", "k", "plenty")).status == 201

    run(embedded, scenario)


def test_a_broker_that_is_down_costs_an_answer_but_no_unit(embedded: tuple[str, str]) -> None:
    class Down(StreamsBroker):
        down = True

        async def send_half(self, topic: str, tx_id: str, body: bytes, *, trace: str = "") -> Any:
            if self.down:
                raise StoreUnavailable("the broker is down")
            return await super().send_half(topic, tx_id, body, trace=trace)

    async def scenario(desk: Desk) -> None:
        answer = await desk.order("ann", "k", "plenty")
        assert (answer.status, b"try-again" in answer.body) == (503, True)
        desk.broker.down = False  # type: ignore[attr-defined]

        again = await desk.order("ann", "k", "plenty")

        assert again.status == 201
        await settled(desk)
        assert await desk.counts("plenty") == (9_999, 0, 1)

    run(embedded, scenario, ports={"broker": Down.from_url(embedded[0], sale="drop")})


def test_a_full_queue_says_come_back_instead_of_growing(embedded: tuple[str, str]) -> None:
    from saleops.config.settings import Admission

    async def scenario(desk: Desk) -> None:
        answers = await asyncio.gather(*[desk.order(f"b{i}", "k", "plenty") for i in range(60)])

        statuses = Counter(answer.status for answer in answers)
        assert statuses[503] > 0
        assert statuses[201] >= 20
        assert statuses[201] + statuses[503] == 60
        busy = next(a for a in answers if a.status == 503)
        assert dict(busy.headers)["retry-after"] == "1"

    run(embedded, scenario, admission=Admission(per_buyer_rps=0, queue_max=20))


def test_stop_answers_what_is_on_its_way(embedded: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        on_way = [asyncio.create_task(desk.order(f"b{i}", "k", "plenty")) for i in range(100)]
        await asyncio.sleep(0)  # each has reached the queue
        assert desk.app.stop is not None
        await desk.app.stop()

        assert {(await task).status for task in on_way} == {201}

    run(embedded, scenario)


def test_a_buyer_who_hangs_up_changes_nothing_for_the_others(embedded: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        tasks = [asyncio.create_task(desk.order(f"b{i}", "k", "plenty")) for i in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert {a.status for a in answers if not isinstance(a, BaseException)} == {201}
        await settled(desk)
        left, _, sold = await desk.counts("plenty")
        assert (left, sold) == (9_950, 50)  # the order of one who hung up stands: a replay shows it
        replay = await desk.order("b0", "k", "plenty")
        assert (replay.status, ("idempotent-replayed", "true") in replay.headers) == (201, True)

    run(embedded, scenario)


# -- reading after writing -------------------------------------------------------------------------------


def test_with_a_replica_15_s_behind_a_buyer_sees_the_order_just_placed(
    embedded: tuple[str, str], tmp_path: Any
) -> None:
    from saleops.wiring import open_order_book

    clock = SetClock()

    async def body() -> None:
        with open_order_book(f"sqlite:///{tmp_path}/replica.db") as lagging:
            lagging.migrate()  # a replica that has heard nothing yet
            replica = BookThread(lagging)
            settings = settings_for(*embedded)
            async with open_desk(settings, ITEMS, clock=clock, replica=replica) as desk:
                first = await desk.order("ann", "k", "plenty")
                view = json.loads(first.body)
                cookie = next(v for n, v in first.headers if n == "set-cookie").split(";")[0]
                for headers in ({"cookie": cookie}, {}, {"saleops-consistency": "rubbish"}):
                    one = await desk.send("GET", f"/orders/{view['order_id']}", "ann", b"", headers)
                    many = await desk.send("GET", "/orders", "ann", b"", headers)
                    assert one.status == 200
                    assert [o["order_id"] for o in json.loads(many.body)["orders"]] == [
                        view["order_id"]
                    ]
                clock.ahead_ms = 120_000
                still = await desk.send("GET", "/orders", "ann", b"", {"cookie": cookie})
                assert len(json.loads(still.body)["orders"]) == 1
            replica.close()

    asyncio.run(body())


def test_the_cart_is_kept_per_buyer(embedded: tuple[str, str]) -> None:
    async def scenario(desk: Desk) -> None:
        cart = b'{"lines":[{"sku":"hot","units":2}]}'
        assert (await desk.send("PUT", "/cart", "ann", cart)).status == 200

        mine = await desk.send("GET", "/cart", "ann")
        assert (mine.body, dict(mine.headers)["cache-control"]) == (cart, "private, no-store")
        assert json.loads((await desk.send("GET", "/cart", "bob")).body) == {"lines": []}
        assert (await desk.send("GET", "/cart")).status == 401

    run(embedded, scenario)


def test_a_thousand_units_and_many_buyers_on_two_workers_sell_exactly_a_thousand(
    engines: tuple[str, str],
) -> None:
    async def body() -> None:
        rng = random.Random(5)
        settings = settings_for(*engines)
        rush = Item("rush", "Rush", 100, 1000)
        async with open_desk(settings, [rush]) as one, open_desk(settings) as two:
            await until(lambda: not two.app.why_not_ready())
            wishes = [(f"b{rng.randrange(900)}", f"k{rng.randrange(4)}") for _ in range(3000)]
            desks = [rng.choice((one, two)) for _ in wishes]
            answers = await asyncio.gather(
                *[d.order(b, k, "rush") for d, (b, k) in zip(desks, wishes, strict=True)]
            )
            statuses = Counter(answer.status for answer in answers)
            assert set(statuses) == {201, 409}
            orders = {json.loads(a.body)["order_id"] for a in answers if a.status == 201}
            assert len(orders) == 1000
            await settled(one, "rush")
            assert await one.counts("rush") == (0, 0, 1000)
            messages = Counter(m.order_id for m in await one.messages())
            assert set(messages) == orders
            assert set(messages.values()) == {1}

    asyncio.run(body())
