"""Sends a sale's load to its services and judges what came back.

The shape (baseline, step to the peak, refresh storm) comes from the sale file; peak and duration may be set for the
machine at hand. Traffic goes to this machine only, unless its host is named a second time.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from saleops.domain.items import Item
from saleops.domain.traffic import LoadShape, shape_for
from saleops.domain.verdict import Check
from saleops.errors import ConfigError, Refused
from saleops.events import Advanced, Finished, Observer, Started, silent
from saleops.ports.load import LoadRequest, LoadResult, LoadRunner, LoadTick

if TYPE_CHECKING:
    from saleops.config.sale import Sale

DEMAND_ITEMS_MAX = 100_000
"""Items the generator draws from: the most popular ones; the tail beyond them would not be seen in a load test."""

SATURATED_BELOW = 0.9
"""Below this share of the wanted rate at the peak, the load was not the one that was asked for."""


LOCAL_RPS_PER_CORE = 300
"""What a core carries with services, engines and generator all on it."""

GENERATOR_RPS_MAX = 4_000
"""What one generator process sends on a core of its own (measured: 140 to 250 microseconds of CPU a request)."""


@dataclass(frozen=True)
class LoadtestPlan:
    """What would be sent, and where."""

    schema: ClassVar[str] = "saleops/loadtest-plan/v1"

    sale: str
    url: str
    seed: int
    duration_s: float
    baseline_rps: float
    peak_rps: float
    expected_requests: int
    items_count: int
    shape: LoadShape
    objectives: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadReport:
    """The ``load`` part of a verdict. Rates are per second over the peak (``rps`` over the whole load)."""

    requests: int
    orders: int
    units: int
    sold_out: int
    refused: int
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


@dataclass(frozen=True)
class LoadtestReport:
    """What came back, and what the sale's objectives say of it: GO, NO-GO, or INVALID where the load was another one."""

    schema: ClassVar[str] = "saleops/loadtest/v1"

    verdict: str
    sale: str
    url: str
    seed: int
    checks: list[Check]
    load: LoadReport
    notes: tuple[str, ...] = ()


def plan_loadtest(
    sale: "Sale",
    *,
    url: str,
    allow_host: str = "",
    duration_s: float = 30.0,
    peak_rps: float | None = None,
    seed: int = 1,
    cores: int = 2,
) -> LoadtestPlan:
    """Check the target, read every item, fit the sale's traffic to the generator. Nothing is sent.

    Raises Refused for a host that nobody vouched for, ConfigError for anything else that is wrong.
    """
    check_target(url, allow_host=allow_host)
    summary = sale.items_source.summary()
    if summary.total_popularity <= 0:
        raise ConfigError(_NOBODY_BUYS)
    wanted = sale.traffic.peak_rps if peak_rps is None else peak_rps
    fits = float(LOCAL_RPS_PER_CORE * cores if is_local(url) else GENERATOR_RPS_MAX)
    notes = []
    if peak_rps is None and wanted > fits:
        notes.append(
            f"peak scaled from {wanted:,.0f} to {fits:,.0f} rps, what this machine can send"
            f"{' and serve' if is_local(url) else ''} (--peak sets another)"
        )
        wanted = fits
    try:
        shape = shape_for(
            baseline_rps=max(1.0, sale.traffic.baseline_rps * wanted / sale.traffic.peak_rps),
            peak_rps=wanted,
            step_s=sale.traffic.step_s,
            duration_s=duration_s,
        )
    except ValueError as error:
        raise ConfigError(f"{error}; nothing was sent") from error
    objectives = {"error_rate": sale.objectives.error_rate}
    if sale.objectives.checkout_p99_ms is not None:
        objectives["checkout_p99_ms"] = sale.objectives.checkout_p99_ms
    return LoadtestPlan(
        sale=sale.name,
        url=url,
        seed=seed,
        duration_s=round(shape.duration_s, 3),
        baseline_rps=round(shape.baseline_rps, 1),
        peak_rps=round(shape.peak_rps, 1),
        expected_requests=round(shape.requests_by(shape.duration_s)),
        items_count=summary.items_count,
        shape=shape,
        objectives=objectives,
        notes=tuple(notes),
    )


