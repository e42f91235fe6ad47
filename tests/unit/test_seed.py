"""Seeding: what it decides from what both stores hold, and that cut off anywhere it goes on to the same end."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.adapters.memory_stock import MemoryStockStore
from saleops.adapters.sqlite_orders import SqliteOrderBook
from saleops.domain.items import Item
from saleops.domain.orders import Order
from saleops.domain.stock import HOT_SHARE, Claim
from saleops.errors import Refused, StoreUnavailable
from saleops.events import Advanced, Event, Finished, Started
from saleops.operations import seed as seeding
from saleops.operations.seed import SeedPlan, apply_seed, plan_from, plan_seed
from saleops.ports.orders import OrderBook, SaleRow
from saleops.ports.stock import SeedState, StaleEpoch

SALE = "drop"
ORDER = "0" * 31 + "1"
NOTHING = SeedState("", "", complete=False)


class Shelf:
    """An ItemsSource: ``count`` items of which the first is hot."""

    def __init__(self, count: int = 60, version: str = "v1") -> None:
        self.items = [
            Item(f"sku-{n:04}", f"Thing {n}", 100 + n, 64 + n, 2, 1000.0 if n == 0 else 1.0)
            for n in range(count)
        ]
        self.version = version
        self.passes = 0

    @property
    def items_count(self) -> int:
        return len(self.items)

    @property
    def units_count(self) -> int:
        return sum(item.stock for item in self.items)

    @property
    def total_popularity(self) -> float:
        return sum(item.popularity for item in self.items)

    def summary(self) -> "Shelf":
        return self

    def stream(self) -> Iterator[Item]:
        self.passes += 1
        return iter(self.items)


@pytest.fixture(params=[MemoryOrderBook, lambda: SqliteOrderBook.from_url("sqlite:///:memory:")])
def book(request: pytest.FixtureRequest) -> Iterator[OrderBook]:
    made: OrderBook = request.param()
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def stock() -> MemoryStockStore:
    return MemoryStockStore()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty items are many chunks then."""
    monkeypatch.setattr(seeding, "CHUNK", 7)
    monkeypatch.setattr(seeding, "SEND_ROWS", 3)


async def seed(shelf: Shelf, book: OrderBook, stock: Any, **options: Any) -> seeding.SeedReport:
    observe = options.pop("observe", lambda event: None)
    plan = await plan_seed(SALE, shelf, book=book, stock=stock, **options)
    return await apply_seed(plan, shelf, book=book, stock=stock, observe=observe)


async def units_in(stock: MemoryStockStore) -> dict[str, tuple[int, int]]:
    return {row.sku: (row.seeded, row.left) async for row in stock.counts()}


async def assert_all_on_sale(shelf: Shelf, book: OrderBook, stock: MemoryStockStore) -> None:
    assert await units_in(stock) == {one.sku: (one.stock, one.stock) for one in shelf.items}
    rows = {row.sku: (row.total, row.sold) for row in book.every_stock()}
    assert rows == {one.sku: (one.stock, 0) for one in shelf.items}
    assert len(book.products(limit=10_000)) == len(shelf.items)
    row, state = book.sale(SALE), await stock.seed_state()
    assert row is not None
    assert (row.complete, state.complete) == (True, True)
    assert (row.epoch, row.version) == (state.epoch, state.version) == (row.epoch, shelf.version)


def sell_one(book: OrderBook, shelf: Shelf) -> None:
    item = shelf.items[1]
    order = Order(ORDER, "ann", item.sku, 1, item.price_fen, 1, 900_000, "key")
    assert book.place("tx-1", [order]).committed


# -- what is decided -----------------------------------------------------------------------------------------


def row(*, epoch: str = "e1", version: str = "v1", complete: bool = True) -> SaleRow:
    return SaleRow(SALE, epoch, version, 60, 1, complete)


def state(*, epoch: str = "e1", version: str = "v1", complete: bool = True) -> SeedState:
    return SeedState(epoch, version, complete)


def decide(
    there: SaleRow | None, held: SeedState, *, orders: bool = False, replace: str = ""
) -> SeedPlan:
    return plan_from(
        SALE,
        Shelf(),
        row=there,
        state=held,
        orders_exist=lambda: orders,
        replace=replace,
        new_epoch=lambda: "new",
    )


@pytest.mark.parametrize(
    ("there", "held", "action", "epoch"),
    [
        (None, NOTHING, "seed", "new"),
        (row(), state(), "nothing", "e1"),
        (row(complete=False), NOTHING, "resume", "e1"),
        (row(complete=False), state(complete=False), "resume", "e1"),
        (row(complete=False), state(), "resume", "e1"),
        (row(), NOTHING, "resume", "e1"),
        (row(), state(complete=False), "resume", "e1"),
    ],
)
def test_what_both_stores_hold_decides(
    there: SaleRow | None, held: SeedState, action: str, epoch: str
) -> None:
    plan = decide(there, held)
    assert (plan.action, plan.epoch, plan.replaces_epoch) == (action, epoch, "")


