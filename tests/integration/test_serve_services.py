"""The worker runtime, the supervisor and the gateway, on real processes whose services only echo."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from saleops.adapters.local_processes import LocalWorkers
from saleops.config.settings import JwtSettings, ServiceSettings
from saleops.errors import UpstreamError
from saleops.events import Event, Warned
from saleops.operations.serve import Fleet, ServePlan, running_services

COMMAND = (sys.executable, str(Path(__file__).parent.parent / "echo_worker.py"))


def plan(sale: str = "echo", **changes: Any) -> ServePlan:
    settings = ServiceSettings(
        sale=sale, redis_url="", database_url="", broker_url="", jwt=JwtSettings()
    )
    given: dict[str, Any] = {
        "settings": settings,
        "services": ("catalog", "order"),
        "port": 0,
        "drain_delay_s": 0.0,
    }
    return ServePlan(**{**given, **changes})


@asynccontextmanager
async def floor(
    tmp_path: Path, wanted: ServePlan | None = None, seen: list[Event] | None = None
) -> AsyncIterator[tuple[Fleet, aiohttp.ClientSession]]:
    """The echo services, and a client for them."""
    events = [] if seen is None else seen
    workers = LocalWorkers(command=COMMAND, log_dir=tmp_path / "logs")
    async with (
        running_services(wanted or plan(), workers=workers, observe=events.append) as fleet,
        aiohttp.ClientSession() as client,
    ):
        yield fleet, client


async def eventually(claim: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``claim`` holds; the test's own timeout is the limit."""
    async with asyncio.timeout(20):
        while not await claim():
            await asyncio.sleep(0.02)


async def status_of(client: aiohttp.ClientSession, url: str) -> int:
    try:
        async with client.get(url) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


def test_a_killed_worker_comes_back_and_no_repeatable_request_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[Event] = []
        async with floor(tmp_path, seen=seen) as (fleet, client):
            stop = asyncio.Event()
            statuses: list[int] = []

            async def buyer(number: int) -> None:
                count = 0
                while not stop.is_set():
                    count += 1
                    headers = {"Idempotency-Key": f"{number}-{count}"}
                    async with client.post(f"{fleet.url}/orders", headers=headers) as answer:
                        statuses.append(answer.status)

            async with asyncio.TaskGroup() as group:
                for number in range(16):
                    group.create_task(buyer(number))
                await eventually(lambda: _true(len(statuses) > 100))
                killed = fleet.kill_worker("order")
                back = await fleet.restarted(killed)
                stop.set()

            assert set(statuses) == {200}
            assert (back.restarts, back.ready, back.port) == (1, True, killed.port)
            assert back.pid != killed.pid
        assert any("SIGKILL" in event.message for event in seen if isinstance(event, Warned))

    asyncio.run(scenario())


async def _true(claim: bool) -> bool:
    return claim


def test_requests_wait_for_the_only_worker_of_a_service_to_come_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with floor(tmp_path) as (fleet, client):
            killed = fleet.kill_worker("catalog")

            async with client.get(f"{fleet.url}/products") as answer:
                assert answer.status == 200
                assert (await answer.json())["pid"] != killed.pid

    asyncio.run(scenario())


def test_what_kills_its_worker_is_repeated_only_with_a_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with floor(tmp_path) as (fleet, client):
            once = tmp_path / "once"
            url, ask = f"{fleet.url}/orders", {"X-Ask": f"die={once}"}
            async with client.post(url, headers=ask) as answer:
                assert answer.status == 502
                assert answer.content_type == "application/problem+json"
                assert answer.headers["retry-after"] == "1"
            once.unlink()
            async with client.post(url, headers={**ask, "Idempotency-Key": "k"}) as answer:
                assert answer.status == 200
            # A request that kills every worker it meets is given up.
            async with client.post(
                url, headers={"X-Ask": "die=1", "Idempotency-Key": "k"}
            ) as answer:
                assert answer.status in (502, 503)

    asyncio.run(scenario())


def test_sigterm_lets_a_request_in_flight_finish_and_turns_readiness_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        wanted = plan(services=("order",), workers={"order": 1}, drain_delay_s=0.5)
        async with floor(tmp_path, wanted) as (fleet, client):
            [worker] = fleet.workers
            admin = f"http://127.0.0.1:{worker.admin_port}"
            slow = asyncio.create_task(status_of(client, f"{fleet.url}/orders?slow=1.2"))
            await asyncio.sleep(0.2)

            os.kill(worker.pid, signal.SIGTERM)

            await eventually(lambda: _is(client, f"{admin}/readyz", 503))
            assert await status_of(client, f"{admin}/livez") == 200
            assert await slow == 200
            back = await fleet.restarted(worker)
            assert back.pid != worker.pid
        log = (tmp_path / "logs" / "order-1.log").read_text()
        assert "draining, 1 in flight" in log
        assert "did not finish" not in log

    asyncio.run(scenario())


async def _is(client: aiohttp.ClientSession, url: str, status: int) -> bool:
    return await status_of(client, url) == status


