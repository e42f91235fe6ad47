"""Limits at the door: so many requests a second from one buyer or one address, per worker process.

Each key has a token bucket, kept as one number, the time at which the bucket will be full again (GCRA: the same
answers as a bucket with a counter and a timestamp). A key whose time has passed has a full bucket, which is what an
unknown key has, so it can be forgotten without anybody gaining or losing. Keys stay in the order of their last request,
so the ones to forget are always in front and memory is bounded without a sweep. When more than ``max_keys`` are busy at
once the one that was quiet longest is forgotten early: it gains a burst, nobody loses.
"""

import math
import time
from collections.abc import Callable

from saleops.config.settings import Admission
from saleops.services.web import Refusal, Request

MAX_KEYS = 200_000  # about 30 MB
FORGET_EACH = (
    2  # full buckets forgotten at each request: more than one new one, so memory shrinks again
)


class RateLimiter:
    """Token buckets by key: ``rate`` requests a second each, ``burst`` at once. Not thread-safe."""

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        max_keys: int = MAX_KEYS,
    ) -> None:
        """Raises ValueError unless ``rate`` is above 0 and the two others are at least 1."""
        if not (0 < rate < math.inf) or burst < 1 or max_keys < 1:
            raise ValueError(f"no bucket has rate {rate}, burst {burst}, {max_keys} keys")
        self._interval_s = 1.0 / rate
        self._room_s = (burst - 1) / rate  # how far ahead of now a bucket's time may be
        self._monotonic_s = monotonic_s
        self._max_keys = max_keys
        self._full_at_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at_s)

    def wait_s(self, key: str) -> float:
        """0.0 and one token less, or the seconds until there is a token (nothing is taken then)."""
        now_s = self._monotonic_s()
        buckets = self._full_at_s
        full_at_s = max(buckets.pop(key, now_s), now_s)
        wait_s = full_at_s - self._room_s - now_s
        if wait_s > 0:
            buckets[key] = full_at_s
            return wait_s
        buckets[key] = full_at_s + self._interval_s
        for _ in range(FORGET_EACH):
            oldest = next(iter(buckets))
            if buckets[oldest] > now_s and len(buckets) <= self._max_keys:
                break
            del buckets[oldest]
        return 0.0


class Door:
    """The two limits of ``Admission``; 0 switches one off."""

    def __init__(
        self, admission: Admission, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        def limiter(rate: float) -> RateLimiter | None:
            if rate <= 0:
                return None
            return RateLimiter(rate, max(1, math.ceil(rate)), monotonic_s=monotonic_s)

        self._buyers = limiter(admission.per_buyer_rps)
        self._addresses = limiter(admission.per_ip_rps)

    def admit_buyer(self, buyer: str) -> None:
        """Raises Refusal 429 with Retry-After when ``buyer`` asks too often."""
        if self._buyers is not None:
            _admit(self._buyers, buyer)

    def admit_address(self, request: Request) -> None:
        """The same for the address ``request`` came from, where the gateway named it."""
        if self._addresses is not None and (address := client_address(request)):
            _admit(self._addresses, address)


def _admit(limiter: RateLimiter, key: str) -> None:
    wait_s = limiter.wait_s(key)
    if wait_s > 0:
        raise Refusal(
            429,
            "too-many-requests",
            "Too many requests",
            headers=[("retry-after", str(math.ceil(wait_s)))],
        )


def client_address(request: Request) -> str:
    """The address that our gateway saw: the last one in X-Forwarded-For. Earlier ones are the client's own claim."""
    forwarded = str(request.headers.get("x-forwarded-for") or "")
    return forwarded.rpartition(",")[2].strip()[:64]
