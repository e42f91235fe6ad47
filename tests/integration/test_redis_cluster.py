"""Stock, pages and messages on a Redis Cluster while slots move, scripts vanish, replies get lost and masters die."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from redis.crc import key_slot

from broker_lab import GROUP, TOPIC
from cluster import NODE_TIMEOUT_MS, RedisCluster
from orderdesk import open_desk, settings_for
from saleops.adapters.redis_cache import RedisPageCache
from saleops.adapters.redis_nodes import read_url
from saleops.adapters.redis_stock import RedisStockStore
from saleops.adapters.streams_broker import StreamsBroker
from saleops.domain.items import Item
from saleops.domain.stock import PARTITIONS, Claim, Verdict, partition_of
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.engines import mask_url
from saleops.ports.stock import SeedRow

pytestmark = pytest.mark.xdist_group("redis_cluster")

SKU, EPOCH, T0, TTL = "sku-hot", "e1", 1_000_000, 600_000
BUSY_S = 20.0  # no scenario takes that long unless it hangs
ids = count(1)


@pytest.fixture
def own_cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    """A cluster this test may break; with ``indirect`` parameters of RedisCluster."""
    cluster = RedisCluster(**getattr(request, "param", {}))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@asynccontextmanager
async def on_sale(
    url: str, units: int, *, limit: int = 0, timeout_s: float = 5.0
) -> AsyncIterator[RedisStockStore]:
    """A store with one SKU, split over all partitions."""
    store = RedisStockStore.from_url(url, sale="s", timeout_s=timeout_s)
    try:
        await store.begin_seed(EPOCH, "v1")
        for shard in range(PARTITIONS):
            share = units // PARTITIONS + (shard < units % PARTITIONS)
            await store.seed(EPOCH, partition_of(SKU, shard), [SeedRow(SKU, share, 100, limit)])
        await store.finish_seed(EPOCH, {SKU: PARTITIONS})
        yield store
    finally:
        await store.close()


def claims(number: int) -> list[Claim]:
    return [Claim(f"o{next(ids)}", SKU, f"buyer-{next(ids)}", 1) for _ in range(number)]


async def reserve(store: RedisStockStore, wanted: Sequence[Claim]) -> list[Verdict]:
    answers = await store.reserve(EPOCH, wanted, now_ms=T0, expires_ms=T0 + TTL)
    return [answer.verdict for answer in answers]


async def counts(store: RedisStockStore) -> tuple[int, int, int, int]:
    """(left, reserved, sold, in transit) of the one SKU."""
    [row] = [row async for row in store.counts()]
    return row.left, row.reserved, row.sold, row.in_transit


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(BUSY_S):
            await scenario()

    asyncio.run(bounded())


def slot_of(store: RedisStockStore, partition: int) -> int:
    return key_slot(store._key(partition, "meta"))


class Load:
    """Buyers who send a batch after the other until they are told to stop, and ask again for what was not answered."""

    def __init__(self, store: RedisStockStore, *, workers: int = 4, batch: int = 5) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.held: set[str] = set()
        self.failures = 0
        self._store, self._batch = store, batch
        self._over = asyncio.Event()
        self._tasks = [asyncio.create_task(self._buy()) for _ in range(workers)]

    async def _buy(self) -> None:
        while not self._over.is_set():
            wanted = claims(self._batch)
            while True:
                try:
                    verdicts = await reserve(self._store, wanted)
                except StoreUnavailable:
                    self.failures += 1
                    if self._over.is_set():
                        return
                    await asyncio.sleep(0.01)
                    continue
                if Verdict.UNANSWERED not in verdicts:
                    break
                self.failures += 1
            self.verdicts.update(verdicts)
            pairs = zip(wanted, verdicts, strict=True)
            good = (Verdict.RESERVED, Verdict.DUPLICATE)
            self.held.update(claim.order_id for claim, verdict in pairs if verdict in good)
            await asyncio.sleep(0)

    async def more(self, orders: int) -> None:
        """Until that many more orders are held."""
        goal = len(self.held) + orders
        while len(self.held) < goal:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def load_on(store: RedisStockStore) -> AsyncIterator[Load]:
    load = Load(store)
    try:
        yield load
    finally:
        await load.abandon()


# -- selling -----------------------------------------------------------------------------------------------


def test_a_hot_sku_split_over_all_nodes_sells_exactly_its_units(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    async def scenario() -> None:
        async with on_sale(redis_cluster_url, 480) as store:
            homes = {
                redis_cluster.owner_of(slot_of(store, partition)).port
                for partition in range(PARTITIONS)
            }
            assert len(homes) == 3
            batches = [claims(7) for _ in range(100)]

            verdicts = await asyncio.gather(*[reserve(store, batch) for batch in batches])

            told = Counter(verdict for batch in verdicts for verdict in batch)
            assert told == {Verdict.RESERVED: 480, Verdict.SOLD_OUT: 220}
            await store.settle_transfers(EPOCH, older_than_ms=0, now_ms=T0 + 1)
            assert await counts(store) == (0, 480, 0, 0)

    run(scenario)


def test_slots_that_move_during_the_sale_cost_no_unit_and_no_error(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    """MOVED, ASK and TRYAGAIN are really answered; every order is held once."""

    async def scenario() -> None:
        # A limit, so that every key a script may touch exists and follows its slot: then ASK is answered, too.
        async with (
            on_sale(redis_cluster_url, 160_000, limit=100) as store,
            load_on(store) as load,
        ):
            await load.more(300)
            for partition in (0, 5, 9):
                slot = slot_of(store, partition)
                home = redis_cluster.owner_of(slot)
                away = next(node for node in redis_cluster.masters if node is not home)
                asked = redis_cluster.errors("ASK")

                def wait_for_an_ask(step: str, asked: int = asked) -> None:
                    if step == "moved":
                        for _ in range(100):
                            if redis_cluster.errors("ASK") > asked:
                                return
                            time.sleep(0.01)

                await asyncio.to_thread(redis_cluster.migrate, slot, away, step=wait_for_an_ask)
                await load.more(100)
                await asyncio.to_thread(redis_cluster.migrate, slot, home)
                await load.more(100)
            await load.stop()

            assert load.failures == 0
            assert set(load.verdicts) == {Verdict.RESERVED}
            assert await counts(store) == (160_000 - len(load.held), len(load.held), 0, 0)
            found = {error: redis_cluster.errors(error) for error in ("MOVED", "ASK", "TRYAGAIN")}
            assert all(found.values()), found

    run(scenario)


def test_one_node_that_forgets_its_scripts_during_the_sale_costs_no_error(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    async def scenario() -> None:
        async with on_sale(redis_cluster_url, 160_000) as store, load_on(store) as load:
            for n in range(30):
                await asyncio.to_thread(redis_cluster.masters[n % 3].ask, "SCRIPT FLUSH")
                await load.more(20)
            await load.stop()

            assert load.failures == 0
            assert set(load.verdicts) == {Verdict.RESERVED}
            assert await counts(store) == (160_000 - len(load.held), len(load.held), 0, 0)
            assert redis_cluster.errors("NOSCRIPT") > 0

    run(scenario)


class LossyProxy:
    """Stands before a server and breaks one connection in ten when the reply comes: the server has acted."""

    def __init__(self, port: int) -> None:
        self.dropped = 0
        self._port = port
        self._chance = random.Random(5)
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(self._pump(there, writer, lossy=True))
        self._pumps.add(back)
        try:
            await self._pump(reader, here, lossy=False)
        finally:
            back.cancel()
            self._pumps.discard(back)
            here.close()
            writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, lossy: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if lossy and self._chance.random() < 0.1:
                    self.dropped += 1
                    break
                sink.write(data)
                await sink.drain()
        sink.close()


def all_know(cluster: RedisCluster, port: int) -> bool:
    """Whether every node names ``port`` as one of the cluster's."""
    told = [node.ask("CLUSTER SLOTS") for node in cluster.nodes]
    return all(port in {row[2][1] for row in rows} for rows in told)


