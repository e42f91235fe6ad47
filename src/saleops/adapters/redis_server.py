"""Calls on a Redis or a Redis Cluster: many in one packed buffer a node, repeated when that is safe.

Calls travel grouped by the node that holds their key, one exchange a node, all nodes at once. Their replies are
handled one by one, and what was not answered goes again:

    NOSCRIPT                        the call and its script's text, to the same node
    MOVED, ASK                      the call, to the node named; ASK means this once
    TRYAGAIN, CLUSTERDOWN, READONLY the call, after a pause: a slot is on its way, or a replica is taking over.
                                    None of these has run anything, so any call may be sent again
    connection or reply lost        the call, where it says that it may be sent twice; where the key lives is asked
                                    of another node first

Everything is bounded: ``tries`` for lost replies, ``timeout_s`` for an exchange and again for all pauses of one send.
What stays unanswered comes back as the error in the call's place, so that one silent node spoils no other's answers.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from functools import cache
from hashlib import sha1
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from saleops.adapters.redis_nodes import LOST, Cluster, Node, servers_of
from saleops.adapters.redis_wire import encoded, pack
from saleops.resources import read_lua

_REDIRECTS_MAX = 5  # without a pause; more means that the nodes disagree, which passes
_PAUSES_S = (0.005, 0.1)  # the first and the longest while a slot is on its way
_ASKING = pack((b"ASKING",))


class Script:
    """One Lua file with the sum a server knows it by."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = read_lua(name)
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest().encode()

    def loading(self) -> bytes:
        """The command that teaches a server the script, packed."""
        return pack((b"SCRIPT", b"LOAD", self.text.encode()))


script_named = cache(Script)
"""By its path below lua/, without the ending."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One command, packed, and the key that says where it goes."""

    packed: bytes
    key: bytes
    script: Script | None = None


def script_call(name: str, keys: Sequence[bytes], args: Sequence[str | int | bytes]) -> Call:
    """A call of ``lua/<name>.lua``, whose keys share one slot."""
    script = script_named(name)
    parts = (b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *map(encoded, args))
    return Call(pack(parts), keys[0], script)


def command_call(*command: Any) -> Call:
    """A command whose second word is its key."""
    parts = tuple(map(encoded, command))
    return Call(pack(parts), parts[1])


class _Errand:
    """A call on its way."""

    __slots__ = ("asking", "call", "losses", "place", "redirects", "target", "teach")

    def __init__(self, place: int, call: Call) -> None:
        self.place = place
        self.call = call
        self.losses = self.redirects = 0
        self.target: Node | None = None  # where a reply sends it, for the next try alone
        self.asking = False  # ... in the name of ASK
        self.teach = False  # send the script's text along


_Outcome = tuple[Node | None, Sequence[_Errand], Any]
"""A node, what it was sent, and its replies or what went wrong with all of them."""


