"""The catalog service: pages that a hundred times the usual traffic reads, served as cached bytes.

A hit costs one place in a shared MGET and no encoding. Reviews and recommendations are handlers, cache entries
and builders of their own, so that either can be switched off while products stay. What is the same for everybody
may be kept by the edge (``s-maxage``), absent products too but shortly; an answer to a buyer never is.
"""

import logging
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec

from saleops.config.settings import ServiceSettings
from saleops.domain.pages import (
    FRONT_PAGE,
    LIST_LIMIT,
    LIST_LIMIT_MAX,
    PRODUCT,
    RELATED,
    REVIEW_TEXT_MAX,
    REVIEWS,
    REVIEWS_TTL_MAX_MS,
    SKU_PATTERN,
    ListPage,
    ProductPage,
    RelatedPage,
    ReviewEntry,
    ReviewsPage,
    is_sku,
)
from saleops.errors import StoreUnavailable
from saleops.operations.pages import Build, PageLife, PageReader, PageUnavailable
from saleops.ports.cache import PageCache
from saleops.ports.clock import Clock, WallClock
from saleops.ports.orders import Review
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.catalog.pages import Bulkhead, PageBuilder
from saleops.services.web import (
    PRIVATE,
    Headers,
    Refusal,
    Request,
    Response,
    Route,
    Service,
    encode,
    problem,
)

log = logging.getLogger("saleops.services")

EDGE_TTL_MAX_S = (
    60  # a page may be this old at the edge, and as old again while the edge fetches it anew
)
ABSENT_TTL_MS = 10_000

Authenticate = Callable[[Request], Identity]


class NewReview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stars: Annotated[int, msgspec.Meta(ge=1, le=5)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=REVIEW_TEXT_MAX)]


_decode_review = msgspec.json.Decoder(NewReview)


def _public(seconds: int) -> Headers:
    age = f"public, s-maxage={seconds}, stale-while-revalidate={seconds}"
    return [("content-type", "application/json"), ("cache-control", age)]


def _no_product() -> Response:
    response = problem(404, "no-such-product", "There is no such product")
    kept = f"public, s-maxage={ABSENT_TTL_MS // 1000}"
    headers = [(name, kept if name == "cache-control" else text) for name, text in response.headers]
    return Response(404, headers, response.body)


def _busy() -> Refusal:
    headers = [("retry-after", "1")]
    return Refusal(503, "busy", "The catalog is busy", "Ask again in a second.", headers=headers)


