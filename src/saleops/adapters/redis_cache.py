"""The page cache on Redis, Valkey or Tair.

A page is a string key ``page:SALE:PAGE`` with a time to live. Page keys carry no hash tag, so a cluster spreads them;
the lock of a page is ``{page:SALE:PAGE}:lock``, whose tag is the page's whole key, so both live in one slot
and one script may touch them. Everything here may be sent twice, which is why one retry is always allowed: a
lock taken by a call whose reply was lost is taken until its lease ends, which costs time and nothing else.

Filling the cache is the one thing that is not done through redis-py's commands: its pipeline packs and parses
40,000 SETs a second where one packed buffer for many of them gives 350,000 on the same core.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as ReplyLate

from saleops.adapters.redis_wire import exchange
from saleops.errors import ConfigError, StoreUnavailable
from saleops.resources import read_lua

CHUNK = 1000
"""SETs on their way at once: enough to hide the round trip, few enough to bound the server's buffers."""

SCAN_COUNT = 2000
READ_MAX = 1000
"""Keys in one MGET: a longer one would keep the server from everybody else."""


class RedisPageCache:
    """One sale's pages. Made with ``from_url``; ``close`` gives its connections back."""

    def __init__(self, client: Any, *, sale: str, timeout_s: float) -> None:
        self._client = client  # a redis.asyncio.Redis, whose commands are not typed
        self._prefix = f"page:{sale}:"
        self._timeout_s = timeout_s
        self._put_and_unlock = client.register_script(read_lua("cache/put_and_unlock"))
        self._unlock = client.register_script(read_lua("cache/unlock"))

    @classmethod
    def from_url(cls, url: str, *, sale: str, timeout_s: float = 2.0) -> "RedisPageCache":
        """No connection is made yet. Raises ConfigError for a URL that is not one of Redis."""
        try:
            client = Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                max_connections=64,
                retry=Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.05), 1),
            )
        except ValueError as error:
            raise ConfigError(
                f"the page cache cannot use this URL: {error}",
                hint="Use redis://, rediss:// or unix://.",
            ) from error
        return cls(client, sale=sale, timeout_s=timeout_s)

    async def close(self) -> None:
        await self._client.aclose()

    def _key(self, page: str) -> str:
        return self._prefix + page

    def _lock_key(self, page: str) -> str:
        return f"{{{self._prefix}{page}}}:lock"

    async def ping(self) -> None:
        with _translated("asking whether the page cache is there"):
            await self._client.execute_command("PING")

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        prefix = self._prefix
        with _translated(f"reading {len(keys)} pages"):
            pages: list[bytes | None] = []
            for start in range(0, len(keys), READ_MAX):
                part = [prefix + key for key in keys[start : start + READ_MAX]]
                pages += await self._client.execute_command("MGET", *part)
            return pages

    async def put(self, key: str, body: bytes, *, ttl_ms: int) -> None:
        _check_ttl(ttl_ms)
        with _translated(f"storing the page {key}"):
            await self._client.execute_command("SET", self._key(key), body, "PX", ttl_ms)

    async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
        if not pages:
            return
        with _translated(f"storing {len(pages)} pages"):
            for start in range(0, len(pages), CHUNK):
                chunk = pages[start : start + CHUNK]
                packed = self._pack(chunk)
                try:
                    await self._send(packed, len(chunk))
                except (ConnectionLost, ReplyLate, OSError):
                    await self._send(packed, len(chunk))  # the same SETs, so twice is once

    def _pack(self, pages: Sequence[tuple[str, bytes, int]]) -> bytes:
        """One buffer of RESP (redis.io/docs/latest/develop/reference/protocol-spec) with a SET for each page."""
        prefix = self._prefix
        parts = []
        for page, body, ttl_ms in pages:
            _check_ttl(ttl_ms)
            key, ttl = (prefix + page).encode(), b"%d" % ttl_ms
            parts.append(
                b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"
                % (len(key), key, len(body), body, len(ttl), ttl)
            )
        return b"".join(parts)

    async def _send(self, packed: bytes, count: int) -> None:
        """Send a chunk and read its ``count`` replies under one time limit, instead of one limit each."""
        for reply in await exchange(self._client, packed, count, timeout_s=self._timeout_s):
            if isinstance(reply, RedisError):
                raise reply

    async def lock(self, key: str, owner: str, *, lease_ms: int) -> bool:
        with _translated(f"taking the right to rebuild {key}"):
            reply = await self._client.execute_command(
                "SET", self._lock_key(key), owner, "NX", "PX", lease_ms
            )
            return bool(reply)

    async def put_and_unlock(self, key: str, owner: str, body: bytes, *, ttl_ms: int) -> None:
        _check_ttl(ttl_ms)
        with _translated(f"storing the rebuilt page {key}"):
            await self._put_and_unlock(
                keys=[self._key(key), self._lock_key(key)], args=[body, ttl_ms, owner]
            )

    async def unlock(self, key: str, owner: str) -> None:
        with _translated(f"giving up the right to rebuild {key}"):
            await self._unlock(keys=[self._lock_key(key)], args=[owner])

    async def ttls_ms(self, keys: Sequence[str]) -> list[int]:
        left: list[int] = []
        with _translated(f"reading the lifetimes of {len(keys)} pages"):
            for start in range(0, len(keys), CHUNK):
                pipeline = self._client.pipeline(transaction=False)
                for key in keys[start : start + CHUNK]:
                    pipeline.execute_command("PTTL", self._key(key))
                left += await pipeline.execute()
        return left

    async def clear(self) -> None:
        with _translated("clearing the page cache"):
            async for keys in self._own_keys():
                await self._client.execute_command("UNLINK", *keys)

    async def _own_keys(self) -> AsyncIterator[list[bytes]]:
        """This sale's pages and locks, a scan step at a time (O(keys in the database) in total)."""
        page, lock = self._prefix.encode(), b"{" + self._prefix.encode()
        cursor: Any = 0
        while True:
            cursor, found = await self._client.execute_command(
                "SCAN", cursor, "MATCH", f"*{_literal(self._prefix)}*", "COUNT", SCAN_COUNT
            )
            keys = [key for key in found if key.startswith((page, lock))]
            if keys:
                yield keys
            if int(cursor) == 0:
                return


def _check_ttl(ttl_ms: int) -> None:
    if ttl_ms < 1:
        raise ValueError(f"a page cannot live {ttl_ms} ms")


def _literal(text: str) -> str:
    """``text`` as a glob pattern that matches nothing else."""
    return "".join("\\" + sign if sign in "*?[]\\^-" else sign for sign in text)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """The client's errors become ours."""
    try:
        yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise StoreUnavailable(
            f"{doing}: the page cache did not answer: {error or type(error).__name__}",
            hint="Check that Redis runs; the same request may be sent again.",
        ) from error