class RedisServer:
    """A Redis, or a cluster of them. Opens connections as they are needed; ``close`` ends them all."""

    def __init__(self, url: str, *, timeout_s: float, connections_max: int = 64) -> None:
        """Raises ValueError for a URL that is not of Redis."""
        self._servers = servers_of(url, timeout_s=timeout_s, connections_max=connections_max)
        self._timeout_s = timeout_s
        # Never connected: it knows which shape redis-py gives to a reply.
        self._shapes = Redis(protocol=2).response_callbacks

    @property
    def is_cluster(self) -> bool:
        return self._servers.is_cluster

    async def close(self) -> None:
        await self._servers.close()

    # -- calls that name a key -----------------------------------------------------------------------------

    async def send(
        self, calls: Sequence[Call], *, tries: int, again: Sequence[Call] | None = None
    ) -> list[Any]:
        """The reply to each call, or the exception in its place.

        Whose reply was lost is sent up to ``tries`` times, from the second time on as ``again`` has it.
        """
        first: Any = None
        only = self._servers.only
        if only is not None:
            # Nearly every batch passes here and needs no more: one server, and all is well.
            try:
                packed = b"".join([call.packed for call in calls])
                replies = await self._exchange(only, packed, len(calls))
                if not any(isinstance(reply, ResponseError) for reply in replies):
                    return replies
                first = replies
            except LOST as error:
                first = error
        results: list[Any] = [None] * len(calls)
        waiting = [_Errand(place, call) for place, call in enumerate(calls)]
        round_: Sequence[_Outcome] | None = None if first is None else [(only, waiting, first)]
        clock = asyncio.get_running_loop().time
        give_up = clock() + self._timeout_s
        pause_s = _PAUSES_S[0]
        while waiting:
            repeated: list[_Errand] = []
            unsettled: list[_Errand] = []
            losses = 0
            for node, errands, outcome in round_ or await self._round(waiting):
                if isinstance(outcome, BaseException):
                    self._servers.doubt()
                    hopeless = isinstance(outcome, AuthenticationError) or (
                        node is not None and node.given_up
                    )
                    late = clock() > give_up + self._timeout_s
                    for errand in errands:
                        results[errand.place] = outcome
                        errand.losses += 1
                        errand.target, errand.asking = None, False
                        if errand.losses < tries and not hopeless and not late:
                            losses = max(losses, errand.losses)
                            if again is not None:
                                errand.call = again[errand.place]
                            repeated.append(errand)
                    continue
                for errand, reply in zip(errands, outcome, strict=True):
                    results[errand.place] = reply
                    if isinstance(reply, ResponseError):
                        asking, errand.asking, errand.target = errand.asking, False, None
                        match self._next(errand, reply, node, asking=asking):
                            case "now":
                                repeated.append(errand)
                            case "soon":
                                unsettled.append(errand)
            if losses:
                await asyncio.sleep(random.uniform(0.01, 0.05) * 2 ** (losses - 1))
            if unsettled and clock() < give_up:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))
                pause_s = min(pause_s * 2, _PAUSES_S[1])
                repeated += unsettled
            waiting, round_ = repeated, None
        return results

    def _next(
        self, errand: _Errand, reply: ResponseError, node: Node | None, *, asking: bool
    ) -> str:
        """What becomes of a call after its refusal: it goes again "now", "soon", or not at all ("")."""
        servers = self._servers
        if isinstance(reply, NoScriptError):
            # The server restarted, is new here or was told to forget.
            errand.target, errand.asking, errand.teach = node, asking, True
            errand.redirects += 1
            return "now" if errand.redirects <= _REDIRECTS_MAX else ""
        if isinstance(reply, TryAgainError):
            return "soon"
        if isinstance(reply, ClusterDownError | ReadOnlyError):
            servers.doubt()
            return "soon"
        if isinstance(reply, AskError) and isinstance(servers, Cluster) and node is not None:
            errand.target = servers.neighbour(reply.host, reply.port, node)
            if isinstance(reply, MovedError):
                servers.moved(reply.slot_id, errand.target)
            else:
                errand.asking = True
            errand.redirects += 1
            return "now" if errand.redirects % _REDIRECTS_MAX else "soon"
        return ""

    async def _round(self, waiting: Sequence[_Errand]) -> Sequence[_Outcome]:
        """Send each errand once."""
        servers = self._servers
        try:
            await servers.settle()
        except LOST as error:
            return [(None, waiting, error)]
        groups: dict[Node | None, list[_Errand]] = {}
        for errand in waiting:
            node = errand.target or servers.node_of(errand.call.key)
            groups.setdefault(node, []).append(errand)
        if len(groups) == 1:
            [group] = groups.items()
            return [await self._deliver(*group)]
        return await asyncio.gather(*[self._deliver(*group) for group in groups.items()])

    async def _deliver(self, node: Node | None, errands: Sequence[_Errand]) -> _Outcome:
        if node is None:
            unserved = ClusterDownError("Hash slot not served")
            return None, errands, [unserved] * len(errands)
        packed: list[bytes] = []
        mine: list[int] = []  # where the errands' own replies will be
        taught: dict[Script, int] = {}
        for errand in errands:
            script = errand.call.script
            if errand.teach and script is not None and script not in taught:
                taught[script] = len(packed)
                packed.append(script.loading())
            errand.teach = False
            if errand.asking:
                packed.append(_ASKING)
            mine.append(len(packed))
            packed.append(errand.call.packed)
        try:
            replies = await self._exchange(node, b"".join(packed), len(packed))
        except LOST as error:
            return node, errands, error
        if len(packed) > len(errands):
            for at, errand in zip(mine, errands, strict=True):
                load = replies[taught[errand.call.script]] if errand.call.script in taught else None
                if isinstance(load, ResponseError) and isinstance(replies[at], NoScriptError):
                    replies[at] = load  # it may not be taught: that is what is wrong
            replies = [replies[at] for at in mine]
        return node, errands, replies

    async def _exchange(self, node: Node, packed: bytes, count: int) -> list[Any]:
        return await node.exchange(packed, count, timeout_s=self._timeout_s)

    async def command(self, *command: Any, tries: int) -> Any:
        """A command with one key, its second word; the reply in redis-py's shape. Raises what went wrong."""
        [reply] = await self.send([command_call(*command)], tries=tries)
        if isinstance(reply, BaseException):
            raise reply
        return self._shaped(command, reply)

    def _shaped(self, command: Sequence[Any], reply: Any) -> Any:
        shape = self._shapes.get(command[0])
        return reply if shape is None else shape(reply)

    async def listen(self, *command: Any, key: str, timeout_s: float) -> None:
        """A blocking read of ``key``: until it has news, or its time is over. Takes nothing out."""
        await self._servers.settle()
        node = self._servers.node_of(key.encode())
        if node is None:
            raise ClusterDownError("Hash slot not served")
        try:
            reply = await node.listen(pack(tuple(map(encoded, command))), timeout_s=timeout_s)
        except LOST:
            self._servers.doubt()
            raise
        if isinstance(reply, AskError | TryAgainError | ClusterDownError) and self.is_cluster:
            # The key is on its way to another node: the caller's next look follows it.
            self._servers.doubt()
            await asyncio.sleep(_PAUSES_S[1])
        elif isinstance(reply, ResponseError):
            raise reply

    # -- calls on every node -------------------------------------------------------------------------------

    async def ping(self, *, tries: int) -> None:
        """Ask every node that holds keys whether it is there. Raises what went wrong."""
        await self.on_masters("PING", tries=tries)

    async def on_masters(self, *command: Any, tries: int) -> dict[Node, Any]:
        """A command without a key, on every node that holds keys. Raises what went wrong with the first that failed."""
        for trial in range(tries):
            try:
                nodes = await self._servers.masters()
                replies = await asyncio.gather(*[self._ask(node, *command) for node in nodes])
                return dict(zip(nodes, replies, strict=True))
            except LOST as error:
                self._servers.doubt()
                if trial == tries - 1 or isinstance(error, ResponseError | AuthenticationError):
                    raise
            await asyncio.sleep(random.uniform(0.01, 0.05) * 2**trial)
        raise AssertionError("unreachable: the last try returns or raises")

    async def _ask(self, node: Node, *command: Any) -> Any:
        [reply] = await self._exchange(node, pack(tuple(map(encoded, command))), 1)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def keys(
        self, pattern: str, *, tries: int, count: int = 1000
    ) -> AsyncIterator[list[bytes]]:
        """Keys that match, a scan step at a time, node by node; one may come twice."""
        for node in await self._servers.masters():
            cursor = b"0"
            while True:
                command = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
                cursor, found = await self._patiently(node, *command, tries=tries)
                if found:
                    yield found
                if cursor == b"0":
                    break

    async def _patiently(self, node: Node, *command: Any, tries: int) -> Any:
        for trial in range(tries):
            try:
                return await self._ask(node, *command)
            except LOST as error:
                if trial == tries - 1 or isinstance(error, ResponseError | AuthenticationError):
                    raise
            await asyncio.sleep(random.uniform(0.01, 0.05) * 2**trial)
        raise AssertionError("unreachable: the last try returns or raises")

    async def run_ids(self, keys: Sequence[bytes], *, tries: int) -> list[str]:
        """For each key the run id of the server that holds it: new after every restart, another after a failover."""
        await self._servers.settle()
        homes = [self._servers.node_of(key) for key in keys]
        nodes = [node for node in dict.fromkeys(homes) if node is not None]
        told = await asyncio.gather(
            *[self._patiently(node, "INFO", "server", tries=tries) for node in nodes]
        )
        ids = {node: _run_id(text) for node, text in zip(nodes, told, strict=True)}
        if len(nodes) < len(set(homes)):
            raise ClusterDownError("Hash slot not served")
        return [ids[node] for node in homes if node is not None]


def _run_id(info: bytes) -> str:
    for line in info.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"run_id":
            return value.decode()
    return ""
