"""At the door: a good token names a buyer, everything else hears 401 and learns nothing."""

import logging

import msgspec
import pytest

from saleops.adapters.jwt_tokens import JwtVerifier
from saleops.config.settings import JwtSettings
from saleops.domain.orders import Order
from saleops.ports.tokens import Identity, KeysNotReady
from saleops.services.auth import Authenticator, own_order
from saleops.services.web import Refusal, Request
from signing import NOW_S, SECRET, sign


class FixedClock:
    def now_ms(self) -> int:
        return int(NOW_S * 1000)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps at the door")


def request(authorization: str | None) -> Request:
    headers = {} if authorization is None else {"authorization": authorization}
    return Request("GET", "/orders", "", headers, b"")


@pytest.fixture
def door() -> Authenticator:
    return Authenticator(JwtVerifier(JwtSettings(hs256_secret=SECRET)), FixedClock())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_good_token_names_its_buyer(door: Authenticator, scheme: str) -> None:
    assert door.identify(request(f"{scheme} {sign(SECRET, 'HS256')}")).buyer == "ann"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YW5uOmJvYg==",
        sign(SECRET, "HS256"),
        "Bearer not-a-token",
        f"Bearer {sign('x' * 40, 'HS256')}",
        f"Bearer {sign(SECRET, 'HS256', exp=int(NOW_S) - 60)}",
        f"Bearer {sign(SECRET, 'HS256', aud='another')}",
        f"Bearer {sign(SECRET, 'HS256')} {sign(SECRET, 'HS256')}",
    ],
)
def test_every_refusal_is_the_same_401(door: Authenticator, authorization: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        door.identify(request(authorization))

    response = caught.value.response
    assert response.status == 401
    assert ("www-authenticate", "Bearer") in response.headers
    assert msgspec.json.decode(response.body) == {
        "type": "/problems/unauthorized",
        "title": "Sign in first",
        "status": 401,
    }


def test_the_reason_goes_to_the_log_and_the_token_does_not(
    door: Authenticator, caplog: pytest.LogCaptureFixture
) -> None:
    token = sign(SECRET, "HS256", exp=int(NOW_S) - 60)
    with caplog.at_level(logging.DEBUG, "saleops.auth"), pytest.raises(Refusal):
        door.identify(request(f"Bearer {token}"))
    assert "expired" in caplog.text
    assert token.rpartition(".")[2] not in caplog.text


def test_a_key_that_is_being_fetched_asks_the_buyer_to_try_again() -> None:
    class Rotating:
        def verify(self, token: str, *, now_s: float) -> Identity:
            raise KeysNotReady("soon")

    with pytest.raises(Refusal) as caught:
        Authenticator(Rotating(), FixedClock()).identify(request("Bearer x"))
    assert caught.value.response.status == 503
    assert ("retry-after", "1") in caught.value.response.headers


def test_another_buyers_order_is_refused_without_a_word_about_it() -> None:
    order = Order("0" * 32, "bob", "sku-1", 1, 100, 0, 0, "key")
    assert own_order(Identity("bob", 0), order) is order

    with pytest.raises(Refusal) as caught:
        own_order(Identity("ann", 0), order)
    assert caught.value.response.status == 403
    for secret in (b"bob", b"sku-1", order.order_id.encode()):
        assert secret not in caught.value.response.body
