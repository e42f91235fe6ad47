"""A server on loopback that answers what a test tells it, to see what a client makes of each kind of answer."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str


@dataclass
class Stub:
    """``answers`` are taken in order, the last one for ever: (status, document or text, headers)."""

    url: str
    answers: list[tuple[int, Any, Mapping[str, str]]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    delay_s: float = 0.0
    hang_up: bool = False

    def answer(self, status: int, document: Any, **headers: str) -> None:
        """From now on answer this alone; header names with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers = [(status, document, named)]

    def take(self) -> tuple[int, bytes, Mapping[str, str]]:
        status, document, headers = (
            self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        )
        text = document if isinstance(document, str) else json.dumps(document)
        return status, text.encode(), headers


@contextmanager
def stub_server() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            parts = urlsplit(self.path)
            stub.requests.append(
                Request(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length).decode(),
                )
            )
            if stub.hang_up:
                self.close_connection = True
                return
            time.sleep(stub.delay_s)
            status, body, headers = stub.take()
            try:
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except BrokenPipeError:
                pass  # a client that lost patience

        do_GET = do_PUT = do_DELETE = do_PATCH = do_POST  # noqa: N815  the names of http.server

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = Stub(f"http://127.0.0.1:{server.server_port}", [(200, {"RequestId": "R-1"}, {})])
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
