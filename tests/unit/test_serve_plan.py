"""What serve is asked for, and what may be shown of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from saleops.config.sale import load_sale
from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.errors import ConfigError
from saleops.operations.serve import plan_serve, settings_of
from saleops.ports.engines import EngineUrls, has_password, mask_url
from saleops.services.admin import LIVENESS_S, Admin

URLS = EngineUrls(redis_url="unix:///r", database_url="sqlite:///d", broker_url="b", embedded=True)
SETTINGS = ServiceSettings(
    sale="x", redis_url="", database_url="", broker_url="", jwt=JwtSettings()
)


def test_every_wrong_argument_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_serve(
            SETTINGS,
            service="orders",
            port=70000,
            workers={"order": 0, "catlog": 1},
            drain_delay_s=-1,
        )
    for words in ("'orders'", "port 70000", "0 order workers", "'catlog'", "drain delay of -1 s"):
        assert words in caught.value.message
    assert "nothing was started" in caught.value.message


def test_one_service_runs_without_a_gateway() -> None:
    assert plan_serve(SETTINGS, service="order").services == ("order",)
    assert not plan_serve(SETTINGS, service="order").gateway
    assert plan_serve(SETTINGS).gateway
    assert plan_serve(SETTINGS).count("order") == 2


def test_without_a_sale_the_window_is_always_open() -> None:
    settings = settings_of(None, URLS, JwtSettings())
    assert (settings.sale, settings.opens_ms) == ("local", 0)
    assert settings.closes_ms > 2**52


def test_the_services_keep_the_window_of_the_sale_unless_told_to_open_now(tmp_path: Path) -> None:
    file = tmp_path / "sale.yaml"
    file.write_text(
        "apiVersion: saleops/v1\nname: drop\n"
        "window: {opens: 2026-11-27T00:00:00+08:00, closes: 2026-11-27T02:00:00+08:00}\n"
        "items: [{sku: a, name: A, price: 1.00, stock: 1}]\n"
        "payment: {ttl_s: 30}\n"
        "limits: {per_buyer_rps: 5, per_ip_rps: 7}\n"
    )
    sale = load_sale(file)
    settings = settings_of(sale, URLS, JwtSettings())
    opens = datetime(2026, 11, 26, 16, tzinfo=UTC).timestamp() * 1000
    assert (settings.sale, settings.opens_ms) == ("drop", opens)
    assert settings.closes_ms - settings.opens_ms == 2 * 3600 * 1000
    assert settings.payment_ttl_ms == 30_000
    assert (settings.admission.per_buyer_rps, settings.admission.per_ip_rps) == (5, 7)
    assert settings_of(sale, URLS, JwtSettings(), open_now=True).opens_ms == 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@h:1/0", "redis://:***@h:1/0"),
        ("mysql://shop:p%40w@h/db?x=1", "mysql://shop:***@h/db?x=1"),
        ("redis://:p/w@x?y@h:1/0", "redis://:***@h:1/0"),
        ("unix:///tmp/x.sock?password=pw&db=1", "unix:///tmp/x.sock?password=***&db=1"),
        ("rocketmq://ak:s/k@h:1;h2:1?tls=true", "rocketmq://ak:***@h:1;h2:1?tls=true"),
        ("rocketmq://h:1?secret_key=sk&tls=true", "rocketmq://h:1?secret_key=***&tls=true"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert has_password(url)


@pytest.mark.parametrize(
    "url",
    [
        "unix:///a/b",
        "sqlite:////a/b",
        "mysql://shop@h/db",
        "redis://h",
        "rocketmq://h:1?namesrv=h:2",
    ],
)
def test_urls_without_a_password_are_shown_as_they_are(url: str) -> None:
    assert mask_url(url) == url
    assert not has_password(url)


def test_livez_turns_bad_only_when_the_loop_stood_still_for_long() -> None:
    now_s = 100.0
    admin = Admin(monotonic_s=lambda: now_s)
    now_s += LIVENESS_S - 0.1
    assert admin.answer("/livez")[0] == 200
    now_s += 0.2
    assert admin.answer("/livez") == (503, "the event loop has not moved for 30 s\n")
    assert admin.answer("/readyz") == (503, "starting\n")
    assert admin.answer("/secret")[0] == 404
