"""The fault layer: what it refuses, how it names acts, and that production has none of it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from saleops import wiring
from saleops.adapters.fault_points import POINTS, fitting
from saleops.adapters.faults import Faults, check_near
from saleops.adapters.memory_broker import MemoryBroker
from saleops.config.settings import (
    FAULTS_VARIABLE,
    SETTINGS_VARIABLE,
    Fault,
    JwtSettings,
    ServiceSettings,
    load_settings,
)
from saleops.domain.messages import DEADLINES, PAID, retry_topic
from saleops.errors import ConfigError, StoreUnavailable

SETTINGS = ServiceSettings(
    sale="drop",
    redis_url="unix:///tmp/a.sock",
    database_url="sqlite:////tmp/orders.db",
    broker_url="redis://127.0.0.1:6379/0",
    jwt=JwtSettings(hs256_secret="a development secret of forty characters"),
)
KILL = Fault(point="order.place.after", action="kill")


def test_a_worker_without_faults_wraps_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        from saleops.services.assembly import build

        near = msgspec.structs.replace(SETTINGS, database_url=f"sqlite:///{tmp_path}/orders.db")
        async with AsyncExitStack() as stack:
            service = await build("shipping", near, stack)
        assert not any("fault" in type(part).__module__ for part in _parts_of(service))

    asyncio.run(scenario())


def _parts_of(found: Any, depth: int = 4) -> list[Any]:
    """What hangs on a service, a few levels deep."""
    inner = getattr(found, "__self__", None) or found
    parts = list(getattr(inner, "__dict__", {}).values()) if depth else []
    return [found, *(deep for part in parts for deep in _parts_of(part, depth - 1))]


@pytest.mark.parametrize(
    "url", ["redis://redis.example.com:6379/0", "mysql://shop@10.0.0.5:3306/shop"]
)
def test_faults_are_refused_where_an_engine_is_not_on_this_machine(url: str) -> None:
    with pytest.raises(ConfigError, match="not on this machine") as refused:
        check_near({"database": url})

    assert FAULTS_VARIABLE in str(refused.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://127.0.0.1:7000,redis.prod.example.com:6379",
        "rocketmq://127.0.0.1:8081?namesrv=mq.prod.example.com:9876",
        "rocketmq://127.0.0.1:8081;mq.prod.example.com:8081?tls=true",
        "rediss://user:p%40ss@redis.prod.example.com:6379/0",
        "redis://[2001:db8::1]:6379/0",
    ],
)
def test_faults_are_refused_where_any_host_is_not_on_this_machine(url: str) -> None:
    with pytest.raises(ConfigError, match="not on this machine"):
        check_near({"redis": url})


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://127.0.0.1:7000,localhost:7001",
        "rocketmq://ak:s@127.0.0.1:8081?namesrv=127.0.0.1:9876&tls=true",
        "mysql://shop:p@[::1]:3306/shop",
        "mysql://shop@/shop?unix_socket=/run/my.sock",
    ],
)
def test_engines_of_this_machine_may_fail_on_purpose(url: str) -> None:
    check_near({"engine": url})


def test_a_worker_with_faults_says_so_loudly(caplog: pytest.LogCaptureFixture) -> None:
    wiring.faults("order", msgspec.structs.replace(SETTINGS, faults=(KILL,)))

    assert "THIS WORKER FAILS ON PURPOSE: kill at order.place.after" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(point="order.place", action="kill"),
        Fault(point="order.place.before", action="lost-reply"),
        Fault(point="order.place.after", action="late"),
        Fault(point="order.place.after", action="explode"),
        Fault(point="order.place.after", action="kill", at=0),
    ],
)
def test_a_fault_that_cannot_strike_is_refused(fault: Fault) -> None:
    with pytest.raises(ConfigError, match="nothing was started"):
        Faults([fault], service="order")


def test_faults_come_from_their_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTINGS_VARIABLE, msgspec.json.encode(SETTINGS).decode())
    monkeypatch.setenv(FAULTS_VARIABLE, '[{"point": "order.place.after", "action": "kill"}]')
    assert load_settings().faults == (KILL,)

    monkeypatch.setenv(FAULTS_VARIABLE, "no json")
    with pytest.raises(ConfigError, match=FAULTS_VARIABLE):
        load_settings()


def test_a_fault_with_a_mark_strikes_once_in_all_processes(tmp_path: Path) -> None:
    async def scenario() -> None:
        lost = Fault(
            point="payment.publish-paid.before", action="lost-request", mark=f"{tmp_path}/mark"
        )
        heard = []
        for _ in range(2):
            broker = Faults([lost], service="payment").broker(MemoryBroker())
            try:
                await broker.publish(PAID, b"{}")
                heard.append("sent")
            except StoreUnavailable:
                heard.append("lost")
        assert heard == ["lost", "sent"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("topic", "act"),
    [(PAID, "paid"), (DEADLINES, "deadline"), (retry_topic(PAID), "retry")],
)
def test_a_publish_is_named_after_what_it_announces(topic: str, act: str) -> None:
    async def scenario() -> None:
        lost = Fault(point=f"payment.publish-{act}.before", action="lost-request")
        broker = Faults([lost], service="payment").broker(MemoryBroker())
        with pytest.raises(StoreUnavailable):
            await broker.publish(topic, b"{}")

    asyncio.run(scenario())


def test_who_acts_is_told_by_the_task_and_inherited_by_those_it_starts() -> None:
    async def scenario() -> None:
        lost = Fault(point="shipping.ack.before", action="lost-request")
        broker = Faults([lost], service="payment").broker(MemoryBroker())

        async def lane() -> str:
            await broker.receive(PAID, "shipping", max_messages=1, invisible_ms=1000, wait_ms=0)
            [heard] = await asyncio.gather(broker.ack([]), return_exceptions=True)
            return type(heard).__name__

        assert await asyncio.create_task(lane(), name="shipping:paid") == "StoreUnavailable"
        assert await asyncio.create_task(lane(), name="payment:orders") == "NoneType"

    asyncio.run(scenario())


def test_a_receive_that_is_struck_twice_hands_its_messages_out_again() -> None:
    async def scenario() -> None:
        twice = Fault(point="payment.receive.after", action="twice")
        broker = Faults([twice], service="payment").broker(MemoryBroker())
        await broker.publish(PAID, b"{}")

        async def receive() -> list[bytes]:
            wanted = {"max_messages": 1, "invisible_ms": 60_000, "wait_ms": 0}
            return [message.body for message in await broker.receive(PAID, "shipping", **wanted)]

        assert [await receive() for _ in range(3)] == [[b"{}"], [b"{}"], []]

    asyncio.run(scenario())


def test_every_point_can_be_struck() -> None:
    for point in POINTS:
        for action in fitting(point):
            Faults([Fault(point=point, action=action)], service="order")
