"""Whether the stock store may be believed, and what is done when it may not.

Selling goes on only while the database and the store hold the same, complete sale under one epoch, the store is on the servers
that were verified, and no partition is behind what any worker has seen of it. A server that was started anew, that took
over from another, or that came back from an older copy of itself fails that: then one worker verifies or rebuilds the store
(operations/rebuild.py) while the others wait and watch its progress.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from saleops.operations.rebuild import RebuildReport
from saleops.ports.clock import Clock
from saleops.ports.orders import REBUILDING, SaleRow
from saleops.ports.stock import Mark, SeedState, StaleEpoch, StockStore
from saleops.services.book import BookThread

log = logging.getLogger("saleops.order")

SETTLE_MS = 3_000
"""A store that is empty or on another epoch for this long is rebuilt: `saleops seed --replace` empties it first, for less."""

TAKE_OVER_MS = 15_000
"""A rebuild whose progress stands still for this long is begun again by another worker."""

Repair = Callable[[str, str], Awaitable[RebuildReport | None]]
"""Given why and the epoch that is over: verifies or rebuilds the store. None: somebody else is at it."""


class Belief(msgspec.Struct, frozen=True):
    """``epoch`` to sell under; "" with why not, for people."""

    epoch: str = ""
    why: str = ""


class Believer:
    """``look`` says what to believe now, and sees to it that a store that cannot be believed is put right."""

    def __init__(
        self, sale: str, *, stock: StockStore, book: BookThread, clock: Clock, repair: Repair
    ) -> None:
        self._sale = sale
        self._stock = stock
        self._book = book
        self._clock = clock
        self._repair = repair
        self._standing: tuple[str, int] = ("", -1)  # a rebuild's epoch and progress when last seen
        self._standing_since_ms = 0
        self._trouble = ""  # what may pass by itself, and since when it lasts
        self._trouble_since_ms = 0

    async def look(self, pause: Callable[[str], None]) -> Belief:
        """``pause`` is called before anything that takes long."""
        row, (_, kept) = await self._book.run(self._read)
        if row is None:
            return Belief("", f"sale {self._sale} is not seeded")
        if REBUILDING in kept:
            return await self._wait_for(row, kept[REBUILDING].writes, pause)
        if not row.complete:
            return Belief("", f"sale {self._sale} is not seeded")
        try:
            state = await self._stock.seed_state()
            if not kept and _is_whole(row, state):
                kept = await self._first_marks(row.epoch, state)
                # The store again, after the marks: other workers may have sold since, and kept marks that show it.
                state = await self._stock.seed_state()
        except StaleEpoch as error:
            return await self._put_right(error.message, row.epoch, pause)
        if not _is_whole(row, state):
            return await self._unless_it_passes(row, state, pause)
        self._trouble = ""
        if REBUILDING in kept:
            return Belief("", _AT_IT)  # begun since the row was read
        why = _why_not_believed(kept, state.marks) if kept else _NEVER_SEEN
        if why:
            return await self._put_right(why, row.epoch, pause)
        marks = dict(enumerate(state.marks))
        if any(mark.writes > kept.get(number, _NONE).writes for number, mark in marks.items()):
            await self._book.run(self._book.book.keep_marks, row.epoch, marks)
        return Belief(row.epoch)

    def _read(self) -> tuple[SaleRow | None, tuple[str, dict[int, Mark]]]:
        # The marks before the store is asked: what it shows afterwards cannot be behind them, unless it lost something.
        return self._book.book.sale(self._sale), self._book.book.marks()

    async def _first_marks(self, epoch: str, state: SeedState) -> dict[int, Mark]:
        """Nobody has kept marks under this epoch. A sale without orders is believed; {}: it has some."""
        if not state.marks:
            return {0: _NONE}  # a store without marks
        if not await self._book.run(self._has_orders):
            marks = dict(enumerate(state.marks))
            await self._book.run(self._book.book.keep_marks, epoch, marks)
        # Read again: another worker may have been first, and have sold since.
        _, kept = await self._book.run(self._book.book.marks)
        return kept

    def _has_orders(self) -> bool:
        return next(self._book.book.every_order(), None) is not None

    async def _wait_for(self, row: SaleRow, progress: int, pause: Callable[[str], None]) -> Belief:
        now_ms = self._clock.now_ms()
        if self._standing != (row.epoch, progress):
            self._standing, self._standing_since_ms = (row.epoch, progress), now_ms
        if now_ms - self._standing_since_ms >= TAKE_OVER_MS:
            self._standing_since_ms = now_ms  # whoever fails at it waits for its next turn
            return await self._put_right(
                "a rebuild stands still: its worker died", row.epoch, pause
            )
        return Belief("", _AT_IT)

    async def _unless_it_passes(
        self, row: SaleRow, state: SeedState, pause: Callable[[str], None]
    ) -> Belief:
        why = (
            "the stock store has lost the sale"
            if not state.epoch
            else f"the stock store is on epoch {state.epoch}, the database on {row.epoch}"
            if state.epoch != row.epoch
            else "the stock store holds a part of the sale only"
        )
        now_ms = self._clock.now_ms()
        if self._trouble != why:
            self._trouble, self._trouble_since_ms = why, now_ms
        if now_ms - self._trouble_since_ms < SETTLE_MS:
            return Belief("", why)
        self._trouble = ""
        return await self._put_right(why, row.epoch, pause)

    async def _put_right(self, why: str, epoch: str, pause: Callable[[str], None]) -> Belief:
        pause(f"{why}; it is being verified or rebuilt")
        report = await self._repair(why, epoch)
        if report is None:
            return Belief("", "another worker verifies or rebuilds the stock store")
        return Belief(report.epoch)


_NONE = Mark(-1, "")
_AT_IT = "the stock store is being verified or rebuilt"
_NEVER_SEEN = "there are orders, and nobody has kept the stock store's marks"


def _is_whole(row: SaleRow, state: SeedState) -> bool:
    """Whether the store holds all of the sale that the database holds."""
    return state.epoch == row.epoch and state.complete


def _why_not_believed(kept: Mapping[int, Mark], marks: tuple[Mark, ...]) -> str:
    """Empty when these marks go on from the kept ones."""
    for number, mark in enumerate(marks):
        was = kept.get(number, _NONE)
        if was is _NONE:
            continue
        if mark.server != was.server:
            return "the stock store's server was started anew, or another one took over"
        if mark.writes < was.writes:
            return (
                f"the stock store came back from an older copy of itself: partition {number} shows {mark.writes:,} "
                f"writes, a worker has seen {was.writes:,}"
            )
    return ""