def test_replies_lost_after_the_act_deduct_nothing_twice(own_cluster: RedisCluster) -> None:
    """A node is reached through a proxy that swallows replies; the adapter sends the batch again."""

    async def scenario() -> None:
        node = own_cluster.masters[1]
        proxy = LossyProxy(node.port)
        async with proxy as port:
            await asyncio.to_thread(node.ask, "CONFIG SET", "cluster-announce-port", port)
            await asyncio.to_thread(own_cluster.wait_for, lambda: all_know(own_cluster, port))
            async with on_sale(own_cluster.url, 160_000) as store, load_on(store) as load:
                await load.more(1500)
                await load.stop()
                left, reserved, sold, moving = await counts(store)

            assert proxy.dropped > 10
            assert set(load.verdicts) <= {Verdict.RESERVED, Verdict.DUPLICATE}
            assert (left, reserved, sold, moving) == (
                160_000 - len(load.held),
                len(load.held),
                0,
                0,
            )

    run(scenario)


# -- masters die -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_cluster", [{"replicas": True}], indirect=True)
def test_the_sale_goes_on_when_a_replica_takes_over_and_the_loss_can_be_noticed(
    own_cluster: RedisCluster,
) -> None:
    async def scenario() -> None:
        async with on_sale(own_cluster.url, 160_000) as store, load_on(store) as load:
            keys = [store._key(partition, "meta") for partition in range(PARTITIONS)]
            before = await store._server.run_ids(keys, "looking")
            await load.more(200)
            dead = own_cluster.masters[0]
            hit = {p for p in range(PARTITIONS) if own_cluster.owner_of(slot_of(store, p)) is dead}

            await asyncio.to_thread(dead.kill)
            killed = time.monotonic()
            await asyncio.to_thread(own_cluster.wait_until_whole)
            await load.more(200)
            outage_s = time.monotonic() - killed
            await load.stop()

            # What the replica had not heard of is lost, and whoever compares the run ids knows where to look.
            after = await store._server.run_ids(keys, "looking")
            assert {p for p in range(PARTITIONS) if before[p] != after[p]} == hit
            assert len(set(after)) == 3
            lost = load.held - {row.order_id async for row in store.reservations()}
            replayed = await reserve_again(store, sorted(load.held))
            assert replayed[Verdict.RESERVED] == len(lost)
            assert replayed[Verdict.DUPLICATE] == len(load.held) - len(lost)
            assert outage_s < NODE_TIMEOUT_MS / 1000 + 6

            # The old master comes back as a replica, takes over again by hand, and nothing hangs.
            await asyncio.to_thread(dead.start)
            await asyncio.to_thread(own_cluster.wait_until_whole)
            async with load_on(store) as load:
                await load.more(50)
                await asyncio.to_thread(dead.ask, "CLUSTER FAILOVER")
                await asyncio.to_thread(own_cluster.wait_until_whole)
                await load.more(200)
                await load.stop()
            assert set(load.verdicts) <= {Verdict.RESERVED, Verdict.DUPLICATE}

    run(scenario)


