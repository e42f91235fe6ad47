"""Dead letters on real engines: looked at, sent again by the command line, and paid and shipped once all the same."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkout import SKU, body_of, order_of, place, until
from saleops.adapters.book_payments import BookPayments
from saleops.domain.items import Item
from saleops.domain.messages import ORDERS, PAID, PAYMENT_GROUP, SHIPPING_GROUP, retry_topic
from saleops.domain.orders import Order, OrderState
from saleops.ports.broker import Broker
from saleops.ports.clock import WallClock
from saleops.ports.orders import SaleRow
from saleops.services.book import BookThread
from saleops.services.consumer import Consumer
from saleops.services.payment.charging import Cashier
from saleops.services.shipping.dispatch import Dispatcher
from saleops.wiring import open_broker, open_order_book

SALE_FILE = Path(__file__).parents[2] / "examples" / "midnight-drop" / "sale.yaml"
SALE = "midnight-drop"

KILLED_REPLAY = """
import asyncio, sys
from saleops.adapters.streams_server import StreamsServer
from saleops.cli.main import main

flag = sys.argv.pop(1)
real = StreamsServer.command

async def stuck_at_the_drop(self, doing, *command, **more):
    if command[0] == "XDEL":
        open(flag, "w").close()
        await asyncio.sleep(60)
    return await real(self, doing, *command, **more)