@pytest.mark.parametrize(
    ("there", "held", "why"),
    [
        (row(version="v0"), state(version="v0"), "live with other items"),
        (row(version="v0"), NOTHING, "live with other items"),
        (row(), state(version="v0"), "live with other items"),
        (row(version="v0", complete=False), NOTHING, "live with other items"),
        (None, state(), "the stock store holds epoch e1, the database no sale"),
        (row(epoch="e2"), state(), "the stock store holds epoch e1, the database e2"),
    ],
)
def test_what_does_not_belong_together_is_refused_and_the_hint_names_the_epoch(
    there: SaleRow | None, held: SeedState, why: str
) -> None:
    with pytest.raises(Refused, match=why) as caught:
        decide(there, held)
    live = there.epoch if there else held.epoch
    assert f"--replace {live}" in (caught.value.hint or "")
    assert "nothing was changed" in caught.value.message


@pytest.mark.parametrize(
    ("there", "held"),
    [
        (row(), NOTHING),
        (row(), state(complete=False)),
        (row(complete=False), NOTHING),
        (row(complete=False), state(complete=False)),
    ],
)
def test_counters_lost_after_the_first_order_are_never_filled_again(
    there: SaleRow, held: SeedState
) -> None:
    with pytest.raises(Refused, match="has orders already") as caught:
        decide(there, held, orders=True)
    assert "reconcile" in (caught.value.hint or "")


def test_orders_do_not_stop_a_seeding_that_lacks_only_its_last_word() -> None:
    assert decide(row(complete=False), state(), orders=True).action == "resume"


@pytest.mark.parametrize(
    ("there", "held", "token"),
    [
        (row(), state(), "e1"),
        (row(version="v0"), state(version="v0"), "e1"),
        (row(), NOTHING, "e1"),
        (None, state(), "e1"),
        (row(epoch="e2"), state(), "e1"),
        (row(epoch="e2"), state(), "e2"),
        (row(complete=False), state(complete=False), "e1"),
    ],
)
def test_the_epoch_of_what_is_there_replaces_it(
    there: SaleRow | None, held: SeedState, token: str
) -> None:
    plan = decide(there, held, replace=token, orders=True)
    assert (plan.action, plan.epoch) == ("replace", "new")
    assert plan.replaces_epoch == (there.epoch if there else held.epoch)


@pytest.mark.parametrize(
    ("there", "held"),
    [
        (row(), state()),
        (row(version="v0"), NOTHING),
        (row(version="v0", complete=False), NOTHING),
        (row(complete=False), state(epoch="e2")),
        (None, state()),
    ],
)
def test_another_epoch_replaces_nothing(there: SaleRow | None, held: SeedState) -> None:
    with pytest.raises(Refused, match="is not the epoch of what is there"):
        decide(there, held, replace="typo")


@pytest.mark.parametrize(
    ("there", "held", "action"),
    [
        (None, state(complete=False), "replace"),
        (row(complete=False), NOTHING, "resume"),
        (row(complete=False), state(complete=False), "resume"),
    ],
)
def test_a_replace_that_was_cut_off_goes_on_with_the_same_command(
    there: SaleRow | None, held: SeedState, action: str
) -> None:
    assert decide(there, held, replace="the-one-dropped").action == action


def test_an_epoch_of_another_sale_does_not_put_this_one_on_sale() -> None:
    with pytest.raises(Refused, match="no epoch another-s to drop; nothing was changed"):
        decide(None, NOTHING, replace="another-s")


# -- what is done --------------------------------------------------------------------------------------------


def test_every_unit_is_on_sale_once_in_both_stores(
    book: OrderBook, stock: MemoryStockStore
) -> None:
    async def scenario() -> None:
        shelf, heard = Shelf(), list[Event]()
        report = await seed(shelf, book, stock, observe=heard.append)

        await assert_all_on_sale(shelf, book, stock)
        assert report.changed
        assert report.new_rows == 60
        assert report.new_counters == 59 + report.hot_skus["sku-0000"]
        assert book.hot_skus() == report.hot_skus == {"sku-0000": 4}
        assert heard[0] == Started("seed", 60, "SKUs")
        assert [one.done for one in heard if isinstance(one, Advanced)][-1] == 60
        assert isinstance(heard[-1], Finished)
        assert 1000 / shelf.total_popularity > HOT_SHARE

    asyncio.run(scenario())


