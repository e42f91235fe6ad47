"""The time a local cloud lives in, over its control API.

In virtual time ``sleep`` lets the time pass at once; in real time, N times faster, it sleeps an N-th.
"""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

from saleops.config.local_cloud import CloudAddress
from saleops.errors import UpstreamError

TIMEOUT_S = 10.0
ATTEMPTS = 3


class LocalCloudControl:
    """Calls of ``/_local/``. Raises UpstreamError when the cloud does not answer or refuses."""

    def __init__(self, address: CloudAddress) -> None:
        self._address = address

    def call(self, method: str, name: str, body: Any = None) -> Any:
        """The answer's document. Only reads are sent again when no answer came."""
        attempts = ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._call(method, name, body)
            except (OSError, http.client.HTTPException) as error:
                if attempt == attempts:
                    raise UpstreamError(
                        f"the local cloud at {self._address.url} does not answer: {error or type(error).__name__}",
                        hint="Does it still run? Start it with `saleops serve cloud`.",
                    ) from error
        raise AssertionError("the loop returns or raises")

    def _call(self, method: str, name: str, body: Any) -> Any:
        connection = http.client.HTTPConnection(self._address.host, timeout=TIMEOUT_S)
        try:
            connection.request(
                method,
                f"/_local/{name}",
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {self._address.access_key_secret}"},
            )
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            document = json.loads(text)
        except ValueError as error:
            raise UpstreamError(
                f"the local cloud at {self._address.url} answered no JSON (HTTP {response.status})"
            ) from error
        if response.status == 507:
            raise UpstreamError(
                f"the local cloud cannot save {name}: {document.get('message', 'its disk is full')}",
                hint="Make room on that disk, or name another folder with --state-dir; then run the same command again.",
            )
        if response.status >= 400:
            raise UpstreamError(
                f"the local cloud refused {name}: {document.get('message', response.status)}"
            )
        return document


class LocalCloudClock:
    """A ``CloudClock`` of the local cloud at ``address``."""

    def __init__(
        self, address: CloudAddress, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._control = LocalCloudControl(address)
        self._address = address
        self._sleep = sleep

    def now_ms(self) -> int:
        return int(self._control.call("GET", "clock")["now_ms"])

    def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        if self._address.clock == "virtual":
            self._control.call("POST", "clock", {"advance_s": seconds})
        else:
            self._sleep(seconds / self._address.speed)
