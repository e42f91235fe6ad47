"""What the ledger reads of a sale's counters in Redis: every SKU's sums, every reservation, every buyer who holds units."""

from collections.abc import AsyncIterator, Sequence

from saleops.adapters.redis_counters import RedisCounters
from saleops.domain.stock import PARTITIONS, Reservation, SkuCount, partition_of
from saleops.errors import StoreUnavailable

_STATES = {"R": "reserved", "S": "sold", "X": "released"}
_UNTOUCHED = -(2**60)  # no counter of what is left yet: all of it is


class RedisLedger(RedisCounters):
    """The reading side of the stock store."""

    async def buyers(self, skus: Sequence[str]) -> list[frozenset[str]]:
        hot = await self._shards()
        found = []
        for sku in skus:
            names: set[str] = set()
            for shard in range(hot.get(sku, 1)):
                key = self._held_key(partition_of(sku, shard), sku)
                names.update([text.split(" ", 3)[3] async for _, text in self._scan(key)])
            found.append(frozenset(names))
        return found

    async def counts(self) -> AsyncIterator[SkuCount]:
        try:
            async for row in self._counts():
                yield row
        except (ValueError, IndexError) as error:
            raise _unreadable("a counter", error) from error

    async def _counts(self) -> AsyncIterator[SkuCount]:
        hot = await self._shards()
        split: dict[str, list[int]] = {}
        in_transit = await self._in_transit()
        for partition in range(PARTITIONS):
            rows: dict[str, list[int]] = {}  # seeded, left, reserved, sold
            async for field, value in self._scan(self._key(partition, "units")):
                kind, sku = field[0], field[1:]
                if kind == "#":
                    continue
                row = rows.setdefault(sku, [0, _UNTOUCHED, 0, 0])
                if kind == "I":
                    row[0] = int(value.split(" ")[1])
                elif kind in "LRS":
                    row["LRS".index(kind) + 1] = int(value)
            for row in rows.values():
                row[1] = row[0] if row[1] == _UNTOUCHED else row[1]
            for sku, row in rows.items():
                if sku in hot:
                    total = split.setdefault(sku, [0, 0, 0, 0])
                    for i, figure in enumerate(row):
                        total[i] += figure
                else:
                    yield _count(sku, row, in_transit)
        for sku, row in split.items():
            yield _count(sku, row, in_transit)

    async def _in_transit(self) -> dict[str, int]:
        units: dict[str, int] = {}
        for partition in range(PARTITIONS):
            for transfer, text in await self._loans(partition):
                lent, _, home, sku = text.split(" ", 3)
                key = self._key(int(home), "borrowed")
                if not await self._server.ask("reading loans", "HEXISTS", key, transfer):
                    units[sku] = units.get(sku, 0) + int(lent)
        return units

    async def reservations(self) -> AsyncIterator[Reservation]:
        try:
            async for row in self._reservations():
                yield row
        except (ValueError, KeyError) as error:
            raise _unreadable("a reservation", error) from error

    async def _reservations(self) -> AsyncIterator[Reservation]:
        for partition in range(PARTITIONS):
            # Whatever was ever held of a SKU left a counter behind; HSCAN may give a field twice, hence the set.
            counters = self._scan(self._key(partition, "units"))
            skus = {field[1:] async for field, _ in counters if field[0] in "RSG"}
            for sku in skus:
                held = {k: v async for k, v in self._scan(self._held_key(partition, sku))}
                for order_id, text in held.items():
                    state, units, expires, buyer = text.split(" ", 3)
                    yield Reservation(
                        order_id, sku, buyer, int(units), int(expires), _STATES[state]
                    )


def _unreadable(what: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the stock store holds {what} that nothing of ours has written: {error}",
        hint="Somebody else writes to this Redis, or its memory is damaged: look for keys of stock:{SALE:*}.",
    )


def _count(sku: str, row: list[int], in_transit: dict[str, int]) -> SkuCount:
    seeded, left, reserved, sold = row
    return SkuCount(sku, seeded, left, reserved, sold, in_transit.get(sku, 0))