def test_a_second_run_reads_and_writes_nothing_more(
    book: OrderBook, stock: MemoryStockStore
) -> None:
    async def scenario() -> None:
        shelf = Shelf()
        first = await seed(shelf, book, stock)
        sell_one(book, shelf)
        second = await seed(shelf, book, stock)

        assert (second.changed, second.epoch) == (False, first.epoch)
        assert shelf.passes == 1
        assert next(book.every_order()).order_id == ORDER

    asyncio.run(scenario())


def test_planning_changes_nothing(book: OrderBook, stock: MemoryStockStore) -> None:
    async def scenario() -> None:
        await plan_seed(SALE, Shelf(), book=book, stock=stock)
        assert book.sale(SALE) is None
        assert await stock.seed_state() == NOTHING

    asyncio.run(scenario())


def test_replacing_drops_counters_and_orders(book: OrderBook, stock: MemoryStockStore) -> None:
    async def scenario() -> None:
        old, new = Shelf(), Shelf(12, version="v2")
        first = await seed(old, book, stock)
        sell_one(book, old)
        with pytest.raises(Refused):
            await seed(new, book, stock)

        second = await seed(new, book, stock, replace=first.epoch)

        assert second.epoch != first.epoch
        assert list(book.every_order()) == []
        await assert_all_on_sale(new, book, stock)

    asyncio.run(scenario())


def test_another_version_that_is_refused_touches_nothing(
    book: OrderBook, stock: MemoryStockStore
) -> None:
    async def scenario() -> None:
        shelf = Shelf()
        await seed(shelf, book, stock)
        with pytest.raises(Refused):
            await seed(Shelf(80, version="v2"), book, stock)
        await assert_all_on_sale(shelf, book, stock)

    asyncio.run(scenario())


def test_a_store_that_lost_its_counters_is_not_filled_again_once_there_are_orders(
    book: OrderBook,
) -> None:
    async def scenario() -> None:
        shelf = Shelf()
        await seed(shelf, book, MemoryStockStore())
        sell_one(book, shelf)
        empty = MemoryStockStore()
        with pytest.raises(Refused, match="has lost the counters"):
            await seed(shelf, book, empty)
        assert await units_in(empty) == {}

    asyncio.run(scenario())


def test_a_store_that_lost_its_counters_before_the_first_order_gets_them_back(
    book: OrderBook,
) -> None:
    async def scenario() -> None:
        shelf, empty = Shelf(), MemoryStockStore()
        first = await seed(shelf, book, MemoryStockStore())
        second = await seed(shelf, book, empty)
        assert second.epoch == first.epoch
        await assert_all_on_sale(shelf, book, empty)

    asyncio.run(scenario())


def test_a_store_restored_in_part_can_be_replaced_by_the_database_s_epoch(
    book: OrderBook, stock: MemoryStockStore
) -> None:
    async def scenario() -> None:
        shelf = Shelf()
        first = await seed(shelf, book, stock)
        torn = Torn(stock)
        with pytest.raises(StaleEpoch):
            await plan_seed(SALE, shelf, book=book, stock=torn)  # type: ignore[arg-type]
        await seed(shelf, book, torn, replace=first.epoch)
        await assert_all_on_sale(shelf, book, stock)

    asyncio.run(scenario())


class Torn:
    """A stock store whose partitions disagree until it is cleared."""

    def __init__(self, stock: MemoryStockStore) -> None:
        self._stock = stock
        self._torn = True

    async def seed_state(self) -> SeedState:
        if self._torn:
            raise StaleEpoch("the partitions disagree")
        return await self._stock.seed_state()

    async def clear(self) -> None:
        self._torn = False
        await self._stock.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)


def test_two_seedings_at_the_same_moment_make_one_sale(
    book: OrderBook, stock: MemoryStockStore
) -> None:
    async def scenario() -> None:
        shelf = Shelf()
        plans = [await plan_seed(SALE, shelf, book=book, stock=stock) for _ in range(2)]
        book.begin_sale(SaleRow(SALE, plans[0].epoch, "v1", 60, shelf.units_count, False))
        with pytest.raises(Refused, match="at the same moment"):
            await apply_seed(plans[1], shelf, book=book, stock=stock)
        assert await stock.seed_state() == NOTHING
        await apply_seed(plans[0], shelf, book=book, stock=stock)
        await assert_all_on_sale(shelf, book, stock)

    asyncio.run(scenario())


# -- cut off anywhere ----------------------------------------------------------------------------------------


class Cut(BaseException):
    """The process ends here."""


