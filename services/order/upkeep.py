"""What an order worker does beside taking orders.

- learns the sale's epoch and whether the stock store can be believed (believing.py); while it cannot, selling is paused and
  one of the workers puts the store right;
- sweeps expired reservations: a tombstone in the database decides between giving back and confirming;
- refreshes the sold-out board, finishes loans between shards that a crash cut in two;
- answers the broker's check-backs from the tx table, and sends messages that got lost again (announcing.py).

Every worker does all of it: each act is idempotent, so two sweepers cost a little work and no harm.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

from saleops.domain.orders import OrderState, TxState
from saleops.domain.stock import Claim
from saleops.errors import SaleopsError, StoreUnavailable
from saleops.ports.broker import Half, Resolution
from saleops.ports.clock import Clock
from saleops.ports.stock import StaleEpoch, StockStore
from saleops.services.book import BookThread
from saleops.services.order.believing import Believer, Repair
from saleops.services.order.soldout import SoldOutBoard

log = logging.getLogger("saleops.order")

EPOCH_EVERY_S = 1.0
SWEEP_EVERY_S = 1.0
BOARD_EVERY_S = 0.5
LOANS_EVERY_S = 5.0
ANNOUNCE_EVERY_S = 15.0
SWEEP_BATCH = 500


class Upkeep:
    """``epoch`` is the epoch to sell under, "" while there is none; ``why_paused`` says why for people."""

    def __init__(
        self,
        sale: str,
        *,
        stock: StockStore,
        book: BookThread,
        clock: Clock,
        board: SoldOutBoard,
        repair: Repair,
        announce: Callable[[], Awaitable[None]],
        rng: random.Random | None = None,
    ) -> None:
        self._sale = sale
        self._stock = stock
        self._book = book
        self._clock = clock
        self._board = board
        self._believer = Believer(sale, stock=stock, book=book, clock=clock, repair=repair)
        self._announce = announce
        self._rng = rng or random.Random()
        self._tasks: list[asyncio.Task[None]] = []
        self.epoch = ""
        self.why_paused = "starting"
        self.swept_orders = 0

    def start(self) -> None:
        every = (
            (self.learn_epoch, EPOCH_EVERY_S),
            (self.sweep, SWEEP_EVERY_S),
            (self.refresh_board, BOARD_EVERY_S),
            (self.settle_loans, LOANS_EVERY_S),
            (self.announce_lost, ANNOUNCE_EVERY_S),
        )
        self._tasks = [
            asyncio.create_task(self._repeat(act, seconds), name=f"upkeep-{act.__name__}")
            for act, seconds in every
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, act: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Act, wait, act again, whatever happens; a little jitter keeps the workers from marching in step."""
        while True:
            try:
                await act()
            except StaleEpoch as error:
                self.pause(error.message)
            except SaleopsError as error:
                log.warning("%s", error.message)
            except Exception:
                log.exception("upkeep failed; it goes on")
            await self._clock.sleep(seconds * self._rng.uniform(0.9, 1.1))

    def pause(self, why: str = "the stock store is on another epoch") -> None:
        """Stop selling until ``learn_epoch`` finds the database and the stock store in agreement again."""
        if self.epoch:
            log.error("selling is paused: %s", why)
        self.epoch, self.why_paused = "", why
        self._board.clear()

    async def learn_epoch(self) -> None:
        """Sell only while the database and a stock store that can be believed hold the same, complete sale."""
        belief = await self._believer.look(self.pause)
        if not belief.epoch:
            return self.pause(belief.why)
        if self.epoch != belief.epoch:
            log.info("selling %s under epoch %s", self._sale, belief.epoch)
            self._board.clear()
            self.epoch, self.why_paused = belief.epoch, ""
        return None

    async def announce_lost(self) -> None:
        await self._announce()

    async def sweep(self) -> None:
        """End expired reservations. The database's primary key decides who wins: the tombstone or a late order."""
        epoch = self.epoch
        while epoch:
            now_ms = self._clock.now_ms()
            claims = await self._stock.expired(epoch, now_ms=now_ms, limit=SWEEP_BATCH)
            if not claims:
                return
            ids = [claim.order_id for claim in claims]
            real = await self._book.run(partial(self._book.book.fence, ids, now_ms=now_ms))
            sold: list[Claim] = []
            lapsed: list[Claim] = []
            for claim in claims:
                order = real.get(claim.order_id)
                gone = order is None or order.state in (
                    OrderState.TOMBSTONE,
                    OrderState.CANCELLED,
                )
                (lapsed if gone else sold).append(claim)
            await self._stock.confirm(epoch, sold)
            await self._stock.release(epoch, lapsed, now_ms=now_ms)
            self.swept_orders += len(claims)
            if len(claims) < SWEEP_BATCH:
                return

    async def refresh_board(self) -> None:
        """Ask about the SKUs on the board; read the holders of those that are new on it or gave units back."""
        skus = list(self._board.entries)
        if not skus or not self.epoch:
            return
        asked_s = time.monotonic()
        now = dict(zip(skus, await self._stock.units_left(self.epoch, skus), strict=True))
        unread = self._board.outdated(now, asked_s=asked_s)
        for sku, buyers in zip(unread, await self._stock.buyers(unread), strict=True):
            self._board.remember(sku, buyers, now[sku].releases)

    async def settle_loans(self) -> None:
        if self.epoch:
            finished = await self._stock.settle_transfers(
                self.epoch, older_than_ms=5_000, now_ms=self._clock.now_ms()
            )
            if finished:
                log.info("%d loans between shards were finished", finished)

    async def check_back(self, half: Half) -> Resolution:
        """The broker asks about a silent half message. Not found means fenced first, rolled back after."""
        try:
            state = await self._book.run(partial(self._book.book.tx_state, half.tx_id, fence=True))
        except StoreUnavailable as error:
            log.warning("check-back of %s has to wait: %s", half.tx_id, error.message)
            return Resolution.UNKNOWN
        return Resolution.ROLLBACK if state is TxState.ABORTED else Resolution.COMMIT
