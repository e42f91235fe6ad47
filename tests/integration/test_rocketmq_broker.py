"""RocketMQ's traps, each on the real broker or, where that does not do it on demand, on a stand-in for its proxy.

The list of traps, with the test that holds us to each, is in docs/decisions/0013-rocketmq.md.
"""

import asyncio
import importlib.metadata
import logging
import os
import secrets
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from broker_lab import About, Answers, take, take_one
from rocketmq_proxy import StubProxy
from rocketmq_server import RocketmqServer
from saleops import wiring
from saleops.adapters import rocketmq_client, rocketmq_receiving
from saleops.adapters.rocketmq_admin import RocketmqAdmin
from saleops.adapters.rocketmq_broker import RocketmqBroker
from saleops.adapters.rocketmq_client import load_client
from saleops.adapters.rocketmq_url import RocketmqUrl
from saleops.config.engine_urls import (
    BROKER_VARIABLE,
    DATABASE_VARIABLE,
    REDIS_VARIABLE,
    named_engines,
)
from saleops.domain.messages import (
    DEADLINES,
    ORDERS,
    PAID,
    PAYMENT_GROUP,
    SHIPPING_GROUP,
    retry_topic,
)
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.ports.broker import Half, Message, Resolution

COMMIT = {"tx-1": Resolution.COMMIT}


def fresh_sale() -> str:
    return f"i{secrets.token_hex(4)}"


def play(
    url: str,
    scenario: Callable[[RocketmqBroker], Awaitable[None]],
    *,
    sale: str = "",
    **more: float,
) -> None:
    """Run ``scenario`` on a broker of its own sale."""

    async def run() -> None:
        broker = RocketmqBroker(RocketmqUrl.parse(url), sale=sale or fresh_sale(), **more)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(60):
                await scenario(broker)
        finally:
            await broker.close()

    asyncio.run(run())


def run_python(
    program: str, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- the package -----------------------------------------------------------------------------------------


def test_without_the_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    load_client.cache_clear()

    with pytest.raises(ConfigError) as caught:
        RocketmqBroker.from_url("rocketmq://127.0.0.1:8081", sale="s")

    assert caught.value.hint == "Run `pip install 'saleops[rocketmq]'`."


def test_another_version_of_the_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "5.2.0")
    load_client.cache_clear()

    with pytest.raises(ConfigError, match=r"5\.2\.0 is installed, saleops works with 5\.1\.2"):
        load_client()


def test_loading_the_client_leaves_the_home_directory_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    program = """
        from saleops.adapters.rocketmq_client import load_client
        load_client().Producer
    """

    done = run_python(program, HOME=str(home))
    nowhere = run_python(program, HOME="/proc/nowhere")  # not even root can write there

    assert (done.returncode, nowhere.returncode) == (0, 0), done.stderr + nowhere.stderr
    assert list(home.iterdir()) == []


def test_a_process_that_uses_the_broker_ends_at_once_even_without_a_close(
    rocketmq: RocketmqServer,
) -> None:
    program = """
        import asyncio, sys
        from saleops.adapters.rocketmq_broker import RocketmqBroker

        async def main():
            broker = RocketmqBroker.from_url(sys.argv[1], sale=sys.argv[2])
            await broker.commit(await broker.send_half("orders", "tx-1", b"order"))
            assert await broker.receive(
                "orders", "payment", max_messages=1, invisible_ms=1000, wait_ms=20000)
            if sys.argv[3] == "close":
                await broker.close()
                await broker.close()
            print("done", flush=True)

        asyncio.run(main())
    """
    for how in ("close", "leave"):
        began_s = time.monotonic()
        done = run_python(program, rocketmq.url, fresh_sale(), how)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
        assert time.monotonic() - began_s < 20


def test_message_ids_differ_after_a_fork() -> None:
    program = """
        import os
        from saleops.adapters.rocketmq_wire import fresh_id
        fresh_id()
        if os.fork() == 0:
            print(*(fresh_id() for _ in range(100)), flush=True)
            os._exit(0)
        os.wait()
        print(*(fresh_id() for _ in range(100)), flush=True)
    """

    ids = run_python(program).stdout.split()

    assert len(ids) == len(set(ids)) == 200


