"""The operator's side of RocketMQ, on a real one: topics, groups, reading by offset, halves, what ran out of checks."""

import asyncio
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rocketmq_sender import COMMIT, ROLLBACK, Sender
from rocketmq_server import RocketmqServer
from saleops.adapters.rocketmq_admin import Progress, RocketmqAdmin, dead_letter_topic, retry_topics
from saleops.adapters.rocketmq_client import load_client
from saleops.adapters.rocketmq_remoting import Remoting, RemotingRefused
from saleops.errors import Refused, StoreUnavailable


def fresh(name: str) -> str:
    """A name that no other test uses: the broker is shared."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def opened(server: RocketmqServer) -> AsyncIterator[tuple[RocketmqAdmin, Sender]]:
    async with Remoting() as remoting:
        yield RocketmqAdmin(remoting, [server.namesrv]), Sender(remoting, server.broker)


async def until(claim: Callable[[], Awaitable[bool]], what: str, *, within_s: float = 20.0) -> None:
    """Ask until it is so: the broker works in the background."""
    for _ in range(round(within_s / 0.05)):
        if await claim():
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"not within {within_s:g} s: {what}")


def test_the_settings_of_the_test_broker_are_in_force(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        async with opened(rocketmq) as (admin, _):
            (config,) = (await admin.broker_config()).values()
            wanted = rocketmq.settings()
            assert {name: config.get(name) for name in wanted} == wanted

    asyncio.run(scenario())


def test_topics_are_made_once_and_keep_their_type(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        orders, parcels = fresh("orders"), fresh("parcels")
        types = {orders: "TRANSACTION", parcels: "DELAY"}
        async with opened(rocketmq) as (admin, _):
            await admin.ensure_topics(types, queues=3)
            await admin.ensure_topics(types, queues=3)

            (broker,) = (await admin.queues.brokers()).values()
            for topic, kind in types.items():
                config = await admin.queues.config(broker, topic)
                assert config is not None
                assert (config.message_type, config.queues) == (kind, 3)
            with pytest.raises(Refused, match="holds TRANSACTION messages, NORMAL ones are needed"):
                await admin.ensure_topics({orders: "NORMAL"})

            await admin.drop(topics=[orders, parcels])
            await admin.drop(topics=[orders, parcels])
            assert await admin.queues.of(orders) == []
            assert [m async for m in admin.read_topic(orders)] == []

    asyncio.run(scenario())


def test_a_topic_name_that_rocketmq_does_not_take_is_refused(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        async with opened(rocketmq) as (admin, _):
            with pytest.raises(RemotingRefused, match="creating topic no dots"):
                await admin.ensure_topics({"no dots, please": "NORMAL"})

    asyncio.run(scenario())


def test_a_group_is_made_and_changed_and_has_its_dead_letter_topic(
    rocketmq: RocketmqServer,
) -> None:
    async def scenario() -> None:
        group = fresh("fulfil")
        async with opened(rocketmq) as (admin, _):
            (broker,) = (await admin.queues.brokers()).values()
            for attempts in (5, 5, 1):
                await admin.ensure_groups({group: attempts}, retry_delays_ms=[100, 200])
                config = await admin._group_config(broker, group)
                assert config is not None
                assert config["retryMaxTimes"] == attempts - 1
                assert config["groupRetryPolicy"]["customizedRetryPolicy"]["next"] == [100, 200]
            assert len(await admin.queues.of(dead_letter_topic(group))) == 1

            await admin.drop(groups=[group], topics=[dead_letter_topic(group)])
            assert await admin._group_config(broker, group) is None

    asyncio.run(scenario())


def test_every_message_is_read_from_all_queues_and_again(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        topic = fresh("orders")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "NORMAL"}, queues=3)
            bodies = [b"order %d " % number * 50 for number in range(400)]
            for number, body in enumerate(bodies):
                await sender.send(
                    topic, body, queue=number % 3, compress=number % 2 == 0, tx_id=f"tx-{number}"
                )
            await until(_holds(admin, topic, 400), "400 messages can be read")

            for _ in range(2):
                messages = [message async for message in admin.read_topic(topic)]
                assert sorted(m.body for m in messages) == sorted(bodies)
                assert {m.properties["tx_id"] for m in messages} == {f"tx-{n}" for n in range(400)}
                for queue in range(3):
                    offsets = [m.offset for m in messages if m.queue == queue]
                    assert offsets == list(range(len(offsets)))
            assert all(len(m.message_id) == 32 and m.attempts == 0 for m in messages)
            assert all(0 <= m.stored_ms - m.born_ms < 60_000 for m in messages)

            name = fresh("ledger")
            await admin.bookmark(topic, name)
            await sender.send(topic, b"later")
            await until(_holds(admin, topic, 401), "the later one")
            assert [m.body async for m in admin.read_topic(topic, after=name)] == [b"later"]
            assert await admin.count(topic, after=name) == 1

    asyncio.run(scenario())


def _holds(admin: RocketmqAdmin, topic: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def claim() -> bool:
        return await admin.count(topic) == count

    return claim


def _halves(admin: RocketmqAdmin, topic: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def claim() -> bool:
        return await admin.halves(topic) == count

    return claim


def test_halves_are_counted_until_they_end_and_stay_counted_while_checked(
    rocketmq: RocketmqServer,
) -> None:
    async def scenario() -> None:
        topic, other = fresh("orders"), fresh("other")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "TRANSACTION", other: "TRANSACTION"})
            assert await admin.halves(topic) == 0
            halves = [await sender.send_half(topic, b"batch %d" % n) for n in range(40)]
            for _ in range(3):
                await sender.send_half(other, b"else")
            await until(_halves(admin, topic, 40), "40 halves")
            # Twice the time after which the broker checks: each was appended anew by then, and is one half still.
            await asyncio.sleep(4)
            assert await admin.halves(topic) == 40
            assert await admin.halves(other) == 3

            fresh_ones = [await sender.send_half(topic, b"fresh %d" % n) for n in range(10)]
            for number, half in enumerate(fresh_ones):
                await sender.end(half, COMMIT if number % 2 else ROLLBACK)
            await until(_halves(admin, topic, 40), "the 40 that were left alone")
            assert sorted([m.body async for m in admin.read_topic(topic)]) == [
                b"fresh %d" % n for n in (1, 3, 5, 7, 9)
            ]
            # An answer to the first copy, after a check made another one: RocketMQ does as it says (on a commit the message
            # becomes visible) and goes on asking about the other. A second commit is then a second message.
            await sender.end(halves[0], COMMIT)
            await until(_holds(admin, topic, 6), "the late commit is visible")
            assert await admin.halves(topic) == 40
            await discard_all(admin, rocketmq, topic, other)

    asyncio.run(scenario())


async def discard_all(admin: RocketmqAdmin, server: RocketmqServer, *topics: str) -> None:
    """Let what is left run out of checks: nobody else's test wants them asked about each second."""
    await admin.set_broker_config({"transactionCheckMax": "1"})
    try:
        for topic in topics:
            await until(_halves(admin, topic, 0), f"no halves of {topic}")
    finally:
        await admin.set_broker_config(
            {"transactionCheckMax": server.settings()["transactionCheckMax"]}
        )


