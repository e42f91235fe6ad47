"""Who makes the traffic of a load test: simulated buyers in a process of their own."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from saleops.domain.latency import Histogram
from saleops.domain.traffic import STORM_SHARE, LoadShape


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A load test. ``demand`` are (sku, weight) pairs; shares are of 1; ``hs256_secret`` signs the buyers' tokens.

    The same ``seed`` makes the same buyers look at and order the same things. With ``opens_ms`` the load begins
    ``shape.lead_s`` before it; a generator that is late leaves out what it missed.
    """

    base_url: str
    shape: LoadShape
    demand: Sequence[tuple[str, float]]
    seed: int
    run: str  # new for every run: buyers of two runs never meet
    hs256_secret: str
    audience: str
    issuer: str = ""
    page_views_per_order: float = 12.0
    storm_share: float = STORM_SHARE
    unpaid_share: float = 0.05
    two_units_share: float = 0.1
    replay_share: float = 0.03
    opens_ms: int = (
        0  # Unix milliseconds at which the doors open; 0: as soon as the generator is up
    )


class LoadTick(msgspec.Struct, frozen=True):
    """One second of a load test; counts are running totals."""

    second: float
    wanted_rps: float
    requests: int
    orders: int
    sold_out: int
    errors: int


class LoadResult(msgspec.Struct):
    """What a load test counted. ``errors`` are answers a buyer could not live with; sold out is none of them, and neither
    is ``refused`` (more than one buyer may have). ``retries`` are orders sent again for want of a clear answer."""

    requests: int = 0
    orders: int = 0
    units: int = 0
    sold_out: int = 0
    refused: int = 0
    retries: int = 0
    replays: int = 0
    errors: int = 0
    seconds: float = 0.0
    requests_each_second: list[int] = []
    error_samples: dict[str, int] = {}
    pages: Histogram = msgspec.field(default_factory=Histogram)
    checkouts: Histogram = msgspec.field(default_factory=Histogram)
    both: Histogram = msgspec.field(default_factory=Histogram)


class LoadRunner(Protocol):
    async def run(self, request: LoadRequest, on_tick: Callable[[LoadTick], None]) -> LoadResult:
        """Make the traffic, to its end. Cancelled, it stops the traffic first. Raises UpstreamError."""
        ...
