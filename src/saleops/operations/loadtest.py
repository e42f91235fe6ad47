"""Sends a sale's load to its services and judges what came back.

The shape (baseline, step to the peak, refresh storm) comes from the sale file; peak and duration may be set for the
machine at hand. Traffic goes to this machine only, unless its host is named a second time.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from saleops.domain.items import Item
from saleops.domain.traffic import LoadShape
from saleops.errors import ConfigError, Refused
from saleops.events import Advanced, Finished, Observer, Started, silent
from saleops.ports.load import LoadRequest, LoadResult, LoadRunner, LoadTick

DEMAND_ITEMS_MAX = 100_000
"""Items the generator draws from: the most popular ones; the tail beyond them would not be seen in a load test."""

SATURATED_BELOW = 0.9
"""Below this share of the wanted rate at the peak, the load was not the one that was asked for."""


@dataclass(frozen=True)
class LoadReport:
    """The ``load`` part of a verdict. Rates are per second over the peak (``rps`` over the whole load)."""

    schema: ClassVar[str] = "saleops/loadtest/v1"

    requests: int
    orders: int
    units: int
    sold_out: int
    errors: int
    retries: int
    replays: int
    seconds: float
    rps: float
    orders_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    checkout_p50_ms: float
    checkout_p95_ms: float
    checkout_p99_ms: float
    target_rps: float
    achieved_rps: float
    error_rate: float
    error_samples: dict[str, int] = field(default_factory=dict)

    @property
    def saturated(self) -> bool:
        """The wanted rate was not reached: by the generator or by the services, this machine cannot do it."""
        return self.achieved_rps < SATURATED_BELOW * self.target_rps


def demand_of(items: Iterator[Item]) -> list[tuple[str, float]]:
    """(sku, popularity) of the most popular items, in one pass and bounded memory."""
    from heapq import nlargest

    weighted = ((item.popularity, item.sku) for item in items if item.popularity > 0)
    demand = [(sku, weight) for weight, sku in nlargest(DEMAND_ITEMS_MAX, weighted)]
    if not demand:
        raise ConfigError("no item of the sale has a popularity above 0: nobody would buy anything")
    return demand


def check_target(base_url: str, *, allow_host: str = "") -> None:
    """Raises Refused for a host that is not this machine, unless ``allow_host`` repeats its name."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            f"{base_url!r} is no http:// or https:// URL; nothing was sent",
            hint="Give the URL that `saleops serve` prints, e.g. http://127.0.0.1:8080.",
        )
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and host != allow_host:
        raise Refused(
            f"{host} is not this machine: a load test there needs its owner's word; nothing was sent",
            hint=f"If it is yours to load: --allow-host {host}",
        )


def report_of(result: LoadResult, shape: LoadShape) -> LoadReport:
    """Figures for people from the generator's counts. The peak leaves out its first and last second."""
    begins, ends = int(shape.lead_s + shape.step_s) + 1, int(shape.duration_s) - 1
    peak = result.requests_each_second[begins : max(ends, begins + 1)]
    achieved = sum(peak) / len(peak) if peak else result.requests / max(result.seconds, 1.0)
    selling_s = max(shape.duration_s - shape.lead_s, 1.0)

    def ms(value: float) -> float:
        return round(value, 2)

    return LoadReport(
        requests=result.requests,
        orders=result.orders,
        units=result.units,
        sold_out=result.sold_out,
        errors=result.errors,
        retries=result.retries,
        replays=result.replays,
        seconds=round(result.seconds, 2),
        rps=round(result.requests / max(result.seconds, 1e-9), 1),
        orders_per_s=round(result.orders / selling_s, 1),
        p50_ms=ms(result.both.percentile_ms(0.50)),
        p95_ms=ms(result.both.percentile_ms(0.95)),
        p99_ms=ms(result.both.percentile_ms(0.99)),
        checkout_p50_ms=ms(result.checkouts.percentile_ms(0.50)),
        checkout_p95_ms=ms(result.checkouts.percentile_ms(0.95)),
        checkout_p99_ms=ms(result.checkouts.percentile_ms(0.99)),
        target_rps=round(shape.peak_rps, 1),
        achieved_rps=round(achieved, 1),
        error_rate=round(result.errors / max(result.requests, 1), 6),
        error_samples=dict(result.error_samples),
    )


async def run_load(
    request: LoadRequest, *, runner: LoadRunner, observe: Observer = silent
) -> LoadReport:
    """Send the load to its end and report. Raises UpstreamError when the generator fails."""
    shape = request.shape
    total = int(shape.duration_s)
    observe(Started("load", total, "s"))

    def tick(now: LoadTick) -> None:
        note = f"{now.wanted_rps:,.0f} rps wanted, {now.requests:,} requests, {now.orders:,} orders"
        if now.sold_out:
            note += f", {now.sold_out:,} sold out"
        if now.errors:
            note += f", {now.errors:,} errors"
        observe(Advanced("load", min(int(now.second), total), note))

    report = report_of(await runner.run(request, tick), shape)
    observe(
        Finished(
            "load",
            f"{report.requests:,} requests, {report.orders:,} orders, {report.errors:,} errors",
            ok=not report.errors,
        )
    )
    return report
