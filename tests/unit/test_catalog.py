"""The catalog's HTTP face, on the memory cache and a shelf that counts its calls."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from saleops.adapters.memory_cache import MemoryPageCache
from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.domain.items import Item
from saleops.errors import StoreUnavailable
from saleops.ports.tokens import Identity
from saleops.services.book import BookThread
from saleops.services.catalog.app import create_app
from saleops.services.catalog.pages import LISTS_MAX, READS_MAX
from saleops.services.web import Refusal, Request, Response, Service
from shelf import Shelf, item

SETTINGS = ServiceSettings(
    sale="midnight-drop",
    redis_url="",
    database_url="",
    broker_url="",
    jwt=JwtSettings(hs256_secret="x" * 32),
)


class HandClock:
    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        await asyncio.sleep(0)


class Shop:
    """A catalog on ``shelf``; ``get`` and ``post`` as a buyer's client would."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.clock = HandClock()
        self.cache = MemoryPageCache(self.clock)
        self.thread = BookThread(shelf.book)
        self.service: Service = create_app(
            self.thread,
            self.cache,
            SETTINGS,
            authenticate=self._authenticate,
            clock=self.clock,
            rng=Random(1),
        )

    @staticmethod
    def _authenticate(request: Request) -> Identity:
        buyer = request.headers.get("authorization")
        if not buyer:
            raise Refusal(401, "unauthorized", "Sign in first")
        return Identity(buyer, 2**31)

    async def get(self, path: str, query: str = "") -> Response:
        return await self.service.answer(Request("GET", path, query, {}, b""))

    async def post(self, path: str, body: Any, *, buyer: str = "") -> Response:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": buyer} if buyer else {}
        return await self.service.answer(Request("POST", path, "", headers, text))


def run(scenario: Callable[[Shop], Awaitable[None]], shelf: Shelf | None = None) -> None:
    async def whole() -> None:
        shop = Shop(shelf or Shelf([item(n) for n in range(120)]))
        try:
            await scenario(shop)
        finally:
            assert shop.service.stop
            await shop.service.stop()
            shop.thread.close()

    asyncio.run(whole())


def header(response: Response, name: str) -> str:
    return dict(response.headers).get(name, "")


def test_a_product_page_is_built_once_and_then_served_as_it_is() -> None:
    async def scenario(shop: Shop) -> None:
        first = await shop.get("/products/sku-000007")
        second = await shop.get("/products/sku-000007")

        assert first.status == second.status == 200
        assert json.loads(first.body) == {
            "sku": "sku-000007",
            "name": "Tee 7",
            "price_fen": 107,
            "limit_per_buyer": 2,
            "department": "clothes",
            "category": "c1",
        }
        assert second.body is first.body
        assert header(first, "cache-control") == "public, s-maxage=60, stale-while-revalidate=60"
        assert shop.shelf.calls == ["product"]

    run(scenario)


def test_an_absent_product_is_a_problem_that_is_cached_shortly() -> None:
    async def scenario(shop: Shop) -> None:
        for _ in range(3):
            response = await shop.get("/products/none")
            assert response.status == 404
            assert header(response, "content-type") == "application/problem+json"
            assert header(response, "cache-control") == "public, s-maxage=10"
            assert json.loads(response.body)["type"] == "/problems/no-such-product"

        assert shop.shelf.calls == ["product"]
        shop.shelf.items.append(item(900))
        shop.clock.ms += 12_001
        assert (await shop.get("/products/sku-000900")).status == 200

    run(scenario)


@pytest.mark.parametrize("sku", ["a b", "a%20b", "x" * 65, "\0", "a{b", "杯"])
def test_what_cannot_be_a_sku_is_absent_without_asking_anybody(sku: str) -> None:
    async def scenario(shop: Shop) -> None:
        for path in (f"/products/{sku}", f"/products/{sku}/reviews"):
            assert (await shop.get(path)).status == 404

        assert shop.shelf.calls == []
        assert shop.cache._pages == {}

    run(scenario)


