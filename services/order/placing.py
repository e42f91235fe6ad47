"""Group commit: orders that arrive together share one reservation round, one half message and one transaction.

Three stages, each busy with its own batch while requests for the next one gather:

    gather -> A: reserve (Lua), half message -> B: INSERT + guarded UPDATE + COMMIT -> C: commit message, answer
                                                                                    -> D: confirm (Lua), later

A lone request finds every stage idle and passes at once; under load a batch grows while the one before it is in the
database. What a crash can leave behind at each arrow, and who mends it: a reservation without an order (the expiry
sweep, fenced by a tombstone), a half message (check-back, answered from the tx table), an order whose message was not
committed (check-back), a sold unit still counted as reserved (the expiry sweep confirms it).
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from saleops.config.settings import ServiceSettings
from saleops.domain.messages import ORDERS, announcement, encode_batch
from saleops.domain.orders import Order, OrderState, TxState
from saleops.domain.stock import Claim, Verdict
from saleops.domain.trace import child_of, new_trace
from saleops.errors import StoreUnavailable
from saleops.ports.broker import Broker, Half
from saleops.ports.clock import Clock
from saleops.ports.orders import UnknownOutcome
from saleops.ports.stock import StaleEpoch, StockStore
from saleops.services.book import BookThread
from saleops.services.order.soldout import SoldOutBoard
from saleops.services.order.wish import Placed, Result, Waiting, Wish, end_all

log = logging.getLogger("saleops.order")

CONFIRM_AFTER_S = 0.02


class Batch:
    """Orders with held units, on their way under one tx_id."""

    __slots__ = ("epoch", "half", "members", "tx_id")

    def __init__(self, tx_id: str, members: list[Waiting], half: Half, epoch: str) -> None:
        self.tx_id = tx_id
        self.members = members
        self.half = half
        self.epoch = epoch  # under which the units are held


def _trace_of(held: Sequence[Waiting]) -> str:
    """The message's own traceparent: a span of the first order that has a trace, else of a new one."""
    span_id = secrets.token_hex(8)
    for waiting in held:
        if waiting.wish.trace:
            return child_of(waiting.wish.trace, span_id)
    return new_trace(secrets.token_hex(16), span_id)


