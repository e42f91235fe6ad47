"""Half messages that nobody ended, and orders that nobody was told of.

A broker asks 15 times what became of a half message and then puts it aside; its orders may be durable all the same. The
orders database knows: ``tx_state`` says whether the group commit is in, and fences it if it is not. What is in and has
no visible message is announced again (half, commit, and a look whether it can be seen); what is not in is closed for
good. Only then is the half forgotten. So a crash anywhere leaves it listed, and the same command goes on.

The message of a repeat carries the tx_id of the original, because that is what consumers report as arrived; the half has
one of its own, so that check-back of a repeat that a crash cut off rolls it back.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar
from uuid import uuid4

import msgspec

from saleops.domain.messages import ORDERS, announcement, decode_batch, encode_batch
from saleops.domain.orders import Order, TxState
from saleops.errors import StoreUnavailable
from saleops.events import Advanced, Finished, Observer, Started, Warned, silent
from saleops.operations.audit import PORTION, Trail
from saleops.operations.dlq import check_known, queues
from saleops.ports.broker import Broker, Half, ListsHalves, MakesTopics
from saleops.ports.clock import Clock
from saleops.ports.orders import OrderBook

RECHECK = "mq recheck"
TASK = "rechecking half messages"
SWEEP_LIMIT = 1_000
VISIBLE_WITHIN_S = 15.0
"""How long a committed message may take to be seen."""
LOOK_EVERY_S = 1.0

ANNOUNCE, FORGET, CLOSE, WAIT = "announce", "forget", "close", "wait"


@dataclass(frozen=True)
class RecheckItem:
    """One group commit. ``state`` is "committed", "announced", "aborted" or "unknown"; ``age_s`` is None where no half
    tells it. ``action``: announce its missing orders, forget (nothing is missing), close (never committed: fence it
    and forget the half), or wait (its half is open still, check-back will end it)."""

    tx_id: str
    source: str
    state: str
    age_s: float | None
    checks: int
    orders: int
    missing: tuple[str, ...]
    action: str


@dataclass(frozen=True)
class RecheckPlan:
    """What a recheck would do, as of ``looked_ms`` (Unix ms). ``swept`` committed tx_ids were looked at beside the
    discarded halves; ``more``: there may be others, for the next run."""

    schema: ClassVar[str] = "saleops/mq-recheck-plan/v1"

    sale: str
    looked_ms: int
    discarded: int
    swept: int
    more: bool
    items: tuple[RecheckItem, ...]

    def count(self, action: str) -> int:
        return sum(item.action == action for item in self.items)

    @property
    def acts(self) -> int:
        """How many items something would be done about."""
        return len(self.items) - self.count(WAIT)


@dataclass(frozen=True)
class RecheckReport:
    """What a recheck did. ``waiting`` are left to check-back, or somebody else took them on meanwhile. ``unseen`` orders
    were announced and cannot be seen yet: their halves stay listed."""

    schema: ClassVar[str] = "saleops/mq-recheck/v1"

    sale: str
    run_id: str
    discarded: int
    swept: int
    more: bool
    announced: int
    announced_orders: int
    closed: int
    forgotten: int
    waiting: int
    unseen: int
    items: tuple[RecheckItem, ...]


@dataclass(frozen=True)
class QueueDepth:
    """What is on its way to ``group`` on ``topic``, in messages."""

    topic: str
    group: str
    waiting: int
    in_flight: int
    delayed: int
    dead: int


@dataclass(frozen=True)
class MqStatus:
    """``oldest_half_s`` is None where no half is open or the broker cannot name them. ``discarded_committed`` of the
    ``discarded`` halves hold orders that are durable and that nobody was told of. ``missing_topics``: the broker does not
    have them (RocketMQ, set up anew), and no order is taken. ``ok``: neither of the two."""

    schema: ClassVar[str] = "saleops/mq-status/v1"

    sale: str
    ok: bool
    halves: int
    oldest_half_s: float | None
    discarded: int
    discarded_committed: int
    oldest_discarded_s: float | None
    dead: int
    queues: tuple[QueueDepth, ...]
    missing_topics: tuple[str, ...] = ()


async def mq_status(sale: str, book: OrderBook, broker: Broker, *, now_ms: int) -> MqStatus:
    """How much is on its way, and what got stuck. Only reads."""
    check_known(sale, book)
    rows = []
    halves = 0
    for topic, group in queues():
        depth = await broker.depth(topic, group)
        halves += depth.halves if topic == ORDERS else 0
        rows.append(
            QueueDepth(topic, group, depth.waiting, depth.in_flight, depth.delayed, depth.dead)
        )
    born = [half.born_ms async for half in _open_halves(broker)]
    discarded = committed = 0
    oldest_discarded: int | None = None
    async for half in broker.discarded(ORDERS):
        discarded += 1
        committed += book.tx_state(half.tx_id) is TxState.COMMITTED
        oldest_discarded = min(half.born_ms, oldest_discarded or half.born_ms)
    missing = await broker.missing_topics() if isinstance(broker, MakesTopics) else []
    return MqStatus(
        sale,
        committed == 0 and not missing,
        halves,
        _age_s(min(born, default=None), now_ms),
        discarded,
        committed,
        _age_s(oldest_discarded, now_ms),
        sum(row.dead for row in rows),
        tuple(rows),
        tuple(missing),
    )


async def plan_recheck(
    sale: str,
    book: OrderBook,
    broker: Broker,
    *,
    now_ms: int,
    sweep_before_ms: int | None = None,
    observe: Observer = silent,
) -> RecheckPlan:
    """What is wrong and what a recheck would do about it; with ``sweep_before_ms`` also about the tx_ids that committed
    before it and were never announced. Only reads: an unknown tx_id is not fenced yet."""
    check_known(sale, book)
    halves = [half async for half in broker.discarded(ORDERS)]
    swept: list[str] = []
    if sweep_before_ms is not None:
        swept = book.unannounced(before_ms=sweep_before_ms, limit=SWEEP_LIMIT)
    return await _inspect(sale, book, broker, halves, swept, now_ms=now_ms, observe=observe)


async def _inspect(
    sale: str,
    book: OrderBook,
    broker: Broker,
    halves: list[Half],
    swept: list[str],
    *,
    now_ms: int,
    fence: bool = False,
    observe: Observer = silent,
) -> RecheckPlan:
    """Ask the database about each tx_id, and the broker which of their orders can be seen."""
    by_tx = {half.tx_id: half for half in halves}
    tx_ids = [*by_tx, *(tx_id for tx_id in swept if tx_id not in by_tx)]
    states: dict[str, str] = {}
    orders: dict[str, list[Order]] = {}
    for tx_id in tx_ids:
        state = book.tx_state(tx_id, fence=fence and tx_id in by_tx)
        states[tx_id] = state.name.lower() if state is not None else "unknown"
        if state in (TxState.COMMITTED, TxState.ANNOUNCED):
            orders[tx_id] = book.orders_of_tx(tx_id)
    wanted = {
        order.order_id
        for tx_id, rows in orders.items()
        if states[tx_id] == "committed"
        for order in rows
    }
    unseen = await _unseen(broker, wanted, observe)
    still_open = {half.tx_id async for half in _open_halves(broker)} if swept else set()

    def item(tx_id: str) -> RecheckItem:
        half, rows = by_tx.get(tx_id), orders.get(tx_id, [])
        missing = tuple(order.order_id for order in rows if order.order_id in unseen)
        action = FORGET
        if states[tx_id] in ("aborted", "unknown"):
            action = CLOSE
        elif missing:
            action = WAIT if half is None and tx_id in still_open else ANNOUNCE
        return RecheckItem(
            tx_id,
            "discarded" if half else "sweep",
            states[tx_id],
            _age_s(half.born_ms, now_ms) if half else None,
            half.checks if half else 0,
            len(rows),
            missing,
            action,
        )

    return RecheckPlan(
        sale, now_ms, len(by_tx), len(swept), len(swept) == SWEEP_LIMIT, tuple(map(item, tx_ids))
    )


async def apply_recheck(
    plan: RecheckPlan,
    book: OrderBook,
    broker: Broker,
    *,
    who: str,
    clock: Clock,
    observe: Observer = silent,
    new_tx_id: Callable[[], str] = lambda: uuid4().hex,
    run_id: str = "",
) -> RecheckReport:
    """Do what the plan says, after a second look: what somebody else mended meanwhile is left alone.

    Raises StoreUnavailable when the broker or the database is out of reach; the same command goes on then.
    """
    trail = Trail(
        book, sale=plan.sale, who=who, command=RECHECK, now_ms=clock.now_ms, run_id=run_id
    )
    planned = {item.tx_id for item in plan.items}
    halves = [half async for half in broker.discarded(ORDERS) if half.tx_id in planned]
    swept = [item.tx_id for item in plan.items if item.source == "sweep"]
    figures = dict.fromkeys(
        ("announced", "announced_orders", "closed", "forgotten", "waiting", "unseen"), 0
    )
    trail.begin(
        f"{len(halves)} discarded halves, {len(swept)} swept tx_ids",
        {"discarded": len(halves), "swept": len(swept)},
    )
    observe(Started(TASK, len(planned), "tx_ids"))
    try:
        fresh = await _inspect(
            plan.sale,
            book,
            broker,
            halves,
            swept,
            now_ms=clock.now_ms(),
            fence=True,
            observe=observe,
        )
        fresh = replace(fresh, more=plan.more)
        figures["waiting"] = fresh.count(WAIT)
        todo = [item for item in fresh.items if item.action != WAIT]
        for start in range(0, len(todo), PORTION):
            portion = todo[start : start + PORTION]
            trail.act([item.tx_id for item in portion])
            await _mend(portion, book, broker, clock, plan.looked_ms, new_tx_id, figures, observe)
            observe(Advanced(TASK, start + len(portion)))
        trail.end("done" if not figures["unseen"] else "some cannot be seen yet", figures)
    except BaseException as error:
        trail.end_early(error, figures, observe)
        if isinstance(error, StoreUnavailable):
            raise StoreUnavailable(
                f"{error.message}; {figures['announced_orders']} orders were announced",
                hint="Run the same command again: what is mended is left alone.",
            ) from error
        raise
    observe(
        Finished(TASK, f"{figures['announced_orders']} orders announced", ok=not figures["unseen"])
    )
    return RecheckReport(
        sale=plan.sale,
        run_id=trail.run_id,
        discarded=fresh.discarded,
        swept=fresh.swept,
        more=fresh.more,
        items=fresh.items,
        **figures,
    )


async def _mend(
    items: Iterable[RecheckItem],
    book: OrderBook,
    broker: Broker,
    clock: Clock,
    looked_ms: int,
    new_tx_id: Callable[[], str],
    figures: dict[str, int],
    observe: Observer,
) -> None:
    """Announce what is missing, look whether it can be seen, then forget the halves it came from."""
    sent: dict[str, set[str]] = {}
    seen: list[str] = []
    done: list[str] = []
    for item in items:
        if item.action == ANNOUNCE:
            # Of two who look at the same time, one sends.
            if not book.announce_again(item.tx_id, before_ms=looked_ms):
                figures["waiting"] += 1
                continue
            missing = set(item.missing)
            lines = [one for one in book.orders_of_tx(item.tx_id) if one.order_id in missing]
            body = encode_batch(announcement(item.tx_id, lines))
            await broker.commit(await broker.send_half(ORDERS, new_tx_id(), body))
            sent[item.tx_id] = missing
            figures["announced"] += 1
            figures["announced_orders"] += len(missing)
        elif item.action == FORGET:
            seen.append(item.tx_id)
        else:
            figures["closed"] += 1
            done.append(item.tx_id)
    # A broker may say OK to a commit that it lost: what cannot be seen was not announced.
    unseen = await _wait_until_seen(broker, sent, clock, observe)
    figures["unseen"] += len(unseen)
    # Its own announcement only a consumer confirms: whoever looks for lost messages goes by what arrived when.
    book.announced(seen)
    seen += [tx_id for tx_id, orders in sent.items() if not orders & unseen]
    from_halves = {item.tx_id for item in items if item.source == "discarded"}
    forgotten = [tx_id for tx_id in (*done, *seen) if tx_id in from_halves]
    await broker.forget_discarded(ORDERS, forgotten)
    figures["forgotten"] += len(forgotten)


async def _wait_until_seen(
    broker: Broker, sent: dict[str, set[str]], clock: Clock, observe: Observer
) -> set[str]:
    """The orders of ``sent`` that no visible message holds, even after a while."""
    unseen = {order_id for orders in sent.values() for order_id in orders}
    give_up_ms = clock.now_ms() + VISIBLE_WITHIN_S * 1000
    while unseen := await _unseen(broker, unseen, silent):
        if clock.now_ms() >= give_up_ms:
            observe(Warned(f"{len(unseen)} orders were announced and cannot be seen yet"))
            break
        await clock.sleep(LOOK_EVERY_S)
    return unseen


async def _unseen(broker: Broker, order_ids: Collection[str], observe: Observer) -> set[str]:
    """Which of ``order_ids`` are in no visible message. Reads the whole topic, and only where there is a question."""
    unseen = set(order_ids)
    if not unseen:
        return unseen
    read = 0
    async for body in broker.browse(ORDERS):
        try:
            batch = decode_batch(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # reconcile names it; it announces nobody
        unseen.difference_update(line.order_id for line in batch.orders)
        if not unseen:
            break
        read += 1
        if read % 5_000 == 0:
            observe(Advanced(TASK, 0, f"{read:,} messages looked through"))
    return unseen


async def _open_halves(broker: Broker) -> AsyncIterator[Half]:
    if isinstance(broker, ListsHalves):
        async for half in broker.open_halves(ORDERS):
            yield half


def _age_s(born_ms: int | None, now_ms: int) -> float | None:
    return None if born_ms is None else max(0, now_ms - born_ms) / 1000
