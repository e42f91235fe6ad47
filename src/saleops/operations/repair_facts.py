"""Reads what a repair is planned from: the rows of every broken order and SKU, out of each engine. Changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from saleops.domain.ledger import Break
from saleops.domain.orders import LIVE_STATES, OrderState
from saleops.domain.repair import Row
from saleops.domain.repair_facts import Facts
from saleops.operations.repair_engines import RepairEngines
from saleops.ports.orders import OrderBook


async def read_facts(engines: RepairEngines, breaks: Sequence[Break], *, cancel: bool) -> Facts:
    """The rows that ``breaks`` are about. With ``cancel`` also who would be cancelled where more was sold than there is."""
    kinds = {one.kind for one in breaks}
    ids = sorted({one.id for one in breaks if one.id})
    skus = {one.sku for one in breaks if one.sku}
    facts = Facts(now_ms=engines.clock.now_ms())
    facts.hot = await engines.books.run(engines.books.book.hot_skus)
    if kinds & {"guard-differs", "missing-sku", "oversold"}:
        facts.live, facts.unsound, candidates = await engines.books.run(
            _live_units, engines.books.book, skus
        )
        if cancel and "oversold" in kinds:
            await _choose(
                engines, facts, candidates, {b.sku for b in breaks if b.kind == "oversold"}
            )
            ids = sorted({*ids, *(oid for oids in facts.youngest.values() for oid in oids)})

    await _read_book(engines, facts, ids)
    skus |= {str(row["sku"]) for row in facts.orders.values() if row["sku"]}
    if kinds & {"duplicate-reservation", "orphan-order"} and ids:
        # An order's units may be held anywhere: under another SKU, or where another buyer belongs.
        skus |= await _held_elsewhere(engines, frozenset(ids))
    await _read_stock(engines, facts, skus, ids)
    if "orphan-order" in kinds:
        facts.visible = await engines.announced(ids)
    return facts


def _live_units(
    book: OrderBook, skus: set[str]
) -> tuple[dict[str, int], dict[str, str], dict[str, list[tuple[int, int, str, int]]]]:
    """Units of live orders of ``skus``, SKUs with an order that cannot be right, and who might be cancelled: (paid?,
    -created, id, units)."""
    unsound: dict[str, str] = {}
    live: dict[str, int] = defaultdict(int)
    candidates: dict[str, list[tuple[int, int, str, int]]] = defaultdict(list)
    for order in book.every_order():
        if order.sku in skus and order.state in LIVE_STATES:
            if order.units <= 0 or order.price_fen < 0:
                unsound.setdefault(order.sku, order.order_id)
                continue
            live[order.sku] += order.units
            if order.state in (OrderState.UNPAID, OrderState.PAID):
                paid = int(order.state == OrderState.PAID)
                candidates[order.sku].append((paid, -order.created_ms, order.order_id, order.units))
    return dict(live), unsound, dict(candidates)


async def _choose(
    engines: RepairEngines,
    facts: Facts,
    candidates: dict[str, list[tuple[int, int, str, int]]],
    oversold: set[str],
) -> None:
    """Who goes: unpaid ones first, the youngest first, until what lives is what there is."""
    rows = await engines.stock_rows.rows(oversold, ())
    for sku in sorted(oversold):
        there = sum(shard.total for shard in rows.shards if shard.sku == sku)
        over = facts.live.get(sku, 0) - there
        chosen = []
        for _, _, order_id, units in sorted(candidates.get(sku, ())):
            if over <= 0:
                break
            chosen.append(order_id)
            over -= units
        facts.youngest[sku] = chosen


async def _read_book(engines: RepairEngines, facts: Facts, ids: Sequence[str]) -> None:
    run, rows = engines.books.run, engines.book_rows.rows
    facts.orders = {str(row["order_id"]): row for row in await run(rows, "orders", "order_id", ids)}
    charges = _by_order(await run(rows, "charges", "order_id", ids))
    keyed = await run(rows, "charges", "idempotency_key", ids)
    facts.charges = charges
    facts.charge_keys = frozenset(
        str(row["idempotency_key"]) for row in (*keyed, *(r for rs in charges.values() for r in rs))
    )
    facts.parcels = _by_order(await run(rows, "parcels", "order_id", ids))
    keyed = await run(rows, "parcels", "dispatch_key", ids)
    own = [row for found in facts.parcels.values() for row in found]
    facts.dispatch_keys = {
        str(row["dispatch_key"]): str(row["parcel_id"]) for row in (*keyed, *own)
    }


def _by_order(rows: Iterable[Row]) -> dict[str, list[Row]]:
    by_order: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_order[str(row["order_id"])].append(row)
    return dict(by_order)


async def _held_elsewhere(engines: RepairEngines, ids: frozenset[str]) -> set[str]:
    return {row.sku async for row in engines.stock.reservations() if row.order_id in ids}


async def _read_stock(
    engines: RepairEngines, facts: Facts, skus: set[str], ids: Sequence[str]
) -> None:
    run, rows = engines.books.run, engines.book_rows.rows
    facts.stock = {str(row["sku"]): row for row in await run(rows, "stock", "sku", sorted(skus))}
    products = await run(rows, "products", "sku", sorted(skus))
    facts.products = {str(row["sku"]): int(row["stock"]) for row in products}
    found = await engines.stock_rows.rows(skus, ids)
    facts.sums, facts.lent_before = found.sums, found.lent
    for shard in found.shards:
        facts.shards.setdefault(shard.sku, []).append(shard)
    for held in found.held:
        facts.held.setdefault(held.order_id, []).append(held)
    if any(shard.fields.get("T", "0") != "0" for shard in found.shards):
        async for count in engines.stock.counts():
            if count.in_transit and count.sku in skus:
                facts.in_transit[count.sku] = count.in_transit