StreamsServer.command = stuck_at_the_drop
sys.exit(main(sys.argv[1:]))
"""


class Shop:
    """Engines by URL, the command line on them, and the consumers of payment and shipping."""

    def __init__(self, database_url: str, broker_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.broker_url = broker_url
        self.folder = folder
        with open_order_book(database_url) as book:
            book.migrate()
            book.begin_sale(SaleRow(SALE, "e1", "v1", 1, 500, complete=False))
            book.add_items([(Item(sku=SKU, name="x", category="c", price_fen=250, stock=500), 1)])
            book.finish_sale(SALE)

    def words(self, *words: str) -> list[str]:
        urls = ("--redis", self.broker_url, "--broker", self.broker_url)
        return [*words[:2], str(SALE_FILE), *urls, "--database", self.database_url, *words[2:]]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "saleops", *self.words(*words)],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> dict[str, Any]:
        done = self.run(*words, "-o", "json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def sell(self, numbers: range, *, state: OrderState = OrderState.UNPAID) -> list[Order]:
        """Durable orders with a token that pays."""
        now_ms = WallClock().now_ms()
        orders = [
            msgspec.structs.replace(
                order_of(n), created_ms=now_ms, due_ms=now_ms + 900_000, payment_token="tok_visa"
            )
            for n in numbers
        ]
        with open_order_book(self.database_url) as book:
            place(book, orders, f"tx-{numbers.start}")
            if state is OrderState.PAID:
                ids = [order.order_id for order in orders]
                book.begin_payment(ids)
                book.charge([(o.order_id, o.order_id, o.amount_fen) for o in orders])
                book.end_payment(ids, [])
        return orders

    async def bury(self, broker: Broker, order: Order, topic: str, group: str, reason: str) -> None:
        await broker.publish(topic, body_of([order], order.tx_id or "tx"))
        [message] = await broker.receive(
            topic, group, max_messages=1, invisible_ms=10_000, wait_ms=1_000
        )
        await broker.dead_letter(message, reason=reason)

    def letters(self, orders: list[Order], *, paid: list[Order]) -> None:
        """Dead letters: ``orders`` payment gave up, ``paid`` shipping gave up, each on plain and retry topics in turn."""

        async def scenario() -> None:
            async with open_broker(self.broker_url, sale=SALE) as broker:
                for number, order in enumerate(orders):
                    topic = (ORDERS, retry_topic(ORDERS))[number % 2]
                    await self.bury(broker, order, topic, PAYMENT_GROUP, "the provider timed out")
                for number, order in enumerate(paid):
                    topic = (PAID, retry_topic(PAID))[number % 2]
                    await self.bury(broker, order, topic, SHIPPING_GROUP, "no courier")

        asyncio.run(scenario())

    def consume(self) -> None:
        """Run payment and shipping until nothing is on its way."""

        async def scenario() -> None:
            async with self._consumers() as broker:

                async def quiet() -> bool:
                    for topic, group in ((ORDERS, PAYMENT_GROUP), (PAID, SHIPPING_GROUP)):
                        for each in (topic, retry_topic(topic)):
                            depth = await broker.depth(each, group)
                            if depth.busy or depth.delayed:
                                return False
                    return True

                await until(quiet)

        asyncio.run(scenario())

    @asynccontextmanager
    async def _consumers(self) -> AsyncIterator[Broker]:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(open_broker(self.broker_url, sale=SALE))
            thread = BookThread(stack.enter_context(open_order_book(self.database_url)))
            stack.callback(thread.close)
            cashier = Cashier(
                book=thread, provider=BookPayments(thread), broker=broker, clock=WallClock()
            )
            consumers = [
                Consumer(broker, ORDERS, PAYMENT_GROUP, cashier.handle, wait_ms=100),
                Consumer(broker, PAID, SHIPPING_GROUP, Dispatcher(book=thread).handle, wait_ms=100),
            ]
            tasks = [asyncio.create_task(consumer.run()) for consumer in consumers]
            try:
                yield broker
                await asyncio.gather(*(consumer.stop() for consumer in consumers))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def sent_again(self, topic: str) -> list[bytes]:
        async def scenario() -> list[bytes]:
            async with open_broker(self.broker_url, sale=SALE) as broker:
                return [body async for body in broker.browse(retry_topic(topic))]

        return asyncio.run(scenario())

    def check_each_paid_and_shipped_once(self, orders: list[Order]) -> None:
        once = Counter(order.order_id for order in orders)
        with open_order_book(self.database_url) as book:
            assert Counter(charge.order_id for charge in book.every_charge()) == once
            assert Counter(parcel.order_id for parcel in book.every_parcel()) == once
            assert {order.state for order in book.every_order()} == {OrderState.SHIPPED}


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")}


@pytest.fixture(params=[("valkey_url", "sqlite_url"), ("redis_url", "mysql_url")], ids=" ".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    broker, database = (request.getfixturevalue(name) for name in request.param)
    return Shop(database, broker, tmp_path)


def test_letters_are_listed_shown_and_sent_again_until_each_order_is_paid_and_shipped_once(
    shop: Shop,
) -> None:
    unpaid, paid = shop.sell(range(4)), shop.sell(range(10, 13), state=OrderState.PAID)
    shop.letters(unpaid, paid=paid)

    listed = shop.json("dlq", "list")
    assert (listed["letters"], listed["orders"]) == (7, 7)
    assert {
        (one["group"], why["reason"]) for one in listed["groups"] for why in one["reasons"]
    } == {(PAYMENT_GROUP, "the provider timed out"), (SHIPPING_GROUP, "no courier")}
    shown = shop.json("dlq", "show", "--order", unpaid[1].order_id)
    [letter] = shown["letters"]
    assert letter["topic"] == "orders-retry"
    assert (letter["orders"][0]["order_id"], letter["orders"][0]["payment_token"]) == (
        unpaid[1].order_id,
        "***",
    )
    planned = shop.json("dlq", "replay", "--group", SHIPPING_GROUP, "--dry-run")
    assert (planned["schema"], planned["orders"]) == ("saleops/dlq-replay-plan/v1", 3)
    assert shop.json("dlq", "list")["letters"] == 7

    first = shop.json("dlq", "replay", "--group", SHIPPING_GROUP, "--yes")
    rest = shop.json("dlq", "replay", "--yes", "--rate", "1000")
    nothing = shop.json("dlq", "replay", "--yes")

    assert (first["sent"], rest["sent"], nothing["letters"]) == (3, 4, [])
    shop.consume()
    shop.check_each_paid_and_shipped_once([*unpaid, *paid])
    runs = shop.json("dlq", "log")["runs"]
    assert [(one["selection"], one["figures"]["sent"]) for one in runs] == [
        ("all", 4),
        ("group shipping", 3),
    ]
    assert sorted(runs[1]["ids"]) == sorted(first["letter_ids"])
    assert runs[0]["outcome"] == "done"
    assert shop.json("dlq", "list")["replays"] == runs


def test_an_order_in_three_letters_that_are_all_sent_again_is_charged_and_shipped_once(
    shop: Shop,
) -> None:
    [order] = shop.sell(range(1))
    shop.letters([order, order, order], paid=[])
    assert shop.json("dlq", "replay", "--limit", "1", "--yes")["more"] == 2
    shop.consume()

    assert shop.json("dlq", "replay", "--yes")["sent"] == 2
    shop.letters([], paid=[order, order])
    assert shop.json("dlq", "replay", "--yes")["sent"] == 2
    shop.consume()

    shop.check_each_paid_and_shipped_once([order])


@pytest.mark.parametrize("group", [PAYMENT_GROUP, SHIPPING_GROUP])
def test_a_replay_killed_between_sending_and_dropping_sends_nothing_twice(
    shop: Shop, group: str, tmp_path: Path
) -> None:
    state = OrderState.PAID if group == SHIPPING_GROUP else OrderState.UNPAID
    orders = shop.sell(range(3), state=state)
    if group == SHIPPING_GROUP:
        shop.letters([], paid=orders)
    else:
        shop.letters(orders, paid=[])
    topic = PAID if group == SHIPPING_GROUP else ORDERS
    flag = tmp_path / "between"
    before = len(shop.sent_again(topic))
    words = shop.words("dlq", "replay", "--yes")
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED_REPLAY, str(flag), *words],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not flag.exists():
            assert killed.poll() is None, "it ended before it came there"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    assert len(shop.sent_again(topic)) == before + 1
    listed = shop.json("dlq", "list")
    assert listed["letters"] == 3, "sent, and not dropped yet"
    assert listed["replays"][0]["outcome"] == "cut off"
    assert len(listed["replays"][0]["ids"]) == 3

    assert shop.json("dlq", "replay", "--yes")["sent"] == 3

    assert len(shop.sent_again(topic)) == before + 3, "the letter that was sent is not sent again"
    shop.consume()
    shop.check_each_paid_and_shipped_once(orders)


def test_ctrl_c_ends_a_replay_after_the_letter_at_hand_and_the_same_command_goes_on(
    valkey_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    shop = Shop(sqlite_url, valkey_url, tmp_path)
    orders = shop.sell(range(12))
    shop.letters(orders, paid=[])
    replay = subprocess.Popen(
        [sys.executable, "-m", "saleops", *shop.words("dlq", "replay", "--yes", "--rate", "2")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    already = 6  # the letters of the retry topic died there once
    while len(shop.sent_again(ORDERS)) < already + 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    replay.send_signal(signal.SIGINT)
    _, said = replay.communicate(timeout=30)

    assert replay.returncode == 130, said
    sent = len(shop.sent_again(ORDERS)) - already
    assert f"{sent} of 12 letters were sent; the same command goes on" in said
    [run] = shop.json("dlq", "log")["runs"]
    assert (run["outcome"], run["figures"]["sent"]) == ("interrupted", sent)
    assert shop.json("dlq", "replay", "--yes", "--rate", "1000")["sent"] == 12 - sent
    shop.consume()
    shop.check_each_paid_and_shipped_once(orders)


def test_without_anybody_to_ask_nothing_is_sent(
    valkey_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    shop = Shop(sqlite_url, valkey_url, tmp_path)
    shop.letters(shop.sell(range(1)), paid=[])

    refused = shop.run("dlq", "replay")

    assert refused.returncode == 5
    assert "Send 1 letter with 1 order of sale midnight-drop again" in refused.stderr
    assert "--yes" in refused.stderr
    assert shop.json("dlq", "list")["letters"] == 1
    assert shop.json("dlq", "log")["runs"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dlq", "replay", "--group", "payments"), "no group payments"),
        (("dlq", "show", "nobody/0-0"), "no such dead letter: nobody/0-0"),
        (("dlq", "replay", "nosuchid", "--yes"), "no such dead letter: nosuchid"),
        (("dlq", "drop", "nosuchid", "--why", "x", "--yes"), "no such dead letter: nosuchid"),
        (("dlq", "drop", "nosuchid", "--yes"), "--why"),
        (("dlq", "show", "--older-than", "60", "--newer-than", "60"), "nothing is older than 60 s"),
        (("dlq", "replay", "--rate", "0"), "--rate"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, tuple) else "",
)
def test_mistakes_are_named_and_nothing_is_done(
    words: tuple[str, ...], said: str, valkey_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    done = Shop(sqlite_url, valkey_url, tmp_path).run(*words)

    assert done.returncode == 2
    assert said in done.stderr
    assert "hint:" in done.stderr
