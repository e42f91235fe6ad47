"""One worker process of one service: ``python -m saleops.services.worker order --port 8081 --admin-port 9081``.

The settings come in the environment (config/settings.py). The service runs on granian's embedded server under uvloop; several
workers may share a port (SO_REUSEPORT). Its life:

    listen on the admin port -> open the ports -> start the service -> listen -> ready
    SIGTERM or SIGINT -> not ready -> a moment for load balancers to notice -> stop listening, finish what is in
    flight -> stop the service -> close the ports -> exit 0
    a second signal -> exit at once

Under a supervisor (``--supervised``) standard input is a socket to it: its end of file means that the supervisor
is gone, and the worker drains and ends too; an error that prevents the start is written into it.
Exit codes are those of the command line: 2 bad settings, 4 an engine or a port refused us, 1 a bug.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from saleops.config.settings import ServiceSettings, load_settings
from saleops.errors import SaleopsError, UpstreamError
from saleops.ports.processes import Failure
from saleops.services.admin import Admin
from saleops.services.web import Service

log = logging.getLogger("saleops.worker")

BACKLOG = 4096
CONNECTIONS_MAX = 16384  # granian accepts no more at a time: the rest waits in the backlog
FINISH_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 20.0
ORPHAN_EXIT_S = FINISH_TIMEOUT_S + STOP_TIMEOUT_S + 5

Build = Callable[[str, ServiceSettings, AsyncExitStack], Awaitable[Service]]


def main(argv: Sequence[str] | None = None, *, build: Build | None = None) -> int:
    """Run one worker until it is told to stop; the exit code. ``build`` makes the service, by its name."""
    options = _arguments().parse_args(argv)
    log_to_stderr(options.name or options.service)
    try:
        settings = load_settings()
        _allow_many_connections()
        _collect_rarely()
        _run(_serve(options, settings, build or _assembled))
    except SaleopsError as error:
        log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        failure = Failure(error.exit_code, error.message, error.hint)
    except Exception as error:
        log.exception("a bug ended this worker")
        failure = Failure(1, f"{type(error).__name__}: {error}")
    else:
        return 0
    if options.supervised:
        with contextlib.suppress(OSError):  # the supervisor is gone
            os.write(0, msgspec.json.encode(failure))
    return failure.exit_code


async def _assembled(name: str, settings: ServiceSettings, stack: AsyncExitStack) -> Service:
    from saleops.services.assembly import build

    return await build(name, settings, stack)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m saleops.services.worker", description="Run one worker of a service."
    )
    parser.add_argument("service", help="catalog, order, payment, shipping or gateway")
    parser.add_argument("--name", default="", help="name in logs (default: the service)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on")
    parser.add_argument("--port", type=int, required=True, help="port to serve on")
    parser.add_argument("--admin-host", default="127.0.0.1", help="address of the admin port")
    parser.add_argument(
        "--admin-port", type=int, required=True, help="port of /livez, /readyz and /metrics"
    )
    parser.add_argument(
        "--drain-delay",
        type=float,
        default=float(os.environ.get("SALEOPS_DRAIN_DELAY_S", "0.2")),
        metavar="SECONDS",
        help="from not ready to not listening; as long as your load balancer needs to notice",
    )
    parser.add_argument("--supervised", action="store_true", help="standard input is a supervisor")
    return parser


async def _serve(options: argparse.Namespace, settings: ServiceSettings, build: Build) -> None:
    stopping = stop_on_signals()
    if options.supervised:
        threading.Thread(target=end_with_supervisor, name="lifeline", daemon=True).start()
    admin = Admin()
    admin.listen(options.admin_host, options.admin_port)
    ticking = asyncio.create_task(admin.tick(), name="tick")
    try:
        async with AsyncExitStack() as stack:
            service = await _unless(stopping, build(options.service, settings, stack))
            if service is None:
                return
            if service.start is not None:
                await service.start()
            try:
                await _listen(options, service, admin, stopping)
            finally:
                if service.stop is not None:
                    await asyncio.wait_for(service.stop(), STOP_TIMEOUT_S)
    finally:
        ticking.cancel()
        admin.close()
    log.info("stopped")


async def _listen(
    options: argparse.Namespace, service: Service, admin: Admin, stopping: asyncio.Event
) -> None:
    """Serve until ``stopping``, then drain. Raises UpstreamError when the port is somebody else's."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    server = Server(
        service,
        address=options.host,
        port=options.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve(), name="serve")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    # serve() binds and listens in its first step, so after one turn of the loop it listens or it has failed.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not serving.done():
        admin.attach(service)
        log.info("serving on %s port %d", options.host, options.port)
    await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        stop.cancel()
        error = serving.exception()
        if isinstance(error, OSError | RuntimeError):
            raise UpstreamError(
                f"{options.host} port {options.port} cannot be used: {error}",
                hint="Choose another one with --port.",
            ) from error
        if error is not None:
            raise error
        raise RuntimeError("the server ended by itself")
    log.info("draining, %d in flight", service.in_flight)
    service.draining = True
    await asyncio.sleep(options.drain_delay)
    server.stop()  # type: ignore[no-untyped-call]  # closes the listener, lets every open request finish, then its connection
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    await asyncio.wait((serving,), timeout=FINISH_TIMEOUT_S)
    while service.in_flight and time.monotonic() < deadline:  # noqa: ASYNC110 - a plain counter
        await asyncio.sleep(0.01)
    if service.in_flight or not serving.done():
        log.warning("%d requests did not finish in %g s", service.in_flight, FINISH_TIMEOUT_S)
        serving.cancel()


async def _unless(stopping: asyncio.Event, work: Awaitable[Service]) -> Service | None:
    """The result of ``work``, or None when it is time to stop before it is there."""
    stop = asyncio.ensure_future(stopping.wait())
    task = asyncio.ensure_future(work)
    await asyncio.wait((stop, task), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        stop.cancel()
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return None


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process there and then."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(signum: int) -> None:
        if stopping.is_set():
            log.warning("told to stop twice: leaving now")
            os._exit(128 + signum)
        stopping.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop, signum)
    return stopping


def end_with_supervisor() -> None:
    """Block until the supervisor is gone, then drain; a worker that cannot is ended all the same."""
    with contextlib.suppress(OSError):
        while os.read(0, 64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_EXIT_S)
    os._exit(1)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        from uvloop import new_event_loop
    except ImportError:  # not on this platform: asyncio's own loop does the same, slower
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _collect_rarely() -> None:
    """Look for cycles less often: a request makes hundreds of objects and no cycles, and counting frees them.

    With Python's defaults the collector took a tenth of an order worker's time. What is loaded by now stays for good.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class _OneLine(logging.Formatter):
    """logfmt: one event a line, its traceback folded into one field."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker
        self._pid = os.getpid()

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = [
            f"time={at}.{int(record.msecs):03d}Z",
            f"level={record.levelname.lower()}",
            f"worker={self._worker}",
            f"pid={self._pid}",
            f"logger={record.name}",
            f"msg={_quoted(record.getMessage())}",
        ]
        if record.exc_info:
            fields.append(f"trace={_quoted(self.formatException(record.exc_info))}")
        return " ".join(fields)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def log_to_stderr(worker: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(worker))
    level = os.environ.get("SALEOPS_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(
        level=level if level in logging.getLevelNamesMapping() else "INFO", handlers=[handler]
    )


if __name__ == "__main__":
    sys.exit(main())
