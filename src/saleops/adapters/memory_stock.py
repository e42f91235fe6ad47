"""The stock store in memory: the rules of ``lua/stock`` in Python, for tests and simulations.

One process, one thread; shards are not modelled (a SKU is one counter, the sum of its shards; its changes are written to the
mark of its first partition), everything else answers as Redis does. ``copy`` and ``put_back`` are for tests: a server that
comes back from an older copy of itself.
"""

import copy
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from saleops.domain.stock import (
    PARTITIONS,
    RESALE_PAUSE_MS,
    Answer,
    Claim,
    Reservation,
    SkuCount,
    Verdict,
    partition_of,
)
from saleops.errors import Refused
from saleops.ports.stock import Mark, Restored, SeedRow, SeedState, StaleEpoch, UnitsLeft


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
        self.server = secrets.token_hex(20)
        self._seen_epoch = ""
        self._seen = [0] * PARTITIONS
        self._forget()

    def _forget(self) -> None:
        self._epoch = ""
        self._version = ""
        self._state = ""  # "seeding", "held" or "open"
        self._counters: dict[str, _Counter] = {}
        self._held: dict[str, _Held] = {}
        self._writes = [0] * PARTITIONS

    def copy(self) -> "MemoryStockStore":
        """What a backup would hold now."""
        return copy.deepcopy(self)

    def put_back(self, old: "MemoryStockStore", *, restarted: bool = True) -> None:
        """Be ``old`` from now on, as a server is that was restored from it; it usually starts anew for that."""
        taken = old.copy()
        self._epoch, self._version, self._state = taken._epoch, taken._version, taken._state
        self._counters, self._held, self._writes = taken._counters, taken._held, taken._writes
        if restarted:
            self.server = secrets.token_hex(20)

    def _note(self) -> None:
        """What every answer shows: that no partition is behind what it has shown."""
        if self._epoch != self._seen_epoch:
            self._seen_epoch, self._seen = self._epoch, [0] * PARTITIONS
        for partition, was in enumerate(self._seen):
            if self._writes[partition] < was:
                raise StaleEpoch(
                    f"the stock store came back from an older copy of itself: partition {partition} shows "
                    f"{self._writes[partition]:,} writes and had shown {was:,}",
                    hint="Order workers verify or rebuild it.",
                )
        self._seen = list(self._writes)

    def _wrote(self, skus: Iterable[str]) -> None:
        """One call changed these: a write for each of their partitions."""
        for partition in {partition_of(sku) for sku in skus}:
            self._writes[partition] += 1

    def _wrote_all(self) -> None:
        self._writes = [writes + 1 for writes in self._writes]

    async def ping(self) -> None:
        """Memory always answers."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def seed_state(self) -> SeedState:
        if not self._epoch:
            return SeedState("", "", complete=False)
        self._note()
        marks = tuple(Mark(writes, self.server) for writes in self._writes)
        return SeedState(self._epoch, self._version, self._state == "open", marks)

    async def begin_seed(self, epoch: str, version: str) -> None:
        if self._epoch and (epoch, version) != (self._epoch, self._version):
            raise Refused(
                f"the stock store holds a live sale already (epoch {self._epoch}); nothing was changed",
                hint=f"To replace it pass --replace {self._epoch}.",
            )
        if not self._epoch:
            self._epoch, self._version, self._state = epoch, version, "seeding"
            self._wrote_all()

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
        if new:
            self._writes[partition] += 1
        return new

    async def finish_seed(self, epoch: str, hot: Mapping[str, int]) -> None:
        self._check(epoch, selling=False)
        self._state = "open"
        self._wrote_all()

    async def restore(
        self, epoch: str, rows: Sequence[Restored], *, hot: Mapping[str, int] | None = None
    ) -> None:
        self._check(epoch, selling=False)
        if self._state != "seeding":
            raise StaleEpoch(f"restoring orders: NOTSEEDING {self._state}; nothing was changed")
        new = [row for row in rows if row.sku and row.order_id not in self._held]
        for row in new:
            claim = Claim(row.order_id, row.sku, row.buyer, row.units)
            self._held[row.order_id] = _Held(claim, 0, row.state)
            if row.state == "sold":
                counter = self._counters[row.sku]
                counter.left -= row.units
                counter.sold += row.units
                if counter.limit:
                    counter.buyers[row.buyer] = counter.buyers.get(row.buyer, 0) + row.units
        self._wrote(row.sku for row in new)

    async def hold(self, epoch: str, *, new_epoch: str) -> bool:
        if self._state not in ("open", "held") or self._epoch not in (epoch, new_epoch):
            return False
        if self._epoch != new_epoch:
            self._epoch, self._state = new_epoch, "held"
            self._wrote_all()
        return True

    async def clear(self) -> None:
        self._forget()
        self._seen = [0] * PARTITIONS

    def _check(self, epoch: str, *, selling: bool) -> None:
        if epoch != self._epoch or not epoch or (selling and self._state != "open"):
            raise StaleEpoch(
                f"the stock store is not on this sale's epoch (STALE {self._epoch or 'none'}); nothing was changed",
                hint="Run `saleops seed` for this sale.",
            )
        self._note()

    async def reserve(
        self, epoch: str, claims: Sequence[Claim], *, now_ms: int, expires_ms: int
    ) -> list[Answer]:
        self._check(epoch, selling=True)
        for claim in claims:
            if not 1 <= claim.units <= 1_000_000:
                raise ValueError(f"reserving: BADUNITS {claim.units}")
        answers = [self._reserve(claim, now_ms, expires_ms) for claim in claims]
        pairs = zip(claims, answers, strict=True)
        self._wrote(claim.sku for claim, answer in pairs if answer.verdict == Verdict.RESERVED)
        self._note()
        return answers

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
        changed: list[str] = []
        for claim in claims:
            counter = self._counters[claim.sku]
            held = self._held.get(claim.order_id)
            if held is not None and held.state != "reserved":
                continue  # sold already; or released, and a confirm that comes late takes nothing back
            if held is not None:
                counter.reserved -= claim.units
            else:
                counter.left -= claim.units
                if counter.limit:
                    counter.buyers[claim.buyer] = counter.buyers.get(claim.buyer, 0) + claim.units
            counter.sold += claim.units
            self._held[claim.order_id] = _Held(claim, 0, "sold")
            changed.append(claim.sku)
        self._wrote(changed)
        self._note()

    async def release(self, epoch: str, claims: Sequence[Claim], *, now_ms: int) -> int:
        self._check(epoch, selling=False)
        changed = 0
        touched: list[str] = []
        for claim in claims:
            held = self._held.get(claim.order_id)
            if held is None:
                self._held[claim.order_id] = _Held(claim, 0, "released")
                touched.append(claim.sku)
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
            touched.append(held.claim.sku)
        self._wrote(touched)
        self._note()
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
