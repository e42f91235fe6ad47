"""Processes on this machine: workers of services, launched and asked after.

A worker's standard input is one end of a socket pair. It carries two things: its end of file tells the worker that
the supervisor is gone, however it ended, so no orphan stays behind; and a worker that cannot start writes its
error into it, so the supervisor can repeat it word for word. Children live in sessions of their own: Ctrl-C in the
terminal reaches the supervisor alone, which then stops them in the right order.

Ports are reserved by sockets that are bound and never listen: with SO_REUSEPORT workers may bind the same port beside
them, while strangers cannot take it between two lives of a worker.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from saleops.errors import UpstreamError
from saleops.ports.processes import Failure, Job, Phase, Probe, Process, WorkerSpec

PROBE_TIMEOUT_S = 1.0
WORKER_COMMAND = (sys.executable, "-m", "saleops.services.worker")
_PR_SET_PDEATHSIG = 1


class LocalProcess:
    """A child process. A thread waits for its end, so any event loop will do."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path | None = None,
        reports: bool = False,
        before_exec: Callable[[], None] | None = None,
    ) -> None:
        """``log`` takes its standard output and error, else ours' standard error does. ``reports`` gives it the
        socket pair. Raises UpstreamError."""
        self._reports: socket.socket | None = None
        theirs: socket.socket | None = None
        with contextlib.ExitStack() as stack:
            try:
                if reports:
                    ours, theirs = socket.socketpair()
                    self._reports = ours
                    stack.callback(theirs.close)
                out = stack.enter_context(_private_log(log)) if log else sys.__stderr__
                self._popen = subprocess.Popen(
                    argv,
                    stdin=theirs.fileno() if theirs is not None else subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **environment},
                    start_new_session=True,
                    preexec_fn=before_exec,
                )
            except OSError as error:
                if self._reports is not None:
                    self._reports.close()
                raise UpstreamError(
                    f"{name} could not be started: {error.strerror or error}",
                    hint="Is the machine out of memory, processes or open files? See `ulimit -a`.",
                ) from error
        self._failure: Failure | None = None
        self._exited = threading.Event()
        threading.Thread(target=self._wait, name=f"wait-{name}", daemon=True).start()

    def _wait(self) -> None:
        self._popen.wait()
        if self._reports is not None:
            self._failure = _read_failure(self._reports)
            self._reports.close()
        self._exited.set()

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def wait(self) -> int:
        # A thread of its own, a daemon: the loop's pool is joined at the end of asyncio.run, and a cancelled wait
        # must not hold it up.
        if not self._exited.is_set():
            loop = asyncio.get_running_loop()
            done = loop.create_future()

            def ended() -> None:
                if not done.done():
                    done.set_result(None)

            def tell() -> None:
                self._exited.wait()
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(ended)

            threading.Thread(target=tell, name=f"tell-{self.pid}", daemon=True).start()
            await done
        return self._popen.returncode

    def wait_blocking(self, timeout_s: float) -> int | None:
        """Its exit code; None while it still runs after ``timeout_s``."""
        return self._popen.returncode if self._exited.wait(timeout_s) else None

    def send(self, signum: int) -> None:
        self._popen.send_signal(signum)  # looks for an exit first, so it never hits a stranger

    def failure(self) -> Failure | None:
        return self._failure


def _private_log(path: Path) -> BinaryIO:
    """``path`` to append to, for its owner's eyes: what a service logs may name buyers and addresses."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    return os.fdopen(handle, "ab")


def _read_failure(reports: socket.socket) -> Failure | None:
    parts: list[bytes] = []
    try:
        reports.settimeout(PROBE_TIMEOUT_S)
        while part := reports.recv(65536):
            parts.append(part)
        return msgspec.json.decode(b"".join(parts), type=Failure) if parts else None
    except (OSError, msgspec.DecodeError):
        return None  # it was killed in the middle of a word: its exit code has to do


def die_with_parent() -> Callable[[], None] | None:
    """For programs that are not ours: on Linux the kernel sends them SIGTERM when their parent ends.

    Runs between fork and exec, hence nothing but one call of a function looked up beforehand. The kernel means the
    parent *thread*: launch from the main thread.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    return arm


class WorkerJob:
    """One worker of a service."""

    def __init__(self, spec: WorkerSpec, command: Sequence[str], log_dir: Path | None) -> None:
        self._spec = spec
        self._argv = [
            *command,
            spec.service,
            *("--name", spec.name),
            *("--host", spec.host),
            *("--port", str(spec.port)),
            *("--admin-port", str(spec.admin_port)),
            "--supervised",
        ]
        self._log = log_dir / f"{spec.name}.log" if log_dir else None

    @property
    def name(self) -> str:
        return self._spec.name

    def launch(self) -> Process:
        return LocalProcess(
            self.name,
            self._argv,
            environment=self._spec.environment,
            log=self._log,
            reports=True,
        )

    async def probe(self) -> Probe:
        answer = await _get("127.0.0.1", self._spec.admin_port, "/readyz")
        if answer is None:
            return Probe(Phase.SILENT)
        status, text = answer
        if status == 200:
            return Probe(Phase.READY)
        return Probe(Phase.STARTING if text == "starting" else Phase.UNREADY, text)

    async def hung(self) -> bool:
        answer = await _get("127.0.0.1", self._spec.admin_port, "/livez")
        return answer is not None and answer[0] != 200


async def _get(host: str, port: int, path: str) -> tuple[int, str] | None:
    """Status and text of a small HTTP answer; None when there is none within PROBE_TIMEOUT_S."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body.decode("utf-8", "replace").strip()
    except (OSError, TimeoutError, ValueError, IndexError):
        return None
    finally:
        if writer is not None:
            writer.close()


class LocalWorkers:
    """Workers on this machine. ``log_dir`` None: they write to our standard error."""

    def __init__(
        self, *, log_dir: Path | None = None, command: Sequence[str] = WORKER_COMMAND
    ) -> None:
        self._log_dir = log_dir
        self._command = command
        self._reserved: list[socket.socket] = []
        if log_dir:
            log_dir.mkdir(parents=True, exist_ok=True)

    def reserve_port(self, host: str, port: int) -> int:
        try:
            family, kind, proto, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            if port:
                # SO_REUSEPORT would share the port with another server of the same user: ask without it first.
                with socket.socket(family, kind, proto) as alone:
                    alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    alone.bind(address)
            keeper = socket.socket(family, kind, proto)
            try:
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                keeper.bind(address)
            except OSError:
                keeper.close()
                raise
        except OSError as error:
            raise UpstreamError(
                f"{host} port {port} cannot be used: {error.strerror or error}",
                hint="Choose another one with --port, or --port 0 for any free one.",
            ) from error
        self._reserved.append(keeper)
        return int(keeper.getsockname()[1])

    def job(self, spec: WorkerSpec) -> Job:
        return WorkerJob(spec, self._command, self._log_dir)

    def close(self) -> None:
        while self._reserved:
            self._reserved.pop().close()
