"""Dropping dead letters that hold no orders: nobody can handle them, and sent again they only die again.

A letter with orders is never dropped. What an unreadable one was meant to say is not lost with it: the orders are in
the database, and those that no message tells of are announced again. Every run is in the journal, with its reason.
"""

from dataclasses import dataclass
from typing import ClassVar

from saleops.domain.letters import Letter, Selection
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.events import Observer, silent
from saleops.operations.audit import PORTION, Trail
from saleops.operations.dlq import DROP, check_known, chosen_letters, refuse_unknown
from saleops.ports.broker import Broker, DeadLetter
from saleops.ports.clock import Clock
from saleops.ports.orders import OrderBook


@dataclass(frozen=True)
class DropPlan:
    """What a drop would forget. ``gone`` were sent again or dropped by an earlier run."""

    schema: ClassVar[str] = "saleops/dlq-drop-plan/v1"

    sale: str
    why: str
    letters: tuple[Letter, ...]
    gone: int


@dataclass(frozen=True)
class DropReport:
    """What a drop did. ``gone`` were sent again or dropped by somebody else, or by an earlier run."""

    schema: ClassVar[str] = "saleops/dlq-drop/v1"

    sale: str
    why: str
    run_id: str
    dropped: int
    gone: int
    letter_ids: tuple[str, ...]


@dataclass(frozen=True)
class ChosenToDrop:
    """A plan, and the broker's own letters behind it."""

    plan: DropPlan
    places: tuple[tuple[Letter, DeadLetter], ...]


async def plan_drop(
    sale: str,
    book: OrderBook,
    broker: Broker,
    letter_ids: tuple[str, ...],
    *,
    why: str,
    now_ms: int,
) -> ChosenToDrop:
    """Which letters a drop would forget. Only reads.

    Raises ConfigError for an id that never was a dead letter, or without a reason; Refused for a letter with orders.
    """
    check_known(sale, book)
    if not why.strip():
        raise ConfigError(
            "a letter is dropped for a reason; nothing was done", hint="Say it: `--why TEXT`."
        )
    selection = Selection(letter_ids)
    places = [one async for one in chosen_letters(broker, selection, now_ms)]
    found = {letter.letter_id for letter, _ in places}
    refuse_unknown(book, selection, found)
    with_orders = [letter.letter_id for letter, _ in places if letter.orders]
    if with_orders:
        raise Refused(
            f"{', '.join(with_orders)}: somebody's orders are in there; nothing was dropped",
            hint=f"Send them again: `saleops dlq replay SALE {with_orders[0]}`.",
        )
    plan = DropPlan(
        sale,
        why.strip(),
        tuple(letter for letter, _ in places),
        len(set(letter_ids) - found),
    )
    return ChosenToDrop(plan, tuple(places))


async def apply_drop(
    chosen: ChosenToDrop,
    book: OrderBook,
    broker: Broker,
    *,
    who: str,
    clock: Clock,
    observe: Observer = silent,
    run_id: str = "",
) -> DropReport:
    """Forget the letters of a plan. Interrupted or failed, the same drop goes on.

    Raises StoreUnavailable when the broker or the journal is out of reach: what was dropped until then stays dropped.
    """
    plan = chosen.plan
    trail = Trail(book, sale=plan.sale, who=who, command=DROP, now_ms=clock.now_ms, run_id=run_id)
    dropped: list[Letter] = []
    gone = plan.gone

    def figures() -> dict[str, int]:
        return {"dropped": len(dropped), "gone": gone}

    trail.begin(f"unreadable letters; why: {plan.why}", {"letters": len(plan.letters)})
    try:
        for start in range(0, len(chosen.places), PORTION):
            portion = chosen.places[start : start + PORTION]
            trail.act([letter.letter_id for letter, _ in portion])
            for letter, place in portion:
                if await broker.drop(letter.topic, letter.group, place):
                    dropped.append(letter)
                else:
                    gone += 1
        trail.end("done", figures())
    except BaseException as error:
        trail.end_early(error, figures(), observe)
        if isinstance(error, StoreUnavailable):
            raise StoreUnavailable(
                f"{error.message}; {len(dropped)} of {len(plan.letters)} letters were dropped",
                hint="Run the same command again: it goes on with the others.",
            ) from error
        raise
    ids = tuple(letter.letter_id for letter in dropped)
    return DropReport(plan.sale, plan.why, trail.run_id, len(dropped), gone, ids)
