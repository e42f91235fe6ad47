"""The served API against its own description: whatever is sent, no 5xx, and every answer is one that was promised."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from saleops.domain.items import Item
from saleops.services.openapi import openapi_json
from saleops.services.problems import PROBLEMS
from servers import ValkeyServer
from shop import Shop, token_for

ITEMS = [Item("1082185", "Tee", 1999, 1000, 0), Item("a/b", "Slash", 250, 5, 2, 1.0, "d", "c")]
API = schemathesis.openapi.from_dict(json.loads(openapi_json()))
GOOD_KEY = re.compile(r"[\x21-\x7e]{1,128}")
WAIT_S = 20.0


@pytest.fixture(scope="module")
def shop(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    valkey_server.empty()
    folder = tmp_path_factory.mktemp("shop")
    database_url = f"sqlite:///{folder}/orders.db"
    with Shop(valkey_server.url, database_url, ITEMS, logs=folder) as shop:
        yield shop
        assert "Traceback" not in shop.log_text()


def auth(buyer: str = "ann") -> dict[str, str]:
    return {"authorization": f"Bearer {token_for(buyer)}"}


@API.auth()
class AsAnn:
    """Registered, so that schemathesis may also try what happens without a token."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        return token_for("ann")

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["authorization"] = f"Bearer {data}"


@API.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """To JSON Schema 1.0 is an integer; our decoder wants whole numbers written as such."""
    if isinstance(body, dict):
        return {key: map_body(context, value) for key, value in body.items()}
    if isinstance(body, list):
        return [map_body(context, value) for value in body]
    return int(body) if isinstance(body, float) and body.is_integer() else body


@API.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # no shrinking: it has no bound in time
    suppress_health_check=list(HealthCheck),
)
def test_any_request_is_answered_as_described(case: schemathesis.Case, shop: Shop) -> None:
    if GOOD_KEY.fullmatch(str(case.headers.get("Idempotency-Key") or "")):
        # Two different orders under one key are refused, and rightly: this is always a new one.
        case.headers["Idempotency-Key"] = str(uuid4())
    case.call_and_validate(base_url=shop.url)


@pytest.fixture
def call(shop: Shop) -> Iterator[Callable[..., httpx.Response]]:
    """Send a request as ``ann`` and hold its answer against the description of its operation."""
    with httpx.Client(base_url=shop.url, headers=auth(), timeout=10) as client:

        def call(method: str, template: str, **options: Any) -> httpx.Response:
            parts = options.pop("parts", {})
            response = client.request(method, template.format(**parts), **options)
            API[template][method].validate_response(response)
            return response

        yield call


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def test_a_buyer_goes_all_the_way_and_every_answer_is_as_described(
    call: Callable[..., httpx.Response],
) -> None:
    sku = call("GET", "/products", params={"limit": 1}).json()["products"][0]["sku"]
    for page in ("", "/reviews", "/recommendations"):
        assert call("GET", "/products/{sku}" + page, parts={"sku": sku}).status_code == 200
    review = {"stars": 5, "text": "Fits."}
    at = {"sku": sku}
    assert call("POST", "/products/{sku}/reviews", parts=at, json=review).status_code == 201
    cart = {"lines": [{"sku": sku, "units": 1}]}
    assert call("PUT", "/cart", json=cart).json() == cart
    assert call("GET", "/cart").json() == cart

    key = {"idempotency-key": "the-first"}
    placed = call("POST", "/orders", json={"sku": sku, "units": 1}, headers=key)
    again = call("POST", "/orders", json={"sku": sku, "units": 1}, headers=key)
    assert (placed.status_code, again.status_code) == (201, 201)
    assert placed.json()["order_id"] == again.json()["order_id"]
    assert again.headers["idempotent-replayed"] == "true"
    order = {"order_id": placed.json()["order_id"]}
    assert call("GET", "/orders/{order_id}", parts=order).json()["state"] == "unpaid"
    assert order["order_id"] in {o["order_id"] for o in call("GET", "/orders").json()["orders"]}

    payment = call("POST", "/orders/{order_id}/payments", parts=order, json={"token": "tok_visa"})
    assert payment.status_code in (200, 202)
    until(
        lambda: call("GET", "/orders/{order_id}/payments", parts=order).json()["state"] == "shipped"
    )
    [parcel] = call("GET", "/orders/{order_id}/parcels", parts=order).json()["parcels"]
    assert parcel["sku"] == sku


def test_a_sku_with_a_slash_is_one_path_part(call: Callable[..., httpx.Response]) -> None:
    assert call("GET", "/products/{sku}", parts={"sku": "a%2Fb"}).json()["name"] == "Slash"


@pytest.mark.parametrize(
    ("status", "slug", "method", "path", "options"),
    [
        (400, "idempotency-key", "POST", "/orders", {"json": {"sku": "1082185"}}),
        (400, "not-json", "PUT", "/cart", {"content": b"{"}),
        (400, "invalid-parameter", "GET", "/products", {"params": {"limit": "many"}}),
        (404, "no-such-product", "GET", "/products/nothing", {}),
        (404, "no-such-order", "GET", "/orders/" + "0" * 32, {}),
        (404, "no-such-page", "GET", "/nowhere", {}),
        (405, "method", "DELETE", "/orders", {}),
        (413, "too-large", "PUT", "/cart", {"content": b" " * 70_000}),
        (422, "invalid-body", "PUT", "/cart", {"json": {"lines": [{"sku": "a", "units": 0}]}}),
        (422, "invalid-body", "PUT", "/cart", {"json": {"colour": "red"}}),
    ],
)
def test_problems_are_told_and_explained(
    shop: Shop, status: int, slug: str, method: str, path: str, options: dict[str, Any]
) -> None:
    response = httpx.request(method, shop.url + path, headers=auth(), timeout=10, **options)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"/problems/{slug}"
    explained = httpx.get(shop.url + response.json()["type"], timeout=10)
    assert explained.json()["description"] == PROBLEMS[slug]


def test_strangers_and_other_buyers_learn_nothing(shop: Shop) -> None:
    def ask(path: str, **headers: str) -> httpx.Response:
        return httpx.get(shop.url + path, headers=headers, timeout=10)

    placed = httpx.post(
        f"{shop.url}/orders",
        json={"sku": "1082185"},
        headers={**auth("bob"), "idempotency-key": "bobs"},
        timeout=10,
    )
    path = f"/orders/{placed.json()['order_id']}"
    for page in ("", "/payments", "/parcels"):
        assert ask(path + page).status_code == 401
        assert (
            ask(path + page, authorization="Bearer x.y.z").headers["www-authenticate"] == "Bearer"
        )
        refused = ask(path + page, **auth("mallory"))
        assert refused.status_code == 403
        assert refused.json().keys() == {"type", "title", "status"}


def test_the_description_is_served(shop: Shop) -> None:
    response = httpx.get(f"{shop.url}/openapi.json", timeout=10)
    assert response.content == openapi_json()
    assert response.headers["content-type"] == "application/json"