def test_halves_that_ran_out_of_checks_are_listed_with_their_properties(
    rocketmq: RocketmqServer,
) -> None:
    async def scenario() -> None:
        topic = fresh("orders")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "TRANSACTION"})
            await admin.set_broker_config({"transactionCheckMax": "2"})
            try:
                for number in range(3):
                    await sender.send_half(
                        topic, b"batch %d" % number, tx_id=f"tx-{number}", KEYS="k"
                    )
                await until(_halves(admin, topic, 3), "3 halves")

                async def listed() -> bool:
                    return len([m async for m in admin.discarded(topic)]) == 3

                await until(listed, "3 discarded halves", within_s=40)
                found = [message async for message in admin.discarded(topic)]
                assert [(m.body, m.properties["tx_id"], m.keys) for m in found] == [
                    (b"batch %d" % number, f"tx-{number}", ["k"]) for number in range(3)
                ]
                await until(_halves(admin, topic, 0), "no halves left")
                assert [m async for m in admin.discarded(fresh("other"))] == []
            finally:
                await admin.set_broker_config(
                    {"transactionCheckMax": rocketmq.settings()["transactionCheckMax"]}
                )

    asyncio.run(scenario())


def test_what_a_group_holds_waits_for_and_gave_up_is_told_apart(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        topic, group = fresh("orders"), fresh("fulfil")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "NORMAL"}, queues=2)
            await admin.ensure_groups({group: 2}, retry_delays_ms=[1000])
            for number in range(6):
                await sender.send(topic, b"%d" % number, queue=number % 2)
            await until(_holds(admin, topic, 6), "6 messages")
            await admin.ensure_start(topic, group)
            assert await figures(admin, topic, group) == (6, 0, 0)

            client = load_client()
            consumer = client.SimpleConsumer(
                client.ClientConfiguration(rocketmq.endpoints, client.Credentials()),
                group,
                {topic: client.FilterExpression()},
                await_duration=5,
            )
            await asyncio.to_thread(consumer.startup)
            try:
                held = await take(consumer, 4, invisible_s=60)
                assert await figures(admin, topic, group) == (2, 4, 0)
                for message in held[:3]:
                    await asyncio.to_thread(consumer.ack, message)
                assert await figures(admin, topic, group) == (2, 1, 0)
                # A second observer, who was not there when they were given:
                async with opened(rocketmq) as (another, _):
                    assert await figures(another, topic, group) == (2, 1, 0)

                await asyncio.to_thread(consumer.change_invisible_duration, held[3], 2)
                rest = await take(consumer, 2, invisible_s=2)
                assert {m.body for m in [*held, *rest]} == {b"%d" % n for n in range(6)}
                assert await figures(admin, topic, group) == (0, 3, 0)

                async def come_back() -> bool:
                    return await figures(admin, topic, group) == (3, 0, 0)

                await until(come_back, "3 messages wait for their second delivery", within_s=40)
                await take(consumer, 3, invisible_s=2)

                async def dead() -> bool:
                    await asyncio.to_thread(consumer.receive, 8, 2)  # who asks moves them
                    return await figures(admin, topic, group) == (0, 0, 3)

                await until(dead, "3 dead letters", within_s=60)
                letters = [letter async for letter in admin.dead_letters(group)]
                assert len({letter.message_id for letter in letters}) == 3
                assert [letter.offset for letter in letters] == [0, 1, 2]
            finally:
                await asyncio.to_thread(consumer.shutdown)

    asyncio.run(scenario())


