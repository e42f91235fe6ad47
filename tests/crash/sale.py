"""One simulated sale with its buyers, and the verdict: what a crash may never do, whatever it struck.

``play`` is a function of its arguments alone: the same seed, the same faults, the same trace.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import msgspec
from simloop import simulate
from world import GROUPS, ITEMS, LONG_POLL_MS, SALE, Loss, Makers, World

from saleops.adapters import (
    check_back,
    memory_broker,
    redis_stock,
    redis_stock_ledger,
    redis_stock_seed,
)
from saleops.config.settings import Fault
from saleops.domain import stock as domain_stock
from saleops.domain.messages import ORDERS
from saleops.domain.orders import LIVE_STATES, OrderState, order_id_of
from saleops.operations import rebuild
from saleops.operations.reconcile import reconcile
from saleops.services.order import upkeep

BUYERS = 6
WISHES = 11
QUIET_WITHIN_S = 900
TOKENS = ("tok_visa", "tok_visa", "tok_visa", "tok_flaky_2", "tok_flaky_5", "tok_declined", "")


@dataclass
class Verdict:
    """What came of one sale. ``violations`` is empty when it kept every promise."""

    seed: int
    violations: list[str]
    trace: list[tuple[int, str, str]]
    passed: dict[str, int]
    struck: int
    deaths: int
    struck_at: frozenset[str]
    healed_s: float  # from the first strike until all was quiet, in the sale's own time


@dataclass
class _Buyers:
    """What buyers were told, and what they may hold against us."""

    world: World
    rng: random.Random
    promised: dict[str, str] = field(default_factory=dict)  # order id -> buyer
    wrong: list[str] = field(default_factory=list)

    async def wish(self, number: int) -> None:
        rng = self.rng
        buyer = f"buyer-{rng.randrange(BUYERS)}"
        sku = rng.choices(("hot", "few", "plain"), (6, 3, 2))[0]
        body = {"sku": sku, "units": rng.choice((1, 1, 2)), "payment_token": rng.choice(TOKENS)}
        patience = rng.choice((0, 3, 8))
        doubled, repeated, by_hand = rng.random() < 0.2, rng.random() < 0.2, rng.random() < 0.5
        await self.world.clock.sleep(rng.choice((0.0, 0.0, 0.01, 0.2, 1.0, 3.0)) + number * 0.001)
        tries = [self._order(f"key-{number}", buyer, body, patience) for _ in range(1 + doubled)]
        ids = await asyncio.gather(*tries)
        order_id = next(filter(None, ids), "")
        if order_id and repeated:
            await self.world.clock.sleep(rng.choice((0.1, 2.0, 9.0)))
            if not await self._order(f"key-{number}", buyer, body, 30):
                self.wrong.append(f"order {order_id} was promised and then refused to a repeat")
        if order_id and repeated:
            await self._look(order_id, buyer)
        if order_id and by_hand and body["payment_token"] in ("", "tok_declined"):
            await self.world.clock.sleep(rng.choice((0.5, 6.0, 11.99)))
            await self.world.send(
                "payment", rng, "POST", f"/orders/{order_id}/payments", buyer, {"token": "tok_visa"}
            )

    async def _look(self, order_id: str, buyer: str) -> None:
        for service, path in (
            ("order", "/orders"),
            ("order", f"/orders/{order_id}"),
            ("shipping", f"/orders/{order_id}/parcels"),
        ):
            response = await self.world.send(service, self.rng, "GET", path, buyer, None)
            if response is not None and response.status not in (200, 503):
                self.wrong.append(f"{path} answered {response.status} to its buyer")

    async def _order(self, key: str, buyer: str, body: dict[str, Any], patience: int) -> str:
        """Order, and again while the answer is 503 or none. The id that was promised; empty where none was."""
        for attempt in range(patience + 1):
            response = await self.world.send("order", self.rng, "POST", "/orders", buyer, body, key)
            if response is not None and response.status == 201:
                order_id = str(msgspec.json.decode(response.body)["order_id"])
                if order_id != order_id_of(SALE, buyer, key):
                    self.wrong.append(f"order {order_id} is not what {buyer} asked for under {key}")
                self.promised[order_id] = buyer
                return order_id
            if response is not None and response.status != 503:
                return ""
            await self.world.clock.sleep(min(0.25 * 2**attempt, 3.0))
        return ""


async def _sale(seed: int, faults: Sequence[Fault], makers: Makers, loss: Loss | None) -> Verdict:
    rng = random.Random(seed)
    world = World(faults, makers, loss)
    await world.open()
    await world.clock.sleep(0.05)
    buyers = _Buyers(world, rng)
    shopping = [asyncio.create_task(buyers.wish(number)) for number in range(WISHES)]
    await asyncio.gather(*shopping)
    violations = list(buyers.wrong)
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + QUIET_WITHIN_S
    while busy := await world.busy():
        if loop.time() > give_up_s:
            violations.append(f"not quiet after {QUIET_WITHIN_S} s: {busy}")
            break
        await world.clock.sleep(1.0)
    world.over = True
    healed_s = loop.time() - world.struck_s if world.struck else 0.0
    violations += await _judge(world, buyers)
    passed = dict(world.passed)
    struck_at = frozenset(fault.point for fault in world.struck)
    return Verdict(
        seed,
        violations,
        world.trace,
        passed,
        len(world.struck),
        world.deaths,
        struck_at,
        healed_s,
    )


async def _judge(world: World, buyers: _Buyers) -> list[str]:
    ledger = await reconcile(
        SALE, world.stock, world.sql, world.broker, now_ms=world.clock.now_ms()
    )
    wrong = [f"{one.kind} {one.id} {one.sku}: {one.detail}" for one in ledger.breaks]
    if ledger.oversold_units:
        wrong.append(f"{ledger.oversold_units} units oversold")
    # A confirm of units that the store has forgotten may take it below zero, and so may a rebuild: one shard of a SKU.
    if not world.lost and not world.passed["rebuild.restore.after"]:
        wrong += world.data.wrong
    async for half in world.broker.discarded(ORDERS):
        wrong.append(f"half message {half.tx_id} was set aside unanswered")
    orders = {order.order_id: order for order in world.sql.every_order()}
    for order_id in buyers.promised:
        if order_id not in orders or orders[order_id].state == OrderState.TOMBSTONE:
            wrong.append(f"order {order_id} was promised and is not there")
    held: dict[tuple[str, str], int] = {}
    sold: dict[str, int] = {}
    for order in sorted(orders.values(), key=lambda order: order.created_ms):
        if order.state not in LIVE_STATES:
            continue
        sold[order.sku] = sold.get(order.sku, 0) + order.units
        units = held[order.buyer, order.sku] = held.get((order.buyer, order.sku), 0) + order.units
        limit = ITEMS[order.sku][0].limit_per_buyer
        # Until somebody notices that it came back from an older copy, the store knows less of its buyers.
        unnoticed = world.lost and world.lost_ms <= order.created_ms <= world.doubted_ms
        if limit and units > limit and not unnoticed:
            wrong.append(f"{order.buyer} holds {units} of {order.sku}, the limit is {limit}")
    for sku, (item, _) in ITEMS.items():
        if sold.get(sku, 0) > item.stock:
            wrong.append(f"{sold[sku]} of {sku} sold, {item.stock} seeded")
    async for row in world.stock.counts():
        if row.left != row.seeded - sold.get(row.sku, 0):
            wrong.append(
                f"{row.sku}: {row.left} left and {sold.get(row.sku, 0)} sold of {row.seeded}"
            )
    for topic, group in GROUPS:
        if dead := (await world.broker.depth(topic, group)).dead:
            wrong.append(f"{dead} dead letters of {group} on {topic}")
    return wrong


def play(
    seed: int,
    faults: Sequence[Fault] = (),
    makers: Makers | None = None,
    loss: Loss | None = None,
) -> Verdict:
    """One sale, from its seeding to its ledger."""
    with _repeatable(seed):
        return simulate(_sale(seed, faults, makers or Makers(), loss))


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """No chance but the seed's, no clock but the sale's, and few enough partitions to be quick."""
    chance = random.Random(seed ^ 0x5EED)

    class Seeded(random.Random):
        def __init__(self, wanted: Any = None) -> None:
            super().__init__(chance.getrandbits(64) if wanted is None else wanted)

    state = random.getstate()
    random.seed(seed)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            patch.object(secrets, "token_hex", lambda size=16: f"{chance.getrandbits(8 * size):x}"),
            patch.object(random, "Random", Seeded),
            patch.object(time, "monotonic", lambda: asyncio.get_running_loop().time()),
            patch.object(memory_broker, "POLL_MS", LONG_POLL_MS),
            patch.object(check_back, "POLL_MS", 2_000),
            patch.object(domain_stock, "PARTITIONS", 4),
            patch.object(redis_stock, "PARTITIONS", 4),
            patch.object(redis_stock_ledger, "PARTITIONS", 4),
            patch.object(redis_stock_seed, "PARTITIONS", 4),
            patch.object(upkeep, "BOARD_EVERY_S", 0.8),
            patch.object(rebuild, "PAGE", 3),
            patch.object(rebuild, "PARTITIONS", 4),
        ):
            yield
    finally:
        logging.disable(level)
        random.setstate(state)
