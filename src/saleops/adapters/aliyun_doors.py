"""Knocks at endpoints without signing: who answers at all, how fast, and which time it is there."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

from saleops.adapters.aliyun_endpoints import Endpoint
from saleops.ports.cloud_doors import Knock

TIMEOUT_S = 5.0
_AT_ONCE = 8


def knock_at(endpoints: Mapping[str, Endpoint]) -> dict[str, Knock]:
    """One GET at each of ``endpoints``, several at once; each answers or fails within a few seconds. Never raises."""
    if not endpoints:
        return {}
    hosts = list(dict.fromkeys(endpoints.values()))
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(hosts))) as pool:
        found = dict(zip(hosts, pool.map(_knock, hosts), strict=True))
    return {name: found[endpoint] for name, endpoint in endpoints.items()}


def _knock(endpoint: Endpoint) -> Knock:
    import httpx

    began_ms, began_s = time.time_ns() // 1_000_000, time.monotonic()
    try:
        # Loopback never goes through a proxy; elsewhere httpx hears HTTPS_PROXY and NO_PROXY.
        answer = httpx.get(endpoint.url, timeout=TIMEOUT_S, trust_env=not endpoint.is_loopback)
    except httpx.TimeoutException:
        return Knock(endpoint.host, problem=f"no answer within {TIMEOUT_S:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Knock(endpoint.host, problem=str(error) or type(error).__name__)
    latency_ms = (time.monotonic() - began_s) * 1000
    return Knock(
        endpoint.host,
        latency_ms=latency_ms,
        at_ms=began_ms + round(latency_ms / 2),
        date_ms=_date_ms(answer.headers.get("date", "")),
    )


def _date_ms(text: str) -> int | None:
    try:
        return round(parsedate_to_datetime(text).timestamp() * 1000)
    except (TypeError, ValueError):
        return None
