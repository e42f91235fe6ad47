"""The ledger: what was put on sale, where every unit of it is, and each order, message, charge and parcel against the
others. This is the verdict; ledger_builder.py computes it.

    for each SKU     seeded = left + reserved + sold                     (the stock store)
                     guarded stock's sold = Σ units of live orders       (the database)
    for each order   its units held in the store while it lives, exactly one visible message, at most one charge
                     of price x units, at most one parcel; both of these exactly when it is paid

Every row that breaks a rule is a ``Break`` with its id; a row that is missing is told by the id that others still name. The
orphan matrix (orphans.py) counts the ids by which of their rows are there.
"""

import msgspec

from saleops.domain.orphans import MatrixRow

SCHEMA = "saleops/reconcile/v1"

BREAK_KINDS = {
    # kind -> what it says, for people
    "oversold": "more units live in orders than were seeded",
    "surplus": "the store accounts for more units than were seeded",
    "undersold": "units that nobody can buy: neither left, reserved nor sold",
    "epoch-differs": "the store and the database do not hold the same, complete seeding of the sale",
    "missing-sku": "a SKU that the store or the database does not know",
    "seed-differs": "the store and the database were seeded with different units",
    "guard-differs": "the database's sold units are not the sum of its live orders",
    "counter-differs": "the store's counters are not the sum of its reservations",
    "orphan-reservation": "units held in the store for no live order",
    "duplicate-reservation": "units held twice for one order",
    "orphan-order": "an order without its visible message, or a live one without its units held for its buyer",
    "duplicate-order": "two orders of one buyer under one idempotency key",
    "duplicate-message": "an order that was announced more than once",
    "ghost-message": "a visible message about an order that does not exist",
    "wrong-message": "a message that says something else than its order",
    "unknown-state": "an order in a state that does not exist",
    "unpaid-order": "an order past its time to pay that still holds units",
    "double-charge": "an order charged more than once",
    "wrong-amount": "a charge that is not price x units",
    "stray-charge": "a charge for an order that is not paid for, was cancelled or does not exist",
    "missing-charge": "a paid order that nobody was charged for",
    "missing-parcel": "a paid order without a parcel",
    "duplicate-parcel": "an order with more than one parcel",
    "stray-parcel": "a parcel for an order that is not paid for or does not exist",
}


class Break(msgspec.Struct, frozen=True):
    """One row that breaks a rule. ``id`` is the order's, empty where the SKU as a whole is meant."""

    kind: str
    id: str
    sku: str
    detail: str


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict with its figures: units, orders by kind of break, and money in fen."""

    schema: str = SCHEMA
    sale: str
    balanced: bool
    skus: int
    seeded: int
    left: int
    reserved: int
    sold: int
    in_transit: int
    oversold_units: int
    surplus_units: int
    undersold_units: int
    mismatched_skus: int
    orders: int
    live_orders: int
    paid_orders: int
    cancelled_orders: int
    unconfirmed_orders: int  # durable, still "reserved" in the store: its next sweep confirms them
    orphan_reservations: int
    duplicate_reservations: int
    orphan_orders: int
    duplicate_orders: int
    duplicate_messages: int
    ghost_messages: int
    wrong_messages: int
    unknown_states: int
    unpaid_orders: int
    double_charges: int
    wrong_amounts: int
    stray_charges: int
    missing_charges: int
    missing_parcels: int
    duplicate_parcels: int
    stray_parcels: int
    due_fen: int  # Σ price x units of paid orders
    charged_fen: int  # Σ captured and not refunded
    refunded_fen: int
    breaks_count: int
    breaks_by_kind: dict[str, int]  # every kind of BREAK_KINDS, also those at 0
    breaks: list[Break]  # at most NAMED_MAX of each kind
    accepted_count: int = 0  # rows that somebody accepted as they are (``--accept``): no breaks
    accepted: list[Break] = []
    notices_count: int = 0  # what a broker that delivers at least once may do: no breaks either
    notices: list[Break] = []
    matrix: list[MatrixRow] = []  # only combinations that occur

    @property
    def missing(self) -> int:
        """Units the store cannot account for (below 0: it has more than were seeded)."""
        return self.seeded - self.left - self.reserved - self.sold
