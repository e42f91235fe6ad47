"""The page cache on Redis, Valkey or Tair.

A page is a string key ``page:SALE:PAGE`` with a time to live. Page keys carry no hash tag, so a cluster spreads them;
the lock of a page is ``{page:SALE:PAGE}:lock``, whose tag is the page's whole key, so both live in one slot
and one script may touch them. Everything here may be sent twice, which is why one retry is always allowed: a
lock taken by a call whose reply was lost is taken until its lease ends, which costs time and nothing else.

Filling the cache is the one thing that is not done through redis-py's commands: its pipeline packs and parses
40,000 SETs a second where packed buffers (redis_server.py) give several times that on the same core.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from saleops.adapters.redis_nodes import LOST, SCHEMES
from saleops.adapters.redis_server import Call, RedisServer, command_call, script_call
from saleops.errors import ConfigError, StoreUnavailable

CHUNK = 1000
"""Commands on their way at once: enough to hide the round trip, few enough to bound the server's buffers."""

SCAN_COUNT = 2000
READ_MAX = 1000
"""Keys in one MGET: a longer one would keep the server from everybody else."""


_TRIES = 2


class RedisPageCache:
    """One sale's pages. Made with ``from_url``; ``close`` gives its connections back."""

    def __init__(self, server: RedisServer, *, sale: str) -> None:
        self._server = server
        self._prefix = f"page:{sale}:"

    @classmethod
    def from_url(cls, url: str, *, sale: str, timeout_s: float = 2.0) -> "RedisPageCache":
        """No connection is made yet. Raises ConfigError for a URL that is not one of Redis."""
        try:
            server = RedisServer(url, timeout_s=timeout_s)
        except ValueError as error:
            raise ConfigError(
                f"the page cache cannot use this URL: {error}", hint=f"Use {SCHEMES}."
            ) from error
        return cls(server, sale=sale)

    async def close(self) -> None:
        await self._server.close()

    def _key(self, page: str) -> str:
        return self._prefix + page

    def _lock_key(self, page: str) -> str:
        return f"{{{self._prefix}{page}}}:lock"

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        """The replies to all of ``calls``, at most CHUNK on their way at once."""
        replies: list[Any] = []
        for start in range(0, len(calls), CHUNK):
            part = await self._server.send(calls[start : start + CHUNK], tries=_TRIES)
            for reply in part:
                if isinstance(reply, BaseException):
                    raise reply
            replies += part
        return replies

    async def ping(self) -> None:
        with _translated("asking whether the page cache is there"):
            await self._server.ping(tries=_TRIES)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with _translated(f"reading {len(keys)} pages"):
            if (
                self._server.is_cluster
            ):  # every page has a slot of its own, and an MGET is for one slot
                return await self._send([command_call("GET", self._key(key)) for key in keys])
            parts = [keys[start : start + READ_MAX] for start in range(0, len(keys), READ_MAX)]
            calls = [command_call("MGET", *[self._key(key) for key in part]) for part in parts]
            pages: list[bytes | None] = []
            for call in calls:
                [found] = await self._send([call])
                pages += found
            return pages

    async def put(self, key: str, body: bytes, *, ttl_ms: int) -> None:
        _check_ttl(ttl_ms)
        with _translated(f"storing the page {key}"):
            await self._send([self._put_call(key, body, ttl_ms)])

    async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
        with _translated(f"storing {len(pages)} pages"):
            for start in range(0, len(pages), CHUNK):
                await self._send([self._put_call(*page) for page in pages[start : start + CHUNK]])

    def _put_call(self, page: str, body: bytes, ttl_ms: int) -> Call:
        """A SET, packed in one go: there are a great many of them."""
        _check_ttl(ttl_ms)
        key, ttl = (self._prefix + page).encode(), b"%d" % ttl_ms
        return Call(
            b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"
            % (len(key), key, len(body), body, len(ttl), ttl),
            key,
        )

    async def lock(self, key: str, owner: str, *, lease_ms: int) -> bool:
        with _translated(f"taking the right to rebuild {key}"):
            take = command_call("SET", self._lock_key(key), owner, "NX", "PX", lease_ms)
            [reply] = await self._send([take])
            return reply is not None

    async def put_and_unlock(self, key: str, owner: str, body: bytes, *, ttl_ms: int) -> None:
        _check_ttl(ttl_ms)
        keys = (self._key(key).encode(), self._lock_key(key).encode())
        with _translated(f"storing the rebuilt page {key}"):
            await self._send([script_call("cache/put_and_unlock", keys, (body, ttl_ms, owner))])

    async def unlock(self, key: str, owner: str) -> None:
        keys = (self._lock_key(key).encode(),)
        with _translated(f"giving up the right to rebuild {key}"):
            await self._send([script_call("cache/unlock", keys, (owner,))])

    async def ttls_ms(self, keys: Sequence[str]) -> list[int]:
        with _translated(f"reading the lifetimes of {len(keys)} pages"):
            return await self._send([command_call("PTTL", self._key(key)) for key in keys])

    async def clear(self) -> None:
        """Forget this sale's pages and locks (O(keys in the database))."""
        page, lock = self._prefix.encode(), b"{" + self._prefix.encode()
        pattern = f"*{_literal(self._prefix)}*"
        with _translated("clearing the page cache"):
            async for found in self._server.keys(pattern, tries=_TRIES, count=SCAN_COUNT):
                own = [key for key in found if key.startswith((page, lock))]
                await self._send([command_call("UNLINK", key) for key in own])


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
    except LOST as error:
        raise StoreUnavailable(
            f"{doing}: the page cache did not answer: {error or type(error).__name__}",
            hint="Check that Redis runs; the same request may be sent again.",
        ) from error
