"""The known bugs, planted one at a time: a matrix that does not catch each of them proves nothing.

A mutant is a change of the real parts for one sale, in this process only: a script's text, an adapter's subclass, a
patched method. ``first_failure`` looks for the first sale that breaks a promise with it; the table of them stands in
docs/crash-matrix.md, and a test plays each again, with the mutant and without.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from lua_server import stock_server
from matrix import Case, cases
from sale import Verdict
from world import SALE, Makers

from saleops.adapters.fault_points import POINTS, REPAIR_POINTS
from saleops.adapters.memory_orders import MemoryOrderBook
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.orders import Order, OrderState, TxState
from saleops.domain.stock import Answer, Claim, partition_of, shard_of
from saleops.domain.stock import Verdict as StockVerdict
from saleops.operations import rebuild
from saleops.ports.broker import Half, Resolution
from saleops.ports.orders import BatchOutcome, Charge
from saleops.ports.stock import Restored
from saleops.resources import read_lua
from saleops.services.consumer import Consumer
from saleops.services.order.upkeep import Upkeep

PAGE = Path(__file__).parents[2] / "docs" / "crash-matrix.md"
SALES_MAX = 4000
BEGIN, END = "<!-- mutants: written by `make crash MUTANTS=1` -->", "<!-- end of mutants -->"


# -- scripts: the real text with one thing wrong --------------------------------------------------------------


def changed(name: str, old: str, new: str) -> dict[str, str]:
    """The script ``name`` with ``old`` replaced; the same change is planted on a real server by the integration suite."""
    text = read_lua(name)
    if old not in text:
        raise LookupError(f"lua/{name}.lua has changed: {old!r} is not in it any more")
    return {name: text.replace(old, new)}


ONE_TOO_MANY = (
    "stock/reserve",
    "elseif for_sale < wanted then",
    "elseif for_sale < wanted - 1 then",
)
BLIND_RETRY = ("stock/reserve", "  if kept then", "  if false then")
GIVEN_BACK_TWICE = ("stock/release", 'if state == "R" or state == "S" then', "if state then")
REVIVED = ("stock/confirm", "elseif not state then", 'elseif state ~= "S" then')
LATE_BUYER = ("stock/confirm", 'if limit and limit ~= "0" then', "if false then")
FORGETS_LIMITS = ("stock/restore", 'if limit and limit ~= "0" then', "if false then")
LOAN_TWICE = ("stock/borrow", "== 0 then return 0 end", "== -1 then return 0 end")


def scripts(*change: str) -> Makers:
    texts = changed(*change)
    return Makers(stock=lambda data: RedisStockStore(stock_server(data, texts), sale=SALE))


# -- stores ---------------------------------------------------------------------------------------------------


class GetThenSet(RedisStockStore):
    """Reads what is left, decides here, and writes the difference: between the two anybody else may do the same."""

    async def reserve(
        self, epoch: str, claims: Sequence[Claim], *, now_ms: int, expires_ms: int
    ) -> list[Answer]:
        answers = await super().reserve(epoch, [], now_ms=now_ms, expires_ms=expires_ms)
        for claim in claims:
            answers.append(await self._reserve_slowly(claim, expires_ms))
        return answers

    async def _reserve_slowly(self, claim: Claim, expires_ms: int) -> Answer:
        shards = (await self._shards()).get(claim.sku, 1)
        home = partition_of(claim.sku, shard_of(claim.buyer, shards))
        units, held = self._key(home, "units"), self._held_key(home, claim.sku)
        ask = self._server.ask
        kept = await ask("reading", "HGET", held, claim.order_id)
        left, row = await ask("reading", "HMGET", units, f"L{claim.sku}", f"I{claim.sku}")
        price, total, _ = row.decode().split(" ")
        count = int(total if left is None else left)
        await asyncio.sleep(0.002)
        if kept is not None:
            known = StockVerdict.RELEASED if kept[:1] == b"X" else StockVerdict.DUPLICATE
            return Answer(known, count, int(price))
        if count < claim.units:
            return Answer(StockVerdict.SOLD_OUT, count, 0)
        text = f"R {claim.units} {expires_ms} {claim.buyer}"
        member = f"{claim.order_id} {claim.units} {claim.sku} {claim.buyer}"
        await ask("writing", "HSET", units, f"L{claim.sku}", count - claim.units)
        await ask("writing", "HINCRBY", units, f"R{claim.sku}", claim.units)
        await ask("writing", "HSET", held, claim.order_id, text)
        await ask("writing", "ZADD", self._key(home, "due"), expires_ms, member)
        return Answer(StockVerdict.RESERVED, count - claim.units, int(price))


class SettledTooSoon(RedisStockStore):
    """Ends a loan before its units have arrived."""

    async def _arrive(self, *args: Any) -> None:
        server = self._server
        self._server = _Backwards(server)  # type: ignore[assignment]
        try:
            await super()._arrive(*args)
        finally:
            self._server = server


class _Backwards:
    """Keeps the borrowing back until the loan is settled."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._kept: Sequence[Any] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    async def run(self, calls: Sequence[Any], doing: str) -> Any:
        if doing == "borrowing":
            self._kept = calls
            return [1] * len(calls)
        settled = await self._server.run(calls, doing)
        await self._server.run(self._kept, "borrowing")
        return settled


