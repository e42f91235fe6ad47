"""A metadata service on loopback for tests and rehearsals, hardened or not, that can be told to announce the end.

    with served_metadata(hardened=True) as double:
        double.flip(300)           # this machine is reclaimed in 300 s; flip(None) withdraws it
        double.fault("500", 3)     # the next three requests; also "403", "404-token", "slow", "garbage", "drop"
        double.url                 # for SALEOPS_METADATA_URL

Behaviour as documented for ECS: 404 while safe, then the time in UTC; tokens by PUT with a lifetime of 1 to 21600 s; without a
good one a hardened instance answers 403.
"""

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from saleops.services.spot_handler.metadata import (
    INSTANCE_ID,
    TERMINATION,
    TOKEN,
    TOKEN_HEADER,
    TTL_HEADER,
    ZONE,
)

HOST = "127.0.0.1"
TTL_MAX_S = 21600

Fault = Literal["403", "404-token", "405-token", "500", "slow", "garbage", "drop"]


class MetadataDouble:
    def __init__(
        self,
        *,
        hardened: bool = True,
        tokens: bool = True,
        instance: str = "i-double0001",
        zone: str = "ap-southeast-1a",
        skew_s: float = 0.0,
        slow_s: float = 3.0,
    ) -> None:
        """``tokens`` False: a service from before hardened mode, whose token path is 404. ``skew_s``: its clock minus ours."""
        self.hardened = hardened
        self.tokens = tokens
        self.instance = instance
        self.zone = zone
        self.skew_s = skew_s
        self.slow_s = slow_s
        self.url = ""
        self.ttl_max_s = TTL_MAX_S  # tokens live no longer than this, whatever was asked for
        self.requests: list[tuple[str, str, int]] = []
        self.flipped_at_s: float | None = None  # time.monotonic() of the last flip
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}
        self._faults: deque[Fault] = deque()
        self._notice: str | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skew_s)

    def flip(self, in_s: float | None, *, text: str | None = None) -> None:
        """Announce the end ``in_s`` seconds from now, or ``text`` as it is; None: there is no notice any more."""
        with self._lock:
            if in_s is None and text is None:
                self._notice = None
            else:
                at = self.now() + timedelta(seconds=in_s or 0)
                self._notice = text or at.strftime("%Y-%m-%dT%H:%M:%SZ")
            self.flipped_at_s = time.monotonic()

    def fault(self, fault: Fault, times: int = 1) -> None:
        """What the next ``times`` requests get instead of an answer."""
        with self._lock:
            self._faults.extend([fault] * times)

    def expire_tokens(self) -> None:
        with self._lock:
            self._tokens.clear()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Status and text; the request is noted."""
        with self._lock:
            fault = self._faults.popleft() if self._faults else None
            status, text = self._faulty(fault, path) or self._answer(method, path, headers)
            self.requests.append((method, path, status))
        if fault == "slow":
            time.sleep(self.slow_s)
        return status, text

    def _faulty(self, fault: Fault | None, path: str) -> tuple[int, str] | None:
        match fault:
            case "403":
                return 403, ""
            case "404-token" | "405-token" if path == TOKEN:
                return int(fault[:3]), ""
            case "500":
                return 500, "internal error"
            case "garbage":
                return 200, "<html>\x00no time</html>"
            case "drop":
                return 0, ""
            case _:
                return None

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if path == TOKEN:
            return self._token(method, headers)
        if method != "GET":
            return 405, ""
        given = headers.get(TOKEN_HEADER.lower())
        if given is None and self.hardened:
            return 403, ""
        if given is not None and self._tokens.get(given, 0.0) < time.monotonic():
            return 403, ""
        match path:
            case _ if path == TERMINATION:
                return (404, "Not Found") if self._notice is None else (200, self._notice)
            case _ if path == INSTANCE_ID:
                return 200, self.instance
            case _ if path == ZONE:
                return 200, self.zone
            case _:
                return 404, "Not Found"

    def _token(self, method: str, headers: dict[str, str]) -> tuple[int, str]:
        if not self.tokens:
            return 404, ""
        if method != "PUT":
            return 405, ""
        ttl = headers.get(TTL_HEADER.lower(), "")
        if not (ttl.isascii() and ttl.isdigit() and 1 <= int(ttl) <= TTL_MAX_S):
            return 400, ""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + min(int(ttl), self.ttl_max_s)
        return 200, token


@contextlib.contextmanager
def served_metadata(double: MetadataDouble | None = None) -> Iterator[MetadataDouble]:
    """``double`` on a free port of loopback, from threads of its own, for the length of the block."""
    told = double or MetadataDouble()

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            self._reply("GET")

        def do_PUT(self) -> None:
            self._reply("PUT")

        def _reply(self, method: str) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = told.answer(method, self.path, headers)
            if status == 0:
                self.close_connection = True
                self.connection.close()
                return
            body = text.encode()
            self.send_response_only(status)
            self.send_header("Date", format_datetime(told.now(), usegmt=True))
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return  # a caller that hung up

    with Server((HOST, 0), Handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        told.url = f"http://{HOST}:{server.server_address[1]}"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join(5)
