"""DCDN: what the edge measured: hit rate, requests a second, status codes.

Nobody sends requests through the local cloud, so the figures are made up: quiet hours by the seed, and
``settings["dcdn"]["hit_rate"]`` and ``["qps"]`` where a rehearsal wants its own.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.catalogue import chance
from saleops.services.cloud.products.dcdn_domains import KIND as DOMAIN
from saleops.services.cloud.time_windows import DAY_MS, asked_window
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import World

_INTERVALS_S = (300, 3_600, 86_400)
_SPAN_MOST_MS = {300: 3 * DAY_MS, 3_600: 31 * DAY_MS, 86_400: 366 * DAY_MS}


def _moments(
    call: LocalCall, world: World, *, several: bool = False
) -> tuple[dict[str, Any], list[int], int]:
    """The head of the answer, the intervals' beginnings, and the seconds of each."""
    params = call.params
    names = [
        each.strip().lower()
        for each in str(params.get("DomainName") or "").split(",")
        if each.strip()
    ]
    if len(names) > 1 and not several:
        raise ApiError(
            400, "InvalidDomain.Malformed", f"DomainName names {len(names)} domains; one is allowed"
        )
    for name in names:
        if world.find(DOMAIN, name) is None:
            raise ApiError(404, "InvalidDomain.NotFound", f"DomainName does not exist: {name!r}")
    sent = str(params.get("Interval") or "300")
    if sent not in map(str, _INTERVALS_S):
        raise ApiError(
            400, "InvalidInterval", f"Interval must be 300, 3600 or 86400 seconds, not {sent!r}"
        )
    interval_s = int(sent)
    start_ms, end_ms = asked_window(call, now_ms=world.now_ms(), span_ms=DAY_MS)
    if end_ms - start_ms > _SPAN_MOST_MS[interval_s]:
        raise ApiError(
            400,
            "InvalidTime.ValueNotSupported",
            f"StartTime to EndTime is longer than Interval {interval_s} allows",
        )
    step_ms = interval_s * 1_000
    first_ms = -(-start_ms // step_ms) * step_ms
    head = {
        "DataInterval": str(interval_s),
        "DomainName": ",".join(names),
        "EndTime": iso_s(end_ms),
        "StartTime": iso_s(start_ms),
    }
    return head, list(range(first_ms, min(end_ms, world.now_ms() + 1), step_ms)), interval_s


@answers("dcdn", "DescribeDcdnDomainHitRateData")
def describe_dcdn_domain_hit_rate_data(call: LocalCall, world: World) -> dict[str, Any]:
    head, moments, _ = _moments(call, world)
    base = float(world.settings.get("dcdn", {}).get("hit_rate", 92.0))
    rows = []
    for at_ms in moments:
        drift = 4 * chance(world, "hit rate", head["DomainName"], at_ms) - 2
        rate = round(min(max(base + drift, 0.0), 100.0), 2)
        rows.append(
            {"ByteHitRate": rate, "ReqHitRate": round(rate * 0.98, 2), "TimeStamp": iso_s(at_ms)}
        )
    return {**head, "HitRatePerInterval": {"DataModule": rows}}


@answers("dcdn", "DescribeDcdnDomainQpsData")
def describe_dcdn_domain_qps_data(call: LocalCall, world: World) -> dict[str, Any]:
    head, moments, interval_s = _moments(call, world, several=True)
    rows = []
    for at_ms in moments:
        qps = _qps(world, head["DomainName"], at_ms)
        static, dynamic = round(qps * 0.9, 2), round(qps - round(qps * 0.9, 2), 2)
        rows.append(
            {
                "Acc": round(qps * interval_s, 2),
                "DynamicHttpAcc": 0.0,
                "DynamicHttpQps": 0.0,
                "DynamicHttpsAcc": round(dynamic * interval_s, 2),
                "DynamicHttpsQps": dynamic,
                "Qps": qps,
                "StaticHttpAcc": 0.0,
                "StaticHttpQps": 0.0,
                "StaticHttpsAcc": round(static * interval_s, 2),
                "StaticHttpsQps": static,
                "TimeStamp": iso_s(at_ms),
            }
        )
    return {**head, "QpsDataPerInterval": {"DataModule": rows}}


@answers("dcdn", "DescribeDcdnDomainHttpCodeData")
def describe_dcdn_domain_http_code_data(call: LocalCall, world: World) -> dict[str, Any]:
    head, moments, interval_s = _moments(call, world, several=True)
    shares = {200: 97.0, 304: 2.0, 404: 0.7, 499: 0.2, 502: 0.1}
    rows = []
    for at_ms in moments:
        count = _qps(world, head["DomainName"], at_ms) * interval_s
        codes = [
            {"Code": code, "Count": float(round(count * share / 100)), "Proportion": share}
            for code, share in shares.items()
        ]
        rows.append(
            {"HttpCodeDataPerInterval": {"HttpCodeDataModule": codes}, "TimeStamp": iso_s(at_ms)}
        )
    return {**head, "DataPerInterval": {"DataModule": rows}}


def _qps(world: World, names: str, at_ms: int) -> float:
    base = float(world.settings.get("dcdn", {}).get("qps", 40.0))
    return round(base * (0.7 + 0.6 * chance(world, "qps", names, at_ms)), 2)