class GroupCommit:
    """Places orders. ``start`` and ``stop`` bracket its life; ``place`` may be called from many coroutines."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        stock: StockStore,
        book: BookThread,
        broker: Broker,
        clock: Clock,
        board: SoldOutBoard,
        epoch: Callable[[], str],
        on_stale: Callable[[str], None],
    ) -> None:
        """``epoch`` gives the epoch we sell under ("" while paused); ``on_stale`` hears that it is over, and why."""
        self._settings = settings
        self._stock = stock
        self._book = book
        self._broker = broker
        self._clock = clock
        self._board = board
        self._epoch = epoch
        self._on_stale = on_stale
        self._gathering: list[Waiting] = []
        self._on_way: dict[str, Waiting] = {}
        self._wake = asyncio.Event()
        self._to_commit: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)
        self._to_confirm: list[Claim] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._later: set[asyncio.Task[None]] = set()
        self.counts: dict[str, int] = {placed.value: 0 for placed in Placed}
        self.commits = 0
        self.committed_orders = 0
        self.lost_commits = 0

    # -- the caller's side ---------------------------------------------------------------------------------

    async def place(self, wish: Wish) -> Result:
        """Order, durably. The answer is CREATED only after the transaction is on disk and its message committed."""
        twin = self._on_way.get(wish.order_id)
        if twin is not None:
            return await self._follow(twin, wish)
        if len(self._on_way) >= self._settings.admission.queue_max:
            return self._count(Result(Placed.BUSY))
        waiting = Waiting(wish, self._loop.create_future(), self._on_way)
        self._gathering.append(waiting)
        self._wake.set()
        return self._count(await waiting.future)

    async def _follow(self, twin: Waiting, wish: Wish) -> Result:
        if (twin.wish.sku, twin.wish.units) != (wish.sku, wish.units):
            return self._count(Result(Placed.KEY_REUSED))
        try:
            result = await asyncio.shield(twin.future)
        except asyncio.CancelledError:
            if not twin.future.cancelled():
                raise
            # The first of the two hung up; its order goes on, and what became of it is in the database.
            result = Result(Placed.UNAVAILABLE)
        if result.placed is Placed.CREATED:
            result = Result(Placed.REPLAYED, result.order)
        return self._count(result)

    def _count(self, result: Result) -> Result:
        self.counts[result.placed.value] += 1
        return result

    @property
    def waiting(self) -> int:
        return len(self._on_way)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._gather(), name="order-gather"),
            asyncio.create_task(self._commit(), name="order-commit"),
        ]

    async def stop(self) -> None:
        """End after the orders on their way are answered (the caller bounds the time)."""
        while self._on_way:
            await asyncio.wait([waiting.future for waiting in self._on_way.values()], timeout=1)
            await asyncio.sleep(0)  # a future whose buyer hung up is done before its order is
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._later:
            await asyncio.wait(self._later)

    # -- stage A: units and the half message ---------------------------------------------------------------

    async def _gather(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._gathering:
                most = self._settings.batch_max
                batch, self._gathering = self._gathering[:most], self._gathering[most:]
                try:
                    await self._reserve(batch)
                except Exception:
                    log.exception("a batch of %d orders could not be reserved", len(batch))
                    end_all(batch, Placed.UNAVAILABLE)

    async def _reserve(self, batch: list[Waiting]) -> None:
        epoch, now_ms, tx_id = self._epoch(), self._clock.now_ms(), secrets.token_hex(12)
        if not epoch:
            return end_all(batch, Placed.PAUSED)
        try:
            answers = await self._stock.reserve(
                epoch,
                [waiting.wish.claim for waiting in batch],
                now_ms=now_ms,
                expires_ms=now_ms + self._settings.reservation_ttl_ms,
            )
        except StaleEpoch as error:
            self._on_stale(error.message)
            return end_all(batch, Placed.PAUSED)
        except StoreUnavailable as error:
            log.warning("%s", error.message)
            return end_all(batch, Placed.UNAVAILABLE)
        held: list[Waiting] = []
        for waiting, answer in zip(batch, answers, strict=True):
            verdict, wish = answer.verdict, waiting.wish
            if verdict == Verdict.DUPLICATE and not waiting.looked_up:
                # Most replays find their order in the database; in a batch they would make it fail and go twice.
                self._soon(self._look_up(waiting))
            elif verdict in (Verdict.RESERVED, Verdict.DUPLICATE):
                waiting.order = Order(
                    order_id=wish.order_id,
                    buyer=wish.buyer,
                    sku=wish.sku,
                    units=wish.units,
                    price_fen=answer.price_fen,
                    created_ms=now_ms,
                    due_ms=now_ms + self._settings.payment_ttl_ms,
                    idempotency_key=wish.idempotency_key,
                    payment_token=wish.payment_token,
                    tx_id=tx_id,
                )
                held.append(waiting)
            elif verdict == Verdict.SOLD_OUT:
                self._board.note(wish.sku, answer.units_left)
                waiting.end(Placed.SOLD_OUT)
            elif verdict == Verdict.OVER_LIMIT:
                waiting.end(Placed.OVER_LIMIT)
            elif verdict == Verdict.NOT_SEEDED:
                waiting.end(Placed.UNKNOWN_SKU)
            elif verdict == Verdict.MISMATCH:
                waiting.end(Placed.KEY_REUSED)
            elif verdict == Verdict.UNANSWERED:
                waiting.end(Placed.UNAVAILABLE)
            else:
                self._soon(self._look_up(waiting, released=True))
        batch_sent = await self._send_half(tx_id, held, epoch) if held else None
        if batch_sent is not None:
            await self._to_commit.put(batch_sent)
        return None

    async def _send_half(self, tx_id: str, held: list[Waiting], epoch: str) -> Batch | None:
        """Announce the orders. On failure they hear UNAVAILABLE; their units come back by expiry or by a replay."""
        try:
            traces = {waiting.wish.order_id: waiting.wish.trace for waiting in held}
            body = encode_batch(announcement(tx_id, [waiting.held for waiting in held], traces))
            half = await self._broker.send_half(ORDERS, tx_id, body, trace=_trace_of(held))
        except StoreUnavailable as error:
            log.warning("no half message: %s", error.message)
            end_all(held, Placed.UNAVAILABLE)
            return None
        return Batch(tx_id, held, half, epoch)

    async def _look_up(self, waiting: Waiting, *, released: bool = False) -> None:
        """The stock store knows this id: answer from the database, or place it if a crash left only the units."""
        try:
            found = await self._book.run(self._book.book.orders, [waiting.wish.order_id])
        except StoreUnavailable as error:
            log.warning("a replay could not be answered: %s", error.message)
            return waiting.end(Placed.UNAVAILABLE)
        order = found.get(waiting.wish.order_id)
        if order is not None and order.state != OrderState.TOMBSTONE:
            return waiting.end(*self._replay(waiting.wish, order))
        if order is not None:
            return waiting.end(Placed.EXPIRED)
        if released:
            # A reservation that lapsed left a tombstone; without one it was the database's guard that refused the order.
            return waiting.end(Placed.SOLD_OUT)
        waiting.looked_up = True
        self._gathering.append(waiting)
        self._wake.set()
        return None

    @staticmethod
    def _replay(wish: Wish, order: Order) -> tuple[Placed, Order | None]:
        if (order.sku, order.units) != (wish.sku, wish.units):
            return Placed.KEY_REUSED, None
        return Placed.REPLAYED, order

    # -- stage B and C: the transaction, the message, the answer -------------------------------------------

    async def _commit(self) -> None:
        while True:
            batch = await self._to_commit.get()
            try:
                await self._write(batch)
            except Exception:
                log.exception("a batch of %d orders could not be committed", len(batch.members))
                end_all(batch.members, Placed.UNAVAILABLE)

    async def _write(self, batch: Batch) -> None:
        """Commit a batch; whoever stands in its way is answered and taken out, the rest goes again under a new tx_id.

        Each round either commits, or takes at least one order out, or (a fenced tx_id) is bounded by ``fenced``.
        """
        fenced = 0
        alone: list[Waiting] = []
        while True:
            orders = [waiting.held for waiting in batch.members]
            try:
                outcome = await self._book.run(
                    partial(self._book.book.place, batch.tx_id, orders, epoch=batch.epoch)
                )
                committed = outcome.committed
            except UnknownOutcome:
                state = await self._ask_outcome(batch.tx_id)
                if state is None:
                    # Neither answer can be had now: check-back and the expiry sweep will finish, a replay will tell.
                    return end_all(batch.members + alone, Placed.UNAVAILABLE)
                outcome = None
                committed = state in (TxState.COMMITTED, TxState.ANNOUNCED)
            except StoreUnavailable as error:
                log.warning("nothing was written: %s", error.message)
                self._soon(self._rollback(batch.half))
                return end_all(batch.members + alone, Placed.UNAVAILABLE)
            if committed:
                self.commits += 1
                self.committed_orders += len(orders)
                self._soon(self._publish(batch, orders))
                rest: list[Waiting] = []
            else:
                self._soon(self._rollback(batch.half))
                rest = batch.members
                if outcome is not None and outcome.stale:
                    # The units stay held (or went with the old counters): the same request finds them when selling goes on.
                    self._on_stale("the orders database has gone on to another epoch")
                    return end_all(rest + alone, Placed.PAUSED)
                if outcome is None or not (outcome.existing or outcome.refused_skus):
                    fenced += 1
                    if fenced > 3:
                        return end_all(rest + alone, Placed.UNAVAILABLE)
                else:
                    rest = self._answer_existing(rest, outcome.existing)
                    rest, single = self._split_refused(rest, outcome.refused_skus)
                    alone += single
            if not rest:
                if not alone:
                    return None
                rest, alone = alone[:1], alone[1:]
            tx_id = secrets.token_hex(12)
            for waiting in rest:
                waiting.order = msgspec.structs.replace(waiting.held, tx_id=tx_id)
            sent = await self._send_half(tx_id, rest, batch.epoch)
            if sent is None:
                return end_all(alone, Placed.UNAVAILABLE)
            batch = sent

    async def _ask_outcome(self, tx_id: str) -> TxState | None:
        """What became of a transaction whose COMMIT got no answer. Fences it, so the answer is final."""
        for attempt in range(5):
            try:
                return await self._book.run(partial(self._book.book.tx_state, tx_id, fence=True))
            except StoreUnavailable as error:
                log.warning("the outcome of %s is unknown: %s", tx_id, error.message)
                await self._clock.sleep(0.1 * 2**attempt)
        return None

    def _answer_existing(self, members: list[Waiting], existing: dict[str, Order]) -> list[Waiting]:
        """Orders that are there already get their first answer. Returns the others."""
        rest, lapsed = [], []
        for waiting in members:
            order = existing.get(waiting.wish.order_id)
            if order is None:
                rest.append(waiting)
            elif order.state == OrderState.TOMBSTONE:
                lapsed.append(waiting.wish.claim)
                waiting.end(Placed.EXPIRED)
            else:
                placed, first = self._replay(waiting.wish, order)
                if placed is Placed.KEY_REUSED:
                    lapsed.append(waiting.wish.claim)
                waiting.end(placed, first)
        if lapsed:
            self._soon(self._release(lapsed))
        return rest

    def _split_refused(
        self, members: list[Waiting], refused: frozenset[str]
    ) -> tuple[list[Waiting], list[Waiting]]:
        """Orders whose SKU the database's own guard refused: several go again one by one, a lone one is sold out.

        This happens only when Redis has forgotten sales, so it may be slow, but it must sell the last unit.
        """
        rest = [w for w in members if w.wish.sku not in refused]
        again: list[Waiting] = []
        for sku in refused:
            of_sku = [w for w in members if w.wish.sku == sku]
            if len(of_sku) == 1:
                log.error("%s: the database refused what the stock store had reserved", sku)
                self._board.note(sku, 0)
                of_sku[0].end(Placed.SOLD_OUT)
                self._soon(self._release([of_sku[0].wish.claim]))
            else:
                again += of_sku
        return rest, again

    async def _publish(self, batch: Batch, orders: Sequence[Order]) -> None:
        try:
            await self._broker.commit(batch.half)
        except StoreUnavailable as error:
            # Not an order failure: the order is durable and check-back will commit the message.
            self.lost_commits += 1
            log.warning("check-back will commit %s: %s", batch.tx_id, error.message)
        finally:
            for waiting, order in zip(batch.members, orders, strict=True):
                waiting.end(Placed.CREATED, order)
        if not self._to_confirm:
            self._soon(self._confirm())
        self._to_confirm += [waiting.wish.claim for waiting in batch.members]

    async def _confirm(self) -> None:
        """Tell the stock store of several commits at once: nobody waits for it, and few large calls cost it less."""
        await self._clock.sleep(CONFIRM_AFTER_S)
        claims, self._to_confirm = self._to_confirm, []
        try:
            await self._stock.confirm(self._epoch(), claims)
        except StoreUnavailable as error:
            log.warning("the expiry sweep will confirm %d orders: %s", len(claims), error.message)

    async def _rollback(self, half: Half) -> None:
        try:
            await self._broker.rollback(half)
        except StoreUnavailable as error:
            log.warning("check-back will roll back %s: %s", half.tx_id, error.message)

    async def _release(self, claims: Sequence[Claim]) -> None:
        try:
            await self._stock.release(self._epoch(), claims, now_ms=self._clock.now_ms())
        except StoreUnavailable as error:
            log.warning("%d reservations stay until they expire: %s", len(claims), error.message)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside the pipeline; kept so that ``stop`` can wait for it."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._later.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work beside the pipeline failed", exc_info=task.exception())