async def apply_loadtest(
    plan: LoadtestPlan, request: LoadRequest, *, runner: LoadRunner, observe: Observer = silent
) -> LoadtestReport:
    """Send the load and judge it. Raises UpstreamError when the generator fails; a bad verdict is a report."""
    load = await run_load(request, runner=runner, observe=observe)
    checks = judge_load(load, plan.objectives)
    verdict = "GO"
    if not all(check.ok for check in checks):
        verdict = "NO-GO"
    if load.saturated:
        verdict = "INVALID"
    return LoadtestReport(verdict, plan.sale, plan.url, plan.seed, checks, load, plan.notes)


def judge_load(load: LoadReport, objectives: Mapping[str, float]) -> list[Check]:
    """One check each: was it the load that was asked for, did buyers get answers, were checkouts fast enough."""
    most = objectives["error_rate"]
    checks = [
        Check(
            "the load was as wanted",
            not load.saturated,
            f"{load.achieved_rps:,.0f} rps",
            f"at least {SATURATED_BELOW * load.target_rps:,.0f} rps",
        ),
        Check(
            "errors seen by buyers",
            load.error_rate <= most,
            f"{load.error_rate:.3%}",
            f"at most {most:.3%}",
        ),
    ]
    if (slowest := objectives.get("checkout_p99_ms")) is not None:
        checks.append(
            Check(
                "checkout p99",
                load.checkout_p99_ms <= slowest,
                f"{load.checkout_p99_ms:,.0f} ms",
                f"at most {slowest:,.0f} ms",
            )
        )
    return checks


_NOBODY_BUYS = "no item of the sale has a popularity above 0: nobody would buy anything"


def demand_of(items: Iterator[Item]) -> list[tuple[str, float]]:
    """(sku, popularity) of the most popular items, in one pass and bounded memory."""
    from heapq import nlargest

    weighted = ((item.popularity, item.sku) for item in items if item.popularity > 0)
    demand = [(sku, weight) for weight, sku in nlargest(DEMAND_ITEMS_MAX, weighted)]
    if not demand:
        raise ConfigError(_NOBODY_BUYS)
    return demand


def check_target(base_url: str, *, allow_host: str = "") -> None:
    """Raises Refused for a host that is not this machine, unless ``allow_host`` repeats its name."""
    hint = "Give the URL that `saleops serve` prints, e.g. http://127.0.0.1:8080."
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:  # a port beyond 65535, half an IPv6 address
        raise ConfigError(f"{base_url!r}: {error}; nothing was sent", hint=hint) from error
    if parts.scheme not in ("http", "https") or not host or any(ord(c) <= 32 for c in base_url):
        raise ConfigError(
            f"{base_url!r} is no http:// or https:// URL; nothing was sent", hint=hint
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            "the URL of a shop has no user, query or fragment; nothing was sent", hint=hint
        )
    if not is_local(base_url) and host != allow_host.lower():
        raise Refused(
            f"{host} is not this machine: a load test there needs its owner's word; nothing was sent",
            hint=f"If it is yours to load: --allow-host {host}",
        )


def is_local(base_url: str) -> bool:
    """Whether the host of ``base_url`` is this machine, by its own name: nothing is looked up."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def report_of(result: LoadResult, shape: LoadShape) -> LoadReport:
    """Figures for people from the generator's counts. The peak leaves out its first and last second."""
    begins = int(shape.lead_s + shape.step_s) + 1
    ends = max(int(shape.duration_s) - 1, begins + 1)
    peak = result.requests_each_second[begins:ends]
    achieved = sum(peak) / (ends - begins)  # seconds that are not there had no request
    selling_s = max(shape.duration_s - shape.lead_s, 1.0)

    def ms(value: float) -> float:
        return round(value, 2)

    return LoadReport(
        requests=result.requests,
        orders=result.orders,
        units=result.units,
        sold_out=result.sold_out,
        refused=result.refused,
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
    note = f"{report.requests:,} requests, {report.orders:,} orders, {report.errors:,} errors"
    observe(Finished("load", note))  # sent to its end; whether it was good enough is the verdict's
    return report
