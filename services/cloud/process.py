"""The local cloud's process: ``python -m saleops.services.cloud.process``, its settings in ``SALEOPS_CLOUD_SETTINGS``.

    own the folder -> load the world -> listen on loopback -> write address.json -> ready
    SIGTERM, SIGINT, or the starter's end -> stop listening, finish what is in flight -> exit 0

Its standard input is a socket to whoever started it: the end of file says that the starter is gone, and an error that prevents
the start is written into it. Exit codes are those of the command line.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from saleops.adapters.file_state import lock_state_dir, open_state_dir
from saleops.adapters.local_processes import LocalWorkers
from saleops.config.local_cloud import CloudAddress, CloudSettings, load_cloud_settings
from saleops.errors import SaleopsError, UpstreamError
from saleops.ports.processes import Failure
from saleops.services.cloud.app import CloudApp, open_cloud
from saleops.services.cloud.private_files import write_private
from saleops.services.worker import end_with_supervisor, log_to_stderr, stop_on_signals

log = logging.getLogger("saleops.services.cloud")

HOST = "127.0.0.1"
ADDRESS = "address.json"
FINISH_TIMEOUT_S = 3.0
CONNECTIONS_MAX = 1_024
"""More than bodies may be awaited at once, so that slow clients do not stop it accepting (app.py)."""


def main() -> int:
    """Run the local cloud until it is told to stop; the exit code."""
    log_to_stderr("cloud")
    try:
        settings = load_cloud_settings()
        folder = open_state_dir(Path(settings.folder))
        command = "serve cloud" if settings.kept else "a command's local cloud"
        with lock_state_dir(folder, command=command):
            try:
                asyncio.run(_serve(settings, folder))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    (folder / ADDRESS).unlink()
    except SaleopsError as error:
        failure = Failure(error.exit_code, error.message, error.hint)
    except Exception as error:
        log.exception("a bug ended the local cloud")
        failure = Failure(1, f"{type(error).__name__}: {error}")
    else:
        return 0
    with contextlib.suppress(OSError):  # the starter is gone
        os.write(0, msgspec.json.encode(failure))
    return failure.exit_code


async def _serve(settings: CloudSettings, folder: Path) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    stopping = stop_on_signals()
    threading.Thread(target=end_with_supervisor, name="lifeline", daemon=True).start()
    ports = LocalWorkers()
    try:
        port = ports.reserve_port(HOST, settings.port)
        app = CloudApp(open_cloud(settings))
        server = Server(
            app,
            address=HOST,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            backpressure=CONNECTIONS_MAX,
        )
        serving = asyncio.create_task(server.serve(), name="serve")
        stop = asyncio.create_task(stopping.wait(), name="stop")
        # serve() binds and listens in its first step, so after one turn of the loop it listens or it has failed.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not serving.done():
            _publish(settings, folder, app, port)
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            stop.cancel()
            raise UpstreamError(
                f"{HOST} port {port} cannot be used: {serving.exception()}",
                hint="Choose another one with --port.",
            )
        server.stop()  # type: ignore[no-untyped-call]  # closes the listener, lets open requests finish
        await asyncio.wait((serving,), timeout=FINISH_TIMEOUT_S)
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        while app.in_flight and time.monotonic() < deadline:  # noqa: ASYNC110 - a plain counter
            await asyncio.sleep(0.01)
        if not serving.done():
            serving.cancel()
        app.cloud.save_if_changed()
        app.cloud.calls.close()
    finally:
        ports.close()


def _publish(settings: CloudSettings, folder: Path, app: CloudApp, port: int) -> None:
    key = app.cloud.key
    address = CloudAddress(
        url=f"http://{HOST}:{port}",
        pid=os.getpid(),
        region=settings.region,
        access_key_id=key.id,
        access_key_secret=key.secret,
        clock=settings.clock,
        speed=settings.speed,
        kept=settings.kept,
    )
    write_private(folder / ADDRESS, msgspec.json.encode(address))
    log.info("serving on %s", address.url)


if __name__ == "__main__":
    sys.exit(main())
