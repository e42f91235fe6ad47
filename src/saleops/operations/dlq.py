"""Dead letters: what is in them, and sending chosen ones to their groups again.

A letter is sent to its group's retry topic and then dropped. A crash in between sends it twice at most, and consumers
are idempotent on the order id, so a replay that is run again charges nobody twice and ships nothing twice. Every
run is in the journal (``audit.py``): the ids of a portion are written before the portion is sent.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import ClassVar

from saleops.domain.letters import Letter, Selection, letter_of
from saleops.domain.messages import READERS, retry_topic
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.events import Advanced, Finished, Observer, Started, silent
from saleops.operations.audit import PORTION, Run, Trail, runs_of
from saleops.ports.broker import Broker, DeadLetter
from saleops.ports.clock import Clock
from saleops.ports.orders import OrderBook

REPLAY, DROP = "dlq replay", "dlq drop"
TASK = "sending dead letters again"
LETTERS_MAX = 10_000
"""Letters in one run: what is chosen beyond them waits for the next."""
BODIES_MAX_BYTES = 64 * 2**20
"""Bodies held at a time; a run ends early rather than fill the memory."""
REASONS_MAX = 20
ENTRIES_READ = 2_000
"""Journal entries looked through for the last runs."""


@dataclass(frozen=True)
class Reason:
    """How often letters of a group died of this. ``reason`` is "" for those beyond the most frequent ones."""

    reason: str
    letters: int


@dataclass(frozen=True)
class DeadGroup:
    """The dead letters of ``group`` on ``topic``: counts, and when the oldest and the newest died."""

    topic: str
    group: str
    letters: int
    orders: int
    unreadable: int
    oldest_ms: int
    newest_ms: int
    oldest_age_s: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class DlqList:
    schema: ClassVar[str] = "saleops/dlq-list/v1"

    sale: str
    letters: int
    orders: int
    groups: tuple[DeadGroup, ...]
    replays: tuple[Run, ...]


@dataclass(frozen=True)
class DlqShow:
    """Letters in full. ``more`` are chosen too and left out for the limit."""

    schema: ClassVar[str] = "saleops/dlq-show/v1"

    sale: str
    selection: str
    letters: tuple[Letter, ...]
    more: int


@dataclass(frozen=True)
class DlqLog:
    schema: ClassVar[str] = "saleops/dlq-log/v1"

    sale: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ReplayPlan:
    """What a replay would send, oldest first within each group. ``unreadable`` hold no orders and are left out."""

    schema: ClassVar[str] = "saleops/dlq-replay-plan/v1"

    sale: str
    selection: str
    letters: tuple[Letter, ...]
    orders: int
    more: int
    unreadable: int
    rate_per_s: float
    least_s: float


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did. ``gone`` were sent or dropped by somebody else meanwhile."""

    schema: ClassVar[str] = "saleops/dlq-replay/v1"

    sale: str
    selection: str
    run_id: str
    sent: int
    orders: int
    gone: int
    more: int
    rate_per_s: float
    seconds: float
    letter_ids: tuple[str, ...]


@dataclass(frozen=True)
class Chosen:
    """A plan, and the broker's own letters behind it."""

    plan: ReplayPlan
    places: tuple[tuple[Letter, DeadLetter], ...]


def check_known(sale: str, book: OrderBook) -> None:
    """A sale that the database does not know is a mistyped name or URL, not one without dead letters."""
    if book.sale(sale) is None:
        raise ConfigError(
            f"the orders database knows no sale {sale!r}; nothing was done",
            hint="Check --database and --state-dir, or run `saleops seed` first.",
        )


