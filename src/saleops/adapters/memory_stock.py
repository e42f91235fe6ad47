"""The stock store in memory: the rules of ``lua/stock`` in Python, for tests and simulations.

One process, one thread; shards are not modelled (a SKU is one counter, the sum of its shards), everything else answers as
Redis does.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from saleops.domain.stock import RESALE_PAUSE_MS, Answer, Claim, Reservation, SkuCount, Verdict
from saleops.errors import Refused
from saleops.ports.stock import SeedRow, SeedState, StaleEpoch, UnitsLeft


@dataclass(slots=True)
class _Counter:
    seeded: int
    left: int
    price_fen: int
    limit: int
    reserved: int = 0
    sold: int = 0
    releases: int = 0
    waiting: int = 0  # of what is left, not to be sold before ``sellable_ms``
    sellable_ms: int = 0
    buyers: dict[str, int] = field(default_factory=dict)

    def for_sale(self, now_ms: int) -> int:
        return self.left - (self.waiting if now_ms < self.sellable_ms else 0)

    partitions: set[int] = field(default_factory=set)  # whose shard has been seeded


@dataclass(slots=True)
class _Held:
    claim: Claim
    expires_ms: int
    state: str


class MemoryStockStore:
    def __init__(self) -> None:
        self._epoch = ""
        self._version = ""
        self._open = False
        self._counters: dict[str, _Counter] = {}
        self._held: dict[str, _Held] = {}

    async def ping(self) -> None:
        """Memory always answers."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def seed_state(self) -> SeedState:
        return SeedState(self._epoch, self._version, self._open)

    async def begin_seed(self, epoch: str, version: str) -> None:
        if self._epoch and (epoch, version) != (self._epoch, self._version):
            raise Refused(
                f"the stock store holds a live sale already (epoch {self._epoch}); nothing was changed",
                hint=f"To replace it pass --replace {self._epoch}.",
            )
        self._epoch, self._version = epoch, version

    async def seed(self, epoch: str, partition: int, rows: Sequence[SeedRow]) -> int:
        self._check(epoch, selling=False)
        new = 0
        for row in rows:
            counter = self._counters.setdefault(
                row.sku, _Counter(0, 0, row.price_fen, row.limit_per_buyer)
            )
            if partition not in counter.partitions:
                counter.partitions.add(partition)
                counter.seeded += row.units
                counter.left += row.units
                new += 1
        return new

    async def finish_seed(self, epoch: str, hot: Mapping[str, int]) -> None:
        self._check(epoch, selling=False)
        self._open = True

    async def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # back to the state it was made in

    def _check(self, epoch: str, *, selling: bool) -> None:
        if epoch != self._epoch or not epoch or (selling and not self._open):
            raise StaleEpoch(
                f"the stock store is not on this sale's epoch (STALE {self._epoch or 'none'}); nothing was changed",
                hint="Run `saleops seed` for this sale.",
            )

    async def reserve(
        self, epoch: str, claims: Sequence[Claim], *, now_ms: int, expires_ms: int
    ) -> list[Answer]:
        self._check(epoch, selling=True)
        for claim in claims:
            if not 1 <= claim.units <= 1_000_000:
                raise ValueError(f"reserving: BADUNITS {claim.units}")
        return [self._reserve(claim, now_ms, expires_ms) for claim in claims]

    def _reserve(self, claim: Claim, now_ms: int, expires_ms: int) -> Answer:
        counter = self._counters.get(claim.sku)
        left = counter.for_sale(now_ms) if counter else 0
        price = counter.price_fen if counter else 0
        held = self._held.get(claim.order_id)
        if held is not None:
            if (held.claim.sku, held.claim.units) != (claim.sku, claim.units):
                return Answer(Verdict.MISMATCH, left, 0)
            verdict = Verdict.RELEASED if held.state == "released" else Verdict.DUPLICATE
            return Answer(verdict, left, price)
        if counter is None:
            return Answer(Verdict.NOT_SEEDED, 0, 0)
        taken = counter.buyers.get(claim.buyer, 0)
        if counter.limit and taken + claim.units > counter.limit:
            return Answer(Verdict.OVER_LIMIT, left, 0)
        if left < claim.units:
            return Answer(Verdict.SOLD_OUT, left, 0)
        counter.left -= claim.units
        counter.reserved += claim.units
        if counter.limit:
            counter.buyers[claim.buyer] = taken + claim.units
        self._held[claim.order_id] = _Held(claim, expires_ms, "reserved")
        return Answer(Verdict.RESERVED, left - claim.units, price)

    async def confirm(self, epoch: str, claims: Sequence[Claim]) -> None:
        self._check(epoch, selling=False)
        for claim in claims:
            counter = self._counters[claim.sku]
            held = self._held.get(claim.order_id)
            if held is not None and held.state == "sold":
                continue
            if held is not None and held.state == "reserved":
                counter.reserved -= claim.units
            else:
                counter.left -= claim.units
            counter.sold += claim.units
            self._held[claim.order_id] = _Held(claim, 0, "sold")

    async def release(self, epoch: str, claims: Sequence[Claim], *, now_ms: int) -> int:
        self._check(epoch, selling=False)
        changed = 0
        for claim in claims:
            held = self._held.get(claim.order_id)
            if held is None:
                self._held[claim.order_id] = _Held(claim, 0, "released")
                continue
            if held.state == "released":
                continue
            counter = self._counters[held.claim.sku]
            if counter.for_sale(now_ms) <= 0:
                waiting = counter.waiting if now_ms < counter.sellable_ms else 0
                counter.waiting = waiting + held.claim.units
                counter.sellable_ms = now_ms + RESALE_PAUSE_MS
            if held.state == "reserved":
                counter.reserved -= held.claim.units
            else:
                counter.sold -= held.claim.units
            counter.left += held.claim.units
            counter.releases += 1
            if held.claim.buyer in counter.buyers:
                counter.buyers[held.claim.buyer] -= held.claim.units
            held.state = "released"
            changed += 1
        return changed

    async def expired(self, epoch: str, *, now_ms: int, limit: int) -> list[Claim]:
        self._check(epoch, selling=False)
        due = [h for h in self._held.values() if h.state == "reserved" and h.expires_ms <= now_ms]
        due.sort(key=lambda held: held.expires_ms)
        return [held.claim for held in due[:limit]]

    async def units_left(self, epoch: str, skus: Sequence[str]) -> list[UnitsLeft]:
        self._check(epoch, selling=False)
        found = [self._counters.get(sku) for sku in skus]
        return [UnitsLeft(c.left, c.releases) if c else UnitsLeft(-1, 0) for c in found]

    async def buyers(self, skus: Sequence[str]) -> list[frozenset[str]]:
        held = [held.claim for held in self._held.values()]
        return [frozenset(claim.buyer for claim in held if claim.sku == sku) for sku in skus]

    async def settle_transfers(self, epoch: str, *, older_than_ms: int, now_ms: int) -> int:
        return 0  # without shards nothing is ever lent

    async def counts(self) -> AsyncIterator[SkuCount]:
        for sku, counter in self._counters.items():
            yield SkuCount(sku, counter.seeded, counter.left, counter.reserved, counter.sold)

    async def reservations(self) -> AsyncIterator[Reservation]:
        for held in self._held.values():
            claim = held.claim
            yield Reservation(
                claim.order_id, claim.sku, claim.buyer, claim.units, held.expires_ms, held.state
            )