def test_a_sku_may_hold_slashes() -> None:
    path = "/products/tee/red:xl"  # as the server hands it over: decoded, once

    async def scenario(shop: Shop) -> None:
        shop.shelf.items.append(Item("tee/red:xl", "Tee", 100, 5, category="c0"))

        assert json.loads((await shop.get(path)).body)["sku"] == "tee/red:xl"
        assert json.loads((await shop.get(f"{path}/reviews")).body)["reviews"] == []
        assert (await shop.get(f"{path}/recommendations")).status == 200

    run(scenario)


def test_recommendations_are_others_of_the_same_category() -> None:
    async def scenario(shop: Shop) -> None:
        await shop.get("/products/sku-000003")
        for _ in range(2):
            response = await shop.get("/products/sku-000003/recommendations")

        page = json.loads(response.body)
        assert page["sku"] == "sku-000003"
        assert [one["sku"] for one in page["products"]][:2] == ["sku-000000", "sku-000006"]
        assert shop.shelf.calls == ["product", "related"]
        assert (await shop.get("/products/none/recommendations")).status == 404

    run(scenario)


def test_a_review_is_seen_at_once_and_names_nobody() -> None:
    async def scenario(shop: Shop) -> None:
        empty = await shop.get("/products/sku-000001/reviews")
        assert json.loads(empty.body) == {"sku": "sku-000001", "reviews": []}

        answer = await shop.post(
            "/products/sku-000001/reviews", {"stars": 5, "text": "Warm."}, buyer="ann"
        )

        assert answer.status == 201
        assert header(answer, "cache-control") == "private, no-store"
        seen = await shop.get("/products/sku-000001/reviews")
        assert json.loads(seen.body)["reviews"] == [
            {"stars": 5, "text": "Warm.", "created_ms": shop.clock.ms}
        ]
        assert b"ann" not in seen.body

    run(scenario)


def test_a_second_review_of_a_buyer_replaces_the_first() -> None:
    async def scenario(shop: Shop) -> None:
        for stars in (5, 1):
            body = {"stars": stars, "text": "."}
            await shop.post("/products/sku-000001/reviews", body, buyer="ann")

        page = json.loads((await shop.get("/products/sku-000001/reviews")).body)
        assert [one["stars"] for one in page["reviews"]] == [1]

    run(scenario)


@pytest.mark.parametrize(
    ("path", "body", "buyer", "status"),
    [
        ("/products/sku-000001/reviews", {"stars": 5, "text": "x"}, "", 401),
        ("/products/none/reviews", {"stars": 5, "text": "x"}, "ann", 404),
        ("/products/a%20b/reviews", {"stars": 5, "text": "x"}, "ann", 404),
        ("/products/sku-000001/reviews", {"stars": 0, "text": "x"}, "ann", 422),
        ("/products/sku-000001/reviews", {"stars": 6, "text": "x"}, "ann", 422),
        ("/products/sku-000001/reviews", {"stars": 4.5, "text": "x"}, "ann", 422),
        ("/products/sku-000001/reviews", {"stars": 5, "text": ""}, "ann", 422),
        ("/products/sku-000001/reviews", {"stars": 5, "text": "x" * 2001}, "ann", 422),
        ("/products/sku-000001/reviews", {"stars": 5, "text": "x", "buyer": "b"}, "ann", 422),
        ("/products/sku-000001/reviews", b"{", "ann", 400),
    ],
)
def test_a_review_that_is_wrong_is_refused_and_not_kept(
    path: str, body: Any, buyer: str, status: int
) -> None:
    async def scenario(shop: Shop) -> None:
        answer = await shop.post(path, body, buyer=buyer)

        assert answer.status == status
        assert header(answer, "cache-control") == "private, no-store"
        assert "add_review" not in shop.shelf.calls

    run(scenario)


