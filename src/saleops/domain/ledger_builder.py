"""Computes the ledger from the engines' own rows, handed in one by one.

SKUs and orders come first, then ``seal``, then the rows that refer to orders, in any order. Memory: 66 bytes an order (see
order_table.py) and about 300 bytes a SKU; rows that refer to orders are not kept.

The engines are read one after another, so the verdict is meant for a quiet sale: on a running one an order that is being
placed while we read looks half done. ``grace_ms`` forgives what is younger than that.
"""

from array import array
from collections.abc import Collection

from saleops.domain.ledger import BREAK_KINDS, Break, Ledger
from saleops.domain.messages import OrderLine
from saleops.domain.order_table import OrderTable, more
from saleops.domain.orders import LIVE_STATES, Order, OrderState
from saleops.domain.orphans import NOTHING, OrphanMatrix
from saleops.domain.stock import Reservation, SkuCount

NAMED_MAX = 1000
"""Breaks of each kind that are named; all are counted."""

_HELD_RESERVED, _HELD_SOLD = 1, 2
_TWIN, _WRONG_AMOUNT, _WRONG_MESSAGE, _HELD_TWICE, _WRONG_UNITS, _WRONG_BUYER = 1, 2, 4, 8, 16, 32
_NO_SKU = 2**32 - 1
_PAID = (OrderState.PAID, OrderState.SHIPPED)
_LIVE = frozenset(map(int, LIVE_STATES))


class _SkuTable:
    """Figures of each SKU in packed columns, by position."""

    NAMES = (
        "in_store", "in_database", "seeded", "left", "reserved", "sold", "in_transit",
        "total", "guard_sold", "live", "held_reserved", "held_sold",
    )  # fmt: skip

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.names: list[str] = []
        self.in_store, self.in_database, self.seeded, self.left = (array("q") for _ in range(4))
        self.reserved, self.sold, self.in_transit, self.total = (array("q") for _ in range(4))
        self.guard_sold, self.live, self.held_reserved, self.held_sold = (
            array("q") for _ in range(4)
        )

    def place(self, sku: str) -> int:
        at = self.places.setdefault(sku, len(self.places))
        if at == len(self.names):
            self.names.append(sku)
            for name in self.NAMES:
                getattr(self, name).append(0)
        return at


