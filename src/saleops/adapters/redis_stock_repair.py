"""A repair's rows in Redis: raw fields of the SKUs it is about, and ``lua/stock/amend.lua`` to change them.

The counters of any number of SKUs are read in pipelines of HMGET; what is held of them by scanning each SKU's own hash in every
partition where it can be.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import msgspec

from saleops.adapters.stock_server import StockServer, call_of
from saleops.domain.repair import Amend
from saleops.domain.repair_facts import HeldRow, ShardRow
from saleops.domain.stock import PARTITIONS, RESALE_PAUSE_MS
from saleops.errors import StoreUnavailable
from saleops.ports.repair import Changed, Fate, StockRows

_pack = msgspec.msgpack.Encoder().encode
_LETTERS = "ILRSTG"
_PLACES = {"units": 2, "buyers": 4, "held": 5}
_FATES = {1: Fate.DONE, 0: Fate.ALREADY, 2: Fate.CHANGED, 3: Fate.SHORT}
_SKUS_AT_ONCE = 200


class RedisStockRepair:
    """StockRepair of one sale."""

    def __init__(self, server: StockServer, *, sale: str) -> None:
        self._server = server
        self._sale = sale

    def _key(self, partition: int, noun: str) -> bytes:
        return f"stock:{{{self._sale}:{partition}}}:{noun}".encode()

    async def rows(self, skus: Collection[str], order_ids: Collection[str]) -> StockRows:
        shards: list[ShardRow] = []
        held: list[HeldRow] = []
        sums: dict[tuple[int, str, str], int] = {}
        lent: set[str] = set()
        wanted = set(order_ids)
        ordered = sorted(skus)
        for partition in range(PARTITIONS):
            here: list[str] = []
            for at in range(0, len(ordered), _SKUS_AT_ONCE):
                part = ordered[at : at + _SKUS_AT_ONCE]
                found = await self._shards(partition, part)
                shards += found
                here += [row.sku for row in found]
            if here and await self._has_lent(partition):
                lent.update(here)
            for sku in here:
                async for row in self._held(partition, sku):
                    if row.holds:
                        place = (partition, sku, row.state)
                        sums[place] = sums.get(place, 0) + row.units
                    if row.order_id in wanted:
                        held.append(row)
        return StockRows(shards, held, sums, frozenset(lent))

    async def _shards(self, partition: int, skus: Sequence[str]) -> list[ShardRow]:
        """Those of ``skus`` that this partition knows anything of."""
        names = [letter + sku for sku in skus for letter in _LETTERS]
        values = await self._server.ask(
            "reading counters", "HMGET", self._key(partition, "units"), *names
        )
        rows = []
        for at, sku in enumerate(skus):
            part = values[at * len(_LETTERS) : (at + 1) * len(_LETTERS)]
            fields = {
                letter: value.decode()
                for letter, value in zip(_LETTERS, part, strict=True)
                if value is not None
            }
            if fields:
                rows.append(ShardRow(partition, sku, fields))
        return rows

    async def _has_lent(self, partition: int) -> bool:
        for noun in ("lent", "borrowed"):
            if await self._server.ask("reading loans", "EXISTS", self._key(partition, noun)):
                return True
        return False

    async def _held(self, partition: int, sku: str) -> AsyncIterator[HeldRow]:
        key, cursor = self._key(partition, f"held:{sku}"), 0
        seen: dict[str, str] = {}
        while True:
            cursor, found = await self._server.ask("reading", "HSCAN", key, cursor, "COUNT", 2000)
            flat = (
                found.items()
                if isinstance(found, dict)
                else zip(found[::2], found[1::2], strict=True)
            )
            for field, value in flat:
                seen[field.decode()] = value.decode()  # a field may come twice
            if not int(cursor):
                break
        for order_id, text in seen.items():
            row = HeldRow(partition, sku, order_id, text)
            try:
                _ = row.units, row.expires_ms, row.buyer
            except (ValueError, IndexError) as error:
                raise StoreUnavailable(
                    f"the reservation {order_id} of {sku} is {text!r}, which nothing of ours has written",
                    hint="Somebody else writes to this Redis, or its memory is damaged: mend that field by hand.",
                ) from error
            yield row

    async def amend(self, epoch: str, act: Amend, *, now_ms: int) -> Changed:
        keys = [self._key(act.partition, noun) for noun in ("meta", "units", "due", "buyers")]
        keys.append(self._key(act.partition, f"held:{act.sku}"))
        guards = [
            (_PLACES[one.place], one.name, _or_false(one.before), _or_false(one.after))
            for one in act.fields
        ]
        adds = [(_PLACES[one.place], one.name, one.units) for one in act.adds]
        due = [(one.member, _or_false(one.after)) for one in act.due]
        blob = _pack((guards, adds, due))
        args = (epoch, now_ms, now_ms + RESALE_PAUSE_MS, int(act.undo), blob)
        [reply] = await self._server.run([call_of("amend", keys, args)], "repairing counters")
        verdict, field, value = reply
        what = f"{field.decode()} holds {value.decode() or 'nothing'}" if field else ""
        return Changed(_FATES[int(verdict)], what)


def _or_false(value: Any) -> Any:
    """Lua cannot tell an absent element from a list that ends: False stands for absent."""
    return False if value is None else value
