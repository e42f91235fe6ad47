"""The broker's scripts and commands on a Redis or a Redis Cluster, repeated when that is safe.

A call gets a time limit and, when it may be sent twice, three tries (redis_server.py); then StoreUnavailable names the
place without its password.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from saleops.adapters.redis_nodes import LOST, SCHEMES
from saleops.adapters.redis_server import RedisServer, script_call
from saleops.errors import ConfigError, StoreUnavailable
from saleops.ports.engines import mask_url

_TRIES = 3
_CONNECTIONS_MAX = 32  # commands at a time and node; more wait their turn
_REFUSALS = ("TXUSED",)  # what our scripts answer to a caller's mistake


class ScriptRefused(Exception):
    """A script found its caller mistaken and changed nothing."""


class StreamsServer:
    """Where a broker's keys live. Opens connections as they are needed; ``close`` ends them all."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._place = mask_url(url)
        self._timeout_s = timeout_s
        try:
            self._redis = RedisServer(url, timeout_s=timeout_s, connections_max=_CONNECTIONS_MAX)
        except ValueError as error:
            raise ConfigError(
                f"the broker cannot use {self._place}: {error}", hint=f"Use {SCHEMES}."
            ) from error
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
        """Run ``lua/broker/<script>.lua``; when it is sent again, then with ``again`` for its arguments.

        Raises ScriptRefused, and StoreUnavailable when no try was answered.
        """
        self._check_open()
        encoded_keys = [key.encode() for key in keys]
        first = script_call(f"broker/{script}", encoded_keys, args)
        then = None if again is None else [script_call(f"broker/{script}", encoded_keys, again)]
        [reply] = await self._redis.send([first], tries=tries, again=then)
        if isinstance(reply, BaseException):
            if isinstance(reply, ResponseError) and str(reply).startswith(_REFUSALS):
                raise ScriptRefused(str(reply)) from reply
            raise self._unavailable(doing, reply) from reply
        return reply

    async def command(self, doing: str, *command: Any, tries: int = _TRIES) -> Any:
        """Send a command that may be sent twice; its second word is its key."""
        self._check_open()
        try:
            return await self._redis.command(*command, tries=tries)
        except LOST as error:
            raise self._unavailable(doing, error) from error

    async def ping(self, doing: str) -> None:
        """Whether every node that holds keys is there."""
        self._check_open()
        try:
            await self._redis.ping(tries=1)
        except LOST as error:
            raise self._unavailable(doing, error) from error

    async def keys(self, doing: str, pattern: str) -> AsyncIterator[bytes]:
        """The keys that match, on every node; one may come twice."""
        self._check_open()
        try:
            async for names in self._redis.keys(pattern, tries=_TRIES):
                for name in names:
                    yield name
        except LOST as error:
            raise self._unavailable(doing, error) from error

    async def listen(self, stream: str, after: bytes, block_ms: int) -> None:
        """Until ``stream`` has an entry after ``after``, at most ``block_ms``."""
        # A plain XREAD takes nothing out, so a waiter may be cancelled or killed here at no loss.
        command = ("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", stream, after)
        try:
            await self._redis.listen(
                *command, key=stream, timeout_s=self._timeout_s + block_ms / 1000
            )
        except LOST as error:
            raise self._unavailable("waiting for messages", error) from error

    async def close(self) -> None:
        self._closed = True
        await self._redis.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the broker was closed; nothing was sent")

    def _unavailable(self, doing: str, error: BaseException) -> StoreUnavailable:
        return StoreUnavailable(
            f"{doing}: the broker at {self._place} failed: {error or type(error).__name__}",
            hint="Check that Redis or Valkey runs there; messages that were accepted are not lost.",
        )
