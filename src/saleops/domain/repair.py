"""What a repair does: typed steps, each with the rows it expects and the rows it leaves, so that each can be turned round.

A step changes one engine. It is *guarded*: it says what it expects to find (its before-image) and does nothing where it finds
anything else, and *idempotent*: where it finds what it wanted to leave, it is done. So a repair may run beside a living sale, be
cut off anywhere and run again. Units that belong to rows of a living sale are moved by sums (``Add``), all others are set.

repair_plan.py makes the steps from the breaks; here is what they are, and the inverse of each.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Value: TypeAlias = int | str
Row: TypeAlias = Mapping[str, Value]

STOCK, ORDERS, PAYMENTS, MESSAGES = "stock", "orders", "payments", "messages"

ACTIONS = {
    # kind of break -> (what a repair does, whether --undo brings back what was there)
    "oversold": ("with --decide oversold=cancel-youngest: cancel and refund the youngest orders", "yes"),
    "surplus": ("set the store's counters to the sum of its reservations", "yes"),
    "undersold": ("set the store's counters to the sum of its reservations; settle loans", "yes, loans no"),
    "epoch-differs": ("rebuild the whole store from the orders database", "no"),
    "missing-sku": ("rebuild the whole store; put back the database's stock row from its product", "the row yes"),
    "seed-differs": ("set the database's total to its product's stock; rebuild the store where that differs", "the row yes"),
    "guard-differs": ("set the database's sold units to the sum of its live orders", "yes"),
    "counter-differs": ("set the store's counters to the sum of its reservations", "yes"),
    "orphan-reservation": ("fence the id with a tombstone, give the units back", "yes"),
    "duplicate-reservation": ("keep the one where the order belongs, drop the others", "yes"),
    "orphan-order": ("hold its units as sold; announce it again", "the units yes, a message no"),
    "duplicate-order": ("needs a person: --accept", "yes"),
    "duplicate-message": ("needs a person: --accept", "yes"),
    "ghost-message": ("needs a person: --accept", "yes"),
    "wrong-message": ("needs a person: --accept", "yes"),
    "unknown-state": ("needs a person: --accept", "yes"),
    "unpaid-order": ("cancel and give the units back; one that was charged becomes paid", "yes"),
    "double-charge": ("refund all but one of the right amount", "in the bundled book"),
    "wrong-amount": ("refund, and charge what is due if the order is paid", "in the bundled book"),
    "stray-charge": ("refund", "in the bundled book"),
    "missing-charge": ("charge under the order's key", "in the bundled book"),
    "missing-parcel": ("ship", "yes"),
    "duplicate-parcel": ("withdraw all but the first", "yes"),
    "stray-parcel": ("withdraw", "yes"),
}  # fmt: skip
"""Every kind of break, and what is done about it (docs/repair.md; a test holds all three together)."""

ACCEPT_ONLY = frozenset(kind for kind, (does, _) in ACTIONS.items() if "--accept" in does)
"""What happened and cannot be changed in place: messages that were sent, states nobody knows."""


class Field(msgspec.Struct, frozen=True):
    """A field of a hash in the stock store: ``place`` is "units" or "held"; None stands for absent."""

    place: str
    name: str
    before: str | None
    after: str | None


class Add(msgspec.Struct, frozen=True):
    """A counter that other orders move too: ``place`` is "units" or "buyers"."""

    place: str
    name: str
    units: int


class Due(msgspec.Struct, frozen=True):
    """An open reservation in the order of their expiry: put in at ``after`` ms, or taken out (None)."""

    member: str
    before: int | None
    after: int | None


class Amend(msgspec.Struct, frozen=True, tag="amend"):
    """One SKU in one partition of the stock store, all of it or nothing. ``undo`` may put back what should not have been."""

    partition: int
    sku: str
    fields: list[Field]
    adds: list[Add] = []
    due: list[Due] = []
    undo: bool = False


class RowChange(msgspec.Struct, frozen=True):
    """A row of the orders database: None stands for no row. ``before`` names the columns that must be so. ``key`` stands in
    the primary key, or in the column ``by``."""

    table: str  # orders | stock | charges | parcels
    key: str
    before: dict[str, Value] | None
    after: dict[str, Value] | None
    by: str = ""  # a charge that the provider names is found by its "idempotency_key"


class Swap(msgspec.Struct, frozen=True, tag="swap"):
    """Rows that change together, and units that their SKUs' guards move by (never below 0 or above the total)."""

    rows: list[RowChange]
    sold: dict[str, int] = {}