async def reserve_again(store: RedisStockStore, order_ids: Sequence[str]) -> Counter[Verdict]:
    """What the store says to orders it should know."""
    again = [Claim(order_id, SKU, f"buyer-{int(order_id[1:]) + 1}", 1) for order_id in order_ids]
    verdicts: Counter[Verdict] = Counter()
    for at in range(0, len(again), 500):
        verdicts.update(await reserve(store, again[at : at + 500]))
    return verdicts


@pytest.mark.parametrize("own_cluster", [{"full_coverage": False}], indirect=True)
def test_without_a_replica_the_other_nodes_go_on_selling_and_nothing_hangs(
    own_cluster: RedisCluster,
) -> None:
    async def scenario() -> None:
        async with on_sale(own_cluster.url, 1600, timeout_s=1.0) as store:
            dead = own_cluster.masters[2]
            shop: dict[bool, list[Claim]] = {True: [], False: []}
            for claim in claims(300):
                [partition] = await store._homes([claim])
                shop[own_cluster.owner_of(slot_of(store, partition)) is dead].append(claim)
            await asyncio.to_thread(dead.kill)

            for at in range(5):
                started = time.monotonic()
                mixed = [*shop[False][at * 20 : at * 20 + 20], *shop[True][:20]]
                told = await reserve(store, mixed)
                assert told == [Verdict.RESERVED] * 20 + [Verdict.UNANSWERED] * 20
                with pytest.raises(StoreUnavailable):
                    await reserve(store, shop[True][:20])
                assert time.monotonic() - started < 3
            assert set(await reserve(store, shop[False])) <= {Verdict.RESERVED, Verdict.DUPLICATE}
            await asyncio.to_thread(dead.start)
            await asyncio.to_thread(own_cluster.wait_until_whole)

            # Its append-only file had every write: nothing was lost, and what was tried meanwhile is held once.
            assert set(await reserve(store, shop[True])) <= {Verdict.RESERVED, Verdict.DUPLICATE}
            assert await counts(store) == (1300, 300, 0, 0)

    run(scenario)


