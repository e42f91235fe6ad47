"""The stock scripts on a Redis or a Redis Cluster, and what their answers mean.

Every stock script may be sent twice, so a lost connection or a lost reply is answered by sending the same calls
again (redis_server.py). What a script refuses comes back as the error its caller knows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    NoScriptError,
    ResponseError,
    TryAgainError,
)

from saleops.adapters.redis_nodes import LOST, SCHEMES
from saleops.adapters.redis_server import Call, RedisServer, script_call
from saleops.errors import ConfigError, Refused, StoreUnavailable
from saleops.ports.engines import mask_url
from saleops.ports.stock import StaleEpoch

__all__ = ["Call", "StockServer", "call_of"]

_TRIES = 5


def call_of(name: str, keys: Sequence[bytes], args: Sequence[str | int | bytes]) -> Call:
    """A call of ``lua/stock/<name>.lua``."""
    return script_call(f"stock/{name}", keys, args)


class StockServer:
    """Where the counters live. Opens connections as they are needed; ``close`` ends them all."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._place = mask_url(url)
        try:
            self._redis = RedisServer(url, timeout_s=timeout_s)
        except ValueError as error:
            raise ConfigError(
                f"the stock store cannot use {self._place}: {error}", hint=f"Use {SCHEMES}."
            ) from error

    async def close(self) -> None:
        await self._redis.close()

    async def run(self, calls: Sequence[Call], doing: str) -> list[Any]:
        """Run all calls; every one of them may be sent twice. Raises what the store meant.

        On a cluster the calls for one node may have run when those for another raise: send the same calls again.
        """
        replies = await self.try_all(calls, doing)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def try_all(self, calls: Sequence[Call], doing: str) -> list[Any]:
        """As run, but what went wrong with a call stands in its place: a silent node spoils no other's answers.

        A StaleEpoch is raised all the same: it is about the whole sale.
        """
        replies = await self._redis.send(calls, tries=_TRIES)
        for at, reply in enumerate(replies):
            if isinstance(reply, BaseException):
                replies[at] = error = self._meant(reply, doing)
                error.__cause__ = reply
                if isinstance(error, StaleEpoch):
                    raise error
        return replies

    async def ask(self, doing: str, *command: Any) -> Any:
        """A plain command that may be sent twice; its second word is its key."""
        with self._translated(doing):
            return await self._redis.command(*command, tries=_TRIES)

    async def ping(self, doing: str) -> None:
        """Whether every node that holds keys is there."""
        with self._translated(doing):
            await self._redis.ping(tries=_TRIES)

    async def run_ids(self, keys: Sequence[bytes], doing: str) -> list[str]:
        """For each key the run id of the server process that holds it: another one after a restart or a failover."""
        with self._translated(doing):
            return await self._redis.run_ids(keys, tries=_TRIES)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except LOST as error:
            raise self._silent(doing, error) from error

    def _silent(self, doing: str, error: BaseException) -> StoreUnavailable:
        if isinstance(error, NoScriptError):
            return StoreUnavailable(
                f"{doing}: the stock store forgets its scripts as fast as they are loaded"
            )
        if isinstance(error, AskError | TryAgainError | ClusterDownError):
            return StoreUnavailable(
                f"{doing}: the cluster at {self._place} does not serve the keys now: {error}",
                hint="`CLUSTER INFO` says why; behind redis:// use redis+cluster://. The same request may be sent again.",
            )
        if isinstance(error, AuthenticationError | ResponseError):
            return StoreUnavailable(
                f"{doing}: the stock store at {self._place} refuses us: {error}",
                hint="Check user and password, and what they may do there.",
            )
        return StoreUnavailable(
            f"{doing}: the stock store at {self._place} does not answer: {error or type(error).__name__}",
            hint="Check that Redis runs there; the same request may be sent again.",
        )

    def _meant(self, error: BaseException, doing: str) -> Exception:
        """What an error in a reply's place means to us."""
        text = str(error)
        if type(error) is not ResponseError:
            return self._silent(doing, error)
        if text.startswith(("STALE", "NOTOPEN", "NOTSEEDING")):
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
