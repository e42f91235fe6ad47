"""Where the gateway sends a path, and who shares a limit."""

import pytest

from saleops.services.gateway.app import _limited_by, route_of


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/products", "catalog"),
        ("/products/a/reviews", "catalog"),
        ("/orders", "order"),
        ("/orders/1", "order"),
        ("/orders/1/payments", "payment"),
        ("/orders/1/parcels", "shipping"),
        ("/orders/1/payments/2", "order"),
        ("/cart", "order"),
        ("/", None),
        ("", None),
        ("*", None),
        ("//products", None),
        ("/productsx", None),
        ("/carts", None),
        ("/metrics", None),
    ],
)
def test_a_path_has_one_service(path: str, service: str | None) -> None:
    assert route_of(path) == service


def test_an_ipv6_customer_is_one_client_however_many_addresses_it_has() -> None:
    assert _limited_by("2001:db8::1") == _limited_by("2001:db8::ffff:2")
    assert _limited_by("2001:db8::1") != _limited_by("2001:db8:0:1::1")
    assert _limited_by("::ffff:10.0.0.1") == "10.0.0.1"
    assert _limited_by("10.0.0.1") != _limited_by("10.0.0.2")
    assert _limited_by("nonsense:") == "nonsense:"
