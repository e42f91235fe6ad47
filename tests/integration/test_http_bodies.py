"""Bodies that break off, have no length or are too long: never half an order."""

import asyncio

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from saleops.services.web import BODY_MAX, Request, Response, Route, Service
from servers import free_port

HEAD = "POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


def served(raw: bytes, *, half_close: bool = False) -> tuple[bytes, list[bytes]]:
    """What a service answers to ``raw`` on a real socket, and the bodies its handler was given."""
    bodies: list[bytes] = []

    async def handler(request: Request) -> Response:
        bodies.append(request.body)
        return Response(201, [("content-type", "text/plain")], b"placed")

    async def scenario() -> bytes:
        route = Route("POST", "/orders", handler, "Buy", "buy", "orders", {201: None})
        port = free_port()
        server = Server(
            Service("order", [route]), port=port, interface=Interfaces.RSGI, log_enabled=False
        )
        serving = asyncio.create_task(server.serve())
        reader, writer = await connect(port)
        writer.write(raw)
        await writer.drain()
        if half_close:
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.stop()
        await serving
        return answer

    return asyncio.run(scenario()), bodies


@pytest.mark.parametrize(
    ("headers", "body", "status", "given"),
    [
        ("Content-Length: 2\r\n", b"{}", b"201", [b"{}"]),
        ("", b"", b"201", [b""]),
        (f"Content-Length: {BODY_MAX + 1}\r\n", b"", b"413", []),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"411", []),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\nzz\r\n", b"411", []),
    ],
)
def test_a_body_is_taken_whole_and_with_its_length_or_not_at_all(
    headers: str, body: bytes, status: bytes, given: list[bytes]
) -> None:
    answer, bodies = served(f"{HEAD}{headers}\r\n".encode() + body)

    assert answer.split(b" ")[1] == status
    assert bodies == given


def test_a_body_that_breaks_off_is_not_acted_on() -> None:
    answer, bodies = served(
        f"{HEAD}Content-Length: 60\r\n\r\n".encode() + b"{half", half_close=True
    )

    assert bodies == []
    assert answer == b"" or answer.split(b" ")[1] == b"400"
