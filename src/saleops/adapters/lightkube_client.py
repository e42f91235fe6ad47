"""Calls of the Kubernetes API: one request, its answer or a ClusterError, and the same again where that cannot act twice.

lightkube gives us the connection: kubeconfig, certificates, tokens that are renewed, credential plugins. The requests are
spelled here, because half of what a drain needs is out of reach of its verbs: deletions pinned to a uid, bounded watches
with bookmarks, the version, kinds found by discovery.

Retries: what was not carried out (no connection, 429, 503) is sent again, and so is a call whose outcome nobody knows, if a
second one does nothing more. Waits double from 0.2 s, have jitter, heed Retry-After, and end after ``RETRY_FOR_S``.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from saleops.adapters.lightkube_errors import error_from_network, error_from_status
from saleops.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    import httpx2
    from lightkube.config.kubeconfig import SingleConfig

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
ATTEMPTS = 5
RETRY_FOR_S = 30.0
WAIT_S = 0.2
WAIT_MAX_S = 8.0
JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class KubeClient:
    """May be used from several threads at once."""

    def __init__(
        self,
        config: "SingleConfig",
        *,
        transport: "httpx2.BaseTransport | None" = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        import httpx2
        from lightkube.config.client_adapter import Client, ConnectionParams
        from lightkube.core.exceptions import ConfigError as Misconfigured

        self.server = config.cluster.server
        self.name = f"the cluster at {self.server} (context {config.context_name})"
        self.namespace = config.namespace
        self._sleep = sleep
        self._monotonic = monotonic
        self._connect_s = connect_timeout_s
        self._read_s = read_timeout_s
        parameters = ConnectionParams(
            timeout=httpx2.Timeout(read_timeout_s, connect=connect_timeout_s),
            trust_env=not _is_loopback(self.server),  # a proxy cannot reach our loopback
            transport=transport,
        )
        try:
            self._http = Client(config, parameters)
        except (Misconfigured, OSError, ValueError, AssertionError) as error:
            raise ConfigError(
                f"the kubeconfig's entry for {self.server} cannot be used: {error}",
                hint="Check its certificates and its user.",
            ) from error
        self._http.headers["user-agent"] = "saleops"

    def close(self) -> None:
        self._http.close()

    def read(self, doing: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """GET, retried. Raises ClusterError."""
        return self.call(doing, "GET", path, params=params, again=True)

    def call(
        self,
        doing: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        again: bool = False,
        retry: Callable[[ClusterError], bool] = lambda error: True,
    ) -> Any:
        """The answer's document. ``again``: a second call does nothing more than the first.

        ``retry`` hears of each failure that may be tried again, and may say no.
        """
        started = self._monotonic()
        for attempt in range(ATTEMPTS):
            try:
                return self._once(doing, method, path, params, body, content_type)
            except ClusterError as error:
                may = error.retryable and (again or error.kind != "unknown") and retry(error)
                wait_s = self._wait_s(attempt, error)
                spent_s = self._monotonic() - started
                if not may or attempt == ATTEMPTS - 1 or spent_s + wait_s > RETRY_FOR_S:
                    raise
                self._sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _wait_s(self, attempt: int, error: ClusterError) -> float:
        wait_s = min(WAIT_S * 2**attempt, WAIT_MAX_S) * random.uniform(0.5, 1.0)
        return float(max(wait_s, error.retry_after_s or 0.0))

    def _once(
        self,
        doing: str,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        content_type: str,
    ) -> Any:
        import httpx2
        import msgspec

        content = msgspec.json.encode(body) if body is not None else None
        headers = {"content-type": content_type} if body is not None else {}
        with self._plugin_errors(doing):
            try:
                answer = self._http.request(
                    method, path, params=_given(params), content=content, headers=headers
                )
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise error_from_network(doing, error, cluster=self.name) from None
        try:
            document = msgspec.json.decode(answer.content) if answer.content else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = None
        if answer.status_code >= 400:
            raise error_from_status(
                doing, answer.status_code, document, answer.headers, cluster=self.name
            )
        if not isinstance(document, dict):
            raise ClusterError(
                f"{doing}: {self.name} answered what is no JSON object",
                kind="failed",
                status=answer.status_code,
                hint="Is that address a Kubernetes API?",
            )
        return document

    @contextmanager
    def _plugin_errors(self, doing: str) -> Iterator[None]:
        """A credential plugin or token file that fails, as our error. Its output stays out of it: it may hold a token."""
        import json

        from lightkube.core.exceptions import ConfigError as Misconfigured

        try:
            yield
        except (Misconfigured, OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            text = (
                str(error).splitlines()[0][:200]
                if isinstance(error, Misconfigured)
                else type(error).__name__
            )
            if "not implemented" in text:
                advice = "Only plugins of client.authentication.k8s.io/v1beta1 are spoken to: change that line, or use a token."
            else:
                advice = "Does its credential plugin run by itself? Is the token file there?"
            raise ConfigError(
                f"{doing}: the kubeconfig's credentials cannot be had: {text}", hint=advice
            ) from None

    @contextmanager
    def stream(
        self, doing: str, path: str, params: Mapping[str, Any], *, for_s: float
    ) -> Iterator[Iterator[Any]]:
        """The events of a watch that the server ends after ``for_s`` seconds. Raises ClusterError."""
        import httpx2

        timeout = httpx2.Timeout(for_s + self._read_s, connect=self._connect_s)
        with self._plugin_errors(doing):
            try:
                with self._http.stream(
                    "GET", path, params=_given(params), timeout=timeout
                ) as answer:
                    if answer.status_code >= 400:
                        answer.read()
                        raise error_from_status(
                            doing,
                            answer.status_code,
                            _decoded(answer.content),
                            answer.headers,
                            cluster=self.name,
                        )
                    yield map(_decoded, filter(None, answer.iter_lines()))
            except (httpx2.HTTPError, httpx2.StreamError) as error:
                raise error_from_network(doing, error, cluster=self.name) from None


def _decoded(line: str | bytes) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: one for name, one in (params or {}).items() if one not in (None, "")}


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
