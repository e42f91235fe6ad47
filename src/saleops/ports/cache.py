"""The page cache: ready-made response bodies with a time to live, and the lock that lets one caller rebuild one."""

from collections.abc import Sequence
from typing import Protocol


class PageCache(Protocol):
    """Raises StoreUnavailable when the cache cannot be reached."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One body a key, in order; None where there is none."""
        ...

    async def put(self, key: str, body: bytes, *, ttl_ms: int) -> None:
        """Store a page for ``ttl_ms``, over an older one."""
        ...

    async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
        """(key, body, ttl_ms) each, pipelined."""
        ...

    async def lock(self, key: str, owner: str, *, lease_ms: int) -> bool:
        """Become the one who rebuilds ``key``, for ``lease_ms`` at the most."""
        ...

    async def put_and_unlock(self, key: str, owner: str, body: bytes, *, ttl_ms: int) -> None:
        """Store the rebuilt page and give the lock back, if it is still ours. The page is stored either way."""
        ...

    async def unlock(self, key: str, owner: str) -> None:
        """Give the lock back if it is still ours."""
        ...

    async def ttls_ms(self, keys: Sequence[str]) -> list[int]:
        """Time left of each key; -2 where there is none."""
        ...

    async def clear(self) -> None:
        """Forget every page of the sale."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...
