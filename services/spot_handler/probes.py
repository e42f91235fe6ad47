"""The admin port: /livez, /readyz and /metrics from threads of their own.

/livez turns bad only when the handler's loops have stopped moving, which nothing but a bug does; it asks no API. /readyz says
whether a notice would be heard and acted upon: the metadata service answers, and our node was found.
"""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from saleops.errors import UpstreamError

CLIENT_TIMEOUT_S = 5.0

Ask = Callable[[], str]


class Probes:
    """``why_dead`` and ``why_not_ready`` answer "" where all is well."""

    def __init__(self, why_dead: Ask, why_not_ready: Ask, metrics: Ask) -> None:
        self._asks = {"/livez": (why_dead, "alive"), "/readyz": (why_not_ready, "ready")}
        self._metrics = metrics
        self._server: ThreadingHTTPServer | None = None

    def answer(self, path: str) -> tuple[int, str]:
        if path == "/metrics":
            return 200, self._metrics()
        if path not in self._asks:
            return 404, "there are /livez, /readyz and /metrics\n"
        ask, well = self._asks[path]
        why = ask()
        return (503, f"{why}\n") if why else (200, f"{well}\n")

    def listen(self, host: str, port: int) -> int:
        """Answer on ``port`` (0: a free one); returns it. Raises UpstreamError."""
        probes = self

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_TIMEOUT_S
            server_version, sys_version = "saleops", ""

            def do_GET(self) -> None:
                status, text = probes.answer(self.path.partition("?")[0])
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return  # probes come every few seconds

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:
                return  # a prober that hung up

        try:
            server = self._server = Server((host, port), Handler)
        except OSError as error:
            raise UpstreamError(
                f"admin port {port} cannot be used: {error.strerror or error}",
                hint="Choose another one with SALEOPS_SPOT_ADMIN_PORT.",
            ) from error
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="admin", daemon=True
        ).start()
        return int(server.server_address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
