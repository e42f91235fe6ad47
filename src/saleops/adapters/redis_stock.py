"""The stock store on Redis, Valkey or Tair: Lua scripts under one hash tag a partition.

A batch of claims becomes one script call per partition; all calls of a batch travel together (stock_server.py).
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from saleops.adapters.stock_server import Call, StockServer, call_of
from saleops.domain.stock import (
    PARTITIONS,
    RESALE_PAUSE_MS,
    Answer,
    Claim,
    Reservation,
    SkuCount,
    Verdict,
    partition_of,
    shard_of,
)
from saleops.errors import StoreUnavailable
from saleops.ports.stock import SeedRow, SeedState, StaleEpoch, UnitsLeft

_BATCH = 1000  # the scripts' own bound
_pack = msgspec.msgpack.Encoder().encode
_unpack_answers = msgspec.msgpack.Decoder(list[Answer]).decode
_unpack_counts = msgspec.msgpack.Decoder(list[tuple[int, int, int, int, int, int]]).decode
_STATES = {"R": "reserved", "S": "sold", "X": "released"}


_UNTOUCHED = -(2**60)  # no counter of what is left yet: all of it is
_UNANSWERED = Answer(Verdict.NOT_SEEDED, 0, 0)


class RedisStockStore:
    """One sale's counters. Made with ``from_url``; ``close`` gives its connections back."""

    def __init__(self, server: StockServer, *, sale: str) -> None:
        self._server = server
        self._sale = sale
        self._hot: dict[str, int] | None = None
        self._keys = cache(self._name_keys)  # a few per partition, asked for with every batch

    @classmethod
    def from_url(cls, url: str, *, sale: str, timeout_s: float = 5.0) -> "RedisStockStore":
        """No connection is made yet. Raises ConfigError for a URL that is not one of Redis."""
        return cls(StockServer(url, timeout_s=timeout_s), sale=sale)

    async def close(self) -> None:
        await self._server.close()

    async def ping(self) -> None:
        await self._server.ask("asking whether the stock store is there", "PING")

    # -- keys and calls ------------------------------------------------------------------------------------

    def _key(self, partition: int, noun: str) -> bytes:
        return f"stock:{{{self._sale}:{partition}}}:{noun}".encode()

    def _held_key(self, partition: int, sku: str) -> bytes:
        return f"stock:{{{self._sale}:{partition}}}:held:{sku}".encode()

    @property
    def _hot_key(self) -> str:
        return f"stock:{{{self._sale}}}:hot"

    def _name_keys(self, partition: int, nouns: str) -> tuple[bytes, ...]:
        return tuple(self._key(partition, noun) for noun in nouns.split())

    def _call(self, name: str, partition: int, nouns: str, *args: str | int | bytes) -> Call:
        return call_of(name, self._keys(partition, nouns), args)

    def _claim_call(
        self,
        name: str,
        partition: int,
        nouns: str,
        claims: Sequence[Claim],
        *args: str | int | bytes,
    ) -> Call:
        """A script over claims: each names its SKU's own key by its place among the keys."""
        places: dict[str, int] = {}
        rows = [
            (c.order_id, c.sku, c.buyer, c.units, places.setdefault(c.sku, len(places) + 1))
            for c in claims
        ]
        keys = [*self._keys(partition, nouns), *[self._held_key(partition, sku) for sku in places]]
        return call_of(name, keys, (*args, _pack(rows)))

    # -- seeding -------------------------------------------------------------------------------------------

    async def seed_state(self) -> SeedState:
        states = set()
        for partition in range(PARTITIONS):
            found = await self._server.ask(
                "reading the seed state",
                "HMGET",
                self._key(partition, "meta"),
                "epoch",
                "version",
                "state",
            )
            states.add(tuple((field or b"").decode() for field in found))
        epochs = {(epoch, version) for epoch, version, _ in states}
        if len(epochs - {("", "")}) > 1:
            raise StaleEpoch(
                "the partitions of the stock store disagree about their epoch: it was restored in part",
                hint="Run `saleops reconcile` before anything is sold.",
            )
        epoch, version = max(epochs)
        complete = all(state == "open" for _, _, state in states)
        return SeedState(epoch=epoch, version=version, complete=complete)

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
            self._call("seed", partition, "meta units", epoch, _pack(flat[at : at + _BATCH * 2]))
            for at in range(0, len(flat), _BATCH * 2)
        ]
        return sum(await self._server.run(calls, "seeding")) if calls else 0

    async def finish_seed(self, epoch: str, hot: Mapping[str, int]) -> None:
        if hot:
            fields = [str(text) for pair in hot.items() for text in pair]
            await self._server.ask("writing the split SKUs", "HSET", self._hot_key, *fields)
        calls = [self._call("open", partition, "meta", epoch) for partition in range(PARTITIONS)]
        await self._server.run(calls, "opening the sale")
        self._hot = dict(hot)

    async def clear(self) -> None:
        nouns = "meta units due buyers lent borrowed"
        for partition in range(PARTITIONS):
            counters = self._scan(self._key(partition, "units"))
            skus = {field[1:] async for field, _ in counters if field[0] in "RSG"}
            for sku in skus:
                await self._server.ask("clearing", "UNLINK", self._held_key(partition, sku))
            await self._server.ask("clearing", "UNLINK", *self._keys(partition, nouns))
        await self._server.ask("clearing", "UNLINK", self._hot_key)
        self._hot = None

    async def _shards(self) -> dict[str, int]:
        if self._hot is None:
            found = await self._server.ask("reading the split SKUs", "HGETALL", self._hot_key)
            pairs = (
                found.items()
                if isinstance(found, dict)
                else zip(found[::2], found[1::2], strict=True)
            )
            self._hot = {sku.decode(): int(shards) for sku, shards in pairs}
        return self._hot

    # -- selling -------------------------------------------------------------------------------------------

    async def _homes(self, claims: Sequence[Claim]) -> dict[int, list[int]]:
        """Partition -> the positions of the claims that belong there."""
        hot = self._hot if self._hot is not None else await self._shards()
        homes: dict[int, list[int]] = {}
        for at, claim in enumerate(claims):
            shards = hot.get(claim.sku, 1)
            shard = shard_of(claim.buyer, shards) if shards > 1 else 0
            homes.setdefault(partition_of(claim.sku, shard), []).append(at)
        return homes

    async def reserve(
        self, epoch: str, claims: Sequence[Claim], *, now_ms: int, expires_ms: int
    ) -> list[Answer]:
        answers = [_UNANSWERED] * len(claims)
        calls, places = [], []
        for partition, positions in (await self._homes(claims)).items():
            for at in range(0, len(positions), _BATCH):
                part = positions[at : at + _BATCH]
                calls.append(
                    self._claim_call(
                        "reserve",
                        partition,
                        "meta units due buyers",
                        [claims[i] for i in part],
                        epoch,
                        expires_ms,
                        now_ms,
                    )
                )
                places.append(part)
        try:
            replies = await self._server.run(calls, "reserving") if calls else []
        except StaleEpoch:
            self._hot = None
            raise
        for part, reply in zip(places, replies, strict=True):
            for i, answer in zip(part, _unpack_answers(reply), strict=True):
                answers[i] = answer
        hot = await self._shards()
        for i, claim in enumerate(claims):
            answer = answers[i]
            if answer.verdict == Verdict.SOLD_OUT and claim.sku in hot:
                answers[i] = await self._walk(epoch, claim, hot[claim.sku], now_ms, expires_ms)
        return answers

    async def _walk(
        self, epoch: str, claim: Claim, shards: int, now_ms: int, expires_ms: int
    ) -> Answer:
        """The buyer's own shard is dry: bring units from the siblings before saying so.

        Each pass asks how much every shard has and borrows from the richest. Others sell meanwhile, so the passes
        are bounded: each one either brings units, or ends the walk because together there are too few.
        """
        home = partition_of(claim.sku, shard_of(claim.buyer, shards))
        left = 0
        for _ in range(shards * 2):
            per_shard = await self._left_per_shard(epoch, claim.sku, shards)
            left = sum(per_shard.values())
            if left < claim.units:
                break
            here = per_shard.pop(home, 0)
            if here < claim.units:
                donor = max(per_shard, key=lambda partition: per_shard[partition])
                if per_shard[donor] > 0:
                    await self._transfer(
                        epoch, claim.sku, donor, home, claim.units - max(here, 0), now_ms
                    )
            call = self._claim_call(
                "reserve", home, "meta units due buyers", [claim], epoch, expires_ms, now_ms
            )
            [reply] = await self._server.run([call], "reserving")
            [answer] = _unpack_answers(reply)
            if answer.verdict != Verdict.SOLD_OUT:
                return answer
        return Answer(Verdict.SOLD_OUT, max(left, 0), 0)

    async def _left_per_shard(self, epoch: str, sku: str, shards: int) -> dict[int, int]:
        partitions = [partition_of(sku, shard) for shard in range(shards)]
        blob = _pack([sku])
        calls = [self._call("count", p, "meta units", epoch, blob) for p in partitions]
        replies = await self._server.run(calls, "counting")
        return {
            p: _unpack_counts(reply)[0][1] for p, reply in zip(partitions, replies, strict=True)
        }

    async def _transfer(
        self, epoch: str, sku: str, donor: int, home: int, wanted: int, now_ms: int
    ) -> None:
        transfer = secrets.token_hex(8)
        lend = self._call(
            "lend", donor, "meta units lent", epoch, transfer, sku, wanted, home, now_ms
        )
        [given] = await self._server.run([lend], "lending")
        if given:
            await self._arrive(epoch, transfer, sku, donor, home, given)

    async def _arrive(
        self, epoch: str, transfer: str, sku: str, donor: int, home: int, units: int
    ) -> None:
        borrow = self._call("borrow", home, "meta units borrowed", epoch, transfer, sku, units)
        await self._server.run([borrow], "borrowing")
        # Settled only after the units arrived: a crash in between leaves the loan for settle_transfers.
        await self._server.run([self._call("settle", donor, "units lent", transfer)], "settling")

    async def confirm(self, epoch: str, claims: Sequence[Claim]) -> None:
        await self._by_partition("confirm", "meta units due", claims, epoch)

    async def release(self, epoch: str, claims: Sequence[Claim], *, now_ms: int) -> int:
        sellable_ms = now_ms + RESALE_PAUSE_MS
        return await self._by_partition(
            "release", "meta units due buyers", claims, epoch, now_ms, sellable_ms
        )

    async def _by_partition(
        self, name: str, nouns: str, claims: Sequence[Claim], *args: str | int
    ) -> int:
        calls = []
        for partition, positions in (await self._homes(claims)).items():
            for at in range(0, len(positions), _BATCH):
                part = [claims[i] for i in positions[at : at + _BATCH]]
                calls.append(self._claim_call(name, partition, nouns, part, *args))
        return sum(await self._server.run(calls, f"{name} of orders")) if calls else 0

    async def expired(self, epoch: str, *, now_ms: int, limit: int) -> list[Claim]:
        calls = [
            self._call("expired", partition, "meta due", epoch, now_ms, limit)
            for partition in range(PARTITIONS)
        ]
        claims: list[Claim] = []
        for members in await self._server.run(calls, "looking for expired reservations"):
            for member in members:
                order_id, units, sku, buyer = member.decode().split(" ", 3)
                claims.append(Claim(order_id, sku, buyer, int(units)))
        return claims[:limit]

    async def units_left(self, epoch: str, skus: Sequence[str]) -> list[UnitsLeft]:
        hot = await self._shards()
        asked: dict[int, list[int]] = {}
        for at, sku in enumerate(skus):
            for shard in range(hot.get(sku, 1)):
                asked.setdefault(partition_of(sku, shard), []).append(at)
        calls, places = [], []
        for partition, positions in asked.items():
            for at in range(0, len(positions), _BATCH):
                part = positions[at : at + _BATCH]
                blob = _pack([skus[i] for i in part])
                calls.append(self._call("count", partition, "meta units", epoch, blob))
                places.append(part)
        left, releases = [-1] * len(skus), [0] * len(skus)
        replies = await self._server.run(calls, "counting") if calls else []
        for part, reply in zip(places, replies, strict=True):
            for i, (total, units, _, _, given_back, in_transit) in zip(
                part, _unpack_counts(reply), strict=True
            ):
                if total >= 0:
                    left[i] = max(left[i], 0) + units + in_transit
                    releases[i] += given_back
        return [UnitsLeft(*pair) for pair in zip(left, releases, strict=True)]

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

    async def settle_transfers(self, epoch: str, *, older_than_ms: int, now_ms: int) -> int:
        finished = 0
        for partition in range(PARTITIONS):
            for transfer, text in await self._loans(partition):
                units, at_ms, home, sku = text.split(" ", 3)
                if int(at_ms) <= now_ms - older_than_ms:
                    await self._arrive(epoch, transfer, sku, partition, int(home), int(units))
                    finished += 1
        return finished

    async def _loans(self, partition: int) -> list[tuple[str, str]]:
        found = await self._server.ask("reading loans", "HGETALL", self._key(partition, "lent"))
        return _pairs(found)

    # -- the ledger ----------------------------------------------------------------------------------------

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

    async def _scan(self, key: bytes) -> AsyncIterator[tuple[str, str]]:
        """The fields of a hash; one may come twice."""
        cursor = 0
        while True:
            cursor, found = await self._server.ask("reading", "HSCAN", key, cursor, "COUNT", 2000)
            for pair in _pairs(found):
                yield pair
            if not int(cursor):
                return


def _unreadable(what: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the stock store holds {what} that nothing of ours has written: {error}",
        hint="Somebody else writes to this Redis, or its memory is damaged: look for keys of stock:{SALE:*}.",
    )


def _count(sku: str, row: list[int], in_transit: dict[str, int]) -> SkuCount:
    seeded, left, reserved, sold = row
    return SkuCount(sku, seeded, left, reserved, sold, in_transit.get(sku, 0))


def _pairs(found: Any) -> list[tuple[str, str]]:
    """The fields of a hash reply, which is a dict or a flat list by the protocol's version."""
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return [(field.decode(), value.decode()) for field, value in pairs]
