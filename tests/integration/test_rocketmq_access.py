"""RocketMQ behind TLS with a private CA and access control, on a server of its own: both protocols."""

import asyncio
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_lab import take, take_one
from rocketmq_guarded import GuardedRocketmq
from saleops import wiring
from saleops.adapters.rocketmq_admin import RocketmqAdmin
from saleops.adapters.rocketmq_broker import RocketmqBroker
from saleops.adapters.rocketmq_remoting import RemotingRefused
from saleops.adapters.rocketmq_settings import read_settings
from saleops.adapters.rocketmq_url import RocketmqUrl
from saleops.domain.messages import ORDERS, PAID, PAYMENT_GROUP, SHIPPING_GROUP
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.broker import Half, Resolution

pytestmark = pytest.mark.xdist_group("rocketmq")

WRONG = "sEcReT-but-wrong"


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedRocketmq]:
    server = GuardedRocketmq()
    try:
        server.start()
        yield server
    finally:
        server.close()


def fresh(name: str) -> str:
    return f"{name}-{secrets.token_hex(4)}"


def test_with_credentials_and_its_ca_a_sale_goes_on_over_tls(guarded: GuardedRocketmq) -> None:
    async def scenario() -> None:
        url = guarded.guarded_url()
        await wiring.engine_ping("broker", url)()
        settings = await read_settings(url, timeout_s=5)
        assert settings is not None
        assert settings["broker-a"]["authenticationEnabled"] == "true"
        broker = RocketmqBroker.from_url(url, sale=fresh("drop"))
        asked = asyncio.Event()

        async def checker(half: Half) -> Resolution:
            asked.set()
            return Resolution.COMMIT

        try:
            await broker.prepare()
            await broker.commit(await broker.send_half(ORDERS, "tx-1", b"order"))
            order = await take_one(broker, ORDERS, PAYMENT_GROUP)
            assert order.body == b"order"
            await broker.publish(PAID, order.body)
            await broker.ack([order])
            parcel = await take_one(broker, PAID, SHIPPING_GROUP)
            await broker.dead_letter(parcel, reason="no address")
            [letter] = [one async for one in broker.dead_letters(PAID, SHIPPING_GROUP)]
            assert letter.reason == "no address"
            assert await take(broker, ORDERS, PAYMENT_GROUP) == []
            depth = await broker.depth(ORDERS, PAYMENT_GROUP)
            assert (depth.waiting, depth.in_flight) == (0, 0)

            await broker.start_checks([ORDERS], checker)
            await broker.send_half(ORDERS, "tx-2", b"left alone")
            assert (await take_one(broker, ORDERS, PAYMENT_GROUP)).body == b"left alone"
            assert asked.is_set()
        finally:
            await broker.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("namesrv", [True, False], ids=["with a name server", "without"])
def test_a_wrong_secret_is_said_clearly_and_not_shown(
    guarded: GuardedRocketmq, caplog: pytest.LogCaptureFixture, namesrv: bool
) -> None:
    url = guarded.guarded_url(secret=WRONG)
    if not namesrv:
        url = url.replace(f"namesrv={guarded.namesrv}&", "")
    said: list[str] = []

    async def scenario() -> None:
        broker = RocketmqBroker.from_url(url, sale="drop", timeout_s=3)
        try:
            for act in (
                lambda: broker.ping(),
                lambda: broker.send_half(ORDERS, fresh("tx"), b"order"),
                lambda: take(broker, PAID, SHIPPING_GROUP),
            ):
                with pytest.raises(StoreUnavailable) as caught:
                    await act()
                said.append(f"{caught.value.message} {caught.value.hint}")
        finally:
            await broker.close()

    asyncio.run(scenario())

    for one in said:
        assert "SALEOPS_ROCKETMQ_SECRET_KEY" in one, said
        assert WRONG not in one
    assert WRONG not in caplog.text


def test_a_certificate_of_a_ca_we_were_not_told_of_is_refused_with_a_hint(
    guarded: GuardedRocketmq,
) -> None:
    async def scenario() -> None:
        url = guarded.guarded_url().partition("&ca=")[0]
        broker = RocketmqBroker.from_url(url, sale="drop", timeout_s=3)
        try:
            with pytest.raises(StoreUnavailable) as caught:
                await broker.ping()
            assert "ca=" in str(caught.value.hint)
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                await broker.prepare()
        finally:
            await broker.close()

    asyncio.run(scenario())


def test_a_ca_that_cannot_be_read_or_is_for_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for ca, tls in ((tmp_path / "missing.pem", "true"), (tmp_path / "empty.pem", "true"), ("x", "false")):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            RocketmqUrl.parse(f"rocketmq://key:{WRONG}@mq?tls={tls}&ca={ca}")
        assert WRONG not in f"{caught.value.message} {caught.value.hint}"


def test_requests_are_signed_where_credentials_are_given(guarded: GuardedRocketmq) -> None:
    """The remoting protocol, without TLS: the server takes both on one port."""

    async def scenario() -> None:
        topic = fresh("orders")
        right = RocketmqAdmin.at([guarded.namesrv], credentials=(guarded.ACCESS, guarded.SECRET))
        await right.ensure_topics({topic: "TRANSACTION"})
        await right.ensure_groups({fresh("fulfil"): 3})
        assert len(await right.queues.of(topic)) == 8
        await right.close()
        for credentials in (None, (guarded.ACCESS, "wrong"), ("nobody", guarded.SECRET)):
            admin = RocketmqAdmin.at([guarded.namesrv], credentials=credentials)
            with pytest.raises(RemotingRefused, match="refused"):
                await admin.ensure_topics({fresh("orders"): "NORMAL"})
            await admin.close()

    asyncio.run(scenario())


def test_a_private_ca_is_trusted_on_the_remoting_ports_too(guarded: GuardedRocketmq) -> None:
    async def scenario() -> None:
        context = ssl.create_default_context(cafile=guarded.ca)
        admin = RocketmqAdmin.at(
            [guarded.namesrv], tls=context, credentials=(guarded.ACCESS, guarded.SECRET)
        )
        await admin.ping()
        await admin.close()

    asyncio.run(scenario())
