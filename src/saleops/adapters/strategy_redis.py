"""Strategies on Redis: our scripts, the naive GET and SET, and Tair's own bounded counter where the server has it.

Each lives under the hash tag ``strategy-SUFFIX``, so our scripts run unchanged, as the counters of a sale that nobody knows.
Every call has a time limit, and those that are not our scripts' go out once: a repeat would be a request of its own, and
the naive strategy is the one that must not be repaired.
"""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import RedisError, ResponseError

from saleops.adapters.redis_nodes import SCHEMES
from saleops.adapters.redis_server import RedisServer
from saleops.adapters.redis_stock import RedisStockStore
from saleops.domain.orders import order_id_of
from saleops.domain.stock import Claim, Verdict, partition_of
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.engines import mask_url
from saleops.ports.stock import SeedRow
from saleops.ports.strategies import Sell

SKU = "hot"
TIMEOUT_S = 5.0
KEPT_S = 3600  # a plain key that a SIGKILL left behind goes away by itself
_EPOCH = "strategy"


class LuaStrategy:
    """What the order service does: ``reserve`` by script, then ``confirm``, on the stock store itself."""

    name, where = "lua", "redis"

    def __init__(self, url: str, suffix: str) -> None:
        self._url = url
        self._sale = f"strategy-{suffix}"
        self.keys = f"stock:{{{self._sale}*"

    def _store(self) -> RedisStockStore:
        return RedisStockStore.from_url(self._url, sale=self._sale, timeout_s=TIMEOUT_S)

    async def missing(self) -> str:
        return ""

    async def prepare(self, units: int) -> None:
        store = self._store()
        try:
            await store.begin_seed(_EPOCH, "1")
            await store.seed(_EPOCH, partition_of(SKU), [SeedRow(SKU, units, 1, 0)])
            await store.finish_seed(_EPOCH, {})
        finally:
            await store.close()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Sell]:
        store = self._store()

        async def sell(buyer: str) -> bool:
            claim = Claim(order_id_of(self._sale, buyer, "1"), SKU, buyer, 1)
            now_ms = time.time_ns() // 1_000_000
            [answer] = await store.reserve(
                _EPOCH, [claim], now_ms=now_ms, expires_ms=now_ms + KEPT_S * 1000
            )
            if answer.verdict == Verdict.SOLD_OUT:
                return False
            # A duplicate is what a repeat hears whose first reply got lost: the unit is held.
            if answer.verdict not in (Verdict.RESERVED, Verdict.DUPLICATE):
                raise StoreUnavailable(
                    f"reserving a unit was answered {Verdict(answer.verdict).name.lower()}; the experiment ended",
                    hint="The engine lost what it held: look for a failover, or for somebody who empties it.",
                )
            await store.confirm(_EPOCH, [claim])
            return True

        try:
            await store.ping()
            yield sell
        finally:
            await store.close()

    async def counted(self) -> int:
        store = self._store()
        try:
            return sum([row.sold + row.reserved async for row in store.counts()])
        finally:
            await store.close()

    async def clear(self) -> None:
        store = self._store()
        try:
            await store.clear()
        finally:
            await store.close()


class _OneKey:
    """A counter in one plain key. A subclass says how one unit is taken from it."""

    name, where = "", "redis"

    def __init__(self, url: str, suffix: str) -> None:
        self._url = url
        self._units = 0
        self._key = f"strategy-{suffix}:{self.name}"
        self.keys = self._key

    async def missing(self) -> str:
        return ""

    async def prepare(self, units: int) -> None:
        self._units = units
        async with _connected(self._url) as ask:
            await ask("SET", self._key, units, "EX", KEPT_S)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Sell]:
        async with _connected(self._url) as ask:
            await ask.ping()

            async def sell(buyer: str) -> bool:
                return await self._sell(ask)

            yield sell

    async def _sell(self, ask: "_Ask") -> bool:
        raise NotImplementedError

    async def _left(self, ask: "_Ask") -> int:
        return int(await ask("GET", self._key))

    async def counted(self) -> int:
        async with _connected(self._url) as ask:
            return self._units - await self._left(ask)

    async def clear(self) -> None:
        async with _connected(self._url) as ask:
            await ask("UNLINK", self._key)


class NaiveStrategy(_OneKey):
    """Read what is left, and write one less: between the two, everybody else has read the same."""

    name = "naive"

    async def _sell(self, ask: "_Ask") -> bool:
        left = int(await ask("GET", self._key))
        if left < 1:
            return False
        await ask("SET", self._key, left - 1, "EX", KEPT_S)
        return True


class TairStrategy(_OneKey):
    """TairString's counter with a floor (``EXINCRBY key -1 MIN 0``), on Tair alone: atomic, and nothing but a counter. It knows
    no order ids, so a reply that got lost cannot be asked for again."""

    name = "tairstring"

    async def missing(self) -> str:
        async with _connected(self._url) as ask:
            try:
                await ask("EXGET", self._key)
            except StoreUnavailable as error:
                refusal = error.__cause__
                if isinstance(refusal, ResponseError) and "no such key" not in str(refusal).lower():
                    return "needs EXINCRBY, which Tair has and this server has not"
                if not isinstance(refusal, ResponseError):
                    raise
        return ""

    async def prepare(self, units: int) -> None:
        self._units = units
        async with _connected(self._url) as ask:
            await ask("EXSET", self._key, units, "EX", KEPT_S)

    async def _sell(self, ask: "_Ask") -> bool:
        try:
            await ask("EXINCRBY", self._key, -1, "MIN", 0)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError) and "overflow" in str(error.__cause__):
                return False
            raise
        return True

    async def _left(self, ask: "_Ask") -> int:
        return int((await ask("EXGET", self._key))[0])


class _Ask:
    """One connection, one command at a time, sent once. What fails is StoreUnavailable."""

    def __init__(self, server: RedisServer, place: str) -> None:
        self._server = server
        self._place = place

    async def __call__(self, *command: Any) -> Any:
        return await self._done(command[0], self._server.command(*command, tries=1))

    async def ping(self) -> None:
        await self._done("PING", self._server.ping(tries=1))

    async def _done(self, what: str, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"{what} at {self._place} failed: {error or type(error).__name__}; the experiment ended",
                hint="Check that Redis runs there and what its user may do.",
            ) from error


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[_Ask]:
    try:
        server = RedisServer(url, timeout_s=TIMEOUT_S, connections_max=1)
    except ValueError as error:
        raise ConfigError(
            f"{mask_url(url)} is no address of a Redis: {error}", hint=f"Use {SCHEMES}."
        ) from error
    try:
        yield _Ask(server, mask_url(url))
    finally:
        await server.close()


def redis_strategies(url: str) -> list[LuaStrategy | NaiveStrategy | TairStrategy]:
    """All of them, under one new suffix."""
    suffix = secrets.token_hex(4)
    return [LuaStrategy(url, suffix), NaiveStrategy(url, suffix), TairStrategy(url, suffix)]
