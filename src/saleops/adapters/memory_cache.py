"""The page cache in this process's memory: for tests and demos, on any clock."""

from collections.abc import Sequence

from saleops.ports.clock import Clock, WallClock


class MemoryPageCache:
    """Pages and locks in dictionaries; what is past its time is gone on the next look."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._pages: dict[str, tuple[bytes, int]] = {}
        self._locks: dict[str, tuple[str, int]] = {}

    def _page(self, key: str) -> bytes | None:
        held = self._pages.get(key)
        if held is None:
            return None
        body, expires_ms = held
        if expires_ms <= self._clock.now_ms():
            del self._pages[key]
            return None
        return body

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._page(key) for key in keys]

    async def put(self, key: str, body: bytes, *, ttl_ms: int) -> None:
        if ttl_ms < 1:
            raise ValueError(f"a page cannot live {ttl_ms} ms")
        self._pages[key] = (body, self._clock.now_ms() + ttl_ms)

    async def put_many(self, pages: Sequence[tuple[str, bytes, int]]) -> None:
        for key, body, ttl_ms in pages:
            await self.put(key, body, ttl_ms=ttl_ms)

    async def lock(self, key: str, owner: str, *, lease_ms: int) -> bool:
        now_ms = self._clock.now_ms()
        held = self._locks.get(key)
        if held and held[1] > now_ms:
            return False
        self._locks[key] = (owner, now_ms + lease_ms)
        return True

    async def put_and_unlock(self, key: str, owner: str, body: bytes, *, ttl_ms: int) -> None:
        await self.put(key, body, ttl_ms=ttl_ms)
        await self.unlock(key, owner)

    async def unlock(self, key: str, owner: str) -> None:
        held = self._locks.get(key)
        if held and held[0] == owner:
            del self._locks[key]

    async def ttls_ms(self, keys: Sequence[str]) -> list[int]:
        now_ms = self._clock.now_ms()
        return [self._pages[key][1] - now_ms if self._page(key) is not None else -2 for key in keys]

    async def clear(self) -> None:
        self._pages.clear()
        self._locks.clear()

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        """Nothing to give back."""
