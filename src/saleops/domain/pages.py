"""The catalog's pages: their cache keys, their bodies, and how long each of them lives.

A page is cached as the very bytes that a buyer receives, so a hit costs no encoding. Whoever makes pages, the catalog
on a miss or ``saleops prewarm cache`` for all of them, makes them here. An absent page is cached as ``ABSENT``, which
no JSON document equals.
"""

import re
from collections.abc import Sequence

import msgspec

from saleops.domain.items import SKU_MAX_LENGTH, Item

ABSENT = b""
"""The cached answer "there is no such product"."""

PRODUCT = "product/"
REVIEWS = "reviews/"
RELATED = "related/"
FRONT_PAGE = "list/front"
"""The first page of the product list in its usual length: the only list that is asked for often enough to cache."""

LIST_LIMIT = 50  # products on a page of the list, unless the caller says otherwise
LIST_LIMIT_MAX = 200
REVIEWS_LIMIT = 20  # newest reviews on a page
RELATED_LIMIT = 8  # recommendations on a page
REVIEWS_TTL_MAX_MS = 60_000
"""A review is seen at once where its writer's rebuild wins every race, and after this long in any case."""

REVIEW_TEXT_MAX = 2000  # characters

SKU_PATTERN = rf"[A-Za-z0-9._:/-]{{1,{SKU_MAX_LENGTH}}}"
is_sku = re.compile(SKU_PATTERN).fullmatch
"""A match where the text can be a SKU at all; anything else is absent without asking anybody."""


class ProductPage(msgspec.Struct, frozen=True, gc=False):
    """A product as buyers see it. Units left are not on it: they change faster than a page lives."""

    sku: str
    name: str
    price_fen: int
    limit_per_buyer: int
    department: str
    category: str


class ReviewEntry(msgspec.Struct, frozen=True, gc=False):
    """One review. Who wrote it stays private: a buyer's id is the ``sub`` of their token."""

    stars: int
    text: str
    created_ms: int


class ReviewsPage(msgspec.Struct, frozen=True, gc=False):
    sku: str
    reviews: Sequence[ReviewEntry]


class RelatedProduct(msgspec.Struct, frozen=True, gc=False):
    sku: str
    name: str
    price_fen: int


class RelatedPage(msgspec.Struct, frozen=True, gc=False):
    """Recommendations: the most popular others of the same category."""

    sku: str
    products: Sequence[RelatedProduct]


class ListPage(msgspec.Struct, frozen=True, gc=False):
    """Products in SKU order. ``next`` is the ``after`` of the next page, empty on the last."""

    products: Sequence[ProductPage]
    next: str


_encode = msgspec.json.Encoder().encode


def _product_page(item: Item) -> ProductPage:
    return ProductPage(
        item.sku, item.name, item.price_fen, item.limit_per_buyer, item.department, item.category
    )


def encode_product(item: Item) -> bytes:
    return _encode(_product_page(item))


def encode_reviews(sku: str, reviews: Sequence[ReviewEntry]) -> bytes:
    return _encode(ReviewsPage(sku, reviews))


def encode_related(sku: str, items: Sequence[Item]) -> bytes:
    products = [RelatedProduct(item.sku, item.name, item.price_fen) for item in items]
    return _encode(RelatedPage(sku, products))


def encode_list(items: Sequence[Item], *, limit: int) -> bytes:
    """``items`` are up to ``limit`` + 1 products: the one too many says that another page follows."""
    shown = items[:limit]
    after = shown[-1].sku if len(items) > limit else ""
    return _encode(ListPage([_product_page(item) for item in shown], after))


def ttl_range_ms(ttl_ms: int, jitter: float) -> tuple[int, int]:
    """The shortest and the longest life of a page: ``ttl_ms`` x (1 ± ``jitter``), whole milliseconds, 1 or more.

    Raises ValueError for a ``ttl_ms`` below 1 or a ``jitter`` outside 0 .. 1 (1 excluded).
    """
    if ttl_ms < 1 or not 0 <= jitter < 1:
        raise ValueError(f"no lifetimes in {ttl_ms} ms x (1 ± {jitter})")
    spread = round(ttl_ms * jitter)
    return max(1, ttl_ms - spread), ttl_ms + spread


_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, fill 0 .. 1 more evenly than chance does


def spread_ttl_ms(position: int, start: float, low_ms: int, high_ms: int) -> int:
    """The life of the page at ``position`` (0, 1, ...) of a long row that is written at once.

    Additive recurrence by the golden ratio from ``start`` (0 .. 1): lifetimes fill low .. high evenly at every length
    of the row, where independent random ones would put twice the mean into some second.
    """
    return low_ms + int((start + position * _GOLDEN) % 1.0 * (high_ms - low_ms + 1))
