"""The gateway: one public port in front of the services, as thin as a reverse proxy can be.

It routes by path, keeps connections to the services alive, and hides the death of a worker: a request that may be
repeated (GET, HEAD, PUT, DELETE, and POST with an Idempotency-Key) is sent again on a fresh connection, and while
nobody listens it waits a moment for the supervisor to bring the worker back. What reached nobody may always be sent
again. Everything it cannot deliver is a problem+json: 502 broken, 503 try again, 504 too slow.

It holds no secret, checks no token and decides nothing about an order.
"""

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from saleops.config.settings import ServiceSettings
from saleops.services.limits import RateLimiter
from saleops.services.web import (
    Headers,
    Request,
    Response,
    Route,
    Service,
    encode,
    problem,
    read_body,
)

CONNECTIONS_MAX = 1024  # to one service; requests past it wait for a free one
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 15.0
ANSWER_MAX = 8 * 1024 * 1024
RETRY_FOR_S = 3.0
"""How long a request waits for a worker to come back: a restart takes about a second on an idle machine."""

BREAKS_MAX = 2
"""Connections a request may see break under it before it is given up: it may be the one that kills workers. Not 1: a
worker that is dying may still accept. (For GET and the like aiohttp itself opens one more in each attempt.)"""

WAITING_MAX = 1024
"""Requests that wait for a service to come back; the others hear 503 at once, so that waiting cannot eat the memory."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.4

# Connection-level headers say something about one hop and do not travel (RFC 9110, 7.6.1).
_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "proxy-authenticate", "proxy-authorization"),
    )
)
_NOT_SENT_ON = _HOP | {"host", "content-length", "x-forwarded-for", "x-forwarded-host", "expect"}
_NOT_SENT_BACK = _HOP | {"content-length", "server", "date"}
_REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))
_METHODS = _REPEATABLE | {"POST", "PATCH"}
_SLUG = re.compile(r"/problems/([a-z0-9-]{1,64})")
_PATH_SAFE = "/:@!$&'()*+,;=~-._"


def route_of(path: str) -> str | None:
    """The service that answers for ``path`` (percent-decoded); None: nobody does."""
    parts = path.split("/")
    head = parts[1] if len(parts) > 1 else ""
    if head == "products":
        return "catalog"
    if head == "orders":
        if len(parts) == 4 and parts[3] in ("payments", "parcels"):
            return "payment" if parts[3] == "payments" else "shipping"
        return "order"
    return "order" if head == "cart" else None


class Gateway(Service):
    """The proxy as a Service: same readiness, metrics and draining as the others."""

    def __init__(
        self,
        upstreams: Mapping[str, str],
        *,
        per_ip_rps: float = 0.0,
        openapi: Callable[[], bytes] | None = None,
        problems: Mapping[str, str] | None = None,
    ) -> None:
        """``openapi`` makes the API's description when it is first asked for (it takes a moment, and a thread);
        ``problems`` explains problem kinds."""
        self._upstreams = {name: url.rstrip("/") for name, url in upstreams.items()}
        self._limiter = RateLimiter(per_ip_rps, max(1, round(per_ip_rps))) if per_ip_rps else None
        self._openapi = openapi
        self._openapi_text = b""
        self._problems = dict(problems or {})
        self._pool: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._waiting = 0
        self.retries_total = 0
        self.failures_total: dict[int, int] = {}
        super().__init__(
            "gateway",
            (_openapi_route(self),),
            start=self._open,
            stop=self.close,
            metrics=self._own_metrics,
        )

    async def _open(self) -> None:
        self._pool = _session(force_close=False)
        self._fresh = _session(force_close=True)

    async def close(self) -> None:
        """Close the connections to the services. May be called twice."""
        for session in (self._pool, self._fresh):
            if session is not None:
                await session.close()
        self._pool = self._fresh = None

    # -- one request ---------------------------------------------------------------------------------------

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        self.in_flight += 1
        try:
            response = await self._respond(scope, protocol)
            counts = self.requests_total
            counts[response.status] = counts.get(response.status, 0) + 1
            if scope.method == "HEAD" or not response.body:
                protocol.response_empty(response.status, response.headers)
            else:
                protocol.response_bytes(response.status, response.headers, response.body)
        finally:
            self.in_flight -= 1

    async def _respond(self, scope: Any, protocol: Any) -> Response:
        path = scope.path
        service = route_of(path)
        if service is None:
            return await self._own_page(scope, path)
        base = self._upstreams.get(service)
        if base is None:
            return problem(404, "no-such-page", "There is nothing here", f"{service} is not served")
        if scope.method not in _METHODS:
            allowed = ", ".join(sorted(_METHODS))
            return problem(405, "method", "Wrong method", headers=[("allow", allowed)])
        address = scope.client.rpartition(":")[0].strip("[]")
        if self._limiter is not None:
            wait_s = self._limiter.wait_s(_limited_by(address))
            if wait_s > 0:
                return problem(
                    429,
                    "too-many-requests",
                    "Too many requests",
                    headers=[("retry-after", str(int(wait_s) + 1))],
                )
        headers = scope.headers
        body = await read_body(headers, protocol)
        if isinstance(body, Response):
            return body
        return await self._forward(scope, service, base, address, body)

    async def _own_page(self, scope: Any, path: str) -> Response:
        slug = _SLUG.fullmatch(path)
        if slug and scope.method in ("GET", "HEAD"):
            return self._explain(slug[1])
        if path == "/metrics":  # of this process, on its admin port: not for the public
            return problem(404, "no-such-page", "There is nothing here")
        request = Request(scope.method, path, scope.query_string, scope.headers, b"")
        return await self.answer(request)

    async def _forward(
        self, scope: Any, service: str, base: str, address: str, body: bytes
    ) -> Response:
        if self._pool is None or self._fresh is None:
            return self._failed(503, "starting", "The gateway is not serving")
        method = scope.method
        headers = scope.headers
        sent: list[tuple[str, str]] = [
            item for item in headers.items() if item[0] not in _NOT_SENT_ON
        ]
        named = headers.get("connection")
        if named is not None and named.lower() not in ("keep-alive", "close"):
            gone = {name.strip().lower() for name in named.split(",")}
            sent = [item for item in sent if item[0] not in gone]
        claimed = headers.get("x-forwarded-for")
        sent.append(("x-forwarded-for", f"{claimed}, {address}" if claimed else address))
        host = headers.get("host") or scope.authority
        if host:
            sent.append(("x-forwarded-host", host))
        query = scope.query_string
        path = quote(scope.path, safe=_PATH_SAFE)
        url = URL(f"{base}{path}?{query}" if query else f"{base}{path}", encoded=True)
        repeatable = method in _REPEATABLE or headers.get("idempotency-key") is not None
        try:
            return await self._send(self._pool, method, url, sent, body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return await self._send_again(error, service, repeatable, method, url, sent, body)

    async def _send_again(
        self,
        error: Exception,
        service: str,
        repeatable: bool,
        method: str,
        url: URL,
        headers: Headers,
        body: bytes,
    ) -> Response:
        """Go on after a failed attempt: answer with a problem, or repeat on fresh connections for a while."""
        deadline = asyncio.get_running_loop().time() + RETRY_FOR_S
        pause_s, breaks = FIRST_PAUSE_S, 0
        if self._waiting >= WAITING_MAX:
            return self._failed(503, "try-again", f"{service} is not available")
        self._waiting += 1
        try:
            while True:
                if isinstance(error, aiohttp.ClientConnectorError):
                    pass  # it reached nobody
                elif isinstance(error, aiohttp.ConnectionTimeoutError):
                    return self._failed(503, "try-again", f"{service} takes no more requests")
                elif isinstance(error, TimeoutError):
                    return self._failed(504, "too-slow", f"{service} did not answer in time")
                elif isinstance(error, AnswerTooLarge):
                    return self._failed(502, "bad-gateway", f"{service} answered too much")
                else:
                    breaks += 1
                    if not repeatable or breaks > BREAKS_MAX:
                        return self._failed(502, "bad-gateway", f"{service} broke off")
                if asyncio.get_running_loop().time() + pause_s > deadline:
                    return self._failed(503, "try-again", f"{service} is not available")
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                self.retries_total += 1
                session = self._fresh
                if session is None:
                    return self._failed(503, "try-again", "The gateway is stopping")
                try:
                    return await self._send(session, method, url, headers, body)
                except (aiohttp.ClientError, OSError, TimeoutError) as again:
                    error = again
        finally:
            self._waiting -= 1

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        headers: Headers,
        body: bytes,
    ) -> Response:
        async with session.request(
            method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            content = (
                await answer.content.read(ANSWER_MAX + 1) if _has_body(method, answer) else b""
            )
            if content and not answer.content.at_eof():
                content += await _rest_of(answer, len(content))
            back = [
                (name, value)
                for name, value in ((n.lower(), v) for n, v in answer.headers.items())
                if name not in _NOT_SENT_BACK
            ]
            return Response(answer.status, back, content)

    # -- pages of its own ----------------------------------------------------------------------------------

    async def openapi(self, request: Request) -> Response:
        if self._openapi is None:
            return problem(404, "no-such-page", "There is nothing here")
        if not self._openapi_text:
            self._openapi_text = await asyncio.to_thread(self._openapi)
        headers = [("content-type", "application/json"), ("cache-control", "public, max-age=60")]
        return Response(200, headers, self._openapi_text)

    def _explain(self, slug: str) -> Response:
        text = self._problems.get(slug)
        if text is None:
            return problem(404, "no-such-page", "There is no such kind of problem")
        headers = [("content-type", "application/json"), ("cache-control", "public, max-age=3600")]
        body = encode({"type": f"/problems/{slug}", "description": text})
        return Response(200, headers, body)

    def _failed(self, status: int, slug: str, title: str) -> Response:
        self.failures_total[status] = self.failures_total.get(status, 0) + 1
        return problem(status, slug, title, headers=[("retry-after", "1")])

    def _own_metrics(self) -> str:
        lines = [
            "# HELP saleops_gateway_retries_total Requests sent to a service once more.",
            "# TYPE saleops_gateway_retries_total counter",
            f"saleops_gateway_retries_total {self.retries_total}",
            "# HELP saleops_gateway_failures_total Requests no service answered, by our status.",
            "# TYPE saleops_gateway_failures_total counter",
        ]
        for status, count in sorted(self.failures_total.items()):
            lines.append(f'saleops_gateway_failures_total{{status="{status}"}} {count}')
        return "\n".join(lines) + "\n"


class AnswerTooLarge(aiohttp.ClientError):
    """A service answered more than ANSWER_MAX bytes."""


def _has_body(method: str, answer: aiohttp.ClientResponse) -> bool:
    return method != "HEAD" and answer.status not in (204, 304)


async def _rest_of(answer: aiohttp.ClientResponse, size: int) -> bytes:
    parts: list[bytes] = []
    async for part in answer.content.iter_any():
        size += len(part)
        if size > ANSWER_MAX:
            raise AnswerTooLarge("the answer is too large")
        parts.append(part)
    return b"".join(parts)


def _session(*, force_close: bool) -> aiohttp.ClientSession:
    connector = (
        aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_MAX, force_close=True)
        if force_close
        else aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_MAX, keepalive_timeout=30)
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        requote_redirect_url=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(
            total=ANSWER_TIMEOUT_S, connect=ANSWER_TIMEOUT_S / 2, sock_connect=CONNECT_TIMEOUT_S
        ),
    )


def _limited_by(address: str) -> str:
    """Who shares a limit: an IPv4 address, or the /64 that one IPv6 customer has."""
    if ":" not in address:
        return address
    try:
        mapped = IPv6Address(address)
    except ValueError:
        return address
    return str(mapped.ipv4_mapped or (int(mapped) >> 64))


def _openapi_route(gateway: Gateway) -> Route:
    return Route(
        "GET",
        "/openapi.json",
        gateway.openapi,
        "This API, as OpenAPI 3.1",
        "getOpenapi",
        "gateway",
        {200: None},
    )


def create_app(
    settings: ServiceSettings,
    *,
    openapi: Callable[[], bytes] | None = None,
    problems: Mapping[str, str] | None = None,
) -> Gateway:
    """The gateway in front of ``settings.upstreams``."""
    return Gateway(
        settings.upstreams,
        per_ip_rps=settings.admission.per_ip_rps,
        openapi=openapi,
        problems=problems,
    )
