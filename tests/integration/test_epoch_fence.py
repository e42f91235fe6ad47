"""The stock store loses something in the middle of a sale: it is noticed, the sale pauses, the store is put right from the
orders database, and the sale goes on; nothing is oversold and nothing is stranded."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from orderdesk import SALE, Desk, open_desk, settings_for, until
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.items import Item
from saleops.domain.orders import LIVE_STATES, order_id_of
from saleops.errors import Refused
from saleops.operations import rebuild as rebuilding
from saleops.operations.rebuild import own_thread, plan_rebuild, rebuild
from saleops.ports.orders import OrderBook
from saleops.services.book import own_book
from saleops.services.order import believing
from saleops.wiring import open_order_book
from servers import RedisServer, ValkeyServer

RUSH = Item("rush", "Rush", 100, 900)
LIMITED = Item("limited", "Limited", 100, 500, limit_per_buyer=2)
ITEMS = [RUSH, LIMITED]


@pytest.fixture(params=["valkey+sqlite", "redis+mysql"])
def engines(request: pytest.FixtureRequest) -> Iterator[tuple[RedisServer, str]]:
    """A Redis of the test's own, to be killed, and an orders database."""
    store, database = request.param.split("+")
    server = ValkeyServer() if store == "valkey" else RedisServer()
    try:
        server.start()
        yield server, request.getfixturevalue(f"{database}_url")
    finally:
        server.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are about other commands' good manners, shortened."""
    monkeypatch.setattr(believing, "SETTLE_MS", 500)
    monkeypatch.setattr(believing, "TAKE_OVER_MS", 1_500)
    monkeypatch.setattr(rebuilding, "BEAT_S", 0.1)


@asynccontextmanager
async def two_desks(
    server: RedisServer, database: str, **changes: Any
) -> AsyncIterator[list[Desk]]:
    """Two order workers on one sale. Their messages live elsewhere: a broker that loses some is another test's matter."""
    broker = ValkeyServer()
    broker.start()
    settings = settings_for(server.url, database, broker_url=broker.url, **changes)
    own = partial(own_book, database)
    try:
        async with (
            open_desk(settings, ITEMS, open_books=own) as one,
            open_desk(settings, open_books=own) as two,
        ):
            await until(lambda: not two.app.why_not_ready())
            yield [one, two]
    finally:
        broker.close()


async def order_all(desks: list[Desk], wishes: list[tuple[str, str, str]]) -> Counter[int]:
    """Every (buyer, key, sku) once; how many heard what."""
    answers = await asyncio.gather(*[desks[n % 2].order(*wish) for n, wish in enumerate(wishes)])
    return Counter(answer.status for answer in answers)


async def order_all_patiently(
    desks: list[Desk], wishes: list[tuple[str, str, str]]
) -> Counter[int]:
    """As ``order_all``, by buyers who come back when told to: a desk may yet have to notice the last rebuild."""
    heard = Counter[int]()
    for _ in range(20):
        answers = await asyncio.gather(*[desks[n % 2].order(*w) for n, w in enumerate(wishes)])
        told = list(zip(wishes, (answer.status for answer in answers), strict=True))
        heard += Counter(status for _, status in told if status != 503)
        wishes = [wish for wish, status in told if status == 503]
        if not wishes:
            break
        await asyncio.sleep(0.5)  # what Retry-After asks for, and no event tells a buyer
    return heard


def wishes(name: str, count: int, sku: str = "rush") -> list[tuple[str, str, str]]:
    return [(f"{name}-{number}", "k", sku) for number in range(count)]


async def selling(desks: list[Desk]) -> None:
    await until(lambda: not any(desk.app.why_not_ready() for desk in desks), within_s=25)


async def paused(desks: list[Desk]) -> None:
    await until(lambda: all(desk.app.why_not_ready() for desk in desks), within_s=10)


async def in_the_book(desk: Desk) -> Counter[str]:
    orders = await desk.book.run(lambda: list(desk.book.book.every_order()))
    units: Counter[str] = Counter()
    for order in orders:
        if order.state in LIVE_STATES:
            units[order.sku] += order.units
    return units


async def assert_balanced(desk: Desk, sku: str = "rush") -> None:
    """What is sold in the store is what lives in the database, and what the guard counted."""

    async def settled() -> bool:
        return (await desk.counts(sku))[1] == 0

    await until(settled, within_s=15)
    left, _, sold = await desk.counts(sku)
    assert sold == (await in_the_book(desk))[sku]
    assert left >= 0
    rows = await desk.book.run(lambda: list(desk.book.book.every_stock()))
    assert {row.sku: row.sold for row in rows}[sku] == sold


async def journal(desk: Desk) -> list[str]:
    entries = await desk.book.run(partial(desk.book.book.journal, limit=9))
    return [entry.text.split('"action": "')[1].split('"')[0] for entry in entries]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type] # each is a coroutine function