class Unguarded(MemoryOrderBook):
    """UPDATE stock SET sold = sold + n, whatever ``total`` says."""

    def place(self, tx_id: str, orders: Sequence[Order], **options: Any) -> BatchOutcome:
        real, self._stock = (
            self._stock,
            {sku: msgspec.structs.replace(row, total=10**6) for sku, row in self._stock.items()},
        )
        try:
            return super().place(tx_id, orders, **options)
        finally:
            self._stock = {
                sku: msgspec.structs.replace(row, total=real[sku].total)
                for sku, row in self._stock.items()
            }


class NoTombstone(MemoryOrderBook):
    """Looks for the order and leaves nothing under its id: a late order still finds it free."""

    def fence(self, order_ids: Sequence[str], *, now_ms: int) -> dict[str, Order]:
        found = self.orders(order_ids)
        return {key: one for key, one in found.items() if one.state != OrderState.TOMBSTONE}


class UnfencedCheckBack(MemoryOrderBook):
    """Answers "not there" without closing the tx_id: its transaction may still be on its way."""

    def tx_state(self, tx_id: str, *, fence: bool = False) -> TxState | None:
        return super().tx_state(tx_id)


class RemembersNothing(RedisStockStore):
    """Believes an emptied store that no SKU is split, and goes on believing it after the store was rebuilt."""

    async def _shards(self) -> dict[str, int]:
        self._hot = await super()._shards()
        return self._hot


class CancelsPaying(MemoryOrderBook):
    """The deadline takes an order that is being paid just now."""

    def cancel_unpaid(self, order_ids: Sequence[str], *, now_ms: int) -> list[Order]:
        self._move(order_ids, OrderState.PAYING, OrderState.UNPAID)
        return super().cancel_unpaid(order_ids, now_ms=now_ms)


class NewKeyEachTime(MemoryOrderBook):
    """Charges under a key of its own making: every repeat is another charge."""

    calls = 0

    def charge(self, charges: Sequence[tuple[str, str, int]]) -> list[Charge]:
        self.calls += 1
        return super().charge([(f"{key}-{self.calls}", *rest) for key, *rest in charges])


class PlacesWithoutEpoch(MemoryOrderBook):
    """Places orders whatever epoch the sale is on by now."""

    def place(self, tx_id: str, orders: Sequence[Order], **options: Any) -> BatchOutcome:
        return super().place(tx_id, orders)