def test_a_node_that_hangs_is_given_up_in_bounded_time(own_cluster: RedisCluster) -> None:
    async def scenario() -> None:
        async with on_sale(own_cluster.url, 160_000, timeout_s=0.2) as store:
            hung = own_cluster.masters[1]
            os.kill(hung.pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                for _ in range(3):
                    told = await asyncio.gather(*[reserve(store, claims(100)) for _ in range(20)])
                    assert {verdict for verdicts in told for verdict in verdicts} == {
                        Verdict.RESERVED,
                        Verdict.UNANSWERED,
                    }
                with pytest.raises(StoreUnavailable):
                    await store.ping()
                assert time.monotonic() - started < 6
            finally:
                os.kill(hung.pid, signal.SIGCONT)
            await asyncio.to_thread(own_cluster.wait_until_whole)
            assert set(await reserve(store, claims(100))) == {Verdict.RESERVED}

    run(scenario)


# -- pages and messages ------------------------------------------------------------------------------------


def test_pages_are_read_and_written_while_their_slots_move(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    async def scenario() -> None:
        cache = RedisPageCache.from_url(redis_cluster_url, sale="s")
        pages = [(f"product/{n}", b"%d" % n, 60_000) for n in range(2000)]
        await cache.put_many(pages)
        slot = key_slot(cache._key("product/7").encode())
        home = redis_cluster.owner_of(slot)
        away = next(node for node in redis_cluster.masters if node is not home)

        async def read_all() -> None:
            found = await cache.get_many([key for key, _, _ in pages])
            assert found == [body for _, body, _ in pages]

        moving = asyncio.create_task(asyncio.to_thread(redis_cluster.migrate, slot, away))
        while not moving.done():
            await read_all()
            await cache.put_many(pages[:50])
        await moving
        await read_all()
        assert await cache.lock("product/7", "ann", lease_ms=60_000)
        await cache.put_and_unlock("product/7", "ann", b"new", ttl_ms=60_000)
        assert await cache.get_many(["product/7"]) == [b"new"]
        await cache.clear()
        assert set(await cache.get_many([key for key, _, _ in pages])) == {None}
        await asyncio.to_thread(redis_cluster.migrate, slot, home)
        await cache.close()

    run(scenario)


def test_a_consumer_that_waits_hears_of_a_message_although_its_topic_moves(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    async def scenario() -> None:
        consumer = StreamsBroker.from_url(redis_cluster_url, sale="s")
        producer = StreamsBroker.from_url(redis_cluster_url, sale="s")
        slot = key_slot(consumer._keys(TOPIC, "log")[0].encode())
        home = redis_cluster.owner_of(slot)
        away = next(node for node in redis_cluster.masters if node is not home)
        await producer.publish(TOPIC, b"first")
        wishes = {"max_messages": 1, "invisible_ms": 60_000, "wait_ms": 10_000}
        [first] = await consumer.receive(TOPIC, GROUP, **wishes)
        waiting = asyncio.create_task(consumer.receive(TOPIC, GROUP, **wishes))
        await asyncio.sleep(0.05)

        await asyncio.to_thread(redis_cluster.migrate, slot, away)
        await producer.publish(TOPIC, b"second")
        [second] = await waiting
        await consumer.ack([first, second])

        assert (first.body, second.body) == (b"first", b"second")
        assert (await producer.depth(TOPIC, GROUP)).in_flight == 0
        await producer.clear()
        assert (await producer.depth(TOPIC, GROUP)).waiting == 0
        await asyncio.to_thread(redis_cluster.migrate, slot, home)
        await consumer.close()
        await producer.close()

    run(scenario)


# -- the whole ---------------------------------------------------------------------------------------------


def test_the_order_path_sells_on_a_cluster(redis_cluster_url: str, sqlite_url: str) -> None:
    async def scenario() -> None:
        items = [Item(f"sku-{n}", f"Thing {n}", 100, 5) for n in range(8)]
        async with open_desk(settings_for(redis_cluster_url, sqlite_url), items) as desk:
            answers = await asyncio.gather(
                *[desk.order(f"b{n}", "k", f"sku-{n % 8}") for n in range(80)]
            )
            assert Counter(answer.status for answer in answers) == {201: 40, 409: 40}
            again = await asyncio.gather(
                *[desk.order(f"b{n}", "k", f"sku-{n % 8}") for n in range(80)]
            )
            assert [a.body for a in again if a.status == 201] == [
                a.body for a in answers if a.status == 201
            ]
            assert len(await desk.messages()) == 40
            for item in items:
                left, reserved, sold = await desk.counts(item.sku)
                assert (left, reserved + sold) == (0, 5)

    run(scenario)


def test_the_embedded_valkeys_binary_makes_a_cluster_too() -> None:
    cluster = RedisCluster(valkey=True)

    async def scenario() -> None:
        async with on_sale(cluster.url, 16_000) as store, load_on(store) as load:
            await load.more(50)
            slot = slot_of(store, 3)
            home = cluster.owner_of(slot)
            away = next(node for node in cluster.masters if node is not home)
            await asyncio.to_thread(cluster.migrate, slot, away)
            await load.more(50)
            await load.stop()
            assert load.failures == 0
            assert await counts(store) == (16_000 - len(load.held), len(load.held), 0, 0)

    try:
        cluster.start()
        run(scenario)
    finally:
        cluster.close()


# -- URLs --------------------------------------------------------------------------------------------------


def test_a_cluster_url_names_nodes_account_and_encryption() -> None:
    place = read_url("rediss+cluster://ann:p%40ss@a.example:7000,b.example?ssl_cert_reqs=none")

    assert place.seeds == (("a.example", 7000), ("b.example", 6379))
    assert place.options["username"] == "ann"
    assert place.options["password"] == "p@ss"
    assert place.options["connection_class"].__name__ == "SSLConnection"
    assert place.options["ssl_cert_reqs"] == "none"
    assert read_url("redis+cluster://[::1]:7000/0").seeds == (("::1", 7000),)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://a:7000,",
        "redis+cluster://a:7000/3",
        "redis+cluster://a:seven",
        "redis+cluster://a:99999",
    ],
)
def test_a_cluster_url_that_cannot_be_right_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStockStore.from_url(url, sale="s")

    assert "redis+cluster" in (caught.value.hint or "")


def test_the_password_of_a_cluster_url_does_not_show() -> None:
    url = "redis+cluster://ann:s3cret@127.0.0.1:1,127.0.0.1:2"

    async def scenario() -> None:
        store = RedisStockStore.from_url(url, sale="s", timeout_s=0.2)
        with pytest.raises(StoreUnavailable) as caught:
            await store.ping()
        await store.close()
        assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
        assert "127.0.0.1:1,127.0.0.1:2" in caught.value.message

    assert mask_url(url) == "redis+cluster://ann:***@127.0.0.1:1,127.0.0.1:2"
    run(scenario)


def test_a_wrong_password_is_told_apart_from_a_silent_node(redis_cluster_url: str) -> None:
    async def scenario() -> None:
        url = redis_cluster_url.replace("://", "://:wrong@")
        store = RedisStockStore.from_url(url, sale="s")
        with pytest.raises(StoreUnavailable, match="refuses us"):
            await store.ping()
        await store.close()

    run(scenario)


def test_a_cluster_node_behind_a_plain_url_says_what_to_do(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    async def scenario() -> None:
        store = RedisStockStore.from_url(redis_cluster.masters[0].url, sale="s")
        with pytest.raises(StoreUnavailable) as caught:
            await store.begin_seed(EPOCH, "v1")
        await store.close()
        assert "redis+cluster://" in (caught.value.hint or "")

    run(scenario)


def test_a_plain_server_behind_a_cluster_url_is_refused(redis_url: str) -> None:
    async def scenario() -> None:
        url = redis_url.replace("redis://", "redis+cluster://")
        store = RedisStockStore.from_url(url, sale="s", timeout_s=1.0)
        with pytest.raises(StoreUnavailable, match="cluster support disabled"):
            await store.ping()
        await store.close()

    run(scenario)
