"""The stock store on Redis, Valkey or Tair: Lua scripts under one hash tag a partition.

A batch of claims becomes one script call per partition; all calls of a batch travel together (stock_server.py).
"""

import secrets
from collections.abc import Sequence

import msgspec

from saleops.adapters.redis_counters import BATCH, pack
from saleops.adapters.redis_stock_ledger import RedisLedger
from saleops.adapters.redis_stock_seed import RedisSeeding
from saleops.domain.stock import (
    PARTITIONS,
    RESALE_PAUSE_MS,
    Answer,
    Claim,
    Verdict,
    partition_of,
    shard_of,
)
from saleops.errors import StoreUnavailable
from saleops.ports.stock import StaleEpoch, UnitsLeft

_unpack_answers = msgspec.msgpack.Decoder(list[Answer]).decode
_unpack_counts = msgspec.msgpack.Decoder(list[tuple[int, int, int, int, int, int]]).decode
_UNANSWERED = Answer(Verdict.UNANSWERED, 0, 0)


class RedisStockStore(RedisSeeding, RedisLedger):
    """One sale's stock: sells its units, on top of seeding them and of reading them for the ledger."""

    async def reserve(
        self, epoch: str, claims: Sequence[Claim], *, now_ms: int, expires_ms: int
    ) -> list[Answer]:
        answers = [_UNANSWERED] * len(claims)
        seen = self._seen_under(epoch)
        calls, places, known = [], [], []
        for partition, positions in (await self._homes(claims)).items():
            for at in range(0, len(positions), BATCH):
                part = positions[at : at + BATCH]
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
                known.append((partition, seen.get(partition, 0)))
        try:
            replies = await self._server.try_all(calls, "reserving") if calls else []
        except StaleEpoch:
            self._hot = None
            raise
        silent = [reply for reply in replies if isinstance(reply, Exception)]
        for error in silent:
            if len(silent) == len(replies) or not isinstance(error, StoreUnavailable):
                raise error
        for part, (partition, was), reply in zip(places, known, replies, strict=True):
            if isinstance(reply, Exception):
                continue  # one node of several is silent: its claims stay unanswered, the others sell
            writes, packed = reply
            self._note(epoch, partition, was, writes)
            for i, answer in zip(part, _unpack_answers(packed), strict=True):
                answers[i] = answer
        hot = await self._shards()
        for i, claim in enumerate(claims):
            answer = answers[i]
            if answer.verdict == Verdict.SOLD_OUT and claim.sku in hot:
                try:
                    answers[i] = await self._walk(epoch, claim, hot[claim.sku], now_ms, expires_ms)
                except StaleEpoch:
                    raise  # it is about the whole sale
                except StoreUnavailable:
                    if len(claims) == 1:
                        raise
                    answers[i] = _UNANSWERED
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
                    await self._transfer(epoch, claim.sku, donor, home, claim.units - here, now_ms)
            call = self._claim_call(
                "reserve", home, "meta units due buyers", [claim], epoch, expires_ms, now_ms
            )
            was = self._seen_under(epoch).get(home, 0)
            [(writes, packed)] = await self._server.run([call], "reserving")
            self._note(epoch, home, was, writes)
            [answer] = _unpack_answers(packed)
            if answer.verdict != Verdict.SOLD_OUT:
                return answer
        return Answer(Verdict.SOLD_OUT, max(left, 0), 0)

    async def _left_per_shard(self, epoch: str, sku: str, shards: int) -> dict[int, int]:
        partitions = [partition_of(sku, shard) for shard in range(shards)]
        blob = pack([sku])
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
        await self._server.run(
            [self._call("settle", donor, "meta units lent", transfer)], "settling"
        )

    async def confirm(self, epoch: str, claims: Sequence[Claim]) -> None:
        await self._by_partition("confirm", "meta units due buyers", claims, epoch)

    async def release(self, epoch: str, claims: Sequence[Claim], *, now_ms: int) -> int:
        sellable_ms = now_ms + RESALE_PAUSE_MS
        return await self._by_partition(
            "release", "meta units due buyers", claims, epoch, now_ms, sellable_ms
        )

    async def _by_partition(
        self, name: str, nouns: str, claims: Sequence[Claim], epoch: str, *args: str | int
    ) -> int:
        seen = self._seen_under(epoch)
        calls, known = [], []
        for partition, positions in (await self._homes(claims)).items():
            for at in range(0, len(positions), BATCH):
                part = [claims[i] for i in positions[at : at + BATCH]]
                calls.append(self._claim_call(name, partition, nouns, part, epoch, *args))
                known.append((partition, seen.get(partition, 0)))
        replies = await self._server.run(calls, f"{name} of orders") if calls else []
        for (partition, was), (_, writes) in zip(known, replies, strict=True):
            self._note(epoch, partition, was, writes)
        return sum(changed for changed, _ in replies)

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
            for at in range(0, len(positions), BATCH):
                part = positions[at : at + BATCH]
                blob = pack([skus[i] for i in part])
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

    async def settle_transfers(self, epoch: str, *, older_than_ms: int, now_ms: int) -> int:
        finished = 0
        for partition in range(PARTITIONS):
            for transfer, text in await self._loans(partition):
                units, at_ms, home, sku = text.split(" ", 3)
                if int(at_ms) <= now_ms - older_than_ms:
                    await self._arrive(epoch, transfer, sku, partition, int(home), int(units))
                    finished += 1
        return finished
