"""The servers behind a Redis URL, and which of them holds a key.

``redis://``, ``rediss://`` and ``unix://`` name one server. ``redis+cluster://[user:password@]host:port[,host:port...]``
(``rediss+cluster://`` with TLS) names some nodes of a Redis Cluster: the others, and who holds which of the 16,384
slots, is asked of them and kept until a node says MOVED or falls silent (redis.io/docs/latest/operate/oss_and_stack/
reference/cluster-spec, read 2026-11-23). A key's slot is the CRC16 of its hash tag, the part between its first
braces.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

from saleops.adapters.redis_wire import exchange, pack

SLOTS = 16_384
SCHEMES = "redis://, rediss://, unix://, redis+cluster:// or rediss+cluster://"
_CLUSTER = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_CANDIDATES_MAX = 8  # nodes that are asked for the slot map before we give up
_LISTENERS_MAX = 256  # blocking reads at a time
_ASK_S = 1.0  # for one of them: a node that hangs must not hold up the next
LOST = (RedisError, OSError, TimeoutError)
"""What an exchange raises when its outcome is unknown. A refusal is a reply."""

Address = tuple[str, int]


class Place(NamedTuple):
    """A Redis URL, read: how to connect, and for a cluster the nodes to ask first (none: it is one server)."""

    options: dict[str, Any]
    seeds: tuple[Address, ...]


def read_url(url: str) -> Place:
    """Raises ValueError, without the URL in it, for one that is not of Redis."""
    scheme, _, rest = url.partition("://")
    if scheme not in _CLUSTER:
        return Place(dict(parse_url(url)), ())
    rest, question, query = rest.partition("?")
    account, at, hosts = rest.rpartition("@")
    hosts, _, database = hosts.partition("/")
    if database not in ("", "0"):
        raise ValueError("a cluster has no database but 0")
    options: dict[str, Any] = {}
    seeds = []
    for host in hosts.split(","):
        options = dict(parse_url(f"{_CLUSTER[scheme]}://{account}{at}{host}{question}{query}"))
        if not options.get("host"):
            raise ValueError("each node of a cluster is a host:port, with commas between them")
        seeds.append((str(options.pop("host")), int(options.pop("port", 6379))))
    return Place(options, tuple(seeds))


class Node:
    """One server: its connections, at most ``connections_max`` of them, and whether it is in trouble.

    While a server is silent one call at a time finds out whether it is back; the others fail at once instead of
    waiting for their time-outs one after the other.
    """

    def __init__(self, options: dict[str, Any], *, timeout_s: float, connections_max: int) -> None:
        # Our own timeout around each exchange is the only one: the client's would go through asyncio.wait_for, which
        # on Python 3.11 can swallow a cancellation. We know better than the client what may be sent twice.
        ours = {
            "socket_timeout": None,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # no HELLO, no pushes: we need neither
            "driver_info": None,  # nor two more commands with every connection
        }
        self._options = {**options, **ours}
        self.pool: Any = self._pool(connections_max)
        # Blocking reads have connections of their own: a waiting consumer must not hold up a commit.
        self._listeners: Any = None
        self._ears = asyncio.Semaphore(_LISTENERS_MAX)
        self.place = f"{options['host']}:{options['port']}" if "port" in options else "the server"
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._silent_since: float | None = None
        self._probing = False
        self.busy = 0  # exchanges on their way

    def _pool(self, connections_max: int) -> ConnectionPool:
        # One more than take turns: a connection that is being given back counts as taken.
        return ConnectionPool(**{**self._options, "max_connections": connections_max + 1})

    async def exchange(self, packed: bytes, count: int, *, timeout_s: float) -> list[Any]:
        """As redis_wire.exchange, but raises TimeoutError after ``timeout_s``, which includes waiting for a turn."""
        self.busy += 1
        try:
            if self._silent_since is None:
                async with asyncio.timeout(timeout_s), self._turns:
                    return await exchange(self.pool, packed, count)
            return await self._probe(packed, count, timeout_s)
        except LOST:
            if self._silent_since is None:
                self._silent_since = asyncio.get_running_loop().time()
            raise
        finally:
            self.busy -= 1

    async def _probe(self, packed: bytes, count: int, timeout_s: float) -> list[Any]:
        assert self._silent_since is not None
        silent_s = asyncio.get_running_loop().time() - self._silent_since
        if self._probing and silent_s > self._timeout_s:
            raise ConnectionLost(f"{self.place} has been silent for {silent_s:.1f} s")
        first, self._probing = not self._probing, True
        try:
            async with asyncio.timeout(timeout_s), self._turns:
                replies = await exchange(self.pool, packed, count)
            self._silent_since = None
            return replies
        finally:
            if first:
                self._probing = False

    @property
    def silent(self) -> bool:
        return self._silent_since is not None

    @property
    def given_up(self) -> bool:
        """Silent for so long that a call is not worth a second try."""
        since = self._silent_since
        return since is not None and asyncio.get_running_loop().time() - since > self._timeout_s

    async def listen(self, packed: bytes, *, timeout_s: float) -> Any:
        """The reply to one blocking read."""
        if self._listeners is None:
            self._listeners = self._pool(_LISTENERS_MAX)
        self.busy += 1
        try:
            async with asyncio.timeout(timeout_s), self._ears:
                [reply] = await exchange(self._listeners, packed, 1)
                return reply
        finally:
            self.busy -= 1

    async def close(self) -> None:
        await self.pool.aclose()
        if self._listeners is not None:
            await self._listeners.aclose()


class SingleServer:
    """All keys live on one server."""

    is_cluster = False

    def __init__(self, options: dict[str, Any], *, timeout_s: float, connections_max: int) -> None:
        self.only = Node(options, timeout_s=timeout_s, connections_max=connections_max)

    async def settle(self) -> None:
        """Nothing to find out."""

    def doubt(self) -> None:
        """There is nobody else to ask."""

    async def masters(self) -> Sequence[Node]:
        return (self.only,)

    def node_of(self, key: bytes) -> Node:
        return self.only

    async def close(self) -> None:
        await self.only.close()


class Cluster:
    """The slot map and the nodes it names, each made when first needed."""

    is_cluster = True
    only: Node | None = None  # there is more than one

    def __init__(self, place: Place, *, timeout_s: float, connections_max: int) -> None:
        self._options, self._seeds = place
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._nodes: dict[Address, Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._known: list[Address] = []  # masters and replicas, as last told
        self._stale = True
        self._refreshing = asyncio.Lock()
        for address in self._seeds:
            self._node(address)  # so that options the client cannot use are found now

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            options = {"connection_class": Connection, **self._options}
            options |= {"host": address[0], "port": address[1]}
            node = Node(options, timeout_s=self._timeout_s, connections_max=self._connections_max)
            self._nodes[address] = node
        return node

    def node_of(self, key: bytes) -> Node | None:
        """Who holds ``key``, as far as we know; None for a slot that nobody serves."""
        return self._slots[key_slot(key)]

    async def masters(self) -> Sequence[Node]:
        """Every node that holds slots."""
        await self.settle()
        return tuple(dict.fromkeys(node for node in self._slots if node is not None))

    def doubt(self) -> None:
        """The slot map is wrong somewhere, or a node of it is gone: ask again before it is used."""
        self._stale = True

    def moved(self, slot: int, node: Node) -> None:
        """A node says who holds ``slot`` now: others may have moved too."""
        self._slots[slot] = node
        self._stale = True

    def neighbour(self, host: str, port: int, told_by: Node) -> Node:
        """The node at an address as ``told_by`` gives it: without a host it is told_by's own."""
        return self._node((host or told_by.place.rpartition(":")[0], port))

    async def settle(self) -> None:
        """Bring the slot map up to date where it is in doubt. Raises when no node at all answers."""
        if self._stale:
            async with self._refreshing:
                await self._look_again()

    async def _look_again(self) -> None:
        if not self._stale:
            return  # somebody else has, while we waited
        self._stale = False
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._refresh()
        except BaseException:
            self._stale = True
            raise

    async def _refresh(self) -> None:
        known = random.sample(self._known, len(self._known))
        candidates = list(dict.fromkeys([*known, *self._seeds]))
        candidates.sort(key=lambda address: self._node(address).silent)
        error: BaseException = ConnectionLost("no node of the cluster is known")
        command = pack((b"CLUSTER", b"SLOTS"))
        limit_s = min(self._timeout_s, _ASK_S)
        for address in candidates[:_CANDIDATES_MAX]:
            try:
                [reply] = await self._node(address).exchange(command, 1, timeout_s=limit_s)
            except LOST as lost:
                error = lost
                continue
            if isinstance(reply, RedisError):  # not a cluster, or not allowed to ask
                error = reply
                continue
            if await self._learn(reply, address[0]):
                return
        raise error

    async def _learn(self, rows: Iterable[Any], host: str) -> bool:
        """Keep what CLUSTER SLOTS told. False when it told of no slot at all."""
        slots: list[Node | None] = [None] * SLOTS
        known: dict[Address, None] = {}
        for first, last, *servers in rows:
            addresses = [_address(server, host) for server in servers]
            known.update(dict.fromkeys(addresses))
            slots[first : last + 1] = [self._node(addresses[0])] * (last - first + 1)
        if not known:
            return False
        self._slots, self._known = slots, list(known)
        for address in [address for address in self._nodes if address not in known]:
            if not self._nodes[address].busy:  # else a later look drops it
                await self._nodes.pop(address).close()
        return True

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.close()


def _address(server: Sequence[Any], asked: str) -> Address:
    """A node of CLUSTER SLOTS. One that does not know its own name is where we asked."""
    host = (server[0] or b"").decode()
    return (asked if host in ("", "?") else host), int(server[1])


Servers = SingleServer | Cluster


def servers_of(url: str, *, timeout_s: float, connections_max: int) -> Servers:
    """Opens no connection yet. Raises ValueError for a URL that is not of Redis."""
    place = read_url(url)
    limits: dict[str, Any] = {"timeout_s": timeout_s, "connections_max": connections_max}
    return Cluster(place, **limits) if place.seeds else SingleServer(place.options, **limits)
