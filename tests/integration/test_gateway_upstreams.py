"""The gateway in front of services that misbehave."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from saleops.services.gateway import app
from saleops.services.gateway.app import Gateway
from saleops.services.web import Response

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\nset-cookie: a\r\nset-cookie: b\r\n\r\nok"
Upstream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Scope:
    """A request as granian hands it over."""

    authority = None
    query_string = ""
    client = "10.0.0.1:5000"

    def __init__(self, method: str, path: str, headers: dict[str, str]) -> None:
        self.method = method
        self.path = path
        self.headers = headers


class Protocol:
    """Takes the answer."""

    def __init__(self) -> None:
        self.response: Response | None = None

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.response = Response(status, headers, body)

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.response = Response(status, headers)


async def ask(
    gateway: Gateway, path: str = "/products", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], Any]:
    protocol = Protocol()
    await gateway.__rsgi__(Scope(method, path, headers), protocol)
    response = protocol.response
    assert response is not None
    assert gateway.in_flight == 0
    is_json = response.body.startswith(b"{")
    body = json.loads(response.body) if is_json else response.body
    return response.status, dict(response.headers), body


def with_upstream(upstream: Upstream, scenario: Callable[[Gateway], Awaitable[None]]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await upstream(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway hung up
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        gateway = Gateway({"catalog": f"http://127.0.0.1:{port}"}, per_ip_rps=0)
        assert gateway.start is not None
        await gateway.start()
        try:
            await scenario(gateway)
        finally:
            await gateway.close()
            server.close()

    asyncio.run(run())


async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def test_answers_travel_back_with_every_header_but_the_hop_s() -> None:
    async def scenario(gateway: Gateway) -> None:
        protocol = Protocol()
        await gateway.__rsgi__(Scope("GET", "/products", {}), protocol)
        assert protocol.response is not None
        assert protocol.response.body == b"ok"
        assert sorted(protocol.response.headers) == [
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("x-a", "1"),
        ]

    with_upstream(fine, scenario)


def test_a_service_that_is_too_slow_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "ANSWER_TIMEOUT_S", 0.2)
    calls = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)

    async def scenario(gateway: Gateway) -> None:
        status, headers, body = await ask(gateway)
        assert (status, body["type"]) == (504, "/problems/too-slow")
        assert headers["content-type"] == "application/problem+json"
        assert calls == 1  # whether it was done nobody knows: repeating is the buyer's choice

    with_upstream(slow, scenario)


def test_nobody_there_is_503_after_a_bounded_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "RETRY_FOR_S", 0.3)

    async def scenario() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        gateway = Gateway({"catalog": f"http://127.0.0.1:{port}"})
        assert gateway.start is not None
        await gateway.start()
        started = asyncio.get_running_loop().time()
        status, headers, _ = await ask(gateway, method="POST")  # it reached nobody: repeatable
        assert (status, headers["retry-after"]) == (503, "1")
        assert asyncio.get_running_loop().time() - started < 1
        assert gateway.retries_total >= 2

        monkeypatch.setattr(app, "WAITING_MAX", 0)
        retries = gateway.retries_total
        assert (await ask(gateway))[0] == 503
        assert gateway.retries_total == retries  # too many wait already: no waiting
        await gateway.close()

    asyncio.run(scenario())


def test_a_broken_answer_is_asked_for_again_on_a_fresh_connection() -> None:
    ports: list[int] = []

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        if len(ports) == 2:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf")
            writer.close()
        else:
            writer.write(OK)

    async def scenario(gateway: Gateway) -> None:
        assert [(await ask(gateway))[2] for _ in range(2)] == [b"ok", b"ok"]
        assert ports[0] == ports[1]  # kept alive
        assert ports[2] != ports[1]

    with_upstream(breaks, scenario)


@pytest.mark.parametrize(
    ("method", "headers", "calls_at_most"),
    [("GET", {}, 6), ("POST", {"idempotency-key": "k"}, 3), ("POST", {}, 1)],
)
def test_a_request_breaks_a_bounded_number_of_connections(
    method: str, headers: dict[str, str], calls_at_most: int
) -> None:
    calls = 0

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.transport.abort()

    async def scenario(gateway: Gateway) -> None:
        protocol = Protocol()
        await gateway.__rsgi__(Scope(method, "/products", headers), protocol)
        assert protocol.response is not None
        assert protocol.response.status == 502
        assert calls <= calls_at_most
        if method == "POST":
            assert calls == calls_at_most

    with_upstream(dies, scenario)


def test_an_answer_without_end_is_502(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "ANSWER_MAX", 100_000)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000)

    async def scenario(gateway: Gateway) -> None:
        assert (await ask(gateway))[0] == 502

    with_upstream(endless, scenario)


def test_one_address_is_limited_and_told_when_to_come_again() -> None:
    async def scenario() -> None:
        gateway = Gateway({}, per_ip_rps=2.0)
        assert gateway.start is not None
        await gateway.start()
        gateway._upstreams["catalog"] = "http://127.0.0.1:9"
        gateway._waiting = app.WAITING_MAX  # no patience with the port where nobody is
        answers = [await ask(gateway) for _ in range(3)]
        assert [status for status, _, _ in answers] == [503, 503, 429]
        assert int(answers[2][1]["retry-after"]) == 1
        await gateway.close()

    asyncio.run(scenario())


def test_methods_and_services_that_are_not_there() -> None:
    async def scenario(gateway: Gateway) -> None:
        status, headers, _ = await ask(gateway, method="TRACE")
        assert status == 405
        assert "GET" in headers["allow"]
        assert (await ask(gateway, "/orders"))[0] == 404
        assert (await ask(gateway, "/problems/no-such-kind"))[0] == 404
        assert (await ask(gateway, "/metrics"))[0] == 404
        assert (await ask(gateway, "/livez"))[0] == 200
        assert (await ask(gateway, **{"content-length": "70000"}))[0] == 413
        assert (await ask(gateway, **{"content-length": "-1"}))[0] == 413

    with_upstream(fine, scenario)
