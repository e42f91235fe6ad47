"""The web layer of the services: a router on RSGI, problem+json answers, and the facts OpenAPI needs.

RSGI (granian's own interface) hands a whole request to one coroutine and takes a whole answer, which is what every
route here wants. A route is declared once, with the msgspec types of its body and answers; the router
serves it and ``openapi.py`` describes it from the same declaration, so the document cannot drift.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

log = logging.getLogger("saleops.services")

Headers = list[tuple[str, str]]
JSON: Headers = [("content-type", "application/json")]
PROBLEM_JSON = "application/problem+json"
PRIVATE: Headers = [("content-type", "application/json"), ("cache-control", "private, no-store")]
BODY_MAX = 64 * 1024
encode = msgspec.json.encode


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error answer (RFC 9457). ``type`` is stable and made for programs, ``title`` for people."""

    type: str
    title: str
    status: int
    detail: str = ""


class Refusal(Exception):
    """Raised by a handler to answer with a problem. ``slug`` names the kind: /problems/<slug>."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str = "",
        *,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(title)
        self.response = problem(status, slug, title, detail, headers=headers)


class Response:
    """A finished answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body


def problem(
    status: int, slug: str, title: str, detail: str = "", *, headers: Headers | None = None
) -> Response:
    body = encode(Problem(f"/problems/{slug}", title, status, detail))
    own = [("content-type", PROBLEM_JSON), ("cache-control", "private, no-store")]
    return Response(status, own + (headers or []), body)


class HeaderMap(Protocol):
    def get(self, key: str, default: Any = None) -> Any: ...


