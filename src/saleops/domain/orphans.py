"""The orphan matrix: how many ids have which of their five rows, and which combinations are right.

An id is an order's. Its rows: a reservation in the stock store, the order itself, its visible message, its captured charge,
its parcel. Every id that any engine names is counted once, so a row nobody else knows about cannot hide. Only what is there is
judged here; whether two rows agree (units, amounts, buyers) is the ledger's own business.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from saleops.domain.orders import OrderState

NOTHING: frozenset[str] = frozenset()
NONE, RESERVED, SOLD, EXPIRED = range(4)
_RESERVATIONS = ("none", "reserved", "sold", "expired")
_COUNTS = ("none", "one", "many")
_ORDERS: dict[int, str] = {
    OrderState.UNPAID: "unpaid",
    OrderState.PAYING: "paying",
    OrderState.PAID: "paid",
    OrderState.SHIPPED: "paid",
    OrderState.CANCELLED: "cancelled",
    OrderState.TOMBSTONE: "tombstone",
}
_MEMORY_BITS = 2  # of each of the four columns of a stray id


class MatrixRow(msgspec.Struct, frozen=True):
    """One combination that occurs. ``breaks`` are the kinds it shows as, none where it is right; ``repair`` what mends it."""

    reservation: str  # none (or released) | reserved | sold | expired
    order: str  # unpaid | paying | paid | cancelled | tombstone | unknown | none
    message: str  # none | one | many
    charge: str  # captured ones: none | one | many
    parcel: str  # none | one | many
    ids: int
    right: bool
    breaks: list[str]
    repair: str
    accepted: list[str] = []  # those of ``breaks`` that somebody accepted for these ids

    @property
    def settled(self) -> bool:
        """Right, or accepted as it stands."""
        return set(self.breaks) <= set(self.accepted)


Combination = tuple[int, int, int, int, int, bool]
"""Order state (-1: no such row), reservation, messages, charges, parcels (2: more than one), and whether it is young."""


class OrphanMatrix:
    """Counts combinations: orders by ``order``, ids without an order by what names them. About 100 bytes an id of the latter."""

    def __init__(
        self, *, commits_once: bool = True, accepted: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        """``accepted``: order id -> the kinds of break that somebody accepted for it."""
        self._commits_once = commits_once
        self._accepted = accepted or {}
        self._counts: Counter[tuple[Combination, frozenset[str]]] = Counter()
        self._strays: dict[str, int] = {}

    def order(
        self,
        state: int,
        held: int,
        messages: int,
        charges: int,
        parcels: int,
        *,
        young: bool,
        accepted: frozenset[str] = NOTHING,
    ) -> None:
        """A row of the orders table with what refers to it. ``accepted`` are the kinds of break accepted for it."""
        seen = (min(messages, 2), min(charges, 2), min(parcels, 2))
        self._counts[(state, held, *seen, young), accepted] += 1

    def reservation(self, order_id: str, *, sold: bool, expired: bool) -> None:
        """Units held under an id without an order."""
        kind = SOLD if sold else EXPIRED if expired else RESERVED
        self._strays[order_id] = self._strays.get(order_id, 0) & ~3 | kind

    def message(self, order_id: str) -> None:
        self._more(order_id, 1)

    def charge(self, order_id: str) -> None:
        self._more(order_id, 2)

    def parcel(self, order_id: str) -> None:
        self._more(order_id, 3)

    def _more(self, order_id: str, column: int) -> None:
        packed = self._strays.get(order_id, 0)
        shift = column * _MEMORY_BITS
        count = min((packed >> shift & 3) + 1, 2)
        self._strays[order_id] = packed & ~(3 << shift) | count << shift

    def rows(self) -> list[MatrixRow]:
        """The combinations that occur: broken ones first, then by how many ids they have."""
        counts = self._counts.copy()
        for order_id, packed in self._strays.items():
            seen = (packed & 3, packed >> 2 & 3, packed >> 4 & 3, packed >> 6 & 3)
            counts[(-1, *seen, False), self._accepted.get(order_id, NOTHING)] += 1
        rows: dict[tuple[str, ...], MatrixRow] = {}
        for (combination, accepted), ids in counts.items():
            row = _row(combination, ids, accepted, commits_once=self._commits_once)
            # A young order may lack what is on its way: the same columns, another verdict.
            columns = (row.reservation, row.order, row.message, row.charge, row.parcel)
            key = (*columns, *row.breaks, "accepted", *row.accepted)
            twin = rows.get(key)
            rows[key] = msgspec.structs.replace(row, ids=row.ids + twin.ids) if twin else row
        return sorted(
            rows.values(),
            key=lambda row: (
                row.right,
                row.settled,
                -row.ids,
                row.order,
                row.reservation,
                row.message,
            ),
        )


def _row(
    combination: Combination, ids: int, accepted: frozenset[str], *, commits_once: bool
) -> MatrixRow:
    state, held, messages, charges, parcels, _ = combination
    breaks = breaks_of(combination, commits_once=commits_once)
    order = "none" if state < 0 else _ORDERS.get(state, "unknown")
    return MatrixRow(
        _RESERVATIONS[held],
        order,
        _COUNTS[messages],
        _COUNTS[charges],
        _COUNTS[parcels],
        ids,
        not breaks,
        breaks,
        "; ".join(
            dict.fromkeys("accepted" if kind in accepted else REPAIRS[kind] for kind in breaks)
        ),
        [kind for kind in breaks if kind in accepted],
    )


def breaks_of(combination: Combination, *, commits_once: bool = True) -> list[str]:
    """The kinds of break that this combination is, in the order of the columns; empty where it is right.

    Without ``commits_once`` (the broker's) a second announcement is none."""
    state, held, messages, charges, parcels, young = combination
    live = state in (OrderState.UNPAID, OrderState.PAYING, OrderState.PAID, OrderState.SHIPPED)
    paid = state in (OrderState.PAID, OrderState.SHIPPED)
    real = state >= 0 and state != OrderState.TOMBSTONE
    rules = (
        ("orphan-reservation", _held_for_nobody(state, held, live)),
        ("orphan-order", (live and held == NONE) or (real and not messages and not young)),
        ("unknown-state", real and not live and state != OrderState.CANCELLED),
        ("ghost-message", not real and messages > 0),
        ("duplicate-message", real and messages > 1 and commits_once),
        ("stray-charge", charges > 0 and not paid and state != OrderState.PAYING and _known(state)),
        ("missing-charge", paid and not charges),
        ("double-charge", real and charges > 1),
        ("stray-parcel", parcels > 0 and not paid),
        ("missing-parcel", paid and not parcels and not young),
        ("duplicate-parcel", real and parcels > 1),
    )
    return [kind for kind, broken in rules if broken]


def _known(state: int) -> bool:
    return state < 0 or state in _ORDERS


def _held_for_nobody(state: int, held: int, live: bool) -> bool:
    # Without an order a reservation may wait for one until it expires.
    return held != NONE and not live and not (state < 0 and held == RESERVED)


REPAIRS = {
    "orphan-reservation": "fence the id, release the units",
    "orphan-order": "hold its units as sold; announce it again",
    "unknown-state": "needs a person: --accept",
    "ghost-message": "needs a person: --accept",
    "duplicate-message": "needs a person: --accept",
    "stray-charge": "refund",
    "missing-charge": "charge under the order's key",
    "double-charge": "refund all but the first",
    "stray-parcel": "withdraw the parcel",
    "missing-parcel": "ship",
    "duplicate-parcel": "withdraw all but the first",
}
