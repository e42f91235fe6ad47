"""Reading a page through the cache, so that whatever happens the database is asked once.

Reads are micro-batched: the first one starts an MGET at once, those that arrive while it is on its way share the
next, and one key takes one place in it however many ask. On a miss one *flight* a process and key tries to become
the one who rebuilds: it takes the page's lock (an owner token and a lease), looks once more (the page may have come
between its miss and its lock), builds, stores and unlocks. Everybody else waits 50 ms with jitter and reads
again, bounded in total. A holder that dies costs the rest of its lease and one more query.

When the cache does not answer, pages are built without it, one flight a key and only as many as the builder lets
in; for a second nobody asks the cache again, because each question would wait for its timeout.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from saleops.domain.pages import ABSENT, ttl_range_ms
from saleops.errors import StoreUnavailable
from saleops.ports.cache import PageCache
from saleops.ports.clock import Clock

log = logging.getLogger("saleops.pages")

WAIT_S: Final = 0.05  # between two looks of those who wait for another's page; x (0.5 .. 1.5)
DOWN_MS: Final = 1_000  # how long a cache that did not answer is left alone


class PageUnavailable(StoreUnavailable):
    """No page now, and asking again at once would not help: the database is busy or does not answer."""


@dataclass(frozen=True, slots=True)
class PageLife:
    """How long pages live, and how long their rebuilding may take. Lengths in ms; ``jitter`` as a share."""

    ttl_ms: int
    jitter: float
    absent_ttl_ms: int = 10_000
    lease_ms: int = 3_000  # longer than a rebuild takes, short enough to wait for after a crash
    wait_max_ms: int = (
        6_000  # two leases: a holder that dies must not cost those who wait their page
    )


class _Down:
    """The answer of a cache that does not answer."""


_DOWN: Final = _Down()
Found = bytes | None | _Down
Build = Callable[[str], Awaitable[bytes]]
"""Makes the body of the page about a subject (a SKU); ``ABSENT`` where there is none. Raises StoreUnavailable."""


class PageReader:
    """One process's way to the pages. ``hits`` and ``misses`` count requests, not keys."""

    def __init__(self, cache: PageCache, *, life: PageLife, clock: Clock, rng: Random) -> None:
        self.hits = 0
        self.misses = 0
        self._cache = cache
        self._life = life
        self._clock = clock
        self._rng = rng
        self._owner = secrets.token_hex(8)
        self._owners = 0
        self._waiting: dict[str, list[asyncio.Future[Found]]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._flights: dict[str, asyncio.Task[bytes | StoreUnavailable]] = {}
        self._down = False
        self._down_until_ms = 0

    async def page(self, key: str, build: Build, subject: str, *, ttl_ms: int = 0) -> bytes:
        """The page under ``key``: cached, or built by ``build(subject)`` for everybody and kept for ``ttl_ms``
        (0: the usual life). Raises PageUnavailable."""
        found = await self._read(key)
        if type(found) is bytes:
            self.hits += 1
            return found
        self.misses += 1
        return await self._join(key, build, subject, ttl_ms, cached=found is None)

    async def uncached(self, key: str, build: Build, subject: str) -> bytes:
        """A page that is not worth caching: those who ask for it at one time share one ``build(subject)``."""
        return await self._join(key, build, subject, 0, cached=False)

    async def close(self) -> None:
        """Wait for what is on its way."""
        running = [*self._flights.values()]
        if self._pump:
            running.append(self._pump)  # type: ignore[arg-type]  # only its end matters
        await asyncio.gather(*running, return_exceptions=True)

    # -- batched reads -----------------------------------------------------------------------------------------

    def _read(self, key: str) -> "asyncio.Future[Found]":
        # One future a caller: a caller that is cancelled cancels what it awaits, and others must not suffer.
        mine: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        if self._down:
            if self._clock.now_ms() < self._down_until_ms:
                mine.set_result(_DOWN)
                return mine
            self._down = False
        same = self._waiting.get(key)
        if same is None:
            self._waiting[key] = [mine]
            if self._pump is None:
                self._pump = asyncio.get_running_loop().create_task(self._read_batches())
        else:
            same.append(mine)
        return mine

    async def _read_batches(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                found: list[bytes | None] | list[_Down]
                try:
                    found = await self._cache.get_many(list(batch))
                except StoreUnavailable as error:
                    self._cache_is_down(error)
                    found = [_DOWN] * len(batch)
                except Exception as error:  # noqa: BLE001  # a bug goes to those who wait, and reading goes on
                    for mine in (one for same in batch.values() for one in same):
                        if not mine.done():
                            mine.set_exception(error)
                    continue
                for same, body in zip(batch.values(), found, strict=True):
                    for mine in same:
                        if not mine.done():
                            mine.set_result(body)
        finally:
            self._pump = None

    def _cache_is_down(self, error: StoreUnavailable) -> None:
        self._down = True
        self._down_until_ms = self._clock.now_ms() + DOWN_MS
        log.warning("pages are built without the cache for %d ms: %s", DOWN_MS, error)

    # -- flights: one rebuilding a key and process -------------------------------------------------------------

    async def _join(
        self, key: str, build: Build, subject: str, ttl_ms: int, *, cached: bool
    ) -> bytes:
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(
                self._fly(key, build, subject, ttl_ms, cached=cached)
            )
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, StoreUnavailable):
            # One fresh error a caller: an error raised by thousands would carry thousands of tracebacks.
            raise PageUnavailable(outcome.message, hint=outcome.hint)
        return outcome

    def _landed(self, key: str, flight: "asyncio.Task[bytes | StoreUnavailable]") -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # those who wait raise it; nobody waiting is no reason for a warning

    async def _fly(
        self, key: str, build: Build, subject: str, ttl_ms: int, *, cached: bool
    ) -> bytes | StoreUnavailable:
        try:
            async with asyncio.timeout(self._life.wait_max_ms / 1000):
                if not cached:
                    return await build(subject)
                return await self._rebuild_or_wait(key, build, subject, ttl_ms)
        except TimeoutError:
            return PageUnavailable(f"{key} took longer than {self._life.wait_max_ms} ms")
        except StoreUnavailable as error:
            return error

    async def _rebuild_or_wait(self, key: str, build: Build, subject: str, ttl_ms: int) -> bytes:
        self._owners += 1
        owner = f"{self._owner}-{self._owners}"
        while True:
            try:
                mine = await self._cache.lock(key, owner, lease_ms=self._life.lease_ms)
            except StoreUnavailable as error:
                self._cache_is_down(error)
                return await build(subject)
            if mine:
                return await self._rebuild(key, owner, build, subject, ttl_ms)
            await self._clock.sleep(WAIT_S * self._rng.uniform(0.5, 1.5))
            found = await self._read(key)
            if isinstance(found, _Down):
                return await build(subject)
            if found is not None:
                return found

    async def _rebuild(
        self, key: str, owner: str, build: Build, subject: str, ttl_ms: int
    ) -> bytes:
        try:
            # Between our miss and our lock another holder may have finished: then there is nothing to do.
            found = await self._read(key)
            if isinstance(found, bytes):
                await self._cache.unlock(key, owner)
                return found
            body = await build(subject)
        except BaseException:
            await self._give_up(key, owner)
            raise
        try:
            await self._cache.put_and_unlock(
                key, owner, body, ttl_ms=self.lifetime_ms(body, ttl_ms)
            )
        except StoreUnavailable as error:
            self._cache_is_down(error)
        return body

    async def _give_up(self, key: str, owner: str) -> None:
        try:
            await self._cache.unlock(key, owner)
        except StoreUnavailable as error:
            self._cache_is_down(error)  # the lease ends by itself

    def lifetime_ms(self, body: bytes, ttl_ms: int = 0) -> int:
        """How long ``body`` is to live: its usual time x (1 ± jitter), so that no second sees many expire."""
        usual_ms = self._life.absent_ttl_ms if body == ABSENT else ttl_ms or self._life.ttl_ms
        return self._rng.randint(*ttl_range_ms(usual_ms, self._life.jitter))