async def figures(admin: RocketmqAdmin, topic: str, group: str) -> tuple[int, int, int]:
    progress = await admin.progress(topic, group)
    return progress.waiting, progress.in_flight, progress.dead


async def take(consumer: Any, count: int, *, invisible_s: int) -> list[Any]:
    """Receive until there are ``count``."""
    taken: list[Any] = []
    for _ in range(20):
        try:
            taken += (
                await asyncio.to_thread(consumer.receive, count - len(taken), invisible_s) or []
            )
        except load_client().v5.exception.InternalErrorException as error:
            # The proxy takes a receive before it took the client's settings, and answers with a NullPointerException.
            if "settings" not in str(error):
                raise
            await asyncio.sleep(0.1)
        if len(taken) == count:
            return taken
    pytest.fail(f"{len(taken)} messages where {count} wait")


def test_delayed_messages_are_counted_until_they_are_due(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        topic, group = fresh("expiry"), fresh("cancel")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "DELAY"}, queues=2)
            await admin.ensure_groups({group: 2})
            assert await admin.progress(topic, group) == Progress(0, 0, 0, 0)
            due_ms = int(time.time() * 1000) + 4_000
            for _ in range(3):
                await sender.send(topic, b"cancel?", TIMER_DELIVER_MS=str(due_ms))

            async def delayed() -> bool:
                return await admin.progress(topic, group) == Progress(0, 0, 0, 3)

            async def due() -> bool:
                return await admin.progress(topic, group) == Progress(3, 0, 0, 0)

            await until(delayed, "3 delayed messages")
            await until(due, "3 messages that are due")

    asyncio.run(scenario())


