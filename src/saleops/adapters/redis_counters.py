"""A sale's counters in Redis: how their keys are called, which partition a claim belongs to, and how far each partition has come.

What is done with them builds on this: seeding (redis_stock_seed.py), selling (redis_stock.py), the ledger
(redis_stock_ledger.py).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from typing import Any, Self

import msgspec

from saleops.adapters.stock_server import Call, StockServer, call_of
from saleops.domain.stock import Claim, partition_of, shard_of
from saleops.ports.stock import StaleEpoch

BATCH = 1000  # the scripts' own bound
_EPOCHS_MAX = 4  # whose writes are remembered
_NOTHING: Mapping[int, int] = {}
pack = msgspec.msgpack.Encoder().encode


class RedisCounters:
    """One sale's counters. Made with ``from_url``; ``close`` gives its connections back."""

    def __init__(self, server: StockServer, *, sale: str) -> None:
        self._server = server
        self._sale = sale
        self._hot: dict[str, int] | None = None
        # Epoch -> partition -> the furthest ``writes`` that an answer has shown.
        self._seen: dict[str, dict[int, int]] = {}
        self._keys = cache(self._name_keys)  # a few per partition, asked for with every batch

    @classmethod
    def from_url(cls, url: str, *, sale: str, timeout_s: float = 5.0) -> Self:
        """No connection is made yet. Raises ConfigError for a URL that is not one of Redis."""
        return cls(StockServer(url, timeout_s=timeout_s), sale=sale)

    async def close(self) -> None:
        await self._server.close()

    async def ping(self) -> None:
        await self._server.ping("asking whether the stock store is there")

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
        return call_of(name, keys, (*args, pack(rows)))

    # -- where a SKU's units are ----------------------------------------------------------------------------

    async def _shards(self) -> dict[str, int]:
        if self._hot is None:
            found = await self._server.ask("reading the split SKUs", "HGETALL", self._hot_key)
            hot = {sku: int(shards) for sku, shards in _pairs(found)}
            if not hot:
                return {}  # an emptied store: what it does not say must not be remembered beyond its rebuilding
            hot.pop("", None)
            self._hot = hot
        return self._hot

    async def _homes(self, claims: Sequence[Claim]) -> dict[int, list[int]]:
        """Partition -> the positions of the claims that belong there."""
        hot = self._hot if self._hot is not None else await self._shards()
        homes: dict[int, list[int]] = {}
        for at, claim in enumerate(claims):
            shards = hot.get(claim.sku, 1)
            shard = shard_of(claim.buyer, shards) if shards > 1 else 0
            homes.setdefault(partition_of(claim.sku, shard), []).append(at)
        return homes

    # -- how far a partition has come -----------------------------------------------------------------------

    def _seen_under(self, epoch: str) -> Mapping[int, int]:
        """How far each partition is known to have come. What is asked from now on must show as much."""
        return self._seen.get(epoch, _NOTHING)

    def _note(self, epoch: str, partition: int, was: int, writes: int) -> None:
        """An answer showed ``writes``; ``was`` had been shown before it was asked for."""
        if writes < was:
            raise StaleEpoch(
                f"the stock store came back from an older copy of itself: partition {partition} shows {writes:,} "
                f"writes and had shown {was:,}",
                hint="Order workers verify or rebuild it while `saleops serve` runs; else run `saleops reconcile`.",
            )
        shown = self._seen.get(epoch)
        if shown is None:
            while len(self._seen) >= _EPOCHS_MAX:
                del self._seen[next(iter(self._seen))]
            shown = self._seen[epoch] = {}
        if writes > shown.get(partition, 0):
            shown[partition] = writes

    # -- reading ------------------------------------------------------------------------------------------

    async def _loans(self, partition: int) -> list[tuple[str, str]]:
        found = await self._server.ask("reading loans", "HGETALL", self._key(partition, "lent"))
        return _pairs(found)

    async def _scan(self, key: bytes) -> AsyncIterator[tuple[str, str]]:
        """The fields of a hash; one may come twice."""
        cursor = 0
        while True:
            cursor, found = await self._server.ask("reading", "HSCAN", key, cursor, "COUNT", 2000)
            for pair in _pairs(found):
                yield pair
            if not int(cursor):
                return


def _pairs(found: Any) -> list[tuple[str, str]]:
    """The fields of a hash reply, which is a dict or a flat list by the protocol's version."""
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return [(field.decode(), value.decode()) for field, value in pairs]
