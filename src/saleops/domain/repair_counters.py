"""The store's part of a plan: which reservation becomes what, and what that makes of the counters.

Where a SKU's counters are right, an order's units are moved by sums, so that others may sell meanwhile. Where they are wrong,
every counter of the SKU is set, guarded by its value: a sale moves reservations and counters together, so counters that have
not moved since the plan belong to the same reservations. A buyer's units of a limit are adjusted as ``release`` does.
"""

from collections import defaultdict
from dataclasses import dataclass

from saleops.domain.repair import Add, Amend, Due, Field
from saleops.domain.repair_facts import Facts, HeldRow, ShardRow

Planned = tuple[list[str], str, str, str, Amend]
"""Kinds of break, order id, before, after, and the act."""


@dataclass(frozen=True)
class Hold:
    """What is held under an order id in one partition, before and after; None stands for nothing at all."""

    partition: int
    sku: str
    order_id: str
    before: str | None
    after: str | None
    kinds: list[str]


def amends_of(
    facts: Facts, sku: str, holds: list[Hold], *, whole: bool
) -> tuple[list[Planned], int]:
    """The acts for ``sku``; ``whole`` sets its counters. The second is above 0 where so many units are missing that the
    counters cannot be right: then there are no acts."""
    if not whole:
        return [_moved(facts, hold) for hold in holds], 0
    sums = _sums_after(facts, sku, holds)
    shards = {row.partition: row for row in facts.shards.get(sku, ())}
    for partition in {*(hold.partition for hold in holds), *(p for p, _ in sums)} - shards.keys():
        shards[partition] = ShardRow(partition, sku, {})
    left, short = _left_after(facts, sku, shards, sums)
    if short:
        return [], short
    planned = []
    for partition, shard in sorted(shards.items()):
        ours = [hold for hold in holds if hold.partition == partition]
        fields = [Field("held", hold.order_id, hold.before, hold.after) for hold in ours]
        wanted = {
            "L": left[partition],
            "R": sums.get((partition, "R"), 0),
            "S": sums.get((partition, "S"), 0),
        }
        counters = []
        for letter, units in wanted.items():
            now = shard.left if letter == "L" else shard.units(letter)
            if now != units:
                counters.append(Field("units", letter + sku, shard.fields.get(letter), str(units)))
        if not fields and not counters:
            continue
        adds = [add for hold in ours for add in _of_buyer(shard, hold)]
        due = [one for hold in ours for one in _due(hold)]
        guards = [*fields, *counters]
        before = f"{shard.left} left, {shard.units('R')} reserved, {shard.units('S')} sold"
        after = f"{wanted['L']} left, {wanted['R']} reserved, {wanted['S']} sold"
        kinds = sorted({kind for hold in ours for kind in hold.kinds})
        which = ours[0].order_id if len(ours) == 1 else ""
        adds.append(Add("units", f"G{sku}", 1))
        planned.append((kinds, which, before, after, Amend(partition, sku, guards, adds, due)))
    return planned, 0


def _moved(facts: Facts, hold: Hold) -> Planned:
    """One order's units, the counters moved by them."""
    sku, shard = hold.sku, facts.shard(hold.partition, hold.sku)
    change: dict[str, int] = defaultdict(int)
    for text, sign in ((hold.before, -1), (hold.after, 1)):
        if text is not None and text[0] in "RS":
            units = HeldRow(hold.partition, sku, hold.order_id, text).units
            change[text[0]] += sign * units
            change["L"] -= sign * units
    adds = [Add("units", letter + sku, units) for letter, units in sorted(change.items()) if units]
    adds += [Add("units", f"G{sku}", 1), *_of_buyer(shard, hold)]
    amend = Amend(
        hold.partition,
        sku,
        [Field("held", hold.order_id, hold.before, hold.after)],
        adds,
        _due(hold),
    )
    return hold.kinds, hold.order_id, said(hold.before), said(hold.after), amend


def _of_buyer(shard: ShardRow, hold: Hold) -> list[Add]:
    """Units that no longer count towards a buyer's limit. What is held again for a durable order is not counted, as in
    ``confirm``: the order was let in under the limit once."""
    if not shard.limited or hold.before is None or hold.before[0] not in "RS":
        return []
    row = HeldRow(hold.partition, hold.sku, hold.order_id, hold.before)
    if hold.after is not None and hold.after[0] in "RS":
        return []
    return [Add("buyers", f"{hold.sku} {row.buyer}", -row.units)]


def _due(hold: Hold) -> list[Due]:
    if hold.before is None or not hold.before.startswith("R"):
        return []
    row = HeldRow(hold.partition, hold.sku, hold.order_id, hold.before)
    member = f"{hold.order_id} {row.units} {hold.sku} {row.buyer}"
    return [Due(member, row.expires_ms, None)]


def _sums_after(facts: Facts, sku: str, holds: list[Hold]) -> dict[tuple[int, str], int]:
    """(partition, state) -> units held once ``holds`` are done."""
    sums: dict[tuple[int, str], int] = defaultdict(int)
    for (partition, name, state), units in facts.sums.items():
        if name == sku:
            sums[partition, state] += units
    for hold in holds:
        for text, sign in ((hold.before, -1), (hold.after, 1)):
            if text is not None and text[0] in "RS":
                units = HeldRow(hold.partition, sku, hold.order_id, text).units
                sums[hold.partition, text[0]] += sign * units
    return sums


def _left_after(
    facts: Facts, sku: str, shards: dict[int, ShardRow], sums: dict[tuple[int, str], int]
) -> tuple[dict[int, int], int]:
    """What each shard has left, so that all of it adds up to what was seeded; and how many units that lacks."""
    held = {p: sums.get((p, "R"), 0) + sums.get((p, "S"), 0) for p in shards}
    total = sum(shard.total for shard in shards.values())
    target = total - sum(held.values()) - facts.in_transit.get(sku, 0)
    if target < 0:
        return {}, -target
    if sku not in facts.lent_before and all(shards[p].total >= held[p] for p in shards):
        return {p: shard.total - held[p] for p, shard in shards.items()}, 0
    # Shards have lent each other units: only the sum is known. What is there stays where it is as far as it may.
    left = {p: max(shard.left, 0) for p, shard in shards.items()}
    change = target - sum(left.values())
    for partition in sorted(left, key=lambda p: (-left[p], p)):
        step = change if change >= 0 else max(change, -left[partition])
        left[partition] += step
        change -= step
        if not change:
            break
    return left, 0


def said(text: str | None) -> str:
    """A reservation for people."""
    if text is None:
        return "not held"
    row = HeldRow(0, "", "", text)
    states = {"R": "reserved", "S": "sold", "X": "released"}
    return f"{row.units} {states.get(row.state, row.state)} for {row.buyer}"
