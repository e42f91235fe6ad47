"""The catalog's part of an orders database, in memory: it counts its calls and can be held up or broken."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from saleops.domain.items import Item
from saleops.errors import StoreUnavailable
from saleops.ports.orders import OrderBook, Review, SaleRow


def item(number: int) -> Item:
    return Item(
        f"sku-{number:06d}", f"Tee {number}", 100 + number, 5, 2, 1.0, "clothes", f"c{number % 3}"
    )


class Shelf:
    """``items`` on a shelf. ``before`` runs ahead of each call (to block or count); ``broken`` makes calls fail."""

    def __init__(self, items: Sequence[Item], *, before: Callable[[], None] | None = None) -> None:
        self.items = sorted(items, key=lambda one: one.sku)
        self.calls: list[str] = []
        self.broken = False
        self.complete = True
        self.version = "v1"
        self._before = before
        self._reviews: dict[tuple[str, str], Review] = {}

    @property
    def book(self) -> OrderBook:
        return cast(OrderBook, self)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self._before:
            self._before()
        if self.broken:
            raise StoreUnavailable("the shelf is broken", hint="Mend it.")

    def sale(self, name: str) -> SaleRow | None:
        if name == "nowhere":
            return None
        return SaleRow(name, "epoch", self.version, len(self.items), 1, self.complete)

    def product(self, sku: str) -> Item | None:
        self._called("product")
        return next((one for one in self.items if one.sku == sku), None)

    def products(self, *, after: str = "", limit: int = 1000) -> list[Item]:
        self._called("products")
        return [one for one in self.items if one.sku > after][:limit]

    def related(self, sku: str, *, limit: int) -> list[Item]:
        self._called("related")
        category = next(one.category for one in self.items if one.sku == sku)
        return [one for one in self.items if one.category == category and one.sku != sku][:limit]

    def reviews(self, sku: str, *, limit: int) -> list[Review]:
        self._called("reviews")
        mine = [one for one in self._reviews.values() if one.sku == sku]
        return sorted(mine, key=lambda one: -one.created_ms)[:limit]

    def add_review(self, review: Review) -> None:
        self._called("add_review")
        self._reviews[review.sku, review.buyer] = review

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the catalog has no business with {name}")