class LedgerBuilder:
    """Takes the rows and gives the ledger. Calls: ``count``, ``stock``, ``order``; ``seal``; the others; ``ledger``."""

    def __init__(
        self,
        sale: str,
        *,
        now_ms: int,
        grace_ms: int = 0,
        commits_once: bool = True,
        accepted: Collection[tuple[str, str, str]] = (),
    ) -> None:
        """``now_ms`` decides what is past its time (Unix milliseconds), ``grace_ms`` how late may be late.

        ``commits_once`` is the broker's: where it is False a second announcement is a notice and no break. ``accepted``
        holds (kind, id, SKU) of the breaks that somebody accepted as they are.
        """
        self._sale = sale
        self._commits_once = commits_once
        self._accepted_keys = frozenset(accepted)
        self._accepted: list[Break] = []
        self._notices: list[Break] = []
        self._accepted_count = self._notices_count = 0
        kinds: dict[str, frozenset[str]] = {}
        for kind, order_id, _ in accepted:
            kinds[order_id] = kinds.get(order_id, NOTHING) | {kind}
        self._accepted_kinds = kinds
        self._matrix = OrphanMatrix(commits_once=commits_once, accepted=kinds)
        self._late_ms = now_ms - grace_ms
        self._skus = _SkuTable()
        self._orders = OrderTable()
        self._counts = dict.fromkeys(BREAK_KINDS, 0)
        self._breaks: list[Break] = []
        self._sealed = False
        self._charged_fen = self._refunded_fen = self._due_fen = 0
        self._oversold = self._surplus = self._undersold = 0

    # -- rows that stand for themselves -------------------------------------------------------------------

    def count(self, row: SkuCount) -> None:
        """A SKU as the stock store counts it."""
        skus = self._skus
        at = skus.place(row.sku)
        skus.in_store[at] += 1
        for name in ("seeded", "left", "reserved", "sold", "in_transit"):
            getattr(skus, name)[at] = getattr(row, name)

    def stock(self, sku: str, total: int, sold: int) -> None:
        """A SKU's row of guarded stock in the database."""
        skus = self._skus
        at = skus.place(sku)
        skus.in_database[at] += 1
        skus.total[at] = total
        skus.guard_sold[at] = sold

    def order(self, order: Order) -> None:
        """A row of the orders table, tombstones too."""
        if self._sealed:
            raise ValueError("orders come before everything that refers to them")
        # A tombstone fences an id and has no SKU.
        fence = order.state == OrderState.TOMBSTONE
        self._orders.add(order, _NO_SKU if fence else self._skus.place(order.sku))

    def seal(self) -> None:
        """All SKUs and orders are in."""
        orders, skus = self._orders, self._skus
        self._sealed = True
        for at in orders.seal():
            orders.faults[at] = _TWIN
            self._break("duplicate-order", at, "its row is there twice")
        for at, state in enumerate(orders.state):
            if state in _LIVE and not orders.faults[at]:
                skus.live[orders.sku[at]] += orders.units[at]

    # -- rows that refer to orders -------------------------------------------------------------------------

    def reservation(self, row: Reservation) -> None:
        """What the stock store holds, or held, for an order id."""
        self._check_sealed()
        if row.state == "released":
            return
        orders, skus = self._orders, self._skus
        sold = row.state == "sold"
        place = skus.place(row.sku)
        column = skus.held_sold if sold else skus.held_reserved
        column[place] += row.units
        at = orders.find(row.order_id)
        if at < 0:
            expired = row.expires_ms <= self._late_ms
            self._matrix.reservation(row.order_id, sold=sold, expired=expired)
        elif orders.state[at] not in _LIVE:
            # Only for the matrix: nothing may be held for it.
            orders.held[at] = max(orders.held[at], _HELD_SOLD if sold else _HELD_RESERVED)
        if at < 0 or orders.state[at] == OrderState.TOMBSTONE:
            # Without an order a reservation may wait for one until it expires, but it cannot be sold.
            if sold or row.expires_ms <= self._late_ms:
                why = "sold, but there is no order" if sold else "expired, and there is no order"
                self._name("orphan-reservation", row.order_id, row.sku, f"{row.units} units {why}")
            return
        if orders.state[at] not in _LIVE:
            detail = f"{row.units} units {row.state} for a cancelled order"
            self._name("orphan-reservation", row.order_id, row.sku, detail)
            return
        if orders.held[at]:
            what = f"{row.units} units of {row.sku} {row.state} once more"
            self._break("duplicate-reservation", at, what)
            orders.faults[at] |= _HELD_TWICE
        elif not orders.is_buyer(at, row.buyer):
            orders.faults[at] |= _WRONG_BUYER
        elif place != orders.sku[at] or row.units != orders.units[at]:
            orders.faults[at] |= _WRONG_UNITS
        orders.held[at] = max(orders.held[at], _HELD_SOLD if sold else _HELD_RESERVED)

    def message(self, line: OrderLine) -> None:
        """One order in a message that became visible."""
        self._check_sealed()
        orders = self._orders
        at = orders.find(line.order_id)
        if at < 0:
            self._matrix.message(line.order_id)
        if at < 0 or orders.state[at] == OrderState.TOMBSTONE:
            if at >= 0:
                more(orders.messages, at)
            why = (
                "no such order" if at < 0 else "the order was never placed: its reservation lapsed"
            )
            self._name("ghost-message", line.order_id, line.sku, why)
            return
        if more(orders.messages, at) == 2:
            if self._commits_once:
                self._break("duplicate-message", at, "announced more than once")
            else:
                self._notice(at, "announced more than once, as this broker may")
        same = (
            self._skus.places.get(line.sku) == orders.sku[at]
            and line.units == orders.units[at]
            and line.amount_fen == orders.amount_fen[at]
            and orders.is_buyer(at, line.buyer)
        )
        if not same and not orders.faults[at] & _WRONG_MESSAGE:
            orders.faults[at] |= _WRONG_MESSAGE
            said = f"{line.units} x {line.sku} for {line.amount_fen} fen by {line.buyer}"
            self._break("wrong-message", at, f"it says {said}")

    def unreadable_message(self, detail: str, *, digest: str = "") -> None:
        """A visible message whose body nobody can read; ``digest`` of the body stands for its order's id."""
        self._name("ghost-message", digest, "", detail)

    def epochs(self, database: str, store: str) -> None:
        """What each of the two is on, "" for a store that holds nothing (its lost units are named one by one)."""
        if store and store != database:
            self._name(
                "epoch-differs", "", "", f"the database is on {database}, the store on {store}"
            )

    def charge(self, order_id: str, amount_fen: int, state: str, charge_id: str = "") -> None:
        """A row of the payment provider's book."""
        self._check_sealed()
        if state not in ("captured", "refunded"):
            self._name("unknown-state", order_id, "", f"charge {charge_id} is {state!r}")
            return
        if state == "refunded":
            self._refunded_fen += amount_fen
            return
        self._charged_fen += amount_fen
        orders = self._orders
        at = orders.find(order_id)
        what = f"charge {charge_id} of {amount_fen} fen".replace("  ", " ")
        if at < 0:
            self._matrix.charge(order_id)
        if at < 0 or orders.state[at] == OrderState.TOMBSTONE:
            if at >= 0:
                more(orders.captured, at)
            self._name("stray-charge", order_id, "", f"{what}: there is no such order")
            return
        if orders.state[at] in (OrderState.UNPAID, OrderState.CANCELLED):
            name = OrderState(orders.state[at]).name.lower()
            self._break("stray-charge", at, f"{what}: the order is {name}")
        if more(orders.captured, at) == 2:
            self._break("double-charge", at, f"{what} is not its first")
        if amount_fen != orders.amount_fen[at] and not orders.faults[at] & _WRONG_AMOUNT:
            orders.faults[at] |= _WRONG_AMOUNT
            self._break("wrong-amount", at, f"{what} instead of {orders.amount_fen[at]} fen")

    def parcel(self, order_id: str, parcel_id: str = "") -> None:
        """A row of the shipping book."""
        self._check_sealed()
        orders = self._orders
        at = orders.find(order_id)
        if at < 0:
            self._matrix.parcel(order_id)
        if at < 0 or orders.state[at] == OrderState.TOMBSTONE:
            if at >= 0:
                more(orders.parcels, at)
            self._name("stray-parcel", order_id, "", f"parcel {parcel_id}: there is no such order")
            return
        if more(orders.parcels, at) == 2:
            self._break("duplicate-parcel", at, f"parcel {parcel_id} is not its first")
        elif orders.state[at] not in _PAID and orders.parcels[at] == 1:
            self._break("stray-parcel", at, f"parcel {parcel_id}: the order is not paid for")

    # -- the verdict ---------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """The ledger over all rows. Call it once."""
        self._check_sealed()
        paid, cancelled, live, unconfirmed = self._judge_orders()
        self._judge_skus()
        skus, counts = self._skus, self._counts
        breaks_count = sum(counts.values())
        kinds_of_sku = ("missing-sku", "seed-differs", "guard-differs", "counter-differs")
        return Ledger(
            sale=self._sale,
            balanced=breaks_count == 0,
            skus=sum(1 for times in skus.in_store if times),
            seeded=sum(skus.seeded),
            left=sum(skus.left),
            reserved=sum(skus.reserved),
            sold=sum(skus.sold),
            in_transit=sum(skus.in_transit),
            oversold_units=self._oversold,
            surplus_units=self._surplus,
            undersold_units=self._undersold,
            mismatched_skus=sum(counts[kind] for kind in kinds_of_sku),
            orders=live + cancelled,
            live_orders=live,
            paid_orders=paid,
            cancelled_orders=cancelled,
            unconfirmed_orders=unconfirmed,
            orphan_reservations=counts["orphan-reservation"],
            duplicate_reservations=counts["duplicate-reservation"],
            orphan_orders=counts["orphan-order"],
            duplicate_orders=counts["duplicate-order"],
            duplicate_messages=counts["duplicate-message"],
            ghost_messages=counts["ghost-message"],
            wrong_messages=counts["wrong-message"],
            unknown_states=counts["unknown-state"],
            unpaid_orders=counts["unpaid-order"],
            double_charges=counts["double-charge"],
            wrong_amounts=counts["wrong-amount"],
            stray_charges=counts["stray-charge"],
            missing_charges=counts["missing-charge"],
            missing_parcels=counts["missing-parcel"],
            duplicate_parcels=counts["duplicate-parcel"],
            stray_parcels=counts["stray-parcel"],
            due_fen=self._due_fen,
            charged_fen=self._charged_fen,
            refunded_fen=self._refunded_fen,
            breaks_count=breaks_count,
            breaks_by_kind=counts,
            breaks=self._breaks,
            accepted_count=self._accepted_count,
            accepted=self._accepted,
            notices_count=self._notices_count,
            notices=self._notices,
            matrix=self._matrix.rows(),
        )

    def _judge_orders(self) -> tuple[int, int, int, int]:
        """Every order against what refers to it. Returns paid, cancelled, live, unconfirmed."""
        orders = self._orders
        paid = cancelled = live = unconfirmed = 0
        twice = orders.asked_twice()
        first_asked: dict[int, str] = {}
        kinds = self._accepted_kinds
        for at, state in enumerate(orders.state):
            if orders.faults[at] & _TWIN:
                continue
            self._matrix.order(
                state,
                orders.held[at],
                orders.messages[at],
                orders.captured[at],
                orders.parcels[at],
                young=orders.created_ms[at] > self._late_ms,
                accepted=kinds.get(orders.id_at(at), NOTHING) if kinds else NOTHING,
            )
            if state == OrderState.TOMBSTONE:
                continue
            if orders.asked_by[at] in twice:
                first = first_asked.setdefault(orders.asked_by[at], orders.id_at(at))
                if first != orders.id_at(at):
                    self._break("duplicate-order", at, f"same buyer and key as order {first}")
            young = orders.created_ms[at] > self._late_ms
            lacks = [] if orders.messages[at] or young else ["no visible message"]
            if state in _LIVE:
                live += 1
                unconfirmed += orders.held[at] == _HELD_RESERVED
                if not orders.held[at]:
                    lacks.append("its units are not held in the store")
                elif orders.faults[at] & _WRONG_UNITS:
                    lacks.append("the store holds other units for it")
                elif orders.faults[at] & _WRONG_BUYER:
                    lacks.append("the store holds its units for another buyer")
            else:
                cancelled += state == OrderState.CANCELLED
                if state != OrderState.CANCELLED:
                    self._break("unknown-state", at, f"state {state}")
            if lacks:
                self._break("orphan-order", at, "; ".join(lacks))
            if state in _PAID:
                paid += 1
                self._due_fen += orders.amount_fen[at]
                if not orders.captured[at]:
                    self._break("missing-charge", at, f"{orders.amount_fen[at]} fen not charged")
                if not orders.parcels[at] and not young:
                    self._break("missing-parcel", at, "paid, not sent")
            elif state in _LIVE and orders.due_ms[at] <= self._late_ms:
                self._break("unpaid-order", at, f"was to be paid by {orders.due_ms[at]} ms")
        return paid, cancelled, live, unconfirmed

    def _judge_skus(self) -> None:
        skus = self._skus
        for sku, at in skus.places.items():
            if skus.in_store[at] != 1 or skus.in_database[at] != 1:
                where = f"store: {skus.in_store[at]}, database: {skus.in_database[at]} (1 each)"
                self._name("missing-sku", "", sku, f"times it is known: {where}")
                continue
            seeded, live = skus.seeded[at], skus.live[at]
            if live > seeded:
                self._oversold += live - seeded
                self._name("oversold", "", sku, f"{live} units live in orders, {seeded} seeded")
            if skus.total[at] != seeded:
                detail = f"store {seeded}, database {skus.total[at]}"
                self._name("seed-differs", "", sku, detail)
            if skus.guard_sold[at] != live:
                detail = f"database says {skus.guard_sold[at]} sold, live orders hold {live}"
                self._name("guard-differs", "", sku, detail)
            self._judge_store(sku, at, seeded)

    def _judge_store(self, sku: str, at: int, seeded: int) -> None:
        skus = self._skus
        left, reserved, sold = skus.left[at], skus.reserved[at], skus.sold[at]
        there = f"{left} left + {reserved} reserved + {sold} sold"
        on_the_way = skus.in_transit[at]
        if on_the_way:
            there += f" ({on_the_way} lent and not arrived)"
        stranded = seeded - left - reserved - sold
        if stranded < on_the_way:
            self._surplus += on_the_way - stranded
            self._name("surplus", "", sku, f"{there} of {seeded} seeded")
        elif stranded:
            self._undersold += stranded
            self._name("undersold", "", sku, f"{there} of {seeded} seeded")
        if (reserved, sold) != (skus.held_reserved[at], skus.held_sold[at]):
            kept = f"{skus.held_reserved[at]} reserved + {skus.held_sold[at]} sold"
            self._name("counter-differs", "", sku, f"{there}, but its reservations: {kept}")

    # -- naming --------------------------------------------------------------------------------------------

    def _check_sealed(self) -> None:
        if not self._sealed:
            raise ValueError("seal() comes after the last SKU and order")

    def _break(self, kind: str, at: int, detail: str) -> None:
        """A break of the order at ``at``."""
        place = self._orders.sku[at]
        sku = "" if place == _NO_SKU else self._skus.names[place]
        self._name(kind, self._orders.id_at(at), sku, detail)

    def _notice(self, at: int, detail: str) -> None:
        self._notices_count += 1
        if self._notices_count <= NAMED_MAX:
            sku = self._skus.names[self._orders.sku[at]]
            one = Break("duplicate-message", self._orders.id_at(at), sku, detail)
            self._notices.append(one)

    def _name(self, kind: str, order_id: str, sku: str, detail: str) -> None:
        if (kind, order_id, sku) in self._accepted_keys:
            self._accepted_count += 1
            if self._accepted_count <= NAMED_MAX:
                self._accepted.append(Break(kind, order_id, sku, detail))
            return
        self._counts[kind] += 1
        if self._counts[kind] <= NAMED_MAX:
            self._breaks.append(Break(kind, order_id, sku, detail))
