"""The API on HTTP: RSGI in, ``KubeApi.handle``, an answer or a stream of watch events out; granian serves it, in a thread too.

A real clock ticks: what is due happens within 50 ms, whether somebody asks or not, so that watches hear of it.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saleops.adapters.local_processes import LocalWorkers
from saleops.errors import UpstreamError
from saleops.services.kube_api.core import KubeApi
from saleops.services.kube_api.watching import Watch
from saleops.services.kube_api.wire import BODY_MAX, Answer, Request

log = logging.getLogger("saleops.services.kube_api")

HOST = "127.0.0.1"
TICK_S = 0.05
START_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 2.0


class KubeApp:
    """The RSGI application."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.in_flight = 0
        self._watches: set[Watch] = set()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(1000)
            return
        self.in_flight += 1
        try:
            body = await _body(scope, protocol)
            if body is None:
                protocol.response_empty(413, [("connection", "close")])
                return
            headers = {name.lower(): value for name, value in scope.headers.items()}
            headers.setdefault("host", scope.authority or "")
            request = Request(scope.method, scope.path, scope.query_string, headers, body)
            answer = self.api.handle(request)
            if answer.after_s:
                await asyncio.sleep(answer.after_s)
            if answer.lost:
                await _break_off(protocol, answer)
            elif answer.watch is not None:
                await self._stream(protocol, answer, answer.watch)
            else:
                protocol.response_bytes(answer.status, list(answer.headers), answer.body)
        except Exception:
            log.exception("%s %s could not be answered", scope.method, scope.path)
            raise
        finally:
            self.in_flight -= 1

    async def _stream(self, protocol: Any, answer: Answer, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        lines = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: so is this watch
                loop.call_soon_threadsafe(lines.set)

        watch.on_lines = wake
        self._watches.add(watch)
        gone = asyncio.ensure_future(protocol.client_disconnect())
        try:
            stream = protocol.response_stream(answer.status, list(answer.headers))
            while True:
                lines.clear()
                with self.api.lock:
                    ready = watch.take()
                for line in ready:
                    await stream.send_bytes(line)
                if watch.closed and not ready:
                    return
                if ready:
                    continue
                heard = asyncio.ensure_future(lines.wait())
                await asyncio.wait(
                    (gone, heard),
                    timeout=watch.wait_s() + 0.001,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                heard.cancel()
                if gone.done():
                    return
        except Exception as error:  # noqa: BLE001  # the caller went first; the server's error type says no more
            log.debug("a watch broke off: %s", error)
        finally:
            gone.cancel()
            self._watches.discard(watch)
            with self.api.lock:
                watch.close()

    def end_watches(self) -> None:
        """Tell every watcher that it is over, so that the server can stop."""
        with self.api.lock:
            for watch in list(self._watches):
                watch.close()


async def _body(scope: Any, protocol: Any) -> bytes | None:
    """The whole body; None when it is too large to be read at all."""
    length = scope.headers.get("content-length")
    if length is not None and (not length.isdigit() or int(length) > BODY_MAX + 1):
        return None
    parts: list[bytes] = []
    size = 0
    try:
        async for part in protocol:
            size += len(part)
            if size > BODY_MAX + 1:
                return None
            parts.append(bytes(part))
    except Exception as error:  # noqa: BLE001  # the server's own error type says no more than its text
        log.info("a body broke off: %s", error)
        return b""
    return b"".join(parts)


async def _break_off(protocol: Any, answer: Answer) -> None:
    """Promise an answer, send its first byte and close: the caller learns nothing of it."""
    head = [("content-type", "application/json"), ("content-length", str(len(answer.body) + 1))]
    stream = protocol.response_stream(answer.status, head)
    with contextlib.suppress(Exception):  # the caller went first
        await stream.send_bytes(answer.body[:1])


async def serve(
    app: KubeApp,
    *,
    port: int,
    stopping: asyncio.Event,
    ready: Any,
    certificate: tuple[Path, Path] | None = None,
) -> None:
    """Serve on loopback until ``stopping``; calls ``ready()`` when it listens. ``certificate`` is its file and its key's.

    Raises UpstreamError where the port cannot be used.
    """
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    server = Server(
        app,
        address=HOST,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        ssl_cert=certificate[0] if certificate else None,
        ssl_key=certificate[1] if certificate else None,
    )
    serving = asyncio.create_task(server.serve(), name="serve")
    ticking = asyncio.create_task(_tick(app.api), name="tick")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    try:
        # serve() binds and listens in its first step, so after one turn of the loop it listens or it has failed.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not serving.done():
            ready()
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise UpstreamError(
                f"{HOST} port {port} cannot be used: {serving.exception()}",
                hint="Choose another one with --port.",
            )
        app.end_watches()
        await asyncio.sleep(0)
        server.stop()  # type: ignore[no-untyped-call]  # closes the listener, lets open requests finish
        await asyncio.wait((serving,), timeout=FINISH_TIMEOUT_S)
    finally:
        ticking.cancel()
        stop.cancel()
        if not serving.done():
            serving.cancel()


async def _tick(api: KubeApi) -> None:
    while True:
        if api.time.mode == "real":
            api.catch_up()
        await asyncio.sleep(TICK_S)


@contextlib.contextmanager
def served(
    api: KubeApi, *, port: int = 0, certificate: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """``api`` on loopback from a thread of its own, for the length of the block; its URL. For tests and rehearsals."""
    ports = LocalWorkers()
    port = ports.reserve_port(HOST, port)
    app = KubeApp(api)
    started = threading.Event()
    failure: list[BaseException] = []
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stopping = asyncio.Event()
        handles.append((asyncio.get_running_loop(), stopping))
        await serve(app, port=port, stopping=stopping, ready=started.set, certificate=certificate)

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # it is raised where the block began
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=main, name="kube-api", daemon=True)
    thread.start()
    try:
        if not started.wait(START_TIMEOUT_S):
            raise UpstreamError("the API double was not up in time")
        if failure:
            raise failure[0]
        yield f"{'https' if certificate else 'http'}://{HOST}:{port}"
    finally:
        for loop, stopping in handles:
            with contextlib.suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(stopping.set)
        thread.join(FINISH_TIMEOUT_S * 3)
        ports.close()