def test_a_fork_of_a_process_that_used_the_client_is_told_so_instead_of_hanging() -> None:
    program = """
        import asyncio, os
        from saleops.adapters.rocketmq_broker import RocketmqBroker
        from saleops.errors import StoreUnavailable

        async def use():
            broker = RocketmqBroker.from_url("rocketmq://127.0.0.1:1", sale="s", timeout_s=1)
            try:
                await broker.ping()
            except StoreUnavailable as error:
                print(error.message, flush=True)
            await broker.close()

        asyncio.run(use())
        if os.fork() == 0:
            asyncio.run(use())
            os._exit(0)
        os.wait()
    """

    said = run_python(program).stdout.splitlines()

    assert "forked from one that used RocketMQ" in said[1]


def test_every_thread_that_calls_the_client_has_its_loop() -> None:
    """gRPC takes the calling thread's. Of two threads one had none where clients started at once: a lane lost a second."""
    both = threading.Barrier(2)

    def loop_here() -> asyncio.AbstractEventLoop:
        both.wait(5)
        return asyncio.get_event_loop()

    with StubProxy() as proxy:

        async def scenario(broker: RocketmqBroker) -> None:
            await broker.publish(PAID, b"order")
            pool = broker._session._pool
            assert pool is not None
            loops = {future.result(5) for future in [pool.submit(loop_here) for _ in range(2)]}
            from rocketmq.v5.client.connection import RpcClient

            assert loops == {RpcClient.get_channel_io_loop()}

        play(proxy.url, scenario)