def backup(server: RedisServer, folder: Path) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            pass
    shutil.copytree(server.folder / "appendonlydir", folder / "old")


def restore(server: RedisServer, folder: Path) -> None:
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(folder / "old", server.folder / "appendonlydir")


def test_a_store_that_lost_its_last_200_orders_is_rebuilt_and_nothing_is_oversold(
    engines: tuple[RedisServer, str], tmp_path: Path
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            assert await order_all(desks, wishes("early", 300)) == {201: 300}
            await assert_balanced(desks[0])
            await asyncio.to_thread(backup, server, tmp_path)
            assert await order_all(desks, wishes("lost", 200)) == {201: 200}
            await assert_balanced(
                desks[0]
            )  # a confirm sent after the crash would bring its orders back
            server.kill()
            restore(server, tmp_path)
            server.start()
            # 900 units, 500 sold: the old copy says that 600 are left.
            heard = Counter[int]()
            for round_number in range(40):
                heard += await order_all(desks, wishes(f"late-{round_number}", 40))
                await asyncio.sleep(0.1)
                if (await in_the_book(desks[0]))["rush"] == 900:
                    break
            await selling(desks)
            assert heard[201] == 400
            assert (await in_the_book(desks[0]))["rush"] == 900
            await assert_balanced(desks[0])
            assert await desks[0].counts("rush") == (0, 0, 900)
            assert await journal(desks[0]) == ["rebuilt"]
            messages = Counter(line.order_id for line in await desks[0].messages())
            assert len(messages) == 900
            replay = await desks[1].order("lost-7", "k", "rush")
            assert (replay.status, ("idempotent-replayed", "true") in replay.headers) == (201, True)

    run(scenario)


def test_a_restart_that_lost_nothing_is_verified_and_keeps_reservations(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database, reservation_ttl_ms=60_000) as desks:
            assert await order_all(desks, wishes("a", 100)) == {201: 100}
            await assert_balanced(desks[0])
            row = await desks[0].book.run(desks[0].book.book.sale, SALE)
            held = [("held", "k", "rush")]
            claim = _claim(*held[0])
            await desks[0].stock.reserve(row.epoch, [claim], now_ms=0, expires_ms=2**52)
            await asyncio.sleep(1.2)  # appendfsync everysec
            server.kill()
            server.start()

            async def looked_over() -> bool:
                return await journal(desks[0]) != []

            await until(looked_over, within_s=15)
            await selling(desks)
            assert await journal(desks[0]) == ["verified"]
            assert await desks[0].counts("rush") == (799, 1, 100)
            assert await order_all_patiently(desks, held) == {201: 1}
            await assert_balanced(desks[0])

    run(scenario)


def _claim(buyer: str, key: str, sku: str) -> Any:
    from saleops.domain.stock import Claim

    return Claim(order_id_of(SALE, buyer, key), sku, buyer, 1)


def test_an_emptied_store_is_filled_from_the_orders_under_load(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            heard = Counter[int]()
            for round_number in range(60):
                heard += await order_all(desks, wishes(f"r{round_number}", 30))
                if round_number == 5:
                    with redis.Redis.from_url(server.url) as client:
                        client.flushall()
                if heard[201] == 900:
                    break
                await asyncio.sleep(0.1)
            assert set(heard) <= {201, 409, 503}
            assert heard[503] > 0
            assert heard[201] == 900
            await assert_balanced(desks[0])
            assert await journal(desks[0]) == ["rebuilt"]

    run(scenario)


def test_a_request_that_was_paused_is_placed_when_it_is_repeated_and_limits_still_hold(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            for key in ("k1", "k2"):
                assert (await desks[0].order("ann", key, "limited")).status == 201
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
            answer = await desks[0].order("bob", "k1", "limited")
            assert answer.status == 503
            await selling(desks)
            assert (await desks[0].order("bob", "k1", "limited")).status == 201
            assert b"over-limit" in (await desks[1].order("ann", "k3", "limited")).body
            again = await desks[1].order("ann", "k1", "limited")
            assert ("idempotent-replayed", "true") in again.headers
            await assert_balanced(desks[0], "limited")

    run(scenario)


def test_of_two_workers_that_rebuild_at_once_one_does(engines: tuple[RedisServer, str]) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            await order_all(desks, wishes("a", 50))
            row = await desks[0].book.run(desks[0].book.book.sale, SALE)
            stores = [RedisStockStore.from_url(server.url, sale=SALE) for _ in range(3)]

            async def one(stock: RedisStockStore) -> Any:
                async with own_book(database) as books:
                    return await rebuild(
                        SALE,
                        books=books,
                        stock=stock,
                        reason="a test",
                        who="test",
                        old_epoch=row.epoch,
                        verify=False,
                    )

            reports = await asyncio.gather(*[one(stock) for stock in stores])
            for stock in stores:
                await stock.close()
            done = [report for report in reports if report is not None]
            assert [(report.action, report.orders_count) for report in done] == [("rebuilt", 50)]
            await selling(desks)
            await assert_balanced(desks[0])

    run(scenario)


@pytest.mark.parametrize("where", ["hold", "clear", "begin_seed", "restore", "finish_seed"])
def test_a_rebuild_whose_worker_dies_is_taken_over(
    engines: tuple[RedisServer, str], where: str
) -> None:
    server, database = engines

    class Dying(RedisStockStore):
        pass

    async def die(*_: Any, **__: Any) -> Any:
        raise asyncio.CancelledError

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            await order_all(desks, wishes("a", 60))
            row = await desks[0].book.run(desks[0].book.book.sale, SALE)
            stock = Dying.from_url(server.url, sale=SALE)
            setattr(stock, where, die)
            async with own_book(database) as books:
                dying = asyncio.create_task(
                    rebuild(
                        SALE,
                        books=books,
                        stock=stock,
                        reason="a test",
                        who="test",
                        old_epoch=row.epoch,
                        verify=where == "hold",
                    )
                )
                await asyncio.wait([dying])
                assert dying.cancelled()
            await stock.close()
            await paused(desks)
            await selling(desks)
            assert await order_all_patiently(desks, wishes("b", 40)) == {201: 40}
            await assert_balanced(desks[0])

    run(scenario)


def test_a_slow_rebuild_that_was_taken_over_changes_nothing_more(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines
    gate = asyncio.Event()

    class Slow(RedisStockStore):
        async def hold(self, epoch: str, *, new_epoch: str) -> bool:
            await gate.wait()
            return False

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            await order_all(desks, wishes("a", 60))
            stock = Slow.from_url(server.url, sale=SALE)
            async with own_book(database) as books:
                slow = asyncio.create_task(
                    rebuild(SALE, books=books, stock=stock, reason="a test", who="test")
                )
                await paused(desks)
                await selling(desks)
                gate.set()
                with pytest.raises(Refused, match="took over"):
                    await slow
            await stock.close()
            assert await order_all_patiently(desks, wishes("b", 40)) == {201: 40}
            await assert_balanced(desks[0])

    run(scenario)


def test_a_commit_under_way_while_a_rebuild_begins_is_in_it_or_hears_paused(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            stock = RedisStockStore.from_url(server.url, sale=SALE)
            heard = Counter[int]()
            again: list[tuple[str, str, str]] = []
            for round_number in range(4):
                batch = wishes(f"r{round_number}", 100)
                ordering = asyncio.gather(
                    *[desks[n % 2].order(*wish) for n, wish in enumerate(batch)]
                )
                async with own_book(database) as books:
                    report, answers = await asyncio.gather(
                        rebuild(
                            SALE, books=books, stock=stock, reason="a test", who="t", verify=False
                        ),
                        ordering,
                    )
                assert report is not None
                statuses = [answer.status for answer in answers]
                heard += Counter(statuses)
                again += [w for w, status in zip(batch, statuses, strict=True) if status == 503]
                await selling(desks)
            await stock.close()
            assert set(heard) <= {201, 503}
            assert (await in_the_book(desks[0]))["rush"] == heard[201]
            heard_again = await order_all_patiently(desks, again)
            assert heard_again == ({201: len(again)} if again else {})
            await assert_balanced(desks[0])
            assert (await in_the_book(desks[0]))["rush"] == 400

    run(scenario)


def test_an_order_that_the_guard_refused_hears_sold_out_again(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            # Somebody sold units elsewhere: the database has fewer than the store.
            await desks[0].book.run(_take_all, desks[0].book.book)
            for _ in range(2):
                answer = await desks[0].order("ann", "k", "rush")
                assert (answer.status, b"sold-out" in answer.body) == (409, True)
                await asyncio.sleep(0.05)

    run(scenario)


def _take_all(book: OrderBook) -> None:
    book._transact(  # type: ignore[attr-defined] # what no method of the port can do
        "selling elsewhere", lambda sql: sql.run("UPDATE stock SET sold = total WHERE sku = 'rush'")
    )


def test_a_plan_says_what_would_be_put_back_and_changes_nothing(
    engines: tuple[RedisServer, str],
) -> None:
    server, database = engines

    async def scenario() -> None:
        async with two_desks(server, database) as desks:
            await order_all(desks, wishes("a", 30))
            with open_order_book(database) as book, own_thread(book) as books:
                plan = await plan_rebuild(SALE, books=books, stock=desks[0].stock)
                assert (plan.skus_count, plan.live_orders_count, plan.units_sold) == (2, 30, 30)
                assert plan.store == f"epoch {plan.epoch}"
                with pytest.raises(Refused, match="not in the orders database"):
                    await plan_rebuild("other", books=books, stock=desks[0].stock)
            assert not desks[0].app.why_not_ready()

    run(scenario)
