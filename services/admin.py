"""The admin port of a worker: /livez, /readyz and /metrics from a thread of their own.

/livez depends on nothing: no engine, no lock, not even the event loop that serves buyers. It turns bad only when that loop has
not ticked for ``LIVENESS_S``, which nothing but a bug does. The other two ask the loop, with a deadline: a loop that does
not answer within it is not ready, whatever it thinks of itself.
"""

import asyncio
import concurrent.futures
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

from saleops.errors import UpstreamError
from saleops.services.web import Service

T = TypeVar("T")

LIVENESS_S = 30.0
TICK_S = 1.0
ASK_TIMEOUT_S = 0.8
CLIENT_TIMEOUT_S = 5.0


class Admin:
    """What the admin port tells. Made before the service, which joins with ``attach`` when it serves."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._ticked_s = monotonic_s()
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: ThreadingHTTPServer | None = None

    def listen(self, host: str, port: int) -> int:
        """Answer on ``port`` (0: a free one) from now on; returns it. Raises UpstreamError."""
        admin = self

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_TIMEOUT_S
            server_version, sys_version = "saleops", ""

            def do_GET(self) -> None:
                status, text = admin.answer(self.path.partition("?")[0])
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return  # probes come every second

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_port = True  # the supervisor holds the port for us
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:
                return  # a prober that hung up

        try:
            server = self._server = Server((host, port), Handler)
        except OSError as error:
            raise UpstreamError(
                f"admin port {port} cannot be used: {error.strerror or error}",
                hint="Choose another one with --admin-port.",
            ) from error
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="admin", daemon=True
        ).start()
        return int(server.server_address[1])

    async def tick(self) -> None:
        """Beat once a second, for ever: a task of the event loop that is watched."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._ticked_s = self._monotonic_s()
            await asyncio.sleep(TICK_S)

    def attach(self, service: Service) -> None:
        self._service = service

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text for ``path``. Called from the admin port's threads."""
        if path == "/livez":
            silent_s = self._monotonic_s() - self._ticked_s
            if silent_s > LIVENESS_S:
                return 503, f"the event loop has not moved for {silent_s:.0f} s\n"
            return 200, "alive\n"
        if path not in ("/readyz", "/metrics"):
            return 404, "there are /livez, /readyz and /metrics\n"
        service = self._service
        if service is None:
            return 503, "starting\n"
        try:
            if path == "/metrics":
                return 200, self._ask(service.metrics_text)
            why = self._ask(service.why_not_ready)
        except TimeoutError:
            return 503, "the event loop is busy\n"
        return (503, f"{why}\n") if why else (200, "ready\n")

    def _ask(self, question: Callable[[], T]) -> T:
        """The loop's answer. Raises TimeoutError after ASK_TIMEOUT_S."""
        assert self._loop is not None, "tick() runs before a service is attached"
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def ask() -> None:
            try:
                answer.set_result(question())
            except Exception as error:  # noqa: BLE001 - it is raised again in the thread that asked
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(ask)
        except RuntimeError:
            raise TimeoutError("the event loop is closed") from None
        return answer.result(ASK_TIMEOUT_S)