class AnnouncesAnnounced(MemoryOrderBook):
    """Counts every commit as one whose message nobody has seen."""

    def unannounced(self, *, before_ms: int, limit: int) -> list[str]:
        every = sorted((at_ms, tx) for tx, at_ms in self._tx_ms.items())
        return [tx_id for at_ms, tx_id in every if at_ms < before_ms][:limit]

    def announce_again(self, tx_id: str, *, before_ms: int) -> bool:
        fresh = self._tx_ms[tx_id] < before_ms
        self._tx_ms[tx_id] = self._now_ms() if fresh else self._tx_ms[tx_id]
        return fresh


# -- services -------------------------------------------------------------------------------------------------


@contextmanager
def acknowledged_first() -> Iterator[None]:
    """The consumer acknowledges what it received, then works on it."""
    work = Consumer._work

    async def ack_then_work(self: Consumer, messages: Sequence[Any]) -> str:
        await self._broker.ack(messages)
        return await work(self, messages)

    with patch.object(Consumer, "_work", ack_then_work):
        yield


@contextmanager
def never_asked() -> Iterator[None]:
    """Check-back knows nothing, ever."""

    async def unknown(self: Upkeep, half: Half) -> Resolution:
        return Resolution.UNKNOWN

    with patch.object(Upkeep, "check_back", unknown):
        yield


@contextmanager
def cancelled_forgotten() -> Iterator[None]:
    """A rebuild puts back live orders only."""
    restored = rebuild._restored

    def live_only(orders: Sequence[Order]) -> list[Restored]:
        return [row for row in restored(orders) if row.state == "sold"]

    with patch.object(rebuild, "_restored", live_only):
        yield


@contextmanager
def same_epoch() -> Iterator[None]:
    """A rebuild goes on under the epoch that the store was held under."""

    async def stay(self: Any, epoch: str) -> None:
        return None

    with patch.object(rebuild._Rebuild, "go_on_under", stay):
        yield


@dataclass(frozen=True)
class Mutant:
    """One bug. ``plant`` is entered around a sale."""

    name: str
    what: str
    makers: Callable[[], Makers] = Makers
    plant: Callable[[], AbstractContextManager[None]] = nullcontext
    shows: str = ""  # what must be among the violations, where another lock shows itself sooner

    repairs: bool = False  # its sales are those in which an engine loses something

    def play(self, case: Case) -> Verdict:
        with self.plant():
            return case.play(self.makers())

    def caught(self, case: Case) -> bool:
        """Whether the sale of ``case`` breaks a promise with this bug in it."""
        return any(self.shows in wrong for wrong in self.play(case).violations)


def _store(kind: type[RedisStockStore]) -> Makers:
    return Makers(stock=lambda data: kind(stock_server(data), sale=SALE))


def _oversold() -> Makers:
    """Both locks gone: the stock store sells one too many, and the database does not stop it."""
    return Makers(book=Unguarded, stock=scripts(*ONE_TOO_MANY).stock)