def test_leaving_drains_the_gateway_before_the_services(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with floor(tmp_path) as (fleet, client):
            slow = asyncio.create_task(status_of(client, f"{fleet.url}/products?slow=0.7"))
            await asyncio.sleep(0.2)
            await fleet.stop()
            assert await slow == 200
            assert all(one.pid == 0 for one in fleet.workers)

    asyncio.run(scenario())


def test_livez_answers_while_the_event_loop_is_blocked(tmp_path: Path) -> None:
    async def scenario() -> None:
        wanted = plan(services=("order",), workers={"order": 1})
        async with floor(tmp_path, wanted) as (fleet, client):
            [worker] = fleet.workers
            admin = f"http://127.0.0.1:{worker.admin_port}"
            blocked = asyncio.create_task(status_of(client, f"{fleet.url}/orders?block=2.5"))
            await asyncio.sleep(0.3)

            assert await status_of(client, f"{admin}/livez") == 200
            async with client.get(f"{admin}/readyz") as answer:
                assert (answer.status, await answer.text()) == (503, "the event loop is busy\n")
            assert not blocked.done()
            assert await blocked == 200
            async with client.get(f"{admin}/metrics") as answer:
                assert 'saleops_requests_total{service="order",status="200"} 1' in (
                    await answer.text()
                )

    asyncio.run(scenario())


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "from test_serve_services import floor\n"
        "from pathlib import Path\n"
        "async def main():\n"
        "    async with floor(Path(sys.argv[1])) as (fleet, _):\n"
        "        print(*(one.pid for one in fleet.workers), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )

    async def scenario() -> None:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, script, tmp_path, stdout=asyncio.subprocess.PIPE
        )
        assert supervisor.stdout is not None
        pids = [int(word) for word in (await supervisor.stdout.readline()).split()]
        assert len(pids) == 4

        supervisor.kill()
        await supervisor.wait()

        await eventually(lambda: _true(not any(map(_runs, pids))))

    asyncio.run(scenario())


def _runs(pid: int) -> bool:
    """Whether ``pid`` does anything: a zombie in a container without an init does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_worker_that_cannot_start_gives_its_own_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(UpstreamError, match="redis://nowhere does not answer") as caught:
            async with floor(tmp_path, plan(sale="unreachable")):
                pass
        assert caught.value.hint == "Start it."

    asyncio.run(scenario())


def test_services_that_wait_for_their_sale_are_up_with_a_warning(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[Event] = []
        async with floor(tmp_path, plan(sale="empty", services=("order",)), seen) as (fleet, _):
            assert {one.why for one in fleet.workers} == {"not seeded"}
            with pytest.raises(UpstreamError, match=r"order-1 \(not seeded\)"):
                await fleet.ready(timeout_s=0.1)
        assert "order-1 is up and not ready: not seeded" in [
            event.message for event in seen if isinstance(event, Warned)
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with SO_REUSEPORT"])
def test_a_port_somebody_listens_on_is_refused(tmp_path: Path, shared: bool) -> None:
    async def scenario(port: int) -> None:
        with pytest.raises(UpstreamError, match=f"port {port} cannot be used"):
            async with floor(tmp_path, plan(port=port)):
                pass

    with socket.socket() as stranger:
        if shared:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        asyncio.run(scenario(stranger.getsockname()[1]))


def test_secrets_reach_workers_and_no_process_list(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = ServiceSettings(
            sale="echo",
            redis_url="redis://:hunter2@nowhere",
            database_url="",
            broker_url="",
            jwt=JwtSettings(hs256_secret="hunter2" * 8),
        )
        async with floor(tmp_path, plan(settings=settings)) as (fleet, _):
            for one in fleet.workers:
                assert b"hunter2" not in Path(f"/proc/{one.pid}/cmdline").read_bytes()
                # The one that faces the world is not even told.
                told = b"hunter2" in Path(f"/proc/{one.pid}/environ").read_bytes()
                assert told == (one.service != "gateway")
            assert "hunter2" not in repr(fleet.workers)

    asyncio.run(scenario())


def test_the_gateway_passes_requests_on_as_they_are(tmp_path: Path) -> None:
    async def scenario() -> None:
        wanted = plan(services=("catalog", "order", "payment", "shipping"), workers={"order": 1})
        async with floor(tmp_path, wanted) as (fleet, client):
            for path, service in {
                "/products/a%20b": "catalog",
                "/orders/1": "order",
                "/cart": "order",
                "/orders/1/payments": "payment",
                "/orders/1/parcels": "shipping",
            }.items():
                async with client.put(
                    f"{fleet.url}{path}?q=%2F",
                    data=b'{"x": 1}',
                    headers={
                        "traceparent": "00-abc-def-01",
                        "Connection": "close, X-Hop",
                        "X-Hop": "1",
                        "X-Forwarded-For": "6.6.6.6",
                    },
                ) as answer:
                    seen = json.loads(await answer.text())
                assert seen["service"] == service
                assert (seen["method"], seen["body"]) == ("PUT", '{"x": 1}')
                headers = seen["headers"]
                assert headers["traceparent"] == "00-abc-def-01"
                assert headers["x-forwarded-for"] == "6.6.6.6, 127.0.0.1"
                assert headers["host"] == fleet.urls[service].removeprefix("http://")
                assert headers["x-forwarded-host"] == fleet.url.removeprefix("http://")
                assert "x-hop" not in headers
            assert await status_of(client, f"{fleet.url}/nothing") == 404
            assert await status_of(client, f"{fleet.url}/metrics") == 404
            async with client.put(f"{fleet.url}/cart", data=b"x" * 65_537) as answer:
                assert answer.status == 413

            async def no_length() -> AsyncIterator[bytes]:
                yield b"{}"

            async with client.put(f"{fleet.url}/cart", data=no_length()) as answer:
                assert answer.status == 411

    asyncio.run(scenario())
