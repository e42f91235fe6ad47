"""Reads the Prometheus text that workers answer at /metrics."""

import asyncio
import http.client
from collections.abc import Iterable

from saleops.errors import UpstreamError

TIMEOUT_S = 5.0


async def read_metrics(ports: Iterable[int]) -> dict[str, float]:
    """name (without labels) -> its sum over the workers on these admin ports of this machine. Raises UpstreamError."""
    texts = await asyncio.gather(*(asyncio.to_thread(_fetch, port) for port in ports))
    sums: dict[str, float] = {}
    for text in texts:
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def _fetch(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise UpstreamError(f"no metrics from port {port}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise UpstreamError(f"no metrics from port {port}: it answered {answer.status}")
    return body