class Catalog:
    """The handlers. One object a process."""

    def __init__(
        self,
        reader: PageReader,
        build: PageBuilder,
        database: Bulkhead,
        cache: PageCache,
        *,
        page_ttl_ms: int,
        authenticate: Authenticate,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._build = build
        self._database = database
        self._cache = cache
        self._authenticate = authenticate
        self._clock = clock
        self._headers = _public(max(1, min(EDGE_TTL_MAX_S, page_ttl_ms // 1000)))
        self._reviews_ttl_ms = min(REVIEWS_TTL_MAX_MS, page_ttl_ms)
        self._absent = _no_product()

    async def product(self, request: Request) -> Response:
        return await self._about(request, PRODUCT, self._build.product, 0)

    async def reviews(self, request: Request) -> Response:
        return await self._about(request, REVIEWS, self._build.reviews, self._reviews_ttl_ms)

    async def recommendations(self, request: Request) -> Response:
        return await self._about(request, RELATED, self._build.related, 0)

    async def _about(self, request: Request, kind: str, build: Build, ttl_ms: int) -> Response:
        sku = request.path_args[0]
        if not is_sku(sku):
            return self._absent
        try:
            body = await self._reader.page(kind + sku, build, sku, ttl_ms=ttl_ms)
        except PageUnavailable:
            raise _busy() from None
        return Response(200, self._headers, body) if body else self._absent

    async def add_review(self, request: Request) -> Response:
        buyer = self._authenticate(request).buyer
        sku = request.path_args[0]
        new = request.decode(_decode_review)
        entry = ReviewEntry(new.stars, new.text, self._clock.now_ms())
        try:
            if not is_sku(sku) or not await self._build.is_product(sku):
                return problem(404, "no-such-product", "There is no such product")
            review = Review(sku, buyer, entry.stars, entry.text, entry.created_ms)
            await self._database.call(partial(self._database.book.add_review, review))
        except StoreUnavailable:
            raise _busy() from None  # a second sending replaces the first, so the buyer may just repeat it
        await self._show_reviews_anew(sku)
        return Response(201, PRIVATE, encode(entry))

    async def _show_reviews_anew(self, sku: str) -> None:
        """Replace the cached reviews. The review is durable already: what fails here only shows it later."""
        try:
            body = await self._build.reviews(sku)
            ttl_ms = self._reader.lifetime_ms(body, self._reviews_ttl_ms)
            await self._cache.put(REVIEWS + sku, body, ttl_ms=ttl_ms)
        except StoreUnavailable as error:
            log.warning("the reviews of %s stay as cached until they expire: %s", sku, error)

    async def products(self, request: Request) -> Response:
        after, limit = _list_query(request.query)
        try:
            if not after and limit == LIST_LIMIT:
                body = await self._reader.page(FRONT_PAGE, self._build.front_page, "")
            else:
                key = f"list/{limit}/{after}"
                build = partial(self._build.products, limit=limit)
                body = await self._reader.uncached(key, build, after)
        except PageUnavailable:
            raise _busy() from None
        return Response(200, self._headers, body)

    def metrics(self) -> str:
        return _METRICS.format(
            misses=self._reader.misses, hits=self._reader.hits, queries=self._database.queries
        )


_METRICS = """\
# HELP saleops_cache_hits_total Requests for a page that the cache had.
# TYPE saleops_cache_hits_total counter
saleops_cache_hits_total {hits}
# HELP saleops_cache_misses_total Requests for a page that the cache did not have (or did not answer for).
# TYPE saleops_cache_misses_total counter
saleops_cache_misses_total {misses}
# HELP saleops_db_queries_total Calls to the orders database.
# TYPE saleops_db_queries_total counter
saleops_db_queries_total {queries}
"""


def _list_query(query: str) -> tuple[str, int]:
    """``after`` and ``limit`` of a list. Raises a 400 Refusal for what cannot be either."""
    if not query:
        return "", LIST_LIMIT
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=8))
    except ValueError:
        raise Refusal(400, "invalid-parameter", "Too many parameters") from None
    after, text = given.get("after", ""), given.get("limit", str(LIST_LIMIT))
    if after and not is_sku(after):
        raise Refusal(400, "invalid-parameter", "after is not a SKU")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LIST_LIMIT_MAX):
        detail = f"It is a whole number from 1 to {LIST_LIMIT_MAX}."
        raise Refusal(400, "invalid-parameter", "limit does not fit", detail)
    return after, int(text)


def _routes(catalog: Catalog) -> tuple[Route, ...]:
    sku = {"sku": {"type": "string", "pattern": f"^{SKU_PATTERN}$"}}
    after = (
        False,
        {"type": "string", "pattern": f"^({SKU_PATTERN})?$"},
        "Products after this SKU.",
    )
    limit_schema = {
        "type": "integer",
        "minimum": 1,
        "maximum": LIST_LIMIT_MAX,
        "default": LIST_LIMIT,
    }
    limit = (False, limit_schema, "Products on a page.")
    return (
        Route(
            "GET",
            "/products/{sku}",
            catalog.product,
            "One product",
            "getProduct",
            "catalog",
            {200: ProductPage},
            (404, 503),
            path_params=sku,
        ),
        Route(
            "GET",
            "/products",
            catalog.products,
            "Products in SKU order",
            "listProducts",
            "catalog",
            {200: ListPage},
            (400, 503),
            query_params={"after": after, "limit": limit},
            description="Keyset pages: pass `next` of one page as `after` of the following one.",
        ),
        Route(
            "GET",
            "/products/{sku}/reviews",
            catalog.reviews,
            "The newest reviews of a product",
            "listReviews",
            "catalog",
            {200: ReviewsPage},
            (404, 503),
            path_params=sku,
        ),
        Route(
            "POST",
            "/products/{sku}/reviews",
            catalog.add_review,
            "Review a product",
            "addReview",
            "catalog",
            {201: ReviewEntry},
            (400, 401, 404, 422, 503),
            body=NewReview,
            authenticated=True,
            path_params=sku,
            description="One review a buyer and product: a second one replaces the first.",
        ),
        Route(
            "GET",
            "/products/{sku}/recommendations",
            catalog.recommendations,
            "Others like this product",
            "listRecommendations",
            "catalog",
            {200: RelatedPage},
            (404, 503),
            path_params=sku,
        ),
    )


def create_app(
    book: BookThread,
    cache: PageCache,
    settings: ServiceSettings,
    *,
    authenticate: Authenticate,
    clock: Clock | None = None,
    rng: Random | None = None,
) -> Service:
    """The catalog on an open book and an open cache, which stay the caller's to close after the service stopped."""
    clock = clock or WallClock()
    life = PageLife(settings.page_ttl_ms, settings.page_ttl_jitter, absent_ttl_ms=ABSENT_TTL_MS)
    reader = PageReader(cache, life=life, clock=clock, rng=rng or Random())
    database = Bulkhead(book)
    catalog = Catalog(
        reader,
        PageBuilder(database, reader),
        database,
        cache,
        page_ttl_ms=settings.page_ttl_ms,
        authenticate=authenticate,
        clock=clock,
    )
    return Service("catalog", _routes(catalog), stop=reader.close, metrics=catalog.metrics)
