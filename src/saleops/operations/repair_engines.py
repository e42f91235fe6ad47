"""What a repair works on: every engine of a sale, open at once, with the rows as they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from saleops.domain.ledger import Ledger
from saleops.domain.messages import ORDERS, decode_batch
from saleops.events import Observer, silent
from saleops.operations.rebuild import Books
from saleops.operations.reconcile import reconcile
from saleops.ports.broker import Broker
from saleops.ports.clock import Clock
from saleops.ports.payments import PaymentProvider, Refunds
from saleops.ports.repair import BookRepair, StockRepair
from saleops.ports.stock import StockStore


class Provider(PaymentProvider, Refunds, Protocol):
    """A payment provider that also gives back."""


@dataclass(frozen=True)
class RepairEngines:
    """The engines of ``sale``; ``stock_rows`` and ``book_rows`` are their raw rows."""

    sale: str
    stock: StockStore
    books: Books
    broker: Broker
    stock_rows: StockRepair
    book_rows: BookRepair
    payments: Provider
    clock: Clock
    observe: Observer = silent

    async def ledger(self, *, grace_ms: int = 0) -> Ledger:
        return await reconcile(
            self.sale,
            self.stock,
            self.books.book,
            self.broker,
            now_ms=self.clock.now_ms(),
            grace_ms=grace_ms,
            observe=self.observe,
        )

    async def announced(self, order_ids: Iterable[str]) -> frozenset[str]:
        """Those of ``order_ids`` that a visible message is about."""
        ids = frozenset(order_ids)
        seen: set[str] = set()
        async for body in self.broker.browse(ORDERS):
            try:
                batch = decode_batch(body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the ledger names it
            seen.update(line.order_id for line in batch.orders if line.order_id in ids)
        return frozenset(seen)