class Request:
    """One request, as a handler sees it. ``path_args`` are the {parts} of its route, in order, percent-decoded."""

    __slots__ = ("body", "headers", "method", "path", "path_args", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: HeaderMap,
        body: bytes,
        path_args: tuple[str, ...] = (),
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.path_args = path_args

    def decode(self, decoder: "msgspec.json.Decoder[Any]") -> Any:
        """The JSON body as the decoder's type. Raises a 400 or 422 Refusal that says what is wrong with it."""
        try:
            return decoder.decode(self.body)
        except msgspec.ValidationError as error:
            raise Refusal(422, "invalid-body", "The body does not fit", str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refusal(400, "not-json", "The body is not JSON", str(error)) from None


Handler = Callable[[Request], Awaitable[Response]]


class Route(msgspec.Struct, frozen=True):
    """One operation: how to serve it and how to describe it.

    ``path`` is an OpenAPI template (``/orders/{order_id}``). ``answers`` maps each success status to the type of its body
    (None: no body) and ``problems`` lists the statuses that answer problem+json. ``header_params`` and
    ``query_params`` map a name to (required, JSON schema, description); ``path_params`` a name to its schema. RSGI hands over
    paths that are decoded already, so a part whose schema has a ``pattern`` with a slash may span several segments.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    operation_id: str
    tag: str
    answers: Mapping[int, Any]
    problems: Sequence[int] = ()
    body: Any = None
    authenticated: bool = False
    header_params: Mapping[str, tuple[bool, dict[str, Any], str]] = {}
    query_params: Mapping[str, tuple[bool, dict[str, Any], str]] = {}
    path_params: Mapping[str, dict[str, Any]] = {}
    description: str = ""


class Service:
    """One service: its routes, its readiness and its life. ``ready`` may turn False and True again while it runs."""

    def __init__(
        self,
        name: str,
        routes: Sequence[Route],
        *,
        start: Callable[[], Awaitable[None]] | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
        ready: Callable[[], str] | None = None,
        metrics: Callable[[], str] | None = None,
    ) -> None:
        """``start`` runs before the first request, ``stop`` after the last; ``ready`` gives "" or why not;
        ``metrics`` gives the Prometheus text of this process."""
        self.name = name
        self.routes = tuple(routes)
        self.start = start
        self.stop = stop
        self.ready = ready
        self.metrics = metrics
        self.draining = False
        self.in_flight = 0
        self.requests_total: dict[int, int] = {}
        self._exact: dict[str, dict[str, Handler]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Handler]]] = []
        templates: dict[str, dict[str, Handler]] = {}
        spanning: set[str] = set()
        for route in (*self.routes, *self._own_routes()):
            templates.setdefault(route.path, {})[route.method] = route.handler
            if any("/" in str(one.get("pattern", "")) for one in route.path_params.values()):
                spanning.add(route.path)
        # Longest first: where a part may hold slashes, /products/{sku}/reviews goes before /products/{sku}.
        for path, methods in sorted(templates.items(), key=lambda one: -len(one[0])):
            if "{" in path:
                part = "(.+)" if path in spanning else "([^/]+)"
                pattern = re.sub(r"\\\{\w+\\\}", part, re.escape(path))
                self._patterns.append((re.compile(pattern), methods))
            else:
                self._exact[path] = methods

    def _own_routes(self) -> tuple[Route, ...]:
        def own(path: str, handler: Handler) -> Route:
            return Route("GET", path, handler, path, path.strip("/"), "health", {200: None})

        return (
            own("/livez", self._livez),
            own("/readyz", self._readyz),
            own("/metrics", self._metrics),
        )

    async def _livez(self, request: Request) -> Response:
        return Response(200, [("content-type", "text/plain")], b"alive\n")

    async def _readyz(self, request: Request) -> Response:
        why = self.why_not_ready()
        status = 503 if why else 200
        return Response(status, [("content-type", "text/plain")], f"{why or 'ready'}\n".encode())

    async def _metrics(self, request: Request) -> Response:
        text = self.metrics_text()
        return Response(200, [("content-type", "text/plain; version=0.0.4")], text.encode())

    def why_not_ready(self) -> str:
        """Empty when requests are welcome."""
        if self.draining:
            return "draining"
        return self.ready() if self.ready else ""

    def metrics_text(self) -> str:
        lines = [
            "# HELP saleops_requests_total Requests answered, by status.",
            "# TYPE saleops_requests_total counter",
        ]
        for status, count in sorted(self.requests_total.items()):
            lines.append(
                f'saleops_requests_total{{service="{self.name}",status="{status}"}} {count}'
            )
        lines += [
            "# HELP saleops_requests_in_flight Requests being answered now.",
            "# TYPE saleops_requests_in_flight gauge",
            f'saleops_requests_in_flight{{service="{self.name}"}} {self.in_flight}',
        ]
        own = self.metrics() if self.metrics else ""
        return "\n".join(lines) + "\n" + own

    def find(self, method: str, path: str) -> tuple[Handler, tuple[str, ...]] | Response:
        """The handler for a request, or the answer that says why there is none."""
        methods = self._exact.get(path)
        args: tuple[str, ...] = ()
        if methods is None:
            for pattern, candidates in self._patterns:
                match = pattern.fullmatch(path)
                if match:
                    methods, args = candidates, match.groups()
                    break
            else:
                return problem(404, "no-such-page", "There is nothing here")
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            return problem(405, "method", "Wrong method", headers=[("allow", allowed)])
        return handler, args

    async def answer(self, request: Request) -> Response:
        """Serve one request, whatever happens: a Refusal is its problem, a bug is a logged 500 without details."""
        found = self.find(request.method, request.path)
        if isinstance(found, Response):
            return found
        handler, request.path_args = found
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is answered and logged
            return self._failure(request, error)

    def _failure(self, request: Request, error: Exception) -> Response:
        """The answer to what a handler raised: a Refusal's own, or for a bug a 500 without details."""
        if isinstance(error, Refusal):
            return error.response
        log.error("%s %s %s failed", self.name, request.method, request.path, exc_info=error)
        return problem(500, "bug", HTTPStatus.INTERNAL_SERVER_ERROR.phrase)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        self.in_flight += 1
        try:
            headers, method = scope.headers, scope.method
            body = b"" if method in _BODILESS else await read_body(headers, protocol)
            if isinstance(body, Response):
                response = body
            else:
                path = scope.path
                query = scope.query_string if method == "GET" else ""
                request = Request(method, path, query, headers, body)
                methods = self._exact.get(path)
                handler = methods.get(method) if methods is not None else None
                if handler is None:
                    response = await self.answer(request)
                else:
                    # A fixed path needs no search, and the busiest of all, checkout, no coroutine between it and us.
                    try:
                        response = await handler(request)
                    except Exception as error:  # noqa: BLE001  # as in answer()
                        response = self._failure(request, error)
            status, counts = response.status, self.requests_total
            counts[status] = counts.get(status, 0) + 1
            if method == "HEAD":
                protocol.response_empty(status, response.headers)
            else:
                protocol.response_bytes(status, response.headers, response.body)
        finally:
            self.in_flight -= 1


_BODILESS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))


async def read_body(headers: HeaderMap, protocol: Any) -> bytes | Response:
    """The whole body, or the answer that refuses it.

    A body has to say its length: the end of a chunked one cannot be told from its breaking off, and half an order
    must not be placed.
    """
    length = headers.get("content-length")
    if length is None:
        if headers.get("transfer-encoding") is None:
            return b""
        return problem(411, "length-required", "Send the body with a Content-Length")
    if not length.isdigit() or int(length) > BODY_MAX:
        return problem(413, "too-large", f"A body may have {BODY_MAX} bytes")
    try:
        body: bytes = await protocol()
    except Exception as error:  # noqa: BLE001  # the server's own error type says no more than its text
        log.info("a body broke off: %s", error)
        return problem(400, "broken-off", "The body broke off")
    if len(body) != int(length):
        return problem(400, "broken-off", "The body broke off")
    return body