def test_the_list_is_walked_by_its_own_keys() -> None:
    async def scenario(shop: Shop) -> None:
        seen: list[str] = []
        query = ""
        while True:
            page = json.loads((await shop.get("/products", query)).body)
            seen += [one["sku"] for one in page["products"]]
            if not page["next"]:
                break
            query = f"after={page['next']}&limit=50"

        assert seen == [one.sku for one in shop.shelf.items]

    run(scenario)


def test_the_front_page_is_cached() -> None:
    async def scenario(shop: Shop) -> None:
        for query in ("", "limit=50", "after="):
            assert (await shop.get("/products", query)).status == 200

        assert shop.shelf.calls == ["products"]

    run(scenario)


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=1e2", "limit=%C2%B2"),
        *("after=a%20b", "after=" + "x" * 65, "&".join(f"a{n}=1" for n in range(20))),
    ],
)
def test_a_list_asked_for_wrongly_is_a_400(query: str) -> None:
    async def scenario(shop: Shop) -> None:
        response = await shop.get("/products", query)

        assert response.status == 400
        assert shop.shelf.calls == []

    run(scenario)


def test_with_the_database_busy_only_so_many_wait_for_it_and_the_others_hear_503_at_once() -> None:
    gate = threading.Event()

    async def scenario(shop: Shop) -> None:
        asked = [asyncio.create_task(shop.get(f"/products/sku-{n:06d}")) for n in range(100)]
        refused, waiting = await asyncio.wait(asked, timeout=0.2)

        assert len(waiting) == READS_MAX
        assert {one.result().status for one in refused} == {503}
        assert {header(one.result(), "retry-after") for one in refused} == {"1"}
        lists = await shop.get("/products", "limit=7")
        assert lists.status == 503
        gate.set()
        assert {one.status for one in await asyncio.gather(*waiting)} == {200}
        assert LISTS_MAX < READS_MAX
        assert shop.shelf.calls == ["product"] * READS_MAX

    run(scenario, Shelf([item(n) for n in range(100)], before=lambda: gate.wait(10) and None))


def test_without_redis_the_database_is_asked_but_never_by_more_than_it_bears() -> None:
    async def scenario(shop: Shop) -> None:
        async def dead(keys: object) -> list[bytes | None]:
            raise StoreUnavailable("the cache is down")

        shop.cache.get_many = dead  # type: ignore[method-assign,assignment]  # a cache that died

        hot = await asyncio.gather(*(shop.get("/products/sku-000001") for _ in range(500)))
        assert {one.status for one in hot} == {200}
        assert shop.shelf.calls == ["product"]
        many = await asyncio.gather(*(shop.get(f"/products/sku-{n:06d}") for n in range(100)))
        assert sorted({one.status for one in many}) == [200, 503]

    run(scenario)


def test_a_broken_database_is_503_and_not_remembered() -> None:
    async def scenario(shop: Shop) -> None:
        shop.shelf.broken = True
        assert (await shop.get("/products/sku-000001")).status == 503
        answer = await shop.post(
            "/products/sku-000002/reviews", {"stars": 5, "text": "x"}, buyer="ann"
        )
        assert answer.status == 503
        shop.shelf.broken = False

        assert (await shop.get("/products/sku-000001")).status == 200

    run(scenario)


def test_hits_misses_and_queries_are_counted() -> None:
    async def scenario(shop: Shop) -> None:
        for path in ("sku-000001", "sku-000001", "sku-000001", "none"):
            await shop.get(f"/products/{path}")

        text = shop.service.metrics_text()

        assert "\nsaleops_cache_hits_total 2\n" in text
        assert "\nsaleops_cache_misses_total 2\n" in text
        assert "\nsaleops_db_queries_total 2\n" in text

    run(scenario)


def test_every_operation_says_what_it_answers() -> None:
    async def scenario(shop: Shop) -> None:
        described = {(one.method, one.path): one for one in shop.service.routes}

        assert len({one.operation_id for one in shop.service.routes}) == len(described) == 5
        assert all(one.summary and one.answers for one in shop.service.routes)
        assert described["POST", "/products/{sku}/reviews"].authenticated

    run(scenario)