async def list_letters(
    sale: str, book: OrderBook, broker: Broker, *, now_ms: int, runs: int = 5
) -> DlqList:
    """How many letters each group has, why, and the last replays."""
    check_known(sale, book)
    groups = []
    for topic, group in queues():
        reasons: Counter[str] = Counter()
        orders = unreadable = 0
        oldest: int | None = None
        newest = 0
        async for letter, _ in _letters(broker, topic, group, now_ms):
            reasons[letter.reason] += 1
            orders += len(letter.orders)
            unreadable += bool(letter.unreadable)
            oldest = letter.dead_ms if oldest is None else min(oldest, letter.dead_ms)
            newest = max(newest, letter.dead_ms)
        if oldest is None:
            continue
        named = [Reason(*one) for one in reasons.most_common(REASONS_MAX)]
        rest = reasons.total() - sum(one.letters for one in named)
        groups.append(
            DeadGroup(
                topic,
                group,
                reasons.total(),
                orders,
                unreadable,
                oldest,
                newest,
                max(0, now_ms - oldest) / 1000,
                (*named, Reason("", rest)) if rest else tuple(named),
            )
        )
    return DlqList(
        sale,
        sum(one.letters for one in groups),
        sum(one.orders for one in groups),
        tuple(groups),
        tuple(_runs(book)[:runs]),
    )


async def show_letters(
    sale: str, book: OrderBook, broker: Broker, chosen: Selection, *, now_ms: int, limit: int
) -> DlqShow:
    """The chosen letters in full, up to ``limit``. Raises ConfigError for an id that is in no dead letters."""
    check_known(sale, book)
    letters: list[Letter] = []
    found: set[str] = set()
    more = 0
    async for letter, _ in chosen_letters(broker, chosen, now_ms):
        found.add(letter.letter_id)
        if len(letters) < limit:
            letters.append(letter)
        else:
            more += 1
    missing = [one for one in chosen.letter_ids if one not in found]
    if missing:
        raise ConfigError(
            f"no such dead letter: {', '.join(missing)}",
            hint="`saleops dlq show SALE` names them all; one that was sent again is gone.",
        )
    return DlqShow(sale, chosen.text, tuple(letters), more)


def refuse_unknown(book: OrderBook, chosen: Selection, found: Collection[str]) -> None:
    """Raises ConfigError for an id that is in no dead letters, unless an earlier run took it away from there."""
    missing = set(chosen.letter_ids) - set(found)
    if missing:
        missing.difference_update(*(run.ids for run in _runs(book)))
    if missing:
        raise ConfigError(
            f"no such dead letter: {', '.join(sorted(missing))}; nothing was done",
            hint="`saleops dlq show SALE` names them all.",
        )


def replay_log(sale: str, book: OrderBook, *, limit: int) -> DlqLog:
    """The last replays, newest first."""
    check_known(sale, book)
    return DlqLog(sale, tuple(_runs(book)[:limit]))


async def plan_replay(
    sale: str,
    book: OrderBook,
    broker: Broker,
    chosen: Selection,
    *,
    now_ms: int,
    limit: int,
    rate_per_s: float,
) -> Chosen:
    """Which letters a replay would send: at most ``limit``, at most ``rate_per_s`` a second. Only reads.

    Letters without orders are left out and counted. Raises ConfigError for an id that never was a dead letter, Refused
    where such a letter was named by its id.
    """
    if not 1 <= limit <= LETTERS_MAX or not rate_per_s > 0:
        raise ValueError(
            f"limit {limit} is not 1 to {LETTERS_MAX}, or rate {rate_per_s} not above 0"
        )
    check_known(sale, book)
    places: list[tuple[Letter, DeadLetter]] = []
    found: set[str] = set()
    unreadable: list[str] = []
    held_bytes = more = 0
    async for letter, place in chosen_letters(broker, chosen, now_ms):
        found.add(letter.letter_id)
        if not letter.orders:
            unreadable.append(letter.letter_id)
            continue
        if more or len(places) == limit or held_bytes > BODIES_MAX_BYTES:
            more += 1
            continue
        held_bytes += len(place.body)
        places.append((letter, place))
    refuse_unknown(book, chosen, found)
    if unreadable and chosen.letter_ids:
        raise Refused(
            f"{', '.join(unreadable)}: no orders in there that can be read, so it would only die again; nothing was sent",
            hint=f"Drop it: `saleops dlq drop SALE {unreadable[0]} --why TEXT`.",
        )
    plan = ReplayPlan(
        sale,
        chosen.text,
        tuple(letter for letter, _ in places),
        sum(len(letter.orders) for letter, _ in places),
        more,
        len(unreadable),
        rate_per_s,
        max(0, len(places) - 1) / rate_per_s,
    )
    return Chosen(plan, tuple(places))