def test_a_group_that_skips_gets_nothing_old(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        topic, group = fresh("orders"), fresh("fulfil")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "NORMAL"}, queues=2)
            await admin.ensure_groups({group: 2})
            for number in range(5):
                await sender.send(topic, b"old", queue=number % 2)
            await until(_holds(admin, topic, 5), "5 messages")
            assert await figures(admin, topic, group) == (5, 0, 0)

            await admin.skip(topic, group)

            assert await figures(admin, topic, group) == (0, 0, 0)
            await sender.send(topic, b"new")

            async def one() -> bool:
                return await figures(admin, topic, group) == (1, 0, 0)

            await until(one, "only the new one waits")
            client = load_client()
            consumer = client.SimpleConsumer(
                client.ClientConfiguration(rocketmq.endpoints, client.Credentials()),
                group,
                {topic: client.FilterExpression()},
                await_duration=5,
            )
            await asyncio.to_thread(consumer.startup)
            try:
                assert [m.body for m in await take(consumer, 1, invisible_s=20)] == [b"new"]
            finally:
                await asyncio.to_thread(consumer.shutdown)

    asyncio.run(scenario())


def test_a_killed_broker_is_our_error_and_its_data_come_back(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        topic = fresh("orders")
        async with opened(rocketmq) as (admin, sender):
            await admin.ensure_topics({topic: "NORMAL"}, queues=1)
            for number in range(200):
                await sender.send(topic, b"%d" % number)
            await until(_holds(admin, topic, 200), "200 messages")
            # flushDiskType=ASYNC_FLUSH: the page cache outlives the process, so nothing is lost by a kill.
            reading = admin.read_topic(topic)
            first = await anext(reading)
            rocketmq.kill()
            try:
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    _ = [message async for message in reading]
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await admin.ping()
            finally:
                rocketmq.start()
            await admin.ping()
            bodies = [message.body async for message in admin.read_topic(topic)]
            assert bodies == [b"%d" % number for number in range(200)]
            assert bodies[0] == first.body

    asyncio.run(scenario())


def test_the_proxys_port_is_no_name_server(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        async with Remoting(timeout_s=3) as remoting:
            admin = RocketmqAdmin(remoting, [rocketmq.endpoints])
            with pytest.raises(StoreUnavailable, match="listing the brokers"):
                await admin.ping()

    asyncio.run(scenario())


def test_the_second_name_server_is_asked_when_the_first_is_gone(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
            gone = f"127.0.0.1:{taken.getsockname()[1]}"
            async with Remoting() as remoting:
                await RocketmqAdmin(remoting, [gone, rocketmq.namesrv]).ping()

    asyncio.run(scenario())


def test_tls_is_spoken_on_the_same_ports(rocketmq: RocketmqServer) -> None:
    async def scenario() -> None:
        # The broker makes itself a certificate when nobody gave it one.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        admin = RocketmqAdmin.at([rocketmq.namesrv], tls=context)
        await admin.ping()
        await admin.close()

        strict = RocketmqAdmin.at([rocketmq.namesrv], tls=ssl.create_default_context())
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await strict.ping()
        await strict.close()

    asyncio.run(scenario())


def test_retries_are_looked_for_under_both_names() -> None:
    assert retry_topics("orders", "fulfil") == ("%RETRY%fulfil_orders", "%RETRY%fulfil+orders")
