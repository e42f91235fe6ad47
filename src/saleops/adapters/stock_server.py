"""The stock scripts on a Redis: many calls in one packed buffer, repeated when that is safe.

Every stock script may be sent twice, so a lost connection or a lost reply is answered by sending the same calls
again (bounded, with jitter); a server that forgot its scripts gets them again and only the calls it refused are
repeated. What a script refuses comes back as the error its caller knows.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha1
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from saleops.adapters.redis_wire import exchange, pack
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.ports.engines import mask_url
from saleops.ports.stock import StaleEpoch
from saleops.resources import read_lua

_TRIES = 5
_CONNECTIONS_MAX = 64


class Script:
    """One Lua file with the sum a server knows it by."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = read_lua(f"stock/{name}")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest().encode()


script_named = cache(Script)


class Call(msgspec.Struct, frozen=True):
    """An EVALSHA, ready to be packed."""

    script: Script
    parts: tuple[bytes, ...]


def call_of(name: str, keys: Sequence[bytes], args: Sequence[str | int | bytes]) -> Call:
    """A call of ``lua/stock/<name>.lua``."""
    script = script_named(name)
    encoded = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return Call(script, (b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *encoded))


class StockServer:
    """Where the counters live. Opens connections as they are needed; ``close`` ends them all."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._place = mask_url(url)
        self._timeout_s = timeout_s
        try:
            # Our own timeout around each call is the only one: the client's would go through asyncio.wait_for, which
            # on Python 3.11 can swallow a cancellation. We know better than the client what may be sent twice.
            self._client: Any = Redis.from_url(
                url,
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                max_connections=_CONNECTIONS_MAX,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigError(
                f"the stock store cannot use {self._place}: {error}",
                hint="Use redis://, rediss:// or unix://.",
            ) from error

    async def close(self) -> None:
        await self._client.aclose()

    async def run(self, calls: Sequence[Call], doing: str) -> list[Any]:
        """Run all calls in one pipeline; every one of them may be sent twice. Raises what the store meant."""
        results: list[Any] = [None] * len(calls)
        waiting = list(range(len(calls)))
        for attempt in range(_TRIES):
            try:
                replies = await self._send([calls[i] for i in waiting])
            except (RedisError, OSError, TimeoutError) as error:
                if attempt == _TRIES - 1:
                    raise self._silent(doing, error) from error
                await asyncio.sleep(random.uniform(0.01, 0.05) * 2**attempt)
                continue
            again = []
            for i, reply in zip(waiting, replies, strict=True):
                if isinstance(reply, NoScriptError):
                    again.append(i)
                elif isinstance(reply, BaseException):
                    raise _meant(reply, doing)
                else:
                    results[i] = reply
            if not again:
                return results
            await self._load({calls[i].script.name: calls[i].script for i in again})
            waiting = again
        raise StoreUnavailable(
            f"{doing}: the stock store forgets its scripts as fast as they are loaded"
        )

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        packed = b"".join([pack(call.parts) for call in calls])
        return await exchange(self._client, packed, len(calls), timeout_s=self._timeout_s)

    async def _load(self, scripts: Mapping[str, Script]) -> None:
        try:
            for script in scripts.values():
                async with asyncio.timeout(self._timeout_s):
                    await self._client.execute_command("SCRIPT LOAD", script.text)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._silent("loading scripts", error) from error

    async def ask(self, doing: str, *command: Any) -> Any:
        """A plain command that may be sent twice."""
        for attempt in range(_TRIES):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._client.execute_command(*command)
            except (RedisError, OSError, TimeoutError) as error:
                if attempt == _TRIES - 1 or isinstance(error, ResponseError):
                    raise self._silent(doing, error) from error
                await asyncio.sleep(random.uniform(0.01, 0.05) * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _silent(self, doing: str, error: BaseException) -> StoreUnavailable:
        if isinstance(error, AuthenticationError | ResponseError):
            return StoreUnavailable(
                f"{doing}: the stock store at {self._place} refuses us: {error}",
                hint="Check user and password, and what they may do there.",
            )
        return StoreUnavailable(
            f"{doing}: the stock store at {self._place} does not answer: {error or type(error).__name__}",
            hint="Check that Redis runs there; the same request may be sent again.",
        )


def _meant(error: BaseException, doing: str) -> Exception:
    """What a script's error reply means to us."""
    text = str(error)
    if text.startswith(("STALE", "NOTOPEN")):
        return StaleEpoch(
            f"{doing}: the stock store is not on this sale's epoch ({text}); nothing was changed",
            hint="Run `saleops seed` for this sale, or `saleops reconcile` if the store was restored.",
        )
    if text.startswith("SEEDED"):
        epoch = text.split(" ")[1]
        return Refused(
            f"the stock store holds a live sale already (epoch {epoch}); nothing was changed",
            hint=f"To replace it pass --replace {epoch}.",
        )
    if text.startswith(("BADUNITS", "TOOMANY")):
        return ValueError(f"{doing}: {text}")
    return StoreUnavailable(f"{doing}: {text}")
