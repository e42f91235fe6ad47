"""Whether a service sells, asked over HTTP: what ``loadtest`` refuses by and what ``seed`` waits for."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from saleops.cli.loadtest import _refuse_unready
from saleops.cli.readiness import wait_ready, why_not_ready
from saleops.errors import Refused


class Service(ThreadingHTTPServer):
    """Not ready for the first ``paused`` questions."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.paused = 0
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        service: Any = self.server
        service.asked += 1
        ready = service.asked > service.paused
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ready\n" if ready else b"not seeded\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_says_why_it_is_not_ready(service: Service) -> None:
    service.paused = 1
    assert why_not_ready(service.url) == "not seeded"
    assert why_not_ready(service.url) == ""


def test_a_service_that_is_ready_soon_is_waited_for(service: Service) -> None:
    service.paused = 2
    assert wait_ready(service.url, within_s=5) == ""


def test_one_that_stays_as_it_is_is_told_when_time_is_up(service: Service) -> None:
    service.paused = 1_000
    assert wait_ready(service.url, within_s=0.3) == "not seeded"


def test_nobody_there_is_a_reason_too() -> None:
    assert "does not answer" in wait_ready("http://127.0.0.1:9", within_s=0)


def test_a_load_is_refused_before_the_sale_was_seeded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saleops.cli.loadtest._SEEDED_WITHIN_S", 0.1)
    service.paused = 1_000
    with pytest.raises(Refused, match="not seeded; nothing was sent") as caught:
        _refuse_unready(service.url)
    assert "saleops seed" in (caught.value.hint or "")
    _refuse_unready("")  # a shop that is not ours to ask
