"""Puts a sale's units into Redis, and clears, holds and restores them when the store has lost something."""

from collections.abc import Mapping, Sequence
from typing import Any

from saleops.adapters.redis_counters import BATCH, RedisCounters, pack
from saleops.adapters.redis_server import command_call
from saleops.adapters.stock_server import call_of
from saleops.domain.stock import PARTITIONS, Claim
from saleops.ports.stock import Mark, Restored, SeedRow, SeedState, StaleEpoch


class RedisSeeding(RedisCounters):
    """The seeding side of the stock store."""

    async def seed_state(self) -> SeedState:
        keys = [self._key(partition, "meta") for partition in range(PARTITIONS)]
        seen = {epoch: dict(shown) for epoch, shown in self._seen.items()}
        fields = ("epoch", "version", "state", "writes")
        replies = await self._server.run(
            [command_call("HMGET", key, *fields) for key in keys], "reading the seed state"
        )
        rows = [[(field or b"").decode() for field in reply] for reply in replies]
        epochs = {(epoch, version) for epoch, version, _, _ in rows}
        if len(epochs - {("", "")}) > 1:
            raise StaleEpoch(
                "the partitions of the stock store disagree about their epoch: it was restored in part, or is being "
                "rebuilt",
                hint="Order workers rebuild it while `saleops serve` runs; else run `saleops reconcile`.",
            )
        epoch, version = max(epochs)
        complete = all(state == "open" for _, _, state, _ in rows)
        if not epoch:
            return SeedState(epoch, version, complete)
        # Asked after the counters: a server that restarts in between shows its new id.
        servers = await self._server.run_ids(keys, "asking which servers hold the counters")
        marks = tuple(
            Mark(int(row[3] or 0), server or "unnamed")
            for row, server in zip(rows, servers, strict=True)
        )
        for partition, mark in enumerate(marks):
            self._note(epoch, partition, seen.get(epoch, {}).get(partition, 0), mark.writes)
        return SeedState(epoch, version, complete, marks)

    async def begin_seed(self, epoch: str, version: str) -> None:
        calls = [
            self._call("begin", partition, "meta units", epoch, version)
            for partition in range(PARTITIONS)
        ]
        await self._server.run(calls, "beginning to seed")

    async def seed(self, epoch: str, partition: int, rows: Sequence[SeedRow]) -> int:
        flat: list[Any] = []
        for row in rows:
            flat += (row.sku, f"{row.price_fen} {row.units} {row.limit_per_buyer}")
        calls = [
            self._call("seed", partition, "meta units", epoch, pack(flat[at : at + BATCH * 2]))
            for at in range(0, len(flat), BATCH * 2)
        ]
        return sum(await self._server.run(calls, "seeding")) if calls else 0

    async def finish_seed(self, epoch: str, hot: Mapping[str, int]) -> None:
        # The nameless field says that the list is there, although no SKU may be split.
        fields = [str(text) for pair in {"": 0, **hot}.items() for text in pair]
        await self._server.ask("writing the split SKUs", "HSET", self._hot_key, *fields)
        calls = [self._call("open", partition, "meta", epoch) for partition in range(PARTITIONS)]
        await self._server.run(calls, "opening the sale")
        self._hot = dict(hot)

    async def restore(
        self, epoch: str, rows: Sequence[Restored], *, hot: Mapping[str, int] | None = None
    ) -> None:
        if hot is not None:
            self._hot = dict(hot)
        rows = [row for row in rows if row.sku]
        claims = [Claim(row.order_id, row.sku, row.buyer, row.units) for row in rows]
        calls = []
        for partition, positions in (await self._homes(claims)).items():
            for at in range(0, len(positions), BATCH):
                places: dict[str, int] = {}
                packed = [
                    (
                        claims[i].order_id,
                        claims[i].sku,
                        claims[i].buyer,
                        claims[i].units,
                        places.setdefault(claims[i].sku, len(places) + 1),
                        "X" if rows[i].state == "released" else "S",
                    )
                    for i in positions[at : at + BATCH]
                ]
                keys = [*self._keys(partition, "meta units buyers")]
                keys += [self._held_key(partition, sku) for sku in places]
                calls.append(call_of("restore", keys, (epoch, pack(packed))))
        if calls:
            await self._server.run(calls, "restoring orders")

    async def hold(self, epoch: str, *, new_epoch: str) -> bool:
        calls = [
            self._call("hold", partition, "meta", epoch, new_epoch)
            for partition in range(PARTITIONS)
        ]
        return all(await self._server.run(calls, "holding the counters"))

    async def clear(self) -> None:
        nouns = "meta units due buyers lent borrowed"
        for partition in range(PARTITIONS):
            counters = self._scan(self._key(partition, "units"))
            skus = {field[1:] async for field, _ in counters if field[0] in "RSG"}
            held = [command_call("UNLINK", self._held_key(partition, sku)) for sku in skus]
            for at in range(0, len(held), BATCH):
                await self._server.run(held[at : at + BATCH], "clearing")
            await self._server.ask("clearing", "UNLINK", *self._keys(partition, nouns))
        await self._server.ask("clearing", "UNLINK", self._hot_key)
        self._hot = None
        self._seen = {}