MUTANTS = (
    Mutant(
        "get-then-set",
        "The units left are read with GET and written with SET, instead of one script",
        lambda: _store(GetThenSet),
    ),
    Mutant(
        "one-too-many",
        "`>=` for `>`: the script sells when one unit too few is left",
        lambda: scripts(*ONE_TOO_MANY),
    ),
    Mutant(
        "blind-retry",
        "A call whose reply was lost is sent again and deducts again: the script does not look who holds units",
        lambda: scripts(*BLIND_RETRY),
    ),
    Mutant("no-check-back", "Nobody answers the broker's check-back", plant=never_asked),
    Mutant(
        "no-tombstone",
        "A lapsed reservation is given back without a tombstone under the order's id",
        lambda: Makers(book=NoTombstone),
    ),
    Mutant(
        "ack-before-work",
        "A message is acknowledged before its orders are done",
        plant=acknowledged_first,
    ),
    Mutant(
        "lost-key",
        "The idempotency key of a charge is made anew for each request",
        lambda: Makers(book=NewKeyEachTime),
        shows="double-charge",
    ),
    Mutant(
        "unguarded-update",
        "`UPDATE stock` without `sold + n <= total`, below a stock store that sells one too many",
        _oversold,
        shows="oversold",
    ),
    Mutant(
        "unfenced-check-back",
        "Check-back rolls a half message back without closing its tx_id",
        lambda: Makers(book=UnfencedCheckBack),
    ),
    Mutant(
        "cancels-paying",
        "The deadline cancels an order while it is being paid",
        lambda: Makers(book=CancelsPaying),
    ),
    Mutant(
        "given-back-twice",
        "A release that is repeated gives the units back again",
        lambda: scripts(*GIVEN_BACK_TWICE),
    ),
    Mutant(
        "revived",
        "A confirm that comes after the order was cancelled takes its units again (a bug of ours until this matrix)",
        lambda: scripts(*REVIVED),
    ),
    Mutant(
        "settled-too-soon",
        "A loan between shards is ended before its units have arrived",
        lambda: _store(SettledTooSoon),
    ),
    Mutant(
        "loan-twice",
        "Units lent arrive again when the loan is finished a second time",
        lambda: scripts(*LOAN_TWICE),
    ),
    Mutant(
        "stale-shards",
        "What an emptied store says of split SKUs is remembered after its rebuilding (a bug of ours until this matrix)",
        lambda: _store(RemembersNothing),
        repairs=True,
    ),
    Mutant(
        "place-without-epoch",
        "A group commit does not carry its epoch: one that was on its way before a rebuild is let in after it",
        lambda: Makers(book=PlacesWithoutEpoch),
        repairs=True,
    ),
    Mutant(
        "forgets-cancelled",
        "A rebuild leaves cancelled orders out: a confirm that comes late takes units for them",
        plant=cancelled_forgotten,
        repairs=True,
    ),
    Mutant(
        "forgets-limits",
        "A rebuild puts units back and not what their buyers hold",
        lambda: scripts(*FORGETS_LIMITS),
        shows="the limit is",
        repairs=True,
    ),
    Mutant(
        "buyer-not-counted",
        "A confirm of units that the store has forgotten sells them without counting their buyer (a bug of ours until this "
        "matrix)",
        lambda: scripts(*LATE_BUYER),
        shows="the limit is",
        repairs=True,
    ),
    Mutant(
        "rebuilt-under-held-epoch",
        "A store that was held for verifying is made anew under the same epoch, its writes counted from none (a bug of ours "
        "until this matrix)",
        plant=same_epoch,
        repairs=True,
    ),
    Mutant(
        "announces-announced",
        "The sweep for lost messages sends again what was seen already",
        lambda: Makers(book=AnnouncesAnnounced),
        shows="duplicate-message",
        repairs=True,
    ),
)


def first_failure(mutant: Mutant) -> tuple[Case | None, int]:
    """The first case of the matrix that catches ``mutant``, and after how many sales."""
    points = REPAIR_POINTS if mutant.repairs else POINTS
    for runs, case in enumerate(islice(cases(points=points), SALES_MAX), start=1):
        if mutant.caught(case):
            return case, runs
    return None, SALES_MAX


def write_table(found: dict[str, Case | None]) -> None:
    """Put the mutants and the cases that caught them into the page."""
    rows = ["| Mutant | The bug | First failing case |", "|---|---|---|"]
    for mutant in MUTANTS:
        case = found.get(mutant.name)
        caught = (
            f"`SEED={case.seed} POINT={case.point} ACTION={case.action}`" if case else "not caught"
        )
        rows.append(f"| `{mutant.name}` | {mutant.what} | {caught} |")
    text = PAGE.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(head + "\n".join([BEGIN, "", *rows, "", END]) + tail)


def written_table() -> dict[str, Case]:
    """The table as the page has it: mutant -> the case that caught it."""
    body = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    found = {}
    for line in body.splitlines():
        cells = [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[2].startswith("SEED="):
            seed, point, action = (part.partition("=")[2] for part in cells[2].split())
            found[cells[0]] = Case(int(seed), point, action)
    return found
