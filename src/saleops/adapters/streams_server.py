"""The connections of a broker on Streams: scripts and commands sent with timeouts, repeated when that is safe.

A call gets ``timeout_s`` and, when it may be sent twice, three tries with jitter; then StoreUnavailable names the
place without its password. A server that forgot its scripts gets the text along with the call.
"""

import asyncio
import random
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from saleops.errors import StoreUnavailable
from saleops.ports.engines import mask_url
from saleops.resources import read_lua

_TRIES = 3
_CONNECTIONS_MAX = 32  # commands at a time; more wait their turn
_BROKEN = (RedisError, OSError, TimeoutError)
_REFUSALS = ("TXUSED",)  # what our scripts answer to a caller's mistake


class ScriptRefused(Exception):
    """A script found its caller mistaken and changed nothing."""


class StreamsServer:
    """Where a broker's keys live. Opens connections as they are needed; ``close`` ends them all."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._place = mask_url(url)
        self._timeout_s = timeout_s
        self._client = _client(url, timeout_s)
        # Blocking reads have connections of their own: a waiting consumer must not hold up a commit.
        self._listener = _client(url, timeout_s)
        self._turns = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._closed = False

    async def run(
        self,
        script: str,
        keys: tuple[str, ...],
        args: Sequence[Any],
        doing: str,
        *,
        again: Sequence[Any] | None = None,
        tries: int = _TRIES,
    ) -> Any:
        """Run ``lua/broker/<script>.lua``; from the second try on with ``again`` for its arguments.

        Raises ScriptRefused, and StoreUnavailable when no try was answered.
        """
        for trial in range(tries):
            sent = args if trial == 0 or again is None else again
            try:
                return await self._evaluate(script, keys, sent)
            except _BROKEN as error:
                await self._pause_or_raise(trial, tries, doing, error)
        raise AssertionError("unreachable: the last try returns or raises")

    async def command(self, doing: str, *command: Any, tries: int = _TRIES) -> Any:
        """Send a command that may be sent twice."""
        for trial in range(tries):
            try:
                return await self._execute(*command)
            except _BROKEN as error:
                await self._pause_or_raise(trial, tries, doing, error)
        raise AssertionError("unreachable: the last try returns or raises")

    async def listen(self, stream: str, after: bytes, block_ms: int) -> None:
        """Until ``stream`` has an entry after ``after``, at most ``block_ms``."""
        # A plain XREAD takes nothing out, so a waiter may be cancelled or killed here at no loss.
        command = ("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", stream, after)
        try:
            async with asyncio.timeout(self._timeout_s + block_ms / 1000):
                await self._listener.execute_command(*command)
        except _BROKEN as error:
            raise self._unavailable("waiting for messages", error) from error

    async def close(self) -> None:
        self._closed = True
        await self._client.aclose()
        await self._listener.aclose()

    async def _evaluate(self, script: str, keys: tuple[str, ...], args: Sequence[Any]) -> Any:
        text, sha = _script(script)
        try:
            return await self._execute("EVALSHA", sha, len(keys), *keys, *args)
        except NoScriptError:
            # The server restarted or was told to forget: nothing has run yet.
            return await self._execute("EVAL", text, len(keys), *keys, *args)

    async def _execute(self, *command: Any) -> Any:
        if self._closed:
            raise StoreUnavailable("the broker was closed; nothing was sent")
        async with asyncio.timeout(self._timeout_s), self._turns:
            return await self._client.execute_command(*command)

    async def _pause_or_raise(
        self, trial: int, tries: int, doing: str, error: BaseException
    ) -> None:
        if isinstance(error, ResponseError):
            if str(error).startswith(_REFUSALS):
                raise ScriptRefused(str(error)) from error
            raise self._unavailable(doing, error) from error
        if trial == tries - 1:
            raise self._unavailable(doing, error) from error
        await asyncio.sleep(random.uniform(0.02, 0.06) * 2**trial)

    def _unavailable(self, doing: str, error: BaseException) -> StoreUnavailable:
        return StoreUnavailable(
            f"{doing}: the broker at {self._place} failed: {error or type(error).__name__}",
            hint="Check that Redis or Valkey runs there; messages that were accepted are not lost.",
        )


@cache
def _script(name: str) -> tuple[str, str]:
    text = read_lua(f"broker/{name}")
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def _client(url: str, timeout_s: float) -> Any:
    """A client without retries of its own: only we know what may be sent twice.

    Without a socket timeout either, because we set one around each command: the client's own costs a task a
    command and, through asyncio.wait_for before Python 3.12, sometimes swallows a cancellation.
    """
    pool = ConnectionPool.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # no HELLO, no pushes: we need neither
    )
    return Redis.from_pool(pool)