async def apply_replay(
    chosen: Chosen,
    book: OrderBook,
    broker: Broker,
    *,
    who: str,
    clock: Clock,
    observe: Observer = silent,
    run_id: str = "",
) -> ReplayReport:
    """Send the letters of a plan again. Interrupted or failed, it says how far it came; the same replay goes on there.

    Raises StoreUnavailable when the broker or the journal is out of reach: what was sent until then stays sent.
    """
    plan = chosen.plan
    trail = Trail(book, sale=plan.sale, who=who, command=REPLAY, now_ms=clock.now_ms, run_id=run_id)
    pace = Pace(clock, plan.rate_per_s)
    began_ms = clock.now_ms()
    sent: list[Letter] = []
    gone = 0

    def figures() -> dict[str, int]:
        return {"sent": len(sent), "orders": sum(len(one.orders) for one in sent), "gone": gone}

    trail.begin(plan.selection, {"letters": len(plan.letters), "left out": plan.more})
    observe(Started(TASK, len(plan.letters), "letters"))
    try:
        for start in range(0, len(chosen.places), PORTION):
            portion = chosen.places[start : start + PORTION]
            trail.act([letter.letter_id for letter, _ in portion])
            for letter, place in portion:
                await pace.turn()
                if await broker.replay(letter.topic, letter.group, place):
                    sent.append(letter)
                else:
                    gone += 1
                observe(Advanced(TASK, len(sent) + gone, letter.letter_id))
        trail.end("done", figures())
    except BaseException as error:
        note = f"{len(sent)} of {len(plan.letters)} letters were sent"
        observe(Finished(TASK, f"{note}; the same command goes on", ok=False))
        trail.end_early(error, figures(), observe)
        if isinstance(error, StoreUnavailable):
            raise StoreUnavailable(
                f"{error.message}; {note}",
                hint="Run the same command again: what was sent is not sent twice.",
            ) from error
        raise
    observe(Finished(TASK, f"{len(sent)} letters, {figures()['orders']} orders"))
    return ReplayReport(
        plan.sale,
        plan.selection,
        trail.run_id,
        len(sent),
        figures()["orders"],
        gone,
        plan.more,
        plan.rate_per_s,
        (clock.now_ms() - began_ms) / 1000,
        tuple(letter.letter_id for letter in sent),
    )


class Pace:
    """At most ``rate_per_s`` turns a second, evenly spaced; what a slow turn costs is not made up for later."""

    def __init__(self, clock: Clock, rate_per_s: float) -> None:
        self._clock = clock
        self._gap_ms = 1000 / rate_per_s
        self._next_ms = 0.0

    async def turn(self) -> None:
        """Come back when the next act may begin."""
        now = self._clock.now_ms()
        if self._next_ms > now:
            await self._clock.sleep((self._next_ms - now) / 1000)
        else:
            await asyncio.sleep(0)  # a place to be interrupted at
        self._next_ms = max(float(now), self._next_ms) + self._gap_ms


def queues() -> list[tuple[str, str]]:
    """Every topic a group reads, its retry topic behind it."""
    return [(each, group) for topic, group in READERS for each in (topic, retry_topic(topic))]


async def chosen_letters(
    broker: Broker, chosen: Selection, now_ms: int
) -> AsyncIterator[tuple[Letter, DeadLetter]]:
    """The letters that ``chosen`` takes, as people and as the broker know them, oldest first within each group."""
    for topic, group in queues():
        if chosen.groups and group not in chosen.groups:
            continue
        async for letter, place in _letters(broker, topic, group, now_ms):
            if chosen.chooses(letter):
                yield letter, place


async def _letters(
    broker: Broker, topic: str, group: str, now_ms: int
) -> AsyncIterator[tuple[Letter, DeadLetter]]:
    async for dead in broker.dead_letters(topic, group):
        letter = letter_of(
            letter_id=dead.message_id,
            topic=topic,
            group=group,
            body=dead.body,
            reason=dead.reason,
            attempts=dead.attempt,
            dead_ms=dead.dead_ms,
            now_ms=now_ms,
        )
        yield letter, dead


def _runs(book: OrderBook) -> list[Run]:
    return runs_of(book.journal(limit=ENTRIES_READ), commands=(REPLAY, DROP))