@pytest.mark.parametrize(
    ("path", "logged"), [("/lib/rocketmq/v5/client/client.py", False), ("/lib/ours.py", True)]
)
def test_what_the_clients_callbacks_raise_is_not_logged_once_more(
    path: str, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    load_client()
    callback: dict[str, Callable[[object], None]] = {}
    exec(compile("def act(future): raise RuntimeError('a heartbeat')", path, "exec"), callback)
    future: Future[None] = Future()
    future.add_done_callback(callback["act"])

    future.set_result(None)

    assert ("a heartbeat" in caplog.text) is logged


# -- a proxy that is away, mute or busy ------------------------------------------------------------------


def test_a_refused_port_is_an_error_at_once_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(broker: RocketmqBroker) -> None:
        began_s = time.monotonic()
        for act in (
            broker.ping(),
            broker.publish(PAID, b"order"),
            broker.send_half(ORDERS, "tx-1", b"order"),
            broker.start_checks([ORDERS], Answers()),
            take(broker, PAID, SHIPPING_GROUP),
        ):
            with pytest.raises(StoreUnavailable, match=r"rocketmq://127\.0\.0\.1:1"):
                await act
        assert time.monotonic() - began_s < 10

    play("rocketmq://key:sEcReT@127.0.0.1:1", scenario)

    assert "sEcReT" not in caplog.text


def test_a_host_that_accepts_and_never_answers_costs_the_timeout_and_never_blocks_the_loop() -> (
    None
):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        gaps: list[float] = []

        async def watch() -> None:
            while True:
                began_s = time.monotonic()
                await asyncio.sleep(0.01)
                gaps.append(time.monotonic() - began_s)

        async def scenario(broker: RocketmqBroker) -> None:
            await asyncio.create_task(asyncio.sleep(0))
            load_client()
            watching = asyncio.create_task(watch())
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await broker.send_half(ORDERS, "tx-1", b"order")
            with pytest.raises(StoreUnavailable):
                await broker.ping()
            assert time.monotonic() - began_s < 10
            watching.cancel()
            await broker.close()
            assert time.monotonic() - began_s < 20

        play(f"rocketmq://127.0.0.1:{mute.getsockname()[1]}", scenario, timeout_s=1.0)

    assert max(gaps) < 0.5


def test_a_half_whose_answer_is_lost_is_sent_once_only() -> None:
    """The client would send it three times under one id: three halves, and as many copies on commit."""
    with StubProxy() as proxy:
        proxy.hang.set()

        async def scenario(broker: RocketmqBroker) -> None:
            with pytest.raises(StoreUnavailable):
                await broker.send_half(ORDERS, "tx-1", b"order")

        play(proxy.url, scenario, timeout_s=1.0)

        assert len(proxy.sent) == 1


def test_a_busy_proxy_is_an_error_not_a_storm() -> None:
    from rocketmq.grpc_protocol import Code

    with StubProxy() as proxy:
        proxy.send_code = Code.TOO_MANY_REQUESTS

        async def scenario(broker: RocketmqBroker) -> None:
            with pytest.raises(StoreUnavailable, match="42900"):
                await broker.publish(PAID, b"order")

        play(proxy.url, scenario)

        assert len(proxy.sent) == 1


def test_a_late_or_second_commit_is_harmless() -> None:
    """50001 cannot found transaction data: the proxy restarted, 30 s are over, or the half was ended before."""
    with StubProxy() as proxy:
        answered = 0

        async def scenario(broker: RocketmqBroker) -> None:
            nonlocal answered
            half = await broker.send_half(ORDERS, "tx-1", b"order")
            await broker.commit(half)
            await broker.commit(half)
            await broker.rollback(half)
            answered = len(proxy.ended)
            await broker.commit(Half(ORDERS, "tx-of-another-process", b"order", born_ms=1))

        play(proxy.url, scenario)

        assert answered == 1
        assert len(proxy.ended) == 2


def test_deadlines_are_whole_seconds_on_the_wire_never_early_and_every_message_has_our_properties() -> (
    None
):
    with StubProxy() as proxy:
        now_ms = time.time_ns() // 1_000_000
        due_ms = now_ms // 1000 * 1000 + 5_001

        async def scenario(broker: RocketmqBroker) -> None:
            await broker.publish(DEADLINES, b"deadline", deliver_at_ms=due_ms)
            await broker.publish(retry_topic(ORDERS), b"at once")
            await broker.send_half(ORDERS, "tx-1", b"order", trace="00-ab-cd-01")

        play(proxy.url, scenario)

        late, at_once, half = proxy.sent
        stamp = late.system_properties.delivery_timestamp
        assert (stamp.ToMilliseconds(), stamp.nanos) == (due_ms + 999, 0)
        assert 0 < at_once.system_properties.delivery_timestamp.ToMilliseconds() < now_ms
        assert not half.system_properties.HasField("delivery_timestamp")
        assert list(half.system_properties.keys) == ["tx-1"]
        assert half.user_properties == {
            "tx_id": "tx-1", "origin_topic": ORDERS, "traceparent": "00-ab-cd-01",
        }  # fmt: skip


def test_a_producer_tells_at_once_which_halves_it_answers_for_and_only_those_it_can() -> None:
    """The client tells with its next settings only, up to 300 s later."""
    with StubProxy() as proxy:

        async def scenario(broker: RocketmqBroker) -> None:
            await broker.publish(PAID, b"order")  # the producer is up, without any topic
            assert all(not list(one.publishing.topics) for one in proxy.settings)
            await broker.start_checks([ORDERS], Answers())
            async with asyncio.timeout(5):
                while not (
                    told := [x.name for one in proxy.settings for x in one.publishing.topics]
                ):
                    await asyncio.sleep(0.01)
            assert set(told) == {"drop-orders"}

        play(proxy.url, scenario, sale="drop")


# -- check-back on the real broker -----------------------------------------------------------------------


def test_a_commit_that_was_answered_ok_and_lost_is_finished_by_check_back(
    rocketmq: RocketmqServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(broker: RocketmqBroker) -> None:
        answers = Answers(COMMIT)
        await broker.start_checks([ORDERS], answers)
        half = await broker.send_half(ORDERS, "tx-1", b"order")
        end_call = broker._transactions._end_call

        async def swallow(*call: object, asked: bool, **more: object) -> object:
            if asked:
                return await end_call(*call, asked=asked, **more)  # type: ignore[arg-type]
            from rocketmq.grpc_protocol.definition_pb2 import Code
            from rocketmq.grpc_protocol.service_pb2 import EndTransactionResponse

            response = EndTransactionResponse()
            response.status.code = Code.OK
            return response

        monkeypatch.setattr(broker._transactions, "_end_call", swallow)
        await broker.commit(half)

        message = await take_one(broker, ORDERS, PAYMENT_GROUP)
        assert message.body == b"order"
        assert [About(x.born_ms) for x in answers.asked] == [half.born_ms]

    play(rocketmq.url, scenario)


def test_another_process_can_commit_a_half_it_only_knows_the_name_of(
    rocketmq: RocketmqServer,
) -> None:
    sale = fresh_sale()

    async def scenario(broker: RocketmqBroker) -> None:
        half = await broker.send_half(ORDERS, "tx-1", b"order")
        other = RocketmqBroker(RocketmqUrl.parse(rocketmq.url), sale=sale)
        await other.commit(half)
        await other.close()

        assert (await take_one(broker, ORDERS, PAYMENT_GROUP)).body == b"order"

    play(rocketmq.url, scenario, sale=sale)


def test_after_a_restart_of_the_proxy_check_backs_and_receives_go_on_within_seconds(
    rocketmq: RocketmqServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Left to the client this takes 5 to 15 minutes, and the halves of that time may be discarded."""

    async def scenario(broker: RocketmqBroker) -> None:
        answers = Answers(COMMIT | {"tx-0": Resolution.COMMIT})
        await broker.start_checks([ORDERS], answers)
        await broker.send_half(ORDERS, "tx-0", b"before")
        held = await take_one(broker, ORDERS, PAYMENT_GROUP)
        await broker.ack([held])
        half = await broker.send_half(ORDERS, "tx-1", b"order")
        rocketmq.kill()
        try:
            with pytest.raises(StoreUnavailable):
                await broker.commit(half)
            await asyncio.sleep(2)  # the watch looks after a proxy that is down
        finally:
            rocketmq.start()
        began_s = time.monotonic()

        seen: set[bytes] = set()
        while (
            b"order" not in seen
        ):  # what the killed broker had not written down may come again, too
            try:
                got = await take(broker, ORDERS, PAYMENT_GROUP, wait_ms=1_000)
            except StoreUnavailable:
                await asyncio.sleep(0.2)
                continue
            seen |= {message.body for message in got}
            await broker.ack(got)
        assert time.monotonic() - began_s < 30
        await broker.commit(half)  # far too late, and harmless

    play(rocketmq.url, scenario, watch_s=1.0)

    assert "telemetry" in caplog.text


def test_checks_are_answered_side_by_side(rocketmq: RocketmqServer) -> None:
    """The client's own checker has one thread; thirty slow answers would take 15 s there."""
    thinking, most = 0, 0

    async def checker(half: Half) -> Resolution:
        nonlocal thinking, most
        thinking += 1
        most = max(most, thinking)
        await asyncio.sleep(0.5)
        thinking -= 1
        return Resolution.COMMIT

    async def scenario(broker: RocketmqBroker) -> None:
        await broker.start_checks([ORDERS], checker)
        for n in range(30):
            await broker.send_half(ORDERS, f"tx-{n}", b"order")
        seen: set[str] = set()
        while len(seen) < 30:
            got = await take(broker, ORDERS, PAYMENT_GROUP, wait_ms=10_000)
            seen |= {message.message_id for message in got}
            await broker.ack(got)

    play(rocketmq.url, scenario)

    assert most > 5


# -- topics, groups, looking -----------------------------------------------------------------------------


def test_the_sale_is_prepared_once_and_again_without_harm(rocketmq: RocketmqServer) -> None:
    sale = fresh_sale()

    async def scenario(broker: RocketmqBroker) -> None:
        await broker.prepare()
        again = RocketmqBroker(RocketmqUrl.parse(rocketmq.url), sale=sale)
        await again.prepare()
        await again.close()
        admin = RocketmqAdmin.at([rocketmq.namesrv])
        queues = await admin.queues.of(f"{sale}-orders")
        assert len(queues) == 8
        positions = [await admin.queues.position(q, f"{sale}-payment") for q in queues]
        assert positions == [0] * 8
        await admin.close()

    play(rocketmq.url, scenario, sale=sale)


def test_a_topic_of_another_type_is_refused_with_and_without_a_name_server(
    rocketmq: RocketmqServer,
) -> None:
    sale = fresh_sale()

    async def prepare() -> None:
        admin = RocketmqAdmin.at([rocketmq.namesrv])
        await admin.ensure_topics({f"{sale}-orders": "NORMAL"})
        await admin.close()

    asyncio.run(prepare())

    async def with_one(broker: RocketmqBroker) -> None:
        with pytest.raises(Refused, match="holds NORMAL messages"):
            await broker.send_half(ORDERS, "tx-1", b"order")

    async def without(broker: RocketmqBroker) -> None:
        with pytest.raises(StoreUnavailable, match="not of type TRANSACTION; nothing was sent"):
            await broker.send_half(ORDERS, "tx-1", b"order")

    play(rocketmq.url, with_one, sale=sale)
    play(rocketmq.url.partition("?")[0], without, sale=sale)


def test_without_a_name_server_the_shop_sells_and_looking_says_what_is_missing(
    rocketmq: RocketmqServer,
) -> None:
    sale = fresh_sale()
    play(rocketmq.url, lambda broker: broker.prepare(), sale=sale)

    async def scenario(broker: RocketmqBroker) -> None:
        await broker.commit(await broker.send_half(ORDERS, "tx-1", b"order"))
        message = await take_one(broker, ORDERS, PAYMENT_GROUP)
        await broker.publish(PAID, message.body)
        await broker.ack([message])
        poison = await take_one(broker, PAID, SHIPPING_GROUP)
        await broker.dead_letter(poison, reason="no address")
        for look in (broker.depth(ORDERS, PAYMENT_GROUP), broker.clear()):
            with pytest.raises(ConfigError, match="name server") as caught:
                await look
            assert "namesrv=" in str(caught.value.hint)
        for pages in (broker.browse(ORDERS), broker.discarded(ORDERS)):
            with pytest.raises(ConfigError, match="name server"):
                await anext(pages)

    play(rocketmq.url.partition("?")[0], scenario, sale=sale)

    async def look(broker: RocketmqBroker) -> None:
        (letter,) = [one async for one in broker.dead_letters(PAID, SHIPPING_GROUP)]
        assert letter.body == b"order"

    play(rocketmq.url, look, sale=sale)


def test_a_topic_takes_what_its_type_allows() -> None:
    async def scenario(broker: RocketmqBroker) -> None:
        with pytest.raises(ValueError, match="half messages only"):
            await broker.publish(ORDERS, b"order")
        with pytest.raises(ValueError, match="no half messages"):
            await broker.send_half(PAID, "tx-1", b"order")
        with pytest.raises(ValueError, match="no delayed messages"):
            await broker.publish(PAID, b"order", deliver_at_ms=time.time_ns() // 10**6 + 5_000)
        with pytest.raises(ValueError, match="its own notes"):
            await broker.publish("settled", b"order")

    play("rocketmq://127.0.0.1:1", scenario)


def test_names_that_make_a_retry_topic_too_long_are_refused() -> None:
    """RocketMQ would drop the retried message: its topic's name has more than 127 characters."""

    async def scenario(broker: RocketmqBroker) -> None:
        with pytest.raises(ValueError, match="retry topic"):
            await take(broker, ORDERS, "g" * 40)

    play("rocketmq://127.0.0.1:1", scenario, sale="s" * 40)


def test_a_buffered_message_is_hidden_anew_for_who_gets_it_late(rocketmq: RocketmqServer) -> None:
    async def scenario(broker: RocketmqBroker) -> None:
        await broker.prepare()
        assert await take(broker, PAID, SHIPPING_GROUP, invisible_ms=4_000) == []  # leaves a poll
        await broker.publish(PAID, b"order")
        await asyncio.sleep(2.5)

        message = await take_one(broker, PAID, SHIPPING_GROUP, invisible_ms=4_000)
        await asyncio.sleep(2.5)  # beyond the invisible time it was fetched with
        await broker.ack([message])

        assert message.attempt == 1
        assert await take(broker, PAID, SHIPPING_GROUP, wait_ms=6_000) == []

    play(rocketmq.url, scenario)


def test_what_was_received_with_others_and_hidden_anew_can_be_acknowledged(
    rocketmq: RocketmqServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RocketMQ hands out a new receipt that fits the first of the messages only, and says OK to the others."""
    monkeypatch.setattr(
        rocketmq_receiving, "_BURY_MS", 3_000
    )  # how long one is hidden while it moves

    async def scenario(broker: RocketmqBroker) -> None:
        for number in range(4):
            await broker.publish(PAID, b"%d" % number)
        held: list[Message] = []
        while len(held) < 4:
            held += await take(broker, PAID, SHIPPING_GROUP, wait_ms=5_000, invisible_ms=6_000)
        await broker.ack(held[:1])
        await broker.dead_letter(held[1], reason="no address")
        await broker.retry_later(held[2], delay_ms=1_000)
        again: list[bytes] = []
        give_up_s = time.monotonic() + 14
        while time.monotonic() < give_up_s:
            got = await take(broker, PAID, SHIPPING_GROUP, wait_ms=1_000, invisible_ms=60_000)
            again += [message.body for message in got]

        assert sorted(again) == sorted(message.body for message in held[2:])
        depth = await broker.depth(PAID, SHIPPING_GROUP)
        assert (depth.waiting, depth.in_flight, depth.dead) == (0, 2, 1)

    play(rocketmq.url, scenario, queues=1)


# -- the URL, wiring -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "endpoints", "namesrv", "tls"),
    [
        ("rocketmq://mq", "mq:8081", "", False),
        ("rocketmq://10.0.0.1:1;10.0.0.2:2/", "10.0.0.1:1;10.0.0.2:2", "", False),
        ("rocketmq://mq?namesrv=ns;ns2:1&tls=true", "mq:8081", "ns:9876;ns2:1", True),
    ],
)
def test_a_url_is_read(url: str, endpoints: str, namesrv: str, tls: bool) -> None:
    parsed = RocketmqUrl.parse(url)

    assert (parsed.endpoints, parsed.namesrv, parsed.tls) == (endpoints, namesrv, tls)


@pytest.mark.parametrize(
    "url",
    [
        "rocketmq://", "rocketmq://?tls=true", "rocketmq://mq:0", "rocketmq://mq:x", "rocketmq://mq:",
        "rocketmq://mq:70000", "rocketmq://[::1]:8081", "rocketmq://a;b", "rocketmq://mq?tls=maybe",
        "rocketmq://mq?secret=sEcReT", "rocketmq://key@mq", "rocketmq://:sEcReT@mq", "redis://mq",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_right_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RocketmqUrl.parse(url)

    assert "sEcReT" not in caught.value.message
    assert "rocketmq://" in str(caught.value.hint)


def test_credentials_come_from_the_url_or_the_environment_and_are_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SALEOPS_ROCKETMQ_ACCESS_KEY", "ak")
    monkeypatch.setenv("SALEOPS_ROCKETMQ_SECRET_KEY", "sEcReT")

    from_environment = RocketmqUrl.parse("rocketmq://mq")
    from_url = RocketmqUrl.parse("rocketmq://key:s%2Fk@mq")

    assert (from_environment.access_key, from_environment.secret_key) == ("ak", "sEcReT")
    assert (from_url.access_key, from_url.secret_key) == ("key", "s/k")
    assert "sEcReT" not in repr(from_environment) + from_environment.place


def test_wiring_opens_it_and_an_engine_ping_answers(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        await wiring.engine_ping("broker", rocketmq.url)()
        async with wiring.open_broker(rocketmq.url, sale=fresh_sale()) as broker:
            assert not broker.commits_once
            await broker.ping()
        with pytest.raises(StoreUnavailable):
            await wiring.engine_ping("broker", "rocketmq://127.0.0.1:1")()

    asyncio.run(scenario())


def test_a_broker_on_rocketmq_needs_a_redis_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (REDIS_VARIABLE, BROKER_VARIABLE, DATABASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)

    named = named_engines(redis="redis://r", broker="rocketmq://mq:8081")

    assert named["broker"] == ("rocketmq://mq:8081", "flag")
    assert named["redis"] == ("redis://r", "flag")
    with pytest.raises(ConfigError):
        named_engines(redis="rocketmq://mq:8081")


@pytest.fixture(autouse=True)
def _quiet_and_fresh(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rocketmq_client.load_client.cache_clear()


def test_topics_that_rocketmq_lost_are_made_again_while_it_works(
    rocketmq: RocketmqServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A RocketMQ that was set up anew behind a shop that sells: nobody has to tell the workers."""
    sale = fresh_sale()

    async def scenario(broker: RocketmqBroker) -> None:
        await broker.prepare()
        assert await broker.missing_topics() == []
        await broker.publish(PAID, b"before")
        assert (await take_one(broker, PAID, SHIPPING_GROUP)).body == b"before"

        topics = [f"{sale}-{name}" for name in (ORDERS, PAID, DEADLINES, "settled")]
        admin = RocketmqAdmin.at([rocketmq.namesrv])
        try:
            await admin.drop(topics=topics, groups=[f"{sale}-{SHIPPING_GROUP}"])
        finally:
            await admin.close()
        assert set(await broker.missing_topics()) == set(topics)

        deadline_s = time.monotonic() + 20
        while True:
            try:
                await broker.publish(PAID, b"after")
                break
            except StoreUnavailable:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.2)
        # Its own topic is there again; the others follow.
        while await broker.missing_topics():
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.2)

    with caplog.at_level(logging.WARNING):
        play(rocketmq.url, scenario, sale=sale)
    assert sum("were made again" in one.message for one in caplog.records) == 1