class Fuse:
    """Counts the calls of both stores and ends the process at call ``at``: before the call acts, or after."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at = at
        self.after = after
        self.calls = 0

    def around(self, thing: Any, names: set[str]) -> Any:
        fuse = self

        class Wired:
            def __getattr__(self, name: str) -> Any:
                method = getattr(thing, name)
                return fuse._wire(method) if name in names else method

        return Wired()

    def _wire(self, method: Callable[..., Any]) -> Callable[..., Any]:
        if asyncio.iscoroutinefunction(method):

            async def awaited(*args: Any) -> Any:
                self._burn(after=False)
                result = await method(*args)
                self._burn(after=True)
                return result

            return awaited

        def called(*args: Any) -> Any:
            self._burn(after=False)
            result = method(*args)
            self._burn(after=True)
            return result

        return called

    def _burn(self, *, after: bool) -> None:
        if not after:
            self.calls += 1
        if self.calls >= self.at and after is self.after:
            raise Cut


STOCK_WRITES = {"begin_seed", "seed", "finish_seed", "clear"}
BOOK_WRITES = {"begin_sale", "add_items", "finish_sale", "clear_sale"}


def cut_at(
    number: int, shelf: Shelf, book: OrderBook, stock: Any, *, after: bool, replace: str = ""
) -> bool:
    """Seed until call ``number``. Returns whether it came that far."""
    fuse = Fuse(number, after=after)
    broken_book = fuse.around(book, BOOK_WRITES)
    broken_stock = fuse.around(stock, STOCK_WRITES)
    try:
        asyncio.run(seed(shelf, broken_book, broken_stock, replace=replace))
    except Cut:
        return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_off_at_any_call_the_same_command_goes_on_to_the_same_end(after: bool) -> None:
    number = 0
    while True:
        number += 1
        book, stock, shelf = MemoryOrderBook(), MemoryStockStore(), Shelf(40)
        if not cut_at(number, shelf, book, stock, after=after):
            break
        begun = book.sale(SALE)

        report = asyncio.run(seed(shelf, book, stock))

        asyncio.run(assert_all_on_sale(shelf, book, stock))
        assert begun is None or report.epoch == begun.epoch, "it goes on under the same epoch"
    assert number > 20, "every call was tried"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_replace_cut_off_at_any_call_goes_on_with_the_same_command(after: bool) -> None:
    number = 0
    while True:
        number += 1
        book, stock = MemoryOrderBook(), MemoryStockStore()
        old, new = Shelf(10), Shelf(30, version="v2")
        epoch = asyncio.run(seed(old, book, stock)).epoch
        sell_one(book, old)
        if not cut_at(number, new, book, stock, after=after, replace=epoch):
            break

        # Only when the very last call had acted is there nothing left for the token to do.
        try:
            asyncio.run(seed(new, book, stock, replace=epoch))
        except Refused:
            assert after
            assert asyncio.run(seed(new, book, stock)).changed is False

        asyncio.run(assert_all_on_sale(new, book, stock))
        assert list(book.every_order()) == []
    assert number > 15


def test_a_store_that_fails_ends_it_with_its_error_and_no_noise(
    book: OrderBook, stock: MemoryStockStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Down:
        async def seed(self, *args: Any) -> int:
            await asyncio.sleep(0)
            raise StoreUnavailable("Redis went away")

        def __getattr__(self, name: str) -> Any:
            return getattr(stock, name)

    with pytest.raises(StoreUnavailable, match="went away"):
        asyncio.run(seed(Shelf(), book, Down()))
    assert caplog.records == []  # no "Task exception was never retrieved"

    asyncio.run(seed(Shelf(), book, stock))
    asyncio.run(assert_all_on_sale(Shelf(), book, stock))


def test_units_sold_while_only_the_last_word_was_missing_stay_sold(
    stock: MemoryStockStore,
) -> None:
    """The counters opened and a buyer came before the database was told that the seeding is complete."""
    book, shelf = MemoryOrderBook(), Shelf()

    class NoLastWord:
        def finish_sale(self, name: str) -> None:
            raise Cut

        def __getattr__(self, name: str) -> Any:
            return getattr(book, name)

    async def scenario() -> None:
        with pytest.raises(Cut):
            await seed(shelf, NoLastWord(), stock)  # type: ignore[arg-type]
        item, epoch = shelf.items[1], (await stock.seed_state()).epoch
        claim = Claim(ORDER, item.sku, "ann", 1)
        await stock.reserve(epoch, [claim], now_ms=1, expires_ms=60_000)
        sell_one(book, shelf)
        await stock.confirm(epoch, [claim])

        report = await seed(shelf, book, stock)

        assert (report.new_counters, report.new_rows) == (0, 0)
        assert (await units_in(stock))[item.sku] == (item.stock, item.stock - 1)

    asyncio.run(scenario())


def test_no_items_is_a_sale_of_nothing(book: OrderBook, stock: MemoryStockStore) -> None:
    async def scenario() -> None:
        report = await seed(Shelf(0), book, stock)
        assert (report.changed, report.items_count) == (True, 0)
        assert (await stock.seed_state()).complete

    asyncio.run(scenario())
