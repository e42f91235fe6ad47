"""From breaks and rows to a plan. An order's row is believed over what other engines say about it; a SKU's reservations are
believed over its counters; a product's stock over its totals.

Steps come in this order, which leaves nothing oversold or paid for nothing wherever it is cut off: orders are fenced and
cancelled, money goes back, parcels are withdrawn, money is taken, parcels are written, the guard is set, the store is mended,
messages are said again, and what cannot be changed is accepted.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from saleops.domain.ledger import Break
from saleops.domain.orders import OrderState
from saleops.domain.repair import (
    ACCEPT_ONLY,
    MESSAGES,
    ORDERS,
    PAYMENTS,
    STOCK,
    Accept,
    Amend,
    Announce,
    ChargeOrder,
    Person,
    Rebuild,
    Refund,
    Row,
    RowChange,
    Settle,
    Step,
    Swap,
)
from saleops.domain.repair_counters import Hold, amends_of
from saleops.domain.repair_facts import LIVE, Facts

ANNOUNCED_AT_ONCE = 200
_PAID = (OrderState.PAID, OrderState.SHIPPED)
_MONEY = {"double-charge", "wrong-amount", "stray-charge", "missing-charge"}
_PARCELS = {"missing-parcel", "duplicate-parcel", "stray-parcel"}
_HELD = {"orphan-reservation", "duplicate-reservation", "orphan-order"}
_COUNTERS = {"counter-differs", "undersold", "surplus"}
_WHOLE_STORE = {"epoch-differs"}


class Plan(msgspec.Struct, frozen=True):
    """What is to be done, in order, and what needs a person first."""

    steps: list[Step]
    people: list[Person]


def plan_from(breaks: Iterable[Break], facts: Facts, *, accept: str = "") -> Plan:
    """The plan that mends ``breaks``. ``accept`` is the reason to accept what cannot be changed, "" to leave that."""
    return _Planner(list(breaks), facts, accept).plan()


@dataclass
class _Planner:
    breaks: list[Break]
    facts: Facts
    accept: str
    people: list[Person] = field(default_factory=list)
    closing: list[Step] = field(default_factory=list)
    refunds: list[Step] = field(default_factory=list)
    withdrawals: list[Step] = field(default_factory=list)
    charges: list[Step] = field(default_factory=list)
    parcels: list[Step] = field(default_factory=list)
    guard: list[Step] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    silent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    sold_less: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    guard_broken: set[str] = field(default_factory=set)

    def plan(self) -> Plan:
        kinds: dict[str, set[str]] = defaultdict(set)
        sku_kinds: dict[str, set[str]] = defaultdict(set)
        for one in self.breaks:
            (kinds[one.id] if one.id else sku_kinds[one.sku]).add(one.kind)
        self.guard_broken = {
            sku for sku, found in sku_kinds.items() if found & {"guard-differs", "missing-sku"}
        }
        cancelled = {oid: sku for sku, ids in self.facts.youngest.items() for oid in ids}
        for order_id in sorted({*kinds, *cancelled}):
            self._order(order_id, kinds.get(order_id, set()), oversold=order_id in cancelled)
        rebuild = self._skus(sku_kinds)
        store = [rebuild] if rebuild else self._store(sku_kinds)
        steps = [
            *self.closing,
            *self.refunds,
            *self.withdrawals,
            *self.charges,
            *self.parcels,
            *self.guard,
            *store,
            *self._announcements(),
        ]
        if accepting := self._acceptance():
            steps.append(accepting)
        return Plan(steps, self.people)

    # -- one order ---------------------------------------------------------------------------------------------

    def _order(self, order_id: str, kinds: set[str], *, oversold: bool) -> None:
        facts = self.facts
        order = facts.orders.get(order_id)
        state = -1 if order is None else int(order["state"])
        if order is not None and state != OrderState.TOMBSTONE:
            units, price = int(order["units"]), int(order["price_fen"])
            if units <= 0 or price < 0:  # every other row is judged by this one
                needs = f"its row has {units} units at {price} fen, which cannot be: correct it by hand first"
                for kind in sorted(kinds):
                    self._ask(kind, order_id, order, needs)
                return
        if order is not None and ("unpaid-order" in kinds or oversold):
            state = self._end(order_id, order, kinds, oversold=oversold)
        if order is None and "orphan-reservation" in kinds:
            state = self._fence(order_id)
        if oversold or kinds & (_HELD | {"unpaid-order"}):
            self._hold(order_id, order, state, kinds)
        if oversold or kinds & (_MONEY | {"unpaid-order"}):
            self._money(order_id, order, state, kinds)
        if oversold or kinds & (_PARCELS | {"unpaid-order"}):
            self._parcels(order_id, order, state, kinds)
        if order is not None and "orphan-order" in kinds and order_id not in facts.visible:
            self.silent[str(order["tx_id"])].append(order_id)

    def _end(self, order_id: str, order: Row, kinds: set[str], *, oversold: bool) -> int:
        """Cancel the order, or take it for paid where it was charged just what it owes."""
        state = int(order["state"])
        due = int(order["units"]) * int(order["price_fen"])
        paid = state == OrderState.PAYING and any(
            row["state"] == "captured" and row["amount_fen"] == due
            for row in self.facts.charges.get(order_id, ())
        )
        after = OrderState.PAID if paid and not oversold else OrderState.CANCELLED
        sku, units = str(order["sku"]), int(order["units"])
        sold: dict[str, int] = {}
        if after == OrderState.CANCELLED:
            self.sold_less[sku] += units
            if sku not in self.guard_broken:
                sold = {sku: -units}
        act = Swap(
            [RowChange("orders", order_id, dict(order), {**order, "state": int(after)})], sold
        )
        before, then = OrderState(state).name.lower(), after.name.lower()
        action = "cancel" if after == OrderState.CANCELLED else "take for paid"
        self.closing.append(
            _step(action, ORDERS, kinds or {"oversold"}, order_id, sku, before, then, act)
        )
        return int(after)

    def _fence(self, order_id: str) -> int:
        now_ms = self.facts.now_ms
        tombstone = int(OrderState.TOMBSTONE)
        after: dict[str, int | str] = {
            "order_id": order_id, "buyer": "", "sku": "", "units": 0, "price_fen": 0, "created_ms": now_ms,
            "due_ms": now_ms, "idempotency_key": "", "payment_token": "", "state": tombstone, "tx_id": "",
        }  # fmt: skip
        act = Swap([RowChange("orders", order_id, None, after)])
        step = _step(
            "fence", ORDERS, {"orphan-reservation"}, order_id, "", "no order", "tombstone", act
        )
        self.closing.append(step)
        return tombstone

    def _hold(self, order_id: str, order: Row | None, state: int, kinds: set[str]) -> None:
        """What the store is to hold for this order: its units once, at home, or nothing."""
        facts = self.facts
        found = list(facts.held_for(order_id))
        shown = sorted(kinds & (_HELD | {"unpaid-order"})) or ["oversold"]
        if order is None or state not in LIVE:
            for row in found:
                if row.holds:
                    self.holds.append(
                        Hold(row.partition, row.sku, order_id, row.text, f"X{row.text[1:]}", shown)
                    )
            return
        sku, buyer, units = str(order["sku"]), str(order["buyer"]), int(order["units"])
        home = facts.home(sku, buyer)
        ours = None
        for row in found:
            if (row.partition, row.sku) == (home, sku):
                ours = row
            elif row.holds:
                self.holds.append(Hold(row.partition, row.sku, order_id, row.text, None, shown))
        right = ours is not None and ours.holds and (ours.units, ours.buyer) == (units, buyer)
        if not right:
            text = f"S {units} {ours.expires_ms if ours else 0} {buyer}"
            self.holds.append(Hold(home, sku, order_id, ours.text if ours else None, text, shown))

    def _money(self, order_id: str, order: Row | None, state: int, kinds: set[str]) -> None:
        facts = self.facts
        rows = facts.charges.get(order_id, [])
        if any(row["state"] not in ("captured", "refunded") for row in rows):
            for kind in sorted(kinds & _MONEY):
                self._ask(kind, order_id, order, "a charge in a state nobody knows: look it up")
            return
        due = int(order["units"]) * int(order["price_fen"]) if order else 0
        wrong = [int(row["amount_fen"]) for row in rows if int(row["amount_fen"]) < 0]
        if wrong or (order is not None and state in _PAID and due <= 0):
            needs = (
                f"a charge of {wrong[0]} fen" if wrong else f"it owes {due} fen"
            ) + ", which cannot be: correct it by hand first"
            for kind in sorted(kinds & _MONEY or kinds):
                self._ask(kind, order_id, order, needs)
            return
        captured = [row for row in rows if row["state"] == "captured"]
        captured.sort(key=lambda row: (row["idempotency_key"] != order_id, str(row["charge_id"])))
        keeps = order is not None and state not in (
            OrderState.UNPAID,
            OrderState.CANCELLED,
            OrderState.TOMBSTONE,
        )
        kept = next((row for row in captured if keeps and row["amount_fen"] == due), None)
        shown = (kinds & _MONEY) or kinds or {"oversold"}
        sku = str(order["sku"]) if order else ""
        for row in captured:
            if row is not kept:
                amount = int(row["amount_fen"])
                act = Refund(str(row["charge_id"]), order_id, amount)
                before = f"charge {act.charge_id}: {amount} fen captured"
                self.refunds.append(
                    msgspec.structs.replace(
                        _step("refund", PAYMENTS, shown, order_id, sku, before, "refunded", act),
                        refund_fen=amount,
                    )
                )  # fmt: skip
        if order is not None and state in _PAID and kept is None:
            key = next(
                key
                for key in (order_id, *(f"{order_id}-r{number}" for number in range(1, 1000)))
                if key not in facts.charge_keys
            )
            charge = ChargeOrder(key, order_id, due, str(order["payment_token"]))
            after = f"{due} fen captured under the key {key}"
            self.charges.append(
                msgspec.structs.replace(
                    _step("charge", PAYMENTS, shown, order_id, sku, "nothing captured", after, charge),
                    charge_fen=due,
                )
            )  # fmt: skip

    def _parcels(self, order_id: str, order: Row | None, state: int, kinds: set[str]) -> None:
        facts = self.facts
        rows = sorted(
            facts.parcels.get(order_id, []),
            key=lambda row: (row["dispatch_key"] != order_id, str(row["parcel_id"])),
        )
        shown = (kinds & _PARCELS) or kinds or {"oversold"}
        sku = str(order["sku"]) if order else ""
        keep = 1 if state in _PAID else 0
        for row in rows[keep:]:
            parcel_id = str(row["parcel_id"])
            act = Swap([RowChange("parcels", parcel_id, dict(row), None)])
            self.withdrawals.append(
                _step("withdraw", ORDERS, shown, order_id, sku, f"parcel {parcel_id}", "none", act)
            )
        if order is None or state not in _PAID or rows:
            return
        # A key that another order's parcel stands under is free only when that one is withdrawn, which comes first.
        key = next(
            key
            for key in (order_id, *(f"{order_id}-r{number}" for number in range(1, 1000)))
            if key not in facts.dispatch_keys
        )
        parcel: dict[str, int | str] = {
            "parcel_id": f"pa_{blake2b(key.encode(), digest_size=12).hexdigest()}",  # as shipping names it
            "dispatch_key": key,
            "order_id": order_id,
            "at_ms": facts.now_ms,
        }
        changes = [RowChange("parcels", str(parcel["parcel_id"]), None, parcel)]
        if state == OrderState.PAID:
            before = {**order, "state": int(OrderState.PAID)}
            after = {**order, "state": int(OrderState.SHIPPED)}
            changes.append(RowChange("orders", order_id, before, after))
        step = _step("ship", ORDERS, shown, order_id, sku, "no parcel", "one parcel", Swap(changes))
        self.parcels.append(step)

    # -- SKUs --------------------------------------------------------------------------------------------------

    def _skus(self, sku_kinds: dict[str, set[str]]) -> Step | None:
        """The database's own rows of stock; returns the rebuild of the store where nothing less mends it."""
        why: set[str] = set()
        for sku, kinds in sorted(sku_kinds.items()):
            why |= kinds & _WHOLE_STORE
            if "oversold" in kinds and sku not in self.facts.youngest and self._is_oversold(sku):
                self._ask("oversold", "", None, "--decide oversold=cancel-youngest", sku)
            if kinds & {"missing-sku", "seed-differs", "guard-differs"}:
                why |= self._stock_row(sku, kinds)
        if not why:
            return None
        return _step("rebuild", STOCK, why, "", "", "the store", "as the orders say", Rebuild())

    def _is_oversold(self, sku: str) -> bool:
        """More live units than there are, and not only in a store that forgot how many it was seeded with."""
        row = self.facts.stock.get(sku)
        total = self.facts.products.get(sku, int(row["total"]) if row else 0)
        return self.facts.live.get(sku, 0) - self.sold_less.get(sku, 0) > total

    def _stock_row(self, sku: str, kinds: set[str]) -> set[str]:
        """Mend the SKU's row of guarded stock. Returns why the store has to be rebuilt."""
        facts = self.facts
        row, planned = facts.stock.get(sku), facts.products.get(sku)
        shards = facts.shards.get(sku, [])
        seeded = sum(shard.total for shard in shards)
        in_store = any("I" in shard.fields for shard in shards)
        sold = facts.live.get(sku, 0) - self.sold_less.get(sku, 0)
        total = planned if planned is not None else int(row["total"]) if row else None
        if sku in facts.unsound:
            for kind in sorted(kinds & _OF_GUARD):
                needs = f"its order {facts.unsound[sku]} has no units or a price below zero: correct that row first"
                self._ask(kind, "", None, needs, sku)
            return set()
        if total is None:
            kind = "missing-sku" if "missing-sku" in kinds else sorted(kinds)[0]
            self._ask(kind, "", None, "no product of that name: seed the sale again", sku)
            return set()
        if sold > total:
            for kind in sorted(kinds & {"guard-differs", "missing-sku", "seed-differs"}):
                self._ask(
                    kind, "", None, "more units live than there are: settle `oversold` first", sku
                )
            return set()
        after: dict[str, int | str] = {
            "sku": sku,
            "total": total,
            "sold": sold if kinds & {"guard-differs", "missing-sku"} else int(row["sold"]) if row else 0,
            "shards": int(row["shards"]) if row else facts.hot.get(sku, 1),
        }  # fmt: skip
        if row is None or dict(row) != after:
            # Of a row that is there only what is wrong is compared and set: the rest may move meanwhile.
            wrong = [name for name in after if row is None or row[name] != after[name]]
            before = {name: row[name] for name in wrong} if row else None
            shown = f"total {row['total']}, sold {row['sold']}" if row else "no row"
            then = f"total {after['total']}, sold {after['sold']}"
            wanted = {name: after[name] for name in wrong}
            act = Swap([RowChange("stock", sku, before, wanted)])
            self.guard.append(
                _step("set the guard", ORDERS, kinds & _OF_GUARD, "", sku, shown, then, act)
            )
        if in_store and seeded == total:
            return set()
        return kinds & {"missing-sku", "seed-differs"}

    def _store(self, sku_kinds: dict[str, set[str]]) -> list[Step]:
        """Counters and reservations, SKU by SKU."""
        steps: list[Step] = []
        by_sku: dict[str, list[Hold]] = defaultdict(list)
        for hold in self.holds:
            by_sku[hold.sku].append(hold)
        broken = {sku: kinds & _COUNTERS for sku, kinds in sku_kinds.items() if kinds & _COUNTERS}
        if any(self.facts.in_transit.get(sku) for sku in broken):
            kinds = set().union(*broken.values())
            steps.append(_step("settle loans", STOCK, kinds, "", "", "lent", "arrived", Settle()))
        for sku in sorted({*by_sku, *broken}):
            kinds = broken.get(sku, set())
            if self.facts.in_transit.get(sku):
                kinds = set()  # its counters are judged again when the loans have arrived
            amends, short = amends_of(self.facts, sku, by_sku.get(sku, []), whole=bool(kinds))
            if short:
                for kind in sorted(kinds) or ["orphan-order"]:
                    needs = f"{short} units fewer than are held: settle `oversold` first"
                    self._ask(kind, "", None, needs, sku)
                continue
            for hold_kinds, order_id, before, after, amend in amends:
                shown = kinds | set(hold_kinds)
                action = "set counters" if kinds else _verb(amend)
                steps.append(_step(action, STOCK, shown, order_id, sku, before, after, amend))
        return steps

    # -- the rest ----------------------------------------------------------------------------------------------

    def _announcements(self) -> list[Step]:
        steps = []
        for tx_id, ids in sorted(self.silent.items()):
            for at in range(0, len(ids), ANNOUNCED_AT_ONCE):
                part = ids[at : at + ANNOUNCED_AT_ONCE]
                which = part[0] if len(part) == 1 else ""
                after = "announced" if len(part) == 1 else f"{len(part)} orders announced"
                act = Announce(tx_id, part)
                steps.append(
                    _step(
                        "announce", MESSAGES, {"orphan-order"}, which, "", "no message", after, act
                    )
                )
        return steps

    def _acceptance(self) -> Step | None:
        keys = sorted({(b.kind, b.id, b.sku) for b in self.breaks if b.kind in ACCEPT_ONLY})
        asked = [p for p in self.people if p.needs.startswith("a charge in a state")]
        if not self.accept:
            self.people += [Person(*key, "--accept REASON") for key in keys]
            return None
        self.people = [person for person in self.people if person not in asked]
        keys = sorted({*keys, *((p.kind, p.id, p.sku) for p in asked)})
        if not keys:
            return None
        act = Accept(keys, self.accept)
        which = keys[0][1] if len(keys) == 1 else ""
        return _step(
            "accept", ORDERS, {kind for kind, _, _ in keys}, which, "",
            f"{len(keys)} breaks", f"accepted: {self.accept}", act,
        )  # fmt: skip

    def _ask(self, kind: str, order_id: str, order: Row | None, needs: str, sku: str = "") -> None:
        self.people.append(Person(kind, order_id, sku or str(order["sku"] if order else ""), needs))


_OF_GUARD = {"missing-sku", "seed-differs", "guard-differs"}


def _verb(amend: Amend) -> str:
    [one] = [change for change in amend.fields if change.place == "held"]
    if one.after is None:
        return "drop"
    return "give back" if one.after.startswith("X") else "hold as sold"


def _step(
    action: str,
    engine: str,
    kinds: Iterable[str],
    order_id: str,
    sku: str,
    before: str,
    after: str,
    act: object,
) -> Step:
    return Step(
        action=action,
        engine=engine,
        kinds=sorted(kinds),
        id=order_id,
        sku=sku,
        before=before,
        after=after,
        act=act,  # type: ignore[arg-type] # one of Act, whose union the checker cannot see through
    )