class Refund(msgspec.Struct, frozen=True, tag="refund"):
    """Give a captured charge back, at the payment provider."""

    charge_id: str
    order_id: str
    amount_fen: int


class ChargeOrder(msgspec.Struct, frozen=True, tag="charge"):
    """Take what a paid order owes, at the payment provider, under ``key``."""

    key: str
    order_id: str
    amount_fen: int
    token: str


class Announce(msgspec.Struct, frozen=True, tag="announce"):
    """Say again what a group commit said about these orders. Done where a message about them is visible."""

    tx_id: str
    order_ids: list[str]


class Accept(msgspec.Struct, frozen=True, tag="accept"):
    """Remember breaks (kind, id, SKU) as accepted."""

    keys: list[tuple[str, str, str]]
    why: str


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """The inverse of Accept."""

    keys: list[tuple[str, str, str]]
    why: str


class Settle(msgspec.Struct, frozen=True, tag="settle"):
    """Finish the loans between shards that a crash cut in two."""


class Rebuild(msgspec.Struct, frozen=True, tag="rebuild"):
    """Empty the stock store and fill it from the orders database, under a new epoch."""


Act: TypeAlias = Amend | Swap | Refund | ChargeOrder | Announce | Accept | Forget | Settle | Rebuild


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One act with what it is for. ``before`` and ``after`` are for people."""

    action: str
    engine: str  # stock | orders | payments | messages
    kinds: list[str]
    id: str = ""  # the order's, empty where a SKU or the sale as a whole is meant
    sku: str = ""
    before: str = ""
    after: str = ""
    refund_fen: int = 0
    charge_fen: int = 0
    act: Act

    @property
    def undoable(self) -> bool:
        return not isinstance(self.act, Announce | Settle | Rebuild)


class Person(msgspec.Struct, frozen=True):
    """A break that no step mends: what a person has to decide."""

    kind: str
    id: str
    sku: str
    needs: str


def inverse(step: Step) -> Step | None:
    """The step that restores what was there before ``step``; None where nothing can."""
    act = _inverse_of(step.act)
    if act is None:
        return None
    return msgspec.structs.replace(
        step,
        action=f"undo: {step.action}",
        before=step.after,
        after=step.before,
        engine=ORDERS if isinstance(act, Swap) else step.engine,
        refund_fen=0,
        charge_fen=0,
        act=act,
    )


def _inverse_of(act: Act) -> Act | None:
    match act:
        case Amend():
            return Amend(
                act.partition,
                act.sku,
                [Field(one.place, one.name, one.after, one.before) for one in act.fields],
                # Boards that remember who holds a sold-out SKU must hear of both ways.
                [
                    one if one.name.startswith("G") and one.place == "units" else _negated(one)
                    for one in act.adds
                ],
                [Due(one.member, one.after, one.before) for one in act.due],
                undo=not act.undo,
            )
        case Swap():
            rows = [
                RowChange(one.table, one.key, one.after, one.before, one.by) for one in act.rows
            ]
            return Swap(rows[::-1], {sku: -units for sku, units in act.sold.items()})
        case Refund():
            row = {"charge_id": act.charge_id, "order_id": act.order_id}
            return Swap(
                [
                    RowChange(
                        "charges",
                        act.charge_id,
                        {**row, "state": "refunded"},
                        {**row, "state": "captured"},
                    )
                ]
            )
        case ChargeOrder():
            taken: dict[str, Value] = {
                "idempotency_key": act.key,
                "order_id": act.order_id,
                "amount_fen": act.amount_fen,
                "state": "captured",
            }
            return Swap([RowChange("charges", act.key, taken, None, by="idempotency_key")])
        case Accept():
            return Forget(act.keys, act.why)
        case Forget():
            return Accept(act.keys, act.why)
        case _:
            return None


def _negated(add: Add) -> Add:
    return Add(add.place, add.name, -add.units)
